/* SPDX-License-Identifier: Apache-2.0 */
/* The graph: nodes in topological order, values in SSA form. A network is a graph; so is a problem (op/problem.h), so is
   the body of an If or a Loop. All memory is in the graph's arena; nothing is freed singly.

   There is no enum of operators: node->op is a `const tenon_op *` of op.def. This layer knows it only by name and
   attribute table (struct tenon_op starts with tenon_op_head). */
#ifndef TENON_IR_GRAPH_H
#define TENON_IR_GRAPH_H

#include "ir/dim.h"
#include "ir/tensor.h"

typedef struct tenon_op tenon_op;       /* op/op.h */
typedef struct tenon_value tenon_value;
typedef struct tenon_node tenon_node;
typedef struct tenon_graph tenon_graph;

/* ---- types ---- */
typedef struct tenon_type {
    tenon_dtype dtype;       /* TENON_DTYPE_NONE: not inferred yet */
    int rank;                /* -1: unknown rank */
    const tenon_dim *dim[TENON_MAX_RANK];
    const struct tenon_type *element; /* of a sequence or optional */
} tenon_type;
bool tenon_type_equal(const tenon_type *a, const tenon_type *b); /* pointer equality of dims */
const tenon_dim *tenon_type_count(tenon_dim_pool *p, const tenon_type *t); /* product of dims */
bool tenon_type_is_static(const tenon_type *t);

/* ---- attributes: one union a row of the operator's table ---- */
typedef enum {
    TENON_ATTR_INT, TENON_ATTR_FLOAT, TENON_ATTR_STRING, TENON_ATTR_INTS, TENON_ATTR_FLOATS, TENON_ATTR_STRINGS,
    TENON_ATTR_DTYPE,  /* an element type; in ONNX an int */
    TENON_ATTR_TENSOR, /* a constant */
    TENON_ATTR_GRAPH,  /* a sub-graph; its index in node->sub */
} tenon_attr_kind;

typedef struct tenon_attr_def {
    const char *name;    /* ONNX's name where ONNX has it; a table ends with name == NULL */
    tenon_attr_kind kind;
    bool required;
    int64_t i;           /* default of INT and DTYPE */
    double f;            /* default of FLOAT */
    const char *s;       /* default of STRING; NULL: unset */
} tenon_attr_def;        /* lists default to unset (count 0, set == false) */

typedef struct tenon_attr {
    bool set;            /* given, not defaulted */
    int64_t i;           /* INT, DTYPE; GRAPH: index in node->sub */
    double f;
    const char *s;
    size_t count;        /* of the lists */
    const int64_t *ints;
    const double *floats;
    const char *const *strings;
    const tenon_tensor *tensor;
} tenon_attr;

typedef struct tenon_op_head {
    const char *name;
    const tenon_attr_def *attr; /* NULL: none */
} tenon_op_head;
static inline const tenon_op_head *tenon_op_as_head(const tenon_op *op) { return (const tenon_op_head *)(const void *)op; }
int tenon_attr_count(const tenon_op *op);
int tenon_attr_find(const tenon_op *op, const char *name); /* -1: none */

/* ---- weight expressions ---- */
/* A constant value is either source bytes (of the model, mapped) or the result of a short program over other constants:
   folding passes build these instead of bytes, so that a weight can be replaced later (refit) and evaluated again.
   `expr` is then the node that computes it, all of whose sources are constants. */

/* ---- values ---- */
struct tenon_value {
    const char *name;        /* unique in the graph; the ONNX name where there was one */
    tenon_type type;
    tenon_node *producer;    /* NULL: graph input or constant */
    int index;               /* which result of the producer */
    int id;                  /* position in graph->value */
    bool is_const;           /* data (or a weight expression) known at build time */
    const tenon_tensor *data;/* bytes of a constant; NULL for a non-constant or a not yet evaluated weight expression */
    tenon_node *expr;        /* weight expression that gives `data`, or NULL: source weight or computed constant */
    const char *source_name; /* name of the ONNX initializer this is, or NULL */
    const tenon_dim **sym;   /* contents of a small integer tensor as expressions (row-major), or NULL; sym_count elements */
    size_t sym_count;
    const double *fsym;      /* contents of a small float constant, or NULL; sym_count elements */
    double *scratch;         /* for passes; no meaning between them */
    /* uses: kept by tenon_graph_index_uses; stale after a change */
    size_t use_count;
    struct tenon_use { tenon_node *node; int index; } *use; /* node NULL: use as graph output `index` */
    void *user;              /* planner's own; NULL elsewhere */
};
typedef struct tenon_use tenon_use;

struct tenon_node {
    const tenon_op *op;
    const char *name;        /* ONNX node name, or made; for messages and layer names */
    int id;                  /* position in graph->node after tenon_graph_sort */
    int src_count, dst_count, sub_count;
    tenon_value **src;       /* NULL entries: absent optional sources */
    tenon_value **dst;       /* NULL entries: results nobody asked for */
    tenon_attr *attr;        /* one a row of the op's table */
    tenon_graph **sub;       /* bodies; they see the values of the graphs around them */
    bool dead;
    const char *origin;      /* "Conv_3+BatchNormalization_4": the ONNX nodes it stands for */
    void *user;              /* planner's own */
};

struct tenon_graph {
    tenon_cx *cx;
    tenon_arena *arena;
    tenon_dim_pool *dims;    /* shared with sub-graphs */
    tenon_graph *parent;     /* NULL: outermost */
    const char *name;
    tenon_node **node;       size_t node_count, node_capacity;     /* topological order after tenon_graph_sort */
    tenon_value **value;     size_t value_count, value_capacity;
    tenon_value **input;     size_t input_count, input_capacity;
    tenon_value **output;    size_t output_count, output_capacity;
    struct tenon_events *events; /* pass/events.h; NULL: nobody listens */
    int opset;               /* of the default ONNX domain, 0: not from ONNX */
    int fresh;               /* counter for made names */
    void *names;             /* graph.c: table of names, of the outermost graph for all graphs inside */
    tenon_use *use_pool;     size_t use_capacity;                  /* outermost graph: storage of value->use */
};

tenon_status tenon_graph_create(tenon_cx *cx, tenon_arena *arena, tenon_dim_pool *dims, tenon_graph *parent, tenon_graph **out);
/* A new value with a unique name made from `hint` (NULL: "v"): the hint itself when no value of the outermost graph or of any
   graph inside it has that name. type NULL: not inferred yet. */
tenon_status tenon_graph_value(tenon_graph *g, const char *hint, const tenon_type *type, tenon_value **out);
/* A constant that borrows `data` (it must live as long as the arena) or copies it into the arena. */
tenon_status tenon_graph_const(tenon_graph *g, const char *hint, const tenon_tensor *data, bool copy, tenon_value **out);
tenon_status tenon_graph_const_i64(tenon_graph *g, const char *hint, const int64_t *v, int rank, int64_t count,
                                   tenon_value **out);
tenon_status tenon_graph_const_f32(tenon_graph *g, const char *hint, float v, tenon_value **out); /* scalar */
/* Declares a value as the next graph input or output. */
tenon_status tenon_graph_add_input(tenon_graph *g, tenon_value *v);
tenon_status tenon_graph_add_output(tenon_graph *g, tenon_value *v);
/* A copy in another arena; bytes of constants, texts and lists of attributes are shared with `g`, which must outlive it and
   is only read (graph_clone.c). */
tenon_status tenon_graph_clone(tenon_cx *cx, tenon_arena *arena, const tenon_graph *g, tenon_graph **out);
/* Takes back the nodes and values behind the first so many, which nothing before them may use; their names are free again. */
void tenon_graph_undo(tenon_graph *g, size_t node_count, size_t value_count);
/* By name, in the outermost graph and inside it; NULL: none. */
tenon_value *tenon_graph_find(const tenon_graph *g, const char *name, size_t length);
/* A node at the end of the list, attributes at their defaults; dst are made fresh and untyped (dst_count of them). */
tenon_status tenon_graph_node(tenon_graph *g, const tenon_op *op, const char *name, int src_count, tenon_value *const *src,
                              int dst_count, tenon_node **out);
tenon_status tenon_node_set_int(tenon_graph *g, tenon_node *n, const char *attr, int64_t v);
tenon_status tenon_node_set_float(tenon_graph *g, tenon_node *n, const char *attr, double v);
tenon_status tenon_node_set_ints(tenon_graph *g, tenon_node *n, const char *attr, const int64_t *v, size_t count); /* copies */
tenon_status tenon_node_set_string(tenon_graph *g, tenon_node *n, const char *attr, const char *v);
tenon_status tenon_node_set_floats(tenon_graph *g, tenon_node *n, const char *attr, const double *v, size_t count);
tenon_status tenon_node_set_strings(tenon_graph *g, tenon_node *n, const char *attr, const char *const *v, size_t count);
tenon_status tenon_node_set_dtype(tenon_graph *g, tenon_node *n, const char *attr, tenon_dtype v);
/* Copies the descriptor, borrows the data. */
tenon_status tenon_node_set_tensor(tenon_graph *g, tenon_node *n, const char *attr, const tenon_tensor *v);
tenon_status tenon_node_set_graph(tenon_graph *g, tenon_node *n, const char *attr, tenon_graph *sub); /* appends to n->sub */
/* Another source at the end of the list (variadic operators). */
tenon_status tenon_node_add_src(tenon_graph *g, tenon_node *n, tenon_value *v);
/* Attribute by name; the op's table must have it (assert). */
const tenon_attr *tenon_node_attr(const tenon_node *n, const char *name);
static inline int64_t tenon_node_int(const tenon_node *n, const char *name) { return tenon_node_attr(n, name)->i; }
static inline double tenon_node_float(const tenon_node *n, const char *name) { return tenon_node_attr(n, name)->f; }

/* Every use of `from` (nodes, outputs, sub-graphs) becomes a use of `to`. If `from` is a graph output, the graph's output
   keeps its name: `to` takes it over when it can, else an identity node is put between. */
void tenon_graph_swap_names(tenon_graph *g, tenon_value *a, tenon_value *b);
/* v is called `name` from now on, or name.N where another value has it. */
tenon_status tenon_graph_rename(tenon_graph *g, tenon_value *v, const char *name);
tenon_status tenon_graph_replace(tenon_graph *g, tenon_value *from, tenon_value *to);
/* Fills value->use of the outermost graph and of all graphs inside it; captures are counted at the outer values. When memory
   runs out all counts are 0. */
tenon_status tenon_graph_index_uses(tenon_graph *g);
/* Topological order, stable; dead nodes dropped; a cycle is TENON_INVALID naming a node. */
tenon_status tenon_graph_sort(tenon_graph *g);
void tenon_graph_prune(tenon_graph *g);       /* marks and drops nodes without effect on the outputs, and values nobody uses */
/* Checks SSA, order, ownership, attribute tables, types present; debug builds run it after every pass. */
tenon_status tenon_graph_verify(tenon_graph *g);
tenon_status tenon_graph_verify_structure(tenon_graph *g); /* the same, but values may still be without types */

/* ---- text (ir/text.c, ir/text_parse.c): one statement a line, "//" begins a comment ----
   graph(x: f32[batch,3,224,224] where batch=1..8@4%1) {
     w: f32[64,3,7,7] = const #<XXH64 of the bytes, hexadecimal>
     s: i64[2] = const {1,-1}
     p: f32[4,3,7,7] = weight pad(w) pads=0+1+1+0
     y: f32[batch,64,112,112] = conv(x, w, -) pads=3+3+3+3 strides=2+2
     a, b = split(y) axis=1
     z: f32[n] = if(c) then_branch=graph() {
       return a
     } else_branch=graph() {
       return b
     }
     return y
   }
   A type is f32[dims], f32[*] (rank unknown), sequence(type), optional(type), or absent: not inferred. '-' stands for what is not there.
   Symbols: lo..hi, then @tuning point (lo) and %divisor (1); hi may be '*'; a name after '?' depends on data.
   Constants of at most 16 elements are lists. Larger ones are printed as a hash; read back they are random numbers from that hash as
   seed (floats in [-1, 1), integers in [-8, 8) or [0, 16)), so texts can stand for networks with large weights, and the hash then
   printed is another. Names with other characters than letters, digits, '_', '.', '/', '$' are in backquotes.
   Node names are not part of the text: a node read is named after its first result.                                              */
typedef const tenon_op *(*tenon_op_lookup)(const char *name, size_t length);
void tenon_graph_print(tenon_buf *b, const tenon_graph *g);
tenon_status tenon_graph_parse(tenon_cx *cx, tenon_arena *arena, tenon_op_lookup lookup, const char *text, tenon_graph **out);
void tenon_attrs_print(tenon_buf *b, const tenon_node *n, const char *separator); /* those that are set and not default */
/* One "name=value" of a node's table; text forms: 3, 0.5, "s", 1+2+3, "a"+"b", f32, [] (empty list), f32[2]{1+2} (tensor).
   Sub-graphs are read by tenon_graph_parse alone. */
tenon_status tenon_attr_parse(tenon_graph *g, tenon_node *n, const char *text, size_t length);

#endif
