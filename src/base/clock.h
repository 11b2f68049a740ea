/* SPDX-License-Identifier: Apache-2.0 */
/* Monotonic time in seconds. */
#ifndef TENON_BASE_CLOCK_H
#define TENON_BASE_CLOCK_H

double tenon_now(void);

#endif
