/* SPDX-License-Identifier: Apache-2.0 */
/* Graph -> ONNX bytes. An operator with an ONNX name is written 1:1, its attributes that ONNX passes as inputs put back as
   initializers; the rest by a table of renamings and a few decompositions. Opset 21, or the lowest one that
   has all operators used. Everything that cannot be written is named in one message; nothing is dropped. */
#include "onnx/export.h"

#include "op/eval.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- tensors and types ---- */
void tenon_export_tensor(tenon_export *e, const tenon_tensor *t, const char *name, tenon_buf *out)
{
    const int64_t count = tenon_tensor_count(t);
    for (int i = 0; i < t->rank; i++) tenon_wire_put_int(out, 1, t->dim[i]);
    tenon_wire_put_int(out, 2, tenon_onnx_dtype_number(t->dtype));
    if (name) tenon_wire_put_text(out, 8, name);
    if (t->dtype == TENON_STRING) {
        const tenon_string *s = t->data;
        for (int64_t i = 0; i < count; i++) tenon_wire_put_bytes(out, 6, s[i].data, s[i].length);
        return;
    }
    const size_t bytes = tenon_dtype_bytes(t->dtype, (size_t)count);
    if (tenon_tensor_is_dense(t) || bytes == 0) {
        tenon_wire_put_bytes(out, 9, t->data, bytes);
        return;
    }
    tenon_tensor dense = *t;
    tenon_tensor_dense(&dense);
    dense.data = tenon_alloc(e->cx, bytes);
    out->failed |= !dense.data;
    if (!dense.data) return;
    tenon_tensor_copy(&dense, t);
    tenon_wire_put_bytes(out, 9, dense.data, bytes);
    tenon_free(e->cx, dense.data);
}

static void put_shape(tenon_export *e, const tenon_type *t, tenon_buf *tensor)
{
    tenon_buf shape, dim, text;
    tenon_buf_init(&shape, e->cx);
    tenon_buf_init(&dim, e->cx);
    tenon_buf_init(&text, e->cx);
    for (int i = 0; i < t->rank; i++) {
        if (tenon_dim_is_const(t->dim[i])) tenon_wire_put_int(&dim, 1, t->dim[i]->value);
        else if (!tenon_dim_depends_on_data(e->g->dims, t->dim[i])) {
            tenon_dim_print(&text, e->g->dims, t->dim[i]);
            tenon_wire_put_text(&dim, 2, tenon_buf_cstr(&text));
            tenon_buf_clear(&text);
        }
        tenon_wire_put_message(&shape, 1, &dim);
    }
    tenon_wire_put_message(tensor, 2, &shape);
    tenon_buf_free(&shape);
    tenon_buf_free(&dim);
    tenon_buf_free(&text);
}

static void put_type(tenon_export *e, const tenon_type *t, tenon_buf *out)
{
    tenon_buf inner;
    tenon_buf_init(&inner, e->cx);
    if (t->dtype == TENON_SEQUENCE || t->dtype == TENON_OPTIONAL) {
        tenon_buf element;
        tenon_buf_init(&element, e->cx);
        if (t->element) put_type(e, t->element, &element);
        tenon_wire_put_message(&inner, 1, &element);
        tenon_wire_put_message(out, t->dtype == TENON_SEQUENCE ? 4 : 9, &inner);
        tenon_buf_free(&element);
    } else {
        tenon_wire_put_int(&inner, 1, tenon_onnx_dtype_number(t->dtype));
        if (t->rank >= 0) put_shape(e, t, &inner);
        tenon_wire_put_message(out, 1, &inner);
    }
    tenon_buf_free(&inner);
}

static void put_value_info(tenon_export *e, uint32_t number, const tenon_value *v, tenon_buf *out)
{
    tenon_buf info, type;
    tenon_buf_init(&info, e->cx);
    tenon_buf_init(&type, e->cx);
    tenon_wire_put_text(&info, 1, v->name);
    put_type(e, &v->type, &type);
    tenon_wire_put_message(&info, 2, &type);
    tenon_wire_put_message(out, number, &info);
    tenon_buf_free(&info);
    tenon_buf_free(&type);
}

/* ---- attributes ---- */
void tenon_export_attr_begin(tenon_buf *attr, const char *name, int type)
{
    tenon_wire_put_text(attr, 1, name);
    tenon_wire_put_int(attr, 20, type);
}

static tenon_status put_attr(tenon_export *e, const tenon_node *n, int index, tenon_buf *node)
{
    static const uint8_t type[] = {
        [TENON_ATTR_INT] = TENON_PB_INT, [TENON_ATTR_FLOAT] = TENON_PB_FLOAT, [TENON_ATTR_STRING] = TENON_PB_STRING,
            [TENON_ATTR_INTS] = TENON_PB_INTS,
        [TENON_ATTR_FLOATS] = TENON_PB_FLOATS, [TENON_ATTR_STRINGS] = TENON_PB_STRINGS, [TENON_ATTR_DTYPE] = TENON_PB_INT,
        [TENON_ATTR_TENSOR] = TENON_PB_TENSOR, [TENON_ATTR_GRAPH] = TENON_PB_GRAPH,
    };
    const tenon_attr_def *def = &tenon_op_as_head(n->op)->attr[index];
    const tenon_attr *a = &n->attr[index];
    tenon_buf attr, nested;
    tenon_status status = TENON_OK;
    tenon_buf_init(&attr, e->cx);
    tenon_buf_init(&nested, e->cx);
    tenon_export_attr_begin(&attr, def->name, type[def->kind]);
    switch (def->kind) {
    case TENON_ATTR_INT: tenon_wire_put_int(&attr, 3, a->i); break;
    case TENON_ATTR_DTYPE: tenon_wire_put_int(&attr, 3, tenon_onnx_dtype_number((tenon_dtype)a->i)); break;
    case TENON_ATTR_FLOAT: tenon_wire_put_float(&attr, 2, (float)a->f); break;
    case TENON_ATTR_STRING: tenon_wire_put_text(&attr, 4, a->s); break;
    case TENON_ATTR_INTS:
        for (size_t i = 0; i < a->count; i++) tenon_wire_put_int(&attr, 8, a->ints[i]);
        break;
    case TENON_ATTR_FLOATS:
        for (size_t i = 0; i < a->count; i++) tenon_wire_put_float(&attr, 7, (float)a->floats[i]);
        break;
    case TENON_ATTR_STRINGS:
        for (size_t i = 0; i < a->count; i++) tenon_wire_put_text(&attr, 9, a->strings[i]);
        break;
    case TENON_ATTR_TENSOR:
        tenon_export_tensor(e, a->tensor, NULL, &nested);
        tenon_wire_put_message(&attr, 5, &nested);
        break;
    case TENON_ATTR_GRAPH:
        status = tenon_export_graph(e, n->sub[a->i], &nested);
        tenon_wire_put_message(&attr, 6, &nested);
        break;
    }
    tenon_wire_put_message(node, 5, &attr);
    tenon_buf_free(&attr);
    tenon_buf_free(&nested);
    return status;
}

/* ---- inputs that are attributes here ---- */
const char *tenon_export_name(tenon_export *e, const char *base, const char *what)
{
    char *name = tenon_arena_printf(&e->arena, "%s.%s", base, what);
    while (name && (tenon_graph_find(e->g, name, strlen(name)) || tenon_onnx_map_get(&e->made, tenon_span_of(name))))
        name = tenon_arena_printf(&e->arena, "%s.%s.%d", base, what, ++e->fresh);
    if (!name || tenon_onnx_map_put(&e->made, tenon_span_of(name), name) != TENON_OK) return NULL;
    return name;
}

tenon_status tenon_export_const(tenon_export *e, const tenon_tensor *t, const char *name, tenon_buf *graph)
{
    tenon_buf tensor;
    tenon_buf_init(&tensor, e->cx);
    tenon_export_tensor(e, t, name, &tensor);
    tenon_wire_put_message(graph, 5, &tensor);
    tenon_buf_free(&tensor);
    return TENON_OK;
}

static tenon_status attr_input(tenon_export *e, const tenon_node *n, int index, tenon_buf *graph, const char **name)
{
    const tenon_attr_def *def = &tenon_op_as_head(n->op)->attr[index];
    const tenon_attr *a = &n->attr[index];
    tenon_tensor t = {.rank = 1, .dim = {(int64_t)a->count}};
    float f = (float)a->f, *list = NULL;
    if (!(*name = tenon_export_name(e, n->name, def->name))) return TENON_NOMEM;
    switch (def->kind) {
    case TENON_ATTR_INTS: t.dtype = TENON_I64; t.data = (void *)(uintptr_t)a->ints; break;
    case TENON_ATTR_INT: t.dtype = TENON_I64; t.rank = 0; t.data = (void *)(uintptr_t)&a->i; break;
    case TENON_ATTR_FLOAT: t.dtype = TENON_F32; t.rank = 0; t.data = &f; break;
    case TENON_ATTR_FLOATS:
        t.dtype = TENON_F32;
        if (!(t.data = list = tenon_arena_array(&e->arena, a->count + 1, sizeof *list))) return TENON_NOMEM;
        for (size_t i = 0; i < a->count; i++) list[i] = (float)a->floats[i];
        break;
    case TENON_ATTR_TENSOR: t = *a->tensor; break;
    default: return TENON_FAIL(e->cx, TENON_INTERNAL, "node '%s': attribute '%s' cannot be written as an input", n->name,
                               def->name);
    }
    if (def->kind != TENON_ATTR_TENSOR) tenon_tensor_dense(&t);
    return tenon_export_const(e, &t, *name, graph);
}

/* ---- nodes ---- */
void tenon_export_node(tenon_export *e, tenon_buf *graph, const char *type, const char *name, int src_count,
                       const char *const *src,
                       const char *dst, tenon_buf *attrs)
{
    tenon_buf node;
    tenon_buf_init(&node, e->cx);
    for (int i = 0; i < src_count; i++) tenon_wire_put_text(&node, 1, src[i]);
    tenon_wire_put_text(&node, 2, dst);
    tenon_wire_put_text(&node, 3, name);
    tenon_wire_put_text(&node, 4, type);
    if (attrs) {
        tenon_buf_bytes(&node, attrs->data ? attrs->data : "", attrs->length);
        node.failed |= attrs->failed;
        tenon_buf_clear(attrs);
    }
    tenon_wire_put_message(graph, 1, &node);
    tenon_buf_free(&node);
}

static int src_attr_index(const tenon_op *op, const char *attr)
{
    for (int i = 0; op->src_attr && i < op->src_max && op->src_max != TENON_VARIADIC; i++)
        if (op->src_attr[i] && strcmp(op->src_attr[i], attr) == 0) return i;
    return -1;
}

static tenon_status put_direct(tenon_export *e, const tenon_node *n, const char *type, tenon_buf *graph)
{
    const tenon_attr_def *def = tenon_op_as_head(n->op)->attr;
    enum { EXTRA = 8 };
    const char *extra[EXTRA] = {NULL};
    int src_count = n->src_count;
    tenon_buf node;
    tenon_status status = TENON_OK;
    tenon_buf_init(&node, e->cx);
    for (int i = 0; def && def[i].name; i++) {
        if (!n->attr[i].set) continue;
        const int at = src_attr_index(n->op, def[i].name);
        if (at < 0) TENON_TRY_DONE(put_attr(e, n, i, &node));
        else if (at >= EXTRA)
            TENON_TRY_DONE(TENON_FAIL(e->cx, TENON_INTERNAL, "operator '%s' has too many attributes that are inputs",
                                      n->op->name));
        else {
            TENON_TRY_DONE(attr_input(e, n, i, graph, &extra[at]));
            src_count = TENON_MAX(src_count, at + 1);
        }
    }
    for (int i = 0; i < src_count; i++) {
        const char *name = i < n->src_count && n->src[i] ? n->src[i]->name : i < EXTRA && extra[i] ? extra[i] : "";
        tenon_wire_put_text(&node, 1, name);
    }
    for (int i = 0; i < n->dst_count; i++) tenon_wire_put_text(&node, 2, n->dst[i] ? n->dst[i]->name : "");
    tenon_wire_put_text(&node, 3, n->name);
    tenon_wire_put_text(&node, 4, type);
    if (n->op->domain) tenon_wire_put_text(&node, 7, n->op->domain);
    tenon_wire_put_message(graph, 1, &node);
done:
    tenon_buf_free(&node);
    return status;
}

static tenon_status put_node(tenon_export *e, const tenon_node *n, tenon_buf *graph)
{
    const tenon_export_row *row = tenon_export_find(n->op);
    if (row && row->write) return row->write(e, n, graph);
    return put_direct(e, n, row ? row->type : n->op->onnx, graph);
}

/* ---- graphs ---- */
static tenon_status mark(tenon_export *e, const tenon_value *v)
{
    return v ? tenon_onnx_map_put(&e->used, tenon_span_of(v->name), (void *)(uintptr_t)v) : TENON_OK;
}

static tenon_status mark_used(tenon_export *e, const tenon_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const tenon_node *n = g->node[i];
        if (n->dead) continue;
        for (int k = 0; k < n->src_count; k++) TENON_TRY(mark(e, n->src[k]));
        for (int k = 0; k < n->sub_count; k++) TENON_TRY(mark_used(e, n->sub[k]));
        const tenon_export_row *row = tenon_export_find(n->op);
        if (!row && !n->op->onnx) {
            if (strlen(e->missing) + strlen(n->op->name) + 3 < sizeof e->missing && !strstr(e->missing, n->op->name))
                snprintf(e->missing + strlen(e->missing), sizeof e->missing - strlen(e->missing), "%s%s", *e->missing ? ", " : "",
                         n->op->name);
        } else if (!n->op->domain) e->opset = TENON_MAX(e->opset, row ? row->opset : n->op->onnx_since);
        else e->microsoft = true;
    }
    for (size_t i = 0; i < g->output_count; i++) TENON_TRY(mark(e, g->output[i]));
    return TENON_OK;
}

tenon_status tenon_export_graph(tenon_export *e, tenon_graph *g, tenon_buf *out)
{
    tenon_wire_put_text(out, 2, g->name && *g->name ? g->name : "tenon");
    for (size_t i = 0; i < g->value_count; i++) {
        tenon_value *v = g->value[i];
        const tenon_tensor *t;
        if (!v->is_const || tenon_onnx_map_get(&e->used, tenon_span_of(v->name)) != (void *)v) continue;
        TENON_TRY(tenon_eval_const(e->cx, g, v, &t));
        TENON_TRY(tenon_export_const(e, t, v->name, out));
    }
    for (size_t i = 0; i < g->input_count; i++) put_value_info(e, 11, g->input[i], out);
    for (size_t i = 0; i < g->node_count; i++)
        if (!g->node[i]->dead) TENON_TRY(put_node(e, g->node[i], out));
    for (size_t i = 0; i < g->output_count; i++) put_value_info(e, 12, g->output[i], out);
    return TENON_OK;
}

static void put_opset(tenon_export *e, const char *domain, int version, tenon_buf *model)
{
    tenon_buf opset;
    tenon_buf_init(&opset, e->cx);
    tenon_wire_put_text(&opset, 1, domain);
    tenon_wire_put_int(&opset, 2, version);
    tenon_wire_put_message(model, 8, &opset);
    tenon_buf_free(&opset);
}

tenon_status tenon_onnx_write(tenon_cx *cx, tenon_graph *g, tenon_buf *out)
{
    tenon_export e = {.cx = cx, .g = g, .opset = TENON_ONNX_OPSET_WRITTEN};
    tenon_buf graph;
    tenon_status status;
    tenon_arena_init(&e.arena, cx);
    tenon_buf_init(&graph, cx);
    e.used.arena = e.made.arena = &e.arena;
    TENON_TRY_DONE(mark_used(&e, g));
    if (*e.missing) {
        status = TENON_FAIL(cx, TENON_UNSUPPORTED, "ONNX has no operator for: %s", e.missing);
        goto done;
    }
    TENON_TRY_DONE(tenon_export_graph(&e, g, &graph));
    tenon_wire_put_int(out, 1, e.opset >= 23 ? 11 : 10);
    tenon_wire_put_text(out, 2, "tenon");
    tenon_wire_put_text(out, 3, tenon_version());
    put_opset(&e, "", e.opset, out);
    if (e.microsoft) put_opset(&e, "com.microsoft", 1, out);
    tenon_wire_put_message(out, 7, &graph);
    TENON_TRY_DONE(tenon_buf_status(out));
    if (out->length > INT32_MAX)
        status = TENON_FAIL(cx, TENON_UNSUPPORTED, "the model has %zu bytes; ONNX files end at 2 GB without external weights",
                            out->length);
done:
    tenon_buf_free(&graph);
    tenon_arena_free(&e.arena);
    return status;
}
