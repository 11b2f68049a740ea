/* SPDX-License-Identifier: Apache-2.0 */
/* top_k and cum_sum: what looks at whole lines of a tensor in order. top_k: k up to KEPT_MOST, lower indices first among equals, as the
   reference has it. Sums of floats are in double, those of integers wrap. */
#include "cuda/estimate.h"
#include "cuda/kernel_text.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_lines[];

enum { KEPT_MOST = 2048, THREADS_MOST = 256, SUM_THREADS = 128 };

typedef struct own {
    tenon_cuda_space space;
    const tenon_value *value[3];
    int axis;             /* -1: read from source `read` when it runs */
    int values, indices;  /* tensors of the space; -1: not wanted */
    int read;
    bool top_k;
    int kept, threads, room;
} own;

static void add(const tenon_problem *p, const tenon_value *v, own *o, int *tensor)
{
    const int dst = tenon_problem_dst(p, v), src = tenon_problem_src(p, v);
    *tensor = tenon_cuda_space_add(&o->space, &v->type, dst >= 0 ? &p->dst[dst].format : &p->src[src].format, NULL);
    o->value[*tensor] = v;
}

/* How many entries are kept, and the buffer for them. */
static const char *size_room(const tenon_node *n, own *o)
{
    const tenon_type *y = n->dst[0] ? &n->dst[0]->type : &n->dst[1]->type;
    const int64_t length = n->src[0]->type.dim[o->axis]->hi, most = TENON_MIN(y->dim[o->axis]->hi, length);
    if (most > KEPT_MOST) return "more than 2048 of a line";
    o->kept = (int)tenon_pow2_up(TENON_MAX(most, 1));
    o->threads = (int)TENON_MIN(TENON_MAX(tenon_pow2_up(TENON_MIN(length, 1 << 20)) / 2, 32), THREADS_MOST);
    o->room = (int)tenon_pow2_up(TENON_MAX(2 * o->kept, o->kept + o->threads));
    const int entry = tenon_dtype_get(n->src[0]->type.dtype)->bits == 64 ? 16 : 8;
    return o->room * entry > 48 << 10 ? "more of a line than shared memory holds" : NULL;
}

static const char *make(const tenon_problem *p, own *o)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const tenon_type *x = &n->src[0]->type;
    uint8_t memory[TENON_MAX_RANK], order[TENON_MAX_RANK];
    int count = 0, ignored;
    *o = (own){.values = -1, .indices = -1, .top_k = n->op == &tenon_op_top_k};
    if (a->post || a->pre[0]) return "a program beside it";
    const int src = tenon_problem_src(p, n->src[0]);
    if (src < 0) return "x is not a source";
    if (!tenon_cuda_type(x->dtype)) return "the type of x";
    const bool unknown = !o->top_k && n->src_count > 1 && n->src[1] && x->rank != 1;
    const int64_t axis = x->rank == 1 ? 0 : tenon_node_int(n, "axis");
    o->axis = unknown ? -1 : (int)(axis < 0 ? axis + x->rank : axis);
    o->read = unknown ? tenon_problem_src(p, n->src[1]) : -1;
    if (unknown && o->read < 0) return "the axis is not a source";
    if (unknown && !tenon_is_int(n->src[1]->type.dtype)) return "the type of the axis";
    tenon_format_order(&p->src[src].format, x->rank, memory);
    for (int i = 0; i < x->rank; i++)
        if (memory[i] != o->axis) order[count++] = memory[i];
    if (!unknown) order[count] = (uint8_t)o->axis;
    tenon_cuda_space_init(&o->space, p->graph->dims, x->rank, (const tenon_dim *const *)x->dim, unknown ? NULL : order);
    if (!unknown) o->space.group[count] = 1;
    add(p, n->src[0], o, &ignored);
    for (int i = 0; i < n->dst_count; i++) {
        if (!n->dst[i] || tenon_problem_dst(p, n->dst[i]) < 0) continue; /* nobody asked for it */
        add(p, n->dst[i], o, i == 0 ? &o->values : &o->indices);
    }
    if (!tenon_cuda_space_finish(&o->space, unknown ? x->rank : 1)) return "sizes too large to reckon with";
    return o->top_k ? size_room(n, o) : NULL;
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    (void)p, (void)device;
    if (max > 0) out[0] = (tenon_variant){{0}};
    return max > 0;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    (void)v, (void)device, (void)scratch;
    const char *why = make(p, &o);
    if (why) return why;
    return tenon_cuda_space_most(&o.space) > INT32_MAX ? "more elements than 32-bit indices reach" : NULL;
}

static bool by_warp(const own *o) { return o->read < 0 && o->space.tensor[0].stride[o->space.rank - 1] == 1; }

static void print_top_k(const tenon_node *n, const own *o, tenon_buf *b)
{
    const tenon_dtype t = n->src[0]->type.dtype;
    const bool wide = tenon_dtype_get(t)->bits == 64, real = tenon_is_float(t);
    const tenon_type *y = n->dst[0] ? &n->dst[0]->type : &n->dst[1]->type;
    tenon_buf_printf(b, "typedef %s tenon_key;\ntypedef %s tenon_number;\n", wide ? "unsigned long long" : "unsigned",
                     real ? (wide ? "double" : "float") : "long long");
    tenon_buf_printf(b, "#define KEY_FLOAT %d\n#define KEY_SIGNED %d\n#define KEY_BITS(v) %s(v)\n#define LARGEST %d\n", real,
        t != TENON_U32,
                     wide ? "__double_as_longlong" : "__float_as_uint", tenon_node_int(n, "largest") != 0);
    tenon_buf_printf(b, "#define KEPT %d\n#define ROOM %d\n#define VALUES %d\n#define INDICES %d\n", o->kept, o->room,
        o->values, o->indices);
    tenon_buf_str(b, "static __device__ __forceinline__ long long tenon_wanted(const tenon_args &args) { return ");
    if (tenon_dim_is_const(y->dim[o->axis])) tenon_buf_printf(b, "%" PRId64 "; }\n", y->dim[o->axis]->value);
    else tenon_buf_printf(b, "args.shape[%d]; }\n", tenon_cuda_space_numbers(&o->space));
}

static void print_head(const tenon_problem *p, const own *o, tenon_buf *b)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_dtype t = n->src[0]->type.dtype;
    tenon_buf_str(b, "#include \"prelude.cu\"\n");
    tenon_cuda_space_print(&o->space, b);
    tenon_buf_printf(b, "#define LINES_TOP_K %d\n#define X_TYPE %s\n", o->top_k, tenon_cuda_type(t));
    if (o->top_k) print_top_k(n, o, b);
    else
        tenon_buf_printf(b, "typedef %s tenon_number;\n#define REVERSE %d\n#define EXCLUSIVE %d\n#define BY_WARP %d\n",
                         tenon_is_float(t) ? "double" : "long long", tenon_node_int(n, "reverse") != 0,
                         tenon_node_int(n, "exclusive") != 0, by_warp(o));
    tenon_buf_printf(b, "#define AXIS_READ %d\n", o->read >= 0);
    if (o->read >= 0) tenon_buf_printf(b, "#define AXIS_TYPE %s\n", tenon_cuda_type(n->src[1]->type.dtype));
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
    tenon_tactic_plan *out)
{
    (void)v, (void)device;
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.lines: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    print_head(p, o, &b);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_lines, "tenon_lines", tenon_cuda_space_numbers(&o->space) + 1, o,
                                     out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DTHREADS=%d", o->top_k ? o->threads : SUM_THREADS);
    return TENON_OK;
}

static const tenon_tensor *bound(const tenon_bind *b, const tenon_value *v)
{
    const int dst = tenon_problem_dst(b->problem, v);
    return dst >= 0 ? &b->dst[dst] : &b->src[tenon_problem_src(b->problem, v)];
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tenon_cuda_space *s = &o->space;
    const tenon_tensor *tensor[TENON_CUDA_TENSORS];
    int64_t size[TENON_MAX_RANK], lines = 1;
    memset(r, 0, sizeof *r);
    for (int t = 0; t < s->count; t++) {
        tensor[t] = bound(b, o->value[t]);
        r->args.at[t] = tensor[t]->data;
    }
    TENON_TRY(tenon_cuda_space_bind(cx, s, tensor[0]->dim, tensor, b->shape));
    const int64_t wanted = o->top_k ? tensor[1]->dim[o->axis] : 0;
    b->shape[tenon_cuda_space_numbers(s)] = wanted;
    if (o->top_k && (wanted > o->kept || wanted > tensor[0]->dim[o->axis]))
        return TENON_FAIL(cx, TENON_INVALID, "top_k: %" PRId64 " of %" PRId64 " elements", wanted, tensor[0]->dim[o->axis]);
    const int x = tenon_problem_src(b->problem, o->value[0]);
    tenon_cuda_space_sizes(s, (b->src_most ? b->src_most : b->src)[x].dim, size);
    for (int j = 0; j + (o->read < 0) < s->rank; j++) lines *= size[j]; /* not known which: as many as there would be of one element */
    if (o->read >= 0) r->args.at[s->count] = b->src[o->read].data;
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    r->threads = (uint32_t)(o->top_k ? o->threads : SUM_THREADS);
    r->grid[0] = (uint32_t)(o->top_k ? lines : tenon_ceil_div(by_warp(o) ? lines * 32 : lines, SUM_THREADS));
    r->grid[1] = r->grid[2] = 1;
    return TENON_OK;
}

/* A line is gone through in order. top_k sorts its buffer at the beginning and at the end, each step of which is a barrier. */
static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src,
                   const tenon_tensor *dst)
{
    own o;
    (void)v;
    if (make(p, &o)) return 1;
    const tenon_tensor *x = &src[tenon_problem_src(p, o.value[0])];
    const double each = (double)tenon_dtype_bytes(x->dtype, 1), length = (double)TENON_MAX(x->dim[TENON_MAX(o.axis, 0)], 1);
    const double lines = (double)tenon_tensor_count(x) / length;
    tenon_cuda_work w = {.bytes = tenon_cuda_bytes(x), .in_flight = 8 * each}; /* that it is slow is in `waits` */
    for (int i = 0; i < p->dst_count; i++) w.bytes += tenon_cuda_bytes(&dst[i]);
    if (o.top_k) {
        double steps = 0;
        for (int width = 2, rounds = 1; width <= o.room; width *= 2, rounds++) steps += rounds;
        w.threads = lines * o.threads;
        w.waits = 2 * steps / 6 + (length > o.room ? (length - o.room) / o.threads : 0);
    } else {
        w.threads = lines * (by_warp(&o) ? 32 : 1);
        w.waits = 1.5 * (by_warp(&o) ? length / 32 : length / 4);
    }
    return tenon_cuda_estimate(device, &w);
}

#define LINES(op)                                                                                                           \
    const tenon_tactic tenon_cuda_##op = {                                                                                  \
        .name = "cuda." #op, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject,   \
        .plan = plan, .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "lines" }
LINES(cum_sum);
LINES(top_k);
