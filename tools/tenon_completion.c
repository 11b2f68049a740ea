/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon completion`: what Tab offers in bash and zsh, made from the tables that parse the command lines. What a value may be is
   read from its name in the help: FILE is a file, words joined by | are these words, 0..5 are numbers. */
#include "trtexec.h"

#include <ctype.h>
#include <string.h>

typedef enum { VALUE_NONE, VALUE_ANY, VALUE_FILE, VALUE_WORDS } value_kind;

/* Values whose name does not say what they are. */
static const struct { const char *value, *words; } named[] = {
    {"NAME[:INDEX]", "auto cpu cuda cuda:0 null"},
    {"WORDS", "batch=1..64 streams=1,2,4"},
};

static bool is_choice(const char *value)
{
    bool bar = false;
    for (const char *p = value; *p; p++) {
        if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '|' && *p != '_') return false;
        bar |= *p == '|';
    }
    return bar;
}

static void add_words(const char *list, char *out, size_t bytes)
{
    size_t n = strlen(out);
    if (n && n + 1 < bytes) out[n++] = ' ';
    for (; *list && n + 1 < bytes; list++) out[n++] = *list == '|' ? ' ' : *list;
    out[n] = 0;
}

static value_kind kind_of(const char *value, char *words, size_t bytes)
{
    *words = 0;
    if (!value) return VALUE_NONE;
    for (size_t i = 0; i < CLI_COUNTOF(named); i++) {
        if (strcmp(value, named[i].value) != 0) continue;
        add_words(named[i].words, words, bytes);
        return VALUE_WORDS;
    }
    if (strcmp(value, "[COMMAND|TOPIC]") == 0) {
        for (size_t i = 0; cli_commands[i]; i++) add_words(cli_commands[i]->name, words, bytes);
        for (size_t i = 0; cli_topics[i].name; i++) add_words(cli_topics[i].name, words, bytes);
        add_words("trtexec", words, bytes);
        return VALUE_WORDS;
    }
    if (strstr(value, "FILE") || strstr(value, "<file>") || strstr(value, ".onnx")) return VALUE_FILE;
    if (is_choice(value)) {
        add_words(value, words, bytes);
        return VALUE_WORDS;
    }
    int from, to, end = 0;
    if (sscanf(value, "%d..%d%n", &from, &to, &end) == 2 && value[end] == 0 && to - from < 32) {
        for (int i = from; i <= to; i++) {
            char number[16];
            snprintf(number, sizeof number, "%d", i);
            add_words(number, words, bytes);
        }
        return VALUE_WORDS;
    }
    return VALUE_ANY;
}

/* ---- bash ---- */
static const char bash_start[] =
    "# completion of tenon and trtexec for bash: source <(tenon completion bash)\n"
    "# readline splits words at = and : too, so the option that a value belongs to is looked for to the left\n"
    "_tenon_value()\n"
    "{\n"
    "    case $1 in\n"
    "    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
    "    words) mapfile -t COMPREPLY < <(compgen -W \"$2\" -- \"$cur\") ;;\n"
    "    esac\n"
    "}\n"
    "_tenon_option()\n"
    "{\n"
    "    local i=$((COMP_CWORD - 1))\n"
    "    while ((i > 1)) && [[ ${COMP_WORDS[i]} == = || ${COMP_WORDS[i - 1]} == = ]]; do ((i--)); done\n"
    "    [[ ${COMP_WORDS[i + 1]} == = && ${COMP_WORDS[i]} != -* ]] && ((i--)) # NAME= of a value\n"
    "    [[ ${COMP_WORDS[i]} == -* ]] && option=${COMP_WORDS[i]}\n"
    "}\n";

/* The option's names, its own first. */
static void names_of(const cli_option *o, const char *between)
{
    fputs(o->name, stdout);
    for (const cli_alias *a = cli_aliases; a->name; a++)
        if (strcmp(a->option, o->name) == 0) printf("%s%s", between, a->name);
}

static void bash_command(const cli_command *c)
{
    char words[1024];
    printf("    %s)\n", c->name);
    printf("        case $option in\n");
    for (const cli_option *o = c->options; o && o->kind != CLI_END; o++) {
        const value_kind kind = kind_of(o->value, words, sizeof words);
        if (kind == VALUE_NONE) continue;
        fputs("        ", stdout);
        names_of(o, "|");
        if (kind == VALUE_WORDS) printf(") _tenon_value words '%s'; return ;;\n", words);
        else printf(") %sreturn ;;\n", kind == VALUE_FILE ? "_tenon_value file; " : "");
    }
    printf("        esac\n        if [[ $cur == -* ]]; then _tenon_value words '");
    for (const cli_option *o = c->options; o && o->kind != CLI_END; o++) {
        names_of(o, " ");
        putchar(' ');
    }
    printf("--help'; return; fi\n");
    const value_kind kind = *c->positions ? kind_of(c->positions, words, sizeof words) : VALUE_NONE;
    if (kind == VALUE_WORDS) printf("        _tenon_value words '%s' ;;\n", words);
    else printf("        %s;;\n", kind == VALUE_FILE ? "_tenon_value file " : "");
}

static void bash_trtexec(void)
{
    char words[1024];
    puts("_trtexec()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} option=\n    COMPREPLY=()\n    [[ $cur == = ]] && cur=\n    "
         "_tenon_option\n"
         "    case $option in");
    for (size_t i = 0; i < trt_flag_count; i++) {
        const value_kind kind = kind_of(trt_flags[i].value, words, sizeof words);
        if (trt_flags[i].effect == TRT_REFUSED || kind == VALUE_NONE) continue;
        printf("    %s) %sreturn ;;\n", trt_flags[i].name, kind == VALUE_FILE ? "_tenon_value file; " : "");
    }
    fputs("    esac\n    compopt -o nospace 2>/dev/null\n    _tenon_value words '", stdout);
    for (size_t i = 0; i < trt_flag_count; i++) {
        const trt_flag *f = &trt_flags[i];
        if (f->effect == TRT_WORKS) printf("%s%s%s", i ? " " : "", f->name, f->value && f->kind != TRT_OPTIONAL ? "=" : "");
    }
    puts("'\n}\ncomplete -F _trtexec trtexec");
}

static void bash(void)
{
    fputs(bash_start, stdout);
    puts("_tenon()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} option=\n    COMPREPLY=()\n    [[ $cur == = ]] && cur=\n"
         "    if ((COMP_CWORD == 1)); then");
    fputs("        _tenon_value words '", stdout);
    for (size_t i = 0; cli_commands[i]; i++) printf("%s ", cli_commands[i]->name);
    puts("trtexec --help --version'\n        return\n    fi\n    _tenon_option\n    case ${COMP_WORDS[1]} in");
    for (size_t i = 0; cli_commands[i]; i++) bash_command(cli_commands[i]);
    puts("    trtexec) _trtexec ;;\n    esac\n}\ncomplete -F _tenon tenon");
    bash_trtexec();
}

/* ---- zsh ---- */
/* Inside '...[description]': quotes, brackets and colons mean something there. Only the first line. */
static void zsh_text(const char *p)
{
    for (; *p && *p != '\n'; p++) {
        if (*p == '\'') fputs("'\\''", stdout);
        else if (*p == '[' || *p == ']' || *p == ':' || *p == '\\') printf("\\%c", *p);
        else putchar(*p);
    }
}

static void zsh_value(const char *value)
{
    char words[1024];
    const value_kind kind = kind_of(value, words, sizeof words);
    if (kind == VALUE_NONE) return;
    putchar(':');
    zsh_text(value);
    if (kind == VALUE_FILE) fputs(":_files", stdout);
    else if (kind == VALUE_WORDS) {
        fputs(":(", stdout);
        zsh_text(words);
        putchar(')');
    } else fputs(": ", stdout);
}

static void zsh_command(const cli_command *c)
{
    char words[1024];
    printf("    (%s)\n        _arguments -s '--help[explain it]'", c->name);
    for (const cli_option *o = c->options; o && o->kind != CLI_END; o++) {
        printf(" \\\n            '%s%s[", o->repeats ? "*" : "", o->name);
        zsh_text(o->help);
        putchar(']');
        zsh_value(o->value);
        putchar('\'');
    }
    const value_kind kind = *c->positions ? kind_of(c->positions, words, sizeof words) : VALUE_NONE;
    if (kind == VALUE_FILE) fputs(" \\\n            '*: :_files'", stdout);
    else if (kind == VALUE_WORDS) printf(" \\\n            '1: :(%s)'", words);
    puts("\n        ;;");
}

static void zsh_trtexec(void)
{
    puts("_trtexec() {\n    _arguments -s \\");
    for (size_t i = 0; i < trt_flag_count; i++) {
        const trt_flag *f = &trt_flags[i];
        if (f->effect != TRT_WORKS) continue;
        printf("        '*%s%s[", f->name, f->value ? "=-" : "");
        zsh_text(f->text);
        putchar(']');
        zsh_value(f->value);
        puts("' \\");
    }
    puts("        '*: :_files'\n}");
}

/* The whole text is the body of the function _tenon, which is called for both programs. */
static void zsh(void)
{
    puts("#compdef tenon trtexec\n# completion of tenon and trtexec for zsh: tenon completion zsh > a folder of $fpath/_tenon");
    zsh_trtexec();
    puts("_tenon_command() {\n    local -a commands=(");
    for (size_t i = 0; cli_commands[i]; i++) {
        printf("        '%s:", cli_commands[i]->name);
        zsh_text(cli_commands[i]->what);
        puts("'");
    }
    puts("        'trtexec:the command of TensorRT'\\''s users'\n    )\n"
         "    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
         "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $command in");
    for (size_t i = 0; cli_commands[i]; i++) zsh_command(cli_commands[i]);
    puts("    (trtexec)\n        _trtexec\n        ;;\n    esac\n}\n"
         "case $service in\n(trtexec) _trtexec \"$@\" ;;\n(*) _tenon_command \"$@\" ;;\nesac");
}

static int run(cli_session *s, const cli_args *args)
{
    const char *shell = args->position[0];
    if (strcmp(shell, "bash") == 0) bash();
    else if (strcmp(shell, "zsh") == 0) zsh();
    else return cli_wrong(s, "no completion for '%s': there is one for bash and one for zsh", shell);
    return CLI_OK;
}

const cli_command cli_command_completion = {
    .name = "completion",
    .what = "print what Tab completes, for bash or zsh",
    .positions = "bash|zsh",
    .min_positions = 1,
    .max_positions = 1,
    .details = "Prints a script for the shell. An installation puts it where the shells look, so that nothing is to be done.\n"
               "For a build folder: `source <(tenon completion bash)` in ~/.bashrc, or the zsh script as _tenon in a folder of\n"
               "$fpath.\n",
    .examples = "tenon completion bash > tenon.bash\n"
                "tenon completion zsh > _tenon\n",
    .run = run,
};
