/* SPDX-License-Identifier: Apache-2.0 */
/* Rows times packed panels, the walk that matmul and convolution share. Rows are pointers, K is a list of segments behind each of
   them, B is packed by panels of `vectors` vectors ([panel][k][width], the last panel narrower):

       for a block of rows (A of the block stays in L2)
         for a panel of columns (KC x width of it stays in L1 or L2)
           for blocks of K, for tiles of rows: one kernel call

   The first blocks of K leave their sums in the destination, or in a tile buffer when a program follows. A residual is added with
   the first block, so that it may lie exactly where the result goes. */
#ifndef TENON_CPU_PRODUCT_F32_H
#define TENON_CPU_PRODUCT_F32_H

#include "cpu/epilogue_f32.h"

enum {
    TENON_PRODUCT_SEGMENTS = 128,
    TENON_PRODUCT_KC = 768,        /* floats of K in a block, about */
    TENON_PRODUCT_ROWS = 256,      /* most rows of a block */
    TENON_PRODUCT_TILE_ROWS = 40,  /* rows of the tile buffer */
};

typedef struct tenon_product_f32 {
    const tenon_cpu_f32 *kernels;
    int vectors, segment_count, block_count;
    int64_t k, columns;        /* of one group */
    int64_t width, panels;     /* of a panel; of one group */
    tenon_f32_segment segment[TENON_PRODUCT_SEGMENTS];
    struct { int16_t first, count; int32_t k; } block[TENON_PRODUCT_SEGMENTS];
} tenon_product_f32;

/* Sets everything from segments in the order of K: long ones are cut, short ones joined to blocks of about `kc`.
   false: too many. */
bool tenon_product_f32_init(tenon_product_f32 *p, const tenon_cpu_f32 *kernels, int vectors, int64_t columns, int64_t kc,
                            const tenon_f32_segment *segment, int count);
static inline int64_t tenon_product_f32_width(const tenon_product_f32 *p, int64_t panel)
{
    const int64_t left = p->columns - panel * p->width, vw = p->kernels->vw;
    return left >= p->width ? p->width : (left + vw - 1) / vw * vw;
}
/* Floats of one group's packed columns. */
int64_t tenon_product_f32_packed(int vw, int64_t columns, int64_t k);
/* Vectors of a panel that suit the shape best; `rank` 0 the best, 1 the next, ... */
int tenon_product_f32_vectors(const tenon_cpu_f32 *kernels, int64_t rows, int64_t columns, int64_t k, int rank);
/* Rows of a block, so that its part of A stays in L2. */
int64_t tenon_product_f32_rows(int64_t k);

/* A block of rows of one outer index, panels [panel, panel_end) of one group. row[i]: start of A for domain row first_row + i.
   b: this group's packed B; column: the group's first column in the domain. tile: TENON_PRODUCT_TILE_ROWS x width floats. */
typedef struct tenon_product_call {
    const float *const *row;
    int64_t outer, first_row, rows, a_offset, column, panel, panel_end;
    const float *b;
    float *tile;
} tenon_product_call;
void tenon_product_f32_run(const tenon_product_f32 *p, const tenon_epilogue_f32 *e, const tenon_domain *d,
                           const tenon_product_call *c);
/* The same for one panel whose B does not lie packed whole: `b` gives the block of K. With ldb 0 it is packed. */
typedef const float *(*tenon_product_b)(void *user, int64_t panel, int block, int64_t *ldb);
void tenon_product_f32_run_b(const tenon_product_f32 *p, const tenon_epilogue_f32 *e, const tenon_domain *d,
                             const tenon_product_call *c, tenon_product_b b, void *user);

/* ---- sharing among members ---- */
typedef struct tenon_grid { int row_members, panel_members; } tenon_grid;
enum { TENON_SPLIT_AUTO, TENON_SPLIT_ROWS, TENON_SPLIT_PANELS };
/* units: of rows, unit_rows each; copy: floats copied for each unit by every member that works on it. */
tenon_grid tenon_grid_choose(const tenon_product_f32 *p, int threads, int mode, int64_t units, int64_t unit_rows, int64_t groups,
                             double copy);
/* The member's share; false: none. */
bool tenon_grid_share(const tenon_grid *g, int member, int64_t units, int64_t grain, int64_t panels, int64_t *unit,
                      int64_t *unit_end, int64_t *panel, int64_t *panel_end);

#endif
