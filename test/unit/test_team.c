/* SPDX-License-Identifier: Apache-2.0 */
/* base/team: every member runs once a run, barriers order plain memory (ThreadSanitizer judges that), float mode, fork, threads
   that cannot start, several teams at a time. */
#include "base/clock.h"
#include "base/isa.h"
#include "base/team.h"
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { MOST = 8, ROUNDS = 200 };

typedef struct job {
    tenon_team *team;
    int ran[MOST], count[MOST];
    long slot[MOST], sum[MOST];
    long wrong[MOST];
    char seen[4096];
    int chunks;
} job;

static void count_members(void *arg, int member, int count)
{
    job *j = arg;
    j->ran[member]++;
    j->count[member] = count;
}

/* Each member writes its slot, all read all slots after a barrier: a missing or early barrier gives a wrong sum or a race. */
static void exchange(void *arg, int member, int count)
{
    job *j = arg;
    for (int round = 0; round < ROUNDS; round++) {
        j->slot[member] = round * 10 + member;
        tenon_team_barrier(j->team, member);
        long sum = 0;
        for (int i = 0; i < count; i++) sum += j->slot[i];
        j->wrong[member] += sum != (long)round * 10 * count + count * (count - 1) / 2;
        tenon_team_barrier(j->team, member);
    }
}

static void take_chunks(void *arg, int member, int count)
{
    job *j = arg;
    (void)count;
    for (int pass = 0; pass < 3; pass++) {
        if (!member) tenon_team_chunk_reset(j->team);
        tenon_team_barrier(j->team, member);
        for (int64_t c; (c = tenon_team_chunk(j->team)) < j->chunks;) j->seen[c]++;
        tenon_team_barrier(j->team, member);
    }
}

static void uneven(void *arg, int member, int count)
{
    job *j = arg;
    (void)count;
    for (int i = 0; i < 4; i++) {
        if (i % MOST == member) usleep(2000); /* far longer than spinning: the others sleep */
        tenon_team_barrier(j->team, member);
    }
    j->ran[member]++;
}

static void test_sizes(tenon_cx *cx)
{
    for (int threads = 1; threads <= MOST; threads++) {
        tenon_team *team = NULL;
        if (!CHECK_OK(cx, tenon_team_create(cx, threads, &team))) return;
        CHECK(tenon_team_count(team) == threads);
        job j = {.team = team, .chunks = 1000};
        for (int i = 0; i < 50; i++) {
            tenon_team_run(team, count_members, &j);
            if (i % 20 == 19) usleep(1000); /* workers fall asleep */
        }
        tenon_team_run(team, exchange, &j);
        tenon_team_run(team, take_chunks, &j);
        tenon_team_run(team, uneven, &j);
        long wrong = 0;
        for (int i = 0; i < threads; i++) wrong += j.ran[i] != 51 || j.count[i] != threads || j.wrong[i];
        for (int i = threads; i < MOST; i++) wrong += j.ran[i] != 0;
        for (int i = 0; i < j.chunks; i++) wrong += j.seen[i] != 3;
        CHECK(wrong == 0);
        tenon_team_destroy(&team);
        CHECK(!team);
    }
}

static void test_create(tenon_cx *cx)
{
    tenon_team *team = NULL;
    CHECK_FAILS(cx, tenon_team_create(cx, -1, &team), TENON_INVALID, "-1");
    CHECK_FAILS(cx, tenon_team_create(cx, TENON_MOST_THREADS + 1, &team), TENON_INVALID, "0 (all usable cores) to");
    CHECK_OK(cx, tenon_team_create(cx, 0, &team));
    CHECK(team && tenon_team_count(team) == tenon_cpu()->cores);
    tenon_team_destroy(&team);
    tenon_team_destroy(&team);
    tenon_team_destroy(NULL);
    for (int i = 0; i < 20; i++) { /* destroyed while the workers still spin */
        CHECK_OK(cx, tenon_team_create(cx, 4, &team));
        tenon_team_destroy(&team);
    }
    check_heap heap = {.fail_at = 1};
    tenon_cx poor;
    check_heap_install(&heap, &poor);
    CHECK_FAILS(&poor, tenon_team_create(&poor, 2, &team), TENON_NOMEM, "memory");
    CHECK(!team && heap.live == 0);
}

#if defined(__x86_64__)
typedef struct modes { unsigned mode[MOST]; float tiny[MOST]; } modes;

static void read_mode(void *arg, int member, int count)
{
    modes *m = arg;
    (void)count;
    volatile float smallest = 0x1p-126f, half = 0.5f;
    m->mode[member] = __builtin_ia32_stmxcsr() & ~0x3fu;
    m->tiny[member] = smallest * half;
}

static void test_float_mode(tenon_cx *cx)
{
    tenon_team *team = NULL;
    modes m = {0};
    const unsigned before = __builtin_ia32_stmxcsr(), odd = 0x1f80 | 0x6000; /* toward zero */
    if (!CHECK_OK(cx, tenon_team_create(cx, 4, &team))) return;
    for (int i = 0; i < 4; i++) m.tiny[i] = 1;
    __builtin_ia32_ldmxcsr(odd);
    tenon_team_run(team, read_mode, &m);
    const unsigned after = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before);
    CHECK((after & ~0x3fu) == odd);
    for (int i = 0; i < 4; i++) CHECK(m.mode[i] == (0x1f80 | 0x8040) && m.tiny[i] == 0);
    tenon_team_destroy(&team);
}
#else
static void test_float_mode(tenon_cx *cx) { (void)cx, SKIP("float mode is read on x86-64 only"); }
#endif

/* The child runs on the inherited team, destroys it and says by its exit code whether all was right. */
static TENON_UNUSED int in_child(tenon_team *team, bool run)
{
    job j = {.team = team};
    if (run) {
        for (int i = 0; i < 5; i++) tenon_team_run(team, count_members, &j);
        tenon_team_run(team, exchange, &j);
        for (int i = 0; i < tenon_team_count(team); i++)
            if (j.ran[i] != 5 || j.count[i] != tenon_team_count(team) || j.wrong[i]) return 1;
    }
    tenon_team_destroy(&team);
    return 0;
}

static void test_fork(tenon_cx *cx)
{
#if defined(__SANITIZE_THREAD__)
    (void)cx;
    SKIP("ThreadSanitizer does not allow threads after a fork of a threaded process");
#else
    if (EMULATED()) {
        SKIP("qemu does not start threads after a fork");
        return;
    }
    tenon_team *team = NULL;
    job j = {0};
    if (!CHECK_OK(cx, tenon_team_create(cx, 4, &team))) return;
    for (int round = 0; round < 6; round++) {
        tenon_team_run(team, count_members, &j);
        if (round % 2) usleep(1000); /* fork with sleeping and with spinning workers */
        const pid_t pid = fork();
        if (!pid) {
            alarm(20);
            _exit(in_child(team, round < 4));
        }
        int status = -1;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    tenon_team_run(team, count_members, &j);
    for (int i = 0; i < 4; i++) CHECK(j.ran[i] == 7);
    tenon_team_destroy(&team);
#endif
}

/* With little address space threads cannot start: the message says how many could. */
static void test_no_threads(tenon_cx *cx)
{
    if (SANITIZED) {
        SKIP("sanitizers need the address space that this test takes away");
        return;
    }
    const pid_t pid = fork();
    if (!pid) {
        alarm(20);
        long pages = 0;
        FILE *f = fopen("/proc/self/statm", "r");
        if (!f || fscanf(f, "%ld", &pages) != 1) _exit(2);
        fclose(f);
        const rlim_t bytes = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (100u << 20);
        if (setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes})) _exit(2);
        tenon_team *team = NULL;
        const tenon_status status = tenon_team_create(cx, 500, &team);
        _exit(status == TENON_DEVICE && !team && strstr(cx->message, "could start") ? 0 : status == TENON_OK ? 2 : 1);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) SKIP("RLIMIT_AS has no effect here");
    else CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void *one_of_many(void *arg)
{
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    tenon_team *team = NULL;
    long *wrong = arg;
    if (tenon_team_create(&cx, 3, &team) != TENON_OK) return *wrong = 1, NULL;
    job j = {.team = team};
    for (int i = 0; i < 20; i++) tenon_team_run(team, exchange, &j);
    for (int i = 0; i < 3; i++) *wrong += j.wrong[i];
    tenon_team_destroy(&team);
    return NULL;
}

static void test_many_teams(void)
{
    pthread_t thread[3];
    long wrong[3] = {0};
    for (int i = 0; i < 3; i++) CHECK(!pthread_create(&thread[i], NULL, one_of_many, &wrong[i]));
    for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 3; i++) CHECK(wrong[i] == 0);
}

/* Each caller of a team of one counts its own chunks, however the callers overlap. */
static void *alone_in_team(void *arg)
{
    job *j = arg;
    for (int i = 0; i < 200; i++) tenon_team_run(j->team, take_chunks, j);
    return NULL;
}

static void test_lone_chunks(tenon_cx *cx)
{
    tenon_team *team = NULL;
    static job j[2];
    pthread_t thread[2];
    if (!CHECK_OK(cx, tenon_team_create(cx, 1, &team))) return;
    for (int i = 0; i < 2; i++) {
        j[i] = (job){.team = team, .chunks = 4000};
        CHECK(!pthread_create(&thread[i], NULL, alone_in_team, &j[i]));
    }
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    int wrong = 0;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < j[i].chunks; k++) wrong += j[i].seen[k] != (char)(3 * 200);
    CHECK(wrong == 0);
    tenon_team_destroy(&team);
}

static void test_split(void)
{
    for (int64_t count = 0; count < 70; count += 3)
        for (int64_t grain = 1; grain < 20; grain += 6)
            for (int members = 1; members <= 7; members++) {
                int64_t next = 0, begin, end;
                bool right = true;
                for (int m = 0; m < members; m++) {
                    tenon_split(count, grain, m, members, &begin, &end);
                    right = right && begin == next && end >= begin && (begin % grain == 0 || begin == count);
                    next = end;
                }
                CHECK(right && next == count);
            }
}

static void nothing(void *arg, int member, int count) { (void)arg, (void)member, (void)count; }

int main(void)
{
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    test_split();
    test_create(&cx);
    test_sizes(&cx);
    test_float_mode(&cx);
    test_fork(&cx);
    test_no_threads(&cx);
    test_many_teams();
    test_lone_chunks(&cx);
    tenon_team *team = NULL;
    if (CHECK_OK(&cx, tenon_team_create(&cx, TENON_MIN(tenon_cpu()->cores, 2), &team))) {
        double best = 1;
        for (int i = 0; i < 20; i++) {
            const double t = tenon_now();
            for (int k = 0; k < 100; k++) tenon_team_run(team, nothing, NULL);
            best = TENON_MIN(best, (tenon_now() - t) / 100);
        }
        printf("empty run of %d: %.0f ns\n", tenon_team_count(team), best * 1e9);
        tenon_team_destroy(&team);
    }
    return CHECK_END();
}
