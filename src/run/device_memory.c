/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory for weights and activations: from the caller's allocator where there is one, else the device's own. */
#include "run/engine.h"

tenon_status tenon_hook_check(tenon_cx *cx, const tenon_device_allocator *hook)
{
    if (!hook || (hook->alloc && hook->free)) return TENON_OK;
    return TENON_FAIL(cx, TENON_INVALID, "a device allocator needs both functions: %s is NULL", hook->alloc ? "free" : "alloc");
}

tenon_status tenon_hook_alloc(tenon_cx *cx, const tenon_engine *e, const tenon_device_allocator *hook, size_t bytes, void **out)
{
    *out = NULL;
    if (!hook->alloc) return e->backend->alloc(cx, e->device, bytes, out);
    const size_t alignment = e->backend->host_memory ? 64 : 256;
    void *p = hook->alloc(hook->user, TENON_MAX(bytes, (size_t)1), alignment);
    if (!p) return TENON_FAIL(cx, TENON_NOMEM, "the device allocator has no memory for %zu bytes", bytes);
    if ((uintptr_t)p % alignment) {
        hook->free(hook->user, p);
        return TENON_FAIL(cx, TENON_INVALID, "the device allocator gave %p, which is not aligned to %zu bytes", p, alignment);
    }
    *out = p;
    return TENON_OK;
}

void tenon_hook_free(const tenon_engine *e, const tenon_device_allocator *hook, void *p)
{
    if (!p) return;
    if (hook->alloc) hook->free(hook->user, p);
    else e->backend->release(e->device, p);
}
