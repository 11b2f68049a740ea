/* SPDX-License-Identifier: Apache-2.0 */
/* Maps sampled at places that are not its pixels (SAMPLE_GRID, SAMPLE_ROI), or normalised by their neighbouring channels (SAMPLE_LRN): a
   thread makes CB channels of one place of the result, so that what is reckoned of the place serves them all. Domain: n, c, places, walked
   in the order of the result's memory. Coordinates are in double, as the reference has them: which of two neighbours is the nearest must
   not depend on rounding. Source 0 is x. */
enum { PAD_ZEROS, PAD_BORDER, PAD_REFLECTION };

/* Offsets of the result's tensors at a place, and its coordinates by axis; false: there is none. */
static __device__ __forceinline__ bool tenon_place(const tenon_args &args, unsigned rest, unsigned *c, long long *at)
{
    bool there = true;
#pragma unroll
    for (int t = 0; t < TENSORS; t++) at[t] = 0;
#pragma unroll
    for (int place = RANK - 1; place >= 0; place--) {
        const int axis = tenon_axis(place);
        const unsigned each = axis == 1 ? CB : 1, size = ((unsigned)tenon_size(args, place) + each - 1) / each;
        unsigned i = rest;
        if (size == 0) {
            there = false;
        } else if (place > 0) {
            rest = i / size;
            i -= rest * size;
        } else {
            there &= i < size;
        }
        c[axis] = i * each;
#pragma unroll
        for (int t = 0; t < TENSORS; t++) at[t] += (long long)(i * each) * tenon_step(args, t, place);
    }
    return there;
}

/* CB channels of x from an offset on, of which there are `left`. */
static __device__ __forceinline__ void tenon_channels(const tenon_args &args, long long at, int left, tenon_number *v)
{
    const X_TYPE *x = tenon_source<X_TYPE>(args, 0);
    if (left >= CB) {
        tenon_load<X_TYPE, CB, X_RUN ? TENON_RUN : TENON_STRIDE>(x, at, tenon_src_step(args, 0, 1), args.aligned >> TENSORS & 1, v);
    } else {
#pragma unroll
        for (int k = 0; k < CB; k++) v[k] = k < left ? tenon_to<tenon_number>::value(x[at + k * tenon_src_step(args, 0, 1)]) : 0;
    }
}

#if SAMPLE_GRID
struct taps { int at[TAPS]; tenon_number weight[TAPS]; };

static __device__ __forceinline__ double tenon_reflect(double x, double lo, double hi)
{
    const double range = hi - lo;
    if (range <= 0) return lo;
    const double turn = fmod(fabs(x - lo), 2 * range);
    return lo + (turn > range ? 2 * range - turn : turn);
}

static __device__ __forceinline__ double tenon_reflect_at(double x, int size)
{
    return tenon_reflect(x, ALIGN ? 0 : -0.5, (double)size - (ALIGN ? 1 : 0.5));
}

static __device__ __forceinline__ int tenon_inside(long long i, int size)
{
    if (i >= 0 && i < size) return (int)i;
    if (PADDING == PAD_ZEROS) return -1;
    const double x = PADDING == PAD_REFLECTION ? tenon_reflect_at((double)i, size) : (double)i;
    return (int)fmin(fmax(x, 0.0), (double)(size - 1));
}

/* Rounded after each step, as the reference does: no fused multiply-add. */
static __device__ __forceinline__ double tenon_pixel(GRID_TYPE v, int size)
{
    if (sizeof(GRID_TYPE) == 8) {
        const double c = __dadd_rn(tenon_to<double>::value(v), 1.0);
        return ALIGN ? __dmul_rn(c / 2, size - 1) : __dadd_rn(__dmul_rn(c, size), -1.0) / 2;
    }
    const float c = __fadd_rn(tenon_to<float>::value(v), 1.0f);
    return ALIGN ? __fmul_rn(c / 2, (float)(size - 1)) : __fadd_rn(__fmul_rn(c, (float)size), -1.0f) / 2;
}

static __device__ __forceinline__ double tenon_cubic(double x)
{
    const double a = -0.75;
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static __device__ __forceinline__ taps tenon_taps(double x, int size)
{
    taps t;
    if (!(fabs(x) < 1e15)) x = -100; /* NaN, infinity: outside */
    if (TAPS == 1) x = rint(x);
    if (TAPS != 4 && PADDING == PAD_REFLECTION) x = tenon_reflect_at(x, size);
    if (TAPS != 4 && PADDING != PAD_ZEROS) x = fmin(fmax(x, 0.0), (double)(size - 1));
    const long long first = TAPS == 1 ? (long long)x : (long long)floor(x) - (TAPS == 4);
#pragma unroll
    for (int i = 0; i < TAPS; i++) {
        const double distance = (double)(first + i) - x;
        t.weight[i] = (tenon_number)(TAPS == 1 ? 1 : TAPS == 2 ? 1 - fabs(distance) : tenon_cubic(distance));
        t.at[i] = tenon_inside(first + i, size);
    }
    return t;
}

static __device__ __forceinline__ void tenon_sample(const tenon_args &args, const unsigned *c, int left, tenon_number *v)
{
    taps t[SPATIAL];
    long long from = c[0] * tenon_src_step(args, 1, 0);
#pragma unroll
    for (int i = 0; i < SPATIAL; i++) from += (long long)c[2 + i] * tenon_src_step(args, 1, 1 + i);
#pragma unroll
    for (int i = 0; i < SPATIAL; i++) { /* the grid's last axis has x's last axis first */
        const int axis = SPATIAL - 1 - i, size = (int)tenon_src_dim(args, 0, 2 + axis);
        t[axis] = tenon_taps(tenon_pixel(tenon_source<GRID_TYPE>(args, 1)[from + i * tenon_src_step(args, 1, RANK - 1)], size), size);
    }
    const long long base = c[0] * tenon_src_step(args, 0, 0) + c[1] * tenon_src_step(args, 0, 1);
#pragma unroll
    for (int k = 0; k < CB; k++) v[k] = 0;
    const int combinations = SPATIAL == 1 ? TAPS : SPATIAL == 2 ? TAPS * TAPS : TAPS * TAPS * TAPS;
#pragma unroll
    for (int j = 0; j < combinations; j++) {
        tenon_number weight = 1, e[CB];
        long long at = base;
        bool inside = true;
        int rest = j;
#pragma unroll
        for (int axis = SPATIAL - 1; axis >= 0; axis--) {
            const int i = rest % TAPS;
            rest /= TAPS;
            inside &= t[axis].at[i] >= 0;
            weight *= t[axis].weight[i];
            at += t[axis].at[i] * tenon_src_step(args, 0, 2 + axis);
        }
        if (!inside) continue;
        tenon_channels(args, at, left, e);
#pragma unroll
        for (int k = 0; k < CB; k++) v[k] += weight * e[k];
    }
}
#endif

#if SAMPLE_ROI
/* The two neighbours of a coordinate, and the weight of the second; false: too far outside. */
static __device__ __forceinline__ bool tenon_neighbours(double v, int size, int *low, int *high, double *weight)
{
    if (!(v >= -1 && v <= (double)size)) return false;
    v = fmax(v, 0.0);
    *low = min((int)v, size - 1);
    *high = min(*low + 1, size - 1);
    *weight = *low == size - 1 ? 0 : v - *low;
    return true;
}

static __device__ __forceinline__ double tenon_roi(const tenon_args &args, unsigned r, int i)
{
    return tenon_to<double>::value(tenon_source<ROI_TYPE>(args, 1)[r * tenon_src_step(args, 1, 0) + i * tenon_src_step(args, 1, 1)]);
}

static __device__ __forceinline__ void tenon_sample(const tenon_args &args, const unsigned *c, int left, tenon_number *v)
{
    const int h = (int)tenon_src_dim(args, 0, 2), w = (int)tenon_src_dim(args, 0, 3), batch = (int)tenon_src_dim(args, 0, 0);
    const long long image = (long long)tenon_source<IMAGE_TYPE>(args, 2)[c[0] * tenon_src_step(args, 2, 0)];
    const long long base = (image < 0 ? 0 : image < batch ? image : batch - 1) * tenon_src_step(args, 0, 0) + c[1] * tenon_src_step(args, 0, 1);
    const double x1 = tenon_roi(args, c[0], 0), y1 = tenon_roi(args, c[0], 1), x2 = tenon_roi(args, c[0], 2), y2 = tenon_roi(args, c[0], 3);
    double height = __dmul_rn(y2 - y1, ROI_SCALE), width = __dmul_rn(x2 - x1, ROI_SCALE);
    if (!HALF) height = fmax(height, 1.0), width = fmax(width, 1.0);
    const double bin_h = height / (double)OUT_H, bin_w = width / (double)OUT_W, shift = HALF ? 0.5 : 0;
    const double top = __dadd_rn(__dmul_rn(y1, ROI_SCALE), -shift), at_left = __dadd_rn(__dmul_rn(x1, ROI_SCALE), -shift);
    const int grid_h = RATIO ? RATIO : (int)ceil(fmin(fmax(bin_h, 0.0), 1e6)), grid_w = RATIO ? RATIO : (int)ceil(fmin(fmax(bin_w, 0.0), 1e6));
    bool first = true;
#pragma unroll
    for (int k = 0; k < CB; k++) v[k] = 0;
    for (int iy = 0; iy < grid_h; iy++)
        for (int ix = 0; ix < grid_w; ix++) {
            int row[2] = {0, 0}, column[2] = {0, 0};
            double fy = 0, fx = 0;
            const bool inside = tenon_neighbours(top + (c[2] + (iy + 0.5) / grid_h) * bin_h, h, &row[0], &row[1], &fy) &&
                                tenon_neighbours(at_left + (c[3] + (ix + 0.5) / grid_w) * bin_w, w, &column[0], &column[1], &fx);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const tenon_number weight = (tenon_number)((j / 2 ? fy : 1 - fy) * (j % 2 ? fx : 1 - fx));
                tenon_number e[CB];
#pragma unroll
                for (int k = 0; k < CB; k++) e[k] = 0;
                if (inside) tenon_channels(args, base + row[j / 2] * tenon_src_step(args, 0, 2) + column[j % 2] * tenon_src_step(args, 0, 3), left, e);
#pragma unroll
                for (int k = 0; k < CB; k++) {
                    const tenon_number corner = inside ? weight * e[k] : 0;
                    v[k] = MAXIMUM ? (first || corner > v[k] ? corner : v[k]) : v[k] + corner;
                }
                first = false;
            }
        }
    const int count = grid_h * grid_w;
#pragma unroll
    for (int k = 0; k < CB; k++)
        if (!MAXIMUM) v[k] /= (tenon_number)(count > 1 ? count : 1);
}
#endif

#if SAMPLE_LRN
static __device__ __forceinline__ void tenon_sample(const tenon_args &args, const unsigned *c, int left, tenon_number *v)
{
    const X_TYPE *x = tenon_source<X_TYPE>(args, 0);
    const int channels = (int)tenon_src_dim(args, 0, 1);
    const long long step = tenon_src_step(args, 0, 1);
    long long at = 0;
#pragma unroll
    for (int i = 0; i < RANK; i++) at += (long long)c[i] * tenon_src_step(args, 0, i);
    tenon_channels(args, at, left, v);
    tenon_number square[CB + (WINDOW <= 16 ? WINDOW : 1) - 1]; /* of the channels around them */
    if (WINDOW <= 16) {
#pragma unroll
        for (int k = 0; k < CB + WINDOW - 1; k++) {
            const int channel = (int)c[1] + k - BEFORE;
            const tenon_number e = channel >= 0 && channel < channels ? tenon_to<tenon_number>::value(x[at + (k - BEFORE) * step]) : 0;
            square[k] = e * e;
        }
    }
#pragma unroll
    for (int k = 0; k < CB; k++) {
        tenon_number sum = 0;
        if (WINDOW <= 16) {
#pragma unroll
            for (int i = 0; i < (WINDOW <= 16 ? WINDOW : 0); i++) sum += square[k + i];
        } else {
            const int channel = (int)c[1] + k;
            for (int i = max(channel - BEFORE, 0); i <= min(channel - BEFORE + WINDOW - 1, channels - 1); i++) {
                const tenon_number e = tenon_to<tenon_number>::value(x[at + (i - (long long)c[1]) * step]);
                sum += e * e;
            }
        }
        v[k] = v[k] / (tenon_number)TENON_POW((tenon_number)LRN_BIAS + (tenon_number)LRN_ALPHA * sum, (tenon_number)LRN_BETA);
    }
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS) tenon_samples(const __grid_constant__ tenon_args args)
{
    unsigned c[RANK];
    long long at[TENSORS];
    const bool there = tenon_place(args, blockIdx.x * (unsigned)THREADS + threadIdx.x, c, at);
    tenon_wait();
    tenon_trigger();
    if (!there) return;
    const int left = (int)tenon_size(args, CHANNEL_PLACE) - (int)c[1];
    tenon_number v[CB];
    tenon_class y[CB];
    tenon_sample(args, c, left, v);
#pragma unroll
    for (int k = 0; k < CB; k++) y[k] = tenon_make<tenon_class>(v[k]);
    if (CHANNEL_PLACE == RANK - 1 && left >= CB) {
        tenon_body<CB>(args, at, y);
        return;
    }
#pragma unroll
    for (int k = 0; k < CB; k++) {
        if (k < left) tenon_body<1>(args, at, y + k);
#pragma unroll
        for (int t = 0; t < TENSORS; t++) at[t] += tenon_step(args, t, CHANNEL_PLACE);
    }
}
