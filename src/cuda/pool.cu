/* SPDX-License-Identifier: Apache-2.0 */
/* max_pool, average_pool, lp_pool: a thread makes VC neighbouring channels of one result (map.cu). What a maximum is follows the
   reference: x > m ? x : m, so a NaN is skipped, and the first of equal ones has the index. */
enum { MAXIMUM, AVERAGE, NORM };

extern "C" __global__ void __launch_bounds__(BLOCK) tenon_pool(const __grid_constant__ tenon_args args)
{
    tenon_place p;
    const bool here = tenon_place_of(args, p);
    tenon_wait();
    tenon_trigger();
    if (!here) return;
    const int in_d = (int)tenon_x(args, X_IN), in_h = (int)tenon_x(args, X_IN + 1), in_w = (int)tenon_x(args, X_IN + 2);
    const int d1 = p.d * STRIDE_D - (int)tenon_x(args, X_BEGIN), h1 = p.h * STRIDE_H - (int)tenon_x(args, X_BEGIN + 1);
    const int w1 = p.w * STRIDE_W - (int)tenon_x(args, X_BEGIN + 2);
    const X_TYPE *x = (const X_TYPE *)args.at[X_AT] + p.n * tenon_x(args, X_STEP_N) + p.c * tenon_x(args, X_STEP_C);
    float v[VC];
    int place[VC], inside = 0, padded = 0;
#pragma unroll
    for (int i = 0; i < VC; i++) v[i] = KIND == MAXIMUM ? __uint_as_float(0xff800000u) : 0.0f, place[i] = -1;
#pragma unroll (TAPS <= 27 ? KERNEL_D : 1)
    for (int a = 0; a < KERNEL_D; a++)
#pragma unroll (TAPS <= 27 ? KERNEL_H : 1)
        for (int r = 0; r < KERNEL_H; r++)
#pragma unroll (TAPS <= 27 || KERNEL_W <= 16 ? KERNEL_W : 8)
            for (int s = 0; s < KERNEL_W; s++) {
                const int d = d1 + a * DILATION_D, h = h1 + r * DILATION_H, w = w1 + s * DILATION_W;
                padded += d < in_d + (int)tenon_x(args, X_END) && h < in_h + (int)tenon_x(args, X_END + 1) && w < in_w + (int)tenon_x(args, X_END + 2);
                if (d < 0 || d >= in_d || h < 0 || h >= in_h || w < 0 || w >= in_w) continue;
                inside++;
                float e[VC];
                const long long at = d * tenon_x(args, X_STEP) + h * tenon_x(args, X_STEP + 1) + w * tenon_x(args, X_STEP + 2);
                tenon_channels_of(args, x, at, p.c, e);
#pragma unroll
                for (int i = 0; i < VC; i++) {
                    if (KIND == MAXIMUM) {
                        if (e[i] > v[i] || place[i] < 0) place[i] = COLUMN_MAJOR ? d + in_d * (h + in_h * w) : (d * in_h + h) * in_w + w;
                        v[i] = e[i] > v[i] ? e[i] : v[i];
                    } else {
                        v[i] += KIND == AVERAGE ? e[i] : POWER == 1 ? fabsf(e[i]) : POWER == 2 ? e[i] * e[i] : powf(fabsf(e[i]), (float)POWER);
                    }
                }
            }
#pragma unroll
    for (int i = 0; i < VC; i++) {
        if (KIND == AVERAGE) v[i] = v[i] / (float)(INCLUDE_PAD ? padded : inside);
        if (KIND == NORM && POWER > 1) v[i] = POWER == 2 ? sqrtf(v[i]) : powf(v[i], 1.0f / (float)POWER);
#if BIAS_TENSOR >= 0
        if (p.c + i < CHANNELS) /* the second result: places in the whole of x, as if it were row-major */
            ((long long *)args.at[BIAS_TENSOR])[p.n * tenon_step(args, BIAS_TENSOR, 0) + (RANK > 4 ? p.d * tenon_step(args, BIAS_TENSOR, RANK - 4) : 0) +
                                                (RANK > 3 ? p.h * tenon_step(args, BIAS_TENSOR, RANK - 3) : 0) + p.w * tenon_step(args, BIAS_TENSOR, RANK - 2) +
                                                (p.c + i) * tenon_step(args, BIAS_TENSOR, RANK - 1)] =
                place[i] < 0 ? -1 : ((long long)p.n * CHANNELS + p.c + i) * in_d * in_h * in_w + place[i];
#endif
    }
    tenon_conv_finish<VC>(args, p.n, p.d, p.h, p.w, p.c, CHANNELS - p.c, v);
}
