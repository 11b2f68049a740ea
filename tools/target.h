/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands work on: an engine file, or a model that is built in memory; shapes of the command line; and a runner, which
   is a context with its shapes set and memory for all bindings. */
#ifndef TENON_TOOLS_TARGET_H
#define TENON_TOOLS_TARGET_H

#include "cli.h"

#define CLI_OPTION_THREADS {"--threads", CLI_COUNT, false, "N", "processor cores to use; 0: all usable ones"}
#define CLI_OPTION_DEVICE                                                                                                   \
    {"--device", CLI_TEXT, false, "NAME[:INDEX]",                                                                           \
     "cpu, cuda, cuda:sm_90 (for a GPU that is not here), null or auto (the default):\n"                                    \
     "the GPU if there is one, else the CPU. --backend is the same option"}

/* ---- shapes ---- */
typedef struct cli_range {
    char input[CLI_TEXT_ROOM];
    int rank;
    bool single;             /* one shape was given, not a range */
    int64_t min[TENON_MAX_RANK], opt[TENON_MAX_RANK], max[TENON_MAX_RANK];
} cli_range;
/* NAME=MIN:OPT:MAX or NAME=SHAPE, the value of option `option`. */
int cli_range_parse(cli_session *s, const char *option, const char *text, cli_range *out);

/* ---- models and engines ---- */
/* Whether the file is an engine of Tenon, by its first bytes; everything else is taken for a model. */
int cli_is_engine(cli_session *s, const char *path, bool *out);
int cli_model_read(cli_session *s, const char *path, tenon_network **out);
/* --device, --threads, --workspace, --level, --no-timing and --refit, as far as they are given. */
int cli_config_apply(cli_session *s, const cli_args *args, tenon_config *config);
int cli_config_failed(cli_session *s, const tenon_config *config);
/* How a model is built beside what the options say: `profiles` times `range_count` ranges; with no timing when `timed` is false;
   with no TF32 when `exact`. */
typedef struct cli_build { const cli_range *range; size_t range_count, profiles; bool timed, exact; } cli_build;
int cli_model_build_as(cli_session *s, const cli_args *args, tenon_network *network, const cli_build *how, tenon_engine **out);
/* A build of one profile. */
int cli_model_build(cli_session *s, const cli_args *args, tenon_network *network, const cli_range *range, size_t range_count,
                    bool timed, tenon_engine **out);
/* Loads an engine; --threads and --device's index hold, --device is refused: an engine is made for its device. */
int cli_engine_load(cli_session *s, const cli_args *args, const char *path, tenon_engine **out);

/* ---- runs ---- */
typedef struct cli_runner {
    tenon_engine *engine;    /* borrowed */
    tenon_context *context;
    size_t count;            /* bindings */
    void **device;           /* memory by binding; NULL: an output whose size is known only after the run */
    size_t *bytes;
} cli_runner;
/* The shape of an input: the one of that name among `given`, else NULL. */
const tenon_host_tensor *cli_tensor_find(const tenon_host_tensor *given, size_t count, const char *name);
/* Fills `bytes` of data: floats from -1 to 1, integers 0 or 1, so that indices and masks are valid in most models. */
void cli_tensor_make_up(tenon_host_tensor *t, size_t bytes);
/* The first profile that holds the shapes (`wanted` -1), or that one. */
int cli_profile_choose(cli_session *s, const tenon_engine *engine, const tenon_host_tensor *input, size_t count, int wanted,
                       int *out);
/* Context, shapes, addresses; the inputs' data is uploaded. */
int cli_runner_open(cli_session *s, tenon_engine *engine, int profile, const tenon_host_tensor *input, size_t count,
                    cli_runner *out);
void cli_runner_close(cli_session *s, cli_runner *r);

#endif
