/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix product by fused multiply-adds in f32. A block computes BM x BN results, a thread TM x TN of them; WK groups of threads share
   the depth of each chunk of BK and are summed at the end. The next chunk is loaded into registers while this one is computed, and
   kept in another place (BUFFERS 2) or, where chunks are deep, in the same (1). Axes of the index space: leading ones (grid z),
   rows, columns. Tensors: 0 is A, 1 is B, then operands and results of the program. Grids are sized for the bucket's most rows;
   tiles beyond the rows there are now leave. */
#define GROUP ((BM / TM) * (BN / TN))
#define THREADS (GROUP * WK)
#define MV (TM < 4 ? TM : 4)
#define NV (TN < 4 ? TN : 4)
#define LOADS_A (BM * BK / THREADS)
#define LOADS_B (BK * BN / THREADS)
#define PITCH_A (BM + 4)
#define PITCH_B (BN + 4)
#define CHUNK (BK * (PITCH_A + PITCH_B))
static_assert(BM * BK % THREADS == 0 && BK * BN % THREADS == 0 && BK % WK == 0, "a chunk is shared evenly");
static_assert(WK == 1 || WK / 2 * BM * BN <= BUFFERS * CHUNK, "sums of half of the groups fit where the chunks were");
static_assert((WK & (WK - 1)) == 0, "groups are summed in halves");
static_assert(TM % MV == 0 && TN % NV == 0 && BM % 4 == 0 && BN % 4 == 0, "whole vectors");

/* Elements of this thread in a chunk of A: neighbours in memory are neighbours among threads. */
static __device__ __forceinline__ void place_a(int i, int &m, int &k)
{
    const int at = threadIdx.x + i * THREADS;
    k = A_ALONG_DEPTH ? at % BK : at / BM;
    m = A_ALONG_DEPTH ? at / BK : at % BM;
}
static __device__ __forceinline__ void place_b(int i, int &n, int &k)
{
    const int at = threadIdx.x + i * THREADS;
    k = B_ALONG_DEPTH ? at % BK : at / BN;
    n = B_ALONG_DEPTH ? at / BK : at % BN;
}

static __device__ __forceinline__ void load_a(const tenon_args &args, long long base, int m0, int rows, long long k0, long long depth, float *out)
{
    const A_TYPE *a = (const A_TYPE *)args.at[0] + base;
    const long long by_row = tenon_step(args, 0, RANK - 2), by_depth = tenon_step_a(args);
#pragma unroll
    for (int i = 0; i < LOADS_A; i++) {
        int m, k;
        place_a(i, m, k);
        out[i] = m0 + m < rows && k0 + k < depth ? tenon_to_float(a[(m0 + m) * by_row + (k0 + k) * by_depth]) : 0.0f;
    }
}
static __device__ __forceinline__ void load_b(const tenon_args &args, long long base, int n0, int columns, long long k0, long long depth, float *out)
{
    const B_TYPE *b = (const B_TYPE *)args.at[1] + base;
    const long long by_column = tenon_step(args, 1, RANK - 1), by_depth = tenon_step_b(args);
#pragma unroll
    for (int i = 0; i < LOADS_B; i++) {
        int n, k;
        place_b(i, n, k);
        out[i] = n0 + n < columns && k0 + k < depth ? tenon_to_float(b[(n0 + n) * by_column + (k0 + k) * by_depth]) : 0.0f;
    }
}

static __device__ __forceinline__ void keep(float *chunk, const float *a, const float *b)
{
#pragma unroll
    for (int i = 0; i < LOADS_A; i++) {
        int m, k;
        place_a(i, m, k);
        chunk[k * PITCH_A + m] = a[i];
    }
#pragma unroll
    for (int i = 0; i < LOADS_B; i++) {
        int n, k;
        place_b(i, n, k);
        chunk[BK * PITCH_A + k * PITCH_B + n] = b[i];
    }
}

struct __align__(4 * MV) vector_m { float lane[MV]; };
struct __align__(4 * NV) vector_n { float lane[NV]; };

static __device__ __forceinline__ void multiply(const float *chunk, int group, int ty, int tx, float (&sum)[TM][TN])
{
#pragma unroll 8
    for (int i = 0; i < BK / WK; i++) {
        const int k = group * (BK / WK) + i;
        float a[TM], b[TN];
#pragma unroll
        for (int v = 0; v < TM / MV; v++) {
            const vector_m x = *(const vector_m *)&chunk[k * PITCH_A + (v * (BM / TM) + ty) * MV];
#pragma unroll
            for (int j = 0; j < MV; j++) a[v * MV + j] = x.lane[j];
        }
#pragma unroll
        for (int v = 0; v < TN / NV; v++) {
            const vector_n x = *(const vector_n *)&chunk[BK * PITCH_A + k * PITCH_B + (v * (BN / TN) + tx) * NV];
#pragma unroll
            for (int j = 0; j < NV; j++) b[v * NV + j] = x.lane[j];
        }
#pragma unroll
        for (int m = 0; m < TM; m++)
#pragma unroll
            for (int n = 0; n < TN; n++) sum[m][n] = fmaf(a[m], b[n], sum[m][n]);
    }
}

/* The groups' sums, half of them into the other half, into group 0: always in the same order. */
static __device__ __forceinline__ void add_groups(float *shared, int group, int lane, float (&sum)[TM][TN])
{
#pragma unroll
    for (int half = WK / 2; half > 0; half /= 2) {
        __syncthreads();
        if (group >= half && group < 2 * half)
#pragma unroll
            for (int i = 0; i < TM * TN; i++) shared[(i * half + group - half) * GROUP + lane] = sum[i / TN][i % TN];
        __syncthreads();
        if (group < half)
#pragma unroll
            for (int i = 0; i < TM * TN; i++) sum[i / TN][i % TN] += shared[(i * half + group) * GROUP + lane];
    }
}

static __device__ __forceinline__ void finish(const tenon_args &args, const long long *base, int m0, int rows, int n0, int columns, int ty,
                                              int tx, float (&sum)[TM][TN])
{
#pragma unroll
    for (int i = 0; i < TM; i++) {
        const int m = m0 + ((i / MV) * (BM / TM) + ty) * MV + i % MV;
        if (m >= rows) continue;
#pragma unroll
        for (int v = 0; v < TN / NV; v++) {
            const int n = n0 + (v * (BN / TN) + tx) * NV;
            long long at[TENSORS];
#pragma unroll
            for (int t = 0; t < TENSORS; t++)
                at[t] = base[t] + m * tenon_step(args, t, RANK - 2) + n * tenon_step(args, t, RANK - 1);
            if (n + NV <= columns) {
                tenon_body<NV>(args, at, &sum[i][v * NV]);
                continue;
            }
#pragma unroll
            for (int j = 0; j < NV; j++) {
                if (n + j < columns) tenon_body<1>(args, at, &sum[i][v * NV + j]);
#pragma unroll
                for (int t = 0; t < TENSORS; t++) at[t] += tenon_step(args, t, RANK - 1);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) tenon_gemm(const __grid_constant__ tenon_args args)
{
    __shared__ __align__(16) float shared[BUFFERS * CHUNK];
    const int rows = (int)tenon_size(args, RANK - 2), columns = (int)tenon_size(args, RANK - 1);
    const long long depth = tenon_depth(args);
    const unsigned tiles_m = (unsigned)(rows + BM - 1) / BM, tiles_n = (unsigned)(columns + BN - 1) / BN;
    const unsigned matrix = blockIdx.z;
    long long base[TENSORS];
    unsigned rest = matrix;
    bool surplus = blockIdx.x >= tiles_m * tiles_n;
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
    if (surplus) { /* the same for the whole block */
        tenon_wait();
        return;
    }
    const int m0 = (int)(blockIdx.x % tiles_m) * BM, n0 = (int)(blockIdx.x / tiles_m) * BN;
    const int group = threadIdx.x / GROUP, lane = threadIdx.x % GROUP, ty = lane / (BN / TN), tx = lane % (BN / TN);
    float a[LOADS_A], b[LOADS_B], sum[TM][TN];
#pragma unroll
    for (int i = 0; i < TM * TN; i++) sum[i / TN][i % TN] = 0.0f;
    if (B_CONSTANT) load_b(args, base[1], n0, columns, 0, depth, b); /* a weight is there before the step before has ended */
    tenon_wait();
    tenon_trigger();
    load_a(args, base[0], m0, rows, 0, depth, a);
    if (!B_CONSTANT) load_b(args, base[1], n0, columns, 0, depth, b);
    keep(shared, a, b);
    __syncthreads();
    int buffer = 0;
    for (long long k0 = BK;; k0 += BK) {
        const bool more = k0 < depth;
        if (more) {
            load_a(args, base[0], m0, rows, k0, depth, a);
            load_b(args, base[1], n0, columns, k0, depth, b);
        }
        multiply(shared + buffer * CHUNK, group, ty, tx, sum);
        if (!more) break;
        if (BUFFERS == 1) __syncthreads();
        else buffer ^= 1;
        keep(shared + buffer * CHUNK, a, b);
        __syncthreads();
    }
    add_groups(shared, group, lane, sum);
    if (group == 0) finish(args, base, m0, rows, n0, columns, ty, tx, sum);
}
