/* SPDX-License-Identifier: Apache-2.0 */
/* The constructors: what two expressions become together. Sums and products are polynomials (dim_poly.h); quotients and
   remainders take out of the numerator what the denominator divides; comparisons look at the difference. */
#include "base/checked.h"
#include "ir/dim_poly.h"

#include <string.h>

/* Atoms of what is too large to be multiplied out. */
static const tenon_dim *opaque(tenon_dim_pool *p, bool product, const tenon_dim *a, const tenon_dim *b)
{
    poly r;
    tenon_poly_clear(&r);
    if (product) {
        tenon_poly_add_term(&r, 1, 2, (const tenon_dim *const[]){a, b});
    } else {
        tenon_poly_add_term(&r, 1, 1, &a);
        tenon_poly_add_term(&r, 1, 1, &b);
    }
    return tenon_poly_dim(p, &r);
}

static const tenon_dim *sum(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b, int64_t times)
{
    if (!a || !b) return NULL;
    poly x, y;
    tenon_poly_of(&x, a);
    tenon_poly_of(&y, b);
    tenon_poly_add(&x, &y, times);
    if (x.overflow || !x.large) return tenon_poly_dim(p, &x);
    if (times != 1) b = tenon_dim_mul(p, b, tenon_dim_const(p, times));
    return b ? opaque(p, false, a, b) : NULL;
}

const tenon_dim *tenon_dim_add(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b) { return sum(p, a, b, 1); }
const tenon_dim *tenon_dim_sub(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b) { return sum(p, a, b, -1); }

const tenon_dim *tenon_dim_mul(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b)
{
    if (!a || !b) return NULL;
    poly x, y, r;
    tenon_poly_of(&x, a);
    tenon_poly_of(&y, b);
    tenon_poly_mul(&r, &x, &y);
    if (r.overflow || !r.large) return tenon_poly_dim(p, &r);
    return opaque(p, true, a, b);
}

/* ---- quotient and remainder by a positive constant ---- */

/* c * m is a multiple of d by the divisors of m's atoms: *t = c * m / d in terms of their exact quotients. */
static bool exact_term(tenon_dim_pool *p, const poly_term *m, int64_t d, poly_term *t)
{
    *t = *m;
    int64_t g = tenon_dim_gcd(t->c, d);
    t->c /= g;
    d /= g;
    for (int i = 0; i < t->n && d > 1; i++) {
        const tenon_dim *a = t->atom[i];
        g = tenon_dim_gcd(a->divisor, d);
        if (g < 2) continue;
        const tenon_dim *unit = tenon_dim_intern(p, TENON_DIM_FLOORDIV, 0, 2,
                                                 (const tenon_dim *const[]){a, tenon_dim_const(p, a->divisor)});
        if (!unit || !tenon_mul_i64(t->c, a->divisor / g, &t->c)) return false;
        t->atom[i] = unit;
        d /= g;
    }
    return d == 1;
}

/* a = q * d + r term by term, 0 <= coefficient of r < d. */
static void split_by_const(tenon_dim_pool *p, const poly *a, int64_t d, poly *q, poly *r)
{
    tenon_poly_clear(q);
    tenon_poly_clear(r);
    q->large = a->large;
    q->overflow = a->overflow;
    for (int i = 0; i < a->count; i++) {
        poly_term t = a->term[i], exact;
        const int64_t whole = tenon_dim_floor(t.c, d);
        t.c = tenon_dim_rest(t.c, d);
        if (whole) tenon_poly_add_term(q, whole, t.n, t.atom);
        if (!t.c) continue;
        if (t.n && exact_term(p, &t, d, &exact)) tenon_poly_add_term(q, exact.c, exact.n, exact.atom);
        else tenon_poly_add_term(r, t.c, t.n, t.atom);
    }
}

static int64_t variable_gcd(const poly *a, int64_t start)
{
    for (int i = 0; i < a->count; i++)
        if (a->term[i].n) start = tenon_dim_gcd(start, a->term[i].c);
    return start;
}

/* Divides by g; the constant is rounded down, its rest (what the division lost) is returned. */
static int64_t divide_by_gcd(poly *a, int64_t g)
{
    int64_t rest = 0;
    poly r;
    tenon_poly_clear(&r);
    for (int i = 0; i < a->count; i++) {
        const poly_term *t = &a->term[i];
        const int64_t c = tenon_dim_floor(t->c, g);
        if (!t->n) rest = tenon_dim_rest(t->c, g);
        tenon_poly_add_term(&r, c, t->n, t->atom);
    }
    r.large = r.large || a->large;
    *a = r;
    return rest;
}

/* floor((floor(x / e) + c) / d) = floor((x + c * e) / (e * d)): strides after strides become one. */
static bool join_nested(poly *r, int64_t *d)
{
    if (!r->count || r->count > 2 || r->term[0].c != 1 || r->term[0].n != 1 || (r->count == 2 && r->term[1].n)) return false;
    const tenon_dim *inner = r->term[0].atom[0];
    if (inner->kind != TENON_DIM_FLOORDIV || !tenon_dim_is_const(inner->arg[1]) || inner->arg[1]->value < 1) return false;
    int64_t shift, by;
    if (!tenon_mul_i64(r->count == 2 ? r->term[1].c : 0, inner->arg[1]->value, &shift) ||
        !tenon_mul_i64(*d, inner->arg[1]->value, &by))
        return false;
    tenon_poly_of(r, inner->arg[0]);
    if (shift) tenon_poly_add_term(r, shift, 0, NULL);
    *d = by;
    return poly_ok(r);
}

static const tenon_dim *floordiv_const(tenon_dim_pool *p, const tenon_dim *a, int64_t d)
{
    if (!a) return NULL;
    poly x, q, r;
    tenon_poly_of(&x, a);
    split_by_const(p, &x, d, &q, &r);
    const int64_t g = variable_gcd(&r, d);
    if (g > 1) divide_by_gcd(&r, g);
    d /= g;
    int64_t lo, hi;
    if (!poly_ok(&q) || !poly_ok(&r))
        return tenon_dim_intern(p, TENON_DIM_FLOORDIV, 0, 2, (const tenon_dim *const[]){a, tenon_dim_const(p, d * g)});
    if (tenon_poly_bounds(&r, &lo, &hi) && tenon_dim_floor(lo, d) == tenon_dim_floor(hi, d)) {
        tenon_poly_add_term(&q, tenon_dim_floor(lo, d), 0, NULL);
        return tenon_poly_dim(p, &q);
    }
    poly inner = r;
    int64_t joined = d;
    const tenon_dim *rest;
    if (join_nested(&inner, &joined)) rest = floordiv_const(p, tenon_poly_dim(p, &inner), joined);
    else
        rest = tenon_dim_intern(p, TENON_DIM_FLOORDIV, 0, 2,
                                (const tenon_dim *const[]){tenon_poly_dim(p, &r), tenon_dim_const(p, d)});
    return tenon_dim_add(p, tenon_poly_dim(p, &q), rest);
}

static const tenon_dim *mod_const(tenon_dim_pool *p, const tenon_dim *a, int64_t d)
{
    poly x, q, r;
    tenon_poly_of(&x, a);
    split_by_const(p, &x, d, &q, &r);
    int64_t lo, hi;
    if (!poly_ok(&r)) return tenon_dim_intern(p, TENON_DIM_MOD, 0, 2, (const tenon_dim *const[]){a, tenon_dim_const(p, d)});
    if (tenon_poly_bounds(&r, &lo, &hi) && lo >= 0 && hi < d) return tenon_poly_dim(p, &r);
    const int64_t g = variable_gcd(&r, d), rest = g > 1 ? divide_by_gcd(&r, g) : 0;
    const tenon_dim *m = tenon_dim_intern(p, TENON_DIM_MOD, 0, 2,
                                          (const tenon_dim *const[]){tenon_poly_dim(p, &r), tenon_dim_const(p, d / g)});
    return tenon_dim_add(p, tenon_dim_mul(p, m, tenon_dim_const(p, g)), tenon_dim_const(p, rest));
}

/* ---- by an expression ---- */

/* Takes the atoms that every term of both has, and the common factor of all coefficients, out of both. False when that is 1. */
static bool cancel_common(poly *a, poly *b)
{
    poly_term shared = a->term[0], *const common = &shared;
    common->c = 0;
    poly *const both[2] = {a, b};
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < both[side]->count; i++) {
            const poly_term *t = &both[side]->term[i];
            poly_term kept = {.c = tenon_dim_gcd(common->c, t->c)};
            for (int k = 0, j = 0; k < common->n && j < t->n;) {
                if (common->atom[k] == t->atom[j]) kept.atom[kept.n++] = t->atom[j], k++, j++;
                else if (common->atom[k]->id < t->atom[j]->id) k++;
                else j++;
            }
            *common = kept;
        }
    if (common->c <= 1 && !common->n) return false;
    poly unit, rest, q;
    tenon_poly_clear(&unit);
    tenon_poly_add_term(&unit, common->c, common->n, common->atom);
    for (int side = 0; side < 2; side++) {
        tenon_poly_divide(both[side], &unit, &q, &rest);
        *both[side] = q;
    }
    return true;
}

/* 0 <= r < d is proved. */
static bool below(tenon_dim_pool *p, const tenon_dim *r, const tenon_dim *d)
{
    if (r->lo < 0 || d->lo < 1) return false;
    if (r->hi < d->lo) return true;
    const tenon_dim *gap = tenon_dim_sub(p, d, r);
    return gap && gap->lo >= 1;
}

/* A quotient or remainder by an expression, or the one number that its bounds leave. */
static const tenon_dim *keep_or_number(tenon_dim_pool *p, tenon_dim_kind kind, const tenon_dim *a, const tenon_dim *b)
{
    const tenon_dim *d = tenon_dim_intern(p, kind, 0, 2, (const tenon_dim *const[]){a, b});
    return d && d->lo == d->hi && d->lo > -TENON_DIM_HUGE && d->hi < TENON_DIM_HUGE ? tenon_dim_const(p, d->lo) : d;
}

/* -b <= a < 0 < b is proved; *sum = a + b then. */
static bool just_below_zero(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b, const tenon_dim **sum_out)
{
    if (a->hi >= 0 || b->lo < 1) return false;
    *sum_out = tenon_dim_add(p, a, b);
    return *sum_out && (*sum_out)->lo >= 0;
}

/* The quotient and remainder that are worth having: nothing left, less left than there was, or all of it below d. */
static bool reduce(tenon_dim_pool *p, const poly *x, const poly *y, const tenon_dim **q, const tenon_dim **r)
{
    poly a = *x, quotient, rest;
    tenon_poly_divide(&a, y, &quotient, &rest);
    if (!poly_ok(&quotient) || !poly_ok(&rest) || !quotient.count || rest.count >= x->count) return false;
    *q = tenon_poly_dim(p, &quotient);
    *r = tenon_poly_dim(p, &rest);
    return *q && *r;
}

const tenon_dim *tenon_dim_floordiv(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b)
{
    if (!a || !b) return NULL;
    if (tenon_dim_is_const(b)) {
        if (b->value == INT64_MIN) return tenon_dim_overflow(p);
        if (tenon_dim_is_const(a) && b->value == -1 && a->value == INT64_MIN) return tenon_dim_overflow(p);
        if (b->value > 0) return floordiv_const(p, a, b->value);
        const tenon_dim *minus = b->value ? tenon_dim_sub(p, tenon_dim_const(p, 0), a) : NULL;
        if (b->value) return minus ? floordiv_const(p, minus, -b->value) : NULL;
        return tenon_dim_intern(p, TENON_DIM_FLOORDIV, 0, 2, (const tenon_dim *const[]){a, b});
    }
    if (tenon_dim_is(a, 0) || a == b) return tenon_dim_const(p, a == b);
    poly x, y;
    tenon_poly_of(&x, a);
    tenon_poly_of(&y, b);
    if (cancel_common(&x, &y)) return tenon_dim_floordiv(p, tenon_poly_dim(p, &x), tenon_poly_dim(p, &y));
    const tenon_dim *q, *r;
    if (reduce(p, &x, &y, &q, &r)) return tenon_dim_add(p, q, tenon_dim_floordiv(p, r, b));
    if (below(p, a, b)) return tenon_dim_const(p, 0);
    if (just_below_zero(p, a, b, &r)) return tenon_dim_const(p, -1);
    return keep_or_number(p, TENON_DIM_FLOORDIV, a, b);
}

const tenon_dim *tenon_dim_ceildiv(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b)
{
    if (!a || !b) return NULL;
    const tenon_dim *one = tenon_dim_const(p, 1);
    /* ceil(a / b) = floor((a - 1) / b) + 1 for b > 0, and floor(-a / -b) turned for constants b < 0 */
    if (b->lo >= 1) return tenon_dim_add(p, tenon_dim_floordiv(p, tenon_dim_sub(p, a, one), b), one);
    if (tenon_dim_is_const(b) && b->value < 0 && b->value > INT64_MIN)
        return tenon_dim_ceildiv(p, tenon_dim_sub(p, tenon_dim_const(p, 0), a), tenon_dim_const(p, -b->value));
    if (a == b || tenon_dim_is(a, 0)) return tenon_dim_const(p, a == b && !tenon_dim_is(b, 0));
    poly x, y;
    tenon_poly_of(&x, a);
    tenon_poly_of(&y, b);
    const tenon_dim *q, *r;
    if (!tenon_dim_is_const(b) && reduce(p, &x, &y, &q, &r) && tenon_dim_is(r, 0)) return q;
    return tenon_dim_intern(p, TENON_DIM_CEILDIV, 0, 2, (const tenon_dim *const[]){a, b});
}

const tenon_dim *tenon_dim_mod(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b)
{
    if (!a || !b) return NULL;
    if (tenon_dim_is_const(b)) {
        if (b->value > 0) return mod_const(p, a, b->value);
        if (b->value < 0 && tenon_dim_is_const(a)) {
            const int64_t m = b->value == -1 ? 0 : a->value % b->value;
            return tenon_dim_const(p, m > 0 ? m + b->value : m);
        }
        return tenon_dim_intern(p, TENON_DIM_MOD, 0, 2, (const tenon_dim *const[]){a, b});
    }
    if (a == b) return tenon_dim_const(p, 0);
    if (below(p, a, b)) return a;
    poly x, y;
    tenon_poly_of(&x, a);
    tenon_poly_of(&y, b);
    const tenon_dim *q, *r;
    if (reduce(p, &x, &y, &q, &r)) return tenon_dim_mod(p, r, b);
    if (just_below_zero(p, a, b, &r)) return r;
    return keep_or_number(p, TENON_DIM_MOD, a, b);
}

/* ---- comparison and choice ---- */
enum { LESS = 1, EQUAL = 2, GREATER = 4, ANY = 7 };

static int64_t low_of(const tenon_dim *d) { return tenon_dim_is_const(d) ? d->value : d->lo; }
static int64_t high_of(const tenon_dim *d) { return tenon_dim_is_const(d) ? d->value : d->hi; }

/* Which relations of a to b are possible. */
static int relations(const tenon_dim *a, const tenon_dim *b)
{
    if (a == b) return EQUAL;
    int can = ANY;
    if (high_of(a) < low_of(b)) can &= LESS;
    if (high_of(a) <= low_of(b)) can &= LESS | EQUAL;
    if (low_of(a) > high_of(b)) can &= GREATER;
    if (low_of(a) >= high_of(b)) can &= GREATER | EQUAL;
    poly x, y;
    tenon_poly_of(&x, a);
    tenon_poly_of(&y, b);
    tenon_poly_add(&x, &y, -1);
    if (!poly_ok(&x)) return can;
    int64_t lo, hi, divisor = 0, c = 0;
    tenon_poly_bounds(&x, &lo, &hi);
    if (hi < 0) can &= LESS;
    if (hi <= 0) can &= LESS | EQUAL;
    if (lo > 0) can &= GREATER;
    if (lo >= 0) can &= GREATER | EQUAL;
    for (int i = 0; i < x.count; i++) {
        if (!x.term[i].n) {
            c = x.term[i].c;
            continue;
        }
        int64_t of_term = x.term[i].c, next;
        for (int k = 0; k < x.term[i].n; k++)
            if (tenon_mul_i64(of_term, x.term[i].atom[k]->divisor, &next)) of_term = next;
        divisor = tenon_dim_gcd(divisor, of_term);
    }
    if (divisor > 1 && c % divisor) can &= LESS | GREATER;
    return can;
}

/* Splits positive * g into terms that stay and terms that change sides, so that both sides have positive coefficients. */
static void sides(tenon_dim_pool *p, const poly *a, const tenon_dim **positive, const tenon_dim **negative)
{
    poly plus, minus;
    tenon_poly_clear(&plus);
    tenon_poly_clear(&minus);
    for (int i = 0; i < a->count; i++) {
        const poly_term *t = &a->term[i];
        if (t->c == INT64_MIN) minus.overflow = true;
        else if (t->c > 0) tenon_poly_add_term(&plus, t->c, t->n, t->atom);
        else tenon_poly_add_term(&minus, -t->c, t->n, t->atom);
    }
    *positive = tenon_poly_dim(p, &plus);
    *negative = tenon_poly_dim(p, &minus);
}

const tenon_dim *tenon_dim_eq(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b)
{
    if (!a || !b) return NULL;
    const int can = relations(a, b);
    if (can == EQUAL || !(can & EQUAL)) return tenon_dim_const(p, can == EQUAL);
    poly x, y;
    tenon_poly_of(&x, a);
    tenon_poly_of(&y, b);
    tenon_poly_add(&x, &y, -1);
    const tenon_dim *left, *right;
    if (poly_ok(&x)) {
        if (x.term[0].c < 0) { /* the leading term is on the left */
            poly minus;
            tenon_poly_clear(&minus);
            tenon_poly_add(&minus, &x, -1);
            x = minus;
        }
        const int64_t g = variable_gcd(&x, 0);
        if (g > 1) divide_by_gcd(&x, g); /* the constant divides, or the divisors had decided */
        sides(p, &x, &left, &right);
    } else {
        left = a->id < b->id ? a : b;
        right = a->id < b->id ? b : a;
    }
    return tenon_dim_intern(p, TENON_DIM_EQ, 0, 2, (const tenon_dim *const[]){left, right});
}

const tenon_dim *tenon_dim_lt(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b)
{
    if (!a || !b) return NULL;
    const int can = relations(a, b);
    if (can == LESS || !(can & LESS)) return tenon_dim_const(p, can == LESS);
    poly x, y; /* a < b  <=>  b - a - 1 >= 0  <=>  floor((b - a - 1) / g) >= 0 */
    tenon_poly_of(&x, b);
    tenon_poly_of(&y, a);
    tenon_poly_add(&x, &y, -1);
    tenon_poly_add_term(&x, -1, 0, NULL);
    const tenon_dim *left = a, *right = b;
    if (poly_ok(&x)) {
        const int64_t g = variable_gcd(&x, 0);
        if (g > 1) divide_by_gcd(&x, g);
        tenon_poly_add_term(&x, 1, 0, NULL);
        sides(p, &x, &right, &left);
    }
    return tenon_dim_intern(p, TENON_DIM_LT, 0, 2, (const tenon_dim *const[]){left, right});
}

enum { MOST_CHOICES = 16 };

/* Adds d to the list unless something in it decides against it; drops what it decides against. Sorted by id. */
static int add_choice(const tenon_dim **list, int count, const tenon_dim *d, int keeps)
{
    int kept = 0, at;
    for (int i = 0; i < count; i++)
        if (!(relations(list[i], d) & ~(keeps | EQUAL))) return count; /* list[i] is never worse */
    for (int i = 0; i < count; i++)
        if (relations(d, list[i]) & ~(keeps | EQUAL)) list[kept++] = list[i];
    for (at = kept; at > 0 && list[at - 1]->id > d->id; at--) list[at] = list[at - 1];
    list[at] = d;
    return kept + 1;
}

static const tenon_dim *choose(tenon_dim_pool *p, tenon_dim_kind kind, const tenon_dim *a, const tenon_dim *b)
{
    if (!a || !b) return NULL;
    const tenon_dim *list[2 * MOST_CHOICES + 2], *const pair[2] = {a, b};
    int count = 0;
    for (int i = 0; i < 2; i++) {
        const bool flat = pair[i]->kind == kind && pair[i]->arg_count <= MOST_CHOICES;
        const int parts = flat ? pair[i]->arg_count : 1;
        for (int k = 0; k < parts; k++)
            count = add_choice(list, count, flat ? pair[i]->arg[k] : pair[i], kind == TENON_DIM_MIN ? LESS : GREATER);
    }
    return count == 1 ? list[0] : tenon_dim_intern(p, kind, 0, count, list);
}

const tenon_dim *tenon_dim_min(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b)
{
    return choose(p, TENON_DIM_MIN, a, b);
}
const tenon_dim *tenon_dim_max(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b)
{
    return choose(p, TENON_DIM_MAX, a, b);
}

const tenon_dim *tenon_dim_select(tenon_dim_pool *p, const tenon_dim *c, const tenon_dim *a, const tenon_dim *b)
{
    if (!c || !a || !b) return NULL;
    if (a == b) return a;
    const tenon_dim *none = tenon_dim_const(p, 0);
    if (!none) return NULL;
    const int zero = relations(c, none);
    if (zero == EQUAL) return b;
    if (!(zero & EQUAL)) return a;
    if (c->lo >= 0 && c->hi <= 1 && tenon_dim_is(a, 1) && tenon_dim_is(b, 0)) return c;
    if (c->kind == TENON_DIM_EQ && ((c->arg[0] == a && c->arg[1] == b) || (c->arg[0] == b && c->arg[1] == a))) return b;
    return tenon_dim_intern(p, TENON_DIM_SELECT, 0, 3, (const tenon_dim *const[]){c, a, b});
}

const tenon_dim *tenon_dim_apply(tenon_dim_pool *p, tenon_dim_kind kind, int argc, const tenon_dim *const *arg)
{
    const tenon_dim *(*const two[])(tenon_dim_pool *, const tenon_dim *, const tenon_dim *) = {
        [TENON_DIM_ADD] = tenon_dim_add, [TENON_DIM_MUL] = tenon_dim_mul, [TENON_DIM_FLOORDIV] = tenon_dim_floordiv,
        [TENON_DIM_CEILDIV] = tenon_dim_ceildiv, [TENON_DIM_MOD] = tenon_dim_mod, [TENON_DIM_MIN] = tenon_dim_min,
        [TENON_DIM_MAX] = tenon_dim_max, [TENON_DIM_EQ] = tenon_dim_eq, [TENON_DIM_LT] = tenon_dim_lt, [TENON_DIM_SELECT] = NULL,
    };
    if (kind == TENON_DIM_SELECT) return argc == 3 ? tenon_dim_select(p, arg[0], arg[1], arg[2]) : NULL;
    if (kind < TENON_DIM_ADD || kind > TENON_DIM_LT || argc < 1) return NULL;
    const bool folds = kind == TENON_DIM_ADD || kind == TENON_DIM_MUL || kind == TENON_DIM_MIN || kind == TENON_DIM_MAX;
    if (argc != 2 && !folds) return NULL;
    const tenon_dim *r = arg[0];
    for (int i = 1; i < argc; i++) r = two[kind](p, r, arg[i]);
    return r;
}
