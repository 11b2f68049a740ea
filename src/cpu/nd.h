/* SPDX-License-Identifier: Apache-2.0 */
/* An index domain of any rank with the strides of several tensors over it: what pointwise programs, copies and reductions
   walk. Broadcast tensors have stride 0. Axes are ordered by memory and merged where all tensors allow, so that most domains
   end as one row or as rows x columns. */
#ifndef TENON_CPU_ND_H
#define TENON_CPU_ND_H

#include "ir/tensor.h"

enum { TENON_ND_TENSORS = 20 };
typedef struct tenon_nd {
    int rank, count;
    int64_t dim[TENON_MAX_RANK];
    int64_t stride[TENON_ND_TENSORS][TENON_MAX_RANK]; /* elements */
} tenon_nd;

void tenon_nd_init(tenon_nd *nd, int rank, const int64_t *dim);
/* `t` broadcasts, right-aligned, to the domain. Returns its index. */
int tenon_nd_add(tenon_nd *nd, const tenon_tensor *t);
int tenon_nd_add_strides(tenon_nd *nd, const int64_t *stride);
/* Drops axes of size 1, sorts the rest by the strides of tensor `by` (outermost first), merges neighbours. */
void tenon_nd_simplify(tenon_nd *nd, int by);
/* The same in the order the axes have: flat indices keep their meaning. */
void tenon_nd_merge(tenon_nd *nd);
int64_t tenon_nd_count(const tenon_nd *nd, int axes); /* elements of the outermost `axes` axes */
/* Element offset of tensor `t` at flat index `i` of the outermost `axes` axes. */
int64_t tenon_nd_offset(const tenon_nd *nd, int t, int axes, int64_t i);

#endif
