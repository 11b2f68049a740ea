/* SPDX-License-Identifier: Apache-2.0 */
/* From chosen groups to the list of steps: each group's conversions (shared between the groups that want the same copy), then the group,
   then the copies of results that it could not write in place. A conversion is a `copy` problem like any other. */
#include "plan/stage.h"

#include "base/checked.h"

#include <stdio.h>
#include <string.h>

/* Copies made so far: place -> its copy under a layout. */
typedef struct converted { const tenon_place *from; tenon_layout layout; tenon_place *to; } converted;
typedef struct stepper {
    tenon_plan *plan;
    converted *list; size_t count, capacity;
} stepper;

static tenon_status new_step(tenon_plan *plan, tenon_plan_step **out)
{
    void *array = plan->step;
    TENON_TRY(tenon_arena_grow(plan->arena, &array, &plan->step_capacity, plan->step_count + 1, sizeof *plan->step));
    plan->step = array;
    *out = &plan->step[plan->step_count++];
    memset(*out, 0, sizeof **out);
    return TENON_OK;
}

static tenon_status own_place(tenon_plan *plan, tenon_value *v, tenon_layout layout, tenon_place **out)
{
    tenon_place *p = tenon_place_new(plan->arena, v);
    if (!p) return TENON_NOMEM;
    p->layout = layout;
    p->fixed = true;
    *out = p;
    return TENON_OK;
}

static tenon_status place_format(tenon_plan *plan, const tenon_place *p, tenon_format *out)
{
    tenon_view view;
    bool possible;
    TENON_TRY(tenon_place_strides(plan, p, &view, &possible));
    if (!possible) return TENON_FAIL(plan->cx, TENON_INTERNAL, "value '%s' has no strides", p->value->name);
    if (!tenon_format_of_strides(plan->graph->dims, &p->value->type, &view, out)) *out = (tenon_format){.layout = TENON_STRIDED};
    return TENON_OK;
}

static tenon_status copy_step(tenon_plan *plan, tenon_place *from, tenon_place *to, const char *origin)
{
    tenon_group g = {.kind = TENON_GROUP_PROBLEM, .src = {from->value}, .src_count = 1, .dst_count = 1};
    tenon_node *n;
    tenon_value *src = from->value;
    TENON_TRY(
        tenon_graph_node(plan->graph, &tenon_op_copy, tenon_arena_printf(plan->arena, "convert_%s", src->name), 1, &src, 1, &n));
    TENON_TRY(tenon_infer_node(plan->cx, plan->graph, n));
    n->origin = origin;
    g.node[0] = n;
    g.node_count = 1;
    g.dst[0] = n->dst[0];
    tenon_group *kept = tenon_arena_alloc(plan->arena, sizeof *kept);
    tenon_problem *problem = tenon_arena_alloc(plan->arena, sizeof *problem);
    if (!kept || !problem) return TENON_NOMEM;
    tenon_format src_format, dst_format;
    TENON_TRY(place_format(plan, from, &src_format));
    TENON_TRY(place_format(plan, to, &dst_format));
    TENON_TRY(tenon_plan_problem(plan, &g, &src_format, &dst_format, problem));
    *kept = g;
    tenon_plan_step *s;
    TENON_TRY(new_step(plan, &s));
    s->group = kept;
    s->conversion = true;
    s->problem = problem;
    TENON_TRY(tenon_tuner_choose(plan->tuner, problem, &s->choice));
    s->src_count = s->dst_count = 1;
    s->src[0] = s->dst[0] = src;
    s->src_place[0] = from;
    s->dst_place[0] = to;
    return TENON_OK;
}

/* The nearest ancestor whose strides exist; p itself when it has strides. */
static tenon_status nearest_possible(tenon_plan *plan, tenon_place *p, tenon_place **out)
{
    for (;; p = p->base) {
        tenon_view view;
        bool possible;
        TENON_TRY(tenon_place_strides(plan, p, &view, &possible));
        if (possible) {
            *out = p;
            return TENON_OK;
        }
    }
}

/* A chain of views like that from `top` down to `p`, on another base. */
static tenon_status rebase(tenon_plan *plan, tenon_place *p, const tenon_place *top, tenon_place *on, tenon_place **out)
{
    if (p == top) {
        *out = on;
        return TENON_OK;
    }
    tenon_place *base, *copy;
    TENON_TRY(rebase(plan, p->base, top, on, &base));
    TENON_TRY(own_place(plan, p->value, TENON_ROW, &copy));
    copy->kind = p->kind;
    copy->base = base;
    copy->view_node = p->view_node;
    copy->part_axis = p->part_axis;
    copy->part_start = p->part_start;
    *out = copy;
    return TENON_OK;
}

static tenon_status convert(stepper *st, tenon_place *from, tenon_layout layout, const char *origin, tenon_place **out)
{
    tenon_plan *plan = st->plan;
    for (size_t i = 0; i < st->count; i++)
        if (st->list[i].from == from && st->list[i].layout == layout) {
            *out = st->list[i].to;
            return TENON_OK;
        }
    tenon_place *readable, *to;
    TENON_TRY(nearest_possible(plan, from, &readable));
    TENON_TRY(own_place(plan, readable->value, readable == from ? layout : TENON_ROW, &to));
    TENON_TRY(copy_step(plan, readable, to, origin));
    if (readable != from) {
        /* the view exists on a dense copy of what it views; if it is still not the format wanted, it is copied once more */
        tenon_place *view;
        TENON_TRY(rebase(plan, from, readable, to, &view));
        tenon_format f;
        TENON_TRY(place_format(plan, view, &f));
        to = view;
        if (f.layout != layout || f.ld) TENON_TRY(convert(st, view, layout, origin, &to));
    }
    void *array = st->list;
    TENON_TRY(tenon_arena_grow(plan->arena, &array, &st->capacity, st->count + 1, sizeof *st->list));
    st->list = array;
    st->list[st->count++] = (converted){from, layout, to};
    *out = to;
    return TENON_OK;
}

static tenon_status add_group(stepper *st, tenon_group *g)
{
    tenon_plan *plan = st->plan;
    tenon_place *src[TENON_PROBLEM_SRC + 8], *dst[TENON_PROBLEM_DST];
    const char *origin = g->node[0]->origin;
    for (int i = 0; i < g->src_count; i++) {
        src[i] = tenon_place_of(g->src[i]);
        if (g->kind == TENON_GROUP_PROBLEM && g->convert[i])
            TENON_TRY(convert(st, src[i], g->src_format[i].layout, origin, &src[i]));
    }
    for (int i = 0; i < g->dst_count; i++) {
        dst[i] = tenon_place_of(g->dst[i]);
        if (g->kind == TENON_GROUP_PROBLEM && g->convert_dst[i])
            TENON_TRY(own_place(plan, g->dst[i], g->dst_format[i].layout, &dst[i]));
    }
    tenon_plan_step *s;
    TENON_TRY(new_step(plan, &s));
    s->group = g;
    s->problem = g->kind == TENON_GROUP_PROBLEM ? &g->problem : NULL;
    s->choice = g->choice;
    s->conversion = g->node[0]->op == &tenon_op_copy; /* storage.c put it there */
    s->src_count = g->src_count;
    s->dst_count = g->dst_count;
    memcpy(s->src, g->src, sizeof s->src);
    memcpy(s->dst, g->dst, sizeof s->dst);
    memcpy(s->src_place, src, sizeof src);
    memcpy(s->dst_place, dst, sizeof dst);
    for (int i = 0; i < g->dst_count; i++)
        if (g->kind == TENON_GROUP_PROBLEM && g->convert_dst[i])
            TENON_TRY(copy_step(plan, dst[i], tenon_place_of(g->dst[i]), origin));
    return TENON_OK;
}

void tenon_plan_scratch(tenon_plan *plan)
{
    plan->scratch_bytes = 0;
    for (size_t i = 0; i < plan->step_count; i++) {
        const tenon_choice *c = plan->step[i].choice;
        if (c) plan->scratch_bytes = TENON_MAX(plan->scratch_bytes, tenon_round_up(c->plan.scratch_bytes, 64));
    }
}

/* A tactic that would have done the step, had it been given its workspace. */
static const tenon_rejected *short_of_workspace(const tenon_choice *c)
{
    for (size_t i = 0; i < c->rejected_count; i++)
        if (strstr(c->rejected[i].why, "of workspace,")) return &c->rejected[i];
    return NULL;
}

static void tell_gap(const tenon_plan *plan, const tenon_plan_step *s)
{
    const char *name = s->group->node[0]->name;
    const tenon_rejected *limited = short_of_workspace(s->choice);
    char why[320] = "";
    if (limited) snprintf(why, sizeof why, " (%s %s)", limited->tactic->name, limited->why);
    if (s->choice->host)
        tenon_log(plan->cx, TENON_WARNING, TENON_TOPIC_PLAN, "step '%s' runs on the host, between copies, by %s: %s%s", name,
                  s->choice->tactic->name, s->problem->text, why);
    else
        tenon_log(plan->cx, TENON_WARNING, TENON_TOPIC_PLAN, "step '%s' runs on the slow reference: %s%s", name, s->problem->text,
                  why);
}

tenon_status tenon_plan_steps(tenon_plan *plan)
{
    stepper st = {.plan = plan};
    for (size_t i = 0; i < plan->group_count; i++) TENON_TRY(add_group(&st, plan->group[i]));
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->step[i].choice && tenon_choice_is_gap(plan->step[i].choice)) tell_gap(plan, &plan->step[i]);
    tenon_plan_scratch(plan);
    return TENON_OK;
}
