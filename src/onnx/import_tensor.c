/* SPDX-License-Identifier: Apache-2.0 */
/* TensorProto -> tensor. Raw and external bytes are borrowed when they are aligned for their type (they are little endian, as
   are the machines Tenon runs on); the typed lists of the format and misaligned bytes are copied to the arena. Sizes must agree
   exactly. */
#include "onnx/import.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "ONNX's raw data is little endian: a conversion is needed here for this machine"
#endif

struct tenon_onnx_file {
    struct tenon_onnx_file *next;
    tenon_file_map map;
    char *location;
};

void tenon_onnx_close(tenon_onnx_files *files)
{
    while (files->first) {
        struct tenon_onnx_file *f = files->first;
        files->first = f->next;
        tenon_file_map_close(&f->map);
        tenon_free(files->cx, f->location);
        tenon_free(files->cx, f);
    }
}

static tenon_status open_file(tenon_importer *im, const char *location, const struct tenon_onnx_file **out)
{
    for (const struct tenon_onnx_file *f = im->files->first; f; f = f->next)
        if (strcmp(f->location, location) == 0) {
            *out = f;
            return TENON_OK;
        }
    tenon_status status;
    char *path = NULL;
    struct tenon_onnx_file *f = tenon_alloc_zero(im->cx, sizeof *f);
    if (!f) return TENON_NOMEM;
    f->location = tenon_alloc(im->cx, strlen(location) + 1);
    status = f->location ? TENON_OK : TENON_NOMEM;
    if (status != TENON_OK) goto done;
    memcpy(f->location, location, strlen(location) + 1);
    TENON_TRY_DONE(tenon_file_beside(im->cx, im->path, location, &path));
    TENON_TRY_DONE(tenon_file_map_open(im->cx, path, &f->map));
    im->files->cx = im->cx;
    f->next = im->files->first;
    im->files->first = f;
    *out = f;
    f = NULL;
done:
    if (f) tenon_free(im->cx, f->location);
    tenon_free(im->cx, f);
    tenon_free(im->cx, path);
    return status;
}

static tenon_status number(tenon_importer *im, const tenon_pb_entry *e, const char *what, uint64_t *out)
{
    *out = 0;
    if (e->value.length == 0 || e->value.length > 19)
        return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: %s: external offset or length is no number", what);
    for (size_t i = 0; i < e->value.length; i++) {
        if (e->value.data[i] < '0' || e->value.data[i] > '9')
            return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: %s: external offset or length is no number", what);
        *out = *out * 10 + (uint64_t)(e->value.data[i] - '0');
    }
    return TENON_OK;
}

static tenon_status external(tenon_importer *im, const tenon_pb_tensor *pb, const char *what, size_t need, tenon_span *out)
{
    const char *location = NULL;
    uint64_t offset = 0, length = need;
    for (size_t i = 0; i < pb->external_data.count; i++) {
        const tenon_pb_entry *e = &pb->external_data.item[i];
        if (tenon_span_is(e->key, "location")) TENON_TRY(tenon_onnx_string(im, e->value, "external location", &location));
        else if (tenon_span_is(e->key, "offset")) TENON_TRY(number(im, e, what, &offset));
        else if (tenon_span_is(e->key, "length")) TENON_TRY(number(im, e, what, &length));
    }
    if (!location || !*location) return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: %s: external data without a location", what);
    if (!im->path)
        return TENON_FAIL(im->cx, TENON_INVALID,
                          "ONNX: %s is in the file '%s': read the model from its file, or say where its bytes came from", what,
                          location);
    const struct tenon_onnx_file *f = NULL;
    const tenon_status status = open_file(im, location, &f);
    if (status != TENON_OK) return tenon_fail_in(im->cx, status, "ONNX: %s: external data: ", what);
    if (offset > f->map.bytes || length > f->map.bytes - offset)
        return TENON_FAIL(im->cx, TENON_CORRUPT, "ONNX: %s: bytes %llu to %llu of '%s', which has %zu", what,
                          (unsigned long long)offset,
                          (unsigned long long)(offset + length), location, f->map.bytes);
    *out = (tenon_span){length ? f->map.data + offset : NULL, (size_t)length};
    return TENON_OK;
}

/* Booleans are 0 or 1 everywhere in Tenon. */
static bool clean_bool(const uint8_t *data, size_t count)
{
    uint8_t all = 0;
    for (size_t i = 0; i < count; i++) all |= data[i];
    return all <= 1;
}

static tenon_status from_bytes(tenon_importer *im, tenon_span raw, const char *what, size_t need, tenon_tensor *t)
{
    if (raw.length != need)
        return TENON_FAIL(im->cx, TENON_CORRUPT, "ONNX: %s has %zu bytes of data; its type and dimensions need %zu", what,
                          raw.length, need);
    const size_t align = TENON_MAX((size_t)tenon_dtype_get(t->dtype)->bits / 8, 1);
    if (need > 0 && (uintptr_t)raw.data % align == 0 && (t->dtype != TENON_BOOL || clean_bool(raw.data, need))) {
        t->data = (void *)(uintptr_t)raw.data;
        return TENON_OK;
    }
    t->data = tenon_arena_alloc(im->arena, TENON_MAX(need, 1));
    if (!t->data) return TENON_NOMEM;
    if (need > 0) memcpy(t->data, raw.data, need);
    if (t->dtype == TENON_BOOL)
        for (size_t i = 0; i < need; i++) ((uint8_t *)t->data)[i] = ((uint8_t *)t->data)[i] != 0;
    return TENON_OK;
}

static tenon_status wrong_count(tenon_importer *im, const char *what, const char *list, size_t have, size_t need)
{
    return TENON_FAIL(im->cx, TENON_CORRUPT, "ONNX: %s has %zu elements in %s; its dimensions need %zu", what, have, list, need);
}

/* The integers of a typed list, cut to the element's size (which is what writers of the small types rely on). */
static void store_ints(const tenon_pb_ints *list, size_t bytes, bool is_bool, uint8_t *dst)
{
    for (size_t i = 0; i < list->count; i++) {
        const int64_t v = is_bool ? list->item[i] != 0 : list->item[i];
        memcpy(dst + i * bytes, &v, bytes);
    }
}

static tenon_status from_lists(tenon_importer *im, const tenon_pb_tensor *pb, const char *what, size_t count, size_t need,
                               tenon_tensor *t)
{
    const int bits = tenon_dtype_get(t->dtype)->bits;
    t->data = tenon_arena_alloc(im->arena, TENON_MAX(need, 1));
    if (!t->data) return TENON_NOMEM;
    switch (t->dtype) {
    case TENON_F32:
        if (pb->float_data.count != count) return wrong_count(im, what, "float_data", pb->float_data.count, count);
        if (count) memcpy(t->data, pb->float_data.item, need);
        return TENON_OK;
    case TENON_F64:
        if (pb->double_data.count != count) return wrong_count(im, what, "double_data", pb->double_data.count, count);
        if (count) memcpy(t->data, pb->double_data.item, need);
        return TENON_OK;
    case TENON_I64:
        if (pb->int64_data.count != count) return wrong_count(im, what, "int64_data", pb->int64_data.count, count);
        store_ints(&pb->int64_data, 8, false, t->data);
        return TENON_OK;
    case TENON_U64:
    case TENON_U32:
        if (pb->uint64_data.count != count) return wrong_count(im, what, "uint64_data", pb->uint64_data.count, count);
        store_ints(&pb->uint64_data, (size_t)bits / 8, false, t->data);
        return TENON_OK;
    default: { /* everything else is in int32_data; of the 4-bit types an entry is a byte of two */
        const size_t entries = bits < 8 ? need : count;
        if (pb->int32_data.count != entries) return wrong_count(im, what, "int32_data", pb->int32_data.count, entries);
        store_ints(&pb->int32_data, TENON_MAX((size_t)bits / 8, 1), t->dtype == TENON_BOOL, t->data);
        return TENON_OK;
    }
    }
}

static tenon_status strings(tenon_importer *im, const tenon_pb_tensor *pb, const char *what, size_t count, tenon_tensor *t)
{
    if (pb->string_data.count != count) return wrong_count(im, what, "string_data", pb->string_data.count, count);
    tenon_string *s = tenon_arena_array(im->arena, TENON_MAX(count, 1), sizeof *s);
    if (!s) return TENON_NOMEM;
    for (size_t i = 0; i < count; i++) s[i] = (tenon_string){(const char *)pb->string_data.item[i].data,
                                                             pb->string_data.item[i].length};
    t->data = s;
    return TENON_OK;
}

tenon_status tenon_onnx_tensor(tenon_importer *im, const tenon_pb_tensor *pb, const char *what, tenon_tensor *out)
{
    memset(out, 0, sizeof *out);
    out->dtype = tenon_onnx_dtype(pb->data_type);
    if (out->dtype == TENON_DTYPE_NONE)
        return TENON_FAIL(im->cx, pb->data_type == 0 ? TENON_INVALID : TENON_UNSUPPORTED,
                          "ONNX: %s has element type %s (%lld), which Tenon does not have",
                          what, tenon_onnx_dtype_name(pb->data_type), (long long)pb->data_type);
    if (pb->segment.data) return TENON_FAIL(im->cx, TENON_UNSUPPORTED, "ONNX: %s is stored in segments", what);
    if (pb->dims.count > TENON_MAX_RANK)
        return TENON_FAIL(im->cx, TENON_UNSUPPORTED, "ONNX: %s has %zu dimensions; %d are the most", what, pb->dims.count,
                          TENON_MAX_RANK);
    out->rank = (int)pb->dims.count;
    for (int i = 0; i < out->rank; i++) out->dim[i] = pb->dims.item[i];
    int64_t count;
    size_t bytes;
    if (!tenon_product(out->dim, out->rank, &count) || count > INT64_MAX / 16 || !tenon_mul_size((size_t)count, 16, &bytes))
        return TENON_FAIL(im->cx, TENON_INVALID, "ONNX: %s has a negative dimension or too many elements", what);
    tenon_tensor_dense(out);
    if (out->dtype == TENON_STRING) return strings(im, pb, what, (size_t)count, out);
    const size_t need = tenon_dtype_bytes(out->dtype, (size_t)count);
    if (pb->data_location == 1) {
        tenon_span raw = {0};
        TENON_TRY(external(im, pb, what, need, &raw));
        return from_bytes(im, raw, what, need, out);
    }
    if (tenon_wire_has(&tenon_pb_tensor_message, pb, 9)) return from_bytes(im, pb->raw_data, what, need, out);
    return from_lists(im, pb, what, (size_t)count, need, out);
}
