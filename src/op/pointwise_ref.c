/* SPDX-License-Identifier: Apache-2.0 */
/* The reference of every pointwise row: blocks of the innermost axis are loaded into the class of the computation, put through
   the row's scalar function and stored. Axes are sorted by the result's strides and merged, so a dense tensor is one run. */
#include "op/eval.h"
#include "op/pointwise.h"

#include "base/checked.h"
#include "base/half.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256, OPERANDS = TENON_PW_ARITY + 1 /* 0: the result */ };

/* The loop: operand 0 is the result. */
typedef struct walk {
    int rank;
    int64_t dim[TENON_MAX_RANK];
    int64_t stride[OPERANDS][TENON_MAX_RANK];
} walk;

static void walk_swap(walk *w, int operands, int a, int b)
{
    const int64_t d = w->dim[a];
    w->dim[a] = w->dim[b], w->dim[b] = d;
    for (int o = 0; o < operands; o++) {
        const int64_t s = w->stride[o][a];
        w->stride[o][a] = w->stride[o][b], w->stride[o][b] = s;
    }
}

static bool walk_merges(const walk *w, int operands, int outer, int inner)
{
    for (int o = 0; o < operands; o++)
        if (w->stride[o][outer] != w->stride[o][inner] * w->dim[inner]) return false;
    return true;
}

static void walk_make(walk *w, const tenon_tensor *dst, const tenon_tensor *const *src, int count)
{
    w->rank = 0;
    for (int i = 0; i < dst->rank; i++) {
        if (dst->dim[i] == 1) continue;
        const int r = w->rank++;
        w->dim[r] = dst->dim[i];
        w->stride[0][r] = dst->stride[i];
        for (int s = 0; s < count; s++) {
            const int k = i - (dst->rank - src[s]->rank);
            w->stride[s + 1][r] = k < 0 || src[s]->dim[k] == 1 ? 0 : src[s]->stride[k];
        }
    }
    for (int i = 1; i < w->rank; i++)
        for (int k = i; k > 0 && w->stride[0][k - 1] < w->stride[0][k]; k--) walk_swap(w, count + 1, k - 1, k);
    int kept = w->rank > 0 ? 1 : 0;
    for (int i = 1; i < w->rank; i++) {
        if (walk_merges(w, count + 1, kept - 1, i)) {
            w->dim[kept - 1] *= w->dim[i];
            for (int o = 0; o <= count; o++) w->stride[o][kept - 1] = w->stride[o][i];
        } else {
            if (kept != i) walk_swap(w, count + 1, kept, i);
            kept++;
        }
    }
    w->rank = kept;
    if (kept == 0) {
        w->rank = 1, w->dim[0] = 1;
        for (int o = 0; o <= count; o++) w->stride[o][0] = 0;
    }
}

/* ---- blocks of a tensor in a class ---- */
typedef union block { float f32[BLOCK]; double f64[BLOCK]; int64_t i64[BLOCK]; } block;

#define LOAD_CASE(D, C, T, e)                                                                                               \
    case D: {                                                                                                               \
        const C *s = (const C *)t->data + offset;                                                                           \
        for (int i = 0; i < n; i++) { const C v = s[i * stride]; out[i] = (T)(e); }                                         \
        break;                                                                                                              \
    }
#define LOAD_FN(name, T, get)                                                                                               \
    static void name(const tenon_tensor *t, int64_t offset, int64_t stride, int n, T *out)                                  \
    {                                                                                                                       \
        switch (t->dtype) {                                                                                                 \
            LOAD_CASE(TENON_F32, float, T, v)                                                                               \
            LOAD_CASE(TENON_F64, double, T, v)                                                                              \
            LOAD_CASE(TENON_I8, int8_t, T, v)                                                                               \
            LOAD_CASE(TENON_U8, uint8_t, T, v)                                                                              \
            LOAD_CASE(TENON_I32, int32_t, T, v)                                                                             \
            LOAD_CASE(TENON_I64, int64_t, T, v)                                                                             \
            LOAD_CASE(TENON_U64, uint64_t, T, v)                                                                            \
            LOAD_CASE(TENON_BOOL, uint8_t, T, v != 0)                                                                       \
        default:                                                                                                            \
            for (int i = 0; i < n; i++) out[i] = (T)get(t, offset + i * stride);                                            \
        }                                                                                                                   \
    }
LOAD_FN(load_f32, float, tenon_tensor_get_f64)
LOAD_FN(load_f64, double, tenon_tensor_get_f64)

/* Only from integers and bool; floats go to integers through tenon_dtype_round. */
static void load_i64(const tenon_tensor *t, int64_t offset, int64_t stride, int n, int64_t *out)
{
    switch (t->dtype) {
        LOAD_CASE(TENON_I64, int64_t, int64_t, v)
        LOAD_CASE(TENON_I32, int32_t, int64_t, v)
        LOAD_CASE(TENON_BOOL, uint8_t, int64_t, v != 0)
    default:
        for (int i = 0; i < n; i++) out[i] = tenon_tensor_get_i64(t, offset + i * stride);
    }
}

static void store_f32(const tenon_tensor *t, int64_t offset, int64_t stride, int n, const float *v)
{
    if (t->dtype == TENON_F32) {
        float *d = (float *)t->data + offset;
        for (int i = 0; i < n; i++) d[i * stride] = v[i];
    } else if (t->dtype == TENON_BOOL) {
        uint8_t *d = (uint8_t *)t->data + offset;
        for (int i = 0; i < n; i++) d[i * stride] = v[i] != 0;
    } else {
        const bool whole = !tenon_is_float(t->dtype); /* to integers by truncation and saturation */
        for (int i = 0; i < n; i++) {
            const double d = (double)v[i];
            tenon_tensor_set_f64(t, offset + i * stride, whole ? tenon_dtype_round(t->dtype, d) : d);
        }
    }
}

static void store_f64(const tenon_tensor *t, int64_t offset, int64_t stride, int n, const double *v)
{
    if (t->dtype == TENON_BOOL) {
        uint8_t *d = (uint8_t *)t->data + offset;
        for (int i = 0; i < n; i++) d[i * stride] = v[i] != 0;
    } else {
        const bool whole = !tenon_is_float(t->dtype);
        for (int i = 0; i < n; i++) tenon_tensor_set_f64(t, offset + i * stride, whole ? tenon_dtype_round(t->dtype,
                                                                                                           v[i]) : v[i]);
    }
}

static void store_i64(const tenon_tensor *t, int64_t offset, int64_t stride, int n, const int64_t *v)
{
    if (t->dtype == TENON_F32) { /* int -> float cast; not by way of double, which would round twice */
        float *d = (float *)t->data + offset;
        for (int i = 0; i < n; i++) d[i * stride] = (float)v[i];
    } else if (tenon_is_float(t->dtype)) {
        for (int i = 0; i < n; i++) tenon_tensor_set_f64(t, offset + i * stride, (double)v[i]);
    } else {
        for (int i = 0; i < n; i++) tenon_tensor_set_i64(t, offset + i * stride, tenon_dtype_wrap(t->dtype, v[i]));
    }
}

/* ---- one node ---- */
typedef struct job {
    const tenon_pw *pw;
    tenon_class class_;
    int arity;
    const tenon_tensor *src[TENON_PW_ARITY];
    const tenon_tensor *dst;
    double param[TENON_PW_PARAMS];
    float param32[TENON_PW_PARAMS];
} job;

static void load(const job *j, int s, int64_t offset, int64_t stride, int n, block *out)
{
    if (j->class_ == TENON_CLASS_F32) load_f32(j->src[s], offset, stride, n, out->f32);
    else if (j->class_ == TENON_CLASS_F64) load_f64(j->src[s], offset, stride, n, out->f64);
    else load_i64(j->src[s], offset, stride, n, out->i64);
}

#define COMPUTE(field, T, fn, p)                                                                                            \
    for (int i = 0; i < n; i++) {                                                                                           \
        const T x[TENON_PW_ARITY] = { in[0].field[i], in[1].field[i], in[2].field[i] };                                     \
        out->field[i] = fn(x, p);                                                                                           \
    }

static void compute(const job *j, const block *in, int n, block *out)
{
    if (j->class_ == TENON_CLASS_F32) COMPUTE(f32, float, j->pw->f32, j->param32)
    else if (j->class_ == TENON_CLASS_F64) COMPUTE(f64, double, j->pw->f64, j->param)
    else COMPUTE(i64, int64_t, j->pw->i64, j->param)
}

static void store(const job *j, int64_t offset, int64_t stride, int n, const block *v)
{
    if (j->class_ == TENON_CLASS_F32) store_f32(j->dst, offset, stride, n, v->f32);
    else if (j->class_ == TENON_CLASS_F64) store_f64(j->dst, offset, stride, n, v->f64);
    else store_i64(j->dst, offset, stride, n, v->i64);
}

static void run(const job *j, const walk *w)
{
    block in[TENON_PW_ARITY], out;
    memset(in, 0, sizeof in);
    const int last = w->rank - 1;
    int64_t at[TENON_MAX_RANK] = { 0 }, offset[OPERANDS] = { 0 };
    for (int i = 0; i <= last; i++)
        if (w->dim[i] == 0) return;
    for (;;) {
        for (int64_t begin = 0; begin < w->dim[last]; begin += BLOCK) {
            const int n = (int)TENON_MIN(w->dim[last] - begin, BLOCK);
            for (int s = 0; s < j->arity; s++)
                load(j, s, offset[s + 1] + begin * w->stride[s + 1][last], w->stride[s + 1][last], n, &in[s]);
            compute(j, in, n, &out);
            store(j, offset[0] + begin * w->stride[0][last], w->stride[0][last], n, &out);
        }
        int axis = last - 1;
        for (; axis >= 0; axis--) {
            for (int o = 0; o <= j->arity; o++) offset[o] += w->stride[o][axis];
            if (++at[axis] < w->dim[axis]) break;
            for (int o = 0; o <= j->arity; o++) offset[o] -= w->stride[o][axis] * w->dim[axis];
            at[axis] = 0;
        }
        if (axis < 0) return;
    }
}

/* The class that is exact for the sources: integers of any width in i64. A float exponent takes an integer base along. */
static tenon_class class_of_call(const tenon_op *op, const tenon_tensor *const *src, int count)
{
    tenon_class c = TENON_CLASS_I64;
    for (int i = op == &tenon_op_where ? 1 : 0; i < count; i++) {
        if (src[i]->dtype == TENON_F64) return TENON_CLASS_F64;
        if (tenon_is_float(src[i]->dtype)) c = TENON_CLASS_F32;
    }
    return op == &tenon_op_pow && c == TENON_CLASS_F32 && !tenon_is_float(src[0]->dtype) ? TENON_CLASS_F64 : c;
}

/* Text of a number, as Python's str of numpy's would be for the plain cases. */
static tenon_status cast_to_string(tenon_cx *cx, const tenon_tensor *src, int64_t offset, tenon_heap *heap, tenon_string *out)
{
    char text[64];
    if (src->dtype == TENON_BOOL) snprintf(text, sizeof text, "%d", (int)tenon_tensor_get_i64(src, offset));
    else if (!tenon_is_float(src->dtype)) snprintf(text, sizeof text, "%" PRId64, tenon_tensor_get_i64(src, offset));
    else {
        const double v = tenon_tensor_get_f64(src, offset);
        for (int digits = 1; digits <= 17; digits++) { /* shortest that reads back */
            snprintf(text, sizeof text, "%.*g", digits, v);
            const double back = strtod(text, NULL);
            if (src->dtype == TENON_F64 ? back == v : (float)back == (float)v) break;
        }
        if (isnan(v)) snprintf(text, sizeof text, "NaN");
        else if (isinf(v)) snprintf(text, sizeof text, v > 0 ? "INF" : "-INF");
    }
    const size_t length = strlen(text);
    char *copy = tenon_heap_alloc(heap, length + 1);
    if (!copy) return TENON_FAIL(cx, TENON_NOMEM, "out of memory for text");
    memcpy(copy, text, length + 1);
    *out = (tenon_string){ copy, length };
    return TENON_OK;
}

static tenon_status cast_strings(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *src = &call->src[0], *dst = &call->dst[0];
    const int64_t count = tenon_tensor_count(dst);
    for (int64_t i = 0; i < count; i++) {
        const int64_t from = tenon_tensor_offset(src, i), to = tenon_tensor_offset(dst, i);
        if (src->dtype == TENON_STRING && dst->dtype == TENON_STRING) {
            ((tenon_string *)dst->data)[to] = ((const tenon_string *)src->data)[from];
        } else if (dst->dtype == TENON_STRING) {
            TENON_TRY(cast_to_string(cx, src, from, call->heap, &((tenon_string *)dst->data)[to]));
        } else {
            char text[64];
            const tenon_string s = ((const tenon_string *)src->data)[from];
            if (s.length >= sizeof text) return TENON_FAIL(cx, TENON_INVALID, "text of %zu characters is not a number", s.length);
            memcpy(text, s.data, s.length);
            text[s.length] = '\0';
            char *end;
            if (tenon_is_int(dst->dtype)) {
                const long long v = strtoll(text, &end, 10);
                if (*end == '\0' && end != text) {
                    tenon_tensor_set_i64(dst, to, v);
                    continue;
                }
            }
            const double v = strtod(text, &end);
            if (end == text || *end != '\0') return TENON_FAIL(cx, TENON_INVALID, "'%s' is not a number", text);
            tenon_tensor_set_f64(dst, to, v);
        }
    }
    return TENON_OK;
}

/* A source as a broadcast view of the result's shape. */
static tenon_tensor broadcast_view(const tenon_tensor *t, const tenon_tensor *dst)
{
    tenon_tensor view = *dst;
    view.dtype = t->dtype;
    view.data = t->data;
    for (int i = 0; i < dst->rank; i++) {
        const int k = i - (dst->rank - t->rank);
        view.stride[i] = k < 0 || t->dim[k] == 1 ? 0 : t->stride[k];
    }
    return view;
}

/* equal and where: all that is defined on text. */
static tenon_status compute_strings(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *dst = &call->dst[0];
    const bool where = call->node->op == &tenon_op_where;
    if (!where && call->node->op != &tenon_op_equal) return TENON_FAIL(cx, TENON_UNSUPPORTED, "not defined for strings");
    const tenon_tensor va = broadcast_view(&call->src[where], dst), vb = broadcast_view(&call->src[where + 1], dst);
    const tenon_tensor cond = broadcast_view(&call->src[0], dst);
    const int64_t count = tenon_tensor_count(dst);
    for (int64_t i = 0; i < count; i++) {
        const int64_t to = tenon_tensor_offset(dst, i);
        const tenon_string a = ((const tenon_string *)va.data)[tenon_tensor_offset(&va, i)];
        const tenon_string b = ((const tenon_string *)vb.data)[tenon_tensor_offset(&vb, i)];
        if (where) ((tenon_string *)dst->data)[to] = ((const uint8_t *)cond.data)[tenon_tensor_offset(&cond, i)] ? a : b;
        else tenon_tensor_set_i64(dst, to, a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0));
    }
    return TENON_OK;
}

/* The eight-bit floats without saturation: what is too large becomes NaN or infinity. */
static void cast_f8_plain(const tenon_tensor *src, const tenon_tensor *dst)
{
    const int64_t count = tenon_tensor_count(dst);
    for (int64_t i = 0; i < count; i++) {
        const float v = (float)tenon_tensor_get_f64(src, tenon_tensor_offset(src, i));
        ((uint8_t *)dst->data)[tenon_tensor_offset(dst, i)] = dst->dtype == TENON_F8E4M3 ? tenon_f32_to_f8e4m3(v, 0)
            : tenon_f32_to_f8e5m2(v, 0);
    }
}

/* An absent bound of a clip: the row with what is left. */
static const tenon_op *without_absent(const tenon_eval_call *call, const tenon_tensor **src, int *count)
{
    const tenon_op *op = call->node->op;
    bool have[TENON_PW_ARITY] = { false };
    *count = 0;
    for (int i = 0; i < call->src_count && i < op->pw->arity; i++) {
        have[i] = call->src[i].dtype != TENON_DTYPE_NONE;
        if (have[i]) src[(*count)++] = &call->src[i];
    }
    if (op != &tenon_op_clip || *count == 3) return op;
    return have[1] ? &tenon_op_max : have[2] ? &tenon_op_min : &tenon_op_identity;
}

static tenon_status check_shapes(tenon_cx *cx, const tenon_tensor *dst, const tenon_tensor *const *src, int count)
{
    for (int s = 0; s < count; s++) {
        if (src[s]->rank > dst->rank) return TENON_FAIL(cx, TENON_INVALID, "operand %d has rank %d, the result %d", s,
                                                        src[s]->rank, dst->rank);
        for (int k = 0; k < src[s]->rank; k++) {
            const int64_t d = dst->dim[k + dst->rank - src[s]->rank];
            if (src[s]->dim[k] != d && src[s]->dim[k] != 1)
                return TENON_FAIL(cx, TENON_INVALID, "operand %d: dimension %" PRId64 " does not broadcast to %" PRId64, s,
                                  src[s]->dim[k], d);
        }
    }
    return TENON_OK;
}

tenon_status tenon_pw_ref(tenon_cx *cx, tenon_eval_call *call)
{
    if (call->dst[0].dtype == TENON_DTYPE_NONE) return TENON_OK;
    if (call->node->op == &tenon_op_identity && (call->src[0].dtype == TENON_SEQUENCE || call->src[0].dtype == TENON_OPTIONAL)) {
        call->dst[0] = call->src[0];
        return TENON_OK;
    }
    TENON_TRY(tenon_eval_alloc(cx, call, 0));
    const tenon_tensor *src[TENON_PW_ARITY];
    int count;
    const tenon_op *op = without_absent(call, src, &count);
    if (count < op->pw->arity) return TENON_FAIL(cx, TENON_INVALID, "%d operands, takes %d", count, op->pw->arity);
    TENON_TRY(check_shapes(cx, &call->dst[0], src, count));
    if (src[count - 1]->dtype == TENON_STRING || call->dst[0].dtype == TENON_STRING) {
        if (op == &tenon_op_cast || op == &tenon_op_identity) return cast_strings(cx, call);
        return compute_strings(cx, call);
    }
    job j = { .pw = op->pw, .class_ = class_of_call(op, src, count), .arity = count, .dst = &call->dst[0] };
    for (int i = 0; i < count; i++) j.src[i] = src[i];
    if (op == call->node->op) tenon_pw_params(call->node, j.param);
    for (int i = 0; i < TENON_PW_PARAMS; i++) j.param32[i] = (float)j.param[i];
    const bool to_f8 = j.dst->dtype == TENON_F8E4M3 || j.dst->dtype == TENON_F8E5M2;
    if (op == &tenon_op_cast && to_f8 && j.param[1] == 0) {
        cast_f8_plain(src[0], j.dst);
        return TENON_OK;
    }
    if (op == &tenon_op_cast) { /* the store converts; an integer leaves i64 unwrapped for a float, f64 keeps what f32 loses */
        j.pw = tenon_op_identity.pw;
        if (j.class_ == TENON_CLASS_F32 && j.dst->dtype != TENON_F32) j.class_ = TENON_CLASS_F64;
        if (src[0]->dtype == TENON_U64 && tenon_is_float(j.dst->dtype)) j.class_ = TENON_CLASS_F64;
    }
    if ((j.class_ == TENON_CLASS_F32 && !j.pw->f32) || (j.class_ == TENON_CLASS_F64 && !j.pw->f64) ||
        (j.class_ == TENON_CLASS_I64 && !j.pw->i64))
        return TENON_FAIL(cx, TENON_INVALID, "not defined for %s", tenon_dtype_name(src[0]->dtype));
    walk w;
    walk_make(&w, j.dst, j.src, count);
    run(&j, &w);
    return TENON_OK;
}
