/* SPDX-License-Identifier: Apache-2.0 */
/* Recording events; see events.h. */
#include "pass/events.h"

#include <stdio.h>
#include <string.h>

tenon_status tenon_events_attach(tenon_graph *g)
{
    tenon_events *e = tenon_arena_alloc(g->arena, sizeof *e);
    if (!e) return TENON_NOMEM;
    e->arena = g->arena;
    g->events = e;
    return TENON_OK;
}

const char *tenon_node_origin(const tenon_node *n) { return n->origin && *n->origin ? n->origin : n->name; }

static bool known(const tenon_events *e, const char *pass, const char *origin, const char *text)
{
    for (size_t i = e->count; i-- > 0;) {
        const tenon_event *v = &e->event[i];
        if (!strcmp(v->text, text) && !strcmp(v->origin, origin) && !strcmp(v->pass, pass)) return true;
    }
    return false;
}

static tenon_status record(tenon_graph *g, const char *pass, const tenon_node *n, bool applied, const char *format, va_list args)
{
    tenon_events *e = g->events;
    if (!e && !tenon_log_wants(g->cx, TENON_TOPIC_PASS)) return TENON_OK;
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    const char *origin = tenon_node_origin(n);
    tenon_log(g->cx, TENON_VERBOSE, TENON_TOPIC_PASS, "%s: %s at %s: %s", pass, applied ? "applied" : "blocked", origin, text);
    if (!e || (!applied && known(e, pass, origin, text))) return TENON_OK;
    TENON_TRY(tenon_arena_grow(e->arena, (void **)&e->event, &e->capacity, e->count + 1, sizeof *e->event));
    tenon_event v = {.pass = pass, .applied = applied, .origin = tenon_arena_strdup(e->arena, origin), .text =
        tenon_arena_strdup(e->arena, text)};
    if (!v.origin || !v.text) return TENON_NOMEM;
    e->event[e->count++] = v;
    return TENON_OK;
}

tenon_status tenon_event_applied(tenon_graph *g, const char *pass, const tenon_node *n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const tenon_status status = record(g, pass, n, true, format, args);
    va_end(args);
    return status;
}

tenon_status tenon_event_blocked(tenon_graph *g, const char *pass, const tenon_node *n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const tenon_status status = record(g, pass, n, false, format, args);
    va_end(args);
    return status;
}
