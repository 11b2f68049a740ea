/* SPDX-License-Identifier: Apache-2.0 */
/* Bump allocation. A block that is asked for specially (larger than a quarter of what would be next) goes behind the current
   one, so that the rest of the current block is not lost. */
#include "base/arena.h"
#include "base/checked.h"

#include <stdio.h>
#include <string.h>

enum { FIRST_BYTES = 4096, LARGEST_BYTES = 1 << 20, ALIGN = 16 };

struct tenon_arena_block {
    tenon_arena_block *next;
    char *start;             /* aligned */
    size_t used, capacity;
};

void tenon_arena_init(tenon_arena *arena, tenon_cx *cx)
{
    arena->cx = cx;
    arena->block = NULL;
}

void tenon_arena_free(tenon_arena *arena)
{
    for (tenon_arena_block *b = arena->block, *next; b; b = next) {
        next = b->next;
        tenon_free(arena->cx, b);
    }
    arena->block = NULL;
}

static tenon_arena_block *block_new(tenon_arena *arena, size_t capacity)
{
    size_t total;
    if (!tenon_add_size(capacity, sizeof(tenon_arena_block) + ALIGN, &total)) {
        (void)TENON_FAIL(arena->cx, TENON_NOMEM, "out of memory: %zu bytes wanted", capacity);
        return NULL;
    }
    tenon_arena_block *b = tenon_alloc(arena->cx, total);
    if (!b) return NULL;
    char *start = (char *)(b + 1);
    *b = (tenon_arena_block){.start = start + (-(uintptr_t)start & (ALIGN - 1)), .capacity = capacity};
    return b;
}

void *tenon_arena_alloc(tenon_arena *arena, size_t bytes)
{
    size_t need;
    if (!tenon_add_size(bytes ? bytes : 1, ALIGN - 1, &need)) {
        (void)TENON_FAIL(arena->cx, TENON_NOMEM, "out of memory: %zu bytes wanted", bytes);
        return NULL;
    }
    need &= ~(size_t)(ALIGN - 1);
    tenon_arena_block *b = arena->block;
    if (!b || b->capacity - b->used < need) {
        const size_t next = b ? TENON_MIN(TENON_MAX(b->capacity, FIRST_BYTES / 2) * 2, LARGEST_BYTES) : FIRST_BYTES;
        const bool special = need > next / 4;
        tenon_arena_block *fresh = block_new(arena, special ? need : next);
        if (!fresh) return NULL;
        if (special && b) {
            fresh->next = b->next;
            b->next = fresh;
        } else {
            fresh->next = b;
            arena->block = fresh;
        }
        b = fresh;
    }
    void *p = b->start + b->used;
    b->used += need;
    memset(p, 0, need);
    return p;
}

void *tenon_arena_array(tenon_arena *arena, size_t count, size_t element_bytes)
{
    size_t bytes;
    if (!tenon_mul_size(count, element_bytes, &bytes)) {
        (void)TENON_FAIL(arena->cx, TENON_NOMEM, "out of memory: %zu elements of %zu bytes wanted", count, element_bytes);
        return NULL;
    }
    return tenon_arena_alloc(arena, bytes);
}

char *tenon_arena_strndup(tenon_arena *arena, const char *s, size_t length)
{
    char *p = tenon_arena_array(arena, length + 1, 1);
    if (p && length) memcpy(p, s, length);
    return p;
}

char *tenon_arena_strdup(tenon_arena *arena, const char *s) { return tenon_arena_strndup(arena, s, strlen(s)); }

char *tenon_arena_printf(tenon_arena *arena, const char *format, ...)
{
    char text[256];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *p = length < 0 ? NULL : tenon_arena_array(arena, (size_t)length + 1, 1);
    if (p && (size_t)length < sizeof text) memcpy(p, text, (size_t)length + 1);
    else if (p) vsnprintf(p, (size_t)length + 1, format, again);
    va_end(again);
    return p;
}

tenon_status tenon_arena_grow(tenon_arena *arena, void **array, size_t *capacity, size_t need, size_t element_bytes)
{
    if (need <= *capacity) return TENON_OK;
    size_t doubled;
    if (!tenon_mul_size(*capacity, 2, &doubled)) doubled = need;
    const size_t next = TENON_MAX(TENON_MAX(doubled, need), 4);
    void *p = tenon_arena_array(arena, next, element_bytes);
    if (!p) return TENON_NOMEM;
    if (*capacity) memcpy(p, *array, *capacity * element_bytes);
    *array = p;
    *capacity = next;
    return TENON_OK;
}
