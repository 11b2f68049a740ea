/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as an engine file: loaded, inspected and, where it loads, run on the CPU with the least memory that its bindings ask for,
   so that a write behind it is seen. Hashes are made right after each change: what they guard is not what is looked for. */
#include "fuzz.h"

#include "base/checked.h"
#include "run/engine.h"

#include <xxhash.h>

enum { MOST_BINDING = 4 << 20, MOST_BINDINGS = 16 };

static size_t binding_bytes(tenon_context *c, const char *name, tenon_dtype dtype)
{
    int rank;
    int64_t dim[TENON_MAX_RANK], count;
    if (tenon_context_shape(c, name, &rank, dim) != TENON_OK || !tenon_product(dim, rank, &count) || count < 0) return 0;
    const size_t bits = tenon_dtype_bits(dtype);
    return bits && count < MOST_BINDING ? ((size_t)count * bits + 7) / 8 : 0;
}

/* Dynamic dims as the profile's optimum has them, else 1. */
static void set_shape(tenon_cx *cx, tenon_engine *e, tenon_context *c, const tenon_binding_info *info)
{
    int64_t least[TENON_MAX_RANK], best[TENON_MAX_RANK], greatest[TENON_MAX_RANK];
    if (tenon_engine_profile_shape(cx, e, 0, info->name, least, best, greatest) != TENON_OK)
        for (int i = 0; i < info->rank; i++) best[i] = info->dim[i] < 0 ? 1 : info->dim[i];
    (void)!tenon_context_set_shape(c, info->name, info->rank, best);
}

static void run_engine(tenon_cx *cx, tenon_engine *e)
{
    tenon_context *c = NULL;
    void *memory[MOST_BINDINGS] = {NULL};
    const size_t count = tenon_engine_binding_count(e);
    tenon_binding_info info;
    if (count > MOST_BINDINGS || !fuzz_ok(cx, tenon_context_create(cx, e, NULL, &c))) return;
    for (size_t i = 0; i < count; i++)
        if (tenon_engine_binding(cx, e, i, &info) == TENON_OK && info.io == TENON_INPUT) set_shape(cx, e, c, &info);
    for (size_t i = 0; i < count; i++) {
        if (tenon_engine_binding(cx, e, i, &info) != TENON_OK) continue;
        const size_t bytes = binding_bytes(c, info.name, info.dtype);
        memory[i] = calloc(1, bytes ? bytes : 1);
        if (memory[i]) (void)!tenon_context_set_address(c, info.name, memory[i], bytes);
    }
    const tenon_status status = tenon_context_run(c);
    FUZZ_DEMAND(status == TENON_OK || *tenon_context_message(c));
    tenon_context_destroy(&c);
    for (size_t i = 0; i < MOST_BINDINGS; i++) free(memory[i]);
}

static void run(tenon_cx *cx, const uint8_t *data, size_t size)
{
    tenon_engine *e = NULL;
    char *json = NULL;
    if (!fuzz_ok(cx, tenon_engine_load_memory(cx, data, size, &(tenon_load_options){.threads = 1}, &e))) return;
    if (fuzz_ok(cx, tenon_engine_inspect(cx, e, &json))) tenon_text_free(cx, &json);
    run_engine(cx, e);
    tenon_engine_destroy(&e);
}

static void quiet(void *user, tenon_severity severity, const char *message) { (void)user, (void)severity, (void)message; }

static void mend(uint8_t *data, size_t size)
{
    tenon_rec_header *h = (void *)data;
    tenon_rec_section *s = (void *)(data + sizeof *h);
    if (size < sizeof *h + TENON_SECTION_COUNT * sizeof *s) return;
    for (int i = 0; i < TENON_SECTION_COUNT; i++)
        if (s[i].offset <= size && s[i].bytes <= size - s[i].offset) s[i].hash = XXH3_64bits(data + s[i].offset, s[i].bytes);
    memcpy(h->magic, TENON_ENGINE_MAGIC, sizeof h->magic);
    h->format_version = TENON_ENGINE_VERSION;
    h->file_bytes = size;
    h->hash = 0;
    h->hash = XXH3_64bits(data, sizeof *h + TENON_SECTION_COUNT * sizeof *s);
}

/* Refittable, so that there are weight programs. */
static size_t from_model(const uint8_t *onnx, size_t bytes, uint8_t **out)
{
    tenon_cx *cx = NULL;
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    const void *data;
    size_t length = 0;
    *out = NULL;
    if (tenon_cx_create(&(tenon_cx_options){.log = quiet}, &cx)) return 0;
    if (tenon_network_read(cx, onnx, bytes, NULL, &network) == TENON_OK && tenon_config_create(cx, &config) == TENON_OK &&
        tenon_config_set_device(config, "cpu", 0) == TENON_OK && tenon_config_set_threads(config, 1) == TENON_OK &&
        tenon_config_set_timing(config, false) == TENON_OK && tenon_config_set_refit(config, true) == TENON_OK &&
        tenon_build(cx, network, config, &engine) == TENON_OK && tenon_engine_data(cx, engine, &data, &length) == TENON_OK &&
        (*out = malloc(length)))
        memcpy(*out, data, length);
    tenon_engine_destroy(&engine);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    tenon_cx_destroy(&cx);
    return *out ? length : 0;
}

const fuzz_target fuzz_target_engine = {.name = "engine", .what = "an engine file: loader, inspection, a context and a run",
                                        .run = run, .mend = mend, .from_model = from_model};
