/* SPDX-License-Identifier: Apache-2.0 */
/* What trtexec says of its runs: averages of the trace, the summary with trtexec's own percentiles, the times of the layers, and
   the two JSON files that scripts read. Numbers have six digits, as scripts expect them. */
#include "trtexec.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOWS_SHOWN = 200 };        /* at each end of a long list */
#define UNSTABLE 2.5                 /* percent of the mean */

typedef double (*metric)(const trt_trace *t);
static double h2d_of(const trt_trace *t) { return t->end_h2d - t->start_h2d; }
static double d2h_of(const trt_trace *t) { return t->end_d2h - t->start_d2h; }
static double compute_of(const trt_trace *t) { return t->end_compute - t->start_compute; }
static double enqueue_of(const trt_trace *t) { return t->end_enqueue - t->start_enqueue; }
static double latency_of(const trt_trace *t) { return h2d_of(t) + compute_of(t) + d2h_of(t); }

/* ---- statistics ---- */
static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double trt_percentile(const double *sorted, size_t count, double p)
{
    const long all = (long)count, at = all - 1 - (long)((1 - p / 100) * (double)all);
    return sorted[at > 0 ? at : 0];
}

double trt_median(const double *sorted, size_t count)
{
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

typedef struct statistics { double min, max, mean, median, variation, sum; double percentile[TRT_MAX_PERCENTILES]; } statistics;

static bool measure(const trt_app *app, metric of, statistics *out)
{
    const size_t n = app->trace_count;
    double *sorted = malloc(n * sizeof *sorted), squares = 0;
    *out = (statistics){0};
    if (!sorted) return trt_fail(app, "out of memory");
    for (size_t i = 0; i < n; i++) out->sum += sorted[i] = of(&app->trace[i]);
    qsort(sorted, n, sizeof *sorted, compare);
    out->min = sorted[0];
    out->max = sorted[n - 1];
    out->mean = out->sum / (double)n;
    out->median = trt_median(sorted, n);
    for (size_t i = 0; i < n; i++) squares += (sorted[i] - out->mean) * (sorted[i] - out->mean);
    out->variation = out->mean > 0 ? 100 * sqrt(squares / (double)n) / out->mean : 0;
    for (int i = 0; i < app->o.percentile_count; i++) out->percentile[i] = trt_percentile(sorted, n, app->o.percentile[i]);
    free(sorted);
    return true;
}

static void say_statistics(const trt_app *app, const char *title, const statistics *s)
{
    char text[1024];
    size_t used = (size_t)snprintf(text, sizeof text, "%s: min = %g ms, max = %g ms, mean = %g ms, median = %g ms", title,
                                   s->min, s->max,
                                   s->mean, s->median);
    for (int i = 0; i < app->o.percentile_count && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, ", percentile(%g%%) = %g ms", app->o.percentile[i],
                                 s->percentile[i]);
    trt_say(app, TRT_I, "%s", text);
}

/* ---- the trace ---- */
static void say_averages(const trt_app *app)
{
    const size_t runs = (size_t)app->o.avg_runs, windows = app->trace_count / runs;
    trt_say(app, TRT_I, "%s", "");
    trt_say(app, TRT_I, "=== Trace details ===");
    trt_say(app, TRT_I, "Trace averages of %zu runs:", runs);
    for (size_t w = 0; w < windows; w++) {
        if (windows > 2 * WINDOWS_SHOWN && w == WINDOWS_SHOWN) {
            trt_say(app, TRT_I, "... Omitting %zu lines", windows - 2 * WINDOWS_SHOWN);
            w = windows - WINDOWS_SHOWN;
        }
        double compute = 0, latency = 0, enqueue = 0;
        for (size_t i = w * runs; i < (w + 1) * runs; i++) {
            compute += compute_of(&app->trace[i]);
            latency += latency_of(&app->trace[i]);
            enqueue += enqueue_of(&app->trace[i]);
        }
        trt_say(app, TRT_I, "Average on %zu runs - GPU latency: %g ms - Host latency: %g ms (enqueue %g ms)", runs,
                compute / (double)runs, latency / (double)runs, enqueue / (double)runs);
    }
}

/* ---- the summary ---- */
static void warn(const trt_app *app, const statistics *enqueue, const statistics *h2d, const statistics *compute,
                 const statistics *d2h)
{
    const char *what = app->gpu ? "GPU compute" : "Compute";
    if (enqueue->median > 0.8 * compute->median)
        trt_say(app, TRT_W,
                "* Throughput may be bound by Enqueue Time rather than GPU Compute: the device may be idle between runs.");
    if (h2d->median >= compute->median)
        trt_say(app, TRT_W,
                "* Throughput may be bound by host-to-device transfers for the inputs rather than %s; see --noDataTransfers.",
                what);
    if (d2h->median >= compute->median)
        trt_say(app, TRT_W,
                "* Throughput may be bound by device-to-host transfers for the outputs rather than %s; see --noDataTransfers.",
                what);
    if (compute->variation > UNSTABLE)
        trt_say(app, TRT_W, "* %s time is unstable, with coefficient of variance = %g%%.", what, compute->variation);
    if (app->o.streams > 1)
        trt_say(app, TRT_W, "* Multiple inference streams are used: latencies hold the time that streams wait for each other.");
}

static void explain(const trt_app *app)
{
    trt_say(app, TRT_V, "%s", "");
    trt_say(app, TRT_V, "=== Explanations of the performance metrics ===");
    trt_say(app, TRT_V, "Total Host Walltime: from the first measured query's start to the last one's end.");
    trt_say(app, TRT_V, "Throughput: measured queries divided by that time.");
    trt_say(app, TRT_V, "H2D Latency: copying the inputs to the device; on a CPU, into the memory that the engine reads.");
    trt_say(app, TRT_V, "GPU Compute Time: a run, by the host's clock; on a CPU it is the CPU's.");
    trt_say(app, TRT_V, "Enqueue Time: putting a run in a stream; 0 where a run needs none, as with one stream of a CPU.");
    trt_say(app, TRT_V, "D2H Latency: copying the outputs to the host.");
    trt_say(app, TRT_V, "Latency: the sum of H2D Latency, GPU Compute Time and D2H Latency of a query.");
}

static bool say_summary(const trt_app *app)
{
    statistics latency, enqueue, h2d, compute, d2h;
    if (!measure(app, latency_of, &latency) || !measure(app, enqueue_of, &enqueue) || !measure(app, h2d_of, &h2d) ||
        !measure(app, compute_of, &compute) || !measure(app, d2h_of, &d2h))
        return false;
    trt_say(app, TRT_I, "%s", "");
    trt_say(app, TRT_I, "=== Performance summary ===");
    trt_say(app, TRT_I, "Throughput: %g qps", 1e3 * (double)app->trace_count / app->wall_ms);
    say_statistics(app, "Latency", &latency);
    say_statistics(app, "Enqueue Time", &enqueue);
    say_statistics(app, "H2D Latency", &h2d);
    say_statistics(app, "GPU Compute Time", &compute);
    say_statistics(app, "D2H Latency", &d2h);
    trt_say(app, TRT_I, "Total Host Walltime: %g s", 1e-3 * app->wall_ms);
    trt_say(app, TRT_I, "Total GPU Compute Time: %g s", 1e-3 * compute.sum);
    warn(app, &enqueue, &h2d, &compute, &d2h);
    trt_say(app, TRT_I, "Explanations of the performance metrics are printed in the verbose logs.");
    explain(app);
    trt_say(app, TRT_I, "%s", "");
    return true;
}

/* ---- JSON ---- */
bool trt_save_json(const trt_app *app, json_t *take_json, const char *path)
{
    const bool good = take_json && json_dump_file(take_json, path, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) == 0;
    const int error = errno;
    json_decref(take_json);
    if (!good) cli_discard(path);
    return good || trt_fail(app, "Cannot write %s: %s", path, strerror(error));
}

static bool export_times(const trt_app *app, const char *path)
{
    json_t *list = json_array();
    for (size_t i = 0; i < app->trace_count; i++) {
        const trt_trace *t = &app->trace[i];
        const struct { const char *key; double ms; } member[] = {
            {"startEnqMs", t->start_enqueue}, {"endEnqMs", t->end_enqueue}, {"startH2dMs", t->start_h2d},
            {"endH2dMs", t->end_h2d}, {"startComputeMs", t->start_compute}, {"endComputeMs", t->end_compute},
            {"startD2hMs", t->start_d2h}, {"endD2hMs", t->end_d2h}, {"h2dMs", h2d_of(t)}, {"computeMs", compute_of(t)},
            {"d2hMs", d2h_of(t)}, {"latencyMs", latency_of(t)},
        };
        json_t *query = json_object();
        for (size_t k = 0; k < CLI_COUNTOF(member); k++) json_object_set_new(query, member[k].key, json_real(member[k].ms));
        json_array_append_new(list, query);
    }
    return trt_save_json(app, list, path);
}

bool trt_report(trt_app *app)
{
    const trt_options *o = &app->o;
    const char *times = trt_text(o, "--exportTimes");
    const bool profiled = app->profiled && !trt_has(o, "--separateProfileRun");
    bool good = true;
    trt_say(app, TRT_I, "Warmup completed %zu queries over %" PRId64 " ms", app->warm_count, o->warmup_ms);
    trt_say(app, TRT_I, "Timing trace has %zu queries over %g s", app->trace_count, 1e-3 * app->wall_ms);
    if (profiled) {
        trt_say(app, TRT_I, "Times of whole runs are not reported: timing the layers one by one changes them.");
        trt_say(app, TRT_I, "--separateProfileRun measures runs and layers one after the other.");
    } else {
        say_averages(app);
        good = say_summary(app);
    }
    return good && (!times || export_times(app, times));
}

/* ---- layers ---- */
typedef struct layer { const char *name; double total, average, median, share; } layer;

static bool measure_layers(const trt_app *app, layer **out, layer *total)
{
    const json_t *steps = trt_steps(app, (size_t)app->o.use_profile);
    const size_t layers = app->layer_count, runs = app->profiled;
    double *column = malloc((runs + 1) * sizeof *column);
    layer *list = calloc(layers + 1, sizeof *list);
    *total = (layer){.name = "Total"};
    *out = list;
    if (!column || !list) {
        free(column);
        return trt_fail(app, "out of memory");
    }
    for (size_t k = 0; k < layers; k++) {
        for (size_t i = 0; i < runs; i++) list[k].total += column[i] = app->layer_ms[i * layers + k];
        qsort(column, runs, sizeof *column, compare);
        list[k].name = json_string_value(json_object_get(json_array_get(steps, k), "name"));
        list[k].average = list[k].total / (double)runs;
        list[k].median = trt_median(column, runs);
        total->total += list[k].total;
        total->average += list[k].average;
        total->median += list[k].median;
    }
    for (size_t k = 0; k < layers; k++) list[k].share = total->total > 0 ? 100 * list[k].total / total->total : 0;
    total->share = 100;
    free(column);
    return true;
}

static void say_layer(const trt_app *app, const layer *l)
{
    trt_say(app, TRT_I, "%11.2f %12.4f %12.4f %9.1f   %s", l->total, l->average, l->median, l->share, l->name);
}

bool trt_report_layers(trt_app *app)
{
    const char *path = trt_text(&app->o, "--exportProfile");
    layer *list = NULL, total;
    bool good = measure_layers(app, &list, &total);
    if (good && trt_has(&app->o, "--dumpProfile")) {
        trt_say(app, TRT_I, "=== Profile (%zu iterations ) ===", app->profiled);
        trt_say(app, TRT_I, "   Time(ms)     Avg.(ms)   Median(ms)   Time(%%)   Layer");
        for (size_t k = 0; k < app->layer_count; k++) say_layer(app, &list[k]);
        say_layer(app, &total);
        trt_say(app, TRT_I, "%s", "");
    }
    if (good && path) {
        json_t *j = json_array();
        json_array_append_new(j, json_pack("{s:I}", "count", (json_int_t)app->profiled));
        for (size_t k = 0; k < app->layer_count; k++)
            json_array_append_new(j, json_pack("{s:s,s:f,s:f,s:f,s:f}", "name", list[k].name, "timeMs", list[k].total,
                                               "averageMs",
                                               list[k].average, "medianMs", list[k].median, "percentage", list[k].share));
        good = trt_save_json(app, j, path);
    }
    free(list);
    return good;
}
