/* SPDX-License-Identifier: Apache-2.0 */
/* A GPU as a device. Whoever has no stream uses the device's. Copies go through that one too (transfer.h) and are waited for, so
   an upload is on the device before any kernel launched later, in whatever stream. Nothing here takes turns: the driver's calls may
   come from any thread, a launch is made from its record alone, and a capture sees the launches of its own thread into its own
   stream only. */
#include "cuda/device.h"
#include "cuda/device_peak.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define TACTIC(x) extern const tenon_tactic tenon_cuda_##x;
#include "cuda/tactic.def"
#undef TACTIC
#define TACTIC(x) &tenon_cuda_##x,
const tenon_tactic *const tenon_cuda_tactics[] = {
#include "cuda/tactic.def"
    NULL};
#undef TACTIC

static tenon_cu_stream stream_of(const tenon_device *d, void *stream) { return stream ? (tenon_cu_stream)stream : d->stream; }

static const tenon_device_info *cuda_info(const tenon_device *device) { return &device->info; }

/* ---- memory ---- */
static tenon_status cuda_alloc(tenon_cx *cx, tenon_device *d, size_t bytes, void **out)
{
    tenon_cu_address address = 0;
    *out = NULL;
    TENON_TRY(tenon_cuda_enter(cx, d));
    int error = TENON_CU_OUT_OF_MEMORY;
    if (bytes <= tenon_cuda_memory_limit()) error = d->driver.cuMemAlloc_v2(&address, bytes ? bytes : 1);
    if (error == TENON_CU_OUT_OF_MEMORY) {
        size_t rest = 0, total = d->info.memory_bytes;
        if (d->driver.cuMemGetInfo_v2) (void)d->driver.cuMemGetInfo_v2(&rest, &total);
        return TENON_FAIL(cx, TENON_NOMEM, "cuda: out of GPU memory: %zu bytes are wanted, %zu MiB of %zu MiB are free; a "
                          "smaller maximum shape in the profile, fewer contexts, or memory of your own in tenon_context_options "
                          "need less", bytes, rest >> 20, total >> 20);
    }
    TENON_TRY(tenon_cuda_check(cx, &d->driver, error, "memory"));
    *out = (void *)(uintptr_t)address;
    return TENON_OK;
}

static void cuda_release(tenon_device *d, void *p)
{
    (void)d->driver.cuCtxSetCurrent(d->context);
    (void)d->driver.cuMemFree_v2((uintptr_t)p);
}

static tenon_status cuda_host_alloc(tenon_cx *cx, tenon_device *d, size_t bytes, void **out)
{
    *out = NULL;
    TENON_TRY(tenon_cuda_enter(cx, d));
    const int error = bytes > tenon_cuda_memory_limit() ? TENON_CU_OUT_OF_MEMORY
                                                        : d->driver.cuMemHostAlloc(out, bytes ? bytes : 1, TENON_CU_PORTABLE);
    if (error == TENON_CU_OUT_OF_MEMORY)
        return TENON_FAIL(cx, TENON_NOMEM, "cuda: no %zu bytes of page-locked memory on the host", bytes);
    return tenon_cuda_check(cx, &d->driver, error, "page-locked memory");
}

static void cuda_host_release(tenon_device *d, void *p)
{
    (void)d->driver.cuCtxSetCurrent(d->context);
    (void)d->driver.cuMemFreeHost(p);
}

static tenon_status wait_stream(tenon_cx *cx, const tenon_cuda_driver *u, tenon_cu_stream stream)
{
    return tenon_cuda_check(cx, u, u->cuStreamSynchronize(stream), "a kernel or copy failed");
}

tenon_status tenon_cuda_write(const tenon_cuda_queue *q, void *dst, const void *src, size_t bytes)
{
    if (!bytes) return TENON_OK;
    TENON_TRY(tenon_cuda_check(q->cx, q->driver, q->driver->cuMemcpyHtoDAsync_v2((uintptr_t)dst, src, bytes, q->stream),
                               "copy to the device"));
    return wait_stream(q->cx, q->driver, q->stream);
}

tenon_status tenon_cuda_read(const tenon_cuda_queue *q, void *dst, const void *src, size_t bytes)
{
    if (!bytes) return TENON_OK;
    TENON_TRY(tenon_cuda_check(q->cx, q->driver, q->driver->cuMemcpyDtoHAsync_v2(dst, (uintptr_t)src, bytes, q->stream),
                               "copy from the device"));
    return wait_stream(q->cx, q->driver, q->stream);
}

static tenon_cuda_queue queue_of(tenon_cx *cx, tenon_device *d, void *stream)
{
    return (tenon_cuda_queue){.cx = cx, .device = d, .driver = &d->driver, .stream = stream_of(d, stream),
                              .programmatic = d->chip >= 90 && d->driver.cuLaunchKernelEx};
}

static tenon_status cuda_upload(tenon_cx *cx, tenon_device *d, void *dst, const void *src, size_t bytes)
{
    TENON_TRY(tenon_cuda_enter(cx, d));
    return tenon_cuda_upload(cx, d, dst, src, bytes);
}

static tenon_status cuda_download(tenon_cx *cx, tenon_device *d, void *dst, const void *src, size_t bytes)
{
    TENON_TRY(tenon_cuda_enter(cx, d));
    return tenon_cuda_download(cx, d, dst, src, bytes);
}

static tenon_status cuda_copy(tenon_cx *cx, tenon_device *d, void *dst, const void *src, size_t bytes)
{
    TENON_TRY(tenon_cuda_enter(cx, d));
    if (!bytes) return TENON_OK;
    return tenon_cuda_check(cx, &d->driver, d->driver.cuMemcpyDtoDAsync_v2((uintptr_t)dst, (uintptr_t)src, bytes, d->stream),
                            "copy on the device");
}

/* ---- launches ---- */
tenon_status tenon_cuda_run(const void *record, void *exec)
{
    const tenon_cuda_record *r = record;
    const tenon_cuda_queue *q = exec;
    void *args[] = {(void *)(uintptr_t)&r->args};
    int error;
    if (r->grid[0] == 0) return TENON_OK; /* nothing to compute, for any size of the bucket */
    if (q->programmatic || r->cluster > 1) {
        tenon_cu_launch_attribute attribute[2];
        unsigned count = 0;
        if (q->programmatic) attribute[count++] = (tenon_cu_launch_attribute){.id = TENON_CU_PROGRAMMATIC_SERIALIZATION,
                                                                              .value.flag = 1};
        if (r->cluster > 1) attribute[count++] = (tenon_cu_launch_attribute){.id = TENON_CU_CLUSTER_DIMENSION,
                                                                             .value.cluster = {r->cluster, 1, 1}};
        const tenon_cu_launch_config config = {.grid = {r->grid[0], r->grid[1], r->grid[2]}, .block = {r->threads, 1, 1},
                                               .shared_bytes = r->shared_bytes, .stream = q->stream, .attribute = attribute,
                                               .attribute_count = count};
        error = q->driver->cuLaunchKernelEx(&config, r->function, args, NULL);
    } else {
        error = q->driver->cuLaunchKernel(r->function, r->grid[0], r->grid[1], r->grid[2], r->threads, 1, 1, r->shared_bytes,
                                          q->stream, args, NULL);
    }
    return tenon_cuda_check(q->cx, q->driver, error, "kernel launch");
}

static tenon_status launch_steps(const tenon_cuda_queue *q, const tenon_launch *step, size_t count)
{
    for (size_t i = 0; i < count; i++) TENON_TRY(step[i].tactic->run(step[i].record, (void *)(uintptr_t)q));
    return TENON_OK;
}

static tenon_status cuda_launch(tenon_cx *cx, tenon_device *d, void *stream, const tenon_launch *step, size_t count,
                                void *scratch,
                                size_t scratch_bytes)
{
    (void)scratch, (void)scratch_bytes;
    TENON_TRY(tenon_cuda_enter(cx, d));
    const tenon_cuda_queue q = queue_of(cx, d, stream);
    return launch_steps(&q, step, count);
}

static tenon_status cuda_synchronize(tenon_cx *cx, tenon_device *d, void *stream)
{
    TENON_TRY(tenon_cuda_enter(cx, d));
    return wait_stream(cx, &d->driver, stream_of(d, stream));
}

/* ---- streams ---- */
static tenon_status cuda_stream_create(tenon_cx *cx, tenon_device *d, void **out)
{
    tenon_cu_stream stream = NULL;
    *out = NULL;
    TENON_TRY(tenon_cuda_enter(cx, d));
    TENON_TRY(tenon_cuda_check(cx, &d->driver, d->driver.cuStreamCreate(&stream, TENON_CU_NON_BLOCKING), "stream"));
    *out = stream;
    return TENON_OK;
}

static void cuda_stream_destroy(tenon_device *d, void *stream)
{
    (void)d->driver.cuCtxSetCurrent(d->context);
    (void)d->driver.cuStreamDestroy_v2((tenon_cu_stream)stream);
}

static tenon_status cuda_stream_mark(tenon_cx *cx, tenon_device *d, void *stream, void **mark)
{
    const tenon_cuda_driver *u = &d->driver;
    tenon_cu_event event = NULL;
    *mark = NULL;
    TENON_TRY(tenon_cuda_enter(cx, d));
    TENON_TRY(tenon_cuda_check(cx, u, u->cuEventCreate(&event, TENON_CU_NO_TIMING), "event"));
    const int error = u->cuEventRecord(event, stream_of(d, stream));
    if (error) (void)u->cuEventDestroy_v2(event);
    else *mark = event;
    return tenon_cuda_check(cx, u, error, "event");
}

static tenon_status cuda_stream_after(tenon_cx *cx, tenon_device *d, void *stream, void *mark)
{
    TENON_TRY(tenon_cuda_enter(cx, d));
    return tenon_cuda_check(cx, &d->driver, d->driver.cuStreamWaitEvent(stream_of(d, stream), (tenon_cu_event)mark, 0),
                            "one stream waiting for another");
}

static void cuda_mark_free(tenon_device *d, void *mark)
{
    (void)d->driver.cuCtxSetCurrent(d->context);
    if (mark) (void)d->driver.cuEventDestroy_v2((tenon_cu_event)mark);
}

static tenon_status cuda_stream_capturing(tenon_cx *cx, tenon_device *d, void *stream, bool *out)
{
    int status = TENON_CU_NOT_CAPTURING;
    *out = false;
    TENON_TRY(tenon_cuda_enter(cx, d));
    TENON_TRY(tenon_cuda_check(cx, &d->driver, d->driver.cuStreamIsCapturing(stream_of(d, stream), &status),
                               "the caller's stream"));
    *out = status != TENON_CU_NOT_CAPTURING;
    return TENON_OK;
}

/* Of pageable memory the driver has its own copy before it returns. */
static tenon_status cuda_stream_upload(tenon_cx *cx, tenon_device *d, void *stream, void *dst, const void *src, size_t bytes)
{
    TENON_TRY(tenon_cuda_enter(cx, d));
    if (!bytes) return TENON_OK;
    return tenon_cuda_check(cx, &d->driver, d->driver.cuMemcpyHtoDAsync_v2((uintptr_t)dst, src, bytes, stream_of(d, stream)),
                            "copy to the device");
}

static tenon_status cuda_stream_download(tenon_cx *cx, tenon_device *d, void *stream, void *dst, const void *src, size_t bytes)
{
    TENON_TRY(tenon_cuda_enter(cx, d));
    if (!bytes) return TENON_OK;
    return tenon_cuda_check(cx, &d->driver, d->driver.cuMemcpyDtoHAsync_v2(dst, (uintptr_t)src, bytes, stream_of(d, stream)),
                            "copy from the device");
}

/* ---- kernels ---- */
static void cuda_kernel_unload(tenon_device *d, void *kernel)
{
    tenon_cuda_kernel *k = kernel;
    tenon_cx cx;
    tenon_cx_init_child(&cx, &d->cx);
    (void)d->driver.cuCtxSetCurrent(d->context);
    if (k->module) (void)d->driver.cuModuleUnload(k->module);
    if (k->loaded) k->loaded->library->unload(d->libraries, k->loaded);
    tenon_free(&cx, k);
}

/* All kernels ask for the same split of L1 and shared memory: a multiprocessor that has to change it drains first, and
   programmatic launches would then overlap nothing. */
static tenon_status load_kernel(tenon_cx *cx, tenon_device *d, const void *image, const char *entry, tenon_cuda_kernel *k)
{
    const tenon_cuda_driver *u = &d->driver;
    char what[128];
    snprintf(what, sizeof what, "kernel %.64s does not load on this device", entry);
    TENON_TRY(tenon_cuda_check(cx, u, u->cuModuleLoadData(&k->module, image), what));
    TENON_TRY(tenon_cuda_check(cx, u, u->cuModuleGetFunction(&k->function, k->module, entry), what));
    int shared = 0;
    TENON_TRY(tenon_cuda_check(cx, u, u->cuFuncGetAttribute(&shared, TENON_CU_STATIC_SHARED, k->function), what));
    if ((size_t)shared < d->shared_most)
        TENON_TRY(tenon_cuda_check(cx, u, u->cuFuncSetAttribute(k->function, TENON_CU_MAX_DYNAMIC_SHARED,
                                                                (int)d->shared_most - shared), what));
    return tenon_cuda_check(cx, u, u->cuFuncSetAttribute(k->function, TENON_CU_CARVEOUT, 100), what);
}

static tenon_status cuda_kernel_load(tenon_cx *cx, tenon_device *d, const void *image, size_t bytes, const char *entry,
                                     void **kernel)
{
    *kernel = NULL;
    const tenon_cuda_library *library = tenon_cuda_library_of_image(image, bytes);
    if (library != tenon_cuda_library_of_entry(entry) || (!library && (bytes < 64 || memcmp(image, "\x7f" "ELF", 4) != 0)))
        return TENON_FAIL(cx, TENON_CORRUPT, "cuda: the image of kernel %s is no cubin, nor what its library makes", entry);
    TENON_TRY(tenon_cuda_enter(cx, d));
    tenon_cx own;
    tenon_cx_init_child(&own, &d->cx);
    tenon_cuda_kernel *k = tenon_alloc_zero(&own, sizeof *k);
    if (!k) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a kernel");
    const tenon_status status = library ? library->load(cx, d->libraries, image, bytes, &k->loaded)
                                        : load_kernel(cx, d, image, entry, k);
    if (status != TENON_OK) {
        cuda_kernel_unload(d, k);
        return status;
    }
    *kernel = k;
    return TENON_OK;
}

/* ---- graphs ---- */
static tenon_status cuda_graph_begin(tenon_cx *cx, tenon_device *d, void **stream)
{
    TENON_TRY(cuda_stream_create(cx, d, stream));
    const int error = d->driver.cuStreamBeginCapture_v2((tenon_cu_stream)*stream, TENON_CU_CAPTURE_THREAD);
    if (!error) return TENON_OK;
    cuda_stream_destroy(d, *stream);
    *stream = NULL;
    return tenon_cuda_check(cx, &d->driver, error, "graph capture");
}

static tenon_status cuda_graph_end(tenon_cx *cx, tenon_device *d, void *stream, void **graph)
{
    tenon_cu_graph captured = NULL;
    tenon_cu_graph_exec exec = NULL;
    *graph = NULL;
    tenon_status status = tenon_cuda_check(cx, &d->driver, d->driver.cuStreamEndCapture((tenon_cu_stream)stream, &captured),
                                           "graph capture");
    cuda_stream_destroy(d, stream);
    if (status == TENON_OK) status = tenon_cuda_check(cx, &d->driver, d->driver.cuGraphInstantiateWithFlags(&exec, captured, 0),
                                                      "graph");
    if (captured) (void)d->driver.cuGraphDestroy(captured);
    *graph = exec;
    return status;
}

static tenon_status cuda_graph_launch(tenon_cx *cx, tenon_device *d, void *stream, void *graph)
{
    TENON_TRY(tenon_cuda_enter(cx, d));
    return tenon_cuda_check(cx, &d->driver, d->driver.cuGraphLaunch((tenon_cu_graph_exec)graph, stream_of(d, stream)),
                            "graph launch");
}

static void cuda_graph_destroy(tenon_device *d, void *graph)
{
    if (!graph) return;
    (void)d->driver.cuCtxSetCurrent(d->context);
    (void)d->driver.cuGraphExecDestroy((tenon_cu_graph_exec)graph);
}

/* ---- timing ---- */
enum { REPEATS = 20, SAMPLES = 9 };

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* A graph of REPEATS launches one after another, as they stand in an engine; the median of some launches of that graph. */
static tenon_status time_graph(tenon_cx *cx, tenon_device *d, void *graph, const tenon_cu_event *event, double budget,
                               double *out)
{
    const tenon_cuda_driver *u = &d->driver;
    const double begin = tenon_now();
    float sample[SAMPLES];
    int count = 0;
    TENON_TRY(cuda_graph_launch(cx, d, NULL, graph));
    TENON_TRY(wait_stream(cx, u, d->stream));
    while (count < 3 || (count < SAMPLES && tenon_now() - begin < budget)) {
        TENON_TRY(tenon_cuda_check(cx, u, u->cuEventRecord(event[0], d->stream), "event"));
        TENON_TRY(cuda_graph_launch(cx, d, NULL, graph));
        TENON_TRY(tenon_cuda_check(cx, u, u->cuEventRecord(event[1], d->stream), "event"));
        TENON_TRY(tenon_cuda_check(cx, u, u->cuEventSynchronize(event[1]), "a timed kernel failed"));
        TENON_TRY(tenon_cuda_check(cx, u, u->cuEventElapsedTime(&sample[count++], event[0], event[1]), "event"));
    }
    qsort(sample, (size_t)count, sizeof *sample, by_value);
    *out = sample[count / 2] * 1e-3 / REPEATS;
    return TENON_OK;
}

static tenon_status capture_repeats(tenon_cx *cx, tenon_device *d, const tenon_launch *step, size_t count, void **graph)
{
    tenon_status status = TENON_OK;
    void *stream;
    TENON_TRY(cuda_graph_begin(cx, d, &stream));
    for (int i = 0; i < REPEATS && status == TENON_OK; i++) status = cuda_launch(cx, d, stream, step, count, NULL, 0);
    const tenon_status ended = cuda_graph_end(cx, d, stream, graph);
    return status == TENON_OK ? ended : status;
}

static tenon_status cuda_time(tenon_cx *cx, tenon_device *d, const tenon_launch *step, size_t count, size_t scratch_bytes,
                              double budget, double *out)
{
    (void)scratch_bytes;
    void *graph = NULL;
    tenon_cu_event event[2] = {NULL, NULL};
    tenon_status status;
    *out = 0;
    TENON_TRY(tenon_cuda_enter(cx, d));
    TENON_TRY_DONE(tenon_cuda_check(cx, &d->driver, d->driver.cuEventCreate(&event[0], 0), "event"));
    TENON_TRY_DONE(tenon_cuda_check(cx, &d->driver, d->driver.cuEventCreate(&event[1], 0), "event"));
    TENON_TRY_DONE(capture_repeats(cx, d, step, count, &graph));
    status = time_graph(cx, d, graph, event, budget, out);
done:
    cuda_graph_destroy(d, graph);
    for (int i = 0; i < 2; i++)
        if (event[i]) (void)d->driver.cuEventDestroy_v2(event[i]);
    return status;
}

const tenon_backend tenon_backend_cuda = {
    .name = "cuda", .tactics = tenon_cuda_tactics, .open = tenon_cuda_device_open, .close = tenon_cuda_device_close,
    .info = cuda_info, .alloc = cuda_alloc, .release = cuda_release, .upload = cuda_upload, .download = cuda_download,
    .copy = cuda_copy, .host_memory = false, .launch = cuda_launch, .synchronize = cuda_synchronize,
    .stream_create = cuda_stream_create, .stream_destroy = cuda_stream_destroy,
    .stream_default = (void *)1 /* CU_STREAM_LEGACY */, .stream_mark = cuda_stream_mark, .stream_after = cuda_stream_after,
    .mark_free = cuda_mark_free, .stream_capturing = cuda_stream_capturing, .stream_upload = cuda_stream_upload,
    .stream_download = cuda_stream_download, .host_alloc = cuda_host_alloc, .host_release = cuda_host_release,
    .kernel_compile = tenon_cuda_kernel_compile, .kernel_prepare = tenon_cuda_kernel_prepare, .kernel_load = cuda_kernel_load,
    .kernel_unload = cuda_kernel_unload, .can_build = tenon_cuda_can_build, .accepts = tenon_cuda_accepts,
    .parts = tenon_cuda_parts, .graph_begin = cuda_graph_begin, .graph_end = cuda_graph_end,
    .graph_launch = cuda_graph_launch, .graph_destroy = cuda_graph_destroy, .time = cuda_time,
    .peak = tenon_cuda_peak, .step_cost = tenon_cuda_step_cost,
};
