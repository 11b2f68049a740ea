/* SPDX-License-Identifier: Apache-2.0 */
/* Epilogues of the f32 products and convolutions: recognising what the kernels do in registers, addresses of everything else. */
#include "cpu/epilogue_f32.h"

#include <math.h>
#include <string.h>

tenon_roles tenon_roles_image(int rank)
{
    tenon_roles r = {.rank = rank, .of = {0, TENON_ROLE_COLUMN, TENON_ROLE_Y, TENON_ROLE_X}};
    if (rank == 3) r.of[2] = TENON_ROLE_X;
    return r;
}

tenon_roles tenon_roles_matrix(int rank)
{
    tenon_roles r = {.rank = rank};
    for (int i = 0; i < rank - 2; i++) r.of[i] = (uint8_t)i;
    r.of[rank - 2] = TENON_ROLE_X;
    r.of[rank - 1] = TENON_ROLE_COLUMN;
    return r;
}

void tenon_domain_of(const tenon_tensor *result, const tenon_roles *roles, tenon_domain *out)
{
    *out = (tenon_domain){.y = 1, .x = 1, .columns = 1};
    for (int i = 0; i < roles->rank; i++) {
        const int64_t dim = result->dim[i];
        if (roles->of[i] == TENON_ROLE_Y) out->y = dim;
        else if (roles->of[i] == TENON_ROLE_X) out->x = dim;
        else if (roles->of[i] == TENON_ROLE_COLUMN) out->columns = dim;
        else out->outer[roles->of[i]] = dim, out->outer_rank = TENON_MAX(out->outer_rank, roles->of[i] + 1);
    }
}

void tenon_map_of(const tenon_tensor *t, const tenon_roles *roles, tenon_map *out)
{
    *out = (tenon_map){.base = t->data, .bytes = tenon_dtype_get(t->dtype)->bits / 8};
    for (int i = 0; i < t->rank; i++) {
        const int64_t stride = t->dim[i] == 1 ? 0 : t->stride[i];
        const int role = roles->of[roles->rank - t->rank + i];
        if (role == TENON_ROLE_Y) out->y = stride;
        else if (role == TENON_ROLE_X) out->x = stride;
        else if (role == TENON_ROLE_COLUMN) out->column = stride;
        else out->outer[role] = stride;
    }
}

int64_t tenon_map_outer(const tenon_map *m, const tenon_domain *d, int64_t outer)
{
    int64_t offset = 0;
    for (int i = d->outer_rank - 1; i >= 0; i--) {
        offset += outer % d->outer[i] * m->outer[i];
        outer /= d->outer[i];
    }
    return offset;
}

bool tenon_format_contiguous(const tenon_operand *o, int axis)
{
    const tenon_type *t = &o->value->type;
    uint8_t order[TENON_MAX_RANK];
    if (o->format.layout == TENON_STRIDED) return false;
    tenon_format_order(&o->format, t->rank, order);
    for (int i = t->rank - 1; i >= 0; i--) {
        if (order[i] == axis) return !o->format.ld || t->rank - 1 - i < TENON_MAX(o->format.inner, 1);
        if (!tenon_dim_is(t->dim[order[i]], 1)) return false;
    }
    return false;
}

/* ---- what may stand after the anchor ---- */
static const char *reject_result(const tenon_problem *p, const tenon_value *v, const tenon_roles *roles)
{
    const int dst = tenon_problem_dst(p, v);
    if (dst < 0) return "a result of the program is not a destination";
    for (int i = 0; i < roles->rank; i++)
        if (roles->of[i] == TENON_ROLE_COLUMN && !tenon_dim_is(v->type.dim[i], 1) && !tenon_format_contiguous(&p->dst[dst], i))
            return "columns of the destination are not contiguous";
    return NULL;
}

const char *tenon_epilogue_f32_reject(const tenon_problem *p, const tenon_anchor *a, const tenon_roles *roles)
{
    const tenon_value *y = a->node->dst[0];
    if (!y || y->type.dtype != TENON_F32) return "the result is not f32";
    if (!a->post) return reject_result(p, y, roles);
    if (a->post->class_ != TENON_CLASS_F32) return "the program after it does not compute in f32";
    for (int i = 1; i < a->post->operand_count; i++) {
        if (a->post->operand_scalar[i]) continue;
        const tenon_value *v = a->post->operand[i];
        if (tenon_problem_src(p, v) < 0) return "an operand of the program is not a source";
        if (tenon_dtype_get(v->type.dtype)->bits < 8) return "an operand of the program has no plain storage";
        if (v->type.rank > roles->rank) return "an operand of the program has a higher rank";
    }
    for (int i = 0; i < a->post->result_count; i++) {
        if (a->post->result[i]->type.rank != roles->rank) return "the program changes the rank";
        const char *why = reject_result(p, a->post->result[i], roles);
        if (why) return why;
    }
    return NULL;
}

/* ---- binding ---- */
/* One f32 value a column, whatever the row. */
static bool is_vector(const tenon_map *m, const tenon_domain *d, tenon_dtype dtype)
{
    if (dtype != TENON_F32 || m->y || m->x || (m->column != 1 && d->columns > 1)) return false;
    for (int i = 0; i < d->outer_rank; i++)
        if (m->outer[i] && d->outer[i] > 1) return false;
    return true;
}

/* If the first instruction adds a vector to the anchor and nothing else reads the anchor, drops it from the program and gives the
   vector's operand, else 0. */
static int take_bias(tenon_program *p, const tenon_epilogue_f32 *e, const tenon_domain *d)
{
    const tenon_instr *first = &p->instr[0];
    if (p->instr_count < 1 || first->op != &tenon_op_add) return 0;
    const int operand = first->src[0] == -1 ? ~first->src[1] : first->src[1] == -1 ? ~first->src[0] : 0;
    if (operand <= 0 || p->operand_scalar[operand]) return 0;
    if (!is_vector(&e->operand[operand], d, p->operand[operand]->type.dtype)) return 0;
    for (int i = 1; i < p->instr_count; i++)
        for (int k = 0; k < p->instr[i].op->pw->arity; k++)
            if (p->instr[i].src[k] == -1) return 0;
    for (int i = 0; i < p->result_count; i++)
        if (p->result_instr[i] == -1) return 0;
    for (int i = 1; i < p->instr_count; i++) {
        p->instr[i - 1] = p->instr[i];
        for (int k = 0; k < TENON_PW_ARITY; k++)
            if (p->instr[i - 1].src[k] >= 0) p->instr[i - 1].src[k]--; /* 0, the sum, becomes ~0, the anchor */
    }
    for (int i = 0; i < p->result_count; i++)
        if (p->result_instr[i] >= 0) p->result_instr[i]--;
    p->instr_count--;
    return operand;
}

/* The remaining program is [+ residual] [relu | clip] with one f32 result: fills the direct fields. */
static bool is_direct(const tenon_program *p, const tenon_domain *d, tenon_epilogue_f32 *e)
{
    if (p->result_count != 1 || p->result[0]->type.dtype != TENON_F32) return false;
    if (e->result[0].column != 1 && d->columns > 1) return false;
    int i = 0, sum = -1; /* the operand or instruction that holds the sum so far */
    if (i < p->instr_count && p->instr[i].op == &tenon_op_add) {
        const tenon_instr *in = &p->instr[i];
        const int operand = in->src[0] == sum ? ~in->src[1] : in->src[1] == sum ? ~in->src[0] : 0;
        if (operand <= 0 || p->operand_scalar[operand] || p->operand[operand]->type.dtype != TENON_F32) return false;
        if (e->operand[operand].column != 1 && d->columns > 1) return false;
        e->add = e->operand[operand];
        e->has_add = true;
        sum = i++;
    }
    if (i < p->instr_count && p->instr[i].src[0] == sum) {
        const tenon_instr *in = &p->instr[i];
        if (in->op == &tenon_op_relu) {
            e->lo = 0, e->hi = INFINITY;
        } else if (in->op == &tenon_op_clip && in->src[1] < 0 && in->src[2] < 0 && p->operand_scalar[~in->src[1]] &&
                   p->operand_scalar[~in->src[2]]) {
            e->lo = (float)p->operand_value[~in->src[1]], e->hi = (float)p->operand_value[~in->src[2]];
        } else return false;
        e->clamp = true;
        sum = i++;
    }
    return i == p->instr_count && p->result_instr[0] == sum;
}

static tenon_status bind_program(tenon_cx *cx, const tenon_bind *b, const tenon_roles *roles, const tenon_domain *d,
                                 bool has_bias, bool can_add, unsigned isa, tenon_program *p, tenon_epilogue_f32 *e)
{
    uint8_t kind[TENON_PROGRAM_OPERANDS] = {TENON_PW_VECTOR};
    e->operand_count = p->operand_count;
    e->result_count = p->result_count;
    for (int i = 1; i < p->operand_count; i++) {
        kind[i] = TENON_PW_SPLAT;
        if (p->operand_scalar[i]) continue;
        const int src = tenon_problem_src(b->problem, p->operand[i]);
        if (src < 0) return TENON_FAIL(cx, TENON_INTERNAL, "operand %d of the program is not a source", i);
        tenon_map_of(&b->src[src], roles, &e->operand[i]);
        kind[i] = tenon_pw_kind(e->operand[i].column);
    }
    for (int i = 0; i < p->result_count; i++) {
        const int dst = tenon_problem_dst(b->problem, p->result[i]);
        if (dst < 0) return TENON_FAIL(cx, TENON_INTERNAL, "result %d of the program is not a destination", i);
        tenon_map_of(&b->dst[dst], roles, &e->result[i]);
    }
    const int bias = has_bias ? 0 : take_bias(p, e, d);
    if (bias) e->start = (const float *)(const void *)e->operand[bias].base;
    e->direct = is_direct(p, d, e) && (can_add || !e->has_add);
    return e->direct ? TENON_OK : tenon_pw_compile(cx, p, isa, kind, NULL, &e->code);
}

tenon_status tenon_epilogue_f32_bind(tenon_cx *cx, const tenon_bind *b, const tenon_anchor *a, const tenon_roles *roles,
                                     const tenon_domain *d, const tenon_tensor *bias, bool can_add, unsigned isa,
                                     tenon_epilogue_f32 *out)
{
    memset(out, 0, sizeof *out);
    out->start = bias ? bias->data : NULL;
    if (a->post) {
        tenon_program p = *a->post;
        TENON_TRY(bind_program(cx, b, roles, d, bias != NULL, can_add, isa, &p, out));
    } else {
        const int dst = tenon_problem_dst(b->problem, a->node->dst[0]);
        if (dst < 0) return TENON_FAIL(cx, TENON_INTERNAL, "the result is not a destination");
        tenon_map_of(&b->dst[dst], roles, &out->result[0]);
        out->direct = true;
        out->result_count = 1;
    }
    out->flat = true;
    for (int i = 0; i < out->result_count; i++) out->flat &= tenon_map_flat(&out->result[i], d);
    for (int i = 1; i < out->operand_count; i++) out->flat &= tenon_map_flat(&out->operand[i], d);
    return TENON_OK;
}

void tenon_epilogue_f32_run(const tenon_epilogue_f32 *e, const tenon_domain *d, int64_t outer, int64_t row, int64_t rows,
                            int64_t column, int64_t columns, const float *tile, int64_t tile_ld)
{
    tenon_pw_operand operand[TENON_PROGRAM_OPERANDS];
    tenon_pw_result result[TENON_PROGRAM_RESULTS];
    operand[0] = (tenon_pw_operand){.base = tile, .row_stride = tile_ld, .col_stride = 1};
    for (int i = 1; i < e->operand_count; i++) {
        const tenon_map *m = &e->operand[i];
        const char *at = m->base ? tenon_map_at(m, d, tenon_map_outer(m, d, outer), row, column) : NULL;
        operand[i] = (tenon_pw_operand){at, m->x, m->column};
    }
    for (int i = 0; i < e->result_count; i++) {
        const tenon_map *m = &e->result[i];
        result[i] = (tenon_pw_result){tenon_map_at(m, d, tenon_map_outer(m, d, outer), row, column), m->x, 1};
    }
    tenon_pw_run(&e->code, operand, result, rows, columns);
}
