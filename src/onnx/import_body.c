/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of If, Loop, Scan and SequenceMap. A body sees the values around it; its inputs get the types of what the node
   hands in. A state whose shape changes from turn to turn (a list that grows) has sizes that are known only at run time: the
   body is imported again with those made unknown, until what comes out has the type of what went in. */
#include "onnx/import.h"

#include <string.h>

enum { BODY_INPUTS = 256, BODY_TRIES = 10 };

typedef struct body { const tenon_type *input[BODY_INPUTS]; size_t count, state_first, state_count; } body;

static const tenon_type *make(tenon_onnx_call *c, tenon_type type)
{
    tenon_type *t = tenon_arena_alloc(c->im->arena, sizeof *t);
    if (t) *t = type;
    return t;
}

static tenon_status add(tenon_onnx_call *c, body *b, const tenon_type *type)
{
    if (!type) return TENON_NOMEM;
    if (b->count == BODY_INPUTS) return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "a body with more than %d inputs", BODY_INPUTS);
    b->input[b->count++] = type;
    return TENON_OK;
}

/* The type of a source without its axis `axis`: one turn of a Scan. */
static tenon_status slice_of(tenon_onnx_call *c, body *b, const tenon_type *from, int64_t axis)
{
    tenon_type t = *from;
    if (t.rank >= 0) {
        int at;
        TENON_TRY(tenon_infer_axis(c->cx, "scan axis", axis, t.rank, &at));
        for (int i = at; i + 1 < t.rank; i++) t.dim[i] = t.dim[i + 1];
        t.rank--;
    }
    return add(c, b, make(c, t));
}

static tenon_status scan_inputs(tenon_onnx_call *c, body *b)
{
    int64_t scans;
    tenon_pb_ints axes;
    TENON_TRY(tenon_onnx_int(c, "num_scan_inputs", 0, &scans));
    TENON_TRY(tenon_onnx_ints(c, "scan_input_axes", &axes));
    if (scans < 1 || scans > c->src_count)
        return TENON_FAIL(c->cx, TENON_INVALID, "num_scan_inputs is %lld of %d inputs", (long long)scans, c->src_count);
    b->state_count = (size_t)c->src_count - (size_t)scans;
    for (int i = 0; i < c->src_count; i++) {
        if (!c->src[i]) return TENON_FAIL(c->cx, TENON_INVALID, "input %d is missing", i);
        const size_t scan = (size_t)i - b->state_count;
        if ((size_t)i < b->state_count) TENON_TRY(add(c, b, &c->src[i]->type));
        else TENON_TRY(slice_of(c, b, &c->src[i]->type, scan < axes.count ? axes.item[scan] : 0));
    }
    return TENON_OK;
}

static tenon_status body_inputs(tenon_onnx_call *c, body *b)
{
    static const tenon_type unknown = {.rank = -1};
    if (strcmp(c->type, "Scan") == 0) return scan_inputs(c, b);
    if (strcmp(c->type, "Loop") == 0) {
        TENON_TRY(add(c, b, make(c, (tenon_type){.dtype = TENON_I64})));
        TENON_TRY(add(c, b, make(c, (tenon_type){.dtype = TENON_BOOL})));
        b->state_first = 2;
        b->state_count = c->src_count > 2 ? (size_t)c->src_count - 2 : 0;
        for (int i = 2; i < c->src_count; i++) TENON_TRY(add(c, b, c->src[i] ? &c->src[i]->type : &unknown));
    } else if (strcmp(c->type, "SequenceMap") == 0) {
        for (int i = 0; i < c->src_count; i++) {
            const tenon_type *t = c->src[i] ? &c->src[i]->type : &unknown;
            TENON_TRY(add(c, b, t->dtype == TENON_SEQUENCE && t->element ? t->element : t));
        }
    }
    return TENON_OK;
}

/* Makes what differs between a state's type in and out unknown. *changed: something did. */
static tenon_status widen(tenon_onnx_call *c, body *b, const tenon_graph *g, bool *changed)
{
    /* the outputs of a Loop's body begin with its condition */
    const size_t first = b->state_first > 0 ? 1 : 0;
    *changed = false;
    for (size_t i = 0; i < b->state_count && first + i < g->output_count; i++) {
        const tenon_type *in = b->input[b->state_first + i], *out = &g->output[first + i]->type;
        if (in->dtype == TENON_DTYPE_NONE || in->rank < 0 || tenon_type_equal(in, out)) continue;
        tenon_type t = *in;
        if (in->dtype == TENON_SEQUENCE || in->dtype == TENON_OPTIONAL) t = *out;
        else if (in->dtype != out->dtype)
            return TENON_FAIL(c->cx, TENON_INVALID, "state %zu is %s and becomes %s", i, tenon_dtype_get(in->dtype)->name,
                                                            tenon_dtype_get(out->dtype)->name);
        else if (in->rank != out->rank) t.rank = -1;
        else
            for (int k = 0; k < t.rank; k++) {
                if (in->dim[k] == out->dim[k] || (in->dim[k]->kind == TENON_DIM_SYM &&
                                                  c->im->dims->symbol[in->dim[k]->value].data_dependent)) continue;
                t.dim[k] = tenon_dim_symbol_fresh(c->im->dims, "state", 0, TENON_DIM_HUGE);
                if (!t.dim[k]) return TENON_NOMEM;
            }
        if (tenon_type_equal(in, &t)) continue;
        *changed = true;
        if (!(b->input[b->state_first + i] = make(c, t))) return TENON_NOMEM;
    }
    return TENON_OK;
}

static tenon_status import_body(tenon_onnx_call *c, body *b, const tenon_pb_graph *pb, tenon_graph **out)
{
    for (int i = 0; i < BODY_TRIES; i++) {
        bool changed;
        tenon_graph *g;
        TENON_TRY(tenon_graph_create(c->cx, c->im->arena, c->im->dims, c->g, &g));
        g->opset = c->g->opset;
        tenon_onnx_scope scope = {.outer = c->scope, .graph = g, .names = {.arena = c->im->arena}, .prefix = c->scope->prefix,
                                  .frame = c->scope->frame, .opsets = c->scope->opsets, .depth = c->scope->depth + 1};
        TENON_TRY(tenon_onnx_graph(c->im, &scope, pb, b->input, b->count));
        TENON_TRY(widen(c, b, g, &changed));
        *out = g;
        if (!changed) return TENON_OK;
    }
    return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "the shapes of its states do not settle");
}

tenon_status tenon_onnx_bodies(tenon_onnx_call *c, tenon_node *n)
{
    const tenon_attr_def *def = tenon_op_as_head(n->op)->attr;
    int count = 0;
    body b = {0};
    if (c->scope->depth >= TENON_ONNX_NEST_MAX)
        return TENON_FAIL(c->cx, TENON_INVALID, "sub-graphs are nested more than %d deep", TENON_ONNX_NEST_MAX);
    for (int i = 0; def && def[i].name; i++) count += def[i].kind == TENON_ATTR_GRAPH;
    n->sub = tenon_arena_array(c->im->arena, (size_t)count + 1, sizeof *n->sub);
    if (!n->sub) return TENON_NOMEM;
    TENON_TRY(body_inputs(c, &b));
    for (int i = 0; def && def[i].name; i++) {
        if (def[i].kind != TENON_ATTR_GRAPH) continue;
        const tenon_pb_attr *a = tenon_onnx_attr(c->scope, c->node, def[i].name);
        if (!a || !a->g) {
            if (def[i].required) return TENON_FAIL(c->cx, TENON_INVALID, "attribute '%s' is missing", def[i].name);
            continue;
        }
        n->attr[i].set = true;
        n->attr[i].i = n->sub_count;
        TENON_TRY(import_body(c, &b, a->g, &n->sub[n->sub_count]));
        n->sub_count++;
    }
    return TENON_OK;
}

/* A condition known at build (a question about shapes, mostly): the branch that is taken stands in place of the node, and the
   other one, which need not even fit, is never looked at. */
tenon_status tenon_onnx_if(tenon_onnx_call *c)
{
    const tenon_tensor *known = NULL;
    if (!tenon_onnx_src(c, 0)) return TENON_FAIL(c->cx, TENON_INVALID, "input 0 (cond) is missing");
    TENON_TRY(tenon_onnx_known(c->im, c->g, c->src[0], &known));
    if (!known || tenon_tensor_count(known) != 1) return tenon_onnx_direct_as(c, "if");
    const char *name = tenon_tensor_get_i64(known, 0) ? "then_branch" : "else_branch";
    const tenon_pb_attr *a = tenon_onnx_attr(c->scope, c->node, name);
    if (!a || !a->g) return TENON_FAIL(c->cx, TENON_INVALID, "attribute '%s' is missing", name);
    return tenon_onnx_splice(c, a->g);
}
