/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of f16 and bf16 on tensor cores. A variant says how many queries a block has, how many groups of warps share the keys, and
   how many chunks of keys are in shared memory: few queries a block where heads are few, so that all multiprocessors have one. */
#include "cuda/attention.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_attention_mma[];

/* 16 * wq queries, wt groups of warps, chunks of bt keys. Stored in engines by place: append only. */
typedef struct tile { int wq, wt, bt; } tile;
static const tile tiles[] = {
    {1, 4, 64}, {1, 4, 128}, {2, 2, 64}, {2, 4, 128}, {4, 1, 64}, {8, 1, 64}, {4, 2, 128}, {1, 8, 128}, {4, 1, 32}, {1, 2, 32}, {8, 1, 32}, {2, 4, 64},
};
enum { TILES = TENON_COUNTOF(tiles), P_TILE = 0, P_STAGES, STAGES_MOST = 4, VARIANTS = 14 };

/* As in attention_mma.cu. */
static int pitch(int width) { return (width / 8 | 1) * 8; }
static int whole(int head) { return (head + 15) / 16 * 16; }
static int shared_bytes(const tile *t, int stages, int d, int dv)
{
    const int queries = 16 * t->wq, q = queries * pitch(whole(d)) * 2, chunks = stages * t->bt * (pitch(whole(d)) + pitch(whole(dv))) * 2;
    const int sums = t->wt * queries * (whole(dv) + 8 + 2) * 4;
    return q + TENON_MAX(chunks, sums);
}

/* Seconds by a model: rounds of blocks; a block's chunks at the rate of its tensor cores or of the second cache. An H100's rates. */
static double model(const tile *t, int stages, const tenon_cuda_attention *o, const tenon_cuda_attention_extent *e, int multiprocessors,
                    size_t shared_most)
{
    const double queries = 16.0 * t->wq, blocks = ceil(e->queries / queries) * e->heads;
    const double keys = o->causal ? TENON_MIN(e->keys, (e->queries + queries) / 2) : e->keys, chunks = ceil(keys / t->bt);
    const double by_shared = floor((double)(shared_most + 1024) / (shared_bytes(t, stages, o->head, o->value_head) + 1024.0));
    const double by_threads = floor((o->value_head > 64 ? 256.0 : 512.0) / (t->wq * t->wt * 32));
    const double resident = TENON_MAX(1, TENON_MIN(by_shared, by_threads)), rounds = TENON_MAX(1, blocks / (multiprocessors * resident));
    const double active = TENON_MIN(resident, ceil(blocks / multiprocessors));
    const double nt = (double)t->bt / t->wt, products = nt / 8 * (whole(o->head) + whole(o->value_head)) / 16.0;
    const double chain = (products * 12 + nt * 8 + 250) / 1.7e9; /* one warp: products, weights, barrier */
    const double tensor = 2.0 * queries * t->bt * (whole(o->head) + whole(o->value_head)) / 1.4e12 * active;
    const double cache = 2.0 * t->bt * (o->head + o->value_head) / 40e9 * active;
    const double joined = queries * o->value_head * 4.0 * (t->wt + 1) / 80e9;
    return 2.3e-6 + rounds * (chunks * TENON_MAX(chain, TENON_MAX(tensor, cache)) + joined);
}

static bool is_16_bits(const tenon_problem *p)
{
    const tenon_dtype type = p->anchor[0].node->src[0]->type.dtype;
    return type == TENON_F16 || type == TENON_BF16;
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    tenon_cuda_attention o;
    double seconds[VARIANTS];
    int count = 0;
    if (!is_16_bits(p) || tenon_cuda_attention_make(p, &o)) return 0;
    const tenon_cuda_attention_extent e = tenon_cuda_attention_opt(p);
    const size_t most = tenon_cuda_shared_most(device);
    max = TENON_MIN(max, (int)VARIANTS);
    for (int i = 0; i < (int)TILES; i++) {
        int stages = TENON_MAX(2, TENON_MIN(3, (int)ceil(e.keys / tiles[i].bt) + 1));
        while (stages > 2 && (size_t)shared_bytes(&tiles[i], stages, o.head, o.value_head) > most) stages--;
        if ((size_t)shared_bytes(&tiles[i], stages, o.head, o.value_head) > most) continue;
        const double s = model(&tiles[i], stages, &o, &e, tenon_cuda_multiprocessors(device), most);
        int at = count < max ? count++ : max;
        for (; at > 0 && seconds[at - 1] > s; at--)
            if (at < max) seconds[at] = seconds[at - 1], out[at] = out[at - 1];
        if (at < max) seconds[at] = s, out[at] = (tenon_variant){{i, stages}};
    }
    return count;
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    tenon_cuda_attention o;
    (void)src, (void)dst;
    if (tenon_cuda_attention_make(p, &o)) return INFINITY;
    const tenon_cuda_attention_extent e = tenon_cuda_attention_opt(p);
    return model(&tiles[v->p[P_TILE]], v->p[P_STAGES], &o, &e, tenon_cuda_multiprocessors(device), tenon_cuda_shared_most(device));
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    tenon_cuda_attention o;
    const int at = v->p[P_TILE], stages = v->p[P_STAGES];
    if (!is_16_bits(p)) return "neither f16 nor bf16";
    if (p->anchor[0].node->src[0]->type.dtype == TENON_BF16 && tenon_cuda_sm(device) < 80) return "products of bf16 need compute capability 8.0";
    const char *why = tenon_cuda_attention_rejects(p, &o, scratch);
    if (why) return why;
    if (at < 0 || at >= (int)TILES || stages < 2 || stages > STAGES_MOST) return "no such variant";
    if ((size_t)shared_bytes(&tiles[at], stages, o.head, o.value_head) > tenon_cuda_shared_most(device)) return "too much shared memory";
    return NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    const tile *t = &tiles[v->p[P_TILE]];
    TENON_TRY(tenon_cuda_attention_plan(cx, p, tenon_cuda_src_attention_mma, "tenon_attention_mma", out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DWQ=%d -DWT=%d -DBT=%d -DSTAGES=%d", t->wq, t->wt, t->bt, v->p[P_STAGES]);
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const tenon_cuda_attention *o = b->plan->own;
    const tile *t = &tiles[b->variant->p[P_TILE]];
    memset(r, 0, sizeof *r);
    TENON_TRY(tenon_cuda_attention_bind(cx, b, o, 8, r));
    tenon_cuda_attention_grid(b, o, 16 * t->wq, r);
    r->threads = (uint32_t)(t->wq * t->wt * 32);
    r->shared_bytes = (uint32_t)shared_bytes(t, b->variant->p[P_STAGES], o->head, o->value_head);
    return TENON_OK;
}

const tenon_tactic tenon_cuda_attention_mma = {
    .name = "cuda.attention_mma", .pattern = "attention", .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject, .plan = plan,
    .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "attention_mma",
};
