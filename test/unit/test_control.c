/* SPDX-License-Identifier: Apache-2.0 */
/* Control flow and sizes known only at run time, through the whole way: planned, written to a file, loaded, run. Networks are written as
   graph text and exported to ONNX, so that the reader is on the way too. */
#include "check.h"

#include "onnx/onnx.h"
#include "op/eval.h"

#include <unistd.h>

static tenon_cx *cx;

/* Graph text -> ONNX -> network -> engine -> file -> engine. */
static tenon_engine *engine_of(const char *text)
{
    tenon_arena arena;
    tenon_graph *g = NULL;
    tenon_buf onnx;
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_engine *built = NULL, *loaded = NULL;
    char path[] = "/tmp/tenon-control-XXXXXX";
    const int fd = mkstemp(path);
    tenon_arena_init(&arena, cx);
    tenon_buf_init(&onnx, cx);
    bool ok = fd >= 0 && CHECK_OK(cx, tenon_graph_parse(cx, &arena, tenon_op_find, text, &g)) &&
              CHECK_OK(cx, tenon_infer_graph(cx, g)) && CHECK_OK(cx, tenon_onnx_write(cx, g, &onnx)) &&
              CHECK_OK(cx, tenon_network_read(cx, onnx.data, onnx.length, NULL, &network)) &&
              CHECK_OK(cx, tenon_config_create(cx, &config)) && CHECK_OK(cx, tenon_config_set_device(config, "cpu", 0)) &&
              CHECK_OK(cx, tenon_config_set_threads(config, 2)) && CHECK_OK(cx, tenon_config_set_timing(config, false));
    if (ok) ok = CHECK_OK(cx, tenon_build(cx, network, config, &built)) && CHECK_OK(cx, tenon_engine_save(cx, built, path));
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    tenon_engine_destroy(&built);
    tenon_buf_free(&onnx);
    tenon_arena_free(&arena);
    if (ok) CHECK_OK(cx, tenon_engine_load(cx, path, NULL, &loaded));
    if (fd >= 0) close(fd);
    unlink(path);
    return loaded;
}

static void set(tenon_context *c, const char *name, void *data, size_t bytes)
{
    const tenon_status status = tenon_context_set_address(c, name, data, bytes);
    CHECK(status == TENON_OK);
    if (status != TENON_OK) fprintf(stderr, "  %s\n", tenon_context_message(c));
}

static bool run(tenon_context *c)
{
    const tenon_status status = tenon_context_run(c);
    CHECK(status == TENON_OK);
    if (status != TENON_OK) fprintf(stderr, "  %s\n", tenon_context_message(c));
    return status == TENON_OK;
}

/* An output whose size depends on data has this shape ("2x3") and these values. */
static void gives(tenon_context *c, const char *name, const char *shape, const float *want, size_t count)
{
    int rank;
    int64_t dim[TENON_MAX_RANK];
    const void *data = NULL;
    size_t bytes = 0;
    char got[128] = "";
    CHECK(tenon_context_shape(c, name, &rank, dim) == TENON_OK);
    for (int i = 0; i < rank; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%lld", i ? "x" : "", (long long)dim[i]);
    CHECK_TEXT(got, shape);
    const bool ok = tenon_context_output(c, name, &data, &bytes) == TENON_OK && bytes == count * sizeof(float);
    CHECK(ok);
    if (!ok) fprintf(stderr, "  %s: %zu bytes %s\n", name, bytes, tenon_context_message(c));
    for (size_t i = 0; ok && i < count; i++) {
        if (((const float *)data)[i] != want[i])
            fprintf(stderr, "  %s[%zu] is %g, not %g\n", name, i, ((const float *)data)[i], want[i]);
        CHECK(((const float *)data)[i] == want[i]);
    }
}

/* What is carried grows by x + i in each turn; sums of it are stacked; each turn puts x * i in a sequence, which is joined. */
static void test_loop(void)
{
    tenon_engine *e = engine_of(
        "graph(x: f32[2], n: i64[]) {\n"
        "  y = relu(x)\n"
        "  none = sequence_empty() dtype=f32\n"
        "  all, made, sums = loop(n, -, x, none) body=graph(i: i64[], go: bool[], sofar: f32[*], list: sequence(f32[2])) {\n"
        "    on = identity(go)\n"
        "    k = cast(i) to=f32\n"
        "    t = add(x, k)\n"
        "    more = concat(sofar, t) axis=0\n"
        "    u = mul(y, k)\n"
        "    longer = sequence_insert(list, u, -)\n"
        "    sum = reduce_sum(more) keepdims=0\n"
        "    return on, more, longer, sum\n"
        "  }\n"
        "  joined = concat_from_sequence(made) axis=0\n"
        "  twice = add(all, all)\n"
        "  return twice, sums, joined, y\n"
        "}\n");
    tenon_context *c = NULL;
    if (!e || !CHECK_OK(cx, tenon_context_create(cx, e, NULL, &c))) goto done;
    float x[2] = {1, -3}, y[2];
    int64_t n = 3;
    int rank;
    int64_t dim[TENON_MAX_RANK];
    set(c, "x", x, sizeof x);
    set(c, "n", &n, sizeof n);
    set(c, "y", y, sizeof y);
    CHECK(tenon_context_shape(c, "twice", &rank, dim) == TENON_OK && rank == 1 && dim[0] == -1);
    if (run(c)) {
        gives(c, "twice", "8", (float[]){2, -6, 2, -6, 4, -4, 6, -2}, 8);
        gives(c, "sums", "3", (float[]){-4, -4, -2}, 3);
        gives(c, "joined", "6", (float[]){0, 0, 1, 0, 2, 0}, 6);
        CHECK(y[0] == 1 && y[1] == 0);
    }
    n = 1;
    x[1] = 2;
    if (run(c)) {
        gives(c, "twice", "4", (float[]){2, 4, 2, 4}, 4);
        gives(c, "sums", "1", (float[]){6}, 1);
        gives(c, "joined", "2", (float[]){0, 0}, 2);
    }
done:
    tenon_context_destroy(&c);
    tenon_engine_destroy(&e);
}

/* A condition known only at run time; both branches capture; what follows is a step like any other. */
static void test_if(void)
{
    tenon_engine *e = engine_of("graph(x: f32[2,3], c: bool[]) {\n"
                                "  y = mul(x, x)\n"
                                "  z = if(c) then_branch=graph() {\n"
                                "    a = add(x, y)\n"
                                "    return a\n"
                                "  } else_branch=graph() {\n"
                                "    b = neg(y)\n"
                                "    return b\n"
                                "  }\n"
                                "  w = softmax(z) axis=1\n"
                                "  r = add(z, x)\n"
                                "  return r, w\n"
                                "}\n");
    tenon_context *c = NULL;
    if (!e || !CHECK_OK(cx, tenon_context_create(cx, e, NULL, &c))) goto done;
    float x[6] = {1, 2, 3, -1, 0, 4}, r[6], w[6];
    uint8_t flag = 1;
    set(c, "x", x, sizeof x);
    set(c, "c", &flag, sizeof flag);
    set(c, "r", r, sizeof r);
    set(c, "w", w, sizeof w);
    for (int round = 0; round < 4; round++) {
        flag = round % 2 == 0;
        if (!run(c)) continue;
        for (int i = 0; i < 6; i++) CHECK(r[i] == (flag ? x[i] * x[i] + 2 * x[i] : x[i] - x[i] * x[i]));
        CHECK(w[0] + w[1] + w[2] > 0.9999f && w[0] + w[1] + w[2] < 1.0001f);
    }
done:
    tenon_context_destroy(&c);
    tenon_engine_destroy(&e);
}

/* How many are found depends on the data; steps after that have their size. */
static void test_found(void)
{
    tenon_engine *e = engine_of("graph(x: f32[3,4]) {\n"
                                "  zero: f32[] = const {0.0}\n"
                                "  shape: i64[1] = const {-1}\n"
                                "  flat = reshape(x, shape)\n"
                                "  yes = greater(flat, zero)\n"
                                "  where = non_zero(yes)\n"
                                "  places = reshape(where, shape)\n"
                                "  found = gather(flat, places) axis=0\n"
                                "  half = sqrt(found)\n"
                                "  total = reduce_sum(half) keepdims=0\n"
                                "  count = shape(found)\n"
                                "  one: f32[] = const {1.0}\n"
                                "  ones = expand(one, count)\n"
                                "  return half, total, count, ones\n"
                                "}\n");
    tenon_context *c = NULL;
    if (!e || !CHECK_OK(cx, tenon_context_create(cx, e, NULL, &c))) goto done;
    float x[12] = {4, -1, 0, 9, -2, 16, 0, 0, 1, -5, -6, 25}, total = 0;
    int64_t count = -1;
    set(c, "x", x, sizeof x);
    set(c, "total", &total, sizeof total);
    set(c, "count", &count, sizeof count);
    if (run(c)) {
        gives(c, "half", "5", (float[]){2, 3, 4, 1, 5}, 5);
        const void *sum = &total;
        size_t bytes;
        if (total == 0) CHECK(tenon_context_output(c, "total", &sum, &bytes) == TENON_OK);
        CHECK(*(const float *)sum == 15);
        CHECK(count == 5);
        gives(c, "ones", "5", (float[]){1, 1, 1, 1, 1}, 5);
    }
    for (int i = 0; i < 12; i++) x[i] = -1;
    if (run(c)) {
        gives(c, "half", "0", NULL, 0);
        gives(c, "ones", "0", NULL, 0);
        CHECK(count == 0);
    }
done:
    tenon_context_destroy(&c);
    tenon_engine_destroy(&e);
}

int main(void)
{
    CHECK(tenon_cx_create(NULL, &cx) == TENON_OK);
    test_loop();
    test_if();
    test_found();
    tenon_cx_destroy(&cx);
    return CHECK_END();
}
