/* SPDX-License-Identifier: Apache-2.0 */
/* Views out of the way. Runs of views become the shortest run that says the same. Then views sink, towards the outputs, past what
   works the same on the other side of them, so that it follows its anchor directly:
     matmul(V(x), w), rows regrouped by V alone   ->  V'(matmul(x, w))
     f(V(t), r), t the result of an anchor        ->  V(f(t, V^-1(r)))        V^-1 of a constant is a constant, else a view
     f(concat(a, b)), a and b results of anchors  ->  concat(f(a), f(b))
   Views only ever move down past a node whose other source has no claim of its own, so this ends. */
#include "pass/pass.h"
#include "pass/view_chain.h"

#include <string.h>

#define VIEWS "views"

static tenon_status shorten(tenon_rw *rw, tenon_node *n)
{
    tenon_chain c;
    tenon_value *y;
    if (!(n->op->flags & TENON_OP_VIEW) || n->dst_count != 1 || !n->src[0] || n->dst[0]->type.rank < 0 || n->dst[0]->sym)
        return TENON_OK;
    if (n->op == &tenon_op_expand) return TENON_OK;
    TENON_TRY(tenon_chain_of(rw, n->dst[0], &c));
    const tenon_type *t = &n->dst[0]->type;
    if (c.node_count < 2 || tenon_chain_cost(rw, &c, t->rank, t->dim) >= c.node_count) return TENON_OK;
    for (int i = 0; i < c.node_count; i++) tenon_rw_take(rw, c.node[i]);
    TENON_TRY(tenon_chain_write(rw, &c, c.source, t->rank, t->dim, &y));
    if (!y) return TENON_OK;
    return tenon_rw_done(rw, n, y, "%d views -> %d", c.node_count, tenon_chain_cost(rw, &c, t->rank, t->dim));
}

/* ---- rows of a product ---- */
/* The row atoms of the product's first source in the source's order, each an axis; then the columns. False when it is so
   already. */
static bool regroup(const tenon_chain *c, tenon_chain *rows, tenon_chain *back, const tenon_dim **in_dim)
{
    const int lead = c->first[c->result_rank - 1], all = c->first[c->result_rank];
    int axis_of[TENON_CHAIN_ATOMS], count = 0, merged = 0;
    bool ordered = true, row[TENON_CHAIN_ATOMS] = {false};
    for (int i = 0; i + 1 < c->result_rank; i++) merged += c->first[i + 1] - c->first[i] > 1;
    for (int k = 0; k < lead; k++) {
        row[c->list[k]] = true;
        ordered &= k == 0 || c->list[k] > c->list[k - 1];
    }
    if ((ordered && !merged) || lead == 0) return false;
    *rows = *c;
    for (int a = 0; a < c->atom_count; a++)
        if (row[a]) {
            if (count == TENON_MAX_RANK - 1) return false;
            rows->first[count] = count;
            rows->list[count] = a;
            in_dim[count] = c->atom[a].size;
            axis_of[a] = count++;
        }
    rows->result_rank = count + 1;
    rows->first[count] = count;
    for (int k = lead; k < all; k++) rows->list[k] = c->list[k];
    rows->first[count + 1] = all;
    /* back: from (rows..., n) to the lead axes as they were, n last; the atom of n is the last */
    memset(back, 0, sizeof *back);
    back->rank = count + 1;
    back->atom_count = count + 1;
    for (int i = 0; i < count; i++) back->atom[i] = (tenon_atom){in_dim[i], i}, back->dim[i] = in_dim[i];
    back->result_rank = c->result_rank;
    for (int i = 0; i < c->result_rank; i++) back->first[i] = c->first[i];
    for (int k = 0; k < lead; k++) back->list[k] = axis_of[c->list[k]];
    return true;
}

static tenon_status sink_past_product(tenon_rw *rw, tenon_node *n)
{
    tenon_chain c, rows, back;
    const tenon_dim *dim[TENON_MAX_RANK], *one = tenon_dim_const(rw->g->dims, 1);
    if (n->op != &tenon_op_matmul || !n->src[1]->is_const || n->src[1]->type.rank != 2 || n->src[0]->type.rank < 2 ||
        n->src[0]->is_const || !one) return TENON_OK;
    TENON_TRY(tenon_chain_of(rw, n->src[0], &c));
    if (!c.node_count || !regroup(&c, &rows, &back, dim)) return TENON_OK;
    tenon_value *x, *y;
    const int count = rows.result_rank - 1;
    const tenon_type *t = &n->dst[0]->type;
    for (int i = 0; i < c.node_count; i++) tenon_rw_take(rw, c.node[i]);
    tenon_rw_take(rw, n);
    dim[count] = n->src[0]->type.dim[n->src[0]->type.rank - 1];
    TENON_TRY(tenon_chain_write(rw, &rows, c.source, count + 1, dim, &x));
    if (!x) return TENON_OK;
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_matmul, x, n->src[1], &y));
    if (y->type.rank != count + 1) return TENON_OK;
    /* columns of the result: an atom unless there is one column */
    const tenon_dim *columns = y->type.dim[count];
    const int lead = back.first[back.result_rank - 1];
    back.dim[count] = columns;
    back.atom_count = count;
    back.first[back.result_rank] = lead;
    if (columns != one) {
        back.atom[back.atom_count++] = (tenon_atom){columns, count};
        back.list[lead] = count;
        back.first[back.result_rank] = lead + 1;
    }
    TENON_TRY(tenon_chain_write(rw, &back, y, t->rank, t->dim, &y));
    if (!y) return TENON_OK;
    return tenon_rw_done(rw, n, y, "matmul(view(x), w) -> view(matmul(x, w))");
}

/* ---- pointwise operators ---- */
/* v is the result of an anchor, or of pointwise operators on one, and is wanted here alone: f can follow it in its step. */
static bool claims(const tenon_value *v, int *budget)
{
    const tenon_node *n = v && !v->is_const && tenon_rw_sole(v) ? tenon_rw_from(v, NULL) : NULL;
    if (!n || n->op == &tenon_op_concat || --*budget < 0) return false;
    if (n->op->flags & TENON_OP_ANCHOR) return true;
    if (!(n->op->flags & TENON_OP_POINTWISE)) return false;
    for (int i = 0; i < n->src_count; i++)
        if (claims(n->src[i], budget)) return true;
    return false;
}

static bool has_claim(const tenon_value *v)
{
    int budget = 64; /* longer runs are not worth their search */
    return claims(v, &budget);
}

/* Source `v` of a pointwise operator on results of type `wide`, for use on the source side of the chain. NULL: cannot be said. */
static tenon_status unviewed(tenon_rw *rw, const tenon_chain *c, const tenon_chain *inverse, const tenon_type *wide,
    tenon_value *v, tenon_value **out)
{
    *out = NULL;
    if (v->type.rank == wide->rank) {
        bool full = true;
        for (int i = 0; i < wide->rank; i++) full &= v->type.dim[i] == wide->dim[i];
        if (full) return tenon_chain_write(rw, inverse, v, c->rank, c->dim, out);
    }
    /* a broadcast source: its size is 1 along whole axes of the other side too */
    tenon_chain narrow = *c, back;
    tenon_type padded = {.dtype = v->type.dtype, .rank = wide->rank};
    const tenon_dim *one = tenon_dim_const(rw->g->dims, 1);
    if (!one) return TENON_NOMEM;
    if (v->type.rank > wide->rank) return TENON_OK;
    const int pad = wide->rank - v->type.rank;
    for (int i = 0; i < wide->rank; i++) padded.dim[i] = i < pad ? one : v->type.dim[i - pad];
    if (!tenon_chain_narrow(rw, &narrow, &padded)) return TENON_OK;
    int from = 0; /* numpy's rule lets leading ones go: a bias stays the vector it is */
    while (from < narrow.rank && narrow.dim[from] == one) from++;
    if (tenon_chain_is_ordered(&narrow)) {
        TENON_TRY(tenon_rw_reshape(rw, v, narrow.rank - from, narrow.dim + from, out));
    } else {
        TENON_TRY(tenon_rw_reshape(rw, v, padded.rank, padded.dim, &v));
        TENON_TRY(tenon_chain_inverse(rw, &narrow, &padded, &back));
        TENON_TRY(tenon_chain_write(rw, &back, v, narrow.rank - from, narrow.dim + from, out));
    }
    const tenon_node *n = *out ? tenon_rw_from(*out, &tenon_op_reshape) : NULL;
    if (n && tenon_rw_from(n->src[1], NULL)) *out = NULL;
    return TENON_OK;
}

static tenon_status sink_past_pointwise(tenon_rw *rw, tenon_node *n)
{
    if (!(n->op->flags & TENON_OP_POINTWISE) || n->src_count > 3 || n->dst[0]->type.rank < 0) return TENON_OK;
    tenon_chain c, inverse;
    int at = -1;
    for (int i = 0; i < n->src_count; i++) {
        const tenon_value *v = n->src[i];
        if (!v || v->is_const) continue;
        if (has_claim(v)) return TENON_OK; /* follows that one as it is */
        const tenon_node *p = tenon_rw_from(v, NULL);
        if (at >= 0 || !p || (p->op != &tenon_op_reshape && p->op != &tenon_op_transpose) ||
            v->type.rank != n->dst[0]->type.rank || !tenon_rw_sole(v)) continue;
        TENON_TRY(tenon_chain_of(rw, n->src[i], &c));
        if (c.node_count && tenon_chain_is_bijective(&c) && has_claim(c.source)) at = i;
    }
    if (at < 0) return TENON_OK;
    TENON_TRY(tenon_chain_of(rw, n->src[at], &c));
    const tenon_type *wide = &n->src[at]->type, *t = &n->dst[0]->type;
    for (int i = 0; i < wide->rank; i++)
        if (wide->dim[i] != t->dim[i]) return TENON_OK; /* broadcast by another source */
    tenon_value *src[3] = {NULL}, *y;
    tenon_node *like;
    TENON_TRY(tenon_chain_inverse(rw, &c, wide, &inverse));
    for (int i = 0; i < c.node_count; i++) tenon_rw_take(rw, c.node[i]);
    tenon_rw_take(rw, n);
    for (int i = 0; i < n->src_count; i++) {
        if (!n->src[i]) continue;
        if (n->src[i] == n->src[at]) src[i] = c.source;
        else TENON_TRY(unviewed(rw, &c, &inverse, wide, n->src[i], &src[i]));
        if (!src[i]) return tenon_event_blocked(rw->g, VIEWS, n,
            "blocked by the shape of '%s' because the view in front of '%s' cannot be undone on it", n->src[i]->name,
            n->src[at]->name);
    }
    TENON_TRY(tenon_rw_like(rw, n, src, n->src_count, &like));
    TENON_TRY(tenon_rw_infer(rw, like, &y));
    if (y->type.rank != c.rank) return TENON_OK;
    TENON_TRY(tenon_chain_write(rw, &c, y, t->rank, t->dim, &y));
    if (!y) return TENON_OK;
    return tenon_rw_done(rw, n, y, "%s(view(t)) -> view(%s(t))", n->op->name, n->op->name);
}

/* ---- concat ---- */
/* A part that f would follow in its own step, or that is constant but for its size. */
static tenon_status part_has_claim(tenon_rw *rw, tenon_value *v, bool *out)
{
    tenon_chain c;
    const tenon_node *fill = tenon_rw_from(v, &tenon_op_expand);
    *out = v->is_const || (fill && fill->src[0]->is_const);
    if (*out || !tenon_rw_sole(v)) return TENON_OK;
    TENON_TRY(tenon_chain_of(rw, v, &c));
    for (int i = 0; i < c.node_count; i++)
        if (c.node[i]->dst_count != 1 || !tenon_rw_sole(c.node[i]->dst[0])) return TENON_OK;
    *out = tenon_chain_is_bijective(&c) && has_claim(c.source);
    return TENON_OK;
}

/* The piece of a constant source that belongs to [start, start + size) of the concat's axis. */
static tenon_status constant_piece(tenon_rw *rw, tenon_value *v, const tenon_type *t, int axis, int64_t start, int64_t size,
    tenon_value **out)
{
    const int at = axis - (t->rank - v->type.rank);
    *out = v;
    if (at < 0 || tenon_dim_is(v->type.dim[at], 1)) return TENON_OK;
    const int64_t list[4] = {start, start + size, at, 1};
    tenon_value *src[5] = {v};
    for (int i = 0; i < 4; i++) TENON_TRY(tenon_rw_list(rw, &list[i], 1, &src[1 + i]));
    return tenon_rw_op(rw, &tenon_op_slice, src, 5, out);
}

/* f(concat(a, b), c) -> concat(f(a, c), f(b, c)) */
static tenon_status sink_past_concat(tenon_rw *rw, tenon_node *n)
{
    tenon_node *cat = NULL, *like;
    int at = -1;
    tenon_value *part[TENON_RW_PARTS / 4], *y;
    const tenon_type *t = &n->dst[0]->type;
    if (!(n->op->flags & TENON_OP_POINTWISE) || n->src_count > 3 || t->rank < 1) return TENON_OK;
    for (int i = 0; i < n->src_count; i++) {
        if (!n->src[i] || n->src[i]->is_const) continue;
        if (at >= 0) return TENON_OK;
        at = i;
    }
    if (at < 0 || !(cat = tenon_rw_from(n->src[at], &tenon_op_concat)) || !tenon_rw_sole(cat->dst[0]) ||
        cat->src_count > (int)TENON_COUNTOF(part)) return TENON_OK;
    const tenon_type *wide = &cat->dst[0]->type;
    const int axis = (int)((tenon_node_int(cat, "axis") + t->rank) % t->rank);
    if (wide->rank != t->rank) return TENON_OK;
    for (int i = 0; i < t->rank; i++)
        if (wide->dim[i] != t->dim[i]) return TENON_OK;
    bool any = false;
    for (int i = 0; i < cat->src_count; i++) {
        bool claim;
        TENON_TRY(part_has_claim(rw, cat->src[i], &claim));
        if (!claim || !tenon_dim_is_const(cat->src[i]->type.dim[axis])) return TENON_OK;
        any |= !cat->src[i]->is_const && !tenon_rw_from(cat->src[i], &tenon_op_expand);
    }
    if (!any) return TENON_OK;
    tenon_rw_take(rw, cat);
    tenon_rw_take(rw, n);
    int64_t start = 0;
    for (int i = 0; i < cat->src_count; i++) {
        const int64_t size = cat->src[i]->type.dim[axis]->value;
        tenon_value *src[3] = {NULL};
        for (int k = 0; k < n->src_count; k++) {
            if (k == at) src[k] = cat->src[i];
            else if (n->src[k]) TENON_TRY(constant_piece(rw, n->src[k], t, axis, start, size, &src[k]));
        }
        TENON_TRY(tenon_rw_like(rw, n, src, n->src_count, &like));
        TENON_TRY(tenon_rw_infer(rw, like, &part[i]));
        start += size;
    }
    TENON_TRY(tenon_rw_like(rw, cat, part, cat->src_count, &like));
    TENON_TRY(tenon_rw_infer(rw, like, &y));
    return tenon_rw_done(rw, n, y, "%s(concat(...)) -> concat(%s(...))", n->op->name, n->op->name);
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {shorten, sink_past_product, sink_past_pointwise, sink_past_concat};
    return tenon_rw_each(cx, g, VIEWS, rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_views = {.name = VIEWS, .what =
    "runs of views become short, views sink behind pointwise operators and products", .run = run};
