/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: results through a queue are those of a synchronous run, several contexts share one engine and its team, and a context in
   a queue cannot be run, changed, read or put in another queue; destroying it waits. Also what the reference refuses as inputs. */
#include "check.h"
#include "digits.h"
#include "run/context.h"

#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 40, STREAMS = 3 };

static tenon_cx *cx;
static tenon_network *network;

static tenon_engine *build(int threads)
{
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    int profile;
    CHECK_OK(cx, tenon_config_create(cx, &config));
    CHECK_OK(cx, tenon_config_set_device(config, "cpu", 0));
    CHECK_OK(cx, tenon_config_set_threads(config, threads));
    CHECK_OK(cx, tenon_config_set_timing(config, false));
    CHECK(tenon_config_add_profile(config, &profile) == TENON_OK);
    CHECK(tenon_config_set_shape(config, profile, "x", 4, (int64_t[]){1, 1, 8, 8}, (int64_t[]){4, 1, 8, 8},
                                 (int64_t[]){8, 1, 8, 8}) == TENON_OK);
    CHECK_OK(cx, tenon_build(cx, network, config, &engine));
    tenon_config_destroy(&config);
    return engine;
}

static tenon_context *ready(tenon_engine *e, float *x, float *y)
{
    tenon_context *c = NULL;
    if (!CHECK_OK(cx, tenon_context_create(cx, e, NULL, &c))) return NULL;
    CHECK(tenon_context_set_shape(c, "x", 4, (int64_t[]){8, 1, 8, 8}) == TENON_OK);
    CHECK(tenon_context_set_address(c, "x", x, 8 * 64 * sizeof *x) == TENON_OK);
    CHECK(tenon_context_set_address(c, "y", y, 80 * sizeof *y) == TENON_OK);
    return c;
}

/* One engine, a context and a stream each, all queues full at once. */
static void test_together(int threads)
{
    static float x[8 * 64], want[80], y[STREAMS][80];
    tenon_stream *stream[STREAMS] = {NULL};
    tenon_context *context[STREAMS] = {NULL};
    tenon_engine *e = build(threads);
    digits_input(x, 8);
    tenon_context *alone = ready(e, x, want);
    CHECK(tenon_context_run(alone) == TENON_OK);
    for (int i = 0; i < STREAMS; i++) {
        memset(y[i], 0xff, sizeof y[i]);
        context[i] = ready(e, x, y[i]);
        CHECK_OK(cx, tenon_stream_create(cx, e, &stream[i]));
    }
    for (int n = 0; n < ROUNDS; n++)
        for (int i = 0; i < STREAMS; i++) CHECK(tenon_context_enqueue(context[i], stream[i]) == TENON_OK);
    tenon_context_destroy(&context[0]); /* waits for its runs */
    for (int i = 0; i < STREAMS; i++) CHECK_OK(cx, tenon_stream_synchronize(cx, stream[i]));
    for (int i = 0; i < STREAMS; i++) CHECK(memcmp(y[i], want, sizeof want) == 0);
    for (int i = 0; i < STREAMS; i++) {
        tenon_stream_destroy(&stream[i]);
        tenon_context_destroy(&context[i]);
    }
    tenon_context_destroy(&alone);
    tenon_engine_destroy(&e);
}

static void refused(const tenon_context *c, tenon_status status)
{
    CHECK(status == TENON_INVALID && strstr(tenon_context_message(c), "in a stream's queue"));
}

static void ignore(void *user, size_t step, const char *layer, double seconds) { (void)user, (void)step, (void)layer, (void)seconds; }

static void test_queued(void)
{
    static float x[8 * 64], y[80];
    tenon_stream *stream = NULL, *second = NULL;
    tenon_engine *e = build(1);
    tenon_context *c = ready(e, x, y);
    const void *data;
    size_t bytes;
    int64_t dim[8];
    int rank;
    CHECK_OK(cx, tenon_stream_create(cx, e, &stream));
    CHECK_OK(cx, tenon_stream_create(cx, e, &second));
    CHECK(tenon_context_run(c) == TENON_OK);
    atomic_store(&c->queue, second); /* as if a long run were in it */
    refused(c, tenon_context_run(c));
    refused(c, tenon_context_profile(c, ignore, NULL));
    refused(c, tenon_context_enqueue(c, stream));
    refused(c, tenon_context_output(c, "y", &data, &bytes));
    refused(c, tenon_context_set_shape(c, "x", 4, (int64_t[]){2, 1, 8, 8}));
    refused(c, tenon_context_set_address(c, "x", y, sizeof x));
    CHECK(tenon_context_set_shape(c, "x", 4, (int64_t[]){8, 1, 8, 8}) == TENON_OK); /* what it is already */
    CHECK(tenon_context_set_address(c, "x", x, sizeof x) == TENON_OK);
    CHECK(tenon_context_shape(c, "y", &rank, dim) == TENON_OK && rank == 2 && dim[0] == 8);
    atomic_store(&c->queue, NULL);
    CHECK(tenon_context_enqueue(c, stream) == TENON_OK);
    CHECK_OK(cx, tenon_stream_synchronize(cx, stream));
    CHECK(tenon_context_enqueue(c, second) == TENON_OK);
    CHECK_OK(cx, tenon_stream_synchronize(cx, second));
    CHECK(tenon_context_run(c) == TENON_OK);
    tenon_stream_destroy(&stream);
    tenon_stream_destroy(&second);
    tenon_context_destroy(&c);
    tenon_engine_destroy(&e);
}

/* The child has no thread that would serve the queue: it is told so and does not wait. */
static void test_fork(void)
{
#if defined(__SANITIZE_THREAD__)
    SKIP("ThreadSanitizer does not allow threads after a fork of a threaded process");
    return;
#endif
    if (EMULATED()) {
        SKIP("qemu does not start threads after a fork");
        return;
    }
    static float x[8 * 64], y[80];
    tenon_stream *stream = NULL;
    tenon_engine *e = build(2);
    tenon_context *c = ready(e, x, y);
    CHECK_OK(cx, tenon_stream_create(cx, e, &stream));
    CHECK(tenon_context_enqueue(c, stream) == TENON_OK);
    CHECK_OK(cx, tenon_stream_synchronize(cx, stream));
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        bool good = tenon_context_run(c) == TENON_OK && tenon_context_enqueue(c, stream) == TENON_INVALID &&
                    strstr(tenon_context_message(c), "fork") && tenon_stream_synchronize(cx, stream) == TENON_INVALID;
        tenon_stream_destroy(&stream);
        good = good && tenon_stream_create(cx, e, &stream) == TENON_OK && tenon_context_enqueue(c, stream) == TENON_OK &&
               tenon_stream_synchronize(cx, stream) == TENON_OK;
        tenon_stream_destroy(&stream);
        tenon_context_destroy(&c);
        tenon_engine_destroy(&e);
        _exit(good ? 0 : 1);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    tenon_stream_destroy(&stream);
    tenon_context_destroy(&c);
    tenon_engine_destroy(&e);
}

static void test_reference_inputs(void)
{
    static float x[64];
    tenon_host_tensor out, in = {.name = "x", .dtype = TENON_F32, .rank = 4, .dim = {1, 1, 8, 7}, .data = x};
    CHECK_FAILS(cx, tenon_network_run_reference(cx, network, &in, 1, &out, 1), TENON_INVALID, "axis 3 is 7");
    in.dim[3] = 8, in.dim[0] = -1;
    CHECK_FAILS(cx, tenon_network_run_reference(cx, network, &in, 1, &out, 1), TENON_INVALID, "no shape");
    in.dim[0] = 1, in.data = NULL;
    CHECK_FAILS(cx, tenon_network_run_reference(cx, network, &in, 1, &out, 1), TENON_INVALID, "NULL");
}

int main(void)
{
    size_t bytes;
    CHECK(tenon_cx_create(NULL, &cx) == TENON_OK);
    uint8_t *model = digits_model(&bytes);
    if (CHECK_OK(cx, tenon_network_read(cx, model, bytes, NULL, &network))) {
        test_together(1);
        test_together(2);
        test_queued();
        test_fork();
        test_reference_inputs();
    }
    tenon_network_destroy(&network);
    free(model);
    tenon_cx_destroy(&cx);
    return CHECK_END();
}
