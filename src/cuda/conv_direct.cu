/* SPDX-License-Identifier: Apache-2.0 */
/* Any convolution by fused multiply-adds in f32: one to three spatial axes, groups, strides of any layout, transposed ones by asking
   which inputs reach a result. A block makes BM results (n, d, h, w in order) of BN filters of a group, a thread TM x TN of them; depth
   is (tap, channel) in chunks of BK, the next of which is fetched while this one is computed.
   Y_PLANAR: neighbouring threads have neighbouring pixels, else neighbouring filters. X_PLANAR: the same when x is fetched. */
#define THREADS ((BM / TM) * (BN / TN))
#define LOADS_A (BM * BK / THREADS)
#define LOADS_B (BK * BN / THREADS)
#define TAPS (KERNEL_D * KERNEL_H * KERNEL_W)
#define DEPTH (TAPS * CHANNELS)
#define PITCH_A (BM + 4)
#define PITCH_B (BN + 4)
#define CHUNK (BK * (PITCH_A + PITCH_B))
static_assert(BM * BK % THREADS == 0 && BK * BN % THREADS == 0, "a chunk is shared evenly");

struct pixel { int n, d, h, w; bool inside; };

static __device__ __forceinline__ pixel find_pixel(const tenon_args &args, int m)
{
    const int od = RANK > 4 ? (int)tenon_size(args, RANK - 4) : 1, oh = RANK > 3 ? (int)tenon_size(args, RANK - 3) : 1;
    const int ow = (int)tenon_size(args, RANK - 2);
    pixel p;
    int rest = m / ow;
    p.w = m - rest * ow;
    p.h = rest % oh;
    rest /= oh;
    p.d = rest % od;
    p.n = rest / od;
    p.inside = p.n < (int)tenon_size(args, 0);
    return p;
}

/* The input index that a tap meets along one axis; false: none. */
static __device__ __forceinline__ bool meets(int out, int tap, int stride, int dilation, int begin, int in, int &at)
{
    if (TRANSPOSED) {
        at = out + begin - tap * dilation;
        const bool whole = at >= 0 && at % stride == 0;
        at /= stride;
        return whole && at < in;
    }
    at = out * stride + tap * dilation - begin;
    return at >= 0 && at < in;
}

static __device__ __forceinline__ void place_a(int i, int &m, int &k)
{
    const int at = threadIdx.x + i * THREADS;
    k = X_PLANAR ? at / BM : at % BK;
    m = X_PLANAR ? at % BM : at / BK;
}

static __device__ __forceinline__ void load_a(const tenon_args &args, const pixel *p, int group, int k0, float *out)
{
    const X_TYPE *x = (const X_TYPE *)args.at[X_AT];
#pragma unroll
    for (int i = 0; i < LOADS_A; i++) {
        int m, k, d, h, w;
        place_a(i, m, k);
        const int depth = k0 + k, tap = depth / CHANNELS, c = depth % CHANNELS + group * CHANNELS;
        const bool inside = p[i].inside && depth < DEPTH &&
                            meets(p[i].d, tap / (KERNEL_H * KERNEL_W), STRIDE_D, DILATION_D, (int)tenon_x(args, X_BEGIN), (int)tenon_x(args, X_IN), d) &&
                            meets(p[i].h, tap / KERNEL_W % KERNEL_H, STRIDE_H, DILATION_H, (int)tenon_x(args, X_BEGIN + 1), (int)tenon_x(args, X_IN + 1), h) &&
                            meets(p[i].w, tap % KERNEL_W, STRIDE_W, DILATION_W, (int)tenon_x(args, X_BEGIN + 2), (int)tenon_x(args, X_IN + 2), w);
        out[i] = inside ? tenon_to_float(x[p[i].n * tenon_x(args, X_STEP_N) + c * tenon_x(args, X_STEP_C) + d * tenon_x(args, X_STEP) +
                                           h * tenon_x(args, X_STEP + 1) + w * tenon_x(args, X_STEP + 2)])
                        : 0.0f;
    }
}

static __device__ __forceinline__ void load_b(const tenon_args &args, int group, int n0, int k0, float *out)
{
    const W_TYPE *w = (const W_TYPE *)args.at[W_AT] + (long long)group * W_STEP_GROUP;
#pragma unroll
    for (int i = 0; i < LOADS_B; i++) {
        const int at = threadIdx.x + i * THREADS, k = k0 + at / BN, n = n0 + at % BN;
        const long long place = (long long)n * W_STEP_FILTER + (k / CHANNELS) * W_STEP_TAP + (k % CHANNELS) * W_STEP_CHANNEL;
        out[i] = k < DEPTH && n < FILTERS ? tenon_to_float(w[place]) : 0.0f;
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
        const int at = threadIdx.x + i * THREADS;
        chunk[BK * PITCH_A + at / BN * PITCH_B + at % BN] = b[i];
    }
}

template <int N> struct __align__(N > 4 ? 16 : N * 4) numbers { float lane[N]; };

static __device__ __forceinline__ int row_of(int ty, int i) { return Y_PLANAR ? ty + i * (BM / TM) : ty * TM + i; }

static __device__ __forceinline__ void multiply(const float *chunk, int ty, int tx, float (&sum)[TM][TN])
{
#pragma unroll
    for (int k = 0; k < BK; k++) {
        numbers<TM> a;
        if (Y_PLANAR) {
#pragma unroll
            for (int i = 0; i < TM; i++) a.lane[i] = chunk[k * PITCH_A + row_of(ty, i)];
        } else {
            a = *(const numbers<TM> *)&chunk[k * PITCH_A + ty * TM];
        }
        const numbers<TN> b = *(const numbers<TN> *)&chunk[BK * PITCH_A + k * PITCH_B + tx * TN];
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TN; j++) sum[i][j] = fmaf(a.lane[i], b.lane[j], sum[i][j]);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) tenon_conv_direct(const __grid_constant__ tenon_args args)
{
    __shared__ __align__(16) float shared[2 * CHUNK];
    const int tiles_n = (FILTERS + BN - 1) / BN, group = blockIdx.y / tiles_n, n0 = blockIdx.y % tiles_n * BN, m0 = blockIdx.x * BM;
    const int ty = Y_PLANAR ? threadIdx.x % (BM / TM) : threadIdx.x / (BN / TN), tx = Y_PLANAR ? threadIdx.x / (BM / TM) : threadIdx.x % (BN / TN);
    bool surplus = false; /* the same for the whole block */
#pragma unroll
    for (int axis = 0; axis < RANK - 1; axis++) surplus |= tenon_size(args, axis) == 0;
    if (surplus || !find_pixel(args, m0).inside) {
        tenon_wait();
        return;
    }
    float a[LOADS_A], b[LOADS_B], sum[TM][TN];
    pixel p[LOADS_A];
#pragma unroll
    for (int i = 0; i < LOADS_A; i++) {
        int m, k;
        place_a(i, m, k);
        p[i] = find_pixel(args, m0 + m);
    }
#pragma unroll
    for (int i = 0; i < TM * TN; i++) sum[i / TN][i % TN] = 0.0f;
    if (W_CONSTANT) load_b(args, group, n0, 0, b);
    tenon_wait();
    tenon_trigger();
    load_a(args, p, group, 0, a);
    if (!W_CONSTANT) load_b(args, group, n0, 0, b);
    keep(shared, a, b);
    __syncthreads();
    int buffer = 0;
    for (int k0 = BK;; k0 += BK) {
        const bool more = k0 < DEPTH;
        if (more) {
            load_a(args, p, group, k0, a);
            load_b(args, group, n0, k0, b);
        }
        multiply(shared + buffer * CHUNK, ty, tx, sum);
        if (!more) break;
        buffer ^= 1;
        keep(shared + buffer * CHUNK, a, b);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < TM; i++) {
        const pixel q = find_pixel(args, m0 + row_of(ty, i));
        const int k = n0 + tx * TN;
        if (q.inside && k < FILTERS) tenon_conv_finish<TN>(args, q.n, q.d, q.h, q.w, group * FILTERS + k, FILTERS - k, sum[i]);
    }
}
