/* SPDX-License-Identifier: Apache-2.0 */
/* The growing byte buffer. One byte more than the length is always kept, for the zero at the end. */
#include "base/buf.h"
#include "base/checked.h"

#include <stdio.h>
#include <string.h>

void tenon_buf_init(tenon_buf *b, tenon_cx *cx) { *b = (tenon_buf){.cx = cx}; }

void tenon_buf_free(tenon_buf *b)
{
    tenon_free(b->cx, b->data);
    tenon_buf_init(b, b->cx);
}

void tenon_buf_clear(tenon_buf *b)
{
    b->length = 0;
    b->failed = false;
    if (b->data) b->data[0] = 0;
}

static char *room(tenon_buf *b, size_t bytes)
{
    size_t need;
    if (b->failed) return NULL;
    if (!tenon_add_size(b->length, bytes, &need) || !tenon_add_size(need, 1, &need)) {
        b->failed = true;
        (void)TENON_FAIL(b->cx, TENON_NOMEM, "out of memory: buffer of %zu and %zu bytes wanted", b->length, bytes);
        return NULL;
    }
    if (need > b->capacity) {
        const size_t next = TENON_MAX(TENON_MAX(need, b->capacity + b->capacity / 2), 256);
        char *data = tenon_realloc(b->cx, b->data, next);
        if (!data) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->capacity = next;
    }
    return b->data + b->length;
}

static void advance(tenon_buf *b, size_t bytes)
{
    b->length += bytes;
    b->data[b->length] = 0;
}

void tenon_buf_bytes(tenon_buf *b, const void *data, size_t bytes)
{
    char *p = room(b, bytes);
    if (!p) return;
    if (bytes) memcpy(p, data, bytes);
    advance(b, bytes);
}

void tenon_buf_zeros(tenon_buf *b, size_t bytes)
{
    char *p = room(b, bytes);
    if (!p) return;
    memset(p, 0, bytes);
    advance(b, bytes);
}

void tenon_buf_align(tenon_buf *b, size_t alignment)
{
    const size_t over = b->length % alignment;
    if (over) tenon_buf_zeros(b, alignment - over);
}

void tenon_buf_str(tenon_buf *b, const char *s) { tenon_buf_bytes(b, s, strlen(s)); }
void tenon_buf_char(tenon_buf *b, char c) { tenon_buf_bytes(b, &c, 1); }

void tenon_buf_printf(tenon_buf *b, const char *format, ...)
{
    char text[256];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length >= 0 && (size_t)length < sizeof text) tenon_buf_bytes(b, text, (size_t)length);
    else if (length >= 0) {
        char *p = room(b, (size_t)length);
        if (p) {
            vsnprintf(p, (size_t)length + 1, format, again);
            advance(b, (size_t)length);
        }
    }
    va_end(again);
}

tenon_status tenon_buf_status(const tenon_buf *b) { return b->failed ? TENON_NOMEM : TENON_OK; }
const char *tenon_buf_cstr(tenon_buf *b) { return b->length ? b->data : ""; }
