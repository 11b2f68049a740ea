/* SPDX-License-Identifier: Apache-2.0 */
/* A sweep as a table with its sentences, and as JSON with the same sentences. */
#include "sweep.h"

#include <inttypes.h>
#include <string.h>

enum { SENTENCE = 1200 };

static const char *const cause_name[SWEEP_CAUSES] = {"arithmetic", "memory", "launches"};

static const char *plural(size_t n) { return n == 1 ? "" : "s"; }

/* ---- sentences ---- */
static void say_knee(const sweep *w, char *out, size_t bytes)
{
    const sweep_point *knee = sweep_knee(w);
    if (!knee) {
        snprintf(out, bytes, "one batch was measured, so there is none to see: --sweep batch=1..64");
        return;
    }
    const bool last = knee->batch == w->batch[w->batch_count - 1], first = knee->batch == w->batch[0];
    snprintf(out, bytes, "batch %" PRId64 " on %zu stream%s, the smallest with at least %.0f%% of the best throughput%s",
             knee->batch, knee->streams, plural(knee->streams), 100 * SWEEP_KNEE,
             last    ? "; it is the largest that was measured, so the knee may lie beyond it"
             : first ? "; it is the smallest that was measured: batches gain next to nothing here"
                     : "");
}

static const char *of_each(sweep_cause c)
{
    return c == SWEEP_ARITHMETIC ? "arithmetic" : c == SWEEP_MEMORY ? "reading and writing memory" : "launching and waiting";
}

/* Steps are named after all of their nodes, exporters' paths in full: the end of the first name tells which it is. */
static cli_words short_name(const char *name)
{
    enum { MOST = 44 };
    cli_words w;
    const int length = (int)strcspn(name, "+");
    int parts = 1;
    for (const char *p = name; *p; p++) parts += *p == '+';
    const int from = length > MOST ? length - MOST + 3 : 0;
    const int used = snprintf(w.text, sizeof w.text, "%s%.*s", from ? "..." : "", length - from, name + from);
    if (parts > 1) snprintf(w.text + used, sizeof w.text - (size_t)used, "+%d", parts - 1);
    return w;
}

static size_t say_layers(const sweep_why *y, char *out, size_t bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < y->layer_count && used < bytes; i++) {
        const sweep_layer *l = &y->layer[i];
        used += (size_t)snprintf(out + used, bytes - used, "%s%s %.0f%%", i ? ", " : "", short_name(l->name).text, 100 * l->share);
        if (l->cause != SWEEP_LAUNCHES && used < bytes)
            used += (size_t)snprintf(out + used, bytes - used, " at %.0f%% of the peak", 100 * l->of_peak);
    }
    return used;
}

static void say_why(const sweep *w, char *out, size_t bytes)
{
    const sweep_why *y = &w->why;
    char layers[600] = "";
    sweep_cause most = SWEEP_ARITHMETIC;
    if (!y->known) {
        snprintf(out, bytes, "not known, since the machine's peak is not: %s", w->has_peak ? "interrupted" : w->no_peak);
        return;
    }
    for (int c = 0; c < SWEEP_CAUSES; c++)
        if (y->share[c] > y->share[most]) most = (sweep_cause)c;
    say_layers(y, layers, sizeof layers);
    size_t used = (size_t)snprintf(
        out, bytes, "of a run at batch %" PRId64 " (%s, %zu steps) %.0f%% is %s%s%s%s, %.0f%% %s and %.0f%% %s", y->batch,
        cli_time(y->latency).text, y->steps, 100 * y->share[most], of_each(most), *layers ? " (" : "", layers, *layers ? ")" : "",
        100 * y->share[(most + 1) % SWEEP_CAUSES], of_each((sweep_cause)((most + 1) % SWEEP_CAUSES)),
        100 * y->share[(most + 2) % SWEEP_CAUSES], of_each((sweep_cause)((most + 2) % SWEEP_CAUSES)));
    if (used >= bytes || !y->low_batch) return;
    if (y->fixed > 0.7)
        snprintf(out + used, bytes - used,
                 "; %.0f%% is there whatever the batch and a sample adds only %s, so further samples are nearly free up to here",
                 100 * y->fixed, cli_time(y->each).text);
    else if (y->low_fixed < 0.1)
        snprintf(out + used, bytes - used,
                 "; each sample takes %s of its own from the first on and shares next to nothing with others, so time "
                 "grows with the batch",
                 cli_time(y->each).text);
    else
        snprintf(out + used, bytes - used,
                 "; a part that all samples share is %.0f%% of the time at batch %" PRId64 " but %.0f%% at batch %" PRId64
                 ", and from there on each sample adds its own %s, so time grows with the batch",
                 100 * y->low_fixed, y->low_batch, 100 * y->fixed, y->batch, cli_time(y->each).text);
}

/* Throughput of the other numbers of streams against the fewest, at the smallest batch and at the knee. */
static void say_streams(sweep *w, char *out, size_t bytes)
{
    const sweep_point *knee = sweep_knee(w);
    const int64_t at[] = {w->batch[0], knee ? knee->batch : w->batch[0]};
    size_t used = 0;
    double gain[2] = {1, 1};
    *out = 0;
    if (w->stream_count < 2) return;
    for (int i = 0; i < 1 + (at[0] != at[1]); i++) {
        const sweep_point *one = sweep_find(w, at[i], (size_t)w->stream[0]), *best = one;
        for (size_t k = 1; k < w->stream_count; k++) {
            const sweep_point *p = sweep_find(w, at[i], (size_t)w->stream[k]);
            if (sweep_items(p) > sweep_items(best) || best == one) best = p;
        }
        gain[i] = sweep_items(best) / sweep_items(one);
        used += (size_t)snprintf(out + used, used < bytes ? bytes - used : 0,
                                 "%sat batch %" PRId64 " %zu streams give %.2f times the throughput of %zu "
                                 "and %.2f times the latency",
                                 i ? "; " : "", at[i], best->streams, gain[i], one->streams, best->latency / one->latency);
    }
    if (used >= bytes) return;
    const double most = gain[0] > gain[1] ? gain[0] : gain[1];
    snprintf(out + used, bytes - used, "%s",
             most < 1.1                         ? ": one run fills the device, and streams only share it"
             : gain[1] >= 1.1 || at[0] == at[1] ? ": runs beside each other use what one leaves idle"
                                                : ": streams help where a batch is small, not at the knee");
}

static void say_best(const sweep *w, char *out, size_t bytes)
{
    const sweep_point *p = w->best, *least = NULL;
    char limit[CLI_TEXT_ROOM + 16] = "";
    if (w->max_latency > 0) snprintf(limit, sizeof limit, " within %s", cli_time(w->max_latency).text);
    for (size_t i = 0; i < w->point_count; i++)
        if (!least || w->point[i].p99 < least->p99) least = &w->point[i];
    if (p)
        snprintf(out, bytes, "batch %" PRId64 " on %zu stream%s%s: %.1f samples a second, 99%% of the runs within %s%s", p->batch,
                 p->streams, plural(p->streams), limit, sweep_items(p), cli_time(p->p99).text,
                 w->max_latency > 0 ? "" : " (--max-latency 5ms asks for the best within a time)");
    else
        snprintf(out, bytes, "none keeps %s for 99%% of its runs; nearest is batch %" PRId64 " on %zu stream%s with %s",
                 cli_time(w->max_latency).text, least->batch, least->streams, plural(least->streams), cli_time(least->p99).text);
}

/* ---- text ---- */
static void share_cell(cli_table *t, double share)
{
    if (share < 0) cli_table_cell(t, "-");
    else cli_table_cell(t, "%.0f%%", 100 * share);
}

static int print_table(sweep *w)
{
    cli_table t = {.align = "rrrrrrrrl", .columns = 9};
    cli_table_row(
        &t, 9, (const char *const[]){"batch", "streams", "latency", "p99", "a sample", "samples/s", "arithmetic", "memory", ""});
    for (size_t k = 0; k < w->stream_count; k++) {
        for (size_t i = 0; i < w->batch_count; i++) {
            const sweep_point *p = sweep_find(w, w->batch[i], (size_t)w->stream[k]);
            cli_table_cell(&t, "%" PRId64, p->batch);
            cli_table_cell(&t, "%zu", p->streams);
            cli_table_cell(&t, "%s", cli_time(p->latency).text);
            cli_table_cell(&t, "%s", cli_time(p->p99).text);
            cli_table_cell(&t, "%s", cli_time(1 / sweep_items(p)).text);
            cli_table_cell(&t, "%.1f", sweep_items(p));
            share_cell(&t, p->arithmetic);
            share_cell(&t, p->memory);
            cli_table_cell(&t, "%s%s%s", p->knee ? "knee" : "", p->knee && p == w->best ? ", " : "", p == w->best ? "best" : "");
        }
    }
    return cli_table_print(w->b->s, &t, "  ");
}

static void print_peak(const tenon_peak *p)
{
    static const char *const name[TENON_ARITHMETICS] = {"f32", "TF32", "f16", "int8"};
    puts("  latency and samples/s: of the quickest tenth of the runs; p99: of all of them; arithmetic, memory: what the");
    printf("  operations and the bytes would take at this machine's peak, as a share of the time. The peak, measured now: ");
    for (int i = 0; i < TENON_ARITHMETICS; i++)
        if (i == 0 || p->flops[i] != p->flops[0]) printf("%s%s %.2f", i ? ", " : "", name[i], 1e-12 * p->flops[i]);
    printf(" TFLOP/s, %.0f GB/s from memory, %.0f from caches\n", 1e-9 * p->memory_bandwidth, 1e-9 * p->cache_bandwidth);
}

int sweep_print(sweep *w)
{
    char text[SENTENCE];
    printf("%s on %s", w->b->path, tenon_engine_device(w->b->engine));
    if (w->tuned_for)
        printf("; built for batch %" PRId64 " to %" PRId64 ", tuned for %" PRId64 " (--tune-each: for every one)", w->batch[0],
               w->batch[w->batch_count - 1], w->tuned_for);
    puts("");
    const int code = print_table(w);
    if (code != CLI_OK) return code;
    if (w->has_peak)
        print_peak(&w->peak);
    say_knee(w, text, sizeof text);
    printf("\nknee: %s.\n", text);
    say_why(w, text, sizeof text);
    printf("why: %s.\n", text);
    say_streams(w, text, sizeof text);
    if (*text) printf("streams: %s.\n", text);
    say_best(w, text, sizeof text);
    printf("best: %s.\n", text);
    return CLI_OK;
}

/* ---- JSON ---- */
static json_t *point_json(const sweep_point *p)
{
    json_t *j =
        json_pack("{s:I,s:I,s:I,s:{s:f,s:f,s:f},s:f,s:f,s:b}", "batch", (json_int_t)p->batch, "streams", (json_int_t)p->streams,
                  "runs", (json_int_t)p->runs, "latency_ms", "min", 1e3 * p->least, "median", 1e3 * p->latency, "p99",
                  1e3 * p->p99, "sample_ms", 1e3 / sweep_items(p), "samples_per_second", sweep_items(p), "knee", (int)p->knee);
    if (p->arithmetic >= 0) {
        json_object_set_new(j, "arithmetic_share", json_real(p->arithmetic));
        json_object_set_new(j, "memory_share", json_real(p->memory));
    }
    return j;
}

static json_t *peak_json(const sweep *w)
{
    if (!w->has_peak) return json_null();
    return json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:I}", "f32_flops", w->peak.flops[TENON_ARITHMETIC_F32], "tf32_flops",
                     w->peak.flops[TENON_ARITHMETIC_TF32], "half_flops", w->peak.flops[TENON_ARITHMETIC_HALF], "int8_ops",
                     w->peak.flops[TENON_ARITHMETIC_INT8], "memory_bytes_per_second", w->peak.memory_bandwidth,
                     "cache_bytes_per_second", w->peak.cache_bandwidth, "cache_bytes", (json_int_t)w->peak.cache_bytes);
}

static json_t *why_json(const sweep *w)
{
    const sweep_why *y = &w->why;
    json_t *layers = json_array(), *shares = json_object();
    if (!y->known) {
        json_decref(layers);
        json_decref(shares);
        return json_null();
    }
    for (size_t i = 0; i < y->layer_count; i++)
        json_array_append_new(layers, json_pack("{s:s,s:f,s:f,s:s}", "name", y->layer[i].name, "share", y->layer[i].share,
                                                "share_of_peak", y->layer[i].of_peak, "cause", cause_name[y->layer[i].cause]));
    for (int c = 0; c < SWEEP_CAUSES; c++) json_object_set_new(shares, cause_name[c], json_real(y->share[c]));
    json_t *j = json_pack("{s:I,s:f,s:o,s:o}", "batch", (json_int_t)y->batch, "latency_ms", 1e3 * y->latency, "shares", shares,
                          "layers", layers);
    if (y->low_batch) {
        json_object_set_new(j, "sample_ms", json_real(1e3 * y->each));
        json_object_set_new(j, "fixed_ms", json_real(1e3 * y->fixed * y->latency));
        json_object_set_new(j, "low_batch", json_integer(y->low_batch));
    }
    return j;
}

int sweep_print_json(sweep *w)
{
    json_t *points = json_array(), *sentences = json_object();
    char text[SENTENCE];
    static const struct { const char *key; size_t which; } said[] = {{"knee", 0}, {"why", 1}, {"streams", 2}, {"best", 3}};
    for (size_t k = 0; k < w->stream_count; k++)
        for (size_t i = 0; i < w->batch_count; i++)
            json_array_append_new(points, point_json(sweep_find(w, w->batch[i], (size_t)w->stream[k])));
    for (size_t i = 0; i < CLI_COUNTOF(said); i++) {
        if (i == 0) say_knee(w, text, sizeof text);
        else if (i == 1) say_why(w, text, sizeof text);
        else if (i == 2) say_streams(w, text, sizeof text);
        else say_best(w, text, sizeof text);
        if (*text) json_object_set_new(sentences, said[i].key, json_string(text));
    }
    json_t *best = w->best ? json_pack("{s:I,s:I}", "batch", (json_int_t)w->best->batch, "streams", (json_int_t)w->best->streams)
                           : json_null();
    json_t *sweep_part =
        json_pack("{s:o,s:o,s:o,s:o}", "points", points, "why", why_json(w), "best", best, "sentences", sentences);
    json_t *j = json_pack("{s:s,s:s,s:s,s:o,s:o}", "file", w->b->path, "tenon", tenon_version(), "device",
                          tenon_engine_device(w->b->engine), "peak", peak_json(w), "sweep", sweep_part);
    if (j && w->max_latency > 0) json_object_set_new(j, "max_latency_ms", json_real(1e3 * w->max_latency));
    if (!j) return cli_fail(w->b->s, "the report cannot be made");
    return bench_print_json(w->b, j);
}
