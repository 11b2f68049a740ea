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

/* The outermost `axes` axes one after the other, with the offsets of the first two tensors: no division an element. */
typedef struct tenon_nd_walk { int64_t index[TENON_MAX_RANK], offset[2]; } tenon_nd_walk;

static inline void tenon_nd_walk_start(tenon_nd_walk *w, const tenon_nd *nd, int axes, int64_t i)
{
    w->offset[0] = tenon_nd_offset(nd, 0, axes, i);
    w->offset[1] = tenon_nd_offset(nd, 1, axes, i);
    for (int k = axes - 1; k >= 0; k--) {
        w->index[k] = k ? i % nd->dim[k] : i;
        i /= nd->dim[k];
    }
}

static inline void tenon_nd_walk_next(tenon_nd_walk *w, const tenon_nd *nd, int axes)
{
    for (int k = axes - 1; k >= 0; k--) {
        const bool carry = k && w->index[k] + 1 == nd->dim[k];
        const int64_t step = carry ? -w->index[k] : 1;
        w->index[k] += step;
        w->offset[0] += step * nd->stride[0][k];
        w->offset[1] += step * nd->stride[1][k];
        if (!carry) return;
    }
}

#endif
