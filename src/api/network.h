/* SPDX-License-Identifier: Apache-2.0 */
/* Inside api/: what stands behind the public handles. */
#ifndef TENON_API_NETWORK_H
#define TENON_API_NETWORK_H

#include "base/file.h"
#include "onnx/onnx.h"
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
    tenon_graph *graph;       /* as read: bindings and names; never changed */
};

/* A fresh copy of the network's graph, read again from its bytes, in `arena`; *files must be closed after the arena is freed. */
tenon_status tenon_network_fresh(tenon_cx *cx, const tenon_network *network, tenon_arena *arena, tenon_onnx_files *files,
                                 tenon_graph **out);

typedef struct tenon_shape_range {
    int profile;
    char *input;
    int rank;
    int64_t min[TENON_MAX_RANK], opt[TENON_MAX_RANK], max[TENON_MAX_RANK];
} tenon_shape_range;

struct tenon_config {
    tenon_cx cx;
    char backend[16];
    int device, threads, level, profile_count;
    size_t workspace_bytes;
    bool timed, refit, tf32, strict;
    tenon_timing_cache *cache;
    tenon_shape_range *range;
    size_t range_count;
};

#endif
