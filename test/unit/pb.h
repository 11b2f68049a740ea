/* SPDX-License-Identifier: Apache-2.0 */
/* Small ONNX models made by hand, message by message, for the tests of src/onnx: each function appends one field of its parent.
   */
#ifndef TENON_TEST_PB_H
#define TENON_TEST_PB_H

#include "onnx/wire_write.h"
#include "op/eval.h"

#include <string.h>

static TENON_UNUSED void pb_buf(tenon_buf *b, tenon_cx *cx) { tenon_buf_init(b, cx); }

/* Weights and inputs: from -scale to scale, by a seed. NULL: no memory. */
static TENON_UNUSED float *pb_numbers(tenon_heap *heap, size_t count, uint64_t seed, float scale)
{
    float *out = tenon_heap_alloc(heap, count * sizeof *out);
    for (size_t i = 0; out && i < count; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        out[i] = (float)(int32_t)(seed >> 32) * (1.0f / 2147483648.0f) * scale;
    }
    return out;
}

/* "a,b,,c": one text field each; an empty text gives none. */
static TENON_UNUSED void pb_names(tenon_buf *b, uint32_t number, const char *list)
{
    while (*list) {
        const size_t n = strcspn(list, ",");
        tenon_wire_put_bytes(b, number, list, n);
        list += n + (list[n] == ',');
    }
}

static TENON_UNUSED void pb_attr_int(tenon_buf *attrs, const char *name, int64_t v)
{
    tenon_buf a;
    pb_buf(&a, attrs->cx);
    tenon_wire_put_text(&a, 1, name);
    tenon_wire_put_int(&a, 20, 2);
    tenon_wire_put_int(&a, 3, v);
    tenon_wire_put_message(attrs, 5, &a);
    tenon_buf_free(&a);
}

static TENON_UNUSED void pb_attr_float(tenon_buf *attrs, const char *name, float v)
{
    tenon_buf a;
    pb_buf(&a, attrs->cx);
    tenon_wire_put_text(&a, 1, name);
    tenon_wire_put_int(&a, 20, 1);
    tenon_wire_put_float(&a, 2, v);
    tenon_wire_put_message(attrs, 5, &a);
    tenon_buf_free(&a);
}

static TENON_UNUSED void pb_attr_ints(tenon_buf *attrs, const char *name, const int64_t *v, size_t count)
{
    tenon_buf a;
    pb_buf(&a, attrs->cx);
    tenon_wire_put_text(&a, 1, name);
    tenon_wire_put_int(&a, 20, 7);
    for (size_t i = 0; i < count; i++) tenon_wire_put_int(&a, 8, v[i]);
    tenon_wire_put_message(attrs, 5, &a);
    tenon_buf_free(&a);
}

/* A reference to attribute `ref` of the function around. */
static TENON_UNUSED void pb_attr_ref(tenon_buf *attrs, const char *name, const char *ref, int type)
{
    tenon_buf a;
    pb_buf(&a, attrs->cx);
    tenon_wire_put_text(&a, 1, name);
    tenon_wire_put_int(&a, 20, type);
    tenon_wire_put_text(&a, 21, ref);
    tenon_wire_put_message(attrs, 5, &a);
    tenon_buf_free(&a);
}

static TENON_UNUSED void pb_attr_graph(tenon_buf *attrs, const char *name, tenon_buf *graph)
{
    tenon_buf a;
    pb_buf(&a, attrs->cx);
    tenon_wire_put_text(&a, 1, name);
    tenon_wire_put_int(&a, 20, 5);
    tenon_wire_put_message(&a, 6, graph);
    tenon_wire_put_message(attrs, 5, &a);
    tenon_buf_free(&a);
}

/* Field `number` of the parent: 1 of a graph, 7 of a function. attrs may be NULL; it is cleared. */
static TENON_UNUSED void pb_node(tenon_buf *b, uint32_t number, const char *type, const char *domain, const char *in,
                                 const char *out,
                                 tenon_buf *attrs)
{
    tenon_buf n;
    pb_buf(&n, b->cx);
    pb_names(&n, 1, in);
    pb_names(&n, 2, out);
    tenon_wire_put_text(&n, 4, type);
    if (*domain) tenon_wire_put_text(&n, 7, domain);
    if (attrs) {
        if (attrs->length) tenon_buf_bytes(&n, attrs->data, attrs->length);
        tenon_buf_clear(attrs);
    }
    tenon_wire_put_message(b, number, &n);
    tenon_buf_free(&n);
}

/* "batch,3,?": 11 input or 12 output of a graph. shape NULL: none. */
static TENON_UNUSED void pb_value(tenon_buf *graph, uint32_t number, const char *name, int dtype, const char *shape)
{
    tenon_buf info, type, tensor, dims, dim;
    pb_buf(&info, graph->cx);
    pb_buf(&type, graph->cx);
    pb_buf(&tensor, graph->cx);
    pb_buf(&dims, graph->cx);
    pb_buf(&dim, graph->cx);
    while (shape && *shape) {
        const size_t n = strcspn(shape, ",");
        if ((*shape >= '0' && *shape <= '9') || *shape == '-') tenon_wire_put_int(&dim, 1, strtoll(shape, NULL, 10));
        else if (*shape != '?') tenon_wire_put_bytes(&dim, 2, shape, n);
        tenon_wire_put_message(&dims, 1, &dim);
        shape += n + (shape[n] == ',');
    }
    tenon_wire_put_int(&tensor, 1, dtype);
    if (shape) tenon_wire_put_message(&tensor, 2, &dims);
    tenon_wire_put_message(&type, 1, &tensor);
    tenon_wire_put_text(&info, 1, name);
    tenon_wire_put_message(&info, 2, &type);
    tenon_wire_put_message(graph, number, &info);
    tenon_buf_free(&info);
    tenon_buf_free(&type);
    tenon_buf_free(&tensor);
    tenon_buf_free(&dims);
    tenon_buf_free(&dim);
}

/* An initializer with raw data. */
static TENON_UNUSED void pb_init(tenon_buf *graph, const char *name, int dtype, const int64_t *dim, int rank, const void *data,
                                 size_t bytes)
{
    tenon_buf t;
    pb_buf(&t, graph->cx);
    for (int i = 0; i < rank; i++) tenon_wire_put_int(&t, 1, dim[i]);
    tenon_wire_put_int(&t, 2, dtype);
    tenon_wire_put_text(&t, 8, name);
    tenon_wire_put_bytes(&t, 9, data, bytes);
    tenon_wire_put_message(graph, 5, &t);
    tenon_buf_free(&t);
}

static TENON_UNUSED void pb_opset(tenon_buf *b, uint32_t number, const char *domain, int version)
{
    tenon_buf o;
    pb_buf(&o, b->cx);
    tenon_wire_put_text(&o, 1, domain);
    tenon_wire_put_int(&o, 2, version);
    tenon_wire_put_message(b, number, &o);
    tenon_buf_free(&o);
}

/* Clears `graph`. Functions (field 25) may be appended to the model afterwards. */
static TENON_UNUSED void pb_model(tenon_buf *model, tenon_buf *graph, int opset)
{
    tenon_wire_put_int(model, 1, 8);
    pb_opset(model, 8, "", opset);
    tenon_wire_put_message(model, 7, graph);
}

#endif
