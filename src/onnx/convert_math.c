/* SPDX-License-Identifier: Apache-2.0 */
/* Rewrites of arithmetic: Gemm and other spellings of matmul, variadic sums and extrema, activations that differ by opset. */
#include "onnx/import.h"

#include <string.h>

/* The last two axes swapped. */
static tenon_status swapped(tenon_onnx_call *c, tenon_value *x, tenon_value **out)
{
    int64_t perm[TENON_MAX_RANK];
    const int rank = x->type.rank;
    if (rank < 2) return TENON_FAIL(c->cx, TENON_INVALID, "a transposed operand has rank %d", rank);
    for (int i = 0; i < rank; i++) perm[i] = i;
    perm[rank - 2] = rank - 1;
    perm[rank - 1] = rank - 2;
    return tenon_onnx_transposed(c, x, perm, out);
}

static tenon_status scaled(tenon_onnx_call *c, tenon_value *x, double by, tenon_value **out)
{
    tenon_value *factor;
    *out = x;
    if (by == 1) return TENON_OK;
    TENON_TRY(tenon_onnx_scalar(c, x->type.dtype, by, &factor));
    return tenon_onnx_binary(c, "mul", x, factor, out);
}

/* alpha * A' B' + beta * C */
tenon_status tenon_onnx_gemm(tenon_onnx_call *c)
{
    int64_t trans_a, trans_b;
    double alpha, beta;
    TENON_TRY(tenon_onnx_need(c, 0, "A"));
    TENON_TRY(tenon_onnx_need(c, 1, "B"));
    TENON_TRY(tenon_onnx_int(c, "transA", 0, &trans_a));
    TENON_TRY(tenon_onnx_int(c, "transB", 0, &trans_b));
    TENON_TRY(tenon_onnx_float(c, "alpha", 1, &alpha));
    TENON_TRY(tenon_onnx_float(c, "beta", 1, &beta));
    tenon_value *a = c->src[0], *b = c->src[1], *bias = tenon_onnx_src(c, 2), *y;
    if (a->type.rank != 2 || b->type.rank != 2)
        return TENON_FAIL(c->cx, TENON_INVALID, "A has rank %d and B has rank %d", a->type.rank, b->type.rank);
    if (trans_a) TENON_TRY(swapped(c, a, &a));
    if (trans_b) TENON_TRY(swapped(c, b, &b));
    TENON_TRY(tenon_onnx_binary(c, "matmul", a, b, &y));
    TENON_TRY(scaled(c, y, alpha, &y));
    if (bias && beta != 0) {
        TENON_TRY(scaled(c, bias, beta, &bias));
        TENON_TRY(tenon_onnx_binary(c, "add", y, bias, &y));
    }
    c->dst[0] = y;
    return TENON_OK;
}

tenon_status tenon_onnx_fused_matmul(tenon_onnx_call *c)
{
    int64_t trans_a, trans_b, batch_a, batch_b;
    double alpha;
    TENON_TRY(tenon_onnx_need(c, 0, "A"));
    TENON_TRY(tenon_onnx_need(c, 1, "B"));
    TENON_TRY(tenon_onnx_int(c, "transA", 0, &trans_a));
    TENON_TRY(tenon_onnx_int(c, "transB", 0, &trans_b));
    TENON_TRY(tenon_onnx_int(c, "transBatchA", 0, &batch_a));
    TENON_TRY(tenon_onnx_int(c, "transBatchB", 0, &batch_b));
    TENON_TRY(tenon_onnx_float(c, "alpha", 1, &alpha));
    if (batch_a || batch_b) return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "transBatchA and transBatchB");
    tenon_value *a = c->src[0], *b = c->src[1], *y;
    if (trans_a && a->type.rank > 1) TENON_TRY(swapped(c, a, &a));
    if (trans_b && b->type.rank > 1) TENON_TRY(swapped(c, b, &b));
    TENON_TRY(tenon_onnx_binary(c, "matmul", a, b, &y));
    return scaled(c, y, alpha, &c->dst[0]);
}

/* ---- variadic: x0 op x1 op x2 ... ---- */
static tenon_status chain(tenon_onnx_call *c, const char *op)
{
    if (c->src_count == 0) return TENON_FAIL(c->cx, TENON_INVALID, "no inputs");
    for (int i = 0; i < c->src_count; i++) TENON_TRY(tenon_onnx_need(c, i, "a summand"));
    tenon_value *y = c->src[0];
    for (int i = 1; i < c->src_count; i++) TENON_TRY(tenon_onnx_binary(c, op, y, c->src[i], &y));
    c->dst[0] = y;
    return TENON_OK;
}

tenon_status tenon_onnx_sum(tenon_onnx_call *c) { return chain(c, "add"); }
tenon_status tenon_onnx_maximum(tenon_onnx_call *c) { return chain(c, "max"); }
tenon_status tenon_onnx_minimum(tenon_onnx_call *c) { return chain(c, "min"); }
tenon_status tenon_onnx_mean(tenon_onnx_call *c)
{
    TENON_TRY(chain(c, "add"));
    return scaled(c, c->dst[0], 1.0 / c->src_count, &c->dst[0]);
}

/* ---- activations ---- */
/* Before opset 11 the bounds are attributes, and their defaults are the ends of the type. */
tenon_status tenon_onnx_clip_6(tenon_onnx_call *c)
{
    double bound[2];
    tenon_value *src[3];
    tenon_node *n;
    TENON_TRY(tenon_onnx_need(c, 0, "input"));
    src[0] = c->src[0];
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "min" : "max";
        TENON_TRY(tenon_onnx_float(c, name, 0, &bound[i]));
        src[1 + i] = NULL;
        if (tenon_onnx_has(c, name)) TENON_TRY(tenon_onnx_scalar(c, src[0]->type.dtype, bound[i], &src[1 + i]));
    }
    TENON_TRY(tenon_onnx_emit(c, "clip", src[2] ? 3 : src[1] ? 2 : 1, src, 1, &n));
    return tenon_onnx_typed(c, n, &c->dst[0]);
}

tenon_status tenon_onnx_prelu(tenon_onnx_call *c) { return tenon_onnx_direct_as(c, "prelu"); }

tenon_status tenon_onnx_gelu(tenon_onnx_call *c)
{
    const char *approximate;
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    TENON_TRY(tenon_onnx_text(c, "approximate", "none", &approximate));
    if (strcmp(approximate, "none") == 0) return tenon_onnx_unary(c, "gelu", c->src[0], &c->dst[0]);
    if (strcmp(approximate, "tanh") == 0) return tenon_onnx_unary(c, "gelu_tanh", c->src[0], &c->dst[0]);
    return TENON_FAIL(c->cx, TENON_INVALID, "approximate '%s' is neither none nor tanh", approximate);
}

static tenon_status biased(tenon_onnx_call *c, const char *op)
{
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    tenon_value *x = c->src[0];
    if (tenon_onnx_src(c, 1)) TENON_TRY(tenon_onnx_binary(c, "add", x, c->src[1], &x));
    return tenon_onnx_unary(c, op, x, &c->dst[0]);
}

tenon_status tenon_onnx_bias_gelu(tenon_onnx_call *c) { return biased(c, "gelu"); }
tenon_status tenon_onnx_fast_gelu(tenon_onnx_call *c) { return biased(c, "gelu_tanh"); }

/* x * sigmoid(alpha x) */
tenon_status tenon_onnx_quick_gelu(tenon_onnx_call *c)
{
    double alpha;
    tenon_node *n;
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    TENON_TRY(tenon_onnx_float(c, "alpha", 1.702, &alpha));
    TENON_TRY(tenon_onnx_emit(c, "silu", 1, c->src, 1, &n));
    TENON_TRY(tenon_node_set_float(c->g, n, "alpha", alpha));
    return tenon_onnx_typed(c, n, &c->dst[0]);
}

/* a * sigmoid(alpha a) * b */
tenon_status tenon_onnx_swiglu(tenon_onnx_call *c)
{
    double alpha;
    tenon_node *n;
    tenon_value *gate;
    TENON_TRY(tenon_onnx_need(c, 0, "A"));
    TENON_TRY(tenon_onnx_need(c, 1, "B"));
    TENON_TRY(tenon_onnx_float(c, "alpha", 1, &alpha));
    TENON_TRY(tenon_onnx_emit(c, "silu", 1, c->src, 1, &n));
    TENON_TRY(tenon_node_set_float(c->g, n, "alpha", alpha));
    TENON_TRY(tenon_onnx_typed(c, n, &gate));
    return tenon_onnx_binary(c, "mul", gate, c->src[1], &c->dst[0]);
}

/* x * clip(x / 6 + 0.5, 0, 1) */
tenon_status tenon_onnx_hard_swish(tenon_onnx_call *c)
{
    tenon_node *n;
    tenon_value *gate;
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    TENON_TRY(tenon_onnx_emit(c, "hard_sigmoid", 1, c->src, 1, &n));
    TENON_TRY(tenon_node_set_float(c->g, n, "alpha", 1.0 / 6));
    TENON_TRY(tenon_node_set_float(c->g, n, "beta", 0.5));
    TENON_TRY(tenon_onnx_typed(c, n, &gate));
    return tenon_onnx_binary(c, "mul", c->src[0], gate, &c->dst[0]);
}

/* max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) = alpha * elu(x / alpha) */
tenon_status tenon_onnx_celu(tenon_onnx_call *c)
{
    double alpha;
    tenon_value *x;
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    TENON_TRY(tenon_onnx_float(c, "alpha", 1, &alpha));
    if (alpha == 0) return TENON_FAIL(c->cx, TENON_INVALID, "alpha is 0");
    TENON_TRY(scaled(c, c->src[0], 1 / alpha, &x));
    TENON_TRY(tenon_onnx_unary(c, "elu", x, &x));
    return scaled(c, x, alpha, &c->dst[0]);
}

/* x < -lambd: x + bias; x > lambd: x - bias; else 0 */
tenon_status tenon_onnx_shrink(tenon_onnx_call *c)
{
    double bias, lambd;
    TENON_TRY(tenon_onnx_need(c, 0, "input"));
    TENON_TRY(tenon_onnx_float(c, "bias", 0, &bias));
    TENON_TRY(tenon_onnx_float(c, "lambd", 0.5, &lambd));
    tenon_value *x = c->src[0], *limit, *shift, *zero, *low, *high, *is_low, *is_high;
    tenon_node *n;
    TENON_TRY(tenon_onnx_scalar(c, x->type.dtype, -lambd, &limit));
    TENON_TRY(tenon_onnx_binary(c, "less", x, limit, &is_low));
    TENON_TRY(tenon_onnx_scalar(c, x->type.dtype, lambd, &limit));
    TENON_TRY(tenon_onnx_binary(c, "greater", x, limit, &is_high));
    TENON_TRY(tenon_onnx_scalar(c, x->type.dtype, bias, &shift));
    TENON_TRY(tenon_onnx_scalar(c, x->type.dtype, 0, &zero));
    TENON_TRY(tenon_onnx_binary(c, "add", x, shift, &low));
    TENON_TRY(tenon_onnx_binary(c, "sub", x, shift, &high));
    TENON_TRY(tenon_onnx_emit(c, "where", 3, (tenon_value *[]){is_high, high, zero}, 1, &n));
    TENON_TRY(tenon_onnx_typed(c, n, &high));
    TENON_TRY(tenon_onnx_emit(c, "where", 3, (tenon_value *[]){is_low, low, high}, 1, &n));
    return tenon_onnx_typed(c, n, &c->dst[0]);
}

tenon_status tenon_onnx_cast_like(tenon_onnx_call *c)
{
    tenon_node *n;
    TENON_TRY(tenon_onnx_need(c, 0, "input"));
    if (!tenon_onnx_src(c, 1)) return TENON_FAIL(c->cx, TENON_INVALID, "input 1 (target_type) is missing");
    int64_t saturate;
    TENON_TRY(tenon_onnx_int(c, "saturate", 1, &saturate));
    TENON_TRY(tenon_onnx_emit(c, "cast", 1, c->src, 1, &n));
    TENON_TRY(tenon_node_set_dtype(c->g, n, "to", c->src[1]->type.dtype));
    if (!saturate) TENON_TRY(tenon_node_set_int(c->g, n, "saturate", 0));
    return tenon_onnx_typed(c, n, &c->dst[0]);
}
