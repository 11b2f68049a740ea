/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that move elements, control flow and sequences: exporters' shape arithmetic must vanish into clean dims, chains of
   views must compose to strides, references must give hand-made numbers. */
#include "check.h"

#include "op/eval.h"
#include "op/view.h"

static tenon_cx cx;

typedef struct net { tenon_arena arena; tenon_dim_pool dims; tenon_graph *g; } net;

static void net_init(net *t)
{
    tenon_arena_init(&t->arena, &cx);
    tenon_dim_pool_init(&t->dims, &t->arena);
    CHECK_OK(&cx, tenon_graph_create(&cx, &t->arena, &t->dims, NULL, &t->g));
}

static void net_free(net *t) { tenon_arena_free(&t->arena); }

/* dims as text, "batch,3,8"; "" a scalar. */
static tenon_value *typed(net *t, tenon_graph *g, const char *name, tenon_dtype dtype, const char *dims)
{
    tenon_type type = {.dtype = dtype};
    for (const char *p = dims; *p;) {
        const size_t n = strcspn(p, ",");
        CHECK_OK(&cx, tenon_dim_parse(&cx, &t->dims, p, n, &type.dim[type.rank++]));
        p += n + (p[n] == ',');
    }
    tenon_value *v = NULL;
    CHECK_OK(&cx, tenon_graph_value(g, name, &type, &v));
    return v;
}

static tenon_value *input(net *t, tenon_graph *g, const char *name, tenon_dtype dtype, const char *dims)
{
    tenon_value *v = typed(t, g, name, dtype, dims);
    size_t capacity = g->input_capacity;
    CHECK_OK(&cx, tenon_arena_grow(g->arena, (void **)&g->input, &capacity, g->input_count + 1, sizeof(*g->input)));
    g->input_capacity = capacity;
    g->input[g->input_count++] = v;
    return v;
}

static void output(tenon_graph *g, tenon_value *v)
{
    size_t capacity = g->output_capacity;
    CHECK_OK(&cx, tenon_arena_grow(g->arena, (void **)&g->output, &capacity, g->output_count + 1, sizeof(*g->output)));
    g->output_capacity = capacity;
    g->output[g->output_count++] = v;
}

static tenon_value *ints(tenon_graph *g, int rank, int64_t count, const int64_t *v)
{
    tenon_value *out = NULL;
    CHECK_OK(&cx, tenon_graph_const_i64(g, "c", v, rank, count, &out));
    return out;
}
#define INTS(g, ...) ints((g), 1, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})
#define INT(g, v) ints((g), 0, 1, (int64_t[]){(v)})

static tenon_node *node(tenon_graph *g, const tenon_op *op, int dst_count, int src_count, tenon_value *const *src)
{
    tenon_node *n = NULL;
    CHECK_OK(&cx, tenon_graph_node(g, op, NULL, src_count, src, dst_count, &n));
    return n;
}
#define SOURCES(...) (tenon_value *[]){__VA_ARGS__}
#define NODE(g, op, dst_count, ...) \
    node((g), &tenon_op_##op, dst_count, sizeof(SOURCES(__VA_ARGS__)) / sizeof(tenon_value *), SOURCES(__VA_ARGS__))

static tenon_value *infer(tenon_graph *g, tenon_node *n)
{
    CHECK_OK(&cx, tenon_infer_node(&cx, g, n));
    return n->dst[0];
}
#define OP1(g, op, ...) infer((g), NODE((g), op, 1, __VA_ARGS__))

static tenon_value *op_int(tenon_graph *g, tenon_node *n, const char *attr, int64_t v)
{
    CHECK_OK(&cx, tenon_node_set_int(g, n, attr, v));
    return infer(g, n);
}

static tenon_value *op_ints(tenon_graph *g, tenon_node *n, const char *attr, const int64_t *v, size_t count)
{
    CHECK_OK(&cx, tenon_node_set_ints(g, n, attr, v, count));
    return infer(g, n);
}
#define OP_INTS(g, n, attr, ...) \
    op_ints((g), (n), (attr), (int64_t[]){__VA_ARGS__}, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static const char *dim_list(net *t, int count, const tenon_dim *const *dim)
{
    static char text[4][512];
    static int turn;
    char *out = text[turn++ & 3];
    tenon_buf b;
    tenon_buf_init(&b, &cx);
    for (int i = 0; i < count; i++) {
        if (i) tenon_buf_str(&b, ",");
        if (dim[i] == NULL) tenon_buf_str(&b, "?");
        else tenon_dim_print(&b, &t->dims, dim[i]);
    }
    snprintf(out, sizeof(text[0]), "%s", tenon_buf_cstr(&b));
    tenon_buf_free(&b);
    return out;
}
static const char *dims_of(net *t, const tenon_value *v) { return v->type.rank < 0 ? "unranked" : dim_list(t, v->type.rank,
                                                                                                           v->type.dim); }
static const char *contents_of(net *t, const tenon_value *v)
{
    return v->sym == NULL ? "unknown" : dim_list(t, (int)v->sym_count, (const tenon_dim *const *)v->sym);
}

static const tenon_dim *symbol(net *t, const char *name, int64_t hi) { return tenon_dim_symbol_named(&t->dims, name, 1, 1, hi,
                                                                                                     1); }

/* ---- shape arithmetic ---- */
static void test_exporter_reshape(void)
{
    net t;
    net_init(&t);
    symbol(&t, "batch", 64);
    symbol(&t, "seq", 512);
    tenon_graph *g = t.g;
    /* x.view(batch, seq, 12, 64).transpose(1, 2) and back, as torch.onnx writes it */
    tenon_value *x = input(&t, g, "x", TENON_F32, "batch,seq,768");
    tenon_value *shape = OP1(g, shape, x);
    CHECK_TEXT(contents_of(&t, shape), "batch,seq,768");
    tenon_value *b = OP1(g, gather, shape, INT(g, 0)), *s = OP1(g, gather, shape, INT(g, -2));
    CHECK_TEXT(dims_of(&t, b), "");
    CHECK_TEXT(contents_of(&t, s), "seq");
    tenon_node *u = NODE(g, unsqueeze, 1, b), *u2 = NODE(g, unsqueeze, 1, s);
    tenon_value *b1 = OP_INTS(g, u, "axes", 0), *s1 = OP_INTS(g, u2, "axes", 0);
    tenon_value *target = op_int(g, NODE(g, concat, 1, b1, s1, INTS(g, 12), INTS(g, 64)), "axis", 0);
    CHECK_TEXT(contents_of(&t, target), "batch,seq,12,64");
    tenon_value *heads = OP1(g, reshape, x, target);
    CHECK_TEXT(dims_of(&t, heads), "batch,seq,12,64");
    tenon_value *q = OP_INTS(g, NODE(g, transpose, 1, heads), "perm", 0, 2, 1, 3);
    CHECK_TEXT(dims_of(&t, q), "batch,12,seq,64");
    tenon_value *back = OP_INTS(g, NODE(g, transpose, 1, q), "perm", 0, 2, 1, 3);
    tenon_value *merged = OP1(g, reshape, back, op_int(g, NODE(g, concat, 1, b1, s1, INTS(g, -1)), "axis", 0));
    CHECK_TEXT(dims_of(&t, merged), "batch,seq,768");
    CHECK(merged->type.dim[0] == x->type.dim[0] && merged->type.dim[1] == x->type.dim[1]);
    CHECK_TEXT(dims_of(&t, OP1(g, reshape, x, INTS(g, 0, -1, 12, 64))), "batch,seq,12,64");
    tenon_value *flat = OP1(g, reshape, x, INTS(g, -1, 768));
    CHECK_TEXT(dims_of(&t, flat), "batch*seq,768");
    CHECK_TEXT(dims_of(&t, OP1(g, reshape, flat, op_int(g, NODE(g, concat, 1, b1, INTS(g, -1), INTS(g, 768)), "axis", 0))),
               "batch,seq,768");
    CHECK_TEXT(dims_of(&t, op_int(g, NODE(g, flatten, 1, x), "axis", 2)), "batch*seq,768");
    CHECK_TEXT(contents_of(&t, OP1(g, size, x)), "batch*seq*768");
    net_free(&t);
}

static void test_vision_tokens(void)
{
    net t;
    net_init(&t);
    symbol(&t, "b", 64);
    symbol(&t, "h", 64);
    symbol(&t, "w", 64);
    tenon_graph *g = t.g;
    tenon_value *x = input(&t, g, "x", TENON_F32, "b,768,h,w");
    tenon_value *tokens = OP1(g, reshape, x, INTS(g, 0, 768, -1));
    CHECK_TEXT(dims_of(&t, tokens), "b,768,h*w");
    tenon_value *seq = OP_INTS(g, NODE(g, transpose, 1, tokens), "perm", 0, 2, 1);
    tenon_value *b1 = OP1(g, slice, OP1(g, shape, x), INTS(g, 0), INTS(g, 1), INTS(g, 0));
    CHECK_TEXT(contents_of(&t, b1), "b");
    tenon_node *minus = NODE(g, expand, 1, typed(&t, g, "cls", TENON_F32, "1,1,768"), INTS(g, 2, -1, -1));
    CHECK_FAILS(&cx, tenon_infer_node(&cx, g, minus), TENON_INVALID, "negative size at axis 1");
    tenon_value *cls1 = OP1(g, expand, typed(&t, g, "cls", TENON_F32, "1,1,768"),
                            op_int(g, NODE(g, concat, 1, b1, INTS(g, 1, 768)), "axis", 0));
    CHECK_TEXT(dims_of(&t, cls1), "b,1,768");
    tenon_value *all = op_int(g, NODE(g, concat, 1, cls1, seq), "axis", 1);
    tenon_value *flat = OP1(g, reshape, all, INTS(g, -1, 768));
    /* (b*(h*w+1), 768) back to (b, -1, 768): the product was multiplied out, the division must find h*w+1 again */
    tenon_value *again = OP1(g, reshape, flat, op_int(g, NODE(g, concat, 1, b1, INTS(g, -1, 768)), "axis", 0));
    CHECK(again->type.dim[1] == all->type.dim[1]);
    tenon_value *first = OP1(g, gather, all, INT(g, 0));
    CHECK_TEXT(dims_of(&t, first), dim_list(&t, 2, all->type.dim + 1));
    net_free(&t);
}

static void test_slices_and_values(void)
{
    net t;
    net_init(&t);
    symbol(&t, "n", 1000);
    tenon_graph *g = t.g;
    tenon_value *x = input(&t, g, "x", TENON_F32, "n,8");
    tenon_value *full = OP1(g, slice, x, INTS(g, 0), INTS(g, INT64_MAX));
    CHECK(full->type.dim[0] == x->type.dim[0]);
    CHECK(OP1(g, slice, x, INTS(g, 0), INTS(g, 2147483647), INTS(g, 0))->type.dim[0] == x->type.dim[0]);
    CHECK_TEXT(dims_of(&t, OP1(g, slice, x, INTS(g, 1), INTS(g, INT64_MAX))), "n-1,8");
    CHECK_TEXT(dims_of(&t, OP1(g, slice, x, INTS(g, 7), INTS(g, INT64_MIN), INTS(g, 1), INTS(g, -2))), "n,4");
    tenon_value *n = OP1(g, gather, OP1(g, shape, x), INTS(g, 0));
    CHECK(OP1(g, slice, x, INTS(g, 0), n)->type.dim[0] == x->type.dim[0]);
    tenon_value *ramp = OP1(g, range, INT(g, 2), INT(g, 11), INT(g, 3));
    CHECK_TEXT(contents_of(&t, ramp), "2,5,8");
    tenon_value *upto = OP1(g, range, INT(g, 0), OP1(g, gather, OP1(g, shape, x), INT(g, 0)), INT(g, 1));
    CHECK_TEXT(dims_of(&t, upto), "n");
    CHECK_TEXT(contents_of(&t, OP1(g, tile, n, INTS(g, 2))), "n,n");
    CHECK_TEXT(contents_of(&t, OP1(g, expand, n, INTS(g, 3))), "n,n,n");
    CHECK_TEXT(contents_of(&t, OP1(g, scatter_elements, INTS(g, 4, 5, 6), INTS(g, 1), n)), "4,n,6");
    tenon_node *pad = NODE(g, pad, 1, n, INTS(g, 1, 1), INT(g, 7));
    CHECK_TEXT(contents_of(&t, infer(g, pad)), "7,n,7");
    tenon_node *sp = NODE(g, split, 2, OP1(g, shape, x));
    infer(g, sp);
    CHECK_TEXT(contents_of(&t, sp->dst[1]), "8");
    tenon_value *nz = OP1(g, non_zero, x);
    CHECK(nz->type.rank == 2 && tenon_dim_is(nz->type.dim[0], 2) && tenon_dim_depends_on_data(&t.dims, nz->type.dim[1]) &&
          nz->type.dim[1]->hi <= 8000);
    const tenon_dim *before = nz->type.dim[1];
    CHECK(infer(g, nz->producer)->type.dim[1] == before); /* inferring again keeps the symbol */
    CHECK_FAILS(&cx, tenon_infer_node(&cx, g, NODE(g, reshape, 1, typed(&t, g, "y", TENON_F32, "2,3"), INTS(g, 4, 2))),
                TENON_INVALID, "reshape");
    CHECK_FAILS(&cx, tenon_infer_node(&cx, g, NODE(g, reshape, 1, x, INTS(g, -1, -1))), TENON_INVALID, "twice");
    net_free(&t);
}

/* ---- views ---- */
static void test_views(void)
{
    net t;
    net_init(&t);
    symbol(&t, "b", 64);
    symbol(&t, "s", 512);
    tenon_graph *g = t.g;
    /* fused qkv (b, s, 2304) -> split -> (b, s, 12, 64) -> (b, 12, s, 64) */
    tenon_value *x = input(&t, g, "x", TENON_F32, "b,s,2304");
    tenon_node *sp = NODE(g, split, 3, x);
    CHECK_OK(&cx, tenon_node_set_int(g, sp, "axis", -1));
    infer(g, sp);
    CHECK_TEXT(dims_of(&t, sp->dst[1]), "b,s,768");
    tenon_value *heads = OP1(g, reshape, sp->dst[1], INTS(g, 0, 0, 12, 64));
    tenon_value *k = OP_INTS(g, NODE(g, transpose, 1, heads), "perm", 0, 2, 1, 3);
    tenon_view v0, v1, v2, v3;
    bool ok = false;
    CHECK_OK(&cx, tenon_view_dense(&cx, g, &x->type, &v0));
    CHECK_TEXT(dim_list(&t, 3, v0.stride), "s*2304,2304,1");
    CHECK_OK(&cx, tenon_view_apply(&cx, g, sp, 1, &v0, &v1, &ok));
    CHECK(ok && tenon_dim_is(v1.offset, 768));
    CHECK_OK(&cx, tenon_view_apply(&cx, g, heads->producer, 0, &v1, &v2, &ok));
    CHECK(ok);
    CHECK_OK(&cx, tenon_view_apply(&cx, g, k->producer, 0, &v2, &v3, &ok));
    CHECK(ok && tenon_dim_is(v3.offset, 768));
    CHECK_TEXT(dim_list(&t, 4, v3.stride), "s*2304,64,2304,1");
    /* merging heads again is no view of a transposed tensor, but is one when transposed back */
    tenon_value *wrong = OP1(g, reshape, k, INTS(g, 0, 12, -1));
    CHECK_OK(&cx, tenon_view_apply(&cx, g, wrong->producer, 0, &v3, &v2, &ok));
    CHECK(!ok);
    tenon_value *back = OP_INTS(g, NODE(g, transpose, 1, k), "perm", 0, 2, 1, 3), *merged = OP1(g, reshape, back,
                                                                                                INTS(g, 0, 0, 768));
    CHECK_OK(&cx, tenon_view_apply(&cx, g, back->producer, 0, &v3, &v2, &ok));
    CHECK_OK(&cx, tenon_view_apply(&cx, g, merged->producer, 0, &v2, &v1, &ok));
    CHECK(ok);
    CHECK_TEXT(dim_list(&t, 3, v1.stride), "s*2304,2304,1");
    /* batch and sequence of a dense tensor merge; of the 768-wide piece too, with the pitch */
    tenon_value *flat = OP1(g, reshape, sp->dst[1], INTS(g, -1, 768));
    CHECK_OK(&cx, tenon_view_apply(&cx, g, sp, 1, &v0, &v1, &ok));
    CHECK_OK(&cx, tenon_view_apply(&cx, g, flat->producer, 0, &v1, &v2, &ok));
    CHECK(ok);
    CHECK_TEXT(dim_list(&t, 2, v2.stride), "2304,1");
    /* slice with a step, expand, unsqueeze, concat */
    tenon_value *sl = OP1(g, slice, x, INTS(g, 4), INTS(g, 2000), INTS(g, 2), INTS(g, 2));
    CHECK_OK(&cx, tenon_view_apply(&cx, g, sl->producer, 0, &v0, &v1, &ok));
    CHECK(ok && tenon_dim_is(v1.offset, 4) && tenon_dim_is(v1.stride[2], 2));
    tenon_value *un = OP_INTS(g, NODE(g, unsqueeze, 1, x), "axes", 1);
    CHECK_OK(&cx, tenon_view_apply(&cx, g, un->producer, 0, &v0, &v1, &ok));
    CHECK(ok && tenon_dim_is(v1.stride[2], 2304));
    tenon_value *ex = OP1(g, expand, un, INTS(g, 1, 5, 1, 1));
    CHECK_TEXT(dims_of(&t, ex), "b,5,s,2304");
    CHECK_OK(&cx, tenon_view_apply(&cx, g, ex->producer, 0, &v1, &v2, &ok));
    CHECK(ok && tenon_dim_is(v2.stride[1], 0));
    tenon_value *cat = op_int(g, NODE(g, concat, 1, sp->dst[0], sp->dst[1]), "axis", 2);
    CHECK_OK(&cx, tenon_view_dense(&cx, g, &cat->type, &v0));
    CHECK_OK(&cx, tenon_view_concat(&cx, g, cat->producer, 1, &v0, &v1, &ok));
    CHECK(ok && tenon_dim_is(v1.offset, 768) && tenon_dim_is(v1.stride[1], 1536));
    net_free(&t);
}

/* ---- references: one node on constants ---- */
enum { ROOM = 64 };
typedef struct sample { tenon_dtype dtype; int rank; int64_t dim[4]; double v[ROOM]; } sample;

static tenon_tensor tensor_of(tenon_heap *h, const sample *s)
{
    tenon_tensor t = {.dtype = s->dtype, .rank = s->rank};
    for (int i = 0; i < s->rank; i++) t.dim[i] = s->dim[i];
    tenon_tensor_dense(&t);
    t.data = tenon_heap_alloc(h, ROOM * 8);
    for (int64_t i = 0; i < tenon_tensor_count(&t); i++) tenon_tensor_set_f64(&t, i, s->v[i]);
    return t;
}

static bool equals(const tenon_tensor *t, const sample *want)
{
    bool same = t->dtype == want->dtype && t->rank == want->rank;
    for (int i = 0; same && i < t->rank; i++) same = t->dim[i] == want->dim[i];
    for (int64_t i = 0; same && i < tenon_tensor_count(t); i++)
        same = tenon_tensor_get_f64(t, tenon_tensor_offset(t, i)) == want->v[i];
    if (!same) {
        fprintf(stderr, "  got %s rank %d:", tenon_dtype_get(t->dtype)->name, t->rank);
        for (int i = 0; i < t->rank; i++) fprintf(stderr, " %lld", (long long)t->dim[i]);
        fprintf(stderr, " |");
        for (int64_t i = 0; i < tenon_tensor_count(t); i++)
            fprintf(stderr, " %g", tenon_tensor_get_f64(t, tenon_tensor_offset(t, i)));
        fprintf(stderr, "\n");
    }
    return same;
}

/* attrs: "axis=1 mode=reflect"; results compared in order, a want of dtype NONE is not asked for. */
static void run(int line, const tenon_op *op, const char *attrs, int src_count, const sample *src, int dst_count,
                const sample *want)
{
    net t;
    net_init(&t);
    tenon_heap h;
    tenon_heap_init(&h, &cx);
    tenon_tensor in[6], out[4] = {{0}};
    tenon_value *v[6];
    for (int i = 0; i < src_count; i++) {
        in[i] = src[i].dtype == TENON_DTYPE_NONE ? (tenon_tensor){0} : tensor_of(&h, &src[i]);
        v[i] = NULL;
        if (in[i].dtype) CHECK_OK(&cx, tenon_graph_const(t.g, "c", &in[i], false, &v[i]));
    }
    tenon_node *n = node(t.g, op, dst_count, src_count, v);
    for (const char *p = attrs; *p;) {
        const size_t length = strcspn(p, " ");
        CHECK_OK(&cx, tenon_attr_parse(t.g, n, p, length));
        p += length + (p[length] == ' ');
    }
    const int failed = check_failed;
    CHECK_OK(&cx, tenon_infer_node(&cx, t.g, n));
    for (int i = 0; i < dst_count; i++) out[i].dtype = want[i].dtype;
    tenon_eval_call call = {.node = n, .src_count = src_count, .dst_count = dst_count, .src = in, .dst = out, .heap = &h};
    if (CHECK_OK(&cx, tenon_eval_node(&cx, &call)))
        for (int i = 0; i < dst_count; i++)
            if (want[i].dtype) CHECK(equals(&out[i], &want[i]));
    if (check_failed > failed) fprintf(stderr, "  in the case of line %d: %s %s\n", line, tenon_op_as_head(op)->name, attrs);
    tenon_heap_free(&h);
    net_free(&t);
}
#define S(...) (const sample[]){__VA_ARGS__}
#define RUN(op, attrs, src, want) \
    run(__LINE__, &tenon_op_##op, attrs, (int)(sizeof(src) / sizeof(sample)), src, (int)(sizeof(want) / sizeof(sample)), want)
#define F32(rank, dims, ...) {TENON_F32, rank, dims, {__VA_ARGS__}}
#define I64(rank, dims, ...) {TENON_I64, rank, dims, {__VA_ARGS__}}
#define D(...) {__VA_ARGS__}

static void test_references(void)
{
    const sample x23 = F32(2, D(2, 3), 1, 2, 3, 4, 5, 6);
    RUN(transpose, "", S(x23), S(F32(2, D(3, 2), 1, 4, 2, 5, 3, 6)));
    RUN(reshape, "", S(x23, I64(1, D(2), 3, -1)), S(F32(2, D(3, 2), 1, 2, 3, 4, 5, 6)));
    RUN(reshape, "allowzero=1", S(F32(2, D(0, 3), 0), I64(1, D(2), 3, 0)), S(F32(2, D(3, 0), 0)));
    RUN(squeeze, "", S(F32(3, D(1, 2, 1), 1, 2)), S(F32(1, D(2), 1, 2)));
    RUN(concat, "axis=1", S(x23, F32(2, D(2, 1), 7, 8)), S(F32(2, D(2, 4), 1, 2, 3, 7, 4, 5, 6, 8)));
    RUN(split, "axis=1 num_outputs=2", S(x23), S(F32(2, D(2, 2), 1, 2, 4, 5), F32(2, D(2, 1), 3, 6)));
    RUN(split, "axis=1 split=1+2", S(x23), S(F32(2, D(2, 1), 1, 4), F32(2, D(2, 2), 2, 3, 5, 6)));
    RUN(slice, "", S(x23, I64(1, D(1), -1), I64(1, D(1), -100), I64(1, D(1), 1), I64(1, D(1), -1)),
        S(F32(2, D(2, 3), 3, 2, 1, 6, 5, 4)));
    RUN(slice, "", S(x23, I64(1, D(2), 1, 0), I64(1, D(2), 2, 3), {0}, I64(1, D(2), 1, 2)), S(F32(2, D(1, 2), 4, 6)));
    RUN(expand, "", S(F32(2, D(2, 1), 1, 2), I64(1, D(3), 2, 1, 2)), S(F32(3, D(2, 2, 2), 1, 1, 2, 2, 1, 1, 2, 2)));
    RUN(tile, "", S(F32(2, D(1, 2), 1, 2), I64(1, D(2), 2, 2)), S(F32(2, D(2, 4), 1, 2, 1, 2, 1, 2, 1, 2)));
    RUN(pad, "", S(F32(1, D(3), 1, 2, 3), I64(1, D(2), 1, -1), F32(0, D(0), 9)), S(F32(1, D(3), 9, 1, 2)));
    RUN(pad, "mode=\"reflect\"", S(F32(1, D(3), 1, 2, 3), I64(1, D(2), 2, 3)), S(F32(1, D(8), 3, 2, 1, 2, 3, 2, 1, 2)));
    RUN(pad, "mode=\"edge\"", S(F32(1, D(2), 1, 2), I64(1, D(2), 1, 2)), S(F32(1, D(5), 1, 1, 2, 2, 2)));
    RUN(pad, "mode=\"wrap\"", S(x23, I64(1, D(2), 1, 1), {0}, I64(1, D(1), -1)),
        S(F32(2, D(2, 5), 3, 1, 2, 3, 1, 6, 4, 5, 6, 4)));
    RUN(gather, "axis=1", S(x23, I64(2, D(1, 2), -1, 0)), S(F32(3, D(2, 1, 2), 3, 1, 6, 4)));
    RUN(gather_elements, "axis=1", S(x23, I64(2, D(2, 2), 2, 0, 1, -1)), S(F32(2, D(2, 2), 3, 1, 5, 6)));
    RUN(gather_nd, "", S(x23, I64(2, D(2, 2), 0, 2, 1, 0)), S(F32(1, D(2), 3, 4)));
    RUN(gather_nd, "batch_dims=1", S(x23, I64(2, D(2, 1), 1, 2)), S(F32(1, D(2), 2, 6)));
    RUN(scatter_elements, "axis=1", S(x23, I64(2, D(1, 2), -1, 0), F32(2, D(1, 2), 8, 9)), S(F32(2, D(2, 3), 9, 2, 8, 4, 5, 6)));
    RUN(scatter_elements, "reduction=\"max\"", S(F32(1, D(2), 1, 5), I64(1, D(2), 0, 1), F32(1, D(2), 3, 2)),
        S(F32(1, D(2), 3, 5)));
    RUN(scatter_nd, "reduction=\"add\"", S(F32(1, D(3), 1, 2, 3), I64(2, D(2, 1), 0, 0), F32(1, D(2), 10, 20)),
        S(F32(1, D(3), 31, 2, 3)));
    RUN(scatter_nd, "", S(x23, I64(2, D(1, 1), 1), F32(2, D(1, 3), 7, 8, 9)), S(F32(2, D(2, 3), 1, 2, 3, 7, 8, 9)));
    RUN(range, "", S(F32(0, D(0), 1), F32(0, D(0), 2), F32(0, D(0), 0.25)), S(F32(1, D(4), 1, 1.25, 1.5, 1.75)));
    RUN(range, "", S(I64(0, D(0), 5), I64(0, D(0), 0), I64(0, D(0), -2)), S(I64(1, D(3), 5, 3, 1)));
    RUN(constant_of_shape, "", S(I64(1, D(2), 1, 2)), S(F32(2, D(1, 2), 0, 0)));
    RUN(one_hot, "axis=0", S(I64(1, D(2), 1, -1), I64(0, D(0), 3), F32(1, D(2), 5, 6)), S(F32(2, D(3, 2), 5, 5, 6, 5, 5, 6)));
    RUN(eye_like, "k=1 dtype=i64", S(x23), S(I64(2, D(2, 3), 0, 1, 0, 0, 0, 1)));
    RUN(non_zero, "", S(F32(2, D(2, 2), 1, 0, 2, 3)), S(I64(2, D(2, 3), 0, 1, 1, 0, 0, 1)));
    RUN(unique, "", S(F32(1, D(6), 2, 1, 1, 3, 4, 3)),
        S(F32(1, D(4), 1, 2, 3, 4), I64(1, D(4), 1, 0, 3, 4), I64(1, D(6), 1, 0, 0, 2, 3, 2), I64(1, D(4), 2, 1, 2, 1)));
    RUN(unique, "sorted=0", S(F32(1, D(6), 2, 1, 1, 3, 4, 3)),
        S(F32(1, D(4), 2, 1, 3, 4), I64(1, D(4), 0, 1, 3, 4), I64(1, D(6), 0, 1, 1, 2, 3, 2), I64(1, D(4), 1, 2, 2, 1)));
    RUN(unique, "axis=0", S(F32(2, D(3, 2), 1, 0, 1, 0, 0, 3)), S(F32(2, D(2, 2), 0, 3, 1, 0)));
    RUN(compress, "axis=1", S(x23, {TENON_BOOL, 1, D(3), {1, 0, 1}}), S(F32(2, D(2, 2), 1, 3, 4, 6)));
    RUN(compress, "", S(x23, {TENON_BOOL, 1, D(5), {0, 1, 0, 0, 1}}), S(F32(1, D(2), 2, 5)));
    RUN(depth_to_space, "blocksize=2", S(F32(4, D(1, 8, 1, 1), 0, 1, 2, 3, 4, 5, 6, 7)),
        S(F32(4, D(1, 2, 2, 2), 0, 2, 4, 6, 1, 3, 5, 7)));
    RUN(depth_to_space, "blocksize=2 mode=\"CRD\"", S(F32(4, D(1, 8, 1, 1), 0, 1, 2, 3, 4, 5, 6, 7)),
        S(F32(4, D(1, 2, 2, 2), 0, 1, 2, 3, 4, 5, 6, 7)));
    RUN(space_to_depth, "blocksize=2", S(F32(4, D(1, 2, 2, 2), 0, 2, 4, 6, 1, 3, 5, 7)),
        S(F32(4, D(1, 8, 1, 1), 0, 1, 2, 3, 4, 5, 6, 7)));
    RUN(reverse_sequence, "time_axis=0 batch_axis=1", S(F32(2, D(3, 2), 1, 2, 3, 4, 5, 6), I64(1, D(2), 2, 3)),
        S(F32(2, D(3, 2), 3, 6, 1, 4, 5, 2)));
    RUN(copy, "", S(x23), S(x23));
    RUN(shape, "start=-1", S(x23), S(I64(1, D(1), 3)));
    RUN(size, "", S(x23), S(I64(0, D(0), 6)));
}

static void test_symbolic_and_text(void)
{
    net t;
    net_init(&t);
    symbol(&t, "n", 9);
    tenon_graph *g = t.g;
    tenon_node *n = node(g, &tenon_op_symbolic, 1, 0, NULL);
    CHECK_OK(&cx, tenon_attr_parse(g, n, "dims=\"n*2\"+\"4\"", strlen("dims=\"n*2\"+\"4\"")));
    CHECK_TEXT(contents_of(&t, infer(g, n)), "n*2,4");
    tenon_heap h;
    tenon_heap_init(&h, &cx);
    tenon_tensor out = {.dtype = TENON_I64};
    tenon_eval_call call = {.node = n, .dst_count = 1, .dst = &out, .heap = &h};
    CHECK_FAILS(&cx, tenon_eval_node(&cx, &call), TENON_INVALID, "concrete");
    n->dst[0]->sym[0] = tenon_dim_const(&t.dims, 6);
    CHECK_OK(&cx, tenon_eval_node(&cx, &call));
    CHECK(equals(&out, &(sample)I64(1, D(2), 6, 4)));
    /* a sum of sizes beyond 64 bits is an unknown size, not one of the sources' */
    tenon_value *vast = typed(&t, g, "vast", TENON_F32, "4611686018427387904,4");
    tenon_value *joined = infer(g, op_int(g, NODE(g, concat, 1, vast, vast, vast), "axis", 0)->producer);
    CHECK(joined->type.rank == 2 && !tenon_dim_is_const(joined->type.dim[0]) && tenon_dim_is(joined->type.dim[1], 4));
    /* strings: unique and transposed */
    tenon_string words[3] = {{"b", 1}, {"a", 1}, {"b", 1}};
    tenon_tensor text = {.dtype = TENON_STRING, .rank = 1, .dim = {3}, .stride = {1}, .data = words},
        two[3] = {{.dtype = TENON_STRING}};
    two[2].dtype = TENON_I64;
    tenon_node *u = NODE(g, unique, 3, typed(&t, g, "text", TENON_STRING, "3"));
    infer(g, u);
    tenon_eval_call unique = {.node = u, .src_count = 1, .src = &text, .dst_count = 3, .dst = two, .heap = &h};
    CHECK_OK(&cx, tenon_eval_node(&cx, &unique));
    CHECK(two[0].dim[0] == 2 && two[0].data && ((tenon_string *)two[0].data)[0].data[0] == 'a');
    CHECK(equals(&two[2], &(sample)I64(1, D(3), 1, 0, 1)));
    tenon_heap_free(&h);
    net_free(&t);
}

/* ---- control flow ---- */
static tenon_graph *sub_graph(net *t, tenon_node *n, int count)
{
    tenon_graph *g = NULL;
    CHECK_OK(&cx, tenon_graph_create(&cx, &t->arena, &t->dims, t->g, &g));
    tenon_graph **sub = tenon_arena_array(&t->arena, (size_t)count, sizeof(*sub));
    for (int i = 0; i + 1 < count; i++) sub[i] = n->sub[i];
    sub[count - 1] = g;
    n->sub = sub;
    n->sub_count = count;
    return g;
}

static void bind(tenon_node *n, const char *attr, int index)
{
    tenon_attr *a = &n->attr[tenon_attr_find(n->op, attr)];
    a->set = true;
    a->i = index;
}

/* acc grows by x each run: acc = concat(acc, x); slices: acc's size. */
static void test_loop(void)
{
    net t;
    net_init(&t);
    tenon_graph *g = t.g;
    tenon_value *trips = input(&t, g, "trips", TENON_I64, ""), *x = input(&t, g, "x", TENON_F32, "2");
    tenon_node *n = NODE(g, loop, 2, trips, NULL, x);
    tenon_graph *body = sub_graph(&t, n, 1);
    bind(n, "body", 0);
    input(&t, body, "i", TENON_I64, "");
    tenon_value *go = input(&t, body, "go", TENON_BOOL, ""), *acc = input(&t, body, "acc", TENON_F32, "2");
    tenon_node *cat = NODE(body, concat, 1, acc, x);
    CHECK_OK(&cx, tenon_node_set_int(body, cat, "axis", 0));
    tenon_node *size = NODE(body, size, 1, cat->dst[0]);
    output(body, go);
    output(body, cat->dst[0]);
    output(body, size->dst[0]);
    output(g, n->dst[0]);
    output(g, n->dst[1]);
    CHECK_OK(&cx, tenon_infer_node(&cx, g, n));
    CHECK(n->dst[0]->type.rank == 1 && tenon_dim_depends_on_data(&t.dims, n->dst[0]->type.dim[0]));
    CHECK(n->dst[1]->type.rank == 1 && n->dst[1]->type.dtype == TENON_I64);
    const tenon_dim *before = n->dst[0]->type.dim[0];
    const size_t symbols = t.dims.symbol_count;
    CHECK_OK(&cx, tenon_infer_node(&cx, g, n));
    CHECK(n->dst[0]->type.dim[0] == before && t.dims.symbol_count == symbols);
    tenon_heap h;
    tenon_heap_init(&h, &cx);
    for (int runs = 0; runs < 4; runs += 3) {
        const sample count = I64(0, D(0), runs), start = F32(1, D(2), 1, 2);
        const tenon_tensor in[2] = {tensor_of(&h, &count), tensor_of(&h, &start)};
        tenon_tensor out[2] = {{0}};
        CHECK_OK(&cx, tenon_eval_graph(&cx, g, in, 2, out, 2, &h, NULL, NULL));
        const sample three = F32(1, D(8), 1, 2, 1, 2, 1, 2, 1, 2), sizes = I64(1, D(3), 4, 6, 8), none = I64(1, D(0), 0);
        CHECK(equals(&out[0], runs ? &three : &start));
        CHECK(equals(&out[1], runs ? &sizes : &none));
    }
    tenon_heap_free(&h);
    net_free(&t);
}

static void test_trip_count(void)
{
    net t;
    net_init(&t);
    symbol(&t, "n", 100);
    tenon_graph *g = t.g;
    tenon_value *x = input(&t, g, "x", TENON_F32, "n,4");
    tenon_value *trips = OP1(g, gather, OP1(g, shape, x), INT(g, 0));
    tenon_node *n = NODE(g, loop, 1, trips, NULL);
    tenon_graph *body = sub_graph(&t, n, 1);
    bind(n, "body", 0);
    tenon_value *i = input(&t, body, "i", TENON_I64, ""), *go = input(&t, body, "go", TENON_BOOL, "");
    tenon_node *row = NODE(body, gather, 1, x, i);
    output(body, go);
    output(body, row->dst[0]);
    CHECK_OK(&cx, tenon_infer_node(&cx, g, n));
    CHECK_TEXT(dims_of(&t, n->dst[0]), "n,4");
    net_free(&t);
}

static void test_scan_and_if(void)
{
    net t;
    net_init(&t);
    tenon_graph *g = t.g;
    /* running concat of nothing: state stays, slices are the elements read backwards */
    tenon_value *s0 = input(&t, g, "s", TENON_F32, "2"), *xs = input(&t, g, "xs", TENON_F32, "3,2"),
        *c = input(&t, g, "c", TENON_BOOL, "");
    tenon_node *n = NODE(g, scan, 2, s0, xs);
    tenon_graph *body = sub_graph(&t, n, 1);
    bind(n, "body", 0);
    CHECK_OK(&cx, tenon_node_set_int(g, n, "num_scan_inputs", 1));
    CHECK_OK(&cx, tenon_node_set_ints(g, n, "scan_input_directions", (int64_t[]){1}, 1));
    CHECK_OK(&cx, tenon_node_set_ints(g, n, "scan_output_axes", (int64_t[]){1}, 1));
    tenon_value *s = input(&t, body, "s", TENON_F32, "2"), *e = input(&t, body, "e", TENON_F32, "2");
    tenon_node *old = NODE(body, copy, 1, s), *now = NODE(body, copy, 1, e);
    output(body, now->dst[0]);
    output(body, old->dst[0]);
    CHECK_OK(&cx, tenon_infer_node(&cx, g, n));
    CHECK_TEXT(dims_of(&t, n->dst[0]), "2");
    CHECK_TEXT(dims_of(&t, n->dst[1]), "2,3");
    tenon_node *branch = NODE(g, if, 1, c);
    tenon_graph *yes = sub_graph(&t, branch, 1), *no = sub_graph(&t, branch, 2);
    bind(branch, "then_branch", 0);
    bind(branch, "else_branch", 1);
    tenon_node *a = NODE(yes, copy, 1, n->dst[0]), *b = NODE(no, slice, 1, n->dst[0], INTS(g, 0), INTS(g, 1));
    output(yes, a->dst[0]);
    output(no, b->dst[0]);
    CHECK_OK(&cx, tenon_infer_node(&cx, g, branch));
    CHECK(branch->dst[0]->type.rank == 1 && tenon_dim_depends_on_data(&t.dims, branch->dst[0]->type.dim[0]));
    output(g, n->dst[1]);
    output(g, branch->dst[0]);
    tenon_heap h;
    tenon_heap_init(&h, &cx);
    for (int cond = 0; cond < 2; cond++) {
        const sample start = F32(1, D(2), 9, 8), elements = F32(2, D(3, 2), 1, 2, 3, 4, 5, 6), flag = {TENON_BOOL, 0, D(0),
                                                                                                       {cond}};
        const tenon_tensor in[3] = {tensor_of(&h, &start), tensor_of(&h, &elements), tensor_of(&h, &flag)};
        tenon_tensor out[2] = {{0}};
        CHECK_OK(&cx, tenon_eval_graph(&cx, g, in, 3, out, 2, &h, NULL, NULL));
        CHECK(equals(&out[0], &(sample)F32(2, D(2, 3), 9, 5, 3, 8, 6, 4)));
        CHECK(equals(&out[1], cond ? &(sample)F32(1, D(2), 1, 2) : &(sample)F32(1, D(1), 1)));
    }
    tenon_heap_free(&h);
    net_free(&t);
}

/* ---- sequences and optionals ---- */
static void test_sequences(void)
{
    net t;
    net_init(&t);
    tenon_graph *g = t.g;
    tenon_value *a = input(&t, g, "a", TENON_F32, "2"), *b = input(&t, g, "b", TENON_F32, "3");
    tenon_value *s = infer(g, node(g, &tenon_op_sequence_empty, 1, 0, NULL));
    s = OP1(g, sequence_insert, s, a);
    CHECK_TEXT(dims_of(&t, OP1(g, sequence_at, s, INT(g, 0))), "2");
    s = OP1(g, sequence_insert, s, b, INT(g, 0));
    tenon_value *at = OP1(g, sequence_at, s, INT(g, -1));
    CHECK(at->type.rank == 1 && tenon_dim_depends_on_data(&t.dims, at->type.dim[0]));
    tenon_value *all = op_int(g, NODE(g, concat_from_sequence, 1, s), "axis", 0);
    tenon_value *length = OP1(g, sequence_length, OP1(g, sequence_erase, s));
    tenon_value *pieces = OP1(g, split_to_sequence, b, INT(g, 2));
    tenon_value *piece = OP1(g, sequence_at, pieces, INT(g, 1));
    tenon_value *has = OP1(g, optional_has_element, OP1(g, optional, a));
    tenon_value *got = OP1(g, optional_get_element, OP1(g, optional, b));
    CHECK_TEXT(dims_of(&t, got), "3");
    tenon_node *stack = NODE(g, concat_from_sequence, 1, OP1(g, sequence_construct, a, a));
    CHECK_OK(&cx, tenon_node_set_int(g, stack, "new_axis", 1));
    tenon_value *stacked = op_int(g, stack, "axis", 1);
    tenon_value *const results[] = {at, all, length, piece, has, got, stacked};
    for (int i = 0; i < 7; i++) output(g, results[i]);
    tenon_heap h;
    tenon_heap_init(&h, &cx);
    const sample va = F32(1, D(2), 1, 2), vb = F32(1, D(3), 3, 4, 5);
    const tenon_tensor in[2] = {tensor_of(&h, &va), tensor_of(&h, &vb)};
    tenon_tensor out[7] = {{0}};
    CHECK_OK(&cx, tenon_eval_graph(&cx, g, in, 2, out, 7, &h, NULL, NULL));
    CHECK(equals(&out[0], &va));
    CHECK(equals(&out[1], &(sample)F32(1, D(5), 3, 4, 5, 1, 2)));
    CHECK(equals(&out[2], &(sample)I64(0, D(0), 1)));
    CHECK(equals(&out[3], &(sample)F32(1, D(1), 5)));
    CHECK(equals(&out[4], &(sample){TENON_BOOL, 0, D(0), {1}}));
    CHECK(equals(&out[5], &vb));
    CHECK(equals(&out[6], &(sample)F32(2, D(2, 2), 1, 1, 2, 2)));
    tenon_heap_free(&h);
    net_free(&t);
}

int main(void)
{
    tenon_cx_init_default(&cx);
    test_exporter_reshape();
    test_vision_tokens();
    test_slices_and_values();
    test_views();
    test_references();
    test_symbolic_and_text();
    test_loop();
    test_trip_count();
    test_scan_and_if();
    test_sequences();
    return CHECK_END();
}
