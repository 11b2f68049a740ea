/* SPDX-License-Identifier: Apache-2.0 */
/* Attention in f32 without rounding: what runs where TF32 is not wanted, and on every chip. A variant is how many queries a thread has. */
#include "cuda/attention.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_attention_fma[];

enum { P_ROWS = 0, ROWS_MOST = 4, THREADS = 128, BT = 32 };

/* As in attention_fma.cu. */
static int shared_bytes(int rows, int d, int dv)
{
    const int queries = 16 * rows, pitch = (d + 7) / 8 * 8 + 4;
    return 4 * ((queries + BT) * pitch + BT * ((dv + 31) / 32 * 32) + queries * (BT + 4));
}

/* Seconds by a model: rounds of blocks; reading shared memory is what a chunk takes. An H100's rates. */
static double model(int rows, const tenon_cuda_attention *o, const tenon_cuda_attention_extent *e, int multiprocessors, size_t shared_most)
{
    const double queries = 16.0 * rows, blocks = ceil(e->queries / queries) * e->heads;
    const double keys = o->causal ? TENON_MIN(e->keys, (e->queries + queries) / 2) : e->keys, chunks = ceil(keys / BT);
    const double resident = TENON_MAX(1, TENON_MIN(6.0, floor((double)shared_most / shared_bytes(rows, o->head, o->value_head))));
    const double rounds = TENON_MAX(1, blocks / (multiprocessors * resident)), active = TENON_MIN(resident, ceil(blocks / multiprocessors));
    const double reads = o->head / 4.0 * (rows + 4) + BT / 4.0 * (rows + 4.0 * ((o->value_head + 31) / 32)); /* of 16 bytes, a thread */
    const double products = (double)rows * (o->head * 4 + BT * (o->value_head + 31) / 32 * 4);
    const double work = TENON_MAX(reads * 16 * THREADS / 128, products * THREADS / 128) / 1.5e9 * active; /* cycles of a multiprocessor */
    return 2.3e-6 + rounds * chunks * TENON_MAX(work, 0.5e-6);
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    tenon_cuda_attention o;
    double seconds[3];
    int count = 0;
    if (tenon_cuda_attention_make(p, &o)) return 0;
    const tenon_cuda_attention_extent e = tenon_cuda_attention_opt(p);
    for (int rows = 1; rows <= ROWS_MOST && count < max; rows *= 2) {
        if ((size_t)shared_bytes(rows, o.head, o.value_head) > tenon_cuda_shared_most(device)) break;
        const double s = model(rows, &o, &e, tenon_cuda_multiprocessors(device), tenon_cuda_shared_most(device));
        int at = count++;
        for (; at > 0 && seconds[at - 1] > s; at--) seconds[at] = seconds[at - 1], out[at] = out[at - 1];
        seconds[at] = s, out[at] = (tenon_variant){{rows}};
    }
    return count;
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    tenon_cuda_attention o;
    (void)src, (void)dst;
    if (tenon_cuda_attention_make(p, &o)) return INFINITY;
    const tenon_cuda_attention_extent e = tenon_cuda_attention_opt(p);
    return model(v->p[P_ROWS], &o, &e, tenon_cuda_multiprocessors(device), tenon_cuda_shared_most(device));
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    tenon_cuda_attention o;
    const int rows = v->p[P_ROWS];
    if (p->anchor[0].node->src[0]->type.dtype != TENON_F32) return "not f32";
    const char *why = tenon_cuda_attention_rejects(p, &o, scratch);
    if (why) return why;
    if (rows != 1 && rows != 2 && rows != 4) return "no such variant";
    if ((size_t)shared_bytes(rows, o.head, o.value_head) > tenon_cuda_shared_most(device)) return "too much shared memory";
    return NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    TENON_TRY(tenon_cuda_attention_plan(cx, p, tenon_cuda_src_attention_fma, "tenon_attention_fma", out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DOWN_QUERIES=%d", v->p[P_ROWS]);
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const tenon_cuda_attention *o = b->plan->own;
    memset(r, 0, sizeof *r);
    TENON_TRY(tenon_cuda_attention_bind(cx, b, o, 4, r));
    tenon_cuda_attention_grid(b, o, 16 * b->variant->p[P_ROWS], r);
    r->threads = THREADS;
    r->shared_bytes = (uint32_t)shared_bytes(b->variant->p[P_ROWS], o->head, o->value_head);
    return TENON_OK;
}

const tenon_tactic tenon_cuda_attention_fma = {
    .name = "cuda.attention_fma", .pattern = "attention", .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject, .plan = plan,
    .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "attention_fma",
};
