/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine can at most, measured: multiply-adds from registers, and reading from each core's own cache and from memory,
   by as many threads as the device has. Shares of the peak, in tenoncheck and in `tenon bench --sweep`, are shares of this. */
#include "cpu/peak.h"
#include "cpu/backend.h"

#include "base/clock.h"
#include "base/isa.h"
#include "base/team.h"

#include <string.h>

enum { BURNS = 400, WARM_BYTES = 256 << 10, LEAST_COLD = 4 << 20, MOST_COLD = 64 << 20, ALL_COLD = 512 << 20 };

static const double WARM_UP_SECONDS = 0.05;

typedef struct measure {
    const tenon_cpu_burn *burn;
    char *memory;
    size_t bytes;
    int rounds;
    volatile float sink;
    double *best;
} measure;

static const tenon_cpu_burn *widest(void)
{
#if defined(__x86_64__)
    const unsigned isa = tenon_cpu()->isa;
    if (isa & tenon_cpu_burn_avx512.isa) return &tenon_cpu_burn_avx512;
    if (isa & tenon_cpu_burn_avx2.isa) return &tenon_cpu_burn_avx2;
#endif
    return &tenon_cpu_burn_scalar;
}

static void burn(void *arg, int member, int count)
{
    measure *m = arg;
    (void)count;
    const double begin = tenon_now();
    m->sink = m->burn->run();
    m->best[member] = TENON_MIN(m->best[member], tenon_now() - begin);
}

/* The sum of what each thread does at its best while all are at it: a machine that others use too seldom gives all cores at the
   same time. */
static double burn_rate(tenon_team *team, measure *m)
{
    const int count = tenon_team_count(team);
    const double flops = 2.0 * m->burn->lanes * TENON_BURN_CHAINS * TENON_BURN_STEPS;
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
    const float *p = (const float *)(void *)(m->memory + (size_t)member * m->bytes);
    for (int r = 0; r < m->rounds; r++) m->sink = m->burn->read(p, m->bytes / sizeof *p);
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

/* More than the caches hold, but no more of a large machine's memory than that needs. */
static size_t cold_bytes(int threads)
{
    const size_t all = TENON_MIN(TENON_MAX(4 * tenon_cpu()->l3_bytes, (size_t)MOST_COLD * 2), (size_t)ALL_COLD);
    return TENON_MAX(TENON_MIN(all / (size_t)threads, (size_t)MOST_COLD), (size_t)LEAST_COLD) / 4096 * 4096;
}

static tenon_status measure_all(tenon_cx *cx, tenon_team *team, tenon_device_peak *out)
{
    const int threads = tenon_team_count(team);
    const size_t cold = cold_bytes(threads);
    measure m = {.burn = widest()};
    m.memory = tenon_alloc_aligned(cx, cold * (size_t)threads, 4096);
    m.best = tenon_alloc(cx, (size_t)threads * sizeof *m.best);
    const tenon_status status = m.memory && m.best ? TENON_OK : TENON_NOMEM;
    if (status == TENON_OK) {
        memset(m.memory, 0, cold * (size_t)threads);
        const double rate = burn_rate(team, &m);
        for (int i = 0; i < TENON_ARITHMETICS; i++) out->flops[i] = rate; /* no tactic has faster means for the others */
        m.bytes = WARM_BYTES, m.rounds = 64;
        out->cache_bandwidth = (double)m.bytes * m.rounds * threads / best_of(team, read_all, &m, 20);
        m.bytes = cold, m.rounds = 1;
        out->memory_bandwidth = (double)m.bytes * threads / best_of(team, read_all, &m, 5);
        out->cache_bytes = TENON_MAX(tenon_cpu()->l2_bytes * (size_t)threads, tenon_cpu()->l3_bytes);
    }
    tenon_free_aligned(cx, m.memory);
    tenon_free(cx, m.best);
    return status;
}

tenon_status tenon_cpu_peak(tenon_cx *cx, tenon_device *device, tenon_device_peak *out)
{
    tenon_team *team;
    *out = (tenon_device_peak){0};
    TENON_TRY(tenon_team_create(cx, tenon_backend_cpu.info(device)->threads, &team));
    const tenon_status status = measure_all(cx, team, out);
    tenon_team_destroy(&team);
    return status;
}
