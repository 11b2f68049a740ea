/* SPDX-License-Identifier: Apache-2.0 */
/* A small team of threads that runs one function on every member (SPMD) and has a cheap barrier.
   Members spin for some tens of microseconds, then sleep on a futex; the caller of tenon_team_run is member 0.
   One core budget for the whole process: teams ask it for cores, so that several contexts do not oversubscribe.
   After fork the child has no team threads: the team notices (pid) and starts new ones at the next run. */
#ifndef TENON_BASE_TEAM_H
#define TENON_BASE_TEAM_H

#include "base/status.h"

enum { TENON_MOST_THREADS = 1024 }; /* of a team, and so of a device and of every option that asks for threads */

typedef struct tenon_team tenon_team;
typedef void (*tenon_team_fn)(void *arg, int member, int count);

/* threads: 0 = all usable cores. Fails with TENON_DEVICE when a thread cannot start (the message says how many could). */
tenon_status tenon_team_create(tenon_cx *cx, int threads, tenon_team **out);
void tenon_team_destroy(tenon_team **team); /* NULL accepted; cleared */
int tenon_team_count(const tenon_team *team);
/* Runs fn on all members and returns when all are done. One run at a time per team, save that several threads may run a team of
   one thread at once. Allocates nothing. */
void tenon_team_run(tenon_team *team, tenon_team_fn fn, void *arg);
/* Called by every member inside a run: returns when all have arrived. */
void tenon_team_barrier(tenon_team *team, int member);
/* A chunk counter for dynamic splitting: tenon_team_chunk gives 0, 1, 2, ... across members; reset by one member
   between two barriers. */
int64_t tenon_team_chunk(tenon_team *team);
void tenon_team_chunk_reset(tenon_team *team);

/* [begin, end) of `count` items for `member` of `members`, in units of `grain` (last piece may be short). */
static inline void tenon_split(int64_t count, int64_t grain, int member, int members, int64_t *begin, int64_t *end)
{
    const int64_t units = (count + grain - 1) / grain;
    const int64_t a = units * member / members * grain, b = units * (member + 1) / members * grain;
    *begin = a < count ? a : count;
    *end = b < count ? b : count;
}

#endif
