/* SPDX-License-Identifier: Apache-2.0 */
/* The program `tenon`: finds the command in the table, parses its options and runs it. No work of its own. */
#include "cli.h"
#include "trtexec.h"

#include <errno.h>
#include <string.h>

#define COMMAND(x) extern const cli_command cli_command_##x;
#include "command.def"
#undef COMMAND
#define COMMAND(x) &cli_command_##x,
const cli_command *const cli_commands[] = {
#include "command.def"
    NULL};

static const cli_command *find_command(const char *name)
{
    for (size_t i = 0; cli_commands[i]; i++)
        if (strcmp(cli_commands[i]->name, name) == 0) return cli_commands[i];
    return NULL;
}

static int unknown_command(cli_session *s, const char *name)
{
    const char *known[16];
    size_t count = 0;
    while (cli_commands[count] && count < CLI_COUNTOF(known)) {
        known[count] = cli_commands[count]->name;
        count++;
    }
    const char *near = cli_nearest(name, known, count);
    if (near) return cli_wrong(s, "no command '%s'; did you mean '%s'?", name, near);
    return cli_wrong(s, "no command '%s'", name);
}

static bool asks_help(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

static int run_command(cli_session *s, const cli_command *command, int argc, char **argv)
{
    cli_args args;
    s->command = command->name;
    if (asks_help(argc, argv)) {
        cli_help_command(command);
        return CLI_OK;
    }
    int code = cli_parse(s, command, argc, argv, &args);
    if (code == CLI_OK) code = cli_session_open(s);
    if (code == CLI_OK) code = command->run(s, &args);
    cli_session_close(s);
    cli_args_free(&args);
    return code;
}

/* Under the name trtexec, and as `tenon trtexec`, the program is another one. */
static bool is_trtexec(int argc, char **argv)
{
    const char *slash = argc ? strrchr(argv[0], '/') : NULL, *name = slash ? slash + 1 : argc ? argv[0] : "";
    return strcmp(name, "trtexec") == 0 || (argc > 1 && strcmp(argv[1], "trtexec") == 0);
}

int main(int argc, char **argv)
{
    if (is_trtexec(argc, argv)) return trt_main(argc, argv);
    cli_session s = {0};
    int code;
    if (argc < 2) {
        cli_help(&s, NULL);
        code = CLI_WRONG_USAGE;
    } else {
        const char *name = argv[1];
        if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
        if (strcmp(name, "--version") == 0) name = "version";
        const cli_command *command = find_command(name);
        code = command ? run_command(&s, command, argc - 2, argv + 2) : unknown_command(&s, name);
    }
    /* A full disk or a closed pipe shows only now; output that was lost must not look like success. */
    if ((fflush(stdout) || ferror(stdout)) && code == CLI_OK)
        code = cli_fail(&s, "cannot write to standard output: %s", strerror(errno));
    return code;
}
