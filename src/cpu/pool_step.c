/* SPDX-License-Identifier: Apache-2.0 */
/* max_pool and average_pool of f32 maps (1 to 3 spatial axes), with a program after them. Where channels are contiguous: one
   result pixel at a time, vectors over the channels. Maps in any other order, and lp_pool: a line of results along the last
   axis at a time, tap by tap. */
#include "base/team.h"
#include "cpu/row_post.h"
#include "cpu/rows_f32.h"
#include "op/window.h"

#include <math.h>

enum { TAPS = 256 };

typedef struct record {
    const tenon_rows_f32 *kernels;
    tenon_fold fold;
    bool include_pad;
    int64_t power;                           /* of lp_pool; 0: another */
    tenon_window window;
    const float *x;
    int64_t image, plane, step[3], channels; /* strides of x; its channels */
    tenon_row_post post;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const char *reject_common(const tenon_problem *p)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const char *why = tenon_row_post_reject(p, a);
    if (why) return why;
    if (a->pre[0]) return "a program before it";
    if (tenon_problem_src(p, n->src[0]) < 0 || n->src[0]->type.dtype != TENON_F32) return "the source is not f32";
    if (n->dst_count > 1 && n->dst[1]) return "indices are wanted";
    return n->src[0]->type.rank > 5 ? "more than 3 spatial axes" : NULL;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_node *n = p->anchor[0].node;
    const char *why = reject_common(p);
    if (why) return why;
    if (p->src[tenon_problem_src(p, n->src[0])].format.layout != TENON_CLAST && !tenon_dim_is(n->src[0]->type.dim[1], 1))
        return "channels are not contiguous";
    const tenon_attr *kernel = tenon_node_attr(n, "kernel_shape");
    int64_t taps = 1;
    for (size_t i = 0; i < kernel->count; i++) taps *= kernel->ints[i];
    return taps <= TAPS ? NULL : "a window of more than 256 elements";
}

static const char *reject_lines(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    return reject_common(p);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)v, (void)device;
    const int64_t most = p->anchor[0].node->src[0]->type.dim[1]->hi;
    if (most >= INT64_C(1) << 32) return TENON_FAIL(cx, TENON_UNSUPPORTED, "channels without an upper bound");
    out->record_bytes = sizeof(record);
    out->scratch_bytes = ((size_t)most * sizeof(float) + 63) / 64 * 64;
    return TENON_OK;
}

static tenon_status plan_lines(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                               tenon_tactic_plan *out)
{
    (void)v, (void)device;
    const tenon_type *y = &p->anchor[0].node->dst[0]->type;
    const int64_t most = y->dim[y->rank - 1]->hi;
    if (most >= INT64_C(1) << 32) return TENON_FAIL(cx, TENON_UNSUPPORTED, "lines without an upper bound");
    out->record_bytes = sizeof(record);
    out->scratch_bytes = 2 * (((size_t)most * sizeof(float) + 63) / 64 * 64); /* a line; what an average divides by */
    return TENON_OK;
}

/* axis: of the rows that are made. */
static tenon_status bind_rows(tenon_cx *cx, const tenon_bind *b, bool lines, record *r)
{
    const tenon_anchor *a = &b->problem->anchor[0];
    const tenon_node *n = a->node;
    const tenon_tensor *x = &b->src[tenon_problem_src(b->problem, n->src[0])];
    tenon_tensor y = b->dst[0]; /* all results have the anchor's dims */
    TENON_TRY(tenon_window_get(cx, n, x, tenon_node_attr(n, "kernel_shape")->ints, &y, &r->window));
    TENON_TRY(tenon_row_post_bind(cx, b, a, lines ? y.rank - 1 : 1, &r->post));
    tenon_row_post_seal(&r->post);
    r->kernels = tenon_rows_f32_best();
    r->fold = n->op == &tenon_op_max_pool ? TENON_FOLD_MAX : TENON_FOLD_SUM;
    r->include_pad = n->op == &tenon_op_average_pool && tenon_node_int(n, "count_include_pad") != 0;
    r->power = n->op == &tenon_op_lp_pool ? tenon_node_int(n, "p") : 0;
    r->x = x->data;
    r->image = x->stride[0];
    r->plane = x->stride[1];
    r->channels = x->dim[1];
    for (int i = 0; i < 3; i++) {
        const int axis = i + x->rank - 3; /* spatial axes are the last entries of the window */
        r->step[i] = axis >= 2 ? x->stride[axis] : 0;
    }
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out) { return bind_rows(cx, b, false, out); }
static tenon_status bind_lines(tenon_cx *cx, const tenon_bind *b, void *out) { return bind_rows(cx, b, true, out); }

/* The part of one axis' window that lies inside the map, [first, last) of the kernel; padded: also what counts as padding. */
typedef struct span { int64_t at, first, last, padded; } span;
static span span_of(const tenon_window *w, int axis, int64_t o)
{
    span s = { .at = o * w->stride[axis] - w->begin[axis] };
    const int64_t d = w->dilation[axis], k = w->kernel[axis];
    const int64_t before = -s.at, after = w->in[axis] - s.at, padded = after + w->end[axis]; /* in elements of the map */
    s.first = before > 0 ? TENON_MIN(k, d == 1 ? before : (before + d - 1) / d) : 0;
    s.last = TENON_MAX(s.first, TENON_MIN(k, d == 1 ? after : (after + d - 1) / d));
    s.padded = TENON_MIN(k, d == 1 ? padded : (padded + d - 1) / d);
    return s;
}

/* Pointers of the taps inside the map; *counted: what an average divides by. */
static int64_t taps_of(const record *r, int64_t row, const float **tap, int64_t *counted)
{
    const tenon_window *w = &r->window;
    const int64_t pixel = row % w->out_count, n = row / w->out_count;
    const span z = span_of(w, 0, pixel / (w->out[1] * w->out[2])), y = span_of(w, 1, pixel / w->out[2] % w->out[1]),
               x = span_of(w, 2, pixel % w->out[2]);
    int64_t count = 0;
    for (int64_t i = z.first; i < z.last; i++)
        for (int64_t j = y.first; j < y.last; j++) {
            const int64_t plane = (z.at + i * w->dilation[0]) * r->step[0], line = (y.at + j * w->dilation[1]) * r->step[1];
            const float *p = r->x + n * r->image + plane + line;
            for (int64_t k = x.first; k < x.last; k++) tap[count++] = p + (x.at + k * w->dilation[2]) * r->step[2];
        }
    *counted = r->include_pad ? z.padded * y.padded * x.padded : count;
    return count;
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const float *tap[TAPS];
    int64_t begin, end, counted;
    tenon_split(r->post.rows, 1, w->member, w->count, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const int64_t taps = taps_of(r, row, tap, &counted);
        float *y = tenon_row_post_target(&r->post, row, w->scratch);
        r->kernels->window(r->fold, tap, taps, counted ? 1.0f / (float)counted : 0.0f, y, r->channels);
        tenon_row_post_run(&r->post, row, y);
    }
    return TENON_OK;
}

/* ---- lines ---- */
/* One tap of a line: results [lo, hi) have it inside the map. */
static void fold_tap(const record *r, const float *x, int64_t step, float *y, int64_t lo, int64_t hi)
{
    if (r->fold == TENON_FOLD_MAX)
        for (int64_t o = lo; o < hi; o++) y[o] = x[o * step] > y[o] ? x[o * step] : y[o];
    else if (r->power == 0)
        for (int64_t o = lo; o < hi; o++) y[o] += x[o * step];
    else if (r->power <= 2)
        for (int64_t o = lo; o < hi; o++) y[o] += r->power == 1 ? fabsf(x[o * step]) : x[o * step] * x[o * step];
    else
        for (int64_t o = lo; o < hi; o++) y[o] += powf(fabsf(x[o * step]), (float)r->power);
}

static int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : 0; }

static void fold_line(const record *r, const float *x, float *y)
{
    const tenon_window *w = &r->window;
    for (int64_t k = 0; k < w->kernel[2]; k++) {
        const int64_t from = k * w->dilation[2] - w->begin[2]; /* input of result 0 */
        const int64_t lo = ceil_div(-from, w->stride[2]), hi = TENON_MIN(ceil_div(w->in[2] - from, w->stride[2]), w->out[2]);
        fold_tap(r, x + from * r->step[2], w->stride[2] * r->step[2], y, lo, hi);
    }
}

static void finish_line(const record *r, const span *z, const span *y, const float *counted, float *line)
{
    const int64_t n = r->window.out[2];
    if (r->power == 2)
        for (int64_t o = 0; o < n; o++) line[o] = sqrtf(line[o]);
    else if (r->power > 2)
        for (int64_t o = 0; o < n; o++) line[o] = powf(line[o], 1.0f / (float)r->power);
    if (r->power || r->fold == TENON_FOLD_MAX) return;
    const float rest = (float)(r->include_pad ? z->padded * y->padded : (z->last - z->first) * (y->last - y->first));
    for (int64_t o = 0; o < n; o++) line[o] /= rest * counted[o];
}

static tenon_status run_lines(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const tenon_window *win = &r->window;
    float *counted = (float *)w->scratch + (win->out[2] + 15) / 16 * 16;
    int64_t begin, end;
    for (int64_t o = 0; o < win->out[2]; o++) {
        const span x = span_of(win, 2, o);
        counted[o] = (float)(r->include_pad ? x.padded : x.last - x.first);
    }
    tenon_split(r->post.rows, 1, w->member, w->count, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const int64_t at = row % (win->out[0] * win->out[1]), map = row / (win->out[0] * win->out[1]);
        const span z = span_of(win, 0, at / win->out[1]), y = span_of(win, 1, at % win->out[1]);
        const float *x = r->x + map / r->channels * r->image + map % r->channels * r->plane;
        float *line = tenon_row_post_target(&r->post, row, w->scratch);
        for (int64_t o = 0; o < win->out[2]; o++) line[o] = r->fold == TENON_FOLD_MAX ? -INFINITY : 0.0f;
        for (int64_t i = z.first; i < z.last; i++)
            for (int64_t j = y.first; j < y.last; j++)
                fold_line(r, x + (z.at + i * win->dilation[0]) * r->step[0] + (y.at + j * win->dilation[1]) * r->step[1], line);
        finish_line(r, &z, &y, counted, line);
        tenon_row_post_run(&r->post, row, line);
    }
    return TENON_OK;
}

#define POOL(op, suffix, how)                                                                                                    \
    const tenon_tactic tenon_cpu_##op##suffix##_f32 = {                                                                          \
        .name = "cpu." #op #suffix "_f32", .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject##how,           \
        .plan = plan##how, .bind = bind##how, .run = run##how,                                                                   \
    }
POOL(max_pool, , );
POOL(average_pool, , );
POOL(max_pool, _lines, _lines);
POOL(average_pool, _lines, _lines);
POOL(lp_pool, , _lines);
