/* SPDX-License-Identifier: Apache-2.0 */
/* Element types. A table row gives name, size in bits, kind; ONNX's numbers are mapped in onnx/. */
#ifndef TENON_IR_DTYPE_H
#define TENON_IR_DTYPE_H

#include "base/status.h"

/* The public tenon_dtype (include/tenon.h) is used throughout: TENON_F32, TENON_F16, TENON_BF16, TENON_F64, TENON_I8, ...,
   TENON_BOOL, TENON_STRING, and two for values that are not tensors: TENON_SEQUENCE, TENON_OPTIONAL. */
typedef enum { TENON_KIND_FLOAT, TENON_KIND_INT, TENON_KIND_UINT, TENON_KIND_BOOL, TENON_KIND_OTHER } tenon_dtype_kind;

typedef struct tenon_dtype_info {
    const char *name; /* "f32", as in problem text */
    int bits;         /* storage; 4 for the packed types, 0 for what has no plain storage */
    tenon_dtype_kind kind;
} tenon_dtype_info;

const tenon_dtype_info *tenon_dtype_get(tenon_dtype t); /* never NULL; a row named "none" when unknown */
bool tenon_dtype_parse(const char *s, size_t length, tenon_dtype *out);
static inline bool tenon_is_float(tenon_dtype t) { return tenon_dtype_get(t)->kind == TENON_KIND_FLOAT; }
static inline bool tenon_is_int(tenon_dtype t)
{
    const tenon_dtype_kind k = tenon_dtype_get(t)->kind;
    return k == TENON_KIND_INT || k == TENON_KIND_UINT;
}
/* Bytes of `count` packed elements (4-bit types round up). */
static inline size_t tenon_dtype_bytes(tenon_dtype t, size_t count) { return (count * (size_t)tenon_dtype_get(t)->bits + 7) / 8; }

#endif
