/* SPDX-License-Identifier: Apache-2.0 */
/* Row kernels for any architecture. */
#include "cpu/vec_scalar.h"

#include "cpu/rows_f32_kernel.h"
