/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: pool.cu. Channels-last maps are read in whole vectors, others one element at a time, neighbouring threads at neighbouring
   places. The indices of a max_pool are a second result. */
#include "cuda/conv_problem.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_pool[];

enum { P_VECTOR, THREADS = 128 };

typedef struct own { tenon_cuda_conv conv; bool y_planar; } own;

static const char *make(const tenon_problem *p, own *o)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_value *indices = n->dst_count > 1 ? n->dst[1] : NULL;
    tenon_cuda_conv *c = &o->conv;
    if (indices && tenon_node_int(n, "storage_order")) return "indices in column-major order";
    if (indices && tenon_problem_dst(p, indices) < 0) return "the indices are not a result";
    const char *why = tenon_cuda_pool_make(p, indices, c);
    if (why) return why;
    if (c->kernel[0] * c->kernel[1] * c->kernel[2] > 1 << 20) return "a window of more than 2^20 elements";
    o->y_planar = c->space.tensor[c->program.result[0]].stride[c->space.rank - 1] != 1;
    return NULL;
}

static bool vector_fits(const own *o, int vector)
{
    const int most = 16 / (int)tenon_dtype_bytes(o->conv.dtype, 1);
    return vector == 1 || ((vector == 2 || vector == 4 || vector == 8) && vector <= most && o->conv.number[CONV_STEP_C] == 1 && !o->y_planar);
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    own o;
    int count = 0;
    (void)device;
    if (make(p, &o)) return 0;
    for (int vector = 8; vector >= 1; vector /= 2)
        if (count < TENON_MIN(max, 3) && vector_fits(&o, vector)) out[count++] = (tenon_variant){{vector}};
    return count;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    (void)device;
    const char *why = make(p, &o);
    if (why) return why;
    if (v->p[P_VECTOR] < 1 || !vector_fits(&o, v->p[P_VECTOR])) return "no such variant";
    return p->anchor[0].post ? tenon_cuda_program_rejects(p->anchor[0].post, scratch) : NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    const tenon_node *n = p->anchor[0].node;
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.%s: %s", n->op->name, why);
    const bool average = strcmp(n->op->name, "average_pool") == 0, norm = strcmp(n->op->name, "lp_pool") == 0;
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#define POOL 1\n");
    tenon_cuda_conv_print(&o->conv, &b);
    tenon_buf_printf(&b, "#define TAPS (KERNEL_D * KERNEL_H * KERNEL_W)\n#define KIND %s\n"
                         "#define INCLUDE_PAD %d\n#define POWER %" PRId64 "\n#define Y_PLANAR %d\n",
                     average ? "AVERAGE" : norm ? "NORM" : "MAXIMUM", average && tenon_node_int(n, "count_include_pad"),
                     norm ? tenon_node_int(n, "p") : 0, o->y_planar);
    const tenon_status status = tenon_cuda_kernel_source(cx, p, &b, tenon_cuda_src_pool, "tenon_pool", &out->kernel[0]);
    tenon_buf_free(&b);
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DBLOCK=%d -DVC=%d", THREADS, v->p[P_VECTOR]);
    out->kernel_count = 1;
    out->record_bytes = sizeof(tenon_cuda_record);
    out->shape_count = tenon_cuda_conv_numbers(&o->conv);
    out->in_place = true;
    out->own = o;
    return status;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tenon_cuda_conv *c = &o->conv;
    TENON_TRY(tenon_cuda_conv_bind(cx, c, b, NULL, b->variant->p[P_VECTOR], r));
    const int64_t *most = tenon_cuda_conv_most(c, b);
    int64_t threads = tenon_ceil_div(c->channels, b->variant->p[P_VECTOR]);
    for (int i = 0; i < c->rank; i++)
        if (i != 1) threads *= most[i];
    r->grid[0] = (uint32_t)tenon_ceil_div(threads, THREADS);
    r->threads = THREADS;
    return TENON_OK;
}

#define TACTIC(op)                                                                                                          \
    const tenon_tactic tenon_cuda_##op = {                                                                                  \
        .name = "cuda." #op, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject,   \
        .plan = plan, .bind = bind, .run = tenon_cuda_run, .source_hash_of = "pool" }
TACTIC(max_pool);
TACTIC(average_pool);
TACTIC(lp_pool);
