/* SPDX-License-Identifier: Apache-2.0 */
/* cuBLASLt and cuDNN as makers of kernels. Both are opened when the first plan is made or loaded, and what they choose for a
   problem is an image like a cubin: it is made at build from a text (the `source` of a tenon_kernel_source whose entry is the
   library's name), stored in the engine, loaded at run, and holds for the version of the library that made it. A build or an
   engine without such steps opens neither. */
#ifndef TENON_CUDA_LIBRARIES_H
#define TENON_CUDA_LIBRARIES_H

#include "cuda/cuda_api.h"

#include <pthread.h>

/* One library for the backend: kernels by name of their entry, images by their first eight bytes. Calls come with the device's
   context current. What load gives begins with a pointer to this row. */
typedef struct tenon_cuda_libraries tenon_cuda_libraries;
typedef struct tenon_cuda_loaded tenon_cuda_loaded;
typedef struct tenon_cuda_library {
    const char *name, *entry, *magic; /* name: for people */
    int (*version)(tenon_cx *cx, const char **missing); /* 0: not there */
    tenon_status (*compile)(tenon_cx *cx, tenon_cuda_libraries *libraries, const char *text, tenon_buf *image);
    tenon_status (*load)(tenon_cx *cx, tenon_cuda_libraries *libraries, const void *image, size_t bytes, tenon_cuda_loaded **out);
    void (*unload)(tenon_cuda_libraries *libraries, tenon_cuda_loaded *loaded);
} tenon_cuda_library;
struct tenon_cuda_loaded {
    const tenon_cuda_library *library;
};

const tenon_cuda_library *tenon_cuda_library_of_entry(const char *entry);               /* NULL: a kernel of our own */
const tenon_cuda_library *tenon_cuda_library_of_image(const void *image, size_t bytes); /* NULL: a cubin */

/* A device's handles, made when first used. */
tenon_status tenon_cuda_libraries_create(tenon_cx *cx, tenon_cuda_libraries **out);
void tenon_cuda_libraries_destroy(tenon_cuda_libraries **libraries); /* with the device's context current */
/* Of a device that is here; NULL: none, or offline. */
tenon_cuda_libraries *tenon_cuda_libraries_of(const tenon_device *device);

/* Both libraries opened if they are there, for listings. `text`: version and file, or what is missing, what that costs and what
   to do. */
enum { TENON_CUDA_LIBRARIES = 2 };
typedef struct tenon_cuda_library_info {
    const char *name;
    bool found;
    char text[768];
} tenon_cuda_library_info;
void tenon_cuda_libraries_describe(tenon_cx *cx, tenon_cuda_library_info *out); /* TENON_CUDA_LIBRARIES of them */

/* ---- for the two ---- */
struct tenon_cuda_libraries {
    tenon_cx cx;          /* sinks and allocator, for messages nobody asked for */
    pthread_mutex_t turn; /* the handles below: one caller at a time */
    struct tenon_lt_context *lt;
    struct tenon_dnn_context *dnn;
};

/* Numbers of a problem as text and back, so that equal problems are equal texts. False: the text holds other than `count`
 * numbers. */
void tenon_cuda_numbers_print(tenon_buf *b, const int64_t *number, size_t count);
bool tenon_cuda_numbers_parse(const char *text, int64_t *out, size_t count);

#endif
