/* SPDX-License-Identifier: Apache-2.0 */
/* Loading: the file image is checked whole before anything of it is used: header, section table, hashes, then every offset,
   count and index of every record (check.c). Then the device is opened, problems are parsed back from their text, tactics found
   by name and asked again whether they can (so that a changed variant or problem cannot reach a kernel), packed weights compared
   with the size the tactic wants. A hostile file gives TENON_CORRUPT with the section named. */
#include "run/load.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/isa.h"
#include "op/eval.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const tenon_tactic *find_tactic(tenon_cx *cx, const tenon_backend *backend, const char *name)
{
    const tenon_tactic *t = tenon_tactic_find(backend, name, strlen(name));
    if (!t)
        (void)TENON_FAIL(cx, TENON_UNSUPPORTED,
                         "engine needs tactic '%s', which this version of Tenon does not have: build the engine again", name);
    return t;
}

static bool same_type(const tenon_type *t, const tenon_rec_slot *s)
{
    return t->dtype == (tenon_dtype)s->dtype && t->rank == (int)s->rank;
}

static tenon_status check_operands(tenon_cx *cx, const tenon_engine *e, const tenon_step_state *st)
{
    const tenon_rec_step *r = st->rec;
    const char *name = tenon_engine_string(e, r->name);
    if (r->src_count != (uint32_t)st->problem->src_count || r->dst_count != (uint32_t)st->problem->dst_count)
        return TENON_FAIL(cx, TENON_CORRUPT, "engine section steps: '%s' has %u sources and %u results, its problem %d and %d",
                          name, r->src_count, r->dst_count, st->problem->src_count, st->problem->dst_count);
    for (uint32_t i = 0; i < r->src_count; i++) {
        const uint32_t slot = e->index[r->src_first + i];
        const bool packed = i < 32 && (st->plan.src_packed >> i & 1);
        if (slot == TENON_NONE ? !packed || !tenon_type_is_static(&st->problem->src[i].value->type)
                               : !same_type(&st->problem->src[i].value->type, &e->slot[slot]))
            return TENON_FAIL(cx, TENON_CORRUPT, "engine section steps: source %u of '%s' does not fit its problem", i, name);
    }
    for (uint32_t i = 0; i < r->dst_count; i++) {
        const uint32_t slot = e->index[r->dst_first + i];
        if (slot == TENON_NONE || !same_type(&st->problem->dst[i].value->type, &e->slot[slot]))
            return TENON_FAIL(cx, TENON_CORRUPT, "engine section steps: result %u of '%s' does not fit its problem", i, name);
    }
    return TENON_OK;
}

static tenon_status check_packs(tenon_cx *cx, const tenon_engine *e, const tenon_step_state *st)
{
    const tenon_rec_step *r = st->rec;
    const char *name = tenon_engine_string(e, r->name);
    if (r->pack_count != (uint32_t)st->plan.pack_count || r->kernel_count != (uint32_t)st->plan.kernel_count)
        return TENON_FAIL(cx, TENON_CORRUPT,
                          "engine section steps: '%s' has %u packed weights and %u kernels, its tactic wants %d and %d", name,
                          r->pack_count, r->kernel_count, st->plan.pack_count, st->plan.kernel_count);
    for (int i = 0; i < st->plan.kernel_count; i++) { /* its record of arguments is that of its own kernel alone */
        const char *entry = tenon_engine_string(e, e->kernel[e->index[r->kernel_first + (uint32_t)i]].entry);
        if (strcmp(entry, st->plan.kernel[i].entry) != 0)
            return TENON_FAIL(cx, TENON_CORRUPT, "engine section steps: '%s' has kernel '%s', its tactic wants '%s'", name, entry,
                              st->plan.kernel[i].entry);
    }
    for (int i = 0; i < st->plan.pack_count; i++) {
        const tenon_rec_weight *w = &e->weight[e->index[r->pack_first + (uint32_t)i]];
        tenon_tensor want;
        TENON_TRY(tenon_pack_type(cx, st->problem, &st->plan.pack[i], &want));
        const size_t bytes = tenon_dtype_bytes(want.dtype, (size_t)tenon_tensor_count(&want));
        bool same = w->dtype == (uint32_t)want.dtype && w->rank == (uint32_t)want.rank && w->bytes == bytes;
        for (int d = 0; same && d < want.rank; d++) same = w->dim[d] == want.dim[d];
        if (!same)
            return TENON_FAIL(cx, TENON_CORRUPT,
                              "engine section weights: packed weight %d of '%s' has %llu bytes, its tactic wants %zu", i, name,
                              (unsigned long long)w->bytes, bytes);
    }
    const bool outside = r->flags & TENON_STEP_HOST; /* its workspace and scratch are the context's, by this very plan */
    if (st->plan.record_bytes > TENON_RECORD_MAX || (st->plan.workspace_bytes > r->workspace_bytes && !outside) ||
        (st->plan.scratch_bytes > r->scratch_bytes && !outside)) {
        const int threads = e->backend->info(e->device)->threads;
        if (threads > (int)e->header->threads)
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "engine step '%s' was planned for %u threads and needs more memory with %d: load it with at most %u, "
                              "or build it again", name, e->header->threads, threads, e->header->threads);
        return TENON_FAIL(cx, TENON_CORRUPT, "engine section steps: '%s' keeps less memory than its tactic needs", name);
    }
    return TENON_OK;
}

static tenon_status open_step(tenon_cx *cx, tenon_engine *e, tenon_step_state *st)
{
    const tenon_rec_step *r = st->rec;
    const char *text = tenon_engine_string(e, r->problem);
    if (r->flags & TENON_STEP_GRAPH) {
        TENON_TRY(tenon_graph_parse(cx, &e->arena, tenon_op_find, text, &st->graph));
        TENON_TRY(tenon_infer_graph(cx, st->graph));
        if (st->graph->input_count != r->src_count || st->graph->output_count != r->dst_count)
            return TENON_FAIL(cx, TENON_CORRUPT, "engine section steps: graph of '%s' has other sources",
                              tenon_engine_string(e, r->name));
        return TENON_OK;
    }
    st->problem = tenon_arena_alloc(&e->arena, sizeof *st->problem);
    if (!st->problem) return TENON_NOMEM;
    TENON_TRY(tenon_problem_parse(cx, &e->arena, text, st->problem));
    const bool on_host = r->flags & TENON_STEP_HOST;
    const tenon_backend *backend = on_host ? tenon_backend_host : e->backend;
    tenon_device *device = on_host ? e->host_device : e->device;
    st->tactic = find_tactic(cx, backend, tenon_engine_string(e, r->tactic));
    if (!st->tactic) return cx->status;
    memcpy(st->variant.p, r->variant, sizeof st->variant.p);
    tenon_reason reason;
    const char *why = tenon_tactic_rejects(st->tactic, st->problem, &st->variant, device, tenon_device_have(backend, device),
                                           &reason);
    if (why)
        return TENON_FAIL(cx, TENON_UNSUPPORTED,
                          "engine step '%s' cannot run on this machine: %s: %s; build the engine again here",
                          tenon_engine_string(e, r->name), st->tactic->name, why);
    TENON_TRY(st->tactic->plan(cx, st->problem, &st->variant, device, &st->plan));
    TENON_TRY(check_operands(cx, e, st));
    return check_packs(cx, e, st);
}

/* Weights that the device has no use for: packed for steps on the host, and for them alone. */
static void mark_host_weights(const tenon_engine *e, bool *only_host)
{
    for (int host = 1; host >= 0; host--)
        for (uint32_t i = 0; i < e->step_count; i++) {
            const tenon_rec_step *s = &e->step[i];
            if (((s->flags & TENON_STEP_HOST) != 0) != host) continue;
            for (uint32_t k = 0; k < s->pack_count; k++) only_host[e->index[s->pack_first + k]] = host;
        }
    for (uint32_t i = 0; i < e->slot_count; i++)
        if (e->slot[i].kind == TENON_SLOT_WEIGHT) only_host[e->slot[i].base] = false;
}

static tenon_status upload_weights(tenon_cx *cx, tenon_engine *e)
{
    e->weight_address = tenon_arena_array(&e->arena, e->weight_count + 1u, sizeof *e->weight_address);
    bool *only_host = tenon_arena_array(&e->arena, e->weight_count + 1u, sizeof *only_host);
    if (!e->weight_address || !only_host) return TENON_NOMEM;
    if (e->backend->info(e->device)->offline) return TENON_OK; /* no context can be made that would read them */
    mark_host_weights(e, only_host);
    for (uint32_t i = 0; i < e->weight_count; i++) {
        const tenon_rec_weight *w = &e->weight[i];
        if (e->backend->host_memory) {
            e->weight_address[i] = (void *)(uintptr_t)(e->weight_data + w->offset);
            continue;
        }
        if (only_host[i]) continue;
        TENON_TRY(tenon_hook_alloc(cx, e, &e->hook, (size_t)w->bytes, &e->weight_address[i]));
        TENON_TRY(e->backend->upload(cx, e->device, e->weight_address[i], e->weight_data + w->offset, (size_t)w->bytes));
    }
    return TENON_OK;
}

static tenon_status load_kernels(tenon_cx *cx, tenon_engine *e)
{
    e->kernel_handle = tenon_arena_array(&e->arena, e->kernel_count + 1u, sizeof *e->kernel_handle);
    if (!e->kernel_handle) return TENON_NOMEM;
    if (e->backend->info(e->device)->offline) return TENON_OK;
    for (uint32_t i = 0; i < e->kernel_count; i++) {
        const tenon_rec_kernel *k = &e->kernel[i];
        if (!e->backend->kernel_load)
            return TENON_FAIL(cx, TENON_CORRUPT, "engine section kernels: backend '%s' has none", e->backend->name);
        TENON_TRY(e->backend->kernel_load(cx, e->device, e->kernel_data + k->offset, (size_t)k->bytes,
                                          tenon_engine_string(e, k->entry), &e->kernel_handle[i]));
    }
    return TENON_OK;
}

static tenon_status open_device(tenon_cx *cx, tenon_engine *e, const tenon_load_options *options)
{
    e->backend = tenon_backend_find(e->header->backend);
    if (!e->backend)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "engine is for backend '%.16s', which this build of Tenon does not have",
                          e->header->backend);
    const unsigned missing = e->header->isa & ~tenon_cpu()->isa;
    if (missing) {
        char names[128];
        tenon_isa_names(missing, names, sizeof names);
        return TENON_FAIL(cx, TENON_UNSUPPORTED,
                          "engine was built for a CPU with %s, which this one lacks (built on: %.192s%s): build it again here",
                          names, e->header->fingerprint, e->backend->host_memory ? "" : "; some of its steps run on the host");
    }
    const int threads = options && options->threads ? options->threads : (int)e->header->threads;
    TENON_TRY(e->backend->open(cx, options ? options->device_index : 0, threads, &e->device));
    return e->backend->accepts ? e->backend->accepts(cx, e->device, e->header->fingerprint) : TENON_OK;
}

/* The CPU beside the device, if some steps run there. */
static tenon_status open_host(tenon_cx *cx, tenon_engine *e, const tenon_load_options *options)
{
    const int threads = options && options->threads ? options->threads : (int)e->header->host_threads;
    for (uint32_t i = 0; i < e->step_count && !e->host_device; i++) {
        if (!(e->step[i].flags & TENON_STEP_HOST)) continue;
        if (e->backend->host_memory || (e->step[i].flags & TENON_STEP_GRAPH))
            return TENON_FAIL(cx, TENON_CORRUPT, "engine section steps: '%s' cannot be a step on the host",
                              tenon_engine_string(e, e->step[i].name));
        TENON_TRY(tenon_backend_host->open(cx, 0, threads, &e->host_device));
    }
    return TENON_OK;
}

static tenon_status open_image(tenon_cx *cx, tenon_engine *e, const tenon_load_options *options, const char *what)
{
    TENON_TRY(tenon_engine_check(cx, e, what));
    if (options && options->device_allocator) {
        TENON_TRY(tenon_hook_check(cx, options->device_allocator));
        e->hook = *options->device_allocator;
    }
    const tenon_status opened = open_device(cx, e, options);
    if (opened != TENON_OK) return tenon_fail_in(cx, opened, "%s: ", what);
    TENON_TRY(open_host(cx, e, options));
    e->step_state = tenon_arena_array(&e->arena, e->step_count + 1u, sizeof *e->step_state);
    if (!e->step_state) return TENON_NOMEM;
    for (uint32_t i = 0; i < e->step_count; i++) {
        e->step_state[i].rec = &e->step[i];
        TENON_TRY(open_step(cx, e, &e->step_state[i]));
    }
    TENON_TRY(upload_weights(cx, e));
    return load_kernels(cx, e);
}

unsigned tenon_device_have(const tenon_backend *backend, const tenon_device *device)
{
    if (strcmp(backend->name, "cpu") == 0) return tenon_cpu()->isa;
    return device ? backend->info(device)->have : 0;
}

static void image_free(tenon_cx *cx, struct tenon_engine_image *image)
{
    if (!image) return;
    if (image->kind == TENON_IMAGE_MAPPED) {
        tenon_file_map map = {.data = image->data, .bytes = image->bytes, .mapped = true};
        tenon_file_map_close(&map);
    } else {
        tenon_free_aligned(cx, image->data);
    }
    tenon_free(cx, image);
}

static void engine_free(tenon_engine *e)
{
    for (uint32_t i = 0; e->kernel_handle && i < e->kernel_count; i++)
        if (e->kernel_handle[i]) e->backend->kernel_unload(e->device, e->kernel_handle[i]);
    for (uint32_t i = 0; e->weight_address && e->backend && !e->backend->host_memory && i < e->weight_count; i++)
        tenon_hook_free(e, &e->hook, e->weight_address[i]);
    tenon_refit_free(e);
    tenon_arena_free(&e->arena);
    if (e->host_device) tenon_backend_host->close(&e->host_device);
    if (e->device) e->backend->close(&e->device);
    image_free(e->own_cx, e->image);
    const tenon_allocator alloc = e->alloc;
    tenon_cx *own = e->own_cx;
    alloc.free(alloc.user, e);
    alloc.free(alloc.user, own);
}

void tenon_engine_retain(tenon_engine *engine) { engine->references++; }

void tenon_engine_release(tenon_engine *engine)
{
    if (engine && --engine->references == 0) engine_free(engine);
}

tenon_status tenon_engine_open(tenon_cx *cx, struct tenon_engine_image *take_image, const tenon_load_options *options,
                               const char *what, tenon_engine **out)
{
    *out = NULL;
    tenon_engine *e = tenon_alloc_zero(cx, sizeof *e);
    tenon_cx *own = tenon_alloc_zero(cx, sizeof *own);
    if (!e || !own) {
        tenon_free(cx, e);
        tenon_free(cx, own);
        image_free(cx, take_image);
        return TENON_NOMEM;
    }
    /* the arena of an engine outlives the cx it was loaded with, but while it opens, the caller hears what is wrong */
    tenon_cx_init_child(own, cx);
    e->own_cx = own;
    e->references = 1;
    e->alloc = cx->alloc;
    e->image = take_image;
    e->data = take_image->data;
    e->bytes = take_image->bytes;
    tenon_arena_init(&e->arena, cx);
    const tenon_status status = open_image(cx, e, options, what);
    e->arena.cx = own;
    if (status != TENON_OK) {
        engine_free(e);
        return status;
    }
    *out = e;
    return TENON_OK;
}

static struct tenon_engine_image *new_image(tenon_cx *cx, uint8_t *data, size_t bytes, bool mapped)
{
    struct tenon_engine_image *image = tenon_alloc(cx, sizeof *image);
    if (image)
        *image = (struct tenon_engine_image){
            .data = data, .bytes = bytes, .kind = mapped ? TENON_IMAGE_MAPPED : TENON_IMAGE_HEAP};
    return image;
}

tenon_status tenon_engine_load(tenon_cx *cx, const char *path, const tenon_load_options *options, tenon_engine **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, path);
    tenon_file_map map;
    TENON_TRY(tenon_file_map_open(cx, path, &map));
    if (!map.mapped) return TENON_FAIL(cx, TENON_CORRUPT, "%s: the file is empty", path);
    struct tenon_engine_image *image = new_image(cx, (uint8_t *)(uintptr_t)map.data, map.bytes, true);
    if (!image) {
        tenon_file_map_close(&map);
        return TENON_NOMEM;
    }
    return TENON_DONE(tenon_engine_open(cx, image, options, path, out));
}

tenon_status tenon_engine_load_memory(tenon_cx *cx, const void *data, size_t bytes, const tenon_load_options *options,
                                      tenon_engine **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, data);
    if (bytes == 0) return TENON_FAIL(cx, TENON_INVALID, "engine data is empty");
    uint8_t *copy = tenon_alloc_aligned(cx, bytes, TENON_ENGINE_PAGE);
    struct tenon_engine_image *image = copy ? new_image(cx, copy, bytes, false) : NULL;
    if (!image) {
        tenon_free_aligned(cx, copy);
        return TENON_NOMEM;
    }
    memcpy(copy, data, bytes);
    return TENON_DONE(tenon_engine_open(cx, image, options, "engine in memory", out));
}

void tenon_engine_destroy(tenon_engine **engine)
{
    if (!engine || !*engine) return;
    tenon_engine_release(*engine);
    *engine = NULL;
}
