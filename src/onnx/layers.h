/* SPDX-License-Identifier: Apache-2.0 */
/* A graph that a program adds to node by node. Each node is made into one of ONNX's messages and converted like a node of a model
   file, so there is one table of operators, one set of rewrites and one set of rules for both. Bodies of control flow keep their
   messages: the node that takes a body imports it with the types it hands in. A failed call leaves the graph as it was. */
#ifndef TENON_ONNX_LAYERS_H
#define TENON_ONNX_LAYERS_H

#include "onnx/onnx.h"

typedef struct tenon_layers tenon_layers;

/* Over `g`, which may hold a network already; opset 0: that of the graph, else the newest. Lies in the arena. */
tenon_status tenon_layers_create(tenon_cx *cx, tenon_arena *arena, tenon_graph *g, int opset, tenon_onnx_files *files,
                                 tenon_layers **out);
/* A body inside `outer`, in the same arena. */
tenon_status tenon_layers_body(tenon_layers *outer, const char *name, tenon_layers **out);
tenon_graph *tenon_layers_graph(tenon_layers *l);

tenon_status tenon_layers_input(tenon_layers *l, const char *name, tenon_dtype dtype, int rank, const int64_t *dim,
                                const char *const *dim_name, tenon_value **out);
tenon_status tenon_layers_constant(tenon_layers *l, const tenon_host_tensor *tensor, bool copy, tenon_value **out);
/* body: of each attribute that is one, in order. */
tenon_status tenon_layers_node(tenon_layers *l, const tenon_node_desc *node, tenon_layers *const *body, tenon_value **out);
tenon_status tenon_layers_output(tenon_layers *l, tenon_value *v, const char *name, tenon_value **out);
tenon_status tenon_layers_no_output(tenon_layers *l, tenon_value *v);
/* TENON_INVALID: the value is none of this graph or of those around it. */
tenon_status tenon_layers_owns(tenon_layers *l, const tenon_value *v, const char *what);

#endif
