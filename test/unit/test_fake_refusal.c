/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a library that refuses when its choice is launched, and of an engine's plan that lies about its workspace, with the
   stand-ins of test/fake. Whoever refuses is left out of the race, for good, and the others go on. */
#include "check.h"

#include "cuda/backend.h"
#include "cuda/cudnn.h"
#include "plan/tuner.h"

#include <stdlib.h>
#include <unistd.h>

static const char *const problems[] = {
    "matmul:f16,64x256,256x128:w|bias,relu",
    "conv:f16,n1c64h14w14:cl,k64c64r3s3:w,pads=1+1+1+1|bias,add,relu>_:cl",
};
enum { PROBLEMS = TENON_COUNTOF(problems) };

static bool is_library(const tenon_tactic *t) { return strstr(t->name, "cublaslt") || strstr(t->name, "cudnn"); }

/* How many variants of the libraries were timed, and how many were not. */
static void count_libraries(const tenon_choice *c, size_t *timed, size_t *left_out)
{
    *timed = *left_out = 0;
    for (size_t i = 0; i < c->tried_count; i++)
        if (is_library(c->tried[i].tactic)) *(c->tried[i].timed ? timed : left_out) += 1;
}

static void choose(tenon_cx *cx, tenon_device *device, tenon_timing_cache *cache, const char *text, bool refuses, bool known)
{
    const tenon_tuner_options options = {.timed = true, .level = 3, .workspace_bytes = (size_t)1 << 30, .budget_seconds = 1e-3};
    tenon_arena arena;
    tenon_problem p;
    tenon_tuner *tuner = NULL;
    const tenon_choice *c;
    size_t timed, left_out;
    tenon_arena_init(&arena, cx);
    if (CHECK_OK(cx, tenon_problem_parse(cx, &arena, text, &p)) &&
        CHECK_OK(cx, tenon_tuner_create(cx, &arena, &tenon_backend_cuda, device, cache, &options, &tuner)) &&
        CHECK_OK(cx, tenon_tuner_choose(tuner, &p, &c))) {
        count_libraries(c, &timed, &left_out);
        CHECK(c->timed && timed + left_out > 0);
        CHECK(refuses ? timed == 0 && !is_library(c->tactic) : left_out == 0);
        CHECK((tenon_tuner_measured(tuner) == 0) == known);
    }
    tenon_tuner_destroy(&tuner);
    tenon_arena_free(&arena);
}

static void check_choices(tenon_cx *cx, tenon_device *device)
{
    for (int refuses = 0; refuses < 2; refuses++) {
        tenon_timing_cache *cache = NULL;
        setenv("FAKE_CUDA_REFUSE", refuses ? "cublasLtMatmul cudnnBackendExecute" : "", 1);
        if (!CHECK_OK(cx, tenon_timing_cache_create(cx, NULL, 0, &cache))) return;
        for (int i = 0; i < (int)PROBLEMS; i++) choose(cx, device, cache, problems[i], refuses, false);
        for (int i = 0; i < (int)PROBLEMS; i++) choose(cx, device, cache, problems[i], refuses, true); /* a refusal is kept like a time */
        tenon_timing_cache_destroy(&cache);
    }
}

static void say_nothing(void *user, tenon_severity severity, const char *message) { (void)user, (void)severity, (void)message; }

/* Where everything fails at its launch it is the device that fails, and it says so. */
static void check_broken(tenon_cx *cx, tenon_device *device)
{
    const tenon_tuner_options options = {.timed = true, .level = 3, .workspace_bytes = (size_t)1 << 30, .budget_seconds = 1e-3};
    tenon_arena arena;
    tenon_problem p;
    tenon_tuner *tuner = NULL;
    const tenon_choice *c;
    tenon_arena_init(&arena, cx);
    const tenon_log_fn log_fn = cx->log_fn;
    cx->log_fn = say_nothing; /* it has much to complain of */
    setenv("FAKE_CUDA_REFUSE", "cublasLtMatmul cudnnBackendExecute cuLaunchKernel", 1);
    for (int i = 0; i < (int)PROBLEMS; i++)
        if (CHECK_OK(cx, tenon_problem_parse(cx, &arena, problems[i], &p)) &&
            CHECK_OK(cx, tenon_tuner_create(cx, &arena, &tenon_backend_cuda, device, NULL, &options, &tuner))) {
            CHECK_FAILS(cx, tenon_tuner_choose(tuner, &p, &c), TENON_DEVICE, "nothing runs");
            tenon_tuner_destroy(&tuner);
        }
    setenv("FAKE_CUDA_REFUSE", "", 1);
    cx->log_fn = log_fn;
    tenon_arena_free(&arena);
}

/* An image as the engine has it, with another number of bytes in its header: the plan is asked, not the file. */
static void check_workspace(tenon_cx *cx, tenon_device *device)
{
    static const int64_t number[sizeof(tenon_dnn_convolution) / sizeof(int64_t)] = {
        TENON_DNN_F16, 0, 1, 64, 14, 14, 64, 64, 3, 3, 1, 64, 14, 14, 1, 1, 1, 1, 1, 1, 1, 1};
    enum { AT_WORKSPACE = 16 };
    const uint64_t lies[] = {0, UINT64_MAX};
    union { int64_t number[TENON_COUNTOF(number)]; tenon_dnn_convolution convolution; } c;
    tenon_buf text, image;
    memcpy(c.number, number, sizeof number);
    c.convolution.workspace_bytes = 1 << 20;
    tenon_buf_init(&text, cx);
    tenon_buf_init(&image, cx);
    tenon_cuda_numbers_print(&text, c.number, TENON_COUNTOF(number));
    tenon_buf_char(&text, '\0');
    const tenon_kernel_source source = {.name = "a test", .source = text.data, .entry = "cudnn"};
    if (CHECK_OK(cx, tenon_backend_cuda.kernel_compile(cx, device, &source, &image)))
        for (size_t i = 0; i < TENON_COUNTOF(lies); i++) {
            void *kernel = NULL;
            memcpy(image.data + AT_WORKSPACE, &lies[i], sizeof lies[i]);
            if (!CHECK_OK(cx, tenon_backend_cuda.kernel_load(cx, device, image.data, image.length, "cudnn", &kernel))) continue;
            const tenon_dnn_plan *plan = (const void *)((const tenon_cuda_kernel *)kernel)->loaded;
            CHECK(plan->workspace_bytes == 1024);
            tenon_backend_cuda.kernel_unload(device, kernel);
        }
    tenon_buf_free(&text);
    tenon_buf_free(&image);
}

int main(void)
{
    tenon_cx cx;
    tenon_device *device = NULL;
    setenv("TENON_CUDA_PATH", TENON_BINARY_DIR "/fake", 1);
    setenv("TENON_CACHE_DIR", "", 1);
    setenv("FAKE_CUDA_PRODUCTS", "2", 1);
    unsetenv("TENON_CUDA_OFFLINE");
    unsetenv("TENON_CUDA_ABSENT");
    tenon_cx_init_default(&cx);
    if (!CHECK_OK(&cx, tenon_backend_cuda.open(&cx, 0, 0, &device))) return CHECK_END();
    check_choices(&cx, device);
    check_broken(&cx, device);
    check_workspace(&cx, device);
    tenon_backend_cuda.close(&device);
    return CHECK_END();
}
