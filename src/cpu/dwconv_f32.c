/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution in f32 (one input and one output channel a group), channels-last on both sides, the image read in place.
   Members share output rows, or ranges of channels when there are few rows. A row is cut into runs of up to eight pixels; runs
   that touch the left or right border use the clipped kernels. Programs that the kernel cannot do run over a buffer of whole
   rows. */
#include "cpu/epilogue_f32.h"
#include "cpu/f32_tactic.h"

#include "base/checked.h"
#include "base/team.h"
#include "op/window.h"

#include <string.h>

enum { BUFFER_BYTES = 24 << 10, MOST_BLOCK = 1 << 16, STREAM_BYTES = 3 << 19 };
enum { P_PIXELS, P_BLOCK }; /* parameters of a variant; block: vectors of channels, 0: by the size of L1 */

typedef struct record {
    const tenon_cpu_f32 *kernels;
    tenon_epilogue_f32 epilogue;
    tenon_domain domain;
    const float *weights, *x;
    int64_t x_n, x_h, x_w;              /* floats between images, rows, pixels */
    tenon_window w;
    int pixels, run, channel_members; /* run: most pixels of a kernel call, 0: the general kernel */
    int64_t channels, block; /* block: channels that walk all rows together */
    size_t buffer_bytes;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static int variants(const tenon_cpu_f32 *kernels, const tenon_problem *p, tenon_variant *out, int max)
{
    static const int32_t form[][2] = {{TENON_F32_DW_PIXELS, 0}, {TENON_F32_DW_PIXELS, 2}, {TENON_F32_DW_PIXELS, MOST_BLOCK},
                                      {4, 0}};
    int count = 0;
    (void)kernels, (void)p;
    for (; count < (int)TENON_COUNTOF(form) && count < max; count++)
        out[count] = (tenon_variant){{form[count][0], form[count][1]}};
    return count;
}

static const char *reject(const tenon_cpu_f32 *kernels, const tenon_problem *p, const tenon_variant *v, tenon_reason *scratch)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const tenon_type *x = &n->src[0]->type, *w = &n->src[1]->type;
    (void)kernels, (void)scratch;
    if (v->p[P_PIXELS] < 0 || v->p[P_PIXELS] > TENON_F32_DW_PIXELS || v->p[P_BLOCK] < 0 || v->p[P_BLOCK] > MOST_BLOCK)
        return "no such variant";
    if (x->rank < 3 || x->rank > 4) return "one or two spatial axes only";
    if (x->dtype != TENON_F32 || w->dtype != TENON_F32) return "not f32";
    if (a->pre[0] || a->pre[1] || a->pre[2]) return "a program on a source";
    const int source = tenon_problem_src(p, n->src[0]), weight = tenon_problem_src(p, n->src[1]);
    if (source < 0 || weight < 0) return "x or the weight is not a source";
    if (!p->src[weight].format.weight || !tenon_type_is_static(w)) return "the weight is not a constant";
    if (!tenon_dim_is(w->dim[1], 1) || !tenon_dim_is(w->dim[0], tenon_node_int(n, "group"))) return "not depthwise";
    if (w->rank == 4 && w->dim[2]->value > TENON_F32_DW_ROWS) return "too many kernel rows";
    for (int i = 0; i < w->rank; i++)
        if (w->dim[i]->value < 1) return "an empty weight";
    if (!tenon_dim_is(x->dim[1], 1) && !tenon_format_contiguous(&p->src[source], 1))
        return "the channels of x are not contiguous";
    if (n->src_count > 2 && n->src[2] && (tenon_problem_src(p, n->src[2]) < 0 || n->src[2]->type.dtype != TENON_F32))
        return "the bias is not an f32 source";
    const tenon_roles roles = tenon_roles_image(x->rank);
    return tenon_epilogue_f32_reject(p, a, &roles);
}

/* Scratch holds runs of pixels of all channels for the program: one run at least. */
static tenon_status plan(tenon_cx *cx, const tenon_cpu_f32 *kernels, const tenon_problem *p, const tenon_variant *v,
                         tenon_tactic_plan *out)
{
    const tenon_node *n = p->anchor[0].node;
    const int weight = tenon_problem_src(p, n->src[1]);
    const size_t run = (size_t)n->src[1]->type.dim[0]->value * TENON_F32_DW_PIXELS * 4;
    (void)cx, (void)v;
    out->record_bytes = sizeof(record);
    out->scratch_bytes = tenon_round_up(TENON_MAX(run, BUFFER_BYTES), 64);
    out->pack_count = 1;
    out->pack[0] = (tenon_pack){.op = &tenon_op_pack_depthwise, .src = {weight, -1, -1, -1}, .attr = {kernels->vw}};
    out->src_packed = UINT32_C(1) << weight;
    out->in_place = true;
    return TENON_OK;
}

/* Rows shared when they are many; else a grid over rows and channels whose busiest member has the least to do. */
static int choose_channel_members(const record *r, int threads)
{
    const int64_t rows = r->domain.outer[0] * r->domain.y, vectors = tenon_ceil_div(r->channels, r->kernels->vw);
    int best = 1;
    double least = -1;
    for (int by_channel = 1; by_channel <= threads; by_channel++) {
        const double share = (double)tenon_ceil_div(vectors, by_channel) + 0.5;
        const double work = (double)tenon_ceil_div(rows, threads / by_channel) * share;
        if (least < 0 || work < least) least = work, best = by_channel;
    }
    return best;
}

/* Most pixels of a run; 0: only the general kernel, a pixel at a time. */
static int longest_run(const record *r)
{
    const int64_t k = r->w.kernel[2], stride = r->w.stride[2];
    if ((k != 3 && k != 5 && k != 7) || stride > 2 || r->w.dilation[2] != 1) return 0;
    return TENON_MIN(r->pixels, r->kernels->dw_pixels[(k - 3) / 2][stride - 1]);
}

/* Vectors of channels that walk the image together: the rows under the kernel stay in L1, but calls are not too short. Images
   that stream through L2 are read whole pixel by whole pixel. */
static int64_t block_of(const record *r, int64_t wanted, int threads)
{
    const int64_t bytes = r->w.kernel[1] * r->w.in[2] * r->kernels->vw * 4;
    const int64_t moved = r->domain.outer[0] * r->channels * (r->w.in[1] * r->w.in[2] + r->domain.y * r->domain.x) * 4 / threads;
    if (wanted || moved > STREAM_BYTES) return wanted ? wanted : MOST_BLOCK;
    return TENON_MAX(TENON_MIN(BUFFER_BYTES / TENON_MAX(bytes, 1), 16), 4);
}

static tenon_status bind(tenon_cx *cx, const tenon_cpu_f32 *kernels, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_problem *p = b->problem;
    const tenon_node *n = p->anchor[0].node;
    const tenon_roles roles = tenon_roles_image(n->src[0]->type.rank);
    const tenon_tensor *x = &b->src[tenon_problem_src(p, n->src[0])], *w = &b->src[tenon_problem_src(p, n->src[1])];
    const tenon_tensor *bias = n->src_count > 2 && n->src[2] ? &b->src[tenon_problem_src(p, n->src[2])] : NULL;
    tenon_map map;
    memset(r, 0, sizeof *r);
    r->kernels = kernels;
    tenon_domain_of(&b->dst[0], &roles, &r->domain);
    TENON_TRY(tenon_window_get(cx, n, x, w->dim + 2, &b->dst[0], &r->w));
    TENON_TRY(tenon_epilogue_f32_bind(cx, b, &p->anchor[0], &roles, &r->domain, bias, false, kernels->isa, &r->epilogue));
    tenon_map_of(x, &roles, &map);
    r->x = (const float *)(const void *)map.base;
    r->x_n = map.outer[0], r->x_h = map.y, r->x_w = map.x;
    r->weights = b->pack[0].data;
    r->channels = x->dim[1];
    r->pixels = b->variant->p[P_PIXELS] ? b->variant->p[P_PIXELS] : TENON_F32_DW_PIXELS;
    r->run = longest_run(r);
    r->block = block_of(r, b->variant->p[P_BLOCK], b->threads) * kernels->vw;
    r->buffer_bytes = b->plan->scratch_bytes;
    r->channel_members = choose_channel_members(r, b->threads);
    return TENON_OK;
}

/* ---- run ---- */
typedef struct span { int64_t channel, channels; } span; /* of this member */

/* Pixels [from, to) of one output row into y, cut into runs that differ by one pixel at most; equal ones inside the image go to
   the kernel together. */
static void run_pixels(const record *r, span s, tenon_f32_dw *d, const float *const *row, int64_t from, int64_t to, float *y,
                       int64_t y_ld)
{
    const int64_t stride = r->w.stride[2], width = r->w.in[2], runs = tenon_ceil_div(to - from, TENON_MAX(r->run, 1));
    const int64_t pixels = (to - from) / runs, longer = (to - from) % runs; /* the first `longer` runs have one more */
    const float *x[TENON_F32_DW_ROWS];
    d->x = x;
    d->y_ld = y_ld;
    for (int64_t i = 0, at = from; i < runs; i += d->repeat) {
        const int64_t count = pixels + (i < longer), left = at * stride - r->w.begin[2]; /* input column of tap 0 */
        const int64_t reach = (count - 1) * stride + (r->w.kernel[2] - 1) * r->w.dilation[2] + 1;
        const bool clipped = left < 0 || left + reach > width;
        for (int k = 0; k < d->rows; k++) x[k] = row[k] + left * r->x_w + s.channel;
        d->lo = left < 0 ? -left : 0;
        d->hi = TENON_MIN(reach, width - left);
        d->y = y + (at - from) * y_ld;
        d->repeat = 1;
        if (!clipped && r->run)
            d->repeat = TENON_MIN((width - left - reach) / (count * stride) + 1, (i < longer ? longer : runs) - i);
        if (r->run) r->kernels->dw[(r->w.kernel[2] - 3) / 2][stride - 1][clipped][count](d);
        else r->kernels->dw_any(d);
        at += d->repeat * count;
    }
}

static void run_row(const record *r, span s, int64_t image, int64_t oy, float *buffer)
{
    const tenon_epilogue_f32 *e = &r->epilogue;
    const int64_t top = oy * r->w.stride[1] - r->w.begin[1], dilation = r->w.dilation[1], height = r->w.in[1];
    const float *row[TENON_F32_DW_ROWS];
    int first = 0, rows = 0;
    for (int k = 0; k < (int)r->w.kernel[1]; k++) {
        const int64_t y = top + k * dilation;
        if (y < 0 || y >= height) continue;
        if (!rows) first = k;
        row[rows++] = r->x + image * r->x_n + y * r->x_h;
    }
    tenon_f32_dw d = {.x_ld = r->x_w, .rows = rows, .taps = (int)(r->w.kernel[1] * r->w.kernel[2]),
                      .kernel_w = (int)r->w.kernel[2], .dilation = (int)r->w.dilation[2], .channels = s.channels,
                      .start = e->start ? e->start + s.channel : NULL};
    d.w = r->weights + s.channel * d.taps + first * d.kernel_w * r->kernels->vw;
    if (e->direct) {
        const tenon_map *to = &e->result[0];
        d.clamp = e->clamp, d.clamp_lo = e->lo, d.clamp_hi = e->hi;
        float *y = (float *)(void *)tenon_map_at(to, &r->domain, tenon_map_outer(to, &r->domain, image), oy * r->domain.x,
                                                 s.channel);
        run_pixels(r, s, &d, row, 0, r->domain.x, y, to->x);
        return;
    }
    const int64_t fit = TENON_MAX((int64_t)(r->buffer_bytes / 4) / TENON_MAX(s.channels, 1), 1);
    for (int64_t x = 0; x < r->domain.x; x += fit) {
        const int64_t end = TENON_MIN(x + fit, r->domain.x);
        run_pixels(r, s, &d, row, x, end, buffer, s.channels);
        tenon_epilogue_f32_run(e, &r->domain, image, oy * r->domain.x + x, end - x, s.channel, s.channels, buffer, s.channels);
    }
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const int row_members = w->count / r->channel_members;
    if (w->member >= row_members * r->channel_members) return TENON_OK;
    int64_t unit, end, channel, channel_end;
    tenon_split(r->domain.outer[0] * r->domain.y, 1, w->member / r->channel_members, row_members, &unit, &end);
    tenon_split(r->channels, r->kernels->vw, w->member % r->channel_members, r->channel_members, &channel, &channel_end);
    if (channel == channel_end) return TENON_OK;
    for (; channel < channel_end; channel += r->block) {
        const span s = {channel, TENON_MIN(r->block, channel_end - channel)};
        for (int64_t i = unit; i < end; i++) run_row(r, s, i / r->domain.y, i % r->domain.y, w->scratch);
    }
    return TENON_OK;
}

TENON_F32_TACTICS(dwconv, "conv", 0);
