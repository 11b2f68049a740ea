/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolutions of channels-last maps, f32, f16 and bf16: dwconv.cu. They are bound by memory, so a variant is how much a
   thread does: few images want many small threads, many images few loads a result. */
#include "cuda/conv_problem.h"

#include "base/checked.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_dwconv[];
extern const tenon_op tenon_op_pack_conv_taps;

enum { P_WIDTH, P_VECTOR, THREADS = 128, WIDTH_MOST = 8, TAPS_MOST = 256 };

static const char *make(const tenon_problem *p, tenon_cuda_conv *c)
{
    const char *why = tenon_cuda_conv_make(p, 0, c);
    if (why) return why;
    if (c->axes > 2) return "one or two spatial axes only";
    if (c->channels != 1 || c->filters != 1) return "not one filter a channel";
    if (c->number[CONV_STEP_C] != 1) return "x is not channels-last";
    if (!p->src[c->src_w].format.weight) return "the weight is not a constant";
    return c->kernel[1] * c->kernel[2] > TAPS_MOST ? "too many taps" : NULL;
}

static int vector_most(const tenon_cuda_conv *c) { return c->dtype == TENON_F32 ? 4 : 8; }

/* Seconds: what memory moves, how long a thread's loads take one after another, and a launch. */
static double model(const tenon_cuda_conv *c, const tenon_variant *v, double results, double w, const tenon_device *device)
{
    const double width = v->p[P_WIDTH], vector = v->p[P_VECTOR], bytes = c->dtype == TENON_F32 ? 4 : 2, mp = tenon_cuda_multiprocessors(device);
    const double loads = (double)c->kernel[1] * ((width - 1) * TENON_MIN(c->stride[2], c->kernel[2]) + c->kernel[2]);
    const double threads = results / w * ceil(w / width) * ceil((double)c->group / vector), resident = mp * 1024;
    const double waves = TENON_MAX(1.0, threads / resident);
    const double work = threads / mp * (loads * vector * bytes / 60 + c->kernel[1] * c->kernel[2] * width * vector / 100);
    return 2e-6 + tenon_cuda_conv_beside_memory(c, (waves * (loads * 6 + 200) + work) / 1.7e9, results, device);
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    static const int widths[] = {1, 2, 4, 7, 8};
    double seconds[2 * TENON_COUNTOF(widths)];
    tenon_cuda_conv c;
    int count = 0;
    if (max < 1 || make(p, &c)) return 0;
    const tenon_type *y = &p->anchor[0].node->dst[0]->type;
    double results = 1;
    for (int i = 0; i < y->rank; i++)
        if (i != 1) results *= (double)tenon_dim_at_opt(p->graph->dims, y->dim[i]);
    const double w = TENON_MAX(1.0, (double)tenon_dim_at_opt(p->graph->dims, y->dim[y->rank - 1]));
    for (size_t i = 0; i < TENON_COUNTOF(widths); i++)
        for (int vector = vector_most(&c); vector >= vector_most(&c) / 2; vector /= 2) {
            if (widths[i] > 1 && widths[i] > w) continue;
            if (widths[i] == 7 && fmod(w, 7) != 0) continue;
            const tenon_variant v = {{widths[i], vector}};
            const double s = model(&c, &v, results, w, device);
            int at = count++;
            for (; at > 0 && seconds[at - 1] > s; at--) {
                seconds[at] = seconds[at - 1];
                if (at < max) out[at] = out[at - 1];
            }
            seconds[at] = s;
            if (at < max) out[at] = v;
        }
    return TENON_MIN(TENON_MIN(count, max), 8);
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    tenon_cuda_conv c;
    (void)src;
    if (make(p, &c)) return 1;
    const tenon_tensor *y = &dst[c.domain_dst];
    return model(&c, v, (double)tenon_tensor_count(y) / (double)TENON_MAX(y->dim[1], 1), (double)TENON_MAX(y->dim[y->rank - 1], 1), device);
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    tenon_cuda_conv c;
    (void)device;
    const int vector = v->p[P_VECTOR];
    const char *why = make(p, &c);
    if (why) return why;
    if (v->p[P_WIDTH] < 1 || v->p[P_WIDTH] > WIDTH_MOST || (vector != 8 && vector != 4 && vector != 2) || vector > vector_most(&c)) return "no such variant";
    return p->anchor[0].post ? tenon_cuda_program_rejects(p->anchor[0].post, scratch) : NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    tenon_cuda_conv *c = tenon_arena_alloc(p->graph->arena, sizeof *c);
    if (!c) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = make(p, c);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.conv_depthwise: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_cuda_conv_print(c, &b);
    tenon_buf_str(&b, "#undef CHANNELS\n#define CHANNELS GROUPS\n");
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_dwconv, "tenon_dwconv", tenon_cuda_conv_numbers(c), c, out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DBLOCK=%d -DTW=%d -DVC=%d", THREADS, v->p[P_WIDTH], v->p[P_VECTOR]);
    /* (channels, 1, kernel) seen as one group of a transposed weight gives [tap][channel] */
    out->pack[0] = (tenon_pack){.op = &tenon_op_pack_conv_taps, .src = {c->src_w, -1}, .attr = {1, 1}};
    out->pack_count = 1;
    out->src_packed = 1u << c->src_w;
    out->in_place = true;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const tenon_cuda_conv *c = b->plan->own;
    const int vector = b->variant->p[P_VECTOR];
    TENON_TRY(tenon_cuda_conv_bind(cx, c, b, b->pack[0].data, vector, r));
    const int64_t *most = tenon_cuda_conv_most(c, b);
    int64_t threads = tenon_ceil_div(most[c->rank - 1], b->variant->p[P_WIDTH]) * tenon_ceil_div(c->group, vector) * most[0];
    if (c->axes > 1) threads *= most[2];
    r->grid[0] = (uint32_t)tenon_ceil_div(threads, THREADS);
    r->threads = THREADS;
    return TENON_OK;
}

const tenon_tactic tenon_cuda_conv_depthwise = {
    .name = "cuda.conv_depthwise", .pattern = "conv", .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject, .plan = plan,
    .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "dwconv",
};
