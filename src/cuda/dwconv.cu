/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution, channels-last: a thread makes TW results along a row of VC channels, reads every input pixel once and keeps
   sums in f32. Weights are [tap][channel]; few of them are fetched before the step before has ended. */
#define TAPS (KERNEL_H * KERNEL_W)
#define COLUMNS ((TW - 1) * STRIDE_W + (KERNEL_W - 1) * DILATION_W + 1)
#define AHEAD (TAPS * VC * (int)sizeof(W_TYPE) <= 160)
#define GROUPS_C ((CHANNELS + VC - 1) / VC)

/* VC channels from c on; what is behind the last is zero. */
template <class T> static __device__ __forceinline__ tenon_vector<T, VC> fetch(const T *from, int c, bool aligned)
{
    tenon_vector<T, VC> v;
    if (aligned && (CHANNELS % VC == 0 || c + VC <= CHANNELS)) return *(const tenon_vector<T, VC> *)(from + c);
#pragma unroll
    for (int i = 0; i < VC; i++) v.lane[i] = c + i < CHANNELS ? from[c + i] : tenon_from<T>::make(0.0f);
    return v;
}

extern "C" __global__ void __launch_bounds__(BLOCK) tenon_dwconv(const __grid_constant__ tenon_args args)
{
    const int oh = RANK > 3 ? (int)tenon_size(args, RANK - 3) : 1, ow = (int)tenon_size(args, RANK - 2), across = (ow + TW - 1) / TW;
    unsigned rest = blockIdx.x * (unsigned)BLOCK + threadIdx.x;
    const int c = (int)(rest % GROUPS_C) * VC;
    rest /= GROUPS_C;
    const int w0 = across ? (int)(rest % across) * TW : 0;
    rest = across ? rest / across : 0;
    const int h0 = oh ? (int)(rest % oh) : 0, n = oh ? (int)(rest / oh) : 0;
    const bool surplus = n >= (int)tenon_size(args, 0) || !across || !oh;
    const W_TYPE *weight = (const W_TYPE *)args.at[W_AT];
    tenon_vector<W_TYPE, VC> w[AHEAD ? TAPS : KERNEL_W];
    if (AHEAD)
#pragma unroll
        for (int i = 0; i < TAPS; i++) w[i] = fetch<W_TYPE>(weight + i * CHANNELS, c, CHANNELS % VC == 0);
    tenon_wait();
    tenon_trigger();
    if (surplus) return;
    const int in_h = (int)tenon_x(args, X_IN + 1), in_w = (int)tenon_x(args, X_IN + 2);
    const X_TYPE *x = (const X_TYPE *)args.at[X_AT] + n * tenon_x(args, X_STEP_N);
    const bool aligned = args.aligned >> X_AT & 1;
    const int left = w0 * STRIDE_W - (int)tenon_x(args, X_BEGIN + 2);
    float sum[TW][VC];
#pragma unroll
    for (int i = 0; i < TW * VC; i++) sum[i / VC][i % VC] = 0.0f;
#pragma unroll
    for (int r = 0; r < KERNEL_H; r++) {
        const int h = h0 * STRIDE_H - (int)tenon_x(args, X_BEGIN + 1) + r * DILATION_H;
        if (h < 0 || h >= in_h) continue;
        if (!AHEAD)
#pragma unroll
            for (int s = 0; s < KERNEL_W; s++) w[s] = fetch<W_TYPE>(weight + (r * KERNEL_W + s) * CHANNELS, c, CHANNELS % VC == 0);
        const X_TYPE *row = x + h * tenon_x(args, X_STEP + 1);
#pragma unroll
        for (int column = 0; column < COLUMNS; column++) {
            bool used = false;
#pragma unroll
            for (int s = 0; s < KERNEL_W; s++) {
                const int from = column - s * DILATION_W;
                used |= from >= 0 && from % STRIDE_W == 0 && from / STRIDE_W < TW;
            }
            const int at = left + column;
            if (!used || at < 0 || at >= in_w) continue;
            const tenon_vector<X_TYPE, VC> v = fetch<X_TYPE>(row + at * tenon_x(args, X_STEP + 2), c, aligned);
#pragma unroll
            for (int s = 0; s < KERNEL_W; s++) {
                const int t = (column - s * DILATION_W) / STRIDE_W;
                if (column < s * DILATION_W || (column - s * DILATION_W) % STRIDE_W || t >= TW) continue;
#pragma unroll
                for (int i = 0; i < VC; i++)
                    sum[t][i] = fmaf(tenon_to_float(v.lane[i]), tenon_to_float(w[(AHEAD ? r * KERNEL_W : 0) + s].lane[i]), sum[t][i]);
            }
        }
    }
#pragma unroll
    for (int t = 0; t < TW; t++)
        if (w0 + t < ow) tenon_conv_finish<VC>(args, n, 0, h0, w0 + t, c, CHANNELS - c, sum[t]);
}
