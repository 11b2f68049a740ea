/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution weights with the channels last, as libraries take them beside channels-last maps:

       (k, c / group, r, s)  ->  [k][r][s][c / group]      any type of whole bytes, kept                                       */
#include "op/eval.h"
#include "op/rule.h"

#include <string.h>

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int64_t dim[4];
    TENON_TRY(tenon_rule_weight_dims(cx, n, 4, 4, dim));
    TENON_TRY(tenon_rule_float(cx, n, 0, "weight"));
    return tenon_rule_packed(cx, g, n, tenon_rule_type(n, 0)->dtype, dim, 4);
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *w = &call->src[0];
    TENON_TRY(tenon_eval_alloc(cx, call, 0));
    const size_t bytes = tenon_dtype_bytes(w->dtype, 1);
    const char *from = w->data;
    char *out = call->dst[0].data;
    for (int64_t k = 0; k < w->dim[0]; k++)
        for (int64_t r = 0; r < w->dim[2]; r++)
            for (int64_t s = 0; s < w->dim[3]; s++)
                for (int64_t c = 0; c < w->dim[1]; c++, out += bytes) {
                    const int64_t at = k * w->stride[0] + c * w->stride[1] + r * w->stride[2] + s * w->stride[3];
                    memcpy(out, from + at * (int64_t)bytes, bytes);
                }
    return TENON_OK;
}

const tenon_op tenon_op_pack_krsc = {
    .name = "pack_krsc",
    .flags = TENON_OP_WEIGHT,
    .src_min = 1,
    .src_max = 1,
    .dst_min = 1,
    .dst_max = 1,
    .infer = infer,
    .ref = ref,
};
