/* SPDX-License-Identifier: Apache-2.0 */
/* What the passes did and what stood in their way, for `tenon explain`, the log and tests. Lives in the graph's arena; a graph
   without events (g->events NULL) records nothing, the log (TENON_LOG=pass) is written in any case. */
#ifndef TENON_PASS_EVENTS_H
#define TENON_PASS_EVENTS_H

#include "ir/graph.h"

typedef struct tenon_event {
    const char *pass;
    const char *origin;  /* the ONNX nodes it is about */
    bool applied;        /* false: blocked */
    const char *text;    /* "x*1 -> x", "blocked by a second use of 'y' because ..." */
} tenon_event;

typedef struct tenon_events {
    tenon_arena *arena;
    tenon_event *event;
    size_t count, capacity;
} tenon_events;

/* Events of the graph from now on. */
tenon_status tenon_events_attach(tenon_graph *g);
/* The origin of a node: its own field, else its name. */
const char *tenon_node_origin(const tenon_node *n);

TENON_PRINTF(4, 5) tenon_status tenon_event_applied(tenon_graph *g, const char *pass, const tenon_node *n, const char *format,
    ...);
/* The same pass, node and text are recorded once. */
TENON_PRINTF(4, 5) tenon_status tenon_event_blocked(tenon_graph *g, const char *pass, const tenon_node *n, const char *format,
    ...);

#endif
