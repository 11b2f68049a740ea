/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of f16 and bf16 on tensor cores; scores never leave the registers. A block has 16 * WQ queries of one head; its WT groups of
   WQ warps share the keys of every chunk of BT, each with sums of its own, which are joined at the end. Weights of keys are relative to the
   largest score seen so far (Milakov and Gimelshein, "Online normalizer calculation for softmax"), and the second product's operand is
   the first one's result, rounded, where it lies.

   Axes of the index space: batch (grid z), heads (grid y), queries, elements. Its tensors are operands and results of the program; q, k, v
   and the mask follow them in `args`, their strides in tenon_number: q 0..3, k 4..7, v 8..11, mask 12..15, then keys, query heads per key
   head. Bits 28, 29, 30 of `aligned`: q, k, v may be copied 16 bytes at a time.
   Shared memory: [queries] [STAGES x (keys, values); after the loop WT x (queries x PITCH_Y sums, largest, total) floats]              */
#define THREADS (WQ * WT * 32)
#define BQ (16 * WQ)
#define NT (BT / WT)                       /* keys of a chunk for one warp */
#define DP ((D + 15) / 16 * 16)            /* elements of q and k, of v, in whole products */
#define VP ((DV + 15) / 16 * 16)
#define Q_BYTES (BQ * tenon_pitch(DP) * 2)
#define K_BYTES (BT * tenon_pitch(DP) * 2)
#define STAGE_BYTES (K_BYTES + BT * tenon_pitch(VP) * 2)
#define PITCH_Y (VP + 8)
#define KEEP_Q (DP <= 128)                 /* queries stay in registers */
static_assert(NT % 16 == 0 && STAGES >= 2, "whole products");

static __device__ __forceinline__ float power2(float v)
{
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
    return r;
}
static __device__ __forceinline__ float among4(float v, bool sum)
{
    const float x = __shfl_xor_sync(~0u, v, 1), y = sum ? v + x : fmaxf(v, x), z = __shfl_xor_sync(~0u, y, 2);
    return sum ? y + z : fmaxf(y, z);
}

/* What is added to the scores of this lane, times log2(e): -inf for hidden keys. */
static __device__ __forceinline__ void load_mask(const tenon_args &args, const MASK_TYPE *mask, int row, int rows, int key, int keys,
                                                 float (&add)[NT / 8][4])
{
#pragma unroll
    for (int j = 0; j < NT / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int s = row + i / 2 * 8, t = key + j * 8 + i % 2;
            float v = 0.0f;
            if (t >= keys || (CAUSAL && t > s)) v = -INFINITY_F;
            else if (MASK && s < rows) v = tenon_to_float(mask[s * tenon_number(args, 14) + t * tenon_number(args, 15)]);
            if (MASK == 2 && t < keys && !(CAUSAL && t > s)) v = v != 0.0f || s >= rows ? 0.0f : -INFINITY_F;
            add[j][i] = MASK == 1 ? v * LOG2E : v;
        }
}

struct sums { float y[VP / 8][4], largest[2], total[2]; };

/* One chunk of keys. row: the lane's first query; key: the warp's first key. */
static __device__ __forceinline__ void chunk(const tenon_args &args, const MASK_TYPE *mask, unsigned queries, unsigned stage, int first, int row, int rows,
                                             int key, int keys, const unsigned (&kept)[KEEP_Q ? DP / 16 : 1][4], sums &x)
{
    const int lane = threadIdx.x % 32, group = threadIdx.x / 32 / WQ;
    float s[NT / 8][4], add[NT / 8][4];
    const bool plain = !MASK && key + NT <= keys && (!CAUSAL || key + NT - 1 <= row - lane / 4);
    if (!plain) load_mask(args, mask, row, rows, key + lane % 4 * 2, keys, add);
#pragma unroll
    for (int i = 0; i < NT / 8 * 4; i++) s[i / 4][i % 4] = 0.0f;
#pragma unroll
    for (int k = 0; k < DP / 16; k++) {
        unsigned a[4];
        if (!KEEP_Q) tenon_ldmatrix4(a, queries + ((row - lane / 4 - first + lane % 16) * tenon_pitch(DP) + k * 16 + lane / 16 * 8) * 2);
#pragma unroll
        for (int j = 0; j < NT / 16; j++) {
            unsigned b[4];
            tenon_ldmatrix4(b, stage + ((group * NT + j * 16 + lane / 16 * 8 + lane % 8) * tenon_pitch(DP) + k * 16 + lane / 8 % 2 * 8) * 2);
            tenon_mma<T>::k16(s[2 * j], KEEP_Q ? kept[KEEP_Q ? k : 0] : a, b[0], b[1]);
            tenon_mma<T>::k16(s[2 * j + 1], KEEP_Q ? kept[KEEP_Q ? k : 0] : a, b[2], b[3]);
        }
    }
    float most[2] = {-INFINITY_F, -INFINITY_F}, from[2];
#pragma unroll
    for (int i = 0; i < NT / 8 * 4; i++) {
        float &v = s[i / 4][i % 4];
        v = plain ? v * SCALE : add[i / 4][i % 4] == -INFINITY_F ? -INFINITY_F : fmaf(v, SCALE, add[i / 4][i % 4]);
        most[i % 4 / 2] = fmaxf(most[i % 4 / 2], v);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const float now = fmaxf(x.largest[h], among4(most[h], false));
        from[h] = now == -INFINITY_F ? 0.0f : now; /* nothing seen yet: weights are 0, not NaN */
        const float shrink = power2(x.largest[h] - from[h]);
        x.largest[h] = now;
        x.total[h] *= shrink;
#pragma unroll
        for (int j = 0; j < VP / 8; j++) x.y[j][2 * h] *= shrink, x.y[j][2 * h + 1] *= shrink;
    }
#pragma unroll
    for (int i = 0; i < NT / 8 * 4; i++) {
        s[i / 4][i % 4] = power2(s[i / 4][i % 4] - from[i % 4 / 2]);
        x.total[i % 4 / 2] += s[i / 4][i % 4];
    }
#pragma unroll
    for (int j = 0; j < NT / 16; j++) {
        const unsigned a[4] = {tenon_pack2<T>(s[2 * j][0], s[2 * j][1]), tenon_pack2<T>(s[2 * j][2], s[2 * j][3]),
                               tenon_pack2<T>(s[2 * j + 1][0], s[2 * j + 1][1]), tenon_pack2<T>(s[2 * j + 1][2], s[2 * j + 1][3])};
#pragma unroll
        for (int n = 0; n < VP / 16; n++) {
            unsigned b[4];
            const int at = (group * NT + j * 16 + lane / 8 % 2 * 8 + lane % 8) * tenon_pitch(VP) + n * 16 + lane / 16 * 8;
            tenon_ldmatrix4_trans(b, stage + K_BYTES + at * 2);
            tenon_mma<T>::k16(x.y[2 * n], a, b[0], b[1]);
            tenon_mma<T>::k16(x.y[2 * n + 1], a, b[2], b[3]);
        }
    }
}

/* Sums of the groups joined, divided, through the program. */
static __device__ __forceinline__ void finish(const tenon_args &args, const long long *base, unsigned shared, int first, int rows, sums &x)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = warp / WQ, row = warp % WQ * 16 + lane / 4;
    const unsigned marks = shared + WT * BQ * PITCH_Y * 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const float total = among4(x.total[h], true);
        if (lane % 4 == 0) tenon_sts8(marks + (group * BQ + row + h * 8) * 8, x.largest[h], total);
#pragma unroll
        for (int j = 0; j < VP / 8; j++)
            tenon_sts8(shared + ((group * BQ + row + h * 8) * PITCH_Y + j * 8 + lane % 4 * 2) * 4, x.y[j][2 * h], x.y[j][2 * h + 1]);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < BQ * (VP / 8); i += THREADS) {
        const int r = i / (VP / 8), n = i % (VP / 8) * 8;
        if (first + r >= rows || n >= DV) continue;
        float largest = -INFINITY_F, total = 0.0f, v[8], mark[WT][2];
#pragma unroll
        for (int g = 0; g < WT; g++) {
            asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(mark[g][0]), "=f"(mark[g][1]) : "r"(marks + (g * BQ + r) * 8) : "memory");
            largest = fmaxf(largest, mark[g][0]);
        }
        if (largest == -INFINITY_F) largest = 0.0f;
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] = 0.0f;
#pragma unroll
        for (int g = 0; g < WT; g++) {
            const float share = power2(mark[g][0] - largest);
            float w[8];
            tenon_lds16(w, shared + ((g * BQ + r) * PITCH_Y + n) * 4);
            tenon_lds16(w + 4, shared + ((g * BQ + r) * PITCH_Y + n) * 4 + 16);
            total = fmaf(mark[g][1], share, total);
#pragma unroll
            for (int j = 0; j < 8; j++) v[j] = fmaf(w[j], share, v[j]);
        }
        const float factor = total == 0.0f ? 0.0f : 1.0f / total; /* a query that sees no key gives zeros */
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] *= factor;
        long long at[TENSORS];
#pragma unroll
        for (int t = 0; t < TENSORS; t++) at[t] = base[t] + (first + r) * tenon_step(args, t, 2) + n * tenon_step(args, t, 3);
        if (DV % 8 == 0 || n + 8 <= DV) {
            tenon_body<8>(args, at, v);
            continue;
        }
#pragma unroll 1
        for (int j = n; j < DV; j++) {
            tenon_body<1>(args, at, v);
#pragma unroll
            for (int k = 0; k < 7; k++) v[k] = v[k + 1];
#pragma unroll
            for (int t = 0; t < TENSORS; t++) at[t] += tenon_step(args, t, 3);
        }
    }
}

extern __shared__ __align__(128) unsigned char tenon_block[];

extern "C" __global__ void __launch_bounds__(THREADS) tenon_attention_mma(const __grid_constant__ tenon_args args)
{
    const unsigned queries = tenon_shared(tenon_block), stages = queries + Q_BYTES;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int rows = (int)tenon_size(args, 2), all = (int)tenon_number(args, 16), blocks = (rows + BQ - 1) / BQ;
    const unsigned z = blockIdx.z, h = blockIdx.y, hk = h / (unsigned)tenon_number(args, 17);
    tenon_wait();
    tenon_trigger();
    if ((int)blockIdx.x >= blocks || h >= tenon_size(args, 1) || z >= tenon_size(args, 0)) return;
    const int first = (blocks - 1 - (int)blockIdx.x) * BQ; /* with a causal mask the last ones have most to do */
    const int keys = CAUSAL && first + BQ < all ? first + BQ : all, count = (keys + BT - 1) / BT;
    const T *q = (const T *)args.at[TENSORS] + z * tenon_number(args, 0) + h * tenon_number(args, 1);
    const T *k = (const T *)args.at[TENSORS + 1] + z * tenon_number(args, 4) + hk * tenon_number(args, 5);
    const T *v = (const T *)args.at[TENSORS + 2] + z * tenon_number(args, 8) + hk * tenon_number(args, 9);
    const MASK_TYPE *mask = MASK ? (const MASK_TYPE *)args.at[TENSORS + 3] + z * tenon_number(args, 12) + h * tenon_number(args, 13) : nullptr;
    const bool q16 = args.aligned >> 28 & 1, k16 = args.aligned >> 29 & 1, v16 = args.aligned >> 30 & 1;
    tenon_fetch<T, BQ, DP, THREADS>(queries, q, tenon_number(args, 2), tenon_number(args, 3), first, rows, 0, D, q16);
#pragma unroll 1
    for (int i = 0; i < STAGES - 1; i++) {
        if (i < count) {
            tenon_fetch<T, BT, DP, THREADS>(stages + i * STAGE_BYTES, k, tenon_number(args, 6), tenon_number(args, 7), i * BT, keys, 0, D, k16);
            tenon_fetch<T, BT, VP, THREADS>(stages + i * STAGE_BYTES + K_BYTES, v, tenon_number(args, 10), tenon_number(args, 11), i * BT, keys, 0, DV, v16);
        }
        tenon_copy_commit();
    }
    sums x;
#pragma unroll
    for (int i = 0; i < VP / 8 * 4; i++) x.y[i / 4][i % 4] = 0.0f;
    x.largest[0] = x.largest[1] = -INFINITY_F;
    x.total[0] = x.total[1] = 0.0f;
    unsigned kept[KEEP_Q ? DP / 16 : 1][4];
    const int from = warp % WQ * 16, row = first + from + lane / 4;
    int now = 0, next = STAGES - 1;
#pragma unroll 1
    for (int i = 0; i < count; i++) {
        tenon_copy_wait<STAGES - 2>();
        __syncthreads();
        if (KEEP_Q && i == 0)
#pragma unroll
            for (int c = 0; c < DP / 16; c++)
                tenon_ldmatrix4(kept[KEEP_Q ? c : 0], queries + ((from + lane % 16) * tenon_pitch(DP) + c * 16 + lane / 16 * 8) * 2);
        if (i + STAGES - 1 < count) {
            const unsigned to = stages + next * STAGE_BYTES;
            tenon_fetch<T, BT, DP, THREADS>(to, k, tenon_number(args, 6), tenon_number(args, 7), (i + STAGES - 1) * BT, keys, 0, D, k16);
            tenon_fetch<T, BT, VP, THREADS>(to + K_BYTES, v, tenon_number(args, 10), tenon_number(args, 11), (i + STAGES - 1) * BT, keys, 0, DV, v16);
        }
        tenon_copy_commit();
        const int key = i * BT + warp / WQ * NT;
        if (key < keys && (!CAUSAL || key <= first + from + 15)) /* the same for the whole warp */
            chunk(args, mask, queries, stages + now * STAGE_BYTES, first, row, rows, key, keys, kept, x);
        now = now + 1 == STAGES ? 0 : now + 1;
        next = next + 1 == STAGES ? 0 : next + 1;
    }
    tenon_copy_wait<0>();
    __syncthreads(); /* chunks give way to sums */
    long long base[TENSORS];
#pragma unroll
    for (int t = 0; t < TENSORS; t++) base[t] = z * tenon_step(args, t, 0) + h * tenon_step(args, t, 1);
    finish(args, base, stages, first, rows, x);
}
