/* SPDX-License-Identifier: Apache-2.0 */
/* Packed right operand of a matmul: (..., k, n) of any strides becomes

       [batch][panel][k][width]   width nr, the last panel a multiple of vw; zeros behind column n */
#include "op/rule.h"
#include "op/eval.h"

#include "base/checked.h"

static const tenon_attr_def attrs[] = {{.name = "nr", .kind = TENON_ATTR_INT, .i = 16},
                                       {.name = "vw", .kind = TENON_ATTR_INT, .i = 16}, {0}};

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int64_t dim[TENON_MAX_RANK + 1] = {0};
    TENON_TRY(tenon_rule_weight_dims(cx, n, 2, TENON_MAX_RANK, dim));
    const tenon_type *w = tenon_rule_type(n, 0);
    const int64_t nr = tenon_node_int(n, "nr"), vw = tenon_node_int(n, "vw");
    if (vw < 1 || nr < 1 || nr % vw)
        return TENON_FAIL(cx, TENON_INVALID, "pack_gemm: nr %lld, vw %lld", (long long)nr, (long long)vw);
    dim[w->rank - 1] = tenon_ceil_div(dim[w->rank - 1], vw);
    dim[w->rank] = vw;
    return tenon_rule_packed(cx, g, n, TENON_F32, dim, w->rank + 1);
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *w = &call->src[0];
    const int64_t nr = tenon_node_int(call->node, "nr"), vw = tenon_node_int(call->node, "vw");
    const int64_t rows = w->dim[w->rank - 2], columns = w->dim[w->rank - 1], size = rows * columns;
    TENON_TRY(tenon_eval_alloc(cx, call, 0));
    float *out = call->dst[0].data;
    for (int64_t b = 0, batch = size ? tenon_tensor_count(w) / size : 0; b < batch; b++) {
        const int64_t base = tenon_tensor_offset(w, b * size);
        for (int64_t first = 0; first < columns; first += nr) {
            const int64_t width = TENON_MIN(nr, tenon_ceil_div(columns - first, vw) * vw);
            for (int64_t k = 0; k < rows; k++)
                for (int64_t n = first; n < first + width; n++) {
                    const int64_t at = base + k * w->stride[w->rank - 2] + n * w->stride[w->rank - 1];
                    *out++ = n < columns ? (float)tenon_tensor_get_f64(w, at) : 0.0f;
                }
        }
    }
    return TENON_OK;
}

const tenon_op tenon_op_pack_gemm = {
    .name = "pack_gemm", .attr = attrs, .flags = TENON_OP_WEIGHT, .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1,
    .infer = infer, .ref = ref,
};
