/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluation of nodes and graphs on the host by the operators' references: constant folding, weight programs, control flow,
   data-dependent steps, the `ref` tactic and the judge of every test are all this one interpreter. Slow and allocating. */
#ifndef TENON_OP_EVAL_H
#define TENON_OP_EVAL_H

#include "op/op.h"

/* A growing set of heap blocks with one lifetime; freed whole. Blocks are 64-byte aligned. */
typedef struct tenon_heap { tenon_cx *cx; struct tenon_heap_block *block; size_t bytes; } tenon_heap;
void tenon_heap_init(tenon_heap *h, tenon_cx *cx);
void *tenon_heap_alloc(tenon_heap *h, size_t bytes); /* NULL with TENON_NOMEM */
void tenon_heap_free(tenon_heap *h);                 /* everything */

struct tenon_eval_call {
    const tenon_node *node;      /* attributes, op, sub-graphs */
    int src_count, dst_count;
    const tenon_tensor *src;     /* absent sources: dtype TENON_DTYPE_NONE */
    tenon_tensor *dst;           /* wanted results; unwanted: dtype NONE. When `dst_ready`, type, dims, strides and data are set;
                                    else the reference sets dtype, rank, dim and calls tenon_eval_alloc */
    bool dst_ready;
    tenon_heap *heap;            /* for results when !dst_ready, and for temporaries */
    /* For TENON_OP_CONTROL: runs sub-graph `index` of the node with these inputs; outputs are allocated in heap. Captured outer
       values are found by the evaluator. */
    tenon_status (*run_graph)(tenon_cx *cx, tenon_eval_call *call, int index, const tenon_tensor *in, int in_count,
                              tenon_tensor *out, int out_count);
    void *env;                   /* the evaluator's own */
};

/* Allocates dense data for dst[i] from its dtype, rank and dim (a no-op when dst_ready, after checking that the dims agree). */
tenon_status tenon_eval_alloc(tenon_cx *cx, tenon_eval_call *call, int i);

/* One node. Without dst_ready the result shapes come from the reference itself, or, for operators whose infer rule suffices,
   from running infer on the concrete source shapes. */
tenon_status tenon_eval_node(tenon_cx *cx, tenon_eval_call *call);

/* A whole graph (procedure body, weight program, problem, network). in: as graph inputs, in order. out: as graph outputs; where
   out[i].data is set the result is copied there (type, dims and strides must be set and agree), else it is left in `heap`.
   Constants are taken from value->data; a problem's parameter of symbols from the dims of in, and of those out whose dtype is set (data
   or not). `outer`/`outer_env` resolve values captured from outside (NULL: none). */
typedef tenon_status (*tenon_eval_outer)(void *env, const tenon_value *v, tenon_tensor *out);
tenon_status tenon_eval_graph(tenon_cx *cx, const tenon_graph *g, const tenon_tensor *in, int in_count, tenon_tensor *out,
                              int out_count, tenon_heap *heap, tenon_eval_outer outer, void *outer_env);

/* The value of a constant, evaluating its weight expression when it has one (result cached in value->data, in the arena). */
tenon_status tenon_eval_const(tenon_cx *cx, tenon_graph *g, tenon_value *v, const tenon_tensor **out);

#endif
