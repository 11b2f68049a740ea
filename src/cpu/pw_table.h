/* SPDX-License-Identifier: Apache-2.0 */
/* Between pw_exec.c and the body files: the frame that bodies read and the table of bodies that a file exports. A chunk is
   eight vectors; register r = 4*b2 + 2*b1 + b0 holds the vector at p + col*cs + b2*(s1 + s2) + b1*s1 + b0*s0 of a port
   (bytes). The steps say whether a bit of r counts rows or vectors of columns, so one body serves all four chunk shapes. */
#ifndef TENON_CPU_PW_TABLE_H
#define TENON_CPU_PW_TABLE_H

#include "cpu/pw_exec.h"

enum {
    TENON_PW_PORT_RESULT = TENON_PROGRAM_OPERANDS,                       /* ports: operands, results, temporaries */
    TENON_PW_PORT_TEMP = TENON_PW_PORT_RESULT + TENON_PROGRAM_RESULTS,
    TENON_PW_PORTS = TENON_PW_PORT_TEMP + TENON_PW_TEMPS,
    TENON_PW_TILE = 128, /* floats of a chunk, at the widest vector */
};

typedef struct tenon_pw_port { char *p; int64_t cs, s0, s1, s2; } tenon_pw_port;

typedef struct tenon_pw_frame {
    int64_t lanes[8]; /* valid columns of each register when !full, for what goes element by element */
    int32_t full, width;
    tenon_pw_port port[TENON_PW_PORTS];
    uint8_t dtype[TENON_PW_PORTS];
    TENON_ALIGNED(64) float temp[TENON_PW_TEMPS][TENON_PW_TILE];
    TENON_ALIGNED(64) double edge[TENON_PW_PORT_TEMP][TENON_PW_TILE];    /* operands and results of the last columns */
    TENON_ALIGNED(64) float arg[TENON_PW_ARITY][TENON_PW_TILE]; /* of bodies that call the scalar reference */
} tenon_pw_frame;

/* Any type and column stride, element by element, between a port and a tile; in pw_exec.c. */
void tenon_pw_fetch(const tenon_pw_frame *x, int port, int64_t col, float *tile);
void tenon_pw_put(const tenon_pw_frame *x, int port, int64_t col, const float *tile);

typedef void (*tenon_pw_any)(void); /* a body; its real type is known to the body files alone */

/* Second operands: from memory, one value a register (splat), immediate; _r: operands exchanged. NULL: not there, use mem. */
typedef struct tenon_pw_row {
    const char *name;
    uint8_t arity, params; /* params: floats in the cell(s) after the body; 255: the scalar function in the next cell */
    tenon_pw_any body;     /* arity 1: in place; 2, 3: others from memory */
    tenon_pw_any splat, imm, body_r, splat_r, imm_r;
} tenon_pw_row;
enum { TENON_PW_GUARDED = 255 };

typedef struct tenon_pw_bodies {
    int width;
    tenon_pw_any load[TENON_OPTIONAL + 1], stage[TENON_OPTIONAL + 1], store[TENON_OPTIONAL + 1]; /* by dtype, VECTOR;
        NULL: _any */
    tenon_pw_any load_any, stage_any, store_any, load_splat, stage_splat, load_imm, stage_imm, load_temp, spill, end;
    tenon_pw_any load_add, affine_imm, add_relu, clip_imm, store_f32_end; /* pairs,
        and the halves by which the compiler finds them */
    tenon_pw_any add_mem, mul_imm, add_imm, min_imm, max_imm, relu;
    tenon_pw_any call[TENON_PW_ARITY]; /* scalar function in the next cell, parameters in the one after */
    const tenon_pw_row *row;           /* ends with name NULL */
    /* Ports of the live operands and results are set to row 0; row_step: bytes, by place in code->live. Cleans the registers. */
    void (*run)(const tenon_pw_code *code, tenon_pw_frame *x, const int64_t *row_step, int64_t rows, int64_t cols);
} tenon_pw_bodies;

extern const tenon_pw_bodies tenon_pw_bodies_avx512, tenon_pw_bodies_avx2;

#endif
