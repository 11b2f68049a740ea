/* SPDX-License-Identifier: Apache-2.0 */
/* scatter_elements (any formats) and scatter_nd (dense row-major): the data are copied, then updates written, added, ... in the
   order they stand in, as the reference does. Members never share a result: of scatter_elements each takes lines along the axis,
   of scatter_nd the columns of the runs, or, where runs are short, those slots of the result that fall to it. */
#include "base/team.h"
#include "cpu/copy_nd.h"
#include "cpu/loops.h"

#include <math.h>
#include <string.h>

typedef enum { NONE, ADD, MUL, MIN, MAX, REDUCTIONS } reduction;
static const char *const reduction_words[REDUCTIONS] = { "none", "add", "mul", "min", "max" };

typedef struct record {
    tenon_copy copy;            /* data to result */
    reduction reduction;
    int bytes;
    bool wide;
    const char *index, *update;
    tenon_tensor y, u;          /* for access by offset */
    tenon_lines lines;          /* scatter_elements: 0: indices, 1: updates, 2: result */
    int64_t axis;               /* elements of the result along it */
    int64_t picks, depth, tail; /* scatter_nd: updates, axes of an index, elements of a run */
    int64_t slots;              /* runs in the result */
    int64_t dim[TENON_MAX_RANK], stride[TENON_MAX_RANK]; /* of the indexed axes, in runs */
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const char *reject_elements(const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                                   tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_node *n = p->anchor[0].node;
    const tenon_dtype t = n->src[1]->type.dtype;
    if (t != TENON_I32 && t != TENON_I64) return "indices are neither i32 nor i64";
    if (n->src[0]->type.dtype >= TENON_STRING) return "elements without plain storage";
    return tenon_loop_reject(p);
}

static const char *reject_runs(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    const char *why = reject_elements(p, v, device, scratch);
    return why ? why : tenon_loop_reject_order(p);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    return TENON_OK;
}

static void bind_common(const tenon_bind *b, record *r)
{
    const tenon_tensor *x = tenon_loop_src(b, 0), *y = tenon_loop_dst(b, 0);
    memset(r, 0, sizeof *r);
    r->bytes = tenon_loop_bytes(x->dtype);
    tenon_copy_make(&r->copy, y->rank, y->dim, y->stride, x->stride, r->bytes, y->data, x->data);
    const char *word = tenon_node_attr(b->problem->anchor[0].node, "reduction")->s;
    while (strcmp(reduction_words[r->reduction], word) != 0) r->reduction++;
    r->index = tenon_loop_src(b, 1)->data;
    r->wide = tenon_loop_src(b, 1)->dtype == TENON_I64;
    r->u = *tenon_loop_src(b, 2);
    r->y = *y;
}

static tenon_status bind_elements(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_tensor *x = tenon_loop_src(b, 0), *ix = tenon_loop_src(b, 1), *u = tenon_loop_src(b, 2);
    const int axis = tenon_loop_axis(b->problem->anchor[0].node, x->rank);
    bool fits = x->rank == ix->rank && x->rank == u->rank;
    for (int i = 0; fits && i < x->rank; i++) fits = ix->dim[i] == u->dim[i] && (i == axis || ix->dim[i] <= x->dim[i]);
    if (!fits) return TENON_FAIL(cx, TENON_INVALID, "scatter_elements: indices, updates and data do not fit");
    bind_common(b, r);
    tenon_lines_init(&r->lines, ix, axis);
    tenon_lines_add(&r->lines, u, axis);
    tenon_lines_add(&r->lines, &r->y, axis);
    tenon_lines_seal(&r->lines);
    r->axis = x->dim[axis];
    return TENON_OK;
}

static tenon_status bind_runs(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_tensor *x = tenon_loop_src(b, 0), *ix = tenon_loop_src(b, 1), *u = tenon_loop_src(b, 2);
    const int picks = ix->rank - 1;
    const int64_t depth = picks >= 0 ? ix->dim[picks] : -1;
    bool fits = depth >= 0 && depth <= x->rank && u->rank == picks + x->rank - (int)depth;
    for (int i = 0; fits && i < u->rank; i++) fits = u->dim[i] == (i < picks ? ix->dim[i] : x->dim[depth + i - picks]);
    if (!fits) return TENON_FAIL(cx, TENON_INVALID, "scatter_nd: indices, updates and data do not fit");
    bind_common(b, r);
    r->depth = depth;
    r->picks = r->tail = r->slots = 1;
    for (int i = 0; i < picks; i++) r->picks *= ix->dim[i];
    for (int i = (int)depth; i < x->rank; i++) r->tail *= x->dim[i];
    for (int i = (int)depth - 1; i >= 0; i--) {
        r->dim[i] = x->dim[i];
        r->stride[i] = r->slots;
        r->slots *= x->dim[i];
    }
    return TENON_OK;
}

/* ---- updates ---- */
static double reduce_f64(reduction r, double a, double b)
{
    if (r == ADD) return a + b;
    if (r == MUL) return a * b;
    if (isnan(a) || isnan(b)) return NAN;
    return r == MIN ? (b < a ? b : a) : (b > a ? b : a);
}

static int64_t reduce_i64(reduction r, int64_t a, int64_t b, bool is_unsigned)
{
    if (r == ADD) return (int64_t)((uint64_t)a + (uint64_t)b);
    if (r == MUL) return (int64_t)((uint64_t)a * (uint64_t)b);
    const bool less = is_unsigned ? (uint64_t)b < (uint64_t)a : b < a;
    return (r == MIN) == less ? b : a;
}

static void put(const record *r, int64_t to, int64_t from)
{
    const tenon_tensor *y = &r->y, *u = &r->u;
    if (r->reduction == NONE) {
        memcpy((char *)y->data + to * r->bytes, (const char *)u->data + from * r->bytes, (size_t)r->bytes);
    } else if (y->dtype == TENON_F32) {
        float *at = (float *)y->data + to;
        *at = (float)reduce_f64(r->reduction, *at, ((const float *)u->data)[from]);
    } else if (tenon_is_float(y->dtype)) {
        tenon_tensor_set_f64(y, to, reduce_f64(r->reduction, tenon_tensor_get_f64(y, to), tenon_tensor_get_f64(u, from)));
    } else {
        const int64_t v = reduce_i64(r->reduction, tenon_tensor_get_i64(y, to), tenon_tensor_get_i64(u, from),
                                     tenon_dtype_get(y->dtype)->kind == TENON_KIND_UINT);
        tenon_tensor_set_i64(y, to, y->dtype == TENON_BOOL ? v != 0 : v);
    }
}

/* The index at `i`, counted from the front; -1: outside. */
static int64_t pick(const record *r, int64_t i, int64_t size)
{
    int64_t at = r->wide ? ((const int64_t *)(const void *)r->index)[i] : ((const int32_t *)(const void *)r->index)[i];
    if (at < 0) at += size;
    return at < 0 || at >= size ? -1 : at;
}

static tenon_status run_elements(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const tenon_lines *l = &r->lines;
    int64_t begin, end;
    tenon_copy_run(&r->copy, w->member, w->count);
    tenon_team_barrier(w->team, w->member);
    tenon_split(l->count, 1, w->member, w->count, &begin, &end);
    for (int64_t line = begin; line < end; line++) {
        const int64_t index = tenon_lines_at(l, 0, line), from = tenon_lines_at(l, 1, line), to = tenon_lines_at(l, 2, line);
        for (int64_t i = 0; i < l->length; i++) {
            const int64_t at = pick(r, index + i * l->step[0], r->axis);
            if (at < 0) return TENON_LOOP_FAIL(w, "scatter_elements: an index lies outside the data");
            put(r, to + at * l->step[2], from + i * l->step[1]);
        }
    }
    return TENON_OK;
}

/* Number of the run that update `i` goes to; -1: outside. */
static int64_t slot_of(const record *r, int64_t i)
{
    int64_t slot = 0;
    for (int64_t k = 0; k < r->depth; k++) {
        const int64_t at = pick(r, i * r->depth + k, r->dim[k]);
        if (at < 0) return -1;
        slot += at * r->stride[k];
    }
    return slot;
}

static tenon_status run_runs(const void *launch, void *exec)
{
    enum { LONG = 256 }; /* elements of a run that are worth a member */
    const record *r = launch;
    const tenon_worker *w = exec;
    int64_t begin = 0, end = r->tail, slot_begin = 0, slot_end = r->slots;
    tenon_copy_run(&r->copy, w->member, w->count);
    tenon_team_barrier(w->team, w->member);
    if (r->tail >= LONG * w->count) tenon_split(r->tail, 64, w->member, w->count, &begin, &end);
    else tenon_split(r->slots, 1, w->member, w->count, &slot_begin, &slot_end);
    for (int64_t i = 0; i < r->picks && r->tail > 0; i++) {
        const int64_t slot = slot_of(r, i);
        if (slot < 0) return TENON_LOOP_FAIL(w, "scatter_nd: an index lies outside the data");
        if (slot < slot_begin || slot >= slot_end || begin == end) continue;
        const int64_t to = slot * r->tail, from = i * r->tail;
        if (r->reduction == NONE)
            memcpy((char *)r->y.data + (to + begin) * r->bytes, (const char *)r->u.data + (from + begin) * r->bytes,
                   (size_t)((end - begin) * r->bytes));
        else
            for (int64_t k = begin; k < end; k++) put(r, to + k, from + k);
    }
    return TENON_OK;
}

#define SCATTER(op, rejects, binds, runs)                                                                                        \
    const tenon_tactic tenon_cpu_##op = {                                                                                        \
        .name = "cpu." #op, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC | TENON_TACTIC_BARRIER, .reject = rejects,       \
        .plan = plan, .bind = binds, .run = runs,                                                                                \
    }
SCATTER(scatter_elements, reject_elements, bind_elements, run_elements);
SCATTER(scatter_nd, reject_runs, bind_runs, run_runs);
