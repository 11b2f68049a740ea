/* SPDX-License-Identifier: Apache-2.0 */
/* How a pointwise row is written: the scalar functions of one expression, then the row. Included by unary.c, binary.c and
   logic.c alone. In the expressions x, y, z are the operands and p the parameters. */
#ifndef TENON_OP_POINTWISE_ROW_H
#define TENON_OP_POINTWISE_ROW_H

#include "op/pointwise.h"

/* One expression an element type: `T` functions of arity 1, 2, 3. */
#define PW_FN(id, cls, T, P, load, e)                                                                                       \
    static T id##_##cls(const T *v, const P *p)                                                                             \
    {                                                                                                                       \
        load;                                                                                                               \
        (void)p;                                                                                                            \
        return (T)(e);                                                                                                      \
    }
#define PW_X(T) const T x = v[0]
#define PW_XY(T) const T x = v[0], y = v[1]
#define PW_XYZ(T) const T x = v[0], y = v[1], z = v[2]

#define PW1(id, e32, e64) PW_FN(id, f32, float, float, PW_X(float), e32) PW_FN(id, f64, double, double, PW_X(double), e64)
#define PW1_I(id, e) PW_FN(id, i64, int64_t, double, PW_X(int64_t), e)
#define PW2(id, e32, e64) PW_FN(id, f32, float, float, PW_XY(float), e32) PW_FN(id, f64, double, double, PW_XY(double), e64)
#define PW2_I(id, e) PW_FN(id, i64, int64_t, double, PW_XY(int64_t), e)
#define PW3(id, e32, e64) PW_FN(id, f32, float, float, PW_XYZ(float), e32) PW_FN(id, f64, double, double, PW_XYZ(double), e64)
#define PW3_I(id, e) PW_FN(id, i64, int64_t, double, PW_XYZ(int64_t), e)

/* The operator: `min` sources at least; further fields of the op (attr, tol) and of its row (params, flags) follow by name. */
#define PW_OP(id, onnx_, since, min, n, tol_, attr_)                                                                        \
    const tenon_op tenon_op_##id = {                                                                                        \
        .name = #id, .attr = attr_, .onnx = onnx_, .onnx_since = since, .src_min = min, .src_max = n, .dst_min = 1,         \
        .dst_max = 1, .flags = TENON_OP_POINTWISE | TENON_OP_SHAPE_VALUE, .infer = tenon_pw_infer, .ref = tenon_pw_ref,     \
        .tol = tol_, .pw = &id##_pw };

#endif
