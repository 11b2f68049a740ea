/* SPDX-License-Identifier: Apache-2.0 */
/* DepthToSpace and SpaceToDepth, inverses of each other: blocks of channels become blocks of pixels. In DCR the block index is
   outside the channels that stay, in CRD inside. */
#include "op/move.h"

#include <string.h>

static tenon_status space_attrs(tenon_cx *cx, const tenon_node *n, int64_t *block, bool *crd)
{
    const char *mode = tenon_node_attr(n, "mode")->s, *name = tenon_op_as_head(n->op)->name;
    *block = tenon_node_int(n, "blocksize");
    *crd = strcmp(mode, "CRD") == 0;
    if (!*crd && strcmp(mode, "DCR") != 0)
        return TENON_FAIL(cx, TENON_INVALID, "%s: mode '%s' is neither DCR nor CRD", name, mode);
    if (*block < 1 || *block > INT32_MAX) return TENON_FAIL(cx, TENON_INVALID, "%s: blocksize %lld", name, (long long)*block);
    return TENON_OK;
}

static tenon_status divides(tenon_cx *cx, const tenon_node *n, const tenon_dim *d, int64_t by, int axis)
{
    if (!tenon_dim_is_const(d) || d->value % by == 0) return TENON_OK;
    return TENON_FAIL(cx, TENON_INVALID, "%s: size %lld of axis %d is no multiple of %lld", tenon_op_as_head(n->op)->name,
                      (long long)d->value, axis, (long long)by);
}

static tenon_status depth_to_space_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    if (tenon_move_unranked(n)) return TENON_OK;
    if (x->rank != 4) return TENON_FAIL(cx, TENON_INVALID, "depth_to_space: source of rank %d, not 4", x->rank);
    int64_t block;
    bool crd;
    TENON_TRY(space_attrs(cx, n, &block, &crd));
    TENON_TRY(divides(cx, n, x->dim[1], block * block, 1));
    const tenon_dim *b = tenon_dim_const(g->dims, block);
    const tenon_dim *dim[4] = {x->dim[0], tenon_dim_floordiv(g->dims, x->dim[1], tenon_dim_mul(g->dims, b, b)),
                               tenon_dim_mul(g->dims, x->dim[2], b), tenon_dim_mul(g->dims, x->dim[3], b)};
    tenon_move_set(g, n, 0, x->dtype, 4, dim);
    return TENON_OK;
}

static tenon_status space_to_depth_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    const tenon_type *x = &n->src[0]->type;
    if (tenon_move_unranked(n)) return TENON_OK;
    if (x->rank != 4) return TENON_FAIL(cx, TENON_INVALID, "space_to_depth: source of rank %d, not 4", x->rank);
    int64_t block;
    bool crd;
    TENON_TRY(space_attrs(cx, n, &block, &crd));
    TENON_TRY(divides(cx, n, x->dim[2], block, 2));
    TENON_TRY(divides(cx, n, x->dim[3], block, 3));
    const tenon_dim *b = tenon_dim_const(g->dims, block);
    const tenon_dim *dim[4] = {x->dim[0], tenon_dim_mul(g->dims, x->dim[1], tenon_dim_mul(g->dims, b, b)),
                               tenon_dim_floordiv(g->dims, x->dim[2], b), tenon_dim_floordiv(g->dims, x->dim[3], b)};
    tenon_move_set(g, n, 0, x->dtype, 4, dim);
    return TENON_OK;
}

/* Both as boxes over (n, block row, block column, c, h, w) of the deep tensor (c * block * block channels) and the wide one. */
static void space_move(const tenon_tensor *dst, const tenon_tensor *src, const tenon_tensor *deep, bool to_wide, int64_t b,
                       bool crd)
{
    const tenon_tensor *wide = to_wide ? dst : src;
    const int64_t c = deep->dim[1] / (b * b);
    const int64_t dim[6] = {deep->dim[0], b, b, c, deep->dim[2], deep->dim[3]};
    const int64_t *d = deep->stride, *w = wide->stride;
    const int64_t row = d[1] * (crd ? b : b * c), column = d[1] * (crd ? 1 : c), channel = d[1] * (crd ? b * b : 1);
    const int64_t deep_stride[6] = {d[0], row, column, channel, d[2], d[3]};
    const int64_t wide_stride[6] = {w[0], w[2], w[3], w[1], b * w[2], b * w[3]};
    tenon_move_box(dst, 0, to_wide ? wide_stride : deep_stride, src, 0, to_wide ? deep_stride : wide_stride, 6, dim);
}

static tenon_status depth_to_space_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    int64_t b;
    bool crd;
    TENON_TRY(space_attrs(cx, call->node, &b, &crd));
    if (x->rank != 4 || x->dim[1] % (b * b))
        return TENON_FAIL(cx, TENON_INVALID, "depth_to_space: the source does not fit blocksize %lld", (long long)b);
    const int64_t dim[4] = {x->dim[0], x->dim[1] / (b * b), x->dim[2] * b, x->dim[3] * b};
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, 4, dim));
    space_move(&call->dst[0], x, x, true, b, crd);
    return TENON_OK;
}

static tenon_status space_to_depth_ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *x = &call->src[0];
    int64_t b;
    bool crd;
    TENON_TRY(space_attrs(cx, call->node, &b, &crd));
    if (x->rank != 4 || x->dim[2] % b || x->dim[3] % b)
        return TENON_FAIL(cx, TENON_INVALID, "space_to_depth: the source does not fit blocksize %lld", (long long)b);
    const int64_t dim[4] = {x->dim[0], x->dim[1] * b * b, x->dim[2] / b, x->dim[3] / b};
    TENON_TRY(tenon_move_result(cx, call, 0, x->dtype, 4, dim));
    space_move(&call->dst[0], x, &call->dst[0], false, b, crd);
    return TENON_OK;
}

static const tenon_attr_def space_attr_table[] = {
    {.name = "blocksize", .kind = TENON_ATTR_INT, .required = true}, {.name = "mode", .kind = TENON_ATTR_STRING, .s = "DCR"},
        {0}};

const tenon_op tenon_op_depth_to_space = {
    .name = "depth_to_space", .attr = space_attr_table, .onnx = "DepthToSpace", .onnx_since = 1, .flags = TENON_OP_ANCHOR,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .axes = "nchw",
    .infer = depth_to_space_infer, .ref = depth_to_space_ref, .flops = tenon_move_flops};

const tenon_op tenon_op_space_to_depth = {
    .name = "space_to_depth", .attr = space_attr_table, .onnx = "SpaceToDepth", .onnx_since = 1, .flags = TENON_OP_ANCHOR,
    .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .axes = "nchw",
    .infer = space_to_depth_infer, .ref = space_to_depth_ref, .flops = tenon_move_flops};
