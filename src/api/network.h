/* SPDX-License-Identifier: Apache-2.0 */
/* Inside api/: what stands behind the public handles. */
#ifndef TENON_API_NETWORK_H
#define TENON_API_NETWORK_H

#include "base/file.h"
#include "onnx/onnx.h"
#include "onnx/layers.h"
#include "op/tactic.h"

struct tenon_network {
    tenon_cx cx;              /* a child: sinks of the cx it was read with */
    tenon_file_map map;       /* of the model file, when read from one */
    const uint8_t *data;
    size_t bytes;
    char *path;               /* where external data is looked for; NULL */
    bool keep_nodes;
    tenon_arena arena;
    tenon_onnx_files files;
    tenon_graph *graph;       /* as read, or made by hand; what rewrites it takes a copy */
    int opset;                /* asked for, for nodes added by hand; 0: none */
    tenon_layers *layers;     /* NULL until something is added */
    tenon_network *outer;     /* of a body: the network that it was made in, which it goes with */
    tenon_network *bodies, *next; /* made in this one; the next body of `outer` */
    const char **dim_text;    /* by id of the dimension: what it is called in tenon_value_info */
    size_t dim_text_capacity;
};

/* A copy of the network's graph in `arena`, which may be rewritten while the network lives; *files is empty. TENON_INVALID: there is
   nothing to build in it. */
tenon_status tenon_network_fresh(tenon_cx *cx, const tenon_network *network, tenon_arena *arena, tenon_onnx_files *files,
                                 tenon_graph **out);

/* Without a graph yet. */
tenon_status tenon_network_new(tenon_cx *cx, bool keep_nodes, tenon_network **out);

typedef struct tenon_shape_range {
    int profile;
    char *input;
    int rank;
    int64_t min[TENON_MAX_RANK], opt[TENON_MAX_RANK], max[TENON_MAX_RANK];
} tenon_shape_range;

struct tenon_config {
    tenon_cx cx;
    char backend[16], described[32]; /* described: the backend as a caller writes it */
    int device, threads, level, profile_count;
    size_t workspace_bytes;
    bool timed, refit, tf32, strict;
    tenon_timing_cache *cache;
    tenon_device_allocator hook; /* of the engine; alloc NULL: none */
    tenon_shape_range *range;
    size_t range_count;
};

#endif
