/* SPDX-License-Identifier: Apache-2.0 */
/* Plans become records: dims to the shape program, places to slots, steps with their operands; and the records a file image. */
#include "plan/emit.h"

#include "base/checked.h"
#include "base/isa.h"
#include "run/load.h"

#include <string.h>
#include <xxhash.h>

void tenon_emitter_init(tenon_emitter *em, tenon_cx *cx, tenon_arena *arena)
{
    *em = (tenon_emitter){.cx = cx, .arena = arena};
    for (int i = 0; i < TENON_SECTION_COUNT; i++) tenon_buf_init(&em->section[i], cx);
    tenon_buf_char(&em->section[TENON_SECTION_STRINGS], 0);
}

void tenon_emitter_free(tenon_emitter *em)
{
    for (int i = 0; i < TENON_SECTION_COUNT; i++) tenon_buf_free(&em->section[i]);
}

uint32_t tenon_emit_count(const tenon_emitter *em, tenon_section_kind kind)
{
    return (uint32_t)(em->section[kind].length / tenon_section_element_bytes[kind]);
}

#define ADD(em, kind, record) tenon_buf_bytes(&(em)->section[kind], &(record), sizeof(record))

/* ---- strings ---- */
static tenon_status grow_strings(tenon_emitter *em)
{
    const size_t capacity = em->string_capacity ? em->string_capacity * 2 : 1024;
    tenon_interned *table = tenon_arena_array(em->arena, capacity, sizeof *table);
    if (!table) return TENON_NOMEM;
    for (size_t i = 0; i < em->string_capacity; i++) {
        if (!em->string[i].index) continue;
        size_t at = em->string[i].hash & (capacity - 1);
        while (table[at].index) at = (at + 1) & (capacity - 1);
        table[at] = em->string[i];
    }
    em->string = table;
    em->string_capacity = capacity;
    return TENON_OK;
}

tenon_status tenon_emit_string(tenon_emitter *em, const char *s, uint32_t *out)
{
    *out = 0;
    if (!s || !*s) return TENON_OK;
    if ((em->string_count + 1) * 2 > em->string_capacity) TENON_TRY(grow_strings(em));
    tenon_buf *b = &em->section[TENON_SECTION_STRINGS];
    const uint64_t hash = XXH3_64bits(s, strlen(s));
    size_t at = hash & (em->string_capacity - 1);
    for (; em->string[at].index; at = (at + 1) & (em->string_capacity - 1))
        if (em->string[at].hash == hash && strcmp(b->data + em->string[at].index, s) == 0) {
            *out = em->string[at].index;
            return TENON_OK;
        }
    *out = (uint32_t)b->length;
    em->string[at] = (tenon_interned){hash, *out};
    em->string_count++;
    tenon_buf_bytes(b, s, strlen(s) + 1);
    return tenon_buf_status(b);
}

/* ---- dims ---- */
tenon_status tenon_emit_symbol(tenon_emitter *em, const char *name)
{
    uint32_t s;
    TENON_TRY(tenon_emit_string(em, name, &s));
    const tenon_rec_symbol *known = (const void *)em->section[TENON_SECTION_SYMBOLS].data;
    for (size_t i = 0; i < em->symbol_count; i++)
        if (known[i].name == s) return TENON_OK;
    const tenon_rec_symbol record = {
        .name = s, .binding = TENON_NONE, .axis = TENON_NONE, .slot = TENON_NONE, .slot_axis = TENON_NONE};
    ADD(em, TENON_SECTION_SYMBOLS, record);
    em->symbol_count++;
    return tenon_buf_status(&em->section[TENON_SECTION_SYMBOLS]);
}

static tenon_status find_symbol(tenon_emitter *em, const char *name, uint32_t *out)
{
    uint32_t s;
    TENON_TRY(tenon_emit_string(em, name, &s));
    const tenon_rec_symbol *known = (const void *)em->section[TENON_SECTION_SYMBOLS].data;
    for (size_t i = 0; i < em->symbol_count; i++)
        if (known[i].name == s) {
            *out = (uint32_t)i;
            return TENON_OK;
        }
    return TENON_FAIL(em->cx, TENON_INTERNAL, "symbol '%s' was not declared", name);
}

static uint32_t add_dim(tenon_emitter *em, tenon_dim_kind kind, uint32_t a, uint32_t b, uint32_t c, int64_t value)
{
    const tenon_rec_dim record = {.kind = kind, .a = a, .b = b, .c = c, .value = value};
    const uint32_t index = tenon_emit_count(em, TENON_SECTION_DIMS);
    ADD(em, TENON_SECTION_DIMS, record);
    return index;
}

/* Strides are interned while emitting, so ids grow beyond what there was at the beginning. */
static tenon_status grow_dim_map(tenon_emitter *em, size_t id)
{
    const size_t count = TENON_MAX(id + 1, em->plan->graph->dims->node_count) * 2;
    uint32_t *map = tenon_arena_array(em->arena, count, sizeof *map);
    if (!map) return TENON_NOMEM;
    if (em->dim_capacity) memcpy(map, em->dim_record, em->dim_capacity * sizeof *map);
    memset(map + em->dim_capacity, 0xff, (count - em->dim_capacity) * sizeof *map);
    em->dim_record = map;
    em->dim_capacity = count;
    return TENON_OK;
}

tenon_status tenon_emit_dim(tenon_emitter *em, const tenon_dim *d, uint32_t *out)
{
    if ((size_t)d->id >= em->dim_capacity) TENON_TRY(grow_dim_map(em, (size_t)d->id));
    if (em->dim_record[d->id] != TENON_NONE) {
        *out = em->dim_record[d->id];
        return TENON_OK;
    }
    uint32_t arg[3] = {0}, acc;
    switch (d->kind) {
    case TENON_DIM_CONST: acc = add_dim(em, TENON_DIM_CONST, 0, 0, 0, d->value); break;
    case TENON_DIM_SYM:
        TENON_TRY(find_symbol(em, em->plan->graph->dims->symbol[d->value].name, &arg[0]));
        acc = add_dim(em, TENON_DIM_SYM, 0, 0, 0, arg[0]);
        break;
    case TENON_DIM_ADD:
    case TENON_DIM_MUL:
    case TENON_DIM_MIN:
    case TENON_DIM_MAX:
        TENON_TRY(tenon_emit_dim(em, d->arg[0], &acc));
        for (int i = 1; i < d->arg_count; i++) {
            TENON_TRY(tenon_emit_dim(em, d->arg[i], &arg[0]));
            acc = add_dim(em, d->kind, acc, arg[0], 0, 0);
        }
        if (d->kind == TENON_DIM_MUL && d->value != 1)
            acc = add_dim(em, TENON_DIM_MUL, acc, add_dim(em, TENON_DIM_CONST, 0, 0, 0, d->value), 0, 0);
        break;
    default:
        for (int i = 0; i < d->arg_count; i++) TENON_TRY(tenon_emit_dim(em, d->arg[i], &arg[i]));
        acc = add_dim(em, d->kind, arg[0], arg[1], arg[2], 0);
        break;
    }
    *out = em->dim_record[d->id] = acc;
    return tenon_buf_status(&em->section[TENON_SECTION_DIMS]);
}

tenon_status tenon_emit_begin(tenon_emitter *em, tenon_plan *plan)
{
    em->plan = plan;
    em->dim_record = NULL;
    em->dim_capacity = 0;
    return TENON_OK;
}

/* ---- slots ---- */
static tenon_status slot_storage(tenon_emitter *em, tenon_place *p, tenon_rec_slot *s)
{
    tenon_place *root = tenon_place_root(p);
    if (tenon_plan_is_symbolic(p->value) && !p->host_only && p->kind != TENON_PLACE_PART && root->binding < 0 &&
        !em->plan->is_step_result[p->value->id]) {
        s->kind = TENON_SLOT_SYMBOLIC;
        s->base = tenon_emit_count(em, TENON_SECTION_INDICES);
        s->count = (uint32_t)p->value->sym_count;
        for (size_t i = 0; i < p->value->sym_count; i++) {
            uint32_t d;
            TENON_TRY(tenon_emit_dim(em, p->value->sym[i], &d));
            ADD(em, TENON_SECTION_INDICES, d);
        }
        return TENON_OK;
    }
    if (root->host_only) {
        s->kind = TENON_SLOT_HEAP;
        if (root->heap == TENON_NONE) root->heap = em->plan->heap_count++;
        s->base = root->heap;
    } else if (root->binding >= 0) {
        s->kind = TENON_SLOT_BINDING;
        s->base = (uint64_t)root->binding;
    } else if (root->value->is_const) {
        s->kind = TENON_SLOT_WEIGHT;
        TENON_TRY(tenon_emit_constant(em, root));
        s->base = root->weight;
    } else {
        s->kind = TENON_SLOT_ARENA;
        s->base = root->offset;
    }
    return TENON_OK;
}

static tenon_status emit_slot(tenon_emitter *em, tenon_place *p, uint32_t *out)
{
    if (p->slot != TENON_NONE) {
        *out = p->slot;
        return TENON_OK;
    }
    const tenon_type *t = &p->value->type;
    tenon_rec_slot s = {.dtype = t->dtype, .rank = (uint32_t)TENON_MAX(t->rank, 0), .offset = TENON_NONE};
    TENON_TRY(tenon_emit_string(em, p->value->name, &s.name));
    TENON_TRY(slot_storage(em, p, &s));
    if (s.kind != TENON_SLOT_HEAP) {
        tenon_view view;
        bool possible;
        TENON_TRY(tenon_place_strides(em->plan, s.kind == TENON_SLOT_SYMBOLIC ? &(tenon_place){.value = p->value} : p, &view,
                                      &possible));
        if (!possible) return TENON_FAIL(em->cx, TENON_INTERNAL, "value '%s' has no strides", p->value->name);
        if (!tenon_dim_is(view.offset, 0)) TENON_TRY(tenon_emit_dim(em, view.offset, &s.offset));
        for (int i = 0; i < t->rank; i++) {
            TENON_TRY(tenon_emit_dim(em, t->dim[i], &s.dim[i]));
            TENON_TRY(tenon_emit_dim(em, view.stride[i], &s.stride[i]));
        }
    }
    *out = p->slot = tenon_emit_count(em, TENON_SECTION_SLOTS);
    ADD(em, TENON_SECTION_SLOTS, s);
    return TENON_OK;
}

/* ---- steps ---- */
static tenon_status take_text(tenon_emitter *em, tenon_buf *b, uint32_t *out)
{
    tenon_status status = tenon_buf_status(b);
    if (status == TENON_OK) status = tenon_emit_string(em, tenon_buf_cstr(b), out);
    tenon_buf_free(b);
    return status;
}

static tenon_status emit_names(tenon_emitter *em, const tenon_plan_step *s, tenon_rec_step *r)
{
    const tenon_group *g = s->group;
    tenon_buf name, origin;
    tenon_buf_init(&name, em->cx);
    tenon_buf_init(&origin, em->cx);
    for (int i = 0; i < g->node_count; i++) {
        tenon_buf_printf(&name, "%s%s", i ? "+" : "", g->node[i]->name);
        if (g->node[i]->origin) tenon_buf_printf(&origin, "%s%s", origin.length ? "+" : "", g->node[i]->origin);
    }
    const tenon_status status = take_text(em, &name, &r->name), also = take_text(em, &origin, &r->origin);
    return status == TENON_OK ? also : status;
}

static tenon_status emit_operands(tenon_emitter *em, tenon_place *const *place, int count, uint32_t packed, uint32_t *first)
{
    uint32_t slot[TENON_PROBLEM_SRC + 8];
    for (int i = 0; i < count; i++) {
        slot[i] = TENON_NONE;
        if (!(packed >> i & 1)) TENON_TRY(emit_slot(em, place[i], &slot[i]));
    }
    *first = tenon_emit_count(em, TENON_SECTION_INDICES);
    tenon_buf_bytes(&em->section[TENON_SECTION_INDICES], slot, (size_t)count * sizeof *slot);
    return TENON_OK;
}

/* Equal images are one record: many steps of a network have the same kernel. */
static bool find_kernel(const tenon_emitter *em, const tenon_buf *image, const tenon_kernel_source *source, uint32_t *out)
{
    const tenon_rec_kernel *k = (const void *)em->section[TENON_SECTION_KERNELS].data;
    const uint32_t count = tenon_emit_count(em, TENON_SECTION_KERNELS);
    const uint64_t hash = XXH3_64bits(image->data, image->length);
    for (uint32_t i = 0; i < count; i++) {
        if (k[i].hash != hash || k[i].bytes != image->length) continue;
        const char *data = (const char *)em->section[TENON_SECTION_KERNEL_DATA].data + k[i].offset;
        const char *entry = (const char *)em->section[TENON_SECTION_STRINGS].data + k[i].entry;
        if (memcmp(data, image->data, image->length) != 0 || strcmp(entry, source->entry) != 0) continue;
        *out = i;
        return true;
    }
    return false;
}

static tenon_status emit_kernels(tenon_emitter *em, const tenon_tactic_plan *p, tenon_rec_step *r)
{
    uint32_t index[TENON_MAX_KERNELS];
    tenon_plan *plan = em->plan;
    for (int i = 0; i < p->kernel_count; i++) {
        tenon_rec_kernel k = {.offset = 0};
        bool known = false;
        tenon_buf image;
        tenon_buf_init(&image, em->cx);
        tenon_status status = plan->backend->kernel_compile(em->cx, plan->device, &p->kernel[i], &image);
        if (status == TENON_OK) known = find_kernel(em, &image, &p->kernel[i], &index[i]);
        if (status == TENON_OK && !known) {
            k.hash = XXH3_64bits(image.data, image.length);
            k.bytes = image.length;
            tenon_buf_align(&em->section[TENON_SECTION_KERNEL_DATA], 64);
            k.offset = em->section[TENON_SECTION_KERNEL_DATA].length;
            tenon_buf_bytes(&em->section[TENON_SECTION_KERNEL_DATA], image.data, image.length);
            status = tenon_buf_status(&em->section[TENON_SECTION_KERNEL_DATA]);
        }
        tenon_buf_free(&image);
        TENON_TRY(status);
        if (known) continue;
        TENON_TRY(tenon_emit_string(em, p->kernel[i].name, &k.name));
        TENON_TRY(tenon_emit_string(em, p->kernel[i].entry, &k.entry));
        index[i] = tenon_emit_count(em, TENON_SECTION_KERNELS);
        ADD(em, TENON_SECTION_KERNELS, k);
    }
    r->kernel_first = tenon_emit_count(em, TENON_SECTION_INDICES);
    r->kernel_count = (uint32_t)p->kernel_count;
    tenon_buf_bytes(&em->section[TENON_SECTION_INDICES], index, (size_t)p->kernel_count * sizeof *index);
    return TENON_OK;
}

static tenon_status emit_choice(tenon_emitter *em, const tenon_plan_step *s, tenon_rec_step *r)
{
    const tenon_choice *c = s->choice;
    TENON_TRY(tenon_emit_string(em, s->problem->text, &r->problem));
    TENON_TRY(tenon_emit_string(em, c->tactic->name, &r->tactic));
    memcpy(r->variant, c->variant.p, sizeof r->variant);
    uint32_t pack[TENON_MAX_PACK];
    for (int i = 0; i < c->plan.pack_count; i++) TENON_TRY(tenon_emit_pack(em, s, &c->plan.pack[i], &pack[i]));
    r->pack_first = tenon_emit_count(em, TENON_SECTION_INDICES);
    r->pack_count = (uint32_t)c->plan.pack_count;
    tenon_buf_bytes(&em->section[TENON_SECTION_INDICES], pack, (size_t)c->plan.pack_count * sizeof *pack);
    TENON_TRY(emit_kernels(em, &c->plan, r));
    r->record_bytes = (uint32_t)c->plan.record_bytes;
    r->workspace_bytes = tenon_round_up(c->plan.workspace_bytes, 64);
    r->workspace_offset = s->workspace_offset;
    r->scratch_bytes = tenon_round_up(c->plan.scratch_bytes, 64);
    r->seconds = c->seconds;
    r->flops = c->flops;
    r->timed = c->timed;
    if (c->tactic->flags & TENON_TACTIC_REFERENCE) r->flags |= TENON_STEP_REFERENCE;
    if (c->host) r->flags |= TENON_STEP_HOST;
    if (em->plan->backend->host_memory || c->host) em->header.isa |= c->tactic->need; /* a GPU is known by its fingerprint */
    em->header.host_threads = (uint32_t)tenon_tuner_host_threads(em->plan->tuner);
    return TENON_OK;
}

static tenon_status emit_step(tenon_emitter *em, const tenon_plan_step *s)
{
    tenon_rec_step r = {.flags = s->conversion ? TENON_STEP_CONVERSION : 0};
    TENON_TRY(emit_names(em, s, &r));
    if (s->problem) {
        TENON_TRY(emit_choice(em, s, &r));
    } else {
        r.flags |= TENON_STEP_GRAPH | TENON_STEP_REFERENCE;
        TENON_TRY(tenon_emit_string(em, s->group->text, &r.problem));
        TENON_TRY(tenon_emit_string(em, "graph", &r.tactic));
    }
    r.src_count = (uint32_t)s->src_count;
    r.dst_count = (uint32_t)s->dst_count;
    TENON_TRY(emit_operands(em, s->src_place, s->src_count, s->choice ? s->choice->plan.src_packed : 0, &r.src_first));
    TENON_TRY(emit_operands(em, s->dst_place, s->dst_count, 0, &r.dst_first));
    ADD(em, TENON_SECTION_STEPS, r);
    return tenon_buf_status(&em->section[TENON_SECTION_STEPS]);
}

/* ---- symbols of this profile that are sizes found while running ---- */
static tenon_status bind_data_symbol(tenon_emitter *em, const tenon_place *p, int axis)
{
    const tenon_dim *d = p->value->type.dim[axis];
    if (d->kind != TENON_DIM_SYM) return TENON_OK;
    const tenon_dim_symbol *symbol = &em->plan->graph->dims->symbol[d->value];
    if (!symbol->data_dependent) return TENON_OK;
    uint32_t s;
    TENON_TRY(find_symbol(em, symbol->name, &s));
    tenon_rec_symbol *all = (void *)em->section[TENON_SECTION_SYMBOLS].data;
    if (all[s].slot != TENON_NONE) return TENON_OK;
    all[s].slot = p->slot;
    all[s].slot_axis = (uint32_t)axis;
    return TENON_OK;
}

static tenon_status bind_data_symbols(tenon_emitter *em)
{
    const tenon_plan *plan = em->plan;
    for (size_t i = 0; i < plan->step_count; i++)
        for (int k = 0; k < plan->step[i].dst_count; k++) {
            const tenon_place *p = plan->step[i].dst_place[k];
            for (int a = 0; p->host_only && p->slot != TENON_NONE && a < p->value->type.rank; a++)
                TENON_TRY(bind_data_symbol(em, p, a));
        }
    return TENON_OK;
}

static tenon_status emit_ranges(tenon_emitter *em)
{
    const tenon_dim_pool *pool = em->plan->graph->dims;
    for (size_t i = 0; i < em->symbol_count; i++) {
        const tenon_rec_symbol *s = &((const tenon_rec_symbol *)(const void *)em->section[TENON_SECTION_SYMBOLS].data)[i];
        const char *name = em->section[TENON_SECTION_STRINGS].data + s->name;
        const tenon_rec_range *fixed = em->plan->range_of ? em->plan->range_of(em->plan->range_user, name) : NULL;
        tenon_rec_range r = fixed ? *fixed : (tenon_rec_range){.lo = 0, .opt = 0, .hi = TENON_DIM_HUGE, .divisor = 1};
        for (size_t k = 0; !fixed && k < pool->symbol_count; k++)
            if (strcmp(pool->symbol[k].name, name) == 0)
                r = (tenon_rec_range){pool->symbol[k].lo, TENON_MAX(pool->symbol[k].opt, pool->symbol[k].lo), pool->symbol[k].hi,
                                      pool->symbol[k].divisor};
        ADD(em, TENON_SECTION_RANGES, r);
    }
    return tenon_buf_status(&em->section[TENON_SECTION_RANGES]);
}

/* What was not compiled for the tuner, all at once. */
static tenon_status prepare_kernels(tenon_emitter *em, const tenon_plan *plan)
{
    const tenon_kernel_source **source;
    size_t count = 0;
    if (!plan->backend->kernel_prepare) return TENON_OK;
    source = tenon_alloc(em->cx, (plan->step_count * TENON_MAX_KERNELS + 1) * sizeof *source);
    if (!source) return TENON_NOMEM;
    for (size_t i = 0; i < plan->step_count; i++)
        for (int k = 0; plan->step[i].choice && k < plan->step[i].choice->plan.kernel_count; k++)
            source[count++] = &plan->step[i].choice->plan.kernel[k];
    const tenon_status status = plan->backend->kernel_prepare(em->cx, plan->device, source, count);
    tenon_free(em->cx, (void *)source);
    return status;
}

tenon_status tenon_emit_profile(tenon_emitter *em, tenon_plan *plan)
{
    const tenon_dim_pool *pool = plan->graph->dims;
    for (size_t i = 0; i < pool->symbol_count; i++)
        if (pool->symbol[i].data_dependent) TENON_TRY(tenon_emit_symbol(em, pool->symbol[i].name));
    TENON_TRY(tenon_emit_begin(em, plan));
    tenon_rec_profile p = {.range_first = tenon_emit_count(em, TENON_SECTION_RANGES),
                           .step_first = tenon_emit_count(em, TENON_SECTION_STEPS),
                           .slot_first = tenon_emit_count(em, TENON_SECTION_SLOTS)};
    TENON_TRY(emit_ranges(em));
    TENON_TRY(prepare_kernels(em, plan));
    for (size_t i = 0; i < plan->step_count; i++) TENON_TRY(emit_step(em, &plan->step[i]));
    TENON_TRY(bind_data_symbols(em));
    p.step_count = tenon_emit_count(em, TENON_SECTION_STEPS) - p.step_first;
    p.slot_count = tenon_emit_count(em, TENON_SECTION_SLOTS) - p.slot_first;
    p.heap_count = plan->heap_count;
    p.block_bytes = plan->block_bytes;
    p.lower_bound_bytes = plan->lower_bound_bytes;
    p.scratch_bytes = plan->scratch_bytes;
    ADD(em, TENON_SECTION_PROFILES, p);
    return tenon_buf_status(&em->section[TENON_SECTION_PROFILES]);
}

/* A later profile may have found more symbols than an earlier one had: every profile gets a range for each. */
tenon_status tenon_emit_finish(tenon_emitter *em)
{
    tenon_buf all, *ranges = &em->section[TENON_SECTION_RANGES];
    tenon_buf_init(&all, em->cx);
    const uint32_t profiles = tenon_emit_count(em, TENON_SECTION_PROFILES), total = tenon_emit_count(em, TENON_SECTION_RANGES);
    tenon_rec_profile *p = (void *)em->section[TENON_SECTION_PROFILES].data;
    const tenon_rec_range *old = (const void *)ranges->data, none = {.lo = 0, .opt = 0, .hi = TENON_DIM_HUGE, .divisor = 1};
    for (uint32_t i = 0; i < profiles; i++) {
        const uint32_t end = i + 1 < profiles ? p[i + 1].range_first : total;
        const uint32_t first = (uint32_t)(all.length / sizeof *old);
        tenon_buf_bytes(&all, old + p[i].range_first, (end - p[i].range_first) * sizeof *old);
        for (size_t k = end - p[i].range_first; k < em->symbol_count; k++) tenon_buf_bytes(&all, &none, sizeof none);
        p[i].range_first = first;
    }
    tenon_buf_free(ranges);
    *ranges = all;
    return tenon_buf_status(ranges);
}

tenon_status tenon_emit_image(tenon_emitter *em, uint8_t **data, size_t *bytes)
{
    tenon_section_bytes section[TENON_SECTION_COUNT];
    *data = NULL;
    TENON_TRY(tenon_emit_finish(em));
    for (int i = 0; i < TENON_SECTION_COUNT; i++) {
        TENON_TRY(tenon_buf_status(&em->section[i]));
        section[i] = (tenon_section_bytes){em->section[i].data, em->section[i].length};
    }
    return tenon_image_make(em->cx, &em->header, section, data, bytes);
}
