/* SPDX-License-Identifier: Apache-2.0 */
/* Networks: a mapped ONNX model and the graph read from it. Adding to one is in layers.c of this folder. */
#include "api/network.h"

#include "base/checked.h"
#include "op/eval.h"
#include "pass/pass.h"

#include <inttypes.h>
#include <string.h>

tenon_status tenon_network_fresh(tenon_cx *cx, const tenon_network *network, tenon_arena *arena, tenon_onnx_files *files,
                                 tenon_graph **out)
{
    *files = (tenon_onnx_files){0};
    *out = NULL;
    if (network->outer) return TENON_FAIL(cx, TENON_INVALID, "this is the body of a node: it goes with the network around it");
    if (network->graph->output_count == 0)
        return TENON_FAIL(cx, TENON_INVALID, "the network has no output: tenon_network_mark_output says what is one");
    return tenon_graph_clone(cx, arena, network->graph, out);
}

static tenon_status read_network(tenon_cx *cx, tenon_network *n, const char *path)
{
    if (path) {
        const size_t bytes = strlen(path) + 1;
        n->path = tenon_alloc(cx, bytes);
        if (!n->path) return TENON_NOMEM;
        memcpy(n->path, path, bytes);
    }
    TENON_TRY(tenon_progress(cx, "read", 0, 1));
    const tenon_status status = tenon_onnx_read(&n->cx, &n->arena, n->data, n->bytes, n->path, &n->files, &n->graph);
    if (status != TENON_OK) return TENON_FAIL(cx, status, "%s%s%s", path ? path : "", path ? ": " : "", n->cx.message);
    return tenon_progress(cx, "read", 1, 1);
}

tenon_status tenon_network_new(tenon_cx *cx, bool keep_nodes, tenon_network **out)
{
    tenon_network *n = tenon_alloc_zero(cx, sizeof *n);
    if (!n) return TENON_NOMEM;
    tenon_cx_init_child(&n->cx, cx);
    tenon_arena_init(&n->arena, &n->cx);
    n->keep_nodes = keep_nodes;
    *out = n;
    return TENON_OK;
}

tenon_status tenon_network_read_file(tenon_cx *cx, const char *path, const tenon_read_options *options, tenon_network **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, path);
    tenon_network *n;
    TENON_TRY(tenon_network_new(cx, options && options->keep_nodes, &n));
    tenon_status status = tenon_file_map_open(cx, path, &n->map);
    if (status == TENON_OK) {
        n->data = n->map.data;
        n->bytes = n->map.bytes;
        status = read_network(cx, n, path);
    }
    if (status != TENON_OK) tenon_network_destroy(&n);
    *out = n;
    return status;
}

tenon_status tenon_network_read(tenon_cx *cx, const void *data, size_t bytes, const tenon_read_options *options,
                                tenon_network **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    if (bytes) TENON_NEED(cx, data);
    tenon_network *n;
    TENON_TRY(tenon_network_new(cx, options && options->keep_nodes, &n));
    n->data = data;
    n->bytes = bytes;
    const tenon_status status = read_network(cx, n, options ? options->base_path : NULL);
    if (status != TENON_OK) tenon_network_destroy(&n);
    *out = n;
    return status;
}

/* Bodies lie in the arena of their network, save for the handle itself. */
static void free_bodies(tenon_network *n)
{
    while (n->bodies) {
        tenon_network *body = n->bodies;
        n->bodies = body->next;
        free_bodies(body);
        tenon_free(&n->cx, body);
    }
}

void tenon_network_destroy(tenon_network **network)
{
    if (!network || !*network) return;
    tenon_network *n = *network;
    *network = NULL;
    if (n->outer) return;
    free_bodies(n);
    const tenon_allocator alloc = n->cx.alloc;
    tenon_arena_free(&n->arena);
    tenon_onnx_close(&n->files);
    tenon_file_map_close(&n->map);
    tenon_free(&n->cx, n->path);
    alloc.free(alloc.user, n);
}

size_t tenon_network_binding_count(const tenon_network *network)
{
    return !network ? 0 : network->graph->input_count + network->graph->output_count;
}

tenon_status tenon_network_binding(tenon_cx *cx, const tenon_network *network, size_t index, tenon_binding_info *out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = (tenon_binding_info){0};
    TENON_NEED(cx, cx);
    TENON_NEED(cx, network);
    const tenon_graph *g = network->graph;
    if (index >= g->input_count + g->output_count)
        return TENON_FAIL(cx, TENON_INVALID, "binding %zu: the network has %zu", index, g->input_count + g->output_count);
    const bool input = index < g->input_count;
    const tenon_value *v = input ? g->input[index] : g->output[index - g->input_count];
    *out = (tenon_binding_info){.name = v->name,
                                .io = input ? TENON_INPUT : TENON_OUTPUT,
                                .dtype = v->type.dtype,
                                .rank = v->type.rank < 0 ? 0 : v->type.rank};
    for (int i = 0; i < out->rank; i++) {
        const tenon_dim *d = v->type.dim[i];
        out->dim[i] = tenon_dim_is_const(d) ? d->value : -1;
        if (d->kind == TENON_DIM_SYM) out->dim_name[i] = g->dims->symbol[d->value].name;
    }
    return TENON_OK;
}

tenon_status tenon_network_text(tenon_cx *cx, tenon_network *network, bool optimized, char **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, network);
    tenon_arena arena;
    tenon_onnx_files files = {0};
    tenon_graph *g;
    tenon_buf b;
    tenon_arena_init(&arena, cx);
    tenon_buf_init(&b, cx);
    tenon_status status = tenon_network_fresh(cx, network, &arena, &files, &g);
    if (status == TENON_OK && optimized) status = tenon_passes_run(cx, g);
    if (status == TENON_OK) {
        tenon_graph_print(&b, g);
        status = tenon_buf_status(&b);
    }
    if (status == TENON_OK) *out = b.data;
    else tenon_buf_free(&b);
    tenon_arena_free(&arena);
    tenon_onnx_close(&files);
    return TENON_DONE(status);
}

void tenon_text_free(tenon_cx *cx, char **text)
{
    if (!cx || !text) return;
    tenon_free(cx, *text);
    *text = NULL;
}

/* ---- reference ---- */
static tenon_status take_input(tenon_cx *cx, const tenon_value *v, const tenon_host_tensor *in, size_t count, tenon_tensor *out)
{
    for (size_t i = 0; i < count; i++) {
        if (!in[i].name || strcmp(in[i].name, v->name) != 0) continue;
        if (in[i].dtype != v->type.dtype || in[i].rank != v->type.rank)
            return TENON_FAIL(cx, TENON_INVALID, "input '%s': %s of rank %d given, the network has %s of rank %d", v->name,
                              tenon_dtype_name(in[i].dtype), in[i].rank, tenon_dtype_name(v->type.dtype), v->type.rank);
        int64_t elements;
        if (!tenon_product(in[i].dim, in[i].rank, &elements) || elements >= TENON_DIM_HUGE || (elements && !in[i].data))
            return TENON_FAIL(cx, TENON_INVALID, "input '%s': its shape is no shape, or its data is NULL", v->name);
        for (int d = 0; d < in[i].rank; d++)
            if (tenon_dim_is_const(v->type.dim[d]) && v->type.dim[d]->value != in[i].dim[d])
                return TENON_FAIL(cx, TENON_INVALID, "input '%s': axis %d is %" PRId64 ", the network has %" PRId64, v->name, d,
                                  in[i].dim[d], v->type.dim[d]->value);
        *out = (tenon_tensor){.dtype = in[i].dtype, .rank = in[i].rank, .data = in[i].data};
        memcpy(out->dim, in[i].dim, sizeof out->dim);
        tenon_tensor_dense(out);
        return TENON_OK;
    }
    return TENON_FAIL(cx, TENON_INVALID, "input '%s' is missing", v->name);
}

static tenon_status give_output(tenon_cx *cx, const tenon_value *v, const tenon_tensor *t, tenon_host_tensor *out)
{
    if (tenon_dtype_bits(t->dtype) == 0)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "output '%s' is of type %s, only plain tensors are given", v->name,
                          tenon_dtype_name(t->dtype));
    const size_t bytes = tenon_dtype_bytes(t->dtype, (size_t)tenon_tensor_count(t));
    *out = (tenon_host_tensor){.name = v->name, .dtype = t->dtype, .rank = t->rank, .data = tenon_alloc(cx, bytes)};
    if (!out->data) return TENON_NOMEM;
    tenon_tensor dense = *t;
    dense.data = out->data;
    tenon_tensor_dense(&dense);
    tenon_tensor_copy(&dense, t);
    memcpy(out->dim, t->dim, sizeof out->dim);
    return TENON_OK;
}

tenon_status tenon_network_run_reference(tenon_cx *cx, tenon_network *network, const tenon_host_tensor *input, size_t input_count,
                                         tenon_host_tensor *output, size_t output_count)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, cx);
    if (output_count) TENON_NEED(cx, output);
    for (size_t i = 0; i < output_count; i++) output[i] = (tenon_host_tensor){0};
    TENON_NEED(cx, network);
    if (input_count) TENON_NEED(cx, input);
    if (network->outer) return TENON_FAIL(cx, TENON_INVALID, "this is the body of a node: it goes with the network around it");
    tenon_graph *g = network->graph;
    if (output_count != g->output_count)
        return TENON_FAIL(cx, TENON_INVALID, "%zu outputs asked for, the network has %zu", output_count, g->output_count);
    tenon_heap heap;
    tenon_heap_init(&heap, cx);
    tenon_status status = TENON_NOMEM;
    tenon_tensor *in = tenon_alloc_zero(cx, (g->input_count + 1) * sizeof *in),
                 *out = tenon_alloc_zero(cx, (output_count + 1) * sizeof *out);
    if (!in || !out) goto done;
    for (size_t i = 0; i < g->input_count; i++) TENON_TRY_DONE(take_input(cx, g->input[i], input, input_count, &in[i]));
    TENON_TRY_DONE(tenon_eval_graph(cx, g, in, (int)g->input_count, out, (int)output_count, &heap, NULL, NULL));
    for (size_t i = 0; i < output_count; i++) TENON_TRY_DONE(give_output(cx, g->output[i], &out[i], &output[i]));
done:
    if (status != TENON_OK) tenon_reference_free(cx, output, output_count);
    tenon_free(cx, in);
    tenon_free(cx, out);
    tenon_heap_free(&heap);
    return TENON_DONE(status);
}

void tenon_reference_free(tenon_cx *cx, tenon_host_tensor *output, size_t output_count)
{
    for (size_t i = 0; cx && output && i < output_count; i++) {
        tenon_free(cx, output[i].data);
        output[i].data = NULL;
    }
}
