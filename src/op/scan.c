/* SPDX-License-Identifier: Apache-2.0 */
/* Scan (since opset 9): sources states then sequences; body (states..., one element of each sequence...) -> (states...,
   slices...). */
#include "op/carry.h"

typedef struct scan {
    tenon_graph *body;
    int states, inputs;
    const tenon_attr *in_axes, *in_backwards, *out_axes, *out_backwards;
} scan;

static tenon_status scan_of(tenon_cx *cx, const tenon_node *n, scan *s)
{
    const tenon_attr *a = tenon_node_attr(n, "body");
    const int64_t inputs = tenon_node_int(n, "num_scan_inputs");
    if (a->i < 0 || a->i >= n->sub_count) return TENON_FAIL(cx, TENON_INVALID, "scan: no body");
    if (inputs < 1 || inputs > n->src_count)
        return TENON_FAIL(cx, TENON_INVALID, "scan: num_scan_inputs %lld of %d sources", (long long)inputs, n->src_count);
    s->body = n->sub[a->i];
    s->inputs = (int)inputs;
    s->states = n->src_count - s->inputs;
    s->in_axes = tenon_node_attr(n, "scan_input_axes");
    s->in_backwards = tenon_node_attr(n, "scan_input_directions");
    s->out_axes = tenon_node_attr(n, "scan_output_axes");
    s->out_backwards = tenon_node_attr(n, "scan_output_directions");
    if (s->body->input_count != (size_t)n->src_count || s->body->output_count < (size_t)s->states ||
        (size_t)n->dst_count > s->body->output_count)
        return TENON_FAIL(cx, TENON_INVALID, "scan: a body of %zu inputs and %zu outputs for %d sources and %d results",
                          s->body->input_count, s->body->output_count, n->src_count, n->dst_count);
    for (int i = 0; i < n->src_count; i++)
        if (n->src[i] == NULL) return TENON_FAIL(cx, TENON_INVALID, "scan: source %d is missing", i);
    return TENON_OK;
}

static int64_t listed(const tenon_attr *a, int i) { return (size_t)i < a->count ? a->ints[i] : 0; }

static tenon_status scan_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    scan s;
    TENON_TRY(scan_of(cx, n, &s));
    const tenon_dim *length = NULL;
    tenon_type *initial = tenon_arena_array(g->arena, (size_t)s.states + 1, sizeof(*initial));
    if (initial == NULL) return TENON_NOMEM;
    for (int k = 0; k < s.states; k++) initial[k] = n->src[k]->type;
    for (int k = 0; k < s.inputs; k++) {
        const tenon_type *x = &n->src[s.states + k]->type;
        tenon_value *v = s.body->input[s.states + k];
        tenon_type t = {.dtype = x->dtype, .rank = x->rank - 1};
        int axis;
        if (x->rank == 0) return TENON_FAIL(cx, TENON_INVALID, "scan: sequence %d has rank 0", k);
        if (x->rank < 0) t.rank = -1;
        else {
            TENON_TRY(tenon_infer_axis(cx, "scan input axis", listed(s.in_axes, k), x->rank, &axis));
            for (int i = 0; i < t.rank; i++) t.dim[i] = x->dim[i < axis ? i : i + 1];
            const tenon_dim *d = x->dim[axis];
            if (length != NULL && (d->lo > length->hi || d->hi < length->lo))
                return TENON_FAIL(cx, TENON_INVALID, "scan: sequences of different lengths");
            if (length == NULL || tenon_dim_is_const(d)) length = d;
        }
        v->type = t;
        v->sym = NULL;
        v->sym_count = 0;
    }
    TENON_TRY(tenon_carry_infer(cx, g, n, s.body, initial, s.states, 0, 0));
    for (int i = s.states; i < n->dst_count; i++)
        TENON_TRY(tenon_carry_stacked(cx, g, n, i, s.body, i, listed(s.out_axes, i - s.states), length));
    return TENON_OK;
}

static tenon_status scan_runs(tenon_cx *cx, tenon_eval_call *call, const scan *s, tenon_carry *c)
{
    int64_t length = -1;
    int axis;
    for (int k = 0; k < s->inputs; k++) {
        const tenon_tensor *x = &call->src[s->states + k];
        TENON_TRY(tenon_infer_axis(cx, "scan input axis", listed(s->in_axes, k), x->rank, &axis));
        if (length >= 0 && x->dim[axis] != length) return TENON_FAIL(cx, TENON_INVALID, "scan: sequences of different lengths");
        length = x->dim[axis];
    }
    for (int64_t i = 0; i < length; i++) {
        for (int k = 0; k < s->inputs; k++) {
            const tenon_tensor *x = &call->src[s->states + k];
            tenon_tensor t = {.dtype = x->dtype, .rank = x->rank - 1}, element;
            TENON_TRY(tenon_infer_axis(cx, "scan input axis", listed(s->in_axes, k), x->rank, &axis));
            for (int d = 0; d < t.rank; d++)
                t.dim[d] = x->dim[d < axis ? d : d + 1], t.stride[d] = x->stride[d < axis ? d : d + 1];
            const int64_t at = (listed(s->in_backwards, k) ? length - 1 - i : i) * x->stride[axis];
            const size_t bytes = tenon_move_element_bytes(x->dtype);
            if (bytes == 0) return TENON_FAIL(cx, TENON_UNSUPPORTED, "scan: sequences of 4-bit elements");
            t.data = (char *)x->data + at * (int64_t)bytes;
            /* bodies may expect dense inputs of their own lifetime */
            TENON_TRY(tenon_move_clone(cx, c->keep_all ? call->heap : &c->heap[(c->run_count + 1) & 1], &t, &element));
            c->in[s->states + k] = element;
        }
        TENON_TRY(tenon_carry_run(cx, call, c, (int)tenon_node_int(call->node, "body"), 0, 0));
    }
    return tenon_carry_results(cx, call, s->body, c, 0, s->out_axes->ints, s->out_axes->count, s->out_backwards->ints,
                               s->out_backwards->count);
}

static tenon_status scan_ref(tenon_cx *cx, tenon_eval_call *call)
{
    scan s;
    TENON_TRY(scan_of(cx, call->node, &s));
    tenon_carry c;
    tenon_status status = tenon_carry_begin(cx, s.body, call->src, s.states, (int)s.body->output_count - s.states, &c);
    if (status == TENON_OK) status = scan_runs(cx, call, &s, &c);
    tenon_carry_end(&c);
    return status;
}

static const tenon_attr_def scan_attrs[] = {
    {.name = "body", .kind = TENON_ATTR_GRAPH, .required = true}, {.name = "num_scan_inputs", .kind = TENON_ATTR_INT,
                                                                   .required = true},
    {.name = "scan_input_axes", .kind = TENON_ATTR_INTS}, {.name = "scan_input_directions", .kind = TENON_ATTR_INTS},
    {.name = "scan_output_axes", .kind = TENON_ATTR_INTS}, {.name = "scan_output_directions", .kind = TENON_ATTR_INTS}, {0}};

const tenon_op tenon_op_scan = {
    .name = "scan", .attr = scan_attrs, .onnx = "Scan", .onnx_since = 9, .flags = TENON_OP_CONTROL,
    .src_min = 1, .src_max = TENON_VARIADIC, .dst_min = 1, .dst_max = TENON_VARIADIC,
    .infer = scan_infer, .ref = scan_ref, .flops = tenon_move_flops};
