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
    "matmul:f16,128x768,768x768:w|bias,add",
    "matmul:f16,1x2048,2048x1000:w|bias",
    "matmul:bf16,a[1..64]x128x64,64x2:w|bias",
    "matmul:f16,2x12xa[1..197]x64:p0213,2x12x64x(a):p0231",
    "matmul:f16,2x12x64x64:p0132,2x12x64x33",
    "conv:f16,n1c64h56w56:cl,k64c64r3s3:w,pads=1+1+1+1|bias,add,relu>_:cl",
    "conv:f16,n1c3h224w224,k64c3r7s7:w,strides=2+2,pads=3+3+3+3|bias,relu>_:cl",
    "conv:f16,na[1..4@2]c2048h7w7:cl,k512c2048r1s1:w|bias,relu>_:cl",
    "conv:bf16,n2c24h9w11:cl,k40c24r3s3:w,40,pads=1+1+1+1,dilations=2+1>_:cl",
    "conv:f16,n1c16ha[8..40@20]wb[8..40@20]:cl,k24c16r3s3:w,pads=1+1+1+1|bias,silu>_:cl",
    "t=cast:f32,1x3x32x32,to=f16;conv:t,k16c3r3s3:w,strides=2+2,pads=1+1+1+1|bias,hard_swish>_:cl",
};

#endif
