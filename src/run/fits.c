/* SPDX-License-Identifier: Apache-2.0 */
/* Before a step is bound its operands are compared with its problem: tactics were asked about the problem, and trust its dims and
   formats. In an engine of ours they always agree; in a damaged or hostile one the shape program could say anything. */
#include "run/context.h"

enum { SYMBOLS = 64 };
typedef struct solver { const tenon_problem *problem; int64_t value[SYMBOLS]; bool known[SYMBOLS]; } solver;

static bool in_bounds(const tenon_dim *d, int64_t v)
{
    return v >= d->lo && v <= d->hi && (d->divisor > 1 ? v % d->divisor == 0 : true);
}

/* a, or c * a */
static void learn(solver *s, const tenon_dim *d, int64_t v)
{
    int64_t factor = 1;
    if (d->kind == TENON_DIM_MUL && d->arg_count == 1) {
        factor = d->value;
        d = d->arg[0];
    }
    if (d->kind != TENON_DIM_SYM || s->known[d->value] || factor <= 0 || v % factor) return;
    s->known[d->value] = true;
    s->value[d->value] = v / factor;
}

static bool all_known(const solver *s, const tenon_dim *d)
{
    if (d->kind == TENON_DIM_SYM) return s->known[d->value];
    for (int i = 0; i < d->arg_count; i++)
        if (!all_known(s, d->arg[i])) return false;
    return true;
}

static bool dims_fit(const solver *s, const tenon_type *type, const tenon_tensor *t)
{
    if (type->dtype != t->dtype || type->rank != t->rank) return false;
    for (int i = 0; i < t->rank; i++) {
        int64_t v;
        if (!in_bounds(type->dim[i], t->dim[i])) return false;
        if (all_known(s, type->dim[i]) && (!tenon_dim_eval(type->dim[i], s->value, &v) || v != t->dim[i])) return false;
    }
    return true;
}

static bool strides_fit(const tenon_format *f, const tenon_tensor *t)
{
    if (f->layout == TENON_STRIDED || tenon_tensor_count(t) == 0) return true; /* nothing lies anywhere */
    tenon_tensor want = *t;
    tenon_format_strides(f, &want);
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] > 1 && t->stride[i] != want.stride[i]) return false;
    return true;
}

static tenon_status operands_fit(tenon_cx *cx, const solver *s, const tenon_operand *operand, const tenon_tensor *t, int count,
                                 const char *what)
{
    for (int i = 0; i < count; i++)
        if (!dims_fit(s, &operand[i].value->type, &t[i]) || (t[i].data && !strides_fit(&operand[i].format, &t[i])))
            return TENON_FAIL(cx, TENON_CORRUPT, "%s %d has another shape or layout than the problem %s", what, i,
                              s->problem->text);
    return TENON_OK;
}

static void learn_from(solver *s, const tenon_operand *operand, const tenon_tensor *t, int count)
{
    for (int i = 0; i < count; i++)
        for (int k = 0; k < TENON_MIN(t[i].rank, operand[i].value->type.rank); k++)
            learn(s, operand[i].value->type.dim[k], t[i].dim[k]);
}

tenon_status tenon_operands_fit(tenon_cx *cx, const tenon_problem *p, const tenon_tensor *src, const tenon_tensor *dst)
{
    solver s = {.problem = p};
    if (p->graph->dims->symbol_count > SYMBOLS)
        return TENON_FAIL(cx, TENON_CORRUPT, "problem with %zu symbols", p->graph->dims->symbol_count);
    learn_from(&s, p->src, src, p->src_count);
    learn_from(&s, p->dst, dst, p->dst_count);
    TENON_TRY(operands_fit(cx, &s, p->src, src, p->src_count, "source"));
    return operands_fit(cx, &s, p->dst, dst, p->dst_count, "result");
}
