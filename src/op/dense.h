/* SPDX-License-Identifier: Apache-2.0 */
/* Dense double (or int64) copies of tensors of any type and strides, on which the references of the anchors compute: one clear
   loop serves every type, and sums are in double. A tensor that already is such an array is borrowed, not copied. */
#ifndef TENON_OP_DENSE_H
#define TENON_OP_DENSE_H

#include "op/eval.h"

/* The same bytes with the axes in another order: axis i of the result is axis perm[i] of t. */
tenon_tensor tenon_dense_permuted(const tenon_tensor *t, const int *perm);
/* perm that moves `axis` to the end. */
void tenon_dense_axis_last(int rank, int axis, int *perm);
/* t seen with the dims of `to` (right-aligned broadcast: strides 0); false when it does not fit. */
bool tenon_dense_broadcast(const tenon_tensor *t, int rank, const int64_t *dim, tenon_tensor *out);

/* Row-major values of t; NULL with TENON_NOMEM in the heap's cx. */
const double *tenon_dense_f64(tenon_heap *h, const tenon_tensor *t);
const int64_t *tenon_dense_i64(tenon_heap *h, const tenon_tensor *t);
double *tenon_dense_new_f64(tenon_heap *h, int64_t count);
/* Row-major values into t, rounded to its type. */
void tenon_dense_store_f64(const tenon_tensor *t, const double *v);
void tenon_dense_store_i64(const tenon_tensor *t, const int64_t *v);

/* c[m][n] = a[m][k] b[k][n], all row-major double; sums in order of k. */
tenon_status tenon_dense_gemm(tenon_cx *cx, int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c);

/* Runs `body` with a heap for temporaries that is freed afterwards. The results must be ready (the evaluator infers their
   shapes). */
typedef tenon_status (*tenon_dense_body)(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap);
tenon_status tenon_dense_run(tenon_cx *cx, tenon_eval_call *call, tenon_dense_body body);
/* The only element of source i, which must have exactly one. */
tenon_status tenon_dense_scalar(tenon_cx *cx, const tenon_eval_call *call, int i, double *out);

static inline bool tenon_call_has(const tenon_eval_call *call, int i)
{
    return i < call->src_count && call->src[i].dtype != TENON_DTYPE_NONE;
}
static inline bool tenon_call_wants(const tenon_eval_call *call, int i)
{
    return i < call->dst_count && call->dst[i].dtype != TENON_DTYPE_NONE;
}

#endif
