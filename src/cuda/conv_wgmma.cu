/* SPDX-License-Identifier: Apache-2.0 */
/* A convolution as a product for wgmma.cu: rows are results (n, h, w in order), depth is (tap, 64 channels at a time). A row's part of a
   tap is fetched from its pixel, zeros where the tap is outside. */
#define ELEMENT W_TYPE
#define LOADS (BM / 32) /* of a thread: rows threadIdx.x / 8 + 32 i, always the same 16 bytes of 128 */
#define CHUNKS ((CHANNELS + 63) / 64)

struct place {
    const unsigned char *weights;
    int chunks, m0, k0, group;
    int offset[LOADS], h[LOADS], w[LOADS]; /* of the pixel of tap 0; h far outside: no row */
};
struct cursor { int r, s, c; }; /* tap and first channel */

static __device__ __forceinline__ void begin(cursor &t) { t.r = t.s = t.c = 0; }
static __device__ __forceinline__ void next(cursor &t)
{
    t.c += 64;
    if (t.c < CHANNELS) return;
    t.c = 0;
    if (++t.s < KERNEL_W) return;
    t.s = 0;
    t.r++;
}

static __device__ __forceinline__ bool find_place(const tenon_args &args, place &p)
{
    constexpr unsigned tiles = (FILTERS + BN - 1) / BN, columns = tiles * GROUPS;
    const unsigned column = blockIdx.x % columns;
    int n, h, w;
    bool surplus = false; /* the same for the whole block */
    p.m0 = blockIdx.x / columns * BM;
    p.group = column / tiles;
    p.k0 = column % tiles * BN;
    p.chunks = KERNEL_H * KERNEL_W * CHUNKS;
    p.weights = (const unsigned char *)args.at[W_AT] + (long long)column * (KERNEL_H * KERNEL_W * CHUNKS) * (BN * 128);
#pragma unroll
    for (int axis = 0; axis < RANK - 1; axis++) surplus |= tenon_size(args, axis) == 0;
    if (surplus || !tenon_conv_pixel(args, p.m0, n, h, w)) return false;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const bool inside = tenon_conv_pixel(args, p.m0 + threadIdx.x / 8 + i * 32, n, h, w);
        p.h[i] = inside ? h * STRIDE_H - (int)tenon_x(args, X_BEGIN + 1) : -(1 << 29);
        p.w[i] = w * STRIDE_W - (int)tenon_x(args, X_BEGIN + 2);
        const int rows = p.h[i] * (int)tenon_x(args, X_STEP + 1), across = p.w[i] * (int)tenon_x(args, X_STEP + 2);
        p.offset[i] = inside ? n * (int)tenon_x(args, X_STEP_N) + rows + across + p.group * CHANNELS : 0;
    }
    return true;
}

static __device__ __forceinline__ void fetch_a(const tenon_args &args, const place &p, const cursor &t, unsigned to)
{
    const X_TYPE *x = (const X_TYPE *)args.at[X_AT];
    const int in_h = (int)tenon_x(args, X_IN + 1), in_w = (int)tenon_x(args, X_IN + 2);
    const int tap = t.r * DILATION_H * (int)tenon_x(args, X_STEP + 1) + t.s * DILATION_W * (int)tenon_x(args, X_STEP + 2);
    const int part = threadIdx.x % 8, first = threadIdx.x / 8, c = t.c + part * 8;
    const bool whole = args.aligned >> X_AT & 1;
    to += first * 128 + ((part ^ first % 8) << 4);
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int h = p.h[i] + t.r * DILATION_H, w = p.w[i] + t.s * DILATION_W;
        const bool there = POINT ? p.h[i] >= 0 : h >= 0 && h < in_h && w >= 0 && w < in_w, inside = there && c < CHANNELS;
        const X_TYPE *from = inside ? x + p.offset[i] + tap + c : x;
        if (whole) {
            tenon_copy_async<16>(to + i * 32 * 128, from, inside);
            continue;
        }
        tenon_vector<X_TYPE, 8> v; /* an address that vectors do not fit */
#pragma unroll
        for (int k = 0; k < 8; k++) v.lane[k] = inside ? from[k] : tenon_from<X_TYPE>::make(0.0f);
        tenon_sts16(to + i * 32 * 128, (const unsigned *)&v);
    }
}

static __device__ __forceinline__ bool find_vector(const tenon_args &args, const place &p, int row, int column, long long *at)
{
    int n, h, w;
    if (p.k0 + column >= FILTERS || !tenon_conv_pixel(args, p.m0 + row, n, h, w)) return false;
    tenon_conv_place(args, n, 0, h, w, p.group * FILTERS + p.k0 + column, at);
    return true;
}

static __device__ __forceinline__ void give(const tenon_args &args, const place &p, int row, int column, float *v)
{
    int n, h, w;
    const int left = FILTERS - p.k0 - column;
    if (left > 0 && tenon_conv_pixel(args, p.m0 + row, n, h, w)) tenon_conv_finish<8>(args, n, 0, h, w, p.group * FILTERS + p.k0 + column, left, v);
}

static __device__ __forceinline__ bool is_quick(const tenon_args &args)
{
    return BIAS_TENSOR < 0 && FILTERS % 8 == 0 && (args.aligned & ALIGNED) == ALIGNED;
}
