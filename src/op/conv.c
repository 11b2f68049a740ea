/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution of 1 to 3 spatial axes: x (n, c, ...), w (k, c/group, ...), optional bias (k). The kernel's size is w's.
   The reference unrolls the windows into columns, a bounded number of positions at a time, and multiplies. */
#include "op/window.h"

static const tenon_attr_def attrs[] = {TENON_WINDOW_ATTRS, {.name = "group", .kind = TENON_ATTR_INT, .i = 1}, {0}};

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
    const tenon_dim *groups = tenon_dim_const(g->dims, group);
    TENON_TRY(tenon_rule_equal(cx, g, "channels of x", x->dim[1], "channels of the weight times group",
                               tenon_dim_mul(g->dims, w->dim[1], groups)));
    if (tenon_dim_is_const(w->dim[0]) && w->dim[0]->value % group)
        return TENON_FAIL(cx, TENON_INVALID, "%lld filters are not a multiple of group %lld", (long long)w->dim[0]->value,
                          (long long)group);
    TENON_TRY(tenon_rule_vector(cx, g, n, 2, "size of bias", w->dim[0]));
    const tenon_dim *dim[TENON_MAX_RANK] = {x->dim[0], w->dim[0]};
    TENON_TRY(tenon_window_infer(cx, g, n, x, w->dim + 2, false, dim + 2));
    tenon_infer_set(n, 0, x->dtype, x->rank, dim);
    return TENON_OK;
}

/* One row of columns: input channel plane x shifted by kernel tap (kd, kh, kw), result positions [begin, begin + count). */
static void gather_tap(const tenon_window *w, const double *x, const int64_t *tap, int64_t begin, int64_t count, double *out)
{
    int64_t od = begin / (w->out[1] * w->out[2]), oh = begin / w->out[2] % w->out[1], ow = begin % w->out[2];
    for (int64_t i = 0; i < count; i++) {
        const int64_t d = od * w->stride[0] + tap[0] * w->dilation[0] - w->begin[0];
        const int64_t h = oh * w->stride[1] + tap[1] * w->dilation[1] - w->begin[1];
        const int64_t v = ow * w->stride[2] + tap[2] * w->dilation[2] - w->begin[2];
        const bool inside = d >= 0 && d < w->in[0] && h >= 0 && h < w->in[1] && v >= 0 && v < w->in[2];
        out[i] = inside ? x[(d * w->in[1] + h) * w->in[2] + v] : 0;
        if (++ow == w->out[2]) {
            ow = 0;
            if (++oh == w->out[1]) oh = 0, od++;
        }
    }
}

/* One image and one group: y[m][out] = w[m][channels * taps] * columns. */
static tenon_status conv_group(tenon_cx *cx, const tenon_window *w, int64_t channels, int64_t m, const double *x,
                               const double *weight, int64_t chunk, double *column, double *part, double *y)
{
    const int64_t depth = channels * w->kernel_count;
    for (int64_t begin = 0; begin < w->out_count; begin += chunk) {
        const int64_t count = TENON_MIN(chunk, w->out_count - begin);
        double *out = column;
        for (int64_t c = 0; c < channels; c++)
            for (int64_t t = 0; t < w->kernel_count; t++, out += count) {
                const int64_t tap[3] = {t / (w->kernel[1] * w->kernel[2]), t / w->kernel[2] % w->kernel[1], t % w->kernel[2]};
                gather_tap(w, x + c * w->in_count, tap, begin, count, out);
            }
        TENON_TRY(tenon_dense_gemm(cx, m, count, depth, weight, column, part));
        for (int64_t k = 0; k < m; k++)
            for (int64_t i = 0; i < count; i++) y[k * w->out_count + begin + i] = part[k * count + i];
    }
    return TENON_OK;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *x = &call->src[0], *w = &call->src[1], *y = &call->dst[0];
    const int64_t group = tenon_node_int(call->node, "group"), channels = w->dim[1], m = w->dim[0] / group;
    tenon_window win;
    TENON_TRY(tenon_window_get(cx, call->node, x, w->dim + 2, y, &win));
    if (tenon_tensor_count(y) == 0) return TENON_OK;
    const int64_t depth = channels * win.kernel_count;
    const int64_t chunk = TENON_MAX(TENON_MIN(win.out_count, (INT64_C(1) << 20) / TENON_MAX(depth, 1)), 8);
    const double *px = tenon_dense_f64(heap, x), *pw = tenon_dense_f64(heap, w);
    const double *bias = tenon_call_has(call, 2) ? tenon_dense_f64(heap, &call->src[2]) : NULL;
    double *column = tenon_dense_new_f64(heap, depth * chunk), *part = tenon_dense_new_f64(heap, m * chunk);
    double *out = tenon_dense_new_f64(heap, tenon_tensor_count(y));
    if (!px || !pw || (tenon_call_has(call, 2) && !bias) || !column || !part || !out) return TENON_NOMEM;
    for (int64_t n = 0; n < x->dim[0]; n++)
        for (int64_t g = 0; g < group; g++)
            TENON_TRY(conv_group(cx, &win, channels, m, px + (n * group + g) * channels * win.in_count, pw + g * m * depth, chunk,
                                 column, part, out + (n * group + g) * m * win.out_count));
    for (int64_t i = 0; bias && i < x->dim[0] * w->dim[0]; i++)
        for (int64_t j = 0; j < win.out_count; j++) out[i * win.out_count + j] += bias[i % w->dim[0]];
    tenon_dense_store_f64(y, out);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)n;
    double each = 2;
    for (int i = 1; i < src[1].rank; i++) each *= (double)src[1].dim[i];
    return each * (double)tenon_tensor_count(dst);
}

const tenon_op tenon_op_conv = {
    .name = "conv", .attr = attrs, .onnx = "Conv", .onnx_since = 1, .flags = TENON_OP_ANCHOR, .src_min = 2, .src_max = 3,
    .dst_min = 1, .dst_max = 1, .axes = "nchw,kcrs", .infer = infer, .ref = ref, .flops = flops, .tol = 2e-5,
};
