/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA backend: one GPU, its memory, streams and graphs, and the tactics of tactic.def. Kernels get one argument,
   tenon_cuda_args, by value; the launch record holds it, so a step is enqueued from its record alone. */
#ifndef TENON_CUDA_BACKEND_H
#define TENON_CUDA_BACKEND_H

#include "cuda/cuda_api.h"

extern const tenon_backend tenon_backend_cuda;
extern const tenon_tactic *const tenon_cuda_tactics[]; /* in order of preference, `cuda.ref` last; NULL-terminated */

/* What kernel_load gives: a loaded kernel, or what a library makes of its image (cuda/libraries.h). */
typedef struct tenon_cuda_kernel {
    tenon_cu_module module;
    tenon_cu_function function;
    struct tenon_cuda_loaded *loaded;
} tenon_cuda_kernel;

/* As struct tenon_args in prelude.cu. */
enum { TENON_CUDA_TENSORS = 24 };
typedef struct tenon_cuda_args {
    const void *shape;            /* this step's part of the shape block */
    void *at[TENON_CUDA_TENSORS]; /* addresses of the tensors, in the order of the kernel's index space */
    uint32_t aligned;             /* bit t: tensor t may be read or written in whole vectors */
    uint32_t pad;
} tenon_cuda_args;

/* What a kernel step is launched from. All bytes are set (bind clears it first): records that are equal give equal graphs. */
typedef struct tenon_cuda_record {
    tenon_cu_function function;
    uint32_t grid[3], threads;
    uint32_t shared_bytes; /* dynamic shared memory; up to tenon_cuda_shared_most with the kernel's static part */
    uint32_t cluster;      /* blocks along x that share a cluster (compute capability 9.0); 0 or 1: none */
    tenon_cuda_args args;
} tenon_cuda_record;

/* What a tactic's run gets. Several threads may be in the `run` of one tactic at once, each with its own stream: state that is
   not in the record (handles of libraries) is the tactic's to lock. */
typedef struct tenon_cuda_queue {
    tenon_cx *cx;
    tenon_device *device;
    const tenon_cuda_driver *driver;
    tenon_cu_stream stream;
    bool programmatic; /* launches may overlap the end of the one before: every kernel here waits for it (tenon_wait) */
} tenon_cuda_queue;

/* Enqueues a tenon_cuda_record; the `run` of all kernel tactics. */
tenon_status tenon_cuda_run(const void *record, void *queue);

/* How many multiprocessors; device NULL (compiling for elsewhere): those of a large GPU. */
int tenon_cuda_multiprocessors(const tenon_device *device);
/* Compute capability * 10 that tactics may use: the device's, or less where TENON_SM asks for less; device NULL: 90. */
int tenon_cuda_sm(const tenon_device *device);
/* Shared memory that a block may have, bytes, for tenon_cuda_sm. */
size_t tenon_cuda_shared_most(const tenon_device *device);
/* The device's own copies, in order with its stream; both wait for the stream first. */
tenon_status tenon_cuda_read(const tenon_cuda_queue *queue, void *dst, const void *src, size_t bytes);
tenon_status tenon_cuda_write(const tenon_cuda_queue *queue, void *dst, const void *src, size_t bytes);

/* The cost model's share that no tactic has in its hand (tenon_backend.step_cost). */
double tenon_cuda_step_cost(const tenon_device *device, const tenon_problem *p, const tenon_tensor *src, const tenon_tensor *dst,
                            double seconds);

#endif
