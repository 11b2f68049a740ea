/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts: creation, shapes, addresses. Running is in execute.c. */
#include "run/context.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static size_t slot_index(const tenon_context *c, uint32_t slot) { return slot - c->profile->slot_first; }

/* ---- creation ---- */
static tenon_status allocate_steps(tenon_context *c)
{
    const uint32_t steps = c->profile->step_count;
    tenon_arena *a = &c->arena;
    c->src = tenon_arena_array(a, steps + 1u, sizeof *c->src);
    c->dst = tenon_arena_array(a, steps + 1u, sizeof *c->dst);
    c->record = tenon_arena_array(a, steps + 1u, sizeof *c->record);
    c->launch = tenon_arena_array(a, steps + 1u, sizeof *c->launch);
    c->segment = tenon_arena_array(a, steps + 1u, sizeof *c->segment);
    c->shape_first = tenon_arena_array(a, steps + 1u, sizeof *c->shape_first);
    if (!c->src || !c->dst || !c->record || !c->launch || !c->segment || !c->shape_first) return TENON_NOMEM;
    TENON_TRY(tenon_host_steps_allocate(c));
    for (uint32_t i = 0; i < steps; i++) {
        const tenon_step_state *st = &c->engine->step_state[c->profile->step_first + i];
        c->src[i] = tenon_arena_array(a, st->rec->src_count + 1u, sizeof **c->src);
        c->dst[i] = tenon_arena_array(a, st->rec->dst_count + 1u, sizeof **c->dst);
        /* records hold vectors: 64-byte alignment inside an over-allocated piece */
        uint8_t *record = tenon_arena_alloc(a, st->plan.record_bytes + 64);
        if (!c->src[i] || !c->dst[i] || !record) return TENON_NOMEM;
        c->record[i] = record + (64 - (uintptr_t)record % 64) % 64;
        const bool alone = st->rec->flags & (TENON_STEP_GRAPH | TENON_STEP_HOST);
        const unsigned flags = st->rec->flags & TENON_STEP_NO_BARRIER ? TENON_LAUNCH_NO_BARRIER : 0;
        c->launch[i] = (tenon_launch){.tactic = st->tactic, .record = c->record[i], .flags = flags};
        const bool direct = alone || !c->engine->backend->graph_begin || (st->tactic->flags & TENON_TACTIC_HOST);
        tenon_segment *last = c->segment_count ? &c->segment[c->segment_count - 1] : NULL;
        c->shape_first[i] = c->shape_count;
        c->shape_count += (uint32_t)st->plan.shape_count;
        if (last && !alone && !last->alone && last->direct == direct) {
            last->count++;
            continue;
        }
        tenon_segment *s = &c->segment[c->segment_count++];
        *s = (tenon_segment){.first = i, .count = 1, .alone = alone, .direct = direct};
        if (!direct && !(s->captured = tenon_arena_array(a, TENON_CAPTURES, sizeof *s->captured))) return TENON_NOMEM;
    }
    return TENON_OK;
}

static tenon_status allocate_shape(tenon_context *c)
{
    tenon_engine *e = c->engine;
    if (!c->shape_count) return TENON_OK;
    c->shape = tenon_arena_array(&c->arena, c->shape_count, sizeof *c->shape);
    c->symbol_most = tenon_arena_array(&c->arena, e->symbol_count + 1u, sizeof *c->symbol_most);
    c->dim_most = tenon_arena_array(&c->arena, e->dim_count + 1u, sizeof *c->dim_most);
    if (!c->shape || !c->symbol_most || !c->dim_most) return TENON_NOMEM;
    return tenon_hook_alloc(&c->cx, e, &c->hook, c->shape_count * sizeof *c->shape, &c->shape_device);
}

static tenon_status allocate_symbolic(tenon_context *c)
{
    tenon_engine *e = c->engine;
    size_t most = 0;
    for (uint32_t i = 0; i < c->profile->slot_count; i++) {
        const tenon_rec_slot *s = &e->slot[c->profile->slot_first + i];
        if (s->kind != TENON_SLOT_SYMBOLIC) continue;
        most = TENON_MAX(most, s->count);
        const size_t bytes = TENON_MAX(s->count, 1u) * sizeof(int64_t);
        TENON_TRY(tenon_hook_alloc(&c->cx, e, &c->hook, bytes, &c->symbolic[i]));
    }
    c->contents = tenon_arena_array(&c->arena, most + 1, sizeof *c->contents);
    return c->contents ? TENON_OK : TENON_NOMEM;
}

static tenon_status check_block(tenon_context *c, const void *memory, size_t bytes)
{
    const size_t need = (size_t)c->profile->block_bytes;
    if (bytes < need)
        return TENON_FAIL(&c->cx, TENON_INVALID, "context memory: %zu bytes given, profile %d needs %zu", bytes,
                          (int)(c->profile - c->engine->profile), need);
    if ((uintptr_t)memory % 64) return TENON_FAIL(&c->cx, TENON_INVALID, "context memory must be aligned to 64 bytes");
    return TENON_OK;
}

static tenon_status allocate_block(tenon_context *c, const tenon_context_options *options)
{
    tenon_engine *e = c->engine;
    const size_t need = (size_t)c->profile->block_bytes;
    if (options && options->memory) {
        TENON_TRY(check_block(c, options->memory, options->memory_bytes));
        c->block = options->memory;
    } else if (need && !(options && options->memory_later)) {
        TENON_TRY(tenon_hook_alloc(&c->cx, e, &c->hook, need, &c->owned_block));
        c->block = c->owned_block;
    }
    const size_t scratch = e->backend->host_memory
                               ? (size_t)c->profile->scratch_bytes * (size_t)e->backend->info(e->device)->threads
                           : e->host_device ? c->host_scratch_bytes * (size_t)tenon_backend_host->info(e->host_device)->threads
                                            : 0;
    if (scratch) {
        c->owned_scratch = tenon_alloc_aligned(&c->cx, scratch, 4096);
        if (!c->owned_scratch) return TENON_NOMEM;
        c->scratch = c->owned_scratch;
    }
    return TENON_OK;
}

static tenon_status allocate(tenon_context *c, const tenon_context_options *options)
{
    tenon_engine *e = c->engine;
    tenon_arena *a = &c->arena;
    c->symbol_value = tenon_arena_array(a, e->symbol_count + 1u, sizeof *c->symbol_value);
    c->dim_value = tenon_arena_array(a, e->dim_count + 1u, sizeof *c->dim_value);
    c->address = tenon_arena_array(a, e->binding_count + 1u, sizeof *c->address);
    c->address_bytes = tenon_arena_array(a, e->binding_count + 1u, sizeof *c->address_bytes);
    c->symbolic = tenon_arena_array(a, c->profile->slot_count + 1u, sizeof *c->symbolic);
    c->slot = tenon_arena_array(a, c->profile->slot_count + 1u, sizeof *c->slot);
    c->heap_entry = tenon_arena_array(a, c->profile->heap_count + 1u, sizeof *c->heap_entry);
    if (!c->symbol_value || !c->dim_value || !c->address || !c->address_bytes || !c->symbolic || !c->slot || !c->heap_entry)
        return TENON_NOMEM;
    for (uint32_t i = 0; i < e->symbol_count; i++) {
        const tenon_rec_range *r = &c->range[i];
        c->symbol_value[i] = e->symbol[i].binding == TENON_NONE ? 0 : r->lo == r->hi ? r->lo : -1;
    }
    TENON_TRY(allocate_steps(c));
    TENON_TRY(allocate_shape(c));
    TENON_TRY(allocate_symbolic(c));
    return allocate_block(c, options);
}

static void context_free(tenon_context *c)
{
    tenon_engine *e = c->engine;
    for (uint32_t i = 0; c->symbolic && i < c->profile->slot_count; i++)
        tenon_hook_free(e, &c->hook, c->symbolic[i]);
    for (uint32_t i = 0; i < c->segment_count; i++)
        for (int k = 0; c->segment[i].captured && k < TENON_CAPTURES; k++)
            if (c->segment[i].captured[k].graph) e->backend->graph_destroy(e->device, c->segment[i].captured[k].graph);
    if (c->staging) e->backend->host_release(e->device, c->staging);
    tenon_hook_free(e, &c->hook, c->shape_device);
    tenon_hook_free(e, &c->hook, c->owned_block);
    tenon_free_aligned(&c->cx, c->owned_scratch);
    tenon_heap_free(&c->heap);
    tenon_arena_free(&c->arena);
    const tenon_allocator alloc = c->cx.alloc;
    alloc.free(alloc.user, c);
    tenon_engine_release(e);
}

tenon_status tenon_context_create(tenon_cx *cx, tenon_engine *engine, const tenon_context_options *options, tenon_context **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    const int profile = options ? options->profile : 0;
    if (profile < 0 || (uint32_t)profile >= engine->profile_count)
        return TENON_FAIL(cx, TENON_INVALID, "profile %d: the engine has %u", profile, engine->profile_count);
    const tenon_device_allocator *hook = options && options->device_allocator ? options->device_allocator : &engine->hook;
    if (hook != &engine->hook) TENON_TRY(tenon_hook_check(cx, hook));
    tenon_context *c = tenon_alloc_zero(cx, sizeof *c);
    if (!c) return TENON_NOMEM;
    tenon_cx_init_child(&c->cx, cx);
    tenon_engine_retain(engine);
    c->engine = engine;
    c->hook = *hook;
    c->profile = &engine->profile[profile];
    c->range = &engine->range[c->profile->range_first];
    tenon_arena_init(&c->arena, &c->cx);
    tenon_heap_init(&c->heap, &c->cx);
    c->shapes_dirty = c->binding_dirty = true;
    const tenon_status status = allocate(c, options);
    if (status != TENON_OK) {
        const tenon_status reported = TENON_FAIL(cx, status, "%s", c->cx.message);
        context_free(c);
        return reported;
    }
    *out = c;
    return TENON_OK;
}

void tenon_context_destroy(tenon_context **context)
{
    if (!context || !*context) return;
    tenon_stream_release(*context);
    context_free(*context);
    *context = NULL;
}

tenon_status tenon_context_set_memory(tenon_context *c, void *memory, size_t bytes)
{
    TENON_GUARD(c ? &c->cx : NULL);
    TENON_NEED(NULL, c);
    if (bytes) TENON_NEED(&c->cx, memory);
    TENON_TRY(tenon_context_idle(c));
    TENON_TRY(check_block(c, memory, bytes));
    if (c->owned_block) { /* a run on its way may use it */
        TENON_TRY(tenon_context_own_stream(c));
        TENON_TRY(tenon_context_wait(c));
        tenon_hook_free(c->engine, &c->hook, c->owned_block);
        c->owned_block = NULL;
    }
    c->block = memory;
    c->binding_dirty = true;
    return TENON_OK;
}

const char *tenon_context_message(const tenon_context *context)
{
    return context ? context->cx.message : "the context is NULL";
}

size_t tenon_engine_context_bytes(const tenon_engine *engine, int profile)
{
    return engine && profile >= 0 && (uint32_t)profile < engine->profile_count ? (size_t)engine->profile[profile].block_bytes : 0;
}

/* ---- shapes and addresses ---- */
tenon_status tenon_context_find(tenon_context *c, const char *name, uint32_t *out)
{
    const tenon_engine *e = c->engine;
    for (uint32_t i = 0; i < e->binding_count; i++)
        if (strcmp(tenon_engine_string(e, e->binding[i].name), name) == 0) {
            *out = i;
            return TENON_OK;
        }
    char known[512] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < e->binding_count && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s'%s'", i ? ", " : "",
                                 tenon_engine_string(e, e->binding[i].name));
    return TENON_FAIL(&c->cx, TENON_INVALID, "no binding '%s'; the engine has %s", name, known);
}

static tenon_status set_symbol(tenon_context *c, const char *input, uint32_t axis, uint32_t symbol, int64_t value)
{
    const tenon_rec_range *r = &c->range[symbol];
    const char *name = tenon_engine_string(c->engine, c->engine->symbol[symbol].name);
    if (value < r->lo || value > r->hi || (r->divisor > 1 && value % r->divisor))
        return TENON_FAIL(&c->cx, TENON_INVALID,
                          "input '%s': axis %u (%s) is %" PRId64 ", the profile allows %" PRId64 "..%" PRId64
                          "%s; set another shape or profile",
                          input, axis, name, value, r->lo, r->hi, r->divisor > 1 ? " in steps of its divisor" : "");
    if (c->symbol_value[symbol] != value) {
        TENON_TRY(tenon_context_idle(c));
        c->symbol_value[symbol] = value;
        c->shapes_dirty = true;
    }
    return TENON_OK;
}

tenon_status tenon_context_set_shape(tenon_context *c, const char *input, int rank, const int64_t *dim)
{
    TENON_GUARD(c ? &c->cx : NULL);
    TENON_NEED(NULL, c);
    TENON_NEED(&c->cx, input);
    const tenon_engine *e = c->engine;
    uint32_t index;
    TENON_TRY(tenon_context_find(c, input, &index));
    const tenon_rec_binding *b = &e->binding[index];
    if (b->io != TENON_INPUT)
        return TENON_FAIL(&c->cx, TENON_INVALID, "'%s' is an output; only inputs have their shape set", input);
    if (rank != (int)b->rank)
        return TENON_FAIL(&c->cx, TENON_INVALID, "input '%s': rank %d given, the engine has rank %u", input, rank, b->rank);
    if (rank) TENON_NEED(&c->cx, dim);
    for (uint32_t i = 0; i < b->rank; i++) {
        const tenon_rec_dim *d = &e->dim[b->dim[i]];
        if (d->kind == TENON_DIM_SYM) TENON_TRY(set_symbol(c, input, i, (uint32_t)d->value, dim[i]));
        else if (d->kind == TENON_DIM_CONST && d->value != dim[i])
            return TENON_FAIL(&c->cx, TENON_INVALID, "input '%s': axis %u is %" PRId64 ", the engine has %" PRId64, input, i,
                              dim[i], d->value);
    }
    return TENON_DONE(TENON_OK);
}

static tenon_status evaluate(tenon_context *c)
{
    const tenon_engine *e = c->engine;
    for (uint32_t i = 0; i < e->symbol_count; i++)
        if (c->symbol_value[i] < 0) {
            const tenon_rec_symbol *s = &e->symbol[i];
            return TENON_FAIL(&c->cx, TENON_INVALID, "input '%s': its shape is not set (axis %u, '%s', is dynamic)",
                              tenon_engine_string(e, e->binding[s->binding].name), s->axis, tenon_engine_string(e, s->name));
        }
    uint32_t bad;
    if (!tenon_shape_run(e->dim, e->dim_count, c->symbol_value, c->dim_value, &bad))
        return TENON_FAIL(&c->cx, TENON_INVALID,
                          "shape expression %u cannot be evaluated for the shapes set (division by zero or overflow)", bad);
    return TENON_OK;
}

tenon_status tenon_context_shape(tenon_context *c, const char *binding, int *rank, int64_t *dim)
{
    TENON_GUARD(c ? &c->cx : NULL);
    TENON_NEED(NULL, c);
    TENON_NEED(&c->cx, rank);
    *rank = 0;
    TENON_NEED(&c->cx, binding);
    TENON_NEED(&c->cx, dim);
    uint32_t index;
    TENON_TRY(tenon_context_find(c, binding, &index));
    if (c->shapes_dirty) TENON_TRY(evaluate(c)); /* else they are as they were bound, and the context may be in a queue */
    const tenon_rec_binding *b = &c->engine->binding[index];
    for (uint32_t i = 0; i < c->profile->slot_count; i++) {
        const tenon_rec_slot *s = &c->engine->slot[c->profile->slot_first + i];
        if (b->io == TENON_OUTPUT && s->kind == TENON_SLOT_HEAP && s->name == b->name) {
            TENON_TRY(tenon_context_idle(c));
            const tenon_tensor *t = &c->heap_entry[s->base];
            *rank = t->dtype == TENON_DTYPE_NONE ? (int)b->rank : t->rank;
            for (int k = 0; k < *rank; k++) dim[k] = t->dtype == TENON_DTYPE_NONE ? -1 : t->dim[k];
            return TENON_DONE(TENON_OK);
        }
    }
    *rank = (int)b->rank;
    for (uint32_t i = 0; i < b->rank; i++) dim[i] = c->dim_value[b->dim[i]];
    return TENON_DONE(TENON_OK);
}

tenon_status tenon_context_set_address(tenon_context *c, const char *binding, void *address, size_t bytes)
{
    TENON_GUARD(c ? &c->cx : NULL);
    uint32_t index;
    TENON_NEED(NULL, c);
    TENON_NEED(&c->cx, binding);
    TENON_TRY(tenon_context_find(c, binding, &index));
    if (!address && bytes) return TENON_FAIL(&c->cx, TENON_INVALID, "'%s': address is NULL", binding);
    const size_t element = tenon_dtype_bytes((tenon_dtype)c->engine->binding[index].dtype, 1);
    if (element && (uintptr_t)address % element)
        return TENON_FAIL(&c->cx, TENON_INVALID, "'%s': address %p is not aligned to its element of %zu bytes", binding, address,
                          element);
    if (c->address[index] == address && c->address_bytes[index] == bytes) return TENON_DONE(TENON_OK);
    TENON_TRY(tenon_context_idle(c));
    c->binding_dirty = true;
    c->address[index] = address;
    c->address_bytes[index] = bytes;
    return TENON_DONE(TENON_OK);
}

/* ---- resolving ---- */
/* Base address and size of a slot's storage. */
static tenon_status slot_storage(tenon_context *c, uint32_t i, const tenon_rec_slot *s, uint8_t **base, size_t *bytes)
{
    const tenon_engine *e = c->engine;
    switch ((tenon_slot_kind)s->kind) {
    case TENON_SLOT_ARENA:
        *base = c->block + s->base;
        *bytes = s->base <= c->profile->block_bytes ? (size_t)(c->profile->block_bytes - s->base) : 0;
        return TENON_OK;
    case TENON_SLOT_BINDING:
        *base = c->address[s->base];
        *bytes = c->address_bytes[s->base];
        if (!*base && *bytes == 0)
            return TENON_FAIL(&c->cx, TENON_INVALID, "%s '%s': its address is not set",
                              e->binding[s->base].io == TENON_INPUT ? "input" : "output",
                              tenon_engine_string(e, e->binding[s->base].name));
        return TENON_OK;
    case TENON_SLOT_WEIGHT:
        *base = e->weight_address[s->base];
        *bytes = (size_t)e->weight[s->base].bytes;
        return TENON_OK;
    case TENON_SLOT_SYMBOLIC:
        *base = c->symbolic[i];
        *bytes = TENON_MAX(s->count, 1u) * sizeof(int64_t);
        return TENON_OK;
    case TENON_SLOT_HEAP: break;
    }
    return TENON_FAIL(&c->cx, TENON_INTERNAL, "slot %u has no storage", i);
}

static tenon_status check_extent(tenon_context *c, const tenon_rec_slot *s, const tenon_tensor *t, int64_t offset, size_t bytes)
{
    int64_t lo = offset, hi = offset, count;
    bool ok = tenon_product(t->dim, t->rank, &count);
    for (int k = 0; ok && count && k < t->rank; k++) {
        int64_t reach;
        ok = tenon_mul_i64(t->dim[k] - 1, t->stride[k], &reach) &&
             tenon_add_i64(reach < 0 ? lo : hi, reach, reach < 0 ? &lo : &hi);
    }
    if (ok && count) ok = lo >= 0 && hi < TENON_DIM_HUGE && tenon_dtype_bytes(t->dtype, (size_t)hi + 1) <= bytes;
    if (ok) return TENON_OK;
    const tenon_engine *e = c->engine;
    if (s->kind == TENON_SLOT_BINDING)
        return TENON_FAIL(&c->cx, TENON_INVALID, "%s '%s': %zu bytes given, its shape needs %zu",
                          e->binding[s->base].io == TENON_INPUT ? "input" : "output",
                          tenon_engine_string(e, e->binding[s->base].name), bytes,
                          tenon_dtype_bytes(t->dtype, hi < 0 ? 0 : (size_t)hi + 1));
    return TENON_FAIL(&c->cx, TENON_CORRUPT, "engine section slots: '%s' reaches outside its storage",
                      tenon_engine_string(e, s->name));
}

tenon_status tenon_context_upload(tenon_context *c, void *dst, const void *src, size_t bytes)
{
    const tenon_engine *e = c->engine;
    if (c->capturing)
        return TENON_FAIL(&c->cx, TENON_INVALID, "the stream is being captured, and sizes are not on the device yet: enqueue the "
                          "context once with these shapes before the capture");
    if (e->backend->stream_upload) return e->backend->stream_upload(&c->cx, e->device, c->stream, dst, src, bytes);
    return e->backend->upload(&c->cx, e->device, dst, src, bytes);
}

tenon_status tenon_context_write_symbolic(tenon_context *c, uint32_t i)
{
    const tenon_engine *e = c->engine;
    const tenon_rec_slot *s = &e->slot[c->profile->slot_first + i];
    for (uint32_t k = 0; k < s->count; k++) c->contents[k] = c->dim_value[e->index[s->base + k]];
    return tenon_context_upload(c, c->symbolic[i], c->contents, s->count * sizeof *c->contents);
}

static tenon_status resolve_slot(tenon_context *c, uint32_t i)
{
    const tenon_rec_slot *s = &c->engine->slot[c->profile->slot_first + i];
    tenon_tensor *t = &c->slot[i];
    t->dtype = (tenon_dtype)s->dtype;
    if (s->kind == TENON_SLOT_HEAP) return TENON_OK;
    t->rank = (int)s->rank;
    for (uint32_t k = 0; k < s->rank; k++) {
        t->dim[k] = c->dim_value[s->dim[k]];
        t->stride[k] = c->dim_value[s->stride[k]];
    }
    uint8_t *base = NULL;
    size_t bytes = 0;
    TENON_TRY(slot_storage(c, i, s, &base, &bytes));
    const int64_t offset = s->offset == TENON_NONE ? 0 : c->dim_value[s->offset];
    TENON_TRY(check_extent(c, s, t, offset, bytes));
    t->data = tenon_tensor_count(t) ? base + tenon_dtype_bytes(t->dtype, (size_t)offset) : base; /* none: any offset is none */
    return s->kind == TENON_SLOT_SYMBOLIC ? tenon_context_write_symbolic(c, i) : TENON_OK;
}

/* The upper end of the bucket that a symbol's value lies in: the range's own end, or an eighth of it, and so on, down to ranges
   of at most 64 values, which are one bucket. A graph then serves a bucket at the price of at most eight times the blocks
   needed. */
static int64_t bucket_end(const tenon_rec_range *r, int64_t value)
{
    int64_t end = r->hi;
    while (end > 64 && value <= end / 8) end /= 8;
    const int64_t step = TENON_MAX(r->divisor, 1);
    return TENON_MIN(tenon_ceil_div(end, step) * step, r->hi);
}

static void evaluate_most(tenon_context *c)
{
    const tenon_engine *e = c->engine;
    uint32_t bad;
    if (!c->shape_count) return;
    for (uint32_t i = 0; i < e->symbol_count; i++)
        c->symbol_most[i] = e->symbol[i].binding == TENON_NONE ? c->symbol_value[i]
                                                               : bucket_end(&c->range[i], c->symbol_value[i]);
    /* an expression may have no value there: then the sizes themselves are the bucket */
    if (!tenon_shape_run(e->dim, e->dim_count, c->symbol_most, c->dim_most, &bad))
        memcpy(c->dim_most, c->dim_value, e->dim_count * sizeof *c->dim_most);
}

/* Dims of a step's tensors at the bucket's end; never below what they are now. */
static void most_dims(const tenon_context *c, const uint32_t *slot, uint32_t count, const tenon_tensor *now, tenon_tensor *out)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = now[i];
        if (slot[i] == TENON_NONE || c->engine->slot[slot[i]].kind == TENON_SLOT_HEAP) continue;
        for (int k = 0; k < out[i].rank; k++)
            out[i].dim[k] = TENON_MAX(now[i].dim[k], c->dim_most[c->engine->slot[slot[i]].dim[k]]);
    }
}

static tenon_status bind_step(tenon_context *c, uint32_t i)
{
    const tenon_engine *e = c->engine;
    const tenon_step_state *st = &e->step_state[c->profile->step_first + i];
    const tenon_rec_step *r = st->rec;
    for (uint32_t k = 0; k < r->src_count; k++) {
        const uint32_t slot = e->index[r->src_first + k];
        c->src[i][k] = slot == TENON_NONE ? (tenon_tensor){.dtype = TENON_DTYPE_NONE} : c->slot[slot_index(c, slot)];
    }
    for (uint32_t k = 0; k < r->dst_count; k++) c->dst[i][k] = c->slot[slot_index(c, e->index[r->dst_first + k])];
    if (r->flags & TENON_STEP_GRAPH) return TENON_OK;
    tenon_tensor pack[TENON_MAX_PACK];
    for (uint32_t k = 0; k < r->pack_count; k++) {
        const uint32_t w = e->index[r->pack_first + k];
        pack[k] = (tenon_tensor){
            .dtype = (tenon_dtype)e->weight[w].dtype, .rank = (int)e->weight[w].rank, .data = e->weight_address[w]};
        memcpy(pack[k].dim, e->weight[w].dim, sizeof pack[k].dim);
        tenon_tensor_dense(&pack[k]);
    }
    void *kernel[TENON_MAX_KERNELS];
    for (uint32_t k = 0; k < r->kernel_count; k++) kernel[k] = e->kernel_handle[e->index[r->kernel_first + k]];
    /* sources read only in packed form keep their dims, which the tactic may look at */
    for (uint32_t k = 0; k < r->src_count; k++) {
        tenon_tensor *t = &c->src[i][k];
        if (t->dtype != TENON_DTYPE_NONE) continue;
        const tenon_type *type = &st->problem->src[k].value->type;
        t->dtype = type->dtype;
        t->rank = type->rank;
        for (int d = 0; d < type->rank; d++) t->dim[d] = type->dim[d]->value;
        tenon_tensor_dense(t);
    }
    TENON_TRY(tenon_operands_fit(&c->cx, st->problem, c->src[i], c->dst[i]));
    tenon_tensor src_most[TENON_PROBLEM_SRC], dst_most[TENON_PROBLEM_DST];
    const bool shape = st->plan.shape_count > 0;
    if (shape) {
        most_dims(c, &e->index[r->src_first], r->src_count, c->src[i], src_most);
        most_dims(c, &e->index[r->dst_first], r->dst_count, c->dst[i], dst_most);
    }
    tenon_bind bind = {
        .shape = shape ? c->shape + c->shape_first[i] : NULL,
        .shape_device = shape ? (const int64_t *)c->shape_device + c->shape_first[i] : NULL,
        .src_most = shape ? src_most : NULL,
        .dst_most = shape ? dst_most : NULL,
        .problem = st->problem,
        .variant = &st->variant,
        .plan = &st->plan,
        .src = c->src[i],
        .dst = c->dst[i],
        .pack = pack,
        .workspace = c->block ? c->block + r->workspace_offset : NULL,
        .threads = e->backend->info(e->device)->threads,
        .device = e->device,
        .kernel = kernel,
    };
    return c->host_step[i] ? tenon_host_step_bind(c, i, &bind) : st->tactic->bind(&c->cx, &bind, c->record[i]);
}

/* The shape block in one copy; and what the segments' records now are, for graphs made from such records. */
static tenon_status publish_binding(tenon_context *c)
{
    tenon_engine *e = c->engine;
    const size_t bytes = c->shape_count * sizeof *c->shape;
    const uint64_t hash = bytes ? XXH3_64bits(c->shape, bytes) | 1 : 0;
    if (hash != c->shape_hash) { /* other addresses do not change it */
        TENON_TRY(tenon_context_upload(c, c->shape_device, c->shape, bytes));
        c->shape_hash = hash;
    }
    for (uint32_t i = 0; i < c->segment_count; i++) {
        tenon_segment *s = &c->segment[i];
        s->key = 0;
        for (uint32_t k = 0; s->captured && k < s->count; k++) {
            const size_t bytes = e->step_state[c->profile->step_first + s->first + k].plan.record_bytes;
            s->key = XXH3_64bits_withSeed(c->record[s->first + k], bytes, s->key);
        }
    }
    return TENON_OK;
}

tenon_status tenon_context_prepare(tenon_context *c)
{
    const uint32_t generation = c->engine->generation;
    if (!c->shapes_dirty && !c->binding_dirty && !c->given && c->generation == generation) return TENON_OK;
    if (!c->block && c->profile->block_bytes)
        return TENON_FAIL(&c->cx, TENON_INVALID, "the context has no memory for its activations yet: tenon_context_set_memory");
    if (c->shapes_dirty) {
        TENON_TRY(evaluate(c));
        evaluate_most(c);
    }
    if (c->given) TENON_TRY(tenon_outputs_place(c));
    if (!c->shapes_dirty && !c->binding_dirty && c->generation == generation) return TENON_OK;
    for (uint32_t i = 0; i < c->profile->slot_count; i++) TENON_TRY(resolve_slot(c, i));
    TENON_TRY(tenon_aliases_check(c));
    TENON_TRY(tenon_host_steps_place(c));
    for (uint32_t i = 0; i < c->profile->step_count; i++) {
        const tenon_status status = bind_step(c, i);
        if (status != TENON_OK)
            return tenon_fail_in(&c->cx, status,
                                 "step '%s': ", tenon_engine_string(c->engine, c->engine->step[c->profile->step_first + i].name));
    }
    TENON_TRY(publish_binding(c));
    c->shapes_dirty = c->binding_dirty = false;
    c->generation = generation;
    return TENON_OK;
}
