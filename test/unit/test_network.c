/* SPDX-License-Identifier: Apache-2.0 */
/* Networks by adding nodes: what is built so computes what the reference says, goes on from a model that was read, holds control flow;
   every mistake is told with the node's name and leaves the network as it was. */
#include "check.h"
#include "digits.h"

#include <math.h>

static tenon_cx *cx;

/* ---- short hands ---- */
#define INT(n, v) {.name = n, .kind = TENON_ATTRIBUTE_INT, .i = v}
#define FLOAT(n, v) {.name = n, .kind = TENON_ATTRIBUTE_FLOAT, .f = v}
#define INTS(n, ...)                                                                                                             \
    {.name = n, .kind = TENON_ATTRIBUTE_INTS, .ints = (int64_t[]){__VA_ARGS__}, .count = sizeof(int64_t[]){__VA_ARGS__} / 8}
#define BODY(n, b) {.name = n, .kind = TENON_ATTRIBUTE_BODY, .body = b}
#define VALUES(...) (tenon_value *[]){__VA_ARGS__}, sizeof(tenon_value *[]){__VA_ARGS__} / sizeof(tenon_value *)

static tenon_status try_node(tenon_network *n, const char *op, const char *name, tenon_value *const *input, size_t inputs,
                             const tenon_attribute *attribute, size_t attributes, size_t outputs, tenon_value **out)
{
    const tenon_node_desc d = {.op = op, .name = name, .input = input, .input_count = inputs, .attribute = attribute,
                               .attribute_count = attributes, .output_count = outputs};
    return tenon_network_add_node(cx, n, &d, out);
}

static tenon_value *node(tenon_network *n, const char *op, const char *name, tenon_value *const *input, size_t inputs,
                         const tenon_attribute *attribute, size_t attributes)
{
    tenon_value *v = NULL;
    CHECK_OK(cx, try_node(n, op, name, input, inputs, attribute, attributes, 1, &v));
    return v;
}

static tenon_value *input(tenon_network *n, const char *name, tenon_dtype dtype, int rank, const int64_t *dim,
                          const char *const *names)
{
    tenon_value *v = NULL;
    CHECK_OK(cx, tenon_network_add_input(cx, n, name, dtype, rank, dim, names, &v));
    return v;
}

static tenon_value *constant(tenon_network *n, const char *name, int rank, const int64_t *dim, float *data, tenon_ownership how)
{
    tenon_value *v = NULL;
    tenon_host_tensor t = {.name = name, .dtype = TENON_F32, .rank = rank, .data = data};
    memcpy(t.dim, dim, (size_t)rank * sizeof *dim);
    CHECK_OK(cx, tenon_network_add_constant(cx, n, &t, how, &v));
    return v;
}

static tenon_value *scalar_i64(tenon_network *n, const char *name, int64_t v)
{
    tenon_value *out = NULL;
    CHECK_OK(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){.name = name, .dtype = TENON_I64, .data = &v},
                                            TENON_COPY, &out));
    return out;
}

static tenon_network *create(void)
{
    tenon_network *n = NULL;
    CHECK_OK(cx, tenon_network_create(cx, NULL, &n));
    return n;
}

static void output(tenon_network *n, tenon_value *v, const char *name)
{
    CHECK_OK(cx, tenon_network_mark_output(cx, n, v, name, NULL));
}

static void fill(float *x, size_t count, unsigned seed)
{
    for (size_t i = 0; i < count; i++) x[i] = (float)((i * 31 + seed * 17) % 23) / 23 - 0.45f;
}

/* Runs by an engine of the CPU and by the reference; the output's elements, or 0. */
static size_t run_both(tenon_network *n, const tenon_host_tensor *in, size_t in_count, const char *name, float *got, float *want,
                       size_t room)
{
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    tenon_context *context = NULL;
    tenon_host_tensor ref[4] = {{0}};
    const size_t outs = tenon_network_binding_count(n) - in_count;
    size_t count = 0;
    int profile;
    CHECK_OK(cx, tenon_config_create(cx, &config));
    CHECK(tenon_config_set_device(config, "cpu", 0) == TENON_OK && tenon_config_set_threads(config, 1) == TENON_OK &&
          tenon_config_set_timing(config, false) == TENON_OK && tenon_config_add_profile(config, &profile) == TENON_OK);
    for (size_t i = 0; i < in_count; i++)
        CHECK(tenon_config_set_shape(config, profile, in[i].name, in[i].rank, in[i].dim, in[i].dim, in[i].dim) == TENON_OK);
    if (CHECK_OK(cx, tenon_build(cx, n, config, &engine)) && CHECK_OK(cx, tenon_context_create(cx, engine, NULL, &context)) &&
        CHECK_OK(cx, tenon_network_run_reference(cx, n, in, in_count, ref, outs))) {
        size_t o = 0;
        while (o + 1 < outs && strcmp(ref[o].name, name) != 0) o++;
        count = 1;
        for (int i = 0; i < ref[o].rank; i++) count *= (size_t)ref[o].dim[i];
        CHECK(count <= room && ref[o].dtype == TENON_F32);
        if (count > room) count = 0;
        memcpy(want, ref[o].data, count * sizeof *want);
        for (size_t i = 0; i < in_count; i++) {
            size_t elements = 1;
            for (int k = 0; k < in[i].rank; k++) elements *= (size_t)in[i].dim[k];
            CHECK(tenon_context_set_address(context, in[i].name, in[i].data,
                                            elements * tenon_dtype_bits(in[i].dtype) / 8) == TENON_OK);
        }
        int rank;
        int64_t dim[TENON_MAX_RANK];
        CHECK(tenon_context_shape(context, name, &rank, dim) == TENON_OK);
        const bool heap = rank > 0 && dim[0] < 0;
        static float spare[4][256];
        for (size_t k = 0; k < outs; k++) CHECK(tenon_context_set_address(context, ref[k].name, spare[k],
                                                                          sizeof *spare) == TENON_OK);
        if (!heap) CHECK(tenon_context_set_address(context, name, got, count * sizeof *got) == TENON_OK);
        const tenon_status status = tenon_context_run(context);
        if (status != TENON_OK) fprintf(stderr, "%s\n", tenon_context_message(context));
        CHECK(status == TENON_OK);
        if (heap) {
            const void *data;
            size_t bytes;
            CHECK(tenon_context_output(context, name, &data, &bytes) == TENON_OK && bytes == count * sizeof *got);
            memcpy(got, data, count * sizeof *got);
        }
        tenon_reference_free(cx, ref, outs);
    }
    tenon_context_destroy(&context);
    tenon_engine_destroy(&engine);
    tenon_config_destroy(&config);
    return count;
}

static void check_same(tenon_network *n, const tenon_host_tensor *in, size_t in_count, const char *name, size_t elements)
{
    static float got[4096], want[4096];
    const size_t count = run_both(n, in, in_count, name, got, want, 4096);
    CHECK(count == elements);
    float worst = 0;
    for (size_t i = 0; i < count; i++) worst = fmaxf(worst, fabsf(got[i] - want[i]));
    CHECK(worst <= 1e-5f);
}

/* ---- tests ---- */
static void test_convolutions(void)
{
    static float w[8 * 3 * 3 * 3], b[8], fc[8 * 5], x[2 * 3 * 9 * 9];
    fill(w, 216, 1), fill(b, 8, 2), fill(fc, 40, 3), fill(x, 486, 4);
    tenon_network *n = create();
    tenon_value *v = input(n, "x", TENON_F32, 4, (int64_t[]){-1, 3, 9, 9}, (const char *const[]){"batch", NULL, NULL, NULL});
    tenon_value *const weight = constant(n, "w", 4, (int64_t[]){8, 3, 3, 3}, w, TENON_BORROW);
    tenon_value *const bias = constant(n, "b", 1, (int64_t[]){8}, b, TENON_COPY);
    tenon_value *const dense = constant(n, NULL, 2, (int64_t[]){8, 5}, fc, TENON_COPY);
    const tenon_attribute conv[] = {INTS("pads", 1, 1, 1, 1), INTS("strides", 2, 2)};
    v = node(n, "Conv", "stem", VALUES(v, weight, bias), conv, 2);
    tenon_value_info info;
    CHECK_OK(cx, tenon_network_value_info(cx, n, v, &info));
    CHECK_TEXT(info.name, "stem");
    CHECK(info.dtype == TENON_F32 && info.rank == 4 && info.dim[0] == -1 && info.dim[1] == 8 && info.dim[2] == 5 &&
          !info.is_output);
    CHECK_TEXT(info.dim_name[0], "batch");
    CHECK(!info.dim_name[1]);
    v = node(n, "Relu", NULL, VALUES(v), NULL, 0);
    v = node(n, "GlobalAveragePool", NULL, VALUES(v), NULL, 0);
    v = node(n, "Flatten", NULL, VALUES(v), NULL, 0);
    v = node(n, "Gemm", "fc", VALUES(v, dense), NULL, 0);
    output(n, v, "y");
    CHECK_OK(cx, tenon_network_value_info(cx, n, v, &info));
    CHECK(info.is_output && !strcmp(info.name, "y") && info.rank == 2 && info.dim[1] == 5);
    CHECK_OK(cx, tenon_network_value_info(cx, n, weight, &info));
    CHECK(info.is_constant && info.data == w);
    CHECK_OK(cx, tenon_network_value_info(cx, n, bias, &info));
    CHECK(info.is_constant && info.data != b && !memcmp(info.data, b, sizeof b));
    check_same(n, &(tenon_host_tensor){"x", TENON_F32, 4, {2, 3, 9, 9}, x}, 1, "y", 10);
    check_same(n, &(tenon_host_tensor){"x", TENON_F32, 4, {1, 3, 9, 9}, x}, 1, "y", 5); /* a second build of the same network */
    tenon_network_destroy(&n);
    CHECK(!n);
}

/* Tenon's own operators, those of other domains, and an operator that hands its input through. */
static void test_operators(void)
{
    float scale[6], x[4 * 6];
    fill(scale, 6, 1), fill(x, 24, 2);
    tenon_network *n = create();
    tenon_value *v = input(n, "x", TENON_F32, 2, (int64_t[]){-1, 6}, NULL);
    tenon_value_info info;
    CHECK_OK(cx, tenon_network_value_info(cx, n, v, &info));
    CHECK_TEXT(info.dim_name[0], "x_0");
    tenon_value *const s = constant(n, "scale", 1, (int64_t[]){6}, scale, TENON_COPY);
    v = node(n, "rms_norm", "norm", VALUES(v, s), (const tenon_attribute[]){FLOAT("epsilon", 1e-5)}, 1);
    v = node(n, "com.microsoft.QuickGelu", "gelu", VALUES(v), NULL, 0);
    tenon_value *const same = node(n, "Dropout", "drop", VALUES(v), NULL, 0);
    CHECK(same != v);
    v = node(n, "ai.onnx.Concat", "both", VALUES(same, v), (const tenon_attribute[]){INT("axis", 0)}, 1);
    CHECK_OK(cx, tenon_network_value_info(cx, n, v, &info));
    CHECK_TEXT(info.dim_name[0], "x_0*2");
    output(n, v, NULL);
    tenon_value *again = NULL;
    CHECK_OK(cx, tenon_network_mark_output(cx, n, v, "twice", &again));
    CHECK(again && again != v);
    tenon_value *split[2], *found = NULL;
    const tenon_node_desc top = {.op = "TopK", .name = "top", .input = (tenon_value *[]){same, scalar_i64(n, "k", 2)},
                                 .input_count = 2,
                                 .output_count = 2, .output_name = (const char *const[]){"best", ""}};
    CHECK_OK(cx, tenon_network_add_node(cx, n, &top, split));
    CHECK(split[0] && !split[1]);
    CHECK_OK(cx, tenon_network_find_value(cx, n, "best", &found));
    CHECK(found == split[0]);
    CHECK_FAILS(cx, tenon_network_find_value(cx, n, "worst", &found), TENON_INVALID, "no value 'worst'");
    const tenon_host_tensor in = {"x", TENON_F32, 2, {4, 6}, x};
    check_same(n, &in, 1, "both", 48);
    CHECK_OK(cx, tenon_network_unmark_output(cx, n, again));
    CHECK_FAILS(cx, tenon_network_unmark_output(cx, n, again), TENON_INVALID, "no output");
    CHECK(tenon_network_binding_count(n) == 2);
    /* every node can be looked at, and its operands are handles */
    size_t concats = 0;
    tenon_node_info row;
    for (size_t i = 0; i < tenon_network_node_count(n); i++) {
        CHECK_OK(cx, tenon_network_node_info(cx, n, i, &row));
        concats += !strcmp(row.op, "concat") && row.input_count == 2 && row.input[0] == same && row.output[0] == v;
    }
    CHECK(concats == 1);
    CHECK_FAILS(cx, tenon_network_node_info(cx, n, 1000, &row), TENON_INVALID, "the network has");
    tenon_network_destroy(&n);
}

static void test_types(void)
{
    tenon_network *n = create();
    uint16_t half[4] = {0x3c00, 0x4000, 0x4200, 0x4400};
    const char *words[] = {"a", "bc"};
    tenon_value *h = NULL, *w = NULL;
    CHECK_OK(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){"h", TENON_F16, 1, {4}, half}, TENON_COPY, &h));
    CHECK_OK(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){"w", TENON_STRING, 1, {2}, words}, TENON_COPY, &w));
    tenon_value *const f = node(n, "Cast", "f", VALUES(h), (const tenon_attribute[]){{.name = "to",
            .kind = TENON_ATTRIBUTE_DTYPE, .i = TENON_F32}}, 1);
    tenon_value_info info;
    CHECK_OK(cx, tenon_network_value_info(cx, n, f, &info));
    CHECK(info.dtype == TENON_F32 && info.dim[0] == 4);
    float data[3] = {1, 2, 3};
    const tenon_host_tensor t = {.dtype = TENON_F32, .rank = 1, .dim = {3}, .data = data};
    tenon_value *const c = node(n, "Constant", "c", NULL, 0, (const tenon_attribute[]){{.name = "value",
            .kind = TENON_ATTRIBUTE_TENSOR, .tensor = &t}}, 1);
    CHECK_OK(cx, tenon_network_value_info(cx, n, c, &info));
    CHECK(info.is_constant && info.dim[0] == 3);
    tenon_value *const x = input(n, "x", TENON_F32, 1, (int64_t[]){4}, NULL);
    output(n, node(n, "Mul", "y", VALUES(x, f), NULL, 0), NULL);
    float in[4] = {1, 1, 2, 2};
    check_same(n, &(tenon_host_tensor){"x", TENON_F32, 1, {4}, in}, 1, "y", 4);
    tenon_network_destroy(&n);
}

/* A model that was read is gone on with: another head, and its old output is none any more. */
static void test_read(void)
{
    size_t bytes;
    uint8_t *model = digits_model(&bytes);
    tenon_network *n = NULL;
    tenon_value *y = NULL;
    static float x[2 * 64];
    digits_input(x, 2);
    CHECK_OK(cx, tenon_network_read(cx, model, bytes, NULL, &n));
    CHECK_OK(cx, tenon_network_find_value(cx, n, "y", &y));
    output(n, node(n, "Softmax", "probabilities", VALUES(y), (const tenon_attribute[]){INT("axis", 1)}, 1), NULL);
    CHECK_OK(cx, tenon_network_unmark_output(cx, n, y));
    check_same(n, &(tenon_host_tensor){"x", TENON_F32, 4, {2, 1, 8, 8}, x}, 1, "probabilities", 20);
    tenon_network_destroy(&n);
    free(model);
}

static void test_branches(void)
{
    float x[3] = {1, -2, 3}, two[1] = {2};
    tenon_network *n = create(), *yes = NULL, *no = NULL;
    tenon_value *const v = input(n, "x", TENON_F32, 1, (int64_t[]){3}, NULL);
    tenon_value *const c = input(n, "c", TENON_BOOL, 0, NULL, NULL);
    CHECK_OK(cx, tenon_network_create_body(cx, n, "yes", &yes));
    CHECK_OK(cx, tenon_network_create_body(cx, n, "no", &no));
    output(yes, node(yes, "Mul", "scaled", VALUES(v, constant(yes, "two", 1, (int64_t[]){1}, two, TENON_COPY)), NULL, 0), NULL);
    output(no, node(no, "Neg", "turned", VALUES(v), NULL, 0), NULL);
    const tenon_attribute bodies[] = {BODY("then_branch", yes), BODY("else_branch", no)};
    tenon_value *r = node(n, "If", "choice", VALUES(c), bodies, 2);
    output(n, node(n, "Abs", "y", VALUES(r), NULL, 0), NULL);
    tenon_value *late;
    CHECK_FAILS(cx, tenon_network_add_input(cx, yes, "late", TENON_F32, 0, NULL, NULL, &late), TENON_INVALID,
                "cannot be changed");
    for (int i = 0; i < 2; i++) {
        bool flag = i;
        const tenon_host_tensor in[] = {{"x", TENON_F32, 1, {3}, x}, {"c", TENON_BOOL, 0, {0}, &flag}};
        float got[3], want[3];
        CHECK(run_both(n, in, 2, "y", got, want, 3) == 3);
        CHECK(!memcmp(got, want, sizeof got) && got[1] == (i ? 4.f : 2.f));
    }
    tenon_network_destroy(&yes);
    CHECK(!yes);
    tenon_network_destroy(&n);
}

/* sum = x * count by a Loop that also collects each partial sum; a Scan over the rows. */
static void test_loops(void)
{
    float x[4] = {1, 2, 3, 4};
    bool on = true;
    tenon_network *n = create(), *body = NULL;
    tenon_value *const v = input(n, "x", TENON_F32, 1, (int64_t[]){4}, NULL);
    tenon_value *go = NULL, *out[2];
    CHECK_OK(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){"go", TENON_BOOL, 0, {0}, &on}, TENON_COPY, &go));
    CHECK_OK(cx, tenon_network_create_body(cx, n, NULL, &body));
    (void)input(body, "turn", TENON_I64, 0, NULL, NULL);
    tenon_value *const cond = input(body, "cond", TENON_BOOL, 0, NULL, NULL), *const sum = input(body, "sum", TENON_F32, 1,
            (int64_t[]){4}, NULL);
    tenon_value *const more = node(body, "Add", "more", VALUES(sum, v), NULL, 0);
    output(body, cond, NULL);
    output(body, more, NULL);
    output(body, more, NULL);
    const tenon_attribute a[] = {BODY("body", body)};
    CHECK_OK(cx, try_node(n, "Loop", "loop", (tenon_value *[]){scalar_i64(n, "count", 3), go, v}, 3, a, 1, 2, out));
    output(n, node(n, "Neg", "y", VALUES(out[0]), NULL, 0), NULL);
    float got[12], want[12];
    const tenon_host_tensor in = {"x", TENON_F32, 1, {4}, x};
    CHECK(run_both(n, &in, 1, "y", got, want, 12) == 4);
    CHECK(got[0] == -4 && got[3] == -16 && !memcmp(got, want, 16));
    output(n, out[1], "parts");
    CHECK(run_both(n, &in, 1, "parts", got, want, 12) == 12);
    CHECK(got[0] == 2 && got[11] == 16 && !memcmp(got, want, sizeof got));
    tenon_network_destroy(&n);

    float rows[6] = {1, 2, 3, 4, 5, 6};
    n = create();
    tenon_value *const m = input(n, "m", TENON_F32, 2, (int64_t[]){3, 2}, NULL);
    tenon_value *const zero = constant(n, "zero", 1, (int64_t[]){2}, (float[]){0, 0}, TENON_COPY);
    CHECK_OK(cx, tenon_network_create_body(cx, n, "cumulate", &body));
    tenon_value *const state = input(body, "state", TENON_F32, 1, (int64_t[]){2}, NULL), *const row = input(body, "row",
            TENON_F32, 1, (int64_t[]){-1}, NULL);
    /* an axis that is known only at run time is not proved equal: the body has to say what it is */
    CHECK_FAILS(cx, try_node(body, "Add", "next", VALUES(state, row), NULL, 0, 1, out), TENON_INVALID, "are not proved equal");
    CHECK_OK(cx, tenon_network_create_body(cx, n, "again", &body));
    tenon_value *const s2 = input(body, "state", TENON_F32, 1, (int64_t[]){2}, NULL), *const r2 = input(body, "row", TENON_F32,
            1, (int64_t[]){2}, NULL);
    tenon_value *const sum2 = node(body, "Add", "next", VALUES(s2, r2), NULL, 0);
    output(body, sum2, NULL);
    output(body, sum2, NULL);
    const tenon_attribute scan[] = {BODY("body", body), INT("num_scan_inputs", 1)};
    CHECK_OK(cx, try_node(n, "Scan", "scan", (tenon_value *[]){zero, m}, 2, scan, 2, 2, out));
    output(n, out[1], "all");
    CHECK(run_both(n, &(tenon_host_tensor){"m", TENON_F32, 2, {3, 2}, rows}, 1, "all", got, want, 12) == 6);
    CHECK(got[4] == 9 && got[5] == 12);
    tenon_network_destroy(&n);
}

/* ---- mistakes ---- */
#define WRONG(part, ...) CHECK_FAILS(cx, try_node(n, __VA_ARGS__, 1, &v), TENON_INVALID, part)
#define UNKNOWN(part, ...) CHECK_FAILS(cx, try_node(n, __VA_ARGS__, 1, &v), TENON_UNSUPPORTED, part)

static void test_mistakes(void)
{
    tenon_network *n = create(), *other = create();
    tenon_value *const x = input(n, "x", TENON_F32, 2, (int64_t[]){-1, 4}, NULL), *const i = input(n, "i", TENON_I64, 1,
            (int64_t[]){4}, NULL);
    tenon_value *const foreign = input(other, "x", TENON_F32, 1, (int64_t[]){4}, NULL), *v;
    UNKNOWN("node 'n1' (Convv): there is no operator 'Convv'", "Convv", "n1", VALUES(x), NULL, 0);
    UNKNOWN("the nearest is 'Conv'", "Convv", "n1", VALUES(x), NULL, 0);
    UNKNOWN("no operator 'pack_gemm'", "pack_gemm", "n1", VALUES(x), NULL, 0);
    UNKNOWN("no operator 'com.nobody.Relu'", "com.nobody.Relu", "n1", VALUES(x), NULL, 0);
    UNKNOWN("node 'n1' (Softmax): attribute 'axes' has no counterpart", "Softmax", "n1", VALUES(x),
            (const tenon_attribute[]){INT("axes", 1)}, 1);
    UNKNOWN("there are: axis", "Softmax", "n1", VALUES(x), (const tenon_attribute[]){INT("axes", 1)}, 1);
    UNKNOWN("'transX' is not one that is read", "Gemm", "n1", VALUES(x, x), (const tenon_attribute[]){INT("transX", 1),
            INT("transB", 1)}, 2);
    WRONG("node 'n1' (Softmax): attribute 'axis' is not an integer", "Softmax", "n1", VALUES(x),
          (const tenon_attribute[]){FLOAT("axis", 1)}, 1);
    WRONG("attribute 'axis' is given twice", "Softmax", "n1", VALUES(x), (const tenon_attribute[]){INT("axis", 1), INT("axis",
            1)}, 2);
    WRONG("attribute 0 has no name", "Softmax", "n1", VALUES(x), (const tenon_attribute[]){INT("", 1)}, 1);
    WRONG("kind 99", "Softmax", "n1", VALUES(x), (const tenon_attribute[]){{.name = "axis", .kind = (tenon_attribute_kind)99}},
          1);
    WRONG("is no element type", "Cast", "n1", VALUES(x), (const tenon_attribute[]){{.name = "to", .kind = TENON_ATTRIBUTE_DTYPE,
            .i = 99}}, 1);
    WRONG("its tensor is NULL", "Constant", "n1", NULL, 0, (const tenon_attribute[]){{.name = "value",
            .kind = TENON_ATTRIBUTE_TENSOR}}, 1);
    WRONG("its text is NULL", "Conv", "n1", VALUES(x), (const tenon_attribute[]){{.name = "auto_pad",
            .kind = TENON_ATTRIBUTE_TEXT}}, 1);
    WRONG("its list is NULL", "Conv", "n1", VALUES(x), (const tenon_attribute[]){{.name = "pads", .kind = TENON_ATTRIBUTE_INTS,
            .count = 4}}, 1);
    WRONG("node 'n1' (Softmax): ", "Softmax", "n1", VALUES(x), (const tenon_attribute[]){INT("axis", 7)}, 1);
    WRONG("node 'n1' (MatMul): ", "MatMul", "n1", VALUES(x, x), NULL, 0);
    WRONG("node 'n1' (Add): ", "Add", "n1", VALUES(x, i), NULL, 0);
    WRONG("node 'n1' (Add): ", "Add", "n1", VALUES(x, NULL), NULL, 0);
    WRONG("input 0 is no value of this network", "Relu", "n1", VALUES(foreign), NULL, 0);
    WRONG("body 0 was not made inside this network", "If", "n1", VALUES(x), (const tenon_attribute[]){BODY("then_branch",
            other)}, 1);
    WRONG("body 0 was not made inside this network", "If", "n1", VALUES(x), (const tenon_attribute[]){BODY("then_branch", NULL)},
          1);
    CHECK(tenon_network_node_count(n) == 0);
    /* names are free again after all that */
    v = node(n, "Relu", "n1", VALUES(x), NULL, 0);
    tenon_value_info info;
    CHECK_OK(cx, tenon_network_value_info(cx, n, v, &info));
    CHECK_TEXT(info.name, "n1");
    CHECK_FAILS(cx, tenon_network_value_info(cx, n, foreign, &info), TENON_INVALID, "no value of this network");
    tenon_value *out[2];
    CHECK_FAILS(cx, tenon_network_add_node(cx, n, &(tenon_node_desc){.op = "Relu", .input = &x, .input_count = 1,
                                                                     .output_count = 1,
                .output_name = (const char *const[]){"i"}}, out), TENON_INVALID, "another value has this name");
    CHECK_FAILS(cx, tenon_network_add_node(cx, n, &(tenon_node_desc){.op = "Split", .input = &x, .input_count = 1,
                                                                     .output_count = 2,
                .output_name = (const char *const[]){"s", "s"}}, out), TENON_INVALID, "have the same name 's'");
    CHECK_FAILS(cx, tenon_network_add_node(cx, n, &(tenon_node_desc){.op = "Relu", .input = &x, .input_count = 1}, out),
                TENON_INVALID, "at least one result");
    CHECK_FAILS(cx, try_node(n, "Relu", "n2", VALUES(x), NULL, 0, 2, out), TENON_UNSUPPORTED,
                "is not one that Tenon's operator gives");
    CHECK(tenon_network_node_count(n) == 1);
    tenon_network_destroy(&other);
    tenon_network_destroy(&n);
}

static void test_other_mistakes(void)
{
    tenon_network *n = create(), *other = create(), *body = NULL;
    tenon_value *const x = input(n, "x", TENON_F32, 2, (int64_t[]){-1, 4}, NULL), *const foreign = input(other, "x", TENON_F32, 0, NULL, NULL), *v;
    (void)input(n, "i", TENON_I64, 1, (int64_t[]){4}, NULL);
    CHECK_FAILS(cx, tenon_network_add_input(cx, n, "x", TENON_F32, 0, NULL, NULL, &v), TENON_INVALID,
                "another value has this name");
    CHECK_FAILS(cx, tenon_network_add_input(cx, n, "", TENON_F32, 0, NULL, NULL, &v), TENON_INVALID, "needs a name");
    CHECK_FAILS(cx, tenon_network_add_input(cx, n, "q", TENON_SEQUENCE, 0, NULL, NULL, &v), TENON_INVALID,
                "cannot be that of an input");
    CHECK_FAILS(cx, tenon_network_add_input(cx, n, "q", TENON_F32, 9, (int64_t[9]){0}, NULL, &v), TENON_INVALID, "rank 9");
    CHECK_FAILS(cx, tenon_network_add_input(cx, n, "q", TENON_F32, 1, (int64_t[]){-2}, NULL, &v), TENON_INVALID, "axis 0 is -2");
    CHECK_FAILS(cx, tenon_network_add_input(cx, n, "q", TENON_F32, 1, (int64_t[]){3}, (const char *const[]){"three"}, &v),
                TENON_INVALID, "has the name three");
    CHECK_OK(cx, tenon_network_create_body(cx, n, NULL, &body));
    CHECK_FAILS(cx, tenon_network_add_input(cx, body, "q", TENON_F32, 1, (int64_t[]){-1}, (const char *const[]){"nobody"}, &v),
                TENON_INVALID, "is no dimension of the network around");
    CHECK_FAILS(cx, tenon_network_add_input(cx, body, "x", TENON_F32, 0, NULL, NULL, &v), TENON_INVALID, "here or around it");

    char bytes[16] = {0};
    CHECK_FAILS(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){"q", TENON_F32, 1, {2}, bytes + 1}, TENON_BORROW, &v),
                TENON_INVALID, "not aligned");
    CHECK_OK(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){"q", TENON_F32, 1, {2}, bytes + 1}, TENON_COPY, &v));
    CHECK_FAILS(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){"q", TENON_F32, 1, {2}, bytes}, TENON_COPY, &v),
                TENON_INVALID, "has this name");
    CHECK_FAILS(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){"r", TENON_F32, 1, {2}, NULL}, TENON_COPY, &v),
                TENON_INVALID, "data is NULL");
    CHECK_FAILS(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){"r", TENON_F32, 1, {-2}, bytes}, TENON_COPY, &v),
                TENON_INVALID, "negative dimension");
    CHECK_FAILS(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){"r", TENON_F32, 12, {2}, bytes}, TENON_COPY, &v),
                TENON_INVALID, "rank 12");
    CHECK_FAILS(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){"r", TENON_DTYPE_NONE, 0, {0}, bytes}, TENON_COPY,
                                               &v), TENON_INVALID, "element type");

    CHECK_FAILS(cx, tenon_network_mark_output(cx, n, foreign, NULL, NULL), TENON_INVALID, "the output is no value");
    CHECK_FAILS(cx, tenon_network_mark_output(cx, n, x, "i", NULL), TENON_INVALID, "has this name");
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    char *text = NULL;
    CHECK_OK(cx, tenon_config_create(cx, &config));
    CHECK(tenon_config_set_device(config, "null", 0) == TENON_OK);
    CHECK_FAILS(cx, tenon_build(cx, n, config, &engine), TENON_INVALID, "has no output");
    CHECK_FAILS(cx, tenon_build(cx, body, config, &engine), TENON_INVALID, "body of a node");
    CHECK_FAILS(cx, tenon_network_text(cx, body, false, &text), TENON_INVALID, "body of a node");
    CHECK_FAILS(cx, tenon_network_run_reference(cx, body, NULL, 0, NULL, 0), TENON_INVALID, "body of a node");
    tenon_config_destroy(&config);
    CHECK_FAILS(cx, tenon_network_create(cx, &(tenon_network_options){.opset = 3}, &body), TENON_INVALID, "opset 3: 7 to");
    tenon_network_destroy(&other);
    tenon_network_destroy(&n);
}

/* The operators of an older opset keep their meaning: Squeeze took its axes as an attribute before 13. */
static void test_opset(void)
{
    tenon_network *n = NULL;
    CHECK_OK(cx, tenon_network_create(cx, &(tenon_network_options){"old", 11}, &n));
    tenon_value *v = input(n, "x", TENON_F32, 3, (int64_t[]){1, 4, 1}, NULL);
    v = node(n, "Squeeze", "s", VALUES(v), (const tenon_attribute[]){INTS("axes", 2)}, 1);
    output(n, v, "y");
    tenon_value_info info;
    CHECK_OK(cx, tenon_network_value_info(cx, n, v, &info));
    CHECK(info.rank == 2 && info.dim[1] == 4);
    char *text = NULL;
    CHECK_OK(cx, tenon_network_text(cx, n, true, &text));
    CHECK(text && strstr(text, "y: f32[1,4]"));
    tenon_text_free(cx, &text);
    tenon_network_destroy(&n);
}

/* ---- an allocator whose n-th call fails: told, nothing lost, and the network can be gone on with ---- */
static tenon_status build_small(tenon_cx *session)
{
    static float w[12];
    tenon_network *n = NULL, *body = NULL;
    tenon_value *x = NULL, *k = NULL, *c = NULL, *y[1] = {NULL};
    tenon_status status = tenon_network_create(session, NULL, &n);
    if (status == TENON_OK) status = tenon_network_add_input(session, n, "x", TENON_F32, 2, (int64_t[]){-1, 4}, NULL, &x);
    if (status == TENON_OK) status = tenon_network_add_input(session, n, "c", TENON_BOOL, 0, NULL, NULL, &c);
    if (status == TENON_OK) status = tenon_network_add_constant(session, n, &(tenon_host_tensor){"w", TENON_F32, 2, {4, 3}, w},
                                                                TENON_COPY, &k);
    if (status == TENON_OK) status = tenon_network_create_body(session, n, "b", &body);
    const tenon_node_desc relu = {.op = "Relu", .name = "r", .input = &x, .input_count = 1, .output_count = 1};
    if (status == TENON_OK) status = tenon_network_add_node(session, body, &relu, y);
    if (status == TENON_OK) status = tenon_network_mark_output(session, body, y[0], NULL, NULL);
    const tenon_attribute a[] = {BODY("then_branch", body), BODY("else_branch", body)};
    const tenon_node_desc choice = {.op = "If", .name = "if", .input = &c, .input_count = 1, .attribute = a,
                                    .attribute_count = 2, .output_count = 1};
    if (status == TENON_OK) status = tenon_network_add_node(session, n, &choice, y);
    const tenon_node_desc product = {.op = "MatMul", .name = "m", .input = (tenon_value *[]){y[0], k}, .input_count = 2,
                                     .output_count = 1};
    if (status == TENON_OK) status = tenon_network_add_node(session, n, &product, y);
    if (status == TENON_NOMEM) { /* what failed left no trace */
        tenon_value *again[1] = {NULL};
        const size_t before = tenon_network_node_count(n);
        if (before && tenon_network_add_node(session, n, &product, again) != TENON_OK) CHECK(!again[0] &&
                tenon_network_node_count(n) == before);
    }
    if (status == TENON_OK) status = tenon_network_mark_output(session, n, y[0], "y", NULL);
    tenon_network_destroy(&n);
    return status;
}

static void quiet(void *user, tenon_severity severity, const char *message) { (void)user, (void)severity, (void)message; }

static void test_no_memory(void)
{
    check_heap heap = {0};
    const tenon_allocator allocator = {check_heap_alloc, check_heap_realloc, check_heap_free, &heap};
    int refused = 0, wrong = 0;
    for (long i = 1; i < 10000; i++) {
        tenon_cx *session = NULL;
        heap = (check_heap){0};
        CHECK(tenon_cx_create(&(tenon_cx_options){.allocator = &allocator, .log = quiet}, &session) == TENON_OK);
        heap.fail_at = heap.calls + i;
        const tenon_status status = build_small(session);
        heap.fail_at = 0;
        wrong += status != TENON_OK && (status != TENON_NOMEM || !*tenon_cx_message(session));
        tenon_cx_destroy(&session);
        wrong += heap.live != 0;
        refused += status != TENON_OK;
        if (status == TENON_OK) break;
    }
    CHECK(wrong == 0);
    CHECK(refused > 3);
}

int main(void)
{
    CHECK(tenon_cx_create(NULL, &cx) == TENON_OK);
    test_convolutions();
    test_operators();
    test_types();
    test_read();
    test_branches();
    test_loops();
    test_mistakes();
    test_other_mistakes();
    test_opset();
    test_no_memory();
    tenon_cx_destroy(&cx);
    return CHECK_END();
}
