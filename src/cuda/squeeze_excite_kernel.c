/* SPDX-License-Identifier: Apache-2.0 */
/* Squeeze-excite of channels-last maps, f32, f16 and bf16, as one launch: squeeze_excite.cu. The scaling of the map by the result belongs
   to whoever reads the map next. Variants: blocks of an image (more than one: a cluster) and threads of a block. A cluster makes few
   images fast; with many images a block for each wastes nothing on meeting. */
#include "cuda/channel_program.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_squeeze_excite[];

enum { P_CLUSTER, P_THREADS, OFFERED = 8, MOST = 8192, NUMBERS = 6 };
enum { AT_X, AT_W1, AT_W2, AT_Y, AT_BIAS, AT_FIRST = AT_BIAS + 2 }; /* places in args.at */

typedef struct own {
    int src_x, src_w[2], src_bias[2];
    tenon_dtype dtype;
    int channels, hidden;
    int64_t number[NUMBERS]; /* n, h, w, steps of x along n, h, w; TENON_CUDA_UNKNOWN: from the shape block */
    int64_t y_step_n, y_step_c;
    const char *y_type;
    tenon_cuda_channels program[2];
    bool fetch;
} own;

static const tenon_value *result_of(const tenon_anchor *a) { return a->post ? a->post->result[0] : a->node->dst[0]; }

/* ---- what it can do ---- */
static const char *find_mean(const tenon_problem *p, own *o)
{
    const tenon_anchor *mean = &p->anchor[0];
    const tenon_type *t = &mean->node->src[0]->type;
    const tenon_attr *axes = tenon_node_attr(mean->node, "axes");
    o->src_x = tenon_problem_src(p, mean->node->src[0]);
    o->dtype = t->dtype;
    if (mean->pre[0] || mean->post || o->src_x < 0 || mean->node->src_count > 1) return "a program around the mean";
    if (t->dtype != TENON_F32 && t->dtype != TENON_F16 && t->dtype != TENON_BF16) return "neither f32 nor f16 nor bf16";
    if (t->rank != 4 || !tenon_dim_is_const(t->dim[1])) return "not a map with a constant number of channels";
    if (!tenon_node_int(mean->node, "keepdims") || axes->count != 2) return "not a mean over height and width";
    unsigned seen = 0;
    for (int i = 0; i < 2; i++) seen |= 1u << (axes->ints[i] < 0 ? axes->ints[i] + 4 : axes->ints[i]);
    if (seen != (1u << 2 | 1u << 3)) return "not a mean over height and width";
    const tenon_cuda_tensor x = {.type = t, .format = &p->src[o->src_x].format};
    if (tenon_cuda_known_stride(&x, 1) != 1) return "x is not channels-last";
    int64_t most = 1;
    for (int i = 0; i < 4; i++)
        if (!tenon_mul_i64(most, TENON_MAX(t->dim[i]->hi, 1), &most) || most > INT32_MAX) return "more elements than 32-bit indices reach";
    for (int i = 0; i < 3; i++) {
        const int axis = i ? i + 1 : 0;
        o->number[i] = tenon_dim_is_const(t->dim[axis]) ? t->dim[axis]->value : TENON_CUDA_UNKNOWN;
        o->number[3 + i] = tenon_cuda_known_stride(&x, axis);
    }
    return NULL;
}

static const char *find_conv(const tenon_problem *p, int index, const tenon_value *from, int *next, own *o, tenon_reason *scratch)
{
    const tenon_anchor *a = &p->anchor[1 + index];
    const tenon_node *n = a->node;
    if (n->src[0] != from) return "a convolution that does not read the step before it";
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before a convolution";
    const int w = o->src_w[index] = tenon_problem_src(p, n->src[1]);
    const tenon_type *t = &n->src[1]->type;
    if (w < 0 || t->dtype != o->dtype || t->rank != 4 || !p->src[w].format.weight || p->src[w].format.layout != TENON_ROW || p->src[w].format.ld)
        return "weights are not plain constants of the map's type";
    if (!tenon_type_is_static(t) || !tenon_dim_is(t->dim[2], 1) || !tenon_dim_is(t->dim[3], 1) || tenon_node_int(n, "group") != 1)
        return "not a 1x1 convolution";
    if (t->dim[0]->value < 1 || t->dim[1]->value < 1 || t->dim[0]->value > MOST || t->dim[1]->value > MOST) return "no channels, or more than 8192";
    const tenon_attr *pads = tenon_node_attr(n, "pads"), *stride = tenon_node_attr(n, "strides");
    for (size_t i = 0; i < pads->count; i++)
        if (pads->ints[i]) return "a padded convolution";
    for (size_t i = 0; i < stride->count; i++)
        if (stride->ints[i] != 1) return "a convolution with a stride";
    o->src_bias[index] = n->src_count > 2 && n->src[2] ? tenon_problem_src(p, n->src[2]) : -1;
    if (n->src_count > 2 && n->src[2] &&
        (o->src_bias[index] < 0 || !tenon_cuda_type(n->src[2]->type.dtype) || p->src[o->src_bias[index]].format.layout != TENON_ROW))
        return "a bias that is not a vector";
    const tenon_type *y = &result_of(a)->type;
    if (y->rank != 4 || !tenon_dim_is(y->dim[2], 1) || !tenon_dim_is(y->dim[3], 1) || y->dim[1] != n->dst[0]->type.dim[1] ||
        y->dim[0] != n->dst[0]->type.dim[0])
        return "a program that changes the shape";
    return tenon_cuda_channels_make(p, a->post, 0, &n->dst[0]->type, next, &o->program[index], scratch);
}

static const char *make(const tenon_problem *p, own *o, tenon_reason *scratch)
{
    int next = AT_FIRST;
    memset(o, 0, sizeof *o);
    const char *why = find_mean(p, o);
    if (!why) why = find_conv(p, 0, p->anchor[0].node->dst[0], &next, o, scratch);
    if (!why) why = find_conv(p, 1, result_of(&p->anchor[1]), &next, o, scratch);
    if (why) return why;
    if (p->dst_count != 1 || p->dst[0].value != result_of(&p->anchor[2])) return "an inner result is wanted too";
    if (result_of(&p->anchor[1])->type.dtype != o->dtype) return "a hidden value of another type";
    o->channels = (int)p->anchor[1].node->src[1]->type.dim[1]->value;
    o->hidden = (int)p->anchor[1].node->src[1]->type.dim[0]->value;
    if (p->anchor[2].node->src[1]->type.dim[0]->value != o->channels) return "as many results as channels are expected";
    const tenon_cuda_tensor y = {.type = &p->dst[0].value->type, .format = &p->dst[0].format};
    o->y_type = tenon_cuda_type(y.type->dtype);
    o->y_step_n = tenon_cuda_known_stride(&y, 0);
    o->y_step_c = tenon_cuda_known_stride(&y, 1);
    return !o->y_type || o->y_step_n == TENON_CUDA_UNKNOWN || o->y_step_c == TENON_CUDA_UNKNOWN ? "strides of the result that vary" : NULL;
}

/* ---- sizes: as the kernel's text has them ---- */
static int64_t owned(const own *o, int cluster) { return tenon_ceil_div(tenon_ceil_div(o->channels, 8), cluster) * 8; }
static int64_t element(const own *o) { return o->dtype == TENON_F32 ? 4 : 2; }

static int64_t plain_bytes(const own *o, const tenon_variant *v)
{
    const int64_t cp = (int64_t)tenon_round_up((size_t)o->channels, 8), hp = (int64_t)tenon_round_up((size_t)o->hidden, 8), cluster = v->p[P_CLUSTER];
    const int64_t lanes = TENON_MAX(v->p[P_THREADS] / (cp * element(o) / 16), 1);
    return 4 * (lanes * cp + (cluster + 1) * (owned(o, (int)cluster) + hp));
}

static int64_t weight_bytes(const own *o, int cluster)
{
    const int64_t own_channels = owned(o, cluster);
    return element(o) * o->hidden * ((own_channels / 8 | 1) * 8 + own_channels);
}

/* Weights of a block that has an SM for itself are there before it waits; of blocks that share one they would only be in the way. */
static bool fetches(const own *o, const tenon_variant *v, const tenon_device *device)
{
    return plain_bytes(o, v) + weight_bytes(o, v->p[P_CLUSTER]) <= (int64_t)tenon_cuda_shared_most(device) / 2;
}

/* Seconds: a block's pixels at the rate of a multiprocessor, or all at that of memory; then the two products and meetings. */
static double model(const own *o, const tenon_variant *v, double images, double pixels, const tenon_device *device)
{
    const double mp = tenon_cuda_multiprocessors(device), cluster = v->p[P_CLUSTER], map = pixels * o->channels * (double)element(o);
    const double weights = (double)weight_bytes(o, v->p[P_CLUSTER]), blocks = images * cluster, each = TENON_MAX(1.0, blocks / mp);
    const double rate = v->p[P_THREADS] >= 512 ? 95e9 : 75e9, memory = images * map / (images * map > 30e6 ? 2.6e12 : 5e12);
    const double fetching = fetches(o, v, device) && blocks <= mp ? weights / 400e9 : weights / 60e9;
    const double latency = 0.5e-6 + (cluster > 1 ? 0.7e-6 : 0.2e-6) + fetching, rounds = TENON_MAX(1.0, blocks * v->p[P_THREADS] / (mp * 1024));
    return 1.5e-6 + TENON_MAX(each * map / cluster / rate, memory) + latency * rounds;
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    static const int threads[] = {512, 256};
    double seconds[OFFERED];
    tenon_reason scratch;
    own o;
    int count = 0;
    if (max < 1 || make(p, &o, &scratch)) return 0;
    const tenon_type *x = &p->anchor[0].node->src[0]->type;
    const double images = (double)tenon_dim_at_opt(p->graph->dims, x->dim[0]);
    const double pixels = (double)tenon_dim_at_opt(p->graph->dims, x->dim[2]) * (double)tenon_dim_at_opt(p->graph->dims, x->dim[3]);
    for (int cluster = tenon_cuda_sm(device) >= 90 ? 8 : 1; cluster >= 1; cluster /= 2)
        for (size_t i = 0; i < TENON_COUNTOF(threads); i++) {
            const tenon_variant v = {{cluster, threads[i]}};
            const double s = model(&o, &v, images, pixels, device);
            int at = count++;
            for (; at > 0 && seconds[at - 1] > s; at--) {
                seconds[at] = seconds[at - 1];
                if (at < max) out[at] = out[at - 1];
            }
            seconds[at] = s;
            if (at < max) out[at] = v;
        }
    return TENON_MIN(count, max);
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst)
{
    tenon_reason scratch;
    own o;
    (void)dst;
    if (make(p, &o, &scratch)) return 1;
    const tenon_tensor *x = &src[o.src_x];
    return model(&o, v, (double)x->dim[0], (double)x->dim[2] * (double)x->dim[3], device);
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    const int cluster = v->p[P_CLUSTER], threads = v->p[P_THREADS];
    const char *why = make(p, &o, scratch);
    if (why) return why;
    if ((cluster != 1 && cluster != 2 && cluster != 4 && cluster != 8) || threads < 32 || threads > 1024 || threads % 32) return "no such variant";
    if (cluster > 1 && tenon_cuda_sm(device) < 90) return "clusters need compute capability 9.0";
    return plain_bytes(&o, v) > (int64_t)tenon_cuda_shared_most(device) ? "more shared memory than a block has" : NULL;
}

/* ---- the tactic ---- */
static void print(const tenon_problem *p, const own *o, tenon_buf *b)
{
    static const char *const name[NUMBERS] = {"N", "H", "W", "STEP_N", "STEP_H", "STEP_W"};
    const char *type = tenon_cuda_type(o->dtype);
    tenon_buf_str(b, "#include \"prelude.cu\"\n#if CLUSTER > 1\n#include \"mma.cu\"\n#endif\n");
    tenon_cuda_channels_print(&o->program[0], "tenon_hidden", b);
    tenon_cuda_channels_print(&o->program[1], "tenon_last", b);
    tenon_buf_str(b, "static __device__ __forceinline__ long long tenon_number(const tenon_args &args, int number)\n{\n    switch (number) {\n");
    for (int i = 0; i < NUMBERS; i++) {
        if (o->number[i] != TENON_CUDA_UNKNOWN) tenon_buf_printf(b, "    case %d: return %" PRId64 ";\n", i, o->number[i]);
        else tenon_buf_printf(b, "    case %d: return args.shape[%d];\n", i, i);
    }
    tenon_buf_str(b, "    }\n    return 0;\n}\n");
    for (int i = 0; i < NUMBERS; i++) tenon_buf_printf(b, "#define NUMBER_%s %d\n", name[i], i);
    tenon_buf_printf(b, "#define CHANNELS %d\n#define HIDDEN %d\n#define X_TYPE %s\n#define W_TYPE %s\n#define Y_TYPE %s\n", o->channels, o->hidden, type, type,
                     o->y_type);
    tenon_buf_printf(b, "#define X_AT %d\n#define W1_AT %d\n#define W2_AT %d\n#define Y_AT %d\n#define Y_STEP_N %" PRId64
                        "ll\n#define Y_STEP_C %" PRId64 "ll\n",
                     AT_X, AT_W1, AT_W2, AT_Y, o->y_step_n, o->y_step_c);
    for (int i = 0; i < 2; i++) {
        tenon_buf_printf(b, "#define BIAS_%d %d\n", i + 1, o->src_bias[i] < 0 ? -1 : AT_BIAS + i);
        if (o->src_bias[i] >= 0) tenon_buf_printf(b, "#define BIAS_%d_TYPE %s\n", i + 1, tenon_cuda_type(p->anchor[1 + i].node->src[2]->type.dtype));
    }
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_tactic_plan *out)
{
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    tenon_reason scratch;
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = make(p, o, &scratch);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.squeeze_excite: %s", why);
    o->fetch = fetches(o, v, device);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    print(p, o, &b);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_squeeze_excite, "tenon_squeeze_excite", NUMBERS, o, out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DCLUSTER=%d -DTHREADS=%d -DFETCH=%d -DTENON_SM_MOST=%d", v->p[P_CLUSTER], v->p[P_THREADS],
             o->fetch, tenon_cuda_sm(device));
    return TENON_OK;
}

static bool is_aligned(const tenon_tensor *t) { return (uintptr_t)t->data % 16 == 0; }

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tenon_tensor *x = &b->src[o->src_x];
    const int64_t number[NUMBERS] = {x->dim[0], x->dim[2], x->dim[3], x->stride[0], x->stride[2], x->stride[3]}, vector = 16 / element(o);
    memset(r, 0, sizeof *r);
    bool whole = is_aligned(x);
    for (int i = 0; i < NUMBERS; i++) {
        if (o->number[i] != TENON_CUDA_UNKNOWN && o->number[i] != number[i] && (i < 3 || number[i - 3] > 1))
            return TENON_FAIL(cx, TENON_INTERNAL, "cuda: number %d of a squeeze-excite is %" PRId64 " where its problem says %" PRId64, i,
                              number[i], o->number[i]);
        b->shape[i] = number[i];
        whole = whole && (i < 3 || number[i - 3] <= 1 || number[i] % vector == 0);
    }
    r->args.at[AT_X] = x->data;
    r->args.at[AT_Y] = b->dst[0].data;
    r->args.aligned = (uint32_t)whole << AT_X;
    for (int i = 0; i < 2; i++) {
        const tenon_tensor *w = &b->src[o->src_w[i]];
        r->args.at[AT_W1 + i] = w->data;
        r->args.aligned |= (uint32_t)is_aligned(w) << (AT_W1 + i);
        if (o->src_bias[i] >= 0) r->args.at[AT_BIAS + i] = b->src[o->src_bias[i]].data;
        tenon_cuda_channels_bind(b, &o->program[i], 1, &r->args);
    }
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    r->grid[0] = (uint32_t)((b->src_most ? b->src_most : b->src)[o->src_x].dim[0] * b->variant->p[P_CLUSTER]);
    r->grid[1] = r->grid[2] = 1;
    r->threads = (uint32_t)b->variant->p[P_THREADS];
    r->cluster = b->variant->p[P_CLUSTER] > 1 ? (uint32_t)b->variant->p[P_CLUSTER] : 0;
    r->shared_bytes = (uint32_t)(plain_bytes(o, b->variant) + (o->fetch ? weight_bytes(o, b->variant->p[P_CLUSTER]) : 0));
    return TENON_OK;
}

const tenon_tactic tenon_cuda_squeeze_excite = {
    .name = "cuda.squeeze_excite", .pattern = "reduce_mean;conv;conv", .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject,
    .plan = plan, .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "squeeze_excite",
};
