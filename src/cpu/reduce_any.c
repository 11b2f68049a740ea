/* SPDX-License-Identifier: Apache-2.0 */
/* Every reduction of every numeric type in any strides: what the f32 kernels of reduce_f32.c do not take (products, the logarithm
   of a sum of exponentials, integers, halves, doubles, pitches). Members share the results; the elements of one come in pieces
   that are widened to double or int64, as in the reference. */
#include "base/team.h"
#include "cpu/loops.h"
#include "cpu/reduce_axes.h"
#include "cpu/rows_f32.h"

#include <math.h>
#include <string.h>

enum { PIECE = 512 };
typedef enum { MEAN, SUM, MAX, MIN, PROD, L1, L2, SUM_SQUARE, LOG_SUM, LOG_SUM_EXP, KINDS } kind_of;
static const char *const kind_names[KINDS] = { "reduce_mean", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod",
                                               "reduce_l1", "reduce_l2", "reduce_sum_square", "reduce_log_sum",
                                               "reduce_log_sum_exp" };

typedef struct record {
    const tenon_rows_f32 *kernels;
    kind_of kind;
    bool integer;           /* computed in int64 */
    tenon_nd kept, reduced; /* kept: x, y; reduced: x */
    int64_t count;          /* elements that become one */
    tenon_tensor x, y;      /* for access by offset */
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_node *n = p->anchor[0].node;
    if (n->src_count > 1 && n->src[1]) return "the axes are not attributes";
    return tenon_loop_reject(p);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    out->scratch_bytes = PIECE * sizeof(double) + PIECE * sizeof(float);
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = tenon_loop_src(b, 0), *y = tenon_loop_dst(b, 0);
    memset(r, 0, sizeof *r);
    r->count = tenon_reduce_split(n, x, y, &r->kept, &r->reduced);
    tenon_nd_simplify(&r->kept, 1);
    while (strcmp(kind_names[r->kind], n->op->name) != 0) r->kind++;
    r->integer = !tenon_is_float(x->dtype) && r->kind != LOG_SUM && r->kind != LOG_SUM_EXP && r->kind != L2;
    r->kernels = tenon_rows_f32_best();
    r->x = *x;
    r->y = *y;
    return TENON_OK;
}

/* ---- pieces: where they lie when they are wide already, else widened into `out` ---- */
static const double *load_f64(const tenon_tensor *x, int64_t at, int64_t step, int64_t n, double *out)
{
    if (x->dtype == TENON_F64 && step == 1) return (const double *)x->data + at;
    if (x->dtype == TENON_F32)
        for (int64_t i = 0; i < n; i++) out[i] = ((const float *)x->data)[at + i * step];
    else
        for (int64_t i = 0; i < n; i++) out[i] = tenon_tensor_get_f64(x, at + i * step);
    return out;
}

static const int64_t *load_i64(const tenon_tensor *x, int64_t at, int64_t step, int64_t n, int64_t *out)
{
    if (x->dtype == TENON_I64 && step == 1) return (const int64_t *)x->data + at;
    if (x->dtype == TENON_I64)
        for (int64_t i = 0; i < n; i++) out[i] = ((const int64_t *)x->data)[at + i * step];
    else if (x->dtype == TENON_I32)
        for (int64_t i = 0; i < n; i++) out[i] = ((const int32_t *)x->data)[at + i * step];
    else
        for (int64_t i = 0; i < n; i++) out[i] = tenon_tensor_get_i64(x, at + i * step);
    return out;
}

static double fold_f64(kind_of kind, double s, const double *x, int64_t n)
{
    switch (kind) {
    case MAX:
        for (int64_t i = 0; i < n; i++) s = x[i] > s ? x[i] : s;
        return s;
    case MIN:
        for (int64_t i = 0; i < n; i++) s = x[i] < s ? x[i] : s;
        return s;
    case PROD:
        for (int64_t i = 0; i < n; i++) s *= x[i];
        return s;
    case L1:
        for (int64_t i = 0; i < n; i++) s += fabs(x[i]);
        return s;
    case L2:
    case SUM_SQUARE:
        for (int64_t i = 0; i < n; i++) s += x[i] * x[i];
        return s;
    default:
        for (int64_t i = 0; i < n; i++) s += x[i];
        return s;
    }
}

static uint64_t fold_i64(kind_of kind, uint64_t s, const int64_t *x, int64_t n)
{
    switch (kind) {
    case MAX:
        for (int64_t i = 0; i < n; i++) s = x[i] > (int64_t)s ? (uint64_t)x[i] : s;
        return s;
    case MIN:
        for (int64_t i = 0; i < n; i++) s = x[i] < (int64_t)s ? (uint64_t)x[i] : s;
        return s;
    case PROD:
        for (int64_t i = 0; i < n; i++) s *= (uint64_t)x[i];
        return s;
    case L1:
        for (int64_t i = 0; i < n; i++) s += x[i] < 0 ? 0 - (uint64_t)x[i] : (uint64_t)x[i];
        return s;
    case SUM_SQUARE:
        for (int64_t i = 0; i < n; i++) s += (uint64_t)x[i] * (uint64_t)x[i];
        return s;
    default:
        for (int64_t i = 0; i < n; i++) s += (uint64_t)x[i];
        return s;
    }
}

/* A running maximum and the sum of exponentials relative to it. */
typedef struct exponentials { double max, sum; } exponentials;
static void add_exponentials(exponentials *e, double max, double sum)
{
    if (max > e->max) {
        e->sum = e->max == -INFINITY ? e->sum : e->sum * exp(e->max - max);
        e->max = max;
    }
    e->sum += max == -INFINITY || isinf(e->max) ? (isnan(sum) ? sum : 0) : sum * exp(max - e->max);
}

/* f32 goes through the vector kernels; other types are as slow as exp. */
static void exponentials_of(const record *r, exponentials *e, const double *piece, float *x, int64_t n)
{
    if (r->x.dtype == TENON_F32) {
        for (int64_t i = 0; i < n; i++) x[i] = (float)piece[i];
        const float max = r->kernels->fold(TENON_FOLD_MAX, x, n), inverse = isinf(max) ? 1 : r->kernels->weigh(x, NULL, 1, x, n);
        add_exponentials(e, max, 1 / (double)inverse);
        return;
    }
    const double max = fold_f64(MAX, -INFINITY, piece, n);
    double sum = 0;
    for (int64_t i = 0; i < n && !isinf(max); i++) sum += exp(piece[i] - max);
    add_exponentials(e, max, sum);
}

/* ---- one result ---- */
static double finish(const record *r, double s)
{
    return r->kind == MEAN ? s / (double)r->count : r->kind == L2 ? sqrt(s) : r->kind == LOG_SUM ? log(s) : s;
}

static void one(const record *r, int64_t from, int64_t to, void *scratch)
{
    const tenon_nd *nd = &r->reduced;
    const int axes = nd->rank ? nd->rank - 1 : 0;
    const int64_t n = nd->rank ? nd->dim[axes] : 1, step = nd->rank ? nd->stride[0][axes] : 0, lines = tenon_nd_count(nd, axes);
    double s = r->kind == MAX ? -INFINITY : r->kind == MIN ? INFINITY : r->kind == PROD ? 1 : 0;
    uint64_t v = r->kind == PROD;
    exponentials e = { -INFINITY, 0 };
    if (r->integer && (r->kind == MAX || r->kind == MIN) && r->count) v = (uint64_t)tenon_tensor_get_i64(&r->x, from);
    for (int64_t line = 0; line < lines; line++)
        for (int64_t i = 0; i < n; i += PIECE) {
            const int64_t at = from + tenon_nd_offset(nd, 0, axes, line) + i * step, m = TENON_MIN(n - i, PIECE);
            if (r->integer) {
                v = fold_i64(r->kind, v, load_i64(&r->x, at, step, m, scratch), m);
                continue;
            }
            const double *piece = load_f64(&r->x, at, step, m, scratch);
            if (r->kind == LOG_SUM_EXP) exponentials_of(r, &e, piece, (float *)scratch + 2 * PIECE, m);
            else s = fold_f64(r->kind, s, piece, m);
        }
    if (r->integer) {
        if (r->kind == MEAN) v = r->count ? (uint64_t)((int64_t)v / r->count) : 0;
        tenon_tensor_set_i64(&r->y, to, (int64_t)v);
        return;
    }
    s = r->kind == LOG_SUM_EXP ? isinf(e.max) ? e.max : e.max + log(e.sum) : finish(r, s);
    tenon_tensor_set_f64(&r->y, to, tenon_is_float(r->y.dtype) ? s : trunc(s));
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const tenon_nd *nd = &r->kept;
    int64_t begin, end;
    tenon_split(tenon_nd_count(nd, nd->rank), 1, w->member, w->count, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        one(r, tenon_nd_offset(nd, 0, nd->rank, i), tenon_nd_offset(nd, 1, nd->rank, i), w->scratch);
    return TENON_OK;
}

#define REDUCE(op)                                                                                                               \
    const tenon_tactic tenon_cpu_##op##_any = {                                                                                  \
        .name = "cpu." #op "_any", .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan,          \
        .bind = bind, .run = run,                                                                                                \
    }
REDUCE(reduce_mean);
REDUCE(reduce_sum);
REDUCE(reduce_max);
REDUCE(reduce_min);
REDUCE(reduce_prod);
REDUCE(reduce_l1);
REDUCE(reduce_l2);
REDUCE(reduce_sum_square);
REDUCE(reduce_log_sum);
REDUCE(reduce_log_sum_exp);
