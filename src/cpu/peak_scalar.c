/* SPDX-License-Identifier: Apache-2.0 */
/* The most multiplications and additions a second that any machine's plain code does. */
#define VECTOR float
#define LANES 1
#define LOAD(p) (*(p))
#define SET(f) (f)
#define FMA(a, x, y) ((a) * (x) + (y))
#define ADD(a, b) ((a) + (b))
#define FIRST(v) (v)
#include "cpu/peak_body.h"

const tenon_cpu_burn tenon_cpu_burn_scalar = {.isa = 0, .lanes = LANES, .run = burn, .read = read_all};
