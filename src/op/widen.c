/* SPDX-License-Identifier: Apache-2.0 */
/* Types that must hold for several values, see op/widen.h. */
#include "op/widen.h"

static bool is_run_time(const tenon_graph *g, const tenon_dim *d)
{
    return d != NULL && d->kind == TENON_DIM_SYM && g->dims->symbol[d->value].data_dependent;
}

const tenon_dim *tenon_widen_size(tenon_graph *g, const tenon_type *before, int axis, const char *prefix)
{
    if (before != NULL && before->dtype != TENON_DTYPE_NONE && axis < before->rank && is_run_time(g, before->dim[axis]))
        return before->dim[axis];
    return tenon_dim_symbol_fresh(g->dims, prefix, 0, TENON_DIM_HUGE);
}

static bool is_container(const tenon_type *t) { return t->dtype == TENON_SEQUENCE || t->dtype == TENON_OPTIONAL; }

/* Unknown rank, and a size at axis 0 all the same: no other type looks so. */
void tenon_widen_nothing(tenon_graph *g, tenon_dtype dtype, tenon_type *out)
{
    *out = (tenon_type){.dtype = dtype, .rank = -1};
    out->dim[0] = tenon_dim_const(g->dims, 0);
}

static bool is_nothing(const tenon_type *t) { return t->rank == -1 && t->dim[0] != NULL; }

static tenon_status widen_container(tenon_cx *cx, tenon_graph *g, const tenon_type *a, const tenon_type *b, tenon_type *out)
{
    *out = *a;
    if (a->element == NULL || b->element == NULL) {
        out->element = a->element != NULL ? a->element : b->element;
        return TENON_OK;
    }
    if (a->element == b->element) return TENON_OK;
    tenon_type *item = tenon_arena_alloc(g->arena, sizeof(*item));
    if (item == NULL) return TENON_NOMEM;
    TENON_TRY(tenon_widen_item(cx, g, a->element, b->element, item));
    out->element = item;
    return TENON_OK;
}

static tenon_status same_dtype(tenon_cx *cx, const tenon_type *a, const tenon_type *b)
{
    if (a->dtype == b->dtype) return TENON_OK;
    return TENON_FAIL(cx, TENON_INVALID, "one value is %s, another that stands for it %s", tenon_dtype_get(a->dtype)->name,
                      tenon_dtype_get(b->dtype)->name);
}

tenon_status tenon_widen_type(tenon_cx *cx, tenon_graph *g, const tenon_type *a, const tenon_type *b, const tenon_type *before,
                              tenon_type *out)
{
    TENON_TRY(same_dtype(cx, a, b));
    if (is_container(a)) return widen_container(cx, g, a, b, out);
    *out = (tenon_type){.dtype = a->dtype, .rank = a->rank == b->rank ? a->rank : -1};
    for (int i = 0; i < out->rank; i++)
        out->dim[i] = a->dim[i] == b->dim[i] ? a->dim[i] : tenon_widen_size(g, before, i, "either");
    return TENON_OK;
}

tenon_status tenon_widen_item(tenon_cx *cx, tenon_graph *g, const tenon_type *a, const tenon_type *b, tenon_type *out)
{
    if (a->dtype == TENON_DTYPE_NONE || b->dtype == TENON_DTYPE_NONE) {
        *out = a->dtype == TENON_DTYPE_NONE ? *b : *a;
        return TENON_OK;
    }
    TENON_TRY(same_dtype(cx, a, b));
    if (is_container(a)) return widen_container(cx, g, a, b, out);
    if (is_nothing(a) || is_nothing(b)) {
        *out = is_nothing(a) ? *b : *a;
        return TENON_OK;
    }
    *out = (tenon_type){.dtype = a->dtype, .rank = a->rank == b->rank ? a->rank : -1};
    for (int i = 0; i < out->rank; i++)
        out->dim[i] = a->dim[i] == b->dim[i] || is_run_time(g, a->dim[i]) ? a->dim[i] : tenon_widen_size(g, b, i, "item");
    return TENON_OK;
}

void tenon_widen_take(tenon_graph *g, tenon_node *n, int i, const tenon_type *item)
{
    if (i >= n->dst_count || n->dst[i] == NULL) return;
    const tenon_type before = n->dst[i]->type;
    tenon_type t = *item;
    if (is_nothing(&t)) t.dim[0] = NULL;
    for (int k = 0; k < t.rank; k++)
        if (tenon_dim_depends_on_data(g->dims, t.dim[k])) t.dim[k] = tenon_widen_size(g, &before, k, "item");
    n->dst[i]->type = t;
    tenon_infer_set_contents(n, i, NULL, 0);
}

tenon_status tenon_widen_container(tenon_graph *g, tenon_node *n, int i, tenon_dtype dtype, const tenon_type *item)
{
    if (i >= n->dst_count || n->dst[i] == NULL) return TENON_OK;
    tenon_type *t = &n->dst[i]->type;
    const bool kept = t->dtype == dtype && t->element != NULL && tenon_widen_same(t->element, item);
    tenon_type *element = NULL;
    if (!kept) {
        element = tenon_arena_alloc(g->arena, sizeof(*element));
        if (element == NULL) return TENON_NOMEM;
        *element = *item;
    }
    const tenon_type *use = kept ? t->element : element;
    *t = (tenon_type){.dtype = dtype, .rank = 0, .element = use};
    return TENON_OK;
}

bool tenon_widen_same(const tenon_type *a, const tenon_type *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank || is_nothing(a) != is_nothing(b)) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    if (!is_container(a) || a->element == b->element) return true;
    return a->element != NULL && b->element != NULL && tenon_widen_same(a->element, b->element);
}
