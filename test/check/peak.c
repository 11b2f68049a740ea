/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine can at most, measured: multiply-adds from registers, and reading from the own cache and from memory, by as
   many threads as the bench uses. The shares of the bench are shares of this. */
#include "tenoncheck.h"

#include "base/clock.h"
#include "base/team.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { CHAINS = 12, STEPS = 20000, BURNS = 400, WARM_BYTES = 256 << 10, COLD_BYTES = 64 << 20 };

static const double WARM_UP_SECONDS = 0.05;

typedef struct measure { int level; char *memory; size_t bytes; int rounds; volatile float sink; double *best; } measure;

/* As many independent chains as hide the latency, each a variable of its own: an array of them would live in memory, and the loop
   would measure that. */
#define EACH(f, g) f(0, g) f(1, g) f(2, g) f(3, g) f(4, g) f(5, g) f(6, g) f(7, g) f(8, g) f(9, g) f(10, g) f(11, g)
#define BEGIN(i, start) a##i = start(i);
#define STEP(i, step) a##i = step(a##i, x, y);
#define FMA_LOOP(name, attribute, type, start, step, add, first)                                                                \
    attribute static float name(void)                                                                                           \
    {                                                                                                                           \
        type a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11;                                                                  \
        const type x = start(0.999f), y = start(0.001f);                                                                        \
        EACH(BEGIN, start)                                                                                                          \
        for (int k = 0; k < STEPS; k++) { EACH(STEP, step) }                                                                    \
        return first(add(add(add(add(a0, a1), add(a2, a3)), add(add(a4, a5), add(a6, a7))), add(add(a8, a9), add(a10, a11))));  \
    }
#if defined(__x86_64__)
FMA_LOOP(fma512, __attribute__((target("avx512f"), noinline)), __m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_add_ps, _mm512_cvtss_f32)
FMA_LOOP(fma256, __attribute__((target("avx2,fma"), noinline)), __m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_add_ps, _mm256_cvtss_f32)
#endif
#define SAME(v) (v)
#define SCALAR_STEP(a, x, y) ((a) * (x) + (y))
#define SCALAR_ADD(a, b) ((a) + (b))
FMA_LOOP(fma_scalar, __attribute__((noinline)), float, SAME, SCALAR_STEP, SCALAR_ADD, SAME)

static void burn(void *arg, int member, int count)
{
    measure *m = arg;
    (void)count;
    const double begin = tenon_now();
#if defined(__x86_64__)
    if (m->level == 2) m->sink = fma512();
    else if (m->level == 1) m->sink = fma256();
    else
#endif
        m->sink = fma_scalar();
    m->best[member] = TENON_MIN(m->best[member], tenon_now() - begin);
}

/* The sum of what each thread does at its best while all are at it: a machine that others use too seldom gives all cores at once. */
static double burn_rate(tenon_team *team, measure *m, double flops)
{
    const int count = tenon_team_count(team);
    double sum = 0;
    for (int i = 0; i < count; i++) m->best[i] = 1e30;
    const double start = tenon_now();
    for (int i = 0; i < BURNS || tenon_now() - start < WARM_UP_SECONDS; i++) tenon_team_run(team, burn, m);
    for (int i = 0; i < count; i++) sum += flops / m->best[i];
    return sum;
}

static void read_all(void *arg, int member, int count)
{
    measure *m = arg;
    (void)count;
    const uint64_t *p = (const uint64_t *)(void *)(m->memory + (size_t)member * m->bytes);
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (int r = 0; r < m->rounds; r++)
        for (size_t i = 0; i < m->bytes / 8; i += 4) a += p[i], b ^= p[i + 1], c += p[i + 2], d ^= p[i + 3];
    m->sink = (float)(a + b + c + d);
}

static double best_of(tenon_team *team, tenon_team_fn fn, measure *m, int tries)
{
    double best = 1e30;
    const double start = tenon_now();
    while (tenon_now() - start < WARM_UP_SECONDS) tenon_team_run(team, fn, m); /* clocks rise, pages come */
    for (int i = 0; i < tries; i++) {
        const double begin = tenon_now();
        tenon_team_run(team, fn, m);
        best = TENON_MIN(best, tenon_now() - begin);
    }
    return best;
}

tenon_status machine_peak_measure(tenon_cx *cx, int threads, machine_peak *out)
{
    tenon_team *team;
    const unsigned isa = tenon_cpu()->isa;
    measure m = {.level = isa & TENON_ISA_AVX512 ? 2 : isa & TENON_ISA_AVX2 ? 1 : 0};
    const double lanes = m.level == 2 ? 16 : m.level == 1 ? 8 : 1;
    *out = (machine_peak){0};
    TENON_TRY(tenon_team_create(cx, threads, &team));
    threads = tenon_team_count(team);
    m.memory = tenon_alloc_aligned(cx, (size_t)COLD_BYTES * (size_t)threads, 4096);
    m.best = tenon_alloc(cx, (size_t)threads * sizeof *m.best);
    if (!m.memory || !m.best) {
        tenon_free_aligned(cx, m.memory);
        tenon_free(cx, m.best);
        tenon_team_destroy(&team);
        return TENON_NOMEM;
    }
    memset(m.memory, 1, (size_t)COLD_BYTES * (size_t)threads);
    out->flops = burn_rate(team, &m, 2 * lanes * CHAINS * STEPS);
    m.bytes = WARM_BYTES, m.rounds = 64;
    out->warm_bandwidth = (double)m.bytes * m.rounds * threads / best_of(team, read_all, &m, 20);
    m.bytes = COLD_BYTES, m.rounds = 1;
    out->cold_bandwidth = (double)m.bytes * threads / best_of(team, read_all, &m, 5);
    tenon_free_aligned(cx, m.memory);
    tenon_free(cx, m.best);
    tenon_team_destroy(&team);
    return TENON_OK;
}
