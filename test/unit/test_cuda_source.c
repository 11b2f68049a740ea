/* SPDX-License-Identifier: Apache-2.0 */
/* Every kernel that the CUDA tactics print compiles: all variants of some problems, for three architectures, by NVRTC, which needs no
   GPU. Also what an index space makes of formats. Exit 77 where there is no NVRTC. */
#include "check.h"
#include "cuda_cases.h"

#include "cuda/index_space.h"

static const char *const arch[] = {"sm_75", "sm_80", "sm_90a"};

static size_t compile_all(tenon_cx *cx, const tenon_cuda_nvrtc *nvrtc, const tenon_tactic_plan *plan, size_t arch_count)
{
    size_t compiled = 0;
    for (int k = 0; k < plan->kernel_count; k++)
        for (size_t i = 0; i < arch_count; i++) {
            tenon_buf image;
            tenon_buf_init(&image, cx);
            const bool good = CHECK_OK(cx, tenon_cuda_compile(cx, nvrtc, &plan->kernel[k], arch[TENON_COUNTOF(arch) - 1 - i], &image)) && image.length > 64 &&
                              memcmp(image.data, "\x7f" "ELF", 4) == 0;
            CHECK(good);
            compiled += good;
            tenon_buf_free(&image);
        }
    return compiled;
}

/* Which tactic takes the problem; its variants are all compiled for the newest architecture, the first one for every architecture. */
static void check_problem(tenon_cx *cx, const tenon_cuda_nvrtc *nvrtc, const char *text, size_t *kernels)
{
    tenon_arena arena;
    tenon_problem p;
    bool taken = false;
    tenon_arena_init(&arena, cx);
    if (!CHECK_OK(cx, tenon_problem_parse(cx, &arena, text, &p))) return tenon_arena_free(&arena);
    for (const tenon_tactic *const *t = tenon_cuda_tactics; *t; t++) {
        tenon_variant variant[32];
        tenon_reason reason;
        if (strcmp((*t)->pattern, p.pattern) != 0) continue;
        const int count = (*t)->variants(&p, NULL, variant, 32);
        CHECK(count > 0);
        for (int i = 0; i < count; i++) {
            tenon_tactic_plan plan = {0};
            const char *why = tenon_tactic_rejects(*t, &p, &variant[i], NULL, 0, &reason);
            if (why) fprintf(stderr, "%s: %s: %s\n", text, (*t)->name, why);
            CHECK(!why);
            if (why || !CHECK_OK(cx, (*t)->plan(cx, &p, &variant[i], NULL, &plan))) continue;
            CHECK(plan.shape_count > 0 && plan.record_bytes == sizeof(tenon_cuda_record));
            *kernels += compile_all(cx, nvrtc, &plan, i == 0 ? TENON_COUNTOF(arch) : 1);
            taken = true;
        }
    }
    if (!taken) fprintf(stderr, "no tactic takes %s\n", text);
    CHECK(taken);
    tenon_arena_free(&arena);
}

/* A batch and its rows are one axis; a pitch, a transposed operand and a broadcast keep axes apart. */
static void check_spaces(tenon_cx *cx)
{
    static const struct { const char *text; int rank; } want[] = {
        {"add:f32,a[1..8]x4x64,(a)x4x64", 1}, {"add:f32,a[1..8]x4x64,64", 2}, {"add:f32,a[1..8]x4x64:ld80,(a)x4x64", 2},
        {"add:f32,4x8x1,4x1x1", 2}, {"add:f32,1x1,1x1", 0},
    };
    for (size_t i = 0; i < TENON_COUNTOF(want); i++) {
        tenon_arena arena;
        tenon_problem p;
        tenon_cuda_space s;
        tenon_arena_init(&arena, cx);
        if (CHECK_OK(cx, tenon_problem_parse(cx, &arena, want[i].text, &p))) {
            const tenon_type *y = &p.dst[0].value->type;
            tenon_cuda_space_init(&s, p.graph->dims, y->rank, y->dim, NULL);
            for (int k = 0; k < p.src_count; k++) (void)tenon_cuda_space_add(&s, &p.src[k].value->type, &p.src[k].format, NULL);
            (void)tenon_cuda_space_add(&s, y, &p.dst[0].format, NULL);
            CHECK(tenon_cuda_space_finish(&s, 0));
            if (s.rank != want[i].rank) fprintf(stderr, "%s: rank %d\n", want[i].text, s.rank);
            CHECK(s.rank == want[i].rank);
        }
        tenon_arena_free(&arena);
    }
}

int main(void)
{
    tenon_cx cx;
    tenon_cuda_nvrtc nvrtc;
    size_t kernels = 0;
    tenon_cx_init_default(&cx);
    if (tenon_cuda_nvrtc_open(&cx, &nvrtc) != TENON_OK) {
        printf("SKIP: %s\n", cx.message);
        return 77;
    }
    check_spaces(&cx);
    for (size_t i = 0; i < TENON_COUNTOF(cuda_case); i++) check_problem(&cx, &nvrtc, cuda_case[i], &kernels);
    printf("%zu images by NVRTC %d.%d\n", kernels, nvrtc.major, nvrtc.minor);
    return CHECK_END();
}
