/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon inspect`: what an engine holds, read from the library's own description of it; of a model, its inputs and outputs. */
#include "target.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

static int64_t number(const json_t *j, const char *key) { return json_integer_value(json_object_get(j, key)); }
static const char *text(const json_t *j, const char *key)
{
    const char *value = json_string_value(json_object_get(j, key));
    return value ? value : "";
}

/* ---- bindings ---- */
static int print_bindings(cli_session *s, const tenon_binding_info *list, size_t count)
{
    cli_table t = {.align = "llll", .columns = 4};
    for (size_t i = 0; i < count; i++) {
        cli_table_cell(&t, "%s", list[i].io == TENON_INPUT ? "input" : "output");
        cli_table_cell(&t, "%s", list[i].name);
        cli_table_cell(&t, "%s", tenon_dtype_name(list[i].dtype));
        cli_table_cell(&t, "%s", cli_shape(&list[i]).text);
    }
    return cli_table_print(s, &t, "  ");
}

static json_t *binding_json(const tenon_binding_info *b)
{
    json_t *shape = json_array();
    for (int i = 0; i < b->rank; i++)
        json_array_append_new(shape,
                              b->dim[i] >= 0 ? json_integer(b->dim[i]) : json_string(b->dim_name[i] ? b->dim_name[i] : "?"));
    return json_pack("{s:s,s:s,s:s,s:o}", "name", b->name, "io", b->io == TENON_INPUT ? "input" : "output", "type",
                     tenon_dtype_name(b->dtype), "shape", shape);
}

static int inspect_model(cli_session *s, const cli_args *args)
{
    enum { ROOM = 128 };
    const char *path = args->position[0];
    tenon_binding_info list[ROOM];
    tenon_network *network = NULL;
    int code = cli_model_read(s, path, &network);
    if (code != CLI_OK) return code;
    const size_t count = tenon_network_binding_count(network);
    if (count > ROOM) code = cli_fail(s, "%s has %zu inputs and outputs; at most %d can be shown", path, count, ROOM);
    for (size_t i = 0; code == CLI_OK && i < count; i++)
        if (tenon_network_binding(s->cx, network, i, &list[i]) != TENON_OK) code = cli_failed(s);
    cli_bar_clear(s);
    if (code == CLI_OK && cli_flag(args, "--json")) {
        json_t *bindings = json_array(), *j = json_pack("{s:s,s:o}", "model", path, "bindings", bindings);
        for (size_t i = 0; i < count; i++) json_array_append_new(bindings, binding_json(&list[i]));
        if (!j || json_dumpf(j, stdout, JSON_INDENT(1))) code = cli_fail(s, "the description cannot be written");
        else putchar('\n');
        json_decref(j);
    } else if (code == CLI_OK) {
        printf("%s: a model\n", path);
        code = print_bindings(s, list, count);
    }
    tenon_network_destroy(&network);
    return code;
}

/* ---- engines ---- */
static int print_engine_bindings(cli_session *s, const json_t *e)
{
    const json_t *list = json_object_get(e, "bindings");
    cli_table t = {.align = "llll", .columns = 4};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *b = json_array_get(list, i), *shape = json_object_get(b, "shape");
        char dims[CLI_TEXT_ROOM] = "scalar";
        size_t used = 0;
        for (size_t k = 0; k < json_array_size(shape) && used < sizeof dims; k++) {
            const json_t *d = json_array_get(shape, k);
            const char *x = k ? "x" : "";
            if (json_is_integer(d))
                used += (size_t)snprintf(dims + used, sizeof dims - used, "%s%" JSON_INTEGER_FORMAT, x, json_integer_value(d));
            else used += (size_t)snprintf(dims + used, sizeof dims - used, "%s[%s]", x, json_string_value(d));
        }
        cli_table_row(&t, 4, (const char *const[]){text(b, "io"), text(b, "name"), text(b, "type"), dims});
    }
    return cli_table_print(s, &t, "  ");
}

/* ", 3 on the host (steps 2, 7-8), where the device waits" */
static void print_host_segments(const json_t *p)
{
    const json_t *list = json_object_get(p, "host_segments");
    if (!number(p, "synchronising")) return;
    printf(", %" PRId64 " on the host (steps", number(p, "synchronising"));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const int64_t first = number(json_array_get(list, i), "first"), count = number(json_array_get(list, i), "count");
        printf("%s %" PRId64, i ? "," : "", first);
        if (count > 1) printf("-%" PRId64, first + count - 1);
    }
    printf("), where the device waits");
}

static void print_profile(size_t index, json_t *p)
{
    json_t *range;
    const char *name;
    printf("  profile %zu: %" PRId64 " steps, %" PRId64 " conversions, %" PRId64 " on the reference", index,
           number(p, "step_count"), number(p, "conversions"), number(p, "references"));
    print_host_segments(p);
    json_object_foreach(json_object_get(p, "ranges"), name, range) {
        const int64_t lo = json_integer_value(json_array_get(range, 0)), opt = json_integer_value(json_array_get(range, 1));
        const int64_t hi = json_integer_value(json_array_get(range, 2));
        if (lo == hi) printf("; %s = %" PRId64, name, lo);
        else printf("; %s = %" PRId64 "..%" PRId64 ", tuned for %" PRId64, name, lo, hi, opt);
    }
    putchar('\n');
}

static int print_steps(cli_session *s, size_t index, const json_t *profile)
{
    const json_t *steps = json_object_get(profile, "steps");
    cli_table t = {.align = "rllrrl", .columns = 6};
    cli_table_row(&t, 6, (const char *const[]){"#", "name", "tactic", "us", "weights", "problem"});
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        cli_table_cell(&t, "%zu", i);
        cli_table_cell(&t, "%s", text(step, "name"));
        cli_table_cell(&t, "%s%s", text(step, "tactic"),
                       json_is_true(json_object_get(step, "synchronises")) ? " (host, synchronises)" : "");
        /* ~: by the cost model, not by a clock */
        cli_table_cell(&t, "%s%.1f", json_is_true(json_object_get(step, "timed")) ? "" : "~",
                       json_number_value(json_object_get(step, "microseconds")));
        cli_table_cell(&t, "%" PRId64, number(step, "weight_bytes"));
        cli_table_cell(&t, "%s", text(step, "problem"));
    }
    printf("\nsteps of profile %zu (weights in bytes; ~ is an estimate that was not timed)\n", index);
    return cli_table_print(s, &t, "  ");
}

static int print_memory(cli_session *s, const json_t *profiles)
{
    cli_table t = {.align = "rrrrr", .columns = 5};
    cli_table_row(&t, 5, (const char *const[]){"profile", "block", "lower bound", "ratio", "scratch a thread"});
    for (size_t i = 0; i < json_array_size(profiles); i++) {
        const json_t *m = json_object_get(json_array_get(profiles, i), "memory");
        cli_table_cell(&t, "%zu", i);
        cli_table_cell(&t, "%" PRId64, number(m, "block_bytes"));
        cli_table_cell(&t, "%" PRId64, number(m, "lower_bound_bytes"));
        cli_table_cell(&t, "%.3f", json_number_value(json_object_get(m, "ratio")));
        cli_table_cell(&t, "%" PRId64, number(m, "scratch_bytes"));
    }
    puts("\nmemory of a context in bytes (block: all activations; lower bound: the most that is alive at one step)");
    return cli_table_print(s, &t, "  ");
}

static int print_engine(cli_session *s, const cli_args *args, const json_t *e)
{
    const json_t *profiles = json_object_get(e, "profiles");
    printf("%s: an engine for %s, %" PRId64 " threads, %s, of it weights %s%s\n", args->position[0], text(e, "backend"),
           number(e, "threads"), cli_bytes((double)number(e, "file_bytes")).text,
           cli_bytes((double)number(e, "weight_bytes")).text,
           json_is_true(json_object_get(e, "refittable")) ? ", refittable" : "");
    printf("  built by Tenon %s on %s\n", text(e, "tenon"), text(e, "built_on"));
    int code = print_engine_bindings(s, e);
    for (size_t i = 0; i < json_array_size(profiles); i++) print_profile(i, json_array_get(profiles, i));
    if (code == CLI_OK && cli_flag(args, "--memory")) code = print_memory(s, profiles);
    for (size_t i = 0; code == CLI_OK && cli_flag(args, "--steps") && i < json_array_size(profiles); i++)
        code = print_steps(s, i, json_array_get(profiles, i));
    return code;
}

/* An engine for a GPU that is not here is opened for one of its kind that is not here either: only to be looked at. */
static int load_to_look(cli_session *s, const char *path, tenon_engine **out)
{
    static const int chips[] = {90, 75, 80, 86, 89, 100, 120};
    tenon_status status = tenon_engine_load(s->cx, path, NULL, out);
    for (size_t i = 0; i < sizeof chips / sizeof *chips && (status == TENON_DEVICE || status == TENON_UNSUPPORTED); i++) {
        const tenon_load_options absent = {.device_index = -chips[i]};
        if (tenon_engine_load(s->cx, path, &absent, out) == TENON_OK) return CLI_OK;
    }
    if (status != TENON_OK) status = tenon_engine_load(s->cx, path, NULL, out); /* what is wrong with it here */
    return status == TENON_OK ? CLI_OK : cli_failed(s);
}

static int inspect_engine(cli_session *s, const cli_args *args)
{
    tenon_engine *engine = NULL;
    char *description = NULL;
    const int loaded = load_to_look(s, args->position[0], &engine);
    if (loaded != CLI_OK) return loaded;
    int code = CLI_OK;
    if (tenon_engine_inspect(s->cx, engine, &description) != TENON_OK) {
        code = cli_failed(s);
    } else if (cli_flag(args, "--json")) {
        puts(description);
    } else {
        json_error_t error;
        json_t *e = json_loads(description, 0, &error);
        code = e ? print_engine(s, args, e) : cli_fail(s, "the engine's description is not JSON: %s", error.text);
        json_decref(e);
    }
    tenon_text_free(s->cx, &description);
    tenon_engine_destroy(&engine);
    return code;
}

static int run(cli_session *s, const cli_args *args)
{
    bool is_engine;
    const int code = cli_is_engine(s, args->position[0], &is_engine);
    if (code != CLI_OK) return code;
    if (is_engine) return inspect_engine(s, args);
    if (cli_flag(args, "--memory") || cli_flag(args, "--steps"))
        return cli_fail(s, "'%s' is not an engine: --memory and --steps are of engines; build it first: tenon build %s -o FILE",
                        args->position[0], args->position[0]);
    return inspect_model(s, args);
}

static const cli_option options[] = {
    {"--steps", CLI_FLAG, false, NULL, "the steps: name, tactic, time, bytes of weights, problem"},
    {"--memory", CLI_FLAG, false, NULL, "the activations' block, the least that any plan needs, and their ratio"},
    {"--json", CLI_FLAG, false, NULL, "everything as JSON"},
    {NULL, CLI_END, false, NULL, NULL},
};

const cli_command cli_command_inspect = {
    .name = "inspect",
    .what = "show what an engine holds, or a model's inputs and outputs",
    .positions = "ENGINE|MODEL.onnx",
    .min_positions = 1,
    .max_positions = 1,
    .options = options,
    .details = "",
    .examples = "tenon inspect model.onnx\n"
                "tenon inspect model.engine --steps\n"
                "tenon inspect model.engine --memory\n"
                "tenon inspect model.engine --json\n",
    .next = "A model: tenon build model.onnx -o model.engine, with --shape for each [name] among its dimensions (tenon help\n"
            "dynamic-shapes). An engine: tenon bench model.engine --profile times its steps as they run.\n",
    .run = run,
};
