/* SPDX-License-Identifier: Apache-2.0 */
/* Attention in f32: for a block of queries of one head, scores against the transposed keys, softmax, and the product with the
   values read in place. Heads may lie in any format with contiguous elements (views of a fused projection). Members share
   (batch, head) pairs and blocks of queries; a member packs the keys of a head when it comes to it, so few heads cost repeated
   packing.

   Scratch of a member: keys [t / width][d][width], values when their head is no whole number of vectors, scores [rows][t]. */
#include "base/isa.h"
#include "base/team.h"
#include "cpu/kernels_f32.h"
#include "cpu/row_post.h"
#include "cpu/rows_f32.h"

#include <math.h>
#include <string.h>

enum { BLOCK = TENON_F32_ROWS, HEAD_MAX = 256 }; /* most queries of a block; largest head */

typedef struct record {
    const tenon_cpu_f32 *f32;
    const tenon_rows_f32 *rows;
    tenon_tensor q, k, v, mask;
    int64_t mask_stride[4];
    int64_t batch, heads, repeat, s, t, d, dv, t_padded, dv_padded;
    float scale;
    bool causal, has_mask, pack_values;
    int width, block; /* columns of a panel: two vectors; queries of a block: the rows of its tile */
    tenon_row_post post;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static bool contiguous_heads(const tenon_problem *p, const tenon_value *v)
{
    const int at = tenon_problem_src(p, v);
    uint8_t order[TENON_MAX_RANK];
    if (at < 0 || p->src[at].format.layout == TENON_STRIDED) return false;
    tenon_format_order(&p->src[at].format, v->type.rank, order);
    return order[v->type.rank - 1] == v->type.rank - 1;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    const char *why = tenon_row_post_reject(p, a);
    if (why) return why;
    for (int i = 0; i < 4; i++)
        if (a->pre[i]) return "a program before it";
    for (int i = 0; i < 3; i++) {
        if (a->node->src[i]->type.dtype != TENON_F32) return "q, k and v are not f32";
        if (!contiguous_heads(p, a->node->src[i])) return "elements of a head are not contiguous";
        const tenon_dim *d = a->node->src[i]->type.dim[3];
        if (!tenon_dim_is_const(d) || d->value > HEAD_MAX || d->value < 1) return "a head of more than 256 elements";
    }
    if (a->node->src_count > 3 && a->node->src[3]) {
        const tenon_value *mask = a->node->src[3];
        if (tenon_problem_src(p, mask) < 0) return "the mask is not a source";
        if (mask->type.dtype != TENON_F32 && mask->type.dtype != TENON_BOOL) return "the mask is neither f32 nor bool";
    }
    return NULL;
}

static size_t scratch_floats(int64_t t, int64_t d, int64_t dv)
{
    const size_t padded = ((size_t)t + 63) / 64 * 64; /* whole panels of any width up to 4 vectors */
    return padded * (size_t)d + padded * (((size_t)dv + 31) / 32 * 32) + BLOCK * padded + padded + BLOCK * HEAD_MAX;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)v, (void)device;
    const tenon_node *n = p->anchor[0].node;
    const int64_t t = n->src[1]->type.dim[2]->hi;
    if (t > INT64_C(1) << 24) return TENON_FAIL(cx, TENON_UNSUPPORTED, "a length of keys without an upper bound");
    out->record_bytes = sizeof(record);
    out->scratch_bytes = (scratch_floats(t, n->src[1]->type.dim[3]->value,
                                         n->src[2]->type.dim[3]->value) * sizeof(float) + 63) / 64 * 64;
    return TENON_OK;
}

static const tenon_cpu_f32 *best_f32(void)
{
#if defined(__x86_64__)
    if (tenon_cpu()->isa & TENON_ISA_AVX512) return &tenon_cpu_f32_avx512;
    if (tenon_cpu()->isa & TENON_ISA_AVX2) return &tenon_cpu_f32_avx2;
#endif
    return &tenon_cpu_f32_scalar;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    memset(r, 0, sizeof *r);
    TENON_TRY(tenon_row_post_bind(cx, b, &b->problem->anchor[0], 3, &r->post));
    tenon_row_post_seal(&r->post);
    r->f32 = best_f32();
    r->rows = tenon_rows_f32_best();
    r->q = b->src[tenon_problem_src(b->problem, n->src[0])];
    r->k = b->src[tenon_problem_src(b->problem, n->src[1])];
    r->v = b->src[tenon_problem_src(b->problem, n->src[2])];
    r->batch = r->q.dim[0];
    r->heads = r->q.dim[1];
    r->repeat = r->k.dim[1] > 0 ? r->heads / r->k.dim[1] : 1;
    r->s = r->q.dim[2];
    r->t = r->k.dim[2];
    r->d = r->q.dim[3];
    r->dv = r->v.dim[3];
    r->width = 2 * r->f32->vw;
    r->block = r->f32->rows[2];
    r->t_padded = (r->t + r->width - 1) / r->width * r->width;
    r->dv_padded = (r->dv + r->f32->vw - 1) / r->f32->vw * r->f32->vw;
    /* A fused projection's pitch puts the rows of V in few sets of the first cache, so many queries read a packed copy. */
    r->pack_values = r->dv_padded != r->dv || r->s >= 3 * r->block;
    r->scale = tenon_node_attr(n, "scale")->set ? (float)tenon_node_float(n, "scale") : 1.0f / sqrtf((float)r->d);
    r->causal = tenon_node_int(n, "is_causal") != 0;
    if (n->src_count > 3 && n->src[3]) {
        r->has_mask = true;
        r->mask = b->src[tenon_problem_src(b->problem, n->src[3])];
        for (int i = 0; i < r->mask.rank; i++) r->mask_stride[4 - r->mask.rank + i] = r->mask.dim[i] == 1 ? 0 : r->mask.stride[i];
    }
    return TENON_OK;
}

typedef struct work { float *keys, *values, *scores, *mask, *result; } work;

static void pack_head(const record *r, int64_t batch, int64_t head, work *w)
{
    const float *k = (const float *)r->k.data + batch * r->k.stride[0] + head / r->repeat * r->k.stride[1];
    for (int64_t j = 0; j < r->t; j += r->width)
        r->f32->pack(k + j * r->k.stride[2], 1, r->k.stride[2], r->d, TENON_MIN(r->t - j, r->width), w->keys + j * r->d,
        r->width);
    if (!r->pack_values) return;
    const float *v = (const float *)r->v.data + batch * r->v.stride[0] + head / r->repeat * r->v.stride[1];
    for (int64_t j = 0; j < r->dv; j += r->width)
        r->f32->pack(v + j, r->v.stride[2], 1, r->t, TENON_MIN(r->dv - j, r->width), w->values + j * r->t, r->width);
}

/* c[n rows][columns] = a * b, n at most a block; b's panels are two vectors wide and `panel` floats apart. */
static void product(const record *r, const float *const *a, int64_t n, int64_t depth, const float *b, int64_t ldb, int64_t panel,
                    float *c,
                    int64_t ldc, int64_t columns)
{
    const int64_t width = r->width;
    const tenon_f32_segment segment = { 0, depth };
    const int vw = r->f32->vw;
    for (int64_t j = 0; j < columns; j += width, b += panel) {
        const int64_t now = TENON_MIN(columns - j, width);
        const int vectors = (int)((now + vw - 1) / vw), most = r->f32->rows[vectors];
        for (int64_t i = 0; i < n; i += most) {
            const tenon_f32_tile tile = { .segment = &segment, .segment_count = 1, .b = b, .ldb = ldb, .ahead = (const char *)b,
                                         .c = c + i * ldc + j,
                                          .ldc = ldc, .last = (int)(now - (int64_t)(vectors - 1) * vw) };
            const int64_t rows = TENON_MIN(n - i, most);
            r->f32->tile[vectors][rows](a + i, &tile);
        }
    }
}

/* One row of the mask as floats to add; hidden keys are -inf. NULL: nothing to add. */
static const float *mask_row(const record *r, int64_t batch, int64_t head, int64_t query, int64_t keys, float *buffer)
{
    if (!r->has_mask) return NULL;
    const int64_t at = batch * r->mask_stride[0] + head * r->mask_stride[1] + query * r->mask_stride[2], step = r->mask_stride[3];
    if (r->mask.dtype == TENON_F32 && step == 1) return (const float *)r->mask.data + at;
    for (int64_t j = 0; j < keys; j++)
        buffer[j] = r->mask.dtype == TENON_F32 ? ((const float *)r->mask.data)[at + j * step]
                                               : ((const uint8_t *)r->mask.data)[at + j * step] ? 0.0f : -INFINITY;
    return buffer;
}

static void run_block(const record *r, int64_t batch, int64_t head, int64_t query, int64_t n, const work *w)
{
    const float *a[BLOCK];
    float factor[BLOCK];
    const float *q = (const float *)r->q.data + batch * r->q.stride[0] + head * r->q.stride[1];
    const float *v = (const float *)r->v.data + batch * r->v.stride[0] + head / r->repeat * r->v.stride[1];
    const int64_t seen = r->causal ? TENON_MIN(r->t, query + n) : r->t; /* keys that any of the rows sees */
    for (int64_t i = 0; i < n; i++) a[i] = q + (query + i) * r->q.stride[2];
    product(r, a, n, r->d, w->keys, r->width, r->width * r->d, w->scores, r->t_padded, seen);
    for (int64_t i = 0; i < n; i++) {
        float *row = w->scores + i * r->t_padded;
        const int64_t keys = r->causal ? TENON_MIN(r->t, query + i + 1) : r->t;
        factor[i] = r->rows->weigh(row, mask_row(r, batch, head, query + i, keys, w->mask), r->scale, row, keys);
        if (factor[i] == 0.0f) memset(row, 0, (size_t)seen * sizeof *row);
        else memset(row + keys, 0, (size_t)(seen - keys) * sizeof *row);
        a[i] = row;
    }
    product(r, a, n, seen, r->pack_values ? w->values : v, r->pack_values ? r->width : r->v.stride[2],
            r->pack_values ? r->width * r->t : r->width, w->result, HEAD_MAX, r->dv);
    const int64_t first = (batch * r->heads + head) * r->s + query;
    for (int64_t i = 0; i < n; i++) {
        float *value = w->result + i * HEAD_MAX, *to = tenon_row_post_target(&r->post, first + i, value);
        r->rows->scale_shift(value, to, r->dv, factor[i], 0.0f);
        tenon_row_post_run(&r->post, first + i, to);
    }
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *t = exec;
    const int64_t blocks = (r->s + r->block - 1) / r->block, padded = (r->t + 63) / 64 * 64;
    work w = { .keys = t->scratch };
    w.values = w.keys + padded * r->d;
    w.scores = w.values + padded * ((r->dv + 31) / 32 * 32);
    w.mask = w.scores + BLOCK * padded;
    w.result = w.mask + padded;
    int64_t begin, end, packed = -1;
    tenon_split(r->batch * r->heads * blocks, 1, t->member, t->count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t pair = i / blocks, query = i % blocks * r->block;
        if (pair != packed) pack_head(r, pair / r->heads, pair % r->heads, &w);
        packed = pair;
        run_block(r, pair / r->heads, pair % r->heads, query, TENON_MIN(r->s - query, r->block), &w);
    }
    return TENON_OK;
}

const tenon_tactic tenon_cpu_attention_f32 = {
    .name = "cpu.attention_f32", .pattern = "attention", .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan,
    .bind = bind, .run = run,
};
