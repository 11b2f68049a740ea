/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of one value an image and channel. Their operands need no index space: an element is at n * step_n + c * step_c. */
#include "cuda/channel_program.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *find_operand(const tenon_problem *p, const tenon_value *v, const tenon_type *map, int i, tenon_cuda_channels *out)
{
    const tenon_type *t = &v->type;
    const int src = tenon_problem_src(p, v), n = t->rank - map->rank, c = n + 1;
    if (src < 0) return "an operand is not a source";
    if (t->rank > map->rank) return "an operand of a higher rank than the map";
    const tenon_cuda_tensor tensor = {.type = t, .format = &p->src[src].format};
    for (int a = 0; a < t->rank; a++) {
        const bool one = tenon_dim_is(t->dim[a], 1);
        if (a != n && a != c && !one) return "an operand that differs from pixel to pixel";
        if (!one && t->dim[a] != map->dim[a - n]) return "an operand that may or may not repeat";
    }
    out->src[i] = src;
    out->constant[i] = p->src[src].format.weight;
    out->type[i] = tenon_cuda_type(t->dtype);
    if (n >= 0 && !tenon_dim_is(t->dim[n], 1)) out->step_n[i] = tenon_cuda_known_stride(&tensor, n);
    if (c >= 0 && !tenon_dim_is(t->dim[c], 1)) out->step_c[i] = tenon_cuda_known_stride(&tensor, c);
    if (out->step_n[i] == TENON_CUDA_UNKNOWN || out->step_c[i] == TENON_CUDA_UNKNOWN) return "an operand whose strides vary";
    return NULL;
}

const char *tenon_cuda_channels_make(const tenon_problem *p, const tenon_program *program, int value, const tenon_type *map, int *next,
                                     tenon_cuda_channels *out, tenon_reason *scratch)
{
    *out = (tenon_cuda_channels){.program = program, .value = value};
    if (!program) return NULL;
    if (program->class_ != TENON_CLASS_F32 || program->result_count != 1) return "a program that does not compute one f32 result";
    const char *why = tenon_cuda_program_rejects(program, scratch);
    for (int i = 0; i < program->operand_count && !why; i++) {
        out->at[i] = -1;
        if (i == value || program->operand_scalar[i]) continue;
        if (*next >= TENON_CUDA_TENSORS) return "too many tensors";
        out->at[i] = (*next)++;
        why = find_operand(p, program->operand[i], map, i, out);
    }
    return why;
}

static void print_number(tenon_buf *b, double v)
{
    const float narrow = (float)v;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    tenon_buf_printf(b, "__uint_as_float(0x%08" PRIx32 "u)", bits);
}

void tenon_cuda_channels_print(const tenon_cuda_channels *c, const char *name, tenon_buf *b)
{
    const tenon_program *p = c->program;
    char element[64];
    snprintf(element, sizeof element, "%s_element", name);
    if (p) tenon_cuda_function_print(p, TENON_CLASS_F32, element, b);
    tenon_buf_printf(b, "template <int V> static __device__ __forceinline__ void %s(const tenon_args &args, int n, int c, float *v)\n{\n", name);
    for (int i = 0; p && i < p->operand_count; i++) {
        if (c->at[i] < 0) continue;
        const char *access = c->step_c[i] == 0 ? "TENON_ONE" : c->step_c[i] == 1 ? "TENON_RUN" : "TENON_STRIDE";
        tenon_buf_printf(b, "    float v%d[V];\n    tenon_load<%s, V, %s>(args.at[%d], n * %" PRId64 "ll + c * %" PRId64 "ll, %" PRId64
                            ", args.aligned >> %d & 1, v%d);\n", i, c->type[i], access, c->at[i], c->step_n[i], c->step_c[i], c->step_c[i], c->at[i], i);
    }
    if (p) {
        tenon_buf_printf(b, "#pragma unroll\n    for (int i = 0; i < V; i++) {\n        float r;\n        %s(", element);
        for (int i = 0; i < p->operand_count; i++) {
            if (i == c->value) tenon_buf_str(b, "v[i], ");
            else if (c->at[i] >= 0) tenon_buf_printf(b, "v%d[i], ", i);
            else print_number(b, p->operand_value[i]), tenon_buf_str(b, ", ");
        }
        tenon_buf_str(b, "r);\n        v[i] = r;\n    }\n");
    }
    tenon_buf_printf(b, "}\nstatic __device__ __forceinline__ void %s_touch(const tenon_args &args, int c, int end)\n{\n    if (c >= end) return;\n", name);
    for (int i = 0; p && i < p->operand_count; i++)
        if (c->at[i] >= 0 && c->constant[i])
            tenon_buf_printf(b, "    asm volatile(\"\" ::\"r\"((unsigned)*(const unsigned char *)"
                                "((const %s *)args.at[%d] + c * %" PRId64 "ll)));\n", c->type[i], c->at[i], c->step_c[i]);
    tenon_buf_str(b, "}\n");
}

void tenon_cuda_channels_bind(const tenon_bind *b, const tenon_cuda_channels *c, int vector, tenon_cuda_args *args)
{
    for (int i = 0; c->program && i < c->program->operand_count; i++) {
        if (c->at[i] < 0) continue;
        const tenon_tensor *t = &b->src[c->src[i]];
        const size_t bytes = tenon_dtype_bytes(t->dtype, (size_t)vector);
        const bool aligned = c->step_c[i] == 1 && c->step_n[i] % vector == 0 && (uintptr_t)t->data % TENON_MIN(bytes, 16) == 0;
        args->at[c->at[i]] = t->data;
        args->aligned |= (uint32_t)aligned << c->at[i];
    }
}
