/* SPDX-License-Identifier: Apache-2.0 */
/* Reads protobuf messages by table. Each message is scanned twice: once to count the repeated fields, so that each list is one
   array, once to fill. A scan steps over nested messages by their length, so the whole file is touched twice,
       its weights not at all. */
#include "onnx/wire.h"

#include "base/checked.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    tenon_cx *cx;
    tenon_arena *arena;
    const uint8_t *begin; /* of the input, for offsets in messages */
} reader;

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, GROUP = 3, GROUP_END = 4, FIXED32 = 5 };

typedef struct item {
    uint32_t number;
    int type;
    uint64_t value;  /* VARINT, FIXED32, FIXED64 */
    tenon_span span; /* BYTES */
    const uint8_t *at;
} item;

static tenon_status broken(const reader *r, const tenon_wire_message *m, const uint8_t *at, const char *what)
{
    return TENON_FAIL(r->cx, TENON_CORRUPT, "ONNX: %s at byte %zu: %s", m->name, (size_t)(at - r->begin), what);
}

static bool varint(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 70 && *p < end; shift += 7) {
        const uint8_t byte = *(*p)++;
        if (shift == 63 && byte > 1) return false;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = v;
            return true;
        }
    }
    return false;
}

static uint64_t little(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static tenon_status next(const reader *r, const tenon_wire_message *m, const uint8_t **p, const uint8_t *end, item *out)
{
    uint64_t tag, length;
    out->at = *p;
    if (!varint(p, end, &tag)) return broken(r, m, out->at, "a field's tag is cut off or longer than 10 bytes");
    out->number = (uint32_t)(tag >> 3);
    out->type = (int)(tag & 7);
    if (tag >> 32 != 0 || out->number == 0) return broken(r, m, out->at, "a field's number is out of range");
    switch (out->type) {
    case VARINT:
        if (!varint(p, end, &out->value)) return broken(r, m, out->at, "a number is cut off or longer than 10 bytes");
        return TENON_OK;
    case FIXED32:
    case FIXED64: {
        const int bytes = out->type == FIXED32 ? 4 : 8;
        if (end - *p < bytes) return broken(r, m, out->at, "a number is cut off");
        out->value = little(*p, bytes);
        *p += bytes;
        return TENON_OK;
    }
    case BYTES:
        if (!varint(p, end, &length)) return broken(r, m, out->at, "a length is cut off or longer than 10 bytes");
        if (length > (uint64_t)(end - *p))
            return TENON_FAIL(r->cx, TENON_CORRUPT, "ONNX: %s at byte %zu: field %u claims %llu bytes, %zu are left", m->name,
                              (size_t)(out->at - r->begin), out->number, (unsigned long long)length, (size_t)(end - *p));
        out->span = (tenon_span){*p, (size_t)length};
        *p += length;
        return TENON_OK;
    default: return broken(r, m, out->at, "a group or an unknown wire type");
    }
}

static int find(const tenon_wire_message *m, uint32_t number)
{
    for (int i = 0; i < m->field_count; i++)
        if (m->field[i].number == number) return i;
    return -1;
}

static size_t element_bytes(const tenon_wire_field *f)
{
    switch (f->kind) {
    case TENON_WIRE_INTS: return sizeof(int64_t);
    case TENON_WIRE_FLOATS: return sizeof(float);
    case TENON_WIRE_DOUBLES: return sizeof(double);
    case TENON_WIRE_SPANS: return sizeof(tenon_span);
    case TENON_WIRE_MESSAGES: return f->message->bytes;
    default: return 0;
    }
}

/* The wire types a field may come in; a list of numbers may also be packed. */
static bool fits(tenon_wire_kind kind, int type)
{
    switch (kind) {
    case TENON_WIRE_INT: return type == VARINT;
    case TENON_WIRE_FLOAT: return type == FIXED32;
    case TENON_WIRE_INTS: return type == VARINT || type == BYTES;
    case TENON_WIRE_FLOATS: return type == FIXED32 || type == BYTES;
    case TENON_WIRE_DOUBLES: return type == FIXED64 || type == BYTES;
    default: return type == BYTES;
    }
}

static tenon_status count_item(const reader *r, const tenon_wire_message *m, const tenon_wire_field *f, const item *it,
                               size_t *count)
{
    if (!fits(f->kind, it->type)) {
        char what[96];
        snprintf(what, sizeof what, "field '%s' has wire type %d", f->name, it->type);
        return broken(r, m, it->at, what);
    }
    size_t n = 1;
    if (it->type == BYTES) {
        if (f->kind == TENON_WIRE_INTS) {
            n = 0;
            for (size_t i = 0; i < it->span.length; i++) n += it->span.data[i] < 0x80;
        } else if (f->kind == TENON_WIRE_FLOATS || f->kind == TENON_WIRE_DOUBLES) {
            const size_t bytes = element_bytes(f);
            if (it->span.length % bytes != 0) return broken(r, m, it->at, "a packed list ends inside a number");
            n = it->span.length / bytes;
        }
    }
    *count += n;
    return TENON_OK;
}

static tenon_status read_message(const reader *r, const tenon_wire_message *m, tenon_span span, int depth, void *out);

static float as_float(uint64_t bits)
{
    const uint32_t low = (uint32_t)bits;
    float f;
    memcpy(&f, &low, sizeof f);
    return f;
}

static double as_double(uint64_t bits)
{
    double f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Appends to a list that has room, by the count of the first scan. */
static tenon_status fill_list(const reader *r, const tenon_wire_message *m, const tenon_wire_field *f, const item *it, int depth,
                              tenon_wire_list *list)
{
    switch (f->kind) {
    case TENON_WIRE_MESSAGES:
        return read_message(r, f->message, it->span, depth + 1, (char *)list->item + list->count++ * f->message->bytes);
    case TENON_WIRE_SPANS: ((tenon_span *)list->item)[list->count++] = it->span; return TENON_OK;
    case TENON_WIRE_INTS:
        if (it->type == VARINT) {
            ((int64_t *)list->item)[list->count++] = (int64_t)it->value;
            return TENON_OK;
        }
        for (const uint8_t *p = it->span.data, *end = p + it->span.length; p < end;) {
            uint64_t v;
            if (!varint(&p, end, &v)) return broken(r, m, it->at, "a packed number is cut off or longer than 10 bytes");
            ((int64_t *)list->item)[list->count++] = (int64_t)v;
        }
        return TENON_OK;
    case TENON_WIRE_FLOATS:
        if (it->type == FIXED32) ((float *)list->item)[list->count++] = as_float(it->value);
        else
            for (size_t i = 0; i < it->span.length; i += 4)
                ((float *)list->item)[list->count++] = as_float(little(it->span.data + i, 4));
        return TENON_OK;
    default:
        if (it->type == FIXED64) ((double *)list->item)[list->count++] = as_double(it->value);
        else
            for (size_t i = 0; i < it->span.length; i += 8)
                ((double *)list->item)[list->count++] = as_double(little(it->span.data + i, 8));
        return TENON_OK;
    }
}

static tenon_status fill(const reader *r, const tenon_wire_message *m, const tenon_wire_field *f, const item *it, int depth,
                         bool again,
                         char *member)
{
    switch (f->kind) {
    case TENON_WIRE_INT: memcpy(member, &it->value, sizeof(int64_t)); return TENON_OK;
    case TENON_WIRE_FLOAT: {
        const float v = as_float(it->value);
        memcpy(member, &v, sizeof v);
        return TENON_OK;
    }
    case TENON_WIRE_SPAN: memcpy(member, &it->span, sizeof it->span); return TENON_OK;
    case TENON_WIRE_MESSAGE: {
        if (again) return broken(r, m, it->at, "a message that may appear once appears twice");
        void *sub = tenon_arena_alloc(r->arena, f->message->bytes);
        if (!sub) return TENON_NOMEM;
        memcpy(member, &sub, sizeof sub);
        return read_message(r, f->message, it->span, depth + 1, sub);
    }
    default: return fill_list(r, m, f, it, depth, (tenon_wire_list *)(void *)member);
    }
}

static tenon_status read_message(const reader *r, const tenon_wire_message *m, tenon_span span, int depth, void *out)
{
    if (depth > TENON_WIRE_DEPTH) return broken(r, m, span.data, "messages are nested too deeply (more than 100)");
    const uint8_t *const end = span.data + span.length;
    size_t count[TENON_WIRE_FIELDS] = {0};
    item it;
    for (const uint8_t *p = span.data; p < end;) {
        TENON_TRY(next(r, m, &p, end, &it));
        const int i = find(m, it.number);
        if (i >= 0) TENON_TRY(count_item(r, m, &m->field[i], &it, &count[i]));
    }
    for (int i = 0; i < m->field_count; i++) {
        const size_t bytes = element_bytes(&m->field[i]);
        if (bytes == 0 || count[i] == 0) continue;
        tenon_wire_list *list = (tenon_wire_list *)(void *)((char *)out + m->field[i].offset);
        list->item = tenon_arena_array(r->arena, count[i], bytes);
        if (!list->item) return TENON_NOMEM;
    }
    uint64_t has = 0;
    for (const uint8_t *p = span.data; p < end;) {
        TENON_TRY(next(r, m, &p, end, &it));
        const int i = find(m, it.number);
        if (i < 0) continue;
        TENON_TRY(fill(r, m, &m->field[i], &it, depth, (has >> i & 1) != 0, (char *)out + m->field[i].offset));
        has |= UINT64_C(1) << i;
    }
    memcpy(out, &has, sizeof has);
    return TENON_OK;
}

tenon_status tenon_wire_read(tenon_cx *cx, tenon_arena *arena, const tenon_wire_message *m, const uint8_t *data, size_t bytes,
                             void *out)
{
    const reader r = {cx, arena, data};
    return read_message(&r, m, (tenon_span){data, bytes}, 0, out);
}

bool tenon_wire_has(const tenon_wire_message *m, const void *message, uint32_t number)
{
    uint64_t has;
    memcpy(&has, message, sizeof has);
    const int i = find(m, number);
    return i >= 0 && (has >> i & 1) != 0;
}

void tenon_wire_set(const tenon_wire_message *m, void *message, uint32_t number)
{
    uint64_t has;
    const int i = find(m, number);
    memcpy(&has, message, sizeof has);
    if (i >= 0) has |= (uint64_t)1 << i;
    memcpy(message, &has, sizeof has);
}
