/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisations from their parts:
     d = x - mean(x);  d / sqrt(mean(d*d) + epsilon) [* scale] [+ bias]       layer_norm
     x / sqrt(mean(x*x) + epsilon) [* scale]                                  rms_norm
     reshape(instance_norm(reshape(x, (n, groups, -1))))                      group_norm
     exp(x) / sum(exp(x)), also with the maximum taken off first              softmax
   with rsqrt, reciprocal or pow in any place (identities has made them alike). The mean runs over trailing axes. */
#include "pass/pass.h"
#include "pass/rewrite.h"

#define NORMS "norms"

/* n reduces the last axes and keeps them: the first of them, else -1. */
static int trailing(tenon_rw *rw, const tenon_node *n)
{
    int axis[TENON_MAX_RANK];
    const int rank = n->src[0]->type.rank, count = tenon_rw_reduced(rw, n, axis);
    if (count < 1 || !tenon_node_int(n, "keepdims")) return -1;
    for (int i = 0; i < count; i++)
        if (axis[i] != rank - count + i) return -1;
    return rank - count;
}

/* v is mean(a*a) + epsilon over trailing axes: a. */
static tenon_value *mean_of_square(tenon_rw *rw, tenon_value *v, double *epsilon, int *axis)
{
    tenon_value *mean;
    tenon_node *sum = tenon_rw_from(v, &tenon_op_add);
    if (!sum || !tenon_rw_with_scalar(rw, sum, &mean, epsilon)) return NULL;
    tenon_node *m = tenon_rw_from(mean, &tenon_op_reduce_mean), *square = m ? tenon_rw_from(m->src[0], &tenon_op_mul) : NULL;
    if (!square || square->src[0] != square->src[1] || (*axis = trailing(rw, m)) < 0) return NULL;
    tenon_rw_take(rw, sum);
    tenon_rw_take(rw, m);
    tenon_rw_take(rw, square);
    return square->src[0];
}

/* n = a / sqrt(mean(a*a) + epsilon), as a quotient or a product: a. */
static tenon_value *normalised(tenon_rw *rw, tenon_node *n, double *epsilon, int *axis)
{
    tenon_node *root;
    if (n->op == &tenon_op_div && (root = tenon_rw_from(n->src[1], &tenon_op_sqrt))) {
        tenon_value *a = mean_of_square(rw, root->src[0], epsilon, axis);
        tenon_rw_take(rw, root);
        return a && a == n->src[0] ? a : NULL;
    }
    for (int i = 0; i < 2 && n->op == &tenon_op_mul; i++)
        if ((root = tenon_rw_from(n->src[i], &tenon_op_rsqrt))) {
            tenon_value *a = mean_of_square(rw, root->src[0], epsilon, axis);
            tenon_rw_take(rw, root);
            return a && a == n->src[1 - i] ? a : NULL;
        }
    return NULL;
}

/* Ones with the dims of x from `axis` on. */
static tenon_status ones(tenon_rw *rw, const tenon_type *x, int axis, tenon_value **out)
{
    tenon_value *one, *shape;
    int64_t dim[TENON_MAX_RANK];
    for (int i = axis; i < x->rank; i++) dim[i - axis] = x->dim[i]->value;
    TENON_TRY(tenon_rw_number(rw, x->dtype, 1, &one));
    TENON_TRY(tenon_rw_list(rw, dim, x->rank - axis, &shape));
    return tenon_rw_binary(rw, &tenon_op_expand, one, shape, out);
}

static tenon_status from_parts(tenon_rw *rw, tenon_node *n)
{
    double epsilon;
    int axis;
    if ((n->op != &tenon_op_div && n->op != &tenon_op_mul) || !tenon_is_float(n->dst[0]->type.dtype)) return TENON_OK;
    tenon_value *a = normalised(rw, n, &epsilon, &axis), *scale, *y;
    if (!a || !tenon_type_equal(&a->type, &n->dst[0]->type)) return TENON_OK;
    for (int i = axis; i < a->type.rank; i++)
        if (!tenon_dim_is_const(a->type.dim[i]))
            return tenon_event_blocked(rw->g, NORMS, n, "blocked by axis %d because its size is not fixed", i);
    /* a = x - mean(x) over the same axes: a layer norm of x */
    tenon_node *d = tenon_rw_from(a, &tenon_op_sub), *m = d ? tenon_rw_from(d->src[1], &tenon_op_reduce_mean) : NULL, *norm;
    const bool centered = m && m->src[0] == d->src[0] && trailing(rw, m) == axis;
    tenon_rw_take(rw, n);
    if (centered) {
        tenon_rw_take(rw, d);
        tenon_rw_take(rw, m);
    }
    TENON_TRY(ones(rw, &a->type, axis, &scale));
    tenon_value *src[2] = {centered ? d->src[0] : a, scale};
    TENON_TRY(tenon_rw_node(rw, centered ? &tenon_op_layer_norm : &tenon_op_rms_norm, src, 2, 1, &norm));
    TENON_TRY(tenon_node_set_int(rw->g, norm, "axis", axis - a->type.rank));
    TENON_TRY(tenon_node_set_float(rw->g, norm, "epsilon", epsilon));
    TENON_TRY(tenon_rw_infer(rw, norm, &y));
    return tenon_rw_done(rw, n, y, "%d operators -> %s", rw->part_count, norm->op->name);
}

/* A constant that varies over the normalised axes alone. */
static bool inside(const tenon_value *c, const tenon_value *x, int axis)
{
    if (!c->is_const || !tenon_rw_keeps_type(c, x)) return false;
    for (int i = 0; i < c->type.rank; i++)
        if (i + x->type.rank - c->type.rank < axis && !tenon_dim_is(c->type.dim[i], 1)) return false;
    return true;
}

/* The constant without leading axes of size 1. */
static tenon_status trimmed(tenon_rw *rw, tenon_value *c, int rank, tenon_value **out)
{
    *out = c;
    if (c->type.rank <= rank) return TENON_OK;
    return tenon_rw_reshape(rw, c, rank, c->type.dim + c->type.rank - rank, out);
}

/* layer_norm(x, s) * c -> layer_norm(x, s*c);  layer_norm(x, s) + c -> layer_norm(x, s, c) */
static tenon_status scale_and_bias(tenon_rw *rw, tenon_node *n)
{
    if ((n->op != &tenon_op_mul && n->op != &tenon_op_add) || n->src[0]->is_const == n->src[1]->is_const) return TENON_OK;
    tenon_value *c = n->src[n->src[0]->is_const ? 0 : 1], *v = n->src[n->src[0]->is_const ? 1 : 0], *y;
    tenon_node *norm = tenon_rw_from(v, NULL), *like;
    const bool product = n->op == &tenon_op_mul;
    if (!norm || (norm->op != &tenon_op_layer_norm && norm->op != &tenon_op_rms_norm) || !tenon_rw_sole(v) ||
        tenon_rw_src(norm, 2)) return TENON_OK;
    if (!norm->src[1]->is_const || (!product && norm->op == &tenon_op_rms_norm) || norm->dst_count > 1) return TENON_OK;
    int axis = (int)tenon_node_int(norm, "axis");
    if (axis < 0) axis += v->type.rank;
    if (!inside(c, v, axis)) return TENON_OK;
    tenon_rw_take(rw, norm);
    tenon_rw_take(rw, n);
    TENON_TRY(trimmed(rw, c, v->type.rank - axis, &c));
    tenon_value *src[3] = {norm->src[0], norm->src[1], NULL}, *wide;
    if (product) TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, norm->src[1], c, &src[1]));
    else {
        /* as wide as the scale, which the tactics read beside it */
        TENON_TRY(tenon_rw_number(rw, c->type.dtype, 0, &wide));
        TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, norm->src[1], wide, &wide));
        TENON_TRY(tenon_rw_binary(rw, &tenon_op_add, wide, c, &src[2]));
    }
    TENON_TRY(tenon_rw_like(rw, norm, src, product ? 2 : 3, &like));
    TENON_TRY(tenon_rw_infer(rw, like, &y));
    return tenon_rw_done(rw, n, y, product ? "%s(x, s) * c -> %s(x, s*c)" : "%s(x, s) + c -> %s(x, s, c)", norm->op->name,
        norm->op->name);
}

/* reshape(instance_norm(reshape(x, (n, g, -1)), s, b), shape of x) -> group_norm(x, s, b), one entry a group */
static tenon_status groups(tenon_rw *rw, tenon_node *n)
{
    tenon_node *norm = n->op == &tenon_op_reshape ? tenon_rw_from(n->src[0], &tenon_op_instance_norm) : NULL, *group;
    tenon_node *first = norm ? tenon_rw_from(norm->src[0], &tenon_op_reshape) : NULL;
    if (!first || !tenon_type_equal(&first->src[0]->type, &n->dst[0]->type) || first->src[0]->type.rank < 3) return TENON_OK;
    const tenon_type *x = &first->src[0]->type, *t = &norm->src[0]->type;
    if (t->rank != 3 || t->dim[0] != x->dim[0] || !tenon_dim_is_const(t->dim[1]) || !tenon_dim_is_const(x->dim[1]))
        return TENON_OK;
    if (t->dim[1]->value < 1 || x->dim[1]->value % t->dim[1]->value) return TENON_OK;
    tenon_value *src[3] = {first->src[0], norm->src[1], norm->src[2]}, *y;
    tenon_rw_take(rw, first);
    tenon_rw_take(rw, norm);
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_node(rw, &tenon_op_group_norm, src, 3, 1, &group));
    TENON_TRY(tenon_node_set_int(rw->g, group, "num_groups", t->dim[1]->value));
    TENON_TRY(tenon_node_set_float(rw->g, group, "epsilon", tenon_node_float(norm, "epsilon")));
    TENON_TRY(tenon_rw_infer(rw, group, &y));
    return tenon_rw_done(rw, n, y, "instance_norm of groups -> group_norm");
}

/* exp(x) / sum(exp(x)) -> softmax(x);  softmax(x - max(x)) -> softmax(x) */
static tenon_status softmax(tenon_rw *rw, tenon_node *n)
{
    int axis[TENON_MAX_RANK];
    tenon_value *x = NULL, *y;
    tenon_node *e = n->op == &tenon_op_div ? tenon_rw_from(n->src[0], &tenon_op_exp) : NULL, *sum = e ? tenon_rw_from(n->src[1],
        &tenon_op_reduce_sum) : NULL, *soft;
    int64_t at = 0;
    if (sum && sum->src[0] == n->src[0] && tenon_rw_reduced(rw, sum, axis) == 1 && tenon_node_int(sum, "keepdims")) {
        x = e->src[0];
        at = axis[0];
        tenon_rw_take(rw, e);
        tenon_rw_take(rw, sum);
    } else if (n->op == &tenon_op_softmax) {
        tenon_node *less = tenon_rw_from(n->src[0], &tenon_op_sub), *top = less ? tenon_rw_from(less->src[1],
            &tenon_op_reduce_max) : NULL;
        at = tenon_node_int(n, "axis");
        if (at < 0) at += n->src[0]->type.rank;
        if (!top || top->src[0] != less->src[0] || tenon_rw_reduced(rw, top, axis) != 1 || axis[0] != at ||
            !tenon_node_int(top, "keepdims")) return TENON_OK;
        x = less->src[0];
        tenon_rw_take(rw, less);
        tenon_rw_take(rw, top);
    }
    if (!x) return TENON_OK;
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_node(rw, &tenon_op_softmax, &x, 1, 1, &soft));
    TENON_TRY(tenon_node_set_int(rw->g, soft, "axis", at));
    TENON_TRY(tenon_rw_infer(rw, soft, &y));
    return tenon_rw_done(rw, n, y, n->op == &tenon_op_softmax ? "softmax(x - max(x)) -> softmax(x)"
        : "exp(x) / sum(exp(x)) -> softmax(x)");
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {from_parts, scale_and_bias, groups, softmax};
    return tenon_rw_each(cx, g, NORMS, rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_norms = {.name = NORMS, .what = "layer_norm, rms_norm, group_norm and softmax from their parts",
    .run = run};
