/* SPDX-License-Identifier: Apache-2.0 */
/* `tenon bench --against`: is it slower than it was? Whatever else the machine does only adds time. So two ratios are looked at,
   of the least times and of the medians, and the smaller one counts; and what looks too slow is measured again, up to three
   times, before it is called slower. How sure the answer is comes from the rounds: the medians of both sides' rounds are drawn
   again many times (bootstrap), and between 2.5% and 97.5% of the ratios that come out lies the interval. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { AGAIN = 3, DRAWS = 1000 };

typedef struct baseline { double least, median, round[BENCH_ROUNDS]; size_t round_count; } baseline;

/* ---- the file ---- */
static const char *text_of(const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));
    return text ? text : "";
}

static int not_a_report(bench *b, const char *path, const char *what)
{
    return cli_fail(b->s, "--against '%s': %s; a report of `tenon bench --json` of one setting is wanted", path, what);
}

static int read_baseline(bench *b, const char *path, const json_t *j, baseline *out)
{
    const json_t *t = json_object_get(j, "latency_ms"), *rounds = json_object_get(t, "rounds");
    *out = (baseline){.least = 1e-3 * json_number_value(json_object_get(t, "min")),
                      .median = 1e-3 * json_number_value(json_object_get(t, "median"))};
    if (json_object_get(j, "sweep")) return not_a_report(b, path, "it is a sweep");
    if (!(out->least > 0) || !(out->median > 0)) return not_a_report(b, path, "it holds no latency_ms.min and .median");
    if (json_array_size(rounds) > BENCH_ROUNDS) return not_a_report(b, path, "it holds too many rounds");
    for (size_t i = 0; i < json_array_size(rounds); i++) {
        const double v = 1e-3 * json_number_value(json_array_get(rounds, i));
        if (!(v > 0)) return not_a_report(b, path, "a round of it is no time");
        out->round[out->round_count++] = v;
    }
    return out->round_count ? CLI_OK : not_a_report(b, path, "it holds no rounds");
}

static int compare_objects(bench *b, const char *path, const json_t *was, json_t *now, const char *what)
{
    const char *name;
    json_t *value;
    json_object_foreach(now, name, value) {
        const char *old = text_of(was, name);
        if (!*old) return cli_fail(b->s, "--against '%s' is of another model: it has no %s '%s'", path, what, name);
        if (strcmp(old, json_string_value(value)) != 0)
            return cli_fail(b->s, "--against '%s': %s '%s' was %s there, here it is %s", path, what, name, old,
                            json_string_value(value));
    }
    if (json_object_size(was) != json_object_size(now))
        return cli_fail(b->s, "--against '%s' is of another model: it has %zu %ss, here there are %zu", path,
                        json_object_size(was), what, json_object_size(now));
    return CLI_OK;
}

/* Times of another model, other shapes, another device or other streams say nothing of this one. */
static int check_same(bench *b, const char *path, const json_t *was, const json_t *now)
{
    const char *device = text_of(was, "device"), *here = text_of(now, "device");
    const json_t *model = json_object_get(was, "model"), *here_model = json_object_get(now, "model");
    const json_int_t streams = json_integer_value(json_object_get(was, "streams"));
    if (!*device) return not_a_report(b, path, "it does not say on which device it was measured");
    if (strcmp(device, here) != 0)
        return cli_fail(b->s,
                        "--against '%s' was measured on '%s', this is '%s': times of two machines say nothing of the program",
                        path, device, here);
    if (streams != (json_int_t)b->streams)
        return cli_fail(b->s, "--against '%s' was measured with --streams %" JSON_INTEGER_FORMAT ", this is %zu", path, streams,
                        b->streams);
    const int code = compare_objects(b, path, json_object_get(model, "inputs"), json_object_get(here_model, "inputs"), "input");
    if (code != CLI_OK) return code;
    return compare_objects(b, path, json_object_get(model, "outputs"), json_object_get(here_model, "outputs"), "output");
}

/* ---- the ratio ---- */
static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double drawn_median(const double *from, size_t count, uint64_t *state)
{
    double drawn[BENCH_ROUNDS];
    for (size_t i = 0; i < count; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        drawn[i] = from[(*state >> 33) % count];
    }
    qsort(drawn, count, sizeof *drawn, by_value);
    return 0.5 * (drawn[(count - 1) / 2] + drawn[count / 2]);
}

static void interval(const bench_result *r, const baseline *was, double *lo, double *hi)
{
    double ratio[DRAWS];
    uint64_t state = 1;
    for (int i = 0; i < DRAWS; i++)
        ratio[i] = drawn_median(r->round, r->round_count, &state) / drawn_median(was->round, was->round_count, &state);
    qsort(ratio, DRAWS, sizeof *ratio, by_value);
    *lo = ratio[DRAWS / 40];
    *hi = ratio[DRAWS - 1 - DRAWS / 40];
}

static double ratio_of(const bench_result *r, const baseline *was)
{
    return fmin(r->least / was->least, r->median / was->median);
}

/* ---- the answer ---- */
static json_t *note_of(const char *path, const json_t *was, const baseline *from, const bench_result *r, double limit, int times)
{
    double lo, hi;
    interval(r, from, &lo, &hi);
    const double ratio = ratio_of(r, from);
    const bool sure = limit == 0 || (ratio > limit ? lo > limit : hi < limit);
    json_t *j = json_pack("{s:s,s:s,s:f,s:f,s:f,s:[f,f],s:i,s:b}", "file", path, "tenon", text_of(was, "tenon"), "ratio", ratio,
                          "median_ratio", r->median / from->median, "min_ratio", r->least / from->least, "interval", lo, hi,
                          "measured", times, "sure", (int)sure);
    if (limit > 0) {
        json_object_set_new(j, "limit", json_real(limit));
        json_object_set_new(j, "slower", json_boolean(ratio > limit));
    }
    return j;
}

void bench_print_against(const json_t *note)
{
    const double ratio = json_real_value(json_object_get(note, "ratio"));
    const json_t *interval = json_object_get(note, "interval"), *limit = json_object_get(note, "limit");
    const int times = (int)json_integer_value(json_object_get(note, "measured"));
    printf("  against     %s (Tenon %s): %.3f times as long (least %.3f, median %.3f; 95%% of redrawn rounds: %.3f to %.3f)\n",
           text_of(note, "file"), text_of(note, "tenon"), ratio, json_real_value(json_object_get(note, "min_ratio")),
           json_real_value(json_object_get(note, "median_ratio")), json_real_value(json_array_get(interval, 0)),
           json_real_value(json_array_get(interval, 1)));
    if (!limit) return;
    printf("              %s than %g times", json_is_true(json_object_get(note, "slower")) ? "slower" : "not slower",
           json_real_value(limit));
    if (times > 1) printf(", measured %d times", times);
    puts(json_is_true(json_object_get(note, "sure")) ? "; sure"
                                                     : "; not sure: the interval holds the limit, so measure longer (--seconds)");
}

int bench_against(bench *b, bench_result *r, json_t **note)
{
    const char *path = cli_text(b->args, "--against");
    const cli_given *fail_if = cli_find(b->args, "--fail-if");
    const double limit = fail_if ? fail_if->real : 0;
    json_error_t error;
    baseline from;
    int times = 1;
    *note = NULL;
    json_t *was = json_load_file(path, 0, &error), *now = NULL;
    if (!was) return cli_fail(b->s, "--against '%s': %s", path, error.text);
    int code = read_baseline(b, path, was, &from);
    if (code == CLI_OK && !(now = bench_json(b, r))) code = CLI_FAILED;
    if (code == CLI_OK) code = check_same(b, path, was, now);
    for (; code == CLI_OK && limit > 0 && ratio_of(r, &from) > limit && times <= AGAIN && !cli_interrupted(); times++) {
        bench_result again;
        code = bench_measure(b, b->streams, &again);
        if (code == CLI_OK && ratio_of(&again, &from) < ratio_of(r, &from)) *r = again;
    }
    if (code == CLI_OK) *note = note_of(path, was, &from, r, limit, times);
    json_decref(was);
    json_decref(now);
    if (code != CLI_OK) return code;
    return json_is_true(json_object_get(*note, "slower")) ? CLI_SLOWER : CLI_OK;
}
