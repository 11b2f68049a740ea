/* SPDX-License-Identifier: Apache-2.0 */
/* Sliding windows: what conv, conv_transpose and the pools share. An operator's attribute table has strides, pads (all begins,
   then all ends), dilations and auto_pad; 1 to 3 spatial axes, which references see as 3 with leading axes of size 1. */
#ifndef TENON_OP_WINDOW_H
#define TENON_OP_WINDOW_H

#include "op/dense.h"
#include "op/rule.h"

enum { TENON_WINDOW_AXES = 3 };

#define TENON_WINDOW_ATTRS                                                                                                  \
    {.name = "strides", .kind = TENON_ATTR_INTS}, {.name = "pads", .kind = TENON_ATTR_INTS},                                \
    {.name = "dilations", .kind = TENON_ATTR_INTS}, {.name = "auto_pad", .kind = TENON_ATTR_STRING, .s = "NOTSET"}

typedef enum { TENON_PAD_NOTSET, TENON_PAD_SAME_UPPER, TENON_PAD_SAME_LOWER, TENON_PAD_VALID } tenon_window_pad;

/* The attributes with their defaults, one entry a spatial axis. */
typedef struct tenon_window_attrs {
    int axes;
    tenon_window_pad pad;
    int64_t stride[TENON_WINDOW_AXES], dilation[TENON_WINDOW_AXES], begin[TENON_WINDOW_AXES], end[TENON_WINDOW_AXES];
} tenon_window_attrs;
tenon_status tenon_window_attrs_get(tenon_cx *cx, const tenon_node *n, int axes, tenon_window_attrs *out);

/* Result dims of a window that slides over x's spatial axes (2, 3, ...); conv and pools. */
tenon_status tenon_window_infer(tenon_cx *cx, tenon_graph *g, const tenon_node *n, const tenon_type *x,
                                const tenon_dim *const *kernel, bool ceil_mode, const tenon_dim **out);

/* Concrete window of a reference: entries 0..2, unused leading ones 1. */
typedef struct tenon_window {
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], begin[3], end[3];
    int64_t in_count, out_count, kernel_count;
} tenon_window;
/* kernel: one entry a spatial axis. Pads of SAME_* follow from in and out. */
tenon_status tenon_window_get(tenon_cx *cx, const tenon_node *n, const tenon_tensor *x, const int64_t *kernel,
                              const tenon_tensor *y, tenon_window *out);

/* Infer of the pools: checks, result 0 (and 1, indices as i64, when `indices`). */
tenon_status tenon_window_pool_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n, bool indices);
/* Window of a pool's reference. */
tenon_status tenon_window_pool(tenon_cx *cx, const tenon_eval_call *call, tenon_window *out);
/* Taps: kernel elements of each result element. */
double tenon_window_pool_flops(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst);

#endif
