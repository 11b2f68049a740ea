/* SPDX-License-Identifier: Apache-2.0 */
/* The tactic that can do everything: the interpreter over the problem's graph, on one member. It allocates while it runs, and is
   slow; a plan that holds it has a gap, and says so. */
#include "cpu/backend.h"
#include "op/eval.h"

typedef struct record {
    const tenon_problem *problem;
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST];
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    (void)cx;
    r->problem = b->problem;
    for (int i = 0; i < b->problem->src_count; i++) r->src[i] = b->src[i];
    for (int i = 0; i < b->problem->dst_count; i++) r->dst[i] = b->dst[i];
    return TENON_OK;
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    tenon_tensor dst[TENON_PROBLEM_DST];
    tenon_heap heap;
    for (int i = 0; i < r->problem->dst_count; i++) dst[i] = r->dst[i];
    tenon_heap_init(&heap, w->cx);
    const tenon_status status = tenon_eval_graph(w->cx, r->problem->graph, r->src, r->problem->src_count, dst,
                                                 r->problem->dst_count, &heap, NULL, NULL);
    tenon_heap_free(&heap);
    return status;
}

const tenon_tactic tenon_cpu_ref = {
    .name = "cpu.ref", .pattern = "*", .flags = TENON_TACTIC_REFERENCE | TENON_TACTIC_SERIAL | TENON_TACTIC_DETERMINISTIC,
    .plan = plan, .bind = bind, .run = run,
};
