/* SPDX-License-Identifier: Apache-2.0 */
/* The backends of this build, in the order in which "auto" asks them: a GPU that is here, then the CPU. */
#include "run/engine.h"

#include <string.h>

extern const tenon_backend tenon_backend_cpu, tenon_backend_null;
#ifdef TENON_WITH_CUDA
extern const tenon_backend tenon_backend_cuda;
#endif

const tenon_backend *const tenon_backends[] = {
#ifdef TENON_WITH_CUDA
    &tenon_backend_cuda,
#endif
    &tenon_backend_cpu,
    &tenon_backend_null,
    NULL,
};

const tenon_backend *const tenon_backend_host = &tenon_backend_cpu;

const tenon_backend *tenon_backend_find(const char *name)
{
    for (size_t i = 0; tenon_backends[i]; i++)
        if (strcmp(tenon_backends[i]->name, name) == 0) return tenon_backends[i];
    return NULL;
}
