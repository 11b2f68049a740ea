/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of a command line against a command's table of options. `--name VALUE` and `--name=VALUE` are the same; everything
   behind `--` is a position. Nothing is guessed: an unknown option is an error that names the nearest known one. */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- suggestions ---- */
enum { WORD = 40 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Levenshtein's distance, one row at a time. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[WORD + 1], m = strlen(a), n = strlen(b);
    if (m > WORD || n > WORD) return SIZE_MAX;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            const size_t above = row[j];
            row[j] = least(least(above, row[j - 1]) + 1, corner + (a[i - 1] != b[j - 1]));
            corner = above;
        }
    }
    return row[n];
}

const char *cli_nearest(const char *word, const char *const *known, size_t count)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        const size_t distance = edit_distance(word, known[i]);
        if (distance < best_distance) {
            best = known[i];
            best_distance = distance;
        }
    }
    /* A word that shares less than about half of its letters is another word, not a misspelling. */
    return best && best_distance <= 1 + strlen(word) / 3 ? best : NULL;
}

static int unknown_option(cli_session *s, const cli_command *command, const char *word, size_t length)
{
    const char *known[32];
    char name[WORD + 1];
    size_t count = 0;
    for (const cli_option *o = command->options; o && o->kind != CLI_END && count < CLI_COUNTOF(known); o++)
        known[count++] = o->name;
    if (count < CLI_COUNTOF(known)) known[count++] = "--help";
    snprintf(name, sizeof name, "%.*s", (int)least(length, WORD), word);
    const char *near = cli_nearest(name, known, count);
    if (near) return cli_wrong(s, "no option '%s'; did you mean '%s'?", name, near);
    return cli_wrong(s, "no option '%s'", name);
}

/* ---- values ---- */
static bool parse_count(const char *text, int64_t *out)
{
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == 0;
}

/* 4096, 256K, 1.5G: powers of 1024. */
static bool parse_bytes(const char *text, int64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    if (*text < '0' || *text > '9') return false;
    double value = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (unit) {
        value *= ldexp(1, 10 * (int)(unit - units + 1));
        end++;
    }
    if (*end || !(value < 0x1p62)) return false;
    *out = (int64_t)value;
    return true;
}

static bool parse_seconds(const char *text, double *out)
{
    char *end;
    if (*text < '0' || *text > '9') return false;
    *out = strtod(text, &end);
    return *end == 0 && isfinite(*out);
}

/* 5ms, 250us, 0.5s: the unit must be said, since programs differ in what they take for granted. */
static bool parse_time(const char *text, double *out)
{
    static const struct { const char *name; double seconds; } unit[] = {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}};
    char *end;
    if (*text < '0' || *text > '9') return false;
    *out = strtod(text, &end);
    for (size_t i = 0; i < CLI_COUNTOF(unit); i++) {
        if (strcmp(end, unit[i].name) != 0) continue;
        *out *= unit[i].seconds;
        return isfinite(*out);
    }
    return false;
}

static int take_value(cli_session *s, cli_given *g, const char *text)
{
    g->text = text;
    switch (g->option->kind) {
    case CLI_COUNT:
        if (!parse_count(text, &g->number)) return cli_wrong(s, "%s '%s': a number from 0 is wanted", g->option->name, text);
        break;
    case CLI_BYTES:
        if (!parse_bytes(text, &g->number))
            return cli_wrong(s, "%s '%s': a size is wanted, such as 4096, 256M or 1G", g->option->name, text);
        break;
    case CLI_SECONDS:
        if (!parse_seconds(text, &g->seconds))
            return cli_wrong(s, "%s '%s': a number of seconds is wanted, such as 3 or 0.5", g->option->name, text);
        break;
    case CLI_TIME:
        if (!parse_time(text, &g->seconds))
            return cli_wrong(s, "%s '%s': a time with its unit is wanted, such as 5ms, 250us or 0.5s", g->option->name, text);
        break;
    case CLI_REAL:
        if (!parse_seconds(text, &g->real))
            return cli_wrong(s, "%s '%s': a number is wanted, such as 1.05", g->option->name, text);
        break;
    default: break;
    }
    return CLI_OK;
}

/* ---- the line ---- */
const cli_alias cli_aliases[] = {{"--backend", "--device"}, {NULL, NULL}};

static const cli_option *find_option(const cli_command *command, const char *word, size_t length)
{
    for (const cli_alias *a = cli_aliases; a->name; a++)
        if (strlen(a->name) == length && memcmp(a->name, word, length) == 0) {
            word = a->option;
            length = strlen(word);
        }
    for (const cli_option *o = command->options; o && o->kind != CLI_END; o++)
        if (strlen(o->name) == length && memcmp(o->name, word, length) == 0) return o;
    return NULL;
}

static int take_option(cli_session *s, const cli_command *command, int argc, char **argv, int *at, cli_args *out)
{
    const char *word = argv[*at];
    const size_t length = strcspn(word, "=");
    const cli_option *o = find_option(command, word, length);
    if (!o) return unknown_option(s, command, word, length);
    if (!o->repeats && cli_find(out, o->name)) return cli_wrong(s, "%s is given twice", o->name);
    cli_given *g = &out->given[out->given_count++];
    *g = (cli_given){.option = o};
    if (o->kind == CLI_FLAG) return word[length] ? cli_wrong(s, "%s takes no value", o->name) : CLI_OK;
    if (word[length]) return take_value(s, g, word + length + 1);
    if (*at + 1 >= argc) return cli_wrong(s, "%s wants a value: %s %s", o->name, o->name, o->value);
    return take_value(s, g, argv[++*at]);
}

static int take_position(cli_session *s, const cli_command *command, const char *word, cli_args *out)
{
    if (out->position_count >= command->max_positions) return cli_wrong(s, "'%s' is one word too many", word);
    out->position[out->position_count++] = word;
    return CLI_OK;
}

int cli_parse(cli_session *s, const cli_command *command, int argc, char **argv, cli_args *out)
{
    bool only_positions = false;
    *out = (cli_args){.given = calloc((size_t)argc + 1, sizeof *out->given)};
    if (!out->given) return cli_fail(s, "out of memory");
    for (int i = 0; i < argc; i++) {
        int code = CLI_OK;
        if (!only_positions && strcmp(argv[i], "--") == 0) only_positions = true;
        else if (!only_positions && argv[i][0] == '-' && argv[i][1]) code = take_option(s, command, argc, argv, &i, out);
        else code = take_position(s, command, argv[i], out);
        if (code != CLI_OK) return code;
    }
    if (out->position_count < command->min_positions) return cli_wrong(s, "%s is missing", command->positions);
    return CLI_OK;
}

void cli_args_free(cli_args *args)
{
    free(args->given);
    args->given = NULL;
}

const cli_given *cli_find(const cli_args *args, const char *name)
{
    for (size_t i = 0; i < args->given_count; i++)
        if (strcmp(args->given[i].option->name, name) == 0) return &args->given[i];
    return NULL;
}

bool cli_flag(const cli_args *args, const char *name) { return cli_find(args, name) != NULL; }

const char *cli_text(const cli_args *args, const char *name)
{
    const cli_given *g = cli_find(args, name);
    return g ? g->text : NULL;
}

int64_t cli_number(const cli_args *args, const char *name, int64_t otherwise)
{
    const cli_given *g = cli_find(args, name);
    return g ? g->number : otherwise;
}
