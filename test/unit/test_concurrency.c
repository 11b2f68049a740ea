/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads at once: one engine run by sixteen, contexts on streams from threads of their own, builds beside each other, objects
   destroyed in every order, and a thousand loads that leave nothing behind. Results must be the bytes that one thread alone gets;
   ThreadSanitizer and AddressSanitizer judge the rest. TENON_TEST_SECONDS: how long the sixteen run (3 when not said). */
#include "check.h"
#include "digits.h"

#include "base/clock.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MOST_BATCH = 8, THREADS = 16, BUILDERS = 4, LOADS = 1000, ORDERS = 120 };

#if defined(__has_feature) /* clang's way to say it */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(HAS_SANITIZER)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static uint8_t *model;
static size_t model_bytes;
static float x[MOST_BATCH * 64], want[MOST_BATCH + 1][MOST_BATCH * 10]; /* for each batch */
static char path[64];
static double seconds = 3;
static atomic_long failures;

static void quiet(void *user, tenon_severity severity, const char *message) { (void)user, (void)severity, (void)message; }

static tenon_cx *session(void)
{
    tenon_cx *cx = NULL;
    CHECK(tenon_cx_create(&(tenon_cx_options){.log = quiet}, &cx) == TENON_OK);
    return cx;
}

/* CHECK is for the main thread. */
static bool well(bool good, const char *what, const char *message)
{
    if (!good && atomic_fetch_add(&failures, 1) < 10) fprintf(stderr, "%s: %s\n", what, message);
    return good;
}

static tenon_engine *build(tenon_cx *cx, int threads, int level)
{
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    int profile;
    const int64_t one[] = {1, 1, 8, 8}, four[] = {4, 1, 8, 8}, most[] = {MOST_BATCH, 1, 8, 8};
    const bool good = tenon_network_read(cx, model, model_bytes, NULL, &network) == TENON_OK &&
                      tenon_config_create(cx, &config) == TENON_OK && tenon_config_set_device(config, "cpu", 0) == TENON_OK &&
                      tenon_config_set_threads(config, threads) == TENON_OK &&
                      tenon_config_set_timing(config, level > 0) == TENON_OK &&
                      tenon_config_set_optimization_level(config, level ? level : 3) == TENON_OK &&
                      tenon_config_add_profile(config, &profile) == TENON_OK &&
                      tenon_config_set_shape(config, profile, "x", 4, one, four, most) == TENON_OK &&
                      tenon_build(cx, network, config, &engine) == TENON_OK;
    well(good, "build", tenon_cx_message(cx));
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    return engine;
}

static bool set_batch(tenon_context *c, int batch, float *y)
{
    return tenon_context_set_shape(c, "x", 4, (int64_t[]){batch, 1, 8, 8}) == TENON_OK &&
           tenon_context_set_address(c, "x", x, (size_t)batch * 64 * sizeof *x) == TENON_OK &&
           tenon_context_set_address(c, "y", y, (size_t)batch * 10 * sizeof *y) == TENON_OK;
}

static bool right(const float *y, int batch) { return memcmp(y, want[batch], (size_t)batch * 10 * sizeof *y) == 0; }

/* ---- one engine, many threads ---- */
typedef struct runner { pthread_t thread; tenon_engine *engine; int index; double until; long runs; } runner;

/* Lives of a context, with changing batches: run here or in a stream, and destroyed with runs still in the queue. */
static void *many_lives(void *arg)
{
    runner *r = arg;
    float y[MOST_BATCH * 10];
    tenon_cx *cx = NULL;
    bool good = tenon_cx_create(&(tenon_cx_options){.log = quiet}, &cx) == TENON_OK;
    for (unsigned life = (unsigned)r->index; good && tenon_now() < r->until; life++) {
        tenon_context *c = NULL;
        tenon_stream *s = NULL;
        good = well(tenon_context_create(cx, r->engine, NULL, &c) == TENON_OK, "context", tenon_cx_message(cx));
        if (good && life % 3 == 0)
            good = well(tenon_stream_create(cx, r->engine, &s) == TENON_OK, "stream", tenon_cx_message(cx));
        for (int turn = 0; good && turn < 20; turn++, r->runs++) {
            const int batch = 1 + (int)(life * 7 + (unsigned)turn * 3) % MOST_BATCH;
            memset(y, 0xff, sizeof y);
            good = set_batch(c, batch, y) && (s ? tenon_context_enqueue(c, s) : tenon_context_run(c)) == TENON_OK &&
                   (!s || tenon_stream_synchronize(cx, s) == TENON_OK);
            good = well(good && right(y, batch), "run", tenon_context_message(c));
        }
        for (int more = 0; good && s && more < 2; more++) good = tenon_context_enqueue(c, s) == TENON_OK;
        if (life & 1) tenon_stream_destroy(&s);
        tenon_context_destroy(&c);
        tenon_stream_destroy(&s);
    }
    tenon_cx_destroy(&cx);
    return NULL;
}

/* The engine's owner lets go of it while the threads still make contexts of their own from it: each holds one context to keep it. */
static void test_many(int threads, double time)
{
    static runner r[THREADS];
    tenon_cx *cx = session();
    tenon_engine *e = build(cx, threads, 0);
    long runs = 0;
    if (!e) return;
    for (int i = 0; i < THREADS; i++) {
        r[i] = (runner){.engine = e, .index = i, .until = tenon_now() + time};
        CHECK(!pthread_create(&r[i].thread, NULL, many_lives, &r[i]));
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(r[i].thread, NULL);
        runs += r[i].runs;
        CHECK(r[i].runs > 0);
    }
    CHECK(atomic_load(&failures) == 0);
    printf("%d threads, an engine of %d: %ld runs in %.1f s\n", THREADS, threads, runs, time);
    tenon_engine_destroy(&e);
    tenon_cx_destroy(&cx);
}

/* ---- two contexts on two streams from two threads, which outlive the engine's handle ---- */
typedef struct queuer { pthread_t thread; tenon_cx *cx; tenon_context *context; tenon_stream *stream; int batch; bool good; } queuer;

static void *queue_all(void *arg)
{
    queuer *q = arg;
    float y[MOST_BATCH * 10];
    q->good = set_batch(q->context, q->batch, y);
    for (int round = 0; round < 20 && q->good; round++) {
        memset(y, 0xff, sizeof y);
        for (int i = 0; i < 10; i++) q->good = q->good && tenon_context_enqueue(q->context, q->stream) == TENON_OK;
        q->good = q->good && tenon_stream_synchronize(q->cx, q->stream) == TENON_OK && right(y, q->batch);
    }
    tenon_context_destroy(&q->context);
    tenon_stream_destroy(&q->stream);
    return NULL;
}

static void test_two_streams(int threads)
{
    queuer q[2] = {{.batch = 3}, {.batch = MOST_BATCH}};
    tenon_cx *cx = session();
    tenon_engine *e = build(cx, threads, 0);
    if (!e) return;
    for (int i = 0; i < 2; i++) {
        q[i].cx = session();
        CHECK_OK(cx, tenon_context_create(cx, e, NULL, &q[i].context));
        CHECK_OK(cx, tenon_stream_create(cx, e, &q[i].stream));
    }
    for (int i = 0; i < 2; i++) CHECK(!pthread_create(&q[i].thread, NULL, queue_all, &q[i]));
    tenon_engine_destroy(&e);
    for (int i = 0; i < 2; i++) {
        pthread_join(q[i].thread, NULL);
        CHECK(q[i].good);
        tenon_cx_destroy(&q[i].cx);
    }
    tenon_cx_destroy(&cx);
}

/* ---- builds beside each other ---- */
typedef struct builder { pthread_t thread; int level; size_t bytes; uint8_t *data; bool good; } builder;

static void *build_and_run(void *arg)
{
    builder *b = arg;
    float y[MOST_BATCH * 10];
    tenon_cx *cx = NULL;
    tenon_context *c = NULL;
    const void *data;
    if (tenon_cx_create(&(tenon_cx_options){.log = quiet}, &cx) != TENON_OK) return NULL;
    tenon_engine *e = build(cx, 2, b->level);
    b->good = e && tenon_engine_data(cx, e, &data, &b->bytes) == TENON_OK && (b->data = malloc(b->bytes)) != NULL;
    if (b->good) memcpy(b->data, data, b->bytes);
    b->good = b->good && tenon_context_create(cx, e, NULL, &c) == TENON_OK;
    tenon_engine_destroy(&e);
    b->good = b->good && set_batch(c, MOST_BATCH, y) && tenon_context_run(c) == TENON_OK;
    for (int i = 0; b->good && i < MOST_BATCH * 10; i++) /* other tactics may round otherwise */
        b->good = y[i] - want[MOST_BATCH][i] < 1e-3f && want[MOST_BATCH][i] - y[i] < 1e-3f;
    tenon_context_destroy(&c);
    tenon_cx_destroy(&cx);
    return NULL;
}

static void test_builds(int level)
{
    builder b[BUILDERS];
    memset(b, 0, sizeof b);
    for (int i = 0; i < BUILDERS; i++) {
        b[i].level = level;
        CHECK(!pthread_create(&b[i].thread, NULL, build_and_run, &b[i]));
    }
    for (int i = 0; i < BUILDERS; i++) {
        pthread_join(b[i].thread, NULL);
        CHECK(b[i].good);
        if (level == 0) CHECK(b[i].bytes == b[0].bytes && b[i].data && b[0].data && memcmp(b[i].data, b[0].data, b[0].bytes) == 0);
    }
    for (int i = 0; i < BUILDERS; i++) free(b[i].data);
}

/* ---- all orders ---- */
/* The objects of a life, made in order, ended in each of the 120 orders, with runs in the queue. */
static void test_orders(void)
{
    static float y[MOST_BATCH * 10];
    int wrong = 0;
    for (int order = 0; order < ORDERS; order++) {
        tenon_cx *cx = session();
        tenon_engine *e = NULL;
        tenon_context *c = NULL, *other = NULL;
        tenon_stream *s = NULL;
        wrong += tenon_engine_load(cx, path, NULL, &e) != TENON_OK || tenon_context_create(cx, e, NULL, &c) != TENON_OK ||
                 tenon_context_create(cx, e, NULL, &other) != TENON_OK || tenon_stream_create(cx, e, &s) != TENON_OK;
        if (wrong) break;
        memset(y, 0xff, sizeof y);
        wrong += !set_batch(c, MOST_BATCH, y);
        for (int i = 0; i < 5; i++) wrong += tenon_context_enqueue(c, s) != TENON_OK;
        int left[] = {0, 1, 2, 3, 4};
        for (int n = 5, code = order; n > 0; code /= n, n--) {
            const int at = code % n, which = left[at];
            memmove(&left[at], &left[at + 1], (size_t)(n - 1 - at) * sizeof *left);
            if (which == 0) tenon_cx_destroy(&cx);
            else if (which == 1) tenon_engine_destroy(&e);
            else if (which == 2) tenon_context_destroy(&c);
            else if (which == 3) tenon_context_destroy(&other);
            else tenon_stream_destroy(&s);
        }
        wrong += !right(y, MOST_BATCH) || cx || e || c || other || s;
    }
    CHECK(wrong == 0);
}

/* ---- nothing stays ---- */
static long entries(const char *folder)
{
    long count = 0;
    DIR *dir = opendir(folder);
    while (dir && readdir(dir)) count++;
    if (dir) closedir(dir);
    return count;
}

static long resident_pages(void)
{
    long all, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &all, &resident) != 2) resident = 0;
    if (f) fclose(f);
    return resident;
}

static void test_loads(void)
{
    static float y[MOST_BATCH * 10];
    long files = 0, threads = 0, pages = 0, wrong = 0;
    tenon_cx *cx = session();
    for (int i = 0; i < LOADS; i++) {
        tenon_engine *e = NULL;
        tenon_context *c = NULL;
        tenon_stream *s = NULL;
        char *json = NULL;
        if (i == LOADS / 5) { /* whatever is made once has been made */
            files = entries("/proc/self/fd");
            threads = entries("/proc/self/task");
            pages = resident_pages();
        }
        wrong += tenon_engine_load(cx, path, NULL, &e) != TENON_OK || tenon_context_create(cx, e, NULL, &c) != TENON_OK;
        if (wrong) break;
        wrong += !set_batch(c, MOST_BATCH, y) || tenon_context_run(c) != TENON_OK || !right(y, MOST_BATCH);
        if (i % 4 == 0) wrong += tenon_stream_create(cx, e, &s) != TENON_OK || tenon_context_enqueue(c, s) != TENON_OK;
        if (i % 4 == 1) wrong += tenon_engine_inspect(cx, e, &json) != TENON_OK;
        tenon_text_free(cx, &json);
        tenon_context_destroy(&c);
        tenon_stream_destroy(&s);
        tenon_engine_destroy(&e);
    }
    CHECK(wrong == 0);
    CHECK(entries("/proc/self/fd") == files);
    CHECK(entries("/proc/self/task") == threads);
    const long grown = (resident_pages() - pages) * sysconf(_SC_PAGESIZE);
    printf("%d loads: %ld KB more than after %d\n", LOADS, grown >> 10, LOADS / 5);
    if (SANITIZED || EMULATED()) SKIP("a sanitizer keeps freed memory, an emulator what it translated");
    else CHECK(grown < 1 << 20);
    tenon_cx_destroy(&cx);
}

static bool prepare(void)
{
    tenon_cx *cx = session();
    tenon_engine *e = build(cx, 2, 0);
    tenon_context *c = NULL;
    bool good = e && CHECK_OK(cx, tenon_engine_save(cx, e, path)) && CHECK_OK(cx, tenon_context_create(cx, e, NULL, &c));
    for (int batch = 1; good && batch <= MOST_BATCH; batch++)
        good = set_batch(c, batch, want[batch]) && tenon_context_run(c) == TENON_OK;
    CHECK(good);
    tenon_context_destroy(&c);
    tenon_engine_destroy(&e);
    tenon_cx_destroy(&cx);
    return good;
}

int main(void)
{
    const char *text = getenv("TENON_TEST_SECONDS");
    if (text && *text) seconds = atof(text);
    model = digits_model(&model_bytes);
    digits_input(x, MOST_BATCH);
    snprintf(path, sizeof path, "/tmp/tenon-concurrency-%d.engine", (int)getpid());
    if (prepare()) {
        test_orders();
        test_loads();
        test_two_streams(1);
        test_two_streams(2);
        test_builds(0);
        test_builds(1);
        test_many(1, seconds / 2);
        test_many(2, seconds / 2);
    }
    unlink(path);
    free(model);
    return CHECK_END();
}
