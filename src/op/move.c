/* SPDX-License-Identifier: Apache-2.0 */
/* Shared parts of the operators that move elements, see op/move.h. No operator is defined here. */
#include "op/move.h"

#include "base/checked.h"

#include <stdio.h>
#include <string.h>

double tenon_move_flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)n, (void)src, (void)dst;
    return 0;
}

/* ---- references ---- */
size_t tenon_move_element_bytes(tenon_dtype t)
{
    if (t == TENON_STRING) return sizeof(tenon_string);
    if (t == TENON_SEQUENCE || t == TENON_OPTIONAL) return sizeof(tenon_sequence);
    return (size_t)tenon_dtype_get(t)->bits / 8;
}

void tenon_move_element(const tenon_tensor *dst, int64_t dst_offset, const tenon_tensor *src, int64_t src_offset)
{
    const size_t bytes = tenon_move_element_bytes(dst->dtype);
    if (bytes == 0) {
        tenon_tensor_set_i64(dst, dst_offset, tenon_tensor_get_i64(src, src_offset));
        return;
    }
    memcpy((char *)dst->data + dst_offset * (int64_t)bytes, (const char *)src->data + src_offset * (int64_t)bytes, bytes);
}

bool tenon_move_next(int rank, const int64_t *dim, int64_t *index)
{
    for (int i = rank - 1; i >= 0; i--) {
        if (++index[i] < dim[i]) return true;
        index[i] = 0;
    }
    return false;
}

void tenon_move_box(const tenon_tensor *dst, int64_t dst_offset, const int64_t *dst_stride, const tenon_tensor *src,
                    int64_t src_offset, const int64_t *src_stride, int rank, const int64_t *dim)
{
    for (int i = 0; i < rank; i++)
        if (dim[i] <= 0) return;
    const size_t bytes = tenon_move_element_bytes(dst->dtype);
    const int outer = rank > 0 ? rank - 1 : 0;
    const int64_t run = rank > 0 ? dim[outer] : 1;
    const bool dense = rank > 0 && bytes > 0 && (run == 1 || (dst_stride[outer] == 1 && src_stride[outer] == 1));
    int64_t index[TENON_MAX_RANK] = {0};
    do {
        int64_t to = dst_offset, from = src_offset;
        for (int i = 0; i < outer; i++) to += index[i] * dst_stride[i], from += index[i] * src_stride[i];
        if (dense) {
            memcpy((char *)dst->data + to * (int64_t)bytes, (const char *)src->data + from * (int64_t)bytes, (size_t)run * bytes);
            continue;
        }
        for (int64_t k = 0; k < run; k++)
            tenon_move_element(dst, to + (rank > 0 ? k * dst_stride[outer] : 0), src, from + (rank > 0 ? k * src_stride[outer]
                                                                                              : 0));
    } while (tenon_move_next(outer, dim, index));
}

static void print_dims(char *out, size_t bytes, int rank, const int64_t *dim)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < rank && at + 24 < bytes; i++)
        at += (size_t)snprintf(out + at, bytes - at, "%s%lld", i ? "x" : "", (long long)dim[i]);
    if (rank == 0) snprintf(out, bytes, "a scalar");
}

tenon_status tenon_move_result(tenon_cx *cx, tenon_eval_call *call, int i, tenon_dtype dtype, int rank, const int64_t *dim)
{
    if (i >= call->dst_count) return TENON_OK;
    tenon_tensor *t = &call->dst[i];
    const char *name = tenon_op_as_head(call->node->op)->name;
    if (call->dst_ready) {
        if (t->dtype == TENON_DTYPE_NONE) return TENON_OK;
        bool same = t->dtype == dtype && t->rank == rank;
        for (int k = 0; same && k < rank; k++) same = t->dim[k] == dim[k];
        if (same) return TENON_OK;
        char want[192], have[192];
        print_dims(want, sizeof(want), rank, dim);
        print_dims(have, sizeof(have), t->rank, t->dim);
        return TENON_FAIL(cx, TENON_INVALID, "%s: result %d is %s %s, but its place is %s %s", name, i,
                          tenon_dtype_get(dtype)->name,
                          want, tenon_dtype_get(t->dtype)->name, have);
    }
    if (rank > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "%s: rank %d, at most %d", name, rank, (int)TENON_MAX_RANK);
    t->dtype = dtype;
    t->rank = rank;
    for (int k = 0; k < rank; k++) t->dim[k] = dim[k];
    return tenon_eval_alloc(cx, call, i);
}

tenon_status tenon_move_give(tenon_cx *cx, tenon_eval_call *call, int i, const tenon_tensor *value)
{
    if (i >= call->dst_count) return TENON_OK;
    tenon_tensor *t = &call->dst[i];
    if (!call->dst_ready) {
        *t = *value;
        return TENON_OK;
    }
    TENON_TRY(tenon_move_result(cx, call, i, value->dtype, value->rank, value->dim));
    if (t->dtype == TENON_DTYPE_NONE) return TENON_OK;
    if (t->dtype == TENON_SEQUENCE || t->dtype == TENON_OPTIONAL)
        *(tenon_sequence *)t->data = *(const tenon_sequence *)value->data;
    else tenon_move_box(t, 0, t->stride, value, 0, value->stride, t->rank, t->dim);
    return TENON_OK;
}

static tenon_status clone_sequence(tenon_cx *cx, tenon_heap *heap, const tenon_tensor *src, tenon_tensor *out)
{
    const tenon_sequence *from = src->data;
    size_t bytes;
    if (!tenon_mul_size(from->count + 1, sizeof(tenon_tensor), &bytes))
        return TENON_FAIL(cx, TENON_NOMEM, "a sequence is too long");
    tenon_sequence *to = tenon_heap_alloc(heap, sizeof(*to));
    if (to == NULL) return TENON_NOMEM;
    to->count = from->count;
    to->item = tenon_heap_alloc(heap, bytes);
    if (to->item == NULL) return TENON_NOMEM;
    for (size_t k = 0; k < from->count; k++) TENON_TRY(tenon_move_clone(cx, heap, &from->item[k], &to->item[k]));
    *out = *src;
    out->data = to;
    return TENON_OK;
}

tenon_status tenon_move_clone(tenon_cx *cx, tenon_heap *heap, const tenon_tensor *src, tenon_tensor *out)
{
    if (src->dtype == TENON_SEQUENCE || src->dtype == TENON_OPTIONAL) return clone_sequence(cx, heap, src, out);
    const int64_t count = tenon_tensor_count(src);
    const size_t element = tenon_move_element_bytes(src->dtype);
    size_t bytes = tenon_dtype_bytes(src->dtype, (size_t)count);
    if (element && !tenon_mul_size((size_t)count, element, &bytes)) return TENON_FAIL(cx, TENON_NOMEM, "a tensor is too large");
    *out = *src;
    tenon_tensor_dense(out);
    out->data = tenon_heap_alloc(heap, bytes ? bytes : 1);
    if (out->data == NULL) return TENON_NOMEM;
    if (element == 0) memset(out->data, 0, bytes); /* packed pairs are written one half at a time */
    tenon_move_box(out, 0, out->stride, src, 0, src->stride, src->rank, src->dim);
    if (src->dtype != TENON_STRING) return TENON_OK;
    tenon_string *s = out->data;
    for (int64_t k = 0; k < count; k++) {
        char *copy = tenon_heap_alloc(heap, s[k].length + 1);
        if (copy == NULL) return TENON_NOMEM;
        if (s[k].length) memcpy(copy, s[k].data, s[k].length);
        copy[s[k].length] = '\0';
        s[k].data = copy;
    }
    return TENON_OK;
}

tenon_status tenon_move_ints(tenon_cx *cx, const tenon_eval_call *call, int i, int max, int64_t *out, int *count)
{
    *count = -1;
    if (!tenon_move_has(call, i)) return TENON_OK;
    const tenon_tensor *t = &call->src[i];
    const int64_t n = tenon_tensor_count(t);
    const char *name = tenon_op_as_head(call->node->op)->name;
    if (!tenon_is_int(t->dtype)) return TENON_FAIL(cx, TENON_INVALID, "%s: source %d must be integers", name, i);
    if (n > max) return TENON_FAIL(cx, TENON_INVALID, "%s: source %d has %lld elements, at most %d", name, i, (long long)n, max);
    for (int64_t k = 0; k < n; k++) out[k] = tenon_tensor_get_i64(t, tenon_tensor_offset(t, k));
    *count = (int)n;
    return TENON_OK;
}

/* ---- infer rules ---- */
bool tenon_move_unranked(tenon_node *n)
{
    if (n->src[0]->type.rank >= 0) return false;
    for (int i = 0; i < n->dst_count; i++)
        if (n->dst[i] != NULL) tenon_infer_set(n, i, n->src[0]->type.dtype, -1, NULL);
    return true;
}

const tenon_dim *tenon_move_fresh(tenon_graph *g, const tenon_node *n, int i, int axis, const char *prefix, int64_t lo,
                                  int64_t hi)
{
    const tenon_type *t = n->dst[i] != NULL ? &n->dst[i]->type : NULL;
    if (t != NULL && t->dtype != TENON_DTYPE_NONE && axis < t->rank) {
        const tenon_dim *d = t->dim[axis];
        if (d != NULL && d->kind == TENON_DIM_SYM && g->dims->symbol[d->value].data_dependent) return d;
    }
    return tenon_dim_symbol_fresh(g->dims, prefix, lo, hi);
}

void tenon_move_set(tenon_graph *g, tenon_node *n, int i, tenon_dtype dtype, int rank, const tenon_dim *const *dim)
{
    if (i >= n->dst_count || n->dst[i] == NULL) return;
    const tenon_dim *whole[TENON_MAX_RANK];
    for (int k = 0; k < rank; k++) whole[k] = dim[k] != NULL ? dim[k] : tenon_move_fresh(g, n, i, k, "size", 0, TENON_DIM_HUGE);
    tenon_infer_set(n, i, dtype, rank, whole);
}

/* A static small type as a tensor; false when it is not one. */
static bool static_tensor(const tenon_type *t, tenon_tensor *out, int64_t *count)
{
    if (t->rank < 0) return false;
    memset(out, 0, sizeof(*out));
    out->dtype = t->dtype;
    out->rank = t->rank;
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] == NULL || !tenon_dim_is_const(t->dim[i])) return false;
        out->dim[i] = t->dim[i]->value;
    }
    tenon_tensor_dense(out);
    return tenon_product(out->dim, out->rank, count) && *count <= TENON_CONTENTS_MAX;
}

typedef struct values_job {
    tenon_heap heap;
    const tenon_dim **all;  /* contents of the data sources, one after the other */
    size_t all_count;
    tenon_tensor *src, *dst;
} values_job;

/* Positions for data sources, numbers for the rest. *known false: something is not known. */
static tenon_status values_source(tenon_graph *g, const tenon_node *n, int i, bool data, values_job *job, bool *known)
{
    tenon_tensor *t = &job->src[i];
    memset(t, 0, sizeof(*t));
    if (n->src[i] == NULL) return TENON_OK;
    size_t count = 0;
    int64_t elements = 0;
    *known = static_tensor(&n->src[i]->type, t, &elements);
    if (!*known) return TENON_OK;
    const tenon_dim *const *sym = tenon_infer_contents(g, n->src[i], &count);
    *known = elements == 0 || (sym != NULL && (int64_t)count == elements);
    if (!*known) return TENON_OK;
    t->dtype = TENON_I64;
    int64_t *v = tenon_heap_alloc(&job->heap, (count + 1) * sizeof(*v));
    const tenon_dim **all = tenon_heap_alloc(&job->heap, (job->all_count + count + 1) * sizeof(*all));
    if (v == NULL || all == NULL) return TENON_NOMEM;
    t->data = v;
    for (int64_t k = 0; k < elements && *known; k++)
        if (data) v[k] = (int64_t)job->all_count + k;
        else *known = tenon_move_const(sym[k], &v[k]);
    if (!data) return TENON_OK;
    if (job->all_count) memcpy(all, job->all, job->all_count * sizeof(*all));
    if (elements) memcpy(all + job->all_count, sym, (size_t)elements * sizeof(*all));
    job->all = all;
    job->all_count += (size_t)elements;
    return TENON_OK;
}

tenon_status tenon_move_set_contents(tenon_graph *g, tenon_node *n, int i, const tenon_dim *const *sym, size_t count)
{
    bool known = sym != NULL && count <= TENON_CONTENTS_MAX;
    for (size_t k = 0; known && k < count; k++) known = sym[k] != NULL;
    if (!known) {
        tenon_infer_set_contents(n, i, NULL, 0);
        return TENON_OK;
    }
    const tenon_dim **copy = tenon_arena_array(g->arena, count + 1, sizeof(*copy));
    if (copy == NULL) return TENON_NOMEM;
    if (count) memcpy(copy, sym, count * sizeof(*copy));
    tenon_infer_set_contents(n, i, copy, count);
    return TENON_OK;
}

static tenon_status values_result(tenon_graph *g, tenon_node *n, int i, const values_job *job)
{
    const tenon_tensor *t = &job->dst[i];
    const int64_t count = tenon_tensor_count(t);
    const tenon_dim *sym[TENON_CONTENTS_MAX];
    if (n->dst[i] == NULL || n->dst[i]->type.rank != t->rank || count > TENON_CONTENTS_MAX) return TENON_OK;
    for (int64_t k = 0; k < count; k++) {
        const int64_t at = ((const int64_t *)t->data)[k];
        if (at < 0 || (size_t)at >= job->all_count) return TENON_OK;
        sym[k] = job->all[at];
    }
    return tenon_move_set_contents(g, n, i, sym, (size_t)count);
}

tenon_status tenon_move_values(tenon_cx *cx, tenon_graph *g, tenon_node *n, unsigned data)
{
    for (int i = 0; i < n->dst_count; i++) tenon_infer_set_contents(n, i, NULL, 0);
    for (int i = 0; i < n->dst_count; i++) {
        if (n->dst[i] == NULL) continue;
        const tenon_type *t = &n->dst[i]->type;
        tenon_tensor probe;
        int64_t count;
        if (!static_tensor(t, &probe, &count) || !(tenon_is_int(t->dtype) || t->dtype == TENON_BOOL)) return TENON_OK;
    }
    values_job job = {0};
    tenon_heap_init(&job.heap, cx);
    tenon_status status = TENON_NOMEM;
    job.src = tenon_heap_alloc(&job.heap, (size_t)(n->src_count + 1) * sizeof(*job.src));
    job.dst = tenon_heap_alloc(&job.heap, (size_t)(n->dst_count + 1) * sizeof(*job.dst));
    if (job.src == NULL || job.dst == NULL) goto done;
    bool known = true;
    for (int i = 0; i < n->src_count && known; i++) {
        /* the last source's bit stands for all further ones of a variadic operator */
        const bool is_data = (data >> (i < 31 ? i : 31)) & 1;
        TENON_TRY_DONE(values_source(g, n, i, is_data, &job, &known));
    }
    status = TENON_OK;
    if (!known) goto done;
    memset(job.dst, 0, (size_t)n->dst_count * sizeof(*job.dst));
    for (int i = 0; i < n->dst_count; i++)
        if (n->dst[i] != NULL) job.dst[i].dtype = TENON_I64;
    tenon_eval_call call = {.node = n, .src_count = n->src_count, .dst_count = n->dst_count, .src = job.src, .dst = job.dst,
                            .heap = &job.heap};
    status = n->op->ref(cx, &call);
    if (status != TENON_OK && status != TENON_NOMEM) { /* wrong numbers matter when the node runs; it may be in a dead branch */
        cx->status = status = TENON_OK;
        cx->message[0] = '\0';
        goto done;
    }
    if (status != TENON_OK) goto done;
    for (int i = 0; i < n->dst_count; i++)
        if (n->dst[i] != NULL) TENON_TRY_DONE(values_result(g, n, i, &job));
done:
    tenon_heap_free(&job.heap);
    return status;
}

const tenon_dim *tenon_move_divide(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b)
{
    if (tenon_dim_is(b, 0)) return NULL;
    const tenon_dim *q = tenon_dim_floordiv(p, a, b);
    return q != NULL && tenon_dim_mul(p, q, b) == a ? q : NULL;
}
