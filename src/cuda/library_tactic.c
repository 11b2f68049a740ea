/* SPDX-License-Identifier: Apache-2.0 */
/* What library tactics share; contracts in library_tactic.h. */
#include "cuda/library_tactic.h"

#include <stdio.h>

const char *tenon_cuda_library_type_rejects(const tenon_problem *p, bool tf32)
{
    const tenon_dtype type = p->anchor[0].node->src[0]->type.dtype;
    if (tf32) return type == TENON_F32 ? NULL : "not f32";
    return type == TENON_F32 || type == TENON_F16 || type == TENON_BF16 ? NULL : "neither f32 nor f16 nor bf16";
}

int tenon_cuda_library_version(const tenon_cuda_library *library, const tenon_device *device)
{
    const char *missing;
    tenon_cuda_libraries *l = tenon_cuda_libraries_of(device);
    return l ? library->version(&l->cx, &missing) : 0;
}

const char *tenon_cuda_library_rejects(const tenon_cuda_library *library, const tenon_variant *v, const tenon_device *device,
                                       tenon_reason *scratch)
{
    const char *missing;
    tenon_cuda_libraries *l = tenon_cuda_libraries_of(device);
    if (!l) {
        snprintf(scratch->text, sizeof scratch->text, "the device is not here: %s plans for a device that it runs on", library->name);
        return scratch->text;
    }
    const int version = library->version(&l->cx, &missing);
    if (!version) return missing;
    if (!v->p[P_VERSION] || v->p[P_VERSION] == version) return NULL;
    snprintf(scratch->text, sizeof scratch->text, "planned with %s %d, this machine has %d", library->name, v->p[P_VERSION], version);
    return scratch->text;
}

tenon_status tenon_cuda_library_source(tenon_cx *cx, const tenon_problem *p, const tenon_cuda_library *library, const char *name,
                                       const int64_t *number, size_t count, tenon_kernel_source *out)
{
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_cuda_numbers_print(&b, number, count);
    const tenon_status status = tenon_buf_status(&b);
    *out = (tenon_kernel_source){.name = name, .entry = library->entry};
    if (status == TENON_OK) out->source = tenon_arena_strndup(p->graph->arena, b.data, b.length);
    tenon_buf_free(&b);
    TENON_TRY(status);
    return out->source ? TENON_OK : TENON_FAIL(cx, TENON_NOMEM, "%s: no memory for a step", library->name);
}

static double bytes_of(const tenon_tensor *t, int count)
{
    double bytes = 0;
    for (int i = 0; i < count; i++) bytes += (double)tenon_dtype_bytes(t[i].dtype, (size_t)tenon_tensor_count(&t[i]));
    return bytes;
}

double tenon_cuda_library_roofline(const tenon_problem *p, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst,
                                   double base, bool tensor, bool tf32)
{
    const tenon_device_info *info = tenon_backend_cuda.info(device);
    const int sm = tenon_cuda_sm(device);
    const double full = base * (sm >= 90 && sm < 120 ? 4 : sm == 80 ? 2 : 1);
    const double gain = !tensor ? 1 : src[0].dtype != TENON_F32 ? full : tf32 ? full / 2 : 1;
    const double bytes = bytes_of(src, p->src_count) + bytes_of(dst, p->dst_count);
    return TENON_MAX(tenon_problem_flops(p, src, dst) / (info->peak_flops * gain), bytes / info->bandwidth);
}
