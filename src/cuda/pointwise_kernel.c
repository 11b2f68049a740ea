/* SPDX-License-Identifier: Apache-2.0 */
/* A pointwise program as a kernel of its own, and copies (copy, transpose), which are the program without instructions over
   tensors with strides of their own. A copy whose source runs along another axis than its result goes through tiles in shared memory.
   Variants: {elements an access, 1: by tiles, elements an access of the source}. */
#include "cuda/kernel_text.h"

#include "base/checked.h"

#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_walk[], tenon_cuda_src_pointwise[];

enum { THREADS = 256, P_VECTOR = 0, P_TILED = 1, P_FROM = 2, TILED_LEAST = 8 };

typedef struct own {
    tenon_cuda_space space;
    tenon_cuda_program program;
    const tenon_value *value[TENON_CUDA_TENSORS]; /* of each tensor of the space */
    bool is_dst[TENON_CUDA_TENSORS];
    int domain_dst;                               /* the destination whose shape is the domain */
    int across;                                   /* axis of the space along which a copy's source is contiguous; -1: none, or the last */
} own;

static void note(own *o, int tensor, const tenon_value *v, bool is_dst)
{
    if (tensor < 0) return;
    o->value[tensor] = v;
    o->is_dst[tensor] = is_dst;
}

/* ---- index spaces ---- */
static const char *make_program(const tenon_problem *p, own *o)
{
    const tenon_program *program = p->program;
    uint8_t order[TENON_MAX_RANK];
    if (!program) return "there is no program";
    const tenon_type *domain = &program->result[0]->type;
    o->domain_dst = tenon_problem_dst(p, program->result[0]);
    if (o->domain_dst < 0) return "a result is not a destination";
    tenon_format_order(&p->dst[o->domain_dst].format, domain->rank, order);
    tenon_cuda_space_init(&o->space, p->graph->dims, domain->rank, domain->dim, order);
    const char *why = tenon_cuda_program_add(p, program, NULL, &o->space, &o->program);
    if (why) return why;
    for (int i = 0; i < program->operand_count; i++) note(o, o->program.operand[i], program->operand[i], false);
    for (int i = 0; i < program->result_count; i++) note(o, o->program.result[i], program->result[i], true);
    return NULL;
}

/* The source's axis for each axis of the result. */
static const char *source_axes(const tenon_node *n, int *axis)
{
    const tenon_type *x = &n->src[0]->type, *y = &n->dst[0]->type;
    const tenon_attr *perm = strcmp(n->op->name, "transpose") == 0 ? tenon_node_attr(n, "perm") : NULL;
    for (int i = 0; i < y->rank; i++)
        axis[i] = !perm ? i - (y->rank - x->rank) : perm->set && perm->count ? (int)perm->ints[i] : y->rank - 1 - i;
    for (int i = 0; i < y->rank; i++)
        if (axis[i] < 0) axis[i] = -1;
    return x->rank > y->rank ? "a source of a higher rank than the result" : NULL;
}

static const char *make_copy(const tenon_problem *p, own *o)
{
    const tenon_anchor *a = &p->anchor[0];
    uint8_t order[TENON_MAX_RANK];
    int axis[TENON_MAX_RANK];
    if (a->post || a->pre[0]) return "a program beside a copy";
    const tenon_node *n = a->node;
    const int src = tenon_problem_src(p, n->src[0]);
    o->domain_dst = n->dst[0] ? tenon_problem_dst(p, n->dst[0]) : -1;
    if (src < 0 || o->domain_dst < 0) return "not a source and a destination of the problem";
    const tenon_type *y = &n->dst[0]->type;
    if (tenon_dtype_get(y->dtype)->bits < 8 || y->dtype >= TENON_STRING) return "elements without plain storage";
    const char *why = source_axes(n, axis);
    if (why) return why;
    tenon_format_order(&p->dst[o->domain_dst].format, y->rank, order);
    tenon_cuda_space_init(&o->space, p->graph->dims, y->rank, y->dim, order);
    o->program = (tenon_cuda_program){.program = NULL};
    note(o, tenon_cuda_space_add(&o->space, &n->src[0]->type, &p->src[src].format, axis), n->src[0], false);
    o->program.result[0] = tenon_cuda_space_add(&o->space, y, &p->dst[o->domain_dst].format, NULL);
    note(o, o->program.result[0], n->dst[0], true);
    return NULL;
}

static const char *make(const tenon_problem *p, own *o)
{
    memset(o, 0, sizeof *o);
    const char *why = p->anchor_count ? make_copy(p, o) : make_program(p, o);
    if (why) return why;
    if (!tenon_cuda_space_finish(&o->space, 0)) return "sizes too large to reckon with";
    o->across = -1;
    if (!p->anchor_count || tenon_cuda_space_is_unit(&o->space, 0) || !tenon_cuda_space_is_unit(&o->space,
        o->program.result[0])) return NULL;
    for (int j = 0; j + 1 < o->space.rank; j++)
        if (o->space.tensor[0].stride[j] == 1) o->across = j;
    return NULL;
}

static int element_bytes(const own *o) { return (int)tenon_dtype_bytes(o->value[o->program.result[0]]->type.dtype, 1); }

/* Elements a thread at most: 16 bytes of a copy, and of a program's narrow result. */
static int widest(const own *o)
{
    const int fit = 16 / element_bytes(o);
    return o->program.program ? TENON_MIN(TENON_MAX(fit, 4), 8) : TENON_MAX(fit, 4);
}

static int tile_of(const own *o) { return element_bytes(o) <= 2 ? 64 : 32; }

/* Tiles pay where both runs are long. */
static bool tiles_fit(const tenon_problem *p, const own *o)
{
    const tenon_cuda_space *s = &o->space;
    return o->across >= 0 && tenon_dim_at_opt(p->graph->dims, s->dim[o->across]) >= TILED_LEAST &&
           tenon_dim_at_opt(p->graph->dims, s->dim[s->rank - 1]) >= TILED_LEAST;
}

static int tile_vector(const own *o, int axis)
{
    int vector = TENON_MIN(TENON_MAX(8 / element_bytes(o), 1), 4);
    if (element_bytes(o) == 4) vector = 4;
    while (o->space.dim[axis]->divisor % vector) vector /= 2;
    return vector;
}

static bool vector_fits(const own *o, int vector)
{
    if (vector == 1) return true;
    const tenon_cuda_space *s = &o->space;
    return s->rank > 0 && tenon_cuda_space_is_unit(s, o->program.result[0]) && s->dim[s->rank - 1]->divisor % vector == 0;
}

static int vector_of(const tenon_variant *v) { return v->p[P_VECTOR] ? v->p[P_VECTOR] : 1; }

/* ---- the tactic ---- */
static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    own o;
    int count = 0;
    (void)device;
    const bool made = make(p, &o) == NULL;
    if (made && tiles_fit(p, &o) && max > 0) out[count++] = (tenon_variant){{tile_vector(&o, o.space.rank - 1), 1,
        tile_vector(&o, o.across)}};
    for (int vector = made ? widest(&o) : 1; vector >= 1; vector /= 2)
        if (count < max && (vector == 1 || (made && vector_fits(&o, vector)))) out[count++] = (tenon_variant){{vector}};
    return count;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    own o;
    const int vector = vector_of(v);
    (void)device;
    const char *why = make(p, &o);
    if (why) return why;
    if (p->program && (why = tenon_cuda_program_rejects(p->program, scratch)) != NULL) return why;
    if (vector < 1 || vector > 16 || (vector & (vector - 1))) return "no such variant";
    if (v->p[P_TILED] && (!tiles_fit(p, &o) || vector != tile_vector(&o, o.space.rank - 1) || v->p[P_FROM] != tile_vector(&o,
        o.across)))
        return "no tiles";
    if (!vector_fits(&o, vector)) return "the innermost size is not a multiple of the vector";
    if (tenon_cuda_space_most(&o.space) > INT32_MAX) return "more elements than 32-bit indices reach";
    return NULL;
}

/* Tiles of a copy: the axis along which the source is contiguous, and a type of the elements' size. */
static void print_tiles(const own *o, tenon_buf *b)
{
    static const char *const word[] = {[1] = "unsigned char", [2] = "unsigned short", [4] = "unsigned",
        [8] = "unsigned long long"};
    tenon_buf_printf(b, "typedef %s tenon_word;\n#define ACROSS %d\n#define TILE %d\n#define RESULT %d\n",
        word[element_bytes(o)], o->across, tile_of(o),
                     o->program.result[0]);
}

/* A copy moves bits, whatever the type. */
static void print_copy(const own *o, tenon_buf *b)
{
    static const char *const word[] = {[1] = "unsigned char", [2] = "unsigned short", [4] = "unsigned",
        [8] = "unsigned long long"};
    const int to = o->program.result[0];
    tenon_buf_printf(b, "template <int V> static __device__ __forceinline__ void tenon_body(const tenon_args &args, const long long *at, "
                        "const float *)\n{\n    tenon_move<%s, V, %s, %s>(args, at, tenon_step(args, 0, RANK - 1), tenon_step(args, %d, RANK - 1));\n}\n",
                     word[tenon_dtype_get(o->value[to]->type.dtype)->bits / 8], tenon_cuda_access(&o->space, 0),
                         tenon_cuda_access(&o->space, to), to);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
    tenon_tactic_plan *out)
{
    (void)device;
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = make(p, o);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.pointwise: %s", why);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, "#include \"prelude.cu\"\n");
    tenon_cuda_space_print(&o->space, &b);
    if (p->program) tenon_cuda_program_print(&o->program, &o->space, &b);
    else if (v->p[P_TILED]) print_tiles(o, &b);
    else print_copy(o, &b);
    tenon_buf_str(&b, tenon_cuda_src_walk);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_pointwise, "tenon_pointwise", TENON_MAX(tenon_cuda_space_numbers(&o->space), 1), o,
                                     out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DTHREADS=%d -DVECTOR=%d -DTILED=%d -DTILE_FROM=%d",
        THREADS, vector_of(v),
             v->p[P_TILED], TENON_MAX(v->p[P_FROM], 1));
    out->in_place = p->program != NULL;
    return TENON_OK;
}

static const tenon_tensor *bound(const tenon_bind *b, const own *o, int t)
{
    return o->is_dst[t] ? &b->dst[tenon_problem_dst(b->problem, o->value[t])] : &b->src[tenon_problem_src(b->problem,
        o->value[t])];
}

static bool source_aligned(const own *o, const int64_t *number, const tenon_tensor *x, int vector)
{
    const tenon_cuda_space *s = &o->space;
    if ((uintptr_t)x->data % tenon_dtype_bytes(x->dtype, (size_t)vector)) return false;
    for (int j = 0; j < s->rank; j++)
        if (j != o->across && number[j] > 1 && number[s->rank + j] % vector) return false;
    return true;
}

static int64_t tiles_of(const own *o, const int64_t *size)
{
    const int last = o->space.rank - 1, tile = tile_of(o);
    int64_t count = tenon_ceil_div(size[last], tile) * tenon_ceil_div(size[o->across], tile);
    for (int j = 0; j < last; j++)
        if (j != o->across) count *= size[j];
    return count;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tenon_cuda_space *s = &o->space;
    const tenon_tensor *tensor[TENON_CUDA_TENSORS];
    const int vector = vector_of(b->variant);
    int64_t size[TENON_MAX_RANK], total = 1;
    memset(r, 0, sizeof *r);
    for (int t = 0; t < s->count; t++) tensor[t] = bound(b, o, t);
    TENON_TRY(tenon_cuda_space_bind(cx, s, b->dst[o->domain_dst].dim, tensor, b->shape));
    for (int t = 0; t < s->count; t++) {
        r->args.at[t] = tensor[t]->data;
        r->args.aligned |= (uint32_t)tenon_cuda_space_is_aligned(s, t, b->shape, tensor[t], vector) << t;
    }
    if (b->variant->p[P_TILED]) {
        r->args.aligned &= ~1u;
        r->args.aligned |= source_aligned(o, b->shape, tensor[0], b->variant->p[P_FROM]);
    }
    tenon_cuda_space_sizes(s, (b->dst_most ? b->dst_most : b->dst)[o->domain_dst].dim, size);
    for (int j = 0; j < s->rank; j++) total *= size[j];
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    r->grid[0] = (uint32_t)(b->variant->p[P_TILED] ? tiles_of(o, size) : tenon_ceil_div(total / vector, THREADS));
    r->grid[1] = r->grid[2] = 1;
    r->threads = THREADS;
    return TENON_OK;
}

#define TACTIC(op, family)                                                                                                  \
    const tenon_tactic tenon_cuda_##op = {                                                                                  \
        .name = "cuda." #op, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject,   \
        .plan = plan, .bind = bind, .run = tenon_cuda_run, .source_hash_of = family }
TACTIC(pointwise, "pointwise");
TACTIC(copy, "pointwise");
TACTIC(transpose, "pointwise");
