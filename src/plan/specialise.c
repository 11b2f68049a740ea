/* SPDX-License-Identifier: Apache-2.0 */
/* A profile made real: the free dimensions of the network's inputs become the profile's ranges, or plain numbers where minimum
   and maximum agree, and every type is inferred again. */
#include "plan/specialise.h"

#include <inttypes.h>
#include <string.h>

const tenon_range_named *tenon_range_find(const tenon_range_named *range, size_t count, const char *symbol)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(range[i].symbol, symbol) == 0) return &range[i];
    return NULL;
}

static tenon_status map_symbols(tenon_graph *g, tenon_dim_pool *pool, const tenon_range_named *range, size_t count,
                                const tenon_dim **map)
{
    for (size_t i = 0; i < g->dims->symbol_count; i++) {
        const tenon_dim_symbol *s = &g->dims->symbol[i];
        const tenon_range_named *r = tenon_range_find(range, count, s->name);
        if (s->data_dependent) map[i] = tenon_dim_symbol_fresh(pool, s->name, s->lo, s->hi);
        else if (!r) return TENON_FAIL(g->cx, TENON_INTERNAL, "dimension '%s' has no range", s->name);
        else if (r->lo == r->hi) map[i] = tenon_dim_const(pool, r->lo);
        else map[i] = tenon_dim_symbol_named(pool, s->name, r->lo, r->opt, r->hi, 1);
        if (!map[i]) return TENON_NOMEM;
    }
    return TENON_OK;
}

static tenon_status remap_type(tenon_graph *g, tenon_dim_pool *pool, const tenon_dim *const *map, tenon_type *t)
{
    for (int i = 0; i < t->rank; i++) {
        t->dim[i] = tenon_dim_copy(pool, t->dim[i], map);
        if (!t->dim[i]) return TENON_NOMEM;
    }
    if (!t->element) return TENON_OK;
    tenon_type *element = tenon_arena_alloc(g->arena, sizeof *element);
    if (!element) return TENON_NOMEM;
    *element = *t->element;
    t->element = element;
    return remap_type(g, pool, map, element);
}

static tenon_status remap_graph(tenon_graph *g, tenon_dim_pool *pool, const tenon_dim *const *map)
{
    for (size_t i = 0; i < g->value_count; i++) {
        tenon_value *v = g->value[i];
        TENON_TRY(remap_type(g, pool, map, &v->type));
        if (v->producer) v->sym = NULL; /* found again by the value rules */
        else
            for (size_t k = 0; v->sym && k < v->sym_count; k++)
                if (!(v->sym[k] = tenon_dim_copy(pool, v->sym[k], map))) return TENON_NOMEM;
    }
    for (size_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->sub_count; k++) TENON_TRY(remap_graph(g->node[i]->sub[k], pool, map));
    g->dims = pool;
    return TENON_OK;
}

tenon_status tenon_specialise(tenon_cx *cx, tenon_graph *g, const tenon_range_named *range, size_t count)
{
    tenon_dim_pool *pool = tenon_arena_alloc(g->arena, sizeof *pool);
    const tenon_dim **map = tenon_arena_array(g->arena, g->dims->symbol_count + 1, sizeof *map);
    if (!pool || !map) return TENON_NOMEM;
    tenon_dim_pool_init(pool, g->arena);
    TENON_TRY(map_symbols(g, pool, range, count, map));
    TENON_TRY(remap_graph(g, pool, map));
    return tenon_infer_graph(cx, g);
}
