/* SPDX-License-Identifier: Apache-2.0 */
/* Every kernel that the CUDA tactics print compiles, by NVRTC, which needs no GPU: devices are offline ones. For each source text the
   first problem of cuda_cases.h that a tactic of it takes on a chip is compiled for that chip; every other problem in the first variant
   for Hopper (with --all: every variant). All processors compile. Also what an index space makes of formats. Exit 77 without NVRTC.

       test_cuda_source [--all] [FILTER]        FILTER: problems or tactics that hold it                                              */
#include "check.h"
#include "cuda_cases.h"

#include "base/clock.h"
#include "cuda/device_peak.h"
#include "cuda/index_space.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static const struct { int sm; const char *name; } arch[] = { /* names as device.c gives them */
    {75, "sm_75"}, {80, "sm_80"}, {86, "sm_86"}, {89, "sm_89"}, {90, "sm_90a"}, {100, "sm_100a"}, {120, "sm_120a"},
};
enum { ARCHS = TENON_COUNTOF(arch), HOPPER = 4, MOST_THREADS = 64, VARIANTS = 32, TACTICS = 256 };

typedef struct job {
    const tenon_tactic *tactic;
    const char *problem, *arch;
    tenon_kernel_source kernel;
    bool good;
    char why[TENON_MESSAGE_BYTES];
} job;

typedef struct jobs {
    tenon_cx *cx;
    tenon_arena arena;          /* of problems, plans and texts */
    const tenon_cuda_nvrtc *nvrtc;
    tenon_device *device[ARCHS];
    bool taken[ARCHS][TACTICS]; /* a problem reached its text there; by the first tactic of a text */
    job *job;
    size_t count, capacity;
    atomic_size_t next;
    bool all;
    const char *filter;
} jobs;

static void add_job(jobs *j, const tenon_tactic *t, const char *problem, const tenon_kernel_source *kernel, size_t a)
{
    void *grown = j->job;
    if (!CHECK_OK(j->cx, tenon_arena_grow(&j->arena, &grown, &j->capacity, j->count + 1, sizeof *j->job))) return;
    j->job = grown;
    j->job[j->count++] = (job){.tactic = t, .problem = problem, .arch = arch[a].name, .kernel = *kernel};
}

/* Plans one variant; true when the tactic takes the problem. Tactics without kernel text (the reference, libraries) give no job. */
static bool plan_variant(jobs *j, const tenon_tactic *t, const tenon_problem *p, const tenon_variant *v, size_t a, const char *text)
{
    tenon_tactic_plan plan = {0};
    tenon_reason reason;
    if (tenon_tactic_rejects(t, p, v, j->device[a], (unsigned)tenon_cuda_sm(j->device[a]), &reason)) return false;
    if (!CHECK_OK(j->cx, t->plan(j->cx, p, v, j->device[a], &plan))) return false;
    CHECK(plan.record_bytes > 0 && plan.record_bytes <= TENON_RECORD_MAX);
    for (int k = 0; k < plan.kernel_count; k++) add_job(j, t, text, &plan.kernel[k], a);
    return true;
}

/* The first tactic that has its text from the same source: families share one. */
static size_t family(size_t i)
{
    const char *source = tenon_cuda_tactics[i]->source_hash_of;
    for (size_t k = 0; source && k < i; k++)
        if (tenon_cuda_tactics[k]->source_hash_of && strcmp(tenon_cuda_tactics[k]->source_hash_of, source) == 0) return k;
    return i;
}

/* True when some tactic takes the problem. */
static bool plan_problem(jobs *j, const char *text, size_t a)
{
    tenon_problem *p = tenon_arena_alloc(&j->arena, sizeof *p);
    bool any = false;
    if (!p || !CHECK_OK(j->cx, tenon_problem_parse(j->cx, &j->arena, text, p))) return true;
    for (size_t i = 0; tenon_cuda_tactics[i]; i++) {
        const tenon_tactic *t = tenon_cuda_tactics[i];
        tenon_variant variant[VARIANTS] = {0};
        if (strcmp(t->pattern, p->pattern) != 0 || (a != HOPPER && j->taken[a][family(i)])) continue;
        const int count = t->variants ? t->variants(p, j->device[a], variant, VARIANTS) : 1;
        bool took = false;
        for (int v = 0; v < count && ((j->all && a == HOPPER) || !took); v++) took |= plan_variant(j, t, p, &variant[v], a, text);
        j->taken[a][family(i)] |= took;
        any |= took;
    }
    return any;
}

/* What the device is measured by; a chip without TF32 is not asked for it. */
static void add_peak(jobs *j, size_t a)
{
    static const tenon_tactic none = {.name = "cuda.peak"};
    for (int kind = 0; kind < TENON_CUDA_PEAK_KINDS; kind++) {
        const tenon_kernel_source source = tenon_cuda_peak_source(kind, 1 << 20, 2);
        if (kind != TENON_ARITHMETIC_TF32 || arch[a].sm >= 80) add_job(j, &none, "peak", &source, a);
    }
}

static void *compile(void *arg)
{
    jobs *j = arg;
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    for (size_t i; (i = atomic_fetch_add(&j->next, 1)) < j->count;) {
        job *w = &j->job[i];
        tenon_buf image;
        if (j->filter && !strstr(w->problem, j->filter) && !strstr(w->tactic->name, j->filter)) {
            w->good = true;
            continue;
        }
        tenon_buf_init(&image, &cx);
        w->good = tenon_cuda_compile(&cx, j->nvrtc, &w->kernel, w->arch, &image) == TENON_OK && image.length > 64 &&
                  memcmp(image.data, "\x7f" "ELF", 4) == 0;
        if (!w->good) snprintf(w->why, sizeof w->why, "%s", cx.message);
        tenon_buf_free(&image);
    }
    return NULL;
}

static void compile_all(jobs *j)
{
    pthread_t thread[MOST_THREADS];
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int count = 0;
    while (count < TENON_MIN(cpus, MOST_THREADS) && pthread_create(&thread[count], NULL, compile, j) == 0) count++;
    CHECK(count > 0);
    for (int i = 0; i < count; i++) pthread_join(thread[i], NULL);
    for (size_t i = 0; i < j->count; i++) {
        const job *w = &j->job[i];
        if (!w->good) fprintf(stderr, "%s: %s for %s: %s\n", w->problem, w->tactic->name, w->arch, w->why);
        CHECK(w->good);
    }
}

static void check_reached(const jobs *j)
{
    for (size_t i = 0; tenon_cuda_tactics[i]; i++) {
        const tenon_tactic *t = tenon_cuda_tactics[i];
        if (!t->source_hash_of || family(i) != i) continue; /* no text of ours, or looked at before */
        bool reached = false;
        for (size_t a = 0; a < ARCHS; a++) reached |= j->taken[a][i];
        if (!reached) fprintf(stderr, "%s: no problem of cuda_cases.h reaches it\n", t->source_hash_of);
        CHECK(reached);
    }
}

static void check_kernels(tenon_cx *cx, const tenon_cuda_nvrtc *nvrtc, bool all, const char *filter)
{
    jobs j = {.cx = cx, .nvrtc = nvrtc, .all = all, .filter = filter};
    const double start = tenon_now();
    tenon_arena_init(&j.arena, cx);
    for (size_t a = 0; a < ARCHS; a++) {
        if (!CHECK_OK(cx, tenon_backend_cuda.open(cx, -arch[a].sm, 0, &j.device[a]))) continue;
        for (size_t i = 0; i < TENON_COUNTOF(cuda_case); i++) {
            const bool any = plan_problem(&j, cuda_case[i], a) || a != HOPPER;
            if (!any) fprintf(stderr, "no tactic takes %s\n", cuda_case[i]);
            CHECK(any);
        }
    }
    for (size_t a = 0; a < ARCHS; a++) add_peak(&j, a);
    compile_all(&j);
    check_reached(&j);
    for (size_t a = 0; a < ARCHS; a++) tenon_backend_cuda.close(&j.device[a]);
    printf("%zu images by NVRTC %d.%d in %.1f s\n", j.count, nvrtc->major, nvrtc->minor, tenon_now() - start);
    tenon_arena_free(&j.arena);
}

/* A batch and its rows are one axis; a pitch, a transposed operand and a broadcast keep axes apart. */
static void check_spaces(tenon_cx *cx)
{
    static const struct { const char *text; int rank; } want[] = {
        {"add:f32,a[1..8]x4x64,(a)x4x64", 1}, {"add:f32,a[1..8]x4x64,64", 2}, {"add:f32,a[1..8]x4x64:ld80,(a)x4x64", 2},
        {"add:f32,4x8x1,4x1x1", 2}, {"add:f32,1x1,1x1", 0},
    };
    for (size_t i = 0; i < TENON_COUNTOF(want); i++) {
        tenon_arena arena;
        tenon_problem p;
        tenon_cuda_space s;
        tenon_arena_init(&arena, cx);
        if (CHECK_OK(cx, tenon_problem_parse(cx, &arena, want[i].text, &p))) {
            const tenon_type *y = &p.dst[0].value->type;
            tenon_cuda_space_init(&s, p.graph->dims, y->rank, y->dim, NULL);
            for (int k = 0; k < p.src_count; k++) (void)tenon_cuda_space_add(&s, &p.src[k].value->type, &p.src[k].format, NULL);
            (void)tenon_cuda_space_add(&s, y, &p.dst[0].format, NULL);
            CHECK(tenon_cuda_space_finish(&s, 0));
            if (s.rank != want[i].rank) fprintf(stderr, "%s: rank %d\n", want[i].text, s.rank);
            CHECK(s.rank == want[i].rank);
        }
        tenon_arena_free(&arena);
    }
}

int main(int argc, char **argv)
{
    tenon_cx cx;
    tenon_cuda_nvrtc nvrtc;
    const bool all = argc > 1 && strcmp(argv[1], "--all") == 0;
    tenon_cx_init_default(&cx);
    if (tenon_cuda_nvrtc_open(&cx, &nvrtc) != TENON_OK) {
        printf("SKIP: %s\n", cx.message);
        return 77;
    }
    check_spaces(&cx);
    check_kernels(&cx, &nvrtc, all, argc > 1 + all ? argv[1 + all] : NULL);
    return CHECK_END();
}
