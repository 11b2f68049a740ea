/* SPDX-License-Identifier: Apache-2.0 */
/* How the bodies of pw_f32_body.h, which includes this, are led over a tile: by strips of columns, each as wide as eight, four,
   two or one vectors, down the rows; what is narrower than a vector, or needs but one chunk, works on copies of its operands.

       |<------ 8 vectors, 1 row ------>|<- 4, 2 rows ->|2, 4 rows|1|copy|

   A last chunk of fewer rows takes some of them twice: the same values are computed twice and stored twice, after all loads of
   the chunk. Places are set once a strip and walk by themselves. */
#ifndef TENON_CPU_PW_LOOPS_H
#define TENON_CPU_PW_LOOPS_H

#include "cpu/pw_table.h"

enum {
    ROW_BLOCK = 64, /* rows that all strips pass before the next: they stay in the cache */
    CHAIN = 16,     /* chunks before the bodies return: bounds the stack where tail calls are not made */
};

static void set_temps(const tenon_pw_code *code, tenon_pw_frame *x)
{
    for (int i = 0; i < code->u.fast.touch_count && code->temp_count; i++) {
        const int k = code->u.fast.touch[i].port - TENON_PW_PORT_TEMP;
        if (k >= 0) x->place[i] = (tenon_pw_place){ (char *)x->temp[k], 0, 16 * VW, 4 * VW, 8 * VW, 0 };
    }
}

/* Where the registers of a chunk of `vectors` vectors by `rows` rows (at most 8 / vectors) lie. */
TENON_INLINE void set_steps(tenon_pw_place *q, const tenon_pw_port *o, int64_t vectors, int64_t rows)
{
    const int64_t vector = o->cs * VW, row = o->row;
    if (vectors >= 4) {
        q->s0 = vector;
        q->s1 = 2 * vector;
        q->half = vectors == 8 ? 4 * vector : rows > 1 ? row : 0;
    } else if (vectors == 2) {
        q->s0 = vector;
        q->s1 = rows > 1 ? row : 0;
        q->half = rows > 2 ? row * (rows - 2) : 0;
    } else {
        q->s0 = rows > 1 ? row : 0;
        q->s1 = rows > 3 ? 2 * row : rows > 2 ? row : 0;
        q->half = rows > 4 ? row * (rows - 4) : 0;
    }
}

static void run_chunks(const tenon_pw_cell *cell, tenon_pw_frame *x, int64_t count)
{
    const vf u = v_undefined();
    x->first = cell;
    while (count > 0) {
        const int64_t n = count < CHAIN ? count : CHAIN;
        x->left = n;
        ((body_fn)cell->body)(cell, x, x->place, u, u, u, u, u, u, u, u);
        count -= n;
    }
}

TENON_INLINE void set_place(tenon_pw_place *q, const tenon_pw_port *o, int64_t row, int64_t col, int64_t vectors, int64_t rows,
                            int64_t down, int64_t right)
{
    q->p = o->p + row * o->row + col * o->cs;
    q->step = o->row * down + o->cs * right;
    set_steps(q, o, vectors, rows);
}
/* `count` chunks from (row, col) on; the next is `down` rows and `right` columns away. What most programs are made of has its
   own loop, since this is what a small tile costs. */
TENON_INLINE void run_from(const tenon_pw_code *code, tenon_pw_frame *x, int64_t row, int64_t col, int64_t vectors, int64_t rows,
                           int64_t down, int64_t right, int64_t count)
{
    bool scatters = false;
    if (x->plain) {
        for (int i = 0; i < code->u.fast.touch_count; i++) {
            if (code->u.fast.touch[i].port >= TENON_PW_PORT_TEMP) continue;
            tenon_pw_port o = tenon_pw_port_of(x, code->u.fast.touch[i].port, 2);
            o.cs = 4;
            set_place(&x->place[i], &o, row, col, vectors, rows, down, right);
            x->place[i].scatter = 0;
        }
    } else {
        for (int i = 0; i < code->u.fast.touch_count; i++) {
            const int k = code->u.fast.touch[i].port, shift = code->u.fast.touch[i].shift;
            if (k >= TENON_PW_PORT_TEMP) continue;
            const tenon_pw_port o = tenon_pw_port_of(x, k, shift);
            set_place(&x->place[i], &o, row, col, vectors, rows, down, right);
            x->place[i].scatter = o.cs != 1 << shift;
            scatters |= k >= TENON_PW_PORT_RESULT && x->place[i].scatter;
        }
    }
    run_chunks(vectors >= 4 && !scatters ? code->u.fast.wide : code->u.fast.narrow, x, count);
}

TENON_INLINE void strip(const tenon_pw_code *code, tenon_pw_frame *x, int64_t row, int64_t rows, int64_t col, int64_t vectors)
{
    const int64_t each = 8 / vectors, rest = rows & (each - 1);
    if (rows >= each) run_from(code, x, row, col, vectors, each, each, 0, (rows - rest) / each);
    if (rest) run_from(code, x, row + rows - rest, col, vectors, rest, 0, 0, 1);
}
/* A division of numbers that are not known to the compiler costs as much as a chunk. */
TENON_NOINLINE static void run_strip(const tenon_pw_code *code, tenon_pw_frame *x, int64_t row, int64_t rows, int64_t col,
                                     int64_t vectors)
{
    if (vectors == 4) strip(code, x, row, rows, col, 4);
    else if (vectors == 2) strip(code, x, row, rows, col, 2);
    else strip(code, x, row, rows, col, 1);
}
TENON_NOINLINE static void run_widest(const tenon_pw_code *code, tenon_pw_frame *x, int64_t row, int64_t rows, int64_t count)
{
    if (count == 1) run_from(code, x, row, 0, 8, 1, 1, 0, rows);
    else
        for (int64_t i = 0; i < rows; i++) run_from(code, x, row + i, 0, 8, 1, 0, 8 * VW, count);
}

/* ---- the last columns ---- */
#define WALK(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#define AT(i) (p + (i & 1) * q->s0 + (i >> 1 & 1) * q->s1 + (i >> 2) * q->half)
#define WORDS_IN(i) v_store(FLOATS(tile) + i * VW, v_load_n(FLOATS(AT(i)), x->lanes[i]));
#define WORDS_OUT(i) v_store_n(FLOATS(AT(i)), v_load(FLOATS(tile) + i * VW), x->lanes[i]);
#define BYTES_IN(i) copy_bytes(tile + i * VW * size, AT(i), x->lanes[i] * size);
#define BYTES_OUT(i) copy_bytes(AT(i), tile + i * VW * size, x->lanes[i] * size);
TENON_INLINE void copy_bytes(char *dst, const char *src, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) dst[i] = src[i];
}
static void tile_in(const tenon_pw_frame *x, const tenon_pw_place *q, const char *from, int size, char *tile)
{
    char *p = (char *)(uintptr_t)from;
    if (size == 4) {
        WALK(WORDS_IN)
    } else {
        WALK(BYTES_IN)
    }
}
static void tile_out(const tenon_pw_frame *x, const tenon_pw_place *q, char *p, int size, char *tile)
{
    if (size == 4) {
        WALK(WORDS_OUT)
    } else {
        WALK(BYTES_OUT)
    }
}
#undef AT
/* Operands are copied to tiles, so that bodies may read full vectors; results are copied back. Ports of other strides go by
   element and look at `lanes`. */
TENON_NOINLINE static void run_copies(const tenon_pw_code *code, tenon_pw_frame *x, int64_t row, int64_t rows, int64_t col,
                                      int64_t vectors)
{
    tenon_pw_place steps[TENON_PW_PORT_TEMP];
    for (int i = 0; i < code->live_count; i++) {
        const int k = code->live[i], size = 1 << code->live_shift[i];
        const tenon_pw_port o = tenon_pw_port_of(x, k, code->live_shift[i]);
        set_steps(&steps[k], &o, vectors, rows);
        steps[k].p = o.p + row * o.row + col * o.cs;
        steps[k].scatter = o.cs != size;
        if (o.cs == size && k < TENON_PW_PORT_RESULT) tile_in(x, &steps[k], steps[k].p, size, (char *)x->edge[k]);
    }
    for (int i = 0; i < code->u.fast.touch_count; i++) {
        tenon_pw_place *q = &x->place[i];
        const int k = code->u.fast.touch[i].port;
        if (k >= TENON_PW_PORT_TEMP) continue;
        const int64_t size = (int64_t)1 << code->u.fast.touch[i].shift;
        const tenon_pw_place *from = &steps[k];
        const bool copied = !from->scatter;
        q->scatter = from->scatter;
        q->p = copied ? (char *)x->edge[k] : from->p;
        q->step = 0;
        q->s0 = copied ? VW * size : from->s0;
        q->s1 = copied ? 2 * VW * size : from->s1;
        q->half = copied ? 4 * VW * size : from->half;
    }
    run_chunks(code->u.fast.narrow, x, 1);
    for (int i = code->live_operands; i < code->live_count; i++) {
        const int k = code->live[i], size = 1 << code->live_shift[i];
        if (!steps[k].scatter) tile_out(x, &steps[k], steps[k].p, size, (char *)x->edge[k]);
    }
}
TENON_NOINLINE static void run_edge(const tenon_pw_code *code, tenon_pw_frame *x, int64_t row, int64_t rows, int64_t col,
                                    int64_t cols, int64_t vectors)
{
    const int64_t each = 8 / vectors;
    x->full = 0;
    for (int r = 0; r < 8; r++) {
        const int64_t left = cols - col - (r & (vectors - 1)) * VW;
        x->lanes[r] = left < 0 ? 0 : left > VW ? VW : left;
    }
    for (int64_t i = 0; i < rows; i += each) run_copies(code, x, row + i, rows - i < each ? rows - i : each, col, vectors);
    x->full = 1;
}

/* ---- entry ---- */
/* The tile of a kernel - f32, one strip, whole chunks, few of them - goes straight to the bodies: setting it up is what a small
   tile costs. (1 << shift) rows a chunk. */
TENON_NOINLINE static void run_tile(const tenon_pw_code *code, const tenon_pw_operand *operand, const tenon_pw_result *result,
                                    int64_t count, int shift)
{
    _Static_assert(sizeof *operand == sizeof *result && offsetof(tenon_pw_operand, row_stride) ==
                   offsetof(tenon_pw_result, row_stride), "ports by one arithmetic");
    tenon_pw_frame frame, *const x = &frame;
    const vf u = v_undefined();
    const tenon_pw_cell *const cell = shift < 2 ? code->u.fast.wide : code->u.fast.narrow;
    x->first = cell;
    x->code = code;
    x->operand = operand;
    x->result = result;
    x->left = count;
    x->full = 1;
    x->width = VW;
    set_temps(code, x);
    tenon_pw_place *q = x->place;
    for (int i = 0; i < code->u.fast.touch_count; i++, q++) {
        const int k = code->u.fast.touch[i].port;
        if (k >= TENON_PW_PORT_TEMP) continue;
        const tenon_pw_operand *o = k < TENON_PW_PORT_RESULT ? &operand[k]
                                                             : (const tenon_pw_operand *)(const void *)result + (k -
                                                                                                       TENON_PW_PORT_RESULT);
        const int64_t row = (int64_t)((uint64_t)o->row_stride << 2);
        q->p = (char *)(uintptr_t)o->base;
        q->step = (int64_t)((uint64_t)row << shift);
        q->half = shift == 0 ? 16 * VW : row << (shift - 1);
        q->s0 = 4 * VW;
        q->s1 = shift == 2 ? row : 8 * VW;
        q->scatter = 0;
    }
    ((body_fn)cell->body)(cell, x, x->place, u, u, u, u, u, u, u, u);
    v_leave();
}

/* log2 of the rows of a chunk when run_tile can take the tile, else -1. */
TENON_INLINE int tile_shift(const tenon_pw_code *code, const tenon_pw_result *result, int64_t rows, int64_t cols)
{
    const int shift = cols == 8 * VW ? 0 : cols == 4 * VW ? 1 : cols == 2 * VW ? 2 : -1;
    if (shift < 0 || !code->u.fast.plain || rows > CHAIN || rows & ((1 << shift) - 1)) return -1;
    for (int i = 0; i < code->result_count; i++)
        if (result[i].col_stride != 1) return -1;
    return shift;
}

static void run_any(const tenon_pw_code *code, const tenon_pw_operand *operand, const tenon_pw_result *result, int64_t rows,
                    int64_t cols)
{
    tenon_pw_frame frame, *const x = &frame;
    x->code = code;
    x->operand = operand;
    x->result = result;
    x->full = 1;
    x->width = VW;
    x->plain = code->u.fast.plain;
    for (int i = 0; i < code->result_count; i++) x->plain &= result[i].col_stride == 1;
    set_temps(code, x);
    for (int64_t row = 0; row < rows; row += ROW_BLOCK) {
        const int64_t n = rows - row < ROW_BLOCK ? rows - row : ROW_BLOCK;
        for (int64_t col = 0; col < cols;) {
            const int64_t left = cols - col;
            int64_t vectors = left > 4 * VW ? 8 : left > 2 * VW ? 4 : left > VW ? 2 : 1;
            const bool copy = left < VW || (left < vectors * VW && n * vectors <= 8);
            if (!copy && left < vectors * VW) vectors /= 2;
            if (copy) run_edge(code, x, row, n, col, cols, vectors);
            else if (vectors == 8) run_widest(code, x, row, n, left / (8 * VW));
            else run_strip(code, x, row, n, col, vectors);
            col += copy ? left : vectors < 8 ? vectors * VW : left / (8 * VW) * (8 * VW);
        }
    }
    v_leave();
}

static void run_rows(const tenon_pw_code *code, const tenon_pw_operand *operand, const tenon_pw_result *result, int64_t rows,
                     int64_t cols)
{
    const int shift = tile_shift(code, result, rows, cols);
    if (shift >= 0) run_tile(code, operand, result, rows >> shift, shift);
    else run_any(code, operand, result, rows, cols);
}

#endif
