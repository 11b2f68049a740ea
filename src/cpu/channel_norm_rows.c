/* SPDX-License-Identifier: Apache-2.0 */
/* instance_norm, group_norm and batch_norm of f32 maps that lie channels-last, with a program after them. Memory is read twice: once for
   the statistics, a block of pixels at a time in the first cache (mean and squared deviations of each channel, joined by the formula of
   Chan, Golub and LeVeque), once to write the result, pixel by pixel. Members take an image each, or where there are fewer images than
   members, pixels of one, whose statistics meet in the workspace: the one of image i lies beside that of i + 1, so that one barrier an
   image is enough. */
#include "base/team.h"
#include "cpu/row_post.h"
#include "cpu/rows_f32.h"

#include <math.h>
#include <string.h>

enum { PARTS = 16, BLOCK_FLOATS = 8192, BLOCK_ROWS = 64 };

typedef struct record {
    const tenon_rows_f32 *kernels;
    tenon_row_post post;
    int x;                                          /* tensor in post */
    const float *from, *scale, *bias, *mean, *variance; /* the last two: batch_norm */
    int64_t image_step, pitch;                      /* of the source, in elements */
    int64_t images, plane, channels, groups, per_scale;
    int64_t block;                                  /* pixels at a time */
    double epsilon;
    double *part;                                   /* [2][parts][2][channels], in the workspace; NULL: an image has one member */
    int parts;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

/* In a member's scratch. */
typedef struct buffers {
    double *mean, *deviation;                               /* a channel: so far */
    float *ones, *minus, *scale, *shift, *sum, *row, *pixels; /* pixels: a block less its means */
} buffers;

static int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }

static int64_t block_of(int64_t channels)
{
    return TENON_MIN(TENON_MAX(BLOCK_FLOATS / TENON_MAX(channels, 1), 4), BLOCK_ROWS);
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const tenon_type *x = &n->src[0]->type;
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before it";
    for (int i = 1; i < n->dst_count; i++)
        if (n->dst[i]) return "the statistics are wanted";
    for (int i = 0; i < n->src_count; i++) {
        const int src = n->src[i] ? tenon_problem_src(p, n->src[i]) : -1;
        if (src < 0) return "an operand is not a source";
        if (n->src[i]->type.dtype != TENON_F32) return "an operand is not f32";
        if (i > 0 && (p->src[src].format.layout != TENON_ROW || p->src[src].format.ld)) return "a vector that is not dense";
    }
    const tenon_format *f = &p->src[tenon_problem_src(p, n->src[0])].format;
    if (x->rank < 3 || f->layout != TENON_CLAST || (f->ld && f->inner > 1)) return "the source is not channels-last";
    if (!tenon_dim_is_const(x->dim[1]) || x->dim[1]->value > 1 << 16) return "more channels than 65536, or not a fixed number";
    for (int i = 0; i < p->dst_count; i++)
        if (p->dst[i].format.layout != TENON_CLAST) return "a result is not channels-last";
    return tenon_row_post_reject(p, a);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)v, (void)device;
    const tenon_node *n = p->anchor[0].node;
    const int64_t channels = n->src[0]->type.dim[1]->value, c = padded(channels);
    out->record_bytes = sizeof(record);
    out->scratch_bytes = (size_t)(c * 2) * sizeof(double) + (size_t)(c * 6 + c * block_of(channels)) * sizeof(float);
    if (n->op != &tenon_op_batch_norm) out->workspace_bytes = (size_t)(2 * PARTS * 2 * c) * sizeof(double);
    return TENON_OK;
}

static const tenon_tensor *source(const tenon_bind *b, int i)
{
    return &b->src[tenon_problem_src(b->problem, b->problem->anchor[0].node->src[i])];
}

static void bind_sources(const tenon_bind *b, const tenon_node *n, record *r)
{
    const tenon_tensor *x = source(b, 0);
    r->from = x->data;
    r->scale = source(b, 1)->data;
    r->bias = source(b, 2)->data;
    if (n->op == &tenon_op_batch_norm) {
        r->mean = source(b, 3)->data;
        r->variance = source(b, 4)->data;
    }
    r->images = x->dim[0];
    r->channels = x->dim[1];
    r->plane = 1;
    r->image_step = x->stride[0];
    r->pitch = r->channels;
    for (int i = 2; i < x->rank; i++) {
        r->plane *= x->dim[i];
        if (x->dim[i] > 1) r->pitch = x->stride[i]; /* the innermost that moves */
    }
    r->per_scale = source(b, 1)->dim[0] ? r->channels / source(b, 1)->dim[0] : 1;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    memset(r, 0, sizeof *r);
    bind_sources(b, n, r);
    TENON_TRY(tenon_row_post_bind(cx, b, &b->problem->anchor[0], 1, &r->post));
    r->x = tenon_row_post_add(&r->post, source(b, 0), 1);
    tenon_row_post_seal(&r->post);
    r->kernels = tenon_rows_f32_best();
    r->epsilon = tenon_node_float(n, "epsilon");
    r->groups = n->op == &tenon_op_group_norm ? tenon_node_int(n, "num_groups") : r->channels;
    if (r->groups > 0 && r->channels % r->groups)
        return TENON_FAIL(cx, TENON_INVALID, "%lld channels in %lld groups", (long long)r->channels, (long long)r->groups);
    r->block = block_of(r->channels);
    r->parts = TENON_MIN(b->threads, PARTS);
    if (!r->mean && r->images < b->threads) r->part = b->workspace;
    return TENON_OK;
}

static void carve(const record *r, const tenon_worker *w, buffers *t)
{
    const int64_t c = padded(r->channels);
    t->mean = w->scratch;
    t->deviation = t->mean + c;
    t->ones = (float *)(void *)(t->deviation + c);
    t->minus = t->ones + c;
    t->scale = t->minus + c;
    t->shift = t->scale + c;
    t->sum = t->shift + c;
    t->row = t->sum + c;
    t->pixels = t->row + c;
    for (int64_t i = 0; i < r->channels; i++) t->ones[i] = 1;
}

/* `mean` and `deviation` of n pixels of each channel become those of n + m. */
static void join(const buffers *t, int64_t channels, double n, const double *mean, const double *deviation, double m)
{
    const double share = m / (n + m), spread = n * m / (n + m);
    for (int64_t c = 0; c < channels; c++) {
        const double distance = mean[c] - t->mean[c];
        t->mean[c] += distance * share;
        t->deviation[c] += deviation[c] + distance * distance * spread;
    }
}

/* The same with those of a block of m pixels, which stand in `minus` and `sum`. */
static void join_block(const buffers *t, int64_t channels, double n, double m)
{
    const double share = m / (n + m), spread = n * m / (n + m);
    for (int64_t c = 0; c < channels; c++) {
        const double distance = -(double)t->minus[c] - t->mean[c];
        t->mean[c] += distance * share;
        t->deviation[c] += (double)t->sum[c] + distance * distance * spread;
    }
}

/* Of pixels [first, end) of an image, into t->mean and t->deviation. */
static void measure(const record *r, int64_t image, int64_t first, int64_t end, const buffers *t)
{
    const int64_t channels = r->channels;
    memset(t->mean, 0, (size_t)channels * sizeof(double));
    memset(t->deviation, 0, (size_t)channels * sizeof(double));
    for (int64_t at = first; at < end; at += r->block) {
        const int64_t n = TENON_MIN(r->block, end - at);
        const float *x = r->from + image * r->image_step + at * r->pitch;
        r->kernels->fold_cols(TENON_FOLD_SUM, x, r->pitch, n, t->sum, channels);
        const float less = -1.0f / (float)n;
        for (int64_t c = 0; c < channels; c++) t->minus[c] = t->sum[c] * less;
        for (int64_t i = 0; i < n; i++)
            r->kernels->scale_shift_cols(x + i * r->pitch, t->pixels + i * channels, channels, t->ones, t->minus);
        r->kernels->fold_cols(TENON_FOLD_SQUARE, t->pixels, channels, n, t->sum, channels);
        join_block(t, channels, (double)(at - first), (double)n);
    }
}

/* What a pixel of the image is taken through: + minus, * scale + shift. */
static void prepare(const record *r, const buffers *t)
{
    const int64_t each = r->channels / r->groups;
    for (int64_t g = 0; g < r->groups; g++) {
        const int64_t first = g * each;
        double mean = 0, variance = 0;
        if (r->mean) {
            mean = r->mean[first], variance = r->variance[first];
        } else {
            for (int64_t c = first; c < first + each; c++) mean += t->mean[c];
            mean /= (double)each;
            for (int64_t c = first; c < first + each; c++)
                variance += t->deviation[c] + (t->mean[c] - mean) * (t->mean[c] - mean) * (double)r->plane;
            variance /= (double)each * (double)r->plane;
        }
        const double inverse = 1 / sqrt(variance + r->epsilon);
        for (int64_t c = first; c < first + each; c++) {
            t->minus[c] = (float)-mean;
            t->scale[c] = (float)(inverse * r->scale[c / r->per_scale]);
            t->shift[c] = r->bias[c / r->per_scale];
        }
    }
}

static void write_rows(const record *r, int64_t first, int64_t end, const buffers *t)
{
    for (int64_t row = first; row < end; row++) {
        const float *x = (const float *)(const void *)tenon_row_post_at(&r->post, r->x, row);
        float *y = tenon_row_post_target(&r->post, row, t->row);
        r->kernels->scale_shift_cols(x, y, r->channels, t->ones, t->minus);
        r->kernels->scale_shift_cols(y, y, r->channels, t->scale, t->shift);
        tenon_row_post_run(&r->post, row, y);
    }
}

/* Statistics of all parts of an image, in their order. */
static void gather(const record *r, const double *part, const buffers *t)
{
    memset(t->mean, 0, (size_t)r->channels * sizeof(double));
    memset(t->deviation, 0, (size_t)r->channels * sizeof(double));
    int64_t n = 0, first, end;
    for (int p = 0; p < r->parts; p++) {
        tenon_split(r->plane, 1, p, r->parts, &first, &end);
        const double *mean = part + p * 2 * r->channels, *deviation = mean + r->channels;
        if (end > first) join(t, r->channels, (double)n, mean, deviation, (double)(end - first));
        n += end - first;
    }
}

static void run_together(const record *r, const tenon_worker *w, const buffers *t)
{
    int64_t first, end;
    for (int64_t image = 0; image < r->images; image++) {
        double *part = r->part + (image & 1) * r->parts * 2 * r->channels;
        if (w->member < r->parts) {
            tenon_split(r->plane, 1, w->member, r->parts, &first, &end);
            measure(r, image, first, end, t);
            double *own = part + w->member * 2 * r->channels;
            memcpy(own, t->mean, (size_t)r->channels * sizeof(double));
            memcpy(own + r->channels, t->deviation, (size_t)r->channels * sizeof(double));
        }
        tenon_team_barrier(w->team, w->member);
        gather(r, part, t);
        prepare(r, t);
        tenon_split(r->plane, 1, w->member, w->count, &first, &end);
        write_rows(r, image * r->plane + first, image * r->plane + end, t);
    }
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    buffers t;
    int64_t first, end;
    if (r->post.rows == 0 || r->channels == 0) return TENON_OK;
    carve(r, w, &t);
    if (r->part) {
        run_together(r, w, &t);
        return TENON_OK;
    }
    if (r->mean) {
        prepare(r, &t);
        tenon_split(r->post.rows, 1, w->member, w->count, &first, &end);
        write_rows(r, first, end, &t);
        return TENON_OK;
    }
    tenon_split(r->images, 1, w->member, w->count, &first, &end);
    for (int64_t image = first; image < end; image++) {
        measure(r, image, 0, r->plane, &t);
        prepare(r, &t);
        write_rows(r, image * r->plane, (image + 1) * r->plane, &t);
    }
    return TENON_OK;
}

#define NORM(op, more)                                                                                                      \
    const tenon_tactic tenon_cpu_##op##_rows_f32 = {                                                                        \
        .name = "cpu." #op "_rows_f32", .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC | (more), .reject = reject,         \
        .plan = plan, .bind = bind, .run = run }
NORM(instance_norm, TENON_TACTIC_BARRIER);
NORM(group_norm, TENON_TACTIC_BARRIER);
NORM(batch_norm, 0);
