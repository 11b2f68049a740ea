/* SPDX-License-Identifier: Apache-2.0 */
/* resize of f32 maps, nearest and linear over the two image axes, channels contiguous, with a program after it: a result pixel
   is one or four source pixels. Which they are is computed for each row and column as it comes: a division beside many
   channels. */
#include "base/team.h"
#include "cpu/row_post.h"
#include "cpu/rows_f32.h"

#include <math.h>
#include <string.h>

typedef enum { HALF_PIXEL, PYTORCH_HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC, TRANSFORMS } transform;
static const char *const transform_words[TRANSFORMS] = { "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric" };
typedef enum { PREFER_FLOOR, PREFER_CEIL, FLOOR, CEIL, ROUNDINGS } rounding;
static const char *const rounding_words[ROUNDINGS] = { "round_prefer_floor", "round_prefer_ceil", "floor", "ceil" };

typedef struct axis_map { int64_t in, out, stride; double scale; } axis_map;
typedef struct record {
    const tenon_rows_f32 *kernels;
    transform transform;
    rounding rounding;
    bool nearest;
    const float *x;
    int64_t image, channels;
    axis_map axis[2];
    tenon_row_post post;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static int word(const tenon_node *n, const char *attr, const char *const *words, int count)
{
    const char *s = tenon_node_attr(n, attr)->s;
    for (int i = 0; i < count; i++)
        if (s && strcmp(s, words[i]) == 0) return i;
    return -1;
}

/* Scales of all four axes, or sizes, as attributes; images and channels are not resized. */
static const char *reject_extent(const tenon_node *n)
{
    const tenon_attr *scales = tenon_node_attr(n, "scales"), *sizes = tenon_node_attr(n, "sizes"), *axes =
        tenon_node_attr(n, "axes");
    const tenon_type *x = &n->src[0]->type, *y = &n->dst[0]->type;
    if (axes->count) return "axes are listed";
    if (scales->count != 4 && sizes->count != 4) return "scales or sizes are no attribute of four entries";
    for (int i = 0; i < 2; i++)
        if (x->dim[i] != y->dim[i] || (scales->count && scales->floats[i] != 1.0)) return "images or channels are resized";
    return strcmp(tenon_node_attr(n, "keep_aspect_ratio_policy")->s, "stretch") == 0 ? NULL : "the aspect ratio is kept";
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const char *why = tenon_row_post_reject(p, a);
    if (why) return why;
    const int x = tenon_problem_src(p, n->src[0]);
    if (a->pre[0] || x < 0 || n->src[0]->type.dtype != TENON_F32) return "the source is not f32 in memory";
    if (n->src[0]->type.rank != 4) return "not two image axes";
    if (p->src[x].format.layout != TENON_CLAST && !tenon_dim_is(n->src[0]->type.dim[1], 1)) return "channels are not contiguous";
    const char *mode = tenon_node_attr(n, "mode")->s;
    if (strcmp(mode, "nearest") != 0 && strcmp(mode, "linear") != 0) return "neither nearest nor linear";
    if (tenon_node_int(n, "antialias") || tenon_node_int(n, "exclude_outside")) return "antialias or exclude_outside";
    if (word(n, "coordinate_transformation_mode", transform_words,
             TRANSFORMS) < 0) return "an uncommon transformation of coordinates";
    if (word(n, "nearest_mode", rounding_words, ROUNDINGS) < 0) return "an unknown nearest_mode";
    return reject_extent(n);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)v, (void)device;
    const int64_t most = p->anchor[0].node->src[0]->type.dim[1]->hi;
    if (most >= INT64_C(1) << 32) return TENON_FAIL(cx, TENON_UNSUPPORTED, "channels without an upper bound");
    out->record_bytes = sizeof(record);
    out->scratch_bytes = ((size_t)most * sizeof(float) + 63) / 64 * 64;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = &b->src[tenon_problem_src(b->problem, n->src[0])], *y = &b->dst[0];
    const tenon_attr *scales = tenon_node_attr(n, "scales");
    TENON_TRY(tenon_row_post_bind(cx, b, &b->problem->anchor[0], 1, &r->post));
    tenon_row_post_seal(&r->post);
    r->kernels = tenon_rows_f32_best();
    r->transform = (transform)word(n, "coordinate_transformation_mode", transform_words, TRANSFORMS);
    r->rounding = (rounding)word(n, "nearest_mode", rounding_words, ROUNDINGS);
    r->nearest = strcmp(tenon_node_attr(n, "mode")->s, "nearest") == 0;
    r->x = x->data;
    r->image = x->stride[0];
    r->channels = x->dim[1];
    for (int i = 0; i < 2; i++) {
        const double scale = scales->count ? (double)(float)scales->floats[i + 2]
            : (double)y->dim[i + 2] / (double)TENON_MAX(x->dim[i + 2], 1);
        r->axis[i] = (axis_map){ x->dim[i + 2], y->dim[i + 2], x->stride[i + 2], scale };
    }
    return TENON_OK;
}

static double source_of(const record *r, const axis_map *m, int64_t i)
{
    const double x = (double)i, length = m->scale * (double)m->in;
    if (r->transform == ASYMMETRIC) return x / m->scale;
    if (r->transform == ALIGN_CORNERS) return length == 1 ? 0 : x * (double)(m->in - 1) / (length - 1);
    if (r->transform == PYTORCH_HALF_PIXEL && length == 1) return 0;
    return (x + 0.5) / m->scale - 0.5;
}
static int64_t nearest_of(rounding how, double x)
{
    return (int64_t)(how == PREFER_FLOOR ? ceil(x - 0.5) : how == PREFER_CEIL ? floor(x + 0.5) : how == FLOOR ? floor(x)
                     : ceil(x));
}
static int64_t inside(int64_t i, int64_t count) { return i < 0 ? 0 : i >= count ? count - 1 : i; }

/* Offsets and weights of an axis' one or two taps. */
static void taps_of(const record *r, const axis_map *m, int64_t i, int64_t *offset, float *weight)
{
    const double x = source_of(r, m, i);
    if (r->nearest) {
        offset[0] = offset[1] = inside(nearest_of(r->rounding, x), m->in) * m->stride;
        return;
    }
    const double low = floor(x);
    offset[0] = inside((int64_t)low, m->in) * m->stride;
    offset[1] = inside((int64_t)low + 1, m->in) * m->stride;
    weight[1] = (float)(x - low);
    weight[0] = (float)(1 - (x - low));
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const int64_t width = r->axis[1].out, height = r->axis[0].out;
    int64_t begin, end, oy[2] = { 0 }, ox[2], last = -1;
    float wy[2] = { 1, 0 }, wx[2] = { 1, 0 };
    tenon_split(r->post.rows, 1, w->member, w->count, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const int64_t line = row / width;
        if (line != last) taps_of(r, &r->axis[0], line % height, oy, wy);
        last = line;
        taps_of(r, &r->axis[1], row % width, ox, wx);
        const float *x = r->x + line / height * r->image;
        float *y = tenon_row_post_target(&r->post, row, w->scratch);
        if (r->nearest) {
            memcpy(y, x + oy[0] + ox[0], (size_t)r->channels * sizeof *y);
        } else {
            const float *const tap[4] = { x + oy[0] + ox[0], x + oy[0] + ox[1], x + oy[1] + ox[0], x + oy[1] + ox[1] };
            const float weight[4] = { wy[0] * wx[0], wy[0] * wx[1], wy[1] * wx[0], wy[1] * wx[1] };
            r->kernels->blend4(tap, weight, y, r->channels);
        }
        tenon_row_post_run(&r->post, row, y);
    }
    return TENON_OK;
}

const tenon_tactic tenon_cpu_resize_f32 = {
    .name = "cpu.resize_f32", .pattern = "resize", .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan, .bind =
        bind,
    .run = run,
};
