/* SPDX-License-Identifier: Apache-2.0 */
/* Axes of reductions; contracts in reduce_axes.h. */
#include "cpu/reduce_axes.h"

#include "op/reduce.h"

int64_t tenon_reduce_split(const tenon_node *n, const tenon_tensor *x, const tenon_tensor *y, tenon_nd *kept, tenon_nd *reduced)
{
    bool is_reduced[TENON_MAX_RANK] = {false};
    int64_t dim[2][TENON_MAX_RANK], xs[2][TENON_MAX_RANK], ys[TENON_MAX_RANK];
    int rank[2] = {0, 0};
    (void)tenon_reduce_axes(n, is_reduced);
    const bool keep = tenon_node_int(n, "keepdims") != 0;
    for (int i = 0, k = 0; i < x->rank; i++) {
        const int which = is_reduced[i];
        dim[which][rank[which]] = x->dim[i];
        xs[which][rank[which]] = x->stride[i];
        if (!which) ys[rank[0]] = y->stride[k];
        rank[which]++;
        k += keep || !which;
    }
    tenon_nd_init(kept, rank[0], dim[0]);
    tenon_nd_add_strides(kept, xs[0]);
    tenon_nd_add_strides(kept, ys);
    tenon_nd_init(reduced, rank[1], dim[1]);
    tenon_nd_add_strides(reduced, xs[1]);
    const int64_t count = tenon_nd_count(reduced, rank[1]);
    tenon_nd_simplify(reduced, 0);
    return count;
}
