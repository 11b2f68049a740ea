/* SPDX-License-Identifier: Apache-2.0 */
/* Shape arithmetic vanishes: a value whose contents are known as numbers becomes a constant, and a reshape whose target can be said
   with 0 and -1 no longer reads a computed one. */
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
    static const tenon_rw_rule rules[] = {known, target};
    return tenon_rw_each(cx, g, "shape_values", rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_shape_values = {.name = "shape_values", .what = "shape arithmetic becomes constants", .run = run};
