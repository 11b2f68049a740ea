/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution as a matrix product whose A is never written: rows are results (n, h, w in order), depth is (tap, channel), BM x BN results
   a block, STAGES parts of UNITS * 32 bytes of depth under way. A row's part of a tap is fetched from its pixel, zeros where the
   tap is outside; B is one run of memory in fragment order (pack_conv_mma). f16, bf16; f32 as TF32, whose depth of 32 bytes is 8.

   Shared memory: stages of A (rows of UNITS * 32 + 16 bytes, so that ldmatrix has no conflicts) and B; at the end, in their place,
   16 rows of sums a warp, from which lanes take 8 neighbours each.                                                              */
#define THREADS (32 * WM * WN)
#define DEEP (32 / (int)sizeof(W_TYPE)) /* elements of a unit */
#define VECTOR (16 / (int)sizeof(W_TYPE))
#define CHUNKS (CP / DEEP / UNITS)      /* stages of a tap */
#define STEPS (KERNEL_H * KERNEL_W * CHUNKS)
#define PITCH (UNITS * 32 + 16)
#define A_BYTES (BM * PITCH)
#define B_BYTES (UNITS * BN * 32)
#define STAGE (A_BYTES + B_BYTES)
#define MI (BM / WM / 16)
#define NI (BN / WN / 16)
#define LANES (UNITS * 2)               /* 16-byte vectors of a row of A in a stage */
#define LOADS ((BM * LANES + THREADS - 1) / THREADS)
#define SUM_PITCH (NI * 16 + 8)
static_assert(BM % (16 * WM) == 0 && BN % (16 * WN) == 0 && THREADS % LANES == 0 && CP % (DEEP * UNITS) == 0, "shared evenly");

extern __shared__ __align__(128) unsigned char tenon_block_memory[];

struct rows { int offset[LOADS], h[LOADS], w[LOADS], n[LOADS]; }; /* of the pixel of tap 0; h far outside: no row */
struct step { int r, s, c; };                           /* tap and first channel */

static __device__ __forceinline__ void next(step &t)
{
    t.c += DEEP * UNITS;
    if (t.c < CP) return;
    t.c = 0;
    if (++t.s < KERNEL_W) return;
    t.s = 0;
    t.r++;
}

static __device__ __forceinline__ void find_rows(const tenon_args &args, int m0, int group, rows &p)
{
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        int n, h, w;
        const int row = (threadIdx.x + i * THREADS) / LANES;
        const bool inside = tenon_conv_pixel(args, m0 + row, n, h, w) && row < BM;
        p.h[i] = inside ? h * STRIDE_H - (int)tenon_x(args, X_BEGIN + 1) : -(1 << 29);
        p.n[i] = n;
        p.w[i] = w * STRIDE_W - (int)tenon_x(args, X_BEGIN + 2);
        const int rows = p.h[i] * (int)tenon_x(args, X_STEP + 1), columns = p.w[i] * (int)tenon_x(args, X_STEP + 2);
        p.offset[i] = inside ? n * (int)tenon_x(args, X_STEP_N) + rows + columns + group * CHANNELS : 0;
    }
}

static __device__ __forceinline__ void fetch_a(const tenon_args &args, const rows &p, const step &t, bool whole, unsigned to)
{
    const X_TYPE *x = (const X_TYPE *)args.at[X_AT];
    const int in_h = (int)tenon_x(args, X_IN + 1), in_w = (int)tenon_x(args, X_IN + 2);
    const int tap = t.r * DILATION_H * (int)tenon_x(args, X_STEP + 1) + t.s * DILATION_W * (int)tenon_x(args, X_STEP + 2);
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int row = (threadIdx.x + i * THREADS) / LANES, lane = threadIdx.x % LANES, c = t.c + lane * VECTOR;
        const int h = p.h[i] + t.r * DILATION_H, w = p.w[i] + t.s * DILATION_W;
        const bool inside = h >= 0 && h < in_h && w >= 0 && w < in_w && c < CHANNELS;
        const X_TYPE *from = inside ? x + p.offset[i] + tap + c : x;
        const unsigned at = to + row * PITCH + lane * 16;
        if (BM * LANES % THREADS && row >= BM) continue;
        if (whole) {
            tenon_copy_async<16>(at, from, inside);
            continue;
        }
        tenon_vector<X_TYPE, VECTOR> v; /* an address that vectors do not fit */
#pragma unroll
        for (int k = 0; k < VECTOR; k++) v.lane[k] = inside ? from[k] : tenon_from<X_TYPE>::make(0.0f);
        tenon_sts16(at, (const unsigned *)&v);
    }
}

#if BEFORE
/* The program on x, by each thread on what it fetched itself; one tap and no padding, so every pixel is fetched once. */
static __device__ __forceinline__ void change_a(const tenon_args &args, const rows &p, int first, unsigned at)
{
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int row = (threadIdx.x + i * THREADS) / LANES, lane = threadIdx.x % LANES, c = first + lane * VECTOR;
        if ((BM * LANES % THREADS && row >= BM) || p.h[i] < 0 || c >= CHANNELS) continue;
        __align__(16) unsigned bits[4];
        float f[VECTOR];
        tenon_lds16(bits, at + row * PITCH + lane * 16);
        tenon_vector<X_TYPE, VECTOR> v = *(const tenon_vector<X_TYPE, VECTOR> *)bits;
#pragma unroll
        for (int k = 0; k < VECTOR; k++) f[k] = tenon_to_float(v.lane[k]);
        tenon_before<VECTOR>(args, p.n[i], c, f);
#pragma unroll
        for (int k = 0; k < VECTOR; k++) v.lane[k] = tenon_make<X_TYPE>(f[k]);
        tenon_sts16(at + row * PITCH + lane * 16, (const unsigned *)&v);
    }
}
#endif

static __device__ __forceinline__ void fetch_b(const unsigned char *from, unsigned to)
{
#pragma unroll
    for (int i = 0; i < (B_BYTES / 16 + THREADS - 1) / THREADS; i++) {
        const int at = threadIdx.x + i * THREADS;
        if (B_BYTES / 16 % THREADS == 0 || at < B_BYTES / 16) tenon_copy_async<16>(to + at * 16, from + at * 16, true);
    }
}

static __device__ __forceinline__ void product(float *d, const unsigned *a, unsigned b0, unsigned b1)
{
#if TF32
    tenon_mma<float>::k8(d, a, b0, b1);
#else
    tenon_mma<W_TYPE>::k16(d, a, b0, b1);
#endif
}

static __device__ __forceinline__ void multiply(unsigned a_at, unsigned b_at, float (&sum)[MI][NI * 2][4])
{
#pragma unroll
    for (int unit = 0; unit < UNITS; unit++) {
        unsigned a[MI][4], b[NI][4];
#pragma unroll
        for (int i = 0; i < MI; i++) {
            tenon_ldmatrix4(a[i], a_at + i * 16 * PITCH + unit * 32);
#if TF32
#pragma unroll
            for (int k = 0; k < 4; k++) a[i][k] = tenon_tf32(__uint_as_float(a[i][k]));
#endif
        }
#pragma unroll
        for (int j = 0; j < NI; j++) tenon_lds16(b[j], b_at + (unit * (BN / 16) + j) * 512);
#pragma unroll
        for (int i = 0; i < MI; i++)
#pragma unroll
            for (int j = 0; j < NI; j++) {
                product(sum[i][2 * j], a[i], b[j][0], b[j][1]);
                product(sum[i][2 * j + 1], a[i], b[j][2], b[j][3]);
            }
    }
}

/* 16 rows at a time through the warp's own part of shared memory. */
static __device__ __forceinline__ void finish(const tenon_args &args, unsigned own, int m0, int k0, int left, int first, const float (&sum)[MI][NI * 2][4])
{
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < MI; i++) {
#pragma unroll
        for (int j = 0; j < NI * 2; j++) {
            const unsigned at = own + ((lane / 4) * SUM_PITCH + j * 8 + lane % 4 * 2) * 4;
            tenon_sts8(at, sum[i][j][0], sum[i][j][1]);
            tenon_sts8(at + 8 * SUM_PITCH * 4, sum[i][j][2], sum[i][j][3]);
        }
        __syncwarp();
#pragma unroll
        for (int at = lane; at < 16 * NI * 2; at += 32) {
            const int row = at / (NI * 2), column = at % (NI * 2) * 8;
            int n, h, w;
            float v[8];
            tenon_lds16(v, own + (row * SUM_PITCH + column) * 4);
            tenon_lds16(v + 4, own + (row * SUM_PITCH + column) * 4 + 16);
            if (column < left && tenon_conv_pixel(args, m0 + i * 16 + row, n, h, w))
                tenon_conv_finish<8>(args, n, 0, h, w, first + k0 + column, left - column, v);
        }
        __syncwarp();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) tenon_conv_gemm(const __grid_constant__ tenon_args args)
{
    const unsigned base = tenon_shared(tenon_block_memory);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warp_m = warp % WM, warp_n = warp / WM;
    const unsigned tiles_n = (FILTERS + BN - 1) / BN, columns = tiles_n * GROUPS, m_tile = blockIdx.x / columns, column = blockIdx.x % columns;
    const int group = column / tiles_n, k0 = column % tiles_n * BN, m0 = m_tile * BM;
    bool surplus = false; /* the same for the whole block */
#pragma unroll
    for (int axis = 0; axis < RANK - 1; axis++) surplus |= tenon_size(args, axis) == 0;
    int n, h, w;
    if (surplus || !tenon_conv_pixel(args, m0, n, h, w)) {
        tenon_wait();
        return;
    }
    const unsigned char *weights = (const unsigned char *)args.at[W_AT] + (long long)column * STEPS * B_BYTES;
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++)
        if (i < STEPS) fetch_b(weights + i * B_BYTES, base + i * STAGE + A_BYTES);
    rows p;
    find_rows(args, m0, group, p);
    float sum[MI][NI * 2][4];
#pragma unroll
    for (int i = 0; i < MI * NI * 8; i++) sum[i / (NI * 8)][i / 4 % (NI * 2)][i % 4] = 0.0f;
    const bool whole = args.aligned >> X_AT & 1;
    tenon_wait();
    tenon_trigger();
    step ahead = {0, 0, 0};
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++) {
        if (i < STEPS) fetch_a(args, p, ahead, whole, base + i * STAGE);
        next(ahead);
        tenon_copy_commit();
    }
    const unsigned a_at = base + (warp_m * MI * 16 + (lane & 15)) * PITCH + (lane >> 4) * 16, b_at = base + A_BYTES + warp_n * NI * 512 + lane * 16;
    int slot = 0, free = STAGES - 1;
#pragma unroll 1
    for (int i = 0; i < STEPS; i++) {
        tenon_copy_wait<STAGES - 2>();
#if BEFORE
        change_a(args, p, i * (DEEP * UNITS), base + slot * STAGE);
#endif
        __syncthreads();
        if (i + STAGES - 1 < STEPS) {
            fetch_a(args, p, ahead, whole, base + free * STAGE);
            fetch_b(weights + (i + STAGES - 1) * B_BYTES, base + free * STAGE + A_BYTES);
            next(ahead);
        }
        tenon_copy_commit();
        multiply(a_at + slot * STAGE, b_at + slot * STAGE, sum);
        slot = slot + 1 == STAGES ? 0 : slot + 1;
        free = free + 1 == STAGES ? 0 : free + 1;
    }
    tenon_copy_wait<0>();
    __syncthreads();
    const int first = warp_n * NI * 16;
    finish(args, base + warp * 16 * SUM_PITCH * 4, m0 + warp_m * MI * 16, k0 + first, FILTERS - k0 - first, group * FILTERS, sum);
}
