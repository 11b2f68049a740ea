/* SPDX-License-Identifier: Apache-2.0 */
/* What the tactics that are plain loops share: one anchor without programs whose operands are sources of the problem, in any
   strides; and walking the lines of a tensor along one axis. */
#ifndef TENON_CPU_LOOPS_H
#define TENON_CPU_LOOPS_H

#include "cpu/nd.h"
#include "op/tactic.h"

/* One anchor alone; operands and wanted results in memory, of plain storage. */
const char *tenon_loop_reject(const tenon_problem *p);
/* Formats of all operands are known at build and dense row-major. */
const char *tenon_loop_reject_order(const tenon_problem *p);
static inline bool tenon_loop_plain(tenon_dtype t) { return t < TENON_STRING && tenon_dtype_get(t)->bits >= 8; }
static inline int tenon_loop_bytes(tenon_dtype t) { return tenon_dtype_get(t)->bits / 8; }

/* Source or result i of the anchor; NULL: absent. */
const tenon_tensor *tenon_loop_src(const tenon_bind *b, int i);
const tenon_tensor *tenon_loop_dst(const tenon_bind *b, int i);
/* The anchor's attribute `axis`, counted from the front. */
int tenon_loop_axis(const tenon_node *n, int rank);
/* Every member reports its own failure, but the message is member 0's: the cx of the others is not to be touched. Lines of at
   most 95 characters. */
#define TENON_LOOP_FAIL(worker, ...)                                                                                             \
    ((worker)->member == 0 ? TENON_FAIL((worker)->cx, TENON_INVALID, __VA_ARGS__) : TENON_INVALID)

/* The lines of tensors along an axis: `other` are the remaining axes, merged, with the tensors' strides in the order of
   tenon_lines_add; step: along the axis. */
typedef struct tenon_lines {
    tenon_nd other;
    int64_t count, length; /* lines; elements of one of the first tensor */
    int64_t step[4];
} tenon_lines;
void tenon_lines_init(tenon_lines *l, const tenon_tensor *first, int axis);
/* Same dims as the first but for the axis. A tensor without the axis (rank one less) has step 0. */
void tenon_lines_add(tenon_lines *l, const tenon_tensor *t, int axis);
static inline void tenon_lines_seal(tenon_lines *l) { tenon_nd_merge(&l->other); }
static inline int64_t tenon_lines_at(const tenon_lines *l, int tensor, int64_t line)
{
    return tenon_nd_offset(&l->other, tensor, l->other.rank, line);
}

#endif
