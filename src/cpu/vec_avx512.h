/* SPDX-License-Identifier: Apache-2.0 */
/* The vector words of the CPU kernels on AVX-512: sixteen floats. vec_avx2.h and vec_scalar.h define the same words, so that a
   kernel is written once in a <family>_kernel.h and compiled by three small files. Only always_inline functions: see know-how
   on leaks. */
#ifndef TENON_CPU_VEC_H
#define TENON_CPU_VEC_H

#include "base/compiler.h"

#include <immintrin.h>
#include <stdint.h>

enum { VW = 16 };            /* floats in a vector */
#define V_NAME(x) x##_avx512 /* suffix of what a file exports */
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

TENON_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
TENON_INLINE void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
TENON_INLINE vm v_first(int64_t n) { return (vm)(n >= 16 ? 0xffffu : (1u << n) - 1u); }
TENON_INLINE vf v_load_n(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(v_first(n), p); } /* n in 0..VW;
    the rest is 0 */
TENON_INLINE void v_store_n(float *p, vf a, int64_t n) { _mm512_mask_storeu_ps(p, v_first(n), a); }
TENON_INLINE vf v_set(float x) { return _mm512_set1_ps(x); }
TENON_INLINE vf v_undefined(void) { return _mm512_undefined_ps(); }
TENON_INLINE vf v_zero(void) { return _mm512_setzero_ps(); }
TENON_INLINE vf v_bits(int32_t x) { return _mm512_castsi512_ps(_mm512_set1_epi32(x)); }
TENON_INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
TENON_INLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
TENON_INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
TENON_INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
TENON_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }   /* a * b + c */
TENON_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a * b */
TENON_INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }              /* b where one is a NaN */
TENON_INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
TENON_INLINE vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
TENON_INLINE vf v_and(vf a, vf b) { return _mm512_and_ps(a, b); }
TENON_INLINE vf v_or(vf a, vf b) { return _mm512_or_ps(a, b); }
TENON_INLINE vf v_xor(vf a, vf b) { return _mm512_xor_ps(a, b); }
TENON_INLINE vf v_abs(vf a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
TENON_INLINE vf v_floor(vf a) { return _mm512_roundscale_ps(a, 9); }
TENON_INLINE vf v_ceil(vf a) { return _mm512_roundscale_ps(a, 10); }
TENON_INLINE vf v_round(vf a) { return _mm512_roundscale_ps(a, 8); } /* to nearest even */
TENON_INLINE vf v_trunc(vf a) { return _mm512_roundscale_ps(a, 11); }
TENON_INLINE vm v_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
TENON_INLINE vm v_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
TENON_INLINE vm v_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
TENON_INLINE vm v_ne(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
TENON_INLINE vm v_isnan(vf a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
TENON_INLINE vm v_both(vm a, vm b) { return (vm)(a & b); }
TENON_INLINE vm v_either(vm a, vm b) { return (vm)(a | b); }
TENON_INLINE vm v_not(vm a) { return (vm)~a; }
TENON_INLINE int v_any(vm a) { return a != 0; }
TENON_INLINE vm v_differ(vm a, vm b) { return (vm)(a ^ b); }
TENON_INLINE vf v_sel(vm m, vf yes, vf no) { return _mm512_mask_blend_ps(m, no, yes); }
TENON_INLINE vf v_keep(vm m, vf a) { return _mm512_maskz_mov_ps(m, a); } /* a or +0 */
TENON_INLINE vf v_one_if(vm m) { return _mm512_maskz_mov_ps(m, _mm512_set1_ps(1.0f)); }
TENON_INLINE vi vi_set(int32_t x) { return _mm512_set1_epi32(x); }
TENON_INLINE vi vi_of(vf a) { return _mm512_castps_si512(a); }
TENON_INLINE vf vi_as(vi a) { return _mm512_castsi512_ps(a); }
TENON_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
TENON_INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
TENON_INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
TENON_INLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
#define vi_shl(a, n) _mm512_slli_epi32(a, n)
#define vi_shr(a, n) _mm512_srai_epi32(a, n)
TENON_INLINE vi vi_round(vf a) { return _mm512_cvtps_epi32(a); }
TENON_INLINE vf vi_float(vi a) { return _mm512_cvtepi32_ps(a); }
TENON_INLINE vi vi_load(const int32_t *p) { return _mm512_loadu_si512(p); }
TENON_INLINE vf v_gather(const float *p, vi index) { return _mm512_i32gather_ps(index, p, 4); }
/* p * 2^floor(n), correct into the denormals and past the largest float. */
TENON_INLINE vf v_scale(vf p, vf n) { return _mm512_scalef_ps(p, n); }
/* table[low 4 bits of t's pattern], table of 16 floats aligned to 64 bytes */
TENON_INLINE vf v_lookup16(const float *table, vf t) { return _mm512_permutexvar_ps(_mm512_castps_si512(t),
                                                                                    _mm512_load_ps(table)); }
TENON_INLINE float v_hsum(vf a) { return _mm512_reduce_add_ps(a); }
TENON_INLINE float v_hmax(vf a) { return _mm512_reduce_max_ps(a); }
TENON_INLINE float v_hmin(vf a) { return _mm512_reduce_min_ps(a); }

/* Stored types: VW values at p, n of them valid (n == VW: all). */
TENON_INLINE __m256i v_raw16(const void *p, int64_t n)
{
    return n >= 16 ? _mm256_loadu_si256(p) : _mm256_maskz_loadu_epi16(v_first(n), p);
}
TENON_INLINE __m128i v_raw8(const void *p, int64_t n)
{
    return n >= 16 ? _mm_loadu_si128(p) : _mm_maskz_loadu_epi8(v_first(n), p);
}
TENON_INLINE vf v_load_f16(const void *p, int64_t n) { return _mm512_cvtph_ps(v_raw16(p, n)); }
TENON_INLINE vf v_load_bf16(const void *p, int64_t n)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v_raw16(p, n)), 16));
}
TENON_INLINE vf v_load_i16(const void *p, int64_t n) { return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(v_raw16(p, n))); }
TENON_INLINE vf v_load_u16(const void *p, int64_t n) { return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(v_raw16(p, n))); }
TENON_INLINE vf v_load_i8(const void *p, int64_t n) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v_raw8(p, n))); }
TENON_INLINE vf v_load_u8(const void *p, int64_t n) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(v_raw8(p, n))); }
TENON_INLINE vf v_load_i32(const void *p, int64_t n) { return _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(v_first(n), p)); }
TENON_INLINE vf v_load_u32(const void *p, int64_t n) { return _mm512_cvtepu32_ps(_mm512_maskz_loadu_epi32(v_first(n), p)); }

/* To nearest even; integers saturate, NaN gives 0 for them. */
TENON_INLINE vi v_clip_int(vf a, float lo, float hi)
{
    const vm ordered = _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q);
    return _mm512_maskz_cvtps_epi32(ordered, _mm512_min_ps(_mm512_max_ps(a, _mm512_set1_ps(lo)), _mm512_set1_ps(hi)));
}
TENON_INLINE void v_store_f16(void *p, vf a, int64_t n)
{
    _mm256_mask_storeu_epi16(p, v_first(n), _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
TENON_INLINE vf v_round_f16(vf a) { return _mm512_cvtph_ps(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
TENON_INLINE __m512i v_bf16_bits(vf a) /* in the low halves */
{
    const __m512i x = _mm512_castps_si512(a);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(x, 16), _mm512_set1_epi32(1));
    const __m512i r = _mm512_srli_epi32(_mm512_add_epi32(x, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(x, 16), _mm512_set1_epi32(0x40));
    return _mm512_mask_blend_epi32(v_isnan(a), r, quiet);
}
TENON_INLINE vf v_round_bf16(vf a) { return _mm512_castsi512_ps(_mm512_slli_epi32(v_bf16_bits(a), 16)); }
TENON_INLINE void v_store_bf16(void *p, vf a, int64_t n) { _mm512_mask_cvtepi32_storeu_epi16(p, v_first(n), v_bf16_bits(a)); }
TENON_INLINE void v_store_i16(void *p, vf a, int64_t n)
{
    _mm512_mask_cvtepi32_storeu_epi16(p, v_first(n), v_clip_int(a, -32768.0f, 32767.0f));
}
TENON_INLINE void v_store_u16(void *p, vf a, int64_t n) { _mm512_mask_cvtepi32_storeu_epi16(p, v_first(n),
    v_clip_int(a, 0.0f, 65535.0f)); }
TENON_INLINE void v_store_i8(void *p, vf a, int64_t n) { _mm512_mask_cvtepi32_storeu_epi8(p, v_first(n),
                                                                                          v_clip_int(a, -128.0f, 127.0f)); }
TENON_INLINE void v_store_u8(void *p, vf a, int64_t n) { _mm512_mask_cvtepi32_storeu_epi8(p, v_first(n),
                                                                                          v_clip_int(a, 0.0f, 255.0f)); }
TENON_INLINE void v_store_bool(void *p, vf a, int64_t n)
{
    _mm512_mask_cvtepi32_storeu_epi8(p, v_first(n), _mm512_maskz_set1_epi32(v_ne(a, v_zero()), 1));
}
TENON_INLINE void v_leave(void) { _mm256_zeroupper(); } /* before returning to code of the plain architecture */

#endif
