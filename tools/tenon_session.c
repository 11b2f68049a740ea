/* SPDX-License-Identifier: Apache-2.0 */
/* What a command has around it: the library's cx with log and progress sent to the terminal, messages, the progress bar. */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BAR_CELLS = 30 };
#define BAR_EVERY 0.05   /* seconds */

static volatile sig_atomic_t interrupts;

static void on_interrupt(int number)
{
    (void)number;
    interrupts = 1;
}

void cli_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
}

bool cli_interrupted(void) { return interrupts != 0; }

double cli_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- progress ---- */
void cli_bar_clear(cli_session *s)
{
    if (s->bar_shown) fputs("\r\033[K", stderr);
    s->bar_shown = false;
}

void cli_bar_draw(cli_session *s, const char *phase, size_t done, size_t total)
{
    const double now = cli_now();
    const bool same = strncmp(s->bar_phase, phase, sizeof s->bar_phase - 1) == 0;
    if (!s->bar || (same && now - s->bar_drawn < BAR_EVERY)) return;
    snprintf(s->bar_phase, sizeof s->bar_phase, "%s", phase);
    char cells[BAR_CELLS + 1];
    const size_t full = total ? BAR_CELLS * (done < total ? done : total) / total : 0;
    for (size_t i = 0; i < BAR_CELLS; i++) cells[i] = i < full ? '#' : '.';
    cells[BAR_CELLS] = 0;
    if (total) fprintf(stderr, "\r\033[K%-8s [%s] %zu/%zu", phase, cells, done, total);
    else if (!same || !s->bar_shown) fprintf(stderr, "\r\033[K%-8s ...", phase);
    fflush(stderr);
    s->bar_shown = true;
    s->bar_drawn = now;
}

static int on_progress(void *user, const char *phase, size_t done, size_t total)
{
    cli_bar_draw(user, phase, done, total);
    return cli_interrupted();
}

static void on_log(void *user, tenon_severity severity, const char *message)
{
    static const char *const name[] = {"error: ", "warning: ", "", ""};
    cli_bar_clear(user);
    fprintf(stderr, "tenon: %s%s\n", name[severity], message);
}

/* ---- messages ---- */
static void say(cli_session *s, const char *format, va_list args)
{
    cli_bar_clear(s);
    fflush(stdout);
    fprintf(stderr, "tenon%s%s: ", s->command ? " " : "", s->command ? s->command : "");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int cli_fail(cli_session *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(s, format, args);
    va_end(args);
    return CLI_FAILED;
}

int cli_wrong(cli_session *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(s, format, args);
    va_end(args);
    fprintf(stderr, "`tenon help%s%s` shows what is possible.\n", s->command ? " " : "", s->command ? s->command : "");
    return CLI_WRONG_USAGE;
}

void cli_discard(const char *path)
{
    const int error = errno;
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) (void)unlink(path);
    errno = error;
}

int cli_failed(cli_session *s) { return cli_fail(s, "%s", tenon_cx_message(s->cx)); }

/* ---- session ---- */
int cli_session_open(cli_session *s)
{
    s->bar = isatty(STDERR_FILENO) == 1;
    const tenon_cx_options options = {
        .log = on_log, .log_user = s, .severity = TENON_WARNING, .progress = on_progress, .progress_user = s};
    if (tenon_cx_create(&options, &s->cx) != TENON_OK) return cli_fail(s, "out of memory");
    return CLI_OK;
}

void cli_session_close(cli_session *s)
{
    cli_bar_clear(s);
    tenon_cx_destroy(&s->cx);
}
