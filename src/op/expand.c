/* SPDX-License-Identifier: Apache-2.0 */
/* Expand (broadcast to a shape, a view with strides 0) and Tile (repeat, which needs memory). */
#include "base/checked.h"
#include "op/move.h"

/* A source size against a target size; both directions broadcast. Sizes of which neither is known are equal or one is 1, so the
   larger is the result. */
static tenon_status expand_dim(tenon_cx *cx, tenon_dim_pool *p, const tenon_dim *x, const tenon_dim *t, int axis,
                               const tenon_dim **out)
{
    *out = x;
    if (x == t || tenon_dim_is(t, 1)) return TENON_OK;
    if (tenon_dim_is_const(x) && tenon_dim_is_const(t) && x->value != 1)
        return TENON_FAIL(cx, TENON_INVALID, "expand: size %lld at axis %d of the result, %lld wanted", (long long)x->value,
                          axis, (long long)t->value);
    if (t->hi < 0) return TENON_FAIL(cx, TENON_INVALID, "expand: negative size at axis %d", axis);
    if (x->lo > 1) return TENON_OK;
    *out = tenon_dim_is(x, 1) || t->lo > 1 ? t : tenon_dim_max(p, x, t);
    return TENON_OK;
}

static tenon_status expand_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type, *s = &n->src[1]->type;
    size_t count;
    int64_t target;
    const tenon_dim *const *sym = tenon_infer_contents(g, n->src[1], &count);
    if (x->rank < 0 || s->rank != 1 || !tenon_move_const(s->dim[0], &target)) {
        tenon_infer_set(n, 0, x->dtype, -1, NULL);
        return TENON_OK;
    }
    if (target > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "expand: rank %lld, at most %d", (long long)target, (int)TENON_MAX_RANK);
    const int rank = x->rank > target ? x->rank : (int)target;
    const tenon_dim *dim[TENON_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        const int xi = i - (rank - x->rank), ti = i - (rank - (int)target);
        const tenon_dim *d = xi < 0 ? tenon_dim_const(g->dims, 1) : x->dim[xi];
        if (ti < 0) dim[i] = d;
        else if (sym == NULL) dim[i] = d != NULL && d->lo > 1 ? d : tenon_move_fresh(g, n, 0, i, "expand", 0, TENON_DIM_HUGE);
        else TENON_TRY(expand_dim(cx, g->dims, d, sym[ti], i, &dim[i]));
    }
    tenon_move_set(g, n, 0, x->dtype, rank, dim);
    return tenon_move_values(cx, g, n, 1);
}

static tenon_status expand_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    int64_t target[TENON_MAX_RANK], dim[TENON_MAX_RANK], stride[TENON_MAX_RANK];
    int count;
    TENON_TRY(tenon_move_ints(cx, call, 1, TENON_MAX_RANK, target, &count));
    const int rank = x->rank > count ? x->rank : count;
    for (int i = 0; i < rank; i++) {
        const int xi = i - (rank - x->rank), ti = i - (rank - count);
        const int64_t d = xi < 0 ? 1 : x->dim[xi], t = ti < 0 ? 1 : target[ti];
        if ((d != t && d != 1 && t != 1) || t < 0)
            return TENON_FAIL(cx, TENON_INVALID, "expand: size %lld at axis %d of the result, %lld wanted", (long long)d, i,
                              (long long)t);
        dim[i] = d == 1 ? t : d;
        stride[i] = d == 1 ? 0 : x->stride[xi];
    }
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, rank, dim));
    tenon_move_box(&call->dst[0], 0, call->dst[0].stride, x, 0, stride, rank, dim);
    return TENON_OK;
}

static tenon_status tile_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    if (tenon_move_unranked(n)) return TENON_OK;
    size_t count;
    const tenon_dim *const *sym = tenon_infer_contents(g, n->src[1], &count);
    const tenon_dim *dim[TENON_MAX_RANK];
    if (sym != NULL && count != (size_t)x->rank)
        return TENON_FAIL(cx, TENON_INVALID, "tile: %zu repeats for rank %d", count, x->rank);
    for (int i = 0; i < x->rank; i++) {
        if (sym != NULL && sym[i]->hi < 0) return TENON_FAIL(cx, TENON_INVALID, "tile: negative repeat of axis %d", i);
        dim[i] = sym != NULL ? tenon_dim_mul(g->dims, x->dim[i], sym[i]) : tenon_move_fresh(g, n, 0, i, "tile", 0,
                                                                                            TENON_DIM_HUGE);
    }
    tenon_move_set(g, n, 0, x->dtype, x->rank, dim);
    return tenon_move_values(cx, g, n, 1);
}

static tenon_status tile_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    int64_t repeat[TENON_MAX_RANK], dim[TENON_MAX_RANK], index[TENON_MAX_RANK] = {0}, total;
    int count;
    TENON_TRY(tenon_move_ints(cx, call, 1, TENON_MAX_RANK, repeat, &count));
    if (count != x->rank) return TENON_FAIL(cx, TENON_INVALID, "tile: %d repeats for rank %d", count, x->rank);
    for (int i = 0; i < x->rank; i++)
        if (repeat[i] < 0 || !tenon_mul_i64(x->dim[i], repeat[i], &dim[i]))
            return TENON_FAIL(cx, TENON_INVALID, "tile: repeat %lld of axis %d", (long long)repeat[i], i);
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, x->rank, dim));
    if (!tenon_product(dim, x->rank, &total)) return TENON_FAIL(cx, TENON_INVALID, "tile: the result is too large");
    if (total == 0) return TENON_OK;
    const tenon_tensor *y = &call->dst[0];
    do {
        int64_t at = 0;
        for (int i = 0; i < x->rank; i++) at += index[i] * x->dim[i] * y->stride[i];
        tenon_move_box(y, at, y->stride, x, 0, x->stride, x->rank, x->dim);
    } while (tenon_move_next(x->rank, repeat, index));
    return TENON_OK;
}

const tenon_op tenon_op_expand = {
    .name = "expand", .onnx = "Expand", .onnx_since = 8, .flags = TENON_OP_VIEW | TENON_OP_SHAPE_VALUE,
    .src_min = 2, .src_max = 2, .dst_min = 1, .dst_max = 1, .params = 1u << 1, .infer = expand_infer,
    .ref = expand_ref, .flops = tenon_move_flops};

const tenon_op tenon_op_tile = {
    .name = "tile", .onnx = "Tile", .onnx_since = 6, .flags = TENON_OP_ANCHOR | TENON_OP_SHAPE_VALUE,
    .src_min = 2, .src_max = 2, .dst_min = 1, .dst_max = 1, .params = 1u << 1, .infer = tile_infer,
    .ref = tile_ref, .flops = tenon_move_flops};
