/* SPDX-License-Identifier: Apache-2.0 */
/* A problem: what one step computes. It is a small graph of canonical operators (anchors and the pointwise nodes around them)
   whose inputs and outputs also have a storage format, and it has one text form: timing-cache key, log line, test case,
   bench input, repro and the engine's own record of a step.

   Grammar (no spaces; src separated by ','):
     problem  := stmt (';' stmt)* ['>' result (',' result)*]
     stmt     := [name '='] op ':' item (',' item)* ['|' pw (',' pw)*]
     item     := operand | attr '=' value
     operand  := [dtype ':'] shape fmt* | name ['.' result] | '$' source | '-' | [dtype ':'] [count] '{' [element ('+' element)*] '}'
                 '-': absent source; {0.125}: scalar constant; $0: the first source of the problem again
                 4{0+1+0+1}: a constant of one axis, for an operator's parameters (op->params) alone
     element  := number | dim                as a dim: i64 that is reckoned from symbols, each of which is a dim (or a divisor of
                                             one) of some source or result
                 a bare dtype item ("f32") sets the type of the operands that follow; a prefix that of its operand alone
                 the item results=N says how many results the operator gives, where that is not the least
     shape    := dim ('x' dim)* or letters of the operator ("n1c64h56w56"); a scalar is "s"
     dim      := number | sym '[' lo '..' hi ['@' opt] ['%' divisor] ']' at first use | expression of symbols in parentheses,
                 where a symbol may be declared in place too: (a[1..8]*49); opt is hi where it is not given
     fmt      := ':cl' channels-last | ':p' digits (memory order of the axes) | ':any' | ':ld' number ['.' inner axes] | ':w' constant weight
     pw       := op ['(' arg (',' arg)* ')']    arg := '_' (previous result) | operand | name ; attributes as arg 'alpha=0.2'
                 "bias" = add(_, channel vector :w), "add" without arguments = add(_, operand of the same type,
                 channels-last if the problem's first source is)
     result   := name fmt* | '_' fmt*            without '>' the last value, dense row-major
   Examples: conv:f32,n1c64h56w56:cl,k64c64r3s3:w,pads=1+1+1+1|bias,add,relu>_:cl
             matmul:f32,a[1..8@4]x128x768,768x3072:w|bias,gelu
             pad:f32,1x64,i64:4{0+1+0+1},{0}    range:i64,{0},{a[1..512@128]},{1}
             add:f32,1x64,1x64|relu                                                                                        */
#ifndef TENON_OP_PROBLEM_H
#define TENON_OP_PROBLEM_H

#include "op/pointwise.h"

typedef enum {
    TENON_ROW,   /* row-major */
    TENON_CLAST, /* channels-last: n, spatial..., c; rank >= 3 */
    TENON_ORDER, /* axes in memory as in `order`, outermost first: heads of an attention are 'p0213' of (b, h, s, d) */
    TENON_STRIDED, /* any strides, known when bound: only copies and programs take it; ':any' in text */
} tenon_layout;

/* How an operand lies in memory. The innermost `inner` axes (in memory order) are dense; the axis outside them has the pitch `ld`;
   the axes further out are dense over that. Concat and split along any axis, and head views, are such formats:
     channels c of a pixel inside a 128-channel buffer:  :cl:ld128          memory  n h w | 128 | c...
     q of a fused qkv (b, s, 3*h*d) as (b, h, s, d):     :p0213:ld2304.2    memory  b s | 2304 | h d
   Any other strided view needs a copy step, whose source (or result) is then TENON_STRIDED. */
typedef struct tenon_format {
    tenon_layout layout;
    uint8_t order[TENON_MAX_RANK]; /* of TENON_ORDER */
    uint8_t inner;                 /* axes inside the pitch; 0 means 1 */
    int64_t ld;                    /* elements; 0: dense */
    bool weight;                   /* constant known at build: the tactic may ask for it packed */
} tenon_format;

typedef struct tenon_operand { tenon_value *value; tenon_format format; } tenon_operand;

enum {
    TENON_PROBLEM_SRC = 24,
    TENON_PROBLEM_DST = 4,
    TENON_PROBLEM_ANCHORS = 8,
    TENON_PROBLEM_SYMBOLS = 24,
    TENON_PROBLEM_NODES = 96,
    TENON_PARAM_MAX = 64 /* elements of a parameter */
};

/* One anchor and the programs next to it. */
typedef struct tenon_anchor {
    tenon_node *node;
    tenon_program *pre[4];  /* program that gives source i (i < 4), or NULL: plain operand or an earlier anchor's result */
    tenon_program *post;    /* program on the result, has_anchor set; NULL: none */
} tenon_anchor;

typedef struct tenon_problem {
    tenon_graph *graph;     /* inputs = src in order, outputs = dst in order; owns symbols; scalar constants are const values */
    int src_count, dst_count, anchor_count;
    tenon_operand src[TENON_PROBLEM_SRC];
    tenon_operand dst[TENON_PROBLEM_DST];
    tenon_anchor anchor[TENON_PROBLEM_ANCHORS]; /* none: a pointwise program alone, in `program` */
    tenon_program *program;
    char pattern[128];      /* anchors' names joined by ';', or "pointwise" */
    const char *text;       /* canonical text, in the arena */
    uint64_t hash;          /* XXH3 of text */
    uint8_t symbol_from[TENON_PROBLEM_SYMBOLS]; /* symbol i was this one in the graph given to tenon_problem_finish */
} tenon_problem;

tenon_status tenon_problem_parse(tenon_cx *cx, tenon_arena *arena, const char *text, tenon_problem *out);
/* From a graph made by the caller (planner): fills anchors, programs, pattern, text, hash. src/dst formats are read from
   p->src/dst (value and format must be set, counts too). Constants in the graph are scalars and parameters; whatever else is constant is a source
   with format.weight. p->graph is replaced by the canonical one, as parsing `text` would make it (in the same arena): symbols are a,
   b, c, ... and sources stand in order of appearance, so p->src may be in another order than before; value->user of sources and
   results is carried over. */
tenon_status tenon_problem_finish(tenon_cx *cx, tenon_problem *p);
/* Concrete dims of all sources and destinations for given symbol values (in the order of the problem's own symbols). */
tenon_status tenon_problem_shapes(tenon_cx *cx, const tenon_problem *p, const int64_t *symbol_value, tenon_tensor *src,
                                  tenon_tensor *dst);
/* Sets strides of a tensor (dims set) by a format. TENON_STRIDED says nothing: row-major here, the caller puts its own over
   them. */
void tenon_format_strides(const tenon_format *f, tenon_tensor *t);
/* The memory order of the axes, outermost first, whatever the layout. */
void tenon_format_order(const tenon_format *f, int rank, uint8_t *order);
bool tenon_format_equal(const tenon_format *a, const tenon_format *b, int rank);
double tenon_problem_flops(const tenon_problem *p, const tenon_tensor *src, const tenon_tensor *dst);
/* Whether source `src` is read by the last post program alone, or by the program alone: element by element, as the results are made. */
bool tenon_problem_program_only(const tenon_problem *p, int src);
/* src index of a value of the problem, or -1. */
int tenon_problem_src(const tenon_problem *p, const tenon_value *v);
int tenon_problem_dst(const tenon_problem *p, const tenon_value *v);

#endif
