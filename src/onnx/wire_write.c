/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf's wire format, written. */
#include "onnx/wire_write.h"

#include <string.h>

void tenon_wire_put_varint(tenon_buf *b, uint64_t v)
{
    uint8_t byte[10];
    size_t n = 0;
    while (v >= 0x80) {
        byte[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    byte[n++] = (uint8_t)v;
    tenon_buf_bytes(b, byte, n);
}

static void tag(tenon_buf *b, uint32_t number, int type) { tenon_wire_put_varint(b, (uint64_t)number << 3 | (uint64_t)type); }

void tenon_wire_put_int(tenon_buf *b, uint32_t number, int64_t v)
{
    tag(b, number, 0);
    tenon_wire_put_varint(b, (uint64_t)v);
}

void tenon_wire_put_float(tenon_buf *b, uint32_t number, float v)
{
    uint32_t bits;
    uint8_t byte[4];
    memcpy(&bits, &v, sizeof bits);
    for (int i = 0; i < 4; i++) byte[i] = (uint8_t)(bits >> 8 * i);
    tag(b, number, 5);
    tenon_buf_bytes(b, byte, sizeof byte);
}

void tenon_wire_put_bytes(tenon_buf *b, uint32_t number, const void *data, size_t bytes)
{
    tag(b, number, 2);
    tenon_wire_put_varint(b, bytes);
    if (bytes > 0) tenon_buf_bytes(b, data, bytes);
}

void tenon_wire_put_text(tenon_buf *b, uint32_t number, const char *s) { tenon_wire_put_bytes(b, number, s, strlen(s)); }

void tenon_wire_put_message(tenon_buf *b, uint32_t number, tenon_buf *nested)
{
    tenon_wire_put_bytes(b, number, nested->data, nested->length);
    b->failed |= nested->failed;
    tenon_buf_clear(nested);
}
