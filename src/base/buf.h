/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte buffer, for text and for files being written. A failure to grow is sticky: check once at the end by
   tenon_buf_status. data is always zero-terminated when length > 0. */
#ifndef TENON_BASE_BUF_H
#define TENON_BASE_BUF_H

#include "base/status.h"

typedef struct tenon_buf {
    tenon_cx *cx;
    char *data;
    size_t length, capacity;
    bool failed;
} tenon_buf;

void tenon_buf_init(tenon_buf *b, tenon_cx *cx);
void tenon_buf_free(tenon_buf *b);
void tenon_buf_clear(tenon_buf *b);
void tenon_buf_bytes(tenon_buf *b, const void *data, size_t bytes);
void tenon_buf_zeros(tenon_buf *b, size_t bytes);
void tenon_buf_align(tenon_buf *b, size_t alignment); /* zero bytes up to a multiple */
void tenon_buf_str(tenon_buf *b, const char *s);
void tenon_buf_char(tenon_buf *b, char c);
TENON_PRINTF(2, 3) void tenon_buf_printf(tenon_buf *b, const char *format, ...);
tenon_status tenon_buf_status(const tenon_buf *b); /* TENON_NOMEM if any append failed */
const char *tenon_buf_cstr(tenon_buf *b);          /* "" when empty */

#endif
