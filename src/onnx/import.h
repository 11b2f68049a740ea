/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the importer share; nobody else includes this. The importer walks the model once, scope by scope: names are
   looked up in a scope and, for sub-graphs, outwards; nodes are sorted, converted to canonical operators and typed one by one, so
   that a conversion sees the types and known contents of its sources. */
#ifndef TENON_ONNX_IMPORT_H
#define TENON_ONNX_IMPORT_H

#include "onnx/onnx.h"
#include "onnx/proto.h"
#include "op/op.h"

/* ---- names.c: a hash table from names to pointers ---- */
typedef struct tenon_onnx_slot { tenon_span key; void *value; } tenon_onnx_slot;
typedef struct tenon_onnx_map { tenon_arena *arena; tenon_onnx_slot *slot; size_t capacity, count; } tenon_onnx_map;
void *tenon_onnx_map_get(const tenon_onnx_map *map, tenon_span key); /* NULL: not there */
/* The key is borrowed. A key that is there is replaced. */
tenon_status tenon_onnx_map_put(tenon_onnx_map *map, tenon_span key, void *value);
static inline tenon_span tenon_span_of(const char *s) { return (tenon_span){(const uint8_t *)s, __builtin_strlen(s)}; }
bool tenon_span_equal(tenon_span a, tenon_span b);
bool tenon_span_is(tenon_span a, const char *s);

/* ---- importer ---- */
/* A call of a model-local function that is being inlined: attribute references are resolved in it. */
typedef struct tenon_onnx_frame {
    const struct tenon_onnx_frame *outer;
    const tenon_pb_function *function;
    const tenon_pb_node *node;
    int depth;
} tenon_onnx_frame;

/* Which attributes of one node were looked at, by their position; those behind the 64th count as looked at. */
typedef struct tenon_onnx_watch { const tenon_pb_node *node; uint64_t seen; } tenon_onnx_watch;

typedef struct tenon_onnx_scope {
    const struct tenon_onnx_scope *outer; /* NULL: the main graph or a function's body */
    tenon_graph *graph;
    tenon_onnx_map names;                 /* -> tenon_value */
    const char *prefix;                   /* of node and value names: "" or "call/" */
    const tenon_onnx_frame *frame;        /* NULL outside of functions */
    const tenon_pb_opsets *opsets;
    int depth;                            /* of sub-graphs and functions */
    tenon_onnx_watch *watch;              /* NULL: an attribute that a rewrite does not know is passed over */
} tenon_onnx_scope;

enum { TENON_ONNX_NEST_MAX = 64, TENON_ONNX_NODES_MAX = 1 << 20 };

typedef struct tenon_importer {
    tenon_cx *cx;
    tenon_arena *arena;
    tenon_dim_pool *dims;
    const char *path;
    tenon_onnx_files *files;
    const tenon_pb_model *model;
    tenon_onnx_map functions;             /* "domain:name:overload" -> tenon_pb_function */
    tenon_onnx_map ungiven;               /* results no operator of ours gives -> name of their node */
    size_t node_count;                    /* imported so far, functions inlined */
    bool by_hand;                         /* nodes are added by a program: those of domain "tenon" are canonical operators (layers.c) */
} tenon_importer;

#define TENON_ONNX_OWN_DOMAIN "tenon"


/* One ONNX node on its way to canonical nodes. */
typedef struct tenon_onnx_call {
    tenon_importer *im;
    tenon_cx *cx;
    tenon_onnx_scope *scope;
    tenon_graph *g;
    const tenon_pb_node *node;
    const char *type, *domain, *name;     /* domain "" is ONNX's own */
    int opset;                            /* of the domain */
    int src_count, dst_count;
    tenon_value **src;                    /* NULL: absent */
    tenon_value **dst;                    /* filled by the conversion */
} tenon_onnx_call;

/* ---- import.c, import_graph.c, import_node.c ---- */
tenon_status tenon_onnx_string(tenon_importer *im, tenon_span s, const char *what,
                               const char **out); /* zero-terminated copy; no zero byte inside */
int tenon_onnx_opset(const tenon_onnx_scope *scope, tenon_span domain); /* 0: not imported */
/* *out NULL: the node is no call of a function of the model. */
tenon_status tenon_onnx_function(tenon_importer *im, const tenon_pb_node *node, const tenon_pb_function **out);
tenon_value *tenon_onnx_lookup(const tenon_onnx_scope *scope, tenon_span name);
/* Initializers, inputs, nodes and outputs of a graph into scope->graph. `outer` (may be NULL): values that give the types of
   inputs whose declaration says less; NULL entries say nothing. */
tenon_status tenon_onnx_graph(tenon_importer *im, tenon_onnx_scope *scope, const tenon_pb_graph *pb,
                              const tenon_type *const *outer,
                              size_t outer_count);
/* Sub-graph attributes of a control-flow node -> n->sub. */
tenon_status tenon_onnx_bodies(tenon_onnx_call *c, tenon_node *n);
tenon_status tenon_onnx_nodes(tenon_importer *im, tenon_onnx_scope *scope, const tenon_pb_node *node, size_t count);
tenon_status tenon_onnx_node(tenon_importer *im, tenon_onnx_scope *scope, const tenon_pb_node *node);
tenon_status tenon_onnx_inline(tenon_importer *im, tenon_onnx_scope *scope, const tenon_pb_node *node, const char *name,
                               const tenon_pb_function *function);
/* TENON_UNSUPPORTED with one message for all operators of the model that nothing converts. */
tenon_status tenon_onnx_check_operators(tenon_importer *im, const tenon_onnx_scope *scope);

/* The nodes of a branch that is taken, in place of the If; its outputs become the results. */
tenon_status tenon_onnx_splice(tenon_onnx_call *c, const tenon_pb_graph *pb);

/* ---- import_sort.c ---- */
/* order[i]: index of the node to import as the i-th. Nodes already in order stay so. */
tenon_status tenon_onnx_sort(tenon_importer *im, const tenon_pb_node *node, size_t count, size_t *order);

/* ---- import_tensor.c, import_type.c ---- */
tenon_dtype tenon_onnx_dtype(int64_t number); /* TENON_DTYPE_NONE: none of ours */
int tenon_onnx_dtype_number(tenon_dtype t);   /* 0: ONNX has none */
const char *tenon_onnx_dtype_name(int64_t number); /* for messages */
/* The tensor borrows the file's bytes where they are little endian and aligned, else lies in the arena. */
tenon_status tenon_onnx_tensor(tenon_importer *im, const tenon_pb_tensor *pb, const char *what, tenon_tensor *out);
/* name: of the input, for its unnamed dimensions. */
tenon_status tenon_onnx_type(tenon_importer *im, const tenon_pb_type *pb, const char *name, tenon_type *out);

/* ---- import_attr.c: attributes of the node, function references resolved ---- */
const tenon_pb_attr *tenon_onnx_attr(const tenon_onnx_scope *scope, const tenon_pb_node *node,
                                     const char *name); /* NULL: absent */
tenon_pb_attr_type tenon_onnx_attr_type(const tenon_pb_attr *a);
bool tenon_onnx_has(const tenon_onnx_call *c, const char *name);
/* An attribute of another type than asked for is TENON_INVALID; an absent one gives the fallback (lists: count 0, item NULL). */
tenon_status tenon_onnx_int(const tenon_onnx_call *c, const char *name, int64_t fallback, int64_t *out);
tenon_status tenon_onnx_float(const tenon_onnx_call *c, const char *name, double fallback, double *out);
tenon_status tenon_onnx_text(const tenon_onnx_call *c, const char *name, const char *fallback, const char **out);
tenon_status tenon_onnx_ints(const tenon_onnx_call *c, const char *name, tenon_pb_ints *out);
/* Sets the attribute of the new node from ONNX's attribute of the same name, if there is one and the operator has it. */
tenon_status tenon_onnx_copy_attr(tenon_onnx_call *c, tenon_node *n, int index);
/* Sets attribute `index` of the new node from the contents of input `input`. */
tenon_status tenon_onnx_attr_from(tenon_onnx_call *c, tenon_node *n, int index, int input, const tenon_tensor *t);
/* Contents of a value known at build time, folding what gives it when needed. *out NULL: not known. */
tenon_status tenon_onnx_known(tenon_importer *im, tenon_graph *g, tenon_value *v, const tenon_tensor **out);

/* ---- convert.c: the table of rewrites, and what they are written with ---- */
typedef tenon_status (*tenon_onnx_convert)(tenon_onnx_call *c);
typedef struct tenon_onnx_row {
    const char *type, *domain;
    int from, to;            /* opsets of the domain; to 0: the newest */
    tenon_onnx_convert convert;
    bool fallback;           /* used only where no operator of the library has this ONNX name */
} tenon_onnx_row;
/* How a node is converted: *row, or *op (1:1), or neither. */
void tenon_onnx_find(const char *domain, const char *type, int opset, const tenon_onnx_row **row, const tenon_op **op);
tenon_status tenon_onnx_direct(tenon_onnx_call *c, const tenon_op *op); /* 1:1 */
/* 1:1 to the named operator whatever its ONNX name. */
tenon_status tenon_onnx_direct_as(tenon_onnx_call *c, const char *op);

/* A canonical node; results untyped until tenon_onnx_typed. TENON_UNSUPPORTED when this build has no such operator. */
tenon_status tenon_onnx_emit(tenon_onnx_call *c, const char *op, int src_count, tenon_value *const *src, int dst_count,
                             tenon_node **out);
tenon_status tenon_onnx_typed(tenon_onnx_call *c, tenon_node *n,
                              tenon_value **out); /* infers; *out (may be NULL): its first result */
/* Attribute-less operators of one and two sources. */
tenon_status tenon_onnx_unary(tenon_onnx_call *c, const char *op, tenon_value *x, tenon_value **out);
tenon_status tenon_onnx_binary(tenon_onnx_call *c, const char *op, tenon_value *a, tenon_value *b, tenon_value **out);
tenon_status tenon_onnx_scalar(tenon_onnx_call *c, tenon_dtype dtype, double v, tenon_value **out);
tenon_status tenon_onnx_list(tenon_onnx_call *c, const int64_t *v, size_t count, tenon_value **out); /* 1-d i64 */
tenon_status tenon_onnx_cast(tenon_onnx_call *c, tenon_value *x, tenon_dtype to, tenon_value **out);
tenon_status tenon_onnx_transposed(tenon_onnx_call *c, tenon_value *x, const int64_t *perm, tenon_value **out); /* rank entries */
tenon_status tenon_onnx_reduced(tenon_onnx_call *c, const char *op, tenon_value *x, const int64_t *axes, size_t count,
                                bool keepdims, tenon_value **out);
tenon_status tenon_onnx_reshaped(tenon_onnx_call *c, tenon_value *x, tenon_value *shape, tenon_value **out);
tenon_status tenon_onnx_shape(tenon_onnx_call *c, tenon_value *x, tenon_value **out);
tenon_status tenon_onnx_flattened(tenon_onnx_call *c, tenon_value *x, int64_t axis, tenon_value **out);
/* Source `i` is there and its rank is known. */
tenon_status tenon_onnx_need(tenon_onnx_call *c, int i, const char *what);
tenon_status tenon_onnx_axis(tenon_onnx_call *c, int64_t axis, int rank, int64_t *out); /* [-rank, rank) to [0, rank) */
/* The name of an operator that can be converted at that opset and is spelt most like this one. */
const char *tenon_onnx_nearest(const char *type, int opset);
/* Every rewrite of convert.def is `tenon_status tenon_onnx_<function>(tenon_onnx_call *c)`, declared in convert.c. */

static inline tenon_value *tenon_onnx_src(const tenon_onnx_call *c, int i) { return i < c->src_count ? c->src[i] : NULL; }
static inline bool tenon_onnx_wants(const tenon_onnx_call *c, int i)
{
    return i < c->dst_count && c->node->output.item[i].length > 0;
}

#endif
