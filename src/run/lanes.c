/* SPDX-License-Identifier: Apache-2.0 */
/* Dealing steps to lanes. `reach` holds, for each step, all steps that are surely done when it begins; the order of the list is
   one in which every dependency points back, so one walk does. */
#include "run/lanes.h"

#include <string.h>

enum { MOST_STEPS = 2048, NOBODY = -1 };

static bool conflict(const tenon_touch *a, const tenon_touch *b)
{
    for (uint32_t i = 0; i < a->count; i++)
        for (uint32_t k = 0; k < b->count; k++) {
            const tenon_span *x = &a->span[i], *y = &b->span[k];
            if ((x->written || y->written) && x->begin < y->end && y->begin < x->end) return true;
        }
    return false;
}

static bool has(const uint64_t *set, uint32_t i) { return set[i / 64] >> i % 64 & 1; }

static void add_all(uint64_t *set, const uint64_t *other, size_t words)
{
    for (size_t w = 0; w < words; w++) set[w] |= other[w];
}

/* What step `i` needs and nobody whom it needs has waited for, latest first; the sum of what is done then goes to `reach`. */
static uint32_t find_needs(const tenon_touch *step, uint32_t i, uint64_t *reach, size_t words, uint32_t *need)
{
    uint64_t *own = reach + i * words;
    uint32_t count = 0;
    for (uint32_t j = i; j-- > 0;) {
        if (has(own, j) || !conflict(&step[i], &step[j])) continue;
        need[count++] = j;
        own[j / 64] |= UINT64_C(1) << j % 64;
        add_all(own, reach + j * words, words);
    }
    return count;
}

/* Behind a step that it needs, if that is the last of its lane; else in an empty lane; else behind one that is done anyway; else
   in the first. */
static int choose(const int64_t *tail, int most, const uint64_t *own, const uint32_t *need, uint32_t needs)
{
    for (uint32_t k = 0; k < needs; k++)
        for (int lane = 0; lane < most; lane++)
            if (tail[lane] == need[k]) return lane;
    for (int lane = 0; lane < most; lane++)
        if (tail[lane] == NOBODY) return lane;
    for (int lane = 0; lane < most; lane++)
        if (has(own, (uint32_t)tail[lane])) return lane;
    return 0;
}

static tenon_status deal(tenon_cx *cx, const tenon_touch *step, int most, uint64_t *reach, size_t words, uint32_t *need,
                         tenon_lanes *l)
{
    int64_t tail[TENON_LANES] = {NOBODY, NOBODY, NOBODY, NOBODY};
    uint32_t waits = 0, room = 0;
    for (uint32_t i = 0; i < l->steps; i++) {
        uint64_t *own = reach + i * words;
        const uint32_t needs = find_needs(step, i, reach, words, need);
        const int lane = choose(tail, most, own, need, needs);
        l->lane[i] = (uint8_t)lane;
        l->wait_first[i] = waits;
        for (uint32_t k = 0; k < needs; k++) {
            if (l->lane[need[k]] == lane) continue;
            if (waits == room) {
                room = room ? 2 * room : 64;
                uint32_t *grown = tenon_realloc(cx, l->wait, room * sizeof *grown);
                if (!grown) return TENON_NOMEM;
                l->wait = grown;
            }
            l->wait[waits++] = need[k];
            l->marked[need[k]] = true;
        }
        if (tail[lane] != NOBODY) { /* the lane's order is waited for too */
            own[tail[lane] / 64] |= UINT64_C(1) << tail[lane] % 64;
            add_all(own, reach + (size_t)tail[lane] * words, words);
        }
        tail[lane] = i;
        l->count = TENON_MAX(l->count, lane + 1);
    }
    l->wait_first[l->steps] = waits;
    for (int k = 0; k < l->count; k++) l->tail[k] = (uint32_t)tail[k];
    return TENON_OK;
}

tenon_status tenon_lanes_plan(tenon_cx *cx, const tenon_touch *step, uint32_t steps, int most, tenon_lanes *out)
{
    const size_t words = (steps + 63) / 64;
    *out = (tenon_lanes){.count = 1, .steps = steps};
    if (steps < 2 || steps > MOST_STEPS || most < 2) return TENON_OK;
    tenon_status status = TENON_NOMEM;
    uint64_t *reach = tenon_alloc_zero(cx, steps * words * sizeof *reach);
    uint32_t *need = tenon_alloc(cx, steps * sizeof *need);
    out->lane = tenon_alloc_zero(cx, steps);
    out->marked = tenon_alloc_zero(cx, steps * sizeof *out->marked);
    out->wait_first = tenon_alloc_zero(cx, (steps + 1u) * sizeof *out->wait_first);
    if (reach && need && out->lane && out->marked && out->wait_first)
        status = deal(cx, step, TENON_MIN(most, TENON_LANES), reach, words, need, out);
    tenon_free(cx, reach);
    tenon_free(cx, need);
    if (status != TENON_OK) tenon_lanes_free(cx, out);
    return status;
}

void tenon_lanes_free(tenon_cx *cx, tenon_lanes *l)
{
    tenon_free(cx, l->lane);
    tenon_free(cx, l->marked);
    tenon_free(cx, l->wait_first);
    tenon_free(cx, l->wait);
    *l = (tenon_lanes){.count = 1};
}
