/* SPDX-License-Identifier: Apache-2.0 */
/* The interpreter: one node or a whole graph by the operators' references.
   A node's results and temporaries live in a heap of their own that is freed after the last use, so a whole network needs the
   memory of its widest place; what leaves the graph, and whatever is not a plain tensor, lives in the caller's heap. */
#include "op/eval.h"

#include "base/checked.h"
#include "op/symbols.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

/* ---- heap ---- */
struct tenon_heap_block { struct tenon_heap_block *next; };
enum { HEAP_HEAD = 64 }; /* keeps the payload aligned */

void tenon_heap_init(tenon_heap *h, tenon_cx *cx) { *h = (tenon_heap){ .cx = cx }; }

void *tenon_heap_alloc(tenon_heap *h, size_t bytes)
{
    size_t all;
    if (!tenon_add_size(bytes, HEAP_HEAD, &all)) {
        (void)TENON_FAIL(h->cx, TENON_NOMEM, "%zu bytes are more than there can be", bytes);
        return NULL;
    }
    struct tenon_heap_block *b = tenon_alloc_aligned(h->cx, all, 64);
    if (!b) return NULL;
    b->next = h->block;
    h->block = b;
    h->bytes += bytes;
    return (char *)b + HEAP_HEAD;
}

void tenon_heap_free(tenon_heap *h)
{
    for (struct tenon_heap_block *b = h->block, *next; b; b = next) {
        next = b->next;
        tenon_free_aligned(h->cx, b);
    }
    h->block = NULL;
    h->bytes = 0;
}

/* ---- one node ---- */
static bool is_plain(tenon_dtype t) { return t != TENON_SEQUENCE && t != TENON_OPTIONAL; }
static size_t element_bytes(tenon_dtype t, int64_t count)
{
    return t == TENON_STRING ? (size_t)count * sizeof(tenon_string) : tenon_dtype_bytes(t, (size_t)count);
}

tenon_status tenon_eval_alloc(tenon_cx *cx, tenon_eval_call *call, int i)
{
    tenon_tensor *t = &call->dst[i];
    if (call->dst_ready) return TENON_OK;
    int64_t count;
    if (t->rank < 0 || t->rank > TENON_MAX_RANK || !tenon_product(t->dim, t->rank, &count) || count > INT64_C(1) << 46)
        return TENON_FAIL(cx, TENON_INVALID, "result %d has a shape that does not fit in memory", i);
    tenon_tensor_dense(t);
    t->data = tenon_heap_alloc(call->heap, element_bytes(t->dtype, count));
    if (!t->data) return TENON_NOMEM;
    if (t->dtype == TENON_STRING) memset(t->data, 0, element_bytes(t->dtype, count));
    return TENON_OK;
}

/* A source as the rules see it: constant dims, and contents when it is small. */
static tenon_status scratch_source(tenon_cx *cx, tenon_graph *g, const tenon_tensor *t, const tenon_value *like,
                                   tenon_value **out)
{
    tenon_type type = { .dtype = t->dtype, .rank = t->rank };
    for (int i = 0; i < t->rank; i++) type.dim[i] = tenon_dim_const(g->dims, t->dim[i]);
    if (!is_plain(t->dtype) && like) type.element = like->type.element;
    int64_t count;
    const bool small = is_plain(t->dtype) && t->dtype != TENON_STRING && tenon_product(t->dim, t->rank, &count) &&
                       (t->data || count == 0) && count <= TENON_CONTENTS_MAX;
    TENON_TRY(tenon_graph_value(g, "x", &type, out));
    if (!small) return TENON_OK;
    tenon_tensor *copy = tenon_arena_alloc(g->arena, sizeof *copy);
    if (!copy) return TENON_NOMEM;
    *copy = *t;
    if (!tenon_tensor_is_dense(t)) {
        tenon_tensor_dense(copy);
        copy->data = tenon_arena_alloc(g->arena, tenon_dtype_bytes(t->dtype, (size_t)count) + 1);
        if (!copy->data) return TENON_NOMEM;
        tenon_tensor_copy(copy, t);
    }
    (*out)->is_const = true;
    (*out)->data = copy;
    (void)cx;
    return TENON_OK;
}

static bool has_shape(const tenon_type *t)
{
    if (t->dtype == TENON_DTYPE_NONE || !is_plain(t->dtype) || t->rank < 0) return false;
    for (int i = 0; i < t->rank; i++)
        if (!t->dim[i] || !tenon_dim_is_const(t->dim[i])) return false;
    return true;
}

/* Result shapes by the infer rule on concrete source shapes. *known: all wanted ones came out. */
static tenon_status infer_results(tenon_cx *cx, tenon_eval_call *call, bool *known)
{
    tenon_arena arena;
    tenon_arena_init(&arena, cx);
    tenon_dim_pool dims;
    tenon_dim_pool_init(&dims, &arena);
    tenon_graph *g = NULL;
    tenon_status status;
    *known = false;
    TENON_TRY_DONE(tenon_graph_create(cx, &arena, &dims, NULL, &g));
    g->opset = 0;
    tenon_node n = *call->node;
    status = TENON_NOMEM;
    n.src_count = call->src_count, n.dst_count = call->dst_count;
    n.src = tenon_arena_array(&arena, (size_t)n.src_count + 1, sizeof *n.src);
    n.dst = tenon_arena_array(&arena, (size_t)n.dst_count + 1, sizeof *n.dst);
    if (!n.src || !n.dst) goto done;
    for (int i = 0; i < n.src_count; i++)
        if (call->src[i].dtype != TENON_DTYPE_NONE) {
            const tenon_value *like = i < call->node->src_count ? call->node->src[i] : NULL;
            TENON_TRY_DONE(scratch_source(cx, g, &call->src[i], like, &n.src[i]));
        } else if (i < n.op->src_min) {
            status = TENON_FAIL(cx, TENON_CORRUPT, "%s: source %d has no value", n.op->name, i);
            goto done;
        }
    const tenon_type untyped = { .rank = -1 };
    for (int i = 0; i < n.dst_count; i++)
        if (call->dst[i].dtype != TENON_DTYPE_NONE) {
            TENON_TRY_DONE(tenon_graph_value(g, "y", &untyped, &n.dst[i]));
            n.dst[i]->producer = &n;
            n.dst[i]->index = i;
        }
    TENON_TRY_DONE(n.op->infer(cx, g, &n));
    if (dims.failed) {
        status = TENON_FAIL(cx, TENON_NOMEM, "out of memory for shapes");
        goto done;
    }
    *known = true;
    for (int i = 0; i < n.dst_count; i++) {
        if (!n.dst[i]) continue;
        const tenon_type *t = &n.dst[i]->type;
        *known = *known && has_shape(t);
        if (t->dtype != TENON_DTYPE_NONE) call->dst[i].dtype = t->dtype;
        call->dst[i].rank = has_shape(t) ? t->rank : 0;
        for (int k = 0; has_shape(t) && k < t->rank; k++) call->dst[i].dim[k] = t->dim[k]->value;
    }
    status = TENON_OK;
done:
    tenon_arena_free(&arena);
    return status;
}

tenon_status tenon_eval_node(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_op *op = call->node->op;
    const bool given = call->dst_ready;
    tenon_status status = TENON_OK;
    if (!given && !(op->flags & TENON_OP_CONTROL) && op->infer) {
        bool known;
        status = infer_results(cx, call, &known);
        for (int i = 0; known && status == TENON_OK && i < call->dst_count; i++)
            if (call->dst[i].dtype != TENON_DTYPE_NONE) status = tenon_eval_alloc(cx, call, i);
        call->dst_ready = known;
    }
    if (status == TENON_OK)
        status = op->ref ? op->ref(cx, call) : TENON_FAIL(cx, TENON_UNSUPPORTED, "no reference");
    call->dst_ready = given;
    if (status != TENON_OK) return tenon_fail_in(cx, status, "%s '%s': ", op->name, call->node->name ? call->node->name : "");
    return TENON_OK;
}

/* ---- a graph ---- */
/* A node's heap, freed when none of its results is wanted any more. */
typedef struct node_heap { tenon_heap heap; int live; } node_heap;

typedef struct slot {
    tenon_tensor tensor;
    bool have;
    int last;           /* index of the last node that reads it; INT_MAX: leaves the graph */
    node_heap *own;     /* of the node that made it; NULL: in the caller's heap, or borrowed */
} slot;

typedef struct env {
    tenon_cx *cx;
    const tenon_graph *g;
    slot *slot;             /* by value->id */
    node_heap *own;         /* by place in the node list */
    tenon_heap *heap;
    tenon_eval_outer outer;
    void *outer_env;
    const tenon_tensor *in, *out; /* as the caller gave them */
} env;

static bool is_ours(const env *e, const tenon_value *v)
{
    return v->id >= 0 && (size_t)v->id < e->g->value_count && e->g->value[v->id] == v;
}

static tenon_status run_node(env *e, const tenon_node *n, tenon_heap *heap);

/* A parameter of a problem that is reckoned from symbols: they are what the shapes of inputs and outputs say. */
static tenon_status reckon(env *e, const tenon_value *v, tenon_tensor *out)
{
    tenon_symbols s = { 0 };
    *out = (tenon_tensor){ .dtype = v->type.dtype, .rank = v->type.rank, .dim = { (int64_t)v->sym_count } };
    tenon_tensor_dense(out);
    if (e->g->dims->symbol_count > TENON_SYMBOLS_MAX) return TENON_FAIL(e->cx, TENON_UNSUPPORTED, "too many symbols");
    int64_t *data = out->data = tenon_heap_alloc(e->heap, (v->sym_count + 1) * sizeof *data);
    if (!data) return TENON_NOMEM;
    for (size_t i = 0; i < e->g->input_count; i++) tenon_symbols_learn(&s, &e->g->input[i]->type, &e->in[i]);
    for (size_t i = 0; i < e->g->output_count; i++)
        if (e->out[i].dtype != TENON_DTYPE_NONE) tenon_symbols_learn(&s, &e->g->output[i]->type, &e->out[i]);
    for (size_t i = 0; i < v->sym_count; i++)
        if (!tenon_symbols_eval(&s, v->sym[i], &data[i]))
            return TENON_FAIL(e->cx, TENON_INVALID, "element %zu of constant '%s' has no value for these shapes", i,
                              v->name ? v->name : "");
    return TENON_OK;
}

/* The tensor of a value: made here, constant, weight expression, or captured from around. */
static tenon_status value_get(env *e, const tenon_value *v, tenon_tensor *out)
{
    slot *s = is_ours(e, v) ? &e->slot[v->id] : NULL;
    if (s && s->have) {
        *out = s->tensor;
        return TENON_OK;
    }
    if (v->is_const && v->data) {
        *out = *v->data;
        return TENON_OK;
    }
    if (s && v->is_const && v->sym && v->type.dtype == TENON_I64 && !v->expr) return reckon(e, v, out);
    if (s && v->is_const && v->expr) {
        TENON_TRY(run_node(e, v->expr, e->heap));
        if (s->have) {
            *out = s->tensor;
            return TENON_OK;
        }
    }
    if (!s && e->outer) return e->outer(e->outer_env, v, out);
    return TENON_FAIL(e->cx, TENON_INTERNAL, "value '%s' is used before it is computed", v->name ? v->name : "");
}

static tenon_status outer_of_env(void *p, const tenon_value *v, tenon_tensor *out) { return value_get(p, v, out); }

static tenon_status run_sub_graph(tenon_cx *cx, tenon_eval_call *call, int index, const tenon_tensor *in, int in_count,
                                  tenon_tensor *out,
                                  int out_count)
{
    if (index < 0 || index >= call->node->sub_count) return TENON_FAIL(cx, TENON_INTERNAL, "no sub-graph %d", index);
    return tenon_eval_graph(cx, call->node->sub[index], in, in_count, out, out_count, call->heap, outer_of_env, call->env);
}

static tenon_status run_node(env *e, const tenon_node *n, tenon_heap *heap)
{
    tenon_tensor *src = tenon_alloc_zero(e->cx, ((size_t)n->src_count + (size_t)n->dst_count + 1) * sizeof *src);
    if (!src) return TENON_NOMEM;
    tenon_tensor *dst = src + n->src_count;
    tenon_status status = TENON_OK;
    for (int i = 0; i < n->src_count && status == TENON_OK; i++)
        if (n->src[i]) status = value_get(e, n->src[i], &src[i]);
    if (status != TENON_OK) {
        tenon_free(e->cx, src);
        return tenon_fail_in(e->cx, status, "%s '%s': ", n->op->name, n->name ? n->name : "");
    }
    for (int i = 0; i < n->dst_count; i++) {
        if (!n->dst[i]) continue;
        const tenon_dtype t = n->dst[i]->type.dtype; /* an untyped result is wanted too, so that any type will do until infer */
        dst[i].dtype = t == TENON_DTYPE_NONE ? TENON_F32 : t;
    }
    tenon_eval_call call = { .node = n, .src_count = n->src_count, .dst_count = n->dst_count, .src = src, .dst = dst,
                             .heap = heap,
                             .run_graph = run_sub_graph, .env = e };
    status = tenon_eval_node(e->cx, &call);
    for (int i = 0; i < n->dst_count && status == TENON_OK; i++) {
        if (!n->dst[i] || !is_ours(e, n->dst[i])) continue;
        slot *s = &e->slot[n->dst[i]->id];
        s->tensor = dst[i];
        s->have = true;
    }
    tenon_free(e->cx, src);
    return status;
}

/* Marks the last reader of every value, looking into sub-graphs for captures. */
static void mark_uses(env *e, const tenon_graph *g, int at)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const tenon_node *n = g->node[i];
        const int reader = g == e->g ? (int)i : at;
        for (int k = 0; k < n->src_count; k++)
            if (n->src[k] && is_ours(e, n->src[k])) e->slot[n->src[k]->id].last = TENON_MAX(e->slot[n->src[k]->id].last, reader);
        for (int k = 0; k < n->sub_count; k++) mark_uses(e, n->sub[k], reader);
    }
    for (size_t i = 0; i < g->output_count; i++) {
        if (!is_ours(e, g->output[i])) continue;
        slot *s = &e->slot[g->output[i]->id];
        s->last = g == e->g ? INT_MAX : TENON_MAX(s->last, at);
    }
}

/* Results that leave the graph, and text and sequences, which may share parts, live as long as the caller's heap. */
static bool lives_long(const env *e, const tenon_node *n)
{
    for (int i = 0; i < n->src_count; i++)
        if (n->src[i] && (!is_plain(n->src[i]->type.dtype) || n->src[i]->type.dtype == TENON_STRING)) return true;
    for (int i = 0; i < n->dst_count; i++) {
        const tenon_value *v = n->dst[i];
        if (v && (e->slot[v->id].last == INT_MAX || !is_plain(v->type.dtype) || v->type.dtype == TENON_STRING)) return true;
    }
    return false;
}

static void release_one(env *e, const tenon_value *v, int at)
{
    slot *s = &e->slot[v->id];
    if (!s->have || !s->own || s->last > at) return;
    if (--s->own->live == 0) tenon_heap_free(&s->own->heap);
    s->have = false;
    s->own = NULL;
}

static void release_of_graph(env *e, const tenon_graph *g, int at)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const tenon_node *n = g->node[i];
        for (int k = 0; k < n->src_count; k++)
            if (n->src[k] && is_ours(e, n->src[k])) release_one(e, n->src[k], at);
        for (int k = 0; k < n->sub_count; k++) release_of_graph(e, n->sub[k], at);
    }
    for (size_t i = 0; i < g->output_count; i++)
        if (is_ours(e, g->output[i])) release_one(e, g->output[i], at);
}

static tenon_status run_nodes(env *e)
{
    for (size_t i = 0; i < e->g->node_count; i++) {
        const tenon_node *n = e->g->node[i];
        if (n->dead) continue;
        node_heap *h = &e->own[i];
        tenon_heap_init(&h->heap, e->cx);
        const bool lasting = lives_long(e, n);
        TENON_TRY(run_node(e, n, lasting ? e->heap : &h->heap));
        for (int k = 0; k < n->dst_count && !lasting; k++)
            if (n->dst[k]) e->slot[n->dst[k]->id].own = h, h->live++;
        for (int k = 0; k < n->src_count; k++)
            if (n->src[k] && is_ours(e, n->src[k])) release_one(e, n->src[k], (int)i);
        for (int k = 0; k < n->dst_count; k++)
            if (n->dst[k]) release_one(e, n->dst[k], (int)i); /* nobody reads it */
        for (int k = 0; k < n->sub_count; k++) release_of_graph(e, n->sub[k], (int)i);
    }
    return TENON_OK;
}

static tenon_status give_output(env *e, const tenon_value *v, tenon_tensor *out)
{
    tenon_tensor t;
    TENON_TRY(value_get(e, v, &t));
    if (out->data) {
        bool same = out->dtype == t.dtype && out->rank == t.rank;
        for (int i = 0; same && i < t.rank; i++) same = out->dim[i] == t.dim[i];
        if (!same) return TENON_FAIL(e->cx, TENON_INVALID, "output '%s' has another type or shape than its buffer",
                                     v->name ? v->name : "");
        tenon_tensor_copy(out, &t);
        return TENON_OK;
    }
    *out = t;
    if (v->producer && is_ours(e, v) && !v->is_const) return TENON_OK;
    if (!is_plain(t.dtype)) return TENON_OK;
    /* An input or a constant: a copy, so that the output lives as long as the heap. */
    int64_t count;
    if (!tenon_product(t.dim, t.rank, &count)) return TENON_FAIL(e->cx, TENON_INVALID, "output '%s' has no shape",
                                                                 v->name ? v->name : "");
    tenon_tensor_dense(out);
    out->data = tenon_heap_alloc(e->heap, element_bytes(t.dtype, count));
    if (!out->data) return TENON_NOMEM;
    tenon_tensor_copy(out, &t);
    return TENON_OK;
}

tenon_status tenon_eval_graph(tenon_cx *cx, const tenon_graph *g, const tenon_tensor *in, int in_count, tenon_tensor *out,
                              int out_count,
                              tenon_heap *heap, tenon_eval_outer outer, void *outer_env)
{
    if ((size_t)in_count != g->input_count || (size_t)out_count != g->output_count)
        return TENON_FAIL(cx, TENON_INVALID, "graph '%s' has %zu inputs and %zu outputs, called with %d and %d",
                          g->name ? g->name : "",
                          g->input_count, g->output_count, in_count, out_count);
    env e = { .cx = cx, .g = g, .heap = heap, .outer = outer, .outer_env = outer_env, .in = in, .out = out };
    tenon_status status = TENON_NOMEM;
    e.slot = tenon_alloc_zero(cx, (g->value_count + 1) * sizeof *e.slot);
    e.own = tenon_alloc_zero(cx, (g->node_count + 1) * sizeof *e.own);
    if (!e.slot || !e.own) goto done;
    for (size_t i = 0; i < g->value_count; i++) e.slot[i].last = -1;
    mark_uses(&e, g, 0);
    for (int i = 0; i < in_count; i++) {
        slot *s = &e.slot[g->input[i]->id];
        s->tensor = in[i];
        s->have = true;
    }
    TENON_TRY_DONE(run_nodes(&e));
    for (int i = 0; i < out_count; i++) TENON_TRY_DONE(give_output(&e, g->output[i], &out[i]));
done:
    for (size_t i = 0; e.own && i < g->node_count; i++)
        if (e.own[i].heap.cx) tenon_heap_free(&e.own[i].heap);
    tenon_free(cx, e.slot);
    tenon_free(cx, e.own);
    return status;
}

/* ---- constants ---- */
static tenon_status eval_expr(tenon_cx *cx, tenon_graph *g, tenon_value *v, tenon_heap *heap, tenon_tensor *src,
                              tenon_tensor *dst)
{
    const tenon_node *n = v->expr;
    for (int i = 0; i < n->src_count; i++) {
        const tenon_tensor *t;
        if (!n->src[i]) continue;
        TENON_TRY(tenon_eval_const(cx, g, n->src[i], &t));
        src[i] = *t;
    }
    dst[v->index].dtype = v->type.dtype == TENON_DTYPE_NONE ? TENON_F32 : v->type.dtype;
    tenon_eval_call call = { .node = n, .src_count = n->src_count, .dst_count = n->dst_count, .src = src, .dst = dst,
                             .heap = heap };
    TENON_TRY(tenon_eval_node(cx, &call));
    const tenon_tensor *r = &dst[v->index];
    if (!is_plain(r->dtype) || r->dtype == TENON_STRING)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "constant '%s' is not a plain tensor", v->name ? v->name : "");
    tenon_tensor *keep = tenon_arena_alloc(g->arena, sizeof *keep);
    if (!keep) return TENON_NOMEM;
    *keep = *r;
    tenon_tensor_dense(keep);
    const size_t bytes = element_bytes(r->dtype, tenon_tensor_count(r));
    char *data = tenon_arena_alloc(g->arena, bytes + 63);
    if (!data) return TENON_NOMEM;
    keep->data = (char *)(((uintptr_t)data + 63) & ~(uintptr_t)63);
    tenon_tensor_copy(keep, r);
    v->data = keep;
    return TENON_OK;
}

tenon_status tenon_eval_const(tenon_cx *cx, tenon_graph *g, tenon_value *v, const tenon_tensor **out)
{
    *out = NULL;
    if (!v->data) {
        if (!v->is_const || !v->expr) return TENON_FAIL(cx, TENON_INTERNAL, "value '%s' is not a constant",
                                                        v->name ? v->name : "");
        tenon_heap heap;
        tenon_heap_init(&heap, cx);
        tenon_tensor *t = tenon_alloc_zero(cx, ((size_t)v->expr->src_count + (size_t)v->expr->dst_count + 1) * sizeof *t);
        if (!t) return TENON_NOMEM;
        const tenon_status status = eval_expr(cx, g, v, &heap, t, t + v->expr->src_count);
        tenon_free(cx, t);
        tenon_heap_free(&heap);
        TENON_TRY(status);
    }
    *out = v->data;
    return TENON_OK;
}
