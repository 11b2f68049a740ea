/* SPDX-License-Identifier: Apache-2.0 */
/* Build configuration. */
#include "api/network.h"
#include "base/team.h"
#include "run/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

tenon_status tenon_config_create(tenon_cx *cx, tenon_config **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    tenon_config *c = tenon_alloc_zero(cx, sizeof *c);
    if (!c) return TENON_NOMEM;
    tenon_cx_init_child(&c->cx, cx);
    snprintf(c->backend, sizeof c->backend, "auto");
    c->level = 3;
    c->workspace_bytes = SIZE_MAX;
    c->timed = c->tf32 = true;
    *out = c;
    return TENON_OK;
}

void tenon_config_destroy(tenon_config **config)
{
    if (!config || !*config) return;
    tenon_config *c = *config;
    const tenon_allocator alloc = c->cx.alloc;
    for (size_t i = 0; i < c->range_count; i++) tenon_free(&c->cx, c->range[i].input);
    tenon_free(&c->cx, c->range);
    alloc.free(alloc.user, c);
    *config = NULL;
}

const char *tenon_config_message(const tenon_config *config) { return config ? config->cx.message : "the configuration is NULL"; }

tenon_status tenon_config_set_device(tenon_config *config, const char *backend, int index)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    TENON_NEED(&config->cx, backend);
    int sm = 0, end = 0;
    const bool offline = sscanf(backend, "cuda:sm_%3d%n", &sm, &end) == 1 && !backend[end] && sm > 0;
    if ((!offline && (strchr(backend, ':') || strlen(backend) >= sizeof config->backend)) || index < 0 || (offline && index))
        return TENON_FAIL(&config->cx, TENON_INVALID, "device '%s' %d: use auto, cpu, cuda, cuda:sm_90 or null and an index from 0", backend,
                          index);
    snprintf(config->backend, sizeof config->backend, "%s", offline ? "cuda" : backend);
    config->device = offline ? -sm : index;
    return TENON_OK;
}

tenon_status tenon_config_set_threads(tenon_config *config, int threads)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    if (threads < 0 || threads > TENON_MOST_THREADS)
        return TENON_FAIL(&config->cx, TENON_INVALID, "threads %d: 0 (all cores) to %d", threads, TENON_MOST_THREADS);
    config->threads = threads;
    return TENON_OK;
}

tenon_status tenon_config_set_workspace(tenon_config *config, size_t bytes)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    config->workspace_bytes = bytes;
    return TENON_OK;
}

tenon_status tenon_config_set_optimization_level(tenon_config *config, int level)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    if (level < 0 || level > 5) return TENON_FAIL(&config->cx, TENON_INVALID, "optimization level %d: 0 to 5", level);
    config->level = level;
    return TENON_OK;
}

tenon_status tenon_config_set_timing(tenon_config *config, bool timed)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    config->timed = timed;
    return TENON_OK;
}

tenon_status tenon_config_set_timing_cache(tenon_config *config, tenon_timing_cache *cache)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    config->cache = cache;
    return TENON_OK;
}

tenon_status tenon_config_set_refit(tenon_config *config, bool refittable)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    config->refit = refittable;
    return TENON_OK;
}

tenon_status tenon_config_set_tf32(tenon_config *config, bool permitted)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    config->tf32 = permitted;
    return TENON_OK;
}

tenon_status tenon_config_set_strict(tenon_config *config, bool strict)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    config->strict = strict;
    return TENON_OK;
}

tenon_status tenon_config_set_device_allocator(tenon_config *config, const tenon_device_allocator *allocator)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    TENON_TRY(tenon_hook_check(&config->cx, allocator));
    config->hook = allocator ? *allocator : (tenon_device_allocator){0};
    return TENON_OK;
}

tenon_status tenon_config_describe(tenon_config *config, tenon_config_info *out)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    TENON_NEED(&config->cx, out);
    if (config->device < 0) snprintf(config->described, sizeof config->described, "%s:sm_%d", config->backend, -config->device);
    else snprintf(config->described, sizeof config->described, "%s", config->backend);
    *out = (tenon_config_info){.backend = config->described, .device = TENON_MAX(config->device, 0), .threads = config->threads,
                               .optimization_level = config->level, .profile_count = config->profile_count,
                               .workspace_bytes = config->workspace_bytes, .timed = config->timed, .refit = config->refit,
                               .tf32 = config->tf32, .strict = config->strict};
    return TENON_OK;
}

tenon_status tenon_config_shape(tenon_config *config, int profile, const char *input, int *rank, int64_t *min, int64_t *opt,
                                int64_t *max)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    TENON_NEED(&config->cx, input);
    TENON_NEED(&config->cx, rank);
    TENON_NEED(&config->cx, min);
    TENON_NEED(&config->cx, opt);
    TENON_NEED(&config->cx, max);
    for (size_t i = 0; i < config->range_count; i++) {
        const tenon_shape_range *r = &config->range[i];
        if (r->profile != profile || strcmp(r->input, input) != 0) continue;
        *rank = r->rank;
        memcpy(min, r->min, (size_t)r->rank * sizeof *min);
        memcpy(opt, r->opt, (size_t)r->rank * sizeof *opt);
        memcpy(max, r->max, (size_t)r->rank * sizeof *max);
        return TENON_OK;
    }
    return TENON_FAIL(&config->cx, TENON_INVALID, "profile %d sets no shape of '%.200s'", profile, input);
}

tenon_status tenon_config_add_profile(tenon_config *config, int *out)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    TENON_NEED(&config->cx, out);
    *out = config->profile_count++;
    return TENON_OK;
}

tenon_status tenon_config_set_shape(tenon_config *config, int profile, const char *input, int rank, const int64_t *min,
                                    const int64_t *opt, const int64_t *max)
{
    TENON_GUARD(config ? &config->cx : NULL);
    TENON_NEED(NULL, config);
    tenon_cx *cx = &config->cx;
    TENON_NEED(cx, input);
    if (rank > 0) TENON_NEED(cx, min);
    if (rank > 0) TENON_NEED(cx, opt);
    if (rank > 0) TENON_NEED(cx, max);
    if (profile < 0 || profile >= config->profile_count)
        return TENON_FAIL(cx, TENON_INVALID, "profile %d: there are %d", profile, config->profile_count);
    if (rank < 0 || rank > TENON_MAX_RANK)
        return TENON_FAIL(cx, TENON_INVALID, "input '%s': rank %d, at most %d", input, rank, TENON_MAX_RANK);
    for (int i = 0; i < rank; i++)
        if (min[i] < 0 || min[i] > opt[i] || opt[i] > max[i])
            return TENON_FAIL(cx, TENON_INVALID,
                              "input '%s', axis %d: %" PRId64 " <= %" PRId64 " <= %" PRId64
                              " (minimum, optimum, maximum) does not hold",
                              input, i, min[i], opt[i], max[i]);
    tenon_shape_range *r = NULL;
    for (size_t i = 0; i < config->range_count; i++)
        if (config->range[i].profile == profile && strcmp(config->range[i].input, input) == 0) r = &config->range[i];
    if (!r) {
        tenon_shape_range *grown = tenon_realloc(cx, config->range, (config->range_count + 1) * sizeof *grown);
        if (!grown) return TENON_NOMEM;
        config->range = grown;
        r = &grown[config->range_count];
        const size_t bytes = strlen(input) + 1;
        *r = (tenon_shape_range){.profile = profile, .input = tenon_alloc(cx, bytes)};
        if (!r->input) return TENON_NOMEM;
        memcpy(r->input, input, bytes);
        config->range_count++;
    }
    r->rank = rank;
    memcpy(r->min, min, (size_t)rank * sizeof *min);
    memcpy(r->opt, opt, (size_t)rank * sizeof *opt);
    memcpy(r->max, max, (size_t)rank * sizeof *max);
    return TENON_OK;
}
