/* SPDX-License-Identifier: Apache-2.0 */
/* base/: messages, heap, arena, buffers, files, libraries, CPU features, small floats; out of memory at every allocation. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/dl.h"
#include "base/file.h"
#include "base/half.h"
#include "base/isa.h"
#include "check.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static tenon_status failing(tenon_cx *cx, int x)
{
    return x ? TENON_FAIL(cx, TENON_INVALID, "x is %d", x) : TENON_OK;
}

static tenon_status trying(tenon_cx *cx, int x)
{
    TENON_TRY(failing(cx, x));
    return TENON_OK;
}

static char logged[4096];
static void log_here(void *user, tenon_severity severity, const char *message)
{
    snprintf(logged, sizeof logged, "%d %d %s", *(int *)user, (int)severity, message);
}

static void test_messages(void)
{
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    CHECK_TEXT(cx.message, "");
    CHECK(trying(&cx, 0) == TENON_OK);
    CHECK_FAILS(&cx, trying(&cx, 7), TENON_INVALID, "x is 7");
    CHECK_FAILS(&cx, tenon_fail_in(&cx, TENON_INVALID, "node '%s': ", "n"), TENON_INVALID, "node 'n': x is 7");
    CHECK(cx.status == TENON_INVALID);
    CHECK_FAILS(&cx, TENON_FAIL(&cx, TENON_CORRUPT, "again %s", cx.message), TENON_CORRUPT, "again node 'n': x is 7");
    CHECK(tenon_fail_in(&cx, TENON_OK, "no") == TENON_OK);
    char longest[3 * TENON_MESSAGE_BYTES];
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = 0;
    CHECK(TENON_FAIL(&cx, TENON_INVALID, "%s", longest) == TENON_INVALID);
    CHECK(strlen(cx.message) == TENON_MESSAGE_BYTES - 1);
    CHECK_TEXT(cx.message + TENON_MESSAGE_BYTES - 4, "...");
    CHECK(TENON_FAIL(NULL, TENON_INVALID, "nobody listens") == TENON_INVALID);
    CHECK_TEXT(tenon_version(), "0.1.0");
    CHECK_TEXT(tenon_status_name(TENON_CANCELLED), "cancelled");
    CHECK_TEXT(tenon_status_name((tenon_status)99), "unknown status");
}

static void test_log(void)
{
    int user = 5;
    setenv("TENON_LOG", "plan,run", 1);
    tenon_cx *cx = NULL;
    CHECK(tenon_cx_create(&(tenon_cx_options){.log = log_here, .log_user = &user, .severity = TENON_WARNING}, &cx) == TENON_OK);
    CHECK(tenon_log_wants(cx, TENON_TOPIC_PLAN) && tenon_log_wants(cx, TENON_TOPIC_RUN) &&
          !tenon_log_wants(cx, TENON_TOPIC_PASS));
    tenon_log(cx, TENON_INFO, TENON_TOPIC_PLAN, "step %d", 3);
    CHECK_TEXT(logged, "5 2 step 3");
    tenon_log(cx, TENON_INFO, TENON_TOPIC_PASS, "not wanted");
    CHECK_TEXT(logged, "5 2 step 3");
    tenon_log(cx, TENON_WARNING, TENON_TOPIC_PASS, "always");
    CHECK_TEXT(logged, "5 1 always");
    tenon_cx child;
    tenon_cx_init_child(&child, cx);
    CHECK_TEXT(child.message, "");
    tenon_log(&child, TENON_VERBOSE, TENON_TOPIC_RUN, "child");
    CHECK_TEXT(logged, "5 3 child");
    tenon_cx_destroy(&cx);
    CHECK(!cx);
    tenon_cx_destroy(&cx);
    tenon_cx_destroy(NULL);
    unsetenv("TENON_LOG");
    setenv("TENON_LOG_SEVERITY", "info", 1);
    tenon_cx other;
    tenon_cx_init_default(&other);
    CHECK(other.log_severity == TENON_INFO && !other.log_topics);
    unsetenv("TENON_LOG_SEVERITY");
    CHECK(tenon_cx_create(NULL, NULL) == TENON_INVALID);
    CHECK(tenon_cx_create(&(tenon_cx_options){.allocator = &(tenon_allocator){0}}, &cx) == TENON_INVALID && !cx);
}

static void test_heap(void)
{
    check_heap heap = {0};
    tenon_cx cx;
    check_heap_install(&heap, &cx);
    void *a = tenon_alloc(&cx, 0), *b = tenon_alloc(&cx, 0);
    CHECK(a && b && a != b);
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        char *p = tenon_alloc_aligned(&cx, 100, alignment);
        CHECK(p && (uintptr_t)p % alignment == 0);
        memset(p, 1, 100);
        tenon_free_aligned(&cx, p);
    }
    CHECK(!tenon_alloc_aligned(&cx, 16, 48) && cx.status == TENON_NOMEM);
    CHECK(!tenon_alloc_aligned(&cx, SIZE_MAX - 8, 64));
    const char *z = tenon_alloc_zero(&cx, 33);
    for (int i = 0; i < 33; i++) CHECK(z[i] == 0);
    tenon_free(&cx, a), tenon_free(&cx, b), tenon_free(&cx, (void *)(uintptr_t)z), tenon_free(&cx, NULL),
        tenon_free_aligned(&cx, NULL);
    CHECK(heap.live == 0);
    heap.fail_at = heap.calls + 1;
    CHECK(!tenon_alloc(&cx, 10) && cx.status == TENON_NOMEM);
    CHECK(strstr(cx.message, "10 bytes"));
}

static tenon_status use_arena(tenon_cx *cx)
{
    tenon_arena arena;
    tenon_arena_init(&arena, cx);
    tenon_status status = TENON_NOMEM;
    int *list = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 500; i++) {
        const size_t bytes = (size_t)(i * 37 % 3001);
        unsigned char *p = tenon_arena_alloc(&arena, bytes);
        if (!p) goto done;
        bool zero = (uintptr_t)p % 16 == 0;
        for (size_t k = 0; k < bytes; k++) zero = zero && !p[k];
        CHECK(zero);
        memset(p, 0xff, bytes);
        status = tenon_arena_grow(&arena, (void **)&list, &capacity, (size_t)i + 1, sizeof *list);
        if (status != TENON_OK) goto done;
        list[i] = i;
        status = TENON_NOMEM;
    }
    for (int i = 0; i < 500; i++) CHECK(list[i] == i);
    char big[1000];
    memset(big, 'x', sizeof big);
    big[999] = 0;
    const char *s = tenon_arena_printf(&arena, "%s-%d", "ab", 12), *l = tenon_arena_printf(&arena, "%s", big);
    const char *d = tenon_arena_strdup(&arena, "dup"), *n = tenon_arena_strndup(&arena, "dup", 2),
               *huge = tenon_arena_alloc(&arena, 3 << 20);
    if (!s || !l || !d || !n || !huge) goto done;
    CHECK_TEXT(s, "ab-12");
    CHECK_TEXT(l, big);
    CHECK_TEXT(d, "dup");
    CHECK_TEXT(n, "du");
    status = TENON_OK;
done:
    tenon_arena_free(&arena);
    return status;
}

static tenon_status use_buf(tenon_cx *cx)
{
    tenon_buf b;
    tenon_buf_init(&b, cx);
    CHECK_TEXT(tenon_buf_cstr(&b), "");
    tenon_buf_str(&b, "abc");
    tenon_buf_align(&b, 8);
    tenon_buf_char(&b, 'd');
    for (int i = 0; i < 400; i++) tenon_buf_printf(&b, "%d,", i);
    tenon_buf_printf(&b, "%*d", 2000, 1);
    const tenon_status status = tenon_buf_status(&b);
    if (status == TENON_OK) {
        CHECK(b.length == 9 + 10 * 2 + 90 * 3 + 300 * 4 + 2000);
        CHECK(!memcmp(b.data, "abc\0\0\0\0\0d0,1,", 13) && b.data[b.length] == 0 && b.data[b.length - 1] == '1');
        tenon_buf_clear(&b);
        CHECK_TEXT(tenon_buf_cstr(&b), "");
    } else {
        CHECK(cx->status == TENON_NOMEM);
    }
    tenon_buf_free(&b);
    return status;
}

static tenon_status use_session(tenon_cx *cx)
{
    tenon_cx *made;
    const tenon_status status = tenon_cx_create(&(tenon_cx_options){.allocator = &cx->alloc}, &made);
    CHECK((status == TENON_OK) == (made != NULL));
    tenon_cx_destroy(&made);
    return status;
}

/* Fails at the 1st, 2nd, ... allocation until nothing fails; each time the status is NOMEM and nothing leaks. */
static void out_of_memory(tenon_status (*use)(tenon_cx *))
{
    for (long n = 1; n < 1000; n++) {
        check_heap heap = {.fail_at = n};
        tenon_cx cx;
        check_heap_install(&heap, &cx);
        const tenon_status status = use(&cx);
        CHECK(heap.live == 0);
        CHECK((heap.calls >= n) == (status == TENON_NOMEM));
        if (status == TENON_OK) return;
    }
    CHECK(!"an end of the allocations");
}

static void test_arena_limits(void)
{
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    tenon_arena arena;
    tenon_arena_init(&arena, &cx);
    CHECK(!tenon_arena_alloc(&arena, SIZE_MAX) && cx.status == TENON_NOMEM);
    CHECK(!tenon_arena_alloc(&arena, SIZE_MAX - 20));
    CHECK(!tenon_arena_array(&arena, SIZE_MAX / 2, 3));
    CHECK(tenon_arena_array(&arena, 0, 8) != NULL);
    tenon_arena_free(&arena);
    tenon_arena_free(&arena);
}

static void test_files(void)
{
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    char folder[] = "/tmp/tenon_test_XXXXXX", path[128], missing[128], *beside = NULL;
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/a.bin", folder);
    snprintf(missing, sizeof missing, "%s/no/a.bin", folder);
    tenon_file_map map;
    CHECK_FAILS(&cx, tenon_file_map_open(&cx, path, &map), TENON_INVALID, path);
    CHECK(strstr(cx.message, "No such file"));
    CHECK_FAILS(&cx, tenon_file_map_open(&cx, folder, &map), TENON_INVALID, "a directory");
    CHECK_OK(&cx, tenon_file_save(&cx, path, "hello", 5));
    CHECK_OK(&cx, tenon_file_save(&cx, path, "hello!", 6));
    CHECK_OK(&cx, tenon_file_map_open(&cx, path, &map));
    CHECK(map.mapped && map.bytes == 6 && !memcmp(map.data, "hello!", 6));
    CHECK_OK(&cx, tenon_file_save(&cx, path, "", 0));
    CHECK(!memcmp(map.data, "hello!", 6)); /* the old file lives as long as its mapping */
    tenon_file_map_close(&map);
    tenon_file_map_close(&map);
    CHECK_OK(&cx, tenon_file_map_open(&cx, path, &map));
    CHECK(!map.mapped && !map.data && !map.bytes);
    CHECK_FAILS(&cx, tenon_file_save(&cx, missing, "x", 1), TENON_INVALID, "No such file");
    CHECK_FAILS(&cx, tenon_file_save(&cx, folder, "x", 1), TENON_INVALID, "directory");
    CHECK_OK(&cx, tenon_file_save(&cx, "/dev/null", "x", 1));
    struct stat st;
    CHECK(!stat("/dev/null", &st) && S_ISCHR(st.st_mode));
    char link_path[128];
    snprintf(link_path, sizeof link_path, "%s/link", folder);
    CHECK(!symlink("a.bin", link_path));
    CHECK_OK(&cx, tenon_file_save(&cx, link_path, "abc", 3));
    CHECK(!lstat(link_path, &st) && S_ISLNK(st.st_mode) && !stat(path, &st) && st.st_size == 3);

    CHECK_OK(&cx, tenon_file_beside(&cx, path, "sub/./x..y", &beside));
    snprintf(missing, sizeof missing, "%s/sub/./x..y", folder);
    CHECK_TEXT(beside, missing);
    tenon_free(&cx, beside);
    CHECK_OK(&cx, tenon_file_beside(&cx, "m.onnx", "a/../b", &beside));
    CHECK_TEXT(beside, "a/../b");
    tenon_free(&cx, beside);
    const char *const bad[] = {"../x", "a/../../x", "..", "", ".", "a/.."};
    for (size_t i = 0; i < TENON_COUNTOF(bad); i++)
        CHECK_FAILS(&cx, tenon_file_beside(&cx, path, bad[i], &beside), TENON_INVALID, "leaves");
    CHECK_FAILS(&cx, tenon_file_beside(&cx, path, "/etc/x", &beside), TENON_INVALID, "absolute");
    CHECK(!beside);
    unlink(link_path), unlink(path);
    CHECK(!rmdir(folder)); /* no temporary file was left */
}

static void test_dl(void)
{
    tenon_dl dl;
    char why[512];
    CHECK(!tenon_dl_open(&dl, (const char *const[]){"libtenon_nowhere.so.9", NULL}, why, sizeof why));
    CHECK(strstr(why, "libtenon_nowhere.so.9") && !dl.path[0] && !tenon_dl_symbol(&dl, "cos"));
    CHECK(!tenon_dl_open(&dl, (const char *const[]){NULL}, why, sizeof why) && why[0]);
    CHECK(!tenon_dl_open(&dl, (const char *const[]){"libtenon_nowhere.so.9", NULL}, NULL, 0));
    if (tenon_dl_open(&dl, (const char *const[]){"libtenon_nowhere.so.9", "libm.so.6", NULL}, why, sizeof why)) {
        CHECK(strstr(dl.path, "libm") && tenon_dl_symbol(&dl, "cos") && !tenon_dl_symbol(&dl, "tenon_nothing"));
        tenon_dl_close(&dl);
        CHECK(!dl.handle && !dl.path[0]);
    } else {
        SKIP("no libm.so.6");
    }
}

static void test_isa(void)
{
    const tenon_cpu_info *cpu = tenon_cpu();
    char names[128];
    CHECK(cpu->cores >= 1 && cpu->name[0] && cpu->l1d_bytes >= 4096 && cpu->l2_bytes && cpu->l3_bytes);
    CHECK(!(cpu->isa & ~cpu->hardware));
    unsigned isa;
    tenon_isa_names(cpu->hardware, names, sizeof names);
    if (strchr(names, '+')) CHECK(tenon_isa_parse(names, &isa) && isa == cpu->hardware);
    printf("%s, %s, %d cores, L1 %zu L2 %zu L3 %zu\n", cpu->name, names, cpu->cores, cpu->l1d_bytes, cpu->l2_bytes,
           cpu->l3_bytes);
    tenon_isa_names(0, names, sizeof names);
    CHECK_TEXT(names, "scalar");
    tenon_isa_names(TENON_ISA_AVX2 | TENON_ISA_AVX512 | TENON_ISA_AMX, names, sizeof names);
    CHECK_TEXT(names, "avx2+avx512+amx");
    tenon_isa_names(~0u, names, 6);
    CHECK(strlen(names) == 5);
    CHECK(tenon_isa_parse("scalar", &isa) && isa == 0);
    CHECK(tenon_isa_parse("avx2", &isa) && isa & TENON_ISA_AVX2 && !(isa & TENON_ISA_AVX512));
    CHECK(tenon_isa_parse("avx512", &isa) && isa & TENON_ISA_AVX512_VNNI && isa & TENON_ISA_AVX2);
    CHECK(tenon_isa_parse("avx2+avx512", &isa) && isa == (TENON_ISA_AVX2 | TENON_ISA_AVX512));
    CHECK(!tenon_isa_parse("sse9", &isa) && !tenon_isa_parse("", &isa) && !tenon_isa_parse("avx2+", &isa));
}

/* Nearest even by search over all finite codes of a type, in double. */
static int nearest(double x, double (*value)(int), int largest)
{
    int low = 0, high = largest;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (value(middle) <= x) low = middle;
        else high = middle;
    }
    const double a = x - value(low), b = value(high) - x;
    return a < b || (a == b && !(low & 1)) ? low : high;
}

static double f16_value(int h) { return ldexp(h < 1024 ? h : 1024 + h % 1024, (h < 1024 ? 1 : h / 1024) - 25); }
static double e4m3_value(int h) { return ldexp(h < 8 ? h : 8 + h % 8, (h < 8 ? 1 : h / 8) - 10); }
static double e5m2_value(int h) { return ldexp(h < 4 ? h : 4 + h % 4, (h < 4 ? 1 : h / 4) - 17); }

static void test_half(void)
{
    int wrong = 0;
    for (int h = 0; h < 0x7c00; h++) {
        wrong += tenon_f16_to_f32((uint16_t)h) != (float)f16_value(h) || tenon_f32_to_f16((float)f16_value(h)) != h;
        wrong += tenon_f32_to_f16(-(float)f16_value(h)) != (h | 0x8000);
    }
    for (int h = 0; h < 0x7f; h++)
        wrong += tenon_f8e4m3_to_f32((uint8_t)h) != (float)e4m3_value(h) || tenon_f32_to_f8e4m3((float)e4m3_value(h), 0) != h;
    for (int h = 0; h < 0x7c; h++)
        wrong += tenon_f8e5m2_to_f32((uint8_t)h) != (float)e5m2_value(h) || tenon_f32_to_f8e5m2((float)e5m2_value(h), 0) != h;
    CHECK(wrong == 0);
    uint64_t seed = 1;
    for (int i = 0; i < 200000; i++) { /* exponents around each type's range; every fourth value is a tie */
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t u = (uint32_t)(seed >> 33) % (0x48000000u - 0x32000000u) + 0x32000000u;
        if (i % 4 == 0) u &= ~0xfffu;
        if (i % 4 == 1) u &= ~0x3fffffu >> 3;
        float f;
        memcpy(&f, &u, 4);
        if (f < 65504) wrong += tenon_f32_to_f16(f) != nearest(f, f16_value, 0x7bff);
        if (f < 448) wrong += tenon_f32_to_f8e4m3(f, 1) != nearest(f, e4m3_value, 0x7e);
        if (f < 57344) wrong += tenon_f32_to_f8e5m2(f, 1) != nearest(f, e5m2_value, 0x7b);
    }
    CHECK(wrong == 0);
    CHECK(tenon_f32_to_f16(65519.f) == 0x7bff && tenon_f32_to_f16(65520.f) == 0x7c00 && tenon_f32_to_f16(1e30f) == 0x7c00);
    CHECK(tenon_f32_to_f16(-INFINITY) == 0xfc00 && isinf(tenon_f16_to_f32(0x7c00)) &&
          isnan(tenon_f16_to_f32(tenon_f32_to_f16(NAN))));
    CHECK(tenon_f32_to_f16(0x1p-25f) == 0 && tenon_f32_to_f16(0x1.8p-25f) == 1 && tenon_f32_to_f16(1e-40f) == 0);
    CHECK(tenon_f32_to_f8e4m3(464, 0) == 0x7e && tenon_f32_to_f8e4m3(465, 0) == 0x7f && tenon_f32_to_f8e4m3(465, 1) == 0x7e);
    CHECK(tenon_f32_to_f8e4m3(-INFINITY, 1) == 0xfe && tenon_f32_to_f8e4m3(INFINITY, 0) == 0x7f &&
          isnan(tenon_f8e4m3_to_f32(0x7f)));
    CHECK(tenon_f32_to_f8e5m2(1e9f, 0) == 0x7c && tenon_f32_to_f8e5m2(1e9f, 1) == 0x7b && isinf(tenon_f8e5m2_to_f32(0xfc)));
    CHECK(isnan(tenon_f8e5m2_to_f32(tenon_f32_to_f8e5m2(NAN, 1))) && isnan(tenon_f8e4m3_to_f32(tenon_f32_to_f8e4m3(NAN, 1))));
    CHECK(tenon_f32_to_bf16(1.00390625f) == 0x3f80 && tenon_f32_to_bf16(1.01171875f) == 0x3f82 &&
          tenon_bf16_to_f32(0xc000) == -2);
    CHECK(isinf(tenon_bf16_to_f32(tenon_f32_to_bf16(3.4e38f))) && isnan(tenon_bf16_to_f32(tenon_f32_to_bf16(NAN))));
}

static void test_checked(void)
{
    size_t s;
    int64_t i;
    CHECK(!tenon_add_size(SIZE_MAX, 1, &s) && !tenon_mul_size(SIZE_MAX, 2, &s) && tenon_mul_size(6, 7, &s) && s == 42);
    CHECK(!tenon_product((const int64_t[]){INT64_MAX, 2}, 2, &i) && !tenon_product((const int64_t[]){3, -1}, 2, &i));
    CHECK(tenon_product((const int64_t[]){3, 4}, 2, &i) && i == 12 && tenon_product(NULL, 0, &i) && i == 1);
    CHECK(tenon_ceil_div(7, 3) == 3 && tenon_ceil_div(-7, 3) == -2 && tenon_round_up(17, 16) == 32);
}

int main(void)
{
    test_messages();
    test_log();
    test_heap();
    test_arena_limits();
    out_of_memory(use_arena);
    out_of_memory(use_buf);
    out_of_memory(use_session);
    test_files();
    test_dl();
    test_isa();
    test_half();
    test_checked();
    const double t = tenon_now();
    usleep(2000);
    CHECK(tenon_now() - t >= 0.0015);
    return CHECK_END();
}
