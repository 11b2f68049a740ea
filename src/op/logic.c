/* SPDX-License-Identifier: Apache-2.0 */
/* Comparisons, logic on bool, and where. Bool is 0 or 1 in every class, so that a mask inside an f32 program costs no
   conversion. */
#include "op/pointwise_row.h"

#define SYM(id, e)                                                                                                          \
    static const tenon_dim *sym_##id(tenon_dim_pool *pool, const tenon_dim *const *x, const double *p)                      \
    {                                                                                                                       \
        (void)p;                                                                                                            \
        return e;                                                                                                           \
    }
#define IS_ZERO(d) tenon_dim_eq(pool, d, tenon_dim_const(pool, 0))
SYM(equal, tenon_dim_eq(pool, x[0], x[1]))
SYM(less, tenon_dim_lt(pool, x[0], x[1]))
SYM(greater, tenon_dim_lt(pool, x[1], x[0]))
SYM(less_or_equal, IS_ZERO(tenon_dim_lt(pool, x[1], x[0])))
SYM(greater_or_equal, IS_ZERO(tenon_dim_lt(pool, x[0], x[1])))
SYM(not, IS_ZERO(x[0]))
SYM(and, tenon_dim_min(pool, x[0], x[1]))
SYM(or, tenon_dim_max(pool, x[0], x[1]))
SYM(xor, IS_ZERO(tenon_dim_eq(pool, x[0], x[1])))
SYM(where, tenon_dim_select(pool, x[0], x[1], x[2]))

#define ROW_CMP(id, onnx_, since, op, cuda_)                                                                                \
    PW2(id, x op y, x op y) PW2_I(id, x op y)                                                                               \
    static const tenon_pw id##_pw = { .arity = 2, .flops = 1, .f32 = id##_f32, .f64 = id##_f64, .i64 = id##_i64,            \
                                      .cuda = cuda_, .sym = sym_##id, .result_bool = true, .small_int = true };             \
    PW_OP(id, onnx_, since, 2, 2, 0, NULL)
ROW_CMP(equal, "Equal", 7, ==, "(x0 == x1 ? 1.0f : 0.0f)")
ROW_CMP(less, "Less", 7, <, "(x0 < x1 ? 1.0f : 0.0f)")
ROW_CMP(less_or_equal, "LessOrEqual", 12, <=, "(x0 <= x1 ? 1.0f : 0.0f)")
ROW_CMP(greater, "Greater", 7, >, "(x0 > x1 ? 1.0f : 0.0f)")
ROW_CMP(greater_or_equal, "GreaterOrEqual", 12, >=, "(x0 >= x1 ? 1.0f : 0.0f)")

#define TRUTH(v) ((v) != 0)
#define ROW_LOGIC(id, onnx_, since, op, cuda_)                                                                              \
    PW2(id, TRUTH(x) op TRUTH(y), TRUTH(x) op TRUTH(y)) PW2_I(id, TRUTH(x) op TRUTH(y))                                     \
    static const tenon_pw id##_pw = { .arity = 2, .flops = 1, .f32 = id##_f32, .f64 = id##_f64, .i64 = id##_i64,            \
                                      .cuda = cuda_, .sym = sym_##id, .result_bool = true, .small_int = true };             \
    PW_OP(id, onnx_, since, 2, 2, 0, NULL)
ROW_LOGIC(and, "And", 7, &&, "(x0 != 0.0f && x1 != 0.0f ? 1.0f : 0.0f)")
ROW_LOGIC(or, "Or", 7, ||, "(x0 != 0.0f || x1 != 0.0f ? 1.0f : 0.0f)")
ROW_LOGIC(xor, "Xor", 7, !=, "((x0 != 0.0f) != (x1 != 0.0f) ? 1.0f : 0.0f)")

PW1(not, x == 0, x == 0)
PW1_I(not, x == 0)
static const tenon_pw not_pw = { .arity = 1, .flops = 1, .f32 = not_f32, .f64 = not_f64, .i64 = not_i64,
                                 .cuda = "(x0 == 0.0f ? 1.0f : 0.0f)",
                                 .sym = sym_not, .result_bool = true, .small_int = true };
PW_OP(not, "Not", 1, 1, 1, 0, NULL)

PW3(where, x != 0 ? y : z, x != 0 ? y : z)
PW3_I(where, x != 0 ? y : z)
static const tenon_pw where_pw = { .arity = 3, .flops = 1, .f32 = where_f32, .f64 = where_f64, .i64 = where_i64,
                                   .cuda = "(x0 != 0.0f ? x1 : x2)",
                                   .sym = sym_where, .small_int = true };
PW_OP(where, "Where", 9, 3, 3, 0, NULL)
