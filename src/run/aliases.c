/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs that lie on inputs. Steps read an input where the caller has it and write an output where the caller wants it, so an
   output may replace an input only if nothing reads the input once the output is being written: every step that reads it comes
   before the first that writes the output, with a barrier between, or is that step and reads element by element what it then
   writes. The planner uses the same rule for what it puts in place itself (plan/memory.c). */
#include "run/context.h"

#include "base/checked.h"

#include <stdio.h>
#include <string.h>

static bool of_binding(const tenon_engine *e, uint32_t slot, uint32_t binding)
{
    return slot != TENON_NONE && e->slot[slot].kind == TENON_SLOT_BINDING && e->slot[slot].base == binding;
}

/* Same dims and strides, from the start. */
static bool same_layout(const tenon_rec_slot *a, const tenon_rec_slot *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank || a->offset != b->offset) return false;
    for (uint32_t k = 0; k < a->rank; k++)
        if (a->dim[k] != b->dim[k] || a->stride[k] != b->stride[k]) return false;
    return true;
}

/* The step reads the input only as it writes the output over it. */
static bool in_place(const tenon_engine *e, const tenon_step_state *st, uint32_t in, uint32_t out)
{
    const tenon_rec_step *r = st->rec;
    if ((r->flags & TENON_STEP_GRAPH) || !st->plan.in_place || !of_binding(e, e->index[r->dst_first], out)) return false;
    for (uint32_t k = 1; k < r->dst_count; k++)
        if (of_binding(e, e->index[r->dst_first + k], out)) return false;
    const tenon_rec_slot *dst = &e->slot[e->index[r->dst_first]];
    for (uint32_t k = 0; k < r->src_count; k++) {
        const uint32_t slot = e->index[r->src_first + k];
        if (of_binding(e, slot, in) && !(same_layout(&e->slot[slot], dst) && tenon_problem_program_only(st->problem,
                (int)k))) return false;
    }
    return true;
}

static bool touches(const tenon_engine *e, uint32_t first, uint32_t count, uint32_t binding)
{
    for (uint32_t k = 0; k < count; k++)
        if (of_binding(e, e->index[first + k], binding)) return true;
    return false;
}

/* The step because of which output `out` may not lie on input `in`, or NULL: it may. */
static const tenon_rec_step *hindrance(const tenon_engine *e, const tenon_rec_profile *p, uint32_t in, uint32_t out)
{
    uint32_t last_read = 0, reads = 0, barriers = 0; /* barriers since the last read */
    bool written = false;
    for (uint32_t i = 0; i < p->step_count; i++) {
        const tenon_step_state *st = &e->step_state[p->step_first + i];
        const tenon_rec_step *r = st->rec;
        const bool read = touches(e, r->src_first, r->src_count, in), writes = touches(e, r->dst_first, r->dst_count, out);
        if (writes && !written) {
            if (read ? !in_place(e, st, in, out) : reads && !barriers) return read ? r : &e->step[p->step_first + last_read];
            if (read && reads && !barriers) return &e->step[p->step_first + last_read];
            written = true;
        } else if (read && written) return r;
        if (read) {
            last_read = i;
            reads++;
            barriers = 0;
        }
        /* steps of a device are ordered by what they touch, so there every step is a barrier to the next */
        barriers += !e->backend->host_memory || !(r->flags & TENON_STEP_NO_BARRIER);
    }
    return NULL;
}

static tenon_status find(tenon_cx *cx, const tenon_engine *e, const char *name, tenon_io io, uint32_t *out)
{
    for (uint32_t i = 0; i < e->binding_count; i++)
        if (strcmp(tenon_engine_string(e, e->binding[i].name), name) == 0 && e->binding[i].io == (uint32_t)io) {
            *out = i;
            return TENON_OK;
        }
    return TENON_FAIL(cx, TENON_INVALID, "the engine has no %s '%s'", io == TENON_INPUT ? "input" : "output", name);
}

static bool same_type(const tenon_rec_binding *a, const tenon_rec_binding *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    for (uint32_t k = 0; k < a->rank; k++)
        if (a->dim[k] != b->dim[k]) return false;
    return true;
}

static bool on_heap(const tenon_engine *e, const tenon_rec_profile *p, uint32_t output)
{
    for (uint32_t i = 0; i < p->slot_count; i++) {
        const tenon_rec_slot *s = &e->slot[p->slot_first + i];
        if (s->kind == TENON_SLOT_HEAP && s->name == e->binding[output].name) return true;
    }
    return false;
}

tenon_status tenon_engine_alias(tenon_cx *cx, const tenon_engine *engine, int profile, const char *input, const char *output,
                                bool *out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = false;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    TENON_NEED(cx, input);
    TENON_NEED(cx, output);
    if (profile < 0 || (uint32_t)profile >= engine->profile_count)
        return TENON_FAIL(cx, TENON_INVALID, "profile %d: the engine has %u", profile, engine->profile_count);
    uint32_t i, o;
    TENON_TRY(find(cx, engine, input, TENON_INPUT, &i));
    TENON_TRY(find(cx, engine, output, TENON_OUTPUT, &o));
    const tenon_rec_profile *p = &engine->profile[profile];
    *out = same_type(&engine->binding[i], &engine->binding[o]) && !on_heap(engine, p, o) && !hindrance(engine, p, i, o);
    return TENON_OK;
}

/* ---- when addresses are bound ---- */
typedef struct extent { uintptr_t begin, end; } extent;

static extent extent_of(const tenon_context *c, uint32_t binding)
{
    const tenon_rec_binding *b = &c->engine->binding[binding];
    int64_t dim[TENON_MAX_RANK], count;
    for (uint32_t k = 0; k < b->rank; k++) dim[k] = c->dim_value[b->dim[k]];
    if (!c->address[binding] || !tenon_product(dim, (int)b->rank, &count) || count <= 0) return (extent){0, 0};
    const uintptr_t begin = (uintptr_t)c->address[binding];
    const size_t bytes = TENON_MIN(tenon_dtype_bytes((tenon_dtype)b->dtype, (size_t)count), c->address_bytes[binding]);
    return (extent){begin, begin + bytes};
}

static tenon_status check_pair(tenon_context *c, uint32_t other, const extent *a, uint32_t output, const extent *b)
{
    const tenon_engine *e = c->engine;
    const tenon_rec_binding *x = &e->binding[other], *y = &e->binding[output];
    if (a->begin >= b->end || b->begin >= a->end || on_heap(e, c->profile, output)) return TENON_OK;
    const char *name = tenon_engine_string(e, x->name), *to = tenon_engine_string(e, y->name);
    if (x->io == TENON_OUTPUT)
        return on_heap(e, c->profile, other) ? TENON_OK
                                             : TENON_FAIL(&c->cx, TENON_INVALID, "outputs '%s' and '%s' overlap in memory", name,
                                                          to);
    if (a->begin != b->begin || a->end != b->end) {
        /* an input that no step reads is free */
        bool read = false;
        for (uint32_t i = 0; i < c->profile->step_count && !read; i++) {
            const tenon_rec_step *r = &e->step[c->profile->step_first + i];
            read = touches(e, r->src_first, r->src_count, other);
        }
        return read ? TENON_FAIL(&c->cx, TENON_INVALID, "output '%s' overlaps a part of input '%s': give it the same address and size, if "
                                 "tenon_engine_alias allows it, or memory of its own", to, name) : TENON_OK;
    }
    const tenon_rec_step *why = hindrance(e, c->profile, other, output);
    if (!why) return TENON_OK;
    return TENON_FAIL(&c->cx, TENON_INVALID, "output '%s' has the address of input '%s', which step '%s' still reads when the output is "
                      "written: give it memory of its own", to, name, tenon_engine_string(e, why->name));
}

tenon_status tenon_aliases_check(tenon_context *c)
{
    const tenon_engine *e = c->engine;
    for (uint32_t o = 0; o < e->binding_count; o++) {
        if (e->binding[o].io != TENON_OUTPUT) continue;
        const extent b = extent_of(c, o);
        for (uint32_t i = 0; i < e->binding_count && b.end > b.begin; i++) {
            if (e->binding[i].io == TENON_OUTPUT && i >= o) continue;
            const uintptr_t begin = (uintptr_t)c->address[i]; /* most lie far apart, and products of dims take time */
            if (begin >= b.end || (begin < b.begin && c->address_bytes[i] <= b.begin - begin)) continue;
            const extent a = extent_of(c, i);
            TENON_TRY(check_pair(c, i, &a, o, &b));
        }
    }
    return TENON_OK;
}
