/* SPDX-License-Identifier: Apache-2.0 */
/* Every variant of every kernel tactic on a GPU against the reference: dynamic sizes at 1, in between and at the most, each time with
   the grid and the launch record of the most, so that only the shape block tells the kernel how much there is. Exit 77 without a
   device. */
#include "check.h"
#include "cuda_cases.h"

#include "cuda/backend.h"
#include "op/eval.h"
#include "run/engine.h"

#include <math.h>

typedef struct fixture {
    tenon_cx *cx;
    const tenon_backend *backend;
    tenon_device *device;
    size_t runs;
} fixture;

typedef struct bench {
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST];   /* on the host; dst: the reference's */
    tenon_tensor dsrc[TENON_PROBLEM_SRC], ddst[TENON_PROBLEM_DST]; /* on the device */
    tenon_tensor msrc[TENON_PROBLEM_SRC], mdst[TENON_PROBLEM_DST]; /* dims at the most */
    tenon_heap heap;
} bench;

static size_t span_bytes(const tenon_tensor *t)
{
    int64_t last = 0;
    for (int k = 0; k < t->rank; k++) last += (t->dim[k] - 1) * t->stride[k];
    return tenon_dtype_bytes(t->dtype, (size_t)last + 1);
}

static void fill(const tenon_tensor *t, uint64_t seed)
{
    for (int64_t i = 0; i < tenon_tensor_count(t); i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const double r = (double)(int32_t)(seed >> 32) / 2147483648.0;
        tenon_tensor_set_f64(t, tenon_tensor_offset(t, i), t->dtype == TENON_BOOL ? r > 0 : tenon_is_float(t->dtype) ? r : floor(r * 100));
    }
}

static tenon_status prepare(fixture *f, const tenon_problem *p, const int64_t *now, const int64_t *most, bench *b)
{
    TENON_TRY(tenon_problem_shapes(f->cx, p, now, b->src, b->dst));
    TENON_TRY(tenon_problem_shapes(f->cx, p, most, b->msrc, b->mdst));
    for (int i = 0; i < p->src_count; i++) {
        const size_t bytes = span_bytes(&b->src[i]);
        b->src[i].data = tenon_heap_alloc(&b->heap, bytes);
        if (!b->src[i].data) return TENON_NOMEM;
        memset(b->src[i].data, 0, bytes);
        fill(&b->src[i], (uint64_t)i + 7);
        b->dsrc[i] = b->src[i];
        TENON_TRY(f->backend->alloc(f->cx, f->device, bytes, &b->dsrc[i].data));
        TENON_TRY(f->backend->upload(f->cx, f->device, b->dsrc[i].data, b->src[i].data, bytes));
    }
    for (int i = 0; i < p->dst_count; i++) {
        const size_t bytes = span_bytes(&b->dst[i]);
        b->dst[i].data = tenon_heap_alloc(&b->heap, bytes);
        if (!b->dst[i].data) return TENON_NOMEM;
        memset(b->dst[i].data, 0xff, bytes);
        b->ddst[i] = b->dst[i];
        TENON_TRY(f->backend->alloc(f->cx, f->device, bytes + 64, &b->ddst[i].data)); /* and a guard behind it */
    }
    return tenon_eval_graph(f->cx, p->graph, b->src, p->src_count, b->dst, p->dst_count, &b->heap, NULL, NULL);
}

static void clean(fixture *f, const tenon_problem *p, bench *b)
{
    for (int i = 0; i < p->src_count; i++)
        if (b->dsrc[i].data) f->backend->release(f->device, b->dsrc[i].data);
    for (int i = 0; i < p->dst_count; i++)
        if (b->ddst[i].data) f->backend->release(f->device, b->ddst[i].data);
    tenon_heap_free(&b->heap);
}

/* Largest difference relative to the largest value; the guard must be as it was. */
static double difference(const tenon_tensor *want, tenon_tensor got, const uint8_t *raw)
{
    double worst = 0, scale = 1e-30;
    got.data = (void *)(uintptr_t)raw;
    for (int64_t i = 0; i < tenon_tensor_count(want); i++) {
        const int64_t at = tenon_tensor_offset(want, i);
        const double w = tenon_tensor_get_f64(want, at), g = tenon_tensor_get_f64(&got, at);
        scale = TENON_MAX(scale, fabs(w));
        worst = g == w ? worst : g == g ? TENON_MAX(worst, fabs(g - w)) : 1e30;
    }
    for (int i = 0; i < 64; i++)
        if (raw[span_bytes(want) + (size_t)i] != 0xff) return 1e30;
    return worst / scale;
}

static double tolerance(const tenon_problem *p)
{
    switch (p->dst[0].value->type.dtype) {
    case TENON_F32: return 1e-5;
    case TENON_F16: return 2e-3;
    case TENON_BF16: return 1.2e-2;
    default: return 0;
    }
}

static tenon_status launch(fixture *f, const tenon_problem *p, const tenon_tactic *t, const tenon_variant *v, const tenon_tactic_plan *plan,
                           void *kernel, bench *b, double *worst)
{
    int64_t shape[256];
    void *shape_device = NULL;
    tenon_cuda_record record;
    if (plan->shape_count > 256) return TENON_FAIL(f->cx, TENON_INTERNAL, "shape block of %d", plan->shape_count);
    TENON_TRY(f->backend->alloc(f->cx, f->device, sizeof shape, &shape_device));
    const tenon_bind bind = {.problem = p, .variant = v, .plan = plan, .src = b->dsrc, .dst = b->ddst, .threads = 1, .device = f->device,
                             .kernel = &kernel, .shape = shape, .shape_device = shape_device, .src_most = b->msrc, .dst_most = b->mdst};
    const tenon_launch step = {.tactic = t, .record = &record};
    *worst = 0;
    tenon_status status;
    TENON_TRY_DONE(t->bind(f->cx, &bind, &record));
    TENON_TRY_DONE(f->backend->upload(f->cx, f->device, shape_device, shape, (size_t)plan->shape_count * sizeof *shape));
    for (int i = 0; i < p->dst_count; i++) {
        const size_t bytes = span_bytes(&b->dst[i]) + 64;
        uint8_t *raw = tenon_heap_alloc(&b->heap, bytes);
        status = TENON_NOMEM;
        if (!raw) goto done;
        memset(raw, 0xff, bytes);
        TENON_TRY_DONE(f->backend->upload(f->cx, f->device, b->ddst[i].data, raw, bytes));
        TENON_TRY_DONE(f->backend->launch(f->cx, f->device, NULL, &step, 1, NULL, 0));
        TENON_TRY_DONE(f->backend->download(f->cx, f->device, raw, b->ddst[i].data, bytes));
        *worst = TENON_MAX(*worst, difference(&b->dst[i], b->ddst[i], raw));
    }
    f->runs++;
done:
    f->backend->release(f->device, shape_device);
    return status;
}

static void check_variant(fixture *f, const tenon_problem *p, const tenon_tactic *t, const tenon_variant *v, bench *b)
{
    tenon_tactic_plan plan = {0};
    tenon_buf image;
    void *kernel = NULL;
    double worst = 1e30;
    tenon_buf_init(&image, f->cx);
    if (CHECK_OK(f->cx, t->plan(f->cx, p, v, f->device, &plan)) && CHECK_OK(f->cx, f->backend->kernel_compile(f->cx, f->device, &plan.kernel[0], &image)) &&
        CHECK_OK(f->cx, f->backend->kernel_load(f->cx, f->device, image.data, image.length, plan.kernel[0].entry, &kernel)) &&
        CHECK_OK(f->cx, launch(f, p, t, v, &plan, kernel, b, &worst))) {
        const bool good = worst <= tolerance(p);
        if (!good) fprintf(stderr, "%s by %s[%d], first size %lld: off by %g\n", p->text, t->name, v->p[0], (long long)b->src[0].dim[0], worst);
        CHECK(good);
    }
    if (kernel) f->backend->kernel_unload(f->device, kernel);
    tenon_buf_free(&image);
}

static void check_sizes(fixture *f, const tenon_problem *p, const int64_t *now, const int64_t *most)
{
    bench b = {.src = {{0}}};
    tenon_heap_init(&b.heap, f->cx);
    if (CHECK_OK(f->cx, prepare(f, p, now, most, &b)))
        for (const tenon_tactic *const *t = tenon_cuda_tactics; *t; t++) {
            tenon_variant variant[32];
            tenon_reason reason;
            if (strcmp((*t)->pattern, p->pattern) != 0) continue;
            const int count = (*t)->variants(p, f->device, variant, 32);
            for (int i = 0; i < count; i++)
                if (!tenon_tactic_rejects(*t, p, &variant[i], f->device, 0, &reason)) check_variant(f, p, *t, &variant[i], &b);
        }
    clean(f, p, &b);
}

static void check_case(fixture *f, const char *text)
{
    tenon_arena arena;
    tenon_problem p;
    int64_t now[8] = {0}, most[8] = {0};
    tenon_arena_init(&arena, f->cx);
    if (CHECK_OK(f->cx, tenon_problem_parse(f->cx, &arena, text, &p))) {
        const tenon_dim_pool *pool = p.graph->dims;
        for (int round = 0; round < (pool->symbol_count ? 3 : 1); round++) {
            for (size_t i = 0; i < pool->symbol_count && i < 8; i++) {
                most[i] = pool->symbol[i].hi;
                now[i] = round == 0 ? pool->symbol[i].hi : round == 1 ? pool->symbol[i].lo : (pool->symbol[i].lo + pool->symbol[i].hi) / 2;
            }
            check_sizes(f, &p, now, most);
        }
    }
    tenon_arena_free(&arena);
}

int main(void)
{
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    fixture f = {.cx = &cx, .backend = tenon_backend_find("cuda")};
    if (!f.backend || f.backend->open(&cx, 0, 0, &f.device) != TENON_OK || f.backend->can_build(&cx, f.device) != TENON_OK) {
        printf("SKIP: %s\n", f.backend ? cx.message : "no CUDA backend in this build");
        return 77;
    }
    printf("%s\n", f.backend->info(f.device)->fingerprint);
    for (size_t i = 0; i < TENON_COUNTOF(cuda_case); i++) check_case(&f, cuda_case[i]);
    printf("%zu kernels ran\n", f.runs);
    f.backend->close(&f.device);
    return CHECK_END();
}
