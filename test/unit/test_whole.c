/* SPDX-License-Identifier: Apache-2.0 */
/* The search in the whole engine: which launches are in the list after a choice was replaced whose times were known, when those of
   another problem were measured before. The file is included, since what it keeps is its own. */
#include "check.h"

#include "plan/race.h"

/* A bound launch's record is the choice that it was bound for. */
static tenon_status bind_nothing(tenon_race *t, tenon_race_step *s, tenon_launch *out)
{
    (void)t;
    *out = (tenon_launch){.tactic = s->tactic, .record = s->variant};
    return TENON_OK;
}
#define tenon_race_bind bind_nothing
#include "plan/whole.c"

static tenon_status plan_nothing(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                                 tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device, (void)out;
    return TENON_OK;
}

enum { FIRST, FIRST_RIVAL, SECOND, SECOND_RIVAL, CHOICES, STEPS = 3 };

int main(void)
{
    tenon_cx cx;
    const tenon_tactic tactic = {.name = "a test", .plan = plan_nothing};
    tenon_choice choice[CHOICES];
    tenon_problem problem = {.src_count = 0};
    tenon_plan_step step[STEPS] = {{.problem = &problem}, {.problem = &problem}, {.problem = &problem}};
    tenon_launch launch[STEPS], other[STEPS];
    size_t in_list[STEPS] = {0, 1, 2};
    uint8_t block[64];
    tenon_cx_init_default(&cx);
    for (int i = 0; i < CHOICES; i++) choice[i] = (tenon_choice){.tactic = &tactic};
    tenon_plan plan = {.cx = &cx, .step = step, .step_count = STEPS};
    bench b = {.plan = &plan, .block = block, .launch = launch, .other = {other}, .in_list = in_list, .count = STEPS};
    for (int i = 0; i < STEPS; i++) {
        step[i].choice = &choice[i == 1 ? SECOND : FIRST];
        CHECK_OK(&cx, bind(&b, (size_t)i, step[i].choice, &launch[i]));
    }
    const hot first = {.choice = &choice[FIRST], .other = {&choice[FIRST_RIVAL]}, .count = 1};
    const hot second = {.choice = &choice[SECOND], .other = {&choice[SECOND_RIVAL]}, .count = 1};
    /* the first was measured and kept, the second is known to be better with its rival */
    CHECK_OK(&cx, bind_other(&b, first.choice, first.other[0], other));
    CHECK(other[0].record == &choice[FIRST_RIVAL].variant && other[1].record == &choice[SECOND].variant);
    b.measured = &first;
    CHECK_OK(&cx, replace(&b, &second, 0));
    for (int i = 0; i < STEPS; i++) {
        CHECK(step[i].choice == &choice[i == 1 ? SECOND_RIVAL : FIRST]);
        CHECK(launch[i].record == &step[i].choice->variant);
    }
    /* what was measured last is taken as it is */
    CHECK_OK(&cx, bind_other(&b, first.choice, first.other[0], other));
    CHECK_OK(&cx, replace(&b, &first, 0));
    for (int i = 0; i < STEPS; i++) CHECK(launch[i].record == &choice[i == 1 ? SECOND_RIVAL : FIRST_RIVAL].variant);
    return CHECK_END();
}
