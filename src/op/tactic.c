/* SPDX-License-Identifier: Apache-2.0 */
/* Looking tactics up by name, and the order in which things speak against one: pattern, hardware, the tactic itself. */
#include "op/tactic.h"

#include "op/symbols.h"

#include <stdio.h>
#include <string.h>

const tenon_tactic *tenon_tactic_find(const tenon_backend *backend, const char *name, size_t length)
{
    for (const tenon_tactic *const *t = backend->tactics; t && *t; t++)
        if (strncmp((*t)->name, name, length) == 0 && (*t)->name[length] == '\0') return *t;
    return NULL;
}

/* On the CPU `need` and `have` are sets of bits; elsewhere a compute capability * 10, which is one number to reach. */
static bool is_cpu(const tenon_tactic *t) { return strncmp(t->name, "cpu.", 4) == 0; }

const char *tenon_tactic_rejects(const tenon_tactic *t, const tenon_problem *p, const tenon_variant *v,
                                 const tenon_device *device,
                                 unsigned have, tenon_reason *scratch)
{
    if (strcmp(t->pattern, "*") != 0 && strcmp(t->pattern, p->pattern) != 0) {
        snprintf(scratch->text, sizeof scratch->text, "pattern is %.60s, does %.60s", p->pattern, t->pattern);
        return scratch->text;
    }
    if (is_cpu(t) ? (t->need & ~have) != 0 : t->need > have) {
        snprintf(scratch->text, sizeof scratch->text, "needs hardware 0x%x, have 0x%x", t->need, have);
        return scratch->text;
    }
    return t->reject ? t->reject(p, v, device, scratch) : NULL;
}

bool tenon_problem_has_param(const tenon_problem *p, const tenon_node *n, int i)
{
    const tenon_value *v = i < n->src_count ? n->src[i] : NULL;
    return !v || (v->is_const && tenon_problem_src(p, v) < 0);
}

tenon_status tenon_bind_ints(tenon_cx *cx, const tenon_bind *b, const tenon_value *v, int max, int64_t *out, int *count)
{
    const tenon_problem *p = b->problem;
    const tenon_tensor *t = v ? v->data : NULL;
    const int64_t many = !v ? -1 : t ? tenon_tensor_count(t) : (int64_t)v->sym_count;
    tenon_symbols s = {0};
    *count = (int)TENON_MIN(many, max);
    if (many > max) return TENON_FAIL(cx, TENON_INVALID, "a parameter of %lld elements, at most %d", (long long)many, max);
    for (int i = 0; t && i < many; i++) out[i] = tenon_tensor_get_i64(t, tenon_tensor_offset(t, i));
    if (t || !v) return TENON_OK;
    for (int i = 0; i < p->src_count; i++) tenon_symbols_learn(&s, &p->src[i].value->type, &b->src[i]);
    for (int i = 0; i < p->dst_count; i++) tenon_symbols_learn(&s, &p->dst[i].value->type, &b->dst[i]);
    for (int i = 0; i < many; i++)
        if (!tenon_symbols_eval(&s, v->sym[i], &out[i]))
            return TENON_FAIL(cx, TENON_INVALID, "element %d of a parameter has no value for these shapes", i);
    return TENON_OK;
}
