/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of small polynomials over dimension atoms. What grows beyond the fixed size is marked, never cut: the caller then
   keeps the operands as atoms. */
#include "ir/dim_poly.h"
#include "base/checked.h"

#include <string.h>

void tenon_poly_clear(poly *a)
{
    a->count = 0;
    a->large = a->overflow = false;
}

/* > 0: a is larger (comes first). Among equal degrees the monomial with more of the oldest atom is larger. */
static int compare(const poly_term *a, const poly_term *b)
{
    if (a->n != b->n) return a->n - b->n;
    for (int i = 0; i < a->n; i++)
        if (a->atom[i] != b->atom[i]) return b->atom[i]->id - a->atom[i]->id;
    return 0;
}

static void insert(poly *a, const poly_term *t)
{
    int at = 0, order = -1;
    if (!t->c) return;
    while (at < a->count && (order = compare(&a->term[at], t)) > 0) at++;
    if (at < a->count && order == 0) {
        if (!tenon_add_i64(a->term[at].c, t->c, &a->term[at].c)) a->overflow = true;
        if (a->term[at].c) return;
        a->count--;
        memmove(&a->term[at], &a->term[at + 1], (size_t)(a->count - at) * sizeof *t);
        return;
    }
    if (a->count == POLY_TERMS) {
        a->large = true;
        return;
    }
    memmove(&a->term[at + 1], &a->term[at], (size_t)(a->count - at) * sizeof *t);
    a->term[at] = *t;
    a->count++;
}

void tenon_poly_add_term(poly *a, int64_t c, int n, const tenon_dim *const *atom)
{
    poly_term t = {.c = c, .n = n};
    if (n > POLY_DEGREE) {
        a->large = true;
        return;
    }
    for (int i = 0; i < n; i++) {
        int k = i;
        for (; k > 0 && t.atom[k - 1]->id > atom[i]->id; k--) t.atom[k] = t.atom[k - 1];
        t.atom[k] = atom[i];
    }
    insert(a, &t);
}

static void add_node(poly *a, const tenon_dim *d)
{
    if (d->kind == TENON_DIM_CONST) tenon_poly_add_term(a, d->value, 0, NULL);
    else if (d->kind == TENON_DIM_MUL) tenon_poly_add_term(a, d->value, d->arg_count, d->arg);
    else tenon_poly_add_term(a, 1, 1, &d);
}

void tenon_poly_of(poly *a, const tenon_dim *d)
{
    tenon_poly_clear(a);
    if (d->kind != TENON_DIM_ADD) {
        add_node(a, d);
        return;
    }
    for (int i = 0; i < d->arg_count; i++) add_node(a, d->arg[i]);
}

void tenon_poly_add(poly *a, const poly *b, int64_t times)
{
    a->large = a->large || b->large;
    a->overflow = a->overflow || b->overflow;
    for (int i = 0; i < b->count; i++) {
        poly_term t = b->term[i];
        if (!tenon_mul_i64(t.c, times, &t.c)) a->overflow = true;
        else insert(a, &t);
    }
}

static void add_product(poly *out, const poly_term *a, const poly_term *b)
{
    const tenon_dim *atom[2 * POLY_DEGREE];
    int64_t c;
    if (!tenon_mul_i64(a->c, b->c, &c)) {
        out->overflow = true;
        return;
    }
    memcpy(atom, a->atom, (size_t)a->n * sizeof *atom);
    memcpy(atom + a->n, b->atom, (size_t)b->n * sizeof *atom);
    tenon_poly_add_term(out, c, a->n + b->n, atom);
}

void tenon_poly_mul(poly *out, const poly *a, const poly *b)
{
    tenon_poly_clear(out);
    out->large = a->large || b->large;
    out->overflow = a->overflow || b->overflow;
    for (int i = 0; i < a->count && !out->large; i++)
        for (int k = 0; k < b->count; k++) add_product(out, &a->term[i], &b->term[k]);
}

/* t = a / b when b's atoms are among a's and the coefficient divides. */
static bool divide_term(const poly_term *a, const poly_term *b, poly_term *t)
{
    if (b->c == 0 || (b->c == -1 && a->c == INT64_MIN) || a->c % b->c) return false;
    *t = (poly_term){.c = a->c / b->c};
    int k = 0;
    for (int i = 0; i < a->n; i++)
        if (k < b->n && a->atom[i] == b->atom[k]) k++;
        else t->atom[t->n++] = a->atom[i];
    return k == b->n;
}

void tenon_poly_divide(poly *a, const poly *d, poly *q, poly *r)
{
    tenon_poly_clear(q);
    tenon_poly_clear(r);
    r->large = !poly_ok(a) || !poly_ok(d) || !d->count;
    for (int rounds = 0; a->count && poly_ok(r) && poly_ok(q) && poly_ok(a); rounds++) {
        poly_term t, lead = a->term[0];
        if (rounds > 4 * POLY_TERMS) {
            r->large = true;
        } else if (!divide_term(&lead, &d->term[0], &t)) {
            insert(r, &lead);
            a->count--;
            memmove(&a->term[0], &a->term[1], (size_t)a->count * sizeof lead);
        } else {
            insert(q, &t);
            t.c = -t.c;
            for (int i = 0; i < d->count; i++) add_product(a, &t, &d->term[i]);
        }
    }
    r->large = r->large || !poly_ok(a);
}

/* c * (x / D) with x divisible by D is x for each full D in c: the quotient in [0, D) stays with the atom, the rest is x itself.
   An exact quotient has an atom below it, so this ends. */
static void restore_exact(poly *a)
{
    for (int i = 0; i < a->count && poly_ok(a); i++) {
        poly_term t = a->term[i];
        for (int k = 0; k < t.n; k++) {
            const tenon_dim *e = t.atom[k];
            if (e->kind != TENON_DIM_FLOORDIV || !tenon_dim_is_const(e->arg[1])) continue;
            const tenon_dim *x = e->arg[0];
            const int64_t by = e->arg[1]->value;
            if (by < 2 || x->kind == TENON_DIM_ADD || x->kind == TENON_DIM_MUL || x->divisor % by || (t.c >= 0 && t.c < by))
                continue;
            const int64_t whole = tenon_dim_floor(t.c, by);
            a->term[i].c = tenon_dim_rest(t.c, by);
            if (!a->term[i].c) {
                a->count--;
                memmove(&a->term[i], &a->term[i + 1], (size_t)(a->count - i) * sizeof t);
            }
            t.atom[k] = x;
            tenon_poly_add_term(a, whole, t.n, t.atom);
            i = -1;
            break;
        }
    }
}

static const tenon_dim *term_dim(tenon_dim_pool *p, const poly_term *t)
{
    if (!t->n) return tenon_dim_const(p, t->c);
    if (t->n == 1 && t->c == 1) return t->atom[0];
    return tenon_dim_intern(p, TENON_DIM_MUL, t->c, t->n, t->atom);
}

const tenon_dim *tenon_poly_dim(tenon_dim_pool *p, poly *a)
{
    restore_exact(a);
    if (!poly_ok(a)) return tenon_dim_overflow(p);
    if (!a->count) return tenon_dim_const(p, 0);
    if (a->count == 1) return term_dim(p, &a->term[0]);
    const tenon_dim *arg[POLY_TERMS];
    for (int i = 0; i < a->count; i++)
        if (!(arg[i] = term_dim(p, &a->term[i]))) return NULL;
    return tenon_dim_intern(p, TENON_DIM_ADD, 0, a->count, arg);
}

/* Interval of one term as a product of its atoms; false when it is open or beyond what is exact. */
static void term_bounds(const poly_term *t, int64_t *lo, int64_t *hi)
{
    *lo = *hi = t->c;
    for (int i = 0; i < t->n; i++) {
        const int64_t al = t->atom[i]->lo, ah = t->atom[i]->hi;
        int64_t e[4], l = INT64_MAX, h = INT64_MIN;
        const int64_t x[4] = {*lo, *lo, *hi, *hi}, y[4] = {al, ah, al, ah};
        for (int k = 0; k < 4; k++) {
            if (!tenon_mul_i64(x[k], y[k], &e[k])) e[k] = (x[k] < 0) == (y[k] < 0) ? INT64_MAX : INT64_MIN;
            l = TENON_MIN(l, e[k]);
            h = TENON_MAX(h, e[k]);
        }
        *lo = l;
        *hi = h;
    }
}

bool tenon_poly_bounds(const poly *a, int64_t *lo, int64_t *hi)
{
    *lo = *hi = 0;
    bool open_lo = !poly_ok(a), open_hi = open_lo;
    for (int i = 0; i < a->count; i++) {
        int64_t l, h;
        term_bounds(&a->term[i], &l, &h);
        open_lo = open_lo || (a->term[i].n && l <= -TENON_DIM_HUGE) || !tenon_add_i64(*lo, l, lo);
        open_hi = open_hi || (a->term[i].n && h >= TENON_DIM_HUGE) || !tenon_add_i64(*hi, h, hi);
    }
    if (open_lo) *lo = INT64_MIN;
    if (open_hi) *hi = INT64_MAX;
    return !open_lo && !open_hi;
}
