/* SPDX-License-Identifier: Apache-2.0 */
/* Where pack_wgmma puts every element of a weight: read back as the tensor cores do, row by row, part by part. */
#include "check.h"

#include "op/eval.h"
#include "op/tactic.h"

extern const tenon_op tenon_op_pack_wgmma;

enum { DEEP = 64 };

/* An element that tells its place; zero is nobody's. */
static uint16_t element(int64_t filter, int64_t channel, int64_t tap) { return (uint16_t)(1 + filter * 977 + channel * 31 + tap * 7); }

static tenon_status pack(tenon_cx *cx, tenon_arena *arena, const tenon_tensor *w, const tenon_pack *how, tenon_heap *heap, tenon_tensor *out)
{
    tenon_dim_pool pool;
    tenon_graph *g;
    tenon_value *in;
    tenon_node *n;
    tenon_type type = {.dtype = w->dtype, .rank = w->rank};
    tenon_dim_pool_init(&pool, arena);
    TENON_TRY(tenon_graph_create(cx, arena, &pool, NULL, &g));
    for (int i = 0; i < w->rank; i++) type.dim[i] = tenon_dim_const(&pool, w->dim[i]);
    TENON_TRY(tenon_graph_value(g, "w", &type, &in));
    TENON_TRY(tenon_graph_node(g, how->op, "pack", 1, &in, 1, &n));
    TENON_TRY(tenon_pack_attrs(g, n, how));
    TENON_TRY(tenon_infer_node(cx, g, n));
    *out = (tenon_tensor){.dtype = n->dst[0]->type.dtype};
    tenon_eval_call call = {.node = n, .src_count = 1, .dst_count = 1, .src = w, .dst = out, .heap = heap};
    return tenon_eval_node(cx, &call);
}

/* matmul: the weight is (channels, filters); else (groups * filters, channels, 1, taps). */
static void check_pack(tenon_cx *cx, int64_t groups, int64_t filters, int64_t channels, int64_t taps, int64_t bn, bool matmul)
{
    tenon_arena arena;
    tenon_heap heap;
    tenon_tensor w = {.dtype = TENON_F16, .rank = matmul ? 2 : 4}, out;
    const int64_t conv[] = {groups * filters, channels, 1, taps}, product[] = {channels, filters};
    const int64_t tiles = (filters + bn - 1) / bn, chunks = (channels + DEEP - 1) / DEEP;
    memcpy(w.dim, matmul ? product : conv, (size_t)w.rank * sizeof *w.dim);
    tenon_tensor_dense(&w);
    tenon_arena_init(&arena, cx);
    tenon_heap_init(&heap, cx);
    uint16_t *data = w.data = tenon_heap_alloc(&heap, (size_t)tenon_tensor_count(&w) * sizeof *data);
    for (int64_t f = 0; f < groups * filters; f++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t t = 0; t < taps; t++) data[matmul ? c * filters + f : (f * channels + c) * taps + t] = element(f, c, t);
    const tenon_pack how = {.op = &tenon_op_pack_wgmma, .src = {0, -1}, .attr = {groups, bn, matmul}};
    if (CHECK_OK(cx, pack(cx, &arena, &w, &how, &heap, &out))) {
        CHECK(tenon_tensor_count(&out) == groups * tiles * taps * chunks * bn * DEEP);
        const uint16_t *run = out.data;
        size_t wrong = 0;
        for (int64_t g = 0; g < groups; g++)
            for (int64_t tile = 0; tile < tiles; tile++)
                for (int64_t t = 0; t < taps; t++)
                    for (int64_t chunk = 0; chunk < chunks; chunk++, run += bn * DEEP)
                        for (int64_t row = 0; row < bn; row++)
                            for (int64_t d = 0; d < DEEP; d++) {
                                const int64_t f = tile * bn + row, c = chunk * DEEP + d;
                                const size_t at = (size_t)(row * 2 * DEEP + 2 * d), seen = at ^ (at >> 7 & 7) << 4; /* bytes */
                                wrong += run[seen / 2] != (f < filters && c < channels ? element(g * filters + f, c, t) : 0);
                            }
        CHECK(wrong == 0);
    }
    tenon_heap_free(&heap);
    tenon_arena_free(&arena);
}

int main(void)
{
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    check_pack(&cx, 1, 64, 64, 1, 64, false);
    check_pack(&cx, 1, 70, 100, 3, 64, false);
    check_pack(&cx, 2, 36, 48, 2, 128, false);
    check_pack(&cx, 1, 300, 72, 1, 256, true);
    return CHECK_END();
}
