/* SPDX-License-Identifier: Apache-2.0 */
/* Refit: named source weights are replaced, and every packed weight made from them is evaluated again by its weight program.

   set_weight only keeps a copy. refit evaluates all programs that read a changed source, lays the result out as a new image (what
   tenon_engine_save writes from then on) and, when nothing failed, swaps the weights' addresses; contexts notice by the engine's
   generation and bind again. The records of the opened image stay in use: only weights and sources differ, and those only in bytes. */
#include "run/load.h"

#include "base/buf.h"
#include "base/checked.h"
#include "op/eval.h"

#include <string.h>
#include <xxhash.h>

typedef struct tenon_refit {
    void **pending;              /* by source: the new bytes, or NULL */
    uint8_t *image;              /* of the last refit; NULL: none yet */
    size_t image_bytes;
} tenon_refit;

static const tenon_rec_section *section_table(const uint8_t *image)
{
    return (const tenon_rec_section *)(const void *)(image + sizeof(tenon_rec_header));
}

void tenon_engine_image_now(const tenon_engine *e, const uint8_t **data, size_t *bytes)
{
    const bool refitted = e->refit && e->refit->image;
    *data = refitted ? e->refit->image : e->data;
    *bytes = refitted ? e->refit->image_bytes : e->bytes;
}

static const void *section_now(const tenon_engine *e, tenon_section_kind kind)
{
    const uint8_t *image;
    size_t bytes;
    tenon_engine_image_now(e, &image, &bytes);
    return image + section_table(image)[kind].offset;
}

const void *tenon_engine_weight(const tenon_engine *e, uint32_t index)
{
    const tenon_rec_weight *w = section_now(e, TENON_SECTION_WEIGHTS);
    return (const uint8_t *)section_now(e, TENON_SECTION_WEIGHT_DATA) + w[index].offset;
}

static void drop_pending(tenon_engine *e)
{
    for (uint32_t i = 0; i < e->source_count; i++) {
        tenon_free(e->own_cx, e->refit->pending[i]);
        e->refit->pending[i] = NULL;
    }
}

void tenon_refit_free(tenon_engine *e)
{
    if (!e->refit) return;
    drop_pending(e);
    tenon_free(e->own_cx, e->refit->pending);
    tenon_free_aligned(e->own_cx, e->refit->image);
    tenon_free(e->own_cx, e->refit);
    e->refit = NULL;
}

/* ---- names ---- */
enum { NAME = 96, NEAR = 4 };

/* Edits that turn a into b, both cut to NAME characters. */
static int edits(const char *a, const char *b)
{
    int row[NAME + 1];
    const int n = (int)TENON_MIN(strlen(b), (size_t)NAME);
    for (int k = 0; k <= n; k++) row[k] = k;
    for (int i = 0; a[i] && i < NAME; i++) {
        int corner = row[0];
        row[0] = i + 1;
        for (int k = 0; k < n; k++) {
            const int replaced = corner + (a[i] != b[k]);
            corner = row[k + 1];
            row[k + 1] = TENON_MIN(replaced, TENON_MIN(row[k], row[k + 1]) + 1);
        }
    }
    return row[n];
}

static tenon_status unknown_name(tenon_cx *cx, const tenon_engine *e, const char *name)
{
    int distance[NEAR];
    uint32_t near[NEAR];
    int count = 0;
    for (uint32_t i = 0; i < e->source_count; i++) {
        const char *known = tenon_engine_string(e, e->source[i].name);
        if (!*known) continue;
        const int d = edits(name, known);
        int at = count < NEAR ? count++ : NEAR;
        if (at == NEAR && d >= distance[NEAR - 1]) continue;
        if (at == NEAR) at--;
        for (; at > 0 && distance[at - 1] > d; at--) {
            distance[at] = distance[at - 1];
            near[at] = near[at - 1];
        }
        distance[at] = d;
        near[at] = i;
    }
    tenon_buf b;
    tenon_buf_init(&b, cx);
    for (int i = 0; i < count; i++) tenon_buf_printf(&b, "%s'%s'", i ? ", " : "", tenon_engine_string(e, e->source[near[i]].name));
    const tenon_status status = TENON_FAIL(cx, TENON_INVALID, "refit: no weight '%s' can be replaced in this engine; nearest names: %s", name,
                                           count ? tenon_buf_cstr(&b) : "none");
    tenon_buf_free(&b);
    return status;
}

static tenon_status find_source(tenon_cx *cx, const tenon_engine *e, const char *name, uint32_t *out)
{
    if (!(e->header->flags & TENON_ENGINE_REFIT))
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "refit: the engine was not built refittable; build it with tenon_config_set_refit");
    if (!*name) return TENON_FAIL(cx, TENON_INVALID, "refit: a weight needs a name");
    for (uint32_t i = 0; i < e->source_count; i++)
        if (strcmp(tenon_engine_string(e, e->source[i].name), name) == 0) {
            *out = i;
            return TENON_OK;
        }
    return unknown_name(cx, e, name);
}

static tenon_status need_refit(tenon_cx *cx, tenon_engine *e)
{
    if (e->refit) return TENON_OK;
    tenon_refit *r = tenon_alloc_zero(e->own_cx, sizeof *r);
    void **pending = r ? tenon_alloc_zero(e->own_cx, (e->source_count + 1u) * sizeof *pending) : NULL;
    if (!pending) {
        tenon_free(e->own_cx, r);
        return TENON_FAIL(cx, TENON_NOMEM, "out of memory");
    }
    r->pending = pending;
    e->refit = r;
    return TENON_OK;
}

static tenon_status keep(tenon_cx *cx, tenon_engine *e, uint32_t index, const char *name, const void *data)
{
    const size_t bytes = (size_t)e->source[index].bytes;
    void *copy = tenon_alloc(e->own_cx, bytes);
    if (!copy) return TENON_FAIL(cx, TENON_NOMEM, "refit: no memory for %zu bytes of weight '%s'", bytes, name);
    if (bytes) memcpy(copy, data, bytes);
    tenon_free(e->own_cx, e->refit->pending[index]);
    e->refit->pending[index] = copy;
    return TENON_OK;
}

/* Branches of different nodes may each have an initializer of one name: all that are called so are replaced, if they are alike. */
static tenon_status check_namesakes(tenon_cx *cx, const tenon_engine *e, uint32_t first, const char *name)
{
    const tenon_rec_source *a = &e->source[first];
    for (uint32_t i = first + 1; i < e->source_count; i++) {
        const tenon_rec_source *b = &e->source[i];
        if (b->name == a->name && (b->dtype != a->dtype || b->rank != a->rank || memcmp(b->dim, a->dim, sizeof a->dim) != 0))
            return TENON_FAIL(cx, TENON_INVALID, "refit: the model has several weights '%s' of different types or shapes: name them apart",
                              name);
    }
    return TENON_OK;
}

/* A weight that stands in the file in two forms is one weight. */
static bool first_of_name(const tenon_engine *e, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++)
        if (e->source[i].name == e->source[index].name) return false;
    return true;
}

size_t tenon_engine_weight_count(const tenon_engine *engine)
{
    size_t count = 0;
    for (uint32_t i = 0; engine && (engine->header->flags & TENON_ENGINE_REFIT) && i < engine->source_count; i++)
        count += first_of_name(engine, i);
    return count;
}

tenon_status tenon_engine_weight_info(tenon_cx *cx, const tenon_engine *engine, size_t index, tenon_weight_info *out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = (tenon_weight_info){0};
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    const size_t count = tenon_engine_weight_count(engine);
    if (index >= count) return TENON_FAIL(cx, TENON_INVALID, "weight %zu: the engine has %zu that can be replaced", index, count);
    uint32_t i = 0;
    for (size_t left = index;; i++)
        if (first_of_name(engine, i) && left-- == 0) break;
    const tenon_rec_source *s = &engine->source[i];
    *out = (tenon_weight_info){.name = tenon_engine_string(engine, s->name), .dtype = (tenon_dtype)s->dtype, .rank = (int)s->rank,
                               .bytes = (size_t)s->bytes, .pending = engine->refit && engine->refit->pending[i]};
    memcpy(out->dim, s->dim, sizeof out->dim);
    return TENON_OK;
}

tenon_status tenon_engine_set_weight(tenon_cx *cx, tenon_engine *engine, const char *name, tenon_dtype dtype, const void *data, size_t bytes)
{
    TENON_GUARD(cx);
    uint32_t index = 0;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    TENON_NEED(cx, name);
    if (bytes) TENON_NEED(cx, data);
    TENON_TRY(find_source(cx, engine, name, &index));
    TENON_TRY(check_namesakes(cx, engine, index, name));
    const tenon_rec_source *s = &engine->source[index];
    if (dtype != (tenon_dtype)s->dtype)
        return TENON_FAIL(cx, TENON_INVALID, "refit: weight '%s' is %s, %s was given", name, tenon_dtype_get((tenon_dtype)s->dtype)->name,
                          tenon_dtype_get(dtype)->name);
    if (bytes != s->bytes)
        return TENON_FAIL(cx, TENON_INVALID, "refit: weight '%s' has %llu bytes, %zu were given", name,
                          (unsigned long long)s->bytes, bytes);
    TENON_TRY(need_refit(cx, engine));
    for (uint32_t i = index; i < engine->source_count; i++)
        if (engine->source[i].name == s->name) TENON_TRY(keep(cx, engine, i, name, data));
    return TENON_OK;
}

/* ---- evaluation ---- */
typedef struct refitter {
    tenon_cx *cx;
    tenon_engine *e;
    tenon_heap heap;
    tenon_tensor *fresh;         /* by weight: its new value; data NULL: unchanged */
    void **address;              /* by weight: device memory of the new value */
    tenon_buf data;              /* the new weight data section */
    tenon_rec_weight *weight;    /* the new weight records */
    uint8_t *image;
    size_t image_bytes;
} refitter;

static tenon_tensor source_tensor(const tenon_engine *e, uint32_t index)
{
    const tenon_rec_source *s = &e->source[index];
    tenon_tensor t = {.dtype = (tenon_dtype)s->dtype, .rank = (int)s->rank, .data = e->refit->pending[index]};
    memcpy(t.dim, s->dim, sizeof t.dim);
    tenon_tensor_dense(&t);
    if (!t.data) t.data = (uint8_t *)(uintptr_t)section_now(e, TENON_SECTION_WEIGHT_DATA) + s->offset;
    return t;
}

/* A program is plain tensor algebra: what could loop, differ between runs or act outside is no weight program. */
static tenon_status check_program(tenon_cx *cx, const tenon_graph *g, uint32_t sources)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (g->node[i]->sub_count || (g->node[i]->op->flags & (TENON_OP_CONTROL | TENON_OP_RANDOM | TENON_OP_EFFECT)))
            return TENON_FAIL(cx, TENON_CORRUPT, "operator '%s' in a weight program", g->node[i]->op->name);
    if (g->input_count != sources || g->output_count != 1)
        return TENON_FAIL(cx, TENON_CORRUPT, "weight program of %zu inputs for %u sources", g->input_count, sources);
    return TENON_OK;
}

static tenon_status run_program(refitter *r, tenon_arena *arena, uint32_t index)
{
    const tenon_engine *e = r->e;
    const tenon_rec_weight *w = &e->weight[index];
    tenon_graph *g;
    TENON_TRY(tenon_graph_parse(r->cx, arena, tenon_op_find, tenon_engine_string(e, w->program), &g));
    TENON_TRY(check_program(r->cx, g, w->source_count));
    TENON_TRY(tenon_infer_graph(r->cx, g));
    tenon_tensor *src = tenon_arena_array(arena, w->source_count + 1u, sizeof *src);
    if (!src) return TENON_NOMEM;
    for (uint32_t i = 0; i < w->source_count; i++) {
        src[i] = source_tensor(e, e->index[w->source_first + i]);
        const tenon_type *type = &g->input[i]->type;
        bool same = type->dtype == src[i].dtype && type->rank == src[i].rank;
        for (int d = 0; same && d < type->rank; d++) same = tenon_dim_is(type->dim[d], src[i].dim[d]);
        if (!same) return TENON_FAIL(r->cx, TENON_CORRUPT, "weight program and source %u have different types", i);
    }
    tenon_tensor *out = &r->fresh[index];
    TENON_TRY(tenon_eval_graph(r->cx, g, src, (int)w->source_count, out, 1, &r->heap, NULL, NULL));
    bool same = out->dtype == (tenon_dtype)w->dtype && out->rank == (int)w->rank;
    for (int d = 0; same && d < out->rank; d++) same = out->dim[d] == w->dim[d];
    return same ? TENON_OK : TENON_FAIL(r->cx, TENON_CORRUPT, "weight program gives another type than the weight has");
}

/* Results in the heap may have any strides; weights are dense. */
static tenon_status make_dense(refitter *r, tenon_tensor *t)
{
    if (tenon_tensor_is_dense(t)) return TENON_OK;
    tenon_tensor dense = *t;
    tenon_tensor_dense(&dense);
    dense.data = tenon_heap_alloc(&r->heap, tenon_dtype_bytes(t->dtype, (size_t)tenon_tensor_count(t)));
    if (!dense.data) return TENON_NOMEM;
    tenon_tensor_copy(&dense, t);
    *t = dense;
    return TENON_OK;
}

static tenon_status evaluate(refitter *r)
{
    const tenon_engine *e = r->e;
    for (uint32_t i = 0; i < e->weight_count; i++) {
        const tenon_rec_weight *w = &e->weight[i];
        bool affected = false;
        for (uint32_t k = 0; w->program != TENON_NONE && k < w->source_count; k++)
            affected |= e->refit->pending[e->index[w->source_first + k]] != NULL;
        if (!affected) continue;
        tenon_arena arena;
        tenon_arena_init(&arena, r->cx);
        tenon_status status = run_program(r, &arena, i);
        if (status == TENON_OK) status = make_dense(r, &r->fresh[i]);
        tenon_arena_free(&arena);
        if (status != TENON_OK) return tenon_fail_in(r->cx, status, "refit: weight %u: ", i);
    }
    return TENON_OK;
}

/* ---- the new image ---- */
static bool shared(const refitter *r, uint32_t index)
{
    const tenon_rec_weight *w = &r->weight[index];
    for (uint32_t i = 0; i < r->e->weight_count; i++)
        if (i != index && r->weight[i].offset < w->offset + w->bytes && w->offset < r->weight[i].offset + r->weight[i].bytes) return true;
    return false;
}

static tenon_status compose(refitter *r)
{
    const tenon_engine *e = r->e;
    const uint8_t *old;
    size_t old_bytes;
    tenon_engine_image_now(e, &old, &old_bytes);
    const tenon_rec_section *table = section_table(old);
    tenon_buf_bytes(&r->data, old + table[TENON_SECTION_WEIGHT_DATA].offset, table[TENON_SECTION_WEIGHT_DATA].bytes);
    TENON_TRY(tenon_buf_status(&r->data));
    memcpy(r->weight, old + table[TENON_SECTION_WEIGHTS].offset, table[TENON_SECTION_WEIGHTS].bytes);
    for (uint32_t i = 0; i < e->source_count; i++)
        if (e->refit->pending[i] && e->source[i].bytes) memcpy(r->data.data + e->source[i].offset, e->refit->pending[i], e->source[i].bytes);
    for (uint32_t i = 0; i < e->weight_count; i++) {
        tenon_rec_weight *w = &r->weight[i];
        if (!r->fresh[i].data) continue;
        w->hash = XXH3_64bits(r->fresh[i].data, w->bytes);
        if (shared(r, i)) {
            tenon_buf_align(&r->data, TENON_ENGINE_ALIGN);
            w->offset = r->data.length;
            tenon_buf_bytes(&r->data, r->fresh[i].data, w->bytes);
            TENON_TRY(tenon_buf_status(&r->data));
        } else if (w->bytes) {
            memcpy(r->data.data + w->offset, r->fresh[i].data, w->bytes);
        }
    }
    tenon_section_bytes section[TENON_SECTION_COUNT];
    for (int i = 0; i < TENON_SECTION_COUNT; i++) section[i] = (tenon_section_bytes){old + table[i].offset, (size_t)table[i].bytes};
    section[TENON_SECTION_WEIGHTS].data = r->weight;
    section[TENON_SECTION_WEIGHT_DATA] = (tenon_section_bytes){r->data.data, r->data.length};
    return tenon_image_make(r->cx, e->header, section, &r->image, &r->image_bytes);
}

static tenon_status upload(refitter *r)
{
    const tenon_backend *backend = r->e->backend;
    for (uint32_t i = 0; !backend->host_memory && i < r->e->weight_count; i++) {
        if (!r->fresh[i].data || !r->e->weight_address[i]) continue; /* the latter: steps on the host read it in the image */
        TENON_TRY(tenon_hook_alloc(r->cx, r->e, &r->e->hook, (size_t)r->weight[i].bytes, &r->address[i]));
        TENON_TRY(backend->upload(r->cx, r->e->device, r->address[i], r->fresh[i].data, (size_t)r->weight[i].bytes));
    }
    return TENON_OK;
}

/* Cannot fail. */
static void swap(refitter *r)
{
    tenon_engine *e = r->e;
    tenon_refit *refit = e->refit;
    const uint8_t *data = r->image + section_table(r->image)[TENON_SECTION_WEIGHT_DATA].offset;
    for (uint32_t i = 0; i < e->weight_count; i++) {
        void *was = e->weight_address[i];
        if (e->backend->host_memory) {
            e->weight_address[i] = (void *)(uintptr_t)(data + r->weight[i].offset);
        } else if (r->address[i]) {
            e->weight_address[i] = r->address[i];
            r->address[i] = NULL;
            tenon_hook_free(e, &e->hook, was);
        }
    }
    tenon_free_aligned(e->own_cx, refit->image);
    refit->image = r->image;
    refit->image_bytes = r->image_bytes;
    r->image = NULL;
    drop_pending(e);
    e->generation++;
}

tenon_status tenon_engine_refit(tenon_cx *cx, tenon_engine *engine)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    if (!(engine->header->flags & TENON_ENGINE_REFIT))
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "refit: the engine was not built refittable; build it with tenon_config_set_refit");
    bool any = false;
    for (uint32_t i = 0; engine->refit && i < engine->source_count; i++) any |= engine->refit->pending[i] != NULL;
    if (!any) return TENON_OK;
    refitter r = {.cx = cx, .e = engine};
    tenon_heap_init(&r.heap, cx);
    tenon_buf_init(&r.data, cx);
    tenon_status status = TENON_NOMEM;
    r.fresh = tenon_alloc_zero(cx, (engine->weight_count + 1u) * sizeof *r.fresh);
    r.address = tenon_alloc_zero(cx, (engine->weight_count + 1u) * sizeof *r.address);
    r.weight = tenon_alloc_zero(cx, (engine->weight_count + 1u) * sizeof *r.weight);
    if (!r.fresh || !r.address || !r.weight) goto done;
    TENON_TRY_DONE(evaluate(&r));
    TENON_TRY_DONE(compose(&r));
    TENON_TRY_DONE(upload(&r));
    swap(&r);
done:
    for (uint32_t i = 0; r.address && i < engine->weight_count; i++)
        tenon_hook_free(engine, &engine->hook, r.address[i]);
    tenon_free_aligned(cx, r.image);
    tenon_free(cx, r.fresh);
    tenon_free(cx, r.address);
    tenon_free(cx, r.weight);
    tenon_buf_free(&r.data);
    tenon_heap_free(&r.heap);
    return TENON_DONE(status);
}
