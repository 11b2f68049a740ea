/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX in and out.

   Reading gives a typed graph of canonical operators in the caller's arena. Constants borrow the model's bytes, or those of
   its external data files, wherever they are aligned: `data` and `files` must outlive the arena.

       tenon_onnx_files files = {0};
       tenon_onnx_read(cx, &arena, data, bytes, path, &files, &graph);
       ...
       tenon_arena_free(&arena);
       tenon_onnx_close(&files);        (also after a failed read)                                                          */
#ifndef TENON_ONNX_ONNX_H
#define TENON_ONNX_ONNX_H

#include "base/file.h"
#include "ir/graph.h"

enum { TENON_ONNX_OPSET_MIN = 7, TENON_ONNX_OPSET_MAX = 28, TENON_ONNX_OPSET_WRITTEN = 21 };

/* The mapped external data files of one model. All zero before the read. */
typedef struct tenon_onnx_files {
    tenon_cx *cx;
    struct tenon_onnx_file *first;
} tenon_onnx_files;

/* path: the file the bytes came from, so that external data is found beside it; may be NULL. TENON_CORRUPT: not ONNX, or damaged;
   TENON_INVALID: against ONNX's rules; TENON_UNSUPPORTED: names every operator of the model that is missing. */
tenon_status tenon_onnx_read(tenon_cx *cx, tenon_arena *arena, const uint8_t *data, size_t bytes, const char *path,
                             tenon_onnx_files *files, tenon_graph **out);
void tenon_onnx_close(tenon_onnx_files *files);

/* Appends the graph as an ONNX model (opset TENON_ONNX_OPSET_WRITTEN) to `out`. Weights are stored inside. TENON_UNSUPPORTED
   names the operators that ONNX cannot express. */
tenon_status tenon_onnx_write(tenon_cx *cx, tenon_graph *g, tenon_buf *out);

#endif
