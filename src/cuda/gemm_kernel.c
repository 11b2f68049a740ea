/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products by fused multiply-adds: f32, and f16 and bf16 with sums in f32; any strides, leading axes with broadcasting, a
   program on the result. Variants are tile shapes; which is best depends on the number of rows, so they are offered in the order
   of a small model. */
#include "cuda/gemm_product.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char tenon_cuda_src_gemm[];

/* One block: bm x bn results in chunks of bk, tm x tn a thread, wk groups along the depth, one or two chunks in shared memory.
   Stored in engines by place: append only. */
typedef struct tile { int bm, bn, bk, tm, tn, wk, buffers; } tile;
static const tile tiles[] = {
    {64, 64, 16, 4, 4, 1, 2}, {128, 128, 8, 8, 8, 1, 2}, {128, 64, 8, 8, 4, 1, 2}, {32, 64, 32, 4, 4, 1, 2},
    {32, 32, 64, 4, 4, 4, 2}, {16, 32, 128, 2, 4, 4, 1}, {8, 32, 128, 2, 4, 8, 1}, {8, 16, 128, 2, 2, 8, 2},
    {16, 16, 128, 2, 2, 4, 2}, {64, 32, 32, 4, 4, 2, 2}, {8, 16, 256, 2, 2, 16, 1}, {8, 8, 256, 2, 2, 16, 1},
    {16, 16, 256, 2, 2, 8, 1}, {16, 8, 256, 2, 2, 16, 1},
};
enum { TILES = TENON_COUNTOF(tiles), P_TILE = 0 };

static int threads_of(const tile *t) { return t->bm / t->tm * (t->bn / t->tn) * t->wk; }
static int vector_of(const tile *t) { return TENON_MIN(t->tn, 4); }

/* ---- variants ---- */
/* Seconds by a rough model: how many rounds of blocks the multiprocessors make, and how long a block takes. */
static double model(const tile *t, double m, double n, double k, double batch, int multiprocessors)
{
    const double blocks = ((m + t->bm - 1) / t->bm) * ((n + t->bn - 1) / t->bn) * batch;
    const double reuse = (double)t->tm * t->tn / (t->tm * t->tn + 2.0 * (t->tm + t->tn));
    const double busy = TENON_MIN(1.0, threads_of(t) * TENON_MAX(1.0, blocks / multiprocessors) / 512.0);
    const double work = (double)t->bm * t->bn * k / (128 * 1.6e9 * reuse * busy), waits = ceil(k / t->bk) * 0.6e-6;
    return 2e-6 + TENON_MAX(1.0, blocks / multiprocessors) * work + waits * TENON_MAX(1.0, blocks * threads_of(t) / (multiprocessors * 1024.0));
}

static double modelled(const tenon_problem *p, const tile *t, const tenon_device *device)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *a = &n->src[0]->type, *b = &n->src[1]->type, *y = &n->dst[0]->type;
    const tenon_dim_pool *pool = p->graph->dims;
    double m = (double)tenon_dim_at_opt(pool, a->dim[a->rank - 2]), batch = 1;
    for (int i = 0; i < y->rank - 2; i++) batch *= (double)tenon_dim_at_opt(pool, y->dim[i]);
    if (b->rank == 2) m *= batch, batch = 1;
    return model(t, m, (double)tenon_dim_at_opt(pool, b->dim[b->rank - 1]), (double)tenon_dim_at_opt(pool, a->dim[a->rank - 1]), batch,
                 tenon_cuda_multiprocessors(device));
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    double seconds[TILES];
    int count = 0;
    const tenon_node *n = p->anchor[0].node;
    if (n->src[0]->type.rank < 2 || n->src[1]->type.rank < 2) return 0;
    for (int i = 0; i < (int)TILES; i++) { /* insertion, by the model */
        const double s = modelled(p, &tiles[i], device);
        int at = count++;
        while (at > 0 && seconds[at - 1] > s) {
            seconds[at] = seconds[at - 1];
            if (at < max) out[at] = out[at - 1];
            at--;
        }
        seconds[at] = s;
        if (at < max) out[at] = (tenon_variant){{i}};
    }
    return TENON_MIN(count, max);
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)src, (void)dst;
    return modelled(p, &tiles[v->p[P_TILE]], device);
}

/* ---- the tactic ---- */
static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    tenon_cuda_product o;
    (void)device;
    const tenon_dtype type = p->anchor[0].node->src[0]->type.dtype;
    if (v->p[P_TILE] < 0 || v->p[P_TILE] >= (int)TILES) return "no such variant";
    if (type != TENON_F32 && type != TENON_F16 && type != TENON_BF16) return "neither f32 nor f16 nor bf16";
    return tenon_cuda_product_rejects(p, false, &o, scratch);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    const tile *t = &tiles[v->p[P_TILE]];
    tenon_cuda_product *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = tenon_cuda_product_make(p, false, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.matmul_fma: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#include \"prelude.cu\"\n");
    tenon_cuda_product_print(p, o, &b);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_gemm, "tenon_gemm", tenon_cuda_product_numbers(o), o, out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DBM=%d -DBN=%d -DBK=%d -DTM=%d -DTN=%d -DWK=%d -DBUFFERS=%d", t->bm, t->bn, t->bk, t->tm,
             t->tn, t->wk, t->buffers);
    out->in_place = true;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const tenon_cuda_product *o = b->plan->own;
    const tile *t = &tiles[b->variant->p[P_TILE]];
    const tenon_tensor *tensor[TENON_CUDA_TENSORS];
    memset(r, 0, sizeof *r);
    TENON_TRY(tenon_cuda_product_bind(cx, b, o, tensor, r));
    for (int i = 0; i < o->space.count; i++)
        r->args.aligned |= (uint32_t)tenon_cuda_space_is_aligned(&o->space, i, b->shape, tensor[i], vector_of(t)) << i;
    tenon_cuda_product_grid(b, o, t->bm, t->bn, r);
    r->threads = (uint32_t)threads_of(t);
    return TENON_OK;
}

const tenon_tactic tenon_cuda_matmul_fma = {
    .name = "cuda.matmul_fma", .pattern = "matmul", .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject, .plan = plan,
    .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "gemm",
};
