/* SPDX-License-Identifier: Apache-2.0 */
/* Sliding windows: attributes, result sizes, automatic padding. With ceil_mode a window that would start past the input and its
   begin padding is dropped: count = min(ceil((in + pads - extent) / stride) + 1, ceil((in + begin) / stride)). */
#include "op/window.h"

#include <stdio.h>

static tenon_status list(tenon_cx *cx, const tenon_node *n, const char *name, int count, int64_t lowest, int64_t fallback,
                         int64_t *out)
{
    const tenon_attr *a = tenon_node_attr(n, name);
    for (int i = 0; i < count; i++) out[i] = fallback;
    if (!a->set || a->count == 0) return TENON_OK;
    if (a->count != (size_t)count)
        return TENON_FAIL(cx, TENON_INVALID, "%s has %zu entries, must have %d", name, a->count, count);
    for (int i = 0; i < count; i++) {
        if (a->ints[i] < lowest || a->ints[i] > INT32_MAX)
            return TENON_FAIL(cx, TENON_INVALID, "%s[%d] is %lld", name, i, (long long)a->ints[i]);
        out[i] = a->ints[i];
    }
    return TENON_OK;
}

tenon_status tenon_window_attrs_get(tenon_cx *cx, const tenon_node *n, int axes, tenon_window_attrs *out)
{
    static const char *const words[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", NULL};
    int pad, count = axes;
    int64_t pads[2 * TENON_WINDOW_AXES];
    if (axes < 1 || axes > TENON_WINDOW_AXES)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "%d spatial axes, 1 to %d are supported", axes, TENON_WINDOW_AXES);
    *out = (tenon_window_attrs){.axes = axes};
    TENON_TRY(list(cx, n, "strides", count, 1, 1, out->stride));
    TENON_TRY(list(cx, n, "dilations", count, 1, 1, out->dilation));
    TENON_TRY(list(cx, n, "pads", 2 * count, 0, 0, pads));
    TENON_TRY(tenon_rule_word(cx, n, "auto_pad", words, &pad));
    out->pad = (tenon_window_pad)pad;
    for (int i = 0; i < axes && out->pad == TENON_PAD_NOTSET; i++) out->begin[i] = pads[i], out->end[i] = pads[axes + i];
    return TENON_OK;
}

tenon_status tenon_window_infer(tenon_cx *cx, tenon_graph *g, const tenon_node *n, const tenon_type *x,
                                const tenon_dim *const *kernel, bool ceil_mode, const tenon_dim **out)
{
    tenon_window_attrs a;
    TENON_TRY(tenon_window_attrs_get(cx, n, x->rank - 2, &a));
    tenon_dim_pool *p = g->dims;
    const tenon_dim *one = tenon_dim_const(p, 1);
    for (int i = 0; i < a.axes; i++) {
        const tenon_dim *in = x->dim[2 + i], *stride = tenon_dim_const(p, a.stride[i]);
        if (a.pad == TENON_PAD_SAME_UPPER || a.pad == TENON_PAD_SAME_LOWER) {
            out[i] = tenon_dim_ceildiv(p, in, stride);
        } else {
            const tenon_dim *extent =
                tenon_dim_add(p, tenon_dim_mul(p, tenon_dim_sub(p, kernel[i], one), tenon_dim_const(p, a.dilation[i])), one);
            const tenon_dim *padded = tenon_dim_add(p, in, tenon_dim_const(p, a.begin[i] + a.end[i]));
            const tenon_dim *room = tenon_dim_sub(p, padded, extent);
            if (!room) return TENON_NOMEM;
            if (room->hi < 0) {
                tenon_rule_text te, ti;
                return TENON_FAIL(cx, TENON_INVALID, "window of %s on spatial axis %d does not fit the padded size %s",
                                  tenon_rule_dim(g, extent, &te), i, tenon_rule_dim(g, padded, &ti));
            }
            if (ceil_mode)
                out[i] = tenon_dim_min(p, tenon_dim_add(p, tenon_dim_ceildiv(p, room, stride), one),
                                       tenon_dim_ceildiv(p, tenon_dim_add(p, in, tenon_dim_const(p, a.begin[i])), stride));
            else out[i] = tenon_dim_add(p, tenon_dim_floordiv(p, room, stride), one);
        }
        if (!out[i]) return TENON_NOMEM;
    }
    return TENON_OK;
}

tenon_status tenon_window_get(tenon_cx *cx, const tenon_node *n, const tenon_tensor *x, const int64_t *kernel,
                              const tenon_tensor *y, tenon_window *out)
{
    tenon_window_attrs a;
    TENON_TRY(tenon_window_attrs_get(cx, n, x->rank - 2, &a));
    tenon_window w = {.in_count = 1, .out_count = 1, .kernel_count = 1};
    for (int k = 0; k < 3; k++) {
        const int i = k - (3 - a.axes);
        if (i < 0) {
            w.in[k] = w.out[k] = w.kernel[k] = w.stride[k] = w.dilation[k] = 1;
            continue;
        }
        w.in[k] = x->dim[2 + i], w.out[k] = y->dim[2 + i], w.kernel[k] = kernel[i];
        w.stride[k] = a.stride[i], w.dilation[k] = a.dilation[i], w.begin[k] = a.begin[i], w.end[k] = a.end[i];
        if (a.pad == TENON_PAD_SAME_UPPER || a.pad == TENON_PAD_SAME_LOWER) {
            const int64_t extent = (kernel[i] - 1) * a.dilation[i] + 1;
            const int64_t total = TENON_MAX((w.out[k] - 1) * w.stride[k] + extent - w.in[k], 0);
            const int64_t small = total / 2;
            w.begin[k] = a.pad == TENON_PAD_SAME_UPPER ? small : total - small;
            w.end[k] = total - w.begin[k];
        }
        w.in_count *= w.in[k], w.out_count *= w.out[k], w.kernel_count *= w.kernel[k];
    }
    *out = w;
    return TENON_OK;
}

tenon_status tenon_window_pool_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n, bool indices)
{
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 3, 2 + TENON_WINDOW_AXES));
    TENON_TRY(tenon_rule_number(cx, n, 0, "x"));
    const tenon_type *x = tenon_rule_type(n, 0);
    const tenon_attr *shape = tenon_node_attr(n, "kernel_shape");
    if (shape->count != (size_t)(x->rank - 2))
        return TENON_FAIL(cx, TENON_INVALID, "kernel_shape has %zu entries, x has %d spatial axes", shape->count, x->rank - 2);
    const tenon_dim *kernel[TENON_WINDOW_AXES], *dim[TENON_MAX_RANK] = {x->dim[0], x->dim[1]};
    for (int i = 0; i < x->rank - 2; i++) {
        if (shape->ints[i] < 1 || shape->ints[i] > INT32_MAX)
            return TENON_FAIL(cx, TENON_INVALID, "kernel_shape[%d] is %lld", i, (long long)shape->ints[i]);
        kernel[i] = tenon_dim_const(g->dims, shape->ints[i]);
        if (!kernel[i]) return TENON_NOMEM;
    }
    TENON_TRY(tenon_window_infer(cx, g, n, x, kernel, tenon_node_int(n, "ceil_mode") != 0, dim + 2));
    if (tenon_rule_wants(n, 0)) tenon_infer_set(n, 0, x->dtype, x->rank, dim);
    if (indices && tenon_rule_wants(n, 1)) tenon_infer_set(n, 1, TENON_I64, x->rank, dim);
    return TENON_OK;
}

tenon_status tenon_window_pool(tenon_cx *cx, const tenon_eval_call *call, tenon_window *out)
{
    const tenon_tensor *y = tenon_call_wants(call, 0) ? &call->dst[0] : &call->dst[1];
    return tenon_window_get(cx, call->node, &call->src[0], tenon_node_attr(call->node, "kernel_shape")->ints, y, out);
}

double tenon_window_pool_flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)src;
    double taps = (double)tenon_tensor_count(dst);
    const tenon_attr *shape = tenon_node_attr(n, "kernel_shape");
    for (size_t i = 0; i < shape->count; i++) taps *= (double)shape->ints[i];
    return taps;
}
