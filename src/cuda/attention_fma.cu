/* SPDX-License-Identifier: Apache-2.0 */
/* Attention in f32 by fused multiply-adds. A block of 128 threads has 16 * OWN_QUERIES queries of one head; eight neighbouring threads share
   OWN_QUERIES queries: for the scores each has every eighth key of a chunk of 32, for the sums every eighth group of four elements. Weights are
   relative to the largest score seen so far. The next chunk's keys come while values are summed, its values while keys are scored.

   Index space, tensors and numbers as in attention_mma.cu. Shared memory, in floats:
   queries BQ x PITCH_D | keys BT x PITCH_D | values BT x VP | weights BQ x PITCH_P                                                    */
#define THREADS 128
#define BQ (16 * OWN_QUERIES)
#define BT 32
#define DP ((D + 3) / 4 * 4)
#define PITCH_D ((D + 7) / 8 * 8 + 4) /* rows of eight keys in different banks */
#define NV ((DV + 31) / 32)
#define VP (NV * 32)
#define PITCH_P (BT + 4)

/* COUNT rows of WIDTH floats, PITCH apart; zeros from the ends on. */
template <int COUNT, int WIDTH, int PITCH>
static __device__ __forceinline__ void fetch(float *to, const float *from, long long by_row, long long by_element, int first, int rows, int elements,
                                             bool aligned)
{
    if (aligned) {
        for (int i = threadIdx.x; i < COUNT * WIDTH / 4; i += THREADS) {
            const int r = i / (WIDTH / 4), e = i % (WIDTH / 4) * 4;
            const bool inside = first + r < rows && e < elements;
            tenon_copy_async<16>(tenon_shared(to + r * PITCH + e), inside ? from + (first + r) * by_row + e : from, inside);
        }
        return;
    }
    for (int i = threadIdx.x; i < COUNT * WIDTH; i += THREADS) {
        const int r = i / WIDTH, e = i % WIDTH;
        const bool inside = first + r < rows && e < elements;
        tenon_copy_async<4>(tenon_shared(to + r * PITCH + e), inside ? from + (first + r) * by_row + e * by_element : from, inside);
    }
}

static __device__ __forceinline__ float among8(float v, bool sum)
{
#pragma unroll
    for (int d = 1; d < 8; d *= 2) {
        const float x = __shfl_xor_sync(~0u, v, d);
        v = sum ? v + x : fmaxf(v, x);
    }
    return v;
}

/* A score as a power of two's exponent; -inf: hidden. */
static __device__ __forceinline__ float masked(const tenon_args &args, const MASK_TYPE *mask, float score, int row, int rows, int key, int keys)
{
    if (key >= keys || (CAUSAL && key > row)) return -INFINITY_F;
    float add = 0.0f;
    if (MASK && row < rows) {
        add = tenon_to_float(mask[row * tenon_number(args, 14) + key * tenon_number(args, 15)]);
        if (MASK == 2) add = add != 0.0f ? 0.0f : -INFINITY_F;
        if (add == -INFINITY_F) return add;
    }
    return fmaf(score, SCALE, add * LOG2E);
}

struct __align__(16) four { float lane[4]; };

static __device__ __forceinline__ void score(const float *queries, const float *key_at, int own, int g, float (&s)[OWN_QUERIES][4])
{
#pragma unroll 4
    for (int d = 0; d < DP; d += 4) {
        four a[OWN_QUERIES], b[4];
#pragma unroll
        for (int i = 0; i < OWN_QUERIES; i++) a[i] = *(const four *)&queries[(own + 16 * i) * PITCH_D + d];
#pragma unroll
        for (int j = 0; j < 4; j++) b[j] = *(const four *)&key_at[(g + 8 * j) * PITCH_D + d];
#pragma unroll
        for (int e = 0; e < 4; e++)
#pragma unroll
            for (int i = 0; i < OWN_QUERIES; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) s[i][j] = fmaf(a[i].lane[e], b[j].lane[e], s[i][j]);
    }
}

static __device__ __forceinline__ void add_values(const float *weight_at, const float *value_at, int own, int g, float (&y)[OWN_QUERIES][NV][4])
{
#pragma unroll 2
    for (int e = 0; e < BT; e += 4) {
        four w[OWN_QUERIES];
#pragma unroll
        for (int i = 0; i < OWN_QUERIES; i++) w[i] = *(const four *)&weight_at[(own + 16 * i) * PITCH_P + e];
#pragma unroll
        for (int c = 0; c < 4; c++)
#pragma unroll
            for (int n = 0; n < NV; n++) {
                const four b = *(const four *)&value_at[(e + c) * VP + n * 32 + g * 4];
#pragma unroll
                for (int i = 0; i < OWN_QUERIES; i++)
#pragma unroll
                    for (int l = 0; l < 4; l++) y[i][n][l] = fmaf(w[i].lane[c], b.lane[l], y[i][n][l]);
            }
    }
}

/* own_row: of the first of this thread's queries. */
static __device__ __forceinline__ void give(const tenon_args &args, unsigned z, unsigned h, int own_row, int rows, int g,
                                            const float (&total)[OWN_QUERIES], float (&y)[OWN_QUERIES][NV][4])
{
#pragma unroll
    for (int i = 0; i < OWN_QUERIES; i++) {
        const int row = own_row + 16 * i;
        const float sum = among8(total[i], true), factor = sum == 0.0f ? 0.0f : 1.0f / sum; /* sees no key: zeros */
        if (row >= rows) continue;
#pragma unroll
        for (int n = 0; n < NV; n++) {
            const int e = n * 32 + g * 4;
            long long at[TENSORS];
#pragma unroll
            for (int l = 0; l < 4; l++) y[i][n][l] *= factor;
#pragma unroll
            for (int t = 0; t < TENSORS; t++)
                at[t] = z * tenon_step(args, t, 0) + h * tenon_step(args, t, 1) + row * tenon_step(args, t, 2) + e * tenon_step(args, t, 3);
            if (e + 4 <= DV) {
                tenon_body<4>(args, at, y[i][n]);
            } else {
#pragma unroll
                for (int l = 0; l < 4; l++) {
                    if (e + l < DV) tenon_body<1>(args, at, &y[i][n][l]);
#pragma unroll
                    for (int t = 0; t < TENSORS; t++) at[t] += tenon_step(args, t, 3);
                }
            }
        }
    }
}

extern __shared__ __align__(128) unsigned char tenon_block[];

extern "C" __global__ void __launch_bounds__(THREADS) tenon_attention_fma(const __grid_constant__ tenon_args args)
{
    float *const queries = (float *)tenon_block, *const key_at = queries + BQ * PITCH_D, *const value_at = key_at + BT * PITCH_D;
    float *const weight_at = value_at + BT * VP;
    const int rows = (int)tenon_size(args, 2), all = (int)tenon_number(args, 16), blocks = (rows + BQ - 1) / BQ;
    const int g = threadIdx.x % 8, own = threadIdx.x / 8;
    const unsigned z = blockIdx.z, h = blockIdx.y, hk = h / (unsigned)tenon_number(args, 17);
    tenon_wait();
    tenon_trigger();
    if ((int)blockIdx.x >= blocks || h >= tenon_size(args, 1) || z >= tenon_size(args, 0)) return;
    const int first = (blocks - 1 - (int)blockIdx.x) * BQ;
    const int keys = CAUSAL && first + BQ < all ? first + BQ : all;
    const float *q = (const float *)args.at[TENSORS] + z * tenon_number(args, 0) + h * tenon_number(args, 1);
    const float *k = (const float *)args.at[TENSORS + 1] + z * tenon_number(args, 4) + hk * tenon_number(args, 5);
    const float *v = (const float *)args.at[TENSORS + 2] + z * tenon_number(args, 8) + hk * tenon_number(args, 9);
    const MASK_TYPE *mask = MASK ? (const MASK_TYPE *)args.at[TENSORS + 3] + z * tenon_number(args, 12) + h * tenon_number(args, 13) : nullptr;
    const bool k16 = args.aligned >> 29 & 1, v16 = args.aligned >> 30 & 1;
    float y[OWN_QUERIES][NV][4], largest[OWN_QUERIES], total[OWN_QUERIES];
#pragma unroll
    for (int i = 0; i < OWN_QUERIES; i++) {
        largest[i] = -INFINITY_F, total[i] = 0.0f;
#pragma unroll
        for (int j = 0; j < NV * 4; j++) y[i][j / 4][j % 4] = 0.0f;
    }
    fetch<BQ, DP, PITCH_D>(queries, q, tenon_number(args, 2), tenon_number(args, 3), first, rows, D, args.aligned >> 28 & 1);
    fetch<BT, DP, PITCH_D>(key_at, k, tenon_number(args, 6), tenon_number(args, 7), 0, keys, D, k16);
    tenon_copy_commit();
    fetch<BT, VP, VP>(value_at, v, tenon_number(args, 10), tenon_number(args, 11), 0, keys, DV, v16);
    tenon_copy_commit();
#pragma unroll 1
    for (int t = 0; t < keys; t += BT) {
        float s[OWN_QUERIES][4];
#pragma unroll
        for (int i = 0; i < OWN_QUERIES * 4; i++) s[i / 4][i % 4] = 0.0f;
        tenon_copy_wait<1>();
        __syncthreads(); /* keys are there */
        score(queries, key_at, own, g, s);
#pragma unroll
        for (int i = 0; i < OWN_QUERIES; i++) {
            float most = -INFINITY_F, sum = 0.0f;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                s[i][j] = masked(args, mask, s[i][j], first + own + 16 * i, rows, t + g + 8 * j, keys);
                most = fmaxf(most, s[i][j]);
            }
            const float now = fmaxf(largest[i], among8(most, false)), from = now == -INFINITY_F ? 0.0f : now;
            const float shrink = exp2f(largest[i] - from);
            largest[i] = now;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float w = exp2f(s[i][j] - from);
                sum += w;
                weight_at[(own + 16 * i) * PITCH_P + g + 8 * j] = w;
            }
            total[i] = fmaf(total[i], shrink, sum);
#pragma unroll
            for (int j = 0; j < NV * 4; j++) y[i][j / 4][j % 4] *= shrink;
        }
        __syncthreads(); /* nobody reads the keys */
        if (t + BT < keys) fetch<BT, DP, PITCH_D>(key_at, k, tenon_number(args, 6), tenon_number(args, 7), t + BT, keys, D, k16);
        tenon_copy_commit();
        tenon_copy_wait<1>();
        __syncthreads(); /* values are there */
        add_values(weight_at, value_at, own, g, y);
        __syncthreads(); /* nobody reads the values */
        if (t + BT < keys) fetch<BT, VP, VP>(value_at, v, tenon_number(args, 10), tenon_number(args, 11), t + BT, keys, DV, v16);
        tenon_copy_commit();
    }
    tenon_copy_wait<0>();
    give(args, z, h, first + own, rows, g, total, y);
}
