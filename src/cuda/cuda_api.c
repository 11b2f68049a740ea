/* SPDX-License-Identifier: Apache-2.0 */
/* Finding libcuda and libnvrtc and their symbols. Tried in this order: the folder TENON_CUDA_PATH, what the loader knows, the usual
   places of the toolkit and of the driver, and the folders that pip's nvidia packages make beside this library, in the
   active virtual environment and in PYTHONPATH. */
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
}

static void add_places(names *n, const char *const *file, const char *pip_pattern)
{
    static const char *const folder[] = {"/usr/local/cuda/lib64", "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib/wsl/lib"};
    const char *own = getenv("TENON_CUDA_PATH");
    for (int i = 0; own && *own && file[i]; i++) {
        add(n, "%s/%s", own, file[i]);
        add(n, "%s/lib64/%s", own, file[i]);
        add(n, "%s/lib/%s", own, file[i]);
    }
    for (int i = 0; file[i]; i++) add(n, "%s", file[i]);
    for (size_t k = 0; k < TENON_COUNTOF(folder); k++)
        for (int i = 0; file[i]; i++) add(n, "%s/%s", folder[k], file[i]);
    if (pip_pattern) add_pip(n, pip_pattern);
}

bool tenon_cuda_library_open(tenon_cx *cx, tenon_dl *dl, const char *const *file, const char *pip_pattern, char *why, size_t why_bytes)
{
    names n = {.cx = cx};
    add_places(&n, file, pip_pattern);
    const bool opened = tenon_dl_open(dl, (const char *const *)n.name, why, why_bytes);
    for (int i = 0; i < n.count; i++) tenon_free(cx, n.name[i]);
    return opened;
}

tenon_status tenon_cuda_library_symbols(tenon_cx *cx, const tenon_dl *dl, const symbol *table, size_t count, void *out)
{
    for (size_t i = 0; i < count; i++) {
        void *address = tenon_dl_symbol(dl, table[i].name);
        if (!address && table[i].required)
            return TENON_FAIL(cx, TENON_DEVICE, "cuda: %s lacks %s: it is too old for Tenon, update it", dl->path, table[i].name);
        memcpy((char *)out + table[i].offset, &address, sizeof address);
    }
    return TENON_OK;
}

/* ---- the libraries ---- */
tenon_status tenon_cuda_check(tenon_cx *cx, const tenon_cuda_driver *driver, int error, const char *what)
{
    const char *text = NULL;
    if (TENON_LIKELY(error == 0)) return TENON_OK;
    if (driver->cuGetErrorString(error, &text) != 0 || !text) text = "unknown error";
    return TENON_FAIL(cx, error == TENON_CU_OUT_OF_MEMORY ? TENON_NOMEM : TENON_DEVICE, "cuda: %s: %s (error %d)", what, text, error);
}

tenon_status tenon_cuda_driver_open(tenon_cx *cx, tenon_cuda_driver *out)
{
    static const char *const file[] = {"libcuda.so.1", NULL};
    char why[512];
    *out = (tenon_cuda_driver){.version = 0};
    if (!tenon_cuda_library_open(cx, &out->dl, file, NULL, why, sizeof why))
        return TENON_FAIL(cx, TENON_DEVICE, "cuda: NVIDIA's driver library libcuda.so.1 does not open: install the driver, or name its folder "
                          "in TENON_CUDA_PATH (%s)", why);
    TENON_TRY(tenon_cuda_library_symbols(cx, &out->dl, driver_symbols, TENON_COUNTOF(driver_symbols), out));
    TENON_TRY(tenon_cuda_check(cx, out, out->cuInit(0), "the driver does not start"));
    return tenon_cuda_check(cx, out, out->cuDriverGetVersion(&out->version), "driver version");
}

tenon_status tenon_cuda_nvrtc_open(tenon_cx *cx, tenon_cuda_nvrtc *out)
{
    static const char *const file[] = {"libnvrtc.so.13", "libnvrtc.so.12", NULL};
    char why[512];
    *out = (tenon_cuda_nvrtc){.major = 0};
    if (!tenon_cuda_library_open(cx, &out->dl, file, "libnvrtc.so.1[0-9]", why, sizeof why))
        return TENON_FAIL(cx, TENON_DEVICE, "cuda: NVRTC, which compiles the kernels of an engine, does not open: `pip install nvidia-cuda-nvrtc`, "
                          "or name the toolkit's folder in TENON_CUDA_PATH (%s)", why);
    TENON_TRY(tenon_cuda_library_symbols(cx, &out->dl, nvrtc_symbols, TENON_COUNTOF(nvrtc_symbols), out));
    const int error = out->nvrtcVersion(&out->major, &out->minor);
    return error ? TENON_FAIL(cx, TENON_DEVICE, "cuda: nvrtcVersion: %s", out->nvrtcGetErrorString(error)) : TENON_OK;
}
