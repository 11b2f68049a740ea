/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and tables for people. */
#include "cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

cli_words cli_bytes(double bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    cli_words w;
    size_t u = 0;
    while (bytes >= 1024 && u + 1 < CLI_COUNTOF(unit)) {
        bytes /= 1024;
        u++;
    }
    snprintf(w.text, sizeof w.text, u ? "%.1f %s" : "%.0f %s", bytes, unit[u]);
    return w;
}

cli_words cli_time(double seconds)
{
    cli_words w;
    const char *unit = seconds < 1e-3 ? "us" : seconds < 1 ? "ms" : "s";
    const double value = seconds < 1e-3 ? seconds * 1e6 : seconds < 1 ? seconds * 1e3 : seconds;
    snprintf(w.text, sizeof w.text, value < 10 ? "%.2f %s" : value < 100 ? "%.1f %s" : "%.0f %s", value, unit);
    return w;
}

cli_words cli_dims(int rank, const int64_t *dim)
{
    cli_words w = {"scalar"};
    size_t used = 0;
    for (int i = 0; i < rank && used < sizeof w.text; i++)
        used += (size_t)snprintf(w.text + used, sizeof w.text - used, "%s%" PRId64, i ? "x" : "", dim[i]);
    return w;
}

cli_words cli_shape(const tenon_binding_info *b)
{
    cli_words w = {"scalar"};
    size_t used = 0;
    for (int i = 0; i < b->rank && used < sizeof w.text; i++) {
        const char *x = i ? "x" : "";
        if (b->dim[i] >= 0) used += (size_t)snprintf(w.text + used, sizeof w.text - used, "%s%" PRId64, x, b->dim[i]);
        else used += (size_t)snprintf(w.text + used, sizeof w.text - used, "%s[%s]", x, b->dim_name[i] ? b->dim_name[i] : "?");
    }
    return w;
}

/* ---- tables ---- */
static void take_cell(cli_table *t, char *take_text)
{
    if (t->count == t->room) {
        const size_t room = t->room ? 2 * t->room : 64;
        char **grown = realloc(t->cell, room * sizeof *grown);
        if (grown) {
            t->cell = grown;
            t->room = room;
        }
    }
    if (!take_text || t->count == t->room) {
        free(take_text);
        t->failed = true;
        return;
    }
    t->cell[t->count++] = take_text;
}

void cli_table_cell(cli_table *t, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int length = vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : malloc((size_t)length + 1);
    if (text) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    take_cell(t, text);
}

void cli_table_row(cli_table *t, size_t columns, const char *const *cell)
{
    for (size_t i = 0; i < columns; i++) cli_table_cell(t, "%s", cell[i]);
}

int cli_table_print(cli_session *s, cli_table *t, const char *indent)
{
    size_t width[16] = {0};
    const bool failed = t->failed || t->columns > CLI_COUNTOF(width);
    for (size_t i = 0; !failed && i < t->count; i++) {
        const size_t length = strlen(t->cell[i]);
        if (length > width[i % t->columns]) width[i % t->columns] = length;
    }
    for (size_t i = 0; !failed && i < t->count; i++) {
        const size_t c = i % t->columns;
        const bool last = c + 1 == t->columns;
        if (c == 0) fputs(indent, stdout);
        if (t->align[c] == 'r') printf("%*s", (int)width[c], t->cell[i]);
        else printf("%-*s", last ? 0 : (int)width[c], t->cell[i]);
        fputs(last ? "\n" : "  ", stdout);
    }
    for (size_t i = 0; i < t->count; i++) free(t->cell[i]);
    free(t->cell);
    *t = (cli_table){.align = t->align, .columns = t->columns};
    return failed ? cli_fail(s, "out of memory") : CLI_OK;
}
