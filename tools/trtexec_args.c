/* SPDX-License-Identifier: Apache-2.0 */
/* trtexec's command line against its table of flags: `--name=value`, or `--name` for switches. Everything unknown is told, not
   only the first; what is accepted without effect is told once each. */
#include "trtexec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLAG(name, kind, section, effect, versions, initial, value, text) \
    {name, TRT_##kind, TRT_##section, TRT_##effect, versions, initial, value, text},
const trt_flag trt_flags[] = {
#include "trtexec.def"
};
const size_t trt_flag_count = CLI_COUNTOF(trt_flags);

static const trt_flag *find_flag(const char *word, size_t length)
{
    for (size_t i = 0; i < trt_flag_count; i++)
        if (strlen(trt_flags[i].name) == length && memcmp(trt_flags[i].name, word, length) == 0) return &trt_flags[i];
    return NULL;
}

const char *trt_text(const trt_options *o, const char *name)
{
    for (size_t i = 0; i < o->given_count; i++)
        if (strcmp(o->given[i].flag->name, name) == 0) return o->given[i].text;
    return NULL;
}

bool trt_has(const trt_options *o, const char *name) { return trt_text(o, name) != NULL; }

void trt_options_free(trt_options *o)
{
    for (int i = 0; i < TRT_MAX_PROFILES; i++) {
        free(o->profile[i].min.list);
        free(o->profile[i].opt.list);
        free(o->profile[i].max.list);
    }
    free(o->shapes.list);
    free(o->given);
}

/* ---- help ---- */
static void help_flag(const trt_flag *f)
{
    static const char *const effect[] = {[TRT_WORKS] = "", [TRT_ACCEPTED] = "[accepted] ", [TRT_REFUSED] = "[refused] "};
    char head[128];
    snprintf(head, sizeof head, "%s%s%s", f->name, f->value && f->kind != TRT_OPTIONAL ? "=" : "",
             f->value && f->kind != TRT_OPTIONAL ? f->value : "");
    printf("  %-34s %s%s", head, effect[f->effect], f->text);
    if (f->initial) printf(" (default = %s)", f->initial);
    putchar('\n');
}

void trt_help(void)
{
    static const char *const title[] = {"Model Options", "Build Options", "Inference Options", "Reporting Options",
                                        "System Options", "Help"};
    puts("Builds an engine from an ONNX model, or loads one, and measures it. Flags marked [accepted] change nothing here, and\n"
         "a warning says why; those marked [refused] end the program.");
    for (int s = 0; s < TRT_SECTIONS; s++) {
        printf("\n=== %s ===\n", title[s]);
        for (size_t i = 0; i < trt_flag_count; i++)
            if ((int)trt_flags[i].section == s) help_flag(&trt_flags[i]);
    }
}

/* ---- the line ---- */
static bool unknown(const trt_app *app, const char *word, size_t length)
{
    const char *known[256], *value = word[length] ? word + length + 1 : "";
    char name[64];
    size_t count = 0;
    for (; count < trt_flag_count && count < CLI_COUNTOF(known); count++) known[count] = trt_flags[count].name;
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), word);
    trt_fail(app, "Unknown option: %.*s %s", (int)length, word, value);
    const char *near = length > 3 ? cli_nearest(name, known, count) : NULL; /* -k is near to all short ones */
    if (near) trt_fail(app, "Did you mean %s?", near);
    return false;
}

static bool is_number(const char *text, trt_kind kind)
{
    char *end;
    errno = 0;
    if (kind == TRT_REAL) {
        strtod(text, &end);
        return end != text && *end == 0;
    }
    const long long value = strtoll(text, &end, 10);
    return end != text && *end == 0 && errno == 0 && value <= 1000000000 && value >= (kind == TRT_INTEGER ? -1 : 0);
}

static bool take_word(trt_app *app, const char *word)
{
    trt_options *o = &app->o;
    const size_t length = strcspn(word, "=");
    const trt_flag *f = find_flag(word, length);
    if (!f) return unknown(app, word, length);
    const char *value = word[length] ? word + length + 1 : "";
    const bool repeats = f->kind == TRT_TEXTS || f->kind == TRT_COUNTS || f->kind == TRT_SHAPES || f->kind == TRT_SWITCH;
    if (!repeats && trt_has(o, f->name)) return trt_fail(app, "%s is given twice", f->name);
    o->given[o->given_count++] = (trt_given){f, value};
    if (f->effect == TRT_REFUSED) return trt_fail(app, "%s: %s", f->name, f->text);
    if (f->kind == TRT_SWITCH || f->kind == TRT_OPTIONAL) return true;
    if (!*value) return trt_fail(app, "%s needs a value: %s=%s", f->name, f->name, f->value);
    const bool number = f->kind == TRT_COUNT || f->kind == TRT_COUNTS || f->kind == TRT_INTEGER || f->kind == TRT_REAL;
    const char *from = f->kind == TRT_REAL ? "" : f->kind == TRT_INTEGER ? " from -1" : " from 0";
    if (number && !is_number(value, f->kind)) return trt_fail(app, "%s=%s: a number%s is wanted", f->name, value, from);
    return true;
}

bool trt_parse(trt_app *app)
{
    trt_options *o = &app->o;
    bool good = true;
    o->given = calloc((size_t)o->argc + 1, sizeof *o->given);
    if (!o->given) return trt_fail(app, "out of memory");
    for (int i = 0; i < o->argc; i++) good = take_word(app, o->argv[i]) && good;
    return good && trt_take_values(app);
}
