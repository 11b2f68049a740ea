/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles of the kernels that stand on wgmma.cu, and what one costs. */
#ifndef TENON_CUDA_WGMMA_TILE_H
#define TENON_CUDA_WGMMA_TILE_H

#include "cuda/backend.h"

enum { TENON_WGMMA_TILES = 6, TENON_WGMMA_THREADS = 256, TENON_WGMMA_DEEP = 64, P_WGMMA_TILE = 0 };

/* bm x bn results a block, chunks in shared memory, blocks that a multiprocessor holds. */
typedef struct tenon_wgmma_tile { int bm, bn, stages, resident; } tenon_wgmma_tile;
/* Stored in engines by place: append only. */
extern const tenon_wgmma_tile tenon_wgmma_tiles[TENON_WGMMA_TILES];

/* What a problem asks of a tile: rows, columns of one group, groups or matrices, chunks of depth; bytes that must be moved; operands
   of the result's shape behind it. */
typedef struct tenon_wgmma_work { double rows, columns, groups, chunks, bytes; int operands; } tenon_wgmma_work;

/* NULL, or why not on this device. */
const char *tenon_wgmma_rejects(const tenon_variant *v, const tenon_device *device);
/* Seconds. */
double tenon_wgmma_model(const tenon_wgmma_tile *t, const tenon_wgmma_work *w, const tenon_device *device);
/* The tiles, best first. */
int tenon_wgmma_variants(const tenon_wgmma_work *w, const tenon_device *device, tenon_variant *out, int max);
uint32_t tenon_wgmma_shared(const tenon_wgmma_tile *t);
void tenon_wgmma_options(const tenon_wgmma_tile *t, tenon_kernel_source *out);

#endif
