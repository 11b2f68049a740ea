/* SPDX-License-Identifier: Apache-2.0 */
/* The pool: interning, bounds, symbols, evaluation. Bounds are intervals that saturate at TENON_DIM_HUGE, where an end means "no
   end": a sum with such a part has no end on that side. Tree size and depth are limited here, so recursion is safe elsewhere. */
#include "base/checked.h"
#include "ir/dim_intern.h"

#include <stdio.h>
#include <string.h>

enum { MOST_SIZE = 20000, MOST_DEPTH = 128 };

typedef struct dim_table { size_t capacity; tenon_dim **slot; } dim_table;

void tenon_dim_pool_init(tenon_dim_pool *pool, tenon_arena *arena) { *pool = (tenon_dim_pool){.arena = arena}; }

const tenon_dim *tenon_dim_overflow(tenon_dim_pool *p)
{
    (void)TENON_FAIL(p->arena->cx, TENON_UNSUPPORTED,
                     "a dimension expression does not fit: a number beyond 64 bits, or too many terms");
    return NULL;
}

/* ---- bounds ---- */
static int64_t clamp(int64_t v) { return TENON_MIN(TENON_MAX(v, -TENON_DIM_HUGE), TENON_DIM_HUGE); }

static int64_t clamped_product(int64_t a, int64_t b)
{
    int64_t r;
    if (!tenon_mul_i64(a, b, &r)) return (a < 0) == (b < 0) ? TENON_DIM_HUGE : -TENON_DIM_HUGE;
    return clamp(r);
}

static void product_bounds(tenon_dim *d)
{
    int64_t lo = clamp(d->value), hi = lo, divisor = d->value;
    for (int i = 0; i < d->arg_count; i++) {
        const tenon_dim *a = d->arg[i];
        const int64_t e[4] = {clamped_product(lo, a->lo), clamped_product(lo, a->hi), clamped_product(hi, a->lo),
                              clamped_product(hi, a->hi)};
        lo = TENON_MIN(TENON_MIN(e[0], e[1]), TENON_MIN(e[2], e[3]));
        hi = TENON_MAX(TENON_MAX(e[0], e[1]), TENON_MAX(e[2], e[3]));
        int64_t next;
        if (tenon_mul_i64(divisor, a->divisor, &next)) divisor = next;
    }
    d->lo = lo;
    d->hi = hi;
    d->divisor = tenon_dim_gcd(divisor, 0);
}

static void sum_bounds(tenon_dim *d)
{
    int64_t lo = 0, hi = 0, divisor = 0;
    bool open_lo = false, open_hi = false;
    for (int i = 0; i < d->arg_count; i++) {
        const tenon_dim *a = d->arg[i];
        open_lo = open_lo || a->lo <= -TENON_DIM_HUGE;
        open_hi = open_hi || a->hi >= TENON_DIM_HUGE;
        lo += a->lo; /* at most 2^7 terms of 2^48 */
        hi += a->hi;
        divisor = tenon_dim_gcd(divisor, a->divisor);
    }
    d->lo = open_lo ? -TENON_DIM_HUGE : clamp(lo);
    d->hi = open_hi ? TENON_DIM_HUGE : clamp(hi);
    d->divisor = divisor;
}

static int64_t floor_of(int64_t a, int64_t b) { return a <= -TENON_DIM_HUGE || a >= TENON_DIM_HUGE ? a : tenon_dim_floor(a, b); }

static void quotient_bounds(tenon_dim *d)
{
    const tenon_dim *a = d->arg[0], *b = d->arg[1];
    d->divisor = 1;
    d->lo = -TENON_DIM_HUGE;
    d->hi = TENON_DIM_HUGE;
    if (b->lo >= 1) {
        const int64_t up = d->kind == TENON_DIM_CEILDIV; /* ceil <= floor + 1 */
        d->lo = TENON_MIN(floor_of(a->lo, b->lo), floor_of(a->lo, b->hi));
        d->hi = clamp(TENON_MAX(floor_of(a->hi, b->lo), floor_of(a->hi, b->hi)) + up);
    }
    if (tenon_dim_is_const(b) && b->value > 0 && a->divisor && a->divisor % b->value == 0) d->divisor = a->divisor / b->value;
}

static void remainder_bounds(tenon_dim *d)
{
    const tenon_dim *a = d->arg[0], *b = d->arg[1];
    d->divisor = TENON_MAX(tenon_dim_gcd(a->divisor, b->divisor), 1);
    d->lo = -TENON_DIM_HUGE;
    d->hi = TENON_DIM_HUGE;
    if (b->lo >= 1) {
        d->lo = 0;
        d->hi = b->hi >= TENON_DIM_HUGE ? b->hi : b->hi - 1;
        if (a->lo >= 0) d->hi = TENON_MIN(d->hi, a->hi);
    } else if (b->hi <= -1) {
        d->lo = b->lo <= -TENON_DIM_HUGE ? b->lo : b->lo + 1;
        d->hi = 0;
    }
}

static void choice_bounds(tenon_dim *d)
{
    const int first = d->kind == TENON_DIM_SELECT;
    d->lo = d->arg[first]->lo;
    d->hi = d->arg[first]->hi;
    d->divisor = d->arg[first]->divisor;
    for (int i = first + 1; i < d->arg_count; i++) {
        const tenon_dim *a = d->arg[i];
        d->lo = d->kind == TENON_DIM_MAX ? TENON_MAX(d->lo, a->lo) : TENON_MIN(d->lo, a->lo);
        d->hi = d->kind == TENON_DIM_MIN ? TENON_MIN(d->hi, a->hi) : TENON_MAX(d->hi, a->hi);
        d->divisor = tenon_dim_gcd(d->divisor, a->divisor);
    }
}

static void set_bounds(const tenon_dim_pool *p, tenon_dim *d)
{
    switch (d->kind) {
    case TENON_DIM_CONST:
        d->lo = d->hi = clamp(d->value);
        d->divisor = tenon_dim_gcd(d->value, 0);
        break;
    case TENON_DIM_SYM:
        d->lo = p->symbol[d->value].lo;
        d->hi = p->symbol[d->value].hi;
        d->divisor = p->symbol[d->value].divisor;
        break;
    case TENON_DIM_ADD: sum_bounds(d); break;
    case TENON_DIM_MUL: product_bounds(d); break;
    case TENON_DIM_FLOORDIV: case TENON_DIM_CEILDIV: quotient_bounds(d); break;
    case TENON_DIM_MOD: remainder_bounds(d); break;
    case TENON_DIM_MIN: case TENON_DIM_MAX: case TENON_DIM_SELECT: choice_bounds(d); break;
    case TENON_DIM_EQ: case TENON_DIM_LT:
        d->lo = 0;
        d->hi = d->divisor = 1;
        break;
    }
}

/* ---- interning ---- */
static uint64_t hash_parts(tenon_dim_kind kind, int64_t value, int arg_count, const tenon_dim *const *arg)
{
    uint64_t h = (uint64_t)value * 0x9e3779b97f4a7c15u + (uint64_t)kind;
    for (int i = 0; i < arg_count; i++) h = (h ^ (uint64_t)arg[i]->id) * 0xff51afd7ed558ccdu + (h >> 31);
    return h ^ h >> 32;
}

static bool grow_table(tenon_dim_pool *p, dim_table *t)
{
    if (p->node_count * 2 + 2 <= t->capacity) return true;
    dim_table next = {.capacity = TENON_MAX(t->capacity * 2, 128)};
    next.slot = tenon_arena_array(p->arena, next.capacity, sizeof *next.slot);
    if (!next.slot) return false;
    for (size_t i = 0; i < p->node_count; i++) {
        tenon_dim *d = p->node[i];
        size_t at = hash_parts(d->kind, d->value, d->arg_count, d->arg) & (next.capacity - 1);
        while (next.slot[at]) at = (at + 1) & (next.capacity - 1);
        next.slot[at] = d;
    }
    *t = next;
    return true;
}

static bool measure(const tenon_dim_pool *p, tenon_dim *d)
{
    int64_t size = 1;
    for (int i = 0; i < d->arg_count; i++) {
        size += d->arg[i]->size;
        d->depth = TENON_MAX(d->depth, d->arg[i]->depth + 1);
        d->from_data = d->from_data || d->arg[i]->from_data;
    }
    if (d->kind == TENON_DIM_SYM) d->from_data = p->symbol[d->value].data_dependent;
    d->size = (int)TENON_MIN(size, MOST_SIZE + 1);
    return size <= MOST_SIZE && d->depth <= MOST_DEPTH;
}

static tenon_dim *make(tenon_dim_pool *p, tenon_dim_kind kind, int64_t value, int arg_count, const tenon_dim *const *arg)
{
    tenon_dim *d = tenon_arena_alloc(p->arena, sizeof *d);
    if (!d ||
        tenon_arena_grow(p->arena, (void **)&p->node, &p->node_capacity, p->node_count + 1, sizeof(tenon_dim *)) != TENON_OK)
        return NULL;
    *d = (tenon_dim){.kind = kind, .value = value, .arg_count = arg_count, .id = (int)p->node_count};
    if (arg_count) {
        if (!(d->arg = tenon_arena_array(p->arena, (size_t)arg_count, sizeof *d->arg))) return NULL;
        memcpy(d->arg, arg, (size_t)arg_count * sizeof *d->arg);
    }
    return d;
}

const tenon_dim *tenon_dim_intern(tenon_dim_pool *p, tenon_dim_kind kind, int64_t value, int arg_count,
                                  const tenon_dim *const *arg)
{
    if (p->failed) return NULL;
    for (int i = 0; i < arg_count; i++)
        if (!arg[i]) return NULL;
    dim_table *t = p->table;
    if (!t) t = p->table = tenon_arena_alloc(p->arena, sizeof *t);
    if (!t || !grow_table(p, t)) {
        p->failed = true;
        return NULL;
    }
    size_t at = hash_parts(kind, value, arg_count, arg) & (t->capacity - 1);
    for (; t->slot[at]; at = (at + 1) & (t->capacity - 1)) {
        const tenon_dim *d = t->slot[at];
        if (d->kind == kind && d->value == value && d->arg_count == arg_count &&
            (!arg_count || !memcmp(d->arg, arg, (size_t)arg_count * sizeof *arg)))
            return d;
    }
    tenon_dim *d = make(p, kind, value, arg_count, arg);
    if (!d) {
        p->failed = true;
        return NULL;
    }
    if (!measure(p, d)) return tenon_dim_overflow(p);
    set_bounds(p, d);
    p->node[p->node_count++] = d;
    return t->slot[at] = d;
}

const tenon_dim *tenon_dim_const(tenon_dim_pool *p, int64_t value)
{
    return tenon_dim_intern(p, TENON_DIM_CONST, value, 0, NULL);
}

/* Interning in the order of creation gives every node its id again; nothing is folded anew. */
tenon_dim_pool *tenon_dim_pool_clone(const tenon_dim_pool *from, tenon_arena *arena)
{
    tenon_dim_pool *p = tenon_arena_alloc(arena, sizeof *p);
    if (!p) return NULL;
    tenon_dim_pool_init(p, arena);
    p->symbol = tenon_arena_array(arena, from->symbol_count + 1, sizeof *p->symbol);
    if (!p->symbol) return NULL;
    p->symbol_count = from->symbol_count;
    p->symbol_capacity = from->symbol_count + 1;
    for (size_t i = 0; i < from->symbol_count; i++) {
        p->symbol[i] = from->symbol[i];
        p->symbol[i].name = tenon_arena_strdup(arena, from->symbol[i].name);
        if (!p->symbol[i].name) return NULL;
    }
    for (size_t i = 0; i < from->node_count; i++) {
        const tenon_dim *d = from->node[i];
        const tenon_dim **arg = d->arg_count ? tenon_arena_array(arena, (size_t)d->arg_count, sizeof *arg) : NULL;
        if (d->arg_count && !arg) return NULL;
        for (int k = 0; k < d->arg_count; k++) arg[k] = p->node[d->arg[k]->id];
        const tenon_dim *c = tenon_dim_intern(p, d->kind, d->value, d->arg_count, arg);
        if (!c) return NULL;
        if (d->kind == TENON_DIM_SYM) p->symbol[d->value].dim = c;
    }
    return p;
}

/* ---- symbols ---- */
static const tenon_dim *new_symbol(tenon_dim_pool *p, const char *name, int64_t lo, int64_t opt, int64_t hi, int64_t divisor,
                                   bool from_data)
{
    if (p->failed) return NULL;
    tenon_dim_symbol *s = NULL;
    if (!(name = tenon_arena_strdup(p->arena, name)) ||
        tenon_arena_grow(p->arena, (void **)&p->symbol, &p->symbol_capacity, p->symbol_count + 1, sizeof *s) != TENON_OK) {
        p->failed = true;
        return NULL;
    }
    s = &p->symbol[p->symbol_count];
    *s = (tenon_dim_symbol){name, lo, TENON_MIN(TENON_MAX(opt, lo), hi), hi, TENON_MAX(divisor, 1), from_data, NULL};
    return s->dim = tenon_dim_intern(p, TENON_DIM_SYM, (int64_t)p->symbol_count++, 0, NULL);
}

static const tenon_dim *narrow(tenon_dim_pool *p, tenon_dim_symbol *s, int64_t lo, int64_t hi, int64_t divisor)
{
    lo = TENON_MAX(lo, s->lo);
    hi = TENON_MIN(hi, s->hi);
    int64_t joined;
    if (!tenon_mul_i64(s->divisor / tenon_dim_gcd(s->divisor, divisor), divisor, &joined)) joined = s->divisor;
    if (lo > hi) {
        (void)TENON_FAIL(p->arena->cx, TENON_INVALID, "dimension '%s': no value is left between %lld and %lld", s->name,
                         (long long)lo, (long long)hi);
        return NULL;
    }
    if (lo == s->lo && hi == s->hi && joined == s->divisor) return s->dim;
    *s = (tenon_dim_symbol){s->name, lo, TENON_MIN(TENON_MAX(s->opt, lo), hi), hi, joined, s->data_dependent, s->dim};
    for (size_t i = 0; i < p->node_count; i++) set_bounds(p, p->node[i]); /* parts come before what is made of them */
    return s->dim;
}

static tenon_dim_symbol *find_symbol(const tenon_dim_pool *p, const char *name)
{
    for (size_t i = 0; i < p->symbol_count; i++)
        if (!strcmp(p->symbol[i].name, name)) return &p->symbol[i];
    return NULL;
}

const tenon_dim *tenon_dim_symbol_named(tenon_dim_pool *p, const char *name, int64_t lo, int64_t opt, int64_t hi, int64_t divisor)
{
    lo = clamp(lo);
    hi = clamp(hi);
    tenon_dim_symbol *s = find_symbol(p, name);
    if (s) return narrow(p, s, lo, hi, TENON_MAX(divisor, 1));
    if (lo > hi) {
        (void)TENON_FAIL(p->arena->cx, TENON_INVALID, "dimension '%s': range %lld..%lld is empty", name, (long long)lo,
                         (long long)hi);
        return NULL;
    }
    return new_symbol(p, name, lo, opt, hi, divisor, false);
}

const tenon_dim *tenon_dim_symbol_fresh(tenon_dim_pool *p, const char *prefix, int64_t lo, int64_t hi)
{
    char name[96];
    size_t number = p->symbol_count;
    do snprintf(name, sizeof name, "%.64s%zu", prefix, number++);
    while (find_symbol(p, name));
    lo = clamp(lo);
    hi = clamp(TENON_MAX(hi, lo));
    return new_symbol(p, name, lo, hi, hi, 1, true);
}

const tenon_dim *tenon_dim_symbol_data(tenon_dim_pool *p, const char *name, int64_t lo, int64_t hi)
{
    lo = clamp(lo);
    hi = clamp(hi);
    if (lo <= hi && !find_symbol(p, name)) return new_symbol(p, name, lo, hi, hi, 1, true);
    (void)TENON_FAIL(p->arena->cx, TENON_INVALID, "dimension '%s': %s", name,
                     lo > hi ? "its range is empty" : "the name is taken");
    return NULL;
}

bool tenon_dim_depends_on_data(const tenon_dim_pool *p, const tenon_dim *d) { return (void)p, d->from_data; }

/* ---- evaluation ---- */
typedef struct values { const int64_t *value; const tenon_dim_symbol *symbol; } values; /* one of them */

static bool eval(const tenon_dim *d, const values *v, int64_t *out);

static bool eval_fold(const tenon_dim *d, const values *v, int64_t *out)
{
    int64_t r = d->kind == TENON_DIM_MUL ? d->value : 0, x;
    for (int i = 0; i < d->arg_count; i++) {
        if (!eval(d->arg[i], v, &x)) return false;
        if (d->kind == TENON_DIM_ADD && !tenon_add_i64(r, x, &r)) return false;
        if (d->kind == TENON_DIM_MUL && !tenon_mul_i64(r, x, &r)) return false;
        if (d->kind == TENON_DIM_MIN) r = i ? TENON_MIN(r, x) : x;
        if (d->kind == TENON_DIM_MAX) r = i ? TENON_MAX(r, x) : x;
    }
    *out = r;
    return true;
}

static bool eval_pair(const tenon_dim *d, const values *v, int64_t *out)
{
    int64_t a, b;
    if (!eval(d->arg[0], v, &a) || !eval(d->arg[1], v, &b)) return false;
    if (d->kind == TENON_DIM_EQ || d->kind == TENON_DIM_LT) {
        *out = d->kind == TENON_DIM_EQ ? a == b : a < b;
        return true;
    }
    if (b == 0 || (a == INT64_MIN && b == -1)) return false;
    if (d->kind == TENON_DIM_FLOORDIV) *out = tenon_dim_floor(a, b);
    else if (d->kind == TENON_DIM_CEILDIV) *out = tenon_dim_floor(a, b) + (a % b != 0);
    else *out = a % b + (a % b != 0 && (a % b < 0) != (b < 0) ? b : 0);
    return true;
}

static bool eval(const tenon_dim *d, const values *v, int64_t *out)
{
    int64_t c;
    switch (d->kind) {
    case TENON_DIM_CONST: *out = d->value; return true;
    case TENON_DIM_SYM: *out = v->value ? v->value[d->value] : v->symbol[d->value].opt; return true;
    case TENON_DIM_SELECT: return eval(d->arg[0], v, &c) && eval(d->arg[c ? 1 : 2], v, out);
    case TENON_DIM_ADD: case TENON_DIM_MUL: case TENON_DIM_MIN: case TENON_DIM_MAX: return eval_fold(d, v, out);
    default: return eval_pair(d, v, out);
    }
}

bool tenon_dim_eval(const tenon_dim *d, const int64_t *symbol_value, int64_t *out)
{
    static const int64_t none[1] = {0}; /* an expression without symbols needs no values */
    return eval(d, &(values){symbol_value ? symbol_value : none, NULL}, out);
}

int64_t tenon_dim_at_opt(const tenon_dim_pool *p, const tenon_dim *d)
{
    int64_t r;
    return eval(d, &(values){NULL, p->symbol}, &r) ? r : clamp(d->hi);
}

const tenon_dim *tenon_dim_copy(tenon_dim_pool *p, const tenon_dim *d, const tenon_dim *const *map)
{
    if (!d) return NULL;
    if (d->kind == TENON_DIM_CONST) return tenon_dim_const(p, d->value);
    if (d->kind == TENON_DIM_SYM) return map[d->value];
    const tenon_dim *r = d->kind == TENON_DIM_MUL ? tenon_dim_const(p, d->value) : NULL;
    const bool folds = d->kind == TENON_DIM_ADD || d->kind == TENON_DIM_MUL || d->kind == TENON_DIM_MIN ||
                       d->kind == TENON_DIM_MAX;
    if (folds) {
        for (int i = 0; i < d->arg_count; i++) {
            const tenon_dim *two[2] = {r, tenon_dim_copy(p, d->arg[i], map)};
            if (!two[1]) return NULL;
            r = !r && !i ? two[1] : tenon_dim_apply(p, d->kind, 2, two);
        }
        return r;
    }
    const tenon_dim *arg[3] = {NULL};
    for (int i = 0; i < d->arg_count && i < 3; i++)
        if (!(arg[i] = tenon_dim_copy(p, d->arg[i], map))) return NULL;
    return tenon_dim_apply(p, d->kind, d->arg_count, arg);
}
