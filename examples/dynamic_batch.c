/* SPDX-License-Identifier: Apache-2.0 */
/* One engine for every batch from 1 to 8, kept in a file.

       cc dynamic_batch.c -o dynamic_batch -ltenon -lm && ./dynamic_batch digits/digits.onnx [FOLDER]

   The first run builds the engine, with a timing cache, and saves both in FOLDER (the current one if none is given); then it
   loads the engine as a server would, and runs batches of several sizes through one context. */
#include "tenon.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_BATCH = 8, PIXELS = 64, CLASSES = 10 };

/* Says which call failed and why, and leaves. A program that must go on would return the status instead. */
static void check(tenon_status status, const char *what, const char *message)
{
    if (status == TENON_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, tenon_status_name(status), message);
    exit(1);
}
#define CX(call) check((call), #call, tenon_cx_message(cx))
#define CONFIG(call) check((call), #call, tenon_config_message(config))
#define CONTEXT(call) check((call), #call, tenon_context_message(context))

/* Non-zero would cancel the build. */
static int on_progress(void *user, const char *phase, size_t done, size_t total)
{
    (void)user;
    if (total && done + 1 == total) printf("  %s: %zu of %zu\n", phase, done + 1, total);
    return 0;
}

static void build(tenon_cx *cx, const char *model, const char *engine_path, const char *cache_path)
{
    tenon_network *network;
    tenon_config *config;
    tenon_timing_cache *cache;
    tenon_engine *engine;
    int profile;
    CX(tenon_network_read_file(cx, model, NULL, &network));
    CX(tenon_config_create(cx, &config));
    CX(tenon_config_set_device(config, "cpu", 0)); /* the images lie in this program's own memory */

    /* The engine runs every batch of the range and is tuned for the middle shape. A second profile, tuned for other shapes, would
       be a second tenon_config_add_profile; a context is made for one of them. */
    const int64_t min[4] = {1, 1, 8, 8}, opt[4] = {4, 1, 8, 8}, max[4] = {MAX_BATCH, 1, 8, 8};
    CONFIG(tenon_config_add_profile(config, &profile));
    CONFIG(tenon_config_set_shape(config, profile, "x", 4, min, opt, max));

    /* What is measured goes into the cache, and what is there is not measured again. A file that does not exist yet is an empty
       cache. The cache stays ours and must live until tenon_build returns. */
    CX(tenon_timing_cache_load(cx, cache_path, &cache));
    CONFIG(tenon_config_set_timing_cache(config, cache));
    const size_t before = tenon_timing_cache_count(cache);
    CX(tenon_build(cx, network, config, &engine));
    printf("built %s; %zu times measured, %zu known before\n", engine_path, tenon_timing_cache_count(cache) - before, before);
    CX(tenon_timing_cache_save(cx, cache, cache_path));
    CX(tenon_engine_save(cx, engine, engine_path));

    tenon_engine_destroy(&engine);
    tenon_timing_cache_destroy(&cache);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
}

/* Runs one batch. What fits the largest batch fits all, so the buffers are the caller's and are never allocated again. */
static void run_batch(tenon_context *context, int64_t batch, float *x, float *y)
{
    const int64_t shape[4] = {batch, 1, 8, 8};
    int64_t result[TENON_MAX_RANK];
    int rank;
    CONTEXT(tenon_context_set_shape(context, "x", 4, shape));
    /* The shape of an output follows from those of the inputs. */
    CONTEXT(tenon_context_shape(context, "y", &rank, result));
    if (rank != 2 || result[0] != batch || result[1] != CLASSES) {
        fprintf(stderr, "y has another shape than expected\n");
        exit(1);
    }
    CONTEXT(tenon_context_set_address(context, "x", x, (size_t)batch * PIXELS * sizeof *x));
    CONTEXT(tenon_context_set_address(context, "y", y, (size_t)batch * CLASSES * sizeof *y));
    CONTEXT(tenon_context_run(context));
}

/* An image's scores may not depend on the batch that it is in, up to the order of sums. */
static float largest_difference(const float *a, const float *b, size_t count)
{
    float largest = 0;
    for (size_t i = 0; i < count; i++) largest = fmaxf(largest, fabsf(a[i] - b[i]));
    return largest;
}

static int serve(tenon_cx *cx, const char *engine_path)
{
    tenon_engine *engine;
    tenon_context *context;
    float x[MAX_BATCH * PIXELS], alone[MAX_BATCH * CLASSES], together[MAX_BATCH * CLASSES];
    int failed = 0;
    CX(tenon_engine_load(cx, engine_path, NULL, &engine));
    CX(tenon_context_create(cx, engine, NULL, &context));
    printf("loaded; a context takes %zu bytes\n", tenon_engine_context_bytes(engine, 0));

    for (int i = 0; i < MAX_BATCH * PIXELS; i++) x[i] = (float)(i * 7 % 17) / 16.0f;
    for (int i = 0; i < MAX_BATCH; i++) run_batch(context, 1, x + i * PIXELS, alone + i * CLASSES);
    for (int64_t batch = 1; batch <= MAX_BATCH; batch++) {
        run_batch(context, batch, x, together);
        const float difference = largest_difference(alone, together, (size_t)batch * CLASSES);
        printf("batch %d: largest difference to one by one %.1e\n", (int)batch, (double)difference);
        failed |= !(difference < 1e-4f);
    }

    /* A batch outside the profile is refused with a message; the context goes on working. */
    const int64_t too_large[4] = {MAX_BATCH + 1, 1, 8, 8};
    if (tenon_context_set_shape(context, "x", 4, too_large) == TENON_OK) failed = 1;
    else printf("refused, as it should be: %s\n", tenon_context_message(context));
    run_batch(context, 1, x, together);

    tenon_context_destroy(&context);
    tenon_engine_destroy(&engine);
    return failed;
}

int main(int argc, char **argv)
{
    char engine_path[1024], cache_path[1024];
    tenon_cx *cx;
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: %s digits.onnx [FOLDER]\n", argv[0]);
        return 2;
    }
    snprintf(engine_path, sizeof engine_path, "%s/dynamic_batch.engine", argc == 3 ? argv[2] : ".");
    snprintf(cache_path, sizeof cache_path, "%s/dynamic_batch.times", argc == 3 ? argv[2] : ".");
    const tenon_cx_options options = {.progress = on_progress};
    if (tenon_cx_create(&options, &cx) != TENON_OK) return 1;
    build(cx, argv[1], engine_path, cache_path);
    const int failed = serve(cx, engine_path);
    tenon_cx_destroy(&cx);
    return failed;
}
