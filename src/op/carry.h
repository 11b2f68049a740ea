/* SPDX-License-Identifier: Apache-2.0 */
/* What Loop and Scan share: values carried from one run of the body to the next, and slices stacked into results. */
#ifndef TENON_OP_CARRY_H
#define TENON_OP_CARRY_H

#include "op/widen.h"

/* Types the body's inputs [in, in + count) so that they hold in every run: the initial types where the body keeps them, run-time
   sizes where it does not. body->output[out + k] becomes input k of the next run. Leaves the body inferred. Results [0, count) of
   the node get the final types. */
tenon_status tenon_carry_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n, tenon_graph *body, const tenon_type *initial,
                               int count, int in, int out);
/* The type of a result that stacks body output `out` along a new axis `axis` of size `length` (NULL: known only at run time). */
tenon_status tenon_carry_stacked(tenon_cx *cx, tenon_graph *g, tenon_node *n, int i, const tenon_graph *body, int out,
                                 int64_t axis, const tenon_dim *length);

/* Memory while the body runs again and again: what run k gives lives until run k+1 is done, slices until the end. */
typedef struct tenon_carry {
    tenon_heap heap[2], slices;
    bool keep_all;           /* sequences and text share parts: everything lives in the call's heap */
    int64_t run_count;
    tenon_tensor *state;     /* carried values */
    tenon_tensor *in, *out;  /* of the body */
    tenon_tensor *slice;     /* slice_capacity runs of slice_count each */
    int state_count, slice_count, in_count, out_count;
    int64_t slice_capacity;
} tenon_carry;

tenon_status tenon_carry_begin(tenon_cx *cx, const tenon_graph *body, const tenon_tensor *initial, int state_count,
                               int slice_count, tenon_carry *c);
/* Runs the body once: in[first_state...] are filled from the state; state from out[first_out...], then slices. */
tenon_status tenon_carry_run(tenon_cx *cx, tenon_eval_call *call, tenon_carry *c, int body_index, int first_state, int first_out);
/* Results: final state, then slices stacked along axis[s] (NULL: all 0), from the last to the first where reverse[s]. */
tenon_status tenon_carry_results(tenon_cx *cx, tenon_eval_call *call, const tenon_graph *body, tenon_carry *c, int first_out,
                                 const int64_t *axis,
                                 size_t axis_count, const int64_t *reverse, size_t reverse_count);
void tenon_carry_end(tenon_carry *c);

#endif
