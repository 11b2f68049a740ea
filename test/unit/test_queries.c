/* SPDX-License-Identifier: Apache-2.0 */
/* What configurations, engines, contexts and devices answer; and builds that the progress callback ends, at every place where it is
   asked: TENON_CANCELLED, nothing left behind, and the same network builds afterwards. */
#include "check.h"
#include "digits.h"

static tenon_cx *cx;

static void configure(tenon_config *c, const char *backend)
{
    int profile;
    const int64_t lo[] = {1, 1, 8, 8}, opt[] = {2, 1, 8, 8}, hi[] = {4, 1, 8, 8};
    CHECK(tenon_config_set_device(c, backend, 0) == TENON_OK && tenon_config_set_threads(c, 1) == TENON_OK &&
          tenon_config_set_timing(c, false) == TENON_OK && tenon_config_set_refit(c, true) == TENON_OK);
    for (int i = 0; i < 2; i++)
        CHECK(tenon_config_add_profile(c, &profile) == TENON_OK && tenon_config_set_shape(c, profile, "x", 4, lo, opt,
                i ? lo : hi) == (i ? TENON_INVALID : TENON_OK));
    CHECK(tenon_config_set_shape(c, 1, "x", 4, lo, lo, lo) == TENON_OK);
}

static void test_config(tenon_config *c)
{
    tenon_config_info info;
    int rank;
    int64_t lo[TENON_MAX_RANK], opt[TENON_MAX_RANK], hi[TENON_MAX_RANK];
    CHECK(tenon_config_set_workspace(c, 1 << 20) == TENON_OK && tenon_config_describe(c, &info) == TENON_OK &&
          info.workspace_bytes == 1 << 20);
    CHECK(tenon_config_set_workspace(c, SIZE_MAX) == TENON_OK);
    CHECK(tenon_config_describe(c, &info) == TENON_OK);
    CHECK_TEXT(info.backend, "cpu");
    CHECK(info.threads == 1 && !info.timed && info.refit && info.tf32 && !info.strict && info.profile_count == 2 &&
          info.optimization_level == 3 &&
          info.workspace_bytes == SIZE_MAX);
    CHECK(tenon_config_shape(c, 0, "x", &rank, lo, opt, hi) == TENON_OK && rank == 4 && lo[0] == 1 && opt[0] == 2 && hi[0] == 4);
    CHECK(tenon_config_shape(c, 0, "y", &rank, lo, opt, hi) == TENON_INVALID && strstr(tenon_config_message(c),
            "no shape of 'y'"));
    CHECK(tenon_config_shape(c, 2, "x", &rank, lo, opt, hi) == TENON_INVALID);
    CHECK(tenon_config_set_device(c, "cuda:sm_90", 0) == TENON_OK && tenon_config_describe(c, &info) == TENON_OK);
    CHECK_TEXT(info.backend, "cuda:sm_90");
    CHECK(info.device == 0 && tenon_config_set_device(c, "cpu", 0) == TENON_OK);
}

static void count_layer(void *user, size_t step, const char *layer, double seconds)
{
    CHECK(layer && seconds >= 0);
    *(size_t *)user = step + 1;
}

static void test_engine(tenon_engine *e)
{
    tenon_engine_info info;
    tenon_layer_info layer;
    tenon_binding_info binding;
    char *json = NULL;
    CHECK_OK(cx, tenon_engine_describe(cx, e, &info));
    CHECK_TEXT(info.backend, "cpu");
    CHECK_TEXT(info.version, tenon_version());
    CHECK(info.threads == 1 && info.refittable && info.profile_count == 2 && info.binding_count == 2 &&
          info.weight_bytes > 1000 &&
          info.file_bytes > info.weight_bytes && strstr(info.built_on, "cpu;") && info.sources == TENON_SOURCE_OWN);
    const size_t count = tenon_engine_layer_count(e, 0);
    CHECK(count > 2);
    bool weights = false;
    for (size_t i = 0; i < count; i++) {
        CHECK_OK(cx, tenon_engine_layer(cx, e, 0, i, &layer));
        CHECK(*layer.name && *layer.problem && !strncmp(layer.tactic, "cpu.", 4) && layer.seconds > 0 && !layer.timed &&
              !layer.synchronises &&
              !layer.reference);
        weights |= layer.weight_bytes > 0;
        CHECK_OK(cx, tenon_engine_layer_inspect(cx, e, 0, i, &json));
        CHECK(json && strstr(json, layer.tactic) && strstr(json, "\"sources\""));
        tenon_text_free(cx, &json);
    }
    CHECK(weights);
    CHECK_FAILS(cx, tenon_engine_layer(cx, e, 0, count, &layer), TENON_INVALID, "profile 0 has");
    CHECK_FAILS(cx, tenon_engine_layer_inspect(cx, e, 2, 0, &json), TENON_INVALID, "profile 2");
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(cx, tenon_engine_binding(cx, e, i, &binding));
        CHECK(binding.on_host && !binding.by_data);
    }

    tenon_context *c = NULL;
    static float x[64], y[10];
    size_t seen = 0;
    CHECK_OK(cx, tenon_context_create(cx, e, &(tenon_context_options){.profile = 1}, &c));
    CHECK(tenon_context_profile_report(c, &json) == TENON_INVALID && !json && strstr(tenon_context_message(c), "no run"));
    CHECK(tenon_context_set_address(c, "x", x, sizeof x) == TENON_OK && tenon_context_set_address(c, "y", y,
            sizeof y) == TENON_OK);
    for (int i = 0; i < 3; i++) CHECK(tenon_context_profile(c, count_layer, &seen) == TENON_OK);
    CHECK(seen == tenon_engine_layer_count(e, 1));
    CHECK(tenon_context_profile_report(c, &json) == TENON_OK && strstr(json, "\"runs\": 3") && strstr(json, "\"least\""));
    tenon_text_free(cx, &json);
    tenon_context_destroy(&c);
}

/* How large buffers have to be, which shapes are missing, and which weights can be replaced. */
static void test_extents(tenon_engine *e)
{
    size_t bytes = 0;
    CHECK_OK(cx, tenon_engine_binding_bytes(cx, e, 0, "x", &bytes));
    CHECK(bytes == 4 * 64 * 4);
    CHECK_OK(cx, tenon_engine_binding_bytes(cx, e, 0, "y", &bytes));
    CHECK(bytes == 4 * 10 * 4);
    CHECK_OK(cx, tenon_engine_binding_bytes(cx, e, 1, "y", &bytes));
    CHECK(bytes == 40);
    CHECK_FAILS(cx, tenon_engine_binding_bytes(cx, e, 2, "y", &bytes), TENON_INVALID, "profile 2");
    CHECK_FAILS(cx, tenon_engine_binding_bytes(cx, e, 0, "z", &bytes), TENON_INVALID, "no binding 'z'");
    CHECK(bytes == 0);
    tenon_context *c = NULL;
    CHECK_OK(cx, tenon_context_create(cx, e, NULL, &c));
    CHECK_TEXT(tenon_context_unset_input(c), "x");
    CHECK(tenon_context_set_shape(c, "x", 4, (int64_t[]){3, 1, 8, 8}) == TENON_OK && !tenon_context_unset_input(c));
    tenon_context_destroy(&c);

    tenon_weight_info w;
    const size_t count = tenon_engine_weight_count(e);
    CHECK(count >= 4);
    for (size_t i = 0; i < count; i++) {
        CHECK_OK(cx, tenon_engine_weight_info(cx, e, i, &w));
        size_t elements = 1;
        for (int k = 0; k < w.rank; k++) elements *= (size_t)w.dim[k];
        CHECK(*w.name && w.dtype == TENON_F32 && w.bytes == elements * 4 && !w.pending);
    }
    CHECK_FAILS(cx, tenon_engine_weight_info(cx, e, count, &w), TENON_INVALID, "that can be replaced");
    CHECK_OK(cx, tenon_engine_weight_info(cx, e, 0, &w));
    float *zero = calloc(1, w.bytes);
    CHECK_OK(cx, tenon_engine_set_weight(cx, e, w.name, w.dtype, zero, w.bytes));
    free(zero);
    CHECK_OK(cx, tenon_engine_weight_info(cx, e, 0, &w));
    CHECK(w.pending);
    CHECK_OK(cx, tenon_engine_refit(cx, e));
    CHECK_OK(cx, tenon_engine_weight_info(cx, e, 0, &w));
    CHECK(!w.pending);
}

/* What the device does at most, and what the steps have to do. */
static void test_work(tenon_engine *e)
{
    tenon_peak peak;
    enum { MOST = 64 };
    tenon_step_work work[MOST];
    tenon_context *c = NULL;
    static float x[64], y[10];
    double flops = 0;
    CHECK_OK(cx, tenon_engine_peak(cx, e, &peak));
    CHECK(peak.flops[TENON_ARITHMETIC_F32] > 1e8 && peak.memory_bandwidth > 1e8 && peak.cache_bytes > 0);
    CHECK_TEXT(tenon_engine_device(e), peak.device);
    CHECK_OK(cx, tenon_context_create(cx, e, &(tenon_context_options){.profile = 1}, &c));
    CHECK(tenon_context_set_address(c, "x", x, sizeof x) == TENON_OK && tenon_context_set_address(c, "y", y,
            sizeof y) == TENON_OK);
    const size_t count = tenon_engine_layer_count(e, 1);
    CHECK(count <= MOST && tenon_context_work(c, count, work) == TENON_OK);
    for (size_t i = 0; i < count && i < MOST; i++) flops += work[i].flops;
    CHECK(flops > 1e4);
    CHECK(tenon_context_work(c, count + 1, work) == TENON_INVALID);
    tenon_context_destroy(&c);
}

static void test_platform(void)
{
    tenon_platform p;
    CHECK_OK(cx, tenon_platform_query(cx, "cpu", 0, &p));
    CHECK(*p.name && *p.fingerprint && p.threads >= 1 && p.compute_capability == 0 && p.memory_bytes > 1 << 20 &&
          p.most_threads >= p.threads &&
          p.dla_cores == 0 && !p.fast_tf32 && !p.fast_f16 && !p.fast_int8);
    CHECK_FAILS(cx, tenon_platform_query(cx, "cpu", 5, &p), TENON_DEVICE, "one device");
    CHECK_FAILS(cx, tenon_platform_query(cx, "cpu", -1, &p), TENON_INVALID, "index from 0");
    CHECK_FAILS(cx, tenon_platform_query(cx, "tpu", 0, &p), TENON_INVALID, "no backend 'tpu'");
}

/* ---- cancelling ---- */
typedef struct stopper { int asked, stop_at; } stopper;

static int on_progress(void *user, const char *phase, size_t done, size_t total)
{
    stopper *s = user;
    (void)done, (void)total;
    CHECK(phase && *phase);
    return ++s->asked == s->stop_at;
}

/* Reads and builds; *network stays, for another try. */
static tenon_status make(tenon_cx *session, const uint8_t *model, size_t bytes, tenon_engine **out)
{
    tenon_network *n = NULL;
    tenon_config *c = NULL;
    tenon_status status = tenon_network_read(session, model, bytes, NULL, &n);
    CHECK(status == TENON_OK || !n);
    if (status == TENON_OK) status = tenon_config_create(session, &c);
    if (status == TENON_OK) {
        configure(c, "cpu");
        status = tenon_build(session, n, c, out);
        CHECK(status == TENON_OK || !*out);
        if (status == TENON_CANCELLED) { /* the network is as good as before */
            tenon_engine *second = NULL;
            CHECK(tenon_build(session, n, c, &second) == TENON_OK && second);
            tenon_engine_destroy(&second);
        }
    }
    tenon_config_destroy(&c);
    tenon_network_destroy(&n);
    return status;
}

static void test_cancel(const uint8_t *model, size_t bytes)
{
    int cancelled = 0;
    for (int at = 1; at < 1000; at++) {
        check_heap heap = {0};
        const tenon_allocator allocator = {check_heap_alloc, check_heap_realloc, check_heap_free, &heap};
        stopper s = {.stop_at = at};
        tenon_cx *session = NULL;
        tenon_engine *e = NULL;
        const tenon_cx_options options = {.allocator = &allocator, .progress = on_progress, .progress_user = &s};
        CHECK(tenon_cx_create(&options, &session) == TENON_OK);
        const tenon_status status = make(session, model, bytes, &e);
        CHECK(status == TENON_OK || (status == TENON_CANCELLED && strstr(tenon_cx_message(session),
                                                                         "cancelled by the progress callback")));
        tenon_engine_destroy(&e);
        tenon_cx_destroy(&session);
        CHECK(heap.live == 0);
        cancelled += status == TENON_CANCELLED;
        if (status == TENON_OK) break;
    }
    CHECK(cancelled >= 5);
}

int main(void)
{
    size_t bytes;
    uint8_t *model = digits_model(&bytes);
    tenon_network *n = NULL;
    tenon_config *c = NULL;
    tenon_engine *e = NULL;
    CHECK(tenon_cx_create(NULL, &cx) == TENON_OK);
    CHECK_OK(cx, tenon_network_read(cx, model, bytes, NULL, &n));
    CHECK_OK(cx, tenon_config_create(cx, &c));
    configure(c, "cpu");
    test_config(c);
    tenon_binding_info binding;
    CHECK_OK(cx, tenon_network_binding(cx, n, 0, &binding));
    CHECK(binding.io == TENON_INPUT && binding.rank == 4 && binding.dim[0] == -1 && !strcmp(binding.name, "x") &&
          !strcmp(binding.dim_name[0], "batch"));
    CHECK_OK(cx, tenon_network_binding(cx, n, 1, &binding));
    CHECK(binding.io == TENON_OUTPUT && !strcmp(binding.name, "y"));
    CHECK_FAILS(cx, tenon_network_binding(cx, n, 2, &binding), TENON_INVALID, "the network has 2");
    if (CHECK_OK(cx, tenon_build(cx, n, c, &e))) {
        test_engine(e);
        test_work(e);
        test_extents(e);
    }
    test_platform();
    test_cancel(model, bytes);
    tenon_engine_destroy(&e);
    tenon_config_destroy(&c);
    tenon_network_destroy(&n);
    tenon_cx_destroy(&cx);
    free(model);
    return CHECK_END();
}
