/* SPDX-License-Identifier: Apache-2.0 */
/* Strides, and slow access to single elements of every type. Small floats are reached from double through an f32 that is rounded
   to odd, so that the two roundings give what one would have given. */
#include "ir/tensor.h"
#include "base/checked.h"
#include "base/half.h"

#include <math.h>
#include <string.h>

int64_t tenon_tensor_count(const tenon_tensor *t)
{
    int64_t count;
    return tenon_product(t->dim, t->rank, &count) ? count : INT64_MAX;
}

/* Wraps instead of overflowing: such a tensor can have no data, and its size is refused by whoever makes it. */
static int64_t times(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }

void tenon_tensor_dense(tenon_tensor *t)
{
    int64_t step = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        t->stride[i] = step;
        step = times(step, t->dim[i]);
    }
}

void tenon_tensor_channels_last(tenon_tensor *t)
{
    if (t->rank < 3) {
        tenon_tensor_dense(t);
        return;
    }
    int64_t step = t->dim[1];
    t->stride[1] = 1;
    for (int i = t->rank - 1; i >= 2; i--) {
        t->stride[i] = step;
        step = times(step, t->dim[i]);
    }
    t->stride[0] = step;
}

bool tenon_tensor_is_dense(const tenon_tensor *t)
{
    int64_t step = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->dim[i] == 0) return true;
        if (t->dim[i] != 1 && t->stride[i] != step) {
            for (int k = 0; k < i; k++)
                if (t->dim[k] == 0) return true;
            return false;
        }
        step = times(step, t->dim[i]);
    }
    return true;
}

int64_t tenon_tensor_offset(const tenon_tensor *t, int64_t index)
{
    int64_t offset = 0;
    for (int i = t->rank - 1; i >= 0; i--) {
        offset += index % t->dim[i] * t->stride[i];
        index /= t->dim[i];
    }
    return offset;
}

static int nibble(const tenon_tensor *t, int64_t at) { return ((const uint8_t *)t->data)[at / 2] >> (at % 2 * 4) & 15; }

static void set_nibble(const tenon_tensor *t, int64_t at, int v)
{
    uint8_t *byte = (uint8_t *)t->data + at / 2;
    const int shift = (int)(at % 2) * 4;
    *byte = (uint8_t)((*byte & ~(15 << shift)) | (v & 15) << shift);
}

double tenon_tensor_get_f64(const tenon_tensor *t, int64_t at)
{
    const void *p = t->data;
    switch (t->dtype) {
    case TENON_F32: return ((const float *)p)[at];
    case TENON_F64: return ((const double *)p)[at];
    case TENON_F16: return tenon_f16_to_f32(((const uint16_t *)p)[at]);
    case TENON_BF16: return tenon_bf16_to_f32(((const uint16_t *)p)[at]);
    case TENON_F8E4M3: return tenon_f8e4m3_to_f32(((const uint8_t *)p)[at]);
    case TENON_F8E5M2: return tenon_f8e5m2_to_f32(((const uint8_t *)p)[at]);
    case TENON_U64: return (double)((const uint64_t *)p)[at];
    default: return (double)tenon_tensor_get_i64(t, at);
    }
}

static int64_t truncate_f64(double v)
{
    if (isnan(v)) return 0;
    if (v >= 0x1p63) return INT64_MAX;
    if (v < -0x1p63) return INT64_MIN;
    return (int64_t)v;
}

int64_t tenon_tensor_get_i64(const tenon_tensor *t, int64_t at)
{
    const void *p = t->data;
    switch (t->dtype) {
    case TENON_I8: return ((const int8_t *)p)[at];
    case TENON_I16: return ((const int16_t *)p)[at];
    case TENON_I32: return ((const int32_t *)p)[at];
    case TENON_I64: return ((const int64_t *)p)[at];
    case TENON_U8: return ((const uint8_t *)p)[at];
    case TENON_U16: return ((const uint16_t *)p)[at];
    case TENON_U32: return ((const uint32_t *)p)[at];
    case TENON_U64: return (int64_t)((const uint64_t *)p)[at];
    case TENON_I4: return (nibble(t, at) ^ 8) - 8;
    case TENON_U4: return nibble(t, at);
    case TENON_BOOL: return ((const uint8_t *)p)[at] != 0;
    case TENON_F32: case TENON_F64: case TENON_F16: case TENON_BF16: case TENON_F8E4M3: case TENON_F8E5M2:
        return truncate_f64(tenon_tensor_get_f64(t, at));
    default: return 0; /* strings, sequences: no number */
    }
}

static float to_odd(double v)
{
    float f = (float)v;
    if ((double)f == v || isnan(v)) return f;
    uint32_t u;
    memcpy(&u, &f, 4);
    if (fabs((double)f) > fabs(v)) u--;
    u |= 1;
    memcpy(&f, &u, 4);
    return f;
}

static int64_t saturate(double v, double lo, double hi)
{
    if (isnan(v)) return 0;
    const double r = nearbyint(v);
    return truncate_f64(r < lo ? lo : r > hi ? hi : r);
}

void tenon_tensor_set_f64(const tenon_tensor *t, int64_t at, double v)
{
    void *p = t->data;
    switch (t->dtype) {
    case TENON_F32: ((float *)p)[at] = (float)v; return;
    case TENON_F64: ((double *)p)[at] = v; return;
    case TENON_F16: ((uint16_t *)p)[at] = tenon_f32_to_f16(to_odd(v)); return;
    case TENON_BF16: ((uint16_t *)p)[at] = tenon_f32_to_bf16(to_odd(v)); return;
    case TENON_F8E4M3: ((uint8_t *)p)[at] = tenon_f32_to_f8e4m3(to_odd(v), 1); return;
    case TENON_F8E5M2: ((uint8_t *)p)[at] = tenon_f32_to_f8e5m2(to_odd(v), 1); return;
    case TENON_I8: ((int8_t *)p)[at] = (int8_t)saturate(v, -128, 127); return;
    case TENON_I16: ((int16_t *)p)[at] = (int16_t)saturate(v, -32768, 32767); return;
    case TENON_I32: ((int32_t *)p)[at] = (int32_t)saturate(v, INT32_MIN, INT32_MAX); return;
    case TENON_I64: ((int64_t *)p)[at] = saturate(v, -0x1p63, 0x1p63); return;
    case TENON_U8: ((uint8_t *)p)[at] = (uint8_t)saturate(v, 0, 255); return;
    case TENON_U16: ((uint16_t *)p)[at] = (uint16_t)saturate(v, 0, 65535); return;
    case TENON_U32: ((uint32_t *)p)[at] = (uint32_t)saturate(v, 0, UINT32_MAX); return;
    case TENON_U64: ((uint64_t *)p)[at] = v >= 0x1p64 ? UINT64_MAX : v > 0.5 ? (uint64_t)nearbyint(v) : 0; return;
    case TENON_I4: set_nibble(t, at, (int)saturate(v, -8, 7)); return;
    case TENON_U4: set_nibble(t, at, (int)saturate(v, 0, 15)); return;
    case TENON_BOOL: ((uint8_t *)p)[at] = v != 0; return;
    default: return;
    }
}

void tenon_tensor_set_i64(const tenon_tensor *t, int64_t at, int64_t v)
{
    void *p = t->data;
    switch (t->dtype) {
    case TENON_I8: case TENON_U8: ((uint8_t *)p)[at] = (uint8_t)v; return;
    case TENON_I16: case TENON_U16: ((uint16_t *)p)[at] = (uint16_t)v; return;
    case TENON_I32: case TENON_U32: ((uint32_t *)p)[at] = (uint32_t)v; return;
    case TENON_I64: case TENON_U64: ((uint64_t *)p)[at] = (uint64_t)v; return;
    case TENON_I4: case TENON_U4: set_nibble(t, at, (int)(v & 15)); return;
    case TENON_BOOL: ((uint8_t *)p)[at] = v != 0; return;
    case TENON_F32: ((float *)p)[at] = (float)v; return;
    default: tenon_tensor_set_f64(t, at, (double)v); return;
    }
}

static size_t element_bytes(tenon_dtype t)
{
    if (t == TENON_STRING) return sizeof(tenon_string);
    if (t == TENON_SEQUENCE || t == TENON_OPTIONAL) return sizeof(tenon_sequence);
    return (size_t)tenon_dtype_get(t)->bits / 8;
}

static void copy_row(char *d, int64_t ds, const char *s, int64_t ss, int64_t count, size_t size)
{
    if (ds == 1 && ss == 1) {
        memcpy(d, s, (size_t)count * size);
        return;
    }
    const int64_t db = ds * (int64_t)size, sb = ss * (int64_t)size;
    for (int64_t i = 0; i < count; i++, d += db, s += sb) memcpy(d, s, size);
}

void tenon_tensor_copy(const tenon_tensor *dst, const tenon_tensor *src)
{
    const int64_t count = tenon_tensor_count(src);
    if (!count || count == INT64_MAX) return;
    const size_t size = element_bytes(src->dtype);
    if (!size) { /* two a byte: dense only */
        memcpy(dst->data, src->data, tenon_dtype_bytes(src->dtype, (size_t)count));
        return;
    }
    if (tenon_tensor_is_dense(dst) && tenon_tensor_is_dense(src)) {
        memcpy(dst->data, src->data, (size_t)count * size);
        return;
    }
    const int last = src->rank - 1;
    const int64_t row = src->dim[last];
    for (int64_t i = 0; i < count; i += row)
        copy_row((char *)dst->data + tenon_tensor_offset(dst, i) * (int64_t)size, dst->stride[last],
                 (const char *)src->data + tenon_tensor_offset(src, i) * (int64_t)size, src->stride[last], row, size);
}
