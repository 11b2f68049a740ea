/* SPDX-License-Identifier: Apache-2.0 */
/* A library that is opened when it is first needed, and its version without opening it, which takes a second where it is large: a
   note in the folder of compiled kernels, made when it was opened last. A note holds as long as every file that could be opened in
   its stead is what it was then (size and time), and the variables that say where to look; so what a note says is what opening
   would find. No folder, no notes. */
#ifndef TENON_CUDA_LIBRARY_NOTE_H
#define TENON_CUDA_LIBRARY_NOTE_H

#include "cuda/cuda_api.h"

#include <pthread.h>

/* One a library, static in its file; what stands before `lock` is given there. Opened once in a process and never closed. */
typedef struct tenon_cuda_lazy {
    const char *const *file;          /* as of tenon_cuda_library_open */
    const char *pip_pattern;
    const char *advice;               /* that it does not open, and what to do */
    const tenon_cuda_symbol *symbols;
    size_t symbol_count;
    void *functions;                  /* what the symbols' offsets are in */
    tenon_dl *dl;
    int *version;
    int (*ask_version)(void);         /* of the library itself, open by then */
    pthread_mutex_t lock;
    bool tried, found;
    int noted;                        /* its version by a note of it, before it is opened; 0: not looked for; -1: none */
    char missing[768];
} tenon_cuda_lazy;

/* Opens it at the first call of the process. False: it is not there, with the reason. Any thread. */
bool tenon_cuda_lazy_open(tenon_cx *cx, tenon_cuda_lazy *lazy, const char **missing);
/* Its version, without opening it where a note says it. 0: it is not there, with the reason. Any thread. */
int tenon_cuda_lazy_version(tenon_cx *cx, tenon_cuda_lazy *lazy, const char **missing);

#endif
