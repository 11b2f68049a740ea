/* SPDX-License-Identifier: Apache-2.0 */
/* Packed weights of convolutions, for kernels that walk panels of output channels:

       pack_conv       [group][panel][r][s][c][width]   width nr, the last panel of a group a multiple of vw; zeros behind filters
       pack_depthwise  [c / vw][r][s][vw]               one input channel a group, zeros behind the last channel
   A weight (k, c / group, r, s) may have any strides; one spatial axis is a kernel of one row. */
#include "op/rule.h"
#include "op/eval.h"

#include "base/checked.h"

static const tenon_attr_def conv_attrs[] = {{.name = "group", .kind = TENON_ATTR_INT, .i = 1},
                                            {.name = "nr", .kind = TENON_ATTR_INT, .i = 16},
                                            {.name = "vw", .kind = TENON_ATTR_INT, .i = 16}, {0}};
static const tenon_attr_def depthwise_attrs[] = {{.name = "vw", .kind = TENON_ATTR_INT, .i = 16}, {0}};

/* ---- pack_conv ---- */
static tenon_status conv_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int64_t dim[4] = {0, 0, 1, 1};
    TENON_TRY(tenon_rule_weight_dims(cx, n, 3, 4, dim));
    const int64_t group = tenon_node_int(n, "group"), nr = tenon_node_int(n, "nr"), vw = tenon_node_int(n, "vw");
    if (group < 1 || vw < 1 || nr < 1 || nr % vw || dim[0] % group)
        return TENON_FAIL(cx, TENON_INVALID, "pack_conv: group %lld, nr %lld, vw %lld, %lld filters", (long long)group,
                          (long long)nr, (long long)vw, (long long)dim[0]);
    const int64_t size[] = {group, tenon_ceil_div(dim[0] / group, vw), vw, dim[1], dim[2], dim[3]};
    return tenon_rule_packed(cx, g, n, TENON_F32, size, 6);
}

static tenon_status conv_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *w = &call->src[0];
    const int64_t group = tenon_node_int(call->node, "group"), nr = tenon_node_int(call->node, "nr");
    const int64_t vw = tenon_node_int(call->node, "vw");
    const int64_t filters = w->dim[0] / group, rows = w->rank == 4 ? w->dim[2] : 1, columns = w->dim[w->rank - 1];
    TENON_TRY(tenon_eval_alloc(cx, call, 0));
    float *out = call->dst[0].data;
    const int64_t row_stride = w->rank == 4 ? w->stride[2] : 0, column_stride = w->stride[w->rank - 1];
    for (int64_t g = 0; g < group; g++)
        for (int64_t first = 0; first < filters; first += nr) {
            const int64_t width = TENON_MIN(nr, tenon_ceil_div(filters - first, vw) * vw);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t s = 0; s < columns; s++)
                    for (int64_t c = 0; c < w->dim[1]; c++)
                        for (int64_t k = 0; k < width; k++) {
                            const int64_t filter = g * filters + first + k;
                            const int64_t at = filter * w->stride[0] + c * w->stride[1] + r * row_stride + s * column_stride;
                            *out++ = first + k < filters ? (float)tenon_tensor_get_f64(w, at) : 0.0f;
                        }
        }
    return TENON_OK;
}

const tenon_op tenon_op_pack_conv = {
    .name = "pack_conv", .attr = conv_attrs, .flags = TENON_OP_WEIGHT, .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1,
    .infer = conv_infer, .ref = conv_ref,
};

/* ---- pack_depthwise ---- */
static tenon_status depthwise_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int64_t dim[4] = {0, 0, 1, 1};
    TENON_TRY(tenon_rule_weight_dims(cx, n, 3, 4, dim));
    const int64_t vw = tenon_node_int(n, "vw");
    if (vw < 1 || dim[1] != 1)
        return TENON_FAIL(cx, TENON_INVALID, "pack_depthwise: vw %lld, %lld channels a filter", (long long)vw, (long long)dim[1]);
    const int64_t size[] = {tenon_ceil_div(dim[0], vw), vw, dim[2], dim[3]};
    return tenon_rule_packed(cx, g, n, TENON_F32, size, 4);
}

static tenon_status depthwise_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *w = &call->src[0];
    const int64_t vw = tenon_node_int(call->node, "vw"), rows = w->rank == 4 ? w->dim[2] : 1, columns = w->dim[w->rank - 1];
    TENON_TRY(tenon_eval_alloc(cx, call, 0));
    float *out = call->dst[0].data;
    for (int64_t first = 0; first < w->dim[0]; first += vw)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t s = 0; s < columns; s++)
                for (int64_t k = first; k < first + vw; k++) {
                    const int64_t at = k * w->stride[0] + r * (w->rank == 4 ? w->stride[2] : 0) + s * w->stride[w->rank - 1];
                    *out++ = k < w->dim[0] ? (float)tenon_tensor_get_f64(w, at) : 0.0f;
                }
    return TENON_OK;
}

const tenon_op tenon_op_pack_depthwise = {
    .name = "pack_depthwise", .attr = depthwise_attrs, .flags = TENON_OP_WEIGHT, .src_min = 1, .src_max = 1, .dst_min = 1,
    .dst_max = 1, .infer = depthwise_infer, .ref = depthwise_ref,
};
