/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator is. One `const tenon_op` at the end of src/op/<name>.c plus one line in op.def; from that row come the
   ONNX import (1:1 operators), verifier, printer, problem text, reference, tests, bench and documentation.

   Internally there is one canonical form an operator, near the newest ONNX opset: constant axes, pads, scales, ... that ONNX
   passes as inputs are attributes here where the row has such an attribute (the importer moves them); older opsets and
   spellings are rewritten by onnx/import tables. Names are lower case with underscores: "conv", "reduce_mean". */
#ifndef TENON_OP_OP_H
#define TENON_OP_OP_H

#include "ir/graph.h"

typedef struct tenon_pw tenon_pw;           /* op/pointwise.h */
typedef struct tenon_eval_call tenon_eval_call;

enum {
    TENON_OP_POINTWISE = 1u << 0, /* row in pointwise programs: op->pw is set */
    TENON_OP_VIEW = 1u << 1,      /* result may share the source's bytes (reshape, transpose, slice, split, expand, ...) */
    TENON_OP_CONTROL = 1u << 2,   /* has sub-graphs; evaluated through call->run_graph */
    TENON_OP_RANDOM = 1u << 3,    /* never folded, never merged */
    TENON_OP_EFFECT = 1u << 4,
    TENON_OP_WEIGHT = 1u << 5,    /* exists only in weight programs (pack_*) */
    TENON_OP_SHAPE_VALUE = 1u << 6, /* its infer gives dst->sym when the sources have sym: vanishes at build time */
    TENON_OP_ANCHOR = 1u << 7,    /* does real work; others (views, pointwise) are free or join an anchor */
};

enum { TENON_VARIADIC = 255 };

struct tenon_op {
    /* head: must be first and in this order, see tenon_op_head */
    const char *name;
    const tenon_attr_def *attr;
    /* ---- */
    const char *onnx;          /* ONNX operator of the same semantics (newest opset); NULL: internal */
    const char *domain;        /* NULL: the default ONNX domain; "com.microsoft", ... */
    int onnx_since;            /* lowest opset whose semantics this row has without rewriting (inputs-as-attributes aside) */
    unsigned flags;
    uint8_t src_min, src_max;  /* src_max TENON_VARIADIC: any number */
    uint8_t dst_min, dst_max;
    const char *const *src_attr; /* for ONNX inputs that are attributes here: {NULL, "axes"}: input 1 becomes attr "axes" when
                                    constant; NULL: none. Array of src_max entries of the ONNX form. */
    uint32_t params;           /* bit i: source i is a parameter (pads, a shape, a count): where its contents are known they stand in the
                                  problem's text, and no tactic reads them from memory */
    const char *axes;          /* letters of the axes in problem text, by source and separated by ',': "nchw,kcrs"; NULL: 'x' */
    /* Type, shape and (for small integer tensors) value rule: reads src types and src->sym/data, sets the types of all non-NULL
       dst, and dst->sym when known. TENON_INVALID with a message that says what does not fit (the caller adds the node). */
    tenon_status (*infer)(tenon_cx *cx, tenon_graph *g, tenon_node *n);
    /* Reference on host tensors of any strides, see op/eval.h. Clear before fast; f32 sums in double. */
    tenon_status (*ref)(tenon_cx *cx, tenon_eval_call *call);
    double (*flops)(const tenon_node *n, const tenon_tensor *src, const tenon_tensor *dst); /* NULL: one a result element */
    double tol;                /* f32 tolerance of a tactic against ref, relative to the result's scale; 0: must be exact */
    const tenon_pw *pw;        /* of TENON_OP_POINTWISE */
};

extern const tenon_op *const tenon_ops[];                  /* op.def, NULL-terminated */
const tenon_op *tenon_op_find(const char *name, size_t length);
const tenon_op *tenon_op_find_onnx(const char *domain, const char *name);

/* Helpers for infer rules. */
tenon_status tenon_infer_node(tenon_cx *cx, tenon_graph *g, tenon_node *n);   /* runs op->infer, message names the node */
tenon_status tenon_infer_graph(tenon_cx *cx, tenon_graph *g);                 /* all nodes in order */
void tenon_infer_set(tenon_node *n, int dst, tenon_dtype dtype, int rank, const tenon_dim *const *dim);
tenon_status tenon_infer_axis(tenon_cx *cx, const char *what, int64_t axis, int rank, int *out); /* negative axes */
/* Multidirectional broadcasting of two shapes; symbolic dims that differ and cannot be proved 1 are an error naming both. */
tenon_status tenon_infer_broadcast(tenon_cx *cx, tenon_graph *g, const tenon_type *a, const tenon_type *b, tenon_type *out);
/* Contents of a value as expressions: from sym, or from constant integer data; NULL when not known. *count elements. */
const tenon_dim *const *tenon_infer_contents(tenon_graph *g, const tenon_value *v, size_t *count);
void tenon_infer_set_contents(tenon_node *n, int dst, const tenon_dim *const *sym, size_t count);
enum { TENON_CONTENTS_MAX = 256 }; /* tensors of more elements have no known contents */
/* Contents of a small float value that is known (fsym, or constant data) into out[TENON_CONTENTS_MAX]; false: not known. */
bool tenon_infer_floats(const tenon_value *v, double *out, size_t *count);

/* Every operator is declared here, so that C code can write &tenon_op_conv. */
#define OP(x) extern const tenon_op tenon_op_##x;
#include "op/op.def"
#undef OP

#endif
