/* SPDX-License-Identifier: Apache-2.0 */
/* tenoncheck: the judge of every tactic. Reads the command line, then tables, walk, listing or bench. */
#include "tenoncheck.h"

#include "run/engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char help[] =
    "tenoncheck [--quick | --full]   tables and every case x tactic against the references (quick: under a minute;\n"
    "                                full: every variant, pitch, place and mode, and a sample of their product drawn by the seed, at\n"
    "                                every instruction set: minutes)\n"
    "           --tables             the tables alone\n"
    "           --noalloc            bind and run allocate nothing, nothing else is checked\n"
    "           --list [FILTER]      cases, the tactics that take them, and why others do not\n"
    "           --bench [FILTER]     min and median time, GFLOP/s, GB/s and the share of this machine's peak; all: every case\n"
    "             --cold             between runs the caches are overwritten\n"
    "           --problem TEXT       this one instead of test/case/*.txt; --filter FILTER: the cases that hold it\n"
    "           --tactic NAME --variant P,P --seed N --mode NAME --symbols N,N --threads N --isa scalar|avx2|avx512\n"
    "           --device BACKEND --jobs N\n"
    "The last line counts. A failure prints the command that repeats it.\n";

static const struct { const char *name; size_t offset; } texts[] = {
    {"--problem", offsetof(check_options, problem)}, {"--tactic", offsetof(check_options, tactic)},
    {"--variant", offsetof(check_options, variant)}, {"--isa", offsetof(check_options, isa)},
    {"--mode", offsetof(check_options, mode)},       {"--symbols", offsetof(check_options, symbols)},
    {"--device", offsetof(check_options, backend)},  {"--filter", offsetof(check_options, filter)},
};
static const struct { const char *name; size_t offset; } flags[] = {
    {"--quick", offsetof(check_options, quick)}, {"--full", offsetof(check_options, full)},
    {"--noalloc", offsetof(check_options, noalloc)}, {"--tables", offsetof(check_options, tables)},
    {"--cold", offsetof(check_options, cold)}, {"--list", offsetof(check_options, list)},
    {"--bench", offsetof(check_options, bench)},
};

/* 0: understood; else the exit status. */
static int parse(int argc, char **argv, check_options *o)
{
    for (int i = 1; i < argc; i++) {
        bool known = false;
        for (size_t k = 0; k < TENON_COUNTOF(flags); k++)
            if (!strcmp(argv[i], flags[k].name)) {
                *(bool *)((char *)o + flags[k].offset) = known = true;
                if ((o->list || o->bench) && k >= 5 && i + 1 < argc && argv[i + 1][0] != '-') o->filter = argv[++i];
            }
        if (known) continue;
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        for (size_t k = 0; k < TENON_COUNTOF(texts); k++)
            if (!strcmp(argv[i], texts[k].name) && value) {
                *(const char **)((char *)o + texts[k].offset) = value;
                known = true;
            }
        if (!strcmp(argv[i], "--seed") && value) o->seed = strtoull(value, NULL, 0), known = true;
        if (!strcmp(argv[i], "--threads") && value) o->threads = atoi(value), known = true;
        if (!strcmp(argv[i], "--jobs") && value) o->jobs = atoi(value), known = true;
        if (!known) {
            const bool wanted = !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
            if (!wanted) fprintf(stderr, "tenoncheck: unknown or incomplete option %s\n", argv[i]);
            fputs(help, wanted ? stdout : stderr);
            return wanted ? -1 : 2;
        }
        i++;
    }
    return 0;
}

static int complain(const char *text)
{
    fprintf(stderr, "tenoncheck: %s\n", text);
    return 2;
}

static bool mode_known(const char *mode)
{
    for (int i = 0; i < MODE_COUNT; i++)
        if (!strcmp(mode, check_mode_name[i])) return true;
    return false;
}

/* False: the device is not there, and that was said. Asked in a process of its own: a driver that has been started does not
   survive the fork of the processes that do the work. */
static bool device_there(tenon_cx *cx, const tenon_backend *b)
{
    int status = 0;
    if (b->host_memory) return true;
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        tenon_device *device;
        const bool there = b->open(cx, 0, 1, &device) == TENON_OK && (!b->can_build || b->can_build(cx, device) == TENON_OK);
        if (!there) printf("SKIP %s: %s\n", b->name, cx->message);
        fflush(stdout);
        _exit(there ? 0 : 1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The levels below this machine's, each in a process of its own, because what the CPU can is asked once a process. */
static void lower_levels(const check_options *o, check_counts *counts)
{
    static const char *const level[] = {"scalar", "avx2"};
    const unsigned reach = tenon_cpu()->isa & TENON_ISA_AVX512 ? 2 : tenon_cpu()->isa & TENON_ISA_AVX2 ? 1 : 0;
    for (unsigned i = 0; i < reach; i++) {
        char command[8192], line[4096];
        check_counts sub = {0};
        bool counted = false;
        snprintf(command, sizeof command, "TENON_ISA=%s /proc/%d/exe --full --isa %s --seed %llu 2>&1", level[i], (int)getpid(),
                 level[i],
                 (unsigned long long)o->seed);
        printf("== %s\n", level[i]);
        fflush(stdout);
        FILE *pipe = popen(command, "r");
        while (pipe && fgets(line, sizeof line, pipe)) {
            counted = sscanf(line, "%ld passed, %ld failed, %ld skipped", &sub.passed, &sub.failed, &sub.skipped) == 3;
            if (!counted) fputs(line, stdout);
        }
        if (pipe) pclose(pipe);
        counts->passed += sub.passed, counts->failed += sub.failed + !counted, counts->skipped += sub.skipped;
    }
}

int main(int argc, char **argv)
{
    check_options o = {.seed = 1, .backend = "cpu", .jobs = 0};
    const int status = parse(argc, argv, &o);
    if (status) return status < 0 ? 0 : status;
    if (o.isa) setenv("TENON_ISA", o.isa, 1);
    setvbuf(stdout, NULL, _IOLBF, 0);
    tenon_cx cx;
    tenon_arena arena;
    check_cases cases;
    check_counts counts = {0};
    unsigned parsed;
    tenon_cx_init_default(&cx);
    memory_watch_allocator(&cx.alloc);
    tenon_arena_init(&arena, &cx);
    const tenon_backend *backend = tenon_backend_find(o.backend);
    if (o.isa && !tenon_isa_parse(o.isa, &parsed)) return complain("--isa is scalar, avx2 or avx512");
    if (o.isa && parsed & (TENON_ISA_AVX2 | TENON_ISA_AVX512) & ~tenon_cpu()->hardware) {
        printf("SKIP %s: this CPU lacks it\n0 passed, 0 failed, 1 skipped\n", o.isa);
        return 0;
    }
    if (o.mode && !mode_known(o.mode)) return complain("--mode is random, denormal, nonfinite, extreme or zero");
    if (o.threads < 0 || o.threads > 3) {
        if (!o.bench) return complain("--threads is 1, 2 or 3");
    }
    if (check_cases_read(&cx, &arena, &cases) != TENON_OK) return complain(cx.message);
    check_case own = {.file = "command line", .text = o.problem, .line = 1};
    if (o.problem) cases = (check_cases){.at = &own, .count = 1};
    if (!backend || !device_there(&cx, backend)) {
        if (!backend) printf("SKIP %s: this build has no such backend\n", o.backend);
        printf("0 passed, 0 failed, 1 skipped\n");
        return 0;
    }
    if (!o.jobs) o.jobs = backend->host_memory ? TENON_MIN(tenon_cpu()->cores, 4) : 1;
    if (o.list) {
        check_listing(&cx, &o, backend, &cases);
    } else if (o.bench) {
        return check_bench(&cx, &o, backend, &cases);
    } else {
        printf("seed %llu, %s\n", (unsigned long long)o.seed, o.full ? "full" : o.noalloc ? "noalloc" : "quick");
        if (!o.problem && !o.filter && !o.noalloc) check_tables(&cx, tenon_backends, &cases, &counts);
        if (!o.tables) check_walk(&cx, &o, backend, &cases, &counts);
        if (o.full && !o.isa && !o.problem && backend->host_memory) lower_levels(&o, &counts);
        printf("%ld passed, %ld failed, %ld skipped\n", counts.passed, counts.failed, counts.skipped);
    }
    tenon_arena_free(&arena);
    return counts.failed ? 1 : 0;
}
