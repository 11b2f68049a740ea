/* SPDX-License-Identifier: Apache-2.0 */
/* Before a step is bound its operands are compared with its problem: tactics were asked about the problem, and trust its dims and
   formats. In an engine of ours they always agree; in a damaged or hostile one the shape program could say anything. */
#include "op/symbols.h"
#include "run/context.h"

typedef struct solver { const tenon_problem *problem; tenon_symbols symbols; } solver;

static bool in_bounds(const tenon_dim *d, int64_t v)
{
    return v >= d->lo && v <= d->hi && (d->divisor > 1 ? v % d->divisor == 0 : true);
}

static bool dims_fit(const solver *s, const tenon_type *type, const tenon_tensor *t)
{
    if (type->dtype != t->dtype || type->rank != t->rank) return false;
    for (int i = 0; i < t->rank; i++) {
        int64_t v;
        if (!in_bounds(type->dim[i], t->dim[i])) return false;
        if (tenon_symbols_know(&s->symbols, type->dim[i]) &&
            (!tenon_symbols_eval(&s->symbols, type->dim[i], &v) || v != t->dim[i]))
            return false;
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

tenon_status tenon_operands_fit(tenon_cx *cx, const tenon_problem *p, const tenon_tensor *src, const tenon_tensor *dst)
{
    solver s = {.problem = p};
    if (p->graph->dims->symbol_count > TENON_SYMBOLS_MAX)
        return TENON_FAIL(cx, TENON_CORRUPT, "problem with %zu symbols", p->graph->dims->symbol_count);
    for (int i = 0; i < p->src_count; i++) tenon_symbols_learn(&s.symbols, &p->src[i].value->type, &src[i]);
    for (int i = 0; i < p->dst_count; i++) tenon_symbols_learn(&s.symbols, &p->dst[i].value->type, &dst[i]);
    TENON_TRY(operands_fit(cx, &s, p->src, src, p->src_count, "source"));
    return operands_fit(cx, &s, p->dst, dst, p->dst_count, "result");
}
