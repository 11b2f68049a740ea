/* SPDX-License-Identifier: Apache-2.0 */
/* The end of every convolution and pool: V neighbouring channels of one result pixel, conv's own bias, the program. Axes of the index
   space: n, spatial ones, k. Follows the printed space and program. */
template <int V> static __device__ __forceinline__ void tenon_conv_end(const tenon_args &args, const long long *at, float *v)
{
#if BIAS_TENSOR >= 0 && !POOL
    float bias[V];
    tenon_load<BIAS_TYPE, V, BIAS_ACCESS>(args.at[BIAS_TENSOR], at[BIAS_TENSOR], tenon_step(args, BIAS_TENSOR, RANK - 1),
                                          args.aligned >> BIAS_TENSOR & 1, bias);
#pragma unroll
    for (int i = 0; i < V; i++) v[i] += bias[i];
#endif
    tenon_body<V>(args, at, v);
}

static __device__ __forceinline__ void tenon_conv_place(const tenon_args &args, int n, int d, int h, int w, int k, long long *at)
{
#pragma unroll
    for (int t = 0; t < TENSORS; t++)
        at[t] = n * tenon_step(args, t, 0) + (RANK > 4 ? d * tenon_step(args, t, RANK - 4) : 0) + (RANK > 3 ? h * tenon_step(args, t, RANK - 3) : 0) +
                w * tenon_step(args, t, RANK - 2) + k * tenon_step(args, t, RANK - 1);
}

/* Pixel m of the result, of convolutions with at most two spatial axes; false behind the last. */
static __device__ __forceinline__ bool tenon_conv_pixel(const tenon_args &args, int m, int &n, int &h, int &w)
{
    const int oh = RANK > 3 ? (int)tenon_size(args, RANK - 3) : 1, ow = (int)tenon_size(args, RANK - 2);
    n = m / (oh * ow);
    h = (m - n * oh * ow) / ow;
    w = m - n * oh * ow - h * ow;
    return n < (int)tenon_size(args, 0);
}

/* `left`: filters from k on that there are. */
template <int V>
static __device__ __forceinline__ void tenon_conv_finish(const tenon_args &args, int n, int d, int h, int w, int k, int left, float *v)
{
    long long at[TENSORS];
    tenon_conv_place(args, n, d, h, w, k, at);
    if (left >= V) {
        tenon_conv_end<V>(args, at, v);
        return;
    }
#pragma unroll
    for (int i = 0; i < V; i++) {
        if (i < left) tenon_conv_end<1>(args, at, v + i);
#pragma unroll
        for (int t = 0; t < TENSORS; t++) at[t] += tenon_step(args, t, RANK - 1);
    }
}
