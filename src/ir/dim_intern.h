/* SPDX-License-Identifier: Apache-2.0 */
/* Between dim.c (interning, bounds, symbols) and dim_fold.c (normal form, folding); nobody else includes this. */
#ifndef TENON_IR_DIM_INTERN_H
#define TENON_IR_DIM_INTERN_H

#include "ir/dim.h"

/* The node with exactly these parts, which must be in normal form already; copies the list. NULL when out of memory or too
   large. */
const tenon_dim *tenon_dim_intern(tenon_dim_pool *p, tenon_dim_kind kind, int64_t value, int arg_count,
                                  const tenon_dim *const *arg);
/* Says that a number does not fit; returns NULL. */
const tenon_dim *tenon_dim_overflow(tenon_dim_pool *p);

/* floor(a / b); not INT64_MIN / -1. */
static inline int64_t tenon_dim_floor(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }
/* a - floor(a / b) * b, b > 0. */
static inline int64_t tenon_dim_rest(int64_t a, int64_t b) { return a % b + (a % b < 0 ? b : 0); }
static inline int64_t tenon_dim_gcd(int64_t a, int64_t b) /* of magnitudes; gcd(0, x) = x; INT64_MIN counts as 2^62 */
{
    a = a == INT64_MIN ? INT64_C(1) << 62 : a < 0 ? -a : a;
    b = b == INT64_MIN ? INT64_C(1) << 62 : b < 0 ? -b : b;
    while (b) {
        const int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

#endif
