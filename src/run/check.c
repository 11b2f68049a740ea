/* SPDX-License-Identifier: Apache-2.0 */
/* The engine file's gate: nothing of an image is used before it passed here. Each section is an array of records whose every
   offset, count and index is compared with the section it points into. */
#include "base/checked.h"
#include "base/foreign.h"
#include "run/load.h"

#include <string.h>
#include <xxhash.h>

typedef struct section_def { const char *name; uint32_t element_bytes; size_t pointer, count; bool bytes; } section_def;

#define ARRAY(kind, type, member, counter)                                                                                       \
    [kind] = {#member, sizeof(type), offsetof(tenon_engine, member), offsetof(tenon_engine, counter), false}
#define BLOB(kind, member, counter) [kind] = {#member, 1, offsetof(tenon_engine, member), offsetof(tenon_engine, counter), true}
static const section_def sections[TENON_SECTION_COUNT] = {
    BLOB(TENON_SECTION_STRINGS, strings, strings_bytes),
    ARRAY(TENON_SECTION_DIMS, tenon_rec_dim, dim, dim_count),
    ARRAY(TENON_SECTION_SYMBOLS, tenon_rec_symbol, symbol, symbol_count),
    ARRAY(TENON_SECTION_RANGES, tenon_rec_range, range, range_count),
    ARRAY(TENON_SECTION_BINDINGS, tenon_rec_binding, binding, binding_count),
    ARRAY(TENON_SECTION_PROFILES, tenon_rec_profile, profile, profile_count),
    ARRAY(TENON_SECTION_SLOTS, tenon_rec_slot, slot, slot_count),
    ARRAY(TENON_SECTION_STEPS, tenon_rec_step, step, step_count),
    ARRAY(TENON_SECTION_INDICES, uint32_t, index, index_count),
    ARRAY(TENON_SECTION_WEIGHTS, tenon_rec_weight, weight, weight_count),
    BLOB(TENON_SECTION_WEIGHT_DATA, weight_data, weight_bytes),
    ARRAY(TENON_SECTION_SOURCES, tenon_rec_source, source, source_count),
    ARRAY(TENON_SECTION_KERNELS, tenon_rec_kernel, kernel, kernel_count),
    BLOB(TENON_SECTION_KERNEL_DATA, kernel_data, kernel_bytes),
    BLOB(TENON_SECTION_INFO, info, info_bytes),
};
#undef ARRAY
#undef BLOB

typedef struct checker { tenon_cx *cx; const tenon_engine *e; const char *what; } checker;

#define CORRUPT(k, ...) TENON_FAIL((k)->cx, TENON_CORRUPT, __VA_ARGS__)
#define NEED(k, condition, section, ...)                                                                                    \
    do {                                                                                                                    \
        if (!(condition)) {                                                                                                 \
            (void)CORRUPT(k, __VA_ARGS__);                                                                                  \
            return tenon_fail_in((k)->cx, TENON_CORRUPT, "%s: engine section %s is damaged: ", (k)->what, section);         \
        }                                                                                                                   \
    } while (0)

static bool fits(uint64_t offset, uint64_t bytes, uint64_t total) { return offset <= total && bytes <= total - offset; }
static bool range(uint32_t first, uint32_t count, uint32_t total) { return first <= total && count <= total - first; }
static bool is_string(const tenon_engine *e, uint32_t s) { return s < e->strings_bytes; }

static tenon_status foreign(checker *k, const uint8_t *data, size_t bytes)
{
    static const struct { const char *magic; size_t bytes; const char *what; } known[] = {
        {"PK\x03\x04", 4, "a zip archive (a PyTorch checkpoint?): export the model to ONNX and build an engine from it"},
        {"\x08", 1, "perhaps an ONNX model: build it first with `tenon build`"},
    };
    const char *what = tenon_foreign(data, bytes);
    if (what) return CORRUPT(k, "%s is not a Tenon engine but %s", k->what, what);
    for (size_t i = 0; i < TENON_COUNTOF(known); i++)
        if (bytes >= known[i].bytes && memcmp(data, known[i].magic, known[i].bytes) == 0)
            return CORRUPT(k, "%s is not a Tenon engine but %s", k->what, known[i].what);
    return CORRUPT(k, "%s is not a Tenon engine: it does not start with the engine's magic bytes", k->what);
}

static tenon_status check_header(checker *k, tenon_engine *e)
{
    if (e->bytes < sizeof(tenon_rec_header) || memcmp(e->data, TENON_ENGINE_MAGIC, 8) != 0) return foreign(k, e->data, e->bytes);
    const tenon_rec_header *h = (const tenon_rec_header *)(const void *)e->data;
    if (h->format_version != TENON_ENGINE_VERSION)
        return CORRUPT(k, "%s: engine format %u, this Tenon (%s) reads format %d: build the engine again", k->what,
                       h->format_version, tenon_version(), TENON_ENGINE_VERSION);
    if (h->file_bytes != e->bytes)
        return CORRUPT(k, "%s: the file has %zu bytes, its header says %llu: it was cut or appended to", k->what, e->bytes,
                       (unsigned long long)h->file_bytes);
    const size_t table = TENON_SECTION_COUNT * sizeof(tenon_rec_section);
    NEED(k, h->section_count == TENON_SECTION_COUNT && fits(sizeof *h, table, e->bytes), "header", "section table");
    tenon_rec_header copy = *h;
    copy.hash = 0;
    XXH3_state_t *state = XXH3_createState();
    if (!state) return TENON_FAIL(k->cx, TENON_NOMEM, "out of memory");
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, &copy, sizeof copy);
    XXH3_64bits_update(state, e->data + sizeof *h, table);
    const uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    NEED(k, hash == h->hash, "header", "its hash does not match");
    NEED(k, memchr(h->backend, 0, sizeof h->backend) && memchr(h->fingerprint, 0, sizeof h->fingerprint), "header", "names");
    e->header = h;
    return TENON_OK;
}

static bool all_zero(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (p[i]) return false;
    return true;
}

static tenon_status check_sections(checker *k, tenon_engine *e)
{
    const tenon_rec_section *table = (const tenon_rec_section *)(const void *)(e->data + sizeof(tenon_rec_header));
    uint64_t end = sizeof(tenon_rec_header) + TENON_SECTION_COUNT * sizeof *table;
    for (uint32_t i = 0; i < TENON_SECTION_COUNT; i++) {
        const tenon_rec_section *s = &table[i];
        const section_def *d = &sections[i];
        NEED(k, s->kind == i && s->element_bytes == d->element_bytes, d->name, "kind or element size");
        NEED(k, s->offset % TENON_ENGINE_ALIGN == 0 && fits(s->offset, s->bytes, e->bytes) && s->bytes % d->element_bytes == 0,
             d->name, "extent");
        NEED(k, s->offset >= end && all_zero(e->data + end, (size_t)(s->offset - end)), d->name, "bytes before it");
        end = s->offset + s->bytes;
        NEED(k, XXH3_64bits(e->data + s->offset, s->bytes) == s->hash, d->name, "its hash does not match: bytes were changed");
        const uint64_t count = s->bytes / d->element_bytes;
        NEED(k, d->bytes || count < UINT32_MAX, d->name, "too many records");
        const void *p = e->data + s->offset;
        memcpy((char *)e + d->pointer, &p, sizeof p);
        if (d->bytes) {
            const size_t n = (size_t)count;
            memcpy((char *)e + d->count, &n, sizeof n);
        } else {
            const uint32_t n = (uint32_t)count;
            memcpy((char *)e + d->count, &n, sizeof n);
        }
    }
    NEED(k, end == e->bytes, "table", "bytes behind the last section");
    NEED(k, e->strings_bytes > 0 && e->strings[e->strings_bytes - 1] == 0, "strings", "not terminated");
    return TENON_OK;
}

static tenon_status check_dims(checker *k)
{
    const tenon_engine *e = k->e;
    for (uint32_t i = 0; i < e->dim_count; i++) {
        const tenon_rec_dim *r = &e->dim[i];
        const bool leaf = r->kind == TENON_DIM_CONST || r->kind == TENON_DIM_SYM;
        NEED(k, r->kind <= TENON_DIM_SELECT, "dims", "record %u: kind %u", i, r->kind);
        NEED(k, leaf || (r->a < i && r->b < i && r->c < i), "dims", "record %u uses a later one", i);
        NEED(k, r->kind != TENON_DIM_SYM || (r->value >= 0 && (uint64_t)r->value < e->symbol_count), "dims",
             "record %u: no such symbol", i);
    }
    for (uint32_t i = 0; i < e->symbol_count; i++) {
        const tenon_rec_symbol *s = &e->symbol[i];
        NEED(k, is_string(e, s->name), "symbols", "name of %u", i);
        const bool from_input = s->binding < e->binding_count && s->axis < e->binding[s->binding].rank;
        const bool from_slot = s->binding == TENON_NONE && s->slot < e->slot_count && s->slot_axis < e->slot[s->slot].rank;
        NEED(k, from_input || from_slot || (s->binding == TENON_NONE && s->slot == TENON_NONE), "symbols", "source of %u", i);
    }
    return TENON_OK;
}

static bool dims_ok(const tenon_engine *e, const uint32_t *dim, uint32_t rank)
{
    for (uint32_t i = 0; i < rank; i++)
        if (dim[i] >= e->dim_count) return false;
    return true;
}

static bool plain_dtype(uint32_t dtype) { return dtype <= TENON_OPTIONAL && tenon_dtype_get((tenon_dtype)dtype)->bits > 0; }

static tenon_status check_bindings(checker *k)
{
    const tenon_engine *e = k->e;
    for (uint32_t i = 0; i < e->binding_count; i++) {
        const tenon_rec_binding *b = &e->binding[i];
        NEED(k,
             is_string(e, b->name) && b->io <= TENON_OUTPUT && b->dtype <= TENON_OPTIONAL && b->rank <= TENON_MAX_RANK &&
                 dims_ok(e, b->dim, b->rank),
             "bindings", "record %u", i);
    }
    NEED(k, e->profile_count > 0, "profiles", "there are none");
    for (uint32_t i = 0; i < e->profile_count; i++) {
        const tenon_rec_profile *p = &e->profile[i];
        NEED(k, range(p->range_first, e->symbol_count, e->range_count) && range(p->step_first, p->step_count, e->step_count) &&
                    range(p->slot_first, p->slot_count, e->slot_count) && p->heap_count <= e->slot_count,
             "profiles", "record %u", i);
        NEED(k, p->block_bytes < (UINT64_C(1) << 48) && p->scratch_bytes < (UINT64_C(1) << 40) && p->scratch_bytes % 64 == 0,
             "profiles", "sizes of %u", i);
        for (uint32_t s = 0; s < e->symbol_count; s++) {
            const tenon_rec_range *r = &e->range[p->range_first + s];
            NEED(k, r->lo <= r->opt && r->opt <= r->hi && r->divisor >= 0, "ranges", "symbol %u of profile %u", s, i);
        }
    }
    return TENON_OK;
}

static bool slot_base_ok(const tenon_engine *e, const tenon_rec_slot *s)
{
    switch ((tenon_slot_kind)s->kind) {
    case TENON_SLOT_ARENA: return plain_dtype(s->dtype) && s->base % 64 == 0;
    case TENON_SLOT_BINDING: return s->base < e->binding_count && plain_dtype(s->dtype);
    case TENON_SLOT_WEIGHT: return s->base < e->weight_count && plain_dtype(s->dtype);
    case TENON_SLOT_HEAP: return s->base < e->slot_count;
    case TENON_SLOT_SYMBOLIC:
        if (s->dtype != TENON_I64 || s->base > e->index_count || s->count > e->index_count - s->base) return false;
        return dims_ok(e, e->index + s->base, s->count);
    }
    return false;
}

static tenon_status check_slots(checker *k)
{
    const tenon_engine *e = k->e;
    for (uint32_t i = 0; i < e->slot_count; i++) {
        const tenon_rec_slot *s = &e->slot[i];
        NEED(k,
             s->kind <= TENON_SLOT_SYMBOLIC && s->dtype <= TENON_OPTIONAL && s->rank <= TENON_MAX_RANK && is_string(e, s->name),
             "slots", "record %u", i);
        NEED(k, slot_base_ok(e, s), "slots", "storage of record %u", i);
        NEED(k, (s->offset == TENON_NONE || s->offset < e->dim_count) &&
                    (s->kind == TENON_SLOT_HEAP || (dims_ok(e, s->dim, s->rank) && dims_ok(e, s->stride, s->rank))),
             "slots", "dims of record %u", i);
    }
    for (uint32_t p = 0; p < e->profile_count; p++)
        for (uint32_t i = 0; i < e->profile[p].slot_count; i++) {
            const tenon_rec_slot *s = &e->slot[e->profile[p].slot_first + i];
            NEED(k, s->kind != TENON_SLOT_HEAP || s->base < e->profile[p].heap_count, "slots", "heap entry of %u", i);
            NEED(k, s->kind != TENON_SLOT_ARENA || s->base <= e->profile[p].block_bytes, "slots", "place of %u", i);
        }
    return TENON_OK;
}

/* graph: of a graph step, which alone knows what is on the heap. */
static bool slots_ok(const tenon_engine *e, const tenon_rec_profile *p, uint32_t first, uint32_t count, bool dst, bool graph)
{
    if (!range(first, count, e->index_count)) return false;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t s = e->index[first + i];
        if (s == TENON_NONE && !dst) continue;
        if (s < p->slot_first || s - p->slot_first >= p->slot_count) return false;
        if (!graph && e->slot[s].kind == TENON_SLOT_HEAP) return false;
        if (dst && (e->slot[s].kind == TENON_SLOT_WEIGHT || e->slot[s].kind == TENON_SLOT_SYMBOLIC)) return false;
        if (dst && e->slot[s].kind == TENON_SLOT_BINDING && e->binding[e->slot[s].base].io != TENON_OUTPUT) return false;
    }
    return true;
}

static bool indices_below(const tenon_engine *e, uint32_t first, uint32_t count, uint32_t limit)
{
    if (!range(first, count, e->index_count)) return false;
    for (uint32_t i = 0; i < count; i++)
        if (e->index[first + i] >= limit) return false;
    return true;
}

static tenon_status check_steps(checker *k)
{
    const tenon_engine *e = k->e;
    uint32_t next = 0; /* every step is loaded, so every one belongs to a profile, and is checked with it */
    for (uint32_t p = 0; p < e->profile_count; p++) {
        const tenon_rec_profile *profile = &e->profile[p];
        NEED(k, profile->step_first == next, "profiles", "steps of %u", p);
        next += profile->step_count;
        for (uint32_t i = 0; i < profile->step_count; i++) {
            const tenon_rec_step *s = &e->step[profile->step_first + i];
            const bool graph = (s->flags & TENON_STEP_GRAPH) != 0;
            NEED(k, is_string(e, s->name) && is_string(e, s->origin) && is_string(e, s->problem) && is_string(e, s->tactic),
                 "steps", "strings of step %u", i);
            NEED(k,
                 slots_ok(e, profile, s->src_first, s->src_count, false, graph) &&
                     slots_ok(e, profile, s->dst_first, s->dst_count, true, graph),
                 "steps", "operands of step %u", i);
            NEED(k,
                 indices_below(e, s->pack_first, s->pack_count, e->weight_count) &&
                     indices_below(e, s->kernel_first, s->kernel_count, e->kernel_count),
                 "steps", "weights or kernels of step %u", i);
            NEED(k, s->src_count <= TENON_PROBLEM_SRC || graph, "steps", "source count of step %u", i);
            NEED(k, fits(s->workspace_offset, s->workspace_bytes, profile->block_bytes) && s->workspace_offset % 64 == 0 &&
                        s->scratch_bytes <= profile->scratch_bytes && s->record_bytes <= TENON_RECORD_MAX,
                 "steps", "memory of step %u", i);
        }
    }
    NEED(k, next == e->step_count, "steps", "some belong to no profile");
    return TENON_OK;
}

static bool tensor_bytes_ok(uint32_t dtype, uint32_t rank, const int64_t *dim, uint64_t bytes)
{
    int64_t count;
    return plain_dtype(dtype) && rank <= TENON_MAX_RANK && tenon_product(dim, (int)rank, &count) && count < TENON_DIM_HUGE &&
           tenon_dtype_bytes((tenon_dtype)dtype, (size_t)count) == bytes;
}

static tenon_status check_weights(checker *k)
{
    const tenon_engine *e = k->e;
    for (uint32_t i = 0; i < e->weight_count; i++) {
        const tenon_rec_weight *w = &e->weight[i];
        NEED(k,
             fits(w->offset, w->bytes, e->weight_bytes) && w->offset % 64 == 0 &&
                 tensor_bytes_ok(w->dtype, w->rank, w->dim, w->bytes),
             "weights", "record %u", i);
        NEED(k,
             (w->program == TENON_NONE || is_string(e, w->program)) &&
                 indices_below(e, w->source_first, w->source_count, e->source_count),
             "weights", "program of %u", i);
    }
    for (uint32_t i = 0; i < e->source_count; i++) {
        const tenon_rec_source *s = &e->source[i];
        NEED(k,
             is_string(e, s->name) && fits(s->offset, s->bytes, e->weight_bytes) && s->offset % 64 == 0 &&
                 tensor_bytes_ok(s->dtype, s->rank, s->dim, s->bytes),
             "sources", "record %u", i);
    }
    for (uint32_t i = 0; i < e->kernel_count; i++) {
        const tenon_rec_kernel *c = &e->kernel[i];
        NEED(k,
             is_string(e, c->name) && is_string(e, c->entry) && fits(c->offset, c->bytes, e->kernel_bytes) &&
                 c->offset % 64 == 0,
             "kernels", "record %u", i);
    }
    return TENON_OK;
}

tenon_status tenon_engine_check(tenon_cx *cx, tenon_engine *e, const char *what)
{
    checker k = {cx, e, what};
    TENON_TRY(check_header(&k, e));
    TENON_TRY(check_sections(&k, e));
    TENON_TRY(check_dims(&k));
    TENON_TRY(check_bindings(&k));
    TENON_TRY(check_slots(&k));
    TENON_TRY(check_steps(&k));
    return check_weights(&k);
}
