/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of float vectors in the words of vec_<isa>.h: a few ulp, NaN and infinities as the scalar references have them.
   exp: a table of 2^(j/16) and a cubic, since that needs the fewest instructions. erf and gelu: 1 - erf is exp of a
   polynomial, which keeps the relative precision of the tail. Polynomials are minimax fits; the reductions of log, tanh, sin
   and cos are Cody and Waite's. */
#ifndef TENON_CPU_VEC_MATH_H
#define TENON_CPU_VEC_MATH_H

static const float exp2_sixteenth[16] TENON_ALIGNED(64) = {
    1.0f, 1.04427378242741384f, 1.09050773266525766f, 1.13878863475669165f, 1.18920711500272107f, 1.24185781207348405f,
    1.29683955465100967f, 1.35425554693689273f, 1.41421356237309505f, 1.47682614593949931f, 1.54221082540794082f,
    1.61049033194925431f, 1.68179283050742909f, 1.75625216037329948f, 1.83400808640934246f, 1.91520656139714729f };

/* e^x * (1 + more) for a small `more`, so that callers with two-part exponents lose nothing. */
TENON_INLINE vf v_exp_more(vf x, vf more)
{
    x = v_min(v_set(89.0f), v_max(v_set(-104.0f), x)); /* bounds first: NaN stays */
    const vf magic = v_set(786432.0f);                 /* 1.5 * 2^19: its ulp is 1/16 */
    const vf t = v_fma(x, v_set(1.44269504f), magic);
    const vf n = v_sub(t, magic);
    const vf r = v_add(v_fma(n, v_set(2.12194440e-4f), v_fma(n, v_set(-0.693359375f), x)), more);
    vf p = v_fma(r, v_set(1.6666667e-1f), v_set(0.5f));
    p = v_fma(p, v_mul(r, r), r);
    const vf s = v_lookup16(exp2_sixteenth, t);
    return v_scale(v_fma(s, p, s), n);
}
TENON_INLINE vf v_exp(vf x)
{
    x = v_min(v_set(89.0f), v_max(v_set(-104.0f), x));
    const vf magic = v_set(786432.0f);
    const vf t = v_fma(x, v_set(1.44269504f), magic);
    const vf n = v_sub(t, magic);
    const vf r = v_fma(n, v_set(2.12194440e-4f), v_fma(n, v_set(-0.693359375f), x));
    vf p = v_fma(r, v_set(1.6666667e-1f), v_set(0.5f));
    p = v_fma(p, v_mul(r, r), r);
    const vf s = v_lookup16(exp2_sixteenth, t);
    return v_scale(v_fma(s, p, s), n);
}
/* e^x - 1 for x <= 0: a series near zero, where exp - 1 would cancel. */
TENON_INLINE vf v_expm1_neg(vf x)
{
    vf p = v_fma(x, v_set(1.98412698e-4f), v_set(1.38888889e-3f));
    p = v_fma(p, x, v_set(8.33333333e-3f));
    p = v_fma(p, x, v_set(4.16666667e-2f));
    p = v_fma(p, x, v_set(1.66666667e-1f));
    p = v_fma(p, x, v_set(0.5f));
    p = v_fma(v_mul(p, x), x, x);
    return v_sel(v_lt(v_set(-0.35f), x), p, v_sub(v_exp(x), v_set(1.0f)));
}

/* e ln 2 + log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)), as f - f^2/2 + f^3 P(f) */
TENON_INLINE vf v_log_parts(vf f, vf e)
{
    const vf z = v_mul(f, f);
    vf p = v_fma(v_set(7.0376836292e-2f), f, v_set(-1.1514610310e-1f));
    p = v_fma(p, f, v_set(1.1676998740e-1f));
    p = v_fma(p, f, v_set(-1.2420140846e-1f));
    p = v_fma(p, f, v_set(1.4249322787e-1f));
    p = v_fma(p, f, v_set(-1.6668057665e-1f));
    p = v_fma(p, f, v_set(2.0000714765e-1f));
    p = v_fma(p, f, v_set(-2.4999993993e-1f));
    p = v_fma(p, f, v_set(3.3333331174e-1f));
    p = v_mul(v_mul(p, f), z);
    p = v_fma(e, v_set(-2.12194440e-4f), p);
    p = v_fma(z, v_set(-0.5f), p);
    return v_fma(e, v_set(0.693359375f), v_add(f, p));
}
/* Splits a positive normal x into 2^e * m, m in [sqrt(1/2), sqrt(2)). */
TENON_INLINE vf v_split(vf x, vf *e)
{
    const vi k = vi_shr(vi_sub(vi_of(x), vi_set(0x3f3504f3)), 23);
    *e = vi_float(k);
    return vi_as(vi_sub(vi_of(x), vi_shl(k, 23)));
}
TENON_INLINE vf v_log(vf x)
{
    const vm tiny = v_lt(x, v_set(1.17549435e-38f));
    vf e;
    const vf m = v_split(v_sel(tiny, v_mul(x, v_set(8388608.0f)), x), &e);
    e = v_sub(e, v_keep(tiny, v_set(23.0f)));
    vf y = v_log_parts(v_sub(m, v_set(1.0f)), e);
    y = v_sel(v_le(x, v_set(3.402823466e38f)), y, v_add(x, x)); /* infinity and NaN stay */
    y = v_sel(v_lt(x, v_zero()), v_bits(0x7fc00000), y);
    return v_sel(v_eq(x, v_zero()), v_bits((int32_t)0xff800000), y);
}
/* log(1 + x), x in [0, 1] */
TENON_INLINE vf v_log1p_unit(vf x)
{
    const vf u = v_add(x, v_set(1.0f));
    const vf lost = v_sub(x, v_sub(u, v_set(1.0f)));
    vf e;
    const vf m = v_split(u, &e);
    return v_add(v_log_parts(v_sub(m, v_set(1.0f)), e), v_div(lost, u));
}

TENON_INLINE vf v_neg(vf x) { return v_xor(x, v_set(-0.0f)); }
TENON_INLINE vf v_sigmoid(vf x) { return v_div(v_set(1.0f), v_add(v_set(1.0f), v_exp(v_neg(x)))); }
TENON_INLINE vf v_silu(vf x, vf alpha) { return v_div(x, v_add(v_set(1.0f), v_exp(v_neg(v_mul(alpha, x))))); }
TENON_INLINE vf v_tanh(vf x)
{
    const vf t = v_abs(x), z = v_mul(x, x);
    vf p = v_fma(v_set(-5.70498872745e-3f), z, v_set(2.06390887954e-2f));
    p = v_fma(p, z, v_set(-5.37397155531e-2f));
    p = v_fma(p, z, v_set(1.33314422036e-1f));
    p = v_fma(p, z, v_set(-3.33332819422e-1f));
    p = v_fma(v_mul(p, z), x, x);
    const vf big = v_sub(v_set(1.0f), v_div(v_set(2.0f), v_add(v_exp(v_add(t, t)), v_set(1.0f))));
    return v_sel(v_lt(t, v_set(0.625f)), p, v_or(big, v_and(x, v_set(-0.0f))));
}
TENON_INLINE vf v_softplus(vf x)
{
    const vf y = v_log1p_unit(v_exp(v_neg(v_abs(x))));
    return v_add(v_max(v_zero(), x), y);
}
/* x tanh(log(1 + e)) = x n / (n + 2) with n = e (e + 2) */
TENON_INLINE vf v_mish(vf x)
{
    const vf e = v_exp(v_min(v_set(20.0f), x));
    const vf n = v_mul(e, v_add(e, v_set(2.0f)));
    return v_mul(x, v_div(n, v_add(n, v_set(2.0f))));
}
TENON_INLINE vf v_erf(vf x)
{
    const vf t = v_min(v_set(4.0f), v_abs(x)), z = v_mul(x, x);
    vf p = v_fma(v_set(7.854008435970172e-05f), z, v_set(-8.010242017917335e-04f));
    p = v_fma(p, z, v_set(5.188333801925182e-03f));
    p = v_fma(p, z, v_set(-2.6853814721107483e-02f));
    p = v_fma(p, z, v_set(1.128358542919159e-01f));
    p = v_fma(p, z, v_set(-3.761262595653534e-01f));
    p = v_fma(p, z, v_set(1.2837916612625122e-01f));
    p = v_fma(p, x, x);
    vf q = v_fma(v_set(-1.8638005713e-04f), t, v_set(2.947666449472308e-03f)); /* -log(1 - erf(t)) - t */
    q = v_fma(q, t, v_set(-2.1838095039129257e-02f));
    q = v_fma(q, t, v_set(1.0310681909322739e-01f));
    q = v_fma(q, t, v_set(6.381447315216064e-01f));
    q = v_fma(q, t, v_set(1.270892322063446e-01f));
    q = v_fma(q, t, v_set(3.4151296131312847e-04f));
    const vf big = v_sub(v_set(1.0f), v_exp(v_neg(v_add(q, t))));
    return v_sel(v_lt(t, v_set(1.0f)), p, v_or(big, v_and(x, v_set(-0.0f))));
}
/* x Phi(x); Phi(-t) = exp(-t Q(t)) / 2. Where the square of the tail underflows Q only has to grow. */
TENON_INLINE vf v_gelu(vf x)
{
    const vf t = v_min(v_set(14.0f), v_abs(x));
    vf q = v_fma(v_set(1.4931636371784407e-08f), t, v_set(-4.5936306491967116e-07f));
    q = v_fma(q, t, v_set(6.075317742215702e-06f));
    q = v_fma(q, t, v_set(-4.3698164517991245e-05f));
    q = v_fma(q, t, v_set(1.6046746168285608e-04f));
    q = v_fma(q, t, v_set(7.195368380052969e-05f));
    q = v_fma(q, t, v_set(-4.906163550913334e-03f));
    q = v_fma(q, t, v_set(3.641249239444733e-02f));
    q = v_fma(q, t, v_set(3.182869255542755e-01f));
    q = v_fma(q, t, v_set(7.978869080543518e-01f));
    const vf h = v_mul(v_set(0.5f), v_exp(v_neg(v_mul(q, t))));
    return v_mul(x, v_sel(v_lt(x, v_zero()), h, v_sub(v_set(1.0f), h)));
}
TENON_INLINE vf v_gelu_tanh(vf x)
{
    const vf u = v_mul(x, v_fma(v_mul(x, x), v_set(-2.0f * 0.79788456080286536f * 0.044715f),
                                v_set(-2.0f * 0.79788456080286536f)));
    return v_div(x, v_add(v_set(1.0f), v_exp(u)));
}
TENON_INLINE vf v_hard_swish(vf x)
{
    const vf s = v_max(v_min(v_fma(x, v_set(1.0f / 6.0f), v_set(0.5f)), v_set(1.0f)), v_zero());
    return v_mul(x, s);
}

/* sin and cos for |x| <= V_TRIG_MAX; `quarter` 0 for sin, 1 for cos. Larger arguments are the scalar reference's. */
#define V_TRIG_MAX 30000.0f
TENON_INLINE void v_trig_reduce(vf x, vi *k, vf *s, vf *c)
{
    *k = vi_round(v_mul(x, v_set(0.636619772f)));
    const vf n = vi_float(*k);
    vf r = v_fnma(n, v_set(1.57079637e+0f), x);
    r = v_fnma(n, v_set(-4.37113883e-8f), r);
    r = v_fnma(n, v_set(-1.71512489e-15f), r);
    const vf z = v_mul(r, r);
    vf p = v_fma(v_set(-1.9515295891e-4f), z, v_set(8.3321608736e-3f));
    p = v_fma(p, z, v_set(-1.6666654611e-1f));
    *s = v_fma(v_mul(p, z), r, r);
    vf q = v_fma(v_set(2.443315711809948e-5f), z, v_set(-1.388731625493765e-3f));
    q = v_fma(q, z, v_set(4.166664568298827e-2f));
    *c = v_fma(v_mul(q, z), z, v_fma(z, v_set(-0.5f), v_set(1.0f)));
}
TENON_INLINE vf v_sincos(vf x, int32_t quarter)
{
    vi k;
    vf s, c;
    v_trig_reduce(x, &k, &s, &c);
    k = vi_add(k, vi_set(quarter));
    const vm odd = v_ne(vi_float(vi_and(k, vi_set(1))), v_zero());
    const vf sign = vi_as(vi_shl(vi_and(k, vi_set(2)), 30));
    return v_xor(v_sel(odd, c, s), sign);
}
TENON_INLINE vf v_sin(vf x) { return v_sel(v_eq(x, v_zero()), x, v_sincos(x, 0)); }
TENON_INLINE vf v_cos(vf x) { return v_sincos(x, 1); }
TENON_INLINE vf v_tan(vf x)
{
    vi k;
    vf s, c;
    v_trig_reduce(x, &k, &s, &c);
    const vm odd = v_ne(vi_float(vi_and(k, vi_set(1))), v_zero());
    return v_sel(v_eq(x, v_zero()), x, v_sel(odd, v_neg(v_div(c, s)), v_div(s, c)));
}

/* x^y for normal finite x > 0: log(x) in two floats (atanh series of s = (m-1)/(m+1), its rounding error kept), times y, then
   exp. */
TENON_INLINE vf v_pow_positive(vf x, vf y)
{
    vf e;
    const vf m = v_split(x, &e);
    const vf num = v_sub(m, v_set(1.0f)), den = v_add(m, v_set(1.0f)); /* num is exact */
    const vf den_lost = v_sub(m, v_sub(den, v_set(1.0f)));
    const vf s = v_div(num, den);
    const vf s_lost = v_div(v_fnma(s, den_lost, v_fnma(s, den, num)), den);
    const vf z = v_mul(s, s);
    vf p = v_fma(z, v_set(2.0f / 9.0f), v_set(2.0f / 7.0f));
    p = v_fma(p, z, v_set(2.0f / 5.0f));
    p = v_fma(p, z, v_set(2.0f / 3.0f));
    p = v_mul(v_mul(p, z), s);
    /* e ln2 + 2 s: the parts of ln2 are short enough for exact products */
    const vf a = v_mul(e, v_set(0.693359375f)), b = v_add(s, s);
    const vf hi = v_add(a, b);
    const vf back = v_sub(hi, a);
    const vf hi_lost = v_add(v_sub(a, v_sub(hi, back)), v_sub(b, back));
    const vf lo = v_add(hi_lost, v_add(v_fma(e, v_set(-2.12194440e-4f), p), v_add(s_lost, s_lost)));
    const vf sum = v_add(hi, lo);
    const vf rest = v_add(v_sub(hi, sum), lo);
    const vf w = v_mul(y, sum);
    const vf w_lost = v_fma(y, rest, v_sub(v_zero(), v_fnma(y, sum, w)));
    const vm fits = v_lt(v_abs(w), v_set(104.0f));
    return v_exp_more(w, v_keep(fits, w_lost));
}

#endif
