/* SPDX-License-Identifier: Apache-2.0 */
/* The table of rewrites (convert.def), how a node's row or operator is found, and the small helpers that rewrites are written
   with. Operators are named by text here, so that a rewrite whose target is not in this build is an error of that model, not of
   the build. */
#include "onnx/import.h"

#include <string.h>

#define CONVERT(type, domain, from, to, fn) tenon_status tenon_onnx_##fn(tenon_onnx_call *c);
#define FALLBACK(type, domain, from, to, fn) tenon_status tenon_onnx_##fn(tenon_onnx_call *c);
#include "onnx/convert.def"
#undef CONVERT
#undef FALLBACK
#define CONVERT(type, domain, from, to, fn) {type, domain, from, to, tenon_onnx_##fn, false},
#define FALLBACK(type, domain, from, to, fn) {type, domain, from, to, tenon_onnx_##fn, true},
static const tenon_onnx_row rows[] = {
#include "onnx/convert.def"
};

void tenon_onnx_find(const char *domain, const char *type, int opset, const tenon_onnx_row **row, const tenon_op **op)
{
    *row = NULL;
    *op = tenon_op_find_onnx(domain, type);
    if (*op && !*domain && opset < (*op)->onnx_since) *op = NULL;
    for (size_t i = 0; i < TENON_COUNTOF(rows) && !*row; i++)
        if (strcmp(rows[i].type, type) == 0 && strcmp(rows[i].domain, domain) == 0 && opset >= rows[i].from &&
            (rows[i].to == 0 || opset <= rows[i].to) && !(rows[i].fallback && *op))
            *row = &rows[i];
    if (*row) *op = NULL;
}

/* Levenshtein's distance, without regard to case; names of operators are short. */
static size_t distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t row[LONGEST + 1];
    const size_t length = strlen(b);
    if (length > LONGEST) return SIZE_MAX;
    for (size_t k = 0; k <= length; k++) row[k] = k;
    for (size_t i = 0; a[i]; i++) {
        size_t before = row[0];
        row[0] = i + 1;
        for (size_t k = 0; k < length; k++) {
            const size_t swap = before + ((a[i] | 32) != (b[k] | 32)), step = TENON_MIN(row[k], row[k + 1]) + 1;
            before = row[k + 1];
            row[k + 1] = TENON_MIN(swap, step);
        }
    }
    return row[length];
}

const char *tenon_onnx_nearest(const char *type, int opset)
{
    const char *best = "";
    size_t least = SIZE_MAX;
    for (size_t i = 0; tenon_ops[i]; i++) {
        const tenon_op *op = tenon_ops[i];
        const bool onnx = op->onnx && !op->domain && op->onnx_since <= opset;
        const char *name = onnx ? op->onnx : op->name;
        if ((op->flags & TENON_OP_WEIGHT) || distance(type, name) >= least) continue;
        least = distance(type, name);
        best = name;
    }
    for (size_t i = 0; i < TENON_COUNTOF(rows); i++) {
        if (*rows[i].domain || opset < rows[i].from || (rows[i].to && opset > rows[i].to) || distance(type, rows[i].type) >= least)
            continue;
        least = distance(type, rows[i].type);
        best = rows[i].type;
    }
    return best;
}

/* ---- making nodes ---- */
tenon_status tenon_onnx_emit(tenon_onnx_call *c, const char *op, int src_count, tenon_value *const *src, int dst_count,
                             tenon_node **out)
{
    const tenon_op *row = tenon_op_find(op, strlen(op));
    *out = NULL;
    if (!row) return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "this build has no operator '%s'", op);
    const char *name = tenon_arena_printf(c->im->arena, "%s.%s", c->name, op);
    return name ? tenon_graph_node(c->g, row, name, src_count, src, dst_count, out) : TENON_NOMEM;
}

tenon_status tenon_onnx_typed(tenon_onnx_call *c, tenon_node *n, tenon_value **out)
{
    TENON_TRY(tenon_infer_node(c->cx, c->g, n));
    if (out) *out = n->dst[0];
    return TENON_OK;
}

tenon_status tenon_onnx_unary(tenon_onnx_call *c, const char *op, tenon_value *x, tenon_value **out)
{
    tenon_node *n;
    TENON_TRY(tenon_onnx_emit(c, op, 1, &x, 1, &n));
    return tenon_onnx_typed(c, n, out);
}

tenon_status tenon_onnx_binary(tenon_onnx_call *c, const char *op, tenon_value *a, tenon_value *b, tenon_value **out)
{
    tenon_node *n;
    TENON_TRY(tenon_onnx_emit(c, op, 2, (tenon_value *[]){a, b}, 1, &n));
    return tenon_onnx_typed(c, n, out);
}

static const char *made_name(tenon_onnx_call *c)
{
    const char *name = tenon_arena_printf(c->im->arena, "%s.const", c->name);
    return name ? name : "const";
}

tenon_status tenon_onnx_scalar(tenon_onnx_call *c, tenon_dtype dtype, double v, tenon_value **out)
{
    uint64_t data[2] = {0};
    const tenon_tensor t = {.dtype = dtype, .data = data};
    tenon_tensor_set_f64(&t, 0, v);
    return tenon_graph_const(c->g, made_name(c), &t, true, out);
}

tenon_status tenon_onnx_list(tenon_onnx_call *c, const int64_t *v, size_t count, tenon_value **out)
{
    return tenon_graph_const_i64(c->g, made_name(c), v, 1, (int64_t)count, out);
}

tenon_status tenon_onnx_cast(tenon_onnx_call *c, tenon_value *x, tenon_dtype to, tenon_value **out)
{
    tenon_node *n;
    TENON_TRY(tenon_onnx_emit(c, "cast", 1, &x, 1, &n));
    TENON_TRY(tenon_node_set_dtype(c->g, n, "to", to));
    return tenon_onnx_typed(c, n, out);
}

tenon_status tenon_onnx_transposed(tenon_onnx_call *c, tenon_value *x, const int64_t *perm, tenon_value **out)
{
    tenon_node *n;
    TENON_TRY(tenon_onnx_emit(c, "transpose", 1, &x, 1, &n));
    TENON_TRY(tenon_node_set_ints(c->g, n, "perm", perm, (size_t)x->type.rank));
    return tenon_onnx_typed(c, n, out);
}

tenon_status tenon_onnx_reduced(tenon_onnx_call *c, const char *op, tenon_value *x, const int64_t *axes, size_t count,
                                bool keepdims, tenon_value **out)
{
    tenon_node *n;
    TENON_TRY(tenon_onnx_emit(c, op, 1, &x, 1, &n));
    TENON_TRY(tenon_node_set_ints(c->g, n, "axes", axes, count));
    TENON_TRY(tenon_node_set_int(c->g, n, "keepdims", keepdims));
    return tenon_onnx_typed(c, n, out);
}

tenon_status tenon_onnx_reshaped(tenon_onnx_call *c, tenon_value *x, tenon_value *shape, tenon_value **out)
{
    return tenon_onnx_binary(c, "reshape", x, shape, out);
}

tenon_status tenon_onnx_shape(tenon_onnx_call *c, tenon_value *x, tenon_value **out)
{
    return tenon_onnx_unary(c, "shape", x, out);
}

tenon_status tenon_onnx_flattened(tenon_onnx_call *c, tenon_value *x, int64_t axis, tenon_value **out)
{
    tenon_node *n;
    TENON_TRY(tenon_onnx_emit(c, "flatten", 1, &x, 1, &n));
    TENON_TRY(tenon_node_set_int(c->g, n, "axis", axis));
    return tenon_onnx_typed(c, n, out);
}

tenon_status tenon_onnx_need(tenon_onnx_call *c, int i, const char *what)
{
    const tenon_value *v = tenon_onnx_src(c, i);
    if (!v) return TENON_FAIL(c->cx, TENON_INVALID, "input %d (%s) is missing", i, what);
    if (v->type.rank < 0) return TENON_FAIL(c->cx, TENON_UNSUPPORTED, "the rank of input %d (%s) is not known", i, what);
    return TENON_OK;
}

tenon_status tenon_onnx_axis(tenon_onnx_call *c, int64_t axis, int rank, int64_t *out)
{
    int found = 0;
    const tenon_status status = tenon_infer_axis(c->cx, "axis", axis, rank, &found);
    *out = found;
    return status;
}
