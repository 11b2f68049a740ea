/* SPDX-License-Identifier: Apache-2.0 */
/* Row kernels for AVX-512. */
#include "cpu/vec_avx512.h"

#include "cpu/rows_f32_kernel.h"
