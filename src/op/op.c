/* SPDX-License-Identifier: Apache-2.0 */
/* The table of operators and the helpers that every infer rule shares: running a rule with a message that names the node,
   broadcasting of symbolic shapes, axes, and what is known of a small tensor's contents. Knows no operator by name. */
#include "op/op.h"

#include "base/checked.h"

#include <inttypes.h>
#include <string.h>

#define OP(x) &tenon_op_##x,
const tenon_op *const tenon_ops[] = {
#include "op/op.def"
    NULL };
#undef OP

/* A scan: some two hundred rows, looked up once a node of a model, and op.def need not be sorted for it. */
const tenon_op *tenon_op_find(const char *name, size_t length)
{
    for (const tenon_op *const *op = tenon_ops; *op; op++)
        if (strncmp((*op)->name, name, length) == 0 && (*op)->name[length] == '\0') return *op;
    return NULL;
}

const tenon_op *tenon_op_find_onnx(const char *domain, const char *name)
{
    const bool plain = !domain || !*domain || strcmp(domain, "ai.onnx") == 0;
    for (const tenon_op *const *op = tenon_ops; *op; op++) {
        if (!(*op)->onnx || strcmp((*op)->onnx, name) != 0) continue;
        if (plain ? !(*op)->domain : ((*op)->domain && strcmp((*op)->domain, domain) == 0)) return *op;
    }
    return NULL;
}

static tenon_status check_counts(tenon_cx *cx, const tenon_node *n)
{
    const tenon_op *op = n->op;
    if (n->src_count < op->src_min || (op->src_max != TENON_VARIADIC && n->src_count > op->src_max))
        return TENON_FAIL(cx, TENON_INVALID, "%d inputs, takes %d to %d", n->src_count, op->src_min, op->src_max);
    /* of any number, all are there, but for a loop's trip count and condition */
    const int needed = op->src_max != TENON_VARIADIC ? op->src_min : n->src_count;
    for (int i = op == &tenon_op_loop ? 2 : 0; i < needed; i++)
        if (!n->src[i]) return TENON_FAIL(cx, TENON_INVALID, "input %d is missing", i);
    if (op->dst_max != TENON_VARIADIC && n->dst_count > op->dst_max)
        return TENON_FAIL(cx, TENON_INVALID, "%d outputs, gives at most %d", n->dst_count, op->dst_max);
    for (int i = 0; op->attr && op->attr[i].name; i++)
        if (op->attr[i].required && !n->attr[i].set)
            return TENON_FAIL(cx, TENON_INVALID, "attribute '%s' is missing", op->attr[i].name);
    return TENON_OK;
}

tenon_status tenon_infer_node(tenon_cx *cx, tenon_graph *g, tenon_node *n)
{
    tenon_status status = check_counts(cx, n);
    if (status == TENON_OK) {
        if (!n->op->infer) return TENON_FAIL(cx, TENON_INTERNAL, "%s '%s': no infer rule", n->op->name, n->name ? n->name : "");
        status = n->op->infer(cx, g, n);
    }
    if (status == TENON_OK && g->dims->failed)
        status = TENON_FAIL(cx, TENON_NOMEM, "out of memory for shape expressions");
    if (status != TENON_OK) return tenon_fail_in(cx, status, "%s '%s': ", n->op->name, n->name ? n->name : "");
    return TENON_OK;
}

tenon_status tenon_infer_graph(tenon_cx *cx, tenon_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (!g->node[i]->dead) TENON_TRY(tenon_infer_node(cx, g, g->node[i]));
    return TENON_OK;
}

void tenon_infer_set(tenon_node *n, int dst, tenon_dtype dtype, int rank, const tenon_dim *const *dim)
{
    if (dst >= n->dst_count || !n->dst[dst]) return;
    tenon_type *t = &n->dst[dst]->type;
    memset(t, 0, sizeof *t);
    t->dtype = dtype;
    t->rank = rank;
    for (int i = 0; i < rank; i++) t->dim[i] = dim[i];
}

tenon_status tenon_infer_axis(tenon_cx *cx, const char *what, int64_t axis, int rank, int *out)
{
    *out = 0;
    if (axis < -rank || axis >= rank) return TENON_FAIL(cx, TENON_INVALID, "%s %" PRId64 " is outside a tensor of rank %d",
                                                        what, axis, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return TENON_OK;
}

static tenon_status broadcast_dim(tenon_cx *cx, tenon_graph *g, const tenon_dim *a, const tenon_dim *b, int axis,
                                  const tenon_dim **out)
{
    if (!a || !b) return TENON_FAIL(cx, TENON_NOMEM, "out of memory for shape expressions");
    *out = a;
    if (a == b || tenon_dim_is(b, 1)) return TENON_OK;
    *out = b;
    if (tenon_dim_is(a, 1)) return TENON_OK;
    tenon_buf text;
    tenon_buf_init(&text, cx);
    tenon_dim_print(&text, g->dims, a);
    tenon_buf_str(&text, " and ");
    tenon_dim_print(&text, g->dims, b);
    const bool both = tenon_dim_is_const(a) && tenon_dim_is_const(b);
    const tenon_status status = TENON_FAIL(cx, TENON_INVALID, "dimensions %s (axis %d of the result) %s", tenon_buf_cstr(&text),
                                           axis,
                                           both ? "do not broadcast" : "are not proved equal, and neither is proved to be 1");
    tenon_buf_free(&text);
    return status;
}

tenon_status tenon_infer_broadcast(tenon_cx *cx, tenon_graph *g, const tenon_type *a, const tenon_type *b, tenon_type *out)
{
    tenon_type r = { .dtype = a->dtype, .rank = -1 };
    if (a->rank >= 0 && b->rank >= 0) {
        r.rank = a->rank > b->rank ? a->rank : b->rank;
        for (int i = 0; i < r.rank; i++) {
            const int ia = i - (r.rank - a->rank), ib = i - (r.rank - b->rank);
            if (ia < 0) r.dim[i] = b->dim[ib];
            else if (ib < 0) r.dim[i] = a->dim[ia];
            else TENON_TRY(broadcast_dim(cx, g, a->dim[ia], b->dim[ib], i, &r.dim[i]));
        }
    }
    *out = r;
    return TENON_OK;
}

const tenon_dim *const *tenon_infer_contents(tenon_graph *g, const tenon_value *v, size_t *count)
{
    *count = 0;
    if (!v) return NULL;
    if (v->sym) {
        *count = v->sym_count;
        return (const tenon_dim *const *)v->sym;
    }
    if (!v->is_const || !v->data) return NULL;
    const tenon_dtype_kind kind = tenon_dtype_get(v->data->dtype)->kind;
    if (kind != TENON_KIND_INT && kind != TENON_KIND_UINT && kind != TENON_KIND_BOOL) return NULL;
    const int64_t n = tenon_tensor_count(v->data);
    if (n < 0 || n > TENON_CONTENTS_MAX) return NULL;
    const tenon_dim **sym = tenon_arena_array(g->arena, (size_t)n + 1, sizeof *sym);
    if (!sym) return NULL;
    for (int64_t i = 0; i < n; i++)
        if (!(sym[i] = tenon_dim_const(g->dims, tenon_tensor_get_i64(v->data, tenon_tensor_offset(v->data, i))))) return NULL;
    *count = (size_t)n;
    return sym;
}

bool tenon_infer_floats(const tenon_value *v, double *out, size_t *count)
{
    *count = 0;
    if (!v) return false;
    if (v->fsym) {
        if (v->sym_count > TENON_CONTENTS_MAX) return false;
        memcpy(out, v->fsym, v->sym_count * sizeof *out);
        *count = v->sym_count;
        return true;
    }
    if (!v->is_const || !v->data || !tenon_is_float(v->data->dtype)) return false;
    const int64_t n = tenon_tensor_count(v->data);
    if (n < 0 || n > TENON_CONTENTS_MAX) return false;
    for (int64_t i = 0; i < n; i++) out[i] = tenon_tensor_get_f64(v->data, tenon_tensor_offset(v->data, i));
    *count = (size_t)n;
    return true;
}

void tenon_infer_set_contents(tenon_node *n, int dst, const tenon_dim *const *sym, size_t count)
{
    if (dst >= n->dst_count || !n->dst[dst]) return;
    n->dst[dst]->sym = (const tenon_dim **)(void *)(uintptr_t)sym; /* writable for passes; rules give finished lists */
    n->dst[dst]->fsym = NULL;
    n->dst[dst]->sym_count = sym ? count : 0;
}
