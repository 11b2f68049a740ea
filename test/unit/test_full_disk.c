/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that is full, or a file that may not grow, while an engine, a timing cache, a network's text or a compiled kernel is
   saved: a status and a message that name the file and the reason, the old file whole, and no half-written one beside it. The limit of a
   file's size stands for the disk everywhere; a small file system of our own is tried where the kernel lets us mount one. */
#include "check.h"
#include "digits.h"

#include "cuda/kernel_cache.h"
#include "plan/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OLD_BYTES = 300, LIMIT = 4096 };

static tenon_cx *cx;
static tenon_engine *engine;
static tenon_timing_cache *cache;
static char folder[64];
static int told; /* log lines that name the folder */

static void listen(void *user, tenon_severity severity, const char *message)
{
    (void)user, (void)severity;
    told += strstr(message, folder) && strstr(message, "not kept");
}

static bool make(void)
{
    size_t bytes;
    uint8_t *model = digits_model(&bytes);
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    const bool ok = CHECK_OK(cx, tenon_network_read(cx, model, bytes, NULL, &network)) &&
                    CHECK_OK(cx, tenon_config_create(cx, &config)) && CHECK_OK(cx, tenon_timing_cache_create(cx, NULL, 0, &cache)) &&
                    tenon_config_set_device(config, "cpu", 0) == TENON_OK && tenon_config_set_threads(config, 1) == TENON_OK &&
                    tenon_config_set_optimization_level(config, 1) == TENON_OK &&
                    tenon_config_set_timing_cache(config, cache) == TENON_OK && CHECK_OK(cx, tenon_build(cx, network, config, &engine));
    for (int i = 0; ok && i < 300; i++) /* more than fits */
        CHECK_OK(cx, tenon_cache_add(cx, cache, "nowhere", "relu:f32,64", "cpu.ref", &(tenon_variant){{i}}, 1e-6));
    const void *data;
    CHECK(ok && tenon_engine_data(cx, engine, &data, &bytes) == TENON_OK && bytes > LIMIT);
    CHECK(ok && tenon_timing_cache_count(cache) > 300);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    free(model);
    return ok;
}

static void path_in(char out[128], const char *name) { snprintf(out, 128, "%s/%s", folder, name); }

static int files(void)
{
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *d; dir && (d = readdir(dir)) != NULL;) count += d->d_name[0] != '.';
    if (dir) closedir(dir);
    return count;
}

static bool put_old(const char *path)
{
    char old[OLD_BYTES];
    memset(old, 'o', sizeof old);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const bool ok = fd >= 0 && write(fd, old, sizeof old) == (ssize_t)sizeof old;
    return fd >= 0 && close(fd) == 0 && ok;
}

static bool is_old(const char *path)
{
    char data[OLD_BYTES + 1];
    const int fd = open(path, O_RDONLY);
    const ssize_t got = fd >= 0 ? read(fd, data, sizeof data) : -1;
    bool same = got == OLD_BYTES;
    for (int i = 0; same && i < OLD_BYTES; i++) same = data[i] == 'o';
    return fd >= 0 && close(fd) == 0 && same;
}

/* `why` is the system's reason, which the message ends in. */
static void save_all(const char *why)
{
    char plan[128], times[128];
    path_in(plan, "a.engine");
    path_in(times, "a.timing");
    for (int old = 0; old < 2; old++) {
        if (old) CHECK(put_old(plan) && put_old(times));
        CHECK_FAILS(cx, tenon_engine_save(cx, engine, plan), TENON_INVALID, why);
        CHECK(strstr(tenon_cx_message(cx), plan));
        CHECK_FAILS(cx, tenon_timing_cache_save(cx, cache, times), TENON_INVALID, why);
        CHECK(strstr(tenon_cx_message(cx), times) && strstr(tenon_cx_message(cx), "another"));
        CHECK(files() == 2 * old);
        if (old) CHECK(is_old(plan) && is_old(times));
    }
}

/* Nothing fails for it, but the log says why kernels are compiled again and again. */
static void keep_kernel(void)
{
    static const uint8_t image[64 << 10];
    const uint64_t key[2] = {1, 2};
    tenon_buf out;
    const int before = files();
    setenv("TENON_CACHE_DIR", folder, 1);
    tenon_buf_init(&out, cx);
    told = 0;
    tenon_kernel_cache_put(cx, key, image, sizeof image);
    CHECK(told == 1 && files() == before);
    CHECK(!tenon_kernel_cache_get(cx, key, &out));
    tenon_buf_free(&out);
}

static void small_files(void)
{
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){LIMIT, LIMIT})) {
        SKIP("RLIMIT_FSIZE cannot be set");
        return;
    }
    save_all("File too large");
    keep_kernel();
}

static bool put_text(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY);
    const bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    return fd >= 0 && close(fd) == 0 && ok;
}

/* In namespaces of our own nobody else sees the mount. */
static void small_disk(void)
{
    char map[32];
    snprintf(map, sizeof map, "0 %u 1", (unsigned)geteuid());
    if (unshare(CLONE_NEWNS) != 0 && (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !put_text("/proc/self/uid_map", map))) {
        SKIP("no namespace to mount a small file system in");
        return;
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount("none", folder, "tmpfs", 0, "size=8k") != 0) {
        SKIP("a small file system cannot be mounted");
        return;
    }
    save_all("No space left on device");
    keep_kernel();
    /* room again: what failed before goes through, with the old file still there */
    char plan[128], times[128];
    path_in(plan, "a.engine");
    path_in(times, "a.timing");
    CHECK(mount("none", folder, "tmpfs", MS_REMOUNT, "size=4m") == 0);
    CHECK_OK(cx, tenon_engine_save(cx, engine, plan));
    CHECK_OK(cx, tenon_timing_cache_save(cx, cache, times));
    CHECK(files() == 2);
    CHECK(umount(folder) == 0);
}

/* /dev/full is no file that can be replaced: it is written to. */
static void full_device(void)
{
    CHECK_FAILS(cx, tenon_engine_save(cx, engine, "/dev/full"), TENON_INVALID, "/dev/full");
    CHECK(strstr(tenon_cx_message(cx), "No space left"));
    CHECK_FAILS(cx, tenon_timing_cache_save(cx, cache, "/dev/full"), TENON_INVALID, "/dev/full");
}

static void other_places(void)
{
    char path[128];
    CHECK_FAILS(cx, tenon_engine_save(cx, engine, folder), TENON_INVALID, "it is a directory");
    path_in(path, "none/a.engine");
    CHECK_FAILS(cx, tenon_engine_save(cx, engine, path), TENON_INVALID, "No such file");
    CHECK_FAILS(cx, tenon_engine_save(cx, engine, ""), TENON_INVALID, "No such file");
    char *name = malloc(5000);
    memset(name, 'n', 4999), name[4999] = 0;
    CHECK_FAILS(cx, tenon_engine_save(cx, engine, name), TENON_INVALID, "too long");
    free(name);
    CHECK(files() == 0);
}

/* Limits and mounts stay in the child, whose counts come back by a pipe. */
static void in_child(void (*test)(void))
{
    int ends[2], count[3] = {0, 1, 0}, status = -1;
    if (pipe(ends) != 0) {
        CHECK(!"pipe");
        return;
    }
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        check_passed = check_failed = check_skipped = 0;
        test();
        fflush(NULL);
        const int mine[3] = {check_passed, check_failed, check_skipped};
        _exit(write(ends[1], mine, sizeof mine) == (ssize_t)sizeof mine ? 0 : 1);
    }
    close(ends[1]);
    CHECK(read(ends[0], count, sizeof count) == (ssize_t)sizeof count);
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    close(ends[0]);
    check_passed += count[0], check_failed += count[1], check_skipped += count[2];
    char path[128];
    path_in(path, "a.engine"), unlink(path);
    path_in(path, "a.timing"), unlink(path);
}

int main(void)
{
    CHECK(tenon_cx_create(&(tenon_cx_options){.log = listen, .severity = TENON_VERBOSE}, &cx) == TENON_OK);
    snprintf(folder, sizeof folder, "/tmp/tenon-full-XXXXXX");
    if (mkdtemp(folder) && make()) {
        in_child(small_files);
        in_child(small_disk);
        in_child(full_device);
        in_child(other_places);
    }
    rmdir(folder);
    tenon_engine_destroy(&engine);
    tenon_timing_cache_destroy(&cache);
    tenon_cx_destroy(&cx);
    return CHECK_END();
}
