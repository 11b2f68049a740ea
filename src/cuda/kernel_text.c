/* SPDX-License-Identifier: Apache-2.0 */
/* Printing programs. Numbers are printed as bits, so that no digit is lost and infinities need no spelling. */
#include "cuda/kernel_text.h"

#include <inttypes.h>
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

/* ---- expressions of the classes ---- */
/* What a row computes on integers; a row without one is a row of floats. */
static const struct { const tenon_op *op; const char *text; } on_integers[] = {
    {&tenon_op_abs, "(x0 < 0 ? tenon_sub(0, x0) : x0)"}, {&tenon_op_neg, "tenon_sub(0, x0)"}, {&tenon_op_relu, "(x0 < 0 ? 0 : x0)"},
    {&tenon_op_sign, "((x0 > 0) - (x0 < 0))"}, {&tenon_op_identity, "x0"}, {&tenon_op_add, "tenon_add(x0, x1)"},
    {&tenon_op_sub, "tenon_sub(x0, x1)"}, {&tenon_op_mul, "tenon_mul(x0, x1)"}, {&tenon_op_div, "tenon_div(x0, x1)"},
    {&tenon_op_pow, "tenon_pow(x0, x1)"}, {&tenon_op_min, "(x0 < x1 ? x0 : x1)"}, {&tenon_op_max, "(x0 > x1 ? x0 : x1)"},
    {&tenon_op_prelu, "(x0 < 0 ? tenon_mul(x0, x1) : x0)"}, {&tenon_op_mod, "tenon_mod(x0, x1, p0 != 0)"},
    {&tenon_op_bitwise_and, "(x0 & x1)"}, {&tenon_op_bitwise_or, "(x0 | x1)"}, {&tenon_op_bitwise_xor, "(x0 ^ x1)"},
    {&tenon_op_bitwise_not, "(~x0)"}, {&tenon_op_bit_shift, "tenon_shift(x0, x1, (int)p0)"},
    {&tenon_op_clip, "((x0 > x1 ? x0 : x1) < x2 ? (x0 > x1 ? x0 : x1) : x2)"}, {&tenon_op_equal, "(x0 == x1)"},
    {&tenon_op_less, "(x0 < x1)"}, {&tenon_op_less_or_equal, "(x0 <= x1)"}, {&tenon_op_greater, "(x0 > x1)"},
    {&tenon_op_greater_or_equal, "(x0 >= x1)"}, {&tenon_op_and, "(x0 != 0 && x1 != 0)"}, {&tenon_op_or, "(x0 != 0 || x1 != 0)"},
    {&tenon_op_xor, "((x0 != 0) != (x1 != 0))"}, {&tenon_op_not, "(x0 == 0)"}, {&tenon_op_where, "(x0 != 0 ? x1 : x2)"},
};

static const char *const class_type[] = {[TENON_CLASS_F32] = "float", [TENON_CLASS_F64] = "double", [TENON_CLASS_I64] = "long long"};

/* NULL: none. */
static const char *expression_of(const tenon_op *op, tenon_class class_)
{
    if (class_ != TENON_CLASS_I64) return op->pw->cuda && op->pw->cuda[0] ? op->pw->cuda : NULL;
    for (size_t i = 0; i < TENON_COUNTOF(on_integers); i++)
        if (on_integers[i].op == op) return on_integers[i].text;
    return NULL;
}

static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.'; }

/* An expression in float as one in double: functions (expf) and numbers (0.5f) lose their last letter. The largest float stands for the
   largest number, that of is_inf. */
static void print_double(tenon_buf *b, const char *text)
{
    while (*text) {
        size_t length = 0;
        while (is_word(text[length])) length++;
        if (!length) {
            tenon_buf_char(b, *text++);
            continue;
        }
        const bool number = text[0] >= '0' && text[0] <= '9', call = text[length] == '(';
        const size_t kept = length - (length > 1 && text[length - 1] == 'f' && (number || call));
        if (length == 15 && strncmp(text, "3.402823466e38f", 15) == 0) tenon_buf_str(b, "1.7976931348623157e308");
        else tenon_buf_printf(b, "%.*s", (int)kept, text);
        text += length;
    }
}

/* ---- what can be printed ---- */
const char *tenon_cuda_program_rejects(const tenon_program *p, tenon_reason *scratch)
{
    for (int i = 0; i < p->instr_count; i++) {
        const tenon_op *op = p->instr[i].op;
        const bool cast = op == &tenon_op_cast;
        if (cast ? tenon_cuda_type((tenon_dtype)p->instr[i].param[0]) != NULL : expression_of(op, p->class_) != NULL) continue;
        snprintf(scratch->text, sizeof scratch->text, "%.60s has no CUDA expression", op->name);
        return scratch->text;
    }
    for (int i = 0; i < p->operand_count; i++)
        if (p->operand[i] && !p->operand_scalar[i] && !tenon_cuda_type(p->operand[i]->type.dtype)) return "an operand's type";
    for (int i = 0; i < p->result_count; i++)
        if (!tenon_cuda_type(p->result[i]->type.dtype)) return "a result's type";
    return NULL;
}

/* Axes of a value that broadcasts to the result, for each axis of the domain. */
static const int *map_axes(int rank, int result_rank, int domain_rank, const int *result_axis, int *axis)
{
    if (!result_axis) return NULL;
    for (int d = 0; d < domain_rank; d++) axis[d] = result_axis[d] < 0 ? -1 : TENON_MAX(result_axis[d] - (result_rank - rank), -1);
    return axis;
}

static bool same_shape(const tenon_type *a, int rank, const tenon_dim *const *dim)
{
    if (a->rank != rank) return false;
    for (int k = 0; k < rank; k++)
        if (a->dim[k] != dim[k]) return false;
    return true;
}

const char *tenon_cuda_program_add_mapped(const tenon_problem *p, const tenon_program *program, const tenon_value *anchor, const int *result_axis,
                                          tenon_cuda_space *s, tenon_cuda_program *out)
{
    const int rank = result_axis ? anchor->type.rank : s->domain_rank;
    const tenon_dim *const *dim = result_axis ? (const tenon_dim *const *)anchor->type.dim : (const tenon_dim *const *)s->domain;
    int axis[TENON_MAX_RANK];
    *out = (tenon_cuda_program){.program = program};
    out->class_ = program ? program->class_ : tenon_class_of(anchor ? anchor->type.dtype : TENON_F32);
    for (int i = 0; program && i < program->operand_count; i++) {
        out->operand[i] = -1;
        if (program->operand_scalar[i] || (program->has_anchor && i == 0)) continue;
        const tenon_type *type = &program->operand[i]->type;
        const int src = tenon_problem_src(p, program->operand[i]);
        if (src < 0) return "an operand is not a source";
        if (type->rank > rank) return "an operand of a higher rank than the result";
        out->operand[i] = tenon_cuda_space_add(s, type, &p->src[src].format, map_axes(type->rank, rank, s->domain_rank, result_axis, axis));
        if (out->operand[i] < 0) return "too many tensors";
    }
    for (int i = 0; i < (program ? program->result_count : 1); i++) {
        const tenon_value *v = program ? program->result[i] : anchor;
        const int dst = tenon_problem_dst(p, v);
        if (dst < 0) return "a result is not a destination";
        if (!same_shape(&v->type, rank, dim)) return "results of different shapes";
        out->result[i] = tenon_cuda_space_add(s, &v->type, &p->dst[dst].format, map_axes(rank, rank, s->domain_rank, result_axis, axis));
        if (out->result[i] < 0) return "too many tensors";
    }
    return NULL;
}

const char *tenon_cuda_program_add(const tenon_problem *p, const tenon_program *program, const tenon_value *anchor, tenon_cuda_space *s,
                                   tenon_cuda_program *out)
{
    return tenon_cuda_program_add_mapped(p, program, anchor, NULL, s, out);
}

/* ---- the program ---- */
static void print_number(tenon_buf *b, tenon_class class_, double v)
{
    uint64_t bits64;
    uint32_t bits;
    const float narrow = (float)v;
    memcpy(&bits64, &v, sizeof bits64);
    memcpy(&bits, &narrow, sizeof bits);
    if (class_ == TENON_CLASS_F32) tenon_buf_printf(b, "__uint_as_float(0x%08" PRIx32 "u)", bits);
    else if (class_ == TENON_CLASS_F64) tenon_buf_printf(b, "__longlong_as_double(0x%016" PRIx64 "ll)", bits64);
    else tenon_buf_printf(b, "(%" PRId64 "ll)", (int64_t)v);
}

static void print_source(tenon_buf *b, int src)
{
    if (src >= 0) tenon_buf_printf(b, "t%d", src);
    else tenon_buf_printf(b, "o%d", ~src);
}

static void print_cast(tenon_buf *b, const tenon_instr *in, tenon_class class_, int index)
{
    const tenon_dtype to = (tenon_dtype)in->param[0];
    const bool kept = class_ == TENON_CLASS_I64 && tenon_is_float(to); /* integers stay integers until they are stored */
    tenon_buf_printf(b, "    const %s t%d = ", class_type[class_], index);
    if (!kept) tenon_buf_printf(b, "tenon_round<%s>(", tenon_cuda_type(to));
    print_source(b, in->src[0]);
    tenon_buf_str(b, kept ? ";\n" : ");\n");
}

static void print_instr(tenon_buf *b, const tenon_instr *in, tenon_class class_, int index)
{
    const tenon_pw *pw = in->op->pw;
    tenon_buf_printf(b, "    %s t%d; {", class_type[class_], index);
    for (int k = 0; k < pw->arity; k++) {
        tenon_buf_printf(b, " const %s x%d = ", class_type[class_], k);
        print_source(b, in->src[k]);
        tenon_buf_char(b, ';');
    }
    for (int k = 0; k < pw->param_count; k++) {
        tenon_buf_printf(b, " const %s p%d = ", class_type[class_], k);
        print_number(b, class_, class_ == TENON_CLASS_F32 ? (double)in->param[k] : in->param64[k]);
        tenon_buf_char(b, ';');
    }
    tenon_buf_printf(b, " t%d = ", index);
    if (class_ == TENON_CLASS_F64) print_double(b, expression_of(in->op, class_));
    else tenon_buf_str(b, expression_of(in->op, class_));
    tenon_buf_printf(b, "; } // %s\n", in->op->name);
}

void tenon_cuda_function_print(const tenon_program *p, tenon_class class_, const char *name, tenon_buf *b)
{
    const char *type = class_type[class_];
    const int operands = p ? p->operand_count : 1, results = p ? p->result_count : 1;
    tenon_buf_printf(b, "static __device__ __forceinline__ void %s(", name);
    for (int i = 0; i < operands; i++) tenon_buf_printf(b, "%s o%d, ", type, i);
    for (int i = 0; i < results; i++) tenon_buf_printf(b, "%s%s &r%d", i ? ", " : "", type, i);
    tenon_buf_str(b, ")\n{\n");
    for (int i = 0; p && i < p->instr_count; i++) {
        if (p->instr[i].op == &tenon_op_cast) print_cast(b, &p->instr[i], class_, i);
        else print_instr(b, &p->instr[i], class_, i);
    }
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
    tenon_buf_printf(b, "typedef %s tenon_class;\n", class_type[c->class_]);
    tenon_cuda_function_print(p, c->class_, "tenon_program", b);
    tenon_buf_str(b, "template <int V> static __device__ __forceinline__ void tenon_body(const tenon_args &args, const long long *at, "
                     "const tenon_class *anchor)\n{\n");
    for (int i = 0; p && i < operands; i++) {
        if (c->operand[i] < 0) continue;
        tenon_buf_printf(b, "    tenon_class v%d[V];\n", i);
        print_access(s, b, "load", c->operand[i], "v", i);
    }
    for (int i = 0; i < results; i++) tenon_buf_printf(b, "    tenon_class w%d[V];\n", i);
    tenon_buf_str(b, "#pragma unroll\n    for (int i = 0; i < V; i++) tenon_program(");
    for (int i = 0; i < operands; i++) {
        if (!p || (p->has_anchor && i == 0)) tenon_buf_str(b, "anchor[i], ");
        else if (c->operand[i] >= 0) tenon_buf_printf(b, "v%d[i], ", i);
        else {
            print_number(b, c->class_, p->operand_value[i]);
            tenon_buf_str(b, ", ");
        }
    }
    for (int i = 0; i < results; i++) tenon_buf_printf(b, "%sw%d[i]", i ? ", " : "", i);
    tenon_buf_str(b, ");\n");
    for (int i = 0; i < results; i++) print_access(s, b, "store", c->result[i], "w", i);
    tenon_buf_str(b, "}\n");
}

void tenon_cuda_before_print(const tenon_program *p, const int *tensor, const tenon_cuda_space *s, tenon_dtype type, tenon_buf *b)
{
    const char *class_ = class_type[p->class_];
    tenon_cuda_function_print(p, p->class_, "tenon_before_one", b);
    tenon_buf_str(b, "template <int V, class N> static __device__ __forceinline__ void tenon_before(const tenon_args &args, const long long *at, N *out)\n{\n");
    for (int i = 0; i < p->operand_count; i++) {
        if (tensor[i] < 0) continue;
        tenon_buf_printf(b, "    %s v%d[V];\n", class_, i);
        print_access(s, b, "load", tensor[i], "v", i);
    }
    tenon_buf_printf(b, "#pragma unroll\n    for (int i = 0; i < V; i++) {\n        %s made;\n        tenon_before_one(", class_);
    for (int i = 0; i < p->operand_count; i++) {
        if (tensor[i] >= 0) tenon_buf_printf(b, "v%d[i], ", i);
        else {
            print_number(b, p->class_, p->operand_value[i]);
            tenon_buf_str(b, ", ");
        }
    }
    tenon_buf_printf(b, "made);\n        out[i] = tenon_to<N>::value(tenon_make<%s>(made));\n    }\n}\n", tenon_cuda_type(type));
}

void tenon_cuda_program_print_held(const tenon_cuda_program *c, const tenon_cuda_space *s, tenon_buf *b)
{
    const tenon_program *p = c->program;
    const int operands = p ? p->operand_count : 0, results = p ? p->result_count : 1;
    tenon_buf_str(b, "template <int V> struct tenon_held {\n");
    for (int i = 0; i < operands; i++)
        if (c->operand[i] >= 0) tenon_buf_printf(b, "    tenon_vector<%s, V> v%d;\n", tenon_cuda_type(s->tensor[c->operand[i]].type->dtype), i);
    tenon_buf_str(b, "};\ntemplate <int V> static __device__ __forceinline__ void tenon_hold(const tenon_args &args, const long long *at, "
                     "tenon_held<V> &held)\n{\n");
    for (int i = 0; i < operands; i++) {
        const int t = c->operand[i];
        if (t < 0) continue;
        const char *type = tenon_cuda_type(s->tensor[t].type->dtype), *access = tenon_cuda_access(s, t);
        if (strcmp(access, "TENON_RUN") == 0)
            tenon_buf_printf(b, "    held.v%d = *(const tenon_vector<%s, V> *)((const %s *)args.at[%d] + at[%d]);\n", i, type, type, t, t);
        else
            tenon_buf_printf(b, "#pragma unroll\n    for (int i = 0; i < V; i++)\n"
                             "        held.v%d.lane[i] = ((const %s *)args.at[%d])[at[%d] + %s tenon_step(args, %d, RANK - 1)];\n",
                             i, type, t, t, strcmp(access, "TENON_ONE") == 0 ? "0 *" : "i *", t);
    }
    tenon_buf_str(b, "}\ntemplate <int V> static __device__ __forceinline__ void tenon_body_held(const tenon_args &args, const long long *at, "
                     "const float *anchor, const tenon_held<V> &held)\n{\n");
    for (int i = 0; i < results; i++) tenon_buf_printf(b, "    float w%d[V];\n", i);
    tenon_buf_str(b, "#pragma unroll\n    for (int i = 0; i < V; i++) tenon_program(");
    for (int i = 0; i < TENON_MAX(operands, 1); i++) {
        if (!p || (p->has_anchor && i == 0)) tenon_buf_str(b, "anchor[i]");
        else if (c->operand[i] >= 0) tenon_buf_printf(b, "tenon_to_float(held.v%d.lane[i])", i);
        else print_number(b, c->class_, p->operand_value[i]);
        tenon_buf_str(b, ", ");
    }
    for (int i = 0; i < results; i++) tenon_buf_printf(b, "%sw%d[i]", i ? ", " : "", i);
    tenon_buf_str(b, ");\n");
    for (int i = 0; i < results; i++) print_access(s, b, "store", c->result[i], "w", i);
    tenon_buf_str(b, "}\n");
}

tenon_status tenon_cuda_kernel_plan(tenon_cx *cx, const tenon_problem *p, tenon_buf *take_b, const char *text, const char *entry,
                                    int shape_count, const void *own, tenon_tactic_plan *out)
{
    tenon_kernel_source *k = &out->kernel[0];
    tenon_buf_str(take_b, text);
    const tenon_status status = tenon_buf_status(take_b);
    if (status == TENON_OK) k->source = tenon_arena_strndup(p->graph->arena, take_b->data, take_b->length);
    tenon_buf_free(take_b);
    TENON_TRY(status);
    if (!k->source) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for the text of %s", entry);
    k->name = k->entry = entry;
    out->kernel_count = 1;
    out->record_bytes = sizeof(tenon_cuda_record);
    out->shape_count = shape_count;
    out->own = own;
    return TENON_OK;
}
