/* SPDX-License-Identifier: Apache-2.0 */
/* Index spaces: which axes of several tensors are one run of memory, for every size that the symbols may take. */
#include "cuda/index_space.h"

#include "base/checked.h"

#include <inttypes.h>
#include <string.h>

void tenon_cuda_space_init(tenon_cuda_space *s, tenon_dim_pool *pool, int rank, const tenon_dim *const *dim, const uint8_t *order)
{
    *s = (tenon_cuda_space){.pool = pool, .domain_rank = rank};
    for (int i = 0; i < rank; i++) {
        s->domain[i] = dim[i];
        s->order[i] = order ? order[i] : i;
    }
}

int tenon_cuda_space_add(tenon_cuda_space *s, const tenon_type *type, const tenon_format *format, const int *axis)
{
    if (s->count == TENON_CUDA_TENSORS) return -1;
    tenon_cuda_tensor *t = &s->tensor[s->count];
    *t = (tenon_cuda_tensor){.type = type, .format = format};
    for (int d = 0; d < s->domain_rank; d++) {
        const int right = d - (s->domain_rank - type->rank);
        int a = axis ? axis[d] : right >= 0 ? right : -1;
        if (a >= 0 && tenon_dim_is(type->dim[a], 1) && !tenon_dim_is(s->domain[d], 1)) a = -1;
        t->axis[d] = a;
        t->loose[d] = a >= 0 && type->dim[a] != s->domain[d] && !(tenon_dim_is_const(type->dim[a]) && tenon_dim_is_const(s->domain[d]));
    }
    return s->count++;
}

/* ---- memory order of a tensor ---- */
static int place_of(const tenon_cuda_tensor *t, const uint8_t *order, int axis)
{
    for (int i = 0; i < t->type->rank; i++)
        if (order[i] == axis) return i;
    return -1;
}

/* Between places i and i+1 of the memory order lies a pitch. */
static bool has_pitch(const tenon_cuda_tensor *t, int i)
{
    const int inner = t->format->inner ? t->format->inner : 1;
    return t->format->ld && t->type->rank - 1 - i == inner;
}

/* Domain axis b follows a without a gap in memory, or both only repeat. */
static bool follows(const tenon_cuda_tensor *t, int a, int b)
{
    uint8_t order[TENON_MAX_RANK];
    if (t->axis[a] < 0 || t->axis[b] < 0) return t->axis[a] < 0 && t->axis[b] < 0;
    if (t->loose[a] || t->loose[b] || t->format->layout == TENON_STRIDED) return false;
    tenon_format_order(t->format, t->type->rank, order);
    const int from = place_of(t, order, t->axis[a]), to = place_of(t, order, t->axis[b]);
    if (to <= from) return false;
    for (int i = from; i < to; i++) {
        if (has_pitch(t, i)) return false;
        if (i > from && !tenon_dim_is(t->type->dim[order[i]], 1)) return false;
    }
    return true;
}

/* Stride of a tensor axis where it is the same for every size. */
int64_t tenon_cuda_known_stride(const tenon_cuda_tensor *t, int axis)
{
    uint8_t order[TENON_MAX_RANK];
    int64_t step = 1;
    if (t->format->layout == TENON_STRIDED) return TENON_CUDA_UNKNOWN;
    tenon_format_order(t->format, t->type->rank, order);
    for (int i = t->type->rank - 1; i >= 0; i--) {
        if (has_pitch(t, i)) step = t->format->ld;
        if (order[i] == axis) return step;
        const tenon_dim *d = t->type->dim[order[i]];
        if (!tenon_dim_is_const(d) || !tenon_mul_i64(step, TENON_MAX(d->value, 1), &step)) {
            /* a pitch further out makes strides known again */
            int k = i - 1;
            while (k >= 0 && !has_pitch(t, k) && order[k] != axis) k--;
            if (k < 0 || !has_pitch(t, k)) return TENON_CUDA_UNKNOWN;
            i = k + 1;
        }
    }
    return TENON_CUDA_UNKNOWN;
}

/* ---- merging ---- */
static bool all_follow(const tenon_cuda_space *s, int a, int b)
{
    for (int t = 0; t < s->count; t++)
        if (!follows(&s->tensor[t], a, b)) return false;
    return true;
}

/* Strides are those of an axis's innermost domain axis. */
static void set_strides(tenon_cuda_space *s)
{
    for (int t = 0; t < s->count; t++)
        for (int j = 0; j < s->rank; j++) {
            tenon_cuda_tensor *x = &s->tensor[t];
            const int d = s->order[s->end[j] - 1];
            x->stride[j] = x->axis[d] < 0 ? 0 : x->loose[d] ? TENON_CUDA_UNKNOWN : tenon_cuda_known_stride(x, x->axis[d]);
        }
}

bool tenon_cuda_space_finish(tenon_cuda_space *s, int keep)
{
    int kept = 0;
    const int fixed = TENON_MAX(s->domain_rank - keep, 0); /* places from here on stay */
    int first_fixed = 0;
    for (int i = 0; i < s->domain_rank; i++) {
        if (i == fixed) first_fixed = kept;
        if (i < fixed && tenon_dim_is(s->domain[s->order[i]], 1)) continue;
        s->group[kept] = s->group[i];
        s->order[kept++] = s->order[i];
    }
    if (fixed >= s->domain_rank) first_fixed = kept;
    s->rank = 0;
    for (int i = 0; i < kept; i++) {
        const bool joins = i > 0 && i <= first_fixed && s->group[i] == s->group[i - 1] && all_follow(s, s->order[i - 1], s->order[i]);
        if (!joins) {
            s->begin[s->rank] = i;
            s->axis_group[s->rank] = s->group[i];
            s->dim[s->rank++] = tenon_dim_const(s->pool, 1);
        }
        s->end[s->rank - 1] = i + 1;
        s->dim[s->rank - 1] = tenon_dim_mul(s->pool, s->dim[s->rank - 1], s->domain[s->order[i]]);
        if (!s->dim[s->rank - 1]) return false;
    }
    set_strides(s);
    return true;
}

int tenon_cuda_space_numbers(const tenon_cuda_space *s) { return s->rank * (1 + s->count); }

int64_t tenon_cuda_space_most(const tenon_cuda_space *s)
{
    int64_t n = 1;
    for (int j = 0; j < s->rank; j++)
        if (!tenon_mul_i64(n, TENON_MAX(s->dim[j]->hi, 1), &n)) return INT64_MAX;
    return n;
}

/* ---- printing ---- */
static void print_number(tenon_buf *b, int index, bool known, int64_t value)
{
    if (known) tenon_buf_printf(b, "    case %d: return %" PRId64 ";\n", index, value);
    else tenon_buf_printf(b, "    case %d: return args.shape[%d];\n", index, index);
}

void tenon_cuda_space_print(const tenon_cuda_space *s, tenon_buf *b)
{
    tenon_buf_printf(b, "#define RANK %d\n#define TENSORS %d\n", s->rank, s->count);
    tenon_buf_str(b, "static __device__ __forceinline__ long long tenon_size(const tenon_args &args, int axis)\n{\n    switch (axis) {\n");
    for (int j = 0; j < s->rank; j++) print_number(b, j, tenon_dim_is_const(s->dim[j]), s->dim[j]->value);
    tenon_buf_str(b, "    }\n    return 1;\n}\n"
                     "static __device__ __forceinline__ long long tenon_step(const tenon_args &args, int tensor, int axis)\n{\n"
                     "    switch (RANK + tensor * RANK + axis) {\n");
    for (int t = 0; t < s->count; t++)
        for (int j = 0; j < s->rank; j++)
            print_number(b, s->rank * (1 + t) + j, s->tensor[t].stride[j] != TENON_CUDA_UNKNOWN, s->tensor[t].stride[j]);
    tenon_buf_str(b, "    }\n    return 0;\n}\n");
}

/* ---- binding ---- */
void tenon_cuda_space_sizes(const tenon_cuda_space *s, const int64_t *domain, int64_t *out)
{
    for (int j = 0; j < s->rank; j++) {
        out[j] = 1;
        for (int i = s->begin[j]; i < s->end[j]; i++) out[j] *= domain[s->order[i]];
    }
}

tenon_status tenon_cuda_space_bind(tenon_cx *cx, const tenon_cuda_space *s, const int64_t *domain, const tenon_tensor *const *tensor, int64_t *out)
{
    tenon_cuda_space_sizes(s, domain, out);
    for (int t = 0; t < s->count; t++)
        for (int j = 0; j < s->rank; j++) {
            const int d = s->order[s->end[j] - 1], a = s->tensor[t].axis[d];
            int64_t stride = a < 0 ? 0 : tensor[t]->stride[a];
            if (a >= 0 && s->tensor[t].loose[d] && tensor[t]->dim[a] == 1) stride = 0;
            const int64_t known = s->tensor[t].stride[j];
            if (known != TENON_CUDA_UNKNOWN && known != stride && out[j] > 1 && tenon_tensor_count(tensor[t]) > 0) /* an empty one is not read */
                return TENON_FAIL(cx, TENON_INTERNAL, "cuda: tensor %d of a step has stride %" PRId64 " where its format says %" PRId64, t, stride, known);
            out[s->rank * (1 + t) + j] = known != TENON_CUDA_UNKNOWN ? known : stride;
        }
    return TENON_OK;
}

bool tenon_cuda_space_is_unit(const tenon_cuda_space *s, int t) { return s->rank > 0 && s->tensor[t].stride[s->rank - 1] == 1; }

bool tenon_cuda_space_is_aligned(const tenon_cuda_space *s, int t, const int64_t *number, const tenon_tensor *tensor, int vector)
{
    const size_t bytes = tenon_dtype_bytes(tensor->dtype, (size_t)vector);
    if (!tenon_cuda_space_is_unit(s, t) || (uintptr_t)tensor->data % TENON_MIN(bytes, 16)) return false;
    for (int j = 0; j + 1 < s->rank; j++)
        if (number[j] > 1 && number[s->rank * (1 + t) + j] % vector) return false;
    return true;
}
