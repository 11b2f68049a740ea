/* SPDX-License-Identifier: Apache-2.0 */
/* Polynomials as dim_fold.c computes with them: terms in graded lexicographic order, largest first, so that the leading term is
   the first and the constant the last. An order that multiplication keeps, which is what makes long division work. */
#ifndef TENON_IR_DIM_POLY_H
#define TENON_IR_DIM_POLY_H

#include "ir/dim_intern.h"

enum { POLY_TERMS = 40, POLY_DEGREE = 10 };

typedef struct poly_term {
    int64_t c;
    int n;
    const tenon_dim *atom[POLY_DEGREE]; /* by id */
} poly_term;

typedef struct poly {
    int count;
    bool large;    /* did not fit here */
    bool overflow; /* a coefficient did not fit int64 */
    poly_term term[POLY_TERMS];
} poly;

static inline bool poly_ok(const poly *a) { return !a->large && !a->overflow; }

void tenon_poly_clear(poly *a);
void tenon_poly_of(poly *a, const tenon_dim *d);
void tenon_poly_add_term(poly *a, int64_t c, int n, const tenon_dim *const *atom); /* atoms in any order */
void tenon_poly_add(poly *a, const poly *b, int64_t times);
void tenon_poly_mul(poly *out, const poly *a, const poly *b);
/* a = q * d + r by the leading term of d, as far as coefficients divide exactly. */
void tenon_poly_divide(poly *a, const poly *d, poly *q, poly *r);
/* The node; NULL on overflow or when out of memory. */
const tenon_dim *tenon_poly_dim(tenon_dim_pool *p, poly *a);
bool tenon_poly_bounds(const poly *a, int64_t *lo, int64_t *hi); /* false: not proved on at least one side */

#endif
