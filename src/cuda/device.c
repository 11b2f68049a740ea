/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a GPU, or standing in for one that is not here: with TENON_CUDA_OFFLINE=SM, or a negative index (-SM), engines for that
   compute capability are planned by the cost model and compiled by NVRTC on a machine without a driver. */
#include "cuda/device.h"
#include "cuda/kernel_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int known_sm[] = {75, 80, 86, 89, 90, 100, 120};

/* A card people have, for each compute capability: what an offline device says of itself (NVIDIA's data sheets; boost clock). */
typedef struct model { int sm, multiprocessors, megahertz, gigabytes; double bandwidth; const char *name; } model;
static const model models[] = {
    {75, 40, 1590, 16, 320e9, "Tesla T4"},    {80, 108, 1410, 80, 2039e9, "A100"},  {86, 82, 1695, 24, 936e9, "RTX 3090"},
    {89, 58, 2040, 24, 300e9, "L4"},          {90, 132, 1980, 80, 3352e9, "H100"},  {100, 148, 1965, 180, 8000e9, "B200"},
    {120, 170, 2407, 32, 1792e9, "RTX 5090"},
};

/* Shared memory a block may opt in to, by compute capability (CUDA C programming guide, table of technical specifications). */
static size_t shared_by_sm(int sm)
{
    const bool large = sm == 90 || (sm >= 100 && sm < 120), small = sm == 86 || sm == 89 || sm >= 120;
    return (size_t)1024 * (large ? 227 : small ? 99 : sm >= 80 ? 163 : 64);
}

int tenon_cuda_multiprocessors(const tenon_device *device) { return device ? device->multiprocessors : 132; }
int tenon_cuda_sm(const tenon_device *device) { return device ? device->sm : 90; }
size_t tenon_cuda_shared_most(const tenon_device *device) { return device ? device->shared_most : shared_by_sm(90); }

tenon_status tenon_cuda_enter(tenon_cx *cx, const tenon_device *d)
{
    if (d->offline)
        return TENON_FAIL(cx, TENON_DEVICE, "cuda: this engine is for %s, which is not here (offline build): save it and run it "
                          "on a machine with such a GPU", d->info.name);
    return tenon_cuda_check(cx, &d->driver, d->driver.cuCtxSetCurrent(d->context), "the device's context");
}

/* 75, 80, ... as text; 0 when it is none of them. */
static int sm_of_text(const char *text)
{
    for (size_t i = 0; i < TENON_COUNTOF(known_sm); i++) {
        char name[8];
        snprintf(name, sizeof name, "%d", known_sm[i]);
        if (strcmp(text, name) == 0) return known_sm[i];
    }
    return 0;
}

/* TENON_SM=75|80|86|89: only the tactics of that chip, compiled for this one, so that its paths can be tested and timed here. */
static tenon_status limit_sm(tenon_cx *cx, tenon_device *d)
{
    const char *text = getenv("TENON_SM");
    if (!text || !*text) return TENON_OK;
    const int sm = sm_of_text(text);
    if (!sm) return TENON_FAIL(cx, TENON_INVALID, "TENON_SM=%.16s: one of 75, 80, 86, 89, 90, 100, 120", text);
    if (sm > d->sm) return TENON_FAIL(cx, TENON_INVALID, "TENON_SM=%s: this device has compute capability %d.%d", text,
                                      d->sm / 10, d->sm % 10);
    d->sm = sm;
    return TENON_OK;
}

/* What follows from name, chip, multiprocessors and the numbers of a card. */
static tenon_status describe(tenon_cx *cx, tenon_device *d, const char *name, double hertz, double bandwidth, size_t memory,
                             size_t shared)
{
    char driver[32];
    d->sm = d->chip;
    snprintf(d->arch, sizeof d->arch, d->chip >= 90 ? "sm_%da" : "sm_%d", d->chip);
    TENON_TRY(limit_sm(cx, d));
    d->shared_most = TENON_MIN(shared, shared_by_sm(d->sm));
    snprintf(driver, sizeof driver, "%d.%d", d->driver.version / 1000, d->driver.version % 1000 / 10);
    snprintf(d->info.name, sizeof d->info.name, "%.56s, %s, %d SMs", name, d->arch, d->multiprocessors);
    snprintf(d->info.fingerprint, sizeof d->info.fingerprint, "cuda;%s;%s;as %d;%d SMs;driver %s;nvrtc %d.%d;tenon %d.%d.%d",
             name, d->arch,
             d->sm, d->multiprocessors, d->offline ? "none" : driver, d->nvrtc.major, d->nvrtc.minor, TENON_VERSION_MAJOR,
             TENON_VERSION_MINOR, TENON_VERSION_PATCH);
    d->info.peak_flops = 0.7 * 2 * 128 * (double)d->multiprocessors * hertz;
    d->info.bandwidth = 0.8 * bandwidth;
    d->info.step_seconds = 1.5e-6;
    d->info.threads = 1;
    d->info.memory_bytes = memory;
    d->info.index = d->index;
    d->info.have = (unsigned)d->sm;
    d->info.offline = d->offline;
    return TENON_OK;
}

static void open_compiler(tenon_cx *cx, tenon_device *d)
{
    tenon_cx quiet; /* engines run without the compiler: its absence is told when something is to be built */
    tenon_cx_init_child(&quiet, cx);
    d->has_nvrtc = tenon_cuda_nvrtc_open(&quiet, &d->nvrtc) == TENON_OK;
    if (!d->has_nvrtc) snprintf(d->nvrtc_missing, sizeof d->nvrtc_missing, "%.500s", quiet.message);
}

static tenon_status start_offline(tenon_cx *cx, tenon_device *d, int sm)
{
    const model *m = models;
    while (m < models + TENON_COUNTOF(models) && m->sm != sm) m++;
    if (m == models + TENON_COUNTOF(models))
        return TENON_FAIL(cx, TENON_INVALID, "cuda: no GPU of compute capability %d is known: one of 75, 80, 86, 89, 90, 100, "
                                             "120", sm);
    d->offline = true;
    d->index = -sm;
    d->chip = sm;
    d->multiprocessors = m->multiprocessors;
    open_compiler(cx, d);
    return describe(cx, d, m->name, m->megahertz * 1e6, m->bandwidth, (size_t)m->gigabytes << 30, shared_by_sm(sm));
}

static tenon_status ask_driver(tenon_cx *cx, tenon_device *d)
{
    const tenon_cuda_driver *u = &d->driver;
    int major = 0, minor = 0, clock = 0, memory_clock = 0, bus = 0, shared = 0;
    char name[80] = "GPU";
    size_t memory = 0;
    TENON_TRY(tenon_cuda_check(cx, u, u->cuDeviceGetName(name, sizeof name, d->index), "device name"));
    TENON_TRY(tenon_cuda_check(cx, u, u->cuDeviceGetAttribute(&major, TENON_CU_MAJOR, d->index), "compute capability"));
    TENON_TRY(tenon_cuda_check(cx, u, u->cuDeviceGetAttribute(&minor, TENON_CU_MINOR, d->index), "compute capability"));
    TENON_TRY(tenon_cuda_check(cx, u, u->cuDeviceGetAttribute(&d->multiprocessors, TENON_CU_MULTIPROCESSORS, d->index),
                               "multiprocessors"));
    TENON_TRY(tenon_cuda_check(cx, u, u->cuDeviceTotalMem_v2(&memory, d->index), "memory"));
    TENON_TRY(tenon_cuda_check(cx, u, u->cuDeviceGetAttribute(&shared, TENON_CU_SHARED_OPTIN, d->index), "shared memory"));
    /* for the cost model alone: some drivers report 0 */
    if (u->cuDeviceGetAttribute(&clock, TENON_CU_CLOCK, d->index) != 0 || clock <= 0) clock = 1500000;
    if (u->cuDeviceGetAttribute(&memory_clock, TENON_CU_MEMORY_CLOCK, d->index) != 0 || memory_clock <= 0) memory_clock = 1000000;
    if (u->cuDeviceGetAttribute(&bus, TENON_CU_MEMORY_BUS, d->index) != 0 || bus <= 0) bus = 256;
    d->chip = major * 10 + minor;
    if (d->chip < 75) return TENON_FAIL(cx, TENON_DEVICE, "cuda: %s has compute capability %d.%d, Tenon needs 7.5 or newer",
                                        name, major, minor);
    return describe(cx, d, name, clock * 1e3, 2 * memory_clock * 1e3 * bus / 8, memory, (size_t)shared);
}

static tenon_status start(tenon_cx *cx, tenon_device *d, int index)
{
    const tenon_cuda_driver *u = &d->driver;
    int count = 0;
    TENON_TRY(tenon_cuda_driver_open(cx, &d->driver));
    TENON_TRY(tenon_cuda_check(cx, u, u->cuDeviceGetCount(&count), "no device"));
    if (index >= count) return TENON_FAIL(cx, TENON_DEVICE, "cuda: device %d asked for, this machine has %d", index, count);
    TENON_TRY(tenon_cuda_check(cx, u, u->cuDeviceGet(&d->index, index), "device"));
    open_compiler(cx, d);
    TENON_TRY(ask_driver(cx, d));
    TENON_TRY(tenon_cuda_check(cx, u, u->cuDevicePrimaryCtxRetain(&d->context, d->index), "the device's context"));
    TENON_TRY(tenon_cuda_enter(cx, d));
    TENON_TRY(tenon_cuda_libraries_create(cx, &d->libraries));
    return tenon_cuda_check(cx, u, u->cuStreamCreate(&d->stream, TENON_CU_NON_BLOCKING), "stream");
}

/* The compute capability to stand in for; 0: open the GPU. */
static tenon_status offline_sm(tenon_cx *cx, int index, int *sm)
{
    const char *text = getenv("TENON_CUDA_OFFLINE");
    *sm = index < 0 ? -index : 0;
    if (index < 0 || !text || !*text) return TENON_OK;
    *sm = sm_of_text(text);
    return *sm ? TENON_OK : TENON_FAIL(cx, TENON_INVALID, "TENON_CUDA_OFFLINE=%.16s: one of 75, 80, 86, 89, 90, 100, 120", text);
}

tenon_cuda_libraries *tenon_cuda_libraries_of(const tenon_device *device) { return device ? device->libraries : NULL; }

/* sm_90a runs on 9.0 alone; sm_80 on 8.0 and everything of that generation behind it. */
tenon_status tenon_cuda_accepts(tenon_cx *cx, const tenon_device *d, const char *fingerprint)
{
    const char *at = strstr(fingerprint, ";sm_");
    char *end = NULL;
    const long made = at ? strtol(at + 4, &end, 10) : 0;
    const bool exact = end && *end == 'a';
    if (made <= 0) return TENON_FAIL(cx, TENON_CORRUPT, "the engine does not say for which GPU it is");
    if (exact ? made == d->chip : made / 10 == d->chip / 10 && made <= d->chip) return TENON_OK;
    return TENON_FAIL(cx, TENON_UNSUPPORTED, "engine was built for a GPU of compute capability %ld.%ld (%.160s), this one is %s: "
                      "build it again here, or for this one with --device cuda:sm_%d", made / 10, made % 10, fingerprint,
                      d->info.name, d->chip);
}

void tenon_cuda_parts(tenon_cx *cx, tenon_part_fn give, void *user)
{
    tenon_cx quiet;
    tenon_cuda_driver driver;
    tenon_cuda_nvrtc nvrtc;
    tenon_cuda_library_info library[TENON_CUDA_LIBRARIES];
    char text[TENON_MESSAGE_BYTES + 128];
    tenon_cx_init_child(&quiet, cx);
    const bool has_driver = tenon_cuda_driver_open(&quiet, &driver) == TENON_OK;
    if (has_driver) snprintf(text, sizeof text, "for CUDA %d.%d, %s", driver.version / 1000, driver.version % 1000 / 10,
                             driver.dl.path);
    else snprintf(text, sizeof text, "%s; without it engines can be built for a GPU elsewhere (--device cuda:sm_90), not run",
                  quiet.message);
    give(user, "driver", has_driver, text);
    const bool has_nvrtc = tenon_cuda_nvrtc_open(&quiet, &nvrtc) == TENON_OK;
    if (has_nvrtc) snprintf(text, sizeof text, "%d.%d, %s", nvrtc.major, nvrtc.minor, nvrtc.dl.path);
    else snprintf(text, sizeof text, "%s; without it engines run, but none can be built", quiet.message);
    give(user, "NVRTC", has_nvrtc, text);
    tenon_cuda_libraries_describe(&quiet, library);
    for (int i = 0; i < TENON_CUDA_LIBRARIES; i++) give(user, library[i].name, library[i].found, library[i].text);
    const bool keeps = tenon_kernel_cache_folder(text, sizeof text);
    give(user, "compiled kernels", keeps, keeps ? text : "not kept: TENON_CACHE_DIR is empty, or there is no home folder");
}

void tenon_cuda_device_close(tenon_device **device)
{
    tenon_device *d = *device;
    *device = NULL;
    if (!d) return;
    if (d->context) {
        (void)d->driver.cuCtxSetCurrent(d->context);
        tenon_cuda_libraries_destroy(&d->libraries);
        tenon_cuda_transfer_free(d);
        if (d->stream) (void)d->driver.cuStreamDestroy_v2(d->stream);
        (void)d->driver.cuDevicePrimaryCtxRelease_v2(d->index);
    }
    pthread_mutex_destroy(&d->lock);
    tenon_cx cx = d->cx;
    for (tenon_cuda_compiled *c = d->compiled; c;) {
        tenon_cuda_compiled *next = c->next;
        tenon_free(&cx, c);
        c = next;
    }
    tenon_free(&cx, d);
}

tenon_status tenon_cuda_device_open(tenon_cx *cx, int index, int threads, tenon_device **out)
{
    (void)threads;
    int sm;
    *out = NULL;
    TENON_TRY(offline_sm(cx, index, &sm));
    tenon_device *d = tenon_alloc_zero(cx, sizeof *d);
    if (!d) return TENON_NOMEM;
    tenon_cx_init_child(&d->cx, cx);
    if (pthread_mutex_init(&d->lock, NULL) != 0) {
        tenon_free(cx, d);
        return TENON_FAIL(cx, TENON_DEVICE, "cuda: no mutex");
    }
    const tenon_status status = sm ? start_offline(cx, d, sm) : start(cx, d, index);
    if (status != TENON_OK) {
        tenon_cuda_device_close(&d);
        return status;
    }
    tenon_log(cx, TENON_VERBOSE, TENON_TOPIC_DEVICE, "cuda: %s%s; driver %s, NVRTC %s", d->info.name,
              d->offline ? ", offline" : "", d->offline ? "none" : d->driver.dl.path,
              d->has_nvrtc ? d->nvrtc.dl.path : d->nvrtc_missing);
    *out = d;
    return TENON_OK;
}
