/* SPDX-License-Identifier: Apache-2.0 */
/* Composite activations in every exporter's spelling become one row: silu, hard_sigmoid, hard_swish, gelu (erf and tanh), mish.
   All but hard_sigmoid are products  s * x * u(x)  whose factors stand in any order and grouping, so the product is taken apart:
   for each pair of factors (x, u),
       u is classified as a function of x and the numbers left over must multiply to what it needs. */
#include "pass/pass.h"
#include "pass/rewrite.h"

#include <math.h>

#define ACT "activations"

/* ---- functions of x ---- */
enum { DEGREE = 3 };
typedef struct poly { double c[DEGREE + 1]; } poly;

static bool poly_mul(const poly *a, const poly *b, poly *out)
{
    poly r = {{0}};
    for (int i = 0; i <= DEGREE; i++)
        for (int k = 0; k <= DEGREE; k++) {
            if (a->c[i] == 0 || b->c[k] == 0) continue;
            if (i + k > DEGREE) return false;
            r.c[i + k] += a->c[i] * b->c[k];
        }
    *out = r;
    return true;
}

/* v as a polynomial in x. */
static bool poly_of(tenon_rw *rw, tenon_value *v, const tenon_value *x, int depth, poly *out)
{
    poly a, b;
    double c;
    *out = (poly){{0}};
    if (v == x) {
        out->c[1] = 1;
        return true;
    }
    if (tenon_rw_scalar(rw, v, &c)) {
        out->c[0] = c;
        return true;
    }
    const tenon_node *n = tenon_rw_from(v, NULL);
    if (!n || depth > 6) return false;
    if (n->op == &tenon_op_neg) {
        if (!poly_of(rw, n->src[0], x, depth + 1, &a)) return false;
        for (int i = 0; i <= DEGREE; i++) out->c[i] = -a.c[i];
        return true;
    }
    const bool sum = n->op == &tenon_op_add || n->op == &tenon_op_sub, quotient = n->op == &tenon_op_div, power =
        n->op == &tenon_op_pow;
    if (!sum && !quotient && !power && n->op != &tenon_op_mul) return false;
    if ((quotient || power) && !tenon_rw_scalar(rw, n->src[1], &c)) return false;
    if (!poly_of(rw, n->src[0], x, depth + 1, &a) || (!quotient && !power && !poly_of(rw, n->src[1], x, depth + 1, &b)))
        return false;
    if (power) return c == 3 && poly_mul(&a, &a, &b) && poly_mul(&a, &b, out);
    if (n->op == &tenon_op_mul) return poly_mul(&a, &b, out);
    for (int i = 0; i <= DEGREE; i++) out->c[i] = quotient ? a.c[i] / c : n->op == &tenon_op_add ? a.c[i] + b.c[i]
        : a.c[i] - b.c[i];
    return true;
}

static bool near_or_zero(double got, double want) { return want == 0 ? got == 0 : tenon_rw_near(got, want); }

static bool is_poly(tenon_rw *rw, tenon_value *v, const tenon_value *x, double c0, double c1, double c2, double c3)
{
    poly p;
    return poly_of(rw, v, x, 0, &p) && near_or_zero(p.c[0], c0) && near_or_zero(p.c[1], c1) && near_or_zero(p.c[2], c2) &&
        near_or_zero(p.c[3], c3);
}

/* v = p + q * (result of a node of `op`): that node. */
static tenon_node *affine_of(tenon_rw *rw, tenon_value *v, const tenon_op *op, double *p, double *q)
{
    tenon_value *inner;
    double c;
    *p = 0;
    *q = 1;
    for (int depth = 0; depth < 4; depth++) {
        tenon_node *n = tenon_rw_from(v, NULL);
        if (!n) return NULL;
        if (n->op == op) return n;
        if (n->op == &tenon_op_add && tenon_rw_with_scalar(rw, n, &inner, &c)) *p += *q * c;
        else if (n->op == &tenon_op_mul && tenon_rw_with_scalar(rw, n, &inner, &c)) *q *= c;
        else return NULL;
        v = inner;
    }
    return NULL;
}

/* ---- kinds ---- */
typedef struct match {
    const tenon_op *op;
    double scale;  /* what the other factors must multiply to */
    double alpha;  /* of silu */
} match;

static bool bounds_are(tenon_rw *rw, const tenon_node *clip, double lo, double hi)
{
    return tenon_rw_src(clip, 1) && tenon_rw_src(clip, 2) && tenon_rw_is_scalar(rw, clip->src[1], lo) &&
        tenon_rw_is_scalar(rw, clip->src[2], hi);
}

/* u as a function of x. */
static bool classify(tenon_rw *rw, tenon_value *u, tenon_value *x, match *m)
{
    double p, q;
    poly t;
    const tenon_node *n = tenon_rw_from(u, NULL), *f;
    if (!n) return false;
    if (n->op == &tenon_op_sigmoid && poly_of(rw, n->src[0], x, 0, &t) && t.c[0] == 0 && t.c[2] == 0 && t.c[3] == 0) {
        *m = (match){&tenon_op_silu, 1, t.c[1]};
        return true;
    }
    if (n->op == &tenon_op_hard_sigmoid && n->src[0] == x && tenon_rw_near(tenon_node_float(n, "alpha"), 1.0 / 6) &&
        tenon_node_float(n, "beta") == 0.5) {
        *m = (match){&tenon_op_hard_swish, 1, 0};
        return true;
    }
    if (n->op == &tenon_op_clip && bounds_are(rw, n, 0, 6) && is_poly(rw, n->src[0], x, 3, 1, 0, 0)) {
        *m = (match){&tenon_op_hard_swish, 1.0 / 6, 0};
        return true;
    }
    if (n->op == &tenon_op_tanh && (f = tenon_rw_from(n->src[0], &tenon_op_softplus)) && f->src[0] == x) {
        *m = (match){&tenon_op_mish, 1, 0};
        return true;
    }
    if ((f = affine_of(rw, u, &tenon_op_erf, &p, &q)) && tenon_rw_near(p, q) && is_poly(rw, f->src[0], x, 0, sqrt(0.5), 0, 0)) {
        *m = (match){&tenon_op_gelu, 0.5 / p, 0};
        return true;
    }
    const double k = sqrt(2 / 3.14159265358979323846);
    if ((f = affine_of(rw, u, &tenon_op_tanh, &p, &q)) && tenon_rw_near(p, q) &&
        is_poly(rw, f->src[0], x, 0, k, 0, k * 0.044715)) {
        *m = (match){&tenon_op_gelu_tanh, 0.5 / p, 0};
        return true;
    }
    return false;
}

/* ---- products ---- */
enum { FACTORS = 14 };
typedef struct factors { tenon_value *v[FACTORS]; int count; } factors;

/* The product's non-constant factors, and the products inside it. */
static void collect(tenon_rw *rw, tenon_value *v, int depth, factors *out)
{
    double c;
    const tenon_node *n = tenon_rw_from(v, NULL);
    if (v->is_const || out->count == FACTORS) return;
    if (depth) out->v[out->count++] = v;
    if (!n || depth > 2) return;
    if (n->op == &tenon_op_mul) {
        collect(rw, n->src[0], depth + 1, out);
        collect(rw, n->src[1], depth + 1, out);
    } else if (n->op == &tenon_op_div && tenon_rw_scalar(rw, n->src[1], &c)) {
        collect(rw, n->src[0], depth + 1, out);
    }
}

typedef struct product { int x_count, u_count; double scale; } product;

/* v is a product of x, u and numbers. */
static bool product_of(tenon_rw *rw, tenon_value *v, const tenon_value *x, const tenon_value *u, int depth, product *out)
{
    double c;
    if (v == x) return ++out->x_count == 1;
    if (v == u) return ++out->u_count == 1;
    if (tenon_rw_scalar(rw, v, &c)) {
        out->scale *= c;
        return true;
    }
    tenon_node *n = tenon_rw_from(v, NULL);
    if (!n || depth > 3) return false;
    tenon_rw_take(rw, n);
    if (n->op == &tenon_op_mul) return product_of(rw, n->src[0], x, u, depth + 1, out) &&
        product_of(rw, n->src[1], x, u, depth + 1, out);
    if (n->op != &tenon_op_div || !tenon_rw_scalar(rw, n->src[1], &c)) return false;
    out->scale /= c;
    return product_of(rw, n->src[0], x, u, depth + 1, out);
}

/* What lies between x and v is part of the match. */
static void take_between(tenon_rw *rw, tenon_value *v, const tenon_value *x, int depth)
{
    tenon_node *n = v == x || depth > 8 ? NULL : tenon_rw_from(v, NULL);
    if (!n || !(n->op->flags & TENON_OP_POINTWISE)) return;
    tenon_rw_take(rw, n);
    for (int i = 0; i < n->src_count; i++)
        if (n->src[i]) take_between(rw, n->src[i], x, depth + 1);
}

static tenon_status composite(tenon_rw *rw, tenon_node *n)
{
    if ((n->op != &tenon_op_mul && n->op != &tenon_op_div) || !tenon_is_float(n->dst[0]->type.dtype)) return TENON_OK;
    factors f = {.count = 0};
    match m;
    collect(rw, n->dst[0], 0, &f);
    for (int i = 0; i < f.count; i++)
        for (int k = 0; k < f.count; k++) {
            if (f.v[i] == f.v[k] || !classify(rw, f.v[i], f.v[k], &m)) continue;
            product p = {.scale = 1};
            rw->part_count = 0;
            if (!product_of(rw, n->dst[0], f.v[k], f.v[i], 0, &p) || p.x_count != 1 || p.u_count != 1 ||
                !tenon_rw_near(p.scale, m.scale)) continue;
            tenon_node *row;
            tenon_value *y;
            take_between(rw, f.v[i], f.v[k], 0);
            TENON_TRY(tenon_rw_node(rw, m.op, &f.v[k], 1, 1, &row));
            if (m.op == &tenon_op_silu && m.alpha != 1) TENON_TRY(tenon_node_set_float(rw->g, row, "alpha", m.alpha));
            TENON_TRY(tenon_rw_infer(rw, row, &y));
            return tenon_rw_done(rw, n, y, "%d operators -> %s", rw->part_count, m.op->name);
        }
    return TENON_OK;
}

/* x / (1 + exp(-x)) -> silu(x) */
static tenon_status quotient(tenon_rw *rw, tenon_node *n)
{
    double p, q;
    tenon_value *y;
    if (n->op != &tenon_op_div || n->src[1]->is_const || !tenon_is_float(n->dst[0]->type.dtype)) return TENON_OK;
    tenon_node *e = affine_of(rw, n->src[1], &tenon_op_exp, &p, &q);
    if (!e || p != 1 || q != 1 || !is_poly(rw, e->src[0], n->src[0], 0, -1, 0, 0)) return TENON_OK;
    tenon_rw_take(rw, n);
    take_between(rw, n->src[1], n->src[0], 0);
    TENON_TRY(tenon_rw_unary(rw, &tenon_op_silu, n->src[0], &y));
    return tenon_rw_done(rw, n, y, "x / (1 + exp(-x)) -> silu");
}

/* ---- hard_sigmoid: clip(a*x + b, 0, hi) * s with hi*s = 1 ---- */
static tenon_status hard_sigmoid(tenon_rw *rw, tenon_node *n)
{
    tenon_value *t = n->dst[0], *x, *y;
    double c, s = 1, a = 1, b = 0, hi;
    tenon_node *clip = n, *row;
    if (!tenon_is_float(t->type.dtype)) return TENON_OK;
    if (n->op == &tenon_op_mul && tenon_rw_with_scalar(rw, n, &t, &c)) s = c;
    else if (n->op == &tenon_op_div && tenon_rw_scalar(rw, n->src[1], &c)) s = 1 / c, t = n->src[0];
    else if (n->op != &tenon_op_clip) return TENON_OK;
    if (n->op != &tenon_op_clip) clip = tenon_rw_from(t, &tenon_op_clip);
    if (!clip || !tenon_rw_src(clip, 1) || !tenon_rw_src(clip, 2) || !tenon_rw_is_scalar(rw, clip->src[1], 0) ||
        !tenon_rw_scalar(rw, clip->src[2], &hi)) return TENON_OK;
    if (!tenon_rw_near(hi * s, 1)) return TENON_OK;
    tenon_rw_take(rw, clip);
    x = clip->src[0];
    for (int depth = 0; depth < 3; depth++) { /* t = a*x + b, from the outside in */
        tenon_node *p = tenon_rw_from(x, NULL);
        tenon_value *inner;
        if (p && p->op == &tenon_op_add && tenon_rw_with_scalar(rw, p, &inner, &c)) b += a * c;
        else if (p && p->op == &tenon_op_mul && tenon_rw_with_scalar(rw, p, &inner, &c)) a *= c;
        else break;
        tenon_rw_take(rw, p);
        x = inner;
    }
    if (x == clip->src[0]) return TENON_OK;
    TENON_TRY(tenon_rw_node(rw, &tenon_op_hard_sigmoid, &x, 1, 1, &row));
    TENON_TRY(tenon_node_set_float(rw->g, row, "alpha", a * s));
    TENON_TRY(tenon_node_set_float(rw->g, row, "beta", b * s));
    TENON_TRY(tenon_rw_infer(rw, row, &y));
    return tenon_rw_done(rw, n, y, "clip(%g*x + %g, 0, %g) * %g -> hard_sigmoid", a, b, hi, s);
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {composite, quotient, hard_sigmoid};
    return tenon_rw_each(cx, g, ACT, rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_activations = {.name = ACT, .what = "silu, gelu, hard_swish, hard_sigmoid, mish in every spelling",
    .run = run};
