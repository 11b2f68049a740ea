/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors that a kernel reads at places which it reckons itself: beside the index space, with all their axes. Dims and strides stand
   behind the space's numbers in the shape block, addresses behind its tensors:

       numbers of the space | dims of source 0 | its strides | dims of source 1 | ...

   printed as tenon_src_dim(args, source, axis), tenon_src_step(args, source, axis), tenon_source<T>(args, source).           */
#ifndef TENON_CUDA_POINT_SOURCE_H
#define TENON_CUDA_POINT_SOURCE_H

#include "cuda/kernel_text.h"

enum { TENON_CUDA_POINT_SOURCES = 5 };

typedef struct tenon_cuda_points {
    int count, first, numbers;                         /* sources; place of the first in args.at; numbers of all */
    const tenon_value *value[TENON_CUDA_POINT_SOURCES]; /* NULL: absent */
    tenon_cuda_tensor tensor[TENON_CUDA_POINT_SOURCES];
} tenon_cuda_points;

/* The first `count` sources of the node; the space is finished. NULL, or why not. */
const char *tenon_cuda_points_make(const tenon_problem *p, const tenon_node *n, int count, const tenon_cuda_space *s, tenon_cuda_points *out);
/* The same for an operator whose space is its result, row by row: makes and finishes that too. */
const char *tenon_cuda_points_of_result(const tenon_problem *p, const tenon_node *n, int count, tenon_cuda_space *s, tenon_cuda_points *out);
/* Whether 32-bit numbers count the elements of each. */
bool tenon_cuda_points_near(const tenon_cuda_points *s);
void tenon_cuda_points_print(const tenon_cuda_points *s, const tenon_cuda_space *space, tenon_buf *b);
/* Numbers and addresses. */
void tenon_cuda_points_bind(const tenon_bind *b, const tenon_cuda_points *s, const tenon_cuda_space *space, tenon_cuda_args *args);

/* The tensors of the space as bound, by value; source or result. */
const tenon_tensor *tenon_cuda_bound(const tenon_bind *b, const tenon_value *v);

#endif
