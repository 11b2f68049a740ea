/* SPDX-License-Identifier: Apache-2.0 */
/* Opening of models and engines, and contexts made ready to run. */
#include "target.h"
#include "npy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENGINE_MAGIC "\x89TENON\r\n"

/* ---- shapes ---- */
static const char *parse_dims(const char *p, int64_t *dim, int *rank)
{
    *rank = 0;
    for (;;) {
        char *end;
        if (*p < '0' || *p > '9' || *rank == TENON_MAX_RANK) return NULL;
        errno = 0;
        dim[(*rank)++] = strtoll(p, &end, 10);
        if (errno) return NULL;
        p = end;
        if (*p != 'x') return p;
        p++;
    }
}

int cli_range_parse(cli_session *s, const char *option, const char *text, cli_range *out)
{
    /* Names of inputs may hold = and :, shapes do not. */
    const char *equals = strrchr(text, '='), *p = equals ? equals + 1 : NULL;
    int64_t *const part[3] = {out->min, out->opt, out->max};
    int rank[3], parts = 0;
    *out = (cli_range){0};
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof out->input)
        return cli_wrong(s, "%s '%s': NAME=SHAPE is wanted, such as x=1x3x224x224", option, text);
    memcpy(out->input, text, (size_t)(equals - text));
    while (p && parts < 3) {
        p = parse_dims(p, part[parts], &rank[parts]);
        parts++;
        if (!p || *p != ':') break;
        p++;
    }
    if (!p || *p || parts == 2)
        return cli_wrong(s, "%s '%s': '%s' is not a shape such as 1x3x224x224 nor a range MIN:OPT:MAX of such shapes", option,
                         text, equals + 1);
    out->rank = rank[0];
    out->single = parts == 1;
    for (int i = 1; i < parts; i++)
        if (rank[i] != rank[0]) return cli_wrong(s, "%s '%s': minimum, optimum and maximum have different ranks", option, text);
    if (out->single) {
        memcpy(out->opt, out->min, sizeof out->opt);
        memcpy(out->max, out->min, sizeof out->max);
    }
    return CLI_OK;
}

/* ---- models and engines ---- */
int cli_is_engine(cli_session *s, const char *path, bool *out)
{
    char head[sizeof ENGINE_MAGIC - 1] = {0};
    *out = false;
    FILE *f = fopen(path, "rb");
    if (!f) return cli_fail(s, "cannot open '%s': %s", path, strerror(errno));
    const size_t got = fread(head, 1, sizeof head, f);
    const bool failed = ferror(f) != 0;
    fclose(f);
    if (failed) return cli_fail(s, "cannot read '%s': %s", path, strerror(errno));
    *out = got == sizeof head && memcmp(head, ENGINE_MAGIC, sizeof head) == 0;
    return CLI_OK;
}

int cli_model_read(cli_session *s, const char *path, tenon_network **out)
{
    return tenon_network_read_file(s->cx, path, NULL, out) == TENON_OK ? CLI_OK : cli_failed(s);
}

int cli_config_failed(cli_session *s, const tenon_config *config) { return cli_fail(s, "%s", tenon_config_message(config)); }

/* "cuda:1" is backend and index; "cuda:sm_90" is a GPU that need not be here. */
static int split_device(cli_session *s, const char *text, char backend[16], int *index)
{
    static const char *const known[] = {"cpu", "cuda", "null", "auto"};
    const size_t length = strcspn(text, ":");
    char *end = NULL;
    if (strncmp(text, "cuda:sm_", 8) == 0 && strlen(text) < 16) { /* the library knows which there are */
        snprintf(backend, 16, "%s", text);
        *index = 0;
        return CLI_OK;
    }
    *index = text[length] ? (int)strtol(text + length + 1, &end, 10) : 0;
    snprintf(backend, 16, "%.*s", (int)length, text);
    const bool whole = !text[length] || (end != text + length + 1 && *end == 0 && *index >= 0);
    for (size_t i = 0; whole && length < 16 && i < CLI_COUNTOF(known); i++)
        if (strcmp(known[i], backend) == 0) return CLI_OK;
    return cli_wrong(s, "--device '%s': cpu, cuda, null or auto is wanted, with an index where there are several: cuda:1; or "
                        "cuda:sm_90 for a GPU that is not here", text);
}

int cli_config_apply(cli_session *s, const cli_args *args, tenon_config *config)
{
    const cli_given *device = cli_find(args, "--device"), *threads = cli_find(args, "--threads"),
                    *level = cli_find(args, "--level");
    const cli_given *workspace = cli_find(args, "--workspace");
    tenon_status status = TENON_OK;
    if (device) {
        char backend[16];
        int index;
        const int code = split_device(s, device->text, backend, &index);
        if (code != CLI_OK) return code;
        status = tenon_config_set_device(config, backend, index);
    }
    const int too_many = 1 << 20; /* the library says what is possible */
    if (status == TENON_OK && threads)
        status = tenon_config_set_threads(config, threads->number < too_many ? (int)threads->number : too_many);
    if (status == TENON_OK && level)
        status = tenon_config_set_optimization_level(config, level->number < too_many ? (int)level->number : too_many);
    if (status == TENON_OK && workspace) status = tenon_config_set_workspace(config, (size_t)workspace->number);
    if (status == TENON_OK && cli_flag(args, "--no-timing")) status = tenon_config_set_timing(config, false);
    if (status == TENON_OK && cli_flag(args, "--refit")) status = tenon_config_set_refit(config, true);
    if (status == TENON_OK && cli_flag(args, "--strict")) status = tenon_config_set_strict(config, true);
    if (status == TENON_OK && cli_flag(args, "--no-tf32")) status = tenon_config_set_tf32(config, false);
    return status == TENON_OK ? CLI_OK : cli_config_failed(s, config);
}

int cli_model_build_as(cli_session *s, const cli_args *args, tenon_network *network, const cli_build *how, tenon_engine **out)
{
    tenon_config *config = NULL;
    const cli_range *r = how->range;
    *out = NULL;
    if (tenon_config_create(s->cx, &config) != TENON_OK) return cli_failed(s);
    int code = cli_config_apply(s, args, config);
    if (code == CLI_OK && !how->timed && tenon_config_set_timing(config, false) != TENON_OK) code = cli_config_failed(s, config);
    if (code == CLI_OK && how->exact && tenon_config_set_tf32(config, false) != TENON_OK) code = cli_config_failed(s, config);
    for (size_t p = 0; code == CLI_OK && p < how->profiles; p++) {
        int profile = 0;
        if (tenon_config_add_profile(config, &profile) != TENON_OK) code = cli_config_failed(s, config);
        for (size_t i = 0; code == CLI_OK && i < how->range_count; i++, r++)
            if (tenon_config_set_shape(config, profile, r->input, r->rank, r->min, r->opt, r->max) != TENON_OK)
                code = cli_config_failed(s, config);
    }
    if (code == CLI_OK && tenon_build(s->cx, network, config, out) != TENON_OK) code = cli_failed(s);
    cli_bar_clear(s);
    tenon_config_destroy(&config);
    return code;
}

int cli_model_build(cli_session *s, const cli_args *args, tenon_network *network, const cli_range *range, size_t range_count,
                    bool timed, tenon_engine **out)
{
    const cli_build how = {.range = range, .range_count = range_count, .profiles = 1, .timed = timed};
    return cli_model_build_as(s, args, network, &how, out);
}

int cli_engine_load(cli_session *s, const cli_args *args, const char *path, tenon_engine **out)
{
    const int64_t threads = cli_number(args, "--threads", 0);
    *out = NULL;
    if (cli_find(args, "--device")) return cli_wrong(s, "--device is for models; '%s' is an engine, made for one device", path);
    if (threads > 1024) return cli_wrong(s, "--threads %s: at most 1024", cli_text(args, "--threads"));
    const tenon_load_options options = {.threads = (int)threads};
    return tenon_engine_load(s->cx, path, &options, out) == TENON_OK ? CLI_OK : cli_failed(s);
}

/* ---- runs ---- */
const tenon_host_tensor *cli_tensor_find(const tenon_host_tensor *given, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(given[i].name, name) == 0) return &given[i];
    return NULL;
}

void cli_tensor_make_up(tenon_host_tensor *t, size_t bytes)
{
    uint64_t state = 0x9e3779b97f4a7c15u;
    uint8_t *p = t->data;
    const size_t size = tenon_dtype_bits(t->dtype) / 8;
    for (size_t i = 0; size && i < bytes / size; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const float f = (float)(state >> 40) / (float)(1 << 23) - 1.0f;
        const double d = f;
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        memset(p + i * size, 0, size);
        if (t->dtype == TENON_F32) memcpy(p + i * size, &f, size);
        else if (t->dtype == TENON_F64) memcpy(p + i * size, &d, size);
        else if (t->dtype == TENON_BF16) memcpy(p + i * size, (uint8_t *)&bits + 2, size);
        else if (t->dtype == TENON_F16) p[i * size + 1] = (uint8_t)(0x34 | (bits >> 31) << 7); /* 0.25 or -0.25 */
        else p[i * size] = (uint8_t)(state >> 63);
    }
}

static bool profile_holds(cli_session *s, const tenon_engine *engine, int profile, const tenon_host_tensor *input)
{
    int64_t min[TENON_MAX_RANK], opt[TENON_MAX_RANK], max[TENON_MAX_RANK];
    if (tenon_engine_profile_shape(s->cx, engine, profile, input->name, min, opt, max) != TENON_OK) return false;
    for (int i = 0; i < input->rank; i++)
        if (input->dim[i] < min[i] || input->dim[i] > max[i]) return false;
    return true;
}

int cli_profile_choose(cli_session *s, const tenon_engine *engine, const tenon_host_tensor *input, size_t count, int wanted,
                       int *out)
{
    const int profiles = tenon_engine_profile_count(engine);
    *out = wanted;
    if (wanted >= profiles) return cli_fail(s, "profile %d is asked for, the engine has %d, counted from 0", wanted, profiles);
    if (wanted >= 0) return CLI_OK;
    *out = 0;
    if (profiles == 1) return CLI_OK; /* the library's own message is the better one */
    for (int p = 0; p < profiles; p++) {
        bool holds = true;
        for (size_t i = 0; i < count; i++) holds = holds && profile_holds(s, engine, p, &input[i]);
        if (!holds) continue;
        *out = p;
        return CLI_OK;
    }
    const cli_words dims = cli_dims(count ? input[0].rank : 0, count ? input[0].dim : NULL);
    return cli_fail(s, "none of the engine's %d profiles holds the shapes given (%s=%s, ...); `tenon inspect` shows their ranges",
                    profiles, count ? input[0].name : "", dims.text);
}

static int context_failed(cli_session *s, const cli_runner *r) { return cli_fail(s, "%s", tenon_context_message(r->context)); }

static int open_binding(cli_session *s, cli_runner *r, size_t index, const tenon_binding_info *b, const tenon_host_tensor *given)
{
    int rank = 0;
    int64_t dim[TENON_MAX_RANK];
    if (tenon_context_shape(r->context, b->name, &rank, dim) != TENON_OK) return context_failed(s, r);
    for (int i = 0; i < rank; i++)
        if (dim[i] < 0) return CLI_OK; /* known after the run */
    if (b->io == TENON_OUTPUT && tenon_dtype_bits(b->dtype) == 0) return CLI_OK;
    if (!cli_tensor_bytes(b->dtype, rank, dim, &r->bytes[index]))
        return cli_fail(s, "'%s': a binding of type %s and shape %s cannot be held", b->name, tenon_dtype_name(b->dtype),
                        cli_dims(rank, dim).text);
    /* an empty tensor still needs an address */
    if (tenon_device_alloc(s->cx, r->engine, r->bytes[index] ? r->bytes[index] : 64, &r->device[index]) != TENON_OK)
        return cli_failed(s);
    if (given && given->data && tenon_device_upload(s->cx, r->engine, r->device[index], given->data, r->bytes[index]) != TENON_OK)
        return cli_failed(s);
    if (tenon_context_set_address(r->context, b->name, r->device[index], r->bytes[index]) != TENON_OK)
        return context_failed(s, r);
    return CLI_OK;
}

int cli_runner_open(cli_session *s, tenon_engine *engine, int profile, const tenon_host_tensor *input, size_t count,
                    cli_runner *out)
{
    const size_t bindings = tenon_engine_binding_count(engine);
    *out = (cli_runner){.engine = engine, .count = bindings, .device = calloc(bindings + 1, sizeof *out->device),
                        .bytes = calloc(bindings + 1, sizeof *out->bytes)};
    if (!out->device || !out->bytes) return cli_fail(s, "out of memory");
    if (tenon_context_create(s->cx, engine, &(tenon_context_options){.profile = profile}, &out->context) != TENON_OK)
        return cli_failed(s);
    for (size_t i = 0; i < count; i++)
        if (tenon_context_set_shape(out->context, input[i].name, input[i].rank, input[i].dim) != TENON_OK)
            return context_failed(s, out);
    for (size_t i = 0; i < bindings; i++) {
        tenon_binding_info b;
        if (tenon_engine_binding(s->cx, engine, i, &b) != TENON_OK) return cli_failed(s);
        const int code = open_binding(s, out, i, &b, cli_tensor_find(input, count, b.name));
        if (code != CLI_OK) return code;
    }
    return CLI_OK;
}

void cli_runner_close(cli_session *s, cli_runner *r)
{
    tenon_context_destroy(&r->context);
    for (size_t i = 0; r->device && i < r->count; i++) tenon_device_free(s->cx, r->engine, r->device[i]);
    free(r->device);
    free(r->bytes);
    *r = (cli_runner){0};
}
