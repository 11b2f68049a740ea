/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes from outside are added and multiplied only here. Each helper says whether the result fits. */
#ifndef TENON_BASE_CHECKED_H
#define TENON_BASE_CHECKED_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool tenon_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool tenon_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool tenon_add_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool tenon_mul_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool tenon_sub_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_sub_overflow(a, b, out); }
static inline int64_t tenon_ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); } /* b > 0 */
static inline size_t tenon_round_up(size_t a, size_t to) { return (a + to - 1) / to * to; }
/* The least power of two that is at least v; v <= 2^62. */
static inline int64_t tenon_pow2_up(int64_t v)
{
    int64_t p = 1;
    while (p < v) p *= 2;
    return p;
}
/* Product of non-negative dimensions; false if one is negative or the product overflows. */
static inline bool tenon_product(const int64_t *dim, int rank, int64_t *out)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        if (dim[i] < 0 || !tenon_mul_i64(n, dim[i], &n)) return false;
    *out = n;
    return true;
}

#endif
