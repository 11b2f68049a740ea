/* SPDX-License-Identifier: Apache-2.0 */
/* The f32 product and depthwise kernels for AVX-512. 32 registers: 7x4, 8x3 and 10x2 tiles leave room for B and a broadcast. */
#include "cpu/vec_avx512.h"

#include "base/isa.h"
#include "cpu/dw_f32_kernel.h"
#include "cpu/gemm_f32_kernel.h"

TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1) TILE(7, 1) TILE(8, 1) TILE(9, 1) TILE(10, 1)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2) TILE(7, 2) TILE(8, 2) TILE(9, 2) TILE(10, 2)
TILE(1, 3) TILE(2, 3) TILE(3, 3) TILE(4, 3) TILE(5, 3) TILE(6, 3) TILE(7, 3) TILE(8, 3)
TILE(1, 4) TILE(2, 4) TILE(3, 4) TILE(4, 4) TILE(5, 4) TILE(6, 4) TILE(7, 4)
DW_8(3, 1) DW_8(3, 2) DW_8(5, 1) DW_8(5, 2) DW_8(7, 1) DW_8(7, 2)

const tenon_cpu_f32 tenon_cpu_f32_avx512 = {
    .isa = TENON_ISA_AVX2 | TENON_ISA_AVX512,
    .vw = VW,
    .vectors = 4,
    .rows = {0, 10, 10, 8, 7},
    .tile = {{0},
             {0, gemm_tile_1x1, gemm_tile_2x1, gemm_tile_3x1, gemm_tile_4x1, gemm_tile_5x1, gemm_tile_6x1, gemm_tile_7x1,
              gemm_tile_8x1, gemm_tile_9x1, gemm_tile_10x1},
             {0, gemm_tile_1x2, gemm_tile_2x2, gemm_tile_3x2, gemm_tile_4x2, gemm_tile_5x2, gemm_tile_6x2, gemm_tile_7x2,
              gemm_tile_8x2, gemm_tile_9x2, gemm_tile_10x2},
             {0, gemm_tile_1x3, gemm_tile_2x3, gemm_tile_3x3, gemm_tile_4x3, gemm_tile_5x3, gemm_tile_6x3, gemm_tile_7x3,
              gemm_tile_8x3},
             {0, gemm_tile_1x4, gemm_tile_2x4, gemm_tile_3x4, gemm_tile_4x4, gemm_tile_5x4, gemm_tile_6x4, gemm_tile_7x4}},
    .pack = gemm_pack,
    .dw = {{DW_TABLE(DW_ROW_8, 3, 1), DW_TABLE(DW_ROW_8, 3, 2)}, {DW_TABLE(DW_ROW_8, 5, 1), DW_TABLE(DW_ROW_8, 5, 2)},
           {DW_TABLE(DW_ROW_8, 7, 1), DW_TABLE(DW_ROW_8, 7, 2)}},
    .dw_pixels = {{8, 8}, {8, 8}, {8, 8}},
    .dw_any = dw_any,
};
