/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged and hostile engine files: cut short, bytes flipped, and, with all hashes made right again, every field of every record
   set to values that no writer writes. Each must give a status with a message, and what still loads must run without touching
   memory that is not its own (this test is worth most under sanitizers). */
#include "check.h"
#include "digits.h"

#include "run/engine.h"

#include <xxhash.h>

static tenon_cx *cx;
static long refused, accepted, ran;

/* One file image with its sections. */
typedef struct image { uint8_t *data; size_t bytes; } image;

static tenon_rec_section *sections(image *m) { return (void *)(m->data + sizeof(tenon_rec_header)); }

static image copy_of(const image *m)
{
    image c = {malloc(m->bytes), m->bytes};
    memcpy(c.data, m->data, m->bytes);
    return c;
}

static void rehash(image *m)
{
    tenon_rec_header *h = (void *)m->data;
    for (int i = 0; i < TENON_SECTION_COUNT; i++) {
        tenon_rec_section *s = &sections(m)[i];
        if (s->offset <= m->bytes && s->bytes <= m->bytes - s->offset) s->hash = XXH3_64bits(m->data + s->offset, s->bytes);
    }
    h->hash = 0;
    h->hash = XXH3_64bits(m->data, sizeof *h + TENON_SECTION_COUNT * sizeof(tenon_rec_section));
}

/* Runs whatever was accepted: nothing may be touched that is not there. */
static void run(tenon_engine *e)
{
    static float x[8 * 64], y[8 * 64];
    tenon_context *c = NULL;
    if (tenon_context_create(cx, e, NULL, &c) != TENON_OK) return;
    for (size_t i = 0; i < tenon_engine_binding_count(e); i++) {
        tenon_binding_info info;
        if (tenon_engine_binding(cx, e, i, &info) != TENON_OK) continue;
        if (info.io == TENON_INPUT) (void)!tenon_context_set_shape(c, info.name, 4, (int64_t[]){2, 1, 8, 8});
        const size_t bytes = info.io == TENON_INPUT ? 2 * 64 * sizeof *x : 2 * 10 * sizeof *y;
        (void)!tenon_context_set_address(c, info.name, info.io == TENON_INPUT ? x : y, bytes);
    }
    ran += tenon_context_run(c) == TENON_OK;
    tenon_context_destroy(&c);
}

/* Loads an image that must not crash; `must_fail`: it must not load either. */
static void try(const image *m, bool must_fail)
{
    tenon_engine *e = NULL;
    const tenon_status status = tenon_engine_load_memory(cx, m->data, m->bytes, &(tenon_load_options){.threads = 1}, &e);
    if (status == TENON_OK) {
        accepted++;
        CHECK(!must_fail);
        run(e);
        char *json = NULL;
        if (tenon_engine_inspect(cx, e, &json) == TENON_OK) tenon_text_free(cx, &json);
    } else {
        refused++;
        CHECK(e == NULL && *tenon_cx_message(cx));
        if (must_fail) CHECK(status == TENON_CORRUPT);
    }
    tenon_engine_destroy(&e);
}

static void test_cut(const image *m)
{
    image c = copy_of(m);
    for (size_t at = 1; at < m->bytes; at += at < 2048 ? 37 : 1 + m->bytes / 97) {
        c.bytes = at;
        /* exactly this many bytes, so that a sanitizer sees a read behind them */
        image exact = copy_of(&c);
        try(&exact, true);
        free(exact.data);
    }
    free(c.data);
    image longer = {calloc(1, m->bytes + 64), m->bytes + 64};
    memcpy(longer.data, m->data, m->bytes);
    try(&longer, true);
    free(longer.data);
}

static void test_flipped(const image *m)
{
    image c = copy_of(m);
    for (int i = 0; i < TENON_SECTION_COUNT; i++) {
        const tenon_rec_section s = sections(&c)[i];
        for (size_t k = 0; k < s.bytes; k += 1 + s.bytes / 5) {
            c.data[s.offset + k] ^= 0x10;
            try(&c, true);
            c.data[s.offset + k] ^= 0x10;
        }
    }
    for (size_t k = 0; k < sizeof(tenon_rec_header) + TENON_SECTION_COUNT * sizeof(tenon_rec_section); k += 3) {
        c.data[k] ^= 1;
        try(&c, true);
        c.data[k] ^= 1;
    }
    try(&c, false);
    free(c.data);
}

static void hostile_word(image *c, uint8_t *at, int bits)
{
    static const uint64_t values[] = {0, 1, 2, 3, 7, 63, 64, 65, 1000, 0x7fff, 0x10000, 0x7fffffff, 0x80000000u,
                                      0xfffffffe, 0xffffffff, UINT64_C(0x7fffffffffffffff), UINT64_C(0x8000000000000000),
                                      UINT64_MAX, UINT64_C(1) << 40};
    uint8_t was[8];
    const size_t n = (size_t)bits / 8;
    memcpy(was, at, n);
    for (size_t i = 0; i < TENON_COUNTOF(values); i++) {
        if (bits == 32 && values[i] > UINT32_MAX) continue;
        memcpy(at, &values[i], n);
        if (memcmp(at, was, n) == 0) continue;
        rehash(c);
        try(c, false);
    }
    memcpy(at, was, n);
}

/* Every 32-bit word of the records, some 64-bit ones; of sections with many records the first, the last and some between. */
static void test_hostile(const image *m)
{
    image c = copy_of(m);
    for (int i = 0; i < TENON_SECTION_COUNT; i++) {
        const tenon_rec_section s = sections(&c)[i];
        if (s.element_bytes == 1 || !s.bytes) continue;
        const size_t count = s.bytes / s.element_bytes, step = count <= 4 ? 1 : count / 4;
        for (size_t k = 0; k < count; k += step)
            for (size_t w = 0; w < s.element_bytes; w += 4) {
                uint8_t *at = c.data + s.offset + k * s.element_bytes + w;
                hostile_word(&c, at, 32);
                if (w % 8 == 0 && s.element_bytes % 8 == 0) hostile_word(&c, at, 64);
            }
    }
    for (size_t w = 0; w < sizeof(tenon_rec_header) + TENON_SECTION_COUNT * sizeof(tenon_rec_section); w += 4) {
        if (w < offsetof(tenon_rec_header, tenon_version) || w >= offsetof(tenon_rec_header, isa))
            hostile_word(&c, c.data + w, 32);
        /* the section table is hashed with the header: what was changed there must not be mended by rehash of another section */
        memcpy(c.data, m->data, sizeof(tenon_rec_header) + TENON_SECTION_COUNT * sizeof(tenon_rec_section));
    }
    free(c.data);
}

/* Results of steps with kernels are said to lie on the heap, which has room: only graph steps write there. */
static void test_heap_operands(const image *m)
{
    image c = copy_of(m);
    const tenon_rec_section *s = sections(&c);
    tenon_rec_profile *profile = (void *)(c.data + s[TENON_SECTION_PROFILES].offset);
    const tenon_rec_step *step = (const void *)(c.data + s[TENON_SECTION_STEPS].offset);
    const uint32_t *index = (const void *)(c.data + s[TENON_SECTION_INDICES].offset);
    tenon_rec_slot *slots = (void *)(c.data + s[TENON_SECTION_SLOTS].offset);
    profile->heap_count = 1;
    rehash(&c);
    try(&c, false);
    for (uint32_t i = 0; i < profile->step_count; i++) {
        tenon_rec_slot *slot = &slots[index[step[i].dst_first]];
        const tenon_rec_slot was = *slot;
        CHECK(!(step[i].flags & TENON_STEP_GRAPH));
        slot->kind = TENON_SLOT_HEAP;
        slot->base = 0;
        rehash(&c);
        try(&c, true);
        *slot = was;
    }
    free(c.data);
}

/* Text in the engine is parsed: characters of it replaced, one at a time. */
static void test_strings(const image *m)
{
    static const char put[] = {0, ':', '9', '-', 'x', '(', '>', '[', '"', (char)0xff};
    image c = copy_of(m);
    const tenon_rec_section s = sections(&c)[TENON_SECTION_STRINGS];
    for (size_t k = 0; k + 1 < s.bytes; k += 1 + s.bytes / 160) {
        char *at = (char *)c.data + s.offset + k, was = *at;
        for (size_t i = 0; i < sizeof put; i++) {
            *at = put[i];
            rehash(&c);
            try(&c, false);
        }
        *at = was;
    }
    free(c.data);
}

static void test_foreign(void)
{
    tenon_engine *e = NULL;
    static const char plan[64] = "ptrt", zip[64] = "PK\x03\x04", text[64] = "hello";
    CHECK_FAILS(cx, tenon_engine_load_memory(cx, plan, sizeof plan, NULL, &e), TENON_CORRUPT, "TensorRT");
    CHECK_FAILS(cx, tenon_engine_load_memory(cx, zip, sizeof zip, NULL, &e), TENON_CORRUPT, "PyTorch");
    CHECK_FAILS(cx, tenon_engine_load_memory(cx, text, sizeof text, NULL, &e), TENON_CORRUPT, "magic");
    CHECK_FAILS(cx, tenon_engine_load_memory(cx, text, 0, NULL, &e), TENON_INVALID, "empty");
    CHECK_FAILS(cx, tenon_engine_load(cx, "/nowhere/at.all", NULL, &e), TENON_INVALID, "/nowhere/at.all");
}

static bool make(image *out)
{
    size_t bytes;
    uint8_t *model = digits_model(&bytes);
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    int profile;
    const int64_t one[] = {1, 1, 8, 8}, two[] = {2, 1, 8, 8}, eight[] = {8, 1, 8, 8};
    bool ok = CHECK_OK(cx, tenon_network_read(cx, model, bytes, NULL, &network)) &&
              CHECK_OK(cx, tenon_config_create(cx, &config)) &&
              CHECK_OK(cx, tenon_config_set_device(config, "cpu", 0)) && CHECK_OK(cx, tenon_config_set_threads(config, 1)) &&
              CHECK_OK(cx, tenon_config_set_timing(config, false)) && CHECK_OK(cx, tenon_config_set_refit(config, true)) &&
              CHECK_OK(cx, tenon_config_add_profile(config, &profile)) &&
              CHECK_OK(cx, tenon_config_set_shape(config, 0, "x", 4, one, two, eight)) &&
              CHECK_OK(cx, tenon_build(cx, network, config, &engine));
    const void *data;
    if (ok) ok = CHECK_OK(cx, tenon_engine_data(cx, engine, &data, &out->bytes));
    if (ok) memcpy(out->data = malloc(out->bytes), data, out->bytes);
    tenon_engine_destroy(&engine);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    free(model);
    return ok;
}

/* A file may ask for any amount of memory; here there is little. */
enum { MOST = 32 << 20 };
static void *little_alloc(void *user, size_t bytes) { return (void)user, bytes > MOST ? NULL : malloc(bytes); }
static void *little_realloc(void *user, void *p, size_t bytes) { return (void)user, bytes > MOST ? NULL : realloc(p, bytes); }
static void little_free(void *user, void *p) { (void)user, free(p); }

static void quiet(void *user, tenon_severity severity, const char *message) { (void)user, (void)severity, (void)message; }

int main(void)
{
    const tenon_allocator little = {little_alloc, little_realloc, little_free, NULL};
    CHECK(tenon_cx_create(&(tenon_cx_options){.log = quiet, .allocator = &little}, &cx) == TENON_OK);
    image m;
    test_foreign();
    if (make(&m)) {
        image same = copy_of(&m);
        rehash(&same);
        CHECK(memcmp(same.data, m.data, m.bytes) == 0);
        try(&same, false);
        CHECK(ran == 1);
        free(same.data);
        test_cut(&m);
        test_flipped(&m);
        test_hostile(&m);
        test_heap_operands(&m);
        test_strings(&m);
        free(m.data);
    }
    printf("%ld images refused, %ld accepted, %ld of those ran\n", refused, accepted, ran);
    CHECK(refused > 1000);
    tenon_cx_destroy(&cx);
    return CHECK_END();
}
