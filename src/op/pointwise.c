/* SPDX-License-Identifier: Apache-2.0 */
/* What all pointwise rows share: parameters, conversion of numbers, the type and shape rule, and the contents of small tensors,
   so that shape arithmetic vanishes at build time. */
#include "op/pointwise.h"

#include "base/half.h"

#include <math.h>
#include <string.h>

tenon_class tenon_class_of(tenon_dtype t)
{
    switch (t) {
    case TENON_F64: return TENON_CLASS_F64;
    case TENON_I32: case TENON_I64: case TENON_U32: case TENON_U64: case TENON_BOOL: return TENON_CLASS_I64;
    default: return TENON_CLASS_F32;
    }
}

static double param_value(const tenon_attr_def *def, const tenon_attr *a)
{
    if (def->kind == TENON_ATTR_FLOAT) return a->f;
    if (def->kind == TENON_ATTR_STRING) return a->s && strcmp(a->s, "RIGHT") == 0;
    return (double)a->i;
}

void tenon_pw_params(const tenon_node *n, double *out)
{
    const tenon_pw *pw = n->op->pw;
    for (int i = 0; i < TENON_PW_PARAMS; i++) out[i] = 0;
    for (int i = 0; i < pw->param_count; i++) {
        const int row = tenon_attr_find(n->op, pw->param[i]);
        out[i] = param_value(&n->op->attr[row], &n->attr[row]);
    }
    const bool is_signed = tenon_dtype_get(n->src[0]->type.dtype)->kind == TENON_KIND_INT;
    if (n->op == &tenon_op_bit_shift && out[0] == 1 && is_signed) out[0] = 2;
}

int64_t tenon_dtype_wrap(tenon_dtype t, int64_t v)
{
    switch (t) {
    case TENON_I8: return (int8_t)v;
    case TENON_I16: return (int16_t)v;
    case TENON_I32: return (int32_t)v;
    case TENON_U8: return (uint8_t)v;
    case TENON_U16: return (uint16_t)v;
    case TENON_U32: return (uint32_t)v;
    case TENON_I4: return ((v & 15) ^ 8) - 8;
    case TENON_U4: return v & 15;
    case TENON_BOOL: return v != 0;
    default: return v;
    }
}

/* 2^63 itself is out of range for int64, and (double)INT64_MAX rounds up to it. */
static int64_t saturate(double v, double lo, double hi)
{
    if (!(v == v)) return 0;
    if (v <= lo) return lo <= -0x1p63 ? INT64_MIN : (int64_t)lo;
    if (v >= hi) return hi >= 0x1p63 ? INT64_MAX : (int64_t)hi;
    return (int64_t)v;
}

double tenon_dtype_round(tenon_dtype t, double v)
{
    switch (t) {
    case TENON_F32: return (float)v;
    case TENON_F16: return tenon_f16_to_f32(tenon_f32_to_f16((float)v));
    case TENON_BF16: return tenon_bf16_to_f32(tenon_f32_to_bf16((float)v));
    case TENON_F8E4M3: return tenon_f8e4m3_to_f32(tenon_f32_to_f8e4m3((float)v, 1));
    case TENON_F8E5M2: return tenon_f8e5m2_to_f32(tenon_f32_to_f8e5m2((float)v, 1));
    case TENON_I4: case TENON_U4: return (double)tenon_dtype_wrap(t, saturate(v, -0x1p63, 0x1p63)); /* as onnx's reference */
    case TENON_I8: return (double)saturate(v, -128, 127);
    case TENON_I16: return (double)saturate(v, -32768, 32767);
    case TENON_I32: return (double)saturate(v, -0x1p31, 0x1p31 - 1);
    case TENON_I64: return (double)saturate(v, -0x1p63, 0x1p63);
    case TENON_U8: return (double)saturate(v, 0, 255);
    case TENON_U16: return (double)saturate(v, 0, 65535);
    case TENON_U32: return (double)saturate(v, 0, 0x1p32 - 1);
    case TENON_U64: return !(v > 0) ? 0 : v >= 0x1p64 ? 0x1p64 : trunc(v);
    case TENON_BOOL: return v != 0;
    default: return v;
    }
}

/* ---- types and shapes ---- */

static bool has_kind(const tenon_pw *pw, tenon_dtype t)
{
    if (tenon_is_float(t)) return pw->f32 != NULL;
    return t == TENON_STRING || pw->i64 != NULL; /* strings are judged where they are computed */
}

/* Which source has the type of the computation. */
static int typed_source(const tenon_node *n) { return n->op == &tenon_op_where ? 1 : 0; }

static tenon_status result_dtype(tenon_cx *cx, const tenon_node *n, tenon_dtype *out)
{
    const tenon_pw *pw = n->op->pw;
    const int typed = typed_source(n);
    const tenon_dtype t = n->src[typed]->type.dtype;
    *out = pw->result_bool ? TENON_BOOL : t;
    if (n->op == &tenon_op_cast) {
        *out = (tenon_dtype)tenon_node_int(n, "to");
        if ((*out == TENON_F8E4M3 || *out == TENON_F8E5M2) && tenon_is_float(t) && t != *out && !tenon_node_int(n, "saturate"))
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "to %s with saturate 0: values out of range become the largest here",
                              tenon_dtype_name(*out));
        return TENON_OK;
    }
    if (n->op == &tenon_op_identity) return TENON_OK;
    if (!has_kind(pw, t)) return TENON_FAIL(cx, TENON_INVALID, "not defined for %s", tenon_dtype_name(t));
    if (typed == 1 && n->src[0]->type.dtype != TENON_BOOL)
        return TENON_FAIL(cx, TENON_INVALID, "the condition is %s, must be bool", tenon_dtype_name(n->src[0]->type.dtype));
    for (int i = typed + 1; i < n->src_count; i++) {
        if (!n->src[i] || n->src[i]->type.dtype == t || n->op == &tenon_op_pow) continue;
        return TENON_FAIL(cx, TENON_INVALID, "operand %d is %s, operand %d is %s: the types must be equal", typed,
                          tenon_dtype_name(t), i,
                          tenon_dtype_name(n->src[i]->type.dtype));
    }
    return TENON_OK;
}

/* Flat index in an operand of a flat index of the result; all dims constant. */
static size_t operand_index(const tenon_type *result, const tenon_type *t, size_t flat)
{
    size_t index = 0, step = 1;
    for (int i = result->rank - 1, k = t->rank - 1; i >= 0; i--, k--) {
        const size_t d = (size_t)result->dim[i]->value, at = flat % d;
        flat /= d;
        if (k < 0) continue;
        if (t->dim[k]->value != 1) index += at * step;
        step *= (size_t)t->dim[k]->value;
    }
    return index;
}

static int64_t small_count(const tenon_type *t)
{
    int64_t n = 1;
    if (t->rank < 0) return -1;
    for (int i = 0; i < t->rank; i++) {
        if (!tenon_dim_is_const(t->dim[i]) || t->dim[i]->value < 0 || t->dim[i]->value > TENON_CONTENTS_MAX) return -1;
        n *= t->dim[i]->value;
        if (n > TENON_CONTENTS_MAX) return -1;
    }
    return n;
}

/* Integer contents by the row's symbolic rule; an absent bound of clip is no bound. */
static tenon_status infer_sym(tenon_cx *cx, tenon_graph *g, tenon_node *n, int64_t count, const double *param)
{
    const tenon_dim *const *src[TENON_PW_ARITY] = { NULL };
    for (int i = 0; i < n->op->pw->arity; i++) {
        size_t have;
        if (i >= n->src_count || !n->src[i]) continue;
        if (!(src[i] = tenon_infer_contents(g, n->src[i], &have)) ||
            (int64_t)have != small_count(&n->src[i]->type)) return TENON_OK;
    }
    const tenon_dim **sym = tenon_arena_array(g->arena, (size_t)count + 1, sizeof *sym);
    if (!sym) return TENON_NOMEM;
    for (int64_t e = 0; e < count; e++) {
        const tenon_dim *x[TENON_PW_ARITY] = { NULL };
        for (int i = 0; i < n->op->pw->arity; i++)
            x[i] = src[i] ? src[i][operand_index(&n->dst[0]->type, &n->src[i]->type, (size_t)e)]
                          : tenon_dim_const(g->dims, i == 1 ? -TENON_DIM_HUGE : TENON_DIM_HUGE);
        for (int i = 0; i < n->op->pw->arity; i++)
            if (!x[i]) return g->dims->failed ? TENON_FAIL(cx, TENON_NOMEM, "out of memory for shape expressions") : TENON_OK;
        sym[e] = n->op->pw->sym(g->dims, x, param);
        if (g->dims->failed) return TENON_FAIL(cx, TENON_NOMEM, "out of memory for shape expressions");
        if (!sym[e]) return TENON_OK;
    }
    tenon_infer_set_contents(n, 0, sym, (size_t)count);
    return TENON_OK;
}

/* Known contents of any source as numbers; integers must be constants. */
static bool known_numbers(tenon_graph *g, const tenon_value *v, double *out)
{
    size_t count;
    if (tenon_infer_floats(v, out, &count)) return (int64_t)count == small_count(&v->type);
    const tenon_dim *const *sym = tenon_infer_contents(g, v, &count);
    if (!sym || (int64_t)count != small_count(&v->type)) return false;
    for (size_t i = 0; i < count; i++) {
        if (!sym[i] || !tenon_dim_is_const(sym[i])) return false;
        out[i] = (double)sym[i]->value;
    }
    return true;
}

/* Where a float goes in or comes out: numbers alone, by the scalar functions. */
static tenon_status infer_numbers(tenon_cx *cx, tenon_graph *g, tenon_node *n, int64_t count, const double *param)
{
    double x[TENON_PW_ARITY][TENON_CONTENTS_MAX];
    const tenon_pw *pw = n->op->pw;
    const tenon_dtype to = n->dst[0]->type.dtype;
    if (!pw->f64) return TENON_OK;
    for (int i = 0; i < pw->arity; i++) {
        if (i >= n->src_count || !n->src[i]) x[i][0] = i == 1 ? -INFINITY : INFINITY;
        else if (!known_numbers(g, n->src[i], x[i])) return TENON_OK;
    }
    double *value = tenon_arena_array(g->arena, (size_t)count + 1, sizeof *value);
    const tenon_dim **sym = tenon_arena_array(g->arena, (size_t)count + 1, sizeof *sym);
    if (!value || !sym) return TENON_NOMEM;
    const bool single = n->src[typed_source(n)]->type.dtype == TENON_F32 && n->op != &tenon_op_cast;
    float param32[TENON_PW_PARAMS];
    for (int i = 0; i < TENON_PW_PARAMS; i++) param32[i] = (float)param[i];
    for (int64_t e = 0; e < count; e++) {
        double v[TENON_PW_ARITY] = { 0 };
        float v32[TENON_PW_ARITY];
        for (int i = 0; i < pw->arity; i++) {
            v[i] = x[i][i < n->src_count && n->src[i] ? operand_index(&n->dst[0]->type, &n->src[i]->type, (size_t)e) : 0];
            v32[i] = (float)v[i];
        }
        if (!single) v32[0] = 0;
        value[e] = tenon_dtype_round(to, single ? (double)pw->f32(v32, param32) : pw->f64(v, param));
        if (!tenon_is_float(to)) {
            if (!(fabs(value[e]) <= 0x1p48)) return TENON_OK;
            sym[e] = tenon_dim_const(g->dims, (int64_t)value[e]);
        }
    }
    if (g->dims->failed) return TENON_FAIL(cx, TENON_NOMEM, "out of memory for shape expressions");
    if (!tenon_is_float(to)) {
        tenon_infer_set_contents(n, 0, sym, (size_t)count);
    } else {
        n->dst[0]->fsym = value;
        n->dst[0]->sym_count = (size_t)count;
    }
    return TENON_OK;
}

static tenon_status infer_contents(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const int64_t count = small_count(&n->dst[0]->type);
    tenon_infer_set_contents(n, 0, NULL, 0);
    if (count < 0 || n->dst[0]->type.dtype == TENON_STRING) return TENON_OK;
    bool floats = tenon_is_float(n->dst[0]->type.dtype);
    for (int i = 0; i < n->src_count; i++) {
        if (!n->src[i]) continue;
        if (n->src[i]->type.dtype == TENON_STRING || n->src[i]->type.rank < 0) return TENON_OK;
        floats |= tenon_is_float(n->src[i]->type.dtype);
    }
    double param[TENON_PW_PARAMS];
    tenon_pw_params(n, param);
    if (floats) return infer_numbers(cx, g, n, count, param);
    return n->op->pw->sym ? infer_sym(cx, g, n, count, param) : TENON_OK;
}

tenon_status tenon_pw_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    tenon_type t = n->src[0]->type;
    if (n->op == &tenon_op_identity && (t.dtype == TENON_SEQUENCE || t.dtype == TENON_OPTIONAL)) {
        if (n->dst[0]) n->dst[0]->type = t;
        return TENON_OK;
    }
    for (int i = 1; i < n->src_count; i++)
        if (n->src[i]) TENON_TRY(tenon_infer_broadcast(cx, g, &t, &n->src[i]->type, &t));
    tenon_dtype dtype;
    TENON_TRY(result_dtype(cx, n, &dtype));
    tenon_infer_set(n, 0, dtype, t.rank, t.dim);
    return n->dst[0] ? infer_contents(cx, g, n) : TENON_OK;
}
