/* SPDX-License-Identifier: Apache-2.0 */
/* roi_align: x (n, c, h, w), rois (r, 4) as x1 y1 x2 y2, batch_indices (r) -> (r, c, output_height, output_width). Each result
   element is the mean or the maximum over a grid of bilinear samples of its bin. mode max takes the maximum of the four weighted
   corners of each sample, not of the samples: this is what ONNX's tests and runtimes do. */
#include "op/dense.h"
#include "op/rule.h"

#include <math.h>

static const tenon_attr_def attrs[] = {{.name = "mode", .kind = TENON_ATTR_STRING, .s = "avg"},
                                       {.name = "coordinate_transformation_mode", .kind = TENON_ATTR_STRING, .s = "half_pixel"},
                                       {.name = "output_height", .kind = TENON_ATTR_INT, .i = 1},
                                       {.name = "output_width", .kind = TENON_ATTR_INT, .i = 1},
                                       {.name = "sampling_ratio", .kind = TENON_ATTR_INT},
                                       {.name = "spatial_scale", .kind = TENON_ATTR_FLOAT, .f = 1},
                                       {0}};
static const char *const modes[] = {"avg", "max", NULL};
static const char *const transforms[] = {"output_half_pixel", "half_pixel", NULL};

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int mode, transform;
    TENON_TRY(tenon_rule_word(cx, n, "mode", modes, &mode));
    TENON_TRY(tenon_rule_word(cx, n, "coordinate_transformation_mode", transforms, &transform));
    TENON_TRY(tenon_rule_rank(cx, n, 0, "x", 4, 4));
    TENON_TRY(tenon_rule_rank(cx, n, 1, "rois", 2, 2));
    TENON_TRY(tenon_rule_rank(cx, n, 2, "batch_indices", 1, 1));
    TENON_TRY(tenon_rule_float(cx, n, 0, "x"));
    TENON_TRY(tenon_rule_float(cx, n, 1, "rois"));
    const tenon_type *x = tenon_rule_type(n, 0), *rois = tenon_rule_type(n, 1);
    TENON_TRY(tenon_rule_equal(cx, g, "last axis of rois", rois->dim[1], "what it must be", tenon_dim_const(g->dims, 4)));
    TENON_TRY(
        tenon_rule_equal(cx, g, "number of rois", rois->dim[0], "number of batch_indices", tenon_rule_type(n, 2)->dim[0]));
    const int64_t h = tenon_node_int(n, "output_height"), w = tenon_node_int(n, "output_width");
    if (h < 1 || w < 1 || tenon_node_int(n, "sampling_ratio") < 0)
        return TENON_FAIL(cx, TENON_INVALID, "output_height %lld, output_width %lld, sampling_ratio %lld",
                          (long long)h, (long long)w, (long long)tenon_node_int(n, "sampling_ratio"));
    const tenon_dim *dim[4] = {rois->dim[0], x->dim[1], tenon_dim_const(g->dims, h), tenon_dim_const(g->dims, w)};
    if (!dim[2] || !dim[3]) return TENON_NOMEM;
    tenon_infer_set(n, 0, x->dtype, 4, dim);
    return TENON_OK;
}

/* The two neighbours of a coordinate on an axis of `size`, and the weight of the second; false: too far outside, the sample is 0.
 */
static bool neighbours(double v, int64_t size, int64_t *low, int64_t *high, double *weight)
{
    if (!(v >= -1 && v <= (double)size)) return false;
    v = TENON_MAX(v, 0);
    *low = TENON_MIN((int64_t)v, size - 1);
    *high = TENON_MIN(*low + 1, size - 1);
    *weight = *low == size - 1 ? 0 : v - (double)*low;
    return true;
}

typedef struct bins {
    double y, x, bin_h, bin_w;
    int64_t grid_h, grid_w;
    bool max;
} bins;

static double bin_value(const bins *b, const double *plane, int64_t h, int64_t w, int64_t ph, int64_t pw)
{
    double sum = 0, best = 0;
    bool first = true;
    for (int64_t iy = 0; iy < b->grid_h; iy++)
        for (int64_t ix = 0; ix < b->grid_w; ix++) {
            int64_t y0 = 0, y1 = 0, x0 = 0, x1 = 0;
            double fy = 0, fx = 0, corner[4] = {0};
            if (neighbours(b->y + ((double)ph + ((double)iy + 0.5) / (double)b->grid_h) * b->bin_h, h, &y0, &y1, &fy) &&
                neighbours(b->x + ((double)pw + ((double)ix + 0.5) / (double)b->grid_w) * b->bin_w, w, &x0, &x1, &fx)) {
                corner[0] = (1 - fy) * (1 - fx) * plane[y0 * w + x0], corner[1] = (1 - fy) * fx * plane[y0 * w + x1];
                corner[2] = fy * (1 - fx) * plane[y1 * w + x0], corner[3] = fy * fx * plane[y1 * w + x1];
            }
            for (int k = 0; k < 4; k++) {
                sum += corner[k];
                if (first || corner[k] > best) best = corner[k];
                first = false;
            }
        }
    return b->max ? best : sum / (double)TENON_MAX(b->grid_h * b->grid_w, 1);
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    const tenon_tensor *x = &call->src[0], *y = &call->dst[0];
    const tenon_node *n = call->node;
    int mode, half;
    TENON_TRY(tenon_rule_word(cx, n, "mode", modes, &mode));
    TENON_TRY(tenon_rule_word(cx, n, "coordinate_transformation_mode", transforms, &half));
    const double scale = tenon_node_float(n, "spatial_scale"), shift = half ? 0.5 : 0;
    const int64_t ratio = tenon_node_int(n, "sampling_ratio"), h = x->dim[2], w = x->dim[3], oh = y->dim[2], ow = y->dim[3];
    const double *px = tenon_dense_f64(heap, x), *rois = tenon_dense_f64(heap, &call->src[1]);
    const int64_t *image = tenon_dense_i64(heap, &call->src[2]);
    double *out = tenon_dense_new_f64(heap, tenon_tensor_count(y)), *to = out;
    if (!px || !rois || !image || !out) return TENON_NOMEM;
    for (int64_t r = 0; r < y->dim[0]; r++) {
        const double *roi = rois + r * 4;
        if (image[r] < 0 || image[r] >= x->dim[0])
            return TENON_FAIL(cx, TENON_INVALID, "batch index %lld, batch of x is %lld", (long long)image[r],
                              (long long)x->dim[0]);
        double height = (roi[3] - roi[1]) * scale, width = (roi[2] - roi[0]) * scale;
        if (!half) height = TENON_MAX(height, 1), width = TENON_MAX(width, 1);
        bins b = {.y = roi[1] * scale - shift,
                  .x = roi[0] * scale - shift,
                  .bin_h = height / (double)oh,
                  .bin_w = width / (double)ow,
                  .max = mode == 1};
        b.grid_h = ratio ? ratio : (int64_t)ceil(TENON_MIN(TENON_MAX(b.bin_h, 0), 1e6));
        b.grid_w = ratio ? ratio : (int64_t)ceil(TENON_MIN(TENON_MAX(b.bin_w, 0), 1e6));
        for (int64_t c = 0; c < x->dim[1]; c++)
            for (int64_t i = 0; i < oh * ow; i++)
                *to++ = bin_value(&b, px + (image[r] * x->dim[1] + c) * h * w, h, w, i / ow, i % ow);
    }
    tenon_dense_store_f64(y, out);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)src;
    const double ratio = (double)TENON_MAX(tenon_node_int(n, "sampling_ratio"), 2);
    return 8 * ratio * ratio * (double)tenon_tensor_count(dst);
}

const tenon_op tenon_op_roi_align = {
    .name = "roi_align", .attr = attrs, .onnx = "RoiAlign", .onnx_since = 16, .flags = TENON_OP_ANCHOR, .src_min = 3,
    .src_max = 3, .dst_min = 1, .dst_max = 1, .infer = infer, .ref = ref, .flops = flops, .tol = 2e-5,
};
