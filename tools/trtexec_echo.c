/* SPDX-License-Identifier: Apache-2.0 */
/* The options as trtexec repeats them, `Key: value` under titles, which parsers of its log read; and the device. */
#include "trtexec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *given(const trt_options *o, const char *flag)
{
    const char *text = trt_text(o, flag);
    return text ? text : "";
}

static const char *given_or(const trt_options *o, const char *flag, const char *otherwise)
{
    const char *text = trt_text(o, flag);
    return text ? text : otherwise;
}

static const char *on(bool enabled) { return enabled ? "Enabled" : "Disabled"; }
static const char *on_flag(const trt_options *o, const char *flag) { return on(trt_has(o, flag)); }

static void echo_model(const trt_app *app)
{
    const trt_options *o = &app->o;
    trt_say(app, TRT_I, "=== Model Options ===");
    trt_say(app, TRT_I, "Format: %s", trt_has(o, "--onnx") ? "ONNX" : "*");
    trt_say(app, TRT_I, "Model: %s", given(o, "--onnx"));
    trt_say(app, TRT_I, "Output:");
}

static void echo_precision(const trt_app *app)
{
    const trt_options *o = &app->o;
    const char *constraints = given(o, "--precisionConstraints");
    trt_say(app, TRT_I, "Precision: FP32%s%s%s%s%s%s", o->fp16 ? "+FP16" : "", o->bf16 ? "+BF16" : "", o->int8 ? "+INT8" : "",
            o->fp8 ? "+FP8" : "", o->int4 ? "+INT4" : "",
            strcmp(constraints, "obey") == 0     ? " (obey precision constraints)"
            : strcmp(constraints, "prefer") == 0 ? " (prefer precision constraints)"
                                                 : "");
    trt_say(app, TRT_I, "LayerPrecisions: %s", given(o, "--layerPrecisions"));
    trt_say(app, TRT_I, "Layer Device Types: %s", given(o, "--layerDeviceTypes"));
    trt_say(app, TRT_I, "Calibration: %s", o->int8 && !trt_has(o, "--calib") ? "Dynamic" : given(o, "--calib"));
}

static void echo_build_shapes(const trt_app *app)
{
    const trt_options *o = &app->o;
    const char *in = trt_text(o, "--inputIOFormats"), *out = trt_text(o, "--outputIOFormats");
    trt_say(app, TRT_I, "Input(s)s format: %s", in ? in : "fp32:CHW");
    trt_say(app, TRT_I, "Output(s)s format: %s", out ? out : "fp32:CHW");
    if (!o->profile_count && !o->shapes.count) trt_say(app, TRT_I, "Input build shapes: model");
    for (int p = 0; p < (o->profile_count ? o->profile_count : 1); p++) {
        const trt_profile *f = &o->profile[p];
        const trt_shapes *all[] = {&f->opt, &f->max, &f->min, &o->shapes};
        const trt_shapes *names = NULL;
        for (size_t i = 0; i < CLI_COUNTOF(all) && !names; i++)
            if (all[i]->count) names = all[i];
        for (size_t i = 0; names && i < names->count; i++) {
            const trt_shape *most = &names->list[i], *opt = trt_find_shape(&f->opt, most->name);
            const trt_shape *lo = trt_find_shape(&f->min, most->name), *hi = trt_find_shape(&f->max, most->name);
            if (!opt) opt = hi ? hi : most;
            if (!lo) lo = opt;
            if (!hi) hi = opt;
            char title[40] = "";
            if (o->profile_count > 1) snprintf(title, sizeof title, " (profile %d)", p);
            trt_say(app, TRT_I, "Input build shape%s: %s=%s+%s+%s", title, most->name, cli_dims(lo->rank, lo->dim).text,
                    cli_dims(opt->rank, opt->dim).text, cli_dims(hi->rank, hi->dim).text);
        }
    }
    trt_say(app, TRT_I, "Input calibration shapes: model");
}

static void echo_tactic_sources(const trt_app *app)
{
    char list[256] = "";
    size_t used = 0;
    const char *p = trt_text(&app->o, "--tacticSources");
    trt_say(app, TRT_I, "Tactic sources: %s", p ? "" : "Using default tactic sources");
    while (p && *p && used < sizeof list) {
        const size_t n = strcspn(p, ",");
        used += (size_t)snprintf(list + used, sizeof list - used, "%.*s [%s], ", (int)n - 1, p + 1, *p == '+' ? "ON" : "OFF");
        p += n + (p[n] == ',');
    }
    if (*list) trt_say(app, TRT_I, "%s", list);
}

static void echo_build(const trt_app *app)
{
    const trt_options *o = &app->o;
    char workspace[40] = "default";
    if (o->workspace != SIZE_MAX) snprintf(workspace, sizeof workspace, "%g MiB", (double)o->workspace / (1 << 20));
    trt_say(app, TRT_I, "=== Build Options ===");
    trt_say(app, TRT_I, "Max batch: explicit batch");
    trt_say(app, TRT_I, "Memory Pools: workspace: %s, dlaSRAM: default, dlaLocalDRAM: default, dlaGlobalDRAM: default",
            workspace);
    trt_say(app, TRT_I, "minTiming: %s", given_or(o, "--minTiming", "1"));
    trt_say(app, TRT_I, "avgTiming: %s", given_or(o, "--avgTiming", "8"));
    echo_precision(app);
    trt_say(app, TRT_I, "Refit: %s", on_flag(o, "--refit"));
    trt_say(app, TRT_I, "Strip weights: Disabled");
    trt_say(app, TRT_I, "Version Compatible: %s", on(trt_has(o, "--versionCompatible") || trt_has(o, "--vc")));
    trt_say(app, TRT_I, "TensorRT runtime: %s", given_or(o, "--useRuntime", "full"));
    trt_say(app, TRT_I, "Lean DLL Path: %s", given(o, "--leanDLLPath"));
    trt_say(app, TRT_I, "Tempfile Controls: %s", given_or(o, "--tempfileControls", "{ in_memory: allow, temporary: allow }"));
    trt_say(app, TRT_I, "Exclude Lean Runtime: %s", on_flag(o, "--excludeLeanRuntime"));
    trt_say(app, TRT_I, "Sparsity: %s", trt_has(o, "--sparsity") && strcmp(given(o, "--sparsity"),
                                                                           "disable") ? "Enabled" : "Disabled");
    trt_say(app, TRT_I, "Safe mode: Disabled");
    trt_say(app, TRT_I, "Build DLA standalone loadable: Disabled");
    trt_say(app, TRT_I, "Allow GPU fallback for DLA: %s", on_flag(o, "--allowGPUFallback"));
    trt_say(app, TRT_I, "DirectIO mode: %s", on_flag(o, "--directIO"));
    trt_say(app, TRT_I, "Restricted mode: Disabled");
    trt_say(app, TRT_I, "Skip inference: %s", on(o->skip_inference));
    trt_say(app, TRT_I, "Save engine: %s", given(o, "--saveEngine"));
    trt_say(app, TRT_I, "Load engine: %s", given(o, "--loadEngine"));
    trt_say(app, TRT_I, "Profiling verbosity: %d", o->detailed ? 2 : o->no_layers ? 1 : 0);
    echo_tactic_sources(app);
    trt_say(app, TRT_I, "timingCacheMode: %s",
            trt_has(o, "--noBuilderCache") ? "disable" : trt_has(o, "--timingCacheFile") ? "global" : "local");
    trt_say(app, TRT_I, "timingCacheFile: %s", given(o, "--timingCacheFile"));
    trt_say(app, TRT_I, "Heuristic: %s", on_flag(o, "--heuristic"));
    trt_say(app, TRT_I, "Preview Features: %s", given_or(o, "--preview", "Use default preview flags."));
    trt_say(app, TRT_I, "MaxAuxStreams: %s", given_or(o, "--maxAuxStreams", "-1"));
    trt_say(app, TRT_I, "BuilderOptimizationLevel: %s", given_or(o, "--builderOptimizationLevel", "-1"));
    echo_build_shapes(app);
}

static void echo_system(const trt_app *app)
{
    const trt_options *o = &app->o;
    trt_say(app, TRT_I, "=== System Options ===");
    trt_say(app, TRT_I, "Device: %" PRId64, o->device);
    trt_say(app, TRT_I, "DLACore:");
    trt_say(app, TRT_I, "Plugins:");
    trt_say(app, TRT_I, "setPluginsToSerialize:");
    trt_say(app, TRT_I, "dynamicPlugins:");
    trt_say(app, TRT_I, "ignoreParsedPluginLibs: %d", trt_has(o, "--ignoreParsedPluginLibs"));
}

static void echo_inference(const trt_app *app)
{
    const trt_options *o = &app->o;
    trt_say(app, TRT_I, "=== Inference Options ===");
    trt_say(app, TRT_I, "Batch: Explicit");
    if (!o->shapes.count) trt_say(app, TRT_I, "Input inference shapes: model");
    for (size_t i = 0; i < o->shapes.count; i++)
        trt_say(app, TRT_I, "Input inference shape: %s=%s", o->shapes.list[i].name,
                cli_dims(o->shapes.list[i].rank, o->shapes.list[i].dim).text);
    trt_say(app, TRT_I, "Iterations: %" PRId64, o->iterations);
    trt_say(app, TRT_I, "Duration: %" PRId64 "s (+ %" PRId64 "ms warm up)", o->duration_s, o->warmup_ms);
    trt_say(app, TRT_I, "Sleep time: %" PRId64 "ms", o->sleep_ms);
    trt_say(app, TRT_I, "Idle time: %" PRId64 "ms", o->idle_ms);
    trt_say(app, TRT_I, "Inference Streams: %" PRId64, o->streams);
    trt_say(app, TRT_I, "ExposeDMA: %s", on_flag(o, "--exposeDMA"));
    trt_say(app, TRT_I, "Data transfers: %s", on(!trt_has(o, "--noDataTransfers")));
    trt_say(app, TRT_I, "Spin-wait: %s", on_flag(o, "--useSpinWait"));
    trt_say(app, TRT_I, "Multithreading: %s", on_flag(o, "--threads"));
    trt_say(app, TRT_I, "CUDA Graph: %s", on_flag(o, "--useCudaGraph"));
    trt_say(app, TRT_I, "Separate profiling: %s", on_flag(o, "--separateProfileRun"));
    trt_say(app, TRT_I, "Time Deserialize: %s", on_flag(o, "--timeDeserialize"));
    trt_say(app, TRT_I, "Time Refit: %s", on_flag(o, "--timeRefit"));
    trt_say(app, TRT_I, "NVTX verbosity: %d", o->detailed ? 2 : o->no_layers ? 1 : 0);
    trt_say(app, TRT_I, "Persistent Cache Ratio: %s", given_or(o, "--persistentCacheRatio", "0"));
    trt_say(app, TRT_I, "Optimization Profile Index: %" PRId64, o->use_profile);
    trt_say(app, TRT_I, "Inputs:");
    if (trt_has(o, "--loadInputs")) trt_say(app, TRT_I, "%s", given(o, "--loadInputs"));
}

static void echo_reporting(const trt_app *app)
{
    const trt_options *o = &app->o;
    char list[256] = "";
    size_t used = 0;
    for (int i = 0; i < o->percentile_count && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%g", i ? "," : "", o->percentile[i]);
    trt_say(app, TRT_I, "=== Reporting Options ===");
    trt_say(app, TRT_I, "Verbose: %s", on(app->verbose));
    trt_say(app, TRT_I, "Averages: %" PRId64 " inferences", o->avg_runs);
    trt_say(app, TRT_I, "Percentiles: %s", list);
    trt_say(app, TRT_I, "Dump refittable layers: %s", on_flag(o, "--dumpRefit"));
    trt_say(app, TRT_I, "Dump output: %s", on_flag(o, "--dumpOutput"));
    trt_say(app, TRT_I, "Profile: %s", on_flag(o, "--dumpProfile"));
    trt_say(app, TRT_I, "Export timing to JSON file: %s", given(o, "--exportTimes"));
    trt_say(app, TRT_I, "Export output to JSON file: %s", given(o, "--exportOutput"));
    trt_say(app, TRT_I, "Export profile to JSON file: %s", given(o, "--exportProfile"));
    trt_say(app, TRT_I, "%s", "");
}

void trt_echo(const trt_app *app)
{
    echo_model(app);
    echo_build(app);
    echo_system(app);
    echo_inference(app);
    echo_reporting(app);
}

/* ---- the device ---- */
static const json_t *device_row(const trt_app *app, const char *backend)
{
    for (size_t i = 0; i < json_array_size(app->devices); i++) {
        const json_t *row = json_array_get(app->devices, i);
        const char *name = json_string_value(json_object_get(row, "backend"));
        if (name && strcmp(name, backend) == 0 && json_is_true(json_object_get(row, "available"))) return row;
    }
    return NULL;
}

/* What is not known of a CPU is said so, never made up. */
static void echo_rows(const trt_app *app, const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    const char *print = json_string_value(json_object_get(row, "fingerprint"));
    const char *sm = print ? strstr(print, "sm_") : NULL;
    const long long mib = json_integer_value(json_object_get(row, "memory_bytes")) >> 20;
    const bool gpu = strcmp(app->backend, "cuda") == 0;
    trt_say(app, TRT_I, "=== Device Information ===");
    trt_say(app, TRT_I, "Available Devices:");
    trt_say(app, TRT_I, "  Device %" PRId64 ": \"%s\"", gpu ? app->o.device : 0, name ? name : "");
    trt_say(app, TRT_I, "Selected Device: %s", name ? name : "");
    trt_say(app, TRT_I, "Selected Device ID: %" PRId64, gpu ? app->o.device : 0);
    if (gpu && sm) trt_say(app, TRT_I, "Compute Capability: %d.%d", atoi(sm + 3) / 10, atoi(sm + 3) % 10);
    else trt_say(app, TRT_I, "Compute Capability: %s", gpu ? "unknown" : "none (a CPU)");
    if (gpu) trt_say(app, TRT_I, "SMs: unknown");
    else trt_say(app, TRT_I, "SMs: 0 (%lld threads)", (long long)json_integer_value(json_object_get(row, "threads")));
    trt_say(app, TRT_I, "Device Global Memory: %lld MiB", mib);
    trt_say(app, TRT_I, "Shared Memory per SM: %s", gpu ? "unknown" : "0 KiB");
    trt_say(app, TRT_I, "Memory Bus Width: unknown (ECC unknown)");
    trt_say(app, TRT_I, "Application Compute Clock Rate: unknown");
    trt_say(app, TRT_I, "Application Memory Clock Rate: unknown");
    trt_say(app, TRT_I, "%s", "");
}

bool trt_echo_device(trt_app *app)
{
    char *text = NULL;
    json_error_t error;
    if (tenon_list(app->cx, "devices", &text) != TENON_OK) return trt_failed(app);
    app->devices = json_loads(text, 0, &error);
    tenon_text_free(app->cx, &text);
    if (!app->devices) return trt_fail(app, "the list of devices is not JSON: %s", error.text);
    const bool gpu = !trt_has(&app->o, "--cpuOnly") && device_row(app, "cuda");
    app->backend = gpu ? "cuda" : "cpu";
    const json_t *row = device_row(app, app->backend);
    if (!row) return trt_fail(app, "no device can be used");
    echo_rows(app, row);
    if (!gpu && !trt_has(&app->o, "--cpuOnly")) trt_say(app, TRT_I, "There is no GPU that can be used: the CPU is used");
    trt_say(app, TRT_I, "TensorRT version: " TRT_VERSION_TEXT);
    trt_say(app, TRT_I, "Tenon version: %s", tenon_version());
    trt_say(app, TRT_I, "Loading standard plugins");
    return true;
}
