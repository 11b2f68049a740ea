/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions by cuDNN's fused engines: two spatial axes, channels-last, f16, bf16 and f32 (a second tactic rounds to TF32), any
   strides, padding, dilation and groups; behind them a chain of vectors and tensors that are added or multiplied, and
   activations. All sizes are numbers: a plan holds for one size. Variants are places in the list of plans that cuDNN makes, which
   takes a second or so each, so the optimization level says how many are tried. The library counts its own memory while a step is
   enqueued. */
#include "cuda/cudnn.h"
#include "cuda/library_tactic.h"

#include "base/checked.h"
#include "op/window.h"

#include <stdio.h>
#include <string.h>

enum { P_NOT_AT_THIS_LEVEL = 1 }; /* of a variant, beside those of all library tactics */
enum { WORKSPACE_USUAL = 16 << 20, WORKSPACE_MOST = 64 << 20, VECTOR_BYTES = 16, TENSORS = 3 + TENON_DNN_OPERATIONS };

typedef struct own {
    tenon_dnn_convolution convolution;
    int src_x, src_w, dst, src[TENON_DNN_OPERATIONS]; /* problem sources of x, w and operands (-1: none), result */
} own;

typedef struct record {
    const tenon_dnn_plan *plan;
    int64_t count, id[TENSORS];
    void *address[TENSORS];
    void *workspace;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

/* ---- the program ---- */
typedef struct row {
    const tenon_op *op;
    int mode;
} row;
static const row rows[] = {
    {&tenon_op_relu, TENON_DNN_RELU},
    {&tenon_op_sigmoid, TENON_DNN_SIGMOID},
    {&tenon_op_tanh, TENON_DNN_TANH},
    {&tenon_op_gelu, TENON_DNN_GELU},
    {&tenon_op_gelu_tanh, TENON_DNN_GELU_TANH},
    {&tenon_op_silu, TENON_DNN_SWISH},
    {&tenon_op_add, TENON_DNN_ADD},
    {&tenon_op_mul, TENON_DNN_MUL},
    {&tenon_op_sub, TENON_DNN_SUB},
};

static int64_t bits_of(float v)
{
    int32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* Channels-last without gaps, or where row-major is the same. */
static bool is_channels_last(const tenon_operand *o)
{
    const tenon_type *t = &o->value->type;
    if (o->format.ld) return false;
    if (o->format.layout == TENON_CLAST) return true;
    return o->format.layout == TENON_ROW &&
           (tenon_dim_is(t->dim[1], 1) || (tenon_dim_is(t->dim[2], 1) && tenon_dim_is(t->dim[3], 1)));
}

static const char *take_operand(const tenon_problem *p, const tenon_value *v, const tenon_type *y, own *o,
                                tenon_dnn_operation *op)
{
    const int src = tenon_problem_src(p, v);
    const tenon_type *t = &v->type;
    if (src < 0) return "an operand of the program is not a source";
    if (t->dtype != y->dtype) return "an operand of the program has another type";
    if (tenon_type_equal(t, y)) {
        if (!is_channels_last(&p->src[src])) return "an operand of the program is not channels-last";
        op->operand = 2;
    } else {
        if (t->rank < 3 || t->rank > 4 || t->dim[t->rank - 3] != y->dim[1] || p->src[src].format.ld)
            return "an operand of the program is no vector of channels";
        for (int i = 0; i < t->rank; i++)
            if (i != t->rank - 3 && !tenon_dim_is(t->dim[i], 1)) return "an operand of the program is no vector of channels";
        op->operand = 1;
    }
    o->src[o->convolution.operation_count] = src;
    return NULL;
}

/* clip(x, lower, upper) is cuDNN's relu with clips; the second must be above zero, where none is said by 0. */
static const char *take_clip(const tenon_program *program, const tenon_instr *in, int before, tenon_dnn_operation *op)
{
    const int lower = in->src[1], upper = in->src[2];
    if (in->src[0] != before || lower >= 0 || upper >= 0 || !program->operand_scalar[~lower] || !program->operand_scalar[~upper])
        return "a clip by operands";
    const float high = (float)program->operand_value[~upper];
    if (!(high > 0)) return "a clip below zero";
    *op = (tenon_dnn_operation){
        .mode = TENON_DNN_RELU, .lower = bits_of((float)program->operand_value[~lower]), .upper = bits_of(high)};
    return NULL;
}

static const char *take_instr(const tenon_problem *p, const tenon_program *program, int i, const tenon_type *y, own *o)
{
    const tenon_instr *in = &program->instr[i];
    const int before = i == 0 ? ~0 : i - 1;
    size_t k = 0;
    if (o->convolution.operation_count == TENON_DNN_OPERATIONS) return "the program is too long";
    tenon_dnn_operation *op = &o->convolution.operation[o->convolution.operation_count];
    if (in->op == &tenon_op_clip) {
        const char *why = take_clip(program, in, before, op);
        if (why) return why;
    } else {
        while (k < TENON_COUNTOF(rows) && rows[k].op != in->op) k++;
        if (k == TENON_COUNTOF(rows)) return "the program has an operator that cuDNN lacks";
        if (in->op == &tenon_op_silu && in->param[0] != 1) return "a silu with a factor";
        *op = (tenon_dnn_operation){.mode = rows[k].mode};
        if (in->op->pw->arity == 1 && in->src[0] != before) return "the program is no chain";
        if (in->op->pw->arity == 2) {
            const int other = in->src[0] == before                              ? in->src[1]
                              : in->src[1] == before && in->op != &tenon_op_sub ? in->src[0]
                                                                                : before;
            if (other >= 0 || other == before) return "the program is no chain";
            if (program->operand_scalar[~other]) return "the program has a number";
            const char *why = take_operand(p, program->operand[~other], y, o, op);
            if (why) return why;
        }
    }
    o->convolution.operation_count++;
    return NULL;
}

static const char *take_program(const tenon_problem *p, const tenon_program *program, const tenon_type *y, own *o)
{
    if (program->result_count != 1 || program->class_ != TENON_CLASS_F32 || program->result_instr[0] != program->instr_count - 1)
        return "the program has several results or another class";
    for (int i = 0; i < program->instr_count; i++) {
        const char *why = take_instr(p, program, i, y, o);
        if (why) return why;
    }
    return NULL;
}

/* ---- the problem ---- */
static bool take_dims(const tenon_type *t, int64_t *out)
{
    for (int i = 0; i < 4; i++) {
        if (!tenon_dim_is_const(t->dim[i]) || t->dim[i]->value < 1 || t->dim[i]->value > INT32_MAX) return false;
        out[i] = t->dim[i]->value;
    }
    return true;
}

static const char *take_window(const tenon_node *n, tenon_cx *cx, tenon_dnn_convolution *c)
{
    tenon_tensor x = {.rank = 4}, y = {.rank = 4};
    tenon_window w;
    memcpy(x.dim, c->x, sizeof c->x);
    memcpy(y.dim, c->y, sizeof c->y);
    if (tenon_window_get(cx, n, &x, c->w + 2, &y, &w) != TENON_OK) return "a window that does not fit";
    for (int i = 0; i < 2; i++) {
        c->stride[i] = w.stride[i + 1], c->dilation[i] = w.dilation[i + 1], c->begin[i] = w.begin[i + 1],
        c->end[i] = w.end[i + 1];
        if (c->begin[i] < 0 || c->end[i] < 0) return "negative padding";
    }
    return NULL;
}

static const char *make(const tenon_problem *p, own *o)
{
    const tenon_anchor *at = &p->anchor[0];
    const tenon_node *n = at->node;
    const tenon_type *x = &n->src[0]->type, *w = &n->src[1]->type, *y = &n->dst[0]->type;
    tenon_dnn_convolution *c = &o->convolution;
    memset(o, 0, sizeof *o);
    for (int i = 0; i < TENON_DNN_OPERATIONS; i++) o->src[i] = -1;
    if (x->rank != 4) return "two spatial axes only";
    if (at->pre[0] || at->pre[1]) return "a program on an operand";
    if (n->src_count > 2 && n->src[2]) return "a bias that is not in the program";
    if (!take_dims(x, c->x) || !take_dims(w, c->w) || !take_dims(y, c->y))
        return "dynamic sizes: a plan of cuDNN holds for one size";
    const tenon_value *result = at->post ? at->post->result[0] : n->dst[0];
    o->src_x = tenon_problem_src(p, n->src[0]), o->src_w = tenon_problem_src(p, n->src[1]), o->dst = tenon_problem_dst(p, result);
    if (o->src_x < 0 || o->src_w < 0 || o->dst < 0 || p->dst_count != 1) return "an operand is not a source";
    if (!p->src[o->src_w].format.weight) return "the weight is not a constant";
    if (!tenon_type_equal(&result->type, y)) return "the result has another type or shape";
    if (!is_channels_last(&p->src[o->src_x]) || !is_channels_last(&p->dst[o->dst])) return "not channels-last, or with a pitch";
    const int64_t bytes = (int64_t)tenon_dtype_bytes(x->dtype, 1);
    if (c->x[1] * bytes % VECTOR_BYTES || c->y[1] * bytes % VECTOR_BYTES) return "channels are no multiple of 16 bytes";
    const char *why = take_window(n, p->graph->cx, c);
    return why || !at->post ? why : take_program(p, at->post, y, o);
}

/* ---- the tactic ---- */
static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, bool tf32,
                          tenon_reason *scratch)
{
    own o;
    const char *why = tenon_cuda_library_type_rejects(p, tf32);
    if (why) return why;
    if (v->p[P_RANK] < 0 || v->p[P_RANK] >= TENON_DNN_RANKS) return "no such variant";
    if (v->p[P_NOT_AT_THIS_LEVEL]) return "cuDNN takes a second for a plan: from optimization level 3 on";
    why = make(p, &o);
    return why ? why : tenon_cuda_library_rejects(&tenon_cudnn_library, v, device, scratch);
}

/* A convolution of several taps that takes long: others of its plans may be much faster, with more workspace, and it pays to look. */
static bool is_worth_more(const own *o)
{
    const tenon_dnn_convolution *c = &o->convolution;
    const double taps = (double)(c->w[2] * c->w[3]), results = (double)c->y[0] * (double)c->y[2] * (double)c->y[3];
    return taps > 1 && c->w[1] == c->x[1] && 2 * results * taps * (double)c->w[0] * (double)c->w[1] > 5e9;
}

/* By how many variants the level permits: none below eight, then a few plans. */
static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    own o;
    const int version = tenon_cuda_library_version(&tenon_cudnn_library, device);
    const int usual = !make(p, &o) && is_worth_more(&o) ? 3 : 1, wanted = max >= 32 ? TENON_DNN_RANKS : max >= 16 ? 3 : usual;
    const int count = TENON_MIN(version ? wanted : 1, max);
    for (int i = 0; i < count; i++)
        out[i] = (tenon_variant){.p = {[P_RANK] = i, [P_NOT_AT_THIS_LEVEL] = max < 8, [P_VERSION] = version}};
    return count;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, bool tf32, tenon_tactic_plan *out)
{
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuDNN: no memory for a step");
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.cudnn_conv: %s", why);
    const tenon_dtype type = p->anchor[0].node->src[0]->type.dtype;
    tenon_dnn_convolution *c = &o->convolution;
    c->type = type == TENON_F16 ? TENON_DNN_F16 : type == TENON_BF16 ? TENON_DNN_BF16 : TENON_DNN_F32;
    c->tf32 = tf32;
    c->rank = v->p[P_RANK];
    c->workspace_bytes = is_worth_more(o) ? WORKSPACE_MOST : WORKSPACE_USUAL;
    TENON_TRY(tenon_cuda_library_source(cx, p, &tenon_cudnn_library, "cuda.cudnn_conv", &c->type, sizeof *c / sizeof c->type,
                                        &out->kernel[0]));
    out->kernel_count = 1;
    out->pack_count = 1;
    out->pack[0] = (tenon_pack){.op = &tenon_op_pack_krsc, .src = {o->src_w, -1, -1, -1}};
    out->src_packed = UINT32_C(1) << o->src_w;
    out->record_bytes = sizeof(record);
    out->workspace_bytes = (size_t)c->workspace_bytes;
    out->own = o;
    return TENON_OK;
}

static void add(record *r, int64_t id, void *address)
{
    r->id[r->count] = id;
    r->address[r->count++] = address;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const own *o = b->plan->own;
    const tenon_cuda_loaded *loaded = ((const tenon_cuda_kernel *)b->kernel[0])->loaded;
    uintptr_t bits = 0;
    memset(r, 0, sizeof *r);
    if (!loaded || loaded->library != &tenon_cudnn_library)
        return TENON_FAIL(cx, TENON_CORRUPT, "cuda.cudnn_conv: the engine's kernel is no plan of cuDNN");
    r->plan = (const tenon_dnn_plan *)(const void *)loaded;
    if (r->plan->workspace_bytes > b->plan->workspace_bytes)
        return TENON_FAIL(cx, TENON_CORRUPT, "cuda.cudnn_conv: the plan needs more workspace than it has");
    add(r, TENON_DNN_X, b->src[o->src_x].data);
    add(r, TENON_DNN_W, b->pack[0].data);
    add(r, TENON_DNN_Y, b->dst[o->dst].data);
    for (int i = 0; i < o->convolution.operation_count; i++)
        if (o->src[i] >= 0) add(r, TENON_DNN_OPERANDS + i, b->src[o->src[i]].data);
    for (int i = 0; i < r->count; i++) bits |= (uintptr_t)r->address[i];
    if (bits % VECTOR_BYTES)
        return TENON_FAIL(cx, TENON_INVALID, "cuda.cudnn_conv: an address is no multiple of 16, which cuDNN's plan was made for");
    r->workspace = b->workspace;
    return TENON_OK;
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_cuda_queue *q = exec;
    return tenon_dnn_execute(q->cx, r->plan, (int)r->count, r->id, r->address, r->workspace, q->stream);
}

/* Roofline with tensor cores for the small types; grouped convolutions use little of them. Three times that: whether cuDNN can do
   a problem at all shows when its plan is made, so where nothing is timed it is taken only where the others are far worse. */
static double cost_of(const tenon_problem *p, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst,
                      bool tf32)
{
    const bool tensor = tenon_node_int(p->anchor[0].node, "group") <= 1;
    return 5e-6 + 3 * tenon_cuda_library_roofline(p, device, src, dst, 3, tensor, tf32);
}

TENON_CUDA_LIBRARY_TACTIC(cudnn_conv, "conv", false, TENON_TACTIC_FINITE);
TENON_CUDA_LIBRARY_TACTIC(cudnn_conv_tf32, "conv", true, TENON_TACTIC_FINITE | TENON_TACTIC_TF32);
