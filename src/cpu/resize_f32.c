/* SPDX-License-Identifier: Apache-2.0 */
/* resize of f32 maps with a program after it. Where channels are contiguous, nearest and linear over two image axes: a result
   pixel is one or four source pixels; which they are is computed for each row and column as it comes, a division beside many
   channels. In any other order, also cubic and along one axis: a line of results at a time, source lines blended first, then
   their elements by a table that each member makes once. */
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
    int taps;            /* along an axis: 1, 2, 4 */
    double a;            /* cubic */
    const float *x;
    int64_t image, plane, channels;
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

/* Scales of all axes, or sizes, as attributes; images and channels are not resized. */
static const char *reject_extent(const tenon_node *n)
{
    const tenon_attr *scales = tenon_node_attr(n, "scales"), *sizes = tenon_node_attr(n, "sizes");
    const tenon_type *x = &n->src[0]->type, *y = &n->dst[0]->type;
    const size_t rank = (size_t)x->rank;
    if (tenon_node_attr(n, "axes")->count) return "axes are listed";
    if (scales->count != rank && sizes->count != rank) return "scales or sizes are no attribute with an entry for every axis";
    for (int i = 0; i < 2; i++)
        if (x->dim[i] != y->dim[i] || (scales->count && scales->floats[i] != 1.0)) return "images or channels are resized";
    return strcmp(tenon_node_attr(n, "keep_aspect_ratio_policy")->s, "stretch") == 0 ? NULL : "the aspect ratio is kept";
}

static int taps_along(const tenon_node *n)
{
    const char *mode = tenon_node_attr(n, "mode")->s;
    return strcmp(mode, "nearest") == 0 ? 1 : strcmp(mode, "linear") == 0 ? 2 : 4;
}

static const char *reject_common(const tenon_problem *p)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const char *why = tenon_row_post_reject(p, a);
    if (why) return why;
    if (a->pre[0] || tenon_problem_src(p, n->src[0]) < 0 || n->src[0]->type.dtype != TENON_F32)
        return "the source is not f32 in memory";
    if (tenon_node_int(n, "antialias") || tenon_node_int(n, "exclude_outside")) return "antialias or exclude_outside";
    if (word(n, "coordinate_transformation_mode", transform_words, TRANSFORMS) < 0)
        return "an uncommon transformation of coordinates";
    return word(n, "nearest_mode", rounding_words, ROUNDINGS) < 0 ? "an unknown nearest_mode" : NULL;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_node *n = p->anchor[0].node;
    const char *why = reject_common(p);
    if (why) return why;
    if (n->src[0]->type.rank != 4) return "not two image axes";
    if (p->src[tenon_problem_src(p, n->src[0])].format.layout != TENON_CLAST && !tenon_dim_is(n->src[0]->type.dim[1], 1))
        return "channels are not contiguous";
    return taps_along(n) <= 2 ? reject_extent(n) : "neither nearest nor linear";
}

static const char *reject_lines(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_node *n = p->anchor[0].node;
    const char *why = reject_common(p);
    if (why) return why;
    const int rank = n->src[0]->type.rank;
    return rank == 3 || rank == 4 ? reject_extent(n) : "not one or two image axes";
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

enum { TABLE_ENTRY = 4 * (sizeof(int64_t) + sizeof(float)) };

static tenon_status plan_lines(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                               tenon_tactic_plan *out)
{
    (void)v, (void)device;
    const tenon_node *n = p->anchor[0].node;
    const int last = n->src[0]->type.rank - 1;
    const int64_t in = n->src[0]->type.dim[last]->hi, to = n->dst[0]->type.dim[last]->hi;
    if (in >= INT64_C(1) << 32 || to >= INT64_C(1) << 32)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "lines without an upper bound");
    out->record_bytes = sizeof(record);
    out->scratch_bytes = ((size_t)to * (TABLE_ENTRY + sizeof(float)) + (size_t)in * sizeof(float) + 63) / 64 * 64;
    return TENON_OK;
}

static tenon_status bind_rows(tenon_cx *cx, const tenon_bind *b, bool lines, record *r)
{
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = &b->src[tenon_problem_src(b->problem, n->src[0])], *y = &b->dst[0];
    const tenon_attr *scales = tenon_node_attr(n, "scales");
    TENON_TRY(tenon_row_post_bind(cx, b, &b->problem->anchor[0], lines ? y->rank - 1 : 1, &r->post));
    tenon_row_post_seal(&r->post);
    r->kernels = tenon_rows_f32_best();
    r->transform = (transform)word(n, "coordinate_transformation_mode", transform_words, TRANSFORMS);
    r->rounding = (rounding)word(n, "nearest_mode", rounding_words, ROUNDINGS);
    r->taps = taps_along(n);
    r->nearest = r->taps == 1;
    r->a = tenon_node_float(n, "cubic_coeff_a");
    r->x = x->data;
    r->image = x->stride[0];
    r->plane = x->stride[1];
    r->channels = x->dim[1];
    for (int i = 0; i < 2; i++) {
        const int axis = x->rank - 2 + i;
        if (axis < 2) {
            r->axis[i] = (axis_map){ 1, 1, 0, 1 };
            continue;
        }
        const double scale = scales->count ? (double)(float)scales->floats[axis]
            : (double)y->dim[axis] / (double)TENON_MAX(x->dim[axis], 1);
        r->axis[i] = (axis_map){ x->dim[axis], y->dim[axis], x->stride[axis], scale };
    }
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out) { return bind_rows(cx, b, false, out); }
static tenon_status bind_lines(tenon_cx *cx, const tenon_bind *b, void *out) { return bind_rows(cx, b, true, out); }

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

static double cubic_weight(double x, double a)
{
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* Offsets and weights of an axis' taps; with one or two taps two offsets are set. */
static void taps_of(const record *r, const axis_map *m, int64_t i, int64_t *offset, float *weight)
{
    double x = source_of(r, m, i);
    if (!(fabs(x) < 1e15)) x = 0; /* a scale that is not a number */
    if (r->nearest) {
        offset[0] = offset[1] = inside(nearest_of(r->rounding, x), m->in) * m->stride;
        return;
    }
    const double low = floor(x);
    for (int k = 0; k < 4 && r->taps == 4; k++) {
        offset[k] = inside((int64_t)low - 1 + k, m->in) * m->stride;
        weight[k] = (float)cubic_weight(low - 1 + k - x, r->a);
    }
    if (r->taps == 4) return;
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

/* ---- lines ---- */
/* Blends `count` source lines, `step` between elements; a weight of 0 hides what may be infinite. */
static void blend_lines(const float *x, int64_t step, const int64_t *offset, const float *weight, int count, float *out,
                        int64_t n)
{
    for (int64_t i = 0; i < n; i++) out[i] = 0.0f;
    for (int k = 0; k < count; k++) {
        const float *p = x + offset[k], w = weight[k];
        for (int64_t i = 0; i < n && w != 0; i++) out[i] += w * p[i * step];
    }
}

static void blend_elements(const record *r, const float *x, int64_t step, const int64_t *offset, const float *weight, float *out)
{
    const int64_t n = r->axis[1].out;
    for (int64_t i = 0; i < n; i++) {
        if (r->nearest) {
            out[i] = x[offset[4 * i] * step];
            continue;
        }
        float sum = 0;
        for (int k = 0; k < r->taps; k++)
            if (weight[4 * i + k] != 0) sum += weight[4 * i + k] * x[offset[4 * i + k] * step];
        out[i] = sum;
    }
}

static tenon_status run_lines(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const int64_t wide = r->axis[1].out, high = r->axis[0].out, in = r->axis[1].in, step = r->axis[1].stride;
    int64_t *offset = w->scratch, oy[4] = { 0 }, begin, end;
    float *weight = (float *)(offset + 4 * wide), *blended = weight + 4 * wide, *line = blended + in, wy[4] = { 1, 0, 0, 0 };
    axis_map unit = r->axis[1]; /* offsets in elements, whatever the stride */
    unit.stride = 1;
    for (int64_t i = 0; i < wide; i++) taps_of(r, &unit, i, offset + 4 * i, weight + 4 * i);
    tenon_split(r->post.rows, 1, w->member, w->count, &begin, &end);
    for (int64_t row = begin; row < end && in > 0; row++) {
        const int64_t map = row / high;
        const float *x = r->x + map / r->channels * r->image + map % r->channels * r->plane;
        float *y = tenon_row_post_target(&r->post, row, line);
        taps_of(r, &r->axis[0], row % high, oy, wy);
        if (r->nearest) {
            blend_elements(r, x + oy[0], step, offset, weight, y);
        } else {
            blend_lines(x, step, oy, wy, r->taps, blended, in);
            blend_elements(r, blended, 1, offset, weight, y);
        }
        tenon_row_post_run(&r->post, row, y);
    }
    return TENON_OK;
}

#define RESIZE(suffix, how)                                                                                                      \
    const tenon_tactic tenon_cpu_resize##suffix##_f32 = {                                                                        \
        .name = "cpu.resize" #suffix "_f32", .pattern = "resize", .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject##how,    \
        .plan = plan##how, .bind = bind##how, .run = run##how,                                                                   \
    }
RESIZE(, );
RESIZE(_lines, _lines);
