/* SPDX-License-Identifier: Apache-2.0 */
/* Steps that no tactic of the device does: the CPU's tactic runs them on page-locked copies of their operands. A run puts the copies
   to the host in the stream, waits for it, computes, and puts the copies back in the stream; so what comes later need not wait, and
   the next step of this kind, which uses the same memory, comes behind those copies. Weights are read where the engine's image has
   them.

       staging:  | source | source | ... | result | ... | workspace |      each at a multiple of 64 bytes; one step at a time

   All memory is allocated with the context, for the largest sizes of its profile. */
#include "run/context.h"

#include "base/checked.h"

#include <string.h>

enum { ALIGN = 64 };

/* ---- where operands stand ---- */
/* From the tensor's first byte in memory to its last; strides may be negative. False: too far apart. */
static bool span_of(const tenon_tensor *t, size_t *before, size_t *bytes)
{
    int64_t lo = 0, hi = 0, count, reach;
    *before = *bytes = 0;
    if (!tenon_product(t->dim, t->rank, &count)) return false;
    if (!count) return true;
    for (int k = 0; k < t->rank; k++)
        if (!tenon_mul_i64(t->dim[k] - 1, t->stride[k], &reach) ||
            !tenon_add_i64(reach < 0 ? lo : hi, reach, reach < 0 ? &lo : &hi))
            return false;
    if (lo <= -TENON_DIM_HUGE || hi >= TENON_DIM_HUGE) return false;
    *before = tenon_dtype_bytes(t->dtype, (size_t)-lo);
    *bytes = *before + tenon_dtype_bytes(t->dtype, (size_t)hi + 1);
    return true;
}

static bool has_gaps(const tenon_tensor *t, size_t bytes)
{
    return tenon_dtype_bytes(t->dtype, (size_t)tenon_tensor_count(t)) < bytes;
}

static void tensor_of(const tenon_rec_slot *s, const int64_t *dim, tenon_tensor *t)
{
    *t = (tenon_tensor){.dtype = (tenon_dtype)s->dtype, .rank = (int)s->rank};
    for (uint32_t k = 0; k < s->rank; k++) {
        t->dim[k] = dim[s->dim[k]];
        t->stride[k] = dim[s->stride[k]];
    }
}

/* Bytes of staging that a step needs with these values of the dims. */
static bool need_of(const tenon_context *c, const tenon_step_state *st, const int64_t *dim, size_t *out)
{
    const tenon_engine *e = c->engine;
    const tenon_rec_step *r = st->rec;
    size_t total = tenon_round_up(st->plan.workspace_bytes, ALIGN);
    for (uint32_t k = 0; k < r->src_count + r->dst_count; k++) {
        const uint32_t slot = e->index[k < r->src_count ? r->src_first + k : r->dst_first + k - r->src_count];
        size_t before, bytes;
        tenon_tensor t;
        if (slot == TENON_NONE || e->slot[slot].kind == TENON_SLOT_WEIGHT) continue;
        tensor_of(&e->slot[slot], dim, &t);
        if (!span_of(&t, &before, &bytes) || !tenon_add_size(total, tenon_round_up(bytes, ALIGN), &total)) return false;
    }
    *out = total;
    return true;
}

/* ---- with the context ---- */
static tenon_status grow(tenon_context *c, size_t bytes)
{
    const tenon_engine *e = c->engine;
    if (bytes <= c->staging_bytes) return TENON_OK;
    if (c->staging) { /* copies from it may be on their way */
        TENON_TRY(e->backend->synchronize(&c->cx, e->device, c->stream));
        e->backend->host_release(e->device, c->staging);
        c->staging = NULL;
        c->staging_bytes = 0;
    }
    void *staging;
    TENON_TRY(e->backend->host_alloc(&c->cx, e->device, bytes, &staging));
    c->staging = staging;
    c->staging_bytes = bytes;
    return TENON_OK;
}

/* For the profile's largest sizes. An expression that has no value there, or a larger one elsewhere, is met when it is bound. */
static tenon_status allocate_staging(tenon_context *c)
{
    const tenon_engine *e = c->engine;
    int64_t *symbol = tenon_arena_array(&c->arena, e->symbol_count + 1u, sizeof *symbol);
    int64_t *dim = tenon_arena_array(&c->arena, e->dim_count + 1u, sizeof *dim);
    size_t most = 0;
    uint32_t bad;
    if (!symbol || !dim) return TENON_NOMEM;
    for (uint32_t i = 0; i < e->symbol_count; i++) symbol[i] = c->range[i].hi < TENON_DIM_HUGE ? c->range[i].hi : c->range[i].opt;
    if (!tenon_shape_run(e->dim, e->dim_count, symbol, dim, &bad)) return TENON_OK;
    for (uint32_t i = 0; i < c->profile->step_count; i++) {
        size_t need;
        if (c->host_step[i] && need_of(c, &e->step_state[c->profile->step_first + i], dim, &need)) most = TENON_MAX(most, need);
    }
    return grow(c, most);
}

tenon_status tenon_host_steps_allocate(tenon_context *c)
{
    const tenon_engine *e = c->engine;
    tenon_arena *a = &c->arena;
    c->host_step = tenon_arena_array(a, c->profile->step_count + 1u, sizeof *c->host_step);
    if (!c->host_step) return TENON_NOMEM;
    if (!e->host_device) return TENON_OK;
    for (uint32_t i = 0; i < c->profile->step_count; i++) {
        const tenon_step_state *st = &e->step_state[c->profile->step_first + i];
        if (!(st->rec->flags & TENON_STEP_HOST)) continue;
        tenon_host_step *h = tenon_arena_alloc(a, sizeof *h);
        if (!h) return TENON_NOMEM;
        h->src = tenon_arena_array(a, st->rec->src_count + 1u, sizeof *h->src);
        h->dst = tenon_arena_array(a, st->rec->dst_count + 1u, sizeof *h->dst);
        h->operand = tenon_arena_array(a, st->rec->src_count + st->rec->dst_count + 1u, sizeof *h->operand);
        h->staging_bytes = 0;
        if (!h->src || !h->dst || !h->operand) return TENON_NOMEM;
        c->host_step[i] = h;
        c->host_scratch_bytes = TENON_MAX(c->host_scratch_bytes, tenon_round_up(st->plan.scratch_bytes, ALIGN));
    }
    return allocate_staging(c);
}

/* ---- binding ---- */
tenon_status tenon_host_steps_place(tenon_context *c)
{
    const tenon_engine *e = c->engine;
    size_t most = 0;
    for (uint32_t i = 0; e->host_device && i < c->profile->step_count; i++) {
        tenon_host_step *h = c->host_step[i];
        if (!h) continue;
        if (!need_of(c, &e->step_state[c->profile->step_first + i], c->dim_value, &h->staging_bytes))
            return TENON_FAIL(&c->cx, TENON_INVALID, "step '%s': its operands are too large",
                              tenon_engine_string(e, e->step[c->profile->step_first + i].name));
        most = TENON_MAX(most, h->staging_bytes);
    }
    if (most > c->staging_bytes && c->capturing) return tenon_context_check_recordable(c);
    return grow(c, most);
}

static void stage(tenon_staged *o, uint8_t **at)
{
    o->host = *at;
    *at += tenon_round_up(o->bytes, ALIGN);
}

static tenon_staged staged_of(const tenon_tensor *t, bool written)
{
    size_t before, bytes;
    if (!span_of(t, &before, &bytes)) bytes = before = 0; /* need_of has said so before */
    return (tenon_staged){.device = (uint8_t *)t->data - before, .bytes = bytes, .fetch = !written || has_gaps(t, bytes), .send = written};
}

static void place_source(const tenon_context *c, uint32_t slot, uint8_t **at, tenon_tensor *t, tenon_staged *o)
{
    const tenon_engine *e = c->engine;
    *o = (tenon_staged){.bytes = 0};
    if (slot == TENON_NONE) return;
    const tenon_rec_slot *s = &e->slot[slot];
    if (s->kind == TENON_SLOT_WEIGHT) {
        const int64_t offset = s->offset == TENON_NONE ? 0 : c->dim_value[s->offset];
        const uint8_t *base = tenon_engine_weight(e, (uint32_t)s->base);
        t->data = (uint8_t *)(uintptr_t)base + tenon_dtype_bytes(t->dtype, (size_t)offset);
        return;
    }
    *o = staged_of(t, false);
    stage(o, at);
    t->data = (uint8_t *)o->host + ((uint8_t *)t->data - (uint8_t *)o->device);
}

/* b becomes part of a where they overlap. */
static bool join(tenon_staged *a, tenon_staged *b)
{
    const uintptr_t x = (uintptr_t)a->device, y = (uintptr_t)b->device;
    if (!a->bytes || !b->bytes || x + a->bytes <= y || y + b->bytes <= x) return false;
    const uintptr_t begin = TENON_MIN(x, y), end = TENON_MAX(x + a->bytes, y + b->bytes);
    *a = (tenon_staged){.device = x < y ? a->device : b->device, .bytes = end - begin, .fetch = true, .send = true};
    b->bytes = 0;
    return true;
}

/* What lies between the elements of a result goes back as it was; so results between each other's elements (parts of a concat) are
   one piece. */
static void place_results(tenon_tensor *dst, uint32_t count, tenon_staged *o, uint8_t **at)
{
    for (uint32_t k = 0; k < count; k++) o[k] = staged_of(&dst[k], true);
    for (bool joined = true; joined;) {
        joined = false;
        for (uint32_t k = 1; k < count; k++)
            for (uint32_t j = 0; j < k; j++) joined = join(&o[j], &o[k]) || joined;
    }
    for (uint32_t k = 0; k < count; k++) stage(&o[k], at);
    for (uint32_t k = 0; k < count; k++)
        for (uint32_t j = 0; j < count; j++) {
            const uintptr_t data = (uintptr_t)dst[k].data, device = (uintptr_t)o[j].device;
            if (data - device >= o[j].bytes) continue;
            dst[k].data = (uint8_t *)o[j].host + (data - device);
            break;
        }
}

tenon_status tenon_host_step_bind(tenon_context *c, uint32_t i, tenon_bind *bind)
{
    const tenon_engine *e = c->engine;
    const tenon_step_state *st = &e->step_state[c->profile->step_first + i];
    const tenon_rec_step *r = st->rec;
    tenon_host_step *h = c->host_step[i];
    uint8_t *at = c->staging;
    tenon_tensor pack[TENON_MAX_PACK];
    memcpy(h->src, bind->src, r->src_count * sizeof *h->src);
    memcpy(h->dst, bind->dst, r->dst_count * sizeof *h->dst);
    for (uint32_t k = 0; k < r->src_count; k++) place_source(c, e->index[r->src_first + k], &at, &h->src[k], &h->operand[k]);
    place_results(h->dst, r->dst_count, h->operand + r->src_count, &at);
    for (uint32_t k = 0; k < r->pack_count; k++) {
        pack[k] = bind->pack[k];
        pack[k].data = (void *)(uintptr_t)tenon_engine_weight(e, e->index[r->pack_first + k]);
    }
    bind->src = h->src;
    bind->dst = h->dst;
    bind->pack = pack;
    bind->workspace = at;
    bind->threads = tenon_backend_host->info(e->host_device)->threads;
    bind->device = e->host_device;
    return st->tactic->bind(&c->cx, bind, c->record[i]);
}

/* ---- running ---- */
tenon_status tenon_host_step_run(tenon_context *c, uint32_t i)
{
    const tenon_engine *e = c->engine;
    const tenon_backend *device = e->backend;
    const tenon_rec_step *r = e->step_state[c->profile->step_first + i].rec;
    const tenon_host_step *h = c->host_step[i];
    const uint32_t count = r->src_count + r->dst_count;
    for (uint32_t k = 0; k < count; k++) {
        const tenon_staged *o = &h->operand[k];
        if (o->fetch && o->bytes) TENON_TRY(device->stream_download(&c->cx, e->device, c->stream, o->host, o->device, o->bytes));
    }
    TENON_TRY(device->synchronize(&c->cx, e->device, c->stream));
    TENON_TRY(tenon_backend_host->launch(&c->cx, e->host_device, NULL, &c->launch[i], 1, c->scratch, c->host_scratch_bytes));
    for (uint32_t k = 0; k < count; k++) {
        const tenon_staged *o = &h->operand[k];
        if (o->send && o->bytes) TENON_TRY(device->stream_upload(&c->cx, e->device, c->stream, o->device, o->host, o->bytes));
    }
    return TENON_OK;
}
