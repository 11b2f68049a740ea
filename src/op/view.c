/* SPDX-License-Identifier: Apache-2.0 */
/* Strides of view operators, see op/view.h. Reshape, Flatten, Squeeze and Unsqueeze are one algorithm: walk the dims of source
   and
   result together, cut them into groups of equal product, and split or merge each group by its strides. */
#include "op/view.h"

#include "op/move.h"

static tenon_status checked(tenon_cx *cx, const tenon_graph *g)
{
    return g->dims->failed ? TENON_FAIL(cx, TENON_NOMEM, "out of memory for shape expressions") : TENON_OK;
}

/* An expression that is too large to be followed is NULL. */
static void known(const tenon_view *v, int rank, bool *possible)
{
    for (int i = 0; *possible && i < rank; i++) *possible = v->stride[i] != NULL;
    *possible = *possible && v->offset != NULL;
}

tenon_status tenon_view_dense(tenon_cx *cx, tenon_graph *g, const tenon_type *type, tenon_view *out)
{
    if (type->rank < 0) return TENON_FAIL(cx, TENON_INVALID, "a tensor of unknown rank has no strides");
    const tenon_dim *stride = tenon_dim_const(g->dims, 1);
    out->offset = tenon_dim_const(g->dims, 0);
    for (int i = type->rank - 1; i >= 0; i--) {
        out->stride[i] = stride;
        stride = tenon_dim_mul(g->dims, stride, type->dim[i]);
    }
    return checked(cx, g);
}

/* ---- reshape ---- */
/* One side's axes without those of size 1, and where the walk stands. */
typedef struct side { int count, axis[TENON_MAX_RANK]; const tenon_type *type; } side;

static side axes_of(const tenon_type *t)
{
    side s = {.type = t};
    for (int i = 0; i < t->rank; i++)
        if (!tenon_dim_is(t->dim[i], 1)) s.axis[s.count++] = i;
    return s;
}

static const tenon_dim *size_of(const side *s, int k) { return s->type->dim[s->axis[k]]; }

/* Which side must take one more axis to come nearer to equal products: the one whose product divides the other's. */
static bool source_is_smaller(tenon_dim_pool *p, const tenon_dim *src, const tenon_dim *dst)
{
    if (tenon_dim_is_const(src) && tenon_dim_is_const(dst)) return src->value < dst->value;
    if (tenon_move_divide(p, dst, src) != NULL) return true;
    if (tenon_move_divide(p, src, dst) != NULL) return false;
    return src->hi < dst->hi;
}

/* Axes [s0, s1) of the source become axes [d0, d1) of the result. */
static bool regroup(tenon_dim_pool *p, const side *src, int s0, int s1, const side *dst, int d0, int d1, const tenon_view *from,
                    tenon_view *to)
{
    for (int k = s0; k + 1 < s1; k++)
        if (from->stride[src->axis[k]] != tenon_dim_mul(p, size_of(src, k + 1), from->stride[src->axis[k + 1]])) return false;
    const tenon_dim *stride = from->stride[src->axis[s1 - 1]];
    for (int k = d1 - 1; k >= d0; k--) {
        to->stride[dst->axis[k]] = stride;
        stride = tenon_dim_mul(p, stride, size_of(dst, k));
    }
    return true;
}

static bool reshape_view(tenon_dim_pool *p, const tenon_type *x, const tenon_type *y, const tenon_view *from, tenon_view *to)
{
    const side src = axes_of(x), dst = axes_of(y);
    int s0 = 0, d0 = 0;
    while (s0 < src.count && d0 < dst.count) {
        int s1 = s0 + 1, d1 = d0 + 1;
        const tenon_dim *a = size_of(&src, s0), *b = size_of(&dst, d0);
        while (a != b && a != NULL && b != NULL) {
            const bool more_src = s1 < src.count && (d1 == dst.count || source_is_smaller(p, a, b));
            if (!more_src && d1 == dst.count) break; /* all axes taken: one group, whatever the products look like */
            if (more_src) a = tenon_dim_mul(p, a, size_of(&src, s1++));
            else b = tenon_dim_mul(p, b, size_of(&dst, d1++));
        }
        if (!regroup(p, &src, s0, s1, &dst, d0, d1, from, to)) return false;
        s0 = s1, d0 = d1;
    }
    if (s0 < src.count || d0 < dst.count) return false; /* sizes that are 1 or 0 without being known to be */
    /* axes of size 1: as if dense inside the next one */
    const tenon_dim *stride = tenon_dim_const(p, 1);
    for (int i = y->rank - 1; i >= 0; i--) {
        if (tenon_dim_is(y->dim[i], 1)) to->stride[i] = stride;
        else stride = tenon_dim_mul(p, to->stride[i], y->dim[i]);
    }
    to->offset = from->offset;
    return true;
}

/* ---- the others ---- */
static bool transpose_view(const tenon_node *n, int rank, const tenon_view *from, tenon_view *to)
{
    const tenon_attr *a = tenon_node_attr(n, "perm");
    for (int i = 0; i < rank; i++) {
        const int64_t axis = !a->set ? rank - 1 - i : a->ints[i] < 0 ? a->ints[i] + rank : a->ints[i];
        to->stride[i] = from->stride[axis];
    }
    to->offset = from->offset;
    return true;
}

static bool expand_view(tenon_dim_pool *p, const tenon_type *x, const tenon_type *y, const tenon_view *from, tenon_view *to)
{
    to->offset = from->offset;
    for (int i = 0; i < y->rank; i++) {
        const int k = i - (y->rank - x->rank);
        if (k >= 0 && x->dim[k] == y->dim[i]) to->stride[i] = from->stride[k];
        else if (k < 0 || tenon_dim_is(x->dim[k], 1)) to->stride[i] = tenon_dim_const(p, 0);
        else return false; /* broadcast or not: known only when it runs */
    }
    return true;
}

static tenon_status slice_view(tenon_cx *cx, tenon_graph *g, const tenon_node *n, const tenon_view *from, tenon_view *to,
                               bool *possible)
{
    tenon_slice s;
    TENON_TRY(tenon_slice_of(cx, g, n, &s));
    *to = *from;
    for (int i = 0; i < n->src[0]->type.rank; i++) {
        if (s.start[i] == NULL || s.size[i] == NULL || s.step[i] < 1) return TENON_OK;
        to->offset = tenon_dim_add(g->dims, to->offset, tenon_dim_mul(g->dims, s.start[i], from->stride[i]));
        to->stride[i] = tenon_dim_mul(g->dims, from->stride[i], tenon_dim_const(g->dims, s.step[i]));
    }
    *possible = true;
    return TENON_OK;
}

static tenon_status split_view(tenon_cx *cx, tenon_graph *g, const tenon_node *n, int dst_index, const tenon_view *from,
                               tenon_view *to, bool *possible)
{
    int axis;
    TENON_TRY(tenon_infer_axis(cx, "split", tenon_node_int(n, "axis"), n->src[0]->type.rank, &axis));
    const tenon_dim **size = tenon_arena_array(g->arena, (size_t)n->dst_count, sizeof(*size));
    if (size == NULL) return TENON_NOMEM;
    TENON_TRY(tenon_split_sizes(cx, g, n, axis, size));
    const tenon_dim *start = tenon_dim_const(g->dims, 0);
    for (int i = 0; i < dst_index; i++) start = tenon_dim_add(g->dims, start, size[i]);
    *to = *from;
    to->offset = tenon_dim_add(g->dims, from->offset, tenon_dim_mul(g->dims, start, from->stride[axis]));
    *possible = true;
    return TENON_OK;
}

tenon_status tenon_view_apply(tenon_cx *cx, tenon_graph *g, const tenon_node *n, int dst_index, const tenon_view *src,
                              tenon_view *out,
                              bool *possible)
{
    *possible = false;
    if (!(n->op->flags & TENON_OP_VIEW) && n->op != &tenon_op_identity) return TENON_OK;
    if (n->src_count < 1 || n->src[0] == NULL || n->dst[dst_index] == NULL) return TENON_OK;
    const tenon_type *x = &n->src[0]->type, *y = &n->dst[dst_index]->type;
    if (x->rank < 0 || y->rank < 0 || x->dtype != y->dtype || tenon_dtype_get(x->dtype)->bits < 8) return TENON_OK;
    if (n->op == &tenon_op_identity) {
        *out = *src;
        *possible = true;
    } else if (n->op == &tenon_op_transpose) {
        *possible = transpose_view(n, x->rank, src, out);
    } else if (n->op == &tenon_op_expand) {
        *possible = expand_view(g->dims, x, y, src, out);
    } else if (n->op == &tenon_op_slice) {
        TENON_TRY(slice_view(cx, g, n, src, out, possible));
    } else if (n->op == &tenon_op_split) {
        TENON_TRY(split_view(cx, g, n, dst_index, src, out, possible));
    } else if (n->op == &tenon_op_reshape || n->op == &tenon_op_flatten || n->op == &tenon_op_squeeze ||
               n->op == &tenon_op_unsqueeze) {
        *possible = reshape_view(g->dims, x, y, src, out);
    }
    known(out, y->rank, possible);
    return checked(cx, g);
}

tenon_status tenon_view_concat(tenon_cx *cx, tenon_graph *g, const tenon_node *n, int src_index, const tenon_view *dst,
                               tenon_view *out,
                               bool *possible)
{
    *possible = false;
    const tenon_type *y = n->dst[0] != NULL ? &n->dst[0]->type : NULL;
    if (n->op != &tenon_op_concat || y == NULL || y->rank < 0 || tenon_dtype_get(y->dtype)->bits < 8) return TENON_OK;
    int axis;
    TENON_TRY(tenon_infer_axis(cx, "concat", tenon_node_int(n, "axis"), y->rank, &axis));
    const tenon_dim *start = tenon_dim_const(g->dims, 0);
    for (int i = 0; i < src_index; i++) {
        if (n->src[i]->type.rank != y->rank) return TENON_OK;
        start = tenon_dim_add(g->dims, start, n->src[i]->type.dim[axis]);
    }
    *out = *dst;
    out->offset = tenon_dim_add(g->dims, dst->offset, tenon_dim_mul(g->dims, start, dst->stride[axis]));
    *possible = true;
    known(out, y->rank, possible);
    return checked(cx, g);
}
