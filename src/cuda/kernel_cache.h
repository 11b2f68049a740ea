/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled kernels on disk, by content: what was compiled once on this machine need not be compiled again, in whatever build. A
   folder of files in TENON_CACHE_DIR (empty: none), else $XDG_CACHE_HOME/tenon, else ~/.cache/tenon. Nothing here fails: an
   entry that is not there, damaged or cannot be written costs a compilation. Entries are renamed into place, so processes may
   share the folder. The least recently used go when it holds more than TENON_CACHE_BYTES (default 512 MiB). */
#ifndef TENON_CUDA_KERNEL_CACHE_H
#define TENON_CUDA_KERNEL_CACHE_H

#include "base/buf.h"

/* Appends the entry to `out`; false: there is none. */
bool tenon_kernel_cache_get(tenon_cx *cx, const uint64_t key[2], tenon_buf *out);
void tenon_kernel_cache_put(tenon_cx *cx, const uint64_t key[2], const void *data, size_t bytes);
/* The folder, for listings; false: none. */
bool tenon_kernel_cache_folder(char *out, size_t bytes);

#endif
