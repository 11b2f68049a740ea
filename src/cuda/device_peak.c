/* SPDX-License-Identifier: Apache-2.0 */
/* The rates of device_peak.h. Tensor cores of 9.0 and 10.0 are only filled by products that read shared memory asynchronously;
   their rates are those of the data sheet at this device's clock, and everything else is measured. NVRTC is needed. */
#include "cuda/device_peak.h"

#include <stdio.h>

extern const char tenon_cuda_src_device_peak[];

enum { THREADS = 256, STEPS = 4096, BLOCKS_EACH = 8, CHAINS = 8 };
enum { COLD_BYTES = 512 << 20, WARM_BYTES = 16 << 20, WARM_ROUNDS = 32 };
#define BUDGET 0.02

tenon_kernel_source tenon_cuda_peak_source(int kind, size_t bytes, int rounds)
{
    tenon_kernel_source k = {.name = "tenon_peak", .source = tenon_cuda_src_device_peak, .entry = "tenon_peak"};
    snprintf(k.options, sizeof k.options, "-DKIND=%d -DTHREADS=%d -DSTEPS=%d -DREAD_BYTES=%zuull -DROUNDS=%d", kind, THREADS,
             STEPS, bytes, rounds);
    return k;
}

/* Seconds of a launch that fills the device. */
static tenon_status time_kernel(tenon_cx *cx, tenon_device *d, const tenon_kernel_source *source, void *memory, double *out)
{
    static const tenon_tactic tactic = {.name = "cuda.peak", .pattern = "", .run = tenon_cuda_run};
    const tenon_backend *b = &tenon_backend_cuda;
    tenon_cuda_record record = {.grid = {(uint32_t)(d->multiprocessors * BLOCKS_EACH), 1, 1}, .threads = THREADS};
    const tenon_launch launch = {.tactic = &tactic, .record = &record};
    void *kernel = NULL;
    tenon_buf image;
    tenon_buf_init(&image, cx);
    tenon_status status = tenon_cuda_kernel_compile(cx, d, source, &image);
    if (status == TENON_OK) status = b->kernel_load(cx, d, image.data, image.length, source->entry, &kernel);
    if (status == TENON_OK) {
        record.function = ((tenon_cuda_kernel *)kernel)->function;
        record.args.at[0] = record.args.at[1] = memory;
        status = b->time(cx, d, &launch, 1, 0, BUDGET, out);
    }
    if (kernel) b->kernel_unload(d, kernel);
    tenon_buf_free(&image);
    return status;
}

/* What a thread computes at a step of a kind, a multiply-add being two; products are those of a warp's 32 threads. */
static double flops_of(int kind)
{
    static const double product[] = {[TENON_ARITHMETIC_TF32] = 16 * 8 * 8, [TENON_ARITHMETIC_HALF] = 16 * 8 * 16,
                                     [TENON_ARITHMETIC_INT8] = 16 * 8 * 32};
    return 2.0 * CHAINS * (kind == TENON_ARITHMETIC_F32 ? 1 : product[kind] / 32);
}

/* Times the f32 rate (256 operations a clock and multiprocessor); 0: measure it. */
static double data_sheet(int chip, int kind)
{
    static const double share[] = {[TENON_ARITHMETIC_TF32] = 0.5, [TENON_ARITHMETIC_HALF] = 1, [TENON_ARITHMETIC_INT8] = 2};
    const double half = chip / 10 == 9 ? 16 : chip / 10 == 10 ? 32 : 0;
    return kind == TENON_ARITHMETIC_F32 ? 0 : half * share[kind];
}

static tenon_status measure_arithmetic(tenon_cx *cx, tenon_device *d, void *memory, double *flops)
{
    const double hertz = d->info.peak_flops / (0.7 * 256 * d->multiprocessors); /* as describe() has it from the driver */
    const double threads = (double)d->multiprocessors * BLOCKS_EACH * THREADS;
    for (int kind = 0; kind < TENON_ARITHMETICS; kind++) {
        double seconds = 0;
        flops[kind] = data_sheet(d->chip, kind) * 256 * d->multiprocessors * hertz;
        if (kind == TENON_ARITHMETIC_TF32 && d->chip < 80) flops[kind] = flops[TENON_ARITHMETIC_F32]; /* it has none */
        if (flops[kind] > 0) continue;
        const tenon_kernel_source source = tenon_cuda_peak_source(kind, 0, 0);
        TENON_TRY(time_kernel(cx, d, &source, memory, &seconds));
        flops[kind] = flops_of(kind) * STEPS * threads / seconds;
    }
    return TENON_OK;
}

tenon_status tenon_cuda_peak(tenon_cx *cx, tenon_device *d, tenon_device_peak *out)
{
    void *memory = NULL;
    double cold = 0, warm = 0;
    *out = (tenon_device_peak){0};
    TENON_TRY(tenon_cuda_enter(cx, d));
    TENON_TRY(tenon_cuda_can_build(cx, d));
    const size_t bytes = TENON_MIN((size_t)COLD_BYTES, d->info.memory_bytes / 8);
    const tenon_kernel_source far = tenon_cuda_peak_source(TENON_CUDA_PEAK_READ, bytes, 1);
    const tenon_kernel_source near = tenon_cuda_peak_source(TENON_CUDA_PEAK_READ, WARM_BYTES, WARM_ROUNDS);
    TENON_TRY(tenon_backend_cuda.alloc(cx, d, bytes, &memory));
    tenon_status status = measure_arithmetic(cx, d, memory, out->flops);
    if (status == TENON_OK) status = time_kernel(cx, d, &far, memory, &cold);
    if (status == TENON_OK) status = time_kernel(cx, d, &near, memory, &warm);
    tenon_backend_cuda.release(d, memory);
    TENON_TRY(status);
    out->memory_bandwidth = (double)bytes / cold;
    out->cache_bandwidth = (double)WARM_BYTES * WARM_ROUNDS / warm;
    out->cache_bytes = WARM_BYTES; /* fits the second cache of all chips but the smallest */
    return TENON_OK;
}
