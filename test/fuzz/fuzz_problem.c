/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as the text of a problem, which engines and timing caches hold. A canonical text reads back as itself; every tactic of
   every backend may be asked about it, and plans it where it accepts. */
#include "fuzz.h"

#include "op/tactic.h"
#include "run/load.h"

static void ask(tenon_cx *cx, const tenon_problem *p, tenon_device *device)
{
    const tenon_backend *cpu = tenon_backend_find("cpu");
    const unsigned have = tenon_device_have(cpu, device);
    for (const tenon_tactic *const *t = cpu->tactics; *t; t++) {
        tenon_variant variant[8];
        tenon_reason reason;
        tenon_tactic_plan plan;
        if (tenon_tactic_rejects(*t, p, &(tenon_variant){{0}}, device, have, &reason)) continue;
        const int count = (*t)->variants ? (*t)->variants(p, device, variant, 8) : 0;
        FUZZ_DEMAND(count <= 8);
        for (int i = 0; i < count; i++)
            if (!tenon_tactic_rejects(*t, p, &variant[i], device, have, &reason)) {
                plan = (tenon_tactic_plan){0};
                (void)fuzz_ok(cx, (*t)->plan(cx, p, &variant[i], device, &plan));
            }
        plan = (tenon_tactic_plan){0};
        if (count == 0) (void)fuzz_ok(cx, (*t)->plan(cx, p, &(tenon_variant){{0}}, device, &plan));
    }
}

static void run(tenon_cx *cx, const uint8_t *data, size_t size)
{
    tenon_arena arena;
    tenon_problem p, again;
    tenon_device *device = NULL;
    tenon_arena_init(&arena, cx);
    char *text = tenon_arena_strndup(&arena, (const char *)data, size);
    if (text && fuzz_ok(cx, tenon_problem_parse(cx, &arena, text, &p))) {
        const tenon_status status = tenon_problem_parse(cx, &arena, p.text, &again);
        if (status != TENON_OK) fprintf(stderr, "%s\n%s\n", p.text, tenon_cx_message(cx));
        else if (strcmp(p.text, again.text) != 0) fprintf(stderr, "%s\n%s\n", p.text, again.text);
        FUZZ_DEMAND(status == TENON_NOMEM || (status == TENON_OK && strcmp(p.text, again.text) == 0 && p.hash == again.hash));
        const tenon_backend *cpu = tenon_backend_find("cpu");
        if (fuzz_ok(cx, cpu->open(cx, 0, 1, &device))) ask(cx, &p, device);
        if (device) cpu->close(&device);
    }
    tenon_arena_free(&arena);
}

const fuzz_target fuzz_target_problem = {
    .name = "problem", .what = "the text of a problem: parsed, printed, parsed again, given to every CPU tactic", .run = run};
