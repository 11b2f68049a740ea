/* SPDX-License-Identifier: Apache-2.0 */
/* Two threads, two contexts, two streams, one engine.

       cc streams.c -o streams -ltenon -lpthread && ./streams digits/digits.onnx

   An engine never changes and may be shared by all threads: its weights are there once. A session (tenon_cx) and a context
   belong to one thread at a time, so each thread makes its own. A stream is an in-order queue: tenon_context_enqueue puts a run
   in it and returns, so that the thread prepares the next inputs meanwhile; tenon_stream_synchronize waits, and gives the error
   of a run that failed. */
#include "tenon.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 2, ROUNDS = 100, PIXELS = 64, CLASSES = 10 };

typedef struct worker {
    tenon_engine *engine; /* shared */
    tenon_status status;
    char message[512];
    /* Two sets of buffers: while one is in the queue the other is filled. A queued run reads its inputs when its turn comes, so
       nothing that is in the queue may change before the stream has been waited for. */
    float x[2][PIXELS], y[2][CLASSES], first[CLASSES];
    int differences;
} worker;

static void fill(float *x)
{
    for (int i = 0; i < PIXELS; i++) x[i] = (float)(i * 5 % 17) / 16.0f;
}

/* A context has one set of addresses, so two runs in flight with buffers of their own are two contexts, here of one thread and
   one stream. */
static tenon_status rounds(worker *w, tenon_context *context[2], tenon_stream *stream, tenon_cx *cx)
{
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 2; i++) {
            fill(w->x[i]);
            const tenon_status status = tenon_context_enqueue(context[i], stream);
            if (status != TENON_OK) {
                snprintf(w->message, sizeof w->message, "%s", tenon_context_message(context[i]));
                return status;
            }
        }
        const tenon_status status = tenon_stream_synchronize(cx, stream);
        if (status != TENON_OK) {
            snprintf(w->message, sizeof w->message, "%s", tenon_cx_message(cx));
            return status;
        }
        /* The same input must give the same bits, whatever the other thread does. */
        if (round == 0) memcpy(w->first, w->y[0], sizeof w->first);
        for (int i = 0; i < 2; i++) w->differences += memcmp(w->first, w->y[i], sizeof w->first) != 0;
    }
    return TENON_OK;
}

static void *work(void *arg)
{
    worker *w = arg;
    tenon_cx *cx = NULL;
    tenon_context *context[2] = {NULL, NULL};
    tenon_stream *stream = NULL;
    tenon_status status = tenon_cx_create(NULL, &cx);
    if (status == TENON_OK) status = tenon_stream_create(cx, w->engine, &stream);
    for (int i = 0; status == TENON_OK && i < 2; i++) status = tenon_context_create(cx, w->engine, NULL, &context[i]);
    if (status != TENON_OK) snprintf(w->message, sizeof w->message, "%s", tenon_cx_message(cx));
    for (int i = 0; status == TENON_OK && i < 2; i++) {
        status = tenon_context_set_address(context[i], "x", w->x[i], sizeof w->x[i]);
        if (status == TENON_OK) status = tenon_context_set_address(context[i], "y", w->y[i], sizeof w->y[i]);
        if (status != TENON_OK) snprintf(w->message, sizeof w->message, "%s", tenon_context_message(context[i]));
    }
    if (status == TENON_OK) status = rounds(w, context, stream, cx);
    w->status = status;
    /* The stream goes first: it finishes what is queued, and the contexts must live until then. */
    tenon_stream_destroy(&stream);
    for (int i = 0; i < 2; i++) tenon_context_destroy(&context[i]);
    tenon_cx_destroy(&cx);
    return NULL;
}

/* One thread each for the streams' steps: with several streams that is better than all cores for every step. */
static tenon_status build(tenon_cx *cx, const char *path, tenon_engine **out)
{
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    const int64_t shape[4] = {1, 1, 8, 8};
    int profile;
    tenon_status status = tenon_network_read_file(cx, path, NULL, &network);
    if (status == TENON_OK) status = tenon_config_create(cx, &config);
    if (status == TENON_OK) status = tenon_config_set_device(config, "cpu", 0); /* the images lie in this program's own memory */
    if (status == TENON_OK) status = tenon_config_set_threads(config, 1);
    if (status == TENON_OK) status = tenon_config_add_profile(config, &profile);
    if (status == TENON_OK) status = tenon_config_set_shape(config, profile, "x", 4, shape, shape, shape);
    if (status == TENON_OK) status = tenon_build(cx, network, config, out);
    if (status != TENON_OK) {
        const bool of_config = config && *tenon_config_message(config);
        fprintf(stderr, "build: %s\n", of_config ? tenon_config_message(config) : tenon_cx_message(cx));
    }
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    return status;
}

int main(int argc, char **argv)
{
    static worker w[THREADS];
    pthread_t thread[THREADS];
    tenon_cx *cx = NULL;
    tenon_engine *engine = NULL;
    int started = 0, failed = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s digits.onnx\n", argv[0]);
        return 2;
    }
    if (tenon_cx_create(NULL, &cx) != TENON_OK) return 1;
    failed = build(cx, argv[1], &engine) != TENON_OK;
    while (!failed && started < THREADS) {
        w[started].engine = engine;
        failed = pthread_create(&thread[started], NULL, work, &w[started]) != 0;
        if (failed) fprintf(stderr, "thread %d cannot be started\n", started);
        else started++;
    }
    for (int i = 0; i < started; i++) {
        pthread_join(thread[i], NULL);
        if (w[i].status != TENON_OK) fprintf(stderr, "thread %d: %s: %s\n", i, tenon_status_name(w[i].status), w[i].message);
        else printf("thread %d: %d runs, %d differ from the first\n", i, 2 * ROUNDS, w[i].differences);
        failed |= w[i].status != TENON_OK || w[i].differences;
    }
    if (!failed) failed = memcmp(w[0].first, w[1].first, sizeof w[0].first) != 0;
    tenon_engine_destroy(&engine);
    tenon_cx_destroy(&cx);
    return failed;
}
