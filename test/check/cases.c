/* SPDX-License-Identifier: Apache-2.0 */
/* The problems of test/case/NAME.txt, one a line, and the lists of what a backend is known not to do. A line that begins with '#'
   is a comment; a list's row ends in its reason, which may not be missing. */
#include "tenoncheck.h"

#include "base/file.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER TENON_SOURCE_DIR "/test/case"

typedef tenon_status (*line_fn)(tenon_cx *cx, tenon_arena *arena, const char *file, int number, char *line, void *user);

static tenon_status each_line(tenon_cx *cx, tenon_arena *arena, const char *path, const char *file, line_fn fn, void *user)
{
    tenon_file_map map;
    TENON_TRY(tenon_file_map_open(cx, path, &map));
    const char *s = (const char *)map.data, *end = s + map.bytes;
    tenon_status status = TENON_OK;
    for (int number = 1; s < end && status == TENON_OK; number++) {
        const char *stop = memchr(s, '\n', (size_t)(end - s));
        if (!stop) stop = end;
        char *line = tenon_arena_strndup(arena, s, (size_t)(stop - s));
        if (!line) status = TENON_NOMEM;
        else if (*line && *line != '#') status = fn(cx, arena, file, number, line, user);
        s = stop + 1;
    }
    tenon_file_map_close(&map);
    return status;
}

static tenon_status add_case(tenon_cx *cx, tenon_arena *arena, const char *file, int number, char *line, void *user)
{
    check_cases *out = user;
    void *array = out->at;
    if (strpbrk(line, " \t")) return TENON_FAIL(cx, TENON_INVALID, "%s:%d: a problem has no blanks", file, number);
    TENON_TRY(tenon_arena_grow(arena, &array, &out->capacity, out->count + 1, sizeof *out->at));
    out->at = array;
    out->at[out->count++] = (check_case){.file = file, .text = line, .line = number};
    return TENON_OK;
}

/* In order of file name and line, so that runs agree on it. */
static int by_place(const void *a, const void *b)
{
    const check_case *x = a, *y = b;
    const int order = strcmp(x->file, y->file);
    return order ? order : x->line - y->line;
}

static bool is_list(const char *name) { return !strncmp(name, "unsupported_", 12) || !strncmp(name, "xfail_", 6); }

tenon_status check_cases_read(tenon_cx *cx, tenon_arena *arena, check_cases *out)
{
    *out = (check_cases){0};
    DIR *folder = opendir(FOLDER);
    if (!folder) return TENON_FAIL(cx, TENON_INVALID, "no folder %s", FOLDER);
    tenon_status status = TENON_OK;
    for (struct dirent *e; status == TENON_OK && (e = readdir(folder));) {
        const size_t n = strlen(e->d_name);
        if (n < 5 || strcmp(e->d_name + n - 4, ".txt") || is_list(e->d_name)) continue;
        const char *path = tenon_arena_printf(arena, "%s/%s", FOLDER, e->d_name), *file = tenon_arena_strdup(arena, e->d_name);
        status = path && file ? each_line(cx, arena, path, file, add_case, out) : TENON_NOMEM;
    }
    closedir(folder);
    if (status == TENON_OK && out->count) qsort(out->at, out->count, sizeof *out->at, by_place);
    return status;
}

typedef struct rows { check_rows *out; bool with_problem; } rows;

static char *word(char **at)
{
    char *s = *at + strspn(*at, " \t"), *end = s + strcspn(s, " \t");
    *at = *end ? end + 1 : end;
    *end = '\0';
    return s;
}

static tenon_status add_row(tenon_cx *cx, tenon_arena *arena, const char *file, int number, char *line, void *user)
{
    const rows *r = user;
    check_row row = {.what = word(&line)};
    if (r->with_problem) row.problem = word(&line);
    row.why = line + strspn(line, " \t");
    if (!*row.why) return TENON_FAIL(cx, TENON_INVALID, "%s:%d: no reason", file, number);
    void *array = r->out->at;
    TENON_TRY(tenon_arena_grow(arena, &array, &r->out->capacity, r->out->count + 1, sizeof row));
    r->out->at = array;
    r->out->at[r->out->count++] = row;
    return TENON_OK;
}

tenon_status check_rows_read(tenon_cx *cx, tenon_arena *arena, const char *list, const char *backend, bool with_problem,
                             check_rows *out)
{
    *out = (check_rows){0};
    char *file = tenon_arena_printf(arena, "%s_%s.txt", list, backend), *path = tenon_arena_printf(arena, "%s/%s", FOLDER, file);
    if (!file || !path) return TENON_NOMEM;
    FILE *there = fopen(path, "r");
    if (!there) return TENON_OK; /* nothing is listed */
    fclose(there);
    rows r = {out, with_problem};
    return each_line(cx, arena, path, file, add_row, &r);
}

bool check_case_matches(const check_case *c, const char *filter)
{
    return !filter || !strcmp(filter, "all") || strstr(c->text, filter) || !strncmp(c->file, filter, strlen(filter));
}
