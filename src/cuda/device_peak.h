/* SPDX-License-Identifier: Apache-2.0 */
/* What a GPU does at most: arithmetic from registers and reading, measured by kernels of our own. */
#ifndef TENON_CUDA_DEVICE_PEAK_H
#define TENON_CUDA_DEVICE_PEAK_H

#include "cuda/device.h"

/* Kinds of tenon_arithmetic first, then reading; `bytes` and `rounds` are those of reading. */
enum { TENON_CUDA_PEAK_READ = TENON_ARITHMETICS, TENON_CUDA_PEAK_KINDS };
tenon_kernel_source tenon_cuda_peak_source(int kind, size_t bytes, int rounds);
tenon_status tenon_cuda_peak(tenon_cx *cx, tenon_device *device, tenon_device_peak *out);

#endif
