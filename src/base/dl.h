/* SPDX-License-Identifier: Apache-2.0 */
/* Shared libraries opened at run time from a list of candidate names, and their symbols from tables (.def rows).
   A missing optional library or symbol is an answer, not an error. */
#ifndef TENON_BASE_DL_H
#define TENON_BASE_DL_H

#include "base/status.h"

typedef struct tenon_dl {
    void *handle;
    char path[512]; /* what was opened; empty if nothing */
} tenon_dl;

/* Tries each of the NULL-terminated names in order; false (and a reason in `why`) when none opens. */
bool tenon_dl_open(tenon_dl *dl, const char *const *names, char *why, size_t why_bytes);
/* Whether somebody in this process has one of these names open: it is the one that tenon_dl_open will then give. */
bool tenon_dl_is_open(const char *const *names);
void *tenon_dl_symbol(const tenon_dl *dl, const char *name); /* NULL: not there */
void tenon_dl_close(tenon_dl *dl);

#endif
