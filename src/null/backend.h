/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest legal backend; see backend.c. */
#ifndef TENON_NULL_BACKEND_H
#define TENON_NULL_BACKEND_H

#include "op/tactic.h"

extern const tenon_backend tenon_backend_null;

#endif
