/* SPDX-License-Identifier: Apache-2.0 */
/* Branches of a step list: which steps may run beside each other, found from the bytes that each reads and writes, so it holds
   for whatever the memory plan and the caller's addresses are. Steps are dealt to a few lanes; a lane runs its steps in order,
   and a step waits for the steps of other lanes that it depends on and that nothing it waits for has waited for already. */
#ifndef TENON_RUN_LANES_H
#define TENON_RUN_LANES_H

#include "base/status.h"

enum { TENON_LANES = 4 };
typedef struct tenon_span { uintptr_t begin, end; bool written; } tenon_span; /* bytes [begin, end) */
typedef struct tenon_touch { const tenon_span *span; uint32_t count; } tenon_touch; /* of one step */

typedef struct tenon_lanes {
    int count;             /* lanes; 1: all steps one after another */
    uint32_t steps;
    uint8_t *lane;         /* by step */
    bool *marked;          /* by step: a step of another lane waits for it */
    uint32_t *wait_first;  /* by step, and one more: its part of `wait` */
    uint32_t *wait;        /* steps */
    uint32_t tail[TENON_LANES]; /* last step of each lane */
} tenon_lanes;

/* At most `most` lanes. Freed by tenon_lanes_free. */
tenon_status tenon_lanes_plan(tenon_cx *cx, const tenon_touch *step, uint32_t steps, int most, tenon_lanes *out);
void tenon_lanes_free(tenon_cx *cx, tenon_lanes *lanes);

#endif
