/* SPDX-License-Identifier: Apache-2.0 */
/* See transfer.h. What is page-locked already goes directly, and so does little on its way to the device, which the driver puts in
   its command buffer. */
#include "cuda/device.h"

#include <string.h>

enum { LITTLE = 16 << 10 };

static tenon_status make_pieces(tenon_cx *cx, tenon_device *d)
{
    const tenon_cuda_driver *u = &d->driver;
    tenon_cuda_transfer *t = &d->transfer;
    void *block = NULL;
    const size_t bytes = (size_t)TENON_CUDA_PIECES * TENON_CUDA_PIECE_BYTES;
    for (int i = 0; i < TENON_CUDA_PIECES; i++)
        TENON_TRY(tenon_cuda_check(cx, u, u->cuEventCreate(&t->done[i], TENON_CU_NO_TIMING), "event"));
    const int error = bytes > tenon_cuda_memory_limit() ? TENON_CU_OUT_OF_MEMORY
                                                        : u->cuMemHostAlloc(&block, bytes, TENON_CU_PORTABLE);
    TENON_TRY(tenon_cuda_check(cx, u, error, "page-locked memory"));
    for (int i = 0; i < TENON_CUDA_PIECES; i++) t->piece[i] = (char *)block + (size_t)i * TENON_CUDA_PIECE_BYTES;
    return TENON_OK;
}

void tenon_cuda_transfer_free(tenon_device *d)
{
    tenon_cuda_transfer *t = &d->transfer;
    if (t->piece[0]) (void)d->driver.cuMemFreeHost(t->piece[0]);
    for (int i = 0; i < TENON_CUDA_PIECES; i++)
        if (t->done[i]) (void)d->driver.cuEventDestroy_v2(t->done[i]);
}

static bool is_page_locked(const tenon_cuda_driver *u, const void *host)
{
    unsigned kind = 0;
    return u->cuPointerGetAttribute && u->cuPointerGetAttribute(&kind, TENON_CU_MEMORY_TYPE, (uintptr_t)host) == 0 && kind != 0;
}

/* Whether the pieces are this thread's, until end. */
static bool begin(tenon_cx *cx, tenon_device *d, const void *host)
{
    tenon_cuda_transfer *t = &d->transfer;
    if (is_page_locked(&d->driver, host) || atomic_exchange(&t->taken, true)) return false;
    if (!t->tried) {
        tenon_cx quiet; /* without them the driver copies */
        tenon_cx_init_child(&quiet, &d->cx);
        t->tried = true;
        if (make_pieces(&quiet, d) != TENON_OK)
            tenon_log(cx, TENON_VERBOSE, TENON_TOPIC_DEVICE, "copies go without page-locked memory: %s", quiet.message);
    }
    if (t->piece[0]) return true;
    atomic_store(&t->taken, false);
    return false;
}

/* The pieces are free when the stream has come to the end of its copies, whatever became of them. */
static tenon_status end(tenon_cx *cx, tenon_device *d, int error)
{
    const int waited = d->driver.cuStreamSynchronize(d->stream);
    atomic_store(&d->transfer.taken, false);
    return tenon_cuda_check(cx, &d->driver, error ? error : waited, "a kernel or copy failed");
}

static tenon_cuda_queue own_queue(tenon_cx *cx, tenon_device *d)
{
    return (tenon_cuda_queue){.cx = cx, .device = d, .driver = &d->driver, .stream = d->stream};
}

tenon_status tenon_cuda_upload(tenon_cx *cx, tenon_device *d, void *dst, const void *src, size_t bytes)
{
    const tenon_cuda_driver *u = &d->driver;
    const tenon_cuda_queue q = own_queue(cx, d);
    if (bytes <= LITTLE || !begin(cx, d, src)) return tenon_cuda_write(&q, dst, src, bytes);
    const tenon_cuda_transfer *t = &d->transfer;
    int error = 0;
    size_t k = 0;
    for (size_t at = 0; at < bytes && !error; at += TENON_CUDA_PIECE_BYTES, k++) {
        const size_t n = TENON_MIN(bytes - at, (size_t)TENON_CUDA_PIECE_BYTES);
        const int i = (int)(k % TENON_CUDA_PIECES);
        if (k >= TENON_CUDA_PIECES) error = u->cuEventSynchronize(t->done[i]);
        if (error) break;
        memcpy(t->piece[i], (const char *)src + at, n);
        error = u->cuMemcpyHtoDAsync_v2((uintptr_t)dst + at, t->piece[i], n, d->stream);
        if (!error) error = u->cuEventRecord(t->done[i], d->stream);
    }
    return end(cx, d, error);
}

tenon_status tenon_cuda_download(tenon_cx *cx, tenon_device *d, void *dst, const void *src, size_t bytes)
{
    const tenon_cuda_driver *u = &d->driver;
    const tenon_cuda_queue q = own_queue(cx, d);
    if (!bytes || !begin(cx, d, dst)) return tenon_cuda_read(&q, dst, src, bytes);
    const tenon_cuda_transfer *t = &d->transfer;
    const size_t pieces = (bytes + TENON_CUDA_PIECE_BYTES - 1) / TENON_CUDA_PIECE_BYTES;
    size_t asked = 0;
    int error = 0;
    for (size_t k = 0; k < pieces && !error; k++) {
        for (; asked < pieces && asked < k + TENON_CUDA_PIECES && !error; asked++) {
            const size_t at = asked * TENON_CUDA_PIECE_BYTES, n = TENON_MIN(bytes - at, (size_t)TENON_CUDA_PIECE_BYTES);
            const int i = (int)(asked % TENON_CUDA_PIECES);
            error = u->cuMemcpyDtoHAsync_v2(t->piece[i], (uintptr_t)src + at, n, d->stream);
            if (!error) error = u->cuEventRecord(t->done[i], d->stream);
        }
        if (!error) error = u->cuEventSynchronize(t->done[k % TENON_CUDA_PIECES]);
        if (error) break;
        const size_t at = k * TENON_CUDA_PIECE_BYTES;
        memcpy((char *)dst + at, t->piece[k % TENON_CUDA_PIECES], TENON_MIN(bytes - at, (size_t)TENON_CUDA_PIECE_BYTES));
    }
    return end(cx, d, error);
}
