/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax, log_softmax, layer_norm and rms_norm of f32 along an axis that is contiguous in memory, with a program after them, row by row;
   and softmax along any other axis of dense row-major tensors, many columns at once. */
#include "base/isa.h"
#include "base/team.h"
#include "cpu/row_post.h"
#include "cpu/rows_f32.h"

#include <math.h>
#include <string.h>

const tenon_rows_f32 *tenon_rows_f32_best(void)
{
#if defined(__x86_64__)
    if (tenon_cpu()->isa & TENON_ISA_AVX512) return &tenon_rows_f32_avx512;
    if (tenon_cpu()->isa & TENON_ISA_AVX2) return &tenon_rows_f32_avx2;
#endif
    return &tenon_rows_f32_scalar;
}

typedef struct record {
    const tenon_rows_f32 *kernels;
    int kind; /* softmax, norm, columns */
    int x;    /* tensor in post */
    bool centered;
    float epsilon;
    const float *scale, *bias;
    const float *from;
    float *to;
    int64_t outer, length, inner; /* of columns */
    tenon_row_post post;
} record;
enum { SOFTMAX, LOG_SOFTMAX, NORM, COLUMNS };
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static int axis_of(const tenon_node *n)
{
    const int64_t axis = tenon_node_int(n, "axis");
    return (int)(axis < 0 ? axis + n->src[0]->type.rank : axis);
}

/* The operand's innermost axis (sizes of 1 aside) is `axis`. */
static bool contiguous(const tenon_operand *o, int axis)
{
    uint8_t order[TENON_MAX_RANK];
    const int rank = o->value->type.rank;
    if (o->format.layout == TENON_STRIDED) return false;
    tenon_format_order(&o->format, rank, order);
    return order[rank - 1] == axis;
}
static bool dense_rows(const tenon_operand *o) { return o->format.layout == TENON_ROW && o->format.ld == 0; }

static const char *reject_source(const tenon_problem *p)
{
    const tenon_anchor *a = &p->anchor[0];
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before it";
    const int x = tenon_problem_src(p, a->node->src[0]);
    if (x < 0) return "the source is not a source of the problem";
    return a->node->src[0]->type.dtype == TENON_F32 ? NULL : "the source is not f32";
}

static const char *reject_softmax(const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                                  tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    const char *why = reject_source(p);
    if (!why) why = tenon_row_post_reject(p, a);
    if (why) return why;
    const tenon_operand *x = &p->src[tenon_problem_src(p, a->node->src[0])];
    if (contiguous(x, axis_of(a->node))) return NULL;
    if (a->node->op == &tenon_op_log_softmax) return "the axis is not contiguous";
    if (a->post) return "a program after a softmax along an axis that is not contiguous";
    return dense_rows(x) && dense_rows(&p->dst[0]) && a->node->dst[0]->type.dtype == TENON_F32 ? NULL
        : "neither contiguous along the axis nor dense row-major";
}

static bool is_row_vector(const tenon_problem *p, const tenon_value *v, const tenon_dim *length)
{
    const int at = tenon_problem_src(p, v);
    if (at < 0 || v->type.dtype != TENON_F32 || v->type.rank < 1 || !contiguous(&p->src[at], v->type.rank - 1)) return false;
    for (int i = 0; i < v->type.rank - 1; i++)
        if (!tenon_dim_is(v->type.dim[i], 1)) return false;
    return v->type.dim[v->type.rank - 1] == length;
}

static const char *reject_norm(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const char *why = reject_source(p);
    if (!why) why = tenon_row_post_reject(p, a);
    if (why) return why;
    const tenon_type *x = &n->src[0]->type;
    for (int i = 1; i < n->dst_count; i++)
        if (n->dst[i]) return "the statistics are wanted";
    if (axis_of(n) != x->rank - 1) return "not along the last axis alone";
    if (!contiguous(&p->src[tenon_problem_src(p, n->src[0])], x->rank - 1)) return "the last axis is not contiguous";
    for (int i = 1; i < n->src_count; i++)
        if (n->src[i] && !is_row_vector(p, n->src[i], x->dim[x->rank - 1]))
            return "scale or bias is no f32 vector along the axis";
    return NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)v, (void)device;
    const tenon_type *x = &p->anchor[0].node->src[0]->type;
    const int64_t longest = x->dim[axis_of(p->anchor[0].node)]->hi;
    if (longest >= INT64_C(1) << 40) return TENON_FAIL(cx, TENON_UNSUPPORTED, "a row without an upper bound");
    out->record_bytes = sizeof(record);
    out->scratch_bytes = ((size_t)longest * sizeof(float) + 63) / 64 * 64;
    return TENON_OK;
}

static const tenon_tensor *source(const tenon_bind *b, int i)
{
    const tenon_node *n = b->problem->anchor[0].node;
    return i < n->src_count && n->src[i] ? &b->src[tenon_problem_src(b->problem, n->src[i])] : NULL;
}

static tenon_status bind_rows(tenon_cx *cx, const tenon_bind *b, int axis, record *r)
{
    TENON_TRY(tenon_row_post_bind(cx, b, &b->problem->anchor[0], axis, &r->post));
    r->x = tenon_row_post_add(&r->post, source(b, 0), axis);
    tenon_row_post_seal(&r->post);
    return TENON_OK;
}

static tenon_status bind_softmax(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const int axis = axis_of(n);
    r->kernels = tenon_rows_f32_best();
    r->kind = n->op == &tenon_op_log_softmax ? LOG_SOFTMAX : SOFTMAX;
    if (contiguous(&b->problem->src[tenon_problem_src(b->problem, n->src[0])], axis)) return bind_rows(cx, b, axis, r);
    const tenon_tensor *x = source(b, 0);
    r->kind = COLUMNS;
    r->from = x->data;
    r->to = b->dst[0].data;
    r->outer = r->inner = 1;
    r->length = x->dim[axis];
    for (int i = 0; i < axis; i++) r->outer *= x->dim[i];
    for (int i = axis + 1; i < x->rank; i++) r->inner *= x->dim[i];
    return TENON_OK;
}

static tenon_status bind_norm(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    r->kernels = tenon_rows_f32_best();
    r->kind = NORM;
    r->centered = n->op == &tenon_op_layer_norm;
    r->epsilon = (float)tenon_node_float(n, "epsilon");
    r->scale = source(b, 1) ? source(b, 1)->data : NULL;
    r->bias = source(b, 2) ? source(b, 2)->data : NULL;
    return bind_rows(cx, b, axis_of(n), r);
}

static void run_columns(const record *r, const tenon_worker *w)
{
    enum { COLUMNS_AT_ONCE = 256 };
    const int64_t blocks = (r->inner + COLUMNS_AT_ONCE - 1) / COLUMNS_AT_ONCE;
    int64_t begin, end;
    tenon_split(r->outer * blocks, 1, w->member, w->count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t col = i % blocks * COLUMNS_AT_ONCE, at = i / blocks * r->length * r->inner + col;
        r->kernels->softmax_cols(r->from + at, r->inner, r->to + at, r->inner, r->length,
                                 TENON_MIN(r->inner - col, COLUMNS_AT_ONCE));
    }
}

/* x - max - log(sum), subtracted one after the other: their sum would round away the logarithm beside a large maximum. */
static void log_softmax(const record *r, const float *x, float *y)
{
    const int64_t n = r->post.cols;
    const float max = r->kernels->fold(TENON_FOLD_MAX, x, n);
    if (isinf(max)) { /* infinity - infinity, as the reference has it */
        for (int64_t i = 0; i < n; i++) y[i] = NAN;
        return;
    }
    const float inverse = r->kernels->weigh(x, NULL, 1.0f, y, n);
    r->kernels->scale_shift(x, y, n, 1.0f, -max);
    r->kernels->scale_shift(y, y, n, 1.0f, logf(inverse));
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    if (r->kind == COLUMNS) {
        run_columns(r, w);
        return TENON_OK;
    }
    int64_t begin, end;
    tenon_split(r->post.rows, 1, w->member, w->count, &begin, &end);
    for (int64_t row = begin; row < end && r->post.cols > 0; row++) {
        const float *x = (const float *)(const void *)tenon_row_post_at(&r->post, r->x, row);
        float *y = tenon_row_post_target(&r->post, row, w->scratch);
        if (r->kind == SOFTMAX) r->kernels->softmax(x, y, r->post.cols);
        else if (r->kind == LOG_SOFTMAX) log_softmax(r, x, y);
        else r->kernels->norm(x, y, r->post.cols, r->epsilon, r->centered, r->scale, r->bias);
        tenon_row_post_run(&r->post, row, y);
    }
    return TENON_OK;
}

#define ROWS(op, how)                                                                                                       \
    const tenon_tactic tenon_cpu_##op##_f32 = {                                                                             \
        .name = "cpu." #op "_f32", .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject_##how, .plan = plan, \
        .bind = bind_##how, .run = run,                                                                                     \
    }
ROWS(softmax, softmax);
ROWS(log_softmax, softmax);
ROWS(layer_norm, norm);
ROWS(rms_norm, norm);
