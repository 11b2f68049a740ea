/* SPDX-License-Identifier: Apache-2.0 */
/* Pointwise programs on the CPU: every row of the f32 class against its scalar functions (ulp over a range, special values),
   random programs over operands of all kinds, types and tile shapes against tenon_program_eval_f32, at every instruction set
   this machine has. */
#include "base/half.h"
#include "base/isa.h"
#include "check.h"
#include "cpu/pw_exec.h"

#include <math.h>

static const unsigned levels[] = { 0, TENON_ISA_AVX2, TENON_ISA_AVX2 | TENON_ISA_AVX512 };
static const char *const level_name[] = { "scalar", "avx2", "avx512" };

static uint64_t seed = 1;
static uint32_t random_bits(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}
static float random_in(float lo, float hi) { return lo + (hi - lo) * (float)(random_bits() & 0xffffff) / 16777216.0f; }
static int random_below(int n) { return (int)(random_bits() % (uint32_t)n); }

static const tenon_op *op_of(const char *name) { return tenon_op_find(name, strlen(name)); }

/* ---- one row ---- */
typedef struct range { const char *name; float lo, hi, ulp, lo2, hi2; } range; /* lo2, hi2: of the second operand */
static const range ranges[] = {
    { "exp", -87, 88, 2, 0, 0 }, { "log", 1e-30f, 1e30f, 2, 0, 0 }, { "sqrt", 0, 1e30f, 0.51f, 0, 0 },
        { "rsqrt", 1e-20f, 1e20f, 2, 0, 0 },
    { "reciprocal", 1e-20f, 1e20f, 0.51f, 0, 0 }, { "erf", -5, 5, 2, 0, 0 }, { "sigmoid", -80, 80, 3, 0, 0 },
        { "tanh", -10, 10, 3, 0, 0 },
    { "sin", -20000, 20000, 0, 0, 0 }, { "cos", -20000, 20000, 0, 0, 0 }, { "tan", -1.5f, 1.5f, 4, 0, 0 },
    { "softplus", -80, 80, 4, 0, 0 }, { "softsign", -1e6f, 1e6f, 2, 0, 0 }, { "mish", -80, 80, 6, 0, 0 },
        { "silu", -80, 80, 4, 0, 0 },
    { "gelu", -1, 10, 8, 0, 0 }, { "gelu_tanh", -1, 10, 8, 0, 0 }, { "hard_swish", -2.5f, 10, 3, 0, 0 },
        { "hard_sigmoid", -2, 8, 3, 0, 0 },
    { "elu", -80, 80, 3, 0, 0 }, { "celu", -80, 80, 3, 0, 0 }, { "selu", -80, 80, 3, 0, 0 }, { "pow", 1e-3f, 1e3f, 3, -10, 10 },
    { "add", 0, 100, 0.51f, 0, 100 }, { "sub", 0, 100, 0.51f, -100, 0 }, { "mul", -100, 100, 0.51f, -100, 100 },
    { "div", -100, 100, 0.51f, 1e-3f, 100 },
    { "leaky_relu", -100, 100, 0.51f, 0, 0 },
};
static const range *range_of(const char *name)
{
    for (size_t i = 0; i < TENON_COUNTOF(ranges); i++)
        if (strcmp(ranges[i].name, name) == 0) return &ranges[i];
    return NULL;
}

typedef struct world {
    tenon_cx cx;
    tenon_value value[TENON_PROGRAM_OPERANDS + TENON_PROGRAM_RESULTS];
    tenon_program p;
} world;

static void program_of_row(world *w, const tenon_op *op)
{
    tenon_program *p = &w->p;
    memset(p, 0, sizeof *p);
    p->instr_count = 1;
    p->result_count = 1;
    p->operand_count = op->pw->arity;
    p->instr[0].op = op;
    p->instr[0].dtype = TENON_F32;
    for (int i = 0; i < op->pw->arity; i++) p->instr[0].src[i] = (int16_t)~i;
    for (int i = 0; i < op->pw->param_count; i++) {
        const int row = tenon_attr_find(op, op->pw->param[i]);
        const tenon_attr_def *def = &op->attr[row];
        p->instr[0].param64[i] = def->kind == TENON_ATTR_FLOAT ? def->f : (double)def->i;
        if (def->kind == TENON_ATTR_DTYPE) p->instr[0].param64[i] = TENON_BF16;
        p->instr[0].param[i] = (float)p->instr[0].param64[i];
    }
    for (int i = 0; i <= TENON_PROGRAM_OPERANDS; i++) w->value[i].type.dtype = TENON_F32;
    for (int i = 0; i < op->pw->arity; i++) p->operand[i] = &w->value[i];
    p->result[0] = &w->value[TENON_PROGRAM_OPERANDS];
}

enum { COUNT = 4099 };
static float in[TENON_PW_ARITY][COUNT], got[COUNT];

static void run_row(world *w, unsigned isa)
{
    tenon_pw_code code;
    if (!CHECK_OK(&w->cx, tenon_pw_compile(&w->cx, &w->p, isa, NULL, NULL, &code))) return;
    tenon_pw_operand o[3];
    for (int i = 0; i < 3; i++) o[i] = (tenon_pw_operand){ in[i], COUNT, 1 };
    const tenon_pw_result r = { got, COUNT, 1 };
    tenon_pw_run(&code, o, &r, 1, COUNT);
}

static bool same(float a, float b) { return (isnan(a) && isnan(b)) || a == b; }

/* Special values give what the scalar function gives; a tiny result may be flushed by neither. */
static void test_special(world *w, const tenon_op *op, int level)
{
    static const float special[] = { 0.0f, -0.0f, 1.0f, -1.0f, INFINITY, -INFINITY, NAN, 3.402823466e38f, -3.402823466e38f,
                                    1e-40f, -1e-40f,
                                     0.5f, 2.5f, -2.5f, 1e10f, -1e10f, 100.0f, -100.0f, 3.0f, 1.17549435e-38f };
    const int n = (int)TENON_COUNTOF(special);
    for (int i = 0; i < COUNT; i++) {
        in[0][i] = special[i % n];
        in[1][i] = special[i / n % n];
        in[2][i] = special[(i / n + i) % n];
    }
    run_row(w, levels[level]);
    int bad = 0;
    for (int i = 0; i < COUNT; i++) {
        const float x[3] = { in[0][i], in[1][i], in[2][i] };
        const float y = op->pw->f32(x, w->p.instr[0].param);
        const float tolerance = 4e-6f * fabsf(y) + 1e-37f;
        if (same(got[i], y) || fabsf(got[i] - y) <= tolerance) continue;
        if (bad++ < 3)
            fprintf(stderr, "%s %s(%g, %g, %g) = %g, wanted %g\n", level_name[level], op->name, (double)x[0], (double)x[1],
                    (double)x[2], (double)got[i], (double)y);
    }
    CHECK(bad == 0);
}

static void test_range(world *w, const tenon_op *op, int level)
{
    const range *r = range_of(op->name);
    if (!r) return;
    double worst = 0, worst_abs = 0, at = 0;
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < COUNT; i++) {
            in[0][i] = random_in(r->lo, r->hi);
            if (round % 3 == 1) in[0][i] *= powf(2, (float)-random_below(12));
            if (in[0][i] < r->lo && r->lo > 0) in[0][i] = r->lo;
            if (r->lo >= 0 && r->lo < 1e-2f && r->hi > 1e3f) in[0][i] = expf(random_in(logf(r->lo + 1e-30f), logf(r->hi)));
            in[1][i] = random_in(r->lo2, r->hi2);
        }
        run_row(w, levels[level]);
        for (int i = 0; i < COUNT; i++) {
            const double x[3] = { (double)in[0][i], (double)in[1][i], 0 };
            double p[TENON_PW_PARAMS];
            for (int k = 0; k < TENON_PW_PARAMS; k++) p[k] = (double)w->p.instr[0].param[k];
            const double y = op->pw->f64(x, p);
            if (!(fabs(y) > 1e-37) || !(fabs(y) < 3e38)) continue;
            const double error = fabs((double)got[i] - y), ulp = error / ldexp(1, ilogb(y) - 23);
            if (error > worst_abs) worst_abs = error;
            if (ulp > worst) worst = ulp, at = x[0];
        }
    }
    printf("%-8s %-14s max %.2f ulp at %g, max abs %.2g\n", level_name[level], op->name, worst, at, worst_abs);
    if (r->ulp > 0) CHECK(worst <= (double)r->ulp);
    else CHECK(worst_abs < 2e-7);
}

static void test_rows(world *w)
{
    /* Rare rows: lane by lane through the scalar function. */
    static const char *const without[] = { "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "mod" };
    for (int level = 0; level < 3; level++) {
        if ((tenon_cpu()->isa & levels[level]) != levels[level]) {
            SKIP(level_name[level]);
            continue;
        }
        for (const tenon_op *const *op = tenon_ops; *op; op++) {
            if (!(*op)->pw || !(*op)->pw->f32) continue;
            program_of_row(w, *op);
            test_special(w, *op, level);
            test_range(w, *op, level);
            bool listed = false;
            for (size_t i = 0; i < TENON_COUNTOF(without); i++) listed |= strcmp(without[i], (*op)->name) == 0;
            if (level > 0 && tenon_pw_has_body(levels[level], *op) == listed) {
                fprintf(stderr, "%s: listed %d\n", (*op)->name, listed);
                CHECK(!"the list of rows without a body is right");
            }
        }
    }
}

/* ---- random programs ---- */
enum { ROWS = 23, COLS = 150 };
static const char *const smooth[] = { "add", "sub", "mul", "max", "min", "relu", "sigmoid", "tanh", "abs", "neg", "hard_swish",
                                     "where",
                                      "clip", "less", "softsign", "atan", "erf", "prelu" };
static const tenon_dtype operand_types[] = { TENON_F32, TENON_F32, TENON_F32, TENON_F16, TENON_BF16, TENON_I8, TENON_U8,
                                            TENON_I16, TENON_U16,
                                             TENON_BOOL, TENON_I32, TENON_U32, TENON_F64, TENON_I64 };

typedef struct memory { TENON_ALIGNED(64) uint8_t bytes[ROWS * COLS * 3 * 8]; } memory;
static memory operand_memory[TENON_PROGRAM_OPERANDS], result_memory[TENON_PROGRAM_RESULTS];

static tenon_tensor flat(tenon_dtype t, void *data)
{
    return (tenon_tensor){ .dtype = t, .rank = 1, .dim = { ROWS * COLS * 3 }, .stride = { 1 }, .data = data };
}

static void random_program(world *w, uint8_t *kind)
{
    tenon_program *p = &w->p;
    memset(p, 0, sizeof *p);
    p->operand_count = 1 + random_below(6);
    for (int i = 0; i < p->operand_count; i++) {
        p->operand[i] = &w->value[i];
        w->value[i].type.dtype = operand_types[random_below((int)TENON_COUNTOF(operand_types))];
        kind[i] = (uint8_t)random_below(3);
        p->operand_scalar[i] = random_below(5) == 0;
        p->operand_value[i] = (double)random_in(-2, 2);
    }
    p->has_anchor = random_below(2) == 0;
    if (p->has_anchor) kind[0] = TENON_PW_VECTOR, p->operand_scalar[0] = false;
    p->instr_count = random_below(14);
    for (int i = 0; i < p->instr_count; i++) {
        tenon_instr *in_ = &p->instr[i];
        in_->op = op_of(smooth[random_below((int)TENON_COUNTOF(smooth))]);
        in_->dtype = TENON_F32;
        for (int k = 0; k < in_->op->pw->arity; k++)
            in_->src[k] = (int16_t)(i > 0 && random_below(3) > 0 ? i - 1 - random_below(i > 4 ? 4 : i) :
            ~random_below(p->operand_count));
    }
    p->result_count = 1 + (random_below(3) == 0 ? random_below(TENON_PROGRAM_RESULTS) : 0);
    for (int r = 0; r < p->result_count; r++) {
        static const tenon_dtype types[] = { TENON_F32, TENON_F32, TENON_F32, TENON_F16,  TENON_BF16,
                                             TENON_F64, TENON_I8,  TENON_U8,  TENON_BOOL, TENON_I32 };
        p->result[r] = &w->value[TENON_PROGRAM_OPERANDS + r];
        w->value[TENON_PROGRAM_OPERANDS + r].type.dtype = types[random_below((int)TENON_COUNTOF(types))];
        p->result_instr[r] = (int16_t)(p->instr_count == 0 || random_below(12) == 0 ? ~random_below(p->operand_count)
                                       : r == 0 ? p->instr_count - 1 : random_below(p->instr_count));
    }
}

static bool close(tenon_dtype t, double a, double b)
{
    if (isnan(a) && isnan(b)) return true;
    const double eps = t == TENON_F16 ? 1e-3 : t == TENON_BF16 ? 8e-3 : 3e-5;
    return fabs(a - b) <= (tenon_is_float(t) ? eps * (fabs(b) + 1) : 1.0);
}

static double random_number(tenon_dtype t)
{
    if (t == TENON_BOOL) return (double)random_below(2);
    if (tenon_is_float(t)) return (double)random_in(-3, 3);
    return (double)random_below(7) - (tenon_dtype_get(t)->kind == TENON_KIND_INT ? 3 : 0);
}

static void check_program(world *w, int level, int round)
{
    const tenon_program *p = &w->p;
    uint8_t kind[TENON_PROGRAM_OPERANDS] = { 0 };
    random_program(w, kind);
    const int rows = 1 + random_below(ROWS), cols = 1 + random_below(COLS);
    tenon_pw_operand operand[TENON_PROGRAM_OPERANDS];
    tenon_tensor src[TENON_PROGRAM_OPERANDS], dst[TENON_PROGRAM_RESULTS];
    tenon_pw_result result[TENON_PROGRAM_RESULTS];
    for (int i = 0; i < p->operand_count; i++) {
        src[i] = flat(i == 0 && p->has_anchor ? TENON_F32 : w->value[i].type.dtype, operand_memory[i].bytes);
        for (int64_t e = 0; e < src[i].dim[0]; e++)
            tenon_tensor_set_f64(&src[i], e, random_number(src[i].dtype));
        const int64_t col = kind[i] == TENON_PW_VECTOR ? 1 : kind[i] == TENON_PW_SPLAT ? 0 : 3;
        const int64_t row = random_below(3) == 0 ? 0 : col == 3 ? 3 * cols : col == 0 ? 1 : cols + random_below(2) * 5;
        operand[i] = (tenon_pw_operand){ src[i].data, row, col };
        if (operand[i].row_stride * (rows - 1) + col * cols > src[i].dim[0]) operand[i].row_stride = 0;
    }
    for (int r = 0; r < p->result_count; r++) {
        memset(result_memory[r].bytes, 0x5a, sizeof result_memory[r].bytes);
        dst[r] = flat(w->value[TENON_PROGRAM_OPERANDS + r].type.dtype, result_memory[r].bytes);
        const int64_t col = random_below(6) == 0 ? 2 : 1;
        result[r] = (tenon_pw_result){ dst[r].data, (cols + random_below(2) * 3) * col, col };
        if (result[r].row_stride * rows > dst[r].dim[0]) result[r] = (tenon_pw_result){ dst[r].data, cols, 1 };
    }
    tenon_pw_code code;
    if (!CHECK_OK(&w->cx, tenon_pw_compile(&w->cx, p, levels[level], kind, NULL, &code))) return;
    tenon_pw_run(&code, operand, result, rows, cols);
    int bad = 0;
    for (int row = 0; row < rows; row++)
        for (int col = 0; col < cols; col++) {
            float x[TENON_PROGRAM_OPERANDS], y[TENON_PROGRAM_RESULTS];
            for (int i = 0; i < p->operand_count; i++)
                x[i] = p->operand_scalar[i] ? (float)p->operand_value[i]
                                            : (float)tenon_tensor_get_f64(&src[i], row * operand[i].row_stride + col *
                                            operand[i].col_stride);
            tenon_program_eval_f32(p, x, y);
            for (int r = 0; r < p->result_count; r++) {
                const double a = tenon_tensor_get_f64(&dst[r], row * result[r].row_stride + col * result[r].col_stride);
                double b = (double)y[r];
                if (dst[r].dtype == TENON_BOOL) b = b != 0;
                else if (!tenon_is_float(dst[r].dtype)) b = tenon_dtype_round(dst[r].dtype, nearbyint(b));
                if (!close(dst[r].dtype, a, b) && bad++ < 2)
                    fprintf(stderr, "%s round %d: %dx%d result %d (%s) at %d,%d = %g, wanted %g\n", level_name[level], round,
                    rows, cols, r,
                            tenon_dtype_name(dst[r].dtype), row, col, a, b);
            }
        }
    /* Nothing beyond the tile is written. */
    for (int r = 0; r < p->result_count; r++) {
        const int64_t size = tenon_dtype_get(dst[r].dtype)->bits / 8;
        const int64_t end = (result[r].row_stride * (rows - 1) + result[r].col_stride * (cols - 1) + 1) * size;
        if (result_memory[r].bytes[end] != 0x5a) bad++;
    }
    CHECK(bad == 0);
    if (bad)
        for (int i = 0; i < p->instr_count; i++)
            fprintf(stderr, "  %d: %s %d %d %d\n", i, p->instr[i].op->name, p->instr[i].src[0], p->instr[i].src[1],
            p->instr[i].src[2]);
}

/* x += y on the place of x, rows that overlap in a block. */
static void test_in_place(world *w, int level)
{
    program_of_row(w, op_of("add"));
    for (int rows = 1; rows <= 9; rows++) {
        static float x[9 * 40], y[9 * 40];
        for (int i = 0; i < 9 * 40; i++) x[i] = (float)i, y[i] = 1000;
        tenon_pw_code code;
        CHECK_OK(&w->cx, tenon_pw_compile(&w->cx, &w->p, levels[level], NULL, NULL, &code));
        const tenon_pw_operand o[2] = { { x, 40, 1 }, { y, 40, 1 } };
        const tenon_pw_result r = { x, 40, 1 };
        tenon_pw_run(&code, o, &r, rows, 37);
        int bad = 0;
        for (int i = 0; i < 9 * 40; i++) bad += x[i] != (float)(i + (i / 40 < rows && i % 40 < 37 ? 1000 : 0));
        CHECK(bad == 0);
    }
}

/* A tile, a bias and a residual added, at the widths and heights of kernels; without more, with relu, and with values that are
   wanted twice. */
static void test_tiles(world *w, int level)
{
    enum { HIGH = 18, WIDE = 130 };
    static const struct { const char *op; int16_t a, b; } step[] = {
        { "add", ~0, ~1 }, { "add", 0, ~2 }, { "relu", 1, 0 }, { "mul", 1, 2 }, { "add", 3, 1 },
    };
    static const int lengths[] = { 2, 3, 5 }, widths[] = { 8, 16, 17, 32, 64, 128, WIDE };
    static float x[HIGH * WIDE], bias[WIDE], y[HIGH * WIDE], z[HIGH * WIDE];
    for (int i = 0; i < HIGH * WIDE; i++) x[i] = (float)(i % 19) - 9, y[i] = (float)(i % 7) - 3;
    for (int i = 0; i < WIDE; i++) bias[i] = (float)(i % 5) - 2;
    for (int n = 0; n < 3; n++) {
        tenon_program *p = &w->p;
        memset(p, 0, sizeof *p);
        p->operand_count = 3;
        p->result_count = 1;
        for (int i = 0; i < 3; i++) p->operand[i] = &w->value[i];
        p->result[0] = &w->value[TENON_PROGRAM_OPERANDS];
        for (int i = 0; i < TENON_PROGRAM_OPERANDS + 1; i++) w->value[i].type.dtype = TENON_F32;
        p->instr_count = lengths[n];
        for (int i = 0; i < lengths[n]; i++)
            p->instr[i] = (tenon_instr){ .op = op_of(step[i].op), .dtype = TENON_F32, .src = { step[i].a, step[i].b } };
        p->result_instr[0] = (int16_t)(lengths[n] - 1);
        tenon_pw_code code;
        if (!CHECK_OK(&w->cx, tenon_pw_compile(&w->cx, p, levels[level], NULL, NULL, &code))) return;
        const tenon_pw_operand o[3] = { { x, WIDE, 1 }, { bias, 0, 1 }, { y, WIDE, 1 } };
        const tenon_pw_result r = { z, WIDE, 1 };
        int bad = 0;
        for (int k = 0; k < (int)TENON_COUNTOF(widths) * HIGH; k++) {
            const int rows = 1 + k % HIGH, cols = widths[k / HIGH];
            for (int i = 0; i < HIGH * WIDE; i++) z[i] = 1000;
            tenon_pw_run(&code, o, &r, rows, cols);
            for (int i = 0; i < HIGH * WIDE; i++) {
                const float sum = x[i] + bias[i % WIDE] + y[i], positive = sum > 0 ? sum : 0;
                const float wanted = n == 0 ? sum : n == 1 ? positive : sum * positive + sum;
                bad += z[i] != (i / WIDE < rows && i % WIDE < cols ? wanted : 1000);
            }
        }
        CHECK(bad == 0);
    }
}

/* The other classes are exact. */
static void test_integers(world *w)
{
    program_of_row(w, op_of("mul"));
    w->p.class_ = TENON_CLASS_I64;
    w->p.instr[0].dtype = TENON_I32;
    static int32_t x[70], y[70], z[70];
    for (int i = 0; i < 70; i++) x[i] = (int32_t)random_bits(), y[i] = (int32_t)random_bits();
    w->value[0].type.dtype = w->value[1].type.dtype = w->value[TENON_PROGRAM_OPERANDS].type.dtype = TENON_I32;
    tenon_pw_code code;
    CHECK_OK(&w->cx, tenon_pw_compile(&w->cx, &w->p, tenon_cpu()->isa, NULL, NULL, &code));
    const tenon_pw_operand o[2] = { { x, 70, 1 }, { y, 70, 1 } };
    const tenon_pw_result r = { z, 70, 1 };
    tenon_pw_run(&code, o, &r, 1, 70);
    int bad = 0;
    for (int i = 0; i < 70; i++) bad += z[i] != (int32_t)((uint32_t)x[i] * (uint32_t)y[i]);
    CHECK(bad == 0);
}

int main(void)
{
    static world w;
    tenon_cx_init_default(&w.cx);
    test_rows(&w);
    for (int level = 0; level < 3; level++) {
        if ((tenon_cpu()->isa & levels[level]) != levels[level]) continue;
        test_in_place(&w, level);
        test_tiles(&w, level);
        seed = 7;
        for (int round = 0; round < 1500; round++) check_program(&w, level, round);
    }
    test_integers(&w);
    return CHECK_END();
}
