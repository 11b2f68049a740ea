/* SPDX-License-Identifier: Apache-2.0 */
/* resize of the spatial axes: nearest, linear and cubic, all coordinate transformations but crop_and_resize: resize.cu. */
#include "cuda/conv_problem.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

extern const char tenon_cuda_src_resize[];

/* In the order of the kernel's enumerations. */
static const char *const transforms[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
                                         "tf_half_pixel_for_nn", NULL};
static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil", NULL};
static const char *const modes[] = {"nearest", "linear", "cubic", NULL};

typedef struct own {
    tenon_cuda_conv conv;
    int mode, transform, rounding;
    double scale[3]; /* of the kernel's axes; 0: that of the sizes */
} own;

static int word(const tenon_node *n, const char *attr, const char *const *words)
{
    const char *s = tenon_node_attr(n, attr)->s;
    for (int i = 0; words[i]; i++)
        if (s && strcmp(s, words[i]) == 0) return i;
    return -1;
}

/* Entry i of scales or sizes is of axis axes[i]; images and channels must stay. */
static const char *find_scales(const tenon_node *n, own *o)
{
    const tenon_attr *axes = tenon_node_attr(n, "axes"), *scales = tenon_node_attr(n, "scales");
    const tenon_type *x = &n->src[0]->type, *y = &n->dst[0]->type;
    if (x->dim[0] != y->dim[0] || x->dim[1] != y->dim[1]) return "images or channels are resized";
    for (int k = 0; k < 3; k++) o->scale[k] = k < 3 - o->conv.axes || scales->count ? 1 : 0;
    for (size_t i = 0; i < scales->count; i++) {
        int64_t axis = axes->count ? axes->ints[i] : (int64_t)i;
        if (axis < 0) axis += x->rank;
        if (axis < 0 || axis >= x->rank) return "an axis out of range";
        if (axis < 2 && scales->floats[i] != 1.0) return "images or channels are resized";
        if (axis >= 2) o->scale[3 - o->conv.axes + axis - 2] = (double)(float)scales->floats[i];
    }
    return NULL;
}

static const char *make(const tenon_problem *p, own *o)
{
    const tenon_node *n = p->anchor[0].node;
    for (int i = 1; i < n->src_count; i++)
        if (n->src[i]) return "scales, sizes or a region as a source";
    if (n->src[0]->type.rank < 3 || n->src[0]->type.rank > 5) return "one to three spatial axes only";
    o->mode = word(n, "mode", modes);
    o->transform = word(n, "coordinate_transformation_mode", transforms);
    o->rounding = word(n, "nearest_mode", roundings);
    if (o->mode < 0 || o->transform < 0 || o->rounding < 0) return "a mode that there is no kernel for";
    if (strcmp(tenon_node_attr(n, "keep_aspect_ratio_policy")->s, "stretch") != 0) return "the aspect ratio is kept";
    if (tenon_node_int(n, "antialias")) return "antialiasing";
    const char *why = tenon_cuda_map_make(p, &o->conv);
    if (!why) why = find_scales(n, o);
    if (why) return why;
    if (!tenon_is_float(o->conv.dtype) && o->mode != 0) return "integers are not interpolated";
    return NULL;
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    own o;
    (void)device;
    return make(p, &o) ? 0 : tenon_cuda_map_variants(&o.conv, out, TENON_MIN(max, 2));
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    (void)device;
    const char *why = make(p, &o);
    if (why) return why;
    if (!tenon_cuda_map_takes(&o.conv, v)) return "no such variant";
    return p->anchor[0].post ? tenon_cuda_program_rejects(p->anchor[0].post, scratch) : NULL;
}

static void print_double(tenon_buf *b, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    tenon_buf_printf(b, "__longlong_as_double(0x%016" PRIx64 "ll)\n", bits);
}

static void print_options(const tenon_node *n, const own *o, tenon_buf *b)
{
    for (int k = 0; k < 3; k++) {
        tenon_buf_printf(b, "#define SCALE_%c ", "DHW"[k]);
        if (o->scale[k] != 0) print_double(b, o->scale[k]);
        else tenon_buf_printf(b, "((double)out / (double)tenon_x(args, X_IN + %d))\n", k);
    }
    tenon_buf_str(b, "#define CUBIC_A ");
    print_double(b, tenon_node_float(n, "cubic_coeff_a"));
    tenon_buf_printf(b, "#define TAPS %d\n#define TRANSFORM %d\n#define ROUNDING %d\n#define EXCLUDE %d\n", 1 << o->mode, o->transform, o->rounding,
                     tenon_node_int(n, "exclude_outside") != 0);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.resize: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#define POOL 1\n");
    tenon_cuda_conv_print(&o->conv, &b);
    print_options(p->anchor[0].node, o, &b);
    return tenon_cuda_map_plan(cx, p, v, &o->conv, &b, tenon_cuda_src_resize, "tenon_resize", o, out);
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    const own *o = b->plan->own;
    return tenon_cuda_map_bind(cx, b, &o->conv, record);
}

const tenon_tactic tenon_cuda_resize = {
    .name = "cuda.resize", .pattern = "resize", .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject, .plan = plan, .bind = bind,
    .run = tenon_cuda_run, .source_hash_of = "resize",
};
