/* SPDX-License-Identifier: Apache-2.0 */
/* Scaled dot-product attention, from its parts to the operator `attention`:
     softmax(scale * q k^T + mask) v          4-d (b, h, s, d) or 3-d (b*h, s, d); k transposed in any spelling
     v k^T-turned                             the transposed form  v' softmax(...)^T
   The scale may stand on the scores, on q, on k, or as its root on both. A mask is added,
       or chosen by where. `attention` gives zeros
   for a row that sees no key; the plain softmax of such a row is NaN, and exporters put where(is_nan(p), 0,
       p) behind it: so a guard is
   taken in exactly, and without one only rows that were NaN change. A finite minimum in the mask stays additive,
       as it was.            */
#include "pass/pass.h"
#include "pass/rewrite.h"

#include <math.h>

#define ATTENTION "attention"

typedef struct match {
    tenon_value *q, *k, *v, *mask;
    double scale;
    bool turned;                 /* the result is (b, h, dv, s) */
    tenon_node *inner[24];       /* nodes that disappear: their results must not be wanted elsewhere */
    int inner_count;
    const char *why;             /* it stopped here */
    const tenon_value *what;
} match;

static bool keep(match *m, tenon_node *n)
{
    if (m->inner_count == (int)TENON_COUNTOF(m->inner)) return false;
    m->inner[m->inner_count++] = n;
    return true;
}

static bool swaps_last_two(const tenon_node *n)
{
    int64_t perm[TENON_MAX_RANK];
    const int rank = n->src[0]->type.rank;
    if (rank < 2) return false;
    tenon_rw_perm(n, perm);
    for (int i = 0; i + 2 < rank; i++)
        if (perm[i] != i) return false;
    return perm[rank - 2] == rank - 1;
}

static tenon_status swapped(tenon_rw *rw, tenon_value *x, tenon_value **out)
{
    int64_t perm[TENON_MAX_RANK];
    const int rank = x->type.rank;
    const tenon_node *n = tenon_rw_from(x, &tenon_op_transpose);
    if (n && swaps_last_two(n)) {
        *out = n->src[0];
        return TENON_OK;
    }
    for (int i = 0; i < rank; i++) perm[i] = i;
    perm[rank - 2] = rank - 1;
    perm[rank - 1] = rank - 2;
    return tenon_rw_transpose(rw, x, perm, out);
}

/* where(is_nan(p), 0, p) -> p */
static tenon_node *unguarded(tenon_rw *rw, tenon_value *v, match *m)
{
    tenon_node *n = tenon_rw_from(v, NULL);
    if (!n || n->op != &tenon_op_where) return n;
    tenon_node *nan = tenon_rw_from(n->src[0], &tenon_op_is_nan);
    if (!nan || nan->src[0] != n->src[2] || !tenon_rw_is_scalar(rw, n->src[1], 0) || !keep(m, n) || !keep(m, nan)) return NULL;
    return tenon_rw_from(n->src[2], NULL);
}

/* The softmax over the last axis behind v. */
static tenon_node *softmax_of(tenon_rw *rw, tenon_value *v, match *m)
{
    tenon_node *n = unguarded(rw, v, m);
    if (!n || n->op != &tenon_op_softmax) return NULL;
    const int64_t axis = tenon_node_int(n, "axis");
    return (axis == -1 || axis == n->src[0]->type.rank - 1) && keep(m, n) ? n : NULL;
}

static bool leads(tenon_rw *rw, tenon_value *v, int *budget)
{
    double c;
    tenon_value *x;
    tenon_node *n = tenon_rw_from(v, NULL);
    if (!n || --*budget < 0) return false;
    if (n->op == &tenon_op_matmul) return true;
    if (n->op == &tenon_op_mul && tenon_rw_with_scalar(rw, n, &x, &c)) return leads(rw, x, budget);
    if (n->op == &tenon_op_div && tenon_rw_scalar(rw, n->src[1], &c)) return leads(rw, n->src[0], budget);
    if (n->op == &tenon_op_add) return leads(rw, n->src[0], budget) || leads(rw, n->src[1], budget);
    return n->op == &tenon_op_where && leads(rw, n->src[1], budget);
}

static bool leads_to_product(tenon_rw *rw, tenon_value *v)
{
    int budget = 32;
    return leads(rw, v, &budget);
}

static tenon_status add_mask(tenon_rw *rw, match *m, tenon_value *mask)
{
    if (!m->mask) {
        m->mask = mask;
        return TENON_OK;
    }
    return tenon_rw_binary(rw, &tenon_op_add, m->mask, mask, &m->mask);
}

/* where(c, scores, low): c itself when low is minus infinity, else the sum where(c, 0, low); then low must swallow any score. */
static tenon_status choose_mask(tenon_rw *rw, match *m, const tenon_node *n, bool *ok)
{
    double low;
    tenon_value *zero, *mask;
    *ok = tenon_rw_scalar(rw, n->src[2], &low) && low <= -1e30;
    if (!*ok) return TENON_OK;
    TENON_TRY(tenon_rw_number(rw, n->src[2]->type.dtype, 0, &zero));
    TENON_TRY(tenon_rw_op(rw, &tenon_op_where, (tenon_value *[]){n->src[0], zero, n->src[2]}, 3, &mask));
    return add_mask(rw, m, isinf(low) && !m->mask ? n->src[0] : mask);
}

/* From the softmax's source inwards: masks, then the scale, then q k^T. NULL with m->why. */
static tenon_status product_of(tenon_rw *rw, match *m, tenon_value *v, tenon_node **out)
{
    double c;
    tenon_value *x;
    bool ok = true, boolean = false;
    *out = NULL;
    for (int depth = 0; depth < 8; depth++) {
        tenon_node *n = tenon_rw_from(v, NULL);
        m->what = v;
        m->why = "nothing known makes the scores";
        if (!n || !keep(m, n)) return TENON_OK;
        if (n->op == &tenon_op_matmul) {
            m->why = NULL;
            *out = n;
            return TENON_OK;
        }
        if (n->op == &tenon_op_mul && tenon_rw_with_scalar(rw, n, &x, &c)) m->scale *= c;
        else if (n->op == &tenon_op_div && tenon_rw_scalar(rw, n->src[1], &c)) m->scale /= c, x = n->src[0];
        else if ((n->op == &tenon_op_add || n->op == &tenon_op_where) && m->scale != 1) {
            m->why = "the mask is scaled too";
            return TENON_OK;
        } else if (n->op == &tenon_op_add && leads_to_product(rw, n->dst[0]) && !boolean) {
            const int side = leads_to_product(rw, n->src[0]) ? 0 : 1;
            x = n->src[side];
            TENON_TRY(add_mask(rw, m, n->src[1 - side]));
        } else if (n->op == &tenon_op_where && !boolean && leads_to_product(rw, n->src[1])) {
            TENON_TRY(choose_mask(rw, m, n, &ok));
            m->why = "a where puts in a number that does not hide";
            if (!ok) return TENON_OK;
            boolean = m->mask->type.dtype == TENON_BOOL;
            x = n->src[1];
        } else return TENON_OK;
        v = x;
    }
    return TENON_OK;
}

/* v without the scalar factors on it, also behind transposes and reshapes. */
static tenon_status unscaled(tenon_rw *rw, tenon_value *v, int depth, double *scale, tenon_value **out)
{
    double c;
    tenon_value *x;
    tenon_node *n = tenon_rw_from(v, NULL), *like;
    *out = v;
    if (!n || depth > 5) return TENON_OK;
    if (n->op == &tenon_op_mul && tenon_rw_with_scalar(rw, n, &x, &c) && tenon_type_equal(&x->type, &v->type)) {
        *scale *= c;
        tenon_rw_take(rw, n);
        return unscaled(rw, x, depth + 1, scale, out);
    }
    if (n->op == &tenon_op_div && tenon_rw_scalar(rw, n->src[1], &c) && tenon_type_equal(&n->src[0]->type, &v->type)) {
        *scale /= c;
        tenon_rw_take(rw, n);
        return unscaled(rw, n->src[0], depth + 1, scale, out);
    }
    if (n->op != &tenon_op_transpose && n->op != &tenon_op_reshape) return TENON_OK;
    TENON_TRY(unscaled(rw, n->src[0], depth + 1, scale, &x));
    if (x == n->src[0]) return TENON_OK;
    TENON_TRY(tenon_rw_like(rw, n, (tenon_value *[]){x, tenon_rw_src(n, 1)}, n->src_count, &like));
    return tenon_rw_infer(rw, like, out);
}

/* (b*h, s, d) -> (b*h, 1, s, d) */
static tenon_status with_heads(tenon_rw *rw, tenon_value **v)
{
    const tenon_type *t = &(*v)->type;
    const tenon_dim *one = tenon_dim_const(rw->g->dims, 1);
    if (!one) return TENON_NOMEM;
    return tenon_rw_reshape(rw, *v, 4, (const tenon_dim *[]){t->dim[0], one, t->dim[1], t->dim[2]}, v);
}

static const char *unfit(const match *m)
{
    const tenon_type *q = &m->q->type, *k = &m->k->type, *v = &m->v->type;
    if (q->rank != k->rank || q->rank != v->rank || q->rank < 3 || q->rank > 4)
        return "q, k and v are not all of rank 3 or of rank 4";
    for (int i = 0; i + 2 < q->rank; i++)
        if (q->dim[i] != k->dim[i] || q->dim[i] != v->dim[i]) return "q, k and v have different batches or heads";
    const int r = q->rank;
    if (k->dim[r - 2] != v->dim[r - 2] || q->dim[r - 1] != k->dim[r - 1]) return "the sizes of q, k and v do not fit";
    if (m->mask && m->mask->type.rank > r) return "the mask has more axes than the scores";
    return NULL;
}

/* A matched node whose result somebody else wants; NULL: none. */
static const tenon_value *wanted_elsewhere(const tenon_rw *rw, const match *m, const tenon_node *last)
{
    for (int i = 0; i < m->inner_count; i++) {
        const tenon_value *v = m->inner[i]->dst[0];
        if (tenon_rw_is_output(rw->g, v)) return v;
        for (size_t u = 0; u < v->use_count; u++) {
            const tenon_node *user = v->use[u].node;
            bool inside = user == last || (user && user->dead);
            for (int k = 0; k < m->inner_count && !inside; k++) inside = user == m->inner[k];
            if (!inside) return v;
        }
    }
    return NULL;
}

static tenon_status find(tenon_rw *rw, tenon_node *n, match *m, bool *found)
{
    tenon_node *s = softmax_of(rw, n->src[0], m), *product, *turn;
    *found = false;
    m->v = n->src[1];
    if (!s) {
        m->inner_count = 0;
        turn = tenon_rw_from(n->src[1], &tenon_op_transpose);
        if (!turn || !swaps_last_two(turn) || !keep(m, turn) || !(s = softmax_of(rw, turn->src[0], m))) return TENON_OK;
        m->turned = true;
        TENON_TRY(swapped(rw, n->src[0], &m->v));
    }
    *found = true;
    m->scale = 1;
    TENON_TRY(product_of(rw, m, s->src[0], &product));
    if (!product) return TENON_OK;
    TENON_TRY(unscaled(rw, product->src[0], 0, &m->scale, &m->q));
    TENON_TRY(unscaled(rw, product->src[1], 0, &m->scale, &m->k));
    if (m->k->type.rank < 2 || m->q->type.rank < 2) return TENON_OK;
    return swapped(rw, m->k, &m->k);
}

static tenon_status recognise(tenon_rw *rw, tenon_node *n)
{
    match m = {.why = NULL};
    bool found;
    if (n->op != &tenon_op_matmul || !tenon_is_float(n->dst[0]->type.dtype) || n->dst[0]->type.rank < 3) return TENON_OK;
    TENON_TRY(find(rw, n, &m, &found));
    if (!found) return TENON_OK;
    if (m.why) return tenon_event_blocked(rw->g, ATTENTION, n, "blocked by '%s' because %s", m.what->name, m.why);
    const char *why = unfit(&m);
    if (why) return tenon_event_blocked(rw->g, ATTENTION, n, "blocked by '%s' because %s", m.q->name, why);
    const tenon_value *other = wanted_elsewhere(rw, &m, n);
    if (other) return tenon_event_blocked(rw->g, ATTENTION, n,
        "blocked by a second use of '%s' because attention does not give it", other->name);
    for (int i = 0; i < m.inner_count; i++) tenon_rw_take(rw, m.inner[i]);
    tenon_rw_take(rw, n);
    tenon_value *src[4] = {m.q, m.k, m.v, m.mask}, *y;
    const bool flat = m.q->type.rank == 3;
    for (int i = 0; i < 3 && flat; i++) TENON_TRY(with_heads(rw, &src[i]));
    if (flat && m.mask && m.mask->type.rank == 3) TENON_TRY(with_heads(rw, &src[3]));
    tenon_node *a;
    TENON_TRY(tenon_rw_node(rw, &tenon_op_attention, src, m.mask ? 4 : 3, 1, &a));
    TENON_TRY(tenon_node_set_float(rw->g, a, "scale", m.scale));
    TENON_TRY(tenon_rw_infer(rw, a, &y));
    const tenon_type *t = &y->type;
    if (flat) TENON_TRY(tenon_rw_reshape(rw, y, 3, (const tenon_dim *[]){t->dim[0], t->dim[2], t->dim[3]}, &y));
    if (m.turned) TENON_TRY(swapped(rw, y, &y));
    return tenon_rw_done(rw, n, y, "softmax(%g * q k^T%s) v -> attention", m.scale, !m.mask ? ""
        : m.mask->type.dtype == TENON_BOOL ? ", bool mask" : " + mask");
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {recognise};
    return tenon_rw_each(cx, g, ATTENTION, rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_attention = {.name = ATTENTION, .what = "scaled dot-product attention from its parts", .run = run};
