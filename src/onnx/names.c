/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table from names (spans of the file) to pointers: open addressing, in an arena, never shrinks. */
#include "onnx/import.h"

#include <string.h>
#include <xxhash.h>

bool tenon_span_equal(tenon_span a, tenon_span b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

bool tenon_span_is(tenon_span a, const char *s) { return tenon_span_equal(a, tenon_span_of(s)); }

static size_t place(const tenon_onnx_map *map, tenon_span key)
{
    size_t i = (size_t)XXH3_64bits(key.length ? (const void *)key.data : "", key.length) & (map->capacity - 1);
    while (map->slot[i].value && !tenon_span_equal(map->slot[i].key, key)) i = (i + 1) & (map->capacity - 1);
    return i;
}

void *tenon_onnx_map_get(const tenon_onnx_map *map, tenon_span key) { return map->capacity ? map->slot[place(map, key)].value
                                                                     : NULL; }

tenon_status tenon_onnx_map_put(tenon_onnx_map *map, tenon_span key, void *value)
{
    if ((map->count + 1) * 2 > map->capacity) {
        const tenon_onnx_map old = *map;
        const size_t capacity = old.capacity ? old.capacity * 2 : 32;
        tenon_onnx_slot *slot = tenon_arena_array(map->arena, capacity, sizeof *slot);
        if (!slot) return TENON_NOMEM;
        map->slot = slot;
        map->capacity = capacity;
        for (size_t i = 0; i < old.capacity; i++)
            if (old.slot[i].value) slot[place(map, old.slot[i].key)] = old.slot[i];
    }
    const size_t i = place(map, key);
    map->count += map->slot[i].value == NULL;
    map->slot[i] = (tenon_onnx_slot){key, value};
    return TENON_OK;
}
