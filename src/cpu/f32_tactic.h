/* SPDX-License-Identifier: Apache-2.0 */
/* One family of f32 tactics for three instruction sets: the generic functions take the kernel table first, and this makes the
   tactic structs that differ in name, need and table. The record keeps the table, so `run` needs none. */
#ifndef TENON_CPU_F32_TACTIC_H
#define TENON_CPU_F32_TACTIC_H

#include "base/isa.h"
#include "cpu/kernels_f32.h"
#include "op/tactic.h"

#define TENON_F32_TACTIC(family, anchor, isa_name, needs, more)                                                                  \
    static int variants_##isa_name(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)              \
    {                                                                                                                            \
        (void)device;                                                                                                            \
        return variants(&tenon_cpu_f32_##isa_name, p, out, max);                                                                 \
    }                                                                                                                            \
    static const char *reject_##isa_name(const tenon_problem *p, const tenon_variant *v, const tenon_device *device,             \
                                         tenon_reason *scratch)                                                                  \
    {                                                                                                                            \
        (void)device;                                                                                                            \
        return reject(&tenon_cpu_f32_##isa_name, p, v, scratch);                                                                 \
    }                                                                                                                            \
    static tenon_status plan_##isa_name(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v,                            \
                                        const tenon_device *device, tenon_tactic_plan *out)                                      \
    {                                                                                                                            \
        (void)device;                                                                                                            \
        return plan(cx, &tenon_cpu_f32_##isa_name, p, v, out);                                                                   \
    }                                                                                                                            \
    static tenon_status bind_##isa_name(tenon_cx *cx, const tenon_bind *b, void *record)                                         \
    {                                                                                                                            \
        return bind(cx, &tenon_cpu_f32_##isa_name, b, record);                                                                   \
    }                                                                                                                            \
    const tenon_tactic tenon_cpu_##family##_f32_##isa_name = {                                                                   \
        .name = "cpu." #family "_f32_" #isa_name, .pattern = anchor, .need = needs,                                              \
        .flags = TENON_TACTIC_DETERMINISTIC | (more), .variants = variants_##isa_name, .reject = reject_##isa_name,              \
        .plan = plan_##isa_name, .bind = bind_##isa_name, .run = run}

/* more: further flags. */
#if defined(__x86_64__)
#define TENON_F32_TACTICS(family, anchor, more)                                                                                  \
    TENON_F32_TACTIC(family, anchor, avx512, TENON_ISA_AVX2 | TENON_ISA_AVX512, more);                                           \
    TENON_F32_TACTIC(family, anchor, avx2, TENON_ISA_AVX2, more);                                                                \
    TENON_F32_TACTIC(family, anchor, scalar, 0, more)
#else
#define TENON_F32_TACTICS(family, anchor, more) TENON_F32_TACTIC(family, anchor, scalar, 0, more)
#endif

#endif
