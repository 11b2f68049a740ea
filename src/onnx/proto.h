/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX's messages as C structs, filled by wire.c; names are those of onnx.proto. Strings are spans into the file and not
   zero-terminated. Lists are { item, count }. What the importer never reads (documentation, metadata, training) is not here. */
#ifndef TENON_ONNX_PROTO_H
#define TENON_ONNX_PROTO_H

#include "onnx/wire.h"

typedef struct tenon_pb_ints { int64_t *item; size_t count; } tenon_pb_ints;
typedef struct tenon_pb_floats { float *item; size_t count; } tenon_pb_floats;
typedef struct tenon_pb_doubles { double *item; size_t count; } tenon_pb_doubles;
typedef struct tenon_pb_spans { tenon_span *item; size_t count; } tenon_pb_spans;
#define TENON_PB_LIST(type) struct { type *item; size_t count; }

typedef struct tenon_pb_graph tenon_pb_graph;
typedef struct tenon_pb_type tenon_pb_type;

typedef struct tenon_pb_entry { uint64_t has; tenon_span key, value; } tenon_pb_entry;

typedef struct tenon_pb_tensor {
    uint64_t has;
    tenon_pb_ints dims;
    int64_t data_type, data_location;
    tenon_span name, raw_data, segment;
    tenon_pb_floats float_data;
    tenon_pb_ints int32_data, int64_data, uint64_data;
    tenon_pb_doubles double_data;
    tenon_pb_spans string_data;
    TENON_PB_LIST(tenon_pb_entry) external_data;
} tenon_pb_tensor;

typedef struct tenon_pb_dim { uint64_t has; int64_t dim_value; tenon_span dim_param; } tenon_pb_dim;
typedef struct tenon_pb_shape { uint64_t has; TENON_PB_LIST(tenon_pb_dim) dim; } tenon_pb_shape;
typedef struct tenon_pb_tensor_type { uint64_t has; int64_t elem_type; tenon_pb_shape *shape; } tenon_pb_tensor_type;
typedef struct tenon_pb_element_type { uint64_t has; tenon_pb_type *elem_type; } tenon_pb_element_type;
struct tenon_pb_type {
    uint64_t has;
    tenon_pb_tensor_type *tensor_type;
    tenon_pb_element_type *sequence_type, *optional_type;
    tenon_span map_type, sparse_tensor_type, opaque_type; /* present: refused */
};
typedef struct tenon_pb_value_info { uint64_t has; tenon_span name; tenon_pb_type *type; } tenon_pb_value_info;

typedef enum {
    TENON_PB_UNDEFINED, TENON_PB_FLOAT, TENON_PB_INT, TENON_PB_STRING, TENON_PB_TENSOR, TENON_PB_GRAPH, TENON_PB_FLOATS,
    TENON_PB_INTS, TENON_PB_STRINGS, TENON_PB_TENSORS, TENON_PB_GRAPHS, TENON_PB_SPARSE_TENSOR, TENON_PB_SPARSE_TENSORS,
    TENON_PB_TYPE_PROTO, TENON_PB_TYPE_PROTOS,
} tenon_pb_attr_type;

typedef struct tenon_pb_attr {
    uint64_t has;
    tenon_span name, ref_attr_name, s, sparse_tensor;
    int64_t type, i; /* type: tenon_pb_attr_type; 0 in old files */
    float f;
    tenon_pb_tensor *t;
    tenon_pb_graph *g;
    tenon_pb_type *tp;
    tenon_pb_floats floats;
    tenon_pb_ints ints;
    tenon_pb_spans strings;
} tenon_pb_attr;

typedef struct tenon_pb_node {
    uint64_t has;
    tenon_pb_spans input, output;
    tenon_span name, op_type, domain, overload;
    TENON_PB_LIST(tenon_pb_attr) attribute;
} tenon_pb_node;

typedef struct tenon_pb_nodes { tenon_pb_node *item; size_t count; } tenon_pb_nodes;

struct tenon_pb_graph {
    uint64_t has;
    tenon_span name;
    tenon_pb_nodes node;
    TENON_PB_LIST(tenon_pb_tensor) initializer;
    tenon_pb_spans sparse_initializer; /* any: refused */
    TENON_PB_LIST(tenon_pb_value_info) input;
    TENON_PB_LIST(tenon_pb_value_info) output;
};

typedef struct tenon_pb_opset { uint64_t has; tenon_span domain; int64_t version; } tenon_pb_opset;
typedef struct tenon_pb_opsets { tenon_pb_opset *item; size_t count; } tenon_pb_opsets;

typedef struct tenon_pb_function {
    uint64_t has;
    tenon_span name, domain, overload;
    tenon_pb_spans input, output, attribute;
    TENON_PB_LIST(tenon_pb_attr) attribute_proto;
    tenon_pb_nodes node;
    tenon_pb_opsets opset_import;
} tenon_pb_function;

typedef struct tenon_pb_model {
    uint64_t has;
    int64_t ir_version;
    tenon_span producer_name, producer_version;
    tenon_pb_opsets opset_import;
    tenon_pb_graph *graph;
    TENON_PB_LIST(tenon_pb_function) functions;
} tenon_pb_model;

extern const tenon_wire_message tenon_pb_model_message, tenon_pb_tensor_message, tenon_pb_dim_message, tenon_pb_attr_message;

#endif
