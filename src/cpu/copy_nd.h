/* SPDX-License-Identifier: Apache-2.0 */
/* One engine for everything that moves elements without changing them: copies between formats, transposes, the parts of a
   concat. */
#ifndef TENON_CPU_COPY_ND_H
#define TENON_CPU_COPY_ND_H

#include "cpu/nd.h"

typedef struct tenon_copy {
    tenon_nd nd;        /* 0: destination, 1: source */
    int bytes;          /* of an element: 1, 2, 4, 8 or 16 */
    int across;         /* axis along which the source is contiguous, when it is not the last one; -1: none */
    char *dst;
    const char *src;
} tenon_copy;

/* dim: of the box; strides in elements. */
void tenon_copy_make(tenon_copy *c, int rank, const int64_t *dim, const int64_t *dst_stride, const int64_t *src_stride, int bytes,
                     void *dst, const void *src);
void tenon_copy_run(const tenon_copy *c, int member, int count); /* this member's share */
/* `n` elements of `bytes` each, the same one every time, one after the other. */
void tenon_fill_run(void *dst, const void *element, int bytes, int64_t n);

#endif
