/* SPDX-License-Identifier: Apache-2.0 */
/* Packed weights of transposed convolutions, for kernels that walk panels of output channels. A result pixel of phase p (its
   place modulo the stride) sees only the taps with (p + pad - tap * dilation) % stride == 0, so those of one class lie together:

       [group][panel][class of r][class of s][r][s][c][width]   class: tap * dilation % stride; width nr, the last panel of a
                                                                  group a multiple of vw; zeros behind filters
   A weight (c, k / group, r, s) may have any strides; one spatial axis is a kernel of one row. */
#include "op/eval.h"
#include "op/rule.h"

#include "base/checked.h"

static const tenon_attr_def attrs[] = {{.name = "group", .kind = TENON_ATTR_INT, .i = 1},
                                       {.name = "nr", .kind = TENON_ATTR_INT, .i = 16},
                                       {.name = "vw", .kind = TENON_ATTR_INT, .i = 16},
                                       {.name = "stride_r", .kind = TENON_ATTR_INT, .i = 1},
                                       {.name = "stride_s", .kind = TENON_ATTR_INT, .i = 1},
                                       {.name = "dilation_r", .kind = TENON_ATTR_INT, .i = 1},
                                       {.name = "dilation_s", .kind = TENON_ATTR_INT, .i = 1},
                                       {0}};

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    int64_t dim[4] = {0, 0, 1, 1};
    TENON_TRY(tenon_rule_weight_dims(cx, n, 3, 4, dim));
    const int64_t group = tenon_node_int(n, "group"), nr = tenon_node_int(n, "nr"), vw = tenon_node_int(n, "vw");
    bool fits = group >= 1 && vw >= 1 && nr >= 1 && nr % vw == 0 && dim[0] % group == 0;
    for (int i = 3; i < 7; i++) fits = fits && tenon_node_int(n, attrs[i].name) >= 1;
    if (!fits) return TENON_FAIL(cx, TENON_INVALID, "pack_conv_transpose: group %lld, nr %lld, vw %lld, %lld channels",
                                 (long long)group, (long long)nr, (long long)vw, (long long)dim[0]);
    const int64_t size[] = {dim[0], tenon_ceil_div(dim[1], vw), vw, dim[2], dim[3]};
    return tenon_rule_packed(cx, g, n, TENON_F32, size, 5);
}

typedef struct axis { int64_t count, stride, dilation, step; } axis; /* taps; step: in elements of the weight */

/* One tap of one panel. */
static float *tap(const tenon_tensor *w, int64_t at, int64_t channels, int64_t columns, int64_t width, float *out)
{
    for (int64_t c = 0; c < channels; c++)
        for (int64_t k = 0; k < width; k++)
            *out++ = k < columns ? (float)tenon_tensor_get_f64(w, at + c * w->stride[0] + k * w->stride[1]) : 0.0f;
    return out;
}

static float *panel(const tenon_tensor *w, const axis *r, const axis *s, int64_t at, int64_t channels, int64_t columns,
                    int64_t width, float *out)
{
    for (int64_t class_r = 0; class_r < r->stride; class_r++)
        for (int64_t class_s = 0; class_s < s->stride; class_s++)
            for (int64_t i = 0; i < r->count; i++)
                for (int64_t j = 0; j < s->count; j++)
                    if (i * r->dilation % r->stride == class_r && j * s->dilation % s->stride == class_s)
                        out = tap(w, at + i * r->step + j * s->step, channels, columns, width, out);
    return out;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call)
{
    const tenon_node *n = call->node;
    const tenon_tensor *w = &call->src[0];
    const int64_t group = tenon_node_int(n, "group"), nr = tenon_node_int(n, "nr"), vw = tenon_node_int(n, "vw");
    const int64_t channels = w->dim[0] / group, filters = w->dim[1];
    const bool plane = w->rank == 4;
    const axis r = {plane ? w->dim[2] : 1, tenon_node_int(n, "stride_r"), tenon_node_int(n, "dilation_r"),
                    plane ? w->stride[2] : 0};
    const axis s = {w->dim[w->rank - 1], tenon_node_int(n, "stride_s"), tenon_node_int(n, "dilation_s"), w->stride[w->rank - 1]};
    TENON_TRY(tenon_eval_alloc(cx, call, 0));
    float *out = call->dst[0].data;
    for (int64_t g = 0; g < group; g++)
        for (int64_t first = 0; first < filters; first += nr) {
            const int64_t columns = TENON_MIN(filters - first, nr), width = TENON_MIN(nr, tenon_ceil_div(columns, vw) * vw);
            out = panel(w, &r, &s, g * channels * w->stride[0] + first * w->stride[1], channels, columns, width, out);
        }
    return TENON_OK;
}

const tenon_op tenon_op_pack_conv_transpose = {
    .name = "pack_conv_transpose", .attr = attrs, .flags = TENON_OP_WEIGHT, .src_min = 1, .src_max = 1, .dst_min = 1,
    .dst_max = 1, .infer = infer, .ref = ref,
};
