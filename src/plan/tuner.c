/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing a tactic for a problem. Candidates are pruned by the cost model (only those within a factor of the best estimate are
   measured), measured on filled buffers, and the answer is kept by problem text. The reference is never measured: it is
   taken when nothing else can, with a modelled time that makes every alternative preferable. */
#include "plan/tuner.h"

#include "base/checked.h"
#include "run/load.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_VARIANTS = 32, MAX_TRIED = 96 };
/* The references run at some 50 MFLOP/s: an estimate that never wins. */
#define REFERENCE_FLOPS 5e7

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
    if (!tuner || !*tuner) return;
    tenon_timing_cache_destroy(&(*tuner)->owned_cache);
    *tuner = NULL;
}

size_t tenon_tuner_measured(const tenon_tuner *tuner) { return tuner->measured; }

/* ---- the cost model ---- */
static double tensor_bytes(const tenon_tensor *t)
{
    return (double)tenon_tensor_count(t) * tenon_dtype_get(t->dtype)->bits / 8;
}

typedef struct sized {
    const tenon_problem *problem;
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST];
    double flops, bytes;
} sized;

static tenon_status size_up(tenon_tuner *t, const tenon_problem *p, sized *out)
{
    const tenon_dim_pool *pool = p->graph->dims;
    int64_t opt[64];
    if (pool->symbol_count > TENON_COUNTOF(opt))
        return TENON_FAIL(t->cx, TENON_UNSUPPORTED, "problem with %zu symbols", pool->symbol_count);
    for (size_t i = 0; i < pool->symbol_count; i++) opt[i] = pool->symbol[i].opt;
    out->problem = p;
    TENON_TRY(tenon_problem_shapes(t->cx, p, opt, out->src, out->dst));
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
    if (tactic->cost) return tactic->cost(s->problem, v, t->device, s->src, s->dst);
    const double compute = s->flops / info->peak_flops, memory = s->bytes / info->bandwidth;
    return info->step_seconds + TENON_MAX(compute, memory);
}

/* ---- measuring ---- */
static void fill(void *data, size_t bytes, tenon_dtype dtype, uint64_t seed)
{
    if (dtype == TENON_F32) {
        float *f = data;
        for (size_t i = 0; i < bytes / 4; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            f[i] = (float)(int32_t)(seed >> 32) * (1.0f / 2147483648.0f);
        }
    } else {
        memset(data, 0, bytes); /* indices and masks: zero is always inside */
    }
}

typedef struct trial {
    void *block[TENON_PROBLEM_SRC + TENON_PROBLEM_DST + TENON_MAX_PACK + 2];
    int block_count;
} trial;

static tenon_status trial_tensor(tenon_tuner *t, trial *tr, tenon_tensor *x, const tenon_format *f)
{
    int64_t last = 0;
    if (f) tenon_format_strides(f, x);
    for (int k = 0; k < x->rank; k++) last += (TENON_MAX(x->dim[k], 1) - 1) * x->stride[k];
    const size_t bytes = tenon_round_up(tenon_dtype_bytes(x->dtype, (size_t)last + 1), 64);
    void *p;
    TENON_TRY(t->backend->alloc(t->cx, t->device, bytes, &p));
    tr->block[tr->block_count++] = p;
    x->data = p;
    if (t->backend->host_memory) {
        fill(p, bytes, x->dtype, bytes);
        return TENON_OK;
    }
    void *host = tenon_alloc(t->cx, bytes);
    if (!host) return TENON_NOMEM;
    fill(host, bytes, x->dtype, bytes);
    const tenon_status status = t->backend->upload(t->cx, t->device, p, host, bytes);
    tenon_free(t->cx, host);
    return status;
}

/* The shape block of a trial: filled by bind, then copied to the device. */
static tenon_status trial_shape(tenon_tuner *t, trial *tr, int count, int64_t **host, void **device)
{
    *host = tenon_arena_array(t->arena, (size_t)count, sizeof **host);
    if (!*host) return TENON_NOMEM;
    TENON_TRY(t->backend->alloc(t->cx, t->device, (size_t)count * sizeof **host, device));
    tr->block[tr->block_count++] = *device;
    return TENON_OK;
}

static tenon_status load_kernels(tenon_tuner *t, const tenon_tactic_plan *plan, void **kernel)
{
    for (int i = 0; i < plan->kernel_count; i++) {
        tenon_buf image;
        tenon_buf_init(&image, t->cx);
        tenon_status status = t->backend->kernel_compile(t->cx, t->device, &plan->kernel[i], &image);
        if (status == TENON_OK)
            status = t->backend->kernel_load(t->cx, t->device, image.data, image.length, plan->kernel[i].entry, &kernel[i]);
        tenon_buf_free(&image);
        TENON_TRY(status);
    }
    return TENON_OK;
}

static tenon_status run_trial(tenon_tuner *t, trial *tr, const sized *s, const tenon_tactic *tactic, const tenon_variant *v,
                              const tenon_tactic_plan *plan, uint8_t *record, void **kernel, double *seconds)
{
    const tenon_problem *p = s->problem;
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST], pack[TENON_MAX_PACK];
    memcpy(src, s->src, sizeof src);
    memcpy(dst, s->dst, sizeof dst);
    for (int i = 0; i < p->src_count; i++) {
        src[i].data = NULL;
        if (!(plan->src_packed >> i & 1)) TENON_TRY(trial_tensor(t, tr, &src[i], &p->src[i].format));
    }
    for (int i = 0; i < p->dst_count; i++) TENON_TRY(trial_tensor(t, tr, &dst[i], &p->dst[i].format));
    for (int i = 0; i < plan->pack_count; i++) {
        TENON_TRY(tenon_pack_type(t->cx, p, &plan->pack[i], &pack[i]));
        TENON_TRY(trial_tensor(t, tr, &pack[i], NULL));
    }
    void *workspace = NULL;
    if (plan->workspace_bytes) {
        TENON_TRY(t->backend->alloc(t->cx, t->device, plan->workspace_bytes, &workspace));
        tr->block[tr->block_count++] = workspace;
    }
    int64_t *shape = NULL;
    void *shape_device = NULL;
    if (plan->shape_count) TENON_TRY(trial_shape(t, tr, plan->shape_count, &shape, &shape_device));
    TENON_TRY(load_kernels(t, plan, kernel));
    const tenon_bind bind = {.problem = p,
                             .variant = v,
                             .plan = plan,
                             .src = src,
                             .dst = dst,
                             .pack = pack,
                             .workspace = workspace,
                             .threads = t->backend->info(t->device)->threads,
                             .device = t->device,
                             .kernel = kernel,
                             .shape = shape,
                             .shape_device = shape_device,
                             .src_most = src,
                             .dst_most = dst};
    TENON_TRY(tactic->bind(t->cx, &bind, record));
    if (plan->shape_count)
        TENON_TRY(t->backend->upload(t->cx, t->device, shape_device, shape, (size_t)plan->shape_count * sizeof *shape));
    const tenon_launch launch = {.tactic = tactic, .record = record};
    t->measured++;
    return t->backend->time(t->cx, t->device, &launch, 1, tenon_round_up(plan->scratch_bytes, 64), t->options.budget_seconds,
                            seconds);
}

static tenon_status measure(tenon_tuner *t, const sized *s, const tenon_tactic *tactic, const tenon_variant *v,
                            const tenon_tactic_plan *plan, double *seconds)
{
    trial tr = {.block_count = 0};
    void *kernel[TENON_MAX_KERNELS] = {NULL};
    uint8_t *record = tenon_alloc_aligned(t->cx, TENON_MAX(plan->record_bytes, 64), 64);
    if (!record) return TENON_NOMEM;
    const tenon_status status = run_trial(t, &tr, s, tactic, v, plan, record, kernel, seconds);
    for (int i = 0; i < tr.block_count; i++) t->backend->release(t->device, tr.block[i]);
    for (int i = 0; i < plan->kernel_count; i++)
        if (kernel[i]) t->backend->kernel_unload(t->device, kernel[i]);
    tenon_free_aligned(t->cx, record);
    return status;
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
} collection;

static tenon_status reject_with(tenon_tuner *t, collection *col, const tenon_tactic *tactic, const char *why, const char *text)
{
    const char *copy = tenon_arena_strdup(t->arena, why);
    if (!copy) return TENON_NOMEM;
    col->rejected[col->rejected_count++] = (tenon_rejected){tactic, copy};
    tenon_log(t->cx, TENON_VERBOSE, TENON_TOPIC_REJECT, "%s: %s: %s", text, tactic->name, why);
    return TENON_OK;
}

static int variant_limit(int level) { return level <= 1 ? 1 : level == 2 ? 3 : level == 3 ? 8 : level == 4 ? 16 : MAX_VARIANTS; }

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
            why = "needs more workspace than the limit";
            continue;
        }
        c->estimate = model(t, tactic, &variant[i], s) * (1 + 1e-3 * i); /* ties: the tactic's own order */
        col->count++;
        accepted++;
    }
    if (!accepted) return reject_with(t, col, tactic, why ? why : "no variant fits", p->text);
    return TENON_OK;
}

static tenon_status time_candidates(tenon_tuner *t, const sized *s, collection *col)
{
    const char *fingerprint = t->backend->info(t->device)->fingerprint;
    double best = 1e30;
    for (size_t i = 0; i < col->count; i++) best = TENON_MIN(best, col->c[i].estimate);
    int real = 0;
    for (size_t i = 0; i < col->count; i++) real += !(col->c[i].tactic->flags & TENON_TACTIC_REFERENCE);
    for (size_t i = 0; i < col->count; i++) {
        candidate *c = &col->c[i];
        c->seconds = c->estimate;
        if (!t->options.timed || (c->tactic->flags & TENON_TACTIC_REFERENCE)) continue;
        if (tenon_cache_find(t->cache, fingerprint, s->problem->text, c->tactic->name, &c->variant, &c->seconds)) {
            c->timed = true;
            continue;
        }
        /* a model is not exact: only what it puts far behind is not tried */
        if (c->estimate > 8 * best && real > 1) {
            c->seconds = 1e9;
            continue;
        }
        TENON_TRY(measure(t, s, c->tactic, &c->variant, &c->plan, &c->seconds));
        TENON_TRY(tenon_cache_add(t->cx, t->cache, fingerprint, s->problem->text, c->tactic->name, &c->variant, c->seconds));
        TENON_TRY(tenon_cache_find(t->cache, fingerprint, s->problem->text, c->tactic->name, &c->variant, &c->seconds) ? TENON_OK
                  : TENON_FAIL(t->cx, TENON_INTERNAL, "timing cache lost an entry"));
        c->timed = true;
        tenon_log(t->cx, TENON_VERBOSE, TENON_TOPIC_TIME, "%s: %s[%d,%d,%d,%d] %.2f us", s->problem->text, c->tactic->name,
                  c->variant.p[0], c->variant.p[1], c->variant.p[2], c->variant.p[3], c->seconds * 1e6);
    }
    return TENON_OK;
}

static tenon_status decide(tenon_tuner *t, const sized *s, const char *text, collection *col, const tenon_choice **out)
{
    if (!col->count)
        return TENON_FAIL(t->cx, TENON_INTERNAL, "no tactic at all for %s: the backend '%s' has no reference", s->problem->text,
                          t->backend->name);
    const candidate *best = &col->c[0];
    for (size_t i = 1; i < col->count; i++)
        if (col->c[i].seconds < best->seconds) best = &col->c[i];
    tenon_choice *choice = tenon_arena_alloc(t->arena, sizeof *choice);
    tenon_timed *tried = tenon_arena_array(t->arena, col->count, sizeof *tried);
    tenon_rejected *rejected = tenon_arena_array(t->arena, col->rejected_count + 1, sizeof *rejected);
    if (!choice || !tried || !rejected) return TENON_NOMEM;
    for (size_t i = 0; i < col->count; i++) tried[i] = (tenon_timed){col->c[i].tactic, col->c[i].variant, col->c[i].seconds};
    memcpy(rejected, col->rejected, col->rejected_count * sizeof *rejected);
    tenon_tactic_plan plan = best->plan;
    for (int i = 0; i < plan.kernel_count; i++) /* printed for this problem, whose memory may not last as long as the choice */
        if (!(plan.kernel[i].source = tenon_arena_strdup(t->arena, plan.kernel[i].source))) return TENON_NOMEM;
    plan.own = NULL; /* of this problem's graph */
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

static tenon_status consider(tenon_tuner *t, const tenon_problem *p, const char *text, bool timed, const tenon_choice **out)
{
    sized s;
    TENON_TRY(size_up(t, p, &s));
    size_t tactics = 0;
    while (t->backend->tactics[tactics]) tactics++;
    collection col = {0};
    const bool want_timing = t->options.timed;
    t->options.timed = timed && want_timing;
    tenon_status status = TENON_NOMEM;
    col.c = tenon_alloc(t->cx, (MAX_TRIED + MAX_VARIANTS) * sizeof *col.c);
    col.rejected = tenon_alloc(t->cx, (tactics + 1) * sizeof *col.rejected);
    if (!col.c || !col.rejected) goto done;
    for (size_t i = 0; i < tactics; i++) TENON_TRY_DONE(collect_tactic(t, &s, t->backend->tactics[i], &col));
    TENON_TRY_DONE(time_candidates(t, &s, &col));
    status = decide(t, &s, text, &col, out);
done:
    tenon_free(t->cx, col.c);
    tenon_free(t->cx, col.rejected);
    t->options.timed = want_timing;
    return status;
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
