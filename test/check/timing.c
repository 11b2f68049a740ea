/* SPDX-License-Identifier: Apache-2.0 */
/* --bench: the cases at their tuning points, every tactic in its preferred variant (all of them with --full or --tactic). A row
   is

       min us | median us | GFLOP/s | GB/s | share of peak | tactic | variant | problem

   The share is the better of flops against the measured peak and bytes against the measured bandwidth (of the caches when warm,
   of memory with --cold). Columns are stable: `./dev bench` pairs the rows of two programs by tactic, variant and problem. */
#include "tenoncheck.h"

#include "base/clock.h"
#include "run/load.h"

#include <stdlib.h>
#include <string.h>

enum { RUNS = 2000, LEAST_RUNS = 5 };
#define BUDGET 0.25

typedef struct bencher {
    tenon_cx *cx;
    const check_options *o;
    const tenon_backend *backend;
    tenon_device *device;
    int threads;
    tenon_device_peak peak;
    char *trash;
    size_t trash_bytes;
} bencher;

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void evict(bencher *b, int round)
{
    volatile char *p = b->trash;
    for (size_t i = 0; i < b->trash_bytes; i += 64) p[i] = (char)round;
}

static tenon_status time_bound(bencher *b, bound *step, double *least, double *median)
{
    static double seconds[RUNS];
    int n = 0;
    double spent = 0;
    for (int i = 0; i < 3; i++) TENON_TRY(bound_launch(step, 1));
    if (!b->backend->host_memory && !(step->t->tactic->flags & TENON_TACTIC_HOST)) { /* by the device's clock: no launching, no waiting */
        const tenon_launch one = {.tactic = step->t->tactic, .record = step->record.host};
        while (n < LEAST_RUNS)
            TENON_TRY(b->backend->time(b->cx, b->device, &one, 1, step->scratch_bytes, BUDGET / LEAST_RUNS, &seconds[n++]));
    }
    while (n < RUNS && (n < LEAST_RUNS || (spent > 0 && spent < BUDGET))) {
        if (b->o->cold) evict(b, n);
        const double begin = tenon_now();
        TENON_TRY(bound_launch(step, 1));
        seconds[n] = tenon_now() - begin;
        spent += seconds[n++];
    }
    qsort(seconds, (size_t)n, sizeof seconds[0], by_size);
    *least = seconds[0];
    *median = seconds[n / 2];
    return TENON_OK;
}

static void bench_one(bencher *b, const subject *s, const candidate *c)
{
    const trial t = {.cx = b->cx, .backend = b->backend, .device = b->device, .threads = b->threads, .tactic = c->tactic,
                     .variant = c->variant, .s = s};
    bound *step = tenon_alloc(b->cx, sizeof *step);
    double least, median, bytes = 0;
    char variant[128];
    if (!step) return;
    step->t = NULL;
    check_print_variant(&c->variant, variant, sizeof variant);
    if (bound_make(&t, step) != TENON_OK || time_bound(b, step, &least, &median) != TENON_OK) {
        printf("FAIL %s: %s: %s\n", c->tactic->name, s->problem->text, b->cx->message);
    } else {
        const double flops = tenon_problem_flops(s->problem, s->src, s->dst);
        for (int i = 0; i < s->problem->src_count; i++) bytes += (double)s->src_bytes[i];
        for (int i = 0; i < s->problem->dst_count; i++) bytes += (double)s->dst_bytes[i];
        const double bandwidth = b->o->cold ? b->peak.memory_bandwidth : b->peak.cache_bandwidth;
        const double share = TENON_MAX(flops / b->peak.flops[TENON_ARITHMETIC_F32], bytes / bandwidth) / least;
        printf("%11.2f %11.2f %9.2f %8.2f %6.1f%%  %-28s %-12s %s\n", least * 1e6, median * 1e6, flops / least * 1e-9,
               bytes / least * 1e-9,
               share * 100, c->tactic->name, variant, s->problem->text);
    }
    bound_free(step);
    tenon_free(b->cx, step);
}

static void bench_case(bencher *b, const check_case *c)
{
    tenon_arena arena;
    candidate take[256];
    subject s;
    int64_t symbol[TENON_PROBLEM_SYMBOLS] = {0};
    tenon_arena_init(&arena, b->cx);
    tenon_problem *p = tenon_arena_alloc(&arena, sizeof *p);
    if (!p || tenon_problem_parse(b->cx, &arena, c->text, p) != TENON_OK) {
        printf("FAIL %s: %s\n", c->text, b->cx->message);
    } else if (!problem_is_data_dependent(p)) {
        for (size_t i = 0; i < p->graph->dims->symbol_count && i < TENON_PROBLEM_SYMBOLS; i++) symbol[i] =
            p->graph->dims->symbol[i].opt;
        const size_t count = check_candidates(b->backend, b->device, p, tenon_device_have(b->backend, b->device), b->o->full || b->o->tactic
                                              ? MAX_VARIANTS : 1,
                                              take, TENON_COUNTOF(take), NULL, NULL);
        if (subject_make(b->cx, p, symbol, MODE_RANDOM, b->o->seed, false, &s) == TENON_OK)
            for (size_t i = 0; i < count; i++) {
                const bool reference = (take[i].tactic->flags & TENON_TACTIC_REFERENCE) != 0;
                if (b->o->tactic ? !strcmp(take[i].tactic->name, b->o->tactic) : !reference) bench_one(b, &s, &take[i]);
            }
        subject_free(&s);
    }
    tenon_arena_free(&arena);
}

int check_bench(tenon_cx *cx, const check_options *o, const tenon_backend *backend, const check_cases *cases)
{
    bencher b = {.cx = cx, .o = o, .backend = backend, .trash_bytes =
                 TENON_MAX(tenon_cpu()->l2_bytes * 4 + tenon_cpu()->l3_bytes, (size_t)16 << 20)};
    check_case own = {.file = "command line", .text = o->filter, .line = 1};
    const check_cases one = {.at = &own, .count = 1};
    bool is_problem = o->filter && strchr(o->filter, ':'); /* a whole one, when it is no part of a case */
    for (size_t i = 0; i < cases->count; i++) is_problem = is_problem && !check_case_matches(&cases->at[i], o->filter);
    b.trash_bytes = TENON_MIN(b.trash_bytes, (size_t)256 << 20);
    b.trash = tenon_alloc_zero(cx, b.trash_bytes);
    if (!b.trash || backend->open(cx, 0, o->threads, &b.device) != TENON_OK) {
        fprintf(stderr, "tenoncheck: %s\n", cx->message);
        return 1;
    }
    b.threads = backend->info(b.device)->threads;
    if (!backend->peak) {
        fprintf(stderr, "tenoncheck: %s has no peak to measure\n", backend->name);
        return 1;
    }
    if (backend->peak(cx, b.device, &b.peak) != TENON_OK) {
        fprintf(stderr, "tenoncheck: %s\n", cx->message);
        return 1;
    }
    printf("# %s; peak %.1f GFLOP/s, %.1f GB/s warm, %.1f GB/s cold; %s\n", backend->info(b.device)->name, b.peak.flops[TENON_ARITHMETIC_F32] * 1e-9,
           b.peak.cache_bandwidth * 1e-9, b.peak.memory_bandwidth * 1e-9, o->cold ? "cold caches" : "warm caches");
    printf("#    min us   median us   GFLOP/s     GB/s   share  tactic                       variant      problem\n");
    if (is_problem) cases = &one;
    for (size_t i = 0; i < cases->count; i++)
        if (is_problem || check_case_matches(&cases->at[i], o->filter)) bench_case(&b, &cases->at[i]);
    backend->close(&b.device);
    tenon_free(cx, b.trash);
    return 0;
}
