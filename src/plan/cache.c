/* SPDX-License-Identifier: Apache-2.0 */
/* The timing cache's file and table. Format, one line each:
     tenon-timing-cache 1 <XXH3 of the lines below, hex>
     <fingerprint>\t<problem>\t<tactic>\t<p0,...,p7>\t<picoseconds>
   Lines are sorted, so that equal contents are equal bytes. */
#include "plan/cache.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/foreign.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC "tenon-timing-cache 1 "
#define MOST_SECONDS 9e6 /* as picoseconds in 63 bits */

typedef struct entry { char *key; size_t key_length; uint64_t hash; int64_t picoseconds; } entry;

struct tenon_timing_cache {
    tenon_allocator alloc;
    entry *entry;
    size_t count, capacity;
    uint32_t *table; /* index + 1, open addressing */
    size_t table_size;
};

static void *grow(tenon_cx *cx, const tenon_allocator *alloc, void *p, size_t bytes)
{
    void *q = alloc->realloc(alloc->user, p, bytes);
    if (!q) (void)TENON_FAIL(cx, TENON_NOMEM, "timing cache: out of memory (%zu bytes)", bytes);
    return q;
}

static size_t probe(const tenon_timing_cache *c, const char *key, size_t length, uint64_t hash)
{
    size_t i = hash & (c->table_size - 1);
    while (c->table[i]) {
        const entry *e = &c->entry[c->table[i] - 1];
        if (e->hash == hash && e->key_length == length && memcmp(e->key, key, length) == 0) break;
        i = (i + 1) & (c->table_size - 1);
    }
    return i;
}

static tenon_status rehash(tenon_cx *cx, tenon_timing_cache *c)
{
    const size_t size = c->table_size ? c->table_size * 2 : 256;
    uint32_t *table = grow(cx, &c->alloc, NULL, size * sizeof *table);
    if (!table) return TENON_NOMEM;
    memset(table, 0, size * sizeof *table);
    c->alloc.free(c->alloc.user, c->table);
    c->table = table;
    c->table_size = size;
    for (size_t i = 0; i < c->count; i++)
        c->table[probe(c, c->entry[i].key, c->entry[i].key_length, c->entry[i].hash)] = (uint32_t)i + 1;
    return TENON_OK;
}

static tenon_status add_key(tenon_cx *cx, tenon_timing_cache *c, const char *key, size_t length, int64_t picoseconds)
{
    if ((c->count + 1) * 2 > c->table_size) TENON_TRY(rehash(cx, c));
    const uint64_t hash = XXH3_64bits(key, length);
    const size_t at = probe(c, key, length, hash);
    if (c->table[at]) {
        c->entry[c->table[at] - 1].picoseconds = picoseconds;
        return TENON_OK;
    }
    if (c->count == c->capacity) {
        const size_t capacity = c->capacity ? c->capacity * 2 : 64;
        entry *e = grow(cx, &c->alloc, c->entry, capacity * sizeof *e);
        if (!e) return TENON_NOMEM;
        c->entry = e;
        c->capacity = capacity;
    }
    char *copy = grow(cx, &c->alloc, NULL, length + 1);
    if (!copy) return TENON_NOMEM;
    memcpy(copy, key, length);
    copy[length] = 0;
    c->entry[c->count] = (entry){copy, length, hash, picoseconds};
    c->table[at] = (uint32_t)++c->count;
    return TENON_OK;
}

static void key_of(tenon_buf *b, const char *fingerprint, const char *problem, const char *tactic, const tenon_variant *v)
{
    tenon_buf_printf(b, "%s\t%s\t%s\t", fingerprint, problem, tactic);
    for (int i = 0; i < 8; i++) tenon_buf_printf(b, i ? ",%d" : "%d", v->p[i]);
}

bool tenon_cache_find(const tenon_timing_cache *cache, const char *fingerprint, const char *problem, const char *tactic,
                      const tenon_variant *variant, double *seconds)
{
    if (!cache->count) return false;
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    tenon_buf b;
    tenon_buf_init(&b, &cx);
    key_of(&b, fingerprint, problem, tactic, variant);
    bool found = false;
    if (tenon_buf_status(&b) == TENON_OK) {
        const size_t at = probe(cache, b.data, b.length, XXH3_64bits(b.data, b.length));
        found = cache->table[at] != 0;
        if (found) *seconds = (double)cache->entry[cache->table[at] - 1].picoseconds * 1e-12;
    }
    tenon_buf_free(&b);
    return found;
}

tenon_status tenon_cache_add(tenon_cx *cx, tenon_timing_cache *cache, const char *fingerprint, const char *problem,
                             const char *tactic, const tenon_variant *variant, double seconds)
{
    tenon_buf b;
    tenon_buf_init(&b, cx);
    key_of(&b, fingerprint, problem, tactic, variant);
    tenon_status status = tenon_buf_status(&b);
    const int64_t picoseconds = (int64_t)(TENON_MIN(seconds, MOST_SECONDS) * 1e12 + 0.5);
    if (status == TENON_OK) status = add_key(cx, cache, b.data, b.length, picoseconds);
    tenon_buf_free(&b);
    return status;
}

/* ---- file ---- */
static tenon_status parse_line(tenon_cx *cx, tenon_timing_cache *c, const char *line, size_t length, size_t number)
{
    int tabs = 0;
    size_t last = 0;
    for (size_t i = 0; i < length; i++)
        if (line[i] == '\t') {
            tabs++;
            last = i;
        }
    char *end = NULL;
    char value[32] = "";
    if (tabs == 4 && length - last - 1 < sizeof value) memcpy(value, line + last + 1, length - last - 1);
    const long long ps = strtoll(value, &end, 10);
    if (tabs != 4 || !*value || *end || ps < 0 || memchr(line, 0, length))
        return TENON_FAIL(cx, TENON_CORRUPT, "timing cache: line %zu is damaged; delete the file to start a new one", number);
    return add_key(cx, c, line, last, ps);
}

static tenon_status parse(tenon_cx *cx, tenon_timing_cache *c, const char *data, size_t bytes)
{
    const size_t magic = strlen(MAGIC);
    if (bytes < magic + 17 || memcmp(data, MAGIC, magic) != 0 || data[magic + 16] != '\n') {
        const char *foreign = tenon_foreign(data, bytes);
        if (foreign) return TENON_FAIL(cx, TENON_CORRUPT, "not a timing cache, but %s", foreign);
        return TENON_FAIL(cx, TENON_CORRUPT,
                          "not a timing cache of Tenon (one of NVIDIA's TensorRT cannot be used: times of other kernels); delete "
                          "it or name another file: `tenon build model.onnx -o model.engine --timing-cache FILE` makes one");
    }
    char hex[17] = "";
    memcpy(hex, data + magic, 16);
    const char *body = data + magic + 17;
    const size_t body_bytes = bytes - magic - 17;
    char want[17];
    snprintf(want, sizeof want, "%016" PRIx64, (uint64_t)XXH3_64bits(body, body_bytes));
    if (strcmp(hex, want) != 0)
        return TENON_FAIL(cx, TENON_CORRUPT,
                          "timing cache: its hash does not match, the file was changed or cut; delete it to start a new one");
    size_t number = 2;
    for (const char *p = body, *end = body + body_bytes; p < end; number++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        if (!newline)
            return TENON_FAIL(cx, TENON_CORRUPT, "timing cache: line %zu is cut; delete the file to start a new one", number);
        TENON_TRY(parse_line(cx, c, p, (size_t)(newline - p), number));
        p = newline + 1;
    }
    return TENON_OK;
}

tenon_status tenon_timing_cache_create(tenon_cx *cx, const void *data, size_t bytes, tenon_timing_cache **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    tenon_timing_cache *c = tenon_alloc_zero(cx, sizeof *c);
    if (!c) return TENON_NOMEM;
    c->alloc = cx->alloc;
    const tenon_status status = data && bytes ? parse(cx, c, data, bytes) : TENON_OK;
    if (status != TENON_OK) {
        tenon_timing_cache_destroy(&c);
        return status;
    }
    *out = c;
    return TENON_OK;
}

void tenon_timing_cache_destroy(tenon_timing_cache **cache)
{
    if (!cache || !*cache) return;
    tenon_timing_cache *c = *cache;
    const tenon_allocator alloc = c->alloc;
    for (size_t i = 0; i < c->count; i++) alloc.free(alloc.user, c->entry[i].key);
    alloc.free(alloc.user, c->entry);
    alloc.free(alloc.user, c->table);
    alloc.free(alloc.user, c);
    *cache = NULL;
}

tenon_status tenon_timing_cache_load(tenon_cx *cx, const char *path, tenon_timing_cache **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, path);
    if (access(path, F_OK) && errno == ENOENT) return tenon_timing_cache_create(cx, NULL, 0, out);
    tenon_file_map map; /* any other reason that it cannot be read is told now, not after the build */
    TENON_TRY(tenon_file_map_open(cx, path, &map));
    const tenon_status status = tenon_timing_cache_create(cx, map.data, map.bytes, out);
    tenon_file_map_close(&map);
    return status == TENON_OK ? status : tenon_fail_in(cx, status, "%s: ", path);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->key, ((const entry *)b)->key);
}

tenon_status tenon_timing_cache_save(tenon_cx *cx, tenon_timing_cache *cache, const char *path)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, cx);
    TENON_NEED(cx, cache);
    TENON_NEED(cx, path);
    if (cache->count) qsort(cache->entry, cache->count, sizeof *cache->entry, by_key);
    if (cache->table) memset(cache->table, 0, cache->table_size * sizeof *cache->table);
    tenon_buf body, file;
    tenon_buf_init(&body, cx);
    tenon_buf_init(&file, cx);
    for (size_t i = 0; i < cache->count; i++) {
        const entry *e = &cache->entry[i];
        cache->table[probe(cache, e->key, e->key_length, e->hash)] = (uint32_t)i + 1;
        tenon_buf_printf(&body, "%s\t%" PRId64 "\n", e->key, e->picoseconds);
    }
    tenon_buf_printf(&file, MAGIC "%016" PRIx64 "\n", (uint64_t)XXH3_64bits(body.data, body.length));
    tenon_buf_bytes(&file, body.data, body.length);
    tenon_status status = tenon_buf_status(&body);
    if (status == TENON_OK) status = tenon_buf_status(&file);
    if (status == TENON_OK) status = tenon_file_save(cx, path, file.data, file.length);
    tenon_buf_free(&body);
    tenon_buf_free(&file);
    return status;
}

size_t tenon_timing_cache_count(const tenon_timing_cache *cache) { return cache ? cache->count : 0; }
