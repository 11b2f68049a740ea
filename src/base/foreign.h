/* SPDX-License-Identifier: Apache-2.0 */
/* Files of other programs that are handed over in place of ours, known by their first bytes. */
#ifndef TENON_BASE_FOREIGN_H
#define TENON_BASE_FOREIGN_H

#include "base/status.h"

/* What a file made for or by TensorRT and PyTorch is, and how to come from it to an engine: "a TensorRT engine (plan): ...". NULL: it
   is none of them. */
const char *tenon_foreign(const void *data, size_t bytes);

#endif
