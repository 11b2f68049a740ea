/* SPDX-License-Identifier: Apache-2.0 */
/* Row kernels over the words of vec_<isa>.h. Sums run in four vectors; the last vector of a row is masked, its other lanes
   hold what the operation ignores. */
#ifndef TENON_CPU_ROWS_F32_KERNEL_H
#define TENON_CPU_ROWS_F32_KERNEL_H

#include "cpu/rows_f32.h"
#include "cpu/vec_math.h"

#define NOTHING v_bits((int32_t)0xff800000) /* -infinity */

TENON_INLINE vf fold_start(tenon_fold kind)
{
    return kind == TENON_FOLD_MAX ? NOTHING : kind == TENON_FOLD_MIN ? v_bits(0x7f800000) : v_zero();
}
TENON_INLINE vf fold_step(tenon_fold kind, vf m, vf x)
{
    if (kind == TENON_FOLD_SUM) return v_add(m, x);
    if (kind == TENON_FOLD_MAX) return v_max(x, m); /* m where x is a NaN */
    if (kind == TENON_FOLD_MIN) return v_min(x, m);
    if (kind == TENON_FOLD_SQUARE) return v_fma(x, x, m);
    return v_add(m, v_abs(x));
}
TENON_INLINE vf fold_join(tenon_fold kind, vf a, vf b)
{
    return kind == TENON_FOLD_MAX ? v_max(a, b) : kind == TENON_FOLD_MIN ? v_min(a, b) : v_add(a, b);
}
TENON_INLINE float fold_row(tenon_fold kind, const float *x, int64_t n)
{
    vf a = fold_start(kind), b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 4 * VW <= n; i += 4 * VW) {
        a = fold_step(kind, a, v_load(x + i));
        b = fold_step(kind, b, v_load(x + i + VW));
        c = fold_step(kind, c, v_load(x + i + 2 * VW));
        d = fold_step(kind, d, v_load(x + i + 3 * VW));
    }
    for (; i + VW <= n; i += VW) a = fold_step(kind, a, v_load(x + i));
    if (i < n) b = fold_step(kind, b, v_sel(v_first(n - i), v_load_n(x + i, n - i), fold_start(kind)));
    a = fold_join(kind, fold_join(kind, a, b), fold_join(kind, c, d));
    return kind == TENON_FOLD_MAX ? v_hmax(a) : kind == TENON_FOLD_MIN ? v_hmin(a) : v_hsum(a);
}
#define BY_KIND(call)                                                                                                       \
    switch (kind) {                                                                                                         \
    case TENON_FOLD_SUM: call(TENON_FOLD_SUM) break;                                                                        \
    case TENON_FOLD_MAX: call(TENON_FOLD_MAX) break;                                                                        \
    case TENON_FOLD_MIN: call(TENON_FOLD_MIN) break;                                                                        \
    case TENON_FOLD_SQUARE: call(TENON_FOLD_SQUARE) break;                                                                  \
    case TENON_FOLD_ABS: call(TENON_FOLD_ABS) break;                                                                        \
    }
static float fold(tenon_fold kind, const float *x, int64_t n)
{
    float y = 0;
#define ROW(k) y = fold_row(k, x, n);
    BY_KIND(ROW)
    v_leave();
    return y;
}

static float dot(const float *x, const float *y, int64_t n)
{
    vf a = v_zero(), b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 4 * VW <= n; i += 4 * VW) {
        a = v_fma(v_load(x + i), v_load(y + i), a);
        b = v_fma(v_load(x + i + VW), v_load(y + i + VW), b);
        c = v_fma(v_load(x + i + 2 * VW), v_load(y + i + 2 * VW), c);
        d = v_fma(v_load(x + i + 3 * VW), v_load(y + i + 3 * VW), d);
    }
    for (; i < n; i += VW) {
        const int64_t left = n - i < VW ? n - i : VW;
        a = v_fma(v_load_n(x + i, left), v_load_n(y + i, left), a);
    }
    const float sum = v_hsum(v_add(v_add(a, b), v_add(c, d)));
    v_leave();
    return sum;
}

TENON_INLINE void fold_columns(tenon_fold kind, const float *x, int64_t step, int64_t n, float *y, int64_t cols)
{
    int64_t c = 0;
    for (; c + 4 * VW <= cols; c += 4 * VW) {
        vf a = fold_start(kind), b = a, d = a, e = a;
        const float *p = x + c;
        for (int64_t i = 0; i < n; i++, p += step) {
            a = fold_step(kind, a, v_load(p));
            b = fold_step(kind, b, v_load(p + VW));
            d = fold_step(kind, d, v_load(p + 2 * VW));
            e = fold_step(kind, e, v_load(p + 3 * VW));
        }
        v_store(y + c, a);
        v_store(y + c + VW, b);
        v_store(y + c + 2 * VW, d);
        v_store(y + c + 3 * VW, e);
    }
    for (; c < cols; c += VW) {
        const int64_t left = cols - c < VW ? cols - c : VW;
        vf a = fold_start(kind), b = a, d = a, e = a;
        const float *p = x + c;
        int64_t i = 0;
        for (; i + 4 <= n; i += 4, p += 4 * step) {
            a = fold_step(kind, a, v_load_n(p, left));
            b = fold_step(kind, b, v_load_n(p + step, left));
            d = fold_step(kind, d, v_load_n(p + 2 * step, left));
            e = fold_step(kind, e, v_load_n(p + 3 * step, left));
        }
        for (; i < n; i++, p += step) a = fold_step(kind, a, v_load_n(p, left));
        v_store_n(y + c, fold_join(kind, fold_join(kind, a, b), fold_join(kind, d, e)), left);
    }
}
static void fold_cols(tenon_fold kind, const float *x, int64_t step, int64_t n, float *y, int64_t cols)
{
#define COLUMNS(k) fold_columns(k, x, step, n, y, cols);
    BY_KIND(COLUMNS)
    v_leave();
}

TENON_INLINE void window_of(tenon_fold kind, const float *const *tap, int64_t taps, float scale, float *y, int64_t cols)
{
    const vf s = v_set(scale);
    for (int64_t c = 0; c < cols; c += VW) {
        const int64_t left = cols - c < VW ? cols - c : VW;
        vf a = fold_start(kind);
        if (left == VW) {
            for (int64_t t = 0; t < taps; t++) a = fold_step(kind, a, v_load(tap[t] + c));
            v_store(y + c, kind == TENON_FOLD_SUM ? v_mul(a, s) : a);
        } else {
            for (int64_t t = 0; t < taps; t++) a = fold_step(kind, a, v_load_n(tap[t] + c, left));
            v_store_n(y + c, kind == TENON_FOLD_SUM ? v_mul(a, s) : a, left);
        }
    }
}
static void window(tenon_fold kind, const float *const *tap, int64_t taps, float scale, float *y, int64_t cols)
{
    if (kind == TENON_FOLD_MAX) window_of(TENON_FOLD_MAX, tap, taps, scale, y, cols);
    else window_of(TENON_FOLD_SUM, tap, taps, scale, y, cols);
    v_leave();
}

static void scale_shift(const float *x, float *y, int64_t n, float scale, float shift)
{
    const vf s = v_set(scale), t = v_set(shift);
    int64_t i = 0;
    for (; i + VW <= n; i += VW) v_store(y + i, v_fma(v_load(x + i), s, t));
    if (i < n) v_store_n(y + i, v_fma(v_load_n(x + i, n - i), s, t), n - i);
    v_leave();
}
static void scale_shift_cols(const float *x, float *y, int64_t n, const float *scale, const float *shift)
{
    int64_t i = 0;
    for (; i + VW <= n; i += VW) v_store(y + i, v_fma(v_load(x + i), v_load(scale + i), v_load(shift + i)));
    if (i < n) {
        const int64_t left = n - i;
        v_store_n(y + i, v_fma(v_load_n(x + i, left), v_load_n(scale + i, left), v_load_n(shift + i, left)), left);
    }
    v_leave();
}
static void blend4(const float *const *tap, const float *weight, float *y, int64_t cols)
{
    const vf w0 = v_set(weight[0]), w1 = v_set(weight[1]), w2 = v_set(weight[2]), w3 = v_set(weight[3]);
    for (int64_t c = 0; c < cols; c += VW) {
        const int64_t left = cols - c < VW ? cols - c : VW;
        vf a = v_mul(w0, v_load_n(tap[0] + c, left));
        a = v_fma(w1, v_load_n(tap[1] + c, left), a);
        a = v_fma(w2, v_load_n(tap[2] + c, left), a);
        a = v_fma(w3, v_load_n(tap[3] + c, left), a);
        v_store_n(y + c, a, left);
    }
    v_leave();
}

/* ---- softmax ---- */
TENON_INLINE float weigh_row(const float *x, const float *mask, float scale, float *y, int64_t n)
{
    const vf s = v_set(scale);
    vf m = NOTHING, m2 = m;
    int64_t i = 0;
    if (mask) { /* scores with the mask go to y, then as without */
        for (; i < n; i += VW) {
            const int64_t left = n - i < VW ? n - i : VW;
            const vf v = v_fma(v_load_n(x + i, left), s, v_load_n(mask + i, left));
            v_store_n(y + i, v, left);
            m = v_max(v_sel(v_first(left), v, NOTHING), m);
        }
    } else {
        for (; i + 2 * VW <= n; i += 2 * VW) m = v_max(v_load(x + i), m), m2 = v_max(v_load(x + i + VW), m2);
        for (; i < n; i += VW) {
            const int64_t left = n - i < VW ? n - i : VW;
            m = v_max(v_sel(v_first(left), v_load_n(x + i, left), NOTHING), m);
        }
    }
    const float max = v_hmax(v_max(m, m2));
    const float *from = mask ? y : x;
    if (max == -__builtin_inff()) { /* the maximum passes over NaN */
        for (i = 0; i < n; i++)
            if (from[i] != from[i]) return __builtin_nanf("");
        return 0.0f;
    }
    /* the difference first: a product of the maximum would be rounded, which large scores feel */
    const vf f = v_set(mask ? 1.0f : scale), t = v_set(max);
    vf sum = v_zero(), sum2 = sum;
    for (i = 0; i + 2 * VW <= n; i += 2 * VW) {
        const vf e0 = v_exp(v_mul(v_sub(v_load(from + i), t), f)), e1 = v_exp(v_mul(v_sub(v_load(from + i + VW), t), f));
        v_store(y + i, e0);
        v_store(y + i + VW, e1);
        sum = v_add(sum, e0);
        sum2 = v_add(sum2, e1);
    }
    for (; i < n; i += VW) {
        const int64_t left = n - i < VW ? n - i : VW;
        const vf e = v_keep(v_first(left), v_exp(v_mul(v_sub(v_load_n(from + i, left), t), f)));
        v_store_n(y + i, e, left);
        sum = v_add(sum, e);
    }
    return 1.0f / v_hsum(v_add(sum, sum2));
}
static float weigh(const float *x, const float *mask, float scale, float *y, int64_t n)
{
    const float r = weigh_row(x, mask, scale, y, n);
    v_leave();
    return r;
}
static void softmax(const float *x, float *y, int64_t n)
{
    const float r = weigh_row(x, 0, 1.0f, y, n);
    if (r == 0.0f) { /* nothing but -infinity: 0 / 0, as the reference has it */
        for (int64_t i = 0; i < n; i++) y[i] = __builtin_nanf("");
        v_leave();
        return;
    }
    scale_shift(y, y, n, r, 0.0f);
}
static void softmax_cols(const float *x, int64_t x_step, float *y, int64_t y_step, int64_t n, int64_t cols)
{
    for (int64_t c = 0; c < cols; c += VW) {
        const int64_t left = cols - c < VW ? cols - c : VW;
        vf m = NOTHING, sum = v_zero();
        for (int64_t i = 0; i < n; i++) m = v_max(v_load_n(x + i * x_step + c, left), m);
        for (int64_t i = 0; i < n; i++) {
            const vf e = v_exp(v_sub(v_load_n(x + i * x_step + c, left), m));
            v_store_n(y + i * y_step + c, e, left);
            sum = v_add(sum, e);
        }
        const vf r = v_div(v_set(1.0f), sum);
        for (int64_t i = 0; i < n; i++) v_store_n(y + i * y_step + c, v_mul(v_load_n(y + i * y_step + c, left), r), left);
    }
    v_leave();
}

/* ---- normalisation: two passes for the statistics, since mean of squares minus square of mean cancels ---- */
TENON_INLINE float spread(const float *x, int64_t n, float mean)
{
    const vf m = v_set(mean);
    vf a = v_zero(), b = a;
    int64_t i = 0;
    for (; i + 2 * VW <= n; i += 2 * VW) {
        const vf u = v_sub(v_load(x + i), m), v = v_sub(v_load(x + i + VW), m);
        a = v_fma(u, u, a);
        b = v_fma(v, v, b);
    }
    for (; i < n; i += VW) {
        const int64_t left = n - i < VW ? n - i : VW;
        const vf u = v_keep(v_first(left), v_sub(v_load_n(x + i, left), m));
        a = v_fma(u, u, a);
    }
    return v_hsum(v_add(a, b));
}
static void norm(const float *x, float *y, int64_t n, float epsilon, bool centered, const float *scale, const float *bias)
{
    const float mean = centered ? fold_row(TENON_FOLD_SUM, x, n) / (float)n : 0.0f;
    const vf variance = v_set(spread(x, n, mean) / (float)n + epsilon);
    const vf inverse = v_div(v_set(1.0f), v_sqrt(variance)), m = v_set(mean);
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t left = n - i < VW ? n - i : VW;
        vf u = v_mul(v_sub(v_load_n(x + i, left), m), inverse);
        if (scale) u = v_mul(u, v_load_n(scale + i, left));
        if (bias) u = v_add(u, v_load_n(bias + i, left));
        v_store_n(y + i, u, left);
    }
    v_leave();
}

const tenon_rows_f32 V_NAME(tenon_rows_f32) = {
    .softmax = softmax, .weigh = weigh, .softmax_cols = softmax_cols, .norm = norm, .fold = fold, .dot = dot, .fold_cols =
        fold_cols,
    .window = window, .scale_shift = scale_shift, .scale_shift_cols = scale_shift_cols, .blend4 = blend4,
};

#endif
