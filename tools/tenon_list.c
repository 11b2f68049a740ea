/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon list`: the library's own tables. The library gives JSON; a table for people is made from whatever keys it has. */
#include "cli.h"

#include <jansson.h>
#include <string.h>

static const char *const topics[] = {"ops", "tactics", "passes", "devices"};

static void print_value(cli_table *t, const json_t *v)
{
    if (json_is_string(v)) cli_table_cell(t, "%s", json_string_value(v));
    else if (json_is_integer(v)) cli_table_cell(t, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v)) cli_table_cell(t, "%g", json_real_value(v));
    else if (json_is_boolean(v)) cli_table_cell(t, "%s", json_is_true(v) ? "yes" : "no");
    else cli_table_cell(t, "-");
}

/* Columns are the keys of all rows, in the order in which they first come. */
static size_t find_columns(json_t *rows, const char **column, size_t room)
{
    size_t count = 0, i;
    json_t *row, *value;
    const char *key;
    json_array_foreach(rows, i, row) {
        json_object_foreach(row, key, value) {
            size_t k = 0;
            while (k < count && strcmp(column[k], key) != 0) k++;
            if (k == count && count < room) column[count++] = key;
        }
    }
    return count;
}

/* Few rows of long values read better one below the other. */
static int print_records(cli_session *s, json_t *rows)
{
    json_t *value;
    const char *key;
    int code = CLI_OK;
    for (size_t i = 0; code == CLI_OK && i < json_array_size(rows); i++) {
        cli_table t = {.align = "ll", .columns = 2};
        json_object_foreach(json_array_get(rows, i), key, value) {
            cli_table_cell(&t, "%s", key);
            print_value(&t, value);
        }
        if (i) putchar('\n');
        code = cli_table_print(s, &t, "");
    }
    return code;
}

static int print_rows(cli_session *s, json_t *rows)
{
    const char *column[12];
    const size_t columns = find_columns(rows, column, CLI_COUNTOF(column));
    cli_table t = {.align = "llllllllllll", .columns = columns};
    if (columns == 0) return CLI_OK;
    cli_table_row(&t, columns, column);
    for (size_t i = 0; i < json_array_size(rows); i++)
        for (size_t k = 0; k < columns; k++) print_value(&t, json_object_get(json_array_get(rows, i), column[k]));
    return cli_table_print(s, &t, "");
}

static int run(cli_session *s, const cli_args *args)
{
    const char *what = args->position[0];
    bool known = false;
    for (size_t i = 0; i < CLI_COUNTOF(topics); i++) known |= strcmp(topics[i], what) == 0;
    if (!known) {
        const char *near = cli_nearest(what, topics, CLI_COUNTOF(topics));
        return cli_wrong(s, "no table '%s': %s%s%s ops, tactics, passes or devices", what, near ? "did you mean '" : "",
                         near ? near : "", near ? "'? There are" : "there are");
    }
    char *text = NULL;
    if (tenon_list(s->cx, what, &text) != TENON_OK) return cli_failed(s);
    int code = CLI_OK;
    if (cli_flag(args, "--json")) {
        puts(text);
    } else {
        json_error_t error;
        json_t *rows = json_loads(text, 0, &error);
        if (!rows) code = cli_fail(s, "the table '%s' is not JSON: %s", what, error.text);
        else code = strcmp(what, "devices") == 0 ? print_records(s, rows) : print_rows(s, rows);
        json_decref(rows);
    }
    tenon_text_free(s->cx, &text);
    return code;
}

static const cli_option options[] = {
    {"--json", CLI_FLAG, false, NULL, "as JSON: an array with one object a row"},
    {NULL, CLI_END, false, NULL, NULL},
};

const cli_command cli_command_list = {
    .name = "list",
    .what = "print a table of the library: ops, tactics, passes or devices",
    .positions = "ops|tactics|passes|devices",
    .min_positions = 1,
    .max_positions = 1,
    .options = options,
    .details = "ops      operators a model may hold, with their ONNX name and the opset since which they exist\n"
               "tactics  ways to compute a step, in order of preference where nothing is timed\n"
               "passes   rewrites of a network before it is planned, in order\n"
               "devices  what engines can be built for here, and why not where that is so\n",
    .examples = "tenon list devices\n"
                "tenon list tactics --json\n",
    .next = "Which tactic a model's steps got: tenon inspect model.engine --steps.\n",
    .run = run,
};
