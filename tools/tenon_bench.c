/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon bench`: latency and throughput of an engine, or of a model built in memory, on made-up inputs. Each stream is a thread
   with a context of its own; one stream runs on its caller's thread. Times are of whole runs, memory is touched beforehand. */
#include "npy.h"
#include "target.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INPUTS = 64, MAX_STREAMS = 256, LEAST_RUNS = 10, PROFILED_RUNS = 20 };
#define DEFAULT_SECONDS 3.0

typedef struct limits { int64_t runs, warmup; double seconds; } limits; /* runs -1: until the seconds are over */

typedef struct worker {
    cli_session s;
    cli_runner runner;
    tenon_stream *stream;        /* NULL: runs on its own thread */
    const limits *limits;
    double *latency;
    size_t count, room;
    double begin, end;
    int code;
    bool draws;                  /* the bar */
} worker;

typedef struct bench {
    cli_session *s;
    const cli_args *args;
    tenon_engine *engine;
    tenon_host_tensor input[MAX_INPUTS];
    size_t input_count;
    int profile;
    limits limits;
    size_t streams;
    worker *worker;
    double *all;                 /* every latency, sorted */
    size_t all_count;
    double wall;
    json_t *steps;               /* with --profile: the profile's steps, "seconds" in each */
} bench;

/* ---- inputs ---- */
/* The --shape at this place of the command line; false in `*is_one` for another option. */
static int take_shape(bench *b, size_t index, bool *is_one, cli_range *out)
{
    const cli_given *g = &b->args->given[index];
    *is_one = strcmp(g->option->name, "--shape") == 0;
    const int code = *is_one ? cli_range_parse(b->s, "--shape", g->text, out) : CLI_OK;
    if (code != CLI_OK || !*is_one || out->single) return code;
    return cli_wrong(b->s, "--shape '%s': one shape is wanted, not a range; build an engine to have a range", g->text);
}

static int find_shape(bench *b, const char *name, cli_range *out, bool *given)
{
    *given = false;
    for (size_t i = 0; i < b->args->given_count; i++) {
        cli_range r;
        bool is_one;
        const int code = take_shape(b, i, &is_one, &r);
        if (code != CLI_OK) return code;
        if (!is_one || strcmp(r.input, name) != 0) continue;
        if (*given) return cli_wrong(b->s, "--shape names '%s' twice", name);
        *out = r;
        *given = true;
    }
    return CLI_OK;
}

/* The shape given, else the optimum of the profile. */
static int take_input(bench *b, const tenon_binding_info *info, int profile)
{
    int64_t min[TENON_MAX_RANK], max[TENON_MAX_RANK];
    cli_range r;
    bool given;
    if (b->input_count == MAX_INPUTS) return cli_fail(b->s, "more than %d inputs", MAX_INPUTS);
    tenon_host_tensor *t = &b->input[b->input_count];
    *t = (tenon_host_tensor){.name = info->name, .dtype = info->dtype, .rank = info->rank};
    const int code = find_shape(b, info->name, &r, &given);
    if (code != CLI_OK) return code;
    if (given && r.rank != info->rank)
        return cli_fail(b->s, "--shape: input '%s' has the shape %s, %d dimensions are given", info->name, cli_shape(info).text,
                        r.rank);
    if (given) memcpy(t->dim, r.min, sizeof t->dim);
    else if (tenon_engine_profile_shape(b->s->cx, b->engine, profile, info->name, min, t->dim, max) != TENON_OK)
        return cli_failed(b->s);
    size_t bytes;
    if (!cli_tensor_bytes(t->dtype, t->rank, t->dim, &bytes))
        return cli_fail(b->s, "input '%s': %s %s cannot be made up", t->name, tenon_dtype_name(t->dtype),
                        cli_dims(t->rank, t->dim).text);
    t->data = malloc(bytes ? bytes : 1);
    if (!t->data) return cli_fail(b->s, "input '%s': no memory for %zu bytes", t->name, bytes);
    b->input_count++;
    cli_tensor_make_up(t, bytes);
    return CLI_OK;
}

static int check_shape_names(bench *b)
{
    for (size_t i = 0; i < b->args->given_count; i++) {
        cli_range r;
        bool is_one;
        const int code = take_shape(b, i, &is_one, &r);
        if (code != CLI_OK) return code;
        if (!is_one || cli_tensor_find(b->input, b->input_count, r.input)) continue;
        char known[1024] = "";
        size_t used = 0;
        for (size_t k = 0; k < b->input_count && used < sizeof known; k++)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s'%s'", k ? ", " : "", b->input[k].name);
        return cli_fail(b->s, "--shape: there is no input '%s', but %s", r.input, known);
    }
    return CLI_OK;
}

static int take_inputs(bench *b)
{
    const int wanted = (int)cli_number(b->args, "--use-profile", -1), profiles = tenon_engine_profile_count(b->engine);
    if (wanted >= profiles) return cli_fail(b->s, "--use-profile %d: the engine has %d, counted from 0", wanted, profiles);
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < tenon_engine_binding_count(b->engine); i++) {
        tenon_binding_info info;
        if (tenon_engine_binding(b->s->cx, b->engine, i, &info) != TENON_OK) return cli_failed(b->s);
        if (info.io == TENON_INPUT) code = take_input(b, &info, wanted < 0 ? 0 : wanted);
    }
    if (code == CLI_OK) code = check_shape_names(b);
    if (code == CLI_OK) code = cli_profile_choose(b->s, b->engine, b->input, b->input_count, wanted, &b->profile);
    return code;
}

/* ---- running ---- */
static int run_once(worker *w)
{
    if (!w->stream)
        return tenon_context_run(w->runner.context) == TENON_OK ? CLI_OK
                                                                : cli_fail(&w->s, "%s", tenon_context_message(w->runner.context));
    if (tenon_context_enqueue(w->runner.context, w->stream) != TENON_OK)
        return cli_fail(&w->s, "%s", tenon_context_message(w->runner.context));
    return tenon_stream_synchronize(w->s.cx, w->stream) == TENON_OK ? CLI_OK : cli_failed(&w->s);
}

static int keep(worker *w, double seconds)
{
    if (w->count == w->room) {
        const size_t room = w->room ? 2 * w->room : 1024;
        double *grown = realloc(w->latency, room * sizeof *grown);
        if (!grown) return cli_fail(&w->s, "out of memory");
        w->latency = grown;
        w->room = room;
    }
    w->latency[w->count++] = seconds;
    return CLI_OK;
}

static bool more(const worker *w)
{
    if (cli_interrupted()) return false;
    if (w->limits->runs >= 0) return w->count < (size_t)w->limits->runs;
    return w->count < LEAST_RUNS || w->end - w->begin < w->limits->seconds;
}

static void draw(worker *w)
{
    if (!w->draws) return;
    if (w->limits->runs >= 0) cli_bar_draw(&w->s, "runs", w->count, (size_t)w->limits->runs);
    else cli_bar_draw(&w->s, "ms", (size_t)(1e3 * (w->end - w->begin)), (size_t)(1e3 * w->limits->seconds));
}

static void *work(void *arg)
{
    worker *w = arg;
    for (int64_t i = 0; w->code == CLI_OK && i < w->limits->warmup && !cli_interrupted(); i++) w->code = run_once(w);
    w->begin = w->end = cli_now();
    while (w->code == CLI_OK && more(w)) {
        const double start = cli_now();
        w->code = run_once(w);
        w->end = cli_now();
        if (w->code == CLI_OK) w->code = keep(w, w->end - start);
        draw(w);
    }
    cli_bar_clear(&w->s);
    return NULL;
}

static int open_workers(bench *b)
{
    b->worker = calloc(b->streams, sizeof *b->worker);
    if (!b->worker) return cli_fail(b->s, "out of memory");
    for (size_t i = 0; i < b->streams; i++) {
        worker *w = &b->worker[i];
        w->limits = &b->limits;
        w->s.command = b->s->command;
        int code = cli_session_open(&w->s);
        w->draws = i == 0 && w->s.bar;
        if (code == CLI_OK) code = cli_runner_open(&w->s, b->engine, b->profile, b->input, b->input_count, &w->runner);
        if (code == CLI_OK && b->streams > 1 && tenon_stream_create(w->s.cx, b->engine, &w->stream) != TENON_OK)
            code = cli_failed(&w->s);
        if (code != CLI_OK) return code;
    }
    return CLI_OK;
}

static void close_workers(bench *b)
{
    for (size_t i = 0; b->worker && i < b->streams; i++) {
        worker *w = &b->worker[i];
        tenon_stream_destroy(&w->stream);
        if (w->s.cx) cli_runner_close(&w->s, &w->runner);
        cli_session_close(&w->s);
        free(w->latency);
    }
    free(b->worker);
}

static int run_workers(bench *b)
{
    pthread_t thread[MAX_STREAMS];
    size_t started = 1;
    int code = CLI_OK;
    while (started < b->streams && code == CLI_OK) {
        if (pthread_create(&thread[started], NULL, work, &b->worker[started]))
            code = cli_fail(b->s, "thread %zu cannot be started", started);
        else started++;
    }
    if (code == CLI_OK) work(&b->worker[0]);
    for (size_t i = 1; i < started; i++) pthread_join(thread[i], NULL);
    for (size_t i = 0; i < b->streams; i++)
        if (b->worker[i].code != CLI_OK) code = b->worker[i].code;
    return code;
}

/* ---- results ---- */
static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int gather(bench *b)
{
    double begin = INFINITY, end = 0;
    size_t count = 0;
    for (size_t i = 0; i < b->streams; i++) {
        count += b->worker[i].count;
        begin = fmin(begin, b->worker[i].begin);
        end = fmax(end, b->worker[i].end);
    }
    if (count == 0) return cli_fail(b->s, "no run was measured");
    b->all = malloc(count * sizeof *b->all);
    if (!b->all) return cli_fail(b->s, "out of memory");
    for (size_t i = 0; i < b->streams; i++) {
        if (b->worker[i].count) memcpy(b->all + b->all_count, b->worker[i].latency, b->worker[i].count * sizeof *b->all);
        b->all_count += b->worker[i].count;
    }
    qsort(b->all, count, sizeof *b->all, compare);
    b->wall = end - begin;
    return CLI_OK;
}

/* Nearest rank: the least time that at least this share of the runs did not exceed. */
static double quantile(const bench *b, double share)
{
    const size_t rank = (size_t)ceil(share * (double)b->all_count);
    return b->all[rank ? rank - 1 : 0];
}

static double mean(const bench *b)
{
    double sum = 0;
    for (size_t i = 0; i < b->all_count; i++) sum += b->all[i];
    return sum / (double)b->all_count;
}

/* ---- steps ---- */
static void on_step(void *user, size_t step, const char *layer, double seconds)
{
    json_t *s = json_array_get(user, step);
    const json_t *best = json_object_get(s, "seconds");
    (void)layer;
    if (s && (!best || seconds < json_real_value(best))) json_object_set_new(s, "seconds", json_real(seconds));
}

static int profile_steps(bench *b)
{
    char *text = NULL;
    json_error_t error;
    tenon_context *context = b->worker[0].runner.context;
    if (tenon_engine_inspect(b->s->cx, b->engine, &text) != TENON_OK) return cli_failed(b->s);
    json_t *e = json_loads(text, 0, &error);
    tenon_text_free(b->s->cx, &text);
    b->steps = json_incref(json_object_get(json_array_get(json_object_get(e, "profiles"), (size_t)b->profile), "steps"));
    json_decref(e);
    if (!b->steps) return cli_fail(b->s, "the engine's description holds no steps of profile %d", b->profile);
    for (int i = 0; i < PROFILED_RUNS; i++)
        if (tenon_context_profile(context, on_step, b->steps) != TENON_OK)
            return cli_fail(b->s, "%s", tenon_context_message(context));
    return CLI_OK;
}

static double step_seconds(const json_t *step) { return json_real_value(json_object_get(step, "seconds")); }

static int slower_first(const void *a, const void *b)
{
    const double x = step_seconds(*(json_t *const *)a), y = step_seconds(*(json_t *const *)b);
    return (x < y) - (x > y);
}

static int print_steps(bench *b)
{
    const size_t count = json_array_size(b->steps);
    json_t **order = malloc((count + 1) * sizeof(json_t *));
    cli_table t = {.align = "rrll", .columns = 4};
    double sum = 0;
    if (!order) return cli_fail(b->s, "out of memory");
    for (size_t i = 0; i < count; i++) {
        order[i] = json_array_get(b->steps, i);
        sum += step_seconds(order[i]);
    }
    qsort(order, count, sizeof(json_t *), slower_first);
    cli_table_row(&t, 4, (const char *const[]){"us", "share", "tactic", "name"});
    for (size_t i = 0; i < count; i++) {
        cli_table_cell(&t, "%.2f", 1e6 * step_seconds(order[i]));
        cli_table_cell(&t, "%.1f%%", sum > 0 ? 100 * step_seconds(order[i]) / sum : 0);
        cli_table_cell(&t, "%s", json_string_value(json_object_get(order[i], "tactic")));
        cli_table_cell(&t, "%s", json_string_value(json_object_get(order[i], "name")));
    }
    free(order);
    printf("\nsteps: the least of %d runs each, %s together; timing them one by one adds a little to each\n", PROFILED_RUNS,
           cli_time(sum).text);
    return cli_table_print(b->s, &t, "  ");
}

/* ---- reports ---- */
static int64_t leading(const bench *b) { return b->input_count && b->input[0].rank ? b->input[0].dim[0] : 1; }

static json_t *steps_json(const bench *b)
{
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(b->steps); i++) {
        json_t *s = json_array_get(b->steps, i);
        json_array_append_new(list, json_pack("{s:O,s:O,s:O,s:f}", "name", json_object_get(s, "name"), "tactic",
                                              json_object_get(s, "tactic"), "problem", json_object_get(s, "problem"),
                                              "microseconds", 1e6 * step_seconds(s)));
    }
    return list;
}

static int print_json(bench *b)
{
    json_t *shapes = json_object();
    for (size_t i = 0; i < b->input_count; i++) {
        json_t *dims = json_array();
        for (int k = 0; k < b->input[i].rank; k++) json_array_append_new(dims, json_integer(b->input[i].dim[k]));
        json_object_set_new(shapes, b->input[i].name, dims);
    }
    const double rate = (double)b->all_count / b->wall;
    json_t *j = json_pack("{s:s,s:i,s:o,s:I,s:I,s:f,s:{s:f,s:f,s:f,s:f,s:f},s:f,s:f}", "file", b->args->position[0], "profile",
                          b->profile, "shapes", shapes, "streams", (json_int_t)b->streams, "runs", (json_int_t)b->all_count,
                          "seconds", b->wall, "latency_ms", "min", 1e3 * b->all[0], "median", 1e3 * quantile(b, 0.5), "mean",
                          1e3 * mean(b), "p99", 1e3 * quantile(b, 0.99), "max", 1e3 * b->all[b->all_count - 1], "runs_per_second",
                          rate, "items_per_second", rate * (double)leading(b));
    int code = CLI_OK;
    if (j && b->steps) json_object_set_new(j, "steps", steps_json(b));
    if (!j || json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9)))
        code = cli_fail(b->s, "the report cannot be written");
    else putchar('\n');
    json_decref(j);
    return code;
}

static int print_text(bench *b)
{
    const double rate = (double)b->all_count / b->wall;
    printf("%s, profile %d:", b->args->position[0], b->profile);
    for (size_t i = 0; i < b->input_count; i++)
        printf(" %s=%s", b->input[i].name, cli_dims(b->input[i].rank, b->input[i].dim).text);
    printf("\n  %zu runs in %s on %zu stream%s\n", b->all_count, cli_time(b->wall).text, b->streams, b->streams > 1 ? "s" : "");
    printf("  latency     min %s, median %s, mean %s, p99 %s, max %s\n", cli_time(b->all[0]).text,
           cli_time(quantile(b, 0.5)).text, cli_time(mean(b)).text, cli_time(quantile(b, 0.99)).text,
           cli_time(b->all[b->all_count - 1]).text);
    printf("  throughput  %.1f runs a second", rate);
    if (leading(b) > 1) printf(", times %" PRId64 " (the first dimension): %.1f", leading(b), rate * (double)leading(b));
    putchar('\n');
    return b->steps ? print_steps(b) : CLI_OK;
}

/* ---- the command ---- */
/* A model is built for the one shape that is measured. */
static int build_model(bench *b)
{
    cli_range range[MAX_INPUTS];
    size_t count = 0;
    tenon_network *network = NULL;
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < b->args->given_count; i++) {
        bool is_one;
        if (count == MAX_INPUTS) return cli_wrong(b->s, "more than %d times --shape", MAX_INPUTS);
        code = take_shape(b, i, &is_one, &range[count]);
        count += is_one;
    }
    if (code == CLI_OK) code = cli_model_read(b->s, b->args->position[0], &network);
    if (code == CLI_OK) code = cli_model_build(b->s, b->args, network, range, count, true, &b->engine);
    tenon_network_destroy(&network);
    return code;
}

static int open_target(bench *b)
{
    const char *path = b->args->position[0];
    bool is_engine;
    const int code = cli_is_engine(b->s, path, &is_engine);
    if (code != CLI_OK) return code;
    if (is_engine) return cli_engine_load(b->s, b->args, path, &b->engine);
    if (cli_find(b->args, "--use-profile")) return cli_wrong(b->s, "--use-profile is for engines; '%s' is a model", path);
    return build_model(b);
}

static int take_limits(bench *b)
{
    const cli_given *seconds = cli_find(b->args, "--seconds");
    const int64_t streams = cli_number(b->args, "--streams", 1);
    b->limits = (limits){cli_number(b->args, "--runs", -1), cli_number(b->args, "--warmup", 10),
                         seconds ? seconds->seconds : DEFAULT_SECONDS};
    if (b->limits.runs >= 0 && seconds) return cli_wrong(b->s, "--runs and --seconds exclude each other");
    if (b->limits.runs == 0) return cli_wrong(b->s, "--runs 0 measures nothing");
    if (streams < 1 || streams > MAX_STREAMS) return cli_wrong(b->s, "--streams %" PRId64 ": 1 to %d", streams, MAX_STREAMS);
    b->streams = (size_t)streams;
    return CLI_OK;
}

static int run(cli_session *s, const cli_args *args)
{
    bench b = {.s = s, .args = args};
    int code = take_limits(&b);
    cli_catch_interrupt();
    if (code == CLI_OK) code = open_target(&b);
    if (code == CLI_OK) code = take_inputs(&b);
    if (code == CLI_OK) code = open_workers(&b);
    if (code == CLI_OK) code = run_workers(&b);
    if (code == CLI_OK) code = gather(&b);
    if (code == CLI_OK && cli_flag(args, "--profile")) code = profile_steps(&b);
    if (code == CLI_OK) code = cli_flag(args, "--json") ? print_json(&b) : print_text(&b);
    json_decref(b.steps);
    close_workers(&b);
    for (size_t i = 0; i < b.input_count; i++) free(b.input[i].data);
    free(b.all);
    tenon_engine_destroy(&b.engine);
    return code;
}

static const cli_option options[] = {
    {"--shape", CLI_TEXT, true, "NAME=SHAPE", "shape of an input: x=8x3x224x224; else what the engine was tuned for"},
    {"--runs", CLI_COUNT, false, "N", "measure so many runs on each stream"},
    {"--seconds", CLI_SECONDS, false, "S", "measure for so long, and at least 10 runs; 3 if neither is given"},
    {"--warmup", CLI_COUNT, false, "N", "runs before the measured ones; 10 if not given"},
    {"--streams", CLI_COUNT, false, "N", "run on so many streams at the same time, each with a context of its own"},
    {"--use-profile", CLI_COUNT, false, "N", "profile of the engine, from 0; else the first that holds the shapes"},
    CLI_OPTION_THREADS,
    CLI_OPTION_DEVICE,
    {"--profile", CLI_FLAG, false, NULL, "time each step too: a table, slowest first"},
    {"--json", CLI_FLAG, false, NULL, "print the report as JSON"},
    {NULL, CLI_END, false, NULL, NULL},
};

const cli_command cli_command_bench = {
    .name = "bench",
    .what = "measure latency and throughput",
    .positions = "ENGINE|MODEL.onnx",
    .min_positions = 1,
    .max_positions = 1,
    .options = options,
    .details =
        "Inputs are made up: floats from -1 to 1, integers 0 or 1. A model is built in memory first, tuned for the shapes\n"
        "given.\n",
    .examples = "tenon bench model.engine\n"
                "tenon bench model.engine --shape x=8x3x224x224 --seconds 10\n"
                "tenon bench model.engine --streams 4 --runs 100 --json\n"
                "tenon bench model.onnx --profile\n",
    .run = run,
};
