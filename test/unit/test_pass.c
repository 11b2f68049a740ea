/* SPDX-License-Identifier: Apache-2.0 */
/* The passes, text in and text out: each case is a graph, the passes to run (all of pass.def when NULL) and what is left, in a
   short form: results are numbered, constants are w (or {value} for one element),
       views of constants and the like are gone. Every case without free
   dimensions is also evaluated before and after, on the same inputs. */
#include "check.h"

#include "op/eval.h"
#include "pass/events.h"
#include "pass/pass.h"

#include <math.h>

static tenon_cx cx;

typedef struct test_case { const char *name, *passes, *in, *out; } test_case;

static tenon_status parse(tenon_arena *arena, const char *text, tenon_graph **g)
{
    TENON_TRY(tenon_graph_parse(&cx, arena, tenon_op_find, text, g));
    TENON_TRY(tenon_infer_graph(&cx, *g));
    return tenon_graph_verify(*g);
}

static tenon_status run_passes(tenon_graph *g, const char *names)
{
    if (!names) return tenon_passes_run(&cx, g);
    tenon_graph_prune(g);
    TENON_TRY(tenon_graph_sort(g));
    bool again = true;
    for (int round = 0; again && round < 10; round++) {
        again = false;
        for (size_t i = 0; tenon_passes[i]; i++) {
            bool changed = false;
            if (strstr(names, tenon_passes[i]->name)) TENON_TRY(tenon_pass_once(&cx, g, tenon_passes[i], &changed));
            again |= changed;
        }
    }
    CHECK(!again);
    return tenon_graph_index_uses(g);
}

/* ---- the short form ---- */
static void print_value(tenon_buf *b, tenon_graph *g, tenon_value *v, const int *number)
{
    if (!v) tenon_buf_char(b, '-');
    else if (v->is_const) {
        const tenon_tensor *t;
        if (tenon_eval_const(&cx, g, v, &t) == TENON_OK && tenon_tensor_count(t) == 1) tenon_buf_printf(b, "{%.5g}",
            tenon_tensor_get_f64(t, 0));
        else tenon_buf_char(b, 'w');
    } else if (!v->producer) tenon_buf_str(b, v->name);
    else tenon_buf_printf(b, "%d", number[v->id]);
}

static void print_node(tenon_buf *b, tenon_graph *g, tenon_node *n, const int *number)
{
    for (int i = 0; i < n->dst_count; i++) {
        if (i) tenon_buf_char(b, ',');
        print_value(b, g, n->dst[i], number);
    }
    tenon_buf_printf(b, "=%s(", n->op->name);
    /* the target of a reshape is the result's shape */
    const int sources = n->op == &tenon_op_reshape ? 1 : n->src_count;
    for (int i = 0; i < sources; i++) {
        if (i) tenon_buf_char(b, ',');
        print_value(b, g, n->src[i], number);
    }
    if (n->op == &tenon_op_reshape)
        for (int i = 0; i < n->dst[0]->type.rank; i++) {
            tenon_buf_char(b, i ? 'x' : ',');
            tenon_dim_print(b, g->dims, n->dst[0]->type.dim[i]);
        }
    tenon_attrs_print(b, n, " ");
    tenon_buf_char(b, ')');
}

static void short_form(tenon_buf *b, tenon_graph *g)
{
    int *number = calloc(g->value_count + 1, sizeof *number), next = 0;
    if (!number) abort();
    for (size_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->dst_count; k++)
            if (g->node[i]->dst[k]) number[g->node[i]->dst[k]->id] = next++;
    for (size_t i = 0; i < g->node_count; i++) {
        if (i) tenon_buf_str(b, "; ");
        print_node(b, g, g->node[i], number);
    }
    free(number);
}

/* ---- numbers ---- */
static bool is_static(const tenon_graph *g)
{
    for (size_t i = 0; i < g->input_count; i++)
        if (!tenon_type_is_static(&g->input[i]->type)) return false;
    return true;
}

static tenon_status evaluate(tenon_graph *g, tenon_heap *heap, tenon_tensor *out)
{
    tenon_tensor in[8];
    unsigned seed = 7;
    for (size_t i = 0; i < g->input_count; i++) {
        const tenon_type *t = &g->input[i]->type;
        in[i] = (tenon_tensor){.dtype = t->dtype, .rank = t->rank};
        for (int k = 0; k < t->rank; k++) in[i].dim[k] = t->dim[k]->value;
        tenon_tensor_dense(&in[i]);
        const int64_t count = tenon_tensor_count(&in[i]);
        in[i].data = tenon_heap_alloc(heap, (size_t)count * 8 + 8);
        if (!in[i].data) return TENON_NOMEM;
        for (int64_t k = 0; k < count; k++) {
            seed = seed * 1664525u + 1013904223u;
            if (tenon_is_float(t->dtype)) tenon_tensor_set_f64(&in[i], k, (seed >> 8) / 4194304.0 - 2);
            else tenon_tensor_set_i64(&in[i], k, seed >> 9 & 1);
        }
    }
    memset(out, 0, g->output_count * sizeof *out);
    return tenon_eval_graph(&cx, g, in, (int)g->input_count, out, (int)g->output_count, heap, NULL, NULL);
}

static bool close_to(const tenon_tensor *a, const tenon_tensor *b)
{
    const int64_t count = tenon_tensor_count(a);
    double scale = 1e-3, worst = 0;
    if (a->dtype != b->dtype || count != tenon_tensor_count(b) || a->rank != b->rank) return false;
    for (int64_t i = 0; i < count; i++) {
        const double x = tenon_tensor_get_f64(a, tenon_tensor_offset(a, i)), y = tenon_tensor_get_f64(b, tenon_tensor_offset(b,
            i));
        if (isnan(x) != isnan(y)) return false;
        if (isnan(x)) continue;
        scale = fmax(scale, fabs(x));
        worst = fmax(worst, fabs(x - y));
    }
    if (worst > 1e-5 * scale) fprintf(stderr, "difference %g of %g\n", worst, scale);
    return worst <= 1e-5 * scale;
}

static void same_numbers(const test_case *c, tenon_graph *before, tenon_graph *after)
{
    tenon_heap heap;
    tenon_tensor want[8], got[8];
    tenon_heap_init(&heap, &cx);
    const bool ok = check_status(&cx, evaluate(before, &heap, want), TENON_OK, c->name, __FILE__, __LINE__) &&
                    check_status(&cx, evaluate(after, &heap, got), TENON_OK, c->name, __FILE__, __LINE__);
    for (size_t i = 0; ok && i < before->output_count; i++) {
        const bool equal = close_to(&want[i], &got[i]);
        if (!equal) fprintf(stderr, "case %s, output %zu\n", c->name, i);
        CHECK(equal);
    }
    tenon_heap_free(&heap);
}

static void one_case(const test_case *c)
{
    tenon_arena arena;
    tenon_graph *before, *after;
    tenon_arena_init(&arena, &cx);
    const bool parsed = check_status(&cx, parse(&arena, c->in, &before), TENON_OK, c->name, __FILE__, __LINE__) &&
                        check_status(&cx, parse(&arena, c->in, &after), TENON_OK, c->name, __FILE__, __LINE__);
    if (parsed && check_status(&cx, run_passes(after, c->passes), TENON_OK, c->name, __FILE__, __LINE__)) {
        tenon_buf b;
        tenon_buf_init(&b, &cx);
        CHECK_OK(&cx, tenon_graph_verify(after));
        short_form(&b, after);
        if (strcmp(tenon_buf_cstr(&b), c->out)) fprintf(stderr, "case %s\n", c->name);
        CHECK_TEXT(tenon_buf_cstr(&b), c->out);
        tenon_buf_free(&b);
        if (is_static(before)) same_numbers(c, before, after);
    }
    tenon_arena_free(&arena);
}

static const test_case cases[] = {
    {"neutral numbers", NULL,
     "graph(x: f32[2,3]) {\n one: f32[] = const {1}\n zero: f32[1] = const {0}\n a = mul(x, one)\n b = add(zero, a)\n"
     " c = sub(b, zero)\n d = div(c, one)\n"
     " y = neg(d)\n return y\n}", "0=neg(x)"},
    {"powers", NULL,
     "graph(x: f32[2,3]) {\n two: f32[] = const {2}\n half: f32[] = const {0.5}\n a = pow(x, two)\n b = pow(a, half)\n"
     " y = div(b, two)\n return y\n}",
     "0=mul(x,x); 1=sqrt(0); 2=mul(1,{0.5})"},
    {"reciprocal root", NULL, "graph(x: f32[4]) {\n one: f32[] = const {1}\n a = mul(x, x)\n b = add(a, one)\n c = sqrt(b)\n"
     " y = div(one, c)\n return y\n}",
     "0=mul(x,x); 1=add(0,{1}); 2=rsqrt(1)"},
    {"bounds", NULL,
     "graph(x: f32[4]) {\n lo: f32[] = const {0}\n hi: f32[] = const {6}\n a = max(x, lo)\n y = min(hi, a)\n z = max(lo, x)\n"
     " return y, z\n}",
     "0=clip(x,{0},{6}); 1=relu(x)"},
    {"cast back", NULL, "graph(x: f32[4]) {\n a = cast(x) to=f64\n b = cast(a) to=f32\n y = neg(b)\n return y\n}", "0=neg(x)"},
    {"cast that rounds stays", NULL, "graph(x: f32[4]) {\n a = cast(x) to=f16\n b = cast(a) to=f32\n y = neg(b)\n return y\n}",
     "0=cast(x to=f16); 1=cast(0 to=f32); 2=neg(1)"},
    {"equal nodes", NULL, "graph(x: f32[4]) {\n a = exp(x)\n b = exp(x)\n y = add(a, b)\n return y\n}", "0=exp(x); 1=add(0,0)"},
    {"shape arithmetic", NULL,
     "graph(x: f32[b,8,4] where b=1..8@4) {\n i: i64[1] = const {0}\n rest: i64[1] = const {-1}\n s = shape(x)\n"
     " n = gather(s, i)\n t = concat(n, rest) axis=0\n"
     " r = reshape(x, t)\n y = relu(r)\n return y\n}",
     "0=reshape(x,bx32); 1=relu(0)"},
    {"reversed slice stays", NULL,
     "graph(x: f32[4]) {\n s: i64[1] = const {-1}\n e: i64[1] = const {-9}\n a: i64[1] = const {0}\n st: i64[1] = const {-1}\n"
     " y = slice(x, s, e, a, st)\n"
     " z = relu(y)\n return z\n}", "0=slice(x,{-1},{-9},{0},{-1}); 1=relu(0)"},
    {"constants", NULL, "graph(x: f32[4]) {\n a: f32[4] = const {1,2,3,4}\n b = mul(a, a)\n c = exp(b)\n y = add(x, c)\n"
     " return y\n}", "0=add(x,w)"},
    {"gather of one place", NULL, "graph(x: f32[3,2,4]) {\n i: i64[] = const {1}\n a = gather(x, i) axis=0\n y = relu(a)\n"
     " return y\n}",
     "0=slice(x,{1},{2},{0},{1}); 1=reshape(0,2x4); 2=relu(1)"},
    {"expand in front of a sum", NULL,
     "graph(x: f32[2,3], c: f32[1,3]) {\n s: i64[2] = const {2,3}\n e = expand(c, s)\n y = add(x, e)\n return y\n}",
         "0=add(x,c)"},
    {"expand that gives the shape sinks", NULL,
     "graph(c: f32[1,3]) {\n s: i64[2] = const {2,3}\n e = expand(c, s)\n y = relu(e)\n return y\n}", "0=relu(c); 1=expand(0,w)"},

    {"bias", "lower_bias", "graph(x: f32[1,2,4,4]) {\n w: f32[3,2,1,1] = const #1\n b: f32[3] = const {1,2,3}\n"
     " y = conv(x, w, b)\n return y\n}",
     "0=conv(x,w); 1=add(0,w)"},
    {"batch norm behind a convolution, through an identity and a cast", NULL,
     "graph(x: f32[1,2,4,4]) {\n w: f32[3,2,3,3] = const #1\n s: f32[3] = const {1,2,3}\n b: f32[3] = const {0.5,1,2}\n"
     " m: f32[3] = const {1,0,2}\n v: f32[3] = const {1,4,0.5}\n"
     " c = conv(x, w, b) pads=1+1+1+1\n i = identity(c)\n k = cast(i) to=f32\n n = batch_norm(k, s, b, m, v)\n y = relu(n)\n"
     " return y\n}",
     "0=conv(x,w pads=1+1+1+1); 1=add(0,w); 2=relu(1)"},
    {"factor blocked by a second use", NULL,
     "graph(x: f32[1,2,4,4]) {\n w: f32[3,2,1,1] = const #1\n s: f32[3,1,1] = const {1,2,3}\n c = conv(x, w)\n y = mul(c, s)\n"
     " return y, c\n}",
     "0=conv(x,w); 1=mul(0,w)"},
    {"factor behind a product", NULL,
     "graph(x: f32[2,4]) {\n w: f32[4,3] = const #1\n b: f32[3] = const {1,2,3}\n s: f32[] = const {3}\n a = matmul(x, w)\n"
     " c = add(a, b)\n y = mul(c, s)\n return y\n}",
     "0=matmul(x,w); 1=add(0,w)"},
    {"factor and sum in front of a convolution", NULL,
     "graph(x: f32[1,2,4,4]) {\n w: f32[3,2,2,2] = const #1\n s: f32[2,1,1] = const {2,3}\n b: f32[2,1,1] = const {1,-1}\n"
     " a = mul(x, s)\n c = add(a, b)\n y = conv(c, w)\n return y\n}",
     "0=conv(x,w); 1=add(0,w)"},
    {"sum in front of a padded convolution stays", NULL,
     "graph(x: f32[1,2,4,4]) {\n w: f32[3,2,3,3] = const #1\n b: f32[2,1,1] = const {1,-1}\n c = add(x, b)\n"
     " y = conv(c, w) pads=1+1+1+1\n return y\n}",
     "0=add(x,w); 1=conv(0,w pads=1+1+1+1)"},

    {"pad in front of a convolution", NULL,
     "graph(x: f32[1,2,4,4]) {\n w: f32[3,2,3,3] = const #1\n p: i64[8] = const {0,0,1,0,0,0,2,1}\n a = pad(x, p)\n"
     " y = conv(a, w) pads=0+1+0+0\n return y\n}",
     "0=conv(x,w pads=1+1+2+1)"},
    {"pad of channels stays", NULL,
     "graph(x: f32[1,1,4,4]) {\n w: f32[3,2,3,3] = const #1\n p: i64[8] = const {0,1,0,0,0,0,0,0}\n a = pad(x, p)\n"
     " y = conv(a, w)\n return y\n}",
     "0=pad(x,w); 1=conv(0,w)"},
    {"pad in front of a maximum behind relu", NULL,
     "graph(x: f32[1,1,4,4]) {\n p: i64[8] = const {0,0,1,1,0,0,1,1}\n r = relu(x)\n a = pad(r, p)\n"
     " y = max_pool(a) kernel_shape=3+3 strides=2+2\n return y\n}",
     "0=relu(x); 1=max_pool(0 strides=2+2 pads=1+1+1+1 kernel_shape=3+3)"},
    {"average over the whole extent", NULL, "graph(x: f32[1,3,4,5]) {\n y = average_pool(x) kernel_shape=4+5\n return y\n}",
     "0=reduce_mean(x axes=2+3)"},

    {"silu", NULL, "graph(x: f32[4]) {\n s = sigmoid(x)\n y = mul(s, x)\n return y\n}", "0=silu(x)"},
    {"silu as a quotient", NULL, "graph(x: f32[4]) {\n one: f32[] = const {1}\n n = neg(x)\n e = exp(n)\n d = add(one, e)\n"
     " y = div(x, d)\n return y\n}", "0=silu(x)"},
    {"gelu, divided", NULL,
     "graph(x: f32[4]) {\n r: f32[] = const {1.4142135}\n one: f32[] = const {1}\n h: f32[] = const {0.5}\n a = div(x, r)\n"
     " b = erf(a)\n c = add(b, one)\n d = mul(x, c)\n"
     " y = mul(d, h)\n return y\n}", "0=gelu(x)"},
    {"gelu, multiplied", NULL,
     "graph(x: f32[4]) {\n r: f32[] = const {0.70710677}\n one: f32[] = const {1}\n h: f32[] = const {0.5}\n a = mul(x, r)\n"
     " b = erf(a)\n c = add(b, one)\n d = mul(x, h)\n"
     " y = mul(d, c)\n return y\n}", "0=gelu(x)"},
    {"gelu with another constant is not gelu", NULL,
     "graph(x: f32[4]) {\n r: f32[] = const {0.8}\n one: f32[] = const {1}\n h: f32[] = const {0.5}\n a = mul(x, r)\n"
     " b = erf(a)\n c = add(b, one)\n d = mul(x, h)\n"
     " y = mul(d, c)\n return y\n}", "0=mul(x,{0.8}); 1=erf(0); 2=add(1,{1}); 3=mul(x,{0.5}); 4=mul(3,2)"},
    {"gelu by tanh", NULL,
     "graph(x: f32[4]) {\n k: f32[] = const {0.79788456}\n q: f32[] = const {0.044715}\n three: f32[] = const {3}\n"
     " one: f32[] = const {1}\n h: f32[] = const {0.5}\n"
     " a = pow(x, three)\n b = mul(a, q)\n c = add(x, b)\n d = mul(c, k)\n e = tanh(d)\n f = add(e, one)\n i = mul(x, h)\n"
     " y = mul(i, f)\n return y\n}", "0=gelu_tanh(x)"},
    {"hard swish from a clip", NULL,
     "graph(x: f32[4]) {\n t: f32[] = const {3}\n z: f32[] = const {0}\n s: f32[] = const {6}\n a = add(x, t)\n"
     " b = clip(a, z, s)\n c = mul(x, b)\n y = div(c, s)\n return y\n}",
     "0=hard_swish(x)"},
    {"hard sigmoid from a clip", NULL,
     "graph(x: f32[4]) {\n t: f32[] = const {3}\n z: f32[] = const {0}\n s: f32[] = const {6}\n a = add(x, t)\n"
     " b = clip(a, z, s)\n y = div(b, s)\n return y\n}",
     "0=hard_sigmoid(x alpha=0.16666666666666666)"},
    {"mish", NULL, "graph(x: f32[4]) {\n s = softplus(x)\n t = tanh(s)\n y = mul(x, t)\n return y\n}", "0=mish(x)"},

    {"layer norm from parts", NULL,
     "graph(x: f32[2,3,4]) {\n two: f32[] = const {2}\n e: f32[] = const {1e-3}\n g: f32[4] = const {1,2,3,4}\n"
     " b: f32[4] = const {4,3,2,1}\n m = reduce_mean(x) axes=-1\n d = sub(x, m)\n"
     " s = pow(d, two)\n v = reduce_mean(s) axes=-1\n a = add(v, e)\n r = sqrt(a)\n n = div(d, r)\n h = mul(n, g)\n"
     " y = add(h, b)\n return y\n}",
     "0=layer_norm(x,w,w epsilon=0.0010000000474974513)"},
    {"layer norm by a reciprocal root over two axes", NULL,
     "graph(x: f32[2,3,4]) {\n one: f32[] = const {1}\n e: f32[] = const {0.5}\n m = reduce_mean(x) axes=1+2\n d = sub(x, m)\n"
     " k = sub(x, m)\n s = mul(d, k)\n v = reduce_mean(s) axes=1+2\n"
     " a = add(e, v)\n r = sqrt(a)\n i = div(one, r)\n y = mul(i, d)\n return y\n}",
     "0=layer_norm(x,w axis=-2 epsilon=0.5)"},
    {"rms norm", NULL,
     "graph(x: f32[2,3,4]) {\n two: f32[] = const {2}\n e: f32[] = const {0.5}\n g: f32[4] = const {1,2,3,4}\n"
     " s = pow(x, two)\n v = reduce_mean(s) axes=-1\n a = add(v, e)\n r = sqrt(a)\n"
     " i = reciprocal(r)\n n = mul(x, i)\n y = mul(g, n)\n return y\n}",
     "0=rms_norm(x,w epsilon=0.5)"},
    {"variance of something else is no norm", NULL,
     "graph(x: f32[2,4], z: f32[2,4]) {\n e: f32[] = const {0.5}\n s = mul(z, z)\n v = reduce_mean(s) axes=-1\n a = add(v, e)\n"
     " r = sqrt(a)\n y = div(x, r)\n return y\n}",
     "0=mul(z,z); 1=reduce_mean(0 axes=-1); 2=add(1,{0.5}); 3=sqrt(2); 4=div(x,3)"},
    {"group norm", NULL,
     "graph(x: f32[2,4,3,3]) {\n s: i64[3] = const {2,2,-1}\n t: i64[4] = const {2,4,3,3}\n g: f32[2] = const {1,1}\n"
     " b: f32[2] = const {0,0}\n a = reshape(x, s)\n n = instance_norm(a, g, b)\n"
     " y = reshape(n, t)\n return y\n}",
     "0=group_norm(x,w,w num_groups=2)"},
    {"softmax from parts", NULL,
     "graph(x: f32[2,3,4]) {\n m = reduce_max(x) axes=1\n d = sub(x, m)\n e = exp(d)\n s = reduce_sum(e) axes=1\n"
     " y = div(e, s)\n return y\n}",
     "0=softmax(x axis=1)"},

    {"runs of views", "views",
     "graph(x: f32[5,b,6] where b=1..8@4) {\n s: i64[5] = const {5,-1,1,3,2}\n t: i64[3] = const {5,-1,2}\n"
     " u: i64[4] = const {-1,1,5,2}\n o: i64[1] = const {1}\n p: i64[1] = const {2}\n"
     " a = reshape(x, s)\n k = transpose(a) perm=3+0+1+2+4\n z: i64[1] = const {0}\n l = slice(k, o, p, z)\n"
     " m = reshape(l, t)\n n = transpose(m) perm=1+0+2\n v = reshape(n, u)\n"
     " y = relu(v)\n return y\n}",
     "0=slice(x,{2},{4},{2},{1}); 1=transpose(0 perm=1+0+2); 2=reshape(1,bx1x5x2); 3=relu(2)"},
    {"a view sinks behind its anchor's epilogue", NULL,
     "graph(x: f32[2,3,4], r: f32[2,5,3]) {\n w: f32[4,5] = const #1\n g: f32[5,1] = const {1,2,3,4,5}\n a = matmul(x, w)\n"
     " t = transpose(a) perm=0+2+1\n m = mul(t, g)\n"
     " s = add(m, r)\n y = relu(s)\n return y\n}",
     "0=matmul(x,w); 1=transpose(r perm=0+2+1); 2=add(0,1); 3=relu(2); 4=transpose(3 perm=0+2+1)"},
    {"rows of a product in the order of memory", NULL,
     "graph(x: f32[2,3,4]) {\n w: f32[4,5] = const #1\n b: f32[5] = const {1,2,3,4,5}\n s: i64[2] = const {6,4}\n"
     " u: i64[3] = const {3,2,5}\n r = exp(x)\n t = transpose(r) perm=1+0+2\n"
     " a = reshape(t, s)\n m = matmul(a, w)\n c = add(m, b)\n d = reshape(c, u)\n e = transpose(d) perm=1+0+2\n y = add(e, e)\n"
     " return y\n}",
     "0=exp(x); 1=matmul(0,w); 2=add(1,w); 3=add(2,2)"},

    {"a sum sinks into the parts of a concat", NULL,
     "graph(x: f32[2,2,4]) {\n w: f32[4,3] = const #1\n c: f32[2,1,3] = const {1,2,3,4,5,6}\n"
     " p: f32[3,3] = const {1,2,3,4,5,6,7,8,9}\n a = matmul(x, w)\n k = concat(c, a) axis=1\n y = add(k, p)\n"
     " z = softmax(y)\n return z\n}",
     "0=matmul(x,w); 1=add(0,w); 2=concat(w,1 axis=1); 3=softmax(2)"},
    {"a constant is turned for the other side of a view", NULL,
     "graph(x: f32[1,2,2,2]) {\n w: f32[3,2,1,1] = const #1\n p: f32[1,4,3] = const #2\n s: i64[3] = const {1,3,4}\n"
     " a = conv(x, w)\n b = reshape(a, s)\n t = transpose(b) perm=0+2+1\n y = add(t, p)\n"
     " z = softmax(y)\n return z\n}",
     "0=conv(x,w); 1=add(0,w); 2=reshape(1,1x3x4); 3=transpose(2 perm=0+2+1); 4=softmax(3)"},
    {"an activation behind a concat of inputs stays", NULL,
     "graph(x: f32[2,2], z: f32[2,3]) {\n k = concat(x, z) axis=1\n y = sigmoid(k)\n return y\n}",
         "0=concat(x,z axis=1); 1=sigmoid(0)"},
    {"an expand sinks", NULL,
     "graph(x: f32[b,3] where b=1..8@4) {\n c: f32[1,3] = const {1,2,3}\n s = shape(x)\n e = expand(c, s)\n f = exp(e)\n"
     " y = concat(f, x) axis=1\n return y\n}",
     "0=shape(x); 1=expand(w,0); 2=concat(1,x axis=1)"},

    {"attention", NULL,
     "graph(q: f32[1,2,3,4], k: f32[1,2,5,4], v: f32[1,2,5,6]) {\n c: f32[] = const {0.5}\n a = mul(q, c)\n"
     " t = transpose(k) perm=0+1+3+2\n b = mul(t, c)\n s = matmul(a, b)\n"
     " p = softmax(s)\n y = matmul(p, v)\n return y\n}", "0=attention(q,k,v scale=0.25)"},
    {"attention with a mask and a guard", NULL,
     "graph(q: f32[1,2,3,4], k: f32[1,2,5,4], v: f32[1,2,5,6], m: bool[1,1,3,5]) {\n z: f32[] = const {0}\n"
     " low: f32[] = const {-inf}\n w = where(m, z, low)\n t = transpose(k) perm=0+1+3+2\n"
     " s = matmul(q, t)\n a = add(s, w)\n p = softmax(a)\n n = is_nan(p)\n g = where(n, z, p)\n y = matmul(g, v)\n return y\n}",
     "0=where(m,{0},{-inf}); 1=attention(q,k,v,0 scale=1)"},
    {"attention with a bool mask, three axes", NULL,
     "graph(q: f32[2,3,4], k: f32[2,5,4], v: f32[2,5,6], m: bool[3,5]) {\n low: f32[] = const {-3e38}\n"
     " t = transpose(k) perm=0+2+1\n s = matmul(q, t)\n a = where(m, s, low)\n"
     " p = softmax(a) axis=2\n y = matmul(p, v)\n return y\n}",
     "0=where(m,{0},{-3e+38}); 1=reshape(q,2x1x3x4); 2=reshape(k,2x1x5x4); 3=reshape(v,2x1x5x6); "
     "4=attention(1,2,3,0 scale=1); 5=reshape(4,2x3x6)"},
    {"attention, transposed form", NULL,
     "graph(q: f32[1,2,4,3], k: f32[1,2,4,3], v: f32[1,2,6,3]) {\n c: f32[] = const {0.5}\n a = mul(q, c)\n"
     " t = transpose(a) perm=0+1+3+2\n s = matmul(t, k)\n p = softmax(s)\n"
     " u = transpose(p) perm=0+1+3+2\n y = matmul(v, u)\n return y\n}",
     "0=transpose(v perm=0+1+3+2); 1=transpose(q perm=0+1+3+2); 2=transpose(k perm=0+1+3+2); 3=attention(1,2,0 scale=0.5); "
     "4=transpose(3 perm=0+1+3+2)"},
    {"attention whose weights are wanted stays", NULL,
     "graph(q: f32[1,2,3,4], k: f32[1,2,4,5], v: f32[1,2,5,6]) {\n s = matmul(q, k)\n p = softmax(s)\n y = matmul(p, v)\n"
     " return y, p\n}",
     "0=matmul(q,k); 1=softmax(0); 2=matmul(1,v)"},

    {"sibling products", NULL,
     "graph(x: f32[2,4]) {\n u: f32[4,3] = const #1\n v: f32[4,2] = const #2\n b: f32[3] = const {1,2,3}\n"
     " c: f32[2] = const {4,5}\n a = matmul(x, u)\n d = add(a, b)\n e = matmul(x, v)\n"
     " f = add(c, e)\n i = softmax(d)\n j = softmax(f)\n return i, j\n}",
     "0=matmul(x,w); 1=add(0,w); 2,3=split(1 axis=1 split=3+2); 4=softmax(2); 5=softmax(3)"},
    {"siblings with activations stay apart", NULL,
     "graph(x: f32[2,4]) {\n u: f32[4,3] = const #1\n v: f32[4,3] = const #2\n a = matmul(x, u)\n d = relu(a)\n"
     " e = matmul(x, v)\n y = mul(d, e)\n return y\n}",
     "0=matmul(x,w); 1=relu(0); 2=matmul(x,w); 3=mul(1,2)"},

    {"gather of everything in order", NULL,
     "graph(x: f32[b,3] where b=1..8@4) {\n z: i64[] = const {0}\n o: i64[] = const {1}\n three: i64[] = const {3}\n"
     " last: i64[3] = const {0,1,2}\n s = shape(x)\n n = gather(s, z)\n r = range(z, n, o)\n"
     " m = mul(r, three)\n u = unsqueeze(m) axes=1\n i = add(u, last)\n rest: i64[1] = const {-1}\n f = reshape(x, rest)\n"
     " g = gather(f, i)\n y = relu(g)\n return y\n}",
     "0=relu(x)"},
    {"gather_nd of everything in order", NULL,
     "graph(x: f32[1,3]) {\n i: i64[1,1,3,2] = const {0,0,0,1,0,2}\n g = gather_nd(x, i)\n y = relu(g)\n return y\n}",
         "0=reshape(x,1x1x3); 1=relu(0)"},
    {"gather_nd of one row twice stays", NULL,
     "graph(x: f32[2,2]) {\n i: i64[2,2,2] = const {0,0,0,1,0,0,0,1}\n g = gather_nd(x, i)\n y = relu(g)\n return y\n}",
         "0=gather_nd(x,w); 1=relu(0)"},
    {"shape of an inner value", NULL,
     "graph(x: f32[b,3,4] where b=1..8@4) {\n c: f32[1,4] = const {1,2,3,4}\n z: i64[] = const {0}\n e = exp(x)\n"
     " m = reduce_max(e) axes=1 keepdims=0\n s = shape(m)\n n = expand(c, s)\n"
     " y = concat(n, m) axis=1\n return y\n}",
     "0=exp(x); 1=reduce_max(0 axes=1 keepdims=0); 2=shape(x end=1); 3=concat(2,{4} axis=0); 4=expand(w,3); "
     "5=concat(4,1 axis=1)"},
    {"gather in another order stays", NULL,
     "graph(x: f32[4]) {\n i: i64[4] = const {0,1,3,2}\n g = gather(x, i)\n y = relu(g)\n return y\n}",
         "0=gather(x,w); 1=relu(0)"},
    {"vector times matrix", "products", "graph(x: f32[4], y: f32[2,4,3]) {\n z = matmul(x, y)\n return z\n}",
     "0=reshape(x,1x4); 1=matmul(0,y); 2=reshape(1,2x3)"},
    {"vector times vector", "products", "graph(x: f32[n], y: f32[n] where n=1..9@4) {\n z = matmul(x, y)\n return z\n}",
     "0=reshape(x,1xn); 1=reshape(y,nx1); 2=matmul(0,1); 3=reshape(2)"},
    {"equation of an attention", "products",
     "graph(q: f32[b,5,2,8], k: f32[b,7,2,8] where b=1..4@2) {\n y = einsum(q, k) equation=\"bihd,bjhd->bhij\"\n return y\n}",
     "0=transpose(q perm=0+2+1+3); 1=transpose(k perm=0+2+3+1); 2=matmul(0,1)"},
    {"equation that sums", "products", "graph(x: f32[3,4,5]) {\n y = einsum(x) equation=\"abc->ca\"\n return y\n}",
     "0=reduce_sum(x axes=1 keepdims=0); 1=transpose(0 perm=1+0)"},
    {"equation of an outer product", "products", "graph(x: f32[3], y: f32[4,5]) {\n z = einsum(x, y) equation=\"a,bc->ab\"\n return z\n}",
     "0=reduce_sum(y axes=1 keepdims=0); 1=reshape(x,3x1); 2=reshape(0,1x4); 3=mul(1,2)"},
    {"equation with a diagonal stays", "products", "graph(x: f32[3,3]) {\n y = einsum(x) equation=\"ii->i\"\n return y\n}",
     "0=einsum(x equation=\"ii->i\")"},
};

/* ---- events ---- */
static void events(void)
{
    tenon_arena arena;
    tenon_graph *g;
    tenon_arena_init(&arena, &cx);
    CHECK_OK(&cx, parse(&arena,
                        "graph(q: f32[1,2,3,4], k: f32[1,2,4,5], v: f32[1,2,5,6]) {\n one: f32[] = const {1}\n"
                        " i = mul(q, one)\n s = matmul(i, k)\n p = softmax(s)\n y = matmul(p, v)\n return y, p\n}", &g));
    CHECK_OK(&cx, tenon_events_attach(g));
    CHECK_OK(&cx, tenon_passes_run(&cx, g));
    const tenon_events *e = g->events;
    bool applied = false, blocked = false;
    int times = 0;
    for (size_t i = 0; i < e->count; i++) {
        applied |= e->event[i].applied && !strcmp(e->event[i].text, "x*1 -> x") && !strcmp(e->event[i].pass, "identities");
        const bool this_one = !e->event[i].applied && !strcmp(e->event[i].pass, "attention") &&
            strstr(e->event[i].text, "blocked by a second use of 'p' because");
        blocked |= this_one;
        times += this_one;
    }
    CHECK(applied);
    CHECK(blocked && times == 1);
    tenon_arena_free(&arena);
}

/* The nodes that a node stands for. */
static void origins(void)
{
    tenon_arena arena;
    tenon_graph *g;
    tenon_arena_init(&arena, &cx);
    CHECK_OK(&cx, parse(&arena, "graph(x: f32[4]) {\n s = sigmoid(x)\n y = mul(s, x)\n return y\n}", &g));
    for (size_t i = 0; i < g->node_count; i++) g->node[i]->origin = i ? "Mul_2+Sigmoid_1" : "Sigmoid_1";
    CHECK_OK(&cx, tenon_passes_run(&cx, g));
    CHECK(g->node_count == 1);
    CHECK_TEXT(g->node[0]->origin, "Mul_2+Sigmoid_1");
    CHECK_TEXT(g->output[0]->name, "y");
    tenon_arena_free(&arena);
}

/* Memory that ends at any place gives TENON_NOMEM and leaves nothing behind. */
static void no_memory(void)
{
    const char *text = cases[14].in;
    bool done = false;
    for (long at = 1; !done && at < 4000; at += 3) {
        check_heap heap = {.fail_at = at};
        tenon_cx small;
        tenon_arena arena;
        tenon_graph *g;
        check_heap_install(&heap, &small);
        small.log_severity = -1;
        tenon_arena_init(&arena, &small);
        tenon_status status = tenon_graph_parse(&small, &arena, tenon_op_find, text, &g);
        if (status == TENON_OK) status = tenon_infer_graph(&small, g);
        if (status == TENON_OK) status = tenon_passes_run(&small, g);
        done = status == TENON_OK;
        if (!done) CHECK(status == TENON_NOMEM);
        tenon_arena_free(&arena);
        CHECK(heap.live == 0);
    }
    CHECK(done);
}

int main(void)
{
    tenon_cx_init_default(&cx);
    for (size_t i = 0; i < TENON_COUNTOF(cases); i++) one_case(&cases[i]);
    events();
    origins();
    no_memory();
    return CHECK_END();
}
