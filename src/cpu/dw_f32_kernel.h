/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution in f32, channels-last, the image read in place. A run of up to seven output pixels of one row goes over
   all channels; for each vector of channels and each kernel row the row's weights are loaded once and every input pixel once.
   Rows of padding are simply not in the list; columns of padding are skipped by the clipped instances.

   pixels, kernel_w, stride and clipped are constants of each instance. Written over the words of vec_<isa>.h. */
#ifndef TENON_CPU_DW_F32_KERNEL_H
#define TENON_CPU_DW_F32_KERNEL_H

#include "cpu/kernels_f32.h"

#define PIXELS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6)
#define DW_DECLARE(t) vf y##t = first;
#define DW_WEIGHT(s) const vf w##s = s < kernel_w ? v_load(w + s * VW) : first;
#define DW_TAP(t, s) if (t < pixels && s < kernel_w && t * stride + s == column) y##t = v_fma(x, w##s, y##t);
#define DW_PIXEL(t) DW_TAP(t, 0) DW_TAP(t, 1) DW_TAP(t, 2) DW_TAP(t, 3) DW_TAP(t, 4) DW_TAP(t, 5) DW_TAP(t, 6)
#define DW_COLUMN(j)                                                                                                             \
    if (j < (pixels - 1) * stride + kernel_w) {                                                                                  \
        enum { column = j };                                                                                                     \
        if (!clipped || (j >= lo && j < hi)) {                                                                                   \
            const vf x = full ? v_load(p) : v_load_n(p, n);                                                                      \
            PIXELS(DW_PIXEL)                                                                                                     \
        }                                                                                                                        \
        p += x_ld;                                                                                                               \
    }
#define DW_FINISH(t)                                                                                                             \
    if (t < pixels) {                                                                                                            \
        if (clamp) y##t = v_min(clamp_hi, v_max(clamp_lo, y##t));                                                                \
        if (full) v_store(y + t * y_ld, y##t);                                                                                   \
        else v_store_n(y + t * y_ld, y##t, n);                                                                                   \
    }

/* One vector of channels; n of them valid. */
TENON_INLINE void dw_vector(const int pixels, const int kernel_w, const int stride, const int clipped, const int full,
                            const tenon_f32_dw *d, int64_t c, int64_t n)
{
    const vf first = !d->start ? v_zero() : full ? v_load(d->start + c) : v_load_n(d->start + c, n);
    PIXELS(DW_DECLARE)
    const int64_t x_ld = d->x_ld, lo = d->lo, hi = d->hi;
    const float *w = d->w + c * d->taps;
    const float *const *row = d->x, *const *const end = row + d->rows;
    for (; row < end; row++, w += kernel_w * VW) {
        const float *p = *row + c;
        DW_WEIGHT(0) DW_WEIGHT(1) DW_WEIGHT(2) DW_WEIGHT(3) DW_WEIGHT(4) DW_WEIGHT(5) DW_WEIGHT(6)
        DW_COLUMN(0) DW_COLUMN(1) DW_COLUMN(2) DW_COLUMN(3) DW_COLUMN(4) DW_COLUMN(5) DW_COLUMN(6) DW_COLUMN(7) DW_COLUMN(8)
        DW_COLUMN(9) DW_COLUMN(10) DW_COLUMN(11) DW_COLUMN(12) DW_COLUMN(13) DW_COLUMN(14) DW_COLUMN(15) DW_COLUMN(16)
        DW_COLUMN(17) DW_COLUMN(18)
    }
    const int clamp = d->clamp;
    const vf clamp_lo = v_set(d->clamp_lo), clamp_hi = v_set(d->clamp_hi);
    float *const y = d->y + c;
    const int64_t y_ld = d->y_ld;
    PIXELS(DW_FINISH)
}

TENON_INLINE void dw_run(const int pixels, const int kernel_w, const int stride, const int clipped, const tenon_f32_dw *d)
{
    int64_t c = 0;
    for (; c + VW <= d->channels; c += VW) dw_vector(pixels, kernel_w, stride, clipped, 1, d, c, VW);
    if (c < d->channels) dw_vector(pixels, kernel_w, stride, clipped, 0, d, c, d->channels - c);
    v_leave();
}

#define DW(p, k, s)                                                                                                              \
    static void dw_##k##s##s##_##p(const tenon_f32_dw *d) { dw_run(p, k, s, 0, d); }                                             \
    static void dw_##k##s##s##_##p##_clipped(const tenon_f32_dw *d) { dw_run(p, k, s, 1, d); }
#define DW_ALL(k, s) DW(1, k, s) DW(2, k, s) DW(3, k, s) DW(4, k, s) DW(5, k, s) DW(6, k, s) DW(7, k, s)
#define DW_ROW(k, s)                                                                                                             \
    {                                                                                                                            \
        {0, dw_##k##s##s##_1, dw_##k##s##s##_2, dw_##k##s##s##_3, dw_##k##s##s##_4, dw_##k##s##s##_5, dw_##k##s##s##_6,          \
         dw_##k##s##s##_7},                                                                                                      \
        {0, dw_##k##s##s##_1_clipped, dw_##k##s##s##_2_clipped, dw_##k##s##s##_3_clipped, dw_##k##s##s##_4_clipped,              \
         dw_##k##s##s##_5_clipped, dw_##k##s##s##_6_clipped, dw_##k##s##s##_7_clipped},                                          \
    }
/* Any kernel width and dilation, one pixel. */
static void dw_any(const tenon_f32_dw *d)
{
    const vf clamp_lo = v_set(d->clamp_lo), clamp_hi = v_set(d->clamp_hi);
    for (int64_t c = 0; c < d->channels; c += VW) {
        const int64_t n = d->channels - c < VW ? d->channels - c : VW;
        vf y = d->start ? v_load_n(d->start + c, n) : v_zero();
        const float *w = d->w + c * d->taps;
        for (int r = 0; r < d->rows; r++)
            for (int s = 0; s < d->kernel_w; s++, w += VW) {
                const int64_t column = (int64_t)s * d->dilation;
                if (column < d->lo || column >= d->hi) continue;
                y = v_fma(v_load_n(d->x[r] + column * d->x_ld + c, n), v_load(w), y);
            }
        if (d->clamp) y = v_min(clamp_hi, v_max(clamp_lo, y));
        v_store_n(d->y + c, y, n);
    }
    v_leave();
}

#endif
