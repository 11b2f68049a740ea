/* SPDX-License-Identifier: Apache-2.0 */
/* dlopen by a list of names. What each name failed with is collected, because the useful reason (a missing dependency of a
   library that is there) is seldom the last one. */
#include "base/dl.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

static void add_reason(char *why, size_t why_bytes, const char *text)
{
    const size_t used = why_bytes ? strlen(why) : 0;
    if (used + 1 < why_bytes) snprintf(why + used, why_bytes - used, "%s%s", used ? "; " : "", text);
}

bool tenon_dl_open(tenon_dl *dl, const char *const *names, char *why, size_t why_bytes)
{
    *dl = (tenon_dl){0};
    if (why_bytes) why[0] = 0;
    for (; *names; names++) {
        void *handle = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
        if (!handle) {
            const char *error = dlerror();
            add_reason(why, why_bytes, error ? error : *names);
            continue;
        }
        struct link_map *map = NULL;
        const bool known = !dlinfo(handle, RTLD_DI_LINKMAP, &map) && map && map->l_name && map->l_name[0];
        snprintf(dl->path, sizeof dl->path, "%s", known ? map->l_name : *names);
        dl->handle = handle;
        if (why_bytes) why[0] = 0;
        return true;
    }
    if (why_bytes && !why[0]) add_reason(why, why_bytes, "no name to try");
    return false;
}

bool tenon_dl_is_open(const char *const *names)
{
    for (; *names; names++) {
        void *handle = dlopen(*names, RTLD_LAZY | RTLD_NOLOAD);
        if (handle) return dlclose(handle), true;
    }
    return false;
}

void *tenon_dl_symbol(const tenon_dl *dl, const char *name) { return dl->handle ? dlsym(dl->handle, name) : NULL; }

void tenon_dl_close(tenon_dl *dl)
{
    if (dl->handle) dlclose(dl->handle);
    *dl = (tenon_dl){0};
}
