/* SPDX-License-Identifier: Apache-2.0 */
/* non_max_suppression: boxes (b, n, 4) and scores (b, c, n) -> rows (batch, class, box), best score first in each class of each
   image; equal scores: the lower box first; NaN is never selected. How many there are depends on the data: the result's first
   size is a symbol with an upper bound. The three limits are attributes, or sources 2 to 4 when not constant;
   max_output_boxes_per_class 0 (the default) selects nothing.

   The same in two parts, for devices whose steps have sizes known before they run: nms_chosen (sources and attributes as above, the first
   limit an attribute) -> boxes (b, c, limit), -1 behind the last one; nms_rows makes the rows of that. */
#include "op/dense.h"
#include "op/move.h"
#include "op/rule.h"

#include <math.h>
#include <stdlib.h>

static const tenon_attr_def attrs[] = {{.name = "center_point_box", .kind = TENON_ATTR_INT},
                                       {.name = "max_output_boxes_per_class", .kind = TENON_ATTR_INT},
                                       {.name = "iou_threshold", .kind = TENON_ATTR_FLOAT},
                                       {.name = "score_threshold", .kind = TENON_ATTR_FLOAT},
                                       {0}};
static const char *const src_attr[] = {NULL, NULL, "max_output_boxes_per_class", "iou_threshold", "score_threshold"};

static tenon_status check_sources(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    TENON_TRY(tenon_rule_rank(cx, n, 0, "boxes", 3, 3));
    TENON_TRY(tenon_rule_rank(cx, n, 1, "scores", 3, 3));
    TENON_TRY(tenon_rule_float(cx, n, 0, "boxes"));
    TENON_TRY(tenon_rule_same_type(cx, n, 0, 1));
    const tenon_type *boxes = tenon_rule_type(n, 0), *scores = tenon_rule_type(n, 1);
    const tenon_dim *four = tenon_dim_const(g->dims, 4);
    TENON_TRY(tenon_rule_equal(cx, g, "last axis of boxes", boxes->dim[2], "what it must be", four));
    TENON_TRY(tenon_rule_equal(cx, g, "batch of boxes", boxes->dim[0], "batch of scores", scores->dim[0]));
    return tenon_rule_equal(cx, g, "number of boxes", boxes->dim[1], "number of scores", scores->dim[2]);
}

/* The most that are chosen of a class. */
static const tenon_dim *each_of(tenon_graph *g, tenon_node *n)
{
    const tenon_dim *boxes = tenon_rule_type(n, 0)->dim[1], *limit = NULL;
    if (!tenon_rule_src(n, 2)) {
        limit = tenon_dim_const(g->dims, TENON_MAX(tenon_node_int(n, "max_output_boxes_per_class"), 0));
    } else {
        size_t count;
        const tenon_dim *const *sym = tenon_infer_contents(g, n->src[2], &count);
        if (sym && count == 1) limit = tenon_dim_max(g->dims, sym[0], tenon_dim_const(g->dims, 0));
    }
    return limit ? tenon_dim_min(g->dims, boxes, limit) : boxes;
}

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    TENON_TRY(check_sources(cx, g, n));
    const tenon_type *scores = tenon_rule_type(n, 1);
    const tenon_dim *bound = tenon_dim_mul(g->dims, tenon_dim_mul(g->dims, scores->dim[0], scores->dim[1]), each_of(g, n));
    if (!bound) return TENON_NOMEM;
    const tenon_dim *dim[2] = {tenon_dim_symbol_fresh(g->dims, "nms", 0, bound->hi), tenon_dim_const(g->dims, 3)};
    if (!dim[0] || !dim[1]) return TENON_NOMEM;
    tenon_infer_set(n, 0, TENON_I64, 2, dim);
    return TENON_OK;
}

static tenon_status chosen_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    TENON_TRY(check_sources(cx, g, n));
    if (tenon_rule_src(n, 2)) return TENON_FAIL(cx, TENON_INVALID, "max_output_boxes_per_class is an attribute here");
    const tenon_type *scores = tenon_rule_type(n, 1);
    const tenon_dim *dim[3] = {scores->dim[0], scores->dim[1], each_of(g, n)};
    if (!dim[2]) return TENON_NOMEM;
    tenon_infer_set(n, 0, TENON_I64, 3, dim);
    return TENON_OK;
}

static tenon_status rows_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    TENON_TRY(tenon_rule_rank(cx, n, 0, "chosen", 3, 3));
    const tenon_type *chosen = tenon_rule_type(n, 0);
    if (chosen->dtype != TENON_I64) return TENON_FAIL(cx, TENON_INVALID, "chosen boxes are i64");
    const tenon_dim *bound = tenon_dim_mul(g->dims, tenon_dim_mul(g->dims, chosen->dim[0], chosen->dim[1]), chosen->dim[2]);
    if (!bound) return TENON_NOMEM;
    const tenon_dim *dim[2] = {tenon_move_fresh(g, n, 0, 0, "nms", 0, bound->hi), tenon_dim_const(g->dims, 3)};
    if (!dim[0] || !dim[1]) return TENON_NOMEM;
    tenon_infer_set(n, 0, TENON_I64, 2, dim);
    return TENON_OK;
}

typedef struct box {
    double y1, x1, y2, x2;
} box;
typedef struct candidate {
    double score;
    int64_t at;
} candidate;

static box box_of(const double *v, bool center)
{
    if (center) return (box){.y1 = v[1] - v[3] / 2, .x1 = v[0] - v[2] / 2, .y2 = v[1] + v[3] / 2, .x2 = v[0] + v[2] / 2};
    return (box){
        .y1 = TENON_MIN(v[0], v[2]), .x1 = TENON_MIN(v[1], v[3]), .y2 = TENON_MAX(v[0], v[2]), .x2 = TENON_MAX(v[1], v[3])};
}

static bool overlaps(const box *a, const box *b, double threshold)
{
    const double h = TENON_MIN(a->y2, b->y2) - TENON_MAX(a->y1, b->y1), w = TENON_MIN(a->x2, b->x2) - TENON_MAX(a->x1, b->x1);
    const double area_a = (a->y2 - a->y1) * (a->x2 - a->x1), area_b = (b->y2 - b->y1) * (b->x2 - b->x1);
    if (h <= 0 || w <= 0 || area_a <= 0 || area_b <= 0) return false;
    return h * w / (area_a + area_b - h * w) > threshold;
}

static int better(const void *pa, const void *pb)
{
    const candidate *a = pa, *b = pb;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->at < b->at ? -1 : 1;
}

typedef struct limits {
    int64_t count;
    double iou, score;
    bool has_score, center;
} limits;

/* One class of one image: chosen[] gets the boxes kept; returns how many. */
static int64_t select_boxes(const limits *l, int64_t n, const double *boxes, const double *scores, candidate *c, int64_t *chosen)
{
    int64_t found = 0, kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(scores[i]) && (!l->has_score || scores[i] > l->score)) c[found++] = (candidate){.score = scores[i], .at = i};
    qsort(c, (size_t)found, sizeof *c, better);
    for (int64_t i = 0; i < found && kept < l->count; i++) {
        const box mine = box_of(boxes + c[i].at * 4, l->center);
        bool keep = true;
        for (int64_t j = 0; j < kept && keep; j++) {
            const box other = box_of(boxes + chosen[j] * 4, l->center);
            keep = !overlaps(&mine, &other, l->iou);
        }
        if (keep) chosen[kept++] = c[i].at;
    }
    return kept;
}

static tenon_status number(tenon_cx *cx, const tenon_eval_call *call, int src, const char *attr, double *out)
{
    const tenon_attr *a = tenon_node_attr(call->node, attr);
    *out = src == 2 ? (double)a->i : a->f;
    return tenon_call_has(call, src) ? tenon_dense_scalar(cx, call, src, out) : TENON_OK;
}

static tenon_status limits_of(tenon_cx *cx, const tenon_eval_call *call, limits *l)
{
    const int64_t n = call->src[1].dim[2];
    double most;
    *l = (limits){.has_score = tenon_call_has(call, 4) || tenon_node_attr(call->node, "score_threshold")->set,
                  .center = tenon_node_int(call->node, "center_point_box") != 0};
    TENON_TRY(number(cx, call, 2, "max_output_boxes_per_class", &most));
    TENON_TRY(number(cx, call, 3, "iou_threshold", &l->iou));
    TENON_TRY(number(cx, call, 4, "score_threshold", &l->score));
    l->count = most > 0 ? (most < (double)n ? (int64_t)most : n) : 0;
    return TENON_OK;
}

/* chosen: (batch, classes, limit), -1 behind the last. */
static tenon_status choose(tenon_cx *cx, const tenon_eval_call *call, const limits *l, tenon_heap *heap, int64_t **chosen)
{
    const tenon_tensor *boxes = &call->src[0], *scores = &call->src[1];
    const int64_t classes = scores->dim[1], count = scores->dim[0] * classes, n = scores->dim[2];
    const double *pb = tenon_dense_f64(heap, boxes), *ps = tenon_dense_f64(heap, scores);
    candidate *c = tenon_heap_alloc(heap, (size_t)(n + 1) * sizeof *c);
    (void)cx;
    *chosen = tenon_heap_alloc(heap, (size_t)(count * l->count + n + 1) * sizeof **chosen);
    if (!pb || !ps || !c || !*chosen) return TENON_NOMEM;
    for (int64_t i = 0; i < count; i++) {
        int64_t *mine = *chosen + i * l->count;
        for (int64_t kept = select_boxes(l, n, pb + i / classes * n * 4, ps + i * n, c, mine); kept < l->count; kept++) mine[kept] = -1;
    }
    return TENON_OK;
}

static tenon_status give_rows(tenon_cx *cx, tenon_eval_call *call, const int64_t *chosen, int64_t batch, int64_t classes, int64_t limit,
                              tenon_heap *heap)
{
    int64_t *row = tenon_heap_alloc(heap, (size_t)(batch * classes * limit + 1) * 3 * sizeof *row), rows = 0;
    if (!row) return TENON_NOMEM;
    for (int64_t i = 0; i < batch * classes * limit; i++)
        if (chosen[i] >= 0) row[rows * 3] = i / limit / classes, row[rows * 3 + 1] = i / limit % classes, row[rows++ * 3 + 2] = chosen[i];
    tenon_tensor *y = &call->dst[0];
    if (!call->dst_ready) y->dtype = TENON_I64, y->rank = 2, y->dim[0] = rows, y->dim[1] = 3;
    else if (y->dim[0] != rows)
        return TENON_FAIL(cx, TENON_INVALID, "%lld rows, the result has %lld", (long long)rows,
                          (long long)y->dim[0]);
    TENON_TRY(tenon_eval_alloc(cx, call, 0));
    tenon_dense_store_i64(y, row);
    return TENON_OK;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    limits l;
    int64_t *chosen;
    TENON_TRY(limits_of(cx, call, &l));
    TENON_TRY(choose(cx, call, &l, heap, &chosen));
    return give_rows(cx, call, chosen, call->src[1].dim[0], call->src[1].dim[1], l.count, heap);
}

static tenon_status chosen_run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    limits l;
    int64_t *chosen;
    TENON_TRY(limits_of(cx, call, &l));
    TENON_TRY(choose(cx, call, &l, heap, &chosen));
    tenon_dense_store_i64(&call->dst[0], chosen);
    return TENON_OK;
}

static tenon_status rows_run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *x = &call->src[0];
    const int64_t *chosen = tenon_dense_i64(heap, x);
    if (!chosen) return TENON_NOMEM;
    return give_rows(cx, call, chosen, x->dim[0], x->dim[1], x->dim[2], heap);
}

typedef tenon_status (*part_run)(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap);

static tenon_status with_heap(tenon_cx *cx, tenon_eval_call *call, part_run part)
{
    tenon_heap heap;
    tenon_heap_init(&heap, cx);
    const tenon_status status = part(cx, call, &heap);
    tenon_heap_free(&heap);
    return status;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return with_heap(cx, call, run); }
static tenon_status chosen_ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, chosen_run); }
static tenon_status rows_ref(tenon_cx *cx, tenon_eval_call *call) { return with_heap(cx, call, rows_run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)n, (void)dst;
    return 100.0 * (double)tenon_tensor_count(&src[1]);
}

const tenon_op tenon_op_non_max_suppression = {
    .name = "non_max_suppression", .attr = attrs, .onnx = "NonMaxSuppression", .onnx_since = 10, .flags = TENON_OP_ANCHOR,
    .src_min = 2, .src_max = 5, .dst_min = 1, .dst_max = 1, .src_attr = src_attr, .infer = infer, .ref = ref, .flops = flops,
};
const tenon_op tenon_op_nms_chosen = {
    .name = "nms_chosen", .attr = attrs, .flags = TENON_OP_ANCHOR, .src_min = 2, .src_max = 5, .dst_min = 1, .dst_max = 1,
    .infer = chosen_infer, .ref = chosen_ref, .flops = flops,
};
const tenon_op tenon_op_nms_rows = {
    .name = "nms_rows", .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = rows_infer,
    .ref = rows_ref, .flops = tenon_move_flops,
};
