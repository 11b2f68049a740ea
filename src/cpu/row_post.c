/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of results through their program. */
#include "cpu/row_post.h"

#include "base/isa.h"

#include <string.h>

const char *tenon_row_post_reject(const tenon_problem *p, const tenon_anchor *a)
{
    const tenon_value *y = a->node->dst[0];
    if (!y || tenon_class_of(y->type.dtype) != TENON_CLASS_F32) return "the result is not of the f32 class";
    if (!a->post) return tenon_problem_dst(p, y) >= 0 ? NULL : "the result is not a destination";
    if (a->post->class_ != TENON_CLASS_F32) return "the program after it does not compute in f32";
    for (int i = 0; i < a->post->result_count; i++) {
        const tenon_type *t = &a->post->result[i]->type;
        if (tenon_problem_dst(p, a->post->result[i]) < 0) return "a result of the program is not a destination";
        if (tenon_dtype_get(t->dtype)->bits < 8) return "a result of the program has no plain storage";
        if (t->rank != y->type.rank) return "the program changes the shape";
        for (int k = 0; k < t->rank; k++)
            if (t->dim[k] != y->type.dim[k]) return "the program changes the shape";
    }
    for (int i = 1; i < a->post->operand_count; i++) {
        if (a->post->operand_scalar[i]) continue;
        const tenon_value *v = a->post->operand[i];
        if (tenon_problem_src(p, v) < 0) return "an operand of the program is not a source";
        if (tenon_dtype_get(v->type.dtype)->bits < 8 ||
            v->type.rank > y->type.rank) return "an operand of the program does not fit";
    }
    return NULL;
}

int tenon_row_post_add(tenon_row_post *r, const tenon_tensor *t, int axis)
{
    const int rank = r->nd.rank + 1;
    int64_t stride[TENON_MAX_RANK] = { 0 };
    r->col[r->nd.count] = 0;
    for (int i = 0; i < t->rank; i++) {
        const int at = rank - t->rank + i;
        const int64_t s = t->dim[i] == 1 ? 0 : t->stride[i];
        if (at == axis) r->col[r->nd.count] = s;
        else stride[at < axis ? at : at - 1] = s;
    }
    r->base[r->nd.count] = t->data;
    r->bytes[r->nd.count] = tenon_dtype_get(t->dtype)->bits / 8;
    return tenon_nd_add_strides(&r->nd, stride);
}

/* The program of a step without one: its operand is its result. */
static void plain_program(tenon_program *p, tenon_value *y)
{
    memset(p, 0, sizeof *p);
    p->class_ = TENON_CLASS_F32;
    p->has_anchor = true;
    p->operand_count = p->result_count = 1;
    p->operand[0] = p->result[0] = y;
    p->result_instr[0] = -1;
}

tenon_status tenon_row_post_bind(tenon_cx *cx, const tenon_bind *b, const tenon_anchor *a, int axis, tenon_row_post *out)
{
    tenon_row_post *r = out;
    tenon_program plain;
    const tenon_program *p = a->post;
    uint8_t kind[TENON_PROGRAM_OPERANDS] = { 0 };
    int64_t dim[TENON_MAX_RANK] = { 0 };
    memset(r, 0, sizeof *r);
    if (!p) {
        plain_program(&plain, a->node->dst[0]);
        p = &plain;
    }
    const tenon_tensor *first = &b->dst[tenon_problem_dst(b->problem, p->result[0])];
    for (int i = 0, k = 0; i < first->rank; i++)
        if (i != axis) dim[k++] = first->dim[i];
    tenon_nd_init(&r->nd, first->rank - 1, dim);
    r->cols = first->dim[axis];
    r->rows = tenon_nd_count(&r->nd, r->nd.rank);
    r->operand_count = p->operand_count;
    r->result_count = p->result_count;
    for (int i = 0; i < p->operand_count; i++) {
        const tenon_tensor none = { .rank = 0 };
        const bool memory = i > 0 && !p->operand_scalar[i];
        const int t = tenon_row_post_add(r, memory ? &b->src[tenon_problem_src(b->problem, p->operand[i])] : &none, axis);
        kind[i] = i == 0 ? TENON_PW_VECTOR : tenon_pw_kind(r->col[t]);
    }
    for (int i = 0; i < p->result_count; i++) {
        const int t = tenon_row_post_add(r, &b->dst[tenon_problem_dst(b->problem, p->result[i])], axis);
        if (r->cols == 1) r->col[t] = 1;
    }
    r->in_place = !a->post && first->dtype == TENON_F32 && r->col[1] == 1;
    return tenon_pw_compile(cx, p, tenon_cpu()->isa, kind, NULL, &r->code);
}

void tenon_row_post_run(const tenon_row_post *r, int64_t row, const float *value)
{
    if (r->in_place) return;
    tenon_pw_operand operand[TENON_PROGRAM_OPERANDS];
    tenon_pw_result result[TENON_PROGRAM_RESULTS];
    operand[0] = (tenon_pw_operand){ value, 0, 1 };
    for (int i = 1; i < r->operand_count; i++) operand[i] = (tenon_pw_operand){ r->base[i] ? tenon_row_post_at(r, i, row) : NULL,
                                                                               0, r->col[i] };
    for (int i = 0; i < r->result_count; i++) {
        const int t = r->operand_count + i;
        result[i] = (tenon_pw_result){ tenon_row_post_at(r, t, row), 0, r->col[t] };
    }
    tenon_pw_run(&r->code, operand, result, 1, r->cols);
}
