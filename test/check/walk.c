/* SPDX-License-Identifier: Apache-2.0 */
/* Case x tactic x variant x symbols x mode x threads. The walk runs in child processes, each with every jobs-th case; what it
   is at stands in shared memory, so when a child traps or hangs the parent reports that one run, and a new child goes on behind
   it. */
#include "tenoncheck.h"

#include "run/load.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

enum { MAX_XFAIL = 256, MAX_CANDIDATES = 256, MAX_JOBS = 8, MAX_REPORTS = 3, MAX_REPORTED = 64, RUN_SECONDS = 120 };
/* What the references take some tenths of a second for is left to --full. */
#define QUICK_FLOPS 1.2e7
/* What has more is run at its tuning point, with random numbers and one team alone, in --full; beyond the second limit in the
   bench. */
#define FULL_FLOPS 3e8
/* Where all three team sizes are tried. */
#define TEAMS_FLOPS 1e6

/* The whole product of cases, pitches, places, modes, variants and team sizes would take hours. --full runs all that stands on one of
   these axes alone, each from the usual point of the others: every variant of every tactic for every case, every pitch, place and
   mode. Of what is off in several axes at once it runs a sample drawn by the seed: another seed, another sample. Numbers: one in
   so many. */
enum { FULL_PITCHED_MODE = 2, FULL_PLACED_MODE = 1, FULL_OTHER_VARIANT = 2, FULL_LARGE_VARIANT = 1 };

/* Between a child and its parent. */
typedef struct shared {
    check_counts counts;
    long left_to_full;
    uint64_t run;            /* ordinal of the run that is going on; a new child begins behind it */
    bool running, trapped;
    char repro[8192], where[160], tactic[64], problem[4096];
    bool xfail_ran[MAX_XFAIL], xfail_failed[MAX_XFAIL];
} shared;

typedef struct walk {
    tenon_cx *cx;
    const check_options *o;
    const tenon_backend *backend;
    const check_cases *cases;
    check_rows xfail;
    shared *sh;
    int shard, shards;
    uint64_t resume;         /* runs up to this one were done by earlier children */
    uint64_t ordinal;
    tenon_device *device[4]; /* by thread count */
    const char *tag;         /* of the problem that is walked: what REPRO prints */
    const tenon_tactic *reported[MAX_REPORTED]; /* of this case, so that one mistake does not fill the screen */
    int reports[MAX_REPORTED];
} walk;

static shared *trap_shared;

static void on_trap(int number, siginfo_t *info, void *context)
{
    (void)context;
    char where[120];
    buffer_describe(info->si_addr, where, sizeof where);
    snprintf(trap_shared->where, sizeof trap_shared->where, "%s at %s",
             number == SIGSEGV ? "SIGSEGV" : number == SIGBUS ? "SIGBUS" : number == SIGILL ? "SIGILL" : "SIGFPE", where);
    trap_shared->trapped = true;
    _exit(99);
}

static void catch_traps(shared *sh)
{
    trap_shared = sh;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    static char stack[65536];
    const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&alternative, NULL);
    const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    for (size_t i = 0; i < TENON_COUNTOF(numbers); i++) sigaction(numbers[i], &action, NULL);
#else
    (void)on_trap; /* the sanitizer tells more */
#endif
}

/* ---- variants ---- */
void check_print_variant(const tenon_variant *v, char *out, size_t bytes)
{
    int last = 7;
    size_t n = 0;
    while (last > 0 && v->p[last] == 0) last--;
    for (int i = 0; i <= last; i++) n += (size_t)snprintf(out + n, bytes - n, "%s%d", i ? "," : "", v->p[i]);
}

tenon_status check_parse_variant(tenon_cx *cx, const char *text, tenon_variant *out)
{
    *out = (tenon_variant){{0}};
    for (int i = 0; *text && i < 8; i++) {
        char *end;
        out->p[i] = (int32_t)strtol(text, &end, 10);
        if (end == text || (*end && *end != ',')) return TENON_FAIL(cx, TENON_INVALID,
                                                                    "--variant wants numbers with ',' between");
        text = *end ? end + 1 : end;
    }
    return TENON_OK;
}

size_t check_candidates(const tenon_backend *backend, const tenon_device *device, const tenon_problem *p, unsigned have,
                        size_t max_variants,
                        candidate *out, size_t max, const char **why, tenon_arena *arena)
{
    size_t count = 0;
    for (size_t i = 0; backend->tactics[i]; i++) {
        const tenon_tactic *t = backend->tactics[i];
        tenon_variant v[MAX_VARIANTS] = {{{0}}};
        tenon_reason reason;
        const char *no = tenon_tactic_rejects(t, p, &v[0], device, have, &reason);
        const bool other = strcmp(t->pattern, "*") && strcmp(t->pattern, p->pattern);
        const int variants = other || (no && !t->variants) ? 0 : t->variants ? t->variants(p, device, v, MAX_VARIANTS) : 1;
        size_t taken = 0;
        for (int k = 0; k < variants && taken < max_variants && count < max; k++) {
            const char *again = tenon_tactic_rejects(t, p, &v[k], device, have, &reason);
            if (again) no = again;
            else out[count++] = (candidate){t, v[k], k}, taken++;
        }
        if (why) why[i] = taken ? NULL : no ? tenon_arena_strdup(arena, no) : "it has no variant for this problem";
    }
    return count;
}

/* ---- one run ---- */
static int xfail_of(const walk *w, const char *tactic, const char *problem)
{
    for (size_t i = 0; i < w->xfail.count && i < MAX_XFAIL; i++)
        if (!strcmp(w->xfail.at[i].what, tactic) && !strcmp(w->xfail.at[i].problem, problem)) return (int)i;
    return -1;
}

static void note_result(const walk *w, const char *tactic, const char *problem, bool ok, const char *why, const char *repro)
{
    const int x = xfail_of(w, tactic, problem);
    if (x >= 0) w->sh->xfail_ran[x] = true;
    if (ok) {
        w->sh->counts.passed++;
        return;
    }
    if (x >= 0) {
        if (!w->sh->xfail_failed[x]) printf("XFAIL %s: %s: %s (%s)\n", tactic, problem, why, w->xfail.at[x].why);
        w->sh->xfail_failed[x] = true;
        w->sh->counts.skipped++;
    } else {
        w->sh->counts.failed++;
        printf("FAIL %s: %s\nREPRO: %s\n", tactic, why, repro);
    }
    fflush(stdout);
}

static tenon_status device_of(walk *w, int threads, tenon_device **out)
{
    if (!w->device[threads]) TENON_TRY(w->backend->open(w->cx, 0, threads, &w->device[threads]));
    *out = w->device[threads];
    return TENON_OK;
}

static void write_repro(const walk *w, const tenon_tactic *tactic, const tenon_variant *v, const int64_t *symbol, size_t symbols,
                        check_mode mode,
                        int threads, char *out, size_t bytes)
{
    char variant[128], isa[64], values[256] = "";
    size_t n = 0;
    check_print_variant(v, variant, sizeof variant);
    const unsigned have = tenon_cpu()->isa;
    snprintf(isa, sizeof isa, "%s", have & TENON_ISA_AVX512 ? "avx512" : have & TENON_ISA_AVX2 ? "avx2" : "scalar");
    for (size_t i = 0; i < symbols && n + 24 < sizeof values; i++)
        n += (size_t)snprintf(values + n, sizeof values - n, "%s%lld", i ? "," : " --symbols ", (long long)symbol[i]);
    snprintf(out, bytes, "tenoncheck --problem '%s' --tactic %s --variant %s --seed %llu --isa %s --threads %d --mode %s%s%s%s",
             w->tag, tactic->name,
             variant, (unsigned long long)w->o->seed, isa, threads, check_mode_name[mode], values,
             strcmp(w->backend->name, "cpu") ? " --device " : "", strcmp(w->backend->name, "cpu") ? w->backend->name : "");
}

/* A problem at one place of its range in one mode; filled when the first run needs it. */
typedef struct place {
    const tenon_problem *p;
    int64_t symbol[TENON_PROBLEM_SYMBOLS];
    check_mode mode;
    subject s;
    bool made, failed;
} place;

static bool place_ready(walk *w, place *at)
{
    if (at->made || at->failed) return at->made;
    const uint64_t seed = XXH3_64bits_withSeed(w->tag, strlen(w->tag), w->o->seed) + (uint64_t)at->mode;
    if (subject_make(w->cx, at->p, at->symbol, at->mode, seed, !w->o->noalloc, &at->s) == TENON_OK) return at->made = true;
    at->failed = true;
    w->sh->counts.failed++;
    printf("FAIL %s: the reference: %s\nREPRO: tenoncheck --problem '%s' --seed %llu --mode %s\n", w->tag, w->cx->message, w->tag,
           (unsigned long long)w->o->seed, check_mode_name[at->mode]);
    subject_free(&at->s);
    return false;
}

static int *reports_of(walk *w, const tenon_tactic *t)
{
    for (int i = 0; i < MAX_REPORTED; i++) {
        if (w->reported[i] && w->reported[i] != t) continue;
        w->reported[i] = t;
        return &w->reports[i];
    }
    return &w->reports[MAX_REPORTED - 1];
}

static void one_run(walk *w, place *at, const candidate *c, int threads)
{
    char why[TENON_MESSAGE_BYTES + 64];
    int *reports = reports_of(w, c->tactic);
    const uint64_t ordinal = ++w->ordinal;
    if (ordinal <= w->resume || *reports >= MAX_REPORTS) return;
    w->sh->run = ordinal;
    write_repro(w, c->tactic, &c->variant, at->symbol, at->p->graph->dims->symbol_count, at->mode, threads, w->sh->repro,
                sizeof w->sh->repro);
    snprintf(w->sh->tactic, sizeof w->sh->tactic, "%s", c->tactic->name);
    snprintf(w->sh->problem, sizeof w->sh->problem, "%s", w->tag);
    w->sh->running = true;
    alarm(RUN_SECONDS);
    trial t = {.cx = w->cx, .backend = w->backend, .threads = threads, .tactic = c->tactic, .variant = c->variant, .s = &at->s,
               .tight = at->mode != MODE_ZERO, .only_alloc = w->o->noalloc};
    bool ok = true;
    if (place_ready(w, at)) {
        if (device_of(w, threads, &t.device) != TENON_OK) {
            ok = false;
            snprintf(why, sizeof why, "%s", w->cx->message);
        } else {
            ok = trial_run(&t, why, sizeof why);
        }
        if (t.impossible) w->sh->counts.skipped++;
        else note_result(w, c->tactic->name, w->tag, ok, why, w->sh->repro);
    }
    *reports += !ok;
    alarm(0);
    w->sh->running = false;
}

/* ---- what of the product is run ---- */
static int64_t odd_inside(const tenon_dim_symbol *s)
{
    const int64_t d = TENON_MAX(s->divisor, 1), lo = (s->lo + d - 1) / d, hi = s->hi / d;
    int64_t v = lo + (hi - lo) * 2 / 3;
    if (v % 2 == 0 && v < hi) v++;
    return v * d;
}

static size_t symbol_places(const tenon_problem *p, int64_t out[4][TENON_PROBLEM_SYMBOLS])
{
    const tenon_dim_pool *pool = p->graph->dims;
    size_t count = 0;
    memset(out, 0, sizeof(int64_t[4][TENON_PROBLEM_SYMBOLS]));
    for (int k = 0; k < 4; k++) {
        bool seen = false;
        for (size_t i = 0; i < pool->symbol_count && i < TENON_PROBLEM_SYMBOLS; i++) {
            const tenon_dim_symbol *s = &pool->symbol[i];
            out[count][i] = k == 0 ? s->opt : k == 1 ? s->lo : k == 2 ? s->hi : odd_inside(s);
        }
        for (size_t i = 0; i < count; i++) seen = seen || !memcmp(out[i], out[count], sizeof out[i]);
        count += !seen;
    }
    return count;
}

static bool parse_symbols(const char *text, int64_t *out)
{
    for (int i = 0; *text && i < TENON_PROBLEM_SYMBOLS; i++) {
        char *end;
        out[i] = strtoll(text, &end, 10);
        if (end == text || (*end && *end != ',')) return false;
        text = *end ? end + 1 : end;
    }
    return true;
}

static double flops_at(walk *w, const tenon_problem *p, const int64_t *symbol)
{
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST];
    if (tenon_problem_shapes(w->cx, p, symbol, src, dst) != TENON_OK) return 0;
    double elements = 0;
    for (int i = 0; i < p->src_count; i++) elements += (double)tenon_tensor_count(&src[i]);
    for (int i = 0; i < p->dst_count; i++) elements += (double)tenon_tensor_count(&dst[i]);
    return TENON_MAX(tenon_problem_flops(p, src, dst), elements * 10);
}

/* Whether the seed draws this one, of which one in `one_in` is drawn. */
static bool drawn(const walk *w, const char *axis, uint64_t number, uint64_t one_in)
{
    const uint64_t text = XXH3_64bits_withSeed(w->tag, strlen(w->tag), w->o->seed);
    return XXH3_64bits_withSeed(axis, strlen(axis), text + number) % one_in == 0;
}

/* All three team sizes where it is cheap or the whole product is asked for, else one by turns. */
static int thread_counts(const walk *w, uint64_t turn, bool all, int *out)
{
    if (w->o->threads) return out[0] = w->o->threads, 1;
    if (!w->backend->host_memory) return out[0] = 1, 1;
    if (all) return out[0] = 1, out[1] = 2, out[2] = 3, 3;
    return out[0] = 1 + (int)(turn % 3), 1;
}

/* usual: the case as it is written, at its tuning point, with random numbers: every variant is tried there unless it is large. */
static bool variant_wanted(const walk *w, const place *at, const candidate *c, size_t index, bool usual, bool large)
{
    const bool first = index == 0 || c[index - 1].tactic != c[index].tactic;
    if (!w->o->full || w->o->problem || first || (usual && !large)) return true;
    return drawn(w, "variant", index * MODE_COUNT + (uint64_t)at->mode, usual ? FULL_LARGE_VARIANT : FULL_OTHER_VARIANT);
}

static void walk_place(walk *w, place *at, const candidate *c, size_t count, bool rich, bool usual, bool large)
{
    for (size_t i = 0; i < count; i++) {
        int threads[3];
        if (!variant_wanted(w, at, c, i, usual, large)) continue;
        if (at->mode == MODE_NONFINITE && (c[i].tactic->flags & TENON_TACTIC_FINITE)) continue;
        const bool reference = (c[i].tactic->flags & TENON_TACTIC_REFERENCE) != 0;
        const int n = thread_counts(w, i + at->p->hash + (uint64_t)at->mode, rich && !reference, threads);
        for (int k = 0; k < n; k++) one_run(w, at, &c[i], threads[k]);
    }
    if (at->made) subject_free(&at->s);
    at->made = at->failed = false;
}

static bool mode_wanted(const walk *w, const tenon_problem *p, check_mode mode, size_t place_index, bool main_text)
{
    if (w->o->mode) return !strcmp(w->o->mode, check_mode_name[mode]);
    if (w->o->noalloc || (!main_text && !w->o->full)) return mode == MODE_RANDOM;
    if (!mode_applies(p, mode)) return false;
    if (mode == MODE_RANDOM || (place_index == 0 && main_text)) return true;
    if (!w->o->full) return false;
    return drawn(w, "mode", place_index * MODE_COUNT + (uint64_t)mode, main_text ? FULL_PLACED_MODE : FULL_PITCHED_MODE);
}

/* Data-dependent results have no size to bind to: the reference runs twice and must agree with itself and with the problem's
   types. */
static void walk_data_dependent(walk *w, const tenon_problem *p)
{
    int64_t symbol[TENON_PROBLEM_SYMBOLS] = {0};
    subject a, b;
    const char *why = NULL;
    if (++w->ordinal <= w->resume) return;
    w->sh->run = w->ordinal;
    snprintf(w->sh->repro, sizeof w->sh->repro, "tenoncheck --problem '%s' --seed %llu", w->tag, (unsigned long long)w->o->seed);
    w->sh->running = true;
    for (size_t i = 0; i < p->graph->dims->symbol_count && i < TENON_PROBLEM_SYMBOLS; i++) symbol[i] =
        p->graph->dims->symbol[i].opt;
    const tenon_status sa = subject_make(w->cx, p, symbol, MODE_RANDOM, w->o->seed, true, &a);
    const tenon_status sb = subject_make(w->cx, p, symbol, MODE_RANDOM, w->o->seed, true, &b);
    if (sa != TENON_OK || sb != TENON_OK) why = w->cx->message;
    for (int i = 0; !why && i < p->dst_count; i++) {
        const tenon_tensor *x = &a.want[i], *y = &b.want[i];
        const tenon_type *t = &p->dst[i].value->type;
        if (x->dtype != t->dtype || x->rank != t->rank || x->rank != y->rank || memcmp(x->dim, y->dim,
                                                                                       sizeof x->dim[0] * (size_t)x->rank))
            why = "the result's type is not the problem's";
        for (int k = 0; !why && k < x->rank; k++)
            if (x->dim[k] < t->dim[k]->lo || x->dim[k] > t->dim[k]->hi) why =
                "the result's size is outside the bounds of its type";
        for (int64_t k = 0; !why && k < tenon_tensor_count(x); k++)
            if (memcmp((char *)x->data + (size_t)k * tenon_dtype_bytes(x->dtype, 1),
                       (char *)y->data + (size_t)k * tenon_dtype_bytes(y->dtype, 1),
                       tenon_dtype_bytes(x->dtype, 1)))
                why = "a second run gives other bits";
    }
    note_result(w, "reference", w->tag, !why, why, w->sh->repro);
    subject_free(&a);
    subject_free(&b);
    w->sh->running = false;
}

static size_t wanted_candidates(walk *w, const tenon_problem *p, candidate *c)
{
    tenon_device *device;
    if (device_of(w, 1, &device) != TENON_OK) return 0;
    size_t count = check_candidates(w->backend, device, p, tenon_device_have(w->backend, device), w->o->full || w->o->tactic ? MAX_VARIANTS : 3, c,
                                    MAX_CANDIDATES, NULL, NULL);
    if (!w->o->tactic) return count;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!strcmp(c[i].tactic->name, w->o->tactic)) c[kept++] = c[i];
    if (kept && w->o->variant) {
        tenon_variant v;
        if (check_parse_variant(w->cx, w->o->variant, &v) != TENON_OK) return 0;
        for (size_t i = 0; i < kept; i++)
            if (!memcmp(&c[i].variant, &v, sizeof v)) return c[0] = c[i], 1;
        c[0].variant = v;
        kept = 1;
    }
    return kept;
}

static void walk_problem(walk *w, const tenon_problem *p, bool main_text)
{
    candidate c[MAX_CANDIDATES];
    int64_t symbol[4][TENON_PROBLEM_SYMBOLS];
    w->tag = p->text;
    if (problem_is_data_dependent(p)) {
        walk_data_dependent(w, p);
        return;
    }
    const size_t count = wanted_candidates(w, p, c);
    size_t places = symbol_places(p, symbol);
    if (w->o->symbols && parse_symbols(w->o->symbols, symbol[0])) places = 1;
    const bool only_reference = count == 1 && (c[0].tactic->flags & TENON_TACTIC_REFERENCE);
    if (!main_text && only_reference) return;
    for (size_t k = 0; k < places && count; k++) {
        const double flops = flops_at(w, p, symbol[k]);
        if (!w->o->problem && flops > (w->o->full ? FULL_FLOPS : QUICK_FLOPS)) {
            if (w->resume < w->ordinal + 1) w->sh->left_to_full++;
            continue;
        }
        for (int mode = 0; mode < MODE_COUNT; mode++) {
            if (!mode_wanted(w, p, (check_mode)mode, k, main_text) || (only_reference && mode != MODE_RANDOM &&
                                                                       !w->o->full)) continue;
            if (flops > QUICK_FLOPS && !w->o->problem && (mode != MODE_RANDOM || k > 0 || !main_text)) continue;
            place at = {.p = p, .mode = (check_mode)mode};
            memcpy(at.symbol, symbol[k], sizeof at.symbol);
            const bool usual = mode == MODE_RANDOM && k == 0 && main_text;
            walk_place(w, &at, c, count, w->o->problem || (usual && flops < TEAMS_FLOPS), usual, flops > QUICK_FLOPS);
        }
    }
}

/* The same problem with pitches that are no multiple of anything, where its formats have room for one. */
static bool add_pitches(tenon_operand *o, int count)
{
    bool any = false;
    for (int i = 0; i < count; i++) {
        const tenon_type *t = &o[i].value->type;
        uint8_t order[TENON_MAX_RANK];
        if (o[i].format.ld || o[i].format.weight || o[i].format.layout == TENON_STRIDED || t->rank < 2 ||
            tenon_dtype_get(t->dtype)->bits < 8)
            continue;
        tenon_format_order(&o[i].format, t->rank, order);
        o[i].format.ld = t->dim[order[t->rank - 1]]->hi + 3 + 2 * i;
        o[i].format.inner = 0;
        any = true;
    }
    return any;
}

/* Which operands get a pitch: all, the sources, the results, the first source alone. */
static void walk_pitched(walk *w, const char *text, int which)
{
    tenon_arena arena;
    tenon_problem *p;
    tenon_arena_init(&arena, w->cx);
    if ((p = tenon_arena_alloc(&arena, sizeof *p)) && tenon_problem_parse(w->cx, &arena, text, p) == TENON_OK &&
        !problem_is_data_dependent(p)) {
        bool any = which != 2 && add_pitches(p->src, which == 3 ? TENON_MIN(p->src_count, 1) : p->src_count);
        any = (which != 1 && which != 3 && add_pitches(p->dst, p->dst_count)) || any;
        if (any && tenon_problem_finish(w->cx, p) == TENON_OK) walk_problem(w, p, false);
    }
    tenon_arena_free(&arena);
}

static void walk_case(walk *w, const check_case *c)
{
    tenon_arena arena;
    tenon_arena_init(&arena, w->cx);
    memset(w->reported, 0, sizeof w->reported);
    memset(w->reports, 0, sizeof w->reports);
    tenon_problem *p = tenon_arena_alloc(&arena, sizeof *p);
    if (!p || tenon_problem_parse(w->cx, &arena, c->text, p) != TENON_OK) {
        if (++w->ordinal > w->resume) {
            w->sh->counts.failed++;
            printf("FAIL %s:%d: %s: %s\n", c->file, c->line, c->text, w->cx->message);
        }
    } else {
        walk_problem(w, p, true);
        if (!w->o->problem)
            for (int which = 0; which < (w->o->full ? 4 : 1); which++) walk_pitched(w, c->text, which);
    }
    tenon_arena_free(&arena);
}

/* ---- processes ---- */
static void child_main(walk *w)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no walk without its parent */
    catch_traps(w->sh);
    for (size_t i = (size_t)w->shard; i < w->cases->count; i += (size_t)w->shards)
        if (check_case_matches(&w->cases->at[i], w->o->filter)) walk_case(w, &w->cases->at[i]);
    for (size_t i = 0; i < TENON_COUNTOF(w->device); i++)
        if (w->device[i]) w->backend->close(&w->device[i]);
    fflush(stdout);
    _exit(0);
}

static pid_t start(walk *w)
{
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) child_main(w);
    return pid;
}

/* True when the child must be followed by another. */
static bool ended(walk *w, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return false;
    char why[256];
    if (w->sh->trapped) snprintf(why, sizeof why, "%s", w->sh->where);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) snprintf(why, sizeof why, "did not end within %d s",
                                                                          RUN_SECONDS);
    else if (WIFSIGNALED(status)) snprintf(why, sizeof why, "ended by %s", strsignal(WTERMSIG(status)));
    else snprintf(why, sizeof why, "ended the process with status %d", WEXITSTATUS(status));
    w->sh->trapped = false;
    if (!w->sh->running) {
        w->sh->counts.failed++;
        printf("FAIL the walk itself (behind run %llu): %s\n", (unsigned long long)w->sh->run, why);
        return false;
    }
    note_result(w, w->sh->tactic, w->sh->problem, false, why, w->sh->repro);
    w->sh->running = false;
    w->resume = w->sh->run;
    return true;
}

static void unexpected_passes(const walk *all, int jobs, check_counts *counts)
{
    for (size_t i = 0; i < all[0].xfail.count && i < MAX_XFAIL; i++) {
        bool ran = false, failed = false;
        for (int k = 0; k < jobs; k++) ran = ran || all[k].sh->xfail_ran[i], failed = failed || all[k].sh->xfail_failed[i];
        if (!ran || failed) continue;
        counts->failed++;
        printf("FAIL unexpected pass: %s: %s is in the xfail list (%s)\n", all[0].xfail.at[i].what, all[0].xfail.at[i].problem,
               all[0].xfail.at[i].why);
    }
}

static void absent_tactics(const walk *w, check_counts *counts)
{
    char missing[128];
    const unsigned have = tenon_device_have(w->backend, NULL);
    for (size_t i = 0; w->backend->tactics[i] && w->backend->host_memory; i++) {
        const tenon_tactic *t = w->backend->tactics[i];
        if (!(t->need & ~have)) continue;
        tenon_isa_names(t->need & ~have, missing, sizeof missing);
        printf("SKIP %s: needs %s, which this run does not have\n", t->name, missing);
        counts->skipped++;
    }
}

void check_walk(tenon_cx *cx, const check_options *o, const tenon_backend *backend, const check_cases *cases,
                check_counts *counts)
{
    tenon_arena arena;
    walk all[MAX_JOBS];
    pid_t pid[MAX_JOBS];
    const int jobs = TENON_MIN(TENON_MAX(o->jobs, 1), MAX_JOBS);
    long left = 0;
    tenon_arena_init(&arena, cx);
    check_rows xfail;
    if (check_rows_read(cx, &arena, "xfail", backend->name, true, &xfail) != TENON_OK) {
        printf("FAIL %s\n", cx->message);
        counts->failed++;
        return;
    }
    for (int i = 0; i < jobs; i++) {
        all[i] = (walk){.cx = cx, .o = o, .backend = backend, .cases = cases, .xfail = xfail, .shard = i, .shards = jobs};
        all[i].sh = mmap(NULL, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        pid[i] = start(&all[i]);
    }
    for (int running = jobs; running > 0;) {
        int status;
        const pid_t who = wait(&status);
        if (who < 0 && errno != EINTR) break;
        for (int i = 0; i < jobs; i++) {
            if (pid[i] != who) continue;
            if (ended(&all[i], status)) pid[i] = start(&all[i]);
            else running--;
        }
    }
    for (int i = 0; i < jobs; i++) {
        counts->passed += all[i].sh->counts.passed, counts->failed += all[i].sh->counts.failed,
            counts->skipped += all[i].sh->counts.skipped;
        left += all[i].sh->left_to_full;
    }
    unexpected_passes(all, jobs, counts);
    if (!o->tactic) absent_tactics(&all[0], counts);
    if (left) printf("%ld large problems are left to %s\n", left, o->full ? "--bench and --problem" : "--full");
    for (int i = 0; i < jobs; i++) munmap(all[i].sh, sizeof(shared));
    tenon_arena_free(&arena);
}
