/* SPDX-License-Identifier: Apache-2.0 */
/* Two matrix products in a row, each with its program: the MLP of a transformer, x * W1 | gelu * W2 | add. Both weights are
   constant and packed. A member takes a block of rows through both products, so that the hidden value of the block (some hundred
   KB) stays in its L2 and the whole one never goes to memory:

       for a block of rows            A block (rows x K)  * W1 -> hidden (rows x H, scratch)  * W2 -> result (rows x N)

   What it pays: every block reads both weights. So it suits many rows and a narrow MLP; the cost model says where. */
#include "cpu/backend.h"
#include "cpu/f32_tactic.h"
#include "cpu/product_f32.h"

#include "base/checked.h"
#include "base/team.h"

#include <string.h>

enum { HIDDEN_FLOATS = 96 * 1024, LEAST_ROWS = 8, PAD = 16, L2_WEIGHTS = 512 * 1024 };

typedef struct part {
    tenon_product_f32 product;
    tenon_epilogue_f32 epilogue;
    tenon_domain domain;
    const float *b; /* packed */
} part;
typedef struct record {
    part part[2];
    tenon_map a;
    int64_t matrices, rows, hidden_ld; /* rows: of a block */
    size_t tile_offset, hidden_offset;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const tenon_cpu_f32 *kernels_best(void)
{
#if defined(__x86_64__)
    if (tenon_cpu()->isa & TENON_ISA_AVX512) return &tenon_cpu_f32_avx512;
    if (tenon_cpu()->isa & TENON_ISA_AVX2) return &tenon_cpu_f32_avx2;
#endif
    return &tenon_cpu_f32_scalar;
}

static const tenon_value *hidden_of(const tenon_problem *p)
{
    const tenon_anchor *a = &p->anchor[0];
    return a->post ? a->post->result[0] : a->node->dst[0];
}
static int64_t weight_dim(const tenon_problem *p, int anchor, int axis) { return p->anchor[anchor].node->src[1]->type.dim[axis]->value; }
static int64_t hidden_pitch(int64_t h) { return (h + 15) / 16 * 16 + PAD; }
static int64_t block_rows(int64_t h) { return TENON_MIN(HIDDEN_FLOATS / hidden_pitch(h), TENON_PRODUCT_ROWS); }

/* ---- what it can do ---- */
static const char *reject_weight(const tenon_problem *p, const tenon_anchor *a)
{
    const tenon_value *w = a->node->src[1];
    const int src = tenon_problem_src(p, w);
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program on a source";
    if (src < 0 || !p->src[src].format.weight || w->type.dtype != TENON_F32 || w->type.rank != 2 || !tenon_type_is_static(&w->type))
        return "a weight that is not a constant f32 matrix";
    return w->type.dim[0]->value < 1 || w->type.dim[1]->value < 1 ? "an empty weight" : NULL;
}

static const char *reject_hidden(const tenon_problem *p)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_value *h = hidden_of(p);
    if (tenon_problem_dst(p, h) >= 0 || p->anchor[1].node->src[0] != h) return "the hidden value is wanted elsewhere too";
    if (h->type.dtype != TENON_F32 || a->node->dst[0]->type.dtype != TENON_F32) return "the hidden value is not f32";
    if (!a->post) return NULL;
    if (a->post->class_ != TENON_CLASS_F32 || a->post->result_count != 1)
        return "the program on the hidden value does not compute one f32 result";
    const int rank = a->node->dst[0]->type.rank;
    if (h->type.rank != rank) return "the program on the hidden value changes its shape";
    for (int i = 0; i < rank; i++)
        if (h->type.dim[i] != a->node->dst[0]->type.dim[i]) return "the program on the hidden value changes its shape";
    for (int i = 1; i < a->post->operand_count; i++) {
        const tenon_value *v = a->post->operand[i];
        if (a->post->operand_scalar[i]) continue;
        if (tenon_problem_src(p, v) < 0) return "an operand of the program on the hidden value is not a source";
        if (tenon_dtype_get(v->type.dtype)->bits < 8 || v->type.rank > rank)
            return "an operand of the program on the hidden value does not fit";
    }
    return NULL;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *a = &n->src[0]->type;
    const int src = tenon_problem_src(p, n->src[0]);
    const char *why = reject_weight(p, &p->anchor[0]);
    if (!why) why = reject_weight(p, &p->anchor[1]);
    if (why) return why;
    if (a->dtype != TENON_F32 || a->rank < 2 || src < 0) return "the first operand is not an f32 source of two axes or more";
    if (weight_dim(p, 0, 0) > 1 && !tenon_format_contiguous(&p->src[src], a->rank - 1)) return "rows of the source are not contiguous";
    why = reject_hidden(p);
    if (why) return why;
    if (block_rows(weight_dim(p, 0, 1)) < LEAST_ROWS) return "eight rows of the hidden value do not fit the scratch";
    const tenon_roles roles = tenon_roles_matrix(p->anchor[1].node->dst[0]->type.rank);
    return tenon_epilogue_f32_reject(p, &p->anchor[1], &roles);
}

/* As the roofline of a step, but the busiest member's rows count, and weights that do not stay in L2 beside the hidden value are
   read again for each block of rows. That comes on top: it is what two steps do not pay. */
static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src,
                   const tenon_tensor *dst)
{
    (void)v, (void)dst;
    const tenon_device_info *info = tenon_backend_cpu.info(device);
    const tenon_tensor *a = &src[tenon_problem_src(p, p->anchor[0].node->src[0])];
    const int64_t k = weight_dim(p, 0, 0), h = weight_dim(p, 0, 1), n = weight_dim(p, 1, 1);
    const int64_t rows = tenon_ceil_div(tenon_tensor_count(a) / k, info->threads);
    const double each = info->bandwidth / info->threads, weights = 4.0 * (double)(k * h + h * n);
    const double blocks = (double)tenon_ceil_div(rows, block_rows(h));
    const double compute = 2.0 * (double)rows * (double)(k * h + h * n) / (info->peak_flops / info->threads);
    const double memory = weights / info->bandwidth + 4.0 * (double)(rows * (k + n)) / each;
    const double again = weights > L2_WEIGHTS ? weights * (blocks - 1) / each : 0;
    return info->step_seconds + TENON_MAX(compute, memory) + again;
}

/* ---- plan and bind ---- */
static int vectors_of(const tenon_cpu_f32 *kernels, const tenon_problem *p, int anchor)
{
    return tenon_product_f32_vectors(kernels, block_rows(weight_dim(p, 0, 1)), weight_dim(p, anchor, 1), weight_dim(p, anchor, 0), 0);
}
static size_t tile_bytes(const tenon_cpu_f32 *kernels)
{
    return (size_t)TENON_PRODUCT_TILE_ROWS * (size_t)(kernels->vectors * kernels->vw) * sizeof(float);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)v, (void)device;
    const tenon_cpu_f32 *kernels = kernels_best();
    const int64_t h = weight_dim(p, 0, 1);
    out->record_bytes = sizeof(record);
    out->in_place = true;
    out->scratch_bytes = TENON_PRODUCT_ROWS * sizeof(float *) + tile_bytes(kernels) + (size_t)(block_rows(h) * hidden_pitch(h)) * sizeof(float);
    out->pack_count = 2;
    for (int i = 0; i < 2; i++) {
        const int w = tenon_problem_src(p, p->anchor[i].node->src[1]);
        out->pack[i] = (tenon_pack){.op = &tenon_op_pack_gemm, .src = {w, -1, -1, -1},
                                    .attr = {vectors_of(kernels, p, i) * (int64_t)kernels->vw, kernels->vw}};
        out->src_packed |= UINT32_C(1) << w;
    }
    return TENON_OK;
}

static bool joins(const tenon_epilogue_f32 *e, const tenon_domain *d, int axis)
{
    bool ok = true;
    for (int i = 0; i < e->result_count; i++) ok &= e->result[i].outer[axis] == d->x * e->result[i].x;
    for (int i = 1; i < e->operand_count; i++) ok &= e->operand[i].outer[axis] == d->x * e->operand[i].x;
    return ok && (!e->has_add || e->add.outer[axis] == d->x * e->add.x);
}

/* Outer axes become rows as long as all maps are regular across. */
static void join_rows(record *r)
{
    tenon_domain *d = &r->part[1].domain;
    while (d->outer_rank > 0) {
        const int axis = d->outer_rank - 1;
        const bool ok = r->a.outer[axis] == d->x * r->a.x && joins(&r->part[0].epilogue, d, axis) && joins(&r->part[1].epilogue, d, axis);
        if (!ok && d->outer[axis] != 1) break;
        d->x *= d->outer[axis];
        d->outer_rank--;
    }
}

/* The hidden value as a destination of its own problem; its address is put in by each member. */
static tenon_status bind_hidden(tenon_cx *cx, const tenon_bind *b, const tenon_roles *roles, const tenon_domain *d, unsigned isa,
                                int64_t ld, tenon_epilogue_f32 *out)
{
    tenon_problem p = *b->problem;
    tenon_bind first = *b;
    tenon_tensor hidden = {.dtype = TENON_F32, .rank = roles->rank};
    for (int i = 0; i < hidden.rank; i++) hidden.dim[i] = b->dst[0].dim[i];
    hidden.dim[hidden.rank - 1] = d->columns;
    hidden.stride[hidden.rank - 1] = 1;
    int64_t step = ld;
    for (int i = hidden.rank - 2; i >= 0; i--) hidden.stride[i] = step, step *= hidden.dim[i];
    p.dst_count = 1;
    p.dst[0].value = (tenon_value *)hidden_of(b->problem);
    first.problem = &p;
    first.dst = &hidden;
    TENON_TRY(tenon_epilogue_f32_bind(cx, &first, &p.anchor[0], roles, d, NULL, true, isa, out));
    out->result[0].x = ld; /* also where there is one row, whose stride counts as 0 */
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_problem *p = b->problem;
    const tenon_cpu_f32 *kernels = kernels_best();
    const tenon_roles roles = tenon_roles_matrix(b->dst[0].rank);
    const int64_t h = weight_dim(p, 0, 1);
    memset(r, 0, sizeof *r);
    r->hidden_ld = hidden_pitch(h);
    r->rows = block_rows(h);
    r->tile_offset = TENON_PRODUCT_ROWS * sizeof(float *);
    r->hidden_offset = r->tile_offset + tile_bytes(kernels);
    tenon_map_of(&b->src[tenon_problem_src(p, p->anchor[0].node->src[0])], &roles, &r->a);
    for (int i = 0; i < 2; i++) {
        part *t = &r->part[i];
        const tenon_f32_segment segment = {0, weight_dim(p, i, 0)};
        tenon_domain_of(&b->dst[0], &roles, &t->domain);
        t->domain.columns = weight_dim(p, i, 1);
        t->b = b->pack[i].data;
        if (!tenon_product_f32_init(&t->product, kernels, vectors_of(kernels, p, i), t->domain.columns, TENON_PRODUCT_KC, &segment, 1))
            return TENON_FAIL(cx, TENON_INTERNAL, "two_gemm: K is cut into too many pieces");
    }
    TENON_TRY(bind_hidden(cx, b, &roles, &r->part[0].domain, kernels->isa, r->hidden_ld, &r->part[0].epilogue));
    TENON_TRY(tenon_epilogue_f32_bind(cx, b, &p->anchor[1], &roles, &r->part[1].domain, NULL, true, kernels->isa, &r->part[1].epilogue));
    join_rows(r);
    r->part[0].domain = r->part[1].domain;
    r->part[0].domain.columns = h;
    r->matrices = 1;
    for (int i = 0; i < r->part[1].domain.outer_rank; i++) r->matrices *= r->part[1].domain.outer[i];
    memset(r->part[0].epilogue.result[0].outer, 0, sizeof r->part[0].epilogue.result[0].outer);
    return TENON_OK;
}

/* ---- run ---- */
/* `e`: this member's copy of the first epilogue, whose result it moves so that row `row` is the first of the scratch. */
static void run_block(const record *r, tenon_epilogue_f32 *e, int64_t matrix, int64_t row, int64_t rows, char *scratch)
{
    const float **pointer = (const float **)(void *)scratch;
    float *tile = (float *)(void *)(scratch + r->tile_offset), *hidden = (float *)(void *)(scratch + r->hidden_offset);
    const float *a = (const float *)(const void *)r->a.base + tenon_map_outer(&r->a, &r->part[0].domain, matrix);
    tenon_product_call c = {.row = pointer, .outer = matrix, .first_row = row, .rows = rows, .panel_end = r->part[0].product.panels,
                            .b = r->part[0].b, .tile = tile};
    for (int64_t i = 0; i < rows; i++) pointer[i] = a + (row + i) * r->a.x;
    e->result[0].base = (char *)((uintptr_t)hidden - (uintptr_t)(row * r->hidden_ld) * sizeof(float));
    tenon_product_f32_run(&r->part[0].product, e, &r->part[0].domain, &c);
    for (int64_t i = 0; i < rows; i++) pointer[i] = hidden + i * r->hidden_ld;
    c.panel_end = r->part[1].product.panels;
    c.b = r->part[1].b;
    tenon_product_f32_run(&r->part[1].product, &r->part[1].epilogue, &r->part[1].domain, &c);
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const int64_t x = r->part[1].domain.x;
    tenon_epilogue_f32 e = r->part[0].epilogue;
    int64_t row, end;
    tenon_split(r->matrices * x, 1, w->member, w->count, &row, &end);
    while (row < end) {
        const int64_t from = row % x, rows = TENON_MIN(TENON_MIN(r->rows, x - from), end - row);
        run_block(r, &e, row / x, from, rows, w->scratch);
        row += rows;
    }
    return TENON_OK;
}

const tenon_tactic tenon_cpu_two_gemm_f32 = {
    .name = "cpu.two_gemm_f32", .pattern = "matmul;matmul", .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan,
    .bind = bind, .run = run, .cost = cost,
};
