/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of a tensor, each reduced, or each made into a row by what it is as a whole (soft maxima, normalisations). A row is what lies along
   the axes of ROW_MASK. SLICES threads share a row. Where a row is contiguous (COLUMNS 0) they are neighbours,
       and a block has several rows;
   where the axis across rows is (COLUMNS 1) the neighbours are LANES vectors of columns,
       and a thread has VECTOR rows at once. With
   HOLD a thread's part of the row stays in registers between the passes, HOLD vectors of it; else each pass reads it again.

   CLUSTER blocks share rows that are long and few: what each knows of its part it writes into the shared memory of all, and all join it in
   the same order. BEFORE: x is what a program makes of tensor 0 and others. */
enum {
    ROW_MEAN, ROW_SUM, ROW_MAX, ROW_MIN, ROW_PROD, ROW_L1, ROW_L2, ROW_SUM_SQUARE, ROW_LOG_SUM, ROW_LOG_SUM_EXP, ROW_ARG_MAX,
        ROW_ARG_MIN,
    ROW_SOFTMAX, ROW_LOG_SOFTMAX, ROW_HARDMAX, ROW_LAYER_NORM, ROW_RMS_NORM, ROW_CHANNEL_NORM, ROW_BATCH_NORM, ROW_LP_NORM
};
#define IS_ROW(axis) (ROW_MASK >> (axis) & 1)
#define ALONG (COLUMNS ? VECTOR : 1) /* rows a thread works on */
#define ALL_SLICES (SLICES * CLUSTER)
/* Bytes of what threads tell one another, and how often they do. */
#define ENTRY (KIND == ROW_ARG_MAX || KIND == ROW_ARG_MIN || KIND == ROW_HARDMAX ? sizeof(tenon_found) : sizeof(tenon_number))
#define TURNS (KIND < ROW_LOG_SUM_EXP || ENTRY == sizeof(tenon_found) ? 1 : 2)
enum { WARPS = THREADS / 32, LANES = COLUMNS ? THREADS / SLICES : 1, WARP_LANES = LANES < 32 ? LANES : 32 };

typedef ROW_CLASS tenon_number;
struct tenon_found { tenon_number value; long long at; };
__shared__ __align__(16) unsigned char tenon_parts[WARPS * ALONG * WARP_LANES * ENTRY];
#if CLUSTER > 1
static_assert(COLUMNS || SLICES == THREADS, "blocks that share a row have one each");
__shared__ __align__(16) unsigned tenon_slot[TURNS][CLUSTER][ALONG * WARP_LANES][ENTRY / 4];
#endif

/* ---- where things are ---- */
static __device__ __forceinline__ unsigned tenon_row_size(const tenon_args &args, int axis)
{
    return (unsigned)tenon_size(args, axis) / (axis == GROUP_AXIS ? GROUPS : 1);
}

static __device__ __forceinline__ unsigned tenon_length(const tenon_args &args)
{
    unsigned n = 1;
#pragma unroll
    for (int axis = 0; axis < RANK; axis++)
        if (IS_ROW(axis)) n *= tenon_row_size(args, axis);
    return n;
}

/* Offsets of the first element of row `row`; false: there is no such row. */
static __device__ __forceinline__ bool tenon_row(const tenon_args &args, unsigned row, long long *at)
{
    unsigned rest = row;
    bool there = true;
    if (GROUPS > 1) {
        const unsigned group = rest % GROUPS;
        rest /= GROUPS;
#pragma unroll
        for (int t = 0; t < TENSORS; t++) at[t] += (long long)(group * tenon_row_size(args, GROUP_AXIS)) * tenon_step(args, t,
            GROUP_AXIS);
        if (BY_GROUP) at[1] += group, at[2] += group;
    }
#pragma unroll
    for (int axis = RANK - 1; axis >= 0; axis--) {
        if (IS_ROW(axis) || (COLUMNS && axis == RANK - 1)) continue;
        const unsigned size = (unsigned)tenon_size(args, axis);
        if (size == 0) {
            there = false;
            continue;
        }
        const unsigned i = rest % size;
        rest /= size;
#pragma unroll
        for (int t = 0; t < TENSORS; t++) at[t] += (long long)i * tenon_step(args, t, axis);
    }
    return there && rest == 0;
}

/* Offsets of the row's vector `e`. */
static __device__ __forceinline__ void tenon_within(const tenon_args &args, unsigned e, const long long *base, long long *at)
{
    const int first = __ffs(ROW_MASK) - 1;
    unsigned rest = e;
#pragma unroll
    for (int t = 0; t < TENSORS; t++) at[t] = base[t];
#pragma unroll
    for (int axis = RANK - 1; axis >= 0; axis--) {
        if (!IS_ROW(axis)) continue;
        const unsigned vector = !COLUMNS && axis == RANK - 1 ? VECTOR : 1, size = tenon_row_size(args, axis) / vector;
        unsigned i = rest;
        if (axis != first) {
            rest = i / size;
            i -= rest * size;
        }
#pragma unroll
        for (int t = 0; t < TENSORS; t++) at[t] += (long long)(i * vector) * tenon_step(args, t, axis);
    }
}

/* ---- the threads of a row agree ---- */
template <class T> static __device__ __forceinline__ T tenon_other(T v, int distance) { return __shfl_xor_sync(0xffffffffu, v,
    distance); }
static __device__ __forceinline__ tenon_found tenon_other(tenon_found v, int distance)
{
    return tenon_found{__shfl_xor_sync(0xffffffffu, v.value, distance), __shfl_xor_sync(0xffffffffu, v.at, distance)};
}

/* Those of a block. */
template <class T, class JOIN> static __device__ __forceinline__ void tenon_all_here(T (&v)[ALONG], JOIN join)
{
    const int slices = COLUMNS ? 32 / WARP_LANES : SLICES < 32 ? SLICES : 32; /* of a row in a warp */
    const int shared = COLUMNS ? WARPS : SLICES / 32;                         /* warps that share a row */
#pragma unroll
    for (int d = 1; d < slices; d *= 2)
#pragma unroll
        for (int i = 0; i < ALONG; i++) v[i] = join(v[i], tenon_other(v[i], d * WARP_LANES));
    if (shared <= 1) return;
    T *parts = (T *)tenon_parts;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    __syncthreads();
    if (lane < WARP_LANES)
#pragma unroll
        for (int i = 0; i < ALONG; i++) parts[(warp * ALONG + i) * WARP_LANES + lane] = v[i];
    __syncthreads();
    const int begin = COLUMNS ? 0 : warp / (shared > 1 ? shared : 1) * shared;
#pragma unroll
    for (int i = 0; i < ALONG; i++) {
        T sum = parts[(begin * ALONG + i) * WARP_LANES + lane % WARP_LANES];
        for (int w = 1; w < shared; w++) sum = join(sum, parts[((begin + w) * ALONG + i) * WARP_LANES + lane % WARP_LANES]);
        v[i] = sum;
    }
}

/* turn: how often they did before. */
template <class T, class JOIN> static __device__ __forceinline__ void tenon_all(T (&v)[ALONG], int turn, JOIN join)
{
    tenon_all_here(v, join);
#if CLUSTER > 1
    const int lane = threadIdx.x % WARP_LANES, own = (int)(blockIdx.x % CLUSTER);
    if (turn == 0) tenon_cluster_wait(); /* all blocks have begun */
    for (int k = threadIdx.x; k < CLUSTER * WARP_LANES; k += THREADS)
#pragma unroll
        for (int i = 0; i < ALONG; i++) {
            const unsigned *word = (const unsigned *)&v[i];
            const unsigned to = tenon_cluster_map(tenon_shared(&tenon_slot[turn][own][i * WARP_LANES + lane]), k / WARP_LANES);
#pragma unroll
            for (int j = 0; j < (int)ENTRY / 4; j++) asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(to + 4 * j), "r"(word[j]) : "memory");
        }
    __syncwarp();
    tenon_cluster_arrive();
    tenon_cluster_wait();
#pragma unroll
    for (int i = 0; i < ALONG; i++) {
        v[i] = *(const T *)tenon_slot[turn][0][i * WARP_LANES + lane];
#pragma unroll
        for (int r = 1; r < CLUSTER; r++) v[i] = join(v[i], *(const T *)tenon_slot[turn][r][i * WARP_LANES + lane]);
    }
#endif
}

static __device__ __forceinline__ tenon_number tenon_plus(tenon_number a, tenon_number b) { return a + b; }
static __device__ __forceinline__ tenon_number tenon_larger(tenon_number a, tenon_number b) { return b > a ? b : a; }
static __device__ __forceinline__ tenon_number tenon_smaller(tenon_number a, tenon_number b) { return b < a ? b : a; }
static __device__ __forceinline__ tenon_number tenon_times(tenon_number a, tenon_number b) { return a * b; }

/* ---- one thread's part of its rows ---- */
struct tenon_part {
    long long base[TENSORS];
    unsigned vectors, slice;
    mutable int turn; /* of what its rows' threads tell one another */
    tenon_number held[HOLD ? HOLD : 1][VECTOR];

    __device__ __forceinline__ void load(const tenon_args &args, unsigned e, tenon_number *v) const
    {
        long long at[TENSORS];
        tenon_within(args, e, base, at);
#if BEFORE
        tenon_before<VECTOR>(args, at, v);
#else
        tenon_load<X_TYPE, VECTOR, X_ACCESS>(args.at[0], at[0], tenon_step(args, 0, RANK - 1), args.aligned & 1, v);
#endif
    }
    __device__ __forceinline__ void fetch(const tenon_args &args)
    {
#pragma unroll
        for (int k = 0; k < HOLD; k++)
            if (k * ALL_SLICES + slice < vectors) load(args, k * ALL_SLICES + slice, held[k]);
    }
    /* f(e, values) of each vector */
    template <class F> __device__ __forceinline__ void each(const tenon_args &args, F f) const
    {
        if (HOLD) {
#pragma unroll
            for (int k = 0; k < HOLD; k++)
                if (k * ALL_SLICES + slice < vectors) f(k * ALL_SLICES + slice, held[k]);
        } else {
#pragma unroll 4
            for (unsigned e = slice; e < vectors; e += ALL_SLICES) {
                tenon_number v[VECTOR];
                load(args, e, v);
                f(e, v);
            }
        }
    }
    /* join over the row of step(value); all threads of the row get it */
    template <class STEP, class JOIN>
    __device__ __forceinline__ void fold(const tenon_args &args, tenon_number start, STEP step, JOIN join,
        tenon_number (&out)[ALONG]) const
    {
#pragma unroll
        for (int i = 0; i < ALONG; i++) out[i] = start;
        each(args, [&](unsigned, const tenon_number *v) {
#pragma unroll
            for (int i = 0; i < VECTOR; i++) out[COLUMNS ? i : 0] = join(out[COLUMNS ? i : 0], step(v[i], COLUMNS ? i : 0));
        });
        tenon_all(out, turn++, join);
    }
};

/* ---- reductions ---- */
/* Integers wrap to their type before a program sees them. */
static __device__ __forceinline__ tenon_class tenon_result(tenon_number v) { return tenon_make<tenon_class>(WRAPS ?
    tenon_round<Y_TYPE>(v) : v); }

static __device__ __forceinline__ tenon_number tenon_step_of(tenon_number v)
{
    if (KIND == ROW_L1) return v < 0 ? -v : v;
    return KIND == ROW_L2 || KIND == ROW_SUM_SQUARE ? v * v : v;
}

static __device__ __forceinline__ void tenon_reduce(const tenon_args &args, const tenon_part &part, tenon_number count,
    tenon_number (&v)[ALONG])
{
    const bool whole = sizeof(tenon_number) == 8 && (tenon_number)0.5 == (tenon_number)0;
    const tenon_number huge = whole ? (tenon_number)0x7fffffffffffffffll : (tenon_number)__uint_as_float(0x7f800000u);
    const auto step = [](tenon_number x, int) { return tenon_step_of(x); };
    if (KIND == ROW_MAX || KIND == ROW_LOG_SUM_EXP) part.fold(args, whole ? -huge - 1 : -huge, step, tenon_larger, v);
    else if (KIND == ROW_MIN) part.fold(args, huge, step, tenon_smaller, v);
    else if (KIND == ROW_PROD) part.fold(args, 1, step, tenon_times, v);
    else part.fold(args, 0, step, tenon_plus, v);
    if (KIND == ROW_LOG_SUM_EXP) {
        tenon_number most[ALONG];
#pragma unroll
        for (int i = 0; i < ALONG; i++) most[i] = v[i];
        part.fold(args, 0, [&](tenon_number x, int i) { return (tenon_number)TENON_EXP(x - most[i]); }, tenon_plus, v);
#pragma unroll
        for (int i = 0; i < ALONG; i++) v[i] = most[i] == huge ||
            most[i] == -huge ? most[i] : most[i] + (tenon_number)TENON_LOG(v[i]);
    }
#pragma unroll
    for (int i = 0; i < ALONG; i++) {
        if (KIND == ROW_MEAN) v[i] = count != 0 || !whole ? v[i] / count : 0;
        if ((KIND == ROW_MAX || KIND == ROW_MIN) && whole && count == 0) v[i] = 0;
        if (KIND == ROW_L2) v[i] = (tenon_number)TENON_SQRT(v[i]);
        if (KIND == ROW_LOG_SUM) v[i] = (tenon_number)TENON_LOG(v[i]);
    }
}

/* The first (or last) of equal extremes. What is not a number never wins, but where it is the row's first element nothing beats it. */
static __device__ __forceinline__ tenon_found tenon_better(tenon_found a, tenon_found b)
{
    if (a.at < 0 || b.at < 0) return a.at < 0 ? b : a;
    const tenon_found early = a.at < b.at ? a : b, late = a.at < b.at ? b : a;
    if (early.value != early.value) return early.at == 0 ? early : late;
    const bool better = KIND == ROW_ARG_MIN ? late.value < early.value : late.value > early.value;
    return better || (LAST_INDEX && late.value == early.value) ? late : early;
}

static __device__ __forceinline__ void tenon_find(const tenon_args &args, const tenon_part &part, tenon_found (&best)[ALONG])
{
#pragma unroll
    for (int i = 0; i < ALONG; i++) best[i] = tenon_found{0, -1};
    part.each(args, [&](unsigned e, const tenon_number *v) {
#pragma unroll
        for (int i = 0; i < VECTOR; i++) {
            const tenon_found mine = {v[i], COLUMNS ? (long long)e : (long long)e * VECTOR + i};
            tenon_found &to = best[COLUMNS ? i : 0];
            to = tenon_better(to, mine);
        }
    });
    tenon_all(best, part.turn++, tenon_better);
}

/* ---- rows of results ---- */
/* y = f(x, column of the thread, which of the vector) for each element; then the program. */
template <class F> static __device__ __forceinline__ void tenon_write(const tenon_args &args, const tenon_part &part, F f)
{
    part.each(args, [&](unsigned e, const tenon_number *v) {
        long long at[TENSORS];
        tenon_class y[VECTOR];
        tenon_number scale[VECTOR], shift[VECTOR];
        tenon_within(args, e, part.base, at);
        if (SCALE) TENON_LOAD_SCALE(args, at, scale);
        if (SHIFT) TENON_LOAD_SHIFT(args, at, shift);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) {
            tenon_number r = f(v[i], COLUMNS ? i : 0, COLUMNS ? (long long)e : (long long)e * VECTOR + i);
            if (SCALE) r *= scale[i];
            if (SHIFT) r += shift[i];
            y[i] = tenon_make<tenon_class>(r);
        }
        tenon_body<VECTOR>(args, at, y);
    });
}

static __device__ __forceinline__ void tenon_soften(const tenon_args &args, const tenon_part &part)
{
    tenon_number most[ALONG], sum[ALONG];
    part.fold(args, -(tenon_number)__uint_as_float(0x7f800000u), [](tenon_number x, int) { return x; }, tenon_larger, most);
    part.fold(args, 0, [&](tenon_number x, int i) { return (tenon_number)TENON_EXP(x - most[i]); }, tenon_plus, sum);
#pragma unroll
    for (int i = 0; i < ALONG; i++) sum[i] = KIND == ROW_LOG_SOFTMAX ? (tenon_number)TENON_LOG(sum[i]) : 1 / sum[i];
    tenon_write(args, part, [&](tenon_number x, int i, long long) {
        return KIND == ROW_LOG_SOFTMAX ? x - most[i] - sum[i] : (tenon_number)TENON_EXP(x - most[i]) * sum[i];
    });
}

static __device__ __forceinline__ void tenon_normalise(const tenon_args &args, const tenon_part &part, tenon_number count,
    bool writer)
{
    tenon_number mean[ALONG], inverse[ALONG];
    if (KIND == ROW_LP_NORM) {
        part.fold(args, 0, [](tenon_number x, int) { return LP == 2 ? x * x : x < 0 ? -x : x; }, tenon_plus, inverse);
#pragma unroll
        for (int i = 0; i < ALONG; i++) inverse[i] = LP == 2 ? (tenon_number)TENON_SQRT(inverse[i]) : inverse[i];
        tenon_write(args, part, [&](tenon_number x, int i, long long) { return inverse[i] == 0 ? 0 : x / inverse[i]; });
        return;
    }
    if (KIND == ROW_BATCH_NORM) {
        if (!part.vectors) return; /* no such column: it has no mean either, and nobody waits for this thread */
        TENON_LOAD_MEAN(args, part.base, mean);
        TENON_LOAD_VARIANCE(args, part.base, inverse);
    } else {
        if (KIND == ROW_RMS_NORM) {
#pragma unroll
            for (int i = 0; i < ALONG; i++) mean[i] = 0;
        } else {
            part.fold(args, 0, [](tenon_number x, int) { return x; }, tenon_plus, mean);
#pragma unroll
            for (int i = 0; i < ALONG; i++) mean[i] /= count;
        }
        part.fold(args, 0, [&](tenon_number x, int i) { return (x - mean[i]) * (x - mean[i]); }, tenon_plus, inverse);
#pragma unroll
        for (int i = 0; i < ALONG; i++) inverse[i] /= count;
    }
#pragma unroll
    for (int i = 0; i < ALONG; i++) inverse[i] = 1 / (tenon_number)TENON_SQRT(inverse[i] + (tenon_number)EPSILON);
    if (writer) tenon_statistics(args, part.base, mean, inverse);
    tenon_write(args, part, [&](tenon_number x, int i, long long) { return (x - mean[i]) * inverse[i]; });
}

/* ---- the kernel ---- */
extern "C" __global__ void __launch_bounds__(THREADS) tenon_rows(const __grid_constant__ tenon_args args)
{
    tenon_part part;
    const unsigned length = tenon_length(args), block = blockIdx.x / CLUSTER, first = blockIdx.x % CLUSTER * SLICES;
    unsigned row;
#if CLUSTER > 1
    tenon_cluster_arrive_relaxed();
#endif
    part.turn = 0;
#pragma unroll
    for (int t = 0; t < TENSORS; t++) part.base[t] = 0;
    bool there = true;
    if (COLUMNS) {
        const unsigned columns = (unsigned)tenon_size(args, RANK - 1) / VECTOR, blocks = (columns + LANES - 1) / LANES;
        const unsigned column = blocks ? block % blocks * LANES + threadIdx.x % LANES : 0;
        row = blocks ? block / blocks : 0;
        there = column < columns;
#pragma unroll
        for (int t = 0; t < TENSORS; t++) part.base[t] += (long long)(column * VECTOR) * tenon_step(args, t, RANK - 1);
        part.slice = first + threadIdx.x / LANES;
        part.vectors = length;
    } else {
        row = block * (THREADS / SLICES) + threadIdx.x / SLICES;
        part.slice = first + threadIdx.x % SLICES;
        part.vectors = length / VECTOR;
    }
    there &= tenon_row(args, row, part.base);
    if (!there) part.vectors = 0; /* it takes part in what the block does together */
    const bool writer = there && part.slice == 0;
    tenon_wait();
    tenon_trigger();
    part.fetch(args);
    if (KIND <= ROW_ARG_MIN) {
        tenon_class y[ALONG];
        if (KIND >= ROW_ARG_MAX) {
            tenon_found best[ALONG];
            tenon_find(args, part, best);
#pragma unroll
            for (int i = 0; i < ALONG; i++) y[i] = tenon_make<tenon_class>(best[i].at);
        } else {
            tenon_number v[ALONG];
            tenon_reduce(args, part, (tenon_number)length, v);
#pragma unroll
            for (int i = 0; i < ALONG; i++) y[i] = tenon_result(v[i]);
        }
        if (writer) tenon_body<ALONG>(args, part.base, y);
    } else if (KIND == ROW_HARDMAX) {
        tenon_found best[ALONG];
        tenon_find(args, part, best);
        tenon_write(args, part, [&](tenon_number, int i, long long at) { return (tenon_number)(at == best[i].at); });
    } else if (KIND == ROW_SOFTMAX || KIND == ROW_LOG_SOFTMAX) {
        tenon_soften(args, part);
    } else {
        tenon_normalise(args, part, (tenon_number)length, writer);
    }
}
