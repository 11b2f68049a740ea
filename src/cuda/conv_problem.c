/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution problems as numbers and text for kernels. */
#include "cuda/conv_problem.h"

#include "base/checked.h"
#include "op/window.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_map[], tenon_cuda_src_conv[];

static bool is_transposed(const tenon_node *n) { return strcmp(n->op->name, "conv_transpose") == 0; }

static bool same_shape(const tenon_type *a, const tenon_type *b)
{
    for (int i = 0; i < a->rank && a->rank == b->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return a->rank == b->rank;
}

/* The operand of a program that is a map like x; -1: none. */
static int find_map_operand(const tenon_program *pre, const tenon_type *x)
{
    for (int i = 0; i < pre->operand_count; i++)
        if (!pre->operand_scalar[i] && pre->operand[i]->type.dtype == x->dtype && same_shape(&pre->operand[i]->type, x)) return i;
    return -1;
}

/* x itself, or what a cast or a program makes it from. */
static const char *find_x(const tenon_problem *p, unsigned takes, tenon_cuda_conv *c)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_program *pre = a->pre[0];
    c->x_value = a->node->src[0];
    if (a->pre[1] || a->pre[2]) return "a program on the weight or the bias";
    if (pre) {
        const bool cast = takes & CONV_CAST && pre->instr_count == 1 && pre->operand_count == 1 && pre->instr[0].op == &tenon_op_cast &&
                          !pre->operand_scalar[0] && pre->result_count == 1 && pre->operand[0]->type.dtype == TENON_F32;
        const int map = takes & CONV_BEFORE && !pre->has_anchor ? find_map_operand(pre, &a->node->src[0]->type) : -1;
        if (!cast && map < 0) return "a program on x";
        if (!cast) c->before = (tenon_cuda_channels){.program = pre, .value = map};
        c->x_value = pre->operand[cast ? 0 : map];
        if (c->x_value->type.rank != a->node->src[0]->type.rank) return "a program on x";
    }
    c->src_x = tenon_problem_src(p, c->x_value);
    c->src_w = a->node->src_count > 1 && a->node->src[1] ? tenon_problem_src(p, a->node->src[1]) : -1;
    return c->src_x < 0 || (a->node->src_count > 1 && c->src_w < 0) ? "x or the weight is not a source" : NULL;
}

static const char *find_weight(const tenon_node *n, tenon_cuda_conv *c, int64_t *kernel)
{
    const tenon_type *w = &n->src[1]->type;
    const bool transposed = is_transposed(n);
    if (!tenon_type_is_static(w)) return "the weight's shape is not constant";
    for (int i = 0; i < w->rank; i++)
        if (w->dim[i]->value < 1) return "an empty weight";
    c->group = tenon_node_int(n, "group");
    c->channels = transposed ? w->dim[0]->value / c->group : w->dim[1]->value;
    c->filters = transposed ? w->dim[1]->value : w->dim[0]->value / c->group;
    for (int i = 0; i < c->axes; i++) kernel[i] = w->dim[2 + i]->value;
    return NULL;
}

static const char *find_window(const tenon_node *n, const int64_t *kernel, tenon_cuda_conv *c)
{
    const tenon_attr *stride = tenon_node_attr(n, "strides"), *dilation = tenon_node_attr(n, "dilations");
    for (int k = 0; k < 3; k++) {
        const int i = k - (3 - c->axes);
        c->kernel[k] = i < 0 ? 1 : kernel[i];
        c->stride[k] = i < 0 || !stride->count ? 1 : stride->ints[i];
        c->dilation[k] = i < 0 || !dilation->count ? 1 : dilation->ints[i];
        if (c->kernel[k] > 4096 || c->stride[k] > 4096 || c->dilation[k] > 4096) return "a kernel, stride or dilation of more than 4096";
    }
    return NULL;
}

/* Begin padding where it does not depend on sizes that vary; the rest of the window is taken from the same source. */
static void find_begin(const tenon_node *n, tenon_cuda_conv *c)
{
    const tenon_type *x = &n->src[0]->type;
    const tenon_attr *pads = tenon_node_attr(n, "pads");
    const char *word = tenon_node_attr(n, "auto_pad")->s;
    const bool same = word && strncmp(word, "SAME", 4) == 0, listed = !same && (!word || strcmp(word, "VALID") != 0) && pads->count;
    const bool transposed = is_transposed(n);
    c->point = true;
    for (int k = 0; k < 3; k++) {
        const int i = k - (3 - c->axes);
        int64_t *begin = &c->number[CONV_BEGIN + k];
        *begin = i >= 0 && listed ? pads->ints[i] : 0;
        const int64_t end = i >= 0 && listed ? pads->ints[c->axes + i] : 0;
        if (i >= 0 && (transposed || same)) *begin = TENON_CUDA_UNKNOWN;
        c->number[CONV_END + k] = i >= 0 && (transposed || same) ? TENON_CUDA_UNKNOWN : end;
        c->point = c->point && c->kernel[k] == 1 && *begin == 0 && end == 0;
        c->number[CONV_IN + k] = i < 0 ? 1 : tenon_dim_is_const(x->dim[2 + i]) ? x->dim[2 + i]->value : TENON_CUDA_UNKNOWN;
    }
}

static void find_plain(const tenon_node *n, tenon_cuda_conv *c)
{
    const tenon_type *x = &n->src[0]->type;
    for (int k = 0; k < 3; k++) {
        const int i = k - (3 - c->axes);
        c->kernel[k] = c->stride[k] = c->dilation[k] = 1;
        c->number[CONV_IN + k] = i < 0 ? 1 : tenon_dim_is_const(x->dim[2 + i]) ? x->dim[2 + i]->value : TENON_CUDA_UNKNOWN;
    }
}

static void find_steps(const tenon_problem *p, tenon_cuda_conv *c)
{
    const tenon_cuda_tensor x = {.type = &c->x_value->type, .format = &p->src[c->src_x].format};
    c->number[CONV_STEP_N] = tenon_cuda_known_stride(&x, 0);
    c->number[CONV_STEP_C] = tenon_cuda_known_stride(&x, 1);
    for (int k = 0; k < 3; k++) {
        const int i = k - (3 - c->axes);
        c->number[CONV_STEP + k] = i < 0 ? 0 : tenon_cuda_known_stride(&x, 2 + i);
    }
}

static const char *make_space(const tenon_problem *p, const tenon_value *extra, tenon_cuda_conv *c)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    const tenon_type *y = &n->dst[0]->type;
    if (a->post && a->post->class_ != TENON_CLASS_F32) return "a program that does not compute in f32";
    uint8_t order[TENON_MAX_RANK] = {0};
    int axis[TENON_MAX_RANK];
    for (int i = 1; i < y->rank - 1; i++) order[i] = (uint8_t)(i + 1);
    order[y->rank - 1] = 1;
    tenon_cuda_space_init(&c->space, p->graph->dims, y->rank, y->dim, order);
    const char *why = tenon_cuda_program_add(p, a->post, n->dst[0], &c->space, &c->program);
    if (why) return why;
    for (int i = 0; a->post && i < a->post->operand_count; i++)
        if (c->program.operand[i] >= 0) c->operand[c->program.operand[i]] = a->post->operand[i];
    for (int i = 0; i < (a->post ? a->post->result_count : 1); i++)
        c->operand[c->program.result[i]] = a->post ? a->post->result[i] : n->dst[0];
    c->domain_dst = tenon_problem_dst(p, c->operand[c->program.result[0]]);
    c->bias = -1;
    if (extra) {
        c->bias = tenon_cuda_space_add(&c->space, &extra->type, &p->dst[tenon_problem_dst(p, extra)].format, NULL);
        if (c->bias >= 0) c->operand[c->bias] = extra;
    }
    if (n->src_count > 2 && n->src[2]) {
        const int src = tenon_problem_src(p, n->src[2]);
        if (src < 0) return "the bias is not a source";
        for (int i = 0; i < y->rank; i++) axis[i] = i == 1 ? 0 : -1;
        c->bias = tenon_cuda_space_add(&c->space, &n->src[2]->type, &p->src[src].format, axis);
        if (c->bias >= 0) c->operand[c->bias] = n->src[2];
    }
    if (c->program.class_ != TENON_CLASS_F32) return "a type that f32 does not hold exactly"; /* without a program: the anchor's */
    if (c->space.count > TENON_CUDA_TENSORS - 2 || (c->bias < 0 && (extra || (n->src_count > 2 && n->src[2])))) return "too many tensors";
    return tenon_cuda_space_finish(&c->space, y->rank) ? NULL : "sizes too large to reckon with";
}

/* Whether 32-bit indices reach every element of x, whose pitch may lie between those that count. */
static bool is_near(const tenon_problem *p, const tenon_cuda_conv *c)
{
    const tenon_type *x = &c->x_value->type;
    const tenon_format *f = &p->src[c->src_x].format;
    tenon_tensor most = {.dtype = x->dtype, .rank = x->rank};
    int64_t elements = 1, last = 0;
    for (int i = 0; i < x->rank; i++) {
        most.dim[i] = TENON_MAX(x->dim[i]->hi, 1);
        if (most.dim[i] > INT32_MAX || (elements *= most.dim[i]) > INT32_MAX) return false;
    }
    if (f->ld > INT32_MAX) return false;
    tenon_format_strides(f, &most);
    for (int i = 0; i < x->rank; i++) {
        int64_t reach;
        if (!tenon_mul_i64(most.dim[i] - 1, most.stride[i], &reach) || (last += reach) > INT32_MAX) return false;
    }
    return true;
}

/* What conv and pools have in common. */
static const char *make_rest(const tenon_problem *p, const int64_t *kernel, const tenon_value *extra, tenon_cuda_conv *c)
{
    const tenon_node *n = p->anchor[0].node;
    const char *why = c->plain ? NULL : find_window(n, kernel, c);
    if (why) return why;
    if (c->plain) find_plain(n, c);
    else find_begin(n, c);
    find_steps(p, c);
    if ((why = make_space(p, extra, c)) != NULL) return why;
    if (p->src[c->src_x].format.layout == TENON_STRIDED) return "x of any strides";
    if (!is_near(p, c)) return "x spans more elements than 32-bit indices reach";
    return tenon_cuda_space_most(&c->space) > INT32_MAX ? "more elements than 32-bit indices reach" : NULL;
}

static void start(const tenon_node *n, tenon_cuda_conv *c)
{
    memset(c, 0, sizeof *c);
    c->dtype = n->src[0]->type.dtype;
    c->rank = n->src[0]->type.rank;
    c->axes = c->rank - 2;
}

/* Its other operands stand behind x and the weight. */
static const char *find_before(const tenon_problem *p, tenon_cuda_conv *c)
{
    tenon_reason scratch;
    int next = c->space.count + 2;
    const tenon_program *pre = c->before.program;
    if (!pre) return NULL;
    if (pre->result_count != 1 || pre->result[0]->type.dtype != c->dtype) return "a program on x of another type";
    const char *why = tenon_cuda_channels_make(p, pre, c->before.value, &c->x_value->type, &next, &c->before, &scratch);
    return why == scratch.text ? "a program on x with an operator that has no CUDA expression" : why;
}

const char *tenon_cuda_conv_make(const tenon_problem *p, unsigned takes, tenon_cuda_conv *c)
{
    const tenon_node *n = p->anchor[0].node;
    int64_t kernel[3];
    start(n, c);
    if (c->dtype != TENON_F32 && c->dtype != TENON_F16 && c->dtype != TENON_BF16) return "neither f32 nor f16 nor bf16";
    const char *why = find_x(p, takes, c);
    if (!why) why = find_weight(n, c, kernel);
    if (!why) why = make_rest(p, kernel, NULL, c);
    return why ? why : find_before(p, c);
}

/* What pools and plain maps take: any type that f32 holds. */
static const char *find_map(const tenon_problem *p, tenon_cuda_conv *c)
{
    const tenon_node *n = p->anchor[0].node;
    const char *why = find_x(p, 0, c);
    if (why) return why;
    if (!n->dst[0]) return "no result but the indices";
    if (!tenon_cuda_type(c->dtype) || (tenon_is_int(c->dtype) && tenon_dtype_get(c->dtype)->bits > 16) || c->dtype == TENON_F64)
        return "a type that f32 does not hold exactly";
    const tenon_dim *channels = n->src[0]->type.dim[1];
    if (!tenon_dim_is_const(channels)) return "a number of channels that varies";
    c->group = 1;
    c->channels = c->filters = channels->value;
    return NULL;
}

const char *tenon_cuda_pool_make(const tenon_problem *p, const tenon_value *extra, tenon_cuda_conv *c)
{
    start(p->anchor[0].node, c);
    const char *why = find_map(p, c);
    return why ? why : make_rest(p, tenon_node_attr(p->anchor[0].node, "kernel_shape")->ints, extra, c);
}

const char *tenon_cuda_map_make(const tenon_problem *p, tenon_cuda_conv *c)
{
    start(p->anchor[0].node, c);
    if (c->axes < 1 || c->axes > 3) return "one to three spatial axes only";
    c->plain = true;
    const char *why = find_map(p, c);
    return why ? why : make_rest(p, NULL, NULL, c);
}

int tenon_cuda_conv_numbers(const tenon_cuda_conv *c) { return tenon_cuda_space_numbers(&c->space) + CONV_NUMBERS; }

/* Which bits of `aligned` say that every vector is, and how many operands are read from memory. */
static void print_alignment(const tenon_cuda_conv *c, tenon_buf *b)
{
    uint32_t mask = 0;
    int operands = 0;
    for (int t = 0; t < c->space.count; t++) mask |= (uint32_t)tenon_cuda_space_is_unit(&c->space, t) << t;
    for (int i = 0; c->program.program && i < c->program.program->operand_count; i++) operands += c->program.operand[i] >= 0;
    tenon_buf_printf(b, "#define ALIGNED 0x%xu\n#define OPERANDS %d\n", (unsigned)mask, operands);
}

void tenon_cuda_conv_print(const tenon_cuda_conv *c, tenon_buf *b)
{
    static const char letter[] = "DHW";
    const int first = tenon_cuda_space_numbers(&c->space);
    tenon_buf_str(b, "#include \"prelude.cu\"\n#include \"mma.cu\"\n");
    tenon_cuda_space_print(&c->space, b);
    tenon_cuda_program_print(&c->program, &c->space, b);
    tenon_cuda_program_print_held(&c->program, &c->space, b);
    print_alignment(c, b);
    tenon_buf_str(b, "static __device__ __forceinline__ long long tenon_x(const tenon_args &args, int number)\n{\n    switch (number) {\n");
    for (int i = 0; i < CONV_NUMBERS; i++) {
        if (c->number[i] != TENON_CUDA_UNKNOWN) tenon_buf_printf(b, "    case %d: return %" PRId64 ";\n", i, c->number[i]);
        else tenon_buf_printf(b, "    case %d: return args.shape[%d];\n", i, first + i);
    }
    tenon_buf_str(b, "    }\n    return 0;\n}\n");
    tenon_buf_printf(b, "enum { X_IN = %d, X_BEGIN = %d, X_STEP_N = %d, X_STEP_C = %d, X_STEP = %d, X_END = %d };\n", CONV_IN, CONV_BEGIN, CONV_STEP_N,
                     CONV_STEP_C, CONV_STEP, CONV_END);
    for (int k = 0; k < 3; k++)
        tenon_buf_printf(b, "#define KERNEL_%c %" PRId64 "\n#define STRIDE_%c %" PRId64 "\n#define DILATION_%c %" PRId64 "\n", letter[k], c->kernel[k],
                         letter[k], c->stride[k], letter[k], c->dilation[k]);
    tenon_buf_printf(b, "#define GROUPS %" PRId64 "\n#define CHANNELS %" PRId64 "\n#define FILTERS %" PRId64 "\n#define BIAS_TENSOR %d\n", c->group,
                     c->channels, c->filters, c->bias);
    tenon_buf_printf(b, "#define X_AT %d\n#define W_AT %d\n#define X_TYPE %s\n#define W_TYPE %s\n", c->space.count, c->space.count + 1,
                     tenon_cuda_type(c->x_value->type.dtype), tenon_cuda_type(c->dtype));
    if (c->bias >= 0)
        tenon_buf_printf(b, "#define BIAS_TYPE %s\n#define BIAS_ACCESS %s\n", tenon_cuda_type(c->operand[c->bias]->type.dtype),
                         tenon_cuda_access(&c->space, c->bias));
    tenon_buf_printf(b, "#define BEFORE %d\n", c->before.program != NULL);
    if (c->before.program) tenon_cuda_channels_print(&c->before, "tenon_before", b);
    tenon_buf_str(b, tenon_cuda_src_conv);
}

static const tenon_tensor *bound(const tenon_bind *b, const tenon_value *v)
{
    const int dst = tenon_problem_dst(b->problem, v);
    return dst >= 0 ? &b->dst[dst] : &b->src[tenon_problem_src(b->problem, v)];
}

/* As the reference of conv_transpose has it: automatic padding and a given result size leave the padding to the sizes. */
static void transposed_begin(const tenon_node *n, const tenon_cuda_conv *c, tenon_window *w)
{
    const tenon_attr *shape = tenon_node_attr(n, "output_shape"), *extra = tenon_node_attr(n, "output_padding");
    const char *word = tenon_node_attr(n, "auto_pad")->s;
    const bool same = word && strncmp(word, "SAME", 4) == 0, upper = word && strcmp(word, "SAME_UPPER") == 0;
    for (int k = 3 - c->axes, i = 0; k < 3 && (same || (shape->set && shape->count)); k++, i++) {
        const int64_t full = (w->in[k] - 1) * w->stride[k] + (w->kernel[k] - 1) * w->dilation[k] + 1 + (extra->count ? extra->ints[i] : 0);
        const int64_t total = TENON_MAX(full - w->out[k], 0);
        w->begin[k] = upper ? total / 2 : total - total / 2;
    }
    for (int k = 3 - c->axes, i = 0; k < 3 && !same && !(shape->set && shape->count); k++, i++) {
        const tenon_attr *pads = tenon_node_attr(n, "pads");
        w->begin[k] = pads->count && (!word || strcmp(word, "VALID") != 0) ? pads->ints[i] : 0;
    }
}

static tenon_status bind_x(tenon_cx *cx, const tenon_cuda_conv *c, const tenon_bind *b, const tenon_tensor *x, int64_t *out)
{
    const tenon_node *n = b->problem->anchor[0].node;
    tenon_window w = {0};
    if (!c->plain) TENON_TRY(tenon_window_get(cx, n, x, &c->kernel[3 - c->axes], &b->dst[c->domain_dst], &w));
    if (is_transposed(n)) transposed_begin(n, c, &w);
    for (int k = 0; k < 3; k++) {
        const int i = k - (3 - c->axes);
        out[CONV_IN + k] = i < 0 ? 1 : x->dim[2 + i];
        out[CONV_BEGIN + k] = w.begin[k];
        out[CONV_END + k] = w.end[k];
        out[CONV_STEP + k] = i < 0 ? 0 : x->stride[2 + i];
    }
    out[CONV_STEP_N] = x->stride[0];
    out[CONV_STEP_C] = x->stride[1];
    const int64_t size[CONV_NUMBERS] = {2, 2, 2, 2, 2, 2, x->dim[0], x->dim[1], out[CONV_IN], out[CONV_IN + 1], out[CONV_IN + 2], 2, 2, 2};
    for (int i = 0; i < CONV_NUMBERS; i++) { /* the step along an axis of one element does not matter */
        if (c->number[i] != TENON_CUDA_UNKNOWN && c->number[i] != out[i] && size[i] > 1)
            return TENON_FAIL(cx, TENON_INTERNAL, "cuda: number %d of a convolution is %" PRId64 " where its problem says %" PRId64, i, out[i], c->number[i]);
    }
    return TENON_OK;
}

static bool x_aligned(const tenon_tensor *x, int most)
{
    const int64_t bytes = (int64_t)tenon_dtype_bytes(x->dtype, 1), vector = TENON_MIN(16 / bytes, most);
    if ((int64_t)((uintptr_t)x->data) % (vector * bytes) || x->stride[1] != 1) return false;
    for (int i = 0; i < x->rank; i++)
        if (i != 1 && x->dim[i] > 1 && x->stride[i] % vector) return false;
    return true;
}

tenon_status tenon_cuda_conv_bind(tenon_cx *cx, const tenon_cuda_conv *c, const tenon_bind *b, const void *weight, int vector, tenon_cuda_record *r)
{
    const tenon_cuda_space *s = &c->space;
    const tenon_tensor *tensor[TENON_CUDA_TENSORS], *x = &b->src[c->src_x];
    memset(r, 0, sizeof *r);
    for (int t = 0; t < s->count; t++) tensor[t] = bound(b, c->operand[t]);
    TENON_TRY(tenon_cuda_space_bind(cx, s, b->dst[c->domain_dst].dim, tensor, b->shape));
    TENON_TRY(bind_x(cx, c, b, x, b->shape + tenon_cuda_space_numbers(s)));
    /* vectors begin at the first filter of a group, or, where a group is one filter, run through the groups */
    const bool whole = c->group == 1 || c->filters == 1 || c->filters % vector == 0;
    for (int t = 0; t < s->count; t++) {
        r->args.at[t] = tensor[t]->data;
        r->args.aligned |= (uint32_t)(whole && tenon_cuda_space_is_aligned(s, t, b->shape, tensor[t], vector)) << t;
    }
    r->args.at[s->count] = x->data;
    memcpy(&r->args.at[s->count + 1], &weight, sizeof weight);
    r->args.aligned |= (uint32_t)x_aligned(x, vector) << s->count;
    tenon_cuda_channels_bind(b, &c->before, (int)(16 / tenon_dtype_bytes(c->dtype, 1)), &r->args);
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    r->grid[1] = r->grid[2] = 1;
    return TENON_OK;
}

const int64_t *tenon_cuda_conv_most(const tenon_cuda_conv *c, const tenon_bind *b) { return (b->dst_most ? b->dst_most : b->dst)[c->domain_dst].dim; }

int64_t tenon_cuda_conv_pixels(const tenon_cuda_conv *c, const tenon_bind *b)
{
    const int64_t *most = tenon_cuda_conv_most(c, b);
    int64_t pixels = 1;
    for (int i = 0; i < c->rank; i++)
        if (i != 1) pixels *= most[i];
    return pixels;
}

int tenon_cuda_conv_operands(const tenon_program *p)
{
    int count = 0;
    for (int i = p && p->has_anchor ? 1 : 0; p && i < p->operand_count; i++)
        count += p->operand[i] && !p->operand_scalar[i] && same_shape(&p->operand[i]->type, &p->result[0]->type);
    return count;
}

double tenon_cuda_conv_beside_memory(const tenon_cuda_conv *c, double work, double results, const tenon_device *device)
{
    double pixels = results; /* of x that are read */
    for (int k = 0; k < 3; k++) pixels *= (double)TENON_MIN(c->stride[k], c->kernel[k]);
    const double maps = 1 + tenon_cuda_conv_operands(c->program.program);
    const double elements = (double)c->group * (pixels * (double)c->channels + maps * results * (double)c->filters);
    const double memory = elements * (double)tenon_dtype_bytes(c->dtype, 1) / tenon_backend_cuda.info(device)->bandwidth;
    return TENON_MAX(work, memory) + 0.1 * TENON_MIN(work, memory);
}

/* ---- pools and maps ---- */
/* The result's channels are not side by side. */
static bool is_planar(const tenon_cuda_conv *c) { return c->space.tensor[c->program.result[0]].stride[c->space.rank - 1] != 1; }

bool tenon_cuda_map_takes(const tenon_cuda_conv *c, const tenon_variant *v)
{
    const int vector = v->p[MAP_VECTOR], most = 16 / (int)tenon_dtype_bytes(c->dtype, 1);
    if (vector == 1) return true;
    return (vector == 2 || vector == 4 || vector == 8) && vector <= most && c->number[CONV_STEP_C] == 1 && !is_planar(c);
}

int tenon_cuda_map_variants(const tenon_cuda_conv *c, tenon_variant *out, int max)
{
    int count = 0;
    for (int vector = 8; vector >= 1 && count < max; vector /= 2) {
        const tenon_variant v = {{vector}};
        if (tenon_cuda_map_takes(c, &v)) out[count++] = v;
    }
    return count;
}

tenon_status tenon_cuda_map_plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_cuda_conv *c, tenon_buf *take_b,
                                 const char *text, const char *entry, const void *own, tenon_tactic_plan *out)
{
    tenon_buf_printf(take_b, "#define Y_PLANAR %d\n", is_planar(c));
    tenon_buf_str(take_b, tenon_cuda_src_map);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, take_b, text, entry, tenon_cuda_conv_numbers(c), own, out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DBLOCK=%d -DVC=%d", MAP_THREADS, v->p[MAP_VECTOR]);
    out->in_place = true;
    return TENON_OK;
}

tenon_status tenon_cuda_map_bind(tenon_cx *cx, const tenon_bind *b, const tenon_cuda_conv *c, tenon_cuda_record *r)
{
    const int vector = b->variant->p[MAP_VECTOR];
    TENON_TRY(tenon_cuda_conv_bind(cx, c, b, NULL, vector, r));
    r->grid[0] = (uint32_t)tenon_ceil_div(tenon_ceil_div(c->channels, vector) * tenon_cuda_conv_pixels(c, b), MAP_THREADS);
    r->threads = MAP_THREADS;
    return TENON_OK;
}
