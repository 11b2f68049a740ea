/* SPDX-License-Identifier: Apache-2.0 */
/* Two operators that no model has: `copy`, which the planner puts where a layout changes or a view cannot be read in place, and
   `symbolic`, a small tensor whose elements are expressions over the network's dimensions: what shape arithmetic becomes. */
#include "op/move.h"

#include <string.h>

static tenon_status copy_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    if (n->dst[0] != NULL) n->dst[0]->type = *x;
    return tenon_move_values(cx, g, n, 1);
}

static tenon_status copy_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    if (x->dtype == TENON_SEQUENCE || x->dtype == TENON_OPTIONAL) {
        tenon_tensor copy;
        TENON_TRY(tenon_move_clone(cx, call->heap, x, &copy));
        return tenon_move_give(cx, call, 0, &copy);
    }
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, x->rank, x->dim));
    tenon_move_box(&call->dst[0], 0, call->dst[0].stride, x, 0, x->stride, x->rank, x->dim);
    return TENON_OK;
}

/* The maker sets the type and sym of the result; in text the expressions stand in `dims`, so that a printed graph can be read. */
static tenon_status symbolic_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_attr *dims = tenon_node_attr(n, "dims");
    const tenon_dtype dtype = (tenon_dtype)tenon_node_int(n, "dtype");
    const bool scalar = tenon_node_int(n, "scalar") != 0;
    tenon_value *y = n->dst[0];
    if (y == NULL || y->sym != NULL) return TENON_OK;
    if (!dims->set) { /* the evaluator asks for types in a graph of its own; symbolic_ref then reads the real result */
        tenon_infer_set(n, 0, dtype, -1, NULL);
        return TENON_OK;
    }
    if (scalar && dims->count != 1) return TENON_FAIL(cx, TENON_INVALID, "symbolic: a scalar of %zu expressions", dims->count);
    const tenon_dim **sym = tenon_arena_array(g->arena, dims->count + 1, sizeof(*sym));
    if (sym == NULL) return TENON_NOMEM;
    for (size_t i = 0; i < dims->count; i++) {
        const tenon_status status = tenon_dim_parse(cx, g->dims, dims->strings[i], strlen(dims->strings[i]), &sym[i]);
        if (status == TENON_INVALID && g->dims->symbol_count == 0) { /* the evaluator's graph again: it has no symbols */
            tenon_infer_set(n, 0, dtype, -1, NULL);
            return TENON_OK;
        }
        TENON_TRY(status);
    }
    const tenon_dim *count = tenon_dim_const(g->dims, (int64_t)dims->count);
    tenon_infer_set(n, 0, dtype, scalar ? 0 : 1, &count);
    tenon_infer_set_contents(n, 0, sym, dims->count);
    return TENON_OK;
}

static tenon_status symbolic_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_value *y = call->node->dst[0];
    int64_t dim[TENON_MAX_RANK];
    if (y->sym == NULL) return TENON_FAIL(cx, TENON_INTERNAL, "symbolic: '%s' has no expressions", y->name);
    for (int i = 0; i < y->type.rank; i++)
        if (!tenon_move_const(y->type.dim[i], &dim[i]))
            return TENON_FAIL(cx, TENON_INTERNAL, "symbolic: '%s' has no fixed size", y->name);
    TENON_TRY(tenon_move_result(cx, call, 0, y->type.dtype, y->type.rank, dim));
    const tenon_tensor *t = &call->dst[0];
    if (tenon_tensor_count(t) != (int64_t)y->sym_count)
        return TENON_FAIL(cx, TENON_INTERNAL, "symbolic: '%s' has %zu expressions", y->name, y->sym_count);
    for (size_t i = 0; i < y->sym_count; i++) {
        int64_t v;
        if (!tenon_move_const(y->sym[i], &v))
            return TENON_FAIL(cx, TENON_INVALID, "symbolic: '%s' needs a graph with concrete dimensions to be evaluated",
                              y->name);
        tenon_tensor_set_i64(t, tenon_tensor_offset(t, (int64_t)i), v);
    }
    return TENON_OK;
}

static const tenon_attr_def symbolic_attrs[] = {
    {.name = "dims", .kind = TENON_ATTR_STRINGS}, {.name = "dtype", .kind = TENON_ATTR_DTYPE, .i = TENON_I64},
    {.name = "scalar", .kind = TENON_ATTR_INT}, {0}};

const tenon_op tenon_op_copy = {
    .name = "copy", .flags = TENON_OP_ANCHOR | TENON_OP_SHAPE_VALUE,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = copy_infer, .ref = copy_ref, .flops = tenon_move_flops};

const tenon_op tenon_op_symbolic = {
    .name = "symbolic", .attr = symbolic_attrs, .flags = TENON_OP_SHAPE_VALUE,
    .src_min = 0, .src_max = 0, .dst_min = 1, .dst_max = 1, .infer = symbolic_infer, .ref = symbolic_ref,
    .flops = tenon_move_flops};
