/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, the heap that goes through the session's allocator, and the log. A message is formatted aside first, because
   its arguments may point into the message it replaces. */
#include "base/status.h"
#include "base/checked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_message(tenon_cx *cx, tenon_status status, const char *text)
{
    cx->status = status;
    const size_t length = strlen(text), room = sizeof cx->message - 1;
    memmove(cx->message, text, TENON_MIN(length, room));
    cx->message[TENON_MIN(length, room)] = 0;
    if (length >= room) memcpy(cx->message + room - 3, "...", 3);
}

tenon_status tenon_fail(tenon_cx *cx, tenon_status status, const char *file, int line, const char *format, ...)
{
    if (!cx) return status;
    char text[TENON_MESSAGE_BYTES + 1];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    set_message(cx, status, text);
    cx->failures++;
    return tenon_trail(cx, status, file, line);
}

tenon_guard tenon_guard_begin(tenon_cx *cx)
{
    if (cx) cx->guards++;
    return (tenon_guard){.cx = cx, .failures = cx ? cx->failures : 0};
}

void tenon_guard_end(tenon_guard *guard)
{
    tenon_cx *cx = guard->cx;
    if (!cx) return;
    cx->guards--;
    const bool failed = guard->known ? guard->status != TENON_OK : cx->failures != guard->failures;
    if (cx->guards > 0) {
        if (!failed) cx->failures = guard->failures; /* whoever is around has not failed by it */
    } else if (failed) tenon_record(cx, cx->status, cx->message);
}

void tenon_record(tenon_cx *cx, tenon_status status, const char *message)
{
    if (cx->error_fn) cx->error_fn(cx->error_user, status, message);
}

tenon_status tenon_trail(tenon_cx *cx, tenon_status status, const char *file, int line)
{
#ifndef NDEBUG
    if (cx && status != TENON_OK && tenon_log_wants(cx, TENON_TOPIC_GENERAL))
        tenon_log(cx, TENON_VERBOSE, TENON_TOPIC_GENERAL, "%s:%d: %s: %s", file, line, tenon_status_name(status), cx->message);
#else
    (void)cx, (void)file, (void)line;
#endif
    return status;
}

tenon_status tenon_fail_in(tenon_cx *cx, tenon_status status, const char *format, ...)
{
    if (!cx || status == TENON_OK) return status;
    char text[2 * TENON_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, TENON_MESSAGE_BYTES, format, args);
    va_end(args);
    length = TENON_MIN(TENON_MAX(length, 0), TENON_MESSAGE_BYTES - 1);
    /* the reason, which is last, and what is nearest to it stay; there may be no end of what is around it */
    if ((size_t)length + strlen(cx->message) >= TENON_MESSAGE_BYTES) return status;
    memcpy(text + length, cx->message, strlen(cx->message) + 1);
    set_message(cx, status, text);
    return status;
}

tenon_status tenon_progress(tenon_cx *cx, const char *phase, size_t done, size_t total)
{
    if (!cx->progress_fn || !cx->progress_fn(cx->progress_user, phase, done, total)) return TENON_OK;
    return TENON_FAIL(cx, TENON_CANCELLED, "cancelled by the progress callback (%s)", phase);
}

static void *libc_alloc(void *user, size_t bytes) { return (void)user, malloc(bytes); }
static void *libc_realloc(void *user, void *p, size_t bytes) { return (void)user, realloc(p, bytes); }
static void libc_free(void *user, void *p) { (void)user, free(p); }

static const struct { const char *name; unsigned bit; } topics[] = {
    {"general", TENON_TOPIC_GENERAL}, {"onnx", TENON_TOPIC_ONNX}, {"pass", TENON_TOPIC_PASS}, {"plan", TENON_TOPIC_PLAN},
    {"reject", TENON_TOPIC_REJECT}, {"time", TENON_TOPIC_TIME}, {"run", TENON_TOPIC_RUN}, {"device", TENON_TOPIC_DEVICE},
    {"all", ~0u},
};
static const char *const severities[] = {"error", "warning", "info", "verbose"};

/* An unknown word is said once a session: a misspelt topic would otherwise look like silence. */
static void topics_from_env(tenon_cx *cx, const char *s)
{
    while (*s) {
        const size_t length = strcspn(s, ",");
        bool known = length == 0;
        for (size_t i = 0; i < TENON_COUNTOF(topics); i++)
            if (strlen(topics[i].name) == length && !memcmp(topics[i].name, s, length)) {
                cx->log_topics |= topics[i].bit;
                known = true;
            }
        if (!known)
            fprintf(stderr,
                    "tenon: warning: TENON_LOG: unknown topic '%.*s'; topics are general, onnx, pass, plan, reject, time, run, "
                    "device, all\n",
                    (int)length, s);
        s += length + (s[length] == ',');
    }
}

static void severity_from_env(tenon_cx *cx, const char *s)
{
    for (int i = 0; i < (int)TENON_COUNTOF(severities); i++)
        if (!strcmp(severities[i], s) || (s[0] == '0' + i && !s[1])) {
            cx->log_severity = i;
            return;
        }
    fprintf(stderr, "tenon: warning: TENON_LOG_SEVERITY=%s is not error, warning, info or verbose\n", s);
}

void tenon_cx_init_default(tenon_cx *cx)
{
    memset(cx, 0, sizeof *cx);
    cx->alloc = (tenon_allocator){libc_alloc, libc_realloc, libc_free, NULL};
    cx->log_severity = TENON_WARNING;
    const char *topic = getenv("TENON_LOG"), *severity = getenv("TENON_LOG_SEVERITY");
    if (topic) topics_from_env(cx, topic);
    if (severity && *severity) severity_from_env(cx, severity);
}

void tenon_cx_init_child(tenon_cx *cx, const tenon_cx *parent)
{
    memset(cx, 0, sizeof *cx);
    cx->alloc = parent->alloc;
    cx->log_fn = parent->log_fn;
    cx->log_user = parent->log_user;
    cx->log_severity = parent->log_severity;
    cx->log_topics = parent->log_topics;
    cx->progress_fn = parent->progress_fn;
    cx->progress_user = parent->progress_user;
    cx->error_fn = parent->error_fn;
    cx->error_user = parent->error_user;
}

static void *out_of_memory(tenon_cx *cx, size_t bytes)
{
    (void)TENON_FAIL(cx, TENON_NOMEM, "out of memory: %zu bytes wanted", bytes);
    return NULL;
}

void *tenon_alloc(tenon_cx *cx, size_t bytes)
{
    void *p = cx->alloc.alloc(cx->alloc.user, bytes ? bytes : 1);
    return p ? p : out_of_memory(cx, bytes);
}

void *tenon_alloc_zero(tenon_cx *cx, size_t bytes)
{
    void *p = tenon_alloc(cx, bytes);
    if (p) memset(p, 0, bytes ? bytes : 1);
    return p;
}

/* The allocator promises no alignment; the pointer it gave is kept in front of the aligned block. */
void *tenon_alloc_aligned(tenon_cx *cx, size_t bytes, size_t alignment)
{
    alignment = TENON_MAX(alignment, sizeof(void *));
    size_t total;
    if ((alignment & (alignment - 1)) || !tenon_add_size(bytes, alignment + sizeof(void *), &total))
        return out_of_memory(cx, bytes);
    char *base = tenon_alloc(cx, total);
    if (!base) return NULL;
    const uintptr_t first = (uintptr_t)base + sizeof(void *);
    char *p = base + sizeof(void *) + (size_t)(-first & (alignment - 1));
    memcpy(p - sizeof(void *), &base, sizeof base);
    return p;
}

void *tenon_realloc(tenon_cx *cx, void *p, size_t bytes)
{
    void *q = cx->alloc.realloc(cx->alloc.user, p, bytes ? bytes : 1);
    return q ? q : out_of_memory(cx, bytes);
}

void tenon_free(tenon_cx *cx, void *p)
{
    if (p) cx->alloc.free(cx->alloc.user, p);
}

void tenon_free_aligned(tenon_cx *cx, void *p)
{
    if (!p) return;
    void *base;
    memcpy(&base, (char *)p - sizeof base, sizeof base);
    tenon_free(cx, base);
}

void tenon_log(tenon_cx *cx, int severity, unsigned topic, const char *format, ...)
{
    if (severity > cx->log_severity && !(cx->log_topics & topic)) return;
    char text[TENON_MESSAGE_BYTES * 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (cx->log_fn) {
        cx->log_fn(cx->log_user, (tenon_severity)severity, text);
        return;
    }
    const char *label = severities[TENON_MIN(TENON_MAX(severity, 0), 3)];
    if (severity >= TENON_INFO)
        for (size_t i = 0; i + 1 < TENON_COUNTOF(topics); i++)
            if (topics[i].bit == topic) label = topics[i].name;
    fprintf(stderr, "tenon: %s: %s\n", label, text);
}
