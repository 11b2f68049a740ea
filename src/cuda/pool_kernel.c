/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: pool.cu. Channels-last maps are read in whole vectors, others one element at a time, neighbouring threads at neighbouring
   places. The indices of a max_pool are a second result. */
#include "cuda/conv_problem.h"

#include <inttypes.h>
#include <string.h>

extern const char tenon_cuda_src_pool[];

static const char *make(const tenon_problem *p, tenon_cuda_conv *c)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_value *indices = n->dst_count > 1 ? n->dst[1] : NULL;
    if (indices && tenon_problem_dst(p, indices) < 0) return "the indices are not a result";
    const char *why = tenon_cuda_pool_make(p, indices, c);
    if (why) return why;
    if (c->kernel[0] * c->kernel[1] * c->kernel[2] > 1 << 20) return "a window of more than 2^20 elements";
    return NULL;
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    tenon_cuda_conv c;
    (void)device;
    return make(p, &c) ? 0 : tenon_cuda_map_variants(&c, out, TENON_MIN(max, 3));
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    tenon_cuda_conv c;
    (void)device;
    const char *why = make(p, &c);
    if (why) return why;
    if (!tenon_cuda_map_takes(&c, v)) return "no such variant";
    return p->anchor[0].post ? tenon_cuda_program_rejects(p->anchor[0].post, scratch) : NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    const tenon_node *n = p->anchor[0].node;
    tenon_cuda_conv *c = tenon_arena_alloc(p->graph->arena, sizeof *c);
    if (!c) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = make(p, c);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.%s: %s", n->op->name, why);
    const bool average = strcmp(n->op->name, "average_pool") == 0, norm = strcmp(n->op->name, "lp_pool") == 0;
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#define POOL 1\n");
    tenon_cuda_conv_print(c, &b);
    tenon_buf_printf(&b, "#define TAPS (KERNEL_D * KERNEL_H * KERNEL_W)\n#define KIND %s\n"
                         "#define INCLUDE_PAD %d\n#define POWER %" PRId64 "\n#define COLUMN_MAJOR %d\n",
                     average ? "AVERAGE" : norm ? "NORM" : "MAXIMUM", average && tenon_node_int(n, "count_include_pad"),
                     norm ? tenon_node_int(n, "p") : 0, !average && !norm && tenon_node_int(n, "storage_order"));
    return tenon_cuda_map_plan(cx, p, v, c, &b, tenon_cuda_src_pool, "tenon_pool", c, out);
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record) { return tenon_cuda_map_bind(cx, b, b->plan->own, record); }

#define TACTIC(op)                                                                                                          \
    const tenon_tactic tenon_cuda_##op = {                                                                                  \
        .name = "cuda." #op, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject,   \
        .plan = plan, .bind = bind, .run = tenon_cuda_run, .source_hash_of = "pool" }
TACTIC(max_pool);
TACTIC(average_pool);
TACTIC(lp_pool);
