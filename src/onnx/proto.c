/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of ONNX's messages: field numbers are those of onnx.proto (IR version 14). A field that is not listed is skipped. */
#include "onnx/proto.h"

#define FIELD(type, number, kind, member) {number, TENON_WIRE_##kind, offsetof(tenon_pb_##type, member), NULL, #member}
#define NESTED(type, number, kind, member, nested) \
    {number, TENON_WIRE_##kind, offsetof(tenon_pb_##type, member), &tenon_pb_##nested##_message, #member}
#define MESSAGE(linkage, type, text)                                                                                        \
    linkage const tenon_wire_message tenon_pb_##type##_message = {text, sizeof(tenon_pb_##type),                           \
                                                                  TENON_COUNTOF(type##_fields), type##_fields}

static const tenon_wire_message tenon_pb_entry_message, tenon_pb_shape_message, tenon_pb_tensor_type_message,
    tenon_pb_element_type_message,
    tenon_pb_type_message, tenon_pb_value_info_message, tenon_pb_node_message, tenon_pb_graph_message, tenon_pb_opset_message,
    tenon_pb_function_message;

static const tenon_wire_field entry_fields[] = {FIELD(entry, 1, SPAN, key), FIELD(entry, 2, SPAN, value)};
MESSAGE(static, entry, "StringStringEntryProto");

static const tenon_wire_field tensor_fields[] = {
    FIELD(tensor, 1, INTS, dims),          FIELD(tensor, 2, INT, data_type),       FIELD(tensor, 3, SPAN, segment),
    FIELD(tensor, 4, FLOATS, float_data),  FIELD(tensor, 5, INTS, int32_data),     FIELD(tensor, 6, SPANS, string_data),
    FIELD(tensor, 7, INTS, int64_data),    FIELD(tensor, 8, SPAN, name),           FIELD(tensor, 9, SPAN, raw_data),
    FIELD(tensor, 10, DOUBLES, double_data), FIELD(tensor, 11, INTS, uint64_data),
        NESTED(tensor, 13, MESSAGES, external_data, entry),
    FIELD(tensor, 14, INT, data_location),
};
MESSAGE(, tensor, "TensorProto");

static const tenon_wire_field dim_fields[] = {FIELD(dim, 1, INT, dim_value), FIELD(dim, 2, SPAN, dim_param)};
MESSAGE(, dim, "TensorShapeProto.Dimension");

static const tenon_wire_field shape_fields[] = {NESTED(shape, 1, MESSAGES, dim, dim)};
MESSAGE(static, shape, "TensorShapeProto");

static const tenon_wire_field tensor_type_fields[] = {FIELD(tensor_type, 1, INT, elem_type),
                                                      NESTED(tensor_type, 2, MESSAGE, shape, shape)};
MESSAGE(static, tensor_type, "TypeProto.Tensor");

static const tenon_wire_field element_type_fields[] = {NESTED(element_type, 1, MESSAGE, elem_type, type)};
MESSAGE(static, element_type, "TypeProto.Sequence");

static const tenon_wire_field type_fields[] = {
    NESTED(type, 1, MESSAGE, tensor_type, tensor_type),     NESTED(type, 4, MESSAGE, sequence_type, element_type),
    NESTED(type, 9, MESSAGE, optional_type, element_type), FIELD(type, 5, SPAN, map_type),
    FIELD(type, 8, SPAN, sparse_tensor_type),               FIELD(type, 7, SPAN, opaque_type),
};
MESSAGE(static, type, "TypeProto");

static const tenon_wire_field value_info_fields[] = {FIELD(value_info, 1, SPAN, name),
                                                     NESTED(value_info, 2, MESSAGE, type, type)};
MESSAGE(static, value_info, "ValueInfoProto");

static const tenon_wire_field attr_fields[] = {
    FIELD(attr, 1, SPAN, name),         FIELD(attr, 2, FLOAT, f),             FIELD(attr, 3, INT, i),
    FIELD(attr, 4, SPAN, s),            NESTED(attr, 5, MESSAGE, t, tensor),  NESTED(attr, 6, MESSAGE, g, graph),
    FIELD(attr, 7, FLOATS, floats),     FIELD(attr, 8, INTS, ints),           FIELD(attr, 9, SPANS, strings),
    NESTED(attr, 14, MESSAGE, tp, type), FIELD(attr, 20, INT, type),          FIELD(attr, 21, SPAN, ref_attr_name),
    FIELD(attr, 22, SPAN, sparse_tensor),
};
MESSAGE(, attr, "AttributeProto");

static const tenon_wire_field node_fields[] = {
    FIELD(node, 1, SPANS, input),  FIELD(node, 2, SPANS, output), FIELD(node, 3, SPAN, name),
    FIELD(node, 4, SPAN, op_type), FIELD(node, 7, SPAN, domain),  NESTED(node, 5, MESSAGES, attribute, attr),
    FIELD(node, 8, SPAN, overload),
};
MESSAGE(static, node, "NodeProto");

static const tenon_wire_field graph_fields[] = {
    NESTED(graph, 1, MESSAGES, node, node),          FIELD(graph, 2, SPAN, name),
    NESTED(graph, 5, MESSAGES, initializer, tensor), FIELD(graph, 15, SPANS, sparse_initializer),
    NESTED(graph, 11, MESSAGES, input, value_info),  NESTED(graph, 12, MESSAGES, output, value_info),
};
MESSAGE(static, graph, "GraphProto");

static const tenon_wire_field opset_fields[] = {FIELD(opset, 1, SPAN, domain), FIELD(opset, 2, INT, version)};
MESSAGE(static, opset, "OperatorSetIdProto");

static const tenon_wire_field function_fields[] = {
    FIELD(function, 1, SPAN, name),       FIELD(function, 4, SPANS, input),
    FIELD(function, 5, SPANS, output),    FIELD(function, 6, SPANS, attribute),
    NESTED(function, 7, MESSAGES, node, node), NESTED(function, 9, MESSAGES, opset_import, opset),
    FIELD(function, 10, SPAN, domain),    NESTED(function, 11, MESSAGES, attribute_proto, attr),
    FIELD(function, 13, SPAN, overload),
};
MESSAGE(static, function, "FunctionProto");

static const tenon_wire_field model_fields[] = {
    FIELD(model, 1, INT, ir_version),       FIELD(model, 2, SPAN, producer_name), FIELD(model, 3, SPAN, producer_version),
    NESTED(model, 7, MESSAGE, graph, graph), NESTED(model, 8, MESSAGES, opset_import, opset),
    NESTED(model, 25, MESSAGES, functions, function),
};
MESSAGE(, model, "ModelProto");
