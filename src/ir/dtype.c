/* SPDX-License-Identifier: Apache-2.0 */
/* The table of element types; its names are those of problem text. */
#include "ir/dtype.h"

#include <string.h>

static const tenon_dtype_info rows[] = {
    [TENON_DTYPE_NONE] = {"none", 0, TENON_KIND_OTHER},
    [TENON_F32] = {"f32", 32, TENON_KIND_FLOAT},       [TENON_F64] = {"f64", 64, TENON_KIND_FLOAT},
    [TENON_F16] = {"f16", 16, TENON_KIND_FLOAT},       [TENON_BF16] = {"bf16", 16, TENON_KIND_FLOAT},
    [TENON_F8E4M3] = {"f8e4m3", 8, TENON_KIND_FLOAT},  [TENON_F8E5M2] = {"f8e5m2", 8, TENON_KIND_FLOAT},
    [TENON_I8] = {"i8", 8, TENON_KIND_INT},            [TENON_I16] = {"i16", 16, TENON_KIND_INT},
    [TENON_I32] = {"i32", 32, TENON_KIND_INT},         [TENON_I64] = {"i64", 64, TENON_KIND_INT},
    [TENON_U8] = {"u8", 8, TENON_KIND_UINT},           [TENON_U16] = {"u16", 16, TENON_KIND_UINT},
    [TENON_U32] = {"u32", 32, TENON_KIND_UINT},        [TENON_U64] = {"u64", 64, TENON_KIND_UINT},
    [TENON_I4] = {"i4", 4, TENON_KIND_INT},            [TENON_U4] = {"u4", 4, TENON_KIND_UINT},
    [TENON_BOOL] = {"bool", 8, TENON_KIND_BOOL},       [TENON_STRING] = {"string", 0, TENON_KIND_OTHER},
    [TENON_SEQUENCE] = {"sequence", 0, TENON_KIND_OTHER}, [TENON_OPTIONAL] = {"optional", 0, TENON_KIND_OTHER},
};

const tenon_dtype_info *tenon_dtype_get(tenon_dtype t) { return &rows[(unsigned)t < TENON_COUNTOF(rows) ? t : TENON_DTYPE_NONE]; }

bool tenon_dtype_parse(const char *s, size_t length, tenon_dtype *out)
{
    for (size_t i = 1; i < TENON_COUNTOF(rows); i++)
        if (strlen(rows[i].name) == length && !memcmp(rows[i].name, s, length)) {
            *out = (tenon_dtype)i;
            return true;
        }
    *out = TENON_DTYPE_NONE;
    return false;
}

const char *tenon_dtype_name(tenon_dtype dtype) { return tenon_dtype_get(dtype)->name; }
size_t tenon_dtype_bits(tenon_dtype dtype) { return (size_t)tenon_dtype_get(dtype)->bits; }
