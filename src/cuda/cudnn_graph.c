/* SPDX-License-Identifier: Apache-2.0 */
/* A convolution as cuDNN's operation graph, and the plan for it. Between the operations lie virtual tensors in f32; the
   heuristic's mode A names configurations, its fallback mode more. Those that round more than the build permits or give other
   bits at every run are left out, and of the rest the first that finalize count: finalizing compiles, which takes a second or so.
 */
#include "cuda/cudnn.h"

#include <string.h>

enum { DESCRIPTORS = 40, CONFIGS = 48, NOTES = 32 };

/* Every descriptor made so far, and the first error: what follows an error does nothing. */
typedef struct maker {
    const tenon_cudnn *dnn;
    tenon_dnn_handle handle;
    int error, count;
    tenon_dnn_descriptor made[DESCRIPTORS];
} maker;

static tenon_dnn_descriptor make(maker *m, int kind)
{
    tenon_dnn_descriptor d = NULL;
    if (m->error) return NULL;
    m->error = m->dnn->cudnnBackendCreateDescriptor(kind, &d);
    if (!m->error) m->made[m->count++] = d;
    return d;
}

static void set(maker *m, tenon_dnn_descriptor d, int attribute, int type, int64_t count, const void *value)
{
    if (!m->error) m->error = m->dnn->cudnnBackendSetAttribute(d, attribute, type, count, value);
}

static void finish(maker *m, tenon_dnn_descriptor d)
{
    if (!m->error) m->error = m->dnn->cudnnBackendFinalize(d);
}

/* ---- the graph ---- */
static tenon_dnn_descriptor tensor(maker *m, int64_t id, int64_t type, const int64_t *dim, bool is_virtual)
{
    tenon_dnn_descriptor d = make(m, TENON_DNN_TENSOR);
    const int dtype = (int)type;
    const int64_t align = 16, stride[] = {dim[1] * dim[2] * dim[3], 1, dim[3] * dim[1], dim[1]};
    set(m, d, TENON_DNN_TENSOR_TYPE, TENON_DNN_T_DTYPE, 1, &dtype);
    set(m, d, TENON_DNN_TENSOR_DIMS, TENON_DNN_T_I64, 4, dim);
    set(m, d, TENON_DNN_TENSOR_STRIDES, TENON_DNN_T_I64, 4, stride);
    set(m, d, TENON_DNN_TENSOR_ID, TENON_DNN_T_I64, 1, &id);
    set(m, d, TENON_DNN_TENSOR_ALIGN, TENON_DNN_T_I64, 1, &align);
    if (is_virtual) set(m, d, TENON_DNN_TENSOR_VIRTUAL, TENON_DNN_T_BOOL, 1, &is_virtual);
    finish(m, d);
    return d;
}

static tenon_dnn_descriptor convolve(maker *m, const tenon_dnn_convolution *c, tenon_dnn_descriptor y)
{
    const int type = TENON_DNN_F32, mode = TENON_DNN_CROSS_CORRELATION;
    const int64_t axes = 2;
    const float one = 1, zero = 0;
    const tenon_dnn_descriptor x = tensor(m, TENON_DNN_X, c->type, c->x, false), w = tensor(m, TENON_DNN_W, c->type, c->w, false);
    const tenon_dnn_descriptor conv = make(m, TENON_DNN_CONVOLUTION);
    set(m, conv, TENON_DNN_CONV_TYPE, TENON_DNN_T_DTYPE, 1, &type);
    set(m, conv, TENON_DNN_CONV_MODE, TENON_DNN_T_CONV_MODE, 1, &mode);
    set(m, conv, TENON_DNN_CONV_AXES, TENON_DNN_T_I64, 1, &axes);
    set(m, conv, TENON_DNN_CONV_DILATIONS, TENON_DNN_T_I64, 2, c->dilation);
    set(m, conv, TENON_DNN_CONV_STRIDES, TENON_DNN_T_I64, 2, c->stride);
    set(m, conv, TENON_DNN_CONV_BEGIN, TENON_DNN_T_I64, 2, c->begin);
    set(m, conv, TENON_DNN_CONV_END, TENON_DNN_T_I64, 2, c->end);
    finish(m, conv);
    const tenon_dnn_descriptor op = make(m, TENON_DNN_CONVOLVE);
    set(m, op, TENON_DNN_CONVOLVE_ALPHA, TENON_DNN_T_F32, 1, &one);
    set(m, op, TENON_DNN_CONVOLVE_BETA, TENON_DNN_T_F32, 1, &zero);
    set(m, op, TENON_DNN_CONVOLVE_CONV, TENON_DNN_T_DESCRIPTOR, 1, &conv);
    set(m, op, TENON_DNN_CONVOLVE_X, TENON_DNN_T_DESCRIPTOR, 1, &x);
    set(m, op, TENON_DNN_CONVOLVE_W, TENON_DNN_T_DESCRIPTOR, 1, &w);
    set(m, op, TENON_DNN_CONVOLVE_Y, TENON_DNN_T_DESCRIPTOR, 1, &y);
    finish(m, op);
    return op;
}

static void set_clips(maker *m, tenon_dnn_descriptor pointwise, const tenon_dnn_operation *o)
{
    const int nan = TENON_DNN_PROPAGATE_NAN;
    float lower, upper;
    const int32_t lower_bits = (int32_t)o->lower, upper_bits = (int32_t)o->upper;
    memcpy(&lower, &lower_bits, sizeof lower);
    memcpy(&upper, &upper_bits, sizeof upper);
    const double low = lower, high = upper;
    set(m, pointwise, TENON_DNN_PW_NAN, TENON_DNN_T_NAN, 1, &nan);
    if (o->lower) set(m, pointwise, TENON_DNN_PW_LOWER, TENON_DNN_T_F64, 1, &low);
    if (o->upper) set(m, pointwise, TENON_DNN_PW_UPPER, TENON_DNN_T_F64, 1, &high);
}

static tenon_dnn_descriptor apply(maker *m, const tenon_dnn_operation *o, tenon_dnn_descriptor x, tenon_dnn_descriptor b,
                                  tenon_dnn_descriptor y)
{
    const int mode = (int)o->mode, type = TENON_DNN_F32;
    const tenon_dnn_descriptor pointwise = make(m, TENON_DNN_POINTWISE);
    set(m, pointwise, TENON_DNN_PW_MODE, TENON_DNN_T_POINTWISE_MODE, 1, &mode);
    set(m, pointwise, TENON_DNN_PW_TYPE, TENON_DNN_T_DTYPE, 1, &type);
    if (mode == TENON_DNN_RELU) set_clips(m, pointwise, o);
    finish(m, pointwise);
    const tenon_dnn_descriptor op = make(m, TENON_DNN_APPLY);
    set(m, op, TENON_DNN_APPLY_POINTWISE, TENON_DNN_T_DESCRIPTOR, 1, &pointwise);
    set(m, op, TENON_DNN_APPLY_X, TENON_DNN_T_DESCRIPTOR, 1, &x);
    if (b) set(m, op, TENON_DNN_APPLY_B, TENON_DNN_T_DESCRIPTOR, 1, &b);
    set(m, op, TENON_DNN_APPLY_Y, TENON_DNN_T_DESCRIPTOR, 1, &y);
    finish(m, op);
    return op;
}

static tenon_dnn_descriptor graph_of(maker *m, const tenon_dnn_convolution *c)
{
    enum { FIRST_VIRTUAL = 100 };
    tenon_dnn_descriptor op[1 + TENON_DNN_OPERATIONS];
    const int64_t channels[] = {1, c->y[1], 1, 1};
    int count = 0;
    const int last = (int)c->operation_count;
    tenon_dnn_descriptor y = last ? tensor(m, FIRST_VIRTUAL, TENON_DNN_F32, c->y, true)
                                  : tensor(m, TENON_DNN_Y, c->type, c->y, false);
    op[count++] = convolve(m, c, y);
    for (int i = 0; i < last; i++) {
        const tenon_dnn_operation *o = &c->operation[i];
        const tenon_dnn_descriptor x = y, b = o->operand ? tensor(m, TENON_DNN_OPERANDS + i, c->type,
                                                                  o->operand == 1 ? channels : c->y, false)
                                                         : NULL;
        y = i + 1 < last ? tensor(m, FIRST_VIRTUAL + 1 + i, TENON_DNN_F32, c->y, true)
                         : tensor(m, TENON_DNN_Y, c->type, c->y, false);
        op[count++] = apply(m, o, x, b, y);
    }
    const tenon_dnn_descriptor graph = make(m, TENON_DNN_GRAPH);
    set(m, graph, TENON_DNN_GRAPH_HANDLE, TENON_DNN_T_HANDLE, 1, &m->handle);
    set(m, graph, TENON_DNN_GRAPH_OPS, TENON_DNN_T_DESCRIPTOR, count, op);
    finish(m, graph);
    return graph;
}

/* ---- plans ---- */
static int list_configs(const tenon_cudnn *dnn, tenon_dnn_descriptor graph, int mode, tenon_dnn_descriptor *config, int room)
{
    tenon_dnn_descriptor heuristic = NULL;
    int64_t count = 0, got = 0;
    int made = 0;
    int error = dnn->cudnnBackendCreateDescriptor(TENON_DNN_HEURISTIC, &heuristic);
    if (!error) error = dnn->cudnnBackendSetAttribute(heuristic, TENON_DNN_HEURISTIC_GRAPH, TENON_DNN_T_DESCRIPTOR, 1, &graph);
    if (!error) error = dnn->cudnnBackendSetAttribute(heuristic, TENON_DNN_HEURISTIC_MODE, TENON_DNN_T_HEURISTIC_MODE, 1, &mode);
    if (!error) error = dnn->cudnnBackendFinalize(heuristic);
    if (!error)
        error = dnn->cudnnBackendGetAttribute(heuristic, TENON_DNN_HEURISTIC_RESULTS, TENON_DNN_T_DESCRIPTOR, 0, &count, NULL);
    while (!error && made < count && made < room && !dnn->cudnnBackendCreateDescriptor(TENON_DNN_CONFIG, &config[made])) made++;
    if (!error && made)
        error = dnn->cudnnBackendGetAttribute(heuristic, TENON_DNN_HEURISTIC_RESULTS, TENON_DNN_T_DESCRIPTOR, made, &got, config);
    if (error) got = 0;
    for (int i = (int)got; i < made; i++) (void)dnn->cudnnBackendDestroyDescriptor(config[i]);
    if (heuristic) (void)dnn->cudnnBackendDestroyDescriptor(heuristic);
    return (int)got;
}

static bool permitted(const tenon_cudnn *dnn, tenon_dnn_descriptor config, const tenon_dnn_convolution *c)
{
    tenon_dnn_descriptor engine = NULL;
    int note[NOTES];
    int64_t count = 0;
    if (dnn->cudnnBackendCreateDescriptor(TENON_DNN_ENGINE, &engine) != 0) return false;
    int error = dnn->cudnnBackendGetAttribute(config, TENON_DNN_CONFIG_ENGINE, TENON_DNN_T_DESCRIPTOR, 1, &count, &engine);
    count = 0;
    if (!error) error = dnn->cudnnBackendGetAttribute(engine, TENON_DNN_ENGINE_NOTES, TENON_DNN_T_NOTE, NOTES, &count, note);
    bool good = !error;
    for (int i = 0; i < count && i < NOTES; i++)
        if (note[i] == TENON_DNN_NOTE_NONDETERMINISTIC || note[i] == TENON_DNN_NOTE_DOWN_CONVERTS ||
            (note[i] == TENON_DNN_NOTE_TENSOR_CORE && c->type == TENON_DNN_F32 && !c->tf32))
            good = false;
    (void)dnn->cudnnBackendDestroyDescriptor(engine);
    return good;
}

/* NULL: this configuration is not for this graph, or needs more workspace. */
static tenon_dnn_descriptor plan_of(const tenon_cudnn *dnn, tenon_dnn_handle handle, tenon_dnn_descriptor config, int64_t most)
{
    tenon_dnn_descriptor plan = NULL;
    int64_t workspace = INT64_MAX, count = 0;
    int error = dnn->cudnnBackendCreateDescriptor(TENON_DNN_PLAN, &plan);
    if (!error) error = dnn->cudnnBackendSetAttribute(plan, TENON_DNN_PLAN_HANDLE, TENON_DNN_T_HANDLE, 1, &handle);
    if (!error) error = dnn->cudnnBackendSetAttribute(plan, TENON_DNN_PLAN_CONFIG, TENON_DNN_T_DESCRIPTOR, 1, &config);
    if (!error) error = dnn->cudnnBackendFinalize(plan);
    if (!error) error = dnn->cudnnBackendGetAttribute(plan, TENON_DNN_PLAN_WORKSPACE, TENON_DNN_T_I64, 1, &count, &workspace);
    if (!error && workspace <= most) return plan;
    if (plan) (void)dnn->cudnnBackendDestroyDescriptor(plan);
    return NULL;
}

/* The plan wanted, or the last there is. Nothing is finalized twice to find it. */
static tenon_dnn_descriptor pick(const tenon_cudnn *dnn, tenon_dnn_handle handle, const tenon_dnn_convolution *c,
                                 tenon_dnn_descriptor *config, int count, tenon_dnn_memo *memo)
{
    tenon_dnn_descriptor plan = NULL;
    while (memo->good <= c->rank && memo->tried < count) {
        const int i = memo->tried++;
        const tenon_dnn_descriptor next = permitted(dnn, config[i], c) ? plan_of(dnn, handle, config[i], c->workspace_bytes) : NULL;
        if (!next) continue;
        if (plan) (void)dnn->cudnnBackendDestroyDescriptor(plan);
        plan = next;
        memo->config[memo->good++] = (uint8_t)i;
    }
    const int wanted = TENON_MIN((int)c->rank, memo->good - 1);
    if (plan || wanted < 0 || memo->config[wanted] >= count) return plan;
    return plan_of(dnn, handle, config[memo->config[wanted]], c->workspace_bytes);
}

static tenon_dnn_memo *memo_of(tenon_cuda_libraries *l, const tenon_dnn_convolution *c)
{
    tenon_dnn_convolution any = *c;
    tenon_dnn_memo *memo = l->dnn->memo;
    any.rank = 0;
    while (memo && memcmp(&memo->convolution, &any, sizeof any) != 0) memo = memo->next;
    if (memo || !(memo = tenon_alloc_zero(&l->cx, sizeof *memo))) return memo;
    memo->convolution = any;
    memo->next = l->dnn->memo;
    return l->dnn->memo = memo;
}

tenon_status tenon_dnn_make_plan(tenon_cx *cx, tenon_cuda_libraries *l, const tenon_cudnn *dnn, const tenon_dnn_convolution *c,
                                 tenon_dnn_descriptor *out)
{
    maker m = {.dnn = dnn, .handle = l->dnn->handle};
    tenon_dnn_descriptor config[CONFIGS];
    int configs = 0;
    *out = NULL;
    if (c->operation_count < 0 || c->operation_count > TENON_DNN_OPERATIONS || c->rank < 0 || c->rank >= TENON_DNN_RANKS)
        return TENON_FAIL(cx, TENON_INTERNAL, "cuDNN: too many operations");
    tenon_dnn_memo *memo = memo_of(l, c);
    if (!memo) return TENON_FAIL(cx, TENON_NOMEM, "cuDNN: no memory for a convolution");
    const tenon_dnn_descriptor graph = graph_of(&m, c);
    tenon_status status = tenon_dnn_check(cx, dnn, m.error, "describing a convolution");
    if (status == TENON_OK) {
        configs = list_configs(dnn, graph, TENON_DNN_MODE_A, config, CONFIGS);
        configs += list_configs(dnn, graph, TENON_DNN_FALLBACK, config + configs, CONFIGS - configs);
        *out = pick(dnn, m.handle, c, config, configs, memo);
        if (!*out) status = TENON_FAIL(cx, TENON_UNSUPPORTED, "cuDNN: none of %d configurations does this convolution", configs);
    }
    for (int i = 0; i < configs; i++) (void)dnn->cudnnBackendDestroyDescriptor(config[i]);
    while (m.count > 0) (void)dnn->cudnnBackendDestroyDescriptor(m.made[--m.count]);
    return status;
}
