/* SPDX-License-Identifier: Apache-2.0 */
/* Pointwise programs on the CPU. A program is compiled once, at bind time, into a tenon_pw_code of fixed size that a launch
   record embeds; tenon_pw_run then applies it to a tile of rows x columns, as often as wanted and from any thread.

   The f32 class runs as threaded code: one body an operation over eight vector registers, each ending in a tail call to the
   next. A chunk of eight vectors is 8x1, 4x2, 2x4 or 1x8 (rows x vectors of columns), by strips of columns from wide to
   narrow. The f64 and i64 classes, and everything on a CPU without AVX2, are interpreted over strips of columns.

   Operands are read and results written at their stored type (operand->type.dtype); values outside the 8 registers live in a
   stack frame of about 38 KB. All loads of a chunk come before its stores, so a result may lie exactly on an operand with the
   same strides. */
#ifndef TENON_CPU_PW_EXEC_H
#define TENON_CPU_PW_EXEC_H

#include "op/pointwise.h"

/* How an operand runs along the columns; known when the program is compiled. */
enum {
    TENON_PW_VECTOR, /* col_stride 1 (row_stride anything: 0 is a vector shared by all rows, such as a bias) */
    TENON_PW_SPLAT,  /* col_stride 0: one value a row, or one in all when row_stride is 0 too */
    TENON_PW_GATHER, /* any other col_stride; slower */
};
static inline uint8_t tenon_pw_kind(int64_t col_stride)
{
    return col_stride == 1 ? TENON_PW_VECTOR : col_stride == 0 ? TENON_PW_SPLAT : TENON_PW_GATHER;
}

/* Strides are in elements of the stored type. */
typedef struct tenon_pw_operand { const void *base; int64_t row_stride, col_stride; } tenon_pw_operand;
typedef struct tenon_pw_result { void *base; int64_t row_stride, col_stride; } tenon_pw_result; /* col_stride 1: fast */

enum { TENON_PW_CELLS = 144, TENON_PW_TEMPS = 16, TENON_PW_POOL = 128 };

/* One place of threaded code: a body and what it needs. Private to pw_exec.c and the body files. */
enum { TENON_PW_NO_PORT = 255 };
typedef struct tenon_pw_cell {
    void (*body)(void);
    float imm[2];
    uint16_t at; /* of its place, bytes in the frame */
    uint8_t port;
} tenon_pw_cell;

/* One instruction of the interpreter. */
typedef struct tenon_pw_step {
    union {
        float (*f32)(const float *x, const float *p);
        double (*f64)(const double *x, const double *p);
        int64_t (*i64)(const int64_t *x, const double *p);
    } fn;
    int8_t src[TENON_PW_ARITY]; /* >= 0: result of that step; < 0: operand ~src */
    uint8_t arity, param_count;
    uint8_t dtype;              /* of the result, for wrapping integers */
    uint16_t param;             /* index in pool */
} tenon_pw_step;

typedef struct tenon_pw_code {
    uint8_t mode;               /* 0: interpreter of class_; else index of the body table + 1 */
    uint8_t class_, operand_count, result_count, cell_count, step_count, temp_count;
    uint8_t operand_dtype[TENON_PROGRAM_OPERANDS], result_dtype[TENON_PROGRAM_RESULTS];
    uint8_t operand_const[TENON_PROGRAM_OPERANDS]; /* an immediate: its memory operand is not looked at */
    int8_t result_step[TENON_PROGRAM_RESULTS];
    uint8_t live_count, live_operands; /* ports that touch memory, the operands first; elements of 1 << shift bytes */
    uint8_t live[TENON_PROGRAM_OPERANDS + TENON_PROGRAM_RESULTS], live_shift[TENON_PROGRAM_OPERANDS + TENON_PROGRAM_RESULTS];
    union {
        struct {
            tenon_pw_cell wide[TENON_PW_CELLS];   /* chunks with at least four vectors of a row */
            tenon_pw_cell narrow[TENON_PW_CELLS]; /* all chunks; differs in bodies alone */
            struct { uint8_t port, shift; } touch[TENON_PW_CELLS]; /* the places in use; an element is 1 << shift bytes */
            uint8_t touch_count;
            bool plain; /* operands are f32 vectors, results are f32 */
        } fast;
        struct {
            tenon_pw_step step[TENON_PROGRAM_MAX];
            double pool[TENON_PW_POOL];                     /* parameters of the steps, constants of the operands */
        } slow;
    } u;
} tenon_pw_code;

/* operand_kind: TENON_PW_VECTOR, ... for every operand of the program, in its order; NULL: all VECTOR. The operand of a
   has_anchor program is the anchor's tile: f32 whatever the value's type is (f64 or as typed in the other classes), kind
   VECTOR. result_dtype: what to store, NULL: the types of p->result. isa: TENON_ISA_* bits allowed. Allocates nothing.
   TENON_UNSUPPORTED: a type without plain storage, or more live values than a frame holds. */
tenon_status tenon_pw_compile(tenon_cx *cx, const tenon_program *p, unsigned isa, const uint8_t *operand_kind,
                              const tenon_dtype *result_dtype, tenon_pw_code *out);

/* Whether the row has a vector body at this level; others are called lane by lane. */
bool tenon_pw_has_body(unsigned isa, const tenon_op *op);

/* operand: one a program operand (entries of constants are ignored; NULL base allowed there). result: one a program result.
   rows or cols may be 0. Leaves the upper halves of the vector registers clean. */
void tenon_pw_run(const tenon_pw_code *code, const tenon_pw_operand *operand, const tenon_pw_result *result, int64_t rows,
                  int64_t cols);

#endif
