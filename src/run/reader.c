/* SPDX-License-Identifier: Apache-2.0 */
/* Engines that come and go by callbacks, for callers whose bytes lie in no file: an archive, a socket, an encrypted store. The
   header says how long the engine is; what it says is believed only as far as bytes come. */
#include "run/load.h"

#include "base/checked.h"

#include <string.h>

enum { FIRST_BYTES = 1 << 20, PIECE_BYTES = 16 << 20 };

/* Fills dst, in as many calls as it takes; *got is less than `bytes` only at the end. */
static tenon_status fill(tenon_cx *cx, const tenon_reader *r, uint8_t *dst, size_t bytes, size_t *got)
{
    for (*got = 0; *got < bytes;) {
        const size_t want = TENON_MIN(bytes - *got, (size_t)PIECE_BYTES);
        const int64_t count = r->read(r->user, dst + *got, want);
        if (count < 0 || (uint64_t)count > want)
            return TENON_FAIL(cx, TENON_INVALID, "engine from a reader: its read function failed (%lld of %zu bytes)",
                              (long long)count, want);
        if (count == 0) return TENON_OK;
        *got += (size_t)count;
    }
    return TENON_OK;
}

/* Whether so many bytes are there, where one can look. */
static tenon_status try_length(tenon_cx *cx, const tenon_reader *r, size_t total, bool *sure)
{
    uint8_t last;
    size_t got = 0;
    *sure = r->seek != NULL;
    if (!r->seek) return TENON_OK;
    if (r->seek(r->user, total - 1) != 0)
        return TENON_FAIL(cx, TENON_CORRUPT, "engine from a reader: it claims %zu bytes, and there is no byte %zu", total,
                          total - 1);
    TENON_TRY(fill(cx, r, &last, 1, &got));
    if (got == 0) return TENON_FAIL(cx, TENON_CORRUPT, "engine from a reader: it claims %zu bytes, and there are less", total);
    if (r->seek(r->user, sizeof(tenon_rec_header)) != 0) return TENON_FAIL(cx, TENON_INVALID,
                                                                           "engine from a reader: its seek function failed");
    return TENON_OK;
}

/* The rest of the engine behind its header, into memory that grows as bytes come unless the length is sure. */
static tenon_status read_rest(tenon_cx *cx, const tenon_reader *r, size_t total, bool sure, uint8_t **data, size_t *have)
{
    size_t room = *have;
    while (*have < total) {
        size_t got = 0;
        if (*have == room) {
            room = sure ? total : TENON_MIN(total, TENON_MAX(room * 2, (size_t)FIRST_BYTES));
            uint8_t *more = tenon_alloc_aligned(cx, room, TENON_ENGINE_PAGE);
            if (!more) return TENON_NOMEM;
            memcpy(more, *data, *have);
            tenon_free_aligned(cx, *data);
            *data = more;
        }
        TENON_TRY(fill(cx, r, *data + *have, room - *have, &got));
        if (got == 0) break; /* the checks of the image say what is missing */
        *have += got;
    }
    return TENON_OK;
}

static tenon_status read_image(tenon_cx *cx, const tenon_reader *r, uint8_t **data, size_t *bytes)
{
    tenon_rec_header h;
    *bytes = 0;
    *data = tenon_alloc_aligned(cx, sizeof h, TENON_ENGINE_PAGE);
    if (!*data) return TENON_NOMEM;
    TENON_TRY(fill(cx, r, *data, sizeof h, bytes));
    if (*bytes == 0) return TENON_FAIL(cx, TENON_INVALID, "engine from a reader: it gives no bytes");
    if (*bytes < sizeof h) return TENON_OK;
    memcpy(&h, *data, sizeof h);
    if (memcmp(h.magic, TENON_ENGINE_MAGIC, sizeof h.magic) != 0 || h.file_bytes <= sizeof h ||
        h.file_bytes > SIZE_MAX / 2) return TENON_OK;
    bool sure;
    TENON_TRY(try_length(cx, r, (size_t)h.file_bytes, &sure));
    return read_rest(cx, r, (size_t)h.file_bytes, sure, data, bytes);
}

tenon_status tenon_engine_load_reader(tenon_cx *cx, const tenon_reader *reader, const tenon_load_options *options,
                                      tenon_engine **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, reader);
    TENON_NEED(cx, reader->read);
    uint8_t *data = NULL;
    size_t bytes = 0;
    tenon_status status = read_image(cx, reader, &data, &bytes);
    struct tenon_engine_image *image = status == TENON_OK ? tenon_alloc(cx, sizeof *image) : NULL;
    if (!image) {
        tenon_free_aligned(cx, data);
        return status == TENON_OK ? TENON_NOMEM : status;
    }
    *image = (struct tenon_engine_image){.data = data, .bytes = bytes, .kind = TENON_IMAGE_HEAP};
    return TENON_DONE(tenon_engine_open(cx, image, options, "engine from a reader", out));
}

tenon_status tenon_engine_save_writer(tenon_cx *cx, const tenon_engine *engine, tenon_write_fn write, void *user)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    TENON_NEED(cx, write);
    const uint8_t *data;
    size_t bytes;
    tenon_engine_image_now(engine, &data, &bytes);
    for (size_t at = 0; at < bytes;) {
        const size_t piece = TENON_MIN(bytes - at, (size_t)PIECE_BYTES);
        const int64_t count = write(user, data + at, piece);
        if (count <= 0 || (uint64_t)count > piece)
            return TENON_FAIL(cx, TENON_INVALID, "saving the engine: the write function failed at byte %zu of %zu (%lld of %zu taken)",
                              at, bytes, (long long)count, piece);
        at += (size_t)count;
    }
    return TENON_OK;
}
