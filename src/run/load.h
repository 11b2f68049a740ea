/* SPDX-License-Identifier: Apache-2.0 */
/* Inside run/: what loader, contexts and refit share. */
#ifndef TENON_RUN_LOAD_H
#define TENON_RUN_LOAD_H

#include "run/engine.h"

/* Checks the image whole and sets the record pointers of `e` (check.c). */
tenon_status tenon_engine_check(tenon_cx *cx, tenon_engine *e, const char *what);
void tenon_engine_release(tenon_engine *engine);
/* Hardware bits of the backend's device that tactics' `need` is compared with. */
unsigned tenon_device_have(const tenon_backend *backend);

#endif
