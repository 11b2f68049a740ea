/* SPDX-License-Identifier: Apache-2.0 */
/* Bump allocation for everything that lives as long as one network or one problem: freed whole, no single frees.
   Blocks grow geometrically; every pointer is aligned to 16 bytes. */
#ifndef TENON_BASE_ARENA_H
#define TENON_BASE_ARENA_H

#include "base/status.h"

typedef struct tenon_arena_block tenon_arena_block;
typedef struct tenon_arena {
    tenon_cx *cx;
    tenon_arena_block *block; /* newest first */
} tenon_arena;

void tenon_arena_init(tenon_arena *arena, tenon_cx *cx);
void tenon_arena_free(tenon_arena *arena);
/* Zeroed memory, or NULL with TENON_NOMEM set in the cx. */
void *tenon_arena_alloc(tenon_arena *arena, size_t bytes);
void *tenon_arena_array(tenon_arena *arena, size_t count, size_t element_bytes); /* overflow is TENON_NOMEM */
char *tenon_arena_strdup(tenon_arena *arena, const char *s);
char *tenon_arena_strndup(tenon_arena *arena, const char *s, size_t length);
TENON_PRINTF(2, 3) char *tenon_arena_printf(tenon_arena *arena, const char *format, ...);
/* Doubles *capacity (at least `need`) and copies; the old array stays in the arena. */
tenon_status tenon_arena_grow(tenon_arena *arena, void **array, size_t *capacity, size_t need, size_t element_bytes);

#endif
