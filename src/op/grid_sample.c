/* SPDX-License-Identifier: Apache-2.0 */
/* grid_sample: x (n, c, d1..dk), grid (n, o1..ok, k) of coordinates in [-1, 1], the last axis of x first -> (n, c, o1..ok). k = 1
   to 3. Modes nearest (half to even), linear, cubic (a = -0.75); padding zeros, border, reflection. Each axis gives weighted
   taps; the result is their product. Opset 16 said bilinear and bicubic. */
#include "op/dense.h"
#include "op/rule.h"

#include <math.h>

static const tenon_attr_def attrs[] = {{.name = "mode", .kind = TENON_ATTR_STRING, .s = "linear"},
                                       {.name = "padding_mode", .kind = TENON_ATTR_STRING, .s = "zeros"},
                                       {.name = "align_corners", .kind = TENON_ATTR_INT},
                                       {0}};
static const char *const modes[] = {"linear", "nearest", "cubic", "bilinear", "bicubic", NULL};
static const char *const paddings[] = {"zeros", "border", "reflection", NULL};
enum { LINEAR, NEAREST, CUBIC, BILINEAR, BICUBIC };
enum { ZEROS, BORDER, REFLECTION };

static tenon_status options_get(tenon_cx *cx, const tenon_node *n, int *mode, int *padding)
{
    TENON_TRY(tenon_rule_word(cx, n, "mode", modes, mode));
    if (*mode == BILINEAR) *mode = LINEAR;
    if (*mode == BICUBIC) *mode = CUBIC;
    return tenon_rule_word(cx, n, "padding_mode", paddings, padding);
}

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int mode, padding;
    TENON_TRY(options_get(cx, n, &mode, &padding));
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 3, 5));
    TENON_TRY(tenon_rule_float(cx, n, 0, "x"));
    const tenon_type *x = tenon_rule_type(n, 0);
    TENON_TRY(tenon_rule_rank(cx, n, 1, "grid", x->rank, x->rank));
    TENON_TRY(tenon_rule_float(cx, n, 1, "grid"));
    const tenon_type *grid = tenon_rule_type(n, 1);
    TENON_TRY(tenon_rule_equal(cx, g, "batch of x", x->dim[0], "batch of grid", grid->dim[0]));
    TENON_TRY(tenon_rule_equal(cx, g, "last axis of grid", grid->dim[x->rank - 1], "number of spatial axes",
                               tenon_dim_const(g->dims, x->rank - 2)));
    const tenon_dim *dim[TENON_MAX_RANK] = {x->dim[0], x->dim[1]};
    for (int i = 2; i < x->rank; i++) dim[i] = grid->dim[i - 1];
    tenon_infer_set(n, 0, x->dtype, x->rank, dim);
    return TENON_OK;
}

typedef struct taps {
    int count;
    int64_t index[4];
    double weight[4];
} taps; /* index -1: zero */

/* Folds x into [lo, hi] by reflection at both ends. */
static double reflect(double x, double lo, double hi)
{
    const double range = hi - lo;
    if (range <= 0) return lo;
    const double turn = fmod(fabs(x - lo), 2 * range);
    return lo + (turn > range ? 2 * range - turn : turn);
}

static int64_t place(int64_t i, int64_t size, int padding, bool align)
{
    if (i >= 0 && i < size) return i;
    if (padding == ZEROS) return -1;
    double x = (double)i;
    if (padding == REFLECTION) x = reflect(x, align ? 0 : -0.5, (double)size - (align ? 1 : 0.5));
    return (int64_t)TENON_MIN(TENON_MAX(x, 0), (double)(size - 1));
}

static double cubic_weight(double x)
{
    const double a = -0.75;
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* In single precision unless the grid is f64: a nearest neighbour halfway between two is decided by how the coordinate rounds. */
static double pixel(double coordinate, int64_t size, bool align, bool wide)
{
    if (wide) return align ? (coordinate + 1) / 2 * (double)(size - 1) : ((coordinate + 1) * (double)size - 1) / 2;
    const float c = (float)coordinate;
    return align ? (c + 1) / 2 * (float)(size - 1) : ((c + 1) * (float)size - 1) / 2;
}

static taps axis_taps(double x, int64_t size, int mode, int padding, bool align)
{
    taps t = {.count = mode == NEAREST ? 1 : mode == LINEAR ? 2 : 4};
    if (!(fabs(x) < 1e15)) x = -100; /* NaN, infinity: outside */
    if (mode == NEAREST) x = nearbyint(x);
    if (mode != CUBIC && padding == REFLECTION) x = reflect(x, align ? 0 : -0.5, (double)size - (align ? 1 : 0.5));
    if (mode != CUBIC && padding != ZEROS) x = TENON_MIN(TENON_MAX(x, 0), (double)(size - 1));
    const int64_t first = mode == NEAREST ? (int64_t)x : (int64_t)floor(x) - (mode == CUBIC);
    for (int i = 0; i < t.count; i++) {
        const double distance = (double)(first + i) - x;
        t.weight[i] = mode == NEAREST ? 1 : mode == LINEAR ? 1 - fabs(distance) : cubic_weight(distance);
        t.index[i] = place(first + i, size, padding, align);
    }
    return t;
}

static double sample(const double *plane, const int64_t *size, const taps *t)
{
    double sum = 0;
    for (int a = 0; a < t[0].count; a++)
        for (int b = 0; b < t[1].count; b++)
            for (int c = 0; c < t[2].count; c++) {
                if (t[0].index[a] < 0 || t[1].index[b] < 0 || t[2].index[c] < 0) continue;
                sum += t[0].weight[a] * t[1].weight[b] * t[2].weight[c] *
                       plane[(t[0].index[a] * size[1] + t[1].index[b]) * size[2] + t[2].index[c]];
            }
    return sum;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *x = &call->src[0], *y = &call->dst[0];
    const bool align = tenon_node_int(call->node, "align_corners") != 0;
    const bool wide = call->src[1].dtype == TENON_F64;
    const int spatial = x->rank - 2;
    int mode, padding;
    TENON_TRY(options_get(cx, call->node, &mode, &padding));
    int64_t size[3] = {1, 1, 1}, points = 1, plane = 1;
    for (int i = 0; i < spatial; i++) size[3 - spatial + i] = x->dim[2 + i], plane *= x->dim[2 + i], points *= y->dim[2 + i];
    const double *px = tenon_dense_f64(heap, x), *grid = tenon_dense_f64(heap, &call->src[1]);
    double *out = tenon_dense_new_f64(heap, tenon_tensor_count(y));
    if (!px || !grid || !out) return TENON_NOMEM;
    if (plane == 0) return TENON_FAIL(cx, TENON_INVALID, "x has an empty spatial axis");
    for (int64_t n = 0; n < x->dim[0]; n++)
        for (int64_t p = 0; p < points; p++) {
            taps t[3] = {{.count = 1, .weight = {1}}, {.count = 1, .weight = {1}}, {.count = 1, .weight = {1}}};
            for (int i = 0; i < spatial; i++)
                t[2 - i] = axis_taps(pixel(grid[(n * points + p) * spatial + i], size[2 - i], align, wide), size[2 - i], mode,
                                     padding, align);
            for (int64_t c = 0; c < x->dim[1]; c++)
                out[(n * x->dim[1] + c) * points + p] = sample(px + (n * x->dim[1] + c) * plane, size, t);
        }
    tenon_dense_store_f64(y, out);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)n;
    return 2.0 * (double)(1 << (src[0].rank - 2)) * (double)tenon_tensor_count(dst);
}

const tenon_op tenon_op_grid_sample = {
    .name = "grid_sample", .attr = attrs, .onnx = "GridSample", .onnx_since = 16, .flags = TENON_OP_ANCHOR, .src_min = 2,
    .src_max = 2, .dst_min = 1, .dst_max = 1, .axes = "nchw", .infer = infer, .ref = ref, .flops = flops, .tol = 2e-5,
};
