/* SPDX-License-Identifier: Apache-2.0 */
/* resize: a thread makes VC neighbouring channels of one result (map.cu). Places and weights along an axis are computed in
   double, as the reference has them: which of two neighbours is the nearest must not depend on rounding. */
enum { HALF_PIXEL, HALF_PIXEL_SYMMETRIC, PYTORCH_HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC, HALF_PIXEL_FOR_NN };
enum { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR, CEIL };

struct taps { int at[TAPS]; float weight[TAPS]; };

static __device__ __forceinline__ double place_of(int i, int in, int out, double scale)
{
    const double x = i, length = scale * in;
    switch (TRANSFORM) {
    case HALF_PIXEL_SYMMETRIC: return in / 2.0 * (1 - out / length) + (x + 0.5) / scale - 0.5;
    case PYTORCH_HALF_PIXEL: return length == 1 ? 0 : (x + 0.5) / scale - 0.5;
    case ALIGN_CORNERS: return length == 1 ? 0 : x * (in - 1) / (length - 1);
    case ASYMMETRIC: return x / scale;
    case HALF_PIXEL_FOR_NN: return (x + 0.5) / scale;
    default: return (x + 0.5) / scale - 0.5;
    }
}

static __device__ __forceinline__ double cubic(double x)
{
    const double a = CUBIC_A;
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static __device__ __forceinline__ taps find_taps(int i, int in, int out, double scale)
{
    taps t;
    if (in == out && scale == 1) { /* an axis that stays is not asked */
#pragma unroll
        for (int j = 0; j < TAPS; j++) t.at[j] = i, t.weight[j] = j ? 0.0f : 1.0f;
        return t;
    }
    const double x = place_of(i, in, out, scale);
    if (TAPS == 1) {
        const double nearest = ROUNDING == ROUND_PREFER_FLOOR ? ceil(x - 0.5) : ROUNDING == ROUND_PREFER_CEIL ? floor(x + 0.5)
                               : ROUNDING == FLOOR            ? floor(x)      : ceil(x);
        t.at[0] = (int)fmin(fmax(nearest, 0.0), in - 1.0);
        t.weight[0] = 1.0f;
        return t;
    }
    const int first = (int)floor(x) - (TAPS == 4);
    double weight[TAPS], sum = 0;
#pragma unroll
    for (int j = 0; j < TAPS; j++) {
        const int at = first + j;
        weight[j] = TAPS == 4 ? cubic(at - x) : fmax(1 - fabs(at - x), 0.0);
        if (EXCLUDE && (at < 0 || at >= in)) weight[j] = 0;
        sum += weight[j];
        t.at[j] = at < 0 ? 0 : at >= in ? in - 1 : at;
    }
#pragma unroll
    for (int j = 0; j < TAPS; j++) t.weight[j] = (float)(EXCLUDE ? weight[j] / sum : weight[j]);
    return t;
}

static __device__ __forceinline__ double scale_of(const tenon_args &args, int axis, int out)
{
    switch (axis) {
    case 0: return SCALE_D;
    case 1: return SCALE_H;
    default: return SCALE_W;
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK) tenon_resize(const __grid_constant__ tenon_args args)
{
    tenon_place p;
    const bool here = tenon_place_of(args, p);
    tenon_wait();
    tenon_trigger();
    if (!here) return;
    const taps w = find_taps(p.w, (int)tenon_x(args, X_IN + 2), p.out_w, scale_of(args, 2, p.out_w));
    const taps h = find_taps(p.h, (int)tenon_x(args, X_IN + 1), p.out_h, scale_of(args, 1, p.out_h));
    const taps d = find_taps(p.d, (int)tenon_x(args, X_IN), p.out_d, scale_of(args, 0, p.out_d));
    const X_TYPE *x = (const X_TYPE *)args.at[X_AT] + p.n * tenon_x(args, X_STEP_N) + p.c * tenon_x(args, X_STEP_C);
    float v[VC];
#pragma unroll
    for (int i = 0; i < VC; i++) v[i] = 0.0f;
#pragma unroll
    for (int a = 0; a < (RANK > 4 ? TAPS : 1); a++)
#pragma unroll
        for (int r = 0; r < (RANK > 3 ? TAPS : 1); r++)
#pragma unroll
            for (int s = 0; s < TAPS; s++) {
                const float weight = d.weight[a] * h.weight[r] * w.weight[s];
                if (weight == 0.0f) continue; /* an infinity there does not matter */
                float e[VC];
                const long long at = d.at[a] * tenon_x(args, X_STEP) + h.at[r] * tenon_x(args, X_STEP + 1) + w.at[s] * tenon_x(args, X_STEP + 2);
                tenon_channels_of(args, x, at, p.c, e);
#pragma unroll
                for (int i = 0; i < VC; i++) v[i] = TAPS == 1 ? e[i] : fmaf(weight, e[i], v[i]);
            }
    tenon_conv_finish<VC>(args, p.n, p.d, p.h, p.w, p.c, CHANNELS - p.c, v);
}
