/* SPDX-License-Identifier: Apache-2.0 */
/* Pad: modes constant, reflect, edge, wrap; pads (all begins, then all ends), the value and the axes are sources. Negative pads
   cut off. */
#include "op/pad.h"

#include <string.h>

tenon_status tenon_pad_mode_of(tenon_cx *cx, const tenon_node *n, tenon_pad_mode *out)
{
    static const char *const name[] = {"constant", "reflect", "edge", "wrap"};
    const char *s = tenon_node_attr(n, "mode")->s;
    for (int i = 0; i < 4; i++)
        if (strcmp(s, name[i]) == 0) {
            *out = (tenon_pad_mode)i;
            return TENON_OK;
        }
    return TENON_FAIL(cx, TENON_INVALID, "pad: mode '%s' is none of constant, reflect, edge, wrap", s);
}

static tenon_status pad_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    if (tenon_move_unranked(n)) return TENON_OK;
    tenon_pad_mode mode;
    TENON_TRY(tenon_pad_mode_of(cx, n, &mode));
    size_t count, axes_count = (size_t)x->rank;
    const tenon_dim *const *pads = tenon_infer_contents(g, n->src[1], &count), *const *axes = NULL;
    const bool has_axes = tenon_move_present(n, 3);
    if (has_axes) axes = tenon_infer_contents(g, n->src[3], &axes_count);
    const tenon_dim *dim[TENON_MAX_RANK];
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
    if (pads == NULL || (has_axes && axes == NULL)) {
        for (int i = 0; i < x->rank; i++) dim[i] = tenon_move_fresh(g, n, 0, i, "pad", 0, TENON_DIM_HUGE);
        tenon_move_set(g, n, 0, x->dtype, x->rank, dim);
        return TENON_OK;
    }
    if (count != 2 * axes_count) return TENON_FAIL(cx, TENON_INVALID, "pad: %zu pads for %zu axes", count, axes_count);
    for (size_t k = 0; k < axes_count; k++) {
        int64_t value = (int64_t)k;
        int axis;
        if (has_axes && !tenon_move_const(axes[k], &value))
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "pad: axes must be constants");
        TENON_TRY(tenon_infer_axis(cx, "pad", value, x->rank, &axis));
        dim[axis] = tenon_dim_add(g->dims, dim[axis], tenon_dim_add(g->dims, pads[k], pads[axes_count + k]));
        if (dim[axis] != NULL && dim[axis]->hi < 0)
            return TENON_FAIL(cx, TENON_INVALID, "pad: axis %d gets a negative size", axis);
    }
    tenon_move_set(g, n, 0, x->dtype, x->rank, dim);
    if (mode == TENON_PAD_CONSTANT && !tenon_move_present(n, 2)) return tenon_move_values(cx, g, n, 0); /* zeros have no position */
    return tenon_move_values(cx, g, n, 1 | 4);
}

tenon_status tenon_pad_box(tenon_cx *cx, const tenon_tensor *x, const int64_t *pads, int count, const int64_t *axes, int axes_count,
                           int64_t *begin, int64_t *dim)
{
    const bool has_axes = axes_count >= 0;
    if (!has_axes) axes_count = x->rank;
    if (count != 2 * axes_count) return TENON_FAIL(cx, TENON_INVALID, "pad: %d pads for %d axes", count, axes_count);
    for (int i = 0; i < x->rank; i++) begin[i] = 0, dim[i] = x->dim[i];
    for (int k = 0; k < axes_count; k++) {
        const int64_t a = pads[k], b = pads[axes_count + k];
        int axis;
        TENON_TRY(tenon_infer_axis(cx, "pad", has_axes ? axes[k] : k, x->rank, &axis));
        if (a < -TENON_DIM_HUGE || a > TENON_DIM_HUGE || b < -TENON_DIM_HUGE || b > TENON_DIM_HUGE)
            return TENON_FAIL(cx, TENON_INVALID, "pad: %lld and %lld at axis %d are too many", (long long)a, (long long)b, axis);
        begin[axis] = a;
        dim[axis] = x->dim[axis] + a + b;
        if (dim[axis] < 0) return TENON_FAIL(cx, TENON_INVALID, "pad: axis %d gets size %lld", axis, (long long)dim[axis]);
    }
    return TENON_OK;
}

static tenon_status pad_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    int64_t begin[TENON_MAX_RANK], dim[TENON_MAX_RANK], index[TENON_MAX_RANK] = {0};
    int64_t pads[2 * TENON_MAX_RANK], axes[TENON_MAX_RANK];
    int count, axes_count;
    tenon_pad_mode mode;
    TENON_TRY(tenon_pad_mode_of(cx, call->node, &mode));
    TENON_TRY(tenon_move_ints(cx, call, 1, 2 * TENON_MAX_RANK, pads, &count));
    TENON_TRY(tenon_move_ints(cx, call, 3, TENON_MAX_RANK, axes, &axes_count));
    TENON_TRY(tenon_pad_box(cx, x, pads, count, axes, axes_count, begin, dim));
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, x->rank, dim));
    const tenon_tensor *y = &call->dst[0];
    if (tenon_tensor_count(y) == 0) return TENON_OK;
    uint64_t zero[2] = {0};
    tenon_tensor value = {.dtype = x->dtype, .data = zero};
    if (tenon_move_has(call, 2)) {
        value = call->src[2];
        if (value.dtype != x->dtype || tenon_tensor_count(&value) != 1)
            return TENON_FAIL(cx, TENON_INVALID, "pad: the value must be one element of the source's type");
    }
    do {
        int64_t to = 0, from = 0;
        bool inside = true;
        for (int i = 0; i < x->rank; i++) {
            const int64_t s = tenon_pad_source(mode, index[i] - begin[i], x->dim[i]);
            inside &= s >= 0;
            to += index[i] * y->stride[i];
            from += s * x->stride[i];
        }
        if (!inside && mode != TENON_PAD_CONSTANT) return TENON_FAIL(cx, TENON_INVALID, "pad: nothing to repeat in an axis of size 0");
        tenon_move_element(y, to, inside ? x : &value, inside ? from : 0);
    } while (tenon_move_next(x->rank, dim, index));
    return TENON_OK;
}

static const tenon_attr_def pad_attrs[] = {{.name = "mode", .kind = TENON_ATTR_STRING, .s = "constant"}, {0}};

const tenon_op tenon_op_pad = {
    .name = "pad", .attr = pad_attrs, .onnx = "Pad", .onnx_since = 11, .flags = TENON_OP_ANCHOR | TENON_OP_SHAPE_VALUE,
    .src_min = 2, .src_max = 4, .dst_min = 1, .dst_max = 1, .params = 1u << 1 | 1u << 2 | 1u << 3, .infer = pad_infer, .ref = pad_ref,
    .flops = tenon_move_flops};
