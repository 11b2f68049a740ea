/* SPDX-License-Identifier: Apache-2.0 */
/* Looking tactics up by name, and the order in which things speak against one: pattern, hardware, the tactic itself. */
#include "op/tactic.h"

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
