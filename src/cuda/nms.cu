/* SPDX-License-Identifier: Apache-2.0 */
/* The boxes of one class of one image that are chosen, best first: a block a class. Each round takes the best that is left (of equal scores
   the lower box), then strikes out what overlaps it; so the order is that of the scores without sorting them. Who is left is a bit in
   shared memory, a word of which belongs to one warp. Domain: images, classes, places; sources: boxes, scores, -, thresholds. In double
   and rounded after each step, as the reference: a threshold is met or not. */
enum { WARPS = THREADS / 32, WORDS = (BOXES + 31) / 32 };

struct tenon_box { double y1, x1, y2, x2; };
struct tenon_best { tenon_number score; int at; };

__shared__ unsigned tenon_left[WORDS];
__shared__ tenon_best tenon_bests[2][WARPS];

static __device__ __forceinline__ double tenon_low(double a, double b) { return a < b ? a : b; }
static __device__ __forceinline__ double tenon_high(double a, double b) { return a > b ? a : b; }

static __device__ __forceinline__ tenon_box tenon_box_of(const X_TYPE *boxes, long long step, long long inner, int i)
{
    double v[4];
#pragma unroll
    for (int k = 0; k < 4; k++) v[k] = tenon_to<double>::value(boxes[i * step + k * inner]);
    if (CENTER) return tenon_box{v[1] - v[3] / 2, v[0] - v[2] / 2, v[1] + v[3] / 2, v[0] + v[2] / 2};
    return tenon_box{tenon_low(v[0], v[2]), tenon_low(v[1], v[3]), tenon_high(v[0], v[2]), tenon_high(v[1], v[3])};
}

static __device__ __forceinline__ double tenon_area(const tenon_box &b) { return __dmul_rn(__dadd_rn(b.y2, -b.y1), __dadd_rn(b.x2, -b.x1)); }

static __device__ __forceinline__ bool tenon_overlap(const tenon_box &a, const tenon_box &b, double area_b, double threshold)
{
    const double h = tenon_low(a.y2, b.y2) - tenon_high(a.y1, b.y1), w = tenon_low(a.x2, b.x2) - tenon_high(a.x1, b.x1);
    if (h <= 0 || w <= 0) return false;
    const double area_a = tenon_area(a), both = __dmul_rn(h, w);
    if (area_a <= 0 || area_b <= 0) return false;
    return __ddiv_rn(both, __dadd_rn(__dadd_rn(area_a, area_b), -both)) > threshold;
}

static __device__ __forceinline__ tenon_best tenon_better(tenon_best a, tenon_best b)
{
    if (a.at < 0 || b.at < 0) return a.at < 0 ? b : a;
    return b.score > a.score || (b.score == a.score && b.at < a.at) ? b : a;
}

/* Of the block; turn: which of the two rows of shared memory. */
static __device__ __forceinline__ tenon_best tenon_best_of_all(tenon_best mine, int turn)
{
#pragma unroll
    for (int d = 16; d > 0; d /= 2)
        mine = tenon_better(mine, tenon_best{__shfl_xor_sync(0xffffffffu, mine.score, d), __shfl_xor_sync(0xffffffffu, mine.at, d)});
    if (threadIdx.x % 32 == 0) tenon_bests[turn][threadIdx.x / 32] = mine;
    __syncthreads();
    tenon_best all = tenon_bests[turn][0];
    for (int w = 1; w < WARPS; w++) all = tenon_better(all, tenon_bests[turn][w]);
    return all;
}

extern "C" __global__ void __launch_bounds__(THREADS) tenon_nms(const __grid_constant__ tenon_args args)
{
    const unsigned images = (unsigned)tenon_size(args, 0), classes = (unsigned)tenon_size(args, 1);
    const int limit = (int)tenon_size(args, 2), n = (int)tenon_src_dim(args, 1, 2), lane = threadIdx.x % 32;
    const unsigned image = classes ? blockIdx.x / classes : 0, group = classes ? blockIdx.x % classes : 0;
    tenon_wait();
    tenon_trigger();
    if (!classes || image >= images) return; /* the whole block */
    const X_TYPE *boxes = tenon_source<X_TYPE>(args, 0) + image * tenon_src_step(args, 0, 0);
    const X_TYPE *scores = tenon_source<X_TYPE>(args, 1) + image * tenon_src_step(args, 1, 0) + group * tenon_src_step(args, 1, 1);
    const long long step = tenon_src_step(args, 0, 1), inner = tenon_src_step(args, 0, 2), score_step = tenon_src_step(args, 1, 2);
    long long *chosen = (long long *)args.at[0] + image * tenon_step(args, 0, 0) + group * tenon_step(args, 0, 1);
    const double overlap = IOU, least = SCORE;
    tenon_box last = {0, 0, 0, 0};
    double last_area = 0;
    int kept = 0, last_at = -1;
    for (; kept < limit; kept++) {
        tenon_best mine = {0, -1};
        for (int first = threadIdx.x - lane; first < n; first += THREADS) {
            const int i = first + lane;
            tenon_number score = 0;
            bool left = i < n && (kept == 0 || (tenon_left[first / 32] >> lane & 1));
            if (left) score = tenon_to<tenon_number>::value(scores[i * score_step]);
            if (left && kept == 0) left = score == score && (!HAS_SCORE || (double)score > least);
            if (left && kept > 0) left = i != last_at && !tenon_overlap(tenon_box_of(boxes, step, inner, i), last, last_area, overlap);
            const unsigned word = __ballot_sync(0xffffffffu, left);
            if (lane == 0) tenon_left[first / 32] = word;
            if (left) mine = tenon_better(mine, tenon_best{score, i});
        }
        const tenon_best best = tenon_best_of_all(mine, kept & 1);
        if (best.at < 0) break;
        last_at = best.at;
        last = tenon_box_of(boxes, step, inner, last_at);
        last_area = tenon_area(last);
        if (threadIdx.x == 0) chosen[kept * tenon_step(args, 0, 2)] = last_at;
    }
    for (int k = kept + threadIdx.x; k < limit; k += THREADS) chosen[k * tenon_step(args, 0, 2)] = -1;
}
