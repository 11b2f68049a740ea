/* SPDX-License-Identifier: Apache-2.0 */
/* Printing programs. Numbers are printed as bits, so that no digit is lost and infinities need no spelling. */
#include "cuda/kernel_text.h"

#include <stdio.h>
#include <string.h>

const char *tenon_cuda_type(tenon_dtype t)
{
    switch (t) {
    case TENON_F32: return "float";
    case TENON_F64: return "double";
    case TENON_F16: return "tenon_half";
    case TENON_BF16: return "tenon_bfloat";
    case TENON_I8: return "signed char";
    case TENON_I16: return "short";
    case TENON_I32: return "int";
    case TENON_I64: return "long long";
    case TENON_U8: return "unsigned char";
    case TENON_U16: return "unsigned short";
    case TENON_U32: return "unsigned";
    case TENON_U64: return "unsigned long long";
    case TENON_BOOL: return "tenon_bool";
    default: return NULL;
    }
}

/* ---- what can be printed ---- */
/* Bool logic is exact in f32; the class alone would be that of integers. */
static bool is_logic(const tenon_program *p)
{
    for (int i = 0; i < p->instr_count; i++)
        if (p->instr[i].dtype != TENON_BOOL) return false;
    for (int i = 0; i < p->operand_count; i++)
        if (p->operand[i] && p->operand[i]->type.dtype != TENON_BOOL) return false;
    return true;
}

const char *tenon_cuda_program_rejects(const tenon_program *p, tenon_reason *scratch)
{
    if (p->class_ != TENON_CLASS_F32 && !is_logic(p)) return "a program that does not compute in f32";
    for (int i = 0; i < p->instr_count; i++) {
        const tenon_op *op = p->instr[i].op;
        const bool cast = op == &tenon_op_cast;
        if (cast ? tenon_cuda_type((tenon_dtype)p->instr[i].param[0]) != NULL : op->pw->cuda && op->pw->cuda[0]) continue;
        snprintf(scratch->text, sizeof scratch->text, "%.60s has no CUDA expression", op->name);
        return scratch->text;
    }
    for (int i = 0; i < p->operand_count; i++)
        if (p->operand[i] && !p->operand_scalar[i] && !tenon_cuda_type(p->operand[i]->type.dtype)) return "an operand's type";
    for (int i = 0; i < p->result_count; i++)
        if (!tenon_cuda_type(p->result[i]->type.dtype)) return "a result's type";
    return NULL;
}

const char *tenon_cuda_program_add(const tenon_problem *p, const tenon_program *program, const tenon_value *anchor, tenon_cuda_space *s,
                                   tenon_cuda_program *out)
{
    *out = (tenon_cuda_program){.program = program};
    for (int i = 0; program && i < program->operand_count; i++) {
        out->operand[i] = -1;
        if (program->operand_scalar[i] || (program->has_anchor && i == 0)) continue;
        const int src = tenon_problem_src(p, program->operand[i]);
        if (src < 0) return "an operand is not a source";
        if (program->operand[i]->type.rank > s->domain_rank) return "an operand of a higher rank than the result";
        out->operand[i] = tenon_cuda_space_add(s, &program->operand[i]->type, &p->src[src].format, NULL);
        if (out->operand[i] < 0) return "too many tensors";
    }
    for (int i = 0; i < (program ? program->result_count : 1); i++) {
        const tenon_value *v = program ? program->result[i] : anchor;
        const int dst = tenon_problem_dst(p, v);
        if (dst < 0) return "a result is not a destination";
        if (v->type.rank != s->domain_rank) return "results of different shapes";
        for (int k = 0; k < v->type.rank; k++)
            if (v->type.dim[k] != s->domain[k]) return "results of different shapes";
        out->result[i] = tenon_cuda_space_add(s, &v->type, &p->dst[dst].format, NULL);
        if (out->result[i] < 0) return "too many tensors";
    }
    return NULL;
}

/* ---- the program ---- */
static void print_float(tenon_buf *b, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    tenon_buf_printf(b, "__uint_as_float(0x%08xu)", bits);
}

static void print_source(tenon_buf *b, int src)
{
    if (src >= 0) tenon_buf_printf(b, "t%d", src);
    else tenon_buf_printf(b, "o%d", ~src);
}

static void print_instr(tenon_buf *b, const tenon_instr *in, int index)
{
    if (in->op == &tenon_op_cast) {
        tenon_buf_printf(b, "    const float t%d = tenon_round<%s>(", index, tenon_cuda_type((tenon_dtype)in->param[0]));
        print_source(b, in->src[0]);
        tenon_buf_str(b, ");\n");
        return;
    }
    const tenon_pw *pw = in->op->pw;
    tenon_buf_printf(b, "    float t%d; {", index);
    for (int k = 0; k < pw->arity; k++) {
        tenon_buf_printf(b, " const float x%d = ", k);
        print_source(b, in->src[k]);
        tenon_buf_char(b, ';');
    }
    for (int k = 0; k < pw->param_count; k++) {
        tenon_buf_printf(b, " const float p%d = ", k);
        print_float(b, in->param[k]);
        tenon_buf_char(b, ';');
    }
    tenon_buf_printf(b, " t%d = %s; } // %s\n", index, pw->cuda, in->op->name);
}

static void print_program(const tenon_cuda_program *c, tenon_buf *b)
{
    const tenon_program *p = c->program;
    const int operands = p ? p->operand_count : 1, results = p ? p->result_count : 1;
    tenon_buf_str(b, "static __device__ __forceinline__ void tenon_program(");
    for (int i = 0; i < operands; i++) tenon_buf_printf(b, "float o%d, ", i);
    for (int i = 0; i < results; i++) tenon_buf_printf(b, "%sfloat &r%d", i ? ", " : "", i);
    tenon_buf_str(b, ")\n{\n");
    for (int i = 0; p && i < p->instr_count; i++) print_instr(b, &p->instr[i], i);
    for (int i = 0; i < results; i++) {
        tenon_buf_printf(b, "    r%d = ", i);
        print_source(b, p ? p->result_instr[i] : ~0);
        tenon_buf_str(b, ";\n");
    }
    tenon_buf_str(b, "}\n");
}

/* ---- loads and stores around it ---- */
const char *tenon_cuda_access(const tenon_cuda_space *s, int t)
{
    if (s->rank == 0 || s->tensor[t].stride[s->rank - 1] == 0) return "TENON_ONE";
    return tenon_cuda_space_is_unit(s, t) ? "TENON_RUN" : "TENON_STRIDE";
}

static void print_access(const tenon_cuda_space *s, tenon_buf *b, const char *what, int t, const char *name, int index)
{
    tenon_buf_printf(b, "    tenon_%s<%s, V, %s>(args.at[%d], at[%d], tenon_step(args, %d, RANK - 1), args.aligned >> %d & 1, %s%d);\n", what,
                     tenon_cuda_type(s->tensor[t].type->dtype), tenon_cuda_access(s, t), t, t, t, t, name, index);
}

void tenon_cuda_program_print(const tenon_cuda_program *c, const tenon_cuda_space *s, tenon_buf *b)
{
    const tenon_program *p = c->program;
    const int operands = p ? p->operand_count : 1, results = p ? p->result_count : 1;
    print_program(c, b);
    tenon_buf_str(b, "template <int V> static __device__ __forceinline__ void tenon_body(const tenon_args &args, const long long *at, "
                     "const float *anchor)\n{\n");
    for (int i = 0; p && i < operands; i++) {
        if (c->operand[i] < 0) continue;
        tenon_buf_printf(b, "    float v%d[V];\n", i);
        print_access(s, b, "load", c->operand[i], "v", i);
    }
    for (int i = 0; i < results; i++) tenon_buf_printf(b, "    float w%d[V];\n", i);
    tenon_buf_str(b, "#pragma unroll\n    for (int i = 0; i < V; i++) tenon_program(");
    for (int i = 0; i < operands; i++) {
        if (!p || (p->has_anchor && i == 0)) tenon_buf_str(b, "anchor[i], ");
        else if (c->operand[i] >= 0) tenon_buf_printf(b, "v%d[i], ", i);
        else {
            print_float(b, (float)p->operand_value[i]);
            tenon_buf_str(b, ", ");
        }
    }
    for (int i = 0; i < results; i++) tenon_buf_printf(b, "%sw%d[i]", i ? ", " : "", i);
    tenon_buf_str(b, ");\n");
    for (int i = 0; i < results; i++) print_access(s, b, "store", c->result[i], "w", i);
    tenon_buf_str(b, "}\n");
}

tenon_status tenon_cuda_kernel_source(tenon_cx *cx, const tenon_problem *p, tenon_buf *b, const char *text, const char *entry,
                                      tenon_kernel_source *out)
{
    tenon_buf_str(b, text);
    TENON_TRY(tenon_buf_status(b));
    out->source = tenon_arena_strndup(p->graph->arena, b->data, b->length);
    out->name = out->entry = entry;
    return out->source ? TENON_OK : TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for the text of %s", entry);
}
