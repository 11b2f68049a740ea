/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of libraries' versions, see library_note.h. The key of a note hashes all that decides which file the loader takes; the
   note holds the file, since a bare name does not say where the loader finds it. */
#include "cuda/library_note.h"

#include "cuda/kernel_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

/* What tells one file from another that takes its name. All bytes are set. */
typedef struct stamp { int64_t bytes, seconds, nanoseconds; uint64_t inode; } stamp;
typedef struct note { int64_t version; stamp stamp; char path[sizeof((tenon_dl *)0)->path]; } note;

static stamp stamp_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) return (stamp){.bytes = -1};
    return (stamp){st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ino};
}

static void add_bytes(XXH3_state_t *state, const void *data, size_t bytes) { (void)XXH3_128bits_update(state, data, bytes); }

static void add_text(XXH3_state_t *state, const char *text)
{
    if (text) add_bytes(state, text, strlen(text) + 1);
    else add_bytes(state, "\377", 1);
}

static void add_file(XXH3_state_t *state, const char *path)
{
    const stamp s = stamp_of(path);
    add_text(state, path);
    add_bytes(state, &s, sizeof s);
}

/* In the folders of a list as LD_LIBRARY_PATH is one. */
static void add_listed(XXH3_state_t *state, const char *list, const char *file)
{
    for (const char *at = list; at && *at;) {
        char path[1024];
        const size_t length = strcspn(at, ":;");
        const int used = snprintf(path, sizeof path, "%.*s/%s", (int)TENON_MIN(length, 512), at, file);
        if (used > 0 && (size_t)used < sizeof path) add_file(state, path);
        at += length + (at[length] != '\0');
    }
}

/* A bare name is for the loader: its variable, its cache of the folders it knows, and two that it always knows. */
static void add_name(void *user, const char *name)
{
    XXH3_state_t *state = user;
    if (strchr(name, '/')) {
        add_file(state, name);
        return;
    }
    add_text(state, name);
    add_listed(state, getenv("LD_LIBRARY_PATH"), name);
    add_listed(state, "/lib:/usr/lib:/lib64:/usr/lib64", name);
}

static bool key_of(tenon_cx *cx, const char *const *file, const char *pip_pattern, uint64_t key[2])
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) return false;
    (void)XXH3_128bits_reset(state);
    add_text(state, "the version of a library");
    add_text(state, getenv("TENON_CUDA_ABSENT")); /* it may lack a symbol */
    add_text(state, getenv("LD_LIBRARY_PATH"));
    add_file(state, "/etc/ld.so.cache");
    tenon_cuda_library_names(cx, file, pip_pattern, state, add_name);
    const XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    key[0] = hash.low64;
    key[1] = hash.high64;
    return true;
}

static bool find(tenon_cx *cx, const uint64_t key[2], note *out)
{
    tenon_buf b;
    tenon_buf_init(&b, cx);
    const bool found = tenon_kernel_cache_get(cx, key, &b) && tenon_buf_status(&b) == TENON_OK && b.length == sizeof *out;
    if (found) memcpy(out, b.data, sizeof *out);
    tenon_buf_free(&b);
    if (!found || out->version <= 0 || out->path[sizeof out->path - 1]) return false;
    const stamp now = stamp_of(out->path);
    return memcmp(&now, &out->stamp, sizeof now) == 0;
}

/* 0: nothing is known. */
static int noted(tenon_cx *cx, const tenon_cuda_lazy *l)
{
    uint64_t key[2];
    note n;
    if (tenon_dl_is_open(l->file)) return 0; /* another's, of any version: opening it again is quick */
    return key_of(cx, l->file, l->pip_pattern, key) && find(cx, key, &n) ? (int)n.version : 0;
}

/* Of what was opened, where it is not noted yet. */
static void write_note(tenon_cx *cx, const tenon_cuda_lazy *l)
{
    uint64_t key[2];
    note old, n;
    memset(&n, 0, sizeof n);
    n.version = *l->version;
    n.stamp = stamp_of(l->dl->path);
    memcpy(n.path, l->dl->path, strlen(l->dl->path));
    if (n.version <= 0 || n.stamp.bytes < 0 || n.path[0] != '/' || !key_of(cx, l->file, l->pip_pattern, key)) return;
    if (!find(cx, key, &old) || old.version != n.version) tenon_kernel_cache_put(cx, key, &n, sizeof n);
}

/* It was noted, and did not open: something that it needs is gone. */
static void forget(tenon_cx *cx, const tenon_cuda_lazy *l)
{
    uint64_t key[2];
    note none;
    memset(&none, 0, sizeof none);
    if (key_of(cx, l->file, l->pip_pattern, key)) tenon_kernel_cache_put(cx, key, &none, sizeof none);
}

/* ---- opening ---- */
static bool open_now(tenon_cx *cx, tenon_cuda_lazy *l)
{
    const bool foreign = tenon_dl_is_open(l->file); /* PyTorch's, for one: says nothing of what another process will find */
    char why[512];
    tenon_cx quiet;
    tenon_cx_init_child(&quiet, cx);
    if (!tenon_cuda_library_open(cx, l->dl, l->file, l->pip_pattern, why, sizeof why)) {
        snprintf(l->missing, sizeof l->missing, "%s (%.500s)", l->advice, why);
        return false;
    }
    if (tenon_cuda_library_symbols(&quiet, l->dl, l->symbols, l->symbol_count, l->functions) != TENON_OK) {
        snprintf(l->missing, sizeof l->missing, "%.700s", quiet.message);
        return false;
    }
    *l->version = l->ask_version();
    if (!foreign) write_note(&quiet, l);
    return true;
}

bool tenon_cuda_lazy_open(tenon_cx *cx, tenon_cuda_lazy *l, const char **missing)
{
    pthread_mutex_lock(&l->lock);
    if (!l->tried) {
        l->found = open_now(cx, l);
        if (!l->found && l->noted > 0) forget(cx, l);
    }
    l->tried = true;
    pthread_mutex_unlock(&l->lock);
    *missing = l->found ? NULL : l->missing;
    return l->found;
}

int tenon_cuda_lazy_version(tenon_cx *cx, tenon_cuda_lazy *l, const char **missing)
{
    pthread_mutex_lock(&l->lock);
    if (!l->tried && !l->noted) {
        l->noted = noted(cx, l);
        if (!l->noted) l->noted = -1;
    }
    const int version = l->tried ? -1 : l->noted;
    pthread_mutex_unlock(&l->lock);
    if (version > 0) return version;
    return tenon_cuda_lazy_open(cx, l, missing) ? *l->version : 0;
}
