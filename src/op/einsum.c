/* SPDX-License-Identifier: Apache-2.0 */
/* einsum: sums of products by an equation of subscripts ("bhid,bhjd->bhij"); a repeated letter in a term is a diagonal, "..."
   stands for broadcast axes, without "->" the letters that occur once come out in order. Most equations are rewritten to matmul,
   transpose and reduce_sum before they get here; the reference walks all index tuples. */
#include "op/dense.h"
#include "op/rule.h"

#include <ctype.h>
#include <string.h>

static const tenon_attr_def attrs[] = {{.name = "equation", .kind = TENON_ATTR_STRING, .required = true}, {0}};

enum { TERMS = 8, LABELS = TENON_MAX_RANK + 52 }; /* labels 0..7: axes of the ellipsis, right-aligned; then letters */

typedef struct term {
    int rank;
    int label[TENON_MAX_RANK];
} term;
typedef struct equation {
    int term_count;
    term src[TERMS], dst;
} equation;

static int label_of(char c) { return TENON_MAX_RANK + (c >= 'a' ? 26 + c - 'a' : c - 'A'); }

/* One term with `rank` axes (-1: the result, its ellipsis as long as `wide`). */
static tenon_status parse_term(tenon_cx *cx, const char *s, size_t length, int rank, int wide, term *out)
{
    int letters = 0;
    bool dots = false;
    for (size_t i = 0; i < length; i++) letters += isalpha((unsigned char)s[i]) != 0;
    *out = (term){0};
    for (size_t i = 0; i < length; i++) {
        if (s[i] == ' ') continue;
        if (s[i] == '.' && !dots && i + 2 < length && s[i + 1] == '.' && s[i + 2] == '.') {
            const int own = rank < 0 ? wide : rank - letters;
            dots = true;
            i += 2;
            if (own < 0 || out->rank + own > TENON_MAX_RANK) break;
            for (int k = 0; k < own; k++) out->label[out->rank++] = TENON_MAX_RANK - own + k;
        } else if (isalpha((unsigned char)s[i]) && out->rank < TENON_MAX_RANK) {
            out->label[out->rank++] = label_of(s[i]);
        } else {
            return TENON_FAIL(cx, TENON_INVALID, "term '%.*s' cannot be read", (int)length, s);
        }
    }
    if (rank >= 0 && out->rank != rank)
        return TENON_FAIL(cx, TENON_INVALID, "term '%.*s' has %d axes, its source has %d", (int)length, s, letters, rank);
    return TENON_OK;
}

/* The result's term when the equation does not give it: the ellipsis, then the letters that occur once. */
static void implicit_result(equation *e, int wide)
{
    int seen[LABELS] = {0};
    for (int t = 0; t < e->term_count; t++)
        for (int i = 0; i < e->src[t].rank; i++) seen[e->src[t].label[i]]++;
    e->dst = (term){0};
    for (int i = 0; i < wide; i++) e->dst.label[e->dst.rank++] = TENON_MAX_RANK - wide + i;
    for (int l = TENON_MAX_RANK; l < LABELS && e->dst.rank < TENON_MAX_RANK; l++)
        if (seen[l] == 1) e->dst.label[e->dst.rank++] = l;
}

static tenon_status parse(tenon_cx *cx, const char *text, const int *rank, int count, equation *e)
{
    const char *arrow = strstr(text, "->"), *s = text, *end = arrow ? arrow : text + strlen(text);
    int wide = 0;
    *e = (equation){0};
    for (;;) {
        const char *comma = memchr(s, ',', (size_t)(end - s)), *stop = comma ? comma : end;
        if (e->term_count == count || e->term_count == TERMS)
            return TENON_FAIL(cx, TENON_INVALID, "'%s' has more terms than the %d sources", text, count);
        term *t = &e->src[e->term_count];
        TENON_TRY(parse_term(cx, s, (size_t)(stop - s), rank[e->term_count], 0, t));
        int dots = 0;
        for (int i = 0; i < t->rank; i++) dots += t->label[i] < TENON_MAX_RANK;
        wide = TENON_MAX(wide, dots);
        e->term_count++;
        if (!comma) break;
        s = comma + 1;
    }
    if (e->term_count != count)
        return TENON_FAIL(cx, TENON_INVALID, "'%s' has %d terms for %d sources", text, e->term_count, count);
    if (!arrow) {
        implicit_result(e, wide);
        return TENON_OK;
    }
    TENON_TRY(parse_term(cx, arrow + 2, strlen(arrow + 2), -1, wide, &e->dst));
    bool known[LABELS] = {0};
    for (int t = 0; t < count; t++)
        for (int i = 0; i < e->src[t].rank; i++) known[e->src[t].label[i]] = true;
    for (int i = 0; i < e->dst.rank; i++) {
        if (!known[e->dst.label[i]])
            return TENON_FAIL(cx, TENON_INVALID, "'%s': a letter of the result is in no source", text);
        for (int j = 0; j < i; j++)
            if (e->dst.label[i] == e->dst.label[j])
                return TENON_FAIL(cx, TENON_INVALID, "'%s': a letter of the result occurs twice", text);
    }
    return TENON_OK;
}

static tenon_status infer(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    equation e;
    int rank[TERMS];
    const tenon_dim *of[LABELS] = {0}, *dim[TENON_MAX_RANK];
    if (n->src_count > TERMS) return TENON_FAIL(cx, TENON_UNSUPPORTED, "%d sources, at most %d", n->src_count, TERMS);
    for (int i = 0; i < n->src_count; i++) {
        TENON_TRY(tenon_rule_rank(cx, n, i, "a source", 0, TENON_MAX_RANK));
        TENON_TRY(tenon_rule_number(cx, n, i, "a source"));
        TENON_TRY(tenon_rule_same_type(cx, n, 0, i));
        rank[i] = tenon_rule_type(n, i)->rank;
    }
    TENON_TRY(parse(cx, tenon_node_attr(n, "equation")->s, rank, n->src_count, &e));
    for (int t = 0; t < e.term_count; t++)
        for (int i = 0; i < rank[t]; i++) {
            const int l = e.src[t].label[i];
            const tenon_dim *d = tenon_rule_type(n, t)->dim[i];
            const bool dots = l < TENON_MAX_RANK;
            if (!of[l] || (dots && tenon_dim_is(of[l], 1))) of[l] = d;
            else if (!(dots && tenon_dim_is(d, 1)))
                TENON_TRY(tenon_rule_equal(cx, g, "one axis of a subscript", of[l], "another", d));
        }
    for (int i = 0; i < e.dst.rank; i++) dim[i] = of[e.dst.label[i]];
    tenon_infer_set(n, 0, tenon_rule_type(n, 0)->dtype, e.dst.rank, dim);
    return TENON_OK;
}

/* The loop nest: result labels first, then the summed ones; one stride a source and label. */
typedef struct nest {
    int depth, outer;
    int64_t size[LABELS], stride[TERMS][LABELS];
} nest;

static void nest_make(const equation *e, const tenon_eval_call *call, nest *n)
{
    int place[LABELS];
    for (int l = 0; l < LABELS; l++) place[l] = -1;
    *n = (nest){0};
    for (int i = 0; i < e->dst.rank; i++) place[e->dst.label[i]] = n->depth++;
    n->outer = n->depth;
    for (int t = 0; t < e->term_count; t++)
        for (int i = 0; i < e->src[t].rank; i++)
            if (place[e->src[t].label[i]] < 0) place[e->src[t].label[i]] = n->depth++;
    for (int k = 0; k < n->depth; k++) n->size[k] = 1;
    for (int t = 0; t < e->term_count; t++) {
        int64_t stride = 1; /* of the dense copy */
        for (int i = e->src[t].rank - 1; i >= 0; i--) {
            const int64_t d = call->src[t].dim[i];
            const int k = place[e->src[t].label[i]];
            if (d != 1) n->size[k] = d, n->stride[t][k] += stride;
            stride *= d;
        }
    }
}

/* Next index tuple of axes [from, to); false after the last. Moves the offsets along. */
static bool step(const nest *n, int from, int to, int terms, int64_t *index, int64_t *offset)
{
    for (int k = to - 1; k >= from; k--) {
        const bool wraps = ++index[k] == n->size[k];
        for (int t = 0; t < terms; t++) offset[t] += wraps ? -n->stride[t][k] * (n->size[k] - 1) : n->stride[t][k];
        if (!wraps) return true;
        index[k] = 0;
    }
    return false;
}

static tenon_status run(tenon_cx *cx, tenon_eval_call *call, tenon_heap *heap)
{
    equation e;
    nest n;
    int rank[TERMS];
    const tenon_tensor *y = &call->dst[0];
    const bool is_float = tenon_is_float(y->dtype);
    const double *f[TERMS] = {0};
    const int64_t *v[TERMS] = {0};
    if (call->src_count > TERMS)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "%d sources, at most %d", call->src_count, TERMS);
    for (int t = 0; t < call->src_count; t++) {
        rank[t] = call->src[t].rank;
        if (is_float ? !(f[t] = tenon_dense_f64(heap, &call->src[t])) : !(v[t] = tenon_dense_i64(heap, &call->src[t])))
            return TENON_NOMEM;
    }
    TENON_TRY(parse(cx, tenon_node_attr(call->node, "equation")->s, rank, call->src_count, &e));
    nest_make(&e, call, &n);
    const int64_t count = tenon_tensor_count(y);
    double *out = tenon_dense_new_f64(heap, count);
    int64_t *whole = tenon_heap_alloc(heap, (size_t)(count + 1) * sizeof *whole);
    if (!out || !whole) return TENON_NOMEM;
    bool empty = false; /* an empty sum */
    for (int t = 0; t < e.term_count; t++) empty = empty || tenon_tensor_count(&call->src[t]) == 0;
    int64_t index[LABELS] = {0}, offset[TERMS] = {0};
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        uint64_t wrap = 0;
        if (!empty) do {
                double product = 1;
                uint64_t exact = 1;
                for (int t = 0; t < e.term_count; t++) {
                    if (is_float) product *= f[t][offset[t]];
                    else exact *= (uint64_t)v[t][offset[t]];
                }
                sum += product, wrap += exact;
            } while (step(&n, n.outer, n.depth, e.term_count, index, offset));
        out[i] = sum, whole[i] = (int64_t)wrap;
        (void)step(&n, 0, n.outer, e.term_count, index, offset);
    }
    if (is_float) tenon_dense_store_f64(y, out);
    else tenon_dense_store_i64(y, whole);
    return TENON_OK;
}

static tenon_status ref(tenon_cx *cx, tenon_eval_call *call) { return tenon_dense_run(cx, call, run); }

static double flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst)
{
    double most = (double)tenon_tensor_count(dst);
    for (int i = 0; i < n->src_count; i++) most = TENON_MAX(most, (double)tenon_tensor_count(&src[i]));
    return 2 * most; /* a lower bound: what is summed depends on the equation */
}

const tenon_op tenon_op_einsum = {
    .name = "einsum", .attr = attrs, .onnx = "Einsum", .onnx_since = 12, .flags = TENON_OP_ANCHOR, .src_min = 1,
    .src_max = TENON_VARIADIC, .dst_min = 1, .dst_max = 1, .infer = infer, .ref = ref, .flops = flops, .tol = 2e-5,
};
