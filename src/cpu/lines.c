/* SPDX-License-Identifier: Apache-2.0 */
/* Along one axis, whatever the strides: cum_sum (floats and integers), lp_norm and hardmax of f32, trilu of any type. Members
   share the lines, in runs of neighbours that are walked together, so that lines across memory still read whole cache lines.
   Plain loops. */
#include "base/team.h"
#include "cpu/loops.h"

#include <math.h>
#include <string.h>

enum { TOGETHER = 64, ALONG = 4 }; /* lines at once; where they are contiguous themselves: more would share a set of the cache */

typedef struct record {
    tenon_lines lines;   /* 0: source, 1: result */
    int64_t run, width, blocks; /* lines along the last of the other axes, of a block, and blocks in it */
    tenon_dtype dtype;
    bool exclusive, reverse, square, upper;
    int64_t diagonal, rows; /* trilu */
    const char *x;
    char *y;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const char *reject_sum(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_node *n = p->anchor[0].node;
    const tenon_dtype t = n->src[0]->type.dtype;
    if (n->src_count > 1 && n->src[1]) return "the axis is not an attribute";
    if (t != TENON_F32 && t != TENON_F64 && t != TENON_I32 && t != TENON_I64) return "neither f32, f64, i32 nor i64";
    return tenon_loop_reject(p);
}

static const char *reject_f32(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    return p->anchor[0].node->src[0]->type.dtype == TENON_F32 ? tenon_loop_reject(p) : "the source is not f32";
}

static const char *reject_triangle(const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                                   tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_node *n = p->anchor[0].node;
    return n->src_count > 1 && n->src[1] ? "the diagonal is not an attribute" : tenon_loop_reject(p);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    return TENON_OK;
}

static record *bind_axis(const tenon_bind *b, int axis, void *out)
{
    record *r = out;
    const tenon_tensor *x = tenon_loop_src(b, 0), *y = tenon_loop_dst(b, 0);
    memset(r, 0, sizeof *r);
    tenon_lines_init(&r->lines, x, axis);
    tenon_lines_add(&r->lines, y, axis);
    r->dtype = x->dtype;
    r->x = x->data;
    r->y = y->data;
    return r;
}

static tenon_status bind_lines(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    const tenon_node *n = b->problem->anchor[0].node;
    record *r = bind_axis(b, tenon_loop_axis(n, tenon_loop_src(b, 0)->rank), out);
    tenon_lines_seal(&r->lines);
    const tenon_nd *nd = &r->lines.other;
    r->run = nd->rank ? nd->dim[nd->rank - 1] : 1;
    r->width = r->lines.step[0] == 1 ? ALONG : TOGETHER;
    r->blocks = (r->run + r->width - 1) / r->width;
    if (n->op == &tenon_op_cum_sum) {
        r->exclusive = tenon_node_int(n, "exclusive") != 0;
        r->reverse = tenon_node_int(n, "reverse") != 0;
    }
    r->square = n->op == &tenon_op_lp_norm && tenon_node_int(n, "p") == 2;
    return TENON_OK;
}

static tenon_status bind_triangle(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = tenon_loop_src(b, 0);
    record *r = bind_axis(b, x->rank - 1, out);
    r->upper = tenon_node_int(n, "upper") != 0;
    r->diagonal = tenon_node_int(n, "k");
    r->rows = x->dim[x->rank - 2];
    return TENON_OK;
}

/* ---- blocks of lines ---- */
typedef struct block {
    int64_t lines, length;
    int64_t xs, xi, ys, yi; /* along the axis; from line to line */
    const void *x;
    void *y;
} block;

#define SUM(name, T, A)                                                                                                          \
    static void name(const block *b, bool exclusive, bool reverse)                                                               \
    {                                                                                                                            \
        A total[TOGETHER] = { 0 };                                                                                               \
        for (int64_t k = 0; k < b->length; k++) {                                                                                \
            const int64_t i = reverse ? b->length - 1 - k : k;                                                                   \
            const T *x = (const T *)b->x + i * b->xs;                                                                            \
            T *y = (T *)b->y + i * b->ys;                                                                                        \
            for (int64_t c = 0; c < b->lines; c++) {                                                                             \
                const A next = total[c] + (A)x[c * b->xi];                                                                       \
                y[c * b->yi] = (T)(exclusive ? total[c] : next);                                                                 \
                total[c] = next;                                                                                                 \
            }                                                                                                                    \
        }                                                                                                                        \
    }
SUM(sum_f32, float, double)
SUM(sum_f64, double, double)
SUM(sum_i32, int32_t, uint64_t)
SUM(sum_i64, int64_t, uint64_t)

static void sum_block(const record *r, const block *b)
{
    if (r->dtype == TENON_F32) sum_f32(b, r->exclusive, r->reverse);
    else if (r->dtype == TENON_F64) sum_f64(b, r->exclusive, r->reverse);
    else if (r->dtype == TENON_I32) sum_i32(b, r->exclusive, r->reverse);
    else sum_i64(b, r->exclusive, r->reverse);
}

static void norm_block(const record *r, const block *b)
{
    double sum[TOGETHER] = { 0 };
    float inverse[TOGETHER];
    bool small = true; /* inverses are normal numbers */
    for (int64_t i = 0; i < b->length; i++) {
        const float *x = (const float *)b->x + i * b->xs;
        for (int64_t c = 0; c < b->lines; c++) {
            const double v = x[c * b->xi];
            sum[c] += r->square ? v * v : fabs(v);
        }
    }
    for (int64_t c = 0; c < b->lines; c++) {
        if (r->square) sum[c] = sqrt(sum[c]);
        small = small && sum[c] > 1e-30 && sum[c] < 1e30;
        inverse[c] = (float)(1 / sum[c]);
    }
    for (int64_t i = 0; i < b->length; i++) {
        const float *x = (const float *)b->x + i * b->xs;
        float *y = (float *)b->y + i * b->ys;
        for (int64_t c = 0; c < b->lines && small; c++) y[c * b->yi] = x[c * b->xi] * inverse[c];
        for (int64_t c = 0; c < b->lines && !small; c++) y[c * b->yi] = sum[c] == 0 ? 0.0f : (float)(x[c * b->xi] / sum[c]);
    }
}

static void mark_block(const record *r, const block *b)
{
    int64_t best[TOGETHER] = { 0 };
    (void)r;
    for (int64_t i = 0; i < b->length; i++) {
        float *y = (float *)b->y + i * b->ys;
        for (int64_t c = 0; c < b->lines; c++) {
            const float *x = (const float *)b->x + c * b->xi;
            if (x[i * b->xs] > x[best[c] * b->xs]) best[c] = i;
            y[c * b->yi] = 0.0f;
        }
    }
    for (int64_t c = 0; c < b->lines && b->length; c++) ((float *)b->y)[best[c] * b->ys + c * b->yi] = 1.0f;
}

static void run_blocks(const record *r, const tenon_worker *w, void (*body)(const record *r, const block *b))
{
    const tenon_nd *nd = &r->lines.other;
    const int axes = nd->rank ? nd->rank - 1 : 0, bytes = tenon_loop_bytes(r->dtype);
    int64_t begin, end;
    tenon_split(tenon_nd_count(nd, axes) * r->blocks, 1, w->member, w->count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t outer = i / r->blocks, line = i % r->blocks * r->width;
        const int64_t xi = nd->rank ? nd->stride[0][axes] : 0, yi = nd->rank ? nd->stride[1][axes] : 0;
        const block b = { .lines = TENON_MIN(r->run - line, r->width), .length = r->lines.length, .xs = r->lines.step[0],
                          .xi = xi, .ys = r->lines.step[1], .yi = yi,
                          .x = r->x + (tenon_nd_offset(nd, 0, axes, outer) + line * xi) * bytes,
                          .y = r->y + (tenon_nd_offset(nd, 1, axes, outer) + line * yi) * bytes };
        body(r, &b);
    }
}

static tenon_status run_sum(const void *launch, void *exec)
{
    run_blocks(launch, exec, sum_block);
    return TENON_OK;
}
static tenon_status run_norm(const void *launch, void *exec)
{
    run_blocks(launch, exec, norm_block);
    return TENON_OK;
}
static tenon_status run_mark(const void *launch, void *exec)
{
    run_blocks(launch, exec, mark_block);
    return TENON_OK;
}

/* Columns [begin, end) of a line are kept. */
static void triangle_line(const record *r, const char *x, char *y, int64_t begin, int64_t end, int bytes)
{
    const int64_t n = r->lines.length, xs = r->lines.step[0] * bytes, ys = r->lines.step[1] * bytes;
    if (xs == bytes && ys == bytes) {
        memset(y, 0, (size_t)(begin * bytes));
        memcpy(y + begin * bytes, x + begin * bytes, (size_t)((end - begin) * bytes));
        memset(y + end * bytes, 0, (size_t)((n - end) * bytes));
        return;
    }
    for (int64_t j = 0; j < n; j++) {
        if (j >= begin && j < end) memcpy(y + j * ys, x + j * xs, (size_t)bytes);
        else memset(y + j * ys, 0, (size_t)bytes);
    }
}

static tenon_status run_triangle(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const int bytes = tenon_loop_bytes(r->dtype);
    const int64_t n = r->lines.length;
    int64_t first, last;
    tenon_split(r->lines.count, 1, w->member, w->count, &first, &last);
    for (int64_t line = first; line < last; line++) {
        const int64_t i = line % r->rows, far = TENON_MAX(TENON_MIN(r->diagonal, n), -r->rows); /* beyond: all or nothing */
        const int64_t edge = TENON_MIN(TENON_MAX(i + far + !r->upper, 0), n);
        triangle_line(r, r->x + tenon_lines_at(&r->lines, 0, line) * bytes, r->y + tenon_lines_at(&r->lines, 1, line) * bytes,
                      r->upper ? edge : 0, r->upper ? n : edge, bytes);
    }
    return TENON_OK;
}

#define LINES(op, label, rejects, binds, runs)                                                                                   \
    const tenon_tactic tenon_cpu_##op = {                                                                                        \
        .name = label, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .reject = rejects, .plan = plan, .bind = binds,      \
        .run = runs,                                                                                                             \
    }
LINES(cum_sum, "cpu.cum_sum", reject_sum, bind_lines, run_sum);
LINES(lp_norm, "cpu.lp_norm", reject_f32, bind_lines, run_norm);
LINES(hardmax, "cpu.hardmax", reject_f32, bind_lines, run_mark);
LINES(trilu, "cpu.trilu", reject_triangle, bind_triangle, run_triangle);
