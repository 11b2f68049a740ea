/* SPDX-License-Identifier: Apache-2.0 */
/* Writing protobuf: one call a field. A nested message is written to a buffer of its own and then put. Growth failures are sticky
   in the buffer (base/buf.h). */
#ifndef TENON_ONNX_WIRE_WRITE_H
#define TENON_ONNX_WIRE_WRITE_H

#include "base/buf.h"

void tenon_wire_put_varint(tenon_buf *b, uint64_t v); /* without a field */
void tenon_wire_put_int(tenon_buf *b, uint32_t number, int64_t v);
void tenon_wire_put_float(tenon_buf *b, uint32_t number, float v);
void tenon_wire_put_bytes(tenon_buf *b, uint32_t number, const void *data, size_t bytes);
void tenon_wire_put_text(tenon_buf *b, uint32_t number, const char *s);
/* Puts `nested` as a message, or any bytes field, and clears it. A failure inside it becomes one of `b`. */
void tenon_wire_put_message(tenon_buf *b, uint32_t number, tenon_buf *nested);

#endif
