/* SPDX-License-Identifier: Apache-2.0 */
/* The tactic that can do everything, so that every model runs: the operands come to the host, the interpreter computes, the results go
   back. It allocates and waits while it runs, and no graph can hold it; a plan that has it has a gap, and says so. */
#include "cuda/backend.h"

#include "op/eval.h"

typedef struct record {
    const tenon_problem *problem;
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST];
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
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

/* From the tensor's first byte in memory to its last; strides may be negative. */
static void span_of(const tenon_tensor *t, size_t *before, size_t *bytes)
{
    int64_t lo = 0, hi = 0;
    for (int k = 0; k < t->rank; k++) {
        const int64_t reach = (t->dim[k] - 1) * t->stride[k];
        if (reach < 0) lo += reach;
        else hi += reach;
    }
    *before = tenon_dtype_bytes(t->dtype, (size_t)-lo);
    *bytes = *before + tenon_dtype_bytes(t->dtype, (size_t)hi + 1);
}

/* Also of results: what lies between their elements belongs to others and goes back as it was. */
static tenon_status fetch(const tenon_cuda_queue *q, tenon_heap *heap, const tenon_tensor *device, tenon_tensor *host)
{
    size_t before, bytes;
    *host = *device;
    if (!device->data || tenon_tensor_count(device) == 0) return TENON_OK;
    span_of(device, &before, &bytes);
    char *copy = tenon_heap_alloc(heap, bytes);
    if (!copy) return TENON_NOMEM;
    host->data = copy + before;
    return tenon_cuda_read(q, copy, (const char *)device->data - before, bytes);
}

static tenon_status compute(const tenon_cuda_queue *q, const record *r, tenon_heap *heap)
{
    const int srcs = r->problem->src_count, dsts = r->problem->dst_count;
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST];
    for (int i = 0; i < srcs; i++) TENON_TRY(fetch(q, heap, &r->src[i], &src[i]));
    for (int i = 0; i < dsts; i++) TENON_TRY(fetch(q, heap, &r->dst[i], &dst[i]));
    TENON_TRY(tenon_eval_graph(q->cx, r->problem->graph, src, srcs, dst, dsts, heap, NULL, NULL));
    for (int i = 0; i < dsts; i++) {
        size_t before, bytes;
        if (tenon_tensor_count(&dst[i]) == 0) continue;
        span_of(&r->dst[i], &before, &bytes);
        TENON_TRY(tenon_cuda_write(q, (char *)r->dst[i].data - before, (const char *)dst[i].data - before, bytes));
    }
    return TENON_OK;
}

static tenon_status run(const void *launch, void *exec)
{
    const tenon_cuda_queue *q = exec;
    const record *r = launch;
    tenon_heap heap;
    tenon_log(q->cx, TENON_VERBOSE, TENON_TOPIC_RUN, "cuda.ref: on the host, between copies: %s", r->problem->text);
    tenon_heap_init(&heap, q->cx);
    const tenon_status status = compute(q, r, &heap);
    tenon_heap_free(&heap);
    return status;
}

const tenon_tactic tenon_cuda_ref = {
    .name = "cuda.ref", .pattern = "*", .flags = TENON_TACTIC_REFERENCE | TENON_TACTIC_HOST | TENON_TACTIC_DETERMINISTIC, .plan = plan,
    .bind = bind, .run = run,
};
