/* SPDX-License-Identifier: Apache-2.0 */
/* What passes are written with. A pass is a list of rules; the driver offers each node to each rule in topological order. A rule
   looks at the node and at what produces its sources, makes new nodes, and ends with tenon_rw_done,
       which puts the new value in the
   node's place. Making a node of constants alone gives a weight expression, so algebra on weights is written like any other. */
#ifndef TENON_PASS_REWRITE_H
#define TENON_PASS_REWRITE_H

#include "op/eval.h"
#include "pass/events.h"

enum { TENON_RW_PARTS = 48, TENON_RW_MADE = 96 };

typedef struct tenon_rw {
    tenon_cx *cx;
    tenon_graph *g;
    const char *pass;
    tenon_node *part[TENON_RW_PARTS]; int part_count; /* nodes that the match stands for: origins of what is made */
    tenon_node *made[TENON_RW_MADE];  int made_count;
    bool done;                        /* this rule replaced its node */
    bool changed;                     /* some rule did */
    tenon_status failed;              /* why a look could not be taken (no memory); the driver stops with it */
} tenon_rw;

typedef tenon_status (*tenon_rw_rule)(tenon_rw *rw, tenon_node *n);

/* Offers every node of the graph (not of its bodies) to the rules; then prunes and sorts if something changed. */
tenon_status tenon_rw_each(tenon_cx *cx, tenon_graph *g, const char *pass, const tenon_rw_rule *rule, size_t count,
    bool *changed);

/* ---- looking ---- */
/* The node that gives v, when its operator is `op` (NULL: any); else NULL. */
tenon_node *tenon_rw_from(const tenon_value *v, const tenon_op *op);
/* v is used once, by a node. */
static inline bool tenon_rw_sole(const tenon_value *v) { return v->use_count == 1 && v->use[0].node; }
static inline tenon_value *tenon_rw_src(const tenon_node *n, int i) { return i < n->src_count ? n->src[i] : NULL; }
/* Value of a constant; NULL when it cannot be had. */
const tenon_tensor *tenon_rw_const(tenon_rw *rw, tenon_value *v);
/* v is a constant of one element, whose value is *out. */
bool tenon_rw_scalar(tenon_rw *rw, tenon_value *v, double *out);
bool tenon_rw_is_scalar(tenon_rw *rw, tenon_value *v, double want);
/* Equal within float rounding: what exporters write for constants such as sqrt(2). */
bool tenon_rw_near(double a, double b);
/* One of the two sources of a commutative node is a constant of one element: the other in *x, the number in *out. */
bool tenon_rw_with_scalar(tenon_rw *rw, const tenon_node *n, tenon_value **x, double *out);
/* One of the two sources is given by `op`: that node, and the other source in *other. */
tenon_node *tenon_rw_either(const tenon_node *n, const tenon_op *op, tenon_value **other);
/* Contents of an integer constant; -1 when not known or more than max. */
int tenon_rw_ints(tenon_rw *rw, const tenon_value *v, int64_t *out, int max);
bool tenon_rw_is_output(const tenon_graph *g, const tenon_value *v);
/* Permutation of a transpose (the reversal when the attribute is unset). */
void tenon_rw_perm(const tenon_node *n, int64_t *perm);
/* Axes a reduction reduces, sorted; -1 when not known. */
int tenon_rw_reduced(tenon_rw *rw, const tenon_node *n, int *axis);
/* Whether v broadcasts against x without changing its type. */
bool tenon_rw_keeps_type(const tenon_value *v, const tenon_value *x);

/* ---- making ---- */
/* Says that the match stands for this node. */
void tenon_rw_take(tenon_rw *rw, tenon_node *n);
tenon_status tenon_rw_node(tenon_rw *rw, const tenon_op *op, tenon_value *const *src, int count, int results, tenon_node **out);
/* Infers the node's types; a node of constants becomes a weight expression. *out: its first result. */
tenon_status tenon_rw_infer(tenon_rw *rw, tenon_node *n, tenon_value **out);
tenon_status tenon_rw_op(tenon_rw *rw, const tenon_op *op, tenon_value *const *src, int count, tenon_value **out);
static inline tenon_status tenon_rw_unary(tenon_rw *rw, const tenon_op *op, tenon_value *x,
    tenon_value **out) { return tenon_rw_op(rw, op, &x, 1, out); }
static inline tenon_status tenon_rw_binary(tenon_rw *rw, const tenon_op *op, tenon_value *a, tenon_value *b, tenon_value **out)
{
    return tenon_rw_op(rw, op, (tenon_value *[]){a, b}, 2, out);
}
tenon_status tenon_rw_number(tenon_rw *rw, tenon_dtype dtype, double v, tenon_value **out);
tenon_status tenon_rw_list(tenon_rw *rw, const int64_t *v, int count, tenon_value **out);
tenon_status tenon_rw_transpose(tenon_rw *rw, tenon_value *x, const int64_t *perm, tenon_value **out);
/* Reshape to these dims; written with 0 and -1 where that says it, with a `symbolic` value where it does not. */
tenon_status tenon_rw_reshape(tenon_rw *rw, tenon_value *x, int rank, const tenon_dim *const *dim, tenon_value **out);
/* A node like n with other sources; attributes are copied. */
tenon_status tenon_rw_like(tenon_rw *rw, const tenon_node *n, tenon_value *const *src, int count, tenon_node **out);
/* Constant v as a vector's values along `axis` of a tensor of rank `rank`: shape (1, ..., n, ..., 1). */
tenon_status tenon_rw_along(tenon_rw *rw, tenon_value *v, int axis, int rank, tenon_value **out);

/* Puts `to` in the place of n's first result and records the event. Where the types differ nothing is replaced, and an event
   says so. */
TENON_PRINTF(4, 5) tenon_status tenon_rw_done(tenon_rw *rw, tenon_node *n, tenon_value *to, const char *format, ...);
/* Replaces one more result of n (after tenon_rw_done, for nodes with several). */
tenon_status tenon_rw_also(tenon_rw *rw, tenon_value *from, tenon_value *to);

/* ---- constants ---- */
/* If all sources of n are constants and its results are plain tensors, makes them weight expressions (small integers and
   scalars are evaluated at once). The node leaves the graph at the next sort. */
tenon_status tenon_rw_fold(tenon_cx *cx, tenon_graph *g, tenon_node *n, bool *folded);

#endif
