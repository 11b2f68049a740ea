/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes: a chain stays in one, branches get their own, nothing runs beside what it conflicts with; random step lists are played
   in every order that lanes and waits permit, and every pair that conflicts must keep its order. */
#include "check.h"

#include "run/lanes.h"

enum { STEPS = 40, SPANS = 3, ROUNDS = 300, PLAYS = 20 };

static tenon_span rd(uintptr_t begin, uintptr_t bytes) { return (tenon_span){begin, begin + bytes, false}; }
static tenon_span wr(uintptr_t begin, uintptr_t bytes) { return (tenon_span){begin, begin + bytes, true}; }

static void test_shapes(tenon_cx *cx)
{
    const tenon_span chain[4][2] = {{rd(0, 8), wr(8, 8)}, {rd(8, 8), wr(16, 8)}, {rd(16, 8), wr(8, 8)}, {rd(8, 8), wr(24, 8)}};
    /* a residual block: x -> a -> b, x -> c, b + c */
    const tenon_span block[5][3] = {{rd(0, 8), wr(8, 8)}, {rd(8, 8), wr(16, 8)}, {rd(16, 8), wr(24, 8)}, {rd(8, 8), wr(32, 8)},
                                    {rd(24, 8), rd(32, 8), wr(40, 8)}};
    /* the third overwrites what the second reads */
    const tenon_span reuse[3][2] = {{rd(0, 8), wr(8, 8)}, {rd(8, 8), wr(16, 8)}, {rd(32, 8), wr(8, 8)}};
    tenon_touch t[5];
    tenon_lanes l;
    for (int i = 0; i < 4; i++) t[i] = (tenon_touch){chain[i], 2};
    CHECK_OK(cx, tenon_lanes_plan(cx, t, 4, TENON_LANES, &l));
    CHECK(l.count == 1 && l.wait_first[4] == 0);
    tenon_lanes_free(cx, &l);
    for (int i = 0; i < 5; i++) t[i] = (tenon_touch){block[i], i == 4 ? 3 : 2};
    CHECK_OK(cx, tenon_lanes_plan(cx, t, 5, TENON_LANES, &l));
    CHECK(l.count == 2 && l.lane[0] == 0 && l.lane[1] == 0 && l.lane[2] == 0 && l.lane[3] == 1);
    /* the fork, behind x alone */
    CHECK(l.wait_first[3] == 0 && l.wait_first[4] == 1 && l.wait[0] == 0 && l.marked[0]);
    CHECK(l.wait_first[5] == 2 && l.wait[1] == (l.lane[4] ? 2u : 3u) && !l.marked[1]);               /* the join */
    tenon_lanes_free(cx, &l);
    CHECK_OK(cx, tenon_lanes_plan(cx, t, 5, 1, &l));
    CHECK(l.count == 1);
    tenon_lanes_free(cx, &l);
    for (int i = 0; i < 3; i++) t[i] = (tenon_touch){reuse[i], 2};
    CHECK_OK(cx, tenon_lanes_plan(cx, t, 3, TENON_LANES, &l));
    CHECK(l.count == 1);
    tenon_lanes_free(cx, &l);
}

static uint64_t seed = 1;
static uint32_t below(uint32_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static bool ready(const tenon_lanes *l, const bool *done, uint32_t i)
{
    for (uint32_t j = 0; j < i; j++)
        if (l->lane[j] == l->lane[i] && !done[j]) return false;
    for (uint32_t k = l->wait_first[i]; k < l->wait_first[i + 1]; k++)
        if (!done[l->wait[k]] || !l->marked[l->wait[k]]) return false;
    return true;
}

static bool touches(const tenon_touch *a, const tenon_touch *b)
{
    for (uint32_t i = 0; i < a->count; i++)
        for (uint32_t k = 0; k < b->count; k++)
            if ((a->span[i].written || b->span[k].written) && a->span[i].begin < b->span[k].end &&
                b->span[k].begin < a->span[i].end) return true;
    return false;
}

/* Any step whose lane and waits permit it is run next; each must find done all that it conflicts with before it, and none after
   it. */
static bool play(const tenon_touch *t, const tenon_lanes *l)
{
    bool done[STEPS] = {false};
    for (uint32_t left = STEPS; left; left--) {
        uint32_t pick = below(STEPS), tries = 0;
        while ((done[pick] || !ready(l, done, pick)) && tries++ < STEPS) pick = (pick + 1) % STEPS;
        if (tries > STEPS) return false; /* stuck */
        for (uint32_t j = 0; j < STEPS; j++)
            if (j != pick && touches(&t[pick], &t[j]) && done[j] != (j < pick)) return false;
        done[pick] = true;
    }
    return true;
}

static void test_random(tenon_cx *cx)
{
    static tenon_span span[STEPS][SPANS];
    tenon_touch t[STEPS];
    int most = 0;
    for (int round = 0; round < ROUNDS; round++) {
        tenon_lanes l;
        const uint32_t memory = 4 + below(60);
        for (int i = 0; i < STEPS; i++) {
            for (int k = 0; k < SPANS; k++) span[i][k] = k ? rd(below(memory), 1 + below(3)) : wr(below(memory), 1 + below(2));
            t[i] = (tenon_touch){span[i], SPANS};
        }
        if (!CHECK_OK(cx, tenon_lanes_plan(cx, t, STEPS, TENON_LANES, &l))) continue;
        most = TENON_MAX(most, l.count);
        bool kept = true;
        for (int p = 0; p < PLAYS && kept && l.count > 1; p++) kept = play(t, &l);
        CHECK(kept);
        for (int k = 0; k < l.count && l.count > 1; k++) CHECK(l.lane[l.tail[k]] == k);
        tenon_lanes_free(cx, &l);
    }
    CHECK(most == TENON_LANES);
}

int main(void)
{
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    test_shapes(&cx);
    test_random(&cx);
    return CHECK_END();
}
