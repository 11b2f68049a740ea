/* SPDX-License-Identifier: Apache-2.0 */
/* A network without a model file: inputs, constants and nodes are added one by one, the network is built like any other, and what it
   computes is compared with the same written out in C. Then a model that was read from a file gets another head.

       cc add_layers.c -o add_layers -ltenon -lm && ./add_layers digits/digits.onnx */
#include "tenon.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 3, IN = 16, HIDDEN = 24, OUT = 4, PIXELS = 64, CLASSES = 10 };

static void check(tenon_status status, const char *what, const char *message)
{
    if (status == TENON_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, tenon_status_name(status), message);
    exit(1);
}
#define CX(call) check((call), #call, tenon_cx_message(cx))
#define CONFIG(call) check((call), #call, tenon_config_message(config))
#define CONTEXT(call) check((call), #call, tenon_context_message(context))

static float w1[IN * HIDDEN], b1[HIDDEN], w2[HIDDEN * OUT];

static void make_weights(void)
{
    for (int i = 0; i < IN * HIDDEN; i++) w1[i] = (float)(i * 7 % 19) / 19 - 0.5f;
    for (int i = 0; i < HIDDEN; i++) b1[i] = (float)(i % 5) / 5;
    for (int i = 0; i < HIDDEN * OUT; i++) w2[i] = (float)(i * 11 % 23) / 23 - 0.5f;
}

/* One node of one result with `count` inputs. */
static tenon_value *add(tenon_cx *cx, tenon_network *network, const char *op, const char *name, tenon_value **input, size_t count)
{
    tenon_value *result;
    CX(tenon_network_add_node(cx, network, &(tenon_node_desc){.op = op, .name = name, .input = input, .input_count = count,
                                                              .output_count = 1}, &result));
    return result;
}

/* y = softmax(relu(x w1 + b1) w2), for any number of rows. */
static tenon_network *perceptron(tenon_cx *cx)
{
    tenon_network *network;
    tenon_value *x, *first, *bias, *second, *h;
    CX(tenon_network_create(cx, &(tenon_network_options){.name = "perceptron"}, &network));
    const int64_t shape[] = {-1, IN};
    const char *const names[] = {"batch", NULL};
    CX(tenon_network_add_input(cx, network, "x", TENON_F32, 2, shape, names, &x));
    /* Borrowed: the arrays stay as they are until the network is destroyed. TENON_COPY would set them free at once. */
    CX(tenon_network_add_constant(cx, network, &(tenon_host_tensor){"w1", TENON_F32, 2, {IN, HIDDEN}, w1}, TENON_BORROW, &first));
    CX(tenon_network_add_constant(cx, network, &(tenon_host_tensor){"b1", TENON_F32, 1, {HIDDEN}, b1}, TENON_BORROW, &bias));
    CX(tenon_network_add_constant(cx, network, &(tenon_host_tensor){"w2", TENON_F32, 2, {HIDDEN, OUT}, w2}, TENON_BORROW, &second));
    h = add(cx, network, "Gemm", "hidden", (tenon_value *[]){x, first, bias}, 3);
    h = add(cx, network, "Relu", NULL, &h, 1);

    /* What does not fit is told at once, with the node's name, and changes nothing. */
    tenon_value *wrong;
    if (tenon_network_add_node(cx, network, &(tenon_node_desc){.op = "MatMul", .name = "oops", .input = (tenon_value *[]){second, h},
                                                               .input_count = 2, .output_count = 1}, &wrong) == TENON_OK)
        exit(1);
    printf("refused, as it should be: %s\n", tenon_cx_message(cx));

    h = add(cx, network, "MatMul", "scores", (tenon_value *[]){h, second}, 2);
    tenon_value_info info;
    CX(tenon_network_value_info(cx, network, h, &info));
    printf("%s is %s[%s,%d]\n", info.name, tenon_dtype_name(info.dtype), info.dim_name[0], (int)info.dim[1]);

    const tenon_attribute axis = {.name = "axis", .kind = TENON_ATTRIBUTE_INT, .i = 1};
    CX(tenon_network_add_node(cx, network, &(tenon_node_desc){.op = "Softmax", .input = &h, .input_count = 1, .attribute = &axis,
                                                              .attribute_count = 1, .output_count = 1}, &h));
    CX(tenon_network_mark_output(cx, network, h, "y", NULL));
    return network;
}

static void plain(const float *x, float *y)
{
    for (int n = 0; n < BATCH; n++) {
        float h[HIDDEN], sum = 0;
        for (int k = 0; k < HIDDEN; k++) {
            h[k] = b1[k];
            for (int i = 0; i < IN; i++) h[k] += x[n * IN + i] * w1[i * HIDDEN + k];
            h[k] = fmaxf(h[k], 0);
        }
        for (int o = 0; o < OUT; o++) {
            y[n * OUT + o] = 0;
            for (int k = 0; k < HIDDEN; k++) y[n * OUT + o] += h[k] * w2[k * OUT + o];
        }
        for (int o = 0; o < OUT; o++) sum += y[n * OUT + o] = expf(y[n * OUT + o]);
        for (int o = 0; o < OUT; o++) y[n * OUT + o] /= sum;
    }
}

/* Memory for the output when it is known how much. */
static void *give(void *user, const char *output, void *current, size_t bytes, size_t alignment)
{
    (void)user;
    printf("%s needs %zu bytes\n", output, bytes);
    free(current);
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

/* Builds for up to `rows` rows of x and runs so many; the output, in memory that the caller frees. */
static float *build_and_run(tenon_cx *cx, tenon_network *network, const char *output, int rank, const int64_t *shape, float *x)
{
    tenon_config *config;
    tenon_engine *engine;
    tenon_context *context;
    int profile;
    size_t bytes = sizeof *x;
    const void *y;
    int64_t least[TENON_MAX_RANK];
    memcpy(least, shape, (size_t)rank * sizeof *shape);
    least[0] = 1;
    for (int i = 0; i < rank; i++) bytes *= (size_t)shape[i];
    CX(tenon_config_create(cx, &config));
    CONFIG(tenon_config_set_device(config, "cpu", 0)); /* x lies in this program's own memory */
    CONFIG(tenon_config_add_profile(config, &profile));
    CONFIG(tenon_config_set_shape(config, profile, "x", rank, least, shape, shape));
    CX(tenon_build(cx, network, config, &engine));
    CX(tenon_context_create(cx, engine, NULL, &context));
    CONTEXT(tenon_context_set_shape(context, "x", rank, shape));
    CONTEXT(tenon_context_set_address(context, "x", x, bytes));
    CONTEXT(tenon_context_set_output_allocator(context, output, &(tenon_output_allocator){.reallocate = give}));
    CONTEXT(tenon_context_run(context));
    CONTEXT(tenon_context_output(context, output, &y, &bytes));
    tenon_context_destroy(&context);
    tenon_engine_destroy(&engine);
    tenon_config_destroy(&config);
    return (float *)(uintptr_t)y; /* of give(): the context only wrote to it */
}

static int by_hand(tenon_cx *cx)
{
    float x[BATCH * IN], want[BATCH * OUT], worst = 0;
    for (int i = 0; i < BATCH * IN; i++) x[i] = (float)(i * 5 % 13) / 13;
    tenon_network *network = perceptron(cx);
    float *y = build_and_run(cx, network, "y", 2, (int64_t[]){BATCH, IN}, x);
    plain(x, want);
    for (int i = 0; i < BATCH * OUT; i++) worst = fmaxf(worst, fabsf(y[i] - want[i]));
    printf("largest difference to plain C: %.1e\n", (double)worst);
    free(y);
    tenon_network_destroy(&network);
    return !(worst < 1e-5f);
}

/* The scores of the model become probabilities. */
static int another_head(tenon_cx *cx, const char *model)
{
    float x[PIXELS], sum = 0;
    tenon_network *network;
    tenon_value *scores;
    for (int i = 0; i < PIXELS; i++) x[i] = (float)(i * 7 % 17) / 16;
    CX(tenon_network_read_file(cx, model, NULL, &network));
    CX(tenon_network_find_value(cx, network, "y", &scores));
    CX(tenon_network_mark_output(cx, network, add(cx, network, "Softmax", "probabilities", &scores, 1), NULL, NULL));
    CX(tenon_network_unmark_output(cx, network, scores));
    float *y = build_and_run(cx, network, "probabilities", 4, (int64_t[]){1, 1, 8, 8}, x);
    for (int i = 0; i < CLASSES; i++) sum += y[i];
    printf("the sum of %d probabilities is %f\n", CLASSES, (double)sum);
    free(y);
    tenon_network_destroy(&network);
    return !(fabsf(sum - 1) < 1e-4f);
}

int main(int argc, char **argv)
{
    tenon_cx *cx;
    if (argc != 2) {
        fprintf(stderr, "usage: %s digits.onnx\n", argv[0]);
        return 2;
    }
    if (tenon_cx_create(NULL, &cx) != TENON_OK) return 1;
    make_weights();
    const int failed = by_hand(cx) | another_head(cx, argv[1]);
    tenon_cx_destroy(&cx);
    return failed;
}
