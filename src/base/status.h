/* SPDX-License-Identifier: Apache-2.0 */
/* Errors and the session object that carries them. Every fallible function takes a tenon_cx first and returns a
   tenon_status; the message is written once, where the error arises (TENON_FAIL), and only propagated after that
   (TENON_TRY). The library never aborts or exits: assert is for our own bugs, bad input is always a status. */
#ifndef TENON_BASE_STATUS_H
#define TENON_BASE_STATUS_H

#include "base/compiler.h"
#include "tenon.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TENON_MESSAGE_BYTES = 2048 };

/* Belongs to one thread at a time. Children (builder workers) copy the sinks and the allocator, not the message. */
struct tenon_cx {
    tenon_allocator alloc;              /* malloc/realloc/free by default; every heap byte of the library goes through it */
    tenon_log_fn log_fn;                /* NULL: standard error */
    void *log_user;
    int log_severity;                   /* highest tenon_severity that is passed on */
    unsigned log_topics;                /* bits of tenon_log_topic, from TENON_LOG or the options */
    tenon_progress_fn progress_fn;      /* NULL: none; a non-zero answer cancels */
    void *progress_user;
    tenon_error_fn error_fn;            /* NULL: none; told by guards and tenon_record */
    void *error_user;
    _Atomic unsigned failures;          /* how often tenon_fail was called, less what was forgiven; a context's by its stream too */
    int guards;                         /* public functions that are on the stack with this cx */
    tenon_status status;                /* of the last failure */
    char message[TENON_MESSAGE_BYTES];  /* of the last failure, empty if none */
};

/* Sets the message and returns `status`. Not called directly: use TENON_FAIL. */
TENON_PRINTF(5, 6)
tenon_status tenon_fail(tenon_cx *cx, tenon_status status, const char *file, int line, const char *format, ...);
/* Debug builds log file:line of the way an error took; release builds return status alone. */
tenon_status tenon_trail(tenon_cx *cx, tenon_status status, const char *file, int line);

#if defined(__clang_analyzer__) /* it looks into no other file, and would take a failure for TENON_OK */
#define TENON_FAIL(cx, status, ...)                                                                                              \
    ((void)tenon_fail((cx), (status), __FILE__, __LINE__, __VA_ARGS__), (status) == TENON_OK ? TENON_INTERNAL : (status))
#else
#define TENON_FAIL(cx, status, ...) tenon_fail((cx), (status), __FILE__, __LINE__, __VA_ARGS__)
#endif
#define TENON_TRY(expression)                                                                                               \
    do {                                                                                                                    \
        const tenon_status tenon_try_status = (expression);                                                                 \
        if (TENON_UNLIKELY(tenon_try_status != TENON_OK)) return tenon_try_status;                                          \
    } while (0)
/* At the head of a public function: the caller's pointer `argument` may not be NULL. `cx` NULL: the status alone can be given. */
#define TENON_NEED(cx, argument)                                                                                            \
    do {                                                                                                                    \
        if (TENON_UNLIKELY(!(argument))) return TENON_FAIL((cx), TENON_INVALID, "%s: %s is NULL", __func__, #argument);     \
    } while (0)
/* In a function with a `done:` label and a local `tenon_status status`. */
#define TENON_TRY_DONE(expression)                                                                                          \
    do {                                                                                                                    \
        status = (expression);                                                                                              \
        if (TENON_UNLIKELY(status != TENON_OK)) goto done;                                                                  \
    } while (0)

/* At the head of every public function that can fail: when the outermost one returns, a failure goes to the error callback. A function
   inside which something may fail and be made good, or which may be called while a stream runs the context, ends with
   TENON_DONE(status): then its status alone says whether it failed.
   cx_ may be NULL. */
#define TENON_GUARD(cx_) TENON_CLEANUP(tenon_guard_end) TENON_UNUSED tenon_guard tenon_guard_ = tenon_guard_begin(cx_)
#define TENON_DONE(expression) (tenon_guard_.known = true, tenon_guard_.status = (expression))
typedef struct tenon_guard { tenon_cx *cx; unsigned failures; bool known; tenon_status status; } tenon_guard;
tenon_guard tenon_guard_begin(tenon_cx *cx);
void tenon_guard_end(tenon_guard *guard);
/* A single fault of several that a call found: to the error callback, and nowhere else. */
void tenon_record(tenon_cx *cx, tenon_status status, const char *message);

/* Prefixes the message of a failure with the thing that was being done ("node 'Conv_3': "). Returns `status`. */
TENON_PRINTF(3, 4) tenon_status tenon_fail_in(tenon_cx *cx, tenon_status status, const char *format, ...);

/* Tells the progress callback, if there is one; TENON_CANCELLED when it says stop. Every phase is told done == total at its end. */
tenon_status tenon_progress(tenon_cx *cx, const char *phase, size_t done, size_t total);

void tenon_cx_init_default(tenon_cx *cx);
/* A cx for another thread that reports to the same sinks. */
void tenon_cx_init_child(tenon_cx *cx, const tenon_cx *parent);

/* Heap by the cx's allocator. NULL with TENON_NOMEM set in cx when there is none; `bytes` 0 gives a unique pointer. */
void *tenon_alloc(tenon_cx *cx, size_t bytes);
void *tenon_alloc_zero(tenon_cx *cx, size_t bytes);
void *tenon_alloc_aligned(tenon_cx *cx, size_t bytes, size_t alignment); /* freed by tenon_free_aligned */
void *tenon_realloc(tenon_cx *cx, void *p, size_t bytes);
void tenon_free(tenon_cx *cx, void *p);
void tenon_free_aligned(tenon_cx *cx, void *p);

/* Logging. A topic is switched on by TENON_LOG=plan,reject,run,... ; warnings and errors always pass. */
typedef enum {
    TENON_TOPIC_GENERAL = 1u << 0, TENON_TOPIC_ONNX = 1u << 1, TENON_TOPIC_PASS = 1u << 2, TENON_TOPIC_PLAN = 1u << 3,
    TENON_TOPIC_REJECT = 1u << 4, TENON_TOPIC_TIME = 1u << 5, TENON_TOPIC_RUN = 1u << 6, TENON_TOPIC_DEVICE = 1u << 7,
} tenon_log_topic;
TENON_PRINTF(4, 5) void tenon_log(tenon_cx *cx, int severity, unsigned topic, const char *format, ...);
static inline bool tenon_log_wants(const tenon_cx *cx, unsigned topic) { return (cx->log_topics & topic) != 0; }

#endif
