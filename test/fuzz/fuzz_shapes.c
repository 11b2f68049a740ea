/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as calls: profiles and shapes of a small network with three dynamic dims, builds, then contexts with shapes, addresses of
   buffers that may be too small, and runs. Buffers have exactly the size that is told, so that a write behind it is seen. Of each
   call one byte says which, the next ones its arguments; sizes are mostly those that are asked for in mischief. */
#include "fuzz.h"

#include "base/buf.h"
#include "onnx/onnx.h"
#include "op/op.h"

enum { BUFFERS = 8, MOST_BUILDS = 3, MOST_RUNS = 16, MOST_BUFFER = 1 << 20 };

typedef struct session {
    tenon_cx *cx;
    const uint8_t *at, *end;
    tenon_network *network;
    tenon_config *config;
    tenon_engine *engine;
    tenon_context *context;
    void *buffer[BUFFERS];
    int builds, runs;
} session;

static uint8_t next(session *s) { return s->at < s->end ? *s->at++ : 0; }

static int64_t next_size(session *s)
{
    static const int64_t telling[] = {0, -1, INT64_MAX, INT64_MIN, INT32_MAX, (int64_t)1 << 32, (int64_t)1 << 61, 65536, 4097, 1000};
    const uint8_t b = next(s);
    return b < 200 ? b % 9 : telling[b % TENON_COUNTOF(telling)];
}

static const char *next_name(session *s)
{
    static const char *const name[] = {"x", "y", "x", "y", "m", "r", "", "nobody"};
    return name[next(s) % TENON_COUNTOF(name)];
}

static int next_dims(session *s, int64_t dim[TENON_MAX_RANK])
{
    const uint8_t b = next(s);
    const int rank = b < 230 ? 3 : b % (TENON_MAX_RANK + 1);
    for (int i = 0; i < TENON_MAX_RANK; i++) dim[i] = i < rank ? next_size(s) : 0;
    if (b < 128) dim[2] = 4; /* the static one */
    return rank;
}

/* The network as ONNX, made once: the bytes are the target's own memory, not the library's. */
static const uint8_t *model(size_t *bytes)
{
    static uint8_t *data;
    static size_t length;
    if (!data) {
        static const char text[] =
            "graph(x: f32[n,t,4], y: f32[n,k,4] where n=1..*, t=1..*, k=1..*) {\n"
            "  w: f32[4,6] = const #1\n"
            "  a = concat(x, y) axis=1\n"
            "  b = matmul(a, w)\n"
            "  m = relu(b)\n"
            "  s: i64[3] = const {0,-1,3}\n"
            "  c = reshape(m, s)\n"
            "  d = transpose(c) perm=0+2+1\n"
            "  r = softmax(d) axis=2\n"
            "  return m, r\n"
            "}\n";
        tenon_cx cx;
        tenon_arena arena;
        tenon_graph *g;
        tenon_buf out;
        tenon_cx_init_default(&cx);
        tenon_arena_init(&arena, &cx);
        tenon_buf_init(&out, &cx);
        if (tenon_graph_parse(&cx, &arena, tenon_op_find, text, &g) || tenon_infer_graph(&cx, g) || tenon_onnx_write(&cx, g, &out)) {
            fprintf(stderr, "fuzz shapes: its network: %s\n", cx.message);
            exit(2);
        }
        data = malloc(out.length);
        if (!data) exit(2);
        memcpy(data, out.data, length = out.length);
        tenon_buf_free(&out);
        tenon_arena_free(&arena);
    }
    *bytes = length;
    return data;
}

static void set_range(session *s)
{
    int64_t least[TENON_MAX_RANK], best[TENON_MAX_RANK], greatest[TENON_MAX_RANK];
    const int profile = next(s) % 4 - 1;
    const char *name = next_name(s);
    const int rank = next_dims(s, least);
    (void)next_dims(s, best);
    (void)next_dims(s, greatest);
    for (int i = 0; i < rank && next(s) % 4; i++) { /* most ranges are in order */
        best[i] = TENON_MAX(best[i], least[i]);
        greatest[i] = TENON_MAX(greatest[i], best[i]);
    }
    const tenon_status status = tenon_config_set_shape(s->config, profile, name, rank, least, best, greatest);
    FUZZ_DEMAND(status == TENON_OK || *tenon_config_message(s->config));
}

static void build(session *s)
{
    if (s->builds++ >= MOST_BUILDS) return;
    tenon_context_destroy(&s->context);
    tenon_engine_destroy(&s->engine);
    (void)fuzz_ok(s->cx, tenon_build(s->cx, s->network, s->config, &s->engine));
}

static void make_context(session *s)
{
    tenon_context_destroy(&s->context);
    const tenon_context_options options = {.profile = next(s) % 4 - 1};
    if (s->engine) (void)fuzz_ok(s->cx, tenon_context_create(s->cx, s->engine, &options, &s->context));
}

static void set_address(session *s)
{
    static const size_t extra[] = {0, 0, 0, 0, 1, 4};
    const uint8_t which = next(s) % BUFFERS, b = next(s);
    const char *name = next_name(s);
    int rank;
    int64_t dim[TENON_MAX_RANK];
    size_t bytes = (size_t)b * 7;
    if (b < 192 && tenon_context_shape(s->context, name, &rank, dim) == TENON_OK) {
        uint64_t want = 4; /* as many as it wants, or some less */
        for (int i = 0; i < rank && want < MOST_BUFFER; i++) want *= dim[i] > 0 && dim[i] < MOST_BUFFER ? (uint64_t)dim[i] : 0;
        bytes = (size_t)want - TENON_MIN((size_t)want, extra[b % TENON_COUNTOF(extra)]);
    }
    if (bytes > MOST_BUFFER) return;
    void *now = calloc(1, bytes ? bytes : 1);
    const tenon_status status = tenon_context_set_address(s->context, name, now, bytes);
    FUZZ_DEMAND(status == TENON_OK || *tenon_context_message(s->context));
    if (s->buffer[which]) { /* whoever had it loses it, and has to be told of another before it runs */
        static const char *const all[] = {"x", "y", "m", "r"};
        for (size_t i = 0; i < TENON_COUNTOF(all); i++) (void)!tenon_context_set_address(s->context, all[i], NULL, 0);
    }
    free(s->buffer[which]);
    s->buffer[which] = now;
}

static void use_context(session *s, uint8_t what)
{
    int64_t dim[TENON_MAX_RANK];
    int rank;
    tenon_status status = TENON_OK;
    if (what == 0) {
        rank = next_dims(s, dim);
        status = tenon_context_set_shape(s->context, next_name(s), rank, dim);
    } else if (what == 1) {
        set_address(s);
    } else if (what == 2) {
        status = tenon_context_shape(s->context, next_name(s), &rank, dim);
        FUZZ_DEMAND(rank >= 0 && rank <= TENON_MAX_RANK);
    } else if (s->runs++ < MOST_RUNS) {
        status = tenon_context_run(s->context);
    }
    FUZZ_DEMAND(status == TENON_OK || (status != TENON_INTERNAL && *tenon_context_message(s->context)));
}

static void run(tenon_cx *cx, const uint8_t *data, size_t size)
{
    session s = {.cx = cx, .at = data, .end = data + size};
    size_t bytes;
    const uint8_t *onnx = model(&bytes);
    int profile;
    if (!fuzz_ok(cx, tenon_network_read(cx, onnx, bytes, NULL, &s.network)) || !fuzz_ok(cx, tenon_config_create(cx, &s.config)) ||
        tenon_config_set_device(s.config, "cpu", 0) || tenon_config_set_threads(s.config, 1) || tenon_config_set_timing(s.config, false))
        s.end = s.at;
    while (s.at < s.end) {
        const uint8_t what = next(&s) % 12;
        if (what == 0) (void)!tenon_config_add_profile(s.config, &profile);
        else if (what <= 2) set_range(&s);
        else if (what == 3) build(&s);
        else if (what == 4) make_context(&s);
        else if (s.context) use_context(&s, what % 4);
    }
    tenon_context_destroy(&s.context);
    tenon_engine_destroy(&s.engine);
    tenon_config_destroy(&s.config);
    tenon_network_destroy(&s.network);
    for (int i = 0; i < BUFFERS; i++) free(s.buffer[i]);
}

const fuzz_target fuzz_target_shapes = {
    .name = "shapes", .what = "calls: profiles, shapes, addresses, builds and runs of a small network", .run = run};
