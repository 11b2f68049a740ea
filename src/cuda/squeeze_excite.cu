/* SPDX-License-Identifier: Apache-2.0 */
/* Squeeze-excite: the mean of each channel, two small products with their programs, one launch. CLUSTER blocks (neighbours along x) have
   an image, and meet twice:

       1  a block adds up its pixels, all channels, and pushes each sum to the block that owns the channel
       2  the owner has the mean, multiplies it with its columns of the first weights, and pushes its part of every hidden value to all
       3  a block adds up the parts, and makes the results of its own channels from its rows of the second weights

   so each weight is read once an image, and nobody waits for anything but these two pushes. Weights are constants: FETCH has them in
   shared memory before the step before has ended. CHANNELS and HIDDEN are padded to whole vectors; sums behind the last channel are zero.

   Shared memory, floats: sums [LANES_P][CP] | pushed sums [CLUSTER][OWN] | means [OWN] | parts [CLUSTER][HP] | hidden [HP]; then the
   weights [HIDDEN][PITCH] and [OWN][HIDDEN].                                                                                          */
#define VECTOR (16 / (int)sizeof(X_TYPE))
#define CP ((CHANNELS + 7) / 8 * 8)
#define HP ((HIDDEN + 7) / 8 * 8)
#define OWN ((CP / 8 + CLUSTER - 1) / CLUSTER * 8) /* channels of a block */
#define PITCH ((OWN / 8 | 1) * 8)
#define VECTORS (CP / VECTOR)
#define LANES_C (VECTORS < THREADS ? VECTORS : THREADS)
#define LANES_P (THREADS / LANES_C)
#define QUADS (CP / 4)
#define SLICES (LANES_P > 12 && THREADS >= 8 * QUADS ? 8 : 1)
#define AT_PUSH (LANES_P * CP)
#define AT_MEAN (AT_PUSH + CLUSTER * OWN)
#define AT_PART (AT_MEAN + OWN)
#define AT_HIDDEN (AT_PART + CLUSTER * HP)
#define AT_WEIGHTS (AT_HIDDEN + HP)
#define BATCH 8 /* loads of a thread under way */
/* Elements of a weight's row read at once, and lanes that share a row. */
#define VECTOR_1 (FETCH || CHANNELS % 8 == 0 ? VECTOR : 1)
#define VECTOR_2 (HIDDEN % VECTOR == 0 ? VECTOR : HIDDEN % 4 == 0 ? 4 : HIDDEN % 2 == 0 ? 2 : 1)
#if CLUSTER > 1
#define MEETS TENON_SM_HAS(90)
#else
#define MEETS 0
#endif
static_assert(CLUSTER == 1 || CLUSTER == 2 || CLUSTER == 4 || CLUSTER == 8, "a cluster");
static_assert(THREADS % 32 == 0, "whole warps");

extern __shared__ __align__(128) unsigned char tenon_block_memory[];

static constexpr __device__ int lanes_of(int rows, int vectors)
{
    int lanes = 1;
    while (lanes < 32 && rows * lanes * 2 <= THREADS && lanes * 2 <= vectors) lanes *= 2;
    return lanes;
}

/* ---- what blocks of a cluster say to one another ---- */
static __device__ __forceinline__ void push4(float *to, int rank, const float *v)
{
#if CLUSTER > 1
#if MEETS
    tenon_cluster_sts16(tenon_cluster_map(tenon_shared(to), rank), v);
#endif
#else
#pragma unroll
    for (int i = 0; i < 4; i++) to[i] = v[i];
#endif
}

#if MEETS
static __device__ __forceinline__ void tenon_cluster_sts4(unsigned at, float v)
{
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(at), "f"(v) : "memory");
}
#endif

static __device__ __forceinline__ void push(float *to, int rank, float v)
{
#if CLUSTER > 1
#if MEETS
    tenon_cluster_sts4(tenon_cluster_map(tenon_shared(to), rank), v);
#endif
#else
    *to = v;
#endif
}

static __device__ __forceinline__ void meet()
{
#if CLUSTER > 1
#if MEETS
    __syncwarp(); /* whole warps come */
    tenon_cluster_arrive();
    tenon_cluster_wait();
#else
    __trap(); /* clusters need sm_90 */
#endif
#else
    __syncthreads();
#endif
}

/* ---- weights ---- */
template <int V> static __device__ __forceinline__ void copy(W_TYPE *to, const W_TYPE *from)
{
    *(tenon_vector<W_TYPE, V> *)to = *(const tenon_vector<W_TYPE, V> *)from;
}

#if FETCH
/* Columns [c0, c0 + OWN) of the first, rows of the second; zeros behind the last channel. */
static __device__ __forceinline__ void fetch_weights(const tenon_args &args, int c0, W_TYPE *first, W_TYPE *second)
{
    const W_TYPE *from = (const W_TYPE *)args.at[W1_AT];
    const int owned = CHANNELS - c0 < OWN ? CHANNELS - c0 : OWN;
    if (CHANNELS % VECTOR == 0 && (args.aligned >> W1_AT & 1)) {
#pragma unroll 4
        for (int i = threadIdx.x; i < HIDDEN * (OWN / VECTOR); i += THREADS) {
            const int row = i / (OWN / VECTOR), c = i % (OWN / VECTOR) * VECTOR;
            tenon_vector<W_TYPE, VECTOR> v;
#pragma unroll
            for (int k = 0; k < VECTOR; k++) v.lane[k] = tenon_from<W_TYPE>::make(0.0f);
            if (c < owned) v = *(const tenon_vector<W_TYPE, VECTOR> *)(from + row * CHANNELS + c0 + c);
            *(tenon_vector<W_TYPE, VECTOR> *)(first + row * PITCH + c) = v;
        }
    } else {
#pragma unroll 8
        for (int i = threadIdx.x; i < HIDDEN * OWN; i += THREADS) {
            const int row = i / OWN, c = i % OWN;
            first[row * PITCH + c] = c < owned ? from[row * CHANNELS + c0 + c] : tenon_from<W_TYPE>::make(0.0f);
        }
    }
    if (owned <= 0) return;
    from = (const W_TYPE *)args.at[W2_AT] + c0 * HIDDEN;
    const int whole = args.aligned >> W2_AT & 1 ? owned * HIDDEN / VECTOR : 0;
#pragma unroll 4
    for (int i = threadIdx.x; i < whole; i += THREADS) copy<VECTOR>(second + i * VECTOR, from + i * VECTOR);
    for (int i = whole * VECTOR + threadIdx.x; i < owned * HIDDEN; i += THREADS) second[i] = from[i];
}
#endif

/* The lane's part of a row times x; `count` elements. */
template <int V> static __device__ __forceinline__ float dot(const W_TYPE *row, const float *x, int count, int lane, int lanes)
{
    float sum = 0.0f;
#pragma unroll 4
    for (int i = lane * V; i < count; i += lanes * V) {
        const tenon_vector<W_TYPE, V> w = *(const tenon_vector<W_TYPE, V> *)(row + i);
        const tenon_vector<float, V> f = *(const tenon_vector<float, V> *)(x + i);
#pragma unroll
        for (int k = 0; k < V; k++) sum = fmaf(tenon_to_float(w.lane[k]), f.lane[k], sum);
    }
    return sum;
}

static __device__ __forceinline__ float add_lanes(float v, int lanes)
{
#pragma unroll
    for (int d = 16; d > 0; d /= 2)
        if (d < lanes) v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
}

/* ---- 1: sums of this block's pixels ---- */
static __device__ __forceinline__ void load(const tenon_args &args, const X_TYPE *from, int c, bool whole, float *v)
{
    if (whole) {
        tenon_load<X_TYPE, VECTOR, TENON_RUN>(from, c, 1, true, v);
        return;
    }
#pragma unroll
    for (int i = 0; i < VECTOR; i++) v[i] = c + i < CHANNELS ? tenon_to_float(from[c + i]) : 0.0f;
}

static __device__ __forceinline__ void add_pixels(const tenon_args &args, int image, int rank, bool whole, float *sums)
{
    const int width = (int)tenon_number(args, NUMBER_W), pixels = (int)tenon_number(args, NUMBER_H) * width, each = (pixels + CLUSTER - 1) / CLUSTER;
    const int begin = rank * each, end = begin + each < pixels ? begin + each : pixels;
    const long long step_h = tenon_number(args, NUMBER_STEP_H), step_w = tenon_number(args, NUMBER_STEP_W);
    const bool dense = step_h == step_w * width;
    const X_TYPE *x = (const X_TYPE *)args.at[X_AT] + image * tenon_number(args, NUMBER_STEP_N);
    const int lane_c = threadIdx.x % LANES_C, lane_p = threadIdx.x / LANES_C;
    if (lane_p >= LANES_P) return;
#pragma unroll 1
    for (int vector = lane_c; vector < VECTORS; vector += LANES_C) {
        float sum[VECTOR];
#pragma unroll
        for (int i = 0; i < VECTOR; i++) sum[i] = 0.0f;
#pragma unroll 1
        for (int first = begin + lane_p; first < end; first += LANES_P * BATCH) {
            float v[BATCH][VECTOR];
#pragma unroll
            for (int k = 0; k < BATCH; k++) {
                const int p = first + k * LANES_P;
#pragma unroll
                for (int i = 0; i < VECTOR; i++) v[k][i] = 0.0f;
                if (p < end) load(args, x + (dense ? p * step_w : p / width * step_h + p % width * step_w), vector * VECTOR, whole, v[k]);
            }
#pragma unroll
            for (int k = 0; k < BATCH; k++)
#pragma unroll
                for (int i = 0; i < VECTOR; i++) sum[i] += v[k][i];
        }
#pragma unroll
        for (int i = 0; i < VECTOR; i++) sums[lane_p * CP + vector * VECTOR + i] = sum[i];
    }
}

static __device__ __forceinline__ void add_rows(const float *sums, int quad, int begin, int step, float *v)
{
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = 0.0f;
#pragma unroll 4
    for (int row = begin; row < LANES_P; row += step) {
        const tenon_vector<float, 4> part = *(const tenon_vector<float, 4> *)(sums + row * CP + quad * 4);
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] += part.lane[i];
    }
}

/* Rows of sums are added up, the result goes to the owner of the channels. */
static __device__ __forceinline__ void push_sums(float *sums, float *pushed, int rank)
{
    __syncthreads();
    float v[4];
    if (SLICES > 1) { /* row s takes s, s + SLICES, ... */
        const int quad = threadIdx.x % QUADS, slice = threadIdx.x / QUADS;
        if (slice < SLICES) {
            add_rows(sums, quad, slice, SLICES, v);
#pragma unroll
            for (int i = 0; i < 4; i++) sums[slice * CP + quad * 4 + i] = v[i];
        }
        __syncthreads();
    }
    for (int quad = threadIdx.x; quad < QUADS; quad += THREADS) {
        if (SLICES > 1) {
#pragma unroll
            for (int i = 0; i < 4; i++) v[i] = sums[quad * 4 + i];
#pragma unroll
            for (int row = 1; row < SLICES; row++)
#pragma unroll
                for (int i = 0; i < 4; i++) v[i] += sums[row * CP + quad * 4 + i];
        } else {
            add_rows(sums, quad, 0, 1, v);
        }
        push4(pushed + rank * OWN + quad * 4 % OWN, quad * 4 / OWN, v);
    }
}

/* ---- 2 and 3 ---- */
static __device__ __forceinline__ void push_parts(const tenon_args &args, const W_TYPE *w, int pitch, bool vectors, int owned, const float *mean,
                                                  float *parts, int rank)
{
    constexpr int lanes = lanes_of(HIDDEN, OWN / VECTOR_1);
    const int lane = threadIdx.x % lanes;
#pragma unroll 1
    for (int first = 0; first < HIDDEN; first += THREADS / lanes) {
        const int j = first + threadIdx.x / lanes;
        float sum = 0.0f;
        if (j < HIDDEN) sum = vectors ? dot<VECTOR_1>(w + j * pitch, mean, owned, lane, lanes) : dot<1>(w + j * pitch, mean, owned, lane, lanes);
        sum = add_lanes(sum, lanes);
        if (j < HIDDEN)
            for (int r = lane; r < CLUSTER; r += lanes) push(parts + rank * HP + j, r, sum);
    }
}

static __device__ __forceinline__ void write(const tenon_args &args, const W_TYPE *w, bool vectors, int image, int c0, int owned, const float *hidden)
{
    constexpr int lanes = lanes_of(OWN, (HIDDEN + VECTOR_2 - 1) / VECTOR_2);
    const int lane = threadIdx.x % lanes;
#pragma unroll 1
    for (int first = 0; first < OWN; first += THREADS / lanes) {
        const int c = first + threadIdx.x / lanes;
        float sum = 0.0f;
        if (c < owned) sum = vectors ? dot<VECTOR_2>(w + c * HIDDEN, hidden, HIDDEN, lane, lanes) : dot<1>(w + c * HIDDEN, hidden, HIDDEN, lane, lanes);
        sum = add_lanes(sum, lanes);
        if (c >= owned || lane) continue;
#if BIAS_2 >= 0
        sum += tenon_to_float(((const BIAS_2_TYPE *)args.at[BIAS_2])[c0 + c]);
#endif
        tenon_last<1>(args, image, c0 + c, &sum);
        ((Y_TYPE *)args.at[Y_AT])[image * Y_STEP_N + (c0 + c) * Y_STEP_C] = tenon_make<Y_TYPE>(sum);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) tenon_squeeze_excite(const __grid_constant__ tenon_args args)
{
    float *memory = (float *)tenon_block_memory;
    float *pushed = memory + AT_PUSH, *mean = memory + AT_MEAN, *parts = memory + AT_PART, *hidden = memory + AT_HIDDEN;
    const int image = blockIdx.x / CLUSTER, rank = CLUSTER > 1 ? blockIdx.x % CLUSTER : 0, c0 = rank * OWN;
    const int owned = CHANNELS - c0 < 0 ? 0 : CHANNELS - c0 < OWN ? CHANNELS - c0 : OWN;
    if (image >= (int)tenon_number(args, NUMBER_N)) { /* the same for a whole cluster */
        tenon_wait();
        return;
    }
#if FETCH
    W_TYPE *first = (W_TYPE *)(memory + AT_WEIGHTS), *second = first + HIDDEN * PITCH;
    const int pitch = PITCH;
    const bool vectors_1 = true, vectors_2 = true;
    fetch_weights(args, c0, first, second);
#else
    const W_TYPE *first = (const W_TYPE *)args.at[W1_AT] + c0, *second = (const W_TYPE *)args.at[W2_AT] + c0 * HIDDEN;
    const int pitch = CHANNELS;
    const bool vectors_1 = args.aligned >> W1_AT & 1, vectors_2 = args.aligned >> W2_AT & 1;
#endif
    tenon_hidden_touch(args, threadIdx.x, HIDDEN);
    tenon_last_touch(args, c0 + threadIdx.x, c0 + owned);
#if MEETS
    tenon_cluster_arrive_relaxed(); /* so that a push finds its block */
#endif
    tenon_wait();
    tenon_trigger();
    add_pixels(args, image, rank, CHANNELS % VECTOR == 0 && (args.aligned >> X_AT & 1), memory);
#if MEETS
    __syncwarp();
    tenon_cluster_wait();
#endif
    push_sums(memory, pushed, rank);
    meet();
    const float count = (float)(tenon_number(args, NUMBER_H) * tenon_number(args, NUMBER_W));
    for (int c = threadIdx.x; c < OWN; c += THREADS) {
        float sum = pushed[c];
#pragma unroll
        for (int r = 1; r < CLUSTER; r++) sum += pushed[r * OWN + c];
        mean[c] = c < owned ? sum / count : 0.0f;
    }
    __syncthreads();
    push_parts(args, first, pitch, vectors_1, FETCH ? OWN : owned, mean, parts, rank);
    meet();
    for (int j = threadIdx.x; j < HIDDEN; j += THREADS) {
        float sum = parts[j];
#pragma unroll
        for (int r = 1; r < CLUSTER; r++) sum += parts[r * HP + j];
#if BIAS_1 >= 0
        sum += tenon_to_float(((const BIAS_1_TYPE *)args.at[BIAS_1])[j]);
#endif
        tenon_hidden<1>(args, image, j, &sum);
        hidden[j] = sum;
    }
    __syncthreads();
    write(args, second, vectors_2, image, c0, owned, hidden);
}
