/* SPDX-License-Identifier: Apache-2.0 */
/* The cover: which nodes become one step. Every anchor takes the pointwise nodes that follow it as far as a tactic accepts, then
   the pointwise nodes that feed it; anchors that a tactic does together are joined where that is faster; what is left of the
   pointwise nodes forms programs of its own. Whether to join is the tuner's answer, not a rule.

   Order: a group depends only on nodes that stand before its lead node in topological order, so sorting groups by lead is
   a valid order and no cycle can arise. */
#include "plan/plan.h"

#include "plan/stage.h"

#include <string.h>

/* A step that is slower by less than this than several is taken for as fast: neither the clock nor the model knows better. */
#define NOISE 1.05

static tenon_group *group_of(const tenon_node *n) { return n->user; }

static tenon_status new_group(tenon_plan *plan, tenon_group_kind kind, tenon_node *lead, tenon_group **out)
{
    tenon_group *g = tenon_arena_alloc(plan->arena, sizeof *g);
    void *array = plan->group;
    if (!g) return TENON_NOMEM;
    TENON_TRY(tenon_arena_grow(plan->arena, &array, &plan->group_capacity, plan->group_count + 1, sizeof *plan->group));
    plan->group = array;
    *g = (tenon_group){.kind = kind, .id = (int)plan->group_count, .order = lead->id, .node = {lead}, .node_count = 1};
    plan->group[plan->group_count++] = g;
    lead->user = g;
    *out = g;
    return TENON_OK;
}

static void insert_sorted(tenon_group *g, tenon_node *n)
{
    int i = g->node_count++;
    for (; i > 0 && g->node[i - 1]->id > n->id; i--) g->node[i] = g->node[i - 1];
    g->node[i] = n;
    g->based = false;
}

static bool is_pointwise(const tenon_node *n)
{
    if (!(n->op->flags & TENON_OP_POINTWISE) || n->dst_count != 1 || !n->dst[0]) return false;
    return !tenon_place_of(n->dst[0])->host_only && tenon_place_of(n->dst[0])->kind != TENON_PLACE_VIEW;
}

static bool touches_host_only(const tenon_node *n)
{
    for (int i = 0; i < n->src_count; i++)
        if (n->src[i] && tenon_place_of(n->src[i])->host_only) return true;
    for (int i = 0; i < n->dst_count; i++)
        if (n->dst[i] && tenon_place_of(n->dst[i])->host_only) return true;
    return n->sub_count > 0;
}

/* Is the value there before node `id` runs? */
static bool ready_before(const tenon_plan *plan, const tenon_value *v, int id)
{
    while (v->producer && !v->is_const && !tenon_plan_is_symbolic(v)) {
        if (v->producer->id < id) return true;
        if (!tenon_plan_is_free(plan, v->producer) || v->producer->op == &tenon_op_concat) return false;
        v = v->producer->src[0];
    }
    return true;
}

/* ---- what a group costs, for comparing covers ---- */
static void natural_formats(const tenon_group *g, tenon_layout layout, tenon_format *src, tenon_format *dst)
{
    for (int i = 0; i < g->src_count; i++) {
        const tenon_value *v = g->src[i];
        const bool feature = v->type.rank >= 3 && !v->is_const && tenon_place_root(tenon_place_of(v))->feature;
        src[i] = (tenon_format){.layout = feature ? layout : TENON_ROW};
    }
    for (int i = 0; i < g->dst_count; i++) dst[i] = (tenon_format){.layout = g->dst[i]->type.rank >= 3 ? layout : TENON_ROW};
}

/* What a group costs alone; the problem and the values at its border, as they were when it was asked. */
typedef struct costed {
    const tenon_choice *choice; /* NULL: no tactic of the device can */
    double host_seconds;        /* then: on the host; 0: only the reference can */
    tenon_problem problem;
    const void *src[TENON_PROBLEM_SRC + 8], *dst[TENON_PROBLEM_DST];
} costed;

/* g->problem under some formats, made once for the same nodes. TENON_INVALID, TENON_UNSUPPORTED: they are no problem. */
static tenon_status base_problem(tenon_plan *plan, tenon_group *g)
{
    tenon_format src[TENON_PROBLEM_SRC + 8], dst[TENON_PROBLEM_DST];
    if (g->based) return TENON_OK;
    TENON_TRY(tenon_plan_border(plan, g));
    natural_formats(g, TENON_ROW, src, dst);
    TENON_TRY(tenon_plan_problem(plan, g, src, dst, &g->problem));
    g->based = true;
    return TENON_OK;
}

static bool is_refusal(tenon_status status) { return status == TENON_INVALID || status == TENON_UNSUPPORTED; }

/* The best tactic under the better of the two usual layouts. */
static tenon_status natural_choice(tenon_plan *plan, tenon_group *g, bool timed, costed *out)
{
    out->choice = NULL;
    out->host_seconds = 0;
    const tenon_status built = base_problem(plan, g);
    if (built != TENON_OK) return is_refusal(built) ? TENON_OK : built; /* cannot be said as a problem */
    tenon_format src[TENON_PROBLEM_SRC + 8], dst[TENON_PROBLEM_DST];
    tenon_problem p;
    const tenon_layout layouts[] = {TENON_CLAST, TENON_ROW};
    for (int i = 0; i < 2; i++) {
        natural_formats(g, layouts[i], src, dst);
        TENON_TRY(tenon_plan_reformat(plan, &g->problem, src, dst, &p));
        const tenon_choice *choice;
        TENON_TRY(timed ? tenon_tuner_choose(plan->tuner, &p, &choice) : tenon_tuner_estimate(plan->tuner, &p, &choice));
        if (choice->host && (!out->host_seconds || choice->seconds < out->host_seconds)) out->host_seconds = choice->seconds;
        if (tenon_choice_is_gap(choice)) continue;
        if (out->choice && choice->seconds >= out->choice->seconds) continue;
        out->choice = choice;
        out->problem = p;
    }
    memcpy(out->src, g->src, sizeof out->src);
    memcpy(out->dst, g->dst, sizeof out->dst);
    return TENON_OK;
}

/* Whether one step for `together` is better than the steps apart. As fast but for noise is better: it is fewer steps. */
static tenon_status is_better(tenon_plan *plan, const costed *together, const costed *apart, int count, bool *out)
{
    tenon_lineup_step step[TENON_PROBLEM_ANCHORS + 1];
    for (int i = 0; i <= count; i++) {
        const costed *c = i ? &apart[i - 1] : together;
        step[i] = (tenon_lineup_step){&c->problem, c->choice, c->src, c->dst};
    }
    double seconds[2];
    TENON_TRY(tenon_tuner_compare(plan->tuner, (tenon_lineup[]){{step, 1}, {step + 1, count}}, seconds));
    *out = seconds[0] <= seconds[1] * NOISE;
    return TENON_OK;
}

/* ---- post programs ---- */
static bool same_shape(const tenon_value *a, const tenon_value *b)
{
    if (a->type.rank != b->type.rank) return false;
    for (int i = 0; i < a->type.rank; i++)
        if (a->type.dim[i] != b->type.dim[i]) return false;
    return true;
}

/* Values are also used by nodes inside bodies, which are no steps of their own. */
static bool is_outermost(const tenon_plan *plan, const tenon_node *n)
{
    return (size_t)n->id < plan->graph->node_count && plan->graph->node[n->id] == n;
}

static bool may_follow(const tenon_plan *plan, const tenon_group *g, const tenon_value *domain, const tenon_node *n)
{
    if (!n || n->dead || !is_outermost(plan, n) || group_of(n) || !is_pointwise(n) || g->node_count >= TENON_GROUP_NODES ||
        !same_shape(n->dst[0], domain))
        return false;
    for (int i = 0; i < n->src_count; i++) {
        const tenon_value *v = n->src[i];
        if (!v || v->is_const) continue;
        if (v->producer && group_of(v->producer) == g) continue;
        if (!ready_before(plan, v, g->order)) return false;
    }
    return true;
}

static tenon_node *next_follower(const tenon_plan *plan, const tenon_group *g, const tenon_value *domain,
                                 tenon_node *const *refused, int refused_count)
{
    tenon_node *best = NULL;
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->dst_count; k++) {
            const tenon_value *v = g->node[i]->dst[k];
            for (size_t u = 0; v && u < v->use_count; u++) {
                tenon_node *n = v->use[u].node;
                bool skip = !may_follow(plan, g, domain, n);
                for (int r = 0; r < refused_count && !skip; r++) skip = refused[r] == n;
                if (!skip && (!best || n->id < best->id)) best = n;
            }
        }
    return best;
}

static void remove_node(tenon_group *g, tenon_node *n)
{
    int w = 0;
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i] != n) g->node[w++] = g->node[i];
    g->node_count = w;
    g->based = false;
    n->user = NULL;
}

/* Takes followers one by one; what no tactic accepts is left out. A prefix is accepted only if the whole up to here is. host_seconds:
   of a group that runs on the host, else 0; it takes what costs less there than a step of the device. */
static tenon_status take_followers(tenon_plan *plan, tenon_group *g, const tenon_value *domain, double host_seconds)
{
    const double step_seconds = plan->backend->info(plan->device)->step_seconds;
    tenon_node *refused[32];
    int refused_count = 0;
    for (;;) {
        tenon_node *n = next_follower(plan, g, domain, refused, refused_count);
        if (!n) return TENON_OK;
        insert_sorted(g, n);
        n->user = g;
        costed with;
        TENON_TRY(natural_choice(plan, g, false, &with));
        if (with.choice) continue;
        if (host_seconds > 0 && with.host_seconds > 0 && with.host_seconds <= host_seconds + step_seconds) {
            host_seconds = with.host_seconds;
            continue;
        }
        remove_node(g, n);
        if (refused_count == (int)TENON_COUNTOF(refused)) return TENON_OK;
        refused[refused_count++] = n;
    }
}

/* ---- groups of one anchor ---- */
/* A node whose problem text does not say everything (constant contents that its rule reads) is run from graph text. */
static tenon_status is_problem(tenon_plan *plan, tenon_group *g, bool *out)
{
    tenon_problem parsed;
    *out = false;
    tenon_status status = base_problem(plan, g);
    if (status == TENON_OK) status = tenon_problem_parse(plan->cx, plan->arena, g->problem.text, &parsed);
    if (status != TENON_OK && !is_refusal(status)) return status;
    *out = status == TENON_OK && strcmp(parsed.text, g->problem.text) == 0;
    if (!*out)
        tenon_log(plan->cx, TENON_VERBOSE, TENON_TOPIC_PLAN, "%s: run from graph text: %s", g->node[0]->name,
                  status == TENON_OK ? g->problem.text : plan->cx->message);
    return TENON_OK;
}

static tenon_status group_node(tenon_plan *plan, tenon_node *n)
{
    tenon_group *g;
    TENON_TRY(new_group(plan, TENON_GROUP_PROBLEM, n, &g));
    bool problem = !touches_host_only(n);
    if (problem) TENON_TRY(is_problem(plan, g, &problem));
    if (!problem) {
        g->kind = TENON_GROUP_GRAPH;
        return tenon_plan_graph_text(plan, g);
    }
    costed alone;
    TENON_TRY(natural_choice(plan, g, false, &alone));
    if ((!alone.choice && !alone.host_seconds) || !n->dst[0] || is_pointwise(n)) return TENON_OK;
    return take_followers(plan, g, n->dst[0], alone.choice ? 0 : alone.host_seconds);
}

static tenon_status group_anchors(tenon_plan *plan)
{
    const tenon_graph *g = plan->graph;
    for (size_t i = 0; i < g->node_count; i++) {
        tenon_node *n = g->node[i];
        if (group_of(n) || tenon_plan_is_free(plan, n) || (is_pointwise(n) && !touches_host_only(n))) continue;
        TENON_TRY(group_node(plan, n));
    }
    return TENON_OK;
}

/* ---- programs in front of an anchor ---- */
/* A pointwise node that stands in front of its group's anchor. */
static bool is_front(const tenon_node *n)
{
    const tenon_group *g = group_of(n);
    for (int i = 0; i < g->node_count; i++)
        if (!is_pointwise(g->node[i])) return n->id < g->node[i]->id;
    return false;
}

static bool feeds_only(const tenon_node *n, const tenon_group **out)
{
    const tenon_value *v = n->dst[0];
    if (v->use_count == 0 || tenon_place_of(v)->binding >= 0) return false;
    const tenon_node *consumer = v->use[0].node;
    if (!consumer || !group_of(consumer) || group_of(consumer)->kind != TENON_GROUP_PROBLEM) return false;
    for (size_t i = 0; i < v->use_count; i++)
        if (!v->use[i].node || group_of(v->use[i].node) != group_of(consumer)) return false;
    *out = group_of(consumer);
    return !is_pointwise(consumer) || is_front(consumer);
}

static tenon_status take_front(tenon_plan *plan, tenon_node *n)
{
    const tenon_group *target;
    if (!feeds_only(n, &target)) return TENON_OK;
    tenon_group *g = plan->group[target->id];
    if (g->node_count >= TENON_GROUP_NODES || n->id > g->order) return TENON_OK;
    costed apart[2], with; /* the program alone, the group without it */
    TENON_TRY(natural_choice(plan, g, true, &apart[1]));
    tenon_group single = {.kind = TENON_GROUP_PROBLEM, .order = n->id, .node = {n}, .node_count = 1};
    TENON_TRY(natural_choice(plan, &single, true, &apart[0]));
    insert_sorted(g, n);
    n->user = g;
    TENON_TRY(natural_choice(plan, g, true, &with));
    bool better = with.choice != NULL;
    if (better && apart[0].choice && apart[1].choice) TENON_TRY(is_better(plan, &with, apart, 2, &better));
    if (!better) remove_node(g, n);
    return better ? TENON_OK : tenon_plan_border(plan, g);
}

static tenon_status take_fronts(tenon_plan *plan)
{
    for (size_t i = plan->graph->node_count; i-- > 0;) {
        tenon_node *n = plan->graph->node[i];
        if (is_pointwise(n) && !group_of(n)) TENON_TRY(take_front(plan, n));
    }
    return TENON_OK;
}

/* ---- programs alone ---- */
static tenon_status group_programs(tenon_plan *plan)
{
    const tenon_graph *graph = plan->graph;
    for (size_t i = 0; i < graph->node_count; i++) {
        tenon_node *n = graph->node[i];
        if (group_of(n) || !is_pointwise(n)) continue;
        tenon_group *g;
        TENON_TRY(new_group(plan, TENON_GROUP_PROBLEM, n, &g));
        costed alone;
        TENON_TRY(natural_choice(plan, g, false, &alone));
        if (alone.choice) TENON_TRY(take_followers(plan, g, n->dst[0], 0));
        bool problem;
        TENON_TRY(is_problem(plan, g, &problem));
        if (problem) continue;
        g->kind = TENON_GROUP_GRAPH;
        if (g->node_count > 1) return TENON_FAIL(plan->cx, TENON_INTERNAL, "program at '%s' has no problem text", n->name);
        TENON_TRY(tenon_plan_graph_text(plan, g));
    }
    return TENON_OK;
}

/* ---- several anchors together ---- */
static const tenon_node *sole_anchor(const tenon_group *g)
{
    const tenon_node *anchor = NULL;
    for (int i = 0; i < g->node_count; i++)
        if (!(g->node[i]->op->flags & TENON_OP_POINTWISE)) {
            if (anchor) return NULL;
            anchor = g->node[i];
        }
    return anchor;
}

/* The group whose anchor directly reads the only result of g, and nothing else reads it. */
static tenon_group *next_in_chain(const tenon_plan *plan, tenon_group *g)
{
    if (g->dst_count != 1 || tenon_place_of(g->dst[0])->binding >= 0 || !g->dst[0]->use_count) return NULL;
    tenon_group *next = NULL;
    for (size_t i = 0; i < g->dst[0]->use_count; i++) {
        const tenon_node *n = g->dst[0]->use[i].node;
        if (!n || tenon_plan_is_free(plan, n) || !group_of(n) || (next && group_of(n) != next)) return NULL;
        next = group_of(n);
    }
    return next && next->kind == TENON_GROUP_PROBLEM && !next->dead ? next : NULL;
}

static bool name_is(const char *pattern, int index, const char *name, int *count)
{
    int i = 0;
    bool match = false;
    for (const char *p = pattern; p; i++) {
        const char *end = strchr(p, ';');
        const size_t n = end ? (size_t)(end - p) : strlen(p);
        if (i == index) match = strlen(name) == n && memcmp(p, name, n) == 0;
        p = end ? end + 1 : NULL;
    }
    *count = i;
    return match;
}

static tenon_status join(tenon_plan *plan, tenon_group *const *chain, int count)
{
    tenon_group merged = {.kind = TENON_GROUP_PROBLEM, .order = chain[count - 1]->order};
    costed apart[TENON_PROBLEM_ANCHORS], together;
    for (int i = 0; i < count; i++) {
        TENON_TRY(natural_choice(plan, chain[i], false, &apart[i]));
        if (!apart[i].choice || merged.node_count + chain[i]->node_count > TENON_GROUP_NODES) return TENON_OK;
        for (int k = 0; k < chain[i]->node_count; k++) insert_sorted(&merged, chain[i]->node[k]);
    }
    TENON_TRY(natural_choice(plan, &merged, false, &together));
    if (!together.choice) return TENON_OK;
    TENON_TRY(natural_choice(plan, &merged, true, &together));
    for (int i = 0; i < count; i++) TENON_TRY(natural_choice(plan, chain[i], true, &apart[i]));
    bool better;
    TENON_TRY(is_better(plan, &together, apart, count, &better));
    if (!better) return TENON_OK;
    tenon_group *last = chain[count - 1];
    for (int i = 0; i + 1 < count; i++) chain[i]->dead = true;
    memcpy(last->node, merged.node, sizeof last->node);
    last->node_count = merged.node_count;
    last->based = false;
    for (int i = 0; i < last->node_count; i++) last->node[i]->user = last;
    return tenon_plan_border(plan, last);
}

static tenon_status join_pattern(tenon_plan *plan, const char *pattern)
{
    for (size_t i = 0; i < plan->group_count; i++) {
        tenon_group *chain[TENON_PROBLEM_ANCHORS];
        int length = 0, want = 0;
        for (tenon_group *g = plan->group[i];
             g && !g->dead && g->kind == TENON_GROUP_PROBLEM && length < TENON_PROBLEM_ANCHORS;) {
            const tenon_node *anchor = sole_anchor(g);
            if (!anchor || !name_is(pattern, length, anchor->op->name, &want)) break;
            if (!g->based) TENON_TRY(tenon_plan_border(plan, g));
            chain[length++] = g;
            if (length == want) break;
            g = next_in_chain(plan, g);
        }
        if (length && length == want) TENON_TRY(join(plan, chain, length));
    }
    return TENON_OK;
}

static tenon_status join_anchors(tenon_plan *plan)
{
    for (size_t i = 0; plan->backend->tactics[i]; i++) {
        const char *pattern = plan->backend->tactics[i]->pattern;
        bool seen = !strchr(pattern, ';');
        for (size_t k = 0; k < i && !seen; k++) seen = strcmp(plan->backend->tactics[k]->pattern, pattern) == 0;
        if (!seen) TENON_TRY(join_pattern(plan, pattern));
    }
    return TENON_OK;
}

/* ---- order ---- */
static void sort_groups(tenon_plan *plan)
{
    size_t w = 0;
    for (size_t i = 0; i < plan->group_count; i++) {
        tenon_group *g = plan->group[i];
        if (g->dead) continue;
        size_t k = w++;
        for (; k > 0 && plan->group[k - 1]->order > g->order; k--) plan->group[k] = plan->group[k - 1];
        plan->group[k] = g;
    }
    plan->group_count = w;
    for (size_t i = 0; i < w; i++) plan->group[i]->id = (int)i;
}

tenon_status tenon_plan_cover(tenon_plan *plan)
{
    for (size_t i = 0; i < plan->graph->node_count; i++) plan->graph->node[i]->user = NULL;
    TENON_TRY(group_anchors(plan));
    TENON_TRY(take_fronts(plan));
    TENON_TRY(join_anchors(plan));
    TENON_TRY(group_programs(plan));
    sort_groups(plan);
    for (size_t i = 0; i < plan->group_count; i++)
        if (plan->group[i]->kind == TENON_GROUP_PROBLEM) TENON_TRY(base_problem(plan, plan->group[i]));
    return TENON_OK;
}
