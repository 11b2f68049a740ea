/* SPDX-License-Identifier: Apache-2.0 */
/* What Loop and Scan share, see op/carry.h. */
#include "op/carry.h"

#include "base/checked.h"

#include <string.h>

/* ---- types ---- */
static void clear_contents(tenon_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) {
        tenon_node *n = g->node[i];
        if (n->op == &tenon_op_symbolic) continue;
        for (int k = 0; k < n->dst_count; k++) tenon_infer_set_contents(n, k, NULL, 0);
        for (int k = 0; k < n->sub_count; k++) clear_contents(n->sub[k]);
    }
}

static bool is_container(const tenon_type *t) { return t->dtype == TENON_SEQUENCE || t->dtype == TENON_OPTIONAL; }

/* The carried type after one look at what the body makes of it. `wide`: axes that are run-time sizes of our own already. */
static tenon_status widen_carried(tenon_cx *cx, tenon_graph *g, tenon_type *t, const tenon_type *next, const tenon_type *before,
                                  unsigned *wide, bool *changed)
{
    const tenon_type old = *t;
    if (is_container(t) || t->dtype != next->dtype) {
        TENON_TRY(tenon_widen_type(cx, g, &old, next, NULL, t));
        *changed |= !tenon_widen_same(&old, t);
        return TENON_OK;
    }
    if (t->rank != next->rank && t->rank >= 0) {
        *t = (tenon_type){.dtype = old.dtype, .rank = -1};
        *changed = true;
        return TENON_OK;
    }
    for (int k = 0; k < t->rank; k++) {
        if (t->dim[k] == next->dim[k] || (*wide >> k & 1)) continue;
        t->dim[k] = tenon_widen_size(g, before, k, "carried");
        *wide |= 1u << k;
        *changed = true;
    }
    return TENON_OK;
}

tenon_status tenon_carry_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n, tenon_graph *body, const tenon_type *initial,
                               int count, int in, int out)
{
    tenon_type *type = tenon_arena_array(g->arena, (size_t)count + 1, sizeof(*type));
    tenon_type *before = tenon_arena_array(g->arena, (size_t)count + 1, sizeof(*before));
    unsigned *wide = tenon_arena_array(g->arena, (size_t)count + 1, sizeof(*wide));
    if (type == NULL || before == NULL || wide == NULL) return TENON_NOMEM;
    for (int k = 0; k < count; k++) type[k] = initial[k], before[k] = body->input[in + k]->type;
    bool changed = true;
    while (changed) { /* ends: every round makes an axis or a rank wider */
        changed = false;
        clear_contents(body);
        for (int k = 0; k < count; k++) {
            body->input[in + k]->type = type[k];
            body->input[in + k]->sym = NULL;
            body->input[in + k]->sym_count = 0;
        }
        TENON_TRY(tenon_infer_graph(cx, body));
        for (int k = 0; k < count; k++)
            TENON_TRY(widen_carried(cx, g, &type[k], &body->output[out + k]->type, &before[k], &wide[k], &changed));
    }
    for (int k = 0; k < count && k < n->dst_count; k++) {
        if (n->dst[k] == NULL) continue;
        const tenon_type old = n->dst[k]->type;
        tenon_type t = type[k];
        for (int i = 0; i < t.rank; i++)
            if (wide[k] >> i & 1) t.dim[i] = tenon_widen_size(g, &old, i, "loop");
        n->dst[k]->type = t;
        tenon_infer_set_contents(n, k, NULL, 0);
    }
    return TENON_OK;
}

tenon_status tenon_carry_stacked(tenon_cx *cx, tenon_graph *g, tenon_node *n, int i, const tenon_graph *body, int out,
                                 int64_t axis, const tenon_dim *length)
{
    if (i >= n->dst_count || n->dst[i] == NULL) return TENON_OK;
    const tenon_type *t = &body->output[out]->type;
    const tenon_type before = n->dst[i]->type;
    if (is_container(t)) return TENON_FAIL(cx, TENON_INVALID, "result %d stacks values that are no tensors", i);
    if (t->rank < 0) {
        tenon_infer_set(n, i, t->dtype, -1, NULL);
        return TENON_OK;
    }
    int at;
    if (t->rank + 1 > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "result %d has rank %d, at most %d", i, t->rank + 1, (int)TENON_MAX_RANK);
    TENON_TRY(tenon_infer_axis(cx, "scan output axis", axis, t->rank + 1, &at));
    const tenon_dim *dim[TENON_MAX_RANK];
    for (int k = 0; k <= t->rank; k++) {
        const tenon_dim *d = k == at ? length : t->dim[k < at ? k : k - 1];
        /* run-time sizes inside the body are those of one run */
        dim[k] = d == NULL || (k != at && tenon_dim_depends_on_data(g->dims, d)) ? tenon_widen_size(g, &before, k, "stacked") : d;
    }
    tenon_move_set(g, n, i, t->dtype, t->rank + 1, dim);
    return TENON_OK;
}

/* ---- running ---- */
static bool is_plain(tenon_dtype t) { return t != TENON_SEQUENCE && t != TENON_OPTIONAL && t != TENON_STRING; }

tenon_status tenon_carry_begin(tenon_cx *cx, const tenon_graph *body, const tenon_tensor *initial, int state_count,
                               int slice_count, tenon_carry *c)
{
    *c = (tenon_carry){.state_count = state_count, .slice_count = slice_count, .in_count = (int)body->input_count,
                       .out_count = (int)body->output_count};
    tenon_heap_init(&c->heap[0], cx);
    tenon_heap_init(&c->heap[1], cx);
    tenon_heap_init(&c->slices, cx);
    const size_t total = (size_t)state_count + (size_t)c->in_count + (size_t)c->out_count + 1;
    c->state = tenon_heap_alloc(&c->slices, total * sizeof(*c->state));
    if (c->state == NULL) return TENON_NOMEM;
    memset(c->state, 0, total * sizeof(*c->state));
    c->in = c->state + state_count;
    c->out = c->in + c->in_count;
    for (int k = 0; k < state_count; k++) {
        c->state[k] = initial[k];
        c->keep_all |= !is_plain(initial[k].dtype);
    }
    for (int k = 0; k < c->out_count; k++) c->keep_all |= !is_plain(body->output[k]->type.dtype);
    return TENON_OK;
}

static tenon_status keep_slices(tenon_cx *cx, tenon_carry *c, int first)
{
    if (c->run_count == c->slice_capacity) {
        const int64_t capacity = c->slice_capacity ? 2 * c->slice_capacity : 16;
        size_t bytes;
        if (!tenon_mul_size((size_t)capacity, ((size_t)c->slice_count + 1) * sizeof(*c->slice), &bytes))
            return TENON_FAIL(cx, TENON_NOMEM, "too many runs of a loop");
        tenon_tensor *more = tenon_heap_alloc(&c->slices, bytes);
        if (more == NULL) return TENON_NOMEM;
        if (c->run_count) memcpy(more, c->slice, (size_t)c->run_count * (size_t)c->slice_count * sizeof(*more));
        c->slice = more;
        c->slice_capacity = capacity;
    }
    for (int s = 0; s < c->slice_count; s++)
        TENON_TRY(tenon_move_clone(cx, &c->slices, &c->out[first + s], &c->slice[c->run_count * c->slice_count + s]));
    return TENON_OK;
}

tenon_status tenon_carry_run(tenon_cx *cx, tenon_eval_call *call, tenon_carry *c, int body_index, int first_state, int first_out)
{
    tenon_heap *const own = call->heap, *const now = &c->heap[c->run_count & 1];
    for (int k = 0; k < c->state_count; k++) c->in[first_state + k] = c->state[k];
    memset(c->out, 0, (size_t)c->out_count * sizeof(*c->out));
    if (!c->keep_all) {
        tenon_heap_free(now); /* of the run before the last one */
        call->heap = now;
    }
    const tenon_status status = call->run_graph(cx, call, body_index, c->in, c->in_count, c->out, c->out_count);
    call->heap = own;
    TENON_TRY(status);
    for (int k = 0; k < c->state_count; k++) c->state[k] = c->out[first_out + k];
    if (c->slice_count) TENON_TRY(keep_slices(cx, c, first_out + c->state_count));
    c->run_count++;
    return TENON_OK;
}

static tenon_status stack(tenon_cx *cx, tenon_eval_call *call, const tenon_type *type, const tenon_carry *c, int s,
                          int64_t axis_attr, bool reverse)
{
    const int i = c->state_count + s;
    if (!tenon_move_wanted(call, i)) return TENON_OK;
    const tenon_tensor *first = c->run_count ? &c->slice[s] : NULL;
    const int inner = first != NULL ? first->rank : TENON_MAX(type->rank, 0);
    int axis;
    int64_t dim[TENON_MAX_RANK + 1];
    if (inner + 1 > TENON_MAX_RANK) return TENON_FAIL(cx, TENON_UNSUPPORTED, "result %d has rank %d", i, inner + 1);
    TENON_TRY(tenon_infer_axis(cx, "scan output axis", axis_attr, inner + 1, &axis));
    for (int k = 0; k <= inner; k++) {
        const int from = k < axis ? k : k - 1;
        if (k == axis) dim[k] = c->run_count;
        else if (first != NULL) dim[k] = first->dim[from];
        else dim[k] = from < type->rank && tenon_dim_is_const(type->dim[from]) ? type->dim[from]->value : 0;
    }
    TENON_TRY(tenon_move_result(cx, call, i, first != NULL ? first->dtype : type->dtype, inner + 1, dim));
    const tenon_tensor *y = &call->dst[i];
    int64_t stride[TENON_MAX_RANK];
    for (int k = 0; k < inner; k++) stride[k] = y->stride[k < axis ? k : k + 1];
    for (int64_t r = 0; r < c->run_count; r++) {
        const tenon_tensor *slice = &c->slice[r * c->slice_count + s];
        bool same = slice->rank == inner && slice->dtype == first->dtype;
        for (int k = 0; same && k < inner; k++) same = slice->dim[k] == first->dim[k];
        if (!same) return TENON_FAIL(cx, TENON_INVALID, "result %d: run %lld gave another shape than the first", i, (long long)r);
        tenon_move_box(y, (reverse ? c->run_count - 1 - r : r) * y->stride[axis], stride, slice, 0, slice->stride, inner,
                       slice->dim);
    }
    return TENON_OK;
}

tenon_status tenon_carry_results(tenon_cx *cx, tenon_eval_call *call, const tenon_graph *body, tenon_carry *c, int first_out,
                                 const int64_t *axis,
                                 size_t axis_count, const int64_t *reverse, size_t reverse_count)
{
    for (int k = 0; k < c->state_count; k++) {
        if (!tenon_move_wanted(call, k)) continue;
        tenon_tensor copy;
        TENON_TRY(tenon_move_clone(cx, call->heap, &c->state[k], &copy));
        TENON_TRY(tenon_move_give(cx, call, k, &copy));
    }
    for (int s = 0; s < c->slice_count; s++)
        TENON_TRY(stack(cx, call, &body->output[first_out + c->state_count + s]->type, c, s, (size_t)s < axis_count ? axis[s] : 0,
                        (size_t)s < reverse_count && reverse[s] != 0));
    /* text in the slices lives with them: it moves to the call's heap by one more copy */
    for (int s = 0; s < c->slice_count; s++) {
        const int i = c->state_count + s;
        if (!tenon_move_wanted(call, i) || call->dst[i].dtype != TENON_STRING) continue;
        tenon_tensor copy;
        TENON_TRY(tenon_move_clone(cx, call->heap, &call->dst[i], &copy));
        TENON_TRY(tenon_move_give(cx, call, i, &copy));
    }
    return TENON_OK;
}

void tenon_carry_end(tenon_carry *c)
{
    tenon_heap_free(&c->heap[0]);
    tenon_heap_free(&c->heap[1]);
    tenon_heap_free(&c->slices);
}
