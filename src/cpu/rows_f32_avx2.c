/* SPDX-License-Identifier: Apache-2.0 */
/* Row kernels for AVX2. */
#include "cpu/vec_avx2.h"

#include "cpu/rows_f32_kernel.h"
