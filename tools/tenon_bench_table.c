/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon bench --table`: one model by every program that is here. PyTorch and onnxruntime run in a Python of the user's
   (python/tenon/table.py, which is inside this program as text); Tenon runs here, once for each precision that a build may
   choose. All take turns, in rounds, so that what disturbs the machine disturbs all; a row's latency is the median of its best
   round. Errors are against the slow reference: the largest difference as a share of the largest value of that output. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern const char tenon_tool_text_table[];

enum { ROWS = 8, ROUNDS = 4, LEAST_RUNS = 3, OURS = 2, OUTPUTS = 64, LINE = 1 << 20 };

typedef struct row {
    char name[128];
    int peer;                    /* its number there; -1: ours */
    bench of;                    /* ours: engine, inputs */
    double latency, error;
} row;

typedef struct table {
    bench *b;
    row row[ROWS], ours[OURS];   /* ours move behind the others */
    size_t count, our_count;
    char absent[ROWS][800];
    size_t absent_count;
    tenon_host_tensor reference[OUTPUTS];
    size_t reference_count;
    char folder[256];
    size_t files;                /* input files there */
    pid_t child;
    FILE *to, *from;
    bool gpu;
    int index;
} table;

/* ---- ours ---- */
static const char *precision_of(tenon_arithmetic a)
{
    static const char *const name[TENON_ARITHMETICS] = {"FP32", "TF32", "FP16", "INT8"};
    return name[a];
}

/* The kind that most operations have; whether any is rounded to TF32. */
typedef struct kinds { double flops[TENON_ARITHMETICS]; } kinds;

static double largest(const tenon_host_tensor *t, const tenon_host_tensor *other, bool difference)
{
    size_t count = 1;
    double most = 0, x, y = 0;
    for (int i = 0; i < t->rank; i++) count *= (size_t)t->dim[i];
    for (size_t i = 0; i < count; i++) {
        if (!cli_element(t->dtype, t->data, i, &x) || (difference && !cli_element(other->dtype, other->data, i, &y))) return NAN;
        const double v = fabs(difference ? x - y : x);
        if (isnan(v)) return NAN;
        if (v > most) most = v;
    }
    return most;
}

/* NAN where shapes differ or a value is no number. */
static double error_of(const tenon_host_tensor *got, const tenon_host_tensor *want)
{
    size_t a = 1, b = 1;
    for (int i = 0; i < got->rank; i++) a *= (size_t)got->dim[i];
    for (int i = 0; i < want->rank; i++) b *= (size_t)want->dim[i];
    if (a != b) return NAN;
    const double scale = largest(want, NULL, false), most = largest(got, want, true);
    return scale > 0 ? most / scale : most;
}

/* No number stays none. */
static void note_error(row *r, double error) { r->error = isnan(error) || isnan(r->error) ? NAN : fmax(r->error, error); }

typedef struct take { table *t; row *r; kinds k; } take;

static int take_outputs(bench *b, cli_runner *runner, take *u)
{
    size_t index = 0;
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < runner->count; i++) {
        tenon_binding_info info;
        tenon_host_tensor got = {0};
        const void *data = runner->device[i];
        size_t bytes = runner->bytes[i];
        if (tenon_engine_binding(b->s->cx, b->engine, i, &info) != TENON_OK) return cli_failed(b->s);
        if (info.io != TENON_OUTPUT) continue;
        got.dtype = info.dtype;
        if (tenon_context_shape(runner->context, info.name, &got.rank, got.dim) != TENON_OK ||
            (!data && tenon_context_output(runner->context, info.name, &data, &bytes) != TENON_OK))
            return cli_fail(b->s, "%s", tenon_context_message(runner->context));
        got.data = malloc(bytes ? bytes : 1);
        if (!got.data) return cli_fail(b->s, "out of memory");
        if (!runner->device[i]) memcpy(got.data, data, bytes);
        else if (tenon_device_download(b->s->cx, b->engine, got.data, data, bytes) != TENON_OK) code = cli_failed(b->s);
        if (code == CLI_OK && index < u->t->reference_count) note_error(u->r, error_of(&got, &u->t->reference[index]));
        free(got.data);
        index++;
    }
    return code;
}

static int take_first(bench *b, cli_runner *runner, void *user)
{
    take *u = user;
    size_t count;
    tenon_step_work *work;
    const int code = bench_work_of_steps(b, runner, &count, &work);
    for (size_t i = 0; code == CLI_OK && i < count; i++) u->k.flops[work[i].arithmetic] += work[i].flops;
    free(work);
    return code == CLI_OK ? take_outputs(b, runner, u) : code;
}

/* A build of ours as a row; *tf32 says whether it has steps that another build would do exactly. */
static int add_ours(table *t, tenon_network *network, const cli_range *range, size_t count, bool exact, bool *tf32)
{
    row *r = &t->ours[t->our_count];
    const cli_build how = {.range = range, .range_count = count, .profiles = 1, .timed = true, .exact = exact};
    take u = {.t = t, .r = r};
    bench_result unused;
    *r = (row){.peer = -1, .latency = INFINITY, .of = {.s = t->b->s, .args = t->b->args, .path = t->b->path, .streams = 1}};
    r->of.limits = (bench_limits){.runs = 1, .warmup = 1};
    t->our_count++;
    int code = cli_model_build_as(t->b->s, t->b->args, network, &how, &r->of.engine);
    if (code == CLI_OK) code = bench_take_inputs(&r->of);
    if (code == CLI_OK) code = bench_measure_then(&r->of, 1, &unused, take_first, &u);
    tenon_arithmetic most = TENON_ARITHMETIC_F32;
    for (int k = 0; k < TENON_ARITHMETICS; k++)
        if (u.k.flops[k] > u.k.flops[most]) most = (tenon_arithmetic)k;
    *tf32 = u.k.flops[TENON_ARITHMETIC_TF32] > 0;
    snprintf(r->name, sizeof r->name, "Tenon %s, %s", tenon_version(), precision_of(most));
    return code;
}

/* The device that a build took, for the others to take it too. */
static int take_device(table *t)
{
    const char *device = cli_text(t->b->args, "--device"), *colon = device ? strchr(device, ':') : NULL;
    tenon_engine_info info;
    if (tenon_engine_describe(t->b->s->cx, t->ours[0].of.engine, &info) != TENON_OK) return cli_failed(t->b->s);
    t->gpu = strcmp(info.backend, "cuda") == 0;
    t->index = t->gpu && colon ? (int)strtol(colon + 1, NULL, 10) : 0;
    return CLI_OK;
}

static int add_all_ours(table *t)
{
    bench *b = t->b;
    cli_range range[BENCH_INPUTS];
    size_t count;
    tenon_network *network = NULL;
    bool tf32 = false;
    int code = bench_take_shapes(b, false, range, &count);
    if (code == CLI_OK) code = cli_model_read(b->s, b->path, &network);
    if (code == CLI_OK) code = add_ours(t, network, range, count, cli_flag(b->args, "--no-tf32"), &tf32);
    if (code == CLI_OK && tf32) code = add_ours(t, network, range, count, true, &tf32);
    if (code == CLI_OK) code = take_device(t);
    tenon_network_destroy(&network);
    return code;
}

/* ---- the reference ---- */
static int run_reference(table *t)
{
    bench *b = t->b;
    cli_range range[BENCH_INPUTS];
    size_t count, outputs = 0;
    tenon_network *network = NULL;
    int code = bench_take_shapes(b, false, range, &count);
    if (code == CLI_OK) code = cli_model_read(b->s, b->path, &network);
    for (size_t i = 0; code == CLI_OK && i < tenon_network_binding_count(network); i++) {
        tenon_binding_info info;
        if (tenon_network_binding(b->s->cx, network, i, &info) != TENON_OK) code = cli_failed(b->s);
        else if (info.io == TENON_OUTPUT) outputs++;
        else if (b->input_count == BENCH_INPUTS) code = cli_fail(b->s, "more than %d inputs", BENCH_INPUTS);
        else {
            tenon_host_tensor *x = &b->input[b->input_count++];
            *x = (tenon_host_tensor){.name = strdup(info.name), .dtype = info.dtype, .rank = info.rank};
            for (int k = 0; k < info.rank; k++) x->dim[k] = info.dim[k] < 0 ? 1 : info.dim[k];
            for (size_t k = 0; k < count; k++)
                if (strcmp(range[k].input, info.name) == 0 && range[k].rank == info.rank)
                    memcpy(x->dim, range[k].opt, sizeof x->dim);
            code = x->name ? bench_set_input(b, b->input_count - 1, NULL) : cli_fail(b->s, "out of memory");
        }
    }
    if (code == CLI_OK && outputs > OUTPUTS) code = cli_fail(b->s, "more than %d outputs", OUTPUTS);
    cli_bar_draw(b->s, "reference", 0, 0);
    if (code == CLI_OK &&
        tenon_network_run_reference(b->s->cx, network, b->input, b->input_count, t->reference, outputs) != TENON_OK)
        code = cli_failed(b->s);
    cli_bar_clear(b->s);
    if (code == CLI_OK) t->reference_count = outputs;
    tenon_network_destroy(&network);
    return code;
}

/* ---- the others ---- */
static void note_absent(table *t, const char *name, const char *why)
{
    if (t->absent_count < ROWS) snprintf(t->absent[t->absent_count++], sizeof t->absent[0], "%s: %s", name, why);
}

static int make_folder(table *t)
{
    const char *base = getenv("TMPDIR");
    snprintf(t->folder, sizeof t->folder, "%s/tenon-table-XXXXXX", base && *base ? base : "/tmp");
    if (mkdtemp(t->folder)) return CLI_OK;
    const int code = cli_fail(t->b->s, "cannot make a folder '%s': %s", t->folder, strerror(errno));
    *t->folder = 0;
    return code;
}

static int write_job(table *t, char *path, size_t bytes)
{
    bench *b = t->b;
    const char *torch = cli_text(b->args, "--torch");
    json_t *inputs = json_array();
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < b->input_count; i++) {
        char file[320];
        snprintf(file, sizeof file, "%s/in.%zu.npy", t->folder, i);
        code = cli_npy_write(b->s, file, &b->input[i]);
        t->files = i + 1;
        json_array_append_new(inputs, json_pack("{s:s,s:s}", "name", b->input[i].name, "file", file));
    }
    json_t *j = json_pack("{s:s,s:s,s:s,s:i,s:I,s:o,s:s?}", "model", b->path, "folder", t->folder, "device",
                          t->gpu ? "cuda" : "cpu", "index", t->index, "threads", (json_int_t)cli_number(b->args, "--threads", 0),
                          "inputs", inputs, "torch", torch);
    snprintf(path, bytes, "%s/job.json", t->folder);
    if (code == CLI_OK && (!j || json_dump_file(j, path, JSON_INDENT(1)))) code = cli_fail(b->s, "cannot write '%s'", path);
    json_decref(j);
    return code;
}

static const char *find_python(table *t, char *room, size_t bytes)
{
    const char *given = cli_text(t->b->args, "--python"), *venv = getenv("VIRTUAL_ENV");
    if (given) return given;
    if (venv && *venv) {
        snprintf(room, bytes, "%s/bin/python", venv);
        if (access(room, X_OK) == 0) return room;
    }
    return "python3";
}

/* Descriptors of the pipes close by themselves in the child, but for those that become its input and output. */
static int start_python(table *t, const char *python, const char *job)
{
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC)) return cli_fail(t->b->s, "no pipe: %s", strerror(errno));
    if (pipe2(from, O_CLOEXEC)) {
        close(to[0]);
        close(to[1]);
        return cli_fail(t->b->s, "no pipe: %s", strerror(errno));
    }
    t->child = fork();
    if (t->child == 0) {
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        const int quiet = open("/dev/null", O_WRONLY);
        if (quiet >= 0) dup2(quiet, STDERR_FILENO); /* what goes wrong there is in its answers */
        execlp(python, python, "-c", tenon_tool_text_table, job, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    t->to = fdopen(to[1], "w");
    t->from = fdopen(from[0], "r");
    if (t->child > 0 && t->to && t->from) return CLI_OK;
    return cli_fail(t->b->s, "cannot start %s: %s", python, strerror(errno));
}

static json_t *answer(table *t)
{
    json_error_t error;
    char *line = NULL;
    size_t room = 0;
    json_t *j = NULL;
    if (getline(&line, &room, t->from) > 0) j = json_loads(line, 0, &error);
    free(line);
    return j;
}

/* Its threads would spin beside what is measured next. */
static void halt(const table *t, bool stop) { if (t->child > 0) kill(t->child, stop ? SIGSTOP : SIGCONT); }

static int add_peer(table *t, int number, const json_t *j)
{
    if (t->count == ROWS) return CLI_OK;
    row *r = &t->row[t->count++];
    const json_t *files = json_object_get(j, "outputs");
    *r = (row){.peer = number, .latency = INFINITY};
    snprintf(r->name, sizeof r->name, "%s", json_string_value(json_object_get(j, "row")));
    if (json_array_size(files) != t->reference_count) r->error = NAN;
    for (size_t i = 0; i < json_array_size(files); i++) {
        cli_npy array = {0};
        const char *file = json_string_value(json_array_get(files, i));
        if (!file) {
            r->error = NAN;
            continue;
        }
        if (i < t->reference_count && cli_npy_read(t->b->s, file, &array) == CLI_OK) {
            tenon_host_tensor got = {.dtype = array.dtype, .rank = array.rank, .data = array.data};
            memcpy(got.dim, array.dim, sizeof got.dim);
            note_error(r, error_of(&got, &t->reference[i]));
        }
        cli_npy_free(&array);
        unlink(file);
    }
    return CLI_OK;
}

static int add_peers(table *t)
{
    char job[320], room[512];
    const char *python = find_python(t, room, sizeof room);
    int code = make_folder(t), number = 0;
    if (code == CLI_OK) code = write_job(t, job, sizeof job);
    if (code == CLI_OK) code = start_python(t, python, job);
    if (code != CLI_OK) return code;
    cli_bar_draw(t->b->s, "others", 0, 0);
    for (;;) {
        json_t *j = answer(t);
        const char *name = json_string_value(json_object_get(j, "row")), *why = json_string_value(json_object_get(j, "absent"));
        const bool ready = json_is_true(json_object_get(j, "ready"));
        if (!j) {
            char text[600];
            snprintf(text, sizeof text, "'%s' gave no answer: is it a Python with numpy? (--python)", python);
            for (int i = number; i-- > 0;) t->count--; /* what it had is lost with it */
            note_absent(t, "PyTorch, onnxruntime", text);
            kill(t->child, SIGKILL);
            waitpid(t->child, NULL, 0);
            t->child = 0;
        }
        if (name && why) note_absent(t, name, why);
        else if (name) code = add_peer(t, number++, j);
        json_decref(j);
        if (ready || t->child == 0 || code != CLI_OK) break;
    }
    cli_bar_clear(t->b->s);
    halt(t, true);
    return code;
}

static void close_all(table *t)
{
    halt(t, false);
    if (t->to) fclose(t->to);
    if (t->from) fclose(t->from);
    if (t->child > 0) waitpid(t->child, NULL, 0);
    for (size_t i = 0; *t->folder && i < t->files; i++) {
        char file[320];
        snprintf(file, sizeof file, "%s/in.%zu.npy", t->folder, i);
        unlink(file);
    }
    if (*t->folder) {
        char file[320];
        snprintf(file, sizeof file, "%s/job.json", t->folder);
        unlink(file);
        rmdir(t->folder);
    }
    for (size_t i = 0; i < t->our_count; i++) bench_free(&t->ours[i].of);
    tenon_reference_free(t->b->s->cx, t->reference, t->reference_count);
    for (size_t i = 0; i < t->b->input_count; i++) free((char *)(uintptr_t)t->b->input[i].name);
}

/* ---- rounds ---- */
static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int peer_turn(table *t, row *r, double seconds)
{
    halt(t, false);
    fprintf(t->to, "%d %g %d\n", r->peer, seconds, LEAST_RUNS);
    fflush(t->to);
    json_t *j = answer(t);
    halt(t, true);
    const size_t count = json_array_size(j);
    double *times = calloc(count + 1, sizeof *times);
    for (size_t i = 0; times && i < count; i++) times[i] = json_real_value(json_array_get(j, i));
    json_decref(j);
    if (!times || !count) {
        free(times);
        return cli_fail(t->b->s, "%s gave no times", r->name);
    }
    qsort(times, count, sizeof *times, by_value);
    r->latency = fmin(r->latency, times[count / 2]);
    free(times);
    return CLI_OK;
}

static int our_turn(row *r, double seconds)
{
    bench_result result;
    r->of.limits = (bench_limits){.runs = -1, .warmup = 1, .least = LEAST_RUNS, .seconds = seconds};
    const int code = bench_measure(&r->of, 1, &result);
    if (code == CLI_OK) r->latency = fmin(r->latency, result.median);
    return code;
}

static int run_rounds(table *t)
{
    const double seconds = t->b->limits.seconds / ROUNDS;
    int code = CLI_OK;
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; code == CLI_OK && i < t->count; i++) {
            row *r = &t->row[(i + round) % t->count];
            if (cli_interrupted()) return cli_fail(t->b->s, "interrupted");
            code = r->peer < 0 ? our_turn(r, seconds) : peer_turn(t, r, seconds);
        }
    return code;
}

/* ---- the report ---- */
static int print_text(table *t)
{
    const double items = (double)bench_leading(t->b);
    printf("%s on %s:", t->b->path, tenon_engine_device(t->ours[0].of.engine));
    for (size_t i = 0; i < t->b->input_count; i++)
        printf(" %s=%s", t->b->input[i].name, cli_dims(t->b->input[i].rank, t->b->input[i].dim).text);
    puts("\n\n| Precision | Latency | Throughput | Ratio | Error |\n|-----------|---------|------------|-------|-------|");
    for (size_t k = 0; k < t->count; k++) {
        const row *r = &t->row[k];
        char error[32] = "-";
        if (!isnan(r->error)) snprintf(error, sizeof error, "%.1e", r->error);
        printf("| %s | %s | %.1f/s | %.2fx | %s |\n", r->name, cli_time(r->latency).text, items / r->latency,
               t->row[0].latency / r->latency, error);
    }
    puts("");
    for (size_t i = 0; i < t->absent_count; i++) printf("Not here: %s\n", t->absent[i]);
    return CLI_OK;
}

static int print_json(table *t)
{
    json_t *rows = json_array(), *absent = json_array();
    const double items = (double)bench_leading(t->b);
    for (size_t i = 0; i < t->count; i++) {
        const row *r = &t->row[i];
        json_array_append_new(rows, json_pack("{s:s,s:f,s:f,s:f,s:o}", "name", r->name, "latency_ms", 1e3 * r->latency,
                                              "items_per_second", items / r->latency, "ratio", t->row[0].latency / r->latency,
                                              "error", isnan(r->error) ? json_null() : json_real(r->error)));
    }
    for (size_t i = 0; i < t->absent_count; i++) json_array_append_new(absent, json_string(t->absent[i]));
    return bench_print_json(t->b, json_pack("{s:s,s:s,s:s,s:o,s:o}", "file", t->b->path, "tenon", tenon_version(), "device",
                                            tenon_engine_device(t->ours[0].of.engine), "table", rows, "absent", absent));
}

int bench_table(bench *b)
{
    bool is_engine;
    int code = cli_is_engine(b->s, b->path, &is_engine);
    if (code != CLI_OK) return code;
    if (is_engine) return cli_wrong(b->s, "--table is for models, which the other programs read too; '%s' is an engine", b->path);
    table *t = calloc(1, sizeof *t);
    if (!t) return cli_fail(b->s, "out of memory");
    signal(SIGPIPE, SIG_IGN); /* a program that ended is told by its missing answer */
    t->b = b;
    code = run_reference(t);
    if (code == CLI_OK) code = add_all_ours(t);
    if (code == CLI_OK) code = add_peers(t);
    for (size_t i = 0; code == CLI_OK && i < t->our_count && t->count < ROWS; i++) t->row[t->count++] = t->ours[i];
    if (code == CLI_OK) code = run_rounds(t);
    if (code == CLI_OK) code = cli_flag(b->args, "--json") ? print_json(t) : print_text(t);
    close_all(t);
    free(t);
    return code;
}
