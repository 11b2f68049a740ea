/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which the nodes of one graph are imported: each after those it reads from, by its inputs or by what its sub-graphs
   capture; otherwise as in the file. Depth-first with a stack of its own, so that a long chain in reverse cannot exhaust ours. */
#include "onnx/import.h"

#include "base/checked.h"

typedef struct sorter {
    tenon_importer *im;
    tenon_onnx_map given;  /* name -> its node, as index + 1 */
    size_t *dep;           /* of the node being looked at */
    size_t dep_count, dep_capacity;
} sorter;

/* The names that a sub-graph defines, inside those that are around it. */
typedef struct locals { const struct locals *outer; tenon_onnx_map names; } locals;

static tenon_status depend(sorter *s, tenon_span name)
{
    const size_t index = (size_t)(uintptr_t)tenon_onnx_map_get(&s->given, name);
    if (index == 0) return TENON_OK;
    if (s->dep_count == s->dep_capacity) {
        void *array = s->dep;
        TENON_TRY(tenon_arena_grow(s->im->arena, &array, &s->dep_capacity, s->dep_count + 1, sizeof *s->dep));
        s->dep = array;
    }
    s->dep[s->dep_count++] = index - 1;
    return TENON_OK;
}

static tenon_status captures(sorter *s, const tenon_pb_graph *g, const locals *outer, int depth)
{
    if (depth > TENON_ONNX_NEST_MAX)
        return TENON_FAIL(s->im->cx, TENON_INVALID, "ONNX: sub-graphs are nested more than %d deep", TENON_ONNX_NEST_MAX);
    locals here = {outer, {.arena = s->im->arena}};
    for (size_t i = 0; i < g->input.count; i++) TENON_TRY(tenon_onnx_map_put(&here.names, g->input.item[i].name, &here));
    for (size_t i = 0; i < g->initializer.count; i++) TENON_TRY(tenon_onnx_map_put(&here.names, g->initializer.item[i].name,
                                                                                   &here));
    for (size_t i = 0; i < g->node.count; i++)
        for (size_t k = 0; k < g->node.item[i].output.count; k++)
            TENON_TRY(tenon_onnx_map_put(&here.names, g->node.item[i].output.item[k], &here));
    for (size_t i = 0; i < g->node.count + 1; i++) {
        /* the outputs of the graph count as reads of one more node: a body may hand out an outer value as it is */
        const tenon_pb_node *n = i < g->node.count ? &g->node.item[i] : NULL;
        const size_t reads = n ? n->input.count : g->output.count;
        for (size_t k = 0; k < reads; k++) {
            const tenon_span name = n ? n->input.item[k] : g->output.item[k].name;
            bool local = name.length == 0;
            for (const locals *l = &here; l && !local; l = l->outer) local = tenon_onnx_map_get(&l->names, name) != NULL;
            if (!local) TENON_TRY(depend(s, name));
        }
        for (size_t k = 0; n && k < n->attribute.count; k++)
            if (n->attribute.item[k].g) TENON_TRY(captures(s, n->attribute.item[k].g, &here, depth + 1));
    }
    return TENON_OK;
}

static tenon_status dependencies(sorter *s, const tenon_pb_node *n)
{
    s->dep_count = 0;
    for (size_t i = 0; i < n->input.count; i++)
        if (n->input.item[i].length > 0) TENON_TRY(depend(s, n->input.item[i]));
    for (size_t i = 0; i < n->attribute.count; i++)
        if (n->attribute.item[i].g) TENON_TRY(captures(s, n->attribute.item[i].g, NULL, 1));
    return TENON_OK;
}

static tenon_status cycle(tenon_importer *im, const tenon_pb_node *n)
{
    const tenon_span out = n->output.count ? n->output.item[0] : (tenon_span){0};
    return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: node '%.*s' (%.*s) depends on its own result '%.*s'",
                      (int)TENON_MIN(n->name.length, 200),
                      (const char *)n->name.data, (int)TENON_MIN(n->op_type.length, 100), (const char *)n->op_type.data,
                      (int)TENON_MIN(out.length, 200), (const char *)out.data);
}

/* begin[i]..begin[i + 1] of `all`: what node i depends on. */
static tenon_status gather(sorter *s, const tenon_pb_node *node, size_t count, size_t *begin, size_t **all)
{
    size_t total = 0, capacity = 0;
    void *array = NULL;
    for (size_t i = 0; i < count; i++) {
        begin[i] = total;
        TENON_TRY(dependencies(s, &node[i]));
        if (total + s->dep_count > capacity)
            TENON_TRY(tenon_arena_grow(s->im->arena, &array, &capacity, total + s->dep_count, sizeof **all));
        for (size_t k = 0; k < s->dep_count; k++) ((size_t *)array)[total++] = s->dep[k];
    }
    begin[count] = total;
    *all = array;
    return TENON_OK;
}

tenon_status tenon_onnx_sort(tenon_importer *im, const tenon_pb_node *node, size_t count, size_t *order)
{
    sorter s = {.im = im, .given = {.arena = im->arena}};
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < node[i].output.count; k++) {
            const tenon_span name = node[i].output.item[k];
            if (name.length == 0) continue;
            if (tenon_onnx_map_get(&s.given, name))
                return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: two nodes give '%.*s'", (int)TENON_MIN(name.length, 200),
                                  (const char *)name.data);
            TENON_TRY(tenon_onnx_map_put(&s.given, name, (void *)(uintptr_t)(i + 1)));
        }
    size_t *all = NULL;
    size_t *begin = tenon_arena_array(im->arena, count + 1, sizeof *begin), *stack = tenon_arena_array(im->arena, count + 1,
            sizeof *stack);
    size_t *at = tenon_arena_array(im->arena, count + 1, sizeof *at);
    uint8_t *state = tenon_arena_array(im->arena, count + 1, 1); /* 0 new, 1 on the stack, 2 placed */
    if (!begin || !stack || !at || !state) return TENON_NOMEM;
    TENON_TRY(gather(&s, node, count, begin, &all));
    size_t placed = 0;
    for (size_t root = 0; root < count; root++) {
        if (state[root] != 0) continue;
        size_t top = 0;
        stack[top++] = root;
        state[root] = 1;
        at[root] = begin[root];
        while (top > 0) {
            const size_t n = stack[top - 1];
            if (at[n] == begin[n + 1]) {
                state[n] = 2;
                order[placed++] = n;
                top--;
                continue;
            }
            const size_t d = all[at[n]++];
            if (state[d] == 1) return cycle(im, &node[d]);
            if (state[d] != 0) continue;
            state[d] = 1;
            at[d] = begin[d];
            stack[top++] = d;
        }
    }
    return TENON_OK;
}
