/* SPDX-License-Identifier: Apache-2.0 */
/* Monotonic time. */
#include "base/clock.h"

#include <time.h>

double tenon_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
