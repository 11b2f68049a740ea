/* SPDX-License-Identifier: Apache-2.0 */
/* Products of vectors and equations of subscripts become products of matrices, of which there are kernels:

       matmul(k, b..kn)     ->  reshape(matmul(1k, b..kn))          and the same on the other side
       einsum(a), no letter twice  ->  transpose(reduce_sum(a))
       einsum(a, b)         ->  letters of one term alone are summed first; then those of both and the result are the batch, those of both
                                alone the depth, the others rows and columns:  transpose(reshape(matmul(batch.mk, batch.kn)));
                                without a depth: transpose(mul(batch.m1.., batch.1..n))

   A letter that stands twice in a term, "..." and more than two terms are left as they are. */
#include "pass/pass.h"
#include "pass/rewrite.h"

#include <ctype.h>
#include <string.h>

/* ---- vectors ---- */
static tenon_status vectors(tenon_rw *rw, tenon_node *n)
{
    if (n->op != &tenon_op_matmul || (n->src[0]->type.rank != 1 && n->src[1]->type.rank != 1)) return TENON_OK;
    const tenon_type *y = &n->dst[0]->type;
    const tenon_dim *one = tenon_dim_const(rw->g->dims, 1);
    tenon_value *a = n->src[0], *b = n->src[1], *to;
    if (!one) return TENON_NOMEM;
    tenon_rw_take(rw, n);
    if (a->type.rank == 1) TENON_TRY(tenon_rw_reshape(rw, a, 2, (const tenon_dim *[]){one, a->type.dim[0]}, &a));
    if (b->type.rank == 1) TENON_TRY(tenon_rw_reshape(rw, b, 2, (const tenon_dim *[]){b->type.dim[0], one}, &b));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_matmul, a, b, &to));
    TENON_TRY(tenon_rw_reshape(rw, to, y->rank, (const tenon_dim *const *)y->dim, &to));
    return tenon_rw_done(rw, n, to, "a vector is a matrix of one row or column");
}

/* ---- equations ---- */
typedef struct term {
    int rank;
    char letter[TENON_MAX_RANK + 1];
    tenon_value *value;
} term;
typedef struct equation { int count; term src[2], dst; } equation;

static bool has(const term *t, char c) { return memchr(t->letter, c, (size_t)t->rank) != NULL; }
static const tenon_dim *dim_of(const term *t, char c)
{
    const char *at = memchr(t->letter, c, (size_t)t->rank);
    return at ? t->value->type.dim[at - t->letter] : NULL;
}

/* Letters up to a comma, an arrow or the end; false: something else stands there, or a letter twice. */
static bool parse_term(const char **text, term *t)
{
    *t = (term){0};
    for (; **text && **text != ',' && **text != '-'; ++*text) {
        if (**text == ' ') continue;
        if (!isalpha((unsigned char)**text) || t->rank == TENON_MAX_RANK || has(t, **text)) return false;
        t->letter[t->rank++] = **text;
    }
    return true;
}

/* The result of an equation without an arrow: the letters that occur once, in order; capitals first. */
static void implicit_result(equation *e)
{
    for (int c = 0; c < 128 && e->dst.rank < TENON_MAX_RANK; c++)
        if (isalpha(c) && has(&e->src[0], (char)c) != (e->count > 1 && has(&e->src[1], (char)c))) e->dst.letter[e->dst.rank++] = (char)c;
}

static bool parse(const tenon_node *n, equation *e)
{
    const char *s = tenon_node_attr(n, "equation")->s;
    *e = (equation){.count = n->src_count};
    if (n->src_count < 1 || n->src_count > 2) return false;
    for (int i = 0; i < e->count; i++) {
        if (!parse_term(&s, &e->src[i]) || (i + 1 < e->count && *s++ != ',')) return false;
        e->src[i].value = n->src[i];
        if (!e->src[i].value || e->src[i].value->type.rank != e->src[i].rank) return false;
    }
    if (*s && (strncmp(s, "->", 2) != 0)) return false;
    if (!*s) {
        implicit_result(e);
        return true;
    }
    s += 2;
    return parse_term(&s, &e->dst) && !*s;
}

/* Sums over the letters of t that neither the result nor the other term has. */
static tenon_status sum_alone(tenon_rw *rw, const term *dst, const term *other, term *t)
{
    int64_t axis[TENON_MAX_RANK];
    int count = 0;
    term left = {.value = t->value};
    tenon_node *sum;
    for (int i = 0; i < t->rank; i++) {
        if (has(dst, t->letter[i]) || (other && has(other, t->letter[i]))) left.letter[left.rank++] = t->letter[i];
        else axis[count++] = i;
    }
    if (!count) return TENON_OK;
    TENON_TRY(tenon_rw_node(rw, &tenon_op_reduce_sum, &t->value, 1, 1, &sum));
    TENON_TRY(tenon_node_set_ints(rw->g, sum, "axes", axis, (size_t)count));
    TENON_TRY(tenon_node_set_int(rw->g, sum, "keepdims", 0));
    TENON_TRY(tenon_rw_infer(rw, sum, &left.value));
    *t = left;
    return TENON_OK;
}

/* The term with its letters in this order, which are all of them. */
static tenon_status in_order(tenon_rw *rw, term *t, const char *letter)
{
    int64_t perm[TENON_MAX_RANK];
    bool moved = false;
    for (int i = 0; i < t->rank; i++) {
        perm[i] = (const char *)memchr(t->letter, letter[i], (size_t)t->rank) - t->letter;
        moved |= perm[i] != i;
    }
    if (moved) TENON_TRY(tenon_rw_transpose(rw, t->value, perm, &t->value));
    memcpy(t->letter, letter, (size_t)t->rank);
    return TENON_OK;
}

/* Letters of a two-term equation by what they do. */
typedef struct roles { term batch, depth, rows, columns; } roles;

static void add(term *t, char c) { t->letter[t->rank++] = c; }

static void find_roles(const equation *e, roles *r)
{
    *r = (roles){0};
    for (int i = 0; i < e->src[0].rank; i++) {
        const char c = e->src[0].letter[i];
        const bool both = has(&e->src[1], c);
        add(both && has(&e->dst, c) ? &r->batch : both ? &r->depth : &r->rows, c);
    }
    for (int i = 0; i < e->src[1].rank; i++)
        if (!has(&e->src[0], e->src[1].letter[i])) add(&r->columns, e->src[1].letter[i]);
}

static const tenon_dim *product(tenon_rw *rw, const term *of, const term *letters)
{
    const tenon_dim *d = tenon_dim_const(rw->g->dims, 1);
    for (int i = 0; i < letters->rank; i++) d = tenon_dim_mul(rw->g->dims, d, dim_of(of, letters->letter[i]));
    return d;
}

/* t as (batch..., product of first, product of second). */
static tenon_status as_matrices(tenon_rw *rw, term *t, const term *batch, const term *first, const term *second)
{
    char letter[3 * TENON_MAX_RANK + 1];
    const tenon_dim *dim[TENON_MAX_RANK];
    memcpy(letter, batch->letter, (size_t)batch->rank);
    memcpy(letter + batch->rank, first->letter, (size_t)first->rank);
    memcpy(letter + batch->rank + first->rank, second->letter, (size_t)second->rank);
    for (int i = 0; i < batch->rank; i++) dim[i] = dim_of(t, batch->letter[i]);
    dim[batch->rank] = product(rw, t, first);
    dim[batch->rank + 1] = product(rw, t, second);
    if (!dim[batch->rank] || !dim[batch->rank + 1]) return TENON_NOMEM;
    TENON_TRY(in_order(rw, t, letter));
    return tenon_rw_reshape(rw, t->value, batch->rank + 2, dim, &t->value);
}

/* Letters of the result as the product gives them, with their dims; `out` gets the value so shaped. */
static tenon_status spread(tenon_rw *rw, const equation *e, const roles *r, tenon_value *y, term *out)
{
    const term *part[] = {&r->batch, &r->rows, &r->columns};
    const tenon_dim *dim[TENON_MAX_RANK];
    *out = (term){0};
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < part[k]->rank; i++) {
            const char c = part[k]->letter[i];
            dim[out->rank] = k < 2 ? dim_of(&e->src[0], c) : dim_of(&e->src[1], c);
            add(out, c);
        }
    return tenon_rw_reshape(rw, y, out->rank, dim, &out->value);
}

static tenon_status two_terms(tenon_rw *rw, equation *e, tenon_value **out)
{
    roles r;
    term y;
    tenon_value *product_of;
    TENON_TRY(sum_alone(rw, &e->dst, &e->src[1], &e->src[0]));
    TENON_TRY(sum_alone(rw, &e->dst, &e->src[0], &e->src[1]));
    find_roles(e, &r);
    equation as_read = *e; /* whose dims the letters have */
    if (r.depth.rank) {
        TENON_TRY(as_matrices(rw, &e->src[0], &r.batch, &r.rows, &r.depth));
        TENON_TRY(as_matrices(rw, &e->src[1], &r.batch, &r.depth, &r.columns));
        TENON_TRY(tenon_rw_binary(rw, &tenon_op_matmul, e->src[0].value, e->src[1].value, &product_of));
    } else {
        const term none = {0};
        TENON_TRY(as_matrices(rw, &e->src[0], &r.batch, &r.rows, &none));
        TENON_TRY(as_matrices(rw, &e->src[1], &r.batch, &none, &r.columns));
        TENON_TRY(tenon_rw_binary(rw, &tenon_op_mul, e->src[0].value, e->src[1].value, &product_of));
    }
    TENON_TRY(spread(rw, &as_read, &r, product_of, &y));
    TENON_TRY(in_order(rw, &y, e->dst.letter));
    *out = y.value;
    return TENON_OK;
}

static bool fits(const equation *e)
{
    int batch = 0;
    for (int i = 0; i < e->src[0].rank && e->count > 1; i++) {
        const tenon_dim *other = dim_of(&e->src[1], e->src[0].letter[i]);
        if (other && other != e->src[0].value->type.dim[i]) return false;
        batch += other && has(&e->dst, e->src[0].letter[i]);
    }
    for (int i = 0; i < e->dst.rank; i++)
        if (!has(&e->src[0], e->dst.letter[i]) && !(e->count > 1 && has(&e->src[1], e->dst.letter[i]))) return false;
    return batch + 2 <= TENON_MAX_RANK;
}

static tenon_status equations(tenon_rw *rw, tenon_node *n)
{
    equation e;
    tenon_value *to;
    if (n->op != &tenon_op_einsum || !parse(n, &e) || !fits(&e)) return TENON_OK;
    const char *text = tenon_node_attr(n, "equation")->s;
    tenon_rw_take(rw, n);
    if (e.count == 2) {
        TENON_TRY(two_terms(rw, &e, &to));
    } else {
        TENON_TRY(sum_alone(rw, &e.dst, NULL, &e.src[0]));
        TENON_TRY(in_order(rw, &e.src[0], e.dst.letter));
        to = e.src[0].value;
    }
    if (to == n->src[0]) TENON_TRY(tenon_rw_unary(rw, &tenon_op_identity, to, &to));
    return tenon_rw_done(rw, n, to, "einsum(\"%s\") is made of products, sums and transposes", text);
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {vectors, equations};
    return tenon_rw_each(cx, g, "products", rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_products = {.name = "products", .what = "einsum and products of vectors become products of matrices", .run = run};
