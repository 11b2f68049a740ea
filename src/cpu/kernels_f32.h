/* SPDX-License-Identifier: Apache-2.0 */
/* What the f32 product and convolution kernels of one instruction set look like to the generic code that binds and walks them:
   one table an ISA, pointers to functions over small argument records. The generic files (product_f32.c, conv_f32.c,
   dwconv_f32.c, matmul_f32.c) hold all logic; a kernels_f32_<isa>.c instances gemm_f32_kernel.h and dw_f32_kernel.h and exports
   its table alone. */
#ifndef TENON_CPU_KERNELS_F32_H
#define TENON_CPU_KERNELS_F32_H

#include "base/compiler.h"

#include <stdint.h>

enum {
    TENON_F32_VECTORS = 4, /* most vectors a panel is wide */
    TENON_F32_ROWS = 10,   /* most rows of a tile */
    TENON_F32_DW_PIXELS = 8,
    TENON_F32_DW_ROWS = 16, /* most kernel rows of a depthwise convolution */
};

/* A run of K: `length` consecutive floats at `offset` from where a row of A starts. */
typedef struct tenon_f32_segment { int64_t offset, length; } tenon_f32_segment;

/* One tile: c[rows][columns] = start + sum over the segments of a * b, then + add and a clamp.
   b walks on by ldb floats for each k; panels are padded to whole vectors, c, start and add are not. */
typedef struct tenon_f32_tile {
    const tenon_f32_segment *segment;
    int64_t segment_count; /* >= 1, lengths >= 1 */
    int64_t a_offset;      /* added to every row pointer: a group's channels */
    const float *b;
    int64_t ldb;
    const char *ahead;     /* one cache line for each k is fetched from here on into L2: a part of the B that comes next */
    float *c;
    int64_t ldc;
    const float *start;    /* one a column; NULL: zeros. Not read with `load` */
    const float *add;      /* NULL: none; else rows of pitch add_ld */
    int64_t add_ld;
    float lo, hi;
    int load;              /* start from c: a later block of K */
    int clamp;
    int last;              /* columns of the last vector, 1..vw */
} tenon_f32_tile;
typedef void (*tenon_f32_tile_fn)(const float *const *a, const tenon_f32_tile *t);

/* Runs of output pixels of a depthwise convolution, all channels: y[pixel][c] = start[c] + sum over taps of x * w, then a
   clamp. w is packed [c / vw][tap][vw]. x[r] points to the input pixel of kernel row r that tap 0 of output pixel 0 reads;
   columns outside [lo, hi), counted from there, are padding. */
typedef struct tenon_f32_dw {
    const float *const *x;
    int64_t x_ld;          /* floats between input pixels */
    int rows;              /* kernel rows inside the image; x and w start at the first of them */
    int taps, kernel_w;    /* of the whole kernel; of one row */
    int dilation;          /* of columns; used by the general kernel */
    int64_t repeat;        /* this many runs side by side; 1 where a run is clipped */
    const float *w;
    int64_t channels;
    const float *start;    /* NULL: zeros */
    float *y;
    int64_t y_ld;
    int64_t lo, hi;
    float clamp_lo, clamp_hi;
    int clamp;
} tenon_f32_dw;
typedef void (*tenon_f32_dw_fn)(const tenon_f32_dw *d);

typedef struct tenon_cpu_f32 {
    unsigned isa;                                                   /* TENON_ISA_* bits that compiled programs may use */
    int vw;                                                         /* floats in a vector */
    int vectors;                                                    /* widest panel */
    int rows[TENON_F32_VECTORS + 1];                                /* most rows of a tile, by its vectors */
    tenon_f32_tile_fn tile[TENON_F32_VECTORS + 1][TENON_F32_ROWS + 1];
    /* dst[k][width] = src[k * k_stride + n * n_stride] for n < columns, zeros up to width (a multiple of vw) */
    void (*pack)(const float *src, int64_t k_stride, int64_t n_stride, int64_t k, int64_t columns, float *dst, int64_t width);
    /* kernel width 3, 5, 7; stride 1, 2; inside, clipped; pixels. dw_pixels: how many at most, 0: this one is missing. */
    tenon_f32_dw_fn dw[3][2][2][TENON_F32_DW_PIXELS + 1];
    int dw_pixels[3][2];
    tenon_f32_dw_fn dw_any;                                         /* one pixel of any kernel */
} tenon_cpu_f32;

extern const tenon_cpu_f32 tenon_cpu_f32_scalar;
#if defined(__x86_64__)
extern const tenon_cpu_f32 tenon_cpu_f32_avx2, tenon_cpu_f32_avx512;
#endif

#endif
