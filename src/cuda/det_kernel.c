/* SPDX-License-Identifier: Apache-2.0 */
/* det: determinants of matrices that shared memory holds: det.cu. */
#include "cuda/point_source.h"

#include <string.h>

extern const char tenon_cuda_src_det[];

enum { ORDER_MOST = 78 }; /* 48 KB of doubles */

typedef struct own {
    tenon_cuda_space space; /* tensor 0 is the result */
    tenon_cuda_points points;
} own;

static const char *make(const tenon_problem *p, own *o)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    memset(o, 0, sizeof *o);
    if (a->post || a->pre[0]) return "a program beside it";
    const tenon_type *x = &n->src[0]->type;
    if (x->dim[x->rank - 1]->hi > ORDER_MOST || x->dim[x->rank - 2]->hi > ORDER_MOST) return "matrices of more than 78 rows";
    return tenon_cuda_points_of_result(p, n, 1, &o->space, &o->points);
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    (void)v, (void)device, (void)scratch;
    const char *why = make(p, &o);
    if (why) return why;
    return tenon_cuda_space_most(&o.space) > INT32_MAX || !tenon_cuda_points_near(&o.points) ? "more elements than 32-bit indices reach" : NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)v, (void)device;
    const tenon_type *x = &p->anchor[0].node->src[0]->type;
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.det: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#include \"prelude.cu\"\n");
    tenon_cuda_space_print(&o->space, &b);
    tenon_cuda_points_print(&o->points, &o->space, &b);
    tenon_buf_str(&b, "static __device__ __forceinline__ int tenon_axis(int place) { return place; }\n"); /* row-major, nothing dropped */
    tenon_buf_printf(&b, "#define RANK0 %d\n#define X_TYPE %s\n#define ORDER %d\n", x->rank, tenon_cuda_type(x->dtype),
                     (int)TENON_MAX(x->dim[x->rank - 1]->hi, 1));
    return tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_det, "tenon_det", tenon_cuda_space_numbers(&o->space) + o->points.numbers, o, out);
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tenon_tensor *y = &b->dst[0];
    int64_t matrices = 1;
    memset(r, 0, sizeof *r);
    TENON_TRY(tenon_cuda_space_bind(cx, &o->space, y->dim, &y, b->shape));
    tenon_cuda_points_bind(b, &o->points, &o->space, &r->args);
    const tenon_tensor *most = b->dst_most ? b->dst_most : b->dst;
    for (int i = 0; i < y->rank; i++) matrices *= most->dim[i];
    r->args.at[0] = y->data;
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    r->grid[0] = (uint32_t)matrices;
    r->grid[1] = r->grid[2] = 1;
    r->threads = 32;
    return TENON_OK;
}

const tenon_tactic tenon_cuda_det = {
    .name = "cuda.det", .pattern = "det", .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan, .bind = bind,
    .run = tenon_cuda_run, .source_hash_of = "det",
};
