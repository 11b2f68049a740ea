/* SPDX-License-Identifier: Apache-2.0 */
/* ir/dim: folding by pointer equality; random expressions against direct evaluation, with bounds, divisor and text checked at
   every node; overflow, out of memory, malformed text. */
#include "base/checked.h"
#include "check.h"
#include "ir/dim.h"

typedef const tenon_dim *dim;

static tenon_cx cx;
static tenon_arena arena;
static tenon_dim_pool pool;

static dim n(int64_t v) { return tenon_dim_const(&pool, v); }
static dim add(dim a, dim b) { return tenon_dim_add(&pool, a, b); }
static dim sub(dim a, dim b) { return tenon_dim_sub(&pool, a, b); }
static dim mul(dim a, dim b) { return tenon_dim_mul(&pool, a, b); }
static dim fdiv(dim a, dim b) { return tenon_dim_floordiv(&pool, a, b); }
static dim cdiv(dim a, dim b) { return tenon_dim_ceildiv(&pool, a, b); }
static dim mod(dim a, dim b) { return tenon_dim_mod(&pool, a, b); }
static dim min(dim a, dim b) { return tenon_dim_min(&pool, a, b); }
static dim max(dim a, dim b) { return tenon_dim_max(&pool, a, b); }
static dim eq(dim a, dim b) { return tenon_dim_eq(&pool, a, b); }
static dim lt(dim a, dim b) { return tenon_dim_lt(&pool, a, b); }
static dim sel(dim c, dim a, dim b) { return tenon_dim_select(&pool, c, a, b); }
static dim sym(const char *name, int64_t lo, int64_t hi, int64_t divisor)
{
    return tenon_dim_symbol_named(&pool, name, lo, lo, hi, divisor);
}

static void start(void)
{
    tenon_cx_init_default(&cx);
    tenon_arena_init(&arena, &cx);
    tenon_dim_pool_init(&pool, &arena);
}

static char *text(dim d)
{
    static char out[4096];
    tenon_buf b;
    tenon_buf_init(&b, &cx);
    tenon_dim_print(&b, &pool, d);
    snprintf(out, sizeof out, "%s", tenon_buf_cstr(&b));
    tenon_buf_free(&b);
    return out;
}

static dim parse(const char *s)
{
    dim d;
    CHECK_OK(&cx, tenon_dim_parse(&cx, &pool, s, strlen(s), &d));
    return d;
}

static void test_fold(void)
{
    start();
    dim batch = sym("batch", 1, 64, 1), h = sym("h", 1, 4096, 1), w = sym("w", 1, 4096, 1),
        any = sym("any", -TENON_DIM_HUGE, TENON_DIM_HUGE, 1);
    dim s = sym("s", 1, TENON_DIM_HUGE, 1), zero = sym("zero", 0, 100, 1);
    CHECK(sym("batch", 0, 64, 1) == batch && pool.symbol[0].lo == 1);
    CHECK(fdiv(mul(batch, n(49)), n(49)) == batch);
    CHECK(fdiv(mul(mul(batch, n(12)), n(64)), n(12)) == mul(batch, n(64)));
    CHECK(mul(mul(batch, n(3)), n(4)) == mul(n(12), batch));
    CHECK(sub(mul(add(h, n(3)), n(2)), n(6)) == mul(n(2), h));
    CHECK(fdiv(mul(n(2), h), n(2)) == h);
    CHECK(eq(batch, n(-1)) == n(0));
    CHECK(eq(zero, n(-1)) == n(0) && eq(zero, n(0)) != n(0) && eq(zero, n(0)) != n(1));
    CHECK(max(batch, n(1)) == batch && max(n(1), batch) == batch && max(zero, n(1)) != zero);
    CHECK(mod(mul(n(4), batch), n(2)) == n(0));
    CHECK(cdiv(mul(n(6), batch), n(3)) == mul(n(2), batch));
    CHECK(sel(n(1), h, w) == h && sel(n(0), h, w) == w && sel(eq(h, w), s, s) == s);
    CHECK(sel(eq(batch, n(-1)), n(1), batch) == batch && sel(lt(batch, n(0)), add(batch, n(5)), batch) == batch);
    CHECK(sel(eq(h, w), h, w) == w && sel(lt(h, w), n(1), n(0)) == lt(h, w) && sel(batch, h, w) == h);
    CHECK(min(h, w) == min(w, h) && max(h, w) == max(w, h) && min(h, h) == h);
    CHECK(min(min(h, w), batch) == min(h, min(batch, w)) && min(h, add(h, n(1))) == h && max(h, add(h, w)) == add(h, w));
    CHECK(min(h, n(INT64_MAX)) == h && min(s, n(INT64_MAX)) == s && max(any, n(INT64_MIN)) == any);
    CHECK(eq(h, w) == eq(w, h) && eq(mul(h, n(2)), mul(w, n(2))) == eq(h, w) && eq(add(h, n(3)), add(w, n(3))) == eq(w, h));
    CHECK(eq(mul(h, n(2)), n(7)) == n(0) && eq(h, h) == n(1) && lt(h, h) == n(0) && lt(h, add(h, n(1))) == n(1));
    CHECK(lt(mul(h, n(2)), n(7)) == lt(h, n(4)));
    CHECK(add(h, w) == add(w, h) && mul(h, w) == mul(w, h) && sub(h, h) == n(0) && mul(h, n(0)) == n(0) && mul(h, n(1)) == h);
    CHECK(mul(add(h, w), sub(h, w)) == sub(mul(h, h), mul(w, w)));
    /* reshapes by -1, of products and of sums */
    dim seq = add(mul(fdiv(h, n(16)), fdiv(w, n(16))), n(1));
    CHECK(fdiv(mul(mul(batch, seq), n(768)), mul(batch, n(768))) == seq);
    CHECK(fdiv(mul(mul(batch, seq), n(768)), mul(batch, seq)) == n(768));
    CHECK(fdiv(mul(mul(batch, seq), n(768)), seq) == mul(batch, n(768)));
    CHECK(mod(mul(mul(batch, seq), n(768)), seq) == n(0) && cdiv(mul(batch, seq), seq) == batch);
    CHECK(fdiv(mul(any, batch), any) == batch && mod(any, any) == n(0) && fdiv(any, any) == n(1));
    CHECK(fdiv(batch, n(64)) != n(0) && fdiv(batch, n(65)) == n(0) && mod(batch, n(65)) == batch &&
          mod(sub(h, n(1)), h) == sub(h, n(1)));
    /* strides after strides, in both spellings of a ceiling */
    dim one = add(fdiv(sub(h, n(1)), n(2)), n(1));
    CHECK(one == cdiv(h, n(2)) && one == fdiv(add(h, n(1)), n(2)));
    CHECK(cdiv(cdiv(h, n(2)), n(4)) == cdiv(h, n(8)) && fdiv(fdiv(h, n(2)), n(3)) == fdiv(h, n(6)));
    CHECK(add(fdiv(add(sub(h, n(3)), n(2)), n(1)), n(1)) == h);
    CHECK(fdiv(n(-7), n(2)) == n(-4) && cdiv(n(-7), n(2)) == n(-3) && mod(n(-7), n(2)) == n(1) && mod(n(7), n(-2)) == n(-1) &&
          fdiv(n(7), n(-2)) == n(-4));
    CHECK(fdiv(h, n(-1)) == sub(n(0), h) && mod(add(mul(h, n(6)), n(5)), n(3)) == n(2));
    /* divisors */
    dim u = sym("u", 32, 1024, 32);
    CHECK(mul(fdiv(u, n(32)), n(32)) == u && mul(fdiv(u, n(8)), n(8)) == u && mod(u, n(16)) == n(0));
    CHECK(fdiv(fdiv(u, n(4)), n(8)) == fdiv(u, n(32)) && mul(fdiv(u, n(16)), n(2)) == fdiv(u, n(8)) &&
          cdiv(u, n(4)) == fdiv(u, n(4)));
    CHECK(fdiv(add(u, n(1)), n(2)) == fdiv(u, n(2)) && fdiv(mul(u, w), n(32)) == mul(fdiv(u, n(32)), w));
    CHECK(eq(u, n(33)) == n(0) && eq(u, n(64)) != n(0));
    dim r = tenon_dim_symbol_fresh(&pool, "nonzero", 0, 10);
    CHECK(tenon_dim_depends_on_data(&pool, add(mul(r, h), w)) && !tenon_dim_depends_on_data(&pool, add(h, w)));
    CHECK(tenon_dim_symbol_fresh(&pool, "nonzero", 0, 10) != r && r->lo == 0 && r->hi == 10);
    /* bounds follow a symbol that is narrowed later */
    dim late = sym("late", 1, 100, 1), twice = mul(late, n(2));
    CHECK(twice->hi == 200);
    CHECK(sym("late", 1, 50, 4) == late && twice->hi == 100 && twice->divisor == 8);
    CHECK(!sym("late", 60, 70, 1) && strstr(cx.message, "late") && !pool.failed);
    CHECK(!sym("empty", 5, 4, 1) && strstr(cx.message, "empty"));
    CHECK(tenon_dim_at_opt(&pool, add(mul(batch, n(10)), h)) == 11);
    tenon_arena_free(&arena);
}

static void test_text(void)
{
    start();
    dim b = sym("batch", 1, 64, 1), h = sym("h", 1, 4096, 1);
    sym("a b`c", 1, 2, 1), sym("min", 1, 2, 1), sym("2x", 1, 2, 1);
    CHECK_TEXT(text(add(mul(b, n(49)), n(3))), "batch*49+3");
    CHECK_TEXT(text(fdiv(add(h, n(1)), n(2))), "floordiv(h+1,2)");
    CHECK_TEXT(text(min(b, n(16))), "min(batch,16)");
    CHECK_TEXT(text(sub(n(6), mul(h, n(2)))), "-h*2+6");
    CHECK_TEXT(text(sub(mul(b, h), n(6))), "batch*h-6");
    CHECK_TEXT(text(sel(lt(b, h), b, n(-3))), "select(lt(batch,h),batch,-3)");
    CHECK_TEXT(text(n(INT64_MIN)), "-9223372036854775808");
    CHECK_TEXT(text(NULL), "?");
    const char *const forms[] = {"batch*49+3",
                                 "-h*2+6",
                                 "min(batch,h,7)",
                                 "select(lt(batch,h),batch,-3)",
                                 "`a b\\`c`+`min`*`2x`*2",
                                 "-9223372036854775808",
                                 "floordiv(batch*h+1,7)*3-mod(h,5)",
                                 "h*-9223372036854775808",
                                 "ceildiv(batch,h-9)",
                                 "mod(h,-3)"};
    for (size_t i = 0; i < TENON_COUNTOF(forms); i++) {
        dim d = parse(forms[i]);
        char printed[4096];
        snprintf(printed, sizeof printed, "%s", text(d));
        CHECK(d && parse(printed) == d);
    }
    CHECK(parse(" ( batch + 3 ) * 2 - 6 ") == mul(b, n(2)) && parse("3-5") == n(-2) &&
          parse("2-3*h") == sub(n(2), mul(h, n(3))) && parse("-(h)") == sub(n(0), h));
    CHECK(parse("h-3*2") == sub(h, n(6)) && parse("--3") == n(3));
    const char *const bad[] = {"",
                               "+",
                               "batch*",
                               "x",
                               "(h",
                               "h)",
                               "min(h)",
                               "min h",
                               "floordiv(h,2,3)",
                               "9223372036854775808",
                               "h h",
                               "`h",
                               "select(h,h)",
                               "3x",
                               "*",
                               "9223372036854775807+1",
                               "h*9223372036854775807*2",
                               "min(",
                               "min(h,"};
    dim d;
    for (size_t i = 0; i < TENON_COUNTOF(bad); i++) {
        const tenon_status status = tenon_dim_parse(&cx, &pool, bad[i], strlen(bad[i]), &d);
        if (status != TENON_INVALID) fprintf(stderr, "'%s' was taken\n", bad[i]);
        CHECK(status == TENON_INVALID && !d && cx.message[0]);
    }
    char deep[5000];
    memset(deep, '(', sizeof deep);
    CHECK_FAILS(&cx, tenon_dim_parse(&cx, &pool, deep, sizeof deep, &d), TENON_INVALID, "nested");
    tenon_arena_free(&arena);
}

static void test_overflow(void)
{
    start();
    dim h = sym("h", 1, TENON_DIM_HUGE, 1), w = sym("w", -5, TENON_DIM_HUGE, 1);
    CHECK(!add(n(INT64_MAX), n(1)) && strstr(cx.message, "64 bits") && !pool.failed);
    CHECK(!mul(n(INT64_MAX), n(2)) && !sub(n(0), n(INT64_MIN)) && !fdiv(n(INT64_MIN), n(-1)) && !mul(mul(h, n(INT64_MAX)), n(2)));
    CHECK(add(NULL, h) == NULL && mul(h, NULL) == NULL && fdiv(NULL, h) == NULL && min(NULL, NULL) == NULL &&
          sel(NULL, h, h) == NULL && !pool.failed);
    dim big = mul(mul(h, h), w);
    CHECK(big->hi == TENON_DIM_HUGE && big->lo >= -TENON_DIM_HUGE);
    CHECK(n(INT64_MAX)->hi == TENON_DIM_HUGE && n(INT64_MAX)->value == INT64_MAX);
    CHECK(sub(h, w)->lo == -TENON_DIM_HUGE && lt(h, n(INT64_MAX)) == n(1) && eq(h, n(INT64_MAX)) == n(0));
    CHECK(fdiv(n(INT64_MIN), n(3)) == n(INT64_MIN / 3 - 1) && mod(n(INT64_MIN), n(3)) == n(1) && fdiv(h, n(INT64_MIN)) == NULL);
    /* no division by zero while building, an answer while evaluating */
    int64_t v, at[2] = {3, 4};
    CHECK(fdiv(h, n(0)) && !tenon_dim_eval(fdiv(h, n(0)), at, &v) && !tenon_dim_eval(mod(h, n(0)), at, &v) &&
          !tenon_dim_eval(cdiv(n(3), n(0)), at, &v));
    at[0] = INT64_MAX;
    CHECK(!tenon_dim_eval(mul(h, n(2)), at, &v) && !tenon_dim_eval(add(h, n(2)), at, &v) && tenon_dim_eval(n(5), NULL, &v) &&
          v == 5);
    /* too many terms: kept as factors, still right; too large as a tree: NULL, not a crash */
    dim product = n(1), sum = n(0), nest = h;
    int64_t values[64], want = 1, total = 0;
    values[0] = values[1] = 2;
    for (int i = 2; i < 62; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        dim s = sym(name, 0, 100, 1);
        values[i] = i % 7;
        sum = add(sum, s);
        total += i % 7;
        if (i % 10 == 9) {
            product = mul(product, add(add(s, h), mul(s, w)));
            want *= values[i] + 2 + values[i] * 2;
        }
    }
    CHECK(tenon_dim_eval(sum, values, &v) && v == total);
    CHECK(tenon_dim_eval(product, values, &v) && v == want);
    CHECK(tenon_dim_eval(mul(sum, sum), values, &v) && v == total * total && sub(sum, sum) == n(0));
    for (int i = 0; i < 300 && nest; i++) nest = add(min(nest, mul(nest, w)), fdiv(nest, h));
    CHECK(!nest && !pool.failed);
    tenon_arena_free(&arena);
}

/* ---- random expressions ---- */
static uint64_t seed = 7;
static int64_t roll(int64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)(seed >> 33) % below;
}

enum { SYMBOLS = 4, SAMPLES = 12 };
typedef struct traced { dim d; bool defined[SAMPLES]; int64_t value[SAMPLES]; } traced;

static bool direct(int op, int64_t a, int64_t b, int64_t c, int64_t *out)
{
    if ((op >= 3 && op <= 5) && b == 0) return false;
    const int64_t q = b ? a / b - (a % b != 0 && (a < 0) != (b < 0)) : 0;
    switch (op) {
    case 0: return tenon_add_i64(a, b, out);
    case 1: return tenon_sub_i64(a, b, out);
    case 2: return tenon_mul_i64(a, b, out);
    case 3: *out = q; return true;
    case 4: *out = q + (a % b != 0); return true;
    case 5: *out = a - q * b; return true;
    case 6: *out = TENON_MIN(a, b); return true;
    case 7: *out = TENON_MAX(a, b); return true;
    case 8: *out = a == b; return true;
    case 9: *out = a < b; return true;
    default: *out = a ? b : c; return true;
    }
}

static dim build(int op, dim a, dim b, dim c)
{
    dim (*const two[])(dim, dim) = {add, sub, mul, fdiv, cdiv, mod, min, max, eq, lt};
    return op < 10 ? two[op](a, b) : sel(a, b, c);
}

static int wrong_at(const traced *t, int64_t (*sample)[SYMBOLS])
{
    int wrong = 0;
    for (int s = 0; s < SAMPLES; s++) {
        int64_t got;
        if (!t->defined[s]) continue;
        if (t->value[s] > TENON_DIM_HUGE || t->value[s] < -TENON_DIM_HUGE) continue;
        if (!tenon_dim_eval(t->d, sample[s], &got))
            continue; /* an intermediate product may overflow where the original did not */
        wrong += got != t->value[s] || got < t->d->lo || got > t->d->hi;
        wrong += t->d->divisor ? got % t->d->divisor != 0 : got != 0;
    }
    if (wrong) fprintf(stderr, "wrong: %s\n", text(t->d));
    char printed[4096];
    snprintf(printed, sizeof printed, "%s", text(t->d));
    dim again;
    if (strlen(printed) < sizeof printed - 1 &&
        (tenon_dim_parse(&cx, &pool, printed, strlen(printed), &again) != TENON_OK || again != t->d)) {
        wrong++;
        fprintf(stderr, "text: %s\n  as %s (%s)\n", printed, text(again), cx.message);
    }
    return wrong;
}

static int random_round(void)
{
    static traced t[60];
    int64_t sample[SAMPLES][SYMBOLS];
    int count = 0, wrong = 0;
    start();
    for (int i = 0; i < SYMBOLS; i++, count++) {
        const int64_t divisor = i == 0 ? 1 + roll(3) * 4 : 1 + roll(2), lo = i == 3 ? -20 : roll(3) * divisor,
                      hi = lo + roll(40) * divisor;
        t[count].d = sym((const char *[]){"a", "b", "c", "d"}[i], lo, hi, divisor);
        for (int s = 0; s < SAMPLES; s++) {
            const int64_t first = tenon_ceil_div(lo, divisor), last = hi / divisor - (hi % divisor < 0),
                          v = first <= last ? (first + roll(last - first + 1)) * divisor : 0;
            if (first > last) return 0; /* no multiple in the range */
            sample[s][i] = t[count].value[s] = v;
            t[count].defined[s] = true;
        }
    }
    while (count < 60 && !wrong) {
        traced *out = &t[count];
        const int op = (int)roll(11), a = (int)roll(count), b = (int)roll(count), c = (int)roll(count);
        const bool number = roll(3) == 0;
        const int64_t k = roll(4) ? 1 + roll(12) : roll(9) - 4;
        out->d = build(op, t[a].d, number ? n(k) : t[b].d, t[c].d);
        if (!out->d || out->d->size > 300) continue;
        for (int s = 0; s < SAMPLES; s++) {
            const int64_t bv = number ? k : t[b].value[s];
            out->defined[s] = t[a].defined[s] && (number || t[b].defined[s]) && (op < 10 || t[c].defined[s]) &&
                              direct(op, t[a].value[s], bv, t[c].value[s], &out->value[s]) && out->value[s] < TENON_DIM_HUGE &&
                              out->value[s] > -TENON_DIM_HUGE;
        }
        wrong += wrong_at(out, sample);
        count++;
    }
    tenon_arena_free(&arena);
    return wrong;
}

static tenon_status use_pool(tenon_cx *c)
{
    tenon_arena a;
    tenon_dim_pool p;
    tenon_arena_init(&a, c);
    tenon_dim_pool_init(&p, &a);
    dim x = tenon_dim_symbol_named(&p, "x", 1, 1, 100, 4), y = tenon_dim_symbol_fresh(&p, "y", 0, 9), d = tenon_dim_const(&p, 3);
    for (int i = 1; i < 200; i++) {
        dim k = tenon_dim_const(&p, i);
        d = tenon_dim_add(&p, tenon_dim_mul(&p, d, k),
                          tenon_dim_select(&p, tenon_dim_eq(&p, x, k), tenon_dim_floordiv(&p, x, k), y));
        d = tenon_dim_max(&p, tenon_dim_mod(&p, d, k), tenon_dim_ceildiv(&p, tenon_dim_min(&p, x, k), y));
    }
    const bool good = d != NULL && !p.failed;
    CHECK(good || p.failed);
    tenon_arena_free(&a);
    return good ? TENON_OK : TENON_NOMEM;
}

static void test_memory(void)
{
    for (long at = 1; at < 400; at++) {
        check_heap heap = {.fail_at = at};
        tenon_cx c;
        check_heap_install(&heap, &c);
        const tenon_status status = use_pool(&c);
        CHECK(heap.live == 0 && (heap.calls >= at) == (status == TENON_NOMEM));
        if (status == TENON_OK) return;
    }
    CHECK(!"an end of the allocations");
}

static void test_copy(void)
{
    start();
    dim h = sym("h", 1, 50, 1), w = sym("w", 1, 50, 1), d = add(mul(fdiv(h, n(3)), w), max(min(h, w), n(4)));
    tenon_dim_pool other;
    tenon_dim_pool_init(&other, &arena);
    dim map[2] = {tenon_dim_symbol_named(&other, "a", 1, 6, 50, 1), tenon_dim_const(&other, 7)};
    dim copy = tenon_dim_copy(&other, d, map);
    CHECK(copy && tenon_dim_at_opt(&other, copy) == 2 * 7 + 6);
    map[1] = NULL;
    CHECK(!tenon_dim_copy(&other, d, map) && !other.failed);
    map[0] = h, map[1] = w;
    CHECK(tenon_dim_copy(&pool, d, map) == d);
    CHECK(tenon_dim_copy(&pool, NULL, map) == NULL);
    tenon_arena_free(&arena);
}

int main(int argc, char **argv)
{
    const int rounds = argc > 1 ? atoi(argv[1]) : 300;
    test_fold();
    test_text();
    test_overflow();
    test_copy();
    test_memory();
    for (int i = 0; i < rounds; i++) CHECK(random_round() == 0);
    return CHECK_END();
}
