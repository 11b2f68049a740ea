/* SPDX-License-Identifier: Apache-2.0 */
/* A GPU that is out of memory or has faulted, by the stand-in of test/fake: what the caller is told, that it is told by the next call
   too, that what there was no memory for can be tried again, and that everything can be ended and gives its memory back. */
#include "check.h"
#include "digits.h"

#include "run/context.h"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUT_OF_MEMORY = 2, ILLEGAL_ADDRESS = 700 };

typedef struct session {
    tenon_cx *cx;
    uint8_t *model;
    tenon_network *network;
    tenon_config *config;
    tenon_engine *e;
    tenon_context *c;
    void *x, *y;
    void (*fail)(const char *name, int error);
    size_t (*count)(const char *name);
} session;

static bool begin(session *s)
{
    size_t bytes;
    *s = (session){.model = digits_model(&bytes)};
    check_passed = check_failed = 0;
    if (tenon_cx_create(NULL, &s->cx) != TENON_OK ||
        !CHECK_OK(s->cx, tenon_network_read(s->cx, s->model, bytes, NULL, &s->network)) ||
        !CHECK_OK(s->cx, tenon_config_create(s->cx, &s->config)) || !CHECK_OK(s->cx, tenon_config_set_device(s->config, "cuda", 0)) ||
        !CHECK_OK(s->cx, tenon_config_set_timing(s->config, false)) ||
        !CHECK_OK(s->cx, tenon_build(s->cx, s->network, s->config, &s->e)))
        return false;
    void *library = dlopen(TENON_BINARY_DIR "/fake/libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    if (!library) return false;
    *(void **)&s->fail = dlsym(library, "fake_cuda_fail");
    *(void **)&s->count = dlsym(library, "fake_cuda_count");
    dlclose(library); /* the backend keeps it open */
    CHECK(s->fail && s->count);
    return s->fail && s->count;
}

static bool make_context(session *s)
{
    return CHECK_OK(s->cx, tenon_context_create(s->cx, s->e, NULL, &s->c)) &&
           CHECK_OK(s->cx, tenon_device_alloc(s->cx, s->e, 256, &s->x)) && CHECK_OK(s->cx, tenon_device_alloc(s->cx, s->e, 256, &s->y)) &&
           CHECK_OK(&s->c->cx, tenon_context_set_address(s->c, "x", s->x, 256)) &&
           CHECK_OK(&s->c->cx, tenon_context_set_address(s->c, "y", s->y, 256));
}

static int end(session *s)
{
    if (s->e) tenon_device_free(s->cx, s->e, s->x);
    if (s->e) tenon_device_free(s->cx, s->e, s->y);
    tenon_context_destroy(&s->c);
    tenon_engine_destroy(&s->e);
    tenon_config_destroy(&s->config);
    tenon_network_destroy(&s->network);
    tenon_cx_destroy(&s->cx);
    free(s->model);
    return check_failed != 0;
}

/* ---- no memory ---- */
static int no_memory_for_a_context(void)
{
    session s;
    if (begin(&s)) {
        const size_t before = s.count("cuMemAlloc_v2") - s.count("cuMemFree_v2");
        s.fail("cuMemAlloc_v2", OUT_OF_MEMORY);
        CHECK_FAILS(s.cx, tenon_context_create(s.cx, s.e, NULL, &s.c), TENON_NOMEM, "out of GPU memory: ");
        CHECK(s.c == NULL && strstr(s.cx->message, "a smaller maximum shape in the profile"));
        CHECK_FAILS(s.cx, tenon_device_alloc(s.cx, s.e, 64, &s.x), TENON_NOMEM, "64 bytes are wanted");
        s.fail(NULL, 0);
        if (make_context(&s)) CHECK_OK(&s.c->cx, tenon_context_run(s.c));
        CHECK(s.count("cuMemAlloc_v2") - s.count("cuMemFree_v2") > before);
    }
    return end(&s);
}

/* Runs go on without their graph. */
static int no_memory_for_a_graph(void)
{
    session s;
    if (begin(&s) && make_context(&s)) {
        CHECK_OK(&s.c->cx, tenon_context_run(s.c));
        s.fail("cuGraphInstantiateWithFlags", OUT_OF_MEMORY);
        const size_t launches = s.count("cuLaunchKernelEx");
        CHECK_OK(&s.c->cx, tenon_context_run(s.c));
        CHECK(s.count("cuLaunchKernelEx") > launches && s.c->graphs_made == 0 && s.c->graph_launches == 0);
        s.fail(NULL, 0);
        CHECK_OK(&s.c->cx, tenon_context_run(s.c)); /* nor tried at each run */
        CHECK(s.c->graphs_made == 0 && s.count("cuGraphInstantiateWithFlags") == 1);
    }
    return end(&s);
}

/* ---- a fault ---- */
static int fault_of_a_run(void)
{
    session s;
    if (begin(&s) && make_context(&s)) {
        CHECK_OK(&s.c->cx, tenon_context_run(s.c));
        s.fail("cuStreamSynchronize", ILLEGAL_ADDRESS); /* which is where a run's own fault comes out */
        CHECK_FAILS(&s.c->cx, tenon_context_run(s.c), TENON_DEVICE, "error 700");
        CHECK(strstr(tenon_context_message(s.c), "no work is possible on this device any more"));
        s.fail(NULL, ILLEGAL_ADDRESS);
        CHECK_FAILS(&s.c->cx, tenon_context_run(s.c), TENON_DEVICE, "error 700");
        tenon_context *other = NULL;
        CHECK_FAILS(s.cx, tenon_context_create(s.cx, s.e, NULL, &other), TENON_DEVICE, "error 700");
    }
    return end(&s); /* quietly, though nothing answers */
}

static int fault_in_a_stream(void)
{
    session s;
    tenon_stream *stream = NULL;
    if (begin(&s) && make_context(&s) && CHECK_OK(s.cx, tenon_stream_create(s.cx, s.e, &stream))) {
        for (int i = 0; i < 3; i++) CHECK_OK(&s.c->cx, tenon_context_enqueue(s.c, stream));
        s.fail(NULL, ILLEGAL_ADDRESS);
        CHECK_FAILS(&s.c->cx, tenon_context_enqueue(s.c, stream), TENON_DEVICE, "error 700");
        CHECK_FAILS(s.cx, tenon_stream_synchronize(s.cx, stream), TENON_DEVICE, "error 700");
        CHECK_FAILS(&s.c->cx, tenon_context_enqueue(s.c, stream), TENON_DEVICE, "error 700");
        CHECK_FAILS(s.cx, tenon_device_upload(s.cx, s.e, s.x, s.model, 256), TENON_DEVICE, "error 700");
    }
    tenon_stream_destroy(&stream);
    return end(&s);
}

static bool passes(int (*test)(void))
{
    int status = 1;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) _exit(test());
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(void)
{
    setenv("TENON_CUDA_PATH", TENON_BINARY_DIR "/fake", 1);
    setenv("TENON_CUDA_ABSENT", "cudnn,cublaslt", 1);
    setenv("TENON_CACHE_DIR", "", 1);
    unsetenv("TENON_CUDA_OFFLINE");
    CHECK(passes(no_memory_for_a_context));
    CHECK(passes(no_memory_for_a_graph));
    CHECK(passes(fault_of_a_run));
    CHECK(passes(fault_in_a_stream));
    return CHECK_END();
}
