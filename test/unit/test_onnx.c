/* SPDX-License-Identifier: Apache-2.0 */
/* The importer on small models made by hand: what becomes of them, and that hostile ones get a status and a message. */
#include "check.h"
#include "pb.h"

#include "onnx/onnx.h"
#include "op/eval.h"

#include <unistd.h>

static tenon_cx cx;

typedef struct loaded { tenon_arena arena; tenon_onnx_files files; tenon_graph *g; } loaded;

static tenon_status load_bytes(loaded *l, const void *data, size_t bytes, const char *path)
{
    memset(l, 0, sizeof *l);
    tenon_arena_init(&l->arena, &cx);
    return tenon_onnx_read(&cx, &l->arena, data, bytes, path, &l->files, &l->g);
}

static tenon_status load(loaded *l, tenon_buf *model)
{
    tenon_status status = load_bytes(l, model->data, model->length, NULL);
    if (status == TENON_OK) status = tenon_graph_verify(l->g);
    return status;
}

static void unload(loaded *l)
{
    tenon_arena_free(&l->arena);
    tenon_onnx_close(&l->files);
}

/* The operators of a graph, in order: "matmul,add". */
static const char *ops(const tenon_graph *g)
{
    static char text[512];
    text[0] = 0;
    for (size_t i = 0; i < g->node_count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? "," : "", g->node[i]->op->name);
    return text;
}

/* Runs a graph of f32 inputs and one f32 output. */
static bool run(tenon_graph *g, const float *const *in, const int64_t (*dim)[2], float *out, int64_t count)
{
    tenon_heap heap;
    tenon_tensor src[4], dst = {0};
    tenon_heap_init(&heap, &cx);
    for (size_t i = 0; i < g->input_count; i++) {
        src[i] = (tenon_tensor){.dtype = TENON_F32, .rank = 2, .dim = {dim[i][0], dim[i][1]}, .data = (void *)(uintptr_t)in[i]};
        tenon_tensor_dense(&src[i]);
    }
    bool ok = CHECK_OK(&cx, tenon_eval_graph(&cx, g, src, (int)g->input_count, &dst, 1, &heap, NULL, NULL));
    ok = ok && dst.dtype == TENON_F32 && tenon_tensor_count(&dst) == count;
    for (int64_t i = 0; ok && i < count; i++) out[i] = (float)tenon_tensor_get_f64(&dst, tenon_tensor_offset(&dst, i));
    tenon_heap_free(&heap);
    return ok;
}

static const int64_t two_three[] = {2, 3};
static const float weight[] = {1, 2, 3, 4, 5, 6};

/* y = relu(2 * x w^T + c), its nodes in reverse order */
static void gemm_graph(tenon_buf *graph)
{
    tenon_buf attrs;
    pb_buf(&attrs, &cx);
    tenon_wire_put_text(graph, 2, "g");
    pb_node(graph, 1, "Relu", "", "t", "y", NULL);
    pb_attr_int(&attrs, "transB", 1);
    pb_attr_float(&attrs, "alpha", 2);
    pb_node(graph, 1, "Gemm", "", "x,w,c", "t", &attrs);
    pb_init(graph, "w", 1, two_three, 2, weight, sizeof weight);
    pb_init(graph, "c", 1, (int64_t[]){2}, 1, (float[]){-40, 1}, 8);
    pb_value(graph, 11, "x", 1, "batch,3");
    pb_value(graph, 11, "w", 1, "2,3"); /* IR version 3: an initializer is also an input */
    pb_value(graph, 12, "y", 1, "batch,2");
    tenon_buf_free(&attrs);
}

static void test_gemm(void)
{
    tenon_buf graph, model;
    loaded l;
    pb_buf(&graph, &cx);
    pb_buf(&model, &cx);
    gemm_graph(&graph);
    pb_model(&model, &graph, 13);
    if (CHECK_OK(&cx, load(&l, &model))) {
        CHECK_TEXT(ops(l.g), "transpose,matmul,mul,add,relu");
        CHECK(l.g->input_count == 1 && l.g->output_count == 1);
        CHECK_TEXT(l.g->output[0]->name, "y");
        CHECK_TEXT(l.g->node[1]->name, "Gemm_0");
        CHECK(l.g->output[0]->type.rank == 2 && l.g->output[0]->type.dim[0] == l.g->input[0]->type.dim[0]);
        CHECK(l.g->dims->symbol_count == 1 && l.g->dims->symbol[0].lo == 1);
        CHECK_TEXT(l.g->dims->symbol[0].name, "batch");
        float y[4];
        const float x[] = {1, 1, 1, 0, 0, 1};
        if (run(l.g, (const float *const[]){x}, (const int64_t[][2]){{2, 3}}, y, 4))
            CHECK(y[0] == 0 && y[1] == 31 && y[2] == 0 && y[3] == 13);
    }
    unload(&l);
    for (size_t n = 0; n < model.length; n++) { /* cut off anywhere: a status and a message */
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, model.data, n);
        CHECK(load_bytes(&l, copy, n, NULL) != TENON_OK && cx.message[0]);
        unload(&l);
        free(copy);
    }
    for (size_t n = 0; n < model.length; n++)
        for (int k = 0; k < 4; k++) { /* changed anywhere: any status, no crash */
            static const uint8_t change[] = {0x01, 0x80, 0xff, 0x10};
            model.data[n] ^= (char)change[k];
            if (load_bytes(&l, model.data, model.length, NULL) == TENON_OK) CHECK(l.g != NULL);
            unload(&l);
            model.data[n] ^= (char)change[k];
        }
    tenon_buf_free(&graph);
    tenon_buf_free(&model);
}

/* What is written is read again, and computes the same. */
static void test_round_trip(void)
{
    tenon_buf graph, model, attrs;
    loaded l;
    pb_buf(&graph, &cx);
    pb_buf(&model, &cx);
    pb_buf(&attrs, &cx);
    pb_value(&graph, 11, "x", 1, "batch,3");
    pb_value(&graph, 12, "y", 1, NULL);
    pb_attr_int(&attrs, "keepdims", 0);
    pb_attr_ints(&attrs, "axes", (int64_t[]){-1}, 1);
    pb_node(&graph, 1, "ReduceSum", "", "x", "s", &attrs);
    pb_node(&graph, 1, "QuickGelu", "com.microsoft", "s", "q", NULL);
    pb_node(&graph, 1, "Max", "", "q,s,q", "y", NULL);
    pb_model(&model, &graph, 11);
    float want[2], got[2];
    const float x[] = {1, 2, 3, -1, 0, -2};
    if (CHECK_OK(&cx, load(&l, &model))) {
        CHECK_TEXT(ops(l.g), "reduce_sum,silu,max,max");
        CHECK(run(l.g, (const float *const[]){x}, (const int64_t[][2]){{2, 3}}, want, 2));
        tenon_buf_clear(&model);
        CHECK_OK(&cx, tenon_onnx_write(&cx, l.g, &model));
    }
    unload(&l);
    if (CHECK_OK(&cx, load(&l, &model))) {
        CHECK_TEXT(ops(l.g), "reduce_sum,mul,sigmoid,mul,max,max");
        CHECK(run(l.g, (const float *const[]){x}, (const int64_t[][2]){{2, 3}}, got, 2));
        CHECK(want[0] > 5.9f && want[0] <= 6 && got[0] - want[0] < 1e-6f && want[0] - got[0] < 1e-6f);
        CHECK_TEXT(l.g->dims->symbol[0].name, "batch");
    }
    unload(&l);
    tenon_buf_free(&graph);
    tenon_buf_free(&model);
    tenon_buf_free(&attrs);
}

/* scale(x, by=3) calls inner(x, by): attribute references through two calls; then functions that call each other. */
static void test_functions(void)
{
    tenon_buf graph, model, f, attrs;
    loaded l;
    pb_buf(&graph, &cx);
    pb_buf(&model, &cx);
    pb_buf(&f, &cx);
    pb_buf(&attrs, &cx);
    for (int recursive = 0; recursive < 2; recursive++) {
        tenon_buf_clear(&model);
        pb_value(&graph, 11, "x", 1, "1,2");
        pb_value(&graph, 12, "y", 1, NULL);
        pb_attr_float(&attrs, "by", 0.25f);
        pb_node(&graph, 1, "outer", "f", "x", "y", &attrs);
        pb_model(&model, &graph, 17);
        pb_opset(&model, 8, "f", 1);
        static const char *const name[] = {"outer", "inner"};
        for (int i = 0; i < 2; i++) {
            tenon_wire_put_text(&f, 1, name[i]);
            tenon_wire_put_text(&f, 10, "f");
            tenon_wire_put_text(&f, 4, "a");
            tenon_wire_put_text(&f, 4, "absent");
            tenon_wire_put_text(&f, 5, "b");
            tenon_wire_put_text(&f, 6, "by");
            pb_attr_ref(&attrs, i == 0 ? "by" : "alpha", "by", 1);
            if (i == 0) pb_node(&f, 7, "inner", "f", "a", "b", &attrs);
            else if (recursive) pb_node(&f, 7, "outer", "f", "a", "b", NULL);
            else pb_node(&f, 7, "LeakyRelu", "", "a", "b", &attrs);
            tenon_buf_clear(&attrs);
            pb_opset(&f, 9, "", 17);
            tenon_wire_put_message(&model, 25, &f);
        }
        if (recursive) CHECK_FAILS(&cx, load(&l, &model), TENON_INVALID, "the function calls itself");
        else if (CHECK_OK(&cx, load(&l, &model))) {
            float y[2];
            CHECK_TEXT(ops(l.g), "leaky_relu");
            CHECK_TEXT(l.g->node[0]->name, "outer_0/inner_1/LeakyRelu_2");
            CHECK_TEXT(l.g->output[0]->name, "y");
            if (run(l.g, (const float *const[]){(float[]){-4, 4}}, (const int64_t[][2]){{1, 2}}, y, 2))
                CHECK(y[0] == -1 && y[1] == 4);
        }
        unload(&l);
    }
    tenon_buf_free(&graph);
    tenon_buf_free(&model);
    tenon_buf_free(&f);
    tenon_buf_free(&attrs);
}

/* If, with branches that capture x and a value made after the node in the file. A condition known at build takes its branch. */
static void subgraph(bool known)
{
    tenon_buf graph, model, attrs, body;
    loaded l;
    pb_buf(&graph, &cx);
    pb_buf(&model, &cx);
    pb_buf(&attrs, &cx);
    pb_buf(&body, &cx);
    pb_value(&graph, 11, "x", 1, "2");
    pb_value(&graph, 12, "y", 1, NULL);
    if (known) pb_init(&graph, "c", 9, NULL, 0, "\1", 1);
    else pb_value(&graph, 11, "c", 9, "");
    for (int i = 0; i < 2; i++) {
        pb_node(&body, 1, i ? "Add" : "Mul", "", "x,late", "r", NULL);
        pb_value(&body, 12, "r", 1, NULL);
        pb_attr_graph(&attrs, i ? "else_branch" : "then_branch", &body);
    }
    pb_node(&graph, 1, "If", "", "c", "y", &attrs);
    pb_node(&graph, 1, "Neg", "", "x", "late", NULL);
    pb_model(&model, &graph, 17);
    if (CHECK_OK(&cx, load(&l, &model))) {
        CHECK_TEXT(ops(l.g), known ? "neg,mul" : "neg,if");
        CHECK_TEXT(l.g->output[0]->name, "y");
        if (known) CHECK_TEXT(l.g->node[1]->name, "If_1/Mul_2");
        else
        CHECK(l.g->node[1]->sub_count == 2 && l.g->node[1]->sub[0]->node[0]->src[1] == l.g->node[0]->dst[0]);
        CHECK(l.g->output[0]->type.rank == 1);
    }
    unload(&l);
    tenon_buf_free(&graph);
    tenon_buf_free(&model);
    tenon_buf_free(&attrs);
    tenon_buf_free(&body);
}

/* One node between x (2,3) and y; the failure's message holds `part`. */
static void fails(const char *type, const char *domain, const char *in, const char *out, const char *shape, int dtype, int opset,
                  tenon_buf *attrs,
                  tenon_status status, const char *part)
{
    tenon_buf graph, model;
    loaded l;
    pb_buf(&graph, &cx);
    pb_buf(&model, &cx);
    pb_value(&graph, 11, "x", dtype, shape);
    pb_value(&graph, 12, "y", 1, NULL);
    pb_node(&graph, 1, type, domain, in, out, attrs);
    pb_model(&model, &graph, opset);
    CHECK_FAILS(&cx, load(&l, &model), status, part);
    unload(&l);
    tenon_buf_free(&graph);
    tenon_buf_free(&model);
}

static void test_refused(void)
{
    tenon_buf attrs;
    pb_buf(&attrs, &cx);
    fails("Relu", "", "z", "y", "2,3", 1, 17, NULL, TENON_INVALID, "reads 'z', which no node");
    fails("Relu", "", "y", "y", "2,3", 1, 17, NULL, TENON_INVALID, "depends on its own result");
    fails("Relu", "", "x", "z", "2,3", 1, 17, NULL, TENON_INVALID, "output 'y' is given by no node");
    fails("Relu", "", "x", "x", "2,3", 1, 17, NULL, TENON_INVALID, "depends on its own result");
    fails("Relu", "", "x", "y", NULL, 1, 17, NULL, TENON_UNSUPPORTED, "'x' has no shape");
    fails("Relu", "", "x", "y", "-7", 1, 17, NULL, TENON_INVALID, "dimension 0 is -7");
    fails("Relu", "", "x", "y", "9223372036854775807,2", 1, 17, NULL, TENON_INVALID, "dimension 0 is 9223372036854775807");
    fails("Relu", "", "x", "y", "1,1,1,1,1,1,1,1,1", 1, 17, NULL, TENON_UNSUPPORTED, "9 dimensions");
    fails("Relu", "", "x", "y", "2", 14, 17, NULL, TENON_UNSUPPORTED, "COMPLEX64");
    fails("Relu", "", "x", "y", "2", 99, 17, NULL, TENON_UNSUPPORTED, "(99)");
    fails("Relu", "", "x", "y", "2", 1, 6, NULL, TENON_UNSUPPORTED, "opset 6");
    fails("Sigmoid", "", "x,x,x", "y", "2", 1, 17, NULL, TENON_INVALID, "3 inputs");
    fails("Magic", "", "x", "y", "2", 1, 17, NULL, TENON_UNSUPPORTED,
          "1 operator of this model cannot be converted: Magic (opset 17; 1 node)");
    fails("Relu", "my.own", "x", "y", "2", 1, 17, NULL, TENON_UNSUPPORTED, "my.own.Relu");
    fails("GatherND", "", "x,x", "y", "2", 1, 7, NULL, TENON_UNSUPPORTED, "GatherND (opset 7");
    fails("MatMul", "", "x,x", "y", "2,3", 1, 17, NULL, TENON_INVALID, "MatMul_0");
    pb_attr_float(&attrs, "perm", 1);
    fails("Transpose", "", "x", "y", "2,3", 1, 17, &attrs, TENON_INVALID, "attribute 'perm' is not a list of integers");
    pb_attr_int(&attrs, "surprise", 1);
    fails("Relu", "", "x", "y", "2,3", 1, 17, &attrs, TENON_UNSUPPORTED, "attribute 'surprise' has no counterpart");
    tenon_buf_free(&attrs);
}

static void refuse_init(int dtype, const int64_t *dim, int rank, size_t bytes, tenon_status status, const char *part)
{
    static const uint8_t zeros[64];
    tenon_buf graph, model;
    loaded l;
    pb_buf(&graph, &cx);
    pb_buf(&model, &cx);
    pb_init(&graph, "w", dtype, dim, rank, zeros, bytes);
    pb_node(&graph, 1, "Identity", "", "w", "y", NULL);
    pb_value(&graph, 12, "y", 1, NULL);
    pb_model(&model, &graph, 17);
    CHECK_FAILS(&cx, load(&l, &model), status, part);
    unload(&l);
    tenon_buf_free(&graph);
    tenon_buf_free(&model);
}

static void test_tensors_refused(void)
{
    const int64_t huge[] = {INT64_MAX / 2, 8}, negative[] = {-1}, big[] = {1 << 30};
    refuse_init(1, two_three, 2, 20, TENON_CORRUPT, "initializer 'w' has 20 bytes of data; its type and dimensions need 24");
    refuse_init(1, huge, 2, 24, TENON_INVALID, "too many elements");
    refuse_init(1, negative, 1, 4, TENON_INVALID, "negative dimension");
    refuse_init(1, big, 1, 4, TENON_CORRUPT, "need 4294967296");
    refuse_init(0, two_three, 2, 24, TENON_INVALID, "element type");
    refuse_init(15, two_three, 2, 24, TENON_UNSUPPORTED, "COMPLEX128");
}

static void external(const char *location, const char *offset, const char *length, const char *path, tenon_status status,
                     const char *part)
{
    tenon_buf graph, model, t, e;
    loaded l;
    pb_buf(&graph, &cx);
    pb_buf(&model, &cx);
    pb_buf(&t, &cx);
    pb_buf(&e, &cx);
    const char *const entry[][2] = {{"location", location}, {"offset", offset}, {"length", length}};
    tenon_wire_put_int(&t, 1, 4);
    tenon_wire_put_int(&t, 2, 1);
    tenon_wire_put_text(&t, 8, "w");
    tenon_wire_put_int(&t, 14, 1);
    for (int i = 0; i < 3; i++) {
        tenon_wire_put_text(&e, 1, entry[i][0]);
        tenon_wire_put_text(&e, 2, entry[i][1]);
        tenon_wire_put_message(&t, 13, &e);
    }
    tenon_wire_put_message(&graph, 5, &t);
    pb_node(&graph, 1, "Identity", "", "w", "y", NULL);
    pb_value(&graph, 12, "y", 1, NULL);
    pb_model(&model, &graph, 17);
    const tenon_status got = load_bytes(&l, model.data, model.length, path);
    if (status != TENON_OK) CHECK_FAILS(&cx, got, status, part);
    else if (CHECK_OK(&cx, got)) CHECK(tenon_tensor_get_f64(l.g->node[0]->src[0]->data, 3) == 4);
    unload(&l);
    tenon_buf_free(&graph);
    tenon_buf_free(&model);
    tenon_buf_free(&t);
    tenon_buf_free(&e);
}

static void test_external(void)
{
    char folder[] = "/tmp/tenon_onnx_XXXXXX", path[64], data[64];
    const float values[] = {0, 1, 2, 3, 4};
    if (!mkdtemp(folder)) {
        SKIP("no temporary folder");
        return;
    }
    snprintf(path, sizeof path, "%s/m.onnx", folder);
    snprintf(data, sizeof data, "%s/w.bin", folder);
    CHECK_OK(&cx, tenon_file_save(&cx, data, values, sizeof values));
    external("w.bin", "4", "16", path, TENON_OK, "");
    external("w.bin", "8", "16", path, TENON_CORRUPT, "'w.bin', which has 20");
    external("w.bin", "18446744073709551615", "16", path, TENON_INVALID, "no number");
    external("w.bin", "9223372036854775807", "16", path, TENON_CORRUPT, "which has 20");
    external("w.bin", "4", "12", path, TENON_CORRUPT, "12 bytes of data");
    external("../w.bin", "4", "16", path, TENON_INVALID, "initializer 'w'");
    external("/etc/hostname", "0", "16", path, TENON_INVALID, "initializer 'w'");
    external("w.bin", "4", "16", NULL, TENON_INVALID, "read the model from its file");
    remove(data);
    rmdir(folder);
}

static void test_not_onnx(void)
{
    static const struct { const char *data; size_t bytes; const char *part; } row[] = {
        {"", 0, "empty"}, {"ptrt\0\0\0\0", 8, "TensorRT engine"}, {"PK\3\4rest", 8, "zip"}, {"{\"a\": 1}", 8, "JSON"},
            {"hello, this is text", 19, "text"},
        {"version https://git-lfs.github.com/spec/v1", 42, "git lfs pull"}, {"\x08\x08", 2, "holds no graph"},
            {"\x3a\x00", 2, "imports no operator set"},
        {"\x7f" "ELF\2\1\1", 7, "program"},
    };
    loaded l;
    for (size_t i = 0; i < TENON_COUNTOF(row); i++) {
        CHECK_FAILS(&cx, load_bytes(&l, row[i].data, row[i].bytes, NULL), TENON_CORRUPT, row[i].part);
        unload(&l);
    }
}

/* Every allocation of a read fails once: a status, and nothing stays behind. */
static void test_no_memory(void)
{
    tenon_buf graph, model;
    pb_buf(&graph, &cx);
    pb_buf(&model, &cx);
    gemm_graph(&graph);
    pb_model(&model, &graph, 13);
    check_heap heap = {0};
    bool passed = false;
    for (long n = 1; n < 1000 && !passed; n++) {
        tenon_cx poor;
        tenon_arena arena;
        tenon_onnx_files files = {0};
        tenon_graph *g;
        tenon_cx_init_default(&poor);
        heap = (check_heap){.fail_at = n};
        poor.alloc = (tenon_allocator){check_heap_alloc, check_heap_realloc, check_heap_free, &heap};
        tenon_arena_init(&arena, &poor);
        const tenon_status status = tenon_onnx_read(&poor, &arena, (const uint8_t *)model.data, model.length, NULL, &files, &g);
        CHECK(status == TENON_OK || status == TENON_NOMEM);
        passed = status == TENON_OK && heap.calls < n;
        tenon_arena_free(&arena);
        tenon_onnx_close(&files);
        CHECK(heap.live == 0);
    }
    CHECK(passed);
    tenon_buf_free(&graph);
    tenon_buf_free(&model);
}

int main(void)
{
    tenon_cx_init_default(&cx);
    test_gemm();
    test_round_trip();
    test_functions();
    subgraph(false);
    subgraph(true);
    test_refused();
    test_tensors_refused();
    test_external();
    test_not_onnx();
    test_no_memory();
    return CHECK_END();
}
