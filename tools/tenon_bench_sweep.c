/* SPDX-License-Identifier: Apache-2.0 */
/* The points of a sweep: `batch=1..64` (doubling) or a list, `streams=1,2,4`. A model is built once, with a profile that covers
   all batches; an engine must have profiles that do. */
#include "sweep.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the values ---- */
static int wrong_values(sweep *w, const char *word, const char *what)
{
    return cli_wrong(w->b->s, "--sweep '%s': %s; such as batch=1..64 (doubling), batch=1,3,8 or streams=1,2,4", word, what);
}

static bool add_value(int64_t value, int64_t *list, size_t room, size_t *count)
{
    for (size_t i = 0; i < *count; i++)
        if (list[i] == value) return true;
    if (*count == room) return false;
    list[(*count)++] = value;
    return true;
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool read_number(const char **at, int64_t *out)
{
    char *end;
    if (**at < '0' || **at > '9') return false;
    errno = 0;
    *out = strtoll(*at, &end, 10);
    *at = end;
    return errno == 0 && *out > 0 && *out <= 1000000;
}

/* A number, or A..B: A, 2A, 4A, ... and B; several joined by commas. */
static int parse_values(sweep *w, const char *word, int64_t *list, size_t room, size_t *count)
{
    const char *at = strchr(word, '=') + 1;
    if (*count) return wrong_values(w, word, "it is given twice");
    for (;;) {
        int64_t from, to;
        if (!read_number(&at, &from)) return wrong_values(w, word, "numbers from 1 are wanted");
        to = from;
        if (at[0] == '.' && at[1] == '.') {
            at += 2;
            if (!read_number(&at, &to) || to < from) return wrong_values(w, word, "a range is FROM..TO");
        }
        bool fits = true;
        for (int64_t v = from; v < to; v *= 2) fits = fits && add_value(v, list, room, count);
        if (!fits || !add_value(to, list, room, count)) return wrong_values(w, word, "too many values");
        if (*at == 0) break;
        if (*at++ != ',') return wrong_values(w, word, "numbers from 1 are wanted");
    }
    qsort(list, *count, sizeof *list, by_value);
    return CLI_OK;
}

static int take_word(sweep *w, const char *word)
{
    if (strncmp(word, "batch=", 6) == 0) {
        w->sweeps_batch = true;
        return parse_values(w, word, w->batch, SWEEP_BATCHES, &w->batch_count);
    }
    if (strncmp(word, "streams=", 8) == 0) {
        const int code = parse_values(w, word, w->stream, SWEEP_STREAMS, &w->stream_count);
        if (code == CLI_OK && w->stream[w->stream_count - 1] > BENCH_STREAMS) return wrong_values(w, word, "at most 256 streams");
        return code;
    }
    return wrong_values(w, word, "batch= or streams= is wanted");
}

/* The option's words, split at blanks, and the positions that are such words. */
static int take_words(sweep *w)
{
    const cli_args *args = w->b->args;
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < args->given_count; i++) {
        if (strcmp(args->given[i].option->name, "--sweep") != 0) continue;
        char *copy = strdup(args->given[i].text), *state = NULL;
        if (!copy) return cli_fail(w->b->s, "out of memory");
        for (char *word = strtok_r(copy, " ", &state); code == CLI_OK && word; word = strtok_r(NULL, " ", &state))
            code = take_word(w, word);
        free(copy);
    }
    for (int i = 0; code == CLI_OK && i < args->position_count; i++)
        if (args->position[i] != w->b->path) code = take_word(w, args->position[i]);
    if (code == CLI_OK && w->stream_count == 0) w->stream[w->stream_count++] = 1;
    return code;
}

/* ---- the batch in the shapes ---- */
/* The symbol that is the first dimension of the first input that has one, wherever it stands. */
static int find_batch(sweep *w, const tenon_binding_info *list, size_t count, const char *what)
{
    const char *symbol = NULL;
    for (size_t i = 0; i < count && !symbol; i++)
        if (list[i].io == TENON_INPUT && list[i].rank && list[i].dim[0] < 0) symbol = list[i].dim_name[0];
    size_t input = 0;
    for (size_t i = 0; i < count && input < BENCH_INPUTS; i++) {
        if (list[i].io != TENON_INPUT) continue;
        for (int k = 0; symbol && k < list[i].rank; k++)
            w->is_batch[input][k] = list[i].dim[k] < 0 && list[i].dim_name[k] && strcmp(list[i].dim_name[k], symbol) == 0;
        input++;
    }
    if (symbol || !w->sweeps_batch) return CLI_OK;
    for (size_t i = 0; i < count; i++)
        if (list[i].io == TENON_INPUT)
            return cli_fail(
                w->b->s, "--sweep batch: the first dimension of input '%s' (%s) is fixed in this %s; %s, or sweep streams alone",
                list[i].name, cli_shape(&list[i]).text, what,
                strcmp(what, "model") == 0 ? "export the model with a dynamic one (torch.onnx.export(..., dynamic_axes=...))"
                                           : "build one with a range (`tenon help shapes`)");
    return cli_fail(w->b->s, "--sweep batch: there are no inputs");
}

static int bindings_of(bench *b, const tenon_network *network, tenon_binding_info *list, size_t room, size_t *count)
{
    *count = network ? tenon_network_binding_count(network) : tenon_engine_binding_count(b->engine);
    if (*count > room) return cli_fail(b->s, "%zu inputs and outputs; at most %zu are possible here", *count, room);
    for (size_t i = 0; i < *count; i++) {
        const tenon_status status = network ? tenon_network_binding(b->s->cx, network, i, &list[i])
                                            : tenon_engine_binding(b->s->cx, b->engine, i, &list[i]);
        if (status != TENON_OK) return cli_failed(b->s);
    }
    return CLI_OK;
}

/* ---- the build ---- */
/* What --shape says of an input, with the batches put in; for its other dynamic dimensions 1. */
static int input_range(sweep *w, const tenon_binding_info *info, const bool *is_batch, const cli_range *given, int64_t lo,
                       int64_t opt, int64_t hi, cli_range *out)
{
    *out = given ? *given : (cli_range){.rank = info->rank};
    if (given && given->rank != info->rank)
        return cli_fail(w->b->s, "--shape: input '%s' has the shape %s, %d dimensions are given", info->name,
                        cli_shape(info).text, given->rank);
    if (strlen(info->name) >= sizeof out->input) return cli_fail(w->b->s, "input '%s': its name is too long", info->name);
    snprintf(out->input, sizeof out->input, "%s", info->name);
    for (int k = 0; k < info->rank; k++) {
        if (!given) out->min[k] = out->opt[k] = out->max[k] = info->dim[k] < 0 ? 1 : info->dim[k];
        if (!is_batch[k] || !w->sweeps_batch) continue;
        out->min[k] = lo;
        out->opt[k] = opt;
        out->max[k] = hi;
    }
    return CLI_OK;
}

static int build_ranges(sweep *w, const tenon_binding_info *list, size_t count, bool each, cli_range *out, size_t *profiles,
                        size_t *inputs)
{
    cli_range given[BENCH_INPUTS];
    size_t given_count, n = 0;
    int code = bench_take_shapes(w->b, true, given, &given_count);
    *profiles = each ? w->batch_count : 1;
    for (size_t p = 0; code == CLI_OK && p < *profiles; p++) {
        const int64_t *b = w->batch, lo = each ? b[p] : b[0], hi = each ? b[p] : b[w->batch_count - 1];
        const int64_t opt = each ? b[p] : b[w->batch_count / 2];
        size_t input = 0;
        for (size_t i = 0; code == CLI_OK && i < count && input < BENCH_INPUTS; i++) {
            const cli_range *g = NULL;
            if (list[i].io != TENON_INPUT) continue;
            for (size_t k = 0; k < given_count; k++)
                if (strcmp(given[k].input, list[i].name) == 0) g = &given[k];
            code = input_range(w, &list[i], w->is_batch[input++], g, lo, opt, hi, &out[n++]);
        }
        *inputs = input;
    }
    w->tuned_for = each || !w->sweeps_batch ? 0 : w->batch[w->batch_count / 2];
    return code;
}

static int build(sweep *w)
{
    bench *b = w->b;
    tenon_binding_info list[2 * BENCH_INPUTS];
    tenon_network *network = NULL;
    size_t count, profiles = 0, inputs = 0;
    const bool each = cli_flag(b->args, "--tune-each") && w->sweeps_batch;
    cli_range *range = calloc(SWEEP_BATCHES * BENCH_INPUTS, sizeof *range);
    int code = range ? cli_model_read(b->s, b->path, &network) : cli_fail(b->s, "out of memory");
    if (code == CLI_OK) code = bindings_of(b, network, list, CLI_COUNTOF(list), &count);
    if (code == CLI_OK) code = find_batch(w, list, count, "model");
    if (code == CLI_OK) code = build_ranges(w, list, count, each, range, &profiles, &inputs);
    const cli_build how = {.range = range, .range_count = inputs, .profiles = profiles, .timed = true};
    if (code == CLI_OK) code = cli_model_build_as(b->s, b->args, network, &how, &b->engine);
    w->built = true;
    tenon_network_destroy(&network);
    free(range);
    return code;
}

static int open_engine(sweep *w)
{
    tenon_binding_info list[2 * BENCH_INPUTS];
    size_t count;
    int code = cli_engine_load(w->b->s, w->b->args, w->b->path, &w->b->engine);
    if (code == CLI_OK) code = bindings_of(w->b, NULL, list, CLI_COUNTOF(list), &count);
    return code == CLI_OK ? find_batch(w, list, count, "engine") : code;
}

/* ---- a batch ---- */
/* How far the profile's tuning point is from the shapes, as a factor; 0: it does not hold them. */
static double profile_distance(sweep *w, int profile)
{
    bench *b = w->b;
    double far = 1;
    for (size_t i = 0; i < b->input_count; i++) {
        int64_t min[TENON_MAX_RANK], opt[TENON_MAX_RANK], max[TENON_MAX_RANK];
        const tenon_host_tensor *t = &b->input[i];
        if (tenon_engine_profile_shape(b->s->cx, b->engine, profile, t->name, min, opt, max) != TENON_OK) return 0;
        for (int k = 0; k < t->rank; k++) {
            if (t->dim[k] < min[k] || t->dim[k] > max[k]) return 0;
            const double ratio = opt[k] ? (double)t->dim[k] / (double)opt[k] : 1;
            far = ratio > far ? ratio : ratio > 0 && 1 / ratio > far ? 1 / ratio : far;
        }
    }
    return far;
}

int sweep_set_batch(sweep *w, int64_t batch)
{
    bench *b = w->b;
    const int wanted = (int)cli_number(b->args, "--use-profile", -1), count = tenon_engine_profile_count(b->engine);
    for (size_t i = 0; i < b->input_count; i++) {
        int64_t dim[TENON_MAX_RANK];
        for (int k = 0; k < b->input[i].rank; k++)
            dim[k] = w->sweeps_batch && w->is_batch[i][k] ? batch : b->input[i].dim[k];
        const int code = bench_set_input(b, i, dim);
        if (code != CLI_OK) return code;
    }
    double best = 0;
    for (int p = wanted < 0 ? 0 : wanted; p < (wanted < 0 ? count : wanted + 1); p++) {
        const double far = profile_distance(w, p);
        if (far == 0 || (best > 0 && far >= best)) continue;
        best = far;
        b->profile = p;
    }
    if (best > 0) return CLI_OK;
    return cli_fail(
        b->s,
        "--sweep batch: no profile of the engine holds %s=%s; `tenon inspect` shows their ranges, `tenon build --shape` "
        "makes others, and for a model the sweep builds what it needs",
        b->input_count ? b->input[0].name : "", b->input_count ? cli_dims(b->input[0].rank, b->input[0].dim).text : "");
}

sweep_point *sweep_find(sweep *w, int64_t batch, size_t streams)
{
    for (size_t i = 0; i < w->point_count; i++)
        if (w->point[i].batch == batch && w->point[i].streams == streams) return &w->point[i];
    return NULL;
}

double sweep_items(const sweep_point *p) { return p->rate * (double)p->batch; }

/* ---- the points ---- */
typedef struct bounds { sweep *w; double arithmetic, memory; } bounds;

static int take_bounds(bench *b, cli_runner *runner, void *user)
{
    bounds *sum = user;
    size_t count;
    tenon_step_work *work;
    const int code = bench_work_of_steps(b, runner, &count, &work);
    for (size_t i = 0; code == CLI_OK && i < count; i++) {
        double arithmetic, memory;
        sweep_bounds(sum->w, &work[i], &arithmetic, &memory);
        sum->arithmetic += arithmetic;
        sum->memory += memory;
    }
    free(work);
    return code;
}

static int measure_point(sweep *w, int64_t batch, size_t streams)
{
    bounds sum = {.w = w};
    bench_result r;
    sweep_point *p = sweep_find(w, batch, streams);
    const int code = bench_measure_then(w->b, streams, &r, w->has_peak ? take_bounds : NULL, &sum);
    if (code != CLI_OK) return code;
    if (!p) {
        p = &w->point[w->point_count++];
        *p = (sweep_point){.batch = batch, .streams = streams, .least = r.least, .latency = r.quickest};
    }
    p->runs += r.runs;
    p->least = fmin(p->least, r.least);
    p->latency = fmin(p->latency, r.quickest);
    p->p99 = fmax(p->p99, r.p99);
    p->rate = fmax(p->rate, r.rate);
    p->arithmetic = w->has_peak ? sum.arithmetic * p->rate : -1;
    p->memory = w->has_peak ? sum.memory * p->rate : -1;
    return CLI_OK;
}

static int measure_pass(sweep *w)
{
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < w->batch_count; i++) {
        code = sweep_set_batch(w, w->batch[i]);
        for (size_t k = 0; code == CLI_OK && k < w->stream_count; k++) {
            if (cli_interrupted()) return cli_fail(w->b->s, "interrupted");
            code = measure_point(w, w->batch[i], (size_t)w->stream[k]);
        }
    }
    return code;
}

static int measure_all(sweep *w)
{
    w->has_peak = tenon_engine_peak(w->b->s->cx, w->b->engine, &w->peak) == TENON_OK;
    if (!w->has_peak) snprintf(w->no_peak, sizeof w->no_peak, "%s", tenon_cx_message(w->b->s->cx));
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < w->batch_count; i++)
        code = sweep_set_batch(w, w->batch[i]); /* all before the first */
    w->b->limits.seconds /= SWEEP_PASSES;
    for (int pass = 0; code == CLI_OK && pass < SWEEP_PASSES; pass++) code = measure_pass(w);
    return code;
}

int bench_sweep(bench *b)
{
    sweep *w = calloc(1, sizeof *w);
    if (!w) return cli_fail(b->s, "out of memory");
    const cli_given *limit = cli_find(b->args, "--max-latency");
    bool is_engine = false;
    w->b = b;
    w->max_latency = limit ? limit->seconds : 0;
    int code = take_words(w);
    if (code == CLI_OK) code = cli_is_engine(b->s, b->path, &is_engine);
    if (code == CLI_OK && !is_engine && cli_find(b->args, "--use-profile"))
        code = cli_wrong(b->s, "--use-profile is for engines; '%s' is a model", b->path);
    if (code == CLI_OK && is_engine && cli_flag(b->args, "--tune-each"))
        code = cli_wrong(b->s, "--tune-each is for models; '%s' is built already", b->path);
    if (code == CLI_OK) code = is_engine ? open_engine(w) : build(w);
    if (code == CLI_OK) code = bench_take_inputs(b);
    if (code == CLI_OK && !w->sweeps_batch) w->batch[w->batch_count++] = bench_leading(b) > 0 ? bench_leading(b) : 1;
    if (code == CLI_OK) code = measure_all(w);
    if (code == CLI_OK) {
        sweep_mark_knees(w);
        sweep_choose_best(w);
        code = sweep_explain(w);
    }
    if (code == CLI_OK) code = cli_flag(b->args, "--json") ? sweep_print_json(w) : sweep_print(w);
    free(w);
    return code;
}
