/* SPDX-License-Identifier: Apache-2.0 */
/* What `tenon bench` works on: an engine, or a model built in memory, and made-up inputs for it. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

/* The --shape at this place of the command line; false in `*is_one` for another option. */
static int take_shape(bench *b, size_t index, bool ranges, bool *is_one, cli_range *out)
{
    const cli_given *g = &b->args->given[index];
    *is_one = strcmp(g->option->name, "--shape") == 0;
    const int code = *is_one ? cli_range_parse(b->s, "--shape", g->text, out) : CLI_OK;
    if (code != CLI_OK || !*is_one || out->single || ranges) return code;
    return cli_wrong(b->s, "--shape '%s': one shape is wanted, not a range; build an engine to have a range", g->text);
}

int bench_take_shapes(bench *b, bool ranges, cli_range *out, size_t *count)
{
    *count = 0;
    for (size_t i = 0; i < b->args->given_count; i++) {
        cli_range r;
        bool is_one;
        const int code = take_shape(b, i, ranges, &is_one, &r);
        if (code != CLI_OK) return code;
        if (!is_one) continue;
        if (*count == BENCH_INPUTS) return cli_wrong(b->s, "more than %d times --shape", BENCH_INPUTS);
        for (size_t k = 0; k < *count; k++)
            if (strcmp(out[k].input, r.input) == 0) return cli_wrong(b->s, "--shape names '%s' twice", r.input);
        out[(*count)++] = r;
    }
    return CLI_OK;
}

/* ---- the target ---- */
int bench_open_target(bench *b)
{
    cli_range range[BENCH_INPUTS];
    size_t count;
    bool is_engine;
    tenon_network *network = NULL;
    int code = cli_is_engine(b->s, b->path, &is_engine);
    if (code != CLI_OK) return code;
    if (is_engine) return cli_engine_load(b->s, b->args, b->path, &b->engine);
    if (cli_find(b->args, "--use-profile")) return cli_wrong(b->s, "--use-profile is for engines; '%s' is a model", b->path);
    code = bench_take_shapes(b, false, range, &count);
    if (code == CLI_OK) code = cli_model_read(b->s, b->path, &network);
    if (code == CLI_OK) code = cli_model_build(b->s, b->args, network, range, count, true, &b->engine);
    tenon_network_destroy(&network);
    return code;
}

/* ---- inputs ---- */
int bench_set_input(bench *b, size_t index, const int64_t *dim)
{
    tenon_host_tensor *t = &b->input[index];
    size_t bytes;
    if (dim) memcpy(t->dim, dim, (size_t)t->rank * sizeof *dim);
    if (!cli_tensor_bytes(t->dtype, t->rank, t->dim, &bytes))
        return cli_fail(b->s, "input '%s': %s %s cannot be made up", t->name, tenon_dtype_name(t->dtype),
                        cli_dims(t->rank, t->dim).text);
    free(t->data);
    t->data = malloc(bytes ? bytes : 1);
    if (!t->data) return cli_fail(b->s, "input '%s': no memory for %zu bytes", t->name, bytes);
    cli_tensor_make_up(t, bytes);
    return CLI_OK;
}

static const cli_range *find_range(const cli_range *range, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(range[i].input, name) == 0) return &range[i];
    return NULL;
}

/* The shape given (its optimum), else the optimum of the profile. */
static int take_input(bench *b, const tenon_binding_info *info, int profile, const cli_range *given)
{
    int64_t min[TENON_MAX_RANK], max[TENON_MAX_RANK];
    if (b->input_count == BENCH_INPUTS) return cli_fail(b->s, "more than %d inputs", BENCH_INPUTS);
    tenon_host_tensor *t = &b->input[b->input_count++];
    *t = (tenon_host_tensor){.name = info->name, .dtype = info->dtype, .rank = info->rank};
    if (given && given->rank != info->rank)
        return cli_fail(b->s, "--shape: input '%s' has the shape %s, %d dimensions are given", info->name, cli_shape(info).text,
                        given->rank);
    if (given) memcpy(t->dim, given->opt, sizeof t->dim);
    else if (tenon_engine_profile_shape(b->s->cx, b->engine, profile, info->name, min, t->dim, max) != TENON_OK)
        return cli_failed(b->s);
    return bench_set_input(b, b->input_count - 1, NULL);
}

static int check_names(bench *b, const cli_range *range, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char known[1024] = "";
        size_t used = 0;
        if (cli_tensor_find(b->input, b->input_count, range[i].input)) continue;
        for (size_t k = 0; k < b->input_count && used < sizeof known; k++)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s'%s'", k ? ", " : "", b->input[k].name);
        return cli_fail(b->s, "--shape: there is no input '%s', but %s", range[i].input, known);
    }
    return CLI_OK;
}

int bench_take_inputs(bench *b)
{
    const int wanted = (int)cli_number(b->args, "--use-profile", -1), profiles = tenon_engine_profile_count(b->engine);
    cli_range range[BENCH_INPUTS];
    size_t count;
    if (wanted >= profiles) return cli_fail(b->s, "--use-profile %d: the engine has %d, counted from 0", wanted, profiles);
    int code = bench_take_shapes(b, cli_flag(b->args, "--sweep"), range, &count);
    for (size_t i = 0; code == CLI_OK && i < tenon_engine_binding_count(b->engine); i++) {
        tenon_binding_info info;
        if (tenon_engine_binding(b->s->cx, b->engine, i, &info) != TENON_OK) return cli_failed(b->s);
        if (info.io == TENON_INPUT) code = take_input(b, &info, wanted < 0 ? 0 : wanted, find_range(range, count, info.name));
    }
    if (code == CLI_OK) code = check_names(b, range, count);
    if (code == CLI_OK) code = cli_profile_choose(b->s, b->engine, b->input, b->input_count, wanted, &b->profile);
    return code;
}

int64_t bench_leading(const bench *b) { return b->input_count && b->input[0].rank ? b->input[0].dim[0] : 1; }

void bench_free(bench *b)
{
    for (size_t i = 0; i < b->input_count; i++) free(b->input[i].data);
    b->input_count = 0;
    tenon_engine_destroy(&b->engine);
}
