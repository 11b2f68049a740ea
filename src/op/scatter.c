/* SPDX-License-Identifier: Apache-2.0 */
/* ScatterElements, ScatterND: a copy of the data with updates written, added, multiplied, or the smaller or larger kept, at given
   indices. Updates are taken in row-major order, so that the last of equal indices wins. */
#include "op/move.h"

#include <math.h>
#include <string.h>

typedef enum { REDUCE_NONE, REDUCE_ADD, REDUCE_MUL, REDUCE_MIN, REDUCE_MAX } reduction;

static tenon_status reduction_of(tenon_cx *cx, const tenon_node *n, tenon_dtype dtype, reduction *out)
{
    static const char *const name[] = {"none", "add", "mul", "min", "max"};
    const char *s = tenon_node_attr(n, "reduction")->s, *op = tenon_op_as_head(n->op)->name;
    int i = 0;
    while (i < 5 && strcmp(s, name[i]) != 0) i++;
    if (i == 5) return TENON_FAIL(cx, TENON_INVALID, "%s: reduction '%s' is none of none, add, mul, min, max", op, s);
    if (i != REDUCE_NONE && !tenon_is_float(dtype) && !tenon_is_int(dtype) && dtype != TENON_BOOL)
        return TENON_FAIL(cx, TENON_INVALID, "%s: reduction '%s' of %s", op, s, tenon_dtype_get(dtype)->name);
    *out = (reduction)i;
    return TENON_OK;
}

static double reduce_f64(reduction r, double a, double b)
{
    if (r == REDUCE_ADD) return a + b;
    if (r == REDUCE_MUL) return a * b;
    if (isnan(a) || isnan(b)) return NAN;
    return r == REDUCE_MIN ? (b < a ? b : a) : (b > a ? b : a);
}

static int64_t reduce_i64(reduction r, int64_t a, int64_t b, bool is_unsigned)
{
    if (r == REDUCE_ADD) return (int64_t)((uint64_t)a + (uint64_t)b);
    if (r == REDUCE_MUL) return (int64_t)((uint64_t)a * (uint64_t)b);
    const bool b_less = is_unsigned ? (uint64_t)b < (uint64_t)a : b < a;
    return (r == REDUCE_MIN) == b_less ? b : a;
}

static void put(reduction r, const tenon_tensor *y, int64_t to, const tenon_tensor *u, int64_t from)
{
    if (r == REDUCE_NONE) tenon_move_element(y, to, u, from);
    else if (tenon_is_float(y->dtype))
        tenon_tensor_set_f64(y, to, reduce_f64(r, tenon_tensor_get_f64(y, to), tenon_tensor_get_f64(u, from)));
    else {
        const int64_t v = reduce_i64(r, tenon_tensor_get_i64(y, to), tenon_tensor_get_i64(u, from),
                                     tenon_dtype_get(y->dtype)->kind == TENON_KIND_UINT);
        tenon_tensor_set_i64(y, to, y->dtype == TENON_BOOL ? v != 0 : v);
    }
}

static tenon_status scatter_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type, *ix = &n->src[1]->type, *u = &n->src[2]->type;
    const char *op = tenon_op_as_head(n->op)->name;
    reduction r;
    TENON_TRY(reduction_of(cx, n, x->dtype, &r));
    if (!tenon_is_int(ix->dtype)) return TENON_FAIL(cx, TENON_INVALID, "%s: indices must be integers", op);
    if (u->dtype != x->dtype) return TENON_FAIL(cx, TENON_INVALID, "%s: updates and data have different types", op);
    tenon_move_set(g, n, 0, x->dtype, x->rank, x->dim);
    return tenon_move_values(cx, g, n, r == REDUCE_NONE ? 1 | 4 : 0);
}

/* Result 0 as a copy of the data. */
static tenon_status start(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, x->rank, x->dim));
    tenon_move_box(&call->dst[0], 0, call->dst[0].stride, x, 0, x->stride, x->rank, x->dim);
    return TENON_OK;
}

static tenon_status scatter_elements_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0], *ix = &call->src[1], *u = &call->src[2];
    int axis;
    reduction r;
    TENON_TRY(reduction_of(cx, call->node, x->dtype, &r));
    TENON_TRY(tenon_infer_axis(cx, "scatter_elements", tenon_node_int(call->node, "axis"), x->rank, &axis));
    bool fits = x->rank == ix->rank && x->rank == u->rank && u->dtype == x->dtype;
    for (int i = 0; fits && i < x->rank; i++) fits = ix->dim[i] == u->dim[i] && (i == axis || ix->dim[i] <= x->dim[i]);
    if (!fits) return TENON_FAIL(cx, TENON_INVALID, "scatter_elements: indices, updates and data do not fit");
    TENON_TRY(start(cx, call));
    const tenon_tensor *y = &call->dst[0];
    int64_t index[TENON_MAX_RANK] = {0};
    if (tenon_tensor_count(ix) == 0) return TENON_OK;
    do {
        int64_t at = 0, from = 0, to = 0;
        for (int i = 0; i < x->rank; i++) at += index[i] * ix->stride[i], from += index[i] * u->stride[i];
        int64_t v = tenon_tensor_get_i64(ix, at);
        if (v < -x->dim[axis] || v >= x->dim[axis])
            return TENON_FAIL(cx, TENON_INVALID, "scatter_elements: index %lld in an axis of size %lld", (long long)v,
                              (long long)x->dim[axis]);
        if (v < 0) v += x->dim[axis];
        for (int i = 0; i < x->rank; i++) to += (i == axis ? v : index[i]) * y->stride[i];
        put(r, y, to, u, from);
    } while (tenon_move_next(ix->rank, ix->dim, index));
    return TENON_OK;
}

static tenon_status scatter_nd_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0], *ix = &call->src[1], *u = &call->src[2];
    reduction r;
    TENON_TRY(reduction_of(cx, call->node, x->dtype, &r));
    if (ix->rank < 1) return TENON_FAIL(cx, TENON_INVALID, "scatter_nd: the indices have rank 0");
    const int picks = ix->rank - 1;
    const int64_t depth = ix->dim[picks];
    bool fits = depth <= x->rank && u->dtype == x->dtype && u->rank == picks + x->rank - (int)depth;
    for (int i = 0; fits && i < u->rank; i++) fits = u->dim[i] == (i < picks ? ix->dim[i] : x->dim[depth + i - picks]);
    if (!fits) return TENON_FAIL(cx, TENON_INVALID, "scatter_nd: indices, updates and data do not fit");
    TENON_TRY(start(cx, call));
    const tenon_tensor *y = &call->dst[0];
    int64_t index[TENON_MAX_RANK] = {0};
    if (tenon_tensor_count(u) == 0) return TENON_OK;
    do {
        int64_t at = 0, from = 0, to = 0;
        for (int i = 0; i < picks; i++) at += index[i] * ix->stride[i];
        for (int i = 0; i < u->rank; i++) from += index[i] * u->stride[i];
        for (int64_t k = 0; k < depth; k++) {
            int64_t v = tenon_tensor_get_i64(ix, at + k * ix->stride[picks]);
            if (v < -x->dim[k] || v >= x->dim[k])
                return TENON_FAIL(cx, TENON_INVALID, "scatter_nd: index %lld in axis %d of size %lld", (long long)v, (int)k,
                                  (long long)x->dim[k]);
            to += (v < 0 ? v + x->dim[k] : v) * y->stride[k];
        }
        for (int i = picks; i < u->rank; i++) to += index[i] * y->stride[depth + i - picks];
        put(r, y, to, u, from);
    } while (tenon_move_next(u->rank, u->dim, index));
    return TENON_OK;
}

static const tenon_attr_def elements_attrs[] = {
    {.name = "axis", .kind = TENON_ATTR_INT}, {.name = "reduction", .kind = TENON_ATTR_STRING, .s = "none"}, {0}};
static const tenon_attr_def nd_attrs[] = {{.name = "reduction", .kind = TENON_ATTR_STRING, .s = "none"}, {0}};

const tenon_op tenon_op_scatter_elements = {
    .name = "scatter_elements", .attr = elements_attrs, .onnx = "ScatterElements", .onnx_since = 11,
    .flags = TENON_OP_ANCHOR | TENON_OP_SHAPE_VALUE, .src_min = 3, .src_max = 3, .dst_min = 1, .dst_max = 1,
    .infer = scatter_infer, .ref = scatter_elements_ref, .flops = tenon_move_flops};

const tenon_op tenon_op_scatter_nd = {
    .name = "scatter_nd", .attr = nd_attrs, .onnx = "ScatterND", .onnx_since = 11,
        .flags = TENON_OP_ANCHOR | TENON_OP_SHAPE_VALUE,
    .src_min = 3, .src_max = 3, .dst_min = 1, .dst_max = 1, .infer = scatter_infer, .ref = scatter_nd_ref,
    .flops = tenon_move_flops};
