/* SPDX-License-Identifier: Apache-2.0 */
/* Mapping and saving of whole files. Devices and pipes are written straight: renaming over them would replace them. */
#include "base/file.h"
#include "base/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static tenon_status fail(tenon_cx *cx, const char *what, const char *path)
{
    const int error = errno;
    const tenon_status status = error == ENOMEM ? TENON_NOMEM : TENON_INVALID;
    return TENON_FAIL(cx, status, "%s '%.1500s': %s", what, path, strerror(error));
}

/* Of writing: the path that the caller gave, and what can be done about it. */
static tenon_status fail_writing(tenon_cx *cx, const char *path)
{
    const char *advice = "";
    switch (errno) {
    case ENOSPC:
    case EDQUOT: advice = ": free space there, or save to another place"; break;
    case EFBIG: advice = ": raise the limit of a file's size (ulimit -f), or save to another file system"; break;
    case EACCES:
    case EPERM:
    case EROFS: advice = ": change its permissions, or save to another place"; break;
    default: break;
    }
    return TENON_FAIL(cx, errno == ENOMEM ? TENON_NOMEM : TENON_INVALID, "cannot write '%.1500s': %s%s", path, strerror(errno), advice);
}

tenon_status tenon_file_map_open(tenon_cx *cx, const char *path, tenon_file_map *out)
{
    *out = (tenon_file_map){0};
    tenon_status status = TENON_OK;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(cx, "cannot open", path);
    struct stat st;
    if (fstat(fd, &st)) {
        status = fail(cx, "cannot read", path);
    } else if (!S_ISREG(st.st_mode)) {
        status = TENON_FAIL(cx, TENON_INVALID, "cannot read '%s': it is %s", path,
                            S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) status = fail(cx, "cannot map", path);
        else *out = (tenon_file_map){p, (size_t)st.st_size, true};
    }
    close(fd);
    return status;
}

void tenon_file_map_close(tenon_file_map *map)
{
    if (map->mapped) munmap((void *)(uintptr_t)map->data, map->bytes);
    *map = (tenon_file_map){0};
}

static bool write_all(int fd, const char *p, size_t bytes)
{
    while (bytes) {
        const ssize_t n = write(fd, p, TENON_MIN(bytes, (size_t)1 << 30));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

static tenon_status save_stream(tenon_cx *cx, const char *path, const void *data, size_t bytes)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return fail(cx, "cannot open for writing", path);
    tenon_status status = write_all(fd, data, bytes) ? TENON_OK : fail_writing(cx, path);
    if (close(fd) && status == TENON_OK) status = fail_writing(cx, path);
    return status;
}

/* The rename is on disk only when the folder is; a file system that cannot sync folders (EINVAL) has nothing to add. */
static tenon_status sync_folder(tenon_cx *cx, const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)TENON_MAX(slash - path, 1) : 1, slash ? path : ".");
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? TENON_OK : fail(cx, "cannot open folder", folder); /* write-only folders cannot be opened */
    const tenon_status status = !fsync(fd) || errno == EINVAL ? TENON_OK : fail(cx, "cannot sync folder", folder);
    close(fd);
    return status;
}

static tenon_status write_temporary(tenon_cx *cx, const char *temporary, const char *path, const void *data, size_t bytes)
{
    const int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return fail_writing(cx, path);
    tenon_status status = TENON_OK;
    if (!write_all(fd, data, bytes) || fsync(fd)) status = fail_writing(cx, path);
    if (close(fd) && status == TENON_OK) status = fail_writing(cx, path);
    if (status != TENON_OK) unlink(temporary);
    return status;
}

tenon_status tenon_file_save(tenon_cx *cx, const char *path, const void *data, size_t bytes)
{
    static atomic_uint serial; /* two threads of one process may save to one path */
    struct stat st;
    char target[PATH_MAX], temporary[PATH_MAX];
    if (!stat(path, &st)) {
        if (S_ISDIR(st.st_mode)) return TENON_FAIL(cx, TENON_INVALID, "cannot write '%s': it is a directory", path);
        if (!S_ISREG(st.st_mode)) return save_stream(cx, path, data, bytes);
        if (!realpath(path, target)) return fail(cx, "cannot resolve", path); /* keep a symbolic link, replace what it names */
    } else if (snprintf(target, sizeof target, "%s", path) >= (int)sizeof target) {
        errno = ENAMETOOLONG;
        return fail_writing(cx, path);
    }
    const int length = snprintf(temporary, sizeof temporary, "%s.%ld-%u.tmp", target, (long)getpid(),
                                atomic_fetch_add(&serial, 1));
    if (length >= (int)sizeof temporary) {
        errno = ENAMETOOLONG;
        return fail_writing(cx, path);
    }
    TENON_TRY(write_temporary(cx, temporary, path, data, bytes));
    if (rename(temporary, target)) {
        const tenon_status status = fail_writing(cx, target);
        unlink(temporary);
        return status;
    }
    return sync_folder(cx, target);
}

/* True if no prefix of the relative path leaves the folder. */
static bool stays_inside(const char *name)
{
    int depth = 0;
    while (*name) {
        const size_t length = strcspn(name, "/");
        if (length == 2 && name[0] == '.' && name[1] == '.') depth--;
        else if (length && !(length == 1 && name[0] == '.')) depth++;
        if (depth < 0) return false;
        name += length + (name[length] == '/');
    }
    return depth > 0;
}

tenon_status tenon_file_beside(tenon_cx *cx, const char *of, const char *name, char **out)
{
    *out = NULL;
    if (name[0] == '/') return TENON_FAIL(cx, TENON_INVALID, "file name '%s' is absolute; it must be relative to '%s'", name, of);
    if (!stays_inside(name)) return TENON_FAIL(cx, TENON_INVALID, "file name '%s' leaves the folder of '%s'", name, of);
    const char *slash = strrchr(of, '/');
    const size_t folder = slash ? (size_t)(slash - of) + 1 : 0, length = strlen(name);
    char *path = tenon_alloc(cx, folder + length + 1);
    if (!path) return TENON_NOMEM;
    memcpy(path, of, folder);
    memcpy(path + folder, name, length + 1);
    *out = path;
    return TENON_OK;
}
