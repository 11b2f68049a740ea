/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon help`: the overview, a command's page from its tables, and topics that no one command owns. */
#include "cli.h"

#include <string.h>

enum { HEAD = 26, MARGIN = 29 };

static void print_indented(const char *text)
{
    for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) printf("  %.*s\n", (int)(end - line), line);
}

void cli_help_command(const cli_command *command)
{
    printf("tenon %s - %s\n\nusage: tenon %s%s%s%s\n", command->name, command->what, command->name,
           *command->positions ? " " : "", command->positions, command->options ? " [OPTION ...]" : "");
    if (*command->details) printf("\n%s", command->details);
    if (command->options) puts("\noptions:");
    for (const cli_option *o = command->options; o && o->kind != CLI_END; o++) {
        char head[80];
        snprintf(head, sizeof head, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        const char *line = o->help;
        if (strlen(head) > HEAD) printf("  %s\n%*s", head, MARGIN, "");
        else printf("  %-*s ", HEAD, head);
        for (const char *end; (end = strchr(line, '\n')); line = end + 1)
            printf("%.*s\n%*s", (int)(end - line), line, MARGIN, "");
        puts(line);
    }
    puts("\nexamples:");
    print_indented(command->examples);
    if (command->next) {
        puts("\nnext:");
        print_indented(command->next);
    }
}

static void overview(void)
{
    puts("tenon - turns a trained network (ONNX) into an engine tuned for this machine, and runs it\n\n"
         "usage: tenon COMMAND ...\n\ncommands:");
    for (size_t i = 0; cli_commands[i]; i++) printf("  %-14s %s\n", cli_commands[i]->name, cli_commands[i]->what);
    puts("\ntopics:");
    for (size_t i = 0; cli_topics[i].name; i++) printf("  %-14s %s\n", cli_topics[i].name, cli_topics[i].what);
    puts("\nfirst steps:\n"
         "  tenon inspect model.onnx                                  what it takes and gives\n"
         "  tenon build model.onnx -o model.engine                    tune it for this machine\n"
         "  tenon run model.engine --input x=x.npy --output y=y.npy   run it once\n"
         "  tenon bench model.engine                                  measure it\n\n"
         "`tenon help COMMAND` or `tenon help TOPIC` tells more; `trtexec --help` of the command of that name. Tab\n"
         "completes after `source <(tenon completion bash)`.");
}

int cli_help(cli_session *s, const char *topic)
{
    const char *known[48];
    size_t count = 0;
    if (!topic) {
        overview();
        return CLI_OK;
    }
    for (size_t i = 0; cli_commands[i]; i++) {
        if (strcmp(cli_commands[i]->name, topic) == 0) {
            cli_help_command(cli_commands[i]);
            return CLI_OK;
        }
        if (count < CLI_COUNTOF(known)) known[count++] = cli_commands[i]->name;
    }
    for (size_t i = 0; cli_topics[i].name; i++) {
        if (strcmp(cli_topics[i].name, topic) == 0) {
            fputs(cli_topics[i].text, stdout);
            return CLI_OK;
        }
        if (count < CLI_COUNTOF(known)) known[count++] = cli_topics[i].name;
    }
    const char *near = cli_nearest(topic, known, count);
    s->command = NULL;
    if (near) return cli_wrong(s, "no command or topic '%s'; did you mean '%s'?", topic, near);
    return cli_wrong(s, "no command or topic '%s'", topic);
}

static int run(cli_session *s, const cli_args *args)
{
    const char *what = args->position_count ? args->position[0] : NULL;
    return cli_flag(args, "--man") ? cli_manual(s, what ? what : "tenon") : cli_help(s, what);
}

static const cli_option options[] = {
    {"--man", CLI_FLAG, false, NULL, "as a manual page in roff: of tenon itself, of a command, or of trtexec"},
    {NULL, CLI_END, false, NULL, NULL},
};

const cli_command cli_command_help = {
    .name = "help",
    .what = "explain a command or a topic",
    .positions = "[COMMAND|TOPIC]",
    .max_positions = 1,
    .options = options,
    .details = "",
    .examples = "tenon help build\n"
                "tenon help exit-codes\n"
                "tenon help --man build > tenon-build.1\n",
    .next = "Try it on the network that comes with Tenon: ./dev demo, in its source.\n",
    .run = run,
};
