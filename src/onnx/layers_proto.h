/* SPDX-License-Identifier: Apache-2.0 */
/* Between layers.c and layers_proto.c: ONNX's messages made of what a program hands in. Everything is copied into the arena. */
#ifndef TENON_ONNX_LAYERS_PROTO_H
#define TENON_ONNX_LAYERS_PROTO_H

#include "onnx/import.h"

tenon_status tenon_layers_span(tenon_importer *im, const char *s, tenon_span *out);
/* Operator and domain of `op`, as they are found in the tables; a name that is in none is TENON_UNSUPPORTED with the nearest. */
tenon_status tenon_layers_operator(tenon_importer *im, const char *op, int opset, tenon_pb_node *out);
/* body: messages of the attributes that are bodies, in order. */
tenon_status tenon_layers_attributes(tenon_importer *im, const tenon_node_desc *node, tenon_pb_graph *const *body,
                                     tenon_pb_node *out);
tenon_status tenon_layers_tensor(tenon_importer *im, const tenon_host_tensor *t, bool copy, const char *what,
                                 tenon_pb_tensor *out);
tenon_status tenon_layers_type(tenon_importer *im, const char *name, tenon_dtype dtype, int rank, const int64_t *dim,
                               const char *const *dim_name, tenon_pb_type **out);

#endif
