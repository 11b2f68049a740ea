/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX's types: numbers of element types, and declared types of inputs with their symbolic dimensions. */
#include "onnx/import.h"

#include <string.h>

static const struct { uint8_t number; tenon_dtype dtype; const char *name; } dtypes[] = {
    {1, TENON_F32, "FLOAT"},         {2, TENON_U8, "UINT8"},           {3, TENON_I8, "INT8"},
    {4, TENON_U16, "UINT16"},        {5, TENON_I16, "INT16"},          {6, TENON_I32, "INT32"},
    {7, TENON_I64, "INT64"},         {8, TENON_STRING, "STRING"},      {9, TENON_BOOL, "BOOL"},
    {10, TENON_F16, "FLOAT16"},      {11, TENON_F64, "DOUBLE"},        {12, TENON_U32, "UINT32"},
    {13, TENON_U64, "UINT64"},       {14, TENON_DTYPE_NONE, "COMPLEX64"}, {15, TENON_DTYPE_NONE, "COMPLEX128"},
    {16, TENON_BF16, "BFLOAT16"},    {17, TENON_F8E4M3, "FLOAT8E4M3FN"}, {18, TENON_DTYPE_NONE, "FLOAT8E4M3FNUZ"},
    {19, TENON_F8E5M2, "FLOAT8E5M2"}, {20, TENON_DTYPE_NONE, "FLOAT8E5M2FNUZ"}, {21, TENON_U4, "UINT4"},
    {22, TENON_I4, "INT4"},          {23, TENON_DTYPE_NONE, "FLOAT4E2M1"}, {24, TENON_DTYPE_NONE, "FLOAT8E8M0"},
    {25, TENON_DTYPE_NONE, "UINT2"}, {26, TENON_DTYPE_NONE, "INT2"},   {27, TENON_DTYPE_NONE, "FLOAT6E2M3"},
    {28, TENON_DTYPE_NONE, "FLOAT6E3M2"},
};

tenon_dtype tenon_onnx_dtype(int64_t number)
{
    for (size_t i = 0; i < TENON_COUNTOF(dtypes); i++)
        if (dtypes[i].number == number) return dtypes[i].dtype;
    return TENON_DTYPE_NONE;
}

int tenon_onnx_dtype_number(tenon_dtype t)
{
    for (size_t i = 0; i < TENON_COUNTOF(dtypes); i++)
        if (dtypes[i].dtype == t && t != TENON_DTYPE_NONE) return dtypes[i].number;
    return 0;
}

const char *tenon_onnx_dtype_name(int64_t number)
{
    for (size_t i = 0; i < TENON_COUNTOF(dtypes); i++)
        if (dtypes[i].number == number) return dtypes[i].name;
    return "unknown";
}

static bool identifier(const char *s)
{
    if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_')) return false;
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '_')) return false;
    return true;
}

/* Dimension names appear in text that is parsed again, so they are identifiers there: other characters become '_'. */
static const char *symbol_name(tenon_importer *im, const char *s)
{
    if (identifier(s)) return s;
    char *name = tenon_arena_printf(im->arena, "%s%s", (*s >= '0' && *s <= '9') || *s == 0 ? "_" : "", s);
    for (char *p = name; p && *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9'))) *p = '_';
    return name;
}

static const tenon_dim *free_dim(tenon_importer *im, const char *name)
{
    return name ? tenon_dim_symbol_named(im->dims, name, 1, 1, INT32_MAX, 1) : NULL;
}

/* "2*seq + 1" of symbols already seen is an expression; a failed attempt leaves no trace. */
static const tenon_dim *expression(tenon_importer *im, const char *s)
{
    if (identifier(s) || !strpbrk(s, "+-*/(")) return NULL;
    char *text = tenon_arena_strdup(im->arena, s);
    if (!text) return NULL;
    size_t length = 0;
    for (const char *p = s; *p; p++)
        if (*p != ' ') text[length++] = *p;
    tenon_cx quiet = *im->cx;
    const tenon_dim *d = NULL;
    return tenon_dim_parse(&quiet, im->dims, text, length, &d) == TENON_OK ? d : NULL;
}

static tenon_status dim(tenon_importer *im, const tenon_pb_dim *pb, const char *name, int axis, const tenon_dim **out)
{
    const char *text;
    if (pb->dim_param.length > 0) {
        TENON_TRY(tenon_onnx_string(im, pb->dim_param, "dimension name", &text));
        *out = expression(im, text);
        if (!*out) *out = free_dim(im, symbol_name(im, text));
    } else if (tenon_wire_has(&tenon_pb_dim_message, pb, 1) && pb->dim_value != -1) {
        if (pb->dim_value < 0 || pb->dim_value >= TENON_DIM_HUGE)
            return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: '%s': dimension %d is %lld", name, axis, (long long)pb->dim_value);
        *out = tenon_dim_const(im->dims, pb->dim_value);
    } else { /* without a name; some writers say -1 */
        char *made = tenon_arena_printf(im->arena, "%s_%d", name, axis);
        *out = made ? free_dim(im, symbol_name(im, made)) : NULL;
    }
    return *out ? TENON_OK : TENON_NOMEM;
}

static tenon_status tensor_type(tenon_importer *im, const tenon_pb_tensor_type *pb, const char *name, tenon_type *out)
{
    out->dtype = tenon_onnx_dtype(pb->elem_type);
    if (pb->elem_type == 0) return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: '%s' has no element type", name);
    if (out->dtype == TENON_DTYPE_NONE)
        return TENON_FAIL(im->cx, TENON_UNSUPPORTED, "ONNX: '%s' has element type %s (%lld), which Tenon does not have", name,
                          tenon_onnx_dtype_name(pb->elem_type), (long long)pb->elem_type);
    out->rank = -1;
    if (!pb->shape) return TENON_OK;
    if (pb->shape->dim.count > TENON_MAX_RANK)
        return TENON_FAIL(im->cx, TENON_UNSUPPORTED, "ONNX: '%s' has %zu dimensions; %d are the most", name, pb->shape->dim.count,
                          TENON_MAX_RANK);
    out->rank = (int)pb->shape->dim.count;
    for (int i = 0; i < out->rank; i++) TENON_TRY(dim(im, &pb->shape->dim.item[i], name, i, &out->dim[i]));
    return TENON_OK;
}

tenon_status tenon_onnx_type(tenon_importer *im, const tenon_pb_type *pb, const char *name, tenon_type *out)
{
    memset(out, 0, sizeof *out);
    out->rank = -1;
    if (!pb) return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: '%s' has no type", name);
    if (pb->tensor_type) return tensor_type(im, pb->tensor_type, name, out);
    const tenon_pb_element_type *holder = pb->sequence_type ? pb->sequence_type : pb->optional_type;
    if (!holder)
        return TENON_FAIL(im->cx, TENON_UNSUPPORTED, "ONNX: '%s' is a %s; tensors, sequences and optionals can be read", name,
                          pb->map_type.data ? "map" : pb->sparse_tensor_type.data ? "sparse tensor" : "value of unknown kind");
    tenon_type *element = tenon_arena_alloc(im->arena, sizeof *element);
    if (!element) return TENON_NOMEM;
    TENON_TRY(tenon_onnx_type(im, holder->elem_type, name, element));
    out->dtype = pb->sequence_type ? TENON_SEQUENCE : TENON_OPTIONAL;
    out->rank = 0;
    out->element = element;
    return TENON_OK;
}
