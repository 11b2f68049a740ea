/* SPDX-License-Identifier: Apache-2.0 */
/* What infer rules of the anchors share: absent sources, ranks, dims that must be equal, lists that are an attribute or a
   constant source. Messages say the numbers; the caller adds operator and node. */
#ifndef TENON_OP_RULE_H
#define TENON_OP_RULE_H

#include "op/op.h"

/* Room for the text of one dimension or shape in a message. */
typedef struct tenon_rule_text {
    char s[160];
} tenon_rule_text;

static inline const tenon_value *tenon_rule_src(const tenon_node *n, int i) { return i < n->src_count ? n->src[i] : NULL; }
static inline const tenon_type *tenon_rule_type(const tenon_node *n, int i)
{
    const tenon_value *v = tenon_rule_src(n, i);
    return v ? &v->type : NULL;
}
static inline bool tenon_rule_wants(const tenon_node *n, int i) { return i < n->dst_count && n->dst[i]; }

const char *tenon_rule_dim(const tenon_graph *g, const tenon_dim *d, tenon_rule_text *text);
const char *tenon_rule_shape(const tenon_graph *g, const tenon_type *t, tenon_rule_text *text);

/* Source i is there and its rank is within [lo, hi]; `letter` names it in messages ("x", "weight"). */
tenon_status tenon_rule_rank(tenon_cx *cx, const tenon_node *n, int i, const char *letter, int lo, int hi);
tenon_status tenon_rule_float(tenon_cx *cx, const tenon_node *n, int i, const char *letter);
tenon_status tenon_rule_number(tenon_cx *cx, const tenon_node *n, int i, const char *letter); /* float or integer */
tenon_status tenon_rule_same_type(tenon_cx *cx, const tenon_node *n, int i, int j);
/* a == b must be provable; "channels of x 3, of weight times group 4". */
tenon_status tenon_rule_equal(tenon_cx *cx, const tenon_graph *g, const char *what_a, const tenon_dim *a,
                              const char *what_b, const tenon_dim *b);
/* Source i (if there) has rank 1 and `dim` elements. */
tenon_status tenon_rule_vector(tenon_cx *cx, const tenon_graph *g, const tenon_node *n, int i, const char *letter,
                               const tenon_dim *dim);
/* `t` broadcasts to `to` without changing it. */
tenon_status tenon_rule_broadcasts(tenon_cx *cx, const tenon_graph *g, const char *letter,
                                   const tenon_type *t, const tenon_type *to);

/* A list of constants: the attribute when set, else source `src` (-1: none) when its contents are constants. *count -1: neither
   is there. TENON_UNSUPPORTED when the source's contents are not known at build. */
tenon_status tenon_rule_list(tenon_cx *cx, tenon_graph *g, const tenon_node *n, const char *attr, int src, int64_t *out, int max,
                             int *count);
/* Operators that pack weights: source 0 has a rank within [lo, hi] and constant dims, which go to dim; result 0 is a vector of so many
   elements as the product of `size` says. */
tenon_status tenon_rule_weight_dims(tenon_cx *cx, const tenon_node *n, int lo, int hi, int64_t *dim);
tenon_status tenon_rule_packed(tenon_cx *cx, tenon_graph *g, tenon_node *n, tenon_dtype dtype, const int64_t *size, int sizes);
/* One of the NULL-terminated words; *out its index. */
tenon_status tenon_rule_word(tenon_cx *cx, const tenon_node *n, const char *attr, const char *const *words, int *out);

#endif
