/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of the session object: creation from options, the last message, names and version. */
#include "base/status.h"

#include <string.h>

tenon_status tenon_cx_create(const tenon_cx_options *options, tenon_cx **out)
{
    if (!out) return TENON_INVALID;
    *out = NULL;
    tenon_cx start;
    tenon_cx_init_default(&start);
    if (options) {
        if (options->allocator) {
            const tenon_allocator *a = options->allocator;
            if (!a->alloc || !a->realloc || !a->free) return TENON_INVALID;
            start.alloc = *a;
        }
        start.log_fn = options->log;
        start.log_user = options->log_user;
        /* The environment may ask for more than the program did, never for less. */
        if (options->log) start.log_severity = start.log_severity > TENON_WARNING ? start.log_severity : TENON_ERROR;
        if ((int)options->severity > start.log_severity) start.log_severity = options->severity;
        start.progress_fn = options->progress;
        start.progress_user = options->progress_user;
        start.error_fn = options->error;
        start.error_user = options->error_user;
    }
    tenon_cx *cx = tenon_alloc(&start, sizeof *cx);
    if (!cx) return TENON_NOMEM;
    *cx = start;
    *out = cx;
    return TENON_OK;
}

void tenon_cx_destroy(tenon_cx **cx)
{
    if (!cx || !*cx) return;
    const tenon_allocator a = (*cx)->alloc;
    a.free(a.user, *cx);
    *cx = NULL;
}

const char *tenon_cx_message(const tenon_cx *cx) { return cx ? cx->message : "the session (tenon_cx) is NULL"; }

const char *tenon_status_name(tenon_status status)
{
    static const char *const names[] = {
        [TENON_OK] = "ok", [TENON_INVALID] = "invalid", [TENON_UNSUPPORTED] = "unsupported", [TENON_NOMEM] = "out of memory",
        [TENON_CORRUPT] = "corrupt", [TENON_DEVICE] = "device", [TENON_INTERNAL] = "internal", [TENON_CANCELLED] = "cancelled",
    };
    return (unsigned)status < TENON_COUNTOF(names) ? names[status] : "unknown status";
}

#define TEXT(x) #x
#define JOINED(a, b, c) TEXT(a) "." TEXT(b) "." TEXT(c)
const char *tenon_version(void) { return JOINED(TENON_VERSION_MAJOR, TENON_VERSION_MINOR, TENON_VERSION_PATCH); }
