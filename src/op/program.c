/* SPDX-License-Identifier: Apache-2.0 */
/* Pointwise programs: which class a run of nodes computes in, and the nodes as a list of instructions over operands.
   A program has one class. Casts join classes only at its edges: the load of an outside operand, the store of a result. */
#include "op/pointwise.h"

#include <math.h>
#include <string.h>

/* Bits of the classes a node can be computed in. */
enum { F32 = 1, F64 = 2, I64 = 4, ANY = 7 };

static bool is_small_int(tenon_dtype t) { return tenon_is_int(t) && tenon_dtype_get(t)->bits <= 16; }

static int classes_of_type(tenon_dtype t)
{
    if (t == TENON_BOOL) return ANY;
    if (is_small_int(t)) return F32 | I64;
    const tenon_class c = tenon_class_of(t);
    return c == TENON_CLASS_F32 ? F32 : c == TENON_CLASS_F64 ? F64 : I64;
}

static bool in_set(tenon_node *const *node, int count, const tenon_value *v)
{
    for (int i = 0; i < count; i++)
        for (int k = 0; k < node[i]->dst_count; k++)
            if (node[i]->dst[k] == v) return true;
    return false;
}

static bool used_in_set(tenon_node *const *node, int count, const tenon_value *v)
{
    for (int i = 0; i < count; i++)
        for (int k = 0; k < node[i]->src_count; k++)
            if (node[i]->src[k] == v) return true;
    return false;
}

/* A cast: outside, loads convert from anything (the class is the result's); at the end stores convert to anything (the class is
   the source's; float to integer by saturation). In the middle both must do. */
static int classes_of_cast(tenon_node *const *node, int count, const tenon_node *n)
{
    const tenon_dtype from = n->src[0]->type.dtype, to = n->dst[0]->type.dtype;
    int c = ANY;
    if (used_in_set(node, count, n->dst[0])) c &= classes_of_type(to);
    if (in_set(node, count, n->src[0])) c &= classes_of_type(from);
    if (c != ANY) return c & (tenon_is_float(from) && !tenon_is_float(to) ? F32 | F64 : ANY);
    const int both = classes_of_type(from) & classes_of_type(to);
    if (both) return both;
    if (tenon_is_float(from)) return classes_of_type(from);
    return tenon_is_float(to) ? classes_of_type(to) : I64;
}

static int classes_of_node(tenon_node *const *node, int count, const tenon_node *n)
{
    const tenon_pw *pw = n->op->pw;
    if (n->op == &tenon_op_cast) return classes_of_cast(node, count, n);
    int c = (pw->f32 ? F32 : 0) | (pw->f64 ? F64 : 0) | (pw->i64 ? I64 : 0);
    for (int i = 0; i < n->src_count; i++) {
        if (!n->src[i]) continue;
        const tenon_dtype t = n->src[i]->type.dtype;
        if (n->op == &tenon_op_pow && i == 1 && !in_set(node, count, n->src[1]) &&
            tenon_is_float(n->src[0]->type.dtype)) continue;
        c &= classes_of_type(t);
        if (is_small_int(t) && !pw->small_int) c &= I64;
    }
    return c & classes_of_type(n->dst[0]->type.dtype);
}

static tenon_status choose_class(tenon_cx *cx, tenon_node *const *node, int count, const tenon_value *anchor,
                                 tenon_value *const *result,
                                 tenon_class *out)
{
    int c = ANY;
    if (anchor) c &= classes_of_type(anchor->type.dtype);
    for (int i = 0; i < count; i++) {
        c &= classes_of_node(node, count, node[i]);
        if (!c) return TENON_FAIL(cx, TENON_UNSUPPORTED, "%s '%s': types that one program cannot mix", node[i]->op->name,
                                  node[i]->name);
    }
    const int wanted = count == 0 && result[0] ? classes_of_type(result[0]->type.dtype) : ANY;
    c &= wanted ? wanted : ANY;
    const bool bool_alone = c == ANY;
    *out = !bool_alone && c & F32 ? TENON_CLASS_F32 : !bool_alone && c & F64 ? TENON_CLASS_F64 : TENON_CLASS_I64;
    return TENON_OK;
}

static int instr_of(tenon_node *const *node, int count, const tenon_value *v)
{
    for (int i = 0; i < count; i++)
        if (node[i]->dst[0] == v) return i;
    return -1;
}

/* Adds or finds an operand; value NULL: a number. -1: too many. */
static int operand_of(tenon_program *p, tenon_value *v, double number)
{
    for (int i = 0; i < p->operand_count; i++)
        if (v ? p->operand[i] == v : (!p->operand[i] && p->operand_scalar[i] && p->operand_value[i] == number)) return i;
    if (p->operand_count == TENON_PROGRAM_OPERANDS) return -1;
    const int i = p->operand_count++;
    p->operand[i] = v;
    p->operand_scalar[i] = !v;
    p->operand_value[i] = number;
    if (v && v->is_const && v->data && v->data->dtype != TENON_STRING && tenon_tensor_count(v->data) == 1) {
        const int64_t at = tenon_tensor_offset(v->data, 0);
        const int64_t whole = tenon_is_float(v->data->dtype) ? 0 : tenon_tensor_get_i64(v->data, at);
        if (whole > -(INT64_C(1) << 53) && whole < INT64_C(1) << 53) { /* larger ones would lose bits in operand_value */
            p->operand_scalar[i] = true;
            p->operand_value[i] = tenon_is_float(v->data->dtype) ? tenon_tensor_get_f64(v->data, at) : (double)whole;
        }
    }
    return i;
}

static tenon_status add_instr(tenon_cx *cx, tenon_node *const *node, int count, const tenon_node *n, tenon_program *p)
{
    tenon_instr *in = &p->instr[p->instr_count];
    in->op = n->op;
    in->dtype = n->dst[0]->type.dtype;
    tenon_pw_params(n, in->param64);
    for (int i = 0; i < TENON_PW_PARAMS; i++) in->param[i] = (float)in->param64[i];
    int filled = 0;
    bool have[TENON_PW_ARITY] = { false };
    for (int i = 0; i < n->src_count && i < TENON_PW_ARITY; i++) {
        if (!n->src[i]) continue;
        have[i] = true;
        int at = instr_of(node, count, n->src[i]);
        if (at < 0) {
            const int o = operand_of(p, n->src[i], 0);
            if (o < 0) return TENON_FAIL(cx, TENON_UNSUPPORTED, "more than %d operands in a pointwise program",
                                         TENON_PROGRAM_OPERANDS);
            at = ~o;
        } else if (at >= p->instr_count) {
            return TENON_FAIL(cx, TENON_INTERNAL, "pointwise nodes out of order at '%s'", n->name ? n->name : "");
        }
        in->src[filled++] = (int16_t)at;
    }
    if (n->op == &tenon_op_clip && filled < 3) in->op = have[1] ? &tenon_op_max : have[2] ? &tenon_op_min : &tenon_op_identity;
    p->instr_count++;
    return TENON_OK;
}

tenon_status tenon_program_build(tenon_cx *cx, tenon_node *const *node, int count, tenon_value *anchor,
                                 tenon_value *const *result,
                                 int result_count, tenon_program *out)
{
    tenon_program *p = out;
    memset(p, 0, sizeof *p);
    if (count > TENON_PROGRAM_MAX)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "%d pointwise operators, a program holds %d", count, TENON_PROGRAM_MAX);
    if (result_count < 1 || result_count > TENON_PROGRAM_RESULTS)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "%d results, a pointwise program gives 1 to %d", result_count,
                          TENON_PROGRAM_RESULTS);
    for (int i = 0; i < count; i++) {
        if (!(node[i]->op->flags & TENON_OP_POINTWISE) || !node[i]->dst[0])
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "%s is no pointwise operator", node[i]->op->name);
        if (node[i]->src[0]->type.dtype == TENON_STRING || node[i]->dst[0]->type.dtype >= TENON_STRING)
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "%s of values that are not numbers", node[i]->op->name);
    }
    TENON_TRY(choose_class(cx, node, count, anchor, result, &p->class_));
    if (anchor) {
        p->has_anchor = true;
        p->operand[p->operand_count++] = anchor;
    }
    for (int i = 0; i < count; i++) TENON_TRY(add_instr(cx, node, count, node[i], p));
    for (int i = 0; i < result_count; i++) {
        int at = instr_of(node, count, result[i]);
        if (at < 0) {
            const int o = operand_of(p, result[i], 0);
            if (o < 0) return TENON_FAIL(cx, TENON_UNSUPPORTED, "more than %d operands in a pointwise program",
                                         TENON_PROGRAM_OPERANDS);
            at = ~o;
        }
        p->result[i] = result[i];
        p->result_instr[i] = (int16_t)at;
    }
    p->result_count = result_count;
    return TENON_OK;
}

void tenon_program_eval_f32(const tenon_program *p, const float *x, float *result)
{
    float value[TENON_PROGRAM_MAX];
    for (int i = 0; i < p->instr_count; i++) {
        const tenon_instr *in = &p->instr[i];
        float v[TENON_PW_ARITY] = { 0 };
        for (int k = 0; k < in->op->pw->arity; k++) v[k] = in->src[k] >= 0 ? value[in->src[k]] : x[~in->src[k]];
        value[i] = in->op->pw->f32(v, in->param);
    }
    for (int r = 0; r < p->result_count; r++) {
        const int from = p->result_instr[r];
        result[r] = from >= 0 ? value[from] : x[~from];
    }
}
