/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products of f16, bf16 and (where TF32 is permitted) f32 on tensor cores by mma.sync, from one row to thousands.
   A variant is a tile, how many blocks share the
   depth (clusters, compute capability 9.0) and how many chunks are in shared memory; a model of a round of blocks puts them in order. */
#include "cuda/gemm_product.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_gemm_mma[];

/* One block: bm x bn results in chunks of bk, wm x wn x wk warps. Stored in engines by place: append only. */
typedef struct tile { int bm, bn, bk, wm, wn, wk; } tile;
static const tile tiles[] = {
    {128, 128, 32, 2, 4, 1}, {128, 256, 32, 2, 4, 1}, {256, 128, 32, 4, 2, 1}, {128, 64, 64, 4, 2, 1}, {64, 128, 64, 2, 4, 1},
    {64, 64, 64, 2, 2, 1},   {64, 64, 64, 2, 2, 2},   {64, 32, 64, 2, 1, 4},   {32, 64, 64, 1, 2, 4},  {32, 32, 64, 1, 1, 4},
    {32, 128, 64, 1, 4, 2},  {16, 128, 64, 1, 4, 2},  {16, 64, 64, 1, 2, 4},   {16, 32, 128, 1, 1, 8}, {16, 16, 128, 1, 1, 8},
    {32, 16, 128, 1, 1, 8},  {128, 128, 64, 2, 4, 1}, {64, 16, 64, 4, 1, 2},   {48, 32, 64, 1, 1, 4},  {48, 64, 64, 1, 2, 4},
};
enum { TILES = TENON_COUNTOF(tiles), P_TILE = 0, P_SPLIT, P_STAGES, STAGES_MOST = 16, VARIANTS = 20 };

static int threads_of(const tile *t) { return t->wm * t->wn * t->wk * 32; }

/* How operands lie: bytes of an element, and whether they run along the depth. */
typedef struct layout { int bytes; bool a_along, b_along; } layout;

static layout layout_of(const tenon_cuda_product *o)
{
    return (layout){(int)tenon_dtype_bytes(o->space.tensor[0].type->dtype, 1), o->step_a == 1,
                    o->step_b == 1 && o->space.tensor[1].stride[o->space.rank - 1] != 1};
}

/* As in gemm_mma.cu. */
static int pitch(int width, bool along, int bytes) { return bytes == 4 && !along ? width + 8 : (width * bytes / 16 | 1) * 16 / bytes; }
static int stage_bytes(const tile *t, layout l)
{
    const int a = (l.a_along ? t->bm : t->bk) * pitch(l.a_along ? t->bk : t->bm, l.a_along, l.bytes);
    return l.bytes * (a + (l.b_along ? t->bn : t->bk) * pitch(l.b_along ? t->bk : t->bn, l.b_along, l.bytes));
}
static int slot_bytes(const tile *t, int split) { return split > 1 ? t->bm * t->bn * 4 : 0; }
static int shared_bytes(const tile *t, int split, int stages, layout l)
{
    const int chunks = stages * stage_bytes(t, l), sums = t->wk * t->bm * (t->bn + 8) * 4;
    return slot_bytes(t, split) + TENON_MAX(chunks, sums);
}

typedef struct choice { const tile *tile; int split, stages, shared; double seconds; } choice;

/* Seconds by a model: rounds of blocks that fit the multiprocessors, each limited by the tensor cores, by what the second cache
   delivers, or by the chain of products and barriers of one block. The rates are an H100's (1.7 GHz, mma.sync). */
static double model(const choice *c, const tenon_cuda_extent *e, int bytes, int multiprocessors, size_t shared_most)
{
    const tile *t = c->tile;
    const double blocks = ceil(e->m / t->bm) * ceil(e->n / t->bn) * e->batch * c->split;
    const bool alone = t->bm * t->bn >= 128 * 256; /* nothing computes while it finishes a tile */
    const double chunks = ceil(ceil(e->k / t->bk) / c->split);
    const int by_shared = (int)((shared_most + 1024) / ((size_t)c->shared + 1024)), by_threads = alone ? 1 : 1024 / threads_of(t);
    const double resident = TENON_MAX(1, TENON_MIN(by_shared, by_threads)), active = TENON_MIN(resident, ceil(blocks / multiprocessors));
    const double rounds = blocks / multiprocessors <= resident ? active : blocks / multiprocessors;
    const double warp_tile = (double)(t->bm / t->wm) * (t->bn / t->wn);
    const double tensor = 2.0 * t->bm * t->bn * t->bk / (6e12 * (alone ? 0.72 : 1) / bytes * warp_tile / (warp_tile + 600)); /* small ones read more */
    const double cache = (double)(t->bm + t->bn) * t->bk * bytes / 60e9;
    const double products = ceil(t->bm / t->wm / 16.0) * (t->bn / t->wn / 8.0) * (t->bk * bytes / 32.0 / t->wk);
    const double chain = (products * 8 + t->bk * bytes / 32.0 / t->wk * 35 + 60) / 1.7e9;
    const double chunk = TENON_MAX(chain, TENON_MAX(tensor, cache) * active) / active;
    const double outputs = t->bm * t->bn * (4.0 * t->wk + 8) / 100e9, weights = e->k * e->n * e->batch * bytes / 3e12;
    const double results = e->m * e->n * e->batch * bytes / 2.5e12, rows = e->m * e->k * e->batch * bytes / 5e12;
    return 1.9e-6 + (c->split > 1 ? 0.9e-6 : 0) + TENON_MAX(rounds * (chunks * chunk + outputs), weights + results + rows);
}

/* As many chunks as there are, as far as the blocks that one multiprocessor gets have room. */
static int stages_of(const tile *t, int split, const tenon_cuda_extent *e, int multiprocessors, size_t shared_most, int bytes)
{
    const double blocks = ceil(e->m / t->bm) * ceil(e->n / t->bn) * e->batch * split;
    const int want = (int)ceil(ceil(e->k / t->bk) / split) + 1, share = blocks > multiprocessors ? 2 : 1;
    const int room = ((int)(shared_most + 1024) / share - 1024 - slot_bytes(t, split)) / bytes;
    const int most = t->bm * t->bn >= 128 * 128 ? 4 : STAGES_MOST;
    return TENON_MAX(2, TENON_MIN(TENON_MIN(want, room), most));
}

static bool is_16_bits(const tenon_problem *p)
{
    const tenon_dtype type = p->anchor[0].node->src[0]->type.dtype;
    return type == TENON_F16 || type == TENON_BF16;
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    const int multiprocessors = tenon_cuda_multiprocessors(device), sm = tenon_cuda_sm(device);
    const size_t most = tenon_cuda_shared_most(device);
    tenon_cuda_product o;
    choice best[VARIANTS];
    int count = 0;
    if (tenon_cuda_product_make(p, true, &o)) return 0;
    const layout l = layout_of(&o);
    if (l.bytes != 2 && l.bytes != 4) return 0;
    const tenon_cuda_extent e = tenon_cuda_product_extent(p);
    max = TENON_MIN(max, (int)VARIANTS);
    for (int i = 0; i < (int)TILES; i++)
        for (int split = 1; split <= (sm >= 90 ? 8 : 1); split *= 2) {
            const tile *t = &tiles[i];
            choice c = {.tile = t, .split = split};
            if (split > 1 && (e.k < 2.0 * t->bk * split || ceil(e.m / t->bm) * ceil(e.n / t->bn) * e.batch > multiprocessors)) break;
            c.stages = stages_of(t, split, &e, multiprocessors, most, stage_bytes(t, l));
            c.shared = shared_bytes(t, split, c.stages, l);
            if ((size_t)c.shared > most) continue;
            c.seconds = model(&c, &e, l.bytes, multiprocessors, most);
            int at = count < max ? count++ : max;
            for (; at > 0 && best[at - 1].seconds > c.seconds; at--)
                if (at < max) best[at] = best[at - 1];
            if (at < max) best[at] = c;
        }
    for (int i = 0; i < count; i++) out[i] = (tenon_variant){{(int32_t)(best[i].tile - tiles), best[i].split, best[i].stages}};
    return count;
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    tenon_cuda_product o;
    (void)src, (void)dst;
    if (tenon_cuda_product_make(p, true, &o)) return INFINITY;
    const layout l = layout_of(&o);
    const tenon_cuda_extent e = tenon_cuda_product_extent(p);
    choice c = {.tile = &tiles[v->p[P_TILE]], .split = v->p[P_SPLIT], .stages = v->p[P_STAGES]};
    c.shared = shared_bytes(c.tile, c.split, c.stages, l);
    return model(&c, &e, l.bytes, tenon_cuda_multiprocessors(device), tenon_cuda_shared_most(device));
}

/* ---- the tactic ---- */
static const char *reject_tile(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    tenon_cuda_product o;
    const int tile_at = v->p[P_TILE], split = v->p[P_SPLIT], stages = v->p[P_STAGES];
    const tenon_program *post = p->anchor[0].post;
    const char *why = tenon_cuda_product_rejects(p, true, &o, scratch);
    if (why) return why;
    if (post && post->class_ != TENON_CLASS_F32) return "a program that does not compute in f32";
    if (p->anchor[0].node->src[0]->type.dim[o.axis_a]->hi > INT32_MAX) return "a depth that 32-bit indices do not reach";
    if (tile_at < 0 || tile_at >= (int)TILES || split < 1 || split > 8 || (split & (split - 1)) || stages < 2 || stages > STAGES_MOST)
        return "no such variant";
    if (split > 1 && tenon_cuda_sm(device) < 90) return "clusters need compute capability 9.0";
    if ((size_t)shared_bytes(&tiles[tile_at], split, stages, layout_of(&o)) > tenon_cuda_shared_most(device)) return "too much shared memory";
    return NULL;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    if (!is_16_bits(p)) return "neither f16 nor bf16";
    if (p->anchor[0].node->src[0]->type.dtype == TENON_BF16 && tenon_cuda_sm(device) < 80) return "products of bf16 need compute capability 8.0";
    return reject_tile(p, v, device, scratch);
}

static const char *reject_tf32(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    if (p->anchor[0].node->src[0]->type.dtype != TENON_F32) return "not f32";
    return reject_tile(p, v, device, scratch);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    const tile *t = &tiles[v->p[P_TILE]];
    tenon_cuda_product *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = tenon_cuda_product_make(p, true, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.matmul_mma: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#include \"prelude.cu\"\n#include \"mma.cu\"\n");
    tenon_cuda_product_print(p, o, &b);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_gemm_mma, "tenon_gemm_mma", tenon_cuda_product_numbers(o), o,
                                     out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DBM=%d -DBN=%d -DBK=%d -DWM=%d -DWN=%d -DWK=%d -DSPLIT=%d -DSTAGES=%d", t->bm, t->bn,
             t->bk, t->wm, t->wn, t->wk, v->p[P_SPLIT], v->p[P_STAGES]);
    out->in_place = true;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const tenon_cuda_product *o = b->plan->own;
    const tile *t = &tiles[b->variant->p[P_TILE]];
    const int split = b->variant->p[P_SPLIT];
    const tenon_tensor *tensor[TENON_CUDA_TENSORS];
    const layout l = layout_of(o);
    memset(r, 0, sizeof *r);
    TENON_TRY(tenon_cuda_product_bind(cx, b, o, tensor, r));
    for (int i = 0; i < o->space.count; i++) {
        const bool aligned = i < 2 ? tenon_cuda_product_in_vectors(b, o, i, tensor[i], 16 / l.bytes)
                                    : tenon_cuda_space_is_aligned(&o->space, i, b->shape, tensor[i], 8);
        r->args.aligned |= (uint32_t)aligned << i;
    }
    tenon_cuda_product_grid(b, o, t->bm, t->bn, r);
    r->grid[0] *= (uint32_t)split;
    r->threads = (uint32_t)threads_of(t);
    r->shared_bytes = (uint32_t)shared_bytes(t, split, b->variant->p[P_STAGES], l);
    r->cluster = split > 1 ? (uint32_t)split : 0;
    return TENON_OK;
}

const tenon_tactic tenon_cuda_matmul_mma = {
    .name = "cuda.matmul_mma", .pattern = "matmul", .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject, .plan = plan,
    .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "gemm_mma",
};

const tenon_tactic tenon_cuda_matmul_mma_tf32 = {
    .name = "cuda.matmul_mma_tf32", .pattern = "matmul", .need = 80, .flags = TENON_TACTIC_DETERMINISTIC | TENON_TACTIC_TF32, .variants = variants,
    .reject = reject_tf32, .plan = plan, .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "gemm_mma",
};
