/* SPDX-License-Identifier: Apache-2.0 */
/* Refit: weights of a built or loaded engine are replaced, and the result is that of an engine built from the changed model; wrong names,
   types and sizes are refused; what cannot be evaluated changes nothing. */
#include "check.h"
#include "digits.h"

#include <unistd.h>

static tenon_cx *cx;

static tenon_engine *build(tenon_network *network, bool refit)
{
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    CHECK_OK(cx, tenon_config_create(cx, &config));
    CHECK_OK(cx, tenon_config_set_device(config, "cpu", 0));
    CHECK_OK(cx, tenon_config_set_threads(config, 1));
    CHECK_OK(cx, tenon_config_set_timing(config, false));
    CHECK_OK(cx, tenon_config_set_refit(config, refit));
    CHECK_OK(cx, tenon_build(cx, network, config, &engine));
    tenon_config_destroy(&config);
    return engine;
}

static bool run(tenon_context *context, float out[10])
{
    float x[64];
    digits_input(x, 1);
    const bool ok = tenon_context_set_address(context, "x", x, sizeof x) == TENON_OK &&
                    tenon_context_set_address(context, "y", out, 10 * sizeof *out) == TENON_OK &&
                    tenon_context_run(context) == TENON_OK;
    if (!ok) fprintf(stderr, "%s\n", tenon_context_message(context));
    return ok;
}

static bool run_engine(tenon_engine *engine, float out[10])
{
    tenon_context *context = NULL;
    const bool ok = CHECK_OK(cx, tenon_context_create(cx, engine, NULL, &context)) && run(context, out);
    tenon_context_destroy(&context);
    return ok;
}

static bool same(const float *a, const float *b) { return memcmp(a, b, 10 * sizeof *a) == 0; }

/* The initializer's bytes inside the model: weights are stored raw, so the model is changed by changing them. */
static float *weight_in(uint8_t *model, size_t bytes, const char *name, size_t count)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i + length + 8 < bytes; i++) {
        if (model[i] != 0x42 || model[i + 1] != length || memcmp(model + i + 2, name, length) != 0) continue; /* field 8: name */
        size_t at = i + 2 + length, size = 0;
        if (model[at++] != 0x4a) continue; /* field 9: raw data */
        for (int shift = 0;; shift += 7) {
            size |= (size_t)(model[at] & 0x7f) << shift;
            if (!(model[at++] & 0x80)) break;
        }
        return size == count * sizeof(float) && at + size <= bytes ? (float *)(void *)(model + at) : NULL;
    }
    return NULL;
}

typedef struct change { const char *name; size_t count; float factor; } change;

/* The model with weights scaled, and what an engine built from it gives. */
static bool expected(const change *c, int count, float *changed[], float out[10])
{
    size_t bytes;
    uint8_t *model = digits_model(&bytes);
    bool ok = model != NULL;
    for (int i = 0; ok && i < count; i++) {
        uint8_t *at = (uint8_t *)(void *)weight_in(model, bytes, c[i].name, c[i].count);
        ok = at != NULL;
        CHECK(at != NULL);
        for (size_t k = 0; ok && k < c[i].count; k++) {
            memcpy(&changed[i][k], at + 4 * k, 4);
            changed[i][k] = changed[i][k] * c[i].factor + (k % 3 == 0 ? 0.01f : 0);
        }
        if (ok) memcpy(at, changed[i], c[i].count * 4);
    }
    tenon_network *network = NULL;
    if (ok && CHECK_OK(cx, tenon_network_read(cx, model, bytes, NULL, &network))) {
        tenon_engine *engine = build(network, false);
        ok = engine && run_engine(engine, out);
        tenon_engine_destroy(&engine);
    }
    tenon_network_destroy(&network);
    free(model);
    return ok;
}

static void test_refused(tenon_engine *engine, tenon_engine *fixed)
{
    static const float w[48 * 24 * 9];
    CHECK_FAILS(cx, tenon_engine_set_weight(cx, engine, "conv4.weigth", TENON_F32, w, sizeof w), TENON_INVALID, "'conv4.weight'");
    CHECK_FAILS(cx, tenon_engine_set_weight(cx, engine, "", TENON_F32, w, sizeof w), TENON_INVALID, "name");
    CHECK_FAILS(cx, tenon_engine_set_weight(cx, engine, "conv4.weight", TENON_F16, w, sizeof w / 2), TENON_INVALID, "f16");
    CHECK_FAILS(cx, tenon_engine_set_weight(cx, engine, "conv4.weight", TENON_F32, w, sizeof w - 4), TENON_INVALID, "bytes");
    CHECK_FAILS(cx, tenon_engine_set_weight(cx, engine, "conv4.weight", TENON_F32, NULL, sizeof w), TENON_INVALID, "NULL");
    CHECK_FAILS(cx, tenon_engine_set_weight(cx, fixed, "conv4.weight", TENON_F32, w, sizeof w), TENON_UNSUPPORTED, "refittable");
    CHECK_FAILS(cx, tenon_engine_refit(cx, fixed), TENON_UNSUPPORTED, "refittable");
}

/* One convolution, one folded batch norm's scale, one bias, in an engine that contexts are using. */
static void test_replace(tenon_engine *engine)
{
    const change c[] = {{"conv4.weight", 48 * 24 * 9, 0.5f}, {"norm1.scale", 24, 1.5f}, {"fc.bias", 10, -2}};
    float *changed[3], before[10], want[10], got[10];
    for (int i = 0; i < 3; i++) changed[i] = malloc(c[i].count * sizeof(float));
    tenon_context *context = NULL;
    CHECK_OK(cx, tenon_context_create(cx, engine, NULL, &context));
    CHECK(run(context, before));
    for (int count = 1; count <= 3; count++) {
        if (!expected(c, count, changed, want)) continue;
        CHECK(!same(want, before));
        CHECK_OK(cx,
                 tenon_engine_set_weight(cx, engine, c[count - 1].name, TENON_F32, changed[count - 1], c[count - 1].count * 4));
        CHECK(run(context, got) && same(got, before)); /* not yet */
        CHECK_OK(cx, tenon_engine_refit(cx, engine));
        CHECK(run(context, got) && same(got, want));
        CHECK(run_engine(engine, got) && same(got, want));
        memcpy(before, want, sizeof before);
    }
    tenon_context_destroy(&context);
    for (int i = 0; i < 3; i++) free(changed[i]);
}

/* Saved after a refit it has the new weights; loaded it can be refitted again. */
static void test_saved(tenon_engine *engine)
{
    char path[] = "/tmp/tenon-refit-XXXXXX";
    const int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    float want[10], got[10], *changed[1] = {malloc(192 * 10 * sizeof(float))};
    tenon_engine *loaded = NULL;
    CHECK_OK(cx, tenon_engine_save(cx, engine, path));
    CHECK(run_engine(engine, want));
    if (CHECK_OK(cx, tenon_engine_load(cx, path, NULL, &loaded))) {
        CHECK(run_engine(loaded, got) && same(got, want));
        const change c = {"fc.weight", 1920, 3};
        float alone[10];
        CHECK(expected(&c, 1, changed, alone));
        CHECK_OK(cx, tenon_engine_set_weight(cx, loaded, c.name, TENON_F32, changed[0], c.count * 4));
        CHECK_OK(cx, tenon_engine_set_weight(cx, engine, c.name, TENON_F32, changed[0], c.count * 4));
        CHECK_OK(cx, tenon_engine_refit(cx, loaded));
        CHECK_OK(cx, tenon_engine_refit(cx, engine));
        CHECK(run_engine(loaded, got) && !same(got, want));
        CHECK(run_engine(engine, want) && same(got, want));
        const void *a, *b;
        size_t a_bytes, b_bytes;
        CHECK_OK(cx, tenon_engine_data(cx, loaded, &a, &a_bytes));
        CHECK_OK(cx, tenon_engine_data(cx, engine, &b, &b_bytes));
        CHECK(a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0);
    }
    tenon_engine_destroy(&loaded);
    free(changed[0]);
    unlink(path);
}

/* Without memory at any point nothing changes and nothing is lost. */
static void test_out_of_memory(tenon_engine *engine)
{
    static float w[24 * 9];
    const void *data;
    size_t bytes;
    float want[10], got[10];
    for (size_t i = 0; i < TENON_COUNTOF(w); i++) w[i] = (float)i / 100;
    CHECK_OK(cx, tenon_engine_data(cx, engine, &data, &bytes));
    check_heap heap = {0};
    const tenon_allocator allocator = {check_heap_alloc, check_heap_realloc, check_heap_free, &heap};
    tenon_cx *poor = NULL;
    tenon_engine *mine = NULL;
    CHECK(tenon_cx_create(&(tenon_cx_options){.allocator = &allocator}, &poor) == TENON_OK);
    CHECK_OK(poor, tenon_engine_load_memory(poor, data, bytes, NULL, &mine));
    CHECK(run_engine(mine, want));
    tenon_status status = TENON_NOMEM;
    int failures = 0;
    for (long n = 1; status != TENON_OK && n < 100000; n++) {
        heap.calls = 0;
        heap.fail_at = n;
        status = tenon_engine_set_weight(poor, mine, "conv0.weight", TENON_F32, w, sizeof w);
        if (status == TENON_OK) status = tenon_engine_refit(poor, mine);
        heap.fail_at = 0;
        if (status == TENON_OK) break;
        failures++;
        if (status != TENON_NOMEM) CHECK_OK(poor, status);
        if (n % 16 == 1) CHECK(run_engine(mine, got) && same(got, want));
    }
    CHECK(failures > 10);
    CHECK(run_engine(mine, got) && !same(got, want));
    tenon_engine_destroy(&mine);
    tenon_cx_destroy(&poor);
    CHECK(heap.live == 0);
}

int main(void)
{
    CHECK(tenon_cx_create(NULL, &cx) == TENON_OK);
    size_t bytes;
    uint8_t *model = digits_model(&bytes);
    tenon_network *network = NULL;
    if (CHECK_OK(cx, tenon_network_read(cx, model, bytes, NULL, &network))) {
        tenon_engine *engine = build(network, true), *fixed = build(network, false);
        if (engine && fixed) {
            float a[10], b[10];
            CHECK(run_engine(engine, a) && run_engine(fixed, b) && same(a, b));
            test_refused(engine, fixed);
            test_replace(engine);
            test_saved(engine);
            test_out_of_memory(engine);
        }
        tenon_engine_destroy(&engine);
        tenon_engine_destroy(&fixed);
    }
    tenon_network_destroy(&network);
    free(model);
    tenon_cx_destroy(&cx);
    return CHECK_END();
}
