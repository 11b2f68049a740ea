/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of pointwise programs, over the words of vec_<isa>.h; compiled by pw_f32_avx512.c and pw_f32_avx2.c. The eight
   registers travel as arguments a..h; every body ends in a tail call, so nothing touches the stack between them. Bodies know
   full vectors alone: a chunk at the end of the columns works on copies of its operands. */
#ifndef TENON_CPU_PW_F32_BODY_H
#define TENON_CPU_PW_F32_BODY_H

#include "cpu/pw_table.h"
#include "cpu/vec_math.h"

#define ARGS const tenon_pw_cell *q, tenon_pw_frame *x, tenon_pw_place *at, vf a, vf b, vf c, vf d, vf e, vf f, vf g, vf h
typedef void (*body_fn)(ARGS);
#define NEXT(n, places) ((body_fn)q[n].body)(q + (n), x, at + (places), a, b, c, d, e, f, g, h)
#define BODY(name) TENON_ALIGNED(64) static void name(ARGS)
#define CALL(fn) fn(q, x, at, a, b, c, d, e, f, g, h)

#define EACH(F) a = F(a), b = F(b), c = F(c), d = F(d), e = F(e), f = F(f), g = F(g), h = F(h)
#define EACH2(F, w) a = F(a, w), b = F(b, w), c = F(c, w), d = F(d, w), e = F(e, w), f = F(f, w), g = F(g, w), h = F(h, w)

/* The eight vectors of place q[n] in this chunk, by one of two ways: any steps, or at least four vectors of a row. */
#define EIGHT(F, AT) F(a, 0, AT) F(b, 1, AT) F(c, 2, AT) F(d, 3, AT) F(e, 4, AT) F(f, 5, AT) F(g, 6, AT) F(h, 7, AT)
#define PLACE(n) (at + (n))
#define STEPPED(k, n)                                                                                                       \
    tenon_pw_place *const k##q = PLACE(n);                                                                                  \
    char *k##0 = k##q->p, *k##2 = k##0 + k##q->s1, *k##4 = k##0 + k##q->half, *k##6 = k##4 + k##q->s1;                      \
    const int64_t k##s = k##q->s0;                                                                                          \
    k##q->p = k##0 + k##q->step
#define AT_STEP(k, i) ((i < 2 ? k##0 : i < 4 ? k##2 : i < 6 ? k##4 : k##6) + (i & 1 ? k##s : 0))
#define WIDE(k, n)                                                                                                          \
    tenon_pw_place *const k##q = PLACE(n);                                                                                  \
    char *k##0 = k##q->p, *k##4 = k##0 + k##q->half;                                                                        \
    k##q->p = k##0 + k##q->step
#define AT_WIDE(k, i) ((i < 4 ? k##0 : k##4) + (i & 3) * VW * 4)
#define TWINS(name, F)                                                                                                      \
    BODY(name)                                                                                                              \
    {                                                                                                                       \
        WIDE(k, 0);                                                                                                         \
        EIGHT(F, AT_WIDE)                                                                                                   \
        NEXT(1, 1);                                                                                                         \
    }                                                                                                                       \
    BODY(name##_n)                                                                                                          \
    {                                                                                                                       \
        STEPPED(k, 0);                                                                                                      \
        EIGHT(F, AT_STEP)                                                                                                   \
        NEXT(1, 1);                                                                                                         \
    }
#define TWINS_OF_TWO(name, F) /* the second port is in the next cell */                                                     \
    BODY(name)                                                                                                              \
    {                                                                                                                       \
        WIDE(k, 0);                                                                                                         \
        WIDE(m, 1);                                                                                                         \
        EIGHT(F, AT_WIDE)                                                                                                   \
        NEXT(2, 2);                                                                                                         \
    }                                                                                                                       \
    BODY(name##_n)                                                                                                          \
    {                                                                                                                       \
        STEPPED(k, 0);                                                                                                      \
        STEPPED(m, 1);                                                                                                      \
        EIGHT(F, AT_STEP)                                                                                                   \
        NEXT(2, 2);                                                                                                         \
    }
#define FLOATS(p) ((float *)(void *)(p))
#define AGAIN() /* the next chunk, or back to the caller */                                                                 \
    if (--x->left) {                                                                                                        \
        q = x->first;                                                                                                       \
        at = x->place;                                                                                                      \
        NEXT(0, 0);                                                                                                         \
    }

/* ---- fetching, storing ---- */
#define LOAD(reg, i, AT) reg = v_load(FLOATS(AT(k, i)));
TWINS(load_f32, LOAD)
#define TO_TILE(t) v_store(t, a), v_store(t + VW, b), v_store(t + 2 * VW, c), v_store(t + 3 * VW, d), v_store(t + 4 * VW, e), \
    v_store(t + 5 * VW, f), v_store(t + 6 * VW, g), v_store(t + 7 * VW, h)
#define FROM_TILE(t) a = v_load(t), b = v_load(t + VW), c = v_load(t + 2 * VW), d = v_load(t + 3 * VW), e = v_load(t + 4 * VW), \
    f = v_load(t + 5 * VW), g = v_load(t + 6 * VW), h = v_load(t + 7 * VW)
BODY(store_any)
{
    float *t = x->arg[0];
    TO_TILE(t);
    tenon_pw_put(x, q, t);
    PLACE(0)->p += PLACE(0)->step;
    FROM_TILE(t);
    NEXT(1, 1);
}
#define STORE(reg, i, AT) v_store(FLOATS(AT(k, i)), reg);
#define SCATTER_INSTEAD()                                                                                                   \
    if (TENON_UNLIKELY(PLACE(0)->scatter)) {                                                                                \
        CALL(store_any);                                                                                                    \
        return;                                                                                                             \
    }
BODY(store_f32) /* wide bodies meet contiguous results alone */
{
    WIDE(k, 0);
    EIGHT(STORE, AT_WIDE)
    NEXT(1, 1);
}
BODY(store_f32_n)
{
    SCATTER_INSTEAD()
    STEPPED(k, 0);
    EIGHT(STORE, AT_STEP)
    NEXT(1, 1);
}
BODY(end) { AGAIN() }
BODY(store_f32_end) /* the last cell of most programs */
{
    WIDE(k, 0);
    EIGHT(STORE, AT_WIDE)
    AGAIN()
}
BODY(store_f32_end_n)
{
    STEPPED(k, 0);
    if (TENON_UNLIKELY(kq->scatter)) {
        kq->p = k0;
        float *t = x->arg[0];
        TO_TILE(t);
        tenon_pw_put(x, q, t);
        kq->p = k0 + kq->step;
    } else {
        EIGHT(STORE, AT_STEP)
    }
    AGAIN()
}
BODY(spill)
{
    float *t = FLOATS(PLACE(0)->p);
    TO_TILE(t);
    NEXT(1, 1);
}
BODY(load_temp)
{
    const float *t = FLOATS(PLACE(0)->p);
    FROM_TILE(t);
    NEXT(1, 1);
}
#define SPLAT_LOAD(reg, i, AT) reg = v_set(*FLOATS(AT(k, i)));
#define STEPPED_BODY(name, F)                                                                                               \
    BODY(name)                                                                                                              \
    {                                                                                                                       \
        STEPPED(k, 0);                                                                                                      \
        EIGHT(F, AT_STEP)                                                                                                   \
        NEXT(1, 1);                                                                                                         \
    }
STEPPED_BODY(load_splat, SPLAT_LOAD)
BODY(load_imm)
{
    a = b = c = d = e = f = g = h = v_set(q->imm[0]);
    NEXT(1, 0);
}
/* Staging fills the temporary of this cell from the port of the next without touching the registers. */
#define STAGE_BODY(name, F)                                                                                                 \
    BODY(name)                                                                                                              \
    {                                                                                                                       \
        float *t = FLOATS(PLACE(0)->p);                                                                                     \
        STEPPED(k, 1);                                                                                                      \
        EIGHT(F, AT_STEP)                                                                                                   \
        NEXT(2, 2);                                                                                                         \
    }
#define SPLAT_STAGE(reg, i, AT) v_store(t + i * VW, v_set(*FLOATS(AT(k, i))));
STAGE_BODY(stage_splat, SPLAT_STAGE)
BODY(stage_imm)
{
    float *t = FLOATS(PLACE(0)->p);
    const vf w = v_set(q->imm[0]);
    for (int i = 0; i < 8; i++) v_store(t + i * VW, w);
    NEXT(1, 1);
}
BODY(stage_any)
{
    tenon_pw_fetch(x, &q[1], FLOATS(PLACE(0)->p));
    PLACE(1)->p += PLACE(1)->step;
    NEXT(2, 2);
}
BODY(load_any)
{
    float *t = x->arg[0];
    tenon_pw_fetch(x, q, t);
    PLACE(0)->p += PLACE(0)->step;
    FROM_TILE(t);
    NEXT(1, 1);
}
#define CONVERT_LOAD(reg, i, AT) reg = CONVERT(AT(k, i), VW);
#define CONVERT_STAGE(reg, i, AT) v_store(t + i * VW, CONVERT(AT(k, i), VW));
#define CONVERT_STORE(reg, i, AT) CONVERT(AT(k, i), reg, VW);
#define STORE_BODY(name)                                                                                                    \
    BODY(name)                                                                                                              \
    {                                                                                                                       \
        SCATTER_INSTEAD()                                                                                                   \
        STEPPED(k, 0);                                                                                                      \
        EIGHT(CONVERT_STORE, AT_STEP)                                                                                       \
        NEXT(1, 1);                                                                                                         \
    }
#define CONVERT v_load_f16
STEPPED_BODY(load_f16, CONVERT_LOAD)
STAGE_BODY(stage_f16, CONVERT_STAGE)
#undef CONVERT
#define CONVERT v_load_bf16
STEPPED_BODY(load_bf16, CONVERT_LOAD)
STAGE_BODY(stage_bf16, CONVERT_STAGE)
#undef CONVERT
#define CONVERT v_load_i16
STEPPED_BODY(load_i16, CONVERT_LOAD)
STAGE_BODY(stage_i16, CONVERT_STAGE)
#undef CONVERT
#define CONVERT v_load_u16
STEPPED_BODY(load_u16, CONVERT_LOAD)
STAGE_BODY(stage_u16, CONVERT_STAGE)
#undef CONVERT
#define CONVERT v_load_i8
STEPPED_BODY(load_i8, CONVERT_LOAD)
STAGE_BODY(stage_i8, CONVERT_STAGE)
#undef CONVERT
#define CONVERT v_load_u8
STEPPED_BODY(load_u8, CONVERT_LOAD)
STAGE_BODY(stage_u8, CONVERT_STAGE)
#undef CONVERT
#define CONVERT v_load_i32
STEPPED_BODY(load_i32, CONVERT_LOAD)
STAGE_BODY(stage_i32, CONVERT_STAGE)
#undef CONVERT
#define CONVERT v_load_u32
STEPPED_BODY(load_u32, CONVERT_LOAD)
STAGE_BODY(stage_u32, CONVERT_STAGE)
#undef CONVERT
#define CONVERT v_store_f16
STORE_BODY(store_f16)
#undef CONVERT
#define CONVERT v_store_bf16
STORE_BODY(store_bf16)
#undef CONVERT
#define CONVERT v_store_i16
STORE_BODY(store_i16)
#undef CONVERT
#define CONVERT v_store_u16
STORE_BODY(store_u16)
#undef CONVERT
#define CONVERT v_store_i8
STORE_BODY(store_i8)
#undef CONVERT
#define CONVERT v_store_u8
STORE_BODY(store_u8)
#undef CONVERT
#define CONVERT v_store_bool
STORE_BODY(store_bool)
#undef CONVERT

/* ---- operations of one operand ---- */
#define UNARY(name, F)                                                                                                      \
    BODY(name)                                                                                                              \
    {                                                                                                                       \
        EACH(F);                                                                                                            \
        NEXT(1, 0);                                                                                                         \
    }
TENON_INLINE vf op_relu(vf u) { return v_max(v_zero(), u); } /* -0 and NaN stay */
TENON_INLINE vf op_reciprocal(vf u) { return v_div(v_set(1.0f), u); }
TENON_INLINE vf op_rsqrt(vf u) { return v_div(v_set(1.0f), v_sqrt(u)); }
TENON_INLINE vf op_sign(vf u)
{
    return v_sel(v_lt(v_zero(), u), v_set(1.0f), v_sel(v_lt(u, v_zero()), v_set(-1.0f), u));
}
TENON_INLINE vf op_softsign(vf u) { return v_div(u, v_add(v_set(1.0f), v_abs(u))); }
TENON_INLINE vf op_is_nan(vf u) { return v_one_if(v_isnan(u)); }
TENON_INLINE vf op_not(vf u) { return v_one_if(v_eq(u, v_zero())); }
TENON_INLINE vf op_square(vf u) { return v_mul(u, u); }
UNARY(round_f16_, v_round_f16)
UNARY(round_bf16_, v_round_bf16)
UNARY(abs_, v_abs)
UNARY(neg_, v_neg)
UNARY(relu_, op_relu)
UNARY(sign_, op_sign)
UNARY(sqrt_, v_sqrt)
UNARY(rsqrt_, op_rsqrt)
UNARY(reciprocal_, op_reciprocal)
UNARY(floor_, v_floor)
UNARY(ceil_, v_ceil)
UNARY(round_, v_round)
UNARY(softsign_, op_softsign)
UNARY(hard_swish_, v_hard_swish)
UNARY(is_nan_, op_is_nan)
UNARY(not_, op_not)
UNARY(square_, op_square)
UNARY(exp_, v_exp)
UNARY(log_, v_log)
UNARY(erf_, v_erf)
UNARY(sigmoid_, v_sigmoid)
UNARY(tanh_, v_tanh)
UNARY(softplus_, v_softplus)
UNARY(mish_, v_mish)
UNARY(gelu_, v_gelu)
UNARY(gelu_tanh_, v_gelu_tanh)

/* With parameters. */
#define UNARY_P(name, F)                                                                                                    \
    BODY(name)                                                                                                              \
    {                                                                                                                       \
        const vf p0 = v_set(q->imm[0]), p1 = v_set(q->imm[1]);                                                              \
        a = F(a, p0, p1), b = F(b, p0, p1), c = F(c, p0, p1), d = F(d, p0, p1);                                             \
        e = F(e, p0, p1), f = F(f, p0, p1), g = F(g, p0, p1), h = F(h, p0, p1);                                             \
        NEXT(1, 0);                                                                                                         \
    }
#define ONLY_P0 TENON_UNUSED vf p1
TENON_INLINE vf op_elu(vf u, vf p0, ONLY_P0)
{
    return v_sel(v_lt(u, v_zero()), v_mul(p0, v_expm1_neg(v_min(v_zero(), u))), u);
}
TENON_INLINE vf op_celu(vf u, vf p0, ONLY_P0)
{
    return v_sel(v_lt(u, v_zero()), v_mul(p0, v_expm1_neg(v_min(v_zero(), v_div(u, p0)))), u);
}
TENON_INLINE vf op_selu(vf u, vf p0, vf p1) { return v_mul(p1, op_elu(u, p0, p1)); }
TENON_INLINE vf op_leaky_relu(vf u, vf p0, ONLY_P0) { return v_sel(v_lt(u, v_zero()), v_mul(p0, u), u); }
TENON_INLINE vf op_hard_sigmoid(vf u, vf p0, vf p1) { return v_max(v_min(v_add(v_mul(p0, u), p1), v_set(1.0f)), v_zero()); }
TENON_INLINE vf op_thresholded_relu(vf u, vf p0, ONLY_P0) { return v_keep(v_lt(p0, u), u); }
TENON_INLINE vf op_silu(vf u, vf p0, ONLY_P0) { return v_silu(u, p0); }
TENON_INLINE vf op_is_inf(vf u, vf p0, vf p1) /* p0: negative counts, p1: positive counts */
{
    const vf infinity = v_bits(0x7f800000);
    const vm high = v_both(v_eq(u, infinity), v_ne(p1, v_zero()));
    const vm low = v_both(v_eq(u, v_neg(infinity)), v_ne(p0, v_zero()));
    return v_one_if(v_either(high, low));
}
/* The vector minimum and maximum give their second operand for NaN: bounds stand first so that NaN stays. */
TENON_INLINE vf op_clip(vf u, vf p0, vf p1) { return v_min(p1, v_max(p0, u)); }
UNARY_P(elu_, op_elu)
UNARY_P(celu_, op_celu)
UNARY_P(selu_, op_selu)
UNARY_P(leaky_relu_, op_leaky_relu)
UNARY_P(hard_sigmoid_, op_hard_sigmoid)
UNARY_P(thresholded_relu_, op_thresholded_relu)
UNARY_P(silu_, op_silu)
UNARY_P(is_inf_, op_is_inf)
BODY(clip_imm)
{
    const vf lo = v_set(q->imm[0]), hi = v_set(q->imm[1]);
    a = op_clip(a, lo, hi), b = op_clip(b, lo, hi), c = op_clip(c, lo, hi), d = op_clip(d, lo, hi);
    e = op_clip(e, lo, hi), f = op_clip(f, lo, hi), g = op_clip(g, lo, hi), h = op_clip(h, lo, hi);
    NEXT(1, 0);
}

/* ---- the scalar reference for a whole chunk: function and parameters in a cell of their own ---- */
TENON_NOINLINE static void call_scalar(const tenon_pw_cell *q, tenon_pw_frame *x, int arity)
{
    typedef float (*scalar_fn)(const float *, const float *);
    const scalar_fn fn = (scalar_fn)q->body;
    v_leave(); /* the reference is code of the plain architecture */
    for (int i = 0; i < 8 * VW; i++) {
        const float in[TENON_PW_ARITY] = { x->arg[0][i], arity > 1 ? x->arg[1][i] : 0.0f, arity > 2 ? x->arg[2][i] : 0.0f };
        x->arg[0][i] = fn(in, q->imm);
    }
}
BODY(call1)
{
    TO_TILE(x->arg[0]);
    call_scalar(q + 1, x, 1);
    FROM_TILE(x->arg[0]);
    NEXT(2, 0);
}
#define ARG(reg, i, AT) v_store(t + i * VW, v_load(FLOATS(AT(k, i))));
TENON_INLINE void to_tile(tenon_pw_place *at, float *t)
{
    STEPPED(k, 0);
    EIGHT(ARG, AT_STEP)
}
BODY(call2)
{
    TO_TILE(x->arg[0]);
    to_tile(at, x->arg[1]);
    call_scalar(q + 1, x, 2);
    FROM_TILE(x->arg[0]);
    NEXT(2, 1);
}
BODY(call3)
{
    TO_TILE(x->arg[0]);
    to_tile(at, x->arg[1]);
    to_tile(at + 1, x->arg[2]);
    call_scalar(q + 2, x, 3);
    FROM_TILE(x->arg[0]);
    NEXT(3, 2);
}
#define ANY4(F, a, b, c, d) (v_any(F(a)) || v_any(F(b)) || v_any(F(c)) || v_any(F(d)))
#define ANY8(F) (ANY4(F, a, b, c, d) || ANY4(F, e, f, g, h))
TENON_INLINE vm op_far(vf u) { return v_not(v_le(v_abs(u), v_set(V_TRIG_MAX))); }
#define TRIG(name, F)                                                                                                       \
    BODY(name)                                                                                                              \
    {                                                                                                                       \
        if (TENON_UNLIKELY(ANY8(op_far))) {                                                                                 \
            CALL(call1);                                                                                                    \
            return;                                                                                                         \
        }                                                                                                                   \
        EACH(F);                                                                                                            \
        NEXT(2, 0);                                                                                                         \
    }
TRIG(sin_, v_sin)
TRIG(cos_, v_cos)
TRIG(tan_, v_tan)

/* ---- operations of two operands: (register, other) ---- */
#define MEM(reg, i, AT) reg = OP(reg, v_load(FLOATS(AT(k, i))));
#define MEM_SPLAT(reg, i, AT) reg = OP(reg, v_set(*FLOATS(AT(k, i))));
#define MEM_TWINS(name) TWINS(name, MEM)
#define MEM_BODY(name) STEPPED_BODY(name, MEM)
#define SPLAT_BODY(name) STEPPED_BODY(name, MEM_SPLAT)
#define IMM_BODY(name)                                                                                                      \
    BODY(name)                                                                                                              \
    {                                                                                                                       \
        const vf w = v_set(q->imm[0]);                                                                                      \
        EACH2(OP, w);                                                                                                       \
        NEXT(1, 0);                                                                                                         \
    }
TENON_INLINE vf op_rsub(vf u, vf v) { return v_sub(v, u); }
TENON_INLINE vf op_rdiv(vf u, vf v) { return v_div(v, u); }
TENON_INLINE vf op_min(vf u, vf v) { return v_sel(v_isnan(u), u, v_min(u, v)); }
TENON_INLINE vf op_max(vf u, vf v) { return v_sel(v_isnan(u), u, v_max(u, v)); }
TENON_INLINE vf op_min_imm(vf u, vf v) { return v_min(v, u); } /* v is not a NaN: the compiler sees to it */
TENON_INLINE vf op_max_imm(vf u, vf v) { return v_max(v, u); }
TENON_INLINE vf op_prelu(vf u, vf v) { return v_sel(v_lt(u, v_zero()), v_mul(u, v), u); }
TENON_INLINE vf op_equal(vf u, vf v) { return v_one_if(v_eq(u, v)); }
TENON_INLINE vf op_less(vf u, vf v) { return v_one_if(v_lt(u, v)); }
TENON_INLINE vf op_less_or_equal(vf u, vf v) { return v_one_if(v_le(u, v)); }
TENON_INLINE vf op_greater(vf u, vf v) { return v_one_if(v_lt(v, u)); }
TENON_INLINE vf op_greater_or_equal(vf u, vf v) { return v_one_if(v_le(v, u)); }
TENON_INLINE vm op_truth(vf u) { return v_ne(u, v_zero()); }
TENON_INLINE vf op_and(vf u, vf v) { return v_one_if(v_both(op_truth(u), op_truth(v))); }
TENON_INLINE vf op_or(vf u, vf v) { return v_one_if(v_either(op_truth(u), op_truth(v))); }
TENON_INLINE vf op_xor(vf u, vf v) { return v_one_if(v_differ(op_truth(u), op_truth(v))); }

#define OP v_add
MEM_TWINS(add_mem)
SPLAT_BODY(add_splat)
IMM_BODY(add_imm)
#undef OP
#define OP v_sub
MEM_TWINS(sub_mem)
SPLAT_BODY(sub_splat)
IMM_BODY(sub_imm)
#undef OP
#define OP op_rsub
MEM_TWINS(sub_mem_r)
SPLAT_BODY(sub_splat_r)
IMM_BODY(sub_imm_r)
#undef OP
#define OP v_mul
MEM_TWINS(mul_mem)
SPLAT_BODY(mul_splat)
IMM_BODY(mul_imm)
#undef OP
#define OP v_div
MEM_TWINS(div_mem)
SPLAT_BODY(div_splat)
IMM_BODY(div_imm)
#undef OP
#define OP op_rdiv
MEM_BODY(div_mem_r)
SPLAT_BODY(div_splat_r)
IMM_BODY(div_imm_r)
#undef OP
#define OP op_min
MEM_TWINS(min_mem)
SPLAT_BODY(min_splat)
#undef OP
#define OP op_max
MEM_TWINS(max_mem)
SPLAT_BODY(max_splat)
#undef OP
#define OP op_min_imm
IMM_BODY(min_imm)
#undef OP
#define OP op_max_imm
IMM_BODY(max_imm)
#undef OP
#define OP op_prelu
MEM_BODY(prelu_mem)
SPLAT_BODY(prelu_splat)
#undef OP
#define OP op_equal
MEM_BODY(equal_mem)
IMM_BODY(equal_imm)
#undef OP
#define OP op_less
MEM_BODY(less_mem)
IMM_BODY(less_imm)
#undef OP
#define OP op_less_or_equal
MEM_BODY(less_or_equal_mem)
IMM_BODY(less_or_equal_imm)
#undef OP
#define OP op_greater
MEM_BODY(greater_mem)
IMM_BODY(greater_imm)
#undef OP
#define OP op_greater_or_equal
MEM_BODY(greater_or_equal_mem)
IMM_BODY(greater_or_equal_imm)
#undef OP
#define OP op_and
MEM_BODY(and_mem)
#undef OP
#define OP op_or
MEM_BODY(or_mem)
#undef OP
#define OP op_xor
MEM_BODY(xor_mem)
#undef OP

/* Pairs that follow each other so often that one dispatch for both is worth it; each operation still rounds. */
#define LOAD_ADD(reg, i, AT) reg = v_add(v_load(FLOATS(AT(k, i))), v_load(FLOATS(AT(m, i))));
TWINS_OF_TWO(load_add, LOAD_ADD)
TENON_INLINE vf op_affine(vf u, vf scale, vf shift) { return v_add(v_mul(u, scale), shift); }
#define AFFINE(reg, i, AT) reg = op_affine(reg, scale, shift);
BODY(affine_imm)
{
    const vf scale = v_set(q->imm[0]), shift = v_set(q->imm[1]);
    EIGHT(AFFINE, )
    NEXT(1, 0);
}
#define AFFINE_CLIP(reg, i, AT) reg = op_clip(op_affine(reg, scale, shift), lo, hi);
BODY(affine_clip) /* the bounds are in the next cell */
{
    const vf scale = v_set(q->imm[0]), shift = v_set(q->imm[1]), lo = v_set(q[1].imm[0]), hi = v_set(q[1].imm[1]);
    EIGHT(AFFINE_CLIP, )
    NEXT(2, 0);
}
#define ADD_RELU(reg, i, AT) reg = op_relu(v_add(reg, v_load(FLOATS(AT(k, i)))));
TWINS(add_relu, ADD_RELU)

/* Three values added, the ports of the second and the third in the next cells: what a bias and a residual make of a tile. The
   third is a step of its own, or the pointers of all would not fit the registers that a function may use without saving. */
#define TWINS_OF_THREE(name, F)                                                                                             \
    BODY(name)                                                                                                              \
    {                                                                                                                       \
        {                                                                                                                   \
            WIDE(k, 0);                                                                                                     \
            WIDE(m, 1);                                                                                                     \
            EIGHT(LOAD_ADD, AT_WIDE)                                                                                        \
        }                                                                                                                   \
        WIDE(k, 2);                                                                                                         \
        EIGHT(F, AT_WIDE)                                                                                                   \
        NEXT(3, 3);                                                                                                         \
    }                                                                                                                       \
    BODY(name##_n)                                                                                                          \
    {                                                                                                                       \
        {                                                                                                                   \
            STEPPED(k, 0);                                                                                                  \
            STEPPED(m, 1);                                                                                                  \
            EIGHT(LOAD_ADD, AT_STEP)                                                                                        \
        }                                                                                                                   \
        STEPPED(k, 2);                                                                                                      \
        EIGHT(F, AT_STEP)                                                                                                   \
        NEXT(3, 3);                                                                                                         \
    }
#define THEN_ADD(reg, i, AT) reg = v_add(reg, v_load(FLOATS(AT(k, i))));
TWINS_OF_THREE(load_add_add, THEN_ADD)
TWINS_OF_THREE(load_add_add_relu, ADD_RELU)

/* The last operation and the last store. */
#define LAST(name, SETUP, F)                                                                                                \
    BODY(name)                                                                                                              \
    {                                                                                                                       \
        SETUP;                                                                                                              \
        WIDE(k, 0);                                                                                                         \
        EIGHT(F, AT_WIDE)                                                                                                   \
        AGAIN()                                                                                                             \
    }                                                                                                                       \
    BODY(name##_n)                                                                                                          \
    {                                                                                                                       \
        SETUP;                                                                                                              \
        EIGHT(F##_HERE, )                                                                                                   \
        CALL(store_f32_end_n);                                                                                              \
    }
#define BOUNDS const vf lo = v_set(q->imm[0]), hi = v_set(q->imm[1])
#define RELU_STORE(reg, i, AT) reg = op_relu(reg), v_store(FLOATS(AT(k, i)), reg);
#define CLIP_STORE(reg, i, AT) reg = op_clip(reg, lo, hi), v_store(FLOATS(AT(k, i)), reg);
#define NEG_STORE(reg, i, AT) reg = v_neg(reg), v_store(FLOATS(AT(k, i)), reg);
#define RELU_STORE_HERE(reg, i, AT) reg = op_relu(reg);
#define CLIP_STORE_HERE(reg, i, AT) reg = op_clip(reg, lo, hi);
#define NEG_STORE_HERE(reg, i, AT) reg = v_neg(reg);
LAST(relu_store_end, (void)0, RELU_STORE)
LAST(clip_store_end, BOUNDS, CLIP_STORE)
LAST(neg_store_end, (void)0, NEG_STORE)

/* Powers of positive normal numbers to moderate exponents; anything else is the scalar reference's, the whole chunk. */
#define POW_CHECK(reg, i, AT) odd |= v_any(op_pow_odd(reg, v_load(FLOATS(AT(k, i)))));
#define POW_DO(reg, i, AT) reg = v_pow_positive(reg, v_load(FLOATS(AT(k, i))));
TENON_INLINE vm op_pow_odd(vf u, vf v)
{
    const vm good = v_both(v_both(v_le(v_set(1.17549435e-38f), u), v_le(u, v_set(3.402823466e38f))),
                           v_le(v_abs(v), v_set(1048576.0f)));
    return v_not(good);
}
BODY(pow_mem)
{
    int odd = 0;
    STEPPED(k, 0);
    EIGHT(POW_CHECK, AT_STEP)
    if (TENON_UNLIKELY(odd)) {
        kq->p = k0;
        CALL(call2);
        return;
    }
    EIGHT(POW_DO, AT_STEP)
    NEXT(2, 1);
}

/* ---- three operands ---- */
#define WHERE(reg, i, AT) reg = v_sel(op_truth(reg), v_load(FLOATS(AT(k, i))), v_load(FLOATS(AT(m, i))));
#define CLIP(reg, i, AT) reg = op_min(op_max(reg, v_load(FLOATS(AT(k, i)))), v_load(FLOATS(AT(m, i))));
TWINS_OF_TWO(where_mem, WHERE)
TWINS_OF_TWO(clip_mem, CLIP)

/* ---- the table ---- */
#define ANY(fn) ((tenon_pw_any)(fn))
static const tenon_pw_row rows[] = {
    { .name = "abs", .arity = 1, .body = ANY(abs_) },
    { .name = "neg", .arity = 1, .body = ANY(neg_) },
    { .name = "relu", .arity = 1, .body = ANY(relu_) },
    { .name = "sign", .arity = 1, .body = ANY(sign_) },
    { .name = "sqrt", .arity = 1, .body = ANY(sqrt_) },
    { .name = "rsqrt", .arity = 1, .body = ANY(rsqrt_) },
    { .name = "reciprocal", .arity = 1, .body = ANY(reciprocal_) },
    { .name = "floor", .arity = 1, .body = ANY(floor_) },
    { .name = "ceil", .arity = 1, .body = ANY(ceil_) },
    { .name = "round", .arity = 1, .body = ANY(round_) },
    { .name = "softsign", .arity = 1, .body = ANY(softsign_) },
    { .name = "hard_swish", .arity = 1, .body = ANY(hard_swish_) },
    { .name = "is_nan", .arity = 1, .body = ANY(is_nan_) },
    { .name = "not", .arity = 1, .body = ANY(not_) },
    { .name = "exp", .arity = 1, .body = ANY(exp_) },
    { .name = "log", .arity = 1, .body = ANY(log_) },
    { .name = "erf", .arity = 1, .body = ANY(erf_) },
    { .name = "sigmoid", .arity = 1, .body = ANY(sigmoid_) },
    { .name = "tanh", .arity = 1, .body = ANY(tanh_) },
    { .name = "softplus", .arity = 1, .body = ANY(softplus_) },
    { .name = "mish", .arity = 1, .body = ANY(mish_) },
    { .name = "gelu", .arity = 1, .body = ANY(gelu_) },
    { .name = "gelu_tanh", .arity = 1, .body = ANY(gelu_tanh_) },
    { .name = "sin", .arity = 1, .params = TENON_PW_GUARDED, .body = ANY(sin_) },
    { .name = "cos", .arity = 1, .params = TENON_PW_GUARDED, .body = ANY(cos_) },
    { .name = "tan", .arity = 1, .params = TENON_PW_GUARDED, .body = ANY(tan_) },
    { .name = "elu", .arity = 1, .params = 1, .body = ANY(elu_) },
    { .name = "celu", .arity = 1, .params = 1, .body = ANY(celu_) },
    { .name = "selu", .arity = 1, .params = 2, .body = ANY(selu_) },
    { .name = "leaky_relu", .arity = 1, .params = 1, .body = ANY(leaky_relu_) },
    { .name = "hard_sigmoid", .arity = 1, .params = 2, .body = ANY(hard_sigmoid_) },
    { .name = "thresholded_relu", .arity = 1, .params = 1, .body = ANY(thresholded_relu_) },
    { .name = "silu", .arity = 1, .params = 1, .body = ANY(silu_) },
    { .name = "is_inf", .arity = 1, .params = 2, .body = ANY(is_inf_) },
    { .name = "round_f16", .arity = 1, .body = ANY(round_f16_) },        /* of the compiler: casts inside a program */
    { .name = "round_bf16", .arity = 1, .body = ANY(round_bf16_) },
    { .name = "square", .arity = 1, .body = ANY(square_) },              /* of the compiler: x * x, pow(x, 2) */
    { .name = "add", .arity = 2, .body = ANY(add_mem), .splat = ANY(add_splat), .imm = ANY(add_imm), .body_r = ANY(add_mem),
      .splat_r = ANY(add_splat), .imm_r = ANY(add_imm) },
    { .name = "sub", .arity = 2, .body = ANY(sub_mem), .splat = ANY(sub_splat), .imm = ANY(sub_imm), .body_r = ANY(sub_mem_r),
      .splat_r = ANY(sub_splat_r), .imm_r = ANY(sub_imm_r) },
    { .name = "mul", .arity = 2, .body = ANY(mul_mem), .splat = ANY(mul_splat), .imm = ANY(mul_imm), .body_r = ANY(mul_mem),
      .splat_r = ANY(mul_splat), .imm_r = ANY(mul_imm) },
    { .name = "div", .arity = 2, .body = ANY(div_mem), .splat = ANY(div_splat), .imm = ANY(div_imm), .body_r = ANY(div_mem_r),
      .splat_r = ANY(div_splat_r), .imm_r = ANY(div_imm_r) },
    { .name = "min", .arity = 2, .body = ANY(min_mem), .splat = ANY(min_splat), .imm = ANY(min_imm), .body_r = ANY(min_mem),
      .splat_r = ANY(min_splat), .imm_r = ANY(min_imm) },
    { .name = "max", .arity = 2, .body = ANY(max_mem), .splat = ANY(max_splat), .imm = ANY(max_imm), .body_r = ANY(max_mem),
      .splat_r = ANY(max_splat), .imm_r = ANY(max_imm) },
    { .name = "prelu", .arity = 2, .body = ANY(prelu_mem), .splat = ANY(prelu_splat) },
    { .name = "equal", .arity = 2, .body = ANY(equal_mem), .imm = ANY(equal_imm), .body_r = ANY(equal_mem),
      .imm_r = ANY(equal_imm) },
    { .name = "less", .arity = 2, .body = ANY(less_mem), .imm = ANY(less_imm), .body_r = ANY(greater_mem),
      .imm_r = ANY(greater_imm) },
    { .name = "less_or_equal", .arity = 2, .body = ANY(less_or_equal_mem), .imm = ANY(less_or_equal_imm),
      .body_r = ANY(greater_or_equal_mem), .imm_r = ANY(greater_or_equal_imm) },
    { .name = "greater", .arity = 2, .body = ANY(greater_mem), .imm = ANY(greater_imm), .body_r = ANY(less_mem),
      .imm_r = ANY(less_imm) },
    { .name = "greater_or_equal", .arity = 2, .body = ANY(greater_or_equal_mem), .imm = ANY(greater_or_equal_imm),
      .body_r = ANY(less_or_equal_mem), .imm_r = ANY(less_or_equal_imm) },
    { .name = "and", .arity = 2, .body = ANY(and_mem), .body_r = ANY(and_mem) },
    { .name = "or", .arity = 2, .body = ANY(or_mem), .body_r = ANY(or_mem) },
    { .name = "xor", .arity = 2, .body = ANY(xor_mem), .body_r = ANY(xor_mem) },
    { .name = "pow", .arity = 2, .params = TENON_PW_GUARDED, .body = ANY(pow_mem) },
    { .name = "where", .arity = 3, .body = ANY(where_mem) },
    { .name = "clip", .arity = 3, .body = ANY(clip_mem) },
    { .name = NULL },
};

#define TWIN(name) { ANY(name), ANY(name##_n) }
static const struct tenon_pw_twins twins[] = {
    TWIN(load_f32), TWIN(store_f32), TWIN(store_f32_end), TWIN(load_add), TWIN(load_add_add), TWIN(load_add_add_relu),
    TWIN(add_relu), TWIN(add_mem), TWIN(sub_mem),
    TWIN(sub_mem_r), TWIN(mul_mem), TWIN(div_mem), TWIN(min_mem), TWIN(max_mem), TWIN(where_mem), TWIN(clip_mem),
    TWIN(relu_store_end), TWIN(clip_store_end), TWIN(neg_store_end), { NULL, NULL },
};

static const struct tenon_pw_last lasts[] = {
    { ANY(relu_), ANY(relu_store_end) }, { ANY(clip_imm), ANY(clip_store_end) }, { ANY(neg_), ANY(neg_store_end) },
    { NULL, NULL },
};

#include "cpu/pw_loops.h"

const tenon_pw_bodies V_NAME(tenon_pw_bodies) = {
    .width = VW,
    .load = { [TENON_F32] = ANY(load_f32), [TENON_F16] = ANY(load_f16), [TENON_BF16] = ANY(load_bf16), [TENON_I8] = ANY(load_i8),
              [TENON_U8] = ANY(load_u8), [TENON_BOOL] = ANY(load_u8), [TENON_I16] = ANY(load_i16), [TENON_U16] = ANY(load_u16),
              [TENON_I32] = ANY(load_i32), [TENON_U32] = ANY(load_u32) },
    .stage = { [TENON_F16] = ANY(stage_f16), [TENON_BF16] = ANY(stage_bf16), [TENON_I8] = ANY(stage_i8),
               [TENON_U8] = ANY(stage_u8),
               [TENON_BOOL] = ANY(stage_u8), [TENON_I16] = ANY(stage_i16), [TENON_U16] = ANY(stage_u16),
               [TENON_I32] = ANY(stage_i32),
               [TENON_U32] = ANY(stage_u32) },
    .store = { [TENON_F32] = ANY(store_f32), [TENON_F16] = ANY(store_f16), [TENON_BF16] = ANY(store_bf16),
               [TENON_I8] = ANY(store_i8),
               [TENON_U8] = ANY(store_u8), [TENON_BOOL] = ANY(store_bool), [TENON_I16] = ANY(store_i16),
               [TENON_U16] = ANY(store_u16) },
    .load_any = ANY(load_any), .stage_any = ANY(stage_any), .store_any = ANY(store_any), .load_splat = ANY(load_splat),
    .stage_splat = ANY(stage_splat), .load_imm = ANY(load_imm), .stage_imm = ANY(stage_imm), .load_temp = ANY(load_temp),
    .load_add = ANY(load_add), .load_add_add = ANY(load_add_add), .load_add_add_relu = ANY(load_add_add_relu),
    .affine_imm = ANY(affine_imm), .affine_clip = ANY(affine_clip),
    .twins = twins, .lasts = lasts,
    .add_relu = ANY(add_relu), .store_f32_end = ANY(store_f32_end), .clip_imm = ANY(clip_imm),
    .add_mem = ANY(add_mem), .min_imm = ANY(min_imm), .max_imm = ANY(max_imm), .mul_imm = ANY(mul_imm), .add_imm = ANY(add_imm),
        .relu = ANY(relu_),
    .spill = ANY(spill), .end = ANY(end), .call = { ANY(call1), ANY(call2), ANY(call3) }, .row = rows, .run = run_rows,
};

#endif
