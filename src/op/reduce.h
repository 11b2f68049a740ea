/* SPDX-License-Identifier: Apache-2.0 */
/* What reductions mean by their attributes, for the tactics of all backends. */
#ifndef TENON_OP_REDUCE_H
#define TENON_OP_REDUCE_H

#include "ir/graph.h"

/* Which axes of the source are reduced, of a node that passed its type rule; reduced: TENON_MAX_RANK of them. False: the axes are
   a source of the node, not attributes. */
bool tenon_reduce_axes(const tenon_node *n, bool *reduced);

#endif
