/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon run`: one run on arrays from files. Names are checked before anything is built or run, so that a misspelt output costs
   no build; every output is described on standard output, and those asked for are written. */
#include "npy.h"
#include "target.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TENSORS = 64 };

typedef struct pairs { char *name[MAX_TENSORS]; const char *path[MAX_TENSORS]; size_t count; } pairs;

typedef struct job {
    cli_session *s;
    const cli_args *args;
    pairs in, out;
    cli_npy array[MAX_TENSORS];
    tenon_host_tensor input[MAX_TENSORS], output[MAX_TENSORS];
    size_t output_count;
    tenon_network *network;    /* of a model */
    tenon_engine *engine;
    tenon_binding_info binding[2 * MAX_TENSORS];
    size_t binding_count;
} job;

/* ---- what is asked for ---- */
static int take_pairs(job *j, const char *option, pairs *out)
{
    for (size_t i = 0; i < j->args->given_count; i++) {
        const cli_given *g = &j->args->given[i];
        if (strcmp(g->option->name, option) != 0) continue;
        const char *equals = strchr(g->text, '=');
        if (!equals || equals == g->text || !equals[1])
            return cli_wrong(j->s, "%s '%s': NAME=FILE.npy is wanted", option, g->text);
        if (out->count == MAX_TENSORS) return cli_wrong(j->s, "more than %d times %s", MAX_TENSORS, option);
        char *name = strndup(g->text, (size_t)(equals - g->text));
        if (!name) return cli_fail(j->s, "out of memory");
        for (size_t k = 0; k < out->count; k++) {
            if (strcmp(out->name[k], name) != 0) continue;
            free(name);
            return cli_wrong(j->s, "%s names '%s' twice", option, out->name[k]);
        }
        out->name[out->count] = name;
        out->path[out->count++] = equals + 1;
    }
    return CLI_OK;
}

static int load_arrays(job *j)
{
    for (size_t i = 0; i < j->in.count; i++) {
        const int code = cli_npy_read(j->s, j->in.path[i], &j->array[i]);
        if (code != CLI_OK) return code;
    }
    return CLI_OK;
}

/* ---- names, types and ranks ---- */
static int take_bindings(job *j)
{
    j->binding_count = j->network ? tenon_network_binding_count(j->network) : tenon_engine_binding_count(j->engine);
    if (j->binding_count > CLI_COUNTOF(j->binding))
        return cli_fail(j->s, "%zu inputs and outputs; at most %zu are possible here", j->binding_count, CLI_COUNTOF(j->binding));
    for (size_t i = 0; i < j->binding_count; i++) {
        const tenon_status status = j->network ? tenon_network_binding(j->s->cx, j->network, i, &j->binding[i])
                                               : tenon_engine_binding(j->s->cx, j->engine, i, &j->binding[i]);
        if (status != TENON_OK) return cli_failed(j->s);
    }
    return CLI_OK;
}

static const tenon_binding_info *find_binding(const job *j, const char *name, tenon_io io)
{
    for (size_t i = 0; i < j->binding_count; i++)
        if (j->binding[i].io == io && strcmp(j->binding[i].name, name) == 0) return &j->binding[i];
    return NULL;
}

static int no_such_name(job *j, const char *option, const char *name, tenon_io io)
{
    char known[1024] = "";
    size_t used = 0;
    for (size_t i = 0; i < j->binding_count && used < sizeof known; i++)
        if (j->binding[i].io == io)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s'%s'", used ? ", " : "", j->binding[i].name);
    return cli_fail(j->s, "%s %s: there is no %s of that name, but %s", option, name, io == TENON_INPUT ? "input" : "output",
                    known);
}

static int check_input(job *j, size_t i)
{
    const cli_npy *a = &j->array[i];
    const tenon_binding_info *b = find_binding(j, j->in.name[i], TENON_INPUT);
    if (!b) return no_such_name(j, "--input", j->in.name[i], TENON_INPUT);
    if (!cli_npy_feeds(a, b->dtype)) {
        const char *numpy = cli_npy_type_name(b->dtype);
        return cli_fail(j->s, "input '%s' is %s, %s holds %s; %s%s%s", b->name, tenon_dtype_name(b->dtype), j->in.path[i],
                        a->dtype == TENON_DTYPE_NONE ? "raw elements" : tenon_dtype_name(a->dtype),
                        numpy ? "convert it with x.astype(numpy." : "see `tenon help npy`", numpy ? numpy : "", numpy ? ")" : "");
    }
    bool fits = b->rank == a->rank;
    for (int k = 0; fits && k < b->rank; k++) fits = b->dim[k] < 0 || b->dim[k] == a->dim[k];
    if (!fits)
        return cli_fail(j->s, "input '%s' has the shape %s, %s holds %s", b->name, cli_shape(b).text, j->in.path[i],
                        cli_dims(a->rank, a->dim).text);
    j->input[i] = (tenon_host_tensor){.name = b->name, .dtype = b->dtype, .rank = a->rank, .data = a->data};
    memcpy(j->input[i].dim, a->dim, sizeof a->dim);
    return CLI_OK;
}

static int check_names(job *j)
{
    int code = take_bindings(j);
    for (size_t i = 0; code == CLI_OK && i < j->in.count; i++) code = check_input(j, i);
    for (size_t i = 0; code == CLI_OK && i < j->binding_count; i++)
        if (j->binding[i].io == TENON_INPUT && !cli_tensor_find(j->input, j->in.count, j->binding[i].name))
            code = cli_fail(j->s, "input '%s' is missing: --input %s=FILE.npy (%s, %s)", j->binding[i].name, j->binding[i].name,
                            tenon_dtype_name(j->binding[i].dtype), cli_shape(&j->binding[i]).text);
    for (size_t i = 0; code == CLI_OK && i < j->out.count; i++) {
        const tenon_binding_info *b = find_binding(j, j->out.name[i], TENON_OUTPUT);
        if (!b) return no_such_name(j, "--output", j->out.name[i], TENON_OUTPUT);
        if (!cli_npy_can_hold(b->dtype))
            return cli_fail(j->s, "output '%s': its type %s cannot be written to a .npy file", b->name,
                            tenon_dtype_name(b->dtype));
    }
    return code;
}

/* ---- running ---- */
static size_t output_count(const job *j)
{
    size_t count = 0;
    for (size_t i = 0; i < j->binding_count; i++) count += j->binding[i].io == TENON_OUTPUT;
    return count;
}

static int run_reference(job *j)
{
    const size_t count = output_count(j);
    if (tenon_network_run_reference(j->s->cx, j->network, j->input, j->in.count, j->output, count) != TENON_OK)
        return cli_failed(j->s);
    j->output_count = count;
    return CLI_OK;
}

/* Exactly the shapes of the arrays; no timing, which would cost more than the one run could gain. */
static int build_model(job *j)
{
    cli_range range[MAX_TENSORS];
    for (size_t i = 0; i < j->in.count; i++) {
        const tenon_host_tensor *t = &j->input[i];
        range[i] = (cli_range){.rank = t->rank};
        if (strlen(t->name) >= sizeof range[i].input)
            return cli_fail(j->s, "input '%s': a name of over %d letters", t->name, CLI_TEXT_ROOM - 1);
        strcpy(range[i].input, t->name);
        memcpy(range[i].min, t->dim, sizeof t->dim);
        memcpy(range[i].opt, t->dim, sizeof t->dim);
        memcpy(range[i].max, t->dim, sizeof t->dim);
    }
    cli_catch_interrupt();
    return cli_model_build(j->s, j->args, j->network, range, j->in.count, false, &j->engine);
}

static int take_output(job *j, cli_runner *r, size_t index, tenon_host_tensor *out)
{
    const tenon_binding_info *b = &j->binding[index];
    const void *data = r->device[index];
    size_t bytes = 0;
    *out = (tenon_host_tensor){.name = b->name, .dtype = b->dtype};
    if (tenon_context_shape(r->context, b->name, &out->rank, out->dim) != TENON_OK)
        return cli_fail(j->s, "%s", tenon_context_message(r->context));
    if (tenon_dtype_bits(b->dtype) == 0) return CLI_OK;
    if (!data && tenon_context_output(r->context, b->name, &data, &bytes) != TENON_OK)
        return cli_fail(j->s, "%s", tenon_context_message(r->context));
    if (!cli_tensor_bytes(b->dtype, out->rank, out->dim, &bytes))
        return cli_fail(j->s, "output '%s' has no shape after the run", b->name);
    out->data = malloc(bytes ? bytes : 1);
    if (!out->data) return cli_fail(j->s, "out of memory");
    if (!r->device[index]) memcpy(out->data, data, bytes); /* the context's own memory is the host's */
    else if (tenon_device_download(j->s->cx, j->engine, out->data, data, bytes) != TENON_OK) return cli_failed(j->s);
    return CLI_OK;
}

static int run_engine(job *j)
{
    cli_runner r = {0};
    const int wanted = (int)cli_number(j->args, "--use-profile", -1);
    int profile = 0, code = j->network ? build_model(j) : CLI_OK;
    if (code == CLI_OK)
        code = cli_profile_choose(j->s, j->engine, j->input, j->in.count, wanted, &profile);
    if (code == CLI_OK) code = cli_runner_open(j->s, j->engine, profile, j->input, j->in.count, &r);
    if (code == CLI_OK && tenon_context_run(r.context) != TENON_OK) code = cli_fail(j->s, "%s", tenon_context_message(r.context));
    for (size_t i = 0; code == CLI_OK && i < j->binding_count; i++)
        if (j->binding[i].io == TENON_OUTPUT) code = take_output(j, &r, i, &j->output[j->output_count++]);
    cli_runner_close(j->s, &r);
    return code;
}

/* ---- results ---- */
/* Smallest, mean and largest of the numbers; what is NaN is counted apart, since it would hide in all three. */
static void describe(cli_table *t, const tenon_host_tensor *o)
{
    double lo = INFINITY, hi = -INFINITY, sum = 0, v;
    size_t count = 1, nans = 0;
    for (int i = 0; i < o->rank; i++) count *= (size_t)o->dim[i];
    const bool plain = o->data && count && cli_element(o->dtype, o->data, 0, &v);
    for (size_t i = 0; plain && i < count; i++) {
        (void)cli_element(o->dtype, o->data, i, &v);
        if (isnan(v)) {
            nans++;
            continue;
        }
        lo = fmin(lo, v);
        hi = fmax(hi, v);
        sum += v;
    }
    const bool numbers = plain && nans < count;
    cli_table_cell(t, numbers ? "%.6g" : "-", lo);
    cli_table_cell(t, numbers ? "%.6g" : "-", sum / (double)(count - nans));
    cli_table_cell(t, numbers ? "%.6g" : "-", hi);
    cli_table_cell(t, "%zu", nans);
}

static const char *path_of(const job *j, const char *name)
{
    for (size_t i = 0; i < j->out.count; i++)
        if (strcmp(j->out.name[i], name) == 0) return j->out.path[i];
    return NULL;
}

static int write_outputs(job *j)
{
    for (size_t i = 0; i < j->output_count; i++) {
        const char *path = path_of(j, j->output[i].name);
        const int code = path ? cli_npy_write(j->s, path, &j->output[i]) : CLI_OK;
        if (code != CLI_OK) return code;
    }
    cli_table t = {.align = "llrrrrrl", .columns = 8};
    cli_table_row(&t, 8, (const char *const[]){"output", "type", "shape", "min", "mean", "max", "NaN", "file"});
    for (size_t i = 0; i < j->output_count; i++) {
        const tenon_host_tensor *o = &j->output[i];
        const char *path = path_of(j, o->name);
        cli_table_cell(&t, "%s", o->name);
        cli_table_cell(&t, "%s", tenon_dtype_name(o->dtype));
        cli_table_cell(&t, "%s", cli_dims(o->rank, o->dim).text);
        describe(&t, o);
        cli_table_cell(&t, "%s", path ? path : "(not asked for)");
    }
    return cli_table_print(j->s, &t, "");
}

/* ---- the command ---- */
static void job_free(job *j, bool reference)
{
    if (reference) tenon_reference_free(j->s->cx, j->output, j->output_count);
    else
        for (size_t i = 0; i < j->output_count; i++) free(j->output[i].data);
    for (size_t i = 0; i < j->in.count; i++) {
        cli_npy_free(&j->array[i]);
        free(j->in.name[i]);
    }
    for (size_t i = 0; i < j->out.count; i++) free(j->out.name[i]);
    tenon_engine_destroy(&j->engine);
    tenon_network_destroy(&j->network);
    free(j);
}

static int open_target(job *j, bool reference)
{
    const char *path = j->args->position[0];
    bool is_engine;
    int code = cli_is_engine(j->s, path, &is_engine);
    if (code != CLI_OK) return code;
    if (is_engine && reference) return cli_wrong(j->s, "--reference is for models; '%s' is an engine", path);
    if (!is_engine && cli_find(j->args, "--use-profile"))
        return cli_wrong(j->s, "--use-profile is for engines; '%s' is a model", path);
    return is_engine ? cli_engine_load(j->s, j->args, path, &j->engine) : cli_model_read(j->s, path, &j->network);
}

static int run(cli_session *s, const cli_args *args)
{
    const bool reference = cli_flag(args, "--reference");
    job *j = calloc(1, sizeof *j);
    if (!j) return cli_fail(s, "out of memory");
    j->s = s;
    j->args = args;
    int code = take_pairs(j, "--input", &j->in);
    if (code == CLI_OK) code = take_pairs(j, "--output", &j->out);
    if (code == CLI_OK) code = open_target(j, reference);
    if (code == CLI_OK) code = load_arrays(j);
    if (code == CLI_OK) code = check_names(j);
    if (code == CLI_OK) code = reference ? run_reference(j) : run_engine(j);
    if (code == CLI_OK) code = write_outputs(j);
    job_free(j, reference);
    return code;
}

static const cli_option options[] = {
    {"--input", CLI_TEXT, true, "NAME=FILE.npy", "an input; every one must be given"},
    {"--output", CLI_TEXT, true, "NAME=FILE.npy", "write an output; those not asked for are only described"},
    {"--use-profile", CLI_COUNT, false, "N", "profile of the engine, from 0; else the first that holds the shapes"},
    CLI_OPTION_THREADS,
    CLI_OPTION_DEVICE,
    {"--reference", CLI_FLAG, false, NULL, "run the model by the slow reference that judges the fast ways"},
    {NULL, CLI_END, false, NULL, NULL},
};

const cli_command cli_command_run = {
    .name = "run",
    .what = "run an engine or a model once on .npy files",
    .positions = "ENGINE|MODEL.onnx",
    .min_positions = 1,
    .max_positions = 1,
    .options = options,
    .details = "A model is built in memory first, for the shapes of the inputs and without timing; build an engine where speed\n"
               "matters.\n"
               "What files can be read: `tenon help npy`.\n",
    .examples = "tenon run model.engine --input x=x.npy --output y=y.npy\n"
                "tenon run text.onnx --input ids=ids.npy --input mask=mask.npy --output logits=logits.npy\n"
                "tenon run model.onnx --input x=x.npy --output y=want.npy --reference\n",
    .next = "Compare the two answers: numpy.abs(numpy.load('y.npy') - numpy.load('want.npy')).max(). Measure it: tenon bench\n"
            "model.engine.\n",
    .run = run,
};
