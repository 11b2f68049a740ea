/* SPDX-License-Identifier: Apache-2.0 */
/* max_pool and average_pool of f32 maps whose channels are contiguous (1 to 3 spatial axes), with a program after them: one
   result pixel at a time, vectors over the channels. */
#include "base/team.h"
#include "cpu/row_post.h"
#include "cpu/rows_f32.h"
#include "op/window.h"

enum { TAPS = 256 };

typedef struct record {
    const tenon_rows_f32 *kernels;
    tenon_fold fold;
    bool include_pad;
    tenon_window window;
    const float *x;
    int64_t image, step[3], channels; /* strides of x */
    tenon_row_post post;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const char *why = tenon_row_post_reject(p, a);
    if (why) return why;
    if (a->pre[0]) return "a program before it";
    const int x = tenon_problem_src(p, n->src[0]);
    if (x < 0 || n->src[0]->type.dtype != TENON_F32) return "the source is not f32";
    if (n->dst_count > 1 && n->dst[1]) return "indices are wanted";
    if (p->src[x].format.layout != TENON_CLAST && !tenon_dim_is(n->src[0]->type.dim[1], 1)) return "channels are not contiguous";
    if (n->src[0]->type.rank > 5) return "more than 3 spatial axes";
    const tenon_attr *kernel = tenon_node_attr(n, "kernel_shape");
    int64_t taps = 1;
    for (size_t i = 0; i < kernel->count; i++) taps *= kernel->ints[i];
    return taps <= TAPS ? NULL : "a window of more than 256 elements";
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

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_anchor *a = &b->problem->anchor[0];
    const tenon_node *n = a->node;
    const tenon_tensor *x = &b->src[tenon_problem_src(b->problem, n->src[0])];
    tenon_tensor y = b->dst[0]; /* all results have the anchor's dims */
    TENON_TRY(tenon_window_get(cx, n, x, tenon_node_attr(n, "kernel_shape")->ints, &y, &r->window));
    TENON_TRY(tenon_row_post_bind(cx, b, a, 1, &r->post));
    tenon_row_post_seal(&r->post);
    r->kernels = tenon_rows_f32_best();
    r->fold = n->op == &tenon_op_max_pool ? TENON_FOLD_MAX : TENON_FOLD_SUM;
    r->include_pad = n->op == &tenon_op_average_pool && tenon_node_int(n, "count_include_pad") != 0;
    r->x = x->data;
    r->image = x->stride[0];
    r->channels = x->dim[1];
    for (int i = 0; i < 3; i++) {
        const int axis = i + x->rank - 3; /* spatial axes are the last entries of the window */
        r->step[i] = axis >= 2 ? x->stride[axis] : 0;
    }
    return TENON_OK;
}

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
            const float *p = r->x + n * r->image + (z.at + i * w->dilation[0]) * r->step[0] + (y.at + j * w->dilation[1]) * r->step[1];
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

#define POOL(op)                                                                                                            \
    const tenon_tactic tenon_cpu_##op##_f32 = {                                                                             \
        .name = "cpu." #op "_f32", .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan,      \
        .bind = bind, .run = run,                                                                                           \
    }
POOL(max_pool);
POOL(average_pool);
