/* SPDX-License-Identifier: Apache-2.0 */
/* Dense copies of tensors for the references; contracts in dense.h. */
#include "op/dense.h"

#include "base/checked.h"

#include <string.h>

tenon_tensor tenon_dense_permuted(const tenon_tensor *t, const int *perm)
{
    tenon_tensor out = *t;
    for (int i = 0; i < t->rank; i++) out.dim[i] = t->dim[perm[i]], out.stride[i] = t->stride[perm[i]];
    return out;
}

void tenon_dense_axis_last(int rank, int axis, int *perm)
{
    for (int i = 0, k = 0; i < rank; i++)
        if (i != axis) perm[k++] = i;
    perm[rank - 1] = axis;
}

bool tenon_dense_broadcast(const tenon_tensor *t, int rank, const int64_t *dim, tenon_tensor *out)
{
    *out = *t;
    if (t->rank > rank) return false;
    out->rank = rank;
    for (int i = 0; i < rank; i++) {
        const int j = i - (rank - t->rank);
        const int64_t own = j < 0 ? 1 : t->dim[j];
        if (own != dim[i] && own != 1) return false;
        out->dim[i] = dim[i];
        out->stride[i] = own == 1 ? 0 : t->stride[j];
    }
    return true;
}

double *tenon_dense_new_f64(tenon_heap *h, int64_t count)
{
    size_t bytes;
    if (count < 0 || !tenon_mul_size((size_t)count, sizeof(double), &bytes)) {
        (void)TENON_FAIL(h->cx, TENON_NOMEM, "no array of %lld numbers", (long long)count);
        return NULL;
    }
    return tenon_heap_alloc(h, bytes ? bytes : 1);
}

/* Offsets of the rows along the last axis, in row-major order. */
typedef struct rows {
    int64_t length, stride, count, index[TENON_MAX_RANK], offset;
    const tenon_tensor *t;
} rows;

static void rows_begin(rows *r, const tenon_tensor *t)
{
    *r = (rows){.length = 1, .stride = 1, .count = 1, .t = t};
    if (t->rank) r->length = t->dim[t->rank - 1], r->stride = t->stride[t->rank - 1];
    for (int i = 0; i + 1 < t->rank; i++) r->count *= t->dim[i];
    if (r->length == 0) r->count = 0;
}

static void rows_next(rows *r)
{
    for (int i = r->t->rank - 2; i >= 0; i--) {
        r->offset += r->t->stride[i];
        if (++r->index[i] < r->t->dim[i]) return;
        r->offset -= r->t->dim[i] * r->t->stride[i];
        r->index[i] = 0;
    }
}

const double *tenon_dense_f64(tenon_heap *h, const tenon_tensor *t)
{
    if (t->dtype == TENON_F64 && tenon_tensor_is_dense(t)) return t->data;
    double *out = tenon_dense_new_f64(h, tenon_tensor_count(t)), *at = out;
    if (!out) return NULL;
    rows r;
    rows_begin(&r, t);
    for (int64_t k = 0; k < r.count; k++, at += r.length, rows_next(&r)) {
        if (t->dtype == TENON_F32) {
            const float *p = (const float *)t->data + r.offset;
            for (int64_t i = 0; i < r.length; i++) at[i] = p[i * r.stride];
        } else {
            for (int64_t i = 0; i < r.length; i++) at[i] = tenon_tensor_get_f64(t, r.offset + i * r.stride);
        }
    }
    return out;
}

const int64_t *tenon_dense_i64(tenon_heap *h, const tenon_tensor *t)
{
    if (t->dtype == TENON_I64 && tenon_tensor_is_dense(t)) return t->data;
    int64_t *out = (int64_t *)(void *)tenon_dense_new_f64(h, tenon_tensor_count(t)), *at = out;
    if (!out) return NULL;
    rows r;
    rows_begin(&r, t);
    for (int64_t k = 0; k < r.count; k++, at += r.length, rows_next(&r))
        for (int64_t i = 0; i < r.length; i++) at[i] = tenon_tensor_get_i64(t, r.offset + i * r.stride);
    return out;
}

void tenon_dense_store_f64(const tenon_tensor *t, const double *v)
{
    rows r;
    rows_begin(&r, t);
    for (int64_t k = 0; k < r.count; k++, v += r.length, rows_next(&r)) {
        if (t->dtype == TENON_F32) {
            float *p = (float *)t->data + r.offset;
            for (int64_t i = 0; i < r.length; i++) p[i * r.stride] = (float)v[i];
        } else {
            for (int64_t i = 0; i < r.length; i++) tenon_tensor_set_f64(t, r.offset + i * r.stride, v[i]);
        }
    }
}

void tenon_dense_store_i64(const tenon_tensor *t, const int64_t *v)
{
    rows r;
    rows_begin(&r, t);
    for (int64_t k = 0; k < r.count; k++, v += r.length, rows_next(&r))
        for (int64_t i = 0; i < r.length; i++) tenon_tensor_set_i64(t, r.offset + i * r.stride, v[i]);
}

enum { PANEL = 8 };

/* PANEL columns of one or two rows of the product; panel is [k][PANEL]. Two rows hide the latency of the additions. */
static void gemm_rows1(int64_t k, const double *a, const double *panel, double *out)
{
    double s[PANEL] = {0};
    for (int64_t i = 0; i < k; i++)
        for (int j = 0; j < PANEL; j++) s[j] += a[i] * panel[i * PANEL + j];
    memcpy(out, s, sizeof s);
}

static void gemm_rows2(int64_t k, const double *a0, const double *a1, const double *panel, double *out0, double *out1)
{
    double s[PANEL] = {0}, t[PANEL] = {0};
    for (int64_t i = 0; i < k; i++, panel += PANEL) {
        const double x = a0[i], y = a1[i];
        for (int j = 0; j < PANEL; j++) s[j] += x * panel[j];
        for (int j = 0; j < PANEL; j++) t[j] += y * panel[j];
    }
    memcpy(out0, s, sizeof s);
    memcpy(out1, t, sizeof t);
}

tenon_status tenon_dense_gemm(tenon_cx *cx, int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c)
{
    double *panel = tenon_alloc(cx, (size_t)k * PANEL * sizeof(double));
    if (!panel) return TENON_NOMEM;
    for (int64_t col = 0; col < n; col += PANEL) {
        const int64_t width = TENON_MIN(n - col, PANEL);
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < PANEL; j++) panel[i * PANEL + j] = j < width ? b[i * n + col + j] : 0;
        double out[2][PANEL];
        for (int64_t row = 0; row < m; row += 2) {
            const bool two = row + 1 < m;
            if (two) gemm_rows2(k, a + row * k, a + (row + 1) * k, panel, out[0], out[1]);
            else gemm_rows1(k, a + row * k, panel, out[0]);
            for (int r = 0; r <= two; r++) memcpy(c + (row + r) * n + col, out[r], (size_t)width * sizeof(double));
        }
    }
    tenon_free(cx, panel);
    return TENON_OK;
}

tenon_status tenon_dense_run(tenon_cx *cx, tenon_eval_call *call, tenon_dense_body body)
{
    for (int i = 0; i < call->dst_count; i++)
        if (call->dst[i].dtype != TENON_DTYPE_NONE && !call->dst_ready)
            return TENON_FAIL(cx, TENON_INTERNAL, "reference called without result shapes");
    tenon_heap heap;
    tenon_heap_init(&heap, cx);
    const tenon_status status = body(cx, call, &heap);
    tenon_heap_free(&heap);
    return status;
}

tenon_status tenon_dense_scalar(tenon_cx *cx, const tenon_eval_call *call, int i, double *out)
{
    const tenon_tensor *t = &call->src[i];
    const int64_t count = tenon_tensor_count(t);
    if (count != 1)
        return TENON_FAIL(cx, TENON_INVALID, "source %d has %lld elements, must have 1", i,
                          (long long)count);
    *out = tenon_tensor_get_f64(t, 0);
    return TENON_OK;
}
