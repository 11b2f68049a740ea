/* SPDX-License-Identifier: Apache-2.0 */
/* The heart of products and convolutions in f32: a tile of rows x vectors of accumulators, A read in place by broadcast through
   one pointer a row, B by vectors from a panel. Written once over the words of vec_<isa>.h, which the including file has chosen.

   Row pointers instead of a row stride: rows of a tile may lie anywhere (pixels of different image rows, strided convolutions),
   and eight pointers, k and b fit the integer registers. Accumulators are named variables: gcc keeps arrays of vectors on the
   stack. `rows` and `vectors` are constants of each instance, so every `if` here folds. */
#ifndef TENON_CPU_GEMM_F32_KERNEL_H
#define TENON_CPU_GEMM_F32_KERNEL_H

#include "cpu/kernels_f32.h"

#define ROWS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9)
#define DECLARE(r) vf c##r##_0 = v_zero(), c##r##_1 = c##r##_0, c##r##_2 = c##r##_0, c##r##_3 = c##r##_0;
#define POINT(r) const float *const a##r = r < rows ? a[r] + offset : 0;
#define MULTIPLY(r)                                                                                                              \
    if (r < rows) {                                                                                                              \
        const vf x = v_set(a##r[k]);                                                                                             \
        c##r##_0 = v_fma(x, b0, c##r##_0);                                                                                       \
        if (vectors > 1) c##r##_1 = v_fma(x, b1, c##r##_1);                                                                      \
        if (vectors > 2) c##r##_2 = v_fma(x, b2, c##r##_2);                                                                      \
        if (vectors > 3) c##r##_3 = v_fma(x, b3, c##r##_3);                                                                      \
    }
#define READ(v, p) (v < vectors - 1 || full ? v_load((p) + v * VW) : v_load_n((p) + v * VW, last))
#define EACH_VECTOR(F, r) F(r, 0) if (vectors > 1) F(r, 1) if (vectors > 2) F(r, 2) if (vectors > 3) F(r, 3)
#define LOAD_ONE(r, v) c##r##_##v = READ(v, c + r * ldc);
#define LOAD(r) if (r < rows) { EACH_VECTOR(LOAD_ONE, r) }
#define START_ONE(r, v) c##r##_##v = s##v;
#define START(r) if (r < rows) { EACH_VECTOR(START_ONE, r) }
#define ADD_ONE(r, v) c##r##_##v = v_add(c##r##_##v, READ(v, add + r * add_ld));
#define ADD(r) if (r < rows) { EACH_VECTOR(ADD_ONE, r) }
#define CLAMP_ONE(r, v) c##r##_##v = v_min(hi, v_max(lo, c##r##_##v));
#define CLAMP(r) if (r < rows) { EACH_VECTOR(CLAMP_ONE, r) }
#define STORE_ONE(r, v)                                                                                                          \
    {                                                                                                                            \
        if (v < vectors - 1 || full) v_store(c + r * ldc + v * VW, c##r##_##v);                                                  \
        else v_store_n(c + r * ldc + v * VW, c##r##_##v, last);                                                                  \
    }
#define STORE(r) if (r < rows) { EACH_VECTOR(STORE_ONE, r) }

TENON_INLINE void gemm_tile(const int rows, const int vectors, const float *const *a, const tenon_f32_tile *t)
{
    ROWS(DECLARE)
    float *const c = t->c;
    const int64_t ldc = t->ldc, last = t->last;
    const int full = last == VW;
    if (t->load) {
        ROWS(LOAD)
    } else if (t->start) {
        const float *const start = t->start;
        const vf s0 = READ(0, start), s1 = vectors > 1 ? READ(1, start) : s0, s2 = vectors > 2 ? READ(2, start) : s0,
                 s3 = vectors > 3 ? READ(3, start) : s0;
        ROWS(START)
    }
    const float *b = t->b;
    const int64_t ldb = t->ldb;
    const char *ahead = t->ahead;
    const tenon_f32_segment *s = t->segment, *const end = s + t->segment_count;
    do {
        const int64_t offset = t->a_offset + s->offset + s->length;
        int64_t k = -s->length;
        ROWS(POINT)
        do {
            const vf b0 = v_load(b), b1 = vectors > 1 ? v_load(b + VW) : b0, b2 = vectors > 2 ? v_load(b + 2 * VW) : b0,
                     b3 = vectors > 3 ? v_load(b + 3 * VW) : b0;
            b += ldb;
            TENON_PREFETCH(ahead);
            ahead += 64;
            ROWS(MULTIPLY)
        } while (++k);
    } while (++s < end);
    if (t->add) {
        const float *const add = t->add;
        const int64_t add_ld = t->add_ld;
        ROWS(ADD)
    }
    if (t->clamp) { /* v_max and v_min give their second operand for a NaN: it stays one */
        const vf lo = v_set(t->lo), hi = v_set(t->hi);
        ROWS(CLAMP)
    }
    ROWS(STORE)
    v_leave();
}

#define TILE(r, v) static void gemm_tile_##r##x##v(const float *const *a, const tenon_f32_tile *t) { gemm_tile(r, v, a, t); }

/* Panels of a B that is not known at build. Rows that are contiguous are copied; a transposed B goes through 4x4 blocks. */
TENON_INLINE void gemm_pack_copy(const float *src, int64_t k_stride, int64_t k, int64_t columns, float *dst, int64_t width)
{
    for (; k > 0; k--, src += k_stride, dst += width)
        for (int64_t n = 0; n < width; n += VW) {
            const int64_t left = columns - n;
            v_store(dst + n, left >= VW ? v_load(src + n) : v_load_n(src + n, left > 0 ? left : 0));
        }
}

TENON_INLINE void gemm_pack_strided(const float *src, int64_t k_stride, int64_t n_stride, int64_t k, int64_t columns, float *dst,
                                    int64_t width)
{
    for (int64_t i = 0; i < k; i++)
        for (int64_t n = 0; n < width; n++) dst[i * width + n] = n < columns ? src[i * k_stride + n * n_stride] : 0.0f;
}

#if defined(__AVX2__)
/* k_stride 1: four columns at a time, four k at a time. */
TENON_INLINE void gemm_pack_transposed(const float *src, int64_t n_stride, int64_t k, int64_t columns, float *dst, int64_t width)
{
    int64_t n = 0;
    for (; n + 4 <= columns; n += 4) {
        const float *const p = src + n * n_stride;
        int64_t i = 0;
        for (; i + 4 <= k; i += 4) {
            __m128 r0 = _mm_loadu_ps(p + i), r1 = _mm_loadu_ps(p + n_stride + i), r2 = _mm_loadu_ps(p + 2 * n_stride + i),
                   r3 = _mm_loadu_ps(p + 3 * n_stride + i);
            _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
            float *const q = dst + i * width + n;
            _mm_storeu_ps(q, r0);
            _mm_storeu_ps(q + width, r1);
            _mm_storeu_ps(q + 2 * width, r2);
            _mm_storeu_ps(q + 3 * width, r3);
        }
        for (; i < k; i++)
            for (int64_t j = 0; j < 4; j++) dst[i * width + n + j] = p[j * n_stride + i];
    }
    for (; n < width; n++)
        for (int64_t i = 0; i < k; i++) dst[i * width + n] = n < columns ? src[n * n_stride + i] : 0.0f;
}
#endif

static void gemm_pack(const float *src, int64_t k_stride, int64_t n_stride, int64_t k, int64_t columns, float *dst, int64_t width)
{
    if (n_stride == 1) gemm_pack_copy(src, k_stride, k, columns, dst, width);
#if defined(__AVX2__)
    else if (k_stride == 1) gemm_pack_transposed(src, n_stride, k, columns, dst, width);
#endif
    else gemm_pack_strided(src, k_stride, n_stride, k, columns, dst, width);
    v_leave();
}

#endif
