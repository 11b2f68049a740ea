/* SPDX-License-Identifier: Apache-2.0 */
/* softmax, log_softmax and hardmax along one axis (the meaning of opset 13). A row is shifted by its maximum before exp;
   hardmax marks the first maximum. */
#include "op/dense.h"
#include "op/rule.h"

#include <math.h>

static const tenon_attr_def attrs[] = {{.name = "axis", .kind = TENON_ATTR_INT, .i = -1}, {0}};

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)g;
    int axis;
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 1, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_float(cx, n, 0, "x"));
    const tenon_type *x = tenon_rule_type(n, 0);
    TENON_TRY(tenon_infer_axis(cx, "axis", tenon_node_int(n, "axis"), x->rank, &axis));
    tenon_infer_set(n, 0, x->dtype, x->rank, x->dim);
    return TENON_OK;
}

static void soft_row(const double *x, int64_t length, double *y, bool log_of)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < length; i++) max = x[i] > max ? x[i] : max;
    for (int64_t i = 0; i < length; i++) sum += exp(x[i] - max);
    for (int64_t i = 0; i < length; i++) y[i] = log_of ? x[i] - max - log(sum) : exp(x[i] - max) / sum;
}

static void hard_row(const double *x, int64_t length, double *y)
{
    int64_t best = 0;
    for (int64_t i = 0; i < length; i++) {
        y[i] = 0;
        if (x[i] > x[best]) best = i;
    }
    if (length) y[best] = 1;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *x = &call->src[0];
    int axis, perm[TENON_MAX_RANK];
    TENON_TRY(tenon_infer_axis(cx, "axis", tenon_node_int(call->node, "axis"), x->rank, &axis));
    tenon_dense_axis_last(x->rank, axis, perm);
    const tenon_tensor from = tenon_dense_permuted(x, perm), to = tenon_dense_permuted(&call->dst[0], perm);
    const int64_t count = tenon_tensor_count(x), length = x->dim[axis];
    const double *px = tenon_dense_f64(heap, &from);
    double *py = tenon_dense_new_f64(heap, count);
    if (!px || !py) return TENON_NOMEM;
    for (int64_t i = 0; i < count; i += length) {
        if (call->node->op == &tenon_op_hardmax) hard_row(px + i, length, py + i);
        else soft_row(px + i, length, py + i, call->node->op == &tenon_op_log_softmax);
    }
    tenon_dense_store_f64(&to, py);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)src;
    return (n->op == &tenon_op_hardmax ? 1.0 : 12.0) * (double)tenon_tensor_count(dst); /* exp counts as about eight */
}

const tenon_op tenon_op_softmax = {
    .name = "softmax", .attr = attrs, .onnx = "Softmax", .onnx_since = 13, .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 1,
    .dst_min = 1, .dst_max = 1, .infer = infer, .ref = ref, .flops = flops, .tol = 1e-5,
};
const tenon_op tenon_op_log_softmax = {
    .name = "log_softmax", .attr = attrs, .onnx = "LogSoftmax", .onnx_since = 13, .flags = TENON_OP_ANCHOR, .src_min = 1,
    .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = infer, .ref = ref, .flops = flops, .tol = 1e-5,
};
const tenon_op tenon_op_hardmax = {
    .name = "hardmax", .attr = attrs, .onnx = "Hardmax", .onnx_since = 13, .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 1,
    .dst_min = 1, .dst_max = 1, .infer = infer, .ref = ref, .flops = flops,
};
