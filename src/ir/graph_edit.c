/* SPDX-License-Identifier: Apache-2.0 */
/* Changing a whole graph: replacing a value, indexing uses, sorting, pruning. Whatever walks sources walks into the sub-graphs
   too: a body sees the values around it, and a node depends on all that its bodies capture. */
#include "ir/graph.h"

#include <string.h>

extern const tenon_op tenon_op_identity; /* of op.def; this layer needs its address only */

/* ---- walking ---- */
typedef void (*visit_fn)(void *context, tenon_value **v, tenon_node *node, int index);

static void visit_node(tenon_node *n, visit_fn visit, void *context);

static void visit_graph(tenon_graph *g, visit_fn visit, void *context)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (!g->node[i]->dead) visit_node(g->node[i], visit, context);
    for (size_t i = 0; i < g->output_count; i++)
        if (g->output[i]) visit(context, &g->output[i], NULL, (int)i);
}

/* Every source of the node, then those inside its bodies. */
static void visit_node(tenon_node *n, visit_fn visit, void *context)
{
    for (int i = 0; i < n->src_count; i++)
        if (n->src[i]) visit(context, &n->src[i], n, i);
    for (int i = 0; i < n->sub_count; i++) visit_graph(n->sub[i], visit, context);
}

static bool owns_value(const tenon_graph *g, const tenon_value *v)
{
    return v->id >= 0 && (size_t)v->id < g->value_count && g->value[v->id] == v;
}

static bool owns_node(const tenon_graph *g, const tenon_node *n)
{
    return n->id >= 0 && (size_t)n->id < g->node_count && g->node[n->id] == n;
}

static void number_nodes(tenon_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) g->node[i]->id = (int)i;
}

/* ---- replace ---- */
typedef struct exchange { tenon_value *from, *to; } exchange;

static void exchange_value(void *context, tenon_value **v, tenon_node *node, int index)
{
    const exchange *e = context;
    (void)node, (void)index;
    if (*v == e->from) *v = e->to;
}

static bool is_output(const tenon_graph *g, const tenon_value *v)
{
    for (size_t i = 0; i < g->output_count; i++)
        if (g->output[i] == v) return true;
    return false;
}

/* What stands for `to` as an output of g: itself when its name is free to change, else an identity of it. */
static tenon_status output_for(tenon_graph *g, tenon_value *from, tenon_value *to, tenon_value **out)
{
    *out = to;
    if (!to->producer || !owns_value(g, to) || is_output(g, to)) {
        tenon_node *n;
        TENON_TRY(tenon_graph_node(g, &tenon_op_identity, from->name, 1, &to, 1, &n));
        n->dst[0]->type = to->type;
        *out = n->dst[0];
    }
    return TENON_OK;
}

tenon_status tenon_graph_replace(tenon_graph *g, tenon_value *from, tenon_value *to)
{
    if (from == to) return TENON_OK;
    exchange e = {from, to};
    tenon_value *output = NULL;
    if (is_output(g, from)) TENON_TRY(output_for(g, from, to, &output));
    for (size_t i = 0; i < g->output_count; i++)
        if (g->output[i] == from) g->output[i] = output;
    if (output) tenon_graph_swap_names(g, from, output);
    visit_graph(g, exchange_value, &e);
    return TENON_OK;
}

/* ---- uses ---- */
static void count_use(void *context, tenon_value **v, tenon_node *node, int index)
{
    (void)node, (void)index;
    (*v)->use_count++;
    ++*(size_t *)context;
}

static void fill_use(void *context, tenon_value **v, tenon_node *node, int index)
{
    tenon_use **pool = context;
    if (!(*v)->use) { /* its first use takes the room for all of them */
        (*v)->use = *pool;
        *pool += (*v)->use_count;
        (*v)->use_count = 0;
    }
    (*v)->use[(*v)->use_count++] = (tenon_use){node, index};
}

static void clear_uses(tenon_graph *g)
{
    for (size_t i = 0; i < g->value_count; i++) {
        g->value[i]->use_count = 0;
        g->value[i]->use = NULL;
    }
    for (size_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->sub_count; k++) clear_uses(g->node[i]->sub[k]);
}

tenon_status tenon_graph_index_uses(tenon_graph *g)
{
    while (g->parent) g = g->parent;
    clear_uses(g);
    size_t total = 0;
    visit_graph(g, count_use, &total);
    if (tenon_arena_grow(g->arena, (void **)&g->use_pool, &g->use_capacity, total, sizeof *g->use_pool) != TENON_OK) {
        clear_uses(g);
        return TENON_NOMEM;
    }
    tenon_use *pool = g->use_pool;
    visit_graph(g, fill_use, &pool);
    return TENON_OK;
}

/* ---- sort ---- */
typedef struct edges {
    const tenon_graph *g;
    size_t count;
    int *list;    /* NULL: only counting */
} edges;

static void add_edge(void *context, tenon_value **v, tenon_node *node, int index)
{
    edges *e = context;
    const tenon_node *producer = (*v)->producer;
    (void)node, (void)index;
    if (!producer || producer->dead || !owns_node(e->g, producer)) return;
    if (e->list) e->list[e->count] = producer->id;
    e->count++;
}

typedef struct sorter {
    size_t *first;   /* node i needs list[first[i] .. first[i + 1]) */
    int *list;
    size_t *next;    /* where the walk is in that range; SIZE_MAX: not begun */
    int *stack;
    tenon_node **order;
    size_t ordered;
} sorter;

/* Depth first without recursion: a node follows the last thing it needs, so an order that is right already stays as it is.
   `done` nodes have next == their end and are in `order`; an unfinished node met again closes a cycle. */
static tenon_status place(tenon_graph *g, sorter *s, int root, bool *done)
{
    size_t depth = 0;
    if (s->next[root] != SIZE_MAX) return TENON_OK;
    s->stack[depth++] = root;
    s->next[root] = s->first[root];
    while (depth) {
        const int at = s->stack[depth - 1];
        if (s->next[at] == s->first[at + 1]) {
            done[at] = true;
            s->order[s->ordered++] = g->node[at];
            depth--;
            continue;
        }
        const int need = s->list[s->next[at]++];
        if (done[need]) continue;
        if (s->next[need] != SIZE_MAX)
            return TENON_FAIL(g->cx, TENON_INVALID, "node '%s' (%s) needs its own result: the graph has a cycle",
                              g->node[need]->name, tenon_op_as_head(g->node[need]->op)->name);
        s->next[need] = s->first[need];
        s->stack[depth++] = need;
    }
    return TENON_OK;
}

static tenon_status sort_one(tenon_graph *g)
{
    const size_t count = g->node_count;
    tenon_status status = TENON_NOMEM;
    bool *done = NULL;
    sorter s = {0};
    edges e = {.g = g};
    for (size_t i = 0; i < count; i++) visit_node(g->node[i], add_edge, &e);
    s.first = tenon_alloc(g->cx, (count + 1) * sizeof *s.first);
    s.next = tenon_alloc(g->cx, count * sizeof *s.next);
    s.stack = tenon_alloc(g->cx, count * sizeof *s.stack);
    s.order = tenon_alloc(g->cx, count * sizeof *s.order);
    s.list = tenon_alloc(g->cx, e.count * sizeof *s.list);
    done = tenon_alloc_zero(g->cx, count);
    if (!s.first || !s.next || !s.stack || !s.order || !s.list || !done) goto done;
    e = (edges){.g = g, .list = s.list};
    for (size_t i = 0; i < count; i++) {
        s.first[i] = e.count;
        s.next[i] = SIZE_MAX;
        visit_node(g->node[i], add_edge, &e);
    }
    s.first[count] = e.count;
    status = TENON_OK;
    for (size_t i = 0; i < count && status == TENON_OK; i++)
        if (!g->node[i]->dead) status = place(g, &s, (int)i, done);
    if (status != TENON_OK) goto done;
    if (s.ordered) memcpy(g->node, s.order, s.ordered * sizeof *s.order);
    g->node_count = s.ordered;
    number_nodes(g);
done:
    tenon_free(g->cx, s.first);
    tenon_free(g->cx, s.next);
    tenon_free(g->cx, s.stack);
    tenon_free(g->cx, s.order);
    tenon_free(g->cx, s.list);
    tenon_free(g->cx, done);
    return status;
}

tenon_status tenon_graph_sort(tenon_graph *g)
{
    number_nodes(g);
    TENON_TRY(sort_one(g));
    for (size_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->sub_count; k++) TENON_TRY(tenon_graph_sort(g->node[i]->sub[k]));
    return TENON_OK;
}

/* ---- prune ---- */
static void mark_value(void *context, tenon_value **slot, tenon_node *node, int index)
{
    tenon_value *v = *slot;
    (void)context, (void)node, (void)index;
    if (v->use_count) return;
    v->use_count = 1;
    if (v->expr)
        for (int i = 0; i < v->expr->src_count; i++)
            if (v->expr->src[i]) mark_value(NULL, &v->expr->src[i], NULL, 0);
}

static bool wanted(const tenon_node *n)
{
    for (int i = 0; i < n->dst_count; i++)
        if (n->dst[i] && n->dst[i]->use_count) return true;
    return false;
}

static void drop_unused(tenon_graph *g)
{
    size_t nodes = 0, values = 0;
    for (size_t i = 0; i < g->node_count; i++)
        if (!g->node[i]->dead) g->node[nodes++] = g->node[i];
    g->node_count = nodes;
    number_nodes(g);
    for (size_t i = 0; i < g->input_count; i++) g->input[i]->use_count = 1;
    for (size_t i = 0; i < nodes; i++)
        for (int k = 0; k < g->node[i]->dst_count; k++)
            if (g->node[i]->dst[k]) g->node[i]->dst[k]->use_count = 1;
    for (size_t i = 0; i < g->value_count; i++) {
        tenon_value *v = g->value[i];
        if (!v->use_count) {
            v->id = -1;
            continue;
        }
        v->id = (int)values;
        g->value[values++] = v;
    }
    g->value_count = values;
}

/* Marks by use_count, which is stale after this in any case. In topological order one sweep from the end suffices; in any other
   the sweeps go on until nothing new is found. */
static void prune_one(tenon_graph *g)
{
    for (size_t i = 0; i < g->value_count; i++) g->value[i]->use_count = 0;
    for (size_t i = 0; i < g->output_count; i++) mark_value(NULL, &g->output[i], NULL, 0);
    for (size_t i = 0; i < g->node_count; i++) g->node[i]->id = -1; /* not known to be wanted */
    for (bool more = true; more;) {
        more = false;
        for (size_t i = g->node_count; i-- > 0;) {
            tenon_node *n = g->node[i];
            if (n->dead || n->id == 0 || !wanted(n)) continue;
            n->id = 0;
            more = true;
            visit_node(n, mark_value, NULL);
        }
    }
    for (size_t i = 0; i < g->node_count; i++)
        if (g->node[i]->id != 0) g->node[i]->dead = true;
    drop_unused(g);
}

/* Bodies first: what nothing wants inside them must not keep outer values alive. */
void tenon_graph_prune(tenon_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++)
        for (int k = 0; !g->node[i]->dead && k < g->node[i]->sub_count; k++) tenon_graph_prune(g->node[i]->sub[k]);
    prune_one(g);
}
