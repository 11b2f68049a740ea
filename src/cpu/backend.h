/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU backend: a team of threads, host memory, and the tactics of tactic.def. */
#ifndef TENON_CPU_BACKEND_H
#define TENON_CPU_BACKEND_H

#include "op/tactic.h"

extern const tenon_backend tenon_backend_cpu;
extern const tenon_tactic *const tenon_cpu_tactics[]; /* in order of preference, `cpu.ref` last; NULL-terminated */

#endif
