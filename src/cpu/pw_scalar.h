/* SPDX-License-Identifier: Apache-2.0 */
/* The interpreter of pointwise programs: the f64 and i64 classes, and f32 where there are no vector bodies. */
#ifndef TENON_CPU_PW_SCALAR_H
#define TENON_CPU_PW_SCALAR_H

#include "cpu/pw_exec.h"

/* Types and constants of `out` are set. TENON_UNSUPPORTED: a row that its class does not define. */
tenon_status tenon_pw_compile_slow(tenon_cx *cx, const tenon_program *p, tenon_pw_code *out);
void tenon_pw_run_slow(const tenon_pw_code *code, const tenon_pw_operand *operand, const tenon_pw_result *result, int64_t rows,
                       int64_t cols);

#endif
