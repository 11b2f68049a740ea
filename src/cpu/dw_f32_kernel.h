/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution in f32, channels-last, the image read in place. A run of up to eight output pixels of one row goes over
   all channels; for each vector of channels and each kernel row the row's weights are loaded once and every input pixel once.
   Rows of padding are simply not in the list; columns of padding are zeros in the clipped instances.

   pixels, kernel_w, stride and clipped are constants of each instance. Written over the words of vec_<isa>.h. */
#ifndef TENON_CPU_DW_F32_KERNEL_H
#define TENON_CPU_DW_F32_KERNEL_H

#include "cpu/kernels_f32.h"

/* Column j of the run's input; those outside the image are zeros. Arrays indexed by constants alone are registers. */
#define DW_COLUMN(j)                                                                                                             \
    if (j < columns) {                                                                                                           \
        x[j] = clipped && (j < lo || j >= hi) ? v_zero() : full ? v_load(p) : v_load_n(p, n);                                    \
        p += x_ld;                                                                                                               \
    }
#define DW_COLUMNS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14)                           \
    F(15) F(16) F(17) F(18) F(19) F(20)
#define DW_PIXELS(F, s) F(0, s) F(1, s) F(2, s) F(3, s) F(4, s) F(5, s) F(6, s) F(7, s)
#define DW_START(t, s) y[t] = first;
#define DW_MULTIPLY(t, s)                                                                                                        \
    if (t < pixels) y[t] = v_fma(x[t * stride + s], weight, y[t]);
#define DW_TAP(s)                                                                                                                \
    if (s < kernel_w) {                                                                                                          \
        const vf weight = v_load(w + s * VW);                                                                                    \
        DW_PIXELS(DW_MULTIPLY, s)                                                                                                \
    }
#define DW_FINISH(t, s)                                                                                                          \
    if (t < pixels) {                                                                                                            \
        if (clamp) y[t] = v_min(clamp_hi, v_max(clamp_lo, y[t]));                                                                \
        if (full) v_store(to + t * y_ld, y[t]);                                                                                  \
        else v_store_n(to + t * y_ld, y[t], n);                                                                                  \
    }

/* One vector of channels; n of them valid. All pixels take one tap before the next: each accumulator waits for its last sum, so
   as many independent ones as there are pixels stand between. */
TENON_INLINE void dw_vector(const int pixels, const int kernel_w, const int stride, const int clipped, const int full,
                            const tenon_f32_dw *d, int64_t run, int64_t c, int64_t n)
{
    const int columns = (pixels - 1) * stride + kernel_w;
    const vf first = !d->start ? v_zero() : full ? v_load(d->start + c) : v_load_n(d->start + c, n);
    vf x[21], y[TENON_F32_DW_PIXELS];
    DW_PIXELS(DW_START, 0)
    const int64_t x_ld = d->x_ld, lo = d->lo, hi = d->hi;
    const float *w = d->w + c * d->taps;
    const float *const *row = d->x, *const *const end = row + d->rows;
    for (; row < end; row++, w += kernel_w * VW) {
        const float *p = *row + run * (pixels * stride) * x_ld + c;
        DW_COLUMNS(DW_COLUMN)
        DW_TAP(0) DW_TAP(1) DW_TAP(2) DW_TAP(3) DW_TAP(4) DW_TAP(5) DW_TAP(6)
    }
    const int clamp = d->clamp;
    const vf clamp_lo = v_set(d->clamp_lo), clamp_hi = v_set(d->clamp_hi);
    const int64_t y_ld = d->y_ld;
    float *const to = d->y + run * pixels * y_ld + c;
    DW_PIXELS(DW_FINISH, 0)
}

TENON_INLINE void dw_run(const int pixels, const int kernel_w, const int stride, const int clipped, const tenon_f32_dw *d)
{
    for (int64_t run = 0; run < d->repeat; run++) {
        int64_t c = 0;
        for (; c + VW <= d->channels; c += VW) dw_vector(pixels, kernel_w, stride, clipped, 1, d, run, c, VW);
        if (c < d->channels) dw_vector(pixels, kernel_w, stride, clipped, 0, d, run, c, d->channels - c);
    }
    v_leave();
}

#define DW(p, k, s)                                                                                                              \
    static void dw_##k##s##s##_##p(const tenon_f32_dw *d) { dw_run(p, k, s, 0, d); }                                             \
    static void dw_##k##s##s##_##p##_clipped(const tenon_f32_dw *d) { dw_run(p, k, s, 1, d); }
#define DW_4(k, s) DW(1, k, s) DW(2, k, s) DW(3, k, s) DW(4, k, s)
#define DW_8(k, s) DW_4(k, s) DW(5, k, s) DW(6, k, s) DW(7, k, s) DW(8, k, s)
#define DW_ROW_4(k, s, suffix)                                                                                                   \
    dw_##k##s##s##_1##suffix, dw_##k##s##s##_2##suffix, dw_##k##s##s##_3##suffix, dw_##k##s##s##_4##suffix
#define DW_ROW_8(k, s, suffix)                                                                                                   \
    DW_ROW_4(k, s, suffix), dw_##k##s##s##_5##suffix, dw_##k##s##s##_6##suffix, dw_##k##s##s##_7##suffix, dw_##k##s##s##_8##suffix
#define DW_TABLE(row, k, s) {{0, row(k, s, )}, {0, row(k, s, _clipped)}}

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
