/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the pipeline of pass.def. In debug builds the verifier looks at the graph after every pass. */
#include "pass/pass.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>

#define GROUP
#define AGAIN(x)
#define PASS(x) extern const tenon_pass tenon_pass_##x;
#include "pass/pass.def"
#undef PASS
#define PASS(x) &tenon_pass_##x,
const tenon_pass *const tenon_passes[] = {
#include "pass/pass.def"
    NULL };
#undef GROUP
#undef AGAIN

/* NULL begins a group. */
#define GROUP NULL,
#define AGAIN(x) &tenon_pass_##x,
static const tenon_pass *const pipeline[] = {
#include "pass/pass.def"
};
#undef GROUP
#undef AGAIN
#undef PASS

enum { ROUNDS = 12 }; /* of one group; each round shortens the graph or settles it */

static tenon_status dump(tenon_cx *cx, const tenon_graph *g, const char *name, int number)
{
    const char *folder = getenv("TENON_DUMP");
    if (!folder || !*folder) return TENON_OK;
    char path[1024];
    snprintf(path, sizeof path, "%s/%03d-%s.txt", folder, number, name);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_graph_print(&b, g);
    tenon_status status = tenon_buf_status(&b);
    if (status == TENON_OK) status = tenon_file_save(cx, path, b.data, b.length);
    tenon_buf_free(&b);
    return status;
}

tenon_status tenon_pass_once(tenon_cx *cx, tenon_graph *g, const tenon_pass *pass, bool *changed)
{
    TENON_TRY(tenon_graph_index_uses(g));
    const tenon_status status = pass->run(cx, g, changed);
    if (status != TENON_OK) return tenon_fail_in(cx, status, "pass %s: ", pass->name);
#ifndef NDEBUG
    const tenon_status sound = tenon_graph_verify(g);
    if (sound != TENON_OK) return tenon_fail_in(cx, TENON_INTERNAL, "after pass %s: ", pass->name);
#endif
    return TENON_OK;
}

static tenon_status run_group(tenon_cx *cx, tenon_graph *g, size_t first, size_t end, int *number)
{
    bool again = true;
    for (int round = 0; again && round < ROUNDS; round++) {
        again = false;
        for (size_t i = first; i < end; i++) {
            bool changed = false;
            TENON_TRY(tenon_pass_once(cx, g, pipeline[i], &changed));
            if (changed) TENON_TRY(dump(cx, g, pipeline[i]->name, ++*number));
            again |= changed;
        }
        TENON_TRY(tenon_progress(cx, "passes", first, TENON_COUNTOF(pipeline)));
    }
    if (again) tenon_log(cx, TENON_VERBOSE, TENON_TOPIC_PASS, "a group of passes still changes the graph after %d rounds",
        (int)ROUNDS);
    return TENON_OK;
}

tenon_status tenon_passes_run(tenon_cx *cx, tenon_graph *g)
{
    int number = 0;
    tenon_graph_prune(g);
    TENON_TRY(tenon_graph_sort(g));
    for (size_t i = 0; i < TENON_COUNTOF(pipeline);) {
        size_t end = i + 1;
        while (end < TENON_COUNTOF(pipeline) && pipeline[end]) end++;
        TENON_TRY(run_group(cx, g, i + 1, end, &number));
        i = end;
    }
    TENON_TRY(tenon_progress(cx, "passes", TENON_COUNTOF(pipeline), TENON_COUNTOF(pipeline)));
    return tenon_graph_index_uses(g);
}
