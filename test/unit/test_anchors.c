/* SPDX-License-Identifier: Apache-2.0 */
/* The anchors' references and infer rules against numbers computed elsewhere (anchors.txt, which says by what). Every case runs
   three times: dense f32 as written, with all sources and results strided, and in f64. Then symbolic shapes, contents and
   refusals. */
#include "check.h"

#include "base/file.h"
#include "op/eval.h"

#include <math.h>

enum { MOST_SRC = 8, MOST_DST = 3 };

typedef struct anchor_case {
    char head[512];
    int src_count, dst_count;
    tenon_tensor src[MOST_SRC], want[MOST_DST];
} anchor_case;

/* "f32 2x3 1 2 3 ..." or "-". */
static bool read_tensor(tenon_arena *arena, char *line, tenon_tensor *t)
{
    char *save = NULL, *word = strtok_r(line, " ", &save);
    *t = (tenon_tensor){0};
    if (!word) return false;
    if (!strcmp(word, "-")) return true;
    if (!tenon_dtype_parse(word, strlen(word), &t->dtype)) return false;
    char *shape = strtok_r(NULL, " ", &save);
    for (char *at = shape; at && *at != 's'; at = strchr(at, 'x') ? strchr(at, 'x') + 1 : NULL)
        t->dim[t->rank++] = strtoll(at, NULL, 10);
    tenon_tensor_dense(t);
    const int64_t count = tenon_tensor_count(t);
    if (!(t->data = tenon_arena_alloc(arena, tenon_dtype_bytes(t->dtype, (size_t)count) + 1))) return false;
    for (int64_t i = 0; i < count; i++) {
        if (!(word = strtok_r(NULL, " ", &save))) return false;
        if (tenon_is_float(t->dtype)) tenon_tensor_set_f64(t, i, strtod(word, NULL));
        else tenon_tensor_set_i64(t, i, strtoll(word, NULL, 10));
    }
    return true;
}

/* The same values, axes in reverse order in memory and a gap after each element. */
static tenon_tensor strided(tenon_arena *arena, const tenon_tensor *t, bool copy)
{
    tenon_tensor out = *t;
    int64_t step = 2;
    for (int i = 0; i < t->rank; i++) out.stride[i] = step, step *= TENON_MAX(t->dim[i], 1) + 1;
    out.data = tenon_arena_alloc(arena, (size_t)step * 8);
    if (copy) tenon_tensor_copy(&out, t);
    return out;
}

static tenon_tensor as_f64(tenon_arena *arena, const tenon_tensor *t)
{
    tenon_tensor out = *t;
    if (t->dtype != TENON_F32) return out;
    out.dtype = TENON_F64;
    out.data = tenon_arena_alloc(arena, (size_t)tenon_tensor_count(t) * 8 + 1);
    for (int64_t i = 0; i < tenon_tensor_count(t); i++) tenon_tensor_set_f64(&out, i, tenon_tensor_get_f64(t, i));
    return out;
}

static bool same(const tenon_tensor *got, const tenon_tensor *want)
{
    if (got->rank != want->rank || memcmp(got->dim, want->dim, (size_t)want->rank * sizeof *want->dim)) return false;
    for (int64_t i = 0; i < tenon_tensor_count(want); i++) {
        const double a = tenon_tensor_get_f64(got, tenon_tensor_offset(got, i)), b = tenon_tensor_get_f64(want, i);
        if (a != b && !(fabs(a - b) <= 2e-5 * (1 + fabs(b))) && !(isnan(a) && isnan(b))) {
            fprintf(stderr, "  element %lld is %.9g, wanted %.9g\n", (long long)i, a, b);
            return false;
        }
    }
    return true;
}

/* A graph with one node; i64 sources behind the first are constants, as shapes and axes would be. */
static tenon_status make_node(tenon_cx *cx, tenon_arena *arena, const anchor_case *c, const tenon_tensor *src, tenon_graph **g,
                              tenon_node **n)
{
    tenon_dim_pool *pool = tenon_arena_alloc(arena, sizeof *pool);
    tenon_value *value[MOST_SRC] = {0};
    char head[512], *save = NULL;
    snprintf(head, sizeof head, "%s", c->head);
    const char *name = strtok_r(head, " ", &save);
    const tenon_op *op = tenon_op_find(name, strlen(name));
    if (!op) return TENON_FAIL(cx, TENON_INVALID, "no operator '%s'", name);
    tenon_dim_pool_init(pool, arena);
    TENON_TRY(tenon_graph_create(cx, arena, pool, NULL, g));
    for (int i = 0; i < c->src_count; i++) {
        tenon_type type = {.dtype = src[i].dtype, .rank = src[i].rank};
        if (src[i].dtype == TENON_DTYPE_NONE) continue;
        for (int k = 0; k < type.rank; k++) type.dim[k] = tenon_dim_const(pool, src[i].dim[k]);
        if (i > 0 && src[i].dtype == TENON_I64 && tenon_tensor_is_dense(&src[i]))
            TENON_TRY(tenon_graph_const(*g, "c", &src[i], false, &value[i]));
        else TENON_TRY(tenon_graph_value(*g, "x", &type, &value[i]));
    }
    TENON_TRY(tenon_graph_node(*g, op, "node", c->src_count, value, c->dst_count, n));
    for (char *word = strtok_r(NULL, " ", &save); word; word = strtok_r(NULL, " ", &save))
        TENON_TRY(tenon_attr_parse(*g, *n, word, strlen(word)));
    return TENON_OK;
}

static tenon_status evaluate(tenon_cx *cx, tenon_heap *heap, const tenon_node *n, const anchor_case *c, const tenon_tensor *src,
                             tenon_tensor *dst, bool ready)
{
    tenon_eval_call call = {.node = n,
                            .src_count = c->src_count,
                            .dst_count = c->dst_count,
                            .src = src,
                            .dst = dst,
                            .dst_ready = ready,
                            .heap = heap};
    return tenon_eval_node(cx, &call);
}

static void run_case(tenon_cx *cx, const anchor_case *c)
{
    tenon_arena arena;
    tenon_heap heap;
    tenon_arena_init(&arena, cx);
    tenon_heap_init(&heap, cx);
    for (int way = 0; way < 3; way++) {
        tenon_tensor src[MOST_SRC] = {0}, dst[MOST_DST] = {0};
        tenon_graph *g;
        tenon_node *n;
        for (int i = 0; i < c->src_count; i++)
            if (c->src[i].dtype != TENON_DTYPE_NONE)
                src[i] = way == 1 ? strided(&arena, &c->src[i], true) : way == 2 ? as_f64(&arena, &c->src[i]) : c->src[i];
        bool good = CHECK_OK(cx, make_node(cx, &arena, c, way == 1 ? c->src : src, &g, &n)) &&
                    CHECK_OK(cx, tenon_infer_node(cx, g, n));
        for (int i = 0; i < c->dst_count; i++)
            dst[i] = way == 1 ? strided(&arena, &c->want[i], false) : (tenon_tensor){.dtype = c->want[i].dtype};
        good = good && CHECK_OK(cx, evaluate(cx, &heap, n, c, src, dst, way == 1));
        for (int i = 0; good && i < c->dst_count; i++) {
            const bool equal = same(&dst[i], &c->want[i]);
            CHECK(equal);
            good = good && equal;
            CHECK(n->dst[i]->type.rank == c->want[i].rank);
            CHECK(way == 2 || n->dst[i]->type.dtype == c->want[i].dtype);
        }
        if (!good) fprintf(stderr, "  case: %s (way %d)\n", c->head, way);
    }
    tenon_heap_free(&heap);
    tenon_arena_free(&arena);
}

static void run_file(tenon_cx *cx)
{
    tenon_arena arena;
    tenon_file_map map;
    anchor_case c = {0};
    int cases = 0;
    tenon_arena_init(&arena, cx);
    if (!CHECK_OK(cx, tenon_file_map_open(cx, TENON_SOURCE_DIR "/test/unit/anchors.txt", &map))) return;
    char *text = tenon_arena_strndup(&arena, (const char *)map.data, map.bytes), *save = NULL;
    for (char *at = text; (at = strstr(at, "\n ")); at++) *at = ' ';
    for (char *line = strtok_r(text, "\n", &save);; line = strtok_r(NULL, "\n", &save)) {
        const bool starts = !line || (line[0] != '#' && line[0] != '<' && line[0] != '>');
        if (starts && c.dst_count) run_case(cx, &c), cases++;
        if (!line) break;
        if (starts) c = (anchor_case){0}, snprintf(c.head, sizeof c.head, "%s", line);
        if (line[0] == '<') CHECK(c.src_count < MOST_SRC && read_tensor(&arena, line + 2, &c.src[c.src_count++]));
        if (line[0] == '>') CHECK(c.dst_count < MOST_DST && read_tensor(&arena, line + 2, &c.want[c.dst_count++]));
    }
    CHECK(cases > 190);
    tenon_file_map_close(&map);
    tenon_arena_free(&arena);
}

/* "n=1..8": symbols of the pool; "f32[n,3,h,224] f32[64,3,7,7]": sources in order; then "conv strides=2+2". */
static tenon_status infer_text(tenon_cx *cx, tenon_arena *arena, const char *symbols, const char *sources, const char *head,
                               tenon_buf *result)
{
    tenon_dim_pool pool;
    tenon_graph *g;
    tenon_node *n;
    tenon_value *value[MOST_SRC] = {0};
    char *save = NULL, *inner = NULL;
    int count = 0;
    tenon_dim_pool_init(&pool, arena);
    TENON_TRY(tenon_graph_create(cx, arena, &pool, NULL, &g));
    for (char *w = strtok_r(tenon_arena_strdup(arena, symbols), " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        char name[16];
        long long lo = 0, hi = 0, divisor = 1;
        CHECK(sscanf(w, "%15[a-z]=%lld..%lld%%%lld", name, &lo, &hi, &divisor) >= 3);
        if (!tenon_dim_symbol_named(&pool, name, lo, lo, hi, divisor)) return TENON_NOMEM;
    }
    for (char *w = strtok_r(tenon_arena_strdup(arena, sources), " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        tenon_type type = {0};
        char *open = strchr(w, '[');
        CHECK(open && tenon_dtype_parse(w, (size_t)(open - w), &type.dtype));
        for (char *d = strtok_r(open + 1, ",]", &inner); d; d = strtok_r(NULL, ",]", &inner))
            TENON_TRY(tenon_dim_parse(cx, &pool, d, strlen(d), &type.dim[type.rank++]));
        TENON_TRY(tenon_graph_value(g, "x", &type, &value[count++]));
    }
    char *op = strtok_r(tenon_arena_strdup(arena, head), " ", &save);
    TENON_TRY(tenon_graph_node(g, tenon_op_find(op, strlen(op)), "node", count, value, 1, &n));
    for (char *w = strtok_r(NULL, " ", &save); w; w = strtok_r(NULL, " ", &save)) TENON_TRY(tenon_attr_parse(g, n, w, strlen(w)));
    TENON_TRY(tenon_infer_node(cx, g, n));
    const tenon_type *t = &n->dst[0]->type;
    tenon_buf_printf(result, "%s[", tenon_dtype_get(t->dtype)->name);
    for (int i = 0; i < t->rank; i++) {
        if (i) tenon_buf_char(result, ',');
        tenon_dim_print(result, g->dims, t->dim[i]);
    }
    tenon_buf_char(result, ']');
    return TENON_OK;
}

static void check_infer(tenon_cx *cx, const char *symbols, const char *sources, const char *call, const char *want,
                        const char *refusal)
{
    tenon_arena arena;
    tenon_buf result;
    tenon_arena_init(&arena, cx);
    tenon_buf_init(&result, cx);
    const tenon_status status = infer_text(cx, &arena, symbols, sources, call, &result);
    if (want && CHECK_OK(cx, status)) CHECK_TEXT(tenon_buf_cstr(&result), want);
    if (refusal) {
        CHECK(status == TENON_INVALID || status == TENON_UNSUPPORTED);
        if (strstr(cx->message, refusal)) check_passed++;
        else check_failed++, fprintf(stderr, "%s: message '%s' lacks '%s'\n", call, cx->message, refusal);
    }
    tenon_buf_free(&result);
    tenon_arena_free(&arena);
}

static void symbolic_shapes(tenon_cx *cx)
{
    check_infer(cx, "n=1..8 h=32..512", "f32[n,3,h,224] f32[64,3,7,7]", "conv strides=2+2 pads=3+3+3+3",
                "f32[n,64,floordiv(h+1,2),112]", NULL);
    check_infer(cx, "n=1..8 h=32..512%2", "f32[n,3,h,224] f32[64,3,7,7]", "conv strides=2+2 auto_pad=\"SAME_UPPER\"",
                "f32[n,64,floordiv(h,2),112]", NULL);
    check_infer(cx, "n=1..8 h=2..64", "f32[n,4,h] f32[4,2,4]", "conv_transpose strides=2 pads=1+1 group=2", "f32[n,4,h*2]", NULL);
    check_infer(cx, "n=1..8 m=1..9", "f32[n,m,64] f32[64,10]", "matmul", "f32[n,m,10]", NULL);
    check_infer(cx, "n=1..8 h=1..9 w=1..9", "f32[n,3,h,w]", "reduce_mean axes=2+3", "f32[n,3,1,1]", NULL);
    check_infer(cx, "n=1..8 h=1..9 w=1..9", "f32[n,3,h,w]", "reduce_max axes=-1 keepdims=0", "f32[n,3,h]", NULL);
    check_infer(cx, "h=1..99 w=1..99", "f32[1,3,h,w]", "resize scales=1.0+1.0+2.0+0.5", "f32[1,3,h*2,floordiv(w,2)]", NULL);
    check_infer(cx, "n=1..4", "f32[n,100]", "top_k k=5", "f32[n,5]", NULL);
    check_infer(cx, "n=1..4 s=1..512", "f32[n,8,s,64] f32[n,2,s,64] f32[n,2,s,32]", "attention", "f32[n,8,s,32]", NULL);
}

static void refusals(tenon_cx *cx)
{
    check_infer(cx, "", "f32[1,3,8,8] f32[4,2,3,3]", "conv", NULL, "channels of x is 3, channels of the weight times group is 2");
    check_infer(cx, "", "f32[1,3,8,8] f32[4,3,3]", "conv", NULL, "rank of weight is 3, must be 4");
    check_infer(cx, "", "f32[1,4,8,8] f32[3,2,3,3]", "conv group=2", NULL, "3 filters are not a multiple of group 2");
    check_infer(cx, "", "f32[1,3,4,4] f32[4,3,7,7]", "conv pads=1+1+1+1", NULL,
                "window of 7 on spatial axis 0 does not fit the padded size 6");
    check_infer(cx, "", "f32[1,3,8,8] f32[4,3,3,3]", "conv strides=2", NULL, "strides has 1 entries, must have 2");
    check_infer(cx, "", "f32[1,3,8,8] f32[4,3,3,3]", "conv auto_pad=\"SAME\"", NULL, "auto_pad 'SAME' is not known");
    check_infer(cx, "", "f32[1,3,8,8] f32[4,3,3,3] f32[5]", "conv", NULL, "size of bias is 5");
    check_infer(cx, "", "f32[2,3] f32[4,5]", "matmul", NULL, "columns of a is 3, rows of b is 4");
    check_infer(cx, "n=1..4 m=1..4", "f32[n,m] f32[4,5]", "matmul", NULL, "not provably equal");
    check_infer(cx, "", "f32[2,3] f16[3,5]", "matmul", NULL, "source 0 is f32, source 1 is f16");
    check_infer(cx, "", "f32[1,3,8,8]", "max_pool kernel_shape=3", NULL, "kernel_shape has 1 entries, x has 2 spatial axes");
    check_infer(cx, "", "f32[2,3]", "reduce_sum axes=2", NULL, "axis 2 is outside a tensor of rank 2");
    check_infer(cx, "", "f32[2,3]", "reduce_sum axes=1+-1", NULL, "axis 1 is named twice");
    check_infer(cx, "", "f32[2,3]", "softmax axis=5", NULL, "axis 5 is outside a tensor of rank 2");
    check_infer(cx, "", "i32[2,3]", "softmax", NULL, "type of x is i32, must be a float");
    check_infer(cx, "", "f32[2,3,4] f32[3]", "layer_norm", NULL, "scale of shape (3) does not broadcast to (2, 3, 4)");
    check_infer(cx, "", "f32[1,6,4] f32[6] f32[6]", "group_norm num_groups=4", NULL,
                "6 channels are not a multiple of num_groups 4");
    check_infer(cx, "", "f32[1,3] f32[3] f32[3] f32[3] f32[2]", "batch_norm", NULL, "size of variance is 2");
    check_infer(cx, "", "f32[1,3] f32[3] f32[3] f32[3] f32[3]", "batch_norm training_mode=1", NULL, "training_mode");
    check_infer(cx, "", "f32[1,3,4,8] f32[1,2,4,8] f32[1,2,4,8]", "attention", NULL,
                "3 heads of q are not a multiple of 2 heads of k");
    check_infer(cx, "", "f32[1,1,4,4]", "resize", NULL, "neither scales and sizes are given");
    check_infer(cx, "", "f32[1,1,4,4]", "resize scales=2.0+2.0", NULL, "scales has 2 entries for 4 axes");
    check_infer(cx, "", "f32[1,1,4,4]", "resize sizes=1+1+2+2 mode=\"area\"", NULL, "mode 'area' is not known");
    check_infer(cx, "", "f32[2,3]", "top_k k=4", NULL, "k is 4, axis 1 of x has 3 elements");
    check_infer(cx, "", "f32[1,5,4] f32[1,2,6]", "non_max_suppression", NULL, "number of boxes is 5, number of scores is 6");
    check_infer(cx, "", "f32[2,3]", "det", NULL, "rows of x is 2, columns of x is 3");
    check_infer(cx, "", "f32[2,3] f32[4,5]", "einsum equation=\"ij,jk->ik\"", NULL, "one axis of a subscript is 3, another is 4");
}

/* A fully masked query gives zeros; NaN is skipped by maxima. */
static void edges(tenon_cx *cx)
{
    static const char text[] =
        "attention\n< f32 1x1x1x2 1 2\n< f32 1x1x2x2 1 0 0 1\n< f32 1x1x2x1 5 6\n< bool 1x2 0 0\n> f32 1x1x1x1 0\n"
        "max_pool kernel_shape=2\n< f32 1x1x3 nan 1 nan\n> f32 1x1x2 1 1\n"
        "reduce_sum axes=1\n< f32 2x0\n> f32 2x1 0 0\n"
        "conv\n< f32 0x1x2\n< f32 1x1x1 1\n> f32 0x1x2\n";
    tenon_arena arena;
    anchor_case c = {0};
    tenon_arena_init(&arena, cx);
    char *copy = tenon_arena_strdup(&arena, text), *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save);; line = strtok_r(NULL, "\n", &save)) {
        const bool starts = !line || (line[0] != '<' && line[0] != '>');
        if (starts && c.dst_count) run_case(cx, &c);
        if (!line) break;
        if (starts) c = (anchor_case){0}, snprintf(c.head, sizeof c.head, "%s", line);
        if (line[0] == '<') CHECK(read_tensor(&arena, line + 2, &c.src[c.src_count++]));
        if (line[0] == '>') CHECK(read_tensor(&arena, line + 2, &c.want[c.dst_count++]));
    }
    tenon_arena_free(&arena);
}

int main(void)
{
    tenon_cx cx;
    tenon_cx_init_default(&cx);
    run_file(&cx);
    edges(&cx);
    symbolic_shapes(&cx);
    refusals(&cx);
    return CHECK_END();
}
