/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of what is measured: their times in a profiled run, and what they have to do. */
#include "bench.h"

#include <stdlib.h>

int bench_steps(bench *b, json_t **out)
{
    char *text = NULL;
    json_error_t error;
    *out = NULL;
    if (tenon_engine_inspect(b->s->cx, b->engine, &text) != TENON_OK) return cli_failed(b->s);
    json_t *e = json_loads(text, 0, &error);
    tenon_text_free(b->s->cx, &text);
    *out = json_incref(json_object_get(json_array_get(json_object_get(e, "profiles"), (size_t)b->profile), "steps"));
    json_decref(e);
    return *out ? CLI_OK : cli_fail(b->s, "the engine's description holds no steps of profile %d", b->profile);
}

typedef struct least { double *seconds; size_t count; } least;

static void on_step(void *user, size_t step, const char *layer, double seconds)
{
    const least *l = user;
    (void)layer;
    if (step < l->count && (l->seconds[step] == 0 || seconds < l->seconds[step])) l->seconds[step] = seconds;
}

int bench_profile(bench *b, cli_runner *runner, size_t count, double *seconds)
{
    least l = {seconds, count};
    for (size_t i = 0; i < count; i++) seconds[i] = 0;
    for (int i = 0; i < BENCH_PROFILED; i++)
        if (tenon_context_profile(runner->context, on_step, &l) != TENON_OK)
            return cli_fail(b->s, "%s", tenon_context_message(runner->context));
    return CLI_OK;
}

int bench_work(bench *b, cli_runner *runner, size_t count, tenon_step_work *out)
{
    if (tenon_context_work(runner->context, count, out) != TENON_OK)
        return cli_fail(b->s, "%s", tenon_context_message(runner->context));
    return CLI_OK;
}

/* ---- the table ---- */
typedef struct timed { const json_t *step; double seconds; } timed;

static int slower_first(const void *a, const void *b)
{
    const double x = ((const timed *)a)->seconds, y = ((const timed *)b)->seconds;
    return (x < y) - (x > y);
}

int bench_print_steps(bench *b, const json_t *steps, const double *seconds)
{
    const size_t count = json_array_size(steps);
    timed *order = malloc((count + 1) * sizeof *order);
    cli_table t = {.align = "rrll", .columns = 4};
    double sum = 0;
    if (!order) return cli_fail(b->s, "out of memory");
    for (size_t i = 0; i < count; i++) {
        order[i] = (timed){json_array_get(steps, i), seconds[i]};
        sum += seconds[i];
    }
    qsort(order, count, sizeof *order, slower_first);
    cli_table_row(&t, 4, (const char *const[]){"us", "share", "tactic", "name"});
    for (size_t i = 0; i < count; i++) {
        cli_table_cell(&t, "%.2f", 1e6 * order[i].seconds);
        cli_table_cell(&t, "%.1f%%", sum > 0 ? 100 * order[i].seconds / sum : 0);
        cli_table_cell(&t, "%s", json_string_value(json_object_get(order[i].step, "tactic")));
        cli_table_cell(&t, "%s", json_string_value(json_object_get(order[i].step, "name")));
    }
    free(order);
    printf("\nsteps: the least of %d runs each, %s together; timing them one by one adds a little to each\n", BENCH_PROFILED,
           cli_time(sum).text);
    return cli_table_print(b->s, &t, "  ");
}

int bench_work_of_steps(bench *b, cli_runner *runner, size_t *count, tenon_step_work **out)
{
    json_t *steps;
    int code = bench_steps(b, &steps);
    *count = json_array_size(steps);
    *out = calloc(*count + 1, sizeof **out);
    json_decref(steps);
    if (code == CLI_OK && !*out) code = cli_fail(b->s, "out of memory");
    return code == CLI_OK ? bench_work(b, runner, *count, *out) : code;
}

json_t *bench_steps_json(const json_t *steps, const double *seconds)
{
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(steps); i++) {
        json_t *s = json_array_get(steps, i);
        json_array_append_new(list, json_pack("{s:O,s:O,s:O,s:f}", "name", json_object_get(s, "name"), "tactic",
                                              json_object_get(s, "tactic"), "problem", json_object_get(s, "problem"),
                                              "microseconds", 1e6 * seconds[i]));
    }
    return list;
}
