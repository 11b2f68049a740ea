/* SPDX-License-Identifier: Apache-2.0 */
/* The index space of a kernel: some axes, and tensors with strides over them. It is made from a problem's symbolic shapes and
   formats when a step is planned: axes of size 1 are dropped, neighbours that are one run of memory in all tensors are merged, and
   what is a number for every size (a dim, a stride, "contiguous") is printed into the kernel. What is not, the kernel
   reads from the shape block, which the same space fills when a step is bound:

       dim of axis 0 .. rank-1 | strides of tensor 0: axis 0 .. rank-1 | strides of tensor 1 | ...                        */
#ifndef TENON_CUDA_INDEX_SPACE_H
#define TENON_CUDA_INDEX_SPACE_H

#include "cuda/backend.h"

enum { TENON_CUDA_UNKNOWN = -1 };

typedef struct tenon_cuda_tensor {
    const tenon_type *type;
    const tenon_format *format;
    int axis[TENON_MAX_RANK];       /* tensor axis of each axis of the domain; -1: it repeats along it */
    bool loose[TENON_MAX_RANK];     /* may turn out to be of size 1 where the domain is not */
    int64_t stride[TENON_MAX_RANK]; /* of each axis of the space, where the same for every size; else TENON_CUDA_UNKNOWN */
} tenon_cuda_tensor;

typedef struct tenon_cuda_space {
    tenon_dim_pool *pool;
    int domain_rank;                /* the domain as the problem has it... */
    const tenon_dim *domain[TENON_MAX_RANK];
    int rank;                       /* ...and merged: axis j is the domain axes begin[j] .. end[j]-1 of order[] */
    int order[TENON_MAX_RANK], begin[TENON_MAX_RANK], end[TENON_MAX_RANK];
    uint8_t group[TENON_MAX_RANK];  /* of each place of order[], set before finish: axes of different groups are never merged */
    uint8_t axis_group[TENON_MAX_RANK]; /* of each axis of the space */
    const tenon_dim *dim[TENON_MAX_RANK];
    int count;
    tenon_cuda_tensor tensor[TENON_CUDA_TENSORS];
} tenon_cuda_space;

/* order: the domain's axes as the kernel walks them, outermost first; NULL: as they are. */
void tenon_cuda_space_init(tenon_cuda_space *s, tenon_dim_pool *pool, int rank, const tenon_dim *const *dim, const uint8_t *order);
/* Adds a tensor; its index, or -1 when there are too many. axis: tensor axis of each domain axis or -1; NULL: right-aligned
   broadcasting. */
int tenon_cuda_space_add(tenon_cuda_space *s, const tenon_type *type, const tenon_format *format, const int *axis);
/* Drops and merges. The last `keep` axes are neither dropped nor merged with one another. False: out of memory or numbers. */
bool tenon_cuda_space_finish(tenon_cuda_space *s, int keep);
/* Numbers in the shape block. */
int tenon_cuda_space_numbers(const tenon_cuda_space *s);
/* Elements at most, INT64_MAX when unbounded. */
int64_t tenon_cuda_space_most(const tenon_cuda_space *s);
/* Prints tenon_size(args, axis), tenon_step(args, tensor, axis): numbers, or reads of the shape block. */
void tenon_cuda_space_print(const tenon_cuda_space *s, tenon_buf *b);

/* Fills the numbers from bound tensors (dims of the domain and one tensor each). TENON_INTERNAL when a stride is not what was
   printed. */
tenon_status tenon_cuda_space_bind(tenon_cx *cx, const tenon_cuda_space *s, const int64_t *domain, const tenon_tensor *const *tensor, int64_t *out);
/* The sizes of the merged axes for dims of the domain. */
void tenon_cuda_space_sizes(const tenon_cuda_space *s, const int64_t *domain, int64_t *out);
/* Whether tensor t is contiguous along the last axis, and whether `vector` elements of it can be accessed at once, as bound. */
int64_t tenon_cuda_known_stride(const tenon_cuda_tensor *t, int axis); /* of a tensor axis; TENON_CUDA_UNKNOWN */
bool tenon_cuda_space_is_unit(const tenon_cuda_space *s, int t);
bool tenon_cuda_space_is_aligned(const tenon_cuda_space *s, int t, const int64_t *number, const tenon_tensor *tensor, int vector);

#endif
