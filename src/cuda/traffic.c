/* SPDX-License-Identifier: Apache-2.0 */
/* What a step costs whatever tactic does it: the bytes that come from memory, and layouts that make lines fall apart. Tactics
   reckon their arithmetic; this keeps them from believing that the rest is free, and makes feature maps lie alike. */
#include "cuda/estimate.h"

#include "op/tactic.h"

#include <string.h>

/* Bytes that are still in the cache when the next step wants them. */
#define CACHED 32e6
/* How much longer a feature map takes that is read or written in pieces of less than a line: beside one in the other layout, and
   row-major in a convolution, whose products run along the channels. */
#define CROSSING 3.0
#define ACROSS 1.5

/* Of operands that would lie otherwise in the other layout, unlike a vector or a single pixel. */
static void add_maps(const tenon_operand *o, const tenon_tensor *x, int count, double bytes[2], double *total)
{
    for (int i = 0; i < count; i++) {
        int64_t pixels = 1;
        for (int k = 2; k < x[i].rank; k++) pixels *= x[i].dim[k];
        *total += tenon_cuda_bytes(&x[i]);
        if (o[i].format.weight || o[i].value->is_const || x[i].rank < 3 || x[i].dim[1] < 8 || pixels == 1) continue;
        if (o[i].format.layout == TENON_ROW) bytes[0] += tenon_cuda_bytes(&x[i]);
        if (o[i].format.layout == TENON_CLAST) bytes[1] += tenon_cuda_bytes(&x[i]);
    }
}

double tenon_cuda_step_cost(const tenon_device *device, const tenon_problem *p, const tenon_tensor *src, const tenon_tensor *dst,
                            double seconds)
{
    const tenon_device_info *info = tenon_backend_cuda.info(device);
    double bytes[2] = {0}, total = 0, slow;
    bool conv = false;
    add_maps(p->src, src, p->src_count, bytes, &total);
    add_maps(p->dst, dst, p->dst_count, bytes, &total);
    for (int i = 0; i < p->anchor_count; i++) conv = conv || strcmp(p->anchor[i].node->op->name, "conv") == 0;
    slow = CROSSING * TENON_MIN(bytes[0], bytes[1]) + (conv ? ACROSS * bytes[0] : 0);
    return TENON_MAX(seconds, total > CACHED ? info->step_seconds + total / info->bandwidth : 0) + slow / info->bandwidth;
}
