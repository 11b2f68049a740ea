/* SPDX-License-Identifier: Apache-2.0 */
/* The only place for compiler extensions. */
#ifndef TENON_BASE_COMPILER_H
#define TENON_BASE_COMPILER_H

#define TENON_LIKELY(x) __builtin_expect(!!(x), 1)
#define TENON_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TENON_PRINTF(format_index, first_index) __attribute__((format(printf, format_index, first_index)))
#define TENON_INLINE static inline __attribute__((always_inline))
#define TENON_NOINLINE __attribute__((noinline))
#define TENON_ALIGNED(n) __attribute__((aligned(n)))
/* Lanes in registers on any architecture that has them. */
#define TENON_VECTOR(type, bytes) type __attribute__((vector_size(bytes)))
#define TENON_PREFETCH(p) __builtin_prefetch((p), 0, 2) /* into L2; any address will do */
#define TENON_UNUSED __attribute__((unused))
#define TENON_CLEANUP(fn) __attribute__((cleanup(fn))) /* fn(&variable) when its scope is left */
#define TENON_COUNTOF(a) (sizeof(a) / sizeof((a)[0]))
#define TENON_MIN(a, b) ((a) < (b) ? (a) : (b))
#define TENON_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
