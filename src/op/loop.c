/* SPDX-License-Identifier: Apache-2.0 */
/* Loop: sources trip count, condition, carried values; body (iteration, condition, carried...) -> (condition, carried...,
   slices...).
   Carried shapes may change from run to run. */
#include "op/carry.h"

static tenon_status loop_body(tenon_cx *cx, const tenon_node *n, int *carried, tenon_graph **out)
{
    const tenon_attr *a = tenon_node_attr(n, "body");
    if (a->i < 0 || a->i >= n->sub_count) return TENON_FAIL(cx, TENON_INVALID, "loop: no body");
    tenon_graph *body = n->sub[a->i];
    *carried = n->src_count > 2 ? n->src_count - 2 : 0;
    *out = body;
    if (body->input_count != (size_t)*carried + 2 || body->output_count < (size_t)*carried + 1 ||
        (size_t)n->dst_count > body->output_count - 1)
        return TENON_FAIL(cx, TENON_INVALID, "loop: a body of %zu inputs and %zu outputs for %d carried values and %d results",
                          body->input_count, body->output_count, *carried, n->dst_count);
    return TENON_OK;
}

static bool is_known(tenon_graph *g, const tenon_value *v, const tenon_dim **out)
{
    size_t count;
    const tenon_dim *const *sym = tenon_infer_contents(g, v, &count);
    *out = sym != NULL && count == 1 ? sym[0] : NULL;
    return *out != NULL;
}

static tenon_status loop_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int carried;
    tenon_graph *body;
    TENON_TRY(loop_body(cx, n, &carried, &body));
    tenon_type *initial = tenon_arena_array(g->arena, (size_t)carried + 1, sizeof(*initial));
    const tenon_dim **yes = tenon_arena_array(g->arena, 1, sizeof(*yes));
    if (initial == NULL || yes == NULL) return TENON_NOMEM;
    for (int k = 0; k < carried; k++) {
        if (n->src[2 + k] == NULL) return TENON_FAIL(cx, TENON_INVALID, "loop: carried value %d is missing", k);
        initial[k] = n->src[2 + k]->type;
    }
    const tenon_type counter = {.dtype = TENON_I64, .rank = 0}, flag = {.dtype = TENON_BOOL, .rank = 0};
    body->input[0]->type = counter;
    body->input[1]->type = flag;
    yes[0] = tenon_dim_const(g->dims, 1); /* the body runs only while the condition holds */
    body->input[1]->sym = yes;
    body->input[1]->sym_count = 1;
    TENON_TRY(tenon_carry_infer(cx, g, n, body, initial, carried, 2, 1));
    const tenon_dim *trips = NULL, *d;
    const bool starts = !tenon_move_present(n, 1) || (is_known(g, n->src[1], &d) && tenon_dim_is(d, 1));
    const bool goes_on = is_known(body, body->output[0], &d) && tenon_dim_is(d, 1);
    if (starts && goes_on && tenon_move_present(n, 0) && is_known(g, n->src[0], &d))
        trips = tenon_dim_max(g->dims, tenon_dim_const(g->dims, 0), d);
    for (int i = carried; i < n->dst_count; i++) TENON_TRY(tenon_carry_stacked(cx, g, n, i, body, 1 + i, 0, trips));
    return TENON_OK;
}

static tenon_status one_number(tenon_cx *cx, const tenon_tensor *t, const char *what, int64_t *out)
{
    if (tenon_tensor_count(t) != 1) return TENON_FAIL(cx, TENON_INVALID, "loop: the %s must be one element", what);
    *out = tenon_tensor_get_i64(t, 0);
    return TENON_OK;
}

static tenon_status loop_runs(tenon_cx *cx, tenon_eval_call *call, const tenon_graph *body, tenon_carry *c)
{
    const int index = (int)tenon_node_int(call->node, "body");
    int64_t most = INT64_MAX, go = 1;
    if (tenon_move_has(call, 0)) TENON_TRY(one_number(cx, &call->src[0], "trip count", &most));
    if (tenon_move_has(call, 1)) TENON_TRY(one_number(cx, &call->src[1], "condition", &go));
    for (int64_t i = 0; i < most && go; i++) {
        uint8_t yes = 1;
        c->in[0] = (tenon_tensor){.dtype = TENON_I64, .data = &i};
        c->in[1] = (tenon_tensor){.dtype = TENON_BOOL, .data = &yes};
        TENON_TRY(tenon_carry_run(cx, call, c, index, 2, 1));
        TENON_TRY(one_number(cx, &c->out[0], "condition", &go));
    }
    return tenon_carry_results(cx, call, body, c, 1, NULL, 0, NULL, 0);
}

static tenon_status loop_ref(tenon_cx *cx, tenon_eval_call *call)
{
    int carried;
    tenon_graph *body;
    TENON_TRY(loop_body(cx, call->node, &carried, &body));
    tenon_carry c;
    tenon_status status = tenon_carry_begin(cx, body, call->src + 2, carried, (int)body->output_count - 1 - carried, &c);
    if (status == TENON_OK) status = loop_runs(cx, call, body, &c);
    tenon_carry_end(&c);
    return status;
}

static const tenon_attr_def loop_attrs[] = {{.name = "body", .kind = TENON_ATTR_GRAPH, .required = true}, {0}};

const tenon_op tenon_op_loop = {
    .name = "loop", .attr = loop_attrs, .onnx = "Loop", .onnx_since = 1, .flags = TENON_OP_CONTROL,
    .src_min = 0, .src_max = TENON_VARIADIC, .dst_min = 0, .dst_max = TENON_VARIADIC,
    .infer = loop_infer, .ref = loop_ref, .flops = tenon_move_flops};
