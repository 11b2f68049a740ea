/* SPDX-License-Identifier: Apache-2.0 */
/* One ONNX node: its sources are looked up, it becomes canonical nodes by a rewrite of convert.def or 1:1 by the operator's own
   table, and its results get their ONNX names. An attribute that nobody reads is an error unless it is listed as harmless. */
#include "onnx/import.h"

#include <stdio.h>
#include <string.h>

/* ---- 1:1 ---- */
/* ONNX attributes that change nothing here. value INT64_MIN: whatever it is. */
static const struct { const char *type, *attr; int64_t value; } harmless[] = {
    {"Conv", "kernel_shape", INT64_MIN},      {"ConvTranspose", "kernel_shape", INT64_MIN},
        {"ConvInteger", "kernel_shape", INT64_MIN},
    {"QLinearConv", "kernel_shape", INT64_MIN}, {"DeformConv", "kernel_shape", INT64_MIN},
    {"*", "stash_type", INT64_MIN},           /* every statistic is computed in f32 or wider */
    {"*", "consumed_inputs", INT64_MIN},      {"BatchNormalization", "momentum", INT64_MIN},
        {"BatchNormalization", "training_mode", 0},
    {"BatchNormalization", "spatial", 1},     {"BatchNormalization", "is_test", 1},
    {"LSTM", "output_sequence", INT64_MIN},   {"GRU", "output_sequence", INT64_MIN},
        {"RNN", "output_sequence", INT64_MIN},
    {"Dropout", "ratio", INT64_MIN},          {"Dropout", "seed", INT64_MIN},                {"Dropout", "is_test", INT64_MIN},
    {"*", "saturate", 1},                     {"*", "noop_with_empty_axes", 0},              {"*", "precision", 0},
    {"*", "softmax_precision", INT64_MIN},    {"MaxPool", "storage_order", 0},               {"Resize", "antialias", 0},
    {"Reshape", "allowzero", 0},              {"ArgMax", "select_last_index", 0},            {"ArgMin", "select_last_index", 0},
    {"Unique", "sorted", 1},                  {"*", "round_mode", INT64_MIN},
};

static bool is_harmless(const tenon_onnx_call *c, const tenon_pb_attr *a)
{
    for (size_t i = 0; i < TENON_COUNTOF(harmless); i++)
        if ((*harmless[i].type == '*' || strcmp(harmless[i].type, c->type) == 0) && tenon_span_is(a->name, harmless[i].attr) &&
            (harmless[i].value == INT64_MIN || (tenon_onnx_attr_type(a) == TENON_PB_INT && a->i == harmless[i].value)))
            return true;
    return false;
}

/* What a message lists when a name is not one of these. */
static const char *attribute_names(const tenon_op *op, char *text, size_t room)
{
    const tenon_attr_def *def = tenon_op_as_head(op)->attr;
    size_t used = 0;
    *text = 0;
    for (int i = 0; def && def[i].name && used < room; i++)
        used += (size_t)snprintf(text + used, room - used, "%s%s", i ? ", " : "", def[i].name);
    return *text ? text : "none";
}

static tenon_status check_attributes(const tenon_onnx_call *c, const tenon_op *op)
{
    for (size_t i = 0; i < c->node->attribute.count; i++) {
        const char *name;
        TENON_TRY(tenon_onnx_string(c->im, c->node->attribute.item[i].name, "attribute name", &name));
        const tenon_pb_attr *a = tenon_onnx_attr(c->scope, c->node, name);
        if (!a || tenon_attr_find(op, name) >= 0 || is_harmless(c, a)) continue;
        char text[512];
        return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "attribute '%s' has no counterpart (at opset %d); there are: %s", name, c->opset,
                          attribute_names(op, text, sizeof text));
    }
    return TENON_OK;
}

/* Of a node that a program adds: what no rewrite looked at is a mistake of its author. */
static tenon_status check_unread(const tenon_onnx_call *c)
{
    const tenon_onnx_watch *w = c->scope->watch;
    if (!w || w->node != c->node) return TENON_OK;
    for (size_t i = 0; i < c->node->attribute.count && i < 64; i++) {
        const tenon_pb_attr *a = &c->node->attribute.item[i];
        if ((w->seen >> i & 1) || a->g || is_harmless(c, a)) continue;
        return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "attribute '%.*s' is not one that is read (at opset %d)",
                          (int)TENON_MIN(a->name.length, 200), (const char *)a->name.data, c->opset);
    }
    return TENON_OK;
}

/* Inputs that are attributes of the operator are moved there when their contents are known. */
static tenon_status move_inputs(tenon_onnx_call *c, const tenon_op *op, tenon_node *n)
{
    for (int i = 0; op->src_attr && i < n->src_count && (op->src_max == TENON_VARIADIC || i < op->src_max); i++) {
        if (!op->src_attr[i] || !n->src[i]) continue;
        const int index = tenon_attr_find(op, op->src_attr[i]);
        const tenon_tensor *known;
        if (index < 0) return TENON_FAIL(c->cx, TENON_INTERNAL, "operator '%s' has no attribute '%s'", op->name, op->src_attr[i]);
        TENON_TRY(tenon_onnx_known(c->im, c->g, n->src[i], &known));
        if (!known) continue;
        TENON_TRY(tenon_onnx_attr_from(c, n, index, i, known));
        n->src[i] = NULL;
    }
    while (n->src_count > 0 && !n->src[n->src_count - 1] && n->src_count > op->src_min) n->src_count--;
    return TENON_OK;
}

tenon_status tenon_onnx_direct(tenon_onnx_call *c, const tenon_op *op)
{
    tenon_node *n;
    int src_count = c->src_count, dst_count = op->dst_max == TENON_VARIADIC ? c->dst_count : TENON_MIN(c->dst_count, op->dst_max);
    while (src_count > 0 && !c->src[src_count - 1]) src_count--;
    TENON_TRY(check_attributes(c, op));
    TENON_TRY(tenon_onnx_emit(c, op->name, src_count, c->src, dst_count, &n));
    for (int i = 0; i < dst_count; i++)
        if (!tenon_onnx_wants(c, i)) n->dst[i] = NULL;
    for (int i = 0; op->attr && op->attr[i].name; i++) TENON_TRY(tenon_onnx_copy_attr(c, n, i));
    TENON_TRY(move_inputs(c, op, n));
    if (op->flags & TENON_OP_CONTROL) TENON_TRY(tenon_onnx_bodies(c, n));
    TENON_TRY(tenon_onnx_typed(c, n, NULL));
    for (int i = 0; i < dst_count; i++) c->dst[i] = n->dst[i];
    return TENON_OK;
}

tenon_status tenon_onnx_direct_as(tenon_onnx_call *c, const char *op)
{
    const tenon_op *row = tenon_op_find(op, strlen(op));
    return row ? tenon_onnx_direct(c, row) : TENON_FAIL(c->cx, TENON_UNSUPPORTED, "this build has no operator '%s'", op);
}

/* ---- Constant ---- */
static tenon_status constant_tensor(tenon_onnx_call *c, tenon_tensor *out)
{
    const tenon_onnx_scope *s = c->scope;
    const tenon_pb_attr *a;
    tenon_importer *im = c->im;
    if (tenon_onnx_has(c, "sparse_value")) return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "a sparse constant: store it dense");
    if ((a = tenon_onnx_attr(s, c->node, "value"))) {
        if (!a->t) return TENON_FAIL(c->cx, TENON_INVALID, "attribute 'value' holds no tensor");
        return tenon_onnx_tensor(im, a->t, "the constant", out);
    }
    *out = (tenon_tensor){0};
    if ((a = tenon_onnx_attr(s, c->node, "value_int"))) {
        *out = (tenon_tensor){.dtype = TENON_I64, .data = (void *)(uintptr_t)&a->i};
    } else if ((a = tenon_onnx_attr(s, c->node, "value_ints"))) {
        *out = (tenon_tensor){.dtype = TENON_I64, .rank = 1, .dim = {(int64_t)a->ints.count}, .data = a->ints.item};
    } else if ((a = tenon_onnx_attr(s, c->node, "value_float"))) {
        *out = (tenon_tensor){.dtype = TENON_F32, .data = (void *)(uintptr_t)&a->f};
    } else if ((a = tenon_onnx_attr(s, c->node, "value_floats"))) {
        *out = (tenon_tensor){.dtype = TENON_F32, .rank = 1, .dim = {(int64_t)a->floats.count}, .data = a->floats.item};
    } else if ((a = tenon_onnx_attr(s, c->node, "value_string")) || (a = tenon_onnx_attr(s, c->node, "value_strings"))) {
        const bool one = tenon_span_is(a->name, "value_string");
        const size_t count = one ? 1 : a->strings.count;
        tenon_string *item = tenon_arena_array(im->arena, TENON_MAX(count, 1), sizeof *item);
        if (!item) return TENON_NOMEM;
        for (size_t i = 0; i < count; i++) {
            const tenon_span v = one ? a->s : a->strings.item[i];
            item[i] = (tenon_string){(const char *)v.data, v.length};
        }
        *out = (tenon_tensor){.dtype = TENON_STRING, .rank = !one, .dim = {(int64_t)count}, .data = item};
    } else return TENON_FAIL(c->cx, TENON_INVALID, "a constant without a value");
    if (!out->data && !(out->data = tenon_arena_alloc(im->arena, 1))) return TENON_NOMEM;
    tenon_tensor_dense(out);
    return TENON_OK;
}

tenon_status tenon_onnx_constant(tenon_onnx_call *c)
{
    tenon_tensor t;
    if (c->dst_count != 1 || !tenon_onnx_wants(c, 0)) return TENON_FAIL(c->cx, TENON_INVALID, "a constant has one result");
    TENON_TRY(constant_tensor(c, &t));
    const char *name;
    TENON_TRY(tenon_onnx_string(c->im, c->node->output.item[0], "value name", &name));
    name = tenon_arena_printf(c->im->arena, "%s%s", c->scope->prefix, name);
    if (!name) return TENON_NOMEM;
    TENON_TRY(tenon_graph_const(c->g, name, &t, false, &c->dst[0]));
    c->dst[0]->source_name = name;
    return TENON_OK;
}

/* ---- any node ---- */
static tenon_status find_sources(tenon_onnx_call *c)
{
    for (int i = 0; i < c->src_count; i++) {
        const tenon_span name = c->node->input.item[i];
        if (name.length == 0) continue;
        c->src[i] = tenon_onnx_lookup(c->scope, name);
        /* a formal input of a function that the caller left out is an absent input */
        bool formal = false;
        for (size_t k = 0; c->scope->frame && k < c->scope->frame->function->input.count; k++)
            formal |= tenon_span_equal(c->scope->frame->function->input.item[k], name);
        const char *giver = c->src[i] ? NULL : tenon_onnx_map_get(&c->im->ungiven, name);
        if (giver)
            return TENON_FAIL(c->cx, TENON_UNSUPPORTED,
                              "reads '%.*s', a result of node '%.200s' that Tenon's operator does not give",
                              (int)TENON_MIN(name.length, 200), (const char *)name.data, giver);
        if (!c->src[i] && !formal)
            return TENON_FAIL(c->cx, TENON_INVALID, "reads '%.*s', which no node, input or initializer gives",
                              (int)TENON_MIN(name.length, 200),
                              (const char *)name.data);
    }
    return TENON_OK;
}

/* The node that does the work bears the ONNX node's name, the others the name with their operator. */
static tenon_status name_nodes(tenon_onnx_call *c, size_t first)
{
    if (first >= c->g->node_count) return TENON_OK;
    size_t main_node = c->g->node_count - 1;
    for (size_t i = c->g->node_count; i-- > first;)
        if (!c->g->node[i]->origin && (c->g->node[i]->op->flags & TENON_OP_ANCHOR)) main_node = i;
    for (size_t i = first; i < c->g->node_count; i++) {
        tenon_node *n = c->g->node[i];
        if (n->origin) continue; /* of a branch: named there */
        n->origin = c->name;
        n->name = i == main_node ? c->name : tenon_arena_printf(c->im->arena, "%s.%s", c->name, n->op->name);
        if (!n->name) return TENON_NOMEM;
    }
    return TENON_OK;
}

static tenon_status bind_results(tenon_onnx_call *c, size_t first)
{
    for (int i = 0; i < c->dst_count; i++) {
        if (!tenon_onnx_wants(c, i)) continue;
        const tenon_span span = c->node->output.item[i];
        const char *name;
        TENON_TRY(tenon_onnx_string(c->im, span, "value name", &name));
        tenon_value *v = c->dst[i];
        if (!v) { /* an error only if somebody reads it */
            TENON_TRY(tenon_onnx_map_put(&c->im->ungiven, span, (void *)(uintptr_t)c->name));
            continue;
        }
        bool ours = false;
        for (size_t k = first; k < c->g->node_count && !ours; k++) ours = c->g->node[k] == v->producer;
        for (int k = 0; k < i && ours; k++) ours = c->dst[k] != v;
        const char *full = ours ? tenon_arena_printf(c->im->arena, "%s%s", c->scope->prefix, name) : name;
        if (!full) return TENON_NOMEM;
        if (ours) TENON_TRY(tenon_graph_rename(c->g, v, full));
        if (tenon_onnx_map_get(&c->scope->names, span))
            return TENON_FAIL(c->cx, TENON_INVALID, "its result '%s' is already given", name);
        TENON_TRY(tenon_onnx_map_put(&c->scope->names, span, v));
    }
    return TENON_OK;
}

static tenon_status convert(tenon_onnx_call *c)
{
    const tenon_pb_function *function;
    TENON_TRY(tenon_onnx_function(c->im, c->node, &function));
    if (function) return tenon_onnx_inline(c->im, c->scope, c->node, c->name, function);
    const size_t first = c->g->node_count;
    TENON_TRY(find_sources(c));
    const tenon_onnx_row *row;
    const tenon_op *op;
    if (!*c->domain && c->opset == 0)
        return TENON_FAIL(c->cx, TENON_INVALID, "the model does not import the default operator set");
    if (c->im->by_hand && strcmp(c->domain, TENON_ONNX_OWN_DOMAIN) == 0) {
        row = NULL;
        op = tenon_op_find(c->type, strlen(c->type));
    } else tenon_onnx_find(c->domain, c->type, c->opset, &row, &op);
    if (row) {
        TENON_TRY(row->convert(c));
        TENON_TRY(check_unread(c));
    } else if (op) TENON_TRY(tenon_onnx_direct(c, op));
    else return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "no such operator at opset %d", c->opset);
    TENON_TRY(name_nodes(c, first));
    return bind_results(c, first);
}

tenon_status tenon_onnx_node(tenon_importer *im, tenon_onnx_scope *scope, const tenon_pb_node *node)
{
    if (im->node_count >= TENON_ONNX_NODES_MAX || node->input.count > INT16_MAX || node->output.count > INT16_MAX)
        return TENON_FAIL(im->cx, TENON_INVALID,
                          "ONNX: more than %d nodes with all functions inlined, or a node with more than %d inputs",
                          TENON_ONNX_NODES_MAX, INT16_MAX);
    tenon_onnx_call c = {.im = im, .cx = im->cx, .scope = scope, .g = scope->graph, .node = node,
                         .src_count = (int)node->input.count,
                         .dst_count = (int)node->output.count, .opset = tenon_onnx_opset(scope, node->domain)};
    const char *name;
    TENON_TRY(tenon_onnx_string(im, node->op_type, "operator name", &c.type));
    TENON_TRY(tenon_onnx_string(im, tenon_span_is(node->domain, "ai.onnx") ? (tenon_span){0} : node->domain, "domain",
                                &c.domain));
    TENON_TRY(tenon_onnx_string(im, node->name, "node name", &name));
    c.name = *name ? tenon_arena_printf(im->arena, "%s%s", scope->prefix, name)
                   : tenon_arena_printf(im->arena, "%s%s_%zu", scope->prefix, c.type, im->node_count);
    c.src = tenon_arena_array(im->arena, node->input.count + 1, sizeof *c.src);
    c.dst = tenon_arena_array(im->arena, node->output.count + 1, sizeof *c.dst);
    if (!c.name || !c.src || !c.dst) return TENON_NOMEM;
    im->node_count++;
    const tenon_status status = convert(&c);
    if (status != TENON_OK)
        return tenon_fail_in(im->cx, status, "%s '%.200s' (%s%s%.100s): ", im->by_hand ? "node" : "ONNX node", c.name, c.domain, *c.domain ? "." : "", c.type);
    return TENON_OK;
}
