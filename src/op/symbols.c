/* SPDX-License-Identifier: Apache-2.0 */
/* Symbols from shapes, see op/symbols.h. */
#include "op/symbols.h"

/* The symbol that is found in `d`, and its factor; NULL: none. */
static const tenon_dim *shown(const tenon_dim *d, int64_t *factor)
{
    *factor = 1;
    if (d->kind == TENON_DIM_MUL && d->arg_count == 1) {
        *factor = d->value;
        d = d->arg[0];
    }
    return d->kind == TENON_DIM_SYM && d->value < TENON_SYMBOLS_MAX && *factor > 0 ? d : NULL;
}

void tenon_symbols_learn(tenon_symbols *s, const tenon_type *type, const tenon_tensor *t)
{
    for (int i = 0; i < TENON_MIN(t->rank, type->rank); i++) {
        int64_t factor;
        const tenon_dim *d = shown(type->dim[i], &factor);
        if (!d || s->known[d->value] || t->dim[i] % factor) continue;
        s->known[d->value] = true;
        s->value[d->value] = t->dim[i] / factor;
    }
}

void tenon_symbols_mark(tenon_symbols *s, const tenon_type *type)
{
    for (int i = 0; i < type->rank; i++) {
        int64_t factor;
        const tenon_dim *d = shown(type->dim[i], &factor);
        if (d) s->known[d->value] = true;
    }
}

bool tenon_symbols_know(const tenon_symbols *s, const tenon_dim *d)
{
    if (d->kind == TENON_DIM_SYM) return d->value < TENON_SYMBOLS_MAX && s->known[d->value];
    for (int i = 0; i < d->arg_count; i++)
        if (!tenon_symbols_know(s, d->arg[i])) return false;
    return true;
}

bool tenon_symbols_eval(const tenon_symbols *s, const tenon_dim *d, int64_t *out)
{
    return tenon_symbols_know(s, d) && tenon_dim_eval(d, s->value, out);
}
