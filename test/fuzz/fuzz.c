/* SPDX-License-Identifier: Apache-2.0 */
/* The table of targets, and what all have in common: a session whose allocator counts and has a limit, so that "2 GB" claimed in
   100 bytes must become a status, and a leak is a failure. Entry of libFuzzer too: the target is named by --target=NAME, which
   libFuzzer leaves alone. Without libFuzzer driver.c is the main. */
#include "fuzz.h"

#include <malloc.h>

#define TARGET(x) extern const fuzz_target fuzz_target_##x;
#include "target.def"
#undef TARGET
#define TARGET(x) &fuzz_target_##x,
const fuzz_target *const fuzz_targets[] = {
#include "target.def"
    NULL};

enum { MOST_BYTES = 256 << 20 };

static size_t live, most; /* bytes; targets work in one thread */

size_t fuzz_most_bytes(void) { return most; }

static void *counted(void *p)
{
    if (p) live += malloc_usable_size(p);
    if (live > most) most = live;
    return p;
}

static void *fuzz_realloc(void *user, void *p, size_t bytes)
{
    (void)user;
    const size_t was = p ? malloc_usable_size(p) : 0;
    if (bytes > MOST_BYTES || live - was + bytes > MOST_BYTES) return NULL;
    void *q = realloc(p, bytes);
    if (!q) return NULL;
    live -= was;
    return counted(q);
}

static void *fuzz_alloc(void *user, size_t bytes) { return fuzz_realloc(user, NULL, bytes); }

static void fuzz_free(void *user, void *p)
{
    (void)user;
    if (p) live -= malloc_usable_size(p);
    free(p);
}

static void quiet(void *user, tenon_severity severity, const char *message) { (void)user, (void)severity, (void)message; }

const fuzz_target *fuzz_find(const char *name, size_t length)
{
    for (const fuzz_target *const *t = fuzz_targets; *t; t++)
        if (strlen((*t)->name) == length && memcmp((*t)->name, name, length) == 0) return *t;
    return NULL;
}

void fuzz_run(const fuzz_target *target, const uint8_t *data, size_t size)
{
    static const tenon_allocator allocator = {fuzz_alloc, fuzz_realloc, fuzz_free, NULL};
    tenon_cx *cx = NULL;
    if (tenon_cx_create(&(tenon_cx_options){.allocator = &allocator, .log = quiet}, &cx) != TENON_OK) abort();
    target->run(cx, data, size);
    tenon_cx_destroy(&cx);
    FUZZ_DEMAND(live == 0);
}

/* ---- libFuzzer ---- */
int LLVMFuzzerInitialize(int *count, char ***words);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
extern size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room) __attribute__((weak));

static const fuzz_target *chosen;

int LLVMFuzzerInitialize(int *count, char ***words)
{
    for (int i = 1; i < *count; i++)
        if (strncmp((*words)[i], "--target=", 9) == 0) chosen = fuzz_find((*words)[i] + 9, strlen((*words)[i] + 9));
    if (chosen) return 0;
    fprintf(stderr, "which? --target=NAME of:\n");
    for (const fuzz_target *const *t = fuzz_targets; *t; t++) fprintf(stderr, "  %-10s %s\n", (*t)->name, (*t)->what);
    exit(2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_run(chosen, data, size);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    (void)seed;
    size = LLVMFuzzerMutate(data, size, room);
    if (chosen->mend) chosen->mend(data, size);
    return size;
}
