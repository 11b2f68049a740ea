/* SPDX-License-Identifier: Apache-2.0 */
/* lrn of f32 along the channels, any strides: blocks of pixels, each channel's squares summed over its neighbours while they lie
   in the cache. The usual exponents need no pow. */
#include "base/team.h"
#include "cpu/loops.h"

#include <math.h>
#include <string.h>

enum { TOGETHER = 64, ALONG = 4 }; /* pixels at once; where their channels are contiguous */

typedef struct record {
    tenon_lines lines; /* 0: source, 1: result */
    int64_t run, width, blocks, before, after;
    float alpha, beta, bias; /* alpha over the size */
    const float *x;
    float *y;
} record;

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    return p->anchor[0].node->src[0]->type.dtype == TENON_F32 ? tenon_loop_reject(p) : "the source is not f32";
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = tenon_loop_src(b, 0), *y = tenon_loop_dst(b, 0);
    const int64_t size = tenon_node_int(n, "size");
    memset(r, 0, sizeof *r);
    tenon_lines_init(&r->lines, x, 1);
    tenon_lines_add(&r->lines, y, 1);
    tenon_lines_seal(&r->lines);
    const tenon_nd *nd = &r->lines.other;
    r->run = nd->rank ? nd->dim[nd->rank - 1] : 1;
    r->width = r->lines.step[0] == 1 ? ALONG : TOGETHER;
    r->blocks = (r->run + r->width - 1) / r->width;
    r->before = (size - 1) / 2;
    r->after = size - 1 - r->before;
    r->alpha = (float)(tenon_node_float(n, "alpha") / (double)size);
    r->beta = (float)tenon_node_float(n, "beta");
    r->bias = (float)tenon_node_float(n, "bias");
    r->x = x->data;
    r->y = y->data;
    return TENON_OK;
}

static float power(float s, float beta)
{
    if (beta == 0.75f) return sqrtf(s) * sqrtf(sqrtf(s));
    return beta == 0.5f ? sqrtf(s) : beta == 1.0f ? s : powf(s, beta);
}

static void block(const record *r, const float *x, int64_t xi, float *y, int64_t yi, int64_t pixels)
{
    const int64_t xs = r->lines.step[0], ys = r->lines.step[1], channels = r->lines.length;
    for (int64_t c = 0; c < channels; c++) {
        const int64_t first = TENON_MAX(c - r->before, 0), last = TENON_MIN(c + r->after, channels - 1);
        float sum[TOGETHER] = { 0 };
        for (int64_t k = first; k <= last; k++)
            for (int64_t i = 0; i < pixels; i++) sum[i] += x[k * xs + i * xi] * x[k * xs + i * xi];
        for (int64_t i = 0; i < pixels; i++)
            y[c * ys + i * yi] = x[c * xs + i * xi] / power(r->bias + r->alpha * sum[i], r->beta);
    }
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const tenon_nd *nd = &r->lines.other;
    const int axes = nd->rank ? nd->rank - 1 : 0;
    const int64_t xi = nd->rank ? nd->stride[0][axes] : 0, yi = nd->rank ? nd->stride[1][axes] : 0;
    int64_t begin, end;
    tenon_split(tenon_nd_count(nd, axes) * r->blocks, 1, w->member, w->count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t outer = i / r->blocks, pixel = i % r->blocks * r->width;
        const float *x = r->x + tenon_nd_offset(nd, 0, axes, outer) + pixel * xi;
        block(r, x, xi, r->y + tenon_nd_offset(nd, 1, axes, outer) + pixel * yi, yi, TENON_MIN(r->run - pixel, r->width));
    }
    return TENON_OK;
}

const tenon_tactic tenon_cpu_lrn_f32 = {
    .name = "cpu.lrn_f32", .pattern = "lrn", .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan, .bind = bind,
    .run = run,
};
