/* SPDX-License-Identifier: Apache-2.0 */
/* Runs and their times. Each stream is a thread with a context of its own; one stream runs on its caller's thread. Times are of
   whole runs, memory is touched beforehand. */
#include "bench.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct worker {
    cli_session s;
    cli_runner runner;
    tenon_stream *stream;        /* NULL: runs on its own thread */
    const bench_limits *limits;
    double *latency;
    size_t count, room;
    double begin, end;
    int code;
    bool draws;                  /* the bar */
} worker;

static int run_once(worker *w)
{
    if (!w->stream)
        return tenon_context_run(w->runner.context) == TENON_OK ? CLI_OK
                                                                : cli_fail(&w->s, "%s", tenon_context_message(w->runner.context));
    if (tenon_context_enqueue(w->runner.context, w->stream) != TENON_OK)
        return cli_fail(&w->s, "%s", tenon_context_message(w->runner.context));
    return tenon_stream_synchronize(w->s.cx, w->stream) == TENON_OK ? CLI_OK : cli_failed(&w->s);
}

static int keep(worker *w, double seconds)
{
    if (w->count == w->room) {
        const size_t room = w->room ? 2 * w->room : 1024;
        double *grown = realloc(w->latency, room * sizeof *grown);
        if (!grown) return cli_fail(&w->s, "out of memory");
        w->latency = grown;
        w->room = room;
    }
    w->latency[w->count++] = seconds;
    return CLI_OK;
}

static bool more(const worker *w)
{
    if (cli_interrupted()) return false;
    if (w->limits->runs >= 0) return w->count < (size_t)w->limits->runs;
    return w->count < (size_t)w->limits->least || w->end - w->begin < w->limits->seconds;
}

static void draw(worker *w)
{
    if (!w->draws) return;
    if (w->limits->runs >= 0) cli_bar_draw(&w->s, "runs", w->count, (size_t)w->limits->runs);
    else cli_bar_draw(&w->s, "ms", (size_t)(1e3 * (w->end - w->begin)), (size_t)(1e3 * w->limits->seconds));
}

static void *work(void *arg)
{
    worker *w = arg;
    for (int64_t i = 0; w->code == CLI_OK && i < w->limits->warmup && !cli_interrupted(); i++) w->code = run_once(w);
    w->begin = w->end = cli_now();
    while (w->code == CLI_OK && more(w)) {
        const double start = cli_now();
        w->code = run_once(w);
        w->end = cli_now();
        if (w->code == CLI_OK) w->code = keep(w, w->end - start);
        draw(w);
    }
    cli_bar_clear(&w->s);
    return NULL;
}

static int open_worker(bench *b, worker *w, bool first, bool alone)
{
    w->limits = &b->limits;
    w->s.command = b->s->command;
    int code = cli_session_open(&w->s);
    w->draws = first && w->s.bar;
    if (code == CLI_OK) code = cli_runner_open(&w->s, b->engine, b->profile, b->input, b->input_count, &w->runner);
    if (code == CLI_OK && !alone && tenon_stream_create(w->s.cx, b->engine, &w->stream) != TENON_OK) code = cli_failed(&w->s);
    return code;
}

static void close_workers(worker *list, size_t count)
{
    for (size_t i = 0; list && i < count; i++) {
        worker *w = &list[i];
        tenon_stream_destroy(&w->stream);
        if (w->s.cx) cli_runner_close(&w->s, &w->runner);
        cli_session_close(&w->s);
        free(w->latency);
    }
    free(list);
}

static int run_workers(bench *b, worker *list, size_t count)
{
    pthread_t thread[BENCH_STREAMS];
    size_t started = 1;
    int code = CLI_OK;
    while (started < count && code == CLI_OK) {
        if (pthread_create(&thread[started], NULL, work, &list[started]))
            code = cli_fail(b->s, "thread %zu cannot be started", started);
        else started++;
    }
    if (code == CLI_OK) work(&list[0]);
    for (size_t i = 1; i < started; i++) pthread_join(thread[i], NULL);
    for (size_t i = 0; i < count; i++)
        if (list[i].code != CLI_OK) code = list[i].code;
    return code;
}

/* ---- results ---- */
static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest rank: the least time that at least this share of the runs did not exceed. */
static double quantile(const double *sorted, size_t count, double share)
{
    const size_t rank = (size_t)ceil(share * (double)count);
    return sorted[rank ? rank - 1 : 0];
}

/* Each round is the same part of every stream's runs. */
static void take_rounds(const worker *list, size_t count, double *room, bench_result *out)
{
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < count; i++) least = list[i].count < least ? list[i].count : least;
    out->round_count = least < BENCH_ROUNDS ? least : BENCH_ROUNDS;
    for (size_t r = 0; r < out->round_count; r++) {
        double rate = 0;
        size_t n = 0;
        for (size_t i = 0; i < count; i++) {
            const size_t from = list[i].count * r / out->round_count, to = list[i].count * (r + 1) / out->round_count;
            double sum = 0;
            for (size_t k = from; k < to; k++) sum += room[n++] = list[i].latency[k];
            rate += (double)(to - from) / sum; /* a stream's runs follow one another at once */
        }
        qsort(room, n, sizeof *room, compare);
        out->round[r] = quantile(room, n, 0.5);
        out->rate = fmax(out->rate, rate);
        out->quickest = r ? fmin(out->quickest, out->round[r]) : out->round[r];
    }
}

static int gather(bench *b, const worker *list, size_t count, bench_result *out)
{
    double begin = INFINITY, end = 0, sum = 0;
    size_t n = 0;
    *out = (bench_result){.streams = count};
    for (size_t i = 0; i < count; i++) {
        out->runs += list[i].count;
        begin = fmin(begin, list[i].begin);
        end = fmax(end, list[i].end);
    }
    if (out->runs == 0) return cli_fail(b->s, "no run was measured");
    double *all = malloc(out->runs * sizeof *all);
    if (!all) return cli_fail(b->s, "out of memory");
    take_rounds(list, count, all, out);
    for (size_t i = 0; i < count; i++) {
        if (list[i].count) memcpy(all + n, list[i].latency, list[i].count * sizeof *all);
        n += list[i].count;
    }
    qsort(all, n, sizeof *all, compare);
    for (size_t i = 0; i < n; i++) sum += all[i];
    out->wall = end - begin;
    out->least = all[0];
    out->median = quantile(all, n, 0.5);
    out->mean = sum / (double)n;
    out->p99 = quantile(all, n, 0.99);
    out->most = all[n - 1];
    free(all);
    return CLI_OK;
}

double bench_rate(const bench_result *r) { return (double)r->runs / r->wall; }

int bench_measure_then(bench *b, size_t streams, bench_result *out, bench_then then, void *user)
{
    worker *list = calloc(streams, sizeof *list);
    int code = list ? CLI_OK : cli_fail(b->s, "out of memory");
    for (size_t i = 0; code == CLI_OK && i < streams; i++) code = open_worker(b, &list[i], i == 0, streams == 1);
    if (code == CLI_OK) code = run_workers(b, list, streams);
    if (code == CLI_OK) code = gather(b, list, streams, out);
    if (code == CLI_OK && then) code = then(b, &list[0].runner, user);
    close_workers(list, streams);
    return code;
}

int bench_measure(bench *b, size_t streams, bench_result *out) { return bench_measure_then(b, streams, out, NULL, NULL); }
