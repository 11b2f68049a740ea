/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon bench`: latency and throughput of an engine, or of a model built in memory, on made-up inputs; alone, against an earlier
   report, at many settings, or beside other programs. */
#include "bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SECONDS 3.0
#define SWEEP_SECONDS 0.5

static int take_limits(bench *b)
{
    const cli_given *seconds = cli_find(b->args, "--seconds");
    const bool sweep = cli_flag(b->args, "--sweep");
    const int64_t streams = cli_number(b->args, "--streams", 1);
    const double otherwise = sweep ? SWEEP_SECONDS : DEFAULT_SECONDS;
    b->limits = (bench_limits){.runs = cli_number(b->args, "--runs", -1), .seconds = seconds ? seconds->seconds : otherwise,
                               .warmup = cli_number(b->args, "--warmup", sweep ? 3 : 10), .least = sweep ? 5 : 10};
    if (b->limits.runs >= 0 && seconds) return cli_wrong(b->s, "--runs and --seconds exclude each other");
    if (b->limits.runs == 0) return cli_wrong(b->s, "--runs 0 measures nothing");
    if (streams < 1 || streams > BENCH_STREAMS) return cli_wrong(b->s, "--streams %" PRId64 ": 1 to %d", streams, BENCH_STREAMS);
    b->streams = (size_t)streams;
    return CLI_OK;
}

static bool is_sweep_word(const char *word) { return strncmp(word, "batch=", 6) == 0 || strncmp(word, "streams=", 8) == 0; }

/* The target is the position that is no word of a sweep. */
static int take_path(bench *b)
{
    const bool sweep = cli_flag(b->args, "--sweep");
    for (int i = 0; i < b->args->position_count; i++) {
        const char *word = b->args->position[i];
        if (sweep && is_sweep_word(word)) continue;
        if (b->path) return cli_wrong(b->s, "'%s' is one word too many", word);
        b->path = word;
    }
    return b->path ? CLI_OK : cli_wrong(b->s, "ENGINE|MODEL.onnx is missing");
}

/* Options that make no sense together, and those that want another. */
static int check_options(bench *b)
{
    static const struct { const char *option, *wants; } wants[] = {
        {"--fail-if", "--against"}, {"--max-latency", "--sweep"}, {"--tune-each", "--sweep"},
        {"--torch", "--table"},     {"--python", "--table"},
    };
    static const char *const excludes[][2] = {
        {"--sweep", "--streams"}, {"--sweep", "--profile"}, {"--sweep", "--against"},
        {"--sweep", "--table"},   {"--table", "--against"}, {"--table", "--streams"},
        {"--table", "--profile"}, {"--table", "--runs"},    {"--table", "--use-profile"},
    };
    const cli_given *limit = cli_find(b->args, "--fail-if");
    for (size_t i = 0; i < CLI_COUNTOF(wants); i++)
        if (cli_find(b->args, wants[i].option) && !cli_find(b->args, wants[i].wants))
            return cli_wrong(b->s, "%s wants %s", wants[i].option, wants[i].wants);
    for (size_t i = 0; i < CLI_COUNTOF(excludes); i++)
        if (cli_find(b->args, excludes[i][0]) && cli_find(b->args, excludes[i][1]))
            return cli_wrong(b->s, "%s and %s exclude each other", excludes[i][0], excludes[i][1]);
    if (limit && limit->real <= 0) return cli_wrong(b->s, "--fail-if %s: a ratio above 0 is wanted, such as 1.05", limit->text);
    return CLI_OK;
}

/* ---- one measurement ---- */
typedef struct profile { json_t *steps; double *seconds; } profile;

static int take_profile(bench *b, cli_runner *runner, void *user)
{
    profile *p = user;
    const int code = bench_steps(b, &p->steps);
    if (code != CLI_OK) return code;
    p->seconds = calloc(json_array_size(p->steps) + 1, sizeof *p->seconds);
    if (!p->seconds) return cli_fail(b->s, "out of memory");
    return bench_profile(b, runner, json_array_size(p->steps), p->seconds);
}

static int report(bench *b, const bench_result *r, const profile *p, json_t *note)
{
    if (!cli_flag(b->args, "--json")) {
        bench_print_text(b, r);
        if (note) bench_print_against(note);
        return p->steps ? bench_print_steps(b, p->steps, p->seconds) : CLI_OK;
    }
    json_t *j = bench_json(b, r);
    if (j && p->steps) json_object_set_new(j, "steps", bench_steps_json(p->steps, p->seconds));
    if (j && note) json_object_set(j, "against", note);
    return bench_print_json(b, j);
}

static int measure(bench *b)
{
    bench_result r;
    profile p = {0};
    json_t *note = NULL;
    int code = bench_open_target(b);
    if (code == CLI_OK) code = bench_take_inputs(b);
    if (code == CLI_OK) code = bench_measure_then(b, b->streams, &r, cli_flag(b->args, "--profile") ? take_profile : NULL, &p);
    if (code == CLI_OK && cli_find(b->args, "--against")) code = bench_against(b, &r, &note);
    if (code == CLI_OK || code == CLI_SLOWER) {
        const int printed = report(b, &r, &p, note);
        if (printed != CLI_OK) code = printed;
    }
    json_decref(note);
    json_decref(p.steps);
    free(p.seconds);
    return code;
}

static int run(cli_session *s, const cli_args *args)
{
    bench b = {.s = s, .args = args};
    int code = take_path(&b);
    if (code == CLI_OK) code = take_limits(&b);
    if (code == CLI_OK) code = check_options(&b);
    cli_catch_interrupt();
    if (code == CLI_OK)
        code = cli_flag(args, "--sweep") ? bench_sweep(&b) : cli_flag(args, "--table") ? bench_table(&b) : measure(&b);
    bench_free(&b);
    return code;
}

static const cli_option options[] = {
    {"--shape", CLI_TEXT, true, "NAME=SHAPE", "shape of an input: x=8x3x224x224; else what the engine was tuned for"},
    {"--runs", CLI_COUNT, false, "N", "measure so many runs on each stream"},
    {"--seconds", CLI_SECONDS, false, "S",
     "measure for so long, and at least 10 runs; 3 if neither is given, 0.5 for\neach setting of a sweep"},
    {"--warmup", CLI_COUNT, false, "N", "runs before the measured ones; 10 if not given"},
    {"--streams", CLI_COUNT, false, "N", "run on so many streams at the same time, each with a context of its own"},
    {"--use-profile", CLI_COUNT, false, "N", "profile of the engine, from 0; else the first that holds the shapes"},
    CLI_OPTION_THREADS,
    CLI_OPTION_DEVICE,
    {"--level", CLI_COUNT, false, "0..5", "of a model: effort of its build; 0 times nothing, 3 is the default"},
    {"--no-tf32", CLI_FLAG, false, NULL, "of a model, on GPUs: products of f32 keep all of their 24 bits"},
    {"--profile", CLI_FLAG, false, NULL, "time each step too: a table, slowest first"},
    {"--against", CLI_TEXT, false, "FILE.json", "compare with an earlier report (--json) of this model, device and setting"},
    {"--fail-if", CLI_REAL, false, "RATIO", "exit code 3 when it takes more than so many times as long: 1.05"},
    {"--sweep", CLI_TEXT, true, "WORDS",
     "measure many settings: batch=1..64 streams=1,2,4; finds the knee, says why\nit is there and which setting is best"},
    {"--max-latency", CLI_TIME, false, "TIME", "of a sweep: the best setting is one with 99% of its runs within 5ms"},
    {"--tune-each", CLI_FLAG, false, NULL, "of a sweep: build the model with a profile for each batch, not one for all"},
    {"--table", CLI_FLAG, false, NULL,
     "beside PyTorch and onnxruntime, where they are: latency, throughput, ratio and\nerror, for each precision"},
    {"--torch", CLI_TEXT, false, "FILE|MODULE:FUNCTION",
     "of a table: the same model for PyTorch: TorchScript (.pt), a torch.export\nprogram (.pt2), or a function that gives the "
     "module"},
    {"--python", CLI_TEXT, false, "FILE", "of a table: the Python that has them; else that of VIRTUAL_ENV, else python3"},
    {"--json", CLI_FLAG, false, NULL, "print the report as JSON"},
    {NULL, CLI_END, false, NULL, NULL},
};

const cli_command cli_command_bench = {
    .name = "bench",
    .what = "measure latency and throughput",
    .positions = "ENGINE|MODEL.onnx",
    .min_positions = 1,
    .max_positions = 3,
    .options = options,
    .details =
        "Inputs are made up: floats from -1 to 1, integers 0 or 1. A model is built in memory first, tuned for the shapes\n"
        "given.\n"
        "\n"
        "--against compares the least times and the medians, since whatever else a machine does only adds time, and takes the\n"
        "smaller ratio; what looks too slow is measured again, up to three times. A report from another device, of other shapes\n"
        "or streams is refused (exit code 1).\n"
        "\n"
        "--sweep marks the knee, the smallest batch with 90% of the best throughput, and tells what makes time grow there:\n"
        "arithmetic, memory or launches, and in which layers. `tenon help batches` explains.\n",
    .examples = "tenon bench model.engine\n"
                "tenon bench model.engine --shape x=8x3x224x224 --seconds 1\n"
                "tenon bench model.engine --streams 4 --runs 100 --json > last.json\n"
                "tenon bench model.engine --streams 4 --runs 100 --against last.json --fail-if 3\n"
                "tenon bench model.onnx --profile\n"
                "tenon bench model.onnx --sweep batch=1..4 streams=1,2 --max-latency 500ms\n"
                "tenon bench model.onnx --table --seconds 0.2\n",
    .next =
        "Where the time goes: tenon bench model.engine --profile. Whether batches or streams help: --sweep. To guard against a\n"
        "change that makes it slower: keep a report (--json), and compare with it (--against, --fail-if).\n",
    .run = run,
};
