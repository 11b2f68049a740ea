/* SPDX-License-Identifier: Apache-2.0 */
/* From a group of nodes of the network to the problem it is: the nodes are cloned into a small graph of their own whose inputs
   and outputs are the values that cross the group's border. Scalar constants of pointwise nodes and parameters (pads, shapes, counts:
   op->params) go into the problem, so that a tactic sees their values and a shape is known. */
#include "plan/stage.h"

#include "op/symbols.h"

#include <string.h>

typedef struct cloner {
    tenon_plan *plan;
    const tenon_group *group;
    tenon_problem *out;
    tenon_dim_pool *pool;
    const tenon_dim **map;      /* symbol of the network -> symbol of the problem */
    tenon_value **value;        /* value id of the network -> value of the problem */
} cloner;

static bool in_group(const tenon_group *g, const tenon_node *n)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i] == n) return true;
    return false;
}

bool tenon_plan_is_scalar(const tenon_value *v)
{
    if (!v->is_const || !(v->data || v->fsym) || tenon_dtype_get(v->type.dtype)->kind == TENON_KIND_OTHER) return false;
    for (int i = 0; i < v->type.rank; i++)
        if (!tenon_dim_is(v->type.dim[i], 1)) return false;
    return v->data != NULL;
}

/* Symbols that are the dim, or a divisor of one, of a value that crosses the border of the group. */
static void mark_border(const tenon_group *g, tenon_symbols *s)
{
    for (int i = 0; i < g->node_count; i++) {
        const tenon_node *n = g->node[i];
        for (int k = 0; k < n->src_count; k++)
            if (n->src[k]) tenon_symbols_mark(s, &n->src[k]->type);
        for (int k = 0; k < n->dst_count; k++)
            if (n->dst[k]) tenon_symbols_mark(s, &n->dst[k]->type);
    }
}

/* Its contents can stand in the text where an operator has a parameter. */
static bool is_parameter(const tenon_group *g, const tenon_value *v)
{
    tenon_symbols s = {0};
    if (tenon_plan_is_scalar(v)) return true;
    if (v->type.rank < 0 || v->type.rank > 1 || v->type.dtype >= TENON_STRING || tenon_is_float(v->type.dtype)) return false;
    if (v->is_const) return v->data && tenon_tensor_count(v->data) <= TENON_PARAM_MAX;
    if (!tenon_plan_is_symbolic(v) || tenon_place_of(v)->host_only || v->sym_count > TENON_PARAM_MAX) return false;
    mark_border(g, &s);
    for (size_t i = 0; i < v->sym_count; i++)
        if (!tenon_symbols_know(&s, v->sym[i])) return false;
    return true;
}

/* It stands in the text and is no source: a scalar constant of pointwise nodes, or a parameter; nobody reads it otherwise. */
static bool is_embedded(const tenon_group *g, const tenon_value *v)
{
    const bool scalar = tenon_plan_is_scalar(v), parameter = is_parameter(g, v);
    for (int i = 0; i < g->node_count; i++) {
        const tenon_node *n = g->node[i];
        for (int k = 0; k < n->src_count; k++)
            if (n->src[k] == v && !(n->op->flags & TENON_OP_POINTWISE ? scalar : parameter && k < 32 && (n->op->params >> k & 1)))
                return false;
    }
    return scalar || parameter;
}

static bool has(tenon_value *const *list, int count, const tenon_value *v)
{
    for (int i = 0; i < count; i++)
        if (list[i] == v) return true;
    return false;
}

static bool is_graph_output(const tenon_graph *g, const tenon_value *v)
{
    for (size_t i = 0; i < g->output_count; i++)
        if (g->output[i] == v) return true;
    return false;
}

/* Fills src and dst of a group from its nodes (in topological order). */
tenon_status tenon_plan_border(tenon_plan *plan, tenon_group *g)
{
    g->src_count = g->dst_count = 0;
    g->based = false;
    for (int i = 0; i < g->node_count; i++) {
        const tenon_node *n = g->node[i];
        for (int k = 0; k < n->src_count; k++) {
            tenon_value *v = n->src[k];
            if (!v || (v->producer && in_group(g, v->producer)) || has(g->src, g->src_count, v) ||
                (g->kind == TENON_GROUP_PROBLEM && is_embedded(g, v)))
                continue;
            if (g->src_count >= TENON_PROBLEM_SRC)
                return TENON_FAIL(plan->cx, TENON_UNSUPPORTED, "more than %d sources", TENON_PROBLEM_SRC);
            g->src[g->src_count++] = v;
        }
        for (int k = 0; k < n->dst_count; k++) {
            tenon_value *v = n->dst[k];
            if (!v) continue;
            bool outside = is_graph_output(plan->graph, v);
            for (size_t u = 0; u < v->use_count && !outside; u++) outside = !v->use[u].node || !in_group(g, v->use[u].node);
            if (!outside) continue;
            if (g->dst_count >= TENON_PROBLEM_DST)
                return TENON_FAIL(plan->cx, TENON_UNSUPPORTED, "more than %d results", TENON_PROBLEM_DST);
            g->dst[g->dst_count++] = v;
        }
    }
    return TENON_OK;
}

static tenon_status map_symbols(cloner *c, const tenon_dim *d)
{
    if (d->kind == TENON_DIM_SYM && !c->map[d->value]) {
        const tenon_dim_symbol *s = &c->plan->graph->dims->symbol[d->value];
        c->map[d->value] = tenon_dim_symbol_named(c->pool, s->name, s->lo, s->opt, s->hi, s->divisor);
        if (!c->map[d->value]) return TENON_NOMEM;
    }
    for (int i = 0; i < d->arg_count; i++) TENON_TRY(map_symbols(c, d->arg[i]));
    return TENON_OK;
}

static tenon_status clone_type(cloner *c, const tenon_type *from, tenon_type *to)
{
    *to = *from;
    for (int i = 0; i < from->rank; i++) {
        TENON_TRY(map_symbols(c, from->dim[i]));
        to->dim[i] = tenon_dim_copy(c->pool, from->dim[i], c->map);
        if (!to->dim[i]) return TENON_NOMEM;
    }
    return TENON_OK;
}

static tenon_status clone_sources(cloner *c)
{
    tenon_graph *g = c->out->graph;
    for (int i = 0; i < c->group->src_count; i++) {
        const tenon_value *v = c->group->src[i];
        tenon_type type;
        TENON_TRY(clone_type(c, &v->type, &type));
        tenon_value *copy;
        TENON_TRY(tenon_graph_value(g, v->name, &type, &copy));
        void *inputs = g->input;
        TENON_TRY(tenon_arena_grow(g->arena, &inputs, &g->input_capacity, g->input_count + 1, sizeof *g->input));
        g->input = inputs;
        g->input[g->input_count++] = copy;
        c->value[v->id] = copy;
        c->out->src[i].value = copy;
        copy->user = (void *)(uintptr_t)v; /* kept by tenon_problem_finish */
    }
    return TENON_OK;
}

/* For each use its own: a parameter keeps its one axis, anything else is a scalar. */
static tenon_status clone_embedded(cloner *c, const tenon_node *user, const tenon_value *v, tenon_value **out)
{
    tenon_graph *g = c->out->graph;
    if (v->is_const) {
        tenon_tensor t = *v->data;
        if ((user->op->flags & TENON_OP_POINTWISE) || tenon_is_float(t.dtype) || t.rank != 1) t.rank = 0;
        return tenon_graph_const(g, v->name, &t, true, out);
    }
    tenon_type type;
    TENON_TRY(clone_type(c, &v->type, &type));
    TENON_TRY(tenon_graph_value(g, v->name, &type, out));
    (*out)->is_const = true;
    (*out)->sym_count = v->sym_count;
    (*out)->sym = tenon_arena_array(g->arena, v->sym_count + 1, sizeof *(*out)->sym);
    if (!(*out)->sym) return TENON_NOMEM;
    for (size_t i = 0; i < v->sym_count; i++) {
        TENON_TRY(map_symbols(c, v->sym[i]));
        (*out)->sym[i] = tenon_dim_copy(c->pool, v->sym[i], c->map);
        if (!(*out)->sym[i]) return TENON_NOMEM;
    }
    return TENON_OK;
}

static tenon_status clone_node(cloner *c, const tenon_node *n)
{
    tenon_graph *g = c->out->graph;
    tenon_value *src[TENON_PROBLEM_SRC + 8];
    if (n->src_count > (int)TENON_COUNTOF(src))
        return TENON_FAIL(c->plan->cx, TENON_UNSUPPORTED, "node '%s' has %d sources", n->name, n->src_count);
    for (int k = 0; k < n->src_count; k++) {
        src[k] = n->src[k] ? c->value[n->src[k]->id] : NULL;
        if (n->src[k] && !src[k]) TENON_TRY(clone_embedded(c, n, n->src[k], &src[k]));
    }
    tenon_node *copy;
    TENON_TRY(tenon_graph_node(g, n->op, n->name, n->src_count, src, n->dst_count, &copy));
    if (n->attr) memcpy(copy->attr, n->attr, (size_t)tenon_attr_count(n->op) * sizeof *n->attr);
    for (int k = 0; k < n->dst_count; k++) {
        if (!n->dst[k]) copy->dst[k] = NULL;
        else c->value[n->dst[k]->id] = copy->dst[k];
    }
    return tenon_infer_node(c->plan->cx, g, copy);
}

tenon_status tenon_plan_problem(tenon_plan *plan, tenon_group *group, const tenon_format *src, const tenon_format *dst,
                                tenon_problem *out)
{
    tenon_cx *cx = plan->cx;
    *out = (tenon_problem){.src_count = group->src_count, .dst_count = group->dst_count};
    cloner c = {.plan = plan, .group = group, .out = out};
    c.pool = tenon_arena_alloc(plan->arena, sizeof *c.pool);
    c.map = tenon_arena_array(plan->arena, plan->graph->dims->symbol_count + 1, sizeof *c.map);
    c.value = tenon_arena_array(plan->arena, plan->graph->value_count + 1, sizeof *c.value);
    if (!c.pool || !c.map || !c.value) return TENON_NOMEM;
    tenon_dim_pool_init(c.pool, plan->arena);
    TENON_TRY(tenon_graph_create(cx, plan->arena, c.pool, NULL, &out->graph));
    TENON_TRY(clone_sources(&c));
    for (int i = 0; i < group->node_count; i++) TENON_TRY(clone_node(&c, group->node[i]));
    tenon_graph *g = out->graph;
    g->output = tenon_arena_array(plan->arena, (size_t)group->dst_count + 1, sizeof *g->output);
    if (!g->output) return TENON_NOMEM;
    for (int i = 0; i < group->dst_count; i++) {
        out->dst[i].value = g->output[g->output_count++] = c.value[group->dst[i]->id];
        out->dst[i].format = dst[i];
    }
    for (int i = 0; i < group->src_count; i++) {
        out->src[i].format = src[i];
        out->src[i].format.weight = group->src[i]->is_const;
    }
    TENON_TRY(tenon_graph_index_uses(g));
    TENON_TRY(tenon_problem_finish(cx, out));
    /* canonical order: that of appearance in the text */
    for (int i = 0; i < group->src_count; i++) group->src[i] = out->src[i].value->user;
    return TENON_OK;
}

tenon_status tenon_plan_reformat(tenon_plan *plan, const tenon_problem *base, const tenon_format *src, const tenon_format *dst,
                                 tenon_problem *out)
{
    *out = *base;
    for (int i = 0; i < base->src_count; i++) {
        out->src[i].format = src[i];
        out->src[i].format.weight = base->src[i].format.weight;
    }
    for (int i = 0; i < base->dst_count; i++) out->dst[i].format = dst[i];
    return tenon_problem_finish(plan->cx, out);
}
