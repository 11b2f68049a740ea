/* SPDX-License-Identifier: Apache-2.0 */
/* --list: every case with the tactics that take it and what speaks against the others. */
#include "tenoncheck.h"

#include "run/load.h"

#include <string.h>

static void list_case(tenon_cx *cx, const check_options *o, const tenon_backend *backend, const tenon_device *device,
                      const check_case *c)
{
    tenon_arena arena;
    candidate take[256];
    const char *why[256];
    tenon_arena_init(&arena, cx);
    tenon_problem *p = tenon_arena_alloc(&arena, sizeof *p);
    printf("%s:%d %s\n", c->file, c->line, c->text);
    if (!p || tenon_problem_parse(cx, &arena, c->text, p) != TENON_OK) {
        printf("    ! %s\n", cx->message);
    } else {
        if (strcmp(p->text, c->text)) printf("    = %s\n", p->text);
        const size_t count = check_candidates(backend, device, p, tenon_device_have(backend, device), MAX_VARIANTS, take,
                                              TENON_COUNTOF(take), why, &arena);
        for (size_t i = 0; backend->tactics[i] && i < TENON_COUNTOF(why); i++) {
            const tenon_tactic *t = backend->tactics[i];
            if (o->tactic && strcmp(o->tactic, t->name)) continue;
            int variants = 0;
            for (size_t k = 0; k < count; k++) variants += take[k].tactic == t;
            if (variants) printf("    + %s (%d)\n", t->name, variants);
            else if (!strcmp(t->pattern, p->pattern) || o->tactic) printf("    - %s: %s\n", t->name, why[i]);
        }
    }
    tenon_arena_free(&arena);
}

void check_listing(tenon_cx *cx, const check_options *o, const tenon_backend *backend, const check_cases *cases)
{
    tenon_device *device;
    if (backend->open(cx, 0, o->threads ? o->threads : 1, &device) != TENON_OK) {
        printf("SKIP %s: %s\n", backend->name, cx->message);
        return;
    }
    for (size_t i = 0; i < cases->count; i++)
        if (check_case_matches(&cases->at[i], o->filter)) list_case(cx, o, backend, device, &cases->at[i]);
    backend->close(&device);
}
