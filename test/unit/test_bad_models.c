/* SPDX-License-Identifier: Apache-2.0 */
/* Models that are valid messages and mean mischief: sub-graphs and functions thousands deep or without end, cycles, chains as long as a
   file can hold, sizes that no memory has. Each is read, built and run in little memory and a bounded time; the message names the node or
   the tensor. */
#include "check.h"
#include "pb.h"

#include "base/clock.h"

#include <limits.h>
#include <malloc.h>

static tenon_cx *cx;
static check_heap heap;

/* What one may have at a time: far less than what these models claim. */
enum { MOST = 512 << 20, MOST_SECONDS = 240 };
static size_t live_bytes, most_live;

static void *count_bytes(void *p)
{
    live_bytes += p ? malloc_usable_size(p) : 0;
    most_live = TENON_MAX(most_live, live_bytes);
    return p;
}

static void *little_alloc(void *user, size_t bytes)
{
    return bytes > MOST || live_bytes + bytes > MOST ? NULL : count_bytes(check_heap_alloc(user, bytes));
}

static void *little_realloc(void *user, void *p, size_t bytes)
{
    const size_t was = p ? malloc_usable_size(p) : 0;
    if (bytes > MOST || live_bytes - was + bytes > MOST) return NULL;
    void *q = check_heap_realloc(user, p, bytes);
    live_bytes -= q ? was : 0;
    return q ? count_bytes(q) : NULL;
}

static void little_free(void *user, void *p)
{
    live_bytes -= p ? malloc_usable_size(p) : 0;
    check_heap_free(user, p);
}

static void quiet(void *user, tenon_severity severity, const char *message) { (void)user, (void)severity, (void)message; }

static tenon_buf buffer(void)
{
    tenon_buf b;
    pb_buf(&b, cx);
    return b;
}

/* Read, build, a context, a run; the message of the first that fails. */
static tenon_status try(const tenon_buf *model)
{
    static uint8_t x[1 << 16], y[1 << 16];
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    tenon_context *context = NULL;
    tenon_status status = tenon_network_read(cx, model->data, model->length, NULL, &network);
    if (status == TENON_OK) status = tenon_config_create(cx, &config);
    if (status == TENON_OK && (tenon_config_set_device(config, "cpu", 0) || tenon_config_set_threads(config, 1) ||
                               tenon_config_set_timing(config, false)))
        status = TENON_INTERNAL;
    if (status == TENON_OK) status = tenon_build(cx, network, config, &engine);
    if (status == TENON_OK) status = tenon_context_create(cx, engine, NULL, &context);
    if (status == TENON_OK) {
        (void)!tenon_context_set_address(context, "x", x, sizeof x);
        (void)!tenon_context_set_address(context, "y", y, sizeof y);
        status = tenon_context_run(context);
        if (status != TENON_OK) (void)TENON_FAIL(cx, status, "%s", tenon_context_message(context));
    }
    tenon_context_destroy(&context);
    tenon_engine_destroy(&engine);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    return status;
}

static void refused(const char *what, tenon_buf *model, tenon_status want, const char *part, int line)
{
    const long live = heap.live;
    const double start = tenon_now();
    const tenon_status status = try(model);
    const double took = tenon_now() - start;
    const bool good = status == want && strstr(tenon_cx_message(cx), part) && heap.live == live && took < MOST_SECONDS;
    good ? check_passed++ : check_failed++;
    if (!good)
        fprintf(stderr, "%s:%d: %s: gave %s, \"%.400s\", wanted %s, \"%s\"; %ld pieces lost, %.1f s\n", __FILE__, line, what,
                tenon_status_name(status), status ? tenon_cx_message(cx) : "", tenon_status_name(want), part, heap.live - live, took);
    tenon_buf_free(model);
}
#define REFUSED(what, model, status, part) refused((what), (model), (status), (part), __LINE__)

/* ---- depth ---- */
/* An If within an If ...: only its first branch goes on. `condition`: a graph input, or an initializer of the outermost graph, which
   is known, so that the branches are put in place of their nodes. */
static tenon_buf nested_ifs(int depth, bool known)
{
    tenon_buf inner = buffer(), graph = buffer(), model = buffer(), attrs = buffer(), leaf = buffer();
    pb_node(&inner, 1, "Neg", "", "x", "r", NULL);
    pb_value(&inner, 12, "r", 1, NULL);
    for (int i = 0; i < depth; i++) {
        pb_node(&leaf, 1, "Neg", "", "x", "r", NULL);
        pb_value(&leaf, 12, "r", 1, NULL);
        pb_attr_graph(&attrs, "then_branch", &inner);
        pb_attr_graph(&attrs, "else_branch", &leaf);
        const bool last = i == depth - 1;
        pb_node(last ? &graph : &inner, 1, "If", "", "c", last ? "y" : "r", &attrs);
        if (!last) pb_value(&inner, 12, "r", 1, NULL);
    }
    pb_value(&graph, 11, "x", 1, "2");
    pb_value(&graph, 12, "y", 1, NULL);
    if (known) pb_init(&graph, "c", 9, NULL, 0, "\1", 1);
    else pb_value(&graph, 11, "c", 9, "");
    pb_model(&model, &graph, 17);
    tenon_buf_free(&inner);
    tenon_buf_free(&graph);
    tenon_buf_free(&attrs);
    tenon_buf_free(&leaf);
    return model;
}

static void test_subgraphs(void)
{
    static const int depth[] = {40, 70, 1000, 5000};
    for (size_t i = 0; i < TENON_COUNTOF(depth); i++)
        for (int known = 0; known < 2; known++) {
            tenon_buf model = nested_ifs(depth[i], known);
            REFUSED("sub-graphs in sub-graphs", &model, TENON_CORRUPT, "nested too deeply");
        }
    tenon_buf model = nested_ifs(20, true);
    REFUSED("20 of them are fine", &model, TENON_OK, "");
}

/* The type of an input: a sequence of sequences of ... */
static void test_types(void)
{
    tenon_buf type = buffer(), element = buffer(), info = buffer(), graph = buffer(), model = buffer();
    tenon_wire_put_int(&element, 1, 1);
    tenon_wire_put_message(&type, 1, &element); /* tensor(float) */
    for (int i = 0; i < 3000; i++) {
        tenon_wire_put_message(&element, 1, &type); /* its elem_type */
        tenon_wire_put_message(&type, 4, &element); /* sequence_type */
    }
    tenon_wire_put_text(&info, 1, "x");
    tenon_wire_put_message(&info, 2, &type);
    tenon_wire_put_message(&graph, 11, &info);
    pb_node(&graph, 1, "Identity", "", "x", "y", NULL);
    pb_value(&graph, 12, "y", 1, NULL);
    pb_model(&model, &graph, 17);
    REFUSED("a sequence of sequences", &model, TENON_CORRUPT, "nested too deeply");
    tenon_buf_free(&type);
    tenon_buf_free(&element);
    tenon_buf_free(&info);
    tenon_buf_free(&graph);
}

/* f0 calls f1 calls f2 ..., each `calls` times: with two calls, 2 to the `count` nodes. */
static tenon_buf functions(int count, int calls)
{
    tenon_buf graph = buffer(), model = buffer(), f = buffer();
    pb_value(&graph, 11, "x", 1, "2");
    pb_value(&graph, 12, "y", 1, NULL);
    pb_node(&graph, 1, "f0", "f", "x", "y", NULL);
    pb_model(&model, &graph, 17);
    pb_opset(&model, 8, "f", 1);
    for (int i = 0; i < count; i++) {
        char name[16], next[16], from[16], to[16];
        snprintf(name, sizeof name, "f%d", i);
        snprintf(next, sizeof next, "f%d", i + 1);
        tenon_wire_put_text(&f, 1, name);
        tenon_wire_put_text(&f, 10, "f");
        tenon_wire_put_text(&f, 4, "v0");
        snprintf(to, sizeof to, "v%d", calls);
        tenon_wire_put_text(&f, 5, to);
        for (int k = 0; k < calls; k++) {
            snprintf(from, sizeof from, "v%d", k);
            snprintf(to, sizeof to, "v%d", k + 1);
            if (i + 1 < count) pb_node(&f, 7, next, "f", from, to, NULL);
            else pb_node(&f, 7, "Relu", "", from, to, NULL);
        }
        pb_opset(&f, 9, "", 17);
        tenon_wire_put_message(&model, 25, &f);
    }
    tenon_buf_free(&graph);
    tenon_buf_free(&f);
    return model;
}

static void test_functions(void)
{
    tenon_buf deep = functions(3000, 1), many = functions(40, 2), few = functions(30, 1);
    REFUSED("functions in functions", &deep, TENON_INVALID, "nested more than");
    REFUSED("a trillion calls", &many, TENON_NOMEM, "out of memory"); /* with more of it: too many nodes */
    REFUSED("30 functions are fine", &few, TENON_OK, "");
}

/* ---- length and order ---- */
static tenon_buf chain(int length)
{
    tenon_buf graph = buffer(), model = buffer();
    char in[16], out[16];
    pb_value(&graph, 11, "x", 1, "2");
    pb_value(&graph, 12, "y", 1, NULL);
    for (int i = length - 1; i >= 0; i--) { /* the last one first */
        snprintf(in, sizeof in, "v%d", i);
        snprintf(out, sizeof out, "v%d", i + 1);
        pb_node(&graph, 1, i & 1 ? "Relu" : "Neg", "", i ? in : "x", i == length - 1 ? "y" : out, NULL);
    }
    pb_model(&model, &graph, 17);
    tenon_buf_free(&graph);
    return model;
}

static void test_long_chains(void)
{
    tenon_network *network = NULL;
    tenon_buf model = chain(50000), shorter = chain(2000);
    CHECK_OK(cx, tenon_network_read(cx, model.data, model.length, &(tenon_read_options){.keep_nodes = true}, &network));
    tenon_network_destroy(&network);
    tenon_buf_free(&model);
    REFUSED("2000 nodes in reverse", &shorter, TENON_OK, "");
}

static void test_cycles(void)
{
    tenon_buf graph = buffer(), model = buffer(), body = buffer(), attrs = buffer();
    for (int captured = 0; captured < 2; captured++) {
        pb_value(&graph, 11, "x", 1, "2");
        pb_value(&graph, 11, "c", 9, "");
        pb_value(&graph, 12, "y", 1, NULL);
        if (captured) { /* the branches of the node that gives a read what is made of a */
            for (int i = 0; i < 2; i++) {
                pb_node(&body, 1, "Neg", "", "b", "r", NULL);
                pb_value(&body, 12, "r", 1, NULL);
                pb_attr_graph(&attrs, i ? "else_branch" : "then_branch", &body);
            }
            pb_node(&graph, 1, "If", "", "c", "a", &attrs);
        } else {
            pb_node(&graph, 1, "Add", "", "x,b", "a", NULL);
        }
        pb_node(&graph, 1, "Mul", "", "a,x", "b", NULL);
        pb_node(&graph, 1, "Neg", "", "b", "y", NULL);
        pb_model(&model, &graph, 17);
        REFUSED(captured ? "a cycle through a branch" : "a cycle", &model, TENON_INVALID, "depends on its own result");
    }
    tenon_buf_free(&graph);
    tenon_buf_free(&body);
    tenon_buf_free(&attrs);
}

/* ---- sizes ---- */
typedef struct big { const char *type, *in; int dtype; int64_t values[4]; int rank, count; tenon_status status; const char *part; } big;

/* One node with a constant k as its last input: what it asks for is told by name, or is not made of memory before it is needed. */
static void ask(const big *b)
{
    tenon_buf graph = buffer(), model = buffer();
    pb_value(&graph, 11, "x", 1, "2,3");
    pb_value(&graph, 12, "y", b->dtype, NULL);
    pb_init(&graph, "k", 7, (int64_t[]){b->count}, b->rank, b->values, (size_t)b->count * 8);
    pb_init(&graph, "one", 7, NULL, 0, (int64_t[]){1}, 8);
    pb_init(&graph, "pair", 1, (int64_t[]){2}, 1, (float[]){0, 1}, 8);
    pb_node(&graph, 1, b->type, "", b->in, "y", NULL);
    pb_model(&model, &graph, 17);
    REFUSED(b->type, &model, b->status, b->part);
    tenon_buf_free(&graph);
}

static void test_sizes(void)
{
    static const big row[] = {
        {"ConstantOfShape", "k", 1, {1 << 30, 4, 4}, 1, 3, TENON_INVALID, "'y': 65536 bytes given, its shape needs 68719476736"},
        {"ConstantOfShape", "k", 1, {INT64_MAX, 4}, 1, 2, TENON_UNSUPPORTED, "'y' is too large to address"},
        {"ConstantOfShape", "k", 1, {-5}, 1, 1, TENON_INVALID, ""},
        {"Expand", "x,k", 1, {INT64_MAX, 2, 3}, 1, 3, TENON_UNSUPPORTED, "y' is too large to address"},
        {"Expand", "x,k", 1, {1 << 30, 2, 3}, 1, 3, TENON_INVALID, "'y': 65536 bytes given"},
        {"Tile", "x,k", 1, {INT64_MAX / 2, 3}, 1, 2, TENON_UNSUPPORTED, "'y' is too large to address"},
        {"Tile", "x,k", 1, {1 << 30, 4}, 1, 2, TENON_INVALID, "'y': 65536 bytes given"},
        {"Pad", "x,k", 1, {INT64_MAX, 0, INT64_MAX, 0}, 1, 4, TENON_INVALID, ""},
        {"Pad", "x,k", 1, {(int64_t)1 << 40, 0, 0, 0}, 1, 4, TENON_INVALID, "'y': 65536 bytes given"},
        {"Pad", "x,k", 1, {-3, 0, 0, 0}, 1, 4, TENON_INVALID, ""},
        {"Reshape", "x,k", 1, {INT64_MAX, INT64_MAX}, 1, 2, TENON_UNSUPPORTED, "y' is too large to address"},
        {"Reshape", "x,k", 1, {4, 2}, 1, 2, TENON_INVALID, ""},
        {"Reshape", "x,k", 1, {-1, -1}, 1, 2, TENON_INVALID, ""},
        {"Range", "one,k,one", 7, {INT64_MAX}, 0, 1, TENON_INVALID, "'y': 65536 bytes given"},
        {"Resize", "x,,,k", 1, {1 << 20, 1 << 20}, 1, 2, TENON_INVALID, "'y': 65536 bytes given"},
        {"Resize", "x,,,k", 1, {INT64_MAX, 2}, 1, 2, TENON_UNSUPPORTED, "'y' is too large to address"},
        {"Unsqueeze", "x,k", 1, {0, 1, 2, INT_MAX}, 1, 4, TENON_INVALID, ""},
        {"Gather", "x,k", 1, {5}, 1, 1, TENON_INVALID, ""},
        {"TopK", "x,k", 1, {100}, 1, 1, TENON_INVALID, ""},
        {"Split", "x,k", 1, {1, 100}, 1, 2, TENON_INVALID, ""},
    };
    for (size_t i = 0; i < TENON_COUNTOF(row); i++) ask(&row[i]);
}

int main(void)
{
    const tenon_allocator little = {little_alloc, little_realloc, little_free, &heap};
    CHECK(tenon_cx_create(&(tenon_cx_options){.log = quiet, .allocator = &little}, &cx) == TENON_OK);
    test_subgraphs();
    test_types();
    test_functions();
    test_long_chains();
    test_cycles();
    test_sizes();
    printf("at most %zu MB at a time\n", most_live >> 20);
    tenon_cx_destroy(&cx);
    CHECK(heap.live == 0 && live_bytes == 0);
    return CHECK_END();
}
