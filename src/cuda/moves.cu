/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that move elements: one thread a vector of the result, whose coordinates say where in the sources it comes from. What
   an operator does is its tenon_pick alone, of which MOVE_NAME takes one. Indices out of range are brought into it, so that nothing
   is read that is not there. The sources stand behind the tensors of the index space in the arguments. */
enum { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP };
enum { REDUCE_NONE, REDUCE_ADD, REDUCE_MUL, REDUCE_MIN, REDUCE_MAX };

/* Element e of source s. */
template <class T> static __device__ __forceinline__ const T *tenon_source(const tenon_args &args,
    int s) { return (const T *)args.at[TENSORS + s]; }

static __device__ __forceinline__ void tenon_take(const tenon_args &args, int s, long long from, tenon_element *v)
{
    const tenon_element *p = tenon_source<tenon_element>(args, s) + from;
    if (VECTOR > 1 && (args.aligned >> (TENSORS + s) & 1)) {
        const tenon_vector<tenon_element, VECTOR> all = *(const tenon_vector<tenon_element, VECTOR> *)p;
#pragma unroll
        for (int i = 0; i < VECTOR; i++) v[i] = all.lane[i];
    } else {
#pragma unroll
        for (int i = 0; i < VECTOR; i++) v[i] = p[i];
    }
}

static __device__ __forceinline__ void tenon_none(tenon_element *v)
{
    unsigned char *p = (unsigned char *)v;
#pragma unroll
    for (int i = 0; i < VECTOR * (int)sizeof(tenon_element); i++) p[i] = 0;
}

/* Every element is the one of these bits. */
static __device__ __forceinline__ void tenon_fill(unsigned long long bits, tenon_element *v)
{
#pragma unroll
    for (int i = 0; i < VECTOR * (int)sizeof(tenon_element); i++)
        ((unsigned char *)v)[i] = (unsigned char)(bits >> i % (int)sizeof(tenon_element) * 8);
}

/* An index counts from the end when negative. */
static __device__ __forceinline__ long long tenon_wrap(long long i, long long size)
{
    const long long at = i < 0 ? i + size : i;
    return at < 0 ? 0 : at < size ? at : size > 0 ? size - 1 : 0;
}

#ifdef INDEX_TYPE
static __device__ __forceinline__ long long tenon_index(const tenon_args &args,
    long long at) { return (long long)tenon_source<INDEX_TYPE>(args, 1)[at]; }
#endif

/* ---- gathers ---- */
#if defined(MOVE_GATHER)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long at = 0, from = 0;
#pragma unroll
    for (int i = 0; i < RANK1; i++) at += (long long)c[AXIS + i] * tenon_src_step(args, 1, i);
    const long long pick = tenon_wrap(tenon_index(args, at), tenon_src_dim(args, 0, AXIS));
#pragma unroll
    for (int i = 0; i < RANK0; i++)
        from += (i == AXIS ? pick : (long long)c[i < AXIS ? i : i - 1 + RANK1]) * tenon_src_step(args, 0, i);
    tenon_take(args, 0, from, v);
}
#endif

#if defined(MOVE_GATHER_ELEMENTS)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long at = 0, from = 0;
#pragma unroll
    for (int i = 0; i < RANK1; i++) at += (long long)c[i] * tenon_src_step(args, 1, i);
    const long long pick = tenon_wrap(tenon_index(args, at), tenon_src_dim(args, 0, AXIS));
#pragma unroll
    for (int i = 0; i < RANK0; i++) from += (i == AXIS ? pick : (long long)c[i]) * tenon_src_step(args, 0, i);
    tenon_take(args, 0, from, v);
}
#endif

#if defined(MOVE_GATHER_ND)
/* BATCH axes in common, DEPTH indices. */
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long at = 0, from = 0;
#pragma unroll
    for (int i = 0; i < RANK1 - 1; i++) at += (long long)c[i] * tenon_src_step(args, 1, i);
#pragma unroll
    for (int i = 0; i < BATCH; i++) from += (long long)c[i] * tenon_src_step(args, 0, i);
#pragma unroll
    for (int k = 0; k < DEPTH; k++)
        from += tenon_wrap(tenon_index(args, at + k * tenon_src_step(args, 1, RANK1 - 1)), tenon_src_dim(args, 0,
            BATCH + k)) * tenon_src_step(args, 0, BATCH + k);
#pragma unroll
    for (int i = BATCH + DEPTH; i < RANK0; i++) from += (long long)c[RANK1 - 1 + i - BATCH - DEPTH] * tenon_src_step(args, 0, i);
    tenon_take(args, 0, from, v);
}
#endif

/* ---- scatters: each element of the result looks for its updates, in their order, so that the same bits come out at every run ---- */
#if defined(MOVE_SCATTER_ELEMENTS) || defined(MOVE_SCATTER_ND)
static __device__ __forceinline__ tenon_element tenon_join(tenon_element a, tenon_element b)
{
#if REDUCTION
    const tenon_number x = tenon_to<tenon_number>::value(a), y = tenon_to<tenon_number>::value(b);
    if (REDUCTION == REDUCE_ADD) return tenon_make<tenon_element>(x + y);
    if (REDUCTION == REDUCE_MUL) return tenon_make<tenon_element>(x * y);
    if (x != x || y != y) return x != x ? a : b;
    return (UNSIGNED64 ? (unsigned long long)y < (unsigned long long)x : y < x) == (REDUCTION == REDUCE_MIN) ? b : a;
#else
    return b;
#endif
}
#endif

#if defined(MOVE_SCATTER_ELEMENTS)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long at = 0, from = 0, source = 0;
    bool inside = true;
#pragma unroll
    for (int i = 0; i < RANK0; i++) {
        source += (long long)c[i] * tenon_src_step(args, 0, i);
        if (i == AXIS) continue;
        inside &= c[i] < tenon_src_dim(args, 1, i);
        at += (long long)c[i] * tenon_src_step(args, 1, i);
        from += (long long)c[i] * tenon_src_step(args, 2, i);
    }
    tenon_take(args, 0, source, v);
    const long long updates = inside ? tenon_src_dim(args, 1, AXIS) : 0;
    for (long long m = 0; m < updates; m++) {
        if (tenon_wrap(tenon_index(args, at + m * tenon_src_step(args, 1, AXIS)), tenon_src_dim(args, 0,
            AXIS)) != c[AXIS]) continue;
        v[0] = tenon_join(v[0], tenon_source<tenon_element>(args, 2)[from + m * tenon_src_step(args, 2, AXIS)]);
    }
}
#endif

#if defined(MOVE_SCATTER_ND)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long source = 0, tail = 0;
    unsigned picks = 1;
#pragma unroll
    for (int i = 0; i < RANK0; i++) source += (long long)c[i] * tenon_src_step(args, 0, i);
#pragma unroll
    for (int i = DEPTH; i < RANK0; i++) tail += (long long)c[i] * tenon_src_step(args, 2, RANK1 - 1 + i - DEPTH);
#pragma unroll
    for (int i = 0; i < RANK1 - 1; i++) picks *= (unsigned)tenon_src_dim(args, 1, i);
    tenon_take(args, 0, source, v);
    for (unsigned m = 0; m < picks; m++) {
        long long at = 0, from = tail;
        unsigned rest = m;
#pragma unroll
        for (int i = RANK1 - 2; i >= 0; i--) {
            const unsigned size = (unsigned)tenon_src_dim(args, 1, i), k = i ? rest % size : rest;
            rest = i ? rest / size : 0;
            at += (long long)k * tenon_src_step(args, 1, i);
            from += (long long)k * tenon_src_step(args, 2, i);
        }
        bool hit = true;
#pragma unroll
        for (int k = 0; k < DEPTH; k++)
            hit = hit && tenon_wrap(tenon_index(args, at + k * tenon_src_step(args, 1, RANK1 - 1)), tenon_src_dim(args, 0,
                k)) == c[k];
        if (!hit) continue;
        tenon_element u[VECTOR];
        tenon_take(args, 2, from, u);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) v[i] = tenon_join(v[i], u[i]);
    }
}
#endif

/* ---- repeats and borders ---- */
#if defined(MOVE_PAD)
static __device__ __forceinline__ long long tenon_pad_source(long long i, long long d)
{
    if (i >= 0 && i < d) return i;
    if (MODE == PAD_CONSTANT || d <= 0) return -1;
    if (MODE == PAD_EDGE) return i < 0 ? 0 : d - 1;
    const long long period = MODE == PAD_WRAP ? d : 2 * (d - 1);
    if (period == 0) return 0;
    const long long r = (i % period + period) % period;
    return MODE == PAD_WRAP || r < d ? r : period - r;
}

static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long from = 0;
    bool inside = true;
#pragma unroll
    for (int i = 0; i < RANK0; i++) {
        const long long at = tenon_pad_source((long long)c[i] - tenon_param(args, i), tenon_src_dim(args, 0, i));
        inside &= at >= 0;
        from += at * tenon_src_step(args, 0, i);
    }
    if (inside) {
        tenon_take(args, 0, from, v);
        return;
    }
    tenon_fill(FILL_BITS, v);
#if FILL_SOURCE
#pragma unroll
    for (int i = 0; i < VECTOR; i++) v[i] = *tenon_source<tenon_element>(args, 2);
#endif
}
#endif

#if defined(MOVE_SLICE)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long from = tenon_param(args, 0);
#pragma unroll
    for (int i = 0; i < RANK0; i++) from += (long long)c[i] * tenon_param(args, 1 + i);
    tenon_take(args, 0, from, v);
}
#endif

#if defined(MOVE_RESHAPE)
/* Both are dense: the element has the same number in both. */
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long from = 0;
#pragma unroll
    for (int i = 0; i < RANK; i++) from = from * tenon_domain(args, i) + c[i];
    tenon_take(args, 0, from, v);
}
#endif

#if defined(MOVE_TILE) || defined(MOVE_EXPAND)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long from = 0;
#pragma unroll
    for (int i = 0; i < RANK0; i++) {
        const unsigned size = (unsigned)tenon_src_dim(args, 0, i), k = c[RANK - RANK0 + i];
        from += (long long)(REPEATS ? k % (size ? size : 1) : size == 1 ? 0 : k) * tenon_src_step(args, 0, i);
    }
    tenon_take(args, 0, from, v);
}
#endif

/* ---- parts ---- */
#if defined(MOVE_CONCAT)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long left = c[AXIS];
    bool found = false;
#pragma unroll
    for (int s = 0; s < SOURCES; s++) {
        const long long size = tenon_src_dim(args, s, AXIS);
        if (!found && left < size) {
            long long from = left * tenon_src_step(args, s, AXIS);
#pragma unroll
            for (int i = 0; i < RANK; i++)
                if (i != AXIS) from += (long long)c[i] * tenon_src_step(args, s, i);
            tenon_take(args, s, from, v);
            found = true;
        }
        left -= size;
    }
}
#endif

#if defined(MOVE_SPLIT)
/* The other way: the space is that of the whole, its parts stand where sources do. */
static __device__ __forceinline__ void tenon_put(const tenon_args &args, const unsigned *c, const tenon_element *v)
{
    long long left = c[AXIS];
    bool found = false;
#pragma unroll
    for (int s = 0; s < SOURCES; s++) {
        const long long size = tenon_src_dim(args, s, AXIS);
        if (!found && left < size) {
            long long to = left * tenon_src_step(args, s, AXIS);
#pragma unroll
            for (int i = 0; i < RANK; i++)
                if (i != AXIS) to += (long long)c[i] * tenon_src_step(args, s, i);
            tenon_element *p = (tenon_element *)args.at[TENSORS + s] + to;
            if (VECTOR > 1 && (args.aligned >> (TENSORS + s) & 1)) {
                tenon_vector<tenon_element, VECTOR> all;
#pragma unroll
                for (int i = 0; i < VECTOR; i++) all.lane[i] = v[i];
                *(tenon_vector<tenon_element, VECTOR> *)p = all;
            } else {
#pragma unroll
                for (int i = 0; i < VECTOR; i++) p[i] = v[i];
            }
            found = true;
        }
        left -= size;
    }
}
#endif

/* ---- permutations: blocks of channels and of pixels, sequences backwards ---- */
#if defined(MOVE_DEPTH_TO_SPACE) || defined(MOVE_SPACE_TO_DEPTH)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    unsigned channel, row, column;
    if (TO_SPACE) {
        const unsigned channels = (unsigned)tenon_src_dim(args, 0, 1) / (BLOCK * BLOCK),
            block = c[2] % BLOCK * BLOCK + c[3] % BLOCK;
        channel = CRD ? c[1] * (BLOCK * BLOCK) + block : block * channels + c[1];
        row = c[2] / BLOCK, column = c[3] / BLOCK;
    } else {
        const unsigned channels = (unsigned)tenon_src_dim(args, 0, 1), block = CRD ? c[1] % (BLOCK * BLOCK) : c[1] / channels;
        channel = CRD ? c[1] / (BLOCK * BLOCK) : c[1] % channels;
        row = c[2] * BLOCK + block / BLOCK, column = c[3] * BLOCK + block % BLOCK;
    }
    tenon_take(args, 0, c[0] * tenon_src_step(args, 0, 0) + channel * tenon_src_step(args, 0, 1) + row * tenon_src_step(args,
        0, 2) +
                            column * tenon_src_step(args, 0, 3), v);
}
#endif

#if defined(MOVE_REVERSE_SEQUENCE)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long from = 0;
    const long long length = tenon_index(args, (long long)c[BATCH] * tenon_src_step(args, 1, 0)), size = tenon_src_dim(args,
        0, AXIS);
    const long long clipped = length < 0 ? 0 : length < size ? length : size;
#pragma unroll
    for (int i = 0; i < RANK0; i++) {
        const long long k = i == AXIS && c[i] < clipped ? clipped - 1 - c[i] : c[i];
        from += k * tenon_src_step(args, 0, i);
    }
    tenon_take(args, 0, from, v);
}
#endif

/* ---- made of a few numbers ---- */
#if defined(MOVE_TRILU)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
#if HAS_K
    const long long k = tenon_index(args, 0);
#else
    const long long k = K;
#endif
    long long from = 0;
#pragma unroll
    for (int i = 0; i < RANK0; i++) from += (long long)c[i] * tenon_src_step(args, 0, i);
    const long long over = (long long)c[RANK0 > 0 ? RANK0 - 1 : 0] - (long long)c[RANK0 > 1 ? RANK0 - 2 : 0];
    if (UPPER ? over >= k : over <= k) tenon_take(args, 0, from, v);
    else tenon_none(v);
}
#endif

#if defined(MOVE_ONE_HOT)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    long long at = 0;
#pragma unroll
    for (int i = 0; i < RANK0; i++) at += (long long)c[i < AXIS ? i : i + 1] * tenon_src_step(args, 0, i);
    long long hot = (long long)tenon_to<ONE_HOT_NUMBER>::value(tenon_source<X_TYPE>(args, 0)[at]);
    if (hot < 0) hot += tenon_domain(args, AXIS);
    v[0] = tenon_source<tenon_element>(args, 2)[hot == c[AXIS] ? tenon_src_step(args, 2, 0) : 0];
}
#endif

#if defined(MOVE_EYE_LIKE)
static __device__ __forceinline__ void tenon_pick(const tenon_args &, const unsigned *c, tenon_element *v)
{
    v[0] = tenon_make<tenon_element>((tenon_number)((long long)c[1] - (long long)c[0] == K));
}
#endif
#if defined(MOVE_RANGE)
static __device__ __forceinline__ void tenon_pick(const tenon_args &args, const unsigned *c, tenon_element *v)
{
    v[0] = tenon_make<tenon_element>((tenon_number)START + (tenon_number)c[0] * (tenon_number)DELTA);
}
#endif
#if defined(MOVE_CONSTANT_OF_SHAPE)
static __device__ __forceinline__ void tenon_pick(const tenon_args &, const unsigned *, tenon_element *v) { tenon_fill(FILL_BITS, v); }
#endif

/* ---- the kernel ---- */
extern "C" __global__ void __launch_bounds__(THREADS) tenon_moves(const __grid_constant__ tenon_args args)
{
    unsigned place[RANK > 0 ? RANK : 1], c[RANK > 0 ? RANK : 1];
    long long at[TENSORS];
    const bool there = tenon_walk<VECTOR>(args, blockIdx.x * (unsigned)THREADS + threadIdx.x, place, at);
    c[0] = 0;
#pragma unroll
    for (int axis = 0; axis < RANK; axis++) c[tenon_axis(axis)] = place[axis];
    tenon_wait();
    tenon_trigger();
    if (!there) return;
    tenon_element v[VECTOR];
#ifdef MOVE_SPLIT
    const tenon_element *p = (const tenon_element *)args.at[0] + at[0];
    if (VECTOR > 1 && (args.aligned & 1)) {
        const tenon_vector<tenon_element, VECTOR> all = *(const tenon_vector<tenon_element, VECTOR> *)p;
#pragma unroll
        for (int i = 0; i < VECTOR; i++) v[i] = all.lane[i];
    } else {
#pragma unroll
        for (int i = 0; i < VECTOR; i++) v[i] = p[i];
    }
    tenon_put(args, c, v);
#else
    tenon_pick(args, c, v);
    tenon_give(args, at, v);
#endif
}
