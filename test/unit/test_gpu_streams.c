/* SPDX-License-Identifier: Apache-2.0 */
/* Streams on a GPU: contexts of one engine run beside each other from several threads, addresses change while a run is on its
   way, a run in another stream comes after the one before, branches of a graph run beside each other, and the caller's own
   stream is used and can be captured by him. Exit 77 without a device. */
#include "check.h"
#include "pb.h"

#include "base/clock.h"
#include "cuda/device.h"
#include "run/context.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { WIDTH = 256, LAYERS = 12, STREAMS = 4, RUNS = 400, CHANGES = 60 };

/* sum = main + (sigmoid(in) V) U: the last product takes the sum into its epilogue, so what runs beside `main` is the first. The
   sigmoid is there because two products of one input would become one. */
static void add_branch(tenon_buf *g, tenon_heap *heap, int i, const char *in, char main_name[16])
{
    const int64_t dims[] = {WIDTH, WIDTH};
    char weight[2][16], value[3][16], list[80];
    for (int k = 0; k < 2; k++) {
        snprintf(weight[k], sizeof weight[k], "%c%d", "vu"[k], i);
        pb_init(g, weight[k], 1, dims, 2, pb_numbers(heap, WIDTH * WIDTH, (uint64_t)(100 + i * 2 + k), 0.15f), WIDTH * WIDTH * 4);
    }
    for (int k = 0; k < 3; k++) snprintf(value[k], sizeof value[k], "%c%d", "ghs"[k], i);
    pb_node(g, 1, "Sigmoid", "", in, value[0], NULL);
    for (int k = 0; k < 2; k++) {
        snprintf(list, sizeof list, "%s,%s", value[k], weight[k]);
        pb_node(g, 1, "MatMul", "", list, value[k + 1], NULL);
    }
    snprintf(list, sizeof list, "%.15s,%s", main_name, value[2]);
    snprintf(main_name, 16, "a%d", i);
    pb_node(g, 1, "Add", "", list, main_name, NULL);
}

/* A chain of products of one row or a few, each far too small to fill a GPU; every third has a branch beside it. */
static void make_network(tenon_cx *cx, tenon_heap *heap, tenon_buf *model)
{
    const int64_t dims[] = {WIDTH, WIDTH};
    char name[3][16] = {"x"};
    tenon_buf g;
    tenon_buf_init(&g, cx);
    tenon_wire_put_text(&g, 2, "chain");
    for (int i = 0; i < LAYERS; i++) {
        char in[40];
        snprintf(name[1], sizeof name[1], "w%d", i);
        snprintf(name[2], sizeof name[2], "m%d", i);
        snprintf(in, sizeof in, "%s,%s", name[0], name[1]);
        pb_node(&g, 1, "MatMul", "", in, name[2], NULL);
        if (i % 3 == 0) add_branch(&g, heap, i, name[0], name[2]);
        snprintf(name[0], sizeof name[0], i == LAYERS - 1 ? "y" : "t%d", i);
        pb_node(&g, 1, "Tanh", "", name[2], name[0], NULL);
        pb_init(&g, name[1], 1, dims, 2, pb_numbers(heap, WIDTH * WIDTH, (uint64_t)i + 1, 0.15f), WIDTH * WIDTH * 4);
    }
    pb_value(&g, 11, "x", 1, "batch,256");
    pb_value(&g, 12, "y", 1, "batch,256");
    tenon_buf_init(model, cx);
    pb_model(model, &g, 20);
    tenon_buf_free(&g);
}

static tenon_status build(tenon_cx *cx, tenon_network *network, tenon_engine **out)
{
    tenon_config *config = NULL;
    int profile;
    const int64_t one[] = {1, WIDTH}, most[] = {4, WIDTH};
    TENON_TRY(tenon_config_create(cx, &config));
    tenon_status status;
    TENON_TRY_DONE(tenon_config_set_device(config, "cuda", 0));
    TENON_TRY_DONE(tenon_config_set_timing(config, false));
    TENON_TRY_DONE(tenon_config_set_tf32(config, false));
    TENON_TRY_DONE(tenon_config_add_profile(config, &profile));
    TENON_TRY_DONE(tenon_config_set_shape(config, profile, "x", 2, one, one, most));
    status = tenon_build(cx, network, config, out);
done:
    tenon_config_destroy(&config);
    return status;
}

/* One input and its result by the reference, on the device and here. */
typedef struct sample { float *x, *want, *y; void *dx, *dy; int64_t rows; } sample;

static bool make_sample(tenon_cx *cx, tenon_heap *heap, tenon_network *network, const tenon_engine *e, int64_t rows,
                        uint64_t seed, sample *s)
{
    const size_t bytes = (size_t)rows * WIDTH * sizeof(float);
    *s = (sample){.x = pb_numbers(heap, (size_t)rows * WIDTH, seed, 1), .y = tenon_heap_alloc(heap, bytes),
                  .want = tenon_heap_alloc(heap, bytes), .rows = rows};
    tenon_host_tensor in = {.name = "x", .dtype = TENON_F32, .rank = 2, .dim = {rows, WIDTH}, .data = s->x}, out = {.name = "y"};
    if (!CHECK_OK(cx, tenon_network_run_reference(cx, network, &in, 1, &out, 1))) return false;
    memcpy(s->want, out.data, bytes);
    tenon_reference_free(cx, &out, 1);
    return CHECK_OK(cx, tenon_device_alloc(cx, e, bytes, &s->dx)) && CHECK_OK(cx, tenon_device_alloc(cx, e, bytes, &s->dy)) &&
           CHECK_OK(cx, tenon_device_upload(cx, e, s->dx, s->x, bytes));
}

static void clear(tenon_cx *cx, const tenon_engine *e, sample *s)
{
    memset(s->y, 0xff, (size_t)s->rows * WIDTH * sizeof(float));
    CHECK_OK(cx, tenon_device_upload(cx, e, s->dy, s->y, (size_t)s->rows * WIDTH * sizeof(float)));
}

static bool right(tenon_cx *cx, const tenon_engine *e, sample *s)
{
    double worst = 0;
    if (!CHECK_OK(cx, tenon_device_download(cx, e, s->y, s->dy, (size_t)s->rows * WIDTH * sizeof(float)))) return false;
    for (int64_t i = 0; i < s->rows * WIDTH; i++)
        worst = s->y[i] == s->y[i] ? TENON_MAX(worst, fabs((double)s->y[i] - (double)s->want[i])) : 1e30;
    if (worst >= 1e-4) printf("  off by %g\n", worst); /* tanh: all values are within 1 */
    return worst < 1e-4;
}

static bool aim(tenon_context *c, const sample *s)
{
    const size_t bytes = (size_t)s->rows * WIDTH * sizeof(float);
    return CHECK_OK(&c->cx, tenon_context_set_shape(c, "x", 2, (int64_t[]){s->rows, WIDTH})) &&
           CHECK_OK(&c->cx, tenon_context_set_address(c, "x", s->dx, bytes)) && CHECK_OK(&c->cx, tenon_context_set_address(c,
                   "y", s->dy, bytes));
}

/* ---- threads ---- */
typedef struct lane {
    tenon_cx *cx;
    tenon_context *context;
    tenon_stream *stream;
    tenon_status status;
    pthread_barrier_t *gate;
    double begin, end;
} lane;

static void *work(void *arg)
{
    lane *l = arg;
    for (int i = 0; i < 20 && l->status == TENON_OK; i++) l->status = tenon_context_enqueue(l->context, l->stream);
    if (l->status == TENON_OK) l->status = tenon_stream_synchronize(l->cx, l->stream);
    pthread_barrier_wait(l->gate);
    l->begin = tenon_now();
    for (int i = 0; i < RUNS && l->status == TENON_OK; i++) {
        l->status = tenon_context_enqueue(l->context, l->stream);
        if (l->status == TENON_OK) l->status = tenon_stream_synchronize(l->cx, l->stream);
    }
    l->end = tenon_now();
    return NULL;
}

static double throughput(lane *l, int count)
{
    pthread_t thread[STREAMS];
    pthread_barrier_t gate;
    double begin = 1e30, end = 0;
    pthread_barrier_init(&gate, NULL, (unsigned)count);
    for (int i = 0; i < count; i++) {
        l[i].gate = &gate;
        CHECK(pthread_create(&thread[i], NULL, work, &l[i]) == 0);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(thread[i], NULL);
        CHECK_OK(&l[i].context->cx, l[i].status);
        begin = TENON_MIN(begin, l[i].begin);
        end = TENON_MAX(end, l[i].end);
    }
    pthread_barrier_destroy(&gate);
    return count * RUNS / (end - begin);
}

/* What a stream waits in, until it may go on; for ten seconds at most, so that a failure ends. */
typedef struct hold { atomic_bool reached, release, over; } hold;

static void wait_there(void *arg)
{
    hold *h = arg;
    const double end = tenon_now() + 10;
    atomic_store(&h->reached, true);
    while (!atomic_load(&h->release) && tenon_now() < end) usleep(100);
    atomic_store(&h->over, true);
}

/* While the first stream stands still, with a run behind that, runs in the others begin and end. */
static void test_independence(tenon_cx *cx, tenon_engine *e, lane *l)
{
    int (*launch)(void *stream, void (*fn)(void *), void *arg) = NULL;
    hold h = {false, false, false};
    *(void **)&launch = tenon_dl_symbol(&e->device->driver.dl, "cuLaunchHostFunc");
    if (!launch) {
        SKIP("the driver has no cuLaunchHostFunc");
        return;
    }
    CHECK(launch(tenon_stream_native(l[0].stream), wait_there, &h) == 0);
    CHECK_OK(&l[0].context->cx, tenon_context_enqueue(l[0].context, l[0].stream));
    for (const double end = tenon_now() + 10; !atomic_load(&h.reached) && tenon_now() < end;) usleep(100);
    for (int i = 1; i < STREAMS; i++) {
        CHECK_OK(&l[i].context->cx, tenon_context_enqueue(l[i].context, l[i].stream));
        CHECK_OK(cx, tenon_stream_synchronize(cx, l[i].stream));
    }
    CHECK(atomic_load(&h.reached) && !atomic_load(&h.over));
    atomic_store(&h.release, true);
    CHECK_OK(cx, tenon_stream_synchronize(cx, l[0].stream));
    CHECK(atomic_load(&h.over));
}

static void test_beside(tenon_cx *cx, tenon_engine *e, sample *s)
{
    lane l[STREAMS] = {{0}};
    for (int i = 0; i < STREAMS; i++) {
        CHECK_OK(cx, tenon_cx_create(NULL, &l[i].cx));
        if (!CHECK_OK(cx, tenon_context_create(cx, e, NULL, &l[i].context)) || !CHECK_OK(cx,
                                                                                         tenon_stream_create(cx, e,
                                                                                                 &l[i].stream))) return;
        if (!aim(l[i].context, &s[i])) return;
        clear(cx, e, &s[i]);
    }
    const double alone = throughput(l, 1), beside = throughput(l, STREAMS);
    printf("one stream %.0f runs/s, %d streams %.0f: %.2f times\n", alone, STREAMS, beside, beside / alone);
    test_independence(cx, e, l);
    for (int i = 0; i < STREAMS; i++) {
        CHECK(right(cx, e, &s[i]));
        tenon_stream_destroy(&l[i].stream);
        tenon_context_destroy(&l[i].context);
        tenon_cx_destroy(&l[i].cx);
    }
}

/* ---- branches ---- */
static void test_branches(tenon_cx *cx, tenon_engine *e, sample *s)
{
    static const char *const lanes[] = {"1", "4"};
    for (int k = 0; k < 2; k++) {
        tenon_context *c = NULL;
        double best = 1e30;
        setenv("TENON_LANES", lanes[k], 1);
        if (!CHECK_OK(cx, tenon_context_create(cx, e, NULL, &c)) || !aim(c, s)) return;
        clear(cx, e, s);
        for (int i = 0; i < RUNS; i++) {
            const double begin = tenon_now();
            if (!CHECK_OK(&c->cx, tenon_context_run(c))) break;
            best = TENON_MIN(best, tenon_now() - begin);
        }
        CHECK(right(cx, e, s));
        CHECK(k ? c->lanes_most > 1 : c->lanes_most == 1);
        printf("%d lane(s): %.2f us\n", c->lanes_most, best * 1e6);
        tenon_context_destroy(&c);
    }
    unsetenv("TENON_LANES");
}

/* ---- one context, no waiting ---- */
static void test_changes(tenon_cx *cx, tenon_engine *e, sample *s, size_t count)
{
    tenon_context *c = NULL;
    tenon_stream *stream[2] = {NULL};
    if (!CHECK_OK(cx, tenon_context_create(cx, e, NULL, &c))) return;
    for (int i = 0; i < 2; i++) CHECK_OK(cx, tenon_stream_create(cx, e, &stream[i]));
    CHECK(tenon_stream_native(stream[0]) && tenon_stream_native(stream[0]) != tenon_stream_native(stream[1]));
    for (size_t k = 0; k < count; k++) clear(cx, e, &s[k]);
    for (int i = 0; i < CHANGES; i++) { /* other shapes, addresses and streams while the runs before are on their way */
        if (!aim(c, &s[(size_t)i % count])) break;
        CHECK_OK(&c->cx, tenon_context_enqueue(c, stream[i / 3 % 2]));
    }
    for (int i = 0; i < 2; i++) CHECK_OK(cx, tenon_stream_synchronize(cx, stream[i]));
    for (size_t k = 0; k < count; k++) CHECK(right(cx, e, &s[k]));
    clear(cx, e, &s[0]);
    aim(c, &s[0]);
    CHECK_OK(&c->cx, tenon_context_enqueue(c, stream[0]));
    tenon_stream_destroy(&stream[0]); /* waits; the context goes on elsewhere */
    CHECK(right(cx, e, &s[0]));
    CHECK_OK(&c->cx, tenon_context_run(c));
    CHECK_OK(&c->cx, tenon_context_enqueue(c, stream[1]));
    tenon_context_destroy(&c); /* waits too */
    tenon_stream_destroy(&stream[1]);
    CHECK(right(cx, e, &s[0]));
}

/* ---- the caller's stream ---- */
static void record(tenon_cx *cx, tenon_engine *e, tenon_context *c, tenon_stream *wrapped, sample *s)
{
    const tenon_cuda_driver *u = &e->device->driver;
    tenon_cu_stream own = tenon_stream_native(wrapped);
    tenon_cu_graph graph = NULL;
    tenon_cu_graph_exec exec = NULL;
    CHECK(u->cuStreamBeginCapture_v2(own, TENON_CU_CAPTURE_THREAD) == 0);
    CHECK_OK(&c->cx, tenon_context_enqueue(c, wrapped));
    CHECK(u->cuStreamEndCapture(own, &graph) == 0 && graph);
    if (!graph || !CHECK_OK(cx, u->cuGraphInstantiateWithFlags(&exec, graph, 0) ? TENON_DEVICE : TENON_OK)) return;
    clear(cx, e, s);
    CHECK(u->cuGraphLaunch(exec, own) == 0);
    CHECK_OK(cx, tenon_stream_synchronize(cx, wrapped));
    CHECK(right(cx, e, s));
    CHECK(u->cuGraphExecDestroy(exec) == 0 && u->cuGraphDestroy(graph) == 0);
}

static void test_wrapped(tenon_cx *cx, tenon_engine *e, sample *s)
{
    const tenon_cuda_driver *u = &e->device->driver;
    tenon_cu_stream own = NULL;
    tenon_cu_graph graph = NULL;
    tenon_context *c = NULL;
    tenon_stream *wrapped = NULL, *plain = NULL;
    CHECK(u->cuStreamCreate(&own, TENON_CU_NON_BLOCKING) == 0);
    if (!CHECK_OK(cx, tenon_context_create(cx, e, NULL, &c)) || !CHECK_OK(cx, tenon_stream_wrap(cx, e, own, &wrapped))) return;
    CHECK(tenon_stream_native(wrapped) == own);
    clear(cx, e, &s[0]);
    aim(c, &s[0]);
    for (int i = 0; i < 3; i++) CHECK_OK(&c->cx, tenon_context_enqueue(c, wrapped));
    CHECK(u->cuStreamSynchronize(own) == 0); /* without us */
    CHECK(right(cx, e, &s[0]));
    record(cx, e, c, wrapped, &s[0]);
    CHECK(u->cuStreamBeginCapture_v2(own, TENON_CU_CAPTURE_THREAD) == 0);
    aim(c, &s[3]); /* another number of rows: the shape block would have to go up */
    if (c->shape_count) CHECK_FAILS(&c->cx, tenon_context_enqueue(c, wrapped), TENON_INVALID, "before the capture");
    (void)u->cuStreamEndCapture(own, &graph);
    if (graph) (void)u->cuGraphDestroy(graph);
    CHECK_OK(cx, tenon_stream_wrap(cx, e, NULL, &plain)); /* the default stream, as most programs use it */
    clear(cx, e, &s[3]);
    for (int i = 0; i < 3; i++) CHECK_OK(&c->cx, tenon_context_enqueue(c, plain));
    CHECK_OK(cx, tenon_stream_synchronize(cx, plain));
    CHECK(right(cx, e, &s[3]));
    tenon_stream_destroy(&plain);
    tenon_stream_destroy(&wrapped);
    tenon_context_destroy(&c);
    CHECK(u->cuStreamDestroy_v2(own) == 0);
}

int main(void)
{
    tenon_cx *cx = NULL;
    tenon_heap heap;
    tenon_buf model;
    tenon_network *network = NULL;
    tenon_engine *engine = NULL;
    tenon_device *device = NULL;
    sample s[STREAMS];
    const tenon_backend *backend = tenon_backend_find("cuda");
    if (tenon_cx_create(NULL, &cx) != TENON_OK) return 1;
    if (!backend || backend->open(cx, 0, 0, &device) != TENON_OK || backend->can_build(cx, device) != TENON_OK) {
        printf("SKIP: %s\n", backend ? cx->message : "no CUDA backend in this build");
        return 77;
    }
    printf("%s\n", backend->info(device)->fingerprint);
    backend->close(&device);
    tenon_heap_init(&heap, cx);
    make_network(cx, &heap, &model);
    bool ready = CHECK_OK(cx, tenon_network_read(cx, model.data, model.length, NULL, &network)) && CHECK_OK(cx, build(cx,
            network, &engine));
    for (int i = 0; ready && i < STREAMS; i++) ready = make_sample(cx, &heap, network, engine, 1 + i / 2, 77 + (uint64_t)i,
                                                                   &s[i]);
    if (ready) {
        test_branches(cx, engine, &s[0]);
        test_beside(cx, engine, s);
        test_changes(cx, engine, s, STREAMS);
        test_wrapped(cx, engine, s);
        for (int i = 0; i < STREAMS; i++) {
            tenon_device_free(cx, engine, s[i].dx);
            tenon_device_free(cx, engine, s[i].dy);
        }
    }
    tenon_engine_destroy(&engine);
    tenon_network_destroy(&network);
    tenon_buf_free(&model);
    tenon_heap_free(&heap);
    tenon_cx_destroy(&cx);
    return CHECK_END();
}
