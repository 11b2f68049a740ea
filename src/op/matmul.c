/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix product with numpy's rules: (..., m, k) x (..., k, n), leading axes broadcast, a vector gets (and then loses) an axis of
   1. There is no transpose attribute: transposed operands are views. Floats sum in double, integers wrap. */
#include "op/dense.h"
#include "op/rule.h"

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    TENON_TRY(tenon_rule_rank(cx, n, 0, "a", 1, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_rank(cx, n, 1, "b", 1, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_number(cx, n, 0, "a"));
    TENON_TRY(tenon_rule_same_type(cx, n, 0, 1));
    const tenon_type *a = tenon_rule_type(n, 0), *b = tenon_rule_type(n, 1);
    const tenon_dim *depth = b->dim[b->rank == 1 ? 0 : b->rank - 2];
    TENON_TRY(tenon_rule_equal(cx, g, "columns of a", a->dim[a->rank - 1], "rows of b", depth));
    tenon_type lead_a = *a, lead_b = *b, out;
    lead_a.rank = TENON_MAX(a->rank - 2, 0);
    lead_b.rank = TENON_MAX(b->rank - 2, 0);
    TENON_TRY(tenon_infer_broadcast(cx, g, &lead_a, &lead_b, &out));
    if (a->rank > 1) out.dim[out.rank++] = a->dim[a->rank - 2];
    if (b->rank > 1) out.dim[out.rank++] = b->dim[b->rank - 1];
    tenon_infer_set(n, 0, a->dtype, out.rank, out.dim);
    return TENON_OK;
}

/* The operand as (lead..., rows, columns) with the result's leading dims; a vector becomes a row (a) or a column (b). */
static bool as_matrices(const tenon_tensor *t, bool column, int lead, const int64_t *lead_dim, tenon_tensor *out)
{
    tenon_tensor m = *t;
    if (t->rank == 1) {
        m.rank = 2;
        m.dim[0] = column ? t->dim[0] : 1, m.dim[1] = column ? 1 : t->dim[0];
        m.stride[0] = column ? t->stride[0] : 0, m.stride[1] = column ? 0 : t->stride[0];
    }
    int64_t dim[TENON_MAX_RANK + 2];
    for (int i = 0; i < lead; i++) dim[i] = lead_dim[i];
    dim[lead] = m.dim[m.rank - 2], dim[lead + 1] = m.dim[m.rank - 1];
    return tenon_dense_broadcast(&m, lead + 2, dim, out);
}

/* Matrix `index` of the leading axes. */
static tenon_tensor matrix_of(const tenon_tensor *t, int64_t index)
{
    tenon_tensor m = {.dtype = t->dtype,
                      .rank = 2,
                      .dim = {t->dim[t->rank - 2], t->dim[t->rank - 1]},
                      .stride = {t->stride[t->rank - 2], t->stride[t->rank - 1]}};
    int64_t offset = 0;
    for (int i = t->rank - 3; i >= 0; i--) {
        offset += index % t->dim[i] * t->stride[i];
        index /= t->dim[i];
    }
    m.data = (char *)t->data + offset * (tenon_dtype_get(t->dtype)->bits / 8);
    return m;
}

static tenon_status product(tenon_cx *cx, tenon_heap *heap, const tenon_tensor *a, const tenon_tensor *b, const tenon_tensor *y)
{
    const int64_t m = a->dim[0], k = a->dim[1], n = b->dim[1];
    if (tenon_is_float(y->dtype)) {
        const double *pa = tenon_dense_f64(heap, a), *pb = tenon_dense_f64(heap, b);
        double *c = tenon_dense_new_f64(heap, m * n);
        if (!pa || !pb || !c) return TENON_NOMEM;
        TENON_TRY(tenon_dense_gemm(cx, m, n, k, pa, pb, c));
        tenon_dense_store_f64(y, c);
        return TENON_OK;
    }
    const int64_t *pa = tenon_dense_i64(heap, a), *pb = tenon_dense_i64(heap, b);
    int64_t *c = tenon_heap_alloc(heap, (size_t)(m * n + 1) * sizeof *c);
    if (!pa || !pb || !c) return TENON_NOMEM;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            uint64_t sum = 0;
            for (int64_t l = 0; l < k; l++) sum += (uint64_t)pa[i * k + l] * (uint64_t)pb[l * n + j];
            c[i * n + j] = (int64_t)sum;
        }
    tenon_dense_store_i64(y, c);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *a = &call->src[0], *b = &call->src[1], *y = &call->dst[0];
    if (!call->dst_ready) return TENON_FAIL(cx, TENON_INTERNAL, "reference called without result shapes");
    /* the result with its lost axes back */
    const int lead = y->rank - (a->rank > 1) - (b->rank > 1);
    if (lead + 2 > TENON_MAX_RANK) return TENON_FAIL(cx, TENON_UNSUPPORTED, "more than %d axes", TENON_MAX_RANK);
    tenon_tensor out = *y, ma, mb;
    out.rank = lead + 2;
    out.dim[lead] = a->rank > 1 ? y->dim[lead] : 1, out.stride[lead] = a->rank > 1 ? y->stride[lead] : 0;
    out.dim[lead + 1] = b->rank > 1 ? y->dim[y->rank - 1] : 1, out.stride[lead + 1] = b->rank > 1 ? y->stride[y->rank - 1] : 0;
    if (!as_matrices(a, false, lead, y->dim, &ma) || !as_matrices(b, true, lead, y->dim, &mb) || ma.dim[lead + 1] != mb.dim[lead])
        return TENON_FAIL(cx, TENON_INVALID, "operands do not fit the result");
    int64_t count = 1;
    for (int i = 0; i < lead; i++) count *= y->dim[i];
    for (int64_t i = 0; i < count; i++) {
        const tenon_tensor ai = matrix_of(&ma, i), bi = matrix_of(&mb, i), yi = matrix_of(&out, i);
        tenon_heap heap;
        tenon_heap_init(&heap, cx);
        const tenon_status status = product(cx, &heap, &ai, &bi, &yi);
        tenon_heap_free(&heap);
        TENON_TRY(status);
    }
    return TENON_OK;
}

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)n;
    return 2.0 * (double)tenon_tensor_count(dst) * (double)src[0].dim[src[0].rank - 1];
}

const tenon_op tenon_op_matmul = {
    .name = "matmul", .onnx = "MatMul", .onnx_since = 1, .flags = TENON_OP_ANCHOR, .src_min = 2, .src_max = 2, .dst_min = 1,
    .dst_max = 1, .infer = infer, .ref = ref, .flops = flops, .tol = 2e-5,
};
