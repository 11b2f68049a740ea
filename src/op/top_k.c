/* SPDX-License-Identifier: Apache-2.0 */
/* top_k: the k largest (or smallest) elements along an axis and their indices (i64). Equal elements: the lower index first. NaN
   counts as the largest value. k is an attribute, or source 1 when not constant. Unsorted results come out sorted too: that is
   allowed. */
#include "op/dense.h"
#include "op/rule.h"

#include <math.h>
#include <stdlib.h>

static const tenon_attr_def attrs[] = {{.name = "axis", .kind = TENON_ATTR_INT, .i = -1},
                                       {.name = "largest", .kind = TENON_ATTR_INT, .i = 1},
                                       {.name = "sorted", .kind = TENON_ATTR_INT, .i = 1},
                                       {.name = "k", .kind = TENON_ATTR_INT, .i = -1},
                                       {0}};
static const char *const src_attr[] = {NULL, "k"};

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int axis;
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 1, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_number(cx, n, 0, "x"));
    const tenon_type *x = tenon_rule_type(n, 0);
    TENON_TRY(tenon_infer_axis(cx, "axis", tenon_node_int(n, "axis"), x->rank, &axis));
    const tenon_dim *dim[TENON_MAX_RANK];
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
    const tenon_attr *k = tenon_node_attr(n, "k");
    if (k->set) {
        dim[axis] = tenon_dim_const(g->dims, k->i);
    } else if (tenon_rule_src(n, 1)) {
        size_t count = 0;
        const tenon_dim *const *sym = tenon_infer_contents(g, n->src[1], &count);
        if (sym && count != 1) return TENON_FAIL(cx, TENON_INVALID, "k has %zu elements", count);
        dim[axis] = sym ? sym[0] : tenon_dim_symbol_fresh(g->dims, "topk", 0, x->dim[axis]->hi);
    } else {
        return TENON_FAIL(cx, TENON_INVALID, "k is missing");
    }
    if (!dim[axis]) return TENON_NOMEM;
    tenon_rule_text ta, tb;
    if (dim[axis]->hi < 0 || dim[axis]->lo > x->dim[axis]->hi)
        return TENON_FAIL(cx, TENON_INVALID, "k is %s, axis %d of x has %s elements", tenon_rule_dim(g, dim[axis], &ta),
                          axis, tenon_rule_dim(g, x->dim[axis], &tb));
    if (tenon_rule_wants(n, 0)) tenon_infer_set(n, 0, x->dtype, x->rank, dim);
    if (tenon_rule_wants(n, 1)) tenon_infer_set(n, 1, TENON_I64, x->rank, dim);
    return TENON_OK;
}

typedef struct item {
    double f;
    int64_t i, at;
} item; /* f for floats, i for integers (f is then 0) */

static int order(const item *a, const item *b)
{
    const bool nan_a = isnan(a->f), nan_b = isnan(b->f);
    if (nan_a != nan_b) return nan_a ? 1 : -1;
    if (!nan_a && a->f != b->f) return a->f < b->f ? -1 : 1;
    return a->i == b->i ? 0 : a->i < b->i ? -1 : 1;
}

static int descending(const void *pa, const void *pb)
{
    const item *a = pa, *b = pb;
    const int c = order(b, a);
    return c ? c : a->at < b->at ? -1 : 1;
}

static int ascending(const void *pa, const void *pb)
{
    const item *a = pa, *b = pb;
    const int c = order(a, b);
    return c ? c : a->at < b->at ? -1 : 1;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *x = &call->src[0];
    const int which = tenon_call_wants(call, 0) ? 0 : 1;
    const bool largest = tenon_node_int(call->node, "largest") != 0, is_float = tenon_is_float(x->dtype);
    int axis, perm[TENON_MAX_RANK];
    TENON_TRY(tenon_infer_axis(cx, "axis", tenon_node_int(call->node, "axis"), x->rank, &axis));
    tenon_dense_axis_last(x->rank, axis, perm);
    const tenon_tensor from = tenon_dense_permuted(x, perm);
    const int64_t length = x->dim[axis], k = call->dst[which].dim[axis], count = tenon_tensor_count(&call->dst[which]);
    if (k > length)
        return TENON_FAIL(cx, TENON_INVALID, "k is %lld, the axis has %lld elements", (long long)k, (long long)length);
    if (count == 0) return TENON_OK;
    const double *f = is_float ? tenon_dense_f64(heap, &from) : NULL;
    const int64_t *v = is_float ? NULL : tenon_dense_i64(heap, &from);
    item *row = tenon_heap_alloc(heap, (size_t)(length + 1) * sizeof *row);
    double *value = tenon_dense_new_f64(heap, count);
    int64_t *whole = tenon_heap_alloc(heap, (size_t)count * sizeof *whole),
            *index = tenon_heap_alloc(heap, (size_t)count * sizeof *index);
    if ((!f && !v) || !row || !value || !whole || !index) return TENON_NOMEM;
    for (int64_t r = 0; r < count / k; r++) {
        for (int64_t i = 0; i < length; i++)
            row[i] = (item){.f = f ? f[r * length + i] : 0, .i = v ? v[r * length + i] : 0, .at = i};
        qsort(row, (size_t)length, sizeof *row, largest ? descending : ascending);
        for (int64_t i = 0; i < k; i++) value[r * k + i] = row[i].f, whole[r * k + i] = row[i].i, index[r * k + i] = row[i].at;
    }
    if (tenon_call_wants(call, 0)) {
        const tenon_tensor to = tenon_dense_permuted(&call->dst[0], perm);
        if (is_float) tenon_dense_store_f64(&to, value);
        else tenon_dense_store_i64(&to, whole);
    }
    if (tenon_call_wants(call, 1)) {
        const tenon_tensor to = tenon_dense_permuted(&call->dst[1], perm);
        tenon_dense_store_i64(&to, index);
    }
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)n, (void)dst;
    return 8.0 * (double)tenon_tensor_count(&src[0]);
}

const tenon_op tenon_op_top_k = {
    .name = "top_k", .attr = attrs, .onnx = "TopK", .onnx_since = 1, .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 2,
    .dst_min = 1, .dst_max = 2, .src_attr = src_attr, .params = 1u << 1, .infer = infer, .ref = ref, .flops = flops,
};
