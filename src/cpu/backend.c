/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU as a device. A launch is one run of the team: every member walks the whole list of steps, doing its share of each,
   with a barrier after a step unless the next does not depend on it. Nothing here allocates or locks while steps run, save that
   callers of a team of several threads take turns. */
#include "cpu/backend.h"
#include "cpu/peak.h"

#include "base/clock.h"
#include "base/isa.h"
#include "base/team.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sched.h>
#include <unistd.h>

#define TACTIC(x) extern const tenon_tactic tenon_cpu_##x;
#include "cpu/tactic.def"
#undef TACTIC
#define TACTIC(x) &tenon_cpu_##x,
const tenon_tactic *const tenon_cpu_tactics[] = {
#include "cpu/tactic.def"
    NULL};
#undef TACTIC

enum { HUGE_PAGE = 2 << 20 };

struct tenon_device {
    tenon_cx cx;        /* sinks and allocator of whoever opened it; never written after that */
    tenon_team *team;
    pthread_mutex_t turn;
    _Atomic pid_t turn_pid; /* the process whose threads take turns by it; negative while that process makes it anew */
    tenon_device_info info;
    size_t l2_bytes;
};

/* Round numbers of a middling server core: the model ranks plans where nothing may be timed, so they must not depend on the
   machine. */
static void describe(tenon_device *d, int threads)
{
    const tenon_cpu_info *cpu = tenon_cpu();
    char isa[64];
    struct sysinfo memory;
    tenon_isa_names(cpu->isa, isa, sizeof isa);
    const double core = cpu->isa & TENON_ISA_AVX512 ? 120e9 : cpu->isa & TENON_ISA_AVX2 ? 70e9 : 10e9;
    snprintf(d->info.name, sizeof d->info.name, "%s, %d threads, %s", cpu->name, threads, isa);
    snprintf(d->info.fingerprint, sizeof d->info.fingerprint, "cpu;%s;%s;%d threads;tenon %d.%d.%d", cpu->name, isa, threads,
             TENON_VERSION_MAJOR, TENON_VERSION_MINOR, TENON_VERSION_PATCH);
    d->info.peak_flops = core * threads;
    d->info.bandwidth = 12e9 * threads;
    d->info.step_seconds = 1e-6;
    d->info.threads = threads;
    d->info.have = cpu->isa;
    d->info.memory_bytes = sysinfo(&memory) == 0 ? (size_t)memory.totalram * memory.mem_unit : 0;
    d->l2_bytes = cpu->l2_bytes ? cpu->l2_bytes : 1 << 20;
}

static void cpu_close(tenon_device **device)
{
    tenon_device *d = *device;
    *device = NULL;
    if (!d) return;
    tenon_team_destroy(&d->team);
    pthread_mutex_destroy(&d->turn);
    tenon_cx cx = d->cx;
    tenon_free(&cx, d);
}

static tenon_status cpu_open(tenon_cx *cx, int index, int threads, tenon_device **out)
{
    *out = NULL;
    if (index != 0) return TENON_FAIL(cx, TENON_DEVICE, "cpu: there is one device, 0, not %d", index);
    if (threads < 0) return TENON_FAIL(cx, TENON_INVALID, "cpu: %d threads", threads);
    tenon_device *d = tenon_alloc_zero(cx, sizeof *d);
    if (!d) return TENON_NOMEM;
    tenon_cx_init_child(&d->cx, cx);
    if (pthread_mutex_init(&d->turn, NULL) != 0) {
        tenon_free(cx, d);
        return TENON_FAIL(cx, TENON_DEVICE, "cpu: no mutex");
    }
    d->turn_pid = getpid();
    const tenon_status status = tenon_team_create(cx, threads, &d->team);
    if (status != TENON_OK) {
        cpu_close(&d);
        return status;
    }
    describe(d, tenon_team_count(d->team));
    *out = d;
    return TENON_OK;
}

static const tenon_device_info *cpu_info(const tenon_device *device) { return &device->info; }

/* ---- memory ---- */
/* A copy of the opener's session, so that several threads may allocate at once. */
static tenon_status cpu_alloc(tenon_cx *cx, tenon_device *device, size_t bytes, void **out)
{
    tenon_cx child;
    tenon_cx_init_child(&child, &device->cx);
    const bool large = bytes >= HUGE_PAGE;
    *out = tenon_alloc_aligned(&child, bytes ? bytes : 1, large ? HUGE_PAGE : 64);
    if (!*out) return TENON_FAIL(cx, TENON_NOMEM, "cpu: no memory for %zu bytes", bytes);
    if (large) (void)madvise(*out, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* advice: small pages do as well */
    return TENON_OK;
}

static void cpu_release(tenon_device *device, void *p)
{
    tenon_cx child;
    tenon_cx_init_child(&child, &device->cx);
    tenon_free_aligned(&child, p);
}

static tenon_status cpu_copy(tenon_cx *cx, tenon_device *device, void *dst, const void *src, size_t bytes)
{
    (void)cx, (void)device;
    if (bytes) memmove(dst, src, bytes);
    return TENON_OK;
}

static tenon_status cpu_synchronize(tenon_cx *cx, tenon_device *device, void *stream)
{
    (void)cx, (void)device, (void)stream;
    return TENON_OK;
}

/* ---- launch ---- */
typedef struct walk {
    tenon_cx *cx;
    tenon_team *team;
    const tenon_launch *step;
    size_t count;
    char *scratch;
    size_t scratch_bytes;
    atomic_flag failed;
    tenon_status status; /* of the first failure; its message is in cx, or here when another member had it */
    char message[TENON_MESSAGE_BYTES];
} walk;

static void note_failure(walk *w, tenon_status status, const char *message)
{
    if (atomic_flag_test_and_set(&w->failed)) return;
    w->status = status;
    snprintf(w->message, sizeof w->message, "%s", message);
}

/* A member goes on after a failure: the others wait for it at the barriers. */
static void walk_steps(void *arg, int member, int count)
{
    walk *w = arg;
    tenon_cx own, *cx = w->cx;
    if (member != 0) {
        tenon_cx_init_child(&own, w->cx);
        cx = &own;
    }
    const tenon_worker worker = {.cx = cx, .team = w->team, .member = member, .count = count,
                                 .scratch = w->scratch ? w->scratch + (size_t)member * w->scratch_bytes : NULL};
    for (size_t i = 0; i < w->count; i++) {
        const tenon_launch *s = &w->step[i];
        if (member == 0 || !(s->tactic->flags & TENON_TACTIC_SERIAL)) {
            const tenon_status status = s->tactic->run(s->record, (void *)&worker);
            if (TENON_UNLIKELY(status != TENON_OK)) note_failure(w, status, cx->message);
        }
        if (i + 1 < w->count && !(s->flags & TENON_LAUNCH_NO_BARRIER)) tenon_team_barrier(w->team, member);
    }
}

/* A fork while another thread had its turn leaves the mutex locked in the child, where that thread is not: the first caller there
   makes it anew (and the team starts its threads again). The negative number names who is at it, so that a fork in between is
   noticed as well. */
static void own_turn(tenon_device *d, pid_t pid)
{
    for (pid_t seen; (seen = atomic_load(&d->turn_pid)) != pid;) {
        if (seen == -pid) sched_yield();
        else if (atomic_compare_exchange_strong(&d->turn_pid, &seen, -pid)) {
            pthread_mutex_init(&d->turn, NULL);
            atomic_store(&d->turn_pid, pid);
        }
    }
}

/* Callers of a team of one thread do not wait for each other. */
static void run_team(tenon_device *d, tenon_team_fn fn, void *arg)
{
    const bool turns = d->info.threads > 1;
    if (turns) {
        own_turn(d, getpid());
        pthread_mutex_lock(&d->turn);
    }
    tenon_team_run(d->team, fn, arg);
    if (turns) pthread_mutex_unlock(&d->turn);
}

static tenon_status launch_walk(tenon_device *device, walk *w)
{
    atomic_flag_clear(&w->failed);
    w->status = TENON_OK;
    run_team(device, walk_steps, w);
    return w->status == TENON_OK ? TENON_OK : TENON_FAIL(w->cx, w->status, "%s", w->message);
}

static tenon_status cpu_launch(tenon_cx *cx, tenon_device *device, void *stream, const tenon_launch *step, size_t count,
                               void *scratch, size_t scratch_bytes)
{
    (void)stream;
    if (count == 0) return TENON_OK;
    walk w = {.cx = cx, .team = device->team, .step = step, .count = count, .scratch = scratch, .scratch_bytes = scratch_bytes};
    return launch_walk(device, &w);
}

/* ---- timing ---- */
typedef struct eviction { char *buffer; size_t bytes; } eviction;

/* Every member writes a buffer of its own that is larger than its L2, so that weights come from further away, as in a network. */
static void evict(void *arg, int member, int count)
{
    const eviction *e = arg;
    (void)count;
    volatile char *p = e->buffer + (size_t)member * e->bytes;
    for (size_t i = 0; i < e->bytes; i += 64) p[i] = (char)i;
}

static tenon_status time_launches(tenon_cx *cx, tenon_device *device, walk *w, eviction *e, double budget, double *out)
{
    const double start = tenon_now();
    *out = 0;
    TENON_TRY(launch_walk(device, w)); /* faults pages in */
    for (int i = 0; i < 3 || (tenon_now() - start < budget && i < 1000); i++) {
        if (i % 16 == 15) TENON_TRY(tenon_progress(cx, "timing", 0, 0)); /* of how many is not known here */
        run_team(device, evict, e);
        const double begin = tenon_now();
        TENON_TRY(launch_walk(device, w));
        const double seconds = tenon_now() - begin;
        if (i == 0 || seconds < *out) *out = seconds;
    }
    return TENON_OK;
}

static tenon_status cpu_time(tenon_cx *cx, tenon_device *device, const tenon_launch *step, size_t count, size_t scratch_bytes,
                             double budget_seconds, double *out)
{
    const size_t threads = (size_t)device->info.threads, each = device->l2_bytes + device->l2_bytes / 2;
    void *scratch = NULL, *buffer = NULL;
    tenon_status status;
    *out = 0;
    if (count == 0) return TENON_OK;
    TENON_TRY_DONE(cpu_alloc(cx, device, scratch_bytes * threads, &scratch));
    TENON_TRY_DONE(cpu_alloc(cx, device, each * threads, &buffer));
    walk w = {.cx = cx, .team = device->team, .step = step, .count = count, .scratch = scratch, .scratch_bytes = scratch_bytes};
    eviction e = {buffer, each};
    status = time_launches(cx, device, &w, &e, budget_seconds, out);
done:
    if (scratch) cpu_release(device, scratch);
    if (buffer) cpu_release(device, buffer);
    return status;
}

const tenon_backend tenon_backend_cpu = {
    .name = "cpu", .tactics = tenon_cpu_tactics, .open = cpu_open, .close = cpu_close, .info = cpu_info, .alloc = cpu_alloc,
    .release = cpu_release, .upload = cpu_copy, .download = cpu_copy, .host_memory = true, .launch = cpu_launch,
    .synchronize = cpu_synchronize, .time = cpu_time, .peak = tenon_cpu_peak,
};
