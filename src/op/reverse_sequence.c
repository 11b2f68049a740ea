/* SPDX-License-Identifier: Apache-2.0 */
/* ReverseSequence: the first sequence_lens[b] entries of batch b along the time axis, backwards; the rest stays. */
#include "op/move.h"

static tenon_status reverse_axes(tenon_cx *cx, const tenon_node *n, int rank, int *batch, int *time)
{
    TENON_TRY(tenon_infer_axis(cx, "reverse_sequence", tenon_node_int(n, "batch_axis"), rank, batch));
    TENON_TRY(tenon_infer_axis(cx, "reverse_sequence", tenon_node_int(n, "time_axis"), rank, time));
    if (*batch == *time) return TENON_FAIL(cx, TENON_INVALID, "reverse_sequence: batch axis and time axis are both %d", *batch);
    return TENON_OK;
}

static tenon_status reverse_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)g;
    const tenon_type *x = &n->src[0]->type;
    int batch, time;
    if (tenon_move_unranked(n)) return TENON_OK;
    TENON_TRY(reverse_axes(cx, n, x->rank, &batch, &time));
    tenon_move_set(g, n, 0, x->dtype, x->rank, x->dim);
    return TENON_OK;
}

static tenon_status reverse_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0], *lens = &call->src[1];
    int batch, time;
    TENON_TRY(reverse_axes(cx, call->node, x->rank, &batch, &time));
    if (lens->rank != 1 || lens->dim[0] != x->dim[batch])
        return TENON_FAIL(cx, TENON_INVALID, "reverse_sequence: one length for each of %lld batches is needed",
                          (long long)x->dim[batch]);
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, x->rank, x->dim));
    const tenon_tensor *y = &call->dst[0];
    int64_t box[TENON_MAX_RANK], reversed[TENON_MAX_RANK];
    for (int i = 0; i < x->rank; i++) box[i] = x->dim[i], reversed[i] = x->stride[i];
    box[batch] = 1;
    reversed[time] = -x->stride[time];
    for (int64_t b = 0; b < x->dim[batch]; b++) {
        const int64_t length = tenon_tensor_get_i64(lens, b * lens->stride[0]), from = b * x->stride[batch],
            to = b * y->stride[batch];
        if (length < 0 || length > x->dim[time])
            return TENON_FAIL(cx, TENON_INVALID, "reverse_sequence: length %lld of %lld", (long long)length,
                              (long long)x->dim[time]);
        box[time] = length;
        tenon_move_box(y, to, y->stride, x, from + (length - 1) * x->stride[time], reversed, x->rank, box);
        box[time] = x->dim[time] - length;
        tenon_move_box(y, to + length * y->stride[time], y->stride, x, from + length * x->stride[time], x->stride, x->rank, box);
    }
    return TENON_OK;
}

static const tenon_attr_def reverse_attrs[] = {{.name = "batch_axis", .kind = TENON_ATTR_INT, .i = 1},
                                               {.name = "time_axis", .kind = TENON_ATTR_INT}, {0}};

const tenon_op tenon_op_reverse_sequence = {
    .name = "reverse_sequence", .attr = reverse_attrs, .onnx = "ReverseSequence", .onnx_since = 10, .flags = TENON_OP_ANCHOR,
    .src_min = 2, .src_max = 2, .dst_min = 1, .dst_max = 1, .infer = reverse_infer, .ref = reverse_ref,
    .flops = tenon_move_flops};
