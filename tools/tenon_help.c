/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon help`: the overview, a command's page from its tables, and topics that no one command owns. */
#include "cli.h"

#include <string.h>

static const struct {
    const char *name, *what, *text;
} topics[] = {
    {"exit-codes", "what the exit codes mean",
     "0  the work is done\n"
     "1  the work failed: a message on standard error says why and names the file, input or option\n"
     "2  wrong usage: the command line itself makes no sense; nothing was done\n"
     "\n"
     "Data is written to standard output; messages, warnings and progress go to standard error. A progress bar is drawn only\n"
     "when standard error is a terminal. Ctrl-C cancels a build cleanly: exit code 1, and no engine is written.\n"},
    {"shapes", "how shapes and profiles are written",
     "A shape is its dimensions joined by x, in the order of the model:      1x3x224x224\n"
     "A range is three shapes joined by colons, minimum, optimum, maximum:   1x3x224x224:4x3x224x224:8x3x224x224\n"
     "A single shape stands for all three. NAME= in front says which input:  --shape image=1x3x224x224:4x3x224x224:8x3x224x224\n"
     "\n"
     "An engine runs every shape from minimum to maximum and is tuned for the optimum. `--profile` begins a further set\n"
     "of ranges, tuned on its own; the --shape options behind it belong to it:\n"
     "\n"
     "    tenon build m.onnx -o m.engine --shape x=1x3x224x224 --profile --shape x=1x3x224x224:16x3x224x224:32x3x224x224\n"
     "\n"
     "Dynamic dimensions without a range are fixed to 1, and a warning says so. `tenon inspect m.onnx` shows names\n"
     "and dimensions.\n"},
    {"npy", "which .npy files can be read and written",
     "Files as numpy.save writes them, format version 1.0 or 2.0, C order, little-endian. The type must be the input's:\n"
     "\n"
     "    numpy.save('x.npy', x.astype(numpy.float32))                        # f32\n"
     "    numpy.save('x.npy', numpy.ascontiguousarray(x))                     # out of Fortran order\n"
     "\n"
     "numpy has no bfloat16 and no 8-bit floats: these are read and written as the package ml_dtypes does, as raw elements\n"
     "of two bytes (V2) or one (V1).\n"},
};

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
        printf("  %-26s ", head);
        for (const char *end; (end = strchr(line, '\n')); line = end + 1) printf("%.*s\n%29s", (int)(end - line), line, "");
        puts(line);
    }
    puts("\nexamples:");
    for (const char *line = command->examples, *end; (end = strchr(line, '\n')); line = end + 1)
        printf("  %.*s\n", (int)(end - line), line);
}

static void overview(void)
{
    puts("tenon - turns a trained network (ONNX) into an engine tuned for this machine, and runs it\n\n"
         "usage: tenon COMMAND ...\n\ncommands:");
    for (size_t i = 0; cli_commands[i]; i++) printf("  %-11s %s\n", cli_commands[i]->name, cli_commands[i]->what);
    puts("\ntopics:");
    for (size_t i = 0; i < CLI_COUNTOF(topics); i++) printf("  %-11s %s\n", topics[i].name, topics[i].what);
    puts("\nfirst steps:\n"
         "  tenon inspect model.onnx                                  what it takes and gives\n"
         "  tenon build model.onnx -o model.engine                    tune it for this machine\n"
         "  tenon run model.engine --input x=x.npy --output y=y.npy   run it once\n"
         "  tenon bench model.engine                                  measure it\n\n"
         "`tenon help COMMAND` or `tenon help TOPIC` tells more.");
}

int cli_help(cli_session *s, const char *topic)
{
    const char *known[32];
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
    for (size_t i = 0; i < CLI_COUNTOF(topics); i++) {
        if (strcmp(topics[i].name, topic) == 0) {
            fputs(topics[i].text, stdout);
            return CLI_OK;
        }
        if (count < CLI_COUNTOF(known)) known[count++] = topics[i].name;
    }
    const char *near = cli_nearest(topic, known, count);
    s->command = NULL;
    if (near) return cli_wrong(s, "no command or topic '%s'; did you mean '%s'?", topic, near);
    return cli_wrong(s, "no command or topic '%s'", topic);
}

static int run(cli_session *s, const cli_args *args) { return cli_help(s, args->position_count ? args->position[0] : NULL); }

const cli_command cli_command_help = {
    .name = "help",
    .what = "explain a command or a topic",
    .positions = "[COMMAND|TOPIC]",
    .max_positions = 1,
    .details = "",
    .examples = "tenon help build\n"
                "tenon help exit-codes\n",
    .run = run,
};
