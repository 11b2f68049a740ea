/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon build`: a model becomes an engine file. */
#include "target.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The --shape and --profile options in their order: each --profile begins a new set of ranges, and a line that has --shape
   options before its first --profile has an implied first one. */
static int add_profiles(cli_session *s, const cli_args *args, tenon_config *config)
{
    int profile = -1;
    bool empty = false;
    for (size_t i = 0; i < args->given_count; i++) {
        const cli_given *g = &args->given[i];
        const bool begins = strcmp(g->option->name, "--profile") == 0;
        if (!begins && strcmp(g->option->name, "--shape") != 0) continue;
        if (begins && empty) return cli_wrong(s, "--profile begins a set of --shape options; profile %d has none", profile);
        if (begins || profile < 0) {
            if (tenon_config_add_profile(config, &profile) != TENON_OK) return cli_config_failed(s, config);
            empty = begins;
        }
        if (begins) continue;
        cli_range r;
        const int code = cli_range_parse(s, "--shape", g->text, &r);
        if (code != CLI_OK) return code;
        if (tenon_config_set_shape(config, profile, r.input, r.rank, r.min, r.opt, r.max) != TENON_OK)
            return cli_config_failed(s, config);
        empty = false;
    }
    return empty ? cli_wrong(s, "--profile begins a set of --shape options; profile %d has none", profile) : CLI_OK;
}

/* ---- the report ---- */
typedef struct report {
    const char *model, *engine_path, *cache_path;
    double seconds;
    size_t cache_before, cache_after;
} report;

static int64_t number(const json_t *j, const char *key) { return json_integer_value(json_object_get(j, key)); }

static json_t *report_json(const report *r, const json_t *e)
{
    json_t *j = json_pack("{s:s,s:s,s:f,s:O,s:O,s:O,s:O,s:O,s:O}", "model", r->model, "engine", r->engine_path, "build_seconds",
                          r->seconds, "backend", json_object_get(e, "backend"), "threads", json_object_get(e, "threads"),
                          "refittable", json_object_get(e, "refittable"), "file_bytes", json_object_get(e, "file_bytes"),
                          "weight_bytes", json_object_get(e, "weight_bytes"), "bindings", json_object_get(e, "bindings"));
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(json_object_get(e, "profiles")); i++) {
        static const char *const keys[] = {"ranges", "step_count", "conversions", "references", "synchronising",
                                            "host_segments", "memory"};
        const json_t *p = json_array_get(json_object_get(e, "profiles"), i);
        json_t *copy = json_object();
        for (size_t k = 0; k < CLI_COUNTOF(keys); k++) json_object_set(copy, keys[k], json_object_get(p, keys[k]));
        json_array_append_new(list, copy);
    }
    json_object_set_new(j, "profiles", list);
    if (r->cache_path)
        json_object_set_new(j, "timing_cache",
                            json_pack("{s:s,s:I,s:I}", "path", r->cache_path, "entries", (json_int_t)r->cache_after, "new",
                                      (json_int_t)(r->cache_after - r->cache_before)));
    return j;
}

static void report_text(const report *r, const json_t *e)
{
    const json_t *profiles = json_object_get(e, "profiles");
    printf("%s: built in %s for %s, %" PRId64 " threads\n", r->engine_path, cli_time(r->seconds).text,
           json_string_value(json_object_get(e, "backend")), number(e, "threads"));
    printf("  %s, of it weights %s\n", cli_bytes((double)number(e, "file_bytes")).text,
           cli_bytes((double)number(e, "weight_bytes")).text);
    for (size_t i = 0; i < json_array_size(profiles); i++) {
        const json_t *p = json_array_get(profiles, i);
        printf("  profile %zu: %" PRId64 " steps (%" PRId64 " conversions, %" PRId64 " on the reference", i,
               number(p, "step_count"), number(p, "conversions"), number(p, "references"));
        if (number(p, "synchronising")) printf(", %" PRId64 " on the host", number(p, "synchronising"));
        printf("), activations %s\n", cli_bytes((double)number(json_object_get(p, "memory"), "block_bytes")).text);
    }
    if (r->cache_path)
        printf("  timing cache %s: %zu entries, %zu new\n", r->cache_path, r->cache_after, r->cache_after - r->cache_before);
    printf("Next: tenon bench %s\n", r->engine_path);
}

static int print_report(cli_session *s, const report *r, const tenon_engine *engine, bool as_json)
{
    char *text = NULL;
    json_error_t error;
    if (tenon_engine_inspect(s->cx, engine, &text) != TENON_OK) return cli_failed(s);
    json_t *e = json_loads(text, 0, &error), *j = e && as_json ? report_json(r, e) : NULL;
    int code = CLI_OK;
    tenon_text_free(s->cx, &text);
    if (!e) code = cli_fail(s, "the engine's description is not JSON: %s", error.text);
    else if (!as_json) report_text(r, e);
    else if (!j || json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9)))
        code = cli_fail(s, "the report cannot be written");
    else putchar('\n');
    json_decref(j);
    json_decref(e);
    return code;
}

/* ---- the command ---- */
/* The cache is saved after a failed or cancelled build too: what was timed need not be timed again. */
static int build(cli_session *s, const cli_args *args, tenon_network *network, tenon_config *config, report *r,
                 tenon_engine **out)
{
    tenon_timing_cache *cache = NULL;
    int code = cli_config_apply(s, args, config);
    if (code == CLI_OK) code = add_profiles(s, args, config);
    if (code != CLI_OK) return code;
    if (r->cache_path && tenon_timing_cache_load(s->cx, r->cache_path, &cache) != TENON_OK) return cli_failed(s);
    r->cache_before = cache ? tenon_timing_cache_count(cache) : 0;
    if (tenon_config_set_timing_cache(config, cache) != TENON_OK) code = cli_config_failed(s, config);
    const double start = cli_now();
    if (code == CLI_OK && tenon_build(s->cx, network, config, out) != TENON_OK) code = cli_failed(s);
    cli_bar_clear(s);
    r->seconds = cli_now() - start;
    r->cache_after = cache ? tenon_timing_cache_count(cache) : 0;
    const bool save = cache && (code == CLI_OK || r->cache_after > r->cache_before);
    if (save && tenon_timing_cache_save(s->cx, cache, r->cache_path) != TENON_OK) code = cli_failed(s);
    tenon_timing_cache_destroy(&cache);
    return code;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int run(cli_session *s, const cli_args *args)
{
    report r = {.model = args->position[0], .engine_path = cli_text(args, "-o"), .cache_path = cli_text(args, "--timing-cache")};
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    bool is_engine = false;
    if (!r.engine_path) return cli_wrong(s, "-o FILE is missing: where the engine is written");
    if (same_file(r.model, r.engine_path)) return cli_wrong(s, "-o '%s' is the model itself", r.engine_path);
    int code = cli_is_engine(s, r.model, &is_engine);
    if (code == CLI_OK && is_engine) code = cli_fail(s, "'%s' is an engine already; a model in ONNX is wanted", r.model);
    if (code == CLI_OK) code = cli_model_read(s, r.model, &network);
    if (code == CLI_OK && tenon_config_create(s->cx, &config) != TENON_OK) code = cli_failed(s);
    cli_catch_interrupt();
    if (code == CLI_OK) code = build(s, args, network, config, &r, &engine);
    if (code == CLI_OK && tenon_engine_save(s->cx, engine, r.engine_path) != TENON_OK) code = cli_failed(s);
    if (code == CLI_OK) code = print_report(s, &r, engine, cli_flag(args, "--json"));
    tenon_engine_destroy(&engine);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    return code;
}

static const cli_option options[] = {
    {"-o", CLI_TEXT, false, "FILE", "where the engine is written"},
    {"--shape", CLI_TEXT, true, "NAME=RANGE",
     "shape of an input: SHAPE, or MIN:OPT:MAX where it varies; see `tenon help shapes`"},
    {"--profile", CLI_FLAG, true, NULL, "begin a further set of --shape options, tuned on its own"},
    {"--timing-cache", CLI_TEXT, false, "FILE",
     "keep measured times there, and use those that are there: the next build is\nfaster, and equal times give an equal engine, "
     "byte for byte"},
    {"--workspace", CLI_BYTES, false, "SIZE", "most working memory that a step may take: 256M, 1G"},
    CLI_OPTION_THREADS,
    CLI_OPTION_DEVICE,
    {"--level", CLI_COUNT, false, "0..5", "effort: 0 times nothing, 3 is the default, 5 tries most"},
    {"--no-timing", CLI_FLAG, false, NULL, "choose by the cost model alone; the engine is the same on every run"},
    {"--refit", CLI_FLAG, false, NULL, "keep what is needed to replace weights later"},
    {"--strict", CLI_FLAG, false, NULL, "refuse a model with steps that the device has no tactic for"},
    {"--no-tf32", CLI_FLAG, false, NULL, "GPUs: products of f32 keep all of their 24 bits"},
    {"--json", CLI_FLAG, false, NULL, "print the report as JSON"},
    {NULL, CLI_END, false, NULL, NULL},
};

const cli_command cli_command_build = {
    .name = "build",
    .what = "turn a model into an engine tuned for this machine",
    .positions = "MODEL.onnx -o FILE",
    .min_positions = 1,
    .max_positions = 1,
    .options = options,
    .details =
        "Reads the model, rewrites it, tries the ways to compute each step on this machine and writes the fastest as an engine.\n"
        "An engine belongs to the kind of machine and the number of threads that it was built for.\n",
    .examples = "tenon build model.onnx -o model.engine\n"
                "tenon build model.onnx -o model.engine --timing-cache times.txt --threads 4\n"
                "tenon build model.onnx -o model.engine --shape x=1x3x224x224:4x3x224x224:8x3x224x224\n"
                "tenon build model.onnx -o model.engine --shape x=1x3x224x224 --profile --shape x=8x3x224x224\n",
    .next = "Run it: tenon run model.engine --input x=x.npy. Measure it: tenon bench model.engine. See what was chosen:\n"
            "tenon inspect model.engine --steps. Shapes that vary: tenon help dynamic-shapes. Faster builds: tenon help\n"
            "timing-cache.\n",
    .run = run,
};
