/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon version`. */
#include "cli.h"

static int run(cli_session *s, const cli_args *args)
{
    (void)s;
    if (cli_flag(args, "--json")) printf("{\"version\": \"%s\"}\n", tenon_version());
    else printf("tenon %s\n", tenon_version());
    return CLI_OK;
}

static const cli_option options[] = {
    {"--json", CLI_FLAG, false, NULL, "as JSON"},
    {NULL, CLI_END, false, NULL, NULL},
};

const cli_command cli_command_version = {
    .name = "version",
    .what = "print the version of the library",
    .positions = "",
    .options = options,
    .details = "",
    .examples = "tenon version\n",
    .run = run,
};
