/* SPDX-License-Identifier: Apache-2.0 */
/* A matmul problem as kernels see it; contracts in gemm_product.h. */
#include "cuda/gemm_product.h"

#include "base/checked.h"

#include <inttypes.h>
#include <string.h>

enum { BATCH_MOST = 65535 };

static void matrix_axes(int rank, int domain_rank, bool is_a, int *axis)
{
    for (int d = 0; d < domain_rank; d++) {
        const int lead = d - (domain_rank - rank);
        axis[d] = d < domain_rank - 2 && lead >= 0 ? lead : -1;
    }
    if (is_a) axis[domain_rank - 2] = rank - 2;
    else axis[domain_rank - 1] = rank - 1;
}

/* keep 1: rows may join the axes before them, and the outermost that is left is the rows. */
static const char *make_space(const tenon_problem *p, tenon_cuda_product *o, int keep)
{
    const tenon_anchor *at = &p->anchor[0];
    const tenon_node *n = at->node;
    const tenon_type *a = &n->src[0]->type, *b = &n->src[1]->type, *y = &n->dst[0]->type;
    int axis[TENON_MAX_RANK];
    tenon_cuda_space_init(&o->space, p->graph->dims, y->rank, y->dim, NULL);
    matrix_axes(a->rank, y->rank, true, axis);
    (void)tenon_cuda_space_add(&o->space, a, &p->src[o->src_a].format, axis);
    matrix_axes(b->rank, y->rank, false, axis);
    (void)tenon_cuda_space_add(&o->space, b, &p->src[o->src_b].format, axis);
    const char *why = tenon_cuda_program_add(p, at->post, n->dst[0], &o->space, &o->program);
    if (why) return why;
    return tenon_cuda_space_finish(&o->space, keep) ? NULL : "sizes too large to reckon with";
}

const char *tenon_cuda_product_make(const tenon_problem *p, bool join, tenon_cuda_product *o)
{
    const tenon_anchor *at = &p->anchor[0];
    const tenon_node *n = at->node;
    const tenon_type *a = &n->src[0]->type, *b = &n->src[1]->type;
    memset(o, 0, sizeof *o);
    if (at->pre[0] || at->pre[1]) return "a program on an operand";
    if (a->rank < 2 || b->rank < 2) return "an operand is a vector";
    o->src_a = tenon_problem_src(p, n->src[0]);
    o->src_b = tenon_problem_src(p, n->src[1]);
    if (o->src_a < 0 || o->src_b < 0) return "an operand is not a source";
    o->axis_a = a->rank - 1;
    o->axis_b = b->rank - 2;
    for (int i = 0; i < b->rank - 2; i++) join = join && tenon_dim_is(b->dim[i], 1); /* the same B for all matrices */
    const char *why = make_space(p, o, join ? 1 : 2);
    if (!why && o->space.rank < 2) why = make_space(p, o, 2); /* a single row */
    if (why) return why;
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

const char *tenon_cuda_product_rejects(const tenon_problem *p, bool join, tenon_cuda_product *o, tenon_reason *scratch)
{
    const char *why = tenon_cuda_product_make(p, join, o);
    if (why) return why;
    const tenon_program *post = p->anchor[0].post;
    if (post && (why = tenon_cuda_program_rejects(post, scratch)) != NULL) return why;
    int64_t batch = 1;
    for (int j = 0; j < o->space.rank - 2; j++)
        if (!tenon_mul_i64(batch, o->space.dim[j]->hi, &batch) || batch > BATCH_MOST) return "more matrices than a grid holds";
    return tenon_cuda_space_most(&o->space) > INT32_MAX ? "more elements than 32-bit indices reach" : NULL;
}

tenon_cuda_extent tenon_cuda_product_extent(const tenon_problem *p)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *a = &n->src[0]->type, *b = &n->src[1]->type, *y = &n->dst[0]->type;
    const tenon_dim_pool *pool = p->graph->dims;
    tenon_cuda_extent e = {(double)tenon_dim_at_opt(pool, a->dim[a->rank - 2]), (double)tenon_dim_at_opt(pool, b->dim[b->rank - 1]),
                           (double)tenon_dim_at_opt(pool, a->dim[a->rank - 1]), 1};
    bool one_b = true;
    for (int i = 0; i < b->rank - 2; i++) one_b = one_b && tenon_dim_is(b->dim[i], 1);
    for (int i = 0; i < y->rank - 2; i++) e.batch *= (double)tenon_dim_at_opt(pool, y->dim[i]);
    if (one_b) e.m *= e.batch, e.batch = 1;
    return e;
}

static void print_known(tenon_buf *b, const char *name, int64_t value, int index)
{
    tenon_buf_printf(b, "static __device__ __forceinline__ long long %s(const tenon_args &args) { return ", name);
    if (value != TENON_CUDA_UNKNOWN) tenon_buf_printf(b, "%" PRId64 "; }\n", value);
    else tenon_buf_printf(b, "args.shape[%d]; }\n", index);
}

int tenon_cuda_product_numbers(const tenon_cuda_product *o) { return tenon_cuda_space_numbers(&o->space) + 3; }

static bool a_along_depth(const tenon_cuda_product *o) { return o->step_a == 1; }
static bool b_along_depth(const tenon_cuda_product *o) { return o->step_b == 1 && o->space.tensor[1].stride[o->space.rank - 1] != 1; }

void tenon_cuda_product_print(const tenon_problem *p, const tenon_cuda_product *o, tenon_buf *b)
{
    const tenon_cuda_space *s = &o->space;
    const int first = tenon_cuda_space_numbers(s);
    tenon_cuda_space_print(s, b);
    print_known(b, "tenon_depth", o->depth, first);
    print_known(b, "tenon_step_a", o->step_a, first + 1);
    print_known(b, "tenon_step_b", o->step_b, first + 2);
    tenon_buf_printf(b, "#define A_TYPE %s\n#define B_TYPE %s\n#define A_ALONG_DEPTH %d\n#define B_ALONG_DEPTH %d\n#define B_CONSTANT %d\n",
                     tenon_cuda_type(s->tensor[0].type->dtype), tenon_cuda_type(s->tensor[1].type->dtype), a_along_depth(o),
                     b_along_depth(o), p->src[o->src_b].format.weight);
    tenon_cuda_program_print(&o->program, s, b);
}

static const tenon_tensor *bound(const tenon_bind *b, const tenon_cuda_product *o, int t)
{
    if (t < 2) return &b->src[t == 0 ? o->src_a : o->src_b];
    const int dst = tenon_problem_dst(b->problem, o->operand[t]);
    return dst >= 0 ? &b->dst[dst] : &b->src[tenon_problem_src(b->problem, o->operand[t])];
}

/* inner, outer: step and size of the axis that copies run along, and of the other one. */
static bool whole_vectors(const tenon_cuda_space *s, int t, const int64_t *number, const tenon_tensor *x, int64_t inner_step, int64_t inner_size,
                          int64_t outer_step, int64_t outer_size, int vector)
{
    if (inner_step != 1 || inner_size % vector || (uintptr_t)x->data % tenon_dtype_bytes(x->dtype, (size_t)vector)) return false;
    if (outer_size > 1 && outer_step % vector) return false;
    for (int j = 0; j < s->rank - 2; j++)
        if (number[j] > 1 && number[s->rank * (1 + t) + j] % vector) return false;
    return true;
}

bool tenon_cuda_product_in_vectors(const tenon_bind *b, const tenon_cuda_product *o, int t, const tenon_tensor *tensor, int vector)
{
    const tenon_cuda_space *s = &o->space;
    const int rank = s->rank, axis = t == 0 ? rank - 2 : rank - 1; /* of the space, beside the depth */
    const int64_t *depth = b->shape + tenon_cuda_space_numbers(s);
    const int64_t other_step = b->shape[(1 + t) * rank + axis], other = b->shape[axis];
    if (t == 0 ? a_along_depth(o) : b_along_depth(o))
        return whole_vectors(s, t, b->shape, tensor, t == 0 ? o->step_a : o->step_b, depth[0], other_step, other, vector);
    return whole_vectors(s, t, b->shape, tensor, other_step, other, depth[1 + t], depth[0], vector);
}

tenon_status tenon_cuda_product_bind(tenon_cx *cx, const tenon_bind *b, const tenon_cuda_product *o, const tenon_tensor **tensor,
                                     tenon_cuda_record *r)
{
    const tenon_cuda_space *s = &o->space;
    for (int t = 0; t < s->count; t++) tensor[t] = bound(b, o, t);
    TENON_TRY(tenon_cuda_space_bind(cx, s, b->dst[o->domain_dst].dim, tensor, b->shape));
    int64_t *extra = b->shape + tenon_cuda_space_numbers(s);
    extra[0] = tensor[0]->dim[o->axis_a];
    extra[1] = tensor[0]->stride[o->axis_a];
    extra[2] = tensor[1]->stride[o->axis_b];
    if (extra[0] > 1 && ((o->step_a != TENON_CUDA_UNKNOWN && o->step_a != extra[1]) || (o->step_b != TENON_CUDA_UNKNOWN && o->step_b != extra[2])))
        return TENON_FAIL(cx, TENON_INTERNAL, "cuda: strides along the depth of a product are not those of its formats");
    for (int t = 0; t < s->count; t++) r->args.at[t] = tensor[t]->data;
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    return TENON_OK;
}

void tenon_cuda_product_grid(const tenon_bind *b, const tenon_cuda_product *o, int bm, int bn, tenon_cuda_record *r)
{
    const int rank = o->space.rank;
    int64_t size[TENON_MAX_RANK], batch = 1;
    tenon_cuda_space_sizes(&o->space, (b->dst_most ? b->dst_most : b->dst)[o->domain_dst].dim, size);
    for (int j = 0; j < rank - 2; j++) batch *= size[j];
    r->grid[0] = batch ? (uint32_t)(tenon_ceil_div(size[rank - 2], bm) * tenon_ceil_div(size[rank - 1], bn)) : 0;
    r->grid[1] = 1;
    r->grid[2] = (uint32_t)batch;
}
