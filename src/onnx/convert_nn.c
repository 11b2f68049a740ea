/* SPDX-License-Identifier: Apache-2.0 */
/* Rewrites of pools, normalisations, softmax of older opsets, and what training leaves behind. */
#include "onnx/import.h"

#include <string.h>

/* ---- global pools: reductions over the spatial axes ---- */
static tenon_status global_pool(tenon_onnx_call *c, const char *op)
{
    int64_t axes[TENON_MAX_RANK];
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    const int rank = c->src[0]->type.rank;
    if (rank < 3) return TENON_FAIL(c->cx, TENON_INVALID, "X has rank %d; at least 3 are needed", rank);
    for (int i = 2; i < rank; i++) axes[i - 2] = i;
    return tenon_onnx_reduced(c, op, c->src[0], axes, (size_t)rank - 2, true, &c->dst[0]);
}

tenon_status tenon_onnx_global_average_pool(tenon_onnx_call *c) { return global_pool(c, "reduce_mean"); }
tenon_status tenon_onnx_global_max_pool(tenon_onnx_call *c) { return global_pool(c, "reduce_max"); }
tenon_status tenon_onnx_global_lp_pool(tenon_onnx_call *c)
{
    int64_t p;
    TENON_TRY(tenon_onnx_int(c, "p", 2, &p));
    if (p != 1 && p != 2) return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "p is %lld; 1 and 2 can be done", (long long)p);
    return global_pool(c, p == 1 ? "reduce_l1" : "reduce_l2");
}

/* ---- softmax before opset 13: over all axes from `axis` on, as one ---- */
tenon_status tenon_onnx_softmax_1(tenon_onnx_call *c)
{
    const char *op = strcmp(c->type, "Softmax") == 0 ? "softmax" : strcmp(c->type, "LogSoftmax") == 0 ? "log_softmax" : "hardmax";
    int64_t axis;
    tenon_node *n;
    TENON_TRY(tenon_onnx_need(c, 0, "input"));
    tenon_value *x = c->src[0], *y, *shape;
    const int rank = x->type.rank;
    TENON_TRY(tenon_onnx_int(c, "axis", 1, &axis));
    if (axis < 0) axis += rank;
    if (axis < 0 || axis > rank || (axis == rank && rank > 1))
        return TENON_FAIL(c->cx, TENON_INVALID, "axis %lld is outside a tensor of rank %d", (long long)axis, rank);
    bool alone = axis < rank; /* the axes after it are 1: then it is the softmax of today */
    for (int i = (int)axis + 1; i < rank; i++) alone &= tenon_dim_is(x->type.dim[i], 1);
    if (!alone) TENON_TRY(tenon_onnx_flattened(c, x, axis, &y));
    TENON_TRY(tenon_onnx_emit(c, op, 1, alone ? &x : &y, 1, &n));
    TENON_TRY(tenon_node_set_int(c->g, n, "axis", alone ? axis : 1));
    TENON_TRY(tenon_onnx_typed(c, n, &y));
    if (!alone) {
        TENON_TRY(tenon_onnx_shape(c, x, &shape));
        TENON_TRY(tenon_onnx_reshaped(c, y, shape, &y));
    }
    c->dst[0] = y;
    return TENON_OK;
}

/* ---- inference forms ---- */
tenon_status tenon_onnx_dropout(tenon_onnx_call *c)
{
    TENON_TRY(tenon_onnx_need(c, 0, "data"));
    tenon_value *training = tenon_onnx_src(c, 2);
    if (training) {
        const tenon_tensor *t;
        TENON_TRY(tenon_onnx_known(c->im, c->g, training, &t));
        if (!t || tenon_tensor_count(t) != 1 || tenon_tensor_get_i64(t, 0) != 0)
            return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "training_mode is on, or not known: export the model for inference");
    }
    c->dst[0] = c->src[0];
    if (tenon_onnx_wants(c, 1)) {
        tenon_value *one, *shape;
        TENON_TRY(tenon_onnx_scalar(c, c->opset < 10 ? c->src[0]->type.dtype : TENON_BOOL, 1, &one));
        TENON_TRY(tenon_onnx_shape(c, c->src[0], &shape));
        TENON_TRY(tenon_onnx_binary(c, "expand", one, shape, &c->dst[1]));
    }
    return TENON_OK;
}

tenon_status tenon_onnx_batch_norm(tenon_onnx_call *c)
{
    int64_t spatial;
    TENON_TRY(tenon_onnx_int(c, "spatial", 1, &spatial));
    if (!spatial) return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "spatial = 0 (a mean for each element): opset 9 dropped it");
    return tenon_onnx_direct_as(c, "batch_norm");
}

/* (x - mean) / (sqrt(mean(x^2) - mean(x)^2) + 1e-9) */
tenon_status tenon_onnx_mean_variance(tenon_onnx_call *c)
{
    static const int64_t usual[] = {0, 2, 3};
    tenon_pb_ints axes;
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    TENON_TRY(tenon_onnx_ints(c, "axes", &axes));
    const int64_t *axis = tenon_onnx_has(c, "axes") ? axes.item : usual;
    const size_t count = tenon_onnx_has(c, "axes") ? axes.count : 3;
    tenon_value *x = c->src[0], *mean, *square, *variance, *epsilon;
    TENON_TRY(tenon_onnx_reduced(c, "reduce_mean", x, axis, count, true, &mean));
    TENON_TRY(tenon_onnx_binary(c, "sub", x, mean, &x));
    TENON_TRY(tenon_onnx_binary(c, "mul", x, x, &square)); /* the same variance, without the cancellation */
    TENON_TRY(tenon_onnx_reduced(c, "reduce_mean", square, axis, count, true, &variance));
    TENON_TRY(tenon_onnx_unary(c, "sqrt", variance, &variance));
    TENON_TRY(tenon_onnx_scalar(c, x->type.dtype, 1e-9, &epsilon));
    TENON_TRY(tenon_onnx_binary(c, "add", variance, epsilon, &variance));
    return tenon_onnx_binary(c, "div", x, variance, &c->dst[0]);
}

/* ---- normalisations of onnxruntime's domain ---- */
static tenon_status normalised(tenon_onnx_call *c, const char *op, tenon_value *x, tenon_value *scale, tenon_value *bias,
                               double epsilon)
{
    tenon_node *n;
    TENON_TRY(tenon_onnx_emit(c, op, bias ? 3 : 2, (tenon_value *[]){x, scale, bias}, 1, &n));
    TENON_TRY(tenon_node_set_int(c->g, n, "axis", -1));
    TENON_TRY(tenon_node_set_float(c->g, n, "epsilon", epsilon));
    return tenon_onnx_typed(c, n, &c->dst[0]);
}

tenon_status tenon_onnx_simplified_layer_norm(tenon_onnx_call *c)
{
    double epsilon;
    int64_t axis;
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    TENON_TRY(tenon_onnx_need(c, 1, "scale"));
    TENON_TRY(tenon_onnx_float(c, "epsilon", 1e-5, &epsilon));
    TENON_TRY(tenon_onnx_int(c, "axis", -1, &axis));
    if (axis != -1 && axis != c->src[0]->type.rank - 1)
        return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "axis %lld; only the last can be done", (long long)axis);
    return normalised(c, "rms_norm", c->src[0], c->src[1], NULL, epsilon);
}

/* norm(input + skip [+ bias]); result 3 is that sum. Inputs: input, skip, gamma, [beta unless simplified], bias. */
tenon_status tenon_onnx_skip_layer_norm(tenon_onnx_call *c)
{
    const bool simplified = strcmp(c->type, "SkipSimplifiedLayerNormalization") == 0;
    double epsilon;
    tenon_value *x;
    TENON_TRY(tenon_onnx_need(c, 0, "input"));
    TENON_TRY(tenon_onnx_need(c, 1, "skip"));
    TENON_TRY(tenon_onnx_need(c, 2, "gamma"));
    TENON_TRY(tenon_onnx_float(c, "epsilon", 1e-12, &epsilon));
    tenon_value *bias = tenon_onnx_src(c, simplified ? 3 : 4);
    TENON_TRY(tenon_onnx_binary(c, "add", c->src[0], c->src[1], &x));
    if (bias) TENON_TRY(tenon_onnx_binary(c, "add", x, bias, &x));
    if (c->dst_count > 3) c->dst[3] = x;
    return normalised(c, simplified ? "rms_norm" : "layer_norm", x, c->src[2], simplified ? NULL : tenon_onnx_src(c, 3), epsilon);
}
