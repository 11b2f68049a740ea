/* SPDX-License-Identifier: Apache-2.0 */
/* A pointwise program that stands alone: any broadcast, format and class, several results of one shape. The domain is
   collapsed in the memory order of the first result; what is left is rows x columns inside outer axes, split by rows, or by
   columns where there are few rows. */
#include "base/isa.h"
#include "base/team.h"
#include "cpu/nd.h"
#include "cpu/pw_exec.h"
#include "op/tactic.h"

enum { GRAIN = 512 }; /* columns that are worth a member */

typedef struct record {
    tenon_pw_code code;
    tenon_nd nd; /* operands, then results */
    int64_t outer, rows, cols;
    int outer_axes;
    bool by_columns;
    char *base[TENON_ND_TENSORS];
    int32_t bytes[TENON_ND_TENSORS];
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_program *program = p->program;
    if (!program) return "there is no program";
    const tenon_type *domain = &program->result[0]->type;
    for (int i = 0; i < program->result_count; i++) {
        const tenon_type *t = &program->result[i]->type;
        if (tenon_problem_dst(p, program->result[i]) < 0) return "a result is not a destination";
        if (tenon_dtype_get(t->dtype)->bits < 8) return "a result has no plain storage";
        if (t->rank != domain->rank) return "results of different shapes";
        for (int k = 0; k < t->rank; k++)
            if (t->dim[k] != domain->dim[k]) return "results of different shapes";
    }
    for (int i = 0; i < program->operand_count; i++) {
        if (program->operand_scalar[i]) continue;
        const tenon_type *t = &program->operand[i]->type;
        if (tenon_problem_src(p, program->operand[i]) < 0) return "an operand is not a source";
        if (tenon_dtype_get(t->dtype)->bits < 8) return "an operand has no plain storage";
        if (t->rank > domain->rank) return "an operand of a higher rank than the result";
    }
    return NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    out->in_place = true;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_program *p = b->problem->program;
    uint8_t kind[TENON_PROGRAM_OPERANDS] = { 0 };
    const tenon_tensor *first = &b->dst[tenon_problem_dst(b->problem, p->result[0])];
    tenon_nd_init(&r->nd, first->rank, first->dim);
    for (int i = 0; i < p->operand_count; i++) {
        tenon_tensor none = { .rank = 0 };
        const tenon_tensor *t = p->operand_scalar[i] ? &none : &b->src[tenon_problem_src(b->problem, p->operand[i])];
        const int k = tenon_nd_add(&r->nd, t);
        r->base[k] = t->data;
        r->bytes[k] = tenon_dtype_get(t->dtype)->bits / 8;
    }
    for (int i = 0; i < p->result_count; i++) {
        const tenon_tensor *t = &b->dst[tenon_problem_dst(b->problem, p->result[i])];
        const int k = tenon_nd_add(&r->nd, t);
        r->base[k] = t->data;
        r->bytes[k] = tenon_dtype_get(t->dtype)->bits / 8;
    }
    tenon_nd *nd = &r->nd;
    tenon_nd_simplify(nd, p->operand_count);
    r->outer_axes = nd->rank > 2 ? nd->rank - 2 : 0;
    r->outer = tenon_nd_count(nd, r->outer_axes);
    r->cols = nd->rank > 0 ? nd->dim[nd->rank - 1] : 1;
    r->rows = nd->rank > 1 ? nd->dim[nd->rank - 2] : 1;
    r->by_columns = r->outer * r->rows < 4 * (int64_t)b->threads && r->cols >= 2 * GRAIN;
    for (int i = 0; i < p->operand_count; i++) kind[i] = tenon_pw_kind(nd->rank > 0 ? nd->stride[i][nd->rank - 1] : 0);
    return tenon_pw_compile(cx, p, tenon_cpu()->isa, kind, NULL, &r->code);
}

/* `rows` rows from flat row `row` on, within one outer index; columns [begin, end). */
static void run_part(const record *r, int64_t row, int64_t rows, int64_t begin, int64_t end)
{
    const tenon_nd *nd = &r->nd;
    tenon_pw_operand operand[TENON_PROGRAM_OPERANDS];
    tenon_pw_result result[TENON_PROGRAM_RESULTS];
    for (int t = 0; t < nd->count; t++) {
        const int64_t by_col = nd->rank > 0 ? nd->stride[t][nd->rank - 1] : 0, by_row = nd->rank > 1 ? nd->stride[t][nd->rank - 2]
            : 0;
        const int64_t at = tenon_nd_offset(nd, t, r->outer_axes, row / r->rows) + row % r->rows * by_row + begin * by_col;
        char *p = r->base[t] ? r->base[t] + at * r->bytes[t] : NULL;
        if (t < r->code.operand_count) operand[t] = (tenon_pw_operand){ p, by_row, by_col };
        else result[t - r->code.operand_count] = (tenon_pw_result){ p, by_row, nd->rank > 0 ? by_col : 1 };
    }
    tenon_pw_run(&r->code, operand, result, rows, end - begin);
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    int64_t row = 0, last = r->outer * r->rows, begin = 0, end = r->cols;
    if (r->by_columns) tenon_split(r->cols, 64, w->member, w->count, &begin, &end);
    else tenon_split(last, 1, w->member, w->count, &row, &last);
    if (begin == end) return TENON_OK;
    while (row < last) {
        const int64_t n = TENON_MIN(r->rows - row % r->rows, last - row);
        run_part(r, row, n, begin, end);
        row += n;
    }
    return TENON_OK;
}

const tenon_tactic tenon_cpu_pointwise = {
    .name = "cpu.pointwise", .pattern = "pointwise", .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan,
    .bind = bind, .run = run,
};
