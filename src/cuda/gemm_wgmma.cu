/* SPDX-License-Identifier: Apache-2.0 */
/* A matrix product with a constant right operand for wgmma.cu. Axes of the index space: leading ones (grid z), rows, columns; tensors: 0
   is A, contiguous along the depth, which is a multiple of 8; 1 is B, read through its packed form alone; then the program's.
   Bit 0 of `aligned`: rows of A are whole vectors of 16 bytes. */
#define ELEMENT A_TYPE
#define LOADS (BM / 32) /* of a thread: rows threadIdx.x / 8 + 32 i, always the same 16 bytes of 128 */

struct place {
    const unsigned char *weights;
    const A_TYPE *a; /* of this thread's first row */
    long long base[TENSORS];
    int chunks, m0, n0, rows;
};
struct cursor { int k; };

static __device__ __forceinline__ void begin(cursor &t) { t.k = 0; }
static __device__ __forceinline__ void next(cursor &t) { t.k += 64; }

static __device__ __forceinline__ bool find_place(const tenon_args &args, place &p)
{
    constexpr unsigned tiles = (COLUMNS + BN - 1) / BN;
    unsigned rest = blockIdx.z;
    p.m0 = blockIdx.x / tiles * BM;
    p.n0 = blockIdx.x % tiles * BN;
    p.rows = (int)tenon_size(args, RANK - 2);
    p.chunks = (DEPTH + 63) / 64;
    p.weights = (const unsigned char *)args.at[1] + (long long)(blockIdx.x % tiles) * ((DEPTH + 63) / 64) * (BN * 128);
    bool surplus = p.m0 >= p.rows; /* the same for the whole block */
#pragma unroll
    for (int t = 0; t < TENSORS; t++) p.base[t] = 0;
#pragma unroll
    for (int axis = RANK - 3; axis >= 0; axis--) {
        const unsigned size = (unsigned)tenon_size(args, axis), i = axis && size ? rest % size : rest;
        surplus |= i >= size;
        rest = size ? rest / size : 0;
#pragma unroll
        for (int t = 0; t < TENSORS; t++) p.base[t] += i * tenon_step(args, t, axis);
    }
    p.a = (const A_TYPE *)args.at[0] + p.base[0] + (p.m0 + (int)threadIdx.x / 8) * tenon_step(args, 0, RANK - 2);
    return !surplus;
}

static __device__ __forceinline__ void fetch_a(const tenon_args &args, const place &p, const cursor &t, unsigned to)
{
    const int part = threadIdx.x % 8, first = threadIdx.x / 8, k = t.k + part * 8;
    const bool whole = args.aligned & 1;
    to += first * 128 + ((part ^ first % 8) << 4);
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const bool inside = p.m0 + first + i * 32 < p.rows && k < DEPTH;
        const A_TYPE *from = inside ? p.a + i * 32 * tenon_step(args, 0, RANK - 2) + k : (const A_TYPE *)args.at[0];
        if (whole) {
            tenon_copy_async<16>(to + i * 32 * 128, from, inside);
            continue;
        }
        tenon_vector<A_TYPE, 8> v; /* an address that vectors do not fit */
#pragma unroll
        for (int j = 0; j < 8; j++) v.lane[j] = inside ? from[j] : tenon_from<A_TYPE>::make(0.0f);
        tenon_sts16(to + i * 32 * 128, (const unsigned *)&v);
    }
}

static __device__ __forceinline__ bool find_vector(const tenon_args &args, const place &p, int row, int column, long long *at)
{
    const int m = p.m0 + row, n = p.n0 + column;
#pragma unroll
    for (int t = 2; t < TENSORS; t++) at[t] = p.base[t] + m * tenon_step(args, t, RANK - 2) + n * tenon_step(args, t, RANK - 1);
    return m < p.rows && n < COLUMNS;
}

static __device__ __forceinline__ void give(const tenon_args &args, const place &p, int row, int column, float *v)
{
    long long at[TENSORS];
    if (!find_vector(args, p, row, column, at)) return;
    if (COLUMNS % 8 == 0 || p.n0 + column + 8 <= COLUMNS) {
        tenon_body<8>(args, at, v);
        return;
    }
#pragma unroll 1
    for (int n = p.n0 + column; n < COLUMNS; n++) {
        tenon_body<1>(args, at, v);
#pragma unroll
        for (int i = 0; i < 7; i++) v[i] = v[i + 1];
#pragma unroll
        for (int t = 2; t < TENSORS; t++) at[t] += tenon_step(args, t, RANK - 1);
    }
}

static __device__ __forceinline__ bool is_quick(const tenon_args &args) { return COLUMNS % 8 == 0 && (args.aligned & ALIGNED) == ALIGNED; }
