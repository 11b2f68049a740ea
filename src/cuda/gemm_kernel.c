/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products by fused multiply-adds: f32, and f16 and bf16 with sums in f32; any strides, leading axes with broadcasting, a
   program on the result. Variants are tile shapes; which is best depends on the number of rows, so they are offered in the order
   of a small model. */
#include "cuda/kernel_text.h"

#include "base/checked.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char tenon_cuda_src_gemm[];

/* One block: bm x bn results in chunks of bk, tm x tn a thread, wk groups along the depth, one or two chunks in shared memory.
   Stored in engines by place: append only. */
typedef struct tile { int bm, bn, bk, tm, tn, wk, buffers; } tile;
static const tile tiles[] = {
    {64, 64, 16, 4, 4, 1, 2}, {128, 128, 8, 8, 8, 1, 2}, {128, 64, 8, 8, 4, 1, 2}, {32, 64, 32, 4, 4, 1, 2},
    {32, 32, 64, 4, 4, 4, 2}, {16, 32, 128, 2, 4, 4, 1}, {8, 32, 128, 2, 4, 8, 1}, {8, 16, 128, 2, 2, 8, 2},
    {16, 16, 128, 2, 2, 4, 2}, {64, 32, 32, 4, 4, 2, 2}, {8, 16, 256, 2, 2, 16, 1}, {8, 8, 256, 2, 2, 16, 1},
    {16, 16, 256, 2, 2, 8, 1}, {16, 8, 256, 2, 2, 16, 1},
};
enum { TILES = TENON_COUNTOF(tiles), P_TILE = 0, BATCH_MOST = 65535 };

typedef struct own {
    tenon_cuda_space space;
    tenon_cuda_program program;
    const tenon_value *operand[TENON_CUDA_TENSORS]; /* of tensors after A and B */
    int src_a, src_b, axis_a, axis_b;               /* depth axes of A and B */
    int domain_dst;
    int64_t depth, step_a, step_b;                  /* TENON_CUDA_UNKNOWN: from the shape block */
} own;

static int threads_of(const tile *t) { return t->bm / t->tm * (t->bn / t->tn) * t->wk; }
static int vector_of(const tile *t) { return TENON_MIN(t->tn, 4); }

/* ---- the index space ---- */
static void matrix_axes(int rank, int domain_rank, bool is_a, int *axis)
{
    for (int d = 0; d < domain_rank; d++) {
        const int lead = d - (domain_rank - rank);
        axis[d] = d < domain_rank - 2 ? (lead >= 0 ? lead : -1) : -1;
    }
    if (is_a) axis[domain_rank - 2] = rank - 2;
    else axis[domain_rank - 1] = rank - 1;
}

static const char *make(const tenon_problem *p, own *o)
{
    const tenon_anchor *at = &p->anchor[0];
    const tenon_node *n = at->node;
    const tenon_type *a = &n->src[0]->type, *b = &n->src[1]->type, *y = &n->dst[0]->type;
    int axis[TENON_MAX_RANK];
    memset(o, 0, sizeof *o);
    if (at->pre[0] || at->pre[1]) return "a program on an operand";
    if (a->rank < 2 || b->rank < 2) return "an operand is a vector";
    o->src_a = tenon_problem_src(p, n->src[0]);
    o->src_b = tenon_problem_src(p, n->src[1]);
    if (o->src_a < 0 || o->src_b < 0) return "an operand is not a source";
    o->axis_a = a->rank - 1;
    o->axis_b = b->rank - 2;
    tenon_cuda_space_init(&o->space, p->graph->dims, y->rank, y->dim, NULL);
    matrix_axes(a->rank, y->rank, true, axis);
    (void)tenon_cuda_space_add(&o->space, a, &p->src[o->src_a].format, axis);
    matrix_axes(b->rank, y->rank, false, axis);
    (void)tenon_cuda_space_add(&o->space, b, &p->src[o->src_b].format, axis);
    const char *why = tenon_cuda_program_add(p, at->post, n->dst[0], &o->space, &o->program);
    if (why) return why;
    if (!tenon_cuda_space_finish(&o->space, 2)) return "sizes too large to reckon with";
    for (int i = 0; at->post && i < at->post->operand_count; i++)
        if (o->program.operand[i] >= 0) o->operand[o->program.operand[i]] = at->post->operand[i];
    for (int i = 0; i < (at->post ? at->post->result_count : 1); i++)
        o->operand[o->program.result[i]] = at->post ? at->post->result[i] : n->dst[0];
    o->domain_dst = tenon_problem_dst(p, o->operand[o->program.result[0]]);
    const tenon_dim *depth = a->dim[o->axis_a];
    o->depth = tenon_dim_is_const(depth) ? depth->value : TENON_CUDA_UNKNOWN;
    o->step_a = tenon_cuda_known_stride(&o->space.tensor[0], o->axis_a);
    o->step_b = tenon_cuda_known_stride(&o->space.tensor[1], o->axis_b);
    return NULL;
}

/* ---- variants ---- */
/* Seconds by a rough model: how many rounds of blocks the multiprocessors make, and how long a block takes. */
static double model(const tile *t, double m, double n, double k, double batch, int multiprocessors)
{
    const double blocks = ((m + t->bm - 1) / t->bm) * ((n + t->bn - 1) / t->bn) * batch;
    const double reuse = (double)t->tm * t->tn / (t->tm * t->tn + 2.0 * (t->tm + t->tn));
    const double busy = TENON_MIN(1.0, threads_of(t) * TENON_MAX(1.0, blocks / multiprocessors) / 512.0);
    const double work = (double)t->bm * t->bn * k / (128 * 1.6e9 * reuse * busy), waits = ceil(k / t->bk) * 0.6e-6;
    return 2e-6 + TENON_MAX(1.0, blocks / multiprocessors) * work + waits * TENON_MAX(1.0, blocks * threads_of(t) / (multiprocessors * 1024.0));
}

static double modelled(const tenon_problem *p, const tile *t, const tenon_device *device)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *a = &n->src[0]->type, *b = &n->src[1]->type, *y = &n->dst[0]->type;
    const tenon_dim_pool *pool = p->graph->dims;
    double m = (double)tenon_dim_at_opt(pool, a->dim[a->rank - 2]), batch = 1;
    for (int i = 0; i < y->rank - 2; i++) batch *= (double)tenon_dim_at_opt(pool, y->dim[i]);
    if (b->rank == 2) m *= batch, batch = 1;
    return model(t, m, (double)tenon_dim_at_opt(pool, b->dim[b->rank - 1]), (double)tenon_dim_at_opt(pool, a->dim[a->rank - 1]), batch,
                 tenon_cuda_multiprocessors(device));
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    double seconds[TILES];
    int count = 0;
    const tenon_node *n = p->anchor[0].node;
    if (n->src[0]->type.rank < 2 || n->src[1]->type.rank < 2) return 0;
    for (int i = 0; i < (int)TILES; i++) { /* insertion, by the model */
        const double s = modelled(p, &tiles[i], device);
        int at = count++;
        while (at > 0 && seconds[at - 1] > s) {
            seconds[at] = seconds[at - 1];
            if (at < max) out[at] = out[at - 1];
            at--;
        }
        seconds[at] = s;
        if (at < max) out[at] = (tenon_variant){{i}};
    }
    return TENON_MIN(count, max);
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    (void)src, (void)dst;
    return modelled(p, &tiles[v->p[P_TILE]], device);
}

/* ---- the tactic ---- */
static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    (void)device;
    const tenon_node *n = p->anchor[0].node;
    const tenon_dtype type = n->src[0]->type.dtype;
    if (v->p[P_TILE] < 0 || v->p[P_TILE] >= (int)TILES) return "no such variant";
    if (type != TENON_F32 && type != TENON_F16 && type != TENON_BF16) return "neither f32 nor f16 nor bf16";
    const char *why = make(p, &o);
    if (why) return why;
    if (p->anchor[0].post && (why = tenon_cuda_program_rejects(p->anchor[0].post, scratch)) != NULL) return why;
    int64_t batch = 1;
    for (int j = 0; j < o.space.rank - 2; j++)
        if (!tenon_mul_i64(batch, o.space.dim[j]->hi, &batch) || batch > BATCH_MOST) return "more matrices than a grid holds";
    if (tenon_cuda_space_most(&o.space) > INT32_MAX) return "more elements than 32-bit indices reach";
    return NULL;
}

static void print_known(tenon_buf *b, const char *name, int64_t value, int index)
{
    tenon_buf_printf(b, "static __device__ __forceinline__ long long %s(const tenon_args &args) { return ", name);
    if (value != TENON_CUDA_UNKNOWN) tenon_buf_printf(b, "%" PRId64 "; }\n", value);
    else tenon_buf_printf(b, "args.shape[%d]; }\n", index);
}

static void print_head(const tenon_problem *p, const own *o, tenon_buf *b)
{
    const tenon_cuda_space *s = &o->space;
    const int first = tenon_cuda_space_numbers(s);
    const int64_t by_column = s->tensor[1].stride[s->rank - 1];
    tenon_buf_str(b, "#include \"prelude.cu\"\n");
    tenon_cuda_space_print(s, b);
    print_known(b, "tenon_depth", o->depth, first);
    print_known(b, "tenon_step_a", o->step_a, first + 1);
    print_known(b, "tenon_step_b", o->step_b, first + 2);
    tenon_buf_printf(b, "#define A_TYPE %s\n#define B_TYPE %s\n#define A_ALONG_DEPTH %d\n#define B_ALONG_DEPTH %d\n#define B_CONSTANT %d\n",
                     tenon_cuda_type(s->tensor[0].type->dtype), tenon_cuda_type(s->tensor[1].type->dtype), o->step_a == 1,
                     o->step_b == 1 && by_column != 1, p->src[o->src_b].format.weight);
    tenon_cuda_program_print(&o->program, s, b);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    const tile *t = &tiles[v->p[P_TILE]];
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.matmul_fma: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    print_head(p, o, &b);
    const tenon_status status = tenon_cuda_kernel_source(cx, p, &b, tenon_cuda_src_gemm, "tenon_gemm", &out->kernel[0]);
    tenon_buf_free(&b);
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DBM=%d -DBN=%d -DBK=%d -DTM=%d -DTN=%d -DWK=%d -DBUFFERS=%d", t->bm, t->bn, t->bk, t->tm,
             t->tn, t->wk, t->buffers);
    out->kernel_count = 1;
    out->record_bytes = sizeof(tenon_cuda_record);
    out->shape_count = tenon_cuda_space_numbers(&o->space) + 3;
    out->in_place = true;
    out->own = o;
    return status;
}

static const tenon_tensor *bound(const tenon_bind *b, const own *o, int t)
{
    if (t < 2) return &b->src[t == 0 ? o->src_a : o->src_b];
    const int dst = tenon_problem_dst(b->problem, o->operand[t]);
    return dst >= 0 ? &b->dst[dst] : &b->src[tenon_problem_src(b->problem, o->operand[t])];
}

static void size_grid(const own *o, const tile *t, const int64_t *most, tenon_cuda_record *r)
{
    const int rank = o->space.rank;
    int64_t size[TENON_MAX_RANK], batch = 1;
    tenon_cuda_space_sizes(&o->space, most, size);
    for (int j = 0; j < rank - 2; j++) batch *= size[j];
    r->grid[0] = (uint32_t)(tenon_ceil_div(size[rank - 2], t->bm) * tenon_ceil_div(size[rank - 1], t->bn));
    r->grid[1] = 1;
    r->grid[2] = (uint32_t)batch;
    if (!r->grid[2]) r->grid[0] = 0;
    r->threads = (uint32_t)threads_of(t);
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tenon_cuda_space *s = &o->space;
    const tile *tl = &tiles[b->variant->p[P_TILE]];
    const tenon_tensor *tensor[TENON_CUDA_TENSORS];
    memset(r, 0, sizeof *r);
    for (int t = 0; t < s->count; t++) tensor[t] = bound(b, o, t);
    TENON_TRY(tenon_cuda_space_bind(cx, s, b->dst[o->domain_dst].dim, tensor, b->shape));
    int64_t *extra = b->shape + tenon_cuda_space_numbers(s);
    extra[0] = tensor[0]->dim[o->axis_a];
    extra[1] = tensor[0]->stride[o->axis_a];
    extra[2] = tensor[1]->stride[o->axis_b];
    if (extra[0] > 1 && ((o->step_a != TENON_CUDA_UNKNOWN && o->step_a != extra[1]) || (o->step_b != TENON_CUDA_UNKNOWN && o->step_b != extra[2])))
        return TENON_FAIL(cx, TENON_INTERNAL, "cuda: strides along the depth of a product are not those of its formats");
    for (int t = 0; t < s->count; t++) {
        r->args.at[t] = tensor[t]->data;
        r->args.aligned |= (uint32_t)tenon_cuda_space_is_aligned(s, t, b->shape, tensor[t], vector_of(tl)) << t;
    }
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    size_grid(o, tl, (b->dst_most ? b->dst_most : b->dst)[o->domain_dst].dim, r);
    return TENON_OK;
}

const tenon_tactic tenon_cuda_matmul_fma = {
    .name = "cuda.matmul_fma", .pattern = "matmul", .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject, .plan = plan,
    .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "gemm",
};
