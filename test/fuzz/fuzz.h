/* SPDX-License-Identifier: Apache-2.0 */
/* What a fuzz target is: one const struct in one file, one line in target.def. A target gets bytes and an allocator that has little
   memory; whatever the bytes say, it must come back in time, with a status where it failed, and leave nothing allocated. */
#ifndef TENON_TEST_FUZZ_H
#define TENON_TEST_FUZZ_H

#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fuzz_target {
    const char *name;
    const char *what; /* one line for the list */
    void (*run)(tenon_cx *cx, const uint8_t *data, size_t size);
    /* Makes checksums of a changed input right again, so that what lies behind them is reached; NULL: there are none. */
    void (*mend)(uint8_t *data, size_t size);
    /* Makes an input (of malloc) from a model of corpus/onnx: seeds that would be stale if they were files. Gives 0 where it cannot;
       NULL: files alone are the seeds. */
    size_t (*from_model)(const uint8_t *onnx, size_t bytes, uint8_t **out);
} fuzz_target;

extern const fuzz_target *const fuzz_targets[]; /* NULL-terminated */
const fuzz_target *fuzz_find(const char *name, size_t length);
/* One input: the target with a session of its own; ends the process by abort() where the target broke its promise. */
void fuzz_run(const fuzz_target *target, const uint8_t *data, size_t size);
size_t fuzz_most_bytes(void); /* that were allocated at one time, of all inputs */

/* A promise of the library that does not hold for this input. */
#define FUZZ_DEMAND(condition)                                                                                               \
    do {                                                                                                                     \
        if (!(condition)) {                                                                                                  \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                                   \
            abort();                                                                                                         \
        }                                                                                                                    \
    } while (0)
/* A failure has a message. Gives whether it was none. */
static inline bool fuzz_ok(const tenon_cx *cx, tenon_status status)
{
    FUZZ_DEMAND(status == TENON_OK || (status != TENON_INTERNAL && *tenon_cx_message(cx)));
    return status == TENON_OK;
}

#endif
