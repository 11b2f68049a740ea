/* SPDX-License-Identifier: Apache-2.0 */
/* Views: where the elements of a view operator's result (TENON_OP_VIEW) lie, given where those of its source lie. Offsets and
   strides are in elements and are expressions of the graph's pool, so a view of a dynamic shape is as good as a static one, and
   chains of views compose by applying one after the other.

   concat is the inverse: its sources lie inside its result. */
#ifndef TENON_OP_VIEW_H
#define TENON_OP_VIEW_H

#include "op/op.h"

typedef struct tenon_view {
    const tenon_dim *offset;
    const tenon_dim *stride[TENON_MAX_RANK]; /* by logical axis; of axes of size 1 without meaning */
} tenon_view;

/* Row-major storage of a tensor of this type (rank known), offset 0. */
tenon_status tenon_view_dense(tenon_cx *cx, tenon_graph *g, const tenon_type *type, tenon_view *out);
/* Storage of result `dst_index` inside that of source 0. *possible false: the elements have no strides there (a reshape across
   axes that are not next to each other, a slice whose place is not known), and a copy is needed. */
tenon_status tenon_view_apply(tenon_cx *cx, tenon_graph *g, const tenon_node *n, int dst_index, const tenon_view *src,
                              tenon_view *out,
                              bool *possible);
/* Storage of source `src_index` of a concat inside that of its result. */
tenon_status tenon_view_concat(tenon_cx *cx, tenon_graph *g, const tenon_node *n, int src_index, const tenon_view *dst,
                               tenon_view *out,
                               bool *possible);

#endif
