/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs of the last query, printed, as JSON, or inputs and outputs as raw files. */
#include "trtexec.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A float of 1 sign, `e` exponent and `m` mantissa bits. F8E4M3 has no infinity: its largest exponent is of numbers, and NaN. */
static double small_float(uint32_t bits, int e, int m, bool finite)
{
    const int exponent = (int)(bits >> m) & ((1 << e) - 1), bias = (1 << (e - 1)) - 1, top = (1 << e) - 1;
    const uint32_t mantissa = bits & ((1u << m) - 1);
    const double sign = bits >> (e + m) & 1 ? -1 : 1;
    if (exponent == top && !finite) return mantissa ? (double)NAN : sign * (double)INFINITY;
    if (finite && exponent == top && mantissa == (1u << m) - 1) return (double)NAN;
    return sign * ldexp(exponent ? mantissa + ldexp(1, m) : mantissa, (exponent ? exponent : 1) - bias - m);
}

#define VALUE(TYPE, type) case TYPE: { type v; memcpy(&v, p + i * sizeof v, sizeof v); return (double)v; }
static double value_at(tenon_dtype dtype, const void *data, size_t i)
{
    const uint8_t *p = data;
    uint16_t h;
    switch (dtype) {
    VALUE(TENON_F32, float)
    VALUE(TENON_F64, double)
    VALUE(TENON_I8, int8_t)
    VALUE(TENON_I16, int16_t)
    VALUE(TENON_I32, int32_t)
    VALUE(TENON_I64, int64_t)
    VALUE(TENON_U16, uint16_t)
    VALUE(TENON_U32, uint32_t)
    VALUE(TENON_U64, uint64_t)
    case TENON_F16: memcpy(&h, p + 2 * i, 2); return small_float(h, 5, 10, false);
    case TENON_BF16: memcpy(&h, p + 2 * i, 2); return small_float(h, 8, 7, false);
    case TENON_F8E4M3: return small_float(p[i], 4, 3, true);
    case TENON_F8E5M2: return small_float(p[i], 5, 2, false);
    case TENON_U4: return p[i / 2] >> 4 * (i % 2) & 15;
    case TENON_I4: return ((p[i / 2] >> 4 * (i % 2) & 15) ^ 8) - 8;
    default: return p[i]; /* u8, bool */
    }
}

static size_t count_of(tenon_dtype dtype, const trt_output *out)
{
    size_t count = 1;
    for (int i = 0; i < out->rank; i++) count *= (size_t)out->dim[i];
    return tenon_dtype_bits(dtype) && out->data ? count : 0;
}

static bool say_output(const trt_app *app, const trt_binding *b, const trt_output *out)
{
    const size_t count = count_of(b->info.dtype, out), room = 32 * count + 1;
    char *line = malloc(room);
    size_t used = 0;
    if (!line) return trt_fail(app, "out of memory");
    line[0] = 0;
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(line + used, room - used, "%s%g", i ? " " : "", value_at(b->info.dtype, out->data, i));
    trt_say(app, TRT_I, "%s: (%s)", b->info.name, cli_dims(out->rank, out->dim).text);
    trt_say(app, TRT_I, "%s", line);
    free(line);
    return true;
}

static json_t *output_json(const trt_binding *b, const trt_output *out)
{
    json_t *values = json_array();
    const bool real = b->info.dtype >= TENON_F32 && b->info.dtype <= TENON_F8E5M2;
    for (size_t i = 0; i < count_of(b->info.dtype, out); i++) {
        const double v = value_at(b->info.dtype, out->data, i);
        /* JSON has no NaN and no infinity */
        json_array_append_new(values, !isfinite(v) ? json_null() : real ? json_real(v) : json_integer((json_int_t)v));
    }
    return json_pack("{s:s,s:s,s:o}", "name", b->info.name, "dimensions", cli_dims(out->rank, out->dim).text, "values", values);
}

/* NAME.input.1x3... becomes a file beside the caller: everything but letters, digits, - and _ in a name is _. */
static bool save_raw(const trt_app *app, const trt_binding *b, const trt_output *out)
{
    const bool in = b->info.io == TENON_INPUT;
    char name[CLI_TEXT_ROOM], dims[CLI_TEXT_ROOM], path[3 * CLI_TEXT_ROOM];
    snprintf(name, sizeof name, "%s", b->info.name);
    snprintf(dims, sizeof dims, "%s", cli_dims(out->rank, out->dim).text);
    for (char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_') *p = '_';
    for (char *p = dims; *p; p++)
        if (*p == 'x') *p = '.';
    snprintf(path, sizeof path, "%s.%s.%s.%s.raw", name, in ? "input" : "output", dims, trt_type_name(b->info.dtype));
    const void *data = in ? b->data : out->data;
    FILE *f = fopen(path, "wb");
    bool good = f && (!data || fwrite(data, 1, out->bytes, f) == out->bytes);
    good = f && fclose(f) == 0 && good;
    if (!good) {
        if (f) cli_discard(path);
        return trt_fail(app, "Cannot write %s: %s", path, strerror(errno));
    }
    trt_say(app, TRT_I, "Saved '%s' to %s", b->info.name, path);
    return true;
}

bool trt_report_outputs(const trt_app *app)
{
    const bool dump = trt_has(&app->o, "--dumpOutput"), raw = trt_has(&app->o, "--dumpRawBindingsToFile");
    const char *path = trt_text(&app->o, "--exportOutput");
    json_t *list = path ? json_array() : NULL;
    bool good = true;
    for (size_t i = 0; good && raw && i < app->binding_count; i++) good = save_raw(app, &app->binding[i], &app->output[i]);
    if (good && dump) trt_say(app, TRT_I, "Output Tensors:");
    for (size_t i = 0; good && i < app->binding_count; i++) {
        const trt_binding *b = &app->binding[i];
        if (b->info.io != TENON_OUTPUT) continue;
        if (good && dump) good = say_output(app, b, &app->output[i]);
        if (list) json_array_append_new(list, output_json(b, &app->output[i]));
    }
    if (path && good) return trt_save_json(app, list, path);
    json_decref(list);
    return good;
}
