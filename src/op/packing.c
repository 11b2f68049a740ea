/* SPDX-License-Identifier: Apache-2.0 */
/* The type of a packed weight: the packing operator is put behind stand-ins of the problem's sources and its infer rule asked.
   Planner (to size and evaluate) and loader (to check what a file claims) use the same answer. */
#include "op/tactic.h"

static tenon_status stand_in(tenon_graph *g, const tenon_value *of, tenon_value **out)
{
    tenon_type type = of->type;
    for (int i = 0; i < type.rank; i++) {
        if (!tenon_dim_is_const(type.dim[i]))
            return TENON_FAIL(g->cx, TENON_INVALID, "packed weight '%s': dimension %d is not constant", of->name, i);
        type.dim[i] = tenon_dim_const(g->dims, type.dim[i]->value);
        if (!type.dim[i]) return TENON_NOMEM;
    }
    return tenon_graph_value(g, "w", &type, out);
}

static tenon_status pack_type(tenon_cx *cx, tenon_arena *arena, const tenon_problem *p, const tenon_pack *pack, tenon_tensor *out)
{
    tenon_dim_pool pool;
    tenon_graph *g;
    tenon_dim_pool_init(&pool, arena);
    TENON_TRY(tenon_graph_create(cx, arena, &pool, NULL, &g));
    tenon_value *src[4];
    int count = 0;
    for (int i = 0; i < 4 && pack->src[i] >= 0; i++) {
        if (pack->src[i] >= p->src_count) return TENON_FAIL(cx, TENON_INTERNAL, "%s: no source %d", pack->op->name, pack->src[i]);
        TENON_TRY(stand_in(g, p->src[pack->src[i]].value, &src[count++]));
    }
    tenon_node *n;
    TENON_TRY(tenon_graph_node(g, pack->op, "pack", count, src, 1, &n));
    TENON_TRY(tenon_pack_attrs(g, n, pack));
    TENON_TRY(tenon_infer_node(cx, g, n));
    const tenon_type *t = &n->dst[0]->type;
    out->dtype = t->dtype;
    out->rank = t->rank;
    out->data = NULL;
    for (int i = 0; i < t->rank; i++) {
        if (!tenon_dim_is_const(t->dim[i])) return TENON_FAIL(cx, TENON_INTERNAL, "%s: size is not constant", pack->op->name);
        out->dim[i] = t->dim[i]->value;
    }
    tenon_tensor_dense(out);
    return TENON_OK;
}

tenon_status tenon_pack_attrs(tenon_graph *g, tenon_node *n, const tenon_pack *pack)
{
    for (int i = 0, count = tenon_attr_count(pack->op), k = 0; i < count; i++)
        if (pack->op->attr[i].kind == TENON_ATTR_INT)
            TENON_TRY(tenon_node_set_int(g, n, pack->op->attr[i].name, pack->attr[k++]));
    return TENON_OK;
}

tenon_status tenon_pack_type(tenon_cx *cx, const tenon_problem *p, const tenon_pack *pack, tenon_tensor *out)
{
    tenon_arena arena;
    tenon_arena_init(&arena, cx);
    const tenon_status status = pack_type(cx, &arena, p, pack, out);
    tenon_arena_free(&arena);
    return status;
}
