/* SPDX-License-Identifier: Apache-2.0 */
/* The version of a library without opening it, which takes a second where it is large: a note in the folder of compiled kernels,
   made when it was opened last. A note holds as long as every file that could be opened in its stead is what it was then (size
   and time), and the variables that say where to look; so what a note says is what opening would find. No folder, no notes. */
#ifndef TENON_CUDA_LIBRARY_NOTE_H
#define TENON_CUDA_LIBRARY_NOTE_H

#include "cuda/cuda_api.h"

/* Arguments as of tenon_cuda_library_open. 0: nothing is known. */
int tenon_cuda_library_noted(tenon_cx *cx, const char *const *file, const char *pip_pattern);
/* `dl` is what was opened. Notes what is not noted yet. */
void tenon_cuda_library_note(tenon_cx *cx, const char *const *file, const char *pip_pattern, const tenon_dl *dl, int version);
/* It was noted, and did not open: something that it needs is gone. */
void tenon_cuda_library_forget(tenon_cx *cx, const char *const *file, const char *pip_pattern);

#endif
