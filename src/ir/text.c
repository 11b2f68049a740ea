/* SPDX-License-Identifier: Apache-2.0 */
/* The printer of graphs. Constants come first, in the order they were made, so that weight expressions follow what they read. */
#include "ir/text.h"

#include <string.h>
#include <xxhash.h>

static void print_name(tenon_buf *b, const char *name)
{
    static const char *const words[] = {"return", "graph", "const", "weight", "where"};
    bool plain = *name != 0;
    for (const char *s = name; *s; s++) plain = plain && tenon_text_is_name(*s);
    plain = plain && strncmp(name, "//", 2);
    for (size_t i = 0; i < TENON_COUNTOF(words); i++) plain = plain && strcmp(name, words[i]);
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

static void print_type(tenon_buf *b, const tenon_graph *g, const tenon_type *t)
{
    tenon_buf_str(b, tenon_dtype_get(t->dtype)->name);
    if (t->dtype == TENON_SEQUENCE || t->dtype == TENON_OPTIONAL) {
        tenon_buf_char(b, '(');
        if (t->element) print_type(b, g, t->element);
        tenon_buf_char(b, ')');
        return;
    }
    tenon_buf_char(b, '[');
    if (t->rank < 0) tenon_buf_char(b, '*');
    for (int i = 0; i < t->rank; i++) {
        if (i) tenon_buf_char(b, ',');
        tenon_dim_print(b, g->dims, t->dim[i]);
    }
    tenon_buf_char(b, ']');
}

static void print_declared(tenon_buf *b, const tenon_graph *g, const tenon_value *v)
{
    if (!v) {
        tenon_buf_char(b, '-');
        return;
    }
    print_name(b, v->name);
    if (v->type.dtype == TENON_DTYPE_NONE) return;
    tenon_buf_str(b, ": ");
    print_type(b, g, &v->type);
}

static void print_graph(tenon_buf *b, const tenon_graph *g, int depth);

static void print_call(tenon_buf *b, const tenon_node *n, int depth)
{
    tenon_buf_printf(b, "%s(", tenon_op_as_head(n->op)->name);
    for (int i = 0; i < n->src_count; i++) {
        if (i) tenon_buf_str(b, ", ");
        if (n->src[i]) print_name(b, n->src[i]->name);
        else tenon_buf_char(b, '-');
    }
    tenon_buf_char(b, ')');
    tenon_attrs_print(b, n, " ");
    const tenon_attr_def *def = tenon_op_as_head(n->op)->attr;
    for (int i = 0; def && def[i].name; i++) {
        if (def[i].kind != TENON_ATTR_GRAPH || !n->attr[i].set) continue;
        tenon_buf_printf(b, " %s=", def[i].name);
        print_graph(b, n->sub[n->attr[i].i], depth);
    }
}

static uint64_t hash_data(tenon_cx *cx, const tenon_tensor *t, bool *failed)
{
    const int64_t count = tenon_tensor_count(t);
    uint64_t h = 0;
    if (t->dtype == TENON_STRING) {
        for (int64_t i = 0; i < count; i++) {
            const tenon_string *s = (const tenon_string *)t->data + tenon_tensor_offset(t, i);
            h = XXH64(s->data, s->length, h + s->length);
        }
        return h;
    }
    const size_t bytes = tenon_dtype_bytes(t->dtype, (size_t)count);
    if (tenon_tensor_is_dense(t)) return XXH64(t->data, bytes, 0);
    tenon_tensor dense = *t;
    tenon_tensor_dense(&dense);
    if (!(dense.data = tenon_alloc(cx, bytes))) return *failed = true, 0;
    tenon_tensor_copy(&dense, t);
    h = XXH64(dense.data, bytes, 0);
    tenon_free(cx, dense.data);
    return h;
}

static void print_const(tenon_buf *b, const tenon_graph *g, const tenon_value *v, int depth)
{
    if (v->expr) {
        tenon_buf_str(b, "weight ");
        print_call(b, v->expr, depth);
    } else if (v->data && tenon_tensor_count(v->data) <= TENON_TEXT_LITERALS) {
        tenon_buf_str(b, "const {");
        tenon_text_print_elements(b, v->data, ',');
        tenon_buf_char(b, '}');
    } else if (v->data) {
        tenon_buf_printf(b, "const #%016llx", (unsigned long long)hash_data(g->cx, v->data, &b->failed));
    } else {
        tenon_buf_str(b, "const ?");
    }
}

static void indent(tenon_buf *b, int depth)
{
    for (int i = 0; i < depth; i++) tenon_buf_str(b, "  ");
}

static void print_bound(tenon_buf *b, int64_t v)
{
    if (v >= TENON_DIM_HUGE) tenon_buf_char(b, '*');
    else tenon_buf_printf(b, "%lld", (long long)v);
}

static void print_symbols(tenon_buf *b, const tenon_dim_pool *p)
{
    for (size_t i = 0; i < p->symbol_count; i++) {
        const tenon_dim_symbol *s = &p->symbol[i];
        tenon_buf_str(b, i ? ", " : " where ");
        if (s->data_dependent) tenon_buf_char(b, '?');
        tenon_dim_print_name(b, s->name);
        tenon_buf_char(b, '=');
        print_bound(b, s->lo);
        tenon_buf_str(b, "..");
        print_bound(b, s->hi);
        if (s->data_dependent) continue;
        if (s->opt != s->lo) tenon_buf_printf(b, "@%lld", (long long)s->opt);
        if (s->divisor != 1) tenon_buf_printf(b, "%%%lld", (long long)s->divisor);
    }
}

static void print_graph(tenon_buf *b, const tenon_graph *g, int depth)
{
    tenon_buf_str(b, "graph(");
    for (size_t i = 0; i < g->input_count; i++) {
        if (i) tenon_buf_str(b, ", ");
        print_declared(b, g, g->input[i]);
    }
    if (!g->parent) print_symbols(b, g->dims);
    tenon_buf_str(b, ") {\n");
    for (size_t i = 0; i < g->value_count; i++) {
        if (!g->value[i]->is_const) continue;
        indent(b, depth + 1);
        print_declared(b, g, g->value[i]);
        tenon_buf_str(b, " = ");
        print_const(b, g, g->value[i], depth + 1);
        tenon_buf_char(b, '\n');
    }
    for (size_t i = 0; i < g->node_count; i++) {
        const tenon_node *n = g->node[i];
        if (n->dead) continue;
        indent(b, depth + 1);
        for (int k = 0; k < n->dst_count; k++) {
            if (k) tenon_buf_str(b, ", ");
            print_declared(b, g, n->dst[k]);
        }
        tenon_buf_str(b, " = ");
        print_call(b, n, depth + 1);
        tenon_buf_char(b, '\n');
    }
    indent(b, depth + 1);
    tenon_buf_str(b, "return");
    for (size_t i = 0; i < g->output_count; i++) {
        tenon_buf_str(b, i ? ", " : " ");
        print_name(b, g->output[i]->name);
    }
    tenon_buf_char(b, '\n');
    indent(b, depth);
    tenon_buf_char(b, '}');
}

void tenon_graph_print(tenon_buf *b, const tenon_graph *g)
{
    print_graph(b, g, 0);
    tenon_buf_char(b, '\n');
}
