/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of pointwise programs for AVX-512: sixteen floats a register. */
#include "cpu/vec_avx512.h"

#include "cpu/pw_f32_body.h"
