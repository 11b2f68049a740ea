/* SPDX-License-Identifier: Apache-2.0 */
/* What the points of a sweep mean. A step's time is taken as fixed + batch * each, from profiled runs at two batches: what is
   fixed are launches, waiting, and weights that every run reads once; what each sample adds is bound by arithmetic or by memory,
   whichever would take longer at the machine's peak. Times of single steps are a little long (each is waited for), so the excess
   of their sum over the run's time is taken off all of them alike. */
#include "sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- bounds ---- */
static double read_seconds(const sweep *w, double bytes)
{
    return bytes / (bytes <= (double)w->peak.cache_bytes ? w->peak.cache_bandwidth : w->peak.memory_bandwidth);
}

void sweep_bounds(const sweep *w, const tenon_step_work *work, double *arithmetic, double *memory)
{
    *arithmetic = work->flops / w->peak.flops[work->arithmetic];
    *memory = read_seconds(w, work->weight_bytes + work->source_bytes + work->result_bytes);
}

/* ---- knee and best ---- */
void sweep_mark_knees(sweep *w)
{
    for (size_t k = 0; k < w->stream_count; k++) {
        double most = 0;
        sweep_point *knee = NULL;
        for (size_t i = 0; i < w->batch_count; i++)
            most = fmax(most, sweep_items(sweep_find(w, w->batch[i], (size_t)w->stream[k])));
        for (size_t i = 0; i < w->batch_count && !knee; i++) {
            sweep_point *p = sweep_find(w, w->batch[i], (size_t)w->stream[k]);
            if (sweep_items(p) >= SWEEP_KNEE * most) knee = p;
        }
        if (w->batch_count > 1) knee->knee = true;
    }
}

const sweep_point *sweep_knee(const sweep *w)
{
    const sweep_point *knee = NULL;
    for (size_t i = 0; i < w->point_count; i++)
        if (w->point[i].knee && (!knee || w->point[i].streams < knee->streams)) knee = &w->point[i];
    return knee;
}

void sweep_choose_best(sweep *w)
{
    double most = 0;
    for (size_t i = 0; i < w->point_count; i++)
        if (w->max_latency == 0 || w->point[i].p99 <= w->max_latency) most = fmax(most, sweep_items(&w->point[i]));
    for (size_t i = 0; i < w->point_count; i++) {
        const sweep_point *p = &w->point[i];
        if ((w->max_latency > 0 && p->p99 > w->max_latency) || sweep_items(p) < SWEEP_TIE * most) continue;
        if (!w->best || p->p99 < w->best->p99) w->best = p;
    }
}

/* ---- profiles at a batch ---- */
typedef struct profiled {
    json_t *steps;
    size_t count;
    double *seconds;         /* of each step, so that their sum is the run's time */
    tenon_step_work *work;
    double latency;
    int64_t batch;
    int profile;
} profiled;

static void profiled_free(profiled *p)
{
    json_decref(p->steps);
    free(p->seconds);
    free(p->work);
}

static int take_profile(bench *b, cli_runner *runner, void *user)
{
    profiled *p = user;
    int code = bench_steps(b, &p->steps);
    p->count = json_array_size(p->steps);
    p->seconds = calloc(p->count + 1, sizeof *p->seconds);
    p->work = calloc(p->count + 1, sizeof *p->work);
    if (code == CLI_OK && (!p->seconds || !p->work)) code = cli_fail(b->s, "out of memory");
    if (code == CLI_OK) code = bench_profile(b, runner, p->count, p->seconds);
    if (code == CLI_OK) code = bench_work(b, runner, p->count, p->work);
    return code;
}

static int profile_at(sweep *w, int64_t batch, profiled *out)
{
    bench *b = w->b;
    const bench_limits kept = b->limits;
    bench_result r;
    *out = (profiled){.batch = batch};
    int code = sweep_set_batch(w, batch);
    out->profile = b->profile;
    b->limits = (bench_limits){.runs = -1, .warmup = 2, .least = 5, .seconds = fmin(0.3, kept.seconds)};
    if (code == CLI_OK) code = bench_measure_then(b, 1, &r, take_profile, out);
    b->limits = kept;
    if (code != CLI_OK) return code;
    const sweep_point *p = sweep_find(w, batch, 1);
    out->latency = p ? fmin(p->latency, r.quickest) : r.quickest;
    double sum = 0, scaled = 0;
    for (size_t i = 0; i < out->count; i++) sum += out->seconds[i];
    const double excess = sum > out->latency ? (sum - out->latency) / (double)out->count : 0;
    for (size_t i = 0; i < out->count; i++) {
        out->seconds[i] = fmax(out->seconds[i] - excess, 0.1 * out->seconds[i]);
        scaled += out->seconds[i];
    }
    for (size_t i = 0; i < out->count && scaled > 0; i++) out->seconds[i] *= out->latency / scaled;
    return CLI_OK;
}

/* ---- the cause ---- */
typedef struct part { double of[SWEEP_CAUSES], of_peak; } part;

/* A step at the higher batch: what of its time is launches, arithmetic and memory. */
static part split_step(const sweep *w, const profiled *hi, const profiled *lo, size_t i)
{
    part out = {0};
    const tenon_step_work *work = &hi->work[i];
    double arithmetic, memory, fixed = 0;
    sweep_bounds(w, work, &arithmetic, &memory);
    const double bound = fmax(arithmetic, memory), weights = read_seconds(w, work->weight_bytes);
    if (lo) {
        const double per = (hi->seconds[i] - lo->seconds[i]) / (double)(hi->batch - lo->batch);
        fixed = fmin(fmax(hi->seconds[i] - per * (double)hi->batch, 0), fmin(hi->seconds[i], lo->seconds[i]));
    } else if (hi->seconds[i] < 4 * w->peak.step_seconds) {
        fixed = hi->seconds[i] - fmin(hi->seconds[i], bound);
    }
    const bool reads = weights >= 0.5 * fixed; /* what is fixed is the reading of weights */
    out.of[reads ? SWEEP_MEMORY : SWEEP_LAUNCHES] += fixed;
    out.of[arithmetic >= memory ? SWEEP_ARITHMETIC : SWEEP_MEMORY] += hi->seconds[i] - fixed;
    out.of_peak = hi->seconds[i] > 0 ? bound / hi->seconds[i] : 0;
    return out;
}

static void take_layers(sweep_why *why, const profiled *hi, const part *parts, sweep_cause cause)
{
    for (int n = 0; n < SWEEP_LAYERS; n++) {
        double most = 0.02 * hi->latency; /* less explains nothing */
        size_t at = hi->count;
        for (size_t i = 0; i < hi->count; i++) {
            const char *name = json_string_value(json_object_get(json_array_get(hi->steps, i), "name"));
            bool taken = false;
            for (size_t k = 0; k < why->layer_count; k++)
                taken |= name && strncmp(why->layer[k].name, name, sizeof why->layer[k].name - 1) == 0;
            if (taken || !name || parts[i].of[cause] <= most) continue;
            most = parts[i].of[cause];
            at = i;
        }
        if (at == hi->count) return;
        sweep_layer *l = &why->layer[why->layer_count++];
        *l = (sweep_layer){.share = parts[at].of[cause] / hi->latency, .of_peak = parts[at].of_peak, .cause = cause};
        snprintf(l->name, sizeof l->name, "%s", json_string_value(json_object_get(json_array_get(hi->steps, at), "name")));
    }
}

static int explain(sweep *w, const profiled *hi, const profiled *lo)
{
    sweep_why *why = &w->why;
    part *parts = calloc(hi->count + 1, sizeof *parts);
    if (!parts) return cli_fail(w->b->s, "out of memory");
    *why = (sweep_why){
        .known = true, .batch = hi->batch, .low_batch = lo ? lo->batch : 0, .latency = hi->latency, .steps = hi->count};
    double sum[SWEEP_CAUSES] = {0}, fixed = 0;
    for (size_t i = 0; i < hi->count; i++) {
        parts[i] = split_step(w, hi, lo, i);
        for (int c = 0; c < SWEEP_CAUSES; c++) sum[c] += parts[i].of[c];
    }
    if (lo) {
        /* a disturbed machine may be slower at the smaller batch */
        why->each = fmax(hi->latency - lo->latency, 0) / (double)(hi->batch - lo->batch);
        fixed = fmin(fmax(hi->latency - why->each * (double)hi->batch, 0), fmin(lo->latency, hi->latency));
        why->fixed = fixed / hi->latency;
        why->low_fixed = fixed / lo->latency;
    }
    sweep_cause cause = SWEEP_ARITHMETIC;
    for (int c = 0; c < SWEEP_CAUSES; c++) {
        why->share[c] = hi->latency > 0 ? sum[c] / hi->latency : 0;
        if (sum[c] > sum[cause]) cause = (sweep_cause)c;
    }
    take_layers(why, hi, parts, cause);
    free(parts);
    return CLI_OK;
}

int sweep_explain(sweep *w)
{
    const sweep_point *knee = sweep_knee(w);
    profiled hi = {0}, lo = {0};
    int64_t high = knee ? knee->batch : w->batch[0];
    const int64_t low = w->batch[0];
    if (!w->has_peak || cli_interrupted()) return CLI_OK;
    if (high == low && w->batch_count > 1) high = w->batch[1];
    int code = profile_at(w, high, &hi);
    if (code == CLI_OK && low != high) code = profile_at(w, low, &lo);
    /* other profiles have other steps: then the run at the knee alone must do */
    const bool pair = low != high && lo.profile == hi.profile && lo.count == hi.count;
    if (code == CLI_OK && hi.latency > 0) code = explain(w, &hi, pair ? &lo : NULL);
    profiled_free(&hi);
    profiled_free(&lo);
    return code;
}
