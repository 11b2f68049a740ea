/* SPDX-License-Identifier: Apache-2.0 */
/* trtexec's runs. Each stream is a thread with a context and memory of its own, and its queries are copies of the inputs, a run
   and copies of the outputs, in turn. Times are of the host's clock. A single stream of the CPU runs on its thread, so that there
   is no time to enqueue; all others are enqueued and waited for. Queries that begin within the warm-up are counted, not
   measured. */
#include "trtexec.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct worker {
    trt_app app;                     /* the caller's, with a cx of its own: messages come from the thread that failed */
    tenon_context *context;
    tenon_stream *stream;            /* NULL: runs on its own thread */
    void **device;
    trt_output *output;
    bool profile, good;
    double begin;                    /* of the runs, seconds */
    trt_trace *trace;
    size_t count, room, warm, layer_at;
    double last_warm;
} worker;

static double now_ms(const worker *w) { return 1e3 * (cli_now() - w->begin); }

static void wait_ms(int64_t ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (ms > 0 && nanosleep(&t, &t) && errno == EINTR && !cli_interrupted()) continue;
}

static bool context_failed(worker *w) { return w->good = trt_fail(&w->app, "[TRT] %s", tenon_context_message(w->context)); }
static bool cx_failed(worker *w) { return w->good = trt_failed(&w->app); }

/* ---- one query ---- */
static bool copy(worker *w, tenon_io io)
{
    for (size_t i = 0; i < w->app.binding_count; i++) {
        const trt_binding *b = &w->app.binding[i];
        if (b->info.io != io || !w->device[i] || !b->bytes) continue;
        const tenon_status status = io == TENON_INPUT
                                        ? tenon_device_upload(w->app.cx, w->app.engine, w->device[i], b->data, b->bytes)
                                        : tenon_device_download(w->app.cx, w->app.engine, w->output[i].data, w->device[i],
                                                                b->bytes);
        if (status != TENON_OK) return cx_failed(w);
    }
    return true;
}

static void on_layer(void *user, size_t step, const char *layer, double seconds)
{
    worker *w = user;
    (void)layer;
    if (step < w->app.layer_count) w->app.layer_ms[w->layer_at * w->app.layer_count + step] = 1e3 * seconds;
}

static bool compute(worker *w, trt_trace *t)
{
    t->start_enqueue = t->end_enqueue = t->start_compute = now_ms(w);
    if (w->profile) {
        if (tenon_context_profile(w->context, on_layer, w) != TENON_OK) return context_failed(w);
    } else if (!w->stream) {
        if (tenon_context_run(w->context) != TENON_OK) return context_failed(w);
    } else {
        if (tenon_context_enqueue(w->context, w->stream) != TENON_OK) return context_failed(w);
        t->end_enqueue = now_ms(w);
        if (tenon_stream_synchronize(w->app.cx, w->stream) != TENON_OK) return cx_failed(w);
    }
    t->end_compute = now_ms(w);
    return true;
}

static bool query(worker *w, trt_trace *t)
{
    const bool transfers = !trt_has(&w->app.o, "--noDataTransfers");
    t->start_h2d = now_ms(w);
    if (transfers && !copy(w, TENON_INPUT)) return false;
    t->end_h2d = transfers ? now_ms(w) : t->start_h2d;
    if (!compute(w, t)) return false;
    t->start_d2h = now_ms(w);
    if (transfers && !copy(w, TENON_OUTPUT)) return false;
    t->end_d2h = transfers ? now_ms(w) : t->start_d2h;
    return true;
}

/* ---- all queries ---- */
static bool make_room(worker *w)
{
    if (w->count < w->room) return true;
    const size_t room = w->room ? 2 * w->room : 1024, layers = w->app.layer_count;
    trt_trace *trace = realloc(w->trace, room * sizeof *trace);
    if (trace) w->trace = trace;
    double *ms = trace && w->profile ? realloc(w->app.layer_ms, (room + 1) * (layers + 1) * sizeof *ms) : w->app.layer_ms;
    if (!trace || (w->profile && !ms)) return w->good = trt_fail(&w->app, "out of memory");
    w->app.layer_ms = ms;
    w->room = room;
    return true;
}

static bool enough(const worker *w)
{
    const trt_options *o = &w->app.o;
    if (cli_interrupted()) return true;
    if (w->count < (size_t)o->iterations || o->duration_s < 0) return false;
    return now_ms(w) >= (double)(o->warmup_ms + 1000 * o->duration_s);
}

static void *work(void *arg)
{
    worker *w = arg;
    const trt_options *o = &w->app.o;
    wait_ms(o->sleep_ms);
    w->good = copy(w, TENON_INPUT); /* with --noDataTransfers the only time */
    while (w->good && make_room(w) && (!enough(w) || w->count + w->warm == 0)) {
        trt_trace t;
        w->layer_at = w->count;
        if (!query(w, &t)) break;
        if (t.start_compute < (double)o->warmup_ms) {
            w->warm++;
            w->last_warm = t.end_d2h;
        } else {
            w->trace[w->count++] = t;
        }
        wait_ms(o->idle_ms);
    }
    if (w->good && trt_has(o, "--noDataTransfers")) copy(w, TENON_OUTPUT);
    return NULL;
}

/* ---- opening and closing ---- */
static bool open_binding(worker *w, size_t i)
{
    const trt_binding *b = &w->app.binding[i];
    const bool unknown = b->info.io == TENON_OUTPUT && (tenon_dtype_bits(b->info.dtype) == 0);
    bool sized = !unknown;
    for (int k = 0; k < b->rank; k++) sized &= b->dim[k] >= 0;
    if (!sized) return true; /* known after the run */
    w->output[i] = (trt_output){.rank = b->rank, .bytes = b->bytes};
    memcpy(w->output[i].dim, b->dim, sizeof b->dim);
    if (b->info.io == TENON_OUTPUT && !(w->output[i].data = calloc(b->bytes + 1, 1))) return trt_fail(&w->app, "out of memory");
    /* an empty tensor still needs an address */
    if (tenon_device_alloc(w->app.cx, w->app.engine, b->bytes ? b->bytes : 64, &w->device[i]) != TENON_OK) return cx_failed(w);
    if (tenon_context_set_address(w->context, b->info.name, w->device[i], b->bytes) != TENON_OK) return context_failed(w);
    return true;
}

static bool open_worker(worker *w, const trt_app *app, bool profile, bool queue)
{
    const size_t count = app->binding_count;
    w->app = *app;
    w->app.cx = NULL;
    w->profile = profile;
    w->device = calloc(count + 1, sizeof *w->device);
    w->output = calloc(count + 1, sizeof *w->output);
    if (!w->device || !w->output) return trt_fail(app, "out of memory");
    const tenon_cx_options options = {.log = trt_log, .log_user = &w->app, .severity = TENON_WARNING};
    if (tenon_cx_create(&options, &w->app.cx) != TENON_OK) return trt_fail(app, "out of memory");
    const tenon_context_options wanted = {.profile = (int)app->o.use_profile};
    if (tenon_context_create(w->app.cx, app->engine, &wanted, &w->context) != TENON_OK) return cx_failed(w);
    for (size_t i = 0; i < count; i++) {
        const trt_binding *b = &app->binding[i];
        if (b->info.io == TENON_INPUT && tenon_context_set_shape(w->context, b->info.name, b->rank, b->dim) != TENON_OK)
            return context_failed(w);
    }
    for (size_t i = 0; i < count; i++)
        if (!open_binding(w, i)) return false;
    return !queue || tenon_stream_create(w->app.cx, app->engine, &w->stream) == TENON_OK || cx_failed(w);
}

static void close_worker(worker *w)
{
    tenon_stream_destroy(&w->stream);
    tenon_context_destroy(&w->context);
    for (size_t i = 0; i < w->app.binding_count; i++) {
        if (w->device) tenon_device_free(w->app.cx, w->app.engine, w->device[i]);
        if (w->output) free(w->output[i].data);
    }
    tenon_cx_destroy(&w->app.cx);
    free(w->device);
    free(w->output);
    free(w->trace);
}

/* ---- gathering ---- */
static int by_start(const void *a, const void *b)
{
    const double x = ((const trt_trace *)a)->start_compute, y = ((const trt_trace *)b)->start_compute;
    return (x > y) - (x < y);
}

static bool gather(trt_app *app, const worker *w, size_t streams)
{
    double first = 1e300, last = 0;
    size_t count = 0;
    for (size_t i = 0; i < streams; i++) count += w[i].count;
    if (count == 0) return trt_fail(app, "no query was measured");
    app->trace = malloc(count * sizeof *app->trace);
    if (!app->trace) return trt_fail(app, "out of memory");
    for (size_t i = 0; i < streams; i++) {
        if (w[i].count) memcpy(app->trace + app->trace_count, w[i].trace, w[i].count * sizeof *app->trace);
        app->trace_count += w[i].count;
        app->warm_count += w[i].warm;
        if (w[i].last_warm > app->warm_ms) app->warm_ms = w[i].last_warm;
    }
    qsort(app->trace, count, sizeof *app->trace, by_start);
    for (size_t i = 0; i < count; i++) {
        if (app->trace[i].start_h2d < first) first = app->trace[i].start_h2d;
        if (app->trace[i].end_d2h > last) last = app->trace[i].end_d2h;
    }
    app->wall_ms = last - first;
    return true;
}

/* Outputs whose size depends on data are the context's own until its next run. */
static bool take_late_outputs(worker *w)
{
    for (size_t i = 0; i < w->app.binding_count; i++) {
        const trt_binding *b = &w->app.binding[i];
        trt_output *out = &w->output[i];
        const void *data;
        if (b->info.io != TENON_OUTPUT || w->device[i] || tenon_dtype_bits(b->info.dtype) == 0) continue;
        if (tenon_context_shape(w->context, b->info.name, &out->rank, out->dim) != TENON_OK ||
            tenon_context_output(w->context, b->info.name, &data, &out->bytes) != TENON_OK)
            return context_failed(w);
        out->data = malloc(out->bytes + 1);
        if (!out->data) return trt_fail(&w->app, "out of memory");
        if (out->bytes) memcpy(out->data, data, out->bytes);
    }
    return true;
}

static bool run_workers(worker *w, size_t streams)
{
    pthread_t thread[TRT_MAX_STREAMS];
    size_t started = 1;
    bool good = true;
    const double begin = cli_now();
    for (size_t i = 0; i < streams; i++) w[i].begin = begin;
    while (good && started < streams) {
        if (pthread_create(&thread[started], NULL, work, &w[started])) good = trt_fail(&w->app, "thread %zu cannot be started",
                                                                                       started);
        else started++;
    }
    if (good) work(&w[0]);
    for (size_t i = 1; i < started; i++) pthread_join(thread[i], NULL);
    for (size_t i = 0; i < started; i++) good = good && w[i].good;
    return good;
}

bool trt_run(trt_app *app, bool profile)
{
    const size_t streams = profile ? 1 : (size_t)app->o.streams;
    const bool queue = !profile && (streams > 1 || app->gpu);
    worker *w = calloc(streams, sizeof *w);
    bool good = w || trt_fail(app, "out of memory");
    app->layer_count = json_array_size(trt_steps(app, (size_t)app->o.use_profile));
    for (size_t i = 0; good && i < streams; i++) good = open_worker(&w[i], app, profile, queue);
    trt_say(app, TRT_I, "Starting inference");
    cli_catch_interrupt();
    good = good && run_workers(w, streams);
    if (w && profile) {
        app->layer_ms = w->app.layer_ms;
        app->profiled = w->count;
    }
    if (good && !app->trace) good = gather(app, w, streams);
    if (good && !app->output && (good = take_late_outputs(w))) {
        app->output = w->output;
        w->output = NULL;
    }
    for (size_t i = 0; w && i < streams; i++) close_worker(&w[i]);
    free(w);
    return good;
}
