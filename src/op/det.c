/* SPDX-License-Identifier: Apache-2.0 */
/* det: determinants of the square matrices in the last two axes, by elimination with row exchanges. */
#include "op/dense.h"
#include "op/rule.h"

#include <math.h>

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 2, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_float(cx, n, 0, "x"));
    const tenon_type *x = tenon_rule_type(n, 0);
    TENON_TRY(tenon_rule_equal(cx, g, "rows of x", x->dim[x->rank - 2], "columns of x", x->dim[x->rank - 1]));
    tenon_infer_set(n, 0, x->dtype, x->rank - 2, x->dim);
    return TENON_OK;
}

static double determinant(int64_t n, double *a)
{
    double det = 1;
    for (int64_t c = 0; c < n; c++) {
        int64_t pivot = c;
        for (int64_t r = c + 1; r < n; r++)
            if (fabs(a[r * n + c]) > fabs(a[pivot * n + c])) pivot = r;
        if (a[pivot * n + c] == 0) return 0;
        if (pivot != c) det = -det;
        for (int64_t k = 0; k < n && pivot != c; k++) {
            const double t = a[pivot * n + k];
            a[pivot * n + k] = a[c * n + k], a[c * n + k] = t;
        }
        det *= a[c * n + c];
        for (int64_t r = c + 1; r < n; r++) {
            const double factor = a[r * n + c] / a[c * n + c];
            for (int64_t k = c; k < n; k++) a[r * n + k] -= factor * a[c * n + k];
        }
    }
    return det;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    (void)cx;
    const tenon_tensor *x = &call->src[0];
    const int64_t n = x->dim[x->rank - 1], count = tenon_tensor_count(&call->dst[0]);
    const double *px = tenon_dense_f64(heap, x);
    double *work = tenon_dense_new_f64(heap, n * n), *out = tenon_dense_new_f64(heap, count);
    if (!px || !work || !out) return TENON_NOMEM;
    for (int64_t i = 0; i < count; i++) {
        for (int64_t k = 0; k < n * n; k++) work[k] = px[i * n * n + k];
        out[i] = determinant(n, work);
    }
    tenon_dense_store_f64(&call->dst[0], out);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

const tenon_op tenon_op_det = {
    .name = "det", .onnx = "Det", .onnx_since = 11, .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 1, .dst_min = 1,
    .dst_max = 1, .infer = infer, .ref = ref, .tol = 1e-4,
};
