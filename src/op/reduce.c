/* SPDX-License-Identifier: Apache-2.0 */
/* The reductions: mean, sum, max, min, prod, l1, l2, sum_square, log_sum, log_sum_exp, each a row of start, step and finish.
   Axes unset or empty: all axes, or with noop_with_empty_axes none (each element is then reduced alone, so that the square or the
   logarithm still happens). Integers stay integers and wrap, mean truncates. Max and min skip NaN (x > m ? x : m). */
#include "op/reduce.h"

#include "op/dense.h"
#include "op/rule.h"

#include <math.h>
#include <string.h>

static const tenon_attr_def attrs[] = {{.name = "axes", .kind = TENON_ATTR_INTS},
                                       {.name = "keepdims", .kind = TENON_ATTR_INT, .i = 1},
                                       {.name = "noop_with_empty_axes", .kind = TENON_ATTR_INT},
                                       {0}};
static const char *const src_attr[] = {NULL, "axes"};

typedef enum { MEAN, SUM, MAX, MIN, PROD, L1, L2, SUM_SQUARE, LOG_SUM, LOG_SUM_EXP } reduce_kind;
static reduce_kind kind_of(const tenon_op *op);

bool tenon_reduce_axes(const tenon_node *n, bool *reduced)
{
    const tenon_attr *axes = tenon_node_attr(n, "axes");
    const int rank = n->src[0]->type.rank;
    if (n->src_count > 1 && n->src[1]) return false;
    const bool all = axes->count == 0 && !tenon_node_int(n, "noop_with_empty_axes");
    for (int i = 0; i < rank; i++) reduced[i] = all;
    for (size_t i = 0; i < axes->count; i++) reduced[axes->ints[i] < 0 ? axes->ints[i] + rank : axes->ints[i]] = true;
    return true;
}

static tenon_status reduced_axes(tenon_cx *cx, tenon_graph *g, const tenon_node *n, int rank, bool *reduced)
{
    int64_t list[TENON_MAX_RANK];
    int count;
    TENON_TRY(tenon_rule_list(cx, g, n, "axes", 1, list, TENON_MAX_RANK, &count));
    const bool all = count <= 0 && !tenon_node_int(n, "noop_with_empty_axes");
    for (int i = 0; i < rank; i++) reduced[i] = all;
    for (int i = 0; i < count; i++) {
        int axis;
        TENON_TRY(tenon_infer_axis(cx, "axis", list[i], rank, &axis));
        if (reduced[axis]) return TENON_FAIL(cx, TENON_INVALID, "axis %d is named twice", axis);
        reduced[axis] = true;
    }
    return TENON_OK;
}

/* Contents of shape tensors: a vector or scalar of known expressions reduced whole. */
static tenon_status infer_contents(tenon_graph *g, tenon_node *n, const tenon_type *x, const bool *reduced)
{
    const reduce_kind kind = kind_of(n->op);
    size_t count;
    if (!tenon_is_int(x->dtype) || x->rank > 1 || (x->rank == 1 && !reduced[0]) || kind == MEAN || kind > PROD) return TENON_OK;
    const tenon_dim *const *sym = tenon_infer_contents(g, n->src[0], &count);
    if (!sym || (count == 0 && (kind == MAX || kind == MIN))) return TENON_OK;
    const tenon_dim *d = count ? sym[0] : tenon_dim_const(g->dims, kind == PROD);
    for (size_t i = 1; i < count; i++)
        d = kind == SUM    ? tenon_dim_add(g->dims, d, sym[i])
            : kind == PROD ? tenon_dim_mul(g->dims, d, sym[i])
            : kind == MAX  ? tenon_dim_max(g->dims, d, sym[i])
                           : tenon_dim_min(g->dims, d, sym[i]);
    if (!d) return TENON_NOMEM;
    tenon_infer_set_contents(n, 0, &d, 1);
    return TENON_OK;
}

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    bool reduced[TENON_MAX_RANK];
    const reduce_kind kind = kind_of(n->op);
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 0, TENON_MAX_RANK));
    const tenon_type *x = tenon_rule_type(n, 0);
    if (!(x->dtype == TENON_BOOL && (kind == MAX || kind == MIN))) TENON_TRY(tenon_rule_number(cx, n, 0, "x"));
    TENON_TRY(reduced_axes(cx, g, n, x->rank, reduced));
    const bool keep = tenon_node_int(n, "keepdims") != 0;
    const tenon_dim *dim[TENON_MAX_RANK], *one = tenon_dim_const(g->dims, 1);
    int rank = 0;
    if (!one) return TENON_NOMEM;
    for (int i = 0; i < x->rank; i++) {
        if (!reduced[i]) dim[rank++] = x->dim[i];
        else if (keep) dim[rank++] = one;
    }
    tenon_infer_set(n, 0, x->dtype, rank, dim);
    return infer_contents(g, n, x, reduced);
}

static double reduce_f64(reduce_kind kind, const double *x, int64_t count)
{
    double s = kind == MAX || kind == LOG_SUM_EXP ? -INFINITY : kind == MIN ? INFINITY : kind == PROD ? 1 : 0;
    switch (kind) {
    case MEAN:
    case SUM:
    case LOG_SUM:
        for (int64_t i = 0; i < count; i++) s += x[i];
        break;
    case MAX:
    case LOG_SUM_EXP:
        for (int64_t i = 0; i < count; i++) s = x[i] > s ? x[i] : s;
        break;
    case MIN:
        for (int64_t i = 0; i < count; i++) s = x[i] < s ? x[i] : s;
        break;
    case PROD:
        for (int64_t i = 0; i < count; i++) s *= x[i];
        break;
    case L1:
        for (int64_t i = 0; i < count; i++) s += fabs(x[i]);
        break;
    case L2:
    case SUM_SQUARE:
        for (int64_t i = 0; i < count; i++) s += x[i] * x[i];
        break;
    }
    if (kind == MEAN) return s / (double)count;
    if (kind == L2) return sqrt(s);
    if (kind == LOG_SUM) return log(s);
    if (kind != LOG_SUM_EXP || isinf(s)) return s;
    double sum = 0; /* relative to the maximum s, so that nothing overflows */
    for (int64_t i = 0; i < count; i++) sum += exp(x[i] - s);
    return s + log(sum);
}

static int64_t reduce_i64(reduce_kind kind, const int64_t *x, int64_t count)
{
    uint64_t s = kind == PROD ? 1 : 0;
    int64_t best = count ? x[0] : 0;
    for (int64_t i = 0; i < count; i++) {
        const uint64_t v = (uint64_t)x[i];
        if ((kind == MAX && x[i] > best) || (kind == MIN && x[i] < best)) best = x[i];
        s = kind == PROD ? s * v : kind == L1 ? s + (x[i] < 0 ? 0 - v : v) : kind == L2 || kind == SUM_SQUARE ? s + v * v : s + v;
    }
    if (kind == MAX || kind == MIN) return best;
    if (kind == MEAN) return count ? (int64_t)s / count : 0;
    return (int64_t)s;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const reduce_kind kind = kind_of(call->node->op);
    tenon_tensor x = call->src[0], y = call->dst[0];
    bool reduced[TENON_MAX_RANK];
    int64_t list[TENON_MAX_RANK];
    const tenon_attr *axes = tenon_node_attr(call->node, "axes");
    int64_t listed = axes->set ? (int64_t)axes->count : 0;
    const bool from_src = !axes->set && tenon_call_has(call, 1);
    if (from_src) listed = tenon_tensor_count(&call->src[1]);
    if (listed > TENON_MAX_RANK) return TENON_FAIL(cx, TENON_INVALID, "%lld axes", (long long)listed);
    for (int64_t i = 0; i < listed; i++)
        list[i] = from_src ? tenon_tensor_get_i64(&call->src[1], tenon_tensor_offset(&call->src[1], i)) : axes->ints[i];
    const bool all = listed == 0 && !tenon_node_int(call->node, "noop_with_empty_axes");
    for (int i = 0; i < x.rank; i++) reduced[i] = all;
    for (int64_t i = 0; i < listed; i++) {
        int axis;
        TENON_TRY(tenon_infer_axis(cx, "axis", list[i], x.rank, &axis));
        reduced[axis] = true;
    }
    int perm[TENON_MAX_RANK], k = 0;
    int64_t outer = 1, inner = 1;
    for (int i = 0; i < x.rank; i++)
        if (!reduced[i]) perm[k++] = i, outer *= x.dim[i];
    for (int i = 0; i < x.rank; i++)
        if (reduced[i]) perm[k++] = i, inner *= x.dim[i];
    const tenon_tensor turned = tenon_dense_permuted(&x, perm);
    if (tenon_is_float(x.dtype) || kind == LOG_SUM || kind == LOG_SUM_EXP || kind == L2) {
        const double *px = tenon_dense_f64(heap, &turned);
        double *py = tenon_dense_new_f64(heap, outer);
        if (!px || !py) return TENON_NOMEM;
        for (int64_t i = 0; i < outer; i++) py[i] = reduce_f64(kind, px + i * inner, inner);
        for (int64_t i = 0; i < outer && !tenon_is_float(x.dtype); i++) py[i] = trunc(py[i]);
        tenon_dense_store_f64(&y, py);
        return TENON_OK;
    }
    const int64_t *px = tenon_dense_i64(heap, &turned);
    int64_t *py = tenon_heap_alloc(heap, (size_t)(outer + 1) * sizeof *py);
    if (!px || !py) return TENON_NOMEM;
    for (int64_t i = 0; i < outer; i++) py[i] = reduce_i64(kind, px + i * inner, inner);
    tenon_dense_store_i64(&y, py);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)dst;
    return (double)tenon_tensor_count(&src[0]) * (kind_of(n->op) >= L2 ? 2 : 1);
}

#define REDUCE(lower, camel, tolerance, more)                                                                               \
    const tenon_op tenon_op_reduce_##lower = {                                                                              \
        .name = "reduce_" #lower, .attr = attrs, .onnx = "Reduce" camel, .onnx_since = 1, .flags = TENON_OP_ANCHOR | (more), \
        .src_min = 1, .src_max = 2, .dst_min = 1, .dst_max = 1, .src_attr = src_attr, .infer = infer, .ref = ref,           \
        .flops = flops, .tol = tolerance,                                                                                   \
    }
REDUCE(mean, "Mean", 1e-5, 0);
REDUCE(sum, "Sum", 1e-5, TENON_OP_SHAPE_VALUE);
REDUCE(max, "Max", 0, TENON_OP_SHAPE_VALUE);
REDUCE(min, "Min", 0, TENON_OP_SHAPE_VALUE);
REDUCE(prod, "Prod", 1e-4, TENON_OP_SHAPE_VALUE);
REDUCE(l1, "L1", 1e-5, 0);
REDUCE(l2, "L2", 1e-5, 0);
REDUCE(sum_square, "SumSquare", 1e-5, 0);
REDUCE(log_sum, "LogSum", 1e-5, 0);
REDUCE(log_sum_exp, "LogSumExp", 1e-5, 0);

static reduce_kind kind_of(const tenon_op *op)
{
    static const tenon_op *const row[] = {[MEAN] = &tenon_op_reduce_mean,       [SUM] = &tenon_op_reduce_sum,
                                          [MAX] = &tenon_op_reduce_max,         [MIN] = &tenon_op_reduce_min,
                                          [PROD] = &tenon_op_reduce_prod,       [L1] = &tenon_op_reduce_l1,
                                          [L2] = &tenon_op_reduce_l2,           [SUM_SQUARE] = &tenon_op_reduce_sum_square,
                                          [LOG_SUM] = &tenon_op_reduce_log_sum, [LOG_SUM_EXP] = &tenon_op_reduce_log_sum_exp};
    int i = 0;
    while (row[i] != op) i++;
    return (reduce_kind)i;
}
