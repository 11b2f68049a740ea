/* SPDX-License-Identifier: Apache-2.0 */
/* Problem text to graph. One pass over statements and items; every count is bounded and every message says where. */
#include "op/problem_text.h"

#include "base/checked.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 1 << 16, MAX_ITEMS = 64, MAX_NAMES = 64, MAX_EXPRESSION = 512, DEPTH = 16 };

typedef struct span { const char *s; size_t n; } span;

typedef struct reader {
    tenon_cx *cx;
    tenon_graph *g;
    tenon_problem *p;
    const char *text;
    tenon_dtype dtype;                            /* of operands without one */
    int name_count;
    struct { span name; tenon_node *node; } name[MAX_NAMES];
    tenon_node *last;
} reader;

#define FAIL(r, at, what, ...)                                                                                              \
    TENON_FAIL((r)->cx, TENON_INVALID, "problem, character %zu: " what, (size_t)((at) - (r)->text) + 1, __VA_ARGS__)

static bool span_is(span t, const char *s) { return strlen(s) == t.n && memcmp(t.s, s, t.n) == 0; }
static bool word_char(char c) { return isalnum((unsigned char)c) || c == '_'; }
static bool digit(char c) { return c >= '0' && c <= '9'; }
static size_t word_length(const char *s, const char *end)
{
    const char *p = s;
    while (p < end && word_char(*p)) p++;
    return (size_t)(p - s);
}

/* Up to the first of `stop` outside brackets and quotes; brackets are not matched by kind, only counted. */
static span take(const char *s, const char *end, const char *stop)
{
    int depth = 0;
    bool quoted = false;
    const char *p = s;
    for (; p < end; p++) {
        if (*p == '"') quoted = !quoted;
        if (quoted) continue;
        if (depth == 0 && strchr(stop, *p)) break;
        if (*p == '(' || *p == '[' || *p == '{') depth++;
        if ((*p == ')' || *p == ']' || *p == '}') && depth > 0) depth--;
    }
    return (span){ s, (size_t)(p - s) };
}

static tenon_status number(reader *r, const char **s, const char *end, int64_t *out)
{
    const char *p = *s;
    int64_t v = 0;
    if (p == end || !digit(*p)) return FAIL(r, p, "a number is missing%s", "");
    for (; p < end && digit(*p); p++) {
        v = v * 10 + (*p - '0');
        if (v > TENON_DIM_HUGE) return FAIL(r, *s, "the number is larger than %lld", (long long)TENON_DIM_HUGE);
    }
    *s = p;
    *out = v;
    return TENON_OK;
}

/* ---- dimensions ---- */

static const tenon_dim *symbol_find(const tenon_dim_pool *pool, span name)
{
    for (size_t i = 0; i < pool->symbol_count; i++)
        if (span_is(name, pool->symbol[i].name)) return pool->symbol[i].dim;
    return NULL;
}

/* "[lo..hi@opt%divisor]" after the name. */
static tenon_status declare(reader *r, span name, const char **s, const char *end, const tenon_dim **out)
{
    tenon_dim_pool *pool = r->g->dims;
    int64_t lo, hi, opt, divisor = 1;
    const char *p = *s + 1;
    TENON_TRY(number(r, &p, end, &lo));
    if (end - p < 2 || p[0] != '.' || p[1] != '.') return FAIL(r, p, "'..' is missing in the range of '%.*s'", (int)name.n,
                                                               name.s);
    p += 2;
    TENON_TRY(number(r, &p, end, &hi));
    opt = hi;
    if (p < end && *p == '@') { p++; TENON_TRY(number(r, &p, end, &opt)); }
    if (p < end && *p == '%') { p++; TENON_TRY(number(r, &p, end, &divisor)); }
    if (p == end || *p != ']') return FAIL(r, p, "']' is missing after the range of '%.*s'", (int)name.n, name.s);
    if (lo > opt || opt > hi || divisor < 1) return FAIL(r, *s, "the range of '%.*s' is not lo <= opt <= hi", (int)name.n,
                                                         name.s);
    if (isdigit((unsigned char)name.s[0]) || name.n > 32) return FAIL(r, name.s, "'%.*s' is no name", (int)TENON_MIN(name.n,
                                                                                                                     32), name.s);
    if (symbol_find(pool, name)) return FAIL(r, name.s, "'%.*s' is declared twice", (int)name.n, name.s);
    if (pool->symbol_count >= TENON_PROBLEM_SYMBOLS) return FAIL(r, name.s, "more than %d symbols", TENON_PROBLEM_SYMBOLS);
    const char *copy = tenon_arena_strndup(r->g->arena, name.s, name.n);
    if (!copy) return TENON_NOMEM;
    *out = tenon_dim_symbol_named(pool, copy, lo, opt, hi, divisor);
    if (!*out) return TENON_FAIL(r->cx, TENON_NOMEM, "out of memory for symbols");
    *s = p + 1;
    return TENON_OK;
}

/* The inside of parentheses: declarations are taken out, the rest is an expression. */
static tenon_status expression(reader *r, span t, const tenon_dim **out)
{
    char plain[MAX_EXPRESSION];
    size_t n = 0;
    const char *end = t.s + t.n;
    int depth = 0;
    for (const char *p = t.s; p < end;) {
        const size_t word = word_length(p, end);
        const size_t step = word ? word : 1;
        if (n + step >= sizeof plain) return FAIL(r, t.s, "the expression is longer than %d characters", MAX_EXPRESSION);
        memcpy(plain + n, p, step);
        n += step;
        depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
        if (depth > DEPTH) return FAIL(r, p, "the expression is nested too deeply%s", "");
        p += step;
        if (word && p < end && *p == '[') {
            const tenon_dim *declared;
            TENON_TRY(declare(r, (span){ p - word, word }, &p, end, &declared));
        }
    }
    const tenon_status status = tenon_dim_parse(r->cx, r->g->dims, plain, n, out);
    if (status != TENON_OK) return tenon_fail_in(r->cx, status, "problem, character %zu: ", (size_t)(t.s - r->text) + 1);
    return *out ? TENON_OK : TENON_FAIL(r->cx, TENON_NOMEM, "out of memory for shape expressions");
}

static bool dim_starts(const char *s, const char *end)
{
    if (s == end) return false;
    if (digit(*s) || *s == '(') return true;
    const size_t n = word_length(s, end);
    return n > 0 && s + n < end && s[n] == '[';
}

static tenon_status dim(reader *r, const char **s, const char *end, const tenon_dim **out)
{
    const char *p = *s;
    if (p < end && digit(*p)) {
        int64_t v;
        TENON_TRY(number(r, s, end, &v));
        *out = tenon_dim_const(r->g->dims, v);
        return *out ? TENON_OK : TENON_FAIL(r->cx, TENON_NOMEM, "out of memory for shape expressions");
    }
    if (p < end && *p == '(') {
        int depth = 0;
        const char *q = p;
        for (; q < end; q++) {
            depth += *q == '(' ? 1 : *q == ')' ? -1 : 0;
            if (depth == 0) break;
        }
        if (q == end) return FAIL(r, p, "')' is missing%s", "");
        TENON_TRY(expression(r, (span){ p + 1, (size_t)(q - p) - 1 }, out));
        *s = q + 1;
        return TENON_OK;
    }
    const size_t n = word_length(p, end);
    if (n == 0 || p + n == end || p[n] != '[') return FAIL(r, p, "a dimension is missing%s", "");
    *s = p + n;
    return declare(r, (span){ p, n }, s, end, out);
}

/* Letters of the axes of source `index`; empty when the operator has none. */
static span axes_of(const tenon_op *op, int index)
{
    const char *s = op ? op->axes : NULL;
    for (int i = 0; s && i < index; i++) s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL;
    return s ? (span){ s, strcspn(s, ",") } : (span){ "", 0 };
}

static tenon_status shape(reader *r, span t, span axes, tenon_type *out)
{
    const char *s = t.s, *end = t.s + t.n;
    out->rank = 0;
    if (span_is(t, "s")) return TENON_OK;
    const bool letters = axes.n > 0 && t.n > 1 && *s == axes.s[0] && dim_starts(s + 1, end);
    while (s < end) {
        if (out->rank == TENON_MAX_RANK) return FAIL(r, s, "more than %d dimensions", TENON_MAX_RANK);
        if (letters) {
            if ((size_t)out->rank >= axes.n || *s != axes.s[out->rank]) return FAIL(r, s, "the axes are '%.*s'", (int)axes.n,
                                                                                    axes.s);
            s++;
        } else if (out->rank > 0) {
            if (*s != 'x') return FAIL(r, s, "'%.*s' is no shape and no name", (int)TENON_MIN(t.n, 40), t.s);
            s++;
        }
        TENON_TRY(dim(r, &s, end, &out->dim[out->rank]));
        out->rank++;
    }
    if (out->rank == 0 || (letters && (size_t)out->rank != axes.n)) return FAIL(r, t.s, "the shape is not complete%s", "");
    return TENON_OK;
}

/* ---- formats ---- */

static tenon_status format_order(reader *r, span t, int rank, tenon_format *f)
{
    unsigned seen = 0;
    if ((int)t.n != rank) return FAIL(r, t.s, "an order of %d axes is needed", rank);
    for (int i = 0; i < rank; i++) {
        const int axis = t.s[i] - '0';
        if (axis < 0 || axis >= rank || (seen & 1u << axis)) return FAIL(r, t.s, "'%.*s' is no order of the axes", (int)t.n, t.s);
        seen |= 1u << axis;
        f->order[i] = (uint8_t)axis;
    }
    f->layout = TENON_ORDER;
    return TENON_OK;
}

/* The pitch holds what lies inside it, over the whole range. A size that depends on data (what pads add is not in the text) is
   compared when operands are bound. */
static tenon_status format_check(reader *r, const char *at, const tenon_type *t, const tenon_format *f)
{
    if (!f->ld) return TENON_OK;
    if (f->layout == TENON_STRIDED) return FAIL(r, at, "':any' has no pitch%s", "");
    uint8_t order[TENON_MAX_RANK];
    const int inner = f->inner ? f->inner : 1;
    int64_t need = 1;
    if (inner >= t->rank) return FAIL(r, at, "a pitch of %d inner axes needs a larger rank", inner);
    tenon_format_order(f, t->rank, order);
    for (int i = 0; i < inner; i++) {
        const tenon_dim *d = t->dim[order[t->rank - 1 - i]];
        if (!tenon_mul_i64(need, tenon_dim_depends_on_data(r->g->dims, d) ? d->lo : d->hi, &need)) need = INT64_MAX;
    }
    if (need > f->ld) return FAIL(r, at, "the pitch %lld is smaller than what lies inside it", (long long)f->ld);
    return TENON_OK;
}

/* Everything after the shape: (':' fmt)*. */
static tenon_status formats(reader *r, span t, const tenon_type *type, bool weight_allowed, tenon_format *f)
{
    const char *s = t.s, *end = t.s + t.n;
    while (s < end) {
        if (*s != ':') return FAIL(r, s, "':' is missing before '%.*s'", (int)TENON_MIN((size_t)(end - s), 16), s);
        const span one = take(s + 1, end, ":");
        s = one.s + one.n;
        if (span_is(one, "cl")) {
            if (type->rank < 3) return FAIL(r, one.s, "channels-last needs rank 3, has %d", type->rank);
            f->layout = TENON_CLAST;
        } else if (span_is(one, "any")) {
            f->layout = TENON_STRIDED;
        } else if (span_is(one, "w") && weight_allowed) {
            f->weight = true;
        } else if (one.n > 1 && one.s[0] == 'p') {
            TENON_TRY(format_order(r, (span){ one.s + 1, one.n - 1 }, type->rank, f));
        } else if (one.n > 2 && one.s[0] == 'l' && one.s[1] == 'd') {
            const char *p = one.s + 2;
            int64_t inner = 1;
            TENON_TRY(number(r, &p, s, &f->ld));
            if (p < s && *p == '.') { p++; TENON_TRY(number(r, &p, s, &inner)); }
            if (p != s || f->ld < 1 || inner < 1 || inner >= TENON_MAX_RANK)
                return FAIL(r, one.s, "the pitch is not ':ld' number ['.' axes]%s", "");
            f->inner = inner == 1 ? 0 : (uint8_t)inner;
        } else {
            return FAIL(r, one.s, "unknown format ':%.*s'", (int)TENON_MIN(one.n, 16), one.s);
        }
    }
    return format_check(r, t.s, type, f);
}

/* ---- operands ---- */

static tenon_status list_add(tenon_graph *g, tenon_value ***list, size_t *count, size_t *capacity, tenon_value *v)
{
    TENON_TRY(tenon_arena_grow(g->arena, (void **)list, capacity, *count + 1, sizeof **list));
    (*list)[(*count)++] = v;
    return TENON_OK;
}

static tenon_status add_source(reader *r, const char *at, const tenon_type *type, const tenon_format *f, tenon_value **out)
{
    tenon_problem *p = r->p;
    if (p->src_count == TENON_PROBLEM_SRC) return FAIL(r, at, "more than %d sources", TENON_PROBLEM_SRC);
    TENON_TRY(tenon_graph_value(r->g, "x", type, out));
    TENON_TRY(list_add(r->g, &r->g->input, &r->g->input_count, &r->g->input_capacity, *out));
    p->src[p->src_count++] = (tenon_operand){ *out, *f };
    return TENON_OK;
}

static tenon_status element(reader *r, span t, const tenon_tensor *to, int64_t index)
{
    char text[64], *end;
    if (t.n == 0 || t.n >= sizeof text) return FAIL(r, t.s, "a number of a constant is missing%s", "");
    memcpy(text, t.s, t.n);
    text[t.n] = '\0';
    if (tenon_is_float(to->dtype)) tenon_tensor_set_f64(to, index, strtod(text, &end));
    else if (to->dtype == TENON_U64) tenon_tensor_set_i64(to, index, (int64_t)strtoull(text, &end, 10));
    else tenon_tensor_set_i64(to, index, (int64_t)strtoll(text, &end, 10));
    if (end == text || *end != '\0') return FAIL(r, t.s, "'%s' is no number", text);
    return TENON_OK;
}

/* An element that is no number: an expression of symbols, as a dimension is written. */
static bool is_expression(span t) { return t.n > 0 && (*t.s == '(' || memchr(t.s, '[', t.n)); }

static tenon_status expressions(reader *r, const span *each, int64_t count, const tenon_type *type, tenon_value **out)
{
    const tenon_dim **sym = tenon_arena_array(r->g->arena, (size_t)count + 1, sizeof *sym);
    if (!sym) return TENON_NOMEM;
    if (type->dtype != TENON_I64) return FAIL(r, each[0].s, "only i64 is reckoned from symbols%s", "");
    for (int64_t i = 0; i < count; i++) {
        const char *s = each[i].s;
        int64_t v = 0;
        if (is_expression(each[i])) {
            TENON_TRY(dim(r, &s, each[i].s + each[i].n, &sym[i]));
            if (s != each[i].s + each[i].n) return FAIL(r, s, "'+' is missing in a constant%s", "");
            continue;
        }
        const tenon_tensor one = { .dtype = TENON_I64, .data = &v };
        TENON_TRY(element(r, each[i], &one, 0));
        sym[i] = tenon_dim_const(r->g->dims, v);
        if (!sym[i]) return TENON_NOMEM;
    }
    TENON_TRY(tenon_graph_value(r->g, "c", type, out));
    (*out)->is_const = true;
    (*out)->sym = sym;
    (*out)->sym_count = (size_t)count;
    return TENON_OK;
}

/* "{0.125}", "4{0+1+0+1}". A list, and what is reckoned from symbols, is there for parameters alone. */
static tenon_status constant(reader *r, span t, bool param, tenon_dtype dtype, tenon_value **out)
{
    const char *brace = memchr(t.s, '{', t.n), *end = t.s + t.n - 1;
    tenon_type type = { .dtype = dtype };
    int64_t storage[2 * TENON_PARAM_MAX] = { 0 }, count = 0; /* an element has at most 16 bytes */
    span each[TENON_PARAM_MAX];
    bool reckoned = false;
    if (*end != '}') return FAIL(r, t.s, "a constant is {number}, or count{number+number}%s", "");
    if (brace > t.s) TENON_TRY(shape(r, (span){ t.s, (size_t)(brace - t.s) }, (span){ "", 0 }, &type));
    if (type.rank > 1 || (type.rank == 1 && (!param || !tenon_dim_is_const(type.dim[0]) || type.dim[0]->value > TENON_PARAM_MAX)))
        return FAIL(r, t.s, "a list is of one axis and at most %d elements, and stands for a parameter", TENON_PARAM_MAX);
    for (const char *s = brace + 1; s < end || type.rank == 0; s++, count++) {
        const span one = type.rank ? take(s, end, "+") : (span){ s, (size_t)(end - s) };
        if (count == TENON_PARAM_MAX) return FAIL(r, s, "more than %d elements", TENON_PARAM_MAX);
        each[count] = one;
        reckoned |= is_expression(one);
        s = one.s + one.n;
        if (s == end) { count++; break; }
    }
    if (count != (type.rank ? type.dim[0]->value : 1) || (type.rank && brace + 1 < end && end[-1] == '+'))
        return FAIL(r, t.s, "the constant has %lld elements", (long long)count);
    if (reckoned && !param) return FAIL(r, t.s, "only a parameter is reckoned from symbols%s", "");
    if (reckoned) return expressions(r, each, count, &type, out);
    tenon_tensor tensor = { .dtype = dtype, .rank = type.rank, .dim = { count }, .stride = { 1 }, .data = storage };
    for (int64_t i = 0; i < count; i++) TENON_TRY(element(r, each[i], &tensor, i));
    return tenon_graph_const(r->g, "c", &tensor, true, out);
}

/* name, name.1: a result of an earlier statement. */
static bool named(reader *r, span t, tenon_value **out)
{
    const char *dot = memchr(t.s, '.', t.n);
    const span name = { t.s, dot ? (size_t)(dot - t.s) : t.n };
    for (int i = 0; i < r->name_count; i++) {
        if (r->name[i].name.n != name.n || memcmp(r->name[i].name.s, name.s, name.n) != 0) continue;
        const tenon_node *n = r->name[i].node;
        if (dot && (t.s + t.n - dot != 2 || !digit(dot[1]))) return false;
        const int k = dot ? dot[1] - '0' : 0;
        if (k >= n->dst_count) return false;
        *out = n->dst[k];
        return true;
    }
    return false;
}

static tenon_status operand(reader *r, span t, const tenon_op *op, int index, tenon_value *previous, tenon_value **out)
{
    *out = NULL;
    if (t.n == 0) return FAIL(r, t.s, "an operand is missing%s", "");
    if (span_is(t, "-")) return TENON_OK;
    if (named(r, t, out)) return TENON_OK;
    if (span_is(t, "_")) {
        *out = previous;
        return previous ? TENON_OK : FAIL(r, t.s, "'_' has nothing before it%s", "");
    }
    if (*t.s == '$') {
        const char *s = t.s + 1;
        int64_t index;
        TENON_TRY(number(r, &s, t.s + t.n, &index));
        if (s != t.s + t.n || index >= r->p->src_count) return FAIL(r, t.s, "there is no source '%.*s'", (int)TENON_MIN(t.n,
                                                                                                                        16), t.s);
        *out = r->p->src[index].value;
        return TENON_OK;
    }
    tenon_type type = { .dtype = r->dtype };
    const char *end = t.s + t.n;
    span head = take(t.s, end, ":");
    tenon_dtype given;
    if (head.n < t.n && tenon_dtype_parse(head.s, head.n, &given)) {
        type.dtype = given;
        head = take(head.s + head.n + 1, end, ":");
        if (type.dtype >= TENON_STRING) return FAIL(r, t.s, "a problem has only plain tensors%s", "");
    }
    if (memchr(head.s, '{', head.n)) {
        const bool param = index < 32 && (op->params >> index & 1);
        return constant(r, (span){ head.s, (size_t)(end - head.s) }, param, type.dtype, out);
    }
    TENON_TRY(shape(r, head, axes_of(op, index), &type));
    tenon_format f = { .layout = TENON_ROW };
    const char *rest = head.s + head.n;
    TENON_TRY(formats(r, (span){ rest, (size_t)(end - rest) }, &type, true, &f));
    return add_source(r, t.s, &type, &f, out);
}

/* ---- statements ---- */

typedef struct items {
    int src_count, attr_count, results;
    tenon_value *src[MAX_ITEMS];
    span attr[MAX_ITEMS];
} items;

/* "name=value" outside quotes and brackets. */
static bool is_attr(span t)
{
    const size_t n = word_length(t.s, t.s + t.n);
    return n > 0 && n < t.n && t.s[n] == '=' && !isdigit((unsigned char)t.s[0]);
}

static tenon_status item(reader *r, span t, const tenon_op *op, tenon_value *previous, items *out)
{
    if (is_attr(t)) {
        if (out->attr_count == MAX_ITEMS) return FAIL(r, t.s, "more than %d attributes", MAX_ITEMS);
        if (t.n > 8 && memcmp(t.s, "results=", 8) == 0) {
            int64_t v;
            const char *s = t.s + 8;
            TENON_TRY(number(r, &s, t.s + t.n, &v));
            if (v < op->dst_min || v > TENON_MIN(op->dst_max, 9) || s != t.s + t.n)
                return FAIL(r, t.s, "%s cannot give as many results", op->name);
            out->results = (int)v;
            return TENON_OK;
        }
        out->attr[out->attr_count++] = t;
        return TENON_OK;
    }
    tenon_dtype dtype;
    if (tenon_dtype_parse(t.s, t.n, &dtype)) {
        if (dtype >= TENON_STRING || dtype == TENON_DTYPE_NONE) return FAIL(r, t.s, "a problem has only plain tensors%s", "");
        r->dtype = dtype;
        return TENON_OK;
    }
    if (out->src_count == MAX_ITEMS) return FAIL(r, t.s, "more than %d operands", MAX_ITEMS);
    TENON_TRY(operand(r, t, op, out->src_count, previous, &out->src[out->src_count]));
    out->src_count++;
    return TENON_OK;
}

static tenon_status make_node(reader *r, const char *at, const tenon_op *op, const items *in)
{
    if (r->g->node_count >= TENON_PROBLEM_NODES) return FAIL(r, at, "more than %d operators", TENON_PROBLEM_NODES);
    const int results = in->results ? in->results : TENON_MAX(op->dst_min, 1);
    TENON_TRY(tenon_graph_node(r->g, op, op->name, in->src_count, in->src, results, &r->last));
    for (int i = 0; i < in->attr_count; i++) TENON_TRY(tenon_attr_parse(r->g, r->last, in->attr[i].s, in->attr[i].n));
    TENON_TRY(tenon_infer_node(r->cx, r->g, r->last));
    for (int i = 0; i < results; i++)
        if (r->last->dst[i] && (r->last->dst[i]->type.rank < 0 || r->last->dst[i]->type.dtype >= TENON_STRING))
            return FAIL(r, at, "%s gives no plain tensor of known rank", op->name);
    return TENON_OK;
}

static tenon_status find_op(reader *r, span name, const tenon_op **out)
{
    *out = tenon_op_find(name.s, name.n);
    if (!*out || name.n == 0) return FAIL(r, name.s, "unknown operator '%.*s'", (int)TENON_MIN(name.n, 40), name.s);
    if ((*out)->flags & TENON_OP_CONTROL) return FAIL(r, name.s, "%s holds graphs, a problem has none", (*out)->name);
    return TENON_OK;
}

/* "bias", "relu", "add", "leaky_relu(alpha=0.2)", "clip(_,{0},{6})". */
static tenon_status pointwise(reader *r, span t, const tenon_op *first, tenon_value *previous)
{
    items in = { 0 };
    const span name = { t.s, word_length(t.s, t.s + t.n) };
    const tenon_op *op;
    const char *end = t.s + t.n;
    if (span_is(t, "bias")) {
        tenon_type type;
        const tenon_format f = { .layout = TENON_ROW, .weight = true };
        if (!tenon_problem_bias_type(r->g->dims, first, &previous->type, &type))
            return FAIL(r, t.s, "a scalar has no channels for a bias%s", "");
        in.src[0] = previous;
        in.src_count = 2;
        TENON_TRY(add_source(r, t.s, &type, &f, &in.src[1]));
        return make_node(r, t.s, &tenon_op_add, &in);
    }
    TENON_TRY(find_op(r, name, &op));
    if (!(op->flags & TENON_OP_POINTWISE)) return FAIL(r, t.s, "%s is not pointwise: it starts a statement", op->name);
    if (name.n < t.n) {
        if (t.s[name.n] != '(' || end[-1] != ')') return FAIL(r, t.s + name.n, "arguments are not in parentheses%s", "");
        end--;
        for (const char *s = t.s + name.n + 1;; s++) {
            const span one = take(s, end, ",");
            TENON_TRY(item(r, one, op, previous, &in));
            s = one.s + one.n;
            if (s >= end) break;
        }
    }
    if (in.src_count == 0) {
        if (op->pw->arity > 2 && op->src_min > 1) return FAIL(r, t.s, "%s needs its arguments", op->name);
        in.src[in.src_count++] = previous;
        if (op->pw->arity == 2) {
            const tenon_format first_format = r->p->src_count ? r->p->src[0].format : (tenon_format){ .layout = TENON_ROW };
            const tenon_format f = tenon_problem_implied_format(&first_format, previous->type.rank);
            in.src_count++;
            TENON_TRY(add_source(r, t.s, &previous->type, &f, &in.src[1]));
        }
    }
    return make_node(r, t.s, op, &in);
}

static tenon_status statement(reader *r, span t)
{
    const char *s = t.s, *end = t.s + t.n;
    span name = { s, word_length(s, end) };
    const bool has_name = name.n > 0 && name.n < t.n && s[name.n] == '=';
    tenon_dtype dtype;
    tenon_value *taken;
    if (has_name) {
        if (r->name_count == MAX_NAMES) return FAIL(r, s, "more than %d names", MAX_NAMES);
        if (tenon_dtype_parse(name.s, name.n, &dtype) || isdigit((unsigned char)*s) || span_is(name, "_") || span_is(name, "s") ||
            named(r, name, &taken))
            return FAIL(r, s, "'%.*s' cannot be a name here", (int)TENON_MIN(name.n, 40), name.s);
        s += name.n + 1;
    }
    const span word = { s, word_length(s, end) };
    const tenon_op *op;
    TENON_TRY(find_op(r, word, &op));
    s += word.n;
    if (s == end || *s != ':') return FAIL(r, s, "':' is missing after %s", op->name);
    items in = { 0 };
    do {
        const span one = take(s + 1, end, ",|");
        TENON_TRY(item(r, one, op, NULL, &in));
        s = one.s + one.n;
    } while (s < end && *s == ',');
    TENON_TRY(make_node(r, word.s, op, &in));
    while (s < end) {
        const span one = take(s + 1, end, ",");
        if (!r->last->dst[0]) return FAIL(r, s, "%s has no result", r->last->op->name);
        TENON_TRY(pointwise(r, one, op, r->last->dst[0]));
        s = one.s + one.n;
    }
    if (has_name) {
        r->name[r->name_count].name = name;
        r->name[r->name_count++].node = r->last;
    }
    return TENON_OK;
}

static tenon_status result(reader *r, span t)
{
    tenon_problem *p = r->p;
    const span name = take(t.s, t.s + t.n, ":");
    tenon_value *v = NULL;
    if (span_is(name, "_")) v = r->last->dst[0];
    else if (!named(r, name, &v)) return FAIL(r, t.s, "'%.*s' is no result", (int)TENON_MIN(name.n, 40), name.s);
    if (p->dst_count == TENON_PROBLEM_DST) return FAIL(r, t.s, "more than %d results", TENON_PROBLEM_DST);
    for (int i = 0; i < p->dst_count; i++)
        if (p->dst[i].value == v) return FAIL(r, t.s, "the result is named twice%s", "");
    tenon_format f = { .layout = TENON_ROW };
    TENON_TRY(formats(r, (span){ name.s + name.n, t.n - name.n }, &v->type, false, &f));
    TENON_TRY(list_add(r->g, &r->g->output, &r->g->output_count, &r->g->output_capacity, v));
    p->dst[p->dst_count++] = (tenon_operand){ v, f };
    return TENON_OK;
}

tenon_status tenon_problem_read(tenon_cx *cx, tenon_arena *arena, const char *text, tenon_problem *out)
{
    memset(out, 0, sizeof *out);
    const size_t length = strnlen(text, MAX_TEXT + 1);
    if (length > MAX_TEXT) return TENON_FAIL(cx, TENON_INVALID, "the problem text is longer than %d characters", MAX_TEXT);
    tenon_dim_pool *pool = tenon_arena_alloc(arena, sizeof *pool);
    if (!pool) return TENON_NOMEM;
    tenon_dim_pool_init(pool, arena);
    reader r = { .cx = cx, .p = out, .text = text, .dtype = TENON_F32 };
    TENON_TRY(tenon_graph_create(cx, arena, pool, NULL, &r.g));
    out->graph = r.g;
    const char *s = text, *end = text + length;
    for (;; s++) {
        const span one = take(s, end, ";>");
        TENON_TRY(statement(&r, one));
        s = one.s + one.n;
        if (s == end || *s == '>') break;
    }
    if (s == end) return result(&r, (span){ "_", 1 });
    do {
        const span one = take(s + 1, end, ",");
        TENON_TRY(result(&r, one));
        s = one.s + one.n;
    } while (s < end);
    return TENON_OK;
}
