/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise operators of one operand: rows of scalar functions and CUDA expressions. NaN goes through every one of them.
   The composite ones (silu, gelu, hard_swish, ...) are what passes make of exporters' spellings. */
#include "op/pointwise_row.h"

#include <math.h>

#define SIGMOID32(v) (1.0f / (1.0f + expf(-(v))))
#define SIGMOID64(v) (1.0 / (1.0 + exp(-(v))))

/* log(1 + e^x) without overflow. */
static double softplus64(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static float softplus32(float x) { return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x)); }
static int64_t wrap_neg(int64_t x) { return (int64_t)(0 - (uint64_t)x); }

static const tenon_dim *sym_abs(tenon_dim_pool *p, const tenon_dim *const *x, const double *param)
{
    (void)param;
    return tenon_dim_max(p, x[0], tenon_dim_sub(p, tenon_dim_const(p, 0), x[0]));
}
static const tenon_dim *sym_neg(tenon_dim_pool *p, const tenon_dim *const *x, const double *param)
{
    (void)param;
    return tenon_dim_sub(p, tenon_dim_const(p, 0), x[0]);
}
static const tenon_dim *sym_relu(tenon_dim_pool *p, const tenon_dim *const *x, const double *param)
{
    (void)param;
    return tenon_dim_max(p, x[0], tenon_dim_const(p, 0));
}
static const tenon_dim *sym_identity(tenon_dim_pool *p, const tenon_dim *const *x, const double *param)
{
    (void)p, (void)param;
    return x[0];
}
static const tenon_dim *sym_sign(tenon_dim_pool *p, const tenon_dim *const *x, const double *param)
{
    (void)param;
    const tenon_dim *zero = tenon_dim_const(p, 0);
    return tenon_dim_sub(p, tenon_dim_lt(p, zero, x[0]), tenon_dim_lt(p, x[0], zero));
}

/* ---- defined on integers too ---- */
#define ROW_I(id, onnx_, since, e32, e64, ei, cuda_, sym_, small)                                                           \
    PW1(id, e32, e64) PW1_I(id, ei)                                                                                         \
    static const tenon_pw id##_pw = { .arity = 1, .flops = 1, .f32 = id##_f32, .f64 = id##_f64, .i64 = id##_i64,            \
                                      .cuda = cuda_, .sym = sym_, .small_int = small };                                     \
    PW_OP(id, onnx_, since, 1, 1, 0, NULL)

ROW_I(abs, "Abs", 6, fabsf(x), fabs(x), x < 0 ? wrap_neg(x) : x, "fabsf(x0)", sym_abs, false)
ROW_I(neg, "Neg", 6, -x, -x, wrap_neg(x), "(-x0)", sym_neg, false)
ROW_I(relu, "Relu", 6, x < 0 ? 0 : x, x < 0 ? 0 : x, x < 0 ? 0 : x, "(x0 < 0.0f ? 0.0f : x0)", sym_relu, true)
ROW_I(sign, "Sign", 9, x > 0 ? 1 : x < 0 ? -1 : x, x > 0 ? 1 : x < 0 ? -1 : x, (x > 0) - (x < 0),
      "(x0 > 0.0f ? 1.0f : x0 < 0.0f ? -1.0f : x0)", sym_sign, true)
ROW_I(identity, "Identity", 1, x, x, x, "(x0)", sym_identity, true)

/* ---- on floats alone ---- */
#define ROW_F(id, onnx_, since, flops_, tol_, e32, e64, cuda_)                                                              \
    PW1(id, e32, e64)                                                                                                       \
    static const tenon_pw id##_pw = { .arity = 1, .flops = flops_, .f32 = id##_f32, .f64 = id##_f64, .cuda = cuda_ };       \
    PW_OP(id, onnx_, since, 1, 1, tol_, NULL)

ROW_F(exp, "Exp", 6, 12, 2e-6, expf(x), exp(x), "expf(x0)")
ROW_F(log, "Log", 6, 12, 2e-6, logf(x), log(x), "logf(x0)")
ROW_F(sqrt, "Sqrt", 6, 4, 2e-7, sqrtf(x), sqrt(x), "sqrtf(x0)")
ROW_F(rsqrt, NULL, 0, 4, 1e-6, 1.0f / sqrtf(x), 1.0 / sqrt(x), "rsqrtf(x0)")
ROW_F(reciprocal, "Reciprocal", 6, 4, 2e-7, 1.0f / x, 1.0 / x, "(1.0f / x0)")
ROW_F(erf, "Erf", 9, 20, 2e-6, erff(x), erf(x), "erff(x0)")
ROW_F(sigmoid, "Sigmoid", 6, 16, 2e-6, SIGMOID32(x), SIGMOID64(x), "(1.0f / (1.0f + expf(-x0)))")
ROW_F(tanh, "Tanh", 6, 16, 2e-6, tanhf(x), tanh(x), "tanhf(x0)")
ROW_F(sin, "Sin", 7, 16, 2e-6, sinf(x), sin(x), "sinf(x0)")
ROW_F(cos, "Cos", 7, 16, 2e-6, cosf(x), cos(x), "cosf(x0)")
ROW_F(tan, "Tan", 7, 20, 4e-6, tanf(x), tan(x), "tanf(x0)")
ROW_F(asin, "Asin", 7, 20, 2e-6, asinf(x), asin(x), "asinf(x0)")
ROW_F(acos, "Acos", 7, 20, 2e-6, acosf(x), acos(x), "acosf(x0)")
ROW_F(atan, "Atan", 7, 20, 2e-6, atanf(x), atan(x), "atanf(x0)")
ROW_F(sinh, "Sinh", 9, 20, 2e-6, sinhf(x), sinh(x), "sinhf(x0)")
ROW_F(cosh, "Cosh", 9, 20, 2e-6, coshf(x), cosh(x), "coshf(x0)")
ROW_F(asinh, "Asinh", 9, 20, 2e-6, asinhf(x), asinh(x), "asinhf(x0)")
ROW_F(acosh, "Acosh", 9, 20, 2e-6, acoshf(x), acosh(x), "acoshf(x0)")
ROW_F(atanh, "Atanh", 9, 20, 2e-6, atanhf(x), atanh(x), "atanhf(x0)")
ROW_F(floor, "Floor", 6, 1, 0, floorf(x), floor(x), "floorf(x0)")
ROW_F(ceil, "Ceil", 6, 1, 0, ceilf(x), ceil(x), "ceilf(x0)")
ROW_F(round, "Round", 11, 1, 0, rintf(x), rint(x), "rintf(x0)") /* half to even: the rounding mode is never changed */
ROW_F(softplus, "Softplus", 1, 24, 2e-6, softplus32(x), softplus64(x), "(x0 > 0.0f ? x0 + log1pf(expf(-x0)) : log1pf(expf(x0)))")
ROW_F(softsign, "Softsign", 1, 5, 2e-6, x / (1.0f + fabsf(x)), x / (1.0 + fabs(x)), "(x0 / (1.0f + fabsf(x0)))")
ROW_F(mish, "Mish", 18, 40, 4e-6, x * tanhf(softplus32(x)), x * tanh(softplus64(x)),
      "(x0 * tanhf(x0 > 0.0f ? x0 + log1pf(expf(-x0)) : log1pf(expf(x0))))")
ROW_F(hard_swish, "HardSwish", 14, 5, 1e-6, x * fmaxf(0.0f, fminf(1.0f, x / 6.0f + 0.5f)), x * fmax(0.0, fmin(1.0,
                                                                                                              x / 6.0 + 0.5)),
      "(x0 * fmaxf(0.0f, fminf(1.0f, x0 * (1.0f / 6.0f) + 0.5f)))")
ROW_F(gelu, NULL, 0, 24, 2e-6, 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)),
      0.5 * x * (1.0 + erf(x * 0.70710678118654752440)),
      "(0.5f * x0 * (1.0f + erff(x0 * 0.70710678118654752f)))")
ROW_F(gelu_tanh, NULL, 0, 24, 4e-6, 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x))),
      0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))),
      "(0.5f * x0 * (1.0f + tanhf(0.79788456080286536f * (x0 + 0.044715f * x0 * x0 * x0))))")

/* ---- with parameters ---- */
#define A1(n0, d0) { .name = n0, .kind = TENON_ATTR_FLOAT, .f = d0 }
#define ROW_P(id, onnx_, since, flops_, tol_, count, p0_, d0, p1_, d1, e32, e64, cuda_)                                     \
    PW1(id, e32, e64)                                                                                                       \
    static const tenon_attr_def id##_attr[] = { A1(p0_, d0), A1(p1_, d1), { .name = NULL } };                               \
    static const tenon_pw id##_pw = { .arity = 1, .param_count = count, .param = { p0_, p1_ }, .flops = flops_,             \
                                      .f32 = id##_f32, .f64 = id##_f64, .cuda = cuda_ };                                    \
    PW_OP(id, onnx_, since, 1, 1, tol_, id##_attr)

ROW_P(elu, "Elu", 6, 14, 2e-6, 1, "alpha", 1.0, NULL, 0, x < 0 ? p[0] * expm1f(x) : x, x < 0 ? p[0] * expm1(x) : x,
      "(x0 < 0.0f ? p0 * expm1f(x0) : x0)")
ROW_P(celu, "Celu", 12, 15, 2e-6, 1, "alpha", 1.0, NULL, 0, x < 0 ? p[0] * expm1f(x / p[0]) : x,
      x < 0 ? p[0] * expm1(x / p[0]) : x,
      "(x0 < 0.0f ? p0 * expm1f(x0 / p0) : x0)")
ROW_P(selu, "Selu", 6, 15, 2e-6, 2, "alpha", 1.67326319217681884765625, "gamma", 1.05070102214813232421875,
      p[1] * (x < 0 ? p[0] * expm1f(x) : x), p[1] * (x < 0 ? p[0] * expm1(x) : x), "(p1 * (x0 < 0.0f ? p0 * expm1f(x0) : x0))")
ROW_P(leaky_relu, "LeakyRelu", 6, 2, 1e-7, 1, "alpha", 0.01, NULL, 0, x < 0 ? p[0] * x : x, x < 0 ? p[0] * x : x,
      "(x0 < 0.0f ? p0 * x0 : x0)")
ROW_P(hard_sigmoid, "HardSigmoid", 6, 4, 1e-6, 2, "alpha", 0.2, "beta", 0.5, fmaxf(0.0f, fminf(1.0f, p[0] * x + p[1])),
      fmax(0.0, fmin(1.0, p[0] * x + p[1])), "(p0 * x0 + p1 <= 0.0f ? 0.0f : p0 * x0 + p1 < 1.0f ? p0 * x0 + p1 : 1.0f)") /* saturation would make NaN 0 */
ROW_P(thresholded_relu, "ThresholdedRelu", 10, 1, 0, 1, "alpha", 1.0, NULL, 0, x > p[0] ? x : 0, x > p[0] ? x : 0,
      "(x0 > p0 ? x0 : 0.0f)")
ROW_P(silu, "Swish", 24, 16, 2e-6, 1, "alpha", 1.0, NULL, 0, x * SIGMOID32(p[0] * x), x * SIGMOID64(p[0] * x),
      "(x0 / (1.0f + expf(-p0 * x0)))")

/* ---- results of another type ---- */
PW1(is_nan, x != x, x != x)
static const tenon_pw is_nan_pw = { .arity = 1, .flops = 1, .f32 = is_nan_f32, .f64 = is_nan_f64,
                                    .cuda = "(x0 != x0 ? 1.0f : 0.0f)", .result_bool = true };
PW_OP(is_nan, "IsNaN", 9, 1, 1, 0, NULL)

PW1(is_inf, isinf(x) && (x > 0 ? p[1] != 0 : p[0] != 0), isinf(x) && (x > 0 ? p[1] != 0 : p[0] != 0))
static const tenon_attr_def is_inf_attr[] = { { .name = "detect_negative", .kind = TENON_ATTR_INT, .i = 1 },
                                              { .name = "detect_positive", .kind = TENON_ATTR_INT, .i = 1 }, { .name = NULL } };
static const tenon_pw is_inf_pw = { .arity = 1, .param_count = 2, .param = { "detect_negative", "detect_positive" }, .flops = 1,
                                    .f32 = is_inf_f32, .f64 = is_inf_f64, .result_bool = true,
                                    .cuda = "((x0 > 3.402823466e38f && p1 != 0.0f) || "
                                            "(x0 < -3.402823466e38f && p0 != 0.0f) ? 1.0f : 0.0f)" };
PW_OP(is_inf, "IsInf", 10, 1, 1, 0, is_inf_attr)

/* Rounds to the target type, so that a cast inside a program has an effect before the store. */
PW1(cast, tenon_dtype_round((tenon_dtype)p[0], (double)x), tenon_dtype_round((tenon_dtype)p[0], x))
PW1_I(cast, tenon_dtype_wrap((tenon_dtype)p[0], x))
static const tenon_attr_def cast_attr[] = { { .name = "to", .kind = TENON_ATTR_DTYPE, .required = true },
                                            { .name = "saturate", .kind = TENON_ATTR_INT, .i = 1 },
                                            { .name = "round_mode", .kind = TENON_ATTR_STRING, .s = "up" }, { .name = NULL } };
static const tenon_dim *sym_cast(tenon_dim_pool *pool, const tenon_dim *const *x, const double *p)
{
    const tenon_dtype to = (tenon_dtype)p[0];
    if (to == TENON_BOOL) return tenon_dim_eq(pool, tenon_dim_eq(pool, x[0], tenon_dim_const(pool, 0)), tenon_dim_const(pool, 0));
    if (tenon_dim_is_const(x[0])) return tenon_dim_const(pool, tenon_dtype_wrap(to, x[0]->value));
    return tenon_dtype_get(to)->bits >= 32 ? x[0] : NULL;
}
static const tenon_pw cast_pw = { .arity = 1, .param_count = 2, .param = { "to", "saturate" }, .flops = 1, .f32 = cast_f32,
                                  .f64 = cast_f64,
                                  .i64 = cast_i64, .cuda = "", .sym = sym_cast, .small_int = true };
PW_OP(cast, "Cast", 6, 1, 1, 0, cast_attr)

PW1_I(bitwise_not, ~x)
static const tenon_pw bitwise_not_pw = { .arity = 1, .flops = 1, .i64 = bitwise_not_i64, .cuda = "" };
PW_OP(bitwise_not, "BitwiseNot", 18, 1, 1, 0, NULL)
