/* SPDX-License-Identifier: Apache-2.0 */
/* Every function of tenon.h is called with NULL for every pointer it takes, one at a time: TENON_INVALID and a message that names the
   argument, or nothing at all for those that cannot fail. What may be NULL by contract (options, destroy, free) is called so too. */
#include "check.h"
#include "digits.h"

static tenon_cx *cx;
static tenon_network *network;
static tenon_config *config;
static tenon_engine *engine;
static tenon_context *context;
static tenon_stream *stream;
static tenon_timing_cache *cache;

/* The message that a failure is told by. */
static const char *cx_said(void) { return tenon_cx_message(cx); }
static const char *config_said(void) { return tenon_config_message(config); }
static const char *context_said(void) { return tenon_context_message(context); }

static void refused(tenon_status status, const char *said, const char *argument, const char *call, int line)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "%s is NULL", argument);
    const bool good = status == TENON_INVALID && strstr(said, wanted);
    good ? check_passed++ : check_failed++;
    if (!good) fprintf(stderr, "%s:%d: %s: gave %s, \"%s\", wanted \"%s\"\n", __FILE__, line, call, tenon_status_name(status), said, wanted);
}
#define REFUSES(said, argument, call) refused((call), (said)(), (argument), #call, __LINE__)
/* Without the object that holds messages only the status can be given. */
#define INVALID(call) CHECK((call) == TENON_INVALID)

static void test_session(void)
{
    tenon_cx *none = NULL;
    INVALID(tenon_cx_create(NULL, NULL));
    INVALID(tenon_cx_create(&(tenon_cx_options){.allocator = &(tenon_allocator){0}}, &none));
    tenon_cx_destroy(NULL);
    tenon_cx_destroy(&none);
    CHECK(strstr(tenon_cx_message(NULL), "NULL"));
    tenon_text_free(NULL, NULL);
    tenon_text_free(cx, NULL);
}

static void test_network(const uint8_t *model, size_t bytes)
{
    tenon_network *n = NULL;
    tenon_binding_info info;
    char *text = NULL;
    INVALID(tenon_network_read_file(NULL, "x", NULL, &n));
    REFUSES(cx_said, "path", tenon_network_read_file(cx, NULL, NULL, &n));
    REFUSES(cx_said, "out", tenon_network_read_file(cx, "x", NULL, NULL));
    INVALID(tenon_network_read(NULL, model, bytes, NULL, &n));
    REFUSES(cx_said, "data", tenon_network_read(cx, NULL, bytes, NULL, &n));
    REFUSES(cx_said, "out", tenon_network_read(cx, model, bytes, NULL, NULL));
    tenon_network_destroy(NULL);
    tenon_network_destroy(&n);
    CHECK(tenon_network_binding_count(NULL) == 0);
    INVALID(tenon_network_binding(NULL, network, 0, &info));
    REFUSES(cx_said, "network", tenon_network_binding(cx, NULL, 0, &info));
    REFUSES(cx_said, "out", tenon_network_binding(cx, network, 0, NULL));
    INVALID(tenon_network_text(NULL, network, false, &text));
    REFUSES(cx_said, "network", tenon_network_text(cx, NULL, false, &text));
    REFUSES(cx_said, "out", tenon_network_text(cx, network, false, NULL));
    tenon_host_tensor tensor = {0};
    INVALID(tenon_network_run_reference(NULL, network, &tensor, 1, &tensor, 1));
    REFUSES(cx_said, "network", tenon_network_run_reference(cx, NULL, &tensor, 1, &tensor, 1));
    REFUSES(cx_said, "input", tenon_network_run_reference(cx, network, NULL, 1, &tensor, 1));
    REFUSES(cx_said, "output", tenon_network_run_reference(cx, network, &tensor, 1, NULL, 1));
    tenon_host_tensor nameless = {.dtype = TENON_F32, .rank = 4, .dim = {1, 1, 8, 8}};
    CHECK_FAILS(cx, tenon_network_run_reference(cx, network, &nameless, 1, &tensor, 1), TENON_INVALID, "missing");
    tenon_reference_free(NULL, &tensor, 1);
    tenon_reference_free(cx, NULL, 1);
}

static void test_adding(void)
{
    tenon_network *n = NULL, *body = NULL;
    tenon_value *x = NULL, *v = NULL;
    tenon_value_info value;
    tenon_node_info row;
    const int64_t dim[] = {2};
    float data[2] = {0};
    const tenon_host_tensor tensor = {.dtype = TENON_F32, .rank = 1, .dim = {2}, .data = data};
    INVALID(tenon_network_create(NULL, NULL, &n));
    REFUSES(cx_said, "out", tenon_network_create(cx, NULL, NULL));
    CHECK_OK(cx, tenon_network_create(cx, NULL, &n));
    INVALID(tenon_network_add_input(NULL, n, "x", TENON_F32, 1, dim, NULL, &x));
    REFUSES(cx_said, "network", tenon_network_add_input(cx, NULL, "x", TENON_F32, 1, dim, NULL, &x));
    REFUSES(cx_said, "name", tenon_network_add_input(cx, n, NULL, TENON_F32, 1, dim, NULL, &x));
    REFUSES(cx_said, "dim", tenon_network_add_input(cx, n, "x", TENON_F32, 1, NULL, NULL, &x));
    REFUSES(cx_said, "out", tenon_network_add_input(cx, n, "x", TENON_F32, 1, dim, NULL, NULL));
    CHECK_OK(cx, tenon_network_add_input(cx, n, "x", TENON_F32, 1, dim, NULL, &x));
    INVALID(tenon_network_add_constant(NULL, n, &tensor, TENON_COPY, &v));
    REFUSES(cx_said, "network", tenon_network_add_constant(cx, NULL, &tensor, TENON_COPY, &v));
    REFUSES(cx_said, "tensor", tenon_network_add_constant(cx, n, NULL, TENON_COPY, &v));
    REFUSES(cx_said, "out", tenon_network_add_constant(cx, n, &tensor, TENON_COPY, NULL));
    tenon_node_desc node = {.op = "Relu", .input = &x, .input_count = 1, .output_count = 1};
    INVALID(tenon_network_add_node(NULL, n, &node, &v));
    REFUSES(cx_said, "network", tenon_network_add_node(cx, NULL, &node, &v));
    REFUSES(cx_said, "node", tenon_network_add_node(cx, n, NULL, &v));
    REFUSES(cx_said, "out", tenon_network_add_node(cx, n, &node, NULL));
    node.input = NULL;
    REFUSES(cx_said, "input", tenon_network_add_node(cx, n, &node, &v));
    node.input_count = 0;
    node.attribute_count = 1;
    REFUSES(cx_said, "attribute", tenon_network_add_node(cx, n, &node, &v));
    node.op = NULL;
    REFUSES(cx_said, "op", tenon_network_add_node(cx, n, &node, &v));
    INVALID(tenon_network_mark_output(NULL, n, x, NULL, &v));
    REFUSES(cx_said, "network", tenon_network_mark_output(cx, NULL, x, NULL, &v));
    REFUSES(cx_said, "value", tenon_network_mark_output(cx, n, NULL, NULL, &v));
    INVALID(tenon_network_unmark_output(NULL, n, x));
    REFUSES(cx_said, "network", tenon_network_unmark_output(cx, NULL, x));
    REFUSES(cx_said, "value", tenon_network_unmark_output(cx, n, NULL));
    INVALID(tenon_network_create_body(NULL, n, NULL, &body));
    REFUSES(cx_said, "outer", tenon_network_create_body(cx, NULL, NULL, &body));
    REFUSES(cx_said, "out", tenon_network_create_body(cx, n, NULL, NULL));
    INVALID(tenon_network_value_info(NULL, n, x, &value));
    REFUSES(cx_said, "network", tenon_network_value_info(cx, NULL, x, &value));
    REFUSES(cx_said, "value", tenon_network_value_info(cx, n, NULL, &value));
    REFUSES(cx_said, "out", tenon_network_value_info(cx, n, x, NULL));
    INVALID(tenon_network_find_value(NULL, n, "x", &v));
    REFUSES(cx_said, "network", tenon_network_find_value(cx, NULL, "x", &v));
    REFUSES(cx_said, "name", tenon_network_find_value(cx, n, NULL, &v));
    REFUSES(cx_said, "out", tenon_network_find_value(cx, n, "x", NULL));
    CHECK(tenon_network_node_count(NULL) == 0);
    INVALID(tenon_network_node_info(NULL, n, 0, &row));
    REFUSES(cx_said, "network", tenon_network_node_info(cx, NULL, 0, &row));
    REFUSES(cx_said, "out", tenon_network_node_info(cx, n, 0, NULL));
    tenon_network_destroy(&n);
}

static void test_config(void)
{
    tenon_config *c = NULL;
    const int64_t one[] = {1, 1, 8, 8};
    int profile = 0;
    INVALID(tenon_config_create(NULL, &c));
    REFUSES(cx_said, "out", tenon_config_create(cx, NULL));
    tenon_config_destroy(NULL);
    tenon_config_destroy(&c);
    CHECK(strstr(tenon_config_message(NULL), "NULL"));
    INVALID(tenon_config_set_device(NULL, "cpu", 0));
    REFUSES(config_said, "backend", tenon_config_set_device(config, NULL, 0));
    INVALID(tenon_config_set_threads(NULL, 1));
    INVALID(tenon_config_set_workspace(NULL, 1));
    INVALID(tenon_config_set_optimization_level(NULL, 1));
    INVALID(tenon_config_set_timing(NULL, false));
    INVALID(tenon_config_set_timing_cache(NULL, NULL));
    CHECK(tenon_config_set_timing_cache(config, NULL) == TENON_OK);
    INVALID(tenon_config_set_refit(NULL, false));
    INVALID(tenon_config_set_tf32(NULL, false));
    INVALID(tenon_config_set_strict(NULL, false));
    INVALID(tenon_config_add_profile(NULL, &profile));
    REFUSES(config_said, "out", tenon_config_add_profile(config, NULL));
    INVALID(tenon_config_set_shape(NULL, 0, "x", 4, one, one, one));
    REFUSES(config_said, "input", tenon_config_set_shape(config, 0, NULL, 4, one, one, one));
    REFUSES(config_said, "min", tenon_config_set_shape(config, 0, "x", 4, NULL, one, one));
    REFUSES(config_said, "opt", tenon_config_set_shape(config, 0, "x", 4, one, NULL, one));
    REFUSES(config_said, "max", tenon_config_set_shape(config, 0, "x", 4, one, one, NULL));
}

static void test_cache(void)
{
    tenon_timing_cache *c = NULL;
    INVALID(tenon_timing_cache_create(NULL, NULL, 0, &c));
    REFUSES(cx_said, "out", tenon_timing_cache_create(cx, NULL, 0, NULL));
    INVALID(tenon_timing_cache_load(NULL, "x", &c));
    REFUSES(cx_said, "path", tenon_timing_cache_load(cx, NULL, &c));
    REFUSES(cx_said, "out", tenon_timing_cache_load(cx, "x", NULL));
    INVALID(tenon_timing_cache_save(NULL, cache, "x"));
    REFUSES(cx_said, "cache", tenon_timing_cache_save(cx, NULL, "x"));
    REFUSES(cx_said, "path", tenon_timing_cache_save(cx, cache, NULL));
    CHECK(tenon_timing_cache_count(NULL) == 0);
    tenon_timing_cache_destroy(NULL);
    tenon_timing_cache_destroy(&c);
}

static void test_engine(void)
{
    tenon_engine *e = NULL;
    tenon_binding_info info;
    const void *data = NULL;
    size_t bytes = 0;
    int64_t a[8], b[8], c[8];
    char *json = NULL;
    INVALID(tenon_build(NULL, network, config, &e));
    REFUSES(cx_said, "network", tenon_build(cx, NULL, config, &e));
    REFUSES(cx_said, "config", tenon_build(cx, network, NULL, &e));
    REFUSES(cx_said, "out", tenon_build(cx, network, config, NULL));
    INVALID(tenon_engine_save(NULL, engine, "x"));
    REFUSES(cx_said, "engine", tenon_engine_save(cx, NULL, "x"));
    REFUSES(cx_said, "path", tenon_engine_save(cx, engine, NULL));
    INVALID(tenon_engine_data(NULL, engine, &data, &bytes));
    REFUSES(cx_said, "engine", tenon_engine_data(cx, NULL, &data, &bytes));
    REFUSES(cx_said, "data", tenon_engine_data(cx, engine, NULL, &bytes));
    REFUSES(cx_said, "bytes", tenon_engine_data(cx, engine, &data, NULL));
    INVALID(tenon_engine_load(NULL, "x", NULL, &e));
    REFUSES(cx_said, "path", tenon_engine_load(cx, NULL, NULL, &e));
    REFUSES(cx_said, "out", tenon_engine_load(cx, "x", NULL, NULL));
    INVALID(tenon_engine_load_memory(NULL, a, sizeof a, NULL, &e));
    REFUSES(cx_said, "data", tenon_engine_load_memory(cx, NULL, 8, NULL, &e));
    REFUSES(cx_said, "out", tenon_engine_load_memory(cx, a, sizeof a, NULL, NULL));
    tenon_engine_destroy(NULL);
    tenon_engine_destroy(&e);
    CHECK(tenon_engine_binding_count(NULL) == 0 && tenon_engine_profile_count(NULL) == 0);
    INVALID(tenon_engine_binding(NULL, engine, 0, &info));
    REFUSES(cx_said, "engine", tenon_engine_binding(cx, NULL, 0, &info));
    REFUSES(cx_said, "out", tenon_engine_binding(cx, engine, 0, NULL));
    INVALID(tenon_engine_profile_shape(NULL, engine, 0, "x", a, b, c));
    REFUSES(cx_said, "engine", tenon_engine_profile_shape(cx, NULL, 0, "x", a, b, c));
    REFUSES(cx_said, "input", tenon_engine_profile_shape(cx, engine, 0, NULL, a, b, c));
    REFUSES(cx_said, "min", tenon_engine_profile_shape(cx, engine, 0, "x", NULL, b, c));
    REFUSES(cx_said, "opt", tenon_engine_profile_shape(cx, engine, 0, "x", a, NULL, c));
    REFUSES(cx_said, "max", tenon_engine_profile_shape(cx, engine, 0, "x", a, b, NULL));
    INVALID(tenon_engine_inspect(NULL, engine, &json));
    REFUSES(cx_said, "engine", tenon_engine_inspect(cx, NULL, &json));
    REFUSES(cx_said, "json", tenon_engine_inspect(cx, engine, NULL));
    INVALID(tenon_engine_set_weight(NULL, engine, "w", TENON_F32, a, 8));
    REFUSES(cx_said, "engine", tenon_engine_set_weight(cx, NULL, "w", TENON_F32, a, 8));
    REFUSES(cx_said, "name", tenon_engine_set_weight(cx, engine, NULL, TENON_F32, a, 8));
    REFUSES(cx_said, "data", tenon_engine_set_weight(cx, engine, "w", TENON_F32, NULL, 8));
    INVALID(tenon_engine_refit(NULL, engine));
    REFUSES(cx_said, "engine", tenon_engine_refit(cx, NULL));
}

static void count_step(void *user, size_t step, const char *layer, double seconds) { (void)user, (void)step, (void)layer, (void)seconds; }

static void test_context(void)
{
    tenon_context *c = NULL;
    tenon_stream *s = NULL;
    const void *data = NULL;
    size_t bytes = 0;
    int64_t dim[8] = {0};
    int rank = 0;
    CHECK(tenon_engine_context_bytes(NULL, 0) == 0);
    INVALID(tenon_context_create(NULL, engine, NULL, &c));
    REFUSES(cx_said, "engine", tenon_context_create(cx, NULL, NULL, &c));
    REFUSES(cx_said, "out", tenon_context_create(cx, engine, NULL, NULL));
    tenon_context_destroy(NULL);
    tenon_context_destroy(&c);
    CHECK(strstr(tenon_context_message(NULL), "NULL"));
    INVALID(tenon_context_set_shape(NULL, "x", 4, dim));
    REFUSES(context_said, "input", tenon_context_set_shape(context, NULL, 4, dim));
    REFUSES(context_said, "dim", tenon_context_set_shape(context, "x", 4, NULL));
    INVALID(tenon_context_shape(NULL, "x", &rank, dim));
    REFUSES(context_said, "binding", tenon_context_shape(context, NULL, &rank, dim));
    REFUSES(context_said, "rank", tenon_context_shape(context, "x", NULL, dim));
    REFUSES(context_said, "dim", tenon_context_shape(context, "x", &rank, NULL));
    INVALID(tenon_context_set_address(NULL, "x", dim, 8));
    REFUSES(context_said, "binding", tenon_context_set_address(context, NULL, dim, 8));
    REFUSES(context_said, "address", tenon_context_set_address(context, "x", NULL, 8));
    INVALID(tenon_context_output(NULL, "x", &data, &bytes));
    REFUSES(context_said, "binding", tenon_context_output(context, NULL, &data, &bytes));
    REFUSES(context_said, "data", tenon_context_output(context, "x", NULL, &bytes));
    REFUSES(context_said, "bytes", tenon_context_output(context, "x", &data, NULL));
    INVALID(tenon_context_run(NULL));
    INVALID(tenon_context_enqueue(NULL, stream));
    REFUSES(context_said, "stream", tenon_context_enqueue(context, NULL));
    INVALID(tenon_context_profile(NULL, count_step, NULL));
    REFUSES(context_said, "fn", tenon_context_profile(context, NULL, NULL));
    INVALID(tenon_stream_create(NULL, engine, &s));
    REFUSES(cx_said, "engine", tenon_stream_create(cx, NULL, &s));
    REFUSES(cx_said, "out", tenon_stream_create(cx, engine, NULL));
    INVALID(tenon_stream_wrap(NULL, engine, NULL, &s));
    REFUSES(cx_said, "engine", tenon_stream_wrap(cx, NULL, NULL, &s));
    REFUSES(cx_said, "out", tenon_stream_wrap(cx, engine, NULL, NULL));
    CHECK(!tenon_stream_native(NULL));
    INVALID(tenon_stream_synchronize(NULL, stream));
    REFUSES(cx_said, "stream", tenon_stream_synchronize(cx, NULL));
    tenon_stream_destroy(NULL);
    tenon_stream_destroy(&s);
}

static int64_t read_nothing(void *user, void *dst, size_t bytes) { return (void)user, (void)dst, (void)bytes, 0; }
static int64_t write_all(void *user, const void *src, size_t bytes) { return (void)user, (void)src, (int64_t)bytes; }
static void *give_nothing(void *user, size_t bytes, size_t alignment) { return (void)user, (void)bytes, (void)alignment, NULL; }
static void *no_output(void *user, const char *output, void *current, size_t bytes, size_t alignment)
{
    return (void)user, (void)output, (void)current, (void)bytes, (void)alignment, NULL;
}

static void test_callbacks(void)
{
    tenon_engine *e = NULL;
    bool alias = true;
    const tenon_reader none = {0}, empty = {.read = read_nothing};
    const tenon_device_allocator half = {.alloc = give_nothing};
    const tenon_output_allocator incomplete = {0}, output = {.reallocate = no_output};
    INVALID(tenon_engine_load_reader(NULL, &empty, NULL, &e));
    REFUSES(cx_said, "reader", tenon_engine_load_reader(cx, NULL, NULL, &e));
    REFUSES(cx_said, "read", tenon_engine_load_reader(cx, &none, NULL, &e));
    REFUSES(cx_said, "out", tenon_engine_load_reader(cx, &empty, NULL, NULL));
    INVALID(tenon_engine_save_writer(NULL, engine, write_all, NULL));
    REFUSES(cx_said, "engine", tenon_engine_save_writer(cx, NULL, write_all, NULL));
    REFUSES(cx_said, "write", tenon_engine_save_writer(cx, engine, NULL, NULL));
    INVALID(tenon_config_set_device_allocator(NULL, NULL));
    REFUSES(config_said, "free", tenon_config_set_device_allocator(config, &half));
    CHECK(tenon_config_set_device_allocator(config, NULL) == TENON_OK);
    INVALID(tenon_context_set_memory(NULL, NULL, 0));
    REFUSES(context_said, "memory", tenon_context_set_memory(context, NULL, 64));
    INVALID(tenon_context_set_output_allocator(NULL, "y", &output));
    REFUSES(context_said, "output", tenon_context_set_output_allocator(context, NULL, &output));
    REFUSES(context_said, "reallocate", tenon_context_set_output_allocator(context, "y", &incomplete));
    CHECK(tenon_context_set_output_allocator(context, "y", NULL) == TENON_OK);
    INVALID(tenon_engine_alias(NULL, engine, 0, "x", "y", &alias));
    REFUSES(cx_said, "engine", tenon_engine_alias(cx, NULL, 0, "x", "y", &alias));
    REFUSES(cx_said, "input", tenon_engine_alias(cx, engine, 0, NULL, "y", &alias));
    REFUSES(cx_said, "output", tenon_engine_alias(cx, engine, 0, "x", NULL, &alias));
    REFUSES(cx_said, "out", tenon_engine_alias(cx, engine, 0, "x", "y", NULL));
}

static void test_queries(void)
{
    tenon_config_info settings;
    tenon_engine_info facts;
    tenon_layer_info layer;
    tenon_platform platform;
    char *json = NULL;
    int rank;
    int64_t dim[TENON_MAX_RANK];
    INVALID(tenon_config_describe(NULL, &settings));
    REFUSES(config_said, "out", tenon_config_describe(config, NULL));
    INVALID(tenon_config_shape(NULL, 0, "x", &rank, dim, dim, dim));
    REFUSES(config_said, "input", tenon_config_shape(config, 0, NULL, &rank, dim, dim, dim));
    REFUSES(config_said, "rank", tenon_config_shape(config, 0, "x", NULL, dim, dim, dim));
    REFUSES(config_said, "min", tenon_config_shape(config, 0, "x", &rank, NULL, dim, dim));
    REFUSES(config_said, "opt", tenon_config_shape(config, 0, "x", &rank, dim, NULL, dim));
    REFUSES(config_said, "max", tenon_config_shape(config, 0, "x", &rank, dim, dim, NULL));
    INVALID(tenon_engine_describe(NULL, engine, &facts));
    REFUSES(cx_said, "engine", tenon_engine_describe(cx, NULL, &facts));
    REFUSES(cx_said, "out", tenon_engine_describe(cx, engine, NULL));
    CHECK(tenon_engine_layer_count(NULL, 0) == 0 && tenon_engine_layer_count(engine, -1) == 0 && tenon_engine_layer_count(engine, 9) == 0);
    INVALID(tenon_engine_layer(NULL, engine, 0, 0, &layer));
    REFUSES(cx_said, "engine", tenon_engine_layer(cx, NULL, 0, 0, &layer));
    REFUSES(cx_said, "out", tenon_engine_layer(cx, engine, 0, 0, NULL));
    INVALID(tenon_engine_layer_inspect(NULL, engine, 0, 0, &json));
    REFUSES(cx_said, "engine", tenon_engine_layer_inspect(cx, NULL, 0, 0, &json));
    REFUSES(cx_said, "json", tenon_engine_layer_inspect(cx, engine, 0, 0, NULL));
    tenon_weight_info weight;
    size_t bytes = 1;
    CHECK(tenon_engine_weight_count(NULL) == 0);
    INVALID(tenon_engine_weight_info(NULL, engine, 0, &weight));
    REFUSES(cx_said, "engine", tenon_engine_weight_info(cx, NULL, 0, &weight));
    REFUSES(cx_said, "out", tenon_engine_weight_info(cx, engine, 0, NULL));
    INVALID(tenon_engine_binding_bytes(NULL, engine, 0, "x", &bytes));
    REFUSES(cx_said, "engine", tenon_engine_binding_bytes(cx, NULL, 0, "x", &bytes));
    REFUSES(cx_said, "binding", tenon_engine_binding_bytes(cx, engine, 0, NULL, &bytes));
    REFUSES(cx_said, "out", tenon_engine_binding_bytes(cx, engine, 0, "x", NULL));
    CHECK(!tenon_context_unset_input(NULL));
    INVALID(tenon_context_profile_report(NULL, &json));
    REFUSES(context_said, "json", tenon_context_profile_report(context, NULL));
    INVALID(tenon_platform_query(NULL, "cpu", 0, &platform));
    REFUSES(cx_said, "backend", tenon_platform_query(cx, NULL, 0, &platform));
    REFUSES(cx_said, "out", tenon_platform_query(cx, "cpu", 0, NULL));
}

static void test_tables(void)
{
    char *json = NULL, byte = 0;
    void *p = NULL;
    INVALID(tenon_list(NULL, "ops", &json));
    REFUSES(cx_said, "what", tenon_list(cx, NULL, &json));
    REFUSES(cx_said, "json", tenon_list(cx, "ops", NULL));
    INVALID(tenon_device_alloc(NULL, engine, 8, &p));
    REFUSES(cx_said, "engine", tenon_device_alloc(cx, NULL, 8, &p));
    REFUSES(cx_said, "out", tenon_device_alloc(cx, engine, 8, NULL));
    tenon_device_free(NULL, NULL, NULL);
    tenon_device_free(cx, NULL, &byte);
    tenon_device_free(cx, engine, NULL);
    INVALID(tenon_device_upload(NULL, engine, &byte, &byte, 1));
    REFUSES(cx_said, "engine", tenon_device_upload(cx, NULL, &byte, &byte, 1));
    REFUSES(cx_said, "dst", tenon_device_upload(cx, engine, NULL, &byte, 1));
    REFUSES(cx_said, "src", tenon_device_upload(cx, engine, &byte, NULL, 1));
    CHECK_OK(cx, tenon_device_upload(cx, engine, NULL, NULL, 0));
    INVALID(tenon_device_download(NULL, engine, &byte, &byte, 1));
    REFUSES(cx_said, "engine", tenon_device_download(cx, NULL, &byte, &byte, 1));
    REFUSES(cx_said, "dst", tenon_device_download(cx, engine, NULL, &byte, 1));
    REFUSES(cx_said, "src", tenon_device_download(cx, engine, &byte, NULL, 1));
    tenon_peak peak;
    tenon_step_work work;
    INVALID(tenon_engine_peak(NULL, engine, &peak));
    REFUSES(cx_said, "engine", tenon_engine_peak(cx, NULL, &peak));
    REFUSES(cx_said, "out", tenon_engine_peak(cx, engine, NULL));
    CHECK(!*tenon_engine_device(NULL));
    INVALID(tenon_context_work(NULL, 1, &work));
    REFUSES(context_said, "out", tenon_context_work(context, 1, NULL));
}

/* So that a new function of the header cannot be forgotten: each is named in this file. */
static void test_all_named(void)
{
    static char header[1 << 16], self[1 << 16];
    FILE *h = fopen(TENON_SOURCE_DIR "/include/tenon.h", "rb"), *s = fopen(__FILE__, "rb");
    if (h && s && fread(header, 1, sizeof header - 1, h) && fread(self, 1, sizeof self - 1, s)) {
        int functions = 0;
        for (const char *at = header; (at = strstr(at, "\nTENON_API ")); at++) {
            const char *open = strchr(at, '('), *name = open;
            char called[80];
            while (name[-1] == '_' || (name[-1] >= 'a' && name[-1] <= 'z')) name--;
            snprintf(called, sizeof called, "%.*s(", (int)(open - name), name);
            const bool found = strstr(self, called) || !strcmp(called, "tenon_version(") || !strncmp(called, "tenon_dtype_", 12);
            CHECK(found);
            if (!found) fprintf(stderr, "not called here: %s\n", called);
            functions++;
        }
        CHECK(functions > 50);
    } else {
        CHECK(!"the header and this file can be read");
    }
    if (h) fclose(h);
    if (s) fclose(s);
}

int main(void)
{
    CHECK(tenon_cx_create(NULL, &cx) == TENON_OK);
    size_t bytes;
    int profile;
    uint8_t *model = digits_model(&bytes);
    CHECK_OK(cx, tenon_network_read(cx, model, bytes, NULL, &network));
    CHECK_OK(cx, tenon_config_create(cx, &config));
    CHECK(tenon_config_set_device(config, "null", 0) == TENON_OK && tenon_config_set_timing(config, false) == TENON_OK &&
          tenon_config_set_refit(config, true) == TENON_OK && tenon_config_add_profile(config, &profile) == TENON_OK);
    CHECK_OK(cx, tenon_timing_cache_create(cx, NULL, 0, &cache));
    if (CHECK_OK(cx, tenon_build(cx, network, config, &engine)) &&
        CHECK_OK(cx, tenon_context_create(cx, engine, NULL, &context)) && CHECK_OK(cx, tenon_stream_create(cx, engine, &stream))) {
        test_session();
        test_network(model, bytes);
        test_adding();
        test_config();
        test_cache();
        test_engine();
        test_context();
        test_callbacks();
        test_queries();
        test_tables();
        test_all_named();
    }
    tenon_stream_destroy(&stream);
    tenon_context_destroy(&context);
    tenon_engine_destroy(&engine);
    tenon_timing_cache_destroy(&cache);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    tenon_cx_destroy(&cx);
    free(model);
    return CHECK_END();
}
