/* SPDX-License-Identifier: Apache-2.0 */
/* The interpreter: graphs over their values' lifetimes, outputs in the caller's buffers, weight expressions, captured values,
   messages, and running out of memory at every place. */
#include "check.h"

#include "op/eval.h"
#include "op/pointwise.h"

static tenon_cx cx;
static tenon_arena arena;
static tenon_dim_pool pool;
static tenon_graph *g;

static void begin(void)
{
    tenon_arena_init(&arena, &cx);
    tenon_dim_pool_init(&pool, &arena);
    CHECK_OK(&cx, tenon_graph_create(&cx, &arena, &pool, NULL, &g));
}
static void end(void) { tenon_arena_free(&arena); }

static void list_add(tenon_graph *graph, tenon_value ***list, size_t *count, size_t *capacity, tenon_value *v)
{
    CHECK_OK(&cx, tenon_arena_grow(graph->arena, (void **)list, capacity, *count + 1, sizeof **list));
    (*list)[(*count)++] = v;
}
static tenon_value *input(tenon_graph *graph, int64_t n)
{
    const tenon_type t = { .dtype = TENON_F32, .rank = 1, .dim = { tenon_dim_const(&pool, n) } };
    tenon_value *v = NULL;
    CHECK_OK(&cx, tenon_graph_value(graph, "x", &t, &v));
    list_add(graph, &graph->input, &graph->input_count, &graph->input_capacity, v);
    return v;
}
static void output(tenon_graph *graph, tenon_value *v) { list_add(graph, &graph->output, &graph->output_count,
                                                                  &graph->output_capacity, v); }
static tenon_value *apply(tenon_graph *graph, const tenon_op *op, tenon_value *a, tenon_value *b)
{
    tenon_value *src[2] = { a, b };
    tenon_node *n = NULL;
    CHECK_OK(&cx, tenon_graph_node(graph, op, op->name, b ? 2 : 1, src, 1, &n));
    CHECK_OK(&cx, tenon_infer_node(&cx, graph, n));
    return n->dst[0];
}
static tenon_tensor vector(float *data, int64_t n)
{
    return (tenon_tensor){ .dtype = TENON_F32, .rank = 1, .dim = { n }, .stride = { 1 }, .data = data };
}

/* A long chain in little memory: results of passed nodes are given back. */
static size_t live_bytes, peak_bytes;
static void *counting_alloc(void *user, size_t bytes)
{
    (void)user;
    size_t *p = malloc(bytes + 64);
    if (!p) return NULL;
    p[0] = bytes;
    live_bytes += bytes;
    if (live_bytes > peak_bytes) peak_bytes = live_bytes;
    return (char *)p + 64;
}
static void counting_free(void *user, void *p)
{
    (void)user;
    if (!p) return;
    size_t *head = (size_t *)(void *)((char *)p - 64);
    live_bytes -= head[0];
    free(head);
}
static void *counting_realloc(void *user, void *p, size_t bytes)
{
    void *q = counting_alloc(user, bytes);
    if (!q || !p) return q;
    const size_t old = *(size_t *)(void *)((char *)p - 64);
    memcpy(q, p, old < bytes ? old : bytes);
    counting_free(user, p);
    return q;
}

static void test_chain(void)
{
    enum { N = 10000, DEPTH = 50 };
    static float x[N];
    const tenon_allocator plain = cx.alloc;
    cx.alloc = (tenon_allocator){ counting_alloc, counting_realloc, counting_free, NULL };
    begin();
    tenon_value *v = input(g, N), *first = v;
    for (int i = 0; i < DEPTH; i++) v = apply(g, &tenon_op_add, v, first);
    output(g, v);
    for (int i = 0; i < N; i++) x[i] = (float)(i % 7);
    tenon_tensor in = vector(x, N), out = { .data = NULL };
    tenon_heap heap;
    tenon_heap_init(&heap, &cx);
    const size_t before = live_bytes;
    peak_bytes = before;
    CHECK_OK(&cx, tenon_eval_graph(&cx, g, &in, 1, &out, 1, &heap, NULL, NULL));
    CHECK(out.data && ((float *)out.data)[3] == 3 * (DEPTH + 1) && out.rank == 1 && out.dim[0] == N);
    CHECK(peak_bytes - before < 5 * N * sizeof(float));
    CHECK(heap.bytes == N * sizeof(float));
    tenon_heap_free(&heap);
    CHECK(live_bytes == before);
    end();
    CHECK(live_bytes == 0);
    cx.alloc = plain;
}

static void test_outputs(void)
{
    begin();
    tenon_value *x = input(g, 4), *y = apply(g, &tenon_op_neg, x, NULL), *z = apply(g, &tenon_op_add, y, y), *c = NULL;
    CHECK_OK(&cx, tenon_graph_const_f32(g, "c", 3, &c));
    output(g, z);
    output(g, x); /* an input that is an output */
    output(g, c); /* a constant that is one */
    output(g, y);
    float data[4] = { 1, 2, 3, 4 }, strided[8] = { 0 };
    tenon_tensor in = vector(data, 4), out[4] = { vector(strided, 4) };
    out[0].stride[0] = 2;
    tenon_heap heap;
    tenon_heap_init(&heap, &cx);
    CHECK_OK(&cx, tenon_eval_graph(&cx, g, &in, 1, out, 4, &heap, NULL, NULL));
    CHECK(strided[0] == -2 && strided[2] == -4 && strided[6] == -8 && strided[1] == 0);
    CHECK(out[1].data != data && ((float *)out[1].data)[3] == 4);
    CHECK(out[2].data != c->data->data && ((float *)out[2].data)[0] == 3);
    CHECK(((float *)out[3].data)[1] == -2);
    tenon_tensor small[4] = { vector(strided, 3) };
    CHECK_FAILS(&cx, tenon_eval_graph(&cx, g, &in, 1, small, 4, &heap, NULL, NULL), TENON_INVALID, "another type or shape");
    CHECK_FAILS(&cx, tenon_eval_graph(&cx, g, &in, 1, out, 3, &heap, NULL, NULL), TENON_INVALID, "4 outputs");
    tenon_heap_free(&heap);
    end();
}

/* w' = (w + w) * 2 as a weight expression; evaluated once. */
static void test_const(void)
{
    begin();
    float w[3] = { 1, 2, 3 };
    const tenon_tensor wt = vector(w, 3);
    tenon_value *v = NULL, *two = NULL;
    CHECK_OK(&cx, tenon_graph_const(g, "w", &wt, false, &v));
    CHECK_OK(&cx, tenon_graph_const_f32(g, "two", 2, &two));
    tenon_value *sum = apply(g, &tenon_op_add, v, v), *product = apply(g, &tenon_op_mul, sum, two);
    sum->is_const = product->is_const = true;
    sum->expr = sum->producer;
    product->expr = product->producer;
    sum->producer = product->producer = NULL;
    for (size_t i = 0; i < g->node_count; i++) g->node[i]->dead = true;
    tenon_value *x = input(g, 3), *y = apply(g, &tenon_op_add, x, product);
    output(g, y);
    float data[3] = { 10, 20, 30 };
    tenon_tensor in = vector(data, 3), out = { .data = NULL };
    tenon_heap heap;
    tenon_heap_init(&heap, &cx);
    CHECK_OK(&cx, tenon_eval_graph(&cx, g, &in, 1, &out, 1, &heap, NULL, NULL));
    CHECK(out.data && ((float *)out.data)[2] == 42);
    const tenon_tensor *t = NULL, *again = NULL;
    CHECK_OK(&cx, tenon_eval_const(&cx, g, product, &t));
    CHECK(t && t->rank == 1 && ((const float *)t->data)[1] == 8 && product->data == t && sum->data);
    CHECK_OK(&cx, tenon_eval_const(&cx, g, product, &again));
    CHECK(again == t);
    CHECK_FAILS(&cx, tenon_eval_const(&cx, g, x, &t), TENON_INTERNAL, "not a constant");
    tenon_heap_free(&heap);
    end();
}

/* ---- an operator with a sub-graph, made here: runs its body twice ---- */
static tenon_status twice_infer(tenon_cx *c, tenon_graph *graph, tenon_node *n)
{
    (void)c, (void)graph;
    tenon_infer_set(n, 0, n->src[0]->type.dtype, n->src[0]->type.rank, n->src[0]->type.dim);
    return TENON_OK;
}
static tenon_status twice_ref(tenon_cx *c, tenon_eval_call *call)
{
    tenon_tensor a = { .data = NULL }, b = { .data = NULL };
    TENON_TRY(call->run_graph(c, call, 0, call->src, 1, &a, 1));
    TENON_TRY(call->run_graph(c, call, 0, &a, 1, &b, 1));
    call->dst[0] = b;
    return TENON_OK;
}
static const tenon_op op_twice = { .name = "twice", .flags = TENON_OP_CONTROL, .src_min = 1, .src_max = 1, .dst_min = 1,
                                   .dst_max = 1,
                                   .infer = twice_infer, .ref = twice_ref };

static void test_capture(void)
{
    begin();
    tenon_value *x = input(g, 2), *k = apply(g, &tenon_op_add, x, x); /* captured by the body and by nobody else */
    tenon_graph *body = NULL, *inner = NULL;
    CHECK_OK(&cx, tenon_graph_create(&cx, &arena, &pool, g, &body));
    tenon_value *bx = input(body, 2);
    CHECK_OK(&cx, tenon_graph_create(&cx, &arena, &pool, body, &inner));
    tenon_value *ix = input(inner, 2);
    output(inner, apply(inner, &tenon_op_add, ix, k)); /* two levels up */
    tenon_node *call = NULL, *outer = NULL;
    CHECK_OK(&cx, tenon_graph_node(body, &op_twice, "inner", 1, &bx, 1, &call));
    call->sub_count = 1;
    call->sub = &inner;
    CHECK_OK(&cx, tenon_infer_node(&cx, body, call));
    output(body, call->dst[0]);
    tenon_value *unused = apply(g, &tenon_op_neg, k, NULL); /* a last use of k before the call would be wrong */
    (void)unused;
    CHECK_OK(&cx, tenon_graph_node(g, &op_twice, "outer", 1, &x, 1, &outer));
    outer->sub_count = 1;
    outer->sub = &body;
    CHECK_OK(&cx, tenon_infer_node(&cx, g, outer));
    output(g, apply(g, &tenon_op_neg, outer->dst[0], NULL));
    float data[2] = { 1, 10 };
    tenon_tensor in = vector(data, 2), out = { .data = NULL };
    tenon_heap heap;
    tenon_heap_init(&heap, &cx);
    CHECK_OK(&cx, tenon_eval_graph(&cx, g, &in, 1, &out, 1, &heap, NULL, NULL));
    CHECK(out.data && ((float *)out.data)[0] == -9 && ((float *)out.data)[1] == -90); /* x + 4 * 2x */
    tenon_heap_free(&heap);
    end();
}

static void test_messages(void)
{
    begin();
    tenon_value *x = input(g, 3), *y = input(g, 3);
    output(g, apply(g, &tenon_op_mul, x, y));
    g->node[0]->name = "Mul_7";
    float data[3] = { 1, 2, 3 };
    tenon_tensor in[2] = { vector(data, 3), vector(data, 2) }, out = { .data = NULL };
    tenon_heap heap;
    tenon_heap_init(&heap, &cx);
    CHECK_FAILS(&cx, tenon_eval_graph(&cx, g, in, 2, &out, 1, &heap, NULL, NULL), TENON_INVALID,
                "mul 'Mul_7': dimensions 3 and 2");
    tenon_heap_free(&heap);
    end();
}

/* Each allocation of an evaluation fails once: a status, no leak, no crash. */
static void test_no_memory(void)
{
    begin();
    tenon_value *x = input(g, 3), *y = apply(g, &tenon_op_exp, x, NULL);
    output(g, apply(g, &tenon_op_add, apply(g, &tenon_op_mul, y, x), y));
    float data[3] = { 0, 1, 2 };
    const tenon_tensor in = vector(data, 3);
    const tenon_allocator plain = cx.alloc;
    bool done = false;
    long failures = 0;
    for (long at = 1; at < 1000 && !done; at++) {
        check_heap h = { .fail_at = at };
        cx.alloc = (tenon_allocator){ check_heap_alloc, check_heap_realloc, check_heap_free, &h };
        tenon_heap heap;
        tenon_heap_init(&heap, &cx);
        tenon_tensor out = { .data = NULL };
        const tenon_status status = tenon_eval_graph(&cx, g, &in, 1, &out, 1, &heap, NULL, NULL);
        tenon_heap_free(&heap);
        if (h.live != 0 || (status != TENON_OK && status != TENON_NOMEM)) break;
        failures += status == TENON_NOMEM;
        done = status == TENON_OK;
    }
    cx.alloc = plain;
    CHECK(done && failures > 5);
    end();
}

int main(void)
{
    tenon_cx_init_default(&cx);
    cx.log_severity = -1;
    test_chain();
    test_outputs();
    test_const();
    test_capture();
    test_messages();
    test_no_memory();
    return CHECK_END();
}
