/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of many results on tensor cores as pipelined products: conv_gemm.cu. f16 and bf16; f32 with operands rounded to TF32 as
   a tactic of its own, which the planner takes only where that is permitted. One or two spatial axes, any groups, channels-last x. */
#include "cuda/conv_problem.h"

#include "base/checked.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_conv_gemm[];
extern const tenon_op tenon_op_pack_conv_mma;

/* bm results of bn filters, wm x wn warps. Stored in engines by place: append only. */
typedef struct tile { int bm, bn, wm, wn; } tile;
static const tile tiles[] = {{128, 128, 2, 2}, {128, 128, 4, 2}, {128, 64, 4, 1}, {128, 64, 4, 2}, {64, 64, 2, 2},
                             {64, 128, 2, 2}, {128, 32, 4, 1}, {64, 32, 4, 1}, {256, 64, 4, 2}, {128, 16, 4, 1}};
enum { TILES = TENON_COUNTOF(tiles), P_TILE = 0, P_STAGES, OFFERED = 8 };

typedef struct own {
    tenon_cuda_conv conv;
    int deep, units, cp; /* elements of a unit of 32 bytes; units of a stage; channels with padding */
} own;

static int threads_of(const tile *t) { return 32 * t->wm * t->wn; }

static const char *make(const tenon_problem *p, bool tf32, own *o)
{
    tenon_cuda_conv *c = &o->conv;
    const char *why = tenon_cuda_conv_make(p, CONV_BEFORE, c);
    if (why) return why;
    if (tf32 != (c->dtype == TENON_F32)) return tf32 ? "not f32" : "tensor cores take f16 and bf16 here";
    if (c->axes > 2) return "one or two spatial axes only";
    if (c->number[CONV_STEP_C] != 1) return "x is not channels-last";
    if (c->channels % (tf32 ? 4 : 8)) return "channels that are not whole vectors of 16 bytes";
    if (!p->src[c->src_w].format.weight) return "the weight is not a constant";
    if (c->before.program && (!c->point || c->group != 1)) return "a program on x that every tap would repeat";
    o->deep = tf32 ? 8 : 16;
    o->units = c->channels % (4 * o->deep) == 0 ? 4 : c->channels > o->deep ? 2 : 1;
    o->cp = (int)tenon_round_up((size_t)c->channels, (size_t)(o->deep * o->units));
    return c->channels > 65536 ? "more than 65536 channels" : NULL;
}

static int64_t stage_bytes(const own *o, const tile *t) { return (int64_t)t->bm * (o->units * 32 + 16) + (int64_t)o->units * t->bn * 32; }

static int64_t shared_bytes(const own *o, const tile *t, int stages)
{
    const int64_t sums = (int64_t)t->wm * t->wn * 16 * (t->bn / t->wn + 8) * 4;
    return TENON_MAX(stages * stage_bytes(o, t), sums);
}

/* As many stages as leave room for a second block. */
static int stages_of(const own *o, const tile *t, const tenon_device *device)
{
    const int64_t half = ((int64_t)tenon_cuda_shared_most(device) - 1024) / 2;
    int stages = 4;
    while (stages > 2 && shared_bytes(o, t, stages) > half) stages--;
    return stages;
}

/* Seconds: the products or the fetching of a block, whichever is longer, times the blocks of a multiprocessor; a block alone waits. */
static double model(const own *o, const tile *t, double results, const tenon_device *device)
{
    const tenon_cuda_conv *c = &o->conv;
    const double mp = tenon_cuda_multiprocessors(device), steps = (double)(c->kernel[1] * c->kernel[2]) * o->cp / o->deep / o->units;
    const double blocks = ceil(results / t->bm) * (double)(tenon_ceil_div(c->filters, t->bn) * c->group);
    const double products = t->bm / 16.0 * (t->bn / 8.0) * o->units * 1.7, fetching = (double)stage_bytes(o, t) / 55;
    const double warps = TENON_MAX(1.0, ceil(blocks / mp)) * t->wm * t->wn, slow = warps < 8 ? 8 / warps : 1;
    const double block = steps * TENON_MAX(TENON_MAX(products, fetching) * TENON_MIN(slow, 2), 120 / TENON_MAX(1.0, TENON_MIN(blocks / mp, 2)));
    const double seconds = (ceil(blocks / mp) * (block + (double)t->bm * t->bn / 30) + 800) / 1.7e9;
    return 2.5e-6 + tenon_cuda_conv_beside_memory(c, seconds, results, device);
}

static double results_at_opt(const tenon_problem *p)
{
    const tenon_type *y = &p->anchor[0].node->dst[0]->type;
    double count = 1;
    for (int i = 0; i < y->rank; i++)
        if (i != 1) count *= (double)tenon_dim_at_opt(p->graph->dims, y->dim[i]);
    return count;
}

static int variants_as(const tenon_problem *p, bool tf32, const tenon_device *device, tenon_variant *out, int max)
{
    double seconds[TILES];
    own o;
    int count = 0;
    if (make(p, tf32, &o)) return 0;
    for (int i = 0; i < (int)TILES; i++) {
        if (tiles[i].bn > 16 && tiles[i].bn >= 2 * o.conv.filters) continue;
        const double s = model(&o, &tiles[i], results_at_opt(p), device);
        int at = count++;
        for (; at > 0 && seconds[at - 1] > s; at--) {
            seconds[at] = seconds[at - 1];
            if (at < max) out[at] = out[at - 1];
        }
        seconds[at] = s;
        if (at < max) out[at] = (tenon_variant){{i, stages_of(&o, &tiles[i], device)}};
    }
    return TENON_MIN(TENON_MIN(count, max), (int)OFFERED);
}

static double cost_as(const tenon_problem *p, bool tf32, const tenon_variant *v, const tenon_device *device, const tenon_tensor *dst)
{
    own o;
    if (make(p, tf32, &o)) return 1;
    const tenon_tensor *y = &dst[o.conv.domain_dst];
    return model(&o, &tiles[v->p[P_TILE]], (double)tenon_tensor_count(y) / (double)TENON_MAX(y->dim[1], 1), device);
}

static const char *reject_as(const tenon_problem *p, bool tf32, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    const char *why = make(p, tf32, &o);
    if (why) return why;
    if (o.conv.dtype != TENON_F16 && tenon_cuda_sm(device) < 80) return "bf16 and TF32 products need compute capability 8.0";
    if (v->p[P_TILE] < 0 || v->p[P_TILE] >= (int)TILES || v->p[P_STAGES] < 2 || v->p[P_STAGES] > 6) return "no such variant";
    if (shared_bytes(&o, &tiles[v->p[P_TILE]], v->p[P_STAGES]) > (int64_t)tenon_cuda_shared_most(device)) return "more shared memory than a block has";
    return p->anchor[0].post ? tenon_cuda_program_rejects(p->anchor[0].post, scratch) : NULL;
}

static tenon_status plan_as(tenon_cx *cx, const tenon_problem *p, bool tf32, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const tile *t = &tiles[v->p[P_TILE]];
    const char *why = make(p, tf32, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.conv_gemm: %s", why);
    const tenon_cuda_conv *c = &o->conv;
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_cuda_conv_print(c, &b);
    tenon_buf_printf(&b, "#define CP %d\n#define UNITS %d\n#define TF32 %d\n", o->cp, o->units, tf32);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_conv_gemm, "tenon_conv_gemm", tenon_cuda_conv_numbers(c), o, out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DBM=%d -DBN=%d -DWM=%d -DWN=%d -DSTAGES=%d -DTENON_SM_MOST=%d", t->bm, t->bn, t->wm,
             t->wn, v->p[P_STAGES], tenon_cuda_sm(device));
    out->pack[0] = (tenon_pack){.op = &tenon_op_pack_conv_mma, .src = {c->src_w, -1}, .attr = {c->group, t->bn, 1, o->cp, 0}};
    out->pack_count = 1;
    out->src_packed = 1u << c->src_w;
    out->in_place = true;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tenon_cuda_conv *c = &o->conv;
    const tile *t = &tiles[b->variant->p[P_TILE]];
    TENON_TRY(tenon_cuda_conv_bind(cx, c, b, b->pack[0].data, 8, r));
    r->grid[0] = (uint32_t)(tenon_ceil_div(tenon_cuda_conv_pixels(c, b), t->bm) * tenon_ceil_div(c->filters, t->bn) * c->group);
    r->threads = (uint32_t)threads_of(t);
    r->shared_bytes = (uint32_t)shared_bytes(o, t, b->variant->p[P_STAGES]);
    return TENON_OK;
}

#define TACTIC(name_, suffix, tf32, flag)                                                                                   \
    static int variants##suffix(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)            \
    {                                                                                                                       \
        return variants_as(p, tf32, device, out, max);                                                                      \
    }                                                                                                                       \
    static double cost##suffix(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src,        \
                               const tenon_tensor *dst)                                                                     \
    {                                                                                                                       \
        (void)src;                                                                                                          \
        return cost_as(p, tf32, v, device, dst);                                                                            \
    }                                                                                                                       \
    static const char *reject##suffix(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)   \
    {                                                                                                                       \
        return reject_as(p, tf32, v, device, scratch);                                                                      \
    }                                                                                                                       \
    static tenon_status plan##suffix(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,             \
                                     tenon_tactic_plan *out)                                                                \
    {                                                                                                                       \
        return plan_as(cx, p, tf32, v, device, out);                                                                        \
    }                                                                                                                       \
    const tenon_tactic tenon_cuda_##name_ = {                                                                               \
        .name = "cuda." #name_, .pattern = "conv", .flags = TENON_TACTIC_DETERMINISTIC | (flag), .variants = variants##suffix,             \
        .reject = reject##suffix, .plan = plan##suffix, .bind = bind, .run = tenon_cuda_run, .cost = cost##suffix, .source_hash_of = "conv_gemm" }
TACTIC(conv_gemm, _16, false, 0);
TACTIC(conv_gemm_tf32, _tf32, true, TENON_TACTIC_TF32);
