/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes without effect on the outputs go, and values nobody uses. */
#include "pass/pass.h"

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    (void)cx;
    const size_t before = g->node_count;
    tenon_graph_prune(g);
    *changed |= g->node_count != before;
    return tenon_graph_sort(g);
}

const tenon_pass tenon_pass_dce = {.name = "dce", .what = "nodes without effect on the outputs go", .run = run};
