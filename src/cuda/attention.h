/* SPDX-License-Identifier: Apache-2.0 */
/* An attention problem as the kernels see it. The index space (batch, heads, queries, elements; never merged) has the tensors of the program;
   q, k, v and the mask follow them in the arguments. Their strides and the sizes that the space does not have are numbers behind the space's
   in the shape block, printed as tenon_number(args, i):

       0..3 strides of q | 4..7 of k | 8..11 of v | 12..15 of the mask (0 where it repeats) | 16 keys | 17 query heads per key head       */
#ifndef TENON_CUDA_ATTENTION_H
#define TENON_CUDA_ATTENTION_H

#include "cuda/kernel_text.h"

enum { TENON_CUDA_ATTENTION_NUMBERS = 18, TENON_CUDA_ATTENTION_HEAD = 256 };

typedef struct tenon_cuda_attention {
    tenon_cuda_space space;
    tenon_cuda_program program;
    const tenon_value *operand[TENON_CUDA_TENSORS];      /* of the tensors of the space */
    int src[4];                                          /* q, k, v, mask; -1: no mask */
    int64_t number[TENON_CUDA_ATTENTION_NUMBERS];        /* TENON_CUDA_UNKNOWN: from the shape block */
    int head, value_head;                                /* elements of q and k, of v */
    int domain_dst;
    bool causal;
    float scale;
} tenon_cuda_attention;

/* NULL, or why the problem is none for these kernels. */
const char *tenon_cuda_attention_make(const tenon_problem *p, tenon_cuda_attention *o);
const char *tenon_cuda_attention_rejects(const tenon_problem *p, tenon_cuda_attention *o, tenon_reason *scratch);
/* The plan of a tactic but for the options of its kernel: `entry` of `text` behind the preludes, tenon_size, tenon_step, tenon_number; type
   T, D, DV, SCALE (times log2(e)), LOG2E, INFINITY_F, CAUSAL, MASK (0 none, 1 to be added, 2 bool), MASK_TYPE; and the program. */
tenon_status tenon_cuda_attention_plan(tenon_cx *cx, const tenon_problem *p, const char *text, const char *entry, tenon_tactic_plan *out);
/* Fills the shape block and the record but for grid, threads and shared memory. aligned: tensors of the program in vectors of `vector`;
   bits 28, 29, 30: rows of q, k, v are whole vectors of 16 bytes. */
tenon_status tenon_cuda_attention_bind(tenon_cx *cx, const tenon_bind *b, const tenon_cuda_attention *o, int vector, tenon_cuda_record *r);
/* Grid: blocks of `block` queries, heads, batch, at the upper end of the bucket. */
void tenon_cuda_attention_grid(const tenon_bind *b, const tenon_cuda_attention *o, int block, tenon_cuda_record *r);
/* At the tuning point. */
typedef struct tenon_cuda_attention_extent { double heads, queries, keys; } tenon_cuda_attention_extent;
tenon_cuda_attention_extent tenon_cuda_attention_opt(const tenon_problem *p);

#endif
