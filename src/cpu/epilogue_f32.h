/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to the accumulators of a product or convolution on their way to memory, and where in memory that is.

   A result is seen as a domain: outer (images, batches) x rows (pixels, y * x of them) x columns (channels). Every tensor that
   takes part - results, residuals, vectors, scales - is a map from domain to address. Programs of the form [+ vector] [+
   residual] [relu | clip] are `direct`: the kernels do them in registers. All others run as pointwise programs over a tile of
   accumulators. */
#ifndef TENON_CPU_EPILOGUE_F32_H
#define TENON_CPU_EPILOGUE_F32_H

#include "cpu/kernels_f32.h"
#include "cpu/pw_exec.h"
#include "op/tactic.h"

enum { TENON_DOMAIN_OUTER = TENON_MAX_RANK - 2 };

/* Roles of a result's axes: an outer index 0..5, or one of these. */
enum { TENON_ROLE_Y = 16, TENON_ROLE_X, TENON_ROLE_COLUMN };
typedef struct tenon_roles { int rank; uint8_t of[TENON_MAX_RANK]; } tenon_roles;
tenon_roles tenon_roles_image(int rank);  /* (n, c, w) or (n, c, h, w): n outer, c columns */
tenon_roles tenon_roles_matrix(int rank); /* (..., m, n): m rows, n columns */

typedef struct tenon_domain {
    int outer_rank;
    int64_t outer[TENON_DOMAIN_OUTER];
    int64_t y, x, columns; /* y * x rows */
} tenon_domain;

typedef struct tenon_map {
    char *base;
    int64_t outer[TENON_DOMAIN_OUTER], y, x, column; /* strides in elements */
    int bytes;                                       /* of an element */
} tenon_map;

void tenon_domain_of(const tenon_tensor *result, const tenon_roles *roles, tenon_domain *out);
/* `t` broadcasts (right-aligned) to the tensor whose axes have these roles. */
void tenon_map_of(const tenon_tensor *t, const tenon_roles *roles, tenon_map *out);
/* Rows of different y are as regular as those of one y. */
static inline bool tenon_map_flat(const tenon_map *m, const tenon_domain *d) { return d->y == 1 || m->y == d->x * m->x; }
/* Element offset of the outer index (row-major over d->outer). */
int64_t tenon_map_outer(const tenon_map *m, const tenon_domain *d, int64_t outer);
/* Address; `offset` from tenon_map_outer. */
static inline char *tenon_map_at(const tenon_map *m, const tenon_domain *d, int64_t offset, int64_t row, int64_t column)
{
    return m->base + m->bytes * (offset + row / d->x * m->y + row % d->x * m->x + column * m->column);
}

typedef struct tenon_epilogue_f32 {
    bool direct; /* result[0] is written by the kernels */
    bool flat;   /* all maps are: a tile may span several y */
    bool has_add, clamp;
    float lo, hi;
    const float *start; /* vector over the columns that accumulators start from, or NULL */
    tenon_map add;
    int operand_count, result_count;
    tenon_map operand[TENON_PROGRAM_OPERANDS], result[TENON_PROGRAM_RESULTS];
    tenon_pw_code code; /* when not direct */
} tenon_epilogue_f32;

/* The format's innermost axis (axes of size 1 aside) is `axis` of the value. */
bool tenon_format_contiguous(const tenon_operand *o, int axis);
/* The post program's operands and results are memory of the problem, columns of results contiguous; the anchor is f32. */
const char *tenon_epilogue_f32_reject(const tenon_problem *p, const tenon_anchor *a, const tenon_roles *roles);
/* `bias`: a tensor of one value a column that is added first, or NULL. `can_add`: the kernels can add a residual. */
tenon_status tenon_epilogue_f32_bind(tenon_cx *cx, const tenon_bind *b, const tenon_anchor *a, const tenon_roles *roles,
                                     const tenon_domain *d, const tenon_tensor *bias, bool can_add, unsigned isa,
                                     tenon_epilogue_f32 *out);
/* Not direct: takes a tile of accumulators through the program. With !flat all rows must have one y. */
void tenon_epilogue_f32_run(const tenon_epilogue_f32 *e, const tenon_domain *d, int64_t outer, int64_t row, int64_t rows,
                            int64_t column, int64_t columns, const float *tile, int64_t tile_ld);

#endif
