/* SPDX-License-Identifier: Apache-2.0 */
/* Times of a context's steps, summed up over all of its profiled runs. */
#include "run/context.h"
#include "run/json_text.h"

#include <jansson.h>

tenon_status tenon_profile_begin(tenon_context *c)
{
    if (!c->profiled) c->profiled = tenon_arena_array(&c->arena, c->profile->step_count + 1u, sizeof *c->profiled);
    return c->profiled ? TENON_OK : TENON_NOMEM;
}

void tenon_profile_note(tenon_context *c, uint32_t i, double seconds)
{
    tenon_profiled *p = &c->profiled[i];
    p->least = p->runs ? TENON_MIN(p->least, seconds) : seconds;
    p->most = TENON_MAX(p->most, seconds);
    p->total += seconds;
    p->runs++;
}

tenon_status tenon_context_profile_report(tenon_context *c, char **json)
{
    TENON_GUARD(c ? &c->cx : NULL);
    TENON_NEED(NULL, c);
    TENON_NEED(&c->cx, json);
    *json = NULL;
    if (!c->profiled) return TENON_FAIL(&c->cx, TENON_INVALID, "no run of this context was profiled: tenon_context_profile does");
    const tenon_engine *e = c->engine;
    json_t *layers = json_array();
    double total = 0;
    for (uint32_t i = 0; i < c->profile->step_count; i++) {
        const tenon_rec_step *s = &e->step[c->profile->step_first + i];
        const tenon_profiled *p = &c->profiled[i];
        json_array_append_new(layers, json_pack("{s:s,s:s,s:I,s:f,s:f,s:f}", "name", tenon_engine_string(e, s->name), "tactic",
                                                tenon_engine_string(e, s->tactic), "runs", (json_int_t)p->runs, "seconds",
                                                    p->total, "least",
                                                p->least, "most", p->most));
        total += p->total;
    }
    return tenon_json_text(&c->cx, json_pack("{s:f,s:o}", "seconds", total, "layers", layers), json);
}
