/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest whole program: read a model, build an engine for this machine, run it on one image, look at the answer.

       cc run_model.c -o run_model -ltenon && ./run_model digits/digits.onnx

   The model was trained on handwritten digits of 8 x 8 pixels: `x` is (batch, 1, 8, 8) from 0 to 1, `y` is (batch, 10), one score
   for each digit. */
#include "tenon.h"

#include <stdio.h>

/* A zero, as someone wrote it; 16 is black. */
static const char image[8][8] = {
    {0, 0, 5, 13, 9, 1, 0, 0},  {0, 0, 13, 15, 10, 15, 5, 0}, {0, 3, 15, 2, 0, 11, 8, 0},  {0, 4, 12, 0, 0, 8, 8, 0},
    {0, 5, 8, 0, 0, 9, 8, 0},   {0, 4, 11, 0, 1, 12, 7, 0},   {0, 2, 14, 5, 10, 12, 0, 0}, {0, 0, 6, 13, 10, 0, 0, 0},
};

static void print_image(void)
{
    for (int row = 0; row < 8; row++) {
        for (int column = 0; column < 8; column++) printf("%c%c", " .:-=+*#%"[image[row][column] / 2], column == 7 ? '\n' : ' ');
    }
}

/* Every function that can fail returns a status; the session holds the message. A program of one function can leave at the first
   failure like this, and free everything in one place. */
static tenon_status run(tenon_cx *cx, const char *path, float score[10], tenon_network **network, tenon_config **config,
                        tenon_engine **engine, tenon_context **context)
{
    tenon_status status;

    /* 1. The model. The file is mapped, so this is quick even for a large one. */
    status = tenon_network_read_file(cx, path, NULL, network);
    if (status != TENON_OK) return status;

    /* 2. How to build. The batch of this model is dynamic, so its shape needs a range: here minimum, optimum and maximum are the
       same, which gives the fastest engine for one image. Shapes are in ONNX's order. */
    const int64_t shape[4] = {1, 1, 8, 8};
    int profile;
    status = tenon_config_create(cx, config);
    if (status == TENON_OK) status = tenon_config_set_device(*config, "cpu", 0); /* see 4: addresses of a GPU would be its own memory */
    if (status == TENON_OK) status = tenon_config_add_profile(*config, &profile);
    if (status == TENON_OK) status = tenon_config_set_shape(*config, profile, "x", 4, shape, shape, shape);
    if (status != TENON_OK) return status;

    /* 3. The engine: the ways to compute each step are tried on this machine, the fastest are kept. */
    status = tenon_build(cx, *network, *config, engine);
    if (status != TENON_OK) return status;

    /* 4. A context holds what one run needs: the memory between the steps, shapes and addresses. Inputs and outputs stay ours; on
       the CPU their addresses are ordinary pointers. */
    float pixels[64];
    for (int i = 0; i < 64; i++) pixels[i] = (float)image[i / 8][i % 8] / 16.0f;
    status = tenon_context_create(cx, *engine, NULL, context);
    if (status == TENON_OK) status = tenon_context_set_address(*context, "x", pixels, sizeof pixels);
    if (status == TENON_OK) status = tenon_context_set_address(*context, "y", score, 10 * sizeof *score);

    /* 5. Run. It returns when `score` is written. */
    if (status == TENON_OK) status = tenon_context_run(*context);
    return status;
}

int main(int argc, char **argv)
{
    tenon_cx *cx = NULL;
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    tenon_context *context = NULL;
    float score[10];
    int answer = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s digits.onnx\n", argv[0]);
        return 2;
    }
    /* The session: allocator, log and the message of the last failure. NULL takes malloc and standard error. */
    if (tenon_cx_create(NULL, &cx) != TENON_OK) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    const tenon_status status = run(cx, argv[1], score, &network, &config, &engine, &context);
    if (status != TENON_OK) {
        /* Functions of a config or a context keep their message there; all others in the session. */
        const char *message = tenon_cx_message(cx);
        if (config && *tenon_config_message(config)) message = tenon_config_message(config);
        if (context && *tenon_context_message(context)) message = tenon_context_message(context);
        fprintf(stderr, "%s: %s\n", tenon_status_name(status), message);
    } else {
        print_image();
        for (int i = 1; i < 10; i++)
            if (score[i] > score[answer]) answer = i;
        printf("This is a %d (score %.2f).\n", answer, (double)score[answer]);
    }
    /* Every _destroy accepts NULL and clears the pointer. The order does not matter, but the session goes last. */
    tenon_context_destroy(&context);
    tenon_engine_destroy(&engine);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    tenon_cx_destroy(&cx);
    return status == TENON_OK && answer == 0 ? 0 : 1;
}
