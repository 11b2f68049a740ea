/* SPDX-License-Identifier: Apache-2.0 */
/* Copies between the caller's own memory and the device's, through page-locked pieces that belong to the device object: the copying
   engine works on one piece while this thread fills or empties the next. They are made at the first copy that wants them. */
#ifndef TENON_CUDA_TRANSFER_H
#define TENON_CUDA_TRANSFER_H

#include "cuda/cuda_api.h"

#include <stdatomic.h>

enum { TENON_CUDA_PIECES = 4, TENON_CUDA_PIECE_BYTES = 512 << 10 };
typedef struct tenon_cuda_transfer {
    atomic_bool taken;             /* whoever finds them so leaves the copy to the driver */
    bool tried;
    char *piece[TENON_CUDA_PIECES]; /* of one allocation; NULL: there was no such memory, and the driver copies */
    tenon_cu_event done[TENON_CUDA_PIECES]; /* the last copy of the piece */
} tenon_cuda_transfer;

/* All calls: the device's context is current. Both return when the copy is done, so it is on the device before whatever is launched
   later, in whatever stream; what ran in other streams before is not waited for. */
tenon_status tenon_cuda_upload(tenon_cx *cx, tenon_device *device, void *dst, const void *src, size_t bytes);
tenon_status tenon_cuda_download(tenon_cx *cx, tenon_device *device, void *dst, const void *src, size_t bytes);
void tenon_cuda_transfer_free(tenon_device *device);

#endif
