/* SPDX-License-Identifier: Apache-2.0 */
/* Concat: sources one after the other along an axis. As a view it is the inverse of split: each source lives in a part of the
   result (op/view.h). */
#include "op/move.h"

static tenon_status concat_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int rank = -1, axis;
    for (int i = 0; i < n->src_count; i++) {
        const tenon_type *x = &n->src[i]->type;
        if (x->rank >= 0 && rank >= 0 && x->rank != rank)
            return TENON_FAIL(cx, TENON_INVALID, "concat: source 0 has rank %d, source %d rank %d", rank, i, x->rank);
        if (x->rank >= 0) rank = x->rank;
        if (x->dtype != n->src[0]->type.dtype)
            return TENON_FAIL(cx, TENON_INVALID, "concat: source 0 is %s, source %d %s",
                              tenon_dtype_get(n->src[0]->type.dtype)->name, i,
                              tenon_dtype_get(x->dtype)->name);
    }
    if (rank < 0) {
        tenon_infer_set(n, 0, n->src[0]->type.dtype, -1, NULL);
        return TENON_OK;
    }
    TENON_TRY(tenon_infer_axis(cx, "concat", tenon_node_int(n, "axis"), rank, &axis));
    const tenon_dim *dim[TENON_MAX_RANK] = {NULL};
    bool vague = false, begun = false;
    for (int i = 0; i < n->src_count; i++) {
        const tenon_type *x = &n->src[i]->type;
        vague |= x->rank < 0;
        for (int k = 0; k < x->rank; k++) {
            if (!begun) {
                dim[k] = x->dim[k];
            } else if (k == axis) {
                dim[k] = tenon_dim_add(g->dims, dim[k], x->dim[k]); /* NULL, a sum beyond int64, stays NULL */
            } else if (dim[k] != x->dim[k] && tenon_dim_is_const(x->dim[k]) && !tenon_dim_is_const(dim[k])) {
                dim[k] = x->dim[k];
            } else if (dim[k] != x->dim[k] && (x->dim[k]->lo > dim[k]->hi || x->dim[k]->hi < dim[k]->lo)) {
                return TENON_FAIL(cx, TENON_INVALID, "concat: axis %d of source %d does not fit the sources before it", k, i);
            }
        }
        begun |= x->rank >= 0;
    }
    if (vague) dim[axis] = tenon_move_fresh(g, n, 0, axis, "concat", 0, TENON_DIM_HUGE);
    tenon_move_set(g, n, 0, n->src[0]->type.dtype, rank, dim);
    return tenon_move_values(cx, g, n, ~0u);
}

static tenon_status concat_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = call->src;
    const int rank = x[0].rank;
    int axis;
    int64_t dim[TENON_MAX_RANK];
    TENON_TRY(tenon_infer_axis(cx, "concat", tenon_node_int(call->node, "axis"), rank, &axis));
    for (int k = 0; k < rank; k++) dim[k] = x[0].dim[k];
    for (int i = 1; i < call->src_count; i++) {
        bool fits = x[i].rank == rank && x[i].dtype == x[0].dtype;
        for (int k = 0; fits && k < rank; k++) fits = k == axis || x[i].dim[k] == dim[k];
        if (!fits) return TENON_FAIL(cx, TENON_INVALID, "concat: source %d does not fit source 0 along axis %d", i, axis);
        dim[axis] += x[i].dim[axis];
    }
    TENON_TRY(tenon_move_result(cx, call, 0, x[0].dtype, rank, dim));
    const tenon_tensor *y = &call->dst[0];
    int64_t at = 0;
    for (int i = 0; i < call->src_count; i++) {
        tenon_move_box(y, at * y->stride[axis], y->stride, &x[i], 0, x[i].stride, rank, x[i].dim);
        at += x[i].dim[axis];
    }
    return TENON_OK;
}

static const tenon_attr_def concat_attrs[] = {{.name = "axis", .kind = TENON_ATTR_INT, .required = true}, {0}};

const tenon_op tenon_op_concat = {
    .name = "concat", .attr = concat_attrs, .onnx = "Concat", .onnx_since = 4, .flags = TENON_OP_ANCHOR | TENON_OP_SHAPE_VALUE,
    .src_min = 1, .src_max = TENON_VARIADIC, .dst_min = 1, .dst_max = 1, .infer = concat_infer, .ref = concat_ref,
    .flops = tenon_move_flops};
