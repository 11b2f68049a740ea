/* SPDX-License-Identifier: Apache-2.0 */
/* The most multiply-adds a second, with AVX-512. */
#include <immintrin.h>

#define VECTOR __m512
#define LANES 16
#define LOAD(p) _mm512_loadu_ps(p)
#define SET(f) _mm512_set1_ps(f)
#define FMA(a, x, y) _mm512_fmadd_ps(a, x, y)
#define ADD(a, b) _mm512_add_ps(a, b)
#define FIRST(v) _mm512_cvtss_f32(v)
#include "cpu/peak_body.h"

#include "base/isa.h"

const tenon_cpu_burn tenon_cpu_burn_avx512 = {.isa = TENON_ISA_AVX512, .lanes = LANES, .run = burn, .read = read_all};
