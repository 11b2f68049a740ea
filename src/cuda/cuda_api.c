/* SPDX-License-Identifier: Apache-2.0 */
/* Finding libcuda and libnvrtc and their symbols. Tried in this order: the folder TENON_CUDA_PATH, what the loader knows, the
   usual places of the toolkit and of the driver, and the folders that pip's nvidia packages make beside this library, in the
   active virtual environment, in PYTHONPATH, in the user's and in the system's Python.

   TENON_CUDA_ABSENT names what is to be taken for absent, so that every message can be seen on a machine that has it all:
   driver, nvrtc, cudnn, cublaslt, symbol:NAME, and memory:BYTES, above which no allocation succeeds; separated by commas. */
#include "cuda/cuda_api.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES = 64 };
typedef tenon_cuda_symbol symbol;

#define REQUIRED true
#define OPTIONAL false
#define SYMBOL(returns, name, arguments, need) {#name, offsetof(tenon_cuda_driver, name), need},
static const symbol driver_symbols[] = {
#include "cuda/sym/driver.def"
};
#undef SYMBOL
#define SYMBOL(returns, name, arguments, need) {#name, offsetof(tenon_cuda_nvrtc, name), need},
static const symbol nvrtc_symbols[] = {
#include "cuda/sym/nvrtc.def"
};
#undef SYMBOL

/* ---- what is to be taken for absent ---- */
static const char *absent_entry(const char *kind, size_t *length)
{
    for (const char *at = getenv("TENON_CUDA_ABSENT"); at && *at;) {
        *length = strcspn(at, ",");
        if (*length >= strlen(kind) && strncmp(at, kind, strlen(kind)) == 0) return at;
        at += *length + (at[*length] == ',');
    }
    return NULL;
}

bool tenon_cuda_absent(const char *what)
{
    size_t length;
    return absent_entry(what, &length) != NULL && length == strlen(what);
}

size_t tenon_cuda_memory_limit(void)
{
    size_t length;
    const char *at = absent_entry("memory:", &length);
    return at ? (size_t)strtoull(at + strlen("memory:"), NULL, 10) : SIZE_MAX;
}

/* A library's short name is in its file's: libcudnn.so.9. */
static bool absent_file(const char *file)
{
    static const struct { const char *start, *name; } known[] = {
        {"libcuda.so", "driver"}, {"libnvrtc", "nvrtc"}, {"libcudnn", "cudnn"}, {"libcublasLt", "cublaslt"}};
    for (size_t i = 0; i < TENON_COUNTOF(known); i++)
        if (strncmp(file, known[i].start, strlen(known[i].start)) == 0) return tenon_cuda_absent(known[i].name);
    return false;
}

/* ---- candidate files ---- */
typedef struct names { tenon_cx *cx; int count; char *name[NAMES + 1]; } names;

TENON_PRINTF(2, 3) static void add(names *n, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof text || n->count == NAMES) return;
    char *copy = tenon_alloc(n->cx, (size_t)length + 1);
    if (!copy) return;
    memcpy(copy, text, (size_t)length + 1);
    n->name[n->count++] = copy;
}

static void add_matches(names *n, const char *pattern)
{
    glob_t found;
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = found.gl_pathc; i-- > 0;) add(n, "%s", found.gl_pathv[i]); /* the newest name sorts last */
    globfree(&found);
}

/* pip's packages: site-packages/nvidia/PART/lib/. This library itself may stand in site-packages/tenon/. */
static void add_pip(names *n, const char *file)
{
    char pattern[1024];
    Dl_info self;
    if (dladdr((const void *)&driver_symbols, &self) && self.dli_fname) {
        const char *slash = strrchr(self.dli_fname, '/');
        if (slash && slash - self.dli_fname < 512) {
            snprintf(pattern, sizeof pattern, "%.*s/../nvidia/*/lib/%s", (int)(slash - self.dli_fname), self.dli_fname, file);
            add_matches(n, pattern);
        }
    }
    const char *venv = getenv("VIRTUAL_ENV");
    if (venv) {
        snprintf(pattern, sizeof pattern, "%.512s/lib/python3*/site-packages/nvidia/*/lib/%s", venv, file);
        add_matches(n, pattern);
    }
    for (const char *at = getenv("PYTHONPATH"); at && *at;) {
        const size_t length = strcspn(at, ":");
        if (length && length < 512) {
            snprintf(pattern, sizeof pattern, "%.*s/nvidia/*/lib/%s", (int)length, at, file);
            add_matches(n, pattern);
        }
        at += length + (at[length] == ':');
    }
    const char *home = getenv("HOME");
    static const char *const python[] = {"/usr/local/lib/python3*/dist-packages", "/usr/local/lib/python3*/site-packages",
                                         "/usr/lib/python3*/dist-packages"};
    if (home && *home) {
        snprintf(pattern, sizeof pattern, "%.512s/.local/lib/python3*/site-packages/nvidia/*/lib/%s", home, file);
        add_matches(n, pattern);
    }
    for (size_t i = 0; i < TENON_COUNTOF(python); i++) {
        snprintf(pattern, sizeof pattern, "%s/nvidia/*/lib/%s", python[i], file);
        add_matches(n, pattern);
    }
}

static void add_places(names *n, const char *const *file, const char *pip_pattern)
{
    static const char *const folder[] = {"/usr/local/cuda/lib64", "/usr/local/cuda/lib", "/usr/local/nvidia/lib64",
                                         "/usr/local/nvidia/lib", "/usr/lib/wsl/lib"};
    const char *own = getenv("TENON_CUDA_PATH");
    for (int i = 0; own && *own && file[i]; i++) {
        add(n, "%s/%s", own, file[i]);
        add(n, "%s/lib64/%s", own, file[i]);
        add(n, "%s/lib/%s", own, file[i]);
    }
    for (int i = 0; file[i]; i++) add(n, "%s", file[i]);
    for (size_t k = 0; k < TENON_COUNTOF(folder); k++)
        for (int i = 0; file[i]; i++) add(n, "%s/%s", folder[k], file[i]);
    if (!pip_pattern) return;
    char pattern[1024]; /* a toolkit without the link /usr/local/cuda */
    snprintf(pattern, sizeof pattern, "/usr/local/cuda-1[0-9]*/lib*/%.256s", pip_pattern);
    add_matches(n, pattern);
    add_pip(n, pip_pattern);
}

bool tenon_cuda_library_open(tenon_cx *cx, tenon_dl *dl, const char *const *file, const char *pip_pattern, char *why,
                             size_t why_bytes)
{
    names n = {.cx = cx};
    if (absent_file(file[0])) {
        snprintf(why, why_bytes, "TENON_CUDA_ABSENT says so");
        return false;
    }
    add_places(&n, file, pip_pattern);
    const bool opened = tenon_dl_open(dl, (const char *const *)n.name, why, why_bytes);
    for (int i = 0; i < n.count; i++) tenon_free(cx, n.name[i]);
    return opened;
}

void tenon_cuda_library_names(tenon_cx *cx, const char *const *file, const char *pip_pattern, void *user,
                              void (*give)(void *user, const char *name))
{
    names n = {.cx = cx};
    add_places(&n, file, pip_pattern);
    for (int i = 0; i < n.count; i++) {
        give(user, n.name[i]);
        tenon_free(cx, n.name[i]);
    }
}

tenon_status tenon_cuda_library_symbols(tenon_cx *cx, const tenon_dl *dl, const symbol *table, size_t count, void *out)
{
    for (size_t i = 0; i < count; i++) {
        char name[128];
        snprintf(name, sizeof name, "symbol:%s", table[i].name);
        void *address = tenon_cuda_absent(name) ? NULL : tenon_dl_symbol(dl, table[i].name);
        if (!address && table[i].required)
            return TENON_FAIL(cx, TENON_DEVICE, "cuda: %s lacks %s: it is too old for Tenon, update it", dl->path, table[i].name);
        memcpy((char *)out + table[i].offset, &address, sizeof address);
    }
    return TENON_OK;
}

/* ---- the libraries ---- */
/* What the driver's own words leave out. */
static const char *advice(int error)
{
    switch (error) {
    case 200: case 209: case 218: case 222: /* image, no binary for this GPU, PTX, its version */
        return "; its code was made for another GPU, or by an NVRTC that is newer than this driver: build the engine here, or "
               "update the driver";
    case 700: case 714: case 715: case 716: case 717: case 718: case 719: /* faults of a kernel */
        return "; no work is possible on this device any more in this process: end it, and run it again under compute-sanitizer";
    case 803: case 804: /* driver and library of different versions; no forward compatibility */
        return "; the driver's library and its kernel module are of different versions: restart the machine or install the "
               "driver again";
    default: return "";
    }
}

tenon_status tenon_cuda_check(tenon_cx *cx, const tenon_cuda_driver *driver, int error, const char *what)
{
    const char *text = NULL;
    if (TENON_LIKELY(error == 0)) return TENON_OK;
    if (driver->cuGetErrorString(error, &text) != 0 || !text) text = "unknown error";
    return TENON_FAIL(cx, error == TENON_CU_OUT_OF_MEMORY ? TENON_NOMEM : TENON_DEVICE, "cuda: %s: %s (error %d)%s", what, text,
                      error, advice(error));
}

tenon_status tenon_cuda_driver_open(tenon_cx *cx, tenon_cuda_driver *out)
{
    static const char *const file[] = {"libcuda.so.1", NULL};
    char why[512];
    *out = (tenon_cuda_driver){.version = 0};
    if (!tenon_cuda_library_open(cx, &out->dl, file, NULL, why, sizeof why))
        return TENON_FAIL(cx, TENON_DEVICE, "cuda: NVIDIA's driver library libcuda.so.1 does not open: install the driver, or "
                          "name its folder in TENON_CUDA_PATH (%s)", why);
    TENON_TRY(tenon_cuda_library_symbols(cx, &out->dl, driver_symbols, TENON_COUNTOF(driver_symbols), out));
    TENON_TRY(tenon_cuda_check(cx, out, out->cuInit(0), "the driver does not start"));
    return tenon_cuda_check(cx, out, out->cuDriverGetVersion(&out->version), "driver version");
}

/* NVRTC opens its second library by name alone when it first compiles, and not every package tells the loader that it lies
   beside it: opened by its path before, it is found. Where it is missing NVRTC itself says so. */
static void open_builtins(const tenon_cuda_nvrtc *n)
{
    char path[600], why[256];
    const char *slash = strrchr(n->dl.path, '/');
    tenon_dl beside; /* stays open with NVRTC */
    if (!slash) return;
    snprintf(path, sizeof path, "%.*s/libnvrtc-builtins.so.%d.%d", (int)(slash - n->dl.path), n->dl.path, n->major, n->minor);
    (void)tenon_dl_open(&beside, (const char *const[]){path, NULL}, why, sizeof why);
}

tenon_status tenon_cuda_nvrtc_open(tenon_cx *cx, tenon_cuda_nvrtc *out)
{
    static const char *const file[] = {"libnvrtc.so.13", "libnvrtc.so.12", NULL};
    char why[512];
    *out = (tenon_cuda_nvrtc){.major = 0};
    if (!tenon_cuda_library_open(cx, &out->dl, file, "libnvrtc.so.1[0-9]", why, sizeof why))
        return TENON_FAIL(cx, TENON_DEVICE, "cuda: NVRTC, which compiles the kernels of an engine, does not open: `pip install "
                          "nvidia-cuda-nvrtc`, or name the toolkit's folder in TENON_CUDA_PATH (%s)", why);
    TENON_TRY(tenon_cuda_library_symbols(cx, &out->dl, nvrtc_symbols, TENON_COUNTOF(nvrtc_symbols), out));
    const int error = out->nvrtcVersion(&out->major, &out->minor);
    if (error) return TENON_FAIL(cx, TENON_DEVICE, "cuda: nvrtcVersion: %s", out->nvrtcGetErrorString(error));
    open_builtins(out);
    return TENON_OK;
}
