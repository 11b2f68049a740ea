/* SPDX-License-Identifier: Apache-2.0 */
/* grid_sample, roi_align and lrn: samples.cu. Any format of x and of the result; a program on the result is printed into the kernel.
   Variants: {channels a thread}. */
#include "cuda/point_source.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_samples[];

enum { THREADS = 128, P_CHANNELS = 0, MOST_CHANNELS = 8 };
enum { GRID, ROI, LRN };

typedef struct own {
    tenon_cuda_space space;
    tenon_cuda_program program;
    tenon_cuda_points points;
    const tenon_value *value[TENON_CUDA_TENSORS]; /* of the space's tensors */
    const tenon_value *domain;
    int kind, channel_place;
    int mode, padding;                            /* of a grid: taps an axis */
} own;

static int word_of(const tenon_node *n, const char *attr, const char *const *word)
{
    const char *s = tenon_node_attr(n, attr)->s;
    for (int i = 0; word[i]; i++)
        if (s && strcmp(s, word[i]) == 0) return i;
    return -1;
}

static const char *find_words(const tenon_node *n, own *o)
{
    static const char *const mode[] = {"nearest", "linear", "cubic", "bilinear", "bicubic", NULL};
    static const char *const padding[] = {"zeros", "border", "reflection", NULL};
    if (o->kind != GRID) return NULL;
    const int m = word_of(n, "mode", mode);
    o->mode = m > 2 ? m - 2 : m;
    o->padding = word_of(n, "padding_mode", padding);
    return o->mode < 0 || o->padding < 0 ? "a mode that there is no kernel for" : NULL;
}

static const char *make_space(const tenon_problem *p, const tenon_node *n, own *o)
{
    const tenon_program *post = p->anchor[0].post;
    uint8_t order[TENON_MAX_RANK];
    o->domain = post ? post->result[0] : n->dst[0];
    const tenon_type *y = &o->domain->type;
    const int dst = tenon_problem_dst(p, o->domain);
    if (dst < 0) return "the result is not a destination";
    tenon_format_order(&p->dst[dst].format, y->rank, order);
    tenon_cuda_space_init(&o->space, p->graph->dims, y->rank, y->dim, order);
    const char *why = tenon_cuda_program_add(p, post, n->dst[0], &o->space, &o->program);
    if (why) return why;
    for (int i = 0; post && i < post->operand_count; i++)
        if (o->program.operand[i] >= 0) o->value[o->program.operand[i]] = post->operand[i];
    for (int i = 0; i < (post ? post->result_count : 1); i++) o->value[o->program.result[i]] = post ? post->result[i] : n->dst[0];
    if (!tenon_cuda_space_finish(&o->space, y->rank)) return "sizes too large to reckon with";
    for (int j = 0; j < o->space.rank; j++)
        if (o->space.order[j] == 1) o->channel_place = j;
    return NULL;
}

static const char *make(const tenon_problem *p, own *o)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    memset(o, 0, sizeof *o);
    o->kind = n->op == &tenon_op_grid_sample ? GRID : n->op == &tenon_op_roi_align ? ROI : LRN;
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before it";
    const char *why = find_words(n, o);
    if (!why) why = make_space(p, n, o);
    if (!why) why = tenon_cuda_points_make(p, n, n->src_count, &o->space, &o->points);
    if (!why && !tenon_cuda_points_near(&o->points)) why = "a source of more elements than 32-bit indices reach";
    return why;
}

static int most_channels(const own *o)
{
    const int bytes = (int)tenon_dtype_bytes(o->points.value[0]->type.dtype, 1);
    return (int)TENON_MIN(TENON_MIN(MOST_CHANNELS, 16 / bytes * 2), tenon_pow2_up(TENON_MAX(o->domain->type.dim[1]->hi, 1)));
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    own o;
    int count = 0;
    if (make(p, &o)) return 0;
    int64_t elements = 1;
    for (int i = 0; i < o.domain->type.rank; i++) elements *= TENON_MAX(tenon_dim_at_opt(p->graph->dims, o.domain->type.dim[i]), 1);
    /* few results: a thread for each, more of them */
    int first = most_channels(&o);
    while (first > 1 && elements / first < (int64_t)tenon_cuda_multiprocessors(device) * THREADS) first /= 2;
    if (max > 0) out[count++] = (tenon_variant){{first}};
    for (int c = most_channels(&o); c >= 1 && count < max; c = c > 2 ? c / 2 : c - 1)
        if (c != first) out[count++] = (tenon_variant){{c}};
    return count;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    (void)device;
    const char *why = make(p, &o);
    if (why) return why;
    const tenon_program *post = p->anchor[0].post;
    if (post && (why = tenon_cuda_program_rejects(post, scratch)) != NULL) return why;
    const int channels = v->p[P_CHANNELS];
    if (channels < 1 || channels > most_channels(&o) || (channels & (channels - 1))) return "no such variant";
    return tenon_cuda_space_most(&o.space) > INT32_MAX ? "more elements than 32-bit indices reach" : NULL;
}

/* ---- text ---- */
static void print_double(tenon_buf *b, const char *name, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    tenon_buf_printf(b, "#define %s __longlong_as_double(0x%016" PRIx64 "ll)\n", name, bits);
}

static void print_kind(const tenon_node *n, const own *o, tenon_buf *b)
{
    const char *const *word = (const char *const[]){"output_half_pixel", "half_pixel", NULL};
    if (o->kind == GRID) {
        tenon_buf_printf(b, "#define SAMPLE_GRID 1\n#define TAPS %d\n#define PADDING %d\n#define ALIGN %d\n#define SPATIAL %d\n#define GRID_TYPE %s\n",
                         1 << o->mode, o->padding, tenon_node_int(n, "align_corners") != 0, n->src[0]->type.rank - 2,
                         tenon_cuda_type(n->src[1]->type.dtype));
    } else if (o->kind == ROI) {
        tenon_buf_printf(b, "#define SAMPLE_ROI 1\n#define ROI_TYPE %s\n#define IMAGE_TYPE %s\n#define HALF %d\n#define MAXIMUM %d\n"
                            "#define OUT_H %" PRId64 "\n#define OUT_W %" PRId64 "\n#define RATIO %" PRId64 "\n",
                         tenon_cuda_type(n->src[1]->type.dtype), tenon_cuda_type(n->src[2]->type.dtype),
                         word_of(n, "coordinate_transformation_mode", word) == 1, strcmp(tenon_node_attr(n, "mode")->s, "max") == 0,
                         tenon_node_int(n, "output_height"), tenon_node_int(n, "output_width"), tenon_node_int(n, "sampling_ratio"));
        print_double(b, "ROI_SCALE", tenon_node_float(n, "spatial_scale"));
    } else {
        const int64_t size = tenon_node_int(n, "size");
        tenon_buf_printf(b, "#define SAMPLE_LRN 1\n#define WINDOW %" PRId64 "\n#define BEFORE %" PRId64 "\n#define TENON_POW %s\n", size, (size - 1) / 2,
                         n->src[0]->type.dtype == TENON_F64 ? "pow" : "powf");
        print_double(b, "LRN_ALPHA", tenon_node_float(n, "alpha") / (double)size);
        print_double(b, "LRN_BETA", tenon_node_float(n, "beta"));
        print_double(b, "LRN_BIAS", tenon_node_float(n, "bias"));
    }
}

static void print_axes(const own *o, tenon_buf *b)
{
    tenon_buf_str(b, "static __device__ __forceinline__ int tenon_axis(int place)\n{\n    switch (place) {\n");
    for (int j = 0; j < o->space.rank; j++) tenon_buf_printf(b, "    case %d: return %d;\n", j, o->space.order[j]);
    tenon_buf_printf(b, "    }\n    return 0;\n}\n#define CHANNEL_PLACE %d\n", o->channel_place);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    (void)device;
    const tenon_node *n = p->anchor[0].node;
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.%s: %s", n->op->name, why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#include \"prelude.cu\"\n");
    tenon_cuda_space_print(&o->space, &b);
    tenon_cuda_program_print(&o->program, &o->space, &b);
    tenon_cuda_points_print(&o->points, &o->space, &b);
    tenon_buf_printf(&b, "typedef %s tenon_number;\n#define X_TYPE %s\n#define X_RUN %d\n", n->src[0]->type.dtype == TENON_F64 ? "double" : "float",
                     tenon_cuda_type(n->src[0]->type.dtype), tenon_cuda_known_stride(&o->points.tensor[0], 1) == 1);
    print_kind(n, o, &b);
    print_axes(o, &b);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_samples, "tenon_samples", tenon_cuda_space_numbers(&o->space) + o->points.numbers, o,
                                     out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DTHREADS=%d -DCB=%d", THREADS, v->p[P_CHANNELS]);
    out->in_place = p->anchor[0].post != NULL;
    return TENON_OK;
}

/* ---- binding ---- */
/* Whether `vector` channels of x from a multiple of it on can be read at once. */
static bool x_aligned(const tenon_tensor *x, int vector)
{
    const size_t bytes = tenon_dtype_bytes(x->dtype, (size_t)vector);
    if (x->stride[1] != 1 || (uintptr_t)x->data % TENON_MIN(bytes, 16)) return false;
    for (int k = 0; k < x->rank; k++)
        if (k != 1 && x->dim[k] > 1 && x->stride[k] % vector) return false;
    return true;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tenon_cuda_space *s = &o->space;
    const tenon_tensor *tensor[TENON_CUDA_TENSORS];
    const int channels = b->variant->p[P_CHANNELS], dst = tenon_problem_dst(b->problem, o->domain);
    int64_t threads = 1;
    memset(r, 0, sizeof *r);
    for (int t = 0; t < s->count; t++) tensor[t] = tenon_cuda_bound(b, o->value[t]);
    TENON_TRY(tenon_cuda_space_bind(cx, s, b->dst[dst].dim, tensor, b->shape));
    for (int t = 0; t < s->count; t++) {
        r->args.at[t] = tensor[t]->data;
        r->args.aligned |= (uint32_t)tenon_cuda_space_is_aligned(s, t, b->shape, tensor[t], channels) << t;
    }
    tenon_cuda_points_bind(b, &o->points, s, &r->args);
    const tenon_tensor *x = tenon_cuda_bound(b, o->points.value[0]);
    r->args.aligned |= (uint32_t)x_aligned(x, channels) << s->count;
    if (o->kind != LRN && tenon_tensor_count(x) == 0 && tenon_tensor_count(&b->dst[dst]))
        return TENON_FAIL(cx, TENON_INVALID, "%s: x is empty, and there is nothing to sample", b->problem->anchor[0].node->op->name);
    const int64_t *most = (b->dst_most ? b->dst_most : b->dst)[dst].dim;
    for (int i = 0; i < o->domain->type.rank; i++) threads *= i == 1 ? tenon_ceil_div(most[i], channels) : most[i];
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    r->grid[0] = (uint32_t)tenon_ceil_div(threads, THREADS);
    r->grid[1] = r->grid[2] = 1;
    r->threads = THREADS;
    return TENON_OK;
}

#define SAMPLES(op)                                                                                                         \
    const tenon_tactic tenon_cuda_##op = {                                                                                  \
        .name = "cuda." #op, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject,   \
        .plan = plan, .bind = bind, .run = tenon_cuda_run, .source_hash_of = "samples" }
SAMPLES(grid_sample);
SAMPLES(lrn);
SAMPLES(roi_align);
