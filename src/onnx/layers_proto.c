/* SPDX-License-Identifier: Apache-2.0 */
/* What a program says of a node, a constant or an input, as ONNX's messages. Only what a message cannot hold is refused here; all
   other rules are the importer's. */
#include "onnx/layers_proto.h"

#include "base/checked.h"

#include <string.h>

tenon_status tenon_layers_span(tenon_importer *im, const char *s, tenon_span *out)
{
    const char *copy = tenon_arena_strdup(im->arena, s ? s : "");
    *out = copy ? tenon_span_of(copy) : (tenon_span){0};
    return copy ? TENON_OK : TENON_NOMEM;
}

/* ---- operator ---- */
tenon_status tenon_layers_operator(tenon_importer *im, const char *op, int opset, tenon_pb_node *out)
{
    const char *dot = strrchr(op, '.'), *type = dot ? dot + 1 : op;
    const char *domain = dot ? tenon_arena_strndup(im->arena, op, (size_t)(dot - op)) : "";
    if (!domain) return TENON_NOMEM;
    if (strcmp(domain, "ai.onnx") == 0) domain = "";
    const tenon_onnx_row *row;
    const tenon_op *found;
    tenon_onnx_find(domain, type, *domain ? 1 : opset, &row, &found);
    if (!row && !found && (!*domain || strcmp(domain, TENON_ONNX_OWN_DOMAIN) == 0)) {
        found = tenon_op_find(type, strlen(type));
        if (found && (found->flags & TENON_OP_WEIGHT)) found = NULL;
        if (found && (found->flags & TENON_OP_CONTROL) && found->onnx) type = found->onnx; /* bodies are read by ONNX's rules */
        else if (found) domain = TENON_ONNX_OWN_DOMAIN;
    }
    if (!row && !found)
        return TENON_FAIL(im->cx, TENON_UNSUPPORTED, "there is no operator '%.200s' at opset %d; the nearest is '%s' (all are in "
                          "tenon_list \"ops\")", op, opset, tenon_onnx_nearest(type, opset));
    TENON_TRY(tenon_layers_span(im, type, &out->op_type));
    return tenon_layers_span(im, domain, &out->domain);
}

/* ---- tensors ---- */
static tenon_status strings(tenon_importer *im, const tenon_host_tensor *t, size_t count, tenon_pb_tensor *out)
{
    const char *const *text = t->data;
    out->string_data.item = tenon_arena_array(im->arena, count + 1, sizeof *out->string_data.item);
    if (!out->string_data.item) return TENON_NOMEM;
    for (size_t i = 0; i < count; i++) TENON_TRY(tenon_layers_span(im, text[i], &out->string_data.item[i]));
    out->string_data.count = count;
    return TENON_OK;
}

tenon_status tenon_layers_tensor(tenon_importer *im, const tenon_host_tensor *t, bool copy, const char *what,
                                 tenon_pb_tensor *out)
{
    int64_t count;
    *out = (tenon_pb_tensor){.data_type = tenon_onnx_dtype_number(t->dtype)};
    if (out->data_type == 0)
        return TENON_FAIL(im->cx, TENON_INVALID, "%s: element type %s cannot be stored", what, tenon_dtype_name(t->dtype));
    if (t->rank < 0 || t->rank > TENON_MAX_RANK)
        return TENON_FAIL(im->cx, TENON_INVALID, "%s: rank %d; 0 to %d", what, t->rank, TENON_MAX_RANK);
    if (!tenon_product(t->dim, t->rank, &count) || count > INT64_MAX / 16 || count >= TENON_DIM_HUGE)
        return TENON_FAIL(im->cx, TENON_INVALID, "%s: a negative dimension, or too many elements", what);
    if (count && !t->data) return TENON_FAIL(im->cx, TENON_INVALID, "%s: data is NULL", what);
    out->dims.item = tenon_arena_array(im->arena, (size_t)t->rank + 1, sizeof *out->dims.item);
    if (!out->dims.item) return TENON_NOMEM;
    memcpy(out->dims.item, t->dim, (size_t)t->rank * sizeof *t->dim);
    out->dims.count = (size_t)t->rank;
    if (t->dtype == TENON_STRING) return strings(im, t, (size_t)count, out);
    const size_t bytes = tenon_dtype_bytes(t->dtype, (size_t)count), align = TENON_MAX(tenon_dtype_bits(t->dtype) / 8, (size_t)1);
    if (!copy && (uintptr_t)t->data % align)
        return TENON_FAIL(im->cx, TENON_INVALID, "%s: borrowed data at %p is not aligned to its element of %zu bytes: align it, or let "
                          "it be copied", what, t->data, align);
    const uint8_t *data = t->data;
    if (copy && bytes) {
        uint8_t *own = tenon_arena_alloc(im->arena, bytes);
        if (!own) return TENON_NOMEM;
        memcpy(own, data, bytes);
        data = own;
    }
    out->raw_data = (tenon_span){data, bytes};
    tenon_wire_set(&tenon_pb_tensor_message, out, 9);
    return TENON_OK;
}

/* ---- attributes ---- */
static tenon_status need(const tenon_importer *im, const tenon_attribute *a, const void *list)
{
    if (list || a->count == 0) return TENON_OK;
    return TENON_FAIL(im->cx, TENON_INVALID, "attribute '%.200s': its list is NULL and its count %zu", a->name, a->count);
}

static tenon_status ints(tenon_importer *im, const tenon_attribute *a, tenon_pb_attr *out)
{
    TENON_TRY(need(im, a, a->ints));
    out->type = TENON_PB_INTS;
    out->ints.item = tenon_arena_array(im->arena, a->count + 1, sizeof *out->ints.item);
    if (!out->ints.item) return TENON_NOMEM;
    if (a->count) memcpy(out->ints.item, a->ints, a->count * sizeof *a->ints);
    out->ints.count = a->count;
    return TENON_OK;
}

static tenon_status floats(tenon_importer *im, const tenon_attribute *a, tenon_pb_attr *out)
{
    TENON_TRY(need(im, a, a->floats));
    out->type = TENON_PB_FLOATS;
    out->floats.item = tenon_arena_array(im->arena, a->count + 1, sizeof *out->floats.item);
    if (!out->floats.item) return TENON_NOMEM;
    for (size_t i = 0; i < a->count; i++) out->floats.item[i] = (float)a->floats[i];
    out->floats.count = a->count;
    return TENON_OK;
}

static tenon_status texts(tenon_importer *im, const tenon_attribute *a, tenon_pb_attr *out)
{
    TENON_TRY(need(im, a, a->texts));
    out->type = TENON_PB_STRINGS;
    out->strings.item = tenon_arena_array(im->arena, a->count + 1, sizeof *out->strings.item);
    if (!out->strings.item) return TENON_NOMEM;
    for (size_t i = 0; i < a->count; i++) TENON_TRY(tenon_layers_span(im, a->texts[i], &out->strings.item[i]));
    out->strings.count = a->count;
    return TENON_OK;
}

static tenon_status attribute(tenon_importer *im, const tenon_attribute *a, tenon_pb_graph *body, tenon_pb_attr *out)
{
    TENON_TRY(tenon_layers_span(im, a->name, &out->name));
    switch (a->kind) {
    case TENON_ATTRIBUTE_INT:
        out->type = TENON_PB_INT;
        out->i = a->i;
        return TENON_OK;
    case TENON_ATTRIBUTE_FLOAT:
        out->type = TENON_PB_FLOAT;
        out->f = (float)a->f;
        return TENON_OK;
    case TENON_ATTRIBUTE_TEXT:
        if (!a->text) return TENON_FAIL(im->cx, TENON_INVALID, "attribute '%.200s': its text is NULL", a->name);
        out->type = TENON_PB_STRING;
        return tenon_layers_span(im, a->text, &out->s);
    case TENON_ATTRIBUTE_INTS: return ints(im, a, out);
    case TENON_ATTRIBUTE_FLOATS: return floats(im, a, out);
    case TENON_ATTRIBUTE_TEXTS: return texts(im, a, out);
    case TENON_ATTRIBUTE_DTYPE:
        out->type = TENON_PB_INT;
        out->i = a->i < 0 || a->i > INT32_MAX ? 0 : tenon_onnx_dtype_number((tenon_dtype)a->i);
        if (out->i == 0) return TENON_FAIL(im->cx, TENON_INVALID, "attribute '%.200s': %lld is no element type", a->name,
                                           (long long)a->i);
        return TENON_OK;
    case TENON_ATTRIBUTE_TENSOR:
        if (!a->tensor) return TENON_FAIL(im->cx, TENON_INVALID, "attribute '%.200s': its tensor is NULL", a->name);
        out->type = TENON_PB_TENSOR;
        out->t = tenon_arena_alloc(im->arena, sizeof *out->t);
        return out->t ? tenon_layers_tensor(im, a->tensor, true, a->name, out->t) : TENON_NOMEM;
    case TENON_ATTRIBUTE_BODY:
        out->type = TENON_PB_GRAPH;
        out->g = body;
        return TENON_OK;
    }
    return TENON_FAIL(im->cx, TENON_INVALID, "attribute '%.200s': kind %d is none", a->name, (int)a->kind);
}

tenon_status tenon_layers_attributes(tenon_importer *im, const tenon_node_desc *node, tenon_pb_graph *const *body,
                                     tenon_pb_node *out)
{
    size_t bodies = 0;
    out->attribute.item = tenon_arena_array(im->arena, node->attribute_count + 1, sizeof *out->attribute.item);
    if (!out->attribute.item) return TENON_NOMEM;
    for (size_t i = 0; i < node->attribute_count; i++) {
        const tenon_attribute *a = &node->attribute[i];
        if (!a->name || !*a->name) return TENON_FAIL(im->cx, TENON_INVALID, "attribute %zu has no name", i);
        for (size_t k = 0; k < i; k++)
            if (strcmp(node->attribute[k].name, a->name) == 0)
                return TENON_FAIL(im->cx, TENON_INVALID, "attribute '%.200s' is given twice", a->name);
        tenon_pb_graph *graph = a->kind == TENON_ATTRIBUTE_BODY ? body[bodies++] : NULL;
        TENON_TRY(attribute(im, a, graph, &out->attribute.item[i]));
    }
    out->attribute.count = node->attribute_count;
    return TENON_OK;
}

/* ---- inputs ---- */
tenon_status tenon_layers_type(tenon_importer *im, const char *name, tenon_dtype dtype, int rank, const int64_t *dim,
                               const char *const *dim_name, tenon_pb_type **out)
{
    tenon_pb_type *type = tenon_arena_alloc(im->arena, sizeof *type);
    tenon_pb_tensor_type *tensor = tenon_arena_alloc(im->arena, sizeof *tensor);
    tenon_pb_shape *shape = tenon_arena_alloc(im->arena, sizeof *shape);
    tenon_pb_dim *item = tenon_arena_array(im->arena, (size_t)TENON_MAX(rank, 0) + 1, sizeof *item);
    if (!type || !tensor || !shape || !item) return TENON_NOMEM;
    *type = (tenon_pb_type){.tensor_type = tensor};
    *tensor = (tenon_pb_tensor_type){.elem_type = tenon_onnx_dtype_number(dtype), .shape = shape};
    if (tensor->elem_type == 0)
        return TENON_FAIL(im->cx, TENON_INVALID, "input '%.200s': element type %s cannot be that of an input", name,
                          tenon_dtype_name(dtype));
    for (int i = 0; i < rank; i++) {
        const char *symbol = dim_name && dim_name[i] && *dim_name[i] ? dim_name[i] : NULL;
        if (dim[i] < -1 || dim[i] >= TENON_DIM_HUGE || (dim[i] >= 0 && symbol))
            return TENON_FAIL(im->cx, TENON_INVALID, "input '%.200s': axis %d is %lld%s%.200s: use a size, or -1 with or without a name",
                              name, i, (long long)dim[i], symbol ? " and has the name " : "", symbol ? symbol : "");
        if (symbol) TENON_TRY(tenon_layers_span(im, symbol, &item[i].dim_param));
        if (dim[i] < 0) continue;
        item[i].dim_value = dim[i];
        tenon_wire_set(&tenon_pb_dim_message, &item[i], 1);
    }
    shape->dim.item = item;
    shape->dim.count = (size_t)rank;
    *out = type;
    return TENON_OK;
}
