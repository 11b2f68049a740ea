/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold of the tables themselves: operators complete and named once, every anchor and pointwise operator in some case,
   every tactic of the host's backends reached by a case that it takes, whatever this machine's instruction set, and every
   operator either reached by a real tactic or listed in unsupported_<backend>.txt with the reason, never both. */
#include "tenoncheck.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_OPS = 512, MAX_TACTICS = 256 };

typedef struct tables {
    tenon_cx *cx;
    check_counts *counts;
    bool used[MAX_OPS], fast[MAX_OPS], reached[MAX_TACTICS];
} tables;

static void expect(tables *t, bool ok, const char *what, const char *name)
{
    if (ok) {
        t->counts->passed++;
        return;
    }
    t->counts->failed++;
    printf("FAIL table: %s: %s\n", name, what);
}

static bool in_problems(const tenon_op *op)
{
    return (op->flags & (TENON_OP_ANCHOR | TENON_OP_POINTWISE)) && !(op->flags & (TENON_OP_CONTROL | TENON_OP_WEIGHT));
}

static void check_ops(tables *t)
{
    for (size_t i = 0; tenon_ops[i]; i++) {
        const tenon_op *op = tenon_ops[i];
        expect(t, op->name && (i == 0 || strcmp(tenon_ops[i - 1]->name, op->name) < 0),
               "not in the order of the alphabet, or there twice",
               op->name);
        expect(t, op->ref != NULL, "no reference", op->name);
        expect(t, op->infer != NULL, "no infer rule", op->name);
        expect(t, op->src_min <= op->src_max && op->dst_min <= op->dst_max, "more sources or results than its most", op->name);
        expect(t, op->tol >= 0 && op->tol < 1e-3, "no sensible tolerance", op->name);
        expect(t, tenon_op_find(op->name, strlen(op->name)) == op, "is not found by its name", op->name);
        for (int k = 0; op->attr && op->attr[k].name; k++)
            for (int m = 0; m < k; m++) expect(t, strcmp(op->attr[m].name, op->attr[k].name) != 0, "an attribute twice",
                                               op->name);
        expect(t, !(op->flags & TENON_OP_POINTWISE) == !op->pw, "a pointwise operator is one with a row", op->name);
        if (!op->pw) continue;
        expect(t, op->pw->f32 || op->pw->i64, "its row has no scalar function", op->name);
        expect(t, !op->pw->f32 == !op->pw->f64, "its row has one of f32 and f64 alone", op->name);
        expect(t, op->pw->cuda != NULL, "its row has no CUDA expression, not even an empty one", op->name);
        expect(t, op->pw->arity >= 1 && op->pw->arity <= TENON_PW_ARITY, "its row has no arity", op->name);
    }
}

/* A tactic's name begins with its source: the backend, or the library that it hands the work to. */
static bool known_source(const char *tactic, const char *backend)
{
    static const struct { const char *backend, *library; } libraries[] = {{"cuda", "cublaslt"}, {"cuda", "cudnn"}};
    const size_t prefix = strcspn(tactic, ".");
    if (!tactic[prefix]) return false;
    if (strlen(backend) == prefix && !strncmp(tactic, backend, prefix)) return true;
    for (size_t i = 0; i < TENON_COUNTOF(libraries); i++)
        if (!strcmp(libraries[i].backend, backend) && strlen(libraries[i].library) == prefix &&
            !strncmp(tactic, libraries[i].library, prefix))
            return true;
    return false;
}

static void check_tactics(tables *t, const tenon_backend *b)
{
    for (size_t i = 0; b->tactics[i]; i++) {
        const tenon_tactic *a = b->tactics[i];
        expect(t, known_source(a->name, b->name), "begins neither with the backend's name nor with a library's",
               a->name);
        expect(t, a->plan && a->bind && a->run, "lacks plan, bind or run", a->name);
        expect(t, tenon_tactic_find(b, a->name, strlen(a->name)) == a, "its name is there twice", a->name);
        if (b->tactics[i + 1]) {
            expect(t, !(a->flags & TENON_TACTIC_REFERENCE), "a reference before the end of the table", a->name);
            continue;
        }
        expect(t, !strcmp(a->pattern, "*") && !a->reject && !a->need, "the last tactic must take everything", a->name);
        if (strcmp(b->name, "null")) expect(t, a->flags & TENON_TACTIC_REFERENCE, "the last tactic must be the reference",
                                            a->name);
    }
}

static int op_index(const tenon_op *op)
{
    for (int i = 0; tenon_ops[i]; i++)
        if (tenon_ops[i] == op) return i;
    return -1;
}

/* Which operators a case holds, and which tactics would take it on a machine that has every instruction. */
static void reach(tables *t, const tenon_backend *b, const tenon_device *device, const check_case *c)
{
    tenon_arena arena;
    static candidate take[1024];
    tenon_arena_init(&arena, t->cx);
    tenon_problem *p = tenon_arena_alloc(&arena, sizeof *p);
    if (p && tenon_problem_parse(t->cx, &arena, c->text, p) == TENON_OK) {
        bool fast = false;
        /* what has no size before it runs is never bound */
        const size_t count = problem_is_data_dependent(p) ? 0 : check_candidates(b, device, p, ~0u, MAX_VARIANTS, take,
                                                                                 TENON_COUNTOF(take), NULL, NULL);
        for (size_t i = 0; i < count; i++) {
            fast = fast || !(take[i].tactic->flags & TENON_TACTIC_REFERENCE);
            for (int k = 0; b->tactics[k] && k < MAX_TACTICS; k++)
                if (b->tactics[k] == take[i].tactic) t->reached[k] = true;
        }
        for (size_t i = 0; i < p->graph->node_count; i++) {
            const int k = op_index(p->graph->node[i]->op);
            if (k < 0) continue;
            t->used[k] = true;
            t->fast[k] = t->fast[k] || fast;
        }
    }
    tenon_arena_free(&arena);
}

static void check_backend(tables *t, const tenon_backend *b, const check_cases *cases)
{
    tenon_arena arena;
    tenon_device *device;
    check_rows rows;
    tenon_arena_init(&arena, t->cx);
    memset(t->used, 0, sizeof t->used);
    memset(t->fast, 0, sizeof t->fast);
    memset(t->reached, 0, sizeof t->reached);
    if (check_rows_read(t->cx, &arena, "unsupported", b->name, false, &rows) != TENON_OK || b->open(t->cx, 0, 1,
        &device) != TENON_OK) {
        expect(t, false, t->cx->message, b->name);
        tenon_arena_free(&arena);
        return;
    }
    for (size_t i = 0; i < cases->count; i++) reach(t, b, device, &cases->at[i]);
    b->close(&device);
    for (int i = 0; b->tactics[i]; i++) expect(t, t->reached[i], "no case reaches it", b->tactics[i]->name);
    for (size_t i = 0; i < rows.count; i++) expect(t, tenon_op_find(rows.at[i].what, strlen(rows.at[i].what)) != NULL,
                                                   "is listed as unsupported but is no operator", rows.at[i].what);
    for (int i = 0; tenon_ops[i] && i < MAX_OPS; i++) {
        if (!in_problems(tenon_ops[i])) continue;
        const char *name = tenon_ops[i]->name;
        bool listed = false;
        for (size_t k = 0; k < rows.count; k++) listed = listed || !strcmp(rows.at[k].what, name);
        expect(t, t->used[i], "no case has it", name);
        expect(t, t->fast[i] || listed, "only the reference does it, and it is not listed as unsupported", name);
        expect(t, !(t->fast[i] && listed), "is listed as unsupported, but a tactic does it", name);
    }
    tenon_arena_free(&arena);
}

void check_tables(tenon_cx *cx, const tenon_backend *const *backends, const check_cases *cases, check_counts *counts)
{
    tables *t = calloc(1, sizeof *t);
    if (!t) return;
    t->cx = cx;
    t->counts = counts;
    check_ops(t);
    for (size_t i = 0; backends[i]; i++) {
        check_tactics(t, backends[i]);
        if (backends[i]->host_memory && strcmp(backends[i]->name, "null")) check_backend(t, backends[i], cases);
    }
    free(t);
}
