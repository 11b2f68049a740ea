/* SPDX-License-Identifier: Apache-2.0 */
/* Reshape, Flatten, Squeeze, Unsqueeze: the elements in row-major order stay, the axes change. Reshape's -1 is resolved by
   dividing products of dimensions as polynomials, so that (batch*seq, 768) -> (batch, seq, -1) gives 768. */
#include "base/checked.h"
#include "op/move.h"

#include <string.h>

/* Strikes out common factors first: that decides nearly all cases without multiplying sums out. */
static const tenon_dim *quotient(tenon_dim_pool *p, const tenon_type *x, const tenon_dim *const *known, int known_count)
{
    const tenon_dim *num = tenon_dim_const(p, 1), *den = num;
    bool used[TENON_MAX_RANK] = {false};
    for (int i = 0; i < x->rank; i++) {
        int k = 0;
        while (k < known_count && (used[k] || known[k] != x->dim[i])) k++;
        if (k < known_count && !tenon_dim_is(known[k], 0)) used[k] = true;
        else num = tenon_dim_mul(p, num, x->dim[i]);
    }
    for (int k = 0; k < known_count; k++)
        if (!used[k]) den = tenon_dim_mul(p, den, known[k]);
    if (num == NULL || den == NULL || tenon_dim_is(den, 0)) return NULL;
    const tenon_dim *q = tenon_move_divide(p, num, den);
    return q != NULL ? q : tenon_dim_floordiv(p, num, den);
}

/* The target dims from known contents. */
static tenon_status reshape_target(tenon_cx *cx, tenon_graph *g, const tenon_node *n, const tenon_dim *const *sym, int count,
                                   const tenon_dim **dim)
{
    const tenon_type *x = &n->src[0]->type;
    const bool allowzero = tenon_node_int(n, "allowzero") != 0;
    const tenon_dim *known[TENON_MAX_RANK];
    int infer_axis = -1, known_count = 0;
    bool vague = x->rank < 0;
    for (int i = 0; i < count; i++) {
        int64_t v;
        const bool is_const = tenon_move_const(sym[i], &v);
        if (is_const && v == -1) {
            if (infer_axis >= 0) return TENON_FAIL(cx, TENON_INVALID, "reshape: -1 stands twice in the target shape");
            infer_axis = i;
            continue;
        }
        if (is_const && v < -1) return TENON_FAIL(cx, TENON_INVALID, "reshape: size %lld in the target shape", (long long)v);
        if (is_const && v == 0 && !allowzero) {
            if (x->rank >= 0 && i >= x->rank)
                return TENON_FAIL(cx, TENON_INVALID, "reshape: 0 at axis %d copies a size that the source of rank %d has not", i,
                                  x->rank);
            dim[i] = x->rank < 0 ? tenon_move_fresh(g, n, 0, i, "reshape", 0, TENON_DIM_HUGE) : x->dim[i];
        } else if (sym[i]->lo < 0) { /* may be -1 when it runs */
            dim[i] = tenon_move_fresh(g, n, 0, i, "reshape", 0, TENON_DIM_HUGE);
            vague = true;
        } else {
            dim[i] = sym[i];
        }
        known[known_count++] = dim[i];
    }
    if (infer_axis < 0) return TENON_OK;
    dim[infer_axis] = vague ? NULL : quotient(g->dims, x, known, known_count);
    if (dim[infer_axis] == NULL) dim[infer_axis] = tenon_move_fresh(g, n, 0, infer_axis, "reshape", 0, TENON_DIM_HUGE);
    return TENON_OK;
}

static tenon_status check_counts(tenon_cx *cx, const tenon_type *x, int rank, const tenon_dim *const *dim)
{
    int64_t from = 1, to = 1;
    for (int i = 0; i < x->rank; i++)
        if (x->dim[i] == NULL || !tenon_dim_is_const(x->dim[i]) || !tenon_mul_i64(from, x->dim[i]->value, &from)) return TENON_OK;
    for (int i = 0; i < rank; i++)
        if (dim[i] == NULL || !tenon_dim_is_const(dim[i]) || !tenon_mul_i64(to, dim[i]->value, &to)) return TENON_OK;
    if (x->rank >= 0 && from != to)
        return TENON_FAIL(cx, TENON_INVALID, "reshape: %lld elements do not fit a target of %lld", (long long)from,
                          (long long)to);
    return TENON_OK;
}

static tenon_status reshape_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type, *s = &n->src[1]->type;
    const tenon_dim *dim[TENON_MAX_RANK];
    size_t count = 0;
    const tenon_dim *const *sym = tenon_infer_contents(g, n->src[1], &count);
    int64_t rank;
    if (s->rank == 1 && tenon_move_const(s->dim[0], &rank)) {
        if (rank > TENON_MAX_RANK)
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "reshape: rank %lld, at most %d", (long long)rank, (int)TENON_MAX_RANK);
        if (rank > 0 && sym == NULL) {
            for (int i = 0; i < rank; i++) dim[i] = tenon_move_fresh(g, n, 0, i, "reshape", 0, TENON_DIM_HUGE);
        } else {
            TENON_TRY(reshape_target(cx, g, n, sym, (int)rank, dim));
        }
        TENON_TRY(check_counts(cx, x, (int)rank, dim));
        tenon_move_set(g, n, 0, x->dtype, (int)rank, dim);
        return tenon_move_values(cx, g, n, 1);
    }
    if (s->rank >= 0 && s->rank != 1)
        return TENON_FAIL(cx, TENON_INVALID, "reshape: the target shape has rank %d, not 1", s->rank);
    tenon_infer_set(n, 0, x->dtype, -1, NULL);
    return TENON_OK;
}

/* Gives result 0 these dims and the elements of source 0. */
static tenon_status relabel(tenon_cx *cx, tenon_eval_call *call, int rank, const int64_t *dim)
{
    const tenon_tensor *x = &call->src[0];
    int64_t count;
    if (!tenon_product(dim, rank, &count) || count != tenon_tensor_count(x))
        return TENON_FAIL(cx, TENON_INVALID, "%s: %lld elements do not fit the target shape",
                          tenon_op_as_head(call->node->op)->name,
                          (long long)tenon_tensor_count(x));
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, rank, dim));
    const tenon_tensor *y = &call->dst[0];
    for (int64_t i = 0; i < count; i++) tenon_move_element(y, tenon_tensor_offset(y, i), x, tenon_tensor_offset(x, i));
    return TENON_OK;
}

static tenon_status reshape_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    const bool allowzero = tenon_node_int(call->node, "allowzero") != 0;
    int64_t dim[TENON_MAX_RANK], known = 1;
    int rank, infer_axis = -1;
    TENON_TRY(tenon_move_ints(cx, call, 1, TENON_MAX_RANK, dim, &rank));
    for (int i = 0; i < rank; i++) {
        if (dim[i] == 0 && !allowzero) {
            if (i >= x->rank) return TENON_FAIL(cx, TENON_INVALID, "reshape: 0 at axis %d, source of rank %d", i, x->rank);
            dim[i] = x->dim[i];
        }
        if (dim[i] == -1 && infer_axis < 0) infer_axis = i;
        else if (dim[i] < 0) return TENON_FAIL(cx, TENON_INVALID, "reshape: size %lld at axis %d", (long long)dim[i], i);
        else if (!tenon_mul_i64(known, dim[i], &known))
            return TENON_FAIL(cx, TENON_INVALID, "reshape: the target shape overflows");
    }
    if (infer_axis >= 0) {
        if (known == 0) return TENON_FAIL(cx, TENON_INVALID, "reshape: -1 cannot be found beside a size of 0");
        dim[infer_axis] = tenon_tensor_count(x) / known;
    }
    return relabel(cx, call, rank, dim);
}

/* ---- flatten ---- */
static tenon_status flatten_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    const tenon_dim *dim[2] = {tenon_dim_const(g->dims, 1), tenon_dim_const(g->dims, 1)};
    if (x->rank < 0) {
        for (int i = 0; i < 2; i++) dim[i] = tenon_move_fresh(g, n, 0, i, "flatten", 0, TENON_DIM_HUGE);
        tenon_move_set(g, n, 0, x->dtype, 2, dim);
        return TENON_OK;
    }
    int axis;
    TENON_TRY(tenon_infer_axis(cx, "flatten", tenon_node_int(n, "axis"), x->rank + (tenon_node_int(n, "axis") >= 0), &axis));
    for (int i = 0; i < x->rank; i++) dim[i >= axis] = tenon_dim_mul(g->dims, dim[i >= axis], x->dim[i]);
    tenon_move_set(g, n, 0, x->dtype, 2, dim);
    return tenon_move_values(cx, g, n, 1);
}

static tenon_status flatten_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    int axis;
    TENON_TRY(tenon_infer_axis(cx, "flatten", tenon_node_int(call->node, "axis"),
                               x->rank + (tenon_node_int(call->node, "axis") >= 0), &axis));
    int64_t dim[2] = {1, 1};
    for (int i = 0; i < x->rank; i++) dim[i >= axis] *= x->dim[i];
    return relabel(cx, call, 2, dim);
}

/* ---- squeeze, unsqueeze: axes from the attribute, else from a source that was no constant when the network was read ---- */
static tenon_status axes_mask(tenon_cx *cx, const tenon_node *n, const int64_t *axes, int count, int rank, unsigned *mask)
{
    const char *name = tenon_op_as_head(n->op)->name;
    *mask = 0;
    for (int i = 0; i < count; i++) {
        int axis;
        TENON_TRY(tenon_infer_axis(cx, name, axes[i], rank, &axis));
        if (*mask >> axis & 1) return TENON_FAIL(cx, TENON_INVALID, "%s: axis %d stands twice", name, axis);
        *mask |= 1u << axis;
    }
    return TENON_OK;
}

/* *count -1: no axes given; -2: given but not known. */
static tenon_status infer_axes(tenon_cx *cx, tenon_graph *g, const tenon_node *n, int64_t *axes, int *count)
{
    const tenon_attr *a = tenon_node_attr(n, "axes");
    const tenon_dim *const *sym = NULL;
    size_t many = a->count;
    *count = -1;
    if (!a->set) {
        if (!tenon_move_present(n, 1)) return TENON_OK;
        sym = tenon_infer_contents(g, n->src[1], &many);
        *count = -2;
        if (sym == NULL) return TENON_OK;
    }
    if (many > TENON_MAX_RANK) return TENON_FAIL(cx, TENON_INVALID, "%s: %zu axes", tenon_op_as_head(n->op)->name, many);
    for (size_t i = 0; i < many; i++) {
        if (a->set) axes[i] = a->ints[i];
        else if (!tenon_move_const(sym[i], &axes[i])) return TENON_OK;
    }
    *count = (int)many;
    return TENON_OK;
}

static tenon_status ref_axes(tenon_cx *cx, const tenon_eval_call *call, int64_t *axes, int *count)
{
    const tenon_attr *a = tenon_node_attr(call->node, "axes");
    if (!a->set) return tenon_move_ints(cx, call, 1, TENON_MAX_RANK, axes, count);
    if (a->count > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_INVALID, "%s: %zu axes", tenon_op_as_head(call->node->op)->name, a->count);
    if (a->count) memcpy(axes, a->ints, a->count * sizeof(*axes));
    *count = (int)a->count;
    return TENON_OK;
}

static tenon_status squeeze_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    if (tenon_move_unranked(n)) return TENON_OK;
    int64_t axes[TENON_MAX_RANK];
    int count, rank = 0;
    unsigned mask = 0;
    TENON_TRY(infer_axes(cx, g, n, axes, &count));
    if (count == -2) {
        tenon_infer_set(n, 0, x->dtype, -1, NULL);
        return TENON_OK;
    }
    if (count >= 0) TENON_TRY(axes_mask(cx, n, axes, count, x->rank, &mask));
    const tenon_dim *dim[TENON_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        const tenon_dim *d = x->dim[i];
        if (count == -1 && tenon_dim_is(d, 1)) continue;
        if (count == -1 && d->lo <= 1 && d->hi >= 1)
            return TENON_FAIL(cx, TENON_UNSUPPORTED,
                              "squeeze: without axes the rank depends on axis %d, whose size may be 1; give the axes", i);
        if (count >= 0 && (mask >> i & 1)) {
            if (d->lo > 1 || d->hi < 1) return TENON_FAIL(cx, TENON_INVALID, "squeeze: axis %d has a size that is not 1", i);
            continue;
        }
        dim[rank++] = d;
    }
    tenon_move_set(g, n, 0, x->dtype, rank, dim);
    return tenon_move_values(cx, g, n, 1);
}

static tenon_status squeeze_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    int64_t axes[TENON_MAX_RANK], dim[TENON_MAX_RANK];
    int count, rank = 0;
    unsigned mask = 0;
    TENON_TRY(ref_axes(cx, call, axes, &count));
    if (count >= 0) TENON_TRY(axes_mask(cx, call->node, axes, count, x->rank, &mask));
    for (int i = 0; i < x->rank; i++) {
        const bool out = count < 0 ? x->dim[i] == 1 : (mask >> i & 1);
        if (out && x->dim[i] != 1)
            return TENON_FAIL(cx, TENON_INVALID, "squeeze: axis %d has size %lld", i, (long long)x->dim[i]);
        if (!out) dim[rank++] = x->dim[i];
    }
    return relabel(cx, call, rank, dim);
}

static tenon_status unsqueeze_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    if (tenon_move_unranked(n)) return TENON_OK;
    int64_t axes[TENON_MAX_RANK];
    int count;
    unsigned mask;
    TENON_TRY(infer_axes(cx, g, n, axes, &count));
    if (count == -1) return TENON_FAIL(cx, TENON_INVALID, "unsqueeze: no axes");
    if (count == -2) {
        tenon_infer_set(n, 0, x->dtype, -1, NULL);
        return TENON_OK;
    }
    const int rank = x->rank + count;
    if (rank > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "unsqueeze: rank %d, at most %d", rank, (int)TENON_MAX_RANK);
    TENON_TRY(axes_mask(cx, n, axes, count, rank, &mask));
    const tenon_dim *dim[TENON_MAX_RANK];
    for (int i = 0, k = 0; i < rank; i++) dim[i] = (mask >> i & 1) ? tenon_dim_const(g->dims, 1) : x->dim[k++];
    tenon_move_set(g, n, 0, x->dtype, rank, dim);
    return tenon_move_values(cx, g, n, 1);
}

static tenon_status unsqueeze_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    int64_t axes[TENON_MAX_RANK], dim[TENON_MAX_RANK];
    int count;
    unsigned mask;
    TENON_TRY(ref_axes(cx, call, axes, &count));
    if (count < 0) return TENON_FAIL(cx, TENON_INVALID, "unsqueeze: no axes");
    const int rank = x->rank + count;
    if (rank > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "unsqueeze: rank %d, at most %d", rank, (int)TENON_MAX_RANK);
    TENON_TRY(axes_mask(cx, call->node, axes, count, rank, &mask));
    for (int i = 0, k = 0; i < rank; i++) dim[i] = (mask >> i & 1) ? 1 : x->dim[k++];
    return relabel(cx, call, rank, dim);
}

static const tenon_attr_def reshape_attrs[] = {{.name = "allowzero", .kind = TENON_ATTR_INT}, {0}};
static const tenon_attr_def flatten_attrs[] = {{.name = "axis", .kind = TENON_ATTR_INT, .i = 1}, {0}};
static const tenon_attr_def axes_attrs[] = {{.name = "axes", .kind = TENON_ATTR_INTS}, {0}};
static const char *const axes_src[] = {NULL, "axes"};

const tenon_op tenon_op_reshape = {
    .name = "reshape", .attr = reshape_attrs, .onnx = "Reshape", .onnx_since = 5, .flags = TENON_OP_VIEW | TENON_OP_SHAPE_VALUE,
    .src_min = 2, .src_max = 2, .dst_min = 1, .dst_max = 1, .params = 1u << 1, .infer = reshape_infer, .ref = reshape_ref,
    .flops = tenon_move_flops};

const tenon_op tenon_op_flatten = {
    .name = "flatten", .attr = flatten_attrs, .onnx = "Flatten", .onnx_since = 1, .flags = TENON_OP_VIEW | TENON_OP_SHAPE_VALUE,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = flatten_infer, .ref = flatten_ref,
    .flops = tenon_move_flops};

const tenon_op tenon_op_squeeze = {
    .name = "squeeze", .attr = axes_attrs, .onnx = "Squeeze", .onnx_since = 1, .flags = TENON_OP_VIEW | TENON_OP_SHAPE_VALUE,
    .src_min = 1, .src_max = 2, .dst_min = 1, .dst_max = 1, .src_attr = axes_src,
    .infer = squeeze_infer, .ref = squeeze_ref, .flops = tenon_move_flops};

const tenon_op tenon_op_unsqueeze = {
    .name = "unsqueeze", .attr = axes_attrs, .onnx = "Unsqueeze", .onnx_since = 1, .flags = TENON_OP_VIEW | TENON_OP_SHAPE_VALUE,
    .src_min = 1, .src_max = 2, .dst_min = 1, .dst_max = 1, .src_attr = axes_src,
    .infer = unsqueeze_infer, .ref = unsqueeze_ref, .flops = tenon_move_flops};
