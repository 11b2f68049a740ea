/* SPDX-License-Identifier: Apache-2.0 */
/* A stand-in for NVIDIA's driver, NVRTC, cuBLASLt and cuDNN, for tests on machines without a GPU: one file, built as libcuda.so.1,
   libnvrtc.so.13, libcublasLt.so.13 and libcudnn.so.9 and found through TENON_CUDA_PATH. Device memory is host memory, kernels compute nothing,
   times are made up, and every call is counted: fake_cuda_count("cuMemAlloc_v2"), or all of them on stderr when the process ends
   with FAKE_CUDA_REPORT set. So what a build or a run asks of a GPU can be
   tested, never what the GPU would answer. It knows nothing of Tenon but the numbers of the interfaces. FAKE_CUDA_PRODUCTS=2 in the
   environment: cuBLASLt names two algorithms, else none; FAKE_CUDA_REFUSE holds names of functions that refuse what they are asked. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define HANDLE(x) ((void *)(uintptr_t)(x))

/* ---- counting ---- */
enum { NAMES = 64 };
static struct { const char *name; _Atomic size_t calls; } counted[NAMES];
static _Atomic unsigned taken;

/* One place of the code is one entry, taken at its first call; the entry 0 is nobody's. */
static void count(_Atomic unsigned *place, const char *name)
{
    if (!*place) {
        const unsigned at = ++taken;
        if (at >= NAMES) abort();
        counted[at].name = name;
        *place = at;
    }
    counted[*place].calls++;
}

EXPORT size_t fake_cuda_count(const char *name)
{
    size_t calls = 0;
    for (unsigned i = 1; i < NAMES; i++)
        if (counted[i].name && strcmp(counted[i].name, name) == 0) calls += counted[i].calls;
    return calls;
}

__attribute__((destructor)) static void report(void)
{
    for (unsigned i = 1; i < NAMES && getenv("FAKE_CUDA_REPORT"); i++)
        if (counted[i].name) fprintf(stderr, "%8zu %s\n", (size_t)counted[i].calls, counted[i].name);
}

__attribute__((unused)) static int refused(const char *name)
{
    const char *list = getenv("FAKE_CUDA_REFUSE");
    return list && strstr(list, name);
}

/* From now on calls of that function do nothing and give `error`; name NULL: all functions but the one for words, as after a fault
   of a kernel; error 0: as before. What gives something back does so nevertheless. */
static struct { char name[64]; _Atomic int error; } failing;
EXPORT void fake_cuda_fail(const char *name, int error);
EXPORT void fake_cuda_fail(const char *name, int error)
{
    snprintf(failing.name, sizeof failing.name, "%s", name ? name : "");
    failing.error = error;
}

static int failure_of(const char *name)
{
    if (!failing.error || strcmp(name, "cuGetErrorString") == 0) return 0;
    return !failing.name[0] || strcmp(failing.name, name) == 0 ? failing.error : 0;
}

static int gives_back(const char *name)
{
    return strstr(name, "Free") || strstr(name, "Destroy") || strstr(name, "Unload") || strstr(name, "Release");
}

/* FAKE(cuInit, (unsigned flags), { ... }): an exported function that counts itself. What it does not use is no matter. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define FAKE(name, arguments, ...)                                                                                               \
    EXPORT int name arguments;                                                                                                   \
    EXPORT int name arguments                                                                                                    \
    {                                                                                                                            \
        static _Atomic unsigned place;                                                                                           \
        count(&place, #name);                                                                                                    \
        const int failure = failure_of(#name);                                                                                   \
        if (failure && !gives_back(#name)) return failure;                                                                       \
        __VA_ARGS__                                                                                                              \
        return failure;                                                                                                          \
    }
#define REFUSES(name, error) if (refused(name)) return error;
#define MAKES(what) *what = calloc(1, 64); if (!*what) return 2;

#ifdef FAKE_DRIVER
static int attribute(int which)
{
    switch (which) {
    case 13: return 1980000;    /* clock */
    case 16: return 132;        /* multiprocessors */
    case 36: return 2619000;    /* memory clock */
    case 37: return 5120;       /* memory bus */
    case 75: return 9;          /* compute capability */
    case 97: return 227 * 1024; /* shared memory */
    default: return 0;
    }
}

/* ---- the device ---- */
FAKE(cuInit, (unsigned flags), )
FAKE(cuDriverGetVersion, (int *version), *version = 13000;)
FAKE(cuGetErrorString, (int error, const char **text), *text = "an error of the stand-in";)
FAKE(cuDeviceGetCount, (int *n), *n = 1;)
FAKE(cuDeviceGet, (int *device, int index), *device = index;)
FAKE(cuDeviceGetName, (char *name, int bytes, int device), strncpy(name, "Stand-in", (size_t)bytes);)
FAKE(cuDeviceGetAttribute, (int *value, int which, int device), *value = attribute(which);)
FAKE(cuDeviceTotalMem_v2, (size_t *bytes, int device), *bytes = (size_t)8 << 30;)
FAKE(cuDevicePrimaryCtxRetain, (void **context, int device), *context = HANDLE(64);)
FAKE(cuDevicePrimaryCtxRelease_v2, (int device), )
FAKE(cuCtxSetCurrent, (void *context), )

/* ---- memory ---- */
FAKE(cuMemAlloc_v2, (uint64_t *at, size_t bytes), {
    void *p = aligned_alloc(256, (bytes + 255) / 256 * 256);
    *at = (uintptr_t)p;
    if (!p) return 2;
})
FAKE(cuMemFree_v2, (uint64_t at), free(HANDLE(at));)
FAKE(cuMemcpyHtoDAsync_v2, (uint64_t dst, const void *src, size_t bytes, void *stream), memcpy(HANDLE(dst), src, bytes);)
FAKE(cuMemcpyDtoHAsync_v2, (void *dst, uint64_t src, size_t bytes, void *stream), memcpy(dst, HANDLE(src), bytes);)
FAKE(cuMemcpyDtoDAsync_v2, (uint64_t dst, uint64_t src, size_t bytes, void *stream), memcpy(HANDLE(dst), HANDLE(src), bytes);)
FAKE(cuMemsetD8Async, (uint64_t dst, unsigned char value, size_t bytes, void *stream), memset(HANDLE(dst), value, bytes);)
FAKE(cuMemHostAlloc, (void **out, size_t bytes, unsigned flags), {
    *out = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*out) return 2;
})
FAKE(cuMemFreeHost, (void *p), free(p);)

/* ---- streams, events, graphs ---- */
static _Thread_local void *captured; /* the stream that this thread records */
FAKE(cuStreamCreate, (void **stream, unsigned flags), MAKES(stream))
FAKE(cuStreamDestroy_v2, (void *stream), free(stream);)
FAKE(cuStreamSynchronize, (void *stream), if (captured) return 900; /* as the driver: nothing may wait while recording */)
FAKE(cuStreamWaitEvent, (void *stream, void *event, unsigned flags), )
FAKE(cuStreamIsCapturing, (void *stream, int *status), *status = stream && stream == captured;)
FAKE(cuStreamBeginCapture_v2, (void *stream, int mode), captured = stream;)
FAKE(cuStreamEndCapture, (void *stream, void **graph), captured = NULL; MAKES(graph))
FAKE(cuGraphInstantiateWithFlags, (void **exec, void *graph, unsigned long long flags), MAKES(exec))
FAKE(cuGraphLaunch, (void *exec, void *stream), )
FAKE(cuGraphExecDestroy, (void *exec), free(exec);)
FAKE(cuGraphDestroy, (void *graph), free(graph);)
FAKE(cuEventCreate, (void **event, unsigned flags), MAKES(event))
FAKE(cuEventDestroy_v2, (void *event), free(event);)
FAKE(cuEventRecord, (void *event, void *stream), )
FAKE(cuEventSynchronize, (void *event), )
/* Every time is another one, so that whoever measures anew comes to another result. */
FAKE(cuEventElapsedTime, (float *milliseconds, void *begin, void *end), {
    static _Atomic uint64_t state = 1;
    const uint64_t next = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    state = next;
    *milliseconds = 0.1f + (float)(next >> 40) * 1e-7f;
})

/* ---- kernels ---- */
FAKE(cuModuleLoadData, (void **module, const void *image), MAKES(module))
FAKE(cuModuleUnload, (void *module), free(module);)
FAKE(cuModuleGetFunction, (void **function, void *module, const char *name), *function = module;)
FAKE(cuFuncGetAttribute, (int *value, int which, void *function), *value = 0;)
FAKE(cuFuncSetAttribute, (void *function, int which, int value), )
FAKE(cuLaunchKernel, (void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void *stream, void **args, void **extra), REFUSES("cuLaunchKernel", 719))
FAKE(cuLaunchKernelEx, (const void *config, void *function, void **args, void **extra), REFUSES("cuLaunchKernel", 719))
#endif

#ifdef FAKE_COMPILER
FAKE(nvrtcVersion, (int *major, int *minor), *major = 13; *minor = 0;)
EXPORT const char *nvrtcGetErrorString(int error);
EXPORT const char *nvrtcGetErrorString(int error) { return "an error of the stand-in"; }
FAKE(nvrtcCreateProgram, (void **program, const char *source, const char *name, int headers, const char *const *header,
                          const char *const *header_name), MAKES(program))
FAKE(nvrtcDestroyProgram, (void **program), free(*program); *program = NULL;)
FAKE(nvrtcCompileProgram, (void *program, int options, const char *const *option), )
FAKE(nvrtcGetProgramLogSize, (void *program, size_t *bytes), *bytes = 1;)
FAKE(nvrtcGetProgramLog, (void *program, char *log), *log = '\0';)
FAKE(nvrtcGetCUBINSize, (void *program, size_t *bytes), *bytes = 64;)
FAKE(nvrtcGetCUBIN, (void *program, char *image), memset(image, 0, 64); memcpy(image, "\177ELF", 4);)
#endif

#ifdef FAKE_PRODUCTS
EXPORT size_t cublasLtGetVersion(void);
EXPORT size_t cublasLtGetVersion(void)
{
    static _Atomic unsigned place;
    count(&place, "cublasLtGetVersion");
    return 130000;
}
FAKE(cublasLtCreate, (void **handle), MAKES(handle))
FAKE(cublasLtDestroy, (void *handle), free(handle);)
FAKE(cublasLtMatmulDescInit_internal, (void *operation, size_t bytes, int compute, int scale_type), )
FAKE(cublasLtMatmulDescSetAttribute, (void *operation, int which, const void *value, size_t bytes), )
FAKE(cublasLtMatrixLayoutInit_internal, (void *layout, size_t bytes, int type, uint64_t rows, uint64_t columns, int64_t ld), )
FAKE(cublasLtMatrixLayoutSetAttribute, (void *layout, int which, const void *value, size_t bytes), )
FAKE(cublasLtMatmulPreferenceInit_internal, (void *preference, size_t bytes), )
FAKE(cublasLtMatmulPreferenceSetAttribute, (void *preference, int which, const void *value, size_t bytes), )
FAKE(cublasLtMatmulAlgoGetHeuristic, (void *handle, void *operation, void *a, void *b, void *c, void *d, void *preference,
                                      int wanted, void *result, int *found), {
    const char *text = getenv("FAKE_CUDA_PRODUCTS");
    const int can = text ? atoi(text) : 0;
    if (!can) return 15; /* it can do nothing */
    *found = can < wanted ? can : wanted;
    memset(result, 0, (size_t)*found * 96);
})
FAKE(cublasLtMatmulAlgoCheck, (void *handle, void *operation, void *a, void *b, void *c, void *d, const void *algorithm,
                               void *result), memset(result, 0, 96);)
FAKE(cublasLtMatmul, (void *handle, const void *operation, const void *alpha, const void *a, const void *a_layout, const void *b,
                      const void *b_layout, const void *beta, const void *c, const void *c_layout, void *d, const void *d_layout,
                      const void *algorithm, void *workspace, size_t bytes, void *stream), REFUSES("cublasLtMatmul", 15))
#endif

#ifdef FAKE_CONVOLUTIONS
/* Every descriptor is this: a configuration and its plan have a workspace, which is also all that a plan's text says. */
typedef struct descriptor { int kind; long long workspace; char text[16]; } descriptor;
enum { CONFIG = 3, PLAN = 5, RESULTS = 202, PLAN_CONFIG = 401, WORKSPACE = 402, JSON = 405, NOTES = 1303, CONFIGS = 2 };

EXPORT size_t cudnnGetVersion(void);
EXPORT size_t cudnnGetVersion(void)
{
    static _Atomic unsigned place;
    count(&place, "cudnnGetVersion");
    return 91400;
}
EXPORT const char *cudnnGetErrorString(int error);
EXPORT const char *cudnnGetErrorString(int error) { return "an error of the stand-in"; }
FAKE(cudnnCreate, (void **handle), MAKES(handle))
FAKE(cudnnDestroy, (void *handle), free(handle);)
FAKE(cudnnSetStream, (void *handle, void *stream), )
FAKE(cudnnBackendCreateDescriptor, (int kind, void **out), {
    MAKES(out)
    ((descriptor *)*out)->kind = kind;
})
FAKE(cudnnBackendDestroyDescriptor, (void *d), free(d);)
FAKE(cudnnBackendFinalize, (void *d), )
FAKE(cudnnBackendSetAttribute, (void *d, int which, int type, int64_t number, const void *value), {
    descriptor *to = d;
    if (to->kind == PLAN && which == PLAN_CONFIG) to->workspace = (*(descriptor *const *)value)->workspace;
    if (to->kind == PLAN && which == JSON) to->workspace = atoll(value);
})
FAKE(cudnnBackendGetAttribute, (void *d, int which, int type, int64_t room, int64_t *number, void *value), {
    descriptor *of = d;
    *number = 0;
    if (which == RESULTS) *number = value && room < CONFIGS ? room : CONFIGS;
    for (int64_t i = 0; which == RESULTS && value && i < *number; i++) ((descriptor **)value)[i]->workspace = 1024 << i;
    if (which == WORKSPACE) *(int64_t *)value = of->workspace;
    if (which == JSON) *number = snprintf(of->text, sizeof of->text, "%lld", of->workspace) + 1;
    if (which == JSON && value) memcpy(value, of->text, (size_t)*number);
})
FAKE(cudnnBackendExecute, (void *handle, void *plan, void *pack), REFUSES("cudnnBackendExecute", 3000))
#endif
