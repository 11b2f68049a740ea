/* SPDX-License-Identifier: Apache-2.0 */
/* The values of trtexec's flags: shapes, pools, formats, lists and words, checked as trtexec checks them. */
#include "trtexec.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- shapes ---- */
/* The end of an item of a list: its comma or the end of the text; quoted names may hold commas. */
static size_t item_length(const char *p)
{
    bool quoted = false;
    size_t n = 0;
    for (; p[n] && (quoted || p[n] != ','); n++) quoted ^= p[n] == '\'';
    return n;
}

static bool parse_dims(const char *p, const char *end, trt_shape *out)
{
    out->rank = 0;
    if (p == end || (end - p == 6 && memcmp(p, "scalar", 6) == 0)) return true;
    for (;; p++) {
        int64_t value = 0;
        if (p == end || !isdigit((unsigned char)*p) || out->rank == TENON_MAX_RANK) return false;
        for (; p < end && isdigit((unsigned char)*p); p++) {
            if (value > INT64_MAX / 100) return false;
            value = 10 * value + (*p - '0');
        }
        out->dim[out->rank++] = value;
        if (p == end) return true;
        if (*p != 'x') return false;
    }
}

static bool parse_shape(const char *item, size_t length, trt_shape *out)
{
    const char *end = item + length, *colon = end;
    while (colon > item && colon[-1] != ':') colon--;
    if (colon == item) return false;
    const char *first = item, *last = colon - 1;
    if (last - first >= 2 && *first == '\'' && last[-1] == '\'') first++, last--;
    if (first == last || (size_t)(last - first) >= sizeof out->name) return false;
    memcpy(out->name, first, (size_t)(last - first));
    out->name[last - first] = 0;
    const char *star = strchr(out->name, '*');
    return !(star && strchr(star + 1, '*')) && parse_dims(colon, end, out);
}

static bool take_shapes(const trt_app *app, const char *flag, const char *text, trt_shapes *out)
{
    if (!out->list) out->list = calloc(TRT_MAX_SHAPES, sizeof *out->list);
    if (!out->list) return trt_fail(app, "out of memory");
    for (const char *p = text;; p++) {
        const size_t n = item_length(p);
        if (out->count == TRT_MAX_SHAPES) return trt_fail(app, "%s: more than %d shapes", flag, TRT_MAX_SHAPES);
        trt_shape *s = &out->list[out->count];
        *s = (trt_shape){0};
        if (!parse_shape(p, n, s)) return trt_fail(app, "%s: Invalid shape '%.*s': name:1x3x224x224 is wanted", flag, (int)n, p);
        for (size_t i = 0; i < out->count; i++)
            if (strcmp(out->list[i].name, s->name) == 0) return trt_fail(app, "%s names '%s' twice", flag, s->name);
        out->count++;
        p += n;
        if (!*p) return true;
    }
}

const trt_shape *trt_find_shape(const trt_shapes *shapes, const char *input)
{
    for (size_t i = 0; i < shapes->count; i++)
        if (strcmp(shapes->list[i].name, input) == 0) return &shapes->list[i];
    for (size_t i = 0; i < shapes->count; i++) {
        const char *name = shapes->list[i].name, *star = strchr(name, '*');
        const size_t head = star ? (size_t)(star - name) : 0, tail = star ? strlen(star + 1) : 0, length = strlen(input);
        if (star && length >= head + tail && strncmp(name, input, head) == 0 && strcmp(star + 1, input + length - tail) == 0)
            return &shapes->list[i];
    }
    return NULL;
}

/* The shape flags in their order: --profile begins a group. */
static bool take_profiles(trt_app *app)
{
    trt_options *o = &app->o;
    int at = 0;
    trt_shapes ignored = {0};
    for (size_t i = 0; i < o->given_count; i++) {
        const char *flag = o->given[i].flag->name, *text = o->given[i].text;
        trt_profile *p = &o->profile[at];
        if (strcmp(flag, "--profile") == 0) {
            at = atoi(text);
            if (at >= TRT_MAX_PROFILES) return trt_fail(app, "--profile=%s: at most %d", text, TRT_MAX_PROFILES - 1);
            continue;
        }
        if (o->given[i].flag->kind != TRT_SHAPES) continue;
        trt_shapes *to = strcmp(flag, "--minShapes") == 0   ? &p->min
                         : strcmp(flag, "--optShapes") == 0 ? &p->opt
                         : strcmp(flag, "--maxShapes") == 0 ? &p->max
                         : strcmp(flag, "--shapes") == 0    ? &o->shapes
                                                            : &ignored;
        if (to != &o->shapes && to != &ignored) {
            p->given = true;
            if (at >= o->profile_count) o->profile_count = at + 1;
        }
        const bool good = take_shapes(app, flag, text, to);
        free(ignored.list);
        ignored = (trt_shapes){0};
        if (!good) return false;
    }
    for (int i = 0; i < o->profile_count; i++)
        if (!o->profile[i].given) return trt_fail(app, "--profile: profile %d has no shapes, profile %d has", i,
                                                  o->profile_count - 1);
    return true;
}

/* ---- pools ---- */
static bool parse_size(const char *text, double *bytes)
{
    static const char units[] = "BKMG";
    char *end;
    const double value = strtod(text, &end);
    if (end == text || !(value >= 0)) return false;
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : &units[2];
    if (!unit || (*end && end[1])) return false;
    *bytes = ldexp(value, 10 * (int)(unit - units));
    return *bytes < 0x1p62;
}

static bool take_pools(trt_app *app, const char *text)
{
    static const char *const pools[] = {"workspace", "dlaSRAM", "dlaLocalDRAM", "dlaGlobalDRAM", "tacticSharedMem"};
    for (const char *p = text;; p++) {
        char item[80], *colon;
        const size_t n = strcspn(p, ",");
        double bytes;
        snprintf(item, sizeof item, "%.*s", (int)n, p);
        colon = strchr(item, ':');
        if (!colon || !parse_size(colon + 1, &bytes))
            return trt_fail(app, "--memPoolSize: Invalid pool size '%s': pool:size in MiB is wanted, such as workspace:256",
                            item);
        *colon = 0;
        size_t which = 0;
        while (which < CLI_COUNTOF(pools) && strcmp(pools[which], item) != 0) which++;
        if (which == CLI_COUNTOF(pools)) return trt_fail(app, "--memPoolSize: Unknown memory pool '%s'", item);
        if (which == 0) app->o.workspace = (size_t)bytes;
        else trt_say(app, TRT_W, "--memPoolSize=%s: the pool is not used by this device's tactics", item);
        p += n;
        if (!*p) return true;
    }
}

static bool take_workspace(trt_app *app)
{
    const char *pools = trt_text(&app->o, "--memPoolSize"), *mib = trt_text(&app->o, "--workspace");
    double bytes;
    app->o.workspace = SIZE_MAX;
    if (mib) {
        if (!parse_size(mib, &bytes)) return trt_fail(app, "--workspace=%s: a size in MiB from 0 is wanted", mib);
        trt_say(app, TRT_W, "--workspace is the former name of --memPoolSize=workspace:%s", mib);
        app->o.workspace = (size_t)bytes;
    }
    return !pools || take_pools(app, pools);
}

/* ---- words ---- */
/* The value is one of the words, which are joined by |. */
static bool one_of(const trt_app *app, const char *flag, const char *words)
{
    const char *value = trt_text(&app->o, flag);
    if (!value) return true;
    for (const char *p = words;; p++) {
        const size_t n = strcspn(p, "|");
        if (strlen(value) == n && memcmp(p, value, n) == 0) return true;
        p += n;
        if (!*p) break;
    }
    return trt_fail(app, "%s=%s: one of %s is wanted", flag, value, words);
}

/* A list whose entries begin with + or -, and go on with one of the names (NULL: any). */
static bool signed_list(const trt_app *app, const char *flag, const char *const *name)
{
    const char *value = trt_text(&app->o, flag);
    for (const char *p = value; p; p++) {
        const size_t n = strcspn(p, ",");
        if (*p != '+' && *p != '-') return trt_fail(app, "%s: '%.*s' begins with neither + nor -", flag, (int)n, p);
        bool known = !name;
        for (size_t i = 0; name && name[i]; i++) known |= strlen(name[i]) == n - 1 && memcmp(name[i], p + 1, n - 1) == 0;
        if (!known) return trt_fail(app, "%s: Unknown tactic source: %.*s", flag, (int)n - 1, p + 1);
        p += n;
        if (!*p) break;
    }
    return true;
}

/* name:type[+type][,...] with one of the words as type. */
static bool typed_list(const trt_app *app, const char *flag, const char *const *type)
{
    const char *value = trt_text(&app->o, flag);
    for (const char *p = value; p; p++) {
        const size_t n = item_length(p);
        const char *end = p + n, *t = end;
        while (t > p && t[-1] != ':') t--;
        if (t == p || t - 1 == p || t == end) return trt_fail(app, "%s: '%.*s': name:type is wanted", flag, (int)n, p);
        for (const char *q = t; q < end;) {
            size_t m = 0;
            bool known = false;
            while (q + m < end && q[m] != '+') m++;
            for (size_t i = 0; type[i]; i++) known |= strlen(type[i]) == m && memcmp(type[i], q, m) == 0;
            if (!known) return trt_fail(app, "%s: Invalid type '%.*s'", flag, (int)m, q);
            q += m + (q + m < end);
        }
        p += n;
        if (!*p) break;
    }
    return true;
}

static bool take_words(trt_app *app)
{
    static const char *const source[] = {"CUBLAS", "CUBLAS_LT", "CUBLASLT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS",
                                         NULL};
    static const char *const type[] = {"fp32", "fp16", "bf16", "int32", "int64", "int8", "fp8", "uint8", "bool", NULL};
    static const char *const device[] = {"GPU", "DLA", NULL};
    const trt_options *o = &app->o;
    const char *devices = trt_text(o, "--layerDeviceTypes"), *sparsity = trt_text(o, "--sparsity");
    const char *hardware = trt_text(o, "--hardwareCompatibilityLevel"), *platform = trt_text(o, "--runtimePlatform");
    const char *modes = "layer_names_only|detailed|none|default|verbose";
    if (!one_of(app, "--profilingVerbosity", modes) || !one_of(app, "--nvtxMode", modes) ||
        !one_of(app, "--useRuntime", "full|lean|dispatch") || !one_of(app, "--sparsity", "disable|enable|force") ||
        !one_of(app, "--precisionConstraints", "none|obey|prefer") ||
        !one_of(app, "--hardwareCompatibilityLevel", "none|ampere+|sameComputeCapability") ||
        !one_of(app, "--runtimePlatform", "SameAsBuild|WindowsAMD64") ||
        !one_of(app, "--allocationStrategy", "static|profile|runtime") || !signed_list(app, "--tacticSources", source) ||
        !signed_list(app, "--preview", NULL) || !typed_list(app, "--layerPrecisions", type) ||
        !typed_list(app, "--layerOutputTypes", type) || !typed_list(app, "--layerDeviceTypes", device))
        return false;
    if (devices && strstr(devices, ":DLA")) return trt_fail(app, "--layerDeviceTypes=%s: there is no DLA", devices);
    if (sparsity && strcmp(sparsity, "force") == 0) return trt_fail(app, "--sparsity=force: weights are never changed");
    if (sparsity && strcmp(sparsity, "enable") == 0)
        trt_say(app, TRT_W, "--sparsity=enable: there are no sparse tactics; dense ones are used");
    if (hardware && strcmp(hardware, "ampere+") == 0)
        return trt_fail(app, "--hardwareCompatibilityLevel=ampere+: an engine is made for one kind of device");
    if (platform && strcmp(platform, "WindowsAMD64") == 0)
        return trt_fail(app, "--runtimePlatform=WindowsAMD64: an engine is made for the platform that builds it");
    return true;
}

/* ---- numbers ---- */
static int64_t number(const trt_options *o, const char *flag, int64_t otherwise)
{
    const char *text = trt_text(o, flag);
    return text ? atoll(text) : otherwise;
}

static bool take_percentiles(trt_app *app)
{
    trt_options *o = &app->o;
    const char *text = trt_text(o, "--percentile");
    for (const char *p = text ? text : "90,95,99";; p++) {
        char *end;
        const double value = strtod(p, &end);
        if (end == p || (*end && *end != ',') || !(value >= 0 && value <= 100))
            return trt_fail(app, "--percentile=%s: Percentiles are numbers from 0 to 100, joined by commas", text);
        if (o->percentile_count == TRT_MAX_PERCENTILES) return trt_fail(app, "--percentile: at most %d", TRT_MAX_PERCENTILES);
        o->percentile[o->percentile_count++] = value;
        p = end;
        if (!*p) return true;
    }
}

static bool take_numbers(trt_app *app)
{
    trt_options *o = &app->o;
    if (trt_has(o, "--infStreams") && trt_has(o, "--streams")) return trt_fail(app,
                                                                               "--infStreams and --streams are the same flag");
    o->iterations = number(o, "--iterations", 10);
    o->warmup_ms = number(o, "--warmUp", 200);
    o->duration_s = number(o, "--duration", 3);
    o->sleep_ms = number(o, "--sleepTime", 0);
    o->idle_ms = number(o, "--idleTime", 0);
    o->streams = number(o, "--infStreams", number(o, "--streams", 1));
    o->avg_runs = number(o, "--avgRuns", 10);
    o->use_profile = number(o, "--useProfile", 0);
    o->device = number(o, "--device", 0);
    if (o->streams < 1 || o->streams > TRT_MAX_STREAMS)
        return trt_fail(app, "--infStreams=%" PRId64 ": 1 to %d", o->streams, TRT_MAX_STREAMS);
    if (o->avg_runs < 1) return trt_fail(app, "--avgRuns=0: a number from 1 is wanted");
    if (number(o, "--builderOptimizationLevel", 0) > 5)
        return trt_fail(app, "--builderOptimizationLevel=%s: 0 to 5", trt_text(o, "--builderOptimizationLevel"));
    return take_percentiles(app);
}

/* ---- together ---- */
static bool check_together(const trt_app *app)
{
    const trt_options *o = &app->o;
    const char *runtime = trt_text(o, "--useRuntime");
    const bool load = trt_has(o, "--loadEngine");
    if (!trt_has(o, "--onnx") && !load) return trt_fail(app, "Model missing: --onnx=<file> or --loadEngine=<file> is wanted");
    if (load && trt_has(o, "--saveEngine")) return trt_fail(app, "--saveEngine and --loadEngine exclude each other");
    if (load && o->skip_inference) return trt_fail(app, "--skipInference builds only; with --loadEngine nothing is built");
    if (!load && trt_has(o, "--getPlanVersionOnly")) return trt_fail(app, "--getPlanVersionOnly needs --loadEngine");
    if (!load && runtime && strcmp(runtime, "full") != 0)
        return trt_fail(app, "--useRuntime=%s: building needs the full runtime", runtime);
    if (trt_has(o, "--noBuilderCache") && trt_has(o, "--timingCacheFile"))
        return trt_fail(app, "--noBuilderCache and --timingCacheFile exclude each other");
    if (trt_has(o, "--errorOnTimingCacheMiss") && !trt_has(o, "--timingCacheFile"))
        return trt_fail(app, "--errorOnTimingCacheMiss needs --timingCacheFile");
    return true;
}

static void warn_accepted(const trt_app *app)
{
    for (size_t i = 0; i < app->o.given_count; i++) {
        const trt_flag *f = app->o.given[i].flag;
        bool before = false;
        for (size_t k = 0; k < i; k++) before |= app->o.given[k].flag == f;
        if (f->effect == TRT_ACCEPTED && !before) trt_say(app, TRT_W, "%s has no effect: %s", f->name, f->text);
    }
}

bool trt_take_values(trt_app *app)
{
    trt_options *o = &app->o;
    const char *mode = trt_text(o, "--profilingVerbosity");
    if (!mode) mode = trt_text(o, "--nvtxMode");
    app->verbose = trt_has(o, "--verbose");
    o->detailed = mode && (strcmp(mode, "detailed") == 0 || strcmp(mode, "verbose") == 0);
    o->no_layers = mode && strcmp(mode, "none") == 0;
    o->skip_inference = trt_has(o, "--skipInference") || trt_has(o, "--buildOnly");
    o->fp16 = trt_has(o, "--fp16") || trt_has(o, "--best");
    o->int8 = trt_has(o, "--int8") || trt_has(o, "--best");
    o->bf16 = trt_has(o, "--bf16");
    o->fp8 = trt_has(o, "--fp8");
    o->int4 = trt_has(o, "--int4");
    if (!take_profiles(app) || !take_workspace(app) || !take_words(app) || !take_numbers(app) ||
        !check_together(app)) return false;
    warn_accepted(app);
    return true;
}
