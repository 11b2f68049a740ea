/* SPDX-License-Identifier: Apache-2.0 */
/* What every kernel's text begins with. No CUDA header is included: the small types are their bits, conversions are PTX or integer
   arithmetic that any architecture has. */
struct tenon_half { unsigned short bits; };
struct tenon_bfloat { unsigned short bits; };
struct tenon_bool { unsigned char bits; };

/* As tenon_cuda_args. */
struct tenon_args {
    const long long *shape;
    void *at[24];
    unsigned aligned, pad;
};

/* ---- programmatic dependent launch: every kernel waits before it touches what others wrote, surplus blocks too, so that the end
   of a grid means the end of all before it ---- */
static __device__ __forceinline__ void tenon_wait()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
static __device__ __forceinline__ void tenon_trigger()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* ---- conversions: to float at loads, from float at stores; integers saturate and NaN gives 0 ---- */
static __device__ __forceinline__ float tenon_to_float(float v) { return v; }
static __device__ __forceinline__ float tenon_to_float(double v) { return (float)v; }
static __device__ __forceinline__ float tenon_to_float(signed char v) { return (float)v; }
static __device__ __forceinline__ float tenon_to_float(short v) { return (float)v; }
static __device__ __forceinline__ float tenon_to_float(int v) { return (float)v; }
static __device__ __forceinline__ float tenon_to_float(long long v) { return (float)v; }
static __device__ __forceinline__ float tenon_to_float(unsigned char v) { return (float)v; }
static __device__ __forceinline__ float tenon_to_float(unsigned short v) { return (float)v; }
static __device__ __forceinline__ float tenon_to_float(unsigned v) { return (float)v; }
static __device__ __forceinline__ float tenon_to_float(unsigned long long v) { return (float)v; }
static __device__ __forceinline__ float tenon_to_float(tenon_bool v) { return v.bits ? 1.0f : 0.0f; }
static __device__ __forceinline__ float tenon_to_float(tenon_bfloat v) { return __uint_as_float((unsigned)v.bits << 16); }
static __device__ __forceinline__ float tenon_to_float(tenon_half v)
{
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
    return f;
}

template <class T> struct tenon_from;
template <> struct tenon_from<float> { static __device__ __forceinline__ float make(float v) { return v; } };
template <> struct tenon_from<double> { static __device__ __forceinline__ double make(float v) { return (double)v; } };
template <> struct tenon_from<tenon_bool> {
    static __device__ __forceinline__ tenon_bool make(float v) { return tenon_bool{(unsigned char)(v != 0.0f)}; }
};
template <> struct tenon_from<tenon_half> {
    static __device__ __forceinline__ tenon_half make(float v)
    {
        tenon_half h;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(v));
        return h;
    }
};
template <> struct tenon_from<tenon_bfloat> {
    static __device__ __forceinline__ tenon_bfloat make(float v)
    {
        const unsigned u = __float_as_uint(v);
        if (v != v) return tenon_bfloat{(unsigned short)(u >> 16 | 64u)};
        return tenon_bfloat{(unsigned short)((u + 0x7fffu + (u >> 16 & 1u)) >> 16)};
    }
};
/* cvt to an integer saturates and gives 0 for NaN where the type is as wide as the instruction's; narrower ones are clamped first. */
#define TENON_FROM_NARROW(T, lo, hi)                                                                                        \
    template <> struct tenon_from<T> {                                                                                      \
        static __device__ __forceinline__ T make(float v) { return v != v ? (T)0 : (T)(int)fminf(fmaxf(v, lo), hi); }       \
    };
TENON_FROM_NARROW(signed char, -128.0f, 127.0f)
TENON_FROM_NARROW(short, -32768.0f, 32767.0f)
TENON_FROM_NARROW(unsigned char, 0.0f, 255.0f)
TENON_FROM_NARROW(unsigned short, 0.0f, 65535.0f)
#define TENON_FROM_WIDE(T, convert)                                                                                         \
    template <> struct tenon_from<T> {                                                                                      \
        static __device__ __forceinline__ T make(float v) { return v != v ? (T)0 : (T)convert(v); }                         \
    };
TENON_FROM_WIDE(int, __float2int_rz)
TENON_FROM_WIDE(unsigned, __float2uint_rz)
TENON_FROM_WIDE(long long, __float2ll_rz)
TENON_FROM_WIDE(unsigned long long, __float2ull_rz)

/* ---- the same for the other classes of programs: double, whose conversions saturate like those of float, and long long, which wraps ---- */
#define TENON_FROM_CLASS(T)                                                                                                 \
    static __device__ __forceinline__ T make(double v) { return tenon_from_double<T>(v); }                                  \
    static __device__ __forceinline__ T make(long long v) { return (T)v; }
template <class T> static __device__ __forceinline__ T tenon_from_double(double v)
{
    const bool is_signed = (T)-1 < (T)0;
    const int bits = 8 * (int)sizeof(T) - is_signed;
    const double top = (double)(1ull << (bits - 1)) * 2.0, low = is_signed ? -top : 0.0;
    if (v != v) return (T)0;
    if (v >= top) return (T)(~0ull >> (64 - bits));
    return v <= low ? (T)(is_signed ? 1ull << bits % 64 : 0ull) : (T)v;
}
template <> __device__ __forceinline__ float tenon_from_double<float>(double v) { return (float)v; }
template <> __device__ __forceinline__ double tenon_from_double<double>(double v) { return v; }
template <class T> struct tenon_store_as { TENON_FROM_CLASS(T) };
template <> struct tenon_store_as<tenon_bool> {
    static __device__ __forceinline__ tenon_bool make(double v) { return tenon_bool{(unsigned char)(v != 0.0)}; }
    static __device__ __forceinline__ tenon_bool make(long long v) { return tenon_bool{(unsigned char)(v != 0)}; }
};
template <> struct tenon_store_as<tenon_half> {
    template <class C> static __device__ __forceinline__ tenon_half make(C v) { return tenon_from<tenon_half>::make((float)v); }
};
template <> struct tenon_store_as<tenon_bfloat> {
    template <class C> static __device__ __forceinline__ tenon_bfloat make(C v) { return tenon_from<tenon_bfloat>::make((float)v); }
};
template <class T> static __device__ __forceinline__ T tenon_make(float v) { return tenon_from<T>::make(v); }
template <class T> static __device__ __forceinline__ T tenon_make(double v) { return tenon_store_as<T>::make(v); }
template <class T> static __device__ __forceinline__ T tenon_make(long long v) { return tenon_store_as<T>::make(v); }

template <class C> struct tenon_to {
    template <class T> static __device__ __forceinline__ C value(T v) { return (C)v; }
    static __device__ __forceinline__ C value(tenon_bool v) { return v.bits ? (C)1 : (C)0; }
    static __device__ __forceinline__ C value(tenon_half v) { return (C)tenon_to_float(v); }
    static __device__ __forceinline__ C value(tenon_bfloat v) { return (C)tenon_to_float(v); }
};
template <> struct tenon_to<float> {
    template <class T> static __device__ __forceinline__ float value(T v) { return tenon_to_float(v); }
};

/* v as a tensor of T would hold it. */
template <class T, class C> static __device__ __forceinline__ C tenon_round(C v) { return tenon_to<C>::value(tenon_make<T>(v)); }

/* ---- integer arithmetic of programs: overflow wraps, division by zero gives 0, division truncates ---- */
static __device__ __forceinline__ long long tenon_add(long long a, long long b) { return (long long)((unsigned long long)a + (unsigned long long)b); }
static __device__ __forceinline__ long long tenon_sub(long long a, long long b) { return (long long)((unsigned long long)a - (unsigned long long)b); }
static __device__ __forceinline__ long long tenon_mul(long long a, long long b) { return (long long)((unsigned long long)a * (unsigned long long)b); }
static __device__ __forceinline__ long long tenon_div(long long a, long long b) { return b == 0 ? 0 : b == -1 ? tenon_sub(0, a) : a / b; }
/* The sign is that of the divisor, or of the dividend. */
static __device__ __forceinline__ long long tenon_mod(long long a, long long b, bool truncated)
{
    if (b == 0 || b == -1) return 0;
    const long long r = a % b;
    return !truncated && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
static __device__ __forceinline__ long long tenon_pow(long long base, long long e)
{
    if (e < 0) return base == 1 ? 1 : base == -1 ? (e % 2 ? -1 : 1) : 0;
    long long r = 1;
    for (; e; e >>= 1, base = tenon_mul(base, base))
        if (e & 1) r = tenon_mul(r, base);
    return r;
}
static __device__ __forceinline__ long long tenon_shift(long long x, long long by, int direction)
{
    const bool keeps_sign = direction == 2 && x < 0;
    if (by < 0 || by > 63) return keeps_sign ? -1 : 0;
    if (direction == 0) return (long long)((unsigned long long)x << by);
    return (long long)(keeps_sign ? ~(~(unsigned long long)x >> by) : (unsigned long long)x >> by);
}

/* ---- V neighbours of a tensor along the last axis of the index space ---- */
enum tenon_access {
    TENON_ONE,   /* all the same element */
    TENON_RUN,   /* contiguous; in one access where `aligned` */
    TENON_STRIDE /* `step` apart */
};
template <class T, int V> struct __align__(sizeof(T) * V > 16 ? 16 : sizeof(T) * V) tenon_vector { T lane[V]; };

/* C: the class of the program, float, double or long long. */
template <class T, int V, tenon_access A, class C>
static __device__ __forceinline__ void tenon_load(const void *base, long long at, long long step, bool aligned, C *out)
{
    const T *p = (const T *)base + at;
    if (A == TENON_ONE) {
        const C v = tenon_to<C>::value(*p);
#pragma unroll
        for (int i = 0; i < V; i++) out[i] = v;
    } else if (A == TENON_RUN && V > 1 && aligned) {
        const tenon_vector<T, V> v = *(const tenon_vector<T, V> *)p;
#pragma unroll
        for (int i = 0; i < V; i++) out[i] = tenon_to<C>::value(v.lane[i]);
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) out[i] = tenon_to<C>::value(p[A == TENON_RUN ? i : i * step]);
    }
}

template <class T, int V, tenon_access A, class C>
static __device__ __forceinline__ void tenon_store(void *base, long long at, long long step, bool aligned, const C *v)
{
    T *p = (T *)base + at;
    if (A == TENON_RUN && V > 1 && aligned) {
        tenon_vector<T, V> out;
#pragma unroll
        for (int i = 0; i < V; i++) out.lane[i] = tenon_make<T>(v[i]);
        *(tenon_vector<T, V> *)p = out;
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) p[A == TENON_RUN ? i : i * step] = tenon_make<T>(v[i]);
    }
}

/* V elements of tensor 0 to tensor 1, as they are. */
template <class T, int V, tenon_access FROM, tenon_access TO>
static __device__ __forceinline__ void tenon_move(const tenon_args &args, const long long *at, long long from_step, long long to_step)
{
    const T *from = (const T *)args.at[0] + at[0];
    T *to = (T *)args.at[1] + at[1];
    tenon_vector<T, V> v;
    if (FROM == TENON_RUN && V > 1 && (args.aligned & 1)) {
        v = *(const tenon_vector<T, V> *)from;
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) v.lane[i] = from[FROM == TENON_ONE ? 0 : FROM == TENON_RUN ? i : i * from_step];
    }
    if (TO == TENON_RUN && V > 1 && (args.aligned & 2)) {
        *(tenon_vector<T, V> *)to = v;
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) to[TO == TENON_RUN ? i : i * to_step] = v.lane[i];
    }
}
