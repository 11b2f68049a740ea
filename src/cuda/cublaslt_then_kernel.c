/* SPDX-License-Identifier: Apache-2.0 */
/* A matrix product by cuBLASLt, and behind it a kernel of ours for the program that the library has no epilogue for: at large sizes the
   library's lead over our products may be worth one more pass over the result. f16 and bf16; what is between is rounded to that. */
#include "cuda/conv_problem.h"
#include "cuda/cublaslt_product.h"
#include "cuda/library_tactic.h"

#include "base/checked.h"

#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_walk[], tenon_cuda_src_after[];

enum { THREADS = 256, RANKS = 4, LIBRARY = 0, AFTER = 1, MOST_VECTOR = 8 };
#define RESULTS_LEAST (1 << 20) /* below that a further launch costs more than anything gains */

typedef struct own {
    tenon_lt_step product;
    tenon_cuda_space space;
    tenon_cuda_program program;
    const tenon_value *operand[TENON_CUDA_TENSORS]; /* of each tensor of the space */
    int dst, vector;
} own;

typedef struct record { tenon_cuda_record after; tenon_lt_record product; } record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const char *make(const tenon_problem *p, own *o)
{
    const tenon_program *post = p->anchor[0].post;
    const tenon_type *y = &p->anchor[0].node->dst[0]->type;
    memset(o, 0, sizeof *o);
    if (!post) return "no program behind it";
    if (y->dtype != TENON_F16 && y->dtype != TENON_BF16) return "neither f16 nor bf16";
    if (post->class_ != TENON_CLASS_F32) return "a program that does not compute in f32";
    const char *why = tenon_lt_step_make(p, true, &o->product);
    if (why) return why;
    o->dst = o->product.dst;
    tenon_cuda_space_init(&o->space, p->graph->dims, y->rank, y->dim, NULL);
    why = tenon_cuda_program_add(p, post, p->anchor[0].node->dst[0], &o->space, &o->program);
    if (why) return why;
    for (int i = 0; i < post->operand_count; i++)
        if (o->program.operand[i] >= 0) o->operand[o->program.operand[i]] = post->operand[i];
    o->operand[o->program.result[0]] = post->result[0];
    if (!tenon_cuda_space_finish(&o->space, 0)) return "sizes too large to reckon with";
    if (tenon_cuda_space_most(&o->space) > INT32_MAX) return "more elements than 32-bit indices reach";
    for (o->vector = MOST_VECTOR; o->vector > 1; o->vector /= 2)
        if (o->space.rank > 0 && o->space.dim[o->space.rank - 1]->divisor % o->vector == 0) break;
    return NULL;
}

static double results_at_opt(const tenon_problem *p)
{
    const tenon_type *y = &p->anchor[0].node->dst[0]->type;
    double count = 1;
    for (int i = 0; i < y->rank; i++) count *= (double)tenon_dim_at_opt(p->graph->dims, y->dim[i]);
    return count;
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    own o;
    if (make(p, &o) || results_at_opt(p) < RESULTS_LEAST) return 0;
    const int version = tenon_cuda_library_version(&tenon_cublaslt_library, device);
    const int count = version ? TENON_MIN(max, RANKS) : TENON_MIN(max, 1);
    for (int i = 0; i < count; i++) out[i] = (tenon_variant){.p = {[P_RANK] = i, [P_VERSION] = version}};
    return count;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    const char *why = make(p, &o);
    if (!why) why = tenon_cuda_program_rejects(p->anchor[0].post, scratch);
    return why ? why : tenon_lt_step_rejects(p, true, v, device, false, scratch);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuBLASLt: no memory for a step");
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.cublaslt_then: %s", why);
    const int result = o->program.result[0];
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#include \"prelude.cu\"\n");
    tenon_cuda_space_print(&o->space, &b);
    tenon_cuda_program_print(&o->program, &o->space, &b);
    tenon_buf_printf(&b, "#define AFTER %d\n#define AFTER_TYPE %s\n#define AFTER_ACCESS %s\n", result,
                     tenon_cuda_type(o->space.tensor[result].type->dtype), tenon_cuda_access(&o->space, result));
    tenon_buf_str(&b, tenon_cuda_src_walk);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_after, "tenon_after", TENON_MAX(tenon_cuda_space_numbers(&o->space), 1), o, out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DTHREADS=%d -DVECTOR=%d", THREADS, o->vector);
    out->kernel[AFTER] = out->kernel[0];
    out->kernel_count = 2;
    TENON_TRY(tenon_lt_step_plan(cx, p, true, v, false, &o->product, &out->kernel[LIBRARY]));
    out->record_bytes = sizeof(record);
    out->workspace_bytes = (size_t)o->product.product.workspace_bytes;
    return TENON_OK;
}

static tenon_status bind_after(tenon_cx *cx, const tenon_bind *b, const own *o, tenon_cuda_record *r)
{
    const tenon_cuda_space *s = &o->space;
    const tenon_tensor *tensor[TENON_CUDA_TENSORS];
    int64_t size[TENON_MAX_RANK], total = 1;
    for (int t = 0; t < s->count; t++) {
        const int dst = tenon_problem_dst(b->problem, o->operand[t]);
        tensor[t] = dst >= 0 ? &b->dst[dst] : &b->src[tenon_problem_src(b->problem, o->operand[t])];
    }
    TENON_TRY(tenon_cuda_space_bind(cx, s, b->dst[o->dst].dim, tensor, b->shape));
    for (int t = 0; t < s->count; t++) {
        r->args.at[t] = tensor[t]->data;
        r->args.aligned |= (uint32_t)tenon_cuda_space_is_aligned(s, t, b->shape, tensor[t], o->vector) << t;
    }
    tenon_cuda_space_sizes(s, (b->dst_most ? b->dst_most : b->dst)[o->dst].dim, size);
    for (int j = 0; j < s->rank; j++) total *= size[j];
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[AFTER])->function;
    r->grid[0] = (uint32_t)tenon_ceil_div(total / o->vector, THREADS);
    r->grid[1] = r->grid[2] = 1;
    r->threads = THREADS;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const own *o = b->plan->own;
    memset(r, 0, sizeof *r);
    TENON_TRY(tenon_lt_step_bind(cx, b, &o->product, &r->product));
    return bind_after(cx, b, o, &r->after);
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    TENON_TRY(tenon_lt_step_run(&r->product, exec));
    return tenon_cuda_run(&r->after, exec);
}

/* The product, and the result read and written once more beside the program's operands. */
static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    const double maps = 2 + tenon_cuda_conv_operands(p->anchor[0].post);
    const double after = maps * 2 * (double)tenon_tensor_count(&dst[0]) / tenon_backend_cuda.info(device)->bandwidth;
    return 6e-6 + (tenon_cuda_library_roofline(p, device, src, dst, 4, true, false) + after) * (1 + 0.01 * v->p[P_RANK]);
}

const tenon_tactic tenon_cuda_cublaslt_then = {
    .name = "cuda.cublaslt_then", .pattern = "matmul", .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject, .plan = plan,
    .bind = bind, .run = run, .cost = cost,
};
