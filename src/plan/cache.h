/* SPDX-License-Identifier: Apache-2.0 */
/* The timing cache: (device fingerprint, problem text, tactic with the hash of its code, variant) -> seconds. One text file,
   sorted, with a hash over its lines, so that people can read, compare and merge it. Entries of other devices are kept. */
#ifndef TENON_PLAN_CACHE_H
#define TENON_PLAN_CACHE_H

#include "op/tactic.h"

/* For each backend a hash of the code that its tactics are made of; part of the keys. Made by the build (cmake/code_hash.cmake);
   an entry without a name ends it. */
typedef struct tenon_code_hash { const char *backend, *hash; } tenon_code_hash;
extern const tenon_code_hash tenon_code_hashes[];

/* Seconds of one entry; false when there is none. */
bool tenon_cache_find(const tenon_timing_cache *cache, const char *fingerprint, const char *problem, const char *tactic,
                      const tenon_variant *variant, double *seconds);
tenon_status tenon_cache_add(tenon_cx *cx, tenon_timing_cache *cache, const char *fingerprint, const char *problem,
                             const char *tactic, const tenon_variant *variant, double seconds);

#endif
