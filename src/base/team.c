/* SPDX-License-Identifier: Apache-2.0 */
/* The thread team: a generation counter starts a run, a counter of the members still busy ends it, a central counter with a
   generation is the barrier. Each is waited for in the same way: spin, then sleep on a futex. A waker makes the system call
   only when somebody sleeps: the sleeper announces itself before it looks at the word again, the waker changes the word before
   it looks for sleepers, both sequentially consistent, so one of the two sees the other.
   Spinning while another thread wants the core makes everybody late, so when the running teams together are larger than the
   cores of the process, waiting starts with sched_yield and sleeps soon. */
#include "base/team.h"
#include "base/clock.h"
#include "base/isa.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CACHE_LINE = 64, YIELDS = 4, SPINS_A_LOOK = 64 };
static const double SPIN_SECONDS = 80e-6;

typedef struct gate {
    _Atomic uint32_t word TENON_ALIGNED(CACHE_LINE);
    atomic_int sleepers;
} gate;

typedef struct member {
    tenon_team *team;
    pthread_t thread;
    int index;
    uint32_t seen; /* generation the thread was started in */
} member;

struct tenon_team {
    gate start;              /* word: generation of the run */
    gate finish;             /* word: generation of the last finished run */
    gate barrier;            /* word: barriers passed */
    atomic_int busy TENON_ALIGNED(CACHE_LINE);    /* workers that have not finished the run */
    atomic_int arrived TENON_ALIGNED(CACHE_LINE); /* at the barrier */
    _Atomic int64_t chunk TENON_ALIGNED(CACHE_LINE);
    tenon_team_fn fn TENON_ALIGNED(CACHE_LINE);   /* published by start.word */
    void *arg;
    int live;                /* members of a run: `count`, or fewer when threads could not be started again after a fork */
    int count;
    bool stop;
    atomic_bool crowded;     /* more running members in the process than cores */
    _Atomic pid_t pid;
    tenon_cx heap;           /* the allocator alone */
    member *member;
};

/* The one core budget: members of all teams that are inside a run, and the process they were counted in. */
static atomic_int running;
static _Atomic pid_t running_pid;

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Denormals are flushed and the rounding is the usual one on every member, whatever the caller had, so that results do not
   depend on who computed them. */
#if defined(__x86_64__)
typedef unsigned float_mode;
static float_mode float_mode_get(void) { return __builtin_ia32_stmxcsr(); }
static void float_mode_set(float_mode m) { __builtin_ia32_ldmxcsr(m); }
static const float_mode FLOAT_MODE = 0x1f80u | 0x8040u; /* exceptions masked, nearest, FTZ | DAZ */
#elif defined(__aarch64__)
typedef uint64_t float_mode;
static float_mode float_mode_get(void)
{
    uint64_t m;
    __asm__ volatile("mrs %0, fpcr" : "=r"(m));
    return m;
}
static void float_mode_set(float_mode m) { __asm__ volatile("msr fpcr, %0" : : "r"(m)); }
static const float_mode FLOAT_MODE = UINT64_C(1) << 24; /* FZ */
#else
typedef int float_mode;
static float_mode float_mode_get(void) { return 0; }
static void float_mode_set(float_mode m) { (void)m; }
static const float_mode FLOAT_MODE = 0;
#endif

static void gate_sleep(gate *g, uint32_t old)
{
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->word) == old)
        if (syscall(SYS_futex, &g->word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0) && errno != EAGAIN && errno != EINTR)
            sched_yield();
    atomic_fetch_sub(&g->sleepers, 1);
}

/* Returns when the word is no longer `old`. */
static void gate_wait(gate *g, uint32_t old, const atomic_bool *crowded)
{
    double until = 0;
    for (int look = 0;; look++) {
        for (int i = 0; i < SPINS_A_LOOK; i++) {
            if (atomic_load_explicit(&g->word, memory_order_acquire) != old) return;
            pause_cpu();
        }
        if (atomic_load_explicit(crowded, memory_order_relaxed)) {
            if (look >= YIELDS) break;
            sched_yield();
            continue;
        }
        const double now = tenon_now();
        if (!look) until = now + SPIN_SECONDS;
        else if (now >= until) break;
    }
    gate_sleep(g, old);
}

static void gate_open(gate *g)
{
    atomic_fetch_add(&g->word, 1);
    if (atomic_load(&g->sleepers)) syscall(SYS_futex, &g->word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void *worker(void *arg)
{
    const member *m = arg;
    tenon_team *t = m->team;
    uint32_t seen = m->seen;
    float_mode_set(FLOAT_MODE);
    for (;;) {
        gate_wait(&t->start, seen, &t->crowded);
        seen++;
        if (t->stop) return NULL;
        t->fn(t->arg, m->index, t->live);
        if (atomic_fetch_sub_explicit(&t->busy, 1, memory_order_acq_rel) == 1) gate_open(&t->finish);
    }
}

/* Signals for the program are not taken on team threads; faults are, so that a handler of the program sees them. */
static int start_threads(tenon_team *t)
{
    sigset_t all, before;
    sigfillset(&all);
    const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS, SIGPROF};
    for (size_t i = 0; i < TENON_COUNTOF(faults); i++) sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int started = 1, error = 0;
    for (; started < t->count && !error; started++) {
        member *m = &t->member[started];
        *m = (member){.team = t, .index = started, .seen = atomic_load(&t->start.word)};
        error = pthread_create(&m->thread, NULL, worker, m);
        if (error) break;
#if defined(__GLIBC__)
        char name[24]; /* the kernel takes 15 characters: "tenon/1023" fits */
        snprintf(name, sizeof name, "tenon/%d", started);
        pthread_setname_np(m->thread, name);
#endif
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    t->live = started;
    t->pid = getpid();
    errno = error;
    return started;
}

static void stop_threads(tenon_team *t)
{
    t->stop = true;
    gate_open(&t->start);
    for (int i = 1; i < t->live; i++) pthread_join(t->member[i].thread, NULL);
}

tenon_status tenon_team_create(tenon_cx *cx, int threads, tenon_team **out)
{
    *out = NULL;
    if (threads < 0 || threads > TENON_MOST_THREADS)
        return TENON_FAIL(cx, TENON_INVALID, "threads: %d; 0 (all usable cores) to %d", threads, TENON_MOST_THREADS);
    if (!threads) threads = TENON_MIN(tenon_cpu()->cores, TENON_MOST_THREADS);
    const size_t members = (size_t)threads * sizeof(member);
    tenon_team *t = tenon_alloc_aligned(cx, sizeof *t + members, CACHE_LINE);
    if (!t) return TENON_NOMEM;
    memset(t, 0, sizeof *t + members);
    tenon_cx_init_child(&t->heap, cx);
    t->member = (member *)(t + 1);
    t->count = threads;
    const int started = start_threads(t);
    if (started < threads) {
        const int error = errno;
        stop_threads(t);
        tenon_free_aligned(cx, t);
        return TENON_FAIL(cx, TENON_DEVICE, "team of %d threads: only %d could start (%s); ask for fewer", threads, started,
                          strerror(error));
    }
    *out = t;
    return TENON_OK;
}

void tenon_team_destroy(tenon_team **team)
{
    tenon_team *t = team ? *team : NULL;
    if (!t) return;
    if (t->pid == getpid()) stop_threads(t);
    tenon_cx heap = t->heap;
    tenon_free_aligned(&heap, t);
    *team = NULL;
}

int tenon_team_count(const tenon_team *team) { return team->count; }

/* In the child of a fork: nobody else is there, whatever the words say. */
static void restart(tenon_team *t)
{
    gate *const gates[] = {&t->start, &t->finish, &t->barrier};
    for (size_t i = 0; i < TENON_COUNTOF(gates); i++) {
        atomic_store(&gates[i]->word, 0);
        atomic_store(&gates[i]->sleepers, 0);
    }
    atomic_store(&t->busy, 0);
    atomic_store(&t->arrived, 0);
    start_threads(t);
}

static void enter_budget(tenon_team *t, pid_t pid)
{
    if (atomic_load_explicit(&running_pid, memory_order_relaxed) != pid) {
        atomic_store(&running, 0);
        atomic_store(&running_pid, pid);
    }
    const int now = atomic_fetch_add_explicit(&running, t->live, memory_order_relaxed) + t->live;
    atomic_store_explicit(&t->crowded, now > tenon_cpu()->cores, memory_order_relaxed);
}

void tenon_team_run(tenon_team *t, tenon_team_fn fn, void *arg)
{
    const pid_t pid = getpid();
    if (TENON_UNLIKELY(atomic_load_explicit(&t->pid, memory_order_relaxed) != pid)) restart(t);
    enter_budget(t, pid);
    const float_mode before = float_mode_get();
    float_mode_set(FLOAT_MODE);
    if (t->live == 1) {
        fn(arg, 0, 1);
    } else {
        t->fn = fn;
        t->arg = arg;
        const uint32_t finished = atomic_load_explicit(&t->finish.word, memory_order_relaxed);
        atomic_store_explicit(&t->busy, t->live - 1, memory_order_relaxed);
        gate_open(&t->start);
        fn(arg, 0, t->live);
        gate_wait(&t->finish, finished, &t->crowded);
    }
    float_mode_set(before);
    atomic_fetch_sub_explicit(&running, t->live, memory_order_relaxed);
}

void tenon_team_barrier(tenon_team *t, int member_index)
{
    (void)member_index;
    if (t->live == 1) return;
    const uint32_t passed = atomic_load_explicit(&t->barrier.word, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&t->arrived, 1, memory_order_acq_rel) + 1 == t->live) {
        atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
        gate_open(&t->barrier);
    } else {
        gate_wait(&t->barrier, passed, &t->crowded);
    }
}

/* Several threads may be inside a team of one at once, each its only member: each has a counter of its own. */
static _Thread_local int64_t lone_chunk;

int64_t tenon_team_chunk(tenon_team *t)
{
    return t->live == 1 ? lone_chunk++ : atomic_fetch_add_explicit(&t->chunk, 1, memory_order_relaxed);
}

void tenon_team_chunk_reset(tenon_team *t)
{
    if (t->live == 1) lone_chunk = 0;
    else atomic_store_explicit(&t->chunk, 0, memory_order_relaxed);
}
