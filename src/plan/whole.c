/* SPDX-License-Identifier: Apache-2.0 */
/* The last word on the hottest steps: a tactic alone may be faster than in company, where caches are warm with other things and
   launches overlap. The whole list of steps is bound as in the engine (its memory plan, its packed weights), and for one problem
   after the other the candidates that were nearly as fast take the place of the chosen one, in all its steps. What makes the
   whole faster by more than the noise stays. Every time is in the timing cache, and that the search was made; so with the same
   cache the same engine comes out, whatever time there is. */
#include "plan/stage.h"

#include "base/checked.h"
#include "base/clock.h"
#include "plan/race.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { HOTTEST = 8, OTHERS = 2, ROUNDS = 6 };
#define NEARLY 1.15        /* candidates this close are tried */
#define LEAST_SHARE 0.01   /* of the sum of all steps: colder problems are left alone */
#define LEAST_GAIN 0.003   /* of the whole: less is noise, whatever the rounds say */

/* A problem that steps share. */
typedef struct hot { const tenon_choice *choice; double seconds; const tenon_choice *other[OTHERS]; int count; } hot;

typedef struct constant { const tenon_place *root; void *data; } constant;
typedef struct packed { size_t step; tenon_pack pack; tenon_tensor tensor; } packed;
typedef struct bench {
    tenon_plan *plan;
    tenon_race race;
    uint8_t *block;
    tenon_launch *launch, *other[OTHERS]; /* launch i is that of step in_list[i] */
    size_t *in_list, count;
    bool moved; /* some choice is no longer the one that the block has workspace for */
    const hot *measured; /* whose lists are in `other` */
    constant *known; size_t known_count, known_capacity; /* buffers outside the block */
    packed *pack; size_t pack_count, pack_capacity;
} bench;

/* ---- binding the steps as in the engine ---- */
static tenon_status kept_constant(bench *b, tenon_place *root, void *data)
{
    tenon_heap heap;
    tenon_tensor t;
    tenon_heap_init(&heap, b->plan->cx);
    tenon_status status = tenon_plan_constant(b->plan, root, &heap, &t);
    if (status == TENON_OK)
        status = b->plan->backend->upload(b->plan->cx, b->plan->device, data, t.data,
                                          tenon_dtype_bytes(t.dtype, (size_t)tenon_tensor_count(&t)));
    tenon_heap_free(&heap);
    return status;
}

static tenon_status outside(bench *b, tenon_place *root, void **out)
{
    for (size_t i = 0; i < b->known_count; i++)
        if (b->known[i].root == root) {
            *out = b->known[i].data;
            return TENON_OK;
        }
    const tenon_type *t = &root->value->type;
    size_t count = 1;
    for (int i = 0; i < t->rank; i++)
        if (!tenon_mul_size(count, (size_t)TENON_MAX(tenon_dim_at_opt(b->plan->graph->dims, t->dim[i]), 1), &count))
            return TENON_FAIL(b->plan->cx, TENON_INVALID, "value '%s' is too large", root->value->name);
    TENON_TRY(tenon_race_buffer(&b->race, t->dtype, tenon_dtype_bytes(t->dtype, count), out));
    if (root->value->is_const) TENON_TRY(kept_constant(b, root, *out));
    void *array = b->known;
    TENON_TRY(tenon_arena_grow(b->plan->arena, &array, &b->known_capacity, b->known_count + 1, sizeof *b->known));
    b->known = array;
    b->known[b->known_count++] = (constant){root, *out};
    return TENON_OK;
}

static void sizes(const bench *b, const tenon_type *t, tenon_tensor *x, tenon_tensor *most)
{
    *x = (tenon_tensor){.dtype = t->dtype, .rank = t->rank};
    for (int i = 0; i < t->rank; i++) x->dim[i] = tenon_dim_at_opt(b->plan->graph->dims, t->dim[i]);
    tenon_tensor_dense(x);
    *most = *x;
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i]->hi < TENON_DIM_HUGE) most->dim[i] = TENON_MAX(t->dim[i]->hi, x->dim[i]);
}

static tenon_status operand(bench *b, tenon_place *p, tenon_tensor *x)
{
    tenon_place *root = tenon_place_root(p);
    tenon_view view;
    bool possible;
    TENON_TRY(tenon_place_strides(b->plan, p, &view, &possible));
    if (!possible) return TENON_FAIL(b->plan->cx, TENON_INTERNAL, "value '%s' has no strides", p->value->name);
    for (int i = 0; i < x->rank; i++) x->stride[i] = tenon_dim_at_opt(b->plan->graph->dims, view.stride[i]);
    void *base = b->block + root->offset;
    if (!tenon_plan_in_block(root)) TENON_TRY(outside(b, root, &base));
    x->data = (uint8_t *)base + tenon_dtype_bytes(x->dtype, (size_t)tenon_dim_at_opt(b->plan->graph->dims, view.offset));
    return TENON_OK;
}

static tenon_status real_pack(bench *b, size_t step, const tenon_pack *pack, tenon_tensor *out)
{
    for (size_t i = 0; i < b->pack_count; i++)
        if (b->pack[i].step == step && b->pack[i].pack.op == pack->op &&
            memcmp(b->pack[i].pack.src, pack->src, sizeof pack->src) == 0 &&
            memcmp(b->pack[i].pack.attr, pack->attr, sizeof pack->attr) == 0) {
            *out = b->pack[i].tensor;
            return TENON_OK;
        }
    tenon_plan *plan = b->plan;
    tenon_heap heap;
    tenon_heap_init(&heap, plan->cx);
    tenon_tensor host;
    tenon_status status = tenon_plan_pack(plan, &plan->step[step], pack, &heap, &host);
    if (status == TENON_OK) {
        const size_t bytes = tenon_dtype_bytes(host.dtype, (size_t)tenon_tensor_count(&host));
        *out = host;
        status = tenon_race_buffer(&b->race, TENON_U8, bytes, &out->data);
        if (status == TENON_OK) status = plan->backend->upload(plan->cx, plan->device, out->data, host.data, bytes);
    }
    tenon_heap_free(&heap);
    TENON_TRY(status);
    void *array = b->pack;
    TENON_TRY(tenon_arena_grow(plan->arena, &array, &b->pack_capacity, b->pack_count + 1, sizeof *b->pack));
    b->pack = array;
    b->pack[b->pack_count++] = (packed){step, *pack, *out};
    return TENON_OK;
}

static tenon_status bind(bench *b, size_t step, const tenon_choice *c, tenon_launch *out)
{
    const tenon_plan_step *s = &b->plan->step[step];
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST], src_most[TENON_PROBLEM_SRC], dst_most[TENON_PROBLEM_DST];
    tenon_tactic_plan plan = {0}; /* a choice's own may be that of another problem with the same text */
    TENON_TRY(c->tactic->plan(b->plan->cx, s->problem, &c->variant, b->plan->device, &plan));
    tenon_race_step r = {.problem = s->problem, .tactic = c->tactic, .variant = &c->variant, .plan = &plan,
                         .src = src, .dst = dst, .src_most = src_most, .dst_most = dst_most};
    for (int i = 0; i < s->src_count; i++) {
        sizes(b, &s->src[i]->type, &src[i], &src_most[i]);
        if (!(plan.src_packed >> i & 1)) TENON_TRY(operand(b, s->src_place[i], &src[i]));
    }
    for (int i = 0; i < s->dst_count; i++) {
        sizes(b, &s->dst[i]->type, &dst[i], &dst_most[i]);
        TENON_TRY(operand(b, s->dst_place[i], &dst[i]));
    }
    for (int i = 0; i < plan.pack_count; i++) TENON_TRY(real_pack(b, step, &plan.pack[i], &r.pack[i]));
    if (c == s->choice && !b->moved && plan.workspace_bytes) r.workspace = b->block + s->workspace_offset;
    return tenon_race_bind(&b->race, &r, out);
}

static bool is_plain(const tenon_plan_step *s)
{
    bool plain = s->problem && !s->choice->host;
    for (int i = 0; i < s->src_count; i++) plain = plain && !tenon_place_root(s->src_place[i])->host_only;
    for (int i = 0; i < s->dst_count; i++) plain = plain && !tenon_place_root(s->dst_place[i])->host_only;
    return plain;
}

static tenon_status set_up(bench *b)
{
    tenon_plan *plan = b->plan;
    void *block;
    TENON_TRY(tenon_race_buffer(&b->race, TENON_F32, (size_t)plan->block_bytes + 64, &block));
    b->block = block;
    b->in_list = tenon_arena_array(plan->arena, plan->step_count, sizeof *b->in_list);
    b->launch = tenon_arena_array(plan->arena, plan->step_count, sizeof *b->launch);
    if (!b->in_list || !b->launch) return TENON_NOMEM;
    for (int i = 0; i < OTHERS; i++)
        if (!(b->other[i] = tenon_arena_array(plan->arena, plan->step_count, sizeof *b->launch))) return TENON_NOMEM;
    for (size_t i = 0; i < plan->step_count; i++) {
        if (!is_plain(&plan->step[i])) continue;
        TENON_TRY(bind(b, i, plan->step[i].choice, &b->launch[b->count]));
        b->in_list[b->count++] = i;
    }
    return TENON_OK;
}

/* ---- what is tried ---- */
static tenon_status add_others(tenon_plan *plan, const tenon_problem *p, hot *h)
{
    const tenon_choice *c = h->choice;
    for (size_t i = 0; i < c->tried_count && h->count < OTHERS; i++) {
        const tenon_timed *t = &c->tried[i];
        if (!t->timed || t->seconds > c->seconds * NEARLY ||
            (t->tactic == c->tactic && memcmp(&t->variant, &c->variant, sizeof t->variant) == 0))
            continue;
        TENON_TRY(tenon_tuner_other(plan->tuner, p, c, i, &h->other[h->count++]));
    }
    return TENON_OK;
}

static tenon_status find_hottest(tenon_plan *plan, hot *list, int *count)
{
    hot *all = tenon_arena_array(plan->arena, plan->step_count + 1, sizeof *all);
    size_t n = 0;
    double sum = 0;
    if (!all) return TENON_NOMEM;
    for (size_t i = 0; i < plan->step_count; i++) {
        const tenon_plan_step *s = &plan->step[i];
        if (!s->choice || !s->choice->timed || !is_plain(s)) continue;
        size_t k = 0;
        while (k < n && all[k].choice != s->choice) k++;
        if (k == n) {
            all[n] = (hot){.choice = s->choice};
            TENON_TRY(add_others(plan, s->problem, &all[n++]));
        }
        all[k].seconds += s->choice->seconds;
        sum += s->choice->seconds;
    }
    for (*count = 0; *count < HOTTEST;) {
        hot *best = NULL;
        for (size_t k = 0; k < n; k++)
            if (all[k].count && all[k].seconds > LEAST_SHARE * sum && (!best || all[k].seconds > best->seconds)) best = &all[k];
        if (!best) break;
        list[(*count)++] = *best;
        best->count = 0;
    }
    return TENON_OK;
}

/* ---- the search ---- */
/* A machine that changes its speed between two times makes either look faster: one that is faster in every single round is. The
   others' noise is all of their time. */
static tenon_status rounds(bench *b, tenon_racer *racer, int count, double *seconds, double *noise)
{
    bool always[1 + OTHERS] = {false, true, true};
    for (int r = 0; r < ROUNDS; r++) {
        double now[1 + OTHERS];
        TENON_TRY(tenon_progress(b->plan->cx, "timing", 0, 0));
        for (int k = 0; k < count; k++) {
            if (!racer[k].failed) TENON_TRY(tenon_race_time(&b->race, &racer[k], &now[k]));
            if (k == 0 && racer[k].failed) return tenon_fail_in(b->plan->cx, racer[k].failed, "the whole engine: ");
            always[k] = always[k] && !racer[k].failed && now[k] < now[0];
        }
    }
    for (int k = 0; k < count; k++) {
        seconds[k] = racer[k].seconds;
        noise[k] = always[k] ? 0 : seconds[k];
    }
    return TENON_OK;
}

/* The list with `to` in the place of `from`. */
static tenon_status bind_other(bench *b, const tenon_choice *from, const tenon_choice *to, tenon_launch *out)
{
    memcpy(out, b->launch, b->count * sizeof *b->launch);
    for (size_t i = 0; i < b->count; i++)
        if (b->plan->step[b->in_list[i]].choice == from) TENON_TRY(bind(b, b->in_list[i], to, &out[i]));
    return TENON_OK;
}

static tenon_status measure(bench *b, const hot *h, double *seconds, double *noise)
{
    tenon_racer racer[1 + OTHERS];
    size_t scratch = b->plan->scratch_bytes;
    for (int k = 0; k < h->count; k++) scratch = TENON_MAX(scratch, tenon_round_up(h->other[k]->plan.scratch_bytes, 64));
    for (int k = 0; k <= h->count; k++)
        racer[k] = (tenon_racer){.step = k ? b->other[k - 1] : b->launch, .count = b->count, .scratch_bytes = scratch,
                                 .seconds = TENON_RACE_NEVER};
    b->measured = h;
    for (int k = 0; k < h->count; k++) {
        const tenon_status status = bind_other(b, h->choice, h->other[k], b->other[k]);
        if (status != TENON_OK && status != TENON_UNSUPPORTED && status != TENON_DEVICE && status != TENON_INVALID) return status;
        racer[1 + k].failed = status; /* a library may want other addresses than those of the engine */
    }
    return rounds(b, racer, h->count + 1, seconds, noise);
}

/* Times of this problem's candidates in the whole, from the cache or measured. *ok false: neither. */
static tenon_status times_of(bench *b, const hot *h, uint64_t hash, int index, bool may_measure, double *seconds, double *noise,
                             bool *ok)
{
    char text[64], noise_text[64];
    tenon_tuner *t = b->plan->tuner;
    snprintf(text, sizeof text, "whole %016" PRIx64 " %d", hash, index);
    snprintf(noise_text, sizeof noise_text, "whole %016" PRIx64 " %d noise", hash, index);
    *ok = true;
    for (int k = 0; k <= h->count; k++) {
        const tenon_choice *c = k ? h->other[k - 1] : h->choice;
        *ok = *ok && tenon_tuner_find(t, text, c, &seconds[k]) && tenon_tuner_find(t, noise_text, c, &noise[k]);
    }
    if (*ok || !may_measure) return TENON_OK;
    if (!b->block) TENON_TRY(set_up(b));
    TENON_TRY(measure(b, h, seconds, noise));
    for (int k = 0; k <= h->count; k++) {
        const tenon_choice *c = k ? h->other[k - 1] : h->choice;
        TENON_TRY(tenon_tuner_keep(t, text, c, &seconds[k]));
        TENON_TRY(tenon_tuner_keep(t, noise_text, c, &noise[k]));
    }
    *ok = true;
    return TENON_OK;
}

/* The lists are those of the problem that was measured last, which need not be this one: its times may be from the cache. */
static tenon_status replace(bench *b, const hot *h, int which)
{
    const tenon_choice *from = h->choice, *to = h->other[which];
    if (b->block && b->measured != h) TENON_TRY(bind_other(b, from, to, b->other[which]));
    if (b->block) memcpy(b->launch, b->other[which], b->count * sizeof *b->launch);
    for (size_t i = 0; i < b->plan->step_count; i++)
        if (b->plan->step[i].choice == from) b->plan->step[i].choice = to;
    b->moved = true;
    return TENON_OK;
}

static tenon_status search(bench *b, const hot *list, int count, double budget, bool *changed)
{
    tenon_plan *plan = b->plan;
    const double start = tenon_now();
    uint64_t hash = 0;
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->step[i].choice) hash = tenon_tuner_hash(plan->tuner, plan->step[i].choice, hash);
    char done[64];
    snprintf(done, sizeof done, "whole %016" PRIx64 " searched", hash);
    double spent;
    const bool searched = tenon_tuner_find(plan->tuner, done, list[0].choice, &spent);
    for (int i = 0; i < count; i++) {
        const hot *h = &list[i];
        double seconds[1 + OTHERS], noise[1 + OTHERS];
        bool ok;
        TENON_TRY(times_of(b, h, hash, i, !searched && tenon_now() - start < budget, seconds, noise, &ok));
        if (!ok) continue;
        int best = 0;
        for (int k = 1; k <= h->count; k++)
            if (seconds[k] + noise[k] < seconds[best]) best = k;
        const bool better = best && seconds[best] < seconds[0] * (1 - LEAST_GAIN);
        tenon_log(plan->cx, TENON_INFO, TENON_TOPIC_PLAN,
                  "in the whole engine, %.2f us: best of %d others %.2f us: %s %s for %s", seconds[0] * 1e6,
                  h->count, TENON_MIN(seconds[1], seconds[h->count]) * 1e6, better ? "taken" : "kept",
                  (better ? h->other[best - 1] : h->choice)->tactic->name, h->choice->text);
        if (!better) continue;
        TENON_TRY(replace(b, h, best - 1));
        *changed = true;
    }
    spent = tenon_now() - start;
    return searched ? TENON_OK : tenon_tuner_keep(plan->tuner, done, list[0].choice, &spent);
}

tenon_status tenon_plan_whole(tenon_plan *plan)
{
    hot list[HOTTEST];
    int count;
    bool changed = false;
    const double budget = tenon_tuner_whole_budget(plan->tuner);
    if (budget <= 0 || !plan->step_count) return TENON_OK;
    TENON_TRY(find_hottest(plan, list, &count));
    if (!count) return TENON_OK;
    bench b = {.plan = plan};
    tenon_race_init(&b.race, plan->cx, plan->backend, plan->device);
    tenon_status status = search(&b, list, count, budget, &changed);
    tenon_race_free(&b.race);
    if (status == TENON_NOMEM) { /* the choices are good without it */
        tenon_log(plan->cx, TENON_WARNING, TENON_TOPIC_PLAN, "the whole engine is not tried: %s", plan->cx->message);
        status = TENON_OK;
    }
    TENON_TRY(status);
    if (!changed) return TENON_OK;
    tenon_plan_scratch(plan);
    return tenon_plan_memory(plan);
}
