/* SPDX-License-Identifier: Apache-2.0 */
/* cum_sum: running sums along an axis, optionally from the end (reverse) or without the element itself (exclusive). The axis is
   an attribute, or source 1 when its value is not known at build. Integers wrap. */
#include "op/dense.h"
#include "op/rule.h"

#include <math.h>

static const tenon_attr_def attrs[] = {{.name = "exclusive", .kind = TENON_ATTR_INT},
                                       {.name = "reverse", .kind = TENON_ATTR_INT},
                                       {.name = "axis", .kind = TENON_ATTR_INT},
                                       {0}};
static const char *const src_attr[] = {NULL, "axis"};

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)g;
    int axis;
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 1, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_number(cx, n, 0, "x"));
    const tenon_type *x = tenon_rule_type(n, 0);
    if (!tenon_rule_src(n, 1)) TENON_TRY(tenon_infer_axis(cx, "axis", tenon_node_int(n, "axis"), x->rank, &axis));
    tenon_infer_set(n, 0, x->dtype, x->rank, x->dim);
    return TENON_OK;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *x = &call->src[0];
    const bool exclusive = tenon_node_int(call->node, "exclusive") != 0, reverse = tenon_node_int(call->node, "reverse") != 0;
    double given = (double)tenon_node_int(call->node, "axis");
    int axis, perm[TENON_MAX_RANK];
    if (tenon_call_has(call, 1)) TENON_TRY(tenon_dense_scalar(cx, call, 1, &given));
    TENON_TRY(tenon_infer_axis(cx, "axis", fabs(given) <= TENON_MAX_RANK ? (int64_t)given : INT32_MAX, x->rank, &axis));
    tenon_dense_axis_last(x->rank, axis, perm);
    const tenon_tensor from = tenon_dense_permuted(x, perm), to = tenon_dense_permuted(&call->dst[0], perm);
    const int64_t count = tenon_tensor_count(x), length = x->dim[axis];
    const bool is_float = tenon_is_float(x->dtype);
    const double *f = is_float ? tenon_dense_f64(heap, &from) : NULL;
    const int64_t *v = is_float ? NULL : tenon_dense_i64(heap, &from);
    double *out = tenon_dense_new_f64(heap, count);
    int64_t *whole = tenon_heap_alloc(heap, (size_t)(count + 1) * sizeof *whole);
    if ((!f && !v) || !out || !whole) return TENON_NOMEM;
    for (int64_t r = 0; r < count; r += length) {
        double sum = 0;
        uint64_t wrap = 0;
        for (int64_t i = 0; i < length; i++) {
            const int64_t at = r + (reverse ? length - 1 - i : i);
            if (exclusive) out[at] = sum, whole[at] = (int64_t)wrap;
            if (f) sum += f[at];
            else wrap += (uint64_t)v[at];
            if (!exclusive) out[at] = sum, whole[at] = (int64_t)wrap;
        }
    }
    if (is_float) tenon_dense_store_f64(&to, out);
    else tenon_dense_store_i64(&to, whole);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

const tenon_op tenon_op_cum_sum = {
    .name = "cum_sum", .attr = attrs, .onnx = "CumSum", .onnx_since = 11, .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 2,
    .dst_min = 1, .dst_max = 1, .src_attr = src_attr, .infer = infer, .ref = ref, .tol = 2e-5,
};
