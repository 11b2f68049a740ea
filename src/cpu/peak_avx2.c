/* SPDX-License-Identifier: Apache-2.0 */
/* The most multiply-adds a second, with AVX2 and FMA. */
#include <immintrin.h>

#define VECTOR __m256
#define LANES 8
#define LOAD(p) _mm256_loadu_ps(p)
#define SET(f) _mm256_set1_ps(f)
#define FMA(a, x, y) _mm256_fmadd_ps(a, x, y)
#define ADD(a, b) _mm256_add_ps(a, b)
#define FIRST(v) _mm256_cvtss_f32(v)
#include "cpu/peak_body.h"

#include "base/isa.h"

const tenon_cpu_burn tenon_cpu_burn_avx2 = {.isa = TENON_ISA_AVX2, .lanes = LANES, .run = burn, .read = read_all};
