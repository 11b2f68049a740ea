/* SPDX-License-Identifier: Apache-2.0 */
/* Between pw_exec.c and the body files: the frame that bodies read and the table of bodies that a file exports. A chunk is
   eight vectors; register r = 4*b2 + 2*b1 + b0 holds the vector at p + b2*half + b1*s1 + b0*s0 of its place (bytes). The
   steps say whether a bit of r counts rows or vectors of columns, so one body serves all four chunk shapes. Bodies that are
   met often exist a second time for chunks with at least four vectors of a row, where b1 and b0 are constants. */
#ifndef TENON_CPU_PW_TABLE_H
#define TENON_CPU_PW_TABLE_H

#include "cpu/pw_exec.h"

#include <stddef.h>

enum {
    TENON_PW_PORT_RESULT = TENON_PROGRAM_OPERANDS,                       /* ports: operands, results, temporaries */
    TENON_PW_PORT_TEMP = TENON_PW_PORT_RESULT + TENON_PROGRAM_RESULTS,
    TENON_PW_PORTS = TENON_PW_PORT_TEMP + TENON_PW_TEMPS,
    TENON_PW_TILE = 128, /* floats of a chunk, at the widest vector */
};

/* Where a cell reads or writes. A body moves its place on, so that the last body need only start the first one again. Cells
   with ports take the places in turn: a body is handed the first of its own, since looking it up delayed every load. */
typedef struct tenon_pw_place {
    char *p;
    int64_t step, half, s0, s1; /* step: from chunk to chunk */
    int64_t scatter;            /* a result whose columns are not contiguous: stores go by element */
} tenon_pw_place;

typedef struct tenon_pw_frame {
    const tenon_pw_cell *first;
    const tenon_pw_code *code;
    const tenon_pw_operand *operand;
    const tenon_pw_result *result;
    bool plain;             /* all live ports are f32 and contiguous along the columns */
    int64_t left;           /* chunks until the last body returns */
    tenon_pw_place place[TENON_PW_CELLS]; /* in the order of the cells with ports */
    int64_t lanes[8];       /* valid columns of each register when !full, for what goes element by element */
    int32_t full, width;
    TENON_ALIGNED(64) float temp[TENON_PW_TEMPS][TENON_PW_TILE];
    TENON_ALIGNED(64) double edge[TENON_PW_PORT_TEMP][TENON_PW_TILE]; /* operands and results of the last columns */
    TENON_ALIGNED(64) float arg[TENON_PW_ARITY][TENON_PW_TILE];       /* of bodies that call the scalar reference */
} tenon_pw_frame;
_Static_assert(offsetof(tenon_pw_frame, lanes) <= UINT16_MAX, "offsets of places");

/* A live operand or result in bytes. */
typedef struct tenon_pw_port { char *p; int64_t row, cs; } tenon_pw_port;
TENON_INLINE tenon_pw_port tenon_pw_port_of(const tenon_pw_frame *x, int port, int shift)
{
    if (port < TENON_PW_PORT_RESULT) {
        const tenon_pw_operand *o = &x->operand[port];
        return (tenon_pw_port){ (char *)(uintptr_t)o->base, (int64_t)((uint64_t)o->row_stride << shift),
                                (int64_t)((uint64_t)o->col_stride << shift) };
    }
    const tenon_pw_result *r = &x->result[port - TENON_PW_PORT_RESULT];
    return (tenon_pw_port){ (char *)r->base, (int64_t)((uint64_t)r->row_stride << shift),
                            (int64_t)((uint64_t)r->col_stride << shift) };
}

/* Any type and column stride, element by element, between a cell's place and a tile; in pw_scalar.c. */
void tenon_pw_fetch(const tenon_pw_frame *x, const tenon_pw_cell *q, float *tile);
void tenon_pw_put(const tenon_pw_frame *x, const tenon_pw_cell *q, const float *tile);

typedef void (*tenon_pw_any)(void); /* a body; its real type is known to the body files alone */

/* Second operands: from memory, one value a register (splat), immediate; _r: operands exchanged. NULL: not there, use mem. */
typedef struct tenon_pw_row {
    const char *name;
    uint8_t arity, params; /* params: floats of the cell; 255: the scalar function in the next cell */
    tenon_pw_any body;     /* arity 1: in place; 2, 3: others from memory */
    tenon_pw_any splat, imm, body_r, splat_r, imm_r;
} tenon_pw_row;
enum { TENON_PW_GUARDED = 255 };

typedef struct tenon_pw_bodies {
    int width;
    tenon_pw_any load[TENON_OPTIONAL + 1], stage[TENON_OPTIONAL + 1], store[TENON_OPTIONAL + 1]; /* by dtype, VECTOR;
        NULL: _any */
    tenon_pw_any load_any, stage_any, store_any, load_splat, stage_splat, load_imm, stage_imm, load_temp, spill, end;
    tenon_pw_any load_add, affine_imm, add_relu, clip_imm, affine_clip, store_f32_end; /* pairs, and the halves by which the
        compiler finds them; the second port or the second two numbers of load_add and affine_clip are in the next cell */
    tenon_pw_any load_add_add, load_add_add_relu; /* three ports, the second and the third in the next cells */
    tenon_pw_any add_mem, mul_imm, add_imm, min_imm, max_imm, relu;
    tenon_pw_any call[TENON_PW_ARITY]; /* scalar function and its parameters in the next cell (arity 3: the one after) */
    const struct tenon_pw_last { tenon_pw_any body, with_store; } *lasts; /* with store_f32_end; ends with NULL */
    const struct tenon_pw_twins { tenon_pw_any wide, narrow; } *twins; /* what to take instead; ends with NULL */
    const tenon_pw_row *row;           /* ends with name NULL */
    void (*run)(const tenon_pw_code *code, const tenon_pw_operand *operand, const tenon_pw_result *result, int64_t rows,
                int64_t cols); /* cleans the registers */
} tenon_pw_bodies;

extern const tenon_pw_bodies tenon_pw_bodies_avx512, tenon_pw_bodies_avx2;

#endif
