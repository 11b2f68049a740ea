/* SPDX-License-Identifier: Apache-2.0 */
/* A segment's steps as one device graph. Steps that touch nothing in common are recorded in streams of their own (lanes.h),
   joined by marks, so that branches run beside each other; TENON_LANES=1 records them one after another. */
#include "run/context.h"
#include "run/lanes.h"

#include "base/checked.h"

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
/* Widens lo..hi, in elements from the slot's base, by where its elements lie with these values of the dims; false: too far. */
static bool widen(const tenon_rec_slot *s, const int64_t *dim, int64_t *lo, int64_t *hi, bool *any)
{
    int64_t begin = s->offset == TENON_NONE ? 0 : dim[s->offset], end = begin, reach;
    for (uint32_t k = 0; k < s->rank; k++) {
        if (dim[s->dim[k]] == 0) return true;
        if (!tenon_mul_i64(dim[s->dim[k]] - 1, dim[s->stride[k]], &reach)) return false;
        if (!tenon_add_i64(reach < 0 ? begin : end, reach, reach < 0 ? &begin : &end)) return false;
    }
    *lo = *any ? TENON_MIN(*lo, begin) : begin;
    *hi = *any ? TENON_MAX(*hi, end) : end;
    *any = true;
    return begin >= -TENON_DIM_HUGE && end <= TENON_DIM_HUGE;
}

/* A graph serves all sizes of a bucket, and what lies apart now may not with larger ones: so up to the bucket's end, and from the
   slot's base on where the offset is a matter of sizes. */
static bool span_of(const tenon_context *c, uint32_t slot, const tenon_tensor *t, bool written, tenon_span *out)
{
    const tenon_engine *e = c->engine;
    if (slot == TENON_NONE || !t->data || e->slot[slot].kind == TENON_SLOT_HEAP) return false;
    const tenon_rec_slot *s = &e->slot[slot];
    int64_t lo = 0, hi = 0;
    bool any = false, near = widen(s, c->dim_value, &lo, &hi, &any);
    uintptr_t base = (uintptr_t)t->data;
    if (any && s->offset != TENON_NONE) base -= tenon_dtype_bytes(t->dtype, (size_t)c->dim_value[s->offset]);
    if (c->dim_most) near = near && widen(s, c->dim_most, &lo, &hi, &any);
    if (c->dim_most && s->offset != TENON_NONE && e->dim[s->offset].kind != TENON_DIM_CONST) lo = TENON_MIN(lo, 0);
    *out = (tenon_span){0, UINTPTR_MAX, written};
    if (near && !any) return false;
    if (near) {
        out->begin = base + (lo < 0 ? 0 - tenon_dtype_bytes(t->dtype, (size_t)-lo) : tenon_dtype_bytes(t->dtype, (size_t)lo));
        out->end = base + tenon_dtype_bytes(t->dtype, (size_t)(hi + 1));
    }
    return true;
}

static uint32_t spans_of(const tenon_context *c, uint32_t i, tenon_span *out)
{
    const tenon_engine *e = c->engine;
    const tenon_rec_step *r = e->step_state[c->profile->step_first + i].rec;
    uint32_t count = 0;
    for (uint32_t k = 0; k < r->src_count; k++)
        count += span_of(c, e->index[r->src_first + k], &c->src[i][k], false, &out[count]);
    for (uint32_t k = 0; k < r->dst_count; k++)
        count += span_of(c, e->index[r->dst_first + k], &c->dst[i][k], true, &out[count]);
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
