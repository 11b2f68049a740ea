/* SPDX-License-Identifier: Apache-2.0 */
/* Inside run/: what loader, contexts and refit share. */
#ifndef TENON_RUN_LOAD_H
#define TENON_RUN_LOAD_H

#include "run/engine.h"

/* Checks the image whole and sets the record pointers of `e` (check.c). */
tenon_status tenon_engine_check(tenon_cx *cx, tenon_engine *e, const char *what);
void tenon_engine_release(tenon_engine *engine);
/* What tactics' `need` is compared with on that device; device NULL: of the CPU backend, whose devices are all one. */
unsigned tenon_device_have(const tenon_backend *backend, const tenon_device *device);

/* The finished image of these sections, freed by tenon_free_aligned; sizes, offsets and hashes of `like` are made anew
   (image.c). */
typedef struct tenon_section_bytes { const void *data; size_t bytes; } tenon_section_bytes;
tenon_status tenon_image_make(tenon_cx *cx, const tenon_rec_header *like, const tenon_section_bytes *section, uint8_t **data,
                              size_t *bytes);

/* The image to save: that of the last refit, else the one that was opened (refit.c). */
void tenon_engine_image_now(const tenon_engine *e, const uint8_t **data, size_t *bytes);
/* Where a weight lies in that image. */
const void *tenon_engine_weight(const tenon_engine *e, uint32_t index);
void tenon_refit_free(tenon_engine *e);

#endif
