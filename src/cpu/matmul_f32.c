/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products in f32, any leading axes with broadcasting. A is read in place (contiguous along K, any pitch). A constant B
   comes packed (pack_gemm); another B is read in place where its rows are contiguous and A has few rows, else packed into the
   member's scratch, a block of K of one panel at a time. Leading axes that B lacks join the rows where strides allow it. */
#include "cpu/f32_tactic.h"
#include "cpu/product_f32.h"

#include "base/checked.h"

#include <string.h>

enum { P_VECTORS, P_SPLIT, P_KC };
enum { KC_DYNAMIC = 256, ROWS_IN_PLACE = 12 };

typedef struct record {
    tenon_product_f32 product;
    tenon_epilogue_f32 epilogue;
    tenon_domain domain;
    tenon_grid grid;
    tenon_map a, b;        /* rows: m of a; of b rows are k */
    bool packed, in_place; /* B */
    int64_t matrices, matrix_floats;
    size_t tile_offset, b_offset;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static bool b_packed(const tenon_problem *p)
{
    const tenon_node *n = p->anchor[0].node;
    const int src = tenon_problem_src(p, n->src[1]);
    return src >= 0 && p->src[src].format.weight && tenon_type_is_static(&n->src[1]->type);
}

/* Rows that one packed B serves, at the tuning point. */
static int64_t rows_at_opt(const tenon_problem *p)
{
    const tenon_type *a = &p->anchor[0].node->src[0]->type, *b = &p->anchor[0].node->src[1]->type;
    int64_t rows = tenon_dim_at_opt(p->graph->dims, a->dim[a->rank - 2]);
    if (b->rank == 2)
        for (int i = 0; i < a->rank - 2; i++) rows *= tenon_dim_at_opt(p->graph->dims, a->dim[i]);
    return TENON_MIN(rows, 4096);
}

static int vectors_by_rank(const tenon_cpu_f32 *kernels, const tenon_problem *p, int rank)
{
    const tenon_type *b = &p->anchor[0].node->src[1]->type;
    const int64_t k = tenon_dim_at_opt(p->graph->dims, b->dim[b->rank - 2]);
    const int64_t columns = tenon_dim_at_opt(p->graph->dims, b->dim[b->rank - 1]);
    return tenon_product_f32_vectors(kernels, rows_at_opt(p), columns, k, rank);
}

static int vectors_of(const tenon_cpu_f32 *kernels, const tenon_problem *p, const tenon_variant *v)
{
    return v->p[P_VECTORS] ? v->p[P_VECTORS] : vectors_by_rank(kernels, p, 0);
}

static int variants(const tenon_cpu_f32 *kernels, const tenon_problem *p, tenon_variant *out, int max)
{
    static const int32_t form[][2] = {{TENON_SPLIT_AUTO, 0}, {TENON_SPLIT_PANELS, 0}, {TENON_SPLIT_ROWS, 0},
                                      {TENON_SPLIT_AUTO, KC_DYNAMIC}};
    const tenon_node *n = p->anchor[0].node;
    int count = 0;
    if (n->src[0]->type.rank < 2 || n->src[1]->type.rank < 2) return 0;
    for (int f = 0; f < (int)TENON_COUNTOF(form); f++)
        for (int rank = 0; rank < (f == 0 ? 3 : 1) && rank < kernels->vectors && count < max; rank++)
            out[count++] = (tenon_variant){{vectors_by_rank(kernels, p, rank), form[f][0], form[f][1]}};
    return count;
}

static const char *reject(const tenon_cpu_f32 *kernels, const tenon_problem *p, const tenon_variant *v, tenon_reason *scratch)
{
    const tenon_anchor *at = &p->anchor[0];
    const tenon_node *n = at->node;
    const tenon_type *a = &n->src[0]->type, *b = &n->src[1]->type;
    (void)scratch;
    if (v->p[P_VECTORS] < 0 || v->p[P_VECTORS] > kernels->vectors || v->p[P_SPLIT] < 0 || v->p[P_SPLIT] > TENON_SPLIT_PANELS ||
        (v->p[P_KC] != 0 && v->p[P_KC] != KC_DYNAMIC))
        return "no such variant";
    if (a->dtype != TENON_F32 || b->dtype != TENON_F32) return "not f32";
    if (a->rank < 2 || b->rank < 2) return "an operand is a vector";
    if (at->pre[0] || at->pre[1]) return "a program on a source";
    const int source = tenon_problem_src(p, n->src[0]), other = tenon_problem_src(p, n->src[1]);
    if (source < 0 || other < 0) return "an operand is not a source";
    if (a->dim[a->rank - 1]->lo < 1) return "K may be 0";
    if (a->dim[a->rank - 1]->hi > INT32_MAX / 2) return "K without bound";
    if (!tenon_dim_is(a->dim[a->rank - 1], 1) && !tenon_format_contiguous(&p->src[source], a->rank - 1))
        return "rows of a are not contiguous";
    const tenon_roles roles = tenon_roles_matrix(n->dst[0]->type.rank);
    return tenon_epilogue_f32_reject(p, at, &roles);
}

/* Scratch: row pointers, tile buffer, a block of B. */
static size_t tile_bytes(const tenon_cpu_f32 *kernels)
{
    return (size_t)TENON_PRODUCT_TILE_ROWS * (size_t)(kernels->vectors * kernels->vw) * 4;
}
static size_t pointer_bytes(void) { return TENON_PRODUCT_ROWS * sizeof(float *); }
/* Blocks of K are about kc long, but a very long K is cut into few. */
static int64_t longest_block(int64_t k) { return 2 * TENON_MAX(KC_DYNAMIC, tenon_ceil_div(k, TENON_PRODUCT_SEGMENTS / 4)); }

static tenon_status plan(tenon_cx *cx, const tenon_cpu_f32 *kernels, const tenon_problem *p, const tenon_variant *v,
                         tenon_tactic_plan *out)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *b = &n->src[1]->type;
    const int src = tenon_problem_src(p, n->src[1]);
    const int64_t width = (int64_t)vectors_of(kernels, p, v) * kernels->vw;
    (void)cx;
    out->record_bytes = sizeof(record);
    out->in_place = true;
    out->scratch_bytes = pointer_bytes() + tile_bytes(kernels);
    if (b_packed(p)) {
        out->pack_count = 1;
        out->pack[0] = (tenon_pack){.op = &tenon_op_pack_gemm, .src = {src, -1, -1, -1}, .attr = {width, kernels->vw}};
        out->src_packed = UINT32_C(1) << src;
    } else {
        out->scratch_bytes += (size_t)(longest_block(b->dim[b->rank - 2]->hi) * width * 4);
    }
    return TENON_OK;
}

/* ---- bind ---- */
static bool joins(const tenon_map *m, const tenon_domain *d, int axis) { return m->outer[axis] == d->x * m->x; }

/* A matrix of one row has no row stride of its own (maps give axes of size 1 the stride 0): it takes that of the next axis out. */
static void one_row(record *r, int axis)
{
    tenon_epilogue_f32 *e = &r->epilogue;
    r->a.x = r->a.outer[axis];
    for (int i = 0; i < e->result_count; i++) e->result[i].x = e->result[i].outer[axis];
    for (int i = 1; i < e->operand_count; i++) e->operand[i].x = e->operand[i].outer[axis];
    if (e->has_add) e->add.x = e->add.outer[axis];
}

/* Outer axes become rows as long as B is the same for them and all maps are regular across. */
static void join_rows(record *r)
{
    tenon_domain *d = &r->domain;
    tenon_epilogue_f32 *e = &r->epilogue;
    while (d->outer_rank > 0) {
        const int axis = d->outer_rank - 1;
        if (d->x == 1 && r->b.outer[axis] == 0) one_row(r, axis);
        bool ok = r->b.outer[axis] == 0 && joins(&r->a, d, axis);
        for (int i = 0; i < e->result_count; i++) ok &= joins(&e->result[i], d, axis);
        for (int i = 1; i < e->operand_count; i++) ok &= joins(&e->operand[i], d, axis);
        if (e->has_add) ok &= joins(&e->add, d, axis);
        if (!ok && d->outer[axis] != 1) return;
        d->x *= d->outer[axis];
        d->outer_rank--;
    }
}

static tenon_status bind(tenon_cx *cx, const tenon_cpu_f32 *kernels, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_problem *p = b->problem;
    const tenon_node *n = p->anchor[0].node;
    const tenon_roles roles = tenon_roles_matrix(b->dst[0].rank);
    const tenon_tensor *ta = &b->src[tenon_problem_src(p, n->src[0])], *tb = &b->src[tenon_problem_src(p, n->src[1])];
    memset(r, 0, sizeof *r);
    tenon_domain_of(&b->dst[0], &roles, &r->domain);
    tenon_map_of(ta, &roles, &r->a);
    tenon_map_of(tb, &roles, &r->b);
    r->packed = b_packed(p);
    TENON_TRY(tenon_epilogue_f32_bind(cx, b, &p->anchor[0], &roles, &r->domain, NULL, true, kernels->isa, &r->epilogue));
    const int64_t k = ta->dim[ta->rank - 1], columns = r->domain.columns;
    const tenon_f32_segment segment = {0, k};
    const int64_t kc = b->variant->p[P_KC] ? b->variant->p[P_KC] : r->packed ? TENON_PRODUCT_KC : KC_DYNAMIC;
    if (!tenon_product_f32_init(&r->product, kernels, vectors_of(kernels, p, b->variant), columns, kc, &segment, 1))
        return TENON_FAIL(cx, TENON_INTERNAL, "matmul: K is cut into too many pieces");
    if (r->packed) {
        /* strides over packed matrices: those of a dense tensor */
        int64_t step = r->matrix_floats = tenon_product_f32_packed(kernels->vw, columns, k);
        r->b.base = b->pack[0].data;
        for (int i = tb->rank - 3; i >= 0; i--) {
            r->b.outer[roles.rank - tb->rank + i] = tb->dim[i] == 1 ? 0 : step;
            step *= tb->dim[i];
        }
    }
    join_rows(r);
    r->matrices = 1;
    for (int i = 0; i < r->domain.outer_rank; i++) r->matrices *= r->domain.outer[i];
    r->in_place = !r->packed && r->b.column == 1 && r->domain.x <= ROWS_IN_PLACE;
    r->tile_offset = pointer_bytes();
    r->b_offset = r->tile_offset + tile_bytes(kernels);
    const double copied = r->packed || r->in_place ? 0 : (double)(k * columns) / (double)TENON_MAX(r->domain.x, 1);
    r->grid = tenon_grid_choose(&r->product, b->threads, b->variant->p[P_SPLIT], r->matrices * r->domain.x, 1, 1, copied);
    return TENON_OK;
}

/* ---- run ---- */
typedef struct source {
    const record *r;
    const float *b;   /* of this matrix */
    float *scratch;
    int64_t panel;    /* what scratch holds */
    int block;
} source;

/* A block of K of one panel of a B that is not packed. */
static const float *block_of_b(void *user, int64_t panel, int block, int64_t *ldb)
{
    source *s = user;
    const tenon_product_f32 *p = &s->r->product;
    const int64_t width = tenon_product_f32_width(p, panel), first = panel * p->width;
    const int64_t columns = TENON_MIN(p->columns - first, width);
    const tenon_map *b = &s->r->b;
    int64_t k0 = 0;
    for (int i = 0; i < block; i++) k0 += p->block[i].k;
    const float *from = s->b + k0 * b->x + first * b->column;
    if (s->r->in_place && columns == width) {
        *ldb = b->x;
        if (p->block[block].k > 1 || b->x) return from;
        *ldb = width; /* K of 1: the stride does not matter, but 0 would mean packed */
        return from;
    }
    if (s->panel != panel || s->block != block) {
        p->kernels->pack(from, b->x, b->column, p->block[block].k, columns, s->scratch, width);
        s->panel = panel;
        s->block = block;
    }
    *ldb = width;
    return s->scratch;
}

static void run_block(const record *r, source *s, int64_t matrix, int64_t row, int64_t rows, int64_t panel, int64_t panel_end,
                      char *scratch)
{
    const float **pointer = (const float **)(void *)scratch;
    const float *a = (const float *)(const void *)r->a.base + tenon_map_outer(&r->a, &r->domain, matrix);
    const float *b = (const float *)(const void *)r->b.base + tenon_map_outer(&r->b, &r->domain, matrix);
    for (int64_t i = 0; i < rows; i++) pointer[i] = a + (row + i) * r->a.x;
    const tenon_product_call c = {.row = pointer, .outer = matrix, .first_row = row, .rows = rows, .panel = panel,
                                  .panel_end = panel_end, .b = b, .tile = (float *)(void *)(scratch + r->tile_offset)};
    if (r->packed) {
        tenon_product_f32_run(&r->product, &r->epilogue, &r->domain, &c);
        return;
    }
    if (s->b != b) s->b = b, s->panel = -1;
    tenon_product_f32_run_b(&r->product, &r->epilogue, &r->domain, &c, block_of_b, s);
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    char *scratch = w->scratch;
    int64_t row, end, panel, panel_end;
    source s = {.r = r, .scratch = (float *)(void *)(scratch + r->b_offset), .panel = -1};
    if (!tenon_grid_share(&r->grid, w->member, r->matrices * r->domain.x, 1, r->product.panels, &row, &end, &panel, &panel_end))
        return TENON_OK;
    const int64_t most = r->packed ? tenon_product_f32_rows(r->product.k) : TENON_PRODUCT_ROWS;
    while (row < end) {
        const int64_t matrix = row / r->domain.x, from = row % r->domain.x;
        const int64_t rows = TENON_MIN(TENON_MIN(most, r->domain.x - from), end - row);
        run_block(r, &s, matrix, from, rows, panel, panel_end, scratch);
        row += rows;
    }
    return TENON_OK;
}

TENON_F32_TACTICS(matmul, "matmul", 0);
