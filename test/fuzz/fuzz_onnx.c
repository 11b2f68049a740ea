/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as an ONNX model: read, passes, text; where it is small, built for the CPU with timing off. */
#include "fuzz.h"

enum { MOST_TEXT = 16 << 10 }; /* of a network that is built: planning a large one takes its time */

static void build(tenon_cx *cx, tenon_network *network)
{
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    if (fuzz_ok(cx, tenon_config_create(cx, &config)) && tenon_config_set_device(config, "cpu", 0) == TENON_OK &&
        tenon_config_set_threads(config, 1) == TENON_OK && tenon_config_set_timing(config, false) == TENON_OK &&
        fuzz_ok(cx, tenon_build(cx, network, config, &engine))) {
        char *json = NULL;
        if (fuzz_ok(cx, tenon_engine_inspect(cx, engine, &json))) tenon_text_free(cx, &json);
    }
    tenon_engine_destroy(&engine);
    tenon_config_destroy(&config);
}

static void run(tenon_cx *cx, const uint8_t *data, size_t size)
{
    tenon_network *network = NULL;
    char *text = NULL;
    if (!fuzz_ok(cx, tenon_network_read(cx, data, size, NULL, &network))) return;
    for (size_t i = 0; i < tenon_network_binding_count(network); i++) {
        tenon_binding_info info;
        (void)fuzz_ok(cx, tenon_network_binding(cx, network, i, &info));
    }
    if (fuzz_ok(cx, tenon_network_text(cx, network, true, &text))) {
        const bool small = strlen(text) < MOST_TEXT;
        tenon_text_free(cx, &text);
        if (small) build(cx, network);
    }
    tenon_network_destroy(&network);
}

const fuzz_target fuzz_target_onnx = {.name = "onnx", .what = "a model: reader, passes, a build with timing off", .run = run};
