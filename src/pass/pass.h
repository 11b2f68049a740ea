/* SPDX-License-Identifier: Apache-2.0 */
/* Rewrites of the graph: one file and one line of pass.def each. A pass canonicalises or recognises; it never decides what
   becomes one step (that is the planner's, by the clock). It leaves events that say what it did and what stood in its way.

   A pass adds nodes and replaces values; it never changes what an existing node computes, so a stale index of uses can cost an
   opportunity but not a result. Bodies of If, Loop and Scan are left as they are, but for constants inside them. */
#ifndef TENON_PASS_PASS_H
#define TENON_PASS_PASS_H

#include "ir/graph.h"

typedef struct tenon_pass {
    const char *name;
    const char *what; /* one line for `tenon list passes` */
    /* Sets *changed and never clears it; leaves the graph sorted. */
    tenon_status (*run)(tenon_cx *cx, tenon_graph *g, bool *changed);
} tenon_pass;

/* Every pass once, in the order in which they first run, NULL-terminated. */
extern const tenon_pass *const tenon_passes[];

/* The whole pipeline: groups of passes in the order of pass.def, each group repeated until nothing changes. Types must be
   inferred. g->events may be NULL. With TENON_DUMP=folder in the environment the graph's text is written there after each pass
   that changed it. */
tenon_status tenon_passes_run(tenon_cx *cx, tenon_graph *g);
/* One pass by its row, once (tests, tools): index of uses before, verification after in debug builds. */
tenon_status tenon_pass_once(tenon_cx *cx, tenon_graph *g, const tenon_pass *pass, bool *changed);

#endif
