/* SPDX-License-Identifier: Apache-2.0 */
/* One encoder and one decoder for all small floats with an implicit leading bit, in integers, so that the result does not
   depend on the rounding mode or on denormals being flushed. bf16 is the upper half of f32 and rounds on the bits. */
#include "base/half.h"

#include <string.h>

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* Magnitude `a` of an f32 (no infinity, no NaN) to `m` mantissa bits and the given bias, to nearest even; may run past the
   largest exponent: the caller compares. */
static uint32_t encode(uint32_t a, int m, int bias)
{
    const int exponent = (int)(a >> 23) - 127 + bias;
    if (a < 0x00800000u) return 0; /* denormals of f32 are below half of every smallest value here */
    const uint32_t mantissa = (a & 0x7fffffu) | 0x800000u;
    const int shift = 23 - m + (exponent < 1 ? 1 - exponent : 0);
    if (shift > 24) return 0;
    uint32_t q = mantissa >> shift;
    const uint32_t rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
    q += rest > half || (rest == half && (q & 1));
    return exponent < 1 ? q : q + ((uint32_t)(exponent - 1) << m); /* the leading bit of q adds the missing one */
}

/* Finite magnitude to the bits of the f32 with that value. */
static uint32_t decode(uint32_t h, int m, int bias)
{
    uint32_t mantissa = h & ((1u << m) - 1);
    int exponent = (int)(h >> m);
    if (!exponent) {
        if (!mantissa) return 0;
        for (exponent = 1; !(mantissa >> m); exponent--) mantissa <<= 1;
        mantissa &= (1u << m) - 1;
    }
    return (uint32_t)(exponent - bias + 127) << 23 | mantissa << (23 - m);
}

float tenon_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, a = h & 0x7fff;
    if (a >= 0x7c00) return float_of(sign | 0x7f800000u | (a & 0x3ff) << 13);
    return float_of(sign | decode(a, 10, 15));
}

uint16_t tenon_f32_to_f16(float f)
{
    const uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x1ff));
    const uint32_t h = a == 0x7f800000u ? 0x7c00 : encode(a, 10, 15);
    return (uint16_t)(sign | (h > 0x7c00 ? 0x7c00 : h));
}

float tenon_bf16_to_f32(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t tenon_f32_to_bf16(float f)
{
    const uint32_t u = bits_of(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

float tenon_f8e4m3_to_f32(uint8_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x80) << 24, a = h & 0x7f;
    return float_of(sign | (a == 0x7f ? 0x7fc00000u : decode(a, 3, 7)));
}

uint8_t tenon_f32_to_f8e4m3(float f, int saturate)
{
    const uint32_t u = bits_of(f), sign = u >> 24 & 0x80, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint8_t)(sign | 0x7f);
    const uint32_t h = a == 0x7f800000u ? 0x7f : encode(a, 3, 7);
    return (uint8_t)(sign | (h > 0x7e ? (saturate ? 0x7e : 0x7f) : h));
}

float tenon_f8e5m2_to_f32(uint8_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x80) << 24, a = h & 0x7f;
    if (a >= 0x7c) return float_of(sign | 0x7f800000u | (a & 3) << 21);
    return float_of(sign | decode(a, 2, 15));
}

uint8_t tenon_f32_to_f8e5m2(float f, int saturate)
{
    const uint32_t u = bits_of(f), sign = u >> 24 & 0x80, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint8_t)(sign | 0x7f);
    const uint32_t h = a == 0x7f800000u ? 0x7c : encode(a, 2, 15);
    return (uint8_t)(sign | (h >= 0x7c ? (saturate ? 0x7b : 0x7c) : h));
}
