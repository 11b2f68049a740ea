/* SPDX-License-Identifier: Apache-2.0 */
/* A problem with numbers in it: sources filled by mode and seed within what the operators define (indices inside, variances not
   negative), with poison between the pitches, and the results of the references. */
#include "tenoncheck.h"

#include <float.h>
#include <math.h>
#include <string.h>

const char *const check_mode_name[MODE_COUNT] = {"random", "denormal", "nonfinite", "extreme", "zero"};

/* ---- what a source may hold ---- */
typedef enum { FILL_ANY, FILL_INDEX, FILL_LENGTH, FILL_POSITIVE, FILL_SMALL, FILL_BOXES, FILL_DIVISOR, FILL_EXPONENT, FILL_BELOW } fill_rule;
typedef struct fill_row { const char *op; int src; fill_rule rule; } fill_row;

/* INDEX: below the size of the axis that it indexes, negative ones too; BELOW: without these; LENGTH: 1..size; SMALL: 1..3. */
static const fill_row fill_rows[] = {
    {"gather", 1, FILL_INDEX}, {"gather_elements", 1, FILL_INDEX}, {"gather_nd", 1, FILL_INDEX}, {"scatter_elements", 1,
        FILL_INDEX},
    {"scatter_nd", 1, FILL_INDEX}, {"one_hot", 0, FILL_INDEX}, {"one_hot", 1, FILL_SMALL}, {"reverse_sequence", 1, FILL_LENGTH},
    {"roi_align", 1, FILL_BOXES}, {"roi_align", 2, FILL_BELOW}, {"non_max_suppression", 0, FILL_BOXES},
    {"non_max_suppression", 2, FILL_SMALL}, {"batch_norm", 4, FILL_POSITIVE}, {"bit_shift", 1, FILL_SMALL}, {"top_k", 1,
        FILL_SMALL},
    {"tile", 1, FILL_SMALL}, {"trilu", 1, FILL_SMALL}, {"range", 0, FILL_SMALL}, {"range", 1, FILL_LENGTH}, {"range", 2,
        FILL_SMALL},
    {"constant_of_shape", 0, FILL_SMALL}, {"pad", 1, FILL_SMALL}, {"mod", 1, FILL_DIVISOR}, {"div", 1, FILL_DIVISOR},
    {"pow", 1, FILL_EXPONENT}, {"cum_sum", 1, FILL_INDEX}, {"nms_chosen", 0, FILL_BOXES},
};

typedef struct source { fill_rule rule; int64_t bound; } source;

static int64_t dim_of(const subject *s, const tenon_value *v, int axis)
{
    int64_t d = 1;
    if (!v || axis >= v->type.rank || !tenon_dim_eval(v->type.dim[axis], s->symbol, &d)) return 1;
    return TENON_MAX(d, 1);
}

/* The size that indices of this operator must stay below; for tuples the smallest of the indexed axes. */
static int64_t index_bound(const subject *s, const tenon_node *n)
{
    const tenon_value *data = n->src[0];
    const char *name = n->op->name;
    if (!strcmp(name, "one_hot")) return 2;
    if (!strcmp(name, "range")) return 9;
    if (!strcmp(name, "cum_sum")) return data->type.rank;
    if (!strcmp(name, "roi_align")) return dim_of(s, data, 0);
    if (!strcmp(name, "reverse_sequence")) return dim_of(s, data, (int)tenon_node_int(n, "time_axis"));
    if (!strcmp(name, "gather_nd") || !strcmp(name, "scatter_nd")) {
        int64_t least = INT64_MAX;
        for (int i = 0; i < data->type.rank; i++) least = TENON_MIN(least, dim_of(s, data, i));
        return least;
    }
    int64_t axis = tenon_attr_find(n->op, "axis") >= 0 ? tenon_node_int(n, "axis") : 0;
    if (axis < 0) axis += data->type.rank;
    return dim_of(s, data, (int)axis);
}

static source source_rule(const subject *s, const tenon_value *v)
{
    const tenon_graph *g = s->problem->graph;
    for (size_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->src_count; k++)
            for (size_t r = 0; g->node[i]->src[k] == v && r < TENON_COUNTOF(fill_rows); r++)
                if (fill_rows[r].src == k && !strcmp(fill_rows[r].op, g->node[i]->op->name))
                    return (source){fill_rows[r].rule, index_bound(s, g->node[i])};
    return (source){FILL_ANY, 0};
}

/* ---- numbers ---- */
static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
static double unit(uint64_t *state) { return (double)(next(state) >> 11) * 0x1p-53; }
static double noise(uint64_t *state) { return 2 * unit(state) - 1; }

typedef struct numbers {
    uint64_t state;
    check_mode mode;
    tenon_dtype dtype;
    source rule;
    bool anchor, weight; /* the problem has anchors: sums must stay finite and their order must not decide */
    double scale;        /* of EXTREME with anchors: one a tensor */
} numbers;

static const float special[] = {
    0.0f, -0.0f, 1.0f, -1.0f, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 3.0f, -3.0f, 6.0f, 88.0f, 88.8f, 89.5f, -87.5f, -88.8f, -104.0f,
    127.5f, 1e-8f, -1e-8f,
    0.999999f, -0.999999f, 1.000001f, 8388607.5f, 16777216.0f, -16777217.0f, 2147483648.0f, -2147483904.0f, 1e10f, -1e10f, 1e19f,
    -1e19f, 1e30f, -1e30f, FLT_MAX, -FLT_MAX, FLT_MIN, -FLT_MIN, FLT_EPSILON, 9.0f, -9.0f, 10.1f, -15.0f, 20.0f, -20.0f,
};

static double plain(numbers *n)
{
    if (n->anchor) return noise(&n->state);
    const uint64_t pick = next(&n->state) % 8;
    return noise(&n->state) * (pick < 4 ? 2 : pick < 7 ? 12 : 90);
}

static double real(numbers *n)
{
    const int mode = n->mode;
    if (n->rule.rule == FILL_POSITIVE) return 0.25 + unit(&n->state);
    if (n->rule.rule == FILL_BOXES) return unit(&n->state) * 8;
    if (mode == MODE_ZERO) return 0;
    if (mode == MODE_DENORMAL)
        return noise(&n->state) * (n->dtype == TENON_F16 ? 6e-5 : n->dtype == TENON_F64 ? 2e-308 : 1e-38) * (next(&n->state) % 4
            ? 1 : 1e-3);
    if (mode == MODE_NONFINITE && !n->weight && next(&n->state) % 61 == 0) {
        const uint64_t pick = next(&n->state) % 3;
        return pick == 0 ? INFINITY : pick == 1 ? -INFINITY : NAN;
    }
    if (mode == MODE_EXTREME && n->anchor) return noise(&n->state) * n->scale;
    if (mode == MODE_EXTREME && next(&n->state) % 4) return special[next(&n->state) % TENON_COUNTOF(special)];
    return plain(n);
}

static int64_t whole(numbers *n)
{
    const tenon_dtype_info *info = tenon_dtype_get(n->dtype);
    const bool sign = info->kind == TENON_KIND_INT;
    const uint64_t r = next(&n->state);
    const int64_t bound = TENON_MAX(n->rule.bound, 1);
    switch (n->rule.rule) {
    case FILL_INDEX: return sign && r >> 60 == 0 ? -1 - (int64_t)(r % (uint64_t)bound) : (int64_t)(r % (uint64_t)bound);
    case FILL_BELOW: return (int64_t)(r % (uint64_t)bound);
    case FILL_LENGTH: return 1 + (int64_t)(r % (uint64_t)bound);
    case FILL_SMALL: return 1 + (int64_t)(r % 3);
    case FILL_EXPONENT: return (int64_t)(r % 4);
    default: break;
    }
    if (n->mode == MODE_ZERO) return 0;
    if (n->mode == MODE_EXTREME && !n->anchor) {
        const int bits = info->bits;
        const int64_t top = sign ? (int64_t)(UINT64_MAX >> (65 - bits)) : (int64_t)(UINT64_MAX >> (64 - bits));
        const int64_t ends[] = {0, 1, top, sign ? -top - 1 : top - 1, sign ? -1 : 2};
        return ends[r % 5];
    }
    const int64_t v = sign ? (int64_t)(r % 201) - 100 : (int64_t)(r % 101);
    return n->rule.rule == FILL_DIVISOR && v == 0 ? 3 : v;
}

static void fill(const subject *s, const tenon_problem *p, int index, tenon_tensor *t)
{
    numbers n = {.state = s->seed + (uint64_t)index * 7919, .mode = s->mode, .dtype = t->dtype, .anchor = p->anchor_count > 0,
                 .weight = p->src[index].format.weight, .rule = source_rule(s, p->src[index].value)};
    n.scale = ldexp(1, next(&n.state) % 2 ? 20 : -20);
    if (tenon_is_float(t->dtype) && tenon_dtype_get(t->dtype)->bits <= 16) n.scale = ldexp(1, n.scale > 1 ? 2 : -4);
    const int64_t count = tenon_tensor_count(t);
    int64_t at[TENON_MAX_RANK] = {0}, offset = 0;
    for (int64_t i = 0; i < count; i++) {
        if (tenon_is_float(t->dtype)) tenon_tensor_set_f64(t, offset, real(&n));
        else if (t->dtype == TENON_BOOL) tenon_tensor_set_i64(t, offset, s->mode != MODE_ZERO && next(&n.state) >> 63);
        else tenon_tensor_set_i64(t, offset, whole(&n));
        for (int k = t->rank - 1; k >= 0; k--) {
            offset += t->stride[k];
            if (++at[k] < t->dim[k]) break;
            offset -= at[k] * t->stride[k];
            at[k] = 0;
        }
    }
}

/* ---- the subject ---- */

/* ':any': an order and a pitch that no other format has. */
static void odd_strides(tenon_tensor *t)
{
    int64_t step = 1;
    for (int i = 0; i < t->rank; i++) {
        t->stride[i] = step;
        step = step * TENON_MAX(t->dim[i], 1) + 3;
    }
}

static size_t bytes_of(const tenon_tensor *t)
{
    int64_t last = 1;
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] == 0) return 0;
        last += (t->dim[i] - 1) * t->stride[i];
    }
    return tenon_dtype_bytes(t->dtype, (size_t)last);
}

bool problem_is_data_dependent(const tenon_problem *p)
{
    for (size_t i = 0; i < p->graph->dims->symbol_count; i++)
        if (p->graph->dims->symbol[i].data_dependent) return true;
    return false;
}

bool mode_applies(const tenon_problem *p, check_mode mode)
{
    bool floats = false;
    for (int i = 0; i < p->src_count; i++) floats = floats || tenon_is_float(p->src[i].value->type.dtype);
    if (mode == MODE_RANDOM || mode == MODE_ZERO || mode == MODE_EXTREME) return true;
    if (mode == MODE_DENORMAL) return floats;
    /* what interpolates multiplies neighbours by weights that may be zero or not read them at all: both are right */
    static const char *const free_choice[] = {"resize", "grid_sample", "roi_align"};
    /* what a hidden key holds may be left out or be multiplied by zero */
    for (int i = 0; i < p->anchor_count; i++) {
        const tenon_node *n = p->anchor[i].node;
        if (n->op == &tenon_op_attention && (n->src_count > 3 || tenon_node_int(n, "is_causal"))) return false;
    }
    for (size_t i = 0; i < p->graph->node_count; i++)
        for (size_t k = 0; k < TENON_COUNTOF(free_choice); k++)
            if (!strcmp(p->graph->node[i]->op->name, free_choice[k])) return false;
    return floats;
}

/* What the operators of the problem permit together. A result of a small type is rounded to it once, the reference rounds after
   every operator. */
double subject_tolerance(const tenon_problem *p)
{
    double sum = 0, coarse = 0;
    for (size_t i = 0; i < p->graph->node_count; i++) {
        const tenon_node *n = p->graph->node[i];
        const tenon_dtype t = n->dst[0] ? n->dst[0]->type.dtype : TENON_F32;
        sum += t == TENON_F64 ? n->op->tol * 1e-6 : n->op->tol;
        coarse += t == TENON_F16 ? 0x1p-10 : t == TENON_BF16 ? 0x1p-7 : t == TENON_F8E4M3 ? 0x1p-3 : t == TENON_F8E5M2 ? 0x1p-2
            : 0;
    }
    return sum > 0 || p->graph->node_count > 1 ? sum + coarse : sum;
}

static tenon_status make_source(subject *s, int i)
{
    tenon_tensor *t = &s->src[i];
    if (s->problem->src[i].format.layout == TENON_STRIDED) odd_strides(t);
    s->src_bytes[i] = bytes_of(t);
    s->src_block[i] = tenon_heap_alloc(&s->heap, s->src_bytes[i] + 1);
    if (!s->src_block[i]) return TENON_NOMEM;
    memset(s->src_block[i], 0xff, s->src_bytes[i]);
    t->data = s->src_block[i];
    fill(s, s->problem, i, t);
    return TENON_OK;
}

/* Of the types that flushing changes; 0: others. */
double smallest_normal(tenon_dtype t) { return t == TENON_F32 || t == TENON_BF16 ? FLT_MIN : t == TENON_F64 ? DBL_MIN : 0; }

/* A team's members flush denormals (base/team.c): where a result depends on that, either answer is right. */
static tenon_status evaluate_flushed(tenon_cx *cx, const tenon_problem *p, subject *s)
{
    tenon_tensor src[TENON_PROBLEM_SRC];
    for (int i = 0; i < p->src_count; i++) {
        src[i] = s->src[i];
        const double least = smallest_normal(src[i].dtype);
        if (least == 0) continue;
        src[i].data = tenon_heap_alloc(&s->heap, s->src_bytes[i] + 1);
        if (!src[i].data) return TENON_NOMEM;
        for (size_t k = 0, count = s->src_bytes[i] / tenon_dtype_bytes(src[i].dtype, 1); k < count; k++) {
            const double v = tenon_tensor_get_f64(&s->src[i], (int64_t)k);
            tenon_tensor_set_f64(&src[i], (int64_t)k, fabs(v) < least ? copysign(0, v) : v);
        }
    }
    return tenon_eval_graph(cx, p->graph, src, p->src_count, s->flushed, p->dst_count, &s->heap, NULL, NULL);
}

tenon_status subject_make(tenon_cx *cx, const tenon_problem *p, const int64_t *symbol, check_mode mode, uint64_t seed,
                          bool reference,
                          subject *out)
{
    memset(out, 0, sizeof *out);
    out->cx = cx, out->problem = p, out->mode = mode, out->seed = seed, out->tolerance = subject_tolerance(p);
    memcpy(out->symbol, symbol, sizeof out->symbol);
    tenon_heap_init(&out->heap, cx);
    if (problem_is_data_dependent(p)) {
        for (int i = 0; i < p->src_count; i++) {
            const tenon_type *t = &p->src[i].value->type;
            out->src[i] = (tenon_tensor){.dtype = t->dtype, .rank = t->rank};
            for (int k = 0; k < t->rank; k++)
                if (!tenon_dim_eval(t->dim[k], symbol, &out->src[i].dim[k])) return TENON_FAIL(cx, TENON_INVALID,
                    "source without a size");
            tenon_format_strides(&p->src[i].format, &out->src[i]);
        }
    } else {
        TENON_TRY(tenon_problem_shapes(cx, p, symbol, out->src, out->dst));
    }
    for (int i = 0; i < p->src_count; i++) TENON_TRY(make_source(out, i));
    for (int i = 0; i < p->dst_count; i++) {
        if (p->dst[i].format.layout == TENON_STRIDED) odd_strides(&out->dst[i]);
        out->dst_bytes[i] = bytes_of(&out->dst[i]);
    }
    if (!reference) return TENON_OK;
    /* the shapes that parameters of symbols are reckoned from; there is no data to put results in */
    for (int i = 0; i < p->dst_count; i++) out->want[i] = out->flushed[i] = out->dst[i];
    TENON_TRY(tenon_eval_graph(cx, p->graph, out->src, p->src_count, out->want, p->dst_count, &out->heap, NULL, NULL));
    if (mode != MODE_DENORMAL) return TENON_OK;
    return evaluate_flushed(cx, p, out);
}

void subject_free(subject *s)
{
    if (s->heap.cx) tenon_heap_free(&s->heap);
    memset(s, 0, sizeof *s);
}
