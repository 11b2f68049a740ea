/* SPDX-License-Identifier: Apache-2.0 */
/* The vector words of the CPU kernels on AVX2 with FMA and F16C: eight floats. The contract of each word is in vec_avx512.h. */
#ifndef TENON_CPU_VEC_H
#define TENON_CPU_VEC_H

#include "base/compiler.h"

#include <immintrin.h>
#include <stdint.h>

enum { VW = 8 };
#define V_NAME(x) x##_avx2
typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm; /* all bits or none in each lane */

/* A window of eight starting at 8 - n has n ones at the front. */
static const int32_t first_lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

TENON_INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
TENON_INLINE void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
TENON_INLINE __m256i v_first_int(int64_t n) { return _mm256_loadu_si256((const __m256i *)(const void *)(first_lanes + 8 - (n >= 8
    ? 8 : n))); }
TENON_INLINE vm v_first(int64_t n) { return _mm256_castsi256_ps(v_first_int(n)); }
TENON_INLINE vf v_load_n(const float *p, int64_t n) { return _mm256_maskload_ps(p, v_first_int(n)); }
TENON_INLINE void v_store_n(float *p, vf a, int64_t n) { _mm256_maskstore_ps(p, v_first_int(n), a); }
TENON_INLINE vf v_set(float x) { return _mm256_set1_ps(x); }
TENON_INLINE vf v_undefined(void) { return _mm256_undefined_ps(); }
TENON_INLINE vf v_zero(void) { return _mm256_setzero_ps(); }
TENON_INLINE vf v_bits(int32_t x) { return _mm256_castsi256_ps(_mm256_set1_epi32(x)); }
TENON_INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
TENON_INLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
TENON_INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
TENON_INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
TENON_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
TENON_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
TENON_INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
TENON_INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
TENON_INLINE vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
TENON_INLINE vf v_and(vf a, vf b) { return _mm256_and_ps(a, b); }
TENON_INLINE vf v_or(vf a, vf b) { return _mm256_or_ps(a, b); }
TENON_INLINE vf v_xor(vf a, vf b) { return _mm256_xor_ps(a, b); }
TENON_INLINE vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
TENON_INLINE vf v_floor(vf a) { return _mm256_floor_ps(a); }
TENON_INLINE vf v_ceil(vf a) { return _mm256_ceil_ps(a); }
TENON_INLINE vf v_round(vf a) { return _mm256_round_ps(a, 8); }
TENON_INLINE vf v_trunc(vf a) { return _mm256_round_ps(a, 11); }
TENON_INLINE vm v_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
TENON_INLINE vm v_le(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
TENON_INLINE vm v_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
TENON_INLINE vm v_ne(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
TENON_INLINE vm v_isnan(vf a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
TENON_INLINE vm v_both(vm a, vm b) { return _mm256_and_ps(a, b); }
TENON_INLINE vm v_either(vm a, vm b) { return _mm256_or_ps(a, b); }
TENON_INLINE vm v_not(vm a) { return _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1))); }
TENON_INLINE int v_any(vm a) { return _mm256_movemask_ps(a) != 0; }
TENON_INLINE vm v_differ(vm a, vm b) { return _mm256_xor_ps(a, b); }
TENON_INLINE vf v_sel(vm m, vf yes, vf no) { return _mm256_blendv_ps(no, yes, m); }
TENON_INLINE vf v_keep(vm m, vf a) { return _mm256_and_ps(m, a); }
TENON_INLINE vf v_one_if(vm m) { return _mm256_and_ps(m, _mm256_set1_ps(1.0f)); }
TENON_INLINE vi vi_set(int32_t x) { return _mm256_set1_epi32(x); }
TENON_INLINE vi vi_of(vf a) { return _mm256_castps_si256(a); }
TENON_INLINE vf vi_as(vi a) { return _mm256_castsi256_ps(a); }
TENON_INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
TENON_INLINE vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
TENON_INLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
TENON_INLINE vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
#define vi_shl(a, n) _mm256_slli_epi32(a, n)
#define vi_shr(a, n) _mm256_srai_epi32(a, n)
TENON_INLINE vi vi_round(vf a) { return _mm256_cvtps_epi32(a); }
TENON_INLINE vf vi_float(vi a) { return _mm256_cvtepi32_ps(a); }
TENON_INLINE vi vi_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
TENON_INLINE vf v_gather(const float *p, vi index) { return _mm256_i32gather_ps(p, index, 4); }
/* n is clamped by the callers' ranges to about [-400, 400]: two halves keep each factor a normal number. */
TENON_INLINE vf v_scale(vf p, vf n)
{
    const __m256i k = _mm256_cvtps_epi32(_mm256_floor_ps(n));
    const __m256i k1 = _mm256_srai_epi32(k, 1), k2 = _mm256_sub_epi32(k, k1), bias = _mm256_set1_epi32(127);
    const __m256 s1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k1, bias), 23));
    const __m256 s2 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k2, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(p, s1), s2);
}
TENON_INLINE vf v_lookup16(const float *table, vf t)
{
    const __m256i i = _mm256_castps_si256(t);
    const __m256 lo = _mm256_permutevar8x32_ps(_mm256_load_ps(table), i), hi =
        _mm256_permutevar8x32_ps(_mm256_load_ps(table + 8), i);
    return _mm256_blendv_ps(lo, hi, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}
TENON_INLINE __m128 v_halves_add(vf a) { return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)); }
TENON_INLINE float v_hsum(vf a)
{
    __m128 s = v_halves_add(a);
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
TENON_INLINE float v_hmax(vf a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
TENON_INLINE float v_hmin(vf a)
{
    __m128 s = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_min_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_min_ss(s, _mm_shuffle_ps(s, s, 1)));
}

TENON_INLINE __m128i v_raw16(const void *p, int64_t n)
{
    if (n >= 8) return _mm_loadu_si128(p);
    uint16_t t[8] = {0};
    for (int64_t i = 0; i < n; i++) t[i] = ((const uint16_t *)p)[i];
    return _mm_loadu_si128((const __m128i *)(const void *)t);
}
TENON_INLINE __m128i v_raw8(const void *p, int64_t n)
{
    if (n >= 8) return _mm_loadl_epi64(p);
    uint8_t t[16] = {0};
    for (int64_t i = 0; i < n; i++) t[i] = ((const uint8_t *)p)[i];
    return _mm_loadl_epi64((const __m128i *)(const void *)t);
}
TENON_INLINE void v_put16(void *p, __m128i x, int64_t n)
{
    if (n >= 8) {
        _mm_storeu_si128(p, x);
        return;
    }
    uint16_t t[8];
    _mm_storeu_si128((__m128i *)(void *)t, x);
    for (int64_t i = 0; i < n; i++) ((uint16_t *)p)[i] = t[i];
}
TENON_INLINE void v_put8(void *p, __m128i x, int64_t n)
{
    if (n >= 8) {
        _mm_storel_epi64(p, x);
        return;
    }
    uint8_t t[16];
    _mm_storeu_si128((__m128i *)(void *)t, x);
    for (int64_t i = 0; i < n; i++) ((uint8_t *)p)[i] = t[i];
}
TENON_INLINE vf v_load_f16(const void *p, int64_t n) { return _mm256_cvtph_ps(v_raw16(p, n)); }
TENON_INLINE vf v_load_bf16(const void *p, int64_t n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v_raw16(p, n)), 16));
}
TENON_INLINE vf v_load_i16(const void *p, int64_t n) { return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(v_raw16(p, n))); }
TENON_INLINE vf v_load_u16(const void *p, int64_t n) { return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(v_raw16(p, n))); }
TENON_INLINE vf v_load_i8(const void *p, int64_t n) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v_raw8(p, n))); }
TENON_INLINE vf v_load_u8(const void *p, int64_t n) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v_raw8(p, n))); }
TENON_INLINE vf v_load_i32(const void *p, int64_t n) { return _mm256_cvtepi32_ps(_mm256_maskload_epi32(p, v_first_int(n))); }
TENON_INLINE vf v_load_u32(const void *p, int64_t n) /* the high 16 bits and the low 16 bits apart: one rounding, in the sum */
{
    const __m256i x = _mm256_maskload_epi32(p, v_first_int(n));
    const __m256 hi = _mm256_cvtepi32_ps(_mm256_srli_epi32(x, 16)), lo = _mm256_cvtepi32_ps(_mm256_and_si256(x,
        _mm256_set1_epi32(0xffff)));
    return _mm256_fmadd_ps(hi, _mm256_set1_ps(65536.0f), lo);
}
TENON_INLINE __m128i v_clip_int16(vf a, float lo, float hi) /* values in int32, packed to 16 bits by truncation */
{
    const __m256 x = _mm256_and_ps(_mm256_cmp_ps(a, a, _CMP_ORD_Q), a);
    const __m256i k = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(lo)), _mm256_set1_ps(hi)));
    const __m256i low = _mm256_and_si256(k, _mm256_set1_epi32(0xffff));
    return _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
}
TENON_INLINE void v_store_f16(void *p, vf a, int64_t n)
{
    v_put16(p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), n);
}
TENON_INLINE vf v_round_f16(vf a) { return _mm256_cvtph_ps(_mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
TENON_INLINE __m256i v_bf16_bits(vf a)
{
    const __m256i x = _mm256_castps_si256(a);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(x, 16), _mm256_set1_epi32(1));
    const __m256i r = _mm256_srli_epi32(_mm256_add_epi32(x, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(x, 16), _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(v_isnan(a)));
}
TENON_INLINE vf v_round_bf16(vf a) { return _mm256_castsi256_ps(_mm256_slli_epi32(v_bf16_bits(a), 16)); }
TENON_INLINE void v_store_bf16(void *p, vf a, int64_t n)
{
    const __m256i y = v_bf16_bits(a);
    v_put16(p, _mm_packus_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1)), n);
}
TENON_INLINE void v_store_i16(void *p, vf a, int64_t n) { v_put16(p, v_clip_int16(a, -32768.0f, 32767.0f), n); }
TENON_INLINE void v_store_u16(void *p, vf a, int64_t n) { v_put16(p, v_clip_int16(a, 0.0f, 65535.0f), n); }
TENON_INLINE void v_store_low8(void *p, __m128i x16, int64_t n)
{
    const __m128i x = _mm_and_si128(x16, _mm_set1_epi16(0xff));
    v_put8(p, _mm_packus_epi16(x, x), n);
}
TENON_INLINE void v_store_i8(void *p, vf a, int64_t n) { v_store_low8(p, v_clip_int16(a, -128.0f, 127.0f), n); }
TENON_INLINE void v_store_u8(void *p, vf a, int64_t n) { v_store_low8(p, v_clip_int16(a, 0.0f, 255.0f), n); }
TENON_INLINE void v_store_bool(void *p, vf a, int64_t n) { v_store_low8(p, v_clip_int16(v_one_if(v_ne(a, v_zero())), 0.0f, 1.0f),
                                                                        n); }
TENON_INLINE void v_leave(void) { _mm256_zeroupper(); }

#endif
