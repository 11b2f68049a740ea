/* SPDX-License-Identifier: Apache-2.0 */
/* Inside cuda/: the device object. An offline device stands for a GPU that is not here: it has a compute capability and numbers
   for the cost model, plans and compiles for it, and refuses whatever needs the driver. */
#ifndef TENON_CUDA_DEVICE_H
#define TENON_CUDA_DEVICE_H

#include "cuda/backend.h"
#include "cuda/libraries.h"
#include "cuda/transfer.h"

#include <pthread.h>

/* Images compiled by this device object: the tuner compiles what the engine writer compiles again. */
typedef struct tenon_cuda_compiled {
    struct tenon_cuda_compiled *next;
    uint64_t key[2];
    size_t bytes;
    char image[];
} tenon_cuda_compiled;

struct tenon_device {
    tenon_cx cx;               /* sinks and allocator of whoever opened it; never written after that */
    tenon_cuda_driver driver;  /* all NULL when offline */
    tenon_cuda_nvrtc nvrtc;
    bool offline, has_nvrtc;
    char nvrtc_missing[512];
    int index, multiprocessors;
    int chip;                  /* its compute capability * 10... */
    int sm;                    /* ...and the one whose means tactics may use (TENON_SM) */
    size_t shared_most;
    char arch[16];             /* of the device itself: what kernels are compiled for */
    tenon_cu_context context;  /* the primary one, shared with everything else in the process */
    tenon_cu_stream stream;    /* copies, and launches of whoever has no stream */
    tenon_cuda_transfer transfer;
    pthread_mutex_t lock;      /* of `compiled` */
    tenon_cuda_compiled *compiled;
    _Atomic size_t images_made; /* compiled or planned, not found anywhere */
    tenon_cuda_libraries *libraries; /* NULL when offline */
    tenon_device_info info;
};

tenon_status tenon_cuda_device_open(tenon_cx *cx, int index, int threads, tenon_device **out);
void tenon_cuda_device_close(tenon_device **device);
/* What the backend's row has under these names. */
tenon_status tenon_cuda_accepts(tenon_cx *cx, const tenon_device *device, const char *fingerprint);
void tenon_cuda_parts(tenon_cx *cx, tenon_part_fn give, void *user);
tenon_status tenon_cuda_can_build(tenon_cx *cx, tenon_device *device);
tenon_status tenon_cuda_kernel_compile(tenon_cx *cx, tenon_device *device, const tenon_kernel_source *source, tenon_buf *image);
tenon_status tenon_cuda_kernel_prepare(tenon_cx *cx, tenon_device *device, const tenon_kernel_source *const *source,
                                       size_t count);
/* Every entry: this device's context on this thread; TENON_DEVICE when it is offline. */
tenon_status tenon_cuda_enter(tenon_cx *cx, const tenon_device *device);

#endif
