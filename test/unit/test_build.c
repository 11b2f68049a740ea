/* SPDX-License-Identifier: Apache-2.0 */
/* Whole builds of the small trained network through the public API: profiles, shapes and what is refused; a timing cache that
   makes builds byte-identical; cancelling. */
#include "check.h"
#include "digits.h"

#include <xxhash.h>

#include "base/isa.h"

static tenon_cx *cx;
static uint8_t *model;
static size_t model_bytes;

typedef struct range { int64_t min, opt, max; } range;

/* One profile a range; none: the network's dims. */
static tenon_status build(tenon_cx *with, const range *r, int count, int threads, tenon_timing_cache *cache, tenon_engine **out)
{
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_status status;
    *out = NULL;
    TENON_TRY_DONE(tenon_network_read(with, model, model_bytes, NULL, &network));
    TENON_TRY_DONE(tenon_config_create(with, &config));
    TENON_TRY_DONE(tenon_config_set_device(config, "cpu", 0));
    TENON_TRY_DONE(tenon_config_set_threads(config, threads));
    TENON_TRY_DONE(tenon_config_set_timing(config, cache != NULL));
    TENON_TRY_DONE(tenon_config_set_optimization_level(config, 2));
    TENON_TRY_DONE(tenon_config_set_timing_cache(config, cache));
    for (int i = 0, profile; i < count; i++) {
        TENON_TRY_DONE(tenon_config_add_profile(config, &profile));
        TENON_TRY_DONE(tenon_config_set_shape(config, profile, "x", 4, (int64_t[]){r[i].min, 1, 8, 8},
                                              (int64_t[]){r[i].opt, 1, 8, 8}, (int64_t[]){r[i].max, 1, 8, 8}));
    }
    status = tenon_build(with, network, config, out);
done:
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    return status;
}

static tenon_status run(tenon_context *c, const float *x, float *y, int batch)
{
    TENON_TRY(tenon_context_set_shape(c, "x", 4, (int64_t[]){batch, 1, 8, 8}));
    TENON_TRY(tenon_context_set_address(c, "x", (void *)(uintptr_t)x, (size_t)batch * 64 * sizeof *x));
    TENON_TRY(tenon_context_set_address(c, "y", y, (size_t)batch * 10 * sizeof *y));
    return tenon_context_run(c);
}

static void reference(const float *x, float *y, int batch)
{
    tenon_network *network = NULL;
    tenon_host_tensor out, in = {.name = "x", .dtype = TENON_F32, .rank = 4, .dim = {batch, 1, 8, 8}};
    in.data = (void *)(uintptr_t)x;
    if (CHECK_OK(cx, tenon_network_read(cx, model, model_bytes, NULL, &network)) &&
        CHECK_OK(cx, tenon_network_run_reference(cx, network, &in, 1, &out, 1))) {
        CHECK(out.rank == 2 && out.dim[0] == batch && out.dim[1] == 10);
        memcpy(y, out.data, (size_t)batch * 10 * sizeof *y);
        tenon_reference_free(cx, &out, 1);
    }
    tenon_network_destroy(&network);
}

static bool close_to(const float *a, const float *b, int count)
{
    for (int i = 0; i < count; i++)
        if (!(a[i] - b[i] < 1e-4f && b[i] - a[i] < 1e-4f)) return false;
    return true;
}

/* ---- batches in one profile and in two ---- */
static void test_batches(const range *r, int count)
{
    float x[8 * 64], want[80], y[80];
    tenon_engine *e = NULL;
    digits_input(x, 8);
    reference(x, want, 8);
    if (!CHECK_OK(cx, build(cx, r, count, 2, NULL, &e))) return;
    CHECK(tenon_engine_profile_count(e) == count);
    for (int p = 0; p < count; p++) {
        tenon_context *c = NULL;
        int64_t min[8], opt[8], max[8], dim[8];
        int rank;
        CHECK_OK(cx, tenon_engine_profile_shape(cx, e, p, "x", min, opt, max));
        CHECK(min[0] == r[p].min && opt[0] == r[p].opt && max[0] == r[p].max && max[3] == 8);
        if (!CHECK_OK(cx, tenon_context_create(cx, e, &(tenon_context_options){.profile = p}, &c))) continue;
        for (int up = 0; up < 2; up++)
            for (int k = (int)r[p].min; k <= r[p].max; k++) {
                const int batch = up ? k : (int)(r[p].max + r[p].min) - k;
                memset(y, 0xff, sizeof y);
                CHECK(run(c, x, y, batch) == TENON_OK && close_to(y, want, 10 * batch));
                CHECK(tenon_context_shape(c, "y", &rank, dim) == TENON_OK && rank == 2 && dim[0] == batch && dim[1] == 10);
                uint32_t behind = 0xffffffff;
                for (int i = 10 * batch; i < 80; i++) CHECK(memcmp(&y[i], &behind, 4) == 0);
            }
        CHECK(tenon_context_set_shape(c, "x", 4, (int64_t[]){r[p].max + 1, 1, 8, 8}) == TENON_INVALID);
        tenon_context_destroy(&c);
    }
    tenon_engine_destroy(&e);
}

static void says(const tenon_context *c, tenon_status got, tenon_status want, const char *part)
{
    CHECK(got == want);
    CHECK(strstr(tenon_context_message(c), part) != NULL);
    if (!strstr(tenon_context_message(c), part)) fprintf(stderr, "  message: %s\n", tenon_context_message(c));
}

/* ---- bindings, and what is refused ---- */
static void test_bindings(void)
{
    tenon_engine *e = NULL;
    tenon_context *c = NULL, *other = NULL;
    tenon_binding_info info;
    float x[8 * 64], y[80];
    digits_input(x, 8);
    if (!CHECK_OK(cx, build(cx, &(range){1, 4, 8}, 1, 1, NULL, &e))) return;
    CHECK(tenon_engine_binding_count(e) == 2);
    CHECK_OK(cx, tenon_engine_binding(cx, e, 0, &info));
    CHECK_TEXT(info.name, "x");
    CHECK(info.io == TENON_INPUT && info.dtype == TENON_F32 && info.rank == 4);
    CHECK(info.dim[0] == -1 && info.dim[1] == 1 && info.dim[3] == 8);
    CHECK_TEXT(info.dim_name[0], "batch");
    CHECK_OK(cx, tenon_engine_binding(cx, e, 1, &info));
    CHECK(strcmp(info.name, "y") == 0 && info.io == TENON_OUTPUT && info.rank == 2 && info.dim[0] == -1 && info.dim[1] == 10);
    CHECK_FAILS(cx, tenon_engine_binding(cx, e, 2, &info), TENON_INVALID, "2");
    CHECK_FAILS(cx, tenon_context_create(cx, e, &(tenon_context_options){.profile = 1}, &other), TENON_INVALID, "profile 1");
    if (CHECK_OK(cx, tenon_context_create(cx, e, NULL, &c))) {
        says(c, tenon_context_run(c), TENON_INVALID, "shape is not set");
        says(c, tenon_context_set_shape(c, "z", 4, (int64_t[]){1, 1, 8, 8}), TENON_INVALID, "'x', 'y'");
        says(c, tenon_context_set_shape(c, "y", 2, (int64_t[]){1, 10}), TENON_INVALID, "output");
        says(c, tenon_context_set_shape(c, "x", 3, (int64_t[]){1, 8, 8}), TENON_INVALID, "rank 3");
        says(c, tenon_context_set_shape(c, "x", 4, (int64_t[]){9, 1, 8, 8}), TENON_INVALID, "1..8");
        says(c, tenon_context_set_shape(c, "x", 4, (int64_t[]){0, 1, 8, 8}), TENON_INVALID, "1..8");
        says(c, tenon_context_set_shape(c, "x", 4, (int64_t[]){1, 1, 8, 7}), TENON_INVALID, "axis 3");
        CHECK(tenon_context_set_shape(c, "x", 4, (int64_t[]){2, 1, 8, 8}) == TENON_OK);
        says(c, tenon_context_run(c), TENON_INVALID, "address is not set");
        CHECK(tenon_context_set_address(c, "x", x, 2 * 64 * 4) == TENON_OK);
        says(c, tenon_context_run(c), TENON_INVALID, "'y'");
        says(c, tenon_context_set_address(c, "w", y, sizeof y), TENON_INVALID, "no binding 'w'");
        says(c, tenon_context_set_address(c, "y", (char *)y + 1, 80), TENON_INVALID, "aligned");
        says(c, tenon_context_set_address(c, "y", NULL, 80), TENON_INVALID, "NULL");
        CHECK(tenon_context_set_address(c, "y", y, 2 * 10 * 4 - 4) == TENON_OK);
        says(c, tenon_context_run(c), TENON_INVALID, "76 bytes given, its shape needs 80");
        CHECK(tenon_context_set_address(c, "y", y, 80) == TENON_OK && tenon_context_run(c) == TENON_OK);
        CHECK(tenon_context_set_shape(c, "x", 4, (int64_t[]){3, 1, 8, 8}) == TENON_OK);
        says(c, tenon_context_run(c), TENON_INVALID, "bytes given");
    }
    tenon_context_destroy(&c);
    tenon_engine_destroy(&e);
}

/* The caller's memory, of the size that the engine says, gives the same. */
static void test_own_memory(void)
{
    tenon_engine *e = NULL;
    tenon_context *a = NULL, *b = NULL;
    float x[8 * 64], y[80], z[80];
    digits_input(x, 8);
    if (!CHECK_OK(cx, build(cx, &(range){1, 4, 8}, 1, 2, NULL, &e))) return;
    const size_t bytes = tenon_engine_context_bytes(e, 0);
    uint8_t *memory = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    memset(memory, 0x7f, bytes);
    memset(memory + bytes, 0x5a, 64);
    tenon_context_options o = {.memory = memory, .memory_bytes = bytes - 1};
    CHECK_FAILS(cx, tenon_context_create(cx, e, &o, &b), TENON_INVALID, "needs");
    o.memory_bytes = bytes;
    CHECK_OK(cx, tenon_context_create(cx, e, &o, &b));
    CHECK_OK(cx, tenon_context_create(cx, e, NULL, &a));
    if (a && b) CHECK(run(a, x, y, 8) == TENON_OK && run(b, x, z, 8) == TENON_OK && memcmp(y, z, sizeof y) == 0);
    for (int i = 0; i < 64; i++) CHECK(memory[bytes + (size_t)i] == 0x5a);
    tenon_engine_destroy(&e); /* the contexts keep what they need */
    if (a) CHECK(run(a, x, z, 8) == TENON_OK && memcmp(y, z, sizeof y) == 0);
    tenon_context_destroy(&a);
    tenon_context_destroy(&b);
    free(memory);
}

static void test_wrong_profiles(void)
{
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_engine *e = NULL;
    int p;
    CHECK_OK(cx, tenon_network_read(cx, model, model_bytes, NULL, &network));
    CHECK_OK(cx, tenon_config_create(cx, &config));
    const int64_t one[] = {1, 1, 8, 8}, two[] = {2, 1, 8, 8}, wide[] = {1, 1, 8, 9};
    CHECK(tenon_config_set_shape(config, 0, "x", 4, one, one, one) == TENON_INVALID &&
          strstr(tenon_config_message(config), "profile 0"));
    CHECK(tenon_config_add_profile(config, &p) == TENON_OK && p == 0);
    CHECK(tenon_config_set_shape(config, 0, "x", 4, two, one, two) == TENON_INVALID &&
          strstr(tenon_config_message(config), "axis 0"));
    CHECK(tenon_config_set_shape(config, 0, "q", 4, one, one, two) == TENON_OK);
    CHECK_FAILS(cx, tenon_build(cx, network, config, &e), TENON_INVALID, "'q'");
    tenon_config_destroy(&config);
    CHECK_OK(cx, tenon_config_create(cx, &config));
    CHECK(tenon_config_add_profile(config, &p) == TENON_OK);
    CHECK(tenon_config_set_shape(config, 0, "x", 4, wide, wide, wide) == TENON_OK);
    CHECK_FAILS(cx, tenon_build(cx, network, config, &e), TENON_INVALID, "axis 3");
    CHECK(tenon_config_set_shape(config, 0, "x", 3, one, one, one) == TENON_OK);
    CHECK_FAILS(cx, tenon_build(cx, network, config, &e), TENON_INVALID, "rank");
    CHECK(tenon_config_set_device(config, "abacus", 0) == TENON_OK);
    CHECK(tenon_config_set_shape(config, 0, "x", 4, one, one, two) == TENON_OK);
    CHECK_FAILS(cx, tenon_build(cx, network, config, &e), TENON_INVALID, "abacus");
    CHECK(e == NULL);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
}

/* ---- the timing cache ---- */
static bool identical(const tenon_engine *a, const tenon_engine *b)
{
    const void *p, *q;
    size_t m, n;
    if (tenon_engine_data(cx, a, &p, &m) != TENON_OK || tenon_engine_data(cx, b, &q, &n) != TENON_OK) return false;
    return m == n && memcmp(p, q, m) == 0;
}

static void test_cache(void)
{
    static const range r[] = {{1, 1, 1}, {2, 4, 8}};
    tenon_timing_cache *cache = NULL, *reread = NULL;
    tenon_engine *first = NULL, *second = NULL, *third = NULL;
    const char *path = TENON_BINARY_DIR "/test_build.cache", *again = TENON_BINARY_DIR "/test_build.again";
    CHECK_FAILS(cx, tenon_timing_cache_load(cx, "/dev/null/cache", &cache), TENON_INVALID, "/dev/null/cache"); /* not missing */
    CHECK(cache == NULL);
    CHECK_OK(cx, tenon_timing_cache_create(cx, NULL, 0, &cache));
    CHECK_OK(cx, build(cx, r, 2, 2, cache, &first));
    const size_t measured = tenon_timing_cache_count(cache);
    CHECK(measured > 0);
    CHECK_OK(cx, build(cx, r, 2, 2, cache, &second));
    CHECK(tenon_timing_cache_count(cache) == measured); /* full: nothing was measured again */
    CHECK(first && second && identical(first, second));
    CHECK_OK(cx, tenon_timing_cache_save(cx, cache, path));
    CHECK_OK(cx, tenon_timing_cache_load(cx, path, &reread));
    CHECK(tenon_timing_cache_count(reread) == measured);
    CHECK_OK(cx, tenon_timing_cache_save(cx, reread, again));
    char a[64], b[64];
    FILE *f = fopen(path, "rb"), *g = fopen(again, "rb");
    size_t n;
    CHECK(f && g);
    do {
        n = fread(a, 1, sizeof a, f);
        CHECK(fread(b, 1, sizeof b, g) == n && memcmp(a, b, n) == 0);
    } while (n == sizeof a);
    fclose(f);
    fclose(g);
    CHECK_OK(cx, build(cx, r, 2, 2, reread, &third));
    CHECK(first && third && identical(first, third));
    remove(path);
    remove(again);
    tenon_engine_destroy(&first);
    tenon_engine_destroy(&second);
    tenon_engine_destroy(&third);
    tenon_timing_cache_destroy(&cache);
    tenon_timing_cache_destroy(&reread);
}

/* The cache's text with the hash of every tactic's code changed, as if all kernels had been written anew. */
static void change_code(char *text)
{
    char head[64];
    char *body = strchr(text, '\n') + 1;
    for (char *p = body; (p = strchr(p, '@')) != NULL; p++) {
        if (strspn(p + 1, "0123456789abcdef") != 16 || p[17] != '\t') continue;
        p[1] = p[1] == '0' ? '1' : '0';
    }
    snprintf(head, sizeof head, "%016llx", (unsigned long long)XXH3_64bits(body, strlen(body)));
    memcpy(body - 17, head, 16);
}

/* Times of other code are not used: everything is measured again and stands beside them. */
static void test_changed_code(void)
{
    static const range r = {1, 4, 8};
    tenon_timing_cache *cache = NULL, *other = NULL;
    tenon_engine *e = NULL;
    const char *path = TENON_BINARY_DIR "/test_build.code";
    CHECK_OK(cx, tenon_timing_cache_create(cx, NULL, 0, &cache));
    CHECK_OK(cx, build(cx, &r, 1, 1, cache, &e));
    tenon_engine_destroy(&e);
    const size_t measured = tenon_timing_cache_count(cache);
    CHECK_OK(cx, tenon_timing_cache_save(cx, cache, path));
    FILE *f = fopen(path, "rb");
    static char text[1 << 20];
    const size_t bytes = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    remove(path);
    CHECK(bytes > 100 && bytes < sizeof text - 1);
    change_code(text);
    CHECK_OK(cx, tenon_timing_cache_create(cx, text, bytes, &other));
    CHECK(tenon_timing_cache_count(other) == measured);
    CHECK_OK(cx, build(cx, &r, 1, 1, other, &e));
    CHECK(tenon_timing_cache_count(other) >= measured + measured / 2); /* which comparisons are needed is the clock's answer */
    tenon_engine_destroy(&e);
    tenon_timing_cache_destroy(&cache);
    tenon_timing_cache_destroy(&other);
}

/* Nothing timed: the same plan every time. */
static void test_same_plan(void)
{
    tenon_engine *a = NULL, *b = NULL;
    CHECK_OK(cx, build(cx, &(range){1, 4, 8}, 1, 2, NULL, &a));
    CHECK_OK(cx, build(cx, &(range){1, 4, 8}, 1, 2, NULL, &b));
    CHECK(a && b && identical(a, b));
    tenon_engine_destroy(&a);
    tenon_engine_destroy(&b);
}

/* ---- cancelling ---- */
typedef struct stopper { int calls, stop_at; } stopper;

static int on_progress(void *user, const char *phase, size_t done, size_t total)
{
    stopper *s = user;
    (void)phase, (void)done, (void)total;
    return ++s->calls == s->stop_at;
}

static void test_cancel(void)
{
    check_heap heap = {0};
    stopper s = {0};
    const tenon_allocator allocator = {check_heap_alloc, check_heap_realloc, check_heap_free, &heap};
    const tenon_cx_options options = {.allocator = &allocator, .progress = on_progress, .progress_user = &s};
    tenon_cx *mine = NULL;
    tenon_engine *e = NULL;
    tenon_timing_cache *cache = NULL;
    CHECK(tenon_cx_create(&options, &mine) == TENON_OK);
    const long before = heap.live;
    int cancelled = 0;
    for (s.stop_at = 1; s.stop_at < 1000; s.stop_at++) {
        s.calls = 0;
        CHECK_OK(mine, tenon_timing_cache_create(mine, NULL, 0, &cache));
        const tenon_status status = build(mine, &(range){1, 2, 4}, 1, 1, s.stop_at % 4 == 1 ? cache : NULL, &e);
        tenon_timing_cache_destroy(&cache);
        if (status == TENON_OK && s.calls < s.stop_at && s.stop_at % 4 != 1) break;
        if (status == TENON_OK) {
            tenon_engine_destroy(&e);
            continue;
        }
        CHECK_OK(mine, status == TENON_CANCELLED ? TENON_OK : status);
        CHECK(e == NULL && heap.live == before && strstr(tenon_cx_message(mine), "cancelled"));
        cancelled++;
    }
    CHECK(cancelled >= 4);
    tenon_engine_destroy(&e);
    tenon_cx_destroy(&mine);
    CHECK(heap.live == 0);
}

/* The whole name of the CPU stands in the list, and all of its instruction sets. */
static void test_devices(void)
{
    char *json = NULL, isa[128], wanted[256];
    CHECK_OK(cx, tenon_list(cx, "devices", &json));
    tenon_isa_names(tenon_cpu()->isa, isa, sizeof isa);
    snprintf(wanted, sizeof wanted, "\"name\": \"%s, %d threads, %s\"", tenon_cpu()->name, tenon_cpu()->cores, isa);
    CHECK(json && strstr(json, wanted));
    tenon_text_free(cx, &json);
}

int main(void)
{
    static const range one[] = {{1, 4, 8}}, two[] = {{1, 1, 2}, {2, 8, 8}}, equal[] = {{1, 4, 8}, {1, 4, 8}};
    CHECK(tenon_cx_create(NULL, &cx) == TENON_OK);
    model = digits_model(&model_bytes);
    test_batches(one, 1);
    test_batches(two, 2);
    test_batches(equal, 2); /* the same problems again, when the first profile's memory is gone */
    test_bindings();
    test_own_memory();
    test_wrong_profiles();
    test_cache();
    test_changed_code();
    test_same_plan();
    test_cancel();
    test_devices();
    free(model);
    tenon_cx_destroy(&cx);
    return CHECK_END();
}
