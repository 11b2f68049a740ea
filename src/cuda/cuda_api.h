/* SPDX-License-Identifier: Apache-2.0 */
/* The driver and NVRTC as tables of function pointers, filled at run time from sym/NAME.def, with our own declarations of what
   they take: the build needs no CUDA header, and a machine without the libraries gets a message, not a link error. */
#ifndef TENON_CUDA_CUDA_API_H
#define TENON_CUDA_CUDA_API_H

#include "base/buf.h"
#include "base/dl.h"
#include "op/tactic.h"

typedef uint64_t tenon_cu_address;
typedef struct tenon_cu_context_object *tenon_cu_context;
typedef struct tenon_cu_module_object *tenon_cu_module;
typedef struct tenon_cu_function_object *tenon_cu_function;
typedef struct tenon_cu_stream_object *tenon_cu_stream;
typedef struct tenon_cu_event_object *tenon_cu_event;
typedef struct tenon_cu_graph_object *tenon_cu_graph;
typedef struct tenon_cu_graph_exec_object *tenon_cu_graph_exec;
typedef struct tenon_nvrtc_program_object *tenon_nvrtc_program;

/* Numbers of the driver's interface, which never change. */
enum {
    TENON_CU_OUT_OF_MEMORY = 2,
    TENON_CU_MULTIPROCESSORS = 16, TENON_CU_MEMORY_CLOCK = 36, TENON_CU_MEMORY_BUS = 37, TENON_CU_CLOCK = 13,
    TENON_CU_L2_BYTES = 38, TENON_CU_MAJOR = 75, TENON_CU_MINOR = 76,                /* device attributes */
    TENON_CU_SHARED_OPTIN = 97,
    TENON_CU_STATIC_SHARED = 1, TENON_CU_MAX_DYNAMIC_SHARED = 8, TENON_CU_CARVEOUT = 9, /* function attributes */
    TENON_CU_PORTABLE = 1,                                                            /* page-locked for every context */
    TENON_CU_MEMORY_TYPE = 2,                                                         /* pointer attribute; none: pageable */
    /* streams, events */
    TENON_CU_NON_BLOCKING = 1, TENON_CU_CAPTURE_THREAD = 1, TENON_CU_NOT_CAPTURING = 0, TENON_CU_NO_TIMING = 2,
    TENON_CU_CLUSTER_DIMENSION = 4, TENON_CU_PROGRAMMATIC_SERIALIZATION = 6,          /* launch attributes */
};

typedef struct tenon_cu_launch_attribute {
    int id, pad;
    union { int flag; unsigned cluster[3]; char bytes[64]; } value;
} tenon_cu_launch_attribute;
_Static_assert(sizeof(tenon_cu_launch_attribute) == 72, "as the driver has it");

typedef struct tenon_cu_launch_config {
    unsigned grid[3], block[3], shared_bytes;
    tenon_cu_stream stream;
    tenon_cu_launch_attribute *attribute;
    unsigned attribute_count;
} tenon_cu_launch_config;
_Static_assert(sizeof(tenon_cu_launch_config) == 56, "as the driver has it");

#define SYMBOL(returns, name, arguments, need) returns(*name) arguments;
typedef struct tenon_cuda_driver {
    tenon_dl dl;
    int version; /* 13000 */
#include "cuda/sym/driver.def"
} tenon_cuda_driver;
typedef struct tenon_cuda_nvrtc {
    tenon_dl dl;
    int major, minor;
#include "cuda/sym/nvrtc.def"
} tenon_cuda_nvrtc;
#undef SYMBOL

/* Any library of NVIDIA's: the first of `file` (NULL-terminated) that opens in the places named in cuda_api.c; pip_pattern: its
   file in pip's packages, or NULL. Then its symbols into the structure of pointers `out`. */
typedef struct tenon_cuda_symbol { const char *name; size_t offset; bool required; } tenon_cuda_symbol;
bool tenon_cuda_library_open(tenon_cx *cx, tenon_dl *dl, const char *const *file, const char *pip_pattern, char *why,
                             size_t why_bytes);
/* The names that it tries, one after another. */
void tenon_cuda_library_names(tenon_cx *cx, const char *const *file, const char *pip_pattern, void *user,
                              void (*give)(void *user, const char *name));
tenon_status tenon_cuda_library_symbols(tenon_cx *cx, const tenon_dl *dl, const tenon_cuda_symbol *table, size_t count,
                                        void *out);

/* TENON_CUDA_ABSENT: whether `what` is to be taken for absent, and the largest allocation that may succeed. */
bool tenon_cuda_absent(const char *what);
size_t tenon_cuda_memory_limit(void);

/* TENON_DEVICE with what is missing and what to do. The libraries stay open until the process ends: the driver's own threads
   live in them, and opening them again is free. */
tenon_status tenon_cuda_driver_open(tenon_cx *cx, tenon_cuda_driver *out);
tenon_status tenon_cuda_nvrtc_open(tenon_cx *cx, tenon_cuda_nvrtc *out);
/* TENON_OK, or the driver's error as a status, with the driver's words. */
tenon_status tenon_cuda_check(tenon_cx *cx, const tenon_cuda_driver *driver, int error, const char *what);

/* Gives every text that sources may include, one after another. */
void tenon_cuda_headers(void *user, void (*give)(void *user, const char *text));
/* Source to cubin for an architecture ("sm_90a"). prelude.cu and mma.cu can be included by those names. */
tenon_status tenon_cuda_compile(tenon_cx *cx, const tenon_cuda_nvrtc *nvrtc, const tenon_kernel_source *source, const char *arch,
                                tenon_buf *image);

#endif
