/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products of f16 and bf16 with a constant right operand on Hopper's tensor cores, with any program behind them: gemm_wgmma.cu on
   wgmma.cu. The left operand runs along the depth in whole vectors. */
#include "cuda/conv_problem.h"
#include "cuda/gemm_product.h"
#include "cuda/wgmma_tile.h"

#include "base/checked.h"

#include <math.h>
#include <string.h>

extern const char tenon_cuda_src_gemm_wgmma[], tenon_cuda_src_wgmma[];
extern const tenon_op tenon_op_pack_wgmma;

enum { DEPTH_LEAST = 32, COLUMNS_LEAST = 32, ROWS_LEAST = 512 };

static const char *make(const tenon_problem *p, tenon_cuda_product *o)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *a = &n->src[0]->type, *b = &n->src[1]->type;
    if ((a->dtype != TENON_F16 && a->dtype != TENON_BF16) || a->dtype != b->dtype) return "neither f16 nor bf16";
    const char *why = tenon_cuda_product_make(p, true, o);
    if (why) return why;
    if (!p->src[o->src_b].format.weight || !tenon_type_is_static(b)) return "the right operand is not a constant";
    for (int i = 0; i < b->rank - 2; i++)
        if (!tenon_dim_is(b->dim[i], 1)) return "several right operands";
    if (o->step_a != 1) return "the left operand does not run along the depth";
    if (o->depth == TENON_CUDA_UNKNOWN || o->depth % 8) return "a depth that is not whole vectors of 16 bytes";
    if (o->depth < DEPTH_LEAST || b->dim[b->rank - 1]->value < COLUMNS_LEAST) return "too little depth or too few columns for a tile";
    return o->depth > INT32_MAX / 2 ? "a depth that 32-bit indices do not reach" : NULL;
}

static int64_t columns_of(const tenon_problem *p)
{
    const tenon_type *b = &p->anchor[0].node->src[1]->type;
    return b->dim[b->rank - 1]->value;
}

static tenon_wgmma_work work_at_opt(const tenon_problem *p, const tenon_cuda_product *o)
{
    const tenon_cuda_extent e = tenon_cuda_product_extent(p);
    const int operands = tenon_cuda_conv_operands(p->anchor[0].post);
    return (tenon_wgmma_work){.rows = e.m, .columns = e.n, .groups = e.batch, .chunks = ceil(e.k / TENON_WGMMA_DEEP), .operands = operands,
                              .bytes = 2 * (e.batch * e.m * (e.k + (1 + operands) * e.n) + (double)o->depth * e.n)};
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    tenon_cuda_product o;
    if (make(p, &o)) return 0;
    const tenon_wgmma_work work = work_at_opt(p, &o);
    return work.rows < ROWS_LEAST ? 0 : tenon_wgmma_variants(&work, device, out, max);
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    tenon_cuda_product o;
    (void)src, (void)dst;
    if (make(p, &o)) return INFINITY;
    const tenon_wgmma_work work = work_at_opt(p, &o);
    return tenon_wgmma_model(&tenon_wgmma_tiles[v->p[P_WGMMA_TILE]], &work, device);
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    tenon_cuda_product o;
    const tenon_program *post = p->anchor[0].post;
    const char *why = tenon_wgmma_rejects(v, device);
    if (!why) why = make(p, &o);
    if (!why) why = tenon_cuda_product_rejects(p, true, &o, scratch);
    if (why) return why;
    return post && post->class_ != TENON_CLASS_F32 ? "a program that does not compute in f32" : NULL;
}

/* Which bits of `aligned` say that every vector of the program's tensors is. */
static uint32_t aligned_mask(const tenon_cuda_product *o)
{
    uint32_t mask = 0;
    for (int t = 2; t < o->space.count; t++) mask |= (uint32_t)tenon_cuda_space_is_unit(&o->space, t) << t;
    return mask;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    tenon_cuda_product *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const tenon_wgmma_tile *t = &tenon_wgmma_tiles[v->p[P_WGMMA_TILE]];
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.matmul_wgmma: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#include \"prelude.cu\"\n#include \"mma.cu\"\n");
    tenon_cuda_product_print(p, o, &b);
    tenon_cuda_program_print_held(&o->program, &o->space, &b);
    tenon_buf_printf(&b, "#define ALIGNED 0x%xu\n#define DEPTH %lld\n#define COLUMNS %lld\n", (unsigned)aligned_mask(o), (long long)o->depth,
                     (long long)columns_of(p));
    tenon_buf_str(&b, tenon_cuda_src_gemm_wgmma);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_wgmma, "tenon_wgmma", tenon_cuda_product_numbers(o), o, out));
    tenon_wgmma_options(t, &out->kernel[0]);
    out->pack[0] = (tenon_pack){.op = &tenon_op_pack_wgmma, .src = {o->src_b, -1}, .attr = {1, t->bn, 1}};
    out->pack_count = 1;
    out->src_packed = 1u << o->src_b;
    out->in_place = true;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const tenon_cuda_product *o = b->plan->own;
    const tenon_wgmma_tile *t = &tenon_wgmma_tiles[b->variant->p[P_WGMMA_TILE]];
    const tenon_tensor *tensor[TENON_CUDA_TENSORS];
    memset(r, 0, sizeof *r);
    TENON_TRY(tenon_cuda_product_bind(cx, b, o, tensor, r));
    r->args.at[1] = b->pack[0].data;
    r->args.aligned = tenon_cuda_product_in_vectors(b, o, 0, tensor[0], 8);
    for (int i = 2; i < o->space.count; i++)
        r->args.aligned |= (uint32_t)tenon_cuda_space_is_aligned(&o->space, i, b->shape, tensor[i], 8) << i;
    tenon_cuda_product_grid(b, o, t->bm, t->bn, r);
    r->threads = TENON_WGMMA_THREADS;
    r->shared_bytes = tenon_wgmma_shared(t);
    return TENON_OK;
}

const tenon_tactic tenon_cuda_matmul_wgmma = {
    .name = "cuda.matmul_wgmma", .pattern = "matmul", .need = 90, .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject,
    .plan = plan, .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "gemm_wgmma",
};
