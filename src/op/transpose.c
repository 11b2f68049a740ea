/* SPDX-License-Identifier: Apache-2.0 */
/* Transpose: the axes in another order; without perm, reversed. */
#include "op/move.h"

static tenon_status transpose_perm(tenon_cx *cx, const tenon_node *n, int rank, int *perm)
{
    const tenon_attr *a = tenon_node_attr(n, "perm");
    unsigned seen = 0;
    if (a->set && a->count != (size_t)rank)
        return TENON_FAIL(cx, TENON_INVALID, "transpose: perm has %zu axes, the source %d", a->count, rank);
    for (int i = 0; i < rank; i++) {
        perm[i] = rank - 1 - i;
        if (!a->set) continue;
        TENON_TRY(tenon_infer_axis(cx, "transpose", a->ints[i], rank, &perm[i]));
        if (seen >> perm[i] & 1) return TENON_FAIL(cx, TENON_INVALID, "transpose: axis %d stands twice in perm", perm[i]);
        seen |= 1u << perm[i];
    }
    return TENON_OK;
}

static tenon_status transpose_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    const tenon_attr *a = tenon_node_attr(n, "perm");
    int perm[TENON_MAX_RANK];
    const tenon_dim *dim[TENON_MAX_RANK];
    if (x->rank < 0 && a->set && a->count <= TENON_MAX_RANK) {
        for (size_t i = 0; i < a->count; i++) dim[i] = tenon_move_fresh(g, n, 0, (int)i, "transpose", 0, TENON_DIM_HUGE);
        tenon_move_set(g, n, 0, x->dtype, (int)a->count, dim);
        return TENON_OK;
    }
    if (tenon_move_unranked(n)) return TENON_OK;
    TENON_TRY(transpose_perm(cx, n, x->rank, perm));
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[perm[i]];
    tenon_move_set(g, n, 0, x->dtype, x->rank, dim);
    return tenon_move_values(cx, g, n, 1);
}

static tenon_status transpose_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    int perm[TENON_MAX_RANK];
    int64_t dim[TENON_MAX_RANK], stride[TENON_MAX_RANK];
    TENON_TRY(transpose_perm(cx, call->node, x->rank, perm));
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[perm[i]], stride[i] = x->stride[perm[i]];
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, x->rank, dim));
    tenon_move_box(&call->dst[0], 0, call->dst[0].stride, x, 0, stride, x->rank, dim);
    return TENON_OK;
}

static const tenon_attr_def transpose_attrs[] = {{.name = "perm", .kind = TENON_ATTR_INTS}, {0}};

const tenon_op tenon_op_transpose = {
    .name = "transpose", .attr = transpose_attrs, .onnx = "Transpose", .onnx_since = 1,
        .flags = TENON_OP_VIEW | TENON_OP_SHAPE_VALUE,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = transpose_infer, .ref = transpose_ref,
    .flops = tenon_move_flops};
