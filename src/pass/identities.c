/* SPDX-License-Identifier: Apache-2.0 */
/* What changes nothing goes, and what has a simpler spelling gets it: neutral scalars, casts back and forth, views of views,
   expands in front of broadcasting operators, gathers of one constant place (a slice, which is a view). */
#include "pass/pass.h"
#include "pass/rewrite.h"

#include <math.h>

#define IDENTITIES "identities"

/* ---- no-ops ---- */
static tenon_status no_op(tenon_rw *rw, tenon_node *n)
{
    int64_t v[2 * TENON_MAX_RANK];
    int count = 0;
    const tenon_op *op = n->op;
    if (op != &tenon_op_identity && op != &tenon_op_cast && op != &tenon_op_expand && op != &tenon_op_reshape &&
        op != &tenon_op_slice &&
        op != &tenon_op_pad && op != &tenon_op_concat && op != &tenon_op_split && op != &tenon_op_transpose)
        return TENON_OK;
    if (!n->src[0] || !n->dst[0] || n->dst_count != 1 || n->src[0]->type.rank < 0 ||
        !tenon_type_equal(&n->src[0]->type, &n->dst[0]->type)) return TENON_OK;
    if (op == &tenon_op_slice && tenon_rw_src(n, 4)) { /* a reversed axis keeps its size */
        count = tenon_rw_ints(rw, n->src[4], v, TENON_MAX_RANK);
        for (int i = 0; i < count; i++)
            if (v[i] < 0) return TENON_OK;
        if (count < 0) return TENON_OK;
    }
    if (op == &tenon_op_pad) { /* what is added at one end may be cut off at the other */
        count = tenon_rw_ints(rw, n->src[1], v, 2 * TENON_MAX_RANK);
        for (int i = 0; i < count; i++)
            if (v[i] != 0) return TENON_OK;
        if (count < 0) return TENON_OK;
    }
    if (op == &tenon_op_concat && n->src_count != 1) return TENON_OK;
    if (op == &tenon_op_transpose) {
        int64_t perm[TENON_MAX_RANK];
        tenon_rw_perm(n, perm);
        for (int i = 0; i < n->src[0]->type.rank; i++)
            if (perm[i] != i) return TENON_OK;
    }
    return tenon_rw_done(rw, n, n->src[0], "%s that changes nothing -> x", op->name);
}

/* ---- casts ---- */
static bool holds(tenon_dtype wide, tenon_dtype narrow)
{
    const tenon_dtype_info *w = tenon_dtype_get(wide), *n = tenon_dtype_get(narrow);
    if (w->kind == n->kind && w->kind != TENON_KIND_OTHER)
        return w->bits > n->bits && !(wide == TENON_F16 && narrow == TENON_F8E5M2) && !(n->kind == TENON_KIND_FLOAT &&
            w->bits <= 16);
    return w->kind == TENON_KIND_INT && (n->kind == TENON_KIND_BOOL || (n->kind == TENON_KIND_UINT && w->bits > n->bits));
}

/* cast(cast(x, wide), type of x) -> x */
static tenon_status cast_back(tenon_rw *rw, tenon_node *n)
{
    const tenon_node *inner = n->op == &tenon_op_cast ? tenon_rw_from(n->src[0], &tenon_op_cast) : NULL;
    if (!inner || inner->src[0]->type.dtype != n->dst[0]->type.dtype || !holds(n->src[0]->type.dtype, n->dst[0]->type.dtype))
        return TENON_OK;
    return tenon_rw_done(rw, n, inner->src[0], "cast to a wider type and back -> x");
}

/* ---- neutral numbers ---- */
static tenon_status neutral(tenon_rw *rw, tenon_node *n)
{
    double c;
    tenon_value *x = n->src_count ? n->src[0] : NULL;
    const char *what = NULL;
    if (n->src_count != 2 || !x || !n->src[1]) return TENON_OK;
    if (n->op == &tenon_op_mul && tenon_rw_with_scalar(rw, n, &x, &c) && c == 1) what = "x*1 -> x";
    else if (n->op == &tenon_op_add && tenon_rw_with_scalar(rw, n, &x, &c) && c == 0) what = "x+0 -> x";
    else if (n->op == &tenon_op_sub && tenon_rw_is_scalar(rw, n->src[1], 0)) what = "x-0 -> x";
    else if (n->op == &tenon_op_div && tenon_rw_is_scalar(rw, n->src[1], 1)) what = "x/1 -> x";
    else if (n->op == &tenon_op_pow && tenon_rw_is_scalar(rw, n->src[1], 1)) what = "x^1 -> x";
    if (!what || !tenon_type_equal(&x->type, &n->dst[0]->type)) return TENON_OK;
    return tenon_rw_done(rw, n, x, "%s", what);
}

/* ---- powers, divisions, differences ---- */
static tenon_status power(tenon_rw *rw, tenon_node *n)
{
    double c;
    tenon_value *y, *x = n->src_count ? n->src[0] : NULL;
    if (n->op != &tenon_op_pow || !tenon_is_float(x->type.dtype) || !tenon_rw_scalar(rw, n->src[1], &c) ||
        !tenon_rw_keeps_type(n->src[1], x)) return TENON_OK;
    tenon_rw_take(rw, n);
    if (c == 2) TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, x, x, &y));
    else if (c == 0.5) TENON_TRY(tenon_rw_unary(rw, &tenon_op_sqrt, x, &y));
    else if (c == -0.5) TENON_TRY(tenon_rw_unary(rw, &tenon_op_rsqrt, x, &y));
    else if (c == -1) TENON_TRY(tenon_rw_unary(rw, &tenon_op_reciprocal, x, &y));
    else return TENON_OK;
    return tenon_rw_done(rw, n, y, "x^%g -> %s", c, y->producer ? y->producer->op->name : "constant");
}

/* x / 2^k -> x * 2^-k, exact */
static tenon_status division(tenon_rw *rw, tenon_node *n)
{
    double c;
    int exponent;
    tenon_value *by, *y;
    if (n->op != &tenon_op_div || !tenon_is_float(n->dst[0]->type.dtype) || !tenon_rw_scalar(rw, n->src[1], &c)) return TENON_OK;
    if (!isfinite(c) || fabs(frexp(c, &exponent)) != 0.5 || exponent < -20 || exponent > 20) return TENON_OK;
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_number(rw, n->dst[0]->type.dtype, 1 / c, &by));
    if (n->src[1]->type.rank > n->src[0]->type.rank) return TENON_OK;
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, n->src[0], by, &y));
    return tenon_rw_done(rw, n, y, "x/%g -> x*%g", c, 1 / c);
}

/* x - c -> x + -c; 1 / sqrt(x) -> rsqrt(x); 1 / x -> reciprocal(x) */
static tenon_status difference(tenon_rw *rw, tenon_node *n)
{
    tenon_value *c, *y;
    if (n->op == &tenon_op_sub && n->src[1]->is_const && !n->src[0]->is_const && tenon_is_float(n->dst[0]->type.dtype)) {
        tenon_rw_take(rw, n);
        TENON_TRY(tenon_rw_unary(rw, &tenon_op_neg, n->src[1], &c));
        TENON_TRY(tenon_rw_binary(rw, &tenon_op_add, n->src[0], c, &y));
        return tenon_rw_done(rw, n, y, "x-c -> x+(-c)");
    }
    if (n->op == &tenon_op_div && tenon_rw_is_scalar(rw, n->src[0], 1) && tenon_is_float(n->dst[0]->type.dtype)) {
        tenon_rw_take(rw, n);
        TENON_TRY(tenon_rw_unary(rw, &tenon_op_reciprocal, n->src[1], &y));
        return tenon_rw_done(rw, n, y, "1/x -> reciprocal");
    }
    return TENON_OK;
}

/* reciprocal(sqrt(x)) -> rsqrt(x); neg(neg(x)) -> x; x / sqrt(y) stays: the division is exact, rsqrt is not */
static tenon_status unary_pair(tenon_rw *rw, tenon_node *n)
{
    tenon_value *y;
    tenon_node *inner;
    if (n->op == &tenon_op_neg && (inner = tenon_rw_from(n->src[0], &tenon_op_neg)))
        return tenon_rw_done(rw, n, inner->src[0], "neg(neg(x)) -> x");
    if (n->op != &tenon_op_reciprocal || !(inner = tenon_rw_from(n->src[0], &tenon_op_sqrt))) return TENON_OK;
    tenon_rw_take(rw, inner);
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_unary(rw, &tenon_op_rsqrt, inner->src[0], &y));
    return tenon_rw_done(rw, n, y, "1/sqrt(x) -> rsqrt(x)");
}

/* ---- bounds: max(x, 0) -> relu, min(max(x, a), b) -> clip(x, a, b) ---- */
/* Source and bounds of a node that bounds; absent bounds are infinite. */
static bool bounds_of(tenon_rw *rw, const tenon_node *n, tenon_value **x, double *lo, double *hi)
{
    *lo = -INFINITY;
    *hi = INFINITY;
    if (!n || !tenon_is_float(n->dst[0]->type.dtype)) return false;
    *x = n->src[0];
    if (n->op == &tenon_op_relu) *lo = 0;
    else if (n->op == &tenon_op_max && tenon_rw_with_scalar(rw, n, x, lo)) (void)0;
    else if (n->op == &tenon_op_min && tenon_rw_with_scalar(rw, n, x, hi)) (void)0;
    else if (n->op == &tenon_op_clip) {
        if (tenon_rw_src(n, 1) && !tenon_rw_scalar(rw, n->src[1], lo)) return false;
        if (tenon_rw_src(n, 2) && !tenon_rw_scalar(rw, n->src[2], hi)) return false;
    } else return false;
    return tenon_type_equal(&(*x)->type, &n->dst[0]->type);
}

static tenon_status bounded(tenon_rw *rw, tenon_node *n, tenon_value *x, double lo, double hi, const char *what)
{
    tenon_value *src[3] = {x, NULL, NULL}, *y;
    const tenon_dtype t = x->type.dtype;
    if (lo == 0 && hi == INFINITY) {
        TENON_TRY(tenon_rw_unary(rw, &tenon_op_relu, x, &y));
        return tenon_rw_done(rw, n, y, "%s -> relu", what);
    }
    if (lo > -INFINITY) TENON_TRY(tenon_rw_number(rw, t, lo, &src[1]));
    if (hi < INFINITY) TENON_TRY(tenon_rw_number(rw, t, hi, &src[2]));
    TENON_TRY(tenon_rw_op(rw, &tenon_op_clip, src, src[2] ? 3 : 2, &y));
    return tenon_rw_done(rw, n, y, "%s -> clip(x, %g, %g)", what, lo, hi);
}

static tenon_status bounds(tenon_rw *rw, tenon_node *n)
{
    tenon_value *x, *inner_x;
    double lo, hi, inner_lo, inner_hi;
    if (n->op == &tenon_op_relu && !tenon_rw_from(n->src[0], NULL)) return TENON_OK;
    if (!bounds_of(rw, n, &x, &lo, &hi) || lo > hi) return TENON_OK;
    tenon_rw_take(rw, n);
    tenon_node *inner = x->producer;
    if (inner && !x->is_const && bounds_of(rw, inner, &inner_x, &inner_lo, &inner_hi) && inner_lo <= inner_hi &&
        lo <= inner_hi && hi >= inner_lo) {
        tenon_rw_take(rw, inner);
        return bounded(rw, n, inner_x, fmax(lo, inner_lo), fmin(hi, inner_hi), "bounds of bounds");
    }
    if (n->op == &tenon_op_max && lo == 0) return bounded(rw, n, x, lo, hi, "max(x, 0)");
    if (n->op == &tenon_op_clip && lo == 0 && hi == INFINITY) return bounded(rw, n, x, lo, hi, "clip(x, 0)");
    return TENON_OK;
}

/* where with a constant condition */
static tenon_status decided(tenon_rw *rw, tenon_node *n)
{
    double c;
    if (n->op != &tenon_op_where || !tenon_rw_scalar(rw, n->src[0], &c)) return TENON_OK;
    tenon_value *x = n->src[c != 0 ? 1 : 2];
    if (!tenon_type_equal(&x->type, &n->dst[0]->type)) return TENON_OK;
    return tenon_rw_done(rw, n, x, "where with a constant condition -> its branch");
}

/* ---- views ---- */
static bool is_reshape_like(const tenon_op *op)
{
    return op == &tenon_op_reshape || op == &tenon_op_squeeze || op == &tenon_op_unsqueeze || op == &tenon_op_flatten;
}

/* squeeze, unsqueeze, flatten -> reshape; reshape(reshape(x)) -> reshape(x) */
static tenon_status reshapes(tenon_rw *rw, tenon_node *n)
{
    if (!is_reshape_like(n->op) || n->dst[0]->type.rank < 0 || n->src[0]->type.rank < 0) return TENON_OK;
    tenon_node *inner = tenon_rw_from(n->src[0], NULL);
    if (inner && (!is_reshape_like(inner->op) || inner->src[0]->type.rank < 0)) inner = NULL;
    if (!inner && n->op == &tenon_op_reshape) return TENON_OK;
    if (tenon_is_int(n->dst[0]->type.dtype) && n->dst[0]->sym) return TENON_OK; /* shape arithmetic vanishes by itself */
    tenon_value *y;
    tenon_rw_take(rw, n);
    if (inner) tenon_rw_take(rw, inner);
    TENON_TRY(tenon_rw_reshape(rw, inner ? inner->src[0] : n->src[0], n->dst[0]->type.rank, n->dst[0]->type.dim, &y));
    const tenon_node *made = tenon_rw_from(y, &tenon_op_reshape);
    if (made && tenon_rw_from(made->src[1], NULL)) return TENON_OK; /* two free dimensions: would need a computed shape */
    return tenon_rw_done(rw, n, y, inner ? "%s of %s -> one reshape" : "%s -> reshape", n->op->name, inner ? inner->op->name
        : "");
}

/* transpose(transpose(x)) -> transpose(x) */
static tenon_status transposes(tenon_rw *rw, tenon_node *n)
{
    tenon_node *inner = n->op == &tenon_op_transpose ? tenon_rw_from(n->src[0], &tenon_op_transpose) : NULL;
    if (!inner || n->src[0]->type.rank < 0 || inner->src[0]->type.rank < 0) return TENON_OK;
    int64_t outer_perm[TENON_MAX_RANK], inner_perm[TENON_MAX_RANK], perm[TENON_MAX_RANK];
    tenon_value *y;
    tenon_rw_perm(n, outer_perm);
    tenon_rw_perm(inner, inner_perm);
    for (int i = 0; i < n->src[0]->type.rank; i++) perm[i] = inner_perm[outer_perm[i]];
    tenon_rw_take(rw, inner);
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_transpose(rw, inner->src[0], perm, &y));
    return tenon_rw_done(rw, n, y, "transpose of transpose -> one");
}

/* A pointwise operator broadcasts by itself: an expand of its source goes when the result's shape does not come from it. */
static tenon_status expanded(tenon_rw *rw, tenon_node *n)
{
    if (!(n->op->flags & TENON_OP_POINTWISE) || n->dst[0]->type.rank < 0 || n->src_count > 4) return TENON_OK;
    tenon_value *src[4], *y;
    bool any = false;
    for (int i = 0; i < n->src_count; i++) {
        tenon_node *e = tenon_rw_from(n->src[i], &tenon_op_expand);
        src[i] = n->src[i];
        if (!e || e->src[0]->type.rank < 0) continue;
        tenon_value *const kept = src[i];
        src[i] = e->src[0];
        /* every axis of the result must still be given by one of the sources */
        bool whole = true;
        const tenon_type *t = &n->dst[0]->type;
        for (int a = 0; a < t->rank && whole; a++) {
            bool given = tenon_dim_is(t->dim[a], 1);
            for (int k = 0; k < n->src_count; k++) {
                const tenon_value *v = k <= i ? src[k] : n->src[k];
                const int at = v ? a - (t->rank - v->type.rank) : -1;
                given |= at >= 0 && v->type.dim[at] == t->dim[a];
            }
            int most = 0;
            for (int k = 0; k < n->src_count; k++) {
                const tenon_value *v = k <= i ? src[k] : n->src[k];
                most = v ? TENON_MAX(most, v->type.rank) : most;
            }
            whole = given && most == t->rank;
        }
        if (!whole) {
            src[i] = kept;
            continue;
        }
        tenon_rw_take(rw, e);
        any = true;
    }
    if (!any) return TENON_OK;
    tenon_node *like;
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_like(rw, n, src, n->src_count, &like));
    TENON_TRY(tenon_rw_infer(rw, like, &y));
    return tenon_rw_done(rw, n, y, "%s(expand(x)) -> %s(x)", n->op->name, n->op->name);
}

/* f(expand(x), c) -> expand(f(x, c)), where c needs no more room than x: f then works on little, and a constant x is folded. */
static tenon_status expand_sinks(tenon_rw *rw, tenon_node *n)
{
    if (!(n->op->flags & TENON_OP_POINTWISE) || n->dst[0]->type.rank < 0 || n->src_count > 3) return TENON_OK;
    tenon_node *e = NULL, *like;
    for (int i = 0; i < n->src_count && !e; i++) e = tenon_rw_from(n->src[i], &tenon_op_expand);
    if (!e || e->src[0]->type.rank < 0 || !tenon_rw_sole(e->dst[0]) || e->dst[0]->type.rank != n->dst[0]->type.rank)
        return TENON_OK;
    for (int i = 0; i < e->dst[0]->type.rank; i++)
        if (e->dst[0]->type.dim[i] != n->dst[0]->type.dim[i]) return TENON_OK;
    tenon_value *src[3] = {NULL}, *y;
    for (int i = 0; i < n->src_count; i++) {
        src[i] = n->src[i] == e->dst[0] ? e->src[0] : n->src[i];
        if (!src[i] || src[i] == e->src[0]) continue;
        if (!src[i]->is_const || !tenon_rw_keeps_type(src[i], e->src[0])) return TENON_OK;
    }
    tenon_rw_take(rw, e);
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_like(rw, n, src, n->src_count, &like));
    TENON_TRY(tenon_rw_infer(rw, like, &y));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_expand, y, e->src[1], &y));
    return tenon_rw_done(rw, n, y, "%s(expand(x)) -> expand(%s(x))", n->op->name, n->op->name);
}

/* gather(x, one constant index) -> reshape(slice(x)): a view */
static tenon_status gathered(tenon_rw *rw, tenon_node *n)
{
    int64_t index;
    int axis;
    if (n->op != &tenon_op_gather || !n->src[1]->is_const || n->src[1]->type.rank > 1 || n->src[0]->is_const ||
        n->dst[0]->type.rank < 0) return TENON_OK;
    const int rank = n->src[0]->type.rank;
    if (rank < 1 || tenon_rw_ints(rw, n->src[1], &index, 1) != 1 || n->dst[0]->sym) return TENON_OK;
    TENON_TRY(tenon_infer_axis(rw->cx, "gather", tenon_node_int(n, "axis"), rank, &axis));
    const tenon_dim *d = n->src[0]->type.dim[axis];
    if (index >= 0 ? d->lo <= index : -d->lo > index) return TENON_OK; /* may be out of range: the gather says so */
    const int64_t bound[4] = {index, index == -1 ? INT64_MAX : index + 1, axis, 1};
    tenon_value *src[5] = {n->src[0]}, *y;
    for (int i = 0; i < 4; i++) TENON_TRY(tenon_rw_list(rw, &bound[i], 1, &src[1 + i]));
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_op(rw, &tenon_op_slice, src, 5, &y));
    TENON_TRY(tenon_rw_reshape(rw, y, n->dst[0]->type.rank, n->dst[0]->type.dim, &y));
    const tenon_node *made = tenon_rw_from(y, &tenon_op_reshape);
    if (made && tenon_rw_from(made->src[1], NULL)) return TENON_OK;
    return tenon_rw_done(rw, n, y, "gather of one constant place -> slice");
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {no_op, cast_back, neutral, power, division, difference, unary_pair, bounds, decided,
        reshapes, transposes, expanded, expand_sinks, gathered};
    return tenon_rw_each(cx, g, IDENTITIES, rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_identities = {.name = IDENTITIES, .what = "what changes nothing goes; simpler spellings", .run = run};
