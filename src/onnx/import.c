/* SPDX-License-Identifier: Apache-2.0 */
/* The way from the bytes of a model to a graph: is it ONNX at all, is every operator known (all that are not are named in one
   message), then the main graph's scope. Conversion is in import_node.c and convert*.c. */
#include "onnx/import.h"

#include "base/foreign.h"

#include <stdio.h>
#include <string.h>

/* What people hand over instead of ONNX, by its first bytes. */
static tenon_status check_magic(tenon_cx *cx, const uint8_t *data, size_t bytes)
{
    static const struct { uint8_t at, length; const char *magic, *what; } other[] = {
        {0, 4, "PK\3\4", "a zip file (a PyTorch checkpoint?): export the model to ONNX, or unpack it"},
        {0, 3, "\x1f\x8b\x08", "compressed by gzip: unpack it first"},
        {0, 4, "\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"},
        {0, 19, "version https://git", "a Git LFS pointer: fetch the real file with 'git lfs pull'"},
        {0, 4, "GGUF", "a GGUF file"},
        {4, 4, "TFL3", "a TensorFlow Lite model"},
        {0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 file (a Keras model?)"},
        {0, 2, "\x80\x02", "a Python pickle"},
        {0, 4, "\x7f" "ELF", "a program or library"},
        {8, 2, "{\"", "a safetensors file: weights without a network"},
        {0, 1, "{", "text (JSON)"},
        {0, 1, "<", "text (XML or HTML)"},
        {0, 11, "ir_version:", "ONNX as text: store it in the binary form"},
    };
    if (bytes == 0) return TENON_FAIL(cx, TENON_CORRUPT, "not an ONNX model: the file is empty");
    const char *foreign = tenon_foreign(data, bytes);
    if (foreign) return TENON_FAIL(cx, TENON_CORRUPT, "not an ONNX model, but %s", foreign);
    for (size_t i = 0; i < TENON_COUNTOF(other); i++)
        if (bytes >= (size_t)other[i].at + other[i].length && memcmp(data + other[i].at, other[i].magic, other[i].length) == 0)
            return TENON_FAIL(cx, TENON_CORRUPT, "not an ONNX model, but %s", other[i].what);
    size_t text = 0;
    const size_t look = TENON_MIN(bytes, 64);
    for (size_t i = 0; i < look; i++) text += (data[i] >= ' ' && data[i] < 0x7f) || memchr("\n\r\t", data[i], 3);
    if (text == look) return TENON_FAIL(cx, TENON_CORRUPT, "not an ONNX model, but text");
    return TENON_OK;
}

tenon_status tenon_onnx_string(tenon_importer *im, tenon_span s, const char *what, const char **out)
{
    *out = NULL;
    if (s.length > 0 && memchr(s.data, 0, s.length))
        return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: a %s has a zero byte in it", what);
    *out = tenon_arena_strndup(im->arena, s.length ? (const char *)s.data : "", s.length);
    return *out ? TENON_OK : TENON_NOMEM;
}

static bool default_domain(tenon_span d) { return d.length == 0 || tenon_span_is(d, "ai.onnx"); }

int tenon_onnx_opset(const tenon_onnx_scope *scope, tenon_span domain)
{
    for (size_t i = 0; i < scope->opsets->count; i++) {
        const tenon_pb_opset *o = &scope->opsets->item[i];
        const bool same = default_domain(domain) ? default_domain(o->domain) : tenon_span_equal(o->domain, domain);
        if (same && o->version > 0 && o->version < 1 << 20) return (int)o->version;
    }
    return default_domain(domain) ? 0 : 1;
}

/* ---- model-local functions ---- */
static tenon_status function_key(tenon_importer *im, tenon_span domain, tenon_span name, tenon_span overload, tenon_span *out)
{
    if (tenon_span_is(domain, "ai.onnx")) domain.length = 0;
    const size_t length = domain.length + name.length + overload.length + 2;
    uint8_t *p = tenon_arena_alloc(im->arena, length), *at = p;
    if (!p) return TENON_NOMEM;
    const tenon_span part[] = {domain, name, overload};
    for (int i = 0; i < 3; i++) {
        if (part[i].length) memcpy(at, part[i].data, part[i].length);
        at += part[i].length + 1; /* a zero byte between: names have none */
    }
    *out = (tenon_span){p, length};
    return TENON_OK;
}

tenon_status tenon_onnx_function(tenon_importer *im, const tenon_pb_node *node, const tenon_pb_function **out)
{
    tenon_span key;
    *out = NULL;
    if (im->functions.count == 0) return TENON_OK;
    TENON_TRY(function_key(im, node->domain, node->op_type, node->overload, &key));
    *out = tenon_onnx_map_get(&im->functions, key);
    return TENON_OK;
}

static tenon_status index_functions(tenon_importer *im)
{
    for (size_t i = 0; i < im->model->functions.count; i++) {
        tenon_pb_function *f = &im->model->functions.item[i];
        tenon_span key;
        TENON_TRY(function_key(im, f->domain, f->name, f->overload, &key));
        if (tenon_onnx_map_get(&im->functions, key))
            return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: function '%.*s' is defined twice",
                              (int)TENON_MIN(f->name.length, 200),
                              (const char *)f->name.data);
        TENON_TRY(tenon_onnx_map_put(&im->functions, key, f));
    }
    return TENON_OK;
}

/* ---- what nothing converts ---- */
typedef struct missing { const char *type, *domain, *node; int opset; size_t count; struct missing *next; } missing;
typedef struct checker { tenon_importer *im; missing *first, **last; size_t kinds; } checker;

static tenon_status note_missing(checker *k, const tenon_pb_node *n, const char *type, const char *domain, int opset)
{
    for (missing *m = k->first; m; m = m->next)
        if (strcmp(m->type, type) == 0 && strcmp(m->domain, domain) == 0) {
            m->count++;
            return TENON_OK;
        }
    missing *m = tenon_arena_alloc(k->im->arena, sizeof *m);
    if (!m) return TENON_NOMEM;
    *m = (missing){type, domain, "", opset, 1, NULL};
    TENON_TRY(tenon_onnx_string(k->im, n->name, "node name", &m->node));
    *k->last = m;
    k->last = &m->next;
    k->kinds++;
    return TENON_OK;
}

static tenon_status check_nodes(checker *k, const tenon_onnx_scope *scope, const tenon_pb_node *node, size_t count, int depth)
{
    if (depth > TENON_ONNX_NEST_MAX) return TENON_OK; /* refused later, with its name */
    for (size_t i = 0; i < count; i++) {
        const tenon_pb_node *n = &node[i];
        const char *type, *domain;
        TENON_TRY(tenon_onnx_string(k->im, n->op_type, "operator name", &type));
        TENON_TRY(tenon_onnx_string(k->im, default_domain(n->domain) ? (tenon_span){0} : n->domain, "domain", &domain));
        for (size_t a = 0; a < n->attribute.count; a++)
            if (n->attribute.item[a].g)
                TENON_TRY(check_nodes(k, scope, n->attribute.item[a].g->node.item, n->attribute.item[a].g->node.count,
                                      depth + 1));
        const tenon_pb_function *function;
        TENON_TRY(tenon_onnx_function(k->im, n, &function));
        if (function) continue;
        const int opset = tenon_onnx_opset(scope, n->domain);
        const tenon_onnx_row *row;
        const tenon_op *op;
        tenon_onnx_find(domain, type, opset, &row, &op);
        if (!row && !op) TENON_TRY(note_missing(k, n, type, domain, opset));
    }
    return TENON_OK;
}

static tenon_status report_missing(const checker *k)
{
    char text[TENON_MESSAGE_BYTES - 400];
    size_t used = 0, shown = 0;
    for (const missing *m = k->first; m; m = m->next) {
        char one[TENON_MESSAGE_BYTES];
        snprintf(one, sizeof one, "node '%s': there is no operator %s%s%s at opset %d", m->node, m->domain, *m->domain ? "." : "", m->type,
                 m->opset);
        tenon_record(k->im->cx, TENON_UNSUPPORTED, one);
    }
    for (const missing *m = k->first; m; m = m->next, shown++) {
        char row[400];
        const int length = snprintf(row, sizeof row, "%s%s%s%s (opset %d; %zu node%s%s%s)", shown ? ", " : "", m->domain,
                                    *m->domain ? "." : "", m->type,
                                    m->opset, m->count, m->count == 1 ? "" : "s", *m->node ? ", first " : "", m->node);
        if (length < 0 || (size_t)length >= sizeof row || used + (size_t)length >= sizeof text) break;
        memcpy(text + used, row, (size_t)length + 1);
        used += (size_t)length;
    }
    char more[64] = "";
    if (shown < k->kinds) snprintf(more, sizeof more, ", and %zu more", k->kinds - shown);
    return TENON_FAIL(k->im->cx, TENON_UNSUPPORTED,
                      "%zu operator%s of this model cannot be converted: %s%s. Export with standard ONNX operators "
                      "(opset %d to %d), or give the model a local function for each",
                      k->kinds, k->kinds == 1 ? "" : "s", used ? text : "", more, TENON_ONNX_OPSET_MIN, TENON_ONNX_OPSET_MAX);
}

tenon_status tenon_onnx_check_operators(tenon_importer *im, const tenon_onnx_scope *scope)
{
    checker k = {.im = im};
    k.last = &k.first;
    TENON_TRY(check_nodes(&k, scope, im->model->graph->node.item, im->model->graph->node.count, 0));
    for (size_t i = 0; i < im->model->functions.count; i++) {
        const tenon_pb_function *f = &im->model->functions.item[i];
        const tenon_onnx_scope inside = {.opsets = f->opset_import.count ? &f->opset_import : scope->opsets};
        TENON_TRY(check_nodes(&k, &inside, f->node.item, f->node.count, 0));
    }
    return k.kinds ? report_missing(&k) : TENON_OK;
}

/* ---- entry ---- */
static tenon_status check_model(tenon_importer *im, const tenon_onnx_scope *scope)
{
    const tenon_pb_graph *g = im->model->graph;
    if (!g) return TENON_FAIL(im->cx, TENON_CORRUPT, "not an ONNX model: it holds no graph");
    if (im->model->opset_import.count == 0)
        return TENON_FAIL(im->cx, TENON_CORRUPT, "not an ONNX model: it imports no operator set");
    if (im->model->ir_version < 0)
        return TENON_FAIL(im->cx, TENON_CORRUPT, "ONNX: IR version %lld", (long long)im->model->ir_version);
    const int opset = tenon_onnx_opset(scope, (tenon_span){0});
    if (opset > 0 && opset < TENON_ONNX_OPSET_MIN)
        return TENON_FAIL(im->cx, TENON_UNSUPPORTED,
                          "ONNX: opset %d; %d is the oldest that is read: convert the model with onnx.version_converter", opset,
                          TENON_ONNX_OPSET_MIN);
    if (opset > TENON_ONNX_OPSET_MAX)
        tenon_log(im->cx, TENON_WARNING, TENON_TOPIC_ONNX, "ONNX: opset %d is newer than %d, the newest this version knows",
                  opset, TENON_ONNX_OPSET_MAX);
    if (g->output.count == 0) return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: the graph has no output");
    return TENON_OK;
}

tenon_status tenon_onnx_read(tenon_cx *cx, tenon_arena *arena, const uint8_t *data, size_t bytes, const char *path,
                             tenon_onnx_files *files,
                             tenon_graph **out)
{
    *out = NULL;
    TENON_TRY(check_magic(cx, data, bytes));
    tenon_pb_model model = {0};
    TENON_TRY(tenon_wire_read(cx, arena, &tenon_pb_model_message, data, bytes, &model));
    tenon_importer im = {.cx = cx, .arena = arena, .path = path, .files = files, .model = &model, .functions = {.arena = arena},
                         .ungiven = {.arena = arena}};
    files->cx = cx;
    tenon_onnx_scope scope = {.names = {.arena = arena}, .prefix = "", .opsets = &model.opset_import};
    TENON_TRY(check_model(&im, &scope));
    TENON_TRY(index_functions(&im));
    TENON_TRY(tenon_onnx_check_operators(&im, &scope));
    im.dims = tenon_arena_alloc(arena, sizeof *im.dims);
    if (!im.dims) return TENON_NOMEM;
    tenon_dim_pool_init(im.dims, arena);
    tenon_graph *g;
    TENON_TRY(tenon_graph_create(cx, arena, im.dims, NULL, &g));
    g->opset = tenon_onnx_opset(&scope, (tenon_span){0});
    scope.graph = g;
    TENON_TRY(tenon_onnx_graph(&im, &scope, model.graph, NULL, 0));
    TENON_TRY(tenon_graph_sort(g));
    *out = g;
    tenon_log(cx, TENON_INFO, TENON_TOPIC_ONNX, "ONNX: %s: opset %d, %zu nodes, %zu canonical", g->name, g->opset, im.node_count,
              g->node_count);
    return TENON_OK;
}
