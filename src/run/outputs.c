/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs whose memory the caller gives when it is known how much: before the run where the shapes say it, at its end where data
   do. */
#include "run/context.h"

#include "base/checked.h"

#include <string.h>

/* The slot of an output whose size depends on data, or NULL. */
static const tenon_rec_slot *heap_slot(const tenon_context *c, uint32_t binding)
{
    const tenon_rec_binding *b = &c->engine->binding[binding];
    for (uint32_t i = 0; i < c->profile->slot_count; i++) {
        const tenon_rec_slot *s = &c->engine->slot[c->profile->slot_first + i];
        if (s->kind == TENON_SLOT_HEAP && s->name == b->name && b->io == TENON_OUTPUT) return s;
    }
    return NULL;
}

tenon_status tenon_context_set_output_allocator(tenon_context *c, const char *output, const tenon_output_allocator *allocator)
{
    TENON_GUARD(c ? &c->cx : NULL);
    TENON_NEED(NULL, c);
    TENON_NEED(&c->cx, output);
    if (allocator) TENON_NEED(&c->cx, allocator->reallocate);
    const tenon_engine *e = c->engine;
    uint32_t index;
    TENON_TRY(tenon_context_find(c, output, &index));
    if (e->binding[index].io != TENON_OUTPUT) return TENON_FAIL(&c->cx, TENON_INVALID, "'%s' is an input: set its address",
                                                                output);
    if (tenon_dtype_bits((tenon_dtype)e->binding[index].dtype) == 0)
        return TENON_FAIL(&c->cx, TENON_UNSUPPORTED, "output '%s' is of type %s, which has no plain storage", output,
                          tenon_dtype_name((tenon_dtype)e->binding[index].dtype));
    TENON_TRY(tenon_context_idle(c));
    if (!c->given && !(c->given = tenon_arena_array(&c->arena, e->binding_count + 1u, sizeof *c->given))) return TENON_NOMEM;
    c->given[index] = (tenon_given_output){.from = allocator ? *allocator : (tenon_output_allocator){0}};
    return TENON_OK;
}

static tenon_status ask(tenon_context *c, uint32_t i, int rank, const int64_t *dim, size_t *bytes)
{
    tenon_given_output *g = &c->given[i];
    const tenon_engine *e = c->engine;
    const char *name = tenon_engine_string(e, e->binding[i].name);
    const size_t alignment = e->backend->host_memory ? 64 : 256;
    int64_t count;
    if (!tenon_product(dim, rank, &count) || count < 0 || count >= TENON_DIM_HUGE)
        return TENON_FAIL(&c->cx, TENON_INVALID, "output '%s': its shape is no shape", name);
    *bytes = tenon_dtype_bytes((tenon_dtype)e->binding[i].dtype, (size_t)count);
    void *p = g->from.reallocate(g->from.user, name, g->current, TENON_MAX(*bytes, (size_t)1), alignment);
    g->current = p;
    if (!p) return TENON_FAIL(&c->cx, TENON_NOMEM, "output '%s': its allocator has no memory for %zu bytes", name, *bytes);
    if ((uintptr_t)p % alignment)
        return TENON_FAIL(&c->cx, TENON_INVALID, "output '%s': its allocator gave %p, which is not aligned to %zu bytes", name,
                          p, alignment);
    if (g->from.notify) g->from.notify(g->from.user, name, rank, dim);
    return TENON_OK;
}

tenon_status tenon_outputs_place(tenon_context *c)
{
    const tenon_engine *e = c->engine;
    for (uint32_t i = 0; i < e->binding_count; i++) {
        if (!c->given[i].from.reallocate || heap_slot(c, i)) continue;
        const tenon_rec_binding *b = &e->binding[i];
        int64_t dim[TENON_MAX_RANK];
        size_t bytes;
        for (uint32_t k = 0; k < b->rank; k++) dim[k] = c->dim_value[b->dim[k]];
        TENON_TRY(ask(c, i, (int)b->rank, dim, &bytes));
        c->binding_dirty |= c->address[i] != c->given[i].current || c->address_bytes[i] != bytes;
        c->address[i] = c->given[i].current;
        c->address_bytes[i] = bytes;
    }
    return TENON_OK;
}

tenon_status tenon_outputs_give(tenon_context *c)
{
    const tenon_engine *e = c->engine;
    for (uint32_t i = 0; i < e->binding_count; i++) {
        const tenon_rec_slot *s = c->given[i].from.reallocate ? heap_slot(c, i) : NULL;
        if (!s) continue;
        const tenon_tensor *t = &c->heap_entry[s->base];
        size_t bytes;
        if (t->dtype != (tenon_dtype)e->binding[i].dtype || (!t->data && tenon_tensor_count(t)))
            return TENON_FAIL(&c->cx, TENON_CORRUPT, "output '%s': no step of the engine gives it with its type",
                              tenon_engine_string(e, e->binding[i].name));
        TENON_TRY(ask(c, i, t->rank, t->dim, &bytes));
        if (!bytes) continue;
        if (e->backend->host_memory) memcpy(c->given[i].current, t->data, bytes);
        else TENON_TRY(e->backend->upload(&c->cx, e->device, c->given[i].current, t->data, bytes));
    }
    return TENON_OK;
}
