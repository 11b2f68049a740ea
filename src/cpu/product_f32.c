/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over row blocks, panels, blocks of K and tiles, and how members share it. */
#include "cpu/product_f32.h"

#include "base/checked.h"
#include "base/team.h"

bool tenon_product_f32_init(tenon_product_f32 *p, const tenon_cpu_f32 *kernels, int vectors, int64_t columns, int64_t kc,
                            const tenon_f32_segment *segment, int count)
{
    int64_t k = 0;
    for (int i = 0; i < count; i++) k += segment[i].length;
    *p = (tenon_product_f32){.kernels = kernels, .vectors = vectors, .k = k, .columns = columns};
    p->width = (int64_t)vectors * kernels->vw;
    p->panels = tenon_ceil_div(columns, p->width);
    /* a K that is only a little longer than kc is not cut; very long ones are cut into fewer, longer pieces */
    kc = TENON_MAX(kc, tenon_ceil_div(k, TENON_PRODUCT_SEGMENTS / 4));
    if (k <= kc + kc / 3) kc = k;
    for (int i = 0; i < count; i++) {
        const int64_t length = segment[i].length, pieces = TENON_MAX((length + kc / 2) / TENON_MAX(kc, 1), 1);
        for (int64_t j = 0; j < pieces; j++) {
            const int64_t a = length * j / pieces, b = length * (j + 1) / pieces;
            if (p->segment_count == TENON_PRODUCT_SEGMENTS) return false;
            const bool join = p->block_count && p->block[p->block_count - 1].k + (b - a) <= kc;
            if (!join) {
                p->block[p->block_count].first = (int16_t)p->segment_count;
                p->block[p->block_count].count = 0;
                p->block[p->block_count++].k = 0;
            }
            p->block[p->block_count - 1].count++;
            p->block[p->block_count - 1].k += (int32_t)(b - a);
            p->segment[p->segment_count++] = (tenon_f32_segment){segment[i].offset + a, b - a};
        }
    }
    return true;
}

int64_t tenon_product_f32_packed(int vw, int64_t columns, int64_t k) { return (columns + vw - 1) / vw * vw * k; }

/* Cycles for each k: two FMAs and two loads a cycle, four cycles of latency; a call costs some dozens. */
static double panel_cost(const tenon_cpu_f32 *kernels, int64_t rows, int vectors, int64_t k)
{
    const int most = kernels->rows[vectors];
    const int64_t tiles = tenon_ceil_div(rows, most);
    double cost = 0;
    for (int64_t t = 0; t < TENON_MIN(tiles, 2); t++) { /* two sizes at most, differing by one */
        const int64_t larger = rows % tiles, r = rows / tiles + (t == 0 && larger);
        const double cycles = TENON_MAX(TENON_MAX(4.0, (double)(r * vectors) / 2), (double)(r + vectors) / 2) + 0.5;
        const int64_t count = t == 0 ? (larger ? larger : tiles) : larger ? tiles - larger : 0;
        cost += (double)count * (cycles * (double)k + 40 + (double)(r * vectors));
    }
    return cost;
}

int tenon_product_f32_vectors(const tenon_cpu_f32 *kernels, int64_t rows, int64_t columns, int64_t k, int rank)
{
    double cost[TENON_F32_VECTORS + 1];
    const int64_t all = tenon_ceil_div(columns, kernels->vw);
    for (int v = 1; v <= kernels->vectors; v++) {
        const int tail = (int)(all % v);
        cost[v] = (double)(all / v) * panel_cost(kernels, rows, v, k) + (tail ? panel_cost(kernels, rows, tail, k) : 0);
    }
    int best = 0;
    for (; rank >= 0; rank--) {
        best = 0;
        for (int v = kernels->vectors; v >= 1; v--)
            if (cost[v] >= 0 && (!best || cost[v] < cost[best])) best = v;
        if (!best) return 0;
        cost[best] = rank ? -1 : cost[best];
    }
    return best;
}

int64_t tenon_product_f32_rows(int64_t k)
{
    const int64_t rows = 96 * 1024 / TENON_MAX(k, 1);
    return TENON_MAX(TENON_MIN(rows, TENON_PRODUCT_ROWS), TENON_PRODUCT_TILE_ROWS);
}

/* All tiles of one block of K over `rows` rows. */
static void run_tiles(const tenon_product_f32 *p, tenon_f32_tile *t, int vectors, int64_t k, const float *const *row,
                      int64_t rows)
{
    const int64_t tiles = tenon_ceil_div(rows, p->kernels->rows[vectors]);
    float *const c = t->c;
    const float *const add = t->add;
    const char *const next = (const char *)(t->b + k * t->ldb);
    for (int64_t i = 0; i < tiles; i++) {
        const int64_t a = rows * i / tiles, b = rows * (i + 1) / tiles;
        t->c = c + a * t->ldc;
        t->ahead = next + (i < vectors ? i * k * 64 : 0);
        t->add = add ? add + a * t->add_ld : NULL;
        p->kernels->tile[vectors][b - a](row + a, t);
    }
    t->c = c;
    t->add = add;
}

/* One panel over some rows, all blocks of K. */
static void run_panel(const tenon_product_f32 *p, const tenon_epilogue_f32 *e, const tenon_domain *d, const tenon_product_call *c,
                      int64_t panel, int64_t first, int64_t rows, tenon_product_b b, void *user)
{
    const int64_t width = tenon_product_f32_width(p, panel), columns = TENON_MIN(p->width, p->columns - panel * p->width);
    const int64_t row = c->first_row + first, column = c->column + panel * p->width;
    tenon_f32_tile t = {.a_offset = c->a_offset, .start = e->start ? e->start + column : NULL, .add_ld = e->add.x, .lo = e->lo,
                        .hi = e->hi};
    const float *add = NULL;
    if (e->has_add) add = (const float *)(const void *)tenon_map_at(&e->add, d, tenon_map_outer(&e->add, d, c->outer), row,
                                                                    column);
    t.last = (int)(columns - (width - p->kernels->vw));
    if (e->direct) {
        const tenon_map *to = &e->result[0];
        t.c = (float *)(void *)tenon_map_at(to, d, tenon_map_outer(to, d, c->outer), row, column);
        t.ldc = to->x;
    } else {
        t.c = c->tile;
        t.ldc = width;
    }
    for (int block = 0; block < p->block_count; block++) {
        t.segment = &p->segment[p->block[block].first];
        t.segment_count = p->block[block].count;
        t.load = block > 0;
        t.ldb = 0;
        t.b = b(user, panel, block, &t.ldb);
        if (!t.ldb) t.ldb = width;
        t.add = block == 0 && e->direct ? add : NULL; /* before anything is stored: the residual may lie where the result goes */
        t.clamp = block == p->block_count - 1 && e->direct && e->clamp;
        run_tiles(p, &t, (int)(width / p->kernels->vw), p->block[block].k, c->row + first, rows);
    }
    if (!e->direct) tenon_epilogue_f32_run(e, d, c->outer, row, rows, column, columns, c->tile, width);
}

void tenon_product_f32_run_b(const tenon_product_f32 *p, const tenon_epilogue_f32 *e, const tenon_domain *d,
                             const tenon_product_call *c, tenon_product_b b, void *user)
{
    for (int64_t panel = c->panel; panel < c->panel_end; panel++) {
        /* a program follows while the tile is in L1, so it gets a few tiles at a time */
        int64_t most = c->rows;
        if (!e->direct) {
            const int rows = p->kernels->rows[tenon_product_f32_width(p, panel) / p->kernels->vw];
            most = TENON_PRODUCT_TILE_ROWS / rows * rows;
        }
        const int64_t pieces = tenon_ceil_div(c->rows, TENON_MAX(most, 1));
        for (int64_t i = 0; i < pieces; i++) {
            const int64_t first = TENON_MIN(i * most, c->rows);
            run_panel(p, e, d, c, panel, first, TENON_MIN(most, c->rows - first), b, user);
        }
    }
}

typedef struct packed { const tenon_product_f32 *p; const float *b; } packed;

static const float *packed_b(void *user, int64_t panel, int block, int64_t *ldb)
{
    const packed *k = user;
    int64_t before = 0;
    (void)ldb;
    for (int i = 0; i < block; i++) before += k->p->block[i].k;
    return k->b + panel * k->p->width * k->p->k + before * tenon_product_f32_width(k->p, panel);
}

void tenon_product_f32_run(const tenon_product_f32 *p, const tenon_epilogue_f32 *e, const tenon_domain *d,
                           const tenon_product_call *c)
{
    packed k = {p, c->b};
    tenon_product_f32_run_b(p, e, d, c, packed_b, &k);
}

/* ---- sharing among members ---- */
/* Seconds do not matter, only which split is shorter: work of the busiest member, and what it reads and copies. */
tenon_grid tenon_grid_choose(const tenon_product_f32 *p, int threads, int mode, int64_t units, int64_t unit_rows, int64_t groups,
                             double copy)
{
    const int64_t panels = p->panels * groups;
    tenon_grid best = {1, 1};
    double least = -1;
    for (int rows = 1; rows <= threads; rows++) {
        const int by_panel = threads / rows;
        if ((mode == TENON_SPLIT_ROWS && rows != threads) || (mode == TENON_SPLIT_PANELS && rows != 1)) continue;
        const double u = (double)tenon_ceil_div(units, rows), n = (double)tenon_ceil_div(panels, by_panel);
        const double vectors = n * p->vectors, k = (double)p->k;
        const double work = u * (double)unit_rows * vectors * k / 2;         /* two FMAs a cycle */
        /* B at half a vector a cycle; copies at four floats */
        const double read = vectors * k * 2 + u * copy / 4;
        if (least < 0 || work + read < least) least = work + read, best = (tenon_grid){rows, by_panel};
    }
    return best;
}

bool tenon_grid_share(const tenon_grid *g, int member, int64_t units, int64_t grain, int64_t panels, int64_t *unit,
                      int64_t *unit_end, int64_t *panel, int64_t *panel_end)
{
    if (member >= g->row_members * g->panel_members) return false;
    tenon_split(units, grain, member / g->panel_members, g->row_members, unit, unit_end);
    tenon_split(panels, 1, member % g->panel_members, g->panel_members, panel, panel_end);
    return *unit < *unit_end && *panel < *panel_end;
}
