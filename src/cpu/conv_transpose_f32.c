/* SPDX-License-Identifier: Apache-2.0 */
/* Transposed convolution in f32 over one or two spatial axes, any groups, as ordinary convolutions of stride 1: the result pixels
   of one phase (their place modulo the stride) all see the same taps at the same distance, so they are rows of a product whose K
   runs over those taps and the channels, with the tile kernels of conv_f32.c. Nothing is scattered and no columns are made.

   Where taps reach beyond the map, or its channels are not contiguous, it is copied into the workspace first, channels-last with
   zeros around it. A result that is f32 and contiguous along the channels is written by the kernels, else row by row through the
   program. */
#include "cpu/copy_nd.h"
#include "cpu/f32_tactic.h"
#include "cpu/product_f32.h"
#include "cpu/row_post.h"
#include "op/window.h"

#include "base/checked.h"
#include "base/team.h"

#include <string.h>

enum { PHASES = 16, TAPS = 128, BLOCK = 64, K_AT_ONCE = 768 };

typedef struct phase {
    int64_t at[2], out[2];   /* first result pixel; result pixels along an axis */
    int first, taps;         /* in `segment` */
    int64_t packed;          /* taps of a panel before its own */
} phase;

typedef struct record {
    const tenon_cpu_f32 *kernels;
    int vectors, phase_count;
    int64_t width, panels, groups, channels, filters; /* the last two: of a group */
    int64_t images, taps, units;
    int64_t stride[2], y_step[3]; /* y_step: image, row, pixel */
    const float *x, *weights, *bias;
    int64_t x_step[3];            /* of what is read: image, row, pixel */
    bool copied;
    tenon_copy copy;
    float *workspace;
    int64_t workspace_floats;
    tenon_row_post post;
    phase phase[PHASES];
    tenon_f32_segment segment[TAPS];
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

/* ---- tactic ---- */
static const tenon_type *weight_type(const tenon_problem *p) { return &p->anchor[0].node->src[1]->type; }

static int vectors_of(const tenon_cpu_f32 *kernels, const tenon_problem *p, int rank)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *x = &n->src[0]->type, *w = weight_type(p);
    int64_t rows = 1;
    for (int i = 2; i < x->rank; i++) rows *= tenon_dim_at_opt(p->graph->dims, x->dim[i]);
    return tenon_product_f32_vectors(kernels, TENON_MIN(rows, BLOCK), w->dim[1]->value, w->dim[0]->value, rank);
}

static int variants(const tenon_cpu_f32 *kernels, const tenon_problem *p, tenon_variant *out, int max)
{
    int count = 0;
    if (weight_type(p)->rank < 3 || !tenon_type_is_static(weight_type(p))) return 0;
    for (int rank = 0; rank < 2 && rank < kernels->vectors && count < max; rank++)
        out[count++] = (tenon_variant){{vectors_of(kernels, p, rank)}};
    return count;
}

static const char *reject_window(const tenon_node *n, const tenon_type *w)
{
    static const char *const given[] = {"strides", "dilations"};
    int64_t taps = 1, phases = 1;
    for (int i = 2; i < w->rank; i++) taps *= w->dim[i]->value;
    for (int k = 0; k < 2; k++) {
        const tenon_attr *a = tenon_node_attr(n, given[k]);
        for (size_t i = 0; i < a->count; i++)
            if (a->ints[i] > 64) return "a stride or dilation above 64";
            else if (k == 0) phases *= a->ints[i];
    }
    if (taps > TAPS || phases > PHASES) return "more than 128 taps or 16 phases";
    if (strcmp(tenon_node_attr(n, "auto_pad")->s, "NOTSET") != 0 && strcmp(tenon_node_attr(n, "auto_pad")->s, "VALID") != 0)
        return "automatic padding";
    return tenon_node_attr(n, "output_shape")->count ? "output_shape" : NULL;
}

static const char *reject(const tenon_cpu_f32 *kernels, const tenon_problem *p, const tenon_variant *v, tenon_reason *scratch)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const tenon_type *x = &n->src[0]->type, *w = &n->src[1]->type;
    (void)scratch;
    if (v->p[0] < 0 || v->p[0] > kernels->vectors) return "no such variant";
    if (x->dtype != TENON_F32) return "not f32";
    if (x->rank > 4) return "more than two spatial axes";
    const char *why = tenon_row_post_reject(p, a);
    if (why) return why;
    if (a->pre[0] || a->pre[1] || a->pre[2]) return "a program on a source";
    const int src = tenon_problem_src(p, n->src[0]), weight = tenon_problem_src(p, n->src[1]);
    if (src < 0 || weight < 0) return "an operand is not a source";
    if (!p->src[weight].format.weight || !tenon_type_is_static(w)) return "the weight is not constant";
    if (w->dim[0]->value < 1 || w->dim[1]->value < 1) return "no channels";
    for (int i = 0; i < x->rank; i++)
        if (x->dim[i]->hi > 1 << 24) return "x without bound";
    if (n->src_count > 2 && n->src[2]) {
        const int bias = tenon_problem_src(p, n->src[2]);
        if (bias < 0 || p->src[bias].format.layout != TENON_ROW) return "the bias is not a vector in memory";
    }
    return reject_window(n, w);
}

/* ---- geometry ---- */
typedef struct geometry {
    int64_t kernel[2], stride[2], dilation[2], begin[2];
    int64_t before[2], after[2]; /* zeros around the map, for any size of it */
} geometry;

static int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

/* Result pixel q of phase p lies at p + q * stride and reads, for tap r, input q + (p + begin - r * dilation) / stride. */
static tenon_status geometry_of(tenon_cx *cx, const tenon_problem *p, geometry *g)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *w = weight_type(p);
    const tenon_attr *extra = tenon_node_attr(n, "output_padding");
    tenon_window_attrs a;
    TENON_TRY(tenon_window_attrs_get(cx, n, w->rank - 2, &a));
    for (int k = 0; k < 2; k++) {
        const int i = k - (2 - a.axes);
        g->kernel[k] = i < 0 ? 1 : w->dim[2 + i]->value;
        g->stride[k] = i < 0 ? 1 : a.stride[i];
        g->dilation[k] = i < 0 ? 1 : a.dilation[i];
        g->begin[k] = i < 0 ? 0 : a.begin[i];
        /* out = (in - 1) * stride + (kernel - 1) * dilation + 1 + extra - begin - end */
        const int64_t reach = (g->kernel[k] - 1) * g->dilation[k], end = i < 0 ? 0 : a.end[i];
        const int64_t more = i >= 0 && (size_t)i < extra->count ? extra->ints[i] : 0;
        const int64_t first = floor_div(g->begin[k] - reach, g->stride[k]), last = floor_div(reach + more - end, g->stride[k]);
        g->before[k] = TENON_MAX(0, -first);
        g->after[k] = TENON_MAX(0, last);
    }
    return TENON_OK;
}

static tenon_status plan(tenon_cx *cx, const tenon_cpu_f32 *kernels, const tenon_problem *p, const tenon_variant *v,
                         tenon_tactic_plan *out)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *x = &n->src[0]->type;
    const int weight = tenon_problem_src(p, n->src[1]), vectors = v->p[0] ? v->p[0] : vectors_of(kernels, p, 0);
    geometry g;
    TENON_TRY(geometry_of(cx, p, &g));
    int64_t size[4] = {x->dim[0]->hi, x->dim[1]->hi, 1, 1}, floats;
    for (int k = 0; k < 2; k++) {
        const int axis = k + x->rank - 2;
        size[2 + k] = (axis >= 2 ? x->dim[axis]->hi : 1) + g.before[k] + g.after[k];
    }
    if (!tenon_product(size, 4, &floats) || floats > INT64_C(1) << 40)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "conv_transpose: the padded source is too large");
    const int64_t filters = tenon_node_int(n, "group") * weight_type(p)->dim[1]->value;
    out->record_bytes = sizeof(record);
    out->workspace_bytes = (size_t)floats * sizeof(float);
    out->scratch_bytes = ((size_t)(BLOCK * filters) * sizeof(float) + 63) / 64 * 64;
    out->pack_count = 1;
    out->pack[0] = (tenon_pack){.op = &tenon_op_pack_conv_transpose, .src = {weight, -1, -1, -1},
                                .attr = {tenon_node_int(n, "group"), (int64_t)vectors * kernels->vw, kernels->vw, g.stride[0],
                                         g.stride[1], g.dilation[0], g.dilation[1]}};
    out->src_packed = UINT32_C(1) << weight;
    return TENON_OK;
}

/* ---- bind ---- */
/* Where x is read, and the copy when it is not read in place. */
static void bind_source(const tenon_bind *b, const geometry *g, const tenon_tensor *x, record *r)
{
    const bool plane = x->rank == 4;
    const int64_t in[2] = {plane ? x->dim[2] : 1, x->dim[x->rank - 1]}, all = x->dim[1];
    const bool padded = g->before[0] || g->before[1] || g->after[0] || g->after[1];
    r->copied = padded || (x->stride[1] != 1 && all != 1);
    r->x = x->data;
    if (!r->copied) {
        r->x_step[0] = x->stride[0];
        r->x_step[1] = plane ? x->stride[2] : 0;
        r->x_step[2] = x->stride[x->rank - 1];
        return;
    }
    const int64_t wide = in[1] + g->before[1] + g->after[1], high = in[0] + g->before[0] + g->after[0];
    r->x_step[2] = all;
    r->x_step[1] = wide * all;
    r->x_step[0] = high * r->x_step[1];
    r->workspace = b->workspace;
    r->workspace_floats = padded ? r->images * r->x_step[0] : 0;
    float *inside = r->workspace + g->before[0] * r->x_step[1] + g->before[1] * r->x_step[2];
    const int64_t dim[4] = {x->dim[0], all, in[0], in[1]};
    const int64_t to[4] = {r->x_step[0], 1, r->x_step[1], r->x_step[2]};
    const int64_t from[4] = {x->stride[0], x->stride[1], plane ? x->stride[2] : 0, x->stride[x->rank - 1]};
    tenon_copy_make(&r->copy, 4, dim, to, from, sizeof(float), inside, x->data);
    r->x = inside;
}

static void bind_phase(record *r, const geometry *g, const int64_t *out, int64_t row, int64_t col, int *segment)
{
    phase *p = &r->phase[r->phase_count++];
    const int64_t at[2] = {row, col};
    int64_t class_of[2];
    for (int k = 0; k < 2; k++) {
        p->at[k] = at[k];
        p->out[k] = at[k] < out[k] ? (out[k] - at[k] + g->stride[k] - 1) / g->stride[k] : 0;
        class_of[k] = (at[k] + g->begin[k]) % g->stride[k];
    }
    p->first = *segment;
    for (int64_t i = 0; i < g->kernel[0]; i++)
        for (int64_t j = 0; j < g->kernel[1]; j++) {
            const int64_t cr = i * g->dilation[0] % g->stride[0], cs = j * g->dilation[1] % g->stride[1];
            if (cr < class_of[0] || (cr == class_of[0] && cs < class_of[1])) p->packed++;
            if (cr != class_of[0] || cs != class_of[1]) continue;
            const int64_t dy = (row + g->begin[0] - i * g->dilation[0]) / g->stride[0]; /* exact */
            const int64_t dx = (col + g->begin[1] - j * g->dilation[1]) / g->stride[1];
            r->segment[(*segment)++] = (tenon_f32_segment){dy * r->x_step[1] + dx * r->x_step[2], r->channels};
        }
    p->taps = *segment - p->first;
    r->units += r->images * p->out[0];
}

static tenon_status bind(tenon_cx *cx, const tenon_cpu_f32 *kernels, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_problem *p = b->problem;
    const tenon_node *n = p->anchor[0].node;
    const tenon_tensor *x = &b->src[tenon_problem_src(p, n->src[0])], *w = &b->src[tenon_problem_src(p, n->src[1])];
    const tenon_tensor *y = &b->dst[0]; /* all results have the anchor's dims */
    geometry g;
    int segment = 0;
    memset(r, 0, sizeof *r);
    TENON_TRY(geometry_of(cx, p, &g));
    TENON_TRY(tenon_row_post_bind(cx, b, &p->anchor[0], 1, &r->post));
    tenon_row_post_seal(&r->post);
    r->kernels = kernels;
    r->vectors = b->variant->p[0] ? b->variant->p[0] : vectors_of(kernels, p, 0);
    r->width = (int64_t)r->vectors * kernels->vw;
    r->groups = tenon_node_int(n, "group");
    r->channels = w->dim[0] / r->groups;
    r->filters = w->dim[1];
    r->panels = tenon_ceil_div(r->filters, r->width);
    r->images = x->dim[0];
    r->taps = g.kernel[0] * g.kernel[1];
    r->weights = b->pack[0].data;
    if (n->src_count > 2 && n->src[2]) r->bias = b->src[tenon_problem_src(p, n->src[2])].data;
    bind_source(b, &g, x, r);
    const int64_t size[2] = {y->rank == 4 ? y->dim[2] : 1, y->dim[y->rank - 1]};
    r->y_step[0] = y->stride[0];
    r->y_step[1] = y->rank == 4 ? y->stride[2] : 0;
    r->y_step[2] = y->stride[y->rank - 1];
    for (int k = 0; k < 2; k++) r->stride[k] = g.stride[k];
    for (int64_t i = 0; i < g.stride[0]; i++)
        for (int64_t j = 0; j < g.stride[1]; j++) bind_phase(r, &g, size, i, j, &segment);
    return TENON_OK;
}

/* ---- run ---- */
/* Pixels of one row of a phase: K in pieces of whole taps. */
static void run_tile(const record *r, const phase *p, const float *x, int rows, const float *b, int64_t width, int64_t columns,
                     int64_t channel, const float *bias, float *c, int64_t ldc)
{
    const float *row[TENON_F32_ROWS];
    tenon_f32_tile t = {.a_offset = channel, .ldb = width, .c = c, .ldc = ldc, .start = bias,
                        .last = (int)(columns - (width - r->kernels->vw))};
    const int64_t at_once = TENON_MAX(K_AT_ONCE / r->channels, 1);
    for (int i = 0; i < rows; i++) row[i] = x + i * r->x_step[2];
    for (int64_t tap = 0; tap < p->taps; tap += t.segment_count) {
        t.segment = &r->segment[p->first + tap];
        t.segment_count = TENON_MIN(p->taps - tap, at_once);
        t.b = b + tap * r->channels * width;
        t.ahead = (const char *)(t.b + t.segment_count * r->channels * width);
        t.load = tap > 0;
        r->kernels->tile[width / r->kernels->vw][rows](row, &t);
    }
    for (int i = 0; i < rows && p->taps == 0; i++)
        for (int64_t k = 0; k < columns; k++) c[i * ldc + k] = bias ? bias[k] : 0.0f;
}

/* `lines` rows of a phase from row `line` on, pixels [col, col + cols) of each, into c: `row_step` and `ldc` floats apart. */
static void run_block(const record *r, const phase *p, int64_t image, int64_t line, int64_t lines, int64_t col, int64_t cols,
                      float *c, int64_t row_step, int64_t ldc)
{
    const float *x = r->x + image * r->x_step[0] + line * r->x_step[1] + col * r->x_step[2];
    const int64_t vw = r->kernels->vw, whole = tenon_product_f32_packed((int)vw, r->filters, r->taps * r->channels);
    for (int64_t i = 0; i < r->groups * r->panels; i++) {
        const int64_t group = i / r->panels, first = i % r->panels * r->width, filter = group * r->filters + first;
        const int64_t columns = TENON_MIN(r->filters - first, r->width), width = (columns + vw - 1) / vw * vw;
        const float *b = r->weights + group * whole + first * r->taps * r->channels + p->packed * r->channels * width;
        const int64_t most = r->kernels->rows[width / vw], tiles = (cols + most - 1) / most;
        for (int64_t l = 0; l < lines; l++)
            for (int64_t t = 0; t < tiles; t++) {
                const int64_t from = cols * t / tiles, rows = cols * (t + 1) / tiles - from;
                run_tile(r, p, x + l * r->x_step[1] + from * r->x_step[2], (int)rows, b, width, columns, group * r->channels,
                         r->bias ? r->bias + filter : NULL, c + l * row_step + from * ldc + filter, ldc);
            }
    }
}

/* Where a pixel of a phase lies: its number among the rows of the result. */
static int64_t row_of(const record *r, const phase *p, int64_t high, int64_t wide, int64_t image, int64_t line, int64_t col)
{
    return (image * high + p->at[0] + line * r->stride[0]) * wide + p->at[1] + col * r->stride[1];
}

static void run_lines(const record *r, const phase *p, int64_t image, int64_t line, int64_t lines, float *scratch)
{
    int64_t high = 0, wide = 0;
    for (int i = 0; i < r->phase_count; i++) {
        if (r->phase[i].at[1] == 0) high += r->phase[i].out[0];
        if (r->phase[i].at[0] == 0) wide += r->phase[i].out[1];
    }
    for (int64_t col = 0; col < p->out[1]; col += BLOCK) {
        const int64_t cols = TENON_MIN(p->out[1] - col, BLOCK), all = r->groups * r->filters;
        if (r->post.in_place) {
            float *y = (float *)(void *)tenon_row_post_at(&r->post, r->post.operand_count,
                                                          row_of(r, p, high, wide, image, line, col));
            run_block(r, p, image, line, lines, col, cols, y, r->stride[0] * r->y_step[1], r->stride[1] * r->y_step[2]);
            continue;
        }
        run_block(r, p, image, line, lines, col, cols, scratch, cols * all, all);
        for (int64_t i = 0; i < lines * cols; i++)
            tenon_row_post_run(&r->post, row_of(r, p, high, wide, image, line + i / cols, col + i % cols), scratch + i * all);
    }
}

static void copy_source(const record *r, const tenon_worker *w)
{
    int64_t begin, end;
    if (r->workspace_floats) {
        tenon_split(r->workspace_floats, 1024, w->member, w->count, &begin, &end);
        memset(r->workspace + begin, 0, (size_t)(end - begin) * sizeof(float));
        tenon_team_barrier(w->team, w->member);
    }
    tenon_copy_run(&r->copy, w->member, w->count);
    tenon_team_barrier(w->team, w->member);
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    int64_t begin, end, before = 0;
    if (r->copied) copy_source(r, w);
    tenon_split(r->units, 1, w->member, w->count, &begin, &end);
    for (int i = 0; i < r->phase_count && before < end; i++) {
        const phase *p = &r->phase[i];
        const int64_t units = r->images * p->out[0], most = TENON_MAX(BLOCK / TENON_MAX(p->out[1], 1), 1);
        for (int64_t unit = TENON_MAX(begin - before, 0); unit < TENON_MIN(end - before, units);) {
            const int64_t line = unit % p->out[0];
            const int64_t lines = TENON_MIN(TENON_MIN(most, p->out[0] - line), end - before - unit);
            run_lines(r, p, unit / p->out[0], line, lines, w->scratch);
            unit += lines;
        }
        before += units;
    }
    return TENON_OK;
}

TENON_F32_TACTICS(conv_transpose, "conv_transpose", TENON_TACTIC_BARRIER);
