/* SPDX-License-Identifier: Apache-2.0 */
/* A pad in front of a convolution or a pool becomes the window's own padding, where the value that is padded is the one the
   window pads with: 0 for a convolution and an average that counts its padding, minus infinity for a maximum (or 0 behind a
   relu). */
#include "pass/pass.h"
#include "pass/rewrite.h"

#include <math.h>
#include <string.h>

#define PAD "pad_window"

/* Spatial pads of a pad node: all begins, then all ends; false with the reason. */
static bool spatial_pads(tenon_rw *rw, const tenon_node *pad, int rank, int64_t *out, const char **why)
{
    int64_t pads[2 * TENON_MAX_RANK], axes[TENON_MAX_RANK];
    *why = "its mode is not constant";
    if (strcmp(tenon_node_attr(pad, "mode")->s, "constant") != 0) return false;
    *why = "its pads are not known";
    const int count = tenon_rw_ints(rw, pad->src[1], pads, 2 * TENON_MAX_RANK);
    int axis_count = rank;
    for (int i = 0; i < rank; i++) axes[i] = i;
    if (tenon_rw_src(pad, 3)) axis_count = tenon_rw_ints(rw, pad->src[3], axes, TENON_MAX_RANK);
    if (count < 0 || axis_count < 0 || count != 2 * axis_count) return false;
    memset(out, 0, 2 * (size_t)(rank - 2) * sizeof *out);
    for (int i = 0; i < axis_count; i++) {
        const int axis = (int)(axes[i] < 0 ? axes[i] + rank : axes[i]);
        const int64_t begin = pads[i], end = pads[axis_count + i];
        *why = "it cuts off";
        if (begin < 0 || end < 0) return false;
        *why = "it pads images or channels";
        if (axis < 2 && (begin || end)) return false;
        if (axis < 2) continue;
        out[axis - 2] = begin;
        out[axis - 2 + rank - 2] = end;
    }
    return true;
}

static bool value_fits(const tenon_node *n, const tenon_node *pad, double value, bool padded, const char **why)
{
    *why = "its value is not what the window pads with";
    if (n->op == &tenon_op_conv) return value == 0;
    if (n->op == &tenon_op_average_pool) {
        if (value != 0) return false;
        *why = "the pool has pads of its own that do not count, or rounds up";
        return !tenon_node_int(n, "ceil_mode") && (!padded || tenon_node_int(n, "count_include_pad"));
    }
    if (tenon_node_int(n, "ceil_mode") || (n->dst_count > 1 && n->dst[1])) return false;
    return value == -INFINITY || value <= -3.4e38 || (value == 0 && tenon_rw_from(pad->src[0], &tenon_op_relu));
}

static tenon_status pad_window(tenon_rw *rw, tenon_node *n)
{
    if (n->op != &tenon_op_conv && n->op != &tenon_op_average_pool && n->op != &tenon_op_max_pool) return TENON_OK;
    tenon_node *pad = tenon_rw_from(n->src[0], &tenon_op_pad), *like;
    const int rank = n->src[0]->type.rank, axes = rank - 2;
    int64_t pads[2 * TENON_MAX_RANK];
    double value = 0;
    const char *why = "its value is not constant";
    const tenon_attr *own = tenon_node_attr(n, "pads");
    const char *automatic = tenon_node_attr(n, "auto_pad")->s;
    if (!pad) return TENON_OK;
    bool padded = false;
    for (size_t i = 0; i < own->count; i++) padded |= own->ints[i] != 0;
    bool fits = !tenon_rw_src(pad, 2) || tenon_rw_scalar(rw, pad->src[2], &value);
    if (fits) fits = spatial_pads(rw, pad, rank, pads, &why) && value_fits(n, pad, value, padded, &why);
    if (fits && automatic && automatic[0] == 'S') {
        why = "the window chooses its own padding";
        fits = false;
    }
    if (!fits) return tenon_event_blocked(rw->g, PAD, n, "blocked by pad '%s' because %s", pad->name, why);
    tenon_rw_take(rw, pad);
    tenon_rw_take(rw, n);
    tenon_value *src[3] = {pad->src[0], tenon_rw_src(n, 1), tenon_rw_src(n, 2)}, *y;
    for (int i = 0; i < 2 * axes && own->count == (size_t)(2 * axes); i++) pads[i] += own->ints[i];
    TENON_TRY(tenon_rw_like(rw, n, src, n->src_count, &like));
    TENON_TRY(tenon_node_set_ints(rw->g, like, "pads", pads, (size_t)(2 * axes)));
    TENON_TRY(tenon_node_set_string(rw->g, like, "auto_pad", "NOTSET"));
    if (n->op == &tenon_op_average_pool) TENON_TRY(tenon_node_set_int(rw->g, like, "count_include_pad", 1));
    TENON_TRY(tenon_rw_infer(rw, like, &y));
    return tenon_rw_done(rw, n, y, "pad, then %s -> pads of the %s", n->op->name, n->op->name);
}

/* average_pool over the whole extent -> reduce_mean */
static tenon_status whole_extent(tenon_rw *rw, tenon_node *n)
{
    const bool average = n->op == &tenon_op_average_pool;
    if ((!average && n->op != &tenon_op_max_pool) || (n->dst_count > 1 && n->dst[1])) return TENON_OK;
    const tenon_attr *kernel = tenon_node_attr(n, "kernel_shape"), *pads = tenon_node_attr(n, "pads"), *dilations =
        tenon_node_attr(n, "dilations");
    const tenon_type *x = &n->src[0]->type;
    int64_t axes[TENON_MAX_RANK];
    for (size_t i = 0; i < pads->count; i++)
        if (pads->ints[i]) return TENON_OK;
    for (size_t i = 0; i < dilations->count; i++)
        if (dilations->ints[i] != 1) return TENON_OK;
    for (int i = 2; i < x->rank; i++) {
        if (!tenon_dim_is(x->dim[i], kernel->ints[i - 2]) || !tenon_dim_is(n->dst[0]->type.dim[i], 1)) return TENON_OK;
        axes[i - 2] = i;
    }
    tenon_node *mean;
    tenon_value *y;
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_node(rw, average ? &tenon_op_reduce_mean : &tenon_op_reduce_max, n->src, 1, 1, &mean));
    TENON_TRY(tenon_node_set_ints(rw->g, mean, "axes", axes, (size_t)x->rank - 2));
    TENON_TRY(tenon_node_set_int(rw->g, mean, "keepdims", 1));
    TENON_TRY(tenon_rw_infer(rw, mean, &y));
    return tenon_rw_done(rw, n, y, "%s over the whole extent -> %s", n->op->name, mean->op->name);
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {pad_window, whole_extent};
    return tenon_rw_each(cx, g, PAD, rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_pad_window = {.name = PAD, .what = "pads in front of windows; pools over the whole extent", .run =
    run};
