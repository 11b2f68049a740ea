/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers, scatters, pads, repeats, parts, blocks of pixels, and tensors made of a few numbers, of any element type of plain storage.
   The kernel walks the result's axes in the order of memory; where the innermost one runs along a source too,
       a thread moves a vector of it.
   A program on the result is printed into the kernel. Variants: {elements a thread}. */
#include "cuda/estimate.h"
#include "cuda/moves_problem.h"

#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_walk[], tenon_cuda_src_moves[];

enum { THREADS = 256, P_VECTOR = 0 };

static int vector_of(const tenon_variant *v) { return v->p[P_VECTOR] ? v->p[P_VECTOR] : 1; }

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    tenon_cuda_moves m;
    int count = 0;
    (void)device;
    const int widest = tenon_cuda_moves_make(p, &m) ? 1 : tenon_cuda_moves_vector(&m);
    for (int vector = widest; vector >= 1 && count < max; vector = vector > 2 ? vector / 2 : vector - 1)
        if (vector == widest || vector == widest / 2 || vector == 1) out[count++] = (tenon_variant){{vector}};
    return count;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    tenon_cuda_moves m;
    (void)device;
    const char *why = tenon_cuda_moves_make(p, &m);
    if (why) return why;
    const tenon_program *post = p->anchor[0].post;
    if (post && (why = tenon_cuda_program_rejects(post, scratch)) != NULL) return why;
    const int vector = vector_of(v), widest = tenon_cuda_moves_vector(&m);
    if (vector < 1 || vector > widest || widest % vector) return "no such variant";
    return m.bounded && tenon_cuda_space_most(&m.space) > INT32_MAX ? "more elements than 32-bit indices reach" : NULL;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
    tenon_tactic_plan *out)
{
    (void)device;
    tenon_cuda_moves *m = tenon_arena_alloc(p->graph->arena, sizeof *m);
    if (!m) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = tenon_cuda_moves_make(p, m);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.moves: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#include \"prelude.cu\"\n");
    tenon_cuda_moves_print(p, m, &b);
    tenon_buf_str(&b, tenon_cuda_src_walk);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_moves, "tenon_moves", TENON_MAX(tenon_cuda_moves_numbers(m), 1), m,
                                     out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DTHREADS=%d -DVECTOR=%d", THREADS, vector_of(v));
    out->in_place = p->anchor[0].post != NULL;
    return TENON_OK;
}

static bool source_aligned(const tenon_tensor *t, int axis, int vector)
{
    if ((uintptr_t)t->data % TENON_MIN(tenon_dtype_bytes(t->dtype, (size_t)vector), 16) || axis < 0 || (t->dim[axis] > 1 &&
        t->stride[axis] != 1)) return false;
    for (int k = 0; k < t->rank; k++)
        if (k != axis && t->dim[k] > 1 && t->stride[k] % vector) return false;
    return true;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const tenon_cuda_moves *m = b->plan->own;
    const tenon_cuda_space *s = &m->space;
    const tenon_tensor *tensor[TENON_CUDA_TENSORS];
    const int vector = vector_of(b->variant);
    int64_t size[TENON_MAX_RANK], total = 1;
    memset(r, 0, sizeof *r);
    for (int t = 0; t < s->count + m->source_count; t++) tensor[t] = tenon_cuda_moves_bound(b, m, t);
    TENON_TRY(tenon_cuda_space_bind(cx, s, tenon_cuda_moves_domain(b, m, false), tensor, b->shape));
    int64_t *number = b->shape + tenon_cuda_space_numbers(s);
    for (int t = 0; t < s->count + m->source_count; t++) {
        if (!tensor[t]) continue;
        r->args.at[t] = tensor[t]->data;
        if (t < s->count) {
            r->args.aligned |= (uint32_t)tenon_cuda_space_is_aligned(s, t, b->shape, tensor[t], vector) << t;
            continue;
        }
        r->args.aligned |= (uint32_t)source_aligned(tensor[t], m->source[t - s->count].along, vector) << t;
        for (int k = 0; k < tensor[t]->rank; k++) *number++ = tensor[t]->dim[k];
        for (int k = 0; k < tensor[t]->rank; k++) *number++ = tensor[t]->stride[k];
    }
    TENON_TRY(tenon_cuda_moves_params(cx, b, m, number));
    tenon_cuda_space_sizes(s, tenon_cuda_moves_domain(b, m, true), size);
    for (int j = 0; j < s->rank; j++) total *= size[j];
    if (total > INT32_MAX) return TENON_FAIL(cx, TENON_UNSUPPORTED, "cuda: a move of %lld elements, 32-bit indices reach %d",
        (long long)total, INT32_MAX);
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    r->grid[0] = (uint32_t)((total / vector + THREADS - 1) / THREADS);
    r->grid[1] = r->grid[2] = 1;
    r->threads = THREADS;
    return TENON_OK;
}

/* Updates that an element of a scatter looks at: it finds its own among all of its line, or all there are. */
static double updates_of(const tenon_problem *p, const tenon_node *n, const tenon_tensor *src)
{
    const int at = n->src_count > 1 && n->src[1] ? tenon_problem_src(p, n->src[1]) : -1;
    const tenon_tensor *indices = at < 0 ? NULL : &src[at];
    if (!indices || indices->rank < 1) return 0;
    if (n->op == &tenon_op_scatter_nd) return (double)tenon_tensor_count(indices) / (double)TENON_MAX(indices->dim[indices->rank - 1], 1);
    if (n->op != &tenon_op_scatter_elements) return 0;
    const int64_t axis = tenon_node_int(n, "axis");
    return (double)indices->dim[axis < 0 ? axis + indices->rank : axis];
}

/* What a result has is read once, however large the source is; the indices that say where wait for nothing but are waited for. */
static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src,
                   const tenon_tensor *dst)
{
    const tenon_node *n = p->anchor[0].node;
    const bool splits = n->op == &tenon_op_split;
    const tenon_tensor *whole = splits ? &src[0] : &dst[0];
    const double bytes = tenon_cuda_bytes(whole), updates = updates_of(p, n, src);
    const double threads = (double)tenon_tensor_count(whole) / vector_of(v);
    tenon_cuda_work w = {.bytes = splits ? 2 * bytes : 0, .threads = threads, .flops = threads * updates * 8,
                         .in_flight = (double)tenon_dtype_bytes(whole->dtype, (size_t)vector_of(v)), .waits = p->src_count > 1};
    for (int i = 0; i < p->src_count && !splits; i++) w.bytes += TENON_MIN(tenon_cuda_bytes(&src[i]), bytes);
    for (int i = 0; i < p->dst_count && !splits; i++) w.bytes += tenon_cuda_bytes(&dst[i]);
    if (updates > 0) w.waits += updates / 8; /* from the cache, some at a time */
    return tenon_cuda_estimate(device, &w);
}

#define MOVE(op)                                                                                                            \
    const tenon_tactic tenon_cuda_##op = {                                                                                  \
        .name = "cuda." #op, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject,   \
        .plan = plan, .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "moves" }
MOVE(concat);
MOVE(constant_of_shape);
MOVE(depth_to_space);
MOVE(expand);
MOVE(eye_like);
MOVE(gather);
MOVE(gather_elements);
MOVE(gather_nd);
MOVE(one_hot);
MOVE(pad);
MOVE(range);
MOVE(reshape);
MOVE(reverse_sequence);
MOVE(scatter_elements);
MOVE(scatter_nd);
MOVE(slice);
MOVE(space_to_depth);
MOVE(split);
MOVE(tile);
MOVE(trilu);
