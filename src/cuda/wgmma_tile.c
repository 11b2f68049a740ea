/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles of wgmma.cu, their needs and a model of their time; contracts in wgmma_tile.h. */
#include "cuda/wgmma_tile.h"

#include <math.h>
#include <stdio.h>

const tenon_wgmma_tile tenon_wgmma_tiles[TENON_WGMMA_TILES] = {
    {128, 128, 3, 2}, {128, 256, 4, 1}, {256, 128, 4, 1}, {128, 64, 4, 2}, {256, 64, 5, 1}, {128, 128, 6, 1},
};

uint32_t tenon_wgmma_shared(const tenon_wgmma_tile *t) { return (uint32_t)(t->stages * (t->bm + t->bn) * 128 + 1024); }

void tenon_wgmma_options(const tenon_wgmma_tile *t, tenon_kernel_source *out)
{
    snprintf(out->options, sizeof out->options, "-DBM=%d -DBN=%d -DSTAGES=%d -DRESIDENT=%d", t->bm, t->bn, t->stages, t->resident);
}

const char *tenon_wgmma_rejects(const tenon_variant *v, const tenon_device *device)
{
    const int at = v->p[P_WGMMA_TILE];
    if (tenon_cuda_sm(device) != 90) return "wgmma is of compute capability 9.0 alone";
    if (at < 0 || at >= TENON_WGMMA_TILES) return "no such variant";
    return tenon_wgmma_shared(&tenon_wgmma_tiles[at]) > tenon_cuda_shared_most(device) ? "too much shared memory" : NULL;
}

/* Cycles of an H100 at 1.7 GHz: tensor cores do 2048 multiplications a cycle and multiprocessor, of which tiles with 256 columns reached
   0.72 and others 0.6 (measured 2026-11-22: 505 and 410 TFLOP/s); the second cache delivers some 55 bytes; a chunk that nothing is
   beside takes as long as its fetching does. */
double tenon_wgmma_model(const tenon_wgmma_tile *t, const tenon_wgmma_work *w, const tenon_device *device)
{
    const double mp = tenon_cuda_multiprocessors(device);
    const double blocks = ceil(w->rows / t->bm) * ceil(w->columns / t->bn) * w->groups, each = ceil(blocks / mp);
    const double products = (double)t->bm * t->bn * TENON_WGMMA_DEEP / ((t->bn == 256 ? 0.72 : 0.6) * 2048), fetching = (t->bm + t->bn) * 128.0 / 55;
    const double beside = TENON_MIN(each, t->resident), wait = 700.0 / (t->stages - 2) / beside;
    const double chunk = TENON_MAX(TENON_MAX(products, fetching), wait);
    const double finish = (double)t->bm * t->bn * (8 / 40.0 + 2.0 * (1 + w->operands) / 25) + 500, start = 900;
    const double work = w->chunks * chunk, lost = start + finish;
    const double cycles = each * (beside > 1 ? TENON_MAX(work, lost) + 0.3 * TENON_MIN(work, lost) : work + lost);
    const double busy = cycles / 1.7e9, memory = w->bytes / 2.6e12;
    return 2e-6 + TENON_MAX(busy, memory) + 0.1 * TENON_MIN(busy, memory); /* of tiles that wait for memory the quickest is ahead */
}

int tenon_wgmma_variants(const tenon_wgmma_work *w, const tenon_device *device, tenon_variant *out, int max)
{
    double seconds[TENON_WGMMA_TILES];
    int count = 0;
    const bool few = ceil(w->rows / 128) * ceil(w->columns / 64) * w->groups < tenon_cuda_multiprocessors(device);
    if (few) max = TENON_MIN(max, 2); /* others are made for that */
    for (int i = 0; i < TENON_WGMMA_TILES; i++) {
        const tenon_wgmma_tile *t = &tenon_wgmma_tiles[i];
        if (t->bn > 64 && t->bn >= 2 * w->columns) continue;
        const double s = tenon_wgmma_model(t, w, device);
        int at = count++;
        for (; at > 0 && seconds[at - 1] > s; at--) {
            seconds[at] = seconds[at - 1];
            if (at < max) out[at] = out[at - 1];
        }
        seconds[at] = s;
        if (at < max) out[at] = (tenon_variant){{[P_WGMMA_TILE] = i}};
    }
    return TENON_MIN(count, max);
}
