/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a timing cache. What is read must be written as the same entries: saving and reading again gives equal bytes. */
#include "fuzz.h"

#include "base/file.h"
#include "plan/cache.h"

#include <inttypes.h>
#include <unistd.h>
#include <xxhash.h>

enum { HASH_AT = 21, BODY_AT = 38 }; /* "tenon-timing-cache 1 ", 16 digits, a newline */

static void save_again(tenon_cx *cx, tenon_timing_cache *cache)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/tenon_fuzz_cache_%ld", (long)getpid());
    tenon_file_map first, second;
    tenon_timing_cache *again = NULL;
    FUZZ_DEMAND(tenon_timing_cache_save(cx, cache, path) == TENON_OK && tenon_file_map_open(cx, path, &first) == TENON_OK);
    FUZZ_DEMAND(tenon_timing_cache_load(cx, path, &again) == TENON_OK);
    FUZZ_DEMAND(tenon_timing_cache_count(again) == tenon_timing_cache_count(cache));
    FUZZ_DEMAND(tenon_timing_cache_save(cx, again, path) == TENON_OK && tenon_file_map_open(cx, path, &second) == TENON_OK);
    FUZZ_DEMAND(first.bytes == second.bytes && memcmp(first.data, second.data, first.bytes) == 0);
    tenon_file_map_close(&first);
    tenon_file_map_close(&second);
    tenon_timing_cache_destroy(&again);
    unlink(path);
}

static void run(tenon_cx *cx, const uint8_t *data, size_t size)
{
    tenon_timing_cache *cache = NULL;
    double seconds;
    if (!fuzz_ok(cx, tenon_timing_cache_create(cx, data, size, &cache))) return;
    (void)tenon_cache_find(cache, "cpu", "relu:f32,4", "cpu.ref", &(tenon_variant){{0}}, &seconds);
    const size_t count = tenon_timing_cache_count(cache);
    if (fuzz_ok(cx, tenon_cache_add(cx, cache, "cpu", "relu:f32,4", "cpu.ref", &(tenon_variant){{0}}, 1e-6)))
        FUZZ_DEMAND(tenon_timing_cache_count(cache) - count <= 1 &&
                    tenon_cache_find(cache, "cpu", "relu:f32,4", "cpu.ref", &(tenon_variant){{0}}, &seconds));
    save_again(cx, cache);
    tenon_timing_cache_destroy(&cache);
}

static void mend(uint8_t *data, size_t size)
{
    char hex[17];
    if (size < BODY_AT) return;
    memcpy(data, "tenon-timing-cache 1 ", HASH_AT);
    snprintf(hex, sizeof hex, "%016" PRIx64, (uint64_t)XXH3_64bits(data + BODY_AT, size - BODY_AT));
    memcpy(data + HASH_AT, hex, 16);
    data[BODY_AT - 1] = '\n';
}

const fuzz_target fuzz_target_cache = {
    .name = "cache", .what = "a timing cache: read, found in, added to, saved and read again", .run = run, .mend = mend};
