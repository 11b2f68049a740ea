/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of convolutions and products as Hopper's tensor cores read them from shared memory, so that what a block wants for one chunk
   of 64 steps of depth is one run of memory that needs no more order:

       [group][filters / bn][tap][chunk][bn][64]      filter f of the bn, depth d of the 64 at f * 64 + ((d / 8) ^ (f % 8)) * 8 + d % 8

   which is rows of 128 bytes whose eight parts are exchanged by the row's number (the swizzle of 128 bytes, PTX ISA "Shared memory
   matrix layout"). Depth is the channels, zeros behind the last, as are filters behind the last. With `matmul` the weight is the
   right operand of a product: its last axes are depth and columns, and columns are filters. Types of 16 bits are kept. */
#include "op/eval.h"
#include "op/rule.h"

#include "base/checked.h"

#include <string.h>

enum { DEEP = 64, PART = 8 };

static const tenon_attr_def attrs[] = {{.name = "group", .kind = TENON_ATTR_INT, .i = 1}, {.name = "bn", .kind = TENON_ATTR_INT, .i = 64},
                                       {.name = "matmul", .kind = TENON_ATTR_INT}, {0}};

typedef struct layout { int64_t group, bn, filters, channels, taps, tiles, chunks; bool matmul; } layout;

static bool layout_of(const tenon_node *n, const int64_t *dim, int rank, tenon_dtype dtype, layout *l)
{
    if (dtype != TENON_F16 && dtype != TENON_BF16) return false;
    *l = (layout){.group = tenon_node_int(n, "group"), .bn = tenon_node_int(n, "bn"), .matmul = tenon_node_int(n, "matmul") != 0, .taps = 1};
    l->channels = l->matmul ? dim[rank - 2] : dim[1];
    l->filters = l->matmul ? dim[rank - 1] : dim[0];
    if (l->group < 1 || l->filters % l->group || l->bn < PART || l->bn % PART || l->bn > 4096) return false;
    for (int i = 0; i < rank - 2; i++)
        if (l->matmul && (dim[i] != 1 || l->group != 1)) return false;
    l->filters /= l->group;
    for (int i = 2; i < rank && !l->matmul; i++) l->taps *= dim[i];
    l->tiles = tenon_ceil_div(l->filters, l->bn);
    l->chunks = tenon_ceil_div(l->channels, DEEP);
    return true;
}

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int64_t dim[TENON_MAX_RANK];
    layout l;
    TENON_TRY(tenon_rule_weight_dims(cx, n, 2, TENON_MAX_RANK, dim));
    const tenon_type *w = tenon_rule_type(n, 0);
    if (!layout_of(n, dim, w->rank, w->dtype, &l)) return TENON_FAIL(cx, TENON_INVALID, "pack_wgmma: attributes that do not fit the weight");
    const int64_t size[] = {l.group, l.tiles, l.taps, l.chunks, l.bn, DEEP};
    return tenon_rule_packed(cx, g, n, w->dtype, size, 6);
}

/* Where element (filter, tap, channel) of a group is in w; -1: it is a zero. */
static int64_t place(const tenon_tensor *w, const layout *l, int64_t g, int64_t filter, int64_t tap, int64_t c)
{
    if (filter >= l->filters || c >= l->channels) return -1;
    if (l->matmul) return c * w->stride[w->rank - 2] + filter * w->stride[w->rank - 1];
    int64_t at = (g * l->filters + filter) * w->stride[0] + c * w->stride[1];
    for (int i = w->rank - 1; i >= 2; i--) {
        at += tap % w->dim[i] * w->stride[i];
        tap /= w->dim[i];
    }
    return at;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_tensor *w = &call->src[0];
    layout l;
    if (!layout_of(call->node, w->dim, w->rank, w->dtype, &l)) return TENON_FAIL(cx, TENON_INTERNAL, "pack_wgmma: attributes that do not fit");
    TENON_TRY(tenon_eval_alloc(cx, call, 0));
    const uint16_t *from = w->data;
    uint16_t *out = call->dst[0].data;
    const int64_t outer = l.group * l.tiles * l.taps * l.chunks;
    for (int64_t i = 0; i < outer; i++, out += l.bn * DEEP) {
        const int64_t chunk = i % l.chunks, tap = i / l.chunks % l.taps, tile = i / l.chunks / l.taps % l.tiles, g = i / l.chunks / l.taps / l.tiles;
        for (int64_t f = 0; f < l.bn; f++)
            for (int64_t d = 0; d < DEEP; d++) {
                const int64_t at = place(w, &l, g, tile * l.bn + f, tap, chunk * DEEP + d);
                out[f * DEEP + (d / PART ^ f % PART) * PART + d % PART] = at < 0 ? 0 : from[at];
            }
    }
    return TENON_OK;
}

const tenon_op tenon_op_pack_wgmma = {
    .name = "pack_wgmma", .attr = attrs, .flags = TENON_OP_WEIGHT, .src_min = 1, .src_max = 1, .dst_min = 1, .dst_max = 1, .infer = infer, .ref = ref,
};
