/* SPDX-License-Identifier: Apache-2.0 */
/* What the tactics of cuBLASLt and cuDNN make of problems, without a GPU: which they take, and the numbers that the libraries
 * get. */
#include "check.h"

#include "cuda/backend.h"
#include "cuda/cublaslt.h"
#include "cuda/cudnn.h"

static tenon_device *offline;

/* The text of the kernel that the tactic plans; NULL: it rejects the problem for another reason than that no device is here. */
static const char *planned(tenon_cx *cx, tenon_arena *arena, const char *text, const char *name, const char **why)
{
    tenon_problem *p = tenon_arena_alloc(arena, sizeof *p);
    const tenon_variant v = {{0}};
    static tenon_reason reason;
    tenon_tactic_plan plan = {0};
    *why = "";
    const tenon_tactic *t = tenon_tactic_find(&tenon_backend_cuda, name, strlen(name));
    if (!t || !p || !CHECK_OK(cx, tenon_problem_parse(cx, arena, text, p))) return NULL;
    *why = tenon_tactic_rejects(t, p, &v, offline, 90, &reason);
    if (!*why || !strstr(*why, "the device is not here")) return NULL;
    return CHECK_OK(cx, t->plan(cx, p, &v, offline, &plan)) ? plan.kernel[0].source : NULL;
}

typedef struct product_case {
    const char *text;
    int64_t m, n, k, batch, transpose_a, transpose_b, ld_a, ld_b, ld_c, ld_d, step_a, step_b, step_d, epilogue, has_c;
} product_case;
static const product_case products[] = {
    {"matmul:f16,64x256,256x128:w", 128, 64, 256, 1, 0, 0, 128, 256, 128, 128, 0, 0, 0, 1, 0},
    {"matmul:f16,64x256,256x128:w|bias,relu", 128, 64, 256, 1, 0, 0, 128, 256, 128, 128, 0, 0, 0, 6, 0},
    {"matmul:bf16,64x256,256x128:w|bias,gelu_tanh", 128, 64, 256, 1, 0, 0, 128, 256, 128, 128, 0, 0, 0, 36, 0},
    {"matmul:f16,64x256,256x128:w|bias,add,relu", 128, 64, 256, 1, 0, 0, 128, 256, 128, 128, 0, 0, 0, 6, 1},
    {"matmul:f16,a[1..8@4]x49x256,256x512:w|bias", 512, 196, 256, 1, 0, 0, 512, 256, 512, 512, 0, 0, 0, 4,
     0}, /* a batch of rows is rows */
    {"matmul:f16,24x48x64,24x64x40", 40, 48, 64, 24, 0, 0, 40, 64, 40, 40, 2560, 3072, 1920, 1, 0},
    {"matmul:f16,24x48x64,24x64x48:p021", 48, 48, 64, 24, 1, 0, 64, 64, 48, 48, 3072, 3072, 2304, 1, 0},
    {"matmul:f16,24x48x64:p021,24x64x48", 48, 48, 64, 24, 0, 1, 48, 48, 48, 48, 3072, 3072, 2304, 1, 0},
    {"matmul:f16,12x33x64:ld80,64x40", 40, 396, 64, 1, 0, 0, 40, 80, 40, 40, 0, 0, 0, 1, 0},
    {"matmul:f16,1x48x64,24x64x40", 40, 48, 64, 24, 0, 0, 40, 64, 40, 40, 2560, 0, 1920, 1, 0},
    {"matmul:f32,1x2048,2048x1000:w|bias", 1000, 1, 2048, 1, 0, 0, 1000, 2048, 1000, 1000, 0, 0, 0, 4, 0},
    {"conv:f16,n128c64h56w56:cl,k256c64r1s1:w|bias,add,relu>_:cl", 256, 401408, 64, 1, 1, 0, 64, 64, 256, 256, 0, 0, 0, 6, 1},
    {"conv:f16,na[1..8@4]c64h7w5:cl:ld96,k40c64r1s1:w,40|relu>_:cl:ld48", 40, 140, 64, 1, 1, 0, 64, 96, 48, 48, 0, 0, 0, 6, 0},
    {"conv:f16,n1c64h7w5,k40c64r1s1:w>_:cl", 40, 35, 64, 1, 1, 1, 64, 35, 40, 40, 0, 0, 0, 1, 0}, /* x runs along its pixels */
    {"conv:f16,n2c64h1w1,k40c64r1s1:w|gelu_tanh", 40, 2, 64, 1, 1, 0, 64, 64, 40, 40, 0, 0, 0, 32, 0},
    {"conv:bf16,2x24x33:cl,40x24x1:w|bias>_:cl", 40, 66, 24, 1, 1, 0, 24, 24, 40, 40, 0, 0, 0, 4, 0},
};

static void check_product(tenon_cx *cx, const product_case *c)
{
    tenon_arena arena;
    union {
        tenon_lt_product p;
        int64_t number[sizeof(tenon_lt_product) / sizeof(int64_t)];
    } got;
    const char *why;
    tenon_arena_init(&arena, cx);
    const bool conv = strncmp(c->text, "conv", 4) == 0;
    const char *text = planned(cx, &arena, c->text, conv ? "cuda.cublaslt_conv" : "cuda.cublaslt_matmul", &why);
    bool good = text && tenon_cuda_numbers_parse(text, got.number, TENON_COUNTOF(got.number));
    const tenon_lt_product *p = &got.p;
    good = good && p->m == c->m && p->n == c->n && p->k == c->k && p->batch == c->batch && p->transpose_a == c->transpose_a &&
           p->transpose_b == c->transpose_b && p->ld_a == c->ld_a && p->ld_b == c->ld_b && p->ld_c == c->ld_c &&
           p->ld_d == c->ld_d && p->step_a == c->step_a && p->step_b == c->step_b && p->step_d == c->step_d &&
           p->epilogue == c->epilogue && p->has_c == c->has_c;
    if (!good) fprintf(stderr, "%s: %s (%s)\n", c->text, text ? text : "not taken", why ? why : "");
    CHECK(good);
    tenon_arena_free(&arena);
}

static void check_products(tenon_cx *cx)
{
    for (size_t i = 0; i < TENON_COUNTOF(products); i++) check_product(cx, &products[i]);
}

static void check_convolution(tenon_cx *cx)
{
    static const int64_t want[] = {TENON_DNN_F16, 0, 2, 64, 15, 14, 32, 16, 3, 3, 2, 32, 8, 7, 2, 2, 1, 1, 1, 1, 1, 1, 3};
    union {
        tenon_dnn_convolution c;
        int64_t number[sizeof(tenon_dnn_convolution) / sizeof(int64_t)];
    } got;
    tenon_arena arena;
    const char *why;
    tenon_arena_init(&arena, cx);
    const char *text = planned(
        cx, &arena, "conv:f16,n2c64h15w14:cl,k32c16r3s3:w,strides=2+2,pads=1+1+1+1,group=4|bias,add,clip(_,{0},{6})>_:cl",
        "cuda.cudnn_conv", &why);
    const bool good = text && tenon_cuda_numbers_parse(text, got.number, TENON_COUNTOF(got.number));
    CHECK(good);
    for (size_t i = 0; good && i < TENON_COUNTOF(want); i++) CHECK(got.number[i] == want[i]);
    if (good) {
        const tenon_dnn_operation *o = got.c.operation;
        CHECK(o[0].mode == TENON_DNN_ADD && o[0].operand == 1 && o[1].mode == TENON_DNN_ADD && o[1].operand == 2);
        CHECK(o[2].mode == TENON_DNN_RELU && o[2].operand == 0 && o[2].lower == 0 && o[2].upper == 0x40c00000);
    }
    tenon_arena_free(&arena);
}

/* Long convolutions may have more workspace. */
static void check_workspace(tenon_cx *cx)
{
    static const struct { const char *text; int64_t bytes; } want[] = {
        {"conv:f16,n1c64h14w14:cl,k64c64r3s3:w,pads=1+1+1+1|bias,relu>_:cl", 16 << 20},
        {"conv:f16,n128c128h28w28:cl,k128c128r3s3:w,pads=1+1+1+1|bias,relu>_:cl", 64 << 20},
        {"conv:f16,n128c256h56w56:cl,k512c256r1s1:w>_:cl", 16 << 20},
    };
    for (size_t i = 0; i < TENON_COUNTOF(want); i++) {
        union { tenon_dnn_convolution c; int64_t number[sizeof(tenon_dnn_convolution) / sizeof(int64_t)]; } got;
        tenon_arena arena;
        const char *why;
        tenon_arena_init(&arena, cx);
        const char *text = planned(cx, &arena, want[i].text, "cuda.cudnn_conv", &why);
        CHECK(text && tenon_cuda_numbers_parse(text, got.number, TENON_COUNTOF(got.number)) && got.c.workspace_bytes == want[i].bytes);
        tenon_arena_free(&arena);
    }
}

/* What a library cannot do is left to other tactics, with the reason. */
static void check_rejections(tenon_cx *cx)
{
    static const struct {
        const char *text, *tactic, *why;
    } want[] = {
        {"matmul:f16,64x256,256x128:w|bias,gelu", "cuda.cublaslt_matmul", "no such program"}, /* its gelu is the tanh form */
        {"matmul:f16,64x256,256x128:w|relu,bias", "cuda.cublaslt_matmul", "behind its activation"},
        {"matmul:f16,2x12x40x64:p0213,2x12x64x40", "cuda.cublaslt_matmul", "no single stride"},
        {"matmul:f16,64xa[8..256@64],(a)x128", "cuda.cublaslt_matmul", "dynamic depth"},
        {"matmul:f16,64x0,0x128", "cuda.cublaslt_matmul", "an empty matrix"},
        {"matmul:f16,64xa[0..8@4],(a)x128", "cuda.cublaslt_matmul", "dynamic depth"},
        {"matmul:f64,64x256,256x128", "cuda.cublaslt_matmul", "neither f32"},
        {"matmul:f16,64x256,256x128", "cuda.cublaslt_matmul_tf32", "not f32"},
        {"conv:f16,n1c64h14w14:cl,k64c64r3s3:w,pads=1+1+1+1>_:cl", "cuda.cublaslt_conv", "several taps"},
        {"conv:f16,n1c64h14w14:cl,k64c64r1s1:w,strides=2+2>_:cl", "cuda.cublaslt_conv", "strides"},
        {"conv:f16,n1c64h14w14:cl,k64c32r1s1:w,group=2>_:cl", "cuda.cublaslt_conv", "groups"},
        {"conv:f16,n1c64h14w14:cl,k64c64r1s1:w", "cuda.cublaslt_conv", "contiguous along its columns"},
        {"conv:f16,n2c64h14w14,k64c64r1s1:w>_:cl", "cuda.cublaslt_conv", "no single stride"},
        {"conv:f16,n1c64h14w14:cl,k64c64r1s1:w,64|mul(_,f16:{2})>_:cl", "cuda.cublaslt_conv", "multiplies"},
        {"conv:f16,n1c64h14w14,k64c64r3s3:w", "cuda.cudnn_conv", "not channels-last"},
        {"conv:f16,na[1..8]c64h14w14:cl,k64c64r3s3:w>_:cl", "cuda.cudnn_conv", "one size"},
        {"conv:f16,n1c3h14w14:cl,k64c3r3s3:w>_:cl", "cuda.cudnn_conv", "16 bytes"},
        {"conv:f16,n1c64h14w14:cl,k64c64r3s3:w|hard_swish>_:cl", "cuda.cudnn_conv", "lacks"},
        {"conv:f16,n2c64h1024w1024:cl:ld2048,k64c64r3s3:w,pads=1+1+1+1>_:cl", "cuda.conv_gemm", "x spans more elements"},
        {"conv:f16,n2c64h1024w1024:cl:ld2048,k64c64r3s3:w,pads=1+1+1+1>_:cl", "cuda.conv_patch", "x spans more elements"},
        {"conv:f16,n1c64h14w14:cl:ld80,k64c64r3s3:w>_:cl", "cuda.cudnn_conv", "pitch"},
    };
    for (size_t i = 0; i < TENON_COUNTOF(want); i++) {
        tenon_arena arena;
        const char *why;
        tenon_arena_init(&arena, cx);
        const char *text = planned(cx, &arena, want[i].text, want[i].tactic, &why);
        if (text || !why || !strstr(why, want[i].why))
            fprintf(stderr, "%s: %s: %s\n", want[i].text, want[i].tactic, why ? why : "taken");
        CHECK(!text && why && strstr(why, want[i].why));
        tenon_arena_free(&arena);
    }
}

/* The kernel behind a product compiles, and the product in front of it is bare. */
static void check_then(tenon_cx *cx)
{
    static const char *const text[] = {"matmul:f16,8192x768,768x3072:w|bias,gelu", "matmul:bf16,a[1..64@64]x128x768,768x100:w|bias,add,tanh"};
    const tenon_tactic *t = tenon_tactic_find(&tenon_backend_cuda, "cuda.cublaslt_then", 18);
    tenon_cuda_nvrtc nvrtc;
    const bool compiles = tenon_cuda_nvrtc_open(cx, &nvrtc) == TENON_OK;
    CHECK(t != NULL);
    for (size_t i = 0; t && i < TENON_COUNTOF(text); i++) {
        const tenon_variant v = {{0}};
        tenon_arena arena;
        tenon_problem p;
        tenon_tactic_plan plan = {0};
        union { tenon_lt_product p; int64_t number[sizeof(tenon_lt_product) / sizeof(int64_t)]; } got;
        tenon_buf image;
        tenon_arena_init(&arena, cx);
        tenon_buf_init(&image, cx);
        if (CHECK_OK(cx, tenon_problem_parse(cx, &arena, text[i], &p)) && CHECK_OK(cx, t->plan(cx, &p, &v, offline, &plan))) {
            CHECK(plan.kernel_count == 2 && !plan.in_place && tenon_cuda_numbers_parse(plan.kernel[0].source, got.number, TENON_COUNTOF(got.number)));
            CHECK(got.p.n == 8192 && got.p.k == 768 && got.p.epilogue == TENON_LT_EPILOGUE_NONE && !got.p.has_c);
            if (compiles) CHECK_OK(cx, tenon_cuda_compile(cx, &nvrtc, &plan.kernel[1], "sm_80", &image));
        }
        tenon_buf_free(&image);
        tenon_arena_free(&arena);
    }
}

static void check_texts(tenon_cx *cx)
{
    const int64_t number[] = {0, -5, INT64_MAX, INT64_MIN};
    int64_t back[4];
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_cuda_numbers_print(&b, number, 4);
    tenon_buf_char(&b, '\0');
    CHECK(tenon_cuda_numbers_parse(b.data, back, 4) && memcmp(number, back, sizeof back) == 0);
    CHECK(!tenon_cuda_numbers_parse(b.data, back, 3));
    CHECK(!tenon_cuda_numbers_parse("1 2 x", back, 3));
    CHECK(tenon_cuda_library_of_entry("cudnn") == &tenon_cudnn_library && !tenon_cuda_library_of_entry("tenon_gemm"));
    CHECK(tenon_cuda_library_of_image("TENONLT1", 8) == &tenon_cublaslt_library && !tenon_cuda_library_of_image("TENONLT1", 7));
    CHECK(!tenon_cuda_library_of_image("\x7f"
                                       "ELF....",
                                       8));
    tenon_buf_free(&b);
}

int main(void)
{
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    if (!CHECK_OK(&cx, tenon_backend_cuda.open(&cx, -90, 0, &offline))) return CHECK_END();
    check_products(&cx);
    check_convolution(&cx);
    check_workspace(&cx);
    check_rejections(&cx);
    check_then(&cx);
    check_texts(&cx);
    tenon_backend_cuda.close(&offline);
    return CHECK_END();
}
