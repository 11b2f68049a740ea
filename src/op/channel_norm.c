/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisations with a scale and a bias a channel (axis 1): batch_norm with given statistics (the inference form), instance_norm
   with the statistics of each channel of each image, group_norm with those of each group of channels. group_norm's scale and bias
   have one entry a channel (opset 21) or one a group (opset 18). */
#include "op/dense.h"
#include "op/rule.h"

#include <math.h>

static const tenon_attr_def batch_attrs[] = {
    {.name = "epsilon", .kind = TENON_ATTR_FLOAT, .f = 1e-5}, {.name = "training_mode", .kind = TENON_ATTR_INT}, {0}};
static const tenon_attr_def instance_attrs[] = {{.name = "epsilon", .kind = TENON_ATTR_FLOAT, .f = 1e-5}, {0}};
static const tenon_attr_def group_attrs[] = {{.name = "num_groups", .kind = TENON_ATTR_INT, .required = true},
                                             {.name = "epsilon", .kind = TENON_ATTR_FLOAT, .f = 1e-5},
                                             {.name = "stash_type", .kind = TENON_ATTR_DTYPE, .i = TENON_F32},
                                             {0}};

static tenon_status check(tenon_cx *cx, const tenon_graph *g, const tenon_node *n, const tenon_dim *vector)
{
    static const char *const letter[] = {"x", "size of scale", "size of bias", "size of mean", "size of variance"};
    for (int i = 1; i < n->op->src_min; i++) {
        if (!tenon_rule_src(n, i)) return TENON_FAIL(cx, TENON_INVALID, "source %d is missing", i);
        TENON_TRY(tenon_rule_vector(cx, g, n, i, letter[i], vector));
    }
    return TENON_OK;
}

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", n->op == &tenon_op_instance_norm ? 3 : 2, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_float(cx, n, 0, "x"));
    const tenon_type *x = tenon_rule_type(n, 0);
    if (n->op == &tenon_op_batch_norm && tenon_node_int(n, "training_mode"))
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "training_mode is %lld; only inference is supported",
                          (long long)tenon_node_int(n, "training_mode"));
    const tenon_dim *vector = x->dim[1];
    if (n->op == &tenon_op_group_norm) {
        const int64_t groups = tenon_node_int(n, "num_groups");
        if (groups < 1) return TENON_FAIL(cx, TENON_INVALID, "num_groups is %lld", (long long)groups);
        if (tenon_dim_is_const(vector) && vector->value % groups)
            return TENON_FAIL(cx, TENON_INVALID, "%lld channels are not a multiple of num_groups %lld",
                              (long long)vector->value, (long long)groups);
        const tenon_type *scale = tenon_rule_type(n, 1);
        if (scale && scale->rank == 1 && tenon_dim_is(scale->dim[0], groups)) vector = scale->dim[0];
    }
    TENON_TRY(check(cx, g, n, vector));
    tenon_infer_set(n, 0, x->dtype, x->rank, x->dim);
    return TENON_OK;
}

/* y = (x - mean) * inverse * scale + bias over `count` elements. */
static void apply(const double *x, int64_t count, double mean, double inverse, double scale, double bias, double *y)
{
    for (int64_t i = 0; i < count; i++) y[i] = (x[i] - mean) * inverse * scale + bias;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_op *op = call->node->op;
    const tenon_tensor *x = &call->src[0];
    const double epsilon = tenon_node_float(call->node, "epsilon");
    const int64_t channels = x->dim[1], groups = op == &tenon_op_group_norm ? tenon_node_int(call->node, "num_groups") : channels;
    const double *v[5] = {0};
    for (int i = 0; i < op->src_min; i++)
        if (!(v[i] = tenon_dense_f64(heap, &call->src[i]))) return TENON_NOMEM;
    double *y = tenon_dense_new_f64(heap, tenon_tensor_count(x));
    if (!y) return TENON_NOMEM;
    if (channels == 0 || channels % groups)
        return channels ? TENON_FAIL(cx, TENON_INVALID, "%lld channels", (long long)channels) : TENON_OK;
    int64_t plane = 1;
    for (int i = 2; i < x->rank; i++) plane *= x->dim[i];
    const int64_t each = channels / groups, per_scale = channels / call->src[1].dim[0];
    for (int64_t i = 0; i < x->dim[0] * groups; i++) {
        const int64_t first = i % groups * each, count = each * plane;
        const double *px = v[0] + i * count;
        double mean = 0, variance = 0;
        if (op == &tenon_op_batch_norm) {
            mean = v[3][first], variance = v[4][first];
        } else {
            for (int64_t j = 0; j < count; j++) mean += px[j];
            mean /= (double)count;
            for (int64_t j = 0; j < count; j++) variance += (px[j] - mean) * (px[j] - mean);
            variance /= (double)count;
        }
        for (int64_t c = 0; c < each; c++)
            apply(px + c * plane, plane, mean, 1 / sqrt(variance + epsilon), v[1][(first + c) / per_scale],
                  v[2][(first + c) / per_scale], y + i * count + c * plane);
    }
    tenon_dense_store_f64(&call->dst[0], y);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)src;
    return (n->op == &tenon_op_batch_norm ? 2.0 : 8.0) * (double)tenon_tensor_count(dst);
}

const tenon_op tenon_op_batch_norm = {
    .name = "batch_norm", .attr = batch_attrs, .onnx = "BatchNormalization", .onnx_since = 9, .flags = TENON_OP_ANCHOR,
    .src_min = 5, .src_max = 5, .dst_min = 1, .dst_max = 1, .axes = "nchw", .infer = infer, .ref = ref, .flops = flops,
    .tol = 1e-5,
};
const tenon_op tenon_op_instance_norm = {
    .name = "instance_norm", .attr = instance_attrs, .onnx = "InstanceNormalization", .onnx_since = 6, .flags = TENON_OP_ANCHOR,
    .src_min = 3, .src_max = 3, .dst_min = 1, .dst_max = 1, .axes = "nchw", .infer = infer, .ref = ref, .flops = flops,
    .tol = 2e-5,
};
const tenon_op tenon_op_group_norm = {
    .name = "group_norm", .attr = group_attrs, .onnx = "GroupNormalization", .onnx_since = 18, .flags = TENON_OP_ANCHOR,
    .src_min = 3, .src_max = 3, .dst_min = 1, .dst_max = 1, .axes = "nchw", .infer = infer, .ref = ref, .flops = flops,
    .tol = 2e-5,
};
