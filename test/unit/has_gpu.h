/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a GPU can be opened here, for tests that may also run with the stand-in of test/fake. */
#ifndef TENON_TEST_HAS_GPU_H
#define TENON_TEST_HAS_GPU_H

#include "cuda/backend.h"

#include <sys/wait.h>
#include <unistd.h>

/* In a child, since what is opened stays open. */
static bool has_gpu(void)
{
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        tenon_cx *cx;
        tenon_device *device = NULL;
        if (tenon_cx_create(NULL, &cx) != TENON_OK) _exit(0);
        _exit(tenon_backend_cuda.open(cx, 0, 0, &device) == TENON_OK);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

#endif
