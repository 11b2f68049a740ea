/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise operators of two and three operands. Integer division truncates, integer mod has the sign of the divisor (or of
   the dividend with fmod), division by zero gives 0 rather than a signal, overflow wraps. NaN wins in min, max and clip. */
#include "op/pointwise_row.h"

#include <math.h>

static int64_t wrap_add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
static int64_t wrap_sub(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
static int64_t wrap_mul(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
static int64_t trunc_div(int64_t a, int64_t b) { return b == 0 ? 0 : b == -1 ? wrap_sub(0, a) : a / b; }
static int64_t int_mod(int64_t a, int64_t b, bool truncated)
{
    if (b == 0 || b == -1) return 0;
    const int64_t r = a % b;
    return !truncated && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
static int64_t int_pow(int64_t base, int64_t e)
{
    if (e < 0) return base == 1 ? 1 : base == -1 ? (e % 2 ? -1 : 1) : 0;
    int64_t r = 1;
    for (uint64_t left = (uint64_t)e; left; left >>= 1, base = wrap_mul(base, base))
        if (left & 1) r = wrap_mul(r, base);
    return r;
}
static float min32(float x, float y) { return x != x || x < y ? x : y; }
static float max32(float x, float y) { return x != x || x > y ? x : y; }
static double min64(double x, double y) { return x != x || x < y ? x : y; }
static double max64(double x, double y) { return x != x || x > y ? x : y; }
#define MIN_I(a, b) ((a) < (b) ? (a) : (b))
#define MAX_I(a, b) ((a) > (b) ? (a) : (b))

#define SYM(id, e)                                                                                                          \
    static const tenon_dim *sym_##id(tenon_dim_pool *pool, const tenon_dim *const *x, const double *p)                      \
    {                                                                                                                       \
        (void)p;                                                                                                            \
        return e;                                                                                                           \
    }
SYM(add, tenon_dim_add(pool, x[0], x[1]))
SYM(sub, tenon_dim_sub(pool, x[0], x[1]))
SYM(mul, tenon_dim_mul(pool, x[0], x[1]))
SYM(min, tenon_dim_min(pool, x[0], x[1]))
SYM(max, tenon_dim_max(pool, x[0], x[1]))
SYM(clip, tenon_dim_min(pool, tenon_dim_max(pool, x[0], x[1]), x[2]))
/* Truncation is floor where nothing is negative. */
static const tenon_dim *sym_div(tenon_dim_pool *pool, const tenon_dim *const *x, const double *p)
{
    (void)p;
    if (tenon_dim_is_const(x[0]) && tenon_dim_is_const(x[1]) && x[1]->value != 0)
        return tenon_dim_const(pool, trunc_div(x[0]->value, x[1]->value));
    return x[0]->lo >= 0 && x[1]->lo > 0 ? tenon_dim_floordiv(pool, x[0], x[1]) : NULL;
}
static const tenon_dim *sym_mod(tenon_dim_pool *pool, const tenon_dim *const *x, const double *p)
{
    if (tenon_dim_is_const(x[0]) && tenon_dim_is_const(x[1]) && x[1]->value != 0)
        return tenon_dim_const(pool, int_mod(x[0]->value, x[1]->value, p[0] != 0));
    if (x[1]->lo <= 0 || (p[0] != 0 && x[0]->lo < 0)) return NULL;
    return tenon_dim_mod(pool, x[0], x[1]);
}
static const tenon_dim *sym_pow(tenon_dim_pool *pool, const tenon_dim *const *x, const double *p)
{
    (void)p;
    if (!tenon_dim_is_const(x[1]) || x[1]->value < 0 || x[1]->value > 8) return NULL;
    const tenon_dim *r = tenon_dim_const(pool, 1);
    for (int64_t i = 0; i < x[1]->value; i++) r = tenon_dim_mul(pool, r, x[0]);
    return r;
}

#define ROW2(id, onnx_, since, flops_, tol_, e32, e64, ei, cuda_, sym_, small)                                              \
    PW2(id, e32, e64) PW2_I(id, ei)                                                                                         \
    static const tenon_pw id##_pw = { .arity = 2, .flops = flops_, .f32 = id##_f32, .f64 = id##_f64, .i64 = id##_i64,       \
                                      .cuda = cuda_, .sym = sym_, .small_int = small };                                     \
    PW_OP(id, onnx_, since, 2, 2, tol_, NULL)

ROW2(add, "Add", 7, 1, 1e-7, x + y, x + y, wrap_add(x, y), "(x0 + x1)", sym_add, false)
ROW2(sub, "Sub", 7, 1, 1e-7, x - y, x - y, wrap_sub(x, y), "(x0 - x1)", sym_sub, false)
ROW2(mul, "Mul", 7, 1, 1e-7, x * y, x * y, wrap_mul(x, y), "(x0 * x1)", sym_mul, false)
ROW2(div, "Div", 7, 4, 2e-7, x / y, x / y, trunc_div(x, y), "(x0 / x1)", sym_div, false)
ROW2(pow, "Pow", 7, 30, 4e-6, powf(x, y), pow(x, y), int_pow(x, y), "powf(x0, x1)", sym_pow, false)
ROW2(min, NULL, 0, 1, 0, min32(x, y), min64(x, y), MIN_I(x, y), "(x0 != x0 || x0 < x1 ? x0 : x1)", sym_min, true)
ROW2(max, NULL, 0, 1, 0, max32(x, y), max64(x, y), MAX_I(x, y), "(x0 != x0 || x0 > x1 ? x0 : x1)", sym_max, true)
ROW2(prelu, "PRelu", 9, 2, 1e-7, x < 0 ? x * y : x, x < 0 ? x * y : x, x < 0 ? wrap_mul(x, y) : x, "(x0 < 0.0f ? x0 * x1 : x0)",
     NULL, false)

/* The sign of the divisor, as numpy: -1 mod inf is inf, a result of nothing has the divisor's sign too. */
static double floor_mod(double a, double b)
{
    const double r = fmod(a, b);
    if (r == 0) return copysign(0, b);
    return (r < 0) != (b < 0) ? r + b : r;
}
PW2(mod, p[0] != 0 ? fmodf(x, y) : (float)floor_mod(x, y), p[0] != 0 ? fmod(x, y) : floor_mod(x, y))
PW2_I(mod, int_mod(x, y, p[0] != 0))
static const tenon_attr_def mod_attr[] = { { .name = "fmod", .kind = TENON_ATTR_INT }, { .name = NULL } };
static const tenon_pw mod_pw = { .arity = 2, .param_count = 1, .param = { "fmod" }, .flops = 10, .f32 = mod_f32, .f64 = mod_f64,
                                 .i64 = mod_i64,
                                 .cuda = "(p0 != 0.0f ? fmodf(x0, x1) : fmodf(x0, x1) == 0.0f ? copysignf(0.0f, x1) : "
                                         "(fmodf(x0, x1) < 0.0f) != (x1 < 0.0f) ? fmodf(x0, x1) + x1 : fmodf(x0, x1))", .sym = sym_mod };
PW_OP(mod, "Mod", 10, 2, 2, 2e-6, mod_attr)

/* ---- bits ---- */
/* direction 0: left; 1: right, the sign bit of a 64-bit pattern is a bit like the others; 2: right, of a signed type, which keeps its
   sign. A shift by as many bits as there are, or by a negative number, leaves nothing but the sign. */
static int64_t shift(int64_t x, int64_t by, int direction)
{
    const bool keeps_sign = direction == 2 && x < 0;
    if (by < 0 || by > 63) return keeps_sign ? -1 : 0;
    if (direction == 0) return (int64_t)((uint64_t)x << by);
    return (int64_t)(keeps_sign ? ~(~(uint64_t)x >> by) : (uint64_t)x >> by);
}
#define ROW_BITS(id, onnx_, since, ei)                                                                                      \
    PW2_I(id, ei)                                                                                                           \
    static const tenon_pw id##_pw = { .arity = 2, .flops = 1, .i64 = id##_i64, .cuda = "" };                                \
    PW_OP(id, onnx_, since, 2, 2, 0, NULL)
ROW_BITS(bitwise_and, "BitwiseAnd", 18, x & y)
ROW_BITS(bitwise_or, "BitwiseOr", 18, x | y)
ROW_BITS(bitwise_xor, "BitwiseXor", 18, x ^ y)

PW2_I(bit_shift, shift(x, y, (int)p[0]))
static const tenon_attr_def bit_shift_attr[] = { { .name = "direction", .kind = TENON_ATTR_STRING, .required = true },
                                                 { .name = NULL } };
static const tenon_pw bit_shift_pw = { .arity = 2, .param_count = 1, .param = { "direction" }, .flops = 1, .i64 = bit_shift_i64,
                                       .cuda = "" };
PW_OP(bit_shift, "BitShift", 11, 2, 2, 0, bit_shift_attr)

/* ---- clip: min(max(x, lo), hi), also where lo > hi; either bound may be absent ---- */
PW3(clip, min32(max32(x, y), z), min64(max64(x, y), z))
PW3_I(clip, MIN_I(MAX_I(x, y), z))
static const tenon_pw clip_pw = { .arity = 3, .flops = 2, .f32 = clip_f32, .f64 = clip_f64, .i64 = clip_i64, .sym = sym_clip,
                                  .small_int = true,
                                  .cuda = "(x0 != x0 ? x0 : fminf(fmaxf(x0, x1), x2))" };
PW_OP(clip, "Clip", 11, 1, 3, 0, NULL)
