/* SPDX-License-Identifier: Apache-2.0 */
/* One scope of the model: the main graph, the body of an If, Loop or Scan, or the body of a model-local function that is inlined
   where it is called. Names, inputs, initializers, outputs. */
#include "onnx/import.h"

#include <stdio.h>
#include <string.h>

tenon_value *tenon_onnx_lookup(const tenon_onnx_scope *scope, tenon_span name)
{
    for (; scope; scope = scope->outer) {
        tenon_value *v = tenon_onnx_map_get(&scope->names, name);
        if (v) return v;
    }
    return NULL;
}

/* ---- inputs and initializers ---- */
static tenon_status initializers(tenon_importer *im, tenon_onnx_scope *scope, const tenon_pb_graph *pb)
{
    if (pb->sparse_initializer.count > 0)
        return TENON_FAIL(im->cx, TENON_UNSUPPORTED, "ONNX: the model holds sparse initializers: store them dense");
    for (size_t i = 0; i < pb->initializer.count; i++) {
        const tenon_pb_tensor *t = &pb->initializer.item[i];
        const char *name;
        TENON_TRY(tenon_onnx_string(im, t->name, "initializer name", &name));
        if (!*name) return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: initializer %zu has no name", i);
        if (tenon_onnx_map_get(&scope->names, t->name))
            return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: initializer '%s' is there twice", name);
        char what[160];
        snprintf(what, sizeof what, "initializer '%.120s'", name);
        tenon_tensor tensor;
        tenon_value *v;
        TENON_TRY(tenon_onnx_tensor(im, t, what, &tensor));
        TENON_TRY(tenon_graph_const(scope->graph, name, &tensor, false, &v));
        v->source_name = name;
        TENON_TRY(tenon_onnx_map_put(&scope->names, t->name, v));
    }
    return TENON_OK;
}

static tenon_status input(tenon_importer *im, tenon_onnx_scope *scope, const tenon_pb_value_info *pb, const tenon_type *outer)
{
    const char *name;
    tenon_value *v;
    tenon_graph *g = scope->graph;
    TENON_TRY(tenon_onnx_string(im, pb->name, "input name", &name));
    if (!*name) return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: an input has no name");
    /* A body's input gets the type of what is handed in; the declaration of a body is often empty. */
    tenon_type type = {.rank = -1};
    if (outer && outer->dtype != TENON_DTYPE_NONE) type = *outer;
    else TENON_TRY(tenon_onnx_type(im, pb->type, name, &type));
    if (!g->parent && type.rank < 0)
        return TENON_FAIL(im->cx, TENON_UNSUPPORTED,
                          "ONNX: input '%s' has no shape: give it a rank (unknown dimensions may be symbolic)", name);
    TENON_TRY(tenon_graph_value(g, name, &type, &v));
    if (tenon_onnx_map_get(&scope->names, pb->name))
        return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: input '%s' is there twice", name);
    TENON_TRY(tenon_onnx_map_put(&scope->names, pb->name, v));
    return tenon_graph_add_input(g, v);
}

/* ---- outputs ---- */
/* An output is a result that bears the output's name; what is an input, a constant, an outer value or another output
   is copied. */
static tenon_status output(tenon_importer *im, tenon_onnx_scope *scope, const tenon_pb_value_info *pb)
{
    tenon_graph *g = scope->graph;
    const char *name;
    TENON_TRY(tenon_onnx_string(im, pb->name, "output name", &name));
    if (!*name) return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: an output has no name");
    tenon_value *v = tenon_onnx_lookup(scope, pb->name);
    if (!v) return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: output '%s' is given by no node", name);
    const bool here = tenon_onnx_map_get(&scope->names, pb->name) == (void *)v;
    bool taken = !v->producer || !here || strcmp(v->name, name) != 0;
    for (size_t i = 0; i < g->output_count && !taken; i++) taken = g->output[i] == v;
    if (taken) {
        const tenon_op *identity = tenon_op_find("identity", 8);
        tenon_node *n;
        if (!identity) return TENON_FAIL(im->cx, TENON_INTERNAL, "no operator 'identity'");
        TENON_TRY(tenon_graph_node(g, identity, name, 1, &v, 1, &n));
        TENON_TRY(tenon_infer_node(im->cx, g, n));
        n->origin = name;
        if (v->is_const && strcmp(v->name, name) == 0) tenon_graph_swap_names(g, v, n->dst[0]);
        v = n->dst[0];
    }
    return tenon_graph_add_output(g, v);
}

tenon_status tenon_onnx_graph(tenon_importer *im, tenon_onnx_scope *scope, const tenon_pb_graph *pb,
                              const tenon_type *const *outer,
                              size_t outer_count)
{
    TENON_TRY(tenon_onnx_string(im, pb->name, "graph name", &scope->graph->name));
    TENON_TRY(initializers(im, scope, pb));
    size_t position = 0;
    for (size_t i = 0; i < pb->input.count; i++) {
        /* before IR version 4 every initializer had to be an input too: it is a constant all the same */
        const tenon_value *known = tenon_onnx_map_get(&scope->names, pb->input.item[i].name);
        if (known && known->is_const && !scope->outer) continue;
        TENON_TRY(input(im, scope, &pb->input.item[i], position < outer_count ? outer[position] : NULL));
        position++;
    }
    TENON_TRY(tenon_onnx_nodes(im, scope, pb->node.item, pb->node.count));
    for (size_t i = 0; i < pb->output.count; i++) TENON_TRY(output(im, scope, &pb->output.item[i]));
    return TENON_OK;
}

tenon_status tenon_onnx_splice(tenon_onnx_call *c, const tenon_pb_graph *pb)
{
    tenon_onnx_scope scope = {.outer = c->scope, .graph = c->g, .names = {.arena = c->im->arena}, .frame = c->scope->frame,
                              .opsets = c->scope->opsets, .depth = c->scope->depth + 1};
    if (scope.depth > TENON_ONNX_NEST_MAX)
        return TENON_FAIL(c->cx, TENON_INVALID, "sub-graphs are nested more than %d deep", TENON_ONNX_NEST_MAX);
    if (pb->input.count > 0) return TENON_FAIL(c->cx, TENON_INVALID, "a branch has inputs");
    scope.prefix = tenon_arena_printf(c->im->arena, "%s/", c->name);
    if (!scope.prefix) return TENON_NOMEM;
    TENON_TRY(initializers(c->im, &scope, pb));
    TENON_TRY(tenon_onnx_nodes(c->im, &scope, pb->node.item, pb->node.count));
    for (int i = 0; i < c->dst_count && (size_t)i < pb->output.count; i++) {
        c->dst[i] = tenon_onnx_lookup(&scope, pb->output.item[i].name);
        if (!c->dst[i]) return TENON_FAIL(c->cx, TENON_INVALID, "output %d of a branch is given by no node", i);
    }
    return TENON_OK;
}

tenon_status tenon_onnx_nodes(tenon_importer *im, tenon_onnx_scope *scope, const tenon_pb_node *node, size_t count)
{
    size_t *order = tenon_arena_array(im->arena, count + 1, sizeof *order);
    if (!order) return TENON_NOMEM;
    TENON_TRY(tenon_onnx_sort(im, node, count, order));
    for (size_t i = 0; i < count; i++) TENON_TRY(tenon_onnx_node(im, scope, &node[order[i]]));
    return TENON_OK;
}

/* ---- model-local functions ---- */
static tenon_status bind_inputs(tenon_importer *im, const tenon_onnx_scope *caller, const tenon_pb_node *node,
                                const tenon_pb_function *f,
                                tenon_onnx_scope *inside)
{
    if (node->input.count > f->input.count)
        return TENON_FAIL(im->cx, TENON_INVALID, "%zu inputs for a function that takes %zu", node->input.count, f->input.count);
    for (size_t i = 0; i < node->input.count; i++) {
        if (node->input.item[i].length == 0) continue;
        tenon_value *v = tenon_onnx_lookup(caller, node->input.item[i]);
        if (!v)
            return TENON_FAIL(im->cx, TENON_INVALID, "reads '%.*s', which no node, input or initializer gives",
                              (int)TENON_MIN(node->input.item[i].length, 200), (const char *)node->input.item[i].data);
        TENON_TRY(tenon_onnx_map_put(&inside->names, f->input.item[i], v));
    }
    return TENON_OK;
}

tenon_status tenon_onnx_inline(tenon_importer *im, tenon_onnx_scope *scope, const tenon_pb_node *node, const char *name,
                               const tenon_pb_function *function)
{
    for (const tenon_onnx_frame *f = scope->frame; f; f = f->outer)
        if (f->function == function) return TENON_FAIL(im->cx, TENON_INVALID, "the function calls itself");
    if (scope->depth >= TENON_ONNX_NEST_MAX)
        return TENON_FAIL(im->cx, TENON_INVALID, "functions are nested more than %d deep", TENON_ONNX_NEST_MAX);
    const tenon_onnx_frame frame = {scope->frame, function, node, scope->depth};
    tenon_onnx_scope inside = {.graph = scope->graph, .names = {.arena = im->arena}, .frame = &frame, .depth = scope->depth + 1,
                               .opsets = function->opset_import.count ? &function->opset_import : scope->opsets};
    inside.prefix = tenon_arena_printf(im->arena, "%s/", name);
    if (!inside.prefix) return TENON_NOMEM;
    TENON_TRY(bind_inputs(im, scope, node, function, &inside));
    TENON_TRY(tenon_onnx_nodes(im, &inside, function->node.item, function->node.count));
    for (size_t i = 0; i < node->output.count; i++) {
        const tenon_span outer = node->output.item[i];
        if (outer.length == 0) continue;
        tenon_value *v = i < function->output.count ? tenon_onnx_map_get(&inside.names, function->output.item[i]) : NULL;
        if (!v) return TENON_FAIL(im->cx, TENON_INVALID, "the function does not give its output %zu", i);
        /* what was made inside gets the caller's name, if it has none of another output yet */
        bool made = v->producer != NULL;
        for (size_t k = 0; k < function->input.count && made; k++)
            made = tenon_onnx_map_get(&inside.names, function->input.item[k]) != (void *)v;
        for (size_t k = 0; k < i && made; k++) made = !tenon_span_equal(function->output.item[k], function->output.item[i]);
        if (made) {
            const char *text;
            TENON_TRY(tenon_onnx_string(im, outer, "value name", &text));
            if (!(text = tenon_arena_printf(im->arena, "%s%s", scope->prefix, text))) return TENON_NOMEM;
            TENON_TRY(tenon_graph_rename(scope->graph, v, text));
        }
        if (tenon_onnx_map_get(&scope->names, outer))
            return TENON_FAIL(im->cx, TENON_INVALID, "its output %zu is already given", i);
        TENON_TRY(tenon_onnx_map_put(&scope->names, outer, v));
    }
    return TENON_OK;
}
