/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of peak.h for the vectors of whoever includes this: VECTOR, LANES, LOAD(p), SET(f), FMA(a, x, y), ADD(a, b), FIRST(v).
   Each chain is a variable of its own: an array of them would live in memory, and the loop would measure that. */
#include "cpu/peak.h"

#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)
#define BEGIN(i) a##i = SET(i);
#define STEP(i) a##i = FMA(a##i, x, y);

static __attribute__((noinline)) float burn(void)
{
    VECTOR a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11;
    const VECTOR x = SET(0.999f), y = SET(0.001f);
    EACH(BEGIN)
    for (int k = 0; k < TENON_BURN_STEPS; k++) { EACH(STEP) }
    return FIRST(ADD(ADD(ADD(ADD(a0, a1), ADD(a2, a3)), ADD(ADD(a4, a5), ADD(a6, a7))), ADD(ADD(a8, a9), ADD(a10, a11))));
}

static __attribute__((noinline)) float read_all(const float *p, size_t count)
{
    VECTOR a = SET(0.0f), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    for (size_t i = 0; i < count; i += 8 * LANES) {
        a = ADD(a, LOAD(p + i));
        b = ADD(b, LOAD(p + i + LANES));
        c = ADD(c, LOAD(p + i + 2 * LANES));
        d = ADD(d, LOAD(p + i + 3 * LANES));
        e = ADD(e, LOAD(p + i + 4 * LANES));
        f = ADD(f, LOAD(p + i + 5 * LANES));
        g = ADD(g, LOAD(p + i + 6 * LANES));
        h = ADD(h, LOAD(p + i + 7 * LANES));
    }
    return FIRST(ADD(ADD(ADD(a, b), ADD(c, d)), ADD(ADD(e, f), ADD(g, h))));
}
