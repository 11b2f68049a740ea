/* SPDX-License-Identifier: Apache-2.0 */
/* Per-channel factors and sums move into weights: batch_norm becomes a factor and a sum; a factor behind (or in front of) a
   convolution or a product with constant weights becomes part of the weights,
       as a weight expression; sums of sums and factors of factors become
   one.   (conv(x, w) + b) * a  ->  conv(x,
       w*a) + b*a                                                                              */
#include "pass/pass.h"
#include "pass/rewrite.h"

#define FOLD "fold_affine"

static bool is_conv(const tenon_op *op) { return op == &tenon_op_conv || op == &tenon_op_conv_transpose; }

/* batch_norm(x, scale, bias, mean, var) -> x * a + (bias - mean * a), a = scale / sqrt(var + epsilon) */
static tenon_status batch_norm(tenon_rw *rw, tenon_node *n)
{
    if (n->op != &tenon_op_batch_norm) return TENON_OK;
    for (int i = 1; i < 5; i++)
        if (!n->src[i]->is_const)
            return tenon_event_blocked(rw->g, FOLD, n, "blocked by source %d because '%s' is not constant", i, n->src[i]->name);
    for (int i = 1; i < n->dst_count; i++)
        if (n->dst[i] && n->dst[i]->use_count)
            return tenon_event_blocked(rw->g, FOLD, n, "blocked by result %d because it is used", i);
    tenon_value *const *s = n->src, *epsilon, *a, *c, *y;
    const int rank = s[0]->type.rank;
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_number(rw, s[4]->type.dtype, tenon_node_float(n, "epsilon"), &epsilon));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_add, s[4], epsilon, &a));
    TENON_TRY(tenon_rw_unary(rw, &tenon_op_sqrt, a, &a));
    if (s[1]->type.dtype != s[4]->type.dtype || s[0]->type.dtype != s[1]->type.dtype)
        return tenon_event_blocked(rw->g, FOLD, n, "blocked by its statistics because they have another type than x");
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_div, s[1], a, &a));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, s[3], a, &c));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_sub, s[2], c, &c));
    TENON_TRY(tenon_rw_along(rw, a, 0, rank - 1, &a));
    TENON_TRY(tenon_rw_along(rw, c, 0, rank - 1, &c));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, s[0], a, &y));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_add, y, c, &y));
    return tenon_rw_done(rw, n, y, "batch_norm -> x*a + b");
}

/* The constant source of a binary node and the other one; false when neither or both are constants. */
static bool with_const(const tenon_node *n, const tenon_op *op, tenon_value **x, tenon_value **c)
{
    if (!n || n->op != op || !tenon_is_float(n->dst[0]->type.dtype) || n->src[0]->is_const == n->src[1]->is_const) return false;
    *c = n->src[n->src[0]->is_const ? 0 : 1];
    *x = n->src[n->src[0]->is_const ? 1 : 0];
    return tenon_rw_keeps_type(*c, *x);
}

/* c, broadcast to rank `rank`, varies along `axis` alone. */
static bool varies_along(const tenon_value *c, int rank, int axis)
{
    if (c->type.rank > rank) return false;
    for (int i = 0; i < c->type.rank; i++)
        if (i + rank - c->type.rank != axis && !tenon_dim_is(c->type.dim[i], 1)) return false;
    return true;
}

/* c as shape (1, ..., n, ..., 1) with n at `axis` of `rank`. */
static tenon_status turned(tenon_rw *rw, tenon_value *c, int rank, int axis, tenon_value **out)
{
    const tenon_dim *dim[TENON_MAX_RANK], *one = tenon_dim_const(rw->g->dims, 1);
    if (!one) return TENON_NOMEM;
    for (int i = 0; i < rank; i++) dim[i] = i == axis ? tenon_type_count(rw->g->dims, &c->type) : one;
    return tenon_rw_reshape(rw, c, rank, dim, out);
}

/* The axis of the result along which the weights' own axis *weight_axis runs; false: n has no constant weights of its own. */
static bool weight_axes(const tenon_node *n, int *axis, int *weight_axis)
{
    if (n && is_conv(n->op) && n->src[1]->is_const && !tenon_rw_src(n, 2)) {
        if (n->op == &tenon_op_conv_transpose && tenon_node_int(n, "group") != 1) return false;
        *axis = 1;
        *weight_axis = n->op == &tenon_op_conv ? 0 : 1;
        return true;
    }
    if (n && n->op == &tenon_op_matmul && n->src[1]->is_const && n->src[1]->type.rank == 2 && n->src[0]->type.rank >= 2) {
        *axis = n->dst[0]->type.rank - 1;
        *weight_axis = 1;
        return true;
    }
    return false;
}

/* conv(x, w) * a -> conv(x, w*a) */
static tenon_status factor_behind(tenon_rw *rw, tenon_node *n)
{
    tenon_value *x, *c, *w, *y;
    int axis, weight_axis;
    if (!with_const(n, &tenon_op_mul, &x, &c)) return TENON_OK;
    tenon_node *anchor = tenon_rw_from(x, NULL), *like;
    if (!weight_axes(anchor, &axis, &weight_axis)) return TENON_OK;
    if (!varies_along(c, x->type.rank, axis))
        return tenon_event_blocked(rw->g, FOLD, n, "blocked by the shape of '%s' because it is not one number a channel",
            c->name);
    if (!tenon_rw_sole(x)) return tenon_event_blocked(rw->g, FOLD, n,
        "blocked by a second use of '%s' because both would need weights", x->name);
    tenon_rw_take(rw, anchor);
    tenon_rw_take(rw, n);
    TENON_TRY(turned(rw, c, anchor->src[1]->type.rank, weight_axis, &w));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, anchor->src[1], w, &w));
    TENON_TRY(tenon_rw_like(rw, anchor, (tenon_value *[]){anchor->src[0], w}, 2, &like));
    TENON_TRY(tenon_rw_infer(rw, like, &y));
    return tenon_rw_done(rw, n, y, "%s(x, w) * a -> %s(x, w*a)", anchor->op->name, anchor->op->name);
}

/* (y + b) * a -> y*a + b*a, where y can take the factor into its weights */
static tenon_status factor_of_sum(tenon_rw *rw, tenon_node *n)
{
    tenon_value *sum, *a, *x, *b, *y;
    int axis, weight_axis;
    if (!with_const(n, &tenon_op_mul, &sum, &a)) return TENON_OK;
    tenon_node *add = tenon_rw_from(sum, &tenon_op_add);
    if (!with_const(add, &tenon_op_add, &x, &b) || !tenon_rw_sole(sum)) return TENON_OK;
    if (!weight_axes(tenon_rw_from(x, NULL), &axis, &weight_axis) || !tenon_rw_sole(x) || !varies_along(a, x->type.rank, axis))
        return TENON_OK;
    tenon_rw_take(rw, add);
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, b, a, &b));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, x, a, &y));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_add, y, b, &y));
    return tenon_rw_done(rw, n, y, "(y + b) * a -> y*a + b*a");
}

/* (x * a) * b -> x * (a*b), (x + a) + b -> x + (a+b) */
static tenon_status chain(tenon_rw *rw, tenon_node *n)
{
    tenon_value *inner_value, *outer, *x, *inner, *c, *y;
    if (n->op != &tenon_op_mul && n->op != &tenon_op_add) return TENON_OK;
    if (!with_const(n, n->op, &inner_value, &outer)) return TENON_OK;
    tenon_node *first = tenon_rw_from(inner_value, n->op);
    if (!with_const(first, n->op, &x, &inner) || !tenon_rw_sole(inner_value)) return TENON_OK;
    tenon_rw_take(rw, first);
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_binary(rw, n->op, inner, outer, &c));
    TENON_TRY(tenon_rw_binary(rw, n->op, x, c, &y));
    return tenon_rw_done(rw, n, y, n->op == &tenon_op_mul ? "(x*a)*b -> x*(a*b)" : "(x+a)+b -> x+(a+b)");
}

/* conv(x * a, w) -> conv(x, w*a'): zeros of the padding stay zeros */
static tenon_status factor_before(tenon_rw *rw, tenon_node *n)
{
    tenon_value *x, *c, *w, *y;
    const bool product = n->op == &tenon_op_matmul;
    if (n->op != &tenon_op_conv && !product) return TENON_OK;
    if (!n->src[1]->is_const || !with_const(tenon_rw_from(n->src[0], &tenon_op_mul), &tenon_op_mul, &x, &c) ||
        !tenon_rw_sole(n->src[0])) return TENON_OK;
    if (product ? n->src[1]->type.rank != 2 : tenon_node_int(n, "group") != 1) return TENON_OK;
    const int axis = product ? x->type.rank - 1 : 1;
    if (!varies_along(c, x->type.rank, axis)) return TENON_OK;
    tenon_node *mul = tenon_rw_from(n->src[0], NULL), *like;
    tenon_rw_take(rw, mul);
    tenon_rw_take(rw, n);
    TENON_TRY(turned(rw, c, n->src[1]->type.rank, product ? 0 : 1, &w));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, n->src[1], w, &w));
    tenon_value *src[3] = {x, w, tenon_rw_src(n, 2)};
    TENON_TRY(tenon_rw_like(rw, n, src, n->src_count, &like));
    TENON_TRY(tenon_rw_infer(rw, like, &y));
    return tenon_rw_done(rw, n, y, "%s(x*a, w) -> %s(x, w*a)", n->op->name, n->op->name);
}

static bool pads_nothing(const tenon_node *n)
{
    const tenon_attr *pads = tenon_node_attr(n, "pads");
    const char *automatic = tenon_node_attr(n, "auto_pad")->s;
    for (size_t i = 0; i < pads->count; i++)
        if (pads->ints[i] != 0) return false;
    return !automatic || automatic[0] == 'N' || automatic[0] == 'V'; /* NOTSET, VALID */
}

/* conv(x + b, w) -> conv(x, w) + sum of w*b, where no padding is read */
static tenon_status sum_before(tenon_rw *rw, tenon_node *n)
{
    tenon_value *x, *c, *b, *y;
    if (n->op != &tenon_op_conv || tenon_rw_src(n, 2) || !n->src[1]->is_const || tenon_node_int(n, "group") != 1) return TENON_OK;
    if (!with_const(tenon_rw_from(n->src[0], &tenon_op_add), &tenon_op_add, &x, &c) || !tenon_rw_sole(n->src[0]) ||
        !varies_along(c, x->type.rank, 1)) return TENON_OK;
    tenon_node *add = tenon_rw_from(n->src[0], NULL), *sum, *like;
    const tenon_node *before = tenon_rw_from(x, NULL);
    if (before && before->op->flags & TENON_OP_ANCHOR) return TENON_OK; /* the sum is free behind that anchor */
    if (!pads_nothing(n)) return tenon_event_blocked(rw->g, FOLD, n,
        "blocked by the padding because a sum in front of it changes the border");
    const int rank = n->src[1]->type.rank;
    int64_t axes[TENON_MAX_RANK];
    for (int i = 1; i < rank; i++) axes[i - 1] = i;
    tenon_rw_take(rw, add);
    tenon_rw_take(rw, n);
    TENON_TRY(turned(rw, c, rank, 1, &b));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, n->src[1], b, &b));
    TENON_TRY(tenon_rw_node(rw, &tenon_op_reduce_sum, &b, 1, 1, &sum));
    TENON_TRY(tenon_node_set_ints(rw->g, sum, "axes", axes, (size_t)rank - 1));
    TENON_TRY(tenon_node_set_int(rw->g, sum, "keepdims", 0));
    TENON_TRY(tenon_rw_infer(rw, sum, &b));
    TENON_TRY(tenon_rw_along(rw, b, 0, rank - 1, &b));
    TENON_TRY(tenon_rw_like(rw, n, (tenon_value *[]){x, n->src[1]}, 2, &like));
    TENON_TRY(tenon_rw_infer(rw, like, &y));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_add, y, b, &y));
    return tenon_rw_done(rw, n, y, "conv(x + b, w) -> conv(x, w) + sum(w*b)");
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {batch_norm, factor_behind, factor_of_sum, chain, factor_before, sum_before};
    return tenon_rw_each(cx, g, FOLD, rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_fold_affine = {.name = FOLD, .what = "batch norms, channel factors and sums move into weights", .run =
    run};
