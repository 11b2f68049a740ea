/* SPDX-License-Identifier: Apache-2.0 */
/* A copy of a whole graph in another arena, for whoever rewrites it: a build makes one for each profile. Structure, types and
   dimensions are copied, in the same order, so that the copy gives the same text and the same plan; bytes of constants, texts and
   lists of attributes are shared with the original, which must outlive the copy. Reads the original only. */
#include "ir/graph.h"

#include <string.h>

/* A graph on its way, and those around it: where the copies of their values are. */
typedef struct frame {
    const tenon_graph *from;
    tenon_graph *to;
    tenon_value **copy; /* by id */
    const struct frame *outer;
} frame;

static tenon_status copy_graph(const tenon_graph *from, tenon_graph *to, const frame *outer);

static tenon_status find(const frame *f, const tenon_value *v, tenon_value **out)
{
    *out = NULL;
    if (!v) return TENON_OK;
    for (const frame *at = f; at; at = at->outer)
        if (v->id >= 0 && (size_t)v->id < at->from->value_count && at->from->value[v->id] == v) {
            *out = at->copy[v->id];
            return TENON_OK;
        }
    return TENON_FAIL(f->to->cx, TENON_INTERNAL, "value '%s' belongs to no graph around its use", v->name);
}

static tenon_status find_all(const frame *f, tenon_value *const *from, size_t count, tenon_value ***out)
{
    *out = tenon_arena_array(f->to->arena, count + 1, sizeof **out);
    if (!*out) return TENON_NOMEM;
    for (size_t i = 0; i < count; i++) TENON_TRY(find(f, from[i], &(*out)[i]));
    return TENON_OK;
}

static tenon_status copy_type(tenon_graph *to, const tenon_type *from, tenon_type *out)
{
    *out = *from;
    for (int i = 0; i < from->rank; i++) out->dim[i] = from->dim[i] ? to->dims->node[from->dim[i]->id] : NULL;
    if (!from->element) return TENON_OK;
    tenon_type *element = tenon_arena_alloc(to->arena, sizeof *element);
    if (!element) return TENON_NOMEM;
    out->element = element;
    return copy_type(to, from->element, element);
}

static tenon_status copy_value(tenon_graph *to, const tenon_value *v, tenon_value **out)
{
    tenon_type type;
    TENON_TRY(copy_type(to, &v->type, &type));
    TENON_TRY(tenon_graph_value(to, v->name, &type, out));
    tenon_value *n = *out;
    n->index = v->index;
    n->is_const = v->is_const;
    n->data = v->data;
    n->source_name = v->source_name;
    n->sym_count = v->sym_count;
    n->fsym = v->fsym;
    if (!v->sym) return TENON_OK;
    n->sym = tenon_arena_array(to->arena, v->sym_count + 1, sizeof *n->sym);
    if (!n->sym) return TENON_NOMEM;
    for (size_t i = 0; i < v->sym_count; i++) n->sym[i] = v->sym[i] ? to->dims->node[v->sym[i]->id] : NULL;
    return TENON_OK;
}

static tenon_status copy_node(const frame *f, const tenon_node *n, tenon_node **out)
{
    tenon_arena *arena = f->to->arena;
    const size_t attrs = (size_t)tenon_attr_count(n->op);
    tenon_node *c = *out = tenon_arena_alloc(arena, sizeof *c);
    if (!c) return TENON_NOMEM;
    *c = *n;
    c->user = NULL;
    c->sub = tenon_arena_array(arena, (size_t)n->sub_count + 1, sizeof *c->sub);
    c->attr = tenon_arena_array(arena, attrs + 1, sizeof *c->attr);
    if (!c->sub || !c->attr) return TENON_NOMEM;
    if (attrs) memcpy(c->attr, n->attr, attrs * sizeof *c->attr);
    TENON_TRY(find_all(f, n->src, (size_t)n->src_count, &c->src));
    TENON_TRY(find_all(f, n->dst, (size_t)n->dst_count, &c->dst));
    for (int i = 0; i < n->sub_count; i++) {
        TENON_TRY(tenon_graph_create(f->to->cx, arena, f->to->dims, f->to, &c->sub[i]));
        TENON_TRY(copy_graph(n->sub[i], c->sub[i], f));
    }
    return TENON_OK;
}

static tenon_status copy_nodes(const frame *f)
{
    const tenon_graph *from = f->from;
    tenon_graph *to = f->to;
    for (size_t i = 0; i < from->value_count; i++)
        if (from->value[i]->expr) TENON_TRY(copy_node(f, from->value[i]->expr, &f->copy[i]->expr));
    for (size_t i = 0; i < from->node_count; i++) {
        tenon_node *n;
        TENON_TRY(copy_node(f, from->node[i], &n));
        for (int k = 0; k < n->dst_count; k++)
            if (n->dst[k]) n->dst[k]->producer = n;
        TENON_TRY(tenon_arena_grow(to->arena, (void **)&to->node, &to->node_capacity, to->node_count + 1, sizeof *to->node));
        n->id = (int)to->node_count;
        to->node[to->node_count++] = n;
    }
    return TENON_OK;
}

static tenon_status copy_graph(const tenon_graph *from, tenon_graph *to, const frame *outer)
{
    frame f = {from, to, tenon_arena_array(to->arena, from->value_count + 1, sizeof *f.copy), outer};
    if (!f.copy) return TENON_NOMEM;
    to->name = from->name;
    to->opset = from->opset;
    for (size_t i = 0; i < from->value_count; i++) TENON_TRY(copy_value(to, from->value[i], &f.copy[i]));
    TENON_TRY(copy_nodes(&f));
    tenon_value *v;
    for (size_t i = 0; i < from->input_count; i++) {
        TENON_TRY(find(&f, from->input[i], &v));
        TENON_TRY(tenon_graph_add_input(to, v));
    }
    for (size_t i = 0; i < from->output_count; i++) {
        TENON_TRY(find(&f, from->output[i], &v));
        TENON_TRY(tenon_graph_add_output(to, v));
    }
    to->fresh = from->fresh;
    return TENON_OK;
}

tenon_status tenon_graph_clone(tenon_cx *cx, tenon_arena *arena, const tenon_graph *g, tenon_graph **out)
{
    *out = NULL;
    tenon_graph *to;
    tenon_dim_pool *dims = tenon_dim_pool_clone(g->dims, arena);
    if (!dims) return TENON_FAIL(cx, TENON_NOMEM, "out of memory for a copy of the network");
    TENON_TRY(tenon_graph_create(cx, arena, dims, NULL, &to));
    TENON_TRY(copy_graph(g, to, NULL));
    *out = to;
    return TENON_OK;
}
