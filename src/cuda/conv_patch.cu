/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution for small batches: a block makes TH x TW neighbouring results of BN filters from 1 / SPLIT of the channels. Its part of
   the weights, one run of memory in fragment order, is fetched before the step before has ended; the patch of x with its halo comes
   once into shared memory, and the addresses of ldmatrix walk it tap by tap. There is no ring of stages: a block has its data at once
   or in CHUNKS groups of channels. Warps share rows (WM), filters (WN) and depth (WK); the WK partial sums meet in shared memory, those of
   SPLIT blocks, a cluster, in the shared memory of the block that owns the row.

   POINT: one tap and no padding; the tile is TW neighbours of all results (n, h, w), and only pixels that count are fetched.
   RUN: few channels, CP (4 or 8) a pixel; a tap is a row of the kernel, its depth (column, channel), so that rows of ldmatrix overlap
   in the patch; needs DILATION_W 1 and STRIDE_W * CP a multiple of 8.

   Shared memory: barrier | weights | patch, then, in place of both, partial sums; behind all, what the cluster's blocks push. */
#define THREADS (32 * WM * WN * WK)
#define TILE (TH * TW)
#define BM ((TILE + 15) / 16 * 16)
#define CS (CP / SPLIT) /* channels of this block */
#if RUN
#define TAPS KERNEL_H
#define K16 ((KERNEL_W * CP + 15) / 16) /* of a tap */
#define PITCH (CP * 2)
#define PATCH_W ((TW - 1) * STRIDE_W + K16 * 16 / CP)
#else
#define TAPS (KERNEL_H * KERNEL_W)
#define K16 (CS / 16)
#define PITCH (CS * 2 + 16)
#define PATCH_W (POINT ? TW : (TW - 1) * STRIDE_W + (KERNEL_W - 1) * DILATION_W + 1)
#endif
#define PATCH_H (POINT ? TH : (TH - 1) * STRIDE_H + (KERNEL_H - 1) * DILATION_H + 1)
#define PIXELS (PATCH_H * PATCH_W)
#define STEP_H (POINT ? 1 : STRIDE_H)
#define STEP_W (POINT ? 1 : STRIDE_W)
#define GROUP (RUN ? CP : 8) /* channels fetched at once */
#define GROUPS_OF_CHUNK (RUN ? 1 : CS / 8 / CHUNKS)
#define STEPS (K16 / CHUNKS / WK) /* of depth, a tap and warp */
#define WEIGHT_BYTES (TAPS * K16 * BN * 32)
#define PATCH_BYTES ((PIXELS * PITCH + 15) / 16 * 16)
#define SUM_PITCH (BN + 8)
#define SUM_BYTES (WK * BM * SUM_PITCH * 4)
#define AT_WEIGHT 128
#define AT_PATCH (AT_WEIGHT + WEIGHT_BYTES)
#define AT_SUM AT_WEIGHT
#define AT_PUSH ((AT_WEIGHT + (WEIGHT_BYTES + PATCH_BYTES > SUM_BYTES ? WEIGHT_BYTES + PATCH_BYTES : SUM_BYTES) + 127) / 128 * 128)
#define MI (BM / WM / 16)
#define NI (BN / WN / 16)
#define ROWS (BM / SPLIT) /* that this block finishes */
#define BULK (TENON_SM_HAS(90))
static_assert(BM % (16 * WM) == 0 && BN % (16 * WN) == 0 && K16 % (CHUNKS * WK) == 0 && BM % SPLIT == 0, "warps share evenly");
static_assert(CP % (RUN ? 4 : 16 * SPLIT) == 0 && (!RUN || (SPLIT == 1 && CHUNKS == 1)), "depth is cut evenly");
static_assert(!RUN || (DILATION_W == 1 && STRIDE_W * CP % 8 == 0), "rows of ldmatrix are aligned");
static_assert(CHUNKS <= 4 && (SPLIT == 1 || SPLIT == 2 || SPLIT == 4 || SPLIT == 8), "");

extern __shared__ __align__(128) unsigned char tenon_block_memory[];

struct tile { long long x; int n, h, w; bool surplus; }; /* of the first result; POINT: w is the place among all */

static __device__ __forceinline__ int size_h(const tenon_args &args) { return RANK > 3 ? (int)tenon_size(args, RANK - 3) : 1; }
static __device__ __forceinline__ int size_w(const tenon_args &args) { return (int)tenon_size(args, RANK - 2); }

static __device__ __forceinline__ tile find_tile(const tenon_args &args)
{
    const int index = blockIdx.x / SPLIT, count = (int)tenon_size(args, 0), oh = size_h(args), ow = size_w(args);
    tile t;
    if (POINT) {
        t.n = t.h = 0;
        t.w = index * TILE;
        t.surplus = t.w >= count * oh * ow;
    } else {
        const int across = (ow + TW - 1) / TW, down = (oh + TH - 1) / TH, image = across * down;
        t.surplus = image == 0 || index >= count * image;
        t.n = t.surplus ? 0 : index / image;
        const int rest = index - t.n * image;
        t.h = t.surplus ? 0 : rest / across * TH;
        t.w = t.surplus ? 0 : rest % across * TW;
    }
    return t;
}

/* Result of row m of the tile; false: there is none. */
static __device__ __forceinline__ bool find_result(const tenon_args &args, const tile &t, int m, int &n, int &h, int &w)
{
    const int oh = size_h(args), ow = size_w(args);
    if (POINT) {
        const int at = t.w + m, image = oh * ow;
        n = at / image;
        h = (at - n * image) / ow;
        w = at - n * image - h * ow;
        return m < TILE && n < (int)tenon_size(args, 0);
    }
    n = t.n;
    h = t.h + m / TW;
    w = t.w + m % TW;
    return m < TILE && h < oh && w < ow;
}

/* ---- fetching ---- */
struct source { const X_TYPE *from; int n, c; unsigned at; bool inside; }; /* of GROUP channels from c on, and where they go */

static __device__ __forceinline__ source find_source(const tenon_args &args, const tile &t, int i, int chunk, int split, unsigned to)
{
    const int pixel = X_PLANAR ? i % PIXELS : i / GROUPS_OF_CHUNK, group = X_PLANAR ? i / PIXELS : i % GROUPS_OF_CHUNK;
    const int place = (chunk * GROUPS_OF_CHUNK + group) * GROUP;
    int n = t.n, h, w;
    source s;
    if (POINT) {
        s.inside = find_result(args, t, pixel, n, h, w);
        h *= STRIDE_H, w *= STRIDE_W;
    } else {
        h = t.h * STRIDE_H - (int)tenon_x(args, X_BEGIN + 1) + pixel / PATCH_W;
        w = t.w * STRIDE_W - (int)tenon_x(args, X_BEGIN + 2) + pixel % PATCH_W;
        s.inside = h >= 0 && h < (int)tenon_x(args, X_IN + 1) && w >= 0 && w < (int)tenon_x(args, X_IN + 2);
    }
    s.c = split * CS + place;
    s.inside = s.inside && s.c < CHANNELS;
    s.from = (const X_TYPE *)args.at[X_AT] +
             (s.inside ? n * (int)tenon_x(args, X_STEP_N) + h * (int)tenon_x(args, X_STEP + 1) + w * (int)tenon_x(args, X_STEP + 2) +
                         s.c * (int)tenon_x(args, X_STEP_C) : 0);
    s.at = to + pixel * PITCH + place * 2;
    s.n = n;
    return s;
}

/* From memory in whatever order or type; BATCH groups of loads are under way at once. */
template <int BATCH> static __device__ __forceinline__ void fetch_slowly(const tenon_args &args, const tile &t, int chunk, int split, unsigned to)
{
    const int count = PIXELS * GROUPS_OF_CHUNK, step = (int)tenon_x(args, X_STEP_C);
#pragma unroll 1
    for (int first = threadIdx.x; first < count; first += THREADS * BATCH) {
        X_TYPE v[BATCH][GROUP];
        unsigned at[BATCH];
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            const int i = first + k * THREADS;
            const source s = find_source(args, t, i < count ? i : 0, chunk, split, to);
            at[k] = s.at;
#pragma unroll
            for (int j = 0; j < GROUP; j++) v[k][j] = s.inside && s.c + j < CHANNELS ? s.from[j * step] : tenon_from<X_TYPE>::make(0.0f);
        }
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            if (first + k * THREADS >= count) break;
#pragma unroll
            for (int j = 0; j < GROUP / 2; j++)
                asm volatile("st.shared.u32 [%0], %1;" ::"r"(at[k] + j * 4),
                             "r"(tenon_pack2<W_TYPE>(tenon_to_float(v[k][2 * j]), tenon_to_float(v[k][2 * j + 1]))) : "memory");
        }
    }
}

#if BEFORE
/* Through the program on x; its loads and those of x are under way together. What is outside stays zero. */
template <int BATCH> static __device__ __forceinline__ void fetch_through(const tenon_args &args, const tile &t, int chunk, int split, unsigned to)
{
    const int count = PIXELS * GROUPS_OF_CHUNK;
    const bool whole = args.aligned >> X_AT & 1;
#pragma unroll 1
    for (int first = threadIdx.x; first < count; first += THREADS * BATCH) {
        source s[BATCH];
        float v[BATCH][GROUP];
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            const int i = first + k * THREADS;
            s[k] = find_source(args, t, i < count ? i : 0, chunk, split, to);
#pragma unroll
            for (int j = 0; j < GROUP; j++) v[k][j] = 0.0f;
            if (!s[k].inside) continue;
            tenon_load<X_TYPE, GROUP, TENON_RUN>(s[k].from, 0, 1, whole, v[k]);
            tenon_before<GROUP>(args, s[k].n, s[k].c, v[k]);
        }
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            unsigned packed[GROUP / 2];
#pragma unroll
            for (int j = 0; j < GROUP / 2; j++) packed[j] = tenon_pack2<W_TYPE>(v[k][2 * j], v[k][2 * j + 1]);
            if (first + k * THREADS < count) tenon_sts16(s[k].at, packed);
        }
    }
}
#endif

static __device__ __forceinline__ void fetch_patch(const tenon_args &args, const tile &t, int chunk, int split, unsigned to)
{
#if BEFORE
    fetch_through<4>(args, t, chunk, split, to);
#else
    if (X_WHOLE && (args.aligned >> X_AT & 1)) {
#pragma unroll 4
        for (int i = threadIdx.x; i < PIXELS * GROUPS_OF_CHUNK; i += THREADS) {
            const source s = find_source(args, t, i, chunk, split, to);
            tenon_copy_async<16>(s.at, s.from, s.inside);
        }
    } else {
        fetch_slowly<X_WHOLE ? 1 : RUN ? 4 : 2>(args, t, chunk, split, to);
    }
#endif
    tenon_copy_commit();
}

/* This block's weights; they are constants, so nobody is waited for. */
static __device__ __forceinline__ void fetch_weights(const tenon_args &args, unsigned base, int split)
{
    const unsigned char *from = (const unsigned char *)args.at[W_AT] + (long long)(blockIdx.y * SPLIT + split) * WEIGHT_BYTES;
#if BULK
    if (threadIdx.x == 0) {
        tenon_barrier_init(base, 1);
        tenon_barrier_ready();
        tenon_barrier_expect(base, WEIGHT_BYTES);
        tenon_copy_bulk(base + AT_WEIGHT, from, WEIGHT_BYTES, base);
    }
    __syncwarp();
#else
    for (int i = threadIdx.x; i < WEIGHT_BYTES / 16; i += THREADS) tenon_copy_async<16>(base + AT_WEIGHT + i * 16, from + i * 16, true);
    tenon_copy_commit();
#endif
}

/* ---- sums ---- */
static __device__ __forceinline__ void multiply(const unsigned *patch, unsigned weights, int warp_k, int chunk, float (&sum)[MI][NI * 2][4])
{
#pragma unroll (TAPS * STEPS <= 64 ? TAPS : 1)
    for (int tap = 0; tap < TAPS; tap++)
#pragma unroll (STEPS <= 8 ? STEPS : 8)
        for (int step = 0; step < STEPS; step++) {
            const int k16 = chunk * (K16 / CHUNKS) + step * WK;
            const int corner = RUN ? tap * DILATION_H * PATCH_W : tap / KERNEL_W * DILATION_H * PATCH_W + tap % KERNEL_W * DILATION_W;
            unsigned a[MI][4], b[NI][4];
#pragma unroll
            for (int i = 0; i < MI; i++) {
                tenon_ldmatrix4(a[i], patch[i] + corner * PITCH + k16 * 32);
                if (RUN && KERNEL_W * CP % 16) { /* what stands behind the kernel's last column: times zero, if it is finite */
                    const int k = (k16 + warp_k) * 16 + (threadIdx.x & 3) * 2;
                    if (k >= KERNEL_W * CP) a[i][0] = a[i][1] = 0;
                    if (k + 8 >= KERNEL_W * CP) a[i][2] = a[i][3] = 0;
                }
            }
#pragma unroll
            for (int j = 0; j < NI; j++) tenon_lds16(b[j], weights + (tap * K16 + k16) * (BN * 32) + j * 512);
#pragma unroll
            for (int i = 0; i < MI; i++)
#pragma unroll
                for (int j = 0; j < NI; j++) {
                    tenon_mma<W_TYPE>::k16(sum[i][2 * j], a[i], b[j][0], b[j][1]);
                    tenon_mma<W_TYPE>::k16(sum[i][2 * j + 1], a[i], b[j][2], b[j][3]);
                }
        }
}

static __device__ __forceinline__ void wait_chunk(int chunk)
{
    switch (CHUNKS - 1 - chunk) {
    case 0: tenon_copy_wait<0>(); break;
    case 1: tenon_copy_wait<1>(); break;
    case 2: tenon_copy_wait<2>(); break;
    default: tenon_copy_wait<3>();
    }
    __syncthreads();
}

static __device__ __forceinline__ void keep_sums(unsigned to, int warp_m, int warp_n, int warp_k, const float (&sum)[MI][NI * 2][4])
{
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < MI; i++)
#pragma unroll
        for (int j = 0; j < NI * 2; j++) {
            const int m = (warp_m * MI + i) * 16 + lane / 4, n = (warp_n * NI * 2 + j) * 8 + lane % 4 * 2;
            const unsigned at = to + ((warp_k * BM + m) * SUM_PITCH + n) * 4;
            tenon_sts8(at, sum[i][j][0], sum[i][j][1]);
            tenon_sts8(at + 8 * SUM_PITCH * 4, sum[i][j][2], sum[i][j][3]);
        }
}

/* Adds COUNT parts, `apart` bytes from one another, in order. */
template <int COUNT> static __device__ __forceinline__ void add_parts(unsigned at, int apart, float *v, int count)
{
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        for (int q = 0; q < count; q += 4) {
            float part[4];
            tenon_lds16(part, at + i * apart + q * 4);
#pragma unroll
            for (int j = 0; j < 4; j++) v[q + j] = i ? v[q + j] + part[j] : part[j];
        }
}

#if TENON_SM_HAS(90)
/* The sums of every row go to the block that owns it. */
static __device__ __forceinline__ void push_sums(unsigned base, int split)
{
    for (int i = threadIdx.x; i < BM * BN / 4; i += THREADS) {
        const int m = i / (BN / 4), n = i % (BN / 4) * 4;
        float v[4];
        add_parts<WK>(base + AT_SUM + (m * SUM_PITCH + n) * 4, BM * SUM_PITCH * 4, v, 4);
        tenon_cluster_sts16(tenon_cluster_map(base + AT_PUSH + ((split * ROWS + m % ROWS) * BN + n) * 4, m / ROWS), v);
    }
    tenon_cluster_arrive();
    tenon_cluster_wait();
}
#endif

/* ---- results: ITEMS times 8 neighbouring filters a thread ---- */
#define ITEMS ((ROWS * (BN / 8) + THREADS - 1) / THREADS)
#define HOLDS (ITEMS * OPERANDS <= 4) /* operands are fetched beside the patch */

static __device__ __forceinline__ bool find_item(const tenon_args &args, const tile &t, int item, int split, int &row, int &column, int &n, int &h, int &w)
{
    const int i = threadIdx.x + item * THREADS;
    row = i / (BN / 8);
    column = i % (BN / 8) * 8;
    return find_result(args, t, split * ROWS + row, n, h, w) && row < ROWS && (int)blockIdx.y * BN + column < FILTERS;
}

static __device__ __forceinline__ void hold(const tenon_args &args, const tile &t, int split, tenon_held<8> (&held)[ITEMS])
{
#pragma unroll
    for (int item = 0; item < ITEMS; item++) {
        int row, column, n, h, w;
        long long at[TENSORS];
        if (!find_item(args, t, item, split, row, column, n, h, w)) continue;
        tenon_conv_place(args, n, 0, h, w, blockIdx.y * BN + column, at);
        tenon_hold<8>(args, at, held[item]);
    }
}

static __device__ __forceinline__ void add_item(unsigned base, int row, int column, float *v)
{
    if (SPLIT > 1) add_parts<SPLIT>(base + AT_PUSH + (row * BN + column) * 4, ROWS * BN * 4, v, 8);
    else add_parts<WK>(base + AT_SUM + (row * SUM_PITCH + column) * 4, BM * SUM_PITCH * 4, v, 8);
}

/* Every vector is whole and aligned. */
static __device__ __forceinline__ void finish_quickly(const tenon_args &args, const tile &t, unsigned base, int split, const tenon_held<8> (&held)[ITEMS])
{
    tenon_args known = args;
    known.aligned = ~0u;
#pragma unroll
    for (int item = 0; item < ITEMS; item++) {
        int row, column, n, h, w;
        long long at[TENSORS];
        float v[8];
        if (!find_item(args, t, item, split, row, column, n, h, w)) continue;
        tenon_conv_place(args, n, 0, h, w, blockIdx.y * BN + column, at);
        add_item(base, row, column, v);
        if (HOLDS && BIAS_TENSOR < 0) tenon_body_held<8>(known, at, v, held[item]);
        else tenon_conv_end<8>(known, at, v);
    }
}

static __device__ __forceinline__ void finish(const tenon_args &args, const tile &t, unsigned base, int split)
{
#pragma unroll 1
    for (int item = 0; item < ITEMS; item++) {
        int row, column, n, h, w;
        float v[8];
        if (!find_item(args, t, item, split, row, column, n, h, w)) continue;
        add_item(base, row, column, v);
        tenon_conv_finish<8>(args, n, 0, h, w, blockIdx.y * BN + column, FILTERS - (int)blockIdx.y * BN - column, v);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) tenon_conv_patch(const __grid_constant__ tenon_args args)
{
    const unsigned base = tenon_shared(tenon_block_memory);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, split = SPLIT > 1 ? blockIdx.x % SPLIT : 0;
    const int warp_m = warp % WM, warp_n = warp / WM % WN, warp_k = warp / (WM * WN);
    const tile t = find_tile(args);
    if (t.surplus) { /* the same for a whole cluster */
        tenon_wait();
        return;
    }
    fetch_weights(args, base, split);
#if SPLIT > 1 && TENON_SM_HAS(90)
    tenon_cluster_arrive_relaxed(); /* so that a push finds its block */
#endif
    unsigned patch[MI];
#pragma unroll
    for (int i = 0; i < MI; i++) {
        const int row = (warp_m * MI + i) * 16 + (lane & 15), m = row < TILE ? row : 0;
        patch[i] = base + AT_PATCH + (m / TW * STEP_H * PATCH_W + m % TW * STEP_W) * PITCH + (lane >> 4) * 16 + warp_k * 32;
    }
    const unsigned weights = base + AT_WEIGHT + warp_n * NI * 512 + lane * 16 + warp_k * (BN * 32);
    float sum[MI][NI * 2][4];
#pragma unroll
    for (int i = 0; i < MI * NI * 8; i++) sum[i / (NI * 8)][i / 4 % (NI * 2)][i % 4] = 0.0f;
    __syncthreads();
    tenon_wait();
    tenon_trigger();
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) fetch_patch(args, t, chunk, split, base + AT_PATCH);
    const bool quick = FILTERS % 8 == 0 && (args.aligned & ALIGNED) == ALIGNED;
    tenon_held<8> held[ITEMS];
    if (HOLDS && quick) hold(args, t, split, held);
#if BULK
    tenon_barrier_wait(base, 0);
#endif
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        wait_chunk(chunk);
        multiply(patch, weights, warp_k, chunk, sum);
    }
    __syncthreads();
    keep_sums(base + AT_SUM, warp_m, warp_n, warp_k, sum);
    __syncthreads();
#if SPLIT > 1
#if TENON_SM_HAS(90)
    tenon_cluster_wait();
    push_sums(base, split);
#else
    __trap(); /* clusters need sm_90 */
#endif
#endif
    if (quick) finish_quickly(args, t, base, split, held);
    else finish(args, t, base, split);
}
