/* SPDX-License-Identifier: Apache-2.0 */
/* What a problem of rows is to rows.cu: which axes a row has, in which order the kernel walks the axes, which tensors take part. */
#ifndef TENON_CUDA_ROWS_PROBLEM_H
#define TENON_CUDA_ROWS_PROBLEM_H

#include "cuda/kernel_text.h"

typedef struct tenon_cuda_rows {
    tenon_cuda_space space;      /* tensor 0 is x; then scale, bias, mean, variance where there are any; the program's; statistics */
    tenon_cuda_program program;
    const tenon_program *before; /* what makes x, tensor 0 being its operand of x's shape; NULL: tensor 0 is x itself */
    int before_tensor[TENON_PROGRAM_OPERANDS];
    const tenon_value *value[TENON_CUDA_TENSORS];
    const char *kind;            /* of rows.cu */
    int x;                       /* source of the problem that tensor 0 is */
    int passes;                  /* over a row */
    uint32_t row_mask;           /* axes of the space that are within a row */
    bool columns;                /* the last axis of the space runs across rows */
    int groups, group_axis;      /* each row has channels / groups of this axis; 1: whole axes */
    bool by_group;               /* scale and bias have an entry a group */
    int scale, bias, mean, variance, stats[2]; /* tensors; -1: none */
} tenon_cuda_rows;

/* NULL, or why the problem is none of these. */
const char *tenon_cuda_rows_make(const tenon_problem *p, tenon_cuda_rows *out);
/* What is in front of the kernel's text. */
void tenon_cuda_rows_print(const tenon_problem *p, const tenon_cuda_rows *r, tenon_buf *b);
/* Sizes at the tuning point: rows outside the last axis where that runs across rows, its size, and elements of a row. */
void tenon_cuda_rows_at_opt(const tenon_problem *p, const tenon_cuda_rows *r, int64_t *rows, int64_t *columns, int64_t *length);
/* What divides the part of axis j that a row has. */
int64_t tenon_cuda_rows_divisor(const tenon_cuda_rows *r, int j);
/* The tensors of the space as bound, and the domain's sizes. */
void tenon_cuda_rows_bound(const tenon_bind *b, const tenon_cuda_rows *r, tenon_tensor *out);
void tenon_cuda_rows_domain(const tenon_cuda_rows *r, const tenon_tensor *x, int64_t *out);

#endif
