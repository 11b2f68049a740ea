/* SPDX-License-Identifier: Apache-2.0 */
/* The timing cache: (device fingerprint, problem text, tactic, variant) -> seconds. One text file, sorted, with a hash over its
   lines, so that it can be read, compared and merged by people. Entries of other devices are kept. */
#ifndef TENON_PLAN_CACHE_H
#define TENON_PLAN_CACHE_H

#include "op/tactic.h"

/* Seconds of one entry; false when there is none. */
bool tenon_cache_find(const tenon_timing_cache *cache, const char *fingerprint, const char *problem, const char *tactic,
                      const tenon_variant *variant, double *seconds);
tenon_status tenon_cache_add(tenon_cx *cx, tenon_timing_cache *cache, const char *fingerprint, const char *problem,
                             const char *tactic, const tenon_variant *variant, double seconds);

#endif
