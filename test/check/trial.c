/* SPDX-License-Identifier: Apache-2.0 */
/* One tactic on one subject, the way the runtime does it: plan, packed weights by the packing operators, bind, launch.
   Everything that the tactic gets lies in guarded memory and is poisoned before; afterwards the sources and the gaps between
   the pitches must be as they were, nothing may have been allocated, a second run must give the same bits, and the results must
   be the reference's. */
#include "tenoncheck.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

enum { POISON = 0xff };

/* ---- binding ---- */
static tenon_status make_pack(bound *b, tenon_arena *arena, int i)
{
    const trial *t = b->t;
    const tenon_pack *pack = &b->plan.pack[i];
    tenon_tensor src[4];
    tenon_value *value[4];
    tenon_dim_pool pool;
    tenon_graph *g;
    tenon_node *n;
    int count = 0;
    TENON_TRY(tenon_pack_type(t->cx, t->s->problem, pack, &b->pack[i]));
    TENON_TRY(buffer_make(t->cx, t->backend, t->device, "packed weight", i,
                          tenon_dtype_bytes(b->pack[i].dtype, (size_t)tenon_tensor_count(&b->pack[i])), 64, t->tight,
                              &b->pack_buffer[i]));
    tenon_dim_pool_init(&pool, arena);
    TENON_TRY(tenon_graph_create(t->cx, arena, &pool, NULL, &g));
    for (; count < 4 && pack->src[count] >= 0; count++) {
        src[count] = t->s->src[pack->src[count]];
        tenon_type type = {.dtype = src[count].dtype, .rank = src[count].rank};
        for (int k = 0; k < type.rank; k++) type.dim[k] = tenon_dim_const(&pool, src[count].dim[k]);
        TENON_TRY(tenon_graph_value(g, "w", &type, &value[count]));
        TENON_TRY(tenon_graph_add_input(g, value[count]));
    }
    TENON_TRY(tenon_graph_node(g, pack->op, "pack", count, value, 1, &n));
    TENON_TRY(tenon_pack_attrs(g, n, pack));
    TENON_TRY(tenon_infer_node(t->cx, g, n));
    TENON_TRY(tenon_graph_add_output(g, n->dst[0]));
    tenon_heap heap;
    tenon_heap_init(&heap, t->cx);
    b->pack[i].data = b->pack_buffer[i].host;
    const tenon_status status = tenon_eval_graph(t->cx, g, src, count, &b->pack[i], 1, &heap, NULL, NULL);
    tenon_heap_free(&heap);
    b->pack[i].data = b->pack_buffer[i].device;
    TENON_TRY(status);
    return buffer_push(t->cx, &b->pack_buffer[i]);
}

static tenon_status make_packs(bound *b)
{
    tenon_arena arena;
    tenon_arena_init(&arena, b->t->cx);
    tenon_status status = TENON_OK;
    for (int i = 0; status == TENON_OK && i < b->plan.pack_count; i++) status = make_pack(b, &arena, i);
    tenon_arena_free(&arena);
    return status;
}

static size_t element_align(tenon_dtype t) { return TENON_MAX((size_t)tenon_dtype_get(t)->bits / 8, (size_t)1); }

static tenon_status make_operands(bound *b)
{
    const trial *t = b->t;
    const subject *s = t->s;
    for (int i = 0; i < s->problem->src_count; i++) {
        b->src[i] = s->src[i];
        b->src[i].data = NULL;
        if (b->plan.src_packed >> i & 1) continue;
        /* constants of an engine lie at multiples of 64; results and inputs anywhere */
        const size_t align = s->problem->src[i].format.weight ? 64 : element_align(s->src[i].dtype);
        TENON_TRY(buffer_make(t->cx, t->backend, t->device, "src", i, s->src_bytes[i], align, t->tight, &b->src_buffer[i]));
        memcpy(b->src_buffer[i].host, s->src_block[i], s->src_bytes[i]);
        b->src[i].data = b->src_buffer[i].device;
        TENON_TRY(buffer_push(t->cx, &b->src_buffer[i]));
    }
    for (int i = 0; i < s->problem->dst_count; i++) {
        b->dst[i] = s->dst[i];
        TENON_TRY(buffer_make(t->cx, t->backend, t->device, "dst", i, s->dst_bytes[i], element_align(s->dst[i].dtype), t->tight,
                              &b->dst_buffer[i]));
        b->dst[i].data = b->dst_buffer[i].device;
    }
    return TENON_OK;
}

static tenon_status make_kernels(bound *b)
{
    const trial *t = b->t;
    for (int i = 0; i < b->plan.kernel_count; i++) {
        const tenon_kernel_source *source = &b->plan.kernel[i];
        tenon_buf image;
        tenon_buf_init(&image, t->cx);
        tenon_status status = t->backend->kernel_compile(t->cx, t->device, source, &image);
        if (status == TENON_OK)
            status = t->backend->kernel_load(t->cx, t->device, image.data, image.length, source->entry, &b->kernel[i]);
        tenon_buf_free(&image);
        TENON_TRY(status);
    }
    return TENON_OK;
}

static tenon_status poison(bound *b)
{
    tenon_cx *cx = b->t->cx;
    if (b->workspace.map) memset(b->workspace.host, POISON, b->workspace.bytes);
    if (b->scratch.map) memset(b->scratch.host, POISON, b->scratch.bytes);
    TENON_TRY(buffer_push(cx, &b->workspace));
    for (int i = 0; i < b->t->s->problem->dst_count; i++) {
        memset(b->dst_buffer[i].host, POISON, b->dst_buffer[i].bytes);
        TENON_TRY(buffer_push(cx, &b->dst_buffer[i]));
    }
    return TENON_OK;
}

/* Dims at the upper end of the symbols' ranges, as a bucket of shapes has them: grids are sized for these, surplus blocks must see that they
   are surplus. False: there are no symbols, or no upper end. */
static bool most_shapes(const trial *t, tenon_tensor *src, tenon_tensor *dst)
{
    const tenon_dim_pool *pool = t->s->problem->graph->dims;
    int64_t hi[TENON_PROBLEM_SYMBOLS];
    tenon_cx quiet;
    for (size_t i = 0; i < pool->symbol_count; i++) {
        if (pool->symbol[i].data_dependent || pool->symbol[i].hi > 1 << 24) return false;
        hi[i] = pool->symbol[i].hi;
    }
    tenon_cx_init_child(&quiet, t->cx);
    return pool->symbol_count > 0 && tenon_problem_shapes(&quiet, t->s->problem, hi, src, dst) == TENON_OK;
}

tenon_status bound_make(const trial *t, bound *b)
{
    memset(b, 0, sizeof *b);
    b->t = t;
    const tenon_problem *p = t->s->problem;
    TENON_TRY(t->tactic->plan(t->cx, p, &t->variant, t->device, &b->plan));
    if (b->plan.record_bytes > TENON_RECORD_MAX || b->plan.pack_count > TENON_MAX_PACK ||
        b->plan.kernel_count > TENON_MAX_KERNELS)
        return TENON_FAIL(t->cx, TENON_INTERNAL, "the plan asks for a record of %zu bytes, %d packed weights, %d kernels",
                          b->plan.record_bytes, b->plan.pack_count, b->plan.kernel_count);
    TENON_TRY(make_packs(b));
    TENON_TRY(make_operands(b));
    TENON_TRY(make_kernels(b));
    b->scratch_bytes = (b->plan.scratch_bytes + 63) / 64 * 64;
    if (b->plan.workspace_bytes)
        TENON_TRY(buffer_make(t->cx, t->backend, t->device, "workspace", 0, b->plan.workspace_bytes, 64, t->tight,
                              &b->workspace));
    /* scratch and record are the host's on every backend */
    extern const tenon_backend tenon_backend_null;
    if (b->scratch_bytes)
        TENON_TRY(buffer_make(t->cx, &tenon_backend_null, t->device, "scratch", 0, b->scratch_bytes * (size_t)t->threads, 64,
                              t->tight,
                              &b->scratch));
    TENON_TRY(buffer_make(t->cx, &tenon_backend_null, t->device, "record", 0, TENON_MAX(b->plan.record_bytes, (size_t)1), 64,
                          t->tight,
                          &b->record));
    memset(b->record.host, POISON, b->record.bytes);
    if (b->plan.shape_count) {
        TENON_TRY(buffer_make(t->cx, t->backend, t->device, "shape block", 0, (size_t)b->plan.shape_count * sizeof(int64_t), 8,
                              t->tight, &b->shape));
        memset(b->shape.host, POISON, b->shape.bytes);
    }
    TENON_TRY(poison(b));
    tenon_tensor src_most[TENON_PROBLEM_SRC], dst_most[TENON_PROBLEM_DST];
    const bool bucket = b->plan.shape_count && most_shapes(t, src_most, dst_most);
    const tenon_bind bind = {.problem = p, .variant = &t->variant, .plan = &b->plan, .src = b->src, .dst = b->dst, .pack = b->pack,
                             .workspace = b->workspace.device, .threads = t->threads, .device = t->device, .kernel = b->kernel,
                             .shape = (int64_t *)(void *)b->shape.host, .shape_device = b->shape.device,
                             .src_most = bucket ? src_most : NULL, .dst_most = bucket ? dst_most : NULL};
    memory_watch_begin();
    const tenon_status status = t->tactic->bind(t->cx, &bind, b->record.host);
    b->allocations += memory_watch_end();
    return status == TENON_OK && b->plan.shape_count ? buffer_push(t->cx, &b->shape) : status;
}

tenon_status bound_launch(bound *b, int times)
{
    const trial *t = b->t;
    const tenon_launch step = {.tactic = t->tactic, .record = b->record.host};
    tenon_launch list[4];
    for (int i = 0; i < times && i < 4; i++) list[i] = step;
    memory_watch_begin();
    tenon_status status = t->backend->launch(t->cx, t->device, NULL, list, (size_t)times, b->scratch.host, b->scratch_bytes);
    const long launching = memory_watch_end();
    if (t->backend->host_memory) b->allocations += launching; /* a device's driver keeps books of its own */
    if (status == TENON_OK) status = t->backend->synchronize(t->cx, t->device, NULL);
    return status;
}

void bound_free(bound *b)
{
    if (!b->t) return;
    for (int i = 0; i < TENON_PROBLEM_SRC; i++) buffer_free(&b->src_buffer[i]);
    for (int i = 0; i < TENON_PROBLEM_DST; i++) buffer_free(&b->dst_buffer[i]);
    for (int i = 0; i < TENON_MAX_PACK; i++) buffer_free(&b->pack_buffer[i]);
    for (int i = 0; i < TENON_MAX_KERNELS; i++)
        if (b->kernel[i]) b->t->backend->kernel_unload(b->t->device, b->kernel[i]);
    buffer_free(&b->workspace);
    buffer_free(&b->scratch);
    buffer_free(&b->record);
    buffer_free(&b->shape);
}

/* ---- judging ---- */
#define WRONG(...) (snprintf(why, why_bytes, __VA_ARGS__), false)

static bool intact(const bound *b, char *why, size_t why_bytes)
{
    const subject *s = b->t->s;
    const buffer *all[] = {&b->workspace, &b->scratch, &b->record, &b->shape};
    for (size_t i = 0; i < TENON_COUNTOF(all); i++)
        if (!buffer_intact(all[i])) return WRONG("wrote around %s", all[i]->name);
    for (int i = 0; i < TENON_MAX_PACK; i++)
        if (!buffer_intact(&b->pack_buffer[i])) return WRONG("wrote around packed weight %d", i);
    for (int i = 0; i < s->problem->dst_count; i++)
        if (!buffer_intact(&b->dst_buffer[i])) return WRONG("wrote around dst %d", i);
    for (int i = 0; i < s->problem->src_count; i++) {
        if (!b->src_buffer[i].map) continue;
        if (buffer_pull(b->t->cx, &b->src_buffer[i]) != TENON_OK) return WRONG("%s", b->t->cx->message);
        if (!buffer_intact(&b->src_buffer[i]) || memcmp(b->src_buffer[i].host, s->src_block[i], s->src_bytes[i]))
            return WRONG("wrote to src %d or around it", i);
    }
    return true;
}

/* Bytes of a destination that belong to no element must still be poison. */
static bool gaps_intact(const bound *b, int index, char *why, size_t why_bytes)
{
    const tenon_tensor *t = &b->t->s->dst[index];
    const size_t size = tenon_dtype_bytes(t->dtype, 1), bytes = b->dst_buffer[index].bytes;
    const int64_t count = tenon_tensor_count(t);
    if ((size_t)count * size == bytes || tenon_dtype_get(t->dtype)->bits < 8) return true;
    uint8_t *copy = tenon_alloc(b->t->cx, bytes + 1);
    if (!copy) return WRONG("no memory");
    memcpy(copy, b->dst_buffer[index].host, bytes);
    for (int64_t i = 0; i < count; i++) memset(copy + (size_t)tenon_tensor_offset(t, i) * size, POISON, size);
    size_t at = 0;
    while (at < bytes && copy[at] == POISON) at++;
    tenon_free(b->t->cx, copy);
    return at == bytes || WRONG("dst %d: wrote between the pitches, at byte %zu", index, at);
}

typedef struct difference { int64_t index, count; double got, want, most, allowed; } difference;

static bool same_number(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

/* EXTREME without anchors spreads over the whole range of the type, where one scale for all would forgive everything. */
static void compare_floats(const subject *s, int dst, const tenon_tensor *got, bool tf32, difference *d)
{
    const tenon_tensor *want = &s->want[dst], *flushed = s->flushed[dst].data ? &s->flushed[dst] : NULL;
    const int64_t count = tenon_tensor_count(want);
    const bool spread = s->mode == MODE_EXTREME && s->problem->anchor_count == 0;
    /* TF32 rounds operands by 2^-11; a program behind the product (clip, sigmoid) may leave a result much smaller than what was rounded */
    const double tolerance = s->tolerance + (tf32 ? 0x1p-7 : 0);
    /* a sum that is rounded to f16 may fall on the neighbour, and below the normal ones neighbours are that far apart */
    const double least = got->dtype == TENON_F16 ? 0x1p-24 : 1e-37;
    const double floor = s->tolerance > 0 ? least : flushed ? smallest_normal(got->dtype) : 0;
    double scale = 0;
    for (int64_t i = 0; i < count; i++) {
        const double w = tenon_tensor_get_f64(want, i);
        if (isfinite(w)) scale = fmax(scale, fabs(w));
    }
    for (int64_t i = 0; i < count; i++) {
        const double w = tenon_tensor_get_f64(want, i), g = tenon_tensor_get_f64(got, tenon_tensor_offset(got, i));
        if (same_number(w, g)) continue;
        if (s->mode == MODE_EXTREME && s->problem->anchor_count > 0 && !isfinite(w)) continue;
        const double allowed = tolerance * (spread ? fmax(fabs(w), 1) : scale) + floor, error = fabs(g - w);
        if (isfinite(w) && error <= allowed) continue;
        const double f = flushed ? tenon_tensor_get_f64(flushed, i) : w;
        if (flushed && (same_number(f, g) || fabs(g - f) <= fmax(tolerance * fabs(f), floor))) continue;
        if (d->count++ == 0 || error > d->most || (isnan(error) && !isnan(d->most)))
            d->index = i, d->got = g, d->want = w, d->most = error, d->allowed = allowed;
    }
}

static void compare_exact(const subject *s, int dst, const tenon_tensor *got, difference *d)
{
    const tenon_tensor *want = &s->want[dst], *flushed = s->flushed[dst].data ? &s->flushed[dst] : want;
    for (int64_t i = 0, count = tenon_tensor_count(want); i < count; i++) {
        const int64_t w = tenon_tensor_get_i64(want, i), g = tenon_tensor_get_i64(got, tenon_tensor_offset(got, i));
        if (w != g && tenon_tensor_get_i64(flushed, i) != g && d->count++ == 0) d->index = i, d->got = (double)g, d->want =
            (double)w, d->most = fabs((double)g - (double)w);
    }
}

static void place_text(const tenon_tensor *t, int64_t index, char *out, size_t bytes)
{
    int64_t at[TENON_MAX_RANK];
    for (int i = t->rank - 1; i >= 0; i--) at[i] = index % TENON_MAX(t->dim[i], 1), index /= TENON_MAX(t->dim[i], 1);
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < t->rank && n + 24 < bytes; i++) n += (size_t)snprintf(out + n, bytes - n, "%s%lld", i ? "," : "",
                                                                              (long long)at[i]);
}

static bool results_match(const bound *b, char *why, size_t why_bytes)
{
    const subject *s = b->t->s;
    for (int i = 0; i < s->problem->dst_count; i++) {
        tenon_tensor got = s->dst[i];
        difference d = {0};
        char place[256];
        got.data = b->dst_buffer[i].host;
        bool same = got.dtype == s->want[i].dtype && got.rank == s->want[i].rank;
        for (int k = 0; same && k < got.rank; k++) same = got.dim[k] == s->want[i].dim[k];
        if (!same) return WRONG("dst %d: the reference gives another shape than the problem", i);
        if (!gaps_intact(b, i, why, why_bytes)) return false;
        if (tenon_is_float(got.dtype)) compare_floats(s, i, &got, (b->t->tactic->flags & TENON_TACTIC_TF32) != 0, &d);
        else compare_exact(s, i, &got, &d);
        place_text(&got, d.index, place, sizeof place);
        if (d.count)
            return WRONG("dst %d: %lld of %lld differ; worst at [%s]: expected %.9g, got %.9g, error %.3g, allowed %.3g", i,
                         (long long)d.count,
                         (long long)tenon_tensor_count(&got), place, d.want, d.got, d.most, d.allowed);
    }
    return true;
}

static bool pull(bound *b, char *why, size_t why_bytes)
{
    for (int i = 0; i < b->t->s->problem->dst_count; i++)
        if (buffer_pull(b->t->cx, &b->dst_buffer[i]) != TENON_OK) return WRONG("%s", b->t->cx->message);
    if (buffer_pull(b->t->cx, &b->workspace) != TENON_OK) return WRONG("%s", b->t->cx->message);
    return true;
}

static uint64_t hash_results(const bound *b)
{
    uint64_t h = 0;
    for (int i = 0; i < b->t->s->problem->dst_count; i++) h = XXH3_64bits_withSeed(b->dst_buffer[i].host, b->dst_buffer[i].bytes,
                                                                                   h);
    return h;
}

static bool run_and_judge(bound *b, char *why, size_t why_bytes)
{
    const trial *t = b->t;
    const tenon_status made = bound_make(t, b);
    b->impossible = made == TENON_UNSUPPORTED && b->plan.kernel_count && !t->tactic->source_hash_of;
    if (b->impossible) return true;
    if (made != TENON_OK) return WRONG("binding: %s", t->cx->message);
    const uint64_t record = XXH3_64bits(b->record.host, b->plan.record_bytes);
    if (bound_launch(b, 1) != TENON_OK) return WRONG("running: %s", t->cx->message);
    if (!pull(b, why, why_bytes) || !intact(b, why, why_bytes)) return false;
    if (!(t->tactic->flags & TENON_TACTIC_REFERENCE) && b->allocations)
        return WRONG("bind and run allocated %ld times", b->allocations);
    if (t->only_alloc) return true;
    if (!results_match(b, why, why_bytes)) return false;
    if (t->tactic->flags & TENON_TACTIC_REFERENCE) return true;
    const uint64_t first = hash_results(b);
    if (poison(b) != TENON_OK || bound_launch(b, 2) != TENON_OK) return WRONG("running twice: %s", t->cx->message);
    if (!pull(b, why, why_bytes) || !intact(b, why, why_bytes)) return false;
    if (XXH3_64bits(b->record.host, b->plan.record_bytes) != record) return WRONG("run changed its launch record");
    if (t->tactic->flags & TENON_TACTIC_DETERMINISTIC)
        return hash_results(b) == first || WRONG("a second run gives other bits");
    return results_match(b, why, why_bytes);
}

bool trial_run(trial *t, char *why, size_t why_bytes)
{
    bound *b = tenon_alloc_zero(t->cx, sizeof *b);
    if (!b) return WRONG("no memory");
    b->t = t;
    const bool ok = run_and_judge(b, why, why_bytes);
    t->impossible = b->impossible;
    bound_free(b);
    tenon_free(t->cx, b);
    return ok;
}
