/* SPDX-License-Identifier: Apache-2.0 */
/* nms_chosen, the part of a non_max_suppression whose result has a size: nms.cu. Variants: {threads of a block}. */
#include "cuda/estimate.h"
#include "cuda/point_source.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_nms[];

enum { P_THREADS = 0, BOXES_MOST = 300000, THREADS_LEAST = 64, THREADS_MOST = 1024 };

typedef struct own {
    tenon_cuda_space space; /* tensor 0 is the result */
    tenon_cuda_points points;
} own;

static const char *make(const tenon_problem *p, own *o)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    memset(o, 0, sizeof *o);
    if (a->post || a->pre[0] || a->pre[1] || a->pre[2] || a->pre[3]) return "a program beside it";
    if (n->src[1]->type.dim[2]->hi > BOXES_MOST) return "more than 300000 boxes";
    if (n->src_count > 2 && n->src[2]) return "a limit that is not known";
    return tenon_cuda_points_of_result(p, n, n->src_count, &o->space, &o->points);
}

static int64_t boxes_at_opt(const tenon_problem *p) { return tenon_dim_at_opt(p->graph->dims, p->anchor[0].node->src[1]->type.dim[2]); }

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    const int64_t wanted = TENON_MIN(TENON_MAX(tenon_pow2_up(TENON_MAX(boxes_at_opt(p) / 8, 1)), THREADS_LEAST), THREADS_MOST);
    int count = 0;
    (void)device;
    if (max > 0) out[count++] = (tenon_variant){{(int32_t)wanted}};
    if (count < max && wanted > THREADS_LEAST) out[count++] = (tenon_variant){{(int32_t)wanted / 2}};
    if (count < max && wanted < THREADS_MOST) out[count++] = (tenon_variant){{(int32_t)wanted * 2}};
    return count;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    const int threads = v->p[P_THREADS];
    (void)device, (void)scratch;
    const char *why = make(p, &o);
    if (why) return why;
    if (threads < THREADS_LEAST || threads > THREADS_MOST || tenon_pow2_up(threads) != threads) return "no such variant";
    return tenon_cuda_space_most(&o.space) > INT32_MAX || !tenon_cuda_points_near(&o.points) ? "more elements than 32-bit indices reach" : NULL;
}

/* A threshold: a number, or the source that has it. */
static void print_threshold(const tenon_node *n, int src, const char *name, const char *attr, tenon_buf *b)
{
    const double v = tenon_node_float(n, attr);
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (src < n->src_count && n->src[src])
        tenon_buf_printf(b, "#define %s tenon_to<double>::value(*tenon_source<%s>(args, %d))\n", name, tenon_cuda_type(n->src[src]->type.dtype), src);
    else tenon_buf_printf(b, "#define %s __longlong_as_double(0x%016" PRIx64 "ll)\n", name, bits);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    const tenon_node *n = p->anchor[0].node;
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    (void)device;
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.nms_chosen: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#include \"prelude.cu\"\n");
    tenon_cuda_space_print(&o->space, &b);
    tenon_cuda_points_print(&o->points, &o->space, &b);
    const tenon_dtype t = n->src[0]->type.dtype;
    tenon_buf_printf(&b, "#define X_TYPE %s\ntypedef %s tenon_number;\n#define BOXES %d\n#define CENTER %d\n#define HAS_SCORE %d\n",
                     tenon_cuda_type(t), t == TENON_F64 ? "double" : "float", (int)TENON_MAX(n->src[1]->type.dim[2]->hi, 1),
                     tenon_node_int(n, "center_point_box") != 0,
                     (n->src_count > 4 && n->src[4]) || tenon_node_attr(n, "score_threshold")->set);
    print_threshold(n, 3, "IOU", "iou_threshold", &b);
    print_threshold(n, 4, "SCORE", "score_threshold", &b);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_nms, "tenon_nms", tenon_cuda_space_numbers(&o->space) + o->points.numbers, o, out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DTHREADS=%d", v->p[P_THREADS]);
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tenon_tensor *y = &b->dst[0], *most = b->dst_most ? b->dst_most : b->dst;
    memset(r, 0, sizeof *r);
    TENON_TRY(tenon_cuda_space_bind(cx, &o->space, y->dim, &y, b->shape));
    tenon_cuda_points_bind(b, &o->points, &o->space, &r->args);
    r->args.at[0] = y->data;
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    r->grid[0] = (uint32_t)(most->dim[0] * most->dim[1]);
    r->grid[1] = r->grid[2] = 1;
    r->threads = (uint32_t)b->variant->p[P_THREADS];
    return TENON_OK;
}

/* A round goes over the boxes that are left, and waits for all of the block. */
static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    const double n = (double)boxes_at_opt(p), classes = (double)(dst[0].dim[0] * dst[0].dim[1]), rounds = (double)dst[0].dim[2] + 1;
    const double each = n / v->p[P_THREADS];
    const tenon_cuda_work w = {.bytes = tenon_cuda_bytes(&src[0]) + tenon_cuda_bytes(&src[1]) + tenon_cuda_bytes(&dst[0]),
                               .flops = classes * rounds * n * 20, .threads = classes * v->p[P_THREADS], .in_flight = 16,
                               .waits = rounds * (2 + each / 4)};
    return tenon_cuda_estimate(device, &w);
}

const tenon_tactic tenon_cuda_nms_chosen = {
    .name = "cuda.nms_chosen", .pattern = "nms_chosen", .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject,
    .plan = plan, .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "nms",
};
