/* SPDX-License-Identifier: Apache-2.0 */
/* A small network with a dynamic batch on a GPU, from ONNX to a captured graph: two products with programs and a pointwise chain,
   batch 1, 5, 8 and 64 through one graph, each against the reference. Prints what the tuner chose among which variants, and
   what a graph saves. Exit 77 without a device. */
#include "check.h"
#include "pb.h"

#include "base/clock.h"
#include "plan/tuner.h"
#include "run/context.h"

#include <math.h>

enum { WIDTH = 256, HIDDEN = 1024, MOST = 64, RUNS = 300 };

typedef struct network { tenon_buf bytes; float *w1, *b1, *w2, *b2; } network;

/* s = tanh(x) * sigmoid(x) + x; y = gelu(s W1 + b1) W2 + b2 + s */
static void make_network(tenon_cx *cx, tenon_heap *heap, tenon_buf *model)
{
    const int64_t w1[] = {WIDTH, HIDDEN}, b1[] = {HIDDEN}, w2[] = {HIDDEN, WIDTH}, b2[] = {WIDTH};
    tenon_buf g;
    tenon_buf_init(&g, cx);
    tenon_wire_put_text(&g, 2, "mlp");
    pb_node(&g, 1, "Tanh", "", "x", "t", NULL);
    pb_node(&g, 1, "Sigmoid", "", "x", "u", NULL);
    pb_node(&g, 1, "Mul", "", "t,u", "m", NULL);
    pb_node(&g, 1, "Add", "", "m,x", "s", NULL);
    pb_node(&g, 1, "MatMul", "", "s,w1", "h0", NULL);
    pb_node(&g, 1, "Add", "", "h0,b1", "h1", NULL);
    pb_node(&g, 1, "Gelu", "", "h1", "h", NULL);
    pb_node(&g, 1, "MatMul", "", "h,w2", "y0", NULL);
    pb_node(&g, 1, "Add", "", "y0,b2", "y1", NULL);
    pb_node(&g, 1, "Add", "", "y1,s", "y", NULL);
    pb_init(&g, "w1", 1, w1, 2, pb_numbers(heap, WIDTH * HIDDEN, 1, 0.1f), WIDTH * HIDDEN * 4);
    pb_init(&g, "b1", 1, b1, 1, pb_numbers(heap, HIDDEN, 2, 1), HIDDEN * 4);
    pb_init(&g, "w2", 1, w2, 2, pb_numbers(heap, HIDDEN * WIDTH, 3, 0.1f), HIDDEN * WIDTH * 4);
    pb_init(&g, "b2", 1, b2, 1, pb_numbers(heap, WIDTH, 4, 1), WIDTH * 4);
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
    const int64_t least[] = {1, WIDTH}, best[] = {8, WIDTH}, most[] = {MOST, WIDTH};
    TENON_TRY(tenon_config_create(cx, &config));
    tenon_status status;
    TENON_TRY_DONE(tenon_config_set_device(config, "cuda", 0));
    TENON_TRY_DONE(tenon_config_add_profile(config, &profile));
    TENON_TRY_DONE(tenon_config_set_shape(config, profile, "x", 2, least, best, most));
    status = tenon_build(cx, network, config, out);
done:
    tenon_config_destroy(&config);
    return status;
}

static void print_steps(const tenon_engine *e)
{
    for (uint32_t i = 0; i < e->step_count; i++)
        printf("step %u: %s[%d] %.2f us: %s\n", i, tenon_engine_string(e, e->step[i].tactic), e->step[i].variant[0], e->step[i].seconds * 1e6,
               tenon_engine_string(e, e->step[i].problem));
}

/* Every variant's time for the engine's problems, by a fresh tuner. */
static void print_variants(tenon_cx *cx, const tenon_engine *e)
{
    tenon_arena arena;
    tenon_tuner *tuner = NULL;
    const tenon_tuner_options options = {.timed = true, .level = 5, .workspace_bytes = SIZE_MAX, .budget_seconds = 0.02};
    tenon_arena_init(&arena, cx);
    if (CHECK_OK(cx, tenon_tuner_create(cx, &arena, e->backend, e->device, NULL, &options, &tuner)))
        for (uint32_t i = 0; i < e->step_count; i++) {
            tenon_problem p;
            const tenon_choice *choice;
            if (!CHECK_OK(cx, tenon_problem_parse(cx, &arena, tenon_engine_string(e, e->step[i].problem), &p))) continue;
            if (!CHECK_OK(cx, tenon_tuner_choose(tuner, &p, &choice))) continue;
            printf("variants of %s:", p.text);
            for (size_t k = 0; k < choice->tried_count; k++)
                if (choice->tried[k].seconds < 1) /* what the model puts far behind is not tried */
                    printf(" %s%s[%d] %.2f us", choice->tried[k].seconds == choice->seconds ? "*" : "", choice->tried[k].tactic->name,
                           choice->tried[k].variant.p[0], choice->tried[k].seconds * 1e6);
            printf("\n");
        }
    tenon_tuner_destroy(&tuner);
    tenon_arena_free(&arena);
}

typedef struct io { float *x, *y; void *dx, *dy; } io;

static double worst_of(const float *got, const float *want, size_t count)
{
    double worst = 0, scale = 1e-30;
    for (size_t i = 0; i < count; i++) {
        scale = TENON_MAX(scale, fabs((double)want[i]));
        worst = got[i] == got[i] ? TENON_MAX(worst, fabs((double)got[i] - (double)want[i])) : 1e30;
    }
    return worst / scale;
}

static void run_batch(tenon_cx *cx, tenon_network *network, tenon_engine *e, tenon_context *c, const io *b, int64_t batch)
{
    const int64_t shape[] = {batch, WIDTH};
    const size_t count = (size_t)batch * WIDTH;
    tenon_host_tensor in = {.name = "x", .dtype = TENON_F32, .rank = 2, .dim = {batch, WIDTH}, .data = b->x}, out = {.name = "y"};
    memset(b->y, 0xff, MOST * WIDTH * sizeof(float));
    if (!CHECK_OK(cx, tenon_device_upload(cx, e, b->dy, b->y, MOST * WIDTH * sizeof(float)))) return;
    const uint64_t made = c->graphs_made, launched = c->graph_launches;
    if (!CHECK_OK(&c->cx, tenon_context_set_shape(c, "x", 2, shape)) || !CHECK_OK(&c->cx, tenon_context_run(c))) return;
    if (!CHECK_OK(cx, tenon_device_download(cx, e, b->y, b->dy, MOST * WIDTH * sizeof(float)))) return;
    if (!CHECK_OK(cx, tenon_network_run_reference(cx, network, &in, 1, &out, 1))) return;
    const double worst = worst_of(b->y, out.data, count);
    bool beyond = false; /* rows past the batch are not written */
    for (size_t i = count; i < (size_t)MOST * WIDTH; i++) beyond |= b->y[i] == b->y[i];
    printf("batch %2lld: error %.2g of the largest value; %s%s\n", (long long)batch, worst,
           c->graphs_made > made ? "graph captured and launched" : c->graph_launches > launched ? "the same graph launched" : "launched step by step",
           beyond ? "; WROTE PAST THE BATCH" : "");
    CHECK(worst < 1e-5);
    CHECK(!beyond);
    tenon_reference_free(cx, &out, 1);
}

/* Microseconds a run, enqueued back to back, and with a wait after each. */
static void time_runs(tenon_context *c, bool graph, double *queued, double *waited)
{
    tenon_engine *e = c->engine;
    const tenon_segment *s = &c->segment[0];
    void *captured = NULL;
    for (int i = 0; i < TENON_CAPTURES; i++)
        if (s->captured[i].graph && s->captured[i].key == s->key) captured = s->captured[i].graph;
    CHECK(captured != NULL);
    for (int mode = 0; mode < 2; mode++) {
        double best = 1e9;
        for (int round = 0; round < 5; round++) {
            const double begin = tenon_now();
            for (int i = 0; i < RUNS; i++) {
                if (graph) CHECK(e->backend->graph_launch(&c->cx, e->device, NULL, captured) == TENON_OK);
                else CHECK(e->backend->launch(&c->cx, e->device, NULL, &c->launch[s->first], s->count, NULL, 0) == TENON_OK);
                if (mode) CHECK(e->backend->synchronize(&c->cx, e->device, NULL) == TENON_OK);
            }
            CHECK(e->backend->synchronize(&c->cx, e->device, NULL) == TENON_OK);
            best = TENON_MIN(best, (tenon_now() - begin) / RUNS * 1e6);
        }
        *(mode ? waited : queued) = best;
    }
}

static void prove(tenon_cx *cx, tenon_network *network, tenon_engine *e, const io *b)
{
    static const int64_t batch[] = {1, 5, 8, 64, 1, 64, 5};
    tenon_context *c = NULL;
    if (!CHECK_OK(cx, tenon_context_create(cx, e, NULL, &c))) return;
    CHECK_OK(&c->cx, tenon_context_set_address(c, "x", b->dx, MOST * WIDTH * sizeof(float)));
    CHECK_OK(&c->cx, tenon_context_set_address(c, "y", b->dy, MOST * WIDTH * sizeof(float)));
    for (size_t i = 0; i < TENON_COUNTOF(batch); i++) run_batch(cx, network, e, c, b, batch[i]);
    printf("%zu runs of 4 sizes: %llu graph made, %llu times launched\n", TENON_COUNTOF(batch), (unsigned long long)c->graphs_made,
           (unsigned long long)c->graph_launches);
    CHECK(c->segment_count == 1 && c->graphs_made == 1 && c->graph_launches == TENON_COUNTOF(batch) - 1);
    for (int64_t n = 1; n <= MOST; n *= 8) {
        double queued[2], waited[2];
        const int64_t shape[] = {n, WIDTH};
        CHECK_OK(&c->cx, tenon_context_set_shape(c, "x", 2, shape));
        CHECK_OK(&c->cx, tenon_context_run(c));
        time_runs(c, false, &queued[0], &waited[0]);
        time_runs(c, true, &queued[1], &waited[1]);
        printf("batch %2lld: %u steps; launched one by one %.2f us a run, as a graph %.2f us; with a wait after each run %.2f and %.2f us\n", (long long)n,
               e->step_count, queued[0], queued[1], waited[0], waited[1]);
    }
    CHECK(c->graphs_made == 1);
    tenon_context_destroy(&c);
}

int main(void)
{
    tenon_cx *cx = NULL;
    tenon_heap heap;
    tenon_buf model;
    tenon_network *network = NULL;
    tenon_engine *engine = NULL;
    tenon_device *device = NULL;
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
    io b = {.x = pb_numbers(&heap, MOST * WIDTH, 9, 2), .y = pb_numbers(&heap, MOST * WIDTH, 9, 0)};
    if (CHECK_OK(cx, tenon_network_read(cx, model.data, model.length, NULL, &network)) && CHECK_OK(cx, build(cx, network, &engine)) &&
        CHECK_OK(cx, tenon_device_alloc(cx, engine, MOST * WIDTH * 4, &b.dx)) && CHECK_OK(cx, tenon_device_alloc(cx, engine, MOST * WIDTH * 4, &b.dy)) &&
        CHECK_OK(cx, tenon_device_upload(cx, engine, b.dx, b.x, MOST * WIDTH * 4))) {
        print_steps(engine);
        prove(cx, network, engine, &b);
        print_variants(cx, engine);
    }
    if (b.dx) tenon_device_free(cx, engine, b.dx);
    if (b.dy) tenon_device_free(cx, engine, b.dy);
    tenon_engine_destroy(&engine);
    tenon_network_destroy(&network);
    tenon_buf_free(&model);
    tenon_heap_free(&heap);
    tenon_cx_destroy(&cx);
    return CHECK_END();
}
