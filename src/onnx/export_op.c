/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that ONNX spells otherwise: renamed, or written as several nodes. */
#include "onnx/export.h"

#include <string.h>

/* x * sigmoid(alpha * x); ONNX has Swish from opset 24 only */
static tenon_status write_silu(tenon_export *e, const tenon_node *n, tenon_buf *graph)
{
    const char *x = n->src[0]->name, *scaled = x;
    const double alpha = tenon_node_float(n, "alpha");
    if (alpha != 1) {
        uint64_t data = 0;
        const tenon_tensor t = {.dtype = n->src[0]->type.dtype, .data = &data};
        const char *factor = tenon_export_name(e, n->name, "alpha");
        scaled = tenon_export_name(e, n->name, "scaled");
        if (!factor || !scaled) return TENON_NOMEM;
        tenon_tensor_set_f64(&t, 0, alpha);
        TENON_TRY(tenon_export_const(e, &t, factor, graph));
        tenon_export_node(e, graph, "Mul", n->name, 2, (const char *[]){x, factor}, scaled, NULL);
    }
    const char *gate = tenon_export_name(e, n->name, "sigmoid");
    if (!gate) return TENON_NOMEM;
    tenon_export_node(e, graph, "Sigmoid", n->name, 1, &scaled, gate, NULL);
    tenon_export_node(e, graph, "Mul", n->name, 2, (const char *[]){x, gate}, n->dst[0]->name, NULL);
    return TENON_OK;
}

static tenon_status write_rsqrt(tenon_export *e, const tenon_node *n, tenon_buf *graph)
{
    const char *root = tenon_export_name(e, n->name, "sqrt");
    if (!root) return TENON_NOMEM;
    tenon_export_node(e, graph, "Sqrt", n->name, 1, (const char *[]){n->src[0]->name}, root, NULL);
    tenon_export_node(e, graph, "Reciprocal", n->name, 1, &root, n->dst[0]->name, NULL);
    return TENON_OK;
}

static tenon_status write_gelu(tenon_export *e, const tenon_node *n, tenon_buf *graph)
{
    tenon_buf attr, attrs;
    tenon_buf_init(&attr, e->cx);
    tenon_buf_init(&attrs, e->cx);
    tenon_export_attr_begin(&attr, "approximate", TENON_PB_STRING);
    tenon_wire_put_text(&attr, 4, n->op == &tenon_op_gelu_tanh ? "tanh" : "none");
    tenon_wire_put_message(&attrs, 5, &attr);
    tenon_export_node(e, graph, "Gelu", n->name, 1, (const char *[]){n->src[0]->name}, n->dst[0]->name, &attrs);
    tenon_buf_free(&attr);
    tenon_buf_free(&attrs);
    return TENON_OK;
}

const tenon_export_row *tenon_export_find(const tenon_op *op)
{
    static const tenon_export_row rows[] = {
        {&tenon_op_attention, "Attention", 23, NULL}, {&tenon_op_gelu, NULL, 20, write_gelu},
            {&tenon_op_gelu_tanh, NULL, 20, write_gelu},
        {&tenon_op_max, "Max", 13, NULL},             {&tenon_op_min, "Min", 13, NULL},
            {&tenon_op_rsqrt, NULL, 13, write_rsqrt},
        {&tenon_op_silu, NULL, 13, write_silu},
    };
    for (size_t i = 0; i < TENON_COUNTOF(rows); i++)
        if (rows[i].op == op) return &rows[i];
    return NULL;
}
