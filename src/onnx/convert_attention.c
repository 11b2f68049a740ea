/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX's Attention becomes our attention over (batch, heads, length, size): 3-d inputs are split into heads, caches are
   concatenated in front. RotaryEmbedding becomes slices, products and a concat, unless op.def has an operator for it. */
#include "onnx/import.h"

#include <math.h>

/* (b, s, h * d) -> (b, h, s, d) */
static tenon_status split_heads(tenon_onnx_call *c, tenon_value *x, int64_t heads, tenon_value **out)
{
    static const int64_t perm[] = {0, 2, 1, 3};
    tenon_value *shape;
    *out = x;
    if (x->type.rank == 4) return TENON_OK;
    if (x->type.rank != 3) return TENON_FAIL(c->cx, TENON_INVALID, "an input of rank %d; 3 or 4 are right", x->type.rank);
    if (heads <= 0) return TENON_FAIL(c->cx, TENON_INVALID, "3-d inputs need q_num_heads and kv_num_heads");
    TENON_TRY(tenon_onnx_list(c, (int64_t[]){0, 0, heads, -1}, 4, &shape));
    TENON_TRY(tenon_onnx_reshaped(c, x, shape, out));
    return tenon_onnx_transposed(c, *out, perm, out);
}

/* (b, h, s, d) -> (b, s, h * d) */
static tenon_status merge_heads(tenon_onnx_call *c, tenon_value *x, tenon_value **out)
{
    static const int64_t perm[] = {0, 2, 1, 3};
    tenon_value *shape;
    TENON_TRY(tenon_onnx_list(c, (int64_t[]){0, 0, -1}, 3, &shape));
    TENON_TRY(tenon_onnx_transposed(c, x, perm, &x));
    return tenon_onnx_reshaped(c, x, shape, out);
}

static tenon_status joined(tenon_onnx_call *c, tenon_value *a, tenon_value *b, int64_t axis, tenon_value **out)
{
    tenon_node *n;
    TENON_TRY(tenon_onnx_emit(c, "concat", 2, (tenon_value *[]){a, b}, 1, &n));
    TENON_TRY(tenon_node_set_int(c->g, n, "axis", axis));
    return tenon_onnx_typed(c, n, out);
}

/* Size of axis 2 (the length) as a scalar. */
static tenon_status length_of(tenon_onnx_call *c, tenon_value *x, tenon_value **out)
{
    tenon_value *shape, *two;
    tenon_node *n;
    TENON_TRY(tenon_onnx_shape(c, x, &shape));
    TENON_TRY(tenon_onnx_scalar(c, TENON_I64, 2, &two));
    TENON_TRY(tenon_onnx_emit(c, "gather", 2, (tenon_value *[]){shape, two}, 1, &n));
    return tenon_onnx_typed(c, n, out);
}

static tenon_status count_up(tenon_onnx_call *c, tenon_value *from, tenon_value *to, tenon_value **out)
{
    tenon_value *one;
    tenon_node *n;
    TENON_TRY(tenon_onnx_scalar(c, TENON_I64, 1, &one));
    TENON_TRY(tenon_onnx_emit(c, "range", 3, (tenon_value *[]){from, to, one}, 1, &n));
    return tenon_onnx_typed(c, n, out);
}

/* Which keys query i may see when `past` keys stand before the first query: j - (i + past) within [-left, right]; -1: no
   limit. */
static tenon_status window_mask(tenon_onnx_call *c, tenon_value *q, tenon_value *k, tenon_value *past, const int64_t *limit,
                                tenon_value **out)
{
    static const int64_t last = 1;
    tenon_value *zero, *queries, *keys, *first, *row, *column;
    tenon_node *n;
    *out = NULL;
    TENON_TRY(tenon_onnx_scalar(c, TENON_I64, 0, &zero));
    TENON_TRY(length_of(c, q, &queries));
    TENON_TRY(length_of(c, k, &keys));
    first = zero;
    if (past) {
        TENON_TRY(length_of(c, past, &first));
        TENON_TRY(tenon_onnx_binary(c, "add", first, queries, &queries));
    }
    TENON_TRY(count_up(c, first, queries, &row));
    TENON_TRY(count_up(c, zero, keys, &column));
    TENON_TRY(tenon_onnx_emit(c, "unsqueeze", 1, &row, 1, &n));
    TENON_TRY(tenon_node_set_ints(c->g, n, "axes", &last, 1));
    TENON_TRY(tenon_onnx_typed(c, n, &row));
    for (int i = 0; i < 2; i++) {
        tenon_value *edge, *side;
        if (limit[i] < 0) continue;
        TENON_TRY(tenon_onnx_scalar(c, TENON_I64, (double)limit[i], &edge));
        TENON_TRY(tenon_onnx_binary(c, i == 0 ? "sub" : "add", row, edge, &edge));
        TENON_TRY(tenon_onnx_binary(c, i == 0 ? "greater_or_equal" : "less_or_equal", column, edge, &side));
        if (*out) TENON_TRY(tenon_onnx_binary(c, "and", *out, side, &side));
        *out = side;
    }
    return TENON_OK;
}

/* `given` may be NULL, bool, or added to the scores. */
static tenon_status joined_masks(tenon_onnx_call *c, tenon_value *mask, tenon_value *given, tenon_value **out)
{
    tenon_value *never;
    tenon_node *n;
    *out = mask;
    if (!given) return TENON_OK;
    if (given->type.dtype == TENON_BOOL) return tenon_onnx_binary(c, "and", mask, given, out);
    TENON_TRY(tenon_onnx_scalar(c, given->type.dtype, -INFINITY, &never));
    TENON_TRY(tenon_onnx_emit(c, "where", 3, (tenon_value *[]){mask, given, never}, 1, &n));
    return tenon_onnx_typed(c, n, out);
}

static tenon_status check_attention(tenon_onnx_call *c)
{
    double softcap;
    TENON_TRY(tenon_onnx_float(c, "softcap", 0, &softcap));
    if (softcap != 0) return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "softcap");
    if (tenon_onnx_src(c, 6)) return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "input nonpad_kv_seqlen");
    if (tenon_onnx_wants(c, 3)) return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "the result qk_matmul_output");
    return TENON_OK;
}

tenon_status tenon_onnx_attention(tenon_onnx_call *c)
{
    int64_t causal, heads[2], limit[2]; /* keys to the left, to the right */
    double scale;
    tenon_value *qkv[4];
    tenon_node *n;
    TENON_TRY(tenon_onnx_int(c, "is_causal", 0, &causal));
    TENON_TRY(tenon_onnx_int(c, "q_num_heads", 0, &heads[0]));
    TENON_TRY(tenon_onnx_int(c, "kv_num_heads", 0, &heads[1]));
    TENON_TRY(tenon_onnx_float(c, "scale", 0, &scale));
    TENON_TRY(tenon_onnx_int(c, "left_window_size", -1, &limit[0]));
    TENON_TRY(tenon_onnx_int(c, "right_window_size", -1, &limit[1]));
    TENON_TRY(check_attention(c));
    for (int i = 0; i < 3; i++) {
        TENON_TRY(tenon_onnx_need(c, i, i == 0 ? "Q" : i == 1 ? "K" : "V"));
        TENON_TRY(split_heads(c, c->src[i], heads[i > 0], &qkv[i]));
        tenon_value *past = i > 0 ? tenon_onnx_src(c, 3 + i) : NULL;
        if (past) TENON_TRY(joined(c, past, qkv[i], 2, &qkv[i]));
        if (i > 0 && tenon_onnx_wants(c, i)) c->dst[i] = qkv[i];
    }
    qkv[3] = tenon_onnx_src(c, 3);
    if (limit[0] >= 0 || limit[1] >= 0 || (causal && tenon_onnx_src(c, 4))) {
        tenon_value *window;
        if (causal) limit[1] = 0;
        TENON_TRY(window_mask(c, qkv[0], qkv[1], tenon_onnx_src(c, 4), limit, &window));
        TENON_TRY(joined_masks(c, window, qkv[3], &qkv[3]));
        causal = 0;
    }
    TENON_TRY(tenon_onnx_emit(c, "attention", qkv[3] ? 4 : 3, qkv, 1, &n));
    if (tenon_onnx_has(c, "scale")) TENON_TRY(tenon_node_set_float(c->g, n, "scale", scale));
    if (causal) TENON_TRY(tenon_node_set_int(c->g, n, "is_causal", 1));
    TENON_TRY(tenon_onnx_typed(c, n, &c->dst[0]));
    return c->src[0]->type.rank == 3 ? merge_heads(c, c->dst[0], &c->dst[0]) : TENON_OK;
}

/* ---- RotaryEmbedding ---- */
static tenon_status cut(tenon_onnx_call *c, tenon_value *x, int64_t axis, int64_t start, int64_t end, int64_t step,
                        tenon_value **out)
{
    tenon_value *src[5] = {x};
    const int64_t value[] = {start, end, axis, step};
    tenon_node *n;
    for (int i = 0; i < 4; i++) TENON_TRY(tenon_onnx_list(c, &value[i], 1, &src[1 + i]));
    TENON_TRY(tenon_onnx_emit(c, "slice", 5, src, 1, &n));
    return tenon_onnx_typed(c, n, out);
}

/* cos or sin as (b, 1, s, d / 2): gathered by position, or handed over as (b, s, d / 2) */
static tenon_status angles(tenon_onnx_call *c, tenon_value *cache, tenon_value *positions, tenon_value **out)
{
    static const int64_t axis = 1;
    tenon_node *n;
    if (positions) {
        TENON_TRY(tenon_onnx_emit(c, "gather", 2, (tenon_value *[]){cache, positions}, 1, &n));
        TENON_TRY(tenon_node_set_int(c->g, n, "axis", 0));
        TENON_TRY(tenon_onnx_typed(c, n, &cache));
    }
    TENON_TRY(tenon_onnx_emit(c, "unsqueeze", 1, &cache, 1, &n));
    TENON_TRY(tenon_node_set_ints(c->g, n, "axes", &axis, 1));
    return tenon_onnx_typed(c, n, out);
}

/* The halves (a, b) of the rotated part -> (a cos - b sin, b cos + a sin), put together as they came. */
static tenon_status rotate(tenon_onnx_call *c, tenon_value *x, int64_t width, bool interleaved, tenon_value *cosine,
                           tenon_value *sine, tenon_value **out)
{
    static const int64_t last = 4;
    tenon_value *a, *b, *p, *q, *shape;
    tenon_node *n;
    TENON_TRY(cut(c, x, 3, 0, interleaved ? width : width / 2, interleaved ? 2 : 1, &a));
    TENON_TRY(cut(c, x, 3, interleaved ? 1 : width / 2, width, interleaved ? 2 : 1, &b));
    TENON_TRY(tenon_onnx_binary(c, "mul", a, cosine, &p));
    TENON_TRY(tenon_onnx_binary(c, "mul", b, sine, &q));
    tenon_value *first, *second;
    TENON_TRY(tenon_onnx_binary(c, "sub", p, q, &first));
    TENON_TRY(tenon_onnx_binary(c, "mul", a, sine, &p));
    TENON_TRY(tenon_onnx_binary(c, "mul", b, cosine, &q));
    TENON_TRY(tenon_onnx_binary(c, "add", p, q, &second));
    if (!interleaved) return joined(c, first, second, 3, out);
    tenon_value *part[2] = {first, second};
    for (int i = 0; i < 2; i++) {
        TENON_TRY(tenon_onnx_emit(c, "unsqueeze", 1, &part[i], 1, &n));
        TENON_TRY(tenon_node_set_ints(c->g, n, "axes", &last, 1));
        TENON_TRY(tenon_onnx_typed(c, n, &part[i]));
    }
    TENON_TRY(joined(c, part[0], part[1], 4, &part[0]));
    TENON_TRY(tenon_onnx_list(c, (int64_t[]){0, 0, 0, width}, 4, &shape));
    return tenon_onnx_reshaped(c, part[0], shape, out);
}

tenon_status tenon_onnx_rotary_embedding(tenon_onnx_call *c)
{
    int64_t interleaved, heads, width;
    tenon_value *x, *cosine, *sine, *rest = NULL;
    TENON_TRY(tenon_onnx_int(c, "interleaved", 0, &interleaved));
    TENON_TRY(tenon_onnx_int(c, "num_heads", 0, &heads));
    TENON_TRY(tenon_onnx_int(c, "rotary_embedding_dim", 0, &width));
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    TENON_TRY(tenon_onnx_need(c, 1, "cos_cache"));
    TENON_TRY(tenon_onnx_need(c, 2, "sin_cache"));
    TENON_TRY(split_heads(c, c->src[0], heads, &x));
    const tenon_dim *size = x->type.dim[3];
    if (!tenon_dim_is_const(size)) return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "the size of a head is not a number");
    if (width == 0) width = size->value;
    if (width < 0 || width > size->value || width % 2 != 0)
        return TENON_FAIL(c->cx, TENON_INVALID, "rotary_embedding_dim %lld of a head of %lld", (long long)width,
                          (long long)size->value);
    if (width < size->value) TENON_TRY(cut(c, x, 3, width, size->value, 1, &rest));
    TENON_TRY(angles(c, c->src[1], tenon_onnx_src(c, 3), &cosine));
    TENON_TRY(angles(c, c->src[2], tenon_onnx_src(c, 3), &sine));
    TENON_TRY(rotate(c, x, width, interleaved != 0, cosine, sine, &c->dst[0]));
    if (rest) TENON_TRY(joined(c, c->dst[0], rest, 3, &c->dst[0]));
    return c->src[0]->type.rank == 3 ? merge_heads(c, c->dst[0], &c->dst[0]) : TENON_OK;
}
