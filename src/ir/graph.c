/* SPDX-License-Identifier: Apache-2.0 */
/* Making graphs and values. Names are unique over the outermost graph and everything inside it, so that the text form and a
   capture by name can never mean two things; one open-addressing table in the outermost graph keeps them. */
#include "ir/graph.h"
#include "base/checked.h"

#include <string.h>

typedef struct name_table { size_t capacity, count; tenon_value **slot; } name_table;

static uint64_t hash_name(const char *s, size_t length)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < length; i++) h = (h ^ (uint8_t)s[i]) * 1099511628211u;
    return h ^ h >> 29;
}

static tenon_graph *outermost(const tenon_graph *g)
{
    while (g->parent) g = g->parent;
    return (tenon_graph *)(uintptr_t)g;
}

/* Stands in the slot of a value that was taken back: no name is its. */
static const tenon_value gone = {.name = ""};

static bool named(const tenon_value *v, const char *s, size_t length)
{
    return v != &gone && !strncmp(v->name, s, length) && !v->name[length];
}

/* The slot that holds the name, or the empty one where it belongs. */
static tenon_value **find_slot(const name_table *t, const char *s, size_t length)
{
    size_t i = hash_name(s, length) & (t->capacity - 1);
    while (t->slot[i] && !named(t->slot[i], s, length)) i = (i + 1) & (t->capacity - 1);
    return &t->slot[i];
}

static tenon_status reserve_name(tenon_graph *root)
{
    name_table *t = root->names;
    if (t->count * 2 + 2 <= t->capacity) return TENON_OK;
    name_table next = {.capacity = TENON_MAX(t->capacity * 2, 64), .count = t->count};
    next.slot = tenon_arena_array(root->arena, next.capacity, sizeof *next.slot);
    if (!next.slot) return TENON_NOMEM;
    for (size_t i = 0; i < t->capacity; i++)
        if (t->slot[i] && t->slot[i] != &gone) *find_slot(&next, t->slot[i]->name, strlen(t->slot[i]->name)) = t->slot[i];
    *t = next;
    return TENON_OK;
}

tenon_value *tenon_graph_find(const tenon_graph *g, const char *name, size_t length)
{
    const name_table *t = outermost(g)->names;
    return t->capacity && !memchr(name, 0, length) ? *find_slot(t, name, length) : NULL;
}

tenon_status tenon_graph_create(tenon_cx *cx, tenon_arena *arena, tenon_dim_pool *dims, tenon_graph *parent, tenon_graph **out)
{
    *out = NULL;
    tenon_graph *g = tenon_arena_alloc(arena, sizeof *g);
    if (!g) return TENON_NOMEM;
    if (!dims && parent) dims = parent->dims;
    if (!dims) {
        dims = tenon_arena_alloc(arena, sizeof *dims);
        if (!dims) return TENON_NOMEM;
        tenon_dim_pool_init(dims, arena);
    }
    if (!parent && !(g->names = tenon_arena_alloc(arena, sizeof(name_table)))) return TENON_NOMEM;
    g->cx = cx;
    g->arena = arena;
    g->dims = dims;
    g->parent = parent;
    g->name = "";
    if (parent) {
        g->opset = parent->opset;
        g->events = parent->events;
    }
    *out = g;
    return TENON_OK;
}

/* Gives v the hint or hint.N as its name. */
static tenon_status name_value(tenon_graph *g, tenon_value *v, const char *hint)
{
    tenon_graph *root = outermost(g);
    TENON_TRY(reserve_name(root));
    name_table *t = root->names;
    if (!hint || !*hint) hint = "v";
    const char *name = hint;
    tenon_value **slot;
    while (*(slot = find_slot(t, name, strlen(name))))
        if (!(name = tenon_arena_printf(g->arena, "%s.%d", hint, ++root->fresh))) return TENON_NOMEM;
    if (name == hint && !(name = tenon_arena_strdup(g->arena, hint))) return TENON_NOMEM;
    v->name = name;
    *slot = v;
    t->count++;
    return TENON_OK;
}

tenon_status tenon_graph_value(tenon_graph *g, const char *hint, const tenon_type *type, tenon_value **out)
{
    *out = NULL;
    tenon_value *v = tenon_arena_alloc(g->arena, sizeof *v);
    if (!v) return TENON_NOMEM;
    TENON_TRY(tenon_arena_grow(g->arena, (void **)&g->value, &g->value_capacity, g->value_count + 1, sizeof *g->value));
    TENON_TRY(name_value(g, v, hint));
    if (type) v->type = *type;
    else v->type.rank = -1;
    v->id = (int)g->value_count;
    g->value[g->value_count++] = v;
    *out = v;
    return TENON_OK;
}

tenon_status tenon_graph_add_input(tenon_graph *g, tenon_value *v)
{
    TENON_TRY(tenon_arena_grow(g->arena, (void **)&g->input, &g->input_capacity, g->input_count + 1, sizeof *g->input));
    g->input[g->input_count++] = v;
    return TENON_OK;
}

tenon_status tenon_graph_add_output(tenon_graph *g, tenon_value *v)
{
    TENON_TRY(tenon_arena_grow(g->arena, (void **)&g->output, &g->output_capacity, g->output_count + 1, sizeof *g->output));
    g->output[g->output_count++] = v;
    return TENON_OK;
}

static tenon_status copy_strings(tenon_graph *g, const tenon_tensor *to)
{
    tenon_string *s = to->data;
    const int64_t count = tenon_tensor_count(to);
    for (int64_t i = 0; i < count; i++)
        if (!(s[i].data = tenon_arena_strndup(g->arena, s[i].data ? s[i].data : "", s[i].length))) return TENON_NOMEM;
    return TENON_OK;
}

static tenon_status copy_data(tenon_graph *g, tenon_tensor *t, const tenon_tensor *from)
{
    const int64_t count = tenon_tensor_count(from);
    const size_t element = from->dtype == TENON_STRING ? sizeof(tenon_string) * 8 : (size_t)tenon_dtype_get(from->dtype)->bits;
    size_t bits;
    if (count == INT64_MAX || !element || !tenon_mul_size((size_t)count, element, &bits))
        return TENON_FAIL(g->cx, TENON_INVALID, "constant of type %s cannot be copied", tenon_dtype_get(from->dtype)->name);
    tenon_tensor_dense(t);
    if (!(t->data = tenon_arena_alloc(g->arena, bits / 8 + 1))) return TENON_NOMEM;
    tenon_tensor_copy(t, from);
    return from->dtype == TENON_STRING ? copy_strings(g, t) : TENON_OK;
}

tenon_status tenon_graph_const(tenon_graph *g, const char *hint, const tenon_tensor *data, bool copy, tenon_value **out)
{
    *out = NULL;
    if (data->rank < 0 || data->rank > TENON_MAX_RANK)
        return TENON_FAIL(g->cx, TENON_UNSUPPORTED, "constant '%s': rank %d; at most %d", hint ? hint : "", data->rank,
                          TENON_MAX_RANK);
    tenon_type type = {.dtype = data->dtype, .rank = data->rank};
    for (int i = 0; i < data->rank; i++) {
        if (data->dim[i] < 0)
            return TENON_FAIL(g->cx, TENON_INVALID, "constant '%s': dimension %lld", hint ? hint : "", (long long)data->dim[i]);
        if (!(type.dim[i] = tenon_dim_const(g->dims, data->dim[i]))) return TENON_NOMEM;
    }
    tenon_tensor *t = tenon_arena_alloc(g->arena, sizeof *t);
    if (!t) return TENON_NOMEM;
    *t = *data;
    if (copy) TENON_TRY(copy_data(g, t, data));
    tenon_value *v;
    TENON_TRY(tenon_graph_value(g, hint ? hint : "const", &type, &v));
    v->is_const = true;
    v->data = t;
    *out = v;
    return TENON_OK;
}

tenon_status tenon_graph_const_i64(tenon_graph *g, const char *hint, const int64_t *v, int rank, int64_t count, tenon_value **out)
{
    tenon_tensor t = {.dtype = TENON_I64, .rank = rank, .data = (void *)(uintptr_t)v};
    if (rank < 0 || rank > 1 || (rank == 0 && count != 1))
        return TENON_FAIL(g->cx, TENON_INVALID, "integer constant of rank %d and %lld elements", rank, (long long)count);
    t.dim[0] = count;
    tenon_tensor_dense(&t);
    return tenon_graph_const(g, hint, &t, true, out);
}

tenon_status tenon_graph_const_f32(tenon_graph *g, const char *hint, float v, tenon_value **out)
{
    return tenon_graph_const(g, hint, &(tenon_tensor){.dtype = TENON_F32, .data = &v}, true, out);
}

bool tenon_type_equal(const tenon_type *a, const tenon_type *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    if (!a->element || !b->element) return !a->element && !b->element;
    return tenon_type_equal(a->element, b->element);
}

const tenon_dim *tenon_type_count(tenon_dim_pool *p, const tenon_type *t)
{
    if (t->rank < 0) return NULL;
    const tenon_dim *count = tenon_dim_const(p, 1);
    for (int i = 0; i < t->rank; i++) count = tenon_dim_mul(p, count, t->dim[i]);
    return count;
}

bool tenon_type_is_static(const tenon_type *t)
{
    for (int i = 0; i < t->rank; i++)
        if (!t->dim[i] || !tenon_dim_is_const(t->dim[i])) return false;
    return t->rank >= 0;
}

/* The table follows the names. */
void tenon_graph_swap_names(tenon_graph *g, tenon_value *a, tenon_value *b)
{
    const name_table *t = outermost(g)->names;
    tenon_value **sa = find_slot(t, a->name, strlen(a->name)), **sb = find_slot(t, b->name, strlen(b->name));
    *sa = b;
    *sb = a;
    const char *name = a->name;
    a->name = b->name;
    b->name = name;
}

/* The slot of the old name stays, and is passed over: no value has that name any more. */
tenon_status tenon_graph_rename(tenon_graph *g, tenon_value *v, const char *name)
{
    return strcmp(v->name, name) ? name_value(g, v, name) : TENON_OK;
}

static void free_names(const tenon_graph *g, size_t first)
{
    const name_table *t = outermost(g)->names;
    for (size_t i = first; i < g->value_count; i++) {
        const char *name = g->value[i]->name;
        tenon_value **slot = find_slot(t, name, strlen(name));
        if (*slot == g->value[i]) *slot = (tenon_value *)(uintptr_t)&gone;
        g->value[i]->name = gone.name; /* it may stand in the slot of an older name too */
    }
}

static void free_names_inside(const tenon_graph *g, size_t first)
{
    for (size_t i = first; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->sub_count; k++)
            if (g->node[i]->sub[k]) {
                free_names(g->node[i]->sub[k], 0);
                free_names_inside(g->node[i]->sub[k], 0);
            }
}

void tenon_graph_undo(tenon_graph *g, size_t node_count, size_t value_count)
{
    free_names_inside(g, node_count);
    free_names(g, value_count);
    g->node_count = node_count;
    g->value_count = value_count;
}
