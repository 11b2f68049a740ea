/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of ONNX nodes: typed access with a message for the wrong type, references to a function's attributes resolved
   through the calls that are being inlined, and attributes of canonical nodes set from ONNX attributes or from inputs known at
   build time. */
#include "onnx/import.h"

#include "op/eval.h"

#include <string.h>

static const tenon_pb_attr *find(const tenon_pb_attr *item, size_t count, tenon_span name)
{
    for (size_t i = 0; i < count; i++)
        if (tenon_span_equal(item[i].name, name)) return &item[i];
    return NULL;
}

const tenon_pb_attr *tenon_onnx_attr(const tenon_onnx_scope *scope, const tenon_pb_node *node, const char *name)
{
    const tenon_pb_attr *a = find(node->attribute.item, node->attribute.count, tenon_span_of(name));
    if (a && scope->watch && scope->watch->node == node && a - node->attribute.item < 64)
        scope->watch->seen |= (uint64_t)1 << (a - node->attribute.item);
    for (const tenon_onnx_frame *f = scope->frame; a && a->ref_attr_name.length > 0; f = f->outer) {
        if (!f) return NULL; /* a reference outside of a function names nothing */
        const tenon_span want = a->ref_attr_name;
        a = find(f->node->attribute.item, f->node->attribute.count, want);
        if (!a) return find(f->function->attribute_proto.item, f->function->attribute_proto.count, want);
    }
    return a;
}

/* Files of the first IR versions have no type: it is the field that is there. */
tenon_pb_attr_type tenon_onnx_attr_type(const tenon_pb_attr *a)
{
    static const uint8_t field[][2] = {
        {2, TENON_PB_FLOAT}, {3, TENON_PB_INT}, {4, TENON_PB_STRING}, {5, TENON_PB_TENSOR}, {6, TENON_PB_GRAPH},
        {7, TENON_PB_FLOATS}, {8, TENON_PB_INTS}, {9, TENON_PB_STRINGS}, {14, TENON_PB_TYPE_PROTO}, {22, TENON_PB_SPARSE_TENSOR},
    };
    if (a->type != 0) return (tenon_pb_attr_type)a->type;
    for (size_t i = 0; i < TENON_COUNTOF(field); i++)
        if (tenon_wire_has(&tenon_pb_attr_message, a, field[i][0])) return (tenon_pb_attr_type)field[i][1];
    return TENON_PB_UNDEFINED;
}

bool tenon_onnx_has(const tenon_onnx_call *c, const char *name) { return tenon_onnx_attr(c->scope, c->node, name) != NULL; }

static tenon_status typed(const tenon_onnx_call *c, const char *name, tenon_pb_attr_type type, const char *what,
                          const tenon_pb_attr **out)
{
    *out = tenon_onnx_attr(c->scope, c->node, name);
    if (*out && tenon_onnx_attr_type(*out) != type)
        return TENON_FAIL(c->cx, TENON_INVALID, "attribute '%s' is not %s", name, what);
    return TENON_OK;
}

tenon_status tenon_onnx_int(const tenon_onnx_call *c, const char *name, int64_t fallback, int64_t *out)
{
    const tenon_pb_attr *a;
    TENON_TRY(typed(c, name, TENON_PB_INT, "an integer", &a));
    *out = a ? a->i : fallback;
    return TENON_OK;
}

tenon_status tenon_onnx_float(const tenon_onnx_call *c, const char *name, double fallback, double *out)
{
    const tenon_pb_attr *a;
    TENON_TRY(typed(c, name, TENON_PB_FLOAT, "a float", &a));
    *out = a ? (double)a->f : fallback;
    return TENON_OK;
}

tenon_status tenon_onnx_text(const tenon_onnx_call *c, const char *name, const char *fallback, const char **out)
{
    const tenon_pb_attr *a;
    *out = fallback;
    TENON_TRY(typed(c, name, TENON_PB_STRING, "a string", &a));
    return a ? tenon_onnx_string(c->im, a->s, name, out) : TENON_OK;
}

tenon_status tenon_onnx_ints(const tenon_onnx_call *c, const char *name, tenon_pb_ints *out)
{
    const tenon_pb_attr *a;
    *out = (tenon_pb_ints){0};
    TENON_TRY(typed(c, name, TENON_PB_INTS, "a list of integers", &a));
    if (a) *out = a->ints;
    return TENON_OK;
}

static tenon_status copy_floats(tenon_onnx_call *c, const tenon_pb_floats *from, tenon_attr *to)
{
    double *v = tenon_arena_array(c->im->arena, TENON_MAX(from->count, 1), sizeof *v);
    if (!v) return TENON_NOMEM;
    for (size_t i = 0; i < from->count; i++) v[i] = (double)from->item[i];
    to->floats = v;
    to->count = from->count;
    return TENON_OK;
}

static tenon_status copy_strings(tenon_onnx_call *c, const tenon_pb_spans *from, const char *what, tenon_attr *to)
{
    const char **v = tenon_arena_array(c->im->arena, TENON_MAX(from->count, 1), sizeof *v);
    if (!v) return TENON_NOMEM;
    for (size_t i = 0; i < from->count; i++) TENON_TRY(tenon_onnx_string(c->im, from->item[i], what, &v[i]));
    to->strings = v;
    to->count = from->count;
    return TENON_OK;
}

static tenon_status copy_tensor(tenon_onnx_call *c, const tenon_pb_attr *a, const char *name, tenon_attr *to)
{
    if (!a->t) return TENON_FAIL(c->cx, TENON_INVALID, "attribute '%s' holds no tensor", name);
    tenon_tensor *t = tenon_arena_alloc(c->im->arena, sizeof *t);
    if (!t) return TENON_NOMEM;
    TENON_TRY(tenon_onnx_tensor(c->im, a->t, name, t));
    to->tensor = t;
    return TENON_OK;
}

static tenon_status copy_dtype(tenon_onnx_call *c, int64_t number, const char *name, tenon_attr *to)
{
    const tenon_dtype t = tenon_onnx_dtype(number);
    if (t == TENON_DTYPE_NONE)
        return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "attribute '%s' is element type %s (%lld), which Tenon does not have", name,
                          tenon_onnx_dtype_name(number), (long long)number);
    to->i = (int64_t)t;
    return TENON_OK;
}

tenon_status tenon_onnx_copy_attr(tenon_onnx_call *c, tenon_node *n, int index)
{
    static const struct { tenon_pb_attr_type type; const char *what; } want[] = {
        [TENON_ATTR_INT] = {TENON_PB_INT, "an integer"},          [TENON_ATTR_FLOAT] = {TENON_PB_FLOAT, "a float"},
        [TENON_ATTR_STRING] = {TENON_PB_STRING, "a string"},      [TENON_ATTR_INTS] = {TENON_PB_INTS, "a list of integers"},
        [TENON_ATTR_FLOATS] = {TENON_PB_FLOATS, "a list of floats"},
        [TENON_ATTR_STRINGS] = {TENON_PB_STRINGS, "a list of strings"},
        [TENON_ATTR_DTYPE] = {TENON_PB_INT, "an element type"},   [TENON_ATTR_TENSOR] = {TENON_PB_TENSOR, "a tensor"},
    };
    const tenon_attr_def *def = &tenon_op_as_head(n->op)->attr[index];
    if (def->kind == TENON_ATTR_GRAPH) return TENON_OK; /* import_body.c */
    const tenon_pb_attr *a;
    TENON_TRY(typed(c, def->name, want[def->kind].type, want[def->kind].what, &a));
    if (!a) return TENON_OK;
    tenon_attr *to = &n->attr[index];
    to->set = true;
    switch (def->kind) {
    case TENON_ATTR_INT: to->i = a->i; return TENON_OK;
    case TENON_ATTR_FLOAT: to->f = (double)a->f; return TENON_OK;
    case TENON_ATTR_STRING: return tenon_onnx_string(c->im, a->s, def->name, &to->s);
    case TENON_ATTR_INTS: to->ints = a->ints.item; to->count = a->ints.count; return TENON_OK;
    case TENON_ATTR_FLOATS: return copy_floats(c, &a->floats, to);
    case TENON_ATTR_STRINGS: return copy_strings(c, &a->strings, def->name, to);
    case TENON_ATTR_DTYPE: return copy_dtype(c, a->i, def->name, to);
    default: return copy_tensor(c, a, def->name, to);
    }
}

tenon_status tenon_onnx_attr_from(tenon_onnx_call *c, tenon_node *n, int index, int input, const tenon_tensor *t)
{
    const tenon_attr_def *def = &tenon_op_as_head(n->op)->attr[index];
    const int64_t count = tenon_tensor_count(t);
    tenon_attr *to = &n->attr[index];
    to->set = true;
    switch (def->kind) {
    case TENON_ATTR_INT:
    case TENON_ATTR_DTYPE:
    case TENON_ATTR_FLOAT:
        if (count != 1)
            return TENON_FAIL(c->cx, TENON_INVALID, "input %d ('%s') must be one number and has %lld", input, def->name,
                              (long long)count);
        if (def->kind == TENON_ATTR_FLOAT) to->f = tenon_tensor_get_f64(t, 0);
        else to->i = tenon_tensor_get_i64(t, 0);
        return TENON_OK;
    case TENON_ATTR_INTS: {
        int64_t *ints = tenon_arena_array(c->im->arena, (size_t)TENON_MAX(count, 1), sizeof *ints);
        if (!ints) return TENON_NOMEM;
        for (int64_t i = 0; i < count; i++) ints[i] = tenon_tensor_get_i64(t, tenon_tensor_offset(t, i));
        to->ints = ints;
        to->count = (size_t)count;
        return TENON_OK;
    }
    case TENON_ATTR_FLOATS: {
        double *floats = tenon_arena_array(c->im->arena, (size_t)TENON_MAX(count, 1), sizeof *floats);
        if (!floats) return TENON_NOMEM;
        for (int64_t i = 0; i < count; i++) floats[i] = tenon_tensor_get_f64(t, tenon_tensor_offset(t, i));
        to->floats = floats;
        to->count = (size_t)count;
        return TENON_OK;
    }
    case TENON_ATTR_TENSOR: to->tensor = t; return TENON_OK;
    default: return TENON_FAIL(c->cx, TENON_INTERNAL, "attribute '%s' cannot come from an input", def->name);
    }
}

/* ---- values known at build time ---- */
/* Symbolic contents that are numbers throughout. */
static tenon_status from_contents(tenon_importer *im, tenon_graph *g, tenon_value *v, const tenon_tensor **out)
{
    size_t count;
    const tenon_dim *const *sym = tenon_infer_contents(g, v, &count);
    if (!sym) return TENON_OK;
    for (size_t i = 0; i < count; i++)
        if (!sym[i] || !tenon_dim_is_const(sym[i])) return TENON_OK;
    tenon_tensor *t = tenon_arena_alloc(im->arena, sizeof *t);
    int64_t *data = tenon_arena_array(im->arena, TENON_MAX(count, 1), sizeof *data);
    if (!t || !data) return TENON_NOMEM;
    for (size_t i = 0; i < count; i++) data[i] = sym[i]->value;
    *t = (tenon_tensor){.dtype = TENON_I64, .rank = v->type.rank == 0 ? 0 : 1, .dim = {(int64_t)count}, .data = data};
    tenon_tensor_dense(t);
    *out = t;
    return TENON_OK;
}

enum { FOLD_SRC = 8, FOLD_BUDGET = 256 };

static tenon_status known(tenon_importer *im, tenon_graph *g, tenon_value *v, int *budget, const tenon_tensor **out);

/* One node whose sources are all known; its result is kept in the arena. The budget is of nodes looked at: shared sources are
   looked at again, so without it a chain of x*x would take forever. */
static tenon_status fold(tenon_importer *im, tenon_graph *g, tenon_value *v, int *budget, const tenon_tensor **out)
{
    const tenon_node *n = v->producer;
    tenon_tensor src[FOLD_SRC] = {{0}}, dst[FOLD_SRC] = {{0}};
    if (!n || (*budget)-- <= 0 || n->src_count > FOLD_SRC || n->dst_count > FOLD_SRC || !n->op->ref ||
        (n->op->flags & (TENON_OP_RANDOM | TENON_OP_CONTROL)))
        return TENON_OK;
    for (int i = 0; i < n->src_count; i++) {
        const tenon_tensor *t = NULL;
        if (!n->src[i]) continue;
        TENON_TRY(known(im, g, n->src[i], budget, &t));
        if (!t) return TENON_OK;
        src[i] = *t;
    }
    tenon_heap heap;
    tenon_heap_init(&heap, im->cx);
    dst[v->index].dtype = v->type.dtype;
    tenon_eval_call call = {.node = n, .src_count = n->src_count, .dst_count = n->dst_count, .src = src, .dst = dst,
                            .heap = &heap};
    tenon_status status = tenon_eval_node(im->cx, &call);
    const tenon_tensor *result = &dst[v->index];
    if (status == TENON_OK && tenon_dtype_get(result->dtype)->bits >= 8) {
        tenon_tensor *t = tenon_arena_alloc(im->arena, sizeof *t);
        void *data = tenon_arena_alloc(im->arena, TENON_MAX(tenon_dtype_bytes(result->dtype, (size_t)tenon_tensor_count(result)),
                                                            1));
        if (t && data) {
            *t = *result;
            t->data = data;
            tenon_tensor_dense(t);
            tenon_tensor_copy(t, result);
            *out = t;
        } else status = TENON_NOMEM;
    }
    tenon_heap_free(&heap);
    return status;
}

static tenon_status known(tenon_importer *im, tenon_graph *g, tenon_value *v, int *budget, const tenon_tensor **out)
{
    if (v->is_const) return tenon_eval_const(im->cx, g, v, out);
    TENON_TRY(from_contents(im, g, v, out));
    return *out ? TENON_OK : fold(im, g, v, budget, out);
}

tenon_status tenon_onnx_known(tenon_importer *im, tenon_graph *g, tenon_value *v, const tenon_tensor **out)
{
    *out = NULL;
    int budget = FOLD_BUDGET;
    return known(im, g, v, &budget, out);
}
