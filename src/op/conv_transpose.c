/* SPDX-License-Identifier: Apache-2.0 */
/* Transposed convolution: x (n, c, ...), w (c, k/group, ...), optional bias (k). Each input element adds its multiple of the
   kernel to the result. output_shape, when set, decides the padding; begin and end share it as ONNX says (SAME_UPPER: the smaller
   half first). */
#include "op/window.h"

static const tenon_attr_def attrs[] = {TENON_WINDOW_ATTRS,
                                       {.name = "group", .kind = TENON_ATTR_INT, .i = 1},
                                       {.name = "output_padding", .kind = TENON_ATTR_INTS},
                                       {.name = "output_shape", .kind = TENON_ATTR_INTS},
                                       {0}};

static tenon_status list(tenon_cx *cx, const tenon_node *n, const char *name, int axes, int64_t *out, bool *set)
{
    const tenon_attr *a = tenon_node_attr(n, name);
    *set = a->set && a->count > 0;
    for (int i = 0; i < axes; i++) out[i] = 0;
    if (!*set) return TENON_OK;
    if (a->count != (size_t)axes)
        return TENON_FAIL(cx, TENON_INVALID, "%s has %zu entries, x has %d spatial axes", name, a->count, axes);
    for (int i = 0; i < axes; i++) {
        if (a->ints[i] < 0 || a->ints[i] > INT32_MAX)
            return TENON_FAIL(cx, TENON_INVALID, "%s[%d] is %lld", name, i, (long long)a->ints[i]);
        out[i] = a->ints[i];
    }
    return TENON_OK;
}

static tenon_status infer_spatial(tenon_cx *cx, tenon_graph *g, tenon_node *n, const tenon_type *x, const tenon_type *w,
                                  const tenon_dim **out)
{
    tenon_window_attrs a;
    int64_t extra[TENON_WINDOW_AXES], shape[TENON_WINDOW_AXES];
    bool has_extra, has_shape;
    tenon_dim_pool *p = g->dims;
    TENON_TRY(tenon_window_attrs_get(cx, n, x->rank - 2, &a));
    TENON_TRY(list(cx, n, "output_padding", a.axes, extra, &has_extra));
    TENON_TRY(list(cx, n, "output_shape", a.axes, shape, &has_shape));
    const tenon_dim *one = tenon_dim_const(p, 1);
    for (int i = 0; i < a.axes; i++) {
        const tenon_dim *in = x->dim[2 + i], *stride = tenon_dim_const(p, a.stride[i]);
        if (has_shape) {
            out[i] = tenon_dim_const(p, shape[i]);
        } else if (a.pad == TENON_PAD_SAME_UPPER || a.pad == TENON_PAD_SAME_LOWER) {
            out[i] = tenon_dim_mul(p, in, stride);
        } else {
            const tenon_dim *reach = tenon_dim_mul(p, tenon_dim_sub(p, w->dim[2 + i], one), tenon_dim_const(p, a.dilation[i]));
            out[i] = tenon_dim_add(p, tenon_dim_mul(p, tenon_dim_sub(p, in, one), stride),
                                   tenon_dim_add(p, reach, tenon_dim_const(p, 1 + extra[i] - a.begin[i] - a.end[i])));
        }
        if (!out[i]) return TENON_NOMEM;
        tenon_rule_text text;
        if (out[i]->hi < 1)
            return TENON_FAIL(cx, TENON_INVALID, "result size %s on spatial axis %d",
                              tenon_rule_dim(g, out[i], &text), i);
    }
    return TENON_OK;
}

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 3, 2 + TENON_WINDOW_AXES));
    const tenon_type *x = tenon_rule_type(n, 0);
    TENON_TRY(tenon_rule_rank(cx, n, 1, "weight", x->rank, x->rank));
    const tenon_type *w = tenon_rule_type(n, 1);
    TENON_TRY(tenon_rule_float(cx, n, 0, "x"));
    TENON_TRY(tenon_rule_same_type(cx, n, 0, 1));
    TENON_TRY(tenon_rule_same_type(cx, n, 0, 2));
    const int64_t group = tenon_node_int(n, "group");
    if (group < 1) return TENON_FAIL(cx, TENON_INVALID, "group is %lld", (long long)group);
    TENON_TRY(tenon_rule_equal(cx, g, "channels of x", x->dim[1], "first axis of the weight", w->dim[0]));
    if (tenon_dim_is_const(w->dim[0]) && w->dim[0]->value % group)
        return TENON_FAIL(cx, TENON_INVALID, "%lld channels are not a multiple of group %lld",
                          (long long)w->dim[0]->value, (long long)group);
    const tenon_dim *dim[TENON_MAX_RANK] = {x->dim[0], tenon_dim_mul(g->dims, w->dim[1], tenon_dim_const(g->dims, group))};
    if (!dim[1]) return TENON_NOMEM;
    TENON_TRY(tenon_rule_vector(cx, g, n, 2, "size of bias", dim[1]));
    TENON_TRY(infer_spatial(cx, g, n, x, w, dim + 2));
    tenon_infer_set(n, 0, x->dtype, x->rank, dim);
    return TENON_OK;
}

/* The begin padding that leads to the known result size. */
static tenon_status begin_pads(tenon_cx *cx, const tenon_node *n, int axes, tenon_window *w)
{
    tenon_window_attrs a;
    int64_t extra[TENON_WINDOW_AXES], shape[TENON_WINDOW_AXES];
    bool has_extra, has_shape;
    TENON_TRY(tenon_window_attrs_get(cx, n, axes, &a));
    TENON_TRY(list(cx, n, "output_padding", axes, extra, &has_extra));
    TENON_TRY(list(cx, n, "output_shape", axes, shape, &has_shape));
    const bool same = a.pad == TENON_PAD_SAME_UPPER || a.pad == TENON_PAD_SAME_LOWER;
    for (int k = 3 - axes, i = 0; k < 3; k++, i++) {
        w->begin[k] = a.begin[i];
        if (!has_shape && !same) continue;
        const int64_t full = (w->in[k] - 1) * w->stride[k] + (w->kernel[k] - 1) * w->dilation[k] + 1 + extra[i];
        const int64_t total = TENON_MAX(full - w->out[k], 0);
        w->begin[k] = a.pad == TENON_PAD_SAME_UPPER ? total / 2 : total - total / 2;
    }
    return TENON_OK;
}

/* Adds one row of products (one tap, input positions [begin, begin + count)) to the result plane y. */
static void scatter_tap(const tenon_window *w, const double *product, const int64_t *tap, int64_t begin, int64_t count, double *y)
{
    int64_t id = begin / (w->in[1] * w->in[2]), ih = begin / w->in[2] % w->in[1], iw = begin % w->in[2];
    for (int64_t i = 0; i < count; i++) {
        const int64_t d = id * w->stride[0] + tap[0] * w->dilation[0] - w->begin[0];
        const int64_t h = ih * w->stride[1] + tap[1] * w->dilation[1] - w->begin[1];
        const int64_t v = iw * w->stride[2] + tap[2] * w->dilation[2] - w->begin[2];
        if (d >= 0 && d < w->out[0] && h >= 0 && h < w->out[1] && v >= 0 && v < w->out[2])
            y[(d * w->out[1] + h) * w->out[2] + v] += product[i];
        if (++iw == w->in[2]) {
            iw = 0;
            if (++ih == w->in[1]) ih = 0, id++;
        }
    }
}

static tenon_status transpose_group(tenon_cx *cx, const tenon_window *w, int64_t channels, int64_t m, const double *x,
                                    const double *weight, int64_t chunk, double *part, double *product, double *y)
{
    const int64_t rows = m * w->kernel_count;
    for (int64_t begin = 0; begin < w->in_count; begin += chunk) {
        const int64_t count = TENON_MIN(chunk, w->in_count - begin);
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < count; i++) part[c * count + i] = x[c * w->in_count + begin + i];
        TENON_TRY(tenon_dense_gemm(cx, rows, count, channels, weight, part, product));
        for (int64_t r = 0; r < rows; r++) {
            const int64_t t = r % w->kernel_count;
            const int64_t tap[3] = {t / (w->kernel[1] * w->kernel[2]), t / w->kernel[2] % w->kernel[1], t % w->kernel[2]};
            scatter_tap(w, product + r * count, tap, begin, count, y + r / w->kernel_count * w->out_count);
        }
    }
    return TENON_OK;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *x = &call->src[0], *w = &call->src[1], *y = &call->dst[0];
    const int64_t group = tenon_node_int(call->node, "group"), channels = w->dim[0] / group, m = w->dim[1];
    tenon_window win;
    TENON_TRY(tenon_window_get(cx, call->node, x, w->dim + 2, y, &win));
    TENON_TRY(begin_pads(cx, call->node, x->rank - 2, &win));
    const int64_t count = tenon_tensor_count(y), rows = m * win.kernel_count;
    if (count == 0) return TENON_OK;
    const int64_t chunk = TENON_MAX(TENON_MIN(win.in_count, (INT64_C(1) << 20) / TENON_MAX(rows, 1)), 8);
    const double *px = tenon_dense_f64(heap, x), *pw = tenon_dense_f64(heap, w);
    const double *bias = tenon_call_has(call, 2) ? tenon_dense_f64(heap, &call->src[2]) : NULL;
    double *turned = tenon_dense_new_f64(heap, rows * channels), *part = tenon_dense_new_f64(heap, channels * chunk);
    double *product = tenon_dense_new_f64(heap, rows * chunk), *out = tenon_dense_new_f64(heap, count);
    if (!px || !pw || (tenon_call_has(call, 2) && !bias) || !turned || !part || !product || !out) return TENON_NOMEM;
    for (int64_t i = 0; i < count; i++) out[i] = bias ? bias[i / win.out_count % (m * group)] : 0;
    for (int64_t g = 0; g < group; g++) {
        for (int64_t c = 0; c < channels; c++)
            for (int64_t r = 0; r < rows; r++) turned[r * channels + c] = pw[(g * channels + c) * rows + r];
        for (int64_t n = 0; n < x->dim[0]; n++)
            TENON_TRY(transpose_group(cx, &win, channels, m, px + (n * group + g) * channels * win.in_count, turned, chunk, part,
                                      product, out + (n * group + g) * m * win.out_count));
    }
    tenon_dense_store_f64(y, out);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)n, (void)dst;
    double each = 2;
    for (int i = 1; i < src[1].rank; i++) each *= (double)src[1].dim[i];
    return each * (double)tenon_tensor_count(&src[0]);
}

const tenon_op tenon_op_conv_transpose = {
    .name = "conv_transpose", .attr = attrs, .onnx = "ConvTranspose", .onnx_since = 1, .flags = TENON_OP_ANCHOR, .src_min = 2,
    .src_max = 3, .dst_min = 1, .dst_max = 1, .axes = "nchw,ckrs", .infer = infer, .ref = ref, .flops = flops, .tol = 2e-5,
};
