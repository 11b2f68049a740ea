/* SPDX-License-Identifier: Apache-2.0 */
/* trtexec's engine: built from a model, or loaded. */
#include "trtexec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LOADS = 20 };

/* ---- formats ---- */
static tenon_dtype type_of_word(const char *word, size_t length)
{
    static const struct { const char *name; tenon_dtype dtype; } types[] = {
        {"fp32", TENON_F32}, {"fp16", TENON_F16}, {"bf16", TENON_BF16}, {"int32", TENON_I32}, {"int64", TENON_I64},
        {"int8", TENON_I8}, {"uint8", TENON_U8}, {"bool", TENON_BOOL},
    };
    for (size_t i = 0; i < CLI_COUNTOF(types); i++)
        if (strlen(types[i].name) == length && strncmp(types[i].name, word, length) == 0) return types[i].dtype;
    return TENON_DTYPE_NONE;
}

static bool format_known(const char *word, size_t length)
{
    static const char *const known[] = {"chw", "chw2", "chw4", "hwc8", "chw16", "chw32", "dhwc8", "cdhw32", "hwc", "dla_linear",
                                        "dla_hwc4", "hwc16", "dhwc"};
    for (size_t i = 0; i < CLI_COUNTOF(known); i++)
        if (strlen(known[i]) == length && strncmp(known[i], word, length) == 0) return true;
    return false;
}

/* One entry, type:format[+format]: bindings have the model's type and are dense, so chw must be among the formats. */
static bool check_entry(const trt_app *app, const char *flag, const char *entry, size_t length, const tenon_binding_info *b)
{
    const char *end = entry + length, *colon = memchr(entry, ':', length);
    const tenon_dtype dtype = type_of_word(entry, colon ? (size_t)(colon - entry) : length);
    bool dense = false;
    if (!colon || dtype == TENON_DTYPE_NONE) return trt_fail(app, "%s: Invalid format '%.*s': fp32:chw is wanted", flag,
                                                             (int)length, entry);
    for (const char *p = colon + 1; p <= end; p++) {
        size_t n = 0;
        while (p + n < end && p[n] != '+') n++;
        if (!format_known(p, n)) return trt_fail(app, "%s: Invalid format '%.*s'", flag, (int)n, p);
        dense |= n == 3 && memcmp(p, "chw", 3) == 0;
        p += n;
    }
    if (!b) return true;
    if (dtype != b->dtype)
        return trt_fail(app, "%s=%.*s: '%s' is %s in the model, and bindings keep the model's type", flag, (int)length, entry,
                        b->name,
                        tenon_dtype_name(b->dtype));
    if (!dense) return trt_fail(app, "%s=%.*s: '%s' is dense, chw", flag, (int)length, entry, b->name);
    return true;
}

bool trt_check_formats(const trt_app *app, const char *flag, tenon_io io, const tenon_binding_info *binding, size_t count)
{
    const char *text = trt_text(&app->o, flag);
    size_t wanted = 0, entries = 1, at = 0;
    if (!text) return true;
    for (const char *p = text; *p; p++) entries += *p == ',';
    for (size_t i = 0; i < count; i++) wanted += binding[i].io == io;
    if (entries != 1 && entries != wanted)
        return trt_fail(app, "%s has %zu formats, the model %zu %s", flag, entries, wanted,
                        io == TENON_INPUT ? "inputs" : "outputs");
    const char *entry = text;
    for (size_t i = 0; i < count; i++) {
        if (binding[i].io != io) continue;
        if (at++ && entries > 1) entry += strcspn(entry, ",") + 1;
        if (!check_entry(app, flag, entry, strcspn(entry, ","), &binding[i])) return false;
    }
    return true;
}

/* ---- the configuration ---- */
static bool config_failed(const trt_app *app, const tenon_config *config)
{
    return trt_fail(app, "[TRT] %s", tenon_config_message(config));
}

/* Of the least, best and largest shape those that are given; the best stands for the others. */
static bool add_range(const trt_app *app, tenon_config *config, int profile, const trt_profile *p, const char *input)
{
    const trt_shape *opt = trt_find_shape(&p->opt, input), *lo = trt_find_shape(&p->min, input), *hi = trt_find_shape(&p->max,
                                                                                                                      input);
    if (!opt && !lo && !hi && !p->given) opt = trt_find_shape(&app->o.shapes, input);
    if (!opt) opt = hi ? hi : lo;
    if (!opt) return true;
    if (!lo) lo = opt;
    if (!hi) hi = opt;
    if (lo->rank != opt->rank || hi->rank != opt->rank)
        return trt_fail(app, "input '%s': minimum, optimum and maximum of profile %d have different ranks", input, profile);
    if (tenon_config_set_shape(config, profile, input, opt->rank, lo->dim, opt->dim, hi->dim) != TENON_OK)
        return config_failed(app, config);
    return true;
}

static bool check_names(const trt_app *app, const char *flag, const trt_shapes *shapes, const tenon_binding_info *b, size_t count)
{
    for (size_t i = 0; i < shapes->count; i++) {
        const trt_shapes one = {&shapes->list[i], 1};
        bool found = false;
        for (size_t k = 0; k < count; k++) found |= b[k].io == TENON_INPUT && trt_find_shape(&one, b[k].name);
        if (!found) return trt_fail(app, "%s: Cannot find input tensor with name \"%s\" in the network", flag,
                                    shapes->list[i].name);
    }
    return true;
}

static bool add_profiles(const trt_app *app, tenon_config *config, const tenon_binding_info *b, size_t count)
{
    const trt_options *o = &app->o;
    if (!check_names(app, "--shapes", &o->shapes, b, count)) return false;
    for (int p = 0; p < (o->profile_count ? o->profile_count : 1); p++) {
        const trt_profile *f = &o->profile[p];
        int index;
        if (!check_names(app, "--minShapes", &f->min, b, count) || !check_names(app, "--optShapes", &f->opt, b, count) ||
            !check_names(app, "--maxShapes", &f->max, b, count))
            return false;
        if (tenon_config_add_profile(config, &index) != TENON_OK) return config_failed(app, config);
        for (size_t k = 0; k < count; k++)
            if (b[k].io == TENON_INPUT && !add_range(app, config, index, f, b[k].name)) return false;
    }
    return true;
}

static bool configure(const trt_app *app, tenon_config *config)
{
    const trt_options *o = &app->o;
    const char *level = trt_text(o, "--builderOptimizationLevel");
    const int index = strcmp(app->backend, "cuda") == 0 ? (int)o->device : 0;
    if (tenon_config_set_device(config, app->backend, index) != TENON_OK ||
        tenon_config_set_workspace(config, o->workspace) != TENON_OK ||
        (level && tenon_config_set_optimization_level(config, atoi(level)) != TENON_OK) ||
        (trt_has(o, "--refit") && tenon_config_set_refit(config, true) != TENON_OK) ||
        (trt_has(o, "--noTF32") && tenon_config_set_tf32(config, false) != TENON_OK))
        return config_failed(app, config);
    return true;
}

/* ---- building ---- */
/* The cache is saved after a failed build too: what was timed need not be timed again. */
static bool build(trt_app *app, tenon_network *network, tenon_config *config)
{
    const char *path = trt_text(&app->o, "--timingCacheFile");
    tenon_timing_cache *cache = NULL;
    if (path && tenon_timing_cache_load(app->cx, path, &cache) != TENON_OK) return trt_failed(app);
    const size_t before = cache ? tenon_timing_cache_count(cache) : 0;
    bool good = tenon_config_set_timing_cache(config, cache) == TENON_OK || config_failed(app, config);
    const double start = cli_now();
    if (good && tenon_build(app->cx, network, config, &app->engine) != TENON_OK) good = trt_failed(app);
    const double seconds = cli_now() - start;
    const size_t after = cache ? tenon_timing_cache_count(cache) : 0;
    if (cache && (good || after > before) && tenon_timing_cache_save(app->cx, cache, path) != TENON_OK) good = trt_failed(app);
    tenon_timing_cache_destroy(&cache);
    if (good && after > before && trt_has(&app->o, "--errorOnTimingCacheMiss"))
        return trt_fail(app, "%zu times were not in the timing cache '%s'", after - before, path);
    if (good) trt_say(app, TRT_I, "Engine built in %g sec.", seconds);
    if (good && path) trt_say(app, TRT_I, "Timing cache '%s': %zu entries, %zu of them new", path, after, after - before);
    return good;
}

static bool build_network(trt_app *app, tenon_network *network)
{
    const size_t count = tenon_network_binding_count(network);
    tenon_binding_info *b = calloc(count + 1, sizeof *b);
    tenon_config *config = NULL;
    bool good = b || trt_fail(app, "out of memory");
    for (size_t i = 0; good && i < count; i++)
        if (tenon_network_binding(app->cx, network, i, &b[i]) != TENON_OK) good = trt_failed(app);
    good = good && trt_check_formats(app, "--inputIOFormats", TENON_INPUT, b, count) &&
           trt_check_formats(app, "--outputIOFormats", TENON_OUTPUT, b, count);
    if (good && tenon_config_create(app->cx, &config) != TENON_OK) good = trt_failed(app);
    good = good && configure(app, config) && add_profiles(app, config, b, count) && build(app, network, config);
    tenon_config_destroy(&config);
    free(b);
    return good;
}

static bool build_model(trt_app *app)
{
    const char *path = trt_text(&app->o, "--onnx"), *save = trt_text(&app->o, "--saveEngine");
    tenon_network *network = NULL;
    size_t bytes;
    const void *data;
    const double start = cli_now();
    trt_say(app, TRT_I, "Start parsing network model.");
    if (tenon_network_read_file(app->cx, path, NULL, &network) != TENON_OK) {
        trt_failed(app);
        return trt_fail(app, "Failed to parse onnx file");
    }
    trt_say(app, TRT_I, "Finished parsing network model. Parse time: %g", cli_now() - start);
    bool good = build_network(app, network);
    tenon_network_destroy(&network);
    if (!good) return trt_fail(app, "Engine could not be created from network");
    if (tenon_engine_data(app->cx, app->engine, &data, &bytes) != TENON_OK) return trt_failed(app);
    trt_say(app, TRT_I, "Created engine with size: %g MiB", (double)bytes / (1 << 20));
    if (save && tenon_engine_save(app->cx, app->engine, save) != TENON_OK) return trt_failed(app);
    return true;
}

/* ---- loading ---- */
static bool load(trt_app *app, const char *path, tenon_engine **out)
{
    const tenon_load_options options = {.device_index = (int)app->o.device};
    return tenon_engine_load(app->cx, path, &options, out) == TENON_OK || trt_failed(app);
}

static bool load_engine(trt_app *app, const char *path)
{
    const double start = cli_now();
    FILE *f = fopen(path, "rb");
    if (!f) return trt_fail(app, "Error opening engine file: %s (%s)", path, strerror(errno));
    fclose(f);
    const double opened = cli_now();
    trt_say(app, TRT_I, "Engine loaded in %g sec.", opened - start);
    if (!load(app, path, &app->engine)) return trt_fail(app, "Engine deserialization failed");
    trt_say(app, TRT_I, "Engine deserialized in %g sec.", cli_now() - opened);
    return true;
}

static bool time_deserialize(trt_app *app)
{
    const char *path = trt_text(&app->o, "--loadEngine");
    double first = 0, total = 0;
    size_t bytes;
    const void *data;
    if (!path) path = trt_text(&app->o, "--saveEngine");
    if (!path) return trt_fail(app, "--timeDeserialize needs an engine file: --loadEngine or --saveEngine");
    if (tenon_engine_data(app->cx, app->engine, &data, &bytes) != TENON_OK) return trt_failed(app);
    for (int i = 0; i < LOADS; i++) {
        tenon_engine *engine = NULL;
        const double start = cli_now();
        if (!load(app, path, &engine)) return false;
        const double ms = 1e3 * (cli_now() - start);
        tenon_engine_destroy(&engine);
        if (i == 0) first = ms;
        total += ms;
    }
    trt_say(app, TRT_I, "First deserialization time = %g milliseconds.", first);
    trt_say(app, TRT_I, "Total deserialization time = %g milliseconds in %d iterations, average time = %g milliseconds.", total,
            LOADS,
            total / LOADS);
    trt_say(app, TRT_I, "Deserialization Bandwidth = %g GB/s", 1e-6 * (double)bytes * LOADS / total);
    return true;
}

/* ---- what the engine is ---- */
/* Types are permitted by flags; which ones the layers have is counted, not assumed. */
static void say_types(const trt_app *app)
{
    const trt_options *o = &app->o;
    char text[512] = "";
    size_t used = 0, layers = 0, kinds = 0;
    json_t *count = json_object();
    const json_t *steps = trt_steps(app, 0);
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *first = json_array_get(json_object_get(json_array_get(steps, i), "results"), 0);
        const char *type = json_string_value(json_object_get(first, "type"));
        if (!type) continue;
        layers++;
        json_object_set_new(count, type, json_integer(1 + json_integer_value(json_object_get(count, type))));
    }
    const char *type;
    json_t *n;
    json_object_foreach(count, type, n) {
        kinds++;
        if (used < sizeof text)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld in %s", kinds > 1 ? ", " : "",
                                     (long long)json_integer_value(n), type);
    }
    const bool f32 = kinds == 1 && json_object_get(count, "f32");
    const bool any = (o->fp16 && json_object_get(count, "f16")) || (o->bf16 && json_object_get(count, "bf16")) ||
                     (o->int8 && (json_object_get(count, "i8") || json_object_get(count, "u8"))) ||
                     (o->fp8 && json_object_get(count, "f8e4m3")) || (o->int4 && json_object_get(count, "i4"));
    json_decref(count);
    if (!(o->fp16 || o->bf16 || o->int8 || o->fp8 || o->int4)) return;
    if (f32) trt_say(app, TRT_W, "other types are permitted, but all %zu layers stay in f32, the type that the model has",
                     layers);
    else if (!any) trt_say(app, TRT_W, "other types are permitted, but no layer has them: of %zu layers %s", layers, text);
    else trt_say(app, TRT_I, "%zu layers by the type of the first result: %s", layers, text);
}

static bool say_workspace(const trt_app *app)
{
    size_t most = 0, references = 0, waits = 0;
    const size_t limit = app->o.workspace;
    for (size_t p = 0; p < (size_t)tenon_engine_profile_count(app->engine); p++) {
        const json_t *steps = trt_steps(app, p);
        for (size_t i = 0; i < json_array_size(steps); i++) {
            const json_t *step = json_array_get(steps, i);
            const size_t bytes = (size_t)json_integer_value(json_object_get(step, "workspace_bytes"));
            const char *name = json_string_value(json_object_get(step, "name"));
            references += json_is_true(json_object_get(step, "reference"));
            waits += json_is_true(json_object_get(step, "synchronises"));
            if (bytes > most) most = bytes;
            if (bytes > limit) return trt_fail(app, "layer '%s' takes %zu bytes of workspace, more than the pool has", name,
                                               bytes);
        }
    }
    if (references)
        trt_say(app, TRT_W, "Layers that run on the slow reference: %zu (named above)", references);
    if (waits) trt_say(app, TRT_W, "Layers that run on the host, where the GPU waits: %zu", waits);
    trt_say(app, TRT_I, "Layers take at most %g MiB of workspace", (double)most / (1 << 20));
    return true;
}

bool trt_open_engine(trt_app *app)
{
    const char *load_path = trt_text(&app->o, "--loadEngine");
    char *text = NULL;
    json_error_t error;
    if (!(load_path ? load_engine(app, load_path) : build_model(app))) return false;
    if (tenon_engine_inspect(app->cx, app->engine, &text) != TENON_OK) return trt_failed(app);
    app->engine_info = json_loads(text, 0, &error);
    tenon_text_free(app->cx, &text);
    if (!app->engine_info) return trt_fail(app, "the engine's description is not JSON: %s", error.text);
    const char *backend = json_string_value(json_object_get(app->engine_info, "backend"));
    app->gpu = backend && strcmp(backend, "cuda") == 0;
    if (trt_has(&app->o, "--getPlanVersionOnly")) {
        trt_say(app, TRT_I, "The engine was built by Tenon %s", json_string_value(json_object_get(app->engine_info, "tenon")));
        return true;
    }
    if (!load_path) say_types(app);
    if (!load_path && !say_workspace(app)) return false;
    return !trt_has(&app->o, "--timeDeserialize") || time_deserialize(app);
}
