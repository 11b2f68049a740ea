/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix product on tensor cores, sums in f32: f16 and bf16 by m16n8k16, f32 rounded to TF32 by m16n8k8.

   A block computes BM x BN results; its WM x WN warps have a
   part of them each, and WK such groups share the depth of every chunk of BK. Chunks of A and B come through STAGES places in shared
   memory; those of a constant B that fit are asked for before the step before has ended. SPLIT blocks, a cluster, share the whole
   depth: each pushes its sums to the block that finishes those rows.

   Axes of the index space: leading ones (grid z), rows, columns. Tensors: 0 is A, 1 is B, then operands and results of the program;
   bits 0 and 1 of `aligned` say that A and B may be copied 16 bytes at a time, tails included. Grids are sized for the bucket's most
   rows; tiles beyond the rows there are now leave.

   Shared memory: [SPLIT > 1: sums pushed here, SPLIT x BM * BN / SPLIT floats] [STAGES x (A, B); after the loop WK x BM x PITCH_C floats]
   Rows of a chunk are an odd number of 16 bytes apart, for ldmatrix; those of 32-bit elements that do not run along the depth, which single
   loads take, 8 elements more than a multiple of 16: four rows of eight neighbours then lie in different banks. */
#define THREADS (WM * WN * WK * 32)
#define TM (BM / WM)
#define TN (BN / WN)
#define WIDTH_A (A_ALONG_DEPTH ? BK : BM)
#define WIDTH_B (B_ALONG_DEPTH ? BK : BN)
#define BYTES ((int)sizeof(A_TYPE))
#define KS (32 / BYTES) /* depth of one product */
#define PITCH(width, along) (BYTES == 4 && !(along) ? (width) + 8 : ((width) * BYTES / 16 | 1) * 16 / BYTES)
#define PITCH_A PITCH(WIDTH_A, A_ALONG_DEPTH)
#define PITCH_B PITCH(WIDTH_B, B_ALONG_DEPTH)
#define STAGE_A ((A_ALONG_DEPTH ? BM : BK) * PITCH_A * BYTES)
#define STAGE_BYTES (STAGE_A + (B_ALONG_DEPTH ? BN : BK) * PITCH_B * BYTES)
#define PITCH_C (BN + 8)
#define VECTORS (BM * BN / 8)
#define SLOT_BYTES (SPLIT > 1 ? BM * BN * 4 : 0)
#define GROUPED 8 /* tiles of rows that share columns of B while these are in the second cache */
static_assert(TM % 16 == 0 && TN % 16 == 0 && BK % (KS * WK) == 0 && STAGES >= 2, "whole products");
static_assert(VECTORS % SPLIT == 0, "blocks of a cluster finish the same number of vectors");

struct matrices { /* of this block */
    const A_TYPE *a, *b;
    int m0, rows, n0, columns, depth;
};

static __device__ __forceinline__ void fetch_a(const tenon_args &args, const matrices &x, unsigned stage, int k0)
{
    const long long by_row = tenon_step(args, 0, RANK - 2), by_depth = tenon_step_a(args);
    if (A_ALONG_DEPTH) tenon_fetch<A_TYPE, BM, BK, THREADS, PITCH_A>(stage, x.a, by_row, by_depth, x.m0, x.rows, k0, x.depth, args.aligned & 1);
    else tenon_fetch<A_TYPE, BK, BM, THREADS, PITCH_A>(stage, x.a, by_depth, by_row, k0, x.depth, x.m0, x.rows, args.aligned & 1);
}
static __device__ __forceinline__ void fetch_b(const tenon_args &args, const matrices &x, unsigned stage, int k0)
{
    const long long by_column = tenon_step(args, 1, RANK - 1), by_depth = tenon_step_b(args);
    if (B_ALONG_DEPTH) tenon_fetch<A_TYPE, BN, BK, THREADS, PITCH_B>(stage + STAGE_A, x.b, by_column, by_depth, x.n0, x.columns, k0, x.depth, args.aligned & 2);
    else tenon_fetch<A_TYPE, BK, BN, THREADS, PITCH_B>(stage + STAGE_A, x.b, by_depth, by_column, k0, x.depth, x.n0, x.columns, args.aligned & 2);
}

/* Fragments of one product: 16 rows of A from m on, 16 columns of B from n on, both from depth k on. */
static __device__ __forceinline__ void read_a(unsigned *a, unsigned stage, int m, int k, int lane)
{
    if (A_ALONG_DEPTH) tenon_ldmatrix4(a, stage + ((m + lane % 16) * PITCH_A + k + lane / 16 * (KS / 2)) * BYTES);
    else if (BYTES == 2) tenon_ldmatrix4_trans(a, stage + ((k + lane / 16 * 8 + lane % 8) * PITCH_A + m + lane / 8 % 2 * 8) * 2);
    else
#pragma unroll
        for (int i = 0; i < 4; i++)
            a[i] = __float_as_uint(tenon_lds4(stage + ((k + lane % 4 + i / 2 * 4) * PITCH_A + m + lane / 4 + i % 2 * 8) * 4));
}
static __device__ __forceinline__ void read_b(unsigned *b, unsigned at, int n, int k, int lane)
{
    if (B_ALONG_DEPTH) tenon_ldmatrix4(b, at + ((n + lane / 16 * 8 + lane % 8) * PITCH_B + k + lane / 8 % 2 * (KS / 2)) * BYTES);
    else if (BYTES == 2) tenon_ldmatrix4_trans(b, at + ((k + lane / 8 % 2 * 8 + lane % 8) * PITCH_B + n + lane / 16 * 8) * 2);
    else
#pragma unroll
        for (int i = 0; i < 4; i++)
            b[i] = __float_as_uint(tenon_lds4(at + ((k + lane % 4 + i % 2 * 4) * PITCH_B + n + lane / 4 + i / 2 * 8) * 4));
}

/* 16 x 16 results. */
template <class T> static __device__ __forceinline__ void product(float (*d)[4], unsigned *a, unsigned *b)
{
    if constexpr (sizeof(T) == 2) {
        tenon_mma<T>::k16(d[0], a, b[0], b[1]);
        tenon_mma<T>::k16(d[1], a, b[2], b[3]);
    } else {
        tenon_mma<T>::k8(d[0], a, b[0], b[1]);
        tenon_mma<T>::k8(d[1], a, b[2], b[3]);
    }
}
template <class T> static __device__ __forceinline__ void round_all(unsigned *v)
{
    if constexpr (sizeof(T) == 4)
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = tenon_tf32(__uint_as_float(v[i]));
}

/* One chunk. m, n: where this warp's part begins; group: which of WK shares of the depth. */
static __device__ __forceinline__ void multiply(unsigned stage, int m, int n, int group, int lane, float (&sum)[TM / 16][TN / 8][4])
{
#pragma unroll
    for (int s = 0; s < BK / KS / WK; s++) {
        const int k = (s * WK + group) * KS;
        unsigned a[TM / 16][4], b[TN / 16][4];
#pragma unroll
        for (int i = 0; i < TM / 16; i++) {
            read_a(a[i], stage, m + i * 16, k, lane);
            round_all<A_TYPE>(a[i]);
        }
#pragma unroll
        for (int j = 0; j < TN / 16; j++) {
            read_b(b[j], stage + STAGE_A, n + j * 16, k, lane);
            round_all<A_TYPE>(b[j]);
        }
#pragma unroll
        for (int i = 0; i < TM / 16; i++)
#pragma unroll
            for (int j = 0; j < TN / 16; j++) product<A_TYPE>(&sum[i][2 * j], a[i], b[j]);
    }
}

/* Eight neighbours of one row through the program. */
static __device__ __forceinline__ void give(const tenon_args &args, const long long *base, const matrices &x, int vector, float *v)
{
    const int m = x.m0 + vector / (BN / 8), n = x.n0 + vector % (BN / 8) * 8;
    long long at[TENSORS];
    if (m >= x.rows || n >= x.columns) return;
#pragma unroll
    for (int t = 2; t < TENSORS; t++) at[t] = base[t] + m * tenon_step(args, t, RANK - 2) + n * tenon_step(args, t, RANK - 1);
    if (x.columns % 8 == 0 || n + 8 <= x.columns) {
        tenon_body<8>(args, at, v);
        return;
    }
#pragma unroll 1
    for (int j = n; j < x.columns; j++) {
        tenon_body<1>(args, at, v);
#pragma unroll
        for (int i = 0; i < 7; i++) v[i] = v[i + 1];
#pragma unroll
        for (int t = 2; t < TENSORS; t++) at[t] += tenon_step(args, t, RANK - 1);
    }
}

/* The sums of the WK groups, always in the same order. */
static __device__ __forceinline__ void gather(unsigned sums, int vector, float *v)
{
#pragma unroll
    for (int group = 0; group < WK; group++) {
        const unsigned at = sums + ((group * BM + vector / (BN / 8)) * PITCH_C + vector % (BN / 8) * 8) * 4;
        float w[8];
        tenon_lds16(w, at);
        tenon_lds16(w + 4, at + 16);
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = group ? v[i] + w[i] : w[i];
    }
}

static __device__ __forceinline__ void finish(const tenon_args &args, const long long *base, const matrices &x, unsigned slots, unsigned sums, int rank)
{
    float v[8];
#if SPLIT > 1
    constexpr int OWN = VECTORS / SPLIT;
    tenon_cluster_wait(); /* all blocks of the cluster have begun */
    for (int i = threadIdx.x; i < VECTORS; i += THREADS) {
        if (x.m0 + i / (BN / 8) >= x.rows) break;
        gather(sums, i, v);
        const unsigned to = tenon_cluster_map(slots + (rank * OWN + i % OWN) * 32, i / OWN);
        tenon_cluster_sts16(to, v);
        tenon_cluster_sts16(to + 16, v + 4);
    }
    __syncwarp();
    tenon_cluster_arrive();
    tenon_cluster_wait();
    for (int i = threadIdx.x; i < OWN; i += THREADS) {
#pragma unroll
        for (int s = 0; s < SPLIT; s++) {
            float w[8];
            tenon_lds16(w, slots + (s * OWN + i) * 32);
            tenon_lds16(w + 4, slots + (s * OWN + i) * 32 + 16);
#pragma unroll
            for (int j = 0; j < 8; j++) v[j] = s ? v[j] + w[j] : w[j];
        }
        give(args, base, x, rank * OWN + i, v);
    }
#else
    for (int i = threadIdx.x; i < VECTORS; i += THREADS) {
        gather(sums, i, v);
        give(args, base, x, i, v);
    }
#endif
}

/* Which tile this block has, and where its matrices begin; false: none. */
static __device__ __forceinline__ bool find_tile(const tenon_args &args, long long *base, matrices &x)
{
    x.rows = (int)tenon_size(args, RANK - 2), x.columns = (int)tenon_size(args, RANK - 1), x.depth = (int)tenon_depth(args);
    const unsigned tiles_m = (unsigned)(x.rows + BM - 1) / BM, tiles_n = (unsigned)(x.columns + BN - 1) / BN, tile = blockIdx.x / SPLIT;
    unsigned rest = blockIdx.z;
    bool surplus = tile >= tiles_m * tiles_n;
#pragma unroll
    for (int t = 0; t < TENSORS; t++) base[t] = 0;
#pragma unroll
    for (int axis = RANK - 3; axis >= 0; axis--) {
        const unsigned size = (unsigned)tenon_size(args, axis), i = axis && size ? rest % size : rest;
        surplus |= i >= size;
        rest = size ? rest / size : 0;
#pragma unroll
        for (int t = 0; t < TENSORS; t++) base[t] += (long long)i * tenon_step(args, t, axis);
    }
    if (surplus) return false;
    const unsigned first = tile / (GROUPED * tiles_n) * GROUPED, height = tiles_m - first < GROUPED ? tiles_m - first : GROUPED;
    const unsigned local = tile - first * tiles_n;
    x.m0 = (int)(first + local % height) * BM;
    x.n0 = (int)(local / height) * BN;
    x.a = (const A_TYPE *)args.at[0] + base[0];
    x.b = (const A_TYPE *)args.at[1] + base[1];
    return true;
}

extern __shared__ __align__(128) unsigned char tenon_block[];

extern "C" __global__ void __launch_bounds__(THREADS) tenon_gemm_mma(const __grid_constant__ tenon_args args)
{
    const unsigned slots = tenon_shared(tenon_block), stages = slots + SLOT_BYTES;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = warp / (WM * WN);
    const int m = warp / WN % WM * TM, n = warp % WN * TN, rank = SPLIT > 1 ? blockIdx.x % SPLIT : 0;
    long long base[TENSORS];
    matrices x;
    if (!find_tile(args, base, x)) { /* the same for the whole cluster */
        tenon_wait();
        return;
    }
#if SPLIT > 1
    tenon_cluster_arrive_relaxed();
#endif
    const int chunks = (x.depth + BK - 1) / BK, share = (chunks + SPLIT - 1) / SPLIT, k0 = rank * share * BK;
    const int count = chunks - rank * share < share ? chunks - rank * share : share; /* may be negative */
    float sum[TM / 16][TN / 8][4];
#pragma unroll
    for (int i = 0; i < TM / 16 * (TN / 8) * 4; i++) sum[i / 4 / (TN / 8)][i / 4 % (TN / 8)][i % 4] = 0.0f;
    if (B_CONSTANT)
#pragma unroll 1
        for (int i = 0; i < STAGES - 1 && i < count; i++) fetch_b(args, x, stages + i * STAGE_BYTES, k0 + i * BK);
    tenon_wait();
    tenon_trigger();
#pragma unroll 1
    for (int i = 0; i < STAGES - 1; i++) {
        if (i < count) {
            fetch_a(args, x, stages + i * STAGE_BYTES, k0 + i * BK);
            if (!B_CONSTANT) fetch_b(args, x, stages + i * STAGE_BYTES, k0 + i * BK);
        }
        tenon_copy_commit(); /* the first of these has the chunks of a constant B too */
    }
    int now = 0, next = STAGES - 1;
#pragma unroll 1
    for (int i = 0; i < count; i++) {
        tenon_copy_wait<STAGES - 2>();
        __syncthreads(); /* the chunk is there, and nobody reads the one before */
        if (i + STAGES - 1 < count) {
            fetch_a(args, x, stages + next * STAGE_BYTES, k0 + (i + STAGES - 1) * BK);
            fetch_b(args, x, stages + next * STAGE_BYTES, k0 + (i + STAGES - 1) * BK);
        }
        tenon_copy_commit();
        multiply(stages + now * STAGE_BYTES, m, n, group, lane, sum);
        now = now + 1 == STAGES ? 0 : now + 1;
        next = next + 1 == STAGES ? 0 : next + 1;
    }
    tenon_copy_wait<0>();
    __syncthreads(); /* chunks give way to sums */
#pragma unroll
    for (int i = 0; i < TM / 16; i++)
#pragma unroll
        for (int j = 0; j < TN / 8; j++) {
            const unsigned at = stages + ((group * BM + m + i * 16 + lane / 4) * PITCH_C + n + j * 8 + lane % 4 * 2) * 4;
            tenon_sts8(at, sum[i][j][0], sum[i][j][1]);
            tenon_sts8(at + 8 * PITCH_C * 4, sum[i][j][2], sum[i][j][3]);
        }
    __syncthreads();
    finish(args, base, x, slots, stages, rank);
}
