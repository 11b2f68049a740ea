/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers that take everything in order. Exporters write x[arange(b)[:, None], arange(n)] as index arithmetic and a gather;
   where the indices are proved to be the grid  c + sum of a_j * i_j  that walks x from front to back,
       the gather is a reshape.            */
#include "pass/pass.h"
#include "pass/rewrite.h"

#include <string.h>

#define GRIDS "index_grids"
enum { MOST_DATA = 1 << 16 };

/* Element (i_0, ..., i_r-1) of an integer tensor is base + sum of step[j] * i_j. */
typedef struct grid { int64_t base, step[TENON_MAX_RANK]; } grid;

static bool grid_of_data(const tenon_tensor *t, grid *out)
{
    const int64_t count = tenon_tensor_count(t);
    if (count < 1 || count > MOST_DATA || !tenon_is_int(t->dtype)) return false;
    *out = (grid){.base = tenon_tensor_get_i64(t, 0)};
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] > 1) out->step[i] = tenon_tensor_get_i64(t, t->stride[i]) - out->base;
    for (int64_t k = 0; k < count; k++) {
        int64_t want = out->base, rest = k;
        for (int i = t->rank - 1; i >= 0; i--) {
            want += rest % t->dim[i] * out->step[i];
            rest /= t->dim[i];
        }
        if (tenon_tensor_get_i64(t, tenon_tensor_offset(t, k)) != want) return false;
    }
    return true;
}

/* Axes other than those of size 1 are the same, in order. */
static bool move_units(const tenon_type *from, const tenon_type *to, const grid *g, grid *out)
{
    int k = 0;
    *out = (grid){.base = g->base};
    for (int i = 0; i < to->rank; i++) {
        if (tenon_dim_is(to->dim[i], 1)) continue;
        while (k < from->rank && tenon_dim_is(from->dim[k], 1)) k++;
        if (k == from->rank || from->dim[k] != to->dim[i]) return false;
        out->step[i] = g->step[k++];
    }
    while (k < from->rank && tenon_dim_is(from->dim[k], 1)) k++;
    return k == from->rank;
}

static void align(const tenon_type *from, const tenon_type *to, grid *g)
{
    const grid old = *g;
    memset(g->step, 0, sizeof g->step);
    for (int i = 0; i < from->rank; i++)
        if (!tenon_dim_is(from->dim[i], 1)) g->step[i + to->rank - from->rank] = old.step[i];
}

static bool grid_of(tenon_rw *rw, tenon_value *v, int depth, grid *out)
{
    tenon_node *n = tenon_rw_from(v, NULL);
    grid a, b;
    double c;
    int64_t start, delta;
    tenon_value *x;
    if (v->type.rank < 0 || !tenon_is_int(v->type.dtype) || depth > 12) return false;
    if (v->is_const) {
        const tenon_tensor *t = tenon_type_is_static(&v->type) ? tenon_rw_const(rw, v) : NULL;
        return t && grid_of_data(t, out);
    }
    if (!n) return false;
    tenon_rw_take(rw, n);
    if (n->op == &tenon_op_range) {
        if (tenon_rw_ints(rw, n->src[0], &start, 1) != 1 || tenon_rw_ints(rw, n->src[2], &delta, 1) != 1) return false;
        *out = (grid){.base = start, .step = {delta}};
        return true;
    }
    if (n->op == &tenon_op_mul && tenon_rw_with_scalar(rw, n, &x, &c)) {
        if (!tenon_type_equal(&x->type, &v->type) || !grid_of(rw, x, depth + 1, &a)) return false;
        for (int i = 0; i < v->type.rank; i++) a.step[i] *= (int64_t)c;
        a.base *= (int64_t)c;
        *out = a;
        return true;
    }
    if (n->op == &tenon_op_add) {
        if (!grid_of(rw, n->src[0], depth + 1, &a) || !grid_of(rw, n->src[1], depth + 1, &b)) return false;
        align(&n->src[0]->type, &v->type, &a);
        align(&n->src[1]->type, &v->type, &b);
        for (int i = 0; i < v->type.rank; i++) a.step[i] += b.step[i];
        a.base += b.base;
        *out = a;
        return true;
    }
    const bool units = n->op == &tenon_op_reshape || n->op == &tenon_op_unsqueeze || n->op == &tenon_op_squeeze;
    if (!units && n->op != &tenon_op_expand && n->op != &tenon_op_cast) return false;
    if (n->src[0]->type.rank < 0 || !grid_of(rw, n->src[0], depth + 1, &a)) return false;
    if (units) return move_units(&n->src[0]->type, &v->type, &a, out);
    align(&n->src[0]->type, &v->type, &a);
    *out = a;
    return true;
}

/* The grid walks [0, count) in order. */
static bool walks(tenon_rw *rw, const tenon_type *t, const grid *g, const tenon_dim *count)
{
    const tenon_dim *stride = tenon_dim_const(rw->g->dims, 1);
    for (int i = t->rank - 1; i >= 0; i--) {
        if (tenon_dim_is(t->dim[i], 1)) continue;
        if (!stride || !tenon_dim_is(stride, g->step[i])) return false;
        stride = tenon_dim_mul(rw->g->dims, stride, t->dim[i]);
    }
    return g->base == 0 && stride == count;
}

static tenon_status as_reshape(tenon_rw *rw, tenon_node *n)
{
    tenon_value *y;
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_reshape(rw, n->src[0], n->dst[0]->type.rank, n->dst[0]->type.dim, &y));
    const tenon_node *made = tenon_rw_from(y, &tenon_op_reshape);
    if (made && tenon_rw_from(made->src[1], NULL)) return TENON_OK;
    return tenon_rw_done(rw, n, y, "%s of everything in order -> reshape", n->op->name);
}

static tenon_status gather(tenon_rw *rw, tenon_node *n)
{
    grid g;
    if (n->op != &tenon_op_gather || n->src[0]->is_const || n->dst[0]->type.rank < 0 || n->src[0]->type.rank < 1 ||
        n->dst[0]->sym) return TENON_OK;
    if (tenon_node_int(n, "axis") != 0 || !grid_of(rw, n->src[1], 0, &g) ||
        !walks(rw, &n->src[1]->type, &g, n->src[0]->type.dim[0])) return TENON_OK;
    return as_reshape(rw, n);
}

/* Component j of the last axis of the indices. */
static tenon_status component(tenon_rw *rw, tenon_node *n, int j, tenon_value **out)
{
    tenon_value *v = n->src[1];
    const tenon_node *parts = tenon_rw_from(v, &tenon_op_concat);
    const int last = v->type.rank - 1;
    *out = NULL;
    if (parts) {
        const int64_t axis = tenon_node_int(parts, "axis");
        if ((axis == -1 || axis == last) && tenon_dim_is(v->type.dim[last], parts->src_count)) *out = parts->src[j];
    } else if (v->is_const) {
        const int64_t list[4] = {j, j + 1, last, 1};
        tenon_value *src[5] = {v};
        for (int i = 0; i < 4; i++) TENON_TRY(tenon_rw_list(rw, &list[i], 1, &src[1 + i]));
        TENON_TRY(tenon_rw_op(rw, &tenon_op_slice, src, 5, out));
    }
    return TENON_OK;
}

/* The grid is the coordinate along axis `at` (-1: zero everywhere). */
static bool is_coordinate(const tenon_type *t, const grid *g, int at)
{
    if (g->base != 0) return false;
    for (int i = 0; i < t->rank - 1; i++)
        if (!tenon_dim_is(t->dim[i], 1) && g->step[i] != (i == at)) return false;
    return true;
}

/* Each component of the indices is the coordinate along one axis of the result: the axes of x in order. */
static tenon_status gather_nd(tenon_rw *rw, tenon_node *n)
{
    if (n->op != &tenon_op_gather_nd || n->src[0]->is_const || tenon_node_int(n, "batch_dims") != 0 || n->dst[0]->type.rank < 0)
        return TENON_OK;
    const tenon_type *x = &n->src[0]->type, *indices = &n->src[1]->type;
    if (indices->rank < 2 || x->rank < 1 || !tenon_dim_is_const(indices->dim[indices->rank - 1])) return TENON_OK;
    const int64_t count = indices->dim[indices->rank - 1]->value;
    int at = 0;
    if (count < 1 || count > x->rank) return TENON_OK;
    for (int j = 0; j < count; j++) {
        grid g;
        tenon_value *part;
        TENON_TRY(component(rw, n, j, &part));
        if (!part || !grid_of(rw, part, 0, &g)) return TENON_OK;
        if (tenon_dim_is(x->dim[j], 1)) {
            if (!is_coordinate(indices, &g, -1)) return TENON_OK;
            continue;
        }
        while (at < indices->rank - 1 && tenon_dim_is(indices->dim[at], 1)) at++;
        if (at == indices->rank - 1 || indices->dim[at] != x->dim[j] || !is_coordinate(indices, &g, at)) return TENON_OK;
        at++;
    }
    for (; at < indices->rank - 1; at++)
        if (!tenon_dim_is(indices->dim[at], 1)) return TENON_OK;
    return as_reshape(rw, n);
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {gather, gather_nd};
    return tenon_rw_each(cx, g, GRIDS, rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_index_grids = {.name = GRIDS, .what = "gathers of everything in order become reshapes", .run = run};
