/* SPDX-License-Identifier: Apache-2.0 */
/* What the tactics that hand a problem to a library have in common: they hold for the version that planned them, their kernel's text is
   a row of numbers, and each stands twice in the table, the second time with operands rounded to TF32. */
#ifndef TENON_CUDA_LIBRARY_TACTIC_H
#define TENON_CUDA_LIBRARY_TACTIC_H

#include "cuda/backend.h"
#include "cuda/libraries.h"

/* Of a variant: the place in the library's list, and the version that it was planned with (0: whatever is there). */
enum { P_RANK = 0, P_VERSION = 7 };

/* NULL, or why the type is none for the tactic. */
const char *tenon_cuda_library_type_rejects(const tenon_problem *p, bool tf32);
/* The version for variants; 0: offline, or the library is not there. */
int tenon_cuda_library_version(const tenon_cuda_library *library, const tenon_device *device);
/* NULL, or why the library cannot be asked for this variant here. */
const char *tenon_cuda_library_rejects(const tenon_cuda_library *library, const tenon_variant *v, const tenon_device *device,
                                       tenon_reason *scratch);
/* The "kernel" of a plan: these numbers as text, in the problem's arena. */
tenon_status tenon_cuda_library_source(tenon_cx *cx, const tenon_problem *p, const tenon_cuda_library *library, const char *name,
                                       const int64_t *number, size_t count, tenon_kernel_source *out);
/* Seconds by the roofline; a chip's tensor cores are 4 * base (9.0 to 11.x), 2 * base (8.0) or `base` (others) times as fast as its f32
   unit, half as fast for TF32. tensor: whether the problem uses them. */
double tenon_cuda_library_roofline(const tenon_problem *p, const tenon_device *device, const tenon_tensor *src, const tenon_tensor *dst,
                                   double base, bool tensor, bool tf32);

/* The tactic `id` over reject, plan and cost_of of the file, which take the kind of f32 product as a further argument. */
#define TENON_CUDA_LIBRARY_TACTIC(id, pattern_, tf32_, flags_)                                                                  \
    static const char *reject_##id(const tenon_problem *p, const tenon_variant *v, const tenon_device *device,                  \
                                   tenon_reason *scratch)                                                                       \
    {                                                                                                                           \
        return reject(p, v, device, tf32_, scratch);                                                                            \
    }                                                                                                                           \
    static tenon_status plan_##id(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,     \
                                  tenon_tactic_plan *out)                                                                       \
    {                                                                                                                           \
        (void)device;                                                                                                           \
        return plan(cx, p, v, tf32_, out);                                                                                      \
    }                                                                                                                           \
    static double cost_##id(const tenon_problem *p, const tenon_variant *v, const tenon_device *device,                         \
                            const tenon_tensor *src, const tenon_tensor *dst)                                                   \
    {                                                                                                                           \
        return cost_of(p, device, src, dst, tf32_) * (1 + 0.01 * v->p[P_RANK]);                                                 \
    }                                                                                                                           \
    const tenon_tactic tenon_cuda_##id = {                                                                                      \
        .name = "cuda." #id, .pattern = pattern_, .flags = TENON_TACTIC_DETERMINISTIC | (flags_), .variants = variants,         \
        .reject = reject_##id, .plan = plan_##id, .bind = bind, .run = run, .cost = cost_##id }

#endif
