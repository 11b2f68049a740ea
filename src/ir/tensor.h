/* SPDX-License-Identifier: Apache-2.0 */
/* A tensor at run time: a borrowed pointer with type, dimensions and strides (in elements). Dimensions are always in the
   logical order of ONNX (n, c, h, w); the layout is in the strides. TENON_SEQUENCE and TENON_OPTIONAL tensors have rank 0
   and data pointing to a tenon_sequence; TENON_STRING elements are tenon_string. 4-bit types are two a byte, dense only. */
#ifndef TENON_IR_TENSOR_H
#define TENON_IR_TENSOR_H

#include "ir/dtype.h"

typedef struct tenon_tensor {
    tenon_dtype dtype;
    int rank;
    int64_t dim[TENON_MAX_RANK];
    int64_t stride[TENON_MAX_RANK]; /* elements; 0 repeats */
    void *data;
} tenon_tensor;

typedef struct tenon_string { const char *data; size_t length; } tenon_string;
/* An optional is a sequence of zero or one. Items own their data in the heap the sequence came from. */
typedef struct tenon_sequence { size_t count; tenon_tensor *item; } tenon_sequence;

int64_t tenon_tensor_count(const tenon_tensor *t); /* elements */
void tenon_tensor_dense(tenon_tensor *t);          /* sets row-major strides from dim */
void tenon_tensor_channels_last(tenon_tensor *t);  /* n, spatial..., c */
bool tenon_tensor_is_dense(const tenon_tensor *t); /* row-major; strides of 1-sized axes do not matter */
/* Element access by any strides, converting: slow, for references and checks. `index` is the flat row-major index. */
int64_t tenon_tensor_offset(const tenon_tensor *t, int64_t index);
double tenon_tensor_get_f64(const tenon_tensor *t, int64_t offset);
int64_t tenon_tensor_get_i64(const tenon_tensor *t, int64_t offset);
void tenon_tensor_set_f64(const tenon_tensor *t, int64_t offset, double v); /* rounds to nearest even; ints saturate */
void tenon_tensor_set_i64(const tenon_tensor *t, int64_t offset, int64_t v); /* wraps */
/* Copies values between any layouts of the same dtype and dims. */
void tenon_tensor_copy(const tenon_tensor *dst, const tenon_tensor *src);

#endif
