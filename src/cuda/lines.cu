/* SPDX-License-Identifier: Apache-2.0 */
/* The k best of each line (LINES_TOP_K: a block a line) and running sums along lines (a warp a line where it is contiguous, else a thread).
   The line is the last axis of the space; tensor 0 is x. AXIS_READ: the axis of running sums is read from memory, behind the tensors.

   top_k keeps KEPT entries of a buffer of ROOM: what is better than the last of them is appended,
       and when the room behind them is used up
   the buffer is sorted. Entries are distinct (the index is part of the order), so the order in which they are appended does not matter. */
static __device__ __forceinline__ bool tenon_line(const tenon_args &args, unsigned line, long long *at)
{
    unsigned rest = line;
    bool there = true;
#pragma unroll
    for (int t = 0; t < TENSORS; t++) at[t] = 0;
#pragma unroll
    for (int axis = RANK - 2; axis >= 0; axis--) {
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

#if LINES_TOP_K
struct tenon_entry {
    tenon_key key;
    unsigned index;
    /* a comes first */
    static __device__ __forceinline__ bool before(const tenon_entry &a, const tenon_entry &b)
    {
        return a.key != b.key ? a.key > b.key : a.index < b.index;
    }
};
__shared__ __align__(16) unsigned char tenon_room[ROOM * sizeof(tenon_entry)];

/* Unsigned keys in the order of the values: NaN above all, both zeros the same; turned around for the smallest. */
static __device__ __forceinline__ tenon_key tenon_key_of(tenon_number v)
{
    const tenon_key top = (tenon_key)1 << (8 * sizeof(tenon_key) - 1);
    tenon_key u;
#if KEY_FLOAT
    if (v == 0) v = 0;
    u = (tenon_key)KEY_BITS(v);
    u = u & top ? ~u : u | top;
    if (v != v) u = ~(tenon_key)0;
#else
    u = KEY_SIGNED ? (tenon_key)v ^ top : (tenon_key)v;
#endif
    return LARGEST ? u : ~u;
}

static __device__ __forceinline__ void tenon_sort(tenon_entry *room)
{
    for (unsigned width = 2; width <= ROOM; width *= 2)
        for (unsigned step = width / 2; step > 0; step /= 2) {
            __syncthreads();
            for (unsigned i = threadIdx.x; i < ROOM / 2; i += THREADS) {
                const unsigned low = i / step * step * 2 + i % step, high = low + step;
                const tenon_entry a = room[low], b = room[high];
                if (tenon_entry::before(b, a) == ((low & width) == 0)) room[low] = b, room[high] = a;
            }
        }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS) tenon_lines(const __grid_constant__ tenon_args args)
{
    __shared__ unsigned used;
    tenon_entry *room = (tenon_entry *)tenon_room;
    const unsigned length = (unsigned)tenon_size(args, RANK - 1), wanted = (unsigned)tenon_wanted(args);
    const long long step = tenon_step(args, 0, RANK - 1);
    long long at[TENSORS];
    const bool there = tenon_line(args, blockIdx.x, at);
    tenon_wait();
    tenon_trigger();
    if (!there) return; /* the whole block */
    const X_TYPE *x = (const X_TYPE *)args.at[0] + at[0];
    for (unsigned i = threadIdx.x; i < ROOM; i += THREADS)
        room[i] = i < length ? tenon_entry{tenon_key_of(tenon_to<tenon_number>::value(x[i * step])), i} : tenon_entry{0,
            0xffffffffu};
    if (threadIdx.x == 0) used = 0;
    tenon_sort(room);
    for (unsigned begin = ROOM; begin < length; begin += THREADS) {
        const unsigned i = begin + threadIdx.x;
        if (i < length) {
            const tenon_entry mine = {tenon_key_of(tenon_to<tenon_number>::value(x[i * step])), i};
            if (tenon_entry::before(mine, room[KEPT - 1])) room[KEPT + atomicAdd(&used, 1u)] = mine;
        }
        __syncthreads();
        const bool full = used + THREADS > ROOM - KEPT || begin + THREADS >= length;
        if (full) {
            for (unsigned k = KEPT + used + threadIdx.x; k < ROOM; k += THREADS) room[k] = tenon_entry{0, 0xffffffffu};
            tenon_sort(room);
            if (threadIdx.x == 0) used = 0;
        }
        __syncthreads();
    }
    for (unsigned i = threadIdx.x; i < wanted; i += THREADS) {
        const unsigned index = room[i].index;
        if (VALUES >= 0) ((X_TYPE *)args.at[VALUES < 0 ? 0 : VALUES])[at[VALUES < 0 ? 0 : VALUES] + i * tenon_step(args,
            VALUES, RANK - 1)] = x[index * step];
        if (INDICES >= 0)
            ((long long *)args.at[INDICES < 0 ? 0 : INDICES])[at[INDICES < 0 ? 0 : INDICES] + i * tenon_step(args, INDICES,
                RANK - 1)] = index;
    }
}
#elif AXIS_READ
extern "C" __global__ void __launch_bounds__(THREADS) tenon_lines(const __grid_constant__ tenon_args args)
{
    tenon_wait();
    tenon_trigger();
    const long long given = (long long)*(const AXIS_TYPE *)args.at[TENSORS], wrapped = given < 0 ? given + RANK : given;
    const int chosen = wrapped < 0 ? 0 : wrapped < RANK ? (int)wrapped : RANK - 1;
    unsigned rest = blockIdx.x * (unsigned)THREADS + threadIdx.x, length = 0;
    long long from = 0, to = 0, x_at = 0, y_at = 0;
    bool there = true;
#pragma unroll
    for (int axis = RANK - 1; axis >= 0; axis--) {
        const unsigned size = (unsigned)tenon_size(args, axis);
        if (axis == chosen) {
            length = size, from = tenon_step(args, 0, axis), to = tenon_step(args, 1, axis);
            continue;
        }
        const unsigned i = size ? rest % size : 0;
        there &= size > 0;
        rest = size ? rest / size : rest;
        x_at += (long long)i * tenon_step(args, 0, axis);
        y_at += (long long)i * tenon_step(args, 1, axis);
    }
    if (!there || rest > 0) return;
    tenon_number sum = 0;
    for (unsigned k = 0; k < length; k++) {
        const unsigned i = REVERSE ? length - 1 - k : k;
        const tenon_number own = tenon_to<tenon_number>::value(((const X_TYPE *)args.at[0])[x_at + i * from]);
        ((X_TYPE *)args.at[1])[y_at + i * to] = tenon_make<X_TYPE>(EXCLUSIVE ? sum : sum + own);
        sum += own;
    }
}
#else
extern "C" __global__ void __launch_bounds__(THREADS) tenon_lines(const __grid_constant__ tenon_args args)
{
    const unsigned length = (unsigned)tenon_size(args, RANK - 1), lane = threadIdx.x % 32,
        thread = blockIdx.x * THREADS + threadIdx.x;
    const long long from = tenon_step(args, 0, RANK - 1), to = tenon_step(args, 1, RANK - 1);
    long long at[TENSORS];
    const bool there = tenon_line(args, BY_WARP ? thread / 32 : thread, at);
    tenon_wait();
    tenon_trigger();
    if (!there) return; /* in a warp a line, the whole warp */
    const X_TYPE *x = (const X_TYPE *)args.at[0] + at[0];
    X_TYPE *y = (X_TYPE *)args.at[1] + at[1];
    tenon_number sum = 0;
    for (unsigned begin = 0; begin < length; begin += BY_WARP ? 32 : 1) {
        const unsigned k = BY_WARP ? begin + lane : begin, i = REVERSE ? length - 1 - k : k;
        const bool inside = k < length;
        const tenon_number own = inside ? tenon_to<tenon_number>::value(x[i * from]) : 0;
        tenon_number v = own;
        if (BY_WARP) {
#pragma unroll
            for (int d = 1; d < 32; d *= 2) {
                const tenon_number other = __shfl_up_sync(0xffffffffu, v, d);
                if (lane >= d) v = v + other;
            }
        }
        const tenon_number before = BY_WARP ? __shfl_up_sync(0xffffffffu, v, 1) : 0, all = BY_WARP ? __shfl_sync(0xffffffffu,
            v, 31) : v;
        if (inside) y[i * to] = tenon_make<X_TYPE>(EXCLUSIVE ? sum + (lane && BY_WARP ? before : 0) : sum + v);
        sum += all;
    }
}
#endif
