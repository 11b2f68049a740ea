/* SPDX-License-Identifier: Apache-2.0 */
/* Products of one source with constant weights (q, k and v of an attention), each with its bias, become one product with
   concatenated weights and a split, which is a view. Left alone where a pointwise operator follows: it would lose its place
   behind its product. */
#include "pass/pass.h"
#include "pass/rewrite.h"

#define SIBLINGS "siblings"
enum { MOST = 8 };

/* x W + b, or x W: the product, its bias and the value that stands for both. */
typedef struct branch { tenon_node *product, *add; tenon_value *bias, *result; } branch;

static bool branch_of(tenon_node *n, const tenon_value *x, branch *out)
{
    if (!n || n->dead || n->op != &tenon_op_matmul || n->src[0] != x || !n->src[1]->is_const || n->src[1]->type.rank != 2)
        return false;
    tenon_value *y = n->dst[0];
    *out = (branch){.product = n, .result = y};
    if (!tenon_rw_sole(y) || y->use[0].node->op != &tenon_op_add) return true;
    tenon_node *add = y->use[0].node;
    tenon_value *b = add->src[add->src[0] == y ? 1 : 0];
    if (!b->is_const || b->type.rank != 1 || b->type.dim[0] != y->type.dim[y->type.rank - 1] || add->dead) return true;
    out->add = add;
    out->bias = b;
    out->result = add->dst[0];
    return true;
}

static bool followed_by_pointwise(const tenon_value *v)
{
    for (size_t i = 0; i < v->use_count; i++)
        if (v->use[i].node && v->use[i].node->op->flags & TENON_OP_POINTWISE) return true;
    return false;
}

static tenon_status joined(tenon_rw *rw, tenon_value *const *src, int count, int axis, tenon_value **out)
{
    tenon_node *n;
    TENON_TRY(tenon_rw_node(rw, &tenon_op_concat, src, count, 1, &n));
    TENON_TRY(tenon_node_set_int(rw->g, n, "axis", axis));
    return tenon_rw_infer(rw, n, out);
}

static tenon_status merge(tenon_rw *rw, branch *b, int count)
{
    tenon_value *w[MOST], *bias[MOST], *y;
    int64_t size[MOST];
    const int rank = b[0].result->type.rank;
    for (int i = 0; i < count; i++) {
        tenon_rw_take(rw, b[i].product);
        if (b[i].add) tenon_rw_take(rw, b[i].add);
        w[i] = b[i].product->src[1];
        bias[i] = b[i].bias;
        size[i] = w[i]->type.dim[1]->value;
    }
    TENON_TRY(joined(rw, w, count, 1, &y));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_matmul, b[0].product->src[0], y, &y));
    if (bias[0]) {
        TENON_TRY(joined(rw, bias, count, 0, &bias[0]));
        TENON_TRY(tenon_rw_binary(rw, &tenon_op_add, y, bias[0], &y));
    }
    tenon_node *split;
    TENON_TRY(tenon_rw_node(rw, &tenon_op_split, &y, 1, count, &split));
    TENON_TRY(tenon_node_set_int(rw->g, split, "axis", rank - 1));
    TENON_TRY(tenon_node_set_ints(rw->g, split, "split", size, (size_t)count));
    TENON_TRY(tenon_rw_infer(rw, split, NULL));
    tenon_node *first = b[0].add ? b[0].add : b[0].product;
    TENON_TRY(tenon_rw_done(rw, first, split->dst[0], "%d products of one source -> one product and a split", count));
    for (int i = 0; i < count && rw->done; i++) {
        if (i) TENON_TRY(tenon_rw_also(rw, b[i].result, split->dst[i]));
        b[i].product->dead = true;
        if (b[i].add) b[i].add->dead = true;
    }
    return TENON_OK;
}

static tenon_status siblings(tenon_rw *rw, tenon_node *n)
{
    branch first, b[MOST], more;
    const branch *apart = NULL;
    branch kept;
    int count = 0;
    if (n->op != &tenon_op_matmul || n->src[0]->is_const || !branch_of(n, n->src[0], &first)) return TENON_OK;
    const tenon_value *x = n->src[0];
    for (size_t i = 0; i < x->use_count && count < MOST; i++) {
        if (x->use[i].index != 0 || !branch_of(x->use[i].node, x, &more)) continue;
        const bool alike = !more.bias == !first.bias && more.result->type.rank == first.result->type.rank &&
            more.result->type.dtype == first.result->type.dtype;
        if (!alike || tenon_rw_is_output(rw->g, more.result)) continue;
        if (followed_by_pointwise(more.result)) {
            kept = more;
            apart = &kept;
            continue;
        }
        b[count++] = more;
    }
    if (apart && apart->product != n)
        TENON_TRY(tenon_event_blocked(rw->g, SIBLINGS, n, "blocked by what follows '%s' because that is fused better apart",
            apart->result->name));
    if (count < 2 || b[0].product != n) return TENON_OK;
    return merge(rw, b, count);
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {siblings};
    return tenon_rw_each(cx, g, SIBLINGS, rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_siblings = {.name = SIBLINGS, .what = "products of one source become one with concatenated weights",
    .run = run};
