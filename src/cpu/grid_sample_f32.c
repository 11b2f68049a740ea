/* SPDX-License-Identifier: Apache-2.0 */
/* grid_sample of f32 maps with two image axes, nearest and linear, with a program after it: each result pixel is one or four
   source pixels, all channels at once. A tap outside reads a row of zeros. Coordinates as in the reference: in single precision
   up to the pixel, then in double. */
#include "base/team.h"
#include "cpu/row_post.h"
#include "cpu/rows_f32.h"

#include <math.h>
#include <string.h>

typedef enum { ZEROS, BORDER, REFLECTION, PADDINGS } padding;
static const char *const padding_words[PADDINGS] = { "zeros", "border", "reflection" };

typedef struct record {
    const tenon_rows_f32 *kernels;
    padding padding;
    bool nearest, align;
    const float *x, *grid;
    int64_t image, channel, channels, size[2], step[2]; /* of x; size, step: rows, columns */
    int64_t out[2], grid_step[4];
    tenon_row_post post;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static bool is_linear(const char *mode) { return strcmp(mode, "linear") == 0 || strcmp(mode, "bilinear") == 0; }

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const char *why = tenon_row_post_reject(p, a), *mode = tenon_node_attr(n, "mode")->s;
    if (why) return why;
    if (a->pre[0] || a->pre[1]) return "a program before it";
    for (int i = 0; i < 2; i++)
        if (tenon_problem_src(p, n->src[i]) < 0 || n->src[i]->type.dtype != TENON_F32) return "a source is not f32";
    if (n->src[0]->type.rank != 4) return "not two image axes";
    if (n->src[0]->type.dim[2]->lo < 1 || n->src[0]->type.dim[3]->lo < 1) return "the image may be empty";
    if (n->src[0]->type.dim[1]->hi > 1 << 24) return "channels without an upper bound";
    return is_linear(mode) || strcmp(mode, "nearest") == 0 ? NULL : "neither nearest nor linear";
}

static size_t row_bytes(int64_t channels) { return ((size_t)channels * sizeof(float) + 63) / 64 * 64; }

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    out->scratch_bytes = 6 * row_bytes(p->anchor[0].node->src[0]->type.dim[1]->hi); /* result, zeros, four taps */
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = &b->src[tenon_problem_src(b->problem, n->src[0])], *y = &b->dst[0];
    const tenon_tensor *grid = &b->src[tenon_problem_src(b->problem, n->src[1])];
    TENON_TRY(tenon_row_post_bind(cx, b, &b->problem->anchor[0], 1, &r->post));
    tenon_row_post_seal(&r->post);
    r->kernels = tenon_rows_f32_best();
    r->padding = ZEROS;
    while (strcmp(padding_words[r->padding], tenon_node_attr(n, "padding_mode")->s) != 0) r->padding++;
    r->nearest = !is_linear(tenon_node_attr(n, "mode")->s);
    r->align = tenon_node_int(n, "align_corners") != 0;
    r->x = x->data;
    r->image = x->stride[0];
    r->channel = x->stride[1];
    r->channels = x->dim[1];
    r->grid = grid->data;
    for (int i = 0; i < 4; i++) r->grid_step[i] = grid->stride[i];
    for (int i = 0; i < 2; i++) {
        r->size[i] = x->dim[2 + i];
        r->step[i] = x->stride[2 + i];
        r->out[i] = y->dim[2 + i];
    }
    return TENON_OK;
}

/* ---- coordinates ---- */
static double reflect(double x, double lo, double hi)
{
    const double range = hi - lo;
    if (range <= 0) return lo;
    const double turn = fmod(fabs(x - lo), 2 * range);
    return lo + (turn > range ? 2 * range - turn : turn);
}

static int64_t place(const record *r, int64_t i, int64_t size)
{
    if (i >= 0 && i < size) return i;
    if (r->padding == ZEROS) return -1;
    double x = (double)i;
    if (r->padding == REFLECTION) x = reflect(x, r->align ? 0 : -0.5, (double)size - (r->align ? 1 : 0.5));
    return (int64_t)TENON_MIN(TENON_MAX(x, 0), (double)(size - 1));
}

/* Two taps of an axis, -1: outside; nearest has one, of weight 1. */
static void taps_of(const record *r, float c, int64_t size, int64_t *index, float *weight)
{
    double x = r->align ? (c + 1) / 2 * (float)(size - 1) : ((c + 1) * (float)size - 1) / 2;
    if (!(fabs(x) < 1e15)) x = -100; /* NaN, infinity: outside */
    if (r->nearest) x = nearbyint(x);
    if (r->padding == REFLECTION) x = reflect(x, r->align ? 0 : -0.5, (double)size - (r->align ? 1 : 0.5));
    if (r->padding != ZEROS) x = TENON_MIN(TENON_MAX(x, 0), (double)(size - 1));
    const int64_t first = r->nearest ? (int64_t)x : (int64_t)floor(x);
    for (int i = 0; i < 2; i++) {
        weight[i] = r->nearest ? (float)(i == 0) : (float)(1 - fabs((double)(first + i) - x));
        index[i] = weight[i] == 0 ? -1 : place(r, first + i, size);
    }
}

/* All channels of a pixel as they lie, or gathered. */
static const float *pixel(const record *r, const float *image, int64_t row, int64_t col, const float *zeros, float *gathered)
{
    if (row < 0 || col < 0) return zeros;
    const float *x = image + row * r->step[0] + col * r->step[1];
    if (r->channel == 1) return x;
    for (int64_t c = 0; c < r->channels; c++) gathered[c] = x[c * r->channel];
    return gathered;
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const size_t pitch = row_bytes(r->channels) / sizeof(float);
    float *zeros = (float *)w->scratch + pitch, *gathered = zeros + pitch;
    int64_t begin, end;
    memset(zeros, 0, pitch * sizeof(float));
    tenon_split(r->post.rows, 1, w->member, w->count, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const int64_t n = row / (r->out[0] * r->out[1]), i = row / r->out[1] % r->out[0], j = row % r->out[1];
        const float *at = r->grid + n * r->grid_step[0] + i * r->grid_step[1] + j * r->grid_step[2];
        const float *image = r->x + n * r->image, *tap[4];
        int64_t iy[2], ix[2];
        float wy[2], wx[2], weight[4];
        taps_of(r, at[r->grid_step[3]], r->size[0], iy, wy);
        taps_of(r, at[0], r->size[1], ix, wx);
        float *y = tenon_row_post_target(&r->post, row, w->scratch);
        for (int k = 0; k < 4; k++) {
            tap[k] = pixel(r, image, iy[k / 2], ix[k % 2], zeros, gathered + (size_t)k * pitch);
            weight[k] = wy[k / 2] * wx[k % 2];
        }
        if (r->nearest) memcpy(y, tap[0], (size_t)r->channels * sizeof *y);
        else r->kernels->blend4(tap, weight, y, r->channels);
        tenon_row_post_run(&r->post, row, y);
    }
    return TENON_OK;
}

const tenon_tactic tenon_cpu_grid_sample_f32 = {
    .name = "cpu.grid_sample_f32", .pattern = "grid_sample", .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan,
    .bind = bind, .run = run,
};
