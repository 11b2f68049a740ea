/* SPDX-License-Identifier: Apache-2.0 */
/* One profile through all stages of the planner, see plan.h. */
#include "plan/stage.h"

static tenon_status note_results(tenon_plan *plan)
{
    plan->is_step_result = tenon_arena_array(plan->arena, plan->graph->value_count + 1, sizeof *plan->is_step_result);
    if (!plan->is_step_result) return TENON_NOMEM;
    for (size_t i = 0; i < plan->step_count; i++)
        for (int k = 0; k < plan->step[i].dst_count; k++) plan->is_step_result[plan->step[i].dst[k]->id] = true;
    return TENON_OK;
}

tenon_status tenon_plan_run(tenon_plan *plan)
{
    TENON_TRY(tenon_progress(plan->cx, "plan", 0, 4));
    TENON_TRY(tenon_plan_selection(plan));
    TENON_TRY(tenon_plan_storage(plan));
    TENON_TRY(tenon_plan_cover(plan));
    TENON_TRY(tenon_progress(plan->cx, "plan", 1, 4));
    TENON_TRY(tenon_plan_choose(plan));
    TENON_TRY(tenon_plan_steps(plan));
    TENON_TRY(tenon_progress(plan->cx, "plan", 3, 4));
    TENON_TRY(tenon_plan_memory(plan));
    TENON_TRY(tenon_plan_whole(plan));
    TENON_TRY(note_results(plan));
    return tenon_progress(plan->cx, "plan", 4, 4);
}
