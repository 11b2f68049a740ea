/* SPDX-License-Identifier: Apache-2.0 */
/* Binding and racing of launch lists, see race.h. A time is the lowest of its rounds, since everything that disturbs makes
   times longer; it is believed when a second round came close to it. */
#include "plan/race.h"

#include "base/checked.h"
#include "base/clock.h"

#include <string.h>

/* One call of backend->time is to last about a millisecond: shorter than a slice of the scheduler, so that some calls see a
   machine that does nothing else. */
#define CALL_SECONDS 1e-3
/* Two rounds that agree so far are the time, not the noise. */
#define AGREE 1.03
#define SHORT_SECONDS 50e-6
/* Slower by this factor when first timed, and by that one by the model: out at once. */
#define FAR 2.0
#define EXPECTED_FAR 1.5
enum { TILE_BYTES = 256 << 10 };
enum { ROUNDS_SHORT = 24, ROUNDS = 10, ROUNDS_LONG = 4, ROUNDS_LEAST = 2 };

void tenon_race_init(tenon_race *t, tenon_cx *cx, const tenon_backend *backend, tenon_device *device)
{
    *t = (tenon_race){.cx = cx, .backend = backend, .device = device};
}

void tenon_race_free(tenon_race *t)
{
    for (size_t i = 0; i < t->kernel_count; i++) t->backend->kernel_unload(t->device, t->kernel[i]);
    for (size_t i = 0; i < t->block_count; i++) t->backend->release(t->device, t->block[i]);
    for (size_t i = 0; i < t->record_count; i++) tenon_free_aligned(t->cx, t->record[i]);
    tenon_free(t->cx, t->kernel);
    tenon_free(t->cx, t->block);
    tenon_free(t->cx, t->record);
    tenon_free(t->cx, t->pack);
    tenon_race_init(t, t->cx, t->backend, t->device);
}

/* Room for one more, before the thing that is to be kept is made. */
static tenon_status reserve(tenon_race *t, void *array, size_t *capacity, size_t count, size_t element_bytes)
{
    void *grown, **list = array;
    if (count < *capacity) return TENON_OK;
    const size_t more = *capacity ? *capacity * 2 : 32;
    grown = tenon_realloc(t->cx, *list, more * element_bytes);
    if (!grown) return TENON_NOMEM;
    *list = grown;
    *capacity = more;
    return TENON_OK;
}

/* ---- buffers ---- */
static void fill(void *data, size_t bytes, tenon_dtype dtype, uint64_t seed)
{
    if (dtype == TENON_F32) {
        float *f = data;
        for (size_t i = 0; i < bytes / 4; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            f[i] = (float)(int32_t)(seed >> 32) * (1.0f / 2147483648.0f);
        }
    } else if (dtype == TENON_F16 || dtype == TENON_BF16) { /* of either sign, half to one: a GPU's clock depends on the bits */
        const uint16_t half = dtype == TENON_F16 ? 0x3800 : 0x3f00, mantissa = dtype == TENON_F16 ? 0x3ff : 0x7f;
        uint16_t *h = data;
        for (size_t i = 0; i < bytes / 2; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            h[i] = (uint16_t)(half | (seed >> 40 & mantissa) | (seed >> 48 & 0x8000));
        }
    } else {
        memset(data, 0, bytes); /* indices and masks: zero is always inside */
    }
}

static tenon_status device_block(tenon_race *t, size_t bytes, void **out)
{
    *out = NULL;
    TENON_TRY(reserve(t, &t->block, &t->block_capacity, t->block_count, sizeof *t->block));
    TENON_TRY(t->backend->alloc(t->cx, t->device, bytes, out));
    t->block[t->block_count++] = *out;
    return TENON_OK;
}

/* A tile comes from the host, and the device doubles it until the block is full: nothing large crosses the bus. */
static tenon_status fill_device(tenon_race *t, uint8_t *block, size_t bytes, tenon_dtype dtype)
{
    size_t done = TENON_MIN(bytes, (size_t)TILE_BYTES);
    void *tile = tenon_alloc(t->cx, done);
    if (!tile) return TENON_NOMEM;
    fill(tile, done, dtype, bytes);
    tenon_status status = t->backend->upload(t->cx, t->device, block, tile, done);
    tenon_free(t->cx, tile);
    for (size_t more; status == TENON_OK && done < bytes; done += more) {
        more = TENON_MIN(done, bytes - done);
        status = t->backend->copy(t->cx, t->device, block + done, block, more);
    }
    return status;
}

tenon_status tenon_race_buffer(tenon_race *t, tenon_dtype dtype, size_t bytes, void **out)
{
    bytes = tenon_round_up(bytes, 64);
    TENON_TRY(device_block(t, bytes, out));
    if (!t->backend->host_memory) return fill_device(t, *out, bytes, dtype);
    fill(*out, bytes, dtype, bytes);
    return TENON_OK;
}

/* Its contents are nobody's: it is not filled. */
static tenon_status give_workspace(tenon_race *t, size_t bytes, void **out)
{
    if (bytes > t->workspace_bytes) {
        TENON_TRY(device_block(t, tenon_round_up(bytes, 64), &t->workspace));
        t->workspace_bytes = bytes;
    }
    *out = t->workspace;
    return TENON_OK;
}

size_t tenon_race_span(const tenon_tensor *x)
{
    int64_t last = 0;
    for (int k = 0; k < x->rank; k++) last += (TENON_MAX(x->dim[k], 1) - 1) * x->stride[k];
    return tenon_dtype_bytes(x->dtype, (size_t)last + 1);
}

static tenon_status give_buffer(tenon_race *t, tenon_tensor *x)
{
    return x->data ? TENON_OK : tenon_race_buffer(t, x->dtype, tenon_race_span(x), &x->data);
}

static tenon_status give_pack(tenon_race *t, const tenon_problem *p, const tenon_pack *pack, tenon_tensor *out)
{
    for (size_t i = 0; i < t->pack_count; i++) {
        const tenon_race_pack *k = &t->pack[i];
        if (k->problem != p || k->pack.op != pack->op || memcmp(k->pack.src, pack->src, sizeof pack->src) != 0 ||
            memcmp(k->pack.attr, pack->attr, sizeof pack->attr) != 0)
            continue;
        *out = k->tensor;
        return TENON_OK;
    }
    TENON_TRY(reserve(t, &t->pack, &t->pack_capacity, t->pack_count, sizeof *t->pack));
    TENON_TRY(tenon_pack_type(t->cx, p, pack, out));
    out->data = NULL;
    TENON_TRY(give_buffer(t, out));
    t->pack[t->pack_count++] = (tenon_race_pack){p, *pack, *out};
    return TENON_OK;
}

/* ---- binding ---- */
static tenon_status load_kernel(tenon_race *t, const tenon_kernel_source *source, void **out)
{
    tenon_buf image;
    TENON_TRY(reserve(t, &t->kernel, &t->kernel_capacity, t->kernel_count, sizeof *t->kernel));
    tenon_buf_init(&image, t->cx);
    tenon_status status = t->backend->kernel_compile(t->cx, t->device, source, &image);
    if (status == TENON_OK)
        status = t->backend->kernel_load(t->cx, t->device, image.data, image.length, source->entry, out);
    if (status == TENON_OK) t->kernel[t->kernel_count++] = *out;
    tenon_buf_free(&image);
    return status;
}

static tenon_status host_block(tenon_race *t, size_t bytes, void **out)
{
    TENON_TRY(reserve(t, &t->record, &t->record_capacity, t->record_count, sizeof *t->record));
    *out = tenon_alloc_aligned(t->cx, TENON_MAX(bytes, 64), 64);
    if (!*out) return TENON_NOMEM;
    t->record[t->record_count++] = *out;
    return TENON_OK;
}

tenon_status tenon_race_bind(tenon_race *t, tenon_race_step *s, tenon_launch *out)
{
    const tenon_problem *p = s->problem;
    const tenon_tactic_plan *plan = s->plan;
    void *kernel[TENON_MAX_KERNELS] = {NULL}, *record, *shape = NULL, *shape_device = NULL;
    for (int i = 0; i < p->src_count; i++)
        if (!(plan->src_packed >> i & 1)) TENON_TRY(give_buffer(t, &s->src[i]));
    for (int i = 0; i < p->dst_count; i++) TENON_TRY(give_buffer(t, &s->dst[i]));
    for (int i = 0; i < plan->pack_count; i++)
        if (!s->pack[i].data) TENON_TRY(give_pack(t, p, &plan->pack[i], &s->pack[i]));
    if (plan->workspace_bytes && !s->workspace)
        TENON_TRY(give_workspace(t, plan->workspace_bytes, &s->workspace));
    const size_t shape_bytes = (size_t)plan->shape_count * sizeof(int64_t);
    if (shape_bytes) {
        TENON_TRY(host_block(t, shape_bytes, &shape));
        TENON_TRY(tenon_race_buffer(t, TENON_I64, shape_bytes, &shape_device));
    }
    for (int i = 0; i < plan->kernel_count; i++) TENON_TRY(load_kernel(t, &plan->kernel[i], &kernel[i]));
    TENON_TRY(host_block(t, plan->record_bytes, &record));
    const tenon_bind bind = {.problem = p,
                             .variant = s->variant,
                             .plan = plan,
                             .src = s->src,
                             .dst = s->dst,
                             .pack = s->pack,
                             .workspace = s->workspace,
                             .threads = t->backend->info(t->device)->threads,
                             .device = t->device,
                             .kernel = kernel,
                             .shape = shape,
                             .shape_device = shape_device,
                             .src_most = s->src_most,
                             .dst_most = s->dst_most};
    TENON_TRY(s->tactic->bind(t->cx, &bind, record));
    if (shape_bytes) TENON_TRY(t->backend->upload(t->cx, t->device, shape_device, shape, shape_bytes));
    *out = (tenon_launch){.tactic = s->tactic, .record = record};
    return TENON_OK;
}

/* ---- racing ---- */
static bool is_sure(const tenon_racer *r) { return r->rounds >= ROUNDS_LEAST && r->second <= r->seconds * AGREE; }

static bool is_out(const tenon_racer *r, const tenon_racer *best, double drop_at)
{
    if (r->failed) return true;
    if (!r->rounds || r == best) return false;
    if (r->seconds > best->seconds * FAR && r->expected > best->expected * EXPECTED_FAR) return true;
    return r->rounds >= ROUNDS_LEAST && r->second <= r->seconds * drop_at && r->seconds > best->seconds * drop_at;
}

/* A library knows only at the launch what it cannot do; a device that is broken says so again at the next list. */
static tenon_status drop(tenon_race *t, tenon_racer *r, tenon_status why, double *out)
{
    const bool refused = why == TENON_UNSUPPORTED;
    if (r->rounds || (!refused && why != TENON_DEVICE)) return why;
    tenon_log(t->cx, refused ? TENON_VERBOSE : TENON_WARNING, refused ? TENON_TOPIC_REJECT : TENON_TOPIC_TIME, "%s is left out: %s",
              r->step[r->count - 1].tactic->name, t->cx->message);
    r->failed = why;
    *out = r->seconds = r->second = TENON_RACE_NEVER;
    return TENON_OK;
}

tenon_status tenon_race_time(tenon_race *t, tenon_racer *r, double *out)
{
    const tenon_status status = t->backend->time(t->cx, t->device, r->step, r->count, r->scratch_bytes, CALL_SECONDS, out);
    if (status != TENON_OK) return drop(t, r, status, out);
    const double seconds = *out;
    if (!r->rounds++) {
        r->seconds = r->second = seconds;
    } else if (r->rounds == 2 || seconds < r->second) {
        r->second = TENON_MAX(seconds, r->seconds);
        r->seconds = TENON_MIN(seconds, r->seconds);
    }
    return TENON_OK;
}

static bool is_open(const tenon_racer *racer, size_t count, const tenon_racer *best, double drop_at)
{
    for (size_t i = 0; i < count; i++)
        if (!is_out(&racer[i], best, drop_at) && !is_sure(&racer[i])) return true;
    return false;
}

static tenon_status nobody_left(tenon_race *t, const tenon_racer *racer, size_t count)
{
    bool broken = false;
    for (size_t i = 0; i < count; i++) {
        if (!racer[i].failed) return TENON_OK;
        broken |= racer[i].failed == TENON_DEVICE;
    }
    return broken ? tenon_fail_in(t->cx, TENON_DEVICE, "nothing runs, %zu tried: ", count) : TENON_OK;
}

tenon_status tenon_race_run(tenon_race *t, tenon_racer *racer, size_t count, double drop_at, double budget)
{
    const double start = tenon_now();
    const tenon_racer *best = racer;
    for (size_t i = 0; i < count; i++) racer[i].rounds = 0, racer[i].failed = TENON_OK;
    for (int round = 0; count && (round == 0 || is_open(racer, count, best, drop_at)); round++) {
        const int most = best->seconds < SHORT_SECONDS ? ROUNDS_SHORT : best->seconds < 1e-3 ? ROUNDS : ROUNDS_LONG;
        if (round >= ROUNDS_LEAST && (round >= most || tenon_now() - start > budget)) break;
        for (size_t i = 0; i < count; i++) {
            if (is_out(&racer[i], best, drop_at)) continue;
            TENON_TRY(tenon_progress(t->cx, "timing", 0, 0)); /* of how many is not known here */
            double seconds;
            TENON_TRY(tenon_race_time(t, &racer[i], &seconds));
            if (racer[i].seconds < best->seconds || !best->rounds) best = &racer[i];
        }
    }
    return count ? nobody_left(t, racer, count) : TENON_OK;
}
