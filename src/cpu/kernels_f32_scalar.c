/* SPDX-License-Identifier: Apache-2.0 */
/* The f32 product and depthwise kernels for any architecture. */
#include "cpu/vec_scalar.h"

#include "base/isa.h"
#include "cpu/dw_f32_kernel.h"
#include "cpu/gemm_f32_kernel.h"

TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2)
TILE(1, 3) TILE(2, 3) TILE(3, 3)
TILE(1, 4) TILE(2, 4) TILE(3, 4)
DW_4(3, 1) DW_4(3, 2)

const tenon_cpu_f32 tenon_cpu_f32_scalar = {
    .isa = 0,
    .vw = VW,
    .vectors = 4,
    .rows = {0, 4, 4, 3, 3},
    .tile = {{0},
             {0, gemm_tile_1x1, gemm_tile_2x1, gemm_tile_3x1, gemm_tile_4x1},
             {0, gemm_tile_1x2, gemm_tile_2x2, gemm_tile_3x2, gemm_tile_4x2},
             {0, gemm_tile_1x3, gemm_tile_2x3, gemm_tile_3x3},
             {0, gemm_tile_1x4, gemm_tile_2x4, gemm_tile_3x4}},
    .pack = gemm_pack,
    .dw = {{DW_TABLE(DW_ROW_4, 3, 1), DW_TABLE(DW_ROW_4, 3, 2)}},
    .dw_pixels = {{4, 4}},
    .dw_any = dw_any,
};
