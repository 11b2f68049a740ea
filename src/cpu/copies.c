/* SPDX-License-Identifier: Apache-2.0 */
/* Steps that only move elements: copy (between formats), transpose, concat, split, depth_to_space, space_to_depth; tile, and expand,
   slice and reshape where they are no views. Any element type of plain storage, any format; concat and split of at most 16 parts. */
#include "base/team.h"
#include "cpu/copy_nd.h"
#include "op/move.h"
#include "op/tactic.h"

#include <string.h>

enum { PARTS = 16 };
typedef struct record {
    int count;
    tenon_copy copy[PARTS];
} record;

static int element_bytes(tenon_dtype t) { return tenon_dtype_get(t)->bits / 8; }

static const char *reject_moves(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    if (a->post) return "a program after a copy";
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before a copy";
    if (a->node->src_count > PARTS || a->node->dst_count > PARTS) return "more than 16 parts";
    if (tenon_problem_src(p, a->node->src[0]) < 0) return "the source is not a source of the problem";
    const int bits = tenon_dtype_get(a->node->src[0]->type.dtype)->bits;
    if (bits < 8 || a->node->src[0]->type.dtype >= TENON_STRING) return "elements without plain storage";
    for (int i = 0; i < a->node->dst_count; i++)
        if (!a->node->dst[i] || tenon_problem_dst(p, a->node->dst[i]) < 0) return "a result is not a destination";
    return NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    return TENON_OK;
}

static const tenon_tensor *src_of(const tenon_bind *b, int i)
{
    return &b->src[tenon_problem_src(b->problem, b->problem->anchor[0].node->src[i])];
}
static const tenon_tensor *dst_of(const tenon_bind *b, int i)
{
    return &b->dst[tenon_problem_dst(b->problem, b->problem->anchor[0].node->dst[i])];
}

static tenon_status bind_copy(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    record *r = out;
    const tenon_tensor *x = src_of(b, 0), *y = dst_of(b, 0);
    r->count = 1;
    tenon_copy_make(&r->copy[0], y->rank, y->dim, y->stride, x->stride, element_bytes(x->dtype), y->data, x->data);
    return TENON_OK;
}

static tenon_status bind_transpose(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    record *r = out;
    const tenon_tensor *x = src_of(b, 0), *y = dst_of(b, 0);
    const tenon_attr *perm = tenon_node_attr(b->problem->anchor[0].node, "perm");
    int64_t stride[TENON_MAX_RANK] = { 0 };
    for (int i = 0; i < y->rank; i++) stride[i] = x->stride[perm->set && perm->count ? perm->ints[i] : y->rank - 1 - i];
    r->count = 1;
    tenon_copy_make(&r->copy[0], y->rank, y->dim, y->stride, stride, element_bytes(x->dtype), y->data, x->data);
    return TENON_OK;
}

static int axis_of(const tenon_node *n, int rank)
{
    const int64_t axis = tenon_node_int(n, "axis");
    return (int)(axis < 0 ? axis + rank : axis);
}

/* Parts of one tensor along an axis, and tensors of their own: both ways. */
static void bind_parts(const tenon_bind *b, record *r, bool concat)
{
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *whole = concat ? dst_of(b, 0) : src_of(b, 0);
    const int axis = axis_of(n, whole->rank), bytes = element_bytes(whole->dtype);
    char *at = whole->data;
    r->count = concat ? n->src_count : n->dst_count;
    for (int i = 0; i < r->count; i++) {
        const tenon_tensor *part = concat ? src_of(b, i) : dst_of(b, i);
        tenon_copy_make(&r->copy[i], part->rank, part->dim, concat ? whole->stride : part->stride, concat ? part->stride
                        : whole->stride,
                        bytes, concat ? at : part->data, concat ? part->data : at);
        at += part->dim[axis] * whole->stride[axis] * bytes;
    }
}
static tenon_status bind_concat(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    bind_parts(b, out, true);
    return TENON_OK;
}
static tenon_status bind_split(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    bind_parts(b, out, false);
    return TENON_OK;
}

/* Both directions are one box over (n, block row, block column, c, h, w) of the deep tensor, of c * block * block channels, and
   the wide one. In DCR the block's place is outside the channels that stay, in CRD inside. */
static tenon_status bind_space(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = src_of(b, 0), *y = dst_of(b, 0);
    const bool to_wide = n->op == &tenon_op_depth_to_space, crd = strcmp(tenon_node_attr(n, "mode")->s, "CRD") == 0;
    const tenon_tensor *deep = to_wide ? x : y, *wide = to_wide ? y : x;
    const int64_t *d = deep->stride, *w = wide->stride, k = tenon_node_int(n, "blocksize"), c = wide->dim[1];
    if (deep->dim[1] != c * k * k || wide->dim[2] != k * deep->dim[2] || wide->dim[3] != k * deep->dim[3])
        return TENON_FAIL(cx, TENON_INVALID, "%s: the source is no multiple of the block", n->op->name);
    const int64_t dim[6] = { deep->dim[0], k, k, c, deep->dim[2], deep->dim[3] };
    const int64_t of_deep[6] = { d[0], d[1] * (crd ? k : k * c), d[1] * (crd ? 1 : c), d[1] * (crd ? k * k : 1), d[2], d[3] };
    const int64_t of_wide[6] = { w[0], w[2], w[3], w[1], k * w[2], k * w[3] };
    r->count = 1;
    tenon_copy_make(&r->copy[0], 6, dim, to_wide ? of_wide : of_deep, to_wide ? of_deep : of_wide, element_bytes(x->dtype),
                    y->data, x->data);
    return TENON_OK;
}
#define bind_depth_to_space bind_space
#define bind_space_to_depth bind_space

/* Each axis of the source beside its repeats, over which the source stands still. */
static int tile_box(const int64_t *from, const int64_t *to, int rank, const int64_t *from_stride, const int64_t *to_stride,
                    int64_t *dim, int64_t *dst, int64_t *src)
{
    int n = 0;
    for (int i = 0; i < rank; i++) {
        const int64_t d = from[i], repeats = d ? to[i] / d : 0;
        if (repeats != 1) dim[n] = repeats, dst[n] = d * to_stride[i], src[n++] = 0;
        if (d != 1) dim[n] = d, dst[n] = to_stride[i], src[n++] = from_stride[i];
    }
    return n;
}

static tenon_status bind_tile(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_tensor *x = src_of(b, 0), *y = dst_of(b, 0);
    int64_t dim[2 * TENON_MAX_RANK], dst[2 * TENON_MAX_RANK], src[2 * TENON_MAX_RANK];
    for (int i = 0; i < x->rank; i++)
        if (x->dim[i] ? y->dim[i] % x->dim[i] : y->dim[i])
            return TENON_FAIL(cx, TENON_INVALID, "tile: axis %d of the result is no multiple of the source", i);
    const int n = tile_box(x->dim, y->dim, x->rank, x->stride, y->stride, dim, dst, src);
    if (n > TENON_MAX_RANK) return TENON_FAIL(cx, TENON_INTERNAL, "tile: %d axes", n);
    r->count = 1;
    tenon_copy_make(&r->copy[0], n, dim, dst, src, element_bytes(x->dtype), y->data, x->data);
    return TENON_OK;
}

static tenon_status bind_expand(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_tensor *x = src_of(b, 0), *y = dst_of(b, 0);
    int64_t stride[TENON_MAX_RANK] = { 0 };
    for (int i = 0; i < x->rank; i++) {
        const int at = y->rank - x->rank + i;
        if (x->dim[i] != y->dim[at] && x->dim[i] != 1)
            return TENON_FAIL(cx, TENON_INVALID, "expand: axis %d of the source is neither 1 nor that of the result", i);
        if (x->dim[i] != 1) stride[at] = x->stride[i];
    }
    r->count = 1;
    tenon_copy_make(&r->copy[0], y->rank, y->dim, y->stride, stride, element_bytes(x->dtype), y->data, x->data);
    return TENON_OK;
}

static tenon_status bind_slice(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = src_of(b, 0), *y = dst_of(b, 0);
    int64_t given[4][TENON_MAX_RANK], dim[TENON_MAX_RANK], stride[TENON_MAX_RANK], offset;
    int count[4];
    for (int i = 0; i < 4; i++)
        TENON_TRY(tenon_bind_ints(cx, b, i + 1 < n->src_count ? n->src[i + 1] : NULL, TENON_MAX_RANK, given[i], &count[i]));
    TENON_TRY(tenon_slice_box(cx, x, (const int64_t (*)[TENON_MAX_RANK])given, count, &offset, dim, stride));
    for (int i = 0; i < x->rank; i++)
        if (dim[i] != y->dim[i]) return TENON_FAIL(cx, TENON_INVALID, "slice: axis %d of the result has another size", i);
    const int bytes = element_bytes(x->dtype);
    r->count = 1;
    tenon_copy_make(&r->copy[0], y->rank, dim, y->stride, stride, bytes, y->data, (const char *)x->data + offset * bytes);
    return TENON_OK;
}

static tenon_status bind_reshape(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_tensor *x = src_of(b, 0), *y = dst_of(b, 0);
    const int64_t count = tenon_tensor_count(y), one = 1;
    if (tenon_tensor_count(x) != count) return TENON_FAIL(cx, TENON_INVALID, "reshape: the result has another count of elements");
    r->count = 1;
    tenon_copy_make(&r->copy[0], 1, &count, &one, &one, element_bytes(x->dtype), y->data, x->data);
    return TENON_OK;
}

static tenon_status run_copies(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    for (int i = 0; i < r->count; i++) tenon_copy_run(&r->copy[i], w->member, w->count);
    return TENON_OK;
}

static const char *reject_concat(const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                                 tenon_reason *scratch)
{
    for (int i = 0; i < p->anchor[0].node->src_count; i++)
        if (tenon_problem_src(p, p->anchor[0].node->src[i]) < 0) return "a part is not a source of the problem";
    return reject_moves(p, v, device, scratch);
}

static const char *reject_params(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    const tenon_node *n = p->anchor[0].node;
    for (int i = 1; i < n->src_count; i++)
        if (!tenon_problem_has_param(p, n, i)) return "what it does is not in the problem";
    return reject_moves(p, v, device, scratch);
}

static const char *reject_tile(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    const tenon_node *n = p->anchor[0].node;
    const char *why = reject_params(p, v, device, scratch);
    const tenon_type *x = &n->src[0]->type, *y = &n->dst[0]->type;
    int axes = 0;
    for (int i = 0; i < x->rank; i++) axes += !tenon_dim_is(x->dim[i], 1) + (x->dim[i] != y->dim[i]);
    return !why && axes > TENON_MAX_RANK ? "too many axes that are repeated" : why;
}

static const char *reject_reshape(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    const tenon_format *x = &p->src[0].format, *y = &p->dst[0].format;
    if (x->layout != TENON_ROW || x->ld || y->layout != TENON_ROW || y->ld) return "not dense row-major";
    return reject_params(p, v, device, scratch);
}

#define MOVE(op)                                                                                                            \
    const tenon_tactic tenon_cpu_##op = {                                                                                   \
        .name = "cpu." #op, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .plan = plan,                                  \
        .bind = bind_##op, .run = run_copies,
MOVE(copy) .reject = reject_moves };
MOVE(transpose) .reject = reject_moves };
MOVE(split) .reject = reject_moves };
MOVE(depth_to_space) .reject = reject_moves };
MOVE(space_to_depth) .reject = reject_moves };
MOVE(concat) .reject = reject_concat };
MOVE(tile) .reject = reject_tile };
MOVE(expand) .reject = reject_params };
MOVE(slice) .reject = reject_params };
MOVE(reshape) .reject = reject_reshape };
