/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf's wire format, driven by tables: a message is a C struct and a table of its fields (proto.c). Strings and byte
   fields point into the input; repeated fields become arrays in the arena. Every length is checked against what is left,
   nesting is bounded, unknown fields are skipped, groups are refused. Knows nothing of ONNX.

   Each message struct starts with `uint64_t has`: bit i is set when field i of the table was in the input. A singular
   message that appears twice is refused (protobuf would merge it; no writer makes that). */
#ifndef TENON_ONNX_WIRE_H
#define TENON_ONNX_WIRE_H

#include "base/arena.h"

typedef struct tenon_span { const uint8_t *data; size_t length; } tenon_span; /* data NULL: absent */

typedef enum {
    TENON_WIRE_INT,      /* int64_t, from a varint */
    TENON_WIRE_FLOAT,    /* float, from 4 bytes */
    TENON_WIRE_SPAN,     /* tenon_span */
    TENON_WIRE_MESSAGE,  /* pointer to the struct of `message` */
    TENON_WIRE_INTS,     /* the lists: { T *item; size_t count; }, packed or not */
    TENON_WIRE_FLOATS, TENON_WIRE_DOUBLES, TENON_WIRE_SPANS, TENON_WIRE_MESSAGES,
} tenon_wire_kind;

typedef struct tenon_wire_message tenon_wire_message;
typedef struct tenon_wire_field {
    uint32_t number;
    tenon_wire_kind kind;
    size_t offset;                      /* of the member in the struct */
    const tenon_wire_message *message;  /* of MESSAGE and MESSAGES */
    const char *name;
} tenon_wire_field;

enum { TENON_WIRE_FIELDS = 24, TENON_WIRE_DEPTH = 100 };

struct tenon_wire_message {
    const char *name;
    size_t bytes;                       /* sizeof the struct */
    int field_count;                    /* at most TENON_WIRE_FIELDS */
    const tenon_wire_field *field;
};

typedef struct tenon_wire_list { void *item; size_t count; } tenon_wire_list; /* how every list member is laid out */

/* Reads a whole message into `out` (m->bytes, zeroed by the caller). Spans borrow `data`. TENON_CORRUPT names message, field
   and byte offset. */
tenon_status tenon_wire_read(tenon_cx *cx, tenon_arena *arena, const tenon_wire_message *m, const uint8_t *data, size_t bytes,
                             void *out);
bool tenon_wire_has(const tenon_wire_message *m, const void *message, uint32_t number);
void tenon_wire_set(const tenon_wire_message *m, void *message, uint32_t number); /* it has it, from now on */

#endif
