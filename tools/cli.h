/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of `tenon` share. A command is one const struct in its own file tenon_NAME.c and one line in command.def;
   parsing, help and suggestions all come from its table of options. Symbols here begin with cli_, so that in the commands
   whatever begins with tenon_ is the library's public API, the only part of Tenon that a command may use.

   Data goes to standard output, everything else (messages, warnings, progress) to standard error. Exit codes: CLI_OK, CLI_FAILED
   (the work failed, a message says why), CLI_WRONG_USAGE (the command line makes no sense), CLI_SLOWER (bench --fail-if). */
#ifndef TENON_TOOLS_CLI_H
#define TENON_TOOLS_CLI_H

#include "tenon.h"

#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_WRONG_USAGE = 2, CLI_SLOWER = 3 };

#define CLI_COUNTOF(array) (sizeof(array) / sizeof *(array))
#define CLI_FORMAT(text, first) __attribute__((format(printf, text, first)))

/* ---- the command line ---- */
typedef enum { CLI_END = 0, CLI_FLAG, CLI_TEXT, CLI_COUNT, CLI_BYTES, CLI_SECONDS, CLI_TIME, CLI_REAL } cli_kind;

typedef struct cli_option {
    const char *name;    /* "--threads"; "-o" */
    cli_kind kind;
    bool repeats;        /* may be given more than once */
    const char *value;   /* what the value is called in help; NULL for flags */
    const char *help;    /* may hold line breaks */
} cli_option;

/* Second names of options; given so, they are the option. Ends with NULL. */
typedef struct cli_alias { const char *name, *option; } cli_alias;
extern const cli_alias cli_aliases[];

/* One option as given, in the order of the command line. */
typedef struct cli_given {
    const cli_option *option;
    const char *text;
    int64_t number;      /* CLI_COUNT, CLI_BYTES */
    double seconds;      /* CLI_SECONDS, CLI_TIME ("5ms") */
    double real;         /* CLI_REAL */
} cli_given;

enum { CLI_MAX_POSITIONS = 4 };
typedef struct cli_args {
    const char *position[CLI_MAX_POSITIONS];
    int position_count;
    cli_given *given;
    size_t given_count;
} cli_args;

typedef struct cli_session cli_session;

typedef struct cli_command {
    const char *name, *what;
    const char *positions;        /* as shown in help, "MODEL.onnx" */
    int min_positions, max_positions;
    const cli_option *options;    /* ends with a row of kind CLI_END; NULL: none */
    const char *details;          /* paragraphs of its help */
    const char *examples;         /* lines of its help, which a test runs */
    const char *next;             /* what to do then: lines of its help; NULL: nothing in particular */
    int (*run)(cli_session *s, const cli_args *args);
} cli_command;

extern const cli_command *const cli_commands[]; /* NULL at the end */

/* The first option of that name, else NULL. The shorter forms give the value or `otherwise`. */
const cli_given *cli_find(const cli_args *args, const char *name);
bool cli_flag(const cli_args *args, const char *name);
const char *cli_text(const cli_args *args, const char *name);
int64_t cli_number(const cli_args *args, const char *name, int64_t otherwise);

/* CLI_OK or CLI_WRONG_USAGE, told on standard error. `argv` are the words behind the command's name. Free by cli_args_free. */
int cli_parse(cli_session *s, const cli_command *command, int argc, char **argv, cli_args *out);
void cli_args_free(cli_args *args);
/* The nearest of `count` words, NULL when none is near enough to be a misspelling. */
const char *cli_nearest(const char *word, const char *const *known, size_t count);

/* ---- help ---- */
typedef struct cli_topic { const char *name, *what, *text; } cli_topic;
extern const cli_topic cli_topics[]; /* what no one command owns; name NULL at the end */
int cli_help(cli_session *s, const char *topic); /* NULL: the overview */
void cli_help_command(const cli_command *command);
/* The manual page of "tenon", of "trtexec", or of a command ("tenon-build"), in roff, from the same tables. */
int cli_manual(cli_session *s, const char *page);

/* ---- the session ---- */
struct cli_session {
    tenon_cx *cx;
    const char *command;     /* for messages */
    bool bar;                /* progress is drawn */
    bool bar_shown;
    double bar_drawn;        /* time of the last drawing */
    char bar_phase[16];
};

double cli_now(void); /* seconds, monotonic */
int cli_session_open(cli_session *s);
void cli_session_close(cli_session *s);
/* Each prints `tenon COMMAND: message` on standard error and gives the exit code. */
int cli_fail(cli_session *s, const char *format, ...) CLI_FORMAT(2, 3);
int cli_wrong(cli_session *s, const char *format, ...) CLI_FORMAT(2, 3);
/* A file that could not be written to its end is removed, so that nobody takes it for whole; what is no plain file is left. errno stays. */
void cli_discard(const char *path);
int cli_failed(cli_session *s);  /* the cx's message */
void cli_bar_clear(cli_session *s);
/* `done` of `total` of something; draws at most twenty times a second in a phase, and only on a terminal. */
void cli_bar_draw(cli_session *s, const char *phase, size_t done, size_t total);
/* Asks that Ctrl-C cancels what is in progress; a second Ctrl-C ends the program. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);

/* ---- text ---- */
enum { CLI_TEXT_ROOM = 256 };
typedef struct cli_words { char text[CLI_TEXT_ROOM]; } cli_words;
cli_words cli_bytes(double bytes);                          /* "4.0 KiB" */
cli_words cli_time(double seconds);                         /* "4.00 us" */
cli_words cli_dims(int rank, const int64_t *dim);           /* "1x3x224x224", "scalar" */
cli_words cli_shape(const tenon_binding_info *b);           /* "batchx3x224x224" */

/* A table of text: rows are added cell by cell, column widths are found at the end. `align` has one letter a column, l or r. */
typedef struct cli_table {
    const char *align;
    size_t columns, count, room;
    char **cell;
    bool failed;             /* out of memory */
} cli_table;
void cli_table_cell(cli_table *t, const char *format, ...) CLI_FORMAT(2, 3);
void cli_table_row(cli_table *t, size_t columns, const char *const *cell);
int cli_table_print(cli_session *s, cli_table *t, const char *indent); /* and frees it */

#endif
