/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise operators as rows, and pointwise programs: short SSA lists over operands of any broadcast or stride.
   A row is name, arity, scalar C reference, CUDA expression; SIMD bodies stand under the same name in cpu/.

   A program computes in one class: f32 for f32 and all smaller floats and for integers of at most 16 bits; f64; i64 for
   the other integers (results wrap to the stored type); bool as i64 0/1. Comparisons compute in the class of their operands
   and give 0 or 1. Operands convert at load, results at store. */
#ifndef TENON_OP_POINTWISE_H
#define TENON_OP_POINTWISE_H

#include "op/op.h"

typedef enum { TENON_CLASS_F32, TENON_CLASS_F64, TENON_CLASS_I64 } tenon_class;
enum { TENON_PW_PARAMS = 4, TENON_PW_ARITY = 3 };

struct tenon_pw {
    uint8_t arity;
    uint8_t param_count;
    const char *param[TENON_PW_PARAMS];            /* attribute names, in order */
    double flops;                                  /* an element, for the cost model */
    float (*f32)(const float *x, const float *p);  /* x: arity values; p: parameters */
    double (*f64)(const double *x, const double *p);
    int64_t (*i64)(const int64_t *x, const double *p); /* NULL: not defined on integers */
    const char *cuda;                              /* expression over x0, x1, x2, p0..p3 in float; "" when there is none */
    bool result_bool;                              /* comparisons, logic: dst dtype is bool */
    bool small_int;                                /* on integers of at most 16 bits f32 gives what i64 gives: no overflow */
    /* Contents of integer tensors as expressions; NULL, or a NULL answer: not known. p: parameters. */
    const tenon_dim *(*sym)(tenon_dim_pool *pool, const tenon_dim *const *x, const double *p);
};
/* f32 == f64 == NULL: the row is for integers alone (bitwise ones). The parameter of a STRING attribute is the place of its
   value in the row's list (bit_shift: LEFT 0, RIGHT 1), of a DTYPE attribute the tenon_dtype. An absent bound of a clip has no
   x: the program builder and the reference make a max, a min or an identity of it. `cast` has no CUDA expression: it depends on
   types. */

/* Values of the row's parameters for a node, in order. */
void tenon_pw_params(const tenon_node *n, double *out);
/* v as an element type would hold it: rounded for floats, saturated for integers (NaN gives 0), 0 or 1 for bool. */
double tenon_dtype_round(tenon_dtype t, double v);
int64_t tenon_dtype_wrap(tenon_dtype t, int64_t v);

tenon_class tenon_class_of(tenon_dtype t);

/* ---- programs ---- */
enum { TENON_PROGRAM_MAX = 48, TENON_PROGRAM_OPERANDS = 16, TENON_PROGRAM_RESULTS = 4 };

typedef struct tenon_instr {
    const tenon_op *op;
    float param[TENON_PW_PARAMS];
    double param64[TENON_PW_PARAMS];
    int16_t src[TENON_PW_ARITY]; /* >= 0: result of that instruction; < 0: operand ~src */
    tenon_dtype dtype;           /* of the result as typed in the graph (rounded to it only at a store or a cast) */
} tenon_instr;

/* Operand 0 is the anchor's result (accumulator) when has_anchor. */
typedef struct tenon_program {
    tenon_class class_;
    bool has_anchor;
    int instr_count, operand_count, result_count;
    tenon_instr instr[TENON_PROGRAM_MAX];
    tenon_value *operand[TENON_PROGRAM_OPERANDS];  /* values outside the program */
    bool operand_scalar[TENON_PROGRAM_OPERANDS];   /* known constant: no memory operand */
    double operand_value[TENON_PROGRAM_OPERANDS];
    tenon_value *result[TENON_PROGRAM_RESULTS];    /* values of the graph that are stored */
    int16_t result_instr[TENON_PROGRAM_RESULTS];   /* which instruction gives each; < 0: operand ~ (a plain copy) */
} tenon_program;

/* Builds the program of `count` pointwise nodes in topological order. `anchor` is the anchor's result or NULL. Results are the
   values used outside the set. TENON_UNSUPPORTED with the reason (mixed classes, too long, too many operands). */
tenon_status tenon_program_build(tenon_cx *cx, tenon_node *const *node, int count, tenon_value *anchor,
                                 tenon_value *const *result, int result_count, tenon_program *out);
/* One element by the scalar references; `x` one value an operand. */
void tenon_program_eval_f32(const tenon_program *p, const float *x, float *result);
/* Shared infer and ref of all rows: broadcast shapes; op->ref of every pointwise operator is this. */
tenon_status tenon_pw_infer(tenon_cx *cx, tenon_graph *g, tenon_node *n);
tenon_status tenon_pw_ref(tenon_cx *cx, tenon_eval_call *call);

#endif
