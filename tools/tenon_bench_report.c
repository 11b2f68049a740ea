/* SPDX-License-Identifier: Apache-2.0 */
/* One measurement as text and as JSON. The JSON is what --against reads, so it says of what, on what and by which version. */
#include "bench.h"

#include <inttypes.h>

/* "f32 4x3x224x224" by name of the inputs, types by name of the outputs. */
static json_t *model_json(bench *b)
{
    json_t *inputs = json_object(), *outputs = json_object();
    for (size_t i = 0; i < b->input_count; i++) {
        const tenon_host_tensor *t = &b->input[i];
        json_object_set_new(inputs, t->name, json_sprintf("%s %s", tenon_dtype_name(t->dtype), cli_dims(t->rank, t->dim).text));
    }
    for (size_t i = 0; i < tenon_engine_binding_count(b->engine); i++) {
        tenon_binding_info info;
        if (tenon_engine_binding(b->s->cx, b->engine, i, &info) != TENON_OK) {
            json_decref(inputs);
            json_decref(outputs);
            (void)cli_failed(b->s);
            return NULL;
        }
        if (info.io == TENON_OUTPUT)
            json_object_set_new(outputs, info.name, json_string(tenon_dtype_name(info.dtype)));
    }
    return json_pack("{s:o,s:o}", "inputs", inputs, "outputs", outputs);
}

json_t *bench_json(bench *b, const bench_result *r)
{
    json_t *shapes = json_object(), *rounds = json_array(), *model = model_json(b);
    if (!model) {
        json_decref(shapes);
        json_decref(rounds);
        return NULL;
    }
    for (size_t i = 0; i < b->input_count; i++) {
        json_t *dims = json_array();
        for (int k = 0; k < b->input[i].rank; k++) json_array_append_new(dims, json_integer(b->input[i].dim[k]));
        json_object_set_new(shapes, b->input[i].name, dims);
    }
    for (size_t i = 0; i < r->round_count; i++) json_array_append_new(rounds, json_real(1e3 * r->round[i]));
    const double rate = bench_rate(r);
    json_t *j =
        json_pack("{s:s,s:s,s:s,s:o,s:i,s:o,s:I,s:I,s:f,s:{s:f,s:f,s:f,s:f,s:f,s:o},s:f,s:f}", "file", b->path, "tenon",
                  tenon_version(), "device", tenon_engine_device(b->engine), "model", model, "profile", b->profile, "shapes",
                  shapes, "streams", (json_int_t)r->streams, "runs", (json_int_t)r->runs, "seconds", r->wall, "latency_ms", "min",
                  1e3 * r->least, "median", 1e3 * r->median, "mean", 1e3 * r->mean, "p99", 1e3 * r->p99, "max", 1e3 * r->most,
                  "rounds", rounds, "runs_per_second", rate, "items_per_second", rate * (double)bench_leading(b));
    if (!j) (void)cli_fail(b->s, "the report cannot be made");
    return j;
}

int bench_print_json(bench *b, json_t *take_json)
{
    int code = take_json ? CLI_OK : CLI_FAILED;
    if (take_json && json_dumpf(take_json, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9)))
        code = cli_fail(b->s, "the report cannot be written");
    if (code == CLI_OK) putchar('\n');
    json_decref(take_json);
    return code;
}

void bench_print_text(const bench *b, const bench_result *r)
{
    const double rate = bench_rate(r);
    printf("%s, profile %d:", b->path, b->profile);
    for (size_t i = 0; i < b->input_count; i++)
        printf(" %s=%s", b->input[i].name, cli_dims(b->input[i].rank, b->input[i].dim).text);
    printf("\n  %zu runs in %s on %zu stream%s\n", r->runs, cli_time(r->wall).text, r->streams, r->streams > 1 ? "s" : "");
    printf("  latency     min %s, median %s, mean %s, p99 %s, max %s\n", cli_time(r->least).text, cli_time(r->median).text,
           cli_time(r->mean).text, cli_time(r->p99).text, cli_time(r->most).text);
    printf("  throughput  %.1f runs a second", rate);
    if (bench_leading(b) > 1)
        printf(", times %" PRId64 " (the first dimension): %.1f", bench_leading(b), rate * (double)bench_leading(b));
    putchar('\n');
}
