/* SPDX-License-Identifier: Apache-2.0 */
/* The f32 products and convolutions of the CPU against the references: every variant of every tactic this machine can run, over
   odd sizes, tails, strides, groups, layouts and epilogues, with one and three threads. Also what the tactics refuse, and the
   backend's own promises. The exhaustive walk over shapes is tenoncheck's. */
#include "check.h"

#include "base/isa.h"
#include "cpu/backend.h"
#include "null/backend.h"
#include "op/eval.h"

#include <math.h>

typedef struct bench { tenon_cx cx; tenon_device *device; int threads; } bench;

static uint32_t seed = 1;
static float noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)((int32_t)(seed >> 8) - (1 << 23)) / (float)(1 << 23);
}

/* Elements from the first to behind the last. */
static int64_t extent(const tenon_tensor *t)
{
    int64_t last = 1;
    for (int i = 0; i < t->rank; i++) last += (t->dim[i] - 1) * t->stride[i];
    return last;
}

static bool fill(tenon_heap *heap, tenon_tensor *t)
{
    const int64_t count = extent(t);
    if (!(t->data = tenon_heap_alloc(heap, tenon_dtype_bytes(t->dtype, (size_t)count)))) return false;
    for (int64_t i = 0; i < count; i++) tenon_tensor_set_f64(t, i, noise());
    return true;
}

/* A destination poisoned with NaN, so that what is not written shows. */
static bool poison(tenon_heap *heap, tenon_tensor *t)
{
    const int64_t count = extent(t);
    if (!(t->data = tenon_heap_alloc(heap, tenon_dtype_bytes(t->dtype, (size_t)count)))) return false;
    for (int64_t i = 0; i < count; i++) tenon_tensor_set_f64(t, i, NAN);
    return true;
}

static tenon_status pack(tenon_cx *cx, tenon_arena *arena, const tenon_pack *what, const tenon_tensor *src, tenon_heap *heap,
                         tenon_tensor *out)
{
    tenon_dim_pool pool;
    tenon_graph *g;
    tenon_value *w;
    tenon_node *n;
    tenon_dim_pool_init(&pool, arena);
    TENON_TRY(tenon_graph_create(cx, arena, &pool, NULL, &g));
    tenon_type type = {.dtype = src->dtype, .rank = src->rank};
    for (int i = 0; i < src->rank; i++) type.dim[i] = tenon_dim_const(&pool, src->dim[i]);
    TENON_TRY(tenon_graph_value(g, "w", &type, &w));
    TENON_TRY(tenon_graph_node(g, what->op, "pack", 1, &w, 1, &n));
    TENON_TRY(tenon_pack_attrs(g, n, what));
    TENON_TRY(tenon_infer_node(cx, g, n));
    TENON_TRY(tenon_graph_add_input(g, w));
    TENON_TRY(tenon_graph_add_output(g, n->dst[0]));
    *out = (tenon_tensor){0};
    return tenon_eval_graph(cx, g, src, 1, out, 1, heap, NULL, NULL);
}

static double distance(const tenon_tensor *got, const tenon_tensor *want)
{
    double most = 0, scale = 1e-6;
    for (int64_t i = 0; i < tenon_tensor_count(want); i++) {
        const double a = tenon_tensor_get_f64(got, tenon_tensor_offset(got, i));
        const double b = tenon_tensor_get_f64(want, tenon_tensor_offset(want, i));
        if (isnan(a) || isnan(b)) return isnan(a) && isnan(b) ? most : INFINITY;
        most = fmax(most, fabs(a - b));
        scale = fmax(scale, fabs(b));
    }
    return most / scale;
}

/* Runs one tactic with one variant; the largest error relative to the result, or a negative number after a failed check. */
static double run_tactic(bench *b, tenon_arena *arena, const tenon_problem *p, const tenon_tactic *t, const tenon_variant *v,
                         const tenon_tensor *src, const tenon_tensor *want, int residual, tenon_heap *heap)
{
    tenon_tactic_plan plan = {0};
    tenon_tensor in[TENON_PROBLEM_SRC], out[TENON_PROBLEM_DST], packed[TENON_MAX_PACK];
    double record[TENON_RECORD_MAX / sizeof(double)], error = 0;
    void *scratch = NULL;
    if (!CHECK_OK(&b->cx, t->plan(&b->cx, p, v, b->device, &plan))) return -1;
    plan.scratch_bytes = (plan.scratch_bytes + 63) / 64 * 64;
    for (int i = 0; i < p->src_count; i++) in[i] = src[i];
    for (int i = 0; i < plan.pack_count; i++)
        if (!CHECK_OK(&b->cx, pack(&b->cx, arena, &plan.pack[i], &src[plan.pack[i].src[0]], heap, &packed[i]))) return -1;
    for (int i = 0; i < p->src_count; i++)
        if (plan.src_packed >> i & 1) in[i].data = NULL;
    for (int i = 0; i < p->dst_count; i++) {
        out[i] = want[i];
        tenon_format_strides(&p->dst[i].format, &out[i]);
        if (!poison(heap, &out[i])) return -1;
    }
    if (plan.scratch_bytes && !(scratch = tenon_heap_alloc(heap, plan.scratch_bytes * (size_t)b->threads))) return -1;
    if (scratch) memset(scratch, 0xff, plan.scratch_bytes * (size_t)b->threads);
    if (residual >= 0) { /* the result goes where the residual lies */
        CHECK(plan.in_place);
        memcpy(out[0].data, src[residual].data, (size_t)extent(&out[0]) * sizeof(float));
        in[residual].data = out[0].data;
    }
    const tenon_bind bind = {.problem = p, .variant = v, .plan = &plan, .src = in, .dst = out, .pack = packed,
                             .threads = b->threads, .device = b->device};
    if (!CHECK_OK(&b->cx, t->bind(&b->cx, &bind, record))) return -1;
    const tenon_launch launch = {.tactic = t, .record = record};
    for (int again = 0; again < (residual >= 0 ? 1 : 2); again++)
        if (!CHECK_OK(&b->cx, tenon_backend_cpu.launch(&b->cx, b->device, NULL, &launch, 1, scratch, plan.scratch_bytes)))
            return -1;
    for (int i = 0; i < p->dst_count; i++) error = fmax(error, distance(&out[i], &want[i]));
    return error;
}

/* Every tactic but the reference, at the given value of the symbols. At least one must take the problem. `residual`: a source
   that shares its bytes with the result, or -1. */
static void check_problem(bench *b, const char *text, const int64_t *symbol, int residual)
{
    tenon_arena arena;
    tenon_heap heap;
    tenon_problem p;
    tenon_tensor src[TENON_PROBLEM_SRC], want[TENON_PROBLEM_DST];
    int tried = 0;
    tenon_arena_init(&arena, &b->cx);
    tenon_heap_init(&heap, &b->cx);
    bool ok = CHECK_OK(&b->cx, tenon_problem_parse(&b->cx, &arena, text, &p)) &&
              CHECK_OK(&b->cx, tenon_problem_shapes(&b->cx, &p, symbol, src, want));
    for (int i = 0; ok && i < p.src_count; i++) ok = fill(&heap, &src[i]);
    for (int i = 0; ok && i < p.dst_count; i++) ok = poison(&heap, &want[i]);
    ok = ok && CHECK_OK(&b->cx, tenon_eval_graph(&b->cx, p.graph, src, p.src_count, want, p.dst_count, &heap, NULL, NULL));
    for (const tenon_tactic *const *t = tenon_cpu_tactics; ok && *t; t++) {
        tenon_variant v[16] = {{{0}}};
        tenon_reason reason;
        if ((*t)->flags & TENON_TACTIC_REFERENCE) continue;
        if (tenon_tactic_rejects(*t, &p, v, b->device, tenon_cpu()->isa, &reason)) continue;
        const int count = (*t)->variants ? (*t)->variants(&p, b->device, v + 1, 15) : 0;
        for (int i = 0; i <= count; i++) {
            const double error = run_tactic(b, &arena, &p, *t, &v[i], src, want, residual, &heap);
            if (!(error >= 0 && error < 1e-5))
                fprintf(stderr, "%s, %s, variant %d %d %d, %d threads: error %g\n", text, (*t)->name, v[i].p[0], v[i].p[1],
                        v[i].p[2], b->threads, error);
            CHECK(error >= 0 && error < 1e-5);
            tried++;
        }
    }
    if (!tried) fprintf(stderr, "%s: no tactic takes it\n", text);
    CHECK(tried > 0);
    tenon_heap_free(&heap);
    tenon_arena_free(&arena);
}

static const char *const problems[] = {
    /* products: tails of rows, columns and K, batches, broadcasting, transposed and dynamic operands */
    "matmul:f32,1x1,1x1:w", "matmul:f32,1x7,7x5:w|bias", "matmul:f32,3x130,130x33:w|bias,relu", "matmul:f32,17x64,64x49:w",
    "matmul:f32,2x9x40,40x100:w|bias,gelu", "matmul:f32,1x700,700x1000:w|bias", "matmul:f32,50x1100,1100x70:w|bias,add,relu",
    "matmul:f32,29x2100,2100x65:w|bias,silu", "matmul:f32,7x33:ld40,33x20:w>_:ld31", "matmul:f32,2x3x11x24,24x19:w|add",
    "matmul:f32,3x10x16,3x16x23", "matmul:f32,2x3x33x16,2x3x16x40", "matmul:f32,2x3x33x16,2x3x16x40:p0132|mul(_,{0.125})",
    "matmul:f32,4x5x30,30x32",
    "matmul:f32,2x1x20x30,1x3x30x17", "matmul:f32,3x5x6,3x6x7:w", "matmul:f32,2x12x9x64:p0213:ld2304.2,2x12x64x9:p0231",
    "matmul:f32,2x300x31,2x31x90", "matmul:f32,6x600,600x64", "matmul:f32,31x20,20x20:w:p10|clip(_,{-0.5},{0.5})",
    /* convolutions: in place, strides, padding, dilation, groups, layouts, one axis */
    "conv:f32,n1c16h5w5:cl,k16c16r1s1:w>_:cl", "conv:f32,n2c24h7w9:cl,k40c24r1s1:w|bias,relu>_:cl",
    "conv:f32,n1c30h9w8:cl:ld37,k20c30r1s1:w,strides=2+2|bias>_:cl:ld50",
    "conv:f32,n1c16h9w11:cl,k33c16r3s3:w,pads=1+1+1+1|bias,add,relu>_:cl",
    "conv:f32,n2c13h10w7:cl,k19c13r3s3:w,pads=1+1+1+1,strides=2+2|bias,silu>_:cl",
    "conv:f32,n2c3h21w17,k20c3r7s7:w,20,pads=3+3+3+3,strides=2+2|relu>_:cl",
    "conv:f32,n1c8h9w9:cl,k8c8r3s3:w,pads=2+2+2+2,dilations=2+2>_:cl",
    "conv:f32,n1c12h6w6:cl,k18c4r3s3:w,group=3,pads=1+1+1+1|bias>_:cl",
    "conv:f32,n1c512h3w9:cl,k20c512r1s3:w,strides=1+2,pads=0+1+0+1>_:cl",
    "conv:f32,n1c8h9w7:cl,k9c8r2s2:w,pads=0+1+1+0>_:cl", "conv:f32,2x10x33:cl,12x10x5:w,pads=2+2>_:cl",
    "conv:f32,n1c3h32w32,k40c3r16s16:w,strides=16+16|bias>_:cl",
    "conv:f32,n1c4h8w8:cl,k8c1r3s3:w,group=4,pads=1+1+1+1>_:cl",
    "conv:f32,n1c6h5w5:cl,k6c6r3s3:w,auto_pad=\"SAME_UPPER\"|hard_swish>_:cl",
    "conv:f32,n1c260h6w40:cl,k37c260r3s3:w,pads=1+1+1+1|bias>_:cl", "conv:f32,n1c800h2w2:cl,k24c800r1s1:w,24|relu>_:cl",
    "conv:f32,n1c12h1w1,k5c12r1s1:w>_",
    /* a program on x: squeeze-excite scales, of the whole image and of a row-major one */
    "t=mul:f32,2x40x7x6:cl,2x40x1x1;conv:t,k24c40r1s1:w|bias,add>_:cl",
    "t=mul:f32,1x12x9x7:cl,1x12x1x1|sigmoid;conv:t,k20c12r3s3:w,pads=1+1+1+1|bias>_:cl",
    "t=sub:f32,2x3x20x20,1x3x1x1|mul(_,{0.25});conv:t,k16c3r3s3:w,pads=1+1+1+1,strides=2+2|bias,relu>_:cl",
    /* depthwise */
    "conv:f32,n1c16h9w9:cl,k16c1r3s3:w,group=16,pads=1+1+1+1|bias,relu>_:cl",
    "conv:f32,n2c21h11w15:cl,k21c1r3s3:w,group=21,pads=1+1+1+1,strides=2+2|bias>_:cl",
    "conv:f32,n1c40h8w7:cl,k40c1r5s5:w,40,group=40,pads=2+2+2+2|hard_swish>_:cl",
    "conv:f32,n1c19h9w8:cl:ld23,k19c1r5s5:w,group=19,pads=2+2+2+2,strides=2+2>_:cl:ld20",
    "conv:f32,n1c35h14w14:cl,k35c1r7s7:w,group=35,pads=3+3+3+3|bias>_:cl",
    "conv:f32,n1c33h3w3:cl,k33c1r7s7:w,group=33,pads=3+3+3+3|bias,add>_:cl",
    "conv:f32,n1c8h9w9:cl,k8c1r3s3:w,group=8,pads=2+2+2+2,dilations=2+2>_:cl",
    "conv:f32,n1c17h6w6:cl,k17c1r4s2:w,group=17,pads=1+0+2+1>_:cl",
    "conv:f32,2x9x21:cl,9x1x3:w,group=9,pads=1+1>_:cl",
    "conv:f32,n1c20h2w9:cl,k20c1r3s3:w,group=20,pads=1+1+1+1,strides=1+3|relu>_:cl",
};

static void check_symbols(bench *b)
{
    static const int64_t values[][1] = {{1}, {3}, {5}};
    for (int i = 0; i < 3; i++) {
        check_problem(b, "matmul:f32,a[1..5@2]x11x40,40x70:w|bias,gelu", values[i], -1);
        check_problem(b, "matmul:f32,2x4xa[1..5]x16,2x4x16x(a):p0132", values[i], -1);
        check_problem(b, "conv:f32,na[1..5@4]c20h7w7:cl,k24c20r3s3:w,pads=1+1+1+1|bias,add,relu>_:cl", values[i], -1);
        check_problem(b, "conv:f32,na[1..5@4]c20h7w7:cl,k20c1r3s3:w,group=20,pads=1+1+1+1|bias>_:cl", values[i], -1);
    }
}

static void check_refusals(bench *b)
{
    static const char *const text[] = {"matmul:f32,4x5:p10,5x6:w", "matmul:f64,4x5,5x6:w", "conv:f32,n1c3h9w9,k8c3r3s3:w",
                                       "conv:f32,1x2x3x4x5,4x2x1x1x1:w",
                                       "matmul:f32,5,5x6:w"};
    for (size_t i = 0; i < TENON_COUNTOF(text); i++) {
        tenon_arena arena;
        tenon_problem p;
        tenon_arena_init(&arena, &b->cx);
        if (CHECK_OK(&b->cx, tenon_problem_parse(&b->cx, &arena, text[i], &p)))
            for (const tenon_tactic *const *t = tenon_cpu_tactics; *t; t++) {
                tenon_variant v = {{0}};
                tenon_reason reason;
                const char *why = tenon_tactic_rejects(*t, &p, &v, b->device, tenon_cpu()->isa, &reason);
                CHECK(((*t)->flags & TENON_TACTIC_REFERENCE) ? !why : why && *why);
            }
        tenon_arena_free(&arena);
    }
}

static void check_backends(void)
{
    tenon_cx cx;
    tenon_device *device;
    void *p;
    tenon_cx_init_default(&cx);
    CHECK_FAILS(&cx, tenon_backend_cpu.open(&cx, 1, 1, &device), TENON_DEVICE, "one device");
    if (CHECK_OK(&cx, tenon_backend_cpu.open(&cx, 0, 2, &device))) {
        CHECK(tenon_backend_cpu.info(device)->threads == 2);
        CHECK(strstr(tenon_backend_cpu.info(device)->fingerprint, "2 threads") != NULL);
        if (CHECK_OK(&cx, tenon_backend_cpu.alloc(&cx, device, 5 << 20, &p))) CHECK((uintptr_t)p % (2 << 20) == 0);
        tenon_backend_cpu.release(device, p);
        tenon_backend_cpu.close(&device);
        CHECK(device == NULL);
    }
    if (CHECK_OK(&cx, tenon_backend_null.open(&cx, 0, 0, &device))) {
        CHECK(tenon_backend_null.info(device)->threads == 1);
        tenon_backend_null.close(&device);
    }
}

int main(void)
{
    static const int threads[] = {1, 3};
    for (size_t i = 0; i < TENON_COUNTOF(threads); i++) {
        bench b = {.threads = threads[i]};
        tenon_cx_init_default(&b.cx);
        if (!CHECK_OK(&b.cx, tenon_backend_cpu.open(&b.cx, 0, threads[i], &b.device))) break;
        for (size_t k = 0; k < TENON_COUNTOF(problems); k++) check_problem(&b, problems[k], NULL, -1);
        check_symbols(&b);
        check_problem(&b, "matmul:f32,9x1100,1100x40:w|bias,add,relu", NULL, 3);
        check_problem(&b, "conv:f32,n1c300h5w6:cl,k40c300r3s3:w,pads=1+1+1+1|bias,add>_:cl", NULL, 3);
        check_problem(&b, "matmul:f32,9x1100,1100x40:w|bias,add,silu", NULL, 3);
        check_refusals(&b);
        tenon_backend_cpu.close(&b.device);
    }
    check_backends();
    return CHECK_END();
}
