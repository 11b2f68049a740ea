/* SPDX-License-Identifier: Apache-2.0 */
/* What a move is to moves.cu: the result's axes as an index space, and the sources with their dims and strides behind it:

       numbers of the space | dims of source 0 | its strides | dims of source 1 | ... | parameters that are not constant     */
#ifndef TENON_CUDA_MOVES_PROBLEM_H
#define TENON_CUDA_MOVES_PROBLEM_H

#include "cuda/kernel_text.h"

enum { TENON_CUDA_MOVE_SOURCES = 20 };

typedef struct tenon_cuda_move_source {
    const tenon_value *value; /* NULL: absent */
    tenon_cuda_tensor tensor;
    int first;                /* of its numbers in the shape block */
    int along;                /* its axis that the innermost axis of the space runs along; -1: none does */
} tenon_cuda_move_source;

typedef struct tenon_cuda_moves {
    tenon_cuda_space space;   /* of the result (split: of the source), no axis merged; tensor 0 is that where there is no program */
    tenon_cuda_program program;
    const tenon_value *value[TENON_CUDA_TENSORS]; /* of the space's tensors */
    const tenon_value *domain;                    /* whose axes the space has */
    int source_count;         /* split: its results */
    tenon_cuda_move_source source[TENON_CUDA_MOVE_SOURCES];
    /* What the problem's parameters say. pad: what is put in front, by axis; slice: where it begins, in elements, then its strides;
       range: start, delta. */
    int param_count;
    bool params_known;        /* param[] is in the kernel's text, else in the shape block */
    int64_t param[TENON_MAX_RANK + 1];
    int kind, axis;
    bool bounded;             /* no size depends on contents */
} tenon_cuda_moves;

/* NULL, or why the problem is none of these. */
const char *tenon_cuda_moves_make(const tenon_problem *p, tenon_cuda_moves *out);
int tenon_cuda_moves_vector(const tenon_cuda_moves *m); /* elements a thread at most */
int tenon_cuda_moves_numbers(const tenon_cuda_moves *m);
void tenon_cuda_moves_print(const tenon_problem *p, const tenon_cuda_moves *m, tenon_buf *b);
/* Tensor t of the space, or source t - space.count; NULL: absent. */
const tenon_tensor *tenon_cuda_moves_bound(const tenon_bind *b, const tenon_cuda_moves *m, int t);
/* Parameters for the shape block. */
tenon_status tenon_cuda_moves_params(tenon_cx *cx, const tenon_bind *b, const tenon_cuda_moves *m, int64_t *out);
const int64_t *tenon_cuda_moves_domain(const tenon_bind *b, const tenon_cuda_moves *m, bool most);

#endif
