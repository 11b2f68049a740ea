/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of pointwise programs for AVX2 with FMA and F16C: eight floats a register. */
#include "cpu/vec_avx2.h"

#include "cpu/pw_f32_body.h"
