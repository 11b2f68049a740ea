/* SPDX-License-Identifier: Apache-2.0 */
/* Seconds of a kernel that mostly waits for memory, by a model: for plans where nothing is timed, and to choose what is timed at all.
   A thread has some bytes on their way; all threads together have at most what fits a multiprocessor's 2048 of them. What arrives in the
   time of one access is the rate, up to that of the memory; so few threads are slow, and a chain of dependent accesses takes its time. */
#ifndef TENON_CUDA_ESTIMATE_H
#define TENON_CUDA_ESTIMATE_H

#include "cuda/backend.h"

typedef struct tenon_cuda_work {
    double bytes;     /* read and written */
    double flops;
    double threads;   /* of the whole launch */
    double in_flight; /* bytes that a thread waits for at once */
    double waits;     /* accesses or barriers of a thread that wait for one another, beside those that `bytes` accounts for */
} tenon_cuda_work;

double tenon_cuda_estimate(const tenon_device *device, const tenon_cuda_work *work);
/* Bytes of a tensor. */
double tenon_cuda_bytes(const tenon_tensor *t);

#endif
