/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as the text of a graph, which graph steps and weight programs of an engine are. What is printed reads back as the same
   text, but for hashes of large constants; then the passes run over it. */
#include "fuzz.h"

#include "base/buf.h"
#include "op/op.h"
#include "pass/pass.h"

static void run(tenon_cx *cx, const uint8_t *data, size_t size)
{
    tenon_arena arena;
    tenon_graph *g = NULL, *again = NULL;
    tenon_buf first, second;
    tenon_arena_init(&arena, cx);
    tenon_buf_init(&first, cx);
    tenon_buf_init(&second, cx);
    char *text = tenon_arena_strndup(&arena, (const char *)data, size);
    if (text && fuzz_ok(cx, tenon_graph_parse(cx, &arena, tenon_op_find, text, &g))) {
        tenon_graph_print(&first, g);
        const tenon_status status = tenon_buf_status(&first) != TENON_OK
                                        ? TENON_NOMEM : tenon_graph_parse(cx, &arena, tenon_op_find, first.data, &again);
        if (status == TENON_OK) tenon_graph_print(&second, again);
        else if (status != TENON_NOMEM) fprintf(stderr, "%s\n%s\n", first.data, tenon_cx_message(cx));
        FUZZ_DEMAND(status == TENON_NOMEM || (status == TENON_OK && (tenon_buf_status(&second) != TENON_OK ||
                                                                     strchr(first.data, '#') || strcmp(first.data, second.data) == 0)));
        if (fuzz_ok(cx, tenon_infer_graph(cx, g)) && fuzz_ok(cx, tenon_graph_verify(g))) (void)fuzz_ok(cx, tenon_passes_run(cx, g));
    }
    tenon_buf_free(&first);
    tenon_buf_free(&second);
    tenon_arena_free(&arena);
}

const fuzz_target fuzz_target_text = {.name = "text", .what = "the text of a graph: parsed, printed, parsed again, passes", .run = run};
