/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisations of dense row-major f32 whose span is a run of memory: instance_norm and group_norm (the channels of a group of an
   image), layer_norm over several axes at the end, and batch_norm alone (given statistics, a channel of an image at a time).
   Members share the runs. */
#include "base/isa.h"
#include "base/team.h"
#include "cpu/rows_f32.h"
#include "op/tactic.h"

#include <math.h>
#include <string.h>

typedef struct record {
    const tenon_rows_f32 *kernels;
    const float *x, *scale, *bias, *mean, *variance; /* the last two: batch_norm */
    float *y, epsilon;
    bool layer;                /* scale and bias: one an element of the run, else one a channel */
    int64_t runs, run, groups; /* of the tensor; elements of one; runs in an image */
    int64_t channels, plane, per_scale; /* of a run; elements of a channel; channels that share a scale */
} record;

static bool is_dense(const tenon_operand *o) { return o->format.layout == TENON_ROW && o->format.ld == 0; }

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    if (a->post) return "a program after it";
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before it";
    for (int i = 1; i < n->dst_count; i++)
        if (n->dst[i]) return "the statistics are wanted";
    for (int i = 0; i < n->src_count; i++) {
        const int src = n->src[i] ? tenon_problem_src(p, n->src[i]) : -1;
        if (n->src[i] && src < 0) return "an operand is not a source";
        if (n->src[i] && n->src[i]->type.dtype != TENON_F32) return "an operand is not f32";
        if (n->src[i] && !is_dense(&p->src[src])) return "not dense row-major";
    }
    if (tenon_problem_dst(p, n->dst[0]) < 0 || n->dst[0]->type.dtype != TENON_F32) return "the result is not an f32 destination";
    return is_dense(&p->dst[0]) ? NULL : "not dense row-major";
}

static const char *reject_layer(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *x = &n->src[0]->type;
    const int64_t axis = tenon_node_int(n, "axis");
    const int first = (int)(axis < 0 ? axis + x->rank : axis);
    for (int i = 1; i < n->src_count; i++) {
        if (!n->src[i]) continue;
        const tenon_type *t = &n->src[i]->type;
        for (int k = 0; k < x->rank - first; k++) {
            const int at = t->rank - (x->rank - first) + k;
            if (at < 0 || t->dim[at] != x->dim[first + k]) return "scale or bias is broadcast within a run";
        }
        for (int k = 0; k < t->rank - (x->rank - first); k++)
            if (!tenon_dim_is(t->dim[k], 1)) return "scale or bias differs between runs";
    }
    return reject(p, v, device, scratch);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)p, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    return TENON_OK;
}

static const tenon_tensor *source(const tenon_bind *b, int i)
{
    const tenon_node *n = b->problem->anchor[0].node;
    return i < n->src_count && n->src[i] ? &b->src[tenon_problem_src(b->problem, n->src[i])] : NULL;
}
static const float *data_of(const tenon_bind *b, int i) { return source(b, i) ? source(b, i)->data : NULL; }

static void bind_common(const tenon_bind *b, record *r)
{
    memset(r, 0, sizeof *r);
    r->kernels = tenon_rows_f32_best();
    r->x = data_of(b, 0);
    r->scale = data_of(b, 1);
    r->bias = data_of(b, 2);
    r->y = b->dst[0].data;
    r->epsilon = (float)tenon_node_float(b->problem->anchor[0].node, "epsilon");
}

static tenon_status bind_channel(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = source(b, 0);
    bind_common(b, r);
    r->groups = n->op == &tenon_op_group_norm ? tenon_node_int(n, "num_groups") : x->dim[1];
    if (r->groups > 0 && x->dim[1] % r->groups)
        return TENON_FAIL(cx, TENON_INVALID, "%lld channels in %lld groups", (long long)x->dim[1], (long long)r->groups);
    if (n->op == &tenon_op_batch_norm) r->mean = data_of(b, 3), r->variance = data_of(b, 4);
    r->plane = 1;
    for (int i = 2; i < x->rank; i++) r->plane *= x->dim[i];
    r->channels = r->groups > 0 ? x->dim[1] / r->groups : 0;
    r->run = r->channels * r->plane;
    r->runs = r->run ? x->dim[0] * r->groups : 0;
    r->per_scale = source(b, 1)->dim[0] ? x->dim[1] / source(b, 1)->dim[0] : 1;
    return TENON_OK;
}

static tenon_status bind_layer(tenon_cx *cx, const tenon_bind *b, void *out)
{
    (void)cx;
    record *r = out;
    const tenon_tensor *x = source(b, 0);
    const int64_t axis = tenon_node_int(b->problem->anchor[0].node, "axis");
    bind_common(b, r);
    r->layer = true;
    r->runs = r->run = 1;
    for (int i = 0; i < x->rank; i++) *(i < (axis < 0 ? axis + x->rank : axis) ? &r->runs : &r->run) *= x->dim[i];
    if (!r->run) r->runs = 0;
    return TENON_OK;
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    int64_t begin, end;
    tenon_split(r->runs, 1, w->member, w->count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *x = r->x + i * r->run;
        float *y = r->y + i * r->run;
        if (r->layer) {
            r->kernels->norm(x, y, r->run, r->epsilon, true, r->scale, r->bias);
            continue;
        }
        const int64_t first = i % r->groups * r->channels;
        if (r->mean) r->kernels->scale_shift(x, y, r->run, 1.0f, -r->mean[first]);
        else r->kernels->norm(x, y, r->run, r->epsilon, true, NULL, NULL);
        for (int64_t c = 0; c < r->channels; c++) {
            const int64_t at = (first + c) / r->per_scale;
            const float inverse = r->mean ? 1.0f / sqrtf(r->variance[first] + r->epsilon) : 1.0f;
            r->kernels->scale_shift(y + c * r->plane, y + c * r->plane, r->plane, inverse * r->scale[at], r->bias[at]);
        }
    }
    return TENON_OK;
}

#define NORM(op, suffix, rejects, how)                                                                                           \
    const tenon_tactic tenon_cpu_##op##suffix##_f32 = {                                                                          \
        .name = "cpu." #op #suffix "_f32", .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .reject = rejects, .plan = plan, \
        .bind = bind_##how, .run = run,                                                                                          \
    }
NORM(instance_norm, , reject, channel);
NORM(group_norm, , reject, channel);
NORM(batch_norm, , reject, channel);
NORM(layer_norm, _runs, reject_layer, layer);
