/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts, formats and tactics in one choice: each own buffer of rank 3 or more may lie row-major, channels-last or in the order
   its reader's transpose wants; a step's cost under given layouts is its best tactic's time plus the copies that bring its
   operands into a format it takes. A forward pass fixes a first assignment, sweeps of single changes improve the sum until
   nothing does. */
#include "plan/stage.h"

#include <string.h>

enum { SWEEPS = 4 };
#define IMPOSSIBLE 1e6

typedef struct evaluation {
    double seconds;
    tenon_problem problem;
    const tenon_choice *choice;
    tenon_format src[TENON_PROBLEM_SRC + 8], dst[TENON_PROBLEM_DST];
    bool convert_src[TENON_PROBLEM_SRC + 8], convert_dst[TENON_PROBLEM_DST];
} evaluation;

/* Layout of the copy that a mode makes of operands which do not fit it. */
typedef enum { MODE_DIRECT, MODE_ROW, MODE_CLAST, MODE_COUNT } mode;

static double opt_bytes(const tenon_plan *plan, const tenon_type *t)
{
    double n = tenon_dtype_get(t->dtype)->bits / 8.0;
    for (int i = 0; i < t->rank; i++) n *= (double)tenon_dim_at_opt(plan->graph->dims, t->dim[i]);
    return n;
}

static double copy_seconds(const tenon_plan *plan, const tenon_type *t)
{
    const tenon_device_info *info = plan->backend->info(plan->device);
    return info->step_seconds + 2 * opt_bytes(plan, t) / (info->bandwidth * 0.5);
}

/* TENON_STRIDED when it has strides that are no format; *possible false when it has none at all. */
static tenon_status format_of(tenon_plan *plan, const tenon_value *v, tenon_format *out, bool *possible)
{
    tenon_view view;
    TENON_TRY(tenon_place_strides(plan, tenon_place_of(v), &view, possible));
    if (*possible && !tenon_format_of_strides(plan->graph->dims, &v->type, &view, out))
        *out = (tenon_format){.layout = TENON_STRIDED};
    return TENON_OK;
}

/* With one channel, or one pixel, both layouts are the same bytes. */
static bool layouts_agree(const tenon_type *t)
{
    bool one_pixel = true;
    for (int i = 2; i < t->rank; i++) one_pixel = one_pixel && tenon_dim_is(t->dim[i], 1);
    return one_pixel || tenon_dim_is(t->dim[1], 1);
}

static bool plain_row(const tenon_format *f) { return f->layout == TENON_ROW && f->ld == 0; }

static tenon_status operand_formats(tenon_plan *plan, const tenon_group *g, mode m, evaluation *e, double *copies)
{
    *copies = 0;
    const tenon_layout target = m == MODE_CLAST ? TENON_CLAST : TENON_ROW;
    for (int i = 0; i < g->src_count; i++) {
        const tenon_value *v = g->src[i];
        bool ok;
        TENON_TRY(format_of(plan, v, &e->src[i], &ok));
        ok = ok && (m == MODE_DIRECT || e->src[i].layout != TENON_STRIDED);
        e->convert_src[i] = !ok || (m == MODE_ROW && !plain_row(&e->src[i])) ||
                            (m == MODE_CLAST && v->type.rank >= 3 && !v->is_const && e->src[i].layout != TENON_CLAST &&
                             !layouts_agree(&v->type));
        if (!e->convert_src[i]) continue;
        e->src[i] = (tenon_format){.layout = v->type.rank >= 3 ? target : TENON_ROW};
        *copies += copy_seconds(plan, &v->type);
    }
    for (int i = 0; i < g->dst_count; i++) {
        bool ok;
        TENON_TRY(format_of(plan, g->dst[i], &e->dst[i], &ok));
        ok = ok && (m == MODE_DIRECT || e->dst[i].layout != TENON_STRIDED);
        e->convert_dst[i] = !ok;
        if (ok) continue;
        e->dst[i] = (tenon_format){.layout = g->dst[i]->type.rank >= 3 ? target : TENON_ROW};
        *copies += copy_seconds(plan, &g->dst[i]->type);
    }
    return TENON_OK;
}

static tenon_status evaluate_mode(tenon_plan *plan, tenon_group *g, mode m, bool timed, evaluation *out)
{
    double copies;
    TENON_TRY(operand_formats(plan, g, m, out, &copies));
    TENON_TRY(tenon_plan_reformat(plan, &g->problem, out->src, out->dst, &out->problem));
    TENON_TRY(timed ? tenon_tuner_choose(plan->tuner, &out->problem, &out->choice)
                    : tenon_tuner_estimate(plan->tuner, &out->problem, &out->choice));
    out->seconds = out->choice->seconds + copies;
    return TENON_OK;
}

static bool converts_any(const evaluation *e, const tenon_group *g)
{
    for (int i = 0; i < g->src_count; i++)
        if (e->convert_src[i]) return true;
    for (int i = 0; i < g->dst_count; i++)
        if (e->convert_dst[i]) return true;
    return false;
}

/* A way with copies must win clearly, since copies are estimated and measurements scatter; when it seems to, both are measured
   again beside each other. */
static tenon_status wins_clearly(tenon_plan *plan, const tenon_group *g, const evaluation *with, const evaluation *without,
                                 bool *out)
{
    const void *src[TENON_PROBLEM_SRC + 8], *dst[TENON_PROBLEM_DST];
    for (int i = 0; i < g->src_count; i++) src[i] = g->src[i];
    for (int i = 0; i < g->dst_count; i++) dst[i] = g->dst[i];
    const double more = 2 * (with->seconds - with->choice->seconds), less = without->seconds - without->choice->seconds;
    *out = with->choice->seconds + more < 0.9 * without->seconds;
    if (!*out) return TENON_OK;
    const tenon_lineup_step step[2] = {{&with->problem, with->choice, src, dst}, {&without->problem, without->choice, src, dst}};
    double seconds[2];
    TENON_TRY(tenon_tuner_compare(plan->tuner, (tenon_lineup[]){{&step[0], 1}, {&step[1], 1}}, seconds));
    *out = seconds[0] + more < 0.9 * (seconds[1] + less);
    return TENON_OK;
}

static tenon_status evaluate(tenon_plan *plan, tenon_group *g, bool timed, evaluation *out)
{
    if (g->kind == TENON_GROUP_GRAPH) {
        out->seconds = 0;
        return TENON_OK;
    }
    TENON_TRY(evaluate_mode(plan, g, MODE_DIRECT, timed, out));
    if (!timed && !tenon_choice_is_gap(out->choice) && !converts_any(out, g)) return TENON_OK;
    evaluation model = *out;
    if (timed) TENON_TRY(evaluate_mode(plan, g, MODE_DIRECT, false, &model));
    for (mode m = MODE_ROW; m < MODE_COUNT; m++) {
        evaluation other;
        /* estimates first: a copy is measured only where the model sees a reason for it */
        const bool gap = tenon_choice_is_gap(out->choice);
        TENON_TRY(evaluate_mode(plan, g, m, false, &other));
        if (!converts_any(&other, g) || (tenon_choice_is_gap(other.choice) && !gap)) continue;
        if (timed && !gap && other.seconds >= model.seconds) continue;
        if (timed) TENON_TRY(evaluate_mode(plan, g, m, true, &other));
        const bool fills = gap && !tenon_choice_is_gap(other.choice);
        bool wins = fills || other.seconds < out->seconds;
        if (timed && !gap) TENON_TRY(wins_clearly(plan, g, &other, out, &wins));
        if (wins) *out = other;
    }
    return TENON_OK;
}

/* ---- the search ---- */
typedef struct variable {
    tenon_place *place;
    tenon_group **touch; /* groups that read or write something in it */
    int touch_count, touch_capacity;
} variable;

static tenon_status add_touch(tenon_plan *plan, variable *vars, int count, const tenon_value *v, tenon_group *g)
{
    const tenon_place *root = tenon_place_root(tenon_place_of(v));
    for (int i = 0; i < count; i++) {
        variable *x = &vars[i];
        if (x->place != root) continue;
        if (x->touch_count && x->touch[x->touch_count - 1] == g) return TENON_OK;
        void *array = x->touch;
        size_t capacity = (size_t)x->touch_capacity;
        TENON_TRY(tenon_arena_grow(plan->arena, &array, &capacity, (size_t)x->touch_count + 1, sizeof *x->touch));
        x->touch = array;
        x->touch_capacity = (int)capacity;
        x->touch[x->touch_count++] = g;
    }
    return TENON_OK;
}

static tenon_status find_variables(tenon_plan *plan, variable **out, int *count)
{
    const tenon_graph *graph = plan->graph;
    variable *vars = tenon_arena_array(plan->arena, graph->value_count + 1, sizeof *vars);
    if (!vars) return TENON_NOMEM;
    *count = 0;
    for (size_t i = 0; i < graph->value_count; i++) {
        tenon_place *p = graph->value[i]->user;
        if (p && p->kind == TENON_PLACE_OWN && p->feature && !p->fixed && p->binding < 0) vars[(*count)++].place = p;
    }
    for (size_t i = 0; i < plan->group_count; i++) {
        tenon_group *g = plan->group[i];
        for (int k = 0; k < g->src_count; k++) TENON_TRY(add_touch(plan, vars, *count, g->src[k], g));
        for (int k = 0; k < g->dst_count; k++) TENON_TRY(add_touch(plan, vars, *count, g->dst[k], g));
    }
    *out = vars;
    return TENON_OK;
}

static bool layout_possible(const tenon_place *p, tenon_layout l)
{
    return l == TENON_ROW || (l == TENON_CLAST && p->value->type.rank >= 3) || (l == TENON_ORDER && p->has_order);
}

static tenon_status cost_of(tenon_plan *plan, tenon_group *const *g, int count, double *out)
{
    *out = 0;
    for (int i = 0; i < count; i++) {
        evaluation e;
        TENON_TRY(evaluate(plan, g[i], false, &e));
        *out += e.seconds;
    }
    return TENON_OK;
}

/* First assignment: each group, in order, takes the layout for its results under which it is fastest given its sources. */
static tenon_status forward(tenon_plan *plan)
{
    for (size_t i = 0; i < plan->group_count; i++) {
        tenon_group *g = plan->group[i];
        for (int k = 0; k < g->dst_count; k++) {
            tenon_place *root = tenon_place_root(tenon_place_of(g->dst[k]));
            if (!root->feature || root->fixed || root->binding >= 0 || root->decided) continue;
            root->decided = true;
            if (g->kind == TENON_GROUP_GRAPH) {
                root->fixed = true;
                continue;
            }
            double best = IMPOSSIBLE;
            tenon_layout chosen = TENON_ROW;
            for (tenon_layout l = TENON_ROW; l <= TENON_ORDER; l++) {
                if (!layout_possible(root, l)) continue;
                root->layout = l;
                double seconds;
                TENON_TRY(cost_of(plan, &g, 1, &seconds));
                if (seconds < best) {
                    best = seconds;
                    chosen = l;
                }
            }
            root->layout = chosen;
        }
    }
    return TENON_OK;
}

static tenon_status sweep(tenon_plan *plan, variable *vars, int count, bool *improved)
{
    *improved = false;
    for (int i = 0; i < count; i++) {
        variable *v = &vars[i];
        if (v->place->fixed) continue;
        const tenon_layout before = v->place->layout;
        tenon_layout best_layout = before;
        double best;
        TENON_TRY(cost_of(plan, v->touch, v->touch_count, &best));
        for (tenon_layout l = TENON_ROW; l <= TENON_ORDER; l++) {
            if (l == before || !layout_possible(v->place, l)) continue;
            v->place->layout = l;
            double seconds;
            TENON_TRY(cost_of(plan, v->touch, v->touch_count, &seconds));
            if (seconds < best * (1 - 1e-9)) {
                best = seconds;
                best_layout = l;
            }
        }
        v->place->layout = best_layout;
        *improved |= best_layout != before;
    }
    return TENON_OK;
}

/* ---- constants that programs read ---- */
/* Nothing but pointwise nodes of problems reads it. */
static bool is_program_constant(const tenon_plan *plan, const tenon_value *v)
{
    const tenon_place *p = tenon_place_of(v);
    if (!v->is_const || p->kind != TENON_PLACE_OWN || p->layout != TENON_ROW || v->type.rank < 3)
        return false;
    for (size_t u = 0; u < v->use_count; u++) {
        const tenon_node *n = v->use[u].node;
        if (!n || (size_t)n->id >= plan->graph->node_count || plan->graph->node[n->id] != n) return false;
        const tenon_group *g = n->user;
        if (!g || g->kind != TENON_GROUP_PROBLEM || !(n->op->flags & TENON_OP_POINTWISE)) return false;
    }
    return true;
}

/* As large as a feature map (a position embedding) it is read as the first step that reads it writes: no model sees the
   difference, but a row of channels from a row-major map is an element of a cache line each. */
static void lay_constant(const tenon_format *result, int rank, tenon_place *p)
{
    uint8_t order[TENON_MAX_RANK];
    const int shift = rank - p->value->type.rank;
    int count = 0;
    bool row = true;
    tenon_format_order(result, rank, order);
    for (int i = 0; i < rank; i++)
        if (order[i] >= shift) p->order[count++] = (uint8_t)(order[i] - shift);
    int last = -1;
    for (int i = 0; i < count; i++) {
        if (tenon_dim_is(p->value->type.dim[p->order[i]], 1)) continue;
        row = row && p->order[i] > last;
        last = p->order[i];
    }
    p->has_order = !row;
    if (!row) p->layout = TENON_ORDER;
}

static tenon_status lay_constants(tenon_plan *plan)
{
    for (size_t i = 0; i < plan->group_count; i++) {
        const tenon_group *g = plan->group[i];
        tenon_format result;
        bool possible;
        if (g->kind != TENON_GROUP_PROBLEM) continue;
        TENON_TRY(format_of(plan, g->dst[0], &result, &possible));
        if (!possible || result.layout == TENON_STRIDED) continue;
        for (int k = 0; k < g->src_count; k++)
            if (is_program_constant(plan, g->src[k]) && g->src[k]->type.rank <= g->dst[0]->type.rank)
                lay_constant(&result, g->dst[0]->type.rank, tenon_place_of(g->src[k]));
    }
    return TENON_OK;
}

/* Of all groups at once: kernels of different problems are compiled beside each other. The conversions that evaluate may come
   to want are left to it. */
static tenon_status prepare(tenon_plan *plan)
{
    size_t count = 0;
    if (!plan->backend->kernel_prepare) return TENON_OK;
    tenon_problem *problem = tenon_arena_array(plan->arena, plan->group_count + 1, sizeof *problem);
    const tenon_problem **list = tenon_arena_array(plan->arena, plan->group_count + 1, sizeof *list);
    evaluation *e = tenon_arena_alloc(plan->arena, sizeof *e);
    if (!problem || !list || !e) return TENON_NOMEM;
    for (size_t i = 0; i < plan->group_count; i++) {
        tenon_group *g = plan->group[i];
        double copies;
        if (g->kind == TENON_GROUP_GRAPH) continue;
        TENON_TRY(operand_formats(plan, g, MODE_DIRECT, e, &copies));
        TENON_TRY(tenon_plan_reformat(plan, &g->problem, e->src, e->dst, &problem[count]));
        list[count] = &problem[count];
        count++;
    }
    return tenon_tuner_prepare(plan->tuner, list, count);
}

static tenon_status settle(tenon_plan *plan)
{
    TENON_TRY(prepare(plan));
    for (size_t i = 0; i < plan->group_count; i++) {
        tenon_group *g = plan->group[i];
        if (g->kind == TENON_GROUP_GRAPH) continue;
        TENON_TRY(tenon_progress(plan->cx, "timing", i, plan->group_count));
        evaluation e;
        TENON_TRY(evaluate(plan, g, true, &e));
        g->problem = e.problem;
        g->choice = e.choice;
        g->cost = e.seconds;
        memcpy(g->src_format, e.src, sizeof e.src);
        memcpy(g->dst_format, e.dst, sizeof e.dst);
        memcpy(g->convert, e.convert_src, sizeof e.convert_src);
        memcpy(g->convert_dst, e.convert_dst, sizeof e.convert_dst);
    }
    return tenon_progress(plan->cx, "timing", plan->group_count, plan->group_count);
}

tenon_status tenon_plan_choose(tenon_plan *plan)
{
    variable *vars;
    int count;
    TENON_TRY(find_variables(plan, &vars, &count));
    TENON_TRY(forward(plan));
    bool improved = true;
    for (int i = 0; i < SWEEPS && improved; i++) TENON_TRY(sweep(plan, vars, count, &improved));
    TENON_TRY(lay_constants(plan));
    return settle(plan);
}
