/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon bench --sweep`: one engine at several batches and numbers of streams. tenon_bench_sweep.c measures, tenon_bench_knee.c
   says what the numbers mean, tenon_bench_points.c prints both. */
#ifndef TENON_TOOLS_SWEEP_H
#define TENON_TOOLS_SWEEP_H

#include "bench.h"

enum { SWEEP_PASSES = 2, SWEEP_BATCHES = 32, SWEEP_STREAMS = 16, SWEEP_LAYERS = 3 };
/* The knee is the smallest batch with this share of the best throughput of all batches, at the same number of streams. */
#define SWEEP_KNEE 0.9
/* Settings whose throughput is within this of the best one's are as good; the one with the least latency is then taken. */
#define SWEEP_TIE 0.97

/* Whatever else the machine does only adds time: latency and rate are those of the quickest round of all passes, p99 is of all
   runs. */
typedef struct sweep_point {
    int64_t batch;
    size_t streams, runs;
    double least, latency, p99, rate;
    double arithmetic, memory;   /* what operations and bytes would take at the peak, as a share of the time; below 0: unknown */
    bool knee;
} sweep_point;

/* Where the time goes: shares of a run at one batch. */
typedef enum { SWEEP_ARITHMETIC, SWEEP_MEMORY, SWEEP_LAUNCHES, SWEEP_CAUSES } sweep_cause;
typedef struct sweep_layer { char name[512]; double share, of_peak; sweep_cause cause; } sweep_layer;
typedef struct sweep_why {
    bool known;
    int64_t batch, low_batch;    /* explained; the other point of the fit, 0 where there is none */
    double latency;              /* of a run at `batch` */
    double fixed, low_fixed;     /* the part that every batch has: share at `batch` and at `low_batch` */
    double each;                 /* seconds that one more sample takes */
    double share[SWEEP_CAUSES];  /* of the run at `batch`; the sum is 1 */
    size_t steps, layer_count;
    sweep_layer layer[SWEEP_LAYERS]; /* the slowest of the greatest cause */
} sweep_why;

typedef struct sweep {
    bench *b;
    int64_t batch[SWEEP_BATCHES];
    size_t batch_count, stream_count;
    int64_t stream[SWEEP_STREAMS];
    bool sweeps_batch, is_batch[BENCH_INPUTS][TENON_MAX_RANK];
    bool built;                  /* from a model, here */
    int64_t tuned_for;           /* the batch of the one profile that was built; 0: a profile for each */
    sweep_point point[SWEEP_BATCHES * SWEEP_STREAMS];
    size_t point_count;
    bool has_peak;
    tenon_peak peak;
    char no_peak[256];
    sweep_why why;
    const sweep_point *best;     /* NULL: none keeps --max-latency */
    double max_latency;          /* 0: none */
} sweep;

double sweep_items(const sweep_point *p); /* samples a second */
/* Inputs of that batch, and of the profiles that hold it the one that was tuned nearest to it. */
int sweep_set_batch(sweep *w, int64_t batch);
sweep_point *sweep_find(sweep *w, int64_t batch, size_t streams);

/* ---- tenon_bench_knee.c ---- */
/* Seconds that the work takes at the peak. */
void sweep_bounds(const sweep *w, const tenon_step_work *work, double *arithmetic, double *memory);
void sweep_mark_knees(sweep *w);
void sweep_choose_best(sweep *w);
int sweep_explain(sweep *w);
/* The knee of the fewest streams. */
const sweep_point *sweep_knee(const sweep *w);

/* ---- tenon_bench_points.c ---- */
int sweep_print(sweep *w);
int sweep_print_json(sweep *w);

#endif
