/* SPDX-License-Identifier: Apache-2.0 */
/* The axes of a reduction's source in two: those that are kept, and those of which each result is made. */
#ifndef TENON_CPU_REDUCE_AXES_H
#define TENON_CPU_REDUCE_AXES_H

#include "cpu/nd.h"
#include "ir/graph.h"

/* kept: strides of x and y, in the order of the axes; reduced: strides of x, simplified. Elements that become one. */
int64_t tenon_reduce_split(const tenon_node *n, const tenon_tensor *x, const tenon_tensor *y, tenon_nd *kept, tenon_nd *reduced);

#endif
