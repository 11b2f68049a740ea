/* SPDX-License-Identifier: Apache-2.0 */
/* What threaded code costs: eight operations on a 14x64 tile in the first cache, as a program and as one hand-fused loop.
   Prints the minimum of many runs, ns per 16 floats. The promise is a ratio of at most 1.3. */
#include "base/clock.h"
#include "base/isa.h"
#include "cpu/pw_exec.h"

#include <stdio.h>
#include <string.h>

#if !defined(__x86_64__)
int main(void)
{
    printf("SKIP: no vector bodies on this architecture\n");
    return 77;
}
#else
#include <immintrin.h>

enum { ROWS = 14, COLS = 64 };
static TENON_ALIGNED(64) float acc[ROWS * COLS], other[ROWS * COLS], result[ROWS * COLS], bias[COLS];

/* relu(acc + bias + other) * 0.5 + 1, clipped to [-3, 3], abs, negated: eight operations. */
__attribute__((target("avx512f"), noinline)) static void fused_avx512(void)
{
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c += 16) {
            __m512 v = _mm512_add_ps(_mm512_loadu_ps(acc + r * COLS + c), _mm512_loadu_ps(bias + c));
            v = _mm512_add_ps(v, _mm512_loadu_ps(other + r * COLS + c));
            v = _mm512_max_ps(_mm512_setzero_ps(), v);
            v = _mm512_mul_ps(v, _mm512_set1_ps(0.5f));
            v = _mm512_add_ps(v, _mm512_set1_ps(1.0f));
            v = _mm512_min_ps(_mm512_set1_ps(3.0f), v);
            v = _mm512_max_ps(_mm512_set1_ps(-3.0f), v);
            v = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(v), _mm512_set1_epi32(INT32_MIN)));
            _mm512_storeu_ps(result + r * COLS + c, v);
        }
}
__attribute__((target("avx2"), noinline)) static void fused_avx2(void)
{
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c += 8) {
            __m256 v = _mm256_add_ps(_mm256_loadu_ps(acc + r * COLS + c), _mm256_loadu_ps(bias + c));
            v = _mm256_add_ps(v, _mm256_loadu_ps(other + r * COLS + c));
            v = _mm256_max_ps(_mm256_setzero_ps(), v);
            v = _mm256_mul_ps(v, _mm256_set1_ps(0.5f));
            v = _mm256_add_ps(v, _mm256_set1_ps(1.0f));
            v = _mm256_min_ps(_mm256_set1_ps(3.0f), v);
            v = _mm256_max_ps(_mm256_set1_ps(-3.0f), v);
            v = _mm256_xor_ps(v, _mm256_set1_ps(-0.0f));
            _mm256_storeu_ps(result + r * COLS + c, v);
        }
}

static tenon_value value[8];

static void program(tenon_program *p)
{
    static const struct { const char *op; int a, b; } list[] = {
        { "add", ~0, ~1 }, { "add", 0, ~2 }, { "relu", 1, 0 }, { "mul", 2, ~3 }, { "add", 3, ~4 }, { "min", 4, ~5 },
            { "max", 5, ~6 }, { "neg", 6, 0 },
    };
    static const double number[] = { 0.5, 1, 3, -3 };
    memset(p, 0, sizeof *p);
    p->has_anchor = true;
    p->instr_count = (int)TENON_COUNTOF(list);
    p->operand_count = 7;
    for (int i = 0; i < 7; i++) {
        value[i].type.dtype = TENON_F32;
        p->operand[i] = &value[i];
        p->operand_scalar[i] = i >= 3;
        p->operand_value[i] = i >= 3 ? number[i - 3] : 0;
    }
    for (int i = 0; i < p->instr_count; i++) {
        p->instr[i].op = tenon_op_find(list[i].op, strlen(list[i].op));
        p->instr[i].dtype = TENON_F32;
        p->instr[i].src[0] = (int16_t)list[i].a;
        p->instr[i].src[1] = (int16_t)list[i].b;
    }
    value[7].type.dtype = TENON_F32;
    p->result_count = 1;
    p->result[0] = &value[7];
    p->result_instr[0] = (int16_t)(p->instr_count - 1);
}

enum { HAND, THREADED };
/* The least of many runs each, in turn, so that a neighbour or a change of frequency meets both. */
static void best(void (*const run[2])(void *), void *arg, double least[2])
{
    least[HAND] = least[THREADED] = 1e9;
    for (int round = 0; round < 8000; round++)
        for (int k = 0; k < 2; k++) {
            const double start = tenon_now();
            for (int i = 0; i < 32; i++) run[k](arg);
            const double t = (tenon_now() - start) / 32 * 1e9 * 16 / (ROWS * COLS);
            if (t < least[k]) least[k] = t;
        }
}
static void run_fused_avx512(void *arg)
{
    (void)arg;
    fused_avx512();
}
static void run_fused_avx2(void *arg)
{
    (void)arg;
    fused_avx2();
}
static void run_program(void *arg)
{
    static const tenon_pw_operand operand[7] = { { acc, COLS, 1 }, { bias, 0, 1 }, { other, COLS, 1 } };
    static const tenon_pw_result to = { result, COLS, 1 };
    tenon_pw_run(arg, operand, &to, ROWS, COLS);
}

int main(void)
{
    static tenon_cx cx;
    static tenon_program p;
    static tenon_pw_code code;
    static float wanted[ROWS * COLS];
    tenon_cx_init_default(&cx);
    for (int i = 0; i < ROWS * COLS; i++) acc[i] = (float)(i % 17) - 8, other[i] = (float)(i % 5) - 2;
    for (int i = 0; i < COLS; i++) bias[i] = (float)(i % 3);
    program(&p);
    const struct { const char *name; unsigned isa; void (*fused)(void *); } level[] = {
        { "avx512", TENON_ISA_AVX512 | TENON_ISA_AVX2, run_fused_avx512 }, { "avx2", TENON_ISA_AVX2, run_fused_avx2 } };
    for (size_t i = 0; i < TENON_COUNTOF(level); i++) {
        if ((tenon_cpu()->isa & level[i].isa) != level[i].isa) continue;
        if (tenon_pw_compile(&cx, &p, level[i].isa, NULL, NULL, &code) != TENON_OK) return 1;
        level[i].fused(NULL);
        memcpy(wanted, result, sizeof wanted);
        memset(result, 0, sizeof result);
        run_program(&code);
        const bool equal = memcmp(wanted, result, sizeof wanted) == 0;
        double least[2];
        best((void (*const[2])(void *)){ level[i].fused, run_program }, &code, least);
        printf("%-7s hand-fused %.2f ns, threaded %.2f ns per 16 floats: %.2f%s\n", level[i].name, least[HAND], least[THREADED],
               least[THREADED] / least[HAND], equal ? "" : "  RESULTS DIFFER");
        if (!equal) return 1;
    }
    return 0;
}
#endif
