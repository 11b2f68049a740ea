/* SPDX-License-Identifier: Apache-2.0 */
/* What a GPU does at most. KIND: 0 multiply-adds of f32, 1 products of TF32, 2 of f16, 3 of i8 on tensor cores, all from registers;
   4 reading READ_BYTES from args.at[0], ROUNDS times. Results go to args.at[1] if they have a value that they never have. */
#include "prelude.cu"
#include "mma.cu"

#if KIND == 3
static __device__ __forceinline__ void tenon_product(int *d, const unsigned *a, unsigned b0, unsigned b1)
{
#if TENON_SM_HAS(80)
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else /* m8n8k16 four times: twice the rows, twice the depth */
    for (int i = 0; i < 4; i++)
        asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                     : "+r"(d[i / 2 * 2]), "+r"(d[i / 2 * 2 + 1]) : "r"(a[i]), "r"(i & 1 ? b1 : b0));
#endif
}
#elif KIND == 2
static __device__ __forceinline__ void tenon_product(float *d, const unsigned *a, unsigned b0, unsigned b1)
{
    tenon_mma<tenon_half>::k16(d, a, b0, b1);
}
#elif KIND == 1
static __device__ __forceinline__ void tenon_product(float *d, const unsigned *a, unsigned b0, unsigned b1)
{
    tenon_mma<float>::k8(d, a, b0, b1);
}
#endif

/* Past the first cache, which a multiprocessor's part of a small array would fit. */
static __device__ __forceinline__ uint4 tenon_read(const uint4 *p)
{
    uint4 v;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}

extern "C" __global__ void __launch_bounds__(THREADS) tenon_peak(const __grid_constant__ tenon_args args)
{
    float *sink = (float *)args.at[1];
    tenon_wait();
    tenon_trigger();
#if KIND == 4
    const uint4 *p = (const uint4 *)args.at[0];
    uint4 sum = {0, 0, 0, 0};
    const unsigned long long count = READ_BYTES / 16ull, step = (unsigned long long)gridDim.x * THREADS;
    for (int r = 0; r < ROUNDS; r++)
        for (unsigned long long i = (unsigned long long)blockIdx.x * THREADS + threadIdx.x; i + 3 * step < count; i += 4 * step) {
            const uint4 a = tenon_read(p + i), b = tenon_read(p + i + step);
            const uint4 c = tenon_read(p + i + 2 * step), d = tenon_read(p + i + 3 * step);
            sum.x += a.x ^ b.y ^ c.z ^ d.w;
            sum.y += a.y ^ b.z ^ c.w ^ d.x;
            sum.z += a.z ^ b.w ^ c.x ^ d.y;
            sum.w += a.w ^ b.x ^ c.y ^ d.z;
        }
    if ((sum.x ^ sum.y ^ sum.z ^ sum.w) == 0x9e3779b9u) *sink = 1.0f;
#elif KIND == 0
    float v[8];
    for (int i = 0; i < 8; i++) v[i] = (float)(threadIdx.x + i);
    for (int k = 0; k < STEPS; k++) {
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = __fmaf_rn(v[i], 0.999f, 0.001f);
    }
    float sum = 0;
    for (int i = 0; i < 8; i++) sum += v[i];
    if (sum == -1.0f) *sink = sum;
#else
#if KIND == 3
    int d[8][4];
#else
    float d[8][4];
#endif
    const unsigned a[4] = {0, 0, 0, 0};
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 4; j++) d[i][j] = 0;
    for (int k = 0; k < STEPS; k++) {
#pragma unroll
        for (int i = 0; i < 8; i++) tenon_product(d[i], a, 0, 0);
    }
    float sum = 0;
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 4; j++) sum += (float)d[i][j];
    if (sum == -1.0f) *sink = sum;
#endif
}
