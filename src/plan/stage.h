/* SPDX-License-Identifier: Apache-2.0 */
/* Inside plan/: helpers that several stages share. */
#ifndef TENON_PLAN_STAGE_H
#define TENON_PLAN_STAGE_H

#include "op/eval.h"
#include "plan/plan.h"

/* Fills src and dst of a group from its nodes. TENON_UNSUPPORTED: more than a problem can have. */
tenon_status tenon_plan_border(tenon_plan *plan, tenon_group *g);
/* Before everything: selections in two parts (selection.c). */
tenon_status tenon_plan_selection(tenon_plan *plan);
/* Border and text of a group that is run from graph text (graph_step.c). */
tenon_status tenon_plan_graph_text(tenon_plan *plan, tenon_group *g);
/* The same problem under other formats; the graph is shared. */
tenon_status tenon_plan_reformat(tenon_plan *plan, const tenon_problem *base, const tenon_format *src, const tenon_format *dst,
                                 tenon_problem *out);
/* Lives in the context's block, not in a binding, a weight or the heap. */
bool tenon_plan_in_block(const tenon_place *root);
/* The most scratch that a step of the list needs. */
void tenon_plan_scratch(tenon_plan *plan);
/* Evaluates a packed weight of a step; its data lies in `heap`. */
tenon_status tenon_plan_pack(tenon_plan *plan, const tenon_plan_step *s, const tenon_pack *pack, tenon_heap *heap,
                             tenon_tensor *out);
/* A constant as it is kept, dense in the order of its place; data that is not row-major lies in `heap`. */
tenon_status tenon_plan_constant(tenon_plan *plan, const tenon_place *p, tenon_heap *heap, tenon_tensor *out);
/* Near rivals of the hottest steps' tactics are tried in the whole list of steps (whole.c); after memory, which may change. */
tenon_status tenon_plan_whole(tenon_plan *plan);
/* Groups with their conversions as a list of steps. */
tenon_status tenon_plan_steps(tenon_plan *plan);
/* A constant of one element with known data. */
bool tenon_plan_is_scalar(const tenon_value *v);

#endif
