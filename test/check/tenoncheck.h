/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of tenoncheck share. The way of a check: cases.c reads the problems, walk.c goes through case x tactic x
   variant x symbols x mode x threads in child processes (a crash or a hang ends the child, is one failure, and the walk goes on
   behind it), subject.c fills the sources and asks the reference, trial.c runs one tactic on guarded buffers and judges it.
   tables.c, listing.c and timing.c walk the same cases. */
#ifndef TENON_TEST_TENONCHECK_H
#define TENON_TEST_TENONCHECK_H

#include "base/isa.h"
#include "op/eval.h"
#include "op/tactic.h"

#include <stdio.h>

typedef enum { MODE_RANDOM, MODE_DENORMAL, MODE_NONFINITE, MODE_EXTREME, MODE_ZERO, MODE_COUNT } check_mode;
extern const char *const check_mode_name[MODE_COUNT];

typedef struct check_options {
    bool full, quick, noalloc, list, tables, bench, cold;
    const char *problem, *tactic, *variant, *isa, *mode, *symbols, *backend, *filter;
    uint64_t seed;
    int threads; /* 0: 1, 2 and 3 */
    int jobs;
} check_options;

typedef struct check_counts { long passed, failed, skipped; } check_counts;

/* ---- cases.c ---- */
typedef struct check_case { const char *file, *text; int line; } check_case;
typedef struct check_cases { check_case *at; size_t count, capacity; } check_cases;
/* A row of unsupported_*.txt (what: operator) or xfail_*.txt (what: tactic, problem). */
typedef struct check_row { const char *what, *problem, *why; } check_row;
typedef struct check_rows { check_row *at; size_t count, capacity; } check_rows;
tenon_status check_cases_read(tenon_cx *cx, tenon_arena *arena, check_cases *out);
tenon_status check_rows_read(tenon_cx *cx, tenon_arena *arena, const char *list, const char *backend, bool with_problem,
                             check_rows *out);
/* FILTER of the command line: "all", part of a text, or part of a file name. */
bool check_case_matches(const check_case *c, const char *filter);

/* ---- buffer.c: memory with a trap behind it and canaries around it ---- */
typedef struct buffer {
    const char *name;
    int index;
    uint8_t *map, *host;
    size_t map_bytes, bytes;
    void *device; /* == host where the backend's memory is the host's */
    tenon_device *owner;
    const tenon_backend *backend;
} buffer;
/* The end touches the trap page as closely as `align` permits when `tight`; else it starts at a multiple of 64. */
tenon_status buffer_make(tenon_cx *cx, const tenon_backend *backend, tenon_device *device, const char *name, int index,
                         size_t bytes, size_t align, bool tight, buffer *out);
void buffer_free(buffer *b);
tenon_status buffer_push(tenon_cx *cx, const buffer *b); /* host to device */
tenon_status buffer_pull(tenon_cx *cx, const buffer *b);
bool buffer_intact(const buffer *b);                     /* canaries; after a pull */
/* Which buffer lies around an address that trapped: "12 bytes behind the end of dst 0". */
void buffer_describe(const void *address, char *out, size_t bytes);

/* ---- memory_watch.c ---- */
void memory_watch_begin(void);
long memory_watch_end(void); /* allocations by any thread since begin */
void memory_watch_allocator(tenon_allocator *out);

/* ---- subject.c: a problem at one place of its range with filled sources and the reference's answer ---- */
typedef struct subject {
    tenon_cx *cx;
    const tenon_problem *problem;
    int64_t symbol[TENON_PROBLEM_SYMBOLS];
    check_mode mode;
    uint64_t seed;
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST], want[TENON_PROBLEM_DST];
    tenon_tensor flushed[TENON_PROBLEM_DST]; /* of DENORMAL: the same with denormals flushed to zero */
    void *src_block[TENON_PROBLEM_SRC];
    size_t src_bytes[TENON_PROBLEM_SRC], dst_bytes[TENON_PROBLEM_DST];
    tenon_heap heap;
    double tolerance; /* relative to the scale of the result */
} subject;
tenon_status subject_make(tenon_cx *cx, const tenon_problem *p, const int64_t *symbol, check_mode mode, uint64_t seed,
                          bool reference,
                          subject *out);
void subject_free(subject *s);
double subject_tolerance(const tenon_problem *p);
double smallest_normal(tenon_dtype t);
bool problem_is_data_dependent(const tenon_problem *p);
bool mode_applies(const tenon_problem *p, check_mode mode);

/* ---- trial.c: one tactic on one subject ---- */
typedef struct trial {
    tenon_cx *cx;
    const tenon_backend *backend;
    tenon_device *device;
    int threads;
    const tenon_tactic *tactic;
    tenon_variant variant;
    const subject *s;
    bool tight, only_alloc;
    bool impossible; /* out: a library cannot make the kernel, which is known no earlier; nothing was run */
} trial;
/* False with what went wrong. */
bool trial_run(trial *t, char *why, size_t why_bytes);

/* A step ready to launch, for the bench as well. */
typedef struct bound {
    const trial *t;
    tenon_tactic_plan plan;
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST], pack[TENON_MAX_PACK];
    buffer src_buffer[TENON_PROBLEM_SRC], dst_buffer[TENON_PROBLEM_DST], pack_buffer[TENON_MAX_PACK], workspace, scratch, record,
        shape;
    void *kernel[TENON_MAX_KERNELS];
    size_t scratch_bytes;
    long allocations;
    bool impossible;
} bound;
tenon_status bound_make(const trial *t, bound *b);
tenon_status bound_launch(bound *b, int times); /* one list of so many equal steps, and waits */
void bound_free(bound *b);

/* ---- walk.c, listing.c, tables.c, timing.c ---- */
enum { MAX_VARIANTS = 64 };
typedef struct candidate { const tenon_tactic *tactic; tenon_variant variant; int index; } candidate;
/* Tactics and variants that take the problem. `why` (NULL: not wanted): reason by place in the backend's table. */
size_t check_candidates(const tenon_backend *backend, const tenon_device *device, const tenon_problem *p, unsigned have,
                        size_t max_variants,
                        candidate *out, size_t max, const char **why, tenon_arena *arena);
void check_walk(tenon_cx *cx, const check_options *o, const tenon_backend *backend, const check_cases *cases,
                check_counts *counts);
void check_tables(tenon_cx *cx, const tenon_backend *const *backends, const check_cases *cases, check_counts *counts);
void check_listing(tenon_cx *cx, const check_options *o, const tenon_backend *backend, const check_cases *cases);
int check_bench(tenon_cx *cx, const check_options *o, const tenon_backend *backend, const check_cases *cases);
tenon_status check_parse_variant(tenon_cx *cx, const char *text, tenon_variant *out);
void check_print_variant(const tenon_variant *v, char *out, size_t bytes);

#endif
