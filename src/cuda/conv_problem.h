/* SPDX-License-Identifier: Apache-2.0 */
/* What the convolution tactics share: a conv or conv_transpose problem as numbers, and the index space of its result with every axis
   kept, channels innermost: n, spatial axes, k. Behind the space's numbers the shape block has those of x, of which those that are
   the same for every size are printed into the kernel:

       in[3] | begin padding[3] | steps of x: n, c, spatial[3] | end padding[3]      leading spatial axes that x lacks: 1, 0, 0, 0

   Pools are problems of the same kind without a weight: each channel is its own filter.                                          */
#ifndef TENON_CUDA_CONV_PROBLEM_H
#define TENON_CUDA_CONV_PROBLEM_H

#include "cuda/channel_program.h"

enum { CONV_IN = 0, CONV_BEGIN = 3, CONV_STEP_N = 6, CONV_STEP_C = 7, CONV_STEP = 8, CONV_END = 11, CONV_NUMBERS = 14 };

typedef struct tenon_cuda_conv {
    tenon_cuda_space space;
    tenon_cuda_program program;
    const tenon_value *operand[TENON_CUDA_TENSORS]; /* of each tensor of the space */
    const tenon_value *x_value;                     /* what is read: x, or the source of the cast or program that gives it */
    tenon_cuda_channels before;                     /* the program on x, whose other operands are one element an image and channel */
    int src_x, src_w, bias;                         /* sources; tensor of the space that is conv's own bias, or -1 */
    int domain_dst, axes, rank;                     /* axes: spatial ones of the problem */
    int64_t kernel[3], stride[3], dilation[3];      /* leading ones 1 */
    int64_t group, channels, filters;               /* the latter two of one group */
    tenon_dtype dtype;                              /* of x (behind a cast), weight and result */
    bool plain;                                     /* no window */
    bool point;                                     /* one tap, no padding */
    int64_t number[CONV_NUMBERS];                   /* TENON_CUDA_UNKNOWN: from the shape block */
} tenon_cuda_conv;

/* What of the programs on x a kernel takes: a cast from f32; those of channel_program.h. */
enum { CONV_CAST = 1, CONV_BEFORE = 2 };
/* NULL, or why no kernel of ours takes the problem. takes: CONV_CAST, CONV_BEFORE. */
const char *tenon_cuda_conv_make(const tenon_problem *p, unsigned takes, tenon_cuda_conv *out);
/* The same of a pool: kernel_shape instead of a weight; `extra`: a second result (NULL: none), whose tensor of the space is `bias`. */
const char *tenon_cuda_pool_make(const tenon_problem *p, const tenon_value *extra, tenon_cuda_conv *out);
/* The same of an operator that has no window but makes one map of another, whose images and channels stay: resize. */
const char *tenon_cuda_map_make(const tenon_problem *p, tenon_cuda_conv *out);
int tenon_cuda_conv_numbers(const tenon_cuda_conv *c); /* in the shape block */
/* Prelude, mma.cu, space, program, geometry: tenon_x(args, number), KERNEL_D/H/W, STRIDE_*, DILATION_*, GROUPS, CHANNELS, FILTERS,
   BIAS_TENSOR, X_TYPE, W_TYPE, X_AT and W_AT (places in args.at), BEFORE (0: none) and tenon_before, tenon_conv_finish of conv.cu. */
void tenon_cuda_conv_print(const tenon_cuda_conv *c, tenon_buf *b);
/* Shape block, addresses (x and the weight behind the space's tensors; NULL: none) and alignment for `vector` neighbours along k; bit
   X_AT of `aligned`: 16 bytes of x along its channels, or `vector` of them if that is less, can be read at once. */
tenon_status tenon_cuda_conv_bind(tenon_cx *cx, const tenon_cuda_conv *c, const tenon_bind *b, const void *weight, int vector, tenon_cuda_record *r);
/* Result dims that grids are sized for. */
const int64_t *tenon_cuda_conv_most(const tenon_cuda_conv *c, const tenon_bind *b);
int64_t tenon_cuda_conv_pixels(const tenon_cuda_conv *c, const tenon_bind *b); /* pixels of all images by these */
/* Seconds of so much work beside what memory alone takes for so many pixels of the result (x, the result and operands of its shape, once
   each): the longer of the two, and a little of the other, so that of variants that wait for memory the quickest is still ahead. */
double tenon_cuda_conv_beside_memory(const tenon_cuda_conv *c, double work, double results, const tenon_device *device);
/* Operands of a program (NULL: none), the anchor aside, that have its result's shape. */
int tenon_cuda_conv_operands(const tenon_program *p);

/* ---- pools and maps: a thread makes some neighbouring channels of one result ---- */
enum { MAP_VECTOR = 0, MAP_THREADS = 128 }; /* of a variant: how many channels; threads of a block */
/* Variants with 8 channels to one, as many as x and the result permit; and whether one of them is meant. */
int tenon_cuda_map_variants(const tenon_cuda_conv *c, tenon_variant *out, int max);
bool tenon_cuda_map_takes(const tenon_cuda_conv *c, const tenon_variant *v);
/* The plan: as tenon_cuda_kernel_plan; take_b holds tenon_cuda_conv_print and what the kernel has beside it. */
tenon_status tenon_cuda_map_plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_cuda_conv *c, tenon_buf *take_b,
                                 const char *text, const char *entry, const void *own, tenon_tactic_plan *out);
tenon_status tenon_cuda_map_bind(tenon_cx *cx, const tenon_bind *b, const tenon_cuda_conv *c, tenon_cuda_record *r);

#endif
