/* SPDX-License-Identifier: Apache-2.0 */
/* What pools and resize begin with: the result of this thread, VC neighbouring channels of one pixel (VC 1: any layout), and reading as
   many channels of x. */
#define GROUPS_C ((CHANNELS + VC - 1) / VC)

struct tenon_place { int n, c, d, h, w, out_d, out_h, out_w; };

/* False: a surplus thread, or nothing to do. */
static __device__ __forceinline__ bool tenon_place_of(const tenon_args &args, tenon_place &p)
{
    p.out_d = RANK > 4 ? (int)tenon_size(args, RANK - 4) : 1, p.out_h = RANK > 3 ? (int)tenon_size(args, RANK - 3) : 1;
    p.out_w = (int)tenon_size(args, RANK - 2);
    if (!p.out_d || !p.out_h || !p.out_w) return false;
    unsigned rest = blockIdx.x * (unsigned)BLOCK + threadIdx.x;
    p.c = 0;
    if (!Y_PLANAR) {
        p.c = (int)(rest % GROUPS_C) * VC;
        rest /= GROUPS_C;
    }
    p.w = (int)(rest % p.out_w), p.h = (int)(rest / p.out_w % p.out_h), p.d = (int)(rest / p.out_w / p.out_h % p.out_d);
    p.n = (int)(rest / p.out_w / p.out_h / p.out_d);
    if (Y_PLANAR) {
        p.c = p.n % CHANNELS;
        p.n /= CHANNELS;
    }
    return p.n < (int)tenon_size(args, 0);
}

/* Channels c on of x at an offset from its channel c; zeros behind the last. */
static __device__ __forceinline__ void tenon_channels_of(const tenon_args &args, const X_TYPE *x, long long at, int c, float *out)
{
    if (CHANNELS % VC == 0 || c + VC <= CHANNELS) {
        tenon_load<X_TYPE, VC, TENON_RUN>(x, at, 1, args.aligned >> X_AT & 1, out);
    } else {
#pragma unroll
        for (int i = 0; i < VC; i++) out[i] = c + i < CHANNELS ? tenon_to_float(x[at + i]) : 0.0f;
    }
}
