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

template <class T> static __device__ __forceinline__ float tenon_round(float v) { return tenon_to_float(tenon_from<T>::make(v)); }

/* ---- V neighbours of a tensor along the last axis of the index space ---- */
enum tenon_access {
    TENON_ONE,   /* all the same element */
    TENON_RUN,   /* contiguous; in one access where `aligned` */
    TENON_STRIDE /* `step` apart */
};
template <class T, int V> struct __align__(sizeof(T) * V > 16 ? 16 : sizeof(T) * V) tenon_vector { T lane[V]; };

template <class T, int V, tenon_access A>
static __device__ __forceinline__ void tenon_load(const void *base, long long at, long long step, bool aligned, float *out)
{
    const T *p = (const T *)base + at;
    if (A == TENON_ONE) {
        const float v = tenon_to_float(*p);
#pragma unroll
        for (int i = 0; i < V; i++) out[i] = v;
    } else if (A == TENON_RUN && V > 1 && aligned) {
        const tenon_vector<T, V> v = *(const tenon_vector<T, V> *)p;
#pragma unroll
        for (int i = 0; i < V; i++) out[i] = tenon_to_float(v.lane[i]);
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) out[i] = tenon_to_float(p[A == TENON_RUN ? i : i * step]);
    }
}

template <class T, int V, tenon_access A>
static __device__ __forceinline__ void tenon_store(void *base, long long at, long long step, bool aligned, const float *v)
{
    T *p = (T *)base + at;
    if (A == TENON_RUN && V > 1 && aligned) {
        tenon_vector<T, V> out;
#pragma unroll
        for (int i = 0; i < V; i++) out.lane[i] = tenon_from<T>::make(v[i]);
        *(tenon_vector<T, V> *)p = out;
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) p[A == TENON_RUN ? i : i * step] = tenon_from<T>::make(v[i]);
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
