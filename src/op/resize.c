/* SPDX-License-Identifier: Apache-2.0 */
/* Resize: nearest, linear or cubic, each axis on its own (the interpolations are separable), with all coordinate transformations.
   `scales` or `sizes` (attribute, or source 2 or 3 when not constant) say the result's size on `axes` (unset: all). The reference
   makes a list of weighted taps for every result index of an axis and applies the axes one after the other. Deviation by intent:
   a size from scales is floor(float(in) * scale) in single precision, as exporters and runtimes compute it. */
#include "op/dense.h"
#include "op/rule.h"

#include <math.h>
#include <string.h>

static const tenon_attr_def attrs[] = {{.name = "mode", .kind = TENON_ATTR_STRING, .s = "nearest"},
                                       {.name = "coordinate_transformation_mode", .kind = TENON_ATTR_STRING, .s = "half_pixel"},
                                       {.name = "nearest_mode", .kind = TENON_ATTR_STRING, .s = "round_prefer_floor"},
                                       {.name = "cubic_coeff_a", .kind = TENON_ATTR_FLOAT, .f = -0.75},
                                       {.name = "exclude_outside", .kind = TENON_ATTR_INT},
                                       {.name = "extrapolation_value", .kind = TENON_ATTR_FLOAT},
                                       {.name = "antialias", .kind = TENON_ATTR_INT},
                                       {.name = "axes", .kind = TENON_ATTR_INTS},
                                       {.name = "keep_aspect_ratio_policy", .kind = TENON_ATTR_STRING, .s = "stretch"},
                                       {.name = "roi", .kind = TENON_ATTR_FLOATS},
                                       {.name = "scales", .kind = TENON_ATTR_FLOATS},
                                       {.name = "sizes", .kind = TENON_ATTR_INTS},
                                       {0}};
static const char *const src_attr[] = {NULL, "roi", "scales", "sizes"};
enum { SRC_ROI = 1, SRC_SCALES, SRC_SIZES };

typedef enum { NEAREST, LINEAR, CUBIC } mode_kind;
typedef enum {
    HALF_PIXEL,
    HALF_PIXEL_SYMMETRIC,
    PYTORCH_HALF_PIXEL,
    ALIGN_CORNERS,
    ASYMMETRIC,
    CROP_AND_RESIZE,
    HALF_PIXEL_FOR_NN
} transform_kind;
typedef enum { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR, CEIL } nearest_kind;
typedef enum { STRETCH, NOT_LARGER, NOT_SMALLER } policy_kind;

static const char *const mode_words[] = {"nearest", "linear", "cubic", NULL};
static const char *const transform_words[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",   "align_corners",
                                              "asymmetric", "tf_crop_and_resize",   "tf_half_pixel_for_nn", NULL};
static const char *const nearest_words[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil", NULL};
static const char *const policy_words[] = {"stretch", "not_larger", "not_smaller", NULL};

typedef struct options {
    int mode, transform, nearest, policy;
    bool exclude, antialias;
    double a, extrapolation;
} options;

static tenon_status options_get(tenon_cx *cx, const tenon_node *n, options *o)
{
    TENON_TRY(tenon_rule_word(cx, n, "mode", mode_words, &o->mode));
    TENON_TRY(tenon_rule_word(cx, n, "coordinate_transformation_mode", transform_words, &o->transform));
    TENON_TRY(tenon_rule_word(cx, n, "nearest_mode", nearest_words, &o->nearest));
    TENON_TRY(tenon_rule_word(cx, n, "keep_aspect_ratio_policy", policy_words, &o->policy));
    o->exclude = tenon_node_int(n, "exclude_outside") != 0;
    o->antialias = tenon_node_int(n, "antialias") != 0;
    o->a = tenon_node_float(n, "cubic_coeff_a");
    o->extrapolation = tenon_node_float(n, "extrapolation_value");
    return TENON_OK;
}

/* Entry i of scales, sizes and roi belongs to axis list[i]. */
static tenon_status axes_get(tenon_cx *cx, const tenon_node *n, int rank, int *list, int *count)
{
    const tenon_attr *a = tenon_node_attr(n, "axes");
    bool seen[TENON_MAX_RANK] = {0};
    *count = a->set && a->count ? (int)a->count : rank;
    if (a->count > (size_t)rank)
        return TENON_FAIL(cx, TENON_INVALID, "axes has %zu entries, rank of x is %d", a->count, rank);
    for (int i = 0; i < *count; i++) {
        list[i] = i;
        if (a->set && a->count) TENON_TRY(tenon_infer_axis(cx, "axis", a->ints[i], rank, &list[i]));
        if (seen[list[i]]) return TENON_FAIL(cx, TENON_INVALID, "axis %d is named twice", list[i]);
        seen[list[i]] = true;
    }
    return TENON_OK;
}

static tenon_status check_count(tenon_cx *cx, const char *what, size_t count, int axes)
{
    if (count == (size_t)axes) return TENON_OK;
    return TENON_FAIL(cx, TENON_INVALID, "%s has %zu entries for %d axes", what, count, axes);
}

/* floor(in * scale): computed in single precision for a number; for a symbol the scale must be a fraction with a small
   denominator. */
static tenon_status scaled(tenon_cx *cx, tenon_graph *g, const tenon_dim *in, double scale, const tenon_dim **out)
{
    tenon_dim_pool *p = g->dims;
    const float s = (float)scale;
    if (!(s > 0) || !(s < 1e6f)) return TENON_FAIL(cx, TENON_INVALID, "scale %g", scale);
    *out = NULL;
    if (s == 1) *out = in;
    else if (tenon_dim_is_const(in)) *out = tenon_dim_const(p, (int64_t)((float)in->value * s));
    for (int64_t q = 1; !*out && q <= 4096; q++) {
        const double num = round((double)s * (double)q);
        if (num > 0 && (float)(num / (double)q) == s)
            *out = tenon_dim_floordiv(p, tenon_dim_mul(p, in, tenon_dim_const(p, (int64_t)num)), tenon_dim_const(p, q));
        if (p->failed) return TENON_NOMEM;
    }
    if (*out) return TENON_OK;
    tenon_rule_text text;
    return TENON_FAIL(cx, TENON_UNSUPPORTED, "scale %.9g of the dynamic dimension %s is not a simple fraction", scale,
                      tenon_rule_dim(g, in, &text));
}

/* sizes under a keep_aspect_ratio_policy: one scale for all axes, each size rounded half up; static shapes only. */
static tenon_status keep_ratio(tenon_cx *cx, tenon_graph *g, int policy, const int *axis, int count, const tenon_type *x,
                               const tenon_dim **dim)
{
    double best = 0;
    for (int i = 0; i < count; i++) {
        const tenon_dim *in = x->dim[axis[i]], *size = dim[axis[i]];
        if (!tenon_dim_is_const(in) || !tenon_dim_is_const(size) || in->value == 0)
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "keep_aspect_ratio_policy needs static shapes");
        const double ratio = (double)size->value / (double)in->value;
        if (i == 0 || (policy == NOT_LARGER ? ratio < best : ratio > best)) best = ratio;
    }
    for (int i = 0; i < count; i++)
        if (!(dim[axis[i]] = tenon_dim_const(g->dims, (int64_t)floor(best * (double)x->dim[axis[i]]->value + 0.5))))
            return TENON_NOMEM;
    return TENON_OK;
}

/* float contents of a source known at build: data or fsym. */
static bool float_contents(const tenon_value *v, int count, double *out)
{
    for (int i = 0; i < count; i++) {
        if (v->is_const && v->data) out[i] = tenon_tensor_get_f64(v->data, tenon_tensor_offset(v->data, i));
        else if (v->fsym && v->sym_count == (size_t)count) out[i] = v->fsym[i];
        else return false;
    }
    return true;
}

static const tenon_value *given(const tenon_node *n, int i)
{
    const tenon_value *v = tenon_rule_src(n, i);
    return v && v->type.rank == 1 && tenon_dim_is(v->type.dim[0], 0) ? NULL : v; /* ONNX writes an absent input as an empty one */
}

static tenon_status sizes_infer(tenon_cx *cx, tenon_graph *g, const tenon_node *n, const tenon_type *x, const options *o,
                                const tenon_dim **dim)
{
    int axis[TENON_MAX_RANK], count;
    TENON_TRY(axes_get(cx, n, x->rank, axis, &count));
    const tenon_attr *scales = tenon_node_attr(n, "scales"), *sizes = tenon_node_attr(n, "sizes");
    const tenon_value *scales_src = given(n, SRC_SCALES), *sizes_src = given(n, SRC_SIZES);
    const bool by_scale = scales->count || scales_src, by_size = sizes->count || sizes_src;
    if (by_scale == by_size)
        return TENON_FAIL(cx, TENON_INVALID, "%s scales and sizes are given", by_scale ? "both" : "neither");
    const tenon_dim *const *contents = NULL;
    double factor[TENON_MAX_RANK];
    size_t length = 0;
    if (by_scale) {
        if (scales->count) TENON_TRY(check_count(cx, "scales", scales->count, count));
        for (int i = 0; i < count && scales->count; i++) factor[i] = scales->floats[i];
        if (scales->count || float_contents(scales_src, count, factor)) {
            for (int i = 0; i < count; i++) TENON_TRY(scaled(cx, g, x->dim[axis[i]], factor[i], &dim[axis[i]]));
            return TENON_OK;
        }
    } else if (sizes->count) {
        TENON_TRY(check_count(cx, "sizes", sizes->count, count));
    } else if ((contents = tenon_infer_contents(g, sizes_src, &length))) {
        TENON_TRY(check_count(cx, "sizes", length, count));
    }
    for (int i = 0; i < count; i++) {
        dim[axis[i]] = sizes->count ? tenon_dim_const(g->dims, sizes->ints[i])
                       : contents   ? contents[i]
                                    : tenon_dim_symbol_fresh(g->dims, "resize", 1, TENON_DIM_HUGE);
        if (!dim[axis[i]]) return TENON_NOMEM;
        if (dim[axis[i]]->hi < 1)
            return TENON_FAIL(cx, TENON_INVALID, "size %lld on axis %d", (long long)dim[axis[i]]->hi, axis[i]);
    }
    return by_size && o->policy != STRETCH ? keep_ratio(cx, g, o->policy, axis, count, x, dim) : TENON_OK;
}

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    options o;
    TENON_TRY(options_get(cx, n, &o));
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 1, TENON_MAX_RANK));
    TENON_TRY(tenon_rule_number(cx, n, 0, "x"));
    const tenon_type *x = tenon_rule_type(n, 0);
    const tenon_dim *dim[TENON_MAX_RANK];
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
    TENON_TRY(sizes_infer(cx, g, n, x, &o, dim));
    tenon_infer_set(n, 0, x->dtype, x->rank, dim);
    return TENON_OK;
}

/* ---- reference ---- */

/* One axis: `width` taps a result index; index < 0: the extrapolation value. */
typedef struct taps {
    int64_t width, *index;
    double *weight;
} taps;
typedef struct axis_map {
    int64_t in, out;
    double scale, roi_begin, roi_end;
} axis_map;

static double source_of(const options *o, const axis_map *m, int64_t i)
{
    const double x = (double)i, length = m->scale * (double)m->in; /* not rounded: as ONNX has it */
    switch ((transform_kind)o->transform) {
    case HALF_PIXEL: break;
    case HALF_PIXEL_SYMMETRIC: return (double)m->in / 2 * (1 - (double)m->out / length) + (x + 0.5) / m->scale - 0.5;
    case PYTORCH_HALF_PIXEL: return length == 1 ? 0 : (x + 0.5) / m->scale - 0.5;
    case ALIGN_CORNERS: return length == 1 ? 0 : x * (double)(m->in - 1) / (length - 1);
    case ASYMMETRIC: return x / m->scale;
    case HALF_PIXEL_FOR_NN: return (x + 0.5) / m->scale;
    case CROP_AND_RESIZE: {
        const double last = (double)(m->in - 1), part = m->roi_end - m->roi_begin;
        return m->roi_begin * last + (length == 1 ? part * last / 2 : x * part * last / (length - 1));
    }
    }
    return (x + 0.5) / m->scale - 0.5;
}

static int64_t nearest_of(int nearest, double x)
{
    switch ((nearest_kind)nearest) {
    case ROUND_PREFER_FLOOR: return (int64_t)ceil(x - 0.5);
    case ROUND_PREFER_CEIL: return (int64_t)floor(x + 0.5);
    case FLOOR: return (int64_t)floor(x);
    case CEIL: break;
    }
    return (int64_t)ceil(x);
}

static double cubic_weight(double x, double a)
{
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static tenon_status axis_taps(tenon_heap *heap, const options *o, const axis_map *m, taps *t)
{
    const double shrink = o->antialias && m->scale < 1 ? m->scale : 1; /* the filter widens when the image shrinks */
    const double reach = (o->mode == CUBIC ? 2 : 1) / shrink;
    t->width = o->mode == NEAREST ? 1 : (int64_t)ceil(2 * reach) + 1;
    t->index = (int64_t *)(void *)tenon_dense_new_f64(heap, m->out * t->width);
    t->weight = tenon_dense_new_f64(heap, m->out * t->width);
    if (!t->index || !t->weight) return TENON_NOMEM;
    for (int64_t i = 0; i < m->out; i++) {
        int64_t *index = t->index + i * t->width;
        double *weight = t->weight + i * t->width, sum = 0;
        double x = source_of(o, m, i);
        const bool outside = o->transform == CROP_AND_RESIZE && !(x >= 0 && x <= (double)(m->in - 1));
        if (!(fabs(x) < 1e15)) x = 0; /* a scale or a region that is not a number */
        const int64_t first = o->mode == NEAREST ? nearest_of(o->nearest, x) : (int64_t)floor(x - reach) + 1;
        for (int64_t j = 0; j < t->width; j++) {
            const int64_t at = first + j;
            const double distance = ((double)at - x) * shrink;
            weight[j] = o->mode == NEAREST ? 1
                        : o->mode == CUBIC ? cubic_weight(distance, o->a)
                                           : TENON_MAX(1 - fabs(distance), 0);
            if (o->exclude && o->mode != NEAREST && (at < 0 || at >= m->in)) weight[j] = 0;
            index[j] = outside ? -1 : TENON_MIN(TENON_MAX(at, 0), m->in - 1);
            sum += weight[j];
        }
        for (int64_t j = 0; j < t->width && (o->exclude || o->antialias); j++) weight[j] /= sum;
    }
    return TENON_OK;
}

/* Interpolates the middle axis of (outer, in, inner); a result index without taps gets the extrapolation value. */
static void axis_apply(const taps *t, const axis_map *m, int64_t outer, int64_t inner, const double *x, double extrapolation,
                       double *y)
{
    for (int64_t b = 0; b < outer; b++)
        for (int64_t i = 0; i < m->out; i++) {
            const int64_t *index = t->index + i * t->width;
            const double *weight = t->weight + i * t->width;
            for (int64_t k = 0; k < inner; k++) {
                double sum = 0;
                for (int64_t j = 0; j < t->width; j++)
                    if (index[j] >= 0 && weight[j] != 0) sum += weight[j] * x[(b * m->in + index[j]) * inner + k];
                y[(b * m->out + i) * inner + k] = index[0] < 0 ? extrapolation : sum;
            }
        }
}

/* Entry i of a float list that is an attribute or a source; false when it is neither. */
static bool float_at(const tenon_eval_call *call, const char *attr, int src, int i, double *out)
{
    const tenon_attr *a = tenon_node_attr(call->node, attr);
    const tenon_tensor *t = tenon_call_has(call, src) ? &call->src[src] : NULL;
    if ((size_t)i < a->count) *out = a->floats[i];
    else if (t && i < tenon_tensor_count(t)) *out = tenon_tensor_get_f64(t, tenon_tensor_offset(t, i));
    else return false;
    return true;
}

static tenon_status maps_get(tenon_cx *cx, const tenon_eval_call *call, const options *o, axis_map *map)
{
    const tenon_tensor *x = &call->src[0], *y = &call->dst[0];
    int axis[TENON_MAX_RANK], count;
    TENON_TRY(axes_get(cx, call->node, x->rank, axis, &count));
    for (int i = 0; i < x->rank; i++) map[i] = (axis_map){.in = x->dim[i], .out = y->dim[i], .scale = 1, .roi_end = 1};
    double ratio = 0;
    for (int i = 0; i < count; i++) {
        axis_map *m = &map[axis[i]];
        if (!float_at(call, "scales", SRC_SCALES, i, &m->scale)) m->scale = (double)m->out / (double)TENON_MAX(m->in, 1);
        else m->scale = (float)m->scale;
        (void)float_at(call, "roi", SRC_ROI, i, &m->roi_begin);
        (void)float_at(call, "roi", SRC_ROI, count + i, &m->roi_end);
    }
    if (o->policy == STRETCH || float_at(call, "scales", SRC_SCALES, 0, &ratio)) return TENON_OK;
    const tenon_attr *sizes = tenon_node_attr(call->node, "sizes");
    for (int pass = 0; pass < 2; pass++) /* the ratio of the sizes asked for, then for every axis */
        for (int i = 0; i < count; i++) {
            axis_map *m = &map[axis[i]];
            const tenon_tensor *t = tenon_call_has(call, SRC_SIZES) ? &call->src[SRC_SIZES] : NULL;
            if (!t && (size_t)i >= sizes->count) return TENON_FAIL(cx, TENON_INVALID, "no sizes");
            const double size =
                (double)((size_t)i < sizes->count ? sizes->ints[i] : tenon_tensor_get_i64(t, tenon_tensor_offset(t, i)));
            const double own = size / (double)TENON_MAX(m->in, 1);
            if (pass) m->scale = ratio;
            else if (i == 0 || (o->policy == NOT_LARGER ? own < ratio : own > ratio)) ratio = own;
        }
    return TENON_OK;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *x = &call->src[0];
    options o;
    axis_map map[TENON_MAX_RANK];
    TENON_TRY(options_get(cx, call->node, &o));
    TENON_TRY(maps_get(cx, call, &o, map));
    if (tenon_tensor_count(&call->dst[0]) == 0) return TENON_OK;
    if (tenon_tensor_count(x) == 0) return TENON_FAIL(cx, TENON_INVALID, "x is empty");
    const double *from = tenon_dense_f64(heap, x);
    if (!from) return TENON_NOMEM;
    int64_t outer = 1, inner = tenon_tensor_count(x);
    for (int i = 0; i < x->rank; i++) {
        inner /= map[i].in;
        const bool same = map[i].in == map[i].out && map[i].scale == 1 &&
                          (o.transform != CROP_AND_RESIZE || (map[i].roi_begin == 0 && map[i].roi_end == 1));
        if (!same) {
            taps t;
            double *to = tenon_dense_new_f64(heap, outer * map[i].out * inner);
            if (!to) return TENON_NOMEM;
            TENON_TRY(axis_taps(heap, &o, &map[i], &t));
            axis_apply(&t, &map[i], outer, inner, from, o.extrapolation, to);
            from = to;
        }
        outer *= map[i].out;
    }
    tenon_dense_store_f64(&call->dst[0], from);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    const char *mode = tenon_node_attr(n, "mode")->s;
    const double taps_an_axis = !strcmp(mode, "cubic") ? 4 : !strcmp(mode, "linear") ? 2 : 1;
    double each = 1;
    for (int i = 0; i < src[0].rank; i++)
        if (src[0].dim[i] != dst[0].dim[i]) each *= taps_an_axis;
    return 2 * each * (double)tenon_tensor_count(dst);
}

const tenon_op tenon_op_resize = {
    .name = "resize", .attr = attrs, .onnx = "Resize", .onnx_since = 11, .flags = TENON_OP_ANCHOR, .src_min = 1, .src_max = 4,
    .dst_min = 1, .dst_max = 1, .src_attr = src_attr, .axes = "nchw", .infer = infer, .ref = ref, .flops = flops, .tol = 2e-5,
};
