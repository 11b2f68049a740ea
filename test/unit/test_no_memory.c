/* SPDX-License-Identifier: Apache-2.0 */
/* Building, saving, loading and running a small network with an allocator whose n-th call fails, for n = 1, 2, 3, ... until all goes
   through: alone, and with all calls after it. Each failure is TENON_NOMEM with a message, nothing is lost, and what succeeds although a call
   failed gives the same engine. */
#include "check.h"
#include "digits.h"

#include <unistd.h>

enum { SHOWN = 12 };

static uint8_t *model;
static size_t model_bytes;
static char path[64];
static long counted, fail_at, fail_on, live; /* fail_on: the last call that fails */
static int shown;

static bool failing(void)
{
    counted++;
    return counted >= fail_at && counted <= fail_on;
}

static void *poor_alloc(void *user, size_t bytes)
{
    (void)user;
    if (failing()) return NULL;
    live++;
    return malloc(bytes);
}

static void *poor_realloc(void *user, void *p, size_t bytes)
{
    (void)user;
    if (failing()) return NULL;
    live += !p;
    return realloc(p, bytes);
}

static void poor_free(void *user, void *p)
{
    (void)user;
    live -= p != NULL;
    free(p);
}

static void quiet(void *user, tenon_severity severity, const char *message) { (void)user, (void)severity, (void)message; }

typedef struct result { const char *stage; tenon_status status; char message[256]; uint64_t hash; float y[20]; } result;

static uint64_t hash_of(const uint8_t *data, size_t bytes)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < bytes; i++) h = (h ^ data[i]) * 1099511628211u;
    return h;
}

static bool step(result *r, const char *stage, tenon_status status, const char *message)
{
    r->stage = stage;
    r->status = status;
    snprintf(r->message, sizeof r->message, "%s", status == TENON_OK ? "" : message);
    return status == TENON_OK;
}

static void run(tenon_cx *cx, tenon_engine *engine, result *r)
{
    static float x[2 * 64];
    tenon_context *c = NULL;
    digits_input(x, 2);
    if (!step(r, "context", tenon_context_create(cx, engine, NULL, &c), tenon_cx_message(cx))) return;
    (void)(step(r, "shape", tenon_context_set_shape(c, "x", 4, (int64_t[]){2, 1, 8, 8}), tenon_context_message(c)) &&
           step(r, "address", tenon_context_set_address(c, "x", x, sizeof x), tenon_context_message(c)) &&
           step(r, "address", tenon_context_set_address(c, "y", r->y, sizeof r->y), tenon_context_message(c)) &&
           step(r, "run", tenon_context_run(c), tenon_context_message(c)));
    tenon_context_destroy(&c);
}

static bool configure(tenon_cx *cx, tenon_config *c, result *r)
{
    int profile = 0;
    const int64_t lo[] = {1, 1, 8, 8}, hi[] = {4, 1, 8, 8};
    (void)cx;
    return step(r, "device", tenon_config_set_device(c, "cpu", 0), tenon_config_message(c)) &&
           step(r, "threads", tenon_config_set_threads(c, 1), tenon_config_message(c)) &&
           step(r, "timing", tenon_config_set_timing(c, false), tenon_config_message(c)) &&
           step(r, "refit", tenon_config_set_refit(c, true), tenon_config_message(c)) &&
           step(r, "profile", tenon_config_add_profile(c, &profile), tenon_config_message(c)) &&
           step(r, "shape", tenon_config_set_shape(c, profile, "x", 4, lo, lo, hi), tenon_config_message(c));
}

/* The whole way; r->hash is that of the engine's bytes. */
static void all(result *r)
{
    *r = (result){.stage = ""};
    counted = 0;
    tenon_cx *cx = NULL;
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_engine *engine = NULL, *loaded = NULL;
    const void *data;
    size_t bytes;
    const tenon_allocator allocator = {poor_alloc, poor_realloc, poor_free, NULL};
    const tenon_status made = tenon_cx_create(&(tenon_cx_options){.allocator = &allocator, .log = quiet}, &cx);
    if (!step(r, "session", made, "there is no session yet")) return;
    if (!step(r, "read", tenon_network_read(cx, model, model_bytes, NULL, &network), tenon_cx_message(cx))) goto done;
    if (!step(r, "config", tenon_config_create(cx, &config), tenon_cx_message(cx)) || !configure(cx, config, r)) goto done;
    if (!step(r, "build", tenon_build(cx, network, config, &engine), tenon_cx_message(cx))) goto done;
    if (!step(r, "data", tenon_engine_data(cx, engine, &data, &bytes), tenon_cx_message(cx))) goto done;
    r->hash = hash_of(data, bytes);
    if (!step(r, "save", tenon_engine_save(cx, engine, path), tenon_cx_message(cx))) goto done;
    if (!step(r, "load", tenon_engine_load(cx, path, NULL, &loaded), tenon_cx_message(cx))) goto done;
    run(cx, loaded, r);
done:
    tenon_engine_destroy(&loaded);
    tenon_engine_destroy(&engine);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    tenon_cx_destroy(&cx);
}

static bool judge(long n, const result *got, const result *want)
{
    const bool hit = counted >= n;
    bool good = live == 0;
    if (got->status == TENON_OK) good = good && got->hash == want->hash && memcmp(got->y, want->y, sizeof want->y) == 0;
    else good = good && hit && got->status == TENON_NOMEM && got->message[0];
    if (!good && shown++ < SHOWN)
        fprintf(stderr, "call %ld (%s): %s: %s, \"%s\", %ld pieces lost%s\n", n, fail_on > n ? "and all after it" : "alone", got->stage,
                tenon_status_name(got->status), got->message, live,
                got->status == TENON_OK && got->hash != want->hash ? ", another engine" : "");
    live = 0;
    return good;
}

static void test(bool alone, const result *want, long calls)
{
    int wrong = 0, refused = 0, survived = 0;
    for (long n = 1; n <= calls + 1; n++) {
        result got;
        fail_at = n;
        fail_on = alone ? n : (long)1 << 40;
        all(&got);
        wrong += !judge(n, &got, want);
        refused += got.status != TENON_OK;
        survived += got.status == TENON_OK && counted >= n;
        if (n == calls + 1) CHECK(got.status == TENON_OK);
    }
    printf("%s: %d of %ld calls failed and were told, %d done without\n", alone ? "alone" : "and all after", refused, calls, survived);
    CHECK(wrong == 0);
    CHECK(refused > calls / 2);
    CHECK(alone || survived == 0);
}

int main(void)
{
    result want;
    model = digits_model(&model_bytes);
    snprintf(path, sizeof path, "/tmp/tenon-no-memory-%d.engine", (int)getpid());
    fail_at = fail_on = (long)1 << 41;
    all(&want);
    const long calls = counted;
    if (want.status != TENON_OK) fprintf(stderr, "%s: %s\n", want.stage, want.message);
    CHECK(want.status == TENON_OK && calls > 100 && live == 0);
    if (want.status == TENON_OK) {
        test(true, &want, calls);
        test(false, &want, calls);
    }
    unlink(path);
    free(model);
    return CHECK_END();
}
