/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest legal backend, and the skeleton of a new one: host memory, one tactic that accepts every problem and computes
   nothing. Engines for it build and load anywhere, so planner, engine file and API are tested without a kernel; results stay as
   they were.

   To write a backend: copy this folder, make `open` find the device and say what is missing when there is none, give memory,
   list the tactics in a tactic.def, and let `launch` run bound steps in order. Optional pointers (kernels, graphs) stay NULL. */
#include "null/backend.h"

#include <string.h>

/* ---- its only tactic ---- */
static tenon_status nothing_plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                                 tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(uint64_t);
    return TENON_OK;
}

static tenon_status nothing_bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    (void)cx;
    memcpy(record, &b->problem->hash, sizeof(uint64_t)); /* a real one fills in addresses and sizes */
    return TENON_OK;
}

static tenon_status nothing_run(const void *record, void *exec)
{
    (void)record, (void)exec;
    return TENON_OK;
}

static const tenon_tactic nothing = {
    .name = "null.nothing", .pattern = "*", .flags = TENON_TACTIC_DETERMINISTIC, .plan = nothing_plan, .bind = nothing_bind,
    .run = nothing_run,
};
static const tenon_tactic *const tactics[] = {&nothing, NULL};

/* ---- the device ---- */
struct tenon_device { tenon_cx cx; tenon_device_info info; };

static tenon_status null_open(tenon_cx *cx, int index, int threads, tenon_device **out)
{
    (void)threads;
    *out = NULL;
    if (index != 0) return TENON_FAIL(cx, TENON_DEVICE, "null: there is one device, 0, not %d", index);
    tenon_device *d = tenon_alloc_zero(cx, sizeof *d);
    if (!d) return TENON_NOMEM;
    tenon_cx_init_child(&d->cx, cx);
    d->info = (tenon_device_info){.name = "null", .fingerprint = "null", .peak_flops = 1e12, .bandwidth = 1e11,
                                  .step_seconds = 1e-6, .threads = 1};
    *out = d;
    return TENON_OK;
}

static void null_close(tenon_device **device)
{
    if (!*device) return;
    tenon_cx cx = (*device)->cx;
    tenon_free(&cx, *device);
    *device = NULL;
}

static const tenon_device_info *null_info(const tenon_device *device) { return &device->info; }

static tenon_status null_alloc(tenon_cx *cx, tenon_device *device, size_t bytes, void **out)
{
    tenon_cx child; /* the session of whoever opened the device; several threads may allocate */
    tenon_cx_init_child(&child, &device->cx);
    *out = tenon_alloc_aligned(&child, bytes ? bytes : 1, 64);
    return *out ? TENON_OK : TENON_FAIL(cx, TENON_NOMEM, "null: no memory for %zu bytes", bytes);
}

static void null_release(tenon_device *device, void *p)
{
    tenon_cx child;
    tenon_cx_init_child(&child, &device->cx);
    tenon_free_aligned(&child, p);
}

static tenon_status null_copy(tenon_cx *cx, tenon_device *device, void *dst, const void *src, size_t bytes)
{
    (void)cx, (void)device;
    if (bytes) memmove(dst, src, bytes);
    return TENON_OK;
}

static tenon_status null_launch(tenon_cx *cx, tenon_device *device, void *stream, const tenon_launch *step, size_t count,
                                void *scratch, size_t scratch_bytes)
{
    (void)cx, (void)device, (void)stream, (void)scratch, (void)scratch_bytes;
    for (size_t i = 0; i < count; i++) TENON_TRY(step[i].tactic->run(step[i].record, NULL));
    return TENON_OK;
}

static tenon_status null_synchronize(tenon_cx *cx, tenon_device *device, void *stream)
{
    (void)cx, (void)device, (void)stream;
    return TENON_OK;
}

static tenon_status null_time(tenon_cx *cx, tenon_device *device, const tenon_launch *step, size_t count, size_t scratch_bytes,
                              double budget_seconds, double *out)
{
    (void)cx, (void)step, (void)scratch_bytes, (void)budget_seconds;
    *out = (double)count * device->info.step_seconds;
    return TENON_OK;
}

const tenon_backend tenon_backend_null = {
    .name = "null", .tactics = tactics, .open = null_open, .close = null_close, .info = null_info, .alloc = null_alloc,
    .release = null_release, .upload = null_copy, .download = null_copy, .host_memory = true, .launch = null_launch,
    .synchronize = null_synchronize, .time = null_time,
};
