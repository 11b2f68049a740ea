/* SPDX-License-Identifier: Apache-2.0 */
/* The memory plan: every own buffer and workspace of a profile lives in one block from its first to its last step; buffers whose
   lives do not meet may share bytes. Sizes are those at the profile's maximum, so offsets are fixed. Result and operand of a
   program share a buffer where the operand dies there (programs load a tile before they store it). Several orders of packing are
   tried. */
#include "plan/stage.h"

#include "base/checked.h"

#include <string.h>

enum { ALIGN = 64 };

typedef struct item {
    uint64_t bytes, offset;
    int first, last;
    int share;               /* item whose bytes this one takes over, or -1 */
    tenon_place *place;      /* NULL: workspace of a step */
    size_t step;
} item;

typedef struct packer { tenon_plan *plan; item *item; size_t count; size_t *order; } packer;

static int64_t at_hi(const tenon_dim *d) { return d->hi < TENON_DIM_HUGE ? d->hi : -1; }

static tenon_status place_bytes(tenon_plan *plan, tenon_place *p)
{
    size_t count = 1;
    const tenon_type *t = &p->value->type;
    for (int i = 0; i < t->rank; i++) {
        const int64_t hi = at_hi(t->dim[i]);
        if (hi < 0 || !tenon_mul_size(count, (size_t)hi, &count))
            return TENON_FAIL(plan->cx, TENON_INVALID,
                              "value '%s': axis %d has no upper bound; give the network's dynamic inputs a profile (--shape)",
                              p->value->name, i);
    }
    if (count > (size_t)TENON_DIM_HUGE)
        return TENON_FAIL(plan->cx, TENON_INVALID, "value '%s' has %zu elements at the profile's maximum", p->value->name, count);
    p->bytes = tenon_round_up(tenon_dtype_bytes(t->dtype, count), ALIGN);
    return TENON_OK;
}

bool tenon_plan_in_block(const tenon_place *root)
{
    return root->binding < 0 && !root->host_only && !root->value->is_const && root->value->type.rank >= 0;
}

static void touch(tenon_place *p, int step)
{
    tenon_place *root = tenon_place_root(p);
    if (root->first_step < 0) root->first_step = step;
    root->last_step = TENON_MAX(root->last_step, step);
}

/* ---- sharing ---- */
static bool same_place(tenon_plan *plan, const tenon_place *a, const tenon_place *b)
{
    if (a->value->type.dtype != b->value->type.dtype || a->value->type.rank != b->value->type.rank || a->bytes != b->bytes)
        return false;
    tenon_view x, y;
    bool px, py;
    if (tenon_place_strides(plan, a, &x, &px) != TENON_OK || tenon_place_strides(plan, b, &y, &py) != TENON_OK || !px || !py)
        return false;
    for (int i = 0; i < a->value->type.rank; i++)
        if (a->value->type.dim[i] != b->value->type.dim[i] || x.stride[i] != y.stride[i]) return false;
    return true;
}

static int item_of(const packer *k, const tenon_place *root)
{
    for (size_t i = 0; i < k->count; i++)
        if (k->item[i].place == root) return (int)i;
    return -1;
}

static void share_operands(packer *k)
{
    for (size_t i = 0; i < k->plan->step_count; i++) {
        const tenon_plan_step *s = &k->plan->step[i];
        if (!s->problem || s->conversion || !s->choice->plan.in_place) continue;
        tenon_place *dst = s->dst_place[0];
        if (dst->kind != TENON_PLACE_OWN || !tenon_plan_in_block(dst) || dst->first_step != (int)i) continue;
        for (int j = 0; j < s->src_count; j++) {
            tenon_place *src = s->src_place[j];
            if (src->kind != TENON_PLACE_OWN || !tenon_plan_in_block(src) || src->last_step != (int)i ||
                !tenon_problem_program_only(s->problem, j) || !same_place(k->plan, dst, src))
                continue;
            const int from = item_of(k, src), to = item_of(k, dst);
            if (from < 0 || to < 0 || k->item[to].share >= 0) continue;
            k->item[to].share = from;
            break;
        }
    }
    /* chains become one item with the joint life */
    for (size_t i = 0; i < k->count; i++) {
        int root = (int)i;
        while (k->item[root].share >= 0) root = k->item[root].share;
        if (root == (int)i) continue;
        k->item[root].last = TENON_MAX(k->item[root].last, k->item[i].last);
    }
}

/* ---- packing ---- */
typedef enum { BY_BYTES, BY_AREA, BY_FIRST, BY_LIFE, ORDERS } ordering;

static double key(const item *x, ordering by)
{
    const double life = x->last - x->first + 1;
    switch (by) {
    case BY_BYTES: return (double)x->bytes;
    case BY_AREA: return (double)x->bytes * life;
    case BY_FIRST: return -(double)x->first + (double)x->bytes * 1e-15;
    default: return life + (double)x->bytes * 1e-15;
    }
}

static void sort_items(packer *k, ordering by)
{
    for (size_t i = 0; i < k->count; i++) {
        size_t j = i;
        for (; j > 0 && key(&k->item[k->order[j - 1]], by) < key(&k->item[i], by); j--) k->order[j] = k->order[j - 1];
        k->order[j] = i;
    }
}

static bool meets(const item *a, const item *b) { return a->first <= b->last && b->first <= a->last; }

static uint64_t pack(packer *k)
{
    uint64_t end = 0;
    for (size_t n = 0; n < k->count; n++) {
        item *x = &k->item[k->order[n]];
        if (x->share >= 0) continue;
        /* lowest gap between the placed items that live at the same time */
        uint64_t offset = 0;
        for (bool moved = true; moved;) {
            moved = false;
            for (size_t m = 0; m < n; m++) {
                const item *y = &k->item[k->order[m]];
                if (y->share >= 0 || !meets(x, y) || offset >= y->offset + y->bytes || y->offset >= offset + x->bytes) continue;
                offset = y->offset + y->bytes;
                moved = true;
            }
        }
        x->offset = offset;
        end = TENON_MAX(end, offset + x->bytes);
    }
    return end;
}

static uint64_t lower_bound(const packer *k)
{
    uint64_t most = 0;
    for (size_t i = 0; i < k->plan->step_count; i++) {
        uint64_t alive = 0;
        for (size_t j = 0; j < k->count; j++)
            if (k->item[j].share < 0 && k->item[j].first <= (int)i && (int)i <= k->item[j].last) alive += k->item[j].bytes;
        most = TENON_MAX(most, alive);
    }
    return most;
}

static tenon_status add_item(packer *k, size_t *capacity, const item *x)
{
    void *array = k->item;
    TENON_TRY(tenon_arena_grow(k->plan->arena, &array, capacity, k->count + 1, sizeof *k->item));
    k->item = array;
    k->item[k->count++] = *x;
    return TENON_OK;
}

static tenon_status add_root(packer *k, size_t *capacity, tenon_place *p)
{
    tenon_place *root = tenon_place_root(p);
    if (!tenon_plan_in_block(root) || item_of(k, root) >= 0) return TENON_OK;
    TENON_TRY(place_bytes(k->plan, root));
    return add_item(
        k, capacity,
        &(item){.bytes = root->bytes, .first = root->first_step, .last = root->last_step, .share = -1, .place = root});
}

static tenon_status collect(packer *k)
{
    size_t capacity = 0;
    tenon_plan *plan = k->plan;
    for (size_t i = 0; i < plan->step_count; i++) {
        const tenon_plan_step *s = &plan->step[i];
        for (int j = 0; j < s->src_count; j++) touch(s->src_place[j], (int)i);
        for (int j = 0; j < s->dst_count; j++) touch(s->dst_place[j], (int)i);
    }
    for (size_t i = 0; i < plan->step_count; i++) {
        const tenon_plan_step *s = &plan->step[i];
        for (int j = 0; j < s->dst_count; j++) TENON_TRY(add_root(k, &capacity, s->dst_place[j]));
        const uint64_t workspace = s->choice ? s->choice->plan.workspace_bytes : 0;
        if (workspace)
            TENON_TRY(add_item(
                k, &capacity,
                &(item){.bytes = tenon_round_up(workspace, ALIGN), .first = (int)i, .last = (int)i, .share = -1, .step = i}));
    }
    return TENON_OK;
}

static bool try_order(packer *k, uint64_t *best, uint64_t *best_offset)
{
    const uint64_t end = pack(k);
    if (end >= *best) return false;
    *best = end;
    for (size_t i = 0; i < k->count; i++) best_offset[i] = k->item[i].offset;
    return true;
}

/* From the largest-first order, single items are moved to the front of others as long as that helps: a bounded number of tries
   in a fixed sequence, so that the same plan comes out every time. */
static tenon_status improve_order(packer *k, uint64_t *best, uint64_t *best_offset)
{
    enum { TRIES = 600 };
    size_t *kept = tenon_arena_array(k->plan->arena, k->count + 1, sizeof *kept);
    if (!kept) return TENON_NOMEM;
    sort_items(k, BY_BYTES);
    uint64_t current = pack(k), random = 1;
    for (int i = 0; i < TRIES && k->count > 2 && *best > k->plan->lower_bound_bytes; i++) {
        memcpy(kept, k->order, k->count * sizeof *kept);
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const size_t from = (size_t)(random >> 33) % k->count, to = (size_t)(random >> 13) % (from + 1);
        const size_t moved = k->order[from];
        memmove(&k->order[to + 1], &k->order[to], (from - to) * sizeof *k->order);
        k->order[to] = moved;
        (void)try_order(k, best, best_offset);
        uint64_t end = 0;
        for (size_t n = 0; n < k->count; n++)
            if (k->item[n].share < 0) end = TENON_MAX(end, k->item[n].offset + k->item[n].bytes);
        if (end <= current) current = end;
        else memcpy(k->order, kept, k->count * sizeof *kept);
    }
    return TENON_OK;
}

tenon_status tenon_plan_memory(tenon_plan *plan)
{
    packer k = {.plan = plan};
    TENON_TRY(collect(&k));
    k.order = tenon_arena_array(plan->arena, k.count + 1, sizeof *k.order);
    uint64_t *best_offset = tenon_arena_array(plan->arena, k.count + 1, sizeof *best_offset);
    if (!k.order || !best_offset) return TENON_NOMEM;
    share_operands(&k);
    plan->lower_bound_bytes = lower_bound(&k);
    uint64_t best = UINT64_MAX;
    for (ordering by = BY_BYTES; by < ORDERS && best > plan->lower_bound_bytes; by++) {
        sort_items(&k, by);
        try_order(&k, &best, best_offset);
    }
    TENON_TRY(improve_order(&k, &best, best_offset));
    for (size_t i = 0; i < k.count; i++) {
        size_t root = i;
        while (k.item[root].share >= 0) root = (size_t)k.item[root].share;
        if (k.item[i].place) k.item[i].place->offset = best_offset[root];
        else plan->step[k.item[i].step].workspace_offset = best_offset[root];
    }
    plan->block_bytes = k.count ? best : 0;
    return TENON_OK;
}
