/* SPDX-License-Identifier: Apache-2.0 */
/* Optionals: a sequence of zero or one item. Tensors and sequences count as optionals that hold themselves. */
#include "op/widen.h"

static tenon_status optional_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)cx;
    tenon_type item;
    tenon_widen_nothing(g, (tenon_dtype)tenon_node_int(n, "type"), &item);
    if (tenon_move_present(n, 0)) item = n->src[0]->type;
    return tenon_widen_container(g, n, 0, TENON_OPTIONAL, &item);
}

static tenon_status optional_ref(tenon_cx *cx, tenon_eval_call *call)
{
    tenon_sequence *s = tenon_heap_alloc(call->heap, sizeof(*s));
    if (s == NULL) return TENON_NOMEM;
    s->count = tenon_move_has(call, 0);
    s->item = tenon_heap_alloc(call->heap, sizeof(*s->item));
    if (s->item == NULL) return TENON_NOMEM;
    if (s->count) TENON_TRY(tenon_move_clone(cx, call->heap, &call->src[0], &s->item[0]));
    const tenon_tensor t = {.dtype = TENON_OPTIONAL, .data = s};
    return tenon_move_give(cx, call, 0, &t);
}

static tenon_status has_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)cx;
    tenon_infer_set(n, 0, TENON_BOOL, 0, NULL);
    const bool has = tenon_move_present(n, 0);
    if (has && n->src[0]->type.dtype == TENON_OPTIONAL) return tenon_move_set_contents(g, n, 0, NULL, 0);
    const tenon_dim *known = tenon_dim_const(g->dims, has);
    return tenon_move_set_contents(g, n, 0, &known, 1);
}

static tenon_status has_ref(tenon_cx *cx, tenon_eval_call *call)
{
    bool has = tenon_move_has(call, 0);
    if (has && call->src[0].dtype == TENON_OPTIONAL) has = ((const tenon_sequence *)call->src[0].data)->count > 0;
    TENON_TRY(tenon_move_result(cx, call, 0, TENON_BOOL, 0, NULL));
    tenon_tensor_set_i64(&call->dst[0], 0, has);
    return TENON_OK;
}

static tenon_status get_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)cx;
    const tenon_type *x = &n->src[0]->type;
    static const tenon_type unknown = {.rank = -1};
    if (x->dtype != TENON_OPTIONAL) {
        if (n->dst[0] != NULL) n->dst[0]->type = *x;
        return TENON_OK;
    }
    const tenon_type *item = x->element != NULL ? x->element : &unknown;
    if (item->dtype == TENON_SEQUENCE || item->dtype == TENON_OPTIONAL) {
        if (n->dst[0] != NULL) n->dst[0]->type = *item;
    } else {
        tenon_widen_take(g, n, 0, item);
    }
    return TENON_OK;
}

static tenon_status get_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    tenon_tensor copy;
    if (x->dtype == TENON_OPTIONAL) {
        const tenon_sequence *s = x->data;
        if (s->count == 0) return TENON_FAIL(cx, TENON_INVALID, "optional_get_element: the optional is empty");
        x = &s->item[0];
    }
    TENON_TRY(tenon_move_clone(cx, call->heap, x, &copy));
    return tenon_move_give(cx, call, 0, &copy);
}

/* ONNX's `type` is a whole type; only its element type is kept, for an optional that holds nothing. */
static const tenon_attr_def optional_attrs[] = {{.name = "type", .kind = TENON_ATTR_DTYPE}, {0}};

const tenon_op tenon_op_optional = {
    .name = "optional", .attr = optional_attrs, .onnx = "Optional", .onnx_since = 15,
    .src_min = 0, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = optional_infer, .ref = optional_ref,
    .flops = tenon_move_flops};
const tenon_op tenon_op_optional_has_element = {
    .name = "optional_has_element", .onnx = "OptionalHasElement", .onnx_since = 15, .flags = TENON_OP_SHAPE_VALUE,
    .src_min = 0, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = has_infer, .ref = has_ref, .flops = tenon_move_flops};
const tenon_op tenon_op_optional_get_element = {
    .name = "optional_get_element", .onnx = "OptionalGetElement", .onnx_since = 15,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = get_infer, .ref = get_ref, .flops = tenon_move_flops};
