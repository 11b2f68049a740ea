/* SPDX-License-Identifier: Apache-2.0 */
/* Common subexpressions: of two nodes with the same operator, attributes and sources the later one goes. Small constants count
   as the same when their bytes are. */
#include "pass/pass.h"
#include "pass/rewrite.h"

#include <string.h>

enum { SAME_BYTES = 64, BUCKETS = 1024 };

static bool same_data(const tenon_value *a, const tenon_value *b)
{
    if (!a->is_const || !b->is_const || !a->data || !b->data || !tenon_type_equal(&a->type, &b->type)) return false;
    const int64_t count = tenon_tensor_count(a->data);
    if (count > 1 && (a->source_name || b->source_name)) return false; /* may be replaced apart */
    if (tenon_dtype_get(a->type.dtype)->kind == TENON_KIND_OTHER || !tenon_tensor_is_dense(a->data) ||
        !tenon_tensor_is_dense(b->data)) return false;
    const size_t bytes = tenon_dtype_bytes(a->type.dtype, (size_t)count);
    return bytes <= SAME_BYTES && (!bytes || memcmp(a->data->data, b->data->data, bytes) == 0);
}

static bool same_list(const void *a, const void *b, size_t count, size_t element) { return !count ||
    memcmp(a, b, count * element) == 0; }

static bool same_attr(tenon_attr_kind kind, const tenon_attr *a, const tenon_attr *b)
{
    if (a == b) return true;
    switch (kind) {
    case TENON_ATTR_INT: case TENON_ATTR_DTYPE: return a->i == b->i;
    case TENON_ATTR_FLOAT: return a->set == b->set && memcmp(&a->f, &b->f, sizeof a->f) == 0;
    case TENON_ATTR_STRING: return a->s == b->s || (a->s && b->s && !strcmp(a->s, b->s));
    case TENON_ATTR_INTS: return a->set == b->set && a->count == b->count &&
        same_list(a->ints, b->ints, a->count, sizeof *a->ints);
    case TENON_ATTR_FLOATS: return a->set == b->set && a->count == b->count &&
        same_list(a->floats, b->floats, a->count, sizeof *a->floats);
    case TENON_ATTR_TENSOR: return a->set == b->set && a->tensor == b->tensor;
    case TENON_ATTR_STRINGS: case TENON_ATTR_GRAPH: return !a->set && !b->set;
    }
    return false;
}

static bool same_node(const tenon_node *a, const tenon_node *b)
{
    if (a->op != b->op || a->src_count != b->src_count || a->dst_count != b->dst_count) return false;
    for (int i = 0; i < a->src_count; i++) {
        const tenon_value *x = a->src[i], *y = b->src[i];
        if (x != y && (!x || !y || !same_data(x, y))) return false;
    }
    const tenon_attr_def *def = a->op->attr;
    for (int i = 0; def && def[i].name; i++)
        if (!same_attr(def[i].kind, &a->attr[i], &b->attr[i])) return false;
    for (int i = 0; i < a->dst_count; i++)
        if (b->dst[i] && (!a->dst[i] || !tenon_type_equal(&a->dst[i]->type, &b->dst[i]->type))) return false;
    return true;
}

static size_t bucket_of(const tenon_node *n)
{
    size_t h = (uintptr_t)n->op / 16;
    for (int i = 0; i < n->src_count; i++)
        if (n->src[i] && !n->src[i]->is_const) h = h * 31 + (size_t)n->src[i]->id;
    return h % BUCKETS;
}

static bool mergeable(const tenon_graph *g, const tenon_node *n)
{
    if (n->op->flags & (TENON_OP_RANDOM | TENON_OP_EFFECT | TENON_OP_CONTROL) || n->sub_count || n->op == &tenon_op_symbolic)
        return false;
    for (int i = 0; i < n->dst_count; i++)
        if (n->dst[i] && (tenon_rw_is_output(g, n->dst[i]) || n->dst[i]->type.rank < 0)) return false;
    return true;
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    (void)cx;
    tenon_node **chain = tenon_arena_array(g->arena, g->node_count + BUCKETS, sizeof *chain), **head = chain + g->node_count;
    if (!chain) return TENON_NOMEM;
    bool any = false;
    for (size_t i = 0; i < g->node_count; i++) {
        tenon_node *n = g->node[i];
        if (n->dead || !mergeable(g, n)) continue;
        const size_t b = bucket_of(n);
        tenon_node *twin = head[b];
        while (twin && !same_node(twin, n)) twin = chain[twin->id];
        if (!twin) {
            chain[n->id] = head[b];
            head[b] = n;
            continue;
        }
        for (int k = 0; k < n->dst_count; k++)
            if (n->dst[k]) TENON_TRY(tenon_graph_replace(g, n->dst[k], twin->dst[k]));
        TENON_TRY(tenon_event_applied(g, "cse", n, "the same %s as %s", n->op->name, tenon_node_origin(twin)));
        any = true;
    }
    if (!any) return TENON_OK;
    *changed = true;
    tenon_graph_prune(g);
    return tenon_graph_sort(g);
}

const tenon_pass tenon_pass_cse = {.name = "cse", .what = "equal nodes become one", .run = run};
