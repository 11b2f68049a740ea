/* SPDX-License-Identifier: Apache-2.0 */
/* What the operators that only move elements have in common: copying between any strides, results of references, symbolic
   contents, sizes known only at run time. The value rule of all of them is one function: the reference is run on the
   positions of the elements, and the contents follow the positions. */
#ifndef TENON_OP_MOVE_H
#define TENON_OP_MOVE_H

#include "op/eval.h"

double tenon_move_flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst); /* 0 */

/* ---- references ---- */
size_t tenon_move_element_bytes(tenon_dtype t); /* of one element in host memory; 0 for the packed 4-bit types */
/* Copies one element (offsets in elements); the dtypes are equal. */
void tenon_move_element(const tenon_tensor *dst, int64_t dst_offset, const tenon_tensor *src, int64_t src_offset);
/* Next multi-index in row-major order; false after the last. Start from all zeros with every dim > 0. */
bool tenon_move_next(int rank, const int64_t *dim, int64_t *index);
/* Copies a box of `dim` between two strided places of equal dtype. Strides may be 0 or negative. */
void tenon_move_box(const tenon_tensor *dst, int64_t dst_offset, const int64_t *dst_stride, const tenon_tensor *src,
                    int64_t src_offset, const int64_t *src_stride, int rank, const int64_t *dim);
/* Result i gets this type and dims and memory for them. A result that stands ready must agree. Nothing for unwanted ones. */
tenon_status tenon_move_result(tenon_cx *cx, tenon_eval_call *call, int i, tenon_dtype dtype, int rank, const int64_t *dim);
/* Result i becomes `value`: shared when the result has no place of its own yet, else copied. Any dtype. */
tenon_status tenon_move_give(tenon_cx *cx, tenon_eval_call *call, int i, const tenon_tensor *value);
/* A deep copy in the heap, dense, strings and sequences included. */
tenon_status tenon_move_clone(tenon_cx *cx, tenon_heap *heap, const tenon_tensor *src, tenon_tensor *out);
/* Source i as integers, at most `max`; an absent source gives *count -1. */
tenon_status tenon_move_ints(tenon_cx *cx, const tenon_eval_call *call, int i, int max, int64_t *out, int *count);
static inline bool tenon_move_has(const tenon_eval_call *call, int i)
{
    return i < call->src_count && call->src[i].dtype != TENON_DTYPE_NONE;
}
static inline bool tenon_move_wanted(const tenon_eval_call *call, int i)
{
    return i < call->dst_count && call->dst[i].dtype != TENON_DTYPE_NONE;
}

/* ---- infer rules ---- */
static inline bool tenon_move_present(const tenon_node *n, int i) { return i < n->src_count && n->src[i] != NULL; }
/* Source 0 of unknown rank: all results get its type (and unknown rank), and the rule is done. */
bool tenon_move_unranked(tenon_node *n);
/* Contents of all results from those of the sources in `data` (bits); the other sources must be constants. Call last. Results
   stay without contents when something is not known. */
tenon_status tenon_move_values(tenon_cx *cx, tenon_graph *g, tenon_node *n, unsigned data);
/* Sets the type of result i. A size whose expression is too large to be followed (NULL) becomes one known only at run time. */
void tenon_move_set(tenon_graph *g, tenon_node *n, int i, tenon_dtype dtype, int rank, const tenon_dim *const *dim);
/* Contents of result i, copied into the arena; sym NULL: not known. */
tenon_status tenon_move_set_contents(tenon_graph *g, tenon_node *n, int i, const tenon_dim *const *sym, size_t count);
/* A size known only at run time, for axis `axis` of result i: the one it had before if infer ran before. */
const tenon_dim *tenon_move_fresh(tenon_graph *g, const tenon_node *n, int i, int axis, const char *prefix, int64_t lo,
                                  int64_t hi);
/* a / b when b divides a as an expression, else NULL. Both must be there. */
const tenon_dim *tenon_move_divide(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b);
/* A constant integer among contents. */
static inline bool tenon_move_const(const tenon_dim *d, int64_t *out)
{
    if (d == NULL || !tenon_dim_is_const(d)) return false;
    *out = d->value;
    return true;
}

/* The box of a slice: per axis of source 0 where it starts (in elements of that axis), its step and its size. A size that is
   not known (unknown starts, ends or steps) is NULL, and so is its start. */
typedef struct tenon_slice {
    const tenon_dim *start[TENON_MAX_RANK], *size[TENON_MAX_RANK];
    int64_t step[TENON_MAX_RANK];
} tenon_slice;
tenon_status tenon_slice_of(tenon_cx *cx, tenon_graph *g, const tenon_node *n, tenon_slice *out);
/* The same in numbers: starts, ends, axes and steps as given, count[i] of them (-1: absent; the two first must be there). The box has
   `dim`, and lies in x at the offset with these strides, in elements. */
tenon_status tenon_slice_box(tenon_cx *cx, const tenon_tensor *x, const int64_t given[4][TENON_MAX_RANK], const int count[4],
                             int64_t *offset, int64_t *dim, int64_t *stride);
/* The sizes of the pieces of a split, one a result. */
tenon_status tenon_split_sizes(tenon_cx *cx, tenon_graph *g, const tenon_node *n, int axis, const tenon_dim **size);

#endif
