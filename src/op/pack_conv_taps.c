/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a convolution, or of a transposed one, for kernels that read neighbouring filters: [group][tap][channel][filter], any
   floating type, kept. A weight is (filters, channels of a group, kernel...), a transposed one (channels, filters of a group,
   kernel...). */
#include "op/eval.h"
#include "op/rule.h"

#include <string.h>

static const tenon_attr_def attrs[] = {{.name = "group", .kind = TENON_ATTR_INT, .i = 1}, {.name = "transposed", .kind = TENON_ATTR_INT}, {0}};

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int64_t dim[TENON_MAX_RANK] = {0};
    TENON_TRY(tenon_rule_weight_dims(cx, n, 3, 5, dim));
    TENON_TRY(tenon_rule_float(cx, n, 0, "weight"));
    const tenon_type *w = tenon_rule_type(n, 0);
    const int64_t group = tenon_node_int(n, "group");
    if (group < 1 || dim[0] % group) return TENON_FAIL(cx, TENON_INVALID, "pack_conv_taps: group %lld", (long long)group);
    return tenon_rule_packed(cx, g, n, w->dtype, dim, w->rank);
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *w = &call->src[0];
    const int64_t group = tenon_node_int(call->node, "group");
    const bool transposed = tenon_node_int(call->node, "transposed") != 0;
    const int64_t outer = w->dim[0] / group, channels = transposed ? outer : w->dim[1], filters = transposed ? w->dim[1] : outer;
    const size_t bytes = tenon_dtype_bytes(w->dtype, 1);
    int64_t taps = 1;
    for (int i = 2; i < w->rank; i++) taps *= w->dim[i];
    TENON_TRY(tenon_eval_alloc(cx, call, 0));
    char *out = call->dst[0].data;
    for (int64_t i = 0, count = group * taps * channels; i < count; i++) {
        const int64_t c = i % channels, g = i / channels / taps;
        int64_t tap = i / channels % taps, at = 0;
        for (int k = w->rank - 1; k >= 2; k--) {
            at += tap % w->dim[k] * w->stride[k];
            tap /= w->dim[k];
        }
        for (int64_t f = 0; f < filters; f++, out += bytes) {
            const int64_t first = g * outer + (transposed ? c : f), second = transposed ? f : c;
            memcpy(out, (const char *)w->data + (size_t)(at + first * w->stride[0] + second * w->stride[1]) * bytes, bytes);
        }
    }
    return TENON_OK;
}

const tenon_op tenon_op_pack_conv_taps = {
    .name = "pack_conv_taps", .attr = attrs, .flags = TENON_OP_WEIGHT, .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = infer, .ref = ref,
};
