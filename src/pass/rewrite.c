/* SPDX-License-Identifier: Apache-2.0 */
/* The driver of rules and the helpers they are written with; contracts in rewrite.h. */
#include "pass/rewrite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- driver ---- */
tenon_status tenon_rw_each(tenon_cx *cx, tenon_graph *g, const char *pass, const tenon_rw_rule *rule, size_t count, bool *changed)
{
    tenon_rw rw = {.cx = cx, .g = g, .pass = pass};
    const size_t nodes = g->node_count;
    for (size_t i = 0; i < nodes; i++) {
        tenon_node *n = g->node[i];
        rw.done = false;
        for (size_t k = 0; k < count && !rw.done && !n->dead; k++) {
            rw.part_count = rw.made_count = 0;
            TENON_TRY(rule[k](&rw, n));
            TENON_TRY(rw.failed);
        }
    }
    /* a rule that gave up half-way leaves nodes that nothing uses */
    if (!rw.changed && g->node_count == nodes) return TENON_OK;
    *changed |= rw.changed;
    tenon_graph_prune(g);
    return tenon_graph_sort(g);
}

/* ---- looking ---- */
tenon_node *tenon_rw_from(const tenon_value *v, const tenon_op *op)
{
    return v && v->producer && !v->is_const && (!op || v->producer->op == op) ? v->producer : NULL;
}

const tenon_tensor *tenon_rw_const(tenon_rw *rw, tenon_value *v)
{
    const tenon_tensor *t;
    const tenon_status status = tenon_eval_const(rw->cx, rw->g, v, &t);
    if (status == TENON_NOMEM) rw->failed = status;
    return status == TENON_OK ? t : NULL;
}

bool tenon_rw_scalar(tenon_rw *rw, tenon_value *v, double *out)
{
    if (!v || !v->is_const || v->type.rank < 0) return false;
    const tenon_dtype_kind kind = tenon_dtype_get(v->type.dtype)->kind;
    if (kind == TENON_KIND_OTHER || tenon_dtype_get(v->type.dtype)->bits < 8) return false;
    for (int i = 0; i < v->type.rank; i++)
        if (!tenon_dim_is(v->type.dim[i], 1)) return false;
    const tenon_tensor *t = tenon_rw_const(rw, v);
    if (!t) return false;
    *out = kind == TENON_KIND_FLOAT ? tenon_tensor_get_f64(t, 0) : (double)tenon_tensor_get_i64(t, 0);
    return true;
}

bool tenon_rw_is_scalar(tenon_rw *rw, tenon_value *v, double want)
{
    double got;
    return tenon_rw_scalar(rw, v, &got) && got == want;
}

bool tenon_rw_near(double a, double b) { return fabs(a - b) <= 1e-5 * fmax(fabs(a), fabs(b)); }

bool tenon_rw_with_scalar(tenon_rw *rw, const tenon_node *n, tenon_value **x, double *out)
{
    for (int i = 0; i < 2; i++)
        if (tenon_rw_scalar(rw, n->src[i], out)) {
            *x = n->src[1 - i];
            return true;
        }
    return false;
}

tenon_node *tenon_rw_either(const tenon_node *n, const tenon_op *op, tenon_value **other)
{
    for (int i = 0; i < 2; i++) {
        tenon_node *p = tenon_rw_from(n->src[i], op);
        if (p) {
            *other = n->src[1 - i];
            return p;
        }
    }
    return NULL;
}

int tenon_rw_ints(tenon_rw *rw, const tenon_value *v, int64_t *out, int max)
{
    size_t count;
    const tenon_dim *const *sym = tenon_infer_contents(rw->g, v, &count);
    if (!sym || count > (size_t)max) return -1;
    for (size_t i = 0; i < count; i++) {
        if (!tenon_dim_is_const(sym[i])) return -1;
        out[i] = sym[i]->value;
    }
    return (int)count;
}

bool tenon_rw_is_output(const tenon_graph *g, const tenon_value *v)
{
    for (size_t i = 0; i < g->output_count; i++)
        if (g->output[i] == v) return true;
    return false;
}

void tenon_rw_perm(const tenon_node *n, int64_t *perm)
{
    const tenon_attr *a = tenon_node_attr(n, "perm");
    const int rank = n->src[0]->type.rank;
    for (int i = 0; i < rank; i++) {
        perm[i] = a->set ? a->ints[i] : rank - 1 - i;
        if (perm[i] < 0) perm[i] += rank;
    }
}

int tenon_rw_reduced(tenon_rw *rw, const tenon_node *n, int *axis)
{
    const tenon_attr *a = tenon_node_attr(n, "axes");
    const int rank = n->src[0]->type.rank;
    int64_t list[TENON_MAX_RANK];
    int count = 0;
    if (rank < 0 || (a->set && a->count > TENON_MAX_RANK)) return -1;
    if (a->set)
        for (; count < (int)a->count; count++) list[count] = a->ints[count];
    else if (tenon_rw_src(n, 1)) count = tenon_rw_ints(rw, n->src[1], list, TENON_MAX_RANK);
    if (count < 0) return -1;
    bool reduced[TENON_MAX_RANK] = {false};
    for (int i = 0; i < count; i++) reduced[list[i] < 0 ? list[i] + rank : list[i]] = true;
    int found = 0;
    for (int i = 0; i < rank; i++)
        if (reduced[i] || (count == 0 && !tenon_node_int(n, "noop_with_empty_axes"))) axis[found++] = i;
    return found;
}

bool tenon_rw_keeps_type(const tenon_value *v, const tenon_value *x)
{
    if (v->type.rank < 0 || x->type.rank < 0 || v->type.rank > x->type.rank) return false;
    for (int i = 0; i < v->type.rank; i++) {
        const tenon_dim *d = v->type.dim[i], *to = x->type.dim[x->type.rank - v->type.rank + i];
        if (d != to && !tenon_dim_is(d, 1)) return false;
    }
    return true;
}

/* ---- making ---- */
void tenon_rw_take(tenon_rw *rw, tenon_node *n)
{
    for (int i = 0; i < rw->part_count; i++)
        if (rw->part[i] == n) return;
    if (rw->part_count < TENON_RW_PARTS) rw->part[rw->part_count++] = n;
}

tenon_status tenon_rw_node(tenon_rw *rw, const tenon_op *op, tenon_value *const *src, int count, int results, tenon_node **out)
{
    const char *name = rw->part_count ? rw->part[0]->name : op->name;
    TENON_TRY(tenon_graph_node(rw->g, op, name, count, src, results, out));
    if (rw->made_count < TENON_RW_MADE) rw->made[rw->made_count++] = *out;
    return TENON_OK;
}

tenon_status tenon_rw_infer(tenon_rw *rw, tenon_node *n, tenon_value **out)
{
    bool folded;
    TENON_TRY(tenon_infer_node(rw->cx, rw->g, n));
    TENON_TRY(tenon_rw_fold(rw->cx, rw->g, n, &folded));
    if (out) *out = n->dst[0];
    return TENON_OK;
}

tenon_status tenon_rw_op(tenon_rw *rw, const tenon_op *op, tenon_value *const *src, int count, tenon_value **out)
{
    tenon_node *n;
    TENON_TRY(tenon_rw_node(rw, op, src, count, 1, &n));
    return tenon_rw_infer(rw, n, out);
}

tenon_status tenon_rw_number(tenon_rw *rw, tenon_dtype dtype, double v, tenon_value **out)
{
    uint64_t data[2] = {0};
    const tenon_tensor t = {.dtype = dtype, .data = data};
    tenon_tensor_set_f64(&t, 0, v);
    return tenon_graph_const(rw->g, "number", &t, true, out);
}

tenon_status tenon_rw_list(tenon_rw *rw, const int64_t *v, int count, tenon_value **out)
{
    return tenon_graph_const_i64(rw->g, "list", v, 1, count, out);
}

tenon_status tenon_rw_transpose(tenon_rw *rw, tenon_value *x, const int64_t *perm, tenon_value **out)
{
    tenon_node *n;
    bool same = true;
    for (int i = 0; i < x->type.rank; i++) same &= perm[i] == i;
    *out = x;
    if (same) return TENON_OK;
    TENON_TRY(tenon_rw_node(rw, &tenon_op_transpose, &x, 1, 1, &n));
    TENON_TRY(tenon_node_set_ints(rw->g, n, "perm", perm, (size_t)x->type.rank));
    return tenon_rw_infer(rw, n, out);
}

static tenon_status symbolic_shape(tenon_rw *rw, int rank, const tenon_dim *const *dim, tenon_value **out)
{
    tenon_node *n;
    const char *text[TENON_MAX_RANK];
    tenon_status status = TENON_OK;
    tenon_buf b;
    tenon_buf_init(&b, rw->cx);
    for (int i = 0; i < rank && status == TENON_OK; i++) {
        tenon_buf_clear(&b);
        tenon_dim_print(&b, rw->g->dims, dim[i]);
        status = tenon_buf_status(&b);
        if (status == TENON_OK && !(text[i] = tenon_arena_strdup(rw->g->arena, tenon_buf_cstr(&b)))) status = TENON_NOMEM;
    }
    tenon_buf_free(&b);
    TENON_TRY(status);
    TENON_TRY(tenon_rw_node(rw, &tenon_op_symbolic, NULL, 0, 1, &n));
    TENON_TRY(tenon_node_set_strings(rw->g, n, "dims", text, (size_t)rank));
    return tenon_rw_infer(rw, n, out);
}

tenon_status tenon_rw_reshape(tenon_rw *rw, tenon_value *x, int rank, const tenon_dim *const *dim, tenon_value **out)
{
    int64_t list[TENON_MAX_RANK];
    int unknown = 0;
    tenon_value *shape;
    bool same = rank == x->type.rank;
    for (int i = 0; i < rank && same; i++) same = dim[i] == x->type.dim[i];
    *out = x;
    if (same) return TENON_OK;
    for (int i = 0; i < rank; i++) {
        const bool kept = i < x->type.rank && dim[i] == x->type.dim[i];
        list[i] = tenon_dim_is_const(dim[i]) && dim[i]->value > 0 ? dim[i]->value : kept ? 0 : -1;
        unknown += list[i] == -1;
        if (tenon_dim_is(dim[i], 0) && !kept) unknown = TENON_MAX_RANK;
    }
    if (unknown <= 1) TENON_TRY(tenon_rw_list(rw, list, rank, &shape));
    else TENON_TRY(symbolic_shape(rw, rank, dim, &shape));
    return tenon_rw_binary(rw, &tenon_op_reshape, x, shape, out);
}

tenon_status tenon_rw_like(tenon_rw *rw, const tenon_node *n, tenon_value *const *src, int count, tenon_node **out)
{
    TENON_TRY(tenon_rw_node(rw, n->op, src, count, n->dst_count, out));
    const int attrs = tenon_attr_count(n->op);
    if (attrs) memcpy((*out)->attr, n->attr, (size_t)attrs * sizeof *n->attr);
    return TENON_OK;
}

tenon_status tenon_rw_along(tenon_rw *rw, tenon_value *v, int axis, int rank, tenon_value **out)
{
    const tenon_dim *dim[TENON_MAX_RANK], *one = tenon_dim_const(rw->g->dims, 1);
    if (!one) return TENON_NOMEM;
    for (int i = 0; i < rank; i++) dim[i] = i == axis ? v->type.dim[0] : one;
    return tenon_rw_reshape(rw, v, rank, dim, out);
}

/* ---- replacing ---- */
/* Appends the names of `more` that `b` lacks; both are lists joined by '+'. */
static void join_names(tenon_buf *b, const char *more)
{
    while (*more) {
        const size_t length = strcspn(more, "+");
        bool have = length == 0;
        for (const char *at = b->length ? b->data : ""; *at && !have;) {
            const size_t l = strcspn(at, "+");
            have = l == length && !memcmp(at, more, l);
            at += l + (at[l] == '+');
        }
        if (!have) {
            if (b->length) tenon_buf_char(b, '+');
            tenon_buf_bytes(b, more, length);
        }
        more += length + (more[length] == '+');
    }
}

static tenon_status set_origins(tenon_rw *rw)
{
    tenon_buf b;
    tenon_buf_init(&b, rw->cx);
    for (int i = 0; i < rw->part_count; i++) join_names(&b, tenon_node_origin(rw->part[i]));
    tenon_status status = tenon_buf_status(&b);
    const char *origin = status == TENON_OK ? tenon_arena_strdup(rw->g->arena, tenon_buf_cstr(&b)) : NULL;
    if (status == TENON_OK && !origin) status = TENON_NOMEM;
    for (int i = 0; i < rw->made_count && origin; i++) rw->made[i]->origin = origin;
    tenon_buf_free(&b);
    return status;
}

tenon_status tenon_rw_done(tenon_rw *rw, tenon_node *n, tenon_value *to, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tenon_rw_take(rw, n);
    tenon_value *from = n->dst[0];
    if (!tenon_type_equal(&from->type, &to->type))
        return tenon_event_blocked(rw->g, rw->pass, n,
            "blocked by the shape of '%s' because the rewritten value has another: %s", from->name, text);
    if (tenon_rw_is_output(rw->g, from) && (!to->producer || tenon_rw_is_output(rw->g, to)))
        return TENON_OK; /* an output is made by a node */
    TENON_TRY(set_origins(rw));
    TENON_TRY(tenon_graph_replace(rw->g, from, to));
    rw->done = rw->changed = true;
    return tenon_event_applied(rw->g, rw->pass, n, "%s", text);
}

tenon_status tenon_rw_also(tenon_rw *rw, tenon_value *from, tenon_value *to)
{
    return tenon_graph_replace(rw->g, from, to);
}

/* ---- constants ---- */
enum { SMALL = TENON_CONTENTS_MAX, LARGE_FILL = 1 << 16 };

static bool foldable(const tenon_graph *g, const tenon_node *n)
{
    const unsigned never = TENON_OP_RANDOM | TENON_OP_EFFECT | TENON_OP_CONTROL;
    if (n->op->flags & never || n->sub_count || !n->op->ref || n->op == &tenon_op_symbolic) return false;
    for (int i = 0; i < n->src_count; i++)
        if (n->src[i] && !n->src[i]->is_const) return false;
    int64_t given = 1;
    for (int i = 0; i < n->src_count; i++) {
        const tenon_dim *c = n->src[i] ? tenon_type_count(g->dims, &n->src[i]->type) : NULL;
        if (c && tenon_dim_is_const(c)) given += c->value;
    }
    for (int i = 0; i < n->dst_count; i++) {
        const tenon_value *v = n->dst[i];
        if (!v) continue;
        if (tenon_dtype_get(v->type.dtype)->bits < 8 || !tenon_type_is_static(&v->type)) return false;
        const tenon_dim *c = tenon_type_count(g->dims, &v->type);
        /* a fill (expand, tile, constant_of_shape) that makes much of little stays a node */
        if (!c || !tenon_dim_is_const(c) || (c->value > LARGE_FILL && c->value > 4 * given)) return false;
    }
    return true;
}

tenon_status tenon_rw_fold(tenon_cx *cx, tenon_graph *g, tenon_node *n, bool *folded)
{
    *folded = false;
    if (!foldable(g, n)) return TENON_OK;
    for (int i = 0; i < n->dst_count; i++)
        if (n->dst[i] && tenon_rw_is_output(g, n->dst[i])) return TENON_OK; /* a constant output is written by a step */
    for (int i = 0; i < n->dst_count; i++) {
        tenon_value *v = n->dst[i];
        if (!v) continue;
        v->is_const = true;
        v->producer = NULL;
        v->expr = n;
    }
    n->dead = true;
    *folded = true;
    for (int i = 0; i < n->dst_count; i++) {
        tenon_value *v = n->dst[i];
        const tenon_tensor *t;
        if (!v) continue;
        const int64_t count = tenon_type_count(g->dims, &v->type)->value;
        const bool small = count <= 1 || (count <= SMALL && !tenon_is_float(v->type.dtype));
        if (small) TENON_TRY(tenon_eval_const(cx, g, v, &t));
    }
    return TENON_OK;
}
