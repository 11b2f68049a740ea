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
TENON_INLINE void v_leave(void) {}

#endif
