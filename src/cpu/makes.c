/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors made of a few numbers: constant_of_shape, range, one_hot. They write; what they write is in the problem, but for
   one_hot's indices and its two values. Any format of the result. */
#include "base/team.h"
#include "cpu/copy_nd.h"
#include "op/move.h"
#include "op/tactic.h"

#include <string.h>

typedef struct record {
    tenon_nd nd;                /* 0: result (one_hot: without its axis); 1: indices */
    int bytes;
    char *y;
    char element[16];           /* constant_of_shape */
    tenon_dtype dtype;          /* range: of the result */
    int64_t start, delta, step; /* range; step: stride of the result, of one_hot along its axis */
    double start_f, delta_f;
    const char *x, *value;      /* one_hot: indices; off, on */
    bool wide;
    int64_t depth, on, count;   /* on: where the second value is, in elements; count: elements of the result */
    bool pokes;                 /* one_hot: the axis is innermost */
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const char *reject_common(const tenon_problem *p)
{
    const tenon_anchor *a = &p->anchor[0];
    if (a->post) return "a program after it";
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before it";
    const tenon_dtype t = a->node->dst[0]->type.dtype;
    if (tenon_dtype_get(t)->bits < 8 || t >= TENON_STRING) return "elements without plain storage";
    return tenon_problem_dst(p, a->node->dst[0]) < 0 ? "the result is not a destination" : NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    return TENON_OK;
}

static const char *reject_fill(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    return tenon_problem_has_param(p, p->anchor[0].node, 0) ? reject_common(p) : "the shape is not in the problem";
}

static tenon_status bind_fill(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    record *r = out;
    const tenon_tensor *value = tenon_node_attr(b->problem->anchor[0].node, "value")->tensor, *y = &b->dst[0];
    memset(r, 0, sizeof *r);
    r->bytes = tenon_dtype_get(y->dtype)->bits / 8;
    if (value) memcpy(r->element, value->data, (size_t)r->bytes);
    r->y = y->data;
    tenon_nd_init(&r->nd, y->rank, y->dim);
    tenon_nd_add_strides(&r->nd, y->stride);
    tenon_nd_add_strides(&r->nd, y->stride);
    tenon_nd_simplify(&r->nd, 0);
    return TENON_OK;
}

static tenon_status run_fill(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const tenon_nd *nd = &r->nd;
    const int last = nd->rank - 1;
    const bool line = nd->rank > 0 && nd->stride[0][last] == 1;
    const int axes = line ? last : nd->rank;
    int64_t row = 0, rows = tenon_nd_count(nd, axes), begin = 0, end = line ? nd->dim[last] : 1;
    if (tenon_nd_count(nd, nd->rank) == 0) return TENON_OK;
    if (rows >= 2 * (int64_t)w->count) tenon_split(rows, 1, w->member, w->count, &row, &rows);
    else tenon_split(end, 256, w->member, w->count, &begin, &end);
    if (row >= rows || begin >= end) return TENON_OK;
    tenon_nd_walk walk;
    for (tenon_nd_walk_start(&walk, nd, axes, row); row < rows; row++, tenon_nd_walk_next(&walk, nd, axes))
        tenon_fill_run(r->y + (walk.offset[0] + begin) * r->bytes, r->element, r->bytes, end - begin);
    return TENON_OK;
}

static const char *reject_range(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_node *n = p->anchor[0].node;
    for (int i = 0; i < 3; i++)
        if (!tenon_problem_has_param(p, n, i)) return "start, limit and delta are not in the problem";
    const tenon_dtype t = n->dst[0]->type.dtype;
    if (t != TENON_F32 && t != TENON_F64 && t != TENON_I64 && t != TENON_I32 && t != TENON_I16) return "the element type";
    return reject_common(p);
}

static tenon_status bind_range(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *y = &b->dst[0];
    int one;
    memset(r, 0, sizeof *r);
    r->dtype = y->dtype;
    r->y = y->data;
    r->count = y->dim[0];
    r->step = y->stride[0];
    if (tenon_is_float(y->dtype)) {
        r->start_f = tenon_tensor_get_f64(n->src[0]->data, 0);
        r->delta_f = tenon_tensor_get_f64(n->src[2]->data, 0);
        return TENON_OK;
    }
    TENON_TRY(tenon_bind_ints(cx, b, n->src[0], 1, &r->start, &one));
    return tenon_bind_ints(cx, b, n->src[2], 1, &r->delta, &one);
}

/* Integers wrap like their type does. */
#define COUNT_UP(T, U, first, by)                                                                                           \
    for (int64_t i = begin; i < end; i++) ((T *)(void *)r->y)[i * r->step] = (T)((first) + (by) * (U)i);
static tenon_status run_range(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const uint64_t first = (uint64_t)r->start, delta = (uint64_t)r->delta;
    int64_t begin, end;
    tenon_split(r->count, 1024, w->member, w->count, &begin, &end);
    switch (r->dtype) {
    case TENON_F32: COUNT_UP(float, double, r->start_f, r->delta_f) break;
    case TENON_F64: COUNT_UP(double, double, r->start_f, r->delta_f) break;
    case TENON_I64: COUNT_UP(uint64_t, uint64_t, first, delta) break;
    case TENON_I32: COUNT_UP(uint32_t, uint64_t, first, delta) break;
    default: COUNT_UP(uint16_t, uint64_t, first, delta) break;
    }
    return TENON_OK;
}

static const char *reject_one_hot(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_node *n = p->anchor[0].node;
    const tenon_dtype t = n->src[0]->type.dtype;
    if (!tenon_problem_has_param(p, n, 1)) return "the depth is not in the problem";
    if (tenon_problem_src(p, n->src[0]) < 0 || tenon_problem_src(p, n->src[2]) < 0) return "an operand is not a source";
    if (t != TENON_I32 && t != TENON_I64) return "indices are neither i32 nor i64";
    if (n->src[2]->type.rank != 1 || !tenon_dim_is(n->src[2]->type.dim[0], 2)) return "the values are not two";
    return reject_common(p);
}

static tenon_status bind_one_hot(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    record *r = out;
    const tenon_problem *p = b->problem;
    const tenon_node *n = p->anchor[0].node;
    const tenon_tensor *x = &b->src[tenon_problem_src(p, n->src[0])], *values = &b->src[tenon_problem_src(p, n->src[2])];
    const tenon_tensor *y = &b->dst[0];
    const int64_t given = tenon_node_int(n, "axis");
    const int axis = (int)(given < 0 ? given + y->rank : given);
    int64_t stride[TENON_MAX_RANK] = { 0 };
    memset(r, 0, sizeof *r);
    for (int i = 0, k = 0; i < y->rank; i++)
        if (i != axis) stride[k++] = y->stride[i];
    r->bytes = tenon_dtype_get(y->dtype)->bits / 8;
    r->y = y->data;
    r->x = x->data;
    r->wide = x->dtype == TENON_I64;
    r->value = values->data;
    r->on = values->stride[0];
    r->depth = y->dim[axis];
    r->step = y->stride[axis];
    tenon_nd_init(&r->nd, x->rank, x->dim);
    tenon_nd_add_strides(&r->nd, stride);
    tenon_nd_add_strides(&r->nd, x->stride);
    tenon_nd_simplify(&r->nd, 0);
    r->pokes = r->step == 1;
    return TENON_OK;
}

static inline int64_t hot_at(const record *r, int64_t i)
{
    const int64_t hot = r->wide ? ((const int64_t *)(const void *)r->x)[i] : ((const int32_t *)(const void *)r->x)[i];
    return hot < 0 ? hot + r->depth : hot;
}

/* Lines along the axis: all off, then one on. */
static void run_pokes(const record *r, int64_t first, int64_t end)
{
    const tenon_nd *nd = &r->nd;
    if (first >= end) return;
    tenon_nd_walk walk;
    for (tenon_nd_walk_start(&walk, nd, nd->rank, first); first < end; first++, tenon_nd_walk_next(&walk, nd, nd->rank)) {
        const int64_t hot = hot_at(r, walk.offset[1]);
        char *y = r->y + walk.offset[0] * r->bytes;
        tenon_fill_run(y, r->value, r->bytes, r->depth);
        if (hot >= 0 && hot < r->depth) memcpy(y + hot * r->bytes, r->value + r->on * r->bytes, (size_t)r->bytes);
    }
}

#define CHOOSE(T)                                                                                                           \
    for (int64_t i = 0; i < n; i++)                                                                                         \
        memcpy(y + i * ys * (int64_t)sizeof(T), r->value + (hot_at(r, from + i * xs) == d ? r->on : 0) * (int64_t)sizeof(T), sizeof(T));
typedef struct pair16 { uint64_t x[2]; } pair16;

static void choose_line(const record *r, char *y, int64_t ys, int64_t from, int64_t xs, int64_t n, int64_t d)
{
    switch (r->bytes) {
    case 1: CHOOSE(uint8_t) break;
    case 2: CHOOSE(uint16_t) break;
    case 4: CHOOSE(uint32_t) break;
    case 8: CHOOSE(uint64_t) break;
    default: CHOOSE(pair16) break;
    }
}

/* Lines across the axis: each index is compared once a place of the axis, and all is written in order. */
static void run_compares(const record *r, int64_t first, int64_t end)
{
    const tenon_nd *nd = &r->nd;
    const int axes = nd->rank > 0 ? nd->rank - 1 : 0;
    const int64_t n = nd->rank > 0 ? nd->dim[axes] : 1, ys = nd->rank > 0 ? nd->stride[0][axes] : 0, xs = nd->rank > 0 ?
        nd->stride[1][axes] : 0;
    for (int64_t i = first; i < end; i++) {
        const int64_t row = i / r->depth, d = i % r->depth;
        choose_line(r, r->y + (tenon_nd_offset(nd, 0, axes, row) + d * r->step) * r->bytes, ys, tenon_nd_offset(nd, 1, axes, row), xs,
                    n, d);
    }
}

static tenon_status run_one_hot(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const int axes = r->pokes ? r->nd.rank : TENON_MAX(r->nd.rank - 1, 0);
    int64_t begin, end;
    if (tenon_nd_count(&r->nd, r->nd.rank) == 0) return TENON_OK;
    tenon_split(tenon_nd_count(&r->nd, axes) * (r->pokes ? 1 : r->depth), 1, w->member, w->count, &begin, &end);
    (r->pokes ? run_pokes : run_compares)(r, begin, end);
    return TENON_OK;
}

#define MAKE(op, how)                                                                                                       \
    const tenon_tactic tenon_cpu_##op = {                                                                                   \
        .name = "cpu." #op, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject_##how, .plan = plan,          \
        .bind = bind_##how, .run = run_##how }
MAKE(constant_of_shape, fill);
MAKE(range, range);
MAKE(one_hot, one_hot);
