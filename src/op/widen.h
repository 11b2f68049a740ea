/* SPDX-License-Identifier: Apache-2.0 */
/* Types that must hold for several values: the results of two branches, what a loop carries, the items of a sequence.
   Equal dims stay, others become sizes known only at run time, different ranks an unknown rank. */
#ifndef TENON_OP_WIDEN_H
#define TENON_OP_WIDEN_H

#include "op/move.h"

/* The size at axis `axis` of `before` when it is a run-time size, else a new one. before may be NULL. */
const tenon_dim *tenon_widen_size(tenon_graph *g, const tenon_type *before, int axis, const char *prefix);
/* A type for values that are of type a or of type b. `before` (may be NULL): the type found last time, whose run-time sizes are
   used again. Sequences and optionals are widened by their items. TENON_INVALID when the element types differ. */
tenon_status tenon_widen_type(tenon_cx *cx, tenon_graph *g, const tenon_type *a, const tenon_type *b, const tenon_type *before,
                              tenon_type *out);
/* Items of a sequence: a run-time size in an item's type means "any size", so it absorbs others. */
tenon_status tenon_widen_item(tenon_cx *cx, tenon_graph *g, const tenon_type *a, const tenon_type *b, tenon_type *out);
/* The item type of a sequence that holds nothing yet: widening it with another type gives the other. */
void tenon_widen_nothing(tenon_graph *g, tenon_dtype dtype, tenon_type *out);
/* An item's type as the type of result i: "any size" becomes a size of its own. */
void tenon_widen_take(tenon_graph *g, tenon_node *n, int i, const tenon_type *item);
/* Result i becomes a sequence or optional of `item`. */
tenon_status tenon_widen_container(tenon_graph *g, tenon_node *n, int i, tenon_dtype dtype, const tenon_type *item);
bool tenon_widen_same(const tenon_type *a, const tenon_type *b); /* items included */

#endif
