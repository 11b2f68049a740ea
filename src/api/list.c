/* SPDX-License-Identifier: Apache-2.0 */
/* The library's tables as JSON, and device memory for callers. */
#include "base/isa.h"
#include "base/team.h"
#include "pass/pass.h"
#include "run/engine.h"
#include "run/json_text.h"

#include <string.h>

static json_t *list_ops(void)
{
    json_t *list = json_array();
    for (size_t i = 0; tenon_ops[i]; i++) {
        const tenon_op *op = tenon_ops[i];
        const char *kind = op->flags & TENON_OP_POINTWISE ? "pointwise"
                           : op->flags & TENON_OP_WEIGHT  ? "weight"
                           : op->flags & TENON_OP_CONTROL ? "control"
                           : op->flags & TENON_OP_VIEW    ? "view"
                                                          : "anchor";
        json_array_append_new(
            list, json_pack("{s:s,s:s?,s:i,s:s}", "name", op->name, "onnx", op->onnx, "since", op->onnx_since, "kind", kind));
    }
    return list;
}

static json_t *list_tactics(void)
{
    json_t *list = json_array();
    for (size_t b = 0; tenon_backends[b]; b++)
        for (size_t i = 0; tenon_backends[b]->tactics[i]; i++) {
            const tenon_tactic *t = tenon_backends[b]->tactics[i];
            char need[128] = "";
            if (strcmp(tenon_backends[b]->name, "cpu") == 0) tenon_isa_names(t->need, need, sizeof need);
            json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s,s:b}", "name", t->name, "backend", tenon_backends[b]->name,
                                                  "pattern", t->pattern, "needs", need, "reference",
                                                  (int)(t->flags & TENON_TACTIC_REFERENCE) != 0));
        }
    return list;
}

static json_t *list_passes(void)
{
    json_t *list = json_array();
    for (size_t i = 0; tenon_passes[i]; i++)
        json_array_append_new(list, json_pack("{s:s,s:s}", "name", tenon_passes[i]->name, "what", tenon_passes[i]->what));
    return list;
}

static void add_part(void *user, const char *name, bool found, const char *text)
{
    json_object_set_new(user, name, json_sprintf("%s%s", found ? "" : "missing: ", text));
}

/* What the backend opens at run time, found or not. */
static json_t *add_parts(tenon_cx *cx, const tenon_backend *backend, json_t *row)
{
    if (row && backend->parts) backend->parts(cx, add_part, row);
    return row;
}

static json_t *list_devices(tenon_cx *cx)
{
    json_t *list = json_array();
    for (size_t b = 0; tenon_backends[b]; b++) {
        tenon_device *device = NULL;
        const tenon_backend *backend = tenon_backends[b];
        if (backend->open(cx, 0, 0, &device) != TENON_OK) {
            json_t *row = json_pack("{s:s,s:b,s:s}", "backend", backend->name, "available", 0, "why", cx->message);
            json_array_append_new(list, add_parts(cx, backend, row));
            continue;
        }
        const tenon_device_info *info = backend->info(device);
        json_t *row = json_pack("{s:s,s:b,s:s,s:s,s:i,s:I}", "backend", backend->name, "available", 1, "name", info->name, "fingerprint",
                                info->fingerprint, "threads", info->threads, "memory_bytes", (json_int_t)info->memory_bytes);
        json_array_append_new(list, add_parts(cx, backend, row));
        backend->close(&device);
    }
    return list;
}

tenon_status tenon_list(tenon_cx *cx, const char *what, char **json)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, json);
    *json = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, what);
    if (strcmp(what, "ops") == 0) return tenon_json_text(cx, list_ops(), json);
    if (strcmp(what, "tactics") == 0) return tenon_json_text(cx, list_tactics(), json);
    if (strcmp(what, "passes") == 0) return tenon_json_text(cx, list_passes(), json);
    if (strcmp(what, "devices") == 0) return TENON_DONE(tenon_json_text(cx, list_devices(cx), json));
    return TENON_FAIL(cx, TENON_INVALID, "list '%s': use ops, tactics, passes or devices", what);
}

tenon_status tenon_platform_query(tenon_cx *cx, const char *backend, int index, tenon_platform *out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = (tenon_platform){0};
    TENON_NEED(cx, cx);
    TENON_NEED(cx, backend);
    const tenon_backend *b = tenon_backend_find(backend);
    tenon_device *device = NULL;
    if (!b) return TENON_FAIL(cx, TENON_INVALID, "no backend '%.100s' in this build of Tenon: use cpu, cuda or null", backend);
    if (index < 0) return TENON_FAIL(cx, TENON_INVALID, "device %d: an index from 0", index);
    TENON_TRY(b->open(cx, index, 0, &device));
    const tenon_device_info *info = b->info(device);
    memcpy(out->name, info->name, sizeof out->name);
    memcpy(out->fingerprint, info->fingerprint, sizeof out->fingerprint);
    out->threads = info->threads;
    out->memory_bytes = info->memory_bytes;
    out->most_threads = TENON_MOST_THREADS;
    if (!b->host_memory) { /* tensor cores: f16 since 7.5, TF32 and bf16 since 8.0 */
        out->compute_capability = (int)info->have;
        out->fast_f16 = info->have >= 75;
        out->fast_bf16 = out->fast_tf32 = info->have >= 80;
    }
    b->close(&device);
    return TENON_DONE(TENON_OK);
}

tenon_status tenon_device_alloc(tenon_cx *cx, const tenon_engine *engine, size_t bytes, void **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    return engine->backend->alloc(cx, engine->device, bytes, out);
}

void tenon_device_free(tenon_cx *cx, const tenon_engine *engine, void *p)
{
    (void)cx;
    if (p && engine) engine->backend->release(engine->device, p);
}

tenon_status tenon_device_upload(tenon_cx *cx, const tenon_engine *engine, void *dst, const void *src, size_t bytes)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    if (bytes) TENON_NEED(cx, dst);
    if (bytes) TENON_NEED(cx, src);
    return engine->backend->upload(cx, engine->device, dst, src, bytes);
}

tenon_status tenon_device_download(tenon_cx *cx, const tenon_engine *engine, void *dst, const void *src, size_t bytes)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    if (bytes) TENON_NEED(cx, dst);
    if (bytes) TENON_NEED(cx, src);
    return engine->backend->download(cx, engine->device, dst, src, bytes);
}
