/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of few images, f16 and bf16 with sums in f32, on tensor cores: conv_patch.cu. Which tile is best depends on everything at
   once (the worst of the sensible ones takes three times as long as the best), so variants are made here, not listed: all tiles that
   fit are rated by a small model and the best are offered. One or two spatial axes, one group, x of any layout. */
#include "cuda/conv_problem.h"

#include "base/checked.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char tenon_cuda_src_conv_patch[];
extern const tenon_op tenon_op_pack_conv_mma;

/* p[] of a variant, in this order. */
typedef struct tile { int th, tw, bn, split, wm, wn, wk, chunks; } tile;
enum { OFFERED = 24, ALIKE = 2, AT_WEIGHT = 128, GRID_MOST = 65535 };

typedef struct own {
    tenon_cuda_conv conv;
    bool run;
    int cp; /* channels of a pixel with padding */
} own;

static tile tile_of(const tenon_variant *v) { return (tile){v->p[0], v->p[1], v->p[2], v->p[3], v->p[4], v->p[5], v->p[6], v->p[7]}; }
static tenon_variant variant_of(const tile *t) { return (tenon_variant){{t->th, t->tw, t->bn, t->split, t->wm, t->wn, t->wk, t->chunks}}; }
static int threads_of(const tile *t) { return 32 * t->wm * t->wn * t->wk; }
static int rows_of(const tile *t) { return (t->th * t->tw + 15) / 16 * 16; }

static const char *make(const tenon_problem *p, own *o)
{
    tenon_cuda_conv *c = &o->conv;
    const char *why = tenon_cuda_conv_make(p, CONV_CAST | CONV_BEFORE, c);
    if (why) return why;
    if (c->dtype == TENON_F32) return "tensor cores take f16 and bf16 here";
    if (c->axes > 2) return "one or two spatial axes only";
    if (c->group != 1) return "more than one group";
    if (!p->src[c->src_w].format.weight) return "the weight is not a constant";
    const bool narrow = c->kernel[2] > 1 && c->dilation[2] == 1;
    const int few = c->channels <= 4 && c->stride[2] % 2 == 0 ? 4 : 8;
    o->run = narrow && c->channels <= few;
    o->cp = o->run ? few : (int)tenon_round_up((size_t)c->channels, 16);
    if (c->before.program && (o->run || c->number[CONV_STEP_C] != 1 || c->channels % 8)) return "a program on x whose channels are no whole vectors";
    return c->channels > 65536 ? "more than 65536 channels" : NULL;
}

/* ---- what a tile needs: as the kernel's text has it ---- */
static int taps_of(const own *o) { return (int)(o->run ? o->conv.kernel[1] : o->conv.kernel[1] * o->conv.kernel[2]); }
static int k16_of(const own *o, const tile *t) { return o->run ? (int)tenon_ceil_div(o->conv.kernel[2] * o->cp, 16) : o->cp / t->split / 16; }
static int64_t weight_bytes(const own *o, const tile *t) { return (int64_t)taps_of(o) * k16_of(o, t) * t->bn * 32; }

static int64_t patch_bytes(const own *o, const tile *t)
{
    const tenon_cuda_conv *c = &o->conv;
    int64_t h = t->th, w = t->tw;
    if (!c->point) {
        h = (t->th - 1) * c->stride[1] + (c->kernel[1] - 1) * c->dilation[1] + 1;
        w = (t->tw - 1) * c->stride[2] + (o->run ? (int64_t)k16_of(o, t) * 16 / o->cp : (c->kernel[2] - 1) * c->dilation[2] + 1);
    }
    return (int64_t)tenon_round_up((size_t)(h * w * (o->run ? o->cp * 2 : o->cp / t->split * 2 + 16)), 16);
}

static int64_t sum_bytes(const tile *t) { return (int64_t)t->wk * rows_of(t) * (t->bn + 8) * 4; }

static int64_t shared_bytes(const own *o, const tile *t)
{
    const int64_t bytes = AT_WEIGHT + TENON_MAX(weight_bytes(o, t) + patch_bytes(o, t), sum_bytes(t));
    return (int64_t)tenon_round_up((size_t)bytes, 128) + (t->split > 1 ? (int64_t)rows_of(t) * t->bn * 4 : 0);
}

static const char *tile_fits(const own *o, const tile *t, const tenon_device *device)
{
    const int sm = tenon_cuda_sm(device), bm = rows_of(t);
    if (t->th < 1 || t->tw < 1 || t->th > 256 || t->tw > 256 || bm > 256 || t->bn < 16 || t->bn > 256 || t->bn % 16) return "no such variant";
    if (t->wm < 1 || t->wn < 1 || t->wk < 1 || t->wm > 16 || t->wn > 16 || t->wk > 16 || threads_of(t) > 1024) return "no such variant";
    if (t->split != 1 && t->split != 2 && t->split != 4 && t->split != 8) return "no such variant";
    if (t->chunks < 1 || t->chunks > 4 || (o->conv.point && t->th != 1)) return "no such variant";
    if (bm % (16 * t->wm) || t->bn % (16 * t->wn) || bm % t->split) return "warps do not share the tile evenly";
    if (o->run ? t->split > 1 || t->chunks > 1 : o->cp % (16 * t->split) != 0) return "channels do not divide evenly";
    if (k16_of(o, t) % (t->chunks * t->wk)) return "channels do not divide evenly";
    if (tenon_ceil_div(o->conv.filters, t->bn) > GRID_MOST) return "more filters than a grid holds";
    if (t->split > 1 && sm < 90) return "clusters need compute capability 9.0";
    return shared_bytes(o, t) > (int64_t)tenon_cuda_shared_most(device) ? "more shared memory than a block has" : NULL;
}

/* ---- the model ---- */
typedef struct sizes { double images, h, w; } sizes; /* of the result */

static double tiles_of(const own *o, const tile *t, const sizes *z)
{
    if (o->conv.point) return ceil(z->images * z->h * z->w / t->tw);
    return z->images * ceil(z->h / t->th) * ceil(z->w / t->tw);
}

/* Seconds. Cycles of a block: the patch at the rate of one multiprocessor's loads, the chain of products or their number, the sums. */
static double model(const own *o, const tile *t, const sizes *z, const tenon_device *device)
{
    const tenon_cuda_conv *c = &o->conv;
    const double mp = tenon_cuda_multiprocessors(device), bm = rows_of(t), bn = t->bn, warps = t->wm * t->wn * t->wk;
    const double blocks = tiles_of(o, t, z) * (double)tenon_ceil_div(c->filters, t->bn) * t->split;
    const double shared = (double)shared_bytes(o, t) + 1024, all = (double)tenon_cuda_shared_most(device) + 1024;
    const double fit = TENON_MAX(1.0, TENON_MIN(floor(all / shared), floor(2048 / (32 * warps))));
    const double waves = ceil(blocks / (mp * fit)), beside = TENON_MIN(TENON_MAX(1.0, ceil(blocks / mp)), fit);
    const double mi = bm / 16 / t->wm, ni = bn / 16 / t->wn, steps = (double)taps_of(o) * k16_of(o, t) / t->wk;
    const double patch = (double)patch_bytes(o, t), weights = (double)weight_bytes(o, t), sums = (double)sum_bytes(t);
    const bool slow = c->number[CONV_STEP_C] != 1 || c->channels % 8;
    const double load = patch * (slow ? 6 : 1) / 45 * beside * waves + (shared < all / 2 ? 0 : weights / 45);
    const double chain = TENON_MAX(35.0, 8 * mi * ni), issue = warps / 4 * beside * mi * ni * 8;
    const double reduce = sums / 100 + (t->split > 1 ? 700 + bm * bn * 4 / 30 : 0) + bm / t->split * bn * 2 / 30;
    const double cycles = load + steps * TENON_MAX(chain, issue) * waves + reduce * waves + weights / (waves > 1 ? 50 : 150) * waves;
    return 1.5e-6 + (c->before.program ? 0.1e-6 : 0) + tenon_cuda_conv_beside_memory(c, cycles / 1.7e9, z->images * z->h * z->w, device);
}

static sizes sizes_at_opt(const tenon_problem *p, const own *o)
{
    const tenon_type *y = &p->anchor[0].node->dst[0]->type;
    const tenon_dim_pool *pool = p->graph->dims;
    return (sizes){(double)tenon_dim_at_opt(pool, y->dim[0]), o->conv.axes > 1 ? (double)tenon_dim_at_opt(pool, y->dim[2]) : 1,
                   (double)tenon_dim_at_opt(pool, y->dim[y->rank - 1])};
}

/* ---- variants ---- */
typedef struct rated { double seconds; tile tile; } rated;
typedef struct choice { rated best[OFFERED]; int count, max; } choice;

static bool alike(const tile *a, const tile *b) { return a->th == b->th && a->tw == b->tw && a->bn == b->bn && a->split == b->split; }

/* Keeps the best, few of a kind. */
static void rate(choice *c, const tile *t, double seconds)
{
    int same = 0, worst = -1;
    for (int i = 0; i < c->count; i++)
        if (alike(&c->best[i].tile, t)) same++, worst = i;
    if (same == ALIKE) {
        if (c->best[worst].seconds <= seconds) return;
        memmove(&c->best[worst], &c->best[worst + 1], (size_t)(--c->count - worst) * sizeof *c->best);
    } else if (c->count == c->max) {
        if (c->best[c->count - 1].seconds <= seconds) return;
        c->count--;
    }
    int at = c->count++;
    for (; at > 0 && c->best[at - 1].seconds > seconds; at--) c->best[at] = c->best[at - 1];
    c->best[at] = (rated){seconds, *t};
}

static void rate_warps(choice *c, const own *o, tile t, const sizes *z, const tenon_device *device)
{
    static const int8_t warps[][3] = {{1, 1, 4}, {2, 1, 2}, {2, 2, 1}, {4, 1, 1}, {1, 2, 2}, {2, 1, 4}, {4, 1, 2}, {2, 2, 2}, {4, 2, 1}, {1, 1, 8},
                                      {2, 2, 4}, {1, 2, 4}, {1, 4, 1}, {1, 4, 2}, {2, 4, 1}, {1, 2, 1}, {2, 1, 1}, {1, 1, 2}, {1, 1, 1}};
    const int cs = o->cp / t.split;
    t.chunks = 1;
    while (!o->run && t.chunks < 4 && cs / 16 % (2 * t.chunks) == 0 && cs / (2 * t.chunks) >= 64) t.chunks *= 2;
    for (size_t i = 0; i < TENON_COUNTOF(warps); i++) {
        t.wm = warps[i][0], t.wn = warps[i][1], t.wk = warps[i][2];
        const int chunks = t.chunks;
        while (t.chunks > 1 && k16_of(o, &t) % (t.chunks * t.wk)) t.chunks /= 2;
        if (rows_of(&t) / 16 * (t.bn / 16) <= 8 * t.wm * t.wn && !tile_fits(o, &t, device)) rate(c, &t, model(o, &t, z, device));
        t.chunks = chunks;
    }
}

/* Rows of a tile that would be nobody's. */
static bool wasteful(const tile *t, const sizes *z, bool point)
{
    const double used = point ? t->tw : TENON_MIN((double)t->th, z->h) * TENON_MIN((double)t->tw, z->w);
    return used < 0.6 * rows_of(t) && rows_of(t) > 16;
}

static void rate_tile(choice *c, const own *o, int th, int tw, const sizes *z, const tenon_device *device)
{
    static const int columns[] = {16, 32, 64, 128};
    tile t = {.th = th, .tw = tw};
    if (rows_of(&t) > 128 || wasteful(&t, z, o->conv.point)) return;
    for (size_t i = 0; i < TENON_COUNTOF(columns); i++)
        for (t.split = 1; t.split <= 8; t.split *= 2) {
            t.bn = columns[i];
            if (i > 0 && columns[i - 1] >= o->conv.filters) break;
            if (t.split > 1 && (o->run || tenon_cuda_sm(device) < 90 || o->cp / t.split < 32)) break;
            rate_warps(c, o, t, z, device);
        }
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    static const int heights[] = {1, 2, 3, 4, 5, 7, 8, 14, 16}, runs[] = {16, 32, 48, 64, 80, 96, 112, 128, 13, 17, 25, 49};
    own o;
    choice c = {.max = TENON_MIN(max, (int)OFFERED)};
    if (max < 1 || make(p, &o)) return 0;
    const sizes z = sizes_at_opt(p, &o);
    if (o.conv.point) {
        for (size_t i = 0; i < TENON_COUNTOF(runs); i++)
            if (runs[i] % 16 == 0 || z.images * z.h * z.w <= 49) rate_tile(&c, &o, 1, runs[i], &z, device);
    } else {
        const int ow = (int)TENON_MIN(z.w, 1 << 20), widths[] = {ow, (ow + 1) / 2, (ow + 3) / 4, 4, 7, 8, 14, 16, 28, 32};
        for (size_t i = 0; i < TENON_COUNTOF(heights); i++)
            for (size_t k = 0; k < TENON_COUNTOF(widths); k++) {
                bool seen = widths[k] > TENON_MAX(ow, 4) || widths[k] > 128 || widths[k] < 1;
                for (size_t j = 0; j < k; j++) seen = seen || widths[j] == widths[k];
                if (!seen && (heights[i] == 1 || heights[i] <= z.h)) rate_tile(&c, &o, heights[i], widths[k], &z, device);
            }
    }
    for (int i = 0; i < c.count; i++) out[i] = variant_of(&c.best[i].tile);
    return c.count;
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    own o;
    const tile t = tile_of(v);
    (void)src;
    if (make(p, &o)) return 1;
    const tenon_tensor *y = &dst[o.conv.domain_dst];
    const sizes z = {(double)y->dim[0], o.conv.axes > 1 ? (double)y->dim[2] : 1, (double)y->dim[y->rank - 1]};
    return model(&o, &t, &z, device);
}

/* ---- the tactic ---- */
static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    const tile t = tile_of(v);
    const char *why = make(p, &o);
    if (why) return why;
    if (p->anchor[0].post && (why = tenon_cuda_program_rejects(p->anchor[0].post, scratch)) != NULL) return why;
    if (o.conv.dtype == TENON_BF16 && tenon_cuda_sm(device) < 80) return "bf16 products need compute capability 8.0";
    return tile_fits(&o, &t, device);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const tile t = tile_of(v);
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.conv_patch: %s", why);
    const tenon_cuda_conv *c = &o->conv;
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_cuda_conv_print(c, &b);
    tenon_buf_printf(&b, "#define POINT %d\n#define RUN %d\n#define CP %d\n#define X_WHOLE %d\n#define X_PLANAR %d\n", c->point, o->run, o->cp,
                     c->number[CONV_STEP_C] == 1 && c->channels % 8 == 0 && c->x_value->type.dtype == c->dtype, c->number[CONV_STEP_C] != 1);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_conv_patch, "tenon_conv_patch", tenon_cuda_conv_numbers(c), o,
                                     out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options,
             "-DTH=%d -DTW=%d -DBN=%d -DSPLIT=%d -DWM=%d -DWN=%d -DWK=%d -DCHUNKS=%d -DTENON_SM_MOST=%d", t.th, t.tw, t.bn, t.split, t.wm, t.wn, t.wk, t.chunks,
             tenon_cuda_sm(device));
    out->pack[0] = (tenon_pack){.op = &tenon_op_pack_conv_mma, .src = {c->src_w, -1}, .attr = {1, t.bn, t.split, o->cp, o->run}};
    out->pack_count = 1;
    out->src_packed = 1u << c->src_w;
    out->in_place = true;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tile t = tile_of(b->variant);
    TENON_TRY(tenon_cuda_conv_bind(cx, &o->conv, b, b->pack[0].data, 8, r));
    const int64_t *most = tenon_cuda_conv_most(&o->conv, b);
    const sizes z = {(double)most[0], o->conv.axes > 1 ? (double)most[2] : 1, (double)most[o->conv.rank - 1]};
    r->grid[0] = (uint32_t)(tiles_of(o, &t, &z) * t.split);
    r->grid[1] = (uint32_t)tenon_ceil_div(o->conv.filters, t.bn);
    r->threads = (uint32_t)threads_of(&t);
    r->shared_bytes = (uint32_t)shared_bytes(o, &t);
    r->cluster = (uint32_t)(t.split > 1 ? t.split : 0);
    return TENON_OK;
}

const tenon_tactic tenon_cuda_conv_patch = {
    .name = "cuda.conv_patch", .pattern = "conv", .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject, .plan = plan,
    .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "conv_patch",
};
