/* SPDX-License-Identifier: Apache-2.0 */
/* If: one of two sub-graphs. When the condition is known while building, the result has the type and contents of that branch,
   and the other branch, which may make no sense for these shapes, need not type. */
#include "op/widen.h"

static tenon_graph *branch(const tenon_node *n, const char *name)
{
    const tenon_attr *a = tenon_node_attr(n, name);
    return a->i >= 0 && a->i < n->sub_count ? n->sub[a->i] : NULL;
}

static tenon_status from_one(tenon_cx *cx, tenon_graph *g, tenon_node *n, tenon_graph *taken, tenon_graph *other)
{
    TENON_TRY(tenon_infer_graph(cx, taken));
    const tenon_status status = tenon_infer_graph(cx, other);
    if (status == TENON_NOMEM) return status;
    if (status != TENON_OK) {
        cx->status = TENON_OK;
        cx->message[0] = '\0';
    }
    for (int i = 0; i < n->dst_count; i++) {
        if (n->dst[i] == NULL) continue;
        size_t count;
        const tenon_dim *const *sym = tenon_infer_contents(taken, taken->output[i], &count);
        n->dst[i]->type = taken->output[i]->type;
        TENON_TRY(tenon_move_set_contents(g, n, i, sym, count));
    }
    return TENON_OK;
}

static tenon_status if_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    tenon_graph *yes = branch(n, "then_branch"), *no = branch(n, "else_branch");
    if (yes == NULL || no == NULL) return TENON_FAIL(cx, TENON_INVALID, "if: a branch is missing");
    if (yes->output_count < (size_t)n->dst_count || no->output_count < (size_t)n->dst_count || yes->input_count ||
        no->input_count)
        return TENON_FAIL(cx, TENON_INVALID, "if: the branches must give %d results and take nothing", n->dst_count);
    if (n->src[0]->type.dtype != TENON_BOOL) return TENON_FAIL(cx, TENON_INVALID, "if: the condition must be bool");
    size_t count;
    int64_t known;
    const tenon_dim *const *cond = tenon_infer_contents(g, n->src[0], &count);
    if (cond != NULL && count == 1 && tenon_move_const(cond[0], &known))
        return from_one(cx, g, n, known ? yes : no, known ? no : yes);
    TENON_TRY(tenon_infer_graph(cx, yes));
    TENON_TRY(tenon_infer_graph(cx, no));
    for (int i = 0; i < n->dst_count; i++) {
        if (n->dst[i] == NULL) continue;
        tenon_type t;
        const tenon_type before = n->dst[i]->type;
        TENON_TRY(tenon_widen_type(cx, g, &yes->output[i]->type, &no->output[i]->type, &before, &t));
        n->dst[i]->type = t;
        tenon_infer_set_contents(n, i, NULL, 0);
    }
    return TENON_OK;
}

static tenon_status if_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *c = &call->src[0];
    if (c->dtype != TENON_BOOL || tenon_tensor_count(c) != 1)
        return TENON_FAIL(cx, TENON_INVALID, "if: the condition must be one bool");
    const int64_t index = tenon_node_int(call->node, tenon_tensor_get_i64(c, 0) ? "then_branch" : "else_branch");
    const int count = (int)call->node->sub[index]->output_count;
    tenon_tensor *out = tenon_heap_alloc(call->heap, (size_t)(count + 1) * sizeof(*out));
    if (out == NULL) return TENON_NOMEM;
    for (int i = 0; i < count; i++) out[i] = (tenon_tensor){0};
    TENON_TRY(call->run_graph(cx, call, (int)index, NULL, 0, out, count));
    for (int i = 0; i < call->dst_count && i < count; i++)
        if (tenon_move_wanted(call, i)) TENON_TRY(tenon_move_give(cx, call, i, &out[i]));
    return TENON_OK;
}

static const tenon_attr_def if_attrs[] = {
    {.name = "then_branch", .kind = TENON_ATTR_GRAPH, .required = true}, {.name = "else_branch", .kind = TENON_ATTR_GRAPH,
                                                                          .required = true}, {0}};

const tenon_op tenon_op_if = {
    .name = "if", .attr = if_attrs, .onnx = "If", .onnx_since = 1, .flags = TENON_OP_CONTROL | TENON_OP_SHAPE_VALUE,
    .src_min = 1, .src_max = 1, .dst_min = 0, .dst_max = TENON_VARIADIC, .infer = if_infer, .ref = if_ref,
    .flops = tenon_move_flops};
