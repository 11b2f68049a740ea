/* SPDX-License-Identifier: Apache-2.0 */
/* Private to problem*.c: text to a bare problem (graph, operands) and back, without the canonical form, anchors and programs. */
#ifndef TENON_OP_PROBLEM_TEXT_H
#define TENON_OP_PROBLEM_TEXT_H

#include "op/problem.h"

/* Safe on any bytes. Fills graph, src, dst and their counts. */
tenon_status tenon_problem_read(tenon_cx *cx, tenon_arena *arena, const char *text, tenon_problem *out);

/* How the text's sources and symbols were numbered in the problem that was printed. */
typedef struct tenon_problem_order {
    int src_count, symbol_count;
    uint8_t src[TENON_PROBLEM_SRC], symbol[TENON_PROBLEM_SYMBOLS];
} tenon_problem_order;
tenon_status tenon_problem_print(tenon_cx *cx, tenon_arena *arena, const tenon_problem *p, tenon_problem_order *order,
                                 const char **text);

/* What the short forms stand for, both ways. The vector that "bias" adds to a result of type `t`; false: no such axis. */
bool tenon_problem_bias_type(tenon_dim_pool *pool, const tenon_op *first, const tenon_type *t, tenon_type *out);
/* The format of the operand of an "add" without arguments. */
tenon_format tenon_problem_implied_format(const tenon_format *first, int rank);

#endif
