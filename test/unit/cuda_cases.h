/* SPDX-License-Identifier: Apache-2.0 */
/* Problems that reach every CUDA kernel: with and without dynamic sizes, pitches, broadcasts, tails, programs and types. */
#ifndef TENON_TEST_CUDA_CASES_H
#define TENON_TEST_CUDA_CASES_H

static const char *const cuda_case[] = {
    "add:f32,a[1..64@8]x1024,1024|silu",
    "mul:f32,4x8x15x17,4x8x1x1|relu",
    "add:f16,a[1..8]x64,(a)x64|gelu",
    "add:f32,a[1..64]x256,(a)x256|erf,tanh,exp,clip(_,{0},{6})",
    "less:f32,a[1..9]x33,33",
    "and:bool,7x9,9|not",
    "add:f32,1x8x4x4:cl,1x8x1x1:cl|hard_swish>_:cl",
    "add:f32,a[1..8]x4x64:ld80,(a)x4x64|sigmoid",
    "relu:f32,1x1",
    "cast:i64,5x6,to=f32|mul(_,f32:{0.5})",
    "add:bf16,3x5,3x5|sigmoid",
    "copy:f32,2x16x7x7:cl",
    "copy:i64,4x6",
    "copy:u8,a[1..5]x6x3:p021",
    "transpose:f32,3x4x5,perm=2+0+1",
    "matmul:f32,a[1..64@8]x256,256x1024:w|bias,gelu",
    "matmul:f32,a[1..64@8]x1024,1024x256:w|bias",
    "matmul:f32,33x65,65x17|relu,add",
    "matmul:f32,2x12xa[1..197]x64,2x12x64x(a)",
    "matmul:f16,a[1..64]x128,128x128:w|bias,silu",
    "matmul:bf16,8x128,128x40",
    "matmul:f32,5x1,1x1",
};

#endif
