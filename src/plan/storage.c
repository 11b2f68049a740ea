/* SPDX-License-Identifier: Apache-2.0 */
/* Where values lie. Views (reshape, transpose, slice, split, expand, ...) cost nothing: their place is an offset and strides in another
   place. A concat is the inverse: its sources are given places inside it. What cannot be expressed so gets an explicit `copy` node,
   which is then a step like any other. Strides are expressions in the graph's pool, so that a batch is just a symbol. */
#include "plan/plan.h"

#include <string.h>

tenon_place *tenon_place_root(tenon_place *p)
{
    while (p->kind != TENON_PLACE_OWN) p = p->base;
    return p;
}

/* ---- strides ---- */
static tenon_status own_strides(tenon_plan *plan, const tenon_place *p, tenon_view *out)
{
    tenon_dim_pool *pool = plan->graph->dims;
    const tenon_type *t = &p->value->type;
    const tenon_format f = {.layout = p->layout};
    tenon_format full = f;
    memcpy(full.order, p->order, sizeof full.order);
    uint8_t order[TENON_MAX_RANK];
    tenon_format_order(&full, t->rank, order);
    const tenon_dim *stride = tenon_dim_const(pool, 1);
    for (int i = t->rank - 1; i >= 0; i--) {
        out->stride[order[i]] = stride;
        stride = tenon_dim_mul(pool, stride, t->dim[order[i]]);
        if (!stride)
            return pool->failed ? TENON_NOMEM
                                : TENON_FAIL(plan->cx, TENON_UNSUPPORTED, "value '%s' is too large to address", p->value->name);
    }
    out->offset = tenon_dim_const(pool, 0);
    return pool->failed ? TENON_NOMEM : TENON_OK;
}

static tenon_status strides_cut(tenon_plan *plan, const tenon_place *p, const tenon_place *cut, tenon_view *out, bool *possible)
{
    tenon_dim_pool *pool = plan->graph->dims;
    *possible = true;
    if (p == cut) {
        const tenon_place row = {.value = p->value, .kind = TENON_PLACE_OWN, .layout = TENON_ROW};
        return own_strides(plan, &row, out);
    }
    if (p->kind == TENON_PLACE_OWN) return own_strides(plan, p, out);
    tenon_view base;
    TENON_TRY(strides_cut(plan, p->base, cut, &base, possible));
    if (!*possible) return TENON_OK;
    if (p->kind == TENON_PLACE_VIEW)
        return tenon_view_apply(plan->cx, plan->graph, p->view_node, p->value->index, &base, out, possible);
    *out = base;
    out->offset = tenon_dim_add(pool, base.offset, tenon_dim_mul(pool, p->part_start, base.stride[p->part_axis]));
    if (!out->offset)
        return pool->failed ? TENON_NOMEM
                            : TENON_FAIL(plan->cx, TENON_UNSUPPORTED, "value '%s' is too large to address", p->value->name);
    return TENON_OK;
}

tenon_status tenon_place_strides(tenon_plan *plan, const tenon_place *p, tenon_view *out, bool *possible)
{
    return strides_cut(plan, p, NULL, out, possible);
}

tenon_status tenon_place_strides_cut(tenon_plan *plan, const tenon_place *p, const tenon_place *cut, tenon_view *out,
                                     bool *possible)
{
    return strides_cut(plan, p, cut, out, possible);
}

/* Does the view lie in memory in this order of axes, dense but for one pitch? */
static bool match_order(tenon_dim_pool *pool, const tenon_type *t, const tenon_view *view, const uint8_t *order,
                        tenon_format *out)
{
    const tenon_dim *expected = tenon_dim_const(pool, 1);
    out->ld = 0;
    out->inner = 0;
    for (int i = t->rank - 1; i >= 0; i--) {
        const int axis = order[i];
        if (tenon_dim_is(t->dim[axis], 1)) continue;
        const tenon_dim *stride = view->stride[axis];
        if (stride != expected) {
            const bool pitch = out->ld == 0 && i < t->rank - 1 && tenon_dim_is_const(stride) && stride->value >= expected->hi &&
                               stride->value > 0;
            if (!pitch) return false;
            out->ld = stride->value;
            out->inner = (uint8_t)(t->rank - 1 - i);
        }
        expected = tenon_dim_mul(pool, stride, t->dim[axis]);
        if (!expected) return false;
    }
    return true;
}

static bool next_permutation(uint8_t *order, int n)
{
    int i = n - 2;
    while (i >= 0 && order[i] > order[i + 1]) i--;
    if (i < 0) return false;
    int j = n - 1;
    while (order[j] < order[i]) j--;
    const uint8_t swap = order[i];
    order[i] = order[j];
    order[j] = swap;
    for (int a = i + 1, b = n - 1; a < b; a++, b--) {
        const uint8_t s = order[a];
        order[a] = order[b];
        order[b] = s;
    }
    return true;
}

bool tenon_format_of_strides(tenon_dim_pool *pool, const tenon_type *type, const tenon_view *view, tenon_format *out)
{
    *out = (tenon_format){.layout = TENON_ROW};
    uint8_t order[TENON_MAX_RANK];
    tenon_format_order(out, type->rank, order);
    if (match_order(pool, type, view, order, out)) return true;
    if (type->rank < 2) return false;
    if (type->rank >= 3) {
        out->layout = TENON_CLAST;
        tenon_format_order(out, type->rank, order);
        if (match_order(pool, type, view, order, out)) return true;
    }
    if (type->rank > 6) return false;
    out->layout = TENON_ORDER;
    for (int i = 0; i < type->rank; i++) order[i] = (uint8_t)i;
    while (next_permutation(order, type->rank))
        if (match_order(pool, type, view, order, out)) {
            memcpy(out->order, order, sizeof out->order);
            return true;
        }
    return false;
}

/* ---- demand: which nodes are needed to compute the outputs ---- */
static bool is_symbolic(const tenon_value *v)
{
    return v->sym != NULL && !v->is_const && v->type.dtype == TENON_I64 && v->producer != NULL;
}

static bool type_depends_on_data(const tenon_plan *plan, const tenon_type *t)
{
    if (t->rank < 0 || tenon_dtype_get(t->dtype)->bits == 0) return true;
    for (int i = 0; i < t->rank; i++)
        if (tenon_dim_depends_on_data(plan->graph->dims, t->dim[i])) return true;
    return false;
}

/* What cannot be seen in a dense source (a slice that goes backwards, a reshape of sizes that may be 1 or 0) is a step. */
static tenon_status is_view(tenon_plan *plan, const tenon_node *n, bool *out)
{
    *out = false;
    if (!(n->op->flags & TENON_OP_VIEW) || n->op == &tenon_op_concat || !n->src_count || !n->src[0]) return TENON_OK;
    if (type_depends_on_data(plan, &n->src[0]->type)) return TENON_OK;
    const tenon_place dense = {.value = n->src[0], .kind = TENON_PLACE_OWN, .layout = TENON_ROW};
    tenon_view base, view;
    bool possible;
    TENON_TRY(tenon_place_strides(plan, &dense, &base, &possible));
    for (int i = 0; i < n->dst_count; i++) {
        if (!n->dst[i]) continue;
        if (type_depends_on_data(plan, &n->dst[i]->type)) return TENON_OK;
        TENON_TRY(tenon_view_apply(plan->cx, plan->graph, n, i, &base, &view, &possible));
        if (!possible) return TENON_OK;
    }
    *out = true;
    return TENON_OK;
}

static tenon_status demand(tenon_plan *plan, tenon_value *v);

static tenon_status demand_captured(tenon_plan *plan, const tenon_graph *body)
{
    for (size_t i = 0; i < body->node_count; i++) {
        const tenon_node *n = body->node[i];
        for (int k = 0; k < n->src_count; k++)
            if (n->src[k] && n->src[k]->user) TENON_TRY(demand(plan, n->src[k]));
        for (int k = 0; k < n->sub_count; k++) TENON_TRY(demand_captured(plan, n->sub[k]));
    }
    for (size_t i = 0; i < body->output_count; i++)
        if (body->output[i]->user) TENON_TRY(demand(plan, body->output[i]));
    return TENON_OK;
}

static tenon_status demand(tenon_plan *plan, tenon_value *v)
{
    tenon_node *n = v->producer;
    bool view;
    if (!n || v->is_const || !n->dead || (is_symbolic(v) && !tenon_place_of(v)->host_only)) return TENON_OK;
    n->dead = false;
    TENON_TRY(is_view(plan, n, &view));
    const int sources = view ? 1 : n->src_count;
    for (int i = 0; i < sources; i++)
        if (n->src[i]) TENON_TRY(demand(plan, n->src[i]));
    for (int i = 0; i < n->sub_count; i++) TENON_TRY(demand_captured(plan, n->sub[i]));
    return TENON_OK;
}

tenon_place *tenon_place_new(tenon_arena *arena, tenon_value *v)
{
    tenon_place *p = tenon_arena_alloc(arena, sizeof *p);
    if (!p) return NULL;
    *p = (tenon_place){.value = v,
                       .kind = TENON_PLACE_OWN,
                       .binding = -1,
                       .slot = TENON_NONE,
                       .weight = TENON_NONE,
                       .heap = TENON_NONE,
                       .first_step = -1,
                       .last_step = -1};
    return p;
}

static tenon_status new_place(tenon_plan *plan, tenon_value *v)
{
    tenon_place *p = tenon_place_new(plan->arena, v);
    if (!p) return TENON_NOMEM;
    p->host_only = !v->is_const && type_depends_on_data(plan, &v->type);
    p->fixed = v->is_const || !v->producer || p->host_only;
    v->user = p;
    return TENON_OK;
}

/* A copy of `v`, made by a node at the end of the list (the caller sorts). */
static tenon_status insert_copy(tenon_plan *plan, tenon_value *v, tenon_value **out)
{
    tenon_node *n;
    TENON_TRY(tenon_graph_node(plan->graph, &tenon_op_copy, tenon_arena_printf(plan->arena, "copy_%s", v->name), 1, &v, 1, &n));
    TENON_TRY(tenon_infer_node(plan->cx, plan->graph, n));
    n->origin = v->producer ? v->producer->origin : v->name;
    TENON_TRY(new_place(plan, n->dst[0]));
    *out = n->dst[0];
    return TENON_OK;
}

/* ---- views ---- */
/* A transpose that reads the whole of an own buffer suggests the order in which the buffer should lie. */
static void suggest_order(const tenon_node *n, tenon_place *base)
{
    if (n->op != &tenon_op_transpose || base->kind != TENON_PLACE_OWN || base->fixed || base->has_order) return;
    const tenon_attr *perm = tenon_node_attr(n, "perm");
    const int rank = base->value->type.rank;
    if (perm->count != (size_t)rank || rank > TENON_MAX_RANK) return;
    for (int i = 0; i < rank; i++) base->order[i] = (uint8_t)perm->ints[i];
    base->has_order = true;
}

static tenon_status feasible(tenon_plan *plan, tenon_place *p, bool *out)
{
    tenon_place *root = tenon_place_root(p);
    const tenon_layout saved = root->layout;
    *out = false;
    const tenon_layout layouts[] = {TENON_ROW, TENON_CLAST, TENON_ORDER};
    tenon_status status = TENON_OK;
    for (size_t i = 0; i < TENON_COUNTOF(layouts) && !*out && status == TENON_OK; i++) {
        if (i > 0 && (root->fixed || (layouts[i] == TENON_CLAST && root->value->type.rank < 3) ||
                      (layouts[i] == TENON_ORDER && !root->has_order)))
            continue;
        root->layout = layouts[i];
        tenon_view view;
        status = tenon_place_strides(plan, p, &view, out);
    }
    root->layout = saved;
    return status;
}

static tenon_status place_view(tenon_plan *plan, tenon_node *n)
{
    suggest_order(n, tenon_place_of(n->src[0]));
    for (int i = 0; i < n->dst_count; i++) {
        if (!n->dst[i]) continue;
        tenon_place *p = tenon_place_of(n->dst[i]);
        p->kind = TENON_PLACE_VIEW;
        p->base = tenon_place_of(n->src[0]);
        p->view_node = n;
        bool ok;
        TENON_TRY(feasible(plan, p, &ok));
        if (ok) continue;
        /* no layout of the root lets this view be: the source is copied dense, and viewed there */
        tenon_value *copy;
        TENON_TRY(insert_copy(plan, n->src[0], &copy));
        n->src[0] = copy;
        tenon_place_of(copy)->fixed = true;
        p->base = tenon_place_of(copy);
        TENON_TRY(feasible(plan, p, &ok));
        if (!ok) return TENON_FAIL(plan->cx, TENON_INTERNAL, "node '%s': no view of a dense source", n->name);
        for (int k = 0; k < i; k++)
            if (n->dst[k]) tenon_place_of(n->dst[k])->base = p->base;
    }
    return TENON_OK;
}

/* ---- concat ---- */
static const tenon_dim *part_size(const tenon_value *v, int axis) { return v->type.dim[axis]; }

/* s is a piece, along `axis`, of a buffer all of whose pieces in this concat lie at their own distance: then the whole buffer can lie in
   the concat (a split whose pieces are concatenated again with what was computed from one of them). */
static tenon_status place_whole(tenon_plan *plan, tenon_node *n, int axis, const tenon_dim *const *start, int i, bool *placed)
{
    tenon_dim_pool *pool = plan->graph->dims;
    tenon_place *p = tenon_place_of(n->src[i]);
    if (p->kind != TENON_PLACE_VIEW || p->base->kind != TENON_PLACE_OWN || p->base->fixed || p->base->binding >= 0 ||
        !p->base->value->producer)
        return TENON_OK;
    tenon_place *whole = p->base;
    if (whole->value->type.rank != n->dst[0]->type.rank) return TENON_OK;
    /* offset of a piece inside the whole, along the axis: by the strides of a row-major whole */
    tenon_view base, view;
    bool possible;
    const tenon_layout saved = whole->layout;
    whole->layout = TENON_ROW;
    TENON_TRY(tenon_place_strides(plan, whole, &base, &possible));
    const tenon_dim *whole_start = NULL;
    const tenon_dim *covered = tenon_dim_const(pool, 0);
    for (int k = 0; k < n->src_count && possible; k++) {
        tenon_place *q = tenon_place_of(n->src[k]);
        if (q->kind != TENON_PLACE_VIEW || q->base != whole) continue;
        TENON_TRY(tenon_place_strides(plan, q, &view, &possible));
        for (int a = 0; possible && a < whole->value->type.rank; a++)
            possible = view.stride[a] == base.stride[a] &&
                       (a == axis || n->src[k]->type.dim[a] == whole->value->type.dim[a]);
        if (!possible) break;
        const tenon_dim *inside = tenon_dim_floordiv(pool, view.offset, base.stride[axis]);
        const tenon_dim *at = tenon_dim_sub(pool, start[k], inside);
        possible = tenon_dim_mul(pool, inside, base.stride[axis]) == view.offset && (!whole_start || at == whole_start);
        whole_start = at;
        covered = tenon_dim_add(pool, covered, part_size(n->src[k], axis));
    }
    whole->layout = saved;
    /* all of the whole must be in the concat, else it would overlap a neighbour */
    if (!possible || covered != part_size(whole->value, axis)) return TENON_OK;
    whole->kind = TENON_PLACE_PART;
    whole->base = tenon_place_of(n->dst[0]);
    whole->part_axis = axis;
    whole->part_start = whole_start;
    for (int k = 0; k < n->src_count; k++) {
        const tenon_place *q = tenon_place_of(n->src[k]);
        placed[k] |= q->kind == TENON_PLACE_VIEW && q->base == whole;
    }
    return TENON_OK;
}

static tenon_status place_concat(tenon_plan *plan, tenon_node *n)
{
    tenon_dim_pool *pool = plan->graph->dims;
    const int rank = n->dst[0]->type.rank;
    const int axis = (int)((tenon_node_int(n, "axis") + rank) % rank);
    const tenon_dim **start = tenon_arena_array(plan->arena, (size_t)n->src_count + 1, sizeof *start);
    bool *placed = tenon_arena_array(plan->arena, (size_t)n->src_count + 1, sizeof *placed);
    if (!start || !placed) return TENON_NOMEM;
    start[0] = tenon_dim_const(pool, 0);
    for (int i = 0; i < n->src_count; i++) start[i + 1] = tenon_dim_add(pool, start[i], part_size(n->src[i], axis));
    if (pool->failed) return TENON_NOMEM;
    tenon_place *all = tenon_place_of(n->dst[0]);
    for (int i = 0; i < n->src_count; i++) {
        tenon_place *p = tenon_place_of(n->src[i]);
        if (!placed[i]) TENON_TRY(place_whole(plan, n, axis, start, i, placed));
        if (placed[i]) continue;
        const bool own = p->kind == TENON_PLACE_OWN && !p->fixed && p->binding < 0 && n->src[i]->producer;
        if (!own) {
            tenon_value *copy;
            TENON_TRY(insert_copy(plan, n->src[i], &copy));
            n->src[i] = copy;
            p = tenon_place_of(copy);
        }
        p->kind = TENON_PLACE_PART;
        p->base = all;
        p->part_axis = axis;
        p->part_start = start[i];
    }
    return TENON_OK;
}

/* ---- inputs and outputs ---- */
/* The own buffer whose bytes, dense and whole, are exactly the output's: it can be the caller's memory itself. */
static tenon_place *whole_root(tenon_plan *plan, tenon_place *p)
{
    tenon_place *root = p;
    while (root->kind == TENON_PLACE_VIEW) root = root->base;
    if (root->kind != TENON_PLACE_OWN || root->fixed || root->binding >= 0 || !root->value->producer || root->host_only)
        return NULL;
    if (root->value->type.dtype != p->value->type.dtype) return NULL;
    if (tenon_type_count(plan->graph->dims, &root->value->type) != tenon_type_count(plan->graph->dims, &p->value->type))
        return NULL;
    tenon_view view;
    bool possible;
    const tenon_layout saved = root->layout;
    root->layout = TENON_ROW;
    tenon_format f;
    const bool ok = tenon_place_strides(plan, p, &view, &possible) == TENON_OK && possible &&
                    tenon_format_of_strides(plan->graph->dims, &p->value->type, &view, &f) && f.layout == TENON_ROW &&
                    f.ld == 0 && tenon_dim_is(view.offset, 0);
    root->layout = saved;
    return ok ? root : NULL;
}

/* Convolutions and their like, seen through the pointwise nodes and concats after them, want channels-last. */
static bool conv_like(const tenon_value *v, int depth)
{
    const tenon_node *n = v->producer;
    if (!n || v->is_const || depth > 8) return false;
    if (n->op->axes && strncmp(n->op->axes, "nchw", 4) == 0) return true;
    if (!(n->op->flags & TENON_OP_POINTWISE) && n->op != &tenon_op_concat) return false;
    for (int i = 0; i < n->src_count; i++)
        if (n->src[i] && conv_like(n->src[i], depth + 1)) return true;
    return false;
}

static bool row_is_natural(const tenon_place *root)
{
    const tenon_type *t = &root->value->type;
    if (t->rank < 3) return true;
    int wide = 0;
    for (int i = 2; i < t->rank; i++) wide += !tenon_dim_is(t->dim[i], 1);
    return wide == 0 || !conv_like(root->value, 0);
}

static tenon_status place_output(tenon_plan *plan, size_t index)
{
    tenon_graph *g = plan->graph;
    tenon_value *v = g->output[index];
    tenon_place *p = tenon_place_of(v);
    const int binding = (int)(g->input_count + index);
    if (p->host_only) return TENON_OK;
    tenon_place *root = is_symbolic(v) ? NULL : whole_root(plan, p);
    if (!root || !row_is_natural(root)) {
        tenon_value *copy;
        TENON_TRY(insert_copy(plan, v, &copy));
        g->output[index] = copy;
        root = tenon_place_of(copy);
    }
    root->binding = binding;
    root->fixed = true;
    root->layout = TENON_ROW;
    return TENON_OK;
}

static void mark_features(tenon_plan *plan)
{
    for (size_t i = 0; i < plan->graph->value_count; i++) {
        tenon_place *p = plan->graph->value[i]->user;
        if (p && p->kind == TENON_PLACE_OWN && !p->fixed && p->value->type.rank >= 3) p->feature = true;
    }
}

static tenon_status find_demand(tenon_plan *plan)
{
    tenon_graph *g = plan->graph;
    for (size_t i = 0; i < g->node_count; i++) g->node[i]->dead = true;
    for (size_t i = 0; i < g->output_count; i++) TENON_TRY(demand(plan, g->output[i]));
    return tenon_graph_sort(g);
}

tenon_status tenon_plan_storage(tenon_plan *plan)
{
    tenon_graph *g = plan->graph;
    for (size_t i = 0; i < g->value_count; i++) TENON_TRY(new_place(plan, g->value[i]));
    TENON_TRY(find_demand(plan));
    for (size_t i = 0; i < g->input_count; i++) tenon_place_of(g->input[i])->binding = (int)i;
    const size_t count = g->node_count;
    for (size_t i = 0; i < count; i++) {
        bool view;
        TENON_TRY(is_view(plan, g->node[i], &view));
        if (view) TENON_TRY(place_view(plan, g->node[i]));
    }
    for (size_t i = 0; i < g->output_count; i++) TENON_TRY(place_output(plan, i));
    for (size_t i = 0; i < count; i++) {
        tenon_node *n = g->node[i];
        if (n->op == &tenon_op_concat && !tenon_place_of(n->dst[0])->host_only && n->dst[0]->type.dtype != TENON_STRING)
            TENON_TRY(place_concat(plan, n));
    }
    mark_features(plan);
    TENON_TRY(tenon_graph_sort(g));
    return tenon_graph_index_uses(g);
}

bool tenon_plan_is_free(const tenon_plan *plan, const tenon_node *n)
{
    (void)plan;
    if (n->op == &tenon_op_concat) return !tenon_place_of(n->dst[0])->host_only;
    for (int i = 0; i < n->dst_count; i++)
        if (n->dst[i]) return tenon_place_of(n->dst[i])->kind == TENON_PLACE_VIEW;
    return false;
}

bool tenon_plan_is_symbolic(const tenon_value *v) { return is_symbolic(v); }
