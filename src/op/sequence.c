/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences: lists of tensors in the evaluator's heap. A tensor that goes in is copied, one that comes out too; items that go
   from
   one sequence to the next are shared, since nobody writes to them. */
#include "base/checked.h"
#include "op/widen.h"

/* ---- types ---- */
static tenon_status item_type(tenon_cx *cx, const tenon_node *n, const tenon_type **out)
{
    static const tenon_type unknown = {.rank = -1};
    const tenon_type *s = &n->src[0]->type;
    *out = &unknown;
    if (s->dtype != TENON_SEQUENCE)
        return TENON_FAIL(cx, TENON_INVALID, "%s: source 0 is no sequence", tenon_op_as_head(n->op)->name);
    if (s->element != NULL) *out = s->element;
    return TENON_OK;
}

/* The item type that inferring the node gave last time, or NULL. */
static const tenon_type *item_before(const tenon_node *n)
{
    return n->dst[0] != NULL && n->dst[0]->type.dtype == TENON_SEQUENCE ? n->dst[0]->type.element : NULL;
}

static tenon_status empty_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)cx;
    tenon_type item;
    tenon_widen_nothing(g, (tenon_dtype)tenon_node_int(n, "dtype"), &item);
    return tenon_widen_container(g, n, 0, TENON_SEQUENCE, &item);
}

static tenon_status construct_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    tenon_type item = n->src[0]->type;
    const tenon_type *before = item_before(n);
    for (int i = 1; i < n->src_count; i++) {
        const tenon_type sofar = item;
        TENON_TRY(tenon_widen_type(cx, g, &sofar, &n->src[i]->type, before, &item));
    }
    return tenon_widen_container(g, n, 0, TENON_SEQUENCE, &item);
}

static tenon_status insert_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *item, *before = item_before(n);
    tenon_type joined;
    TENON_TRY(item_type(cx, n, &item));
    TENON_TRY(tenon_widen_item(cx, g, item, &n->src[1]->type, &joined));
    /* made again, a size that is "any" is the same as last time */
    if (before != NULL && before->rank == joined.rank)
        for (int k = 0; k < joined.rank; k++)
            if (joined.dim[k] != item->dim[k] && joined.dim[k] != n->src[1]->type.dim[k])
                joined.dim[k] = tenon_widen_size(g, before, k, "item");
    return tenon_widen_container(g, n, 0, TENON_SEQUENCE, &joined);
}

static tenon_status erase_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *item;
    TENON_TRY(item_type(cx, n, &item));
    const tenon_type copy = *item;
    return tenon_widen_container(g, n, 0, TENON_SEQUENCE, &copy);
}

static tenon_status at_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *item;
    TENON_TRY(item_type(cx, n, &item));
    tenon_widen_take(g, n, 0, item);
    return TENON_OK;
}

static tenon_status length_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    (void)g;
    const tenon_type *item;
    TENON_TRY(item_type(cx, n, &item));
    tenon_infer_set(n, 0, TENON_I64, 0, NULL);
    return TENON_OK;
}

static tenon_status split_to_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    tenon_type item = {.dtype = x->dtype, .rank = -1};
    const tenon_type *before = item_before(n);
    if (x->rank >= 0) {
        int axis;
        TENON_TRY(tenon_infer_axis(cx, "split_to_sequence", tenon_node_int(n, "axis"), x->rank, &axis));
        const bool keep = tenon_move_present(n, 1) || tenon_node_int(n, "keepdims") != 0;
        item.rank = 0;
        for (int k = 0; k < x->rank; k++) {
            if (k != axis) item.dim[item.rank++] = x->dim[k];
            else if (keep && !tenon_move_present(n, 1)) item.dim[item.rank++] = tenon_dim_const(g->dims, 1);
            else if (keep) {
                item.dim[item.rank] = tenon_widen_size(g, before, item.rank, "piece");
                item.rank++;
            }
        }
    }
    return tenon_widen_container(g, n, 0, TENON_SEQUENCE, &item);
}

static tenon_status concat_from_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *item;
    TENON_TRY(item_type(cx, n, &item));
    const bool new_axis = tenon_node_int(n, "new_axis") != 0;
    const tenon_type before = n->dst[0] != NULL ? n->dst[0]->type : (tenon_type){.rank = -1};
    const tenon_dim *dim[TENON_MAX_RANK];
    if (item->rank < 0) {
        tenon_infer_set(n, 0, item->dtype, -1, NULL);
        return TENON_OK;
    }
    const int rank = item->rank + new_axis;
    int axis;
    if (rank > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "concat_from_sequence: rank %d, at most %d", rank, (int)TENON_MAX_RANK);
    TENON_TRY(tenon_infer_axis(cx, "concat_from_sequence", tenon_node_int(n, "axis"), rank, &axis));
    for (int k = 0; k < rank; k++) {
        const tenon_dim *d = k == axis ? NULL : item->dim[new_axis && k > axis ? k - 1 : k];
        dim[k] = d == NULL || tenon_dim_depends_on_data(g->dims, d) ? tenon_widen_size(g, &before, k, "joined") : d;
    }
    tenon_move_set(g, n, 0, item->dtype, rank, dim);
    return TENON_OK;
}

/* ---- references ---- */
static tenon_status make(tenon_cx *cx, tenon_eval_call *call, size_t count, tenon_sequence **out)
{
    *out = NULL;
    size_t bytes;
    tenon_sequence *s = tenon_heap_alloc(call->heap, sizeof(*s));
    if (s == NULL) return TENON_NOMEM;
    if (!tenon_mul_size(count + 1, sizeof(tenon_tensor), &bytes)) return TENON_FAIL(cx, TENON_NOMEM, "a sequence is too long");
    s->item = tenon_heap_alloc(call->heap, bytes);
    if (s->item == NULL) return TENON_NOMEM;
    s->count = count;
    *out = s;
    return TENON_OK;
}

static tenon_status give(tenon_cx *cx, tenon_eval_call *call, tenon_sequence *s)
{
    const tenon_tensor t = {.dtype = TENON_SEQUENCE, .data = s};
    return tenon_move_give(cx, call, 0, &t);
}

static tenon_status source(tenon_cx *cx, const tenon_eval_call *call, const tenon_sequence **out)
{
    *out = NULL;
    if (call->src[0].dtype != TENON_SEQUENCE || call->src[0].data == NULL)
        return TENON_FAIL(cx, TENON_INVALID, "%s: source 0 is no sequence", tenon_op_as_head(call->node->op)->name);
    *out = call->src[0].data;
    return TENON_OK;
}

/* A position, negative from the end; `end` is how many positions there are. */
static tenon_status position(tenon_cx *cx, const tenon_eval_call *call, int i, int64_t if_absent, size_t length, size_t end,
                             size_t *out)
{
    *out = 0;
    int64_t v = if_absent;
    if (tenon_move_has(call, i)) v = tenon_tensor_get_i64(&call->src[i], 0);
    const int64_t wrapped = v < 0 ? v + (int64_t)length : v;
    if (wrapped < 0 || wrapped >= (int64_t)end)
        return TENON_FAIL(cx, TENON_INVALID, "%s: position %lld in a sequence of %zu", tenon_op_as_head(call->node->op)->name,
                          (long long)v, length);
    *out = (size_t)wrapped;
    return TENON_OK;
}

static tenon_status empty_ref(tenon_cx *cx, tenon_eval_call *call)
{
    tenon_sequence *s;
    TENON_TRY(make(cx, call, 0, &s));
    return give(cx, call, s);
}

static tenon_status construct_ref(tenon_cx *cx, tenon_eval_call *call)
{
    tenon_sequence *s;
    TENON_TRY(make(cx, call, (size_t)call->src_count, &s));
    for (int i = 0; i < call->src_count; i++) TENON_TRY(tenon_move_clone(cx, call->heap, &call->src[i], &s->item[i]));
    return give(cx, call, s);
}

static tenon_status insert_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_sequence *from;
    tenon_sequence *s;
    size_t at;
    TENON_TRY(source(cx, call, &from));
    TENON_TRY(position(cx, call, 2, (int64_t)from->count, from->count, from->count + 1, &at));
    TENON_TRY(make(cx, call, from->count + 1, &s));
    for (size_t i = 0; i < from->count; i++) s->item[i < at ? i : i + 1] = from->item[i];
    TENON_TRY(tenon_move_clone(cx, call->heap, &call->src[1], &s->item[at]));
    return give(cx, call, s);
}

static tenon_status erase_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_sequence *from;
    tenon_sequence *s;
    size_t at;
    TENON_TRY(source(cx, call, &from));
    TENON_TRY(position(cx, call, 1, -1, from->count, from->count, &at));
    TENON_TRY(make(cx, call, from->count - 1, &s));
    for (size_t i = 0; i < s->count; i++) s->item[i] = from->item[i < at ? i : i + 1];
    return give(cx, call, s);
}

static tenon_status at_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_sequence *from;
    tenon_tensor copy;
    size_t at;
    TENON_TRY(source(cx, call, &from));
    TENON_TRY(position(cx, call, 1, 0, from->count, from->count, &at));
    TENON_TRY(tenon_move_clone(cx, call->heap, &from->item[at], &copy));
    return tenon_move_give(cx, call, 0, &copy);
}

static tenon_status length_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_sequence *from;
    TENON_TRY(source(cx, call, &from));
    TENON_TRY(tenon_move_result(cx, call, 0, TENON_I64, 0, NULL));
    tenon_tensor_set_i64(&call->dst[0], 0, (int64_t)from->count);
    return TENON_OK;
}

static tenon_status split_to_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0], *sizes = tenon_move_has(call, 1) ? &call->src[1] : NULL;
    const bool vector = sizes != NULL && sizes->rank == 1, keep = sizes != NULL || tenon_node_int(call->node, "keepdims") != 0;
    int axis;
    TENON_TRY(tenon_infer_axis(cx, "split_to_sequence", tenon_node_int(call->node, "axis"), x->rank, &axis));
    const int64_t whole = x->dim[axis], each = sizes == NULL ? 1 : vector ? 0 : tenon_tensor_get_i64(sizes, 0);
    if (!vector && each < 1) return TENON_FAIL(cx, TENON_INVALID, "split_to_sequence: pieces of size %lld", (long long)each);
    const int64_t pieces = vector ? sizes->dim[0] : tenon_ceil_div(whole, each);
    tenon_sequence *s;
    TENON_TRY(make(cx, call, (size_t)pieces, &s));
    int64_t at = 0;
    for (int64_t i = 0; i < pieces; i++) {
        const int64_t size = vector ? tenon_tensor_get_i64(sizes, i * sizes->stride[0]) : TENON_MIN(each, whole - at);
        if (size < 0 || size > whole - at)
            return TENON_FAIL(cx, TENON_INVALID, "split_to_sequence: the sizes do not sum to %lld", (long long)whole);
        tenon_tensor piece = *x;
        const size_t bytes = tenon_move_element_bytes(x->dtype);
        if (bytes == 0) return TENON_FAIL(cx, TENON_UNSUPPORTED, "split_to_sequence: 4-bit elements");
        piece.data = (char *)x->data + at * x->stride[axis] * (int64_t)bytes;
        piece.dim[axis] = size;
        if (!keep) {
            piece.rank--;
            for (int k = axis; k < piece.rank; k++) piece.dim[k] = x->dim[k + 1], piece.stride[k] = x->stride[k + 1];
        }
        TENON_TRY(tenon_move_clone(cx, call->heap, &piece, &s->item[i]));
        at += size;
    }
    if (at != whole)
        return TENON_FAIL(cx, TENON_INVALID, "split_to_sequence: the sizes sum to %lld of %lld", (long long)at, (long long)whole);
    return give(cx, call, s);
}

static tenon_status concat_from_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_sequence *from;
    const bool new_axis = tenon_node_int(call->node, "new_axis") != 0;
    TENON_TRY(source(cx, call, &from));
    if (from->count == 0) return TENON_FAIL(cx, TENON_INVALID, "concat_from_sequence: the sequence is empty");
    const tenon_tensor *first = &from->item[0];
    const int rank = first->rank + new_axis;
    int axis;
    if (rank > TENON_MAX_RANK) return TENON_FAIL(cx, TENON_UNSUPPORTED, "concat_from_sequence: rank %d", rank);
    TENON_TRY(tenon_infer_axis(cx, "concat_from_sequence", tenon_node_int(call->node, "axis"), rank, &axis));
    int64_t dim[TENON_MAX_RANK], total = 0;
    for (size_t i = 0; i < from->count; i++) {
        const tenon_tensor *t = &from->item[i];
        bool fits = t->rank == first->rank && t->dtype == first->dtype;
        for (int k = 0; fits && k < t->rank; k++) fits = (!new_axis && k == axis) || t->dim[k] == first->dim[k];
        if (!fits) return TENON_FAIL(cx, TENON_INVALID, "concat_from_sequence: item %zu does not fit the first", i);
        total += new_axis ? 1 : t->dim[axis];
    }
    for (int k = 0; k < rank; k++) dim[k] = k == axis ? total : first->dim[new_axis && k > axis ? k - 1 : k];
    TENON_TRY(tenon_move_result(cx, call, 0, first->dtype, rank, dim));
    const tenon_tensor *y = &call->dst[0];
    int64_t stride[TENON_MAX_RANK], at = 0;
    for (int k = 0; k < first->rank; k++) stride[k] = y->stride[new_axis && k >= axis ? k + 1 : k];
    for (size_t i = 0; i < from->count; i++) {
        const tenon_tensor *t = &from->item[i];
        tenon_move_box(y, at * y->stride[axis], stride, t, 0, t->stride, t->rank, t->dim);
        at += new_axis ? 1 : t->dim[axis];
    }
    if (y->dtype != TENON_STRING || call->dst_ready) return TENON_OK;
    tenon_tensor copy; /* the text itself belongs to the items */
    TENON_TRY(tenon_move_clone(cx, call->heap, y, &copy));
    return tenon_move_give(cx, call, 0, &copy);
}

static const tenon_attr_def empty_attrs[] = {{.name = "dtype", .kind = TENON_ATTR_DTYPE, .i = TENON_F32}, {0}};
static const tenon_attr_def split_to_attrs[] = {{.name = "axis", .kind = TENON_ATTR_INT},
                                                {.name = "keepdims", .kind = TENON_ATTR_INT, .i = 1}, {0}};
static const tenon_attr_def concat_from_attrs[] = {
    {.name = "axis", .kind = TENON_ATTR_INT, .required = true}, {.name = "new_axis", .kind = TENON_ATTR_INT}, {0}};

const tenon_op tenon_op_sequence_empty = {
    .name = "sequence_empty", .attr = empty_attrs, .onnx = "SequenceEmpty", .onnx_since = 11,
    .src_min = 0, .src_max = 0, .dst_min = 1, .dst_max = 1, .infer = empty_infer, .ref = empty_ref, .flops = tenon_move_flops};
const tenon_op tenon_op_sequence_construct = {
    .name = "sequence_construct", .onnx = "SequenceConstruct", .onnx_since = 11,
    .src_min = 1, .src_max = TENON_VARIADIC, .dst_min = 1, .dst_max = 1, .infer = construct_infer, .ref = construct_ref,
    .flops = tenon_move_flops};
const tenon_op tenon_op_sequence_insert = {
    .name = "sequence_insert", .onnx = "SequenceInsert", .onnx_since = 11,
    .src_min = 2, .src_max = 3, .dst_min = 1, .dst_max = 1, .infer = insert_infer, .ref = insert_ref, .flops = tenon_move_flops};
const tenon_op tenon_op_sequence_erase = {
    .name = "sequence_erase", .onnx = "SequenceErase", .onnx_since = 11,
    .src_min = 1, .src_max = 2, .dst_min = 1, .dst_max = 1, .infer = erase_infer, .ref = erase_ref, .flops = tenon_move_flops};
const tenon_op tenon_op_sequence_at = {
    .name = "sequence_at", .onnx = "SequenceAt", .onnx_since = 11,
    .src_min = 2, .src_max = 2, .dst_min = 1, .dst_max = 1, .infer = at_infer, .ref = at_ref, .flops = tenon_move_flops};
const tenon_op tenon_op_sequence_length = {
    .name = "sequence_length", .onnx = "SequenceLength", .onnx_since = 11,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = length_infer, .ref = length_ref, .flops = tenon_move_flops};
const tenon_op tenon_op_split_to_sequence = {
    .name = "split_to_sequence", .attr = split_to_attrs, .onnx = "SplitToSequence", .onnx_since = 11,
    .src_min = 1, .src_max = 2, .dst_min = 1, .dst_max = 1, .infer = split_to_infer, .ref = split_to_ref,
    .flops = tenon_move_flops};
const tenon_op tenon_op_concat_from_sequence = {
    .name = "concat_from_sequence", .attr = concat_from_attrs, .onnx = "ConcatFromSequence", .onnx_since = 11,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = concat_from_infer, .ref = concat_from_ref,
    .flops = tenon_move_flops};
