/* SPDX-License-Identifier: Apache-2.0 */
/* Rewrites of operators that move or resample: what older opsets gave as attributes becomes constant inputs, Upsample and the
   first Resize become Resize with their coordinate rules spelled out. */
#include "onnx/import.h"

#include <string.h>

tenon_status tenon_onnx_pad_2(tenon_onnx_call *c)
{
    tenon_pb_ints pads;
    double value;
    const char *mode;
    tenon_node *n;
    TENON_TRY(tenon_onnx_need(c, 0, "data"));
    TENON_TRY(tenon_onnx_ints(c, "pads", &pads));
    TENON_TRY(tenon_onnx_float(c, "value", 0, &value));
    TENON_TRY(tenon_onnx_text(c, "mode", "constant", &mode));
    tenon_value *src[3] = {c->src[0], NULL, NULL};
    TENON_TRY(tenon_onnx_list(c, pads.item, pads.count, &src[1]));
    TENON_TRY(tenon_onnx_scalar(c, c->src[0]->type.dtype, value, &src[2]));
    TENON_TRY(tenon_onnx_emit(c, "pad", 3, src, 1, &n));
    TENON_TRY(tenon_node_set_string(c->g, n, "mode", mode));
    return tenon_onnx_typed(c, n, &c->dst[0]);
}

tenon_status tenon_onnx_slice_1(tenon_onnx_call *c)
{
    static const char *const name[] = {NULL, "starts", "ends", "axes"};
    tenon_value *src[4] = {NULL};
    tenon_node *n;
    TENON_TRY(tenon_onnx_need(c, 0, "data"));
    src[0] = c->src[0];
    for (int i = 1; i < 4; i++) {
        tenon_pb_ints list;
        TENON_TRY(tenon_onnx_ints(c, name[i], &list));
        if (tenon_onnx_has(c, name[i])) TENON_TRY(tenon_onnx_list(c, list.item, list.count, &src[i]));
    }
    if (!src[1] || !src[2]) return TENON_FAIL(c->cx, TENON_INVALID, "attribute 'starts' or 'ends' is missing");
    TENON_TRY(tenon_onnx_emit(c, "slice", src[3] ? 4 : 3, src, 1, &n));
    return tenon_onnx_typed(c, n, &c->dst[0]);
}

tenon_status tenon_onnx_top_k_1(tenon_onnx_call *c)
{
    int64_t k, axis;
    tenon_value *src[2];
    tenon_node *n;
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    TENON_TRY(tenon_onnx_int(c, "k", -1, &k));
    TENON_TRY(tenon_onnx_int(c, "axis", -1, &axis));
    if (k < 0) return TENON_FAIL(c->cx, TENON_INVALID, "attribute 'k' is missing or negative");
    src[0] = c->src[0];
    TENON_TRY(tenon_onnx_list(c, &k, 1, &src[1]));
    TENON_TRY(tenon_onnx_emit(c, "top_k", 2, src, 2, &n));
    TENON_TRY(tenon_node_set_int(c->g, n, "axis", axis));
    TENON_TRY(tenon_onnx_typed(c, n, &c->dst[0]));
    if (c->dst_count > 1) c->dst[1] = n->dst[1];
    return TENON_OK;
}

tenon_status tenon_onnx_scatter(tenon_onnx_call *c) { return tenon_onnx_direct_as(c, "scatter_elements"); }

tenon_status tenon_onnx_scan_8(tenon_onnx_call *c)
{
    return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "the Scan of opset 8, which has a batch axis: export with opset 9 or newer");
}

/* ---- Resize ---- */
/* Coordinates as Upsample and the Resize of opset 10 have them: x_result / scale, rounded down when nearest. */
static tenon_status resized(tenon_onnx_call *c, tenon_value *scales, const tenon_pb_floats *list)
{
    const char *mode;
    tenon_node *n;
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    TENON_TRY(tenon_onnx_text(c, "mode", "nearest", &mode));
    if (strcmp(mode, "bilinear") == 0) mode = "linear";
    TENON_TRY(tenon_onnx_emit(c, "resize", scales ? 3 : 1, (tenon_value *[]){c->src[0], NULL, scales}, 1, &n));
    const int index = tenon_attr_find(n->op, "scales");
    const tenon_tensor *known = NULL;
    if (index < 0) return TENON_FAIL(c->cx, TENON_INTERNAL, "resize has no attribute 'scales'");
    if (scales) TENON_TRY(tenon_onnx_known(c->im, c->g, scales, &known));
    if (known) {
        TENON_TRY(tenon_onnx_attr_from(c, n, index, 1, known));
        n->src_count = 1;
    } else if (list) {
        double *v = tenon_arena_array(c->im->arena, list->count + 1, sizeof *v);
        if (!v) return TENON_NOMEM;
        for (size_t i = 0; i < list->count; i++) v[i] = (double)list->item[i];
        n->attr[index] = (tenon_attr){.set = true, .floats = v, .count = list->count};
    }
    TENON_TRY(tenon_node_set_string(c->g, n, "mode", mode));
    TENON_TRY(tenon_node_set_string(c->g, n, "coordinate_transformation_mode", "asymmetric"));
    TENON_TRY(tenon_node_set_string(c->g, n, "nearest_mode", "floor"));
    return tenon_onnx_typed(c, n, &c->dst[0]);
}

tenon_status tenon_onnx_resize_10(tenon_onnx_call *c)
{
    if (!tenon_onnx_src(c, 1)) return TENON_FAIL(c->cx, TENON_INVALID, "input 1 (scales) is missing");
    return resized(c, c->src[1], NULL);
}

tenon_status tenon_onnx_upsample(tenon_onnx_call *c)
{
    if (c->opset >= 9) return tenon_onnx_resize_10(c);
    const tenon_pb_attr *a = tenon_onnx_attr(c->scope, c->node, "scales");
    if (!a || tenon_onnx_attr_type(a) != TENON_PB_FLOATS)
        return TENON_FAIL(c->cx, TENON_INVALID, "attribute 'scales' is missing");
    return resized(c, NULL, &a->floats);
}

/* Exporters hand over empty tensors for inputs that are not meant, and a roi that only one mode reads. */
tenon_status tenon_onnx_resize_11(tenon_onnx_call *c)
{
    const char *mode;
    TENON_TRY(tenon_onnx_need(c, 0, "X"));
    TENON_TRY(tenon_onnx_text(c, "coordinate_transformation_mode", "half_pixel", &mode));
    for (int i = 1; i < c->src_count; i++) {
        const tenon_value *v = c->src[i];
        if (v && ((v->type.rank == 1 && tenon_dim_is(v->type.dim[0], 0)) || (i == 1 && strcmp(mode, "tf_crop_and_resize") != 0)))
            c->src[i] = NULL;
    }
    return tenon_onnx_direct_as(c, "resize");
}
