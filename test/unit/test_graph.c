/* SPDX-License-Identifier: Apache-2.0 */
/* ir/: tensors, graphs and their editing, the verifier, text. Operators here are rows of its own: this layer knows heads only. */
#include "base/half.h"
#include "check.h"
#include "ir/graph.h"

#include <math.h>

extern const tenon_op tenon_op_identity;

static const tenon_attr_def plain_attrs[] = {{.name = NULL}};
static const tenon_attr_def many_attrs[] = {
    {.name = "axis", .kind = TENON_ATTR_INT, .i = -1}, {.name = "alpha", .kind = TENON_ATTR_FLOAT, .f = 0.5},
    {.name = "mode", .kind = TENON_ATTR_STRING, .s = "same"}, {.name = "pads", .kind = TENON_ATTR_INTS},
    {.name = "scales", .kind = TENON_ATTR_FLOATS}, {.name = "names", .kind = TENON_ATTR_STRINGS},
    {.name = "to", .kind = TENON_ATTR_DTYPE, .i = TENON_F32}, {.name = "value", .kind = TENON_ATTR_TENSOR}, {.name = NULL}};
static const tenon_attr_def if_attrs[] = {{.name = "then_branch", .kind = TENON_ATTR_GRAPH, .required = true},
                                          {.name = "else_branch", .kind = TENON_ATTR_GRAPH, .required = true},
                                          {.name = NULL}};
static const tenon_attr_def need_attrs[] = {{.name = "to", .kind = TENON_ATTR_DTYPE, .required = true}, {.name = NULL}};
static const tenon_op_head heads[] = {
    {"relu", plain_attrs}, {"add", NULL}, {"many", many_attrs}, {"if", if_attrs}, {"cast", need_attrs}};

static const tenon_op *lookup(const char *name, size_t length)
{
    for (size_t i = 0; i < TENON_COUNTOF(heads); i++)
        if (strlen(heads[i].name) == length && !memcmp(heads[i].name, name, length))
            return (const tenon_op *)(const void *)&heads[i];
    return NULL;
}
static const tenon_op *op(const char *name) { return lookup(name, strlen(name)); }

static tenon_cx cx;
static tenon_arena arena;

static tenon_graph *begin(void)
{
    tenon_graph *g;
    tenon_cx_init_default(&cx);
    tenon_arena_init(&arena, &cx);
    CHECK_OK(&cx, tenon_graph_create(&cx, &arena, NULL, NULL, &g));
    return g;
}

static tenon_value *input(tenon_graph *g, const char *name)
{
    tenon_value *v;
    tenon_type t = {.dtype = TENON_F32, .rank = 1, .dim = {tenon_dim_const(g->dims, 8)}};
    CHECK_OK(&cx, tenon_graph_value(g, name, &t, &v));
    CHECK_OK(&cx, tenon_graph_add_input(g, v));
    return v;
}

static tenon_value *apply(tenon_graph *g, const char *name, tenon_value *a, tenon_value *b)
{
    tenon_node *n;
    CHECK_OK(&cx, tenon_graph_node(g, op(b ? "add" : "relu"), name, b ? 2 : 1, (tenon_value *const[]){a, b}, 1, &n));
    n->dst[0]->type = a->type;
    return n->dst[0];
}

static tenon_graph *parse(const char *s)
{
    tenon_graph *g;
    return CHECK_OK(&cx, tenon_graph_parse(&cx, &arena, lookup, s, &g)) ? g : NULL;
}

static void check_print(const tenon_graph *g, const char *want)
{
    tenon_buf b;
    tenon_buf_init(&b, &cx);
    tenon_graph_print(&b, g);
    CHECK_TEXT(tenon_buf_cstr(&b), want);
    tenon_buf_free(&b);
}

static void test_tensor(void)
{
    float data[24], copy[24];
    for (int i = 0; i < 24; i++) data[i] = (float)i;
    tenon_tensor a = {.dtype = TENON_F32, .rank = 4, .dim = {1, 2, 3, 4}, .data = data}, b = a;
    b.data = copy;
    tenon_tensor_dense(&a);
    tenon_tensor_channels_last(&b);
    CHECK(tenon_tensor_is_dense(&a) && !tenon_tensor_is_dense(&b) && tenon_tensor_count(&a) == 24 && b.stride[1] == 1 &&
          b.stride[3] == 2 && b.stride[2] == 8);
    tenon_tensor_copy(&b, &a);
    int wrong = 0;
    for (int i = 0; i < 24; i++) wrong += tenon_tensor_get_f64(&b, tenon_tensor_offset(&b, i)) != i;
    memset(data, 0, sizeof data);
    tenon_tensor_copy(&a, &b);
    for (int i = 0; i < 24; i++) wrong += data[i] != (float)i;
    CHECK(wrong == 0);
    CHECK(tenon_tensor_count(&(tenon_tensor){.rank = 2, .dim = {INT64_MAX, 2}}) == INT64_MAX);
    uint8_t room[16] = {0};
    for (int t = TENON_F32; t <= TENON_BOOL; t++) {
        tenon_tensor s = {.dtype = (tenon_dtype)t, .rank = 1, .dim = {2}, .stride = {1}, .data = room};
        tenon_tensor_set_f64(&s, 1, 1);
        tenon_tensor_set_i64(&s, 0, 0);
        CHECK(tenon_tensor_get_f64(&s, 1) == 1 && tenon_tensor_get_i64(&s, 1) == 1 && tenon_tensor_get_i64(&s, 0) == 0);
        tenon_dtype back;
        CHECK(tenon_dtype_parse(tenon_dtype_name(s.dtype), strlen(tenon_dtype_name(s.dtype)), &back) && back == s.dtype &&
              tenon_dtype_bits(back));
        if (!tenon_is_int(s.dtype)) continue;
        tenon_tensor_set_f64(&s, 0, 1e30);
        tenon_tensor_set_f64(&s, 1, NAN);
        CHECK(tenon_tensor_get_i64(&s, 1) == 0 &&
              (s.dtype == TENON_U64 ? tenon_tensor_get_f64(&s, 0) == 0x1p64 : tenon_tensor_get_f64(&s, 0) > 0));
    }
    tenon_tensor i8 = {.dtype = TENON_I8, .rank = 1, .dim = {2}, .stride = {1}, .data = room}, i4 = i8, f16 = i8;
    tenon_tensor_set_f64(&i8, 0, -2.5), tenon_tensor_set_f64(&i8, 1, -300);
    CHECK(tenon_tensor_get_i64(&i8, 0) == -2 && tenon_tensor_get_i64(&i8, 1) == -128);
    i4.dtype = TENON_I4;
    tenon_tensor_set_i64(&i4, 0, -3), tenon_tensor_set_i64(&i4, 1, 7);
    CHECK(tenon_tensor_get_i64(&i4, 0) == -3 && tenon_tensor_get_i64(&i4, 1) == 7 && room[0] == 0x7d);
    f16.dtype = TENON_F16;
    tenon_tensor_set_f64(&f16, 0, 1 + 0x1p-11 + 0x1p-40); /* two roundings to even would give 1 */
    CHECK(tenon_tensor_get_f64(&f16, 0) == 1 + 0x1p-10);
    CHECK_TEXT(tenon_dtype_name((tenon_dtype)99), "none");
}

static void test_names_and_attrs(void)
{
    tenon_graph *g = begin(), *sub;
    tenon_value *a = input(g, "a"), *b, *c;
    CHECK_OK(&cx, tenon_graph_value(g, "a", NULL, &b));
    CHECK_TEXT(b->name, "a.1");
    CHECK_OK(&cx, tenon_graph_create(&cx, &arena, NULL, g, &sub));
    CHECK_OK(&cx, tenon_graph_value(sub, "a", NULL, &c));
    CHECK(strcmp(c->name, "a") && strcmp(c->name, "a.1") && tenon_graph_find(sub, "a", 1) == a && !tenon_graph_find(g, "zz", 2) &&
          sub->dims == g->dims);
    for (int i = 0; i < 500; i++)
        CHECK(tenon_graph_value(g, "many", NULL, &b) == TENON_OK && tenon_graph_find(g, b->name, strlen(b->name)) == b);
    tenon_node *n;
    CHECK_OK(&cx, tenon_graph_node(g, op("many"), "n", 1, &a, 2, &n));
    CHECK(tenon_node_int(n, "axis") == -1 && tenon_node_float(n, "alpha") == 0.5 &&
          !strcmp(tenon_node_attr(n, "mode")->s, "same") && !tenon_node_attr(n, "pads")->set);
    CHECK_OK(&cx, tenon_node_set_int(g, n, "axis", 3));
    CHECK_OK(&cx, tenon_node_set_ints(g, n, "pads", (const int64_t[]){1, -2}, 2));
    CHECK_OK(&cx, tenon_node_set_floats(g, n, "scales", (const double[]){0.1, 1e20, -INFINITY}, 3));
    CHECK_OK(&cx, tenon_node_set_strings(g, n, "names", (const char *const[]){"a\"b", "c\n"}, 2));
    CHECK_OK(&cx, tenon_node_set_dtype(g, n, "to", TENON_F16));
    CHECK_OK(&cx, tenon_node_set_string(g, n, "mode", "same"));
    CHECK_FAILS(&cx, tenon_node_set_int(g, n, "nope", 3), TENON_INVALID, "nope");
    CHECK_FAILS(&cx, tenon_node_set_int(g, n, "pads", 3), TENON_INVALID, "kind");
    tenon_buf t;
    tenon_buf_init(&t, &cx);
    tenon_attrs_print(&t, n, ",");
    CHECK_TEXT(tenon_buf_cstr(&t), ",axis=3,pads=1+-2,scales=0.1+1e20+-inf,names=\"a\\\"b\"+\"c\\x0a\",to=f16");
    tenon_buf_free(&t);
    const char *const good[] = {
        "axis=-9223372036854775808", "alpha=1e-5",    "mode=\"x y\"", "pads=[]", "pads=3", "scales=1.5+nan", "to=i64",
        "value=f32[2]{1+-2.5}",      "value=i64[]{7}"};
    for (size_t i = 0; i < TENON_COUNTOF(good); i++) CHECK_OK(&cx, tenon_attr_parse(g, n, good[i], strlen(good[i])));
    CHECK(tenon_node_int(n, "axis") == INT64_MIN && tenon_node_attr(n, "pads")->count == 1 &&
          tenon_node_attr(n, "value")->tensor->rank == 0 && tenon_node_int(n, "to") == TENON_I64);
    const char *const bad[] = {"axis",
                               "axis=",
                               "axis=1.5",
                               "axis=9223372036854775808",
                               "alpha=x",
                               "mode=x",
                               "mode=\"x",
                               "pads=1+",
                               "pads=1,2",
                               "to=f99",
                               "value=f32[2]{1}",
                               "value=f32[-1]{}",
                               "value=f32[99999999999]{1}",
                               "nope=1",
                               "=",
                               "value=i8[1]{300}",
                               "scales="};
    for (size_t i = 0; i < TENON_COUNTOF(bad); i++)
        CHECK_FAILS(&cx, tenon_attr_parse(g, n, bad[i], strlen(bad[i])), TENON_INVALID, "");
    tenon_arena_free(&arena);
}

static void test_edit(void)
{
    tenon_graph *g = begin();
    tenon_value *x = input(g, "x"), *a = apply(g, "a", x, NULL), *b = apply(g, "b", a, x), *dead = apply(g, "dead", b, NULL),
                *y = apply(g, "y", b, NULL);
    CHECK_OK(&cx, tenon_graph_add_output(g, y));
    CHECK_OK(&cx, tenon_graph_verify(g));
    CHECK_OK(&cx, tenon_graph_index_uses(g));
    CHECK(x->use_count == 2 && b->use_count == 2 && y->use_count == 1 && !y->use[0].node && a->use[0].node == b->producer &&
          a->use[0].index == 0 && dead->use_count == 0);
    tenon_graph_prune(g);
    CHECK(g->node_count == 3 && dead->producer->dead && dead->id == -1);
    CHECK_OK(&cx, tenon_graph_verify(g));
    /* a node made last and used first: sort moves it, and nothing else */
    tenon_value *late = apply(g, "late", x, NULL);
    b->producer->src[1] = late;
    CHECK_FAILS(&cx, tenon_graph_verify(g), TENON_INVALID, "before node 'late'");
    CHECK_OK(&cx, tenon_graph_sort(g));
    CHECK(g->node[0] == a->producer && g->node[1] == late->producer && g->node[2] == b->producer && g->node[3] == y->producer &&
          y->producer->id == 3);
    CHECK_OK(&cx, tenon_graph_verify(g));
    /* a cycle is named and leaves the order alone */
    a->producer->src[0] = y;
    CHECK_FAILS(&cx, tenon_graph_sort(g), TENON_INVALID, "cycle");
    a->producer->src[0] = a;
    CHECK_FAILS(&cx, tenon_graph_sort(g), TENON_INVALID, "'a'");
    a->producer->src[0] = x;
    CHECK_OK(&cx, tenon_graph_sort(g));
    /* replace: plain, output by renaming, output by identity */
    CHECK_OK(&cx, tenon_graph_replace(g, a, x));
    CHECK(b->producer->src[0] == x);
    CHECK_OK(&cx, tenon_graph_replace(g, y, b));
    CHECK(g->output[0] == b && !strcmp(b->name, "y") && tenon_graph_find(g, "y", 1) == b && !strcmp(y->name, "b"));
    CHECK_OK(&cx, tenon_graph_replace(g, b, x));
    CHECK(g->output[0] != x && g->output[0]->producer->op == &tenon_op_identity && g->output[0]->producer->src[0] == x &&
          !strcmp(g->output[0]->name, "y"));
    CHECK_OK(&cx, tenon_graph_sort(g));
    tenon_graph_prune(g);
    CHECK(g->node_count == 1);
    CHECK_OK(&cx, tenon_graph_verify(g));
    tenon_arena_free(&arena);
    /* long chains do not recurse */
    g = begin();
    tenon_value *v = input(g, "x");
    for (int i = 0; i < 100000; i++) {
        tenon_node *n;
        if (tenon_graph_node(g, op("relu"), "c", 1, &v, 1, &n) != TENON_OK) break;
        n->dst[0]->type = v->type;
        v = n->dst[0];
    }
    CHECK_OK(&cx, tenon_graph_add_output(g, v));
    for (size_t i = 0; i < g->node_count / 2; i++) {
        tenon_node *n = g->node[i];
        g->node[i] = g->node[g->node_count - 1 - i];
        g->node[g->node_count - 1 - i] = n;
    }
    CHECK_OK(&cx, tenon_graph_sort(g));
    CHECK_OK(&cx, tenon_graph_verify(g));
    tenon_graph_prune(g);
    CHECK(g->node_count == 100000);
    tenon_arena_free(&arena);
}

static void test_verify(void)
{
    tenon_graph *g = begin();
    tenon_value *x = input(g, "x"), *a = apply(g, "a", x, NULL), *c;
    CHECK_OK(&cx, tenon_graph_add_output(g, a));
    CHECK_OK(&cx, tenon_graph_const_f32(g, "half", 0.5f, &c));
    CHECK_OK(&cx, tenon_graph_verify(g));
    a->type.dtype = TENON_DTYPE_NONE;
    CHECK_FAILS(&cx, tenon_graph_verify(g), TENON_INVALID, "no type");
    CHECK_OK(&cx, tenon_graph_verify_structure(g));
    a->type = x->type;
    c->type.dtype = TENON_F64;
    CHECK_FAILS(&cx, tenon_graph_verify(g), TENON_INVALID, "half");
    c->type.dtype = TENON_F32;
    tenon_node *cast;
    CHECK_OK(&cx, tenon_graph_node(g, op("cast"), "k", 1, &x, 0, &cast));
    CHECK_FAILS(&cx, tenon_graph_verify(g), TENON_INVALID, "'to' is missing");
    CHECK_OK(&cx, tenon_node_set_dtype(g, cast, "to", TENON_F16));
    CHECK_OK(&cx, tenon_graph_verify(g));
    cast->dst = &a, cast->dst_count = 1;
    CHECK_FAILS(&cx, tenon_graph_verify(g), TENON_INVALID, "made elsewhere");
    cast->dst_count = 0;
    g->input_count = 0;
    CHECK_FAILS(&cx, tenon_graph_verify(g), TENON_INVALID, "nothing makes");
    g->input_count = 1;
    tenon_arena_free(&arena);
    g = begin();
    CHECK_FAILS(&cx, tenon_graph_const(g, "c", &(tenon_tensor){.dtype = TENON_F32, .rank = 9}, false, &c), TENON_UNSUPPORTED,
                "rank 9");
    CHECK_FAILS(&cx, tenon_graph_const(g, "c", &(tenon_tensor){.dtype = TENON_F32, .rank = 1, .dim = {-1}}, false, &c),
                TENON_INVALID, "-1");
    CHECK_FAILS(&cx, tenon_graph_const(g, "c", &(tenon_tensor){.dtype = TENON_F32, .rank = 2, .dim = {INT64_MAX, 4}}, true, &c),
                TENON_INVALID, "copied");
    tenon_arena_free(&arena);
}

static const char whole[] =
    "graph(x: f32[batch,8], c: bool[], `a b`: i64[n*2] where batch=1..8@4%2, ?n=0..*) {\n"
    "  w: f32[2,2] = const {1,-0.5,1e20,nan}\n"
    "  s: string[2] = const {\"a\\\"\",\"b c\"}\n"
    "  h: i64[] = const {-7}\n"
    "  p: f32[4] = weight many(w) pads=1+2\n"
    "  a: f32[batch,8], - = many(x, -, w) axis=3 names=\"x y\"+\"z\" value=f32[1]{2}\n"
    "  z: f32[batch,8] = if(c) then_branch=graph() {\n"
    "    t: f32[batch,8] = relu(a)\n"
    "    return t\n"
    "  } else_branch=graph() {\n"
    "    return a\n"
    "  }\n"
    "  q: sequence(f32[*]) = relu(z)\n"
    "  return z, q\n"
    "}\n";

static void test_text(void)
{
    begin();
    tenon_graph *g = parse(whole);
    if (g) {
        check_print(g, whole);
        CHECK_OK(&cx, tenon_graph_verify(g));
        CHECK_OK(&cx, tenon_graph_index_uses(g));
        tenon_value *a = tenon_graph_find(g, "a", 1), *p = tenon_graph_find(g, "p", 1);
        CHECK(a && a->use_count == 2 && p && p->is_const && p->expr && !p->producer && g->node_count == 3 &&
              g->dims->symbol_count == 2);
        tenon_value *x = tenon_graph_find(g, "x", 1);
        CHECK_OK(&cx, tenon_graph_replace(g, a, x)); /* also inside both bodies */
        tenon_graph_prune(g);
        CHECK_OK(&cx, tenon_graph_sort(g));
        CHECK_OK(&cx, tenon_graph_verify(g));
        check_print(g, "graph(x: f32[batch,8], c: bool[], `a b`: i64[n*2] where batch=1..8@4%2, ?n=0..*) {\n"
                       "  z: f32[batch,8] = if(c) then_branch=graph() {\n    t: f32[batch,8] = relu(x)\n    return t\n"
                       "  } else_branch=graph() {\n    return x\n  }\n  q: sequence(f32[*]) = relu(z)\n  return z, q\n}\n");
    }
    g = parse("graph(x) { // types may be missing\n  w: i8[5,5] = const #1f\n  y, - = add(x, w)\n  return y }  ");
    if (g) {
        const tenon_tensor *w = tenon_graph_find(g, "w", 1)->data;
        int differ = 0;
        for (int i = 1; i < 25; i++) differ += tenon_tensor_get_i64(w, i) != tenon_tensor_get_i64(w, 0);
        CHECK(differ > 10 && g->input[0]->type.dtype == TENON_DTYPE_NONE);
        CHECK_FAILS(&cx, tenon_graph_verify(g), TENON_INVALID, "no type");
    }
    static const struct { const char *text, *part; } bad[] = {
        {"", "'graph'"},
        {"graph(", "name"},
        {"graph(x: f32[", ""},
        {"graph(x: f99[2]) { return x }", "type"},
        {"graph(x: f32[k]) { return x }", "'k'"},
        {"graph(x: f32[1,1,1,1,1,1,1,1,1]) { return x }", "too many"},
        {"graph(x) { y = relu(z) return y }", "nothing before"},
        {"graph(x) {\n y = nope(x) return y }", "line 2: unknown operator"},
        {"graph(x) { x = relu(x) return x }", "twice"},
        {"graph(x, x) { return x }", "twice"},
        {"graph(x) { y = relu(x", "expected"},
        {"graph(x) { y = relu(x) return y", "}"},
        {"graph(x) { return x } more", "end"},
        {"graph(x) { y = many(x) axis=z return y }", "axis"},
        {"graph(x) { w: f32[3] = const {1,2} return w }", "element"},
        {"graph(x) { w: f32[n] = const {1} return w }", "'n'"},
        {"graph(x) { w = const {1} return w }", "needs"},
        {"graph(x) { w: f32[99999999999] = const #1 return w }", "too large"},
        {"graph(x) { w: f32[2] = const #xyz return w }", "hexadecimal"},
        {"graph(x) { a, b = const {1} return a }", "one name"},
        {"graph(x where a=5..1) { return x }", "empty"},
        {"graph(x where a=5) { return x }", ".."},
        {"graph(-) { return x }", "needs a name"},
        {"graph(x) { return - }", "needs a name"},
        {"graph(x) { y = if(x) return y }", "missing"},
        {"graph(x) { y = if(x) then_branch=graph() { q = relu(x) return q } else_branch=graph() { return q } return y }", "'q'"},
        {"graph(`x) { return x }", "backquote"},
        {"graph(x) { y: = relu(x) return y }", "type"},
        {"graph(x) { w: i8[1] = const {300} return w }", "range"},
    };
    for (size_t i = 0; i < TENON_COUNTOF(bad); i++) {
        tenon_graph *none;
        CHECK_FAILS(&cx, tenon_graph_parse(&cx, &arena, lookup, bad[i].text, &none), TENON_INVALID, bad[i].part);
        CHECK(!none);
    }
    char cut[sizeof whole]; /* every prefix is refused, none is read past its end */
    for (size_t i = 0; i + 3 < sizeof whole; i++) {
        char *exact = malloc(i + 1);
        memcpy(exact, whole, i);
        exact[i] = 0;
        CHECK(tenon_graph_parse(&cx, &arena, lookup, exact, &g) == TENON_INVALID);
        free(exact);
        memcpy(cut, whole, sizeof whole); /* and one damaged byte never crashes */
        cut[i] = "({[`\"-,=)]}9"[i % 12];
        CHECK(tenon_graph_parse(&cx, &arena, lookup, cut, &g) == TENON_OK || cx.message[0]);
    }
    tenon_arena_free(&arena);
}

static tenon_status use_graph(tenon_cx *c)
{
    tenon_arena a;
    tenon_buf b;
    tenon_graph *g;
    tenon_arena_init(&a, c);
    tenon_buf_init(&b, c);
    tenon_status status = tenon_graph_parse(c, &a, lookup, whole, &g);
    for (int i = 0; status == TENON_OK && i < 200; i++) {
        tenon_node *n;
        status = tenon_graph_node(g, op("add"), "grow", 2, (tenon_value *const[]){g->output[0], g->output[0]}, 1, &n);
        if (status == TENON_OK) n->dst[0]->type = g->output[0]->type;
    }
    if (status == TENON_OK) status = tenon_graph_index_uses(g);
    if (status == TENON_OK) status = tenon_graph_sort(g);
    if (status == TENON_OK) status = tenon_graph_replace(g, g->output[0], g->input[0]);
    if (status == TENON_OK) {
        tenon_graph_prune(g);
        tenon_graph_print(&b, g);
        status = tenon_buf_status(&b);
    }
    tenon_buf_free(&b);
    tenon_arena_free(&a);
    return status;
}

static void test_memory(void)
{
    for (long at = 1; at < 400; at++) {
        check_heap heap = {.fail_at = at};
        tenon_cx c;
        check_heap_install(&heap, &c);
        const tenon_status status = use_graph(&c);
        CHECK(heap.live == 0 && (heap.calls >= at) == (status == TENON_NOMEM));
        if (status == TENON_OK) return;
    }
    CHECK(!"an end of the allocations");
}

int main(void)
{
    test_tensor();
    test_names_and_attrs();
    test_edit();
    test_verify();
    test_text();
    test_memory();
    return CHECK_END();
}
