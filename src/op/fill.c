/* SPDX-License-Identifier: Apache-2.0 */
/* Range, ConstantOfShape, OneHot, EyeLike: tensors made from a few numbers. */
#include "base/checked.h"
#include "op/move.h"

#include <math.h>
#include <string.h>

/* ---- range ---- */
static bool one_float(const tenon_value *v, double *out)
{
    double all[TENON_CONTENTS_MAX];
    size_t count;
    if (!tenon_infer_floats(v, all, &count) || count != 1) return false;
    *out = all[0];
    return true;
}

static int64_t range_count(double start, double limit, double delta)
{
    const double n = ceil((limit - start) / delta);
    return n > 0 && n < (double)TENON_DIM_HUGE ? (int64_t)n : 0;
}

static tenon_status range_contents(tenon_graph *g, tenon_node *n, const tenon_dim *start, const tenon_dim *delta,
                                   const tenon_dim *count)
{
    const tenon_dim *sym[TENON_CONTENTS_MAX];
    int64_t many;
    if (!tenon_move_const(count, &many) || many > TENON_CONTENTS_MAX) return tenon_move_set_contents(g, n, 0, NULL, 0);
    for (int64_t i = 0; i < many; i++)
        sym[i] = tenon_dim_add(g->dims, start, tenon_dim_mul(g->dims, tenon_dim_const(g->dims, i), delta));
    return tenon_move_set_contents(g, n, 0, sym, (size_t)many);
}

static tenon_status range_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_dtype dtype = n->src[0]->type.dtype;
    tenon_dim_pool *p = g->dims;
    const tenon_dim *c[3], *count = NULL;
    bool known = true;
    double f[3];
    for (int i = 0; i < 3; i++) {
        if (n->src[i]->type.dtype != dtype)
            return TENON_FAIL(cx, TENON_INVALID, "range: start, limit and delta have different types");
        size_t one = 0;
        const tenon_dim *const *sym = tenon_infer_contents(g, n->src[i], &one);
        c[i] = sym != NULL && one == 1 ? sym[0] : NULL;
        known &= c[i] != NULL;
    }
    if (known && (tenon_dim_is(c[2], 0) || tenon_dim_is(c[2], INT64_MIN)))
        return TENON_FAIL(cx, TENON_INVALID, "range: delta is %lld", (long long)c[2]->value);
    if (known && tenon_dim_is_const(c[2])) {
        const bool up = c[2]->value > 0;
        const tenon_dim *span = up ? tenon_dim_sub(p, c[1], c[0]) : tenon_dim_sub(p, c[0], c[1]);
        const tenon_dim *step = tenon_dim_const(p, up ? c[2]->value : -c[2]->value);
        count = tenon_dim_max(p, tenon_dim_const(p, 0), tenon_dim_ceildiv(p, span, step));
        tenon_move_set(g, n, 0, dtype, 1, &count);
        if (count == NULL) return tenon_move_set_contents(g, n, 0, NULL, 0);
        return range_contents(g, n, c[0], c[2], count);
    }
    if (one_float(n->src[0], &f[0]) && one_float(n->src[1], &f[1]) && one_float(n->src[2], &f[2]) && f[2] != 0)
        count = tenon_dim_const(p, range_count(f[0], f[1], f[2]));
    else count = tenon_move_fresh(g, n, 0, 0, "range", 0, TENON_DIM_HUGE);
    tenon_move_set(g, n, 0, dtype, 1, &count);
    return tenon_move_set_contents(g, n, 0, NULL, 0);
}

static tenon_status range_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = call->src;
    const tenon_dtype dtype = x[0].dtype;
    int64_t count;
    for (int i = 0; i < 3; i++)
        if (tenon_tensor_count(&x[i]) != 1 || x[i].dtype != dtype)
            return TENON_FAIL(cx, TENON_INVALID, "range: start, limit and delta must be scalars of one type");
    if (tenon_is_float(dtype)) {
        const double start = tenon_tensor_get_f64(&x[0], 0), limit = tenon_tensor_get_f64(&x[1], 0),
            delta = tenon_tensor_get_f64(&x[2], 0);
        if (delta == 0) return TENON_FAIL(cx, TENON_INVALID, "range: delta is 0");
        count = range_count(start, limit, delta);
        TENON_TRY(tenon_move_result(cx, call, 0, dtype, 1, &count));
        for (int64_t i = 0; i < count; i++)
            tenon_tensor_set_f64(&call->dst[0], i * call->dst[0].stride[0], start + (double)i * delta);
        return TENON_OK;
    }
    const int64_t start = tenon_tensor_get_i64(&x[0], 0), limit = tenon_tensor_get_i64(&x[1], 0),
        delta = tenon_tensor_get_i64(&x[2], 0);
    int64_t span;
    if (delta == 0 || delta == INT64_MIN) return TENON_FAIL(cx, TENON_INVALID, "range: delta is %lld", (long long)delta);
    if (!(delta > 0 ? tenon_sub_i64(limit, start, &span) : tenon_sub_i64(start, limit, &span)))
        return TENON_FAIL(cx, TENON_INVALID, "range: from %lld to %lld is too far", (long long)start, (long long)limit);
    count = span > 0 ? tenon_ceil_div(span, delta > 0 ? delta : -delta) : 0;
    TENON_TRY(tenon_move_result(cx, call, 0, dtype, 1, &count));
    for (int64_t i = 0; i < count; i++) tenon_tensor_set_i64(&call->dst[0], i * call->dst[0].stride[0], start + i * delta);
    return TENON_OK;
}

/* ---- constant_of_shape: without a value, f32 zeros ---- */
static tenon_status constant_of_shape_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *s = &n->src[0]->type;
    const tenon_tensor *value = tenon_node_attr(n, "value")->tensor;
    const tenon_dtype dtype = value != NULL ? value->dtype : TENON_F32;
    if (value != NULL && tenon_tensor_count(value) != 1)
        return TENON_FAIL(cx, TENON_INVALID, "constant_of_shape: the value must be one element");
    size_t count;
    int64_t rank, total = 1, each;
    const tenon_dim *const *sym = tenon_infer_contents(g, n->src[0], &count);
    const tenon_dim *dim[TENON_MAX_RANK], *fill[TENON_CONTENTS_MAX];
    if (s->rank != 1 || !tenon_move_const(s->dim[0], &rank)) {
        tenon_infer_set(n, 0, dtype, -1, NULL);
        return tenon_move_set_contents(g, n, 0, NULL, 0);
    }
    if (rank > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "constant_of_shape: rank %lld, at most %d", (long long)rank,
                          (int)TENON_MAX_RANK);
    for (int i = 0; i < rank; i++) {
        dim[i] = sym != NULL ? sym[i] : tenon_move_fresh(g, n, 0, i, "shape", 0, TENON_DIM_HUGE);
        if (dim[i] == NULL) return TENON_NOMEM;
        if (dim[i]->hi < 0) return TENON_FAIL(cx, TENON_INVALID, "constant_of_shape: negative size at axis %d", i);
        total = total >= 0 && tenon_move_const(dim[i], &each) && tenon_mul_i64(total, each, &total) &&
            total <= TENON_CONTENTS_MAX ? total : -1;
    }
    tenon_move_set(g, n, 0, dtype, (int)rank, dim);
    if (total < 0 || !(tenon_is_int(dtype) || dtype == TENON_BOOL)) return tenon_move_set_contents(g, n, 0, NULL, 0);
    for (int64_t i = 0; i < total; i++) fill[i] = tenon_dim_const(g->dims, tenon_tensor_get_i64(value, 0));
    return tenon_move_set_contents(g, n, 0, fill, (size_t)total);
}

static tenon_status constant_of_shape_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *value = tenon_node_attr(call->node, "value")->tensor;
    float zero = 0;
    const tenon_tensor zeros = {.dtype = TENON_F32, .data = &zero};
    if (value == NULL) value = &zeros;
    int64_t dim[TENON_MAX_RANK];
    const int64_t stride[TENON_MAX_RANK] = {0};
    int rank;
    TENON_TRY(tenon_move_ints(cx, call, 0, TENON_MAX_RANK, dim, &rank));
    for (int i = 0; i < rank; i++)
        if (dim[i] < 0) return TENON_FAIL(cx, TENON_INVALID, "constant_of_shape: size %lld at axis %d", (long long)dim[i], i);
    TENON_TRY(tenon_move_result(cx, call, 0, value->dtype, rank, dim));
    tenon_move_box(&call->dst[0], 0, call->dst[0].stride, value, 0, stride, rank, dim);
    return TENON_OK;
}

/* ---- one_hot: values[0] is off, values[1] on ---- */
static tenon_status one_hot_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    const tenon_dtype dtype = n->src[2]->type.dtype;
    if (x->rank < 0) {
        tenon_infer_set(n, 0, dtype, -1, NULL);
        return TENON_OK;
    }
    int axis;
    TENON_TRY(tenon_infer_axis(cx, "one_hot", tenon_node_int(n, "axis"), x->rank + 1, &axis));
    if (x->rank + 1 > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "one_hot: rank %d, at most %d", x->rank + 1, (int)TENON_MAX_RANK);
    size_t count;
    double depth_float;
    const tenon_dim *const *sym = tenon_infer_contents(g, n->src[1], &count);
    const tenon_dim *dim[TENON_MAX_RANK], *depth;
    if (sym != NULL && count == 1) depth = sym[0];
    else if (one_float(n->src[1], &depth_float) && depth_float >= 0 && depth_float < (double)TENON_DIM_HUGE)
        depth = tenon_dim_const(g->dims, (int64_t)depth_float);
    else depth = tenon_move_fresh(g, n, 0, axis, "depth", 0, TENON_DIM_HUGE);
    for (int i = 0; i <= x->rank; i++) dim[i] = i == axis ? depth : x->dim[i < axis ? i : i - 1];
    tenon_move_set(g, n, 0, dtype, x->rank + 1, dim);
    return TENON_OK;
}

/* What is no number of an element becomes one that none has. */
static int64_t as_int(const tenon_tensor *t, int64_t offset)
{
    if (!tenon_is_float(t->dtype)) return tenon_tensor_get_i64(t, offset);
    const double v = tenon_tensor_get_f64(t, offset);
    return fabs(v) < (double)TENON_DIM_HUGE ? (int64_t)v : INT64_MIN;
}

static tenon_status one_hot_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0], *values = &call->src[2];
    int axis;
    TENON_TRY(tenon_infer_axis(cx, "one_hot", tenon_node_int(call->node, "axis"), x->rank + 1, &axis));
    if (x->rank + 1 > TENON_MAX_RANK) return TENON_FAIL(cx, TENON_UNSUPPORTED, "one_hot: rank %d", x->rank + 1);
    if (tenon_tensor_count(&call->src[1]) != 1 || tenon_tensor_count(values) != 2)
        return TENON_FAIL(cx, TENON_INVALID, "one_hot: depth must be one number, values two");
    const int64_t depth = as_int(&call->src[1], 0);
    if (depth < 0) return TENON_FAIL(cx, TENON_INVALID, "one_hot: depth %lld", (long long)depth);
    int64_t dim[TENON_MAX_RANK], index[TENON_MAX_RANK] = {0};
    for (int i = 0; i <= x->rank; i++) dim[i] = i == axis ? depth : x->dim[i < axis ? i : i - 1];
    TENON_TRY(tenon_move_result(cx, call, 0, values->dtype, x->rank + 1, dim));
    const tenon_tensor *y = &call->dst[0];
    if (tenon_tensor_count(y) == 0) return TENON_OK;
    do {
        int64_t from = 0, to = 0;
        for (int i = 0; i <= x->rank; i++) {
            to += index[i] * y->stride[i];
            if (i != axis) from += index[i] * x->stride[i < axis ? i : i - 1];
        }
        int64_t hot = as_int(x, from);
        if (hot < 0) hot += depth;
        tenon_move_element(y, to, values, hot == index[axis] ? values->stride[0] : 0);
    } while (tenon_move_next(x->rank + 1, dim, index));
    return TENON_OK;
}

/* ---- eye_like ---- */
static tenon_status eye_like_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)g;
    const tenon_type *x = &n->src[0]->type;
    const tenon_attr *dtype = tenon_node_attr(n, "dtype");
    if (x->rank >= 0 && x->rank != 2) return TENON_FAIL(cx, TENON_INVALID, "eye_like: source of rank %d, not 2", x->rank);
    tenon_move_set(g, n, 0, dtype->set ? (tenon_dtype)dtype->i : x->dtype, x->rank, x->dim);
    return TENON_OK;
}

static tenon_status eye_like_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    const tenon_attr *attr = tenon_node_attr(call->node, "dtype");
    const tenon_dtype dtype = attr->set ? (tenon_dtype)attr->i : x->dtype;
    const int64_t k = tenon_node_int(call->node, "k");
    if (x->rank != 2) return TENON_FAIL(cx, TENON_INVALID, "eye_like: source of rank %d, not 2", x->rank);
    if (!tenon_is_float(dtype) && !tenon_is_int(dtype) && dtype != TENON_BOOL)
        return TENON_FAIL(cx, TENON_INVALID, "eye_like: no ones in %s", tenon_dtype_get(dtype)->name);
    TENON_TRY(tenon_move_result(cx, call, 0, dtype, 2, x->dim));
    const tenon_tensor *y = &call->dst[0];
    for (int64_t r = 0; r < y->dim[0]; r++)
        for (int64_t c = 0; c < y->dim[1]; c++) {
            const int64_t to = r * y->stride[0] + c * y->stride[1];
            if (tenon_is_float(dtype)) tenon_tensor_set_f64(y, to, c - r == k);
            else tenon_tensor_set_i64(y, to, c - r == k);
        }
    return TENON_OK;
}

static const tenon_attr_def range_attrs[] = {{.name = "stash_type", .kind = TENON_ATTR_INT, .i = 1}, {0}};
static const tenon_attr_def value_attrs[] = {{.name = "value", .kind = TENON_ATTR_TENSOR}, {0}};
static const tenon_attr_def one_hot_attrs[] = {{.name = "axis", .kind = TENON_ATTR_INT, .i = -1}, {0}};
static const tenon_attr_def eye_attrs[] = {{.name = "dtype", .kind = TENON_ATTR_DTYPE}, {.name = "k", .kind = TENON_ATTR_INT},
                                           {0}};

const tenon_op tenon_op_range = {
    .name = "range", .attr = range_attrs, .onnx = "Range", .onnx_since = 11, .flags = TENON_OP_ANCHOR | TENON_OP_SHAPE_VALUE,
    .src_min = 3, .src_max = 3, .dst_min = 1, .dst_max = 1, .params = 1u << 0 | 1u << 1 | 1u << 2,
    .infer = range_infer, .ref = range_ref, .flops = tenon_move_flops};

const tenon_op tenon_op_constant_of_shape = {
    .name = "constant_of_shape", .attr = value_attrs, .onnx = "ConstantOfShape", .onnx_since = 9,
    .flags = TENON_OP_ANCHOR | TENON_OP_SHAPE_VALUE, .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1,
    .params = 1u << 0, .infer = constant_of_shape_infer, .ref = constant_of_shape_ref, .flops = tenon_move_flops};

const tenon_op tenon_op_one_hot = {
    .name = "one_hot", .attr = one_hot_attrs, .onnx = "OneHot", .onnx_since = 9, .flags = TENON_OP_ANCHOR,
    .src_min = 3, .src_max = 3, .dst_min = 1, .dst_max = 1, .params = 1u << 1, .infer = one_hot_infer, .ref = one_hot_ref,
    .flops = tenon_move_flops};

const tenon_op tenon_op_eye_like = {
    .name = "eye_like", .attr = eye_attrs, .onnx = "EyeLike", .onnx_since = 9, .flags = TENON_OP_ANCHOR,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = eye_like_infer, .ref = eye_like_ref,
    .flops = tenon_move_flops};
