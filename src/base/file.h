/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole-file mapping for reading, and saving that never leaves half a file (temporary file beside the target,
   write, fsync, rename, fsync of the folder). Messages name the path. */
#ifndef TENON_BASE_FILE_H
#define TENON_BASE_FILE_H

#include "base/status.h"

/* Read-only private mapping. An empty file has data == NULL, bytes == 0 and is mapped == false. */
typedef struct tenon_file_map {
    const uint8_t *data;
    size_t bytes;
    bool mapped;
} tenon_file_map;

tenon_status tenon_file_map_open(tenon_cx *cx, const char *path, tenon_file_map *out);
void tenon_file_map_close(tenon_file_map *map);
tenon_status tenon_file_save(tenon_cx *cx, const char *path, const void *data, size_t bytes);
/* dirname(of) joined with the relative name; TENON_INVALID if name is absolute or climbs out by "..". */
tenon_status tenon_file_beside(tenon_cx *cx, const char *of, const char *name, char **out); /* freed by tenon_free */

#endif
