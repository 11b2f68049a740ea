/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions and transposed convolutions of every kind by fused multiply-adds: conv_direct.cu. What tensor cores cannot take, or what
   must be f32, comes here. Constant weights are packed so that filters are neighbours; others are read where they are. */
#include "cuda/conv_problem.h"

#include "base/checked.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_conv_direct[];
extern const tenon_op tenon_op_pack_conv_taps;

/* A block: bm results of bn filters in chunks of bk, tm x tn a thread. Stored in engines by place: append only. */
typedef struct tile { int bm, bn, bk, tm, tn; } tile;
static const tile tiles[] = {{64, 64, 16, 4, 4}, {128, 64, 8, 8, 4}, {64, 32, 16, 4, 2}, {32, 32, 32, 2, 2}, {16, 32, 32, 2, 1},
                             {128, 16, 16, 4, 2}, {128, 8, 32, 4, 1}, {16, 16, 64, 1, 1}, {64, 4, 64, 1, 1}};
enum { TILES = TENON_COUNTOF(tiles), P_TILE = 0, GRID_MOST = 65535 };

typedef struct own {
    tenon_cuda_conv conv;
    bool transposed, packed, y_planar;
    int64_t taps;
} own;

static int threads_of(const tile *t) { return t->bm / t->tm * (t->bn / t->tn); }

static const char *make(const tenon_problem *p, own *o)
{
    const tenon_node *n = p->anchor[0].node;
    tenon_cuda_conv *c = &o->conv;
    const char *why = tenon_cuda_conv_make(p, 0, c);
    if (why) return why;
    o->transposed = strcmp(n->op->name, "conv_transpose") == 0;
    o->packed = p->src[c->src_w].format.weight;
    if (!o->packed && p->src[c->src_w].format.layout != TENON_ROW) return "a weight that is neither constant nor row-major";
    if (!o->packed && p->src[c->src_w].format.ld) return "a weight with a pitch that is not constant";
    o->taps = c->kernel[0] * c->kernel[1] * c->kernel[2];
    o->y_planar = c->space.tensor[c->program.result[0]].stride[c->space.rank - 1] != 1;
    if (o->taps * c->channels > INT32_MAX / 4) return "a depth of more than 2^29";
    if (c->group * tenon_ceil_div(c->filters, 4) > GRID_MOST) return "more groups than a grid holds";
    return NULL;
}

static double model(const own *o, const tile *t, double results, const tenon_device *device)
{
    const tenon_cuda_conv *c = &o->conv;
    const double mp = tenon_cuda_multiprocessors(device), depth = (double)(o->taps * c->channels);
    const double blocks = ceil(results / t->bm) * (double)(tenon_ceil_div(c->filters, t->bn) * c->group);
    const double beside = TENON_MIN(TENON_MAX(1.0, blocks / mp), 1024.0 / threads_of(t)), waves = ceil(blocks / (mp * beside));
    const double reuse = (double)t->tm * t->tn / (t->tm * t->tn + 2.0 * (t->tm + t->tn) + 4);
    const double busy = TENON_MIN(1.0, threads_of(t) * beside / 512.0);
    const double work = (double)t->bm * t->bn * depth * beside / (128 * 1.5e9 * reuse * busy), chunks = ceil(depth / t->bk) * 0.5e-6;
    return 2e-6 + waves * TENON_MAX(work, chunks);
}

static double results_at_opt(const tenon_problem *p)
{
    const tenon_type *y = &p->anchor[0].node->dst[0]->type;
    double count = 1;
    for (int i = 0; i < y->rank; i++)
        if (i != 1) count *= (double)tenon_dim_at_opt(p->graph->dims, y->dim[i]);
    return count;
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    double seconds[TILES];
    own o;
    int count = 0;
    if (make(p, &o)) return 0;
    for (int i = 0; i < (int)TILES; i++) {
        const double s = model(&o, &tiles[i], results_at_opt(p), device);
        int at = count++;
        for (; at > 0 && seconds[at - 1] > s; at--) {
            seconds[at] = seconds[at - 1];
            if (at < max) out[at] = out[at - 1];
        }
        seconds[at] = s;
        if (at < max) out[at] = (tenon_variant){{i}};
    }
    return TENON_MIN(TENON_MIN(count, max), 5);
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    own o;
    (void)src;
    if (make(p, &o)) return 1;
    const tenon_tensor *y = &dst[o.conv.domain_dst];
    return model(&o, &tiles[v->p[P_TILE]], (double)tenon_tensor_count(y) / (double)TENON_MAX(y->dim[1], 1), device);
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    (void)device;
    if (v->p[P_TILE] < 0 || v->p[P_TILE] >= (int)TILES) return "no such variant";
    const char *why = make(p, &o);
    if (why) return why;
    const tile *t = &tiles[v->p[P_TILE]];
    if (o.conv.group * tenon_ceil_div(o.conv.filters, t->bn) > GRID_MOST) return "more groups than a grid holds";
    return p->anchor[0].post ? tenon_cuda_program_rejects(p->anchor[0].post, scratch) : NULL;
}

static void print_weight(const own *o, tenon_buf *b)
{
    const tenon_cuda_conv *c = &o->conv;
    const int64_t f = c->filters, n = c->channels, taps = o->taps;
    const int64_t group = f * n * taps, filter = o->packed ? 1 : o->transposed ? taps : n * taps;
    tenon_buf_printf(b, "#define W_STEP_GROUP %" PRId64 "\n#define W_STEP_FILTER %" PRId64 "\n"
                        "#define W_STEP_CHANNEL %" PRId64 "\n#define W_STEP_TAP %" PRId64 "\n",
                     group, filter, o->packed ? f : o->transposed ? f * taps : taps, o->packed ? n * f : 1);
    tenon_buf_printf(b, "#define W_CONSTANT %d\n#define TRANSPOSED %d\n#define Y_PLANAR %d\n#define X_PLANAR %d\n", o->packed, o->transposed, o->y_planar,
                     c->number[CONV_STEP_C] != 1);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const tile *t = &tiles[v->p[P_TILE]];
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.conv_direct: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_cuda_conv_print(&o->conv, &b);
    print_weight(o, &b);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_conv_direct, "tenon_conv_direct", tenon_cuda_conv_numbers(&o->conv), o,
                                     out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DBM=%d -DBN=%d -DBK=%d -DTM=%d -DTN=%d", t->bm, t->bn, t->bk, t->tm, t->tn);
    if (o->packed) {
        out->pack[0] = (tenon_pack){.op = &tenon_op_pack_conv_taps, .src = {o->conv.src_w, -1}, .attr = {o->conv.group, o->transposed}};
        out->pack_count = 1;
        out->src_packed = 1u << o->conv.src_w;
    }
    out->in_place = true;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tenon_cuda_conv *c = &o->conv;
    const tile *t = &tiles[b->variant->p[P_TILE]];
    TENON_TRY(tenon_cuda_conv_bind(cx, c, b, o->packed ? b->pack[0].data : b->src[c->src_w].data, t->tn, r));
    r->grid[0] = (uint32_t)tenon_ceil_div(tenon_cuda_conv_pixels(c, b), t->bm);
    r->grid[1] = (uint32_t)(tenon_ceil_div(c->filters, t->bn) * c->group);
    r->threads = (uint32_t)threads_of(t);
    return TENON_OK;
}

#define TACTIC(op)                                                                                                          \
    const tenon_tactic tenon_cuda_##op##_direct = {                                                                         \
        .name = "cuda." #op "_direct", .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants,           \
        .reject = reject, .plan = plan, .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "conv_direct" }
TACTIC(conv);
TACTIC(conv_transpose);
