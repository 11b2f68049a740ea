/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels over rows of floats, one table an instruction set: softmax, normalisation, reductions, pooling windows. A row is
   contiguous; the `_cols` forms go along a strided axis for many contiguous columns at once. */
#ifndef TENON_CPU_ROWS_F32_H
#define TENON_CPU_ROWS_F32_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { TENON_FOLD_SUM, TENON_FOLD_MAX, TENON_FOLD_MIN, TENON_FOLD_SQUARE, TENON_FOLD_ABS } tenon_fold;

typedef struct tenon_rows_f32 {
    void (*softmax)(const float *x, float *y, int64_t n);
    /* y = e^(x * scale + mask - max) unnormalised, returns 1 / sum (0 for a row of nothing but -inf); mask may be NULL; y may be
       x */
    float (*weigh)(const float *x, const float *mask, float scale, float *y, int64_t n);
    void (*softmax_cols)(const float *x, int64_t x_step, float *y, int64_t y_step, int64_t n, int64_t cols);
    /* (x - mean) / sqrt(variance + epsilon) * scale + bias; not centered: mean 0 (rms). scale, bias may be NULL */
    void (*norm)(const float *x, float *y, int64_t n, float epsilon, bool centered, const float *scale, const float *bias);
    float (*fold)(tenon_fold kind, const float *x, int64_t n);
    float (*dot)(const float *x, const float *y, int64_t n);
    void (*fold_cols)(tenon_fold kind, const float *x, int64_t step, int64_t n, float *y, int64_t cols);
    /* y[c] = fold over taps of tap[t][c], times scale */
    void (*window)(tenon_fold kind, const float *const *tap, int64_t taps, float scale, float *y, int64_t cols);
    void (*scale_shift)(const float *x, float *y, int64_t n, float scale, float shift);
    /* y = x * scale[] + shift[] */
    void (*scale_shift_cols)(const float *x, float *y, int64_t n, const float *scale, const float *shift);
    /* y[c] = sum over i < 4 of weight[i] * tap[i][c] */
    void (*blend4)(const float *const *tap, const float *weight, float *y, int64_t cols);
} tenon_rows_f32;

extern const tenon_rows_f32 tenon_rows_f32_scalar;
#if defined(__x86_64__)
extern const tenon_rows_f32 tenon_rows_f32_avx2, tenon_rows_f32_avx512;
#endif
const tenon_rows_f32 *tenon_rows_f32_best(void); /* for tenon_cpu()->isa */

#endif
