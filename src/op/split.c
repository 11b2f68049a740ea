/* SPDX-License-Identifier: Apache-2.0 */
/* Split: a tensor in pieces along an axis, all of them views. The sizes come from the attribute `split`, from a source that was
   no constant, or are equal: with num_outputs the last piece may be smaller, without it the axis divides. */
#include "op/move.h"

tenon_status tenon_split_sizes(tenon_cx *cx, tenon_graph *g, const tenon_node *n, int axis, const tenon_dim **size)
{
    const tenon_attr *a = tenon_node_attr(n, "split"), *num = tenon_node_attr(n, "num_outputs");
    const tenon_dim *d = n->src[0]->type.dim[axis];
    tenon_dim_pool *p = g->dims;
    if (a->set || tenon_move_present(n, 1)) {
        size_t count = a->count;
        const tenon_dim *const *sym = a->set ? NULL : tenon_infer_contents(g, n->src[1], &count);
        const bool known = a->set || sym != NULL;
        if (known && count != (size_t)n->dst_count)
            return TENON_FAIL(cx, TENON_INVALID, "split: %zu sizes for %d results", count, n->dst_count);
        int64_t total = 0, v;
        for (int i = 0; i < n->dst_count; i++) {
            if (!known) size[i] = tenon_move_fresh(g, n, i, axis, "split", 0, d->hi);
            else size[i] = a->set ? tenon_dim_const(p, a->ints[i]) : sym[i];
            if (size[i] == NULL) size[i] = tenon_move_fresh(g, n, i, axis, "split", 0, d->hi);
            if (size[i] == NULL) return TENON_NOMEM;
            if (size[i]->hi < 0) return TENON_FAIL(cx, TENON_INVALID, "split: piece %d has a negative size", i);
            total = total >= 0 && tenon_move_const(size[i], &v) ? total + v : -1;
        }
        if (total >= 0 && (total < d->lo || total > d->hi))
            return TENON_FAIL(cx, TENON_INVALID, "split: the pieces sum to %lld, which axis %d is not", (long long)total, axis);
        return TENON_OK;
    }
    const int count = n->dst_count;
    if (num->set && num->i != count)
        return TENON_FAIL(cx, TENON_INVALID, "split: num_outputs %lld, %d results", (long long)num->i, count);
    const tenon_dim *parts = tenon_dim_const(p, count);
    if (!num->set && tenon_dim_is_const(d) && d->value % count)
        return TENON_FAIL(cx, TENON_INVALID, "split: %d equal pieces of size %lld", count, (long long)d->value);
    const tenon_dim *each = num->set ? tenon_dim_ceildiv(p, d, parts) : tenon_dim_floordiv(p, d, parts);
    const tenon_dim *rest = tenon_dim_sub(p, d, tenon_dim_mul(p, each, tenon_dim_const(p, count - 1)));
    for (int i = 0; i < count; i++) size[i] = num->set && i == count - 1 ? rest : each;
    if (rest != NULL && rest->hi < 0)
        return TENON_FAIL(cx, TENON_INVALID, "split: axis %d is too short for %d pieces", axis, count);
    return TENON_OK;
}

static tenon_status split_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    if (tenon_move_unranked(n)) return TENON_OK;
    int axis;
    TENON_TRY(tenon_infer_axis(cx, "split", tenon_node_int(n, "axis"), x->rank, &axis));
    const tenon_dim **size = tenon_arena_array(g->arena, (size_t)n->dst_count, sizeof(*size));
    if (size == NULL) return TENON_NOMEM;
    TENON_TRY(tenon_split_sizes(cx, g, n, axis, size));
    const tenon_dim *dim[TENON_MAX_RANK];
    for (int k = 0; k < x->rank; k++) dim[k] = x->dim[k];
    for (int i = 0; i < n->dst_count; i++) {
        dim[axis] = size[i];
        if (n->dst[i] != NULL) tenon_move_set(g, n, i, x->dtype, x->rank, dim);
    }
    return tenon_move_values(cx, g, n, 1);
}

static tenon_status split_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    const tenon_attr *a = tenon_node_attr(call->node, "split");
    const bool ceiling = tenon_node_attr(call->node, "num_outputs")->set;
    int axis;
    TENON_TRY(tenon_infer_axis(cx, "split", tenon_node_int(call->node, "axis"), x->rank, &axis));
    const int64_t whole = x->dim[axis], parts = call->dst_count;
    const tenon_tensor *sizes = !a->set && tenon_move_has(call, 1) ? &call->src[1] : NULL;
    if ((a->set && a->count != (size_t)parts) || (sizes != NULL && tenon_tensor_count(sizes) != parts))
        return TENON_FAIL(cx, TENON_INVALID, "split: as many sizes as results are needed");
    int64_t at = 0, dim[TENON_MAX_RANK];
    for (int k = 0; k < x->rank; k++) dim[k] = x->dim[k];
    for (int i = 0; i < parts; i++) {
        int64_t size = ceiling ? (whole + parts - 1) / parts : whole / parts;
        if (a->set) size = a->ints[i];
        else if (sizes != NULL) size = tenon_tensor_get_i64(sizes, tenon_tensor_offset(sizes, i));
        else if (ceiling && i == parts - 1) size = whole - at;
        if (size < 0 || size > whole - at)
            return TENON_FAIL(cx, TENON_INVALID, "split: piece %d of size %lld of %lld", i, (long long)size, (long long)whole);
        dim[axis] = size;
        TENON_TRY(tenon_move_result(cx, call, i, x->dtype, x->rank, dim));
        if (tenon_move_wanted(call, i))
            tenon_move_box(&call->dst[i], 0, call->dst[i].stride, x, at * x->stride[axis], x->stride, x->rank, dim);
        at += size;
    }
    if (at != whole)
        return TENON_FAIL(cx, TENON_INVALID, "split: the pieces sum to %lld of %lld", (long long)at, (long long)whole);
    return TENON_OK;
}

static const tenon_attr_def split_attrs[] = {
    {.name = "axis", .kind = TENON_ATTR_INT}, {.name = "split", .kind = TENON_ATTR_INTS},
        {.name = "num_outputs", .kind = TENON_ATTR_INT}, {0}};
static const char *const split_src[] = {NULL, "split"};

const tenon_op tenon_op_split = {
    .name = "split", .attr = split_attrs, .onnx = "Split", .onnx_since = 2, .flags = TENON_OP_VIEW | TENON_OP_SHAPE_VALUE,
    .src_min = 1, .src_max = 2, .dst_min = 1, .dst_max = TENON_VARIADIC, .src_attr = split_src,
    .infer = split_infer, .ref = split_ref, .flops = tenon_move_flops};
