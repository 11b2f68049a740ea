/* SPDX-License-Identifier: Apache-2.0 */
/* Sources read at places of the kernel's own; contracts in point_source.h. */
#include "cuda/point_source.h"

#include "base/checked.h"

#include <inttypes.h>
#include <string.h>

const char *tenon_cuda_points_make(const tenon_problem *p, const tenon_node *n, int count, const tenon_cuda_space *s, tenon_cuda_points *out)
{
    *out = (tenon_cuda_points){.count = TENON_MIN(count, n->src_count), .first = s->count};
    if (out->count > TENON_CUDA_POINT_SOURCES || s->count + out->count > TENON_CUDA_TENSORS) return "too many tensors";
    for (int i = 0; i < out->count; i++) {
        const tenon_value *v = n->src[i];
        const int src = v ? tenon_problem_src(p, v) : -1;
        if (!v) continue;
        if (src < 0) return "an operand is not a source";
        if (!tenon_cuda_type(v->type.dtype)) return "an operand's type";
        out->value[i] = v;
        out->tensor[i] = (tenon_cuda_tensor){.type = &v->type, .format = &p->src[src].format};
        out->numbers += 2 * v->type.rank;
    }
    return NULL;
}

const char *tenon_cuda_points_of_result(const tenon_problem *p, const tenon_node *n, int count, tenon_cuda_space *s, tenon_cuda_points *out)
{
    const tenon_type *y = &n->dst[0]->type;
    const int dst = tenon_problem_dst(p, n->dst[0]);
    if (dst < 0) return "the result is not a destination";
    tenon_cuda_space_init(s, p->graph->dims, y->rank, y->dim, NULL);
    if (tenon_cuda_space_add(s, y, &p->dst[dst].format, NULL) < 0 || !tenon_cuda_space_finish(s, y->rank))
        return "sizes too large to reckon with";
    return tenon_cuda_points_make(p, n, count, s, out);
}

bool tenon_cuda_points_near(const tenon_cuda_points *s)
{
    for (int i = 0; i < s->count; i++) {
        int64_t n = 1;
        for (int k = 0; s->value[i] && k < s->value[i]->type.rank; k++)
            if (!tenon_mul_i64(n, TENON_MAX(s->value[i]->type.dim[k]->hi, 1), &n) || n > INT32_MAX) return false;
    }
    return true;
}

static void print_numbers(const tenon_cuda_points *s, int at, bool steps, tenon_buf *b)
{
    tenon_buf_printf(b, "static __device__ __forceinline__ long long tenon_src_%s(const tenon_args &args, int source, int axis)\n"
                        "{\n    switch (source * %d + axis) {\n", steps ? "step" : "dim", TENON_MAX_RANK);
    for (int i = 0; i < s->count; i++) {
        const int rank = s->value[i] ? s->value[i]->type.rank : 0;
        for (int k = 0; k < rank; k++) {
            const tenon_dim *d = s->value[i]->type.dim[k];
            const int64_t step = steps ? tenon_cuda_known_stride(&s->tensor[i], k) : 0;
            tenon_buf_printf(b, "    case %d: return ", i * TENON_MAX_RANK + k);
            if (steps ? step != TENON_CUDA_UNKNOWN : tenon_dim_is_const(d)) tenon_buf_printf(b, "%" PRId64 ";\n", steps ? step : d->value);
            else tenon_buf_printf(b, "args.shape[%d];\n", at + k + (steps ? rank : 0));
        }
        at += 2 * rank;
    }
    tenon_buf_str(b, "    }\n    return 0;\n}\n");
}

void tenon_cuda_points_print(const tenon_cuda_points *s, const tenon_cuda_space *space, tenon_buf *b)
{
    const int at = tenon_cuda_space_numbers(space);
    print_numbers(s, at, false, b);
    print_numbers(s, at, true, b);
    tenon_buf_printf(b, "template <class T> static __device__ __forceinline__ const T *tenon_source(const tenon_args &args, int source)\n"
                        "{\n    return (const T *)args.at[%d + source];\n}\n", s->first);
}

const tenon_tensor *tenon_cuda_bound(const tenon_bind *b, const tenon_value *v)
{
    const int dst = tenon_problem_dst(b->problem, v);
    return dst >= 0 ? &b->dst[dst] : &b->src[tenon_problem_src(b->problem, v)];
}

void tenon_cuda_points_bind(const tenon_bind *b, const tenon_cuda_points *s, const tenon_cuda_space *space, tenon_cuda_args *args)
{
    int64_t *number = b->shape + tenon_cuda_space_numbers(space);
    for (int i = 0; i < s->count; i++) {
        if (!s->value[i]) continue;
        const tenon_tensor *x = tenon_cuda_bound(b, s->value[i]);
        args->at[s->first + i] = x->data;
        for (int k = 0; k < x->rank; k++) *number++ = x->dim[k];
        for (int k = 0; k < x->rank; k++) *number++ = x->stride[k];
    }
}
