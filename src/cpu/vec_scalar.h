/* SPDX-License-Identifier: Apache-2.0 */
/* The vector words of the CPU kernels for any architecture: four floats, of which the compiler makes what the plain instruction
   set has (SSE2, NEON). Products and sums round separately. The contract of each word is in vec_avx512.h. */
#ifndef TENON_CPU_VEC_H
#define TENON_CPU_VEC_H

#include "base/compiler.h"

#include <stdint.h>

enum { VW = 4 };
#define V_NAME(x) x##_scalar
typedef TENON_VECTOR(float, 16) vf;
typedef TENON_VECTOR(int32_t, 16) vi;
typedef vi vm; /* all bits or none in each lane */

TENON_INLINE vf v_load(const float *p) { return (vf){p[0], p[1], p[2], p[3]}; }
TENON_INLINE void v_store(float *p, vf a) { p[0] = a[0], p[1] = a[1], p[2] = a[2], p[3] = a[3]; }
TENON_INLINE vf v_load_n(const float *p, int64_t n)
{
    return (vf){n > 0 ? p[0] : 0, n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n > 3 ? p[3] : 0};
}
TENON_INLINE void v_store_n(float *p, vf a, int64_t n)
{
    if (n > 0) p[0] = a[0];
    if (n > 1) p[1] = a[1];
    if (n > 2) p[2] = a[2];
    if (n > 3) p[3] = a[3];
}
TENON_INLINE vf v_set(float x) { return (vf){x, x, x, x}; }
TENON_INLINE vf v_zero(void) { return v_set(0); }
TENON_INLINE vf v_add(vf a, vf b) { return a + b; }
TENON_INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
TENON_INLINE vf v_sel(vm m, vf yes, vf no) { return (vf)((m & (vi)yes) | (~m & (vi)no)); }
TENON_INLINE vf v_min(vf a, vf b) { return v_sel(a < b, a, b); } /* b where one is a NaN */
TENON_INLINE vf v_max(vf a, vf b) { return v_sel(a > b, a, b); }
TENON_INLINE vf v_undefined(void) { return v_zero(); }
TENON_INLINE vf v_bits(int32_t x) { return (vf)(vi){x, x, x, x}; }
TENON_INLINE vf v_sub(vf a, vf b) { return a - b; }
TENON_INLINE vf v_mul(vf a, vf b) { return a * b; }
TENON_INLINE vf v_div(vf a, vf b) { return a / b; }
TENON_INLINE vf v_fnma(vf a, vf b, vf c) { return c - a * b; }
TENON_INLINE vf v_sqrt(vf a)
{
    return (vf){__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
}
TENON_INLINE vf v_and(vf a, vf b) { return (vf)((vi)a & (vi)b); }
TENON_INLINE vf v_or(vf a, vf b) { return (vf)((vi)a | (vi)b); }
TENON_INLINE vf v_xor(vf a, vf b) { return (vf)((vi)a ^ (vi)b); }
TENON_INLINE vf v_abs(vf a) { return (vf)((vi)a & (vi){0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff}); }
TENON_INLINE vm v_lt(vf a, vf b) { return a < b; }
TENON_INLINE vm v_le(vf a, vf b) { return a <= b; }
TENON_INLINE vm v_eq(vf a, vf b) { return a == b; }
TENON_INLINE vm v_ne(vf a, vf b) { return a != b; }
TENON_INLINE vm v_both(vm a, vm b) { return a & b; }
TENON_INLINE vm v_either(vm a, vm b) { return a | b; }
TENON_INLINE vf v_keep(vm m, vf a) { return (vf)(m & (vi)a); }
TENON_INLINE vm v_first(int64_t n) { return (vi){-(n > 0), -(n > 1), -(n > 2), -(n > 3)}; }
TENON_INLINE vi vi_set(int32_t x) { return (vi){x, x, x, x}; }
TENON_INLINE vi vi_of(vf a) { return (vi)a; }
TENON_INLINE vf vi_as(vi a) { return (vf)a; }
TENON_INLINE vi vi_add(vi a, vi b) { return a + b; }
TENON_INLINE vi vi_sub(vi a, vi b) { return a - b; }
TENON_INLINE vi vi_and(vi a, vi b) { return a & b; }
#define vi_shl(a, n) ((a) << (n))
#define vi_shr(a, n) ((a) >> (n))
TENON_INLINE vf vi_float(vi a) { return (vf){(float)a[0], (float)a[1], (float)a[2], (float)a[3]}; }
TENON_INLINE vi vi_round(vf a) /* to nearest even by the magic number; |a| < 2^22 */
{
    const vf magic = v_set(12582912.0f);
    return vi_sub((vi)(a + magic), (vi)magic);
}
/* n within about [-400, 400]: two factors, each a normal number */
TENON_INLINE vf v_scale(vf p, vf n)
{
    const vi k0 = vi_round(n);
    const vi k = k0 + (n < vi_float(k0)), k1 = k >> 1, k2 = k - k1;
    return p * (vf)((k1 + 127) << 23) * (vf)((k2 + 127) << 23);
}
TENON_INLINE vf v_lookup16(const float *table, vf t)
{
    const vi i = (vi)t & 15;
    return (vf){table[i[0]], table[i[1]], table[i[2]], table[i[3]]};
}
TENON_INLINE float v_hsum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }
TENON_INLINE float v_hmax(vf a)
{
    const float x = a[0] > a[1] ? a[0] : a[1], y = a[2] > a[3] ? a[2] : a[3];
    return x > y ? x : y;
}
TENON_INLINE float v_hmin(vf a)
{
    const float x = a[0] < a[1] ? a[0] : a[1], y = a[2] < a[3] ? a[2] : a[3];
    return x < y ? x : y;
}
TENON_INLINE void v_leave(void) {}

#endif
