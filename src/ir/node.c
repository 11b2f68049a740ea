/* SPDX-License-Identifier: Apache-2.0 */
/* Making nodes and setting their attributes. A setter with a name or kind that the operator's table lacks is TENON_INVALID: the
   names come from models and texts. */
#include "ir/graph.h"

#include <assert.h>
#include <string.h>

int tenon_attr_count(const tenon_op *op)
{
    const tenon_attr_def *def = tenon_op_as_head(op)->attr;
    int count = 0;
    while (def && def[count].name) count++;
    return count;
}

int tenon_attr_find(const tenon_op *op, const char *name)
{
    const tenon_attr_def *def = tenon_op_as_head(op)->attr;
    for (int i = 0; def && def[i].name; i++)
        if (!strcmp(def[i].name, name)) return i;
    return -1;
}

static tenon_status copy_values(tenon_graph *g, tenon_value *const *from, int count, tenon_value ***out)
{
    *out = tenon_arena_array(g->arena, (size_t)count, sizeof **out);
    if (!*out) return TENON_NOMEM;
    if (count && from) memcpy(*out, from, (size_t)count * sizeof **out);
    return TENON_OK;
}

static tenon_status default_attrs(tenon_graph *g, tenon_node *n)
{
    const tenon_attr_def *def = tenon_op_as_head(n->op)->attr;
    const int count = tenon_attr_count(n->op);
    if (!(n->attr = tenon_arena_array(g->arena, (size_t)count, sizeof *n->attr))) return TENON_NOMEM;
    for (int i = 0; i < count; i++) {
        n->attr[i].i = def[i].kind == TENON_ATTR_GRAPH ? -1 : def[i].i;
        n->attr[i].f = def[i].f;
        n->attr[i].s = def[i].s;
    }
    return TENON_OK;
}

static tenon_status fresh_results(tenon_graph *g, tenon_node *n)
{
    for (int i = 0; i < n->dst_count; i++) {
        const char *hint = i ? tenon_arena_printf(g->arena, "%s.%d", n->name, i) : n->name;
        if (!hint) return TENON_NOMEM;
        TENON_TRY(tenon_graph_value(g, hint, NULL, &n->dst[i]));
        n->dst[i]->producer = n;
        n->dst[i]->index = i;
    }
    return TENON_OK;
}

tenon_status tenon_graph_node(tenon_graph *g, const tenon_op *op, const char *name, int src_count, tenon_value *const *src,
                              int dst_count, tenon_node **out)
{
    *out = NULL;
    assert(op && src_count >= 0 && dst_count >= 0);
    tenon_node *n = tenon_arena_alloc(g->arena, sizeof *n);
    if (!n) return TENON_NOMEM;
    n->op = op;
    n->src_count = src_count;
    n->dst_count = dst_count;
    if (!(n->name = tenon_arena_strdup(g->arena, name && *name ? name : tenon_op_as_head(op)->name))) return TENON_NOMEM;
    TENON_TRY(copy_values(g, src, src_count, &n->src));
    TENON_TRY(copy_values(g, NULL, dst_count, &n->dst));
    TENON_TRY(default_attrs(g, n));
    TENON_TRY(tenon_arena_grow(g->arena, (void **)&g->node, &g->node_capacity, g->node_count + 1, sizeof *g->node));
    TENON_TRY(fresh_results(g, n));
    n->id = (int)g->node_count;
    g->node[g->node_count++] = n;
    *out = n;
    return TENON_OK;
}

tenon_status tenon_node_add_src(tenon_graph *g, tenon_node *n, tenon_value *v)
{
    tenon_value **src = tenon_arena_array(g->arena, (size_t)n->src_count + 1, sizeof *src);
    if (!src) return TENON_NOMEM;
    if (n->src_count) memcpy(src, n->src, (size_t)n->src_count * sizeof *src);
    src[n->src_count++] = v;
    n->src = src;
    return TENON_OK;
}

static tenon_status find_attr(tenon_graph *g, tenon_node *n, const char *name, tenon_attr_kind kind, tenon_attr **out)
{
    const int i = tenon_attr_find(n->op, name);
    const char *op = tenon_op_as_head(n->op)->name;
    if (i < 0) return TENON_FAIL(g->cx, TENON_INVALID, "node '%s': operator %s has no attribute '%s'", n->name, op, name);
    if (tenon_op_as_head(n->op)->attr[i].kind != kind)
        return TENON_FAIL(g->cx, TENON_INVALID, "node '%s': attribute '%s' of %s has another kind", n->name, name, op);
    *out = &n->attr[i];
    return TENON_OK;
}

tenon_status tenon_node_set_int(tenon_graph *g, tenon_node *n, const char *attr, int64_t v)
{
    tenon_attr *a;
    TENON_TRY(find_attr(g, n, attr, TENON_ATTR_INT, &a));
    a->i = v;
    a->set = true;
    return TENON_OK;
}

tenon_status tenon_node_set_dtype(tenon_graph *g, tenon_node *n, const char *attr, tenon_dtype v)
{
    tenon_attr *a;
    TENON_TRY(find_attr(g, n, attr, TENON_ATTR_DTYPE, &a));
    a->i = v;
    a->set = true;
    return TENON_OK;
}

tenon_status tenon_node_set_float(tenon_graph *g, tenon_node *n, const char *attr, double v)
{
    tenon_attr *a;
    TENON_TRY(find_attr(g, n, attr, TENON_ATTR_FLOAT, &a));
    a->f = v;
    a->set = true;
    return TENON_OK;
}

tenon_status tenon_node_set_string(tenon_graph *g, tenon_node *n, const char *attr, const char *v)
{
    tenon_attr *a;
    TENON_TRY(find_attr(g, n, attr, TENON_ATTR_STRING, &a));
    if (!(a->s = tenon_arena_strdup(g->arena, v))) return TENON_NOMEM;
    a->set = true;
    return TENON_OK;
}

/* A copy in the arena; an empty list has a pointer too, so that "set and empty" differs from "unset" by `set` alone. */
static void *copy_list(tenon_graph *g, const void *v, size_t count, size_t element)
{
    void *p = tenon_arena_array(g->arena, count, element);
    if (p && count) memcpy(p, v, count * element);
    return p;
}

tenon_status tenon_node_set_ints(tenon_graph *g, tenon_node *n, const char *attr, const int64_t *v, size_t count)
{
    tenon_attr *a;
    TENON_TRY(find_attr(g, n, attr, TENON_ATTR_INTS, &a));
    const int64_t *list = copy_list(g, v, count, sizeof *v);
    if (!list) return TENON_NOMEM;
    a->ints = list;
    a->count = count;
    a->set = true;
    return TENON_OK;
}

tenon_status tenon_node_set_floats(tenon_graph *g, tenon_node *n, const char *attr, const double *v, size_t count)
{
    tenon_attr *a;
    TENON_TRY(find_attr(g, n, attr, TENON_ATTR_FLOATS, &a));
    const double *list = copy_list(g, v, count, sizeof *v);
    if (!list) return TENON_NOMEM;
    a->floats = list;
    a->count = count;
    a->set = true;
    return TENON_OK;
}

tenon_status tenon_node_set_strings(tenon_graph *g, tenon_node *n, const char *attr, const char *const *v, size_t count)
{
    tenon_attr *a;
    TENON_TRY(find_attr(g, n, attr, TENON_ATTR_STRINGS, &a));
    const char **list = copy_list(g, v, count, sizeof *v);
    if (!list) return TENON_NOMEM;
    for (size_t i = 0; i < count; i++)
        if (!(list[i] = tenon_arena_strdup(g->arena, v[i]))) return TENON_NOMEM;
    a->strings = list;
    a->count = count;
    a->set = true;
    return TENON_OK;
}

tenon_status tenon_node_set_tensor(tenon_graph *g, tenon_node *n, const char *attr, const tenon_tensor *v)
{
    tenon_attr *a;
    TENON_TRY(find_attr(g, n, attr, TENON_ATTR_TENSOR, &a));
    const tenon_tensor *copy = copy_list(g, v, 1, sizeof *v);
    if (!copy) return TENON_NOMEM;
    a->tensor = copy;
    a->set = true;
    return TENON_OK;
}

tenon_status tenon_node_set_graph(tenon_graph *g, tenon_node *n, const char *attr, tenon_graph *sub)
{
    tenon_attr *a;
    TENON_TRY(find_attr(g, n, attr, TENON_ATTR_GRAPH, &a));
    if (a->set) {
        n->sub[a->i] = sub;
        return TENON_OK;
    }
    tenon_graph **list = tenon_arena_array(g->arena, (size_t)n->sub_count + 1, sizeof *list);
    if (!list) return TENON_NOMEM;
    if (n->sub_count) memcpy(list, n->sub, (size_t)n->sub_count * sizeof *list);
    list[n->sub_count] = sub;
    a->i = n->sub_count++;
    a->set = true;
    n->sub = list;
    return TENON_OK;
}

const tenon_attr *tenon_node_attr(const tenon_node *n, const char *name)
{
    const int i = tenon_attr_find(n->op, name);
    assert(i >= 0);
    return &n->attr[i];
}
