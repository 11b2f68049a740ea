/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of the exporter share; nobody else includes this. */
#ifndef TENON_ONNX_EXPORT_H
#define TENON_ONNX_EXPORT_H

#include "onnx/import.h"
#include "onnx/wire_write.h"

typedef struct tenon_export {
    tenon_cx *cx;
    tenon_graph *g;       /* outermost */
    tenon_arena arena;    /* names and small lists, freed at the end */
    tenon_onnx_map used;  /* names of the values that are read */
    tenon_onnx_map made;  /* names given here */
    int fresh, opset;
    bool microsoft;       /* a node of com.microsoft is written */
    char missing[512];    /* operators ONNX cannot express */
} tenon_export;

/* An operator of ours that ONNX calls otherwise (type), or that is several nodes there (write). */
typedef struct tenon_export_row {
    const tenon_op *op;
    const char *type;
    int opset;
    tenon_status (*write)(tenon_export *e, const tenon_node *n, tenon_buf *graph);
} tenon_export_row;
const tenon_export_row *tenon_export_find(const tenon_op *op); /* NULL: op->onnx says it */

tenon_status tenon_export_graph(tenon_export *e, tenon_graph *g, tenon_buf *out);
void tenon_export_tensor(tenon_export *e, const tenon_tensor *t, const char *name,
                         tenon_buf *out); /* the fields of a TensorProto */
/* A name that no value of the graph has; NULL: no memory. */
const char *tenon_export_name(tenon_export *e, const char *base, const char *what);
tenon_status tenon_export_const(tenon_export *e, const tenon_tensor *t, const char *name, tenon_buf *graph); /* an initializer */
void tenon_export_attr_begin(tenon_buf *attr, const char *name, int type);
/* A node with one result. attrs: fields 5 of the node, cleared; may be NULL. */
void tenon_export_node(tenon_export *e, tenon_buf *graph, const char *type, const char *name, int src_count,
                       const char *const *src,
                       const char *dst, tenon_buf *attrs);

#endif
