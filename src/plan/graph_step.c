/* SPDX-License-Identifier: Apache-2.0 */
/* Steps that are not problems (control flow, sequences, strings, sizes known only at run time): the node is written as graph
   text of its own, with its bodies; small constants go into the text, everything else it reads, also from inside its bodies,
   becomes an input. */
#include "plan/stage.h"

#include <string.h>

enum { LITERAL = 16 };

typedef struct gatherer { tenon_plan *plan; tenon_group *group; tenon_graph *graph; tenon_value **clone; } gatherer;

static bool is_literal(const tenon_value *v)
{
    return v->is_const && v->data && !tenon_plan_is_source(v) && tenon_dtype_get(v->data->dtype)->bits > 0 &&
           tenon_tensor_count(v->data) <= LITERAL;
}

static tenon_status gather(gatherer *k, tenon_value *v)
{
    if (!v || k->clone[v->id]) return TENON_OK;
    if (is_literal(v)) return tenon_graph_const(k->graph, v->name, v->data, false, &k->clone[v->id]);
    if (k->group->src_count >= (int)TENON_COUNTOF(k->group->src))
        return TENON_FAIL(k->plan->cx, TENON_UNSUPPORTED, "node '%s' reads more than %zu values", k->group->node[0]->name,
                          TENON_COUNTOF(k->group->src));
    TENON_TRY(tenon_graph_value(k->graph, v->name, &v->type, &k->clone[v->id]));
    if (strcmp(k->clone[v->id]->name, v->name) != 0)
        return TENON_FAIL(k->plan->cx, TENON_INTERNAL, "name '%s' is not unique", v->name);
    k->group->src[k->group->src_count++] = v;
    return tenon_graph_add_input(k->graph, k->clone[v->id]);
}

static bool belongs_to(const tenon_graph *g, const tenon_value *v)
{
    return (size_t)v->id < g->value_count && g->value[v->id] == v;
}

static tenon_status gather_body(gatherer *k, const tenon_graph *body)
{
    const tenon_graph *outer = k->plan->graph;
    for (size_t i = 0; i < body->node_count; i++) {
        const tenon_node *n = body->node[i];
        for (int s = 0; s < n->src_count; s++)
            if (n->src[s] && belongs_to(outer, n->src[s])) TENON_TRY(gather(k, n->src[s]));
        for (int s = 0; s < n->sub_count; s++) TENON_TRY(gather_body(k, n->sub[s]));
    }
    for (size_t i = 0; i < body->output_count; i++)
        if (belongs_to(outer, body->output[i])) TENON_TRY(gather(k, body->output[i]));
    return TENON_OK;
}

tenon_status tenon_plan_graph_text(tenon_plan *plan, tenon_group *g)
{
    gatherer k = {.plan = plan, .group = g};
    const tenon_node *n = g->node[0];
    g->src_count = g->dst_count = 0;
    k.clone = tenon_arena_array(plan->arena, plan->graph->value_count + 1, sizeof *k.clone);
    tenon_value **src = tenon_arena_array(plan->arena, (size_t)n->src_count + 1, sizeof *src);
    if (!k.clone || !src) return TENON_NOMEM;
    TENON_TRY(tenon_graph_create(plan->cx, plan->arena, plan->graph->dims, NULL, &k.graph));
    for (int i = 0; i < n->src_count; i++) {
        TENON_TRY(gather(&k, n->src[i]));
        src[i] = n->src[i] ? k.clone[n->src[i]->id] : NULL;
    }
    for (int i = 0; i < n->sub_count; i++) TENON_TRY(gather_body(&k, n->sub[i]));
    tenon_node *copy;
    TENON_TRY(tenon_graph_node(k.graph, n->op, n->name, n->src_count, src, n->dst_count, &copy));
    if (n->attr) memcpy(copy->attr, n->attr, (size_t)tenon_attr_count(n->op) * sizeof *n->attr);
    copy->sub = n->sub;
    copy->sub_count = n->sub_count;
    for (int i = 0; i < n->dst_count; i++) {
        if (!n->dst[i]) {
            copy->dst[i] = NULL;
            continue;
        }
        copy->dst[i]->type = n->dst[i]->type;
        if (g->dst_count >= TENON_PROBLEM_DST)
            return TENON_FAIL(plan->cx, TENON_UNSUPPORTED, "node '%s' has more than %d results", n->name, TENON_PROBLEM_DST);
        g->dst[g->dst_count++] = n->dst[i];
        TENON_TRY(tenon_graph_add_output(k.graph, copy->dst[i]));
    }
    tenon_buf text;
    tenon_buf_init(&text, plan->cx);
    tenon_graph_print(&text, k.graph);
    tenon_status status = tenon_buf_status(&text);
    g->text = status == TENON_OK ? tenon_arena_strdup(plan->arena, text.data) : NULL;
    tenon_buf_free(&text);
    return status == TENON_OK && !g->text ? TENON_NOMEM : status;
}
