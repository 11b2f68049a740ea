/* SPDX-License-Identifier: Apache-2.0 */
/* Pad in all modes, of elements of any plain type in any format. The result is walked in the order of its memory: rows along the
   innermost axis that is padded, each position of which is a unit of the axes inside it:

       outer axes (their place in the source is looked up once a row) | in front | middle: one copy | behind | unit

   Begins may be negative. Nothing outside the source is read whatever the sizes are. */
#include "base/team.h"
#include "cpu/copy_nd.h"
#include "op/pad.h"
#include "op/tactic.h"

#include <string.h>

enum { UNIT_BYTES = 1 << 14 }; /* a unit is not shared by members */

typedef struct axis { int64_t dim, from, begin, ys, xs; } axis; /* sizes in result and source; strides in elements */
typedef struct record {
    int count;              /* outer axes, then the row's */
    axis at[TENON_MAX_RANK + 1];
    int64_t unit, rows;     /* elements of a unit, contiguous on both sides */
    tenon_pad_mode mode;
    int bytes;
    char value[16];         /* where value_at is NULL */
    const char *value_at;
    char *y;
    const char *x;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const tenon_value *value = n->src_count > 2 ? n->src[2] : NULL;
    if (a->post) return "a program after it";
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before it";
    if (tenon_problem_src(p, n->src[0]) < 0) return "the source is not a source of the problem";
    if (!tenon_problem_has_param(p, n, 1) || !tenon_problem_has_param(p, n, 3)) return "the pads are not in the problem";
    const tenon_dtype t = n->src[0]->type.dtype;
    if (tenon_dtype_get(t)->bits < 8 || t >= TENON_STRING) return "elements without plain storage";
    if (!value) return NULL;
    if (value->type.dtype != t) return "a value of another type";
    for (int i = 0; i < value->type.rank; i++)
        if (!tenon_dim_is(value->type.dim[i], 1)) return "more than one value";
    return tenon_problem_src(p, value) < 0 && !value->data ? "a value of symbols" : NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    return TENON_OK;
}

static void bind_value(const tenon_bind *b, const tenon_node *n, record *r)
{
    const tenon_value *value = n->src_count > 2 ? n->src[2] : NULL;
    const int source = value ? tenon_problem_src(b->problem, value) : -1;
    if (source >= 0) r->value_at = b->src[source].data;
    else if (value) memcpy(r->value, value->data->data, (size_t)r->bytes);
}

/* Axes in the order of the result's memory; the innermost ones that nothing is put around, and that lie as in the source, are the
   unit. */
static void bind_axes(record *r)
{
    for (int i = 1; i < r->count; i++)
        for (int k = i; k > 0 && r->at[k].ys > r->at[k - 1].ys; k--) {
            const axis swap = r->at[k];
            r->at[k] = r->at[k - 1];
            r->at[k - 1] = swap;
        }
    r->unit = 1;
    for (; r->count > 0; r->count--) {
        const axis *a = &r->at[r->count - 1];
        const bool whole = a->begin == 0 && a->dim == a->from, dense = a->ys == r->unit && a->xs == r->unit;
        if (a->dim != 1 && (!dense || r->unit * a->dim * r->bytes > UNIT_BYTES)) break;
        if (!whole) break;
        r->unit *= a->dim;
    }
    if (r->count == 0) r->at[r->count++] = (axis){ 1, 1, 0, r->unit, r->unit };
    r->rows = 1;
    for (int i = 0; i + 1 < r->count; i++) r->rows *= r->at[i].dim;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = &b->src[tenon_problem_src(b->problem, n->src[0])], *y = &b->dst[0];
    int64_t pads[2 * TENON_MAX_RANK], axes[TENON_MAX_RANK], begin[TENON_MAX_RANK], dim[TENON_MAX_RANK];
    int count, axes_count;
    memset(r, 0, sizeof *r);
    TENON_TRY(tenon_pad_mode_of(cx, n, &r->mode));
    TENON_TRY(tenon_bind_ints(cx, b, n->src[1], 2 * TENON_MAX_RANK, pads, &count));
    TENON_TRY(tenon_bind_ints(cx, b, n->src_count > 3 ? n->src[3] : NULL, TENON_MAX_RANK, axes, &axes_count));
    TENON_TRY(tenon_pad_box(cx, x, pads, count, axes, axes_count, begin, dim));
    r->bytes = tenon_dtype_get(x->dtype)->bits / 8;
    r->x = x->data;
    r->y = y->data;
    r->count = x->rank;
    for (int i = 0; i < x->rank; i++) {
        if (dim[i] != y->dim[i]) return TENON_FAIL(cx, TENON_INVALID, "pad: axis %d of the result has another size", i);
        if (r->mode != TENON_PAD_CONSTANT && x->dim[i] == 0 && tenon_tensor_count(y) > 0)
            return TENON_FAIL(cx, TENON_INVALID, "pad: nothing to repeat in an axis of size 0");
        r->at[i] = (axis){ y->dim[i], x->dim[i], begin[i], y->stride[i], x->stride[i] };
    }
    bind_value(b, n, r);
    bind_axes(r);
    return TENON_OK;
}

/* `n` positions of the row from `i` on get the value. */
static void put_value(const record *r, char *y, int64_t i, int64_t n)
{
    const axis *a = &r->at[r->count - 1];
    const char *value = r->value_at ? r->value_at : r->value;
    if (n <= 0) return;
    if (a->ys == r->unit) {
        tenon_fill_run(y + i * a->ys * r->bytes, value, r->bytes, n * r->unit);
        return;
    }
    for (int64_t k = i; k < i + n; k++) tenon_fill_run(y + k * a->ys * r->bytes, value, r->bytes, r->unit);
}

static inline void move(char *dst, const char *src, size_t bytes)
{
    switch (bytes) { /* of a size that is known these are single instructions */
    case 4: memcpy(dst, src, 4); break;
    case 8: memcpy(dst, src, 8); break;
    default: memcpy(dst, src, bytes);
    }
}

/* Positions [i, end) outside the middle, in the modes that repeat. */
static void put_repeats(const record *r, char *y, const char *x, int64_t i, int64_t end)
{
    const axis *a = &r->at[r->count - 1];
    for (; i < end; i++)
        move(y + i * a->ys * r->bytes, x + tenon_pad_source(r->mode, i - a->begin, a->from) * a->xs * r->bytes,
             (size_t)(r->unit * r->bytes));
}

/* Positions [first, end) of one row; x NULL: all of it is around the source. */
static void put_row(const record *r, char *y, const char *x, int64_t first, int64_t end)
{
    const axis *a = &r->at[r->count - 1];
    const size_t unit_bytes = (size_t)(r->unit * r->bytes);
    if (!x) {
        put_value(r, y, first, end - first);
        return;
    }
    const int64_t lo = TENON_MIN(TENON_MAX(a->begin, first), end), hi = TENON_MAX(TENON_MIN(a->begin + a->from, end), lo);
    if (r->mode == TENON_PAD_CONSTANT) {
        put_value(r, y, first, lo - first);
        put_value(r, y, hi, end - hi);
    } else {
        put_repeats(r, y, x, first, lo);
        put_repeats(r, y, x, hi, end);
    }
    if (hi == lo) return;
    y += lo * a->ys * r->bytes;
    x += (lo - a->begin) * a->xs * r->bytes;
    if (a->ys == r->unit && a->xs == r->unit) memcpy(y, x, (size_t)(hi - lo) * unit_bytes);
    else
        for (int64_t i = 0; i < hi - lo; i++) move(y + i * a->ys * r->bytes, x + i * a->xs * r->bytes, unit_bytes);
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const int outer = r->count - 1;
    int64_t row = 0, last = r->rows, first = 0, end = r->at[outer].dim, index[TENON_MAX_RANK + 1];
    if (r->rows >= 2 * (int64_t)w->count) tenon_split(r->rows, 1, w->member, w->count, &row, &last);
    else tenon_split(end, 64, w->member, w->count, &first, &end);
    if (first >= end || row >= last) return TENON_OK;
    int64_t rest = row;
    for (int k = outer - 1; k >= 0; k--) {
        index[k] = rest % r->at[k].dim;
        rest /= r->at[k].dim;
    }
    for (; row < last; row++) {
        int64_t to = 0, from = 0;
        bool inside = true;
        for (int k = 0; k < outer; k++) {
            const int64_t at = tenon_pad_source(r->mode, index[k] - r->at[k].begin, r->at[k].from);
            inside &= at >= 0;
            to += index[k] * r->at[k].ys;
            from += at * r->at[k].xs;
        }
        put_row(r, r->y + to * r->bytes, inside ? r->x + from * r->bytes : NULL, first, end);
        for (int k = outer - 1; k >= 0 && ++index[k] == r->at[k].dim; k--) index[k] = 0;
    }
    return TENON_OK;
}

const tenon_tactic tenon_cpu_pad = {
    .name = "cpu.pad", .pattern = "pad", .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan, .bind = bind, .run = run,
};
