/* SPDX-License-Identifier: Apache-2.0 */
/* What a program may take into its own hands: errors as they happen, the bytes of engines, device memory, the memory of a context and
   of outputs, and outputs that lie on inputs. */
#include "check.h"
#include "digits.h"
#include "pb.h"
#include "run/engine.h"

/* ---- errors ---- */
typedef struct heard { int count; tenon_status status[8]; char message[8][256]; } heard;

static void on_error(void *user, tenon_status status, const char *message)
{
    heard *h = user;
    if (h->count < 8) {
        h->status[h->count] = status;
        snprintf(h->message[h->count], sizeof h->message[0], "%.255s", message);
    }
    h->count++;
}

static void quiet(void *user, tenon_severity severity, const char *message) { (void)user, (void)severity, (void)message; }

static heard errors;
static tenon_cx *cx;

/* The last call failed, and was told once, with the message that the object gives. */
static bool told_once(tenon_status status, const char *message)
{
    const bool good = errors.count == 1 && errors.status[0] == status && !strncmp(errors.message[0], message, 255) && *message;
    if (!good) fprintf(stderr, "told %d times, \"%s\", wanted \"%s\"\n", errors.count, errors.message[0], message);
    errors.count = 0;
    return good;
}

static tenon_network *digits(void)
{
    static uint8_t *model;
    static size_t bytes;
    if (!model) model = digits_model(&bytes);
    tenon_network *n = NULL;
    CHECK_OK(cx, tenon_network_read(cx, model, bytes, NULL, &n));
    return n;
}

static tenon_config *configure(const char *backend, int64_t most)
{
    tenon_config *c = NULL;
    int profile;
    CHECK_OK(cx, tenon_config_create(cx, &c));
    CHECK(tenon_config_set_device(c, backend, 0) == TENON_OK && tenon_config_set_threads(c, 1) == TENON_OK &&
          tenon_config_set_timing(c, false) == TENON_OK && tenon_config_set_refit(c, true) == TENON_OK);
    if (most) {
        const int64_t lo[] = {1, 1, 8, 8}, hi[] = {most, 1, 8, 8};
        CHECK(tenon_config_add_profile(c, &profile) == TENON_OK && tenon_config_set_shape(c, profile, "x", 4, lo, lo,
                hi) == TENON_OK);
    }
    return c;
}

static tenon_engine *build(tenon_network *n, tenon_config *c)
{
    tenon_engine *e = NULL;
    CHECK_OK(cx, tenon_build(cx, n, c, &e));
    return e;
}

static void test_errors(void)
{
    tenon_network *n = NULL;
    const tenon_status status = tenon_network_read_file(cx, "/nowhere/model.onnx", NULL, &n);
    CHECK(status != TENON_OK && told_once(status, tenon_cx_message(cx)));
    CHECK(tenon_network_read(cx, NULL, 4, NULL, &n) == TENON_INVALID && told_once(TENON_INVALID, tenon_cx_message(cx)));
    /* both operators that are missing, and then the call */
    tenon_buf graph, model;
    pb_buf(&graph, cx);
    pb_buf(&model, cx);
    pb_value(&graph, 11, "x", 1, "2,3");
    pb_value(&graph, 12, "y", 1, NULL);
    pb_node(&graph, 1, "Frobnicate", "", "x", "t", NULL);
    pb_node(&graph, 1, "Mystify", "", "t", "y", NULL);
    pb_model(&model, &graph, 17);
    CHECK(tenon_network_read(cx, model.data, model.length, NULL, &n) == TENON_UNSUPPORTED);
    CHECK(errors.count == 3 && errors.status[0] == TENON_UNSUPPORTED && strstr(errors.message[0], "no operator Frobnicate") &&
          strstr(errors.message[1], "no operator Mystify") && strstr(errors.message[2], "2 operators"));
    errors.count = 0;
    tenon_buf_free(&graph);
    tenon_buf_free(&model);
    /* configuration, context and stream report where their session does */
    n = digits();
    tenon_config *c = configure("null", 4);
    CHECK(tenon_config_set_threads(c, -1) == TENON_INVALID && told_once(TENON_INVALID, tenon_config_message(c)));
    tenon_engine *e = build(n, c);
    tenon_context *context = NULL;
    CHECK_OK(cx, tenon_context_create(cx, e, NULL, &context));
    CHECK(errors.count == 0);
    CHECK(tenon_context_run(context) == TENON_INVALID && told_once(TENON_INVALID, tenon_context_message(context)));
    CHECK(tenon_context_set_shape(context, "x", 2, (int64_t[]){1, 1}) == TENON_INVALID && told_once(TENON_INVALID,
            tenon_context_message(context)));
    CHECK(tenon_context_create(cx, e, &(tenon_context_options){.profile = 7}, &(tenon_context *){NULL}) == TENON_INVALID &&
          told_once(TENON_INVALID, tenon_cx_message(cx)));
    tenon_value *v;
    CHECK(tenon_network_add_node(cx, n, &(tenon_node_desc){.op = "Relu", .output_count = 1}, &v) == TENON_INVALID &&
          told_once(TENON_INVALID, tenon_cx_message(cx)));
    /* what fails inside and is made good is no failure: "auto" passes over what is not there */
    CHECK(tenon_config_set_device(c, "auto", 0) == TENON_OK);
    tenon_engine *second = build(n, c);
    char *json = NULL;
    CHECK_OK(cx, tenon_list(cx, "devices", &json));
    tenon_text_free(cx, &json);
    CHECK(errors.count == 0);
    tenon_engine_destroy(&second);
    tenon_context_destroy(&context);
    tenon_engine_destroy(&e);
    tenon_config_destroy(&c);
    tenon_network_destroy(&n);
}

/* ---- the bytes of engines ---- */
typedef struct store { uint8_t *data; size_t bytes, at, most, calls; int seeks, fail; } store;

static int64_t store_read(void *user, void *dst, size_t bytes)
{
    store *s = user;
    s->calls++;
    if (s->fail == 1) return -1;
    if (s->fail == 2) return (int64_t)bytes + 1;
    size_t n = bytes < s->bytes - s->at ? bytes : s->bytes - s->at;
    if (s->most && n > s->most) n = s->most;
    memcpy(dst, s->data + s->at, n);
    s->at += n;
    return (int64_t)n;
}

static int store_seek(void *user, uint64_t offset)
{
    store *s = user;
    s->seeks++;
    if (offset >= s->bytes) return -1;
    s->at = offset;
    return 0;
}

static int64_t store_write(void *user, const void *src, size_t bytes)
{
    store *s = user;
    if (s->fail && s->bytes > 1000) return s->fail == 1 ? -1 : 0;
    const size_t n = s->most && bytes > s->most ? s->most : bytes;
    uint8_t *more = realloc(s->data, s->bytes + n);
    if (!more) return -1;
    s->data = more;
    memcpy(s->data + s->bytes, src, n);
    s->bytes += n;
    return (int64_t)n;
}

static void test_reader(void)
{
    tenon_network *n = digits();
    tenon_config *c = configure("cpu", 4);
    tenon_engine *e = build(n, c), *again = NULL;
    store s = {.most = 777};
    const void *data, *same;
    size_t bytes, same_bytes;
    CHECK_OK(cx, tenon_engine_data(cx, e, &data, &bytes));
    CHECK_OK(cx, tenon_engine_save_writer(cx, e, store_write, &s));
    CHECK(s.bytes == bytes && !memcmp(s.data, data, bytes));
    uint8_t *tail = realloc(s.data, bytes + 5); /* something else follows in the archive */
    CHECK(tail != NULL);
    s.data = tail;
    s.bytes = bytes + 5;
    for (int seeks = 0; seeks < 2; seeks++)
        for (size_t most = 0; most < 1000; most += 501) {
            s.at = s.calls = 0;
            s.seeks = 0;
            s.most = most;
            const tenon_reader r = {store_read, seeks ? store_seek : NULL, &s};
            if (CHECK_OK(cx, tenon_engine_load_reader(cx, &r, NULL, &again))) {
                CHECK_OK(cx, tenon_engine_data(cx, again, &same, &same_bytes));
                CHECK(same_bytes == bytes && !memcmp(same, data, bytes) && s.at == bytes && s.seeks == 2 * seeks);
                CHECK(most == 0 || s.calls > bytes / 1000);
            }
            tenon_engine_destroy(&again);
        }
    const tenon_reader r = {store_read, NULL, &s}, seeking = {store_read, store_seek, &s};
    errors.count = 0;
    s.at = 0, s.fail = 1;
    CHECK_FAILS(cx, tenon_engine_load_reader(cx, &r, NULL, &again), TENON_INVALID, "read function failed");
    CHECK(told_once(TENON_INVALID, tenon_cx_message(cx)));
    s.fail = 2;
    CHECK_FAILS(cx, tenon_engine_load_reader(cx, &r, NULL, &again), TENON_INVALID, "read function failed");
    s.fail = 0;
    for (size_t cut = 0; cut < 4; cut++) { /* cut short: nothing, in the header, behind it, at the last byte */
        s.bytes = (size_t[]){0, 100, 4000, bytes - 1}[cut];
        s.at = 0;
        CHECK(tenon_engine_load_reader(cx, &r, NULL, &again) != TENON_OK && !again);
        s.at = 0;
        CHECK(tenon_engine_load_reader(cx, &seeking, NULL, &again) != TENON_OK && !again);
    }
    s.bytes = bytes, s.at = 0;
    ((tenon_rec_header *)(void *)s.data)->file_bytes = UINT64_C(1) << 40; /* a claim that no memory is taken for */
    CHECK(tenon_engine_load_reader(cx, &r, NULL, &again) == TENON_CORRUPT);
    s.at = 0;
    CHECK_FAILS(cx, tenon_engine_load_reader(cx, &seeking, NULL, &again), TENON_CORRUPT, "it claims");
    s.data[0] = 'p', s.data[1] = 't', s.data[2] = 'r', s.data[3] = 't', s.at = 0;
    CHECK(tenon_engine_load_reader(cx, &r, NULL, &again) == TENON_CORRUPT);
    free(s.data);
    for (int fail = 1; fail < 3; fail++) {
        s = (store){.fail = fail, .most = 600};
        CHECK_FAILS(cx, tenon_engine_save_writer(cx, e, store_write, &s), TENON_INVALID, "write function failed at byte 1200");
        free(s.data);
    }
    tenon_engine_destroy(&e);
    tenon_config_destroy(&c);
    tenon_network_destroy(&n);
    errors.count = 0;
}

/* ---- device memory ---- */
typedef struct pool { long calls, live, fail_at; size_t bytes; bool crooked; } pool;

static void *pool_alloc(void *user, size_t bytes, size_t alignment)
{
    pool *p = user;
    void *out = NULL;
    if (++p->calls == p->fail_at || posix_memalign(&out, alignment < 128 ? 128 : alignment, bytes + 128)) return NULL;
    p->live++;
    p->bytes += bytes;
    return (char *)out + (p->crooked ? 8 : 0);
}

static void pool_free(void *user, void *p)
{
    pool *from = user;
    from->live--;
    free((char *)p - (from->crooked ? 8 : 0));
}

static bool run_digits(tenon_context *c, int batch, float *y)
{
    static float x[4 * 64];
    digits_input(x, batch);
    const tenon_status status = tenon_context_set_shape(c, "x", 4, (int64_t[]){batch, 1, 8, 8}) == TENON_OK &&
                                        tenon_context_set_address(c, "x", x, (size_t)batch * 256) == TENON_OK &&
                                        (!y || tenon_context_set_address(c, "y", y, (size_t)batch * 40) == TENON_OK)
                                    ? tenon_context_run(c)
                                    : TENON_INTERNAL;
    if (status != TENON_OK) fprintf(stderr, "%s\n", tenon_context_message(c));
    return status == TENON_OK;
}

static void test_device_memory(void)
{
    pool own = {0}, other = {0};
    const tenon_device_allocator from_own = {pool_alloc, pool_free, &own}, from_other = {pool_alloc, pool_free, &other};
    tenon_network *n = digits();
    tenon_config *c = configure("cpu", 4);
    CHECK(tenon_config_set_device_allocator(c, &from_own) == TENON_OK);
    tenon_engine *e = build(n, c), *loaded = NULL;
    tenon_context *a = NULL, *b = NULL;
    float want[40], got[40];
    const size_t need = tenon_engine_context_bytes(e, 0);
    CHECK(need > 0);
    CHECK_OK(cx, tenon_context_create(cx, e, NULL, &a));
    CHECK(own.live > 0 && own.bytes >= need);
    CHECK(run_digits(a, 4, want));
    CHECK_OK(cx, tenon_context_create(cx, e, &(tenon_context_options){.device_allocator = &from_other}, &b));
    CHECK(other.live > 0 && other.bytes >= need && run_digits(b, 4, got) && !memcmp(got, want, sizeof got));
    tenon_context_destroy(&b);
    CHECK(other.live == 0);
    tenon_context_destroy(&a);
    const void *data;
    size_t bytes;
    CHECK_OK(cx, tenon_engine_data(cx, e, &data, &bytes));
    CHECK_OK(cx, tenon_engine_load_memory(cx, data, bytes, &(tenon_load_options){.device_allocator = &from_other}, &loaded));
    CHECK_OK(cx, tenon_context_create(cx, loaded, NULL, &b));
    CHECK(other.live > 0 && run_digits(b, 4, got) && !memcmp(got, want, sizeof got));
    tenon_context_destroy(&b);
    tenon_engine_destroy(&loaded);
    tenon_engine_destroy(&e);
    CHECK(own.live == 0 && other.live == 0);

    /* refused: half an allocator, none left, a crooked one */
    const tenon_device_allocator half = {.alloc = pool_alloc};
    e = build(n, c);
    CHECK_FAILS(cx, tenon_context_create(cx, e, &(tenon_context_options){.device_allocator = &half}, &b), TENON_INVALID,
                "free is NULL");
    CHECK_FAILS(cx, tenon_engine_load_memory(cx, data, 0, &(tenon_load_options){.device_allocator = &half}, &loaded),
                TENON_INVALID, "empty");
    other = (pool){.fail_at = 1};
    CHECK_FAILS(cx, tenon_context_create(cx, e, &(tenon_context_options){.device_allocator = &from_other}, &b), TENON_NOMEM,
                "has no memory for");
    other = (pool){.crooked = true};
    CHECK_FAILS(cx, tenon_context_create(cx, e, &(tenon_context_options){.device_allocator = &from_other}, &b), TENON_INVALID,
                "not aligned");
    CHECK(other.live == 0);
    tenon_engine_destroy(&e);
    CHECK(own.live == 0);
    tenon_config_destroy(&c);
    tenon_network_destroy(&n);
}

static void test_context_memory(void)
{
    tenon_network *n = digits();
    tenon_config *c = configure("cpu", 4);
    tenon_engine *e = build(n, c);
    tenon_context *a = NULL, *b = NULL;
    float want[40], got[40];
    const size_t need = tenon_engine_context_bytes(e, 0);
    void *memory = NULL;
    CHECK(posix_memalign(&memory, 64, need + 64) == 0);
    CHECK_OK(cx, tenon_context_create(cx, e, NULL, &a));
    CHECK(run_digits(a, 4, want));
    CHECK_OK(cx, tenon_context_create(cx, e, &(tenon_context_options){.memory_later = true}, &b));
    CHECK(tenon_context_set_shape(b, "x", 4, (int64_t[]){1, 1, 8, 8}) == TENON_OK);
    CHECK(tenon_context_set_address(b, "x", got, 256) == TENON_OK && tenon_context_set_address(b, "y", want, 40) == TENON_OK);
    CHECK(tenon_context_run(b) == TENON_INVALID && strstr(tenon_context_message(b), "no memory for its activations"));
    CHECK(tenon_context_set_memory(b, memory, need - 1) == TENON_INVALID && strstr(tenon_context_message(b), "needs"));
    CHECK(tenon_context_set_memory(b, (char *)memory + 8, need) == TENON_INVALID && strstr(tenon_context_message(b),
            "aligned to 64"));
    CHECK(tenon_context_set_memory(b, memory, need) == TENON_OK);
    CHECK(run_digits(a, 4, want) && run_digits(b, 4, got) && !memcmp(got, want, sizeof got));
    /* both in the same memory, one after the other; what the first had is given back */
    CHECK(tenon_context_set_memory(a, memory, need) == TENON_OK);
    for (int i = 0; i < 3; i++) {
        memset(memory, 0xab, need);
        memset(got, 0, sizeof got);
        CHECK(run_digits(i % 2 ? a : b, 4, got) && !memcmp(got, want, sizeof got));
    }
    tenon_context_destroy(&a);
    tenon_context_destroy(&b);
    tenon_engine_destroy(&e);
    tenon_config_destroy(&c);
    tenon_network_destroy(&n);
    free(memory);
    errors.count = 0;
}

/* ---- outputs ---- */
typedef struct taker {
    void *data;
    size_t room;
    int calls, notes, rank;
    int64_t dim[TENON_MAX_RANK];
    bool refuse;
    tenon_stream *stream; /* waited for before memory is given */
} taker;

static void *take(void *user, const char *output, void *current, size_t bytes, size_t alignment)
{
    taker *t = user;
    CHECK(!strcmp(output, "y") && bytes > 0 && alignment >= 64);
    t->calls++;
    if (t->stream) CHECK_OK(cx, tenon_stream_synchronize(cx, t->stream));
    if (t->refuse) return NULL;
    if (current && bytes <= t->room) return current;
    CHECK(current == t->data);
    free(t->data);
    t->data = NULL;
    if (posix_memalign(&t->data, alignment, bytes)) return NULL;
    t->room = bytes;
    return t->data;
}

static void note(void *user, const char *output, int rank, const int64_t *dim)
{
    taker *t = user;
    CHECK(!strcmp(output, "y"));
    t->notes++;
    t->rank = rank;
    memcpy(t->dim, dim, (size_t)rank * sizeof *dim);
}

static void test_outputs(void)
{
    tenon_network *n = digits();
    tenon_config *c = configure("cpu", 4);
    tenon_engine *e = build(n, c);
    tenon_context *context = NULL;
    taker t = {0};
    float want[40];
    CHECK_OK(cx, tenon_context_create(cx, e, NULL, &context));
    CHECK(run_digits(context, 4, want));
    CHECK(tenon_context_set_output_allocator(context, "x", &(tenon_output_allocator){take, note, &t}) == TENON_INVALID);
    CHECK(tenon_context_set_output_allocator(context, "y", &(tenon_output_allocator){take, note, &t}) == TENON_OK);
    CHECK(run_digits(context, 1, NULL) && t.calls == 1 && t.notes == 1 && t.rank == 2 && t.dim[0] == 1 && t.room == 40);
    CHECK(!memcmp(t.data, want, 40));
    CHECK(run_digits(context, 4, NULL) && t.calls == 2 && t.dim[0] == 4 && t.room == 160 && !memcmp(t.data, want, sizeof want));
    CHECK(run_digits(context, 2, NULL) && t.calls == 3 && t.dim[0] == 2 && t.room == 160 && !memcmp(t.data, want, 80));
    t.refuse = true;
    CHECK(tenon_context_run(context) == TENON_NOMEM && strstr(tenon_context_message(context),
                                                              "'y': its allocator has no memory"));
    t.refuse = false;
    /* by a stream, and then without it again */
    tenon_stream *stream = NULL;
    CHECK_OK(cx, tenon_stream_create(cx, e, &stream));
    free(t.data);
    t.data = NULL;
    t.room = 0;
    CHECK(tenon_context_enqueue(context, stream) == TENON_OK);
    CHECK_OK(cx, tenon_stream_synchronize(cx, stream));
    CHECK(t.room == 80 && !memcmp(t.data, want, 80));
    const int before = t.calls; /* each run asks, and may use the stream meanwhile */
    t.stream = stream;
    for (int i = 0; i < 2; i++) CHECK(tenon_context_enqueue(context, stream) == TENON_OK);
    CHECK_OK(cx, tenon_stream_synchronize(cx, stream));
    CHECK(t.calls == before + 2);
    CHECK(tenon_context_set_output_allocator(context, "y", NULL) == TENON_OK);
    const int calls = t.calls;
    CHECK(run_digits(context, 2, NULL) && t.calls == calls);
    tenon_stream_destroy(&stream);
    tenon_context_destroy(&context);
    tenon_engine_destroy(&e);
    tenon_config_destroy(&c);
    tenon_network_destroy(&n);
    free(t.data);
    errors.count = 0;
}

/* A size that only the data know: where x is positive. */
static void test_outputs_by_data(void)
{
    tenon_network *n = NULL;
    tenon_value *v = NULL, *zero = NULL;
    taker t = {0};
    CHECK_OK(cx, tenon_network_create(cx, NULL, &n));
    CHECK_OK(cx, tenon_network_add_input(cx, n, "x", TENON_F32, 1, (int64_t[]){6}, NULL, &v));
    CHECK_OK(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){.dtype = TENON_F32, .data = (float[]){0}}, TENON_COPY,
                                            &zero));
    CHECK_OK(cx, tenon_network_add_node(cx, n, &(tenon_node_desc){.op = "Greater", .input = (tenon_value *[]){v, zero},
                                                                  .input_count = 2, .output_count = 1}, &v));
    CHECK_OK(cx, tenon_network_add_node(cx, n, &(tenon_node_desc){.op = "NonZero", .input = &v, .input_count = 1,
                                                                  .output_count = 1}, &v));
    CHECK_OK(cx, tenon_network_mark_output(cx, n, v, "y", NULL));
    tenon_config *c = configure("cpu", 0);
    tenon_engine *e = build(n, c);
    tenon_context *context = NULL;
    float x[6] = {1, -1, 2, -2, 3, -3};
    CHECK_OK(cx, tenon_context_create(cx, e, NULL, &context));
    CHECK(tenon_context_set_address(context, "x", x, sizeof x) == TENON_OK);
    CHECK(tenon_context_set_output_allocator(context, "y", &(tenon_output_allocator){take, note, &t}) == TENON_OK);
    CHECK(tenon_context_run(context) == TENON_OK && t.calls == 1 && t.rank == 2 && t.dim[0] == 1 && t.dim[1] == 3 &&
          t.room == 24);
    CHECK(!memcmp(t.data, (int64_t[]){0, 2, 4}, 24));
    x[1] = 4;
    CHECK(tenon_context_run(context) == TENON_OK && t.dim[1] == 4 && t.room == 32 && !memcmp(t.data, (int64_t[]){0, 1, 2, 4},
            32));
    t.refuse = true;
    CHECK(tenon_context_run(context) == TENON_NOMEM);
    tenon_context_destroy(&context);
    tenon_engine_destroy(&e);
    tenon_config_destroy(&c);
    tenon_network_destroy(&n);
    free(t.data);
    errors.count = 0;
}

/* ---- outputs on inputs ---- */
enum { SIDE = 16 };

static tenon_value *step(tenon_network *n, const char *op, const char *name, tenon_value *a, tenon_value *b)
{
    tenon_value *v = NULL;
    CHECK_OK(cx, tenon_network_add_node(cx, n, &(tenon_node_desc){.op = op, .name = name, .input = (tenon_value *[]){a, b},
                                                                  .input_count = b ? 2 : 1,
                                                                  .output_count = 1}, &v));
    return v;
}

/* x (SIDE, SIDE) to y of the same shape. */
static tenon_network *square(int kind, float *w)
{
    tenon_network *n = NULL;
    tenon_value *x = NULL, *k = NULL, *t = NULL;
    CHECK_OK(cx, tenon_network_create(cx, NULL, &n));
    CHECK_OK(cx, tenon_network_add_input(cx, n, "x", TENON_F32, 2, (int64_t[]){SIDE, SIDE}, NULL, &x));
    CHECK_OK(cx, tenon_network_add_constant(cx, n, &(tenon_host_tensor){"w", TENON_F32, 2, {SIDE, SIDE}, w}, TENON_BORROW, &k));
    switch (kind) {
    case 0: t = step(n, "Tanh", "t", x, NULL); break;                                   /* element by element */
    case 1: t = step(n, "MatMul", "t", x, k); break;                                    /* reads what it wrote */
    case 2: t = step(n, "Softmax", "u", step(n, "MatMul", "t", x, k), NULL); break;     /* read before it is written */
    case 3: t = step(n, "Add", "u", step(n, "Softmax", "t", step(n, "MatMul", "m", x, k), NULL),
                     x); break; /* read again at the end */
    default: t = step(n, "Transpose", "t", x, NULL); break;
    }
    CHECK_OK(cx, tenon_network_mark_output(cx, n, t, "y", NULL));
    return n;
}

static void test_aliases(void)
{
    static float w[SIDE * SIDE], x[SIDE * SIDE], want[SIDE * SIDE];
    int allowed = 0, refused = 0;
    for (int i = 0; i < SIDE * SIDE; i++) w[i] = (float)(i * 7 % 13) / 13 - 0.4f;
    for (int kind = 0; kind < 5; kind++) {
        tenon_network *n = square(kind, w);
        tenon_config *c = configure("cpu", 0);
        tenon_engine *e = build(n, c);
        tenon_context *context = NULL;
        bool may = false;
        CHECK_OK(cx, tenon_engine_alias(cx, e, 0, "x", "y", &may));
        CHECK(kind != 0 || may);
        CHECK((kind != 1 && kind != 4) || !may);
        CHECK_OK(cx, tenon_context_create(cx, e, NULL, &context));
        for (int i = 0; i < SIDE * SIDE; i++) x[i] = (float)(i * 5 % 11) / 11 - 0.3f;
        CHECK(tenon_context_set_address(context, "x", x, sizeof x) == TENON_OK && tenon_context_set_address(context, "y", want,
                sizeof want) == TENON_OK);
        CHECK(tenon_context_run(context) == TENON_OK);
        CHECK(tenon_context_set_address(context, "y", x, sizeof x) == TENON_OK);
        const tenon_status status = tenon_context_run(context);
        CHECK(status == (may ? TENON_OK : TENON_INVALID));
        CHECK(may ? !memcmp(x, want, sizeof x) : strstr(tenon_context_message(context),
                                                        "output 'y' has the address of input 'x'") != NULL);
        may ? allowed++ : refused++;
        /* a part of it never */
        static float both[SIDE * SIDE + 16];
        CHECK(tenon_context_set_address(context, "x", both, sizeof x) == TENON_OK && tenon_context_set_address(context, "y",
                both + 16, sizeof x) == TENON_OK);
        CHECK(tenon_context_run(context) == TENON_INVALID && strstr(tenon_context_message(context),
                                                                    "overlaps a part of input 'x'"));
        tenon_context_destroy(&context);
        tenon_engine_destroy(&e);
        tenon_config_destroy(&c);
        tenon_network_destroy(&n);
    }
    CHECK(allowed >= 1 && refused >= 2);
    errors.count = 0;
}

/* Two outputs never share; names and profiles that are not there are told. */
static void test_alias_refusals(void)
{
    static float w[SIDE * SIDE], x[SIDE * SIDE], y[SIDE * SIDE];
    tenon_network *n = square(0, w);
    tenon_value *again = NULL;
    CHECK_OK(cx, tenon_network_find_value(cx, n, "y", &again));
    CHECK_OK(cx, tenon_network_mark_output(cx, n, step(n, "Neg", "z", again, NULL), "z", NULL));
    tenon_config *c = configure("cpu", 0);
    tenon_engine *e = build(n, c);
    tenon_context *context = NULL;
    bool may = true;
    CHECK_FAILS(cx, tenon_engine_alias(cx, e, 1, "x", "y", &may), TENON_INVALID, "profile 1");
    CHECK_FAILS(cx, tenon_engine_alias(cx, e, 0, "y", "x", &may), TENON_INVALID, "no input 'y'");
    CHECK_FAILS(cx, tenon_engine_alias(cx, e, 0, "x", "q", &may), TENON_INVALID, "no output 'q'");
    CHECK(!may);
    CHECK_OK(cx, tenon_context_create(cx, e, NULL, &context));
    CHECK(tenon_context_set_address(context, "x", x, sizeof x) == TENON_OK && tenon_context_set_address(context, "y", y,
            sizeof y) == TENON_OK &&
          tenon_context_set_address(context, "z", y, sizeof y) == TENON_OK);
    CHECK(tenon_context_run(context) == TENON_INVALID && strstr(tenon_context_message(context), "outputs 'y' and 'z' overlap"));
    tenon_context_destroy(&context);
    tenon_engine_destroy(&e);
    tenon_config_destroy(&c);
    tenon_network_destroy(&n);
    errors.count = 0;
}

/* ---- an allocator whose n-th call fails ---- */
static tenon_status all_of_it(tenon_cx *session, const void *data, size_t bytes, taker *t)
{
    static float x[64];
    store s = {.data = (uint8_t *)(uintptr_t)data, .bytes = bytes, .most = 5000};
    tenon_engine *e = NULL;
    tenon_context *c = NULL;
    bool may;
    size_t largest;
    void *memory = NULL;
    tenon_status status = tenon_engine_load_reader(session, &(tenon_reader){store_read, store_seek, &s}, NULL, &e);
    if (status == TENON_OK) status = tenon_engine_alias(session, e, 0, "x", "y", &may);
    if (status == TENON_OK) status = tenon_engine_binding_bytes(session, e, 0, "x", &largest);
    if (status == TENON_OK) status = tenon_context_create(session, e, &(tenon_context_options){.memory_later = true}, &c);
    if (status == TENON_OK && posix_memalign(&memory, 64, tenon_engine_context_bytes(e, 0))) status = TENON_INTERNAL;
    if (status == TENON_OK) status = tenon_context_set_memory(c, memory, tenon_engine_context_bytes(e, 0));
    if (status == TENON_OK) status = tenon_context_set_output_allocator(c, "y", &(tenon_output_allocator){take, note, t});
    if (status == TENON_OK) status = tenon_context_set_shape(c, "x", 4, (int64_t[]){1, 1, 8, 8});
    if (status == TENON_OK) status = tenon_context_set_address(c, "x", x, sizeof x);
    if (status == TENON_OK) status = tenon_context_run(c);
    if (status != TENON_OK && c) CHECK(*tenon_context_message(c));
    tenon_context_destroy(&c);
    tenon_engine_destroy(&e);
    free(memory);
    return status;
}

static void test_no_memory(void)
{
    tenon_network *n = digits();
    tenon_config *c = configure("cpu", 4);
    tenon_engine *e = build(n, c);
    const void *data;
    size_t bytes;
    CHECK_OK(cx, tenon_engine_data(cx, e, &data, &bytes));
    check_heap heap = {0};
    const tenon_allocator allocator = {check_heap_alloc, check_heap_realloc, check_heap_free, &heap};
    int refused = 0, wrong = 0;
    for (long i = 1; i < 10000; i++) {
        tenon_cx *session = NULL;
        taker t = {0};
        heap = (check_heap){0};
        CHECK(tenon_cx_create(&(tenon_cx_options){.allocator = &allocator, .log = quiet}, &session) == TENON_OK);
        heap.fail_at = heap.calls + i;
        const tenon_status status = all_of_it(session, data, bytes, &t);
        tenon_cx_destroy(&session);
        free(t.data);
        wrong += heap.live != 0 || (status != TENON_OK && status != TENON_NOMEM);
        refused += status != TENON_OK;
        if (status == TENON_OK) break;
    }
    CHECK(wrong == 0);
    CHECK(refused > 10);
    tenon_engine_destroy(&e);
    tenon_config_destroy(&c);
    tenon_network_destroy(&n);
}

int main(void)
{
    CHECK(tenon_cx_create(&(tenon_cx_options){.log = quiet, .error = on_error, .error_user = &errors}, &cx) == TENON_OK);
    test_errors();
    test_reader();
    test_device_memory();
    test_context_memory();
    test_outputs();
    test_outputs_by_data();
    test_aliases();
    test_alias_refusals();
    test_no_memory();
    tenon_cx_destroy(&cx);
    return CHECK_END();
}
