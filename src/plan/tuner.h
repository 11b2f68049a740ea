/* SPDX-License-Identifier: Apache-2.0 */
/* The tuner answers one question: which tactic does this problem best on this device, and how long does it take. It asks every
   tactic whether it can (and keeps the reasons of those that cannot), measures those that can, and remembers by problem text;
   what was measured is in the timing cache, so that with the same cache the same answers come out. With timing off it uses the
   cost model. */
#ifndef TENON_PLAN_TUNER_H
#define TENON_PLAN_TUNER_H

#include "op/tactic.h"
#include "plan/cache.h"

typedef struct tenon_rejected { const tenon_tactic *tactic; const char *why; } tenon_rejected;
/* seconds: by the model where not timed. */
typedef struct tenon_timed { const tenon_tactic *tactic; tenon_variant variant; double seconds; bool timed; } tenon_timed;

/* The answer for one problem text; lives as long as the tuner. */
typedef struct tenon_choice {
    const char *text;
    const tenon_tactic *tactic;
    tenon_variant variant;
    tenon_tactic_plan plan;
    double seconds;
    bool timed;              /* measured (now or in the cache), not modelled */
    bool host;               /* a tactic of tenon_backend_host, between copies: none of the device's own can */
    double flops, bytes;
    const tenon_rejected *rejected; size_t rejected_count;
    const tenon_timed *tried;       size_t tried_count;
} tenon_choice;

typedef struct tenon_tuner tenon_tuner;

typedef struct tenon_tuner_options {
    bool timed, tf32;            /* tf32: TENON_TACTIC_TF32 is permitted */
    int level;                   /* 0..5: how many variants are tried */
    size_t workspace_bytes;      /* limit; tactics that need more are rejected, with that reason */
    double budget_seconds;       /* a candidate */
    int host_threads;            /* of steps that run on the host; 0: all cores */
} tenon_tuner_options;

/* No tactic of the device itself does it: a run waits there, or is slow. */
static inline bool tenon_choice_is_gap(const tenon_choice *c)
{
    return c->host || (c->tactic->flags & TENON_TACTIC_REFERENCE);
}

/* cache may be NULL (a private one is then kept). The device must be open. */
tenon_status tenon_tuner_create(tenon_cx *cx, tenon_arena *arena, const tenon_backend *backend, tenon_device *device,
                                tenon_timing_cache *cache, const tenon_tuner_options *options, tenon_tuner **out);
void tenon_tuner_destroy(tenon_tuner **tuner);
/* The best choice, by the clock. A problem that no tactic of the device does gets the host's best, and where that is a reference
   too, the device's reference, with modelled time (slow). */
tenon_status tenon_tuner_choose(tenon_tuner *tuner, const tenon_problem *problem, const tenon_choice **out);
/* The same by the model alone: for pruning. */
tenon_status tenon_tuner_estimate(tenon_tuner *tuner, const tenon_problem *problem, const tenon_choice **out);
/* Has the kernels that measuring these problems needs compiled, all at the same time; no answer depends on it. */
tenon_status tenon_tuner_prepare(tenon_tuner *tuner, const tenon_problem *const *problem, size_t count);
/* A step of a list that is compared with another list: src and dst, in the problem's order, say which steps hand a value on. */
typedef struct tenon_lineup_step {
    const tenon_problem *problem;
    const tenon_choice *choice;
    const void *const *src, *const *dst;
} tenon_lineup_step;
typedef struct tenon_lineup { const tenon_lineup_step *step; int count; } tenon_lineup;
/* Seconds of two ways to compute the same, each as one launch list, measured in the same rounds. The sums of the choices' seconds
   where something was not timed, or where they lie so far apart that it does not matter. */
tenon_status tenon_tuner_compare(tenon_tuner *tuner, const tenon_lineup way[2], double seconds[2]);
/* Another candidate that was tried for the problem, as a choice. */
tenon_status tenon_tuner_other(tenon_tuner *tuner, const tenon_problem *problem, const tenon_choice *of, size_t tried,
                               const tenon_choice **out);
/* Times of other things than problems, by a text without tabs, for a choice. keep: *seconds becomes what will be found. */
bool tenon_tuner_find(const tenon_tuner *tuner, const char *what, const tenon_choice *choice, double *seconds);
tenon_status tenon_tuner_keep(tenon_tuner *tuner, const char *what, const tenon_choice *choice, double *seconds);
/* Of text, tactic, variant and code of a choice. */
uint64_t tenon_tuner_hash(const tenon_tuner *tuner, const tenon_choice *choice, uint64_t seed);
/* Seconds for trying choices in the whole engine: a share of what timing took, by level; 0: not at all. */
double tenon_tuner_whole_budget(const tenon_tuner *tuner);
size_t tenon_tuner_measured(const tenon_tuner *tuner); /* how many launches lists were timed */
int tenon_tuner_host_threads(const tenon_tuner *tuner); /* that steps on the host were chosen for; 0: none was asked for */

#endif
