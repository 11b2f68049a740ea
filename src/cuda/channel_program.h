/* SPDX-License-Identifier: Apache-2.0 */
/* Programs on a map whose other operands have at most one element an image and channel: what stands before a convolution (the scale of
   a squeeze-excite), and between the products of one. The function printed is

       NAME<V>(args, n, c, v)      V neighbouring channels from c on of image n, in place; all in f32
       NAME_touch(args, c, end)    brings constants of channel c, if it is before `end`, nearer: for before tenon_wait             */
#ifndef TENON_CUDA_CHANNEL_PROGRAM_H
#define TENON_CUDA_CHANNEL_PROGRAM_H

#include "cuda/kernel_text.h"

typedef struct tenon_cuda_channels {
    const tenon_program *program;        /* NULL: values stay as they are */
    int value;                           /* operand that is the value worked on */
    int at[TENON_PROGRAM_OPERANDS];      /* place in args.at; -1: a number, or the value */
    int src[TENON_PROGRAM_OPERANDS];     /* source of the problem */
    int64_t step_n[TENON_PROGRAM_OPERANDS], step_c[TENON_PROGRAM_OPERANDS];
    const char *type[TENON_PROGRAM_OPERANDS];
    bool constant[TENON_PROGRAM_OPERANDS];
} tenon_cuda_channels;

/* NULL, or why not. map: n and channels that operands may have; next: the first free place in args.at, moved on. */
const char *tenon_cuda_channels_make(const tenon_problem *p, const tenon_program *program, int value, const tenon_type *map, int *next,
                                     tenon_cuda_channels *out, tenon_reason *scratch);
void tenon_cuda_channels_print(const tenon_cuda_channels *c, const char *name, tenon_buf *b);
/* Addresses, and which operands can be read in 16 bytes at channels that are multiples of `vector`. */
void tenon_cuda_channels_bind(const tenon_bind *b, const tenon_cuda_channels *c, int vector, tenon_cuda_args *args);

#endif
