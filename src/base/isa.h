/* SPDX-License-Identifier: Apache-2.0 */
/* What the CPU can do, found once by cpuid and xgetbv, limited by TENON_ISA=scalar|avx2|avx512. */
#ifndef TENON_BASE_ISA_H
#define TENON_BASE_ISA_H

#include "base/status.h"

enum {
    TENON_ISA_AVX2 = 1u << 0,   /* with FMA and F16C */
    TENON_ISA_AVX512 = 1u << 1, /* F, BW, VL, DQ */
    TENON_ISA_AVX512_VNNI = 1u << 2,
    TENON_ISA_AVX512_VBMI = 1u << 3,
    TENON_ISA_AVX512_BF16 = 1u << 4,
    TENON_ISA_AVX512_FP16 = 1u << 5,
    TENON_ISA_AMX = 1u << 6, /* tile, int8, bf16 */
    TENON_ISA_AVX_VNNI = 1u << 7,
};

typedef struct tenon_cpu_info {
    unsigned isa;      /* usable now: hardware, operating system, TENON_ISA */
    unsigned hardware; /* before TENON_ISA */
    int cores;         /* usable by this process: affinity and cgroup quota */
    size_t l1d_bytes, l2_bytes, l3_bytes;
    char name[64];
} tenon_cpu_info;

const tenon_cpu_info *tenon_cpu(void);                 /* thread-safe, never NULL */
void tenon_isa_names(unsigned isa, char *out, size_t bytes); /* "avx2+avx512+vnni" or "scalar" */
bool tenon_isa_parse(const char *s, unsigned *out);    /* "scalar", "avx2", "avx512": all bits up to that level */

#endif
