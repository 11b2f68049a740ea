/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels of matrix products have in common: the index space of a matmul, and its numbers in the shape block, which are the
   space's, then depth, stride of A along it, stride of B along it. */
#ifndef TENON_CUDA_GEMM_PRODUCT_H
#define TENON_CUDA_GEMM_PRODUCT_H

#include "cuda/kernel_text.h"

typedef struct tenon_cuda_product {
    tenon_cuda_space space;                         /* tensor 0 is A, 1 is B, then the program's; at least rows and columns */
    tenon_cuda_program program;
    const tenon_value *operand[TENON_CUDA_TENSORS]; /* of tensors after A and B */
    int src_a, src_b, axis_a, axis_b;               /* sources, and their depth axes */
    int domain_dst;                                 /* result that has the domain's dims */
    int64_t depth, step_a, step_b;                  /* TENON_CUDA_UNKNOWN: from the shape block */
} tenon_cuda_product;

/* NULL, or why the problem is none for these kernels. join: leading axes are joined to the rows where B repeats over them. */
const char *tenon_cuda_product_make(const tenon_problem *p, bool join, tenon_cuda_product *o);
/* The same, and what speaks against the program and the sizes. */
const char *tenon_cuda_product_rejects(const tenon_problem *p, bool join, tenon_cuda_product *o, tenon_reason *scratch);
/* Rows, columns, depth and number of matrices at the tuning point. */
typedef struct tenon_cuda_extent { double m, n, k, batch; } tenon_cuda_extent;
tenon_cuda_extent tenon_cuda_product_extent(const tenon_problem *p);
/* tenon_size, tenon_step, tenon_depth, tenon_step_a, tenon_step_b, A_TYPE, B_TYPE, A_ALONG_DEPTH, B_ALONG_DEPTH, B_CONSTANT, and the
   program; behind the includes, which are the caller's. */
void tenon_cuda_product_print(const tenon_problem *p, const tenon_cuda_product *o, tenon_buf *b);
int tenon_cuda_product_numbers(const tenon_cuda_product *o);
/* The tensors of the space as bound, TENON_CUDA_TENSORS at most. Fills the shape block and the record's function and arguments, but
   for `aligned`. */
tenon_status tenon_cuda_product_bind(tenon_cx *cx, const tenon_bind *b, const tenon_cuda_product *o, const tenon_tensor **tensor,
                                     tenon_cuda_record *r);
/* Whether A (0) or B (1) can be copied `vector` elements at a time, with no tail, as bound. */
bool tenon_cuda_product_in_vectors(const tenon_bind *b, const tenon_cuda_product *o, int t, const tenon_tensor *tensor, int vector);
/* The grid for tiles of bm x bn: those of a matrix along x, matrices along z; nothing where one of them is empty. */
void tenon_cuda_product_grid(const tenon_bind *b, const tenon_cuda_product *o, int bm, int bn, tenon_cuda_record *r);

#endif
