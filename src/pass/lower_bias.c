/* SPDX-License-Identifier: Apache-2.0 */
/* A convolution's bias becomes an add behind it, so that all that follows an anchor is one kind of thing: a pointwise program. */
#include "pass/pass.h"
#include "pass/rewrite.h"

static tenon_status bias(tenon_rw *rw, tenon_node *n)
{
    if ((n->op != &tenon_op_conv && n->op != &tenon_op_conv_transpose) || !tenon_rw_src(n, 2)) return TENON_OK;
    tenon_node *like;
    tenon_value *b, *y;
    tenon_rw_take(rw, n);
    TENON_TRY(tenon_rw_like(rw, n, n->src, 2, &like));
    TENON_TRY(tenon_rw_infer(rw, like, &y));
    TENON_TRY(tenon_rw_along(rw, n->src[2], 0, n->dst[0]->type.rank - 1, &b));
    TENON_TRY(tenon_rw_binary(rw, &tenon_op_add, y, b, &y));
    return tenon_rw_done(rw, n, y, "%s(x, w, b) -> %s(x, w) + b", n->op->name, n->op->name);
}

static tenon_status run(tenon_cx *cx, tenon_graph *g, bool *changed)
{
    static const tenon_rw_rule rules[] = {bias};
    return tenon_rw_each(cx, g, "lower_bias", rules, TENON_COUNTOF(rules), changed);
}

const tenon_pass tenon_pass_lower_bias = {.name = "lower_bias", .what = "a convolution's bias becomes an add", .run = run};
