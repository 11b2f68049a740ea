/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution in f32 over one or two spatial axes, any groups, channels-last result: rows of A are output pixels, K runs over
   kernel rows, kernel columns and channels, weights are packed by panels of output channels (pack_conv).

   1x1 kernels without padding read a channels-last source in place, whatever the stride. All others, and sources in another
   layout or behind a program, go through a slab: the input rows of a band of output rows, copied once into the member's scratch,
   channels-last with the padding written out, so that kernels know no borders:

       slab   | pad | pixel 0: c floats [+ gap] | pixel 1 | ... | pad |   x rows of the band
   The gap is there when pixels of a tile would lie a multiple of 4096 bytes apart. */
#include "cpu/f32_tactic.h"
#include "cpu/product_f32.h"
#include "op/window.h"

#include <string.h>

enum { SLAB_BYTES = 384 << 10, SLAB_MOST = 64 << 20, MAX_TAPS = 96, GAP = 16 };
enum { P_VECTORS, P_SPLIT }; /* parameters of a variant */

typedef struct record {
    tenon_product_f32 product;
    tenon_epilogue_f32 epilogue;
    tenon_domain domain;
    tenon_grid grid;
    const float *weights;
    int64_t groups, group_floats; /* of packed weights */
    tenon_map x;                  /* over the input's pixels: rows are input pixels, columns channels */
    tenon_domain in;
    int64_t stride_h, stride_w, dilation_h, kernel_h, begin_h, begin_w;
    bool in_place;
    int64_t pitch, slab_w, band;  /* floats of a slab pixel; pixels of a slab row; output rows in the slab */
    size_t tile_offset, slab_offset;
    bool has_pre;
    int pre_count;
    tenon_map pre_operand[TENON_PROGRAM_OPERANDS];
    tenon_pw_code pre;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

/* ---- geometry: the same for plan and bind ---- */
typedef struct geometry {
    tenon_window w; /* axes 1 and 2 are rows and columns */
    int64_t channels, group, group_channels, filters;
    bool in_place, merged; /* merged: the taps of a kernel row are one run of K */
    int64_t pitch, slab_w;
} geometry;

static void geometry_finish(const tenon_problem *p, bool contiguous, geometry *g)
{
    const tenon_window *w = &g->w;
    const bool point = w->kernel[1] == 1 && w->kernel[2] == 1;
    const bool padded = w->begin[1] || w->begin[2] || w->end[1] || w->end[2];
    g->in_place = point && !padded && contiguous && !p->anchor[0].pre[0];
    g->group_channels = g->channels / g->group;
    g->pitch = g->channels;
    if (g->channels % 16 == 0 && w->stride[2] * g->channels * 4 % 4096 == 0) g->pitch += GAP;
    g->merged = g->group == 1 && w->dilation[2] == 1 && g->pitch == g->channels;
    g->slab_w = w->in[2] + w->begin[2] + TENON_MAX(w->end[2], 0);
}

static int64_t slab_rows(const geometry *g, int64_t band)
{
    return (band - 1) * g->w.stride[1] + (g->w.kernel[1] - 1) * g->w.dilation[1] + 1;
}

/* Output rows whose input fits; one at least. */
static int64_t band_rows(const geometry *g, size_t bytes)
{
    const int64_t row_bytes = g->slab_w * g->pitch * 4, fit = (int64_t)bytes / TENON_MAX(row_bytes, 1);
    const int64_t first = slab_rows(g, 1), more = fit > first ? (fit - first) / g->w.stride[1] : 0;
    return TENON_MIN(1 + more, TENON_MAX(g->w.out[1], 1));
}

static int vectors_of(const tenon_cpu_f32 *kernels, const tenon_problem *p, const tenon_variant *v)
{
    if (v->p[P_VECTORS]) return v->p[P_VECTORS];
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *w = &n->src[1]->type, *y = &n->dst[0]->type;
    int64_t rows = 1, k = 1;
    for (int i = 2; i < y->rank; i++) rows *= tenon_dim_at_opt(p->graph->dims, y->dim[i]);
    for (int i = 1; i < w->rank; i++) k *= w->dim[i]->value;
    return tenon_product_f32_vectors(kernels, TENON_MIN(rows, 4096), w->dim[0]->value / tenon_node_int(n, "group"), k, 0);
}

/* ---- tactic ---- */
static int variants(const tenon_cpu_f32 *kernels, const tenon_problem *p, tenon_variant *out, int max)
{
    const tenon_node *n = p->anchor[0].node;
    int count = 0;
    if (n->src[1]->type.rank < 3 || !tenon_type_is_static(&n->src[1]->type)) return 0;
    for (int split = TENON_SPLIT_AUTO; split <= TENON_SPLIT_PANELS; split++)
        for (int rank = 0; rank < (split == TENON_SPLIT_AUTO ? 3 : 1) && rank < kernels->vectors && count < max; rank++) {
            const tenon_type *w = &n->src[1]->type;
            int64_t rows = 1, k = 1;
            for (int i = 2; i < n->dst[0]->type.rank; i++) rows *= tenon_dim_at_opt(p->graph->dims, n->dst[0]->type.dim[i]);
            for (int i = 1; i < w->rank; i++) k *= w->dim[i]->value;
            const int64_t columns = w->dim[0]->value / tenon_node_int(n, "group");
            out[count++] = (tenon_variant){{tenon_product_f32_vectors(kernels, TENON_MIN(rows, 4096), columns, k, rank), split}};
        }
    return count;
}

static const char *reject_pre(const tenon_problem *p, const tenon_program *pre)
{
    if (pre->class_ != TENON_CLASS_F32 || pre->result_count != 1) return "the program on x does not compute in f32";
    for (int i = 0; i < pre->operand_count; i++) {
        if (pre->operand_scalar[i]) continue;
        if (tenon_problem_src(p, pre->operand[i]) < 0) return "an operand of the program on x is not a source";
        if (tenon_dtype_get(pre->operand[i]->type.dtype)->bits < 8) return "an operand of the program on x has no plain storage";
    }
    return NULL;
}

static const char *reject(const tenon_cpu_f32 *kernels, const tenon_problem *p, const tenon_variant *v, tenon_reason *scratch)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const tenon_type *x = &n->src[0]->type, *w = &n->src[1]->type;
    (void)scratch;
    if (v->p[P_VECTORS] < 0 || v->p[P_VECTORS] > kernels->vectors || v->p[P_SPLIT] < 0 || v->p[P_SPLIT] > TENON_SPLIT_PANELS)
        return "no such variant";
    if (x->rank < 3 || x->rank > 4) return "one or two spatial axes only";
    if (x->dtype != TENON_F32 || w->dtype != TENON_F32) return "not f32";
    if (a->pre[1] || a->pre[2]) return "a program on the weights";
    const int source = a->pre[0] ? 0 : tenon_problem_src(p, n->src[0]), weight = tenon_problem_src(p, n->src[1]);
    if (source < 0 || weight < 0) return "x or the weight is not a source";
    if (!p->src[weight].format.weight) return "the weight is not a constant";
    if (!tenon_type_is_static(w)) return "the weight's shape is not constant";
    if (n->src_count > 2 && n->src[2]) {
        const int bias = tenon_problem_src(p, n->src[2]);
        if (bias < 0 || n->src[2]->type.dtype != TENON_F32) return "the bias is not an f32 source";
    }
    int64_t taps = 1;
    for (int i = 2; i < w->rank; i++) taps *= w->dim[i]->value;
    for (int i = 0; i < w->rank; i++)
        if (w->dim[i]->value < 1) return "an empty weight";
    const tenon_attr *dilation = tenon_node_attr(n, "dilations");
    const bool merged = tenon_node_int(n, "group") == 1 && w->dim[1]->value % 16 != 0 &&
                        (!dilation->count || dilation->ints[dilation->count - 1] == 1);
    if (taps > MAX_TAPS && !(merged && taps / w->dim[w->rank - 1]->value <= MAX_TAPS)) return "too many taps";
    for (int i = 2; i < x->rank; i++)
        if (x->dim[i]->hi > 1 << 20) return "a spatial axis without bound";
    const int64_t rows = w->rank == 4 ? (w->dim[2]->value - 1) * (dilation->count ? dilation->ints[0] : 1) + 1 : 1;
    if (rows * (x->dim[x->rank - 1]->hi + w->dim[w->rank - 1]->value) > SLAB_MOST / (x->dim[1]->hi + GAP) / 4)
        return "the rows of x are too long for scratch memory";
    const char *why = a->pre[0] ? reject_pre(p, a->pre[0]) : NULL;
    const tenon_roles roles = tenon_roles_image(x->rank);
    return why ? why : tenon_epilogue_f32_reject(p, a, &roles);
}

/* The geometry at the largest dims of the profile, for the slab. */
static tenon_status largest(tenon_cx *cx, const tenon_problem *p, geometry *g)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *tx = &n->src[0]->type, *ty = &n->dst[0]->type, *tw = &n->src[1]->type;
    tenon_tensor x = {.dtype = TENON_F32, .rank = tx->rank}, y = x;
    int64_t kernel[2] = {1, 1};
    for (int i = 0; i < tx->rank; i++) x.dim[i] = tx->dim[i]->hi, y.dim[i] = ty->dim[i]->hi;
    for (int i = 2; i < tw->rank; i++) kernel[i - 2] = tw->dim[i]->value;
    TENON_TRY(tenon_window_get(cx, n, &x, kernel, &y, &g->w));
    g->channels = tw->dim[1]->value * tenon_node_int(n, "group");
    g->group = tenon_node_int(n, "group");
    g->filters = tw->dim[0]->value;
    geometry_finish(p, false, g);
    return TENON_OK;
}

/* Scratch: row pointers, tile buffer, slab. */
static size_t tile_bytes(const tenon_cpu_f32 *kernels)
{
    return (size_t)TENON_PRODUCT_TILE_ROWS * (size_t)(kernels->vectors * kernels->vw) * 4;
}
static size_t pointer_bytes(void) { return TENON_PRODUCT_ROWS * sizeof(float *); }

static tenon_status plan(tenon_cx *cx, const tenon_cpu_f32 *kernels, const tenon_problem *p, const tenon_variant *v,
                         tenon_tactic_plan *out)
{
    geometry g = {0};
    const int weight = tenon_problem_src(p, p->anchor[0].node->src[1]);
    TENON_TRY(largest(cx, p, &g));
    const size_t one = (size_t)(slab_rows(&g, 1) * g.slab_w * (g.channels + GAP) * 4);
    const size_t all = (size_t)(slab_rows(&g, TENON_MAX(g.w.out[1], 1)) * g.slab_w * (g.channels + GAP) * 4);
    out->record_bytes = sizeof(record);
    out->scratch_bytes = pointer_bytes() + tile_bytes(kernels) + TENON_MAX(one, TENON_MIN(all, SLAB_BYTES));
    out->pack_count = 1;
    out->pack[0] = (tenon_pack){.op = &tenon_op_pack_conv, .src = {weight, -1, -1, -1},
                                .attr = {g.group, (int64_t)vectors_of(kernels, p, v) * kernels->vw, kernels->vw}};
    out->src_packed = UINT32_C(1) << weight;
    out->in_place = true;
    return TENON_OK;
}

/* K in the order of the packed weights: kernel rows, columns, channels. */
static bool segments(record *r, const geometry *g, const tenon_cpu_f32 *kernels, int vectors)
{
    tenon_f32_segment s[TENON_PRODUCT_SEGMENTS];
    const int64_t row = g->in_place ? 0 : g->slab_w * g->pitch;
    int count = 0;
    for (int64_t y = 0; y < g->w.kernel[1]; y++)
        for (int64_t x = 0; x < (g->merged ? 1 : g->w.kernel[2]); x++) {
            if (count == TENON_PRODUCT_SEGMENTS) return false;
            s[count++] = (tenon_f32_segment){y * g->w.dilation[1] * row + x * g->w.dilation[2] * g->pitch,
                                             g->merged ? g->w.kernel[2] * g->channels : g->group_channels};
        }
    return tenon_product_f32_init(&r->product, kernels, vectors, g->filters / g->group, TENON_PRODUCT_KC, s, count);
}

static tenon_status bind_pre(tenon_cx *cx, const tenon_bind *b, const tenon_roles *roles, unsigned isa, record *r)
{
    const tenon_program *pre = b->problem->anchor[0].pre[0];
    uint8_t kind[TENON_PROGRAM_OPERANDS];
    const tenon_dtype f32 = TENON_F32;
    for (int i = 0; i < pre->operand_count; i++) {
        kind[i] = TENON_PW_SPLAT;
        if (pre->operand_scalar[i]) continue;
        tenon_map_of(&b->src[tenon_problem_src(b->problem, pre->operand[i])], roles, &r->pre_operand[i]);
        kind[i] = tenon_pw_kind(r->pre_operand[i].column);
    }
    r->has_pre = true;
    r->pre_count = pre->operand_count;
    return tenon_pw_compile(cx, pre, isa, kind, &f32, &r->pre);
}

static tenon_status bind_source(tenon_cx *cx, const tenon_cpu_f32 *kernels, const tenon_bind *b, record *r, geometry *g)
{
    const tenon_problem *p = b->problem;
    const tenon_node *n = p->anchor[0].node;
    const tenon_roles roles = tenon_roles_image(n->src[0]->type.rank);
    const tenon_tensor *y = &b->dst[0], *w = &b->src[tenon_problem_src(p, n->src[1])];
    tenon_tensor x = {.dtype = TENON_F32, .rank = roles.rank};
    bool contiguous = false;
    r->in = (tenon_domain){.outer_rank = 1, .outer = {y->dim[0]}, .y = 1, .x = 1};
    if (p->anchor[0].pre[0]) {
        /* x itself is never in memory: its dims are those that its operands broadcast to */
        for (int i = 0; i < roles.rank; i++) x.dim[i] = 1;
        for (int k = 0; k < p->anchor[0].pre[0]->operand_count; k++) {
            if (p->anchor[0].pre[0]->operand_scalar[k]) continue;
            const tenon_tensor *o = &b->src[tenon_problem_src(p, p->anchor[0].pre[0]->operand[k])];
            for (int i = 0; i < o->rank; i++) {
                const int axis = roles.rank - o->rank + i;
                if (o->dim[i] != 1) x.dim[axis] = o->dim[i];
            }
        }
        TENON_TRY(bind_pre(cx, b, &roles, kernels->isa, r));
    } else {
        x = b->src[tenon_problem_src(p, n->src[0])];
        tenon_map_of(&x, &roles, &r->x);
        contiguous = r->x.column == 1 || x.dim[1] == 1;
    }
    TENON_TRY(tenon_window_get(cx, n, &x, w->dim + 2, y, &g->w));
    g->channels = x.dim[1];
    g->group = tenon_node_int(n, "group");
    g->filters = w->dim[0];
    r->in.y = g->w.in[1], r->in.x = g->w.in[2], r->in.columns = g->channels;
    geometry_finish(p, contiguous, g);
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_cpu_f32 *kernels, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_problem *p = b->problem;
    const tenon_node *n = p->anchor[0].node;
    const tenon_roles roles = tenon_roles_image(n->src[0]->type.rank);
    geometry g = {0};
    memset(r, 0, sizeof *r);
    tenon_domain_of(&b->dst[0], &roles, &r->domain);
    TENON_TRY(bind_source(cx, kernels, b, r, &g));
    const tenon_tensor *bias = n->src_count > 2 && n->src[2] ? &b->src[tenon_problem_src(p, n->src[2])] : NULL;
    TENON_TRY(tenon_epilogue_f32_bind(cx, b, &p->anchor[0], &roles, &r->domain, bias, true, kernels->isa, &r->epilogue));
    if (!segments(r, &g, kernels, vectors_of(kernels, p, b->variant)))
        return TENON_FAIL(cx, TENON_INTERNAL, "conv: too many taps");
    r->weights = b->pack[0].data;
    r->groups = g.group;
    r->group_floats = tenon_product_f32_packed(kernels->vw, g.filters / g.group, r->product.k);
    r->stride_h = g.w.stride[1], r->stride_w = g.w.stride[2], r->dilation_h = g.w.dilation[1];
    r->kernel_h = g.w.kernel[1], r->begin_h = g.w.begin[1], r->begin_w = g.w.begin[2];
    r->in_place = g.in_place;
    r->pitch = g.pitch, r->slab_w = g.slab_w;
    r->tile_offset = pointer_bytes();
    r->slab_offset = r->tile_offset + tile_bytes(kernels);
    r->band = band_rows(&g, b->plan->scratch_bytes - r->slab_offset);
    const int64_t images = b->dst[0].dim[0];
    const bool by_pixel = r->in_place && r->epilogue.flat;
    const double copied = r->in_place ? 0 : (double)(r->stride_h * g.slab_w * g.channels);
    r->grid = tenon_grid_choose(&r->product, b->threads, b->variant->p[P_SPLIT],
                                images * r->domain.y * (by_pixel ? r->domain.x : 1), by_pixel ? 1 : r->domain.x, g.group, copied);
    return TENON_OK;
}

/* ---- run ---- */
/* One input row into the slab, behind its left padding. */
static void copy_row(const record *r, int64_t image, int64_t y, float *dst)
{
    const int64_t width = r->in.x, channels = r->in.columns;
    if (r->has_pre) {
        tenon_pw_operand operand[TENON_PROGRAM_OPERANDS];
        for (int i = 0; i < r->pre_count; i++) {
            const tenon_map *m = &r->pre_operand[i];
            const char *at = m->base ? m->base + m->bytes * (image * m->outer[0] + y * m->y) : NULL;
            operand[i] = (tenon_pw_operand){at, m->x, m->column};
        }
        const tenon_pw_result result = {dst, r->pitch, 1};
        tenon_pw_run(&r->pre, operand, &result, width, channels);
        return;
    }
    const float *src = (const float *)(const void *)r->x.base + image * r->x.outer[0] + y * r->x.y;
    if (r->x.column == 1 && r->x.x == channels && r->pitch == channels) {
        memcpy(dst, src, (size_t)(width * channels) * 4);
    } else if (r->x.column == 1) {
        for (int64_t x = 0; x < width; x++) memcpy(dst + x * r->pitch, src + x * r->x.x, (size_t)channels * 4);
    } else {
        for (int64_t c = 0; c < channels; c++) {
            const float *from = src + c * r->x.column;
            for (int64_t x = 0; x < width; x++) dst[x * r->pitch + c] = from[x * r->x.x];
        }
    }
}

static void fill_slab(const record *r, int64_t image, int64_t first, int64_t rows, float *slab)
{
    const int64_t row_floats = r->slab_w * r->pitch, left = r->begin_w * r->pitch, right = left + r->in.x * r->pitch;
    for (int64_t i = 0; i < rows; i++, slab += row_floats) {
        const int64_t y = first + i;
        if (y < 0 || y >= r->in.y) {
            memset(slab, 0, (size_t)row_floats * 4);
            continue;
        }
        memset(slab, 0, (size_t)left * 4);
        copy_row(r, image, y, slab + left);
        memset(slab + right, 0, (size_t)(row_floats - right) * 4);
    }
}

/* Output pixels [row, end) of one image; base: A of output row y0, pixel 0. */
static void run_rows(const record *r, int64_t image, int64_t row, int64_t end, const float *base, int64_t y0, int64_t a_y,
                     int64_t a_x, int64_t panel, int64_t panel_end, char *scratch)
{
    const float **pointer = (const float **)(void *)scratch;
    const int64_t block = tenon_product_f32_rows(r->product.k), ow = r->domain.x;
    for (; row < end;) {
        int64_t rows = TENON_MIN(block, end - row);
        if (!r->epilogue.flat) rows = TENON_MIN(rows, ow - row % ow);
        for (int64_t i = 0, y = row / ow, x = row % ow; i < rows; i++) {
            pointer[i] = base + (y - y0) * a_y + x * a_x;
            if (++x == ow) x = 0, y++;
        }
        tenon_product_call c = {.row = pointer, .outer = image, .first_row = row, .rows = rows,
                                .tile = (float *)(void *)(scratch + r->tile_offset)};
        for (int64_t p = panel; p < panel_end;) {
            const int64_t group = p / r->product.panels;
            c.a_offset = group * (r->in.columns / r->groups);
            c.column = group * r->product.columns;
            c.b = r->weights + group * r->group_floats;
            c.panel = p - group * r->product.panels;
            c.panel_end = TENON_MIN(panel_end - group * r->product.panels, r->product.panels);
            tenon_product_f32_run(&r->product, &r->epilogue, &r->domain, &c);
            p += c.panel_end - c.panel;
        }
        row += rows;
    }
}

static void run_in_place(const record *r, int64_t unit, int64_t end, int64_t unit_rows, int64_t panel, int64_t panel_end,
                         char *scratch)
{
    const int64_t rows = r->domain.y * r->domain.x;
    for (int64_t row = unit * unit_rows, last = end * unit_rows; row < last;) {
        const int64_t image = row / rows, from = row % rows, count = TENON_MIN(rows - from, last - row);
        const float *base = (const float *)(const void *)r->x.base + image * r->x.outer[0];
        run_rows(r, image, from, from + count, base, 0, r->x.y * r->stride_h, r->x.x * r->stride_w, panel, panel_end, scratch);
        row += count;
    }
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    char *scratch = w->scratch;
    const bool by_pixel = r->in_place && r->epilogue.flat;
    const int64_t units = r->domain.outer[0] * r->domain.y * (by_pixel ? r->domain.x : 1);
    int64_t unit, end, panel, panel_end;
    if (!tenon_grid_share(&r->grid, w->member, units, 1, r->product.panels * r->groups, &unit, &end, &panel, &panel_end))
        return TENON_OK;
    if (r->in_place) {
        run_in_place(r, unit, end, by_pixel ? 1 : r->domain.x, panel, panel_end, scratch);
        return TENON_OK;
    }
    float *slab = (float *)(void *)(scratch + r->slab_offset);
    while (unit < end) {
        const int64_t image = unit / r->domain.y, y = unit % r->domain.y;
        const int64_t left = TENON_MIN(end - unit, r->domain.y - y), bands = (left + r->band - 1) / r->band;
        const int64_t rows = (left + bands - 1) / bands;
        fill_slab(r, image, y * r->stride_h - r->begin_h, (rows - 1) * r->stride_h + (r->kernel_h - 1) * r->dilation_h + 1, slab);
        run_rows(r, image, y * r->domain.x, (y + rows) * r->domain.x, slab, y, r->stride_h * r->slab_w * r->pitch,
                 r->stride_w * r->pitch, panel, panel_end, scratch);
        unit += rows;
    }
    return TENON_OK;
}

TENON_F32_TACTICS(conv, "conv", 0);
