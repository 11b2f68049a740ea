/* SPDX-License-Identifier: Apache-2.0 */
/* On a device, what selects is parted from what gives the selection its size. Values whose size depends on data live on the host, so a
   non_max_suppression would bring all boxes and scores there; in two parts the device chooses, into a result as large as the most that can
   be chosen, and only that is brought to the host, which makes the rows:

       non_max_suppression(boxes, scores, ...)  ->  nms_rows(nms_chosen(boxes, scores, ...))

   The graph that is planned alone is changed: a network that is written back has the operator of ONNX. */
#include "plan/stage.h"

#include <string.h>

enum { MOST_CHOSEN = 1 << 20 };

/* How many boxes of a class at most, where that is known. */
static bool known_limit(const tenon_node *n, int64_t *out)
{
    const tenon_value *v = n->src_count > 2 ? n->src[2] : NULL;
    *out = tenon_node_int(n, "max_output_boxes_per_class");
    if (!v) return true;
    if (!v->is_const || !v->data || tenon_tensor_count(v->data) != 1) return false;
    *out = tenon_tensor_get_i64(v->data, tenon_tensor_offset(v->data, 0));
    return true;
}

/* Whether a device can do it: all sizes known before it runs, and the result no larger than what is worth bringing. */
static bool can_part(const tenon_plan *plan, const tenon_node *n, int64_t limit)
{
    int64_t most = TENON_MIN(limit, n->src[1]->type.dim[2]->hi);
    for (int i = 0; i < 3; i++)
        if (tenon_dim_depends_on_data(plan->graph->dims, n->src[1]->type.dim[i]) ||
            tenon_dim_depends_on_data(plan->graph->dims, n->src[0]->type.dim[i])) return false;
    for (int i = 0; i < 2; i++) {
        const int64_t size = n->src[1]->type.dim[i]->hi;
        if (most > MOST_CHOSEN || size > MOST_CHOSEN) return false;
        most *= size;
    }
    return most <= MOST_CHOSEN;
}

static tenon_status part(tenon_plan *plan, tenon_node *n, int64_t limit)
{
    tenon_graph *g = plan->graph;
    tenon_value *src[5] = {NULL};
    tenon_node *chosen, *rows;
    for (int i = 0; i < n->src_count; i++) src[i] = i == 2 ? NULL : n->src[i];
    const char *name = tenon_arena_printf(plan->arena, "%s_chosen", n->name);
    TENON_TRY(tenon_graph_node(g, &tenon_op_nms_chosen, name, n->src_count, src, 1, &chosen));
    memcpy(chosen->attr, n->attr, (size_t)tenon_attr_count(n->op) * sizeof *n->attr); /* they have the same table */
    TENON_TRY(tenon_node_set_int(g, chosen, "max_output_boxes_per_class", limit));
    TENON_TRY(tenon_infer_node(plan->cx, g, chosen));
    TENON_TRY(tenon_graph_node(g, &tenon_op_nms_rows, n->name, 1, chosen->dst, 1, &rows));
    rows->dst[0]->type = n->dst[0]->type; /* the same unknown size */
    TENON_TRY(tenon_infer_node(plan->cx, g, rows));
    chosen->origin = rows->origin = n->origin ? n->origin : n->name;
    return tenon_graph_replace(g, n->dst[0], rows->dst[0]);
}

tenon_status tenon_plan_selection(tenon_plan *plan)
{
    tenon_graph *g = plan->graph;
    const size_t count = g->node_count;
    bool changed = false;
    int64_t limit;
    if (plan->backend->host_memory) return TENON_OK;
    for (size_t i = 0; i < count; i++) {
        tenon_node *n = g->node[i];
        if (n->op != &tenon_op_non_max_suppression || !n->dst[0] || !known_limit(n, &limit) || !can_part(plan, n, limit)) continue;
        TENON_TRY(part(plan, n, limit));
        changed = true;
    }
    if (!changed) return TENON_OK;
    TENON_TRY(tenon_graph_sort(g));
    tenon_graph_prune(g);
    return TENON_OK;
}
