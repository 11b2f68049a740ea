/* SPDX-License-Identifier: Apache-2.0 */
/* Manual pages, made from the tables that parse the command lines, so that no page can be out of date. */
#include "trtexec.h"

#include <ctype.h>
#include <string.h>

/* Text whose lines may begin with what roff takes for a request. */
static void text(const char *p, size_t length)
{
    bool line_start = true;
    for (size_t i = 0; i < length; i++) {
        if (line_start && (p[i] == '.' || p[i] == '\'')) fputs("\\&", stdout);
        line_start = p[i] == '\n';
        if (p[i] == '\\') fputs("\\e", stdout);
        else if (p[i] == '-') fputs("\\-", stdout);
        else if (p[i] == '\'') fputs("\\(aq", stdout);
        else if (p[i] == '`') fputs("\\(ga", stdout);
        else if (p[i] == '~') fputs("\\(ti", stdout);
        else if (p[i] == '^') fputs("\\(ha", stdout);
        else putchar(p[i]);
    }
}

static void say(const char *p) { text(p, strlen(p)); }

/* Lines as they are; paragraphs are kept apart by what roff has for that. */
static void verbatim(const char *p)
{
    puts(".nf");
    for (const char *end; (end = strchr(p, '\n')); p = end + 1) {
        if (end == p) {
            puts(".sp");
            continue;
        }
        text(p, (size_t)(end - p));
        putchar('\n');
    }
    puts(".fi");
}

static void begin(const char *name, const char *what)
{
    char title[64];
    size_t n = 0;
    for (; name[n] && n + 1 < sizeof title; n++) title[n] = (char)toupper((unsigned char)name[n]);
    title[n] = 0;
    printf(".\\\" made by `tenon help --man`\n.TH %s 1 \"\" \"Tenon %s\" \"Tenon\"\n.SH NAME\n", title, tenon_version());
    say(name);
    fputs(" \\- ", stdout);
    say(what);
    puts("\n.SH SYNOPSIS");
}

static void option(const char *name, const char *join, const char *value, const char *help)
{
    fputs(".TP\n\\fB", stdout);
    say(name);
    fputs("\\fR", stdout);
    if (value) {
        fputs(join, stdout);
        fputs("\\fI", stdout);
        say(value);
        fputs("\\fR", stdout);
    }
    putchar('\n');
    say(help);
    putchar('\n');
}

static const char *topic(const char *name)
{
    for (size_t i = 0; cli_topics[i].name; i++)
        if (strcmp(cli_topics[i].name, name) == 0) return cli_topics[i].text;
    return "";
}

static void see_also(const char *name)
{
    puts(".SH SEE ALSO");
    const char *comma = "";
    if (strcmp(name, "tenon") != 0) {
        fputs(".BR tenon (1)", stdout);
        comma = ",\n";
    }
    for (size_t i = 0; cli_commands[i]; i++) {
        if (strcmp(name, cli_commands[i]->name) == 0) continue;
        printf("%s.BR tenon\\-%s (1)", comma, cli_commands[i]->name);
        comma = ",\n";
    }
    if (strcmp(name, "trtexec") != 0) printf("%s.BR trtexec (1)", comma);
    putchar('\n');
}

static void command_page(const cli_command *c)
{
    char name[64];
    snprintf(name, sizeof name, "tenon-%s", c->name);
    begin(name, c->what);
    printf(".B tenon ");
    say(c->name);
    printf("\n.RI ");
    if (*c->positions) {
        putchar('"');
        say(c->positions);
        putchar('"');
    }
    puts(c->options ? " \" [OPTION ...]\"" : "");
    puts(".SH DESCRIPTION");
    if (*c->details) verbatim(c->details);
    else {
        say(c->what);
        puts(".");
    }
    if (c->options) puts(".SH OPTIONS");
    for (const cli_option *o = c->options; o && o->kind != CLI_END; o++) option(o->name, " ", o->value, o->help);
    puts(".SH EXAMPLES");
    verbatim(c->examples);
    if (c->next) {
        puts(".PP");
        verbatim(c->next);
    }
    puts(".SH EXIT STATUS");
    verbatim(topic("exit-codes"));
    see_also(c->name);
}

static void overview_page(void)
{
    begin("tenon", "turn a trained network into an engine tuned for this machine, and run it");
    puts(".B tenon\n.I COMMAND\n.RI [ \"OPTION ...\" ]\n.SH DESCRIPTION\n"
         "Reads networks in ONNX, makes engines for CPUs and NVIDIA GPUs, runs and measures them.\n.SH COMMANDS");
    for (size_t i = 0; cli_commands[i]; i++) option(cli_commands[i]->name, "", NULL, cli_commands[i]->what);
    for (size_t i = 0; cli_topics[i].name; i++) {
        fputs(".SH ", stdout);
        for (const char *p = cli_topics[i].name; *p; p++) putchar(*p == '-' ? ' ' : toupper((unsigned char)*p));
        putchar('\n');
        say(cli_topics[i].what);
        puts(".\n.PP");
        verbatim(cli_topics[i].text);
    }
    see_also("tenon");
}

static void trtexec_page(void)
{
    begin("trtexec", "build, load and measure engines, flag for flag as TensorRT's command of that name");
    puts(".B trtexec\n.BI \\-\\-onnx= <file>\n.RI [ FLAG ...]\n.SH DESCRIPTION\n"
         "The program is tenon under another name. Flags marked [accepted] change nothing here, and a warning says why; those\n"
         "marked [refused] end the program.\n.SH OPTIONS");
    for (size_t i = 0; i < trt_flag_count; i++) {
        static const char *const effect[] = {[TRT_WORKS] = "", [TRT_ACCEPTED] = "[accepted] ", [TRT_REFUSED] = "[refused] "};
        const trt_flag *f = &trt_flags[i];
        char help[1024];
        snprintf(help, sizeof help, "%s%s%s%s%s", effect[f->effect], f->text, f->initial ? " (default: " : "",
                 f->initial ? f->initial : "", f->initial ? ")" : "");
        option(f->name, f->kind == TRT_OPTIONAL ? "[=" : "=", f->value, help);
    }
    see_also("trtexec");
}

int cli_manual(cli_session *s, const char *page)
{
    const char *name = strncmp(page, "tenon-", 6) == 0 ? page + 6 : page;
    if (strcmp(name, "tenon") == 0) {
        overview_page();
        return CLI_OK;
    }
    if (strcmp(name, "trtexec") == 0) {
        trtexec_page();
        return CLI_OK;
    }
    for (size_t i = 0; cli_commands[i]; i++) {
        if (strcmp(cli_commands[i]->name, name) != 0) continue;
        command_page(cli_commands[i]);
        return CLI_OK;
    }
    return cli_wrong(s, "no manual page '%s': there is one of tenon, of each command, and of trtexec", page);
}
