/* SPDX-License-Identifier: Apache-2.0 */
/* Slice: starts, ends, axes, steps stay sources, because exporters compute them; their contents are clamped as expressions, so
   that a full slice gives back the very same dimension and a start that moves with a symbol is an offset of a view. */
#include "base/checked.h"
#include "op/move.h"

/* `v` counted from the end when negative. */
static const tenon_dim *wrap(tenon_dim_pool *p, const tenon_dim *v, const tenon_dim *d)
{
    if (v->lo >= 0) return v;
    const tenon_dim *from_end = tenon_dim_add(p, v, d);
    if (v->hi < 0) return from_end;
    return tenon_dim_select(p, tenon_dim_lt(p, v, tenon_dim_const(p, 0)), from_end, v);
}

/* One bound for a positive step, in [0, d]. */
static const tenon_dim *bound(tenon_dim_pool *p, const tenon_dim *v, const tenon_dim *d)
{
    const tenon_dim *zero = tenon_dim_const(p, 0);
    int64_t c;
    if (v == d) return d;
    if (tenon_move_const(v, &c)) { /* what exporters write for "to the end" and "from the beginning" */
        if (c >= INT32_MAX) return d;
        if (c <= INT32_MIN) return zero;
    }
    return tenon_dim_max(p, zero, tenon_dim_min(p, wrap(p, v, d), d));
}

/* One bound for a negative step, in [-1, d - 1]. */
static const tenon_dim *bound_down(tenon_dim_pool *p, const tenon_dim *v, const tenon_dim *d)
{
    const tenon_dim *minus = tenon_dim_const(p, -1), *last = tenon_dim_sub(p, d, tenon_dim_const(p, 1));
    int64_t c;
    if (tenon_move_const(v, &c)) {
        if (c >= INT32_MAX) return last;
        if (c <= INT32_MIN) return minus;
    }
    return tenon_dim_max(p, minus, tenon_dim_min(p, wrap(p, v, d), last));
}

static void slice_axis(tenon_dim_pool *p, const tenon_dim *d, const tenon_dim *start, const tenon_dim *end, int64_t step,
                       tenon_slice *out, int axis)
{
    const tenon_dim *zero = tenon_dim_const(p, 0), *a, *span;
    if (step > 0) {
        a = bound(p, start, d);
        span = tenon_dim_sub(p, bound(p, end, d), a);
    } else {
        a = bound_down(p, start, d);
        span = tenon_dim_sub(p, a, bound_down(p, end, d));
    }
    out->start[axis] = a;
    out->step[axis] = step;
    out->size[axis] = tenon_dim_max(p, zero, tenon_dim_ceildiv(p, span, tenon_dim_const(p, step > 0 ? step : -step)));
}

/* The begins of an axis that is named twice would add up to a place behind it. */
static tenon_status name_axis(tenon_cx *cx, bool *named, int axis)
{
    if (named[axis]) return TENON_FAIL(cx, TENON_INVALID, "slice: axis %d is named twice", axis);
    named[axis] = true;
    return TENON_OK;
}

tenon_status tenon_slice_of(tenon_cx *cx, tenon_graph *g, const tenon_node *n, tenon_slice *out)
{
    const tenon_type *x = &n->src[0]->type;
    const tenon_dim *const *c[4] = {NULL};
    size_t count[4] = {0};
    for (int i = 0; i < x->rank; i++) {
        out->start[i] = tenon_dim_const(g->dims, 0);
        out->size[i] = x->dim[i];
        out->step[i] = 1;
    }
    for (int i = 0; i < 4; i++)
        if (tenon_move_present(n, i + 1)) c[i] = tenon_infer_contents(g, n->src[i + 1], &count[i]);
    const tenon_type *s = &n->src[1]->type;
    int64_t many;
    const bool axes_unknown = tenon_move_present(n, 3) && c[2] == NULL;
    bool named[TENON_MAX_RANK] = {false};
    if (axes_unknown || s->rank != 1 || !tenon_move_const(s->dim[0], &many)) {
        for (int i = 0; i < x->rank; i++) out->start[i] = out->size[i] = NULL;
        return TENON_OK;
    }
    for (int k = 0; k < many; k++) {
        int64_t axis_value = k, step = 1;
        int axis;
        const bool step_known = !tenon_move_present(n, 4) || (c[3] != NULL && (int64_t)count[3] > k &&
                                                              tenon_move_const(c[3][k], &step));
        if (c[2] != NULL && ((int64_t)count[2] <= k || !tenon_move_const(c[2][k], &axis_value)))
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "slice: axes must be constants");
        TENON_TRY(tenon_infer_axis(cx, "slice", axis_value, x->rank, &axis));
        TENON_TRY(name_axis(cx, named, axis));
        if (step == 0) return TENON_FAIL(cx, TENON_INVALID, "slice: step 0 on axis %d", axis);
        out->start[axis] = out->size[axis] = NULL;
        if (!step_known || c[0] == NULL || c[1] == NULL || (int64_t)count[0] <= k || (int64_t)count[1] <= k) continue;
        if (step < -INT32_MAX) step = -INT32_MAX;
        if (step > INT32_MAX) step = INT32_MAX;
        slice_axis(g->dims, x->dim[axis], c[0][k], c[1][k], step, out, axis);
    }
    return TENON_OK;
}

static tenon_status slice_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    if (tenon_move_unranked(n)) return TENON_OK;
    tenon_slice s;
    TENON_TRY(tenon_slice_of(cx, g, n, &s));
    for (int i = 0; i < x->rank; i++)
        if (s.size[i] == NULL) s.size[i] = tenon_move_fresh(g, n, 0, i, "slice", 0, x->dim[i]->hi);
    tenon_move_set(g, n, 0, x->dtype, x->rank, s.size);
    return tenon_move_values(cx, g, n, 1);
}

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) { return v < lo ? lo : v > hi ? hi : v; }

tenon_status tenon_slice_box(tenon_cx *cx, const tenon_tensor *x, const int64_t given[4][TENON_MAX_RANK], const int count[4],
                             int64_t *offset, int64_t *dim, int64_t *stride)
{
    const int64_t *start = given[0], *end = given[1], *axes = given[2], *step = given[3];
    if (count[1] != count[0] || (count[2] >= 0 && count[2] != count[0]) || (count[3] >= 0 && count[3] != count[0]))
        return TENON_FAIL(cx, TENON_INVALID, "slice: starts, ends, axes and steps have different lengths");
    bool named[TENON_MAX_RANK] = {false};
    *offset = 0;
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i], stride[i] = x->stride[i];
    for (int k = 0; k < count[0]; k++) {
        int axis;
        TENON_TRY(tenon_infer_axis(cx, "slice", count[2] >= 0 ? axes[k] : k, x->rank, &axis));
        TENON_TRY(name_axis(cx, named, axis));
        const int64_t d = x->dim[axis];
        int64_t s = count[3] >= 0 ? step[k] : 1, a = start[k], b = end[k];
        if (s == 0) return TENON_FAIL(cx, TENON_INVALID, "slice: step 0 on axis %d", axis);
        s = clamp(s, -INT32_MAX, INT32_MAX); /* beyond any axis, and negating is safe */
        a = clamp(a < 0 ? a + d : a, s > 0 ? 0 : -1, s > 0 ? d : d - 1);
        b = clamp(b < 0 ? b + d : b, s > 0 ? 0 : -1, s > 0 ? d : d - 1);
        const int64_t span = s > 0 ? b - a : a - b, size = s > 0 ? s : -s;
        dim[axis] = span > 0 ? tenon_ceil_div(span, size) : 0;
        *offset += (dim[axis] > 0 ? a : 0) * x->stride[axis];
        stride[axis] = s * x->stride[axis];
    }
    return TENON_OK;
}

static tenon_status slice_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    int64_t given[4][TENON_MAX_RANK], dim[TENON_MAX_RANK], stride[TENON_MAX_RANK], offset;
    int count[4];
    for (int i = 0; i < 4; i++) TENON_TRY(tenon_move_ints(cx, call, i + 1, TENON_MAX_RANK, given[i], &count[i]));
    TENON_TRY(tenon_slice_box(cx, x, (const int64_t (*)[TENON_MAX_RANK])given, count, &offset, dim, stride));
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, x->rank, dim));
    tenon_move_box(&call->dst[0], 0, call->dst[0].stride, x, offset, stride, x->rank, dim);
    return TENON_OK;
}

const tenon_op tenon_op_slice = {
    .name = "slice", .onnx = "Slice", .onnx_since = 10, .flags = TENON_OP_VIEW | TENON_OP_SHAPE_VALUE,
    .src_min = 3, .src_max = 5, .dst_min = 1, .dst_max = 1, .params = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4, .infer = slice_infer,
    .ref = slice_ref, .flops = tenon_move_flops};
