/* SPDX-License-Identifier: Apache-2.0 */
/* A matmul or convolution of one tap as a product for cuBLASLt: what cublaslt_matmul.c makes of a problem, for it and for the tactic
   that puts a kernel of ours behind the product. */
#ifndef TENON_CUDA_CUBLASLT_PRODUCT_H
#define TENON_CUDA_CUBLASLT_PRODUCT_H

#include "cuda/cublaslt.h"
#include "cuda/index_space.h"

enum { TENON_LT_A, TENON_LT_B, TENON_LT_D, TENON_LT_C, TENON_LT_TENSORS }; /* of the index space, as the row-major product has them */

typedef struct tenon_lt_step {
    tenon_cuda_space space;
    int src[TENON_LT_TENSORS], dst, bias;               /* problem sources and result; -1: none */
    int rows, batch;                                    /* axes of the space; -1: one */
    int depth_a, depth_b, columns_b, columns_d;         /* axes of the tensors */
    bool depth_last_a, columns_last_b;                  /* contiguous along it */
    float alpha;
    tenon_lt_product product;                           /* at the tuning point */
} tenon_lt_step;

typedef struct tenon_lt_record {
    const tenon_lt_loaded *loaded;
    tenon_lt_descriptors descriptors;
    tenon_lt_algorithm algorithm;
    const void *a, *b, *c;
    void *d, *workspace;
    size_t workspace_bytes;
    float alpha, beta;
    uint64_t empty;
} tenon_lt_record;

/* NULL, or why it is no product of the library's. bare: of the anchor alone, whatever stands behind it; the result is the problem's. */
const char *tenon_lt_step_make(const tenon_problem *p, bool bare, tenon_lt_step *o);
const char *tenon_lt_step_rejects(const tenon_problem *p, bool bare, const tenon_variant *v, const tenon_device *device, bool tf32,
                                  tenon_reason *scratch);
/* The step and its "kernel"; workspace: o->product.workspace_bytes. */
tenon_status tenon_lt_step_plan(tenon_cx *cx, const tenon_problem *p, bool bare, const tenon_variant *v, bool tf32, tenon_lt_step *o,
                                tenon_kernel_source *out);
/* The library's kernel is the plan's first. */
tenon_status tenon_lt_step_bind(tenon_cx *cx, const tenon_bind *b, const tenon_lt_step *o, tenon_lt_record *r);
tenon_status tenon_lt_step_run(const void *record, void *exec);

#endif
