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

enum { CHAINS = 12, STEPS = 20000, WARM_BYTES = 256 << 10, COLD_BYTES = 64 << 20 };

typedef struct measure { int level; char *memory; size_t bytes; int rounds; volatile float sink; double flops; } measure;

#if defined(__x86_64__)
#define FMA_LOOP(name, target_, type, set, fma, lanes)                                                                          \
    __attribute__((target(target_), noinline)) static float name(void)                                                          \
    {                                                                                                                           \
        type a[CHAINS];                                                                                                         \
        float out[lanes];                                                                                                       \
        const type x = set(0.999f), y = set(0.001f);                                                                            \
        for (int i = 0; i < CHAINS; i++) a[i] = set((float)i);                                                                  \
        for (int k = 0; k < STEPS; k++)                                                                                         \
            for (int i = 0; i < CHAINS; i++) a[i] = fma(a[i], x, y);                                                            \
        float sum = 0;                                                                                                          \
        for (int i = 0; i < CHAINS; i++) {                                                                                      \
            memcpy(out, &a[i], sizeof out);                                                                                     \
            sum += out[0];                                                                                                      \
        }                                                                                                                       \
        return sum;                                                                                                             \
    }
FMA_LOOP(fma512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps, 16)
FMA_LOOP(fma256, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps, 8)
#endif

static float fma_scalar(void)
{
    float a[CHAINS];
    for (int i = 0; i < CHAINS; i++) a[i] = (float)i;
    for (int k = 0; k < STEPS; k++)
        for (int i = 0; i < CHAINS; i++) a[i] = a[i] * 0.999f + 0.001f;
    float sum = 0;
    for (int i = 0; i < CHAINS; i++) sum += a[i];
    return sum;
}

static void burn(void *arg, int member, int count)
{
    measure *m = arg;
    (void)member, (void)count;
#if defined(__x86_64__)
    if (m->level == 2) m->sink = fma512();
    else if (m->level == 1) m->sink = fma256();
    else
#endif
        m->sink = fma_scalar();
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
    if (!m.memory) {
        tenon_team_destroy(&team);
        return TENON_NOMEM;
    }
    memset(m.memory, 1, (size_t)COLD_BYTES * (size_t)threads);
    out->flops = 2 * lanes * CHAINS * STEPS * threads / best_of(team, burn, &m, 30);
    m.bytes = WARM_BYTES, m.rounds = 64;
    out->warm_bandwidth = (double)m.bytes * m.rounds * threads / best_of(team, read_all, &m, 20);
    m.bytes = COLD_BYTES, m.rounds = 1;
    out->cold_bandwidth = (double)m.bytes * threads / best_of(team, read_all, &m, 5);
    tenon_free_aligned(cx, m.memory);
    tenon_team_destroy(&team);
    return TENON_OK;
}
