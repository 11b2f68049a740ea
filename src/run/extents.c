/* SPDX-License-Identifier: Apache-2.0 */
/* How large bindings become, and which shapes are still missing: what a caller asks before it allocates. */
#include "run/context.h"

#include "base/checked.h"

#include <string.h>

/* All dims with every symbol at the upper end of its range; those of data are left out: 0. */
static tenon_status largest_dims(tenon_cx *cx, const tenon_engine *e, const tenon_rec_profile *p, int64_t **out)
{
    int64_t *value = tenon_alloc(cx, (e->dim_count + e->symbol_count + 1u) * sizeof *value),
        *symbol = value ? value + e->dim_count : NULL;
    uint32_t bad;
    if (!value) return TENON_NOMEM;
    for (uint32_t i = 0; i < e->symbol_count; i++) symbol[i] = e->symbol[i].binding == TENON_NONE ? 0 : e->range[p->range_first + i].hi;
    if (!tenon_shape_run(e->dim, e->dim_count, symbol, value, &bad)) {
        tenon_free(cx, value);
        return TENON_FAIL(cx, TENON_INVALID, "shape expression %u cannot be evaluated at the profile's largest shapes", bad);
    }
    *out = value;
    return TENON_OK;
}

tenon_status tenon_engine_binding_bytes(tenon_cx *cx, const tenon_engine *engine, int profile, const char *binding, size_t *out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = 0;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    TENON_NEED(cx, binding);
    if (profile < 0 || (uint32_t)profile >= engine->profile_count)
        return TENON_FAIL(cx, TENON_INVALID, "profile %d: the engine has %u", profile, engine->profile_count);
    const tenon_rec_profile *p = &engine->profile[profile];
    const tenon_rec_binding *b = NULL;
    for (uint32_t i = 0; i < engine->binding_count && !b; i++)
        if (strcmp(tenon_engine_string(engine, engine->binding[i].name), binding) == 0) b = &engine->binding[i];
    if (!b) return TENON_FAIL(cx, TENON_INVALID, "the engine has no binding '%.200s'", binding);
    for (uint32_t i = 0; b->io == TENON_OUTPUT && i < p->slot_count; i++) {
        const tenon_rec_slot *s = &engine->slot[p->slot_first + i];
        if (s->kind == TENON_SLOT_HEAP && s->name == b->name) return TENON_OK;
    }
    int64_t *value = NULL, dim[TENON_MAX_RANK], count;
    TENON_TRY(largest_dims(cx, engine, p, &value));
    for (uint32_t k = 0; k < b->rank; k++) dim[k] = value[b->dim[k]];
    tenon_free(cx, value);
    if (!tenon_product(dim, (int)b->rank, &count) || count < 0 || count >= TENON_DIM_HUGE)
        return TENON_FAIL(cx, TENON_INVALID, "binding '%.200s': too many elements at the profile's largest shapes", binding);
    *out = tenon_dtype_bytes((tenon_dtype)b->dtype, (size_t)count);
    return TENON_OK;
}

const char *tenon_context_unset_input(const tenon_context *c)
{
    for (uint32_t i = 0; c && i < c->engine->symbol_count; i++)
        if (c->symbol_value[i] < 0) return tenon_engine_string(c->engine, c->engine->binding[c->engine->symbol[i].binding].name);
    return NULL;
}
