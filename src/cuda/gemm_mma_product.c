/* SPDX-License-Identifier: Apache-2.0 */
/* A matmul problem as tensor-core kernels see it; contracts in gemm_mma.h. */
#include "cuda/gemm_mma.h"

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

const char *tenon_cuda_product_make(const tenon_problem *p, tenon_cuda_product *o)
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
    bool one_b = true; /* the same B for all matrices */
    for (int i = 0; i < b->rank - 2; i++) one_b = one_b && tenon_dim_is(b->dim[i], 1);
    const char *why = make_space(p, o, one_b ? 1 : 2);
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

const char *tenon_cuda_product_rejects(const tenon_problem *p, tenon_cuda_product *o, tenon_reason *scratch)
{
    const char *why = tenon_cuda_product_make(p, o);
    if (why) return why;
    const tenon_program *post = p->anchor[0].post;
    if (post && post->class_ != TENON_CLASS_F32) return "a program that does not compute in f32";
    if (post && (why = tenon_cuda_program_rejects(post, scratch)) != NULL) return why;
    int64_t batch = 1;
    for (int j = 0; j < o->space.rank - 2; j++)
        if (!tenon_mul_i64(batch, o->space.dim[j]->hi, &batch) || batch > BATCH_MOST) return "more matrices than a grid holds";
    if (tenon_cuda_space_most(&o->space) > INT32_MAX) return "more elements than 32-bit indices reach";
    if (p->anchor[0].node->src[0]->type.dim[o->axis_a]->hi > INT32_MAX) return "a depth that 32-bit indices do not reach";
    return NULL;
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
    tenon_buf_str(b, "#include \"prelude.cu\"\n#include \"mma.cu\"\n");
    tenon_cuda_space_print(s, b);
    print_known(b, "tenon_depth", o->depth, first);
    print_known(b, "tenon_step_a", o->step_a, first + 1);
    print_known(b, "tenon_step_b", o->step_b, first + 2);
    tenon_buf_printf(b, "#define A_TYPE %s\n#define A_ALONG_DEPTH %d\n#define B_ALONG_DEPTH %d\n#define B_CONSTANT %d\n",
                     tenon_cuda_type(s->tensor[0].type->dtype), a_along_depth(o), b_along_depth(o), p->src[o->src_b].format.weight);
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

tenon_status tenon_cuda_product_bind(tenon_cx *cx, const tenon_bind *b, const tenon_cuda_product *o, int vector, tenon_cuda_record *r)
{
    const tenon_cuda_space *s = &o->space;
    const int rank = s->rank;
    const tenon_tensor *tensor[TENON_CUDA_TENSORS];
    for (int t = 0; t < s->count; t++) tensor[t] = bound(b, o, t);
    TENON_TRY(tenon_cuda_space_bind(cx, s, b->dst[o->domain_dst].dim, tensor, b->shape));
    const int64_t depth = tensor[0]->dim[o->axis_a], step_a = tensor[0]->stride[o->axis_a], step_b = tensor[1]->stride[o->axis_b];
    const int64_t rows = b->shape[rank - 2], columns = b->shape[rank - 1], by_row = b->shape[rank + rank - 2],
                  by_column = b->shape[2 * rank + rank - 1];
    int64_t *extra = b->shape + tenon_cuda_space_numbers(s);
    extra[0] = depth, extra[1] = step_a, extra[2] = step_b;
    if (depth > 1 && ((o->step_a != TENON_CUDA_UNKNOWN && o->step_a != step_a) || (o->step_b != TENON_CUDA_UNKNOWN && o->step_b != step_b)))
        return TENON_FAIL(cx, TENON_INTERNAL, "cuda: strides along the depth of a product are not those of its formats");
    const bool along_a = a_along_depth(o), along_b = b_along_depth(o);
    if (along_a ? whole_vectors(s, 0, b->shape, tensor[0], o->step_a, depth, by_row, rows, vector)
                : whole_vectors(s, 0, b->shape, tensor[0], by_row, rows, step_a, depth, vector)) r->args.aligned |= 1;
    if (along_b ? whole_vectors(s, 1, b->shape, tensor[1], o->step_b, depth, by_column, columns, vector)
                : whole_vectors(s, 1, b->shape, tensor[1], by_column, columns, step_b, depth, vector)) r->args.aligned |= 2;
    for (int t = 0; t < s->count; t++) {
        r->args.at[t] = tensor[t]->data;
        if (t >= 2) r->args.aligned |= (uint32_t)tenon_cuda_space_is_aligned(s, t, b->shape, tensor[t], 8) << t;
    }
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    return TENON_OK;
}

void tenon_cuda_product_most(const tenon_bind *b, const tenon_cuda_product *o, int64_t *size)
{
    tenon_cuda_space_sizes(&o->space, (b->dst_most ? b->dst_most : b->dst)[o->domain_dst].dim, size);
}
