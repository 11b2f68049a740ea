/* SPDX-License-Identifier: Apache-2.0 */
/* Pointwise programs as CUDA C: what a kernel's text gets in front of it. The functions printed are

       tenon_class                                 what the program computes in: float, double or long long
       tenon_program(o0, o1, ..., r0, ...)         one element, from the rows' `cuda` expressions
       tenon_body<V>(args, at, anchor)             V neighbours along the last axis: loads, program, stores; at: element offset of each
                                                   tensor of the index space; anchor: V values of operand 0, or nullptr          */
#ifndef TENON_CUDA_KERNEL_TEXT_H
#define TENON_CUDA_KERNEL_TEXT_H

#include "cuda/index_space.h"

typedef struct tenon_cuda_program {
    const tenon_program *program;             /* NULL: the anchor's result is stored as it is */
    int operand[TENON_PROGRAM_OPERANDS];      /* tensor of the space; -1: a number, or the anchor's result */
    int result[TENON_PROGRAM_RESULTS];
    tenon_class class_;                       /* of the program; without one, of the anchor's type */
} tenon_cuda_program;

const char *tenon_cuda_type(tenon_dtype t); /* its name in prelude.cu; NULL: kernels do not have it */
const char *tenon_cuda_access(const tenon_cuda_space *s, int t); /* of tensor t along the last axis: a tenon_access of prelude.cu */
/* NULL, or why a program cannot be printed. */
const char *tenon_cuda_program_rejects(const tenon_program *p, tenon_reason *scratch);
void tenon_cuda_program_print(const tenon_cuda_program *p, const tenon_cuda_space *s, tenon_buf *b);
/* The one function alone: NAME(o0, ..., r0, ...); without a program r0 is o0. */
void tenon_cuda_function_print(const tenon_program *p, tenon_class class_, const char *name, tenon_buf *b);
/* A program in front of an anchor: tenon_before<V>(args, at, out) gives V neighbours of what the program makes, as a tensor of `type` would
   hold them, in the numbers of `out`. tensor: of each operand in the space, -1 for a number. */
void tenon_cuda_before_print(const tenon_program *p, const int *tensor, const tenon_cuda_space *s, tenon_dtype type, tenon_buf *b);
/* After that, for programs in f32: operands fetched early. tenon_hold<V>(args, at, held) reads them as they are, vectors whole, so all
   that are contiguous must be aligned; tenon_body_held<V>(args, at, anchor, held) is tenon_body without the loads. */
void tenon_cuda_program_print_held(const tenon_cuda_program *p, const tenon_cuda_space *s, tenon_buf *b);

/* Adds operands and results of a program to the space. anchor: the value the program works on, whose result type the (single) result
   has when there is no program. NULL, or why it does not fit. */
const char *tenon_cuda_program_add(const tenon_problem *p, const tenon_program *program, const tenon_value *anchor, tenon_cuda_space *s,
                                   tenon_cuda_program *out);
/* The same over a domain with other axes than the result has (reduced ones, axes split in two): result_axis is the result's axis of each
   axis of the domain, -1 where there is none. */
const char *tenon_cuda_program_add_mapped(const tenon_problem *p, const tenon_program *program, const tenon_value *anchor, const int *result_axis,
                                          tenon_cuda_space *s, tenon_cuda_program *out);
/* The plan of a tactic with one kernel, but for its options, packed weights and what may lie in place: `entry` of what is in `take_b`
   and then `text`, in the problem's arena; the buffer is freed, whatever comes of it. shape_count, own: as in tenon_tactic_plan. */
tenon_status tenon_cuda_kernel_plan(tenon_cx *cx, const tenon_problem *p, tenon_buf *take_b, const char *text, const char *entry,
                                    int shape_count, const void *own, tenon_tactic_plan *out);

#endif
