/* SPDX-License-Identifier: Apache-2.0 */
/* Guarded memory. On the host:

       trap page | canary ... | bytes | canary up to the alignment | trap page

   so that what lies before is found by its canary and what lies behind by the trap, as long as the bytes end at a multiple of
   the alignment. On a device: canaries on both sides. */
#include "tenoncheck.h"

#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, CANARY = 256, LIVE = 128, CANARY_BYTE = 0xcb };

/* For the report of a trap; a child has one walk, and buffers are made by its main thread. */
static const buffer *live[LIVE];
static uint8_t *live_map[LIVE], *live_host[LIVE];
static size_t live_map_bytes[LIVE], live_bytes[LIVE];

static void remember(const buffer *b)
{
    for (int i = 0; i < LIVE; i++)
        if (!live[i]) {
            live[i] = b;
            live_map[i] = b->map, live_host[i] = b->host, live_map_bytes[i] = b->map_bytes, live_bytes[i] = b->bytes;
            return;
        }
}

void buffer_describe(const void *address, char *out, size_t bytes)
{
    const uint8_t *a = address;
    snprintf(out, bytes, "address %p", address);
    for (int i = 0; i < LIVE; i++) {
        if (!live[i] || a < live_map[i] || a >= live_map[i] + live_map_bytes[i]) continue;
        if (a >= live_host[i] + live_bytes[i])
            snprintf(out, bytes, "%zd bytes behind the end of %s %d (%zu bytes)", a - (live_host[i] + live_bytes[i]),
                     live[i]->name,
                     live[i]->index, live_bytes[i]);
        else snprintf(out, bytes, "%zd bytes before %s %d", live_host[i] - a, live[i]->name, live[i]->index);
        return;
    }
}

tenon_status buffer_make(tenon_cx *cx, const tenon_backend *backend, tenon_device *device, const char *name, int index,
                         size_t bytes,
                         size_t align, bool tight, buffer *out)
{
    const size_t room = CANARY + bytes + align + (backend->host_memory ? 64 : CANARY + 64);
    const size_t inside = (room + PAGE - 1) / PAGE * PAGE;
    *out = (buffer){.name = name, .index = index, .bytes = bytes, .map_bytes = inside + 2 * PAGE, .owner = device, .backend =
                    backend};
    out->map = mmap(NULL, out->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (out->map == MAP_FAILED) {
        out->map = NULL;
        return TENON_FAIL(cx, TENON_NOMEM, "no memory for %zu bytes", out->map_bytes);
    }
    uint8_t *begin = out->map + PAGE, *end = begin + inside;
    if (backend->host_memory && tight) out->host = end - (bytes + align - 1) / align * align;
    else out->host = begin + CANARY;
    /* canaries near the bytes: the rest of the page is a lot of work for nothing */
    memset(out->host - CANARY, CANARY_BYTE, CANARY);
    memset(out->host + bytes, CANARY_BYTE, TENON_MIN((size_t)(end - (out->host + bytes)), (size_t)CANARY));
    mprotect(out->map, PAGE, PROT_NONE);
    mprotect(end, PAGE, PROT_NONE);
    out->device = out->host;
    remember(out);
    if (backend->host_memory) return TENON_OK;
    void *p;
    TENON_TRY(backend->alloc(cx, device, bytes + 2 * CANARY, &p));
    out->device = (uint8_t *)p + CANARY;
    return TENON_OK;
}

void buffer_free(buffer *b)
{
    if (!b->map) return;
    for (int i = 0; i < LIVE; i++)
        if (live[i] == b) live[i] = NULL;
    if (!b->backend->host_memory && b->device != b->host) b->backend->release(b->owner, (uint8_t *)b->device - CANARY);
    munmap(b->map, b->map_bytes);
    *b = (buffer){0};
}

tenon_status buffer_push(tenon_cx *cx, const buffer *b)
{
    if (!b->map || b->backend->host_memory) return TENON_OK;
    return b->backend->upload(cx, b->owner, (uint8_t *)b->device - CANARY, b->host - CANARY, b->bytes + 2 * CANARY);
}

tenon_status buffer_pull(tenon_cx *cx, const buffer *b)
{
    if (!b->map || b->backend->host_memory) return TENON_OK;
    return b->backend->download(cx, b->owner, b->host - CANARY, (uint8_t *)b->device - CANARY, b->bytes + 2 * CANARY);
}

bool buffer_intact(const buffer *b)
{
    if (!b->map) return true;
    const uint8_t *end = b->map + b->map_bytes - PAGE, *tail = b->host + b->bytes;
    const size_t behind = TENON_MIN((size_t)(end - tail), (size_t)CANARY);
    for (size_t i = 1; i <= CANARY; i++)
        if (b->host[-(ptrdiff_t)i] != CANARY_BYTE) return false;
    for (size_t i = 0; i < behind; i++)
        if (tail[i] != CANARY_BYTE) return false;
    return true;
}
