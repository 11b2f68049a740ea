/* SPDX-License-Identifier: Apache-2.0 */
/* Tensor cores, asynchronous copies, barriers and clusters as PTX, for kernel texts that #include "mma.cu" after "prelude.cu".
   What sm_75 lacks is there by other means where its meaning can be kept: m16n8k16 of f16 is two m16n8k8, cp.async is a load and a
   store. bf16 and TF32 products need sm_80, bulk copies, mbarriers and clusters sm_90: a tactic that uses them says so by `need`.

   Fragments of m16n8k16 (16-bit operands), lane l, g = l / 4, t = l % 4 (PTX ISA, "matrix fragments for mma.m16n8k16"):
       a[0] row g,     k 2t, 2t + 1       a[2] row g,     k 2t + 8, 2t + 9       what ldmatrix.x4 gives for row l % 16,
       a[1] row g + 8, k 2t, 2t + 1       a[3] row g + 8, k 2t + 8, 2t + 9       k 8 * (l / 16)
       b[0] column g,  k 2t, 2t + 1       b[1] column g,  k 2t + 8, 2t + 9
       d[0], d[1] row g, columns 2t, 2t + 1; d[2], d[3] row g + 8
   and of m16n8k8 of TF32: a[0] row g, k t; a[1] row g + 8, k t; a[2] row g, k t + 4; a[3] row g + 8, k t + 4;
       b[0] column g, k t; b[1] column g, k t + 4; d as above.                                                                    */
#ifndef TENON_SM_MOST /* -DTENON_SM_MOST=75: as on that chip, whatever this one is */
#define TENON_SM_MOST 1000
#endif
#define TENON_SM_HAS(sm) (__CUDA_ARCH__ >= (sm) * 10 && TENON_SM_MOST >= (sm))
static __device__ __forceinline__ unsigned tenon_shared(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }

/* ---- products: d += a * b ---- */
template <class T> struct tenon_mma;
template <> struct tenon_mma<tenon_half> {
    static __device__ __forceinline__ void k8(float *d, unsigned a0, unsigned a1, unsigned b0)
    {
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a0), "r"(a1), "r"(b0));
    }
    static __device__ __forceinline__ void k16(float *d, const unsigned *a, unsigned b0, unsigned b1)
    {
#if TENON_SM_HAS(80)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
        k8(d, a[0], a[1], b0);
        k8(d, a[2], a[3], b1);
#endif
    }
};
#if TENON_SM_HAS(80)
template <> struct tenon_mma<tenon_bfloat> {
    static __device__ __forceinline__ void k16(float *d, const unsigned *a, unsigned b0, unsigned b1)
    {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};
/* TF32: operands are f32 bits whose low 13 the hardware drops; tenon_tf32 rounds them first. */
template <> struct tenon_mma<float> {
    static __device__ __forceinline__ void k8(float *d, const unsigned *a, unsigned b0, unsigned b1)
    {
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};
static __device__ __forceinline__ unsigned tenon_tf32(float v)
{
    unsigned r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
    return r;
}
#else /* no such instruction: a tactic that gets here was not asked what it needs */
template <> struct tenon_mma<tenon_bfloat> {
    static __device__ __forceinline__ void k16(float *, const unsigned *, unsigned, unsigned) { __trap(); }
};
template <> struct tenon_mma<float> {
    static __device__ __forceinline__ void k8(float *, const unsigned *, unsigned, unsigned) { __trap(); }
};
static __device__ __forceinline__ unsigned tenon_tf32(float v) { return __float_as_uint(v); }
#endif

/* ---- shared memory; addresses are tenon_shared's ---- */
/* Four 8 x 8 matrices of 16 bits; lane l gives the address of row l % 8 of matrix l / 8, 16 bytes aligned. */
static __device__ __forceinline__ void tenon_ldmatrix4(unsigned *r, unsigned at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
static __device__ __forceinline__ void tenon_ldmatrix4_trans(unsigned *r, unsigned at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
static __device__ __forceinline__ void tenon_lds16(unsigned *r, unsigned at)
{
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
static __device__ __forceinline__ void tenon_lds16(float *r, unsigned at)
{
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(r[0]), "=f"(r[1]), "=f"(r[2]), "=f"(r[3]) : "r"(at) : "memory");
}
static __device__ __forceinline__ float tenon_lds4(unsigned at)
{
    float r;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(r) : "r"(at) : "memory");
    return r;
}
static __device__ __forceinline__ void tenon_sts16(unsigned at, const unsigned *r)
{
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]) : "memory");
}
static __device__ __forceinline__ void tenon_sts8(unsigned at, float x, float y)
{
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(at), "f"(x), "f"(y) : "memory");
}

/* ---- copies from global to shared memory; BYTES 4, 8 or 16, both ends aligned to it; nothing is read and zeros are written where
   !inside (the source must be some mapped address even then) ---- */
template <int BYTES> static __device__ __forceinline__ void tenon_copy_async(unsigned to, const void *from, bool inside)
{
#if TENON_SM_HAS(80)
    const unsigned bytes = inside ? BYTES : 0;
    if (BYTES == 16) asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
    else asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from), "n"(BYTES), "r"(bytes) : "memory");
#else
    unsigned v[4] = {0, 0, 0, 0};
    if (BYTES == 16) {
        if (inside) *(uint4 *)v = *(const uint4 *)from;
        tenon_sts16(to, v);
    } else if (BYTES == 8) {
        if (inside) *(uint2 *)v = *(const uint2 *)from;
        asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(to), "r"(v[0]), "r"(v[1]) : "memory");
    } else {
        if (inside) v[0] = *(const unsigned *)from;
        asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(v[0]) : "memory");
    }
#endif
}
/* This thread's copies so far are one group. */
static __device__ __forceinline__ void tenon_copy_commit()
{
#if TENON_SM_HAS(80)
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
/* Until at most LEFT of this thread's groups are under way; others see the data after a __syncthreads. */
template <int LEFT> static __device__ __forceinline__ void tenon_copy_wait()
{
#if TENON_SM_HAS(80)
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

/* ---- a part of a matrix to shared memory; tenon_pitch: rows of 16-bit elements an odd number of 16 bytes apart, so that the eight
   rows of an ldmatrix lie in different banks ---- */
static constexpr __device__ int tenon_pitch(int width) { return (width / 8 | 1) * 8; }
/* By all `threads` of a block: `width` elements of 2 or 4 bytes, inner_step apart, of each of `height` rows, outer_step apart; zeros from
   the ends on. aligned: inner_step is 1, and inner_end, outer_step and the address `from` are multiples of 16 bytes. Otherwise 16-bit
   elements are waited for. (No capitals here: kernels have macros of their own.) */
template <class T, int height, int width, int threads, int pitch = tenon_pitch(width)>
static __device__ __forceinline__ void tenon_fetch(unsigned to, const T *from, long long outer_step, long long inner_step, int outer, int outer_end,
                                                   int inner, int inner_end, bool aligned)
{
    constexpr int bytes = sizeof(T), vectors = width * bytes / 16, batch = 8; /* loads under way */
    if (aligned) {
#pragma unroll
        for (int j = 0; j < (height * vectors + threads - 1) / threads; j++) {
            const int i = threadIdx.x + j * threads, o = i / vectors, v = i % vectors * (16 / bytes);
            if (height * vectors % threads && i >= height * vectors) break;
            const bool inside = outer + o < outer_end && inner + v < inner_end;
            tenon_copy_async<16>(to + (o * pitch + v) * bytes, inside ? from + (outer + o) * outer_step + inner + v : from, inside);
        }
    } else if constexpr (bytes == 4) {
#pragma unroll 4
        for (int i = threadIdx.x; i < height * width; i += threads) {
            const int o = outer + i / width, k = inner + i % width;
            const bool inside = o < outer_end && k < inner_end;
            tenon_copy_async<4>(to + (i / width * pitch + i % width) * 4, inside ? from + o * outer_step + k * inner_step : from, inside);
        }
    } else {
#pragma unroll 1
        for (int first = threadIdx.x; first < height * width; first += batch * threads) {
            unsigned short v[batch];
#pragma unroll
            for (int j = 0; j < batch; j++) {
                const int i = first + j * threads, o = outer + i / width, k = inner + i % width;
                v[j] = i < height * width && o < outer_end && k < inner_end ? from[o * outer_step + k * inner_step].bits : 0;
            }
#pragma unroll
            for (int j = 0; j < batch; j++) {
                const int i = first + j * threads;
                if (i < height * width)
                    asm volatile("st.shared.u16 [%0], %1;" ::"r"(to + (i / width * pitch + i % width) * 2), "h"(v[j]) : "memory");
            }
        }
    }
}

/* ---- two floats to 16-bit neighbours, `low` at the lower address ---- */
template <class T> static __device__ __forceinline__ unsigned tenon_pack2(float low, float high)
{
    return (unsigned)tenon_from<T>::make(low).bits | (unsigned)tenon_from<T>::make(high).bits << 16;
}
template <> __device__ __forceinline__ unsigned tenon_pack2<tenon_half>(float low, float high)
{
    unsigned r;
#if TENON_SM_HAS(80)
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
#else
    r = (unsigned)tenon_from<tenon_half>::make(low).bits | (unsigned)tenon_from<tenon_half>::make(high).bits << 16;
#endif
    return r;
}

#if TENON_SM_HAS(90)
/* ---- mbarriers and bulk copies: one thread inits, makes it known (tenon_barrier_ready), __syncthreads, then all may wait ---- */
static __device__ __forceinline__ void tenon_barrier_init(unsigned barrier, unsigned count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
static __device__ __forceinline__ void tenon_barrier_ready()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/* Arrives and says that `bytes` of copies follow. */
static __device__ __forceinline__ void tenon_barrier_expect(unsigned barrier, unsigned bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/* Until the phase of that parity is over. */
static __device__ __forceinline__ void tenon_barrier_wait(unsigned barrier, unsigned parity)
{
    unsigned done = 0;
    while (!done)
        asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                     : "=r"(done) : "r"(barrier), "r"(parity) : "memory");
}
/* `bytes` and both addresses are multiples of 16. One thread calls it. */
static __device__ __forceinline__ void tenon_copy_bulk(unsigned to, const void *from, unsigned bytes, unsigned barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}

/* ---- clusters; whole warps, converged ---- */
static __device__ __forceinline__ void tenon_cluster_arrive_relaxed() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
static __device__ __forceinline__ void tenon_cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
static __device__ __forceinline__ void tenon_cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
/* The address of the same place in block `rank` of the cluster. */
static __device__ __forceinline__ unsigned tenon_cluster_map(unsigned at, unsigned rank)
{
    unsigned r;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(r) : "r"(at), "r"(rank));
    return r;
}
static __device__ __forceinline__ void tenon_cluster_sts16(unsigned at, const float *v)
{
    asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(at), "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]) : "memory");
}
#endif
