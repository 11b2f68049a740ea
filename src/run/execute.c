/* SPDX-License-Identifier: Apache-2.0 */
/* Running a prepared context: segments of bound steps are handed to the backend, graph steps (control flow, sequences, sizes that
   depend on data) are evaluated by the references with their results in the context's heap. */
#include "run/context.h"

#include "base/clock.h"

#include <string.h>

/* ---- graph steps ---- */
static size_t span_bytes(const tenon_tensor *t)
{
    int64_t last = 0;
    for (int k = 0; k < t->rank; k++) last += TENON_MAX(t->dim[k] - 1, 0) * t->stride[k];
    return tenon_dtype_bytes(t->dtype, (size_t)last + 1);
}

static tenon_status host_copy(tenon_context *c, tenon_heap *heap, tenon_tensor *t)
{
    const tenon_engine *e = c->engine;
    if (e->backend->host_memory || !t->data || tenon_tensor_count(t) == 0) return TENON_OK;
    const size_t bytes = span_bytes(t);
    void *host = tenon_heap_alloc(heap, bytes);
    if (!host) return TENON_NOMEM;
    TENON_TRY(e->backend->download(&c->cx, e->device, host, t->data, bytes));
    t->data = host;
    return TENON_OK;
}

/* A data-dependent symbol takes the size its heap slot turned out to have; tensors whose contents are sizes follow. */
static tenon_status take_sizes(tenon_context *c, uint32_t slot)
{
    const tenon_engine *e = c->engine;
    bool changed = false;
    for (uint32_t i = 0; i < e->symbol_count; i++) {
        const tenon_rec_symbol *s = &e->symbol[i];
        if (s->binding != TENON_NONE || s->slot != slot) continue;
        const tenon_tensor *t = &c->heap_entry[e->slot[slot].base];
        if ((int)s->slot_axis >= t->rank) continue;
        c->symbol_value[i] = t->dim[s->slot_axis];
        changed = true;
    }
    uint32_t bad;
    if (!changed) return TENON_OK;
    if (!tenon_shape_run(e->dim, e->dim_count, c->symbol_value, c->dim_value, &bad))
        return TENON_FAIL(&c->cx, TENON_INVALID, "shape expression %u cannot be evaluated for the sizes found while running",
                          bad);
    for (uint32_t i = 0; i < c->profile->slot_count; i++)
        if (e->slot[c->profile->slot_first + i].kind == TENON_SLOT_SYMBOLIC) TENON_TRY(tenon_context_write_symbolic(c, i));
    return TENON_OK;
}

/* What the last run left is gone when the next begins, or fails. */
static void forget_results(tenon_context *c)
{
    tenon_heap_free(&c->heap);
    for (uint32_t i = 0; i < c->profile->heap_count; i++) c->heap_entry[i] = (tenon_tensor){.dtype = TENON_DTYPE_NONE};
}

static tenon_status run_graph_step(tenon_context *c, uint32_t i)
{
    const tenon_engine *e = c->engine;
    const tenon_step_state *st = &e->step_state[c->profile->step_first + i];
    const tenon_rec_step *r = st->rec;
    tenon_tensor *src = c->src[i], *dst = c->dst[i];
    for (uint32_t k = 0; k < r->src_count; k++) {
        const uint32_t slot = e->index[r->src_first + k];
        if (slot != TENON_NONE && e->slot[slot].kind == TENON_SLOT_HEAP) src[k] = c->heap_entry[e->slot[slot].base];
        else if (slot != TENON_NONE) {
            src[k].data = c->slot[slot - c->profile->slot_first].data; /* the last run's host copy is gone */
            TENON_TRY(host_copy(c, &c->heap, &src[k]));
        }
    }
    for (uint32_t k = 0; k < r->dst_count; k++)
        if (e->slot[e->index[r->dst_first + k]].kind == TENON_SLOT_HEAP) dst[k] = (tenon_tensor){.dtype = TENON_DTYPE_NONE};
        else if (!e->backend->host_memory)
            TENON_TRY(host_copy(c, &c->heap, &dst[k])); /* with what lies between strided elements */
    TENON_TRY(tenon_eval_graph(&c->cx, st->graph, src, (int)r->src_count, dst, (int)r->dst_count, &c->heap, NULL, NULL));
    for (uint32_t k = 0; k < r->dst_count; k++) {
        const uint32_t slot = e->index[r->dst_first + k];
        if (e->slot[slot].kind != TENON_SLOT_HEAP) {
            void *device = c->slot[slot - c->profile->slot_first].data;
            if (device == dst[k].data) continue;
            TENON_TRY(e->backend->upload(&c->cx, e->device, device, dst[k].data, span_bytes(&dst[k])));
            dst[k].data = device;
            continue;
        }
        c->heap_entry[e->slot[slot].base] = dst[k];
        TENON_TRY(take_sizes(c, slot));
    }
    return TENON_OK;
}

/* On the host: it waits for what is in the stream. */
static tenon_status run_alone(tenon_context *c, uint32_t i)
{
    const tenon_engine *e = c->engine;
    if (c->host_step[i]) return tenon_host_step_run(c, i);
    if (!e->backend->host_memory) TENON_TRY(e->backend->synchronize(&c->cx, e->device, c->stream));
    return run_graph_step(c, i);
}

/* ---- device graphs ---- */
static tenon_status launch_direct(tenon_context *c, const tenon_segment *s, void *stream)
{
    tenon_engine *e = c->engine;
    return e->backend->launch(&c->cx, e->device, stream, &c->launch[s->first], s->count, c->scratch,
                              (size_t)c->profile->scratch_bytes);
}

/* Records seen for the first time are launched as they are; the second time they become a graph; after that the graph is
   launched. Sizes are in the shape block, so other sizes of the same bucket are the same records. */
static tenon_status launch_captured(tenon_context *c, tenon_segment *s)
{
    tenon_engine *e = c->engine;
    tenon_captured *entry = &s->captured[0];
    for (int i = 0; i < TENON_CAPTURES; i++) {
        tenon_captured *other = &s->captured[i];
        if (other->uses && other->key == s->key) {
            entry = other;
            break;
        }
        if (other->last_use < entry->last_use) entry = other;
    }
    if (!entry->uses || entry->key != s->key) {
        if (entry->graph) e->backend->graph_destroy(e->device, entry->graph);
        *entry = (tenon_captured){.key = s->key};
    }
    entry->last_use = c->launches;
    if (entry->uses < 2) entry->uses++;
    if (entry->uses < 2) return launch_direct(c, s, c->stream);
    if (!entry->graph && !entry->refused) {
        const tenon_status status = tenon_segment_capture(c, s, &entry->graph);
        entry->refused = status == TENON_NOMEM; /* a graph is memory of the device's, and slower without it is better than not at all */
        if (status != TENON_OK && !entry->refused) return status;
        if (entry->refused) tenon_log(&c->cx, TENON_WARNING, TENON_TOPIC_RUN, "steps are launched one by one: %s", c->cx.message);
    }
    if (!entry->graph) return launch_direct(c, s, c->stream);
    c->graph_launches++;
    return e->backend->graph_launch(&c->cx, e->device, c->stream, entry->graph);
}

/* ---- runs ---- */
/* What runs on the host cannot be recorded. */
tenon_status tenon_context_check_recordable(tenon_context *c)
{
    const tenon_engine *e = c->engine;
    for (uint32_t s = 0; s < c->segment_count; s++)
        if (!c->segment[s].captured)
            return TENON_FAIL(&c->cx, TENON_INVALID, "step '%s' runs on the host, so the engine cannot be captured into a graph: "
                                                     "enqueue it outside",
                              tenon_engine_string(e, e->step[c->profile->step_first + c->segment[s].first].name));
    return TENON_OK;
}

tenon_status tenon_context_launch(tenon_context *c)
{
    tenon_engine *e = c->engine;
    if (c->capturing) TENON_TRY(tenon_context_check_recordable(c));
    forget_results(c);
    for (uint32_t s = 0; s < c->segment_count; s++) {
        tenon_segment *seg = &c->segment[s];
        if (!seg->alone) {
            c->launches++;
            TENON_TRY(seg->captured && !c->capturing ? launch_captured(c, seg) : launch_direct(c, seg, c->stream));
            continue;
        }
        const tenon_status status = run_alone(c, seg->first);
        if (status != TENON_OK)
            return tenon_fail_in(&c->cx, status,
                                 "step '%s': ", tenon_engine_string(e, e->step[c->profile->step_first + seg->first].name));
    }
    return c->given ? tenon_outputs_give(c) : TENON_OK;
}

tenon_status tenon_context_run(tenon_context *c)
{
    TENON_GUARD(c ? &c->cx : NULL);
    TENON_NEED(NULL, c);
    TENON_TRY(tenon_context_idle(c));
    TENON_TRY(tenon_context_own_stream(c));
    TENON_TRY(tenon_context_prepare(c));
    const tenon_status status = tenon_context_launch(c);
    if (status == TENON_OK) return TENON_DONE(tenon_context_wait(c));
    tenon_cx quiet; /* what was launched before it failed still uses the caller's memory */
    tenon_cx_init_child(&quiet, &c->cx);
    (void)c->engine->backend->synchronize(&quiet, c->engine->device, c->stream);
    return status;
}

tenon_status tenon_context_profile(tenon_context *c, tenon_profile_fn fn, void *user)
{
    TENON_GUARD(c ? &c->cx : NULL);
    TENON_NEED(NULL, c);
    TENON_NEED(&c->cx, fn);
    TENON_TRY(tenon_context_idle(c));
    TENON_TRY(tenon_context_own_stream(c));
    TENON_TRY(tenon_context_prepare(c));
    TENON_TRY(tenon_context_wait(c)); /* for what was in it before */
    TENON_TRY(tenon_profile_begin(c));
    tenon_engine *e = c->engine;
    forget_results(c);
    for (uint32_t i = 0; i < c->profile->step_count; i++) {
        const tenon_rec_step *r = &e->step[c->profile->step_first + i];
        const double start = tenon_now();
        if (r->flags & (TENON_STEP_GRAPH | TENON_STEP_HOST)) TENON_TRY(run_alone(c, i));
        else
            TENON_TRY(
                e->backend->launch(&c->cx, e->device, c->stream, &c->launch[i], 1, c->scratch,
                                   (size_t)c->profile->scratch_bytes));
        TENON_TRY(e->backend->synchronize(&c->cx, e->device, c->stream));
        const double seconds = tenon_now() - start;
        tenon_profile_note(c, i, seconds);
        fn(user, i, tenon_engine_string(e, r->name), seconds);
    }
    return TENON_DONE(c->given ? tenon_outputs_give(c) : TENON_OK);
}

tenon_status tenon_context_output(tenon_context *c, const char *binding, const void **data, size_t *bytes)
{
    TENON_GUARD(c ? &c->cx : NULL);
    TENON_NEED(NULL, c);
    TENON_NEED(&c->cx, data);
    *data = NULL;
    TENON_NEED(&c->cx, bytes);
    *bytes = 0;
    TENON_NEED(&c->cx, binding);
    uint32_t index;
    TENON_TRY(tenon_context_idle(c));
    TENON_TRY(tenon_context_find(c, binding, &index));
    const tenon_rec_binding *b = &c->engine->binding[index];
    for (uint32_t i = 0; i < c->profile->slot_count; i++) {
        const tenon_rec_slot *s = &c->engine->slot[c->profile->slot_first + i];
        if (s->kind != TENON_SLOT_HEAP || s->name != b->name || b->io != TENON_OUTPUT) continue;
        const tenon_tensor *t = &c->heap_entry[s->base];
        if (t->dtype == TENON_DTYPE_NONE) return TENON_FAIL(&c->cx, TENON_INVALID, "output '%s': run the context first", binding);
        *data = t->data;
        *bytes = tenon_dtype_bytes(t->dtype, (size_t)tenon_tensor_count(t));
        return TENON_OK;
    }
    *data = c->address[index];
    *bytes = c->address_bytes[index];
    if (!*data) return TENON_FAIL(&c->cx, TENON_INVALID, "'%s': its address is not set", binding);
    return TENON_OK;
}
