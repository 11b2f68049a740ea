/* SPDX-License-Identifier: Apache-2.0 */
/* The peak that a GPU is measured to have lies near the numbers that its driver gives: clock, multiprocessors, bus. What is far
   below was not kept busy, what is above was optimised away. Exit 77 without a device. */
#include "check.h"

#include "cuda/device.h"

/* What describe() takes off the driver's numbers for the cost model. */
#define FLOPS_SHARE 0.7
#define BANDWIDTH_SHARE 0.8

static void check_peak(tenon_cx *cx, tenon_device *device)
{
    const tenon_device_info *info = tenon_backend_cuda.info(device);
    const double flops = info->peak_flops / FLOPS_SHARE, bandwidth = info->bandwidth / BANDWIDTH_SHARE;
    tenon_device_peak p, again;
    if (!CHECK_OK(cx, tenon_backend_cuda.peak(cx, device, &p)) || !CHECK_OK(cx, tenon_backend_cuda.peak(cx, device, &again)))
        return;
    printf("%s: f32 %.1f of %.1f, TF32 %.1f, f16 %.1f, int8 %.1f TFLOP/s; %.0f of %.0f GB/s from memory, %.0f from caches\n",
           info->name, 1e-12 * p.flops[TENON_ARITHMETIC_F32], 1e-12 * flops, 1e-12 * p.flops[TENON_ARITHMETIC_TF32],
           1e-12 * p.flops[TENON_ARITHMETIC_HALF], 1e-12 * p.flops[TENON_ARITHMETIC_INT8], 1e-9 * p.memory_bandwidth,
           1e-9 * bandwidth, 1e-9 * p.cache_bandwidth);
    CHECK(p.flops[TENON_ARITHMETIC_F32] > 0.4 * flops && p.flops[TENON_ARITHMETIC_F32] < 1.2 * flops);
    CHECK(p.flops[TENON_ARITHMETIC_HALF] > 1.5 * p.flops[TENON_ARITHMETIC_F32]);
    CHECK(p.flops[TENON_ARITHMETIC_TF32] >= p.flops[TENON_ARITHMETIC_F32] &&
          p.flops[TENON_ARITHMETIC_TF32] < p.flops[TENON_ARITHMETIC_HALF]);
    CHECK(p.flops[TENON_ARITHMETIC_INT8] > p.flops[TENON_ARITHMETIC_HALF]);
    CHECK(p.memory_bandwidth > 0.5 * bandwidth && p.memory_bandwidth < 1.1 * bandwidth);
    CHECK(p.cache_bandwidth > p.memory_bandwidth && p.cache_bytes > 1 << 20);
    CHECK(again.flops[TENON_ARITHMETIC_F32] > 0.7 * p.flops[TENON_ARITHMETIC_F32] &&
          again.memory_bandwidth > 0.7 * p.memory_bandwidth);
}

int main(void)
{
    tenon_cx cx;
    tenon_device *device;
    tenon_cx_init_default(&cx);
    if (tenon_backend_cuda.open(&cx, 0, 0, &device) != TENON_OK || tenon_backend_cuda.can_build(&cx, device) != TENON_OK) {
        printf("SKIP: %s\n", cx.message);
        return 77;
    }
    check_peak(&cx, device);
    tenon_backend_cuda.close(&device);
    return CHECK_END();
}
