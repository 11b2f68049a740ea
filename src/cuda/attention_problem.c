/* SPDX-License-Identifier: Apache-2.0 */
/* What all attention kernels make of a problem; contracts in attention.h. */
#include "cuda/attention.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { GRID_MOST = 65535, KEYS = 16, SHARE = 17 };

static const char *check_operands(const tenon_problem *p, tenon_cuda_attention *o)
{
    const tenon_anchor *at = &p->anchor[0];
    const tenon_node *n = at->node;
    for (int i = 0; i < 4; i++) {
        o->src[i] = -1;
        if (at->pre[i]) return "a program before it";
        if (i >= n->src_count || !n->src[i]) continue;
        o->src[i] = tenon_problem_src(p, n->src[i]);
        if (o->src[i] < 0) return "an operand is not a source";
        if (p->src[o->src[i]].format.layout == TENON_STRIDED) return "an operand of any strides";
    }
    for (int i = 0; i < 3; i++) {
        const tenon_dim *d = n->src[i]->type.dim[3];
        if (!tenon_dim_is_const(d) || d->value < 1 || d->value > TENON_CUDA_ATTENTION_HEAD) return "a head that is not of 1 to 256 elements";
    }
    o->head = (int)n->src[0]->type.dim[3]->value;
    o->value_head = (int)n->src[2]->type.dim[3]->value;
    return NULL;
}

/* Strides along the four axes; an axis that may have size 1 for some sizes alone is not known. */
static void set_strides(const tenon_problem *p, const tenon_value *v, int src, bool mask, int64_t *out)
{
    const tenon_cuda_tensor t = {.type = &v->type, .format = &p->src[src].format};
    for (int i = 0; i < 4; i++) {
        const int a = i - (4 - v->type.rank);
        const tenon_dim *d = a >= 0 ? v->type.dim[a] : NULL;
        if (a < 0 || (mask && tenon_dim_is(d, 1))) out[i] = 0;
        else if (mask && d->lo <= 1 && !tenon_dim_is_const(d)) out[i] = TENON_CUDA_UNKNOWN;
        else out[i] = tenon_cuda_known_stride(&t, a);
    }
}

const char *tenon_cuda_attention_make(const tenon_problem *p, tenon_cuda_attention *o)
{
    const tenon_anchor *at = &p->anchor[0];
    const tenon_node *n = at->node;
    const tenon_type *y = &n->dst[0]->type;
    memset(o, 0, sizeof *o);
    const char *why = check_operands(p, o);
    if (why) return why;
    tenon_cuda_space_init(&o->space, p->graph->dims, 4, y->dim, NULL);
    why = tenon_cuda_program_add(p, at->post, n->dst[0], &o->space, &o->program);
    if (why) return why;
    if (o->space.count + 4 > TENON_CUDA_TENSORS) return "too many tensors";
    if (!tenon_cuda_space_finish(&o->space, 4)) return "sizes too large to reckon with";
    for (int i = 0; at->post && i < at->post->operand_count; i++)
        if (o->program.operand[i] >= 0) o->operand[o->program.operand[i]] = at->post->operand[i];
    for (int i = 0; i < (at->post ? at->post->result_count : 1); i++)
        o->operand[o->program.result[i]] = at->post ? at->post->result[i] : n->dst[0];
    o->domain_dst = tenon_problem_dst(p, o->operand[o->program.result[0]]);
    for (int i = 0; i < 4; i++)
        if (o->src[i] >= 0) set_strides(p, n->src[i], o->src[i], i == 3, o->number + 4 * i);
    const tenon_dim *keys = n->src[1]->type.dim[2], *h = n->src[0]->type.dim[1], *hk = n->src[1]->type.dim[1];
    o->number[KEYS] = tenon_dim_is_const(keys) ? keys->value : TENON_CUDA_UNKNOWN;
    o->number[SHARE] = h == hk ? 1 : tenon_dim_is_const(h) && tenon_dim_is_const(hk) && hk->value > 0 ? TENON_MAX(h->value / hk->value, 1)
                                                                                                     : TENON_CUDA_UNKNOWN;
    o->causal = tenon_node_int(n, "is_causal") != 0;
    o->scale = tenon_node_attr(n, "scale")->set ? (float)tenon_node_float(n, "scale") : 1.0f / sqrtf((float)o->head);
    return NULL;
}

const char *tenon_cuda_attention_rejects(const tenon_problem *p, tenon_cuda_attention *o, tenon_reason *scratch)
{
    const char *why = tenon_cuda_attention_make(p, o);
    if (why) return why;
    const tenon_program *post = p->anchor[0].post;
    if (post && post->class_ != TENON_CLASS_F32) return "a program that does not compute in f32";
    if (post && (why = tenon_cuda_program_rejects(post, scratch)) != NULL) return why;
    const tenon_node *n = p->anchor[0].node;
    if (o->src[3] >= 0 && !tenon_cuda_type(n->src[3]->type.dtype)) return "the mask's type";
    if (n->dst[0]->type.dim[0]->hi > GRID_MOST || n->dst[0]->type.dim[1]->hi > GRID_MOST) return "more heads than a grid holds";
    if (n->dst[0]->type.dim[2]->hi > INT32_MAX / 2 || n->src[1]->type.dim[2]->hi > INT32_MAX / 2) return "lengths that 32-bit indices do not reach";
    return NULL;
}

static void print_float(tenon_buf *b, const char *name, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    tenon_buf_printf(b, "#define %s __uint_as_float(0x%08xu)\n", name, bits);
}

static void print(const tenon_problem *p, const tenon_cuda_attention *o, tenon_buf *b)
{
    const tenon_node *n = p->anchor[0].node;
    const int first = tenon_cuda_space_numbers(&o->space);
    const bool has_mask = o->src[3] >= 0;
    const tenon_dtype mask = has_mask ? n->src[3]->type.dtype : TENON_F32;
    tenon_cuda_space_print(&o->space, b);
    tenon_buf_str(b, "static __device__ __forceinline__ long long tenon_number(const tenon_args &args, int i)\n{\n    switch (i) {\n");
    for (int i = 0; i < TENON_CUDA_ATTENTION_NUMBERS; i++) {
        if (o->number[i] != TENON_CUDA_UNKNOWN) tenon_buf_printf(b, "    case %d: return %" PRId64 ";\n", i, o->number[i]);
        else tenon_buf_printf(b, "    case %d: return args.shape[%d];\n", i, first + i);
    }
    tenon_buf_str(b, "    }\n    return 0;\n}\n");
    tenon_buf_printf(b, "typedef %s T;\n#define D %d\n#define DV %d\n#define CAUSAL %d\n#define MASK %d\n#define MASK_TYPE %s\n",
                     tenon_cuda_type(n->src[0]->type.dtype), o->head, o->value_head, o->causal, !has_mask ? 0 : mask == TENON_BOOL ? 2 : 1,
                     tenon_cuda_type(mask));
    print_float(b, "SCALE", (float)(o->scale * 1.4426950408889634));
    print_float(b, "LOG2E", 1.4426950408889634f);
    print_float(b, "INFINITY_F", INFINITY);
    tenon_cuda_program_print(&o->program, &o->space, b);
}

tenon_status tenon_cuda_attention_plan(tenon_cx *cx, const tenon_problem *p, const char *text, const char *entry, tenon_tactic_plan *out)
{
    tenon_cuda_attention *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = tenon_cuda_attention_make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.attention: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#include \"prelude.cu\"\n#include \"mma.cu\"\n");
    print(p, o, &b);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, text, entry, tenon_cuda_space_numbers(&o->space) + TENON_CUDA_ATTENTION_NUMBERS, o,
                                     out));
    out->in_place = true;
    return TENON_OK;
}

static const tenon_tensor *bound(const tenon_bind *b, const tenon_cuda_attention *o, int t)
{
    const int dst = tenon_problem_dst(b->problem, o->operand[t]);
    return dst >= 0 ? &b->dst[dst] : &b->src[tenon_problem_src(b->problem, o->operand[t])];
}

/* Rows of q, k or v are whole vectors: elements side by side, and everything else a multiple of 16 bytes. */
static bool whole_rows(const tenon_tensor *x)
{
    const int64_t vector = 16 / (int64_t)tenon_dtype_bytes(x->dtype, 1);
    if ((x->stride[3] != 1 && x->dim[3] > 1) || x->dim[3] % vector || (uintptr_t)x->data % 16) return false;
    for (int i = 0; i < 3; i++)
        if (x->dim[i] > 1 && x->stride[i] % vector) return false;
    return true;
}

static tenon_status set_numbers(tenon_cx *cx, const tenon_bind *b, const tenon_cuda_attention *o, int64_t *number)
{
    for (int i = 0; i < TENON_CUDA_ATTENTION_NUMBERS; i++) number[i] = TENON_MAX(o->number[i], 0);
    for (int i = 0; i < 4; i++) {
        if (o->src[i] < 0) continue;
        const tenon_tensor *x = &b->src[o->src[i]];
        for (int a = 0; a < x->rank; a++) {
            const int at = 4 * i + a + 4 - x->rank;
            const int64_t stride = i == 3 && x->dim[a] == 1 ? 0 : x->stride[a];
            if (o->number[at] == TENON_CUDA_UNKNOWN) number[at] = stride;
            else if (o->number[at] != stride && x->dim[a] > 1)
                return TENON_FAIL(cx, TENON_INTERNAL, "cuda: operand %d of an attention has stride %" PRId64 " where its format says %" PRId64, i, stride,
                                  o->number[at]);
        }
    }
    const tenon_tensor *q = &b->src[o->src[0]], *k = &b->src[o->src[1]];
    number[KEYS] = k->dim[2];
    number[SHARE] = k->dim[1] > 0 ? TENON_MAX(q->dim[1] / k->dim[1], 1) : 1;
    return TENON_OK;
}

tenon_status tenon_cuda_attention_bind(tenon_cx *cx, const tenon_bind *b, const tenon_cuda_attention *o, int vector, tenon_cuda_record *r)
{
    const tenon_cuda_space *s = &o->space;
    const tenon_tensor *tensor[TENON_CUDA_TENSORS];
    for (int t = 0; t < s->count; t++) tensor[t] = bound(b, o, t);
    TENON_TRY(tenon_cuda_space_bind(cx, s, b->dst[o->domain_dst].dim, tensor, b->shape));
    TENON_TRY(set_numbers(cx, b, o, b->shape + tenon_cuda_space_numbers(s)));
    for (int t = 0; t < s->count; t++) {
        r->args.at[t] = tensor[t]->data;
        r->args.aligned |= (uint32_t)tenon_cuda_space_is_aligned(s, t, b->shape, tensor[t], vector) << t;
    }
    for (int i = 0; i < 4; i++) {
        if (o->src[i] < 0) continue;
        r->args.at[s->count + i] = b->src[o->src[i]].data;
        if (i < 3) r->args.aligned |= (uint32_t)whole_rows(&b->src[o->src[i]]) << (28 + i);
    }
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    return TENON_OK;
}

void tenon_cuda_attention_grid(const tenon_bind *b, const tenon_cuda_attention *o, int block, tenon_cuda_record *r)
{
    const int64_t *most = (b->dst_most ? b->dst_most : b->dst)[o->domain_dst].dim;
    r->grid[0] = (uint32_t)((most[2] + block - 1) / block);
    r->grid[1] = (uint32_t)most[1];
    r->grid[2] = (uint32_t)most[0];
    if (!r->grid[1] || !r->grid[2]) r->grid[0] = 0;
}

tenon_cuda_attention_extent tenon_cuda_attention_opt(const tenon_problem *p)
{
    const tenon_node *n = p->anchor[0].node;
    const tenon_dim_pool *pool = p->graph->dims;
    const tenon_dim *const *y = (const tenon_dim *const *)n->dst[0]->type.dim;
    return (tenon_cuda_attention_extent){(double)tenon_dim_at_opt(pool, y[0]) * (double)tenon_dim_at_opt(pool, y[1]),
                                         (double)tenon_dim_at_opt(pool, y[2]), (double)tenon_dim_at_opt(pool, n->src[1]->type.dim[2])};
}
