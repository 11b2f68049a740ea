/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to a row of an anchor's f32 result on its way to memory, for tactics that make results row by row along one axis:
   written in place where the destination is f32 and contiguous there, else through the program (or a plain conversion). A row's
   number counts all other axes in logical order. */
#ifndef TENON_CPU_ROW_POST_H
#define TENON_CPU_ROW_POST_H

#include "cpu/nd.h"
#include "cpu/pw_exec.h"
#include "op/tactic.h"

typedef struct tenon_row_post {
    bool in_place;
    int operand_count, result_count;
    int64_t rows, cols;
    tenon_nd nd;                          /* the other axes; operands, results, then what the tactic adds */
    int64_t col[TENON_ND_TENSORS];        /* strides along the axis */
    char *base[TENON_ND_TENSORS];
    int bytes[TENON_ND_TENSORS];
    tenon_pw_code code;
} tenon_row_post;

const char *tenon_row_post_reject(const tenon_problem *p, const tenon_anchor *a);
tenon_status tenon_row_post_bind(tenon_cx *cx, const tenon_bind *b, const tenon_anchor *a, int axis, tenon_row_post *out);
/* A further tensor over the same domain (broadcast): its number for tenon_row_post_at. */
int tenon_row_post_add(tenon_row_post *r, const tenon_tensor *t, int axis);
/* After the last tensor: merges axes, so that finding a row takes few divisions. */
static inline void tenon_row_post_seal(tenon_row_post *r) { tenon_nd_merge(&r->nd); }
static inline char *tenon_row_post_at(const tenon_row_post *r, int tensor, int64_t row)
{
    return r->base[tensor] + tenon_nd_offset(&r->nd, tensor, r->nd.rank, row) * r->bytes[tensor];
}
/* Where the row is to be computed: its own place, or `scratch` of cols floats. */
static inline float *tenon_row_post_target(const tenon_row_post *r, int64_t row, float *scratch)
{
    return r->in_place ? (float *)(void *)tenon_row_post_at(r, r->operand_count, row) : scratch;
}
void tenon_row_post_run(const tenon_row_post *r, int64_t row, const float *value); /* nothing when in place */

#endif
