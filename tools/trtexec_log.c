/* SPDX-License-Identifier: Apache-2.0 */
/* What trtexec prints: `[MM/DD/YYYY-HH:MM:SS] [I] message`, and [TRT] in front of what the library says. */
#include "trtexec.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void say_lines(const trt_app *app, trt_severity severity, const char *tag, const char *text)
{
    FILE *f = severity <= TRT_W ? stderr : stdout;
    char when[32];
    struct tm local;
    const time_t now = time(NULL);
    if (severity == TRT_V && !app->verbose) return;
    if (!localtime_r(&now, &local) || !strftime(when, sizeof when, "%m/%d/%Y-%H:%M:%S", &local)) when[0] = 0;
    if (f == stderr) fflush(stdout); /* the order is kept where both go to one place */
    for (const char *line = text, *end; line; line = end) {
        const size_t length = strcspn(line, "\n");
        fprintf(f, "[%s] [%c] %s%.*s\n", when, "EWIV"[severity], tag, (int)length, line);
        end = line[length] && line[length + 1] ? line + length + 1 : NULL;
    }
}

static void say(const trt_app *app, trt_severity severity, const char *format, va_list args)
{
    char room[1024], *text = room;
    va_list again;
    va_copy(again, args);
    const int length = vsnprintf(room, sizeof room, format, args);
    if (length >= (int)sizeof room && (text = malloc((size_t)length + 1))) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    say_lines(app, severity, "", text ? text : room);
    if (text != room) free(text);
}

void trt_say(const trt_app *app, trt_severity severity, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(app, severity, format, args);
    va_end(args);
}

bool trt_fail(const trt_app *app, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(app, TRT_E, format, args);
    va_end(args);
    return false;
}

bool trt_failed(const trt_app *app)
{
    say_lines(app, TRT_E, "[TRT] ", tenon_cx_message(app->cx));
    return false;
}

void trt_log(void *user, tenon_severity severity, const char *message)
{
    static const trt_severity ours[] = {
        [TENON_ERROR] = TRT_E, [TENON_WARNING] = TRT_W, [TENON_INFO] = TRT_I, [TENON_VERBOSE] = TRT_V};
    say_lines(user, ours[severity], "[TRT] ", message);
}

int trt_progress(void *user, const char *phase, size_t done, size_t total)
{
    (void)user;
    (void)phase;
    (void)done;
    (void)total;
    return cli_interrupted();
}
