/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine says of itself: bindings, profiles, and layer information as JSON (jansson), read from its records. */
#include "base/file.h"
#include "run/json_text.h"
#include "run/load.h"

#include <jansson.h>
#include <string.h>

size_t tenon_engine_binding_count(const tenon_engine *engine) { return engine ? engine->binding_count : 0; }
int tenon_engine_profile_count(const tenon_engine *engine) { return engine ? (int)engine->profile_count : 0; }

/* A symbol that every profile fixes to one and the same value is as good as a number. */
static bool fixed_symbol(const tenon_engine *e, uint32_t symbol, int64_t *out)
{
    for (uint32_t p = 0; p < e->profile_count; p++) {
        const tenon_rec_range *r = &e->range[e->profile[p].range_first + symbol];
        if (r->lo != r->hi || (p && r->lo != *out)) return false;
        *out = r->lo;
    }
    return true;
}

static int64_t dim_info(const tenon_engine *e, uint32_t index, const char **name)
{
    const tenon_rec_dim *d = &e->dim[index];
    int64_t v = 0;
    *name = NULL;
    if (d->kind == TENON_DIM_CONST) return d->value;
    if (d->kind == TENON_DIM_SYM) {
        if (fixed_symbol(e, (uint32_t)d->value, &v)) return v;
        *name = tenon_engine_string(e, e->symbol[d->value].name);
        return -1;
    }
    const char *inner;
    if (d->kind == TENON_DIM_ADD || d->kind == TENON_DIM_MUL) {
        const int64_t a = dim_info(e, d->a, &inner), b = dim_info(e, d->b, &inner);
        if (a >= 0 && b >= 0) return d->kind == TENON_DIM_ADD ? a + b : a * b;
    }
    return -1;
}

tenon_status tenon_engine_binding(tenon_cx *cx, const tenon_engine *engine, size_t index, tenon_binding_info *out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = (tenon_binding_info){0};
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    if (index >= engine->binding_count)
        return TENON_FAIL(cx, TENON_INVALID, "binding %zu: the engine has %u", index, engine->binding_count);
    const tenon_rec_binding *b = &engine->binding[index];
    *out = (tenon_binding_info){.name = tenon_engine_string(engine, b->name),
                                .io = (tenon_io)b->io,
                                .dtype = (tenon_dtype)b->dtype,
                                .rank = (int)b->rank};
    for (uint32_t i = 0; i < b->rank; i++) out->dim[i] = dim_info(engine, b->dim[i], &out->dim_name[i]);
    for (uint32_t i = 0; b->io == TENON_OUTPUT && i < engine->slot_count; i++)
        out->by_data |= engine->slot[i].kind == TENON_SLOT_HEAP && engine->slot[i].name == b->name;
    out->on_host = engine->backend->host_memory || out->by_data;
    return TENON_OK;
}

tenon_status tenon_engine_profile_shape(tenon_cx *cx, const tenon_engine *engine, int profile, const char *input, int64_t *min,
                                        int64_t *opt, int64_t *max)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    TENON_NEED(cx, input);
    TENON_NEED(cx, min);
    TENON_NEED(cx, opt);
    TENON_NEED(cx, max);
    if (profile < 0 || (uint32_t)profile >= engine->profile_count)
        return TENON_FAIL(cx, TENON_INVALID, "profile %d: the engine has %u", profile, engine->profile_count);
    for (uint32_t i = 0; i < engine->binding_count; i++) {
        const tenon_rec_binding *b = &engine->binding[i];
        if (b->io != TENON_INPUT || strcmp(tenon_engine_string(engine, b->name), input) != 0) continue;
        for (uint32_t k = 0; k < b->rank; k++) {
            const tenon_rec_dim *d = &engine->dim[b->dim[k]];
            min[k] = opt[k] = max[k] = d->value;
            if (d->kind != TENON_DIM_SYM) continue;
            const tenon_rec_range *r = &engine->range[engine->profile[profile].range_first + d->value];
            min[k] = r->lo;
            opt[k] = r->opt;
            max[k] = r->hi;
        }
        return TENON_OK;
    }
    return TENON_FAIL(cx, TENON_INVALID, "the engine has no input '%s'", input);
}

tenon_status tenon_engine_data(tenon_cx *cx, const tenon_engine *engine, const void **data, size_t *bytes)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, cx);
    TENON_NEED(cx, data);
    *data = NULL;
    TENON_NEED(cx, bytes);
    *bytes = 0;
    TENON_NEED(cx, engine);
    const uint8_t *image;
    tenon_engine_image_now(engine, &image, bytes);
    *data = image;
    return TENON_OK;
}

tenon_status tenon_engine_save(tenon_cx *cx, const tenon_engine *engine, const char *path)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    TENON_NEED(cx, path);
    const uint8_t *image;
    size_t bytes;
    tenon_engine_image_now(engine, &image, &bytes);
    return tenon_file_save(cx, path, image, bytes);
}

/* ---- JSON ---- */
static json_t *dims_json(const tenon_engine *e, const uint32_t *dim, uint32_t rank)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < rank; i++) {
        const char *name;
        const int64_t v = dim_info(e, dim[i], &name);
        json_array_append_new(list, name ? json_string(name) : v >= 0 ? json_integer(v) : json_string("?"));
    }
    return list;
}

static json_t *binding_json(const tenon_engine *e, const tenon_rec_binding *b)
{
    return json_pack("{s:s,s:s,s:s,s:o}", "name", tenon_engine_string(e, b->name), "io",
                     b->io == TENON_INPUT ? "input" : "output", "type", tenon_dtype_get((tenon_dtype)b->dtype)->name, "shape",
                     dims_json(e, b->dim, b->rank));
}

static json_t *operand_json(const tenon_engine *e, uint32_t first, uint32_t count)
{
    static const char *const kinds[] = {"block", "binding", "weight", "heap", "symbolic"};
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t at = e->index[first + i];
        if (at == TENON_NONE) {
            json_array_append_new(list, json_pack("{s:s}", "storage", "packed"));
            continue;
        }
        const tenon_rec_slot *s = &e->slot[at];
        json_t *j = json_pack("{s:s,s:s,s:I,s:s}", "name", tenon_engine_string(e, s->name), "storage", kinds[s->kind], "base",
                              (json_int_t)s->base, "type", tenon_dtype_get((tenon_dtype)s->dtype)->name);
        if (s->kind != TENON_SLOT_HEAP) { /* whose shape is that of the tensor there */
            json_object_set_new(j, "shape", dims_json(e, s->dim, s->rank));
            json_object_set_new(j, "strides", dims_json(e, s->stride, s->rank));
        }
        json_array_append_new(list, j);
    }
    return list;
}

/* On a device: computed on the host, so the run waits for the device there, and then the device for it. */
static bool synchronises(const tenon_engine *e, const tenon_rec_step *s)
{
    const tenon_tactic *tactic = e->step_state[s - e->step].tactic;
    if (e->backend->host_memory) return false;
    return (s->flags & (TENON_STEP_GRAPH | TENON_STEP_HOST)) || (tactic && (tactic->flags & TENON_TACTIC_HOST));
}

static json_t *step_json(const tenon_engine *e, const tenon_rec_step *s)
{
    json_t *variant = json_array();
    for (int i = 0; i < 8; i++) json_array_append_new(variant, json_integer(s->variant[i]));
    uint64_t weights = 0;
    for (uint32_t i = 0; i < s->pack_count; i++) weights += e->weight[e->index[s->pack_first + i]].bytes;
    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:o,s:f,s:b,s:f,s:I,s:I,s:I}", "name", tenon_engine_string(e, s->name), "origin",
                          tenon_engine_string(e, s->origin), "problem", tenon_engine_string(e, s->problem), "tactic",
                          tenon_engine_string(e, s->tactic), "variant", variant, "microseconds", s->seconds * 1e6, "timed",
                          (int)s->timed, "flops", s->flops, "weight_bytes", (json_int_t)weights, "workspace_bytes",
                          (json_int_t)s->workspace_bytes, "scratch_bytes", (json_int_t)s->scratch_bytes);
    json_object_set_new(j, "conversion", json_boolean(s->flags & TENON_STEP_CONVERSION));
    json_object_set_new(j, "reference", json_boolean(s->flags & TENON_STEP_REFERENCE));
    json_object_set_new(j, "synchronises", json_boolean(synchronises(e, s)));
    json_object_set_new(j, "sources", operand_json(e, s->src_first, s->src_count));
    json_object_set_new(j, "results", operand_json(e, s->dst_first, s->dst_count));
    return j;
}

/* Runs of steps on the host, between which the device has its segments. */
static json_t *host_segments(const tenon_engine *e, const tenon_rec_profile *p)
{
    json_t *list = json_array();
    for (uint32_t i = 0, count; i < p->step_count; i += count + !count) {
        for (count = 0; i + count < p->step_count && synchronises(e, &e->step[p->step_first + i + count]);) count++;
        if (count) json_array_append_new(list, json_pack("{s:I,s:I}", "first", (json_int_t)i, "count", (json_int_t)count));
    }
    return list;
}

/* ---- one layer ---- */
size_t tenon_engine_layer_count(const tenon_engine *engine, int profile)
{
    return engine && profile >= 0 && (uint32_t)profile < engine->profile_count ? engine->profile[profile].step_count : 0;
}

static tenon_status find_layer(tenon_cx *cx, const tenon_engine *e, int profile, size_t index, const tenon_rec_step **out)
{
    if (profile < 0 || (uint32_t)profile >= e->profile_count)
        return TENON_FAIL(cx, TENON_INVALID, "profile %d: the engine has %u", profile, e->profile_count);
    if (index >= e->profile[profile].step_count)
        return TENON_FAIL(cx, TENON_INVALID, "layer %zu: profile %d has %u", index, profile, e->profile[profile].step_count);
    *out = &e->step[e->profile[profile].step_first + index];
    return TENON_OK;
}

tenon_status tenon_engine_layer(tenon_cx *cx, const tenon_engine *engine, int profile, size_t index, tenon_layer_info *out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = (tenon_layer_info){0};
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    const tenon_rec_step *s;
    TENON_TRY(find_layer(cx, engine, profile, index, &s));
    *out = (tenon_layer_info){.name = tenon_engine_string(engine, s->name), .origin = tenon_engine_string(engine, s->origin),
                              .problem = tenon_engine_string(engine, s->problem), .tactic = tenon_engine_string(engine, s->tactic),
                              .seconds = s->seconds, .flops = s->flops, .workspace_bytes = (size_t)s->workspace_bytes,
                              .timed = s->timed != 0, .conversion = (s->flags & TENON_STEP_CONVERSION) != 0,
                              .reference = (s->flags & TENON_STEP_REFERENCE) != 0, .synchronises = synchronises(engine, s)};
    for (uint32_t i = 0; i < s->pack_count; i++) out->weight_bytes += (size_t)engine->weight[engine->index[s->pack_first + i]].bytes;
    return TENON_OK;
}

tenon_status tenon_engine_layer_inspect(tenon_cx *cx, const tenon_engine *engine, int profile, size_t index, char **json)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, json);
    *json = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    const tenon_rec_step *s;
    TENON_TRY(find_layer(cx, engine, profile, index, &s));
    return tenon_json_text(cx, step_json(engine, s), json);
}

tenon_status tenon_engine_describe(tenon_cx *cx, const tenon_engine *engine, tenon_engine_info *out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = (tenon_engine_info){0};
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    const tenon_rec_header *h = engine->header;
    *out = (tenon_engine_info){.version = h->tenon_version, .backend = h->backend, .built_on = h->fingerprint, .threads = (int)h->threads,
                               .refittable = (h->flags & TENON_ENGINE_REFIT) != 0, .profile_count = (int)engine->profile_count,
                               .binding_count = engine->binding_count, .file_bytes = engine->bytes, .weight_bytes = engine->weight_bytes};
    for (uint32_t i = 0; i < engine->step_count; i++) {
        const char *tactic = tenon_engine_string(engine, engine->step[i].tactic);
        const bool reference = (engine->step[i].flags & (TENON_STEP_GRAPH | TENON_STEP_REFERENCE)) != 0;
        out->sources |= strstr(tactic, "cublaslt") ? TENON_SOURCE_CUBLASLT : strstr(tactic, "cudnn") ? TENON_SOURCE_CUDNN
                        : reference ? TENON_SOURCE_REFERENCE : TENON_SOURCE_OWN;
    }
    return TENON_OK;
}

static json_t *profile_json(const tenon_engine *e, const tenon_rec_profile *p)
{
    json_t *steps = json_array(), *ranges = json_object();
    uint32_t conversions = 0, references = 0, waits = 0;
    for (uint32_t i = 0; i < p->step_count; i++) {
        const tenon_rec_step *s = &e->step[p->step_first + i];
        conversions += (s->flags & TENON_STEP_CONVERSION) != 0;
        references += (s->flags & TENON_STEP_REFERENCE) != 0;
        waits += synchronises(e, s);
        json_array_append_new(steps, step_json(e, s));
    }
    for (uint32_t i = 0; i < e->symbol_count; i++) {
        const tenon_rec_range *r = &e->range[p->range_first + i];
        if (e->symbol[i].binding != TENON_NONE)
            json_object_set_new(ranges, tenon_engine_string(e, e->symbol[i].name),
                                json_pack("[I,I,I]", (json_int_t)r->lo, (json_int_t)r->opt, (json_int_t)r->hi));
    }
    const double ratio = p->lower_bound_bytes ? (double)p->block_bytes / (double)p->lower_bound_bytes : 1;
    return json_pack("{s:o,s:I,s:I,s:I,s:I,s:o,s:{s:I,s:I,s:f,s:I},s:o}", "ranges", ranges, "step_count", (json_int_t)p->step_count,
                     "conversions", (json_int_t)conversions, "references", (json_int_t)references, "synchronising",
                     (json_int_t)waits, "host_segments", host_segments(e, p), "memory", "block_bytes", (json_int_t)p->block_bytes, "lower_bound_bytes",
                     (json_int_t)p->lower_bound_bytes, "ratio", ratio,
                     "scratch_bytes", (json_int_t)p->scratch_bytes, "steps", steps);
}

static json_t *engine_json(const tenon_engine *e)
{
    json_t *bindings = json_array(), *profiles = json_array();
    for (uint32_t i = 0; i < e->binding_count; i++) json_array_append_new(bindings, binding_json(e, &e->binding[i]));
    for (uint32_t i = 0; i < e->profile_count; i++) json_array_append_new(profiles, profile_json(e, &e->profile[i]));
    return json_pack("{s:s,s:s,s:s,s:I,s:b,s:I,s:I,s:o,s:o}", "tenon", e->header->tenon_version, "backend", e->header->backend,
                     "built_on", e->header->fingerprint, "threads", (json_int_t)e->header->threads, "refittable",
                     (int)(e->header->flags & TENON_ENGINE_REFIT) != 0, "file_bytes", (json_int_t)e->bytes, "weight_bytes",
                     (json_int_t)e->weight_bytes, "bindings", bindings, "profiles", profiles);
}

tenon_status tenon_json_text(tenon_cx *cx, json_t *take_json, char **out)
{
    *out = NULL;
    char *text = take_json ? json_dumps(take_json, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(take_json);
    if (!text) return TENON_FAIL(cx, TENON_NOMEM, "out of memory while writing JSON");
    const size_t bytes = strlen(text) + 1;
    *out = tenon_alloc(cx, bytes);
    if (*out) memcpy(*out, text, bytes);
    free(text);
    return *out ? TENON_OK : TENON_NOMEM;
}

tenon_status tenon_engine_inspect(tenon_cx *cx, const tenon_engine *engine, char **json)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, json);
    *json = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    return tenon_json_text(cx, engine_json(engine), json);
}
