/* SPDX-License-Identifier: Apache-2.0 */
/* Squeeze-excite as one step: the mean of each channel over the image, a small 1x1 convolution, a second one, each with its
   program of constants (relu, silu, hard_sigmoid, ...). Three steps of a microsecond each become one with two barriers; the
   two products are dots with rows of the unpacked weights. The scaling of the map by the result belongs to whoever reads the
   map next. */
#include "base/isa.h"
#include "base/team.h"
#include "cpu/pw_exec.h"
#include "cpu/rows_f32.h"
#include "op/tactic.h"

#include <string.h>

enum { COLUMNS = 64, MOST = 1 << 16 };

typedef struct layer {
    const float *w, *bias;
    int64_t in, out;
    bool has_program;
    tenon_pw_code code;
} layer;
typedef struct record {
    const tenon_rows_f32 *kernels;
    tenon_tensor x, y;
    float *mean, *hidden; /* in the workspace */
    layer layer[2];
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const tenon_value *result_of(const tenon_anchor *a) { return a->post ? a->post->result[0] : a->node->dst[0]; }

static const char *reject_program(const tenon_program *p)
{
    if (!p) return NULL;
    if (p->class_ != TENON_CLASS_F32 || p->result_count != 1) return "a program that does not compute one f32 result";
    for (int i = 1; i < p->operand_count; i++)
        if (!p->operand_scalar[i]) return "a program with operands that are no constants";
    return p->result[0]->type.dtype == TENON_F32 ? NULL : "a program whose result is not f32";
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
    if (w < 0 || t->dtype != TENON_F32 || t->rank != 4 || p->src[w].format.layout != TENON_ROW || p->src[w].format.ld)
        return "weights are not f32, dense and row-major";
    if (!tenon_dim_is(t->dim[2], 1) || !tenon_dim_is(t->dim[3], 1) || tenon_node_int(n, "group") != 1)
        return "not a 1x1 convolution";
    if (!tenon_dim_is_const(t->dim[0]) || !tenon_dim_is_const(t->dim[1]) || t->dim[0]->value > MOST || t->dim[1]->value > MOST)
        return "channels that are not constant, or more than 65536";
    const tenon_attr *pads = tenon_node_attr(n, "pads");
    for (size_t i = 0; i < pads->count; i++)
        if (pads->ints[i]) return "a padded convolution";
    if (n->src_count > 2 && n->src[2] && !is_vector(p, n->src[2])) return "a bias that is not an f32 vector";
    return reject_program(a->post);
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *mean = &p->anchor[0];
    const tenon_attr *axes = tenon_node_attr(mean->node, "axes");
    const int x = tenon_problem_src(p, mean->node->src[0]);
    if (mean->pre[0] || mean->post || x < 0) return "a program around the mean";
    if (mean->node->src[0]->type.dtype != TENON_F32 || mean->node->src[0]->type.rank != 4) return "the source is not an f32 map";
    if (p->src[x].format.layout != TENON_CLAST) return "the source is not channels-last";
    if (!tenon_node_int(mean->node, "keepdims") || axes->count != 2) return "not a mean over height and width";
    for (int i = 0; i < 2; i++)
        if (axes->ints[i] != i + 2 && axes->ints[i] != i - 2) return "not a mean over height and width";
    const char *why = reject_conv(p, &p->anchor[1], mean->node->dst[0]);
    if (!why) why = reject_conv(p, &p->anchor[2], result_of(&p->anchor[1]));
    if (why) return why;
    return p->dst_count == 1 && p->dst[0].value == result_of(&p->anchor[2]) ? NULL : "an inner result is wanted too";
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)v, (void)device;
    const size_t in = (size_t)p->anchor[1].node->src[1]->type.dim[1]->value, hidden =
        (size_t)p->anchor[1].node->src[1]->type.dim[0]->value;
    const size_t last = (size_t)p->anchor[2].node->src[1]->type.dim[0]->value;
    out->record_bytes = sizeof(record);
    out->workspace_bytes = (in + 32 + hidden + 32) * sizeof(float);
    out->scratch_bytes = ((TENON_MAX(hidden, last) + COLUMNS) * sizeof(float) + 63) / 64 * 64;
    return TENON_OK;
}

static tenon_status bind_layer(tenon_cx *cx, const tenon_bind *b, const tenon_anchor *a, layer *out)
{
    const tenon_tensor *w = &b->src[tenon_problem_src(b->problem, a->node->src[1])];
    out->w = w->data;
    out->in = w->dim[1];
    out->out = w->dim[0];
    out->bias = a->node->src_count > 2 && a->node->src[2] ? b->src[tenon_problem_src(b->problem, a->node->src[2])].data : NULL;
    out->has_program = a->post != NULL;
    return a->post ? tenon_pw_compile(cx, a->post, tenon_cpu()->isa, NULL, NULL, &out->code) : TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    memset(r, 0, sizeof *r);
    r->kernels = tenon_rows_f32_best();
    r->x = b->src[tenon_problem_src(b->problem, b->problem->anchor[0].node->src[0])];
    r->y = b->dst[0];
    r->mean = b->workspace;
    TENON_TRY(bind_layer(cx, b, &b->problem->anchor[1], &r->layer[0]));
    TENON_TRY(bind_layer(cx, b, &b->problem->anchor[2], &r->layer[1]));
    r->hidden = r->mean + (r->layer[0].in + 31) / 32 * 32;
    return TENON_OK;
}

static void mean_part(const record *r, int64_t image, int64_t begin, int64_t end, float *line)
{
    const int64_t rows = r->x.dim[2], columns = r->x.dim[3];
    const float *x = (const float *)r->x.data + image * r->x.stride[0];
    const float scale = 1.0f / (float)(rows * columns);
    for (int64_t c = begin; c < end; c += COLUMNS) {
        const int64_t n = TENON_MIN(end - c, COLUMNS);
        float total[COLUMNS] = { 0 };
        for (int64_t y = 0; y < rows; y++) {
            r->kernels->fold_cols(TENON_FOLD_SUM, x + y * r->x.stride[2] + c, r->x.stride[3], columns, line, n);
            for (int64_t i = 0; i < n; i++) total[i] += line[i];
        }
        for (int64_t i = 0; i < n; i++) r->mean[c + i] = total[i] * scale;
    }
}

/* Results [begin, end) of a layer; y's elements are `step` apart. */
static void layer_part(const record *r, const layer *l, const float *x, float *y, int64_t step, int64_t begin, int64_t end,
                       float *line)
{
    for (int64_t i = begin; i < end; i++) line[i - begin] = r->kernels->dot(x, l->w + i * l->in, l->in) + (l->bias ? l->bias[i]
        : 0.0f);
    if (l->has_program && begin < end) {
        const tenon_pw_operand operand[TENON_PROGRAM_OPERANDS] = { { line, 0, 1 } };
        const tenon_pw_result result = { y + begin * step, 0, step };
        tenon_pw_run(&l->code, operand, &result, 1, end - begin);
        return;
    }
    for (int64_t i = begin; i < end; i++) y[i * step] = line[i - begin];
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    int64_t begin, end;
    for (int64_t image = 0; image < r->x.dim[0]; image++) {
        tenon_split(r->layer[0].in, 16, w->member, w->count, &begin, &end);
        mean_part(r, image, begin, end, w->scratch);
        tenon_team_barrier(w->team, w->member);
        tenon_split(r->layer[0].out, 1, w->member, w->count, &begin, &end);
        layer_part(r, &r->layer[0], r->mean, r->hidden, 1, begin, end, w->scratch);
        tenon_team_barrier(w->team, w->member);
        tenon_split(r->layer[1].out, 1, w->member, w->count, &begin, &end);
        const int64_t step = r->y.dim[1] > 1 ? r->y.stride[1] : 1;
        layer_part(r, &r->layer[1], r->hidden, (float *)r->y.data + image * r->y.stride[0], step, begin, end, w->scratch);
        /* The next image writes `mean`, which all have read, and `hidden` only after a barrier that all pass when done with it.
           */
    }
    return TENON_OK;
}

const tenon_tactic tenon_cpu_squeeze_excite_f32 = {
    .name = "cpu.squeeze_excite_f32", .pattern = "reduce_mean;conv;conv", .flags =
        TENON_TACTIC_DETERMINISTIC | TENON_TACTIC_BARRIER,
    .reject = reject, .plan = plan, .bind = bind, .run = run,
};
