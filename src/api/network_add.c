/* SPDX-License-Identifier: Apache-2.0 */
/* Networks by adding inputs, constants and nodes: the public face of onnx/layers.h. The arena and the graph report to the
   network's own session; each function here hands the message on to the caller's. */
#include "api/network.h"

#include <string.h>

static tenon_status told(tenon_cx *cx, const tenon_network *n, tenon_status status)
{
    while (n->outer) n = n->outer;
    return status == TENON_OK ? TENON_OK : TENON_FAIL(cx, status, "%s", n->cx.message);
}

static tenon_status open_layers(tenon_network *n)
{
    if (n->layers) return TENON_OK;
    return tenon_layers_create(&n->cx, &n->arena, n->graph, n->opset, &n->files, &n->layers);
}

tenon_status tenon_network_create(tenon_cx *cx, const tenon_network_options *options, tenon_network **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    const int opset = options ? options->opset : 0;
    if (opset && (opset < TENON_ONNX_OPSET_MIN || opset > TENON_ONNX_OPSET_MAX))
        return TENON_FAIL(cx, TENON_INVALID, "opset %d: %d to %d, or 0 for the newest", opset, TENON_ONNX_OPSET_MIN,
                          TENON_ONNX_OPSET_MAX);
    tenon_network *n;
    TENON_TRY(tenon_network_new(cx, false, &n));
    n->opset = opset;
    tenon_status status = tenon_graph_create(&n->cx, &n->arena, NULL, NULL, &n->graph);
    if (status == TENON_OK && options && options->name) {
        n->graph->name = tenon_arena_strdup(&n->arena, options->name);
        status = n->graph->name ? TENON_OK : TENON_NOMEM;
    }
    if (status == TENON_OK) status = open_layers(n);
    if (status != TENON_OK) {
        status = told(cx, n, status);
        tenon_network_destroy(&n);
    }
    *out = n;
    return status;
}

tenon_status tenon_network_create_body(tenon_cx *cx, tenon_network *outer, const char *name, tenon_network **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, outer);
    tenon_network *root = outer;
    while (root->outer) root = root->outer;
    tenon_network *n = tenon_alloc_zero(&root->cx, sizeof *n);
    tenon_status status = n ? open_layers(outer) : TENON_NOMEM;
    if (status == TENON_OK) status = tenon_layers_body(outer->layers, name, &n->layers);
    if (status != TENON_OK) {
        tenon_free(&root->cx, n);
        return told(cx, outer, status);
    }
    tenon_cx_init_child(&n->cx, &root->cx);
    n->graph = tenon_layers_graph(n->layers);
    n->outer = outer;
    n->next = outer->bodies;
    outer->bodies = n;
    *out = n;
    return TENON_OK;
}

tenon_status tenon_network_add_input(tenon_cx *cx, tenon_network *network, const char *name, tenon_dtype dtype, int rank,
                                     const int64_t *dim, const char *const *dim_name, tenon_value **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, network);
    TENON_NEED(cx, name);
    if (!*name) return TENON_FAIL(cx, TENON_INVALID, "an input needs a name");
    if (rank < 0 || rank > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_INVALID, "input '%.200s': rank %d; 0 to %d", name, rank, TENON_MAX_RANK);
    if (rank) TENON_NEED(cx, dim);
    tenon_status status = open_layers(network);
    if (status == TENON_OK) status = tenon_layers_input(network->layers, name, dtype, rank, dim, dim_name, out);
    return told(cx, network, status);
}

tenon_status tenon_network_add_constant(tenon_cx *cx, tenon_network *network, const tenon_host_tensor *tensor,
                                        tenon_ownership ownership, tenon_value **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, network);
    TENON_NEED(cx, tensor);
    tenon_status status = open_layers(network);
    if (status == TENON_OK) status = tenon_layers_constant(network->layers, tensor, ownership != TENON_BORROW, out);
    return told(cx, network, status);
}

static tenon_status check_node(tenon_cx *cx, const tenon_network *network, const tenon_node_desc *node, tenon_value **out)
{
    TENON_NEED(cx, network);
    TENON_NEED(cx, node);
    TENON_NEED(cx, node->op);
    if (node->input_count) TENON_NEED(cx, node->input);
    if (node->attribute_count) TENON_NEED(cx, node->attribute);
    if (node->output_count == 0 || node->output_count > INT16_MAX || node->input_count > INT16_MAX)
        return TENON_FAIL(cx, TENON_INVALID, "node '%.200s' (%.100s): %zu results of %zu inputs; at least one result, at most %d of each",
                          node->name ? node->name : "", node->op, node->output_count, node->input_count, INT16_MAX);
    TENON_NEED(cx, out);
    return TENON_OK;
}

/* result: room for the handles, which may not go to the caller's array before its inputs, perhaps the same array, were read. */
static tenon_status add_node(tenon_cx *cx, tenon_network *network, const tenon_node_desc *node, tenon_layers **body,
                             tenon_value **result)
{
    size_t bodies = 0;
    for (size_t i = 0; i < node->attribute_count; i++) {
        if (node->attribute[i].kind != TENON_ATTRIBUTE_BODY) continue;
        const tenon_network *n = node->attribute[i].body;
        body[bodies++] = n && n->outer ? n->layers : NULL;
    }
    tenon_status status = open_layers(network);
    if (status == TENON_OK) status = tenon_layers_node(network->layers, node, body, result);
    return told(cx, network, status);
}

tenon_status tenon_network_add_node(tenon_cx *cx, tenon_network *network, const tenon_node_desc *node, tenon_value **out)
{
    TENON_GUARD(cx);
    const size_t count = out && node ? node->output_count : 0;
    tenon_layers **body = NULL;
    tenon_value **result = NULL;
    tenon_status status = !cx ? TENON_INVALID : check_node(cx, network, node, out);
    if (status == TENON_OK) {
        body = tenon_alloc_zero(cx, (node->attribute_count + 1) * sizeof(tenon_layers *));
        result = tenon_alloc_zero(cx, count * sizeof(tenon_value *));
        status = body && result ? add_node(cx, network, node, body, result) : TENON_NOMEM;
    }
    for (size_t i = 0; i < count; i++) out[i] = status == TENON_OK ? result[i] : NULL;
    if (cx) {
        tenon_free(cx, body);
        tenon_free(cx, result);
    }
    return status;
}

tenon_status tenon_network_mark_output(tenon_cx *cx, tenon_network *network, tenon_value *value, const char *name,
                                       tenon_value **out)
{
    TENON_GUARD(cx);
    tenon_value *given = NULL;
    if (out) *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, network);
    TENON_NEED(cx, value);
    tenon_status status = open_layers(network);
    if (status == TENON_OK) status = tenon_layers_output(network->layers, value, name, &given);
    if (out && status == TENON_OK) *out = given;
    return told(cx, network, status);
}

tenon_status tenon_network_unmark_output(tenon_cx *cx, tenon_network *network, tenon_value *value)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, cx);
    TENON_NEED(cx, network);
    TENON_NEED(cx, value);
    tenon_status status = open_layers(network);
    if (status == TENON_OK) status = tenon_layers_no_output(network->layers, value);
    return told(cx, network, status);
}

/* ---- looking ---- */
/* What the dimension is called, kept for the next time that it is asked for. */
static tenon_status dim_name(tenon_network *n, const tenon_dim *d, const char **out)
{
    const tenon_dim_pool *pool = n->graph->dims;
    *out = NULL;
    if (d->kind == TENON_DIM_SYM) {
        *out = pool->symbol[d->value].name;
        return TENON_OK;
    }
    while (n->outer) n = n->outer;
    void *array = n->dim_text;
    TENON_TRY(tenon_arena_grow(&n->arena, &array, &n->dim_text_capacity, (size_t)d->id + 1, sizeof *n->dim_text));
    n->dim_text = array;
    if (!n->dim_text[d->id]) {
        tenon_buf b;
        tenon_buf_init(&b, &n->cx);
        tenon_dim_print(&b, pool, d);
        n->dim_text[d->id] = b.failed ? NULL : tenon_arena_strdup(&n->arena, tenon_buf_cstr(&b));
        tenon_buf_free(&b);
    }
    *out = n->dim_text[d->id];
    return *out ? TENON_OK : TENON_NOMEM;
}

static bool listed(tenon_value *const *list, size_t count, const tenon_value *v)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == v) return true;
    return false;
}

static tenon_status describe(tenon_network *n, const tenon_value *v, tenon_value_info *out)
{
    TENON_TRY(open_layers(n));
    TENON_TRY(tenon_layers_owns(n->layers, v, "the value asked for"));
    const tenon_graph *g = n->graph;
    tenon_value_info info = {.name = v->name, .dtype = v->type.dtype, .rank = v->type.rank, .is_constant = v->is_const};
    info.is_input = listed(g->input, g->input_count, v);
    info.is_output = listed(g->output, g->output_count, v);
    info.data = v->is_const && v->data ? v->data->data : NULL;
    for (int i = 0; i < info.rank; i++) {
        const tenon_dim *d = v->type.dim[i];
        info.dim[i] = tenon_dim_is_const(d) ? d->value : -1;
        if (info.dim[i] < 0) TENON_TRY(dim_name(n, d, &info.dim_name[i]));
    }
    *out = info;
    return TENON_OK;
}

tenon_status tenon_network_value_info(tenon_cx *cx, tenon_network *network, const tenon_value *value, tenon_value_info *out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = (tenon_value_info){.rank = -1};
    TENON_NEED(cx, cx);
    TENON_NEED(cx, network);
    TENON_NEED(cx, value);
    return told(cx, network, describe(network, value, out));
}

tenon_status tenon_network_find_value(tenon_cx *cx, tenon_network *network, const char *name, tenon_value **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, network);
    TENON_NEED(cx, name);
    tenon_value *v = tenon_graph_find(network->graph, name, strlen(name));
    const tenon_graph *g = network->graph;
    /* names are unique over all graphs inside, whose values nobody outside can use */
    if (!v || v->id < 0 || (size_t)v->id >= g->value_count || g->value[v->id] != v)
        return TENON_FAIL(cx, TENON_INVALID, "the network has no value '%.200s'", name);
    *out = v;
    return TENON_OK;
}

size_t tenon_network_node_count(const tenon_network *network) { return network ? network->graph->node_count : 0; }

tenon_status tenon_network_node_info(tenon_cx *cx, const tenon_network *network, size_t index, tenon_node_info *out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = (tenon_node_info){0};
    TENON_NEED(cx, cx);
    TENON_NEED(cx, network);
    if (index >= network->graph->node_count)
        return TENON_FAIL(cx, TENON_INVALID, "node %zu: the network has %zu", index, network->graph->node_count);
    const tenon_node *n = network->graph->node[index];
    *out = (tenon_node_info){n->op->name, n->name, n->src, (size_t)n->src_count, n->dst, (size_t)n->dst_count};
    return TENON_OK;
}
