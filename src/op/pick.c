/* SPDX-License-Identifier: Apache-2.0 */
/* NonZero, Unique, Compress: how much they give depends on the data, so a size of each result is a fresh symbol with the bound
   that the source sets. */
#include "base/checked.h"
#include "op/move.h"

#include <string.h>

static bool is_zero(const tenon_tensor *t, int64_t at)
{
    if (t->dtype == TENON_STRING) return ((const tenon_string *)t->data)[at].length == 0;
    return tenon_is_float(t->dtype) ? tenon_tensor_get_f64(t, at) == 0 : tenon_tensor_get_i64(t, at) == 0;
}

static int64_t most(tenon_graph *g, const tenon_type *x)
{
    const tenon_dim *count = x->rank >= 0 ? tenon_type_count(g->dims, x) : NULL;
    return count != NULL ? count->hi : TENON_DIM_HUGE;
}

/* ---- non_zero: coordinates, one column an element; a scalar counts as one axis ---- */
static tenon_status non_zero_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)cx;
    const tenon_type *x = &n->src[0]->type;
    const tenon_dim *dim[2];
    dim[0] = x->rank < 0 ? tenon_move_fresh(g, n, 0, 0, "rank", 0, TENON_MAX_RANK) : tenon_dim_const(g->dims, x->rank ? x->rank
                                                                                                     : 1);
    dim[1] = tenon_move_fresh(g, n, 0, 1, "nonzero", 0, most(g, x));
    tenon_move_set(g, n, 0, TENON_I64, 2, dim);
    return TENON_OK;
}

static tenon_status non_zero_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    const int64_t total = tenon_tensor_count(x);
    int64_t dim[2] = {x->rank ? x->rank : 1, 0};
    for (int64_t i = 0; i < total; i++) dim[1] += !is_zero(x, tenon_tensor_offset(x, i));
    TENON_TRY(tenon_move_result(cx, call, 0, TENON_I64, 2, dim));
    const tenon_tensor *y = &call->dst[0];
    int64_t index[TENON_MAX_RANK] = {0}, column = 0;
    if (total == 0) return TENON_OK;
    do {
        int64_t at = 0;
        for (int i = 0; i < x->rank; i++) at += index[i] * x->stride[i];
        if (is_zero(x, at)) continue;
        for (int i = 0; i < dim[0]; i++) tenon_tensor_set_i64(y, i * y->stride[0] + column * y->stride[1], index[i]);
        column++;
    } while (tenon_move_next(x->rank, x->dim, index));
    return TENON_OK;
}

/* ---- compress ---- */
static tenon_status compress_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    const tenon_attr *a = tenon_node_attr(n, "axis");
    if (!a->set) {
        const tenon_dim *count = tenon_move_fresh(g, n, 0, 0, "compress", 0, most(g, x));
        tenon_move_set(g, n, 0, x->dtype, 1, &count);
        return TENON_OK;
    }
    if (tenon_move_unranked(n)) return TENON_OK;
    int axis;
    const tenon_dim *dim[TENON_MAX_RANK];
    TENON_TRY(tenon_infer_axis(cx, "compress", a->i, x->rank, &axis));
    for (int i = 0; i < x->rank; i++) dim[i] = i == axis ? tenon_move_fresh(g, n, 0, i, "compress", 0, x->dim[i]->hi) : x->dim[i];
    tenon_move_set(g, n, 0, x->dtype, x->rank, dim);
    return TENON_OK;
}

static tenon_status compress_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0], *c = &call->src[1];
    const tenon_attr *a = tenon_node_attr(call->node, "axis");
    int axis = 0;
    int64_t dim[TENON_MAX_RANK], kept = 0;
    if (c->rank != 1 || c->dtype != TENON_BOOL)
        return TENON_FAIL(cx, TENON_INVALID, "compress: the condition must be a vector of bool");
    if (a->set) TENON_TRY(tenon_infer_axis(cx, "compress", a->i, x->rank, &axis));
    const int64_t length = a->set ? x->dim[axis] : tenon_tensor_count(x);
    if (c->dim[0] > length)
        return TENON_FAIL(cx, TENON_INVALID, "compress: %lld conditions for size %lld", (long long)c->dim[0], (long long)length);
    for (int64_t i = 0; i < c->dim[0]; i++) kept += tenon_tensor_get_i64(c, i * c->stride[0]) != 0;
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
    dim[axis] = kept;
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, a->set ? x->rank : 1, dim));
    const tenon_tensor *y = &call->dst[0];
    dim[axis] = 1;
    for (int64_t i = 0, to = 0; i < c->dim[0]; i++) {
        if (tenon_tensor_get_i64(c, i * c->stride[0]) == 0) continue;
        if (a->set) tenon_move_box(y, to * y->stride[axis], y->stride, x, i * x->stride[axis], x->stride, x->rank, dim);
        else tenon_move_element(y, to * y->stride[0], x, tenon_tensor_offset(x, i));
        to++;
    }
    return TENON_OK;
}

/* ---- unique ---- */
static tenon_status unique_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    const tenon_attr *a = tenon_node_attr(n, "axis");
    const tenon_dim *dim[TENON_MAX_RANK], *count = NULL;
    int rank = 1, axis = 0;
    if (a->set && x->rank >= 0) {
        TENON_TRY(tenon_infer_axis(cx, "unique", a->i, x->rank, &axis));
        rank = x->rank;
    }
    const int64_t hi = a->set && x->rank >= 0 ? x->dim[axis]->hi : most(g, x);
    /* one symbol for all results, found again in whichever of them is used */
    for (int i = 0; i < n->dst_count && count == NULL; i++)
        if (n->dst[i] != NULL && i != 2) count = tenon_move_fresh(g, n, i, i == 0 ? axis : 0, "unique", 0, hi);
    for (int i = 0; i < rank; i++) dim[i] = i == axis ? count : x->dim[i];
    const tenon_dim *whole = a->set && x->rank >= 0 ? x->dim[axis] : NULL;
    if (whole == NULL)
        whole = x->rank >= 0 ? tenon_type_count(g->dims, x) : n->dst_count > 2 ? tenon_move_fresh(g, n, 2, 0, "unique", 0, hi)
            : NULL;
    if (a->set && x->rank < 0) tenon_infer_set(n, 0, x->dtype, -1, NULL);
    else tenon_move_set(g, n, 0, x->dtype, rank, dim);
    tenon_move_set(g, n, 1, TENON_I64, 1, &count);
    if (n->dst_count > 2) tenon_move_set(g, n, 2, TENON_I64, 1, &whole);
    tenon_move_set(g, n, 3, TENON_I64, 1, &count);
    return TENON_OK;
}

/* Entry i of the source along `axis`: a box of the other axes. Without an axis an entry is one element. */
typedef struct entries {
    const tenon_tensor *x;
    int axis;             /* -1: all elements, flat */
    int64_t count;
    int64_t box[TENON_MAX_RANK];
} entries;

static int compare_elements(const tenon_tensor *t, int64_t a, int64_t b)
{
    if (t->dtype == TENON_STRING) {
        const tenon_string *s = t->data;
        const size_t shorter = s[a].length < s[b].length ? s[a].length : s[b].length;
        const int c = shorter ? memcmp(s[a].data, s[b].data, shorter) : 0;
        return c ? c : (s[a].length > s[b].length) - (s[a].length < s[b].length);
    }
    if (tenon_is_float(t->dtype)) {
        const double x = tenon_tensor_get_f64(t, a), y = tenon_tensor_get_f64(t, b);
        if (x != x || y != y) return (x != x) - (y != y); /* NaN last and equal to itself */
        return (x > y) - (x < y);
    }
    const int64_t x = tenon_tensor_get_i64(t, a), y = tenon_tensor_get_i64(t, b);
    if (t->dtype == TENON_U64) return ((uint64_t)x > (uint64_t)y) - ((uint64_t)x < (uint64_t)y);
    return (x > y) - (x < y);
}

static int compare_entries(const entries *e, int64_t a, int64_t b)
{
    const tenon_tensor *x = e->x;
    if (e->axis < 0) return compare_elements(x, tenon_tensor_offset(x, a), tenon_tensor_offset(x, b));
    int64_t index[TENON_MAX_RANK] = {0};
    for (int i = 0; i < x->rank; i++)
        if (e->box[i] == 0) return 0;
    do {
        int64_t at = 0;
        for (int i = 0; i < x->rank; i++) at += index[i] * x->stride[i];
        const int c = compare_elements(x, at + a * x->stride[e->axis], at + b * x->stride[e->axis]);
        if (c) return c;
    } while (tenon_move_next(x->rank, e->box, index));
    return 0;
}

/* Stable merge sort of positions; `work` has room for as many. */
static void sort_entries(const entries *e, int64_t *p, int64_t *work, int64_t count)
{
    for (int64_t width = 1; width < count; width *= 2) {
        for (int64_t lo = 0; lo < count; lo += 2 * width) {
            const int64_t mid = TENON_MIN(lo + width, count), hi = TENON_MIN(lo + 2 * width, count);
            int64_t a = lo, b = mid;
            for (int64_t k = lo; k < hi; k++)
                work[k] = a < mid && (b >= hi || compare_entries(e, p[a], p[b]) <= 0) ? p[a++] : p[b++];
        }
        memcpy(p, work, (size_t)count * sizeof(*p));
    }
}

typedef struct groups {
    int64_t count;
    int64_t *first, *size, *inverse; /* first entry and size of each group; group of each entry */
} groups;

static tenon_status group_entries(tenon_cx *cx, tenon_heap *heap, const entries *e, bool sorted, groups *out)
{
    *out = (groups){0};
    size_t bytes;
    if (!tenon_mul_size((size_t)e->count + 1, 5 * sizeof(int64_t), &bytes))
        return TENON_FAIL(cx, TENON_NOMEM, "unique: the source is too large");
    int64_t *memory = tenon_heap_alloc(heap, bytes);
    if (memory == NULL) return TENON_NOMEM;
    int64_t *order = memory, *work = order + e->count + 1;
    out->first = work + e->count + 1, out->size = out->first + e->count + 1, out->inverse = out->size + e->count + 1;
    out->count = 0;
    for (int64_t i = 0; i < e->count; i++) order[i] = i;
    sort_entries(e, order, work, e->count);
    for (int64_t i = 0; i < e->count; i++) {
        if (i == 0 || compare_entries(e, order[i - 1], order[i]) != 0) {
            out->first[out->count] = order[i];
            out->size[out->count++] = 0;
        }
        out->size[out->count - 1]++;
        out->inverse[order[i]] = out->count - 1;
    }
    if (sorted) return TENON_OK;
    /* order of first appearance: walk the entries, numbering groups as they are met */
    for (int64_t i = 0; i < out->count; i++) work[i] = -1;
    int64_t met = 0;
    for (int64_t i = 0; i < e->count; i++) {
        const int64_t group = out->inverse[i];
        if (work[group] < 0) work[group] = met++;
        out->inverse[i] = work[group];
    }
    for (int64_t i = 0; i < out->count; i++) out->size[i] = 0;
    for (int64_t i = e->count - 1; i >= 0; i--) {
        out->first[out->inverse[i]] = i;
        out->size[out->inverse[i]]++;
    }
    return TENON_OK;
}

static tenon_status put_vector(tenon_cx *cx, tenon_eval_call *call, int i, const int64_t *v, int64_t count)
{
    if (!tenon_move_wanted(call, i)) return TENON_OK;
    TENON_TRY(tenon_move_result(cx, call, i, TENON_I64, 1, &count));
    for (int64_t k = 0; k < count; k++) tenon_tensor_set_i64(&call->dst[i], k * call->dst[i].stride[0], v[k]);
    return TENON_OK;
}

static tenon_status unique_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    const tenon_attr *a = tenon_node_attr(call->node, "axis");
    entries e = {.x = x, .axis = -1, .count = tenon_tensor_count(x)};
    groups found;
    for (int i = 0; i < x->rank; i++) e.box[i] = x->dim[i];
    if (a->set) {
        TENON_TRY(tenon_infer_axis(cx, "unique", a->i, x->rank, &e.axis));
        e.count = x->dim[e.axis];
        e.box[e.axis] = 1;
    }
    TENON_TRY(group_entries(cx, call->heap, &e, tenon_node_int(call->node, "sorted") != 0, &found));
    if (tenon_move_wanted(call, 0)) {
        int64_t dim[TENON_MAX_RANK] = {found.count};
        for (int i = 0; a->set && i < x->rank; i++) dim[i] = i == e.axis ? found.count : x->dim[i];
        TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, a->set ? x->rank : 1, dim));
        const tenon_tensor *y = &call->dst[0];
        for (int64_t k = 0; k < found.count; k++) {
            if (!a->set) tenon_move_element(y, k * y->stride[0], x, tenon_tensor_offset(x, found.first[k]));
            else tenon_move_box(y, k * y->stride[e.axis], y->stride, x, found.first[k] * x->stride[e.axis], x->stride, x->rank,
                                e.box);
        }
    }
    TENON_TRY(put_vector(cx, call, 1, found.first, found.count));
    TENON_TRY(put_vector(cx, call, 2, found.inverse, e.count));
    return put_vector(cx, call, 3, found.size, found.count);
}

/* unset means flattened: no axis equals that */
static const tenon_attr_def axis_attrs[] = {{.name = "axis", .kind = TENON_ATTR_INT, .i = INT64_MIN}, {0}};
static const tenon_attr_def unique_attrs[] = {{.name = "axis", .kind = TENON_ATTR_INT, .i = INT64_MIN},
                                              {.name = "sorted", .kind = TENON_ATTR_INT, .i = 1}, {0}};

const tenon_op tenon_op_non_zero = {
    .name = "non_zero", .onnx = "NonZero", .onnx_since = 9, .flags = TENON_OP_ANCHOR,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = non_zero_infer, .ref = non_zero_ref,
    .flops = tenon_move_flops};

const tenon_op tenon_op_compress = {
    .name = "compress", .attr = axis_attrs, .onnx = "Compress", .onnx_since = 9, .flags = TENON_OP_ANCHOR,
    .src_min = 2, .src_max = 2, .dst_min = 1, .dst_max = 1, .infer = compress_infer, .ref = compress_ref,
    .flops = tenon_move_flops};

const tenon_op tenon_op_unique = {
    .name = "unique", .attr = unique_attrs, .onnx = "Unique", .onnx_since = 11, .flags = TENON_OP_ANCHOR,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 4, .infer = unique_infer, .ref = unique_ref, .flops = tenon_move_flops};
