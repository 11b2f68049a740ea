/* SPDX-License-Identifier: Apache-2.0 */
/* Shape and Size: where symbolic contents begin. Their results are expressions over the network's dimensions, so that the
   arithmetic an exporter writes on them vanishes when the graph is built. */
#include "op/move.h"

static int clamp_axis(int64_t v, int rank) { return (int)(v < 0 ? (v + rank < 0 ? 0 : v + rank) : (v > rank ? rank : v)); }

static void shape_range(const tenon_node *n, int rank, int *start, int *end)
{
    const tenon_attr *e = tenon_node_attr(n, "end");
    *start = clamp_axis(tenon_node_int(n, "start"), rank);
    *end = e->set ? clamp_axis(e->i, rank) : rank;
    if (*end < *start) *end = *start;
}

static tenon_status shape_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)cx;
    const tenon_type *x = &n->src[0]->type;
    if (x->rank < 0) {
        const tenon_dim *count = tenon_move_fresh(g, n, 0, 0, "rank", 0, TENON_MAX_RANK);
        tenon_move_set(g, n, 0, TENON_I64, 1, &count);
        return TENON_OK;
    }
    int start, end;
    shape_range(n, x->rank, &start, &end);
    const tenon_dim *count = tenon_dim_const(g->dims, end - start);
    tenon_move_set(g, n, 0, TENON_I64, 1, &count);
    return tenon_move_set_contents(g, n, 0, x->dim + start, (size_t)(end - start));
}

static tenon_status shape_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    int start, end;
    shape_range(call->node, x->rank, &start, &end);
    const int64_t count = end - start;
    TENON_TRY(tenon_move_result(cx, call, 0, TENON_I64, 1, &count));
    for (int i = start; i < end; i++) tenon_tensor_set_i64(&call->dst[0], (i - start) * call->dst[0].stride[0], x->dim[i]);
    return TENON_OK;
}

static tenon_status size_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)cx;
    tenon_infer_set(n, 0, TENON_I64, 0, NULL);
    if (n->src[0]->type.rank < 0) return TENON_OK;
    const tenon_dim *count = tenon_type_count(g->dims, &n->src[0]->type);
    return tenon_move_set_contents(g, n, 0, &count, 1);
}

static tenon_status size_ref(tenon_cx *cx, tenon_eval_call *call)
{
    TENON_TRY(tenon_move_result(cx, call, 0, TENON_I64, 0, NULL));
    tenon_tensor_set_i64(&call->dst[0], 0, tenon_tensor_count(&call->src[0]));
    return TENON_OK;
}

static const tenon_attr_def shape_attrs[] = {{.name = "start", .kind = TENON_ATTR_INT}, {.name = "end", .kind = TENON_ATTR_INT},
                                             {0}};

const tenon_op tenon_op_shape = {
    .name = "shape", .attr = shape_attrs, .onnx = "Shape", .onnx_since = 1, .flags = TENON_OP_SHAPE_VALUE,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = shape_infer, .ref = shape_ref, .flops = tenon_move_flops};

const tenon_op tenon_op_size = {
    .name = "size", .onnx = "Size", .onnx_since = 1, .flags = TENON_OP_SHAPE_VALUE,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = size_infer, .ref = size_ref, .flops = tenon_move_flops};
