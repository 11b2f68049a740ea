/* SPDX-License-Identifier: Apache-2.0 */
/* How much there is to do: arithmetic and bytes of a context's steps, for the shapes that are set, and what the engine's device
   does at most. Both are of the problems, not of the tactics that were chosen, so a better tactic comes nearer to the peak. */
#include "run/context.h"

#include <stdio.h>

const char *tenon_engine_device(const tenon_engine *engine)
{
    return engine ? engine->backend->info(engine->device)->name : "";
}

tenon_status tenon_engine_peak(tenon_cx *cx, const tenon_engine *engine, tenon_peak *out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = (tenon_peak){0};
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    const tenon_device_info *info = engine->backend->info(engine->device);
    tenon_device_peak peak = {0};
    if (!engine->backend->peak) return TENON_FAIL(cx, TENON_UNSUPPORTED, "%s: a device without a peak", info->name);
    TENON_TRY(engine->backend->peak(cx, engine->device, &peak));
    snprintf(out->device, sizeof out->device, "%s", info->name);
    for (int i = 0; i < TENON_ARITHMETICS; i++) out->flops[i] = peak.flops[i];
    out->memory_bandwidth = peak.memory_bandwidth;
    out->cache_bandwidth = peak.cache_bandwidth;
    out->cache_bytes = peak.cache_bytes;
    out->step_seconds = info->step_seconds;
    return TENON_OK;
}

/* Elements that lie in memory; an axis of stride 0 is one and the same element. */
static double tensor_bytes(const tenon_tensor *t)
{
    double count = 1;
    for (int i = 0; i < t->rank; i++)
        if (t->stride[i] != 0 || t->dim[i] == 0) count *= (double)t->dim[i];
    return count * (double)tenon_dtype_get(t->dtype)->bits / 8;
}

/* By the types of the anchor's operands; the tactic tells whether f32 went in as TF32. */
static tenon_arithmetic arithmetic_of(const tenon_step_state *st)
{
    const tenon_problem *p = st->problem;
    const tenon_dtype t = p->anchor_count && p->anchor[0].node->src_count ? p->anchor[0].node->src[0]->type.dtype : TENON_F32;
    if (t == TENON_F16 || t == TENON_BF16) return TENON_ARITHMETIC_HALF;
    if (t == TENON_I8 || t == TENON_U8) return TENON_ARITHMETIC_INT8;
    return st->tactic && (st->tactic->flags & TENON_TACTIC_TF32) ? TENON_ARITHMETIC_TF32 : TENON_ARITHMETIC_F32;
}

static void work_of(const tenon_context *c, uint32_t step, tenon_step_work *out)
{
    const tenon_engine *e = c->engine;
    const tenon_step_state *st = &e->step_state[c->profile->step_first + step];
    const tenon_rec_step *r = st->rec;
    *out = (tenon_step_work){0};
    if (r->flags & TENON_STEP_GRAPH) return;
    out->arithmetic = arithmetic_of(st);
    out->flops = tenon_problem_flops(st->problem, c->src[step], c->dst[step]);
    for (uint32_t k = 0; k < r->src_count; k++) {
        const uint32_t slot = e->index[r->src_first + k];
        if (slot == TENON_NONE) continue; /* read in its packed form */
        *(e->slot[slot].kind == TENON_SLOT_WEIGHT ? &out->weight_bytes : &out->source_bytes) += tensor_bytes(&c->src[step][k]);
    }
    for (uint32_t k = 0; k < r->pack_count; k++) out->weight_bytes += (double)e->weight[e->index[r->pack_first + k]].bytes;
    for (uint32_t k = 0; k < r->dst_count; k++) out->result_bytes += tensor_bytes(&c->dst[step][k]);
}

tenon_status tenon_context_work(tenon_context *c, size_t count, tenon_step_work *out)
{
    TENON_GUARD(c ? &c->cx : NULL);
    TENON_NEED(NULL, c);
    TENON_NEED(&c->cx, out);
    if (count != c->profile->step_count)
        return TENON_FAIL(&c->cx, TENON_INVALID, "room for %zu steps; the profile has %u", count, c->profile->step_count);
    TENON_TRY(tenon_context_idle(c));
    TENON_TRY(tenon_context_own_stream(c));
    TENON_TRY(tenon_context_prepare(c));
    for (uint32_t i = 0; i < c->profile->step_count; i++) work_of(c, i, &out[i]);
    return TENON_OK;
}
