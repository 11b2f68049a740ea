/* SPDX-License-Identifier: Apache-2.0 */
/* What trtexec's runs begin with: the shapes of all bindings, and the inputs, read from raw files or made up. */
#include "npy.h"
#include "trtexec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct { tenon_dtype dtype; const char *name, *brief; } types[] = {
    {TENON_F32, "Float", "FP32"}, {TENON_F64, "Double", "FP64"}, {TENON_F16, "Half", "FP16"}, {TENON_BF16, "BFloat16", "BF16"},
    {TENON_F8E4M3, "FP8", "FP8"}, {TENON_F8E5M2, "FP8E5M2", "FP8E5M2"}, {TENON_I8, "Int8", "Int8"}, {TENON_I16, "Int16", "Int16"},
    {TENON_I32, "Int32", "Int32"}, {TENON_I64, "Int64", "Int64"}, {TENON_U8, "UInt8", "UInt8"}, {TENON_I4, "Int4", "Int4"},
    {TENON_BOOL, "Bool", "Bool"},
};

const char *trt_type_name(tenon_dtype dtype)
{
    for (size_t i = 0; i < CLI_COUNTOF(types); i++)
        if (types[i].dtype == dtype) return types[i].name;
    return tenon_dtype_name(dtype);
}

const char *trt_short_type(tenon_dtype dtype)
{
    for (size_t i = 0; i < CLI_COUNTOF(types); i++)
        if (types[i].dtype == dtype) return types[i].brief;
    return tenon_dtype_name(dtype);
}

/* ---- inputs ---- */
/* Floats from -1 to 1, int8 and uint8 over their range; wider integers are 0 or 1, so that indices are valid in most models. */
static void make_up(tenon_dtype dtype, void *data, size_t bytes)
{
    uint64_t state = 0x853c49e6748fea9bu;
    uint8_t *p = data;
    const size_t size = tenon_dtype_bits(dtype) / 8;
    for (size_t i = 0; i < (size ? bytes / size : bytes); i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const float f = (float)(state >> 40) / (float)(1 << 23) - 1.0f;
        const double d = f;
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        if (size > 1) memset(p + i * size, 0, size);
        if (dtype == TENON_F32) memcpy(p + i * size, &f, size);
        else if (dtype == TENON_F64) memcpy(p + i * size, &d, size);
        else if (dtype == TENON_BF16) memcpy(p + i * size, (uint8_t *)&bits + 2, size);
        else if (dtype == TENON_F16) {
            p[i * size] = (uint8_t)(state >> 50);
            p[i * size + 1] = (uint8_t)(0x30 | (bits >> 31) << 7 | (state >> 60 & 7)); /* 0.125 to 0.5, of either sign */
        }
        else if (dtype == TENON_I8 || dtype == TENON_U8 || size == 0) p[i] = (uint8_t)(state >> 56);
        else p[i * size] = (uint8_t)(state >> 63);
    }
}

static bool read_raw(const trt_app *app, const char *path, const trt_binding *b)
{
    FILE *f = fopen(path, "rb");
    if (!f) return trt_fail(app, "Cannot open file %s: %s", path, strerror(errno));
    const size_t got = fread(b->data, 1, b->bytes, f);
    const bool longer = fgetc(f) != EOF, failed = ferror(f) != 0;
    fclose(f);
    if (failed) return trt_fail(app, "Cannot read file %s", path);
    if (got != b->bytes || longer)
        return trt_fail(app, "%s: input '%s' has %zu bytes, %s %s has %s", path, b->info.name, b->bytes,
                        trt_short_type(b->info.dtype), cli_dims(b->rank, b->dim).text, longer ? "more" : "fewer");
    return true;
}

/* The file of an input in --loadInputs; names may be quoted. */
static bool find_file(const trt_app *app, const char *input, char *path, size_t room)
{
    const char *p = trt_text(&app->o, "--loadInputs");
    while (p && *p) {
        const size_t n = strcspn(p, ","), quoted = *p == '\'', length = strlen(input);
        if (strncmp(p + quoted, input, length) == 0 && (!quoted || p[1 + length] == '\'') && p[length + 2 * quoted] == ':') {
            const size_t head = length + 2 * quoted + 1;
            snprintf(path, room, "%.*s", (int)(n - head), p + head);
            return true;
        }
        p += n + (p[n] == ',');
    }
    return false;
}

static bool check_files(const trt_app *app)
{
    const char *text = trt_text(&app->o, "--loadInputs");
    size_t entries = text != NULL, found = 0;
    for (const char *p = text; p && *p; p++) entries += *p == ',';
    for (size_t i = 0; i < app->binding_count; i++) {
        char path[1024];
        found += app->binding[i].info.io == TENON_INPUT && find_file(app, app->binding[i].info.name, path, sizeof path);
    }
    return entries == found || trt_fail(app, "--loadInputs=%s: %zu of %zu entries are name:file with the name of an input", text,
                                        found, entries);
}

static bool fill_input(const trt_app *app, trt_binding *b)
{
    char path[1024];
    const char *name = b->info.name;
    b->data = malloc(b->bytes ? b->bytes : 1);
    if (!b->data) return trt_fail(app, "input '%s': no memory for %zu bytes", name, b->bytes);
    if (find_file(app, name, path, sizeof path)) {
        trt_say(app, TRT_I, "Using values loaded from %s for input %s", path, name);
        if (!read_raw(app, path, b)) return false;
    } else {
        trt_say(app, TRT_I, "Using random values for input %s", name);
        make_up(b->info.dtype, b->data, b->bytes);
    }
    return true;
}

/* ---- shapes ---- */
static bool find_dims(const trt_app *app, trt_binding *b, int profile)
{
    int64_t min[TENON_MAX_RANK], max[TENON_MAX_RANK];
    const trt_shape *given = trt_find_shape(&app->o.shapes, b->info.name);
    b->rank = b->info.rank;
    if (given && given->rank != b->rank)
        return trt_fail(app, "--shapes: input '%s' has %d dimensions, %d are given", b->info.name, b->rank, given->rank);
    if (given) memcpy(b->dim, given->dim, sizeof b->dim);
    else if (tenon_engine_profile_shape(app->cx, app->engine, profile, b->info.name, min, b->dim, max) != TENON_OK)
        return trt_failed(app);
    return true;
}

/* Outputs are as the engine says, by a context that lives no longer than this. */
static bool find_outputs(trt_app *app, tenon_context *context)
{
    for (size_t i = 0; i < app->binding_count; i++) {
        const trt_binding *b = &app->binding[i];
        if (b->info.io == TENON_INPUT && tenon_context_set_shape(context, b->info.name, b->rank, b->dim) != TENON_OK)
            return trt_fail(app, "[TRT] %s", tenon_context_message(context));
    }
    for (size_t i = 0; i < app->binding_count; i++) {
        trt_binding *b = &app->binding[i];
        if (tenon_context_shape(context, b->info.name, &b->rank, b->dim) != TENON_OK)
            return trt_fail(app, "[TRT] %s", tenon_context_message(context));
        bool known = tenon_dtype_bits(b->info.dtype) != 0;
        for (int k = 0; k < b->rank; k++) known &= b->dim[k] >= 0;
        if (b->info.io == TENON_OUTPUT && !known) continue;
        if (!cli_tensor_bytes(b->info.dtype, b->rank, b->dim, &b->bytes))
            return trt_fail(app, "'%s': a binding of type %s and shape %s cannot be held", b->info.name,
                            tenon_dtype_name(b->info.dtype), cli_dims(b->rank, b->dim).text);
    }
    return true;
}

bool trt_set_up(trt_app *app)
{
    const int profile = (int)app->o.use_profile, profiles = tenon_engine_profile_count(app->engine);
    tenon_context *context = NULL;
    bool good = true;
    if (profile >= profiles) return trt_fail(app, "--useProfile=%d: the engine has %d, counted from 0", profile, profiles);
    app->binding_count = tenon_engine_binding_count(app->engine);
    app->binding = calloc(app->binding_count + 1, sizeof *app->binding);
    if (!app->binding) return trt_fail(app, "out of memory");
    for (size_t i = 0; good && i < app->binding_count; i++) {
        trt_binding *b = &app->binding[i];
        if (tenon_engine_binding(app->cx, app->engine, i, &b->info) != TENON_OK) return trt_failed(app);
        if (b->info.io == TENON_INPUT) good = find_dims(app, b, profile);
    }
    for (size_t i = 0; good && i < app->o.shapes.count; i++) {
        const trt_shapes one = {&app->o.shapes.list[i], 1};
        bool found = false;
        for (size_t k = 0; k < app->binding_count; k++)
            found |= app->binding[k].info.io == TENON_INPUT && trt_find_shape(&one, app->binding[k].info.name);
        if (!found) good = trt_fail(app, "--shapes: Cannot find input tensor with name \"%s\" in the engine", one.list->name);
    }
    good = good && check_files(app);
    if (good && tenon_context_create(app->cx, app->engine, &(tenon_context_options){.profile = profile}, &context) != TENON_OK)
        good = trt_failed(app);
    good = good && find_outputs(app, context);
    tenon_context_destroy(&context);
    for (size_t i = 0; good && i < app->binding_count; i++) {
        trt_binding *b = &app->binding[i];
        const bool in = b->info.io == TENON_INPUT;
        if (in) good = fill_input(app, b);
        if (good)
            trt_say(app, TRT_I, "%s binding for %s with dimensions %s is created.", in ? "Input" : "Output", b->info.name,
                    cli_dims(b->rank, b->dim).text);
    }
    return good;
}
