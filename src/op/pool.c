/* SPDX-License-Identifier: Apache-2.0 */
/* max_pool (optionally with the flat indices of the maxima), average_pool and lp_pool. Padding is never a maximum and counts in
   an average only with count_include_pad, the part that ceil_mode adds beyond the end padding never. A NaN is skipped by max_pool
   (x > m ? x : m), which is what vector maxima of x and m do. */
#include "op/window.h"

#include <math.h>

#define POOL_ATTRS                                                                                                          \
    TENON_WINDOW_ATTRS, {.name = "kernel_shape", .kind = TENON_ATTR_INTS, .required = true},                                \
    {.name = "ceil_mode", .kind = TENON_ATTR_INT}

static const tenon_attr_def max_attrs[] = {POOL_ATTRS, {.name = "storage_order", .kind = TENON_ATTR_INT}, {0}};
static const tenon_attr_def average_attrs[] = {POOL_ATTRS, {.name = "count_include_pad", .kind = TENON_ATTR_INT}, {0}};
static const tenon_attr_def lp_attrs[] = {POOL_ATTRS, {.name = "p", .kind = TENON_ATTR_INT, .i = 2}, {0}};

static tenon_status max_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n) { return tenon_window_pool_infer(cx, g, n, true); }

static tenon_status float_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    TENON_TRY(tenon_window_pool_infer(cx, g, n, false));
    return tenon_rule_float(cx, n, 0, "x");
}

static tenon_status lp_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    if (tenon_node_int(n, "p") < 1) return TENON_FAIL(cx, TENON_INVALID, "p is %lld", (long long)tenon_node_int(n, "p"));
    return float_infer(cx, g, n);
}

/* What one window sees of a plane; at[]: the maximum's position. */
typedef struct seen {
    double max, sum;
    int64_t inside, padded, at[3];
} seen;

static seen look(const tenon_window *w, const double *x, const int64_t *o, int64_t p)
{
    seen s = {.max = -INFINITY, .at = {-1, -1, -1}};
    for (int64_t t = 0; t < w->kernel_count; t++) {
        const int64_t tap[3] = {t / (w->kernel[1] * w->kernel[2]), t / w->kernel[2] % w->kernel[1], t % w->kernel[2]};
        int64_t i[3];
        bool inside = true, padded = true;
        for (int k = 0; k < 3; k++) {
            i[k] = o[k] * w->stride[k] + tap[k] * w->dilation[k] - w->begin[k];
            inside = inside && i[k] >= 0 && i[k] < w->in[k];
            padded = padded && i[k] < w->in[k] + w->end[k];
        }
        s.padded += padded;
        if (!inside) continue;
        s.inside++;
        const double v = x[(i[0] * w->in[1] + i[1]) * w->in[2] + i[2]];
        s.sum += p == 1 ? fabs(v) : p == 2 ? v * v : p ? pow(fabs(v), (double)p) : v;
        if (v > s.max || s.at[0] < 0) {
            s.max = v > s.max ? v : s.max;
            for (int k = 0; k < 3; k++) s.at[k] = i[k];
        }
    }
    return s;
}

typedef enum { POOL_MAX, POOL_AVERAGE, POOL_LP } pool_kind;

static tenon_status pool(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap, pool_kind kind)
{
    const tenon_tensor *x = &call->src[0];
    const bool wants_index = kind == POOL_MAX && tenon_call_wants(call, 1),
               include_pad = kind == POOL_AVERAGE && tenon_node_int(call->node, "count_include_pad");
    const bool column_major = kind == POOL_MAX && tenon_node_int(call->node, "storage_order");
    const int64_t p = kind == POOL_LP ? tenon_node_int(call->node, "p") : 0, planes = x->dim[0] * x->dim[1];
    tenon_window w;
    TENON_TRY(tenon_window_pool(cx, call, &w));
    const double *px = tenon_dense_f64(heap, x);
    double *y = tenon_dense_new_f64(heap, planes * w.out_count), *index = tenon_dense_new_f64(heap, planes * w.out_count);
    if (!px || !y || !index) return TENON_NOMEM;
    for (int64_t plane = 0, at = 0; plane < planes; plane++)
        for (int64_t i = 0; i < w.out_count; i++, at++) {
            const int64_t o[3] = {i / (w.out[1] * w.out[2]), i / w.out[2] % w.out[1], i % w.out[2]};
            const seen s = look(&w, px + plane * w.in_count, o, p);
            const double count = (double)(include_pad ? s.padded : s.inside);
            y[at] = kind == POOL_MAX ? s.max : kind == POOL_AVERAGE ? s.sum / count : pow(s.sum, 1.0 / (double)p);
            const int64_t flat = column_major ? s.at[0] + w.in[0] * (s.at[1] + w.in[1] * s.at[2])
                                              : (s.at[0] * w.in[1] + s.at[1]) * w.in[2] + s.at[2];
            index[at] = (double)(s.at[0] < 0 ? -1 : plane * w.in_count + flat);
        }
    if (tenon_call_wants(call, 0)) tenon_dense_store_f64(&call->dst[0], y);
    if (wants_index) tenon_dense_store_f64(&call->dst[1], index);
    return TENON_OK;
}

static tenon_status max_run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap) { return pool(cx, call, heap, POOL_MAX); }
static tenon_status average_run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    return pool(cx, call, heap, POOL_AVERAGE);
}
static tenon_status lp_run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap) { return pool(cx, call, heap, POOL_LP); }
static tenon_status max_ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, max_run); }
static tenon_status average_ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, average_run); }
static tenon_status lp_ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, lp_run); }

const tenon_op tenon_op_max_pool = {
    .name = "max_pool", .attr = max_attrs, .onnx = "MaxPool", .onnx_since = 1, .flags = TENON_OP_ANCHOR, .src_min = 1,
    .src_max = 1, .dst_min = 1, .dst_max = 2, .axes = "nchw", .infer = max_infer, .ref = max_ref,
    .flops = tenon_window_pool_flops, .tol = 0,
};
const tenon_op tenon_op_average_pool = {
    .name = "average_pool", .attr = average_attrs, .onnx = "AveragePool", .onnx_since = 7, .flags = TENON_OP_ANCHOR,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .axes = "nchw", .infer = float_infer, .ref = average_ref,
    .flops = tenon_window_pool_flops, .tol = 1e-5,
};
const tenon_op tenon_op_lp_pool = {
    .name = "lp_pool", .attr = lp_attrs, .onnx = "LpPool", .onnx_since = 2, .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 1,
    .dst_min = 1, .dst_max = 1, .axes = "nchw", .infer = lp_infer, .ref = lp_ref, .flops = tenon_window_pool_flops, .tol = 1e-4,
};
