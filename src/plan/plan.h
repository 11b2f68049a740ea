/* SPDX-License-Identifier: Apache-2.0 */
/* Inside plan/: what its stages hand on. For each profile, in order:

     specialise  the network's symbols become the profile's ranges (constants where min == max)
     passes      (pass/) rewrite to canonical form
     cover       nodes are put together into groups: an anchor with the pointwise nodes around it, several anchors where a tactic
                 does them together, runs of pointwise nodes, single nodes for the references
     storage     where each value lies: own buffer, view of another, part of a concat; under a layout for each own buffer
     choose      layouts, formats and tactics together: the sum of step and conversion times is minimised
     memory      lifetimes are packed into one block
     whole       near rivals of the hottest steps' tactics are tried in the whole list of steps
     emit        records of the engine (run/engine.h), weights evaluated and packed

   All times come from tenon_tuner (tuner.h): measured, or by the cost model when timing is off. */
#ifndef TENON_PLAN_PLAN_H
#define TENON_PLAN_PLAN_H

#include "op/view.h"
#include "plan/tuner.h"
#include "run/engine.h"

typedef struct tenon_group tenon_group;
typedef struct tenon_place tenon_place;

/* Where a value lies. One for each value of the graph (value->user). */
typedef enum { TENON_PLACE_OWN, TENON_PLACE_VIEW, TENON_PLACE_PART } tenon_place_kind;
struct tenon_place {
    tenon_value *value;
    tenon_place_kind kind;
    tenon_place *base;          /* VIEW, PART: what it lies in */
    tenon_node *view_node;      /* VIEW: the node that gives it from base */
    int part_axis;              /* PART: axis of base along which it lies... */
    const tenon_dim *part_start;/* ...and where it starts */
    tenon_layout layout;        /* OWN: the decision */
    uint8_t order[TENON_MAX_RANK]; /* OWN: the order a consumer's transpose suggests, for TENON_ORDER */
    bool has_order, decided;
    bool fixed;                 /* OWN: the layout cannot change (inputs, constants, outputs written in place) */
    bool feature;               /* OWN: channels-last is thinkable */
    bool host_only;             /* not a plain tensor, or of a size known only at run time: lives in the context's heap */
    int binding;                /* OWN: lies in this binding (input or output), else -1 */
    /* memory: OWN in the block */
    int first_step, last_step;
    uint64_t bytes, offset;     /* at the profile's maximum; offset in the block */
    uint32_t slot;              /* emitted record of this value (views too), TENON_NONE before */
    uint32_t weight;            /* constants kept as they are: weight record, TENON_NONE before */
    uint32_t heap;              /* host_only: heap entry */
};

/* A group becomes one step (and conversion steps before it). */
enum { TENON_GROUP_NODES = 64 };
typedef enum { TENON_GROUP_PROBLEM, TENON_GROUP_GRAPH } tenon_group_kind;
struct tenon_group {
    tenon_group_kind kind;
    int id, order;
    tenon_node *node[TENON_GROUP_NODES];
    int node_count;
    int anchor_count;           /* first in node[] order are not necessarily anchors */
    tenon_value *src[TENON_PROBLEM_SRC + 8];
    int src_count;
    tenon_value *dst[TENON_PROBLEM_DST];
    int dst_count;
    tenon_problem problem;      /* of PROBLEM, formats as chosen */
    bool based;                 /* problem says what the nodes are, in whatever formats, and src stands in its order */
    const char *text;           /* of GRAPH: the node as graph text, its large constants as inputs */
    /* chosen */
    const tenon_choice *choice;
    tenon_format src_format[TENON_PROBLEM_SRC + 8], dst_format[TENON_PROBLEM_DST];
    bool convert[TENON_PROBLEM_SRC + 8]; /* source i is read through a copy in src_format[i] */
    bool convert_dst[TENON_PROBLEM_DST]; /* result i is written to a buffer of its own, then copied to its place */
    double cost;
    bool dead;
};

/* A step in the final order. */
typedef struct tenon_plan_step {
    tenon_group *group;
    bool conversion;            /* a copy step that is not in the model */
    tenon_problem *problem;
    const tenon_choice *choice;
    int src_count, dst_count;
    tenon_value *src[TENON_PROBLEM_SRC + 8];
    tenon_value *dst[TENON_PROBLEM_DST];
    tenon_place *src_place[TENON_PROBLEM_SRC + 8]; /* differs from the value's own place when converted */
    tenon_place *dst_place[TENON_PROBLEM_DST];
    uint64_t workspace_offset;
} tenon_plan_step;

typedef struct tenon_plan {
    tenon_cx *cx;
    tenon_arena *arena;
    tenon_graph *graph;         /* of this profile */
    tenon_tuner *tuner;
    const tenon_backend *backend;
    tenon_device *device;
    tenon_group **group; size_t group_count, group_capacity;
    tenon_plan_step *step; size_t step_count, step_capacity;
    uint64_t block_bytes, lower_bound_bytes, scratch_bytes;
    uint32_t heap_count;
    bool *is_step_result;       /* by value id: some step writes it */
    /* ranges of the engine's symbols in this profile, also of those that are constants in it; NULL: as in the graph */
    const tenon_rec_range *(*range_of)(void *user, const char *symbol);
    void *range_user;
} tenon_plan;

static inline tenon_place *tenon_place_of(const tenon_value *v) { return v->user; }
tenon_place *tenon_place_root(tenon_place *p);
/* An OWN place of v that nothing is known of yet; NULL: no memory. */
tenon_place *tenon_place_new(tenon_arena *arena, tenon_value *v);

/* All stages but emitting. cx, arena, graph, tuner, backend and device must be set. */
tenon_status tenon_plan_run(tenon_plan *plan);
tenon_status tenon_plan_cover(tenon_plan *plan);
/* Makes the problem of a group under these formats (in the order of g->src before the call), and puts g->src in the problem's
   order. */
tenon_status tenon_plan_problem(tenon_plan *plan, tenon_group *g, const tenon_format *src, const tenon_format *dst,
                                tenon_problem *out);
tenon_status tenon_plan_storage(tenon_plan *plan);
/* Strides and offset of a place under the layouts chosen so far, in the graph's dim pool. *possible false: a view that this
   layout cannot express. */
tenon_status tenon_place_strides(tenon_plan *plan, const tenon_place *p, tenon_view *out, bool *possible);
/* The format these strides are, if they are one. */
bool tenon_format_of_strides(tenon_dim_pool *pool, const tenon_type *type, const tenon_view *view, tenon_format *out);
/* The same as tenon_place_strides with `cut` (an ancestor of p, or p) replaced by a dense row-major copy. */
tenon_status tenon_place_strides_cut(tenon_plan *plan, const tenon_place *p, const tenon_place *cut, tenon_view *out,
                                     bool *possible);
/* Nodes that are no step: views, and concats whose sources lie in the result. */
bool tenon_plan_is_free(const tenon_plan *plan, const tenon_node *n);
/* A small integer tensor whose contents are expressions: evaluated with the shapes, no step. */
bool tenon_plan_is_symbolic(const tenon_value *v);
/* A weight of the model that refit may replace. One number, or integers, may be part of a step's text or of its shapes: those
   stay. */
static inline bool tenon_plan_is_source(const tenon_value *v)
{
    return v->source_name && v->data && tenon_is_float(v->type.dtype) && tenon_tensor_count(v->data) > 1;
}
tenon_status tenon_plan_choose(tenon_plan *plan);
tenon_status tenon_plan_memory(tenon_plan *plan);

/* Engine records being collected over all profiles. */
typedef struct tenon_emitter tenon_emitter;
tenon_status tenon_emit_profile(tenon_emitter *em, tenon_plan *plan);

#endif
