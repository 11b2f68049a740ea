/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisations over the trailing axes: layer_norm (with its optional mean and inverse deviation), rms_norm; and along one axis:
   lp_norm (a zero norm gives zeros) and lrn (a window of channels). Variance: mean of squared differences, in double. */
#include "op/dense.h"
#include "op/rule.h"

#include <math.h>

static const tenon_attr_def norm_attrs[] = {{.name = "axis", .kind = TENON_ATTR_INT, .i = -1},
                                            {.name = "epsilon", .kind = TENON_ATTR_FLOAT, .f = 1e-5},
                                            {.name = "stash_type", .kind = TENON_ATTR_DTYPE, .i = TENON_F32},
                                            {0}};
static const tenon_attr_def lp_attrs[] = {
    {.name = "axis", .kind = TENON_ATTR_INT, .i = -1}, {.name = "p", .kind = TENON_ATTR_INT, .i = 2}, {0}};
static const tenon_attr_def lrn_attrs[] = {{.name = "alpha", .kind = TENON_ATTR_FLOAT, .f = 1e-4},
                                           {.name = "beta", .kind = TENON_ATTR_FLOAT, .f = 0.75},
                                           {.name = "bias", .kind = TENON_ATTR_FLOAT, .f = 1},
                                           {.name = "size", .kind = TENON_ATTR_INT, .required = true},
                                           {0}};

static tenon_status norm_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int axis;
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 1, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_float(cx, n, 0, "x"));
    const tenon_type *x = tenon_rule_type(n, 0);
    TENON_TRY(tenon_infer_axis(cx, "axis", tenon_node_int(n, "axis"), x->rank, &axis));
    TENON_TRY(tenon_rule_rank(cx, n, 1, "scale", 0, TENON_MAX_RANK));
    for (int i = 1; i <= 2; i++)
        if (tenon_rule_src(n, i)) TENON_TRY(tenon_rule_broadcasts(cx, g, i == 1 ? "scale" : "bias", tenon_rule_type(n, i), x));
    if (tenon_rule_wants(n, 0)) tenon_infer_set(n, 0, x->dtype, x->rank, x->dim);
    const tenon_dim *dim[TENON_MAX_RANK], *one = tenon_dim_const(g->dims, 1);
    if (!one) return TENON_NOMEM;
    for (int i = 0; i < x->rank; i++) dim[i] = i < axis ? x->dim[i] : one;
    for (int i = 1; i <= 2; i++)
        if (tenon_rule_wants(n, i)) tenon_infer_set(n, i, (tenon_dtype)tenon_node_int(n, "stash_type"), x->rank, dim);
    return TENON_OK;
}

/* Source i with the dims of x, or NULL when it is absent; *ok false when it does not fit or memory is out. */
static const double *like_x(tenon_eval_call *call, tenon_heap *heap, int i, bool *ok)
{
    tenon_tensor wide;
    if (!tenon_call_has(call, i)) return NULL;
    const double *p = NULL;
    if (tenon_dense_broadcast(&call->src[i], call->src[0].rank, call->src[0].dim, &wide)) p = tenon_dense_f64(heap, &wide);
    else (void)TENON_FAIL(heap->cx, TENON_INVALID, "source %d does not broadcast to x", i);
    if (!p) *ok = false;
    return p;
}

static tenon_status norm_run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *x = &call->src[0];
    const bool centered = call->node->op == &tenon_op_layer_norm;
    const double epsilon = tenon_node_float(call->node, "epsilon");
    int axis;
    TENON_TRY(tenon_infer_axis(cx, "axis", tenon_node_int(call->node, "axis"), x->rank, &axis));
    int64_t outer = 1, inner = 1;
    for (int i = 0; i < x->rank; i++) *(i < axis ? &outer : &inner) *= x->dim[i];
    bool ok = true;
    const double *px = tenon_dense_f64(heap, x), *scale = like_x(call, heap, 1, &ok),
                 *bias = ok ? like_x(call, heap, 2, &ok) : NULL;
    if (!ok) return cx->status;
    double *y = tenon_dense_new_f64(heap, outer * inner), *mean = tenon_dense_new_f64(heap, outer),
           *inverse = tenon_dense_new_f64(heap, outer);
    if (!px || !y || !mean || !inverse) return TENON_NOMEM;
    for (int64_t i = 0; i < outer; i++) {
        const double *row = px + i * inner;
        double sum = 0, square = 0;
        for (int64_t j = 0; j < inner && centered; j++) sum += row[j];
        mean[i] = sum / (double)inner;
        for (int64_t j = 0; j < inner; j++) square += (row[j] - mean[i]) * (row[j] - mean[i]);
        inverse[i] = 1 / sqrt(square / (double)inner + epsilon);
        for (int64_t j = 0; j < inner; j++) {
            const int64_t at = i * inner + j;
            y[at] = (row[j] - mean[i]) * inverse[i] * (scale ? scale[at] : 1) + (bias ? bias[at] : 0);
        }
    }
    const double *result[3] = {y, mean, inverse};
    for (int i = 0; i < 3; i++)
        if (tenon_call_wants(call, i)) tenon_dense_store_f64(&call->dst[i], result[i]);
    return TENON_OK;
}

static tenon_status lp_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)g;
    int axis;
    const int64_t p = tenon_node_int(n, "p");
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 1, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_float(cx, n, 0, "x"));
    const tenon_type *x = tenon_rule_type(n, 0);
    TENON_TRY(tenon_infer_axis(cx, "axis", tenon_node_int(n, "axis"), x->rank, &axis));
    if (p != 1 && p != 2) return TENON_FAIL(cx, TENON_INVALID, "p is %lld, must be 1 or 2", (long long)p);
    tenon_infer_set(n, 0, x->dtype, x->rank, x->dim);
    return TENON_OK;
}

static tenon_status lp_run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *x = &call->src[0];
    int axis, perm[TENON_MAX_RANK];
    TENON_TRY(tenon_infer_axis(cx, "axis", tenon_node_int(call->node, "axis"), x->rank, &axis));
    tenon_dense_axis_last(x->rank, axis, perm);
    const tenon_tensor from = tenon_dense_permuted(x, perm), to = tenon_dense_permuted(&call->dst[0], perm);
    const int64_t count = tenon_tensor_count(x), length = x->dim[axis];
    const bool square = tenon_node_int(call->node, "p") == 2;
    const double *px = tenon_dense_f64(heap, &from);
    double *y = tenon_dense_new_f64(heap, count);
    if (!px || !y) return TENON_NOMEM;
    for (int64_t i = 0; i < count; i += length) {
        double sum = 0;
        for (int64_t j = 0; j < length; j++) sum += square ? px[i + j] * px[i + j] : fabs(px[i + j]);
        const double norm = square ? sqrt(sum) : sum;
        for (int64_t j = 0; j < length; j++) y[i + j] = norm == 0 ? 0 : px[i + j] / norm;
    }
    tenon_dense_store_f64(&to, y);
    return TENON_OK;
}

static tenon_status lrn_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)g;
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 2, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_float(cx, n, 0, "x"));
    if (tenon_node_int(n, "size") < 1)
        return TENON_FAIL(cx, TENON_INVALID, "size is %lld", (long long)tenon_node_int(n, "size"));
    const tenon_type *x = tenon_rule_type(n, 0);
    tenon_infer_set(n, 0, x->dtype, x->rank, x->dim);
    return TENON_OK;
}

/* y = x / (bias + alpha / size * sum of squares over channels [c - floor((size-1)/2), c + ceil((size-1)/2)]) ^ beta */
static tenon_status lrn_run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    (void)cx;
    const tenon_tensor *x = &call->src[0];
    const int64_t size = tenon_node_int(call->node, "size"), channels = x->dim[1], before = (size - 1) / 2,
                  after = size - 1 - before;
    const double alpha = tenon_node_float(call->node, "alpha"), beta = tenon_node_float(call->node, "beta"),
                 bias = tenon_node_float(call->node, "bias");
    int64_t plane = 1;
    for (int i = 2; i < x->rank; i++) plane *= x->dim[i];
    const double *px = tenon_dense_f64(heap, x);
    double *y = tenon_dense_new_f64(heap, tenon_tensor_count(x));
    if (!px || !y) return TENON_NOMEM;
    for (int64_t n = 0; n < x->dim[0]; n++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < plane; i++) {
                double sum = 0;
                for (int64_t k = TENON_MAX(c - before, 0); k <= TENON_MIN(c + after, channels - 1); k++) {
                    const double v = px[(n * channels + k) * plane + i];
                    sum += v * v;
                }
                const int64_t at = (n * channels + c) * plane + i;
                y[at] = px[at] / pow(bias + alpha / (double)size * sum, beta);
            }
    tenon_dense_store_f64(&call->dst[0], y);
    return TENON_OK;
}

static tenon_status norm_ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, norm_run); }
static tenon_status lp_ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, lp_run); }
static tenon_status lrn_ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, lrn_run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)dst;
    const double window = n->op == &tenon_op_lrn ? 2.0 * (double)tenon_node_int(n, "size") + 10 : 8;
    return window * (double)tenon_tensor_count(&src[0]);
}

const tenon_op tenon_op_layer_norm = {
    .name = "layer_norm", .attr = norm_attrs, .onnx = "LayerNormalization", .onnx_since = 17, .flags = TENON_OP_ANCHOR,
    .src_min = 2, .src_max = 3, .dst_min = 1, .dst_max = 3, .infer = norm_infer, .ref = norm_ref, .flops = flops, .tol = 2e-5,
};
const tenon_op tenon_op_rms_norm = {
    .name = "rms_norm", .attr = norm_attrs, .onnx = "RMSNormalization", .onnx_since = 23, .flags = TENON_OP_ANCHOR, .src_min = 2,
    .src_max = 2, .dst_min = 1, .dst_max = 1, .infer = norm_infer, .ref = norm_ref, .flops = flops, .tol = 2e-5,
};
const tenon_op tenon_op_lp_norm = {
    .name = "lp_norm", .attr = lp_attrs, .onnx = "LpNormalization", .onnx_since = 1, .flags = TENON_OP_ANCHOR, .src_min = 1,
    .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = lp_infer, .ref = lp_ref, .flops = flops, .tol = 1e-5,
};
const tenon_op tenon_op_lrn = {
    .name = "lrn", .attr = lrn_attrs, .onnx = "LRN", .onnx_since = 1, .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 1,
    .dst_min = 1, .dst_max = 1, .axes = "nchw", .infer = lrn_infer, .ref = lrn_ref, .flops = flops, .tol = 1e-5,
};
