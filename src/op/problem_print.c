/* SPDX-License-Identifier: Apache-2.0 */
/* Graph to problem text. Nodes are printed in their order; a node whose single result feeds only the next pointwise node is
   followed by it after '|'. Symbols and sources are numbered as they appear; t0, t1, ... name the statements that need it. */
#include "op/problem_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OLD_SYMBOLS = 256 };

typedef struct printer {
    tenon_cx *cx;
    tenon_arena *arena;
    const tenon_problem *p;
    const tenon_graph *g;
    tenon_buf b;
    tenon_dim_pool dims;                               /* symbols under their new names */
    const tenon_dim *map[MAX_OLD_SYMBOLS];             /* old symbol -> new */
    bool declared[TENON_PROBLEM_SYMBOLS];
    int src_number[TENON_PROBLEM_SRC];                 /* of the old source, -1: not printed yet */
    const tenon_node *named[TENON_PROBLEM_NODES];      /* named[i] is t<i> */
    int named_count;
    tenon_dtype dtype;                                 /* of operands without one; NONE: nothing printed yet */
    tenon_problem_order *order;
} printer;

/* ---- dimensions ---- */

static tenon_status map_symbols(printer *w, const tenon_dim *d, int depth)
{
    if (depth > 64) return TENON_FAIL(w->cx, TENON_UNSUPPORTED, "a dimension is nested too deeply");
    for (int i = 0; i < d->arg_count; i++) TENON_TRY(map_symbols(w, d->arg[i], depth + 1));
    if (d->kind != TENON_DIM_SYM) return TENON_OK;
    if (d->value >= MAX_OLD_SYMBOLS || (!w->map[d->value] && w->dims.symbol_count == TENON_PROBLEM_SYMBOLS))
        return TENON_FAIL(w->cx, TENON_UNSUPPORTED, "more symbols than a problem has (%d)", TENON_PROBLEM_SYMBOLS);
    if (w->map[d->value]) return TENON_OK;
    /* 's' is the scalar and 'x' the separator: neither is a name. One letter each, there are never more than 24. */
    static const char letters[] = "abcdefghijklmnopqrtuvwyz";
    const size_t n = w->dims.symbol_count;
    const char *name = tenon_arena_strndup(w->arena, letters + n, 1);
    if (!name) return TENON_NOMEM;
    const tenon_dim_symbol *old = &w->g->dims->symbol[d->value];
    w->order->symbol[n] = (uint8_t)d->value;
    w->order->symbol_count = (int)n + 1;
    w->map[d->value] = tenon_dim_symbol_named(&w->dims, name, old->lo, old->opt, old->hi, old->divisor);
    return w->map[d->value] ? TENON_OK : TENON_FAIL(w->cx, TENON_NOMEM, "out of memory for symbols");
}

static void print_symbol(printer *w, size_t index)
{
    const tenon_dim_symbol *s = &w->dims.symbol[index];
    tenon_buf_str(&w->b, s->name);
    if (w->declared[index]) return;
    w->declared[index] = true;
    tenon_buf_printf(&w->b, "[%" PRId64 "..%" PRId64, s->lo, s->hi);
    if (s->opt != s->hi) tenon_buf_printf(&w->b, "@%" PRId64, s->opt);
    if (s->divisor != 1) tenon_buf_printf(&w->b, "%%%" PRId64, s->divisor);
    tenon_buf_char(&w->b, ']');
}

/* In parentheses; symbols that were not declared yet are declared where they stand. */
static void print_expression(printer *w, const tenon_dim *d)
{
    tenon_buf text;
    tenon_buf_init(&text, w->cx);
    tenon_dim_print(&text, &w->dims, d);
    tenon_buf_char(&w->b, '(');
    for (const char *s = tenon_buf_cstr(&text); *s;) {
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"), index = 0;
        while (n == 1 && index < w->dims.symbol_count && *w->dims.symbol[index].name != *s) index++;
        if (n == 1 && index < w->dims.symbol_count) print_symbol(w, index);
        else if (*s != ' ') tenon_buf_bytes(&w->b, s, n ? n : 1);
        s += n ? n : 1;
    }
    tenon_buf_char(&w->b, ')');
    w->b.failed |= text.failed;
    tenon_buf_free(&text);
}

static tenon_status print_dim(printer *w, const tenon_dim *d)
{
    if (tenon_dim_is_const(d)) {
        if (d->value < 0) return TENON_FAIL(w->cx, TENON_INVALID, "a dimension of a problem is negative");
        tenon_buf_printf(&w->b, "%" PRId64, d->value);
        return TENON_OK;
    }
    TENON_TRY(map_symbols(w, d, 0));
    const tenon_dim *n = tenon_dim_copy(&w->dims, d, w->map);
    if (!n) return TENON_FAIL(w->cx, TENON_NOMEM, "out of memory for shape expressions");
    if (n->kind == TENON_DIM_SYM && !w->declared[n->value]) print_symbol(w, (size_t)n->value);
    else print_expression(w, n);
    return TENON_OK;
}

static tenon_status print_shape(printer *w, const tenon_type *t, const tenon_op *op, int index)
{
    const char *axes = op ? op->axes : NULL;
    for (int i = 0; axes && i < index; i++) axes = strchr(axes, ',') ? strchr(axes, ',') + 1 : NULL;
    const bool letters = axes && t->rank > 0 && strcspn(axes, ",") == (size_t)t->rank;
    if (t->rank < 0) return TENON_FAIL(w->cx, TENON_UNSUPPORTED, "an operand of a problem has an unknown rank");
    if (t->rank == 0) tenon_buf_char(&w->b, 's');
    for (int i = 0; i < t->rank; i++) {
        if (letters) tenon_buf_char(&w->b, axes[i]);
        else if (i > 0) tenon_buf_char(&w->b, 'x');
        TENON_TRY(print_dim(w, t->dim[i]));
    }
    return TENON_OK;
}

static void print_format(printer *w, const tenon_format *f, int rank)
{
    uint8_t order[TENON_MAX_RANK];
    tenon_format_order(f, rank, order);
    bool row = true, last = rank >= 3;
    for (int i = 0; i < rank; i++) {
        row = row && order[i] == i;
        last = last && order[i] == (i == 0 ? 0 : i == rank - 1 ? 1 : i + 1);
    }
    if (f->layout == TENON_STRIDED) tenon_buf_str(&w->b, ":any");
    else if (last && !row) tenon_buf_str(&w->b, ":cl");
    else if (!row) {
        tenon_buf_str(&w->b, ":p");
        for (int i = 0; i < rank; i++) tenon_buf_char(&w->b, (char)('0' + order[i]));
    }
    if (f->ld) tenon_buf_printf(&w->b, ":ld%" PRId64, f->ld);
    if (f->ld && f->inner > 1) tenon_buf_printf(&w->b, ".%d", f->inner);
    if (f->weight) tenon_buf_str(&w->b, ":w");
}

/* ---- operands ---- */

static void print_dtype(printer *w, tenon_dtype t)
{
    if (w->dtype == TENON_DTYPE_NONE) {
        tenon_buf_printf(&w->b, "%s,", tenon_dtype_name(t));
        w->dtype = t;
    } else if (t != w->dtype) {
        tenon_buf_printf(&w->b, "%s:", tenon_dtype_name(t));
    }
}

static void print_float(printer *w, tenon_dtype dtype, double v)
{
    char text[40] = "nan";
    for (int digits = 1; digits <= 17 && !isnan(v); digits++) { /* the shortest that reads back */
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v || (dtype != TENON_F64 && (float)strtod(text, NULL) == (float)v)) break;
    }
    tenon_buf_str(&w->b, text);
}

static void print_number(printer *w, const tenon_tensor *t, int64_t index)
{
    const int64_t at = tenon_tensor_offset(t, index);
    if (tenon_is_float(t->dtype)) print_float(w, t->dtype, tenon_tensor_get_f64(t, at));
    else if (t->dtype == TENON_U64) tenon_buf_printf(&w->b, "%" PRIu64, (uint64_t)tenon_tensor_get_i64(t, at));
    else tenon_buf_printf(&w->b, "%" PRId64, tenon_tensor_get_i64(t, at));
}

static tenon_status print_element(printer *w, const tenon_dim *d)
{
    if (!tenon_dim_is_const(d)) return print_dim(w, d);
    tenon_buf_printf(&w->b, "%" PRId64, d->value);
    return TENON_OK;
}

/* Lists of floats would need another sign between them than their exponents have. */
static tenon_status print_constant(printer *w, const tenon_node *n, int index)
{
    const tenon_value *v = n->src[index];
    const tenon_type *type = &v->type;
    const bool param = index < 32 && (n->op->params >> index & 1), single = v->data && tenon_tensor_count(v->data) == 1;
    const size_t count = v->data ? (size_t)tenon_tensor_count(v->data) : v->sym_count;
    const bool list = param && type->rank == 1 && count <= TENON_PARAM_MAX && !tenon_is_float(type->dtype);
    if ((!v->data && !(v->sym && param)) || type->dtype >= TENON_STRING || !(list || (type->rank == 0 && (single || !v->data))))
        return TENON_FAIL(w->cx, TENON_UNSUPPORTED, "constant '%s' is no scalar and no parameter: it must be a source of the problem",
                          v->name ? v->name : "");
    print_dtype(w, type->dtype);
    if (list) tenon_buf_printf(&w->b, "%zu", count);
    tenon_buf_char(&w->b, '{');
    for (size_t i = 0; i < count; i++) {
        if (i) tenon_buf_char(&w->b, '+');
        if (v->data) print_number(w, v->data, (int64_t)i);
        else TENON_TRY(print_element(w, v->sym[i]));
    }
    tenon_buf_char(&w->b, '}');
    return TENON_OK;
}

static int source_index(const printer *w, const tenon_value *v)
{
    for (int i = 0; i < w->p->src_count; i++)
        if (w->p->src[i].value == v) return i;
    return -1;
}

static void number_source(printer *w, int old)
{
    w->src_number[old] = w->order->src_count;
    w->order->src[w->order->src_count++] = (uint8_t)old;
}

static tenon_status print_result_name(printer *w, const tenon_value *v)
{
    for (int i = 0; i < w->named_count; i++) {
        const tenon_node *n = w->named[i];
        for (int k = 0; k < n->dst_count; k++) {
            if (n->dst[k] != v) continue;
            tenon_buf_printf(&w->b, "t%d", i);
            if (k > 9) return TENON_FAIL(w->cx, TENON_UNSUPPORTED, "%s has too many results for a problem", n->op->name);
            if (k > 0) tenon_buf_printf(&w->b, ".%d", k);
            return TENON_OK;
        }
    }
    return TENON_FAIL(w->cx, TENON_INVALID, "value '%s' is no source of the problem and no earlier result",
                      v->name ? v->name : "");
}

static tenon_status print_operand(printer *w, const tenon_node *n, int index, const tenon_value *previous)
{
    const tenon_value *v = n->src[index];
    if (!v) {
        tenon_buf_char(&w->b, '-');
        return TENON_OK;
    }
    if (v == previous) {
        tenon_buf_char(&w->b, '_');
        return TENON_OK;
    }
    const int old = source_index(w, v);
    if (old < 0) return v->is_const ? print_constant(w, n, index) : print_result_name(w, v);
    if (w->src_number[old] >= 0) {
        tenon_buf_printf(&w->b, "$%d", w->src_number[old]);
        return TENON_OK;
    }
    number_source(w, old);
    print_dtype(w, v->type.dtype);
    TENON_TRY(print_shape(w, &v->type, n->op, index));
    print_format(w, &w->p->src[old].format, v->type.rank);
    return TENON_OK;
}

/* ---- statements ---- */

static void print_attrs(printer *w, const tenon_node *n, bool comma)
{
    tenon_buf text;
    tenon_buf_init(&text, w->cx);
    tenon_attrs_print(&text, n, ",");
    const char *s = tenon_buf_cstr(&text);
    while (*s == ',') s++;
    if (*s && comma) tenon_buf_char(&w->b, ',');
    tenon_buf_str(&w->b, s);
    w->b.failed |= text.failed;
    tenon_buf_free(&text);
}

static bool has_attrs(printer *w, const tenon_node *n)
{
    tenon_buf text;
    tenon_buf_init(&text, w->cx);
    tenon_attrs_print(&text, n, ",");
    const bool any = text.length > 0;
    w->b.failed |= text.failed;
    tenon_buf_free(&text);
    return any;
}

static const tenon_value *only_result(const tenon_node *n) { return n->dst_count == 1 ? n->dst[0] : NULL; }

static bool is_output(const printer *w, const tenon_value *v)
{
    for (int i = 0; i < w->p->dst_count; i++)
        if (w->p->dst[i].value == v) return true;
    return false;
}

static bool used_after(const printer *w, const tenon_value *v, size_t from)
{
    for (size_t i = from; i < w->g->node_count; i++)
        for (int k = 0; k < w->g->node[i]->src_count; k++)
            if (w->g->node[i]->src[k] == v) return true;
    return false;
}

/* Node i+1 continues the statement of node i. */
static bool chains(const printer *w, size_t i)
{
    if (i + 1 >= w->g->node_count) return false;
    const tenon_node *next = w->g->node[i + 1];
    const tenon_value *v = only_result(w->g->node[i]);
    if (!v || !(next->op->flags & TENON_OP_POINTWISE) || next->dst_count != 1) return false;
    if (is_output(w, v) || used_after(w, v, i + 2)) return false;
    for (int k = 0; k < next->src_count; k++)
        if (next->src[k] == v) return true;
    return false;
}

static bool same_format(const tenon_format *a, const tenon_format *b, int rank) { return tenon_format_equal(a, b, rank); }

/* "bias" or "add": a new source that the short form gives again. */
static bool short_binary(printer *w, const tenon_node *n, const tenon_op *first, const tenon_value *previous, bool *bias)
{
    *bias = false;
    if (n->src_count != 2 || n->op->pw->arity != 2 || n->src[0] != previous || !n->src[1] || has_attrs(w, n)) return false;
    const int old = source_index(w, n->src[1]);
    if (old < 0 || w->src_number[old] >= 0) return false;
    const tenon_format *f = &w->p->src[old].format;
    tenon_type type;
    const tenon_format vector = { .layout = TENON_ROW, .weight = true };
    if (n->op == &tenon_op_add && tenon_problem_bias_type(w->g->dims, first, &previous->type, &type) &&
        tenon_type_equal(&type, &n->src[1]->type) && same_format(f, &vector, type.rank)) {
        *bias = true;
        return true;
    }
    if (w->order->src_count == 0) return false;
    const tenon_format implied = tenon_problem_implied_format(&w->p->src[w->order->src[0]].format, previous->type.rank);
    return tenon_type_equal(&previous->type, &n->src[1]->type) && same_format(f, &implied, previous->type.rank);
}

static tenon_status print_chained(printer *w, const tenon_node *n, const tenon_op *first, const tenon_value *previous)
{
    bool bias;
    if (short_binary(w, n, first, previous, &bias)) {
        number_source(w, source_index(w, n->src[1]));
        tenon_buf_str(&w->b, bias ? "bias" : n->op->name);
        return TENON_OK;
    }
    tenon_buf_str(&w->b, n->op->name);
    const bool plain = n->src_count == 1 && n->op->pw->arity != 2;
    if (plain && !has_attrs(w, n)) return TENON_OK;
    tenon_buf_char(&w->b, '(');
    for (int i = 0; !plain && i < n->src_count; i++) {
        if (i > 0) tenon_buf_char(&w->b, ',');
        TENON_TRY(print_operand(w, n, i, previous));
    }
    print_attrs(w, n, !plain);
    tenon_buf_char(&w->b, ')');
    return TENON_OK;
}

static tenon_status print_head(printer *w, const tenon_node *n)
{
    tenon_buf_printf(&w->b, "%s:", n->op->name);
    int printed = 0;
    for (int i = 0; i < n->src_count; i++, printed++) {
        if (i > 0) tenon_buf_char(&w->b, ',');
        TENON_TRY(print_operand(w, n, i, NULL));
    }
    print_attrs(w, n, printed > 0);
    if (n->dst_count != TENON_MAX(n->op->dst_min, 1)) tenon_buf_printf(&w->b, ",results=%d", n->dst_count);
    return TENON_OK;
}

/* One statement from node i; *next is the node after it. */
static tenon_status print_statement(printer *w, size_t i, size_t *next)
{
    size_t end = i;
    while (chains(w, end)) end++;
    const tenon_node *last = w->g->node[end];
    const bool final = end + 1 == w->g->node_count;
    bool wants_name = false, used = false;
    for (int k = 0; k < last->dst_count; k++) {
        if (!last->dst[k]) continue;
        const bool later = used_after(w, last->dst[k], end + 1), output = is_output(w, last->dst[k]);
        used |= later || output;
        wants_name |= later || (output && !(final && k == 0));
    }
    if (!used) return TENON_FAIL(w->cx, TENON_INVALID, "%s '%s': nobody uses its result", last->op->name,
                                 last->name ? last->name : "");
    const int name = w->named_count;
    if (wants_name) tenon_buf_printf(&w->b, "t%d=", name);
    const tenon_op *first = w->g->node[i]->op;
    TENON_TRY(print_head(w, w->g->node[i]));
    for (size_t k = i + 1; k <= end; k++) {
        tenon_buf_char(&w->b, k == i + 1 ? '|' : ',');
        TENON_TRY(print_chained(w, w->g->node[k], first, w->g->node[k - 1]->dst[0]));
    }
    if (wants_name) w->named[w->named_count++] = last;
    *next = end + 1;
    return TENON_OK;
}

static tenon_status print_results(printer *w)
{
    const tenon_problem *p = w->p;
    const tenon_value *last = w->g->node[w->g->node_count - 1]->dst[0];
    const tenon_format row = { .layout = TENON_ROW };
    if (p->dst_count == 1 && p->dst[0].value == last && same_format(&p->dst[0].format, &row, last->type.rank)) return TENON_OK;
    for (int i = 0; i < p->dst_count; i++) {
        tenon_buf_char(&w->b, i == 0 ? '>' : ',');
        if (p->dst[i].value == last) tenon_buf_char(&w->b, '_');
        else TENON_TRY(print_result_name(w, p->dst[i].value));
        print_format(w, &p->dst[i].format, p->dst[i].value->type.rank);
    }
    return TENON_OK;
}

static tenon_status print_all(printer *w)
{
    const tenon_problem *p = w->p;
    if (w->g->node_count == 0 || w->g->node_count > TENON_PROBLEM_NODES)
        return TENON_FAIL(w->cx, TENON_UNSUPPORTED, "a problem has 1 to %d operators, not %zu", TENON_PROBLEM_NODES,
                          w->g->node_count);
    if (p->src_count < 0 || p->src_count > TENON_PROBLEM_SRC || p->dst_count < 1 || p->dst_count > TENON_PROBLEM_DST)
        return TENON_FAIL(w->cx, TENON_UNSUPPORTED, "a problem has at most %d sources and 1 to %d results", TENON_PROBLEM_SRC,
                          TENON_PROBLEM_DST);
    for (int i = 0; i < TENON_PROBLEM_SRC; i++) w->src_number[i] = -1;
    for (size_t i = 0; i < w->g->node_count;) {
        if (i > 0) tenon_buf_char(&w->b, ';');
        TENON_TRY(print_statement(w, i, &i));
    }
    TENON_TRY(print_results(w));
    if (w->order->src_count != p->src_count) return TENON_FAIL(w->cx, TENON_INVALID,
                                                               "a source of the problem is used by no operator");
    return TENON_OK;
}

tenon_status tenon_problem_print(tenon_cx *cx, tenon_arena *arena, const tenon_problem *p, tenon_problem_order *order,
                                 const char **text)
{
    *text = NULL;
    memset(order, 0, sizeof *order);
    printer *w = tenon_arena_alloc(arena, sizeof *w);
    if (!w) return TENON_NOMEM;
    *w = (printer){ .cx = cx, .arena = arena, .p = p, .g = p->graph, .order = order };
    tenon_buf_init(&w->b, cx);
    tenon_dim_pool_init(&w->dims, arena);
    tenon_status status = print_all(w);
    if (status == TENON_OK) status = tenon_buf_status(&w->b);
    if (status == TENON_OK && !(*text = tenon_arena_strdup(arena, tenon_buf_cstr(&w->b)))) status = TENON_NOMEM;
    tenon_buf_free(&w->b);
    return status;
}
