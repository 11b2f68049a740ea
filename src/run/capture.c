/* SPDX-License-Identifier: Apache-2.0 */
/* A segment's steps as one device graph. Steps that touch nothing in common are recorded in streams of their own (lanes.h),
   joined by marks, so that branches run beside each other; TENON_LANES=1 records them one after another. */
#include "run/context.h"
#include "run/lanes.h"

#include <stdlib.h>
#include <string.h>

typedef struct recording {
    tenon_context *context;
    const tenon_segment *segment;
    tenon_lanes lanes;
    void *stream[TENON_LANES];
    void **mark;               /* by step; NULL where nobody waits */
    void *begin;
} recording;

/* ---- what steps touch ---- */
static bool span_of(const tenon_tensor *t, bool written, tenon_span *out)
{
    int64_t lo = 0, hi = 0;
    if (!t->data || t->dtype == TENON_DTYPE_NONE) return false;
    for (int k = 0; k < t->rank; k++) {
        const int64_t reach = (t->dim[k] - 1) * t->stride[k];
        if (t->dim[k] == 0) return false;
        if (reach < 0) lo += reach;
        else hi += reach;
    }
    const uintptr_t at = (uintptr_t)t->data;
    *out = (tenon_span){at - tenon_dtype_bytes(t->dtype, (size_t)-lo), at + tenon_dtype_bytes(t->dtype, (size_t)hi + 1), written};
    return true;
}

static uint32_t spans_of(const tenon_context *c, uint32_t i, tenon_span *out)
{
    const tenon_rec_step *r = c->engine->step_state[c->profile->step_first + i].rec;
    uint32_t count = 0;
    for (uint32_t k = 0; k < r->src_count; k++) count += span_of(&c->src[i][k], false, &out[count]);
    for (uint32_t k = 0; k < r->dst_count; k++) count += span_of(&c->dst[i][k], true, &out[count]);
    if (r->workspace_bytes) {
        const uintptr_t at = (uintptr_t)c->block + (uintptr_t)r->workspace_offset;
        out[count++] = (tenon_span){at, at + (uintptr_t)r->workspace_bytes, true};
    }
    return count;
}

static int most_lanes(void)
{
    const char *text = getenv("TENON_LANES");
    return text && text[0] >= '1' && text[0] <= '0' + TENON_LANES && !text[1] ? text[0] - '0' : TENON_LANES;
}

static tenon_status plan_lanes(recording *r)
{
    tenon_context *c = r->context;
    const tenon_segment *s = r->segment;
    size_t room = 0;
    for (uint32_t i = s->first; i < s->first + s->count; i++) {
        const tenon_rec_step *step = c->engine->step_state[c->profile->step_first + i].rec;
        room += step->src_count + step->dst_count + 1u;
    }
    tenon_status status = TENON_NOMEM;
    tenon_span *span = tenon_alloc(&c->cx, (room + 1) * sizeof *span), *at = span;
    tenon_touch *touch = tenon_alloc(&c->cx, (s->count + 1u) * sizeof *touch);
    for (uint32_t i = 0; span && touch && i < s->count; i++) {
        touch[i] = (tenon_touch){at, spans_of(c, s->first + i, at)};
        at += touch[i].count;
    }
    if (span && touch) status = tenon_lanes_plan(&c->cx, touch, s->count, most_lanes(), &r->lanes);
    tenon_free(&c->cx, span);
    tenon_free(&c->cx, touch);
    return status;
}

/* ---- recording ---- */
static tenon_status launch(const recording *r, uint32_t i, uint32_t count, void *stream)
{
    tenon_context *c = r->context;
    tenon_engine *e = c->engine;
    return e->backend->launch(&c->cx, e->device, stream, &c->launch[r->segment->first + i], count, c->scratch,
                              (size_t)c->profile->scratch_bytes);
}

/* The other lanes enter the recording by waiting for its begin, which is nothing yet. */
static tenon_status fork_lanes(recording *r)
{
    tenon_context *c = r->context;
    tenon_engine *e = c->engine;
    r->mark = tenon_alloc_zero(&c->cx, r->lanes.steps * sizeof *r->mark);
    if (!r->mark) return TENON_NOMEM;
    TENON_TRY(e->backend->stream_mark(&c->cx, e->device, r->stream[0], &r->begin));
    for (int k = 1; k < r->lanes.count; k++) {
        TENON_TRY(e->backend->stream_create(&c->cx, e->device, &r->stream[k]));
        TENON_TRY(e->backend->stream_after(&c->cx, e->device, r->stream[k], r->begin));
    }
    return TENON_OK;
}

static tenon_status record_lanes(recording *r)
{
    tenon_context *c = r->context;
    tenon_engine *e = c->engine;
    const tenon_lanes *l = &r->lanes;
    TENON_TRY(fork_lanes(r));
    for (uint32_t i = 0; i < l->steps; i++) {
        void *stream = r->stream[l->lane[i]];
        for (uint32_t k = l->wait_first[i]; k < l->wait_first[i + 1]; k++)
            TENON_TRY(e->backend->stream_after(&c->cx, e->device, stream, r->mark[l->wait[k]]));
        TENON_TRY(launch(r, i, 1, stream));
        bool last = false; /* of a lane that has to be joined */
        for (int k = 1; k < l->count; k++) last |= l->tail[k] == i;
        if (l->marked[i] || last) TENON_TRY(e->backend->stream_mark(&c->cx, e->device, stream, &r->mark[i]));
    }
    for (int k = 1; k < l->count; k++) TENON_TRY(e->backend->stream_after(&c->cx, e->device, r->stream[0], r->mark[l->tail[k]]));
    return TENON_OK;
}

static void free_recording(recording *r)
{
    tenon_context *c = r->context;
    tenon_engine *e = c->engine;
    for (uint32_t i = 0; r->mark && i < r->lanes.steps; i++)
        if (r->mark[i]) e->backend->mark_free(e->device, r->mark[i]);
    if (r->begin) e->backend->mark_free(e->device, r->begin);
    for (int k = 1; k < TENON_LANES; k++)
        if (r->stream[k]) e->backend->stream_destroy(e->device, r->stream[k]);
    tenon_free(&c->cx, r->mark);
    tenon_lanes_free(&c->cx, &r->lanes);
}

tenon_status tenon_segment_capture(tenon_context *c, const tenon_segment *s, void **graph)
{
    tenon_engine *e = c->engine;
    recording r = {.context = c, .segment = s};
    *graph = NULL;
    TENON_TRY(plan_lanes(&r));
    tenon_status status = e->backend->graph_begin(&c->cx, e->device, &r.stream[0]);
    if (status == TENON_OK) {
        status = r.lanes.count > 1 ? record_lanes(&r) : launch(&r, 0, s->count, r.stream[0]);
        tenon_cx quiet; /* the launch's message is the one to keep */
        tenon_cx_init_child(&quiet, &c->cx);
        const tenon_status ended = e->backend->graph_end(status == TENON_OK ? &c->cx : &quiet, e->device, r.stream[0], graph);
        if (status != TENON_OK && *graph) e->backend->graph_destroy(e->device, *graph);
        if (status != TENON_OK) *graph = NULL;
        else status = ended;
    }
    if (status == TENON_OK) {
        c->graphs_made++;
        c->lanes_most = TENON_MAX(c->lanes_most, r.lanes.count);
    }
    free_recording(&r);
    return status;
}
