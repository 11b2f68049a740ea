/* SPDX-License-Identifier: Apache-2.0 */
/* Dimension expressions as text. Printing follows the normal form; parsing goes through the constructors, so what is read is in
   normal form again whatever it looked like. */
#include "base/checked.h"
#include "ir/dim.h"

#include <string.h>

static const struct { const char *name; tenon_dim_kind kind; int arg_min, arg_max; } functions[] = {
    {"floordiv", TENON_DIM_FLOORDIV, 2, 2}, {"ceildiv", TENON_DIM_CEILDIV, 2, 2}, {"mod", TENON_DIM_MOD, 2, 2},
    {"min", TENON_DIM_MIN, 2, 16}, {"max", TENON_DIM_MAX, 2, 16}, {"eq", TENON_DIM_EQ, 2, 2}, {"lt", TENON_DIM_LT, 2, 2},
    {"select", TENON_DIM_SELECT, 3, 3},
};

static int find_function(const char *s, size_t length)
{
    for (size_t i = 0; i < TENON_COUNTOF(functions); i++)
        if (strlen(functions[i].name) == length && !memcmp(functions[i].name, s, length)) return (int)i;
    return -1;
}

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_name(char c) { return is_letter(c) || is_digit(c) || c == '.'; }

/* ---- print ---- */
void tenon_dim_print_name(tenon_buf *b, const char *name)
{
    bool plain = is_letter(name[0]) && find_function(name, strlen(name)) < 0;
    for (const char *s = name; *s; s++) plain = plain && is_name(*s);
    if (plain) {
        tenon_buf_str(b, name);
        return;
    }
    tenon_buf_char(b, '`');
    for (const char *s = name; *s; s++) {
        if (*s == '`' || *s == '\\') tenon_buf_char(b, '\\');
        tenon_buf_char(b, *s);
    }
    tenon_buf_char(b, '`');
}

static void print_product(tenon_buf *b, const tenon_dim_pool *p, const tenon_dim *d, bool first)
{
    if (d->value < 0 && d->value > INT64_MIN) tenon_buf_char(b, '-');
    else if (!first) tenon_buf_char(b, '+');
    for (int i = 0; i < d->arg_count; i++) {
        if (i) tenon_buf_char(b, '*');
        const bool inside = d->arg[i]->kind == TENON_DIM_ADD || d->arg[i]->kind == TENON_DIM_MUL;
        if (inside) tenon_buf_char(b, '(');
        tenon_dim_print(b, p, d->arg[i]);
        if (inside) tenon_buf_char(b, ')');
    }
    const int64_t c = d->value < 0 && d->value > INT64_MIN ? -d->value : d->value;
    if (c != 1) tenon_buf_printf(b, "*%lld", (long long)c);
}

void tenon_dim_print(tenon_buf *b, const tenon_dim_pool *p, const tenon_dim *d)
{
    if (!d) {
        tenon_buf_char(b, '?');
        return;
    }
    switch (d->kind) {
    case TENON_DIM_CONST: tenon_buf_printf(b, "%lld", (long long)d->value); return;
    case TENON_DIM_SYM: tenon_dim_print_name(b, p->symbol[d->value].name); return;
    case TENON_DIM_MUL: print_product(b, p, d, true); return;
    case TENON_DIM_ADD:
        for (int i = 0; i < d->arg_count; i++) {
            const tenon_dim *a = d->arg[i];
            if (a->kind == TENON_DIM_MUL) {
                print_product(b, p, a, !i);
                continue;
            }
            if (i && !(a->kind == TENON_DIM_CONST && a->value < 0)) tenon_buf_char(b, '+');
            if (a->kind == TENON_DIM_ADD) tenon_buf_char(b, '(');
            tenon_dim_print(b, p, a);
            if (a->kind == TENON_DIM_ADD) tenon_buf_char(b, ')');
        }
        return;
    default: break;
    }
    for (size_t i = 0; i < TENON_COUNTOF(functions); i++)
        if (functions[i].kind == d->kind) tenon_buf_str(b, functions[i].name);
    for (int i = 0; i < d->arg_count; i++) {
        tenon_buf_char(b, i ? ',' : '(');
        tenon_dim_print(b, p, d->arg[i]);
    }
    tenon_buf_char(b, ')');
}

/* ---- parse ---- */
enum { MOST_NESTED = 200 };

typedef struct reader {
    tenon_cx *cx;
    tenon_dim_pool *pool;
    const char *text, *at, *end;
    int depth;
} reader;

static tenon_status fail(const reader *r, const char *what)
{
    return TENON_FAIL(r->cx, TENON_INVALID, "dimension '%.*s': %s at character %d", (int)TENON_MIN(r->end - r->text, 200),
                      r->text, what, (int)(r->at - r->text) + 1);
}

/* The next character that is not a space, 0 at the end. */
static char peek(reader *r)
{
    while (r->at < r->end && *r->at == ' ') r->at++;
    return r->at < r->end ? *r->at : 0;
}

static bool take(reader *r, char c)
{
    if (peek(r) != c) return false;
    r->at++;
    return true;
}

static tenon_status made(const reader *r, const tenon_dim *d, const tenon_dim **out)
{
    *out = d;
    if (d) return TENON_OK;
    if (r->pool->failed) return TENON_NOMEM;
    return fail(r, "the value does not fit");
}

static tenon_status read_number(reader *r, bool negative, const tenon_dim **out)
{
    int64_t v = 0;
    const char *start = r->at;
    for (; r->at < r->end && is_digit(*r->at); r->at++) {
        const int64_t digit = *r->at - '0';
        if (!tenon_mul_i64(v, 10, &v) || !tenon_add_i64(v, negative ? -digit : digit, &v)) return fail(r, "number too large");
    }
    if (r->at == start) return fail(r, "number expected");
    return made(r, tenon_dim_const(r->pool, v), out);
}

static tenon_status read_symbol(reader *r, const char *name, size_t length, const tenon_dim **out)
{
    for (size_t i = 0; i < r->pool->symbol_count; i++) {
        const char *s = r->pool->symbol[i].name;
        if (strlen(s) == length && !memcmp(s, name, length)) return made(r, r->pool->symbol[i].dim, out);
    }
    return TENON_FAIL(r->cx, TENON_INVALID, "dimension '%.*s': unknown symbol '%.*s'", (int)TENON_MIN(r->end - r->text, 200),
                      r->text, (int)TENON_MIN(length, 100), name);
}

static tenon_status read_quoted(reader *r, const tenon_dim **out)
{
    char name[512];
    size_t length = 0;
    for (r->at++; r->at < r->end && *r->at != '`'; r->at++) {
        if (*r->at == '\\' && r->at + 1 < r->end) r->at++;
        if (length == sizeof name) return fail(r, "name too long");
        name[length++] = *r->at;
    }
    if (r->at == r->end) return fail(r, "closing backquote missing");
    r->at++;
    return read_symbol(r, name, length, out);
}

static tenon_status read_sum(reader *r, const tenon_dim **out);

static tenon_status read_call(reader *r, int function, const tenon_dim **out)
{
    const tenon_dim *arg[16];
    int count = 0;
    do {
        if (count == functions[function].arg_max) return fail(r, "too many arguments");
        TENON_TRY(read_sum(r, &arg[count++]));
    } while (take(r, ','));
    if (!take(r, ')')) return fail(r, "',' or ')' expected");
    if (count < functions[function].arg_min) return fail(r, "too few arguments");
    return made(r, tenon_dim_apply(r->pool, functions[function].kind, count, arg), out);
}

static tenon_status read_factor(reader *r, const tenon_dim **out)
{
    const char c = peek(r);
    if (is_digit(c)) return read_number(r, false, out);
    if (c == '-') {
        r->at++;
        return read_number(r, true, out);
    }
    if (c == '`') return read_quoted(r, out);
    if (c == '(') {
        r->at++;
        TENON_TRY(read_sum(r, out));
        return take(r, ')') ? TENON_OK : fail(r, "')' expected");
    }
    if (!is_letter(c)) return fail(r, "number, name or '(' expected");
    const char *name = r->at;
    while (r->at < r->end && is_name(*r->at)) r->at++;
    const size_t length = (size_t)(r->at - name);
    const int function = find_function(name, length);
    if (function < 0) return read_symbol(r, name, length, out);
    return take(r, '(') ? read_call(r, function, out) : fail(r, "'(' expected");
}

static tenon_status read_product(reader *r, const tenon_dim **out)
{
    TENON_TRY(read_factor(r, out));
    while (take(r, '*')) {
        const tenon_dim *next;
        TENON_TRY(read_factor(r, &next));
        TENON_TRY(made(r, tenon_dim_mul(r->pool, *out, next), out));
    }
    return TENON_OK;
}

static tenon_status read_sum(reader *r, const tenon_dim **out)
{
    if (++r->depth > MOST_NESTED) return fail(r, "too deeply nested");
    /* "-3" is one number, for the smallest one has no positive twin; "-x" and "-3*x" come to the same either way */
    const bool minus = peek(r) == '-' && r->at + 1 < r->end && !is_digit(r->at[1]);
    if (minus) r->at++;
    TENON_TRY(read_product(r, out));
    if (minus) TENON_TRY(made(r, tenon_dim_sub(r->pool, tenon_dim_const(r->pool, 0), *out), out));
    for (char c; (c = peek(r)) == '+' || c == '-';) {
        const tenon_dim *next;
        const bool number = c == '-' && r->at + 1 < r->end && is_digit(r->at[1]);
        if (!number) r->at++;
        TENON_TRY(read_product(r, &next));
        TENON_TRY(made(r, (c == '-' && !number ? tenon_dim_sub : tenon_dim_add)(r->pool, *out, next), out));
    }
    r->depth--;
    return TENON_OK;
}

tenon_status tenon_dim_parse(tenon_cx *cx, tenon_dim_pool *p, const char *s, size_t length, const tenon_dim **out)
{
    reader r = {cx, p, s, s, s + length, 0};
    const tenon_dim *d = NULL;
    *out = NULL;
    TENON_TRY(read_sum(&r, &d));
    if (peek(&r)) return fail(&r, "end expected");
    *out = d;
    return TENON_OK;
}
