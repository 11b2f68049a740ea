/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine can at most: the loops of each instruction set, and the measurement with all threads. */
#ifndef TENON_CPU_PEAK_H
#define TENON_CPU_PEAK_H

#include "op/tactic.h"

/* run: multiply-adds from registers alone, in as many independent chains as hide their latency. read: `count` floats, a multiple
   of 128, once. Both give a sum, so that nothing is left out. */
typedef struct tenon_cpu_burn {
    unsigned isa;
    int lanes;
    float (*run)(void);
    float (*read)(const float *p, size_t count);
} tenon_cpu_burn;
enum { TENON_BURN_CHAINS = 12, TENON_BURN_STEPS = 20000 };
extern const tenon_cpu_burn tenon_cpu_burn_scalar, tenon_cpu_burn_avx2, tenon_cpu_burn_avx512;

tenon_status tenon_cpu_peak(tenon_cx *cx, tenon_device *device, tenon_device_peak *out);

#endif
