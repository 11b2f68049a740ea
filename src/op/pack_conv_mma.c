/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution weights in the order in which tensor cores take them, so that a block's part is one run of memory and what a lane needs
   for 16 filters and 16 steps of depth is 8 neighbours:

       [group][filters / bn][split][tap][k16][bn / 16][lane 32][8]
       element e of lane l: filter l / 4 + 8 * (e / 4), depth 2 * (l % 4) + e % 2 + 8 * (e / 2 % 2) of its 16 x 16

   Without `run` a tap is one place of the kernel and its depth the channels, `cp` of them (a multiple of 16 * split), zeros behind
   the last; each split has a part of the channels. With `run` a tap is a row of the kernel and its depth (column, channel) with cp
   channels a column, padded to 16: for few channels. Types of 16 bits are kept.

   f32 is for TF32 products: a tile is 16 x 8, a lane has 4 neighbours, element e of filter l / 4 + 8 * (e / 2) and depth
   l % 4 + 4 * (e % 2), and numbers are rounded to 10 bits of mantissa, ties away from zero; `k16` is a depth of 8 there. */
#include "op/eval.h"
#include "op/rule.h"

#include "base/checked.h"

#include <string.h>

static const tenon_attr_def attrs[] = {{.name = "group", .kind = TENON_ATTR_INT, .i = 1}, {.name = "bn", .kind = TENON_ATTR_INT, .i = 16},
                                       {.name = "split", .kind = TENON_ATTR_INT, .i = 1}, {.name = "cp", .kind = TENON_ATTR_INT, .i = 16},
                                       {.name = "run", .kind = TENON_ATTR_INT}, {0}};

typedef struct layout { int64_t group, bn, split, cp, run, filters, channels, taps, columns, k16, tiles, deep; } layout; /* deep: 16 or 8 */

static bool layout_of(const tenon_node *n, const int64_t *dim, int rank, tenon_dtype dtype, layout *l)
{
    const int64_t deep = dtype == TENON_F32 ? 8 : 16;
    if (dtype != TENON_F32 && dtype != TENON_F16 && dtype != TENON_BF16) return false;
    *l = (layout){.group = tenon_node_int(n, "group"), .bn = tenon_node_int(n, "bn"), .split = tenon_node_int(n, "split"),
                  .cp = tenon_node_int(n, "cp"), .run = tenon_node_int(n, "run"), .channels = dim[1], .taps = 1, .deep = deep, .columns = dim[rank - 1]};
    if (l->group < 1 || dim[0] % l->group || l->bn < 16 || l->bn % 16 || l->split < 1 || l->cp < dim[1]) return false;
    if (l->run ? l->split != 1 : l->cp % (deep * l->split) != 0) return false;
    l->filters = dim[0] / l->group;
    for (int i = 2; i < rank - (l->run ? 1 : 0); i++) l->taps *= dim[i];
    l->k16 = l->run ? tenon_ceil_div(l->columns * l->cp, deep) : l->cp / deep / l->split;
    l->tiles = tenon_ceil_div(l->filters, l->bn);
    return true;
}

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int64_t dim[TENON_MAX_RANK] = {0};
    layout l;
    TENON_TRY(tenon_rule_rank(cx, n, 0, "weight", 3, 5));
    TENON_TRY(tenon_rule_float(cx, n, 0, "weight"));
    const tenon_type *w = tenon_rule_type(n, 0);
    for (int i = 0; i < w->rank; i++) {
        if (!tenon_dim_is_const(w->dim[i]) || w->dim[i]->value < 1 || w->dim[i]->value > INT32_MAX)
            return TENON_FAIL(cx, TENON_INVALID, "pack_conv_mma: the weight's shape is not constant, or empty");
        dim[i] = w->dim[i]->value;
    }
    if (!layout_of(n, dim, w->rank, w->dtype, &l)) return TENON_FAIL(cx, TENON_INVALID, "pack_conv_mma: attributes that do not fit the weight");
    const int64_t size[] = {l.group, l.tiles, l.split, l.taps, l.k16, l.bn, l.deep};
    return tenon_rule_packed(cx, g, n, w->dtype, size, 7);
}

/* Where element (filter, tap, depth) of a group is in w; -1: it is a zero. */
static int64_t place(const tenon_tensor *w, const layout *l, int64_t g, int64_t filter, int64_t tap, int64_t depth)
{
    const int64_t c = l->run ? depth % l->cp : depth, column = l->run ? depth / l->cp : 0;
    if (filter >= l->filters || c >= l->channels || column >= (l->run ? l->columns : 1)) return -1;
    int64_t at = (g * l->filters + filter) * w->stride[0] + c * w->stride[1] + (l->run ? column * w->stride[w->rank - 1] : 0);
    for (int i = w->rank - 1 - (l->run ? 1 : 0); i >= 2; i--) {
        at += tap % w->dim[i] * w->stride[i];
        tap /= w->dim[i];
    }
    return at;
}

/* As cvt.rna.tf32.f32; infinities and NaNs stay. */
static void round_tf32(char *at)
{
    uint32_t bits;
    memcpy(&bits, at, sizeof bits);
    if ((bits >> 23 & 0xff) != 0xff) bits = (bits + 0x1000) & ~UINT32_C(0x1fff);
    memcpy(at, &bits, sizeof bits);
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *w = &call->src[0];
    layout l;
    if (!layout_of(call->node, w->dim, w->rank, w->dtype, &l)) return TENON_FAIL(cx, TENON_INTERNAL, "pack_conv_mma: attributes that do not fit");
    TENON_TRY(tenon_eval_alloc(cx, call, 0));
    const size_t bytes = tenon_dtype_bytes(w->dtype, 1);
    const char *from = w->data;
    char *out = call->dst[0].data;
    const int64_t blocks = l.k16 * (l.bn / 16), outer = l.group * l.tiles * l.split * l.taps;
    for (int64_t i = 0; i < outer; i++) {
        const int64_t tap = i % l.taps, split = i / l.taps % l.split, tile = i / l.taps / l.split % l.tiles, g = i / l.taps / l.split / l.tiles;
        for (int64_t block = 0; block < blocks; block++)
            for (int64_t lane = 0; lane < 32; lane++)
                for (int64_t e = 0; e < l.deep / 2; e++, out += bytes) {
                    const bool wide = l.deep == 8;
                    const int64_t filter = tile * l.bn + block % (l.bn / 16) * 16 + lane / 4 + 8 * (wide ? e / 2 : e / 4);
                    const int64_t in_tile = wide ? lane % 4 + 4 * (e % 2) : 2 * (lane % 4) + e % 2 + 8 * (e / 2 % 2);
                    const int64_t depth = (split * l.k16 + block / (l.bn / 16)) * l.deep + in_tile, at = place(w, &l, g, filter, tap, depth);
                    if (at < 0) memset(out, 0, bytes);
                    else memcpy(out, from + (size_t)at * bytes, bytes);
                    if (wide && at >= 0) round_tf32(out);
                }
    }
    return TENON_OK;
}

const tenon_op tenon_op_pack_conv_mma = {
    .name = "pack_conv_mma", .attr = attrs, .flags = TENON_OP_WEIGHT, .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = infer, .ref = ref,
};
