/* SPDX-License-Identifier: Apache-2.0 */
/* A problem's canonical form, its anchors with the programs around them, and what can be computed from its formats and shapes.
   The canonical form is a fixed point: text -> graph -> the same text. */
#include "op/problem_text.h"

#include "base/checked.h"
#include "op/symbols.h"

#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

/* ---- formats ---- */

void tenon_format_order(const tenon_format *f, int rank, uint8_t *order)
{
    for (int i = 0; i < rank; i++) order[i] = f->layout == TENON_ORDER ? f->order[i] : (uint8_t)i;
    if (f->layout != TENON_CLAST || rank < 3) return;
    for (int i = 1; i < rank - 1; i++) order[i] = (uint8_t)(i + 1);
    order[rank - 1] = 1;
}

void tenon_format_strides(const tenon_format *f, tenon_tensor *t)
{
    uint8_t order[TENON_MAX_RANK];
    tenon_format_order(f, t->rank, order);
    const int inner = f->inner ? f->inner : 1;
    int64_t step = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (f->ld && t->rank - 1 - i == inner) step = f->ld;
        t->stride[order[i]] = step;
        /* wraps like tenon_tensor_dense: a tensor of such a size can have no data */
        step = (int64_t)((uint64_t)step * (uint64_t)TENON_MAX(t->dim[order[i]], 1));
    }
}

bool tenon_format_equal(const tenon_format *a, const tenon_format *b, int rank)
{
    uint8_t oa[TENON_MAX_RANK], ob[TENON_MAX_RANK];
    tenon_format_order(a, rank, oa);
    tenon_format_order(b, rank, ob);
    const int ia = a->inner ? a->inner : 1, ib = b->inner ? b->inner : 1;
    if ((a->layout == TENON_STRIDED) != (b->layout == TENON_STRIDED)) return false;
    return memcmp(oa, ob, (size_t)rank) == 0 && a->ld == b->ld && (!a->ld || ia == ib) && a->weight == b->weight;
}

tenon_format tenon_problem_implied_format(const tenon_format *first, int rank)
{
    return (tenon_format){ .layout = first->layout == TENON_CLAST && rank >= 3 ? TENON_CLAST : TENON_ROW };
}

bool tenon_problem_bias_type(tenon_dim_pool *pool, const tenon_op *first, const tenon_type *t, tenon_type *out)
{
    if (t->rank < 1) return false;
    *out = (tenon_type){ .dtype = t->dtype, .rank = 1 };
    const bool channel = first && first->axes && strncmp(first->axes, "nc", 2) == 0 && t->rank >= 2;
    out->dim[0] = t->dim[channel ? 1 : t->rank - 1];
    if (!channel) return true;
    out->rank = t->rank - 1;
    for (int i = 1; i < out->rank; i++) out->dim[i] = tenon_dim_const(pool, 1);
    return true;
}

int tenon_problem_src(const tenon_problem *p, const tenon_value *v)
{
    for (int i = 0; i < p->src_count; i++)
        if (p->src[i].value == v) return i;
    return -1;
}

int tenon_problem_dst(const tenon_problem *p, const tenon_value *v)
{
    for (int i = 0; i < p->dst_count; i++)
        if (p->dst[i].value == v) return i;
    return -1;
}

/* ---- anchors and programs ---- */

/* Per node, by place: which anchor it belongs to. */
typedef struct places {
    tenon_cx *cx;
    tenon_problem *p;
    int count;
    tenon_node *const *node;
    int last[TENON_PROBLEM_NODES];   /* highest anchor that it is or depends on; -1: none */
    bool placed[TENON_PROBLEM_NODES];
} places;

typedef struct node_set { bool in[TENON_PROBLEM_NODES]; } node_set;

static bool is_pointwise(const tenon_node *n) { return (n->op->flags & TENON_OP_POINTWISE) != 0; }

static int node_of(const places *w, const tenon_value *v)
{
    for (int i = 0; v && v->producer && i < w->count; i++)
        if (w->node[i] == v->producer) return i;
    return -1;
}

/* Adds the pointwise nodes without anchors that `i` depends on. */
static void add_free(const places *w, node_set *s, int i)
{
    for (int k = i; k >= 0; k--) {
        if (!s->in[k]) continue;
        for (int e = 0; e < w->node[k]->src_count; e++) {
            const int from = node_of(w, w->node[k]->src[e]);
            if (from >= 0 && w->last[from] < 0) s->in[from] = true;
        }
    }
}

static bool used_outside(const places *w, const node_set *s, const tenon_value *v)
{
    if (tenon_problem_dst(w->p, v) >= 0) return true;
    for (int i = 0; i < w->count; i++)
        for (int k = 0; !s->in[i] && k < w->node[i]->src_count; k++)
            if (w->node[i]->src[k] == v) return true;
    return false;
}

static tenon_status build(places *w, const node_set *s, tenon_value *anchor, tenon_value *const *result, int result_count,
                          tenon_program **out)
{
    tenon_node *list[TENON_PROBLEM_NODES];
    int n = 0;
    for (int i = 0; i < w->count; i++)
        if (s->in[i]) {
            list[n++] = w->node[i];
            w->placed[i] = true;
        }
    tenon_program *program = tenon_arena_alloc(w->p->graph->arena, sizeof *program);
    if (!program) return TENON_NOMEM;
    TENON_TRY(tenon_program_build(w->cx, list, n, anchor, result, result_count, program));
    *out = program;
    return TENON_OK;
}

static tenon_status build_pre(places *w, tenon_anchor *a)
{
    for (int i = 0; i < a->node->src_count; i++) {
        const int from = node_of(w, a->node->src[i]);
        if (from < 0 || w->last[from] >= 0) continue;
        if (i >= (int)TENON_COUNTOF(a->pre))
            return TENON_FAIL(w->cx, TENON_UNSUPPORTED, "pointwise operators before input %d of %s", i, a->node->op->name);
        node_set s = { { false } };
        s.in[from] = true;
        add_free(w, &s, from);
        TENON_TRY(build(w, &s, NULL, &a->node->src[i], 1, &a->pre[i]));
    }
    return TENON_OK;
}

static tenon_status build_post(places *w, tenon_anchor *a, int index)
{
    node_set s = { { false } };
    tenon_value *result[TENON_PROGRAM_RESULTS];
    int results = 0, own = 0;
    for (int i = 0; i < w->count; i++)
        if (is_pointwise(w->node[i]) && w->last[i] == index) s.in[i] = true, own++;
    if (own == 0) return TENON_OK;
    add_free(w, &s, w->count - 1);
    for (int i = 0; i < w->count; i++) {
        const bool here = w->node[i] == a->node;
        if (!here && !(s.in[i] && w->last[i] == index)) continue;
        tenon_value *v = w->node[i]->dst[0];
        if (!v || !used_outside(w, &s, v)) continue;
        if (results == TENON_PROGRAM_RESULTS)
            return TENON_FAIL(w->cx, TENON_UNSUPPORTED, "more than %d results after %s", TENON_PROGRAM_RESULTS,
                              a->node->op->name);
        result[results++] = v;
    }
    return build(w, &s, a->node->dst[0], result, results, &a->post);
}

static tenon_status find_anchors(places *w)
{
    tenon_problem *p = w->p;
    p->anchor_count = 0;
    for (int i = 0; i < w->count; i++) {
        w->last[i] = -1;
        for (int k = 0; k < w->node[i]->src_count; k++) {
            const int from = node_of(w, w->node[i]->src[k]);
            if (from >= 0) w->last[i] = TENON_MAX(w->last[i], w->last[from]);
        }
        if (is_pointwise(w->node[i])) continue;
        if (p->anchor_count == TENON_PROBLEM_ANCHORS)
            return TENON_FAIL(w->cx, TENON_UNSUPPORTED, "a problem has at most %d anchors", TENON_PROBLEM_ANCHORS);
        w->last[i] = p->anchor_count;
        p->anchor[p->anchor_count++] = (tenon_anchor){ .node = w->node[i] };
    }
    return TENON_OK;
}

static tenon_status set_pattern(tenon_cx *cx, tenon_problem *p)
{
    size_t n = 0;
    if (p->anchor_count == 0) memcpy(p->pattern, "pointwise", sizeof "pointwise");
    for (int i = 0; i < p->anchor_count; i++) {
        const char *name = p->anchor[i].node->op->name;
        const size_t length = strlen(name);
        if (n + length + 2 > sizeof p->pattern) return TENON_FAIL(cx, TENON_UNSUPPORTED,
                                                                  "the names of the anchors are too long for a pattern");
        if (i > 0) p->pattern[n++] = ';';
        memcpy(p->pattern + n, name, length + 1);
        n += length;
    }
    return TENON_OK;
}

static tenon_status place(tenon_cx *cx, tenon_problem *p)
{
    places w = { .cx = cx, .p = p, .count = (int)p->graph->node_count, .node = p->graph->node };
    TENON_TRY(find_anchors(&w));
    TENON_TRY(set_pattern(cx, p));
    p->program = NULL;
    if (p->anchor_count == 0) {
        tenon_value *result[TENON_PROBLEM_DST];
        node_set all;
        for (int i = 0; i < p->dst_count; i++) result[i] = p->dst[i].value;
        for (int i = 0; i < TENON_PROBLEM_NODES; i++) all.in[i] = true;
        return build(&w, &all, NULL, result, p->dst_count, &p->program);
    }
    for (int i = 0; i < p->anchor_count; i++) {
        TENON_TRY(build_pre(&w, &p->anchor[i]));
        TENON_TRY(build_post(&w, &p->anchor[i], i));
    }
    for (int i = 0; i < w.count; i++) {
        if (!is_pointwise(w.node[i])) continue;
        if (!w.placed[i] || (w.last[i] < 0 && tenon_problem_dst(p, w.node[i]->dst[0]) >= 0))
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "%s '%s' belongs to no anchor of the problem", w.node[i]->op->name,
                              w.node[i]->name);
    }
    return TENON_OK;
}

/* What is reckoned from symbols is known where the shapes are: whoever binds has nothing else. */
static tenon_status symbols_show(tenon_cx *cx, const tenon_problem *p)
{
    tenon_symbols s = { 0 };
    for (int i = 0; i < p->src_count; i++) tenon_symbols_mark(&s, &p->src[i].value->type);
    for (int i = 0; i < p->dst_count; i++) tenon_symbols_mark(&s, &p->dst[i].value->type);
    for (size_t i = 0; i < p->graph->node_count; i++)
        for (int k = 0; k < p->graph->node[i]->src_count; k++) {
            const tenon_value *v = p->graph->node[i]->src[k];
            for (size_t e = 0; v && v->is_const && !v->data && e < v->sym_count; e++)
                if (!tenon_symbols_know(&s, v->sym[e]))
                    return TENON_FAIL(cx, TENON_UNSUPPORTED, "%s: no shape of the problem says what source %d is",
                                      p->graph->node[i]->op->name, k);
        }
    return TENON_OK;
}

/* ---- canonical form ---- */

static tenon_status same_types(tenon_cx *cx, const tenon_problem *a, const tenon_problem *b)
{
    for (int i = 0; i < a->dst_count; i++) {
        const tenon_type *x = &a->dst[i].value->type, *y = &b->dst[i].value->type;
        if (x->dtype != y->dtype || x->rank != y->rank)
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "result %d is not determined by the sources of the problem", i);
    }
    return TENON_OK;
}

/* One round: the graph of `text` takes the place of p->graph; planner's marks and the numbering of symbols go along. */
static tenon_status reread(tenon_cx *cx, tenon_problem *p, const char *text, const tenon_problem_order *order)
{
    tenon_problem *q = tenon_arena_alloc(p->graph->arena, sizeof *q);
    if (!q) return TENON_NOMEM;
    TENON_TRY(tenon_problem_read(cx, p->graph->arena, text, q));
    if (q->src_count != p->src_count || q->dst_count != p->dst_count || q->graph->node_count != p->graph->node_count)
        return TENON_FAIL(cx, TENON_INTERNAL, "problem text '%.200s' does not read back", text);
    TENON_TRY(same_types(cx, p, q));
    for (int i = 0; i < q->src_count; i++) q->src[i].value->user = p->src[order->src[i]].value->user;
    for (int i = 0; i < q->dst_count; i++) q->dst[i].value->user = p->dst[i].value->user;
    for (int i = 0; i < order->symbol_count; i++) q->symbol_from[i] = p->symbol_from[order->symbol[i]];
    *p = *q;
    return TENON_OK;
}

static tenon_status canonical(tenon_cx *cx, tenon_problem *p, const char *text)
{
    for (int round = 0; round < 6; round++) {
        tenon_problem_order order;
        const char *again;
        TENON_TRY(tenon_problem_print(cx, p->graph->arena, p, &order, &again));
        if (text && strcmp(text, again) == 0) {
            p->text = again;
            p->hash = XXH3_64bits(again, strlen(again));
            TENON_TRY(symbols_show(cx, p));
            return place(cx, p);
        }
        TENON_TRY(reread(cx, p, again, &order));
        text = again;
    }
    return TENON_FAIL(cx, TENON_INTERNAL, "problem text '%.200s' finds no fixed form", text);
}

tenon_status tenon_problem_parse(tenon_cx *cx, tenon_arena *arena, const char *text, tenon_problem *out)
{
    TENON_TRY(tenon_problem_read(cx, arena, text, out));
    for (int i = 0; i < TENON_PROBLEM_SYMBOLS; i++) out->symbol_from[i] = (uint8_t)i;
    return canonical(cx, out, text);
}

tenon_status tenon_problem_finish(tenon_cx *cx, tenon_problem *p)
{
    if (p->graph->dims->symbol_count > TENON_PROBLEM_SYMBOLS)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "%zu symbols, a problem has %d", p->graph->dims->symbol_count,
                          TENON_PROBLEM_SYMBOLS);
    for (int i = 0; i < TENON_PROBLEM_SYMBOLS; i++) p->symbol_from[i] = (uint8_t)i;
    return canonical(cx, p, NULL);
}

/* ---- shapes and costs ---- */

static tenon_status concrete(tenon_cx *cx, const tenon_type *t, const int64_t *symbol_value, tenon_tensor *out)
{
    memset(out, 0, sizeof *out);
    out->dtype = t->dtype;
    out->rank = t->rank;
    for (int i = 0; i < t->rank; i++)
        if (!tenon_dim_eval(t->dim[i], symbol_value, &out->dim[i]) || out->dim[i] < 0)
            return TENON_FAIL(cx, TENON_INVALID, "dimension %d has no value for these symbols", i);
    return TENON_OK;
}

tenon_status tenon_problem_shapes(tenon_cx *cx, const tenon_problem *p, const int64_t *symbol_value, tenon_tensor *src,
                                  tenon_tensor *dst)
{
    for (int i = 0; i < p->src_count; i++) {
        TENON_TRY(concrete(cx, &p->src[i].value->type, symbol_value, &src[i]));
        tenon_format_strides(&p->src[i].format, &src[i]);
    }
    for (int i = 0; i < p->dst_count; i++) {
        TENON_TRY(concrete(cx, &p->dst[i].value->type, symbol_value, &dst[i]));
        tenon_format_strides(&p->dst[i].format, &dst[i]);
    }
    return TENON_OK;
}

/* Symbol values from the tensors: symbols stand alone somewhere, or else are taken at their tuning point. */
static void solve(const tenon_problem *p, const tenon_tensor *src, int64_t *value)
{
    const tenon_dim_pool *pool = p->graph->dims;
    for (size_t i = 0; i < pool->symbol_count && i < TENON_PROBLEM_SYMBOLS; i++) value[i] = pool->symbol[i].opt;
    for (int i = 0; i < p->src_count; i++) {
        const tenon_type *t = &p->src[i].value->type;
        for (int k = 0; k < t->rank; k++)
            if (t->dim[k]->kind == TENON_DIM_SYM &&
                t->dim[k]->value < TENON_PROBLEM_SYMBOLS) value[t->dim[k]->value] = src[i].dim[k];
    }
}

static bool node_tensors(tenon_value *const *v, int count, const int64_t *symbol_value, tenon_tensor *out)
{
    for (int i = 0; i < count; i++) {
        memset(&out[i], 0, sizeof out[i]);
        if (!v[i]) continue;
        out[i].dtype = v[i]->type.dtype;
        out[i].rank = v[i]->type.rank;
        for (int k = 0; k < v[i]->type.rank; k++)
            if (!tenon_dim_eval(v[i]->type.dim[k], symbol_value, &out[i].dim[k])) return false;
        tenon_tensor_dense(&out[i]);
    }
    return true;
}

bool tenon_problem_program_only(const tenon_problem *p, int src)
{
    const tenon_value *v = p->src[src].value;
    if (!p->anchor_count) return true;
    for (int a = 0; a < p->anchor_count; a++) {
        for (int k = 0; k < p->anchor[a].node->src_count; k++)
            if (p->anchor[a].node->src[k] == v) return false;
        for (int k = 0; k < 4; k++)
            for (int o = 0; p->anchor[a].pre[k] && o < p->anchor[a].pre[k]->operand_count; o++)
                if (p->anchor[a].pre[k]->operand[o] == v) return false;
        if (a + 1 < p->anchor_count && p->anchor[a].post)
            for (int o = 0; o < p->anchor[a].post->operand_count; o++)
                if (p->anchor[a].post->operand[o] == v) return false;
    }
    return true;
}

double tenon_problem_flops(const tenon_problem *p, const tenon_tensor *src, const tenon_tensor *dst)
{
    enum { MAX = 64 };
    int64_t symbol_value[TENON_PROBLEM_SYMBOLS] = { 0 };
    tenon_tensor in[MAX], out[MAX];
    double sum = 0;
    (void)dst;
    if (p->graph->dims->symbol_count > TENON_PROBLEM_SYMBOLS) return 0;
    solve(p, src, symbol_value);
    for (size_t i = 0; i < p->graph->node_count; i++) {
        const tenon_node *n = p->graph->node[i];
        if (n->src_count > MAX || n->dst_count > MAX || !node_tensors(n->src, n->src_count, symbol_value, in) ||
            !node_tensors(n->dst, n->dst_count, symbol_value, out))
            continue;
        double elements = 1;
        for (int k = 0; n->dst_count > 0 && k < out[0].rank; k++) elements *= (double)out[0].dim[k];
        if (n->op->pw) sum += n->op->pw->flops * elements;
        else sum += n->op->flops ? n->op->flops(n, in, out) : elements;
    }
    return sum;
}
