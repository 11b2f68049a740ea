/* SPDX-License-Identifier: Apache-2.0 */
/* What the tuner finds for single problems on the GPU that is here: everything that is offered runs, and with arguments how fast.

       test_gpu_race [--level N] [PROBLEM...]      every candidate's time, the fastest first; without problems: the test

   Exit 77 without a GPU. */
#include "check.h"

#include "cuda/backend.h"
#include "plan/race.h"
#include "plan/tuner.h"

#include <stdlib.h>

/* Of a size that large batches have: the kernels for those must be offered and run. */
static const struct { const char *problem, *tactic[3]; } want[] = {
    {"conv:f16,n16c64h28w28:cl,k64c64r3s3:w,pads=1+1+1+1|bias,relu>_:cl", {"cuda.conv_gemm"}},
    {"conv:f16,n16c64h28w28:cl,k256c64r1s1:w|bias,add,relu>_:cl", {"cuda.conv_gemm"}},
    {"matmul:f16,2048x768,768x3072:w|bias,gelu", {"cuda.matmul_mma"}},
};

static int by_seconds(const void *a, const void *b)
{
    const double x = ((const tenon_timed *)a)->seconds, y = ((const tenon_timed *)b)->seconds;
    return (x > y) - (x < y);
}

static void print_choice(const tenon_choice *c)
{
    tenon_timed *list = malloc((c->tried_count + 1) * sizeof *list);
    printf("%s\n", c->text);
    if (list) memcpy(list, c->tried, c->tried_count * sizeof *list);
    if (list) qsort(list, c->tried_count, sizeof *list, by_seconds);
    for (size_t i = 0; list && i < c->tried_count; i++) {
        const int32_t *p = list[i].variant.p;
        if (!list[i].timed) continue;
        printf("  %10.2f us  %7.1f TFLOP/s  %7.0f GB/s  %-26s %d,%d,%d,%d,%d,%d,%d\n", list[i].seconds * 1e6, c->flops / list[i].seconds * 1e-12,
               c->bytes / list[i].seconds * 1e-9, list[i].tactic->name, p[0], p[1], p[2], p[3], p[4], p[5], p[6]);
    }
    for (size_t i = 0; i < c->rejected_count; i++) printf("  %-26s %s\n", c->rejected[i].tactic->name, c->rejected[i].why);
    free(list);
    fflush(stdout);
}

static void race(tenon_cx *cx, tenon_device *device, const char *text, int level, const char *const *tactic, bool print)
{
    const tenon_tuner_options options = {.timed = true, .tf32 = true, .level = level, .workspace_bytes = (size_t)1 << 30, .budget_seconds = 0.02};
    tenon_arena arena;
    tenon_problem p;
    tenon_tuner *tuner = NULL;
    const tenon_choice *c;
    tenon_arena_init(&arena, cx);
    if (CHECK_OK(cx, tenon_problem_parse(cx, &arena, text, &p)) &&
        CHECK_OK(cx, tenon_tuner_create(cx, &arena, &tenon_backend_cuda, device, NULL, &options, &tuner)) &&
        CHECK_OK(cx, tenon_tuner_choose(tuner, &p, &c))) {
        if (print) print_choice(c);
        CHECK(c->timed && c->seconds > 0);
        for (; tactic && *tactic; tactic++) {
            bool timed = false;
            for (size_t i = 0; i < c->tried_count; i++) timed |= c->tried[i].timed && strcmp(c->tried[i].tactic->name, *tactic) == 0;
            CHECK(timed);
        }
        for (size_t i = 0; i < c->tried_count; i++) /* nothing of ours fails when it is launched */
            CHECK(c->tried[i].timed || c->tried[i].seconds < TENON_RACE_NEVER || strstr(c->tried[i].tactic->name, "cublaslt") ||
                  strstr(c->tried[i].tactic->name, "cudnn"));
    }
    tenon_tuner_destroy(&tuner);
    tenon_arena_free(&arena);
}

int main(int argc, char **argv)
{
    tenon_cx cx;
    tenon_device *device = NULL;
    int at = 1, level = 3;
    tenon_cx_init_default(&cx);
    if (tenon_backend_cuda.open(&cx, 0, 0, &device) != TENON_OK) {
        printf("SKIP: %s\n", cx.message);
        return 77;
    }
    const tenon_device_info *info = tenon_backend_cuda.info(device);
    if (argc > 2 && strcmp(argv[1], "--level") == 0) level = atoi(argv[2]), at = 3;
    for (int i = at; i < argc; i++) race(&cx, device, argv[i], level, NULL, true);
    for (size_t i = 0; at == argc && i < TENON_COUNTOF(want); i++) race(&cx, device, want[i].problem, level, want[i].tactic, false);
    if (at == argc && info->have == 90) {
        static const char *const products[] = {"cuda.matmul_wgmma", NULL}, *const convolutions[] = {"cuda.conv_wgmma", NULL};
        race(&cx, device, want[1].problem, level, convolutions, false);
        race(&cx, device, want[2].problem, level, products, false);
    }
    tenon_backend_cuda.close(&device);
    return CHECK_END();
}
