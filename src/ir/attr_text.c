/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes and constant elements as text. Lists are joined by '+', so that a list is one item of problem text; an exponent is
   therefore written without its plus sign. */
#include "base/checked.h"
#include "ir/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- print ---- */
void tenon_text_print_float(tenon_buf *b, double v, bool single)
{
    char text[40];
    if (isnan(v) || isinf(v)) {
        tenon_buf_str(b, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        const double back = strtod(text, NULL);
        if (back == v || (single && (float)back == (float)v)) break;
    }
    for (const char *s = text; *s; s++)
        if (*s != '+') tenon_buf_char(b, *s);
}

void tenon_text_print_string(tenon_buf *b, const char *s, size_t length)
{
    tenon_buf_char(b, '"');
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') tenon_buf_printf(b, "\\%c", c);
        else if (c < 32 || c == 127) tenon_buf_printf(b, "\\x%02x", c);
        else tenon_buf_char(b, (char)c);
    }
    tenon_buf_char(b, '"');
}

void tenon_text_print_elements(tenon_buf *b, const tenon_tensor *t, char separator)
{
    const int64_t count = tenon_tensor_count(t);
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = tenon_tensor_offset(t, i);
        if (i) tenon_buf_char(b, separator);
        if (t->dtype == TENON_STRING) {
            const tenon_string *s = (const tenon_string *)t->data + at;
            tenon_text_print_string(b, s->data, s->length);
        } else if (tenon_is_float(t->dtype)) {
            tenon_text_print_float(b, tenon_tensor_get_f64(t, at), t->dtype != TENON_F64);
        } else if (t->dtype == TENON_U64) {
            tenon_buf_printf(b, "%llu", (unsigned long long)tenon_tensor_get_i64(t, at));
        } else {
            tenon_buf_printf(b, "%lld", (long long)tenon_tensor_get_i64(t, at));
        }
    }
}

static void print_tensor(tenon_buf *b, const tenon_tensor *t)
{
    tenon_buf_printf(b, "%s[", tenon_dtype_get(t->dtype)->name);
    for (int i = 0; i < t->rank; i++) tenon_buf_printf(b, "%s%lld", i ? "x" : "", (long long)t->dim[i]);
    tenon_buf_str(b, "]{");
    tenon_text_print_elements(b, t, '+');
    tenon_buf_char(b, '}');
}

static bool is_default(const tenon_attr_def *def, const tenon_attr *a)
{
    if (def->required) return false;
    switch (def->kind) {
    case TENON_ATTR_INT: case TENON_ATTR_DTYPE: return a->i == def->i;
    case TENON_ATTR_FLOAT: return a->f == def->f;
    case TENON_ATTR_STRING: return def->s && a->s && !strcmp(a->s, def->s);
    default: return false;
    }
}

static void print_value(tenon_buf *b, const tenon_attr_def *def, const tenon_attr *a)
{
    switch (def->kind) {
    case TENON_ATTR_INT: tenon_buf_printf(b, "%lld", (long long)a->i); return;
    case TENON_ATTR_DTYPE: tenon_buf_str(b, tenon_dtype_get((tenon_dtype)a->i)->name); return;
    case TENON_ATTR_FLOAT: tenon_text_print_float(b, a->f, false); return;
    case TENON_ATTR_STRING: tenon_text_print_string(b, a->s ? a->s : "", a->s ? strlen(a->s) : 0); return;
    case TENON_ATTR_TENSOR: print_tensor(b, a->tensor); return;
    default: break;
    }
    if (!a->count) tenon_buf_str(b, "[]");
    for (size_t i = 0; i < a->count; i++) {
        if (i) tenon_buf_char(b, '+');
        if (def->kind == TENON_ATTR_INTS) tenon_buf_printf(b, "%lld", (long long)a->ints[i]);
        else if (def->kind == TENON_ATTR_FLOATS) tenon_text_print_float(b, a->floats[i], false);
        else tenon_text_print_string(b, a->strings[i], strlen(a->strings[i]));
    }
}

void tenon_attrs_print(tenon_buf *b, const tenon_node *n, const char *separator)
{
    const tenon_attr_def *def = tenon_op_as_head(n->op)->attr;
    for (int i = 0; def && def[i].name; i++) {
        const tenon_attr *a = &n->attr[i];
        if (!a->set || def[i].kind == TENON_ATTR_GRAPH || is_default(&def[i], a)) continue;
        tenon_buf_printf(b, "%s%s=", separator, def[i].name);
        print_value(b, &def[i], a);
    }
}

/* ---- parse ---- */
typedef struct item { tenon_graph *g; const char *at, *end; } item;

static tenon_status fail(const item *r, const char *what)
{
    return TENON_FAIL(r->g->cx, TENON_INVALID, "%s expected at '%.*s'", what, (int)TENON_MIN(r->end - r->at, 40), r->at);
}

static bool take(item *r, char c)
{
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

static tenon_status read_int(item *r, bool is_unsigned, int64_t *out)
{
    const bool minus = take(r, '-');
    uint64_t v = 0;
    const uint64_t most = is_unsigned ? UINT64_MAX : (uint64_t)INT64_MAX + minus;
    const char *start = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        const uint64_t digit = (uint64_t)(*r->at - '0');
        if (v > (most - digit) / 10) return fail(r, "a smaller number");
        v = v * 10 + digit;
    }
    if (r->at == start || (minus && is_unsigned && v)) return fail(r, "whole number");
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    return TENON_OK;
}

static tenon_status read_float(item *r, double *out)
{
    char text[64];
    size_t length = 0;
    while (r->at + length < r->end && length < sizeof text - 1 &&
           (strchr("-.0123456789", r->at[length]) || strchr("einfaxpENT", r->at[length]))) {
        if (!r->at[length]) break;
        text[length] = r->at[length];
        length++;
        if (length > 1 && (text[length - 1] == 'e' || text[length - 1] == 'E') && r->at + length < r->end &&
            r->at[length] == '+' && text[length - 2] >= '0' && text[length - 2] <= '9')
            text[length] = '+', length += length < sizeof text - 1;
    }
    text[length] = 0;
    char *stop;
    *out = strtod(text, &stop);
    if (stop == text || *stop) return fail(r, "number");
    r->at += length;
    return TENON_OK;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static tenon_status read_string(item *r, const char **out, size_t *length_out)
{
    if (!take(r, '"')) return fail(r, "string in double quotes");
    char *s = tenon_arena_array(r->g->arena, (size_t)(r->end - r->at) + 1, 1);
    if (!s) return TENON_NOMEM;
    size_t length = 0;
    while (r->at < r->end && *r->at != '"') {
        char c = *r->at++;
        if (c == '\\' && r->at < r->end) {
            c = *r->at++;
            if (c == 'x') {
                if (r->end - r->at < 2 || hex(r->at[0]) < 0 || hex(r->at[1]) < 0) return fail(r, "two hexadecimal digits");
                c = (char)(hex(r->at[0]) * 16 + hex(r->at[1]));
                r->at += 2;
            }
        }
        s[length++] = c;
    }
    if (!take(r, '"')) return fail(r, "closing quote");
    *out = s;
    if (length_out) *length_out = length;
    return TENON_OK;
}

tenon_status tenon_text_read_elements(tenon_graph *g, const char **at, const char *end, char separator, const tenon_tensor *t)
{
    item r = {g, *at, end};
    const int64_t count = tenon_tensor_count(t);
    for (int64_t i = 0; i < count; i++) {
        while (separator == ',' && take(&r, ' ')) { }
        if (i && !take(&r, separator)) return fail(&r, "another element");
        while (separator == ',' && take(&r, ' ')) { }
        if (t->dtype == TENON_STRING) {
            tenon_string *s = (tenon_string *)t->data + i;
            TENON_TRY(read_string(&r, &s->data, &s->length));
        } else if (tenon_is_float(t->dtype)) {
            double v;
            TENON_TRY(read_float(&r, &v));
            tenon_tensor_set_f64(t, i, v);
        } else {
            int64_t v;
            TENON_TRY(read_int(&r, t->dtype == TENON_U64, &v));
            tenon_tensor_set_i64(t, i, v);
            if (tenon_tensor_get_i64(t, i) != v) return fail(&r, "a number in the range of the type before what is");
        }
    }
    *at = r.at;
    return TENON_OK;
}

static tenon_status read_tensor(item *r, tenon_tensor *t)
{
    const char *name = r->at;
    while (r->at < r->end && *r->at != '[') r->at++;
    if (!tenon_dtype_parse(name, (size_t)(r->at - name), &t->dtype) || !take(r, '[')) return fail(r, "element type and '['");
    while (!take(r, ']')) {
        if (t->rank == TENON_MAX_RANK) return fail(r, "fewer dimensions");
        if (t->rank && !take(r, 'x')) return fail(r, "'x' or ']'");
        TENON_TRY(read_int(r, false, &t->dim[t->rank]));
        t->rank++;
    }
    int64_t count;
    if (!tenon_product(t->dim, t->rank, &count) || count > (r->end - r->at))
        return fail(r, "as many elements as the dimensions say");
    tenon_tensor_dense(t);
    t->data = tenon_arena_array(r->g->arena, (size_t)count + 1, sizeof(tenon_string));
    if (!t->data) return TENON_NOMEM;
    if (!take(r, '{')) return fail(r, "'{'");
    TENON_TRY(tenon_text_read_elements(r->g, &r->at, r->end, '+', t));
    return take(r, '}') ? TENON_OK : fail(r, "'}'");
}

static tenon_status read_list(item *r, tenon_attr_kind kind, tenon_attr *a)
{
    const size_t most = (size_t)(r->end - r->at) + 1;
    void *list = tenon_arena_array(r->g->arena, most, 8);
    if (!list) return TENON_NOMEM;
    a->count = 0;
    if (r->end - r->at == 2 && r->at[0] == '[' && r->at[1] == ']') {
        r->at += 2;
    } else {
        do {
            if (kind == TENON_ATTR_INTS) TENON_TRY(read_int(r, false, (int64_t *)list + a->count));
            else if (kind == TENON_ATTR_FLOATS) TENON_TRY(read_float(r, (double *)list + a->count));
            else TENON_TRY(read_string(r, (const char **)list + a->count, NULL));
            a->count++;
        } while (take(r, '+'));
    }
    if (kind == TENON_ATTR_INTS) a->ints = list;
    else if (kind == TENON_ATTR_FLOATS) a->floats = list;
    else a->strings = list;
    return TENON_OK;
}

static tenon_status read_value(item *r, tenon_attr_kind kind, tenon_attr *a)
{
    switch (kind) {
    case TENON_ATTR_INT: return read_int(r, false, &a->i);
    case TENON_ATTR_FLOAT: return read_float(r, &a->f);
    case TENON_ATTR_STRING: return read_string(r, &a->s, NULL);
    case TENON_ATTR_DTYPE: {
        tenon_dtype t;
        if (!tenon_dtype_parse(r->at, (size_t)(r->end - r->at), &t)) return fail(r, "element type");
        a->i = t;
        r->at = r->end;
        return TENON_OK;
    }
    case TENON_ATTR_TENSOR: {
        tenon_tensor *t = tenon_arena_alloc(r->g->arena, sizeof *t);
        a->tensor = t;
        return t ? read_tensor(r, t) : TENON_NOMEM;
    }
    case TENON_ATTR_GRAPH: return fail(r, "no sub-graph");
    default: return read_list(r, kind, a);
    }
}

tenon_status tenon_attr_parse(tenon_graph *g, tenon_node *n, const char *text, size_t length)
{
    const char *equals = memchr(text, '=', length);
    const char *op = tenon_op_as_head(n->op)->name;
    if (!equals)
        return TENON_FAIL(g->cx, TENON_INVALID, "%s: 'name=value' expected at '%.*s'", op, (int)TENON_MIN(length, 60), text);
    const tenon_attr_def *def = tenon_op_as_head(n->op)->attr;
    for (int i = 0; def && def[i].name; i++) {
        if (strlen(def[i].name) != (size_t)(equals - text) || memcmp(def[i].name, text, (size_t)(equals - text))) continue;
        item r = {g, equals + 1, text + length};
        tenon_attr value = n->attr[i];
        tenon_status status = read_value(&r, def[i].kind, &value);
        if (status == TENON_OK && r.at != r.end) status = fail(&r, "end");
        if (status != TENON_OK) return tenon_fail_in(g->cx, status, "%s: attribute %s: ", op, def[i].name);
        value.set = true;
        n->attr[i] = value;
        return TENON_OK;
    }
    return TENON_FAIL(g->cx, TENON_INVALID, "%s has no attribute '%.*s'", op, (int)TENON_MIN(equals - text, 60), text);
}
