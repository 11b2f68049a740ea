/* SPDX-License-Identifier: Apache-2.0 */
/* A race: launch lists that are bound on the device only to be timed against each other. It owns what its lists need
   (buffers, packed weights, launch records, kernels) and frees it whole. Lists that answer one question are raced: round by
   round each is timed once, so that what disturbs the machine disturbs all of them. Nothing here decides anything. */
#ifndef TENON_PLAN_RACE_H
#define TENON_PLAN_RACE_H

#include "op/tactic.h"

typedef struct tenon_race_pack { const tenon_problem *problem; tenon_pack pack; tenon_tensor tensor; } tenon_race_pack;

typedef struct tenon_race {
    tenon_cx *cx;
    const tenon_backend *backend;
    tenon_device *device;
    void **block; size_t block_count, block_capacity;    /* device memory */
    void **record; size_t record_count, record_capacity; /* host memory */
    void **kernel; size_t kernel_count, kernel_capacity;
    tenon_race_pack *pack; size_t pack_count, pack_capacity;
    void *workspace; size_t workspace_bytes;             /* the largest so far: lists and their steps run one after another */
} tenon_race;

/* One step to be bound. Tensors have dims and strides; those whose data is NULL get buffers of their own, but for sources that
   the tactic reads packed; packs without data are made with the sizes of the real ones and shared by the steps of one problem; a
   workspace is shared by all. */
typedef struct tenon_race_step {
    const tenon_problem *problem;
    const tenon_tactic *tactic;
    const tenon_variant *variant;
    const tenon_tactic_plan *plan;
    tenon_tensor *src, *dst;
    const tenon_tensor *src_most, *dst_most; /* dims at the upper end of the shapes it is made for */
    tenon_tensor pack[TENON_MAX_PACK];
    void *workspace;
} tenon_race_step;

typedef struct tenon_racer {
    const tenon_launch *step;
    size_t count, scratch_bytes;
    double expected;          /* seconds by the model; 0: none */
    double seconds, second;   /* the two lowest of its rounds: how far they lie apart is the noise that is left */
    int rounds;
    tenon_status failed;      /* why it did not even run once; TENON_OK: it did */
} tenon_racer;

#define TENON_RACE_NEVER 1e6 /* seconds of what failed */
void tenon_race_init(tenon_race *t, tenon_cx *cx, const tenon_backend *backend, tenon_device *device);
void tenon_race_free(tenon_race *t);
/* Device memory with harmless contents. */
tenon_status tenon_race_buffer(tenon_race *t, tenon_dtype dtype, size_t bytes, void **out);
tenon_status tenon_race_bind(tenon_race *t, tenon_race_step *s, tenon_launch *out);
/* One round of one list. What a library or the driver refuses at its first launch (TENON_UNSUPPORTED, TENON_DEVICE) is told in the log
   and has failed, with TENON_OK and a time that never wins. */
tenon_status tenon_race_time(tenon_race *t, tenon_racer *racer, double *out);
/* Times the lists until each that may still win is sure of its time: short ones more often. One that is surely slower than
   drop_at times the best goes on no further, nor one of which a first time and the model both say that it is far behind.
   At most about `budget` seconds, but two rounds of all. If every list fails, and not only because a library refused, the device
   is to blame: its message comes back. */
tenon_status tenon_race_run(tenon_race *t, tenon_racer *racer, size_t count, double drop_at, double budget);
/* Bytes that a tensor spans by its strides. */
size_t tenon_race_span(const tenon_tensor *x);

#endif
