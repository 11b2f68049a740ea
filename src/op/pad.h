/* SPDX-License-Identifier: Apache-2.0 */
/* What padding means, for its reference and for tactics. */
#ifndef TENON_OP_PAD_H
#define TENON_OP_PAD_H

#include "op/move.h"

typedef enum { TENON_PAD_CONSTANT, TENON_PAD_REFLECT, TENON_PAD_EDGE, TENON_PAD_WRAP } tenon_pad_mode;
tenon_status tenon_pad_mode_of(tenon_cx *cx, const tenon_node *n, tenon_pad_mode *out);
/* Per axis of x, from the pads as given (all begins, then all ends; axes_count -1: of all axes): what is put in front, which may be
   negative, and the size of the result. */
tenon_status tenon_pad_box(tenon_cx *cx, const tenon_tensor *x, const int64_t *pads, int count, const int64_t *axes, int axes_count,
                           int64_t *begin, int64_t *dim);

/* The source's coordinate for coordinate `i` of the result, counted from the source's first, in an axis of d; -1: the value. */
static inline int64_t tenon_pad_source(tenon_pad_mode mode, int64_t i, int64_t d)
{
    if (i >= 0 && i < d) return i;
    if (mode == TENON_PAD_CONSTANT || d <= 0) return -1;
    if (mode == TENON_PAD_EDGE) return i < 0 ? 0 : d - 1;
    const int64_t period = mode == TENON_PAD_WRAP ? d : 2 * (d - 1);
    if (period == 0) return 0;
    const int64_t r = (i % period + period) % period;
    return mode == TENON_PAD_WRAP || r < d ? r : period - r;
}

#endif
