/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `tenon bench` share: a target with its inputs (bench_inputs), runs of it on so many streams (bench_runs), and
   what is made of that: one report, a comparison with an earlier one, a sweep, a table of several programs. */
#ifndef TENON_TOOLS_BENCH_H
#define TENON_TOOLS_BENCH_H

#include "npy.h"
#include "target.h"

#include <jansson.h>

enum { BENCH_INPUTS = 64, BENCH_STREAMS = 256, BENCH_ROUNDS = 10, BENCH_PROFILED = 20 };

/* runs -1: until the seconds are over, and at least `least` runs */
typedef struct bench_limits { int64_t runs, warmup, least; double seconds; } bench_limits;

/* Seconds. Rounds are consecutive parts of the runs, so that a disturbance of the machine falls on some of them. */
typedef struct bench_result {
    size_t runs, streams, round_count;
    double wall, least, median, mean, p99, most, round[BENCH_ROUNDS]; /* round: median of each */
    double quickest, rate;       /* the least of these medians; runs a second of the round that had most */
} bench_result;

typedef struct bench {
    cli_session *s;
    const cli_args *args;
    const char *path;
    tenon_engine *engine;
    tenon_host_tensor input[BENCH_INPUTS];
    size_t input_count;
    int profile;
    bench_limits limits;
    size_t streams;
} bench;

/* ---- tenon_bench_inputs.c ---- */
/* The --shape options as ranges; `ranges` false refuses those that are not one shape. */
int bench_take_shapes(bench *b, bool ranges, cli_range *out, size_t *count);
/* Loads the engine, or builds the model for the shapes given. */
int bench_open_target(bench *b);
/* Makes up inputs of the shapes given, else of what the profile was tuned for, and chooses the profile. */
int bench_take_inputs(bench *b);
/* The same for these shapes, one an input, NULL for what --shape or the profile says. */
int bench_set_input(bench *b, size_t index, const int64_t *dim);
void bench_free(bench *b);
int64_t bench_leading(const bench *b); /* first dimension of the first input, which counts items; 1 if there is none */

/* ---- tenon_bench_runs.c ---- */
int bench_measure(bench *b, size_t streams, bench_result *out);
/* The same, and `then` is called with a runner that has run; NULL: nothing. */
typedef int (*bench_then)(bench *b, cli_runner *runner, void *user);
int bench_measure_then(bench *b, size_t streams, bench_result *out, bench_then then, void *user);
double bench_rate(const bench_result *r);    /* runs a second */

/* ---- tenon_bench_steps.c ---- */
/* The steps of the engine's profile as inspect gives them. */
int bench_steps(bench *b, json_t **out);
/* The least seconds of each step over some profiled runs; `seconds` has room for all. */
int bench_profile(bench *b, cli_runner *runner, size_t count, double *seconds);
int bench_work(bench *b, cli_runner *runner, size_t count, tenon_step_work *out);
/* The work of as many steps as there are; *out is the caller's to free, whatever comes back. */
int bench_work_of_steps(bench *b, cli_runner *runner, size_t *count, tenon_step_work **out);
int bench_print_steps(bench *b, const json_t *steps, const double *seconds);
json_t *bench_steps_json(const json_t *steps, const double *seconds);

/* ---- tenon_bench_report.c ---- */
json_t *bench_json(bench *b, const bench_result *r); /* NULL: told */
int bench_print_json(bench *b, json_t *take_json);
void bench_print_text(const bench *b, const bench_result *r);

/* ---- tenon_bench_against.c ---- */
/* Compares with the baseline of --against; measures again while it looks too slow. `r` becomes the best of what was measured.
   Gives CLI_OK, CLI_SLOWER, or CLI_FAILED for what cannot be compared. *note is made for the report. */
int bench_against(bench *b, bench_result *r, json_t **note);
void bench_print_against(const json_t *note);

/* ---- tenon_bench_sweep.c, tenon_bench_table.c ---- */
int bench_sweep(bench *b);
int bench_table(bench *b);

#endif
