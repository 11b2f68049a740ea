/* SPDX-License-Identifier: Apache-2.0 */
/* tenon_build: for each profile the network is copied, specialised, rewritten, planned and emitted; then the image is
   opened like any engine, so that what was built is what will be loaded. */
#include "api/network.h"
#include "base/checked.h"
#include "null/backend.h"
#include "pass/pass.h"
#include "plan/emit.h"
#include "plan/specialise.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct builder {
    tenon_cx *cx;
    const tenon_network *network;
    const tenon_config *config;
    const tenon_backend *backend;
    tenon_device *device;
    tenon_arena arena;               /* of the whole build */
    tenon_emitter emitter;
    tenon_tuner *tuner;
    tenon_range_named **range;       /* by profile: one a symbol of the network */
    size_t symbol_count;
    int profile_count;
} builder;

/* ---- ranges ---- */
static const tenon_shape_range *shape_of(const tenon_config *config, int profile, const char *input)
{
    for (size_t i = 0; i < config->range_count; i++)
        if (config->range[i].profile == profile && strcmp(config->range[i].input, input) == 0) return &config->range[i];
    return NULL;
}

static tenon_status check_names(builder *b)
{
    const tenon_graph *g = b->network->graph;
    for (size_t i = 0; i < b->config->range_count; i++) {
        const tenon_shape_range *r = &b->config->range[i];
        const tenon_value *input = NULL;
        for (size_t k = 0; k < g->input_count; k++)
            if (strcmp(g->input[k]->name, r->input) == 0) input = g->input[k];
        if (!input)
            return TENON_FAIL(b->cx, TENON_INVALID, "profile %d sets the shape of '%s', but the network has no such input",
                              r->profile, r->input);
        if (input->type.rank != r->rank)
            return TENON_FAIL(b->cx, TENON_INVALID, "input '%s': profile %d gives rank %d, the network has %d", r->input,
                              r->profile, r->rank, input->type.rank);
        for (int d = 0; d < r->rank; d++) {
            const tenon_dim *dim = input->type.dim[d];
            if (tenon_dim_is_const(dim) && (r->min[d] != dim->value || r->max[d] != dim->value))
                return TENON_FAIL(b->cx, TENON_INVALID,
                                  "input '%s', axis %d: the network fixes it to %" PRId64 ", profile %d asks for %" PRId64
                                  "..%" PRId64,
                                  r->input, d, dim->value, r->profile, r->min[d], r->max[d]);
        }
    }
    return TENON_OK;
}

static tenon_status range_of_symbol(builder *b, int profile, const tenon_dim_symbol *s, tenon_range_named *out)
{
    const tenon_graph *g = b->network->graph;
    bool given = false;
    *out = (tenon_range_named){s->name, 1, 1, 1};
    for (size_t i = 0; i < g->input_count; i++) {
        const tenon_shape_range *r = shape_of(b->config, profile, g->input[i]->name);
        for (int d = 0; r && d < r->rank; d++) {
            if (g->input[i]->type.dim[d] != s->dim) continue;
            if (given && (out->lo != r->min[d] || out->opt != r->opt[d] || out->hi != r->max[d]))
                return TENON_FAIL(b->cx, TENON_INVALID,
                                  "profile %d: dimension '%s' is given two ranges, the second by axis %d of input '%s'", profile,
                                  s->name, d, r->input);
            *out = (tenon_range_named){s->name, r->min[d], r->opt[d], r->max[d]};
            given = true;
        }
    }
    if (!given)
        tenon_log(b->cx, TENON_WARNING, TENON_TOPIC_GENERAL,
                  "dynamic dimension '%s' has no range in profile %d: fixed to 1 (give the input a shape to change that)",
                  s->name, profile);
    return TENON_OK;
}

static tenon_status find_ranges(builder *b)
{
    const tenon_dim_pool *pool = b->network->graph->dims;
    TENON_TRY(check_names(b));
    b->profile_count = TENON_MAX(b->config->profile_count, 1);
    b->range = tenon_arena_array(&b->arena, (size_t)b->profile_count, sizeof *b->range);
    if (!b->range) return TENON_NOMEM;
    for (int p = 0; p < b->profile_count; p++) {
        b->range[p] = tenon_arena_array(&b->arena, pool->symbol_count + 1, sizeof **b->range);
        if (!b->range[p]) return TENON_NOMEM;
        b->symbol_count = 0;
        for (size_t i = 0; i < pool->symbol_count; i++)
            if (!pool->symbol[i].data_dependent)
                TENON_TRY(range_of_symbol(b, p, &pool->symbol[i], &b->range[p][b->symbol_count++]));
    }
    return TENON_OK;
}

/* ---- bindings: from the network as read, so that all profiles share them ---- */
static tenon_status emit_symbols(builder *b)
{
    const tenon_graph *g = b->network->graph;
    for (size_t i = 0; i < g->dims->symbol_count; i++) TENON_TRY(tenon_emit_symbol(&b->emitter, g->dims->symbol[i].name));
    tenon_rec_symbol *all = (void *)b->emitter.section[TENON_SECTION_SYMBOLS].data;
    for (size_t i = 0; i < g->dims->symbol_count; i++)
        for (size_t k = 0; k < g->input_count && all[i].binding == TENON_NONE; k++)
            for (int d = 0; d < g->input[k]->type.rank; d++)
                if (g->input[k]->type.dim[d] == g->dims->symbol[i].dim && all[i].binding == TENON_NONE) {
                    all[i].binding = (uint32_t)k;
                    all[i].axis = (uint32_t)d;
                }
    return TENON_OK;
}

static tenon_status emit_binding(builder *b, const tenon_value *v, tenon_io io)
{
    tenon_rec_binding r = {.io = io, .dtype = v->type.dtype, .rank = (uint32_t)TENON_MAX(v->type.rank, 0), .slot = TENON_NONE};
    TENON_TRY(tenon_emit_string(&b->emitter, v->name, &r.name));
    for (int i = 0; i < v->type.rank; i++) TENON_TRY(tenon_emit_dim(&b->emitter, v->type.dim[i], &r.dim[i]));
    tenon_buf_bytes(&b->emitter.section[TENON_SECTION_BINDINGS], &r, sizeof r);
    return TENON_OK;
}

static tenon_status emit_bindings(builder *b)
{
    tenon_graph *g = b->network->graph;
    tenon_plan as_read = {.cx = b->cx, .arena = &b->arena, .graph = g};
    TENON_TRY(tenon_emit_begin(&b->emitter, &as_read));
    for (size_t i = 0; i < g->input_count; i++) TENON_TRY(emit_binding(b, g->input[i], TENON_INPUT));
    for (size_t i = 0; i < g->output_count; i++) TENON_TRY(emit_binding(b, g->output[i], TENON_OUTPUT));
    return TENON_OK;
}

/* ---- one profile ---- */
typedef struct range_lookup { const tenon_range_named *range; size_t count; tenon_rec_range found; } range_lookup;

static const tenon_rec_range *lookup_range(void *user, const char *symbol)
{
    range_lookup *l = user;
    const tenon_range_named *r = tenon_range_find(l->range, l->count, symbol);
    if (!r) return NULL;
    l->found = (tenon_rec_range){r->lo, r->opt, r->hi, 1};
    return &l->found;
}

/* Every step that no tactic of the device does, be it done on the host, with what the tactics of its pattern said. */
static tenon_status refuse_gaps(builder *b, const tenon_plan *plan)
{
    tenon_buf text;
    size_t gaps = 0;
    tenon_buf_init(&text, b->cx);
    for (size_t i = 0; i < plan->step_count; i++) {
        const tenon_plan_step *s = &plan->step[i];
        if (s->choice && !tenon_choice_is_gap(s->choice)) continue;
        if (gaps++ > 7) continue;
        tenon_buf_printf(&text, "; '%s' (%s)", s->group->node[0]->name, s->problem ? s->problem->text : s->group->node[0]->op->name);
        for (size_t k = 0; s->choice && k < s->choice->rejected_count; k++)
            tenon_buf_printf(&text, "%s %s: %s", k ? "," : ":", s->choice->rejected[k].tactic->name, s->choice->rejected[k].why);
    }
    tenon_status status = tenon_buf_status(&text);
    if (status == TENON_OK && gaps)
        status = TENON_FAIL(b->cx, TENON_UNSUPPORTED, "strict: %zu of %zu steps have no tactic of '%s'%s", gaps, plan->step_count, b->backend->name,
                            tenon_buf_cstr(&text));
    tenon_buf_free(&text);
    return status;
}

static tenon_status plan_profile(builder *b, int profile, tenon_arena *arena, tenon_onnx_files *files)
{
    tenon_plan plan = {.cx = b->cx, .arena = arena, .tuner = b->tuner, .backend = b->backend, .device = b->device};
    range_lookup ranges = {b->range[profile], b->symbol_count, {0, 0, 0, 0}};
    TENON_TRY(tenon_network_fresh(b->cx, b->network, arena, files, &plan.graph));
    TENON_TRY(tenon_specialise(b->cx, plan.graph, b->range[profile], b->symbol_count));
    if (!b->network->keep_nodes) TENON_TRY(tenon_passes_run(b->cx, plan.graph));
    plan.range_of = lookup_range;
    plan.range_user = &ranges;
    TENON_TRY(tenon_plan_run(&plan));
    if (b->config->strict) TENON_TRY(refuse_gaps(b, &plan));
    return tenon_emit_profile(&b->emitter, &plan);
}

static tenon_status plan_profiles(builder *b)
{
    for (int p = 0; p < b->profile_count; p++) {
        tenon_arena arena;
        tenon_onnx_files files = {0};
        tenon_arena_init(&arena, b->cx);
        const tenon_status status = plan_profile(b, p, &arena, &files);
        tenon_arena_free(&arena);
        tenon_onnx_close(&files);
        TENON_TRY(status);
    }
    return TENON_OK;
}

/* ---- the whole ---- */
static tenon_status open_named(builder *b)
{
    const tenon_config *c = b->config;
    TENON_TRY(b->backend->open(b->cx, c->device, c->threads, &b->device));
    return b->backend->can_build ? b->backend->can_build(b->cx, b->device) : TENON_OK;
}

/* The first that is here and can be built for; those before it are passed over, with a line why. A GPU that is here but cannot be
   built for is more than a line: somebody would miss it. */
static tenon_status open_auto(builder *b)
{
    char why[TENON_MESSAGE_BYTES] = "";
    for (size_t i = 0; tenon_backends[i]; i++) {
        if (tenon_backends[i] == &tenon_backend_null) continue; /* it computes nothing: only by name */
        b->backend = tenon_backends[i];
        tenon_status status = open_named(b);
        const bool here = b->device != NULL;
        if (status == TENON_OK && b->backend->info(b->device)->offline)
            status = TENON_FAIL(b->cx, TENON_DEVICE, "%s: TENON_CUDA_OFFLINE stands for a GPU that is not here", b->backend->name);
        if (status == TENON_OK) {
            tenon_log(b->cx, TENON_INFO, TENON_TOPIC_DEVICE, "auto: the engine is for %s", b->backend->info(b->device)->name);
            return TENON_OK;
        }
        if (b->device) b->backend->close(&b->device);
        snprintf(why, sizeof why, "%s", b->cx->message);
        tenon_log(b->cx, here ? TENON_WARNING : TENON_INFO, TENON_TOPIC_DEVICE, "auto: %s is passed over: %s", b->backend->name, why);
    }
    return TENON_FAIL(b->cx, TENON_DEVICE, "no device can be opened: %s", why);
}

static tenon_status open_backend(builder *b)
{
    const tenon_config *c = b->config;
    if (strcmp(c->backend, "auto") == 0) return open_auto(b);
    b->backend = tenon_backend_find(c->backend);
    if (b->backend) return open_named(b);
    return TENON_FAIL(b->cx, TENON_INVALID, "no backend '%s' in this build of Tenon: use auto, cpu, cuda or null", c->backend);
}

static void fill_header(builder *b)
{
    tenon_rec_header *h = &b->emitter.header;
    const tenon_device_info *info = b->backend->info(b->device);
    snprintf(h->tenon_version, sizeof h->tenon_version, "%s", tenon_version());
    snprintf(h->backend, sizeof h->backend, "%s", b->backend->name);
    snprintf(h->fingerprint, sizeof h->fingerprint, "%s", info->fingerprint);
    h->threads = (uint32_t)info->threads;
    h->flags = b->config->refit ? TENON_ENGINE_REFIT : 0;
    b->emitter.refit = b->config->refit;
}

static tenon_status make_image(builder *b, struct tenon_engine_image **out)
{
    TENON_TRY(find_ranges(b));
    TENON_TRY(open_backend(b));
    const tenon_device_info *info = b->backend->info(b->device);
    const tenon_tuner_options options = {.timed = b->config->timed && b->config->level > 0 && !info->offline,
                                         .tf32 = b->config->tf32,
                                         .level = b->config->level,
                                         .workspace_bytes = b->config->workspace_bytes,
                                         .budget_seconds = 0.004 * (1 + b->config->level),
                                         .host_threads = b->config->threads};
    if (info->offline)
        tenon_log(b->cx, TENON_WARNING, TENON_TOPIC_DEVICE, "nothing is timed: the engine is for %s, which is not here", info->name);
    TENON_TRY(tenon_tuner_create(b->cx, &b->arena, b->backend, b->device, b->config->cache, &options, &b->tuner));
    fill_header(b);
    TENON_TRY(emit_symbols(b));
    TENON_TRY(emit_bindings(b));
    TENON_TRY(plan_profiles(b));
    TENON_TRY(tenon_progress(b->cx, "write", 0, 1));
    struct tenon_engine_image *image = tenon_alloc_zero(b->cx, sizeof *image);
    if (!image) return TENON_NOMEM;
    image->kind = TENON_IMAGE_HEAP;
    tenon_status status = tenon_emit_image(&b->emitter, &image->data, &image->bytes);
    if (status == TENON_OK) status = tenon_progress(b->cx, "write", 1, 1);
    if (status != TENON_OK) {
        tenon_free_aligned(b->cx, image->data);
        tenon_free(b->cx, image);
        return status;
    }
    *out = image;
    return TENON_OK;
}

tenon_status tenon_build(tenon_cx *cx, tenon_network *network, const tenon_config *config, tenon_engine **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, network);
    TENON_NEED(cx, config);
    builder b = {.cx = cx, .network = network, .config = config};
    struct tenon_engine_image *image = NULL;
    tenon_arena_init(&b.arena, cx);
    tenon_emitter_init(&b.emitter, cx, &b.arena);
    tenon_status status = make_image(&b, &image);
    const int device_index = config->device;
    const int threads = b.device && b.backend->host_memory ? b.backend->info(b.device)->threads : config->threads;
    tenon_tuner_destroy(&b.tuner);
    tenon_emitter_free(&b.emitter);
    tenon_arena_free(&b.arena);
    if (status == TENON_OK)
        status = tenon_engine_open(cx, image, &(tenon_load_options){.threads = threads, .device_index = device_index,
                                                                    .device_allocator = config->hook.alloc ? &config->hook : NULL},
                                   "the engine just built", out);
    if (b.device) b.backend->close(&b.device); /* last: a GPU's context, which the engine uses too, is made once */
    return TENON_DONE(status);
}
