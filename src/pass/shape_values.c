/* SPDX-License-Identifier: Apache-2.0 */
/* Shape arithmetic vanishes: a value whose contents are known as numbers becomes a constant, and a reshape whose target can be
   said with 0 and -1 no longer reads a computed one. */
#include "pass/pass.h"
#include "pass/rewrite.h"

static bool contents_are_numbers(const tenon_value *v)
{
    const tenon_dtype_kind kind = tenon_dtype_get(v->type.dtype)->kind;
    const bool integer = kind == TENON_KIND_INT || kind == TENON_KIND_UINT || kind == TENON_KIND_BOOL;
    if (!v->sym || !integer || tenon_dtype_get(v->type.dtype)->bits < 8 || !tenon_type_is_static(&v->type)) return false;
    for (size_t i = 0; i < v->sym_count; i++)
        if (!v->sym[i] || !tenon_dim_is_const(v->sym[i])) return false;
    return true;
}

static tenon_status constant_from_contents(tenon_graph *g, const tenon_value *v, tenon_value **out)
{
    tenon_tensor t = {.dtype = v->type.dtype, .rank = v->type.rank};
    for (int i = 0; i < t.rank; i++) t.dim[i] = v->type.dim[i]->value;
    tenon_tensor_dense(&t);
    *out = NULL;
    if (tenon_tensor_count(&t) != (int64_t)v->sym_count) return TENON_OK;
    t.data = tenon_arena_alloc(g->arena, tenon_dtype_bytes(t.dtype, v->sym_count) + 1);
    if (!t.data) return TENON_NOMEM;
    for (size_t i = 0; i < v->sym_count; i++) tenon_tensor_set_i64(&t, (int64_t)i, v->sym[i]->value);
    return tenon_graph_const(g, v->name, &t, false, out);
}

static tenon_status known(tenon_rw *rw, tenon_node *n)
{
    for (int i = 0; i < n->dst_count; i++) {
        tenon_value *v = n->dst[i], *c;
        if (!v || !v->use_count || !contents_are_numbers(v) || tenon_rw_is_output(rw->g, v)) continue;
        TENON_TRY(constant_from_contents(rw->g, v, &c));
        if (!c) continue;
        TENON_TRY(tenon_rw_also(rw, v, c));
        rw->changed = true;
    }
    return TENON_OK;
}

/* The graph input, and its axis, that has this size. */
static tenon_value *input_with(const tenon_graph *g, const tenon_dim *d, int *axis)
{
    for (size_t i = 0; i < g->input_count; i++)
        for (*axis = 0; *axis < g->input[i]->type.rank; ++*axis)
            if (g->input[i]->type.dim[*axis] == d) return g->input[i];
    return NULL;
}

/* shape(v) -> concat of sizes of the graph's inputs and numbers, so that v is not wanted for its shape. */
static tenon_status shape_of_inputs(tenon_rw *rw, tenon_node *n)
{
    if (n->op != &tenon_op_shape || !tenon_rw_from(n->src[0], NULL) || !n->dst[0]->sym ||
        n->dst[0]->sym_count > TENON_MAX_RANK || rw->g->parent) return TENON_OK;
    tenon_value *part[TENON_MAX_RANK], *y;
    tenon_node *size, *cat;
    const int count = (int)n->dst[0]->sym_count;
    int axis = 0;
    for (int i = 0; i < count; i++)
        if (!tenon_dim_is_const(n->dst[0]->sym[i]) && !input_with(rw->g, n->dst[0]->sym[i], &axis)) return TENON_OK;
    tenon_rw_take(rw, n);
    for (int i = 0; i < count; i++) {
        const tenon_dim *d = n->dst[0]->sym[i];
        if (tenon_dim_is_const(d)) {
            TENON_TRY(tenon_rw_list(rw, &d->value, 1, &part[i]));
            continue;
        }
        tenon_value *x = input_with(rw->g, d, &axis);
        TENON_TRY(tenon_rw_node(rw, &tenon_op_shape, &x, 1, 1, &size));
        TENON_TRY(tenon_node_set_int(rw->g, size, "start", axis));
        TENON_TRY(tenon_node_set_int(rw->g, size, "end", axis + 1));
        TENON_TRY(tenon_rw_infer(rw, size, &part[i]));
    }
    if (count == 0) return TENON_OK;
    TENON_TRY(tenon_rw_node(rw, &tenon_op_concat, part, count, 1, &cat));
    TENON_TRY(tenon_node_set_int(rw->g, cat, "axis", 0));
    TENON_TRY(tenon_rw_infer(rw, cat, &y));
    return tenon_rw_done(rw, n, y, "shape of an inner value -> sizes of the inputs");
}

/* reshape(x, computed) -> reshape(x, {0, -1, 7}) */
static tenon_status target(tenon_rw *rw, tenon_node *n)
{
    if (n->op != &tenon_op_reshape || n->src[1]->is_const || n->dst[0]->type.rank < 0) return TENON_OK;
    tenon_value *y;
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_reshape(rw, n->src[0], n->dst[0]->type.rank, n->dst[0]->type.dim, &y));
    const tenon_node *made = tenon_rw_from(y, &tenon_op_reshape);
    if (made && tenon_rw_from(made->src[1], NULL)) return TENON_OK; /* two free dimensions: as computed as before */
    return tenon_rw_done(rw, n, y, "reshape to a computed shape -> reshape with 0 and -1");
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {known, shape_of_inputs, target};
    return tenon_rw_each(cx, g, "shape_values", rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_shape_values = {.name = "shape_values", .what = "shape arithmetic becomes constants", .run = run};
