/* SPDX-License-Identifier: Apache-2.0 */
/* cuBLASLt's interface in our own declarations, and what its tactic uses of it. Descriptors lie in the caller's memory, so that
   binding a step allocates nothing. Matrices are the library's: columns are contiguous; a row-major product is computed as its
   transpose, D' = B' A'. */
#ifndef TENON_CUDA_CUBLASLT_H
#define TENON_CUDA_CUBLASLT_H

#include "cuda/libraries.h"

typedef struct tenon_lt_handle_object *tenon_lt_handle;
typedef struct tenon_lt_operation {
    uint64_t data[32];
} tenon_lt_operation;
typedef struct tenon_lt_layout {
    uint64_t data[8];
} tenon_lt_layout;
typedef struct tenon_lt_preference {
    uint64_t data[8];
} tenon_lt_preference;
typedef struct tenon_lt_algorithm {
    uint64_t data[8];
} tenon_lt_algorithm;
typedef struct tenon_lt_heuristic {
    tenon_lt_algorithm algorithm;
    size_t workspace_bytes;
    int state;
    float waves;
    int reserved[4];
} tenon_lt_heuristic;
_Static_assert(sizeof(tenon_lt_heuristic) == 96, "as the library has it");

/* Numbers of the library's interface. */
enum {
    TENON_LT_F32 = 0,
    TENON_LT_F16 = 2,
    TENON_LT_BF16 = 14,
    TENON_LT_COMPUTE_F32 = 68,
    TENON_LT_COMPUTE_TF32 = 77,
    TENON_LT_TRANSPOSE_A = 3,
    TENON_LT_TRANSPOSE_B = 4,
    TENON_LT_EPILOGUE = 7,
    TENON_LT_BIAS_POINTER = 8, /* of an operation */
    TENON_LT_BATCH_COUNT = 5,
    TENON_LT_BATCH_STRIDE = 6, /* of a layout */
    TENON_LT_MOST_WORKSPACE = 1,
    TENON_LT_REDUCTIONS = 3,
    TENON_LT_ALIGN_A = 5, /* of a preference; then B, C, D */
    TENON_LT_REDUCE_IN_COMPUTE_TYPE = 2,
    TENON_LT_EPILOGUE_NONE = 1,
    TENON_LT_EPILOGUE_RELU = 2,
    TENON_LT_EPILOGUE_BIAS = 4,
    TENON_LT_EPILOGUE_GELU = 32,
    TENON_LT_NOT_SUPPORTED = 15,
};

#define SYMBOL(returns, name, arguments, need) returns(*name) arguments;
typedef struct tenon_cublaslt {
    tenon_dl dl;
    int version; /* 130100 */
#include "cuda/sym/cublaslt.def"
} tenon_cublaslt;
#undef SYMBOL

extern const tenon_cuda_library tenon_cublaslt_library;
/* The library, opened at the first call of the process and never closed. NULL: it is not there, with the reason. */
const tenon_cublaslt *tenon_cublaslt_open(tenon_cx *cx, const char **missing);
void tenon_lt_context_destroy(tenon_cuda_libraries *libraries);

/* A product, all numbers: what the text of a "kernel" holds. m is the library's: the columns of the row-major result. */
typedef struct tenon_lt_product {
    int64_t type, compute, m, n, k, batch;
    int64_t transpose_a, transpose_b; /* a: the row-major product's right operand */
    int64_t ld_a, ld_b, ld_c, ld_d;
    int64_t step_a, step_b, step_c, step_d; /* from matrix to matrix of the batch */
    int64_t epilogue, has_c;
    int64_t rank, workspace_bytes; /* the rank-th algorithm of the heuristic, within the workspace */
} tenon_lt_product;

/* What an image holds: an algorithm for addresses at multiples of 16, and one for any. */
typedef struct tenon_lt_image {
    char magic[8];
    uint64_t version, workspace_bytes[2];
    tenon_lt_algorithm algorithm[2];
} tenon_lt_image;

typedef struct tenon_lt_loaded {
    tenon_cuda_loaded head;
    const tenon_cublaslt *lt;
    tenon_lt_handle handle;
    tenon_lt_image image;
} tenon_lt_loaded;

typedef struct tenon_lt_descriptors {
    tenon_lt_operation operation;
    tenon_lt_layout a, b, c, d;
} tenon_lt_descriptors;
tenon_status tenon_lt_check(tenon_cx *cx, const tenon_cublaslt *lt, int error, const char *what);
tenon_status tenon_lt_describe(tenon_cx *cx, const tenon_cublaslt *lt, const tenon_lt_product *p, const void *bias,
                               tenon_lt_descriptors *out);
/* Asks the heuristic for an algorithm whose addresses are multiples of `align`, into slot 0 or 1 of the image. Allocates inside
   the library. */
tenon_status tenon_lt_choose(tenon_cx *cx, const tenon_cublaslt *lt, tenon_lt_handle handle, const tenon_lt_product *p,
                             uint32_t align, tenon_lt_image *image, int slot);

#endif
