/* SPDX-License-Identifier: Apache-2.0 */
/* The f32 product and depthwise kernels for AVX2 with FMA. 16 registers: 4x3 and 6x2 tiles; depthwise runs
   as long as the columns of a row, the sums and a weight fit. */
#include "cpu/vec_avx2.h"

#include "base/isa.h"
#include "cpu/dw_f32_kernel.h"
#include "cpu/gemm_f32_kernel.h"

TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1) TILE(7, 1) TILE(8, 1)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2)
TILE(1, 3) TILE(2, 3) TILE(3, 3) TILE(4, 3)
DW_8(3, 1) DW_4(3, 2) DW_8(5, 1) DW_4(5, 2) DW_4(7, 1) DW_4(7, 2)

const tenon_cpu_f32 tenon_cpu_f32_avx2 = {
    .isa = TENON_ISA_AVX2,
    .vw = VW,
    .vectors = 3,
    .rows = {0, 8, 6, 4},
    .tile = {{0},
             {0, gemm_tile_1x1, gemm_tile_2x1, gemm_tile_3x1, gemm_tile_4x1, gemm_tile_5x1, gemm_tile_6x1, gemm_tile_7x1,
              gemm_tile_8x1},
             {0, gemm_tile_1x2, gemm_tile_2x2, gemm_tile_3x2, gemm_tile_4x2, gemm_tile_5x2, gemm_tile_6x2},
             {0, gemm_tile_1x3, gemm_tile_2x3, gemm_tile_3x3, gemm_tile_4x3}},
    .pack = gemm_pack,
    .dw = {{DW_TABLE(DW_ROW_8, 3, 1), DW_TABLE(DW_ROW_4, 3, 2)}, {DW_TABLE(DW_ROW_8, 5, 1), DW_TABLE(DW_ROW_4, 5, 2)},
           {DW_TABLE(DW_ROW_4, 7, 1), DW_TABLE(DW_ROW_4, 7, 2)}},
    .dw_pixels = {{6, 4}, {5, 4}, {4, 3}},
    .dw_any = dw_any,
};
