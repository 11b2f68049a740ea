/* SPDX-License-Identifier: Apache-2.0 */
/* The interpreter: each step runs over a strip of columns, so that its dispatch is paid once a strip. Also the
   element-by-element way in and out of vector bodies for types and strides that these have no words for. */
#include "cpu/pw_scalar.h"

#include "base/half.h"
#include "cpu/pw_table.h"

#include <math.h>
#include <string.h>

enum { STRIP = 32 };
typedef union strip { float f32[STRIP]; double f64[STRIP]; int64_t i64[STRIP]; } strip;

/* ---- stored types ---- */
#define GET_CASES(T)                                                                                                        \
    GET(TENON_F32, float, v)                                                                                                \
    GET(TENON_F64, double, v)                                                                                               \
    GET(TENON_F16, uint16_t, tenon_f16_to_f32(v))                                                                           \
    GET(TENON_BF16, uint16_t, tenon_bf16_to_f32(v))                                                                         \
    GET(TENON_F8E4M3, uint8_t, tenon_f8e4m3_to_f32(v))                                                                      \
    GET(TENON_F8E5M2, uint8_t, tenon_f8e5m2_to_f32(v))                                                                      \
    GET(TENON_I8, int8_t, v)                                                                                                \
    GET(TENON_U8, uint8_t, v)                                                                                               \
    GET(TENON_I16, int16_t, v)                                                                                              \
    GET(TENON_U16, uint16_t, v)                                                                                             \
    GET(TENON_I32, int32_t, v)                                                                                              \
    GET(TENON_U32, uint32_t, v)                                                                                             \
    GET(TENON_I64, int64_t, v)                                                                                              \
    GET(TENON_U64, uint64_t, v)                                                                                             \
    GET(TENON_BOOL, uint8_t, v != 0)
/* step in bytes */
#define GET_FN(name, T)                                                                                                     \
    static void name(int dtype, const char *p, int64_t step, int n, T *out)                                                 \
    {                                                                                                                       \
        switch (dtype) {                                                                                                    \
            GET_CASES(T)                                                                                                    \
        default: memset(out, 0, (size_t)n * sizeof *out);                                                                   \
        }                                                                                                                   \
    }
#define GET(t, C, e)                                                                                                        \
    case t:                                                                                                                 \
        for (int i = 0; i < n; i++) {                                                                                       \
            C v;                                                                                                            \
            memcpy(&v, p + i * step, sizeof v);                                                                             \
            out[i] = (NUMBER)(e);                                                                                           \
        }                                                                                                                   \
        break;
#define NUMBER float
GET_FN(get_f32, float)
#undef NUMBER
#define NUMBER double
GET_FN(get_f64, double)
#undef NUMBER
#define NUMBER int64_t
GET_FN(get_i64, int64_t)
#undef NUMBER

/* Floats to integers: to nearest even, saturating, NaN gives 0. */
static double nearest(tenon_dtype t, double v) { return tenon_dtype_round(t, t == TENON_BOOL ? v : nearbyint(v)); }

#define PUT(t, C, e)                                                                                                        \
    case t:                                                                                                                 \
        for (int i = 0; i < n; i++) {                                                                                       \
            const C v = (C)(e);                                                                                             \
            memcpy(p + i * step, &v, sizeof v);                                                                             \
        }                                                                                                                   \
        break;
static void put_f64(int dtype, char *p, int64_t step, int n, const double *in)
{
    switch (dtype) {
        PUT(TENON_F32, float, in[i])
        PUT(TENON_F64, double, in[i])
        PUT(TENON_F16, uint16_t, tenon_f32_to_f16((float)in[i]))
        PUT(TENON_BF16, uint16_t, tenon_f32_to_bf16((float)in[i]))
        PUT(TENON_F8E4M3, uint8_t, tenon_f32_to_f8e4m3((float)in[i], 1))
        PUT(TENON_F8E5M2, uint8_t, tenon_f32_to_f8e5m2((float)in[i], 1))
        PUT(TENON_I8, int8_t, nearest(TENON_I8, in[i]))
        PUT(TENON_U8, uint8_t, nearest(TENON_U8, in[i]))
        PUT(TENON_I16, int16_t, nearest(TENON_I16, in[i]))
        PUT(TENON_U16, uint16_t, nearest(TENON_U16, in[i]))
        PUT(TENON_I32, int32_t, nearest(TENON_I32, in[i]))
        PUT(TENON_U32, uint32_t, nearest(TENON_U32, in[i]))
        PUT(TENON_I64, int64_t, in[i] >= 0x1p63 ? INT64_MAX : (int64_t)nearest(TENON_I64, in[i]))
        PUT(TENON_U64, uint64_t, in[i] >= 0x1p64 ? UINT64_MAX : (uint64_t)nearest(TENON_U64, in[i]))
        PUT(TENON_BOOL, uint8_t, in[i] != 0)
    default: break;
    }
}
static void put_f32(int dtype, char *p, int64_t step, int n, const float *in)
{
    double wide[STRIP];
    for (int i = 0; i < n; i++) wide[i] = (double)in[i];
    put_f64(dtype, p, step, n, wide);
}
/* Integers wrap; to f32 in one rounding. */
static void put_i64(int dtype, char *p, int64_t step, int n, const int64_t *in)
{
    switch (dtype) {
        PUT(TENON_F32, float, in[i])
        PUT(TENON_F64, double, in[i])
        PUT(TENON_F16, uint16_t, tenon_f32_to_f16((float)in[i]))
        PUT(TENON_BF16, uint16_t, tenon_f32_to_bf16((float)in[i]))
        PUT(TENON_F8E4M3, uint8_t, tenon_f32_to_f8e4m3((float)in[i], 1))
        PUT(TENON_F8E5M2, uint8_t, tenon_f32_to_f8e5m2((float)in[i], 1))
        PUT(TENON_I8, int8_t, in[i])
        PUT(TENON_U8, uint8_t, in[i])
        PUT(TENON_I16, int16_t, in[i])
        PUT(TENON_U16, uint16_t, in[i])
        PUT(TENON_I32, int32_t, in[i])
        PUT(TENON_U32, uint32_t, in[i])
        PUT(TENON_I64, int64_t, in[i])
        PUT(TENON_U64, uint64_t, in[i])
        PUT(TENON_BOOL, uint8_t, in[i] != 0)
    default: break;
    }
}

static int size_of(uint8_t dtype) { return tenon_dtype_get((tenon_dtype)dtype)->bits / 8; }

/* ---- for the vector bodies ---- */
static char *register_at(const tenon_pw_place *q, int r)
{
    return q->p + (r & 1) * q->s0 + (r >> 1 & 1) * q->s1 + (r >> 2) * q->half;
}
void tenon_pw_fetch(const tenon_pw_frame *x, const tenon_pw_cell *q, float *tile)
{
    const tenon_pw_place *place = (const tenon_pw_place *)(const void *)((const char *)x + q->at);
    const uint8_t dtype = x->code->operand_dtype[q->port];
    const int64_t step = x->operand[q->port].col_stride * size_of(dtype);
    for (int r = 0; r < 8; r++) {
        const int n = x->full ? x->width : (int)x->lanes[r];
        if (n < x->width) memset(tile + r * x->width, 0, (size_t)x->width * sizeof *tile);
        get_f32(dtype, register_at(place, r), step, n, tile + r * x->width);
    }
}
void tenon_pw_put(const tenon_pw_frame *x, const tenon_pw_cell *q, const float *tile)
{
    const tenon_pw_place *place = (const tenon_pw_place *)(const void *)((const char *)x + q->at);
    const int port = q->port - TENON_PW_PORT_RESULT;
    const uint8_t dtype = x->code->result_dtype[port];
    const int64_t step = x->result[port].col_stride * size_of(dtype);
    for (int r = 0; r < 8; r++)
        put_f32(dtype, register_at(place, r), step, x->full ? x->width : (int)x->lanes[r], tile + r * x->width);
}

/* ---- programs ---- */
tenon_status tenon_pw_compile_slow(tenon_cx *cx, const tenon_program *p, tenon_pw_code *out)
{
    int pool = TENON_PROGRAM_OPERANDS; /* constants of the operands come first */
    memset(&out->u, 0, sizeof out->u);
    out->mode = 0;
    out->step_count = (uint8_t)p->instr_count;
    for (int i = 0; i < p->operand_count; i++) out->u.slow.pool[i] = p->operand_value[i];
    for (int i = 0; i < p->instr_count; i++) {
        const tenon_instr *in = &p->instr[i];
        const tenon_pw *pw = in->op->pw;
        tenon_pw_step *s = &out->u.slow.step[i];
        if (p->class_ == TENON_CLASS_F32) s->fn.f32 = pw->f32;
        else if (p->class_ == TENON_CLASS_F64) s->fn.f64 = pw->f64;
        else s->fn.i64 = pw->i64;
        if (p->class_ == TENON_CLASS_F32 ? !pw->f32 : p->class_ == TENON_CLASS_F64 ? !pw->f64 : !pw->i64)
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "pointwise: %s is not defined for the class of this program", in->op->name);
        s->dtype = (uint8_t)in->dtype;
        s->arity = pw->arity;
        s->param = (uint16_t)pool;
        for (int k = 0; k < pw->arity; k++) s->src[k] = (int8_t)in->src[k];
        if (pool + pw->param_count > TENON_PW_POOL) return TENON_FAIL(cx, TENON_UNSUPPORTED, "pointwise: more than %d parameters",
                                                                      TENON_PW_POOL);
        s->param_count = pw->param_count;
        for (int k = 0; k < pw->param_count; k++) out->u.slow.pool[pool++] = in->param64[k];
    }
    for (int r = 0; r < p->result_count; r++) out->result_step[r] = (int8_t)p->result_instr[r];
    return TENON_OK;
}

typedef struct place { const tenon_pw_code *code; const tenon_pw_operand *operand; int64_t row, col; int n; } place;

static void fetch_operand(const place *at, int k, strip *out)
{
    const tenon_pw_code *c = at->code;
    if (c->operand_const[k]) {
        const double v = c->u.slow.pool[k];
        for (int i = 0; i < at->n; i++) {
            if (c->class_ == TENON_CLASS_F32) out->f32[i] = (float)v;
            else if (c->class_ == TENON_CLASS_F64) out->f64[i] = v;
            else out->i64[i] = (int64_t)v;
        }
        return;
    }
    const int size = size_of(c->operand_dtype[k]);
    const tenon_pw_operand *o = &at->operand[k];
    const char *p = (const char *)o->base + (at->row * o->row_stride + at->col * o->col_stride) * size;
    const int64_t step = o->col_stride * size;
    if (c->class_ == TENON_CLASS_F32) get_f32(c->operand_dtype[k], p, step, at->n, out->f32);
    else if (c->class_ == TENON_CLASS_F64) get_f64(c->operand_dtype[k], p, step, at->n, out->f64);
    else get_i64(c->operand_dtype[k], p, step, at->n, out->i64);
}

#define OVER_STRIP(field, T, P)                                                                                             \
    for (int e = 0; e < at->n; e++) {                                                                                       \
        const T v[TENON_PW_ARITY] = { in[0]->field[e], in[1]->field[e], in[2]->field[e] };                                  \
        out->field[e] = s->fn.field(v, P);                                                                                  \
    }

static void run_step(const place *at, const tenon_pw_step *s, const strip *const *in, strip *out)
{
    const double *p = &at->code->u.slow.pool[s->param];
    if (at->code->class_ == TENON_CLASS_F32) {
        float narrow[TENON_PW_PARAMS] = { 0 };
        for (int i = 0; i < s->param_count; i++) narrow[i] = (float)p[i];
        OVER_STRIP(f32, float, narrow)
    } else if (at->code->class_ == TENON_CLASS_F64) {
        OVER_STRIP(f64, double, p)
    } else {
        OVER_STRIP(i64, int64_t, p)
        for (int e = 0; e < at->n; e++)
            if (tenon_class_of((tenon_dtype)s->dtype) == TENON_CLASS_I64 || tenon_is_int((tenon_dtype)s->dtype))
                out->i64[e] = tenon_dtype_wrap((tenon_dtype)s->dtype, out->i64[e]);
    }
}

static void run_strip(const place *at, const tenon_pw_result *result)
{
    const tenon_pw_code *c = at->code;
    strip value[TENON_PROGRAM_MAX], operand[TENON_PROGRAM_OPERANDS];
    for (int k = 0; k < c->operand_count; k++) fetch_operand(at, k, &operand[k]);
    for (int i = 0; i < c->step_count; i++) {
        const tenon_pw_step *s = &c->u.slow.step[i];
        const strip *in[TENON_PW_ARITY];
        for (int k = 0; k < TENON_PW_ARITY; k++) {
            const int src = s->src[k < s->arity ? k : 0];
            in[k] = src >= 0 ? &value[src] : &operand[~src];
        }
        run_step(at, s, in, &value[i]);
    }
    for (int r = 0; r < c->result_count; r++) {
        const strip *v = c->result_step[r] >= 0 ? &value[c->result_step[r]] : &operand[~c->result_step[r]];
        const int size = size_of(c->result_dtype[r]);
        char *p = (char *)result[r].base + (at->row * result[r].row_stride + at->col * result[r].col_stride) * size;
        const int64_t step = result[r].col_stride * size;
        if (c->class_ == TENON_CLASS_F32) put_f32(c->result_dtype[r], p, step, at->n, v->f32);
        else if (c->class_ == TENON_CLASS_F64) put_f64(c->result_dtype[r], p, step, at->n, v->f64);
        else put_i64(c->result_dtype[r], p, step, at->n, v->i64);
    }
}

void tenon_pw_run_slow(const tenon_pw_code *code, const tenon_pw_operand *operand, const tenon_pw_result *result, int64_t rows,
                       int64_t cols)
{
    for (int64_t row = 0; row < rows; row++)
        for (int64_t col = 0; col < cols; col += STRIP) {
            const place at = { code, operand, row, col, (int)TENON_MIN(cols - col, STRIP) };
            run_strip(&at, result);
        }
}
