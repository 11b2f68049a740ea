/* SPDX-License-Identifier: Apache-2.0 */
/* Symbolic dimensions: integer expressions over the network's symbols, interned in a pool in a normal form, so that equal
   expressions are the same pointer. Each carries an interval and a divisor, proved from those of its parts.

   Normal form: a sum of integer-coefficient monomials over atoms (symbols and non-polynomial nodes), sorted by atom id;
   floor and ceiling division, mod, min, max, compare and select fold when intervals or divisors decide them
   ((a*4+8)/4 -> a+2; min(a, b) -> a when a.hi <= b.lo; a == b -> 0 when the intervals do not meet).

   What is no constant is taken to lie within +-TENON_DIM_HUGE, and a divisor to be not zero: where that is wrong the original
   expression has no useful value. Constants may be any int64. */
#ifndef TENON_IR_DIM_H
#define TENON_IR_DIM_H

#include "base/arena.h"
#include "base/buf.h"

typedef struct tenon_dim tenon_dim;

typedef enum {
    TENON_DIM_CONST, TENON_DIM_SYM,     /* leaves */
    TENON_DIM_ADD, TENON_DIM_MUL,       /* n-ary, normalised: ADD holds terms, MUL holds coefficient and atoms */
    TENON_DIM_FLOORDIV, TENON_DIM_CEILDIV, TENON_DIM_MOD, TENON_DIM_MIN, TENON_DIM_MAX,
    TENON_DIM_EQ, TENON_DIM_LT,         /* 1 or 0 */
    TENON_DIM_SELECT,                   /* cond ? a : b */
} tenon_dim_kind;

#define TENON_DIM_HUGE (INT64_C(1) << 48) /* "unbounded": no interval goes beyond */

struct tenon_dim {
    tenon_dim_kind kind;
    int id;              /* order of creation in the pool; the order of normal forms */
    int64_t value;       /* CONST: the number; MUL: the coefficient; SYM: index in the pool's symbol table */
    int64_t lo, hi;      /* inclusive interval */
    int64_t divisor;     /* >= 1; every value is a multiple (0 has divisor 0 = divisible by all) */
    int arg_count;
    const tenon_dim **arg;
    int size, depth;     /* as a tree; both bounded, so that every recursive walk is */
    bool from_data;      /* depends on a data-dependent symbol */
};

/* A symbol is a free dimension of a network input ("batch"), or a size known only at run time (data-dependent). */
typedef struct tenon_dim_symbol {
    const char *name;
    int64_t lo, opt, hi, divisor;
    bool data_dependent;
    const tenon_dim *dim; /* its SYM node */
} tenon_dim_symbol;

typedef struct tenon_dim_pool {
    tenon_arena *arena;
    tenon_dim **node;     size_t node_count, node_capacity;
    void *table;          /* hash table of dim.c */
    tenon_dim_symbol *symbol; size_t symbol_count, symbol_capacity;
    bool failed;          /* out of memory somewhere: constructors then return NULL and accept NULL */
} tenon_dim_pool;

void tenon_dim_pool_init(tenon_dim_pool *pool, tenon_arena *arena);
/* The same symbols and expressions with the same ids, in another arena; NULL: out of memory. */
tenon_dim_pool *tenon_dim_pool_clone(const tenon_dim_pool *from, tenon_arena *arena);

/* Constructors intern and fold. They accept NULL arguments and then return NULL (sticky failure, checked by the caller once).
   NULL with pool->failed is out of memory; NULL without it says that a number of the expression does not fit int64 or that the
   expression is too large: its value is then simply not known. The message is in the arena's cx in both cases. */
const tenon_dim *tenon_dim_const(tenon_dim_pool *p, int64_t value);
/* The same name gives the same symbol (the interval is then intersected, the divisors joined, and the bounds of everything made
   from it follow; what was folded before stays as it is). NULL with a message when no value is left. */
const tenon_dim *tenon_dim_symbol_named(tenon_dim_pool *p, const char *name, int64_t lo, int64_t opt, int64_t hi,
                                        int64_t divisor);
const tenon_dim *tenon_dim_symbol_fresh(tenon_dim_pool *p, const char *prefix, int64_t lo, int64_t hi); /* data-dependent */
/* The same under this very name; NULL if taken. */
const tenon_dim *tenon_dim_symbol_data(tenon_dim_pool *p, const char *name, int64_t lo, int64_t hi);
void tenon_dim_print_name(tenon_buf *b, const char *name); /* in backquotes when it is no identifier */
const tenon_dim *tenon_dim_add(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b);
const tenon_dim *tenon_dim_sub(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b);
const tenon_dim *tenon_dim_mul(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b);
const tenon_dim *tenon_dim_floordiv(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b); /* toward minus infinity */
const tenon_dim *tenon_dim_ceildiv(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b);
const tenon_dim *tenon_dim_mod(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b);      /* sign of b, as Python */
const tenon_dim *tenon_dim_min(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b);
const tenon_dim *tenon_dim_max(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b);
const tenon_dim *tenon_dim_eq(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b);
const tenon_dim *tenon_dim_lt(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b);
const tenon_dim *tenon_dim_select(tenon_dim_pool *p, const tenon_dim *c, const tenon_dim *a, const tenon_dim *b);
const tenon_dim *tenon_dim_apply(tenon_dim_pool *p, tenon_dim_kind kind, int argc, const tenon_dim *const *arg);

static inline bool tenon_dim_is_const(const tenon_dim *d) { return d->kind == TENON_DIM_CONST; }
static inline bool tenon_dim_is(const tenon_dim *d, int64_t v) { return d->kind == TENON_DIM_CONST && d->value == v; }
/* Values at the tuning point and at the ends of the symbols' intervals. */
int64_t tenon_dim_at_opt(const tenon_dim_pool *p, const tenon_dim *d);
/* Evaluates with one value a symbol (in symbol order). False on division by zero or overflow. */
bool tenon_dim_eval(const tenon_dim *d, const int64_t *symbol_value, int64_t *out);
bool tenon_dim_depends_on_data(const tenon_dim_pool *p, const tenon_dim *d);
/* Rebuilds `d` (of another pool) in `p`, its symbols replaced by map[symbol index] (NULL entries: error, returns NULL). */
const tenon_dim *tenon_dim_copy(tenon_dim_pool *p, const tenon_dim *d, const tenon_dim *const *map);

/* Text: "batch*49+3", "floordiv(h+1,2)", "min(a,16)". Names that are no identifiers are put in backquotes. parse: names must be
   symbols of the pool; spaces are skipped. */
void tenon_dim_print(tenon_buf *b, const tenon_dim_pool *p, const tenon_dim *d);
tenon_status tenon_dim_parse(tenon_cx *cx, tenon_dim_pool *p, const char *s, size_t length, const tenon_dim **out);

#endif
