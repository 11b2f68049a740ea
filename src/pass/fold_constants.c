/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of constants alone become weight expressions (value->expr), evaluated when the engine is built or a weight is replaced;
   small integers and scalars at once. Also inside the bodies of If, Loop and Scan. */
#include "pass/pass.h"
#include "pass/rewrite.h"

static tenon_status fold_graph(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    bool any = false;
    for (size_t i = 0; i < g->node_count; i++) {
        tenon_node *n = g->node[i];
        bool folded = false;
        for (int k = 0; k < n->sub_count; k++) TENON_TRY(fold_graph(cx, n->sub[k], changed));
        if (!n->dead) TENON_TRY(tenon_rw_fold(cx, g, n, &folded));
        if (folded) TENON_TRY(tenon_event_applied(g, "fold_constants", n, "%s of constants -> weight expression", n->op->name));
        any |= folded;
    }
    if (!any) return TENON_OK;
    *changed = true;
    return tenon_graph_sort(g);
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed) { return fold_graph(cx, g, changed); }

const tenon_pass tenon_pass_fold_constants = {.name = "fold_constants", .what = "nodes of constants become weight expressions",
    .run = run};
