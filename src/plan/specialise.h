/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_PLAN_SPECIALISE_H
#define TENON_PLAN_SPECIALISE_H

#include "op/op.h"

/* The range of one symbol of the network in a profile. */
typedef struct tenon_range_named { const char *symbol; int64_t lo, opt, hi; } tenon_range_named;
const tenon_range_named *tenon_range_find(const tenon_range_named *range, size_t count, const char *symbol);
/* Every symbol of the graph that is not data-dependent must have a range. The graph is changed in place. */
tenon_status tenon_specialise(tenon_cx *cx, tenon_graph *g, const tenon_range_named *range, size_t count);

#endif
