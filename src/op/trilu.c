/* SPDX-License-Identifier: Apache-2.0 */
/* trilu: the upper (j - i >= k) or lower (j - i <= k) triangle of the last two axes, zeros elsewhere. k is an attribute, or
   source 1 when its value is not known at build. */
#include "op/dense.h"
#include "op/rule.h"

#include <string.h>

static const tenon_attr_def attrs[] = {
    {.name = "upper", .kind = TENON_ATTR_INT, .i = 1}, {.name = "k", .kind = TENON_ATTR_INT}, {0}};
static const char *const src_attr[] = {NULL, "k"};

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)g;
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 2, TENON_MAX_RANK));
    const tenon_type *x = tenon_rule_type(n, 0);
    if (tenon_dtype_get(x->dtype)->bits < 8 || tenon_dtype_get(x->dtype)->kind == TENON_KIND_OTHER)
        return TENON_FAIL(cx, TENON_INVALID, "type of x is %s", tenon_dtype_get(x->dtype)->name);
    tenon_infer_set(n, 0, x->dtype, x->rank, x->dim);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0], *y = &call->dst[0];
    TENON_TRY(tenon_eval_alloc(cx, call, 0));
    const bool upper = tenon_node_int(call->node, "upper") != 0;
    double given = (double)tenon_node_int(call->node, "k");
    if (tenon_call_has(call, 1)) TENON_TRY(tenon_dense_scalar(cx, call, 1, &given));
    const int64_t k = (int64_t)TENON_MIN(TENON_MAX(given, -1e12), 1e12); /* beyond any size */
    const int64_t rows = x->dim[x->rank - 2], columns = x->dim[x->rank - 1], count = tenon_tensor_count(x);
    const size_t bytes = (size_t)tenon_dtype_get(x->dtype)->bits / 8;
    for (int64_t at = 0; at < count; at++) {
        const int64_t i = at / columns % rows, j = at % columns;
        char *to = (char *)y->data + (size_t)tenon_tensor_offset(y, at) * bytes;
        if (upper ? j - i >= k : j - i <= k)
            memcpy(to, (const char *)x->data + (size_t)tenon_tensor_offset(x, at) * bytes, bytes);
        else memset(to, 0, bytes);
    }
    return TENON_OK;
}

const tenon_op tenon_op_trilu = {
    .name = "trilu", .attr = attrs, .onnx = "Trilu", .onnx_since = 14, .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 2,
    .dst_min = 1, .dst_max = 1, .src_attr = src_attr, .infer = infer, .ref = ref,
};
