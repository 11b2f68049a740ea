/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions of f32 in the two shapes that matter: along what is contiguous in memory (rows), and along outer axes while the
   kept axis is contiguous (global pools of channels-last maps). Axes are merged first, so any list of axes that ends as one of
   the two will do. Programs around it are steps of their own. */
#include "base/isa.h"
#include "base/team.h"
#include "cpu/reduce_axes.h"
#include "cpu/rows_f32.h"
#include "op/reduce.h"
#include "op/tactic.h"

#include <math.h>
#include <string.h>

enum { AT_ONCE = 128, COLUMN_BLOCK = 256 }; /* rows added up before they join the total: keeps long sums accurate */
typedef enum { PLAIN, MEAN, ROOT, LOG } finish_kind;

static const struct { const char *op; tenon_fold fold; finish_kind finish; } kinds[] = {
    { "reduce_mean", TENON_FOLD_SUM, MEAN }, { "reduce_sum", TENON_FOLD_SUM, PLAIN }, { "reduce_max", TENON_FOLD_MAX, PLAIN },
    { "reduce_min", TENON_FOLD_MIN, PLAIN }, { "reduce_l1", TENON_FOLD_ABS, PLAIN }, { "reduce_l2", TENON_FOLD_SQUARE, ROOT },
    { "reduce_sum_square", TENON_FOLD_SQUARE, PLAIN }, { "reduce_log_sum", TENON_FOLD_SUM, LOG },
};

typedef struct record {
    const tenon_rows_f32 *kernels;
    tenon_fold fold;
    finish_kind finish;
    tenon_nd kept, reduced; /* kept: x, y; reduced: x */
    bool columns;           /* the kept axis is the contiguous one */
    int64_t count;          /* elements that become one */
    const float *x;
    float *y;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

/* The innermost axes in memory are all kept or all reduced, and the rest merges: known from formats alone where nothing has a
   pitch. */
static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    bool reduced[TENON_MAX_RANK] = { false };
    uint8_t order[TENON_MAX_RANK];
    if (a->post || a->pre[0]) return "a program around it";
    const int x = tenon_problem_src(p, n->src[0]), y = tenon_problem_dst(p, n->dst[0]);
    if (x < 0 || y < 0 || n->src[0]->type.dtype != TENON_F32) return "the source is not f32";
    if (p->src[x].format.layout == TENON_STRIDED || p->dst[y].format.layout == TENON_STRIDED) return "any strides";
    if (!tenon_reduce_axes(n, reduced)) return "the axes are not attributes";
    tenon_format_order(&p->src[x].format, n->src[0]->type.rank, order);
    int last = n->src[0]->type.rank - 1; /* axes of size 1 do not matter */
    while (last > 0 && tenon_dim_is(n->src[0]->type.dim[order[last]], 1)) last--;
    return last < 0 ? "a scalar" : NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    out->scratch_bytes = 2 * COLUMN_BLOCK * sizeof(float);
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = &b->src[tenon_problem_src(b->problem, n->src[0])], *y = &b->dst[0];
    memset(r, 0, sizeof *r);
    r->count = tenon_reduce_split(n, x, y, &r->kept, &r->reduced);
    tenon_nd_simplify(&r->kept, 0);
    const int last = r->kept.rank - 1;
    r->columns = last >= 0 && r->kept.stride[0][last] == 1 && r->kept.stride[1][last] == 1;
    for (size_t i = 0; i < TENON_COUNTOF(kinds); i++)
        if (strcmp(kinds[i].op, n->op->name) == 0) r->fold = kinds[i].fold, r->finish = kinds[i].finish;
    r->kernels = tenon_rows_f32_best();
    r->x = x->data;
    r->y = y->data;
    return TENON_OK;
}

static float finish(const record *r, float v)
{
    return r->finish == MEAN ? v / (float)r->count : r->finish == ROOT ? sqrtf(v) : r->finish == LOG ? logf(v) : v;
}
static float start_of(tenon_fold kind) { return kind == TENON_FOLD_MAX ? -INFINITY : kind == TENON_FOLD_MIN ? INFINITY : 0.0f; }
static float join(tenon_fold kind, float a, float b)
{
    return kind == TENON_FOLD_MAX ? (b > a ? b : a) : kind == TENON_FOLD_MIN ? (b < a ? b : a) : a + b;
}

/* One result: over the outer reduced axes, lines along the last one. */
static float one(const record *r, const float *x)
{
    const tenon_nd *nd = &r->reduced;
    const int axes = nd->rank > 0 ? nd->rank - 1 : 0;
    const int64_t lines = tenon_nd_count(nd, axes), n = nd->rank > 0 ? nd->dim[axes] : 1, step = nd->rank > 0
        ? nd->stride[0][axes] : 1;
    float total = start_of(r->fold);
    for (int64_t i = 0; i < lines; i++) {
        const float *p = x + tenon_nd_offset(nd, 0, axes, i);
        if (step == 1) {
            total = join(r->fold, total, r->kernels->fold(r->fold, p, n));
        } else {
            float part;
            for (int64_t k = 0; k < n; k += AT_ONCE) {
                r->kernels->fold_cols(r->fold, p + k * step, step, TENON_MIN(n - k, AT_ONCE), &part, 1);
                total = join(r->fold, total, part);
            }
        }
    }
    return finish(r, total);
}

/* `cols` neighbours at once. */
static void many(const record *r, const float *x, float *y, int64_t cols, float *scratch)
{
    const tenon_nd *nd = &r->reduced;
    const int axes = nd->rank > 0 ? nd->rank - 1 : 0;
    const int64_t lines = tenon_nd_count(nd, axes), n = nd->rank > 0 ? nd->dim[axes] : 1, step = nd->rank > 0
        ? nd->stride[0][axes] : 0;
    float *total = scratch + COLUMN_BLOCK;
    for (int64_t c = 0; c < cols; c++) total[c] = start_of(r->fold);
    for (int64_t i = 0; i < lines; i++) {
        const float *p = x + tenon_nd_offset(nd, 0, axes, i);
        for (int64_t k = 0; k < n; k += AT_ONCE) {
            r->kernels->fold_cols(r->fold, p + k * step, step, TENON_MIN(n - k, AT_ONCE), scratch, cols);
            for (int64_t c = 0; c < cols; c++) total[c] = join(r->fold, total[c], scratch[c]);
        }
    }
    for (int64_t c = 0; c < cols; c++) y[c] = finish(r, total[c]);
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const tenon_nd *nd = &r->kept;
    int64_t begin, end;
    if (!r->columns) {
        tenon_split(tenon_nd_count(nd, nd->rank), 1, w->member, w->count, &begin, &end);
        for (int64_t i = begin; i < end; i++) r->y[tenon_nd_offset(nd, 1, nd->rank, i)] =
            one(r, r->x + tenon_nd_offset(nd, 0, nd->rank, i));
        return TENON_OK;
    }
    const int axes = nd->rank - 1;
    const int64_t cols = nd->dim[axes], width = cols / w->count < COLUMN_BLOCK ? 64 : COLUMN_BLOCK, blocks =
        (cols + width - 1) / width;
    tenon_split(tenon_nd_count(nd, axes) * blocks, 1, w->member, w->count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t col = i % blocks * width;
        many(r, r->x + tenon_nd_offset(nd, 0, axes, i / blocks) + col, r->y + tenon_nd_offset(nd, 1, axes, i / blocks) + col,
             TENON_MIN(cols - col, width), w->scratch);
    }
    return TENON_OK;
}

#define REDUCE(op)                                                                                                          \
    const tenon_tactic tenon_cpu_##op##_f32 = {                                                                             \
        .name = "cpu." #op "_f32", .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan,      \
        .bind = bind, .run = run,                                                                                           \
    }
REDUCE(reduce_mean);
REDUCE(reduce_sum);
REDUCE(reduce_max);
REDUCE(reduce_min);
REDUCE(reduce_l1);
REDUCE(reduce_l2);
REDUCE(reduce_sum_square);
REDUCE(reduce_log_sum);
