/* SPDX-License-Identifier: Apache-2.0 */
/* Adding to a graph by hand; see layers.h. A value is known to the importer by a key: its name, or where another value of a scope
   around has that name, the name with its number. In a body no name may hide one around it, so that the body's messages mean the
   same whenever they are imported. */
#include "onnx/layers.h"

#include "onnx/layers_proto.h"

#include <stdio.h>
#include <string.h>

struct tenon_layers {
    tenon_importer *im;
    tenon_onnx_scope scope;
    tenon_layers *outer;         /* NULL: the network */
    tenon_pb_opsets opsets;
    tenon_pb_opset opset;
    /* of a body: its messages so far */
    tenon_pb_graph pb;
    size_t node_capacity, initializer_capacity, input_capacity, output_capacity;
    bool used;                   /* a node has it */
};

/* ---- creation ---- */
tenon_status tenon_layers_create(tenon_cx *cx, tenon_arena *arena, tenon_graph *g, int opset, tenon_onnx_files *files,
                                 tenon_layers **out)
{
    *out = NULL;
    tenon_layers *l = tenon_arena_alloc(arena, sizeof *l);
    tenon_importer *im = tenon_arena_alloc(arena, sizeof *im);
    if (!l || !im) return TENON_NOMEM;
    if (opset == 0) opset = g->opset ? g->opset : TENON_ONNX_OPSET_MAX;
    *im = (tenon_importer){.cx = cx, .arena = arena, .dims = g->dims, .files = files, .functions = {.arena = arena},
                           .ungiven = {.arena = arena}, .by_hand = true};
    l->im = im;
    l->opset = (tenon_pb_opset){.version = opset};
    l->opsets = (tenon_pb_opsets){&l->opset, 1};
    l->scope = (tenon_onnx_scope){.graph = g, .names = {.arena = arena}, .prefix = "", .opsets = &l->opsets};
    g->opset = opset;
    for (size_t i = 0; i < g->value_count; i++)
        TENON_TRY(tenon_onnx_map_put(&l->scope.names, tenon_span_of(g->value[i]->name), g->value[i]));
    *out = l;
    return TENON_OK;
}

tenon_status tenon_layers_body(tenon_layers *outer, const char *name, tenon_layers **out)
{
    *out = NULL;
    tenon_importer *im = outer->im;
    if (outer->scope.depth >= TENON_ONNX_NEST_MAX)
        return TENON_FAIL(im->cx, TENON_INVALID, "bodies are nested more than %d deep", TENON_ONNX_NEST_MAX);
    tenon_layers *l = tenon_arena_alloc(im->arena, sizeof *l);
    tenon_graph *g;
    if (!l) return TENON_NOMEM;
    /* a root of its own, so that its names are free when the body is imported into the graph around it */
    TENON_TRY(tenon_graph_create(im->cx, im->arena, im->dims, NULL, &g));
    TENON_TRY(tenon_layers_span(im, name, &l->pb.name));
    g->opset = outer->scope.graph->opset;
    l->im = im;
    l->outer = outer;
    l->scope = (tenon_onnx_scope){.outer = &outer->scope, .graph = g, .names = {.arena = im->arena}, .prefix = "",
                                  .opsets = outer->scope.opsets, .depth = outer->scope.depth + 1};
    *out = l;
    return TENON_OK;
}

tenon_graph *tenon_layers_graph(tenon_layers *l) { return l->scope.graph; }

/* ---- names ---- */
static bool owns(const tenon_layers *l, const tenon_value *v)
{
    const tenon_graph *g = l->scope.graph;
    return v->id >= 0 && (size_t)v->id < g->value_count && g->value[v->id] == v;
}

static bool taken(const tenon_layers *l, const char *name)
{
    if (tenon_onnx_lookup(&l->scope, tenon_span_of(name))) return true;
    for (; l; l = l->outer)
        if (tenon_graph_find(l->scope.graph, name, strlen(name))) return true;
    return false;
}

static tenon_status check_free(const tenon_layers *l, const char *what, const char *name)
{
    if (!taken(l, name)) return TENON_OK;
    return TENON_FAIL(l->im->cx, TENON_INVALID, "%s '%.200s': another value %shas this name", what, name,
                      l->outer ? "here or around it " : "");
}

/* `name`, or name.2, name.3, ... */
static tenon_status free_name(const tenon_layers *l, const char *name, const char **out)
{
    *out = tenon_arena_strdup(l->im->arena, name);
    for (int i = 2; *out && taken(l, *out); i++) *out = tenon_arena_printf(l->im->arena, "%s.%d", name, i);
    return *out ? TENON_OK : TENON_NOMEM;
}

tenon_status tenon_layers_owns(tenon_layers *l, const tenon_value *v, const char *what)
{
    for (const tenon_layers *at = l; at; at = at->outer)
        if (owns(at, v)) return TENON_OK;
    return TENON_FAIL(l->im->cx, TENON_INVALID, "%s is no value of this network%s", what, l->outer ? " or of one around it" : "");
}

/* What the importer finds `v` by from here. */
static tenon_status key_of(tenon_layers *l, tenon_value *v, tenon_span *out)
{
    tenon_layers *owner = l;
    while (!owns(owner, v)) owner = owner->outer;
    const char *key = v->name;
    for (int i = 0; tenon_onnx_lookup(&l->scope, tenon_span_of(key)) != v; i++) {
        if (!tenon_onnx_map_get(&owner->scope.names, tenon_span_of(key))) {
            TENON_TRY(tenon_onnx_map_put(&owner->scope.names, tenon_span_of(key), v));
            continue;
        }
        key = tenon_arena_printf(l->im->arena, "%s@%d.%d", v->name, v->id, i);
        if (!key) return TENON_NOMEM;
    }
    *out = tenon_span_of(key);
    return TENON_OK;
}

/* What was put there by a call that failed names nothing again. */
static void forget(tenon_layers *l, tenon_span key)
{
    if (tenon_onnx_map_get(&l->scope.names, key)) (void)tenon_onnx_map_put(&l->scope.names, key, NULL);
}

static tenon_status check_open(const tenon_layers *l)
{
    return l->used ? TENON_FAIL(l->im->cx, TENON_INVALID, "the body '%.*s' is that of a node already: it cannot be changed",
                                (int)l->pb.name.length, (const char *)l->pb.name.data)
                   : TENON_OK;
}

#define APPEND(l, list, capacity, element)                                                                                       \
    do {                                                                                                                         \
        void *grown_ = (l)->pb.list.item;                                                                                        \
        TENON_TRY(tenon_arena_grow((l)->im->arena, &grown_, &(l)->capacity, (l)->pb.list.count + 1, sizeof *(l)->pb.list.item)); \
        (l)->pb.list.item = grown_;                                                                                              \
        (l)->pb.list.item[(l)->pb.list.count++] = (element);                                                                     \
    } while (0)

/* ---- inputs ---- */
/* A body brings no symbols of its own: what has no name, or is not known outside, is known when it runs. */
static tenon_status body_dim(tenon_layers *l, const char *name, int axis, const char *symbol, const tenon_dim **out)
{
    tenon_importer *im = l->im;
    *out = NULL;
    if (!symbol || !*symbol) {
        *out = tenon_dim_symbol_fresh(im->dims, "body", 0, TENON_DIM_HUGE);
        return *out ? TENON_OK : TENON_NOMEM;
    }
    tenon_cx quiet = *im->cx;
    if (tenon_dim_parse(&quiet, im->dims, symbol, strlen(symbol), out) == TENON_OK && *out) return TENON_OK;
    return TENON_FAIL(im->cx, TENON_INVALID, "input '%.200s', axis %d: '%.200s' is no dimension of the network around the body",
                      name, axis,
                      symbol);
}

tenon_status tenon_layers_input(tenon_layers *l, const char *name, tenon_dtype dtype, int rank, const int64_t *dim,
                                const char *const *dim_name, tenon_value **out)
{
    tenon_importer *im = l->im;
    tenon_graph *g = l->scope.graph;
    tenon_pb_type *pb;
    tenon_type type;
    *out = NULL;
    TENON_TRY(check_open(l));
    TENON_TRY(check_free(l, "input", name));
    if (l->outer) {
        type = (tenon_type){.dtype = dtype, .rank = rank};
        TENON_TRY(tenon_layers_type(im, name, dtype, 0, NULL, NULL, &pb));
        for (int i = 0; i < rank; i++) {
            if (dim[i] >= 0) type.dim[i] = tenon_dim_const(im->dims, dim[i]);
            else TENON_TRY(body_dim(l, name, i, dim_name ? dim_name[i] : NULL, &type.dim[i]));
            if (!type.dim[i]) return TENON_NOMEM;
        }
        pb->tensor_type->shape = NULL; /* what the node hands in says it */
    } else {
        TENON_TRY(tenon_layers_type(im, name, dtype, rank, dim, dim_name, &pb));
        TENON_TRY(tenon_onnx_type(im, pb, name, &type));
    }
    tenon_pb_value_info info = {.type = pb};
    tenon_value *v;
    const size_t values = g->value_count;
    TENON_TRY(tenon_layers_span(im, name, &info.name));
    TENON_TRY(tenon_graph_value(g, name, &type, &v));
    tenon_status status = tenon_onnx_map_put(&l->scope.names, info.name, v);
    if (status == TENON_OK) status = tenon_graph_add_input(g, v);
    if (status != TENON_OK) {
        forget(l, info.name);
        tenon_graph_undo(g, g->node_count, values);
        return status;
    }
    if (l->outer) APPEND(l, input, input_capacity, info);
    *out = v;
    return TENON_OK;
}

/* ---- constants ---- */
tenon_status tenon_layers_constant(tenon_layers *l, const tenon_host_tensor *tensor, bool copy, tenon_value **out)
{
    tenon_importer *im = l->im;
    tenon_graph *g = l->scope.graph;
    const char *name = tensor->name;
    char what[256];
    tenon_pb_tensor pb;
    tenon_tensor t;
    *out = NULL;
    TENON_TRY(check_open(l));
    if (name && *name) TENON_TRY(check_free(l, "constant", name));
    else TENON_TRY(free_name(l, "constant", &name));
    snprintf(what, sizeof what, "constant '%.200s'", name);
    TENON_TRY(tenon_layers_tensor(im, tensor, copy, what, &pb));
    TENON_TRY(tenon_onnx_tensor(im, &pb, what, &t));
    TENON_TRY(tenon_layers_span(im, name, &pb.name));
    const size_t values = g->value_count;
    tenon_value *v;
    TENON_TRY(tenon_graph_const(g, name, &t, false, &v));
    v->source_name = v->name;
    const tenon_status status = tenon_onnx_map_put(&l->scope.names, pb.name, v);
    if (status != TENON_OK) {
        tenon_graph_undo(g, g->node_count, values);
        return status;
    }
    if (l->outer) APPEND(l, initializer, initializer_capacity, pb);
    *out = v;
    return TENON_OK;
}

/* ---- nodes ---- */
static tenon_status node_inputs(tenon_layers *l, const tenon_node_desc *d, tenon_pb_node *pb)
{
    pb->input.item = tenon_arena_array(l->im->arena, d->input_count + 1, sizeof *pb->input.item);
    if (!pb->input.item) return TENON_NOMEM;
    pb->input.count = d->input_count;
    for (size_t i = 0; i < d->input_count; i++) {
        char what[40];
        if (!d->input[i]) continue;
        snprintf(what, sizeof what, "input %zu", i);
        TENON_TRY(tenon_layers_owns(l, d->input[i], what));
        TENON_TRY(key_of(l, d->input[i], &pb->input.item[i]));
    }
    return TENON_OK;
}

static tenon_status node_outputs(tenon_layers *l, const tenon_node_desc *d, const char *name, tenon_pb_node *pb)
{
    tenon_arena *arena = l->im->arena;
    pb->output.item = tenon_arena_array(arena, d->output_count + 1, sizeof *pb->output.item);
    if (!pb->output.item) return TENON_NOMEM;
    pb->output.count = d->output_count;
    for (size_t i = 0; i < d->output_count; i++) {
        const char *given = d->output_name ? d->output_name[i] : NULL;
        if (given && !*given) continue;
        if (given) TENON_TRY(check_free(l, "result", given));
        const char *hint = given ? given : i ? tenon_arena_printf(arena, "%s.%zu", name, i) : name;
        if (!hint) return TENON_NOMEM;
        TENON_TRY(free_name(l, hint, &given));
        pb->output.item[i] = tenon_span_of(given);
        for (size_t k = 0; k < i; k++)
            if (pb->output.item[k].length && tenon_span_equal(pb->output.item[k], pb->output.item[i]))
                return TENON_FAIL(l->im->cx, TENON_INVALID, "results %zu and %zu have the same name '%.200s'", k, i, given);
    }
    return TENON_OK;
}

static tenon_status make_message(tenon_layers *l, const tenon_node_desc *d, tenon_layers *const *body, const char *name,
                                 tenon_pb_node *pb)
{
    tenon_importer *im = l->im;
    size_t bodies = 0;
    for (size_t i = 0; i < d->attribute_count; i++) bodies += d->attribute[i].kind == TENON_ATTRIBUTE_BODY;
    tenon_pb_graph **graphs = tenon_arena_array(im->arena, bodies + 1, sizeof(tenon_pb_graph *));
    if (!graphs) return TENON_NOMEM;
    for (size_t i = 0; i < bodies; i++) {
        if (!body[i] || body[i]->outer != l) return TENON_FAIL(im->cx, TENON_INVALID,
                                                               "body %zu was not made inside this network", i);
        graphs[i] = &body[i]->pb;
    }
    TENON_TRY(tenon_layers_operator(im, d->op, l->scope.graph->opset, pb));
    TENON_TRY(tenon_layers_span(im, name, &pb->name));
    TENON_TRY(node_inputs(l, d, pb));
    TENON_TRY(tenon_layers_attributes(im, d, graphs, pb));
    return node_outputs(l, d, name, pb);
}

/* A result that the operator only hands through (Dropout) is an identity, so that it has the name asked for. */
static tenon_status own_result(tenon_layers *l, tenon_span key, size_t values, tenon_value **out)
{
    tenon_graph *g = l->scope.graph;
    tenon_node *n;
    tenon_value *v = tenon_onnx_map_get(&l->scope.names, key);
    if (!v) return TENON_FAIL(l->im->cx, TENON_UNSUPPORTED, "its result '%s' is not one that Tenon's operator gives",
                              (const char *)key.data);
    if (!owns(l, v) || (size_t)v->id < values || strcmp(v->name, (const char *)key.data) != 0) {
        TENON_TRY(tenon_graph_node(g, &tenon_op_identity, (const char *)key.data, 1, &v, 1, &n));
        TENON_TRY(tenon_infer_node(l->im->cx, g, n));
        n->origin = n->name;
        v = n->dst[0];
        TENON_TRY(tenon_onnx_map_put(&l->scope.names, key, v));
    }
    *out = v;
    return TENON_OK;
}

static tenon_status convert(tenon_layers *l, const tenon_node_desc *d, tenon_pb_node *pb, tenon_value **out)
{
    tenon_graph *g = l->scope.graph;
    const size_t nodes = g->node_count, values = g->value_count;
    tenon_onnx_watch watch = {.node = pb};
    l->scope.watch = &watch;
    tenon_status status = tenon_onnx_node(l->im, &l->scope, pb);
    l->scope.watch = NULL;
    for (size_t i = 0; status == TENON_OK && i < d->output_count; i++)
        if (pb->output.item[i].length) status = own_result(l, pb->output.item[i], values, &out[i]);
    if (status == TENON_OK) return TENON_OK;
    for (size_t i = 0; i < d->output_count; i++) {
        out[i] = NULL;
        if (pb->output.item[i].length) forget(l, pb->output.item[i]);
    }
    tenon_graph_undo(g, nodes, values);
    return status;
}

tenon_status tenon_layers_node(tenon_layers *l, const tenon_node_desc *d, tenon_layers *const *body, tenon_value **out)
{
    tenon_importer *im = l->im;
    const char *dot = strrchr(d->op, '.');
    const char *name = d->name && *d->name ? d->name : tenon_arena_printf(im->arena, "%s_%zu", dot ? dot + 1 : d->op,
                                                                          im->node_count);
    tenon_pb_node *pb = tenon_arena_alloc(im->arena, sizeof *pb);
    if (!name || !pb) return TENON_NOMEM;
    TENON_TRY(check_open(l));
    tenon_status status = make_message(l, d, body, name, pb);
    if (status != TENON_OK) return tenon_fail_in(im->cx, status, "node '%.200s' (%.100s): ", name, d->op);
    TENON_TRY(convert(l, d, pb, out));
    for (size_t i = 0, k = 0; i < d->attribute_count; i++)
        if (d->attribute[i].kind == TENON_ATTRIBUTE_BODY) body[k++]->used = true;
    if (l->outer) APPEND(l, node, node_capacity, *pb);
    return TENON_OK;
}

/* ---- outputs ---- */
static bool is_output(const tenon_graph *g, const tenon_value *v)
{
    for (size_t i = 0; i < g->output_count; i++)
        if (g->output[i] == v) return true;
    return false;
}

static tenon_status body_output(tenon_layers *l, tenon_value *v)
{
    tenon_pb_value_info info = {0};
    TENON_TRY(key_of(l, v, &info.name));
    APPEND(l, output, output_capacity, info);
    const tenon_status status = tenon_graph_add_output(l->scope.graph, v);
    if (status != TENON_OK) l->pb.output.count--;
    return status;
}

/* An output is a node's result with the output's name. */
static tenon_status make_output(tenon_layers *l, tenon_value *v, const char *name, tenon_value **out)
{
    tenon_graph *g = l->scope.graph;
    tenon_node *n;
    if (!v->producer || is_output(g, v)) {
        TENON_TRY(tenon_graph_node(g, &tenon_op_identity, name ? name : v->name, 1, &v, 1, &n));
        TENON_TRY(tenon_infer_node(l->im->cx, g, n));
        n->origin = n->name;
        v = n->dst[0];
    } else if (name) TENON_TRY(tenon_graph_rename(g, v, name)); /* bodies may know it by the old name, which stays a key */
    TENON_TRY(tenon_onnx_map_put(&l->scope.names, tenon_span_of(v->name), v));
    *out = v;
    return tenon_graph_add_output(g, v);
}

tenon_status tenon_layers_output(tenon_layers *l, tenon_value *v, const char *name, tenon_value **out)
{
    tenon_graph *g = l->scope.graph;
    *out = NULL;
    TENON_TRY(check_open(l));
    TENON_TRY(tenon_layers_owns(l, v, "the output"));
    if (l->outer) {
        TENON_TRY(body_output(l, v));
        *out = v;
        return TENON_OK;
    }
    if (name && !*name) name = NULL;
    if (name && (strcmp(v->name, name) != 0 || !v->producer || is_output(g, v))) TENON_TRY(check_free(l, "output", name));
    const size_t nodes = g->node_count, values = g->value_count;
    const tenon_status status = make_output(l, v, name, out);
    if (status != TENON_OK) tenon_graph_undo(g, nodes, values);
    return status;
}

tenon_status tenon_layers_no_output(tenon_layers *l, tenon_value *v)
{
    tenon_graph *g = l->scope.graph;
    TENON_TRY(check_open(l));
    TENON_TRY(tenon_layers_owns(l, v, "the output"));
    for (size_t i = 0; i < g->output_count; i++) {
        if (g->output[i] != v) continue;
        memmove(&g->output[i], &g->output[i + 1], (g->output_count - i - 1) * sizeof(tenon_value *));
        g->output_count--;
        if (!l->outer) return TENON_OK;
        memmove(&l->pb.output.item[i], &l->pb.output.item[i + 1], (l->pb.output.count - i - 1) * sizeof *l->pb.output.item);
        l->pb.output.count--;
        return TENON_OK;
    }
    return TENON_FAIL(l->im->cx, TENON_INVALID, "'%.200s' is no output", v->name);
}
