/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of many results on Hopper's tensor cores: conv_wgmma.cu on wgmma.cu. f16 and bf16, one or two spatial axes, any groups,
   strides, padding and dilation, channels-last x of whole vectors of channels. */
#include "cuda/conv_problem.h"
#include "cuda/wgmma_tile.h"

#include "base/checked.h"

#include <string.h>

extern const char tenon_cuda_src_conv_wgmma[], tenon_cuda_src_wgmma[];
extern const tenon_op tenon_op_pack_wgmma;

enum { CHANNELS_LEAST = 32, FILTERS_LEAST = 32, RESULTS_LEAST = 512 };

static const char *make(const tenon_problem *p, tenon_cuda_conv *c)
{
    const char *why = tenon_cuda_conv_make(p, 0, c);
    if (why) return why;
    if (c->dtype == TENON_F32) return "neither f16 nor bf16";
    if (c->axes > 2) return "one or two spatial axes only";
    if (c->number[CONV_STEP_C] != 1) return "x is not channels-last";
    if (c->channels % 8) return "channels that are not whole vectors of 16 bytes";
    if (!p->src[c->src_w].format.weight) return "the weight is not a constant";
    if (c->channels < CHANNELS_LEAST || c->filters < FILTERS_LEAST) return "too few channels or filters for a tile";
    return c->channels > 65536 ? "more than 65536 channels" : NULL;
}

static double product_of(const int64_t *dim, int rank, int without)
{
    double count = 1;
    for (int i = 0; i < rank; i++)
        if (i != without) count *= (double)dim[i];
    return count;
}

static tenon_wgmma_work work_of(const tenon_problem *p, const tenon_cuda_conv *c, const int64_t *y, const int64_t *x)
{
    const int operands = tenon_cuda_conv_operands(p->anchor[0].post);
    const double rows = product_of(y, c->rank, 1), taps = (double)(c->kernel[1] * c->kernel[2]);
    const double weight = (double)(c->group * c->filters * c->channels) * taps;
    return (tenon_wgmma_work){.rows = rows, .columns = (double)c->filters, .groups = (double)c->group, .operands = operands,
                              .chunks = taps * (double)tenon_ceil_div(c->channels, TENON_WGMMA_DEEP),
                              .bytes = 2 * (product_of(x, c->rank, -1) + weight + (1 + operands) * rows * (double)(c->group * c->filters))};
}

static tenon_wgmma_work work_at_opt(const tenon_problem *p, const tenon_cuda_conv *c)
{
    const tenon_type *y = &p->anchor[0].node->dst[0]->type, *x = &c->x_value->type;
    int64_t ys[TENON_MAX_RANK] = {0}, xs[TENON_MAX_RANK] = {0};
    for (int i = 0; i < c->rank; i++) ys[i] = tenon_dim_at_opt(p->graph->dims, y->dim[i]), xs[i] = tenon_dim_at_opt(p->graph->dims, x->dim[i]);
    return work_of(p, c, ys, xs);
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    tenon_cuda_conv c;
    if (make(p, &c)) return 0;
    const tenon_wgmma_work work = work_at_opt(p, &c);
    return work.rows < RESULTS_LEAST ? 0 : tenon_wgmma_variants(&work, device, out, max);
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    tenon_cuda_conv c;
    if (make(p, &c)) return 1;
    const tenon_wgmma_work work = work_of(p, &c, dst[c.domain_dst].dim, src[c.src_x].dim);
    return tenon_wgmma_model(&tenon_wgmma_tiles[v->p[P_WGMMA_TILE]], &work, device);
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    tenon_cuda_conv c;
    const char *why = tenon_wgmma_rejects(v, device);
    if (!why) why = make(p, &c);
    if (why) return why;
    return p->anchor[0].post ? tenon_cuda_program_rejects(p->anchor[0].post, scratch) : NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    tenon_cuda_conv *c = tenon_arena_alloc(p->graph->arena, sizeof *c);
    if (!c) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const tenon_wgmma_tile *t = &tenon_wgmma_tiles[v->p[P_WGMMA_TILE]];
    const char *why = make(p, c);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.conv_wgmma: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_cuda_conv_print(c, &b);
    tenon_buf_printf(&b, "#define POINT %d\n", c->point);
    tenon_buf_str(&b, tenon_cuda_src_conv_wgmma);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_wgmma, "tenon_wgmma", tenon_cuda_conv_numbers(c), c, out));
    tenon_wgmma_options(t, &out->kernel[0]);
    out->pack[0] = (tenon_pack){.op = &tenon_op_pack_wgmma, .src = {c->src_w, -1}, .attr = {c->group, t->bn, 0}};
    out->pack_count = 1;
    out->src_packed = 1u << c->src_w;
    out->in_place = true;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const tenon_cuda_conv *c = b->plan->own;
    const tenon_wgmma_tile *t = &tenon_wgmma_tiles[b->variant->p[P_WGMMA_TILE]];
    TENON_TRY(tenon_cuda_conv_bind(cx, c, b, b->pack[0].data, 8, r));
    r->grid[0] = (uint32_t)(tenon_ceil_div(tenon_cuda_conv_pixels(c, b), t->bm) * tenon_ceil_div(c->filters, t->bn) * c->group);
    r->threads = TENON_WGMMA_THREADS;
    r->shared_bytes = tenon_wgmma_shared(t);
    return TENON_OK;
}

const tenon_tactic tenon_cuda_conv_wgmma = {
    .name = "cuda.conv_wgmma", .pattern = "conv", .need = 90, .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject,
    .plan = plan, .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "conv_wgmma",
};
