/* SPDX-License-Identifier: Apache-2.0 */
/* Inside plan/: helpers that several stages share. */
#ifndef TENON_PLAN_STAGE_H
#define TENON_PLAN_STAGE_H

#include "plan/plan.h"

/* Fills src and dst of a group from its nodes. TENON_UNSUPPORTED: more than a problem can have. */
tenon_status tenon_plan_border(tenon_plan *plan, tenon_group *g);
/* Border and text of a group that is run from graph text (graph_step.c). */
tenon_status tenon_plan_graph_text(tenon_plan *plan, tenon_group *g);
/* The same problem under other formats; the graph is shared. */
tenon_status tenon_plan_reformat(tenon_plan *plan, const tenon_problem *base, const tenon_format *src, const tenon_format *dst,
                                 tenon_problem *out);
/* Groups with their conversions as a list of steps. */
tenon_status tenon_plan_steps(tenon_plan *plan);
/* A constant of one element with known data. */
bool tenon_plan_is_scalar(const tenon_value *v);

#endif
