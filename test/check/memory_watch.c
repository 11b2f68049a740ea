/* SPDX-License-Identifier: Apache-2.0 */
/* Counts allocations while a step is bound and runs. malloc and its kin of this program are glibc's with a counter before them;
   the sanitizers have their own, and there the session's allocator alone is watched. */
#include "tenoncheck.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_bool watching;
static atomic_long seen;

static inline void note(void)
{
    if (atomic_load_explicit(&watching, memory_order_relaxed)) atomic_fetch_add_explicit(&seen, 1, memory_order_relaxed);
}

void memory_watch_begin(void)
{
    atomic_store(&seen, 0);
    atomic_store(&watching, true);
}

long memory_watch_end(void)
{
    atomic_store(&watching, false);
    return atomic_load(&seen);
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *p, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);
extern void __libc_free(void *p);

void *malloc(size_t bytes) { return note(), __libc_malloc(bytes); }
void *calloc(size_t count, size_t bytes) { return note(), __libc_calloc(count, bytes); }
void *realloc(void *p, size_t bytes) { return note(), __libc_realloc(p, bytes); }
void *memalign(size_t alignment, size_t bytes) { return note(), __libc_memalign(alignment, bytes); }
void *aligned_alloc(size_t alignment, size_t bytes) { return note(), __libc_memalign(alignment, bytes); }
void free(void *p) { __libc_free(p); }
int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    note();
    *out = __libc_memalign(alignment, bytes);
    return *out ? 0 : ENOMEM;
}
#endif

static void *watch_alloc(void *user, size_t bytes) { return (void)user, note(), malloc(bytes); }
static void *watch_realloc(void *user, void *p, size_t bytes) { return (void)user, note(), realloc(p, bytes); }
static void watch_free(void *user, void *p) { (void)user, free(p); }

void memory_watch_allocator(tenon_allocator *out) { *out = (tenon_allocator){watch_alloc, watch_realloc, watch_free, NULL}; }
