/* SPDX-License-Identifier: Apache-2.0 */
/* The wire reader: every kind of field, packed and not, and bytes that lie. */
#include "check.h"

#include "onnx/wire.h"
#include "onnx/wire_write.h"

typedef struct inner { uint64_t has; int64_t i; } inner;
typedef struct outer {
    uint64_t has;
    int64_t i;
    float f;
    tenon_span s;
    struct outer *again;
    struct { int64_t *item; size_t count; } ints;
    struct { float *item; size_t count; } floats;
    struct { double *item; size_t count; } doubles;
    struct { tenon_span *item; size_t count; } spans;
    struct { inner *item; size_t count; } inners;
} outer;

static const tenon_wire_field inner_fields[] = {{1, TENON_WIRE_INT, offsetof(inner, i), NULL, "i"}};
static const tenon_wire_message inner_message = {"Inner", sizeof(inner), 1, inner_fields};
static const tenon_wire_message outer_message;
static const tenon_wire_field outer_fields[] = {
    {1, TENON_WIRE_INT, offsetof(outer, i), NULL, "i"},           {2, TENON_WIRE_FLOAT, offsetof(outer, f), NULL, "f"},
    {3, TENON_WIRE_SPAN, offsetof(outer, s), NULL, "s"},          {4, TENON_WIRE_MESSAGE, offsetof(outer, again), &outer_message,
                                                                   "again"},
    {5, TENON_WIRE_INTS, offsetof(outer, ints), NULL, "ints"},    {6, TENON_WIRE_FLOATS, offsetof(outer, floats), NULL, "floats"},
    {7, TENON_WIRE_DOUBLES, offsetof(outer, doubles), NULL, "doubles"}, {8, TENON_WIRE_SPANS, offsetof(outer, spans), NULL,
                                                                         "spans"},
    {9, TENON_WIRE_MESSAGES, offsetof(outer, inners), &inner_message, "inners"},
};
static const tenon_wire_message outer_message = {"Outer", sizeof(outer), 9, outer_fields};

static tenon_cx cx;
static tenon_arena arena;

static tenon_status read(const tenon_buf *b, outer *out)
{
    memset(out, 0, sizeof *out);
    return tenon_wire_read(&cx, &arena, &outer_message, (const uint8_t *)b->data, b->length, out);
}

/* The bytes copied to a heap block of exactly their size, so that a sanitizer sees one byte too far. */
static tenon_status read_exactly(const char *data, size_t bytes, outer *out)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    memcpy(copy, data, bytes);
    memset(out, 0, sizeof *out);
    const tenon_status status = tenon_wire_read(&cx, &arena, &outer_message, copy, bytes, out);
    free(copy);
    return status;
}

static void everything(tenon_buf *b)
{
    tenon_buf n;
    tenon_buf_init(&n, &cx);
    tenon_wire_put_int(b, 1, -5);
    tenon_wire_put_float(b, 2, 1.5f);
    tenon_wire_put_text(b, 3, "text");
    tenon_wire_put_int(&n, 1, 77);
    tenon_wire_put_message(b, 4, &n);
    tenon_wire_put_int(b, 5, 1);
    tenon_wire_put_varint(&n, 300); /* packed after unpacked: both count */
    tenon_wire_put_varint(&n, (uint64_t)-1);
    tenon_wire_put_message(b, 5, &n);
    tenon_wire_put_float(b, 6, 2);
    tenon_wire_put_bytes(b, 6, &(float[]){3, 4}, 8);
    tenon_wire_put_bytes(b, 7, &(double[]){0.25, -8}, 16);
    tenon_wire_put_text(b, 8, "a");
    tenon_wire_put_text(b, 8, "");
    tenon_wire_put_int(&n, 1, 9);
    tenon_wire_put_message(b, 9, &n);
    tenon_wire_put_message(b, 9, &n);
    tenon_wire_put_int(b, 1000, 3); /* unknown: skipped */
    tenon_wire_put_text(b, 1001, "skipped");
    tenon_buf_free(&n);
}

static void test_fields(void)
{
    tenon_buf b;
    outer o;
    tenon_buf_init(&b, &cx);
    everything(&b);
    if (!CHECK_OK(&cx, read(&b, &o))) return;
    CHECK(o.i == -5 && o.f == 1.5f && o.s.length == 4 && memcmp(o.s.data, "text", 4) == 0);
    CHECK(o.again && o.again->i == 77);
    CHECK(o.ints.count == 3 && o.ints.item[0] == 1 && o.ints.item[1] == 300 && o.ints.item[2] == -1);
    CHECK(o.floats.count == 3 && o.floats.item[0] == 2 && o.floats.item[2] == 4);
    CHECK(o.doubles.count == 2 && o.doubles.item[0] == 0.25 && o.doubles.item[1] == -8);
    CHECK(o.spans.count == 2 && o.spans.item[1].length == 0);
    CHECK(o.inners.count == 2 && o.inners.item[0].i == 9 && o.inners.item[1].i == 0);
    CHECK(tenon_wire_has(&outer_message, &o, 1) && !tenon_wire_has(&outer_message, o.again, 2) &&
          !tenon_wire_has(&inner_message, &o.inners.item[1], 1));
    int truncated_well = 0;
    for (size_t n = 0; n < b.length; n++) truncated_well += read_exactly(b.data, n,
                                                                         &o) == TENON_OK; /* only at the ends of fields */
    CHECK(truncated_well == 15);
    for (size_t n = 0; n < b.length; n++)
        for (int bit = 0; bit < 8; bit++) { /* any answer, no crash */
            b.data[n] ^= (char)(1 << bit);
            const tenon_status status = read_exactly(b.data, b.length, &o);
            CHECK(status == TENON_OK || status == TENON_CORRUPT);
            b.data[n] ^= (char)(1 << bit);
        }
    tenon_buf_free(&b);
}

static void check_bytes(const char *data, size_t bytes, const char *part)
{
    outer o;
    CHECK_FAILS(&cx, read_exactly(data, bytes, &o), TENON_CORRUPT, part);
}

static void test_lies(void)
{
    check_bytes("\x1a\xff\xff\xff\xff\x07xx", 8, "claims 2147483647 bytes, 2 are left");
    check_bytes("\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "claims 18446744073709551615 bytes");
    check_bytes("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, "longer than 10 bytes");
    check_bytes("\x08\x80", 2, "cut off");
    check_bytes("\x15\0\0\0", 4, "cut off");
    check_bytes("\x0b", 1, "group");
    check_bytes("\x0f", 1, "wire type");
    check_bytes("\x00\x00", 2, "number is out of range");
    check_bytes("\x0a\x00", 2, "field 'i' has wire type 2");
    check_bytes("\x32\x03" "abc", 5, "ends inside a number");
    check_bytes("\x2a\x02\x01\x80", 4, "packed number");
    check_bytes("\x22\x00\x22\x00", 4, "appears twice");
}

static void test_depth(void)
{
    tenon_buf b, next;
    outer o;
    tenon_buf_init(&b, &cx);
    tenon_buf_init(&next, &cx);
    for (int depth = 1; depth < 5000; depth++) {
        tenon_wire_put_message(&next, 4, &b);
        const tenon_buf swap = b;
        b = next;
        next = swap;
        if (depth == 50) CHECK_OK(&cx, read(&b, &o));
    }
    CHECK_FAILS(&cx, read(&b, &o), TENON_CORRUPT, "nested too deeply");
    tenon_buf_free(&b);
    tenon_buf_free(&next);
}

int main(void)
{
    tenon_cx_init_default(&cx);
    tenon_arena_init(&arena, &cx);
    test_fields();
    test_lies();
    test_depth();
    tenon_arena_free(&arena);
    return CHECK_END();
}
