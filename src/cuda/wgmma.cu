/* SPDX-License-Identifier: Apache-2.0 */
/* Products on Hopper's tensor cores (wgmma, compute capability 9.0 alone), sums in f32: a block of two warpgroups makes BM x BN results,
   STAGES chunks of 64 steps of depth in shared memory. Rows of A are fetched 16 bytes at a time by all threads, so they may lie
   anywhere and be missing; B is what pack_wgmma made. Both lie in rows of 128 bytes whose parts are exchanged by the row's number.

   In turn i the block waits for chunk i, everyone has finished the products of turn i - 2, those of turn i - 1 may be under way; then
   come the products of turn i and the fetching of chunk i + STAGES - 2 to the place of turn i - 2.

   Stands behind the text of its user (conv_wgmma.cu, gemm_wgmma.cu), which gives:
     ELEMENT               type of A and B: tenon_half or tenon_bfloat
     struct place          a block's part, with `weights`, its first chunk of B, and `chunks`
     bool find_place(args, place &)                                              false: the whole block has nothing to do
     struct cursor; void begin(cursor &); void next(cursor &)                    over the chunks
     void fetch_a(args, place, cursor, unsigned to)                              BM rows of a chunk
     bool find_vector(args, place, row, column, long long *at)                   where eight results are; false: nobody's
     void give(args, place, row, column, float *v)                               eight results, some of which may be nobody's
     bool is_quick(args)                                                         every vector is whole and aligned               */
#define THREADS 256
#define MI (BM / 128) /* of 64 rows, a warpgroup */
#define A_BYTES (BM * 128)
#define B_BYTES (BN * 128)
#define STAGE (A_BYTES + B_BYTES)
#define SUM_PITCH (BN + 8)
#define VECTORS (BN / 16) /* of a lane, for 16 rows of a warp */
static_assert(BM % 128 == 0 && (BN == 64 || BN == 128 || BN == 256) && STAGES >= 3, "tiles");
static_assert(STAGES * STAGE >= 8 * 16 * SUM_PITCH * 4, "sums lie where the chunks were");

/* Rows of 128 bytes, eight of them 1024 bytes, exchanged parts (PTX ISA, "Matrix descriptor"). */
static __device__ __forceinline__ unsigned long long describe(unsigned at)
{
    return (unsigned long long)((at & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

#define O8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define O32(i) O8(i), O8(i + 8), O8(i + 16), O8(i + 24)
#define D32 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
            "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define D64 D32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
                "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define D128 D64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
                 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
                 "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
                 "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define WGMMA(n, type, list, a, b, ...)                                                                                     \
    asm volatile("{\n.reg .pred adds;\nsetp.eq.b32 adds, 0, 0;\n"                                                           \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" list "}, %" #a ", %" #b ", adds, 1, 1, 0, 0;\n}"   \
                 : __VA_ARGS__ : "l"(left), "l"(right))
template <class T> struct wgmma;
#define WGMMA_OF(T, type)                                                                                                   \
    template <> struct wgmma<T> {                                                                                           \
        static __device__ __forceinline__ void product(float (&d)[32], unsigned long long left, unsigned long long right)   \
        {                                                                                                                   \
            WGMMA(64, type, D32, 32, 33, O32(0));                                                                           \
        }                                                                                                                   \
        static __device__ __forceinline__ void product(float (&d)[64], unsigned long long left, unsigned long long right)   \
        {                                                                                                                   \
            WGMMA(128, type, D64, 64, 65, O32(0), O32(32));                                                                 \
        }                                                                                                                   \
        static __device__ __forceinline__ void product(float (&d)[128], unsigned long long left, unsigned long long right)  \
        {                                                                                                                   \
            WGMMA(256, type, D128, 128, 129, O32(0), O32(32), O32(64), O32(96));                                            \
        }                                                                                                                   \
    }
WGMMA_OF(tenon_half, "f16");
WGMMA_OF(tenon_bfloat, "bf16");

/* What threads wrote into shared memory is there for the tensor cores. */
static __device__ __forceinline__ void show_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
template <int LEFT> static __device__ __forceinline__ void wait_products()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

/* The products of a chunk are under way when this returns. */
static __device__ __forceinline__ void multiply(unsigned stage, int group, float (&sum)[MI][BN / 2])
{
    const unsigned long long a = describe(stage + group * (A_BYTES / 2)), b = describe(stage + A_BYTES);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
        for (int i = 0; i < MI; i++) wgmma<ELEMENT>::product(sum[i], a + i * 512 + k * 2, b + k * 2);
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void fetch_b(const unsigned char *from, unsigned to)
{
#pragma unroll
    for (int i = 0; i < B_BYTES / 16 / THREADS; i++) {
        const int at = (threadIdx.x + i * THREADS) * 16;
        tenon_copy_async<16>(to + at, from + at, true);
    }
}

/* ---- results: 16 rows of a warp at a time through its part of shared memory ---- */
static __device__ __forceinline__ void keep(unsigned own, int lane, const float (&sum)[BN / 2])
{
#pragma unroll
    for (int j = 0; j < BN / 8; j++) {
        const unsigned at = own + ((lane / 4) * SUM_PITCH + j * 8 + lane % 4 * 2) * 4;
        tenon_sts8(at, sum[j * 4], sum[j * 4 + 1]);
        tenon_sts8(at + 8 * SUM_PITCH * 4, sum[j * 4 + 2], sum[j * 4 + 3]);
    }
    __syncwarp();
}

static __device__ __forceinline__ void take(unsigned own, int row, int column, float *v)
{
    tenon_lds16(v, own + (row * SUM_PITCH + column) * 4);
    tenon_lds16(v + 4, own + (row * SUM_PITCH + column) * 4 + 16);
}

/* The program's operands of HELD vectors are fetched together. */
#define HELD 4
static __device__ __forceinline__ void finish_quickly(const tenon_args &args, const place &p, unsigned own, int row, int lane)
{
    tenon_args known = args;
    known.aligned = ~0u;
#pragma unroll 1
    for (int first = 0; first < VECTORS; first += HELD) {
        tenon_held<8> held[HELD];
        long long at[HELD][TENSORS];
        bool there[HELD];
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const int vector = (first + i) * 32 + lane;
            there[i] = find_vector(args, p, row + vector / (BN / 8), vector % (BN / 8) * 8, at[i]);
            if (there[i]) tenon_hold<8>(args, at[i], held[i]);
        }
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const int vector = (first + i) * 32 + lane;
            float v[8];
            if (!there[i]) continue;
            take(own, vector / (BN / 8), vector % (BN / 8) * 8, v);
            tenon_body_held<8>(known, at[i], v, held[i]);
        }
    }
}

static __device__ __forceinline__ void finish(const tenon_args &args, const place &p, unsigned own, int row, int lane)
{
#pragma unroll 1
    for (int vector = lane; vector < 16 * BN / 8; vector += 32) {
        float v[8];
        take(own, vector / (BN / 8), vector % (BN / 8) * 8, v);
        give(args, p, row + vector / (BN / 8), vector % (BN / 8) * 8, v);
    }
}

extern __shared__ __align__(1024) unsigned char tenon_block_memory[];

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) tenon_wgmma(const __grid_constant__ tenon_args args)
{
    const unsigned base = (tenon_shared(tenon_block_memory) + 1023) & ~1023u;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    place p;
    if (!find_place(args, p)) {
        tenon_wait();
        return;
    }
#pragma unroll
    for (int i = 0; i < STAGES - 2; i++)
        if (i < p.chunks) fetch_b(p.weights + i * B_BYTES, base + i * STAGE + A_BYTES);
    float sum[MI][BN / 2];
#pragma unroll
    for (int i = 0; i < MI * BN / 2; i++) sum[i / (BN / 2)][i % (BN / 2)] = 0.0f;
    tenon_wait();
    tenon_trigger();
    cursor ahead;
    begin(ahead);
#pragma unroll
    for (int i = 0; i < STAGES - 2; i++) {
        if (i < p.chunks) fetch_a(args, p, ahead, base + i * STAGE);
        next(ahead);
        tenon_copy_commit();
    }
    int slot = 0, free = STAGES - 2;
#pragma unroll 1
    for (int i = 0; i < p.chunks; i++) {
        tenon_copy_wait<STAGES - 3>();
        show_writes();
        __syncthreads();
        multiply(base + slot * STAGE, warp / 4, sum);
        if (i + STAGES - 2 < p.chunks) {
            fetch_a(args, p, ahead, base + free * STAGE);
            fetch_b(p.weights + (long long)(i + STAGES - 2) * B_BYTES, base + free * STAGE + A_BYTES);
            next(ahead);
        }
        tenon_copy_commit();
        wait_products<1>();
        slot = slot + 1 == STAGES ? 0 : slot + 1;
        free = free + 1 == STAGES ? 0 : free + 1;
    }
    wait_products<0>();
    tenon_copy_wait<0>();
    __syncthreads(); /* chunks give way to sums */
    const unsigned own = base + warp * 16 * SUM_PITCH * 4;
#pragma unroll
    for (int i = 0; i < MI; i++) {
        const int row = warp / 4 * (BM / 2) + i * 64 + warp % 4 * 16;
        keep(own, lane, sum[i]);
        if (is_quick(args)) finish_quickly(args, p, own, row, lane);
        else finish(args, p, own, row, lane);
        __syncwarp();
    }
}
