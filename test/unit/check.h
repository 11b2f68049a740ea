/* SPDX-License-Identifier: Apache-2.0 */
/* The whole unit-test harness: CHECK counts, a failure is printed and the test goes on, the last line is the sum.
   SKIP says why something could not be tested here; it never counts as passed. One main() per file ends with CHECK_END(). */
#ifndef TENON_TEST_CHECK_H
#define TENON_TEST_CHECK_H

#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_passed, check_failed, check_skipped;

#define CHECK(condition)                                                                                                         \
    ((condition) ? (void)check_passed++                                                                                          \
                 : (void)(check_failed++, fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition)))
/* True where the tests run under qemu, which ends a child that makes a thread after a fork. CMakeLists.txt says so. */
#define EMULATED() (getenv("TENON_EMULATED") != NULL)
/* Equal text; both are shown when they differ. */
#define CHECK_TEXT(got, want) check_text((got), (want), __FILE__, __LINE__)
#define CHECK_OK(cx, expression) check_status((cx), (expression), TENON_OK, #expression, __FILE__, __LINE__)
/* The expression fails with this status and a message that holds `part`. */
#define CHECK_FAILS(cx, expression, status, part)                                                                                \
    check_fails((cx), (expression), (status), (part), #expression, __FILE__, __LINE__)
#define SKIP(why) ((void)check_skipped++, (void)printf("SKIP %s:%d: %s\n", __FILE__, __LINE__, (why)))
#define CHECK_END()                                                                                                              \
    (printf("%d passed, %d failed, %d skipped\n", check_passed, check_failed, check_skipped), check_failed ? 1 : 0)

static TENON_UNUSED void check_text(const char *got, const char *want, const char *file, int line)
{
    if (got && !strcmp(got, want)) {
        check_passed++;
        return;
    }
    check_failed++;
    fprintf(stderr, "%s:%d: failed: got\n  %s\nwanted\n  %s\n", file, line, got ? got : "(null)", want);
}

static TENON_UNUSED bool check_status(const tenon_cx *cx, tenon_status got, tenon_status want, const char *what, const char *file,
                                      int line)
{
    if (got == want) {
        check_passed++;
        return true;
    }
    check_failed++;
    fprintf(stderr, "%s:%d: failed: %s gave %s (%s), wanted %s\n", file, line, what, tenon_status_name(got), cx->message,
            tenon_status_name(want));
    return false;
}

static TENON_UNUSED void check_fails(const tenon_cx *cx, tenon_status got, tenon_status want, const char *part, const char *what,
                                     const char *file, int line)
{
    if (!check_status(cx, got, want, what, file, line)) return;
    if (strstr(cx->message, part)) {
        check_passed++;
        return;
    }
    check_failed++;
    fprintf(stderr, "%s:%d: failed: message \"%s\" lacks \"%s\"\n", file, line, cx->message, part);
}

/* An allocator that fails from the n-th call on (0: never) and counts what is not given back. */
typedef struct check_heap { long calls, fail_at, live; } check_heap;

static TENON_UNUSED void *check_heap_alloc(void *user, size_t bytes)
{
    check_heap *h = user;
    if (++h->calls >= h->fail_at && h->fail_at) return NULL;
    h->live++;
    return malloc(bytes);
}

static TENON_UNUSED void *check_heap_realloc(void *user, void *p, size_t bytes)
{
    check_heap *h = user;
    if (++h->calls >= h->fail_at && h->fail_at) return NULL;
    h->live += !p;
    return realloc(p, bytes);
}

static TENON_UNUSED void check_heap_free(void *user, void *p)
{
    check_heap *h = user;
    h->live -= p != NULL;
    free(p);
}

static TENON_UNUSED void check_heap_install(check_heap *h, tenon_cx *cx)
{
    tenon_cx_init_default(cx);
    cx->alloc = (tenon_allocator){check_heap_alloc, check_heap_realloc, check_heap_free, h};
}

#endif
