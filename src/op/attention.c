/* SPDX-License-Identifier: Apache-2.0 */
/* Scaled dot-product attention: q (b, h, s, d), k (b, hk, t, d), v (b, hk, t, dv), optional mask that broadcasts to (b, h, s, t):
   additive, or bool where false hides a key. h is a multiple of hk (query head i reads key head i / (h / hk)). is_causal hides
   key j from query i when j > i (aligned at the top left). scale unset: 1 / sqrt(d). A query that sees no key gives zeros;
   Inf or NaN of a hidden key may or may not show in the result.
   Internal: ONNX's Attention has caches, 3-d inputs and further results; the importer rewrites what fits. */
#include "op/dense.h"
#include "op/rule.h"

#include <math.h>

static const tenon_attr_def attrs[] = {
    {.name = "scale", .kind = TENON_ATTR_FLOAT}, {.name = "is_causal", .kind = TENON_ATTR_INT}, {0}};

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    static const char *const letter[] = {"q", "k", "v"};
    for (int i = 0; i < 3; i++) {
        TENON_TRY(tenon_rule_rank(cx, n, i, letter[i], 4, 4));
        TENON_TRY(tenon_rule_float(cx, n, i, letter[i]));
        TENON_TRY(tenon_rule_same_type(cx, n, 0, i));
    }
    const tenon_type *q = tenon_rule_type(n, 0), *k = tenon_rule_type(n, 1), *v = tenon_rule_type(n, 2),
                     *mask = tenon_rule_type(n, 3);
    TENON_TRY(tenon_rule_equal(cx, g, "batch of q", q->dim[0], "batch of k", k->dim[0]));
    TENON_TRY(tenon_rule_equal(cx, g, "batch of q", q->dim[0], "batch of v", v->dim[0]));
    TENON_TRY(tenon_rule_equal(cx, g, "heads of k", k->dim[1], "heads of v", v->dim[1]));
    TENON_TRY(tenon_rule_equal(cx, g, "length of k", k->dim[2], "length of v", v->dim[2]));
    TENON_TRY(tenon_rule_equal(cx, g, "head size of q", q->dim[3], "head size of k", k->dim[3]));
    if (q->dim[1] != k->dim[1]) {
        const tenon_dim *rest = tenon_dim_mod(g->dims, q->dim[1], k->dim[1]);
        tenon_rule_text ta, tb;
        if (!rest) return TENON_NOMEM;
        if (!tenon_dim_is(rest, 0))
            return TENON_FAIL(cx, TENON_INVALID, "%s heads of q are not a multiple of %s heads of k",
                              tenon_rule_dim(g, q->dim[1], &ta), tenon_rule_dim(g, k->dim[1], &tb));
    }
    if (mask) {
        const tenon_type scores = {.dtype = q->dtype, .rank = 4, .dim = {q->dim[0], q->dim[1], q->dim[2], k->dim[2]}};
        TENON_TRY(tenon_rule_broadcasts(cx, g, "mask", mask, &scores));
        if (mask->dtype != TENON_BOOL) TENON_TRY(tenon_rule_float(cx, n, 3, "mask"));
    }
    const tenon_dim *dim[4] = {q->dim[0], q->dim[1], q->dim[2], v->dim[3]};
    tenon_infer_set(n, 0, q->dtype, 4, dim);
    return TENON_OK;
}

typedef struct head {
    int64_t s, t, d, dv;
    double scale;
    bool causal, mask_bool;
} head;

/* Scores of one query to weights that sum to 1, or all zeros. */
static void weigh(const head *a, int64_t query, const double *mask, double *score)
{
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < a->t; j++) {
        score[j] *= a->scale;
        if (mask && a->mask_bool) score[j] = mask[j] != 0 ? score[j] : -INFINITY;
        else if (mask) score[j] += mask[j];
        if (a->causal && j > query) score[j] = -INFINITY;
        max = score[j] > max ? score[j] : max;
    }
    bool hidden = true;
    for (int64_t j = 0; j < a->t; j++) hidden = hidden && score[j] == -INFINITY;
    for (int64_t j = 0; j < a->t; j++) sum += score[j] = hidden ? 0 : exp(score[j] - max);
    for (int64_t j = 0; j < a->t && !hidden; j++) score[j] /= sum;
}

/* One head. turned: k as (d, t); mask: (s, t) or NULL. */
static tenon_status head_run(tenon_cx *cx, const head *a, const double *q, const double *turned, const double *v,
                             const double *mask, double *score, double *y)
{
    TENON_TRY(tenon_dense_gemm(cx, a->s, a->t, a->d, q, turned, score));
    for (int64_t i = 0; i < a->s; i++) weigh(a, i, mask ? mask + i * a->t : NULL, score + i * a->t);
    return tenon_dense_gemm(cx, a->s, a->dv, a->t, score, v, y);
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *q = &call->src[0], *k = &call->src[1], *v = &call->src[2];
    const tenon_attr *scale = tenon_node_attr(call->node, "scale");
    head a = {
        .s = q->dim[2], .t = k->dim[2], .d = q->dim[3], .dv = v->dim[3], .causal = tenon_node_int(call->node, "is_causal") != 0};
    a.scale = scale->set ? scale->f : 1 / sqrt((double)a.d);
    const int turn[4] = {0, 1, 3, 2};
    const tenon_tensor turned = tenon_dense_permuted(k, turn);
    const double *pq = tenon_dense_f64(heap, q), *pk = tenon_dense_f64(heap, &turned), *pv = tenon_dense_f64(heap, v),
                 *mask = NULL;
    double *score = tenon_dense_new_f64(heap, a.s * a.t), *y = tenon_dense_new_f64(heap, tenon_tensor_count(&call->dst[0]));
    if (!pq || !pk || !pv || !score || !y) return TENON_NOMEM;
    const int64_t heads = q->dim[1], share = k->dim[1] ? heads / k->dim[1] : 1;
    if (tenon_call_has(call, 3)) {
        tenon_tensor wide;
        const int64_t dim[4] = {q->dim[0], heads, a.s, a.t};
        if (!tenon_dense_broadcast(&call->src[3], 4, dim, &wide))
            return TENON_FAIL(cx, TENON_INVALID, "mask does not fit");
        if (!(mask = tenon_dense_f64(heap, &wide))) return TENON_NOMEM;
        a.mask_bool = wide.dtype == TENON_BOOL;
    }
    for (int64_t b = 0; b < q->dim[0]; b++)
        for (int64_t h = 0; h < heads; h++) {
            const int64_t at = b * heads + h, kv = b * k->dim[1] + h / share;
            TENON_TRY(head_run(cx, &a, pq + at * a.s * a.d, pk + kv * a.t * a.d, pv + kv * a.t * a.dv,
                               mask ? mask + at * a.s * a.t : NULL, score, y + at * a.s * a.dv));
        }
    tenon_dense_store_f64(&call->dst[0], y);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)n, (void)dst;
    const double scores = (double)(src[0].dim[0] * src[0].dim[1] * src[0].dim[2]) * (double)src[1].dim[2];
    return scores * (2.0 * (double)(src[0].dim[3] + src[2].dim[3]) + 10);
}

const tenon_op tenon_op_attention = {
    .name = "attention", .attr = attrs, .flags = TENON_OP_ANCHOR, .src_min = 3, .src_max = 4, .dst_min = 1, .dst_max = 1,
    .axes = "bhsd,bktd,bktv", .infer = infer, .ref = ref, .flops = flops, .tol = 2e-5,
};
