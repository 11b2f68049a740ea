/* SPDX-License-Identifier: Apache-2.0 */
/* Pointwise rows: scalar values, types, broadcasting of symbolic shapes, known contents, the reference on every class and
   stride, and programs. */
#include "check.h"

#include "op/eval.h"
#include "op/pointwise.h"

#include <math.h>

static tenon_cx cx;
static tenon_arena arena;
static tenon_dim_pool pool;
static tenon_graph *g;

static void begin(void)
{
    tenon_arena_init(&arena, &cx);
    tenon_dim_pool_init(&pool, &arena);
    CHECK_OK(&cx, tenon_graph_create(&cx, &arena, &pool, NULL, &g));
}
static void end(void) { tenon_arena_free(&arena); }

static const tenon_op *op_named(const char *name) { return tenon_op_find(name, strlen(name)); }

static float f32_of(const char *name, float x, float y)
{
    const tenon_pw *pw = op_named(name)->pw;
    const float v[3] = { x, y, 0 }, p[TENON_PW_PARAMS] = { 0 };
    return pw->f32(v, p);
}
static int64_t i64_of(const char *name, int64_t x, int64_t y, double p0)
{
    const int64_t v[3] = { x, y, 0 };
    const double p[TENON_PW_PARAMS] = { p0 };
    return op_named(name)->pw->i64(v, p);
}
static bool near(double a, double b, double tol) { return fabs(a - b) <= tol * fmax(1.0, fabs(b)); }

static void test_table(void)
{
    CHECK(op_named("add") == &tenon_op_add);
    CHECK(!tenon_op_find("ad", 2));
    CHECK(!tenon_op_find("addd", 4));
    CHECK(tenon_op_find("add,", 3) == &tenon_op_add);
    CHECK(tenon_op_find_onnx("", "Relu") == &tenon_op_relu);
    CHECK(tenon_op_find_onnx("ai.onnx", "HardSwish") == &tenon_op_hard_swish);
    CHECK(!tenon_op_find_onnx("com.example", "Relu"));
    int rows = 0;
    for (const tenon_op *const *op = tenon_ops; *op; op++) {
        CHECK(tenon_op_find((*op)->name, strlen((*op)->name)) == *op); /* names are unique */
        if (!((*op)->flags & TENON_OP_POINTWISE)) continue;
        const tenon_pw *pw = (*op)->pw;
        rows++;
        CHECK(pw && pw->arity >= 1 && pw->arity <= TENON_PW_ARITY && pw->flops > 0 && pw->cuda);
        CHECK((pw->f32 != NULL) == (pw->f64 != NULL) && (pw->f32 || pw->i64));
        CHECK((*op)->infer == tenon_pw_infer && (*op)->ref == tenon_pw_ref);
        for (int i = 0; i < pw->param_count; i++) CHECK(tenon_attr_find(*op, pw->param[i]) >= 0);
    }
    CHECK(rows == 68);
}

static void test_scalars(void)
{
    CHECK(f32_of("round", 2.5f, 0) == 2 && f32_of("round", 3.5f, 0) == 4 && f32_of("round", -0.5f, 0) == 0);
    CHECK(f32_of("sign", -3, 0) == -1 && isnan(f32_of("sign", NAN, 0)));
    CHECK(isnan(f32_of("relu", NAN, 0)) && f32_of("relu", -1, 0) == 0);
    CHECK(isnan(f32_of("max", NAN, 1)) && isnan(f32_of("max", 1, NAN)) && isnan(f32_of("min", 1, NAN)));
    CHECK(near(f32_of("softplus", 100, 0), 100, 1e-6) && near(f32_of("softplus", -100, 0), 0, 1e-6));
    CHECK(near(f32_of("gelu", 1, 0), 0.8413447460685429, 1e-6));
    CHECK(near(f32_of("gelu_tanh", 1, 0), 0.8411919906082768, 1e-6));
    CHECK(near(f32_of("hard_swish", 1, 0), 2.0 / 3, 1e-6) && f32_of("hard_swish", -4, 0) == 0 && f32_of("hard_swish", 4, 0) == 4);
    CHECK(near(f32_of("mish", 1, 0), 0.8650983882673103, 1e-6));
    CHECK(near(f32_of("erf", 0.5f, 0), 0.5204998778130465, 1e-6) && near(f32_of("rsqrt", 4, 0), 0.5, 1e-6));
    CHECK(f32_of("mod", -7, 3) == 2 && i64_of("mod", -7, 3, 0) == 2 && i64_of("mod", -7, 3, 1) == -1 && i64_of("mod", 7, -3,
                                                                                                               0) == -2);
    CHECK(i64_of("div", -7, 2, 0) == -3 && i64_of("div", 7, 0, 0) == 0 && i64_of("div", INT64_MIN, -1, 0) == INT64_MIN);
    CHECK(i64_of("mod", INT64_MIN, -1, 0) == 0 && i64_of("add", INT64_MAX, 1, 0) == INT64_MIN && i64_of("neg", INT64_MIN, 0,
                                                                                                        0) == INT64_MIN);
    CHECK(i64_of("pow", 3, 4, 0) == 81 && i64_of("pow", 2, -1, 0) == 0 && i64_of("pow", -1, -3, 0) == -1 && i64_of("pow", 5, 0,
                                                                                                                   0) == 1);
    CHECK(i64_of("bit_shift", 1, 4, 0) == 16 && i64_of("bit_shift", -1, 63, 1) == 1 && i64_of("bit_shift", 1, 64, 0) == 0);
    CHECK(i64_of("bitwise_xor", 12, 10, 0) == 6 && i64_of("bitwise_not", 0, 0, 0) == -1);
    CHECK(f32_of("and", 2, 0) == 0 && f32_of("xor", 2, 3) == 0 && f32_of("not", 0, 0) == 1 && f32_of("is_nan", NAN, 0) == 1);
    CHECK(tenon_dtype_round(TENON_I8, 200.7) == 127 && tenon_dtype_round(TENON_U8, -3) == 0 && tenon_dtype_round(TENON_I32,
                                                                                                                 NAN) == 0);
    CHECK(tenon_dtype_round(TENON_I64, 1e30) == 0x1p63 && tenon_dtype_round(TENON_I16, -3.9) == -3 &&
          tenon_dtype_round(TENON_BOOL, 0.1) == 1);
    CHECK(tenon_dtype_wrap(TENON_I8, 200) == -56 && tenon_dtype_wrap(TENON_U4, 17) == 1 && tenon_dtype_wrap(TENON_I4, 8) == -8);
    CHECK(tenon_dtype_round(TENON_F16, 1.0 + 1.0 / 4096) == 1.0 && tenon_dtype_round(TENON_BF16, 1.00390625) == 1.0);
}

/* ---- infer ---- */

static tenon_value *value(tenon_dtype t, int rank, const tenon_dim *const *dim)
{
    tenon_type type = { .dtype = t, .rank = rank };
    for (int i = 0; i < rank; i++) type.dim[i] = dim[i];
    tenon_value *v = NULL;
    CHECK_OK(&cx, tenon_graph_value(g, "v", &type, &v));
    return v;
}

static tenon_node *node(const tenon_op *op, tenon_value *a, tenon_value *b, tenon_value *c)
{
    tenon_value *src[3] = { a, b, c };
    tenon_node *n = NULL;
    CHECK_OK(&cx, tenon_graph_node(g, op, "n", c ? 3 : b ? 2 : 1, src, 1, &n));
    return n;
}

static void test_broadcast(void)
{
    begin();
    const tenon_dim *batch = tenon_dim_symbol_named(&pool, "batch", 1, 4, 8, 1), *seq = tenon_dim_symbol_named(&pool, "seq", 1,
                                                                                                               64, 128, 1);
    const tenon_dim *one = tenon_dim_const(&pool, 1), *c = tenon_dim_const(&pool, 7);
    tenon_value *a = value(TENON_F32, 3, (const tenon_dim *[]){ batch, one, c }), *b = value(TENON_F32, 2,
                                                                                             (const tenon_dim *[]){ seq, one });
    tenon_node *n = node(&tenon_op_add, a, b, NULL);
    CHECK_OK(&cx, tenon_infer_node(&cx, g, n));
    const tenon_type *t = &n->dst[0]->type;
    CHECK(t->dtype == TENON_F32 && t->rank == 3 && t->dim[0] == batch && t->dim[1] == seq && t->dim[2] == c);
    n = node(&tenon_op_less, a, b, NULL);
    CHECK_OK(&cx, tenon_infer_node(&cx, g, n));
    CHECK(n->dst[0]->type.dtype == TENON_BOOL);
    CHECK_FAILS(&cx, tenon_infer_node(&cx, g, node(&tenon_op_mul, value(TENON_F32, 1, &batch), value(TENON_F32, 1, &seq),
                                                   NULL)), TENON_INVALID,
                "dimensions batch and seq");
    CHECK_FAILS(&cx, tenon_infer_node(&cx, g, node(&tenon_op_mul, value(TENON_F32, 1, &c), value(TENON_I32, 1, &c), NULL)),
                TENON_INVALID, "mul 'n");
    CHECK_FAILS(&cx, tenon_infer_node(&cx, g, node(&tenon_op_exp, value(TENON_I32, 1, &c), NULL, NULL)), TENON_INVALID,
                "not defined for i32");
    CHECK_FAILS(&cx, tenon_infer_node(&cx, g, node(&tenon_op_bitwise_and, a, a, NULL)), TENON_INVALID, "not defined for f32");
    CHECK_FAILS(&cx, tenon_infer_node(&cx, g, node(&tenon_op_where, a, a, a)), TENON_INVALID, "condition is f32");
    CHECK_FAILS(&cx, tenon_infer_node(&cx, g, node(&tenon_op_cast, a, NULL, NULL)), TENON_INVALID, "attribute 'to'");
    n = node(&tenon_op_pow, a, value(TENON_I64, 0, NULL), NULL);
    CHECK_OK(&cx, tenon_infer_node(&cx, g, n));
    CHECK(n->dst[0]->type.dtype == TENON_F32);
    end();
}

static tenon_value *constant(const int64_t *v, int64_t count)
{
    tenon_value *c = NULL;
    CHECK_OK(&cx, tenon_graph_const_i64(g, "c", v, 1, count, &c));
    return c;
}

static const tenon_dim *sym_of(const tenon_op *op, tenon_value *a, tenon_value *b, size_t index)
{
    tenon_node *n = node(op, a, b, NULL);
    if (!CHECK_OK(&cx, tenon_infer_node(&cx, g, n)) || !n->dst[0]->sym || index >= n->dst[0]->sym_count) return NULL;
    return n->dst[0]->sym[index];
}

static void test_contents(void)
{
    begin();
    const tenon_dim *batch = tenon_dim_symbol_named(&pool, "batch", 1, 4, 8, 1), *two = tenon_dim_const(&pool, 2);
    tenon_value *x = value(TENON_I64, 1, &two);
    const tenon_dim *list[] = { tenon_dim_mul(&pool, batch, tenon_dim_const(&pool, 4)), tenon_dim_const(&pool, 6) };
    x->sym = list;
    x->sym_count = 2;
    tenon_value *c2 = constant((const int64_t[]){ 2 }, 1), *c = constant((const int64_t[]){ -1, 4 }, 2);
    CHECK(sym_of(&tenon_op_add, x, c2, 1) == tenon_dim_const(&pool, 8));
    CHECK(sym_of(&tenon_op_div, x, c2, 0) == tenon_dim_mul(&pool, batch, two));
    CHECK(sym_of(&tenon_op_mul, x, c, 1) == tenon_dim_const(&pool, 24));
    CHECK(sym_of(&tenon_op_mod, x, c2, 0) == tenon_dim_const(&pool, 0));
    CHECK(!sym_of(&tenon_op_div, x, c, 0)); /* by -1: not non-negative, not constant */
    CHECK(sym_of(&tenon_op_equal, x, c, 0) == tenon_dim_const(&pool, 0));
    CHECK(sym_of(&tenon_op_greater, x, c2, 0) == tenon_dim_const(&pool, 1));
    CHECK(sym_of(&tenon_op_neg, c, NULL, 0) == tenon_dim_const(&pool, 1));
    tenon_node *cmp = node(&tenon_op_less, c, x, NULL);
    CHECK_OK(&cx, tenon_infer_node(&cx, g, cmp));
    tenon_node *sel = node(&tenon_op_where, cmp->dst[0], x, c);
    CHECK_OK(&cx, tenon_infer_node(&cx, g, sel));
    CHECK(sel->dst[0]->sym && sel->dst[0]->sym[0] == list[0] && sel->dst[0]->sym[1] == list[1]);
    /* floor(cast(6) * 1.5) as exporters write an upsampled size */
    tenon_node *f = node(&tenon_op_cast, constant((const int64_t[]){ 7 }, 1), NULL, NULL);
    CHECK_OK(&cx, tenon_node_set_dtype(g, f, "to", TENON_F32));
    CHECK_OK(&cx, tenon_infer_node(&cx, g, f));
    CHECK(f->dst[0]->fsym && f->dst[0]->fsym[0] == 7);
    tenon_value *scale = NULL;
    CHECK_OK(&cx, tenon_graph_const_f32(g, "s", 1.5f, &scale));
    tenon_node *m = node(&tenon_op_mul, f->dst[0], scale, NULL);
    CHECK_OK(&cx, tenon_infer_node(&cx, g, m));
    tenon_node *fl = node(&tenon_op_floor, m->dst[0], NULL, NULL);
    CHECK_OK(&cx, tenon_infer_node(&cx, g, fl));
    tenon_node *back = node(&tenon_op_cast, fl->dst[0], NULL, NULL);
    CHECK_OK(&cx, tenon_node_set_dtype(g, back, "to", TENON_I64));
    CHECK_OK(&cx, tenon_infer_node(&cx, g, back));
    CHECK(back->dst[0]->sym && back->dst[0]->sym[0] == tenon_dim_const(&pool, 10));
    end();
}

/* ---- reference ---- */

static tenon_status run(const tenon_node *n, const tenon_tensor *src, int count, tenon_tensor *dst, tenon_heap *heap)
{
    tenon_eval_call call = { .node = n, .src_count = count, .dst_count = 1, .src = src, .dst = dst,
                             .dst_ready = dst->data != NULL, .heap = heap };
    return tenon_eval_node(&cx, &call);
}

static void test_ref_strides(void)
{
    begin();
    tenon_heap heap;
    tenon_heap_init(&heap, &cx);
    float a[2 * 3 * 5], b[3], out[2 * 3 * 5];
    for (int i = 0; i < 30; i++) a[i] = (float)i;
    for (int i = 0; i < 3; i++) b[i] = (float)(100 * i);
    /* x channels-last (2,3,5), b (3,1): result row-major and then channels-last with a pitch */
    tenon_tensor src[2] = { { .dtype = TENON_F32, .rank = 3, .dim = { 2, 3, 5 }, .stride = { 15, 1, 3 }, .data = a },
                            { .dtype = TENON_F32, .rank = 2, .dim = { 3, 1 }, .stride = { 1, 1 }, .data = b } };
    tenon_node *n = node(&tenon_op_add, value(TENON_F32, 0, NULL), value(TENON_F32, 0, NULL), NULL);
    tenon_tensor dst = { .dtype = TENON_F32 };
    CHECK_OK(&cx, run(n, src, 2, &dst, &heap));
    bool good = dst.rank == 3 && dst.dim[1] == 3 && tenon_tensor_is_dense(&dst);
    for (int i = 0; i < 2; i++)
        for (int c = 0; c < 3; c++)
            for (int w = 0; w < 5; w++) good = good && ((float *)dst.data)[(i * 3 + c) * 5 + w] == a[i * 15 + w * 3 + c] + b[c];
    CHECK(good);
    tenon_tensor cl = { .dtype = TENON_F32, .rank = 3, .dim = { 2, 3, 5 }, .stride = { 15, 1, 3 }, .data = out };
    CHECK_OK(&cx, run(n, src, 2, &cl, &heap));
    for (int i = 0; i < 30; i++) good = good && out[i] == a[i] + b[i % 3];
    CHECK(good);
    /* long runs, more than a block, and an empty one */
    enum { N = 1000 };
    static uint8_t u[N], v[N];
    for (int i = 0; i < N; i++) u[i] = (uint8_t)i, v[i] = (uint8_t)(i * 7 + 1);
    tenon_tensor us[2] = { { .dtype = TENON_U8, .rank = 1, .dim = { N }, .stride = { 1 }, .data = u },
                           { .dtype = TENON_U8, .rank = 1, .dim = { N }, .stride = { 1 }, .data = v } };
    tenon_tensor ud = { .dtype = TENON_U8 };
    CHECK_OK(&cx, run(node(&tenon_op_mul, value(TENON_U8, 0, NULL), value(TENON_U8, 0, NULL), NULL), us, 2, &ud, &heap));
    good = true;
    for (int i = 0; i < N; i++) good = good && ((uint8_t *)ud.data)[i] == (uint8_t)(u[i] * v[i]); /* wraps */
    CHECK(good);
    us[0].dim[0] = us[1].dim[0] = 0;
    ud = (tenon_tensor){ .dtype = TENON_U8 };
    CHECK_OK(&cx, run(node(&tenon_op_mul, value(TENON_U8, 0, NULL), value(TENON_U8, 0, NULL), NULL), us, 2, &ud, &heap));
    CHECK(ud.rank == 1 && ud.dim[0] == 0);
    tenon_heap_free(&heap);
    end();
}

static double cast_one(tenon_dtype from, double v, tenon_dtype to)
{
    tenon_heap heap;
    tenon_heap_init(&heap, &cx);
    int64_t store[2] = { 0 };
    tenon_tensor src = { .dtype = from, .data = store }, dst = { .dtype = to };
    tenon_tensor_set_f64(&src, 0, v);
    tenon_node *n = node(&tenon_op_cast, value(from, 0, NULL), NULL, NULL);
    CHECK_OK(&cx, tenon_node_set_dtype(g, n, "to", to));
    CHECK_OK(&cx, run(n, &src, 1, &dst, &heap));
    const double r = dst.data ? tenon_tensor_get_f64(&dst, 0) : NAN;
    tenon_heap_free(&heap);
    return r;
}

static void test_ref_types(void)
{
    begin();
    CHECK(cast_one(TENON_F32, 300, TENON_U8) == 255 && cast_one(TENON_F32, -2.7, TENON_I32) == -2 && cast_one(TENON_F32, 0.25,
                                                                                                              TENON_BOOL) == 1);
    CHECK(cast_one(TENON_I64, 300, TENON_U8) == 44 && cast_one(TENON_BOOL, 1, TENON_F16) == 1 && cast_one(TENON_F64, 1e300,
                                                                                                          TENON_F32) == INFINITY);
    CHECK(cast_one(TENON_F32, NAN, TENON_BOOL) == 1 && cast_one(TENON_F32, NAN, TENON_I32) == 0);
    CHECK(cast_one(TENON_I32, 16777217, TENON_F64) == 16777217);
    tenon_heap heap;
    tenon_heap_init(&heap, &cx);
    /* clip without a lower bound; pow of an integer by a float */
    float x[3] = { -5, 2, 9 }, hi = 4;
    tenon_tensor src[3] = { { .dtype = TENON_F32, .rank = 1, .dim = { 3 }, .stride = { 1 }, .data = x },
                            { .dtype = TENON_DTYPE_NONE },
                            { .dtype = TENON_F32, .data = &hi } };
    tenon_tensor dst = { .dtype = TENON_F32 };
    tenon_value *v = value(TENON_F32, 0, NULL);
    CHECK_OK(&cx, run(node(&tenon_op_clip, v, v, v), src, 3, &dst, &heap));
    const float *y = dst.data;
    CHECK(y && y[0] == -5 && y[1] == 2 && y[2] == 4);
    int32_t base[2] = { 4, 9 };
    float half = 0.5f;
    tenon_tensor ps[2] = { { .dtype = TENON_I32, .rank = 1, .dim = { 2 }, .stride = { 1 }, .data = base }, { .dtype = TENON_F32,
                                                                                                             .data = &half } };
    tenon_tensor pd = { .dtype = TENON_I32 };
    CHECK_OK(&cx, run(node(&tenon_op_pow, v, v, NULL), ps, 2, &pd, &heap));
    CHECK(pd.dtype == TENON_I32 && ((int32_t *)pd.data)[0] == 2 && ((int32_t *)pd.data)[1] == 3);
    /* numbers of 64 bits keep every one */
    int64_t big[2] = { INT64_C(9007199254740993), 1 };
    tenon_tensor bs[2] = { { .dtype = TENON_I64, .data = &big[0] }, { .dtype = TENON_I64,
                                                                      .data = &big[1] } }, bd = { .dtype = TENON_I64 };
    CHECK_OK(&cx, run(node(&tenon_op_add, v, v, NULL), bs, 2, &bd, &heap));
    CHECK(*(int64_t *)bd.data == INT64_C(9007199254740994));
    /* text: equal and where, and numbers to and from it */
    tenon_string ab[2] = { { "a", 1 }, { "bc", 2 } }, c = { "bc", 2 };
    uint8_t pick[2] = { 1, 0 };
    tenon_tensor ss[3] = { { .dtype = TENON_BOOL, .rank = 1, .dim = { 2 }, .stride = { 1 }, .data = pick },
                           { .dtype = TENON_STRING, .rank = 1, .dim = { 2 }, .stride = { 1 }, .data = ab },
                           { .dtype = TENON_STRING, .data = &c } };
    tenon_tensor sd = { .dtype = TENON_BOOL }, sw = { .dtype = TENON_STRING }, st = { .dtype = TENON_STRING }, sf =
        { .dtype = TENON_F32 };
    CHECK_OK(&cx, run(node(&tenon_op_equal, v, v, NULL), ss + 1, 2, &sd, &heap));
    CHECK(sd.data && ((uint8_t *)sd.data)[0] == 0 && ((uint8_t *)sd.data)[1] == 1);
    CHECK_OK(&cx, run(node(&tenon_op_where, v, v, v), ss, 3, &sw, &heap));
    CHECK(sw.data && ((tenon_string *)sw.data)[0].length == 1 && ((tenon_string *)sw.data)[1].length == 2);
    tenon_node *to_text = node(&tenon_op_cast, v, NULL, NULL), *to_float = node(&tenon_op_cast, v, NULL, NULL);
    CHECK_OK(&cx, tenon_node_set_dtype(g, to_text, "to", TENON_STRING));
    CHECK_OK(&cx, tenon_node_set_dtype(g, to_float, "to", TENON_F32));
    CHECK_OK(&cx, run(to_text, &src[0], 1, &st, &heap));
    CHECK(st.data && strcmp(((tenon_string *)st.data)[0].data, "-5") == 0);
    CHECK_OK(&cx, run(to_float, &st, 1, &sf, &heap));
    CHECK(sf.data && ((float *)sf.data)[2] == 9);
    tenon_tensor bad = { .dtype = TENON_F32 };
    CHECK_FAILS(&cx, run(to_float, &ss[1], 1, &bad, &heap), TENON_INVALID, "'a' is not a number");
    tenon_heap_free(&heap);
    end();
}

/* ---- programs ---- */

static tenon_node *typed(tenon_node *n)
{
    CHECK_OK(&cx, tenon_infer_node(&cx, g, n));
    return n;
}

static void test_program(void)
{
    begin();
    const tenon_dim *c = tenon_dim_const(&pool, 8);
    tenon_value *acc = value(TENON_F32, 1, &c), *bias = value(TENON_F32, 1, &c), *six = NULL;
    CHECK_OK(&cx, tenon_graph_const_f32(g, "six", 6.0f, &six));
    tenon_node *add = typed(node(&tenon_op_add, acc, bias, NULL)), *sg = typed(node(&tenon_op_sigmoid, add->dst[0], NULL, NULL));
    tenon_node *mul = typed(node(&tenon_op_mul, add->dst[0], sg->dst[0], NULL)), *mn = typed(node(&tenon_op_min, mul->dst[0],
                                                                                                  six, NULL));
    tenon_node *list[] = { add, sg, mul, mn };
    tenon_value *result[] = { mn->dst[0], add->dst[0] };
    static tenon_program p;
    CHECK_OK(&cx, tenon_program_build(&cx, list, 4, acc, result, 2, &p));
    CHECK(p.class_ == TENON_CLASS_F32 && p.has_anchor && p.instr_count == 4 && p.operand_count == 3 && p.operand[0] == acc);
    CHECK(p.operand_scalar[2] && p.operand_value[2] == 6 && p.result_instr[0] == 3 && p.result_instr[1] == 0);
    float out[2];
    tenon_program_eval_f32(&p, (const float[]){ 1, 0.5f, 6 }, out);
    CHECK(out[1] == 1.5f && near(out[0], 1.5 / (1 + exp(-1.5)), 1e-6));
    tenon_program_eval_f32(&p, (const float[]){ 100, 0, 6 }, out);
    CHECK(out[0] == 6);
    /* a plain copy of the anchor */
    CHECK_OK(&cx, tenon_program_build(&cx, list, 0, acc, &acc, 1, &p));
    CHECK(p.result_instr[0] == ~0);
    /* classes */
    tenon_value *i = value(TENON_I64, 1, &c), *u = value(TENON_U8, 1, &c);
    tenon_node *up = node(&tenon_op_cast, u, NULL, NULL), *down = NULL;
    CHECK_OK(&cx, tenon_node_set_dtype(g, up, "to", TENON_F32));
    typed(up);
    tenon_node *sq = typed(node(&tenon_op_mul, up->dst[0], acc, NULL));
    down = node(&tenon_op_cast, sq->dst[0], NULL, NULL);
    CHECK_OK(&cx, tenon_node_set_dtype(g, down, "to", TENON_I32));
    typed(down);
    CHECK_OK(&cx, tenon_program_build(&cx, (tenon_node *[]){ up, sq, down }, 3, NULL, &down->dst[0], 1, &p));
    CHECK(p.class_ == TENON_CLASS_F32 && !p.has_anchor);
    tenon_node *ii = typed(node(&tenon_op_add, i, i, NULL)), *uu = typed(node(&tenon_op_add, u, u,
                                                                              NULL)), *um = typed(node(&tenon_op_max, u, u,
                                                                                                       NULL));
    CHECK_OK(&cx, tenon_program_build(&cx, &ii, 1, NULL, &ii->dst[0], 1, &p));
    CHECK(p.class_ == TENON_CLASS_I64 && p.operand_count == 1);
    CHECK_OK(&cx, tenon_program_build(&cx, &uu, 1, NULL, &uu->dst[0], 1, &p));
    CHECK(p.class_ == TENON_CLASS_I64); /* may overflow u8 */
    CHECK_OK(&cx, tenon_program_build(&cx, &um, 1, NULL, &um->dst[0], 1, &p));
    CHECK(p.class_ == TENON_CLASS_F32);
    tenon_node *more = typed(node(&tenon_op_add, down->dst[0], down->dst[0], NULL));
    CHECK_FAILS(&cx, tenon_program_build(&cx, (tenon_node *[]){ up, sq, down, more }, 4, NULL, &more->dst[0], 1, &p),
                TENON_UNSUPPORTED, "mix");
    end();
}

int main(void)
{
    tenon_cx_init_default(&cx);
    cx.log_severity = -1;
    test_table();
    test_scalars();
    test_broadcast();
    test_contents();
    test_ref_strides();
    test_ref_types();
    test_program();
    return CHECK_END();
}
