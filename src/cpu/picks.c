/* SPDX-License-Identifier: Apache-2.0 */
/* Elements by their places, and the places of extremes: gather_elements (any format), gather_nd (runs of dense row-major tensors),
   arg_max and arg_min of f32 along any axis of any format. Plain loops, shared by the members. */
#include "base/team.h"
#include "cpu/nd.h"
#include "op/tactic.h"

#include <string.h>

typedef struct record {
    tenon_nd nd;                /* 0: result; 1: indices, or the source of arg_*; 2: source of gather_elements */
    const char *x, *index;
    char *y;
    int bytes;
    bool wide, last, max;
    int64_t count, length, step;                        /* results; the axis: size and stride in the source */
    int64_t picks, depth, tail, batch;                  /* gather_nd: in a batch, axes of an index, elements of a run */
    int64_t dim[TENON_MAX_RANK], stride[TENON_MAX_RANK]; /* of the indexed axes */
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const char *reject_common(const tenon_problem *p)
{
    const tenon_anchor *a = &p->anchor[0];
    if (a->post) return "a program after it";
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before it";
    for (int i = 0; i < a->node->src_count; i++) {
        if (!a->node->src[i] || tenon_problem_src(p, a->node->src[i]) < 0) return "an operand is not a source";
        const tenon_dtype t = a->node->src[i]->type.dtype;
        if (tenon_dtype_get(t)->bits < 8 || t >= TENON_STRING) return "elements without plain storage";
    }
    return tenon_problem_dst(p, a->node->dst[0]) < 0 ? "the result is not a destination" : NULL;
}

static const char *reject_index(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const char *why = reject_common(p);
    if (why) return why;
    const tenon_dtype t = p->anchor[0].node->src[1]->type.dtype;
    return t == TENON_I32 || t == TENON_I64 ? NULL : "indices are neither i32 nor i64";
}

static const char *reject_runs(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    const char *why = reject_index(p, v, device, scratch);
    if (why) return why;
    for (int i = 0; i < p->src_count; i++)
        if (p->src[i].format.layout != TENON_ROW || p->src[i].format.ld) return "not dense row-major";
    return p->dst[0].format.layout != TENON_ROW || p->dst[0].format.ld ? "not dense row-major" : NULL;
}

static const char *reject_arg(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const char *why = reject_common(p);
    if (why) return why;
    return p->anchor[0].node->src[0]->type.dtype == TENON_F32 ? NULL : "the source is not f32";
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    return TENON_OK;
}

static const tenon_tensor *source(const tenon_bind *b, int i)
{
    return &b->src[tenon_problem_src(b->problem, b->problem->anchor[0].node->src[i])];
}

static int bind_common(const tenon_bind *b, record *r)
{
    const tenon_node *n = b->problem->anchor[0].node;
    memset(r, 0, sizeof *r);
    r->x = source(b, 0)->data;
    r->y = b->dst[0].data;
    r->bytes = tenon_dtype_get(b->dst[0].dtype)->bits / 8;
    r->count = tenon_tensor_count(&b->dst[0]);
    if (n->src_count > 1) {
        r->index = source(b, 1)->data;
        r->wide = source(b, 1)->dtype == TENON_I64;
    }
    if (n->op == &tenon_op_gather_nd) return 0;
    const int64_t axis = tenon_node_int(n, "axis");
    const int at = (int)(axis < 0 ? axis + source(b, 0)->rank : axis);
    r->length = source(b, 0)->dim[at];
    r->step = source(b, 0)->stride[at];
    return at;
}

static tenon_status bind_gather_elements(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const int axis = bind_common(b, r);
    const tenon_tensor *x = source(b, 0);
    int64_t stride[TENON_MAX_RANK] = { 0 };
    for (int i = 0; i < x->rank; i++) {
        if (i != axis && source(b, 1)->dim[i] > x->dim[i])
            return TENON_FAIL(cx, TENON_INVALID, "gather_elements: the indices do not lie within the source");
        stride[i] = i == axis ? 0 : x->stride[i];
    }
    tenon_nd_init(&r->nd, x->rank, b->dst[0].dim);
    tenon_nd_add_strides(&r->nd, b->dst[0].stride);
    tenon_nd_add_strides(&r->nd, source(b, 1)->stride);
    tenon_nd_add_strides(&r->nd, stride);
    tenon_nd_merge(&r->nd);
    return TENON_OK;
}

static tenon_status bind_gather_nd(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_tensor *x = source(b, 0), *ix = source(b, 1);
    bind_common(b, r);
    const int batch = (int)tenon_node_int(b->problem->anchor[0].node, "batch_dims");
    r->depth = ix->dim[ix->rank - 1];
    bool fits = batch + r->depth <= x->rank;
    for (int i = 0; fits && i < batch; i++) fits = x->dim[i] == ix->dim[i];
    if (!fits) return TENON_FAIL(cx, TENON_INVALID, "gather_nd: the indices do not fit the source");
    r->picks = r->tail = r->batch = 1;
    for (int i = 0; i < ix->rank - 1; i++) *(i < batch ? &r->batch : &r->picks) *= ix->dim[i];
    for (int i = x->rank - 1; i >= batch; i--) {
        const int k = i - batch;
        if (k >= r->depth) r->tail *= x->dim[i];
        else r->dim[k] = x->dim[i], r->stride[k] = k + 1 < r->depth ? r->stride[k + 1] * r->dim[k + 1] : r->tail;
    }
    r->length = r->depth ? r->stride[0] * r->dim[0] : r->tail; /* elements of the source in a batch */
    return TENON_OK;
}

static tenon_status bind_arg(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const int axis = bind_common(b, r);
    const tenon_tensor *x = source(b, 0), *y = &b->dst[0];
    int64_t dim[TENON_MAX_RANK], to[TENON_MAX_RANK], from[TENON_MAX_RANK];
    for (int i = 0, k = 0; i < x->rank; i++) {
        const bool kept = i != axis;
        dim[i] = kept ? x->dim[i] : 1;
        from[i] = kept ? x->stride[i] : 0;
        to[i] = kept ? y->stride[k] : 0;
        k += kept || y->rank == x->rank;
    }
    r->max = n->op == &tenon_op_arg_max;
    r->last = tenon_node_int(n, "select_last_index") != 0;
    tenon_nd_init(&r->nd, x->rank, dim);
    tenon_nd_add_strides(&r->nd, to);
    tenon_nd_add_strides(&r->nd, from);
    tenon_nd_merge(&r->nd);
    return TENON_OK;
}

/* The index at `i`, counted from the front; -1: outside. */
static int64_t pick(const record *r, int64_t i, int64_t size)
{
    int64_t at = r->wide ? ((const int64_t *)(const void *)r->index)[i] : ((const int32_t *)(const void *)r->index)[i];
    if (at < 0) at += size;
    return at < 0 || at >= size ? -1 : at;
}

/* Every member reports its own; the cx of all but member 0 is not to be touched. */
static tenon_status outside(const tenon_worker *w, const char *op)
{
    return w->member == 0 ? TENON_FAIL(w->cx, TENON_INVALID, "%s: an index lies outside the source", op) : TENON_INVALID;
}

static tenon_status run_gather_elements(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    int64_t begin, end;
    tenon_split(r->count, 1, w->member, w->count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t at = pick(r, tenon_nd_offset(&r->nd, 1, r->nd.rank, i), r->length);
        if (at < 0) return outside(w, "gather_elements");
        memcpy(r->y + tenon_nd_offset(&r->nd, 0, r->nd.rank, i) * r->bytes,
               r->x + (tenon_nd_offset(&r->nd, 2, r->nd.rank, i) + at * r->step) * r->bytes, (size_t)r->bytes);
    }
    return TENON_OK;
}

static tenon_status run_gather_nd(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    int64_t begin, end;
    tenon_split(r->batch * r->picks, 1, w->member, w->count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        int64_t from = i / r->picks * r->length;
        for (int64_t k = 0; k < r->depth; k++) {
            const int64_t at = pick(r, i * r->depth + k, r->dim[k]);
            if (at < 0) return outside(w, "gather_nd");
            from += at * r->stride[k];
        }
        memcpy(r->y + i * r->tail * r->bytes, r->x + from * r->bytes, (size_t)(r->tail * r->bytes));
    }
    return TENON_OK;
}

static tenon_status run_arg(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    int64_t begin, end;
    tenon_split(r->count, 1, w->member, w->count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)(const void *)r->x + tenon_nd_offset(&r->nd, 1, r->nd.rank, i);
        int64_t best = 0;
        for (int64_t k = 1; k < r->length; k++) {
            const float a = x[k * r->step], b = x[best * r->step];
            if ((r->max ? a > b : a < b) || (r->last && a == b)) best = k;
        }
        ((int64_t *)(void *)r->y)[tenon_nd_offset(&r->nd, 0, r->nd.rank, i)] = best;
    }
    return TENON_OK;
}

#define PICKS(op, label, rejects, binds, runs)                                                                                   \
    const tenon_tactic tenon_cpu_##op = {                                                                                        \
        .name = label, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .reject = rejects, .plan = plan, .bind = binds,      \
        .run = runs,                                                                                                             \
    }
PICKS(gather_elements, "cpu.gather_elements", reject_index, bind_gather_elements, run_gather_elements);
PICKS(gather_nd, "cpu.gather_nd", reject_runs, bind_gather_nd, run_gather_nd);
PICKS(arg_max, "cpu.arg_max", reject_arg, bind_arg, run_arg);
PICKS(arg_min, "cpu.arg_min", reject_arg, bind_arg, run_arg);
