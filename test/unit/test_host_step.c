/* SPDX-License-Identifier: Apache-2.0 */
/* Steps that no tactic of a GPU does run on the CPU's, between copies: results, sizes, weights, refit, and what an engine says of
   them. The networks have no other steps, so the stand-in of test/fake, whose kernels compute nothing, is GPU enough; with --gpu
   the same runs on a real one. Each test is in a process of its own, since what was opened stays open. */
#include "check.h"
#include "has_gpu.h"
#include "pb.h"

#include "base/isa.h"
#include "cuda/backend.h"
#include "run/context.h"

#include <dlfcn.h>
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

static bool real;

typedef struct session {
    tenon_cx *cx;
    tenon_buf model;
    tenon_network *network;
    tenon_config *config;
    tenon_engine *e;
    tenon_context *c;
    void *x, *y; /* on the device */
} session;

static size_t calls(const char *name)
{
    void *library = dlopen(TENON_BINARY_DIR "/fake/libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    size_t (*count)(const char *) = NULL;
    if (library) *(void **)&count = dlsym(library, "fake_cuda_count");
    const size_t found = count ? count(name) : 0;
    if (library) dlclose(library);
    return found;
}

/* ---- the network ---- */
enum { RANK = 3, Y = 4 };
static const int64_t x_dims[RANK] = {4, 2, 10001};
static const float w0[4] = {1, -2, 3, 0.5f}, w1[8] = {0.25f, 2, -3, 1, 1, -0.5f, -1, 4};

/* Two convolutions whose taps are so far apart that no kernel takes them, with one channel between them, so that no layout makes a
   step of its own. */
static void far_taps(tenon_buf *model, tenon_cx *cx)
{
    static const float b[1] = {0.5f};
    const int64_t apart = 5000, w0_dims[] = {1, 2, 2}, w1_dims[] = {4, 1, 2}, b_dims[] = {1};
    tenon_buf g, attrs;
    pb_buf(&g, cx);
    pb_buf(&attrs, cx);
    pb_attr_ints(&attrs, "dilations", &apart, 1);
    pb_node(&g, 1, "Conv", "", "x,w0,b", "t", &attrs);
    pb_attr_ints(&attrs, "dilations", &apart, 1);
    pb_node(&g, 1, "Conv", "", "t,w1", "u", &attrs);
    pb_node(&g, 1, "Flatten", "", "u", "y", NULL);
    pb_init(&g, "w0", 1, w0_dims, 3, w0, sizeof w0);
    pb_init(&g, "b", 1, b_dims, 1, b, sizeof b);
    pb_init(&g, "w1", 1, w1_dims, 3, w1, sizeof w1);
    pb_value(&g, 11, "x", 1, "n,2,10001");
    pb_value(&g, 12, "y", 1, "n,4");
    pb_model(model, &g, 13);
    tenon_buf_free(&attrs);
    tenon_buf_free(&g);
}

static size_t x_count(int64_t batch) { return (size_t)(batch * x_dims[1] * x_dims[2]); }

/* ---- sessions ---- */
static bool begin(session *s, bool refit)
{
    const int64_t least[] = {1, x_dims[1], x_dims[2]};
    int profile;
    *s = (session){.cx = NULL};
    check_passed = check_failed = 0;
    if (tenon_cx_create(NULL, &s->cx) != TENON_OK) return false;
    pb_buf(&s->model, s->cx);
    far_taps(&s->model, s->cx);
    return CHECK_OK(s->cx, tenon_network_read(s->cx, s->model.data, s->model.length, NULL, &s->network)) &&
           CHECK_OK(s->cx, tenon_config_create(s->cx, &s->config)) &&
           CHECK_OK(s->cx, tenon_config_set_device(s->config, "cuda", 0)) &&
           CHECK_OK(s->cx, tenon_config_set_timing(s->config, false)) &&
           CHECK_OK(s->cx, tenon_config_set_refit(s->config, refit)) &&
           CHECK_OK(s->cx, tenon_config_add_profile(s->config, &profile)) &&
           CHECK_OK(s->cx, tenon_config_set_shape(s->config, profile, "x", RANK, least, least, x_dims)) &&
           CHECK_OK(s->cx, tenon_build(s->cx, s->network, s->config, &s->e));
}

static bool make_context(session *s)
{
    return CHECK_OK(s->cx, tenon_context_create(s->cx, s->e, NULL, &s->c)) &&
           CHECK_OK(s->cx, tenon_device_alloc(s->cx, s->e, x_count(4) * 4, &s->x)) &&
           CHECK_OK(s->cx, tenon_device_alloc(s->cx, s->e, 4 * Y * 4, &s->y));
}

static int end(session *s)
{
    if (s->e) tenon_device_free(s->cx, s->e, s->x);
    if (s->e) tenon_device_free(s->cx, s->e, s->y);
    tenon_context_destroy(&s->c);
    tenon_engine_destroy(&s->e);
    tenon_config_destroy(&s->config);
    tenon_network_destroy(&s->network);
    tenon_buf_free(&s->model);
    tenon_cx_destroy(&s->cx);
    if (!real) CHECK(calls("cuMemHostAlloc") == calls("cuMemFreeHost") && calls("cuMemAlloc_v2") == calls("cuMemFree_v2"));
    return check_failed != 0;
}

static void check_near(const float *got, const float *want, size_t count)
{
    size_t wrong = 0; /* also what is not a number */
    for (size_t i = 0; i < count; i++) wrong += !(fabs((double)got[i] - want[i]) <= 1e-5 * (1 + fabs((double)want[i])));
    CHECK(wrong == 0);
}

/* A run at this batch, and what the reference makes of the same network. */
static void check_run(session *s, tenon_network *network, int64_t batch)
{
    tenon_cx *cx = s->cx;
    tenon_heap heap;
    tenon_heap_init(&heap, cx);
    const int64_t dim[] = {batch, x_dims[1], x_dims[2]};
    const size_t xs = x_count(batch), ys = (size_t)batch * Y;
    float *x = pb_numbers(&heap, xs, (uint64_t)batch, 2), *y = tenon_heap_alloc(&heap, ys * 4);
    tenon_host_tensor in = {.name = "x", .dtype = TENON_F32, .rank = RANK, .data = x}, out = {.name = "y"};
    memcpy(in.dim, dim, sizeof dim);
    if (!CHECK_OK(cx, tenon_network_run_reference(cx, network, &in, 1, &out, 1))) return;
    memset(y, 0xee, ys * 4);
    CHECK_OK(cx, tenon_device_upload(cx, s->e, s->x, x, xs * 4));
    CHECK_OK(cx, tenon_device_upload(cx, s->e, s->y, y, ys * 4));
    CHECK_OK(&s->c->cx, tenon_context_set_shape(s->c, "x", RANK, dim));
    CHECK_OK(&s->c->cx, tenon_context_set_address(s->c, "x", s->x, xs * 4));
    CHECK_OK(&s->c->cx, tenon_context_set_address(s->c, "y", s->y, ys * 4));
    CHECK_OK(&s->c->cx, tenon_context_run(s->c));
    CHECK_OK(cx, tenon_device_download(cx, s->e, y, s->y, ys * 4));
    check_near(y, out.data, ys);
    tenon_reference_free(cx, &out, 1);
    tenon_heap_free(&heap);
}

/* ---- tests ---- */
static int sizes_change(void)
{
    session s;
    char *json = NULL;
    tenon_engine *none = NULL;
    if (begin(&s, false) && make_context(&s)) {
        CHECK(s.e->step_count == 2 && (s.e->step[0].flags & TENON_STEP_HOST) && !(s.e->step[0].flags & TENON_STEP_REFERENCE));
        CHECK(strncmp(s.e->step_state[0].tactic->name, "cpu.conv_f32", 12) == 0);
        check_run(&s, s.network, 3);
        check_run(&s, s.network, 1);
        CHECK(real || calls("cuMemHostAlloc") == 2); /* operands of these steps; what the device object copies through */
        const size_t copies = calls("cuMemcpyHtoDAsync_v2") + calls("cuMemcpyDtoHAsync_v2");
        check_run(&s, s.network, 4);
        /* two for the test's own uploads, one for its download, and each step's source and result */
        CHECK(real || calls("cuMemcpyHtoDAsync_v2") + calls("cuMemcpyDtoHAsync_v2") == copies + 3 + 4);
        CHECK(real || calls("cuMemHostAlloc") == 2); /* all sizes of the profile have room from the beginning */
        CHECK_OK(s.cx, tenon_engine_inspect(s.cx, s.e, &json));
        CHECK(json && strstr(json, "\"synchronising\": 2") && strstr(json, "\"host_segments\": [\n    {\n     \"first\": 0,\n     \"count\": 2"));
        CHECK_OK(s.cx, tenon_config_set_strict(s.config, true));
        CHECK_FAILS(s.cx, tenon_build(s.cx, s.network, s.config, &none), TENON_UNSUPPORTED, "strict: 2 of 2 steps have no tactic of 'cuda'");
        tenon_text_free(s.cx, &json);
    }
    return end(&s);
}

static int in_a_stream(void)
{
    session s;
    tenon_stream *stream = NULL;
    if (begin(&s, false) && make_context(&s)) {
        check_run(&s, s.network, 2);
        CHECK_OK(s.cx, tenon_stream_create(s.cx, s.e, &stream));
        for (int i = 0; i < 3 && stream; i++) CHECK_OK(&s.c->cx, tenon_context_enqueue(s.c, stream));
        CHECK_OK(s.cx, tenon_stream_synchronize(s.cx, stream));
        tenon_stream_destroy(&stream);
        check_run(&s, s.network, 4);
    }
    return end(&s);
}

/* Weights are packed for the CPU's tactic, and the GPU never gets them. */
static int weights_and_refit(void)
{
    session s;
    const float w[4] = {-0.75f, 2, 0.5f, 3};
    if (begin(&s, true) && make_context(&s)) {
        for (uint32_t i = 0; i < s.e->step_count; i++)
            CHECK(s.e->step[i].pack_count == 1 && !s.e->weight_address[s.e->index[s.e->step[i].pack_first]]);
        check_run(&s, s.network, 2);
        CHECK_OK(s.cx, tenon_engine_set_weight(s.cx, s.e, "w0", TENON_F32, w, sizeof w));
        CHECK_OK(s.cx, tenon_engine_refit(s.cx, s.e));
        const char *at = memmem(s.model.data, s.model.length, w0, sizeof w0);
        CHECK(at != NULL);
        tenon_network *other = NULL;
        if (at) memcpy((char *)(uintptr_t)at, w, sizeof w); /* the same model with the new weights */
        CHECK_OK(s.cx, tenon_network_read(s.cx, s.model.data, s.model.length, NULL, &other));
        check_run(&s, other, 3);
        tenon_network_destroy(&other);
    }
    return end(&s);
}

static char engine_file[] = "/tmp/tenon_host_step_XXXXXX";

static int save_engine(void)
{
    session s;
    if (begin(&s, false)) {
        CHECK(s.e->header->isa == (s.e->step_state[0].tactic->need | s.e->step_state[1].tactic->need));
        CHECK_OK(s.cx, tenon_engine_save(s.cx, s.e, engine_file));
    }
    return end(&s);
}

/* On a machine whose CPU has less than the one that built it. */
static int load_elsewhere(void)
{
    tenon_cx *cx;
    tenon_engine *e = NULL;
    check_passed = check_failed = 0;
    setenv("TENON_ISA", "scalar", 1);
    if (tenon_cx_create(NULL, &cx) != TENON_OK) return 1;
    CHECK_FAILS(cx, tenon_engine_load(cx, engine_file, NULL, &e), TENON_UNSUPPORTED, "some of its steps run on the host");
    tenon_engine_destroy(&e);
    tenon_cx_destroy(&cx);
    return check_failed != 0;
}

static bool passes(int (*test)(void))
{
    int status = 1;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) _exit(test());
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Whether the children will have more than the scalar set. */
static bool has_vectors(void)
{
    int status = 0;
    const pid_t child = fork();
    if (child == 0) _exit((tenon_cpu()->isa & TENON_ISA_AVX2) != 0);
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

int main(int argc, char **argv)
{
    real = argc > 1 && strcmp(argv[1], "--gpu") == 0;
    if (!real) setenv("TENON_CUDA_PATH", TENON_BINARY_DIR "/fake", 1);
    if (!real) setenv("TENON_CUDA_ABSENT", "cudnn,cublaslt", 1);
    unsetenv("TENON_CUDA_OFFLINE");
    if (real && !has_gpu()) return printf("SKIP: no GPU\n"), 77;
    setenv("TENON_CACHE_DIR", "", 1);
    CHECK(passes(sizes_change));
    CHECK(passes(in_a_stream));
    CHECK(passes(weights_and_refit));
    const int file = mkstemp(engine_file);
    if (file >= 0) close(file);
    CHECK(passes(save_engine));
    if (has_vectors()) CHECK(passes(load_elsewhere));
    else SKIP("this CPU has no vectors to be missed elsewhere");
    unlink(engine_file);
    return CHECK_END();
}
