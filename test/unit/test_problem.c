/* SPDX-License-Identifier: Apache-2.0 */
/* Problem text: canonical round trips, short forms, symbols, formats, anchors and their programs, problems made from a graph,
   wrong text with its message, and random bytes. */
#include "check.h"

#include "op/eval.h"
#include "op/problem.h"
#include "op/tactic.h"

static tenon_cx cx;
static tenon_arena arena;
static tenon_problem p;

static bool parse(const char *text)
{
    tenon_arena_free(&arena);
    tenon_arena_init(&arena, &cx);
    return tenon_problem_parse(&cx, &arena, text, &p) == TENON_OK;
}

/* `text` is understood, its canonical form is `want` (NULL: itself), and that one is a fixed point with the same hash. */
static bool round_trip(const char *text, const char *want)
{
    if (!parse(text)) {
        fprintf(stderr, "%s: %s\n", text, cx.message);
        CHECK(!"parses");
        return false;
    }
    CHECK_TEXT(p.text, want ? want : text);
    char *copy = strdup(p.text);
    const uint64_t hash = p.hash;
    const int src_count = p.src_count, dst_count = p.dst_count;
    CHECK(parse(copy));
    CHECK_TEXT(p.text, copy);
    CHECK(p.hash == hash && p.src_count == src_count && p.dst_count == dst_count);
    free(copy);
    return true;
}

static void fails(const char *text, const char *part)
{
    const bool ok = parse(text);
    if (ok || !strstr(cx.message, part)) fprintf(stderr, "'%s' gave: %s\n", text, ok ? "success" : cx.message);
    CHECK(!ok && strstr(cx.message, part));
}

static void test_round_trips(void)
{
    round_trip("add:f32,1x64,1x64|relu", NULL);
    round_trip("add:1x64,1x64|relu", "add:f32,1x64,1x64|relu");
    round_trip("add:1x64,f32,1x64|relu>_", "add:f32,1x64,1x64|relu");
    round_trip("relu:f16,2x3", NULL);
    round_trip("mul:f32,4x8,s", NULL);
    round_trip("mul:f32,4x8,{0.125}", NULL);
    round_trip("add:i64,4,{-7}", NULL);
    round_trip("where:bool,4,f32:4,f32:{-inf}", NULL);
    round_trip("cast:u8,16,to=f32|sub(_,f32:{128}),mul(_,f32:{0.02})", NULL);
    round_trip("clip:f32,8,{0},{6}", NULL);
    round_trip("relu:f32,8|clip(_,-,{6})", NULL);
    round_trip("t=neg:f32,8;u=sigmoid:t;mul:t,u", "t0=neg:f32,8;sigmoid:t0|mul(t0,_)");
    round_trip("mul:f32,8,8|add(_,$0)", NULL);
    round_trip("relu:f32,8|leaky_relu(alpha=0.2),elu", NULL);
    round_trip("relu:f32,4x8|sub(8,_),add(_,4x1)", NULL);
    round_trip("relu:f32,1x3x8x8:cl|add>_:cl", NULL);
    round_trip("relu:f32,1x3x8x8:cl|add(_,1x3x8x8)>_:cl", NULL);
    round_trip("relu:f32,1x3x8x8:p0231>_:p0123", "relu:f32,1x3x8x8:cl");
    round_trip("relu:f32,2x12x16x64:p0213:ld2304.2>_:p0213", NULL);
    round_trip("identity:f32,2x3x4:any>_:cl", NULL);
    round_trip("identity:f32,2x3x4>_:any", NULL);
}

static void test_anchors_text(void)
{
    if (!round_trip("conv:f32,n1c64h56w56:cl,k64c64r3s3:w,pads=1+1+1+1|bias,add,relu>_:cl", NULL)) return;
    CHECK(p.anchor_count == 1 && p.src_count == 4 && p.dst_count == 1);
    CHECK_TEXT(p.pattern, "conv");
    CHECK(p.src[1].format.weight && p.src[2].format.weight && !p.src[3].format.weight && p.src[3].format.layout == TENON_CLAST);
    CHECK(p.src[2].value->type.rank == 3 && tenon_dim_is(p.src[2].value->type.dim[0], 64));
    const tenon_program *post = p.anchor[0].post;
    CHECK(post && post->has_anchor && post->instr_count == 3 && post->operand_count == 3 && post->operand[1] == p.src[2].value);
    CHECK(post && post->result[0] == p.dst[0].value && !p.anchor[0].pre[0]);
    if (!round_trip("matmul:f32,a[1..8@4]x128x768,768x3072:w|bias,gelu", NULL)) return;
    CHECK(p.graph->dims->symbol_count == 1 && p.dst[0].value->type.rank == 3);
    if (!round_trip("conv:f32,na[1..64@8%4]c3h224w224,k64c3r7s7:w,strides=2+2,pads=3+3+3+3|bias,relu", NULL)) return;
    if (!round_trip("matmul:f32,batch[1..8]x16,16x16:w", "matmul:f32,a[1..8]x16,16x16:w")) return;
    if (!round_trip("matmul:f32,3xseq[1..8]x16,3x16x(seq*2)", "matmul:f32,3xa[1..8]x16,3x16x(a*2)")) return;
    if (!round_trip("matmul:f32,(q[1..8]*49)x16,16x4:w", "matmul:f32,(a[1..8]*49)x16,16x4:w")) return;
    if (!round_trip("matmul:f16,a[1..8]xb[1..9]x16,(a)x16x(b)>_:ld64", NULL)) return;
    CHECK(p.dst[0].format.ld == 64 || !p.text);
    if (!round_trip("t=matmul:f32,4x8,8x16:w|gelu;matmul:t,16x8:w|bias",
                    "t0=matmul:f32,4x8,8x16:w|gelu;matmul:t0,16x8:w|bias")) return;
    CHECK(p.anchor_count == 2 && p.anchor[0].post && !p.anchor[1].pre[0] && p.anchor[1].post);
    CHECK_TEXT(p.pattern, "matmul;matmul");
    /* a program before an input and a gate that only the post program needs */
    if (!round_trip("t0=sigmoid:f32,4x8;t1=relu:4x6;matmul:t0,8x6:w|mul(_,t1)", NULL)) return;
    CHECK(p.anchor[0].pre[0] && p.anchor[0].pre[0]->instr_count == 1 && p.anchor[0].post && p.anchor[0].post->instr_count == 2);
    /* results before and after the program */
    if (!round_trip("t0=matmul:f32,4x8,8x6:w;relu:t0>t0,_", NULL)) return;
    CHECK(p.dst_count == 2 && p.anchor[0].post && p.anchor[0].post->result_count == 2 && p.anchor[0].post->result_instr[0] == ~0);
}

/* What an operator's parameters hold says what its shapes are; what is reckoned from symbols is known from the shapes. */
static void test_parameters(void)
{
    if (!round_trip("pad:f32,1x64,i64:4{0+1+0+1}", NULL)) return;
    CHECK(p.src_count == 1 && tenon_dim_is(p.dst[0].value->type.dim[1], 66));
    round_trip("pad:f32,1x64,i64:4{0+-1+0+1},f32:{-2.5}", "pad:f32,1x64,i64:4{0+-1+0+1},{-2.5}");
    round_trip("pad:f32,3x5,i64:2{2+3},-,i64:1{-1},mode=\"edge\"", NULL);
    round_trip("constant_of_shape:i64,0{}", NULL);
    round_trip("constant_of_shape:i64:2{3+4}", "constant_of_shape:i64,2{3+4}");
    round_trip("expand:f32,3x1,i64:3{2+1+6}", NULL);
    round_trip("slice:f32,9x33,i64:1{-1},i64:1{-9223372036854775807},i64:1{1},i64:1{-1}", NULL);
    if (!round_trip("range:i64,{0},{n[1..512@128]},{1}", "range:i64,{0},{a[1..512@128]},{1}")) return;
    CHECK(p.src_count == 0 && p.dst[0].value->type.dim[0]->kind == TENON_DIM_SYM);
    round_trip("tile:f32,q[1..9]x4,i64:2{(q)+2}", "tile:f32,a[1..9]x4,i64:2{(a)+2}");
    round_trip("reshape:f32,a[1..9]x4,i64:1{(a*4)}", NULL);
    fails("pad:f32,1x64,i64:4{0+1+0}", "3 elements");
    fails("pad:f32,1x64,i64:3{0+1+0+1}", "4 elements");
    fails("pad:f32,1x64,i64:4{0+1+0+1+}", "elements");
    fails("pad:f32,1x64,i64:4{0++0+1}", "a number of a constant is missing");
    fails("pad:f32,1x64,i64:2x2{0+1+0+1}", "of one axis");
    fails("pad:f32,1x64,i64:65{0}", "at most 64");
    fails("pad:f32,1x64,i64:4{0+1+0+1}:w", "a constant is");
    fails("pad:f32,1x64,i64:4{0+1+0+1", "a constant is");
    fails("pad:f32,1x64,i32:4{0+1+0+(1)}", "only i64");
    fails("pad:f32,1x64,i64:4{0+1+0+(b)}", "unknown symbol");
    fails("gather:f32,3x4,i64:2{0+1}", "stands for a parameter");
    fails("add:i64,4,{a[1..4]}", "only a parameter");
    fails("range:i64,{a[1..40]},{(a+7)},{2}", "no shape of the problem says");
}

static void test_numbers(void)
{
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST];
    CHECK(parse("matmul:f32,a[1..8@4]x128x64,64x32:w|bias,relu"));
    CHECK_OK(&cx, tenon_problem_shapes(&cx, &p, (const int64_t[]){ 2 }, src, dst));
    CHECK(src[0].dim[0] == 2 && src[0].stride[0] == 128 * 64 && dst[0].dim[2] == 32 && dst[0].stride[1] == 32);
    const double flops = tenon_problem_flops(&p, src, dst), matmul = 2.0 * 2 * 128 * 64 * 32;
    CHECK(flops >= matmul && flops < matmul + 3 * 2 * 128 * 32);
    CHECK(parse("relu:f32,2x96x5x7:cl:ld128>_:cl"));
    CHECK_OK(&cx, tenon_problem_shapes(&cx, &p, NULL, src, dst));
    CHECK(src[0].stride[0] == 5 * 7 * 128 && src[0].stride[1] == 1 && src[0].stride[2] == 7 * 128 && src[0].stride[3] == 128);
    CHECK(dst[0].stride[3] == 96 && dst[0].stride[1] == 1);
    CHECK(parse("relu:f32,2x12x16x64:p0213:ld2304.2"));
    CHECK_OK(&cx, tenon_problem_shapes(&cx, &p, NULL, src, dst));
    CHECK(src[0].stride[3] == 1 && src[0].stride[1] == 64 && src[0].stride[2] == 2304 && src[0].stride[0] == 16 * 2304);
    CHECK(tenon_problem_src(&p, p.src[0].value) == 0 && tenon_problem_src(&p, p.dst[0].value) == -1);
    CHECK(tenon_problem_dst(&p, p.dst[0].value) == 0);
    /* a problem is evaluated as any graph */
    CHECK(parse("add:f32,3,{1}|mul(_,_)"));
    float x[3] = { 1, 2, 3 };
    tenon_tensor in = { .dtype = TENON_F32, .rank = 1, .dim = { 3 }, .stride = { 1 }, .data = x }, out = { .data = NULL };
    tenon_heap heap;
    tenon_heap_init(&heap, &cx);
    CHECK_OK(&cx, tenon_eval_graph(&cx, p.graph, &in, 1, &out, 1, &heap, NULL, NULL));
    CHECK(out.data && ((float *)out.data)[2] == 16);
    tenon_heap_free(&heap);
}

static void test_errors(void)
{
    fails("", "unknown operator ''");
    fails("frobnicate:1", "unknown operator 'frobnicate'");
    fails("add", "':' is missing after add");
    fails("add:f32,1x64", "1 inputs");
    fails("add:1x64,1x63", "do not broadcast");
    fails("add:1x64,2x", "a dimension is missing");
    fails("add:1x64,hello", "a dimension is missing");
    fails("add:1x64,_", "nothing before");
    fails("relu:99999999999999999999", "larger than");
    fails("relu:1x1x1x1x1x1x1x1x1", "more than 8 dimensions");
    fails("relu:2x3:cl", "channels-last needs rank 3");
    fails("relu:2x3:p00", "no order of the axes");
    fails("relu:2x3:ld2", "pitch 2 is smaller");
    fails("relu:2x3:ld4.2", "larger rank");
    fails("relu:2x3:any:ld8", "no pitch");
    fails("relu:2x3:zz", "unknown format");
    fails("relu:a[3..2]", "lo <= opt <= hi");
    fails("add:a[1..2],a[1..2]", "declared twice");
    fails("add:a[1..2],(b)", "character");
    fails("relu:2x3|matmul", "not pointwise");
    fails("relu:2x3|where", "needs its arguments");
    fails("relu:2x3|clip(_,-,{zero})", "no number");
    fails("relu:2x3|bias,softsign(alpha=1)", "alpha");
    fails("relu:2x3>t", "no result");
    fails("relu:2x3>_,_", "named twice");
    fails("relu:2x3;neg:4", "nobody uses");
    fails("t=relu:2x3;t=neg:t", "cannot be a name");
    fails("f32=relu:2x3", "cannot be a name");
    fails("string:1", "unknown operator");
    fails("relu:string,1", "plain tensors");
    fails("t=sigmoid:f32,4;matmul:4x4,4x4>t,_", "belongs to no anchor");
    fails("cast:f32,4,to=i64|add(_,i64:4)|mul", "");
    fails("slice:f32,10,i64:2{5+5},i64:2{10+10},i64:2{0+-1}", "axis 0 is named twice");
}

/* The planner's way in: a graph with its own symbols, sources in another order. */
static void test_finish(void)
{
    tenon_arena_free(&arena);
    tenon_arena_init(&arena, &cx);
    tenon_dim_pool pool;
    tenon_dim_pool_init(&pool, &arena);
    tenon_graph *g = NULL;
    CHECK_OK(&cx, tenon_graph_create(&cx, &arena, &pool, NULL, &g));
    const tenon_dim *unused = tenon_dim_symbol_named(&pool, "unused", 1, 1, 2, 1), *n = tenon_dim_symbol_named(&pool, "batch",
                                                                                                               1, 4, 8, 1);
    (void)unused;
    const tenon_type ty = { .dtype = TENON_F32, .rank = 2, .dim = { n, tenon_dim_const(&pool, 8) } };
    const tenon_type tb = { .dtype = TENON_F32, .rank = 1, .dim = { tenon_dim_const(&pool, 8) } };
    memset(&p, 0, sizeof p);
    p.graph = g;
    int mark[3];
    const tenon_type *type[3] = { &ty, &tb, &ty };
    for (int i = 0; i < 3; i++) {
        CHECK_OK(&cx, tenon_graph_value(g, "x", type[i], &p.src[i].value));
        p.src[i].value->user = &mark[i];
    }
    p.src_count = 3;
    p.src[1].format.weight = true;
    tenon_node *neg = NULL, *bias = NULL, *add = NULL;
    CHECK_OK(&cx, tenon_graph_node(g, &tenon_op_neg, "neg", 1, &p.src[2].value, 1, &neg));
    CHECK_OK(&cx, tenon_infer_node(&cx, g, neg));
    CHECK_OK(&cx, tenon_graph_node(g, &tenon_op_add, "bias", 2, (tenon_value *[]){ neg->dst[0], p.src[1].value }, 1, &bias));
    CHECK_OK(&cx, tenon_infer_node(&cx, g, bias));
    CHECK_OK(&cx, tenon_graph_node(g, &tenon_op_add, "add", 2, (tenon_value *[]){ bias->dst[0], p.src[0].value }, 1, &add));
    CHECK_OK(&cx, tenon_infer_node(&cx, g, add));
    p.dst_count = 1;
    p.dst[0].value = add->dst[0];
    CHECK_OK(&cx, tenon_problem_finish(&cx, &p));
    CHECK_TEXT(p.text, "neg:f32,a[1..8@4]x8|bias,add");
    CHECK(p.src[0].value->user == &mark[2] && p.src[1].value->user == &mark[1] && p.src[2].value->user == &mark[0]);
    CHECK(p.symbol_from[0] == 1 && p.graph->dims->symbol_count == 1 && p.graph->input_count == 3);
    CHECK(p.program && p.program->instr_count == 3 && p.program->class_ == TENON_CLASS_F32);
    CHECK_TEXT(p.pattern, "pointwise");
    const uint64_t hash = p.hash;
    CHECK(parse("neg:a[1..8@4]x8|bias,add") && p.hash == hash);
}

/* ---- tactics ---- */
static const char *reject(const tenon_problem *q, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)q, (void)v, (void)device, (void)scratch;
    return "not today";
}
static void test_tactics(void)
{
    static const tenon_tactic one = { .name = "cpu.relu_f32", .pattern = "pointwise", .need = 6 };
    static const tenon_tactic two = { .name = "cpu.relu", .pattern = "*", .reject = reject };
    static const tenon_tactic gpu = { .name = "cuda.relu", .pattern = "*", .need = 80 };
    static const tenon_tactic *const table[] = { &one, &two, &gpu, NULL };
    const tenon_backend backend = { .name = "cpu", .tactics = table };
    tenon_reason scratch;
    CHECK(tenon_tactic_find(&backend, "cpu.relu", 8) == &two && tenon_tactic_find(&backend, "cpu.relu_f32", 12) == &one);
    CHECK(!tenon_tactic_find(&backend, "cpu.rel", 7));
    CHECK(parse("matmul:f32,4x8,8x16:w"));
    CHECK_TEXT(tenon_tactic_rejects(&one, &p, NULL, NULL, 7, &scratch), "pattern is matmul, does pointwise");
    CHECK_TEXT(tenon_tactic_rejects(&two, &p, NULL, NULL, 7, &scratch), "not today");
    CHECK(parse("relu:f32,4"));
    CHECK_TEXT(tenon_tactic_rejects(&one, &p, NULL, NULL, 5, &scratch), "needs hardware 0x6, have 0x5");
    CHECK(!tenon_tactic_rejects(&one, &p, NULL, NULL, 7, &scratch));
    CHECK(!tenon_tactic_rejects(&gpu, &p, NULL, NULL, 90, &scratch) && tenon_tactic_rejects(&gpu, &p, NULL, NULL, 75, &scratch));
}

/* ---- random bytes ---- */
static uint64_t state = 1;
static unsigned random_below(unsigned n)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(state >> 33) % n;
}

static void test_random(void)
{
    static const char *const seeds[] = {
        "conv:f32,n1c64h56w56:cl,k64c64r3s3:w,pads=1+1+1+1|bias,add,relu>_:cl",
            "t0=matmul:f32,4x8,8x16:w|gelu;matmul:t0,16x8:w|bias>t0:ld20,_",
        "matmul:f16,a[1..8]xb[1..9]x16,(a)x16x(b)>_:ld64",
            "where:bool,4,f32:4,f32:{-inf}|clip(_,-,f32:{6}),leaky_relu(alpha=0.2)",
        "relu:f32,2x12x16x64:p0213:ld2304.2|mul(_,$0)>_:p0213", "matmul:f32,(min(a[1..8],3)*49+floordiv(b[2..4],2))x16,16x4:w" };
    static const char bytes[] = ":;,|=>_$-{}[]().xab01239+*%@wspcnld\"\n\x80";
    int accepted = 0, refused = 0;
    for (size_t i = 0; i < TENON_COUNTOF(seeds); i++) CHECK(parse(seeds[i]));
    for (int i = 0; i < 20000; i++) {
        char text[256];
        strcpy(text, seeds[random_below(TENON_COUNTOF(seeds))]);
        size_t n = strlen(text);
        for (unsigned k = 1 + random_below(2); k > 0; k--) {
            const size_t at = random_below((unsigned)n + 1);
            const char c = random_below(8) ? bytes[random_below(sizeof bytes - 1)] : (char)random_below(256);
            const unsigned what = random_below(4);
            if (what == 0 && n + 2 < sizeof text) { /* insert */
                memmove(text + at + 1, text + at, n - at + 1);
                text[at] = c;
            } else if (what == 1 && at < n) { /* remove */
                memmove(text + at, text + at + 1, n - at);
            } else if (what == 2 && at < n) {
                text[at] = c;
            } else if (what == 3 && n < 100 && at < n) { /* a piece again */
                memmove(text + n, text + at, n - at);
                text[n + n - at] = '\0';
            }
            n = strlen(text);
        }
        if (parse(text)) {
            accepted++;
            char *copy = strdup(p.text);
            if (!parse(copy) || strcmp(p.text, copy) != 0) {
                fprintf(stderr, "'%s' -> '%s': %s\n", text, copy, cx.message);
                CHECK(!"canonical text reads back");
            }
            free(copy);
        } else {
            refused++;
        }
    }
    printf("random text: %d accepted, %d refused\n", accepted, refused);
    CHECK(accepted > 100 && refused > 5000);
}

int main(void)
{
    tenon_cx_init_default(&cx);
    cx.log_severity = -1;
    tenon_arena_init(&arena, &cx);
    test_round_trips();
    test_anchors_text();
    test_parameters();
    test_numbers();
    test_errors();
    test_finish();
    test_tactics();
    test_random();
    tenon_arena_free(&arena);
    return CHECK_END();
}
