/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing a tactic for a problem. Candidates are pruned by the cost model (only those within a factor of the best estimate are
   measured), measured on filled buffers, and the answer is kept by problem text. The reference is never measured: it is
   taken when nothing else can, with a modelled time that makes every alternative preferable. */
#include "plan/tuner.h"

#include "base/checked.h"
#include "base/clock.h"
#include "plan/race.h"
#include "run/load.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_VARIANTS = 32, MAX_TRIED = 96 };
/* The references run at some 50 MFLOP/s: an estimate that never wins. */
#define REFERENCE_FLOPS 5e7
/* What turned out to be impossible when its kernel was made; kept like a time, so that nobody tries again. */
#define IMPOSSIBLE TENON_RACE_NEVER
/* Times that differ by less are the same; a candidate that is surely slower by this factor goes on no further. */
#define SAME 1.03
#define CLEARLY 1.25
/* Two ways are not compared anew where the sums of their times differ by this factor. */
#define FAR 2.0

typedef struct known { uint64_t hash; const char *text; const tenon_choice *measured, *estimated; } known;

struct tenon_tuner {
    tenon_cx *cx;
    tenon_arena *arena;
    const tenon_backend *backend;
    tenon_device *device;
    tenon_timing_cache *cache, *owned_cache;
    tenon_tuner_options options;
    known *known; size_t known_count, known_capacity;
    size_t measured;
    double seconds; /* spent on measuring */
    tenon_tuner *host; /* of the CPU beside a device, for what no tactic of the device does; made when first asked */
};

tenon_status tenon_tuner_create(tenon_cx *cx, tenon_arena *arena, const tenon_backend *backend, tenon_device *device,
                                tenon_timing_cache *cache, const tenon_tuner_options *options, tenon_tuner **out)
{
    *out = NULL;
    tenon_tuner *t = tenon_arena_alloc(arena, sizeof *t);
    if (!t) return TENON_NOMEM;
    *t = (tenon_tuner){.cx = cx, .arena = arena, .backend = backend, .device = device, .cache = cache, .options = *options};
    if (!cache) {
        TENON_TRY(tenon_timing_cache_create(cx, NULL, 0, &t->owned_cache));
        t->cache = t->owned_cache;
    }
    *out = t;
    return TENON_OK;
}

void tenon_tuner_destroy(tenon_tuner **tuner)
{
    tenon_tuner *t = tuner ? *tuner : NULL;
    if (!t) return;
    if (t->host) t->host->backend->close(&t->host->device);
    tenon_timing_cache_destroy(&t->owned_cache);
    *tuner = NULL;
}

size_t tenon_tuner_measured(const tenon_tuner *tuner) { return tuner->measured; }

int tenon_tuner_host_threads(const tenon_tuner *tuner)
{
    return tuner->host ? tuner->host->backend->info(tuner->host->device)->threads : 0;
}

/* ---- the cost model ---- */
static double tensor_bytes(const tenon_tensor *t)
{
    return (double)tenon_tensor_count(t) * tenon_dtype_get(t->dtype)->bits / 8;
}

typedef struct sized {
    const tenon_problem *problem;
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST];           /* at the tuning point */
    tenon_tensor src_most[TENON_PROBLEM_SRC], dst_most[TENON_PROBLEM_DST]; /* at the upper end of the shapes */
    double flops, bytes;
} sized;

static tenon_status size_up(tenon_tuner *t, const tenon_problem *p, sized *out)
{
    const tenon_dim_pool *pool = p->graph->dims;
    int64_t opt[64], most[64];
    if (pool->symbol_count > TENON_COUNTOF(opt))
        return TENON_FAIL(t->cx, TENON_UNSUPPORTED, "problem with %zu symbols", pool->symbol_count);
    for (size_t i = 0; i < pool->symbol_count; i++) {
        opt[i] = pool->symbol[i].opt;
        most[i] = pool->symbol[i].hi < TENON_DIM_HUGE ? pool->symbol[i].hi : opt[i];
    }
    out->problem = p;
    TENON_TRY(tenon_problem_shapes(t->cx, p, opt, out->src, out->dst));
    TENON_TRY(tenon_problem_shapes(t->cx, p, most, out->src_most, out->dst_most));
    out->flops = tenon_problem_flops(p, out->src, out->dst);
    out->bytes = 0;
    for (int i = 0; i < p->src_count; i++) out->bytes += tensor_bytes(&out->src[i]);
    for (int i = 0; i < p->dst_count; i++) out->bytes += tensor_bytes(&out->dst[i]);
    return TENON_OK;
}

static double model(const tenon_tuner *t, const tenon_tactic *tactic, const tenon_variant *v, const sized *s)
{
    const tenon_device_info *info = t->backend->info(t->device);
    if (tactic->flags & TENON_TACTIC_REFERENCE) return 1e-4 + (s->flops + s->bytes * 8) / REFERENCE_FLOPS;
    const double compute = s->flops / info->peak_flops, memory = s->bytes / info->bandwidth;
    const double seconds = tactic->cost ? tactic->cost(s->problem, v, t->device, s->src, s->dst)
                                        : info->step_seconds + TENON_MAX(compute, memory);
    return t->backend->step_cost ? t->backend->step_cost(t->device, s->problem, s->src, s->dst, seconds) : seconds;
}

/* ---- keys of the timing cache ---- */
static const char *code_hash(const tenon_backend *backend)
{
    for (const tenon_code_hash *k = tenon_code_hashes; k->backend; k++)
        if (strcmp(k->backend, backend->name) == 0) return k->hash;
    return "";
}

/* What the time depends on besides problem and variant: the code of the backend as it was built, and the text of the kernels. */
static uint64_t source_hash(const tenon_tuner *t, const tenon_tactic_plan *plan)
{
    const char *code = code_hash(t->backend);
    uint64_t hash = XXH3_64bits(code, strlen(code));
    for (int i = 0; i < plan->kernel_count; i++) {
        const tenon_kernel_source *k = &plan->kernel[i];
        hash = XXH3_64bits_withSeed(k->source, strlen(k->source), hash);
        hash = XXH3_64bits_withSeed(k->options, strlen(k->options), hash);
        hash = XXH3_64bits_withSeed(k->entry, strlen(k->entry), hash);
    }
    return hash;
}

typedef struct timing_key { const char *fingerprint, *problem; char tactic[160]; tenon_variant variant; } timing_key;

static timing_key key_of(const tenon_tuner *t, const char *problem, const tenon_tactic *tactic, const tenon_variant *v,
                         const tenon_tactic_plan *plan)
{
    timing_key k = {.fingerprint = t->backend->info(t->device)->fingerprint, .problem = problem, .variant = *v};
    snprintf(k.tactic, sizeof k.tactic, "%.120s@%016" PRIx64, tactic->name, source_hash(t, plan));
    return k;
}

static bool find_time(const tenon_tuner *t, const timing_key *k, double *seconds)
{
    return tenon_cache_find(t->cache, k->fingerprint, k->problem, k->tactic, &k->variant, seconds);
}

/* *seconds becomes what the cache holds, which is what a later build will find. */
static tenon_status keep_time(tenon_tuner *t, const timing_key *k, double *seconds)
{
    TENON_TRY(tenon_cache_add(t->cx, t->cache, k->fingerprint, k->problem, k->tactic, &k->variant, *seconds));
    return find_time(t, k, seconds) ? TENON_OK : TENON_FAIL(t->cx, TENON_INTERNAL, "timing cache lost an entry");
}

/* ---- choosing ---- */
typedef struct candidate {
    const tenon_tactic *tactic;
    tenon_variant variant;
    tenon_tactic_plan plan;
    double estimate, seconds;
    bool timed;
} candidate;

typedef struct collection {
    candidate *c; size_t count;
    tenon_rejected *rejected; size_t rejected_count;
    bool quiet; /* only to prepare: it is asked again, and told then */
} collection;

static tenon_status reject_with(tenon_tuner *t, collection *col, const tenon_tactic *tactic, const char *why, const char *text)
{
    if (col->quiet) return TENON_OK;
    const char *copy = tenon_arena_strdup(t->arena, why);
    if (!copy) return TENON_NOMEM;
    col->rejected[col->rejected_count++] = (tenon_rejected){tactic, copy};
    tenon_log(t->cx, TENON_VERBOSE, TENON_TOPIC_REJECT, "%s: %s: %s", text, tactic->name, why);
    return TENON_OK;
}

static int variant_limit(int level) { return level <= 1 ? 1 : level == 2 ? 3 : level == 3 ? 8 : level == 4 ? 16 : MAX_VARIANTS; }

/* The one of the candidates that is the same code with vectors: plain C beside it never wins, and takes the longest to time. Between two
   sets of vector instructions only the clock decides: the wider is not always faster where channels are few. */
static const tenon_tactic *with_vectors(const tenon_tuner *t, const tenon_tactic *tactic, const collection *col)
{
    const char *isa = strrchr(tactic->name, '_');
    if (!t->backend->host_memory || tactic->need || !isa) return NULL;
    const size_t family = (size_t)(isa - tactic->name) + 1;
    for (size_t i = 0; i < col->count; i++) {
        const tenon_tactic *other = col->c[i].tactic;
        if (other->need && strncmp(other->name, tactic->name, family) == 0 && !strchr(other->name + family, '_')) return other;
    }
    return NULL;
}

static tenon_status collect_tactic(tenon_tuner *t, const sized *s, const tenon_tactic *tactic, collection *col)
{
    const tenon_problem *p = s->problem;
    tenon_variant variant[MAX_VARIANTS] = {0};
    tenon_reason reason;
    const unsigned have = tenon_device_have(t->backend, t->device);
    const char *why = strcmp(tactic->pattern, "*") && strcmp(tactic->pattern, p->pattern) ? "another pattern"
                      : (tactic->need & ~have) && t->backend->host_memory              ? "the CPU lacks the instructions"
                      : (tactic->flags & TENON_TACTIC_TF32) && !t->options.tf32        ? "TF32 is not permitted"
                                                                                       : NULL;
    if (why) return strcmp(why, "another pattern") ? reject_with(t, col, tactic, why, p->text) : TENON_OK;
    if (with_vectors(t, tactic, col)) return reject_with(t, col, tactic, "the same is there with vector instructions", p->text);
    const int count = tactic->variants ? tactic->variants(p, t->device, variant, variant_limit(t->options.level)) : 1;
    int accepted = 0;
    for (int i = 0; i < count && col->count < MAX_TRIED; i++) {
        const char *no = tenon_tactic_rejects(tactic, p, &variant[i], t->device, have, &reason);
        if (no) {
            why = no == reason.text ? tenon_arena_strdup(t->arena, no) : no;
            continue;
        }
        candidate *c = &col->c[col->count];
        *c = (candidate){.tactic = tactic, .variant = variant[i]};
        TENON_TRY(tactic->plan(t->cx, p, &variant[i], t->device, &c->plan));
        if (c->plan.workspace_bytes > t->options.workspace_bytes) {
            char text[96];
            snprintf(text, sizeof text, "needs %zu bytes of workspace, %zu are permitted", c->plan.workspace_bytes,
                     t->options.workspace_bytes);
            why = tenon_arena_strdup(t->arena, text);
            continue;
        }
        c->estimate = model(t, tactic, &variant[i], s) * (1 + 1e-3 * i); /* ties: the tactic's own order */
        col->count++;
        accepted++;
    }
    if (!accepted) return reject_with(t, col, tactic, why ? why : "no variant fits", p->text);
    return TENON_OK;
}

/* The kernels of all of them at once: one after another they would take longer than the measuring. */
static tenon_status prepare_kernels(tenon_tuner *t, candidate *const *list, size_t count)
{
    const tenon_kernel_source *source[MAX_TRIED * TENON_MAX_KERNELS];
    size_t sources = 0;
    if (!t->backend->kernel_prepare) return TENON_OK;
    for (size_t i = 0; i < count; i++)
        for (int k = 0; k < list[i]->plan.kernel_count; k++) source[sources++] = &list[i]->plan.kernel[k];
    return t->backend->kernel_prepare(t->cx, t->device, source, sources);
}

/* All candidates that are to be measured, on the same operands. */
static tenon_status race(tenon_tuner *t, const sized *s, candidate *const *list, size_t count)
{
    tenon_race trial;
    tenon_launch launch[MAX_TRIED];
    tenon_racer racer[MAX_TRIED];
    candidate *runner[MAX_TRIED];
    size_t runners = 0;
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST];
    tenon_status status = TENON_OK, failure = TENON_OK;
    const double start = tenon_now();
    memcpy(src, s->src, sizeof src);
    memcpy(dst, s->dst, sizeof dst);
    for (int i = 0; i < s->problem->src_count; i++) tenon_format_strides(&s->problem->src[i].format, &src[i]);
    for (int i = 0; i < s->problem->dst_count; i++) tenon_format_strides(&s->problem->dst[i].format, &dst[i]);
    TENON_TRY(prepare_kernels(t, list, count));
    tenon_race_init(&trial, t->cx, t->backend, t->device);
    for (size_t i = 0; i < count && status == TENON_OK; i++) {
        const candidate *c = list[i];
        tenon_race_step step = {.problem = s->problem, .tactic = c->tactic, .variant = &c->variant, .plan = &c->plan,
                                 .src = src, .dst = dst, .src_most = s->src_most, .dst_most = s->dst_most};
        status = tenon_race_bind(&trial, &step, &launch[runners]);
        if (status == TENON_UNSUPPORTED || status == TENON_DEVICE) { /* a library's plan that cannot be made: nobody knew before */
            failure = status == TENON_DEVICE ? status : failure;
            tenon_log(t->cx, status == TENON_DEVICE ? TENON_WARNING : TENON_VERBOSE, TENON_TOPIC_REJECT, "%s: %s: %s", s->problem->text,
                      c->tactic->name, t->cx->message);
            list[i]->seconds = IMPOSSIBLE;
            status = TENON_OK;
            continue;
        }
        racer[runners] = (tenon_racer){.step = &launch[runners],
                                       .count = 1,
                                       .scratch_bytes = tenon_round_up(c->plan.scratch_bytes, 64),
                                       .expected = c->estimate};
        runner[runners++] = list[i];
    }
    if (status == TENON_OK && !runners) status = failure; /* the device's fault: its message is the last */
    if (status == TENON_OK) status = tenon_race_run(&trial, racer, runners, CLEARLY, t->options.budget_seconds * (double)runners);
    for (size_t i = 0; i < runners && status == TENON_OK; i++) runner[i]->seconds = racer[i].seconds;
    tenon_race_free(&trial);
    t->measured += runners;
    t->seconds += tenon_now() - start;
    return status;
}

/* Takes the times that are known; `list` is of what is worth measuring and is not. */
static size_t unknown_candidates(tenon_tuner *t, const sized *s, collection *col, candidate **list)
{
    double best = 1e30;
    size_t real = 0, count = 0;
    for (size_t i = 0; i < col->count; i++) {
        best = TENON_MIN(best, col->c[i].estimate);
        real += !(col->c[i].tactic->flags & TENON_TACTIC_REFERENCE);
        col->c[i].seconds = col->c[i].estimate;
    }
    for (size_t i = 0; i < col->count && t->options.timed; i++) {
        candidate *c = &col->c[i];
        if (c->tactic->flags & TENON_TACTIC_REFERENCE) continue;
        const timing_key key = key_of(t, s->problem->text, c->tactic, &c->variant, &c->plan);
        const bool known = find_time(t, &key, &c->seconds);
        c->timed = known && c->seconds < IMPOSSIBLE;
        /* a model is not exact: only what it puts far behind is not measured */
        if (!known && (c->estimate <= 8 * best || real == 1)) list[count++] = c;
    }
    return count;
}

static tenon_status time_candidates(tenon_tuner *t, const sized *s, collection *col)
{
    candidate *list[MAX_TRIED];
    const size_t count = unknown_candidates(t, s, col, list);
    if (count) TENON_TRY(race(t, s, list, count));
    for (size_t i = 0; i < count; i++) {
        candidate *c = list[i];
        const timing_key key = key_of(t, s->problem->text, c->tactic, &c->variant, &c->plan);
        TENON_TRY(keep_time(t, &key, &c->seconds));
        c->timed = c->seconds < IMPOSSIBLE;
        if (!c->timed) continue;
        tenon_log(t->cx, TENON_VERBOSE, TENON_TOPIC_TIME, "%s: %s[%d,%d,%d,%d] %.2f us", s->problem->text, c->tactic->name,
                  c->variant.p[0], c->variant.p[1], c->variant.p[2], c->variant.p[3], c->seconds * 1e6);
    }
    return TENON_OK;
}

/* The fastest; of those that are as fast but for noise, the one that the model prefers. Where anything was measured, what was not
   does not count. */
static const candidate *best_of(const collection *col)
{
    bool timed = false;
    double least = 1e30;
    for (size_t i = 0; i < col->count; i++) timed |= col->c[i].timed;
    for (size_t i = 0; i < col->count; i++)
        if (col->c[i].timed == timed) least = TENON_MIN(least, col->c[i].seconds);
    const candidate *best = NULL;
    for (size_t i = 0; i < col->count; i++) {
        const candidate *c = &col->c[i];
        if (c->timed != timed || c->seconds > (timed ? least * SAME : least)) continue;
        if (!best || c->estimate < best->estimate) best = c;
    }
    return best;
}

/* A choice outlives the problem that it was made for. */
static tenon_status own_plan(tenon_tuner *t, tenon_tactic_plan *plan)
{
    for (int i = 0; i < plan->kernel_count; i++)
        if (!(plan->kernel[i].source = tenon_arena_strdup(t->arena, plan->kernel[i].source))) return TENON_NOMEM;
    plan->own = NULL;
    return TENON_OK;
}

static tenon_status decide(tenon_tuner *t, const sized *s, const char *text, collection *col, const tenon_choice **out)
{
    if (!col->count)
        return TENON_FAIL(t->cx, TENON_INTERNAL, "no tactic at all for %s: the backend '%s' has no reference", s->problem->text,
                          t->backend->name);
    const candidate *best = best_of(col);
    tenon_choice *choice = tenon_arena_alloc(t->arena, sizeof *choice);
    tenon_timed *tried = tenon_arena_array(t->arena, col->count, sizeof *tried);
    tenon_rejected *rejected = tenon_arena_array(t->arena, col->rejected_count + 1, sizeof *rejected);
    if (!choice || !tried || !rejected) return TENON_NOMEM;
    for (size_t i = 0; i < col->count; i++)
        tried[i] = (tenon_timed){col->c[i].tactic, col->c[i].variant, col->c[i].seconds, col->c[i].timed};
    memcpy(rejected, col->rejected, col->rejected_count * sizeof *rejected);
    tenon_tactic_plan plan = best->plan;
    TENON_TRY(own_plan(t, &plan));
    *choice = (tenon_choice){.text = text,
                             .tactic = best->tactic,
                             .variant = best->variant,
                             .plan = plan,
                             .seconds = best->seconds,
                             .timed = best->timed,
                             .flops = s->flops,
                             .bytes = s->bytes,
                             .rejected = rejected,
                             .rejected_count = col->rejected_count,
                             .tried = tried,
                             .tried_count = col->count};
    *out = choice;
    return TENON_OK;
}

/* What can do the problem, and why the others cannot. Freed by drop, whatever the status. */
static tenon_status collect(tenon_tuner *t, const sized *s, collection *col)
{
    size_t tactics = 0;
    while (t->backend->tactics[tactics]) tactics++;
    col->c = tenon_alloc(t->cx, (MAX_TRIED + MAX_VARIANTS) * sizeof *col->c);
    col->rejected = tenon_alloc(t->cx, (tactics + 1) * sizeof *col->rejected);
    if (!col->c || !col->rejected) return TENON_NOMEM;
    for (size_t i = 0; i < tactics; i++) TENON_TRY(collect_tactic(t, s, t->backend->tactics[i], col));
    return TENON_OK;
}

static void drop(tenon_tuner *t, collection *col)
{
    tenon_free(t->cx, col->c);
    tenon_free(t->cx, col->rejected);
}

static tenon_status consider(tenon_tuner *t, const tenon_problem *p, const char *text, bool timed, const tenon_choice **out)
{
    sized s;
    TENON_TRY(size_up(t, p, &s));
    collection col = {0};
    const bool want_timing = t->options.timed;
    t->options.timed = timed && want_timing;
    tenon_status status = collect(t, &s, &col);
    if (status == TENON_OK) status = time_candidates(t, &s, &col);
    if (status == TENON_OK) status = decide(t, &s, text, &col, out);
    drop(t, &col);
    t->options.timed = want_timing;
    return status;
}

/* ---- on the host ---- */
static tenon_status answer(tenon_tuner *tuner, const tenon_problem *problem, bool timed, const tenon_choice **out);

static tenon_status need_host(tenon_tuner *t)
{
    tenon_device *device;
    if (t->host) return TENON_OK;
    TENON_TRY(tenon_backend_host->open(t->cx, 0, t->options.host_threads, &device));
    const tenon_status status = tenon_tuner_create(t->cx, t->arena, tenon_backend_host, device, t->cache, &t->options, &t->host);
    if (status != TENON_OK) tenon_backend_host->close(&device);
    return status;
}

/* The device waits for the copies and the host, and the host for the device (PCIe 4.0; made-up round numbers). */
static double copies_seconds(double bytes) { return 50e-6 + bytes / 12e9; }

/* The CPU's best in the place of the device's reference. Its workspace and scratch are the context's own, on the host. */
static tenon_status prefer_host(tenon_tuner *t, const tenon_problem *p, bool timed, const tenon_choice **out)
{
    const tenon_choice *found;
    TENON_TRY(need_host(t));
    TENON_TRY(answer(t->host, p, timed, &found));
    if (found->tactic->flags & TENON_TACTIC_REFERENCE) return TENON_OK;
    tenon_choice *c = tenon_arena_alloc(t->arena, sizeof *c);
    if (!c) return TENON_NOMEM;
    *c = *found;
    c->host = true;
    c->text = (*out)->text;
    c->seconds += copies_seconds(c->bytes);
    c->plan.workspace_bytes = c->plan.scratch_bytes = 0;
    c->rejected = (*out)->rejected; /* what the device's own tactics said */
    c->rejected_count = (*out)->rejected_count;
    *out = c;
    return TENON_OK;
}

static tenon_status lookup(tenon_tuner *t, const tenon_problem *p, known **out)
{
    for (size_t i = 0; i < t->known_count; i++)
        if (t->known[i].hash == p->hash && strcmp(t->known[i].text, p->text) == 0) {
            *out = &t->known[i];
            return TENON_OK;
        }
    void *array = t->known;
    TENON_TRY(tenon_arena_grow(t->arena, &array, &t->known_capacity, t->known_count + 1, sizeof *t->known));
    t->known = array;
    const char *text = tenon_arena_strdup(t->arena, p->text); /* the problem's own goes with its profile's arena */
    if (!text) return TENON_NOMEM;
    t->known[t->known_count] = (known){.hash = p->hash, .text = text};
    *out = &t->known[t->known_count++];
    return TENON_OK;
}

static tenon_status answer(tenon_tuner *tuner, const tenon_problem *problem, bool timed, const tenon_choice **out)
{
    known *k;
    TENON_TRY(lookup(tuner, problem, &k));
    const tenon_choice **slot = timed && tuner->options.timed ? &k->measured : &k->estimated;
    if (!*slot) {
        const size_t at = (size_t)(k - tuner->known);
        const tenon_choice *choice;
        TENON_TRY(consider(tuner, problem, k->text, timed, &choice));
        if (!tuner->backend->host_memory && tenon_choice_is_gap(choice)) TENON_TRY(prefer_host(tuner, problem, timed, &choice));
        k = &tuner->known[at];
        slot = timed && tuner->options.timed ? &k->measured : &k->estimated;
        *slot = choice;
    }
    *out = *slot;
    return TENON_OK;
}

tenon_status tenon_tuner_choose(tenon_tuner *tuner, const tenon_problem *problem, const tenon_choice **out)
{
    return answer(tuner, problem, true, out);
}

tenon_status tenon_tuner_estimate(tenon_tuner *tuner, const tenon_problem *problem, const tenon_choice **out)
{
    return answer(tuner, problem, false, out);
}

/* ---- ahead of the questions ---- */
typedef struct sources { tenon_kernel_source *list; size_t count, capacity; } sources;

static tenon_status add_sources(tenon_tuner *t, sources *all, const tenon_tactic_plan *plan)
{
    if (all->count + TENON_MAX_KERNELS > all->capacity) {
        const size_t more = all->capacity ? 2 * all->capacity : 64;
        tenon_kernel_source *grown = tenon_realloc(t->cx, all->list, more * sizeof *grown);
        if (!grown) return TENON_NOMEM;
        all->list = grown;
        all->capacity = more;
    }
    for (int k = 0; k < plan->kernel_count; k++) all->list[all->count++] = plan->kernel[k];
    return TENON_OK;
}

static tenon_status add_problem(tenon_tuner *t, const tenon_problem *p, sources *all)
{
    known *k;
    sized s;
    candidate *list[MAX_TRIED];
    collection col = {.quiet = true};
    TENON_TRY(lookup(t, p, &k));
    if (k->measured) return TENON_OK;
    TENON_TRY(size_up(t, p, &s));
    tenon_status status = collect(t, &s, &col);
    const size_t count = status == TENON_OK ? unknown_candidates(t, &s, &col, list) : 0;
    for (size_t i = 0; i < count && status == TENON_OK; i++) status = add_sources(t, all, &list[i]->plan);
    drop(t, &col);
    return status;
}

tenon_status tenon_tuner_prepare(tenon_tuner *t, const tenon_problem *const *problem, size_t count)
{
    sources all = {0};
    tenon_status status = TENON_OK;
    if (!t->options.timed || !t->backend->kernel_prepare) return TENON_OK;
    for (size_t i = 0; i < count && status == TENON_OK; i++) status = add_problem(t, problem[i], &all);
    const tenon_kernel_source **source = tenon_alloc(t->cx, (all.count + 1) * sizeof *source);
    if (status == TENON_OK && !source) status = TENON_NOMEM;
    for (size_t i = 0; source && i < all.count; i++) source[i] = &all.list[i];
    if (status == TENON_OK && all.count) status = t->backend->kernel_prepare(t->cx, t->device, source, all.count);
    tenon_free(t->cx, source);
    tenon_free(t->cx, all.list);
    return status;
}

/* ---- for the whole engine ---- */
tenon_status tenon_tuner_other(tenon_tuner *t, const tenon_problem *p, const tenon_choice *of, size_t tried,
                               const tenon_choice **out)
{
    tenon_choice *c = tenon_arena_alloc(t->arena, sizeof *c);
    if (!c) return TENON_NOMEM;
    *c = *of;
    c->tactic = of->tried[tried].tactic;
    c->variant = of->tried[tried].variant;
    c->seconds = of->tried[tried].seconds;
    c->plan = (tenon_tactic_plan){0};
    TENON_TRY(c->tactic->plan(t->cx, p, &c->variant, t->device, &c->plan));
    TENON_TRY(own_plan(t, &c->plan));
    *out = c;
    return TENON_OK;
}

bool tenon_tuner_find(const tenon_tuner *t, const char *what, const tenon_choice *c, double *seconds)
{
    const timing_key k = key_of(t, what, c->tactic, &c->variant, &c->plan);
    return find_time(t, &k, seconds);
}

tenon_status tenon_tuner_keep(tenon_tuner *t, const char *what, const tenon_choice *c, double *seconds)
{
    const timing_key k = key_of(t, what, c->tactic, &c->variant, &c->plan);
    return keep_time(t, &k, seconds);
}

uint64_t tenon_tuner_hash(const tenon_tuner *t, const tenon_choice *c, uint64_t hash)
{
    const uint64_t source = source_hash(t, &c->plan);
    hash = XXH3_64bits_withSeed(c->text, strlen(c->text), hash);
    hash = XXH3_64bits_withSeed(c->tactic->name, strlen(c->tactic->name), hash);
    hash = XXH3_64bits_withSeed(&c->variant, sizeof c->variant, hash);
    return XXH3_64bits_withSeed(&source, sizeof source, hash);
}

double tenon_tuner_whole_budget(const tenon_tuner *t)
{
    const int level = t->options.level;
    /* on a host's cores, whole networks scatter by more than near rivals differ: only for who asks for more */
    if (!t->options.timed || level < (t->backend->host_memory ? 4 : 3)) return 0;
    if (level == 3) return TENON_MAX(1.0, 0.2 * t->seconds);
    return level == 4 ? TENON_MAX(5.0, t->seconds) : TENON_MAX(20.0, 2 * t->seconds);
}

/* ---- two ways to do the same ---- */
enum { MAX_LINEUP = TENON_PROBLEM_ANCHORS };

/* Buffers of a list, by the value they stand for: the steps of a list hand them on, the two lists do not share. */
typedef struct handed { const void *value; size_t bytes; void *data; } handed;
typedef struct pool { handed at[MAX_LINEUP * (TENON_PROBLEM_SRC + TENON_PROBLEM_DST)]; int count; } pool;

static tenon_status hand_on(tenon_race *trial, pool *pool, const void *value, const tenon_format *f, tenon_tensor *x)
{
    tenon_format_strides(f, x);
    const size_t bytes = tenon_race_span(x);
    for (int i = 0; i < pool->count; i++)
        if (pool->at[i].value == value && pool->at[i].bytes >= bytes) {
            x->data = pool->at[i].data;
            return TENON_OK;
        }
    TENON_TRY(tenon_race_buffer(trial, x->dtype, bytes, &x->data));
    pool->at[pool->count++] = (handed){value, bytes, x->data};
    return TENON_OK;
}

static tenon_status bind_lineup(tenon_tuner *t, tenon_race *trial, const tenon_lineup *way, tenon_launch *launch,
                                size_t *scratch_bytes)
{
    pool *values = tenon_alloc_zero(t->cx, sizeof *values);
    sized *s = tenon_alloc(t->cx, sizeof *s);
    tenon_status status = TENON_NOMEM;
    *scratch_bytes = 0;
    if (!values || !s) goto done;
    for (int i = 0; i < way->count; i++) {
        const tenon_lineup_step *k = &way->step[i];
        const tenon_tactic_plan *plan = &k->choice->plan;
        TENON_TRY_DONE(size_up(t, k->problem, s));
        for (int n = 0; n < k->problem->src_count; n++)
            if (!(plan->src_packed >> n & 1))
                TENON_TRY_DONE(hand_on(trial, values, k->src[n], &k->problem->src[n].format, &s->src[n]));
        for (int n = 0; n < k->problem->dst_count; n++)
            TENON_TRY_DONE(hand_on(trial, values, k->dst[n], &k->problem->dst[n].format, &s->dst[n]));
        /* what a choice remembers of its plan is not what bind may want of this problem */
        tenon_tactic_plan own = {0};
        TENON_TRY_DONE(k->choice->tactic->plan(t->cx, k->problem, &k->choice->variant, t->device, &own));
        tenon_race_step step = {.problem = k->problem, .tactic = k->choice->tactic, .variant = &k->choice->variant, .plan = &own,
                                 .src = s->src, .dst = s->dst, .src_most = s->src_most, .dst_most = s->dst_most};
        TENON_TRY_DONE(tenon_race_bind(trial, &step, &launch[i]));
        *scratch_bytes = TENON_MAX(*scratch_bytes, tenon_round_up(own.scratch_bytes, 64));
    }
    status = TENON_OK;
done:
    tenon_free(t->cx, values);
    tenon_free(t->cx, s);
    return status;
}

static tenon_status measure_ways(tenon_tuner *t, const tenon_lineup way[2], double seconds[2])
{
    tenon_race trial;
    tenon_launch launch[2][MAX_LINEUP];
    tenon_racer racer[2];
    tenon_status status = TENON_OK;
    tenon_race_init(&trial, t->cx, t->backend, t->device);
    for (int i = 0; i < 2 && status == TENON_OK; i++) {
        racer[i] = (tenon_racer){.step = launch[i], .count = (size_t)way[i].count};
        status = bind_lineup(t, &trial, &way[i], launch[i], &racer[i].scratch_bytes);
    }
    if (status == TENON_OK) status = tenon_race_run(&trial, racer, 2, CLEARLY, 4 * t->options.budget_seconds);
    for (int i = 0; i < 2 && status == TENON_OK; i++) seconds[i] = racer[i].seconds;
    tenon_race_free(&trial);
    t->measured += 2;
    return status;
}

/* Key of way `which` in this comparison: it names both, since a time is good only beside the other. */
static timing_key way_key(tenon_tuner *t, const tenon_lineup way[2], int which, char *problem, size_t bytes)
{
    uint64_t hash = 0;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < way[i].count; k++) hash = tenon_tuner_hash(t, way[i].step[k].choice, hash + (uint64_t)i);
    snprintf(problem, bytes, "way %d of %016" PRIx64 ": %d steps", which, hash, way[which].count);
    const tenon_choice *first = way[which].step[0].choice;
    return key_of(t, problem, first->tactic, &first->variant, &first->plan);
}

tenon_status tenon_tuner_compare(tenon_tuner *t, const tenon_lineup way[2], double seconds[2])
{
    bool measure = t->options.timed;
    for (int i = 0; i < 2; i++) {
        seconds[i] = 0;
        for (int k = 0; k < way[i].count; k++) {
            seconds[i] += way[i].step[k].choice->seconds;
            measure = measure && way[i].step[k].choice->timed && !way[i].step[k].choice->host;
        }
        measure = measure && way[i].count <= MAX_LINEUP;
    }
    if (!measure || seconds[0] > FAR * seconds[1] || seconds[1] > FAR * seconds[0]) return TENON_OK;
    char text[2][96];
    const timing_key key[2] = {way_key(t, way, 0, text[0], sizeof text[0]), way_key(t, way, 1, text[1], sizeof text[1])};
    if (find_time(t, &key[0], &seconds[0]) && find_time(t, &key[1], &seconds[1])) return TENON_OK;
    TENON_TRY(measure_ways(t, way, seconds));
    for (int i = 0; i < 2; i++) TENON_TRY(keep_time(t, &key[i], &seconds[i]));
    tenon_log(t->cx, TENON_VERBOSE, TENON_TOPIC_TIME, "%d steps in %.2f us or %d in %.2f us: ... %s", way[0].count,
              seconds[0] * 1e6, way[1].count, seconds[1] * 1e6, way[1].step[way[1].count - 1].choice->text);
    return TENON_OK;
}
