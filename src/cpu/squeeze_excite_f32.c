/* SPDX-License-Identifier: Apache-2.0 */
/* Squeeze-excite as one step: the mean of each channel over the image, a small 1x1 convolution, a second one, each with its
   program. The scaling of the map by the result belongs to whoever reads the map next.

   A member folds some channels and multiplies their means at once with its rows of the first weights, which gives a part of
   every hidden value; so one barrier an image is enough, and each weight is read once by one member:

       member 0   mean of channels 0..c0    part 0 of hidden |       sum of the parts, program, filters 0..k0
       member 1   mean of channels c0..c1   part 1 of hidden | barr. sum of the parts, program, filters k0..k1

   Parts alternate between two places, so that the next image may write its own while this one's are read. With an image for
   every member, each does whole images and nobody waits. Weights are packed in panels of 64 filters, read from front to end by the
   product kernel of one row. */
#include "base/checked.h"
#include "base/isa.h"
#include "base/team.h"
#include "cpu/backend.h"
#include "cpu/kernels_f32.h"
#include "cpu/pw_exec.h"
#include "cpu/rows_f32.h"
#include "op/tactic.h"

#include <string.h>

enum { COLUMNS = 64, PIXELS = 64, GRAIN = 16, PANEL = 64, LANES = 16, PARTS = 16, MOST = 1 << 16 };

typedef struct layer {
    const float *w, *bias; /* w: packed */
    int64_t in, out;
    bool has_program;
    int operand_count;
    tenon_pw_operand operand[TENON_PROGRAM_OPERANDS]; /* a row is an image, a column a channel */
    int bytes[TENON_PROGRAM_OPERANDS];
    tenon_pw_code code;
} layer;
typedef struct record {
    const tenon_rows_f32 *kernels;
    const tenon_cpu_f32 *product;
    bool rows;             /* x is row-major */
    int parts;             /* members that share an image */
    tenon_tensor x, y;
    int y_bytes;
    int64_t part_floats;
    float *part;           /* [2][parts][part_floats], in the workspace */
    layer layer[2];
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const tenon_cpu_f32 *product_best(void)
{
#if defined(__x86_64__)
    if (tenon_cpu()->isa & TENON_ISA_AVX512) return &tenon_cpu_f32_avx512;
    if (tenon_cpu()->isa & TENON_ISA_AVX2) return &tenon_cpu_f32_avx2;
#endif
    return &tenon_cpu_f32_scalar;
}

static int64_t padded(int64_t n) { return (n + PANEL - 1) / PANEL * PANEL; }
static const tenon_value *result_of(const tenon_anchor *a) { return a->post ? a->post->result[0] : a->node->dst[0]; }

/* ---- what it can do ---- */
static const char *reject_program(const tenon_problem *p, const tenon_program *program)
{
    if (!program) return NULL;
    if (program->class_ != TENON_CLASS_F32 || program->result_count != 1) return "a program that does not compute one f32 result";
    for (int i = 1; i < program->operand_count; i++) {
        if (program->operand_scalar[i]) continue;
        const tenon_type *t = &program->operand[i]->type;
        if (tenon_problem_src(p, program->operand[i]) < 0) return "a program with operands that are no sources";
        if (t->rank > 4 || tenon_dtype_get(t->dtype)->bits < 8) return "a program with an operand that does not fit";
    }
    const tenon_type *t = &program->result[0]->type;
    if (t->rank != 4 || !tenon_dim_is(t->dim[2], 1) || !tenon_dim_is(t->dim[3], 1)) return "a program that changes the shape";
    return tenon_dtype_get(t->dtype)->bits < 8 ? "a program whose result has no plain storage" : NULL;
}

static bool is_vector(const tenon_problem *p, const tenon_value *v)
{
    const int at = tenon_problem_src(p, v);
    return at >= 0 && v->type.dtype == TENON_F32 && v->type.rank == 1 && p->src[at].format.layout == TENON_ROW;
}

static const char *reject_conv(const tenon_problem *p, const tenon_anchor *a, const tenon_value *from)
{
    const tenon_node *n = a->node;
    if (n->src[0] != from) return "a convolution that does not read the step before it";
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before a convolution";
    const int w = tenon_problem_src(p, n->src[1]);
    const tenon_type *t = &n->src[1]->type;
    if (w < 0 || t->dtype != TENON_F32 || t->rank != 4 || !p->src[w].format.weight) return "weights are not constant and f32";
    if (!tenon_dim_is(t->dim[2], 1) || !tenon_dim_is(t->dim[3], 1) || tenon_node_int(n, "group") != 1)
        return "not a 1x1 convolution";
    if (!tenon_dim_is_const(t->dim[0]) || !tenon_dim_is_const(t->dim[1]) || t->dim[0]->value > MOST || t->dim[1]->value > MOST)
        return "channels that are not constant, or more than 65536";
    if (t->dim[0]->value < 1 || t->dim[1]->value < 1) return "no channels";
    const tenon_attr *pads = tenon_node_attr(n, "pads");
    for (size_t i = 0; i < pads->count; i++)
        if (pads->ints[i]) return "a padded convolution";
    if (n->src_count > 2 && n->src[2] && !is_vector(p, n->src[2])) return "a bias that is not an f32 vector";
    return reject_program(p, a->post);
}

static const char *reject_mean(const tenon_problem *p, const tenon_anchor *mean)
{
    const tenon_attr *axes = tenon_node_attr(mean->node, "axes");
    const int x = tenon_problem_src(p, mean->node->src[0]);
    if (mean->pre[0] || mean->post || x < 0) return "a program around the mean";
    if (mean->node->src[0]->type.dtype != TENON_F32 || mean->node->src[0]->type.rank != 4) return "the source is not an f32 map";
    if (p->src[x].format.layout != TENON_CLAST && p->src[x].format.layout != TENON_ROW)
        return "the source is neither channels-last nor row-major";
    if (!tenon_node_int(mean->node, "keepdims") || axes->count != 2) return "not a mean over height and width";
    unsigned seen = 0;
    for (int i = 0; i < 2; i++) seen |= 1u << (axes->ints[i] < 0 ? axes->ints[i] + 4 : axes->ints[i]);
    return seen == (1u << 2 | 1u << 3) ? NULL : "not a mean over height and width";
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *mean = &p->anchor[0];
    const char *why = reject_mean(p, mean);
    if (!why) why = reject_conv(p, &p->anchor[1], mean->node->dst[0]);
    if (!why && result_of(&p->anchor[1])->type.dtype != TENON_F32) why = "the hidden value is not f32";
    if (!why) why = reject_conv(p, &p->anchor[2], result_of(&p->anchor[1]));
    if (why) return why;
    return p->dst_count == 1 && p->dst[0].value == result_of(&p->anchor[2]) ? NULL : "an inner result is wanted too";
}

/* The map at the rate of those members that have channels, the weights by all, and the barrier. */
static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src,
                   const tenon_tensor *dst)
{
    (void)v, (void)dst;
    const tenon_device_info *info = tenon_backend_cpu.info(device);
    const tenon_tensor *x = &src[tenon_problem_src(p, p->anchor[0].node->src[0])];
    const double each = info->bandwidth / info->threads, images = (double)x->dim[0];
    const double members = x->dim[0] >= info->threads ? info->threads
        : (double)TENON_MIN(TENON_MIN(info->threads, PARTS), tenon_ceil_div(x->dim[1], GRAIN));
    double weights = 0;
    for (int i = 1; i < 3; i++) weights += 4.0 * (double)tenon_tensor_count(&src[tenon_problem_src(p, p->anchor[i].node->src[1])]);
    const double waits = x->dim[0] >= info->threads || info->threads == 1 ? 0 : images * info->step_seconds / 2;
    return info->step_seconds + waits + (4.0 * (double)tenon_tensor_count(x) + weights * (images < members ? 1 : images / members))
        / (each * members);
}

/* ---- plan and bind ---- */
static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)v, (void)device;
    const int64_t in = p->anchor[1].node->src[1]->type.dim[1]->value, hidden = p->anchor[1].node->src[1]->type.dim[0]->value;
    const int64_t last = p->anchor[2].node->src[1]->type.dim[0]->value;
    out->record_bytes = sizeof(record);
    out->workspace_bytes = (size_t)(2 * PARTS * padded(hidden)) * sizeof(float);
    /* means, hidden values, results before their program, a line of the fold */
    out->scratch_bytes = (size_t)(padded(in) + 2 * padded(hidden) + padded(last) + COLUMNS) * sizeof(float);
    out->pack_count = 2;
    for (int i = 0; i < 2; i++) {
        const int w = tenon_problem_src(p, p->anchor[1 + i].node->src[1]);
        out->pack[i] = (tenon_pack){ .op = &tenon_op_pack_conv, .src = { w, -1, -1, -1 }, .attr = { 1, PANEL, LANES } };
        out->src_packed |= UINT32_C(1) << w;
    }
    return TENON_OK;
}

static tenon_status bind_layer(tenon_cx *cx, const tenon_bind *b, int index, layer *out)
{
    const tenon_anchor *a = &b->problem->anchor[1 + index];
    const tenon_tensor *w = &b->src[tenon_problem_src(b->problem, a->node->src[1])];
    uint8_t kind[TENON_PROGRAM_OPERANDS] = { TENON_PW_VECTOR };
    out->w = b->pack[index].data;
    out->in = w->dim[1];
    out->out = w->dim[0];
    out->bias = a->node->src_count > 2 && a->node->src[2] ? b->src[tenon_problem_src(b->problem, a->node->src[2])].data : NULL;
    out->has_program = a->post != NULL;
    if (!a->post) return TENON_OK;
    out->operand_count = a->post->operand_count;
    for (int i = 1; i < out->operand_count; i++) {
        if (a->post->operand_scalar[i]) continue;
        const tenon_tensor *t = &b->src[tenon_problem_src(b->problem, a->post->operand[i])];
        const int channel = t->rank - 3, image = t->rank - 4;
        out->operand[i].base = t->data;
        out->operand[i].col_stride = channel >= 0 && t->dim[channel] > 1 ? t->stride[channel] : 0;
        out->operand[i].row_stride = image >= 0 && t->dim[image] > 1 ? t->stride[image] : 0;
        out->bytes[i] = tenon_dtype_get(t->dtype)->bits / 8;
        kind[i] = tenon_pw_kind(out->operand[i].col_stride);
    }
    return tenon_pw_compile(cx, a->post, tenon_cpu()->isa, kind, NULL, &out->code);
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    memset(r, 0, sizeof *r);
    r->kernels = tenon_rows_f32_best();
    r->product = product_best();
    const int x = tenon_problem_src(b->problem, b->problem->anchor[0].node->src[0]);
    r->x = b->src[x];
    r->rows = b->problem->src[x].format.layout == TENON_ROW;
    r->y = b->dst[0];
    r->y_bytes = tenon_dtype_get(r->y.dtype)->bits / 8;
    TENON_TRY(bind_layer(cx, b, 0, &r->layer[0]));
    TENON_TRY(bind_layer(cx, b, 1, &r->layer[1]));
    r->parts = r->x.dim[0] >= b->threads ? 1 : TENON_MIN(b->threads, PARTS);
    r->part = b->workspace;
    r->part_floats = padded(r->layer[0].out);
    return TENON_OK;
}

/* ---- run ---- */
static void mean_rows(const record *r, const float *x, int64_t begin, int64_t end, float scale, float *mean)
{
    const int64_t rows = r->x.dim[2], columns = r->x.dim[3];
    const bool flat = rows == 1 || r->x.stride[2] == columns;
    for (int64_t c = begin; c < end; c++) {
        float total = 0;
        for (int64_t y = 0; y < (flat ? 1 : rows); y++)
            total += r->kernels->fold(TENON_FOLD_SUM, x + c * r->x.stride[1] + y * r->x.stride[2], flat ? rows * columns : columns);
        mean[c] = total * scale;
    }
}

/* Sums of at most PIXELS pixels are added up, which keeps the error small in large maps. */
static void mean_columns(const record *r, const float *x, int64_t begin, int64_t end, float scale, float *mean, float *line)
{
    int64_t rows = r->x.dim[2], columns = r->x.dim[3];
    if (rows == 1 || r->x.stride[2] == columns * r->x.stride[3]) columns *= rows, rows = 1;
    for (int64_t c = begin; c < end; c += COLUMNS) {
        const int64_t n = TENON_MIN(end - c, COLUMNS);
        float total[COLUMNS] = { 0 };
        for (int64_t y = 0; y < rows; y++)
            for (int64_t i = 0; i < columns; i += PIXELS) {
                r->kernels->fold_cols(TENON_FOLD_SUM, x + y * r->x.stride[2] + i * r->x.stride[3] + c, r->x.stride[3],
                                      TENON_MIN(columns - i, PIXELS), line, n);
                for (int64_t k = 0; k < n; k++) total[k] += line[k];
            }
        for (int64_t k = 0; k < n; k++) mean[c + k] = total[k] * scale;
    }
}

/* y[first_panel * PANEL...] = x[k..k_end) times the same rows of the packed weights; y is padded to whole panels. */
static void product(const record *r, const layer *l, const float *x, int64_t k, int64_t k_end, int64_t panel, int64_t panel_end,
                    float *y)
{
    const tenon_f32_segment segment = { 0, k_end - k };
    const float *const row = x + k;
    const int64_t most = (int64_t)r->product->vectors * r->product->vw;
    for (; panel < panel_end; panel++) {
        const int64_t width = TENON_MIN(PANEL, (l->out - panel * PANEL + LANES - 1) / LANES * LANES);
        const float *const w = l->w + panel * PANEL * l->in + k * width;
        const float *const next = panel + 1 < panel_end ? l->w + (panel + 1) * PANEL * l->in + k *
            TENON_MIN(PANEL, (l->out - (panel + 1) * PANEL + LANES - 1) / LANES * LANES) : w; /* what lies behind w is not ours */
        for (int64_t at = 0; at < width; at += most) {
            const int64_t vectors = TENON_MIN(width - at, most) / r->product->vw;
            const tenon_f32_tile t = { .segment = &segment, .segment_count = 1, .b = w + at, .ldb = width,
                                       .ahead = (const char *)next, .c = y + panel * PANEL + at,
                                       .ldc = PANEL, .last = r->product->vw };
            r->product->tile[vectors][1](&row, &t);
        }
    }
}

/* Values [begin, end) through bias and program; y's elements are y_step apart. */
static void finish(const layer *l, int64_t image, float *value, int64_t begin, int64_t end, void *y, int y_bytes, int64_t y_step)
{
    if (begin >= end) return;
    for (int64_t i = begin; l->bias && i < end; i++) value[i] += l->bias[i];
    if (!l->has_program) {
        for (int64_t i = begin; i < end; i++) ((float *)y)[i * y_step] = value[i];
        return;
    }
    tenon_pw_operand operand[TENON_PROGRAM_OPERANDS] = { { value + begin, 0, 1 } };
    for (int i = 1; i < l->operand_count; i++) {
        const tenon_pw_operand *o = &l->operand[i];
        if (!o->base) continue;
        operand[i] = (tenon_pw_operand){ (const char *)o->base + (image * o->row_stride + begin * o->col_stride) * l->bytes[i], 0,
                                         o->col_stride };
    }
    const tenon_pw_result result = { (char *)y + begin * y_step * y_bytes, 0, y_step };
    tenon_pw_run(&l->code, operand, &result, 1, end - begin);
}

static void run_image(const record *r, const tenon_worker *w, int64_t image, int member, int64_t turn)
{
    const layer *one = &r->layer[0], *two = &r->layer[1];
    float *mean = w->scratch, *hidden = mean + padded(one->in), *value = hidden + padded(one->out) * 2;
    const float *x = (const float *)r->x.data + image * r->x.stride[0];
    const float scale = 1.0f / (float)(r->x.dim[2] * r->x.dim[3]);
    const int64_t panels = padded(one->out) / PANEL;
    float *parts = r->part + turn % 2 * r->parts * r->part_floats, *sum = hidden + padded(one->out);
    int64_t begin, end;
    tenon_split(one->in, GRAIN, member, r->parts, &begin, &end);
    float *own = r->parts > 1 && member < r->parts ? parts + member * r->part_floats : sum;
    if (begin < end) {
        if (r->rows) mean_rows(r, x, begin, end, scale, mean);
        else mean_columns(r, x, begin, end, scale, mean, value + padded(two->out));
        product(r, one, mean, begin, end, 0, panels, own);
    } else {
        memset(own, 0, (size_t)r->part_floats * sizeof *own);
    }
    if (r->parts > 1) {
        tenon_team_barrier(w->team, w->member);
        memcpy(sum, parts, (size_t)r->part_floats * sizeof *sum);
        for (int p = 1; p < r->parts; p++)
            for (int64_t i = 0; i < r->part_floats; i++) sum[i] += parts[p * r->part_floats + i];
    }
    finish(one, image, sum, 0, one->out, hidden, sizeof *hidden, 1);
    tenon_split(padded(two->out) / PANEL, 1, member, r->parts, &begin, &end);
    if (begin >= end) return;
    product(r, two, hidden, 0, two->in, begin, end, value);
    const int64_t step = two->out > 1 ? r->y.stride[1] : 1;
    finish(two, image, value, begin * PANEL, TENON_MIN(end * PANEL, two->out), (char *)r->y.data + image * r->y.stride[0] *
           r->y_bytes, r->y_bytes, step);
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    int64_t begin = 0, end = r->x.dim[0];
    if (r->parts == 1) tenon_split(end, 1, w->member, w->count, &begin, &end);
    for (int64_t image = begin; image < end; image++) run_image(r, w, image, r->parts == 1 ? 0 : w->member, image);
    return TENON_OK;
}

const tenon_tactic tenon_cpu_squeeze_excite_f32 = {
    .name = "cpu.squeeze_excite_f32", .pattern = "reduce_mean;conv;conv", .flags =
        TENON_TACTIC_DETERMINISTIC | TENON_TACTIC_BARRIER,
    .reject = reject, .plan = plan, .bind = bind, .run = run, .cost = cost,
};
