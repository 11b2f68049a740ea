/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products by cuBLASLt: f16, bf16 and f32 (a second tactic rounds to TF32), sums in f32, behind them [* number] [+ vector]
   [+ tensor] [relu | gelu_tanh] and nothing else. Rows and one axis of equal matrices may have dynamic sizes; depth and
   columns are fixed. A convolution of one tap is the product of its pixels and its weight as it stands: rows are pixels, columns
   filters. A variant is a place in the heuristic's list, which is asked at the tuning point when the engine is built. */
#include "cuda/cublaslt_product.h"
#include "cuda/library_tactic.h"

#include "base/checked.h"

#include <stdio.h>
#include <string.h>

enum { A = TENON_LT_A, B = TENON_LT_B, D = TENON_LT_D, C = TENON_LT_C, TENSORS = TENON_LT_TENSORS };
enum { RANKS = 8, WORKSPACE_LEAST = 64 << 10, WORKSPACE_MOST = 32 << 20 };
typedef tenon_lt_step own;
typedef tenon_lt_record record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

/* ---- the program ---- */
/* One element a column of the result. */
static bool is_vector(const tenon_type *t, const tenon_type *y, int columns)
{
    const int axis = columns - (y->rank - t->rank);
    for (int i = 0; i < t->rank; i++)
        if (i != axis && !tenon_dim_is(t->dim[i], 1)) return false;
    return axis >= 0 && t->dim[axis] == y->dim[columns];
}

static const char *take_add(const tenon_problem *p, const tenon_value *v, const tenon_type *y, own *o)
{
    const int src = tenon_problem_src(p, v);
    if (src < 0) return "an operand of the program is not a source";
    if (v->type.dtype != y->dtype) return "an operand of the program has another type";
    if (is_vector(&v->type, y, o->columns_d) && o->bias < 0) {
        if (p->src[src].format.ld) return "the vector has a pitch";
        o->bias = src;
        return NULL;
    }
    if (!tenon_type_equal(&v->type, y)) return "an operand of the program is neither a vector nor of the result's shape";
    if (o->src[C] >= 0) return "two tensors are added";
    o->src[C] = src;
    return NULL;
}

/* Instruction i as what the library does behind the sums; the one before gave its operand. */
static const char *take_instr(const tenon_problem *p, const tenon_program *program, int i, const tenon_type *y, own *o)
{
    const tenon_instr *in = &program->instr[i];
    const int before = i == 0 ? ~0 : i - 1;
    if (o->product.epilogue & (TENON_LT_EPILOGUE_RELU | TENON_LT_EPILOGUE_GELU))
        return "the program goes on behind its activation";
    if (in->op == &tenon_op_relu && in->src[0] == before) return o->product.epilogue |= TENON_LT_EPILOGUE_RELU, NULL;
    if (in->op == &tenon_op_gelu_tanh && in->src[0] == before) return o->product.epilogue |= TENON_LT_EPILOGUE_GELU, NULL;
    if (in->op != &tenon_op_add && in->op != &tenon_op_mul) return "cuBLASLt has no such program";
    const int other = in->src[0] == before ? in->src[1] : in->src[1] == before ? in->src[0] : before;
    if (other >= 0 || other == before) return "the program is no chain";
    if (in->op == &tenon_op_add)
        return program->operand_scalar[~other] ? "a number is added" : take_add(p, program->operand[~other], y, o);
    if (!program->operand_scalar[~other] || i > 0 || o->bias >= 0) return "the program multiplies";
    o->alpha = (float)program->operand_value[~other];
    return NULL;
}

static const char *take_program(const tenon_problem *p, const tenon_program *program, own *o)
{
    if (program->result_count != 1 || program->class_ != TENON_CLASS_F32)
        return "the program has several results or another class";
    if (program->result_instr[0] != program->instr_count - 1) return "the program is no chain";
    for (int i = 0; i < program->instr_count; i++) {
        const char *why = take_instr(p, program, i, &program->result[0]->type, o);
        if (why) return why;
    }
    return NULL;
}

/* ---- axes ---- */
static void matrix_axes(int rank, int domain_rank, bool is_a, int *axis)
{
    for (int d = 0; d < domain_rank; d++) {
        const int lead = d - (domain_rank - rank);
        axis[d] = d < domain_rank - 2 && lead >= 0 ? lead : -1;
    }
    axis[domain_rank - (is_a ? 2 : 1)] = rank - (is_a ? 2 : 1);
}

/* The axes in front of the columns are rows where B repeats, matrices of a batch where it does not. */
static const char *sort_axes(own *o)
{
    const tenon_cuda_space *s = &o->space;
    o->rows = o->batch = -1;
    for (int t = 0; t < s->count; t++)
        for (int d = 0; d < s->domain_rank; d++)
            if (s->tensor[t].loose[d]) return "an axis may or may not be repeated";
    for (int j = 0; j + 1 < s->rank; j++) {
        int *place = s->tensor[B].stride[j] == 0 ? &o->rows : &o->batch;
        if (*place >= 0 || (place == &o->rows && s->tensor[A].stride[j] == 0)) return "rows or matrices have no single stride";
        *place = j;
    }
    return NULL;
}

static const char *sort_strides(const tenon_node *n, own *o)
{
    const tenon_cuda_space *s = &o->space;
    const tenon_type *a = &n->src[0]->type, *b = &n->src[1]->type;
    const int columns = s->rank - 1;
    const int64_t depth_a = tenon_cuda_known_stride(&s->tensor[A], o->depth_a),
                  depth_b = tenon_cuda_known_stride(&s->tensor[B], o->depth_b);
    if (!tenon_dim_is_const(a->dim[o->depth_a]) || !tenon_dim_is_const(b->dim[o->columns_b])) return "a dynamic depth or width";
    if (a->dim[o->depth_a]->value < 1 || b->dim[o->columns_b]->value < 1) return "an empty matrix";
    o->depth_last_a = depth_a == 1;
    o->columns_last_b = s->tensor[B].stride[columns] == 1;
    if (!o->depth_last_a && o->rows >= 0 && s->tensor[A].stride[o->rows] != 1)
        return "the left operand is contiguous along neither axis";
    if (!o->columns_last_b && depth_b != 1) return "the right operand is contiguous along neither axis";
    for (int t = D; t < s->count; t++)
        if (s->tensor[t].stride[columns] != 1) return "the result or what is added is not contiguous along its columns";
    return NULL;
}

/* Axes of the product, and the space of its result. */
static const char *make_matmul(const tenon_problem *p, const tenon_node *n, own *o)
{
    const tenon_type *a = &n->src[0]->type, *b = &n->src[1]->type, *y = &n->dst[0]->type;
    int axis[TENON_MAX_RANK];
    o->depth_a = a->rank - 1;
    o->depth_b = b->rank - 2;
    o->columns_b = b->rank - 1;
    tenon_cuda_space_init(&o->space, p->graph->dims, y->rank, y->dim, NULL);
    matrix_axes(a->rank, y->rank, true, axis);
    (void)tenon_cuda_space_add(&o->space, a, &p->src[o->src[A]].format, axis);
    matrix_axes(b->rank, y->rank, false, axis);
    (void)tenon_cuda_space_add(&o->space, b, &p->src[o->src[B]].format, axis);
    return NULL;
}

/* Every pixel of the result is one of x. */
static bool is_point(const tenon_node *n)
{
    const tenon_attr *strides = tenon_node_attr(n, "strides"), *pads = tenon_node_attr(n, "pads");
    const tenon_type *x = &n->src[0]->type, *w = &n->src[1]->type, *y = &n->dst[0]->type;
    for (size_t i = 0; i < strides->count; i++)
        if (strides->ints[i] != 1) return false;
    for (size_t i = 0; i < pads->count; i++)
        if (pads->ints[i] != 0) return false;
    for (int i = 2; i < w->rank; i++)
        if (!tenon_dim_is(w->dim[i], 1) || x->dim[i] != y->dim[i]) return false;
    return tenon_node_int(n, "group") <= 1;
}

static const char *make_conv(const tenon_problem *p, const tenon_node *n, own *o)
{
    const tenon_type *x = &n->src[0]->type, *y = &n->dst[0]->type;
    const tenon_format *w = &p->src[o->src[B]].format;
    uint8_t order[TENON_MAX_RANK] = {0};
    int axis[TENON_MAX_RANK];
    if (!is_point(n)) return "a convolution of several taps, groups or strides";
    if (w->ld || (w->layout != TENON_ROW && w->layout != TENON_CLAST)) return "a weight with strides of its own";
    o->depth_a = o->depth_b = 1;
    o->columns_b = 0;
    for (int i = 1; i < y->rank - 1; i++) order[i] = (uint8_t)(i + 1);
    order[y->rank - 1] = 1;
    tenon_cuda_space_init(&o->space, p->graph->dims, y->rank, y->dim, order);
    for (int i = 0; i < y->rank; i++) axis[i] = i == 1 ? -1 : i;
    (void)tenon_cuda_space_add(&o->space, x, &p->src[o->src[A]].format, axis);
    for (int i = 0; i < y->rank; i++) axis[i] = i == 1 ? 0 : -1;
    (void)tenon_cuda_space_add(&o->space, &n->src[1]->type, w, axis);
    if (n->src_count < 3 || !n->src[2]) return NULL;
    o->bias = tenon_problem_src(p, n->src[2]);
    return o->bias < 0 || p->src[o->bias].format.ld ? "a bias that is not a plain source" : NULL;
}

const char *tenon_lt_step_make(const tenon_problem *p, bool bare, own *o)
{
    const tenon_anchor *at = &p->anchor[0];
    const tenon_node *n = at->node;
    const tenon_type *a = &n->src[0]->type, *b = &n->src[1]->type, *y = &n->dst[0]->type;
    const bool conv = strcmp(n->op->name, "conv") == 0;
    memset(o, 0, sizeof *o);
    o->src[C] = o->src[D] = o->bias = -1;
    o->alpha = 1;
    o->columns_d = conv ? 1 : y->rank - 1;
    if (at->pre[0] || at->pre[1] || at->pre[2]) return "a program on an operand";
    if (a->rank < 2 || b->rank < 2) return "an operand is a vector";
    if (a->dtype != b->dtype) return "operands of two types";
    o->src[A] = tenon_problem_src(p, n->src[0]);
    o->src[B] = tenon_problem_src(p, n->src[1]);
    if (o->src[A] < 0 || o->src[B] < 0) return "an operand is not a source";
    const char *why = conv ? make_conv(p, n, o) : make_matmul(p, n, o);
    if (!why && at->post && !bare) why = take_program(p, at->post, o);
    if (why) return why;
    const tenon_value *result = at->post ? at->post->result[0] : n->dst[0];
    o->dst = tenon_problem_dst(p, result);
    if (o->dst < 0 || p->dst_count != 1) return "an operand is not a source";
    if (result->type.dtype != a->dtype || !tenon_type_equal(&result->type, y)) return "the result has another type or shape";
    (void)tenon_cuda_space_add(&o->space, y, &p->dst[o->dst].format, NULL);
    if (o->src[C] >= 0) (void)tenon_cuda_space_add(&o->space, y, &p->src[o->src[C]].format, NULL);
    if (!tenon_cuda_space_finish(&o->space, 1)) return "sizes too large to reckon with";
    why = sort_axes(o);
    return why ? why : sort_strides(n, o);
}

/* ---- numbers ---- */
static int64_t step_of(const own *o, const tenon_tensor *x, int t, int axis)
{
    if (axis < 0) return 0;
    const int a = o->space.tensor[t].axis[o->space.order[o->space.end[axis] - 1]];
    return a < 0 ? 0 : x->stride[a];
}

/* The product of bound tensors. The library's a is B, its b is A. */
static void fill(const own *o, const tenon_tensor *a, const tenon_tensor *b, const tenon_tensor *c, const tenon_tensor *d,
                 tenon_lt_product *p)
{
    int64_t size[TENON_MAX_RANK] = {0};
    tenon_cuda_space_sizes(&o->space, d->dim, size);
    p->m = d->dim[o->columns_d];
    p->n = o->rows >= 0 ? size[o->rows] : 1;
    p->k = a->dim[o->depth_a];
    p->batch = o->batch >= 0 ? size[o->batch] : 1;
    p->transpose_a = !o->columns_last_b;
    p->transpose_b = !o->depth_last_a;
    p->ld_a = o->columns_last_b ? TENON_MAX(b->stride[o->depth_b], p->m) : TENON_MAX(b->stride[o->columns_b], p->k);
    p->ld_b = o->depth_last_a ? TENON_MAX(step_of(o, a, A, o->rows), p->k) : TENON_MAX(a->stride[o->depth_a], p->n);
    p->ld_d = TENON_MAX(step_of(o, d, D, o->rows), p->m);
    p->ld_c = c ? TENON_MAX(step_of(o, c, C, o->rows), p->m) : p->ld_d;
    p->step_a = step_of(o, b, B, o->batch);
    p->step_b = step_of(o, a, A, o->batch);
    p->step_d = step_of(o, d, D, o->batch);
    p->step_c = c ? step_of(o, c, C, o->batch) : p->step_d;
    p->has_c = c != NULL;
}

static tenon_status at_opt(tenon_cx *cx, const tenon_problem *p, own *o)
{
    const tenon_dim_pool *pool = p->graph->dims;
    tenon_tensor src[TENON_PROBLEM_SRC], dst[TENON_PROBLEM_DST];
    int64_t opt[TENON_PROBLEM_SYMBOLS];
    for (size_t i = 0; i < pool->symbol_count && i < TENON_COUNTOF(opt); i++) opt[i] = pool->symbol[i].opt;
    TENON_TRY(tenon_problem_shapes(cx, p, opt, src, dst));
    for (int t = 0; t < TENSORS; t++)
        if (o->src[t] >= 0) tenon_format_strides(&p->src[o->src[t]].format, &src[o->src[t]]);
    tenon_format_strides(&p->dst[o->dst].format, &dst[o->dst]);
    fill(o, &src[o->src[A]], &src[o->src[B]], o->src[C] >= 0 ? &src[o->src[C]] : NULL, &dst[o->dst], &o->product);
    return TENON_OK;
}

/* Room for sums that are split along the depth, in a few parts. */
static int64_t workspace_of(const tenon_lt_product *p)
{
    int64_t bytes = WORKSPACE_MOST;
    const int64_t size[] = {p->m, p->n, p->batch, 4 * 8};
    if (!tenon_product(size, 4, &bytes)) return WORKSPACE_MOST;
    return TENON_MAX(WORKSPACE_LEAST, TENON_MIN(bytes, WORKSPACE_MOST));
}

/* ---- the tactic ---- */
const char *tenon_lt_step_rejects(const tenon_problem *p, bool bare, const tenon_variant *v, const tenon_device *device, bool tf32,
                                  tenon_reason *scratch)
{
    own o;
    const char *why = tenon_cuda_library_type_rejects(p, tf32);
    if (why) return why;
    if (v->p[P_RANK] < 0 || v->p[P_RANK] >= RANKS) return "no such variant";
    why = tenon_lt_step_make(p, bare, &o);
    return why ? why : tenon_cuda_library_rejects(&tenon_cublaslt_library, v, device, scratch);
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, bool tf32,
                          tenon_reason *scratch)
{
    return tenon_lt_step_rejects(p, false, v, device, tf32, scratch);
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    (void)p;
    const int version = tenon_cuda_library_version(&tenon_cublaslt_library, device);
    const int count = version ? TENON_MIN(max, RANKS) : TENON_MIN(max, 1);
    for (int i = 0; i < count; i++) out[i] = (tenon_variant){.p = {[P_RANK] = i, [P_VERSION] = version}};
    return count;
}

tenon_status tenon_lt_step_plan(tenon_cx *cx, const tenon_problem *p, bool bare, const tenon_variant *v, bool tf32, own *o,
                                tenon_kernel_source *out)
{
    const char *why = tenon_lt_step_make(p, bare, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.cublaslt_matmul: %s", why);
    const tenon_dtype type = p->anchor[0].node->src[0]->type.dtype;
    tenon_lt_product *r = &o->product;
    r->type = type == TENON_F16 ? TENON_LT_F16 : type == TENON_BF16 ? TENON_LT_BF16 : TENON_LT_F32;
    r->compute = tf32 ? TENON_LT_COMPUTE_TF32 : TENON_LT_COMPUTE_F32;
    r->epilogue |= o->bias >= 0 ? TENON_LT_EPILOGUE_BIAS : 0;
    if (!r->epilogue) r->epilogue = TENON_LT_EPILOGUE_NONE;
    r->rank = v->p[P_RANK];
    TENON_TRY(at_opt(cx, p, o));
    r->workspace_bytes = workspace_of(r);
    return tenon_cuda_library_source(cx, p, &tenon_cublaslt_library, "cuda.cublaslt_matmul", &r->type, sizeof *r / sizeof r->type, out);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, bool tf32, tenon_tactic_plan *out)
{
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuBLASLt: no memory for a step");
    TENON_TRY(tenon_lt_step_plan(cx, p, false, v, tf32, o, &out->kernel[0]));
    out->kernel_count = 1;
    out->record_bytes = sizeof(record);
    out->workspace_bytes = (size_t)o->product.workspace_bytes;
    out->in_place = o->src[C] >= 0 &&
                    tenon_format_equal(&p->src[o->src[C]].format, &p->dst[o->dst].format, p->dst[o->dst].value->type.rank);
    out->own = o;
    return TENON_OK;
}

/* With other sizes than those of the tuning point the algorithm is looked at again, and another one asked for where it does not
 * do. */
static tenon_status settle(tenon_cx *cx, const tenon_bind *b, const tenon_lt_product *p, bool aligned, record *r)
{
    const tenon_lt_loaded *k = r->loaded;
    const int slot = aligned ? 0 : 1;
    tenon_lt_descriptors *d = &r->descriptors;
    tenon_lt_heuristic result;
    r->algorithm = k->image.algorithm[slot];
    if (b->problem->graph->dims->symbol_count == 0) return TENON_OK;
    const int error = k->lt->cublasLtMatmulAlgoCheck(k->handle, &d->operation, &d->a, &d->b, &d->c, &d->d, &r->algorithm,
                                                     &result);
    if (error == 0 && result.workspace_bytes <= r->workspace_bytes) return TENON_OK;
    tenon_lt_image other;
    tenon_lt_product any = *p;
    any.rank = 0;
    TENON_TRY(tenon_lt_choose(cx, k->lt, k->handle, &any, aligned ? 16 : p->type == TENON_LT_F32 ? 4 : 2, &other, slot));
    r->algorithm = other.algorithm[slot];
    return TENON_OK;
}

tenon_status tenon_lt_step_bind(tenon_cx *cx, const tenon_bind *b, const own *o, record *r)
{
    const tenon_tensor *c = o->src[C] >= 0 ? &b->src[o->src[C]] : NULL, *d = &b->dst[o->dst];
    const void *bias = o->bias >= 0 ? b->src[o->bias].data : NULL;
    tenon_lt_product p = o->product;
    memset(r, 0, sizeof *r);
    fill(o, &b->src[o->src[A]], &b->src[o->src[B]], c, d, &p);
    const tenon_cuda_loaded *loaded = ((const tenon_cuda_kernel *)b->kernel[0])->loaded;
    if (!loaded || loaded->library != &tenon_cublaslt_library)
        return TENON_FAIL(cx, TENON_CORRUPT, "cuda.cublaslt_matmul: the engine's kernel is none of cuBLASLt");
    r->loaded = (const tenon_lt_loaded *)(const void *)loaded;
    r->empty = p.m == 0 || p.n == 0 || p.batch == 0;
    if (r->empty) return TENON_OK;
    r->a = b->src[o->src[B]].data;
    r->b = b->src[o->src[A]].data;
    r->d = d->data;
    r->c = c ? c->data : d->data;
    r->workspace = b->workspace;
    r->workspace_bytes = b->plan->workspace_bytes;
    r->alpha = o->alpha;
    r->beta = c ? 1.0f : 0.0f;
    TENON_TRY(tenon_lt_describe(cx, r->loaded->lt, &p, bias, &r->descriptors));
    const uintptr_t bits = (uintptr_t)r->a | (uintptr_t)r->b | (uintptr_t)r->c | (uintptr_t)r->d | (uintptr_t)bias;
    return settle(cx, b, &p, bits % 16 == 0, r);
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out) { return tenon_lt_step_bind(cx, b, b->plan->own, out); }

tenon_status tenon_lt_step_run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_cuda_queue *q = exec;
    const tenon_lt_descriptors *d = &r->descriptors;
    if (r->empty) return TENON_OK;
    const tenon_cublaslt *lt = r->loaded->lt;
    return tenon_lt_check(q->cx, lt,
                          lt->cublasLtMatmul(r->loaded->handle, &d->operation, &r->alpha, r->a, &d->a, r->b, &d->b, &r->beta,
                                             r->c, &d->c, r->d, &d->d, &r->algorithm, r->workspace, r->workspace_bytes,
                                             q->stream),
                          "a product");
}

static tenon_status run(const void *launch, void *exec) { return tenon_lt_step_run(launch, exec); }

/* Roofline with tensor cores for the small types, and what a launch without overlap costs. */
static double cost_of(const tenon_problem *p, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst,
                      bool tf32)
{
    return 4e-6 + tenon_cuda_library_roofline(p, device, src, dst, 4, true, tf32);
}

TENON_CUDA_LIBRARY_TACTIC(cublaslt_matmul, "matmul", false, 0);
TENON_CUDA_LIBRARY_TACTIC(cublaslt_matmul_tf32, "matmul", true, TENON_TACTIC_TF32 | TENON_TACTIC_FINITE);
TENON_CUDA_LIBRARY_TACTIC(cublaslt_conv, "conv", false, 0);
TENON_CUDA_LIBRARY_TACTIC(cublaslt_conv_tf32, "conv", true, TENON_TACTIC_TF32 | TENON_TACTIC_FINITE);
