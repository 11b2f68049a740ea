/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold in every graph between two passes: single assignment, order, ownership, attributes, types. The message names
   the value or node. Positions are read as identity: node->id and value->id must be where the thing is. */
#include "ir/graph.h"

#include <stdio.h>
#include <string.h>

/* Where in the graph a value is asked for: before node `at`; outer: the node that holds this body. */
typedef struct frame {
    const tenon_graph *g;
    int at;
    bool typed;              /* types must be there */
    const struct frame *outer;
} frame;

enum { MOST_NESTED = 64 };

static const char *op_name(const tenon_node *n) { return tenon_op_as_head(n->op)->name; }

static bool is_input(const tenon_graph *g, const tenon_value *v)
{
    for (size_t i = 0; i < g->input_count; i++)
        if (g->input[i] == v) return true;
    return false;
}

static tenon_status check_visible(tenon_cx *cx, const frame *f, const tenon_value *v, const char *user)
{
    for (; f; f = f->outer) {
        const tenon_graph *g = f->g;
        if (v->id < 0 || (size_t)v->id >= g->value_count || g->value[v->id] != v) continue;
        const tenon_node *n = v->producer;
        if (!n) {
            if (v->is_const || is_input(g, v)) return TENON_OK;
            return TENON_FAIL(cx, TENON_INVALID, "%s uses '%s', which nothing makes", user, v->name);
        }
        if (n->id < 0 || (size_t)n->id >= g->node_count || g->node[n->id] != n)
            return TENON_FAIL(cx, TENON_INVALID, "%s uses '%s', whose node '%s' is not in the graph", user, v->name, n->name);
        if (n->id >= f->at)
            return TENON_FAIL(cx, TENON_INVALID, "%s uses '%s' before node '%s' makes it", user, v->name, n->name);
        return TENON_OK;
    }
    return TENON_FAIL(cx, TENON_INVALID, "%s uses '%s', which belongs to no graph around it", user, v->name);
}

static tenon_status check_type(tenon_cx *cx, const tenon_value *v, bool typed)
{
    const tenon_type *t = &v->type;
    if (typed && t->dtype == TENON_DTYPE_NONE) return TENON_FAIL(cx, TENON_INVALID, "value '%s' has no type", v->name);
    if (t->rank < -1 || t->rank > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_INVALID, "value '%s' has rank %d", v->name, t->rank);
    for (int i = 0; i < t->rank; i++)
        if (!t->dim[i]) return TENON_FAIL(cx, TENON_INVALID, "value '%s': dimension %d is not set", v->name, i);
    return TENON_OK;
}

static tenon_status check_const(tenon_cx *cx, const tenon_value *v)
{
    const tenon_tensor *d = v->data;
    if (v->producer) return TENON_FAIL(cx, TENON_INVALID, "constant '%s' is the result of a node", v->name);
    if (!d && !v->expr) return TENON_FAIL(cx, TENON_INVALID, "constant '%s' has neither data nor a weight expression", v->name);
    for (int i = 0; v->expr && i < v->expr->src_count; i++)
        if (v->expr->src[i] && !v->expr->src[i]->is_const)
            return TENON_FAIL(cx, TENON_INVALID, "weight expression of '%s' reads '%s', which is not constant", v->name,
                              v->expr->src[i]->name);
    if (!d) return TENON_OK;
    bool same = d->dtype == v->type.dtype && d->rank == v->type.rank;
    for (int i = 0; same && i < d->rank; i++) same = v->type.dim[i] && tenon_dim_is(v->type.dim[i], d->dim[i]);
    if (!same) return TENON_FAIL(cx, TENON_INVALID, "constant '%s': its data has another type or shape than the value", v->name);
    return TENON_OK;
}

static tenon_status check_attrs(tenon_cx *cx, const tenon_graph *g, const tenon_node *n)
{
    const tenon_attr_def *def = tenon_op_as_head(n->op)->attr;
    const int count = tenon_attr_count(n->op);
    if (count && !n->attr) return TENON_FAIL(cx, TENON_INVALID, "node '%s' (%s) has no attribute table", n->name, op_name(n));
    for (int i = 0; i < count; i++) {
        if (!n->attr[i].set) {
            if (def[i].required)
                return TENON_FAIL(cx, TENON_INVALID, "node '%s' (%s): attribute '%s' is missing", n->name, op_name(n),
                                  def[i].name);
            continue;
        }
        if (def[i].kind == TENON_ATTR_GRAPH && (n->attr[i].i < 0 || n->attr[i].i >= n->sub_count))
            return TENON_FAIL(cx, TENON_INVALID, "node '%s' (%s): attribute '%s' names no sub-graph", n->name, op_name(n),
                              def[i].name);
    }
    for (int i = 0; i < n->sub_count; i++)
        if (!n->sub[i] || n->sub[i]->parent != g)
            return TENON_FAIL(cx, TENON_INVALID, "node '%s' (%s): sub-graph %d does not belong to this graph", n->name,
                              op_name(n), i);
    return TENON_OK;
}

static tenon_status check_values(tenon_cx *cx, const tenon_graph *g, bool typed)
{
    for (size_t i = 0; i < g->value_count; i++) {
        const tenon_value *v = g->value[i];
        if (v->id != (int)i)
            return TENON_FAIL(cx, TENON_INVALID, "value '%s' is listed at %zu and believes %d", v->name, i, v->id);
        if (tenon_graph_find(g, v->name, strlen(v->name)) != v)
            return TENON_FAIL(cx, TENON_INVALID, "value name '%s' is taken twice or was changed by hand", v->name);
        if (v->is_const) TENON_TRY(check_const(cx, v));
    }
    for (size_t i = 0; i < g->input_count; i++) {
        const tenon_value *v = g->input[i];
        if (v->producer || v->is_const)
            return TENON_FAIL(cx, TENON_INVALID, "graph input '%s' is made inside the graph", v->name);
        TENON_TRY(check_type(cx, v, typed));
        for (size_t k = 0; k < i; k++)
            if (g->input[k] == v) return TENON_FAIL(cx, TENON_INVALID, "graph input '%s' is listed twice", v->name);
    }
    return TENON_OK;
}

static tenon_status check_graph(tenon_cx *cx, const tenon_graph *g, const frame *outer, int depth, bool typed);

static tenon_status check_node(tenon_cx *cx, const tenon_graph *g, const tenon_node *n, const frame *f, int depth)
{
    char user[256];
    snprintf(user, sizeof user, "node '%.200s' (%.40s)", n->name, op_name(n));
    for (int i = 0; i < n->src_count; i++)
        if (n->src[i]) {
            TENON_TRY(check_visible(cx, f, n->src[i], user));
            TENON_TRY(check_type(cx, n->src[i], f->typed));
        }
    for (int i = 0; i < n->dst_count; i++) {
        const tenon_value *v = n->dst[i];
        if (!v) continue;
        if (v->producer != n || v->index != i)
            return TENON_FAIL(cx, TENON_INVALID, "%s: its result '%s' is also made elsewhere", user, v->name);
        if (v->id < 0 || (size_t)v->id >= g->value_count || g->value[v->id] != v)
            return TENON_FAIL(cx, TENON_INVALID, "%s: its result '%s' is not a value of the graph", user, v->name);
        TENON_TRY(check_type(cx, v, f->typed));
    }
    TENON_TRY(check_attrs(cx, g, n));
    for (int i = 0; i < n->sub_count; i++) TENON_TRY(check_graph(cx, n->sub[i], f, depth + 1, f->typed));
    return TENON_OK;
}

static tenon_status check_graph(tenon_cx *cx, const tenon_graph *g, const frame *outer, int depth, bool typed)
{
    if (depth > MOST_NESTED) return TENON_FAIL(cx, TENON_INVALID, "graphs are nested deeper than %d", MOST_NESTED);
    TENON_TRY(check_values(cx, g, typed));
    frame f = {g, 0, typed, outer};
    for (size_t i = 0; i < g->node_count; i++) {
        const tenon_node *n = g->node[i];
        if (n->dead) return TENON_FAIL(cx, TENON_INVALID, "node '%s' is dead but listed", n->name);
        if (n->id != (int)i)
            return TENON_FAIL(cx, TENON_INVALID, "node '%s' is listed at %zu and believes %d", n->name, i, n->id);
        f.at = (int)i;
        TENON_TRY(check_node(cx, g, n, &f, depth));
    }
    f.at = (int)g->node_count;
    for (size_t i = 0; i < g->output_count; i++) {
        if (!g->output[i]) return TENON_FAIL(cx, TENON_INVALID, "graph output %zu is not set", i);
        TENON_TRY(check_visible(cx, &f, g->output[i], "the graph's output"));
        TENON_TRY(check_type(cx, g->output[i], typed));
    }
    return TENON_OK;
}

tenon_status tenon_graph_verify(tenon_graph *g) { return check_graph(g->cx, g, NULL, 0, true); }
tenon_status tenon_graph_verify_structure(tenon_graph *g) { return check_graph(g->cx, g, NULL, 0, false); }
