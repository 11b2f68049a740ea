/* SPDX-License-Identifier: Apache-2.0 */
/* arg_max and arg_min: index (i64) of the extreme element along an axis; the first one, or the last with select_last_index. */
#include "op/dense.h"
#include "op/rule.h"

static const tenon_attr_def attrs[] = {{.name = "axis", .kind = TENON_ATTR_INT},
                                       {.name = "keepdims", .kind = TENON_ATTR_INT, .i = 1},
                                       {.name = "select_last_index", .kind = TENON_ATTR_INT},
                                       {0}};

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int axis, rank = 0;
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 1, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_number(cx, n, 0, "x"));
    const tenon_type *x = tenon_rule_type(n, 0);
    TENON_TRY(tenon_infer_axis(cx, "axis", tenon_node_int(n, "axis"), x->rank, &axis));
    if (tenon_dim_is(x->dim[axis], 0)) return TENON_FAIL(cx, TENON_INVALID, "axis %d of x is empty", axis);
    const tenon_dim *dim[TENON_MAX_RANK], *one = tenon_dim_const(g->dims, 1);
    if (!one) return TENON_NOMEM;
    for (int i = 0; i < x->rank; i++) {
        if (i != axis) dim[rank++] = x->dim[i];
        else if (tenon_node_int(n, "keepdims")) dim[rank++] = one;
    }
    tenon_infer_set(n, 0, TENON_I64, rank, dim);
    return TENON_OK;
}

static tenon_status arg(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap, bool max)
{
    const tenon_tensor *x = &call->src[0];
    const bool last = tenon_node_int(call->node, "select_last_index") != 0, is_float = tenon_is_float(x->dtype);
    int axis, perm[TENON_MAX_RANK];
    TENON_TRY(tenon_infer_axis(cx, "axis", tenon_node_int(call->node, "axis"), x->rank, &axis));
    tenon_dense_axis_last(x->rank, axis, perm);
    const tenon_tensor turned = tenon_dense_permuted(x, perm);
    const int64_t length = x->dim[axis], count = tenon_tensor_count(&call->dst[0]);
    if (length == 0 && count) return TENON_FAIL(cx, TENON_INVALID, "axis %d of x is empty", axis);
    const double *f = is_float ? tenon_dense_f64(heap, &turned) : NULL;
    const int64_t *v = is_float ? NULL : tenon_dense_i64(heap, &turned);
    int64_t *out = tenon_heap_alloc(heap, (size_t)(count + 1) * sizeof *out);
    if ((!f && !v) || !out) return TENON_NOMEM;
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = i * length;
        int64_t best = 0;
        for (int64_t j = 1; j < length; j++) {
            const int64_t a = row + j, b = row + best;
            const bool equal = f ? f[a] == f[b] : v[a] == v[b];
            const bool better = max ? (f ? f[a] > f[b] : v[a] > v[b]) : (f ? f[a] < f[b] : v[a] < v[b]);
            if (better || (equal && last)) best = j;
        }
        out[i] = best;
    }
    tenon_dense_store_i64(&call->dst[0], out);
    return TENON_OK;
}

static tenon_status max_run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap) { return arg(cx, call, heap, true); }
static tenon_status min_run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap) { return arg(cx, call, heap, false); }
static tenon_status max_ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, max_run); }
static tenon_status min_ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, min_run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)n, (void)dst;
    return (double)tenon_tensor_count(&src[0]);
}

const tenon_op tenon_op_arg_max = {
    .name = "arg_max", .attr = attrs, .onnx = "ArgMax", .onnx_since = 1, .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 1,
    .dst_min = 1, .dst_max = 1, .infer = infer, .ref = max_ref, .flops = flops,
};
const tenon_op tenon_op_arg_min = {
    .name = "arg_min", .attr = attrs, .onnx = "ArgMin", .onnx_since = 1, .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 1,
    .dst_min = 1, .dst_max = 1, .infer = infer, .ref = min_ref, .flops = flops,
};
