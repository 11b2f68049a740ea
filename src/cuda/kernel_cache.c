/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of compiled kernels. An entry is a header with key, size and hash, and the image behind it. */
#include "cuda/kernel_cache.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { PATH_ROOM = 1024, NAME_ROOM = 64, LOOK_EVERY = 32 };
#define MAGIC "TNKERN1\n"
#define SUFFIX ".kernel"

typedef struct head { char magic[8]; uint64_t key[2], bytes, hash; } head;

bool tenon_kernel_cache_folder(char *out, size_t bytes)
{
    const char *own = getenv("TENON_CACHE_DIR"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length;
    if (own) length = snprintf(out, bytes, "%s", own);
    else if (cache && *cache) length = snprintf(out, bytes, "%s/tenon", cache);
    else if (home && *home) length = snprintf(out, bytes, "%s/.cache/tenon", home);
    else length = 0;
    return length > 0 && (size_t)length < bytes;
}

static bool path_of(const uint64_t key[2], char *folder, char *path)
{
    if (!tenon_kernel_cache_folder(folder, PATH_ROOM)) return false;
    snprintf(path, PATH_ROOM + NAME_ROOM, "%s/%016" PRIx64 "%016" PRIx64 SUFFIX, folder, key[1], key[0]);
    return true;
}

bool tenon_kernel_cache_get(tenon_cx *cx, const uint64_t key[2], tenon_buf *out)
{
    char folder[PATH_ROOM], path[PATH_ROOM + NAME_ROOM];
    tenon_cx quiet;
    tenon_file_map map;
    head h;
    tenon_cx_init_child(&quiet, cx);
    if (!path_of(key, folder, path) || access(path, R_OK) != 0) return false;
    if (tenon_file_map_open(&quiet, path, &map) != TENON_OK) return false;
    bool whole = map.bytes >= sizeof h;
    if (whole) memcpy(&h, map.data, sizeof h);
    whole = whole && memcmp(h.magic, MAGIC, sizeof h.magic) == 0 && memcmp(h.key, key, sizeof h.key) == 0 &&
            h.bytes == map.bytes - sizeof h &&
            XXH3_64bits(map.data + sizeof h, (size_t)h.bytes) == h.hash;
    if (whole) tenon_buf_bytes(out, map.data + sizeof h, (size_t)h.bytes);
    tenon_file_map_close(&map);
    if (!whole) {
        tenon_log(cx, TENON_WARNING, TENON_TOPIC_DEVICE, "the cached kernel '%s' is damaged: it is compiled again", path);
        (void)unlink(path);
        return false;
    }
    (void)utimensat(AT_FDCWD, path, NULL, 0); /* used now */
    return true;
}

/* ---- what the folder may hold ---- */
typedef struct entry { char name[NAME_ROOM]; off_t bytes; struct timespec used; } entry;

static int older_first(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

static unsigned long long most_bytes(void)
{
    const char *text = getenv("TENON_CACHE_BYTES");
    char *end = NULL;
    const unsigned long long given = text ? strtoull(text, &end, 10) : 0;
    return text && end != text && *end == '\0' ? given : 512ull << 20;
}

/* The folder may hold other things: only names that are made here are touched. */
static bool is_ours(const char *name, size_t length)
{
    const size_t suffix = strlen(SUFFIX);
    return length > suffix && strcmp(name + length - suffix, SUFFIX) == 0 &&
           strspn(name, "0123456789abcdef.new") >= length - suffix;
}

static entry *entries_of(tenon_cx *cx, DIR *dir, size_t *count)
{
    entry *list = NULL;
    size_t room = 0;
    *count = 0;
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct stat st;
        const size_t length = strlen(d->d_name);
        if (length >= NAME_ROOM || !is_ours(d->d_name, length) || fstatat(dirfd(dir), d->d_name, &st, 0) != 0) continue;
        if (*count == room) {
            room = room ? 2 * room : 256;
            entry *grown = tenon_realloc(cx, list, room * sizeof *list);
            if (!grown) break;
            list = grown;
        }
        entry *e = &list[(*count)++];
        *e = (entry){.bytes = st.st_size, .used = st.st_mtim};
        memcpy(e->name, d->d_name, length + 1);
    }
    return list;
}

/* Down to three quarters, so that this is seldom. Temporary files that a killed process left are entries too, and go with the
   oldest. */
static void clean(tenon_cx *cx, const char *folder)
{
    const unsigned long long most = most_bytes();
    unsigned long long sum = 0;
    size_t count;
    DIR *dir = opendir(folder);
    if (!dir) return;
    entry *list = entries_of(cx, dir, &count);
    for (size_t i = 0; i < count; i++) sum += (unsigned long long)list[i].bytes;
    if (sum > most) {
        qsort(list, count, sizeof *list, older_first);
        for (size_t i = 0; i < count && sum > most / 4 * 3; i++)
            if (unlinkat(dirfd(dir), list[i].name, 0) == 0) sum -= (unsigned long long)list[i].bytes;
    }
    tenon_free(cx, list);
    closedir(dir);
}

/* ---- writing ---- */
static bool make_folder(char *folder)
{
    for (char *at = folder + 1; *at; at++) {
        if (*at != '/') continue;
        *at = '\0';
        (void)mkdir(folder, 0777);
        *at = '/';
    }
    return mkdir(folder, 0777) == 0 || errno == EEXIST;
}

static bool write_entry(const char *temporary, const head *h, const void *data, size_t bytes)
{
    FILE *f = fopen(temporary, "wbx");
    if (!f) return false;
    const bool written = fwrite(h, sizeof *h, 1, f) == 1 && fwrite(data, 1, bytes, f) == bytes;
    const int error = errno;
    const bool closed = fclose(f) == 0;
    if (!written) errno = error;
    return closed && written;
}

void tenon_kernel_cache_put(tenon_cx *cx, const uint64_t key[2], const void *data, size_t bytes)
{
    static _Atomic unsigned puts;
    char folder[PATH_ROOM], path[PATH_ROOM + NAME_ROOM], temporary[PATH_ROOM + 2 * NAME_ROOM];
    if (!path_of(key, folder, path)) return;
    const unsigned put = atomic_fetch_add(&puts, 1);
    head h = {.key = {key[0], key[1]}, .bytes = bytes, .hash = XXH3_64bits(data, bytes)};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    snprintf(temporary, sizeof temporary, "%s/%ld.%u.new" SUFFIX, folder, (long)getpid(), put);
    if (!make_folder(folder) || !write_entry(temporary, &h, data, bytes) || rename(temporary, path) != 0) {
        tenon_log(cx, TENON_VERBOSE, TENON_TOPIC_DEVICE, "compiled kernels are not kept in '%s': %s", folder, strerror(errno));
        (void)unlink(temporary);
        return;
    }
    if (put % LOOK_EVERY == 0) clean(cx, folder);
}
