/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that cannot start. Every pthread_create of the process goes through the one here, which refuses the n-th call and all after
   it: building, loading and streams give TENON_DEVICE with a message that says what to do, leave no thread and no memory behind, and
   work again when threads can start. */
#include "check.h"
#include "digits.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static long started, refuse_from = -1; /* -1: never */

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    static create *real;
    if (!real) {
        void *found = dlsym(RTLD_NEXT, "pthread_create");
        memcpy(&real, &found, sizeof real);
    }
    if (refuse_from >= 0 && started >= refuse_from) return EAGAIN;
    started++;
    return real(thread, attr, fn, arg);
}

static void allow(long count) { started = 0, refuse_from = count; }

/* Ended threads may stand in the folder for a moment. */
static long threads_alive(long want)
{
    long count = 0;
    for (int i = 0; i < 200; i++, usleep(1000)) {
        DIR *dir = opendir("/proc/self/task");
        count = 0;
        while (dir && readdir(dir)) count++;
        if (dir) closedir(dir);
        if (count == want) break;
    }
    return count;
}

static tenon_status build(tenon_cx *cx, const uint8_t *model, size_t bytes, tenon_engine **out)
{
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    *out = NULL;
    CHECK_OK(cx, tenon_network_read(cx, model, bytes, NULL, &network));
    CHECK_OK(cx, tenon_config_create(cx, &config));
    CHECK(tenon_config_set_device(config, "cpu", 0) == TENON_OK && tenon_config_set_threads(config, 4) == TENON_OK &&
          tenon_config_set_timing(config, false) == TENON_OK);
    const tenon_status status = tenon_build(cx, network, config, out);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    return status;
}

static void *nothing(void *arg) { return arg; }

static void quiet(void *user, tenon_severity severity, const char *message) { (void)user, (void)severity, (void)message; }

int main(void)
{
    size_t bytes;
    uint8_t *model = digits_model(&bytes);
    check_heap heap = {0};
    const tenon_allocator counted = {check_heap_alloc, check_heap_realloc, check_heap_free, &heap};
    tenon_cx *cx = NULL;
    tenon_engine *e = NULL, *again = NULL;
    tenon_stream *s = NULL;
    const void *data;
    CHECK(tenon_cx_create(&(tenon_cx_options){.allocator = &counted, .log = quiet}, &cx) == TENON_OK);
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, nothing, NULL) && !pthread_join(thread, NULL)); /* ThreadSanitizer has one of its own since */
    const long before = heap.live, alive = threads_alive(-1);
    for (long n = 0; n < 3; n++) { /* of three that a team of four wants */
        allow(n);
        CHECK_FAILS(cx, build(cx, model, bytes, &e), TENON_DEVICE, "ask for fewer");
        CHECK(!e && heap.live == before && threads_alive(alive) == alive);
    }
    allow(-1);
    if (CHECK_OK(cx, build(cx, model, bytes, &e)) && CHECK_OK(cx, tenon_engine_data(cx, e, &data, &bytes))) {
        const long with_engine = heap.live, alive_with = threads_alive(alive + 3);
        CHECK(alive_with == alive + 3);
        allow(1);
        CHECK_FAILS(cx, tenon_engine_load_memory(cx, data, bytes, NULL, &again), TENON_DEVICE, "only 2 could start");
        allow(1); /* fewer, as advised */
        CHECK_OK(cx, tenon_engine_load_memory(cx, data, bytes, &(tenon_load_options){.threads = 2}, &again));
        tenon_engine_destroy(&again);
        allow(0);
        CHECK_FAILS(cx, tenon_stream_create(cx, e, &s), TENON_DEVICE, "fewer streams");
        CHECK(!s && heap.live == with_engine && threads_alive(alive_with) == alive_with);
        allow(-1);
        CHECK_OK(cx, tenon_stream_create(cx, e, &s));
        tenon_stream_destroy(&s);
    }
    tenon_engine_destroy(&e);
    CHECK(heap.live == before && threads_alive(alive) == alive);
    tenon_cx_destroy(&cx);
    CHECK(heap.live == 0);
    free(model);
    return CHECK_END();
}
