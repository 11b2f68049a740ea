/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU, looked at once: instruction sets that hardware and operating system both give, cores this process may use, caches.
   cpuid says what the silicon has, xgetbv whether the system saves the registers; both must agree. Elsewhere than x86-64 there is
   no level above scalar. Asking for AMX asks the kernel for the permission too, which holds for the whole process. */
#include "base/isa.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static tenon_cpu_info info;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct { const char *name; unsigned bit; } bits[] = {
    {"avx2", TENON_ISA_AVX2}, {"avx512", TENON_ISA_AVX512}, {"vnni", TENON_ISA_AVX512_VNNI}, {"vbmi", TENON_ISA_AVX512_VBMI},
    {"bf16", TENON_ISA_AVX512_BF16}, {"fp16", TENON_ISA_AVX512_FP16}, {"amx", TENON_ISA_AMX}, {"avxvnni", TENON_ISA_AVX_VNNI},
};

void tenon_isa_names(unsigned isa, char *out, size_t bytes)
{
    size_t used = 0;
    if (!bytes) return;
    out[0] = 0;
    for (size_t i = 0; i < TENON_COUNTOF(bits); i++)
        if (isa & bits[i].bit && used < bytes)
            used += (size_t)snprintf(out + used, bytes - used, "%s%s", used ? "+" : "", bits[i].name);
    if (!used) snprintf(out, bytes, "scalar");
}

bool tenon_isa_parse(const char *s, unsigned *out)
{
    *out = 0;
    if (!strcmp(s, "scalar")) return true;
    if (!strchr(s, '+')) {
        if (!strcmp(s, "avx2")) *out = TENON_ISA_AVX2 | TENON_ISA_AVX_VNNI;
        else if (!strcmp(s, "avx512")) *out = ~0u;
        return *out != 0;
    }
    unsigned set = 0;
    for (;;) {
        const size_t length = strcspn(s, "+");
        unsigned bit = 0;
        for (size_t i = 0; i < TENON_COUNTOF(bits); i++)
            if (strlen(bits[i].name) == length && !memcmp(bits[i].name, s, length)) bit = bits[i].bit;
        if (!bit) return false;
        set |= bit;
        s += length;
        if (!*s++) break;
    }
    *out = set;
    return true;
}

#if defined(__x86_64__)
static uint64_t xgetbv0(void)
{
    uint32_t a, d;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (uint64_t)d << 32 | a;
}

/* arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA): the tile registers are given on request only. */
static bool amx_permitted(void)
{
#ifdef SYS_arch_prctl
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
    return false;
#endif
}

static unsigned hardware_isa(void)
{
    unsigned a, b, c, d, b7, c7, d7, a71 = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0; /* OSXSAVE */
    const bool fma = c >> 12 & 1, f16c = c >> 29 & 1, avx = c >> 28 & 1;
    const uint64_t saved = xgetbv0();
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) || (saved & 6) != 6) return 0;
    if (a >= 1) __get_cpuid_count(7, 1, &a71, &b, &c, &d);
    unsigned isa = 0;
    const bool bmi = (b7 >> 3 & 1) && (b7 >> 8 & 1); /* BMI1, BMI2: -march=x86-64-v3 uses them */
    if (avx && fma && f16c && bmi && (b7 >> 5 & 1)) isa |= TENON_ISA_AVX2;
    if (!isa) return 0;
    if (a71 >> 4 & 1) isa |= TENON_ISA_AVX_VNNI;
    /* F, DQ, CD, BW, VL: -march=x86-64-v4; registers: opmask, upper halves, zmm16-31 */
    const unsigned v4 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
    if ((b7 & v4) != v4 || (saved & 0xe6) != 0xe6) return isa;
    isa |= TENON_ISA_AVX512;
    if (c7 >> 11 & 1) isa |= TENON_ISA_AVX512_VNNI;
    if (c7 >> 1 & 1) isa |= TENON_ISA_AVX512_VBMI;
    if (a71 >> 5 & 1) isa |= TENON_ISA_AVX512_BF16;
    if (d7 >> 23 & 1) isa |= TENON_ISA_AVX512_FP16;
    const unsigned tiles = 1u << 22 | 1u << 24 | 1u << 25; /* bf16, tile, int8 */
    if ((d7 & tiles) == tiles && (saved & 0x60000) == 0x60000 && amx_permitted()) isa |= TENON_ISA_AMX;
    return isa;
}

static void cpu_name(char *out, size_t bytes)
{
    unsigned r[12] = {0};
    char text[sizeof r + 1] = {0};
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3])) r[0] = 0;
    memcpy(text, r, sizeof r);
    const char *s = text + strspn(text, " ");
    size_t length = strlen(s);
    while (length && s[length - 1] == ' ') length--;
    snprintf(out, bytes, "%.*s", (int)length, length ? s : "");
    if (!length) snprintf(out, bytes, "x86-64");
}
#else
static unsigned hardware_isa(void) { return 0; }

static void cpu_name(char *out, size_t bytes)
{
#if defined(__aarch64__)
    snprintf(out, bytes, "aarch64");
#else
    snprintf(out, bytes, "unknown CPU");
#endif
}
#endif

static bool read_line(const char *path, char *out, int bytes)
{
    FILE *f = fopen(path, "re");
    if (!f) return false;
    const bool got = fgets(out, bytes, f) != NULL;
    fclose(f);
    return got;
}

/* Cores that a quota allows: the floor, because a spinning team that is throttled for a part of each period waits at every
   barrier. */
static int quota_cores(long long quota, long long period, int cores)
{
    if (quota <= 0 || period <= 0 || quota / period >= cores) return cores;
    return (int)TENON_MAX(quota / period, 1);
}

/* The quota of one cgroup folder; v2 has one file, v1 two. */
static int folder_cores(const char *folder, bool v2, int cores)
{
    char path[1280], line[128];
    long long quota, period;
    snprintf(path, sizeof path, "%s/%s", folder, v2 ? "cpu.max" : "cpu.cfs_quota_us");
    if (!read_line(path, line, sizeof line)) return cores;
    if (v2) return sscanf(line, "%lld %lld", &quota, &period) == 2 ? quota_cores(quota, period, cores) : cores; /* "max ..." */
    if (sscanf(line, "%lld", &quota) != 1) return cores;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lld", &period) != 1) return cores;
    return quota_cores(quota, period, cores);
}

/* A limit holds for everything below it, so each folder from the process's own up to the root counts. */
static int walk_cores(const char *root, const char *group, bool v2, int cores)
{
    char folder[1024];
    const int length = snprintf(folder, sizeof folder, "%s%s", root, group);
    if (length >= (int)sizeof folder) return cores;
    const size_t stop = strlen(root);
    for (;;) {
        cores = folder_cores(folder, v2, cores);
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < stop || strlen(folder) <= stop) return cores;
        *slash = 0;
    }
}

/* Lines of /proc/self/cgroup are "0::/path" (v2) or "4:cpu,cpuacct:/path" (v1). */
static int cgroup_cores(int cores)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[1024];
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *names = strchr(line, ':'), *group = names ? strchr(names + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        names++;
        if (!*names) {
            cores = walk_cores("/sys/fs/cgroup", group, true, cores);
            cores = walk_cores("/sys/fs/cgroup/unified", group, true, cores);
            continue;
        }
        char root[256], padded[256];
        snprintf(padded, sizeof padded, ",%s,", names);
        if (!strstr(padded, ",cpu,")) continue;
        snprintf(root, sizeof root, "/sys/fs/cgroup/%s", names);
        cores = walk_cores(root, group, false, cores);
        cores = walk_cores("/sys/fs/cgroup/cpu", group, false, cores);
    }
    if (f) fclose(f);
    return cores;
}

static int affinity_cores(void)
{
    for (int most = 1024; most <= 1 << 16; most *= 4) {
        cpu_set_t *set = CPU_ALLOC(most);
        if (!set) break;
        const size_t bytes = CPU_ALLOC_SIZE(most);
        const int count = sched_getaffinity(0, bytes, set) ? 0 : CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (count > 0) return count;
    }
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

static size_t sysfs_cache(int level)
{
    for (int i = 0; i < 8; i++) {
        char path[128], text[64];
        int found = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        if (!read_line(path, text, sizeof text)) return 0;
        if (sscanf(text, "%d", &found) != 1 || found != level) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
        if (!read_line(path, text, sizeof text) || text[0] == 'I') continue; /* Instruction */
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        unsigned long size = 0;
        char unit = 0;
        if (!read_line(path, text, sizeof text) || sscanf(text, "%lu%c", &size, &unit) < 1) continue;
        return (size_t)size * (unit == 'K' ? 1024u : unit == 'M' ? 1024u * 1024u : 1u);
    }
    return 0;
}

/* What neither source knows gets a size that is small for any server of the last ten years. */
static size_t cache_bytes(int name, int level, size_t otherwise)
{
    const long size = name >= 0 ? sysconf(name) : 0;
    const size_t found = size > 0 ? (size_t)size : sysfs_cache(level);
    return found ? found : otherwise;
}

static void look(void)
{
    info.hardware = info.isa = hardware_isa();
    const char *limit = getenv("TENON_ISA");
    unsigned allowed;
    if (limit && *limit) {
        if (tenon_isa_parse(limit, &allowed)) info.isa &= allowed;
        else fprintf(stderr, "tenon: warning: TENON_ISA=%s is not scalar, avx2 or avx512; not limited\n", limit);
    }
    info.cores = cgroup_cores(affinity_cores());
#ifdef _SC_LEVEL1_DCACHE_SIZE
    const int name[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
#else
    const int name[] = {-1, -1, -1};
#endif
    info.l1d_bytes = cache_bytes(name[0], 1, 32 << 10);
    info.l2_bytes = cache_bytes(name[1], 2, 512 << 10);
    info.l3_bytes = cache_bytes(name[2], 3, 8 << 20);
    cpu_name(info.name, sizeof info.name);
}

const tenon_cpu_info *tenon_cpu(void)
{
    pthread_once(&once, look);
    return &info;
}
