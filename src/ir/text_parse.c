/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of the graph text (grammar in graph.h). Names must be made before they are used; the result has passed the verifier,
   except that types may be missing. Messages give the line. */
#include "base/checked.h"
#include "ir/text.h"

#include <stdio.h>
#include <string.h>

enum { MOST_NESTED = 32, MOST_LIST = 4096, MOST_NAME = 1000 };
static const int64_t MOST_RANDOM = INT64_C(1) << 28; /* elements made up for a hash */

typedef struct reader {
    tenon_cx *cx;
    tenon_arena *arena;
    tenon_op_lookup lookup;
    const char *text, *at, *end;
    int depth;
    const char *after_symbols; /* behind the outermost graph's "where" list, which is read first */
} reader;

typedef struct name { char text[MOST_NAME + 1]; size_t length; bool absent; } name;

static tenon_status fail(const reader *r, const char *what)
{
    int line = 1;
    for (const char *s = r->text; s < r->at; s++) line += *s == '\n';
    int rest = 0;
    while (r->at + rest < r->end && rest < 40 && r->at[rest] != '\n') rest++;
    return TENON_FAIL(r->cx, TENON_INVALID, "line %d: %s at '%.*s'", line, what, rest, r->at);
}

static tenon_status in_line(const reader *r, tenon_status status)
{
    int line = 1;
    for (const char *s = r->text; s < r->at; s++) line += *s == '\n';
    return tenon_fail_in(r->cx, status, "line %d: ", line);
}

static void skip(reader *r)
{
    for (; r->at < r->end; r->at++) {
        if (r->end - r->at >= 2 && r->at[0] == '/' && r->at[1] == '/')
            while (r->at < r->end && *r->at != '\n') r->at++;
        if (r->at == r->end || !strchr(" \t\r\n", *r->at) || !*r->at) return;
    }
}

static bool take(reader *r, const char *word)
{
    skip(r);
    const size_t length = strlen(word);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length)) return false;
    const bool letters = word[0] >= 'a' && word[0] <= 'z'; /* a word ends where a name would */
    if (letters && r->at + length < r->end && tenon_text_is_name(r->at[length])) return false;
    r->at += length;
    return true;
}

static tenon_status need(reader *r, const char *word)
{
    char what[64];
    if (take(r, word)) return TENON_OK;
    snprintf(what, sizeof what, "expected '%s'", word);
    return fail(r, what);
}

/* A plain or quoted name, or '-'. */
static tenon_status read_name(reader *r, name *out)
{
    skip(r);
    out->length = 0;
    out->absent = r->at < r->end && *r->at == '-';
    if (out->absent) return r->at++, TENON_OK;
    const bool quoted = r->at < r->end && *r->at == '`';
    if (quoted) r->at++;
    while (r->at < r->end && (quoted ? *r->at != '`' : tenon_text_is_name(*r->at))) {
        if (quoted && *r->at == '\\' && r->at + 1 < r->end) r->at++;
        if (out->length == MOST_NAME || !*r->at) return fail(r, "name too long");
        out->text[out->length++] = *r->at++;
    }
    if (quoted && (r->at == r->end || *r->at++ != '`')) return fail(r, "closing backquote missing");
    if (!out->length) return fail(r, "name expected");
    out->text[out->length] = 0;
    return TENON_OK;
}

/* ---- types ---- */
static tenon_status read_dims(reader *r, tenon_graph *g, tenon_type *t)
{
    TENON_TRY(need(r, "["));
    t->rank = 0;
    if (take(r, "*")) {
        t->rank = -1;
        return need(r, "]");
    }
    if (take(r, "]")) return TENON_OK;
    do {
        int open = 0;
        bool quoted = false;
        const char *start = r->at;
        for (; r->at < r->end; r->at++) {
            const char c = *r->at;
            if (c == '\n') break;
            if (quoted && c == '\\' && r->at + 1 < r->end) { r->at++; continue; }
            if (c == '`') quoted = !quoted;
            if (quoted) continue;
            if (!open && (c == ',' || c == ']')) break;
            open += (c == '(') - (c == ')');
        }
        if (t->rank == TENON_MAX_RANK) return fail(r, "too many dimensions");
        const tenon_status status = tenon_dim_parse(r->cx, g->dims, start, (size_t)(r->at - start), &t->dim[t->rank++]);
        if (status != TENON_OK) return in_line(r, status);
    } while (take(r, ","));
    return need(r, "]");
}

static tenon_status read_type(reader *r, tenon_graph *g, tenon_type *t)
{
    *t = (tenon_type){.rank = -1};
    skip(r);
    const char *start = r->at;
    while (r->at < r->end && tenon_text_is_name(*r->at)) r->at++;
    if (!tenon_dtype_parse(start, (size_t)(r->at - start), &t->dtype)) {
        r->at = start;
        return fail(r, "element type expected");
    }
    if (t->dtype != TENON_SEQUENCE && t->dtype != TENON_OPTIONAL) return read_dims(r, g, t);
    t->rank = 0;
    TENON_TRY(need(r, "("));
    if (take(r, ")")) return TENON_OK;
    tenon_type *element = tenon_arena_alloc(g->arena, sizeof *element);
    if (!element) return TENON_NOMEM;
    if (++r->depth > MOST_NESTED) return fail(r, "too deeply nested");
    TENON_TRY(read_type(r, g, element));
    r->depth--;
    t->element = element;
    return need(r, ")");
}

/* name [: type]; a new value, NULL for '-'. */
static tenon_status read_declared(reader *r, tenon_graph *g, tenon_value **out)
{
    name n;
    tenon_type type = {.rank = -1};
    *out = NULL;
    TENON_TRY(read_name(r, &n));
    if (n.absent) return TENON_OK;
    if (take(r, ":")) TENON_TRY(read_type(r, g, &type));
    if (tenon_graph_find(g, n.text, n.length)) return fail(r, "this name is made twice");
    return tenon_graph_value(g, n.text, &type, out);
}

/* ---- symbols ---- */
static tenon_status read_bound(reader *r, int64_t *out)
{
    skip(r);
    const bool minus = take(r, "-");
    if (!minus && take(r, "*")) {
        *out = TENON_DIM_HUGE;
        return TENON_OK;
    }
    int64_t v = 0;
    const char *start = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++)
        if (!tenon_mul_i64(v, 10, &v) || !tenon_add_i64(v, *r->at - '0', &v)) return fail(r, "number too large");
    if (r->at == start) return fail(r, "number expected");
    *out = minus ? -v : v;
    return TENON_OK;
}

static bool starts_symbols(const reader *r)
{
    return (size_t)(r->end - r->at) > 6 && !memcmp(r->at, "where ", 6);
}

/* " where a=1..8@4%2, ?n=0..*": declared before the inputs, which use them, so the parser looks ahead for it. */
static tenon_status read_symbols(reader *r, tenon_graph *g)
{
    do {
        const bool from_data = take(r, "?");
        name n;
        int64_t lo, hi, opt, divisor = 1;
        TENON_TRY(read_name(r, &n));
        TENON_TRY(need(r, "="));
        if (n.absent) return fail(r, "symbol expected");
        TENON_TRY(read_bound(r, &lo));
        TENON_TRY(need(r, ".."));
        TENON_TRY(read_bound(r, &hi));
        opt = lo;
        if (!from_data && take(r, "@")) TENON_TRY(read_bound(r, &opt));
        if (!from_data && take(r, "%")) TENON_TRY(read_bound(r, &divisor));
        const tenon_dim *d = from_data ? tenon_dim_symbol_data(g->dims, n.text, lo, hi)
                                       : tenon_dim_symbol_named(g->dims, n.text, lo, opt, hi, divisor);
        if (!d) return g->dims->failed ? TENON_NOMEM : in_line(r, TENON_INVALID);
    } while (take(r, ","));
    return TENON_OK;
}

static tenon_status find_symbols(reader *r, tenon_graph *g)
{
    const char *const begin = r->at;
    int open = 0;
    bool quoted = false;
    for (; r->at < r->end && open >= 0; r->at++) {
        const char c = *r->at;
        if (quoted && c == '\\' && r->at + 1 < r->end) { r->at++; continue; }
        if (c == '`') quoted = !quoted;
        if (quoted) continue;
        open += (c == '(') - (c == ')');
        if (open == 0 && (r->at == begin || r->at[-1] == ' ' || r->at[-1] == '\n') && starts_symbols(r)) break;
    }
    if (r->at < r->end && open == 0 && starts_symbols(r)) {
        r->at += 6;
        TENON_TRY(read_symbols(r, g));
        r->after_symbols = r->at;
    }
    r->at = begin;
    return TENON_OK;
}

/* ---- statements ---- */
static tenon_status use_value(reader *r, tenon_graph *g, tenon_value **out)
{
    name n;
    TENON_TRY(read_name(r, &n));
    *out = n.absent ? NULL : tenon_graph_find(g, n.text, n.length);
    return n.absent || *out ? TENON_OK : fail(r, "nothing before has the name that ends");
}

static tenon_status read_graph(reader *r, tenon_dim_pool *dims, tenon_graph *parent, tenon_graph **out);

static tenon_status read_attrs(reader *r, tenon_graph *g, tenon_node *n)
{
    for (;;) {
        while (r->at < r->end && (*r->at == ' ' || *r->at == '\t')) r->at++;
        const char *start = r->at;
        while (r->at < r->end && tenon_text_is_name(*r->at)) r->at++;
        if (r->at == start || r->at == r->end || *r->at != '=') {
            r->at = start;
            return TENON_OK;
        }
        r->at++;
        if (r->end - r->at > 6 && !memcmp(r->at, "graph(", 6)) {
            const char *attr = tenon_arena_strndup(g->arena, start, (size_t)(r->at - 1 - start));
            tenon_graph *sub;
            if (!attr) return TENON_NOMEM;
            TENON_TRY(read_graph(r, g->dims, g, &sub));
            TENON_TRY(tenon_node_set_graph(g, n, attr, sub));
            continue;
        }
        for (bool quoted = false; r->at < r->end && (quoted || !strchr(" \t\r\n", *r->at)); r->at++) {
            if (quoted && *r->at == '\\' && r->at + 1 < r->end) r->at++;
            else if (*r->at == '"') quoted = !quoted;
        }
        const tenon_status status = tenon_attr_parse(g, n, start, (size_t)(r->at - start));
        if (status != TENON_OK) return in_line(r, status);
    }
}

/* op(sources) attributes, for the results given; the node is the last of the graph. */
static tenon_status read_call(reader *r, tenon_graph *g, tenon_value *const *dst, int dst_count, tenon_node **out)
{
    tenon_value *src[64];
    tenon_node *n;
    name op_name;
    skip(r);
    const char *start = r->at;
    TENON_TRY(read_name(r, &op_name));
    const tenon_op *op = op_name.absent ? NULL : r->lookup(op_name.text, op_name.length);
    if (!op) {
        r->at = start;
        return fail(r, "unknown operator");
    }
    TENON_TRY(need(r, "("));
    TENON_TRY(tenon_graph_node(g, op, dst_count && dst[0] ? dst[0]->name : NULL, 0, NULL, 0, &n));
    int count = 0, flushed = 0;
    if (!take(r, ")")) {
        do {
            if (count >= MOST_LIST) return fail(r, "too many sources");
            TENON_TRY(use_value(r, g, &src[count++ - flushed]));
            if (count - flushed == (int)TENON_COUNTOF(src))
                for (; flushed < count; flushed++) TENON_TRY(tenon_node_add_src(g, n, src[flushed % (int)TENON_COUNTOF(src)]));
        } while (take(r, ","));
        for (int i = 0; flushed < count; flushed++, i++) TENON_TRY(tenon_node_add_src(g, n, src[i]));
        TENON_TRY(need(r, ")"));
    }
    n->dst = tenon_arena_array(g->arena, (size_t)dst_count, sizeof *n->dst);
    if (!n->dst) return TENON_NOMEM;
    for (int i = 0; i < dst_count; i++) {
        n->dst[i] = dst[i];
        if (!dst[i]) continue;
        dst[i]->producer = n;
        dst[i]->index = i;
    }
    n->dst_count = dst_count;
    *out = n;
    return read_attrs(r, g, n);
}

/* splitmix64: any seed gives a good sequence */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void fill_random(const tenon_tensor *t, uint64_t seed)
{
    const int64_t count = tenon_tensor_count(t);
    const tenon_dtype_kind kind = tenon_dtype_get(t->dtype)->kind;
    for (int64_t i = 0; i < count; i++) {
        const uint64_t x = random_next(&seed);
        if (kind == TENON_KIND_FLOAT) tenon_tensor_set_f64(t, i, (double)(int64_t)x * 0x1p-63);
        else
            tenon_tensor_set_i64(
                t, i, kind == TENON_KIND_BOOL ? (int64_t)(x & 1) : (int64_t)(x & 15) - (kind == TENON_KIND_INT ? 8 : 0));
    }
}

static tenon_status read_data(reader *r, tenon_graph *g, const tenon_tensor *t)
{
    if (take(r, "{")) {
        const tenon_status status = tenon_text_read_elements(g, &r->at, r->end, ',', t);
        return status == TENON_OK ? need(r, "}") : in_line(r, status);
    }
    TENON_TRY(need(r, "#"));
    uint64_t seed = 0;
    int digits = 0;
    for (; r->at < r->end && tenon_text_is_name(*r->at); r->at++, digits++) {
        const char c = *r->at;
        const int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0 || digits == 16) return fail(r, "up to 16 hexadecimal digits expected");
        seed = seed << 4 | (uint64_t)v;
    }
    if (!digits) return fail(r, "hexadecimal digits expected");
    if (t->dtype == TENON_STRING) return fail(r, "strings have no random form");
    fill_random(t, seed);
    return TENON_OK;
}

static tenon_status read_const(reader *r, tenon_graph *g, tenon_value *v)
{
    tenon_tensor *t = tenon_arena_alloc(g->arena, sizeof *t);
    int64_t count;
    if (!t) return TENON_NOMEM;
    t->dtype = v->type.dtype;
    t->rank = v->type.rank;
    if (!tenon_type_is_static(&v->type) || (!tenon_dtype_get(t->dtype)->bits && t->dtype != TENON_STRING))
        return fail(r, "a constant needs an element type and fixed dimensions");
    for (int i = 0; i < t->rank; i++) t->dim[i] = v->type.dim[i]->value;
    if (!tenon_product(t->dim, t->rank, &count) || count > MOST_RANDOM) return fail(r, "constant too large");
    tenon_tensor_dense(t);
    const size_t element = t->dtype == TENON_STRING ? sizeof(tenon_string) : 8;
    const size_t bytes = t->dtype == TENON_STRING ? (size_t)count * element : tenon_dtype_bytes(t->dtype, (size_t)count);
    if (!(t->data = tenon_arena_alloc(g->arena, bytes + 1))) return TENON_NOMEM;
    v->is_const = true;
    v->data = t;
    return read_data(r, g, t);
}

static tenon_status read_weight(reader *r, tenon_graph *g, tenon_value *v)
{
    TENON_TRY(read_call(r, g, &v, 1, &v->expr));
    g->node_count--; /* a weight expression is not a node of the graph */
    v->producer = NULL;
    v->is_const = true;
    return TENON_OK;
}

static tenon_status read_statement(reader *r, tenon_graph *g)
{
    tenon_value *dst[64];
    int count = 0;
    do {
        if (count == (int)TENON_COUNTOF(dst)) return fail(r, "too many results");
        TENON_TRY(read_declared(r, g, &dst[count++]));
    } while (take(r, ","));
    TENON_TRY(need(r, "="));
    const bool constant = take(r, "const"), weight = !constant && take(r, "weight");
    if ((constant || weight) && (count != 1 || !dst[0])) return fail(r, "a constant has one name");
    if (constant) return read_const(r, g, dst[0]);
    if (weight) return read_weight(r, g, dst[0]);
    tenon_node *n;
    return read_call(r, g, dst, count, &n);
}

static tenon_status read_inputs(reader *r, tenon_graph *g)
{
    if (take(r, ")")) return TENON_OK;
    skip(r);
    if (!starts_symbols(r)) {
        do {
            tenon_value *v;
            TENON_TRY(read_declared(r, g, &v));
            if (!v) return fail(r, "an input needs a name");
            TENON_TRY(tenon_graph_add_input(g, v));
        } while (take(r, ","));
    }
    skip(r);
    if (!g->parent && starts_symbols(r) && r->after_symbols) r->at = r->after_symbols;
    return need(r, ")");
}

static tenon_status read_graph(reader *r, tenon_dim_pool *dims, tenon_graph *parent, tenon_graph **out)
{
    tenon_graph *g;
    if (++r->depth > MOST_NESTED) return fail(r, "too deeply nested");
    TENON_TRY(tenon_graph_create(r->cx, r->arena, dims, parent, &g));
    TENON_TRY(need(r, "graph"));
    TENON_TRY(need(r, "("));
    if (!parent) TENON_TRY(find_symbols(r, g));
    TENON_TRY(read_inputs(r, g));
    TENON_TRY(need(r, "{"));
    while (!take(r, "return")) TENON_TRY(read_statement(r, g));
    if (!take(r, "}")) {
        do {
            tenon_value *v;
            TENON_TRY(use_value(r, g, &v));
            if (!v) return fail(r, "an output needs a name");
            TENON_TRY(tenon_graph_add_output(g, v));
        } while (take(r, ","));
        TENON_TRY(need(r, "}"));
    }
    r->depth--;
    *out = g;
    return TENON_OK;
}

tenon_status tenon_graph_parse(tenon_cx *cx, tenon_arena *arena, tenon_op_lookup lookup, const char *text, tenon_graph **out)
{
    reader r = {cx, arena, lookup, text, text, text + strlen(text), 0, NULL};
    tenon_graph *g;
    *out = NULL;
    TENON_TRY(read_graph(&r, NULL, NULL, &g));
    skip(&r);
    if (r.at != r.end) return fail(&r, "end expected");
    TENON_TRY(tenon_graph_verify_structure(g));
    *out = g;
    return TENON_OK;
}
