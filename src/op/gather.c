/* SPDX-License-Identifier: Apache-2.0 */
/* Gather, GatherElements, GatherND: elements picked by index tensors. Negative indices count from the end. */
#include "op/move.h"

static tenon_status wrap_index(tenon_cx *cx, const char *what, int64_t v, int64_t size, int64_t *out)
{
    *out = 0;
    if (v < -size || v >= size)
        return TENON_FAIL(cx, TENON_INVALID, "%s: index %lld in an axis of size %lld", what, (long long)v, (long long)size);
    *out = v < 0 ? v + size : v;
    return TENON_OK;
}

/* ---- gather ---- */
static tenon_status gather_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type, *ix = &n->src[1]->type;
    if (tenon_move_unranked(n)) return TENON_OK;
    if (!tenon_is_int(ix->dtype)) return TENON_FAIL(cx, TENON_INVALID, "gather: indices must be integers");
    if (ix->rank < 0) {
        tenon_infer_set(n, 0, x->dtype, -1, NULL);
        return TENON_OK;
    }
    int axis, rank = 0;
    TENON_TRY(tenon_infer_axis(cx, "gather", tenon_node_int(n, "axis"), x->rank, &axis));
    if (x->rank - 1 + ix->rank > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "gather: rank %d, at most %d", x->rank - 1 + ix->rank, (int)TENON_MAX_RANK);
    const tenon_dim *dim[TENON_MAX_RANK];
    for (int i = 0; i < axis; i++) dim[rank++] = x->dim[i];
    for (int i = 0; i < ix->rank; i++) dim[rank++] = ix->dim[i];
    for (int i = axis + 1; i < x->rank; i++) dim[rank++] = x->dim[i];
    tenon_move_set(g, n, 0, x->dtype, rank, dim);
    return tenon_move_values(cx, g, n, 1);
}

static tenon_status gather_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0], *ix = &call->src[1];
    int axis, rank = 0, box = 0;
    TENON_TRY(tenon_infer_axis(cx, "gather", tenon_node_int(call->node, "axis"), x->rank, &axis));
    if (x->rank - 1 + ix->rank > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "gather: rank above %d", (int)TENON_MAX_RANK);
    int64_t dim[TENON_MAX_RANK];
    for (int i = 0; i < axis; i++) dim[rank++] = x->dim[i];
    for (int i = 0; i < ix->rank; i++) dim[rank++] = ix->dim[i];
    for (int i = axis + 1; i < x->rank; i++) dim[rank++] = x->dim[i];
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, rank, dim));
    const tenon_tensor *y = &call->dst[0];
    /* one box of all other axes for each index */
    int64_t box_dim[TENON_MAX_RANK], from_stride[TENON_MAX_RANK], to_stride[TENON_MAX_RANK], index[TENON_MAX_RANK] = {0};
    for (int i = 0; i < x->rank; i++) {
        if (i == axis) continue;
        box_dim[box] = x->dim[i];
        from_stride[box] = x->stride[i];
        to_stride[box++] = y->stride[i < axis ? i : i - 1 + ix->rank];
    }
    if (tenon_tensor_count(ix) == 0) return TENON_OK;
    do {
        int64_t at = 0, to = 0, pick;
        for (int i = 0; i < ix->rank; i++) at += index[i] * ix->stride[i], to += index[i] * y->stride[axis + i];
        TENON_TRY(wrap_index(cx, "gather", tenon_tensor_get_i64(ix, at), x->dim[axis], &pick));
        tenon_move_box(y, to, to_stride, x, pick * x->stride[axis], from_stride, box, box_dim);
    } while (tenon_move_next(ix->rank, ix->dim, index));
    return TENON_OK;
}

/* ---- gather_elements ---- */
static tenon_status gather_elements_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type, *ix = &n->src[1]->type;
    int axis;
    if (x->rank >= 0 && ix->rank >= 0 && x->rank != ix->rank)
        return TENON_FAIL(cx, TENON_INVALID, "gather_elements: source of rank %d, indices of rank %d", x->rank, ix->rank);
    if (ix->rank >= 0) TENON_TRY(tenon_infer_axis(cx, "gather_elements", tenon_node_int(n, "axis"), ix->rank, &axis));
    tenon_move_set(g, n, 0, x->dtype, ix->rank, ix->dim);
    return tenon_move_values(cx, g, n, 1);
}

static tenon_status gather_elements_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0], *ix = &call->src[1];
    int axis;
    TENON_TRY(tenon_infer_axis(cx, "gather_elements", tenon_node_int(call->node, "axis"), x->rank, &axis));
    bool fits = x->rank == ix->rank;
    for (int i = 0; fits && i < x->rank; i++) fits = i == axis || ix->dim[i] <= x->dim[i];
    if (!fits) return TENON_FAIL(cx, TENON_INVALID, "gather_elements: the indices do not lie within the source");
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, ix->rank, ix->dim));
    const tenon_tensor *y = &call->dst[0];
    int64_t index[TENON_MAX_RANK] = {0};
    if (tenon_tensor_count(ix) == 0) return TENON_OK;
    do {
        int64_t at = 0, from = 0, to = 0, pick;
        for (int i = 0; i < ix->rank; i++) at += index[i] * ix->stride[i], to += index[i] * y->stride[i];
        TENON_TRY(wrap_index(cx, "gather_elements", tenon_tensor_get_i64(ix, at), x->dim[axis], &pick));
        for (int i = 0; i < ix->rank; i++) from += (i == axis ? pick : index[i]) * x->stride[i];
        tenon_move_element(y, to, x, from);
    } while (tenon_move_next(ix->rank, ix->dim, index));
    return TENON_OK;
}

/* ---- gather_nd: indices (batch..., picks..., depth) -> (batch..., picks..., source axes not indexed) ---- */
static tenon_status gather_nd_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type, *ix = &n->src[1]->type;
    const int64_t batch = tenon_node_int(n, "batch_dims");
    int64_t depth;
    if (x->rank < 0 || ix->rank < 1 || !tenon_move_const(ix->dim[ix->rank - 1], &depth)) {
        if (ix->rank == 0) return TENON_FAIL(cx, TENON_INVALID, "gather_nd: the indices have rank 0");
        tenon_infer_set(n, 0, x->dtype, -1, NULL);
        return TENON_OK;
    }
    if (batch < 0 || batch >= ix->rank || batch > x->rank || depth < 0 || batch + depth > x->rank)
        return TENON_FAIL(cx, TENON_INVALID, "gather_nd: indices of depth %lld with %lld batch axes in a source of rank %d",
                          (long long)depth, (long long)batch, x->rank);
    const int tail = x->rank - (int)(batch + depth), rank = ix->rank - 1 + tail;
    if (rank > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "gather_nd: rank %d, at most %d", rank, (int)TENON_MAX_RANK);
    const tenon_dim *dim[TENON_MAX_RANK];
    for (int i = 0; i < ix->rank - 1; i++) dim[i] = ix->dim[i];
    for (int i = 0; i < tail; i++) dim[ix->rank - 1 + i] = x->dim[batch + depth + i];
    tenon_move_set(g, n, 0, x->dtype, rank, dim);
    return tenon_move_values(cx, g, n, 1);
}

static tenon_status gather_nd_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0], *ix = &call->src[1];
    const int64_t batch = tenon_node_int(call->node, "batch_dims");
    if (ix->rank < 1) return TENON_FAIL(cx, TENON_INVALID, "gather_nd: the indices have rank 0");
    const int picks = ix->rank - 1;
    const int64_t depth = ix->dim[picks];
    bool fits = batch >= 0 && batch <= picks && batch + depth <= x->rank;
    for (int i = 0; fits && i < batch; i++) fits = x->dim[i] == ix->dim[i];
    if (!fits) return TENON_FAIL(cx, TENON_INVALID, "gather_nd: the indices do not fit the source");
    const int lead = (int)(batch + depth), tail = x->rank - lead;
    if (picks + tail > TENON_MAX_RANK) return TENON_FAIL(cx, TENON_UNSUPPORTED, "gather_nd: rank above %d", (int)TENON_MAX_RANK);
    int64_t dim[TENON_MAX_RANK], index[TENON_MAX_RANK] = {0}, total = 1;
    for (int i = 0; i < picks; i++) dim[i] = ix->dim[i], total *= ix->dim[i];
    for (int i = 0; i < tail; i++) dim[picks + i] = x->dim[lead + i];
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, picks + tail, dim));
    const tenon_tensor *y = &call->dst[0];
    if (total == 0) return TENON_OK;
    do {
        int64_t at = 0, from = 0, to = 0, pick;
        for (int i = 0; i < picks; i++) at += index[i] * ix->stride[i], to += index[i] * y->stride[i];
        for (int i = 0; i < batch; i++) from += index[i] * x->stride[i];
        for (int64_t k = 0; k < depth; k++) {
            TENON_TRY(wrap_index(cx, "gather_nd", tenon_tensor_get_i64(ix, at + k * ix->stride[picks]), x->dim[batch + k],
                                 &pick));
            from += pick * x->stride[batch + k];
        }
        tenon_move_box(y, to, y->stride + picks, x, from, x->stride + lead, tail, x->dim + lead);
    } while (tenon_move_next(picks, dim, index));
    return TENON_OK;
}

static const tenon_attr_def axis_attrs[] = {{.name = "axis", .kind = TENON_ATTR_INT}, {0}};
static const tenon_attr_def nd_attrs[] = {{.name = "batch_dims", .kind = TENON_ATTR_INT}, {0}};

const tenon_op tenon_op_gather = {
    .name = "gather", .attr = axis_attrs, .onnx = "Gather", .onnx_since = 1, .flags = TENON_OP_ANCHOR | TENON_OP_SHAPE_VALUE,
    .src_min = 2, .src_max = 2, .dst_min = 1, .dst_max = 1, .infer = gather_infer, .ref = gather_ref, .flops = tenon_move_flops};

const tenon_op tenon_op_gather_elements = {
    .name = "gather_elements", .attr = axis_attrs, .onnx = "GatherElements", .onnx_since = 11,
    .flags = TENON_OP_ANCHOR | TENON_OP_SHAPE_VALUE, .src_min = 2, .src_max = 2, .dst_min = 1, .dst_max = 1,
    .infer = gather_elements_infer, .ref = gather_elements_ref, .flops = tenon_move_flops};

const tenon_op tenon_op_gather_nd = {
    .name = "gather_nd", .attr = nd_attrs, .onnx = "GatherND", .onnx_since = 11, .flags = TENON_OP_ANCHOR | TENON_OP_SHAPE_VALUE,
    .src_min = 2, .src_max = 2, .dst_min = 1, .dst_max = 1, .infer = gather_nd_infer, .ref = gather_nd_ref,
    .flops = tenon_move_flops};
