/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of a table by their numbers: dst[outer][pick][inner] = data[outer][index[pick]][inner], inner contiguous on both sides. Any
   element type of plain storage is copied; rows of f32 may go through a program instead, read where they lie in the table: the
   sum of the embeddings of a word, its place and its type is one step. */
#include "base/team.h"
#include "cpu/backend.h"
#include "cpu/row_post.h"

#include <string.h>

typedef struct record {
    const char *data, *index;
    char *dst;
    int64_t outer, picks, inner, axis_dim;
    int64_t lines; /* rows of the program in an inner part */
    int bytes;
    bool wide, program;
    tenon_row_post post;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static bool is_row_major(const tenon_operand *o) { return o->format.layout == TENON_ROW && o->format.ld == 0; }
static int element_bytes(tenon_dtype t) { return tenon_dtype_get(t)->bits / 8; }

static int axis_of(const tenon_node *n)
{
    const int64_t axis = tenon_node_int(n, "axis");
    return (int)(axis < 0 ? axis + n->src[0]->type.rank : axis);
}

static const char *reject_program(const tenon_problem *p)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    if (n->src[0]->type.dtype != TENON_F32) return "a program on rows that are not f32";
    if (axis_of(n) == n->src[0]->type.rank - 1) return "a program after a gather along the last axis";
    const char *why = tenon_row_post_reject(p, a);
    if (why) return why;
    for (int i = 0; i < p->dst_count; i++)
        if (p->dst[i].format.layout == TENON_STRIDED) return "a result in an order that is not known at build";
    return NULL;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before a gather";
    const int data = tenon_problem_src(p, n->src[0]), index = tenon_problem_src(p, n->src[1]);
    if (data < 0 || index < 0) return "table or indices are not a source of the problem";
    if (tenon_dtype_get(n->src[0]->type.dtype)->bits < 8 || n->src[0]->type.dtype >= TENON_STRING)
        return "elements without plain storage";
    if (!is_row_major(&p->src[data]) || !is_row_major(&p->src[index])) return "not dense row-major";
    const tenon_dtype t = n->src[1]->type.dtype;
    if (t != TENON_I32 && t != TENON_I64) return "indices are neither i32 nor i64";
    if (a->post) return reject_program(p);
    if (tenon_problem_dst(p, n->dst[0]) < 0) return "the result is not a destination";
    return is_row_major(&p->dst[0]) ? NULL : "not dense row-major";
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    return TENON_OK;
}

/* Only the picked rows are read, not the table. */
static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src,
                   const tenon_tensor *dst)
{
    (void)v;
    const tenon_device_info *info = tenon_backend_cpu.info(device);
    double bytes = 2.0 * (double)tenon_tensor_count(&dst[0]) * element_bytes(dst[0].dtype);
    for (int i = 0; i < p->src_count; i++)
        if (p->src[i].value != p->anchor[0].node->src[0]) bytes += (double)tenon_tensor_count(&src[i]) * element_bytes(src[i].dtype);
    return info->step_seconds + bytes / info->bandwidth;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_anchor *a = &b->problem->anchor[0];
    const tenon_tensor *data = &b->src[tenon_problem_src(b->problem, a->node->src[0])];
    const tenon_tensor *index = &b->src[tenon_problem_src(b->problem, a->node->src[1])];
    const int axis = axis_of(a->node);
    memset(r, 0, sizeof *r);
    r->data = data->data;
    r->index = index->data;
    r->dst = b->dst[0].data;
    r->outer = r->inner = 1;
    for (int i = 0; i < axis; i++) r->outer *= data->dim[i];
    for (int i = axis + 1; i < data->rank; i++) r->inner *= data->dim[i];
    r->axis_dim = data->dim[axis];
    r->picks = tenon_tensor_count(index);
    r->bytes = element_bytes(data->dtype);
    r->wide = index->dtype == TENON_I64;
    r->program = a->post != NULL;
    r->lines = 1;
    if (!a->post) return TENON_OK;
    TENON_TRY(tenon_row_post_bind(cx, b, a, b->dst[0].rank - 1, &r->post));
    tenon_row_post_seal(&r->post);
    r->lines = r->post.cols ? r->inner / r->post.cols : 0;
    return TENON_OK;
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const int64_t inner_bytes = r->inner * r->bytes;
    int64_t begin, end;
    tenon_split(r->outer * r->picks, 1, w->member, w->count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t pick = i % r->picks;
        int64_t at = r->wide ? ((const int64_t *)(const void *)r->index)[pick] : ((const int32_t *)(const void *)r->index)[pick];
        if (at < 0) at += r->axis_dim;
        if (at < 0 || at >= r->axis_dim) /* every member reports its own; the cx of all but member 0 is not to be touched */
            return w->member == 0 ? TENON_FAIL(w->cx, TENON_INVALID, "gather: index %lld of %lld", (long long)at,
                                               (long long)r->axis_dim)
                                  : TENON_INVALID;
        const char *from = r->data + (i / r->picks * r->axis_dim + at) * inner_bytes;
        if (!r->program) memcpy(r->dst + i * inner_bytes, from, (size_t)inner_bytes);
        else
            for (int64_t k = 0; k < r->lines; k++)
                tenon_row_post_run(&r->post, i * r->lines + k, (const float *)(const void *)from + k * r->post.cols);
    }
    return TENON_OK;
}

const tenon_tactic tenon_cpu_gather = {
    .name = "cpu.gather", .pattern = "gather", .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan, .bind = bind,
    .run = run, .cost = cost,
};
