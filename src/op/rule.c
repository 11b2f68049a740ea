/* SPDX-License-Identifier: Apache-2.0 */
/* What infer rules of the anchors share; contracts in rule.h. */
#include "op/rule.h"

#include "base/checked.h"

#include <stdio.h>
#include <string.h>

const char *tenon_rule_dim(const tenon_graph *g, const tenon_dim *d, tenon_rule_text *text)
{
    tenon_buf b;
    tenon_buf_init(&b, g->cx);
    if (d) tenon_dim_print(&b, g->dims, d);
    snprintf(text->s, sizeof text->s, "%s", d && !b.failed ? tenon_buf_cstr(&b) : "?");
    tenon_buf_free(&b);
    return text->s;
}

const char *tenon_rule_shape(const tenon_graph *g, const tenon_type *t, tenon_rule_text *text)
{
    size_t used = (size_t)snprintf(text->s, sizeof text->s, "(");
    for (int i = 0; i < t->rank && used < sizeof text->s; i++) {
        tenon_rule_text dim;
        const int more =
            snprintf(text->s + used, sizeof text->s - used, "%s%s", i ? ", " : "", tenon_rule_dim(g, t->dim[i], &dim));
        used += more > 0 ? (size_t)more : 0;
    }
    if (used < sizeof text->s) snprintf(text->s + used, sizeof text->s - used, ")");
    return text->s;
}

tenon_status tenon_rule_rank(tenon_cx *cx, const tenon_node *n, int i, const char *letter, int lo, int hi)
{
    const tenon_type *t = tenon_rule_type(n, i);
    if (!t) return TENON_FAIL(cx, TENON_INVALID, "%s (source %d) is missing", letter, i);
    if (t->rank < 0) return TENON_FAIL(cx, TENON_UNSUPPORTED, "the rank of %s is not known at build", letter);
    if (t->rank < lo || t->rank > hi) {
        if (lo == hi) return TENON_FAIL(cx, TENON_INVALID, "rank of %s is %d, must be %d", letter, t->rank, lo);
        return TENON_FAIL(cx, TENON_INVALID, "rank of %s is %d, must be %d to %d", letter, t->rank, lo, hi);
    }
    return TENON_OK;
}

tenon_status tenon_rule_float(tenon_cx *cx, const tenon_node *n, int i, const char *letter)
{
    const tenon_dtype t = tenon_rule_type(n, i)->dtype;
    if (tenon_is_float(t)) return TENON_OK;
    return TENON_FAIL(cx, TENON_INVALID, "type of %s is %s, must be a float", letter, tenon_dtype_get(t)->name);
}

tenon_status tenon_rule_number(tenon_cx *cx, const tenon_node *n, int i, const char *letter)
{
    const tenon_dtype t = tenon_rule_type(n, i)->dtype;
    if (tenon_is_float(t) || tenon_is_int(t)) return TENON_OK;
    return TENON_FAIL(cx, TENON_INVALID, "type of %s is %s, must be a number", letter, tenon_dtype_get(t)->name);
}

tenon_status tenon_rule_same_type(tenon_cx *cx, const tenon_node *n, int i, int j)
{
    const tenon_type *a = tenon_rule_type(n, i), *b = tenon_rule_type(n, j);
    if (!a || !b || a->dtype == b->dtype) return TENON_OK;
    return TENON_FAIL(cx, TENON_INVALID, "source %d is %s, source %d is %s", i, tenon_dtype_get(a->dtype)->name,
                      j, tenon_dtype_get(b->dtype)->name);
}

tenon_status tenon_rule_equal(tenon_cx *cx, const tenon_graph *g, const char *what_a, const tenon_dim *a,
                              const char *what_b, const tenon_dim *b)
{
    if (!a || !b) return TENON_NOMEM;
    if (a == b) return TENON_OK;
    const tenon_dim *equal = tenon_dim_eq(g->dims, a, b);
    if (!equal) return TENON_NOMEM;
    if (tenon_dim_is(equal, 1)) return TENON_OK;
    tenon_rule_text ta, tb;
    tenon_rule_dim(g, a, &ta);
    tenon_rule_dim(g, b, &tb);
    return TENON_FAIL(cx, TENON_INVALID, "%s is %s, %s is %s%s", what_a, ta.s, what_b, tb.s,
                      tenon_dim_is(equal, 0) ? "" : ", not provably equal");
}

tenon_status tenon_rule_vector(tenon_cx *cx, const tenon_graph *g, const tenon_node *n, int i, const char *letter,
                               const tenon_dim *dim)
{
    if (!tenon_rule_src(n, i)) return TENON_OK;
    TENON_TRY(tenon_rule_rank(cx, n, i, letter, 1, 1));
    return tenon_rule_equal(cx, g, letter, tenon_rule_type(n, i)->dim[0], "the axis it belongs to", dim);
}

tenon_status tenon_rule_broadcasts(tenon_cx *cx, const tenon_graph *g, const char *letter,
                                   const tenon_type *t, const tenon_type *to)
{
    bool fits = t->rank >= 0 && t->rank <= to->rank;
    for (int i = 0; fits && i < t->rank; i++) {
        const tenon_dim *a = t->dim[i], *b = to->dim[to->rank - t->rank + i];
        fits = a == b || tenon_dim_is(a, 1);
    }
    if (fits) return TENON_OK;
    tenon_rule_text ta, tb;
    tenon_rule_shape(g, t, &ta);
    tenon_rule_shape(g, to, &tb);
    return TENON_FAIL(cx, TENON_INVALID, "%s of shape %s does not broadcast to %s", letter, ta.s, tb.s);
}

tenon_status tenon_rule_list(tenon_cx *cx, tenon_graph *g, const tenon_node *n, const char *attr, int src, int64_t *out, int max,
                             int *count)
{
    *count = -1;
    const tenon_attr *a = tenon_node_attr(n, attr);
    const tenon_value *v = src >= 0 ? tenon_rule_src(n, src) : NULL;
    size_t length = a->count;
    const tenon_dim *const *sym = NULL;
    if (!a->set) {
        if (!v) return TENON_OK;
        sym = tenon_infer_contents(g, v, &length);
        if (!sym) return TENON_FAIL(cx, TENON_UNSUPPORTED, "%s must be known at build", attr);
    }
    if (length > (size_t)max)
        return TENON_FAIL(cx, TENON_INVALID, "%s has %zu entries, at most %d", attr, length, max);
    for (size_t i = 0; i < length; i++) {
        if (sym && !tenon_dim_is_const(sym[i]))
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "%s must be constant", attr);
        out[i] = sym ? sym[i]->value : a->ints[i];
    }
    *count = (int)length;
    return TENON_OK;
}

tenon_status tenon_rule_weight_dims(tenon_cx *cx, const tenon_node *n, int lo, int hi, int64_t *dim)
{
    TENON_TRY(tenon_rule_rank(cx, n, 0, "weight", lo, hi));
    const tenon_type *w = tenon_rule_type(n, 0);
    for (int i = 0; i < w->rank; i++) {
        if (!tenon_dim_is_const(w->dim[i]))
            return TENON_FAIL(cx, TENON_INVALID, "%s: the weight's shape is not constant", n->op->name);
        dim[i] = w->dim[i]->value;
    }
    return TENON_OK;
}

tenon_status tenon_rule_packed(tenon_cx *cx, tenon_graph *g, tenon_node *n, tenon_dtype dtype, const int64_t *size, int sizes)
{
    int64_t count;
    if (!tenon_product(size, sizes, &count)) return TENON_FAIL(cx, TENON_INVALID, "%s: the weight is too large", n->op->name);
    const tenon_dim *all = tenon_dim_const(g->dims, count);
    if (!all) return TENON_NOMEM;
    tenon_infer_set(n, 0, dtype, 1, &all);
    return TENON_OK;
}

tenon_status tenon_rule_word(tenon_cx *cx, const tenon_node *n, const char *attr, const char *const *words, int *out)
{
    const char *s = tenon_node_attr(n, attr)->s;
    for (int i = 0; words[i]; i++)
        if (s && !strcmp(s, words[i])) {
            *out = i;
            return TENON_OK;
        }
    return TENON_FAIL(cx, TENON_INVALID, "%s '%s' is not known", attr, s ? s : "");
}
